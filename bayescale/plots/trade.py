"""Days against GPU-hours, one point a batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayescale.plan.trade import BatchTrade, amount_of, batch_text
from bayescale.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def batch_trade_numbers(trade: BatchTrade) -> tuple[pd.DataFrame, str, str]:
    """Time and cost of each batch size with their intervals, and what the two are called.

    Returns
    -------
    points : DataFrame
        ``batch_size``, ``time``, ``cost``, each with ``_lower`` and ``_upper``, ``recommended``.
    time, cost : str
        ``"days"`` and ``"gpu_hours"``, else ``"steps"`` and tokens.
    """
    time = "days" if "days" in trade.table else "steps"
    cost = "gpu_hours" if "gpu_hours" in trade.table else amount_of(trade.needs)
    out = {"batch_size": trade.table["batch_size"]}
    for ours, theirs in (("time", time), ("cost", cost)):
        out |= {f"{ours}{end}": trade.table[f"{theirs}{end}"] for end in ("", "_lower", "_upper")}
    best = trade.recommended.get("batch_size")
    points: Any = pd.DataFrame(out).assign(recommended=trade.table["batch_size"] == best)
    return points[np.isfinite(points["time"])].reset_index(drop=True), time, cost


def batch_trade(trade: BatchTrade, *, ax: Any = None) -> Figure:
    """Days against GPU-hours, one point a batch size; steps against tokens without a speed.

    Parameters
    ----------
    trade : BatchTrade
        From `bayescale.batch_trade`.
    ax : Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    found, time, cost = batch_trade_numbers(trade)
    points: Any = found
    figure, axes, ours = style.canvas(ax, 1, size=(7.2, 4.8))
    axis, colour, other = axes[0], style.COLOURS[0], style.COLOURS[1]
    named = "GPU-hours" if cost == "gpu_hours" else cost
    style.dress(axis, x=named, y=time)
    axis.plot(points["cost"], points["time"], color=colour, linewidth=1.2, zorder=2)
    for row in points.to_dict("records"):
        best = row["recommended"]
        ink = other if best else colour
        wide = {"color": ink, "linewidth": 1.6, "alpha": 0.45, "zorder": 3}
        right, top = (min(row[f"{k}_upper"], 100 * row[k]) for k in ("cost", "time"))  # if infinite
        axis.plot([row["cost_lower"], right], [row["time"]] * 2, **wide)
        axis.plot([row["cost"]] * 2, [row["time_lower"], top], **wide)
        axis.plot(row["cost"], row["time"], "o", color=ink, markersize=8 if best else 5,
                  markeredgecolor="white", zorder=4)  # fmt: skip
        axis.annotate(
            batch_text(row["batch_size"]), (row["cost"], row["time"]), xytext=(6, 6),
            textcoords="offset points", fontsize=style.SMALL, color=ink, zorder=5,
        )  # fmt: skip
    handles = [
        style.line_handle(colour, f"batch size ({trade.needs.unit})", marker="o", markersize=5),
        style.line_handle(colour, f"{style.percent(trade.ci_prob)} interval of a run",
                          linewidth=1.6, alpha=0.45),
    ]  # fmt: skip
    if points["recommended"].any():
        handles.append(
            style.line_handle(other, f"recommended: {trade.question[0].lower()}"
                              f"{trade.question[1:]}", marker="o", markersize=8, linestyle="")
        )  # fmt: skip
    limit = trade.asked["deadline_days"]
    if limit is not None:
        axis.axhline(limit, color=style.GREY, linewidth=1.0, linestyle=(0, (4, 2)))
        handles.append(
            style.line_handle(style.GREY, f"deadline: {limit:g} days", linestyle=(0, (4, 2)))
        )
    for which, ours_, scale in (("x", "cost", axis.set_xlim), ("y", "time", axis.set_ylim)):
        ends = points[[f"{ours_}_lower", ours_, f"{ours_}_upper"]].to_numpy()
        ends = ends[np.isfinite(ends)]
        low, high = ends.min(), ends.max()
        if which == "y" and limit is not None:
            low, high = min(low, limit), max(high, limit)
        scale(low / 1.12, high * 1.25)
        style.log_axis(axis, which, "T")
    title = f"{time.capitalize()} against {named}, by batch size"
    style.headline(figure, ours, axis, title, trade.warning)
    style.legend(figure, ours, axis, handles)
    return figure
