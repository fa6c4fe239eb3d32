"""JSON records: one a line, one a file, or a folder of files.

A run that is still being written may end in half a line. That line is left out, with a note; a
broken line elsewhere is an error, since it means that something else went wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayescale.errors import DataError
from bayescale.importers.harness import (
    book_of,
    is_sweep,
    readings_of,
    records_of,
    with_book,
)
from bayescale.importers.source import Source
from bayescale.importers.tables import read_text
from bayescale.runs.frames import as_table
from bayescale.runs.problems import listed

_PATTERNS = ("*.json", "*.jsonl", "*.ndjson", "*/*.json", "*/*.jsonl", "*/*.ndjson")


def read_jsonl(path: Path) -> Source:
    """Columns of a file with one JSON record a line, or one JSON value with all of them."""
    records, notes = _records(path)
    if not records:
        raise DataError(f"`{path.name}` holds no record; at least one run was expected.")
    return Source(path.name, as_table(records), notes, "Row 0 is the first record.")


def read_folder(folder: Path) -> Source:
    """Columns of all records in a folder, or one folder deeper.

    A file that holds one run needs no ``run`` inside: the name of the file stands for it, or that
    of its folder if the file is called ``record``. A folder that the training harness wrote is read
    as `bayescale.importers.harness` says.
    """
    files = sorted(path for pattern in _PATTERNS for path in folder.glob(pattern))
    book = {}
    if is_sweep(folder):
        files, book = records_of(folder), book_of(folder)
    if not files:
        inside = sorted(path.name for path in folder.iterdir())
        raise DataError(
            f"The folder `{folder}` holds no record: files .json or .jsonl were expected in it, or "
            f"one folder deeper. It holds {listed(inside)}."
        )
    records: list[Mapping[str, Any]] = []
    notes: tuple[str, ...] = ()
    for path in files:
        found, said = _records(path, name=str(path.relative_to(folder)))
        for record in found:
            named = record if "run" in record else {"run": _id(path), **record}
            records += [with_book(each, book) for each in readings_of(named)]
        notes += said
    if not records:
        raise DataError(f"The {len(files)} files in `{folder}` hold no record at all.")
    rows_note = "Row 0 is the first record of the first file, by name."
    return Source(folder.name, as_table(records), notes, rows_note)


def _id(path: Path) -> str:
    stem = path.name.split(".")[0]
    return path.parent.name if stem in ("record", "records", "run", "summary") else stem


def _records(
    path: Path, *, name: str | None = None
) -> tuple[list[Mapping[str, Any]], tuple[str, ...]]:
    """Records of one file, and a note if the last one is torn."""
    name = name or path.name
    text = read_text(path)
    if ".json" in path.suffixes:
        return _whole(text, name), ()
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    records: list[Mapping[str, Any]] = []
    for number, line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == lines[-1][0] and not text.endswith("\n"):
                return records, (f"`{name}`: line {number}, the last, is torn and was left out.",)
            raise DataError(
                f"`{name}`, line {number}: no JSON ({error.msg} at column {error.colno}): "
                f"{line[:60]!r}. Repair or remove the line."
            ) from error
        records.append(_checked(record, f"`{name}`, line {number}"))
    return records, ()


def _whole(text: str, name: str) -> list[Mapping[str, Any]]:
    """A JSON file: one record, a list of them, or a mapping of columns to lists."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"`{name}`, line {error.lineno}: no JSON ({error.msg} at column {error.colno}). "
            "A file with one record a line is called .jsonl."
        ) from error
    if isinstance(value, list):
        return [_checked(record, f"`{name}`, record {n}") for n, record in enumerate(value)]
    record = _checked(value, f"`{name}`")
    if record and all(isinstance(cells, list) for cells in record.values()):
        lengths = {len(cells) for cells in record.values()}
        if len(lengths) == 1:
            return [
                dict(zip(record, row, strict=True)) for row in zip(*record.values(), strict=True)
            ]
    return [record]


def _checked(record: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(record, Mapping):
        raise DataError(f"{where}: a record (a JSON object) was expected, not {record!r:.60}.")
    return record
