"""The law over its data: loss against tokens and against compute, size by size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.inference.tree import Fitted
from bayescale.plots import style
from bayescale.plots.bands import (
    as_fitted,
    bands,
    check_prob,
    curve_inputs,
    families_shown,
    few,
    free_inputs,
    law_draws,
    middle,
    of_family,
    readings_of,
    tuned_readings,
    unit_of_response,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEYOND = 4.0  # how far the curves go past the data, as a factor of x; chosen to show the trend


def law_numbers(
    fit: xr.DataTree | Fitted,
    *,
    against: str = "T",
    levels: Sequence[float] | None = None,
    family: str | None = None,
    ci_prob: float = 0.9,
    n: int = 60,
) -> xr.Dataset:
    """Bands of the mean curve along one input for a few values of another.

    Parameters
    ----------
    against : str, default "T"
        What runs along x: an input of the law, or ``"flops"``.
    levels : sequence of float, optional
        Values of the other axis (``N`` where the law has it). Default: up to five sizes of the
        data, evenly spread in logs.

    Returns
    -------
    xarray.Dataset, (level, x)
        ``median``, ``lower``, ``upper``; coordinates ``x`` and ``level``; attributes ``against``,
        ``level_of`` (``""`` for a law of one input) and ``held`` (inputs held at the pivot).
    """
    fitted = as_fitted(fit)
    data = readings_of(fitted, family)
    level_of = _level_of(fitted, against)
    if levels is None:
        levels = list(few(data[level_of])) if level_of else [np.nan]
    x = np.geomspace(data[against].min(), data[against].max() * BEYOND, n)
    level = np.asarray(levels, float)[:, None]
    points = {against: x[None, :], **({level_of: level} if level_of else {})}
    out = bands(law_draws(fitted, points, family), ("level", "x"), check_prob(ci_prob))
    held = {k: v for k, v in middle(fitted, family).items() if k not in (*points, "T", "flops")}
    attrs = {"against": against, "level_of": level_of, "held": held, **out.attrs}
    return out.assign_coords(x=x, level=level[:, 0]).assign_attrs(attrs)


def law(
    fit: xr.DataTree | Fitted,
    *,
    levels: Sequence[float] | None = None,
    family: str | None = None,
    ci_prob: float = 0.9,
    ax: Any = None,
) -> Figure:
    """Data and posterior bands of the mean curve, against tokens and against compute.

    A fit that tells families apart gives one panel a family, against tokens; name one with
    ``family`` for its two panels.

    Parameters
    ----------
    fit : xarray.DataTree
    levels : sequence of float, optional
        Sizes to draw; default up to five of the data.
    family : str, optional
    ci_prob : float, default 0.9
        Of the bands, which are for the mean curve and not for single runs.
    ax : Axes or sequence of Axes, optional
        One a panel.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fitted = as_fitted(fit)
    against = _axes_of(fitted)
    if fitted.by_family and family is None:
        shown, rest = families_shown(fitted)
        panels = [(name, against[0]) for name in shown]
    else:
        rest, panels = "", [(family, x) for x in against]
    several = len({p[0] for p in panels}) > 1
    small = several and len(panels) > 2
    figure, axes, ours = style.canvas(
        ax,
        len(panels),
        columns=min(len(panels), 4) if several else None,
        size=(3.6, 3.2) if small else (5.4, 4.2),
        share="xy" if several else "y",
    )
    everything, reading = tuned_readings(fitted)
    level_of = _level_of(fitted, against[0])
    cmap, norm = style.sequence(everything[level_of] if level_of else [1.0])
    titles = style.shorten([str(p[0]) for p in panels]) if several else [""] * len(panels)
    held: dict[str, float] = {}
    for axes_k, (name, x), title in zip(axes, panels, titles, strict=True):
        numbers = law_numbers(fitted, against=x, levels=levels, family=name, ci_prob=ci_prob)
        held = numbers.attrs["held"]
        _panel(axes_k, fitted, numbers, of_family(fitted, everything, name), cmap, norm)
        style.dress(axes_k, title=title)
    _limits(axes, panels, fitted, everything)
    colour = cmap(0.35)
    handles = [
        style.line_handle(colour, reading, marker="o", linestyle="", markersize=4),
        style.line_handle(colour, "mean curve, posterior median"),
        style.band_handle(colour, ci_prob),
        style.range_handle(),
    ]
    if level_of:
        style.size_bar(figure, axes, cmap, norm, level_of)
    text = f"{fitted.law.response.capitalize()} and its law: {style.formula(fitted.law)}"
    if fitted.surface is not None and fitted.surface.loss_law is not None:
        base = fitted.surface.loss_law
        text = f"Loss under the best {_and(base, fitted)}: {style.formula(base)}"
    if held:
        text += "; " + ", ".join(f"{k} held at {v:.3g}" for k, v in held.items())
    style.headline(figure, ours, axes[0], f"{text}\n{rest}" if rest else text, fitted.warning)
    style.legend(figure, ours, axes[0], handles)
    return figure


