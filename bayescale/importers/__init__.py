"""Files to Runs: one door, `read_runs`, and one module for each kind of file behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from bayescale.errors import DataError
from bayescale.importers.mapping import read_mapping
from bayescale.importers.netcdf import read_netcdf
from bayescale.importers.records import read_folder, read_jsonl
from bayescale.importers.source import Source
from bayescale.importers.tables import read_csv, read_parquet
from bayescale.runs.conversion import ROWS_NOTE, OnInvalid, build_runs
from bayescale.runs.problems import listed, near_misses

__all__ = ["read_runs"]

_READERS = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_jsonl,
    ".nc": read_netcdf,
}


def read_runs(
    path: str | Path,
    columns: Mapping[str, str | None] | None = None,
    *,
    family: str | None = None,
    units: Mapping[str, str | float] | None = None,
    mapping: str | Path | None = None,
    on_invalid: OnInvalid = "raise",
) -> xr.Dataset:
    """Read training runs from a file, or from a folder of records, into checked `Runs`.

    Parameters
    ----------
    path : str or Path
        CSV, TSV, JSON, JSONL (also with ``.gz``), Parquet, netCDF, or a folder with one JSON or
        JSONL record a run, directly in it or one folder deeper.
    columns, family, units, on_invalid
        As in `as_runs`. A record's nested fields have dotted names: ``"model.params"``.
    mapping : str or Path, optional
        TOML or JSON file with ``columns``, ``family`` and ``units``, to keep beside the data. What
        is given here as an argument wins over the file, name by name.

    Returns
    -------
    xarray.Dataset
        As from `as_runs`; notes say what was odd about the file.

    Raises
    ------
    DataError
        If the file is not there, cannot be read, or its rows have problems.
    """
    kept = read_mapping(mapping)
    source = read_source(Path(path))
    return build_runs(
        source.table,
        {**kept.columns, **(columns or {})},
        family=family if family is not None else kept.family,
        units={**kept.units, **(units or {})},
        on_invalid=on_invalid,
        where=f"`{source.name}`",
        rows_note=" ".join(filter(None, (ROWS_NOTE, source.rows_note))),
        notes=source.notes,
    )


def read_source(path: Path) -> Source:
    """The columns of a file or folder, as they stand there."""
    if not path.exists():
        raise DataError(_not_there(path))
    if path.is_dir():
        return read_folder(path)
    if path.stat().st_size == 0:
        raise DataError(f"`{path.name}` is empty (0 bytes); at least one run was expected.")
    reader = _READERS.get(_suffix(path))
    if reader is None:
        raise DataError(
            f"`{path.name}`: files that end in `{path.suffix or '(nothing)'}` are not understood. "
            f"Expected {listed(_READERS)} or a folder of records.\n"
            "Anything that pandas can read goes in with as_runs(frame)."
        )
    return reader(path)


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else "".join(suffixes[-1:])


def _not_there(path: Path) -> str:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    message = f"There is no file or folder `{path}`."
    if folder != path.parent:
        return f"{message} There is not even a folder `{path.parent}`, only `{folder}`."
    names = sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    stems = {name.split(".")[0]: name for name in names}
    close = [stems[stem] for stem in near_misses(path.name.split(".")[0], stems)]
    if close:
        return f"{message} Did you mean {' or '.join(f'`{each}`' for each in close)}?"
    known = [name for name in names if _suffix(Path(name)) in _READERS]
    return f"{message} Files in `{folder}` that can be read: {listed(known)}."
