"""The two fits that everybody writes: least squares and Huber loss, both on log loss."""

from __future__ import annotations

import numpy as np

HUBER = 1e-3  # threshold of Hoffmann et al. 2022 and of Besiroglu et al. 2024


def exponent(N: np.ndarray, T: np.ndarray, loss: np.ndarray, delta: float | None) -> float:
    """``a = beta / (alpha + beta)``; arguments as for `constants`."""
    found = constants(N, T, loss, delta)
    return found["beta"] / (found["alpha"] + found["beta"])


def constants(
    N: np.ndarray, T: np.ndarray, loss: np.ndarray, delta: float | None
) -> dict[str, float]:
    """Constants of the additive law by minimising a loss on log loss.

    Parameters
    ----------
    delta : float or None
        Threshold of the Huber loss; ``None`` for least squares.
    """
    from scipy.optimize import minimize

    x, y, target = np.log(N), np.log(T), np.log(loss)
    x0, y0 = x.mean(), y.mean()

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        e, a, b, alpha, beta = p
        terms = np.stack([np.full_like(x, e), a - alpha * (x - x0), b - beta * (y - y0)])
        top = terms.max(axis=0)
        share = np.exp(terms - top)
        log_law = top + np.log(share.sum(axis=0))
        share /= share.sum(axis=0)
        r = target - log_law
        if delta is None:
            value, slope = 0.5 * r * r, r
        else:
            near = np.abs(r) <= delta
            value = np.where(near, 0.5 * r * r, delta * (np.abs(r) - 0.5 * delta))
            slope = np.clip(r, -delta, delta)
        g = -np.stack([share[0], share[1], share[2], -share[1] * (x - x0), -share[2] * (y - y0)])
        scale = 1.0 if delta is None else 1.0 / delta
        return scale * value.sum(), scale * (g * slope).sum(axis=1)

    best = None
    for e in (0.3, 0.6, 0.9):
        for power in (0.2, 0.4, 0.8):
            start = np.array([e, -0.5, -0.5, power, power])
            found = minimize(objective, start, jac=True, method="BFGS", options={"maxiter": 2000})
            found = minimize(
                objective, found.x, jac=True, method="L-BFGS-B", options={"maxiter": 2000}
            )
            if best is None or found.fun < best.fun:
                best = found
    assert best is not None
    e, a, b, alpha, beta = (float(value) for value in best.x)
    return {
        "E": float(np.exp(e)), "alpha": alpha, "beta": beta,
        "A": float(np.exp(a + alpha * x0)), "B": float(np.exp(b + beta * y0)),
    }  # fmt: skip
