"""IsoFLOP slices: loss against size at several budgets, with the best size of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import flops, interval
from bayescale.errors import DataError
from bayescale.frontier import spending
from bayescale.inference.tree import Fitted
from bayescale.plots import style
from bayescale.plots.bands import (
    as_fitted,
    bands,
    check_prob,
    curve_inputs,
    families_shown,
    law_draws,
    light,
    tuned_readings,
    unit_of_response,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAR = 0.05  # decades of compute either way that count as on the slice: about 12 %
SLICES = 6
LEAST_SIZES = 3  # a slice needs three sizes to show a bend


def budgets_of(data: pd.DataFrame, most: int = SLICES) -> np.ndarray:
    """Budgets at which the data hold slices, ``(budget,)`` in FLOP.

    The range of compute is cut into equal parts in logs; of each part the budget is taken that has
    most sizes near it, if it has three at least.
    """
    log_c = np.log10(data["flops"].to_numpy(float))
    size = data["N"].to_numpy(float)
    edges = np.linspace(log_c.min() - 1e-9, log_c.max() + 1e-9, most + 1)
    candidates = np.unique(np.round(log_c, 2))
    chosen: list[float] = []
    for low, high in pairwise(edges):
        best = (LEAST_SIZES - 1, 0, 0.0)
        for c in candidates[(candidates >= low) & (candidates <= high)]:
            near = np.abs(log_c - c) <= NEAR
            if chosen and c - chosen[-1] < 0.6 * (high - low):
                continue
            sizes = len(np.unique(size[near]))
            best = max(best, (sizes, int(near.sum()), float(np.median(log_c[near]))))
        if best[1]:
            chosen.append(best[2])
    return 10.0 ** np.array(chosen)


def isoflop_numbers(
    fit: xr.DataTree | Fitted,
    budgets_flops: Sequence[float] | None = None,
    *,
    family: str | None = None,
    ci_prob: float = 0.9,
    n: int = 80,
) -> tuple[xr.Dataset, pd.DataFrame, pd.DataFrame]:
    """Curves, readings and optima of slices of equal compute.

    Returns
    -------
    curves : xarray.Dataset, (budget, size)
        ``median``, ``lower``, ``upper`` of the mean curve.
    readings : DataFrame
        Within 12 % of a budget, the nearest of each run: ``budget``, ``N``, ``T``, ``flops``, the
        response, and ``on_slice``: the response times the ratio of the median law at the budget to
        the median law at the run, so that small differences of compute do not look like noise.
    optima : DataFrame
        ``budget``, ``N``, ``N_lower``, ``N_upper``, ``loss``.
    """
    fitted = as_fitted(fit)
    check_prob(ci_prob)
    data, _ = tuned_readings(fitted, family)
    if "N" not in data or "flops" not in data:
        raise DataError(
            "IsoFLOP slices need sizes and compute; the runs lack "
            + " and ".join(f"`{k}`" for k in ("N", "flops") if k not in data) + "."
        )  # fmt: skip
    budgets = budgets_of(data) if budgets_flops is None else np.asarray(budgets_flops, float)
    if not len(budgets):
        budgets = np.geomspace(data["flops"].min(), data["flops"].max(), 4)
    budgets = np.atleast_1d(budgets)
    spend = spending(light(fitted).tree, family=family)
    best = [spend.best(np.array([b])) for b in budgets]
    low, high = data["N"].min(), data["N"].max()
    for b in best:
        low, high = min(low, np.median(b[0])), max(high, np.median(b[0]))
    size = np.geomspace(low / 2, high * 2, n)
    draws = law_draws(fitted, {"N": size[None, :], "flops": budgets[:, None]}, family)
    curves = bands(draws, ("budget", "size"), ci_prob).assign_coords(budget=budgets, size=size)

    near = []
    response = fitted.law.response
    for b in budgets:
        distance = np.abs(np.log10(data["flops"] / b))
        here: Any = data.assign(budget=b, distance=distance)[distance <= NEAR]
        near.append(here.sort_values("distance").drop_duplicates("run").drop(columns="distance"))
    table = pd.concat(near, ignore_index=True)
    if len(table):
        there = law_draws(fitted, {"N": table["N"], "flops": table["budget"]}, family)
        inputs = {k: table[k] for k in curve_inputs(fitted)}
        as_run = law_draws(fitted, inputs, family)
        ratio = np.median(there / as_run, axis=0)
        table["on_slice"] = table[response] * ratio
    else:
        table["on_slice"] = np.array([], float)
    rows = []
    for b, (best_size, _, loss, _) in zip(budgets, best, strict=True):
        n_low, n_high = interval(best_size, ci_prob)
        rows.append((b, np.median(best_size), float(n_low), float(n_high), np.median(loss)))
    optima = pd.DataFrame(rows, columns=["budget", "N", "N_lower", "N_upper", "loss"])
    return curves, table, optima


def isoflop(
    fit: xr.DataTree | Fitted,
    budgets_flops: Sequence[float] | None = None,
    *,
    family: str | None = None,
    ci_prob: float = 0.9,
    ax: Any = None,
) -> Figure:
    """Loss against size at several budgets, with data near each and the best size marked.

    Parameters
    ----------
    budgets_flops : sequence of float, optional
        Default: up to six budgets at which the data have slices.
    family : str, optional
        Of a fit that tells families apart; by default one panel a family.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fitted = as_fitted(fit)
    names, rest = families_shown(fitted) if fitted.by_family and family is None else ([family], "")
    several = len(names) > 1
    figure, axes, ours = style.canvas(
        ax, len(names), columns=min(4, len(names)), size=(3.6, 3.2) if several else (7.6, 5.0),
    )  # fmt: skip
    found = [isoflop_numbers(fitted, budgets_flops, family=f, ci_prob=ci_prob) for f in names]
    budgets = np.concatenate([c.budget.values for c, _, _ in found])
    cmap, norm = style.sequence(budgets)
    titles = style.shorten([str(n) for n in names]) if several else [""]
    for axes_k, (curves, table, optima), title in zip(axes, found, titles, strict=True):
        style.dress(axes_k, title=title)
        _panel(axes_k, fitted, curves, table, optima, cmap, norm)
        spec = axes_k.get_subplotspec()
        if not several or spec is None or spec.is_last_row():
            axes_k.set_xlabel(style.axis_label("N"), fontsize=9.5)
        if not several or spec is None or spec.is_first_col():
            label = style.axis_label(fitted.law.response, unit_of_response(fitted))
            axes_k.set_ylabel(label, fontsize=9.5)
    if several:
        style.size_bar(figure, axes, cmap, norm, "flops")
        named = []
    else:
        named = [
            style.line_handle(cmap(norm(b)), flops(b), linewidth=2)
            for b in found[0][0].budget.values
        ]
    colour = cmap(0.35)
    handles = [
        style.line_handle(colour, f"{_reading(fitted)}, moved along the law to the budget",
                          marker="o", linestyle="", markersize=4),
        style.band_handle(colour, ci_prob, what="of the mean curve"),
        style.line_handle(style.INK, f"best size, {style.percent(ci_prob)} interval",
                          marker="|", markersize=7, linewidth=1.6),
    ]  # fmt: skip
    style.headline(
        figure, ours, axes[0],
        "Slices of equal compute and the best size of each" + (f"\n{rest}" if rest else ""),
        fitted.warning,
    )  # fmt: skip
    style.legend(figure, ours, axes[0], [*handles, *named])
    return figure


