"""What every reading must satisfy before a law may see it.

Each rule looks at whole columns and returns `Problem` objects, with a reason under which the rows
may be set aside. Rules about the unit of a whole column have no reason: setting rows aside cannot
repair them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .cells import Numbers, is_missing
from .problems import Problem, listed
from .schema import FIELDS, STATUSES, Field, status_of

Columns = Mapping[str, np.ndarray]

_SHORT = {"N": "parameters", "T": "tokens", "U": "unique tokens", "flops": "FLOP"}


@dataclass(frozen=True)
class Column:
    """One field as it stands in the table: our name, theirs, the cells, and the numbers in them."""

    name: str
    theirs: str
    cells: np.ndarray
    numbers: Numbers | None = None
    rescaled: bool = False

    @property
    def shown(self) -> str:
        """How messages call it."""
        same = self.name == self.theirs
        return f"`{self.name}`" if same else f"`{self.name}` (column `{self.theirs}`)"

    @property
    def short(self) -> str:
        """How a reason calls it."""
        return _SHORT.get(self.name, self.name)

    @property
    def values(self) -> np.ndarray:
        """The numbers, NaN where there are none."""
        assert self.numbers is not None
        return self.numbers.values

    def rows(self, mask: np.ndarray) -> dict[str, Any]:
        """Rows and cells where `mask` holds, as arguments of `Problem`."""
        rows = np.flatnonzero(mask).tolist()
        return {"rows": rows, "values": [_plain(self.cells[row]) for row in rows]}


def unreadable(column: Column) -> Iterator[Problem]:
    """Cells that hold text where a number was expected."""
    numbers = column.numbers
    assert numbers is not None
    if numbers.unreadable.any():
        texts = {str(cell) for cell in column.cells[numbers.unreadable]}
        yield Problem(
            column.shown,
            f"{_cells(numbers.unreadable)} no number.",
            _how_to_write(column.name, texts),
            **column.rows(numbers.unreadable),
            reason=f"{column.short} is not a number",
        )
    if column.rescaled and numbers.suffixed.any():
        yield Problem(
            column.shown,
            "a unit was given for the column, and cells carry one as well.",
            f'Drop "{column.name}" from `units`, or the suffixes from the cells.',
            **column.rows(numbers.suffixed),
        )


def out_of_support(column: Column, field: Field, excused: np.ndarray) -> Iterator[Problem]:
    """Infinite, negative or zero values of a known field."""
    values = column.values
    infinite = np.isinf(values) & ~excused
    if infinite.any():
        yield Problem(
            column.shown,
            f"{_cells(infinite)} infinite.",
            _blew_up(column.name),
            **column.rows(infinite),
            reason=f"infinite {column.short}",
        )
    negative = (values < 0) & ~excused & ~infinite & (field.support != "real")
    if negative.any():
        yield Problem(
            column.shown,
            f"{_cells(negative)} negative.",
            _why_positive(column.name),
            **column.rows(negative),
            reason=f"negative {column.short}",
        )
    zero = (values == 0) & ~excused & (field.support == "positive")
    if zero.any():
        yield Problem(
            column.shown,
            f"{_cells(zero)} zero; a number above zero was expected.",
            _why_positive(column.name),
            **column.rows(zero),
            reason=f"zero {column.short}",
        )


def missing(column: Column, excused: np.ndarray, answered: np.ndarray) -> Iterator[Problem]:
    """Empty cells of N, T and the loss; `answered` marks rows that carry another metric."""
    numbers = column.numbers
    assert numbers is not None
    empty = np.isnan(numbers.values) & ~numbers.unreadable & ~excused
    if column.name == "loss":
        empty &= ~answered
    if not empty.any():
        return
    everywhere = empty.all()
    problem = "every cell is empty." if everywhere else f"{_cells(empty)} empty or NaN."
    hint = _blew_up("loss") if column.name == "loss" else "Fill them in, or drop the rows."
    if everywhere:
        hint = "Name the column that holds it, or drop this one from `columns`."
    yield Problem(column.shown, problem, hint, **column.rows(empty), reason=f"no {column.short}")


def wrong_unit(columns: Mapping[str, Column], excused: np.ndarray) -> Iterator[Problem]:
    """Columns that must be in another unit, judged by their size; units given are believed."""
    N, T, flops = (_usable(columns.get(name), excused) for name in ("N", "T", "flops"))
    if N is not None and not columns["N"].rescaled and np.nanmax(N) < 1000:
        yield _unit_problem(columns["N"], N, "parameters", "models have thousands at least", "B")
    elif N is not None and not columns["N"].rescaled and (N < 1000).any():
        yield Problem(
            columns["N"].shown,
            f"{_cells(N < 1000)} below 1,000 parameters, while others reach "
            f"{np.nanmax(N):.3g}: the units seem to be mixed.",
            "Write every row in parameters, or as text with its suffix: 1.3B, 300M.",
            **columns["N"].rows(N < 1000),
            reason="too few parameters to be in parameters",
        )
    large = N is None or np.nanmax(N) > 1e4
    if T is not None and large and not columns["T"].rescaled and np.nanmax(T) < 1e4:
        yield _unit_problem(columns["T"], T, "tokens", "training takes far more", "B")
    if N is None or T is None or flops is None or columns["flops"].rescaled:
        return
    with np.errstate(all="ignore"):
        ratio = float(np.nanmedian(flops / (6.0 * N * T)))
    if ratio < 1e-2:
        yield Problem(
            columns["flops"].shown,
            f"the median is {ratio:.1e} of 6·N·T, so it cannot be in FLOP.",
            'Say the unit, for example units={"flops": "PFLOP"} or units={"flops": "PF-days"},\n'
            'or units={"flops": 1} if it is right as it is.',
        )


def unknown_status(column: Column) -> tuple[np.ndarray, list[Problem]]:
    """Our status for every row ("" where the cell is empty), and the words that say nothing."""
    words = ["" if is_missing(cell) and cell != "nan" else str(cell) for cell in column.cells]
    known = {word: status_of(word) if word else "" for word in set(words)}
    bad = np.array([known[word] is None for word in words], dtype=bool)
    status = np.array([known[word] or "" for word in words], dtype="U8")
    if not bad.any():
        return status, []
    problem = Problem(
        column.shown,
        f"{_cells(bad)} no status that is known here.",
        f"Expected {', '.join(STATUSES)}; completed, finished, running, crashed, failed, preempted "
        "and nan are understood.",
        **column.rows(bad),
        reason="unknown status",
    )
    return status, [problem]


def repeated(
    columns: Columns, axes: list[str], excused: np.ndarray, *, has_ids: bool
) -> Iterator[Problem]:
    """Rows that occur twice, and readings of one run at one place that disagree."""
    frame = pd.DataFrame({name: values for name, values in columns.items()})
    if not has_ids:
        frame = frame.drop(columns="run")
    again = frame.duplicated().to_numpy() & ~excused
    if again.any():
        first = frame.groupby(list(frame.columns), dropna=False, sort=False).ngroup().to_numpy()
        twin = {code: row for row, code in reversed(list(enumerate(first.tolist())))}
        rows = np.flatnonzero(again).tolist()
        yield Problem(
            "rows",
            f"{_cells(again, 'row')} an exact copy of an earlier one, the loss included.",
            "Drop the copies. If they are replicates, give each its own `run` id or `seed`.",
            rows=rows,
            values=[f"copy of row {twin[first[row]]}" for row in rows],
            reason="exact copy of another row",
        )
    if not has_ids:
        return
    place = ["run", *axes]
    clash = frame[place].duplicated().to_numpy() & ~again & ~excused
    if clash.any():
        where = "`run` and " + listed(axes) if axes else "`run`, and nothing that orders them"
        rows = np.flatnonzero(clash).tolist()
        yield Problem(
            "rows",
            f"{_cells(clash, 'row')} another reading with the same {where}.",
            "Give replicates ids of their own. Where a resumed run wrote the same step twice, keep"
            " one.\nReadings of one run need `T`, `step` or `samples` to tell them apart.",
            rows=rows,
            values=[str(frame["run"].iloc[row]) for row in rows],
            reason="second reading at the same place",
        )


def changes_within_run(column: Column, values: np.ndarray, run: np.ndarray) -> Iterator[Problem]:
    """Rows in which a run disagrees with its own first row about what it is."""
    codes, first = first_rows(run)
    reference = values[first][codes]
    if values.dtype.kind == "f":
        differs = ~(np.isclose(values, reference, rtol=1e-6, atol=0) | np.isnan(values))
        differs &= ~np.isnan(reference)
    else:
        differs = values != reference
    if differs.any():
        rows = np.flatnonzero(differs).tolist()
        runs = sorted({str(run[row]) for row in rows})
        yield Problem(
            column.shown,
            f"it changes within {'run' if len(runs) == 1 else 'runs'} {listed(runs, shown=3)}; "
            "rows that share a `run` are checkpoints of one run.",
            "Give runs that differ ids of their own.",
            rows=rows,
            values=[_plain(column.cells[row]) for row in rows],
        )


def first_rows(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of labels in the order in which they appear, and the row where each appears first."""
    codes, unique = pd.factorize(labels)
    first = np.full(len(unique), len(labels))
    np.minimum.at(first, codes, np.arange(len(labels)))
    return codes, first


