"""A backtest as a picture: does 90 % mean 90 %, how far out, and where each forecast fell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayescale.backtest.answer import OURS, Backtest
from bayescale.backtest.scores import wilson
from bayescale.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 19  # nominal probabilities of the calibration curve
LEVEL = 0.9
BINS = 5  # of distance, with as many forecasts each


def backtest_numbers(test: Backtest) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Calibration, coverage by distance, and the misses of our forecasts.

    Returns
    -------
    calibration : DataFrame
        ``method``, ``nominal``, ``covered``, ``low``, ``high``: share of what was seen inside
        central intervals, from the PIT, with Wilson's 90 % interval.
    distance : DataFrame
        ``method``, ``decades`` (mean of the bin), ``covered``, ``low``, ``high``, ``forecasts``, of
        90 % intervals; equally many forecasts a bin.
    misses : DataFrame
        One row a forecast of ours: ``fold``, ``decades``, ``miss`` (seen over median, less one),
        ``lower``, ``upper`` (ends of the 90 % interval, or of the widest counted, over the median,
        less one) and ``inside``.
    """
    calibration, distance = [], []
    nominal = np.linspace(0.05, 0.95, STEPS)
    for method, rows in test.forecasts.groupby("method", sort=False):
        known: Any = rows[rows["pit"].notna()]
        if known.empty:
            continue
        away = np.abs(2.0 * known["pit"].to_numpy(float) - 1.0)
        covered = (away[None, :] <= nominal[:, None]).sum(axis=1)
        for p, hits in zip(nominal, covered, strict=True):
            low, high = wilson(hits, len(away))
            calibration.append({"method": method, "nominal": p, "covered": hits / len(away),
                                "low": low, "high": high})  # fmt: skip
        distance += _by_distance(str(method), known, away)
    mine: Any = test.forecasts[test.forecasts["method"] == OURS]
    k = _shown(test)
    middle = mine["median"].to_numpy(float)
    misses = pd.DataFrame({
        "fold": mine["fold"].to_numpy(), "decades": mine["decades_beyond"].to_numpy(float),
        "miss": mine["observed"].to_numpy(float) / middle - 1.0,
        "lower": mine[f"lower_{k}"].to_numpy(float) / middle - 1.0,
        "upper": mine[f"upper_{k}"].to_numpy(float) / middle - 1.0,
        "inside": mine[f"inside_{k}"].to_numpy(float) > 0,
    })  # fmt: skip
    return pd.DataFrame(calibration), pd.DataFrame(distance), misses


def backtest(test: Backtest, *, ax: Any = None) -> Figure:
    """Calibration curve, coverage by decades beyond the data, and every forecast with its interval.

    Parameters
    ----------
    test : Backtest
        From `bayescale.backtest`.
    ax : sequence of three Axes, optional

    Returns
    -------
    matplotlib.figure.Figure
    """
    calibration, distance, misses = backtest_numbers(test)
    figure, axes, ours = style.canvas(ax, 3, columns=3, size=(4.3, 3.9))
    methods = list(dict.fromkeys(calibration["method"]))
    look = {m: (style.COLOURS[i], style.MARKERS[i]) for i, m in enumerate(methods)}
    _calibration(axes[0], calibration, look)
    _distance(axes[1], distance, look)
    _misses(axes[2], misses, _shown(test))
    handles = [
        style.line_handle(colour, m, marker=marker, markersize=4, linewidth=1.3)
        for m, (colour, marker) in look.items()
    ]
    handles.append(style.line_handle(style.GREY, "as promised", linestyle="--", linewidth=1))
    handles.append(style.band_handle(look[OURS][0], 0.9, what="of the share"))
    held = test.table.set_index("method").loc[OURS]
    k = _shown(test)
    cuts = len(test.fits)
    title = (
        f"{k} % intervals held {100 * float(held[f'coverage_{k}']):.0f} % of "
        f"{int(held['forecasts']):,} forecasts\nfrom {cuts} cut-off{'s' * (cuts > 1)}: "
        + "; ".join(test.fits["fold"].astype(str).head(4))
        + (" ..." if cuts > 4 else "")
    )
    failed = "failed" in list(test.fits["status"])
    warning = "The fit failed its gate at a cut-off" if failed else ""
    style.headline(figure, ours, axes[0], title, warning)
    style.legend(figure, ours, axes[0], handles)
    return figure


