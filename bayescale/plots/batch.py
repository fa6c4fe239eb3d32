"""Batch size as time: what a target takes against batch size, and where the critical batch lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayescale.answers import interval
from bayescale.errors import SpecError
from bayescale.inference.tree import Fitted
from bayescale.models.batch_table import SAME_UNIT
from bayescale.plan.trade import batch_text
from bayescale.plots import style
from bayescale.plots.bands import as_fitted, families_shown
from bayescale.predict import curve, noise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 121
REACH = 3.0  # curves run to this factor beyond the batches tried; chosen


def batch_numbers(
    fit: Any, family: str | None = None, *, ci_prob: float = 0.9
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """The curve of one family, its answers as intervals, and its critical batch size.

    Returns
    -------
    curve : DataFrame
        ``batch_size``, ``median``, ``lower``, ``upper`` of the mean curve, ``run_lower`` and
        ``run_upper`` of a new run at a new batch size.
    answers : DataFrame
        One row a batch size and interval: ``batch_size``, ``lower``, ``upper`` (infinite where
        the target was not reached), ``runs``.
    marks : dict
        ``critical``, ``critical_lower``, ``critical_upper``, ``least`` (medians and interval).
    """
    fitted = _opened(fit)
    name, model = fitted.family(family), fitted.model
    answers, where = _answers(fitted, name), _place(fitted, name)
    sizes = answers["batch_size"]
    grid = np.geomspace(sizes.min() / REACH, sizes.max() * REACH, POINTS)
    points = {model.batch: grid} | ({model.along: np.full(POINTS, where)} if model.along else {})
    draws = curve(fitted, points, np.full(POINTS, name, dtype=object))
    luck = np.exp(noise(fitted, {}, np.array([name], dtype=object), 0))
    (low, high), (run_low, run_high) = interval(draws, ci_prob), interval(draws * luck, ci_prob)
    table = pd.DataFrame(
        {"batch_size": grid, "median": np.median(draws, axis=0), "lower": low, "upper": high,
         "run_lower": run_low, "run_upper": run_high}
    )  # fmt: skip
    critical = model.critical_batch(fitted.parameters(name), where)
    ends = interval(critical, ci_prob)
    least = model.smallest_need(fitted.parameters(name), where)
    marks = {
        "critical": float(np.median(critical)), "critical_lower": float(ends[0]),
        "critical_upper": float(ends[1]), "least": float(np.median(least)),
    }  # fmt: skip
    return table, answers, marks


def batch(fit: Any, *, family: str | None = None, ci_prob: float = 0.9, ax: Any = None) -> Figure:
    """What the target takes, and how many steps, against batch size; or all families on one curve.

    Parameters
    ----------
    fit : xarray.DataTree or Fitted
        Of a `CriticalBatchModel`.
    family : str, optional
        One family in full. Without it a fit of several families shows them together, each in units
        of its own ``T_min`` and ``B_crit``, beside their critical batch sizes.
    ci_prob : float, default 0.9
    ax : sequence of Axes, optional
        Two.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fitted = _opened(fit)
    if fitted.by_family and family is None:
        return _together(fitted, ci_prob, ax)
    numbers, answers, marks = batch_numbers(fitted, family, ci_prob=ci_prob)
    figure, axes, ours = style.canvas(ax, 2, size=(4.7, 4.2))
    model = fitted.model
    steps = model.answer == "step"
    both = steps or (model.answer, model.batch) in SAME_UNIT
    unit = fitted.law.parameters[next(iter(fitted.law.parameters))].unit or model.answer
    first = {"T": "tokens", "step": "tokens"}.get(model.answer, unit)
    for axis, as_steps in zip(axes, (False, True), strict=True):
        if as_steps and not both:
            axis.set_visible(False)
            continue
        power = (0.0 if steps else -1.0) if as_steps else (1.0 if steps else 0.0)
        style.dress(axis, x=_batch_label(model), y=f"{'steps' if as_steps else first} to target")
        _one_curve(axis, numbers, answers, marks, power)
    handles = [
        style.line_handle(style.COLOURS[0], "posterior median", linewidth=1.8),
        style.band_handle(style.COLOURS[0], ci_prob, 0.30, "of the mean curve"),
        style.band_handle(style.COLOURS[0], ci_prob, 0.12, "of a new run"),
        style.line_handle(style.INK, "answers: between two evaluations, width by runs",
                          linewidth=2.5, alpha=0.55),
        style.line_handle(style.COLOURS[1], f"critical batch size {batch_text(marks['critical'])} "
                          f"({batch_text(marks['critical_lower'])} to "
                          f"{batch_text(marks['critical_upper'])})", linewidth=1.2),
    ]  # fmt: skip
    if np.isinf(answers["upper"]).any():
        handles.append(style.line_handle(style.INK, "target not reached", marker="^", linestyle=""))
    name = f" of {style.shorten([family])[0]}" if family else ""
    style.headline(figure, ours, axes[0], f"What the target{name} takes against batch size",
                   fitted.warning)  # fmt: skip
    style.legend(figure, ours, axes[0], handles)
    return figure


