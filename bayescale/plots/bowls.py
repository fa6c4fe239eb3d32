"""Bowls: loss against learning rate or batch size, one panel a cell, with the runs made there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import interval, percent
from bayescale.errors import SpecError
from bayescale.inference.curve import best_hyperparameters
from bayescale.inference.tree import Fitted
from bayescale.laws.surface import BATCH, RATE
from bayescale.plots import style
from bayescale.plots.bands import as_fitted, check_prob, few, unit_of_response
from bayescale.plots.sweep_cells import Sweep, chosen, sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = 5  # values of the other hyperparameter in a panel
POINTS = 60
BEYOND = 1.6  # curves run to this factor past what the cell tried; chosen
SHOWN = 0.85  # share of runs inside the panels; the steep rest would hide the bottoms; chosen


def bowls_numbers(
    fit: xr.DataTree | Fitted,
    cells: Sequence[Any] | None = None,
    *,
    against: str = RATE,
    family: str | None = None,
    ci_prob: float = 0.9,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Curves, runs and optima of some cells.

    Returns
    -------
    curves : DataFrame
        One row a point of a line: ``cell``, ``level`` (value of the other hyperparameter; NaN
        where there is none), ``x``, and ``median``, ``lower``, ``upper`` of the mean loss.
    runs : DataFrame
        Runs at those levels: ``cell``, ``level``, ``x``, ``loss``. Where the model has more than
        two hyperparameters the price of the others is taken off the loss.
    optima : DataFrame
        One row a cell: place, ``name``, ``runs``, ``x``, ``lower``, ``upper`` (the best value with
        everything else at its best), ``loss``, ``half`` and ``twice``: what half and twice the
        best value cost, as a share of loss.
    """
    found = sweep(as_fitted(fit), family, what="`plots.bowls`")
    check_prob(ci_prob)
    other = _other(found, against)
    lines, points, optima = [], [], []
    for cell in chosen(found, cells, against):
        runs = found.of(cell)
        x = np.geomspace(runs[against].min() / BEYOND, runs[against].max() * BEYOND, POINTS)
        log_tuned = found.log_tuned(cell)
        levels = few(runs[other], LINES) if other else np.array([np.nan])
        for level in levels:
            at = {against: x} | ({other: np.full(POINTS, level)} if other else {})
            loss = np.exp(log_tuned + found.price(cell, at))
            low, high = interval(loss, ci_prob)
            lines.append(pd.DataFrame(
                {"cell": cell, "level": level, "x": x, "median": np.median(loss, axis=0),
                 "lower": low, "upper": high}
            ))  # fmt: skip
        points.append(_runs(found, cell, runs, against, other, levels))
        optima.append(_optimum(found, cell, against, log_tuned, ci_prob))
    return pd.concat(lines, ignore_index=True), pd.concat(points, ignore_index=True), pd.DataFrame(
        optima
    )  # fmt: skip


