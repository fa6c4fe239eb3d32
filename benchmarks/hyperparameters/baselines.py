"""Methods that others use, as their authors would: the published law, windows, least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import least_squares

from bayescale.laws.published_hyperparameters import published_hyperparameters
from benchmarks.hyperparameters.methods import DRAWS, AbstractFitted, AbstractMethod
from benchmarks.hyperparameters.steplaw import near_best, table

REFITS = 60  # of the additive law with a bowl, each some tenths of a second


@dataclass(frozen=True)
class PublishedLaw(AbstractMethod):
    """The law as printed. StepLaw's was fitted to these very runs, held-out cells included."""

    name: str = "StepLaw's published law"
    study: str = "steplaw"

    def fit(self, runs: xr.Dataset, *, random_seed: int = 0) -> AbstractFitted:
        """Nothing to learn."""
        return _Published(self.study)


@dataclass(frozen=True)
class _Published(AbstractFitted):
    study: str

    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        advice = published_hyperparameters(self.study)(N=N, T=T)
        return np.log(np.stack([advice["batch_size"], advice["learning_rate"]], axis=-1))[None]


@dataclass(frozen=True)
class Window(AbstractMethod):
    """The video paper's way: keep runs near each cell's minimum, draw lines through them.

    ``ln B`` and ``ln eta`` of the kept runs on ``1, ln N, ln T`` by least squares; the interval is
    a bootstrap over the kept runs. The paper keeps what lies within 0.02 % of the minimum, which
    is below the noise of such runs; DeepSeek keeps 0.25 %.
    """

    name: str = "window of 0.02 %"
    share: float = 2e-4

    def fit(self, runs: xr.Dataset, *, random_seed: int = 0) -> AbstractFitted:
        """Two lines and their bootstrap."""
        frame = table(runs)
        kept = frame.loc[near_best(frame, self.share)]
        X = _plane(kept["N"].to_numpy(), kept["T"].to_numpy())
        Y = np.log(kept[["batch_size", "learning_rate"]].to_numpy())
        rng = np.random.default_rng(random_seed)
        rows = rng.integers(0, len(Y), (DRAWS, len(Y)))
        draws = np.stack([np.linalg.lstsq(X[i], Y[i], rcond=None)[0] for i in rows])
        return _Lines(np.linalg.lstsq(X, Y, rcond=None)[0], draws)


@dataclass(frozen=True)
class _Lines(AbstractFitted):
    line: np.ndarray  # (3, 2)
    draws: np.ndarray  # (sample, 3, 2)

    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        return _plane(N, T) @ self.draws

    def choose(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        return _plane(N, T) @ self.line


def _plane(N: np.ndarray, T: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(N)), np.log(N / 1e8), np.log(T / 1e10)])


@dataclass(frozen=True)
class Quadratic(AbstractMethod):
    """``ln L`` on all 15 monomials up to second order of ln N, ln T, ln B, ln eta.

    Intervals are those of ordinary least squares: normal errors of one size, Student's t. The
    optimum solves two linear equations; it stays within a factor e of the batches and rates seen,
    and where the quadratic has no minimum, it is the best corner of that box.
    """

    name: str = "quadratic in logs"
    within: float = np.inf  # keep runs within this share of their cell's best

    def fit(self, runs: xr.Dataset, *, random_seed: int = 0) -> AbstractFitted:
        """Ordinary least squares and draws from its posterior under flat priors."""
        frame = table(runs)
        frame = frame.loc[near_best(frame, self.within)]
        x = _logs(frame)
        X, y = _monomials(x), np.log(frame["loss"].to_numpy())
        beta = np.linalg.lstsq(X, y, rcond=None)[0]
        spare = max(len(y) - np.linalg.matrix_rank(X), 1)
        variance = float(np.sum((y - X @ beta) ** 2) / spare)
        rng = np.random.default_rng(random_seed)
        scale = np.sqrt(variance * spare / rng.chisquare(spare, DRAWS))
        _, s, Vt = np.linalg.svd(X, full_matrices=False)
        inverse = np.where(s > 1e-9 * s[0], 1 / s, 0.0)
        steps = (rng.standard_normal((DRAWS, len(s))) * inverse) @ Vt
        draws = beta + scale[:, None] * steps
        box = np.array([x[:, 2:].min(axis=0) - 1, x[:, 2:].max(axis=0) + 1])
        return _Quadratic(beta, draws, scale, box, random_seed)


@dataclass(frozen=True)
class _Quadratic(AbstractFitted):
    beta: np.ndarray  # (15,)
    draws: np.ndarray  # (sample, 15)
    scale: np.ndarray  # (sample,)
    box: np.ndarray  # (2, 2): lowest and highest of ln B, ln eta
    seed: int

    def predict(self, points: pd.DataFrame) -> np.ndarray:
        rng = np.random.default_rng(self.seed + 1)
        mean = self.draws @ _monomials(_logs(points)).T
        return np.exp(mean + self.scale[:, None] * rng.standard_normal(mean.shape))

    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        return np.stack([_bottom(b, N, T, self.box) for b in self.draws])

    def choose(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        return _bottom(self.beta, N, T, self.box)


def _logs(frame: pd.DataFrame) -> np.ndarray:
    """Logs about round numbers, so that fifteen monomials are not collinear in floating point."""
    centre = {"N": 2e8, "T": 1e10, "batch_size": 3e5, "learning_rate": 1e-3}
    return np.column_stack([np.log(frame[k].to_numpy(float) / c) for k, c in centre.items()])


_CENTRE = np.log([3e5, 1e-3])
_PAIRS = [(i, j) for i in range(4) for j in range(i, 4)]


def _monomials(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(x)), x, *(x[:, i] * x[:, j] for i, j in _PAIRS)])


