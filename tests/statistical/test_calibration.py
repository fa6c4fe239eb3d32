"""Simulation-based calibration: over tables drawn from the model, ranks of the truth are uniform.

Talts et al. 2018 (1804.06788). Parameters come from the prior, a table from the parameters; the
posterior of the parameters must then cover them at every level. Priors and likelihood, their
coordinates, the mode and the importance weights all have to be right for that.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import bayescale as bs
from bayescale.inference.importance import K_HAT_LIMIT, importance_draws
from bayescale.inference.mode import find_mode
from bayescale.models.arrays import arrays
from bayescale.models.replicate import replicate_noise

DESIGN = {"N": np.geomspace(2e7, 1e9, 6)[:, None], "T": np.geomspace(5e8, 2e10, 6)[None, :]}
# narrower than the defaults: with those, one table in three has a floor that no fast method finds
PRIORS = {
    "E": bs.LogNormal(0.6, 0.2), "A": bs.LogNormal(0.2, 0.4), "B": bs.LogNormal(0.2, 0.4),
    "alpha": bs.LogNormal(0.35, 0.2), "beta": bs.LogNormal(0.35, 0.2),
    "sigma": bs.LogNormal(0.005, 0.5), "nu": bs.LogNormal(5.0, 0.5, low=1.0),
}  # fmt: skip
TABLES, DRAWS = 300, 4000


@pytest.fixture(scope="module")
def ranks() -> np.ndarray:
    """Share of posterior draws below the truth, ``(table, coordinate)``; NaN where fast gave up."""
    model, xp = bs.LossModel(priors=PRIORS), arrays("numpy")
    rng = np.random.default_rng(0)
    base = bs.datasets.simulate(noise=0.0, **DESIGN)
    reference = {
        "pivot": {k: v.tolist() for k, v in model.density(base).table.pivot.items()},
        "typical": [3.0],
    }
    density = model.density(base, reference=reference)
    rows = np.argsort(density.table.rows)
    out = np.full((TABLES, density.size), np.nan)  # ranks
    for i in range(TABLES):
        truth = rng.standard_normal((1, density.size))
        values = density.values(truth, xp)
        noise = replicate_noise(model.noise, density.table.groups, None, values, rng)
        log_loss = density.log_law(density.parameters(values, xp), xp) + noise
        flat = bs.runs.readings(base)
        runs = bs.as_runs(
            {"run": flat["run"].values, "N": flat["N"].values, "T": flat["T"].values,
             "loss": np.exp(log_loss[0][rows])}
        )  # fmt: skip
        fitted = model.density(runs, reference=reference)
        found = importance_draws(fitted, find_mode(fitted, random_seed=i), DRAWS, random_seed=i)
        if found.k_hat < K_HAT_LIMIT:
            out[i] = np.mean(found.u < truth, axis=0)
    return out


@pytest.mark.statistical
def test_fast_seldom_gives_up(ranks):
    assert np.mean(np.isnan(ranks[:, 0])) < 0.1


@pytest.mark.statistical
def test_ranks_of_the_truth_are_uniform(ranks):
    used = ranks[np.isfinite(ranks[:, 0])]
    # seven coordinates: the smallest of seven p-values is below 0.002 once in seventy
    for i, x in enumerate(used.T):
        assert stats.kstest(x, "uniform").pvalue > 0.002, i
        # too narrow a posterior piles ranks up at both ends, too wide a one in the middle
        spread = np.mean((x - 0.5) ** 2) * 12  # one, with standard error sqrt(0.8 / tables)
        assert abs(spread - 1) < 3.5 * np.sqrt(0.8 / len(x)), i


@pytest.mark.statistical
def test_intervals_hold_the_truth_as_often_as_they_say(ranks):
    used = ranks[np.isfinite(ranks[:, 0])]
    for prob in (0.5, 0.9):
        held = np.mean(np.abs(used - 0.5) < prob / 2, axis=0)
        error = np.sqrt(prob * (1 - prob) / len(used))
        assert np.abs(held - prob).max() < 3.5 * error
