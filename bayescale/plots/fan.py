"""A forecast as a fan: the data, a path to each point, and intervals that widen on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import interval
from bayescale.plots import style
from bayescale.plots.bands import (
    bands,
    cost_of,
    middle,
    readings_of,
    tuned_readings,
    unit_of_response,
)  # fmt: skip
from bayescale.predict import Prediction, curve, noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 40  # points on a path
PATHS = style.FAMILIES


def forecast_numbers(prediction: Prediction) -> tuple[pd.DataFrame, xr.Dataset]:
    """Points with their intervals, and the fan along a path to them.

    A path starts at the pivot of the data (the geometric mean of every input), or at the first
    point where that is smaller, and runs through the points in straight lines of the inputs'
    logarithms. Points of one size, and of one family, are on one path.

    Returns
    -------
    points : DataFrame
        ``prediction.table`` with ``x`` (compute, or the law's first input), ``path``, and
        ``lower_50``, ``upper_50``.
    fan : xarray.Dataset, (path, step)
        ``x``, ``median``, ``lower``, ``upper``, ``lower_50``, ``upper_50``; of new runs or of the
        mean curve, as the prediction is.
    """
    fitted = prediction.fitted
    assert fitted is not None, "a Prediction of `predict` knows its fit"
    inputs = {k: np.asarray(prediction.at[k], float) for k in _given(prediction)}
    family = np.asarray(
        prediction.at.get("family", np.full(len(prediction.table), fitted.families[0])),
        dtype=object,
    )
    low, high = interval(prediction.draws.values, 0.5)
    points = prediction.table.assign(
        x=along(fitted, inputs), path=_paths(inputs, family), lower_50=low, upper_50=high,
        family=family,
    )  # fmt: skip
    fans = []
    for number, rows in points.groupby("path", sort=True):
        if int(number) >= PATHS:  # type: ignore[call-overload]
            break
        rows, name = rows.sort_values("x"), str(rows["family"].iloc[0])
        start = _middle(prediction, name if fitted.by_family else None)
        fans.append(_fan(prediction, rows, start, name))
    fan: Any = xr.concat(fans, dim="path", combine_attrs="override")
    return points, fan


def along(fitted: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Compute of each point where the law's inputs give it, else the law's first input."""
    if "flops" in inputs:
        return inputs["flops"]
    cost = cost_of(fitted)
    if cost is not None and {"N", "T"} <= set(inputs):
        return np.asarray(cost.flops(inputs["N"], inputs["T"]), float)
    return inputs[fitted.law.inputs[0]]


def forecast(prediction: Prediction, *, ax: Any = None) -> Figure:
    """The fan of a forecast with the data, the points and their intervals.

    Parameters
    ----------
    prediction : Prediction
        From `bayescale.predict`.
    ax : Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.patches import Patch

    fitted = prediction.fitted
    assert fitted is not None, "a Prediction of `predict` knows its fit"
    found, fan = forecast_numbers(prediction)
    points: Any = found
    figure, axes, ours = style.canvas(ax, 1, size=(7.8, 4.8))
    axis, response = axes[0], fitted.law.response
    families = sorted(set(points["family"])) if fitted.by_family else []
    tuned = len(_given(prediction)) < len(fitted.law.inputs)
    table, reading = tuned_readings(fitted) if tuned else (readings_of(fitted), "reading")
    data: Any = table
    if families:
        data = data[data["family"].isin(families)]
    x_name = "flops" if cost_of(fitted) is not None else fitted.law.inputs[0]
    seen = data[x_name]
    style.dress(axis, x=style.axis_label(x_name),
                y=style.axis_label(response, unit_of_response(fitted)))  # fmt: skip
    style.shade_data(axis, seen.min(), seen.max())
    many = len(data) > 400
    axis.scatter(seen, data[response], s=5 if many else 11, color=style.GREY, alpha=0.45,
                 linewidth=0, rasterized=many, zorder=1)  # fmt: skip
    shades = {}
    for number, rows in points.groupby("path", sort=True):
        index = int(number)  # type: ignore[call-overload]
        colour = style.COLOURS[index % style.FAMILIES]
        shades[index] = (colour, rows)
        if index < fan.sizes["path"]:
            one = fan.isel(path=index)
            axis.fill_between(one.x, one.lower, one.upper, color=colour, alpha=0.15, linewidth=0)
            axis.fill_between(
                one.x, one.lower_50, one.upper_50, color=colour, alpha=0.28, linewidth=0
            )
            axis.plot(one.x, one["median"], color=colour, linewidth=1.2)
        axis.vlines(rows["x"], rows["lower"], rows["upper"], color=colour, linewidth=1.6, zorder=4)
        axis.vlines(
            rows["x"], rows["lower_50"], rows["upper_50"], color=colour, linewidth=4, zorder=4
        )
        axis.plot(rows["x"], rows["median"], "o", color=colour, markersize=6, zorder=5,
                  markeredgecolor="white", markeredgewidth=0.8)  # fmt: skip
    low = min(data[response].min(), points["lower"].min(), float(fan.lower.min()))
    high = max(data[response].max(), points["upper"].max())
    axis.set_ylim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
    axis.set_xlim(seen.min() / 1.5, max(seen.max(), points["x"].max()) * 3)
    style.log_axis(axis, "x", x_name)
    style.log_axis(axis, "y", response)
    what = "of a new run" if prediction.kind == "response" else "of the mean curve"
    colour = style.COLOURS[0]
    handles = [
        style.line_handle(style.GREY, reading, marker="o", linestyle="", markersize=4),
        style.range_handle(),
        Patch(facecolor=colour, alpha=0.43, label="50 % interval"),
        style.band_handle(colour, prediction.ci_prob, 0.18, what),
        style.line_handle(colour, "point asked for", marker="o", linestyle="", markersize=6),
    ]
    if len(shades) > 1:
        handles += [
            style.line_handle(c, _name(fitted, rows, families), linewidth=2.2)
            for c, rows in list(shades.values())[:PATHS]
        ]
    far = float(np.max(prediction.decades_beyond, initial=0.0))
    reach = f"{far:.1f} decades beyond the data" if far > 0.05 else "inside the data"
    more = len(shades) - PATHS
    title = f"Forecast, {reach}" + (f"\n{more} more paths are not drawn" if more > 0 else "")
    style.headline(figure, ours, axis, title, prediction.warning)
    style.legend(figure, ours, axis, handles)
    return figure


def _given(prediction: Prediction) -> list[str]:
    """Inputs that the points have; hyperparameters may be missing."""
    assert prediction.fitted is not None
    return [k for k in prediction.fitted.law.inputs if k in prediction.at]


def _middle(prediction: Prediction, family: str | None) -> dict[str, float]:
    """Where a path starts; hyperparameters that the points have are those of the points' middle."""
    assert prediction.fitted is not None
    start = middle(prediction.fitted, family)
    for name in _given(prediction):
        if name not in start:
            start[name] = float(np.exp(np.log(np.asarray(prediction.at[name], float)).mean()))
    return {name: start[name] for name in _given(prediction)}


def _paths(inputs: dict[str, np.ndarray], family: np.ndarray) -> np.ndarray:
    """Which path each point is on: by family, and by size where a size has several points."""
    size = inputs.get("N", np.zeros(len(family)))
    keys = [(f, float(n)) for f, n in zip(family, size, strict=True)]
    repeated = any(keys.count(k) > 1 and len(set(keys)) > 1 for k in keys)
    keys = keys if repeated else [(f, 0.0) for f, _ in keys]
    order = {k: i for i, k in enumerate(sorted(set(keys), key=lambda k: (str(k[0]), k[1])))}
    return np.array([order[k] for k in keys])


def _fan(prediction: Prediction, rows: Any, start: dict[str, float], name: str) -> xr.Dataset:
    fitted = prediction.fitted
    assert fitted is not None
    knots = {k: np.log(rows[k].to_numpy(float)) for k in start}
    x0 = along(fitted, {k: np.array([v]) for k, v in start.items()})[0]
    if x0 < rows["x"].iloc[0]:
        if "N" in rows and len(rows) > 1 and rows["N"].nunique() == 1:
            start = {**start, "N": float(rows["N"].iloc[0])}
        knots = {k: np.r_[np.log(start[k]), v] for k, v in knots.items()}
    position = np.arange(len(next(iter(knots.values()))), dtype=float)
    steps = np.linspace(0, position[-1], STEPS)
    path = {k: np.exp(np.interp(steps, position, v)) for k, v in knots.items()}
    families = np.full(STEPS, name, dtype=object)
    draws = curve(fitted, path, families)
    if prediction.kind == "response":
        draws = draws * np.exp(noise(fitted, path, families, 0))
    out = bands(draws, ("step",), prediction.ci_prob)
    low, high = interval(draws, 0.5)
    return out.assign(
        x=("step", along(fitted, path)), lower_50=("step", low), upper_50=("step", high)
    )


def _name(fitted: Any, rows: Any, families: list[str]) -> str:
    size = f"N = {style.si(rows['N'].iloc[0])}" if "N" in rows and rows["N"].nunique() == 1 else ""
    name = str(rows["family"].iloc[0]) if families else ""
    return ", ".join(x for x in (name, size) if x) or "path"