def _bottom(beta: np.ndarray, N: np.ndarray, T: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Minimum over (ln B, ln eta) of the quadratic, ``(point, 2)``."""
    q = {pair: value for pair, value in zip(_PAIRS, beta[5:], strict=True)}
    size = np.column_stack([np.log(N / 2e8), np.log(T / 1e10)])
    slope = beta[3:5] + size @ np.array([[q[0, 2], q[0, 3]], [q[1, 2], q[1, 3]]])
    H = np.array([[2 * q[2, 2], q[2, 3]], [q[2, 3], 2 * q[3, 3]]])
    if np.all(np.linalg.eigvalsh(H) > 0):
        return np.clip(-np.linalg.solve(H, slope.T).T, *box) + _CENTRE
    corners = np.array([[b, e] for b in box[:, 0] for e in box[:, 1]])
    height = slope @ corners.T + 0.5 * np.einsum("ci,ij,cj->c", corners, H, corners)
    return corners[np.argmin(height, axis=1)] + _CENTRE


@dataclass(frozen=True)
class AdditiveBowl(AbstractMethod):
    """Chinchilla's law under the optimum plus a quadratic bowl whose centre moves with N and T.

    ::

        ln L = ln(E + A N^-alpha + B T^-beta) + p_B z_B^2 / 2 + p_eta z_eta^2 / 2
        z_B = ln B - ln B*(N, T),  z_eta = ln eta - ln eta*(N, T) - tilt z_B

    Robust least squares (soft L1) on log loss; a bootstrap over runs; noise is a residual of a
    fitted run of like price.
    """

    name: str = "additive law, quadratic bowl"
    refits: int = REFITS

    def fit(self, runs: xr.Dataset, *, random_seed: int = 0) -> AbstractFitted:
        """Fit from a few starts, then refit resampled runs from there."""
        frame = table(runs)
        x, y = _logs(frame), np.log(frame["loss"].to_numpy())
        starts = [
            np.array(
                [e, -1.0, -1.0, a, a, 0, 0, 0.5, 0, -0.5, 0.3, 0.3, np.log(0.01), np.log(0.02)]
            )
            for e in (0.3, 0.7)
            for a in (-1.2, -0.7)
        ]
        theta = min((_additive_fit(x, y, s, 300) for s in starts), key=lambda f: f.cost).x
        rng = np.random.default_rng(random_seed)
        rows = rng.integers(0, len(y), (self.refits, len(y)))
        draws = np.stack([_additive_fit(x[i], y[i], theta, 40).x for i in rows])
        mean, price = _additive(theta, x)
        order = np.argsort(price)
        return _Additive(theta, draws, price[order], (y - mean)[order], random_seed)


@dataclass(frozen=True)
class _Additive(AbstractFitted):
    theta: np.ndarray
    draws: np.ndarray  # (refit, 14)
    prices: np.ndarray  # (fitted run,), rising
    residuals: np.ndarray
    seed: int

    def predict(self, points: pd.DataFrame) -> np.ndarray:
        rng = np.random.default_rng(self.seed + 1)
        x = _logs(points)
        reach = max(len(self.prices) // 20, 1)  # a tenth of the runs have a like price
        out = []
        for k in rng.integers(0, len(self.draws), DRAWS):
            mean, price = _additive(self.draws[k], x)
            at = np.searchsorted(self.prices, price) + rng.integers(-reach, reach + 1, len(price))
            out.append(mean + self.residuals[np.clip(at, 0, len(self.prices) - 1)])
        return np.exp(np.array(out))

    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        return np.stack([_centre(t, N, T) for t in self.draws])

    def choose(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        return _centre(self.theta, N, T)


def _additive(t: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of log loss, and the part of it that is price; inputs from `_logs`."""
    E, A, B, alpha, beta = np.exp(t[:5])
    z_b = x[:, 2] - (t[5] + t[8] * x[:, 0] + t[10] * x[:, 1])
    z_e = x[:, 3] - (t[6] + t[9] * x[:, 0] + t[11] * x[:, 1]) - t[7] * z_b
    price = 0.5 * (np.exp(t[12]) * z_b**2 + np.exp(t[13]) * z_e**2)
    return np.log(E + A * np.exp(-alpha * x[:, 0]) + B * np.exp(-beta * x[:, 1])) + price, price


def _additive_fit(x: np.ndarray, y: np.ndarray, start: np.ndarray, evaluations: int):
    low = np.array([-3, -6, -6, np.log(0.03), np.log(0.03), -4, -4, -1, -2, -3, -2, -3, -9, -9.0])
    high = np.array([1.5, 1.5, 1.5, 0.7, 0.7, 4, 4, 2, 2, 2, 2, 2, 1, 1.0])
    return least_squares(
        lambda t: _additive(t, x)[0] - y, np.clip(start, low + 1e-9, high - 1e-9),
        bounds=(low, high), loss="soft_l1", f_scale=0.003, max_nfev=evaluations,
    )  # fmt: skip


def _centre(t: np.ndarray, N: np.ndarray, T: np.ndarray) -> np.ndarray:
    n, d = np.log(N / 2e8), np.log(T / 1e10)
    batch = t[5] + t[8] * n + t[10] * d
    rate = t[6] + t[9] * n + t[11] * d
    return np.column_stack([batch, rate]) + _CENTRE


BASELINES: tuple[AbstractMethod, ...] = (
    PublishedLaw(),
    Window(),
    Window("window of 0.25 %", 2.5e-3),
    Quadratic(),
    Quadratic("quadratic in logs, runs within 5 %", 0.05),
    AdditiveBowl(),
)
"""Everything that our model is measured beside."""
