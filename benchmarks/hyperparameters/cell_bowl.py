"""What a cell says of itself: its best loss, batch and rate, from its own runs, with an error.

The smallest of sixty noisy losses is below the loss that anybody can plan for, and the grid point
where it lies is a poor estimate of the optimum. So a smooth asymmetric bowl is fitted to each cell
alone. It stands for the truth when methods are scored, with its own uncertainty by bootstrap.
Written with NumPy and SciPy only: nothing here calls the package's laws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import least_squares

from benchmarks.hyperparameters.methods import AbstractFitted
from benchmarks.hyperparameters.steplaw import table

RESAMPLES = 100
PRICE_NOISE = 0.1  # misfit of a bowl per unit of price; chosen: far runs say little of the bottom
LEAST_NOISE = 3e-4  # of log loss; chosen: below any noise level seen in such tables
# Weak beliefs that keep thirty runs from deciding ten numbers: ln eta* rises by 0.5 (0.5) with
# ln B; rises and falls of the bowl are near 0.7, within a factor e^0.7; a miss costs 0.3 of log
# loss at most, within a factor e; chosen. Without the ceilings walls that flatten pull the bottom
# (docs/log.md).
TILT = (0.5, 0.5)
STEEPNESS = (np.log(0.7), 0.7)
CEILING = (np.log(0.3), 1.0)


@dataclass(frozen=True)
class CellBowl:
    """A bowl fitted to one cell: ``ln L = l + p_B bowl(z_B) + p_eta bowl(z_eta)``.

    ``z_B = ln B - ln B*`` and ``z_eta = ln eta - ln eta* - tilt z_B``.

    Attributes
    ----------
    name : str
    theta : numpy.ndarray, (12,)
        ``l, ln B*, ln eta*, tilt, ln p_B, ln p_eta``, then logs of rise and fall by batch and by
        rate, and of the ceilings of both prices.
    noise : float
        Scatter of log loss about the bowl near its bottom.
    draws : numpy.ndarray, (resample, 3)
        Bootstrap of ``l, ln B*, ln eta*``: rows of the cell drawn with replacement.
    """

    name: str
    theta: np.ndarray
    noise: float
    draws: np.ndarray

    @property
    def optimum(self) -> np.ndarray:
        """``(ln B*, ln eta*)``."""
        return self.theta[1:3]

    @property
    def best_loss(self) -> float:
        """Loss at the bottom."""
        return float(np.exp(self.theta[0]))

    def price(self, log_batch: np.ndarray, log_rate: np.ndarray) -> np.ndarray:
        """Log loss above the bottom."""
        return _price(self.theta, log_batch, log_rate)


@dataclass(frozen=True)
class OwnBowls(AbstractFitted):
    """The cells' own bowls as if they were a forecast: what somebody scores who saw the answer.

    The ceiling of every method for R2 and the floor for regret. It has no interval.
    """

    bowls: Mapping[str, CellBowl]
    at: Mapping[tuple[float, float], str]  # (N, T) to the name of the cell

    def predict(self, points: pd.DataFrame) -> np.ndarray:
        """The bowl at each point, ``(1, point)``."""
        out = np.empty(len(points))
        log_batch, log_rate = (
            np.log(points[c].to_numpy()) for c in ("batch_size", "learning_rate")
        )
        cells = [self.bowls[self.at[key]] for key in zip(points["N"], points["T"], strict=True)]
        for i, bowl in enumerate(cells):
            price = bowl.price(log_batch[i : i + 1], log_rate[i : i + 1])[0]
            out[i] = np.exp(bowl.theta[0] + price)
        return out[None]

    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        """The bottoms, ``(1, point, 2)``."""
        return np.array([[self.bowls[self.at[key]].optimum for key in zip(N, T, strict=True)]])


def bowl(z: np.ndarray, rise: float, fall: float) -> np.ndarray:
    """Zero at 0, curvature 1 there, exponential on both sides."""
    z = np.clip(z, -8.0 / fall, 8.0 / rise)
    return (np.expm1(rise * z) / rise + np.expm1(-fall * z) / fall) / (rise + fall)


def cell_bowls(
    runs: xr.Dataset, names: list[str], *, resamples: int = RESAMPLES, random_seed: int = 0
) -> dict[str, CellBowl]:
    """Bowls of the named cells; each from its own runs only."""
    frame = table(runs)
    return {
        name: fit_cell(name, frame.loc[frame["cell"] == name], resamples, random_seed)
        for name in names
    }


def fit_cell(name: str, frame: pd.DataFrame, resamples: int, random_seed: int = 0) -> CellBowl:
    """Robust least squares on log loss, and a bootstrap over the rows of the cell."""
    b, e, y = (np.log(frame[c].to_numpy(float)) for c in ("batch_size", "learning_rate", "loss"))
    theta, noise = _fit(b, e, y, _start(b, e, y), rounds=6)
    rng = np.random.default_rng(random_seed)
    draws = []
    for _ in range(resamples):
        i = rng.integers(0, len(y), len(y))
        again, _ = _fit(b[i], e[i], y[i], theta, rounds=2, noise=noise, box=(b, e))
        draws.append(again[:3])
    return CellBowl(name, theta, noise, np.array(draws).reshape(-1, 3))


def _fit(
    b: np.ndarray,
    e: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    *,
    rounds: int,
    noise: float | None = None,
    box: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, float]:
    """Reweighted fits: runs far up the walls count less, outliers are bounded."""
    theta, s = start, noise or 0.002
    lower, upper = _bounds(*(box or (b, e)), y)
    for _ in range(rounds):
        sd = np.hypot(s, PRICE_NOISE * _price(theta, b, e))

        def residuals(t: np.ndarray, sd: np.ndarray = sd) -> np.ndarray:
            beliefs = np.concatenate([
                [(t[3] - TILT[0]) / TILT[1]], (t[6:10] - STEEPNESS[0]) / STEEPNESS[1],
                (t[10:] - CEILING[0]) / CEILING[1],
            ])  # fmt: skip
            return np.concatenate([(t[0] + _price(t, b, e) - y) / sd, beliefs])

        theta = least_squares(
            residuals, np.clip(theta, lower + 1e-9, upper - 1e-9), bounds=(lower, upper),
            loss="soft_l1", f_scale=2.0, max_nfev=60, x_scale=_SCALES,
        ).x  # fmt: skip
        if noise is None:
            price = _price(theta, b, e)
            near = price <= max(0.02, np.quantile(price, 0.3))
            r = (theta[0] + price - y)[near]
            spare = max(len(r) / max(len(r) - 6, 4), 1.0)  # six numbers bend with the near runs
            s = max(1.4826 * np.median(np.abs(r)) * spare**0.5, LEAST_NOISE)
    return theta, float(s)


_SCALES = np.array([0.01, 1.0, 0.5, 0.5, 1.0, 1.0, 0.7, 0.7, 0.7, 0.7, 1.0, 1.0])


def _price(t: np.ndarray, b: np.ndarray, e: np.ndarray) -> np.ndarray:
    p_b, p_e, rise_b, fall_b, rise_e, fall_e, most_b, most_e = np.exp(t[4:])
    z = b - t[1]
    one = p_b * bowl(z, rise_b, fall_b)
    other = p_e * bowl(e - t[2] - t[3] * z, rise_e, fall_e)
    return one / (1.0 + one / most_b) + other / (1.0 + other / most_e)


def _start(b: np.ndarray, e: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The middle of the best tenth of the runs, and round numbers."""
    best = np.argsort(y)[: max(3, len(y) // 10)]
    steep = np.full(4, STEEPNESS[0])
    middle = [y.min(), b[best].mean(), e[best].mean(), 0.3, np.log(0.01), np.log(0.02)]
    return np.concatenate([middle, steep, np.full(2, CEILING[0])])


def _bounds(b: np.ndarray, e: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An optimum lies within a factor e of the grid: beyond, the cell cannot say where."""
    low = [y.min() - 0.05, b.min() - 1, e.min() - 1, -1.0, np.log(1e-5), np.log(1e-5)]
    high = [y.min() + 0.05, b.max() + 1, e.max() + 1, 2.0, np.log(1.0), np.log(1.0)]
    low += [np.log(0.1)] * 4 + [np.log(0.01)] * 2
    return np.array(low), np.array(high + [np.log(5.0)] * 4 + [np.log(3.0)] * 2)
