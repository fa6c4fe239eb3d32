"""Runs: a table of training runs, checked and labelled, as an `xarray.Dataset`.

`as_runs` takes any table and either returns runs that can be fitted or says everything that is
wrong with it. `readings` is the flat view that models read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import DataError, SpecError
from bayescale.runs.conversion import FLOPS_FILLED, NO_LOSS, OnInvalid, build_runs, notes_of
from bayescale.runs.frames import NO_READING, Table, as_table
from bayescale.runs.labels import numbered
from bayescale.runs.layout import AXES, flatten
from bayescale.runs.problems import listed, near_misses, plural
from bayescale.schema import FIELDS


def as_runs(
    frame: Any,
    columns: Mapping[str, str | None] | None = None,
    *,
    family: str | None = None,
    units: Mapping[str, str | float] | None = None,
    on_invalid: OnInvalid = "raise",
) -> xr.Dataset:
    """Turn a table of training runs into labelled, checked `Runs`.

    Parameters
    ----------
    frame : pandas, polars or Arrow table, dict of arrays, list of records, or xarray.Dataset
        One row a run, or one row a reading: rows that share a ``run`` are checkpoints of it.
    columns : mapping of str to str, optional
        Our name to the name of your column: ``N`` (parameters), ``T`` (training tokens), ``loss``,
        ``batch_size`` (tokens), ``learning_rate``, ``flops``, ``seed``, ``status``, ``run``, ...
        and any further input of a law by its own name. A column that already bears our name needs
        no mention. None as a value says that the table has no such thing. Other columns are kept.
    family : str, optional
        Your column with the group for pooling.
    units : mapping of str to str or float, optional
        What to multiply a column by: ``{"T": "B"}`` for billions, ``{"batch_size": 2048}`` for
        sequences of 2,048 tokens, ``{"loss": "bits"}``. ``1`` says that odd magnitudes are right.
    on_invalid : {"raise", "set_aside"}, default "raise"
        Whether bad rows stop the conversion, or stay in the data with a reason and are not fitted.
        Wrong columns and wrong units always stop it.

    Returns
    -------
    xarray.Dataset
        Dims ``(run,)``, and ``(run, checkpoint)`` for what varies within runs. ``fitted`` (bool)
        and ``reason`` (str) say which readings models see; ``family`` and ``status`` are always
        there, ``flops`` wherever N and T are (6·N·T unless given).

    Raises
    ------
    DataError
        With every problem found, its rows and values, and how to mend it; also as ``.evidence``.

    Examples
    --------
    >>> table = {"params": ["70M", "300M"], "tokens": [2e9, 6e9], "loss": [3.4, 2.9]}
    >>> runs = as_runs(table, columns={"N": "params", "T": "tokens"})
    >>> runs["N"].values
    array([7.e+07, 3.e+08])
    """
    return build_runs(
        as_table(frame),
        columns,
        family=family,
        units=units,
        on_invalid=on_invalid,
        where="this table",
    )


def readings(runs: xr.Dataset, *, all: bool = False, response: str | None = None) -> xr.Dataset:
    """Flat view of the readings that take part in a fit. This is what models use.

    Parameters
    ----------
    runs : xarray.Dataset
        From `as_runs`.
    all : bool, default False
        Also the readings that are set aside, diverged or censored.
    response : str, optional
        Another metric, such as ``"fid"``: the readings that have it, whether or not they also have
        a loss. By default the rows marked ``fitted``.

    Returns
    -------
    xarray.Dataset
        Every variable has the single dim ``reading``; ``run``, ``family`` and ``trajectory`` (the
        run id where there is none) are among them. Sorted stably by trajectory, then T.
    """
    if "fitted" not in runs or "reason" not in runs:
        raise DataError("These are no Runs: `fitted` is missing. Convert the table with as_runs.")
    reason = runs["reason"].values
    if all:
        keep = reason != NO_READING
    elif response is None:
        keep = runs["fitted"].values.astype(bool)
    else:
        keep = np.isin(reason, ("", NO_LOSS)) & _has(runs, response)
    flat = flatten(runs, keep)
    ids = flat.get("trajectory", flat["run"])
    flat["trajectory"] = np.where(ids == "", flat["run"], ids)
    axis = next((flat[name] for name in AXES if name in flat), np.zeros(len(ids)))
    order = np.lexsort((axis, flat["trajectory"]))
    attrs = {name: runs[name].attrs for name in flat if name in runs}
    attrs["trajectory"] = {"units": "", "long_name": FIELDS["trajectory"].meaning}
    data = {name: ("reading", values[order], attrs[name]) for name, values in flat.items()}
    return xr.Dataset(data, attrs=dict(runs.attrs))


def append(runs: xr.Dataset, more: Any) -> xr.Dataset:
    """Runs with more runs after them, checked together.

    Parameters
    ----------
    runs : xarray.Dataset
        From `as_runs`.
    more : xarray.Dataset or any table with our names
        The new ones. Their ids must be new, unless they were only numbered; those are renumbered.

    Raises
    ------
    DataError
        If an id occurs in both, or the new rows have a problem.
    """
    new = as_runs(more)
    if new.attrs["run_ids"] == "numbered":
        first = runs.sizes["run"] if runs.attrs.get("run_ids") == "numbered" else 0
        new = new.assign_coords(run=("run", numbered(new.sizes["run"], first), new["run"].attrs))
    twice = np.intersect1d(runs["run"].values.astype(str), new["run"].values.astype(str))
    if len(twice):
        raise DataError(
            f"{plural(len(twice), 'run')} to append {'is' if len(twice) == 1 else 'are'} there "
            f"already: {listed(twice, shown=5)}.\n"
            "Give new runs ids of their own. To replace a run, drop it first: "
            f'runs.drop_sel(run=["{twice[0]}"]).',
            evidence=[{"column": "run", "rows": [], "values": twice.tolist()}],
        )
    old, fresh = (flatten(each, each["reason"].values != NO_READING) for each in (runs, new))
    together = {name: _joined(name, old, fresh) for name in {**old, **fresh}}
    attrs = {**runs.attrs, "notes": json.dumps([*notes_of(runs), *notes_of(new)])}
    if runs.attrs.get("flops_source") != new.attrs["flops_source"]:
        attrs["flops_source"] = FLOPS_FILLED
    if "given" in (runs.attrs.get("run_ids"), new.attrs["run_ids"]):
        attrs["run_ids"] = "given"
    return as_runs(Table(together, attrs=attrs))


def write_runs(runs: xr.Dataset, path: str | Path) -> Path:
    """Save runs: netCDF (``.nc``) keeps everything; Parquet, CSV and JSONL one row a reading.

    Returns
    -------
    pathlib.Path
        The file, which `read_runs` reads back to the same runs.
    """
    path = Path(path)
    if path.suffix == ".nc":
        # Classic netCDF: runs have no groups, and every reader there is understands it.
        runs.to_netcdf(path, engine="scipy")
        return path
    frame = pd.DataFrame(flatten(runs, runs["reason"].values != NO_READING))
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix in (".jsonl", ".ndjson"):
        # Not pandas: it rounds, and runs must come back as they were.
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        raise SpecError(
            f"`{path.name}` says no format; one of .nc, .parquet, .csv, .jsonl was expected."
        )
    return path


def summarise(runs: xr.Dataset) -> str:
    """What is in the runs, in a few lines of text."""
    every = readings(runs, all=True)
    reasons, counts = np.unique(every["reason"].values, return_counts=True)
    tally = dict(zip(reasons.tolist(), counts.tolist(), strict=True))
    fitted = int(every["fitted"].values.sum())
    lines = [
        f"{plural(runs.sizes['run'], 'run')}, {plural(every.sizes['reading'], 'reading')}, "
        f"{fitted:,} fitted"
    ]
    lines += [f"  not fitted: {count:,} ({reason})" for reason, count in tally.items() if reason]
    families, sizes = np.unique(every["family"].values, return_counts=True)
    shown = [f"{name} ({size:,})" for name, size in zip(families, sizes, strict=True)]
    more = f" and {len(shown) - 6} more" if len(shown) > 6 else ""
    lines.append(f"families: {', '.join(shown[:6])}{more}")
    lines += [_range(every, name) for name in FIELDS if FIELDS[name].role and name in every]
    return "\n".join(lines + [f"note: {note}" for note in notes_of(runs)])


def runs_hash(runs: xr.Dataset) -> str:
    """Fingerprint of the values: equal for equal readings, however rows and columns are ordered.

    Returns
    -------
    str
        Hexadecimal SHA-256. Notes and other attributes do not enter.
    """
    flat = readings(runs, all=True)
    names = sorted(str(name) for name in flat.data_vars)
    texts = {name: flat[name].values for name in names}
    order = np.lexsort([_sortable(texts[name]) for name in reversed(names)])
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"\n{name}\n".encode())
        digest.update(_canonical(texts[name][order]))
    return digest.hexdigest()


def _has(runs: xr.Dataset, response: str) -> np.ndarray:
    """Which readings have a value of `response`, with the dims of ``fitted``."""
    if response not in runs:
        close = near_misses(response, [str(name) for name in runs.data_vars])
        have = [str(name) for name, each in runs.data_vars.items() if each.dtype.kind == "f"]
        raise DataError(
            f"These runs have no `{response}`"
            + (f"; did you mean `{close[0]}`" if close else "")
            + f". They have {listed(have, shown=30)}."
        )
    finite = runs[response].notnull() & (abs(runs[response]) < np.inf)
    return finite.broadcast_like(runs["fitted"]).transpose(*runs["fitted"].dims).values


def _joined(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> np.ndarray:
    """One column of both tables; missing where one of them has none."""
    parts = [columns.get(name) for columns in (old, new)]
    kinds = {part.dtype.kind for part in parts if part is not None}
    rows = [len(columns["run"]) for columns in (old, new)]
    if kinds == {"f"}:
        empty = np.nan
    elif kinds == {"b"} and all(part is not None for part in parts):
        empty = False
    else:
        empty = None
    filled = [
        np.full(count, empty) if part is None else part.astype(object) if empty is None else part
        for part, count in zip(parts, rows, strict=True)
    ]
    return np.concatenate(filled)


def _range(every: xr.Dataset, name: str) -> str:
    values = every[name].values[every["fitted"].values]
    values = values[np.isfinite(values)]
    if not len(values):
        return f"{name}: no value"
    source = f" ({every.attrs['flops_source']})" if name == "flops" else ""
    low, high = (_short(value, FIELDS[name].count) for value in (values.min(), values.max()))
    span = low if low == high else f"{low} to {high}"
    return f"{name}: {span} {every[name].attrs['units']}{source}".rstrip()


def _short(value: float, count: bool) -> str:
    """A number as people say it: 57.3M parameters, but 6e+18 FLOP."""
    for letter, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count and size <= value < 1e15:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def _sortable(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values, nan=np.inf) if values.dtype.kind == "f" else values


def _canonical(values: np.ndarray) -> bytes:
    if values.dtype.kind == "f":
        return (np.where(np.isnan(values), np.nan, values) + 0.0).astype("<f8").tobytes()
    return "\0".join(map(str, values.tolist())).encode()
