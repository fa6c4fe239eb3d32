"""Bowls and levels apart from the law: the two factors multiply to the whole posterior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import bayescale as bs
from bayescale.models.arrays import arrays
from bayescale.models.levels import (
    UNIT,
    WIDE,
    Bowls,
    Normal,
    completed_draws,
    law_of_levels,
    log_density_ratio,
    parts_of,
)
from bayescale.models.misfit import covariance

NUMPY = arrays("numpy")


@pytest.fixture(scope="module")
def density():
    runs = bs.datasets.simulate_sweep(
        N=[[1e8], [4e8], [1e9]], T=[3e9, 3e10], multiples=(0.3, 1.0, 3.0), cliff=1.0, random_seed=2
    )
    return bs.HyperparameterModel("additive", truncated_at=3.6).density(runs)


@pytest.fixture(scope="module")
def bowls(density):
    return Bowls(density.law, density.table, parts_of(density)[0], density)


def test_every_variable_is_in_one_part(density):
    first, second = parts_of(density)
    assert len(first) + len(second) == len(density.variables)
    assert {v.name for v in second} == {
        "E", "A", "B", "alpha", "beta", "misfit", "misfit_length", "cell_sigma",
    }  # fmt: skip


def test_bowls_at_the_levels_of_a_law_have_the_likelihood_of_the_whole(density, bowls):
    """At levels = law + misfit the runs' log density is that of the whole given these levels."""
    rng = np.random.default_rng(0)
    u = 0.3 * rng.standard_normal((1, density.size))
    values = density.values(u, NUMPY)
    log_law, price = density.parts(values, NUMPY)
    misfit = 0.004 * rng.standard_normal((1, len(density.cells)))
    starts = np.searchsorted(density.cells.of_reading, np.arange(len(density.cells)))
    level = (log_law - price)[:, starts] + misfit
    whole = {**values, "misfit_at": misfit}
    ends = density._log_ends(values, density.parameters(values, NUMPY), NUMPY).sum()
    expected = float(density.pointwise(whole).sum() + ends)
    inside = density.split(u)
    own = np.concatenate([inside[v.name] for v in bowls.variables], axis=1)
    mine = np.concatenate([own, (level - bowls.base) / UNIT], axis=1)
    found = float(bowls.log_density(mine)[0])
    prior = stats.norm.logpdf(own).sum()
    wide = -0.5 * np.sum(((level - bowls.base) / WIDE) ** 2)
    assert found - prior - wide == pytest.approx(expected, abs=1e-8)


def test_the_law_of_levels_is_the_dense_normal(density, bowls):
    rng = np.random.default_rng(1)
    n = len(bowls.base) + sum(length for _, length in bowls.blocks[:-1])
    root = 0.2 * np.eye(n) + 0.02 * rng.standard_normal((n, n))
    law = law_of_levels(bowls, Normal(rng.standard_normal(n), root @ root.T))
    u = 0.3 * rng.standard_normal((1, law.size))
    values = law.values(u, NUMPY)
    spread = covariance(density.cells, values, NUMPY)[0] + law.error
    gap = law.level - law.expected(values, NUMPY)[0]
    expected = stats.multivariate_normal.logpdf(gap, cov=spread)
    assert float(law.log_likelihood(values, NUMPY)[0, 0]) == pytest.approx(expected, rel=1e-10)


def test_the_law_at_the_cells_is_the_surface_without_its_price(density, bowls):
    n = len(bowls.base) + sum(length for _, length in bowls.blocks[:-1])
    law = law_of_levels(bowls, Normal(np.zeros(n), np.eye(n)))
    u = 0.3 * np.random.default_rng(2).standard_normal((1, density.size))
    values = density.values(u, NUMPY)
    log_law, price = density.parts(values, NUMPY)
    starts = np.searchsorted(density.cells.of_reading, np.arange(len(density.cells)))
    np.testing.assert_allclose(law.expected(values, NUMPY), (log_law - price)[:, starts])


def test_completed_levels_have_the_moments_of_normal_conditioning(bowls):
    """Given the law: precision-weighted mean of what the runs and the law say, by hand."""
    rng = np.random.default_rng(3)
    n = len(bowls.base) + sum(length for _, length in bowls.blocks[:-1])
    root = 0.15 * np.eye(n) + 0.01 * rng.standard_normal((n, n))
    normal = Normal(0.1 * rng.standard_normal(n), root @ root.T)
    law = law_of_levels(bowls, normal)
    u = np.repeat(0.2 * rng.standard_normal((1, law.size)), 4000, axis=0)
    values = law.values(u, NUMPY)
    drawn, misfit, _ = completed_draws(law, bowls, normal, values, rng)
    level = bowls.levels(drawn)
    prior = covariance(bowls.whole.cells, {k: v[:1] for k, v in values.items()}, NUMPY)[0]
    at = law.expected({k: v[:1] for k, v in values.items()}, NUMPY)[0]
    precision = np.linalg.inv(prior) + np.linalg.inv(law.error)
    left = np.linalg.inv(precision)
    mean = left @ (np.linalg.solve(prior, at) + np.linalg.solve(law.error, law.level))
    sd = np.sqrt(np.diag(left))
    assert np.abs((level.mean(axis=0) - mean) / sd).max() < 4.5 / np.sqrt(4000)
    np.testing.assert_allclose(np.cov(level.T), left, atol=6 * sd.max() ** 2 / np.sqrt(4000))
    np.testing.assert_allclose(misfit, level - at, atol=1e-10)
    # bowls given levels: the regression of a joint normal
    cells = bowls.n_cells
    slope = np.linalg.solve(
        normal.covariance[-cells:, -cells:], normal.covariance[-cells:, :-cells]
    )
    expected = normal.mean[:-cells] + (drawn[:, -cells:] - normal.mean[-cells:]) @ slope
    off = drawn[:, :-cells] - expected
    spread = np.sqrt(np.diag(normal.covariance)[:-cells])
    assert np.abs(off.mean(axis=0) / spread).max() < 4.5 / np.sqrt(4000)


def test_the_weight_is_the_ratio_of_the_densities(bowls):
    n = len(bowls.base) + sum(length for _, length in bowls.blocks[:-1])
    rng = np.random.default_rng(4)
    normal = Normal(np.zeros(n), 0.04 * np.eye(n))
    u = 0.2 * rng.standard_normal((5, n))
    by_hand = bowls.log_density(u) - stats.multivariate_normal.logpdf(
        u, np.zeros(n), 0.04 * np.eye(n)
    )
    found = log_density_ratio(bowls, normal, u)
    np.testing.assert_allclose(np.diff(found), np.diff(by_hand), rtol=1e-9, atol=1e-8)


def test_a_better_run_lowers_the_start_of_its_level_only(density):
    table = replace(density.table, response=density.table.response.copy())
    table.response[0] -= 0.5
    moved = Bowls(density.law, table, parts_of(density)[0], replace(density, table=table))
    plain = Bowls(density.law, density.table, parts_of(density)[0], density)
    changed = moved.base - plain.base
    assert changed[0] < -0.3 and np.all(changed[1:] == 0)