def bowls(
    fit: xr.DataTree | Fitted,
    cells: Sequence[Any] | None = None,
    *,
    against: str = RATE,
    family: str | None = None,
    ci_prob: float = 0.9,
    ax: Any = None,
) -> Figure:
    """Loss against learning rate at several batch sizes, cell by cell, with the best rate marked.

    Parameters
    ----------
    fit : xarray.DataTree
        Of a `HyperparameterModel`.
    cells : sequence, optional
        Places ``(N, T)``, or mappings ``{"N": ..., "T": ...}``. Default: up to nine that lie far
        apart.
    against : str, default "learning_rate"
        The hyperparameter along x; ``"batch_size"`` shows the same runs from the other side.
    family : str, optional
        Of a fit that tells families apart; default the one with most runs.
    ci_prob : float, default 0.9
        Of the bands (mean curve) and of the marked optimum.
    ax : sequence of Axes, optional
        One a cell.

    Returns
    -------
    matplotlib.figure.Figure
        Panels span the same ratio of losses, so that steepness can be compared by eye.
    """
    fitted = as_fitted(fit)
    numbers = bowls_numbers(fitted, cells, against=against, family=family, ci_prob=ci_prob)
    curves, runs, optima = numbers
    found = sweep(fitted, family)
    other = _other(found, against)
    many = len(optima)
    figure, axes, ours = style.canvas(
        ax, many, columns=min(3, many), size=(3.5, 2.7) if many > 1 else (6.4, 4.4)
    )
    cmap, norm = style.sequence(curves["level"] if other else [1.0])
    height = _height(runs, optima)
    left_out = 0
    for axis, row in zip(axes, optima.to_dict("records"), strict=True):
        of = lambda table, c=row["cell"]: table[table["cell"] == c]  # noqa: E731
        left_out += _panel(axis, of(curves), of(runs), row, cmap, norm, height)
        style.dress(axis, title=row["name"] if many > 1 else "")
        _label(axis, axes, against, fitted)
        _limits(axis, of(curves), row, against, fitted, height)
    if other:
        style.size_bar(figure, axes, cmap, norm, other)
    colour = cmap(0.35)
    handles = [
        style.line_handle(colour, "run", marker="o", linestyle="", markersize=4),
        style.line_handle(colour, "mean loss, posterior median", linewidth=1.4),
        style.band_handle(colour, ci_prob),
        style.line_handle(style.INK, f"best {_word(against)}, {style.percent(ci_prob)} interval",
                          marker="|", markersize=7, linewidth=1.8),
    ]  # fmt: skip
    if left_out:
        above = f"{left_out} run{'s' * (left_out > 1)} above the panel"
        handles.append(style.line_handle(style.GREY, above, marker="^", linestyle="", markersize=4))
    style.headline(figure, ours, axes[0], _title(found, optima, against, len(runs)), fitted.warning)
    style.legend(figure, ours, axes[0], handles)
    return figure


def _other(found: Sweep, against: str) -> str | None:
    """The hyperparameter that tells the lines of a panel apart."""
    have = found.surface.hyperparameters
    if against not in have:
        raise SpecError(
            f"`against` is a hyperparameter of this fit, {' or '.join(map(repr, have))}; got "
            f"{against!r}."
        )
    first = [h for h in (BATCH, RATE, *have) if h in have and h != against]
    return first[0] if first else None


def _runs(
    found: Sweep, cell: int, runs: Any, against: str, other: str | None, levels: np.ndarray
) -> pd.DataFrame:
    """Runs at the levels drawn, less the price of hyperparameters that are not drawn."""
    if other:
        runs = runs[np.isclose(runs[other].to_numpy()[:, None], levels).any(axis=1)]
    loss = runs[found.fitted.law.response].to_numpy()
    rest = [h for h in found.surface.hyperparameters if h not in (against, other)]
    if rest:
        price = found.price(cell, {h: runs[h].to_numpy() for h in rest})
        loss = loss * np.exp(-np.median(price, axis=0))
    return pd.DataFrame(
        {"cell": cell, "level": runs[other].to_numpy() if other else np.nan,
         "x": runs[against].to_numpy(), "loss": loss}
    )  # fmt: skip


def _optimum(
    found: Sweep, cell: int, against: str, log_tuned: np.ndarray, ci_prob: float
) -> dict[str, Any]:
    place = {k: np.array([[v]]) for k, v in found.place(cell).items()}
    best = best_hyperparameters(found.fitted, place, found.family)[against][:, 0]
    low, high = interval(best, ci_prob)
    off = [
        float(np.median(np.expm1(found.price(cell, {against: best[:, None] * factor}))))
        for factor in (0.5, 2.0)
    ]
    return {
        "cell": cell, **found.place(cell), "name": found.name(cell),
        "runs": int(found.cells.loc[cell, "runs"]), "x": float(np.median(best)),
        "lower": float(low), "upper": float(high), "loss": float(np.median(np.exp(log_tuned))),
        "half": off[0], "twice": off[1],
    }  # fmt: skip


