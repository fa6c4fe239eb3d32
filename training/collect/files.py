"""The table as files: netCDF with one group more, Parquet beside it, each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescale.schema import FIELDS
from training.errors import RecordError

if TYPE_CHECKING:
    from training.collect import Collected


def write(found: Collected, out: Path) -> None:
    """Write netCDF at `out` and Parquet beside it, each whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.parent.mkdir(parents=True, exist_ok=True)
    notes = {
        "source": "bayescale training harness",
        "N": "parameters of the blocks, without modulation",
    }
    stem = out.with_suffix("")
    tables = {stem.with_suffix(".parquet"): _columns(found.readings)}
    if found.curves:
        tables[stem.with_suffix(".curves.parquet")] = _columns(found.curves)
    try:
        for path, columns in tables.items():
            beside = path.with_name(f".{path.name}")
            table = pa.table({n: pa.array(_nullable(v)) for n, v in columns.items()})
            pq.write_table(table.replace_schema_metadata(notes), beside, compression="zstd")
            beside.replace(path)
        _write_netcdf(found, out, notes)
    except OSError as error:
        raise RecordError(f"Cannot write `{out}`: {error.strerror or error}.") from error


def _write_netcdf(found: Collected, out: Path, notes: Mapping[str, str]) -> None:
    import xarray as xr

    columns = _columns(found.readings)
    runs = list(dict.fromkeys(columns["run"]))
    at = {run: number for number, run in enumerate(runs)}
    slot: list[tuple[int, int]] = []
    count = [0] * len(runs)
    for run in columns["run"]:
        slot.append((at[run], count[at[run]]))
        count[at[run]] += 1
    shape = (len(runs), max(count))
    where = tuple(np.array(slot).T)
    data = {}
    for name, values in columns.items():
        if name == "run":
            continue
        kind = np.asarray(values).dtype.kind
        fill: Any = "no reading" if name == "reason" else {"U": "", "b": False}.get(kind, np.nan)
        grid = np.full(shape, fill, dtype=object if kind == "U" else bool if kind == "b" else float)
        grid[where] = values
        grid = grid.astype(str) if kind == "U" else grid
        field = FIELDS.get(name)
        attrs = {"units": field.unit, "long_name": field.meaning} if field else {}
        of_run = field.level == "run" if field else _constant(grid, count)
        data[name] = ("run", grid[:, 0], attrs) if of_run else (("run", "checkpoint"), grid, attrs)
    dataset = xr.Dataset(data, coords={"run": runs}, attrs=dict(notes))
    beside = out.with_name(f".{out.name}")
    dataset.to_netcdf(beside, engine="h5netcdf")
    bins = max((len(each[0]) for each in found.by_t if each), default=0)
    loss, se = (np.full((*shape, bins), np.nan) for _ in range(2))
    for place, each in zip(slot, found.by_t, strict=True):
        if each:
            loss[place], se[place] = each
    dims = ("run", "checkpoint", "tbin")
    by_t = xr.Dataset({"loss": (dims, loss), "loss_se": (dims, se)}, coords={"run": runs})
    by_t.to_netcdf(beside, engine="h5netcdf", mode="a", group="loss_by_t")
    beside.replace(out)


def _constant(grid: np.ndarray, count: list[int]) -> bool:
    return all(
        len(set(row[:n].tolist())) == 1 or all(v != v for v in row[:n].tolist())
        for row, n in zip(grid, count, strict=True)
    )


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of rows that need not have the same fields; schema names first."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    order = [*(n for n in FIELDS if n in names), *(n for n in names if n not in FIELDS)]
    columns = {}
    for name in order:
        values = [row.get(name) for row in rows]
        some = next((value for value in values if value is not None), None)
        if isinstance(some, bool):
            columns[name] = np.array([bool(value) for value in values])
        elif isinstance(some, str):
            columns[name] = np.array(["" if value is None else str(value) for value in values])
        elif isinstance(some, (int, float)):
            numbers = [np.nan if value is None else float(value) for value in values]
            columns[name] = np.array(numbers)
        elif some is not None:
            columns[name] = np.array([json.dumps(value) for value in values])
    return columns


def _nullable(values: np.ndarray) -> Any:
    return values.astype(object) if values.dtype.kind == "U" else values
