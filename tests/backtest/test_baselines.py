"""Baselines find planted constants, and their intervals hold where their assumptions do."""

import numpy as np
import pytest

from bayescale.backtest.baselines import BASELINES, DRAWS, FEWEST, best_size, optima_of_slices
from bayescale.backtest.point_fit import HUBER, Rows, point_fit

TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
BUDGET = 1e22
# alpha A N^-alpha = beta B T^-beta on the budget
BEST = (
    (TRUTH["alpha"] * TRUTH["A"] / (TRUTH["beta"] * TRUTH["B"])) ** (1 / 0.72)
    * (BUDGET / 6) ** (0.37 / 0.72)
)  # fmt: skip


def law(N, T):
    return TRUTH["E"] + TRUTH["A"] * N ** -TRUTH["alpha"] + TRUTH["B"] * T ** -TRUTH["beta"]


def rows_of(noise, seed=0, slices=8, sizes=9):
    rng = np.random.default_rng(seed)
    flops = np.repeat(np.geomspace(1e18, 1e21, slices), sizes)
    middle = 0.1 * flops**0.5
    N = middle * np.tile(np.geomspace(0.2, 5.0, sizes), slices)
    T = flops / (6 * N)
    return Rows(N, T, law(N, T) * np.exp(noise * rng.standard_normal(len(N))))


@pytest.mark.parametrize("delta", [None, HUBER])
def test_point_fits_find_the_planted_constants(delta):
    found = point_fit(rows_of(0.0), delta).constants
    assert found == pytest.approx(TRUTH, rel=1e-3)


def test_slopes_agree_with_differences():
    rows = rows_of(0.01)
    fit = point_fit(rows, None)
    steps = 1e-6 * np.eye(5)
    ends = fit.log_loss(rows.N, rows.T, np.concatenate([fit.p + steps, fit.p - steps]))
    np.testing.assert_allclose(fit.jacobian(rows).T, (ends[:5] - ends[5:]) / 2e-6, atol=1e-7)


def test_best_size_is_where_the_law_is_smallest():
    fit = point_fit(rows_of(0.0), None)
    N = np.geomspace(BEST / 3, BEST * 3, 20_001)
    smallest = N[np.argmin(fit.log_loss(N, BUDGET / 6 / N))]
    assert best_size(fit, fit.p[None], BUDGET)[0] == pytest.approx(smallest, rel=1e-3)
    assert smallest == pytest.approx(BEST, rel=1e-2)


def test_huber_shrugs_off_a_bad_run_and_squares_do_not():
    rows = rows_of(0.001)
    loss = rows.loss.copy()
    loss[5] *= 1.5
    bad = Rows(rows.N, rows.T, loss)
    error = {d: abs(point_fit(bad, d).constants["E"] - TRUTH["E"]) for d in (None, HUBER)}
    assert error[HUBER] < 0.02 < error[None]


@pytest.mark.statistical
@pytest.mark.parametrize("name", ["least_squares", "huber", "conformal"])
def test_intervals_hold_where_the_law_is_right(name):
    """Inside the data, normal noise: every one of them promises no more than it can keep."""
    inside = []
    for seed in range(12):
        rows = rows_of(0.01, seed)
        new = rows_of(0.01, seed + 100)
        draws = BASELINES[name].forecast(rows, new.N, new.T, np.random.default_rng(seed))
        lower, upper = np.quantile(draws, [0.05, 0.95], axis=0)
        inside.append(np.mean((lower <= new.loss) & (new.loss <= upper)))
    assert 0.85 < np.mean(inside) < 0.97


@pytest.mark.parametrize("name", ["least_squares", "huber", "parabolas"])
def test_intervals_of_the_best_size_hold_the_truth(name):
    sizes = BASELINES[name].sizes(rows_of(0.003), BUDGET, np.random.default_rng(0))
    low, high = np.nanquantile(sizes, [0.005, 0.995])
    assert low < BEST < high < 30 * low


def test_parabolas_need_slices_with_a_minimum_inside():
    rows = rows_of(0.0)
    log_c, log_n, error = optima_of_slices(rows)
    assert len(log_c) == 8 and (error < 0.1).all()
    assert np.all(np.diff(log_n) > 0)
    scattered = Rows(rows.N, rows.T * np.random.default_rng(0).uniform(1, 3, len(rows)), rows.loss)
    assert np.isnan(BASELINES["parabolas"].sizes(scattered, BUDGET, np.random.default_rng(0))).all()


@pytest.mark.parametrize("name", ["least_squares", "huber", "conformal"])
def test_the_fewest_rows_are_enough_for_a_forecast(name):
    rows = rows_of(0.01, slices=2, sizes=3)
    assert len(rows) == FEWEST
    draws = BASELINES[name].forecast(rows, rows.N, rows.T, np.random.default_rng(0))
    assert draws.shape == (DRAWS, FEWEST) and not np.isnan(draws).any()
