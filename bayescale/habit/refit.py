"""The additive law as least squares would find it in a sweep's losses, draw by draw.

Levenberg and Marquardt on log loss, all draws at once: five parameters and a few dozen cells each.
"""

from __future__ import annotations

import numpy as np

NAMES = ("E", "A", "B", "alpha", "beta")
FEWEST_CELLS = 6  # five constants need one more
ROUNDS = 80
SMALLEST, LARGEST = np.log([0.01, 4.0])  # exponents


def additive_constants(N: np.ndarray, T: np.ndarray, loss: np.ndarray) -> dict[str, np.ndarray]:
    """``E``, ``A``, ``B``, ``alpha``, ``beta`` of each draw, ``(sample,)``, N and T as they are.

    Parameters
    ----------
    N, T : ndarray, (cell,)
    loss : ndarray, (sample, cell)

    Examples
    --------
    >>> N, T = np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4))
    >>> loss = 1.7 + 400 * N**-0.34 + 410 * T**-0.28
    >>> found = additive_constants(N.ravel(), T.ravel(), loss.reshape(1, -1))
    >>> [round(float(found[k][0]), 3) for k in ("E", "alpha", "beta")]
    [1.7, 0.34, 0.28]
    """
    x, y = np.log(N), np.log(T)
    at_x, at_y = x.mean(), y.mean()
    theta = _start(loss)
    residual, jacobian = _residuals(theta, x - at_x, y - at_y, loss)
    cost, damping = (residual**2).sum(axis=1), np.full(len(loss), 1e-3)
    eye = np.eye(len(NAMES))
    for _ in range(ROUNDS):
        normal = np.swapaxes(jacobian, 1, 2) @ jacobian
        slope = np.swapaxes(jacobian, 1, 2) @ residual[..., None]
        scale = damping[:, None, None] * (normal * eye + 1e-12 * eye)
        trial = theta - np.linalg.solve(normal + scale, slope)[..., 0]
        trial[:, 3:] = np.clip(trial[:, 3:], SMALLEST, LARGEST)
        trial[:, :3] = np.clip(trial[:, :3], theta[:, :3] - 2.0, theta[:, :3] + 2.0)
        new, slopes = _residuals(trial, x - at_x, y - at_y, loss)
        total = (new**2).sum(axis=1)
        better = total < cost
        theta = np.where(better[:, None], trial, theta)
        residual = np.where(better[:, None], new, residual)
        jacobian = np.where(better[:, None, None], slopes, jacobian)
        cost = np.where(better, total, cost)
        damping = np.clip(np.where(better, damping / 3.0, damping * 4.0), 1e-12, 1e8)
    e, a, b = theta[:, 0], theta[:, 1], theta[:, 2]
    alpha, beta = np.exp(theta[:, 3]), np.exp(theta[:, 4])
    A, B = np.exp(a + alpha * at_x), np.exp(b + beta * at_y)
    return dict(zip(NAMES, (np.exp(e), A, B, alpha, beta), strict=True))


def _start(loss: np.ndarray) -> np.ndarray:
    """Logs of: most of the least loss as floor, the rest in halves, exponents of a third."""
    least, spread = loss.min(axis=1), loss.mean(axis=1) - 0.8 * loss.min(axis=1)
    halves = np.log(spread / 2)
    third = np.full(len(loss), np.log(0.33))
    return np.stack([np.log(0.8 * least), halves, halves, third, third], axis=1)


def _residuals(
    theta: np.ndarray, x: np.ndarray, y: np.ndarray, loss: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log law minus log loss, ``(sample, cell)``, and its derivatives by ``theta``."""
    e, a, b, log_alpha, log_beta = (theta[:, [i]] for i in range(5))
    alpha, beta = np.exp(log_alpha), np.exp(log_beta)
    floor = np.exp(e) * np.ones_like(loss)
    size, data = np.exp(a - alpha * x), np.exp(b - beta * y)
    law = floor + size + data
    parts = [floor, size, data, -alpha * x * size, -beta * y * data]
    return np.log(law / loss), np.stack(parts, axis=-1) / law[..., None]