def _and(base: Any, fitted: Fitted) -> str:
    names = [k.replace("_", " ") for k in free_inputs(fitted) if k not in base.inputs]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _axes_of(fitted: Fitted) -> list[str]:
    """What to plot against: tokens and compute, or the inputs that there are."""
    inputs = curve_inputs(fitted)
    if {"N", "T"} <= set(inputs):
        return ["T", "flops"] if "flops" in readings_of(fitted) else ["T"]
    return [next((k for k in ("flops", "T", "N") if k in inputs), inputs[0])]


def _level_of(fitted: Fitted, against: str) -> str:
    follows = "T" if against == "flops" else ""  # from size and compute
    others = [k for k in curve_inputs(fitted) if k not in (against, follows)]
    return ("N" if "N" in others else others[0]) if others else ""


def _panel(ax: Any, fitted: Fitted, numbers: xr.Dataset, data: Any, cmap: Any, norm: Any) -> None:
    against, level_of = numbers.attrs["against"], numbers.attrs["level_of"]
    style.shade_data(ax, data[against].min(), data[against].max())
    many = len(data) > 400
    colours = data[level_of] if level_of else np.full(len(data), norm.vmin * 1.5)
    ax.scatter(
        data[against], data[fitted.law.response], c=colours, cmap=cmap, norm=norm,
        s=5 if many else 13, alpha=0.45 if many else 0.8, linewidth=0, zorder=2, rasterized=many,
    )  # fmt: skip
    for row in numbers.transpose("level", "x").level.values:
        one = numbers.sel(level=row) if level_of else numbers.isel(level=0)
        colour = cmap(norm(row)) if level_of else cmap(0.35)
        ax.fill_between(
            one.x, one.lower, one.upper, color=colour, alpha=0.25, linewidth=0, zorder=3
        )
        ax.plot(one.x, one["median"], color=colour, linewidth=1.5, zorder=4)


def _limits(axes: Any, panels: Any, fitted: Fitted, data: Any) -> None:
    """Limits around the data: the curves of large models leave the panel where nothing was run."""
    loss = data[fitted.law.response]
    room = (loss.max() / loss.min()) ** 0.06
    for ax, (name, x) in zip(axes, panels, strict=True):
        seen = data if len({p[0] for p in panels}) > 1 else of_family(fitted, data, name)
        ax.set_xlim(seen[x].min() / 1.3, seen[x].max() * BEYOND)
        ax.set_ylim(loss.min() / room**2, loss.max() * room)
        style.log_axis(ax, "x", x)
        style.log_axis(ax, "y", fitted.law.response)
        spec = ax.get_subplotspec()
        if spec is None or spec.is_last_row() or len(axes) <= 2:
            ax.set_xlabel(style.axis_label(x), fontsize=9.5)
        if ax is axes[0] or (spec is not None and spec.is_first_col()):
            unit = unit_of_response(fitted)
            ax.set_ylabel(style.axis_label(fitted.law.response, unit), fontsize=9.5)
