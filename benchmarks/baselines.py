"""The two fits that everybody writes: least squares and Huber loss, both on log loss."""

from __future__ import annotations

import numpy as np

from bayescale.backtest.point_fit import HUBER, Rows, point_fit

__all__ = ["HUBER", "constants", "exponent"]


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
    return point_fit(Rows(N, T, loss), delta).constants
