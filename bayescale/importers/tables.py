"""Comma- and tab-separated text, and Parquet."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd

from bayescale.errors import DataError
from bayescale.importers.source import Source
from bayescale.runs.frames import as_table
from bayescale.runs.problems import listed


def read_csv(path: Path) -> Source:
    """Columns of a CSV or TSV file. A file with semicolons is read as such, and a note says so."""
    text = read_text(path)
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator, notes = _separator(path, header)
    names = _header_names(path, header, separator)
    try:
        frame = pd.read_csv(io.StringIO(text), sep=separator)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"`{path.name}` cannot be read as a table: {_plain(error)}.\n"
            f"Every line needs as many cells as the header, which has {len(names)}; "
            "cells that contain the separator need quotes."
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise DataError(
            f"`{path.name}`: the lines have more cells than the header, which has {len(names)}: "
            f"{listed(names)}.\nName every column, or remove a separator at the end of each line."
        )
    return Source(path.name, as_table(frame), notes, "Row 0 is the first line below the header.")


def read_parquet(path: Path) -> Source:
    """Columns of a Parquet file."""
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"`{path.name}` is no Parquet file that can be read: {error}.") from error
    return Source(path.name, as_table(frame))


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, unpacked if its name ends in ``.gz``."""
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"`{path.name}` is not UTF-8 text: byte {raw[error.start]:#04x} in line {line}.\n"
            "Save it as UTF-8, or read it with pandas.read_csv(..., encoding=...) and as_runs."
        ) from error
    except (OSError, EOFError) as error:
        raise DataError(f"`{path.name}` cannot be unpacked: {error}.") from error


def _separator(path: Path, header: str) -> tuple[str, tuple[str, ...]]:
    if ".tsv" in path.suffixes:
        return "\t", ()
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in header and "," not in header:
            return separator, (f"Cells are separated by {name}.",)
    return ",", ()


def _header_names(path: Path, header: str, separator: str) -> list[str]:
    """Column names; pandas would rename a second `loss` to `loss.1` and tell nobody."""
    names = [name.strip().strip('"') for name in header.split(separator)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice and '"' not in header:
        raise DataError(
            f"`{path.name}`: column names must be unique, but {listed(twice)} occurs more than "
            "once. Rename or remove the spare ones."
        )
    return names


def _plain(error: Exception) -> str:
    return str(error).removeprefix("Error tokenizing data. C error: ").strip().rstrip(".")
