"""What importance draws are drawn from: densities that integrate to one, and moments as asked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayescale.inference.importance import importance_draws
from bayescale.inference.mode import Mode
from bayescale.inference.proposals import Proposal
from bayescale.models.density import AbstractDensity

SKEWNESS = np.array([-1.0, 0.0, 0.6])


@pytest.fixture(scope="module")
def skewed():
    root = np.array([[1.0, 0.0, 0.0], [0.4, 0.7, 0.0], [-0.3, 0.2, 2.0]])
    return Proposal(np.array([[1.0, -2.0, 0.5]]), root, SKEWNESS)


def test_draws_have_the_moments_asked_for(skewed):
    points = skewed.draw(400_000, np.random.default_rng(0))
    white = np.linalg.solve(skewed.root, (points - skewed.centres[0]).T).T
    tail = skewed.tail / (skewed.tail - 2.0)
    np.testing.assert_allclose(white.mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(np.cov(white.T), tail * np.eye(3), atol=0.05)
    np.testing.assert_allclose(stats.skew(white), SKEWNESS, atol=0.15)


def test_the_density_is_that_of_the_draws(skewed):
    """Weighed against a plain Student-t, whose constant is the same, draws make a whole."""
    plain = Proposal(skewed.centres, 1.3 * skewed.root)
    points = plain.draw(200_000, np.random.default_rng(1))
    weight = np.exp(skewed.log_density(points) - plain.log_density(points))
    assert weight.mean() == pytest.approx(1.0, abs=0.02)
    below = points[:, 0] < 0.0
    drawn = skewed.draw(200_000, np.random.default_rng(2))[:, 0] < 0.0
    assert np.mean(weight * below) == pytest.approx(drawn.mean(), abs=0.01)


def test_without_skewness_it_is_the_student_t(skewed):
    plain = Proposal(skewed.centres, skewed.root)
    none = Proposal(skewed.centres, skewed.root, np.zeros(3))
    points = plain.draw(50, np.random.default_rng(3))
    np.testing.assert_allclose(none.log_density(points), plain.log_density(points), atol=1e-6)
    exact = stats.multivariate_t(skewed.centres[0], plain.root @ plain.root.T, plain.tail)
    away = exact.logpdf(points) - plain.log_density(points)
    np.testing.assert_allclose(away, away[0])


class Gammas(AbstractDensity):
    """Twenty independent logs of gamma variables: skewed to the left, known quantiles."""

    numpy_only = True
    shape, size, footprint = 2.0, 20, 20

    def __init__(self) -> None:
        pass

    def log_density(self, u, xp=None):
        return (self.shape * u - np.exp(u)).sum(axis=-1)


def test_long_tails_to_one_side_are_drawn_well():
    density = Gammas()
    mode = Mode(np.full(20, np.log(2.0)), 0.0, 0.5 * np.eye(20), np.sqrt(0.5) * np.eye(20))
    found = importance_draws(density, mode, 4000, random_seed=0, enough=2000)
    assert found.k_hat < 0.7
    levels = [0.05, 0.5, 0.95]
    exact = stats.loggamma(density.shape).ppf(levels)
    np.testing.assert_allclose(np.quantile(found.u, levels, axis=0).mean(axis=1), exact, atol=0.05)