def _one_curve(
    axis: Any, numbers: Any, answers: Any, marks: dict[str, float], power: float
) -> None:
    """Curve, bands, answers and the critical batch; everything times ``batch ** power``."""
    x, colour = numbers["batch_size"].to_numpy(), style.COLOURS[0]
    up = x**power
    for low, high, alpha in (("run_lower", "run_upper", 0.12), ("lower", "upper", 0.30)):
        axis.fill_between(x, numbers[low] * up, numbers[high] * up, color=colour, alpha=alpha,
                          linewidth=0, zorder=2)  # fmt: skip
    axis.plot(x, numbers["median"] * up, color=colour, linewidth=1.8, zorder=4)
    most, aside = answers["runs"].max(), _side_by_side(answers)
    for row, shift in zip(answers.to_dict("records"), aside, strict=True):
        at, scale = row["batch_size"] * shift, row["batch_size"] ** power
        if np.isinf(row["upper"]):
            axis.plot(at, row["lower"] * scale, "^", color=style.INK, markersize=5, zorder=5)
            continue
        low = max(row["lower"], row["upper"] / 3.0)  # met at the first look: the bar ends somewhere
        width = 1.5 + 3.0 * np.sqrt(row["runs"] / most)
        axis.plot([at, at], [low * scale, row["upper"] * scale], color=style.INK, alpha=0.6,
                  linewidth=width, solid_capstyle="round", zorder=3)  # fmt: skip
    axis.axvspan(marks["critical_lower"], marks["critical_upper"], color=style.COLOURS[1],
                 alpha=0.13, linewidth=0, zorder=1)  # fmt: skip
    axis.axvline(marks["critical"], color=style.COLOURS[1], linewidth=1.2, zorder=1)
    axis.set_xlim(x[0], x[-1])
    values = np.r_[numbers["run_lower"] * up, numbers["run_upper"] * up,
                   answers["upper"].where(np.isfinite(answers["upper"]), answers["lower"])
                   * answers["batch_size"] ** power]  # fmt: skip
    axis.set_ylim(values.min() / 1.1, values.max() * 1.1)
    style.log_axis(axis, "x", "batch_size")
    style.log_axis(axis, "y", "T")


def _side_by_side(answers: pd.DataFrame) -> np.ndarray:
    """Factors that set the intervals of one batch size beside each other, ``(row,)``."""
    groups = answers.groupby("batch_size")["batch_size"]
    many, place = groups.transform("size").to_numpy(float), groups.cumcount().to_numpy(float)
    return np.exp((place - (many - 1) / 2) * np.minimum(0.04, 0.2 / many))


def _together(fitted: Fitted, ci_prob: float, ax: Any) -> Figure:
    """All families on the one curve they share, and their critical batch sizes side by side."""
    names, rest = families_shown(fitted)
    names = sorted(names, key=lambda name: _place(fitted, name) or 0.0)  # small to large
    figure, axes, ours = style.canvas(ax, 2, size=(5.0, 4.6))
    left, right = axes
    style.dress(left, x="batch size over critical batch size", y="need over least need")
    style.dress(right, y="" if fitted.model.along is None else _batch_label(fitted.model))
    found = {}
    for i, name in enumerate(names):
        _, answers, marks = batch_numbers(fitted, name, ci_prob=ci_prob)
        found[name] = marks
        each: Any = answers[np.isfinite(answers["upper"])]
        middle = np.sqrt(np.maximum(each["lower"], each["upper"] / 3) * each["upper"])
        level = (np.log(middle) * each["runs"]).groupby(each["batch_size"]).sum()
        level = np.exp(level / each["runs"].groupby(each["batch_size"]).sum())
        if fitted.model.answer == "step":
            level = level * level.index.to_numpy()
        left.plot(level.index.to_numpy() / marks["critical"], level / marks["least"],
                  style.MARKERS[i], color=style.COLOURS[i], markersize=5, zorder=3)  # fmt: skip
    left.set_xscale("log")
    ends = left.get_xlim()
    x = np.geomspace(*ends, POINTS)
    left.plot(x, 1 + x, color=style.GREY, linewidth=1.2, zorder=2)
    left.set_xlim(*ends)
    left.set_ylim(0.7, left.get_ylim()[1])
    style.log_axis(left, "x", "")
    style.log_axis(left, "y", "")
    if fitted.model.along is None:
        _forest(right, fitted, found)
    else:
        _along(right, fitted, found, ci_prob)
    handles = [style.line_handle(style.GREY, "need = 1 + batch", linewidth=1.2)]
    handles += [
        style.line_handle(style.COLOURS[i], text, marker=style.MARKERS[i], linestyle="")
        for i, text in enumerate(style.shorten(names))
    ]
    title = "Batch sizes in units of the critical one" + (f"\n{rest}" if rest else "")
    style.headline(figure, ours, left, title, fitted.warning)
    style.legend(figure, ours, left, handles)
    return figure


