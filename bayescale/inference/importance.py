"""The fast posterior: adaptive importance sampling that starts from the Laplace approximation.

Posteriors of scaling laws are bent (floor and exponents trade), and a Laplace approximation misses
their tails: reweighted once, its 90 % intervals held the truth 86 % of the time over 200 simulated
tables. So the proposal learns: each round draws from a heavy-tailed Student-t with the moments that
the rounds before found, and all rounds are weighted as one mixture (Cornuet et al. 2012,
0907.1254). With as many evaluations that covers 90 %, with four times the effective draws
(`tests/statistical/test_calibration.py`).

The k-hat of the Pareto-smoothed weights (Vehtari et al. 2024, 1507.02646) says whether the result
can be trusted. Above `K_HAT_LIMIT` the caller goes on to NUTS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescale.inference.mode import Mode, many_densities
from bayescale.models.density import AbstractDensity

K_HAT_LIMIT = 0.7
PROPOSAL_TAIL = 6.0  # degrees of freedom of the proposals; chosen, heavier than the posteriors seen
ROUNDS = 4
OVERSAMPLING = 3  # evaluations for each draw returned, all rounds together
SMALLEST_ROUND = 250  # moments of fewer would mislead the next round; chosen


@dataclass(frozen=True)
class Weighted:
    """Equally weighted draws after importance resampling.

    Attributes
    ----------
    u : ndarray, (draw, coordinate)
    k_hat : float
        Pareto shape of the largest weights.
    ess : float
        Effective number of independent draws behind the weights, at most the draws returned.
    """

    u: np.ndarray
    k_hat: float
    ess: float


def importance_draws(
    density: AbstractDensity, mode: Mode, n: int, *, random_seed: int, effort: int = 1
) -> Weighted:
    """About ``n`` posterior draws, the first proposal being Laplace's at ``mode``.

    ``effort`` multiplies the evaluations of each round, where a density is cheap.
    """
    rng = np.random.default_rng(random_seed)
    each = max(SMALLEST_ROUND, effort * OVERSAMPLING * n // ROUNDS)
    proposals = [(mode.u, mode.cholesky)]
    points, log_density = np.empty((0, density.size)), np.empty(0)
    weight, k_hat = np.empty(0), np.inf
    evaluate = many_densities(density)
    for _ in range(ROUNDS):
        if len(points):
            proposals.append(moments(points, weight, *proposals[-1]))
        centre, cholesky = proposals[-1]
        radius = np.sqrt(PROPOSAL_TAIL / rng.chisquare(PROPOSAL_TAIL, (each, 1)))
        new = centre + (rng.standard_normal((each, density.size)) * radius) @ cholesky.T
        points = np.concatenate([points, new])
        log_density = np.concatenate([log_density, evaluate(new)])
        weight, k_hat = _weights(points, log_density, proposals)
        if k_hat <= K_HAT_LIMIT and 1.0 / np.sum(weight**2) >= n:
            break  # as many effective draws as are asked for
    chosen = _systematic(weight, n, rng)
    return Weighted(points[chosen], k_hat, min(float(n), float(1.0 / np.sum(weight**2))))


def _weights(
    points: np.ndarray, log_density: np.ndarray, proposals: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, float]:
    """Smoothed weights against the equal mixture of all proposals, and their k-hat."""
    from arviz_stats.base.array import array_stats
    from scipy.special import logsumexp

    log_ratio = log_density - logsumexp([_log_t(points, *p) for p in proposals], axis=0)
    finite = np.isfinite(log_ratio)
    log_ratio = np.where(finite, log_ratio, log_ratio[finite].min(initial=0.0))  # worth nothing
    log_weight, k_hat = array_stats.psislw(
        -log_ratio
    )  # takes log likelihoods, whose inverse weighs
    weight = np.exp(np.asarray(log_weight) - np.max(log_weight))
    return weight / weight.sum(), float(np.asarray(k_hat))


def moments(
    points: np.ndarray, weight: np.ndarray, centre: np.ndarray, cholesky: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and covariance, drawn towards the last proposal where few draws carry them."""
    ess = 1.0 / np.sum(weight**2)
    trust = ess / (ess + 10.0 * len(centre))
    mean = weight @ points
    away = points - mean
    covariance = trust * (weight[:, None] * away).T @ away + (1 - trust) * cholesky @ cholesky.T
    return trust * mean + (1 - trust) * centre, np.linalg.cholesky(covariance)


def _log_t(points: np.ndarray, centre: np.ndarray, cholesky: np.ndarray) -> np.ndarray:
    """Log density of a multivariate Student-t, without the constant that all proposals share."""
    from scipy.linalg import solve_triangular

    z = solve_triangular(cholesky, (points - centre).T, lower=True)
    half = (PROPOSAL_TAIL + len(centre)) / 2
    return -half * np.log1p((z * z).sum(axis=0) / PROPOSAL_TAIL) - np.log(np.diag(cholesky)).sum()


def _systematic(weight: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Indices by systematic resampling, shuffled so that their order says nothing."""
    points = (rng.random() + np.arange(n)) / n
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), points), len(weight) - 1)
    return rng.permutation(chosen)
