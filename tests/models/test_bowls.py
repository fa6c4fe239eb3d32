"""What cells own is integrated out of the bowls: against quadrature, differences and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import bayescale as bs
from bayescale.inference.scoring import find_bowls
from bayescale.models.arrays import arrays
from bayescale.models.bowls import WIDE, Bowls, Near
from bayescale.models.levels import parts_of

NUMPY = arrays("numpy")
SIZES, LENGTHS = [[1e8], [4e8], [1e9]], [3e9, 3e10]


def bowls_of(runs, **kw):
    density = bs.HyperparameterModel("additive", **kw).density(runs)
    return Bowls(density.law, density.table, parts_of(density)[0], density)


@pytest.fixture(scope="module")
def rates():
    """Eighteen rates a cell, three sizes of two lengths."""
    runs = bs.datasets.simulate_sweep(
        "additive", {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.36, "beta": 0.36},
        N=SIZES, T=LENGTHS, scatter=0.1, scatter_of_sizes=0.2, random_seed=2,
        multiples={"batch_size": [1.0], "learning_rate": np.geomspace(0.1, 8, 18)},
    )  # fmt: skip
    return bowls_of(runs, hyperparameters=("learning_rate",))


@pytest.fixture(scope="module")
def grids():
    """Nine runs a cell of batch and rate; some diverged, the table is cut off."""
    runs = bs.datasets.simulate_sweep(
        N=SIZES, T=LENGTHS, multiples=(0.25, 0.7, 1.6, 3.5), cliff=1.0, random_seed=2
    )
    return bowls_of(runs, truncated_at=3.6)


def shapes(bowls, n, sd=0.3, seed=0):
    return sd * np.random.default_rng(seed).standard_normal((n, bowls.size))


def by_quadrature(bowls, u):
    """Log likelihood of one shape: sums over levels and offsets of cells, and over sizes."""
    values = {k: float(v[0, 0]) for k, v in bowls.values(u[None], NUMPY).items()}
    surface, table, cells = bowls.whole.surface, bowls.table, bowls.whole.cells
    from bayescale.models.coordinates import natural_parameters

    named = natural_parameters(
        bowls.law, {k: np.array([v]) for k, v in values.items()}, table.pivot, table.typical, NUMPY,
        without={"E", "A", "B", "alpha", "beta"},
    )  # fmt: skip
    named = {k: float(v[0]) for k, v in named.items()}
    step, sd, sd_n = np.linspace(-5, 5, 61), values["rate_scatter"], values["rate_scatter_N"]
    shared = sd_n * step
    own, total = bowls.of_cells(u[None]), 0.0
    width = np.sqrt(np.diagonal(own.covariance[0], axis1=-2, axis2=-1))
    for size in range(cells.n_sizes):
        of_shared = stats.norm.logpdf(shared, 0, sd_n) + np.log(sd_n * (step[1] - step[0]))
        inner = []
        for cell in np.flatnonzero(cells.size_of == size):
            mine = cells.of_reading == cell
            at = {k: v[mine] for k, v in table.inputs.items()} | named
            y, start = table.response[mine], bowls.start[cell, 0]
            offset = own.mean[0, cell, 1] + (width[cell, 1] + sd_n) * np.linspace(-9, 9, 301)
            price = sum(
                surface.prices({**at, "rate_offset": offset[:, None]}, NUMPY).values()
            )  # (offset, run)
            scale = np.hypot(values["sigma"], values["price_noise"] * price)
            level = own.mean[0, cell, 0] + width[cell, 0] * np.linspace(-12, 12, 301)
            z = (y - price[None] - level[:, None, None]) / scale
            log_p = (stats.t.logpdf(z, values["nu"]) - np.log(scale)).sum(
                axis=-1
            )  # (level, offset)
            log_p = log_p + stats.norm.logpdf(level, start, WIDE)[:, None]
            log_p = log_p + np.log((level[1] - level[0]) * (offset[1] - offset[0]))
            about = stats.norm.logpdf(offset[None], shared[:, None], sd)  # (shared, offset)
            of_offset = logsumexp(log_p, axis=0)
            joint = about + of_offset
            inner.append(logsumexp(joint, axis=1))
        log_q = of_shared + sum(inner)
        total += logsumexp(log_q)
    return total


def test_the_density_of_the_shape_is_that_of_quadrature(rates):
    """Laplace's formula under Student noise errs by a tenth of log density, rms over shapes."""
    _, mode = find_bowls(rates)
    points = mode.u + shapes(rates, 6, 1.0) @ mode.cholesky.T
    found = rates.log_density(points) - rates.log_prior(points, NUMPY)
    expected = np.array([by_quadrature(rates, u) for u in points])
    assert rates.whole.sized
    error = found - expected
    assert np.abs(error - error.mean()).max() < 0.4  # a constant would not matter
    assert abs(error.mean()) < 0.3
    assert np.ptp(expected) > 5  # the shapes differ by far more than that


def test_with_normal_noise_and_known_shape_levels_are_weighted_means(rates):
    """Given a flat price the cell's level is the mean of its runs, its variance that of a mean."""
    index = [n for n, _ in rates.blocks]
    u = np.zeros((1, rates.size))
    u[0, index.index("nu")] = 8.0  # thousands of degrees of freedom
    u[0, index.index("rate_price")] = -12.0  # no price
    u[0, index.index("sigma")] = 3.0
    cells = rates.of_cells(u)
    values = rates.values(u, NUMPY)
    mine = rates.whole.cells.of_reading
    count = np.bincount(mine)
    mean = np.bincount(mine, rates.table.response) / count
    prior = 1.0 / WIDE**2
    precision = count / float(values["sigma"][0, 0]) ** 2
    expected = (precision * mean + prior * rates.start[:, 0]) / (precision + prior)
    np.testing.assert_allclose(cells.mean[0, :, 0], expected, atol=2e-4)
    np.testing.assert_allclose(cells.covariance[0, :, 0, 0], 1 / (precision + prior), rtol=0.02)
    # with nothing to say about offsets, cells have their prior about their size's
    scatter = float(values["rate_scatter"][0, 0])
    np.testing.assert_allclose(cells.covariance[0, :, 1, 1], scatter**2, rtol=0.02)


