"""Exponents: posterior, prior, and what others have published, row by row on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.answers import interval
from bayescale.errors import SpecError
from bayescale.inference.tree import Fitted
from bayescale.laws.published import PUBLISHED, PowerLaw, Published
from bayescale.laws.surface import SHORT
from bayescale.models.arrays import arrays
from bayescale.models.coordinates import LOSS_ROLES
from bayescale.models.distributions import Prior
from bayescale.plots import style
from bayescale.plots.bands import as_fitted, check_prob, families_shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIMUM = "best size"  # a of N* = G C^a, from alpha and beta where the law is additive
PRIOR_DRAWS = 20_000
SYMBOLS = {
    "alpha": r"exponent of size, $\alpha$", "beta": r"exponent of data, $\beta$",
    "gamma": r"exponent of compute, $\gamma$", "a": "exponent of the best size, $a$",
    OPTIMUM: r"best size, $N^*\propto C^{\,a}$", "beta_2": r"$\beta_2$", "kappa": r"$\kappa$",
    "delta": r"$\delta$", "batch_N": r"$B^*$ with $N$", "batch_T": r"$B^*$ with $T$",
    "rate_N": r"$\eta^*$ with $N$", "rate_T": r"$\eta^*$ with $T$",
    "rate_B": r"$\eta$ with $B/B^*$",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the plot: draws, or a printed value with its standard error."""

    label: str
    kind: str  # "prior", "posterior", "population" or "published"
    draws: dict[str, np.ndarray]
    printed: dict[str, tuple[float, float | None]]
    colour: str = style.GREY


def exponents_numbers(
    fit: xr.DataTree | Fitted,
    var_names: Sequence[str] | None = None,
    *,
    published: bool | Sequence[str] = True,
) -> list[Row]:
    """Rows of the plot, from top to bottom: prior, population, families, published values.

    The prior is that of one family's own value where families are pooled. It is absent where it is
    stated in other coordinates than the parameter is printed in.

    Parameters
    ----------
    var_names : sequence of str, optional
        Parameters of the law. Default: its exponents, and the exponent of the best size where it
        follows from two of them.
    published : bool or sequence of str, default True
        Printed constants to show: all of the same law, none, or those named
        (`bayescale.laws.published.PUBLISHED`).

    Returns
    -------
    list of Row
    """
    fitted = as_fitted(fit)
    names = _quantities(fitted, var_names)
    shown, _ = families_shown(fitted)
    priors = {n: p for n in names if (p := _prior(fitted, n)) is not None}
    rows = [Row("prior", "prior", priors, {})] if priors else []
    if any(f"{n}_population" in fitted.tree["posterior"].dataset for n in names):
        draws = {n: d for n in names if (d := _population(fitted, n)) is not None}
        rows.append(Row("population of families", "population", draws, {}, style.INK))
    labels = style.shorten(shown) if fitted.by_family else ["this fit"]
    for i, (name, label) in enumerate(zip(shown, labels, strict=True)):
        draws = {n: _draws(fitted, n, name) for n in names}
        rows.append(Row(label, "posterior", draws, {}, style.COLOURS[i]))
    rows += _published_rows(fitted, names, published)
    return rows


