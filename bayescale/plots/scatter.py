"""Residuals: what the law leaves over, in units of the noise, and what the tail makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from bayescale.errors import SpecError
from bayescale.inference.pointwise import values_of
from bayescale.inference.tree import Fitted
from bayescale.models.arrays import arrays
from bayescale.models.noise import weights
from bayescale.models.surface_density import SurfaceDensity
from bayescale.plots import style
from bayescale.plots.bands import as_fitted, check_prob

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWS = 200  # posterior draws averaged; their spread is small beside the noise
BINS = 8
LINEAR = 3.0  # the y axis is linear to here and logarithmic beyond, so that outliers stay in sight
TICKS = (-100, -30, -10, -3, -2, -1, 0, 1, 2, 3, 10, 30, 100)


def residuals_numbers(fit: xr.DataTree | Fitted) -> pd.DataFrame:
    """Residuals of log loss over the scale of the noise, one row a fitted reading.

    Returns
    -------
    DataFrame
        The law's inputs, ``family``, ``residual`` (log ratio of the reading to the law, posterior
        mean), ``standardised`` (the same over sigma) and ``weight``: what the heavy tail leaves of
        the say of the reading's configuration, about 1 in the middle, near 0 for an accident.
    """
    fitted = as_fitted(fit)
    if fitted.spec["model"]["kind"] == "critical_batch":
        raise SpecError(
            "Answers of this fit are intervals and have no residuals; plots.batch(fit) shows them "
            "with the curve, and check(fit).plot() where they lie in their forecasts."
        )
    density, xp = fitted.density, arrays("numpy")
    posterior = fitted.tree["posterior"].dataset
    total = posterior.sizes["chain"] * posterior.sizes["draw"]
    index = np.linspace(0, total - 1, min(DRAWS, total)).round().astype(int)
    values = values_of(fitted, index)
    table = density.table
    if isinstance(density, SurfaceDensity):
        return _of_surface(density, values)
    residual = table.response - density.log_mean(values, density.parameters(values, xp), xp)
    ones = np.ones(len(table.families))
    noise = {
        v.name: values[v.name] * ones
        for v in density.variables
        if v.name not in fitted.law.parameters
    }
    sigma = noise["sigma"][:, table.family]
    if table.log_scale is not None:
        sigma = sigma * np.exp(noise["noise_slope"][:, table.family] * table.log_scale)
    share = weights(residual, fitted.model.noise, table.groups, table.log_scale, noise, xp)
    return pd.DataFrame(
        {
            **table.inputs,
            "family": np.asarray(table.families)[table.family],
            "residual": residual.mean(axis=0),
            "standardised": (residual / sigma).mean(axis=0),
            "weight": share.mean(axis=0)[table.groups.config[table.groups.run]],
        }
    )


def _of_surface(density: SurfaceDensity, values: Mapping[str, Any]) -> pd.DataFrame:
    """Residuals of a surface: over the scale that widens with the price, level of the cell off."""
    table, xp = density.table, arrays("numpy")
    log_law, price = density.parts(values, xp)
    if density.cells is not None:
        log_law = log_law + values["misfit_at"][..., density.cells.of_reading]
    noise = density.noise(price, values, xp)
    residual = table.response - log_law
    z = residual / noise.scale
    return pd.DataFrame(
        {
            **table.inputs,
            "family": np.asarray(table.families)[table.family],
            "residual": residual.mean(axis=0),
            "standardised": z.mean(axis=0),
            "weight": ((noise.nu + 1.0) / (noise.nu + z * z)).mean(axis=0),
        }
    )


def binned(x: Any, y: Any, weight: Any, ci_prob: float, bins: int = BINS) -> pd.DataFrame:
    """Weighted mean of y in bins of ln x with equal numbers of readings, and its interval.

    Weighted by what the tail leaves of each reading, as the fit does, so that one accident does
    not pass for a trend. The interval is for independent readings (Student-t, sandwich variance);
    for checkpoints of few runs it is too narrow.
    """
    log_x, y = np.log(np.asarray(x, float)), np.asarray(y, float)
    weight = np.asarray(weight, float)
    edges = np.unique(np.quantile(log_x, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, log_x, side="right") - 1, 0, max(len(edges) - 2, 0))
    rows = []
    for k in np.unique(place):
        here, w = y[place == k], weight[place == k]
        n = len(here)
        if n < 3:
            continue
        mean = float(np.average(here, weights=w))
        error = np.sqrt(np.sum((w * (here - mean)) ** 2) / w.sum() ** 2 * n / (n - 1))
        half = float(stats.t.ppf(0.5 + ci_prob / 2, n - 1) * error)
        rows.append((np.exp(log_x[place == k].mean()), mean, mean - half, mean + half, n))
    return pd.DataFrame(rows, columns=["x", "mean", "lower", "upper", "count"])


def residuals(fit: xr.DataTree | Fitted, *, ci_prob: float = 0.9, ax: Any = None) -> Figure:
    """Standardised residuals against each input, coloured by the weight the tail leaves them.

    A trend of the means says that the law bends otherwise than the data; orange points are
    readings that the heavy tail has set aside by itself.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fitted = as_fitted(fit)
    table: Any = residuals_numbers(fitted)
    check_prob(ci_prob)
    inputs = _shown_inputs(fitted)
    columns = 2 if len(inputs) == 4 else 3
    figure, axes, ours = style.canvas(
        ax, len(inputs), columns=columns, size=(5.2, 4.0 if len(inputs) < 4 else 3.3), share="y"
    )
    half = _noise_half_width(fitted, ci_prob)
    ordered = table.sort_values("weight", ascending=False)  # the doubtful ones on top
    cmap, norm = _weight_colours()
    many = len(table) > 400
    for axes_k, name in zip(axes, inputs, strict=True):
        style.dress(axes_k, x=style.axis_label(name))
        axes_k.axhspan(-half, half, color=style.COLOURS[0], alpha=0.09, linewidth=0, zorder=-1)
        axes_k.axhline(0, color=style.INK, linewidth=0.8, zorder=1)
        axes_k.scatter(
            ordered[name], ordered["standardised"], c=ordered["weight"], cmap=cmap, norm=norm,
            s=6 if many else 15, linewidth=0, alpha=0.6 if many else 0.85, zorder=2,
            rasterized=many,
        )  # fmt: skip
        means = binned(table[name], table["standardised"], table["weight"], ci_prob)
        axes_k.errorbar(
            means["x"], means["mean"], color=style.INK, linewidth=1.1, zorder=4, marker="s",
            yerr=[means["mean"] - means["lower"], means["upper"] - means["mean"]],
            markersize=4, elinewidth=1.3, markerfacecolor="white",
        )  # fmt: skip
        room = (table[name].max() / table[name].min()) ** 0.05
        axes_k.set_xlim(table[name].min() / room, table[name].max() * room)
        style.log_axis(axes_k, "x", name)
        _split_axis(axes_k, table["standardised"])
    curve = "law" if "misfit" not in fitted.tree["posterior"] else "law and misfit"
    what = "surface) / its noise" if fitted.surface is not None else rf"{curve}) / $\sigma$"
    for axes_k in axes:
        spec = axes_k.get_subplotspec()
        if axes_k is axes[0] or (spec is not None and spec.is_first_col()):
            axes_k.set_ylabel(
                rf"(ln {fitted.law.response} $-$ ln {what}", fontsize=9.5, color=style.INK
            )
    if fitted.model.noise.tail == "student":
        _weight_bar(figure, axes, cmap, norm)
    tail = "Student-t" if fitted.model.noise.tail == "student" else "normal"
    handles = [
        style.line_handle(cmap(0.9), "reading", marker="o", linestyle="", markersize=4),
        style.line_handle(style.INK, f"weighted mean of a bin, {style.percent(ci_prob)} interval",
                          marker="s", markersize=4, markerfacecolor="white"),
        style.band_handle(style.COLOURS[0], ci_prob, 0.15, f"of the {tail} noise"),
    ]  # fmt: skip
    sigma = np.median(np.concatenate([fitted.draws("sigma", f) for f in fitted.families]))
    title = f"Residuals of the law; $\\sigma$ = {100 * sigma:.2g} % of the {fitted.law.response}"
    if fitted.model.noise.tail == "student":
        few = int((table["weight"] < 0.25).sum())
        title += f"; {few} of {len(table)} readings keep less than a quarter of their weight"
    style.headline(figure, ours, axes[0], title, fitted.warning)
    style.legend(figure, ours, axes[0], handles)
    return figure