def _reading(fitted: Fitted) -> str:
    return "reading" if fitted.surface is None else "run near its best, less its price"


def _panel(
    ax: Any, fitted: Fitted, curves: xr.Dataset, table: pd.DataFrame, optima: pd.DataFrame,
    cmap: Any, norm: Any,
) -> None:  # fmt: skip
    for i, b in enumerate(curves.budget.values):
        one, colour = curves.isel(budget=i), cmap(norm(b))
        ax.fill_between(one["size"], one.lower, one.upper, color=colour, alpha=0.22, linewidth=0)
        ax.plot(one["size"], one["median"], color=colour, linewidth=1.4)
        here = table[table["budget"] == b]
        x, y = here["N"], here["on_slice"]
        ax.scatter(x, y, s=16, color=colour, linewidth=0.5, edgecolor="white", zorder=4)
    for row in optima.to_dict("records"):
        ends = [row["N_lower"], row["N_upper"]]
        ax.plot(ends, [row["loss"]] * 2, color=style.INK, linewidth=1.8, zorder=5)
        ax.plot([row["N"]], [row["loss"]], marker="|", color=style.INK, markersize=8, zorder=6)
    seen = np.concatenate([table["on_slice"].to_numpy(), optima["loss"].to_numpy()])
    room = (seen.max() / seen.min()) ** 0.08
    ax.set_ylim(seen.min() / room, seen.max() * room)
    ax.set_xlim(curves["size"].min(), curves["size"].max())
    style.log_axis(ax, "x", "N")
    style.log_axis(ax, "y", fitted.law.response)