def exponents(
    fit: xr.DataTree | Fitted,
    var_names: Sequence[str] | None = None,
    *,
    published: bool | Sequence[str] = True,
    ci_prob: float = 0.9,
    ax: Any = None,
) -> Figure:
    """Posterior of the exponents with their prior, and published values below.

    Parameters
    ----------
    var_names : sequence of str, optional
        Other parameters of the law than its exponents.
    published : bool or sequence of str, default True
        Printed constants of the same law, with 90 % intervals where errors are printed.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fitted = as_fitted(fit)
    check_prob(ci_prob)
    rows = exponents_numbers(fitted, var_names, published=published)
    names = list(dict.fromkeys(n for row in rows for n in (*row.draws, *row.printed)))
    figure, axes, ours = style.canvas(
        ax, len(names), size=(7.8 / max(len(names), 2) + 1.0, 1.5 + 0.34 * len(rows)), share="y"
    )
    for axes_k, name in zip(axes, names, strict=True):
        style.dress(axes_k, x=SYMBOLS.get(name, name))
        _column(axes_k, rows, name, ci_prob)
    axes[0].set_ylim(len(rows) - 0.4, -0.95)
    axes[0].set_yticks(range(len(rows)), [row.label for row in rows])
    axes[0].tick_params(axis="y", length=0)
    for label, row in zip(axes[0].get_yticklabels(), rows, strict=True):
        label.set_color(row.colour)
    handles = [
        style.line_handle(style.COLOURS[0], f"posterior: median, 50 % and {style.percent(ci_prob)} "
                          "interval", marker="o", markersize=5, linewidth=2),
    ]  # fmt: skip
    if rows[0].kind == "prior":
        handles.append(style.band_handle(style.GREY, ci_prob, 0.13, "of the prior"))
    if any(row.kind == "published" for row in rows):
        handles.append(
            style.line_handle(style.GREY, f"published, {style.percent(ci_prob)} interval if known",
                              marker="D", markersize=4.5, linewidth=1)
        )  # fmt: skip
    _, rest = families_shown(fitted)
    shown_law = fitted.law
    if fitted.surface is not None and fitted.surface.loss_law is not None:
        shown_law = fitted.surface.loss_law
    title = f"Exponents of {style.formula(shown_law)}"
    if all(n.partition("_")[0] in SHORT.values() for n in names):
        title = "How the best batch size and learning rate move"
    title = title + (f"\n{rest}" if rest else "")
    style.headline(figure, ours, axes[0], title, fitted.warning)
    style.legend(figure, ours, axes[0], handles)
    return figure


def _column(ax: Any, rows: list[Row], name: str, ci_prob: float) -> None:
    from statistics import NormalDist

    low, high = _range(rows, name, ci_prob)
    if rows[0].kind == "prior" and name in rows[0].draws:
        ends = interval(rows[0].draws[name], ci_prob)
        ax.axvspan(*ends, color=style.GREY, alpha=0.11, linewidth=0, zorder=-1)
    grid = np.linspace(low, high, 300)
    for y, row in enumerate(rows):
        if name in row.draws:
            x = row.draws[name]
            height = _density(x, grid)
            scale = 0.72 / height.max()
            ax.fill_between(grid, y, y - height * scale, color=row.colour, alpha=0.28, linewidth=0)
            ax.plot(grid, y - height * scale, color=row.colour, linewidth=0.8)
            for prob, width in ((ci_prob, 1.6), (0.5, 3.6)):
                ax.plot(interval(x, prob), [y, y], color=row.colour, linewidth=width, zorder=3,
                        solid_capstyle="butt")  # fmt: skip
            ax.plot([np.median(x)], [y], marker="o", markersize=5, color=row.colour, zorder=4,
                    markeredgecolor="white", markeredgewidth=0.7)  # fmt: skip
        elif name in row.printed:
            value, error = row.printed[name]
            if error is not None:
                half = NormalDist().inv_cdf(0.5 + ci_prob / 2) * error
                ax.plot([value - half, value + half], [y, y], color=style.GREY, linewidth=1.2)
            ax.plot([value], [y], marker="D", markersize=4.5, color=style.GREY, zorder=4)
    ax.set_xlim(low, high)
    ax.locator_params(axis="x", nbins=5)


def _range(rows: list[Row], name: str, ci_prob: float) -> tuple[float, float]:
    """What to show of x: all posteriors almost whole, the prior's interval, all printed values."""
    ends: list[float] = []
    for row in rows:
        if name in row.draws:
            tail = (1 - ci_prob) / 2 if row.kind == "prior" else 0.002
            ends += np.quantile(row.draws[name], [tail, 1 - tail]).tolist()
        if name in row.printed:
            value, error = row.printed[name]
            ends += [value - 2 * (error or 0.0), value + 2 * (error or 0.0)]
    pad = 0.06 * (max(ends) - min(ends))
    return min(ends) - pad, max(ends) + pad


