"""Forecasts that people make today, behind one interface: what an honest interval has to beat.

All of them fit the additive law to log loss; they differ in what they call an interval.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import override

import numpy as np

from bayescale.backtest.point_fit import HUBER, PointFit, Rows, point_fit

DRAWS = 2000
RESAMPLES = 200  # of a bootstrap; twice its draws change no second digit
FEWEST = 6  # rows for five constants


class AbstractBaseline(ABC):
    """Fits rows and forecasts losses."""

    name: str

    @abstractmethod
    def forecast(
        self, rows: Rows, N: np.ndarray, T: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """`DRAWS` of the loss of new runs, ``(sample, point)``, or one NaN where it has none."""

    @abstractmethod
    def sizes(self, rows: Rows, flops: float, rng: np.random.Generator) -> np.ndarray:
        """Draws of the compute-optimal size at a budget ``C = 6 N T``, ``(sample,)``."""


@dataclass(frozen=True)
class LeastSquares(AbstractBaseline):
    """Nonlinear least squares with the textbook's prediction interval.

    Constants are normal about the minimum with covariance ``s^2 (J'J)^-1``, runs normal about the
    curve.
    """

    name = "least squares"

    @override
    def forecast(
        self, rows: Rows, N: np.ndarray, T: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        fit, draws, sd = self._draws(rows, rng)
        return np.exp(fit.log_loss(N, T, draws) + sd * rng.standard_normal((len(draws), len(N))))

    @override
    def sizes(self, rows: Rows, flops: float, rng: np.random.Generator) -> np.ndarray:
        fit, draws, _ = self._draws(rows, rng)
        return best_size(fit, draws, flops)

    def _draws(self, rows: Rows, rng: np.random.Generator) -> tuple[PointFit, np.ndarray, float]:
        fit = point_fit(rows, None)
        residual = np.log(rows.loss) - fit.log_loss(rows.N, rows.T)
        sd = float(np.sqrt(np.sum(residual**2) / max(1, len(rows) - len(fit.p))))
        covariance = sd**2 * np.linalg.pinv(fit.jacobian(rows).T @ fit.jacobian(rows))
        draws = rng.multivariate_normal(fit.p, covariance, DRAWS, check_valid="ignore")
        return fit, draws, sd


@dataclass(frozen=True)
class HuberBootstrap(AbstractBaseline):
    """Huber loss on log loss and a bootstrap of the rows (Besiroglu et al. 2024, 2404.10102).

    Runs scatter about each curve as they do about the fitted one.
    """

    name = "Huber, bootstrap"

    @override
    def forecast(
        self, rows: Rows, N: np.ndarray, T: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        fit, draws = self._draws(rows, rng)
        residual = np.log(rows.loss) - fit.log_loss(rows.N, rows.T)
        draws = draws[np.arange(DRAWS) % len(draws)]
        return np.exp(fit.log_loss(N, T, draws) + rng.choice(residual, (DRAWS, len(N))))

    @override
    def sizes(self, rows: Rows, flops: float, rng: np.random.Generator) -> np.ndarray:
        return best_size(*self._draws(rows, rng), flops)

    def _draws(self, rows: Rows, rng: np.random.Generator) -> tuple[PointFit, np.ndarray]:
        fit = point_fit(rows, HUBER)
        again = (rows[rng.integers(len(rows), size=len(rows))] for _ in range(RESAMPLES))
        return fit, np.stack([point_fit(r, HUBER, fit).p for r in again])


@dataclass(frozen=True)
class SplitConformal(AbstractBaseline):
    """Half of the rows fit the law by Huber loss, the others' residuals are the interval.

    Its coverage is guaranteed where new runs are like the others, which larger ones are not.
    """

    name = "split conformal"

    @override
    def forecast(
        self, rows: Rows, N: np.ndarray, T: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        fit, misses = self._halves(rows, rng)
        n = len(misses)
        level = (np.arange(DRAWS // 2) + 0.5) / (DRAWS // 2)
        # the ceil((n + 1) p)-th smallest miss, the largest where there are too few
        rank = np.minimum(np.ceil((n + 1) * level).astype(int), n) - 1
        signed = np.concatenate([-misses[rank], misses[rank]])
        return np.exp(fit.log_loss(N, T) + signed[:, None])

    @override
    def sizes(self, rows: Rows, flops: float, rng: np.random.Generator) -> np.ndarray:
        fit, _ = self._halves(rows, rng)
        return best_size(fit, fit.p[None], flops)  # it has no interval for a size

    def _halves(self, rows: Rows, rng: np.random.Generator) -> tuple[PointFit, np.ndarray]:
        order = rng.permutation(len(rows))
        half = min(max(FEWEST, len(rows) // 2), len(rows) - 1)
        fit, rest = point_fit(rows[order[:half]], HUBER), rows[order[half:]]
        return fit, np.sort(np.abs(np.log(rest.loss) - fit.log_loss(rest.N, rest.T)))


@dataclass(frozen=True)
class Parabolas(AbstractBaseline):
    """Approach 2 of Hoffmann et al. 2022: a parabola in ln N on each slice of equal compute.

    The best sizes of the slices lie on a power law of compute, and so do their losses above none.
    It answers for the compute-optimal size alone; residuals of both steps are bootstrapped.
    """

    name = "parabolas"

    @override
    def forecast(
        self, rows: Rows, N: np.ndarray, T: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        return np.full((1, len(N)), np.nan)  # it knows the loss at the best size only

    @override
    def sizes(self, rows: Rows, flops: float, rng: np.random.Generator) -> np.ndarray:
        log_c, log_n, error = optima_of_slices(rows)
        if len(log_c) < 3:
            return np.full(2, np.nan)
        away = np.log(flops) - log_c.mean()
        x = log_c - log_c.mean()
        slope, middle = np.polyfit(x, log_n, 1)
        residual = log_n - middle - slope * x
        sd = np.sqrt(np.maximum(np.sum(residual**2) / (len(x) - 2), np.mean(error**2)))
        drawn = log_n + sd * rng.standard_normal((DRAWS, len(x)))
        slopes = drawn @ x / (x @ x)
        return np.exp(drawn.mean(axis=1) + slopes * away)


BASELINES: dict[str, AbstractBaseline] = {
    "least_squares": LeastSquares(),
    "huber": HuberBootstrap(),
    "conformal": SplitConformal(),
    "parabolas": Parabolas(),
}


def best_size(fit: PointFit, draws: np.ndarray, flops: float) -> np.ndarray:
    """Where the law is smallest at ``6 N T = flops``, in closed form, ``(sample,)``.

    ``alpha A N^-alpha = beta B T^-beta`` (Hoffmann et al. 2022, eq. 4); NaN where an exponent is
    not positive.
    """
    _, a, b, alpha, beta = np.moveaxis(draws, -1, 0)
    log_budget = np.log(flops / 6.0) - fit.log_t
    with np.errstate(all="ignore"):
        log_ratio = np.log(alpha) + a - np.log(beta) - b
        log_n = (log_ratio + alpha * fit.log_n + beta * log_budget) / (alpha + beta)
        return np.where((alpha > 0) & (beta > 0), np.exp(log_n), np.nan)


def optima_of_slices(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log compute, log best size and its standard error, one a slice with a minimum inside.

    A slice has runs of at least four sizes within 5 % of one compute.
    """
    log_c, log_n = np.log(6.0 * rows.N * rows.T), np.log(rows.N)
    found = []
    for s in _slices(log_c):
        if len(np.unique(log_n[s])) < 4:
            continue
        x = log_n[s] - log_n[s].mean()
        design = np.stack([x * x, x, np.ones_like(x)], axis=1)
        p, *_ = np.linalg.lstsq(design, np.log(rows.loss[s]), rcond=None)
        best = -p[1] / (2 * p[0]) if p[0] > 0 else np.nan
        if not x.min() <= best <= x.max():
            continue
        residual = np.log(rows.loss[s]) - design @ p
        variance = np.sum(residual**2) / max(1, len(s) - 3) * np.linalg.pinv(design.T @ design)
        tilt = np.array([p[1] / (2 * p[0] ** 2), -1 / (2 * p[0]), 0.0])
        found.append((log_c[s].mean(), best + log_n[s].mean(), np.sqrt(tilt @ variance @ tilt)))
    return tuple(np.array(found).reshape(-1, 3).T)  # type: ignore[return-value]


def _slices(log_c: np.ndarray) -> list[np.ndarray]:
    """Rows whose compute lies within 5 % of the least of them, from the least on."""
    order, out = np.argsort(log_c), []
    while len(order):
        many = int(np.searchsorted(log_c[order], log_c[order[0]] + 0.05, side="right"))
        out.append(order[:many])
        order = order[many:]
    return out
