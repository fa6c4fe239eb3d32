"""Levels of cells: the approximate marginal against quadrature and sampling, and its gradient."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from bayescale.models.arrays import arrays
from bayescale.models.misfit import (
    Cells,
    Student,
    cells_of,
    covariance,
    draw_levels,
    kernel,
    log_marginal,
    sites,
    student_constant,
)
from bayescale.models.misfit_paths import Paths

NUMPY = arrays("numpy")
PLACE = np.array([[18.0, 23.0], [19.0, 23.5], [20.5, 25.0]])


def small(readings: int, seed: int = 0, nu: float = 4.0):
    """Three cells with heavy-tailed residuals; one draw, so arrays have one leading axis."""
    rng = np.random.default_rng(seed)
    cells = Cells(np.repeat(np.arange(3), readings), np.zeros(3, int), PLACE, ("N", "T"))
    level = np.array([0.004, -0.006, 0.002])
    scale = 0.002 * rng.uniform(1.0, 4.0, 3 * readings)[None]
    residual = level[cells.of_reading] + scale * rng.standard_t(nu, 3 * readings)
    shape = np.array([[nu]])
    noise = Student(scale, shape, student_constant(shape, NUMPY))
    values = {"misfit": np.array([[0.005]]), "misfit_length": np.array([[2.0]]),
              "cell_sigma": np.array([[0.001]])}  # fmt: skip
    return residual, noise, values, cells


def by_quadrature(residual, noise, values, cells, moment=None) -> float:
    """The integral over three levels on a grid: the density of the runs, or a mean of levels."""
    root = np.linalg.cholesky(covariance(cells, values, NUMPY)[0])
    grid = np.linspace(-5.0, 5.0, 61)
    u = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    level = u @ root.T
    log_p = stats.norm.logpdf(u).sum(axis=1)
    for c in range(3):
        here = cells.of_reading == c
        z = (residual[0, here] - level[:, c, None]) / noise.scale[0, here]
        terms = stats.t.logpdf(z, noise.nu[0, 0]) - np.log(noise.scale[0, here])
        log_p = log_p + terms.sum(axis=1)
    weight = np.exp(log_p - log_p.max())
    if moment is not None:
        return float(np.sum(weight * moment(level)) / weight.sum())
    return float(np.log(weight.sum()) + log_p.max() + 3 * np.log(grid[1] - grid[0]))


@pytest.mark.parametrize(("readings", "error"), [(2, 0.5), (6, 0.6), (20, 0.15)])
def test_marginal_over_levels_is_that_of_quadrature(readings, error):
    """A normal site for heavy tails, three cells: measured 0.38, 0.47 and 0.12 at most."""
    for seed in range(3):
        case = small(readings, seed)
        off = float(log_marginal(*case, NUMPY)[0]) - by_quadrature(*case)
        assert abs(off) < error, (seed, off)


def test_marginal_is_exact_where_the_noise_is_nearly_normal():
    """Tails of nu = 2000: the integral is a multivariate normal density."""
    residual, noise, values, cells = small(5, nu=2000.0)
    spread = covariance(cells, values, NUMPY)[0][np.ix_(cells.of_reading, cells.of_reading)]
    dense = spread + np.diag(noise.scale[0] ** 2)
    expected = stats.multivariate_normal.logpdf(residual[0], cov=dense)
    assert float(log_marginal(residual, noise, values, cells, NUMPY)[0]) == pytest.approx(
        expected, abs=0.02
    )


def test_levels_held_far_out_in_the_tails_make_no_peak():
    """Narrow noise of many degrees of freedom, losses 300 sd from a law that levels must follow."""
    cells = Cells(np.repeat(np.arange(3), 8), np.zeros(3, int), PLACE, ("N", "T"))
    residual = (np.array([0.3, -0.5, 0.4])[cells.of_reading] + 0.01 * np.tile([1.0, -1.0], 12))[
        None
    ]
    scale, shape = np.full((1, 24), 0.001), np.array([[1.5e5]])
    noise = Student(scale, shape, student_constant(shape, NUMPY))
    values = {"misfit": np.array([[6e-4]]), "misfit_length": np.array([[460.0]]),
              "cell_sigma": np.array([[1e-6]])}  # fmt: skip
    most = float((noise.constant - np.log(scale)).sum())  # all readings at the middle of the noise
    found = float(log_marginal(residual, noise, values, cells, NUMPY)[0])
    assert found < most
    _, _, height = sites(residual, noise, np.array([[6e-4]]), cells, NUMPY)
    assert float(height.sum()) <= most + 1e-9


def test_drawn_levels_have_the_mean_and_spread_of_quadrature():
    case = small(8, 1)
    wide = [np.repeat(case[0], 1500, axis=0),
            Student(*(np.repeat(np.broadcast_to(x, (1, x.shape[-1])), 1500, axis=0)
                      for x in (case[1].scale, case[1].nu, case[1].constant))),
            {k: np.repeat(v, 1500, axis=0) for k, v in case[2].items()}, case[3]]  # fmt: skip
    drawn = draw_levels(*wide, NUMPY, np.random.default_rng(0))
    for c in range(3):
        mean = by_quadrature(*case, moment=lambda x, c=c: x[:, c])
        square = by_quadrature(*case, moment=lambda x, c=c: x[:, c] ** 2)
        sd = np.sqrt(square - mean**2)
        assert abs(drawn[:, c].mean() - mean) < 0.15 * sd  # of the site, not of chance
        assert drawn[:, c].std() == pytest.approx(sd, rel=0.12)


def test_gradient_is_that_of_the_value():
    """A mode held constant under differentiation gave the gradient of another function: its
    slope along scale, tail and location must be that of central differences of the value."""
    residual, noise, values, cells = small(4, 2)
    names = list(values)

    def log_density(x, xp):
        scale = noise.scale[0] * xp.exp(x[0])
        nu = xp.exp(x[1:2]) * noise.nu[0]
        own = Student(scale, nu, student_constant(nu, xp))
        spread = {k: values[k][0] * xp.exp(x[3 + i]) for i, k in enumerate(names)}
        return log_marginal(residual[0] - 0.01 * x[2] - 0.003 * x[6] * (cells.of_reading == 1),
                            own, spread, cells, xp)  # fmt: skip

    at = np.array([0.2, -0.3, 0.1, -0.4, 0.2, 0.5, 0.3])
    xp = arrays("jax")
    with jax.enable_x64(True):
        value, slope = jax.value_and_grad(lambda x: log_density(x, xp))(at)
        found = np.asarray(slope)
        step = 1e-5 * np.eye(len(at))
        difference = [float(log_density(at + s, xp) - log_density(at - s, xp)) / 2e-5 for s in step]
    assert float(value) == pytest.approx(float(log_density(at, NUMPY)), rel=1e-10)
    np.testing.assert_allclose(found, difference, rtol=1e-4, atol=1e-4)


def test_sites_find_the_mode_that_a_minimiser_finds():
    from scipy.optimize import minimize_scalar

    residual, noise, _, cells = small(5, 3)
    spread = np.array([[0.0051]])
    centre, precision, _ = sites(residual, noise, spread, cells, NUMPY)
    mode = precision * centre / (precision + spread**-2)  # of site times an independent prior
    for c in range(3):
        here = cells.of_reading == c

        def cost(x, here=here):
            z = (residual[0, here] - x) / noise.scale[0, here]
            return 0.5 * (x / spread[0, 0]) ** 2 - stats.t.logpdf(z, noise.nu[0, 0]).sum()

        found = minimize_scalar(cost, bounds=(-0.03, 0.03), method="bounded",
                                options={"xatol": 1e-9})  # fmt: skip
        assert mode[0, c] == pytest.approx(found.x, abs=0.03 / np.sqrt(precision[0, c]))


def test_kernel_is_scikit_free_matern_three_halves():
    """k(r) = sd^2 (1 + sqrt3 r/l) exp(-sqrt3 r/l), positive definite, one sd^2 at zero."""
    k = kernel(PLACE, PLACE, np.array([0.3]), np.array([1.7]), NUMPY)
    r = np.sqrt(3.0) * np.linalg.norm(PLACE[0] - PLACE[2]) / 1.7
    assert k[0, 2] == pytest.approx(0.09 * (1 + r) * np.exp(-r))
    np.testing.assert_allclose(np.diag(k), 0.09)
    assert np.linalg.eigvalsh(k).min() > 0


def test_levels_of_two_families_are_independent():
    _, _, values, cells = small(2)
    apart = Cells(cells.of_reading, np.array([0, 1, 1]), PLACE, cells.axes)
    found = covariance(apart, values, NUMPY)[0]
    assert found[0, 1] == found[0, 2] == 0.0 and found[1, 2] > 0


def test_cells_are_one_place_each_in_a_stable_order():
    N = np.array([1e8, 2e8, 1e8, 2e8, 1.004e8])
    order, cells = cells_of({"N": N}, ("N",), np.zeros(5, int))
    assert len(cells) == 2 and cells.replicated
    np.testing.assert_array_equal(order, [0, 2, 4, 1, 3])
    np.testing.assert_allclose(cells.place[1], np.log(2e8))
    many = np.exp(np.linspace(15.0, 25.0, 2000))
    assert len(cells_of({"N": many}, ("N",), np.zeros(2000, int))[1]) <= 150


def test_levels_of_a_few_heavy_tailed_runs_are_at_their_modes():
    """Steps ten times as long as a reweighting's cycled, and NUTS stood still at the jumps."""
    rng = np.random.default_rng(4)
    n, readings, nu, spread = 400, 5, 1.5, 0.02
    place = np.column_stack([np.linspace(18, 26, n), np.linspace(21, 27, n)])
    cells = Cells(np.repeat(np.arange(n), readings), np.zeros(n, int), place, ("N", "T"))
    residual = 0.004 * rng.standard_t(2.0, (1, n * readings))
    shape = np.array([[nu]])
    noise = Student(np.full_like(residual, 0.001), shape, student_constant(shape, NUMPY))
    centre, precision, _ = sites(residual, noise, np.array([[spread]]), cells, NUMPY)
    level = centre * precision / (precision + spread**-2)  # where likelihood and prior meet
    z = residual - level[:, cells.of_reading]
    weight = (nu + 1.0) / (nu * 0.001**2 + z * z)
    pull = NUMPY.group_sum(weight * z, cells.of_reading, n) - level * spread**-2
    whole = NUMPY.group_sum(weight, cells.of_reading, n) + spread**-2
    assert np.abs(pull / whole).max() < 3e-4  # of a noise of 1e-3; it was ten times that


