"""The likelihood of rounded answers against SciPy's tails, dense integrals and other libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy import stats

from bayescale.models.arrays import arrays
from bayescale.models.rounded import (
    answers_of,
    log_interval,
    log_likelihood,
    log_run,
    posterior_levels,
)

XP = arrays("numpy")
PLAIN = Mode(linker="py", optimizer="fast_compile")
NOISE = {"sigma": 0.08, "cell_sigma": 0.06, "straggler_share": 0.05, "straggler_scale": 6.0}

# lower and upper ends in the unit of the answer, one list a run
CELLS = {
    "as MLPerf's stable diffusion": [(1.024e6, 1.536e6)] * 13 + [(1.536e6, 2.048e6)] * 7,
    "ten runs in one bin": [(8.0, 9.0)] * 10,
    "one straggler": [(13.0, 14.0)] * 9 + [(19.0, 20.0)],
    "fine": [(x, 1.01 * x) for x in np.exp(0.08 * stats.norm.ppf((np.arange(15) + 0.5) / 15))],
    "one run": [(8.0, 9.0)],
    "half never got there": [(8.0, 9.0), (8.0, 9.0), (9.0, np.inf), (9.0, np.inf)],
    "met at the first look": [(0.0, 2.0), (0.0, 2.0), (2.0, 3.0)],
}


def ends(cell):
    with np.errstate(divide="ignore"):
        return np.log(np.array(cell).T)


def one_cell(cell):
    lower, upper = ends(cell)
    n = len(lower)
    return answers_of(lower, upper, np.zeros(n, int), np.zeros(1, int), {})


def by_family(noise):
    return {k: np.array([v]) for k, v in noise.items()}


def probability(lower, upper, level, p):
    """Probability of an interval at levels, by SciPy's tails, ``(level, run)``."""

    def between(sd):
        a, b = (lower - level[:, None]) / sd, (upper - level[:, None]) / sd
        left = stats.norm.cdf(b) - stats.norm.cdf(a)
        right = stats.norm.sf(a) - stats.norm.sf(b)
        return np.where(a > 0, right, left)

    share = p["straggler_share"]
    narrow, wide = between(p["sigma"]), between(p["sigma"] * p["straggler_scale"])
    return (1 - share) * narrow + share * wide


def dense(cell, mean, p):
    """The level integrated out on twenty thousand points; and its posterior mean."""
    lower, upper = ends(cell)
    seen = np.r_[lower[np.isfinite(lower)], upper[np.isfinite(upper)]]
    reach = 8 * p["cell_sigma"]
    level = np.unique(
        np.r_[np.linspace(mean - reach, mean + reach, 10_001),
              np.linspace(seen.min() - 0.3, seen.max() + 0.3, 10_001)]
    )  # fmt: skip
    with np.errstate(divide="ignore"):
        log_f = np.log(probability(lower, upper, level, p)).sum(axis=1)
    log_f = log_f + stats.norm.logpdf(level, mean, p["cell_sigma"])
    f = np.exp(log_f - log_f.max())
    total = np.trapezoid(f, level)
    return np.log(total) + log_f.max(), np.trapezoid(f * level, level) / total


@pytest.mark.parametrize(("a", "b"), [(-1.0, 0.5), (2.0, 2.001), (-8.0, -7.9), (5.0, 9.0)])
def test_interval_is_the_difference_of_the_distribution_function(a, b):
    expected = (
        stats.norm.sf(a) - stats.norm.sf(b) if a > 0 else stats.norm.cdf(b) - stats.norm.cdf(a)
    )
    assert log_interval(a, b, XP) == pytest.approx(np.log(expected), rel=1e-10)


@pytest.mark.parametrize("z", [-40.0, 40.0])
def test_far_intervals_keep_their_digits_where_probabilities_vanish(z):
    found = log_interval(z, z + 0.01, XP)
    grid = np.linspace(z, z + 0.01, 100_001)
    log_p = stats.norm.logpdf(grid)
    expected = log_p.max() + np.log(np.trapezoid(np.exp(log_p - log_p.max()), grid))
    assert found == pytest.approx(expected, rel=1e-9)
    assert log_interval(-z - 0.01, -z, XP) == pytest.approx(found, rel=1e-14)


def test_probabilities_of_all_bins_sum_to_one():
    edges = np.linspace(-3, 3, 401)
    log_p = log_run(edges[:-1], edges[1:], 0.1, 0.05, 6.0, XP)
    assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_level_is_integrated_out(name):
    cell = CELLS[name]
    lower, upper = ends(cell)
    middle = np.median(np.where(np.isinf(lower), upper, np.where(np.isinf(upper), lower, upper)))
    for sigma in (0.02, 0.08, 0.2):
        for cell_sigma in (0.01, 0.06, 0.15):
            p = {**NOISE, "sigma": sigma, "cell_sigma": cell_sigma}
            for away in (-1.0, 0.0, 1.5):
                mean = middle + away * np.hypot(cell_sigma, sigma / np.sqrt(len(cell)))
                found = log_likelihood(one_cell(cell), np.array([mean]), by_family(p), XP)[0]
                expected, _ = dense(cell, mean, p)
                # nodes are 0.6 of a width apart; flat tops (all runs in one bin) integrate worst
                assert found == pytest.approx(expected, abs=0.06), (sigma, cell_sigma, away)


