"""The picture of a check: what is in ``Check.data``, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayescale.errors import DataError

if TYPE_CHECKING:
    from bayescale.check import Check


def draw(check: Check) -> Any:
    """Residuals along each input, calibration, influence and priors, as a matplotlib figure."""
    from matplotlib.figure import Figure

    data = check.data
    if not data.data_vars:
        raise DataError(
            "There is nothing to draw: the fit failed, so its residuals were not judged. "
            f"{check.cards[0].finding}"
        )
    inputs = list(data.attrs["inputs"])
    panels = len(inputs) + 3
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax, name in zip(axes, inputs, strict=False):
        _residuals(ax, data, name)
    _calibration(axes[len(inputs)], data)
    _influence(axes[len(inputs) + 1], data)
    _priors(axes[len(inputs) + 2], data)
    for ax in axes[panels:]:
        ax.set_axis_off()
    figure.suptitle(f"{check.status}: {', '.join(_troubles(check)) or 'all checks pass'}")
    return figure


def _troubles(check: Check) -> list[str]:
    return [f"{c.title} ({c.status})" for c in check.cards if c.status != "PASS"]


def _residuals(ax: Any, data: Any, name: str) -> None:
    ax.axhspan(-2, 2, color="0.93")
    ax.axhline(0, color="0.6", lw=0.8)
    ax.plot(data[name], data["score"], ".", ms=4, alpha=0.7)
    ax.set(xscale="log", xlabel=name, ylabel="standardised residual", title=f"along {name}")


def _calibration(ax: Any, data: Any) -> None:
    p = np.sort(data["probability"].values)
    expected = (np.arange(len(p)) + 0.5) / len(p)
    band = 1.36 / np.sqrt(len(p))  # Kolmogorov-Smirnov, 95 %
    ax.fill_between(expected, expected - band, expected + band, color="0.93", lw=0)
    ax.plot(expected, p, lw=1.2)
    ax.set(xlabel="expected", ylabel="found", title="leave-one-out probabilities", ylim=(0, 1))


def _influence(ax: Any, data: Any) -> None:
    ax.axhline(0, color="0.6", lw=0.8)
    ax.plot(data["k_hat"], data["shift"], ".", ms=4, alpha=0.7)
    far = np.argsort(-np.abs(data["shift"].values))[:3]
    for i in far:
        at = (float(data["k_hat"][i]), float(data["shift"][i]))
        ax.annotate(str(data["config"].values[i]), at, fontsize=7)
    moved = f"move of {data.attrs.get('shift_of', 'the exponent')}, sd"
    ax.set(xlabel="k-hat without the run", ylabel=moved, title="influence")


def _priors(ax: Any, data: Any) -> None:
    shown = data["prior_ratio"].to_series().iloc[::-1]
    ax.barh(shown.index.astype(str), shown.to_numpy())
    ax.axvline(1.0, color="0.6", lw=0.8)
    ax.set(xlabel="posterior sd / prior sd", title="what the data added")
