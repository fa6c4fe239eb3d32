"""The fast posterior: Laplace draws with heavy tails, corrected by Pareto-smoothed importance.

The k-hat of the weights (Vehtari et al. 2024, 1507.02646) says whether the correction can be
trusted. Above `K_HAT_LIMIT` the caller goes on to NUTS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayescale.inference.mode import Mode, _batched
from bayescale.models.density import Density

K_HAT_LIMIT = 0.7
PROPOSAL_TAIL = 8.0  # degrees of freedom of the proposal; chosen, heavier than the posteriors seen
OVERSAMPLING = 2
FEWEST = 1000  # k-hat is an estimate from the largest weights and needs a tail to look at


@dataclass(frozen=True)
class Weighted:
    """Equally weighted draws after importance resampling.

    Attributes
    ----------
    u : ndarray, (draw, coordinate)
    k_hat : float
        Pareto shape of the largest weights.
    ess : float
        Effective number of independent draws behind the weights.
    """

    u: np.ndarray
    k_hat: float
    ess: float


def importance_draws(density: Density, mode: Mode, n: int, *, random_seed: int) -> Weighted:
    """About ``n`` posterior draws from the Laplace approximation at ``mode``."""
    from arviz_stats.base import array_stats
    from scipy.stats import multivariate_t

    rng = np.random.default_rng(random_seed)
    many = max(OVERSAMPLING * n, FEWEST)
    radius = np.sqrt(PROPOSAL_TAIL / rng.chisquare(PROPOSAL_TAIL, (many, 1)))
    z = rng.standard_normal((many, density.size)) * radius
    u = mode.u + z @ mode.cholesky.T
    unit = multivariate_t(np.zeros(density.size), np.eye(density.size), df=PROPOSAL_TAIL)
    log_ratio = _batched(density, u) - unit.logpdf(z)
    finite = np.isfinite(log_ratio)
    log_ratio = np.where(finite, log_ratio, log_ratio[finite].min(initial=0.0))  # worth nothing
    log_weight, k_hat = array_stats.psislw(-log_ratio)  # takes log likelihoods, whose inverse weighs
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    chosen = _systematic(weight, n, rng)
    return Weighted(u[chosen], float(k_hat), float(1.0 / np.sum(weight**2)))


def _systematic(weight: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Indices by systematic resampling, shuffled so that their order says nothing."""
    points = (rng.random() + np.arange(n)) / n
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), points), len(weight) - 1)
    return rng.permutation(chosen)