def _usable(column: Column | None, excused: np.ndarray) -> np.ndarray | None:
    """Positive finite values, NaN elsewhere; None where there is none."""
    if column is None:
        return None
    good = np.isfinite(column.values) & (column.values > 0) & ~excused
    return np.where(good, column.values, np.nan) if good.any() else None


def _unit_problem(column: Column, values: np.ndarray, unit: str, why: str, letter: str) -> Problem:
    low, high = np.nanmin(values), np.nanmax(values)
    return Problem(
        column.shown,
        f"values run from {low:g} to {high:g}; in {unit} that is too little ({why}).",
        f'If they are in billions, write units={{"{column.name}": "{letter}"}}; in millions, '
        f'units={{"{column.name}": "M"}}.\n'
        f'If they are {unit} indeed, say so with units={{"{column.name}": 1}}.',
    )


def _cells(mask: np.ndarray, thing: str = "cell") -> str:
    count = int(mask.sum())
    verb = {"cell": ("is", "are"), "row": ("is", "are")}[thing]
    return f"{count:,} {thing}{'' if count == 1 else 's'} {verb[count != 1]}"


def _plain(cell: object) -> object:
    return cell.item() if isinstance(cell, np.generic) else cell


def _how_to_write(name: str, texts: set[str]) -> str:
    words = {text.strip().lower() for text in texts}
    if any(status_of(word) in ("diverged", "censored") for word in words):
        return _blew_up(name)
    if any("," in text for text in texts) and not (name in FIELDS and FIELDS[name].count):
        return "Write a decimal point instead of a comma."
    if name in FIELDS and not FIELDS[name].count:
        return "Write plain numbers: 2.91, 3e-4. Leave a cell empty where there is no value."
    return "Write numbers, or text such as 1.3B, 300M, 2e10, 12,000."


def _blew_up(name: str) -> str:
    if name not in FIELDS or FIELDS[name].role != "response":
        return "Correct the cells, or drop the rows."
    return (
        "If these runs blew up or are unfinished, keep them and say so in a column of statuses:\n"
        'columns={..., "status": "your column"} with "diverged" or "censored" in those rows.'
    )


def _why_positive(name: str) -> str:
    if name == "loss":
        return (
            "A loss here is a cross-entropy or an error, above zero. A likelihood that can be\n"
            'negative is `nll` or `vlb`: columns={"nll": ...}.'
        )
    if name == "T":
        return "A reading before training says nothing about a law. Drop it."
    return "Correct the cells, or leave them empty."
