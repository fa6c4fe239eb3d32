"""Any table to columns: pandas, polars, Arrow, dicts, records, datasets.

The rest of the package sees one thing only: named one-dimensional arrays of equal length, either
float64, bool, or object (text, None for missing, odd cells as they came).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import DataError
from bayescale.runs.problems import listed


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Parameters
    ----------
    columns : dict of str to ndarray, (row,)
        float64, bool or object.
    attrs : dict
        Attributes of a dataset that it came from; empty otherwise.
    """

    columns: dict[str, np.ndarray]
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


def as_table(frame: Any) -> Table:
    """Columns of any kind of table.

    Raises
    ------
    DataError
        If `frame` is no table, its columns differ in length, or a name occurs twice.
    """
    if isinstance(frame, Table):
        return frame
    if isinstance(frame, xr.Dataset):
        return _from_dataset(frame)
    if isinstance(frame, np.ndarray) and frame.dtype.names:
        return _from_dict({name: frame[name] for name in frame.dtype.names})
    if isinstance(frame, Mapping):
        return _from_dict(frame)
    if isinstance(frame, str | bytes) or hasattr(frame, "__fspath__"):
        raise DataError(f"A table was expected, not a file name. Write read_runs({str(frame)!r}).")
    if _is_records(frame):
        return _from_dict(_columns_of_records(list(frame)))
    return _from_dataframe(frame)


def _from_dataframe(frame: Any) -> Table:
    if isinstance(frame, pd.DataFrame):
        frame = _with_named_index(frame)
    try:
        native = nw.from_native(frame)
    except TypeError:
        raise DataError(
            "A table was expected (pandas, polars or Arrow, a dict of arrays, a list of records, "
            f"an xarray.Dataset), not `{'None' if frame is None else type(frame).__name__}`."
        ) from None
    eager = native.collect() if isinstance(native, nw.LazyFrame) else native
    return Table({str(name): _cells(eager[name]) for name in eager.columns})


def _with_named_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Flat unique text names; an index with names becomes columns, as it may hold the run ids."""
    if any(name is not None for name in frame.index.names):
        new = [name for name in frame.index.names if name is not None and name not in frame.columns]
        frame = frame.reset_index(level=new) if new else frame
    if isinstance(frame.columns, pd.MultiIndex):
        names = ["/".join(str(part) for part in name if part != "") for name in frame.columns]
    else:
        names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"Column names must be unique, but {listed(twice)} occurs more than once. "
            "Rename or drop the spare ones."
        )
    return frame.set_axis(names, axis=1)


def _cells(column: nw.Series) -> np.ndarray:
    if column.dtype.is_numeric():
        return column.cast(nw.Float64()).to_numpy().astype(np.float64)
    if column.dtype.is_temporal():
        column = column.cast(nw.String())
    cells = column.to_list()
    if column.dtype == nw.Boolean and None not in cells:
        return np.array(cells, dtype=bool)
    return as_cells(cells)


def as_cells(values: Any) -> np.ndarray:
    """One column as an array of float64, bool or object."""
    if isinstance(values, list | tuple):
        cells = np.empty(len(values), dtype=object)
        cells[:] = values
        # Only genuine numbers become floats here: text is read later, with its row at hand.
        plain = all(type(value) in (int, float) or value is None for value in values)
        some = any(value is not None for value in values)
        return cells.astype(np.float64) if plain and some else cells
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    if array.dtype.kind in "mM":
        written = array.astype(str).astype(object)
        written[np.isnat(array)] = None
        return written
    return array if array.dtype.kind == "b" else array.astype(object)


def _from_dict(frame: Mapping[Any, Any]) -> Table:
    columns: dict[str, np.ndarray] = {}
    scalars: list[str] = []
    for name, values in frame.items():
        if isinstance(values, nw.Series | pd.Series) or hasattr(values, "to_numpy"):
            columns[str(name)] = _cells(nw.from_native(values, series_only=True))
        elif (np.ndim(values) == 0 and not isinstance(values, Sequence)) or isinstance(values, str):
            scalars.append(str(name))
            columns[str(name)] = as_cells([values])
        else:
            columns[str(name)] = as_cells(_one_dimensional(str(name), values))
    return Table(_same_length(columns, scalars))


def _one_dimensional(name: str, values: Any) -> Any:
    if isinstance(values, list | tuple):
        return values
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"Column `{name}` has shape {array.shape}; one dimension was expected.")
    return array


def _same_length(columns: dict[str, np.ndarray], scalars: list[str]) -> dict[str, np.ndarray]:
    """Repeat single values along the others; complain about anything else that differs."""
    lengths = {name: len(values) for name, values in columns.items() if name not in scalars}
    if not lengths:
        return columns
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"`{name}` {length}" for name, length in lengths.items())
        raise DataError(f"Columns must have the same number of rows, but they have: {shown}.")
    rows = next(iter(lengths.values()))
    return {
        name: np.repeat(values, rows) if name in scalars else values
        for name, values in columns.items()
    }


def _is_records(frame: Any) -> bool:
    return isinstance(frame, list | tuple) and all(isinstance(each, Mapping) for each in frame)


def _columns_of_records(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    flat = [flat_record(record) for record in records]
    names = dict.fromkeys(name for record in flat for name in record)
    return {name: [record.get(name) for record in flat] for name in names}


def flat_record(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested record with dotted names; lists become JSON text.

    Examples
    --------
    >>> flat_record({"model": {"N": 1e6}, "betas": [0.9, 0.95]})
    {'model.N': 1000000.0, 'betas': '[0.9, 0.95]'}
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= flat_record(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = (
                json.dumps(value, default=str) if isinstance(value, list | tuple) else value
            )
    return flat


def _from_dataset(dataset: xr.Dataset) -> Table:
    """Long columns of a dataset; cells of a padded grid in which nothing was read are dropped."""
    frame = dataset.to_dataframe().reset_index()
    unlabelled = [str(dim) for dim in dataset.dims if dim not in dataset.coords]
    spare = [
        *unlabelled,
        *(dim for dim in ("checkpoint", "reading", "index") if dim in dataset.dims),
    ]
    frame = frame.drop(columns=[name for name in dict.fromkeys(spare) if name in frame])
    if "reason" in frame:
        frame = frame[frame["reason"] != NO_READING]
    elif "checkpoint" in dataset.dims:
        of_readings = [str(name) for name, v in dataset.items() if "checkpoint" in v.dims]
        frame = frame.dropna(how="all", subset=of_readings)
    table = _from_dataframe(frame.reset_index(drop=True))
    return Table(table.columns, attrs=dict(dataset.attrs))


NO_READING = "no reading"
"""Reason of the cells that pad runs with fewer readings than the longest."""
