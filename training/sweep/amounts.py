"""Numbers as people write them: ``2M`` tokens, ``5m`` of time, ``1.2e15`` FLOP."""

from __future__ import annotations

import math
import re
from typing import Any

from training.errors import SpecError

_THOUSANDS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\s*([0-9][0-9_,]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def count(value: Any, what: str = "a count") -> int:
    """A whole number from ``2_000_000``, ``"2M"``, ``"2e6"`` or ``2e6``.

    Examples
    --------
    >>> count("131k"), count(2e6)
    (131000, 2000000)
    """
    return round(_amount(value, _THOUSANDS, what, "`500k`, `2M` or `1.5B`"))


def seconds(value: Any, what: str = "a time") -> float:
    """Seconds from ``"5m"``, ``"90s"``, ``"1.5h"`` or a number of seconds."""
    return _amount(value, _SECONDS, what, "`90s`, `5m` or `1.5h`")


def short(number: float, digits: int = 3) -> str:
    """``2.1M``: a count in few characters.

    Examples
    --------
    >>> short(2_097_152), short(5_000), short(12)
    ('2.1M', '5k', '12')
    """
    for letter, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size * (1 - 0.5 * 10**-digits):
            return f"{number / size:.{digits}g}{letter}"
    return f"{number:.{digits}g}"


def clock(time_s: float | None) -> str:
    """``3.2s``, ``0:35``, ``1:02:03``, or a dash where unknown."""
    if time_s is None or not math.isfinite(time_s):
        return "-"
    if 0 < time_s < 9.95:
        return f"{time_s:.1f}s"
    whole = max(0, round(time_s))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _amount(value: Any, units: dict[str, float], what: str, examples: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise SpecError(f"`{value}` is no {what.removeprefix('a ')}; write {examples}.")
    return float(re.sub("[_,]", "", match[1])) * units[match[2]]