def _shown(test: Backtest) -> str:
    """The probability of the intervals that are drawn: 90 %, or the widest there is."""
    p = LEVEL if LEVEL in test.ci_probs else max(test.ci_probs)
    return f"{100 * p:g}"


def _by_distance(method: str, known: Any, away: np.ndarray) -> list[dict[str, Any]]:
    far = known["decades_beyond"].to_numpy(float)
    order = np.argsort(far, kind="stable")
    bins = np.array_split(order, min(BINS, max(1, len(order) // 8)))
    rows = []
    for index in bins:
        hits = int((away[index] <= LEVEL).sum())
        low, high = wilson(hits, len(index))
        rows.append({"method": method, "decades": far[index].mean(), "covered": hits / len(index),
                     "low": low, "high": high, "forecasts": len(index)})  # fmt: skip
    return rows


def _calibration(axis: Any, numbers: pd.DataFrame, look: dict[str, Any]) -> None:
    style.dress(axis, title="Calibration", x="promised: interval (%)",
                y="held: share of forecasts (%)")  # fmt: skip
    axis.plot([0, 100], [0, 100], color=style.GREY, linestyle="--", linewidth=1)
    for method, rows in numbers.groupby("method", sort=False):
        colour, marker = look[str(method)]
        x = 100 * rows["nominal"]
        if method == OURS:
            axis.fill_between(x, 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.18,
                              linewidth=0)  # fmt: skip
        axis.plot(x, 100 * rows["covered"], color=colour, marker=marker, markersize=3.2,
                  linewidth=1.3, zorder=4 if method == OURS else 3)  # fmt: skip
    axis.set(xlim=(0, 100), ylim=(0, 101))


def _distance(axis: Any, numbers: pd.DataFrame, look: dict[str, Any]) -> None:
    style.dress(axis, title="90 % intervals by distance", x="compute beyond the data (decades)",
                y="held: share of forecasts (%)")  # fmt: skip
    axis.axhline(90, color=style.GREY, linestyle="--", linewidth=1)
    for method, rows in numbers.groupby("method", sort=False):
        colour, marker = look[str(method)]
        if method == OURS:
            axis.vlines(rows["decades"], 100 * rows["low"], 100 * rows["high"], color=colour,
                        linewidth=3, alpha=0.3)  # fmt: skip
        axis.plot(rows["decades"], 100 * rows["covered"], color=colour, marker=marker, markersize=4,
                  linewidth=1.3, zorder=4 if method == OURS else 3)  # fmt: skip
    axis.set_ylim(0, 101)


def _misses(axis: Any, misses: pd.DataFrame, k: str) -> None:
    style.dress(axis, title=f"What came, and {k} % intervals",
                x="compute beyond the data (decades)", y="loss over its forecast (%)")  # fmt: skip
    inside = misses["inside"].to_numpy(bool)
    x, y = misses["decades"].to_numpy(float), 100 * misses["miss"].to_numpy(float)
    axis.vlines(x, 100 * misses["lower"], 100 * misses["upper"], color=style.COLOURS[0], alpha=0.25,
                linewidth=1.0)  # fmt: skip
    axis.axhline(0, color=style.GREY, linewidth=0.8)
    axis.scatter(x[inside], y[inside], s=11, color=style.COLOURS[0], linewidth=0, zorder=3)
    axis.scatter(x[~inside], y[~inside], s=16, color=style.COLOURS[1], marker="X", linewidth=0,
                 zorder=4)  # fmt: skip
    told = f"X outside: {int((~inside).sum())} of {len(inside)}"
    axis.text(0.98, 0.98, told, fontsize=style.SMALL, color=style.COLOURS[1], ha="right", va="top",
              transform=axis.transAxes)  # fmt: skip
