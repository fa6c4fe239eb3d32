"""What one does by hand: a straight line through the means of the rounded answers."""

from __future__ import annotations

import numpy as np


def least_squares(batch: np.ndarray, answer: np.ndarray) -> tuple[float, float]:
    """``T_min`` and ``B_crit`` of a straight line through the means; what one does by hand."""
    sizes = np.unique(batch)
    means = np.array([answer[batch == b].mean() for b in sizes])
    slope, level = np.polyfit(sizes, means, 1)
    return float(level), float(level / slope) if slope > 0 else np.inf


def quantiles(name: str, x: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(x, [0.05, 0.5, 0.95])
    return {name: float(middle), f"{name} 5 %": float(low), f"{name} 95 %": float(high)}
