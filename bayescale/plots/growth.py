"""The frontier: best size, best length and best loss against compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.frontier import Frontier
from bayescale.frontier import frontier as compute_frontier
from bayescale.plots import style
from bayescale.plots.bands import (
    as_fitted,
    families_shown,
    light,
    readings_of,
    tuned_readings,
    unit_of_response,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUANTITIES = ("N", "T", "loss")


def frontier_numbers(
    fit: xr.DataTree | Frontier, budgets_flops: Any = None, *, family: str | None = None,
    ci_prob: float = 0.9,
) -> pd.DataFrame:  # fmt: skip
    """The frontier's table, with the family of each row and whether it is beyond the data.

    Returns
    -------
    DataFrame
        Columns of `bayescale.frontier`'s table, ``family`` and ``beyond``. Of a fit that tells
        families apart, up to eight of them one after the other.
    """
    if isinstance(fit, Frontier):
        found = {"": fit}
    else:
        fitted = as_fitted(fit)
        names = [family]
        if fitted.by_family and family is None:
            names, _ = families_shown(fitted)
        found = {
            name or "": compute_frontier(
                light(fitted).tree, budgets_flops, family=name, ci_prob=ci_prob
            )
            for name in names
        }  # fmt: skip
    tables = [f.table.assign(family=name) for name, f in found.items()]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(beyond=table["decades_beyond"] > 1e-9)


def frontier(
    fit: xr.DataTree | Frontier,
    budgets_flops: Any = None,
    *,
    family: str | None = None,
    ci_prob: float | None = None,
    ax: Any = None,
) -> Figure:
    """Best size, tokens and loss against compute, with bands; dashed and paler beyond the data.

    Parameters
    ----------
    fit : xarray.DataTree or Frontier
        A fit, or the answer of `bayescale.frontier`.
    budgets_flops : array_like, optional
        FLOP; default from the smallest run to two decades beyond the largest.
    family : str, optional
        Of a fit that tells families apart; by default up to eight in distinct colours.
    ci_prob : float, optional
        Default 0.9, or that of the answer.
    ax : sequence of Axes, optional
        Three.

    Returns
    -------
    matplotlib.figure.Figure
    """
    answer = isinstance(fit, Frontier)
    prob = fit.ci_prob if isinstance(fit, Frontier) else ci_prob or 0.9
    table: Any = frontier_numbers(fit, budgets_flops, family=family, ci_prob=prob)
    fitted = None if answer else as_fitted(fit)
    rest = ""
    if fitted is not None and fitted.by_family and family is None:
        _, rest = families_shown(fitted)
    warning = fit.warning if isinstance(fit, Frontier) else fitted.warning  # type: ignore[union-attr]
    names = list(dict.fromkeys(table["family"]))
    height = 3.8 if len(names) == 1 else 4.6  # the legend takes three rows
    figure, axes, ours = style.canvas(ax, 3, size=(3.6, height))
    unit = unit_of_response(fitted) if fitted is not None else ""
    ends = _data_range(table, fitted, family)
    reading = "reading"
    for quantity, axes_k in zip(QUANTITIES, axes, strict=True):
        label = style.axis_label(quantity, unit if quantity == "loss" else "")
        label = f"best {label}" if quantity != "loss" else f"{label}, best split"
        style.dress(axes_k, x=style.axis_label("flops"), y=label)
        style.shade_data(axes_k, *ends)
        for i, name in enumerate(names):
            _line(axes_k, table[table["family"] == name], quantity, style.COLOURS[i], len(names))
        axes_k.set_xlim(table["budget_flops"].min(), table["budget_flops"].max())
        low, high = table[f"{quantity}_lower"].min(), table[f"{quantity}_upper"].max()
        if quantity == "loss" and fitted is not None and len(names) == 1:
            data, reading = tuned_readings(fitted, family)
            axes_k.scatter(data["flops"], data["loss"], s=5, color=style.GREY, alpha=0.5,
                           linewidth=0, zorder=1, rasterized=len(data) > 400)  # fmt: skip
        pad = (high / low) ** 0.05
        axes_k.set_ylim(low / pad, high * pad)
        style.log_axis(axes_k, "x", "flops")
        style.log_axis(axes_k, "y", quantity)
    handles = _handles(names, prob, reading if fitted is not None and len(names) == 1 else "")
    title = "Compute-optimal size, length and loss"
    if len(names) == 1:
        title += f": $N^*\\propto C^{{\\,{_slope(table, names[0]):.2f}}}$"
    style.headline(figure, ours, axes[0], title + (f"\n{rest}" if rest else ""), warning)
    style.legend(figure, ours, axes[0], handles)
    return figure


def _line(ax: Any, rows: pd.DataFrame, quantity: str, colour: str, families: int) -> None:
    """One line and its band: solid to the largest run, dashed and paler beyond it."""
    columns = ["budget_flops", quantity, f"{quantity}_lower", f"{quantity}_upper"]
    logs, alpha = np.log(rows[columns].to_numpy(float)), 0.30 if families == 1 else 0.18
    far = rows["decades_beyond"].to_numpy(float)
    edge = logs[-1, 0]
    if (far > 0).any():
        first = int(np.argmax(far > 0))
        edge = max(logs[0, 0], logs[first, 0] - far[first] * np.log(10.0))
    at_edge = np.array([[np.interp(edge, logs[:, 0], c) for c in logs.T]])
    inside, outside = logs[logs[:, 0] < edge], logs[logs[:, 0] > edge]
    for part, line, strength in (
        (np.vstack([inside, at_edge]), "-", alpha),
        (np.vstack([at_edge, outside]), (0, (4, 2)), alpha * 0.6),
    ):
        x, y, lower, upper = np.exp(part).T
        ax.fill_between(x, lower, upper, color=colour, alpha=strength, linewidth=0, zorder=2)
        ax.plot(x, y, color=colour, linestyle=line, linewidth=1.7, zorder=3)


def _data_range(table: Any, fitted: Any, family: str | None) -> tuple[float, float]:
    if fitted is not None:
        seen: Any = readings_of(fitted, family)["flops"]
        return float(seen.min()), float(seen.max())
    beyond = table[table["beyond"]]
    low = table["budget_flops"].min()
    if not len(beyond):
        return low, table["budget_flops"].max()
    row = beyond.iloc[0]
    return low, max(low, float(row["budget_flops"] / 10 ** row["decades_beyond"]))


def _handles(names: list[str], prob: float, reading: str) -> list[Any]:
    colour = style.COLOURS[0] if len(names) == 1 else style.GREY
    handles = [
        style.line_handle(colour, "posterior median", linewidth=1.7),
        style.band_handle(colour, prob),
        style.line_handle(colour, "beyond the data", linestyle=(0, (4, 2)), linewidth=1.7),
        style.range_handle(),
    ]
    if reading:
        handles.append(
            style.line_handle(style.GREY, reading, marker="o", linestyle="", markersize=3)
        )
    if len(names) > 1:
        handles += [
            style.line_handle(style.COLOURS[i], text, linewidth=2.2)
            for i, text in enumerate(style.shorten(names))
        ]
    return handles


def _slope(table: pd.DataFrame, name: str) -> float:
    rows = table[table["family"] == name]
    return float(np.polyfit(np.log(rows["budget_flops"]), np.log(rows["N"]), 1)[0])
