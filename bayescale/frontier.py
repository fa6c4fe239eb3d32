"""The compute-optimal frontier, draw by draw: the best size for a budget, and what it reaches.

A budget is spent on training tokens and, where a lifetime of inference is counted, on serving:
``C = cost.flops(N, T) + 2 N D`` for D served tokens. For each posterior draw the law is minimised
along that curve on a grid in ln N, then by golden section; all draws move together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, interval, percent
from bayescale.errors import DataError, SpecError
from bayescale.inference.curve import mean_loss
from bayescale.inference.tree import Fitted, opened
from bayescale.laws.cost import Cost, cost_from_runs
from bayescale.predict import check_points, decades_beyond_flops

GRID = 64
LEAST_TOKENS_PER_PARAMETER = 1e-3
MOST_TOKENS_PER_PARAMETER = 1e6
GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
REFINEMENTS = 24
HALVINGS, FALSE_POSITIONS = 6, 7


@dataclass(frozen=True)
class Spending:
    """How a budget turns into tokens and loss, for one family of a fit.

    Attributes
    ----------
    lifetime_tokens : float
        Tokens to be served over the model's life, at 2 FLOP per parameter and token.
    others : dict of float
        Further inputs of the law, held fixed.
    """

    fitted: Fitted
    family: str | None
    cost: Cost
    lifetime_tokens: float = 0.0
    others: Mapping[str, float] | None = None

    @cached_property
    def n_samples(self) -> int:
        """Number of posterior draws."""
        return len(next(iter(self.fitted.parameters(self.family).values())))

    def tokens(self, size: np.ndarray, flops: np.ndarray) -> np.ndarray:
        """Training tokens that the budget leaves, NaN where serving alone exceeds it."""
        left = flops - 2.0 * size * self.lifetime_tokens
        with np.errstate(invalid="ignore", divide="ignore"):
            tokens = self.cost.tokens(size, np.where(left > 0, left, np.nan))
        return np.asarray(tokens, float)

    def loss(self, size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Loss of the mean curve, ``(sample, point)``; both arguments broadcast to that."""
        inputs: dict[str, Any] = {"N": size, "T": tokens, **(self.others or {})}
        if "flops" in self.fitted.law.inputs:
            inputs["flops"] = self.cost.flops(size, tokens)
        inputs = {k: inputs[k] for k in self.fitted.law.inputs if k in inputs}
        with np.errstate(all="ignore"):
            return mean_loss(self.fitted, inputs, self.family)

    def loss_on_budget(self, size: np.ndarray, flops: np.ndarray) -> np.ndarray:
        """Loss of a size when the rest of the budget goes into tokens; inf where none is left."""
        out = self.loss(size, self.tokens(size, flops))
        return np.where(np.isfinite(out), out, np.inf)

    def size_range(self, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ln N from which and to which the best size is looked for, ``(sample,)`` each."""
        per_token = self.cost.flops_per_token(np.asarray(1e9)) / 1e9  # about 6; a bracket suffices
        low = 0.5 * np.log(flops / per_token / MOST_TOKENS_PER_PARAMETER)
        high = 0.5 * np.log(flops / per_token / LEAST_TOKENS_PER_PARAMETER)
        if self.lifetime_tokens:
            high = np.minimum(high, np.log(0.999 * flops / (2.0 * self.lifetime_tokens)))
            low = np.minimum(low, high - 5.0)
        return low, high

    def best(self, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Best size, its tokens and its loss, ``(sample,)`` each, and the share at the edge."""
        flops = np.broadcast_to(np.asarray(flops, float), (self.n_samples,))[:, None]
        low, high = self.size_range(flops[:, 0])
        steps = np.linspace(0.0, 1.0, GRID)
        grid = low[:, None] + (high - low)[:, None] * steps
        at = np.argmin(self.loss_on_budget(np.exp(grid), flops), axis=1)
        edge = float(np.mean((at == 0) | (at == GRID - 1)))
        at = np.clip(at, 1, GRID - 2)
        rows = np.arange(len(at))
        left, right = grid[rows, at - 1][:, None], grid[rows, at + 1][:, None]
        log_size = golden_section(lambda x: self.loss_on_budget(np.exp(x), flops), left, right)
        size = np.exp(log_size)
        tokens = self.tokens(size, flops)
        return size[:, 0], tokens[:, 0], self.loss_on_budget(size, flops)[:, 0], edge

    def budget_for(self, target: float, size: float | None = None) -> np.ndarray:
        """Least budget that reaches a loss, ``(sample,)`` in FLOP; NaN where nothing does."""

        def loss_at(log_flops: np.ndarray) -> np.ndarray:
            flops = np.exp(log_flops)
            if size is None:
                return self.best(flops)[2]
            return self.loss_on_budget(np.full((self.n_samples, 1), size), flops[:, None])[:, 0]

        seen = self.fitted.readings(self.family if self.fitted.by_family else None)
        base = np.log(6.0 * seen["N"] * seen["T"])
        low = np.full(self.n_samples, base.min() - 12.0)
        high = np.full(self.n_samples, base.max() + 40.0)
        reached = loss_at(high) <= target
        root = falling_root(lambda x: loss_at(x) - target, low, high)
        return np.where(reached, np.exp(root), np.nan)


def falling_root(f: Callable, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where a falling function crosses zero, in many brackets at once.

    Halves the brackets until the function is nearly straight in them, then goes by false position
    with the Illinois correction: a third of the calls of halving alone.
    """
    above, below = (np.full(low.shape, s * np.inf) for s in (1.0, -1.0))
    out, was_left = high, None
    for i in range(HALVINGS + FALSE_POSITIONS):
        out = (low + high) / 2
        if i >= HALVINGS:
            with np.errstate(invalid="ignore"):
                step = np.clip(above / (above - below), 1e-3, 1.0 - 1e-3)
            out = np.where(np.isfinite(step), low + step * (high - low), out)
        value = f(out)
        left = value > 0
        again = left == was_left if was_left is not None else np.zeros(left.shape, bool)
        above, below = (
            np.where(left, value, np.where(again, above / 2, above)),
            np.where(left, np.where(again, below / 2, below), value),
        )
        low, high, was_left = np.where(left, out, low), np.where(left, high, out), left
    return out


def golden_section(
    f: Callable, left: np.ndarray, right: np.ndarray, *, tolerance: float = 0.0
) -> np.ndarray:
    """Minimise a function of one variable in many brackets at once, until all are that narrow."""
    a, b = left, right
    c, d = b - GOLDEN * (b - a), a + GOLDEN * (b - a)
    fc, fd = f(c), f(d)
    for _ in range(REFINEMENTS):
        lower = fc < fd
        a, b = np.where(lower, a, c), np.where(lower, d, b)
        c_new, d_new = b - GOLDEN * (b - a), a + GOLDEN * (b - a)
        probe = np.where(lower, c_new, d_new)
        fp = f(probe)
        fc, fd = np.where(lower, fp, fd), np.where(lower, fc, fp)
        c, d = c_new, d_new
        if (b - a).max(initial=0.0) < tolerance:
            break
    return (a + b) / 2


def spending(
    fit: xr.DataTree,
    *,
    family: str | None = None,
    cost: Cost | None = None,
    lifetime_tokens: float = 0.0,
    others: Mapping[str, float] | None = None,
) -> Spending:
    """A checked `Spending`: the law must have a size and data, and no other free input."""
    fitted = opened(fit)
    family = fitted.asked_family(family)
    inputs = set(fitted.law.inputs)
    others = dict(others or {})
    if not {"N", "T"} <= inputs and not {"N", "flops"} <= inputs:
        raise SpecError(
            f"A plan chooses N and T, and the law `{fitted.law.name}` is a function of "
            f"{', '.join(fitted.law.inputs)}. Fit a law of both, such as law='additive'."
        )
    tuned = set(fitted.surface.hyperparameters) if fitted.surface is not None else set()
    free = inputs - {"N", "T", "flops"} - tuned - set(others)
    if free:
        raise SpecError(
            f"The law `{fitted.law.name}` also depends on "
            f"{', '.join(f'`{x}`' for x in sorted(free))}; say at which value to plan, for example "
            f"fixed={{'{min(free)}': ...}}."
        )
    if lifetime_tokens < 0 or not np.isfinite(lifetime_tokens):
        raise DataError(f"`lifetime_tokens` cannot be {lifetime_tokens!r}.")
    return Spending(fitted, family, cost or cost_from_runs(fitted.runs), lifetime_tokens, others)


@dataclass(frozen=True, repr=False)
class Frontier(Answer):
    """Draws of the best size, its tokens and its loss at each budget.

    Attributes
    ----------
    draws : xarray.Dataset, (sample, budget)
        ``N``, ``T``, ``loss``; coordinate ``budget`` in FLOP.
    """

    draws: xr.Dataset
    decades_beyond: np.ndarray
    ci_prob: float
    warning: str = ""

    @property
    def data(self) -> xr.Dataset:
        """The draws."""
        return self.draws

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a budget: medians and intervals of N, T, tokens per parameter and loss."""
        out: dict[str, Any] = {"budget_flops": self.draws["budget"].values}
        columns = {k: self.draws[k].values for k in ("N", "T", "loss")}
        columns["tokens_per_parameter"] = columns["T"] / columns["N"]
        for name, x in columns.items():
            low, high = interval(x, self.ci_prob)
            out |= {name: np.median(x, axis=0), f"{name}_lower": low, f"{name}_upper": high}
        return pd.DataFrame({**out, "decades_beyond": self.decades_beyond})

    @cached_property
    def exponents(self) -> dict[str, np.ndarray]:
        """Slopes of ln N* and ln T* against ln C over the budgets, ``(sample,)`` each."""
        x = np.log(self.draws["budget"].values)
        return {
            k: np.polyfit(x, np.log(self.draws[k].values).T, 1)[0] for k in ("N", "T")
        }  # fmt: skip

    @property
    def text(self) -> str:
        """The growth of the best size, and the ends of the frontier."""
        low, high = interval(self.exponents["N"], self.ci_prob)
        first = (
            f"The compute-optimal size grows as C^{np.median(self.exponents['N']):.3f} "
            f"({percent(self.ci_prob)} interval {low:.3f} to {high:.3f})."
        )
        return "\n".join([*([self.warning] if self.warning else []), first])

    def plot(self, **kwargs: Any) -> Any:
        """N*(C) and T*(C) with bands."""
        from bayescale import plots

        return plots.frontier(self, **kwargs)


def frontier(
    fit: xr.DataTree,
    budgets_flops: Any = None,
    *,
    family: str | None = None,
    cost: Cost | None = None,
    fixed: Mapping[str, float] | None = None,
    ci_prob: float = 0.9,
) -> Frontier:
    """Best size and length for each compute budget, with posterior uncertainty.

    Parameters
    ----------
    fit : xarray.DataTree
    budgets_flops : array_like, (budget,), optional
        Total training compute, FLOP. Default: from the smallest run to two decades beyond the
        largest, twelve budgets.
    family : str, optional
        Where the fit tells families apart.
    cost : Cost, optional
        FLOP of a run of N parameters and T tokens; default from the runs, else 6NT.
    fixed : mapping, optional
        Values of further inputs of the law.
    ci_prob : float, default 0.9

    Returns
    -------
    Frontier
    """
    plan = spending(fit, family=family, cost=cost, others=fixed)
    if budgets_flops is None:
        seen = plan.fitted.readings(plan.family)
        c = seen["flops"] if "flops" in seen else 6.0 * seen["N"] * seen["T"]
        budgets = np.geomspace(c.min(), 100 * c.max(), 12)
    else:
        budgets = check_points("budgets_flops", budgets_flops)
    results = [plan.best(np.array([b])) for b in budgets]
    stacked = [np.stack([r[i] for r in results], axis=1) for i in range(3)]
    draws = xr.Dataset(
        {k: (("sample", "budget"), v) for k, v in zip(("N", "T", "loss"), stacked, strict=True)},
        {"budget": budgets},
    )
    far = np.array([decades_beyond_flops(plan.fitted, b, plan.family) for b in budgets])
    return Frontier(draws, far, ci_prob, plan.fitted.warning)
