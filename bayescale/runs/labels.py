"""Cells to text, for ids and names, and columns that are kept as they came."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from bayescale.runs.cells import is_missing, read_numbers


def numbered(rows: int, first: int = 0) -> np.ndarray:
    """Ids for runs that came without: ``run-0000`` and so on.

    Examples
    --------
    >>> numbered(2).tolist()
    ['run-0000', 'run-0001']
    """
    width = max(4, len(str(first + rows - 1)))
    return np.array([f"run-{number:0{width}d}" for number in range(first, first + rows)])


def as_text(cells: np.ndarray) -> np.ndarray:
    """Cells as text: "" where missing, whole numbers without a decimal point."""
    if cells.dtype.kind == "U":
        return cells
    known: dict[Any, str] = {}
    return np.array([_written(cell, known) for cell in cells.tolist()], dtype=str)


def as_found(cells: np.ndarray) -> np.ndarray:
    """A column that nobody asked for: numbers if all of it are numbers, else text."""
    if cells.dtype.kind in "fb":
        return cells
    plain = [cell for cell in cells.tolist() if cell is not None and not _is_nan(cell)]
    if plain and all(type(cell) is bool for cell in plain) and len(plain) == len(cells):
        return cells.astype(bool)
    if all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in plain):
        return read_numbers(cells, count=False).values
    return as_text(cells)


def _is_nan(cell: Any) -> bool:
    return not isinstance(cell, str) and is_missing(cell)


def is_empty(cells: np.ndarray) -> bool:
    """Whether a column holds nothing at all."""
    if cells.dtype.kind == "f":
        return bool(np.isnan(cells).all())
    return cells.dtype.kind == "O" and all(is_missing(cell) for cell in cells.tolist())


def _written(cell: Any, known: dict[Any, str]) -> str:
    if isinstance(cell, str):
        return cell.strip()
    if is_missing(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return json.dumps(cell, default=str) if isinstance(cell, list | tuple | dict) else str(cell)
