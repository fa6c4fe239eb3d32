"""Folds of a backtest: readings below a cut-off are fitted, those from it on are forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.answers import flops, si
from bayescale.errors import DataError, SpecError
from bayescale.models.table import fitted_readings
from bayescale.runs.selection import take, values_of

AXES = {"flops": "compute", "N": "size", "T": "tokens"}
FEWEST_FITTED = 5  # readings: with fewer every forecast is the prior's


@dataclass(frozen=True)
class Fold:
    """One cut.

    Attributes
    ----------
    axis : {"flops", "N", "T"}
    cutoff : float
    fitted : xarray.Dataset
        Runs below it.
    held_out : xarray.Dataset, (reading,)
        Readings from it on.
    """

    axis: str
    cutoff: float
    fitted: xr.Dataset
    held_out: xr.Dataset

    @property
    def name(self) -> str:
        """``C < 1e20 FLOP``, ``N < 300 M``."""
        if self.axis == "flops":
            return f"C < {flops(self.cutoff)}"
        return f"{self.axis} < {si(self.cutoff)}"

    def points(self, inputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Inputs of a law at the held-out readings, ``(reading,)`` each."""
        return {k: np.asarray(self.held_out[k].values, float) for k in inputs}


def folds(model: Any, runs: xr.Dataset, cutoffs: Mapping[str, Any]) -> list[Fold]:
    """A fold for each cut-off, in ascending order of each axis.

    Families of the held-out readings that have no reading below the cut are left out where the
    model tells families apart: nothing is known about them.

    Raises
    ------
    SpecError
        Without any cut-off.
    DataError
        A cut-off that leaves fewer than five readings below it, or none above.
    """
    asked = {axis: np.atleast_1d(np.asarray(c, float)) for axis, c in cutoffs.items()
             if c is not None}  # fmt: skip
    if not asked:
        raise SpecError(
            "A backtest needs cut-offs: cutoffs_flops=[1e19, 1e20], or cutoffs_N=, cutoffs_T=."
        )
    return [_fold(model, runs, axis, float(c)) for axis, cs in asked.items() for c in np.sort(cs)]


def _fold(model: Any, runs: xr.Dataset, axis: str, cutoff: float) -> Fold:
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise SpecError(f"`cutoffs_{axis}` must be positive; got {cutoff:g}.")
    at = values_of(runs, axis)
    below = take(runs, at < cutoff)
    held_out = fitted_readings(take(runs, at >= cutoff), model.fitted_law)
    n = fitted_readings(below, model.fitted_law).sizes["reading"]
    seen = fitted_readings(runs, model.fitted_law)
    span = values_of(runs, axis).values
    span = span[np.isfinite(span)]
    if n < FEWEST_FITTED or held_out.sizes["reading"] == 0:
        raise DataError(
            f"The cut-off {axis} = {cutoff:.4g} leaves {n} of {seen.sizes['reading']} readings to "
            f"fit and {held_out.sizes['reading']} to forecast; at least {FEWEST_FITTED} and 1 are "
            f"needed. `{axis}` runs from {span.min():.4g} to {span.max():.4g}."
        )
    if getattr(model, "family", None) is not None:
        known = np.unique(fitted_readings(below, model.fitted_law)["family"].values.astype(str))
        mine = np.isin(held_out["family"].values.astype(str), known)
        if not mine.any():
            raise DataError(
                f"No family has readings on both sides of {axis} = {cutoff:.4g}; with "
                "family=None one law serves all of them."
            )
        held_out = held_out.isel(reading=np.flatnonzero(mine))
    return Fold(axis, cutoff, below, held_out)
