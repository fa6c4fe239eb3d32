"""The additive law by minimising a loss on log loss: what everybody writes by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HUBER = 1e-3  # threshold of Hoffmann et al. 2022 and of Besiroglu et al. 2024
STARTS = tuple((e, power) for e in (0.3, 0.6, 0.9) for power in (0.2, 0.4, 0.8))


@dataclass(frozen=True)
class Rows:
    """What is fitted: sizes, tokens and losses, ``(row,)`` each."""

    N: np.ndarray
    T: np.ndarray
    loss: np.ndarray

    def __len__(self) -> int:
        return len(self.loss)

    def __getitem__(self, index: np.ndarray) -> Rows:
        """Some of the rows."""
        return Rows(self.N[index], self.T[index], self.loss[index])


@dataclass(frozen=True)
class PointFit:
    """Constants of ``L = E + A N^-alpha + B T^-beta`` about reference scales.

    Attributes
    ----------
    p : ndarray, (5,)
        ``ln E, ln A, ln B`` (terms at the reference), ``alpha``, ``beta``.
    log_n, log_t : float
        Logs of the reference scales.
    """

    p: np.ndarray
    log_n: float
    log_t: float

    def log_loss(self, N: np.ndarray, T: np.ndarray, p: np.ndarray | None = None) -> np.ndarray:
        """Log of the law at points, or for draws of the constants ``(sample, 5)``."""
        p = self.p if p is None else p
        e, a, b, alpha, beta = (x[..., None] for x in np.moveaxis(p, -1, 0))
        x, y = np.log(N) - self.log_n, np.log(T) - self.log_t
        terms = np.stack(np.broadcast_arrays(e + 0.0 * x, a - alpha * x, b - beta * y))
        with np.errstate(over="ignore"):
            return np.logaddexp.reduce(terms)

    @property
    def constants(self) -> dict[str, float]:
        """``E, A, B, alpha, beta`` as they are printed."""
        e, a, b, alpha, beta = (float(x) for x in self.p)
        return {
            "E": float(np.exp(e)), "A": float(np.exp(a + alpha * self.log_n)),
            "B": float(np.exp(b + beta * self.log_t)), "alpha": alpha, "beta": beta,
        }  # fmt: skip

    def jacobian(self, rows: Rows) -> np.ndarray:
        """Slopes of log loss in the constants, ``(row, 5)``."""
        return _parts(self.p, np.log(rows.N) - self.log_n, np.log(rows.T) - self.log_t)[1]


def point_fit(rows: Rows, delta: float | None, start: PointFit | None = None) -> PointFit:
    """The minimum over a grid of starts, or from one.

    Parameters
    ----------
    rows : Rows
    delta : float or None
        Threshold of the Huber loss; None for least squares.
    start : PointFit, optional
        Of a bootstrap: its reference scales and its constants.
    """
    from scipy.optimize import minimize

    log_n, log_t = np.log(rows.N).mean(), np.log(rows.T).mean()
    if start is not None:
        log_n, log_t = start.log_n, start.log_t
    x, y, target = np.log(rows.N) - log_n, np.log(rows.T) - log_t, np.log(rows.loss)

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        log_law, jacobian = _parts(p, x, y)
        r = target - log_law
        if delta is None:
            return 0.5 * (r * r).sum(), -r @ jacobian
        far = np.abs(r) > delta
        value = np.where(far, np.abs(r) - 0.5 * delta, 0.5 * r * r / delta)
        return value.sum(), -(np.clip(r, -delta, delta) / delta) @ jacobian

    starts = [np.array([e, -0.5, -0.5, k, k]) for e, k in STARTS] if start is None else [start.p]
    best = None
    for p in starts:
        for method in ("BFGS", "L-BFGS-B"):
            found = minimize(objective, p, jac=True, method=method, options={"maxiter": 2000})
            p = found.x
            if np.isfinite(found.fun) and (best is None or found.fun < best.fun):
                best = found
    p = best.x if best is not None else starts[0]
    return PointFit(np.asarray(p), float(log_n), float(log_t))


def _parts(p: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the law and its slopes in the constants."""
    e, a, b, alpha, beta = p
    terms = np.stack([np.full_like(x, e), a - alpha * x, b - beta * y])
    with np.errstate(all="ignore"):
        log_law = np.logaddexp.reduce(terms)
        share = np.exp(terms - log_law)
    slopes = [share[0], share[1], share[2], -share[1] * x, -share[2] * y]
    return log_law, np.stack(slopes, axis=1)
