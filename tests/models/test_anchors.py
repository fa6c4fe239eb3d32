"""The misfit of a law at anchors: places, the three faces of its density, and its integral."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import bayescale as bs
from bayescale.inference.with_misfit import in_losses, in_units
from bayescale.models.anchors import MOST_ANCHORS, anchors_of, spread_out
from bayescale.models.arrays import arrays
from bayescale.models.integrated import Integrated
from bayescale.models.loss_density import PER_UNIT

NUMPY = arrays("numpy")
MODEL = bs.LossModel("additive", misfit="auto")


def table(n: int = 20, *, noise: float = 0.004, seed: int = 0, **more) -> pd.DataFrame:
    """Runs of an additive law with heavy-tailed noise."""
    rng = np.random.default_rng(seed)
    N, T = np.exp(rng.uniform(17, 22, n)), np.exp(rng.uniform(21, 25, n))
    law = 1.8 + 480.0 * N**-0.35 + 2000.0 * T**-0.37
    return pd.DataFrame(
        {"N": N, "T": T, "loss": law * np.exp(noise * rng.standard_t(4, n)), **more}
    )


def trajectories() -> pd.DataFrame:
    """Twelve runs of three readings, and two seeds of one configuration."""
    rng = np.random.default_rng(1)
    rows = [
        {"run": f"{N:.0f}-{s}", "seed": s, "N": N, "T": T}
        for N, s in [(x, 0) for x in np.geomspace(1e7, 1e9, 6)] + [(1e7, 1)]
        for T in (1e9, 4e9, 16e9)
    ]
    out = pd.DataFrame(rows)
    law = 1.8 + 480.0 * out["N"] ** -0.35 + 2000.0 * out["T"] ** -0.37
    return out.assign(loss=law * np.exp(0.004 * rng.standard_normal(len(out))))


def points(density, n: int, seed: int = 0) -> np.ndarray:
    return 0.4 * np.random.default_rng(seed).standard_normal((n, density.size))


def integrated(density) -> Integrated:
    return Integrated(density.law, density.table, density.variables, density)


def test_every_place_is_an_anchor_until_there_are_too_many():
    few, many = MODEL.density(bs.as_runs(table(20))), MODEL.density(bs.as_runs(table(90)))
    assert len(few.anchors) == len(few.anchors.places) == 20
    assert len(many.anchors) == MOST_ANCHORS < len(many.anchors.places) == 90


def test_anchors_spread_over_the_places():
    place = np.random.default_rng(0).uniform(0, 1, (300, 2))
    chosen = spread_out(place, 25)
    away = np.linalg.norm(place[:, None] - place[chosen], axis=-1)
    assert len(set(chosen)) == 25 and (np.diff(chosen) > 0).all()
    apart = np.linalg.norm(place[chosen][:, None] - place[chosen], axis=-1)
    # no place is farther from the anchors than they are from each other: Gonzalez's bound
    assert away.min(axis=1).max() <= apart[~np.eye(25, dtype=bool)].min() + 1e-12


def test_a_family_of_three_places_has_no_misfit():
    family = np.array([0] * 6 + [1] * 3)
    inputs = {"N": np.geomspace(1e6, 1e9, 9), "T": np.geomspace(1e9, 1e11, 9)}
    assert anchors_of(inputs, ("N", "T"), family) is None
    assert anchors_of(inputs, ("N", "T"), np.zeros(9, int)) is not None


def test_families_do_not_share_what_their_laws_miss():
    runs = bs.as_runs(table(24, fam=["a", "b"] * 12), family="fam")
    density = bs.LossModel("additive", family="partial", misfit="auto").density(runs)
    values = density.values(points(density, 1), NUMPY)
    across = density.anchors.across(values["misfit_length"], NUMPY)[0]
    other = density.anchors.places.family[:, None] != density.anchors.cells.family
    assert (across[other] == 0).all() and (across[~other] > 0).all()


@pytest.mark.parametrize("frame", [table(20), trajectories()], ids=["single", "trajectories"])
def test_numpy_and_jax_agree_on_density_and_both_coordinates(frame):
    density = MODEL.density(bs.as_runs(frame))
    u = points(density, 2)
    in_loss, there = in_losses(density, u)
    with jax.enable_x64(True):
        for d, at in ((density, u), (in_loss, there)):
            jitted = jax.jit(lambda x, d=d: d.log_density(x, arrays("jax")))
            assert np.allclose([jitted(x) for x in at], d.log_density(at), atol=1e-7)


def test_coordinates_in_losses_carry_the_same_density():
    """The densities differ by the log determinant of the map, which differences give too."""
    density = MODEL.density(bs.as_runs(table(8)))
    u = points(density, 1)
    there_density, there = in_losses(density, u)
    assert np.allclose(in_units(there_density, there), u, atol=1e-6)
    size = len(density.anchors)
    columns = []
    for i in range(size):
        step = np.zeros_like(there)
        step[0, -size + i] = 1e-4
        ends = [in_units(there_density, there + s * step)[0, -size:] for s in (1, -1)]
        columns.append((ends[0] - ends[1]) / 2e-4)
    log_det = np.linalg.slogdet(np.array(columns))[1]
    expected = density.log_density(u) + log_det
    assert np.allclose(there_density.log_density(there), expected, atol=1e-4)
    assert PER_UNIT > 0


def test_pymc_has_the_same_likelihood():
    density = MODEL.density(bs.as_runs(table(8)))
    model = MODEL.to_pymc(bs.as_runs(table(8)))
    names = {v.name for v in model.free_RVs}
    assert "misfit_coordinate" in names
    u = points(density, 1)
    values = density.values(u, NUMPY)
    x = density.split(u)["misfit_at"][0]
    at = model.initial_point()
    for v in density.variables:
        key = f"{v.name}_at_pivot" if f"{v.name}_at_pivot" in names else v.name
        found = [k for k in at if k == key or k.startswith((f"{key}_log__", f"{v.name}_above"))]
        raw = values[v.name][0, 0]
        at[found[0]] = np.asarray(np.log(raw - v.prior.low))
    at["misfit_coordinate"] = x
    observed = model.compile_logp(vars=model.observed_RVs)(at)
    assert observed == pytest.approx(density.log_likelihood(values, NUMPY).sum(), abs=1e-6)


def four_places() -> tuple:
    """Four places, where the integral over the levels can be done on a grid."""
    rng = np.random.default_rng(5)
    N, T = np.repeat([1e7, 6e7, 4e8, 2e9], 3), np.repeat([1e9, 6e9, 2e10, 1e11], 3)
    law = 1.8 + 480.0 * N**-0.35 + 2000.0 * T**-0.37
    loss = law * np.exp(0.01 * rng.standard_t(3, 12))
    density = MODEL.density(bs.as_runs(pd.DataFrame({"N": N, "T": T, "loss": loss})))
    # seeds are not recorded, so runs of one place are replicates; here each stands alone
    return density, integrated(density)


GRID = np.linspace(-4.5, 4.5, 15)


def on_grid(density, one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four levels on a grid, and their log density with the readings."""
    w = np.stack(np.meshgrid(*[GRID] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    joint = np.concatenate([np.tile(one, (len(w), 1)), w], axis=1)
    terms = [
        density.log_likelihood(density.values(part, NUMPY), NUMPY).sum(axis=-1)
        for part in np.array_split(joint, 50)
    ]
    return w, np.concatenate(terms) + stats.norm.logpdf(w).sum(axis=1)


def test_the_integral_with_what_laplace_lacked_is_that_of_a_grid():
    density, marginal = four_places()
    u = 0.4 * np.random.default_rng(2).standard_normal((4, marginal.size))
    laplace = marginal.regression_at(u).log_integral
    _, lacking = marginal.with_levels(np.repeat(u, 500, axis=0), np.random.default_rng(0))
    lacking = lacking.reshape(4, 500)
    exact = []
    for one in u:
        _, log_p = on_grid(density, one)
        total = np.exp(log_p - log_p.max()).reshape([len(GRID)] * 4)
        for _ in range(4):
            total = integrate.simpson(total, x=GRID, axis=-1)
        exact.append(np.log(total) + log_p.max())
    assert np.abs(laplace - exact).max() > 0.5  # with heavy tails; it would be news were it not
    mended = laplace + np.log(np.exp(lacking).mean(axis=1))
    assert np.abs(mended - exact).max() < 0.1
    assert lacking.std(axis=1).max() < 0.6


def test_levels_drawn_are_those_of_a_grid():
    density, marginal = four_places()
    one = 0.3 * np.random.default_rng(3).standard_normal(marginal.size)
    drawn = marginal.with_levels(np.tile(one, (4000, 1)), np.random.default_rng(0))[0][:, -4:]
    w, log_p = on_grid(density, one)
    weight = np.exp(log_p - log_p.max())
    mean = (weight @ w) / weight.sum()
    sd = np.sqrt((weight @ (w - mean) ** 2) / weight.sum())
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.08
    assert np.abs(np.log(drawn.std(axis=0) / sd)).max() < 0.08


def test_a_point_out_of_reach_does_not_stop_the_others():
    _, marginal = four_places()
    u = np.zeros((3, marginal.size))
    u[1] = 60.0
    with np.errstate(all="ignore"):
        found = marginal.regression_at(u).log_integral
    assert np.isfinite(found[[0, 2]]).all() and found[0] == found[2]


def test_normal_noise_is_integrated_without_error():
    """Everything is normal, so the integral is a density of a multivariate normal."""
    model = replace(MODEL, noise=bs.Noise(tail="normal"))
    density = model.density(bs.as_runs(table(9)))
    marginal = integrated(density)
    u = points(marginal, 4)
    values = marginal.values(u, NUMPY)
    parameters = density.parameters(values, NUMPY)
    log_law, share = density.at_places(parameters, NUMPY)
    features = share[..., None] * density.anchors.features(values)
    for i in range(4):
        cov = features[i] @ features[i].T + values["sigma"][i, 0] ** 2 * np.eye(9)
        of = density.anchors.places.of_reading
        gap = density.table.response - log_law[i, of]
        expected = stats.multivariate_normal.logpdf(gap, cov=cov[np.ix_(of, of)])
        assert marginal.regression_at(u[i : i + 1]).log_integral[0] == pytest.approx(expected)
