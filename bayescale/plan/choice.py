"""Which size to train: the best under each posterior draw, and the one with least expected loss."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescale.answers import interval, percent
from bayescale.errors import DataError
from bayescale.frontier import Spending
from bayescale.predict import check_points

CURVE = 161  # sizes on the loss curve of a plan
COARSE, FINE = (
    81,
    17,
)  # sizes at which the expected loss is looked at: everywhere, then at its least


def best_of_draws(
    spend: Spending,
    budget: np.ndarray,
    size: float | None,
    tokens: float | None,
    sizes: list[float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best size, tokens and loss of each draw, ``(sample,)`` each."""
    if size is not None:
        at = np.full((spend.n_samples, 1), size)
        length = spend.tokens(at, budget[:, None]) if tokens is None else np.full(at.shape, tokens)
        return at[:, 0], length[:, 0], spend.loss(at, length)[:, 0]
    if sizes:
        grid = check_points("sizes", sizes)[None, :]
        loss = spend.loss_on_budget(grid, budget[:, None])
        at = np.argmin(loss, axis=1)
        rows = np.arange(len(at))
        best = grid[0, at]
        return best, spend.tokens(best[:, None], budget[:, None])[:, 0], loss[rows, at]
    *found, edge = spend.best(budget)
    if edge > 0.5:
        raise DataError(
            f"The law `{spend.fitted.law.name}` has no best size at this budget within 1e-3 to 1e6 "
            f"tokens per parameter ({percent(edge)} of the draws end at the edge). The data do not "
            "tell size from data: see check(fit); or fix N, fixed={'N': ...}."
        )
    return found[0], found[1], found[2]


def least_expected(spend: Spending, budget: np.ndarray, sizes: list[float]) -> float:
    """The size with the least expected loss over the posterior."""
    if sizes:
        grid = check_points("sizes", sizes)
        expected = spend.loss_on_budget(grid[None, :], budget[:, None]).mean(axis=0)
        return float(grid[np.argmin(expected)])
    low, high = (np.median(x) for x in spend.size_range(budget))
    coarse = np.linspace(low, high, COARSE)
    near = int(np.clip(np.argmin(_expected_loss(spend, coarse, budget)), 1, COARSE - 2))
    log_size = np.linspace(coarse[near - 1], coarse[near + 1], FINE)
    expected = _expected_loss(spend, log_size, budget)
    i = int(np.clip(np.argmin(expected), 1, len(log_size) - 2))
    x, y = log_size[i - 1 : i + 2], expected[i - 1 : i + 2]
    if not np.isfinite(y).all():
        return float(np.exp(x[1]))
    bend = y[0] - 2 * y[1] + y[2]
    return float(np.exp(x[1] + (0.5 * (y[0] - y[2]) / bend * (x[1] - x[0]) if bend > 0 else 0.0)))


def _expected_loss(spend: Spending, log_size: np.ndarray, budget: np.ndarray) -> np.ndarray:
    parts = np.array_split(log_size, max(1, len(log_size) // 40))
    return np.concatenate(
        [spend.loss_on_budget(np.exp(p)[None, :], budget[:, None]).mean(axis=0) for p in parts]
    )


def size_for_tokens(spend: Spending, budget: float, tokens: float) -> float:
    """The size whose training on ``tokens`` takes the budget."""
    log_size = np.linspace(np.log(1.0), np.log(budget), 4001)
    length = spend.tokens(np.exp(log_size), np.array(budget))
    length = np.where(np.isfinite(length), length, 0.0)
    return float(np.exp(np.interp(-np.log(tokens), -np.log(np.maximum(length, 1e-9)), log_size)))


def loss_curve(spend: Spending, budget: np.ndarray, size: float, ci_prob: float) -> xr.Dataset:
    """Loss against size on the budget, three decades around the plan."""
    sizes = np.geomspace(size / 30, size * 30, CURVE)
    loss = np.concatenate(
        [spend.loss_on_budget(p[None, :], budget[:, None]) for p in np.array_split(sizes, 5)],
        axis=1,
    )
    here = spend.loss_on_budget(np.array([[size]]), budget[:, None])
    finite = np.isfinite(loss).all(axis=0)  # beyond, some draw has no tokens left to train on
    loss = np.where(finite, loss, 1.0)
    low, high = (np.where(finite, x, np.nan) for x in interval(loss, ci_prob))
    mean = np.where(finite, loss.mean(axis=0), np.nan)
    share = np.where(finite, (loss / here - 1.0).mean(axis=0), np.nan)
    columns = {"mean": mean, "lower": low, "upper": high, "expected_loss_share": share}
    return xr.Dataset({k: ("size", v) for k, v in columns.items()}, {"size": sizes})
