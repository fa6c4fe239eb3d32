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
from bayescale.plots.optimum_marks import DASHES, heights, lines, marks, studies
from bayescale.plots.sweep_cells import Sweep, own_optima, sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = 3  # sizes (or lengths) with a curve of their own
POINTS = 60
BEYOND = 30.0  # how far the curves go past the data, as a factor of x
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
        `own_optima` of the cells: what the cell's own runs say. Of the cells, as of the curves,
        that have the setting of the switches that most runs have.
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
    at |= {switch: np.full((1, 1), value) for switch, value in found.setting.items()}
    whole = found.family if fitted.by_family else None
    draws = best_hyperparameters(fitted, at, whole)[hyperparameter]
    draws = draws.reshape(len(draws), len(levels), POINTS)
    curves = bands(draws, ("level", "x"), ci_prob)
    low, high = interval(draws, 0.5)
    curves = curves.assign(lower_50=(("level", "x"), low), upper_50=(("level", "x"), high))
    curves = curves.assign_coords(x=x, level=np.asarray(levels, float))
    curves = curves.assign_attrs(against=against, level_of=level_of, hyperparameter=hyperparameter)
    own: Any = own_optima(found, ci_prob)
    for column, value in {"hyperparameter": hyperparameter, **found.setting}.items():
        own = own[own[column] == value] if len(own) else own
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
        handles = lines(axis, curves, handles, first)
        open_ended |= marks(axis, own, curves, first)
        axis.set_xlim(float(curves.x.min()), float(curves.x.max()))
        heights(axis, curves, own)
        style.log_axis(axis, "x", against)
        style.log_axis(axis, "y", name)
        studies(axis, others)
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


def _title(fitted: Fitted, found: Sweep, ci_prob: float) -> str:
    """The laws found, exponents with their intervals."""
    family = found.family if fitted.by_family else None
    parts = []
    for name in found.surface.ordered:
        short, powers = SHORT.get(name, name), []
        for s in found.surface.scales:
            draws = fitted.draws(f"{short}_{s}", family)
            for switch in (k for k, on in found.setting.items() if on):
                if f"{switch}_{short}_{s}" in found.surface.law.parameters:
                    draws = draws + fitted.draws(f"{switch}_{short}_{s}", family)
            low, high = interval(draws, ci_prob)
            powers.append(f"${s}^{{\\,{np.median(draws):.2f}\\,[{low:.2f}, {high:.2f}]}}$")
        symbol = {BATCH: "$B^*$", RATE: r"$\eta^*$"}.get(name, name.replace("_", " "))
        parts.append(rf"{symbol} $\propto$ {' '.join(powers)}")
    drawn = "".join(f"; drawn with {k} {v:.0f}" for k, v in found.setting.items())
    return ";   ".join(parts) + f"\n{len(found.runs):,} runs in {len(found.cells)} cells{drawn}"
