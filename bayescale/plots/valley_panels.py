"""Two ways to draw a valley: the plane of batch and rate, or a curve along one hyperparameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.answers import percent, si
from bayescale.errors import SpecError
from bayescale.laws.surface import BATCH, RATE
from bayescale.plots import style
from bayescale.plots.names import SHORT_TITLES

if TYPE_CHECKING:
    from bayescale.tune import Tuning

SHARES = (0.001, 0.005, 0.02)  # of loss above the best: the contours
FILLS = ("#9CCFB9", "#C9E5DA", "#E6F2ED")  # from the valley's floor up
RISK = "p_diverge"


def plane(axis: Any, grid: xr.Dataset, cloud: Any, marks: Any) -> list[Any]:
    """Cost as contours, the risk of divergence, runs, draws of the optimum and advice."""
    from matplotlib.patches import Patch

    x, y = grid[RATE].values, grid[BATCH].values
    extra = np.maximum(grid["extra"].transpose(BATCH, RATE).values, 0.0)
    style.dress(axis, x=style.axis_label(RATE), y=style.axis_label(BATCH))
    axis.contourf(x, y, extra, levels=[-1.0, *SHARES], colors=FILLS, zorder=0)
    axis.contour(x, y, extra, levels=SHARES, colors=style.COLOURS[2], linewidths=0.8, zorder=1)
    handles = [
        Patch(facecolor=colour, edgecolor=style.COLOURS[2], linewidth=0.8,
              label=f"less than {percent(share)} of loss lost")
        for share, colour in zip(SHARES, FILLS, strict=True)
    ]  # fmt: skip
    _limits(axis, x, y, marks, cloud, extra)
    if RISK in grid:
        risk = grid[RISK].transpose(BATCH, RATE).values
        levels = [p for p in (0.01, 0.1, 0.5) if risk.min() < p < risk.max()]
        if levels:
            lines = axis.contour(x, y, risk, levels=levels, colors="#B00020", linewidths=1.1,
                                 linestyles=[(0, (5, 2))], zorder=3)  # fmt: skip
            axis.clabel(lines, fmt={p: percent(p) for p in levels}, fontsize=7.5)
            handles.append(style.line_handle("#B00020", "probability that the run diverges",
                                             linestyle=(0, (5, 2)), linewidth=1.1))  # fmt: skip
    tried = marks[marks["kind"] == "tried"]
    if len(tried):
        axis.plot(tried[RATE], tried[BATCH], "x", color=style.GREY, markersize=3.5,
                  markeredgewidth=0.7, alpha=0.8, zorder=2)  # fmt: skip
        handles.append(style.line_handle(style.GREY, _run(tried), marker="x",
                                         linestyle="", markersize=4))  # fmt: skip
    axis.scatter(cloud[RATE], cloud[BATCH], s=5, color=style.COLOURS[0], alpha=0.35, linewidth=0,
                 zorder=4)  # fmt: skip
    handles.append(style.line_handle(style.COLOURS[0], f"optimum, {len(cloud)} posterior draws",
                                     marker="o", linestyle="", markersize=3.5))  # fmt: skip
    handles += _points(axis, marks)
    _words(axis, marks)
    style.log_axis(axis, "x", RATE)
    style.log_axis(axis, "y", BATCH)
    _powers(axis)
    return handles


def _points(axis: Any, marks: Any) -> list[Any]:
    """The recommended setting and its relatives; gives back their legend entries."""
    handles = []
    for kind, marker, size, colour in (
        ("power of two", "D", 6.5, style.COLOURS[4]),
        ("without limits", "o", 7, style.GREY),
        ("recommended", "+", 15, style.COLOURS[1]),
    ):
        for row in marks[marks["kind"] == kind].to_dict("records"):
            edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.8}
            if marker == "+":  # the draws beneath stay in sight
                edge = {"markeredgewidth": 2.2}
            axis.plot([row[RATE]], [row[BATCH]], marker, color=colour, markersize=size, zorder=7,
                      **edge)  # fmt: skip
            batch = f"{row[BATCH]:,.0f}" if kind == "power of two" else si(row[BATCH])
            what = f"{kind}: {batch} tokens, {row[RATE]:.3g}"
            if kind != "recommended":
                gap = row["cost"] - float(marks["cost"].iloc[0])
                what += f", loses {percent(abs(gap))} {'more' if gap >= 0 else 'less'}"
            handles.insert(0, style.line_handle(colour, what, marker=marker, linestyle="",
                                                markersize=min(size, 10)))  # fmt: skip
    return handles


def _words(axis: Any, marks: Any) -> None:
    """Studies with their names and what following them costs; those outside at the edge."""
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    taken: list[tuple[float, float]] = []
    for row in marks[marks["kind"] == "study"].sort_values(BATCH).to_dict("records"):
        x, y = row[RATE], row[BATCH]
        inside = left <= x <= right and low <= y <= high
        x, y = (
            float(np.clip(x, left * 1.03, right / 1.03)),
            float(np.clip(y, low * 1.05, high / 1.05)),
        )
        across = np.log(x / left) / np.log(right / left)
        height = np.log(y / low) / np.log(high / low)
        axis.plot([x], [y], "s" if inside else "<", color=style.INK, markersize=4.5, zorder=6,
                  markeredgecolor="white", markeredgewidth=0.6)  # fmt: skip
        flip = across > 0.72
        place = height
        while any(abs(place - t) < 0.036 and abs(across - a) < 0.3 for a, t in taken):
            place += 0.036
        taken.append((across, place))
        name = SHORT_TITLES.get(row["name"], row["name"].replace("_", " "))
        axis.annotate(
            f"{name}, {percent(row['cost'])}", (x, y), xycoords="data", fontsize=8,
            xytext=(across + (-0.015 if flip else 0.015), place), textcoords="axes fraction",
            ha="right" if flip else "left", va="center", color=style.INK, zorder=6,
            arrowprops={"arrowstyle": "-", "color": style.GREY, "linewidth": 0.5}
            if abs(place - height) > 0.02 else None,
            bbox={"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.6},
        )  # fmt: skip


def _powers(axis: Any) -> None:
    """Powers of two on the right edge, for those who train with them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axis.get_ylim()
    powers = np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    if len(powers) > 14:
        powers = powers[:: -(-len(powers) // 14)]
    twin = axis.secondary_yaxis("right")
    twin.yaxis.set_major_locator(FixedLocator(list(2.0**powers)))
    twin.yaxis.set_minor_locator(NullLocator())
    twin.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"$2^{{{round(np.log2(v))}}}$"))
    twin.tick_params(labelsize=style.SMALL, colors=style.GREY, width=0.6, length=3)
    twin.spines["right"].set_visible(False)


