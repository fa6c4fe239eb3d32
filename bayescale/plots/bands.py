"""What the plots share of the numbers: readings with their compute, bands of the law, families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import interval
from bayescale.errors import SpecError
from bayescale.inference.tree import Fitted, opened
from bayescale.laws.cost import Cost, cost_from_runs
from bayescale.models.table import fitted_readings
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
    flat = fitted_readings(fitted.runs, fitted.law)
    wanted = ["run", "family", *fitted.law.inputs, fitted.law.response, "N", "T", "flops"]
    table: Any = pd.DataFrame({k: flat[k].values for k in dict.fromkeys(wanted) if k in flat})
    if fitted.by_family and family is not None:
        table = table[table["family"] == fitted.family(family)].reset_index(drop=True)
    return table


def cost_of(fitted: Fitted) -> Cost | None:
    """What a run costs, where the law is one of size and data (or size and compute)."""
    inputs = set(fitted.law.inputs)
    return cost_from_runs(fitted.runs) if {"N", "T"} <= inputs or {"N", "flops"} <= inputs else None


def middle(fitted: Fitted, family: str | None = None) -> dict[str, float]:
    """The pivot: geometric mean of each input over the readings of a family."""
    at = fitted.families.index(fitted.family(family)) if fitted.by_family else 0
    return {k: float(np.asarray(fitted.spec["pivot"][k])[at]) for k in fitted.law.inputs}


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
    full = {k: np.asarray(full[k], float) for k in fitted.law.inputs}
    shape = np.broadcast_shapes(*(v.shape for v in full.values()))
    flat = {k: np.broadcast_to(v, shape).ravel() for k, v in full.items()}
    name = fitted.family(family) if fitted.by_family else fitted.families[0]
    families = np.full(int(np.prod(shape)), name, dtype=object)
    return curve(fitted, flat, families).reshape(-1, *shape)


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
