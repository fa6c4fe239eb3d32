"""Neighbouring checkpoints of one trajectory, averaged to the spacing at which they bring news.

A run logged at 175 points does not know 175 things about its law. What the law misses is smooth
along a run and much alike in all runs, while a likelihood of their increments takes every one for
fresh evidence. Measured on Gemstones (22 runs, 3,850 readings, additive law): with all readings the
shape along T was bought at the price of run effects that trend from -16 % to +11 % with size; with
readings averaged over a factor 1.65 in tokens the trend is gone (scatter 2.6 %), and the fit is
sixteen times smaller. The logarithm of the loss is averaged against that of the tokens; its
curvature over half an e-fold costs less than 0.1 %.
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def average_neighbours(flat: xr.Dataset, resolution: float) -> xr.Dataset:
    """One reading per trajectory and bin of ``ln T``, ``(reading,)``.

    Parameters
    ----------
    flat : xarray.Dataset, (reading,)
        From `bayescale.runs.readings`; needs ``trajectory`` and ``T``.
    resolution : float
        Width of the bins in e-folds of tokens, counted back from the last reading of each run, so
        that the end of a run is never averaged with much before it; 0 keeps every reading.
    """
    if resolution <= 0 or "T" not in flat:
        return flat
    _, run = np.unique(np.asarray(flat["trajectory"].values).astype(str), return_inverse=True)
    if len(run) == run.max() + 1:
        return flat
    log_t = np.log(np.asarray(flat["T"].values, float))
    last = np.full(run.max() + 1, -np.inf)
    np.maximum.at(last, run, log_t)
    back = np.floor((last[run] - log_t) / resolution + 1e-9).astype(int)
    _, first, group = np.unique(
        np.stack([run, back]), axis=1, return_index=True, return_inverse=True
    )
    group = group.reshape(-1)
    if len(first) == len(group):
        return flat
    columns = {
        str(name): ("reading", _averaged(x.values, group, first))
        for name, x in flat.variables.items()
        if x.dims == ("reading",) and name != "reading"
    }
    return xr.Dataset(columns, attrs=flat.attrs)


def _averaged(x: np.ndarray, group: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Geometric means of what varies and is positive; the first of everything else."""
    if not np.issubdtype(x.dtype, np.floating) or not (np.isfinite(x) & (x > 0)).all():
        return x[first]
    means = np.exp(np.bincount(group, np.log(x)) / np.bincount(group))
    alike = np.bincount(group, x != x[first][group]) == 0  # keeps constants to the last digit
    return np.where(alike, x[first], means)
