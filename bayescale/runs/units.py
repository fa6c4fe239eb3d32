"""Units of columns: what to multiply by so that numbers are in ours."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from typing import Any

from bayescale.errors import SpecError
from bayescale.runs.cells import SUFFIXES, UNIT_WORDS
from bayescale.runs.columns import Mapped
from bayescale.runs.problems import listed, near_misses
from bayescale.schema import FIELDS

_UNITS = {
    **SUFFIXES,
    **{"bits": math.log(2.0), "nats": 1.0},
    **{"seconds": 1 / 3600, "s": 1 / 3600, "minutes": 1 / 60, "hours": 1.0, "h": 1.0, "days": 24.0},
    **dict.fromkeys(("pf-days", "pflop-days", "pflops-days", "pflop/s-days"), 8.64e19),
}
_TEXTS = {name for name, field in FIELDS.items() if field.kind != "number"}


def factors(units: Any, found: Mapped) -> dict[str, float]:
    """The multiplier of each column for which a unit was given.

    Raises
    ------
    SpecError
        If a name is no column of numbers, or a unit is not known.
    """
    if units is None:
        return {}
    if not isinstance(units, Mapping):
        raise SpecError(
            'A mapping was expected for `units`, for example units={"T": "B"} for billions; '
            f"it is {units!r:.60}."
        )
    found_factors = {}
    for name, unit in units.items():
        is_number = name not in FIELDS or FIELDS[name].kind == "number"
        if name not in {*found.taken, *found.asked} or not is_number:
            close = near_misses(str(name), found.taken)
            raise SpecError(
                f"`units` names `{name}`, which is no column of numbers here"
                + (f"; did you mean `{close[0]}`" if close else "")
                + f". It takes our names: {listed(n for n in found.taken if n not in _TEXTS)}."
            )
        factor = multiplier(unit)
        if factor is None:
            raise SpecError(
                f"The unit {unit!r} of `{name}` is not known. Write a number to multiply by, or "
                '"K", "M", "B", "T"; "PFLOP", "EFLOP", "PF-days" for FLOP; "bits" for a loss.'
            )
        found_factors[name] = factor
    return found_factors


def multiplier(unit: str | float) -> float | None:
    """The factor that turns a number written in `unit` into ours; None if `unit` is not known.

    Examples
    --------
    >>> multiplier("B"), multiplier(2048), multiplier("furlong")
    (1000000000.0, 2048.0, None)
    """
    if isinstance(unit, str):
        plain = unit.strip().lower()
        stripped = re.sub(rf"\s*{UNIT_WORDS}$", "", plain)
        return _UNITS.get(plain, _UNITS.get(stripped))
    good = isinstance(unit, numbers.Real) and not isinstance(unit, bool)
    return float(unit) if good and math.isfinite(unit) and unit > 0 else None
