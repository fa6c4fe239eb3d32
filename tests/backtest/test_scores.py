"""Scores against closed forms, and against what each of them is for."""

import numpy as np
import pytest
from scipy import stats

from bayescale.backtest.scores import crps, interval_score, log_score, scored, summary, wilson

RNG = np.random.default_rng(0)
DRAWS = RNG.normal(2.0, 0.5, (20_000, 3))
SEEN = np.array([2.0, 2.6, 0.9])


def test_crps_is_that_of_the_normal():
    z = (SEEN - 2.0) / 0.5
    exact = 0.5 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(crps(DRAWS, SEEN), exact, atol=0.01)


def test_crps_of_few_draws_is_that_of_all_pairs():
    draws, y = np.random.default_rng(1).normal(size=(7, 2)), np.array([0.1, -0.4])
    for k in range(2):
        x = draws[:, k]
        pairs = [abs(a - b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
        by_hand = np.mean(np.abs(x - y[k])) - np.mean(pairs) / 2
        assert crps(draws, y)[k] == pytest.approx(by_hand)


def test_log_score_is_the_density_and_stays_finite_far_out():
    exact = -stats.norm.logpdf(SEEN, 2.0, 0.5)
    np.testing.assert_allclose(log_score(DRAWS, SEEN), exact, atol=0.12)
    far = log_score(DRAWS[:, :1], np.array([200.0]))[0]
    assert 5 < far < 100


def test_interval_score_adds_what_was_missed():
    lower, upper = np.array([1.0, 1.0]), np.array([3.0, 3.0])
    got = interval_score(lower, upper, np.array([2.0, 3.5]), 0.9)
    np.testing.assert_allclose(got, [2.0, 2.0 + 20 * 0.5])


@pytest.mark.parametrize("score", [crps, log_score])
def test_the_truth_scores_best(score):
    """Proper: no other spread or place does better on average."""
    seen = np.random.default_rng(1).normal(2.0, 0.5, 400)
    z = np.random.default_rng(2).standard_normal((2000, 400))
    score_of = lambda place, sd: score(place + sd * z, seen).mean()  # noqa: E731
    true = score_of(2.0, 0.5)
    assert all(true < score_of(*other) for other in ((2.0, 0.25), (2.0, 1.0), (2.3, 0.5)))


def test_pit_is_uniform_and_counts_agree_with_it():
    seen = np.random.default_rng(3).normal(2.0, 0.5, 300)
    draws = np.random.default_rng(4).normal(2.0, 0.5, (2000, 300))
    found = scored(draws, seen, (0.5, 0.9))
    assert stats.kstest(found["pit"], "uniform").pvalue > 0.01
    central = np.abs(2 * found["pit"] - 1) <= 0.9
    assert abs(central.mean() - found["inside_90"].mean()) < 0.01
    told = summary(found, (0.5, 0.9))
    assert told["coverage_90_low"] < 0.9 < told["coverage_90_high"]
    assert told["rmse"] == pytest.approx(np.sqrt(np.mean((found["median"] - seen) ** 2)))


def test_forecasts_that_are_no_numbers_are_counted_and_not_scored():
    draws = DRAWS.copy()
    draws[:, 1] = np.nan
    told = summary(scored(draws, SEEN, (0.9,)), (0.9,))
    assert told["forecasts"] == 2 and told["unanswered"] == 1
    assert np.isfinite(told["crps"])


def test_wilson_against_the_printed_example():
    # Newcombe 1998, Statistics in Medicine 17:857, 81 of 263, 95 %: 0.2553 to 0.3662
    low, high = wilson(81, 263, z=1.959964)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_forecast_without_a_mean_has_scores():
    """New runs under heavy tails: one draw in thousands is e^300, and the rest is a forecast."""
    z = np.random.default_rng(5).standard_t(1.0, (4000, 50))
    draws = np.exp(0.05 * np.clip(z, -1e4, 1e4))
    draws[0] = np.inf
    found = scored(draws, np.ones(50), (0.9,))
    assert found["median"].notna().all() and (found["crps"] < 0.5).all()
    assert np.isfinite(found["log_score"]).all()
