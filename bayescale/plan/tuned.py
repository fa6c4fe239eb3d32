"""Hyperparameters of a plan: the best at the planned run, or the habit that it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayescale.answers import interval, percent
from bayescale.frontier import Spending
from bayescale.inference.curve import total_price
from bayescale.tune import OPEN, tuning_at
from bayescale.tune.answer import Tuning, settings_text
from bayescale.tune.choice import limits
from bayescale.tune.place import Place, place_of

MAX_DIVERGENCE = 0.01


@dataclass(frozen=True)
class Hyperparameters:
    """What a plan says of hyperparameters; empty for a law without them.

    Attributes
    ----------
    draws : dict of ndarray, (sample,)
        The best of each draw at its own best size and length.
    recommended : dict of float
        Those to train with, given ones included.
    price : ndarray, (sample,), or 0
        Log loss that the recommended values lose against the best, beyond what a habit loses.
    habit : str
        A sentence on hyperparameters that are fixed at every size; '' where none is.
    tuning : Tuning or None
        At the planned size and length; None where all hyperparameters are fixed.
    """

    draws: dict[str, np.ndarray] = field(default_factory=dict)
    recommended: dict[str, float] = field(default_factory=dict)
    price: Any = 0.0
    habit: str = ""
    tuning: Tuning | None = None


def hyperparameters(
    spend: Spending, best: tuple[np.ndarray, ...], size: float, length: float, ci_prob: float
) -> Hyperparameters:
    """Hyperparameters of a planned run of ``size`` on ``length`` tokens."""
    surface = spend.fitted.surface
    if surface is None:
        return Hyperparameters()
    others = dict(spend.others or {})
    held = {k: v for k, v in others.items() if k in surface.hyperparameters}
    at = {"N": size, "T": length, **others}
    if surface.loss_law is not None and "flops" in surface.loss_law.inputs:
        at["flops"] = float(spend.cost.flops(size, length))
    habit = _habit(spend, at, held, ci_prob)
    if set(held) == set(surface.hyperparameters):
        return Hyperparameters(recommended=held, habit=habit)
    place = place_of(spend.fitted, spend.family, at)
    allowed = limits(None, False, None, None, MAX_DIVERGENCE) if place.has_cliff else OPEN
    tuning = tuning_at(place, allowed, {"N": size, "T": length}, (), ci_prob)
    return Hyperparameters(
        _best_of_draws(spend, place, best),
        {**held, **tuning.recommended},
        tuning.draws["regret"].values,
        habit,
        tuning,
    )


def _best_of_draws(
    spend: Spending, place: Place, best: tuple[np.ndarray, ...]
) -> dict[str, np.ndarray]:
    """The optimum of each draw at its own size and length."""
    size, length = best[0], best[1]
    own = {"N": size, "T": length}
    if "flops" in place.inputs:
        own["flops"] = spend.cost.flops(size, length)
    return place.elsewhere({k: np.asarray(v)[:, None] for k, v in own.items()}).best


def _habit(
    spend: Spending, at: dict[str, float], held: dict[str, float], ci_prob: float
) -> str:  # fmt: skip
    """What fixed hyperparameters cost at the planned run, in a sentence."""
    if not held:
        return ""
    inputs = {k: at[k] for k in (*spend.fitted.law.inputs, *held) if k in at}
    lost = np.asarray(total_price(spend.fitted, inputs, spend.family))[:, 0]
    low, high = interval(lost, ci_prob)
    return (
        f"Kept at every size: {settings_text(held)}. At the planned size this loses "
        f"{percent(float(lost.mean()))} of loss ({percent(ci_prob)} interval {percent(float(low))} "
        f"to {percent(float(high))}) against the best hyperparameters."
    )
