"""What the plots share of the numbers: readings with their compute, bands of the law, families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import interval
from bayescale.errors import SpecError
from bayescale.inference.curve import total_price
from bayescale.inference.tree import Fitted, opened
from bayescale.laws.cost import Cost, cost_from_runs
from bayescale.models.table import fitted_readings
from bayescale.plots import style
from bayescale.plots.style import FAMILIES
from bayescale.predict import curve


def as_fitted(fit: Any) -> Fitted:
    """A fit, or one that is open already."""
    return fit if isinstance(fit, Fitted) else opened(fit)


def families_shown(fitted: Fitted, families: Sequence[str] | None = None) -> tuple[list[str], str]:
    """Families to draw, those with most readings first in line, and what to say of the rest."""
    every = list(fitted.families)
    if families is not None:
        named = [families] if isinstance(families, str) else list(families)
        return [fitted.family(name) for name in named][:FAMILIES], ""
    if len(every) <= FAMILIES:
        return every, ""
    seen = pd.Series(fitted.tree["observed_data"].dataset["family"].values).value_counts()
    kept = set(seen.index[:FAMILIES])
    rest = f"{FAMILIES} of {len(every)} families shown, those with most readings"
    return [name for name in every if name in kept], rest


def readings_of(fitted: Fitted, family: str | None = None) -> pd.DataFrame:
    """Fitted readings, one row each: ``run``, ``family``, inputs, response, ``flops`` if known."""
    if fitted.surface is not None:
        flat = fitted.model.readings(fitted.runs)
    else:
        flat = fitted_readings(fitted.runs, fitted.law)
    wanted = ["run", "family", *fitted.law.inputs, fitted.law.response, "N", "T", "flops"]
    table: Any = pd.DataFrame({k: flat[k].values for k in dict.fromkeys(wanted) if k in flat})
    if fitted.by_family and family is not None:
        table = table[table["family"] == fitted.family(family)].reset_index(drop=True)
    return table


NEAR_BEST = 0.01  # share of loss; runs that paid more show the price and not the law; chosen


def tuned_readings(fitted: Fitted, family: str | None = None) -> tuple[pd.DataFrame, str]:
    """Readings as a curve under the best hyperparameters can be held against, and what they are.

    Of a fit with hyperparameters: runs within 1 % of the best ones, less what they paid (the
    posterior median of the price). Of any other fit: the readings as they are.
    """
    table: Any = readings_of(fitted, family)
    if fitted.surface is None:
        return table, "reading"
    names = table["family"].unique() if fitted.by_family else [None]
    parts = [of_family(fitted, table, name) for name in names]
    pairs = zip(parts, names, strict=True)
    price = np.concatenate([_median_price(fitted, part, name) for part, name in pairs])
    table = pd.concat(parts, ignore_index=True)
    response = fitted.law.response
    table = table.assign(price=price, **{response: table[response] * np.exp(-price)})
    near = table[price <= NEAR_BEST]
    near = near if len(near) >= min(20, len(table)) else table
    which = f"{len(near):,} of {len(table):,} runs, within {style.percent(NEAR_BEST)} of tuned"
    which = which if len(near) < len(table) else "run"
    return near.reset_index(drop=True), f"{which}; price taken off"


def _median_price(fitted: Fitted, table: Any, family: str | None) -> np.ndarray:
    inputs = {k: table[k].to_numpy(float)[None] for k in fitted.law.inputs}
    price = total_price(thinned(fitted), inputs, family)
    return np.median(np.asarray(price), axis=0)


def light(fitted: Fitted) -> Fitted:
    """The fit with as many draws as a picture needs, where each costs more than a formula."""
    return fitted if fitted.surface is None else thinned(fitted)


def thinned(fitted: Fitted, most: int = 500) -> Fitted:
    """The same fit with fewer draws, evenly taken from every chain.

    Bands of 90 % from 500 draws have an error of a tenth of their half-width.
    """
    posterior = fitted.tree["posterior"].dataset
    total = posterior.sizes["chain"] * posterior.sizes["draw"]
    step = max(1, -(-total // most))
    if step == 1:
        return fitted
    tree = fitted.tree.copy()
    tree["posterior"] = xr.DataTree(posterior.isel(draw=slice(None, None, step)))
    return replace(fitted, tree=tree)


def cost_of(fitted: Fitted) -> Cost | None:
    """What a run costs, where the law is one of size and data (or size and compute)."""
    inputs = set(fitted.law.inputs)
    return cost_from_runs(fitted.runs) if {"N", "T"} <= inputs or {"N", "flops"} <= inputs else None


def middle(fitted: Fitted, family: str | None = None) -> dict[str, float]:
    """The pivot: geometric mean of each input over the readings of a family.

    Without hyperparameters, which are at their best where nothing is said of them; a switch is as
    most runs have it.
    """
    at = fitted.families.index(fitted.family(family)) if fitted.by_family else 0
    tuned, seen = set(free_inputs(fitted)), fitted.readings(family)
    return {
        k: float(np.mean(seen[k]) >= 0.5) if k in fitted.law.zero_one
        else float(np.asarray(fitted.spec["pivot"][k])[at])
        for k in fitted.law.inputs if k not in tuned
    }  # fmt: skip


def curve_inputs(fitted: Fitted) -> list[str]:
    """Inputs along which a loss curve can be drawn: no hyperparameter, no switch.

    `SpecError` where a fit has none: one cell of a sweep is a bowl and no curve.
    """
    aside = {*free_inputs(fitted), *(fitted.surface.switches if fitted.surface else ())}
    found = [k for k in fitted.law.inputs if k not in aside]
    if not found:
        raise SpecError(
            "This fit is of one size and one length (loss_law=None), so there is no curve of the "
            "loss to draw. `bayescale.plots.bowls(fit)` draws what it has."
        )
    return found


def of_family(fitted: Fitted, table: pd.DataFrame, family: str | None) -> pd.DataFrame:
    """The rows of one family, where the fit tells families apart and one is named."""
    if not fitted.by_family or family is None:
        return table
    mine: Any = table[table["family"] == fitted.family(family)]
    return mine.reset_index(drop=True)


def free_inputs(fitted: Fitted) -> tuple[str, ...]:
    """Inputs that may be left out: hyperparameters, which are then at their best."""
    return fitted.surface.hyperparameters if fitted.surface is not None else ()


def law_draws(fitted: Fitted, points: Mapping[str, Any], family: str | None = None) -> np.ndarray:
    """The mean curve at points for each draw, ``(sample, ...)``; inputs left out at the pivot.

    Inputs broadcast. With ``N`` and one of ``T`` and ``flops`` given, the other follows from what
    the runs cost.
    """
    points = {k: np.asarray(v, float) for k, v in points.items()}
    cost = cost_of(fitted)
    if cost is not None and "T" in fitted.law.inputs and "T" not in points and "flops" in points:
        points["T"] = np.asarray(cost.tokens(points["N"], points["flops"]), float)
    if cost is not None and "flops" in fitted.law.inputs and "flops" not in points:
        points["flops"] = np.asarray(cost.flops(points["N"], points["T"]), float)
    full = {**middle(fitted, family), **points}
    full = {k: np.asarray(full[k], float) for k in fitted.law.inputs if k in full}
    shape = np.broadcast_shapes(*(v.shape for v in full.values()))
    flat = {k: np.broadcast_to(v, shape).ravel() for k, v in full.items()}
    name = fitted.family(family) if fitted.by_family else fitted.families[0]
    families = np.full(int(np.prod(shape)), name, dtype=object)
    return curve(light(fitted), flat, families).reshape(-1, *shape)


def bands(draws: np.ndarray, dims: tuple[str, ...], ci_prob: float) -> xr.Dataset:
    """Median and equal-tailed interval over the first axis of draws: ``median, lower, upper``."""
    low, high = interval(draws, ci_prob)
    columns = {"median": np.nanmedian(draws, axis=0), "lower": low, "upper": high}
    return xr.Dataset(
        {k: (dims, np.asarray(v)) for k, v in columns.items()}, attrs={"ci_prob": ci_prob}
    )


def few(values: Any, most: int = 5) -> np.ndarray:
    """At most ``most`` of the distinct values, evenly spread in logs, both ends among them."""
    distinct = np.unique(np.asarray(values, float))
    if len(distinct) <= most:
        return distinct
    wanted = np.linspace(np.log(distinct[0]), np.log(distinct[-1]), most)
    return np.unique([distinct[np.argmin(np.abs(np.log(distinct) - w))] for w in wanted])


def unit_of_response(fitted: Fitted) -> str:
    """Unit of what the law predicts, as the runs state it."""
    response = fitted.law.response
    return str(fitted.runs[response].attrs.get("units", "")) if response in fitted.runs else ""


def check_prob(ci_prob: float) -> float:
    """A probability strictly between 0 and 1."""
    if not 0 < ci_prob < 1:
        raise SpecError(f"`ci_prob` is a probability between 0 and 1; got {ci_prob!r}.")
    return float(ci_prob)
