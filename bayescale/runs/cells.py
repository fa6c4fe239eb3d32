"""Cells to numbers: ``"1.3B"``, ``"12,000"``, ``" 2.5e20"``, and what is no number at all.

People keep sizes as text. Reading it is safe for counts; a loss of ``"2,345"`` could be 2.345 or
2345, so fields that are not counts must be plain numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "none", "null", "-", "--", "<na>", "nat", "?"})

SUFFIXES = {
    **{"": 1.0, "k": 1e3, "thousand": 1e3, "m": 1e6, "mm": 1e6, "mn": 1e6, "million": 1e6},
    **{"b": 1e9, "bn": 1e9, "g": 1e9, "billion": 1e9, "t": 1e12, "tn": 1e12, "trillion": 1e12},
    **{"p": 1e15, "e": 1e18, "z": 1e21, "y": 1e24},
}
_ONLY_WITH_A_UNIT = ("p", "e", "z", "y")  # "3 EFLOP" is clear, "3e" is a number cut short
UNIT_WORDS = r"(?:params?|parameters?|tokens?|tok|flops?|samples?|images?|sequences?|steps?)"
_COUNT = re.compile(
    r"(?P<number>[+-]?(?:\d{1,3}(?:[, ]\d{3})+(?:\.\d*)?|\d+(?:_\d+)+|\d+\.?\d*|\.\d+)"
    r"(?:e[+-]?\d+)?)\s*(?P<suffix>[a-z]*?)\s*(?P<unit>" + UNIT_WORDS + r"?)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Numbers:
    """A column of cells, read.

    Parameters
    ----------
    values : ndarray of float64, (row,)
        NaN where missing or unreadable.
    unreadable : ndarray of bool, (row,)
        Cells that hold something which is no number.
    written : ndarray of bool, (row,)
        Cells that were text and could be read.
    suffixed : ndarray of bool, (row,)
        Those among them with a suffix such as ``B``.
    """

    values: np.ndarray
    unreadable: np.ndarray
    written: np.ndarray
    suffixed: np.ndarray


def read_numbers(cells: np.ndarray, *, count: bool) -> Numbers:
    """Read a column of cells as numbers.

    Parameters
    ----------
    cells : ndarray, (row,)
        Floats, or objects of any kind.
    count : bool
        Whether suffixes and thousands separators are understood.

    Examples
    --------
    >>> read_numbers(np.array(["1.3B", 5, None, "big"], dtype=object), count=True).values
    array([1.3e+09, 5.0e+00,     nan,     nan])
    """
    if cells.dtype.kind in "iuf":
        nothing = np.zeros(cells.shape, dtype=bool)
        return Numbers(cells.astype(np.float64), nothing, nothing, nothing)
    known: dict[Any, tuple[float, str]] = {}
    read = [_cached(cell, known, count) for cell in cells.tolist()]
    values = np.array([value for value, _ in read], dtype=np.float64)
    kinds = np.array([kind for _, kind in read], dtype="U10")
    suffixed = kinds == "suffixed"
    return Numbers(values, kinds == "unreadable", suffixed | (kinds == "text"), suffixed)


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, NA, or a word for it."""
    if cell is None:
        return True
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING_WORDS
    try:
        return bool(cell != cell)
    except (TypeError, ValueError):  # pandas.NA refuses to be a bool, arrays as well
        return type(cell).__name__ in ("NAType", "NaTType")


def _cached(cell: Any, known: dict[Any, tuple[float, str]], count: bool) -> tuple[float, str]:
    if not isinstance(cell, str):
        return _read(cell, count)
    if cell not in known:
        known[cell] = _read(cell, count)
    return known[cell]


def _read(cell: Any, count: bool) -> tuple[float, str]:
    """The value of one cell and what kind of cell it was."""
    if isinstance(cell, str):
        return _read_text(cell, count)
    if is_missing(cell):
        return math.nan, "missing"
    if isinstance(cell, bool | np.bool_):
        return math.nan, "unreadable"
    try:
        return float(cell), "number"
    except (TypeError, ValueError, OverflowError):
        return math.nan, "unreadable"


def _read_text(cell: str, count: bool) -> tuple[float, str]:
    text = cell.strip()
    if text.lower() in MISSING_WORDS:
        return math.nan, "missing"
    try:
        return float(text), "text"
    except ValueError:
        pass
    if count and (found := _COUNT.fullmatch(re.sub(r"\s*[x×*]\s*10(?:\^|\*\*)", "e", text))):
        suffix = found["suffix"].lower()
        factor = SUFFIXES.get(suffix)
        if factor is not None and (found["unit"] or suffix not in _ONLY_WITH_A_UNIT):
            plain = re.sub(r"[, _]", "", found["number"])
            return float(plain) * factor, "suffixed" if suffix else "text"
    return math.nan, "unreadable"
