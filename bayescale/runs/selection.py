"""Some of the readings of a table, in the table's own layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import DataError
from bayescale.runs.frames import NO_READING


def values_of(runs: xr.Dataset, name: str) -> xr.DataArray:
    """A column of every reading, in the layout of ``runs["fitted"]``; compute is 6NT if absent."""
    if name in runs:
        column = runs[name]
    elif name == "flops" and {"N", "T"} <= set(runs):
        column = 6.0 * runs["N"] * runs["T"]
    else:
        have = ", ".join(str(k) for k in runs.data_vars)
        raise DataError(f"These runs have no column `{name}`. They have: {have}.")
    return column.broadcast_like(runs["fitted"]).astype(float)


def take(runs: xr.Dataset, keep: Any) -> xr.Dataset:
    """The readings that are kept; a run of which none is leaves the table.

    Parameters
    ----------
    runs : xarray.Dataset
        From `bayescale.as_runs`.
    keep : xarray.DataArray of bool, (run) or (run, checkpoint)
        In the layout of ``runs["fitted"]``.
    """
    keep = np.asarray(keep.transpose(*runs["fitted"].dims).values, bool)
    if keep.ndim == 1:
        return runs.isel(run=np.flatnonzero(keep))
    dims = runs["fitted"].dims
    out = runs.assign(
        fitted=(dims, runs["fitted"].values & keep, runs["fitted"].attrs),
        reason=(dims, np.where(keep, runs["reason"].values, NO_READING), runs["reason"].attrs),
    )
    return out.isel(run=np.flatnonzero(keep.any(axis=1)))