@pytest.mark.parametrize(("nu", "spread"), [(1.2, 0.005), (2.0, 0.02), (5.0, 0.02)])
def test_levels_arrive_whatever_lies_in_a_cell(nu, spread):
    """Cells of one to seven runs, noise of each its own, Cauchy misses: nothing left to climb."""
    rng = np.random.default_rng(0)
    n = 2000
    of = np.repeat(np.arange(n), rng.integers(1, 8, n))
    place = np.column_stack([np.linspace(18, 26, n), np.linspace(21, 27, n)])
    cells = Cells(of, np.zeros(n, int), place, ("N", "T"))
    scale = rng.choice([0.0005, 0.002, 0.01], (1, len(of)))
    residual = 3 * scale * rng.standard_t(1.0, (1, len(of)))
    residual += (spread * rng.standard_normal(n))[of]
    shape = np.array([[nu]])
    noise = Student(scale, shape, student_constant(shape, NUMPY))
    values = {"misfit": np.array([[spread]]), "misfit_length": np.array([[3.0]])}
    centre, precision, _ = sites(residual, noise, values["misfit"], cells, NUMPY)
    level = centre * precision / (precision + spread**-2)
    z = residual - level[:, of]
    weight = (nu + 1.0) / (nu * scale**2 + z * z)
    pull = NUMPY.group_sum(weight * z, of, n) - level * spread**-2
    whole = NUMPY.group_sum(weight, of, n) + spread**-2
    assert (0.5 * pull**2 / whole).max() < 1e-3  # of log density; it was 10


