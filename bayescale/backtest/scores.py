"""Scores of predictive draws against what was seen: coverage, width, CRPS, log and interval score.

Proper scores (Gneiting and Raftery 2007, JASA 102:359) are smaller for better forecasts; all but
the log score are in the unit of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

# Tail of the draws that is pulled in for the CRPS: a new run under noise with two degrees of
# freedom and fewer, as raw tables have it, has a median and no mean (1e76 on one of them).
TAIL = 0.005
KERNEL = 4.0  # degrees of freedom: a far miss costs its logarithm, not its square


def crps(draws: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of draws ``(sample, point)``, ``(point,)``.

    ``E|X - y| - E|X - X'| / 2`` over all pairs of different draws.
    """
    n = len(draws)
    ordered = np.sort(draws, axis=0)
    weight = (2 * np.arange(1, n + 1) - n - 1)[:, None]
    spread = np.sum(weight * ordered, axis=0) / (n * (n - 1))
    return np.mean(np.abs(draws - observed), axis=0) - spread


def interval_score(
    lower: np.ndarray, upper: np.ndarray, observed: np.ndarray, ci_prob: float
) -> np.ndarray:
    """Width of an interval, plus ``2 / (1 - ci_prob)`` times what it misses by, ``(point,)``."""
    below, above = np.maximum(lower - observed, 0.0), np.maximum(observed - upper, 0.0)
    return (upper - lower) + 2.0 / (1.0 - ci_prob) * (below + above)


def log_score(draws: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Negative log density of what was seen, ``(point,)``, in nats.

    From draws ``(sample, point)`` smoothed by a Student-t kernel of Silverman's width.
    """
    spread = np.std(draws, axis=0)
    quartiles = np.subtract(*np.quantile(draws, [0.75, 0.25], axis=0)) / 1.349
    width = (
        0.9 * np.minimum(spread, np.where(quartiles > 0, quartiles, spread)) * len(draws) ** -0.2
    )
    width = np.maximum(width, 1e-12)
    z = (observed - draws) / width
    log_kernel = -(KERNEL + 1) / 2 * np.log1p(z * z / KERNEL) + np.log(0.375)  # of a t with 4
    top = log_kernel.max(axis=0)
    return -(top + np.log(np.mean(np.exp(log_kernel - top), axis=0)) - np.log(width))


def scored(
    draws: np.ndarray, observed: np.ndarray, ci_probs: Sequence[float], seed: int = 0
) -> pd.DataFrame:
    """One row a point: median, error, intervals, and every score; NaN where draws are.

    Parameters
    ----------
    draws : ndarray, (sample, point)
    observed : ndarray, (point,)
    ci_probs : sequence of float
        Nominal probabilities of equal-tailed intervals.
    seed : int, default 0
        Breaks ties in the PIT.
    """
    out: dict[str, np.ndarray] = {"observed": observed, "median": np.median(draws, axis=0)}
    out["error"] = out["median"] - observed
    rng = np.random.default_rng(seed)
    less, same = (draws < observed).mean(axis=0), (draws == observed).mean(axis=0)
    out["pit"] = less + rng.random(len(observed)) * same
    for p in ci_probs:
        lower, upper = np.quantile(draws, [(1 - p) / 2, (1 + p) / 2], axis=0)
        name = f"{100 * p:g}"
        out |= {
            f"lower_{name}": lower, f"upper_{name}": upper,
            f"inside_{name}": ((lower <= observed) & (observed <= upper)).astype(float),
            f"interval_score_{name}": interval_score(lower, upper, observed, p),
        }  # fmt: skip
    held = np.clip(draws, *np.quantile(draws, [TAIL, 1 - TAIL], axis=0))
    out["crps"] = crps(held, observed)
    out["log_score"] = log_score(held, observed)
    frame = pd.DataFrame(out)
    unknown = np.isnan(draws).any(axis=0)
    frame.loc[unknown, [c for c in frame if c != "observed"]] = np.nan
    return frame


def summary(points: Any, ci_probs: Sequence[float]) -> dict[str, float]:
    """Means over scored points: the numbers of one fold or of all of them.

    ``coverage_*_low`` and ``_high`` are Wilson's 90 % interval, as if forecasts were independent:
    those of one fold share the error of their law, so the truth is wider.
    """
    known: Any = points[points["median"].notna()]
    n = len(known)
    error = known["error"].to_numpy(float)
    out: dict[str, float] = {
        "forecasts": n, "unanswered": len(points) - n,
        "rmse": float(np.sqrt(np.mean(error**2))) if n else np.nan,
        "bias": float(np.mean(error)) if n else np.nan,
        "crps": float(known["crps"].mean()), "log_score": float(known["log_score"].mean()),
    }  # fmt: skip
    for p in ci_probs:
        name = f"{100 * p:g}"
        inside = known[f"inside_{name}"].to_numpy(float)
        low, high = wilson(inside.sum(), n)
        width = known[f"upper_{name}"] - known[f"lower_{name}"]
        out |= {
            f"coverage_{name}": float(inside.mean()) if n else np.nan,
            f"coverage_{name}_low": low, f"coverage_{name}_high": high,
            f"width_{name}": float(width.median()),
            f"interval_score_{name}": float(known[f"interval_score_{name}"].mean()),
        }  # fmt: skip
    return out


def wilson(hits: float, n: int, z: float = 1.645) -> tuple[float, float]:
    """Wilson's interval of a share; 90 % by default, (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share, square = hits / n, z * z / n
    middle = (share + square / 2) / (1 + square)
    half = z * np.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))