def test_without_replicates_a_run_is_its_cell():
    p = {k: v for k, v in NOISE.items() if k != "cell_sigma"}
    lower, upper = np.log([8.0, 10.0, 11.0]), np.log([9.0, 11.0, 12.0])
    answers = answers_of(lower, upper, np.arange(3), np.zeros(3, int), {})
    assert not answers.replicated
    mean = np.log([8.5, 10.5, 14.0])
    found = log_likelihood(answers, mean, by_family(p), XP)
    expected = [
        np.log(probability(lower[i : i + 1], upper[i : i + 1], mean[i : i + 1], NOISE)[0, 0])
        for i in range(3)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_order_of_runs_does_not_matter_and_counts_add_up():
    cell = CELLS["one straggler"]
    lower, upper = ends(cell)
    shuffled = np.random.default_rng(0).permutation(len(lower))
    zero = np.zeros(len(lower), int)
    answers = answers_of(lower[shuffled], upper[shuffled], zero, np.zeros(1, int), {})
    np.testing.assert_array_equal(answers.count, [9, 1])
    mean = np.array([np.log(13.5)])
    assert log_likelihood(answers, mean, by_family(NOISE), XP) == pytest.approx(
        log_likelihood(one_cell(cell), mean, by_family(NOISE), XP), rel=1e-14
    )


def test_three_libraries_agree_in_value_and_gradient():
    lower, upper = map(
        np.concatenate, zip(*(ends(CELLS[c]) for c in list(CELLS)[1:5]), strict=True)
    )
    sizes = [len(CELLS[c]) for c in list(CELLS)[1:5]]
    cell, family = np.repeat(np.arange(4), sizes), np.array([0, 1, 0, 1])
    answers = answers_of(lower, upper, cell, family, {})
    mean = np.log([8.4, 13.7, 1.02, 8.8])
    noise = {k: np.array([v, 1.2 * v]) for k, v in NOISE.items()}
    expected = log_likelihood(answers, mean, noise, XP)
    batched = log_likelihood(
        answers, np.stack([mean, mean]), {k: np.stack([v, v]) for k, v in noise.items()}, XP
    )
    np.testing.assert_allclose(batched, [expected, expected], rtol=1e-13)
    with jax.enable_x64(True):
        xp = arrays("jax")

        def total(s):
            return log_likelihood(answers, jnp.asarray(mean), {**noise, "sigma": s}, xp).sum()

        value, slope = jax.value_and_grad(total)(jnp.asarray(noise["sigma"]))
    assert float(value) == pytest.approx(expected.sum(), rel=1e-11)
    h = 1e-6
    for i in range(2):
        step = np.where(np.arange(2) == i, h, 0.0)
        high, low = (
            log_likelihood(answers, mean, {**noise, "sigma": noise["sigma"] + d}, XP).sum()
            for d in (step, -step)
        )
        assert float(slope[i]) == pytest.approx((high - low) / (2 * h), rel=1e-5)
    sigma = pt.dvector()
    out = log_likelihood(answers, pt.as_tensor(mean), {**noise, "sigma": sigma}, arrays("pytensor"))
    by_pytensor = pytensor.function([sigma], out, mode=PLAIN)(noise["sigma"])
    np.testing.assert_allclose(by_pytensor, expected, rtol=1e-7)  # PyMC's own log Phi is that exact


def test_gradients_are_numbers_far_from_the_data():
    answers = one_cell(CELLS["half never got there"])
    noise = {k: jnp.array([v]) for k, v in NOISE.items()}
    with jax.enable_x64(True):
        noise = {k: jnp.array([v]) for k, v in NOISE.items()}
        for mean in (-20.0, 0.0, 30.0):
            slope = jax.grad(lambda m: log_likelihood(answers, m, noise, arrays("jax")).sum())(
                jnp.array([mean])
            )
            assert np.isfinite(slope).all()


def test_drawn_levels_have_the_mean_of_the_dense_posterior():
    cell = CELLS["one straggler"]
    mean = np.full((20_000, 1), np.log(13.0))
    noise = {k: np.full((20_000, 1), v) for k, v in NOISE.items()}
    drawn = posterior_levels(one_cell(cell), mean, noise, np.random.default_rng(0))
    _, expected = dense(cell, np.log(13.0), NOISE)
    # sd of a level is about 0.02: five standard errors of 20,000 draws are 0.0007
    assert drawn.mean() == pytest.approx(expected - np.log(13.0), abs=0.001)
