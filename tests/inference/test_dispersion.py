"""Readings that err together, at like distances from their optima, count for fewer."""

from __future__ import annotations

import numpy as np
import pytest

import bayescale as bs
from bayescale.inference.mode import Mode
from bayescale.inference.scoring import find_bowls
from bayescale.models.bowls import Bowls
from bayescale.models.levels import parts_of

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)


def sweep(wrong_form: float = 0.0):
    """Twelve cells of 25 runs; ``wrong_form`` is what a bowl misses, the same in every cell."""
    runs = bs.datasets.simulate_sweep(
        "additive", {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.36, "beta": 0.36},
        N=[[6e7], [2e8], [6e8], [1e9]], T=[3e9, 1e10, 3e10], multiples=MULTIPLES, random_seed=4,
    )  # fmt: skip
    pattern = np.random.default_rng(0).standard_normal(len(MULTIPLES) ** 2)
    loss = runs["loss"].values.reshape(12, -1) * np.exp(wrong_form * pattern)
    return runs.assign(loss=("reading", loss.reshape(-1)))


def bowls_of(runs) -> tuple[Bowls, Mode]:
    density = bs.HyperparameterModel("additive").density(runs)
    return find_bowls(Bowls(density.law, density.table, parts_of(density)[0], density))


@pytest.fixture(scope="module")
def found():
    return {error: bowls_of(sweep(error)) for error in (0.0, 0.008)}


def test_runs_that_err_on_their_own_count_in_full(found):
    bowls, _ = found[0.0]
    assert 1.0 <= bowls.dispersion < 1.25


def test_runs_that_err_together_count_for_fewer_and_widen_the_shape(found):
    """The wrong form of a bowl is noise to one cell; twelve cells repeat it."""
    bowls, mode = found[0.008]
    assert bowls.dispersion > 1.5
    alone = Bowls(bowls.law, bowls.table, bowls.variables, bowls.whole, bowls.near)
    names = np.repeat([n for n, _ in bowls.blocks], [k for _, k in bowls.blocks])
    i = int(np.flatnonzero(names == "rate_price")[0])
    step = 0.5 * mode.cholesky[:, i]
    around = np.stack([mode.u - step, mode.u, mode.u + step])
    bent = [[-1.0, 2.0, -1.0] @ b.log_density(around) for b in (bowls, alone)]
    assert 0 < bent[0] < bent[1] / 1.2


@pytest.mark.parametrize(("error", "status"), [(0.0, "PASS"), (0.02, "WARNING")])
def test_check_says_that_the_form_is_not_right(error, status):
    model = bs.HyperparameterModel("additive")
    fit = bs.fit(model, sweep(error), method="fast", draws=250, progressbar=False)
    card = next(c for c in bs.check(fit).cards if c.title == "form of the bowl")
    assert card.status == status, card.finding
    assert ("err together" in card.finding) == (status == "WARNING")
