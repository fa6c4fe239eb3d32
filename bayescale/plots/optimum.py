"""Best batch size and learning rate against size and data, with what each cell says of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import interval, si
from bayescale.errors import SpecError
from bayescale.inference.curve import best_hyperparameters
from bayescale.inference.tree import Fitted
from bayescale.laws.published_hyperparameters import STUDIES, every_published_hyperparameter
from bayescale.laws.surface import BATCH, RATE, SHORT
from bayescale.plots import style
from bayescale.plots.bands import as_fitted, bands, check_prob, few
from bayescale.plots.names import SHORT_TITLES
from bayescale.plots.sweep_cells import Sweep, own_optima, sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = 3  # sizes (or lengths) with a curve of their own
POINTS = 60
BEYOND = 30.0  # how far the curves go past the data, as a factor of x
DASHES = (0, (3, 2))
NOT_AN_OPTIMUM = ("zhang_critical",)  # the largest batch worth using, another question


def optimum_numbers(
    fit: xr.DataTree | Fitted,
    hyperparameter: str = RATE,
    *,
    against: str = "T",
    levels: Sequence[float] | None = None,
    family: str | None = None,
    ci_prob: float = 0.9,
    beyond: float = BEYOND,
) -> tuple[xr.Dataset, pd.DataFrame, pd.DataFrame]:
    """Curves of the optimum, the cells' own optima, and published laws on the same axes.

    Parameters
    ----------
    hyperparameter : str, default "learning_rate"
    against : str, default "T"
        What runs along x: an input of the loss law with which optima may move.
    levels : sequence of float, optional
        Values of the other such input. Default: up to three of the data, evenly spread in logs.
    beyond : float, default 30
        How far the curves go past the data, as a factor.

    Returns
    -------
    curves : xarray.Dataset, (level, x)
        ``median``, ``lower``, ``upper``, ``lower_50``, ``upper_50`` of the best value, with all
        other hyperparameters at their best; attributes ``against`` and ``level_of``.
    cells : DataFrame
        `own_optima` of the cells: what the cell's own runs say.
    published : DataFrame
        ``study``, ``x``, ``value``: advice of studies that can be followed as printed, at the
        middle level.
    """
    fitted = as_fitted(fit)
    found = sweep(fitted, family, what="`plots.optimum`")
    check_prob(ci_prob)
    _check_axes(found, hyperparameter, against)
    level_of = next((s for s in found.surface.scales if s != against), "")
    if levels is None:
        levels = list(few(found.cells[level_of], LEVELS)) if level_of else [np.nan]
    seen = found.cells[against].to_numpy(float)
    x = np.geomspace(seen.min() / 1.5, seen.max() * beyond, POINTS)
    at: dict[str, Any] = {against: np.tile(x, len(levels))[None]}
    if level_of:
        at[level_of] = np.repeat(np.asarray(levels, float), POINTS)[None]
    for switch in found.surface.switches:
        at[switch] = np.full((1, 1), float(found.cells[switch].to_numpy().mean() >= 0.5))
    whole = found.family if fitted.by_family else None
    draws = best_hyperparameters(fitted, at, whole)[hyperparameter]
    draws = draws.reshape(len(draws), len(levels), POINTS)
    curves = bands(draws, ("level", "x"), ci_prob)
    low, high = interval(draws, 0.5)
    curves = curves.assign(lower_50=(("level", "x"), low), upper_50=(("level", "x"), high))
    curves = curves.assign_coords(x=x, level=np.asarray(levels, float))
    curves = curves.assign_attrs(against=against, level_of=level_of, hyperparameter=hyperparameter)
    own: Any = own_optima(found, ci_prob)
    own = own[own["hyperparameter"] == hyperparameter] if len(own) else own
    middle = float(levels[len(levels) // 2])
    return curves, own, _published(hyperparameter, {against: x, level_of: middle})


def optimum(
    fit: xr.DataTree | Fitted,
    *,
    family: str | None = None,
    published: bool | Sequence[str] = True,
    ci_prob: float = 0.9,
    beyond: float = BEYOND,
    ax: Any = None,
) -> Figure:
    """Best batch size and learning rate against size and data, extrapolated, with bands.

    Parameters
    ----------
    fit : xarray.DataTree
        Of a `HyperparameterModel` whose loss law has a size or a length.
    family : str, optional
        Of a fit that tells families apart; default the one with most runs.
    published : bool or sequence of str, default True
        Laws of others as thin lines: all that can be followed as printed, none, or those named
        (`bayescale.laws.published_hyperparameters.STUDIES`).
    ci_prob : float, default 0.9
    beyond : float, default 30
        How far past the data, as a factor of size and of tokens.
    ax : sequence of Axes, optional
        One a panel: hyperparameters in rows, inputs in columns.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fitted = as_fitted(fit)
    found = sweep(fitted, family, what="`plots.optimum`")
    scales = [s for s in ("T", "N", "flops") if s in found.surface.scales]
    if not scales:
        raise SpecError(
            "`plots.optimum` shows how the best hyperparameters move with size and data, and this "
            "fit has one size and one length (loss_law=None). `plots.bowls(fit)` shows its optimum."
        )
    names = list(found.surface.ordered)
    panels = [(h, s) for h in names for s in scales]
    width = 5.2 if len(scales) > 1 else 6.6
    figure, axes, ours = style.canvas(ax, len(panels), columns=len(scales), size=(width, 3.9))
    handles: list[Any] = []
    open_ended: set[str] = set()
    middle: dict[str, float] = {}
    for axis, (name, against) in zip(axes, panels, strict=True):
        numbers = optimum_numbers(
            fitted, name, against=against, family=found.family, ci_prob=ci_prob, beyond=beyond
        )
        curves, own, others = numbers
        if published is not True:
            others = others[others["study"].isin(_named(published))]
        if curves.attrs["level_of"]:
            middle[curves.attrs["level_of"]] = float(curves.level[curves.sizes["level"] // 2])
        style.dress(axis, x=style.axis_label(against), y=f"best {style.axis_label(name)}")
        tried = found.cells[against].to_numpy(float)
        style.shade_data(axis, tried.min(), tried.max())
        first = LEVELS * scales.index(against)
        handles = _lines(axis, curves, handles, first)
        open_ended |= _marks(axis, own, curves, first)
        axis.set_xlim(float(curves.x.min()), float(curves.x.max()))
        _heights(axis, curves, own)
        style.log_axis(axis, "x", against)
        style.log_axis(axis, "y", name)
        _studies(axis, others)
    grey = style.GREY
    legend = [
        *handles,
        style.band_handle(grey, 0.5, 0.45),
        style.band_handle(grey, ci_prob, 0.2),
        style.line_handle(grey, f"a cell's own runs, {style.percent(ci_prob)} interval", marker="o",
                          markersize=4, linewidth=1.2),
        style.range_handle(),
    ]  # fmt: skip
    if open_ended:
        legend.append(style.line_handle(
            grey, "one-sided: the cell did not try beyond", marker="v", linestyle="", markersize=5
        ))  # fmt: skip
    if published is not False:
        legend.append(
            style.line_handle(
                grey, f"printed by others{_where(middle)}", linestyle=DASHES, linewidth=1
            )
        )
    style.headline(figure, ours, axes[0], _title(fitted, found, ci_prob), fitted.warning)
    style.legend(figure, ours, axes[0], legend)
    return figure


def _where(middle: dict[str, float]) -> str:
    return f" (at {', '.join(f'{k} = {si(v)}' for k, v in middle.items())})" if middle else ""


def _check_axes(found: Sweep, hyperparameter: str, against: str) -> None:
    for what, given, have in (
        ("hyperparameter", hyperparameter, found.surface.hyperparameters),
        ("against", against, found.surface.scales),
    ):
        if given not in have:
            raise SpecError(
                f"`{what}` is {' or '.join(map(repr, have)) or 'nothing here'} in this fit; got "
                f"{given!r}."
            )


def _published(hyperparameter: str, at: Mapping[str, Any]) -> pd.DataFrame:
    columns = ["study", "x", "value"]
    if hyperparameter not in (BATCH, RATE):
        return pd.DataFrame(columns=columns)
    given = {k: v for k, v in at.items() if k}
    x = next(v for v in given.values() if np.ndim(v))
    rows = []
    for name, advice in every_published_hyperparameter(**given).items():
        if hyperparameter in advice and name not in NOT_AN_OPTIMUM:
            value = np.broadcast_to(advice[hyperparameter], x.shape)
            rows.append(pd.DataFrame({"study": name, "x": x, "value": value}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _named(published: bool | Sequence[str]) -> list[str]:
    if isinstance(published, bool):
        return []
    names = [published] if isinstance(published, str) else list(published)
    unknown = [n for n in names if n not in STUDIES]
    if unknown:
        raise SpecError(f"No published study {unknown[0]!r}. There are: {', '.join(STUDIES)}.")
    return names


def _lines(axis: Any, curves: xr.Dataset, handles: list[Any], first: int) -> list[Any]:
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


def _marks(axis: Any, own: Any, curves: xr.Dataset, first: int) -> set[str]:
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


def _heights(axis: Any, curves: xr.Dataset, own: Any) -> None:
    """Limits around our curves and marks: a study far away leaves the panel."""
    low, high = float(curves.lower.min()), float(curves.upper.max())
    if len(own):
        near = own[own["side"] == "both"]
        low, high = min([low, *near["lower"]]), max([high, *near["upper"]])
    room = (high / low) ** 0.06
    axis.set_ylim(low / room, high * room)


def _studies(axis: Any, others: Any) -> None:
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


def _title(fitted: Fitted, found: Sweep, ci_prob: float) -> str:
    """The laws found, exponents with their intervals."""
    family = found.family if fitted.by_family else None
    parts = []
    for name in found.surface.ordered:
        short, powers = SHORT.get(name, name), []
        for s in found.surface.scales:
            draws = fitted.draws(f"{short}_{s}", family)
            low, high = interval(draws, ci_prob)
            powers.append(f"${s}^{{\\,{np.median(draws):.2f}\\,[{low:.2f}, {high:.2f}]}}$")
        symbol = {BATCH: "$B^*$", RATE: r"$\eta^*$"}.get(name, name)
        parts.append(rf"{symbol} $\propto$ {' '.join(powers)}")
    return ";   ".join(parts) + f"\n{len(found.runs):,} runs in {len(found.cells)} cells"
