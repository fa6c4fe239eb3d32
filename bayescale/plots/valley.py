"""The flat valley: batch sizes and learning rates that cost next to nothing at one (N, T)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import percent, si
from bayescale.laws.surface import BATCH, RATE, UNITS
from bayescale.plots import style
from bayescale.plots.sweep_cells import sweep
from bayescale.plots.valley_panels import SHARES, line, plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescale.tune import Tuning

CLOUD = 600  # draws of the optimum that are drawn
NEAR = 1.2  # e-folds in N and T within which runs are shown as tried nearby


def valley_numbers(tuning: Tuning) -> tuple[xr.Dataset, pd.DataFrame, pd.DataFrame]:
    """The grid, draws of the optimum, and marks on it.

    Returns
    -------
    grid : xarray.Dataset, (batch_size, learning_rate)
        ``extra``: expected share of loss above the best setting; ``p_diverge`` where runs
        diverged. Of a model with one hyperparameter, along that one.
    cloud : DataFrame
        Up to 600 draws of the optimum, one column a hyperparameter.
    marks : DataFrame
        ``kind`` (``recommended``, ``without limits``, ``power of two``, ``study``, ``tried``),
        ``name``, the hyperparameters and ``cost`` (share of loss; NaN for runs).
    """
    free = [h for h in (BATCH, RATE) if h in tuning.place.free] or list(tuning.place.free)[:1]
    names = list(free)
    draws = pd.DataFrame({h: np.asarray(tuning.draws[h].values, float) for h in names})
    step = max(1, len(draws) // CLOUD)
    marks = [_row("recommended", "recommended", tuning.costs.loc["recommended"], names)]
    for kind in ("without limits", "power of two"):
        if kind in tuning.costs.index:
            marks.append(_row(kind, kind, tuning.costs.loc[kind], names))
    for name, row in tuning.studies.iterrows():
        marks.append(_row("study", str(name), row, names))
    runs, where = _tried(tuning, names)
    marks += [{"kind": "tried", "name": where, **row, "cost": np.nan} for row in runs]
    return tuning.grid, draws.iloc[::step].reset_index(drop=True), pd.DataFrame(marks)


def valley(tuning: Tuning, *, ax: Any = None) -> Figure:
    """Expected cost over learning rate and batch size, with the optimum's draws and others' advice.

    Parameters
    ----------
    tuning : Tuning
        From `bayescale.tune`, or ``plan.tuning``.
    ax : Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
        With one hyperparameter alone, a curve of the cost along it.
    """
    grid, cloud, found = valley_numbers(tuning)
    marks: Any = found
    figure, axes, ours = style.canvas(ax, 1, size=(7.8, 5.6))
    axis = axes[0]
    if {BATCH, RATE} <= set(cloud.columns):
        handles = plane(axis, grid, cloud, marks)
    else:
        handles = line(axis, grid, cloud, marks, tuning)
    style.headline(figure, ours, axis, _title(tuning, marks), tuning.warning)
    style.legend(figure, ours, axis, handles)
    return figure


def _tried(tuning: Tuning, names: list[str]) -> tuple[list[dict[str, float]], str]:
    """What the cell nearest to the question tried, where it is near at all."""
    place = tuning.place
    found = sweep(place.fitted, place.family)
    axes = list(found.surface.scales)
    nearest = 0
    if axes:
        gap = np.log(found.cells[axes].to_numpy(float)) - np.log([place.inputs[a] for a in axes])
        away = np.abs(gap).max(axis=1)
        nearest = int(found.cells.index[away.argmin()])
        if away.min() > NEAR:
            return [], ""
    runs: Any = found.of(nearest)[names].drop_duplicates()
    return runs.to_dict("records"), found.name(nearest) if axes else ""


def _row(kind: str, name: str, row: Any, names: list[str]) -> dict[str, Any]:
    return {"kind": kind, "name": name, **{h: float(row[h]) for h in names},
            "cost": float(row["cost"])}  # fmt: skip


def _bounds(tuning: Tuning) -> list[str]:
    """What the data bound from one side only, said over the picture."""
    told = []
    for name in (BATCH, RATE):
        if name in tuning.place.free and tuning.brackets[name].kind != "interval":
            row = tuning.table.loc[name]
            value = row["upper"] if row["says"] == "at most" else row["lower"]
            shown = f"{si(float(value))} tokens" if name == BATCH else f"{float(value):.2g}"
            word = name.replace("_", " ")
            told.append(
                f"the best {word} is {row['says']} {shown}: bounded from one side"
                if row["says"] != "unknown"
                else f"the data do not bound the best {word}"
            )
    return told


def _title(tuning: Tuning, marks: Any) -> str:
    """How wide the valley is, where it is, and how far from the data."""
    widths = []
    for name, word in ((BATCH, "batches"), (RATE, "rates")):
        if name not in tuning.place.free:
            continue
        ends = tuning.ranges.loc[(name, SHARES[0])]
        low, high = float(ends["low"]), float(ends["high"])
        unit = f" {UNITS[name]}" if name in UNITS else ""
        if low > 0 and np.isfinite(high):
            shown = [si(v) if name == BATCH else f"{v:.2g}" for v in (low, high)]
            widths.append(f"{word} of {shown[0]} to {shown[1]}{unit}")
    first = f"{', '.join(widths)} cost less than {percent(SHARES[0])} of loss"
    if not widths:
        first = "what other hyperparameters cost"
    place = [f"{k} = {si(v)}" for k, v in tuning.place.inputs.items() if k != "flops"]
    held = [f"{k.replace('_', ' ')} {si(v)}" for k, v in tuning.place.held.items()]
    where = f"at {', '.join([*place, *held])}" if place or held else "at the one cell of the data"
    far = tuning.decades_beyond
    reach = f"{far:.1f} decades of compute beyond the data" if far > 0.05 else "inside the data"
    runs = len(tuning.place.fitted.readings(tuning.place.family)["loss"])
    more = "".join(f"\n{text[0].upper()}{text[1:]}" for text in _bounds(tuning))
    reach = f", {reach}" if place else ""
    return f"{first[0].upper()}{first[1:]}\n{where}; {runs:,} runs{reach}{more}"
