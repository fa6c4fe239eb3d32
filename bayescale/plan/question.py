"""What is asked of a plan: one budget, one target, or one given run, as FLOP for every draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.answers import flops, percent, si
from bayescale.errors import DataError, SpecError
from bayescale.frontier import Spending
from bayescale.laws.cost import accelerator, flops_of_hours
from bayescale.predict import check_points


@dataclass(frozen=True)
class Budget:
    """FLOP to spend, and how the question and its unit read.

    Attributes
    ----------
    planned : float
        What the recommended run spends, FLOP.
    draws : ndarray, (sample,)
        What the best run of each draw spends; NaN where a target cannot be reached.
    spent : ndarray, (sample,)
        What the recommended run spends under each draw: uncertain where hours are given.
    question, unit, odds : str
    """

    planned: float
    draws: np.ndarray
    spent: np.ndarray
    question: str
    unit: str
    odds: str = ""

    @property
    def reached(self) -> np.ndarray:
        """Draws under which the question has an answer, ``(sample,)``."""
        return np.isfinite(self.draws)


def budget_in_flops(spend: Spending, value: float) -> Budget:
    """A budget of so many FLOP."""
    planned = float(check_points("budget_flops", value)[0])
    every = np.full(spend.n_samples, planned)
    return Budget(planned, every, every, f"For a budget of {flops(planned)}:", "the whole budget")


def budget_in_hours(spend: Spending, value: float, gpu: str, utilisation: np.ndarray) -> Budget:
    """A budget of accelerator-hours, as uncertain as their utilisation."""
    hours = float(check_points("budget_gpu_hours", value)[0])
    every = flops_of_hours(hours, gpu, utilisation)
    question = f"For a budget of {si(hours)} GPU-hours ({accelerator(gpu).name}):"
    return Budget(float(np.median(every)), every, every, question, "what those hours buy")


def budget_for_target(spend: Spending, value: float, size: float | None, ci_prob: float) -> Budget:
    """The least budget that reaches a loss; the plan spends the median over the draws."""
    target = float(check_points("target_loss", value)[0])
    need = spend.budget_for(target, size)
    share = float(np.isfinite(need).mean())
    if share < 0.5:
        raise DataError(_unreachable(target, spend, share))
    or_more = np.where(np.isfinite(need), need, np.inf)
    planned, sure = (float(np.quantile(or_more, q, method="lower")) for q in (0.5, ci_prob))
    return Budget(
        planned,
        need,
        np.full(spend.n_samples, planned),
        f"Least compute for a loss of {target:g}:",
        "least budget that reaches the target",
        f"The law reaches {target:g} in {percent(share)} of the posterior draws; the median budget "
        f"reaches it with 50 % probability. For {percent(ci_prob)} probability spend "
        f"{_or_more(sure)}.",
    )


def cost_of_run(spend: Spending, size: float, tokens: float) -> Budget:
    """What a given run costs, its serving included."""
    planned = float(spend.cost.flops(size, tokens) + 2.0 * size * spend.lifetime_tokens)
    every = np.full(spend.n_samples, planned)
    return Budget(planned, every, every, "For the given size and tokens:", "cost of the given run")


def check_question(
    budget_flops: Any, budget_gpu_hours: Any, target_loss: Any, size: Any, tokens: Any, sizes: Any
) -> None:
    """One question, with all that it needs; `SpecError` otherwise."""
    given = [
        name
        for name, value in (
            ("budget_flops", budget_flops), ("budget_gpu_hours", budget_gpu_hours),
            ("target_loss", target_loss),
        )
        if value is not None
    ]  # fmt: skip
    both = size is not None and tokens is not None
    if len(given) > 1 or (both and given):
        what = " and ".join(f"`{g}`" for g in given)
        raise SpecError(
            f"One question at a time: got {what}{' with N and T fixed' if both else ''}."
        )
    if not given and not both:
        raise SpecError(
            "A plan needs a budget or a target: budget_flops=, budget_gpu_hours= (with gpu=, "
            "mfu=), target_loss=, or fixed={'N': ..., 'T': ...}."
        )
    if target_loss is not None and tokens is not None:
        raise SpecError("With `target_loss`, fix N or nothing; T follows from the target.")
    if sizes is not None and size is not None:
        raise SpecError("Give `sizes` to choose from, or fixed={'N': ...}, not both.")
    if sizes is not None and not len(sizes):
        raise SpecError("`sizes` is empty; give the model sizes to choose from.")


def _unreachable(target: float, spend: Spending, share: float) -> str:
    floor = spend.fitted.draws("E", spend.family) if "E" in spend.fitted.law.parameters else None
    why = (
        f" The floor E is {np.median(floor):.4g} ({np.quantile(floor, 0.05):.4g} to "
        f"{np.quantile(floor, 0.95):.4g})."
        if floor is not None
        else ""
    )
    return f"A loss of {target:g} is reached in only {percent(share)} of the posterior draws.{why}"


def _or_more(value: float) -> str:
    return (
        flops(value) if np.isfinite(value) else "more than can be said: some draws never reach it"
    )