def _shown_inputs(fitted: Fitted) -> list[str]:
    """The first inputs; of a surface also its hyperparameters, four at most."""
    return [k for k in fitted.law.inputs if k not in fitted.law.zero_one][
        : 3 if fitted.surface is None else 4
    ]


def _noise_half_width(fitted: Fitted, ci_prob: float) -> float:
    """Half of the interval of the noise, in units of sigma."""
    if fitted.model.noise.tail == "normal":
        return float(stats.norm.ppf(0.5 + ci_prob / 2))
    nu = np.median(np.concatenate([fitted.draws("nu", f) for f in fitted.families]))
    return float(stats.t.ppf(0.5 + ci_prob / 2, nu))


def _weight_colours() -> tuple[Any, Any]:
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    ends = [style.COLOURS[1], "#C9A27E", style.COLOURS[0]]
    return LinearSegmentedColormap.from_list("weight", ends), Normalize(0.0, 1.0)


def _weight_bar(figure: Figure, axes: Any, cmap: Any, norm: Any) -> None:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(
        ScalarMappable(norm, cmap),
        ax=list(axes),
        pad=0.015,
        aspect=30,
        ticks=[0, 0.25, 0.5, 0.75, 1],
    )
    bar.ax.set_yticklabels(["0", "0.25", "0.5", "0.75", "1 or more"])
    bar.ax.tick_params(labelsize=style.SMALL, width=0.6)
    bar.outline.set_visible(False)  # type: ignore[union-attr]
    bar.set_label("weight that the heavy tail leaves", fontsize=9, color=style.INK)


def _split_axis(ax: Any, values: pd.Series) -> None:
    """Linear in the middle, logarithmic far out; symmetric about zero."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    top = max(4.0, 1.25 * float(np.abs(values).max()))
    ax.set_yscale("symlog", linthresh=LINEAR, linscale=1.6)
    ax.set_ylim(-top, top)
    ax.yaxis.set_major_locator(FixedLocator([t for t in TICKS if abs(t) <= top]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
