"""What stands in a panel of optima: curves with bands, cells' own answers, studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayescale.answers import si
from bayescale.plots import style
from bayescale.plots.names import SHORT_TITLES

DASHES = (0, (3, 2))


def lines(axis: Any, curves: xr.Dataset, handles: list[Any], first: int) -> list[Any]:
    """Curves with their bands; a legend entry for each level that has none yet."""
    known = {h.get_label() for h in handles}
    for i, level in enumerate(curves.level.values):
        one, colour = curves.isel(level=i), style.COLOURS[(first + i) % style.FAMILIES]
        for low, high, alpha in (("lower", "upper", 0.18), ("lower_50", "upper_50", 0.28)):
            axis.fill_between(one.x, one[low], one[high], color=colour, alpha=alpha, linewidth=0,
                              zorder=2)  # fmt: skip
        axis.plot(one.x, one["median"], color=colour, linewidth=1.5, zorder=3)
        level_of = curves.attrs["level_of"]
        label = f"{level_of} = {si(float(level))}" if level_of else "posterior median"
        if label not in known:
            handles.append(style.line_handle(colour, label, linewidth=2))
    return handles


def marks(axis: Any, own: Any, curves: xr.Dataset, first: int) -> set[str]:
    """The cells' own optima in the colour of the nearest curve; gives back the open sides."""
    against, level_of = curves.attrs["against"], curves.attrs["level_of"]
    levels = curves.level.values
    for row in own.to_dict("records"):
        near = int(np.argmin(np.abs(np.log(levels / row[level_of])))) if level_of else 0
        exact = not level_of or abs(np.log(levels[near] / row[level_of])) < 0.02
        colour = style.COLOURS[(first + near) % style.FAMILIES] if exact else style.GREY
        alpha, x = (0.95, row[against]) if exact else (0.4, row[against])
        low, high = row["lower"], row["upper"]
        if row["side"] == "none":
            continue
        if row["side"] == "both":
            axis.plot([x, x], [low, high], color=colour, alpha=alpha, linewidth=1.2, zorder=4)
            axis.plot([x], [row["median"]], "o", color=colour, alpha=alpha, markersize=4, zorder=5,
                      markeredgecolor="white", markeredgewidth=0.5)  # fmt: skip
        else:
            end, to = (high, high / 1.5) if row["side"] == "below" else (low, low * 1.5)
            axis.annotate(
                "", xy=(x, to), xytext=(x, end), zorder=4,
                arrowprops={"arrowstyle": "-|>", "color": colour, "alpha": alpha, "linewidth": 1.2,
                            "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
            axis.plot([x], [end], "_", color=colour, alpha=alpha, markersize=6, zorder=5)
    return {s for s in own["side"] if s in ("below", "above")} if len(own) else set()


def heights(axis: Any, curves: xr.Dataset, own: Any) -> None:
    """Limits around our curves and marks: a study far away leaves the panel."""
    low, high = float(curves.lower.min()), float(curves.upper.max())
    if len(own):
        near = own[own["side"] == "both"]
        low, high = min([low, *near["lower"]]), max([high, *near["upper"]])
    room = (high / low) ** 0.06
    axis.set_ylim(low / room, high * room)


def studies(axis: Any, others: Any) -> None:
    """Thin lines with their names: at the right edge, or where a line leaves the panel."""
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    at_edge, leaving = {}, {}
    for name, line in others.groupby("study", sort=False):
        inside = line[line["value"].between(low, high)]
        if not len(inside):
            continue
        axis.plot(line["x"], line["value"], color=style.GREY, linewidth=0.9, linestyle=DASHES,
                  zorder=1)  # fmt: skip
        end = inside.iloc[-1]
        across = float(np.log(end["x"] / left) / np.log(right / left))
        height = float(np.log(end["value"] / low) / np.log(high / low))
        (at_edge if across > 0.98 else leaving)[SHORT_TITLES.get(name, name)] = (across, height)
    box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1}
    words: dict[str, Any] = {"transform": axis.transAxes, "fontsize": 7.5, "color": style.GREY,
                             "va": "center", "zorder": 6}  # fmt: skip
    for name, height in _apart({k: y for k, (_, y) in at_edge.items()}).items():
        axis.text(1.01, height, name, ha="left", **words)
    for name, height in _apart({k: min(y, 0.97) for k, (_, y) in leaving.items()}).items():
        axis.text(leaving[name][0] - 0.02, height, name, ha="right", bbox=box, **words)


def _apart(heights: dict[str, float], gap: float = 0.05) -> dict[str, float]:
    """Heights of labels in order, moved down until none covers another, and back into the panel."""
    order = sorted(heights, key=lambda k: -heights[k])
    out: dict[str, float] = {}
    last = 1.0 + gap
    for name in order:
        last = min(heights[name], last - gap)
        out[name] = last
    lift = max(0.0, 0.02 - last)
    return {name: y + lift for name, y in out.items()}
