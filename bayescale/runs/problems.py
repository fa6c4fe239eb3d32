"""What is wrong with a table: collected first, then said all at once.

Somebody who fixes a table wants the whole list, not one complaint a run. Every check adds
a `Problem`, and `raise_problems` turns them into one `DataError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from bayescale.errors import DataError

SHOWN = 4  # rows or names listed before "and 17 more"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is, and the way out.

    Parameters
    ----------
    column : str or None
        Our name of the column concerned; None if it is about rows or the whole table.
    problem : str
        What was expected and what was found; a full sentence.
    hint : str, default ""
        How to repair it; full sentences.
    rows : sequence of int, default ()
        Positions of the rows concerned, counted from 0.
    values : sequence, default ()
        What stands there.
    reason : str, default ""
        Words under which the rows may be set aside. Empty where that cannot repair it.
    about : str, default ""
        What to add to the name of the column: what it means, or what it is called in the table.
    """

    column: str | None
    problem: str
    hint: str = ""
    rows: Sequence[int] = ()
    values: Sequence[Any] = ()
    reason: str = ""
    about: str = ""


class Words(str):
    """A value that is not a cell but something said about a row; shown without quotes."""

    __slots__ = ()


def raise_problems(problems: Sequence[Problem], *, where: str, rows_note: str = "") -> NoReturn:
    """Raise one `DataError` that tells all of it.

    Parameters
    ----------
    problems : sequence of Problem
        At least one.
    where : str
        What was looked at: "this table (245 rows)".
    rows_note : str, default ""
        How to find a row by its number; added where a row is named.
    """
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{count} in {where}.", ""]
    for number, problem in enumerate(problems, start=1):
        lead = f"{number}. " if len(problems) > 1 else ""
        more = f" ({problem.about})" if problem.about else ""
        about = f"`{problem.column}`{more}: " if problem.column else ""
        lines.append(f"  {lead}{about}{problem.problem}")
        margin = "  " + " " * len(lead)
        if len(problem.rows):
            lines.append(margin + located(problem.rows, problem.values))
        lines += [margin + line for line in problem.hint.splitlines()]
    if rows_note and any(len(problem.rows) for problem in problems):
        lines += ["", rows_note]
    if any(problem.reason for problem in problems):
        lines += ["", _set_aside_advice(problems)]
    raise DataError("\n".join(lines), evidence=map(_evidence, problems))


def located(rows: Sequence[int], values: Sequence[Any] = ()) -> str:
    """The first few rows with their values, as text.

    Examples
    --------
    >>> located([3, 17], [0.0, -1.5])
    'row 3: 0, row 17: -1.5'
    >>> located(range(10))
    'rows 0, 1, 2, 3 and 6 more'
    """
    if len(values):
        shown = ", ".join(
            f"row {row}: {_shown(value)}"
            for row, value in zip(rows[:SHOWN], values[:SHOWN], strict=True)
        )
    else:
        shown = ("row " if len(rows) == 1 else "rows ") + ", ".join(map(str, rows[:SHOWN]))
    return shown + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")


def listed(names: Iterable[str], *, shown: int = 12) -> str:
    """Names in backticks, shortened when there are many.

    Examples
    --------
    >>> listed(["a", "b"])
    '`a`, `b`'
    """
    every = [f"`{name}`" for name in names]
    more = f" and {len(every) - shown} more" if len(every) > shown else ""
    return ", ".join(every[:shown]) + more if every else "none"


def near_misses(name: str, known: Iterable[str], *, n: int = 2) -> list[str]:
    """Known names that `name` may have been meant to be, the likeliest first.

    Examples
    --------
    >>> near_misses("Tokns", ["params", "tokens"])
    ['tokens']
    """
    lower: dict[str, str] = {}
    for each in known:
        lower.setdefault(each.lower(), each)
    close = difflib.get_close_matches(name.lower(), lower, n=n, cutoff=0.6)
    inside = [
        each for each in lower if len(name) > 2 and name.lower() in each and each not in close
    ]
    return [lower[each] for each in (close + inside)[:n]]


def plural(count: int, thing: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> plural(1, "row"), plural(12000, "row")
    ('1 row', '12,000 rows')
    """
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value) if isinstance(value, Words) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _set_aside_advice(problems: Sequence[Problem]) -> str:
    rows = {row for problem in problems if problem.reason for row in problem.rows}
    advice = (
        f'on_invalid="set_aside" keeps the {plural(len(rows), "bad row")} in the data, marked with '
        f"the reason, and leaves {'it' if len(rows) == 1 else 'them'} out of fits"
    )
    others = sum(not problem.reason for problem in problems)
    return f"{advice}." if not others else f"{advice}; the other problems need a repair first."


def _evidence(problem: Problem) -> dict[str, Any]:
    return {
        "column": problem.column,
        "rows": list(problem.rows),
        "values": list(problem.values),
        "problem": problem.problem,
        "hint": problem.hint,
    }
