"""A plan: what each size would reach on the budget, and how little the choice matters nearby."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayescale.answers import flops, interval, si
from bayescale.plots import style
from bayescale.plots.bands import readings_of, unit_of_response

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescale.plan import Plan

SHOWN = 0.04  # sizes are shown up to this share of loss above the plan; chosen


def plan_numbers(plan: Plan) -> tuple[pd.DataFrame, dict[str, float]]:
    """The loss curve near the plan, and the marks on it.

    Returns
    -------
    curve : DataFrame
        ``size``, ``mean``, ``lower``, ``upper``, ``expected_loss_share`` at sizes that cost less
        than 4 % of loss, or belong to the interval of the best size.
    marks : dict
        ``N``, ``loss``, ``low`` and ``high`` of the near-optimal region, ``best_lower``,
        ``best_upper``: interval of the best size, NaN where the size was given.
    """
    near = plan.near_optimal
    low, high = interval(plan.draws["N"].values, plan.ci_prob)
    chosen = bool(plan.asked["chosen"])
    curve: Any = plan.curve.to_dataframe().reset_index().dropna()
    wide = curve["size"].between(min(low, near["low"]) / 1.3, max(high, near["high"]) * 1.3)
    curve = curve[(curve["expected_loss_share"] <= SHOWN) | (wide & chosen)].reset_index(drop=True)
    marks = {
        "N": plan.recommended["N"],
        "loss": float(np.mean(plan.draws["loss_planned"].values)),
        "low": near["low"],
        "high": near["high"],
        "best_lower": float(low) if chosen else np.nan,
        "best_upper": float(high) if chosen else np.nan,
    }
    return curve, marks


def plan(plan: Plan, *, ax: Any = None) -> Figure:
    """Expected loss against size on the budget of a plan, with the near-optimal region.

    Parameters
    ----------
    plan : Plan
        From `bayescale.plan`.
    ax : Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.patches import Patch

    found, marks = plan_numbers(plan)
    curve: Any = found
    figure, axes, ours = style.canvas(ax, 1, size=(7.4, 4.6))
    axis, colour, other = axes[0], style.COLOURS[0], style.COLOURS[1]
    unit = unit_of_response(plan.fitted) if plan.fitted is not None else ""
    style.dress(axis, x=style.axis_label("N"), y=style.axis_label("loss", unit))
    axis.set_xlim(curve["size"].min(), curve["size"].max())
    bottom, top = curve["lower"].min(), curve["upper"].max()
    room = 0.14 * (top - bottom)
    axis.set_ylim(bottom - room, top + 0.05 * (top - bottom))
    handles = []
    if plan.fitted is not None:
        seen: Any = readings_of(plan.fitted, plan.asked.get("family"))["N"]
        if seen.max() > curve["size"].min() and seen.min() < curve["size"].max():
            ends = max(seen.min(), curve["size"].min()), min(seen.max(), curve["size"].max())
            style.shade_data(axis, *ends)
            handles.append(style.range_handle())
    if marks["high"] > marks["low"]:
        axis.axvspan(marks["low"], marks["high"], color=style.COLOURS[2], alpha=0.16, linewidth=0,
                     zorder=0)  # fmt: skip
        handles.append(
            Patch(facecolor=style.COLOURS[2], alpha=0.25,
                  label="costs less than 0.2 % of expected loss")
        )  # fmt: skip
    axis.fill_between(curve["size"], curve["lower"], curve["upper"], color=colour, alpha=0.22,
                      linewidth=0)  # fmt: skip
    axis.plot(curve["size"], curve["mean"], color=colour, linewidth=1.8)
    axis.axvline(marks["N"], color=other, linewidth=1.0, linestyle=(0, (4, 2)))
    axis.plot([marks["N"]], [marks["loss"]], "o", color=other, markersize=8,
              markeredgecolor="white", zorder=5)  # fmt: skip
    handles = [
        style.line_handle(colour, "expected loss", linewidth=1.8),
        style.band_handle(colour, plan.ci_prob, 0.22, "of the mean curve"),
        style.line_handle(other, f"plan: {si(marks['N'])} parameters, "
                          f"{si(plan.recommended['T'])} tokens", marker="o", markersize=7,
                          linestyle=(0, (4, 2)), linewidth=1),
        *handles,
    ]  # fmt: skip
    if np.isfinite(marks["best_lower"]):
        y = bottom - 0.55 * room
        axis.plot(
            [marks["best_lower"], marks["best_upper"]], [y, y], color=style.INK, linewidth=2.2
        )
        handles.append(
            style.line_handle(style.INK, f"best size, {style.percent(plan.ci_prob)} interval",
                              linewidth=2.2)
        )  # fmt: skip
    style.log_axis(axis, "x", "N")
    title = f"Loss against size at {flops(plan.recommended['budget_flops'])}"
    style.headline(figure, ours, axis, title, plan.warning)
    style.legend(figure, ours, axis, handles)
    return figure
