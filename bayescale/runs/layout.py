"""Long table to grid and back: one row a reading, or dims ``run`` and ``checkpoint``.

The grid is what people look at (`Runs`); the long form is what gets checked and fitted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from bayescale.errors import DataError
from bayescale.runs.frames import NO_READING
from bayescale.runs.validation import first_rows
from bayescale.schema import FIELDS

AXES = ("T", "step", "samples", "flops")
"""What orders the readings of one run; the first one present does."""

_MOST_CELLS = 20_000_000  # chosen: 160 MB a variable


def arrange(columns: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Lay readings out by run and checkpoint.

    Parameters
    ----------
    columns : mapping of str to ndarray, (row,)
        Our names; must hold ``run``, ``fitted`` and ``reason``.

    Returns
    -------
    xarray.Dataset
        Runs in the order in which they appear. With one reading a run: every variable has dims
        ``(run,)``. Else what varies within runs has dims ``(run, checkpoint)``, sorted by T and
        padded with NaN (text: empty; ``reason``: "no reading").
    """
    codes, first = first_rows(columns["run"])
    names = columns["run"][first]
    if len(first) == len(codes):
        data = {n: (("run",), v, _attrs(n, columns)) for n, v in columns.items() if n != "run"}
        return xr.Dataset(data, coords={"run": ("run", names, _attrs("run", columns))})
    codes, columns = _in_order(codes, columns)
    first, slot = _slots(codes)
    shape = (len(names), int(slot.max()) + 1)
    _check_size(shape, len(codes))
    grid = {}
    for name, values in columns.items():
        if name == "run":
            continue
        if _is_of_readings(name) or _varies(values, codes, first):
            padded = np.full(shape, _padding(name, values), dtype=_padded_dtype(name, values))
            padded[codes, slot] = values
            grid[name] = (("run", "checkpoint"), padded, _attrs(name, columns))
        else:
            grid[name] = (("run",), values[first], _attrs(name, columns))
    return xr.Dataset(grid, coords={"run": ("run", names, _attrs("run", columns))})


def flatten(runs: xr.Dataset, keep: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the readings for which `keep` holds.

    Parameters
    ----------
    runs : xarray.Dataset
        Runs, with or without checkpoints.
    keep : ndarray of bool
        With the dims of ``runs["fitted"]``.
    """
    where = np.nonzero(keep)
    columns = {"run": runs["run"].values[where[0]]}
    for name, variable in runs.data_vars.items():
        index = where if "checkpoint" in variable.dims else where[:1]
        columns[str(name)] = variable.values[index]
    return columns


def _in_order(
    codes: np.ndarray, columns: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows by run, then by what orders the readings of a run; otherwise as they came."""
    axis = next((columns[name] for name in AXES if name in columns), np.zeros(len(codes)))
    order = np.lexsort((axis, codes))  # NaN last, ties as they came
    return codes[order], {name: values[order] for name, values in columns.items()}


def _slots(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each run, and the place of every row within its run; `codes` are sorted."""
    first = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    return first, np.arange(len(codes)) - first[codes]


def _check_size(shape: tuple[int, int], readings: int) -> None:
    if shape[0] * shape[1] > _MOST_CELLS:
        raise DataError(
            f"{readings:,} readings of {shape[0]:,} runs, the longest with {shape[1]:,}, make a "
            f"grid of {shape[0] * shape[1]:,} cells, nearly all empty.\n"
            "Thin out the long curves, for example to 200 points a run evenly in log T."
        )


def _is_of_readings(name: str) -> bool:
    return name in FIELDS and FIELDS[name].level == "reading"


def _varies(values: np.ndarray, codes: np.ndarray, first: np.ndarray) -> bool:
    reference = values[first][codes]
    same = values == reference
    if values.dtype.kind == "f":
        same |= np.isnan(values) & np.isnan(reference)
    return not bool(same.all())


def _padding(name: str, values: np.ndarray) -> object:
    if name == "reason":
        return NO_READING
    return {"U": "", "b": False}.get(values.dtype.kind, np.nan)


def _padded_dtype(name: str, values: np.ndarray) -> np.dtype:
    if name == "reason":
        return np.promote_types(values.dtype, f"U{len(NO_READING)}")
    return values.dtype


def _attrs(name: str, columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    if name not in FIELDS:
        return {"units": "", "long_name": name}
    unit = FIELDS[name].unit
    if name in ("loss", "loss_se") and "loss_unit" in columns:
        said = sorted({each or unit for each in columns["loss_unit"].tolist()})
        unit = " or ".join(said)
    return {"units": unit, "long_name": FIELDS[name].meaning}
