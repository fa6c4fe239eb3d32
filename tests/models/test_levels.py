"""The law through the bottoms of the cells, and how it is joined with their bowls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import bayescale as bs
from bayescale.models.arrays import arrays
from bayescale.models.bowls import Bowls, OfCells
from bayescale.models.levels import Bottoms, bottoms_of, joined, law_of_levels, parts_of
from bayescale.models.misfit import covariance

NUMPY = arrays("numpy")


@pytest.fixture(scope="module")
def density():
    runs = bs.datasets.simulate_sweep(
        N=[[1e8], [4e8], [1e9]], T=[3e9, 3e10], multiples=(0.3, 1.0, 3.0), cliff=1.0, random_seed=2
    )
    return bs.HyperparameterModel("additive", truncated_at=3.6).density(runs)


def bottoms(density, n=1, rest=4, seed=0):
    """Levels about a plane with correlated errors, and a rest that is correlated with them."""
    rng = np.random.default_rng(seed)
    cells = len(density.cells)
    root = 0.002 * (np.eye(cells + rest) + 0.3 * rng.standard_normal((cells + rest,) * 2))
    middle = np.r_[np.linspace(1.0, 0.9, cells), np.zeros(rest)]
    drawn = middle + rng.standard_normal((n, cells + rest)) @ root.T
    whole = root @ root.T
    return (
        Bottoms(drawn[:, :cells], drawn[:, cells:], whole[:cells, :cells], whole[cells:, :cells]),
        middle,
        whole,
    )


def test_every_variable_is_in_one_part(density):
    first, second = parts_of(density)
    assert len(first) + len(second) == len(density.variables)
    assert {v.name for v in second} == {
        "E", "A", "B", "alpha", "beta", "misfit", "misfit_length", "cell_sigma",
    }  # fmt: skip


def test_the_law_of_levels_is_the_dense_normal(density):
    law = law_of_levels(density, bottoms(density, 50)[0])
    u = 0.3 * np.random.default_rng(1).standard_normal((1, law.size))
    values = law.values(u, NUMPY)
    spread = covariance(density.cells, values, NUMPY)[0] + law.error
    gap = law.level - law.expected(values, NUMPY)[0]
    expected = stats.multivariate_normal.logpdf(gap, cov=spread)
    assert float(law.log_likelihood(values, NUMPY)[0, 0]) == pytest.approx(expected, rel=1e-10)


def test_the_law_at_the_cells_is_the_surface_without_its_price(density):
    law = law_of_levels(density, bottoms(density)[0])
    u = 0.3 * np.random.default_rng(2).standard_normal((1, density.size))
    values = density.values(u, NUMPY)
    log_law, price = density.parts(values, NUMPY)
    starts = np.searchsorted(density.cells.of_reading, np.arange(len(density.cells)))
    np.testing.assert_allclose(law.expected(values, NUMPY), (log_law - price)[:, starts])


def test_joined_draws_have_the_moments_of_the_product_of_two_normals(density):
    """Bowls say N(m, V) of levels and rest; the law says N(f, K) of the levels alone."""
    n = 6000
    found, middle, whole = bottoms(density, n, seed=3)
    law = law_of_levels(density, found)
    u = np.repeat(0.2 * np.random.default_rng(4).standard_normal((1, law.size)), n, axis=0)
    values = law.values(u, NUMPY)
    rest, misfit = joined(law, found, values, np.random.default_rng(5))
    one = {k: v[:1] for k, v in values.items()}
    at, prior = law.expected(one, NUMPY)[0], covariance(density.cells, one, NUMPY)[0]
    cells = len(density.cells)
    pick = np.eye(len(middle))[:cells]
    precision = np.linalg.inv(whole) + pick.T @ np.linalg.solve(prior, pick)
    left = np.linalg.inv(precision)
    mean = left @ (np.linalg.solve(whole, middle) + pick.T @ np.linalg.solve(prior, at))
    drawn, sd = np.concatenate([misfit + at, rest], axis=1), np.sqrt(np.diag(left))
    assert np.abs((drawn.mean(axis=0) - mean) / sd).max() < 4.5 / np.sqrt(n)
    np.testing.assert_allclose(drawn.std(axis=0), sd, rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(drawn.T), left / np.outer(sd, sd), atol=5.5 / np.sqrt(n))


def test_bottoms_have_the_covariance_of_their_draws(density):
    """Spread within a cell, averaged, and the spread of the cells' means with the shape."""
    n, cells = 40_000, len(density.cells)
    rng = np.random.default_rng(6)
    u = rng.standard_normal((n, 2))
    slope = rng.standard_normal((cells, 3, 2)) * [[0.002], [0.05], [0.05]]
    mean = np.einsum("cok,nk->nco", slope, u)
    root = np.array([[0.001, 0, 0], [0.02, 0.06, 0], [-0.01, 0.02, 0.05]])
    inner = np.broadcast_to(root @ root.T, (n, cells, 3, 3))
    shared = 0.1 * rng.standard_normal((n, 3, 2))
    found = bottoms_of(u, OfCells(mean, inner, shared), rng)
    assert found.rest.shape == (n, 2 + 3 * 2 + cells * 2)
    drawn = np.cov(np.concatenate([found.level, found.rest], axis=1).T)
    sd = np.sqrt(np.diag(drawn))
    limit = 5 / np.sqrt(n)
    error = (found.error - drawn[:cells, :cells]) / np.outer(sd[:cells], sd[:cells])
    cross = (found.cross - drawn[cells:, :cells]) / np.outer(sd[cells:], sd[:cells])
    assert np.abs(error).max() < limit and np.abs(cross).max() < limit


def test_a_better_run_lowers_the_start_of_its_level_only(density):
    from dataclasses import replace

    table = replace(density.table, response=density.table.response.copy())
    table.response[0] -= 0.5
    first = parts_of(density)[0]
    moved = Bowls(density.law, table, first, replace(density, table=table))
    plain = Bowls(density.law, density.table, first, density)
    changed = (moved.start - plain.start)[:, 0]
    assert changed[0] < -0.3 and np.all(changed[1:] == 0)
    assert np.all(moved.start[:, 1:] == 0)