def _density(x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Density of draws on a grid, by a Gaussian kernel; a spike where they are all one number."""
    from scipy.stats import gaussian_kde

    if np.ptp(x) <= 1e-12 * max(1.0, abs(float(x[0]))):
        return np.where(np.arange(len(grid)) == np.argmin(np.abs(grid - x[0])), 1.0, 1e-9)
    return gaussian_kde(x[:: max(1, len(x) // 4000)])(grid)


def _quantities(fitted: Fitted, var_names: Sequence[str] | None) -> list[str]:
    parameters = fitted.law.parameters
    if var_names is not None:
        unknown = [n for n in var_names if n not in parameters and n != OPTIMUM]
        if unknown:
            raise SpecError(
                f"The law `{fitted.law.name}` has no parameter `{unknown[0]}`; it has: "
                f"{', '.join(parameters)}."
            )
        return list(var_names)
    names = [n for n, p in parameters.items() if p.role in ("exponent", "optimum_exponent")]
    names = names or [n for n, p in parameters.items() if p.role not in LOSS_ROLES]
    names = names or list(parameters)
    base = fitted.model.named_law if fitted.surface is not None else fitted.law
    return [*names, OPTIMUM] if base is not None and base.name == "additive" else names


def _draws(fitted: Fitted, name: str, family: str) -> np.ndarray:
    if name == OPTIMUM:
        alpha, beta = fitted.draws("alpha", family), fitted.draws("beta", family)
        return beta / (alpha + beta)
    return fitted.draws(name, family)


def _population(fitted: Fitted, name: str) -> np.ndarray | None:
    """Draws of the centre of the population of families, where there is one."""
    posterior = fitted.tree["posterior"].dataset
    if name == OPTIMUM:
        alpha, beta = (_population(fitted, n) for n in ("alpha", "beta"))
        return None if alpha is None or beta is None else beta / (alpha + beta)
    key = f"{name}_population"
    return posterior[key].values.reshape(-1) if key in posterior else None


def _prior(fitted: Fitted, name: str) -> np.ndarray | None:
    """Draws of the prior of one family's value, where it is stated in the printed unit."""
    if name == OPTIMUM:
        rng = np.random.default_rng(0)
        alpha, beta = (_prior(fitted, n) for n in ("alpha", "beta"))
        if alpha is None or beta is None:
            return None
        beta = rng.permutation(beta)
        return beta / (alpha + beta)
    parameter = fitted.law.parameters[name]
    if parameter.role in LOSS_ROLES or parameter.of or parameter.prefactor:
        return None
    variable = next(v for v in fitted.density.variables if v.name == name)
    rng, xp = np.random.default_rng(0), arrays("numpy")
    u = variable.prior.loc + variable.prior.sd * rng.standard_normal(PRIOR_DRAWS)
    if variable.sharing == "pooled" and variable.spread is not None:
        spread = variable.spread
        if isinstance(spread, Prior):
            spread = spread.value(spread.loc + spread.sd * rng.standard_normal(PRIOR_DRAWS), xp)
        u = u + spread * rng.standard_normal(PRIOR_DRAWS)
    return np.asarray(variable.prior.value(u, xp))


def _published_rows(fitted: Fitted, names: list[str], published: bool | Sequence[str]) -> list[Row]:
    if published is False:
        return []
    keys = list(PUBLISHED) if published is True else list(published)
    unknown = [k for k in keys if k not in PUBLISHED]
    if unknown:
        raise SpecError(f"No published law {unknown[0]!r}. There are: {', '.join(PUBLISHED)}.")
    found = {k: p for k in keys if (p := _printed(PUBLISHED[k], fitted, names))}
    labels = [_label(k) for k in found]
    labels = [_label(k, whole=labels.count(x) > 1) for k, x in zip(found, labels, strict=True)]
    return [
        Row(label, "published", {}, printed)
        for label, printed in zip(labels, found.values(), strict=True)
    ]


def _printed(
    entry: Published | PowerLaw, fitted: Fitted, names: list[str]
) -> dict[str, tuple[float, float | None]]:
    if isinstance(entry, PowerLaw):
        if entry.response in SHORT:
            short = SHORT[entry.response]
            own = {f"{short}_{k}": (v, entry.errors.get(k)) for k, v in entry.exponents.items()}
            return {k: v for k, v in own.items() if k in names}
        is_size = entry.response == "N" and set(entry.exponents) == {"flops"}
        target = next((n for n in (OPTIMUM, "a") if n in names and is_size), None)
        return {target: (entry.exponents["flops"], None)} if target else {}
    base = fitted.model.named_law if fitted.surface is not None else fitted.law
    if base is None or entry.law != base.name:
        return {}
    exponents = [n for n in names if n in entry.parameters and n in fitted.law.parameters]
    out = {n: (entry.natural[n], entry.errors.get(n)) for n in exponents}
    if OPTIMUM in names:
        alpha, beta = entry.parameters["alpha"], entry.parameters["beta"]
        out[OPTIMUM] = (beta / (alpha + beta), None)
    return out


def _label(key: str, *, whole: bool = False) -> str:
    """First author and year, and what of theirs where they printed several."""
    source = PUBLISHED[key].source
    who = source.split(",")[0].replace(" et al.", "")
    year = next((w.strip(",.") for w in source.split() if w.strip(",.").isdigit()), "")
    who = who if year in who else f"{who} {year}"
    several = sum(e.source.split(",")[0] == source.split(",")[0] for e in PUBLISHED.values()) > 1
    words = [w for w in key.split("_") if not who.lower().startswith(w) and (whole or w != "size")]
    what = " ".join(words).replace("dit", "DiT")
    return f"{who}, {what}" if several and what else who