def _forest(axis: Any, fitted: Fitted, found: dict[str, dict[str, float]]) -> None:
    """Critical batch sizes and their intervals, one row a family."""
    for i, marks in enumerate(found.values()):
        axis.plot([marks["critical_lower"], marks["critical_upper"]], [-i, -i],
                  color=style.COLOURS[i], linewidth=2.5)  # fmt: skip
        axis.plot(marks["critical"], -i, style.MARKERS[i], color=style.COLOURS[i], markersize=7)
    axis.set_yticks(-np.arange(len(found)), style.shorten(list(found)))
    axis.set_xlabel(f"critical {_batch_label(fitted.model)}", fontsize=9.5, color=style.INK)
    axis.set_xscale("log")
    axis.set_xlim(axis.get_xlim())
    style.log_axis(axis, "x", "batch_size")


def _along(axis: Any, fitted: Fitted, found: dict[str, dict[str, float]], ci_prob: float) -> None:
    """Critical batch sizes against what they move with, and the law of a family like these."""
    model = fitted.model
    at = np.array([_place(fitted, name) for name in found])
    grid = np.geomspace(at.min() / 2, at.max() * 4, POINTS)
    own = np.stack([model.critical_batch(fitted.parameters(n), 1.0) for n in found])  # at 1
    power = fitted.draws("B_crit_exponent", next(iter(found)))  # one for all
    middle = np.exp(np.log(own).mean(axis=0))[:, None] * grid ** power[:, None]
    low, high = interval(middle, ci_prob)
    axis.fill_between(grid, low, high, color=style.GREY, alpha=0.25, linewidth=0)
    axis.plot(grid, np.median(middle, axis=0), color=style.GREY, linewidth=1.5)
    for i, (x, marks) in enumerate(zip(at, found.values(), strict=True)):
        axis.plot([x, x], [marks["critical_lower"], marks["critical_upper"]],
                  color=style.COLOURS[i], linewidth=2.0)  # fmt: skip
        axis.plot(x, marks["critical"], style.MARKERS[i], color=style.COLOURS[i], markersize=7)
    axis.set_xlabel(style.axis_label(model.along), fontsize=9.5, color=style.INK)
    axis.set_ylabel(f"critical {_batch_label(model)}", fontsize=9.5, color=style.INK)
    axis.set_xlim(grid[0], grid[-1])
    axis.set_ylim(low.min() / 1.1, high.max() * 1.1)
    style.log_axis(axis, "x", model.along)
    style.log_axis(axis, "y", "batch_size")
    slope = interval(power, ci_prob)
    axis.set_title(
        f"$B_{{crit}} \\propto$ {model.along}$^{{{np.median(power):.2f}}}$ "
        f"({style.percent(ci_prob)} {slope[0]:.2f} to {slope[1]:.2f})", fontsize=9.5, loc="left",
    )  # fmt: skip


def _opened(fit: Any) -> Fitted:
    fitted = as_fitted(fit)
    kind = fitted.spec["model"]["kind"]
    if kind != "critical_batch":
        raise SpecError(f"This plot is of a CriticalBatchModel; the fit is of kind {kind!r}.")
    return fitted


def _answers(fitted: Fitted, family: str) -> pd.DataFrame:
    """Answers of a family by batch size and interval."""
    answers, names = fitted.density.answers, fitted.families  # type: ignore[attr-defined]
    mine = answers.family[answers.cell] == names.index(family)
    table: Any = pd.DataFrame(
        {
            "batch_size": answers.inputs[fitted.model.batch][answers.cell],
            "lower": np.exp(answers.lower),
            "upper": np.where(answers.never, np.inf, np.exp(answers.upper)),
            "runs": answers.count,
        }
    )
    return table[mine].reset_index(drop=True)


def _place(fitted: Fitted, family: str) -> float | None:
    """Where a family stands along what its critical batch moves with: the middle of its runs."""
    along = fitted.model.along
    if along is None:
        return None
    seen = fitted.readings(family if fitted.by_family else None)[along]
    return float(np.exp(np.log(seen).mean()))


def _batch_label(model: Any) -> str:
    return style.axis_label(model.batch).replace("batch samples", "batch size")