def _limits(
    axis: Any, x: np.ndarray, y: np.ndarray, marks: Any, cloud: Any, extra: np.ndarray
) -> None:
    """Around the outermost contour, the draws, runs and advice, as far as the grid goes."""
    inside = extra <= SHARES[-1]
    rows, columns = inside.any(axis=1), inside.any(axis=0)
    ends = {RATE: [x[columns].min(), x[columns].max()], BATCH: [y[rows].min(), y[rows].max()]}
    axis.set_xscale("log")
    axis.set_yscale("log")
    for name, grid, setter in ((RATE, x, axis.set_xlim), (BATCH, y, axis.set_ylim)):
        low, high = ends[name]
        drawn = np.quantile(cloud[name], [0.02, 0.98])
        low = min(low, marks[name].min() / 1.1, drawn[0])
        high = max(high, marks[name].max() * 1.1, drawn[1])
        setter(max(low, grid.min()), min(high, grid.max()))


def line(axis: Any, grid: xr.Dataset, cloud: Any, marks: Any, tuning: Tuning) -> list[Any]:
    """One hyperparameter: expected cost along it, with the interval of its best value."""
    name = str(cloud.columns[0])
    if "extra" in grid and grid["extra"].dims == (name,):
        extra = grid["extra"]
    elif f"{name}_extra" in grid:
        extra = grid[f"{name}_extra"]
    else:
        raise SpecError(f"This tuning has no cost along `{name}` to draw.")
    x, y = grid[name].values, 100.0 * np.maximum(extra.values, 0.0)
    style.dress(axis, x=style.axis_label(name), y="expected loss above the best setting (%)")
    top = 100.0 * SHARES[-1]
    axis.set_xlim(x.min(), x.max())
    axis.set_ylim(0.0, min(top, float(y.max())) * 1.02)
    low, high = np.quantile(cloud[name], [(1 - tuning.ci_prob) / 2, (1 + tuning.ci_prob) / 2])
    axis.axvspan(low, high, color=style.COLOURS[0], alpha=0.15, linewidth=0)
    axis.plot(x, y, color=style.COLOURS[2], linewidth=1.8, zorder=3)
    for share in SHARES[:2]:
        axis.axhline(100.0 * share, color=style.GREY, linewidth=0.7, linestyle=(0, (3, 2)))
    row = marks.iloc[0]
    axis.plot([row[name]], [0.0], "*", color=style.COLOURS[1], markersize=15, zorder=7,
              clip_on=False, markeredgecolor="white")  # fmt: skip
    handles = [
        style.line_handle(style.COLOURS[1], f"recommended: {row[name]:.3g}", marker="*",
                          linestyle="", markersize=10),
        style.line_handle(style.COLOURS[2], "expected cost", linewidth=1.8),
        style.band_handle(style.COLOURS[0], tuning.ci_prob, 0.15, "of the best value"),
    ]  # fmt: skip
    studies = marks[marks["kind"] == "study"].sort_values(name).to_dict("records")
    for i, study in enumerate(studies):
        if x.min() <= study[name] <= x.max():
            axis.axvline(study[name], color=style.GREY, linewidth=0.8, linestyle=(0, (3, 2)))
            label = SHORT_TITLES.get(study["name"], study["name"])
            axis.text(study[name], axis.get_ylim()[1] * 0.98, f" {label}", rotation=90, va="top",
                      ha=("right", "left")[i % 2], fontsize=8, color=style.GREY)  # fmt: skip
    tried = marks[marks["kind"] == "tried"]
    if len(tried):
        axis.plot(tried[name], np.full(len(tried), axis.get_ylim()[1] * 0.012), "|",
                  color=style.INK, markersize=8, zorder=6)  # fmt: skip
        handles.append(style.line_handle(style.INK, _run(tried), marker="|",
                                         linestyle="", markersize=8))  # fmt: skip
    style.log_axis(axis, "x", name)
    return handles


def _run(tried: Any) -> str:
    """What the runs that are shown are."""
    where = str(tried["name"].iloc[0])
    return f"run at {where}" if where else "run"