@pytest.mark.parametrize("form", ["noise_scale", "power"])
def test_slopes_are_those_of_the_log_likelihood(grids, form):
    bowls = grids
    if form == "power":
        runs = bs.datasets.simulate_sweep(
            N=SIZES, T=LENGTHS, multiples=(0.3, 1.0, 3.0), rate_form="power", random_seed=3
        )
        bowls = bowls_of(runs, rate_form="power")
    u = shapes(bowls, 2)
    runs = bowls.runs(u)
    rng = np.random.default_rng(4)
    x = bowls.start + rng.standard_normal((2, *bowls.start.shape)) * [0.002, 0.1, 0.1]
    seen = bowls.whole.truncated_at is None

    def likelihood(x):
        state = runs.at(x)
        out = runs.log_likelihood(state)
        if not seen:  # slopes leave the truncation out, which moves no mode by much
            log_law = bowls.table.response - state.residual
            out = out + bowls.whole.log_seen(log_law, state.noise, NUMPY)
        return runs.by_cell(out)

    slope, information = runs.slopes(runs.at(x))
    for k, step in enumerate((1e-6, 1e-5, 1e-5)):
        shift = step * np.eye(3)[k]
        expected = (likelihood(x + shift) - likelihood(x - shift)) / (2 * step)
        np.testing.assert_allclose(slope[..., k], expected, rtol=1e-4, atol=1e-3)
    seen = runs.curvature_seen(runs.at(x))
    for k, step in enumerate((1e-6, 1e-5, 1e-5)):
        shift = step * np.eye(3)[k]
        down, up = (runs.slopes(runs.at(x + s * shift))[0] for s in (-1, 1))
        # the curve by which the best rate follows the batch is taken as straight
        np.testing.assert_allclose(seen[..., k], (down - up) / (2 * step), rtol=0.02, atol=30.0)
    assert np.linalg.eigvalsh(information).min() > 0
    np.testing.assert_allclose(information, np.swapaxes(information, -1, -2))


def test_truncation_and_divergence_take_part(grids):
    u = shapes(grids, 3, 0.1)
    from dataclasses import replace

    plain = replace(grids, whole=replace(grids.whole, truncated_at=None, tried=None))
    assert not np.allclose(grids.log_density(u), plain.log_density(u))
    x = grids.of_cells(u).mean
    assert grids.terms(u, x).shape[1] == len(grids.table.response) + len(grids.whole.tried.diverged)


def test_scoring_from_near_by_gives_the_same_density(rates):
    u = shapes(rates, 20, 0.05, seed=1)
    own = rates.of_cells(u.mean(axis=0, keepdims=True)).mean[0]
    flat = np.zeros((*own.shape, rates.size))
    near = Bowls(
        rates.law, rates.table, rates.variables, rates.whole, Near(u.mean(axis=0), own, flat)
    )
    far = rates.log_density(u)
    assert np.ptp(far) > 3
    np.testing.assert_allclose(near.log_density(u), far, atol=0.1)


def test_batches_and_single_points_agree(grids):
    u = shapes(grids, 5)
    together = grids.log_density(u)
    np.testing.assert_allclose([float(grids.log_density(x)) for x in u], together, rtol=1e-12)
    cells = grids.of_cells(u)
    some = cells[np.array([3, 1])]
    np.testing.assert_array_equal(some.mean, cells.mean[[3, 1]])


def test_drawn_offsets_have_the_moments_of_their_laplace_approximation(rates):
    """Draws over sizes and cells against one dense normal, its precision written out."""
    u = np.repeat(shapes(rates, 1, 0.1), 6000, axis=0)
    rng = np.random.default_rng(5)
    cells = rates.of_cells(u, rng)
    drawn = cells.draw(rng)
    one = rates.of_cells(u[:1])
    values = {k: float(v[0, 0]) for k, v in rates.values(u[:1], NUMPY).items()}
    n, sizes = rates.n_cells, rates.whole.cells.n_sizes
    precision = np.zeros((2 * n + sizes, 2 * n + sizes))
    own, shared = 1 / values["rate_scatter"] ** 2, 1 / values["rate_scatter_N"] ** 2
    for c in range(n):
        block = slice(2 * c, 2 * c + 2)
        precision[block, block] = np.linalg.inv(one.covariance[0, c])
        size = 2 * n + rates.size_of[c]
        precision[2 * c + 1, size] = precision[size, 2 * c + 1] = -own
        precision[size, size] += own
    precision[range(2 * n, 2 * n + sizes), range(2 * n, 2 * n + sizes)] += shared
    covariance = np.linalg.inv(precision)
    sd = np.sqrt(np.diag(covariance))
    found = np.concatenate([drawn.reshape(6000, -1), cells.of_sizes[..., 0]], axis=1)
    middle = np.concatenate([one.mean.reshape(-1), one.of_sizes.reshape(-1)])
    assert np.abs((found.mean(axis=0) - middle) / sd).max() < 4.5 / np.sqrt(6000)
    np.testing.assert_allclose(
        np.corrcoef(found.T), covariance / np.outer(sd, sd), atol=5 / np.sqrt(6000)
    )
    np.testing.assert_allclose(found.std(axis=0), sd, rtol=0.05)