def _height(runs: pd.DataFrame, optima: pd.DataFrame) -> float:
    """The ratio of losses that every panel spans above its optimum."""
    depth = dict(zip(optima["cell"], optima["loss"], strict=True))
    best = np.array([depth[c] for c in runs["cell"]])
    ratio = np.log(runs["loss"].to_numpy() / best)
    reach = np.log(1.05) if len(ratio) > 20 else 0.0
    return float(np.exp(max(1.04 * np.quantile(ratio, SHOWN), min(reach, ratio.max()), 0.004)))


def _panel(
    axis: Any, curves: Any, runs: Any, row: dict, cmap: Any, norm: Any, height: float
) -> int:
    """Lines, runs and the best value; gives back how many runs lie above the panel."""
    top = row["loss"] * height
    for level, one in curves.groupby("level", dropna=False):
        colour = cmap(norm(level)) if np.isfinite(level) else cmap(0.35)
        axis.fill_between(one["x"], one["lower"], one["upper"], color=colour, alpha=0.2,
                          linewidth=0, zorder=2)  # fmt: skip
        axis.plot(one["x"], one["median"], color=colour, linewidth=1.3, zorder=3)
    seen, above = runs[runs["loss"] <= top], runs[runs["loss"] > top]
    shades = lambda r: cmap(norm(r["level"])) if r["level"].notna().all() else cmap(0.35)  # noqa: E731
    if len(seen):
        axis.scatter(seen["x"], seen["loss"], color=shades(seen), s=15, linewidth=0.5,
                     edgecolor="white", zorder=4)  # fmt: skip
    if len(above):
        axis.scatter(above["x"], np.full(len(above), row["loss"] * height**0.97),
                     color=shades(above), s=11, marker="^", linewidth=0, zorder=4)  # fmt: skip
    y = row["loss"] / height**0.06
    axis.plot([row["lower"], row["upper"]], [y, y], color=style.INK, linewidth=2.0, zorder=5,
              solid_capstyle="butt")  # fmt: skip
    axis.plot([row["x"]], [y], marker="|", color=style.INK, markersize=8, zorder=6)
    return len(above)


def _limits(axis: Any, curves: Any, row: dict, against: str, fitted: Fitted, height: float) -> None:
    axis.set_xlim(curves["x"].min(), curves["x"].max())
    axis.set_ylim(row["loss"] / height**0.12, row["loss"] * height)
    style.log_axis(axis, "x", against)
    style.log_axis(axis, "y", fitted.law.response)


def _label(axis: Any, axes: list[Any], against: str, fitted: Fitted) -> None:
    """Words on the outer panels only."""
    spec = axis.get_subplotspec()
    columns = 1 if spec is None else spec.get_gridspec().ncols
    if spec is None or axes.index(axis) >= len(axes) - columns:
        axis.set_xlabel(style.axis_label(against), fontsize=9.5)
    if spec is None or spec.is_first_col():
        label = style.axis_label(fitted.law.response, unit_of_response(fitted))
        axis.set_ylabel(label, fontsize=9.5)


def _title(found: Sweep, optima: pd.DataFrame, against: str, drawn: int) -> str:
    half, twice = (float(np.median(optima[k])) for k in ("half", "twice"))
    first = f"Half the best {_word(against)} costs {percent(half)} of loss, twice {percent(twice)}"
    first += " (median cell)" if len(optima) > 1 else ""
    total = len(found.cells)
    if len(optima) == 1:
        which = str(optima["name"].iloc[0]) if found.surface.scales else ""
    else:
        which = f"{len(optima)} of {total} cells" if len(optima) < total else f"{total} cells"
    every = f"{len(found.runs):,} runs"
    count = f"{drawn:,} of {every}" if drawn < len(found.runs) else every
    family = f"family {style.shorten([found.family])[0]}" if found.family else ""
    return f"{first}\n" + ", ".join(x for x in (which, count, family) if x)


def _word(name: str) -> str:
    return name.replace("_", " ")