def paths(samples: int = 1500, own: float | None = None) -> Paths:
    """Levels drawn from the prior, so that a path anywhere must have the prior's moments."""
    cells = Cells(np.arange(3), np.zeros(3, int), PLACE, ("N", "T"))
    values = {"misfit": np.full((1, 1), 0.01), "misfit_length": np.full((1, 1), 2.0)}
    if own:
        values["cell_sigma"] = np.full((1, 1), own)
    root = np.linalg.cholesky(covariance(cells, values, NUMPY)[0])
    levels = np.random.default_rng(1).standard_normal((samples, 3)) @ root.T
    full = lambda x: np.full((samples, 1), x)  # noqa: E731
    return Paths(cells, 0, levels, full(0.01), full(2.0), full(own) if own else None)


def test_paths_go_through_the_levels():
    found = paths()
    np.testing.assert_allclose(found(PLACE[None]), found.levels, atol=2e-6)


def test_paths_have_the_moments_of_the_process_between_and_beyond_cells():
    found = paths(own=0.002)
    where = np.array([[[18.5, 23.2], [26.0, 30.0]]])
    at = found(where)
    error = 0.01 * np.sqrt(0.5 / len(at))  # of a standard deviation
    assert np.abs(at.mean(axis=0)).max() < 4 * 0.01 / np.sqrt(len(at))
    # 96 random features give the variance of one path family within a few per cent
    assert np.abs(at.std(axis=0) - 0.01).max() < 4 * error + 0.0006
    together = np.mean(at[:, 0] * found.levels[:, 0])
    expected = kernel(where[0][:1], PLACE[:1], np.array([0.01]), np.array([2.0]), NUMPY)[0, 0]
    assert together == pytest.approx(expected, abs=5 * 1e-4 / np.sqrt(len(at)) + 5e-6)


def test_the_same_point_has_the_same_misfit_in_every_call():
    found, where = paths(50), np.array([[[21.0, 24.0]]])
    more = np.array([[[17.0, 22.0], [21.0, 24.0]]])
    np.testing.assert_allclose(found(where)[:, 0], found(more)[:, 1], rtol=0, atol=1e-8)
