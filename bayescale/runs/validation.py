"""What every reading must satisfy before a law may see it.

Each rule looks at whole columns and returns `Problem` objects, with a reason under which the rows
may be set aside. Rules about the unit of a whole column have no reason: setting rows aside cannot
repair them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayescale.runs.cells import Numbers, is_missing
from bayescale.runs.problems import Problem, Words, listed, plural
from bayescale.schema import FIELDS, STATUSES, Field, status_of

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
    asked: bool = True

    @property
    def about(self) -> str:
        """What messages add to its name."""
        return "" if self.name == self.theirs else f"column `{self.theirs}`"

    @property
    def short(self) -> str:
        """How a reason calls it."""
        return _SHORT.get(self.name, self.name)

    @property
    def values(self) -> np.ndarray:
        """The numbers, NaN where there are none."""
        assert self.numbers is not None
        return self.numbers.values

    def problem(
        self, problem: str, hint: str, mask: np.ndarray | None = None, *, reason: str = ""
    ) -> Problem:
        """A problem of this column, in the rows where `mask` holds."""
        rows = [] if mask is None else np.flatnonzero(mask).tolist()
        values = [_plain(self.cells[row]) for row in rows]
        return Problem(self.name, problem, hint, rows, values, reason=reason, about=self.about)


def unreadable(column: Column) -> Iterator[Problem]:
    """Cells that hold text where a number was expected."""
    numbers = column.numbers
    assert numbers is not None
    bad = numbers.unreadable
    if bad.any():
        hint = _how_to_write(column.name, {str(cell) for cell in column.cells[bad]})
        if not column.asked:
            none = f'columns={{"{column.name}": None}}'
            hint += f"\nThe column was taken because of its name; {none} leaves it as it is."
        reason = f"{column.short} is not a number"
        text = f"{_cells(bad)} not a number." if bad.sum() == 1 else f"{_cells(bad)} not numbers."
        yield column.problem(text, hint, bad, reason=reason)
    if column.rescaled and numbers.suffixed.any():
        yield column.problem(
            "a unit was given for the column, and cells carry one as well.",
            f'Drop "{column.name}" from `units`, or the suffixes from the cells.',
            numbers.suffixed,
        )


def out_of_support(column: Column, field: Field, excused: np.ndarray) -> Iterator[Problem]:
    """Infinite, negative or zero values of a known field."""
    values, name = column.values, column.name
    infinite = np.isinf(values) & ~excused
    negative = (values < 0) & ~excused & ~infinite & (field.support != "real")
    zero = (values == 0) & ~excused & (field.support == "positive")
    for word, mask, hint in (
        ("infinite", infinite, _blew_up(name)),
        ("negative", negative, _why_positive(name, zero=False)),
        ("zero", zero, _why_positive(name, zero=True)),
    ):
        if mask.any():
            expected = "" if word == "infinite" else f"; {_EXPECTED[field.support]} was expected"
            reason = f"{word} {column.short}"
            yield column.problem(f"{_cells(mask)} {word}{expected}.", hint, mask, reason=reason)


_EXPECTED = {"positive": "a number above zero", "nonnegative": "zero or more", "real": "a number"}


def missing(column: Column, excused: np.ndarray, answered: np.ndarray) -> Iterator[Problem]:
    """Empty cells of N, T and the loss; `answered` marks rows that carry another metric."""
    numbers = column.numbers
    assert numbers is not None
    empty = np.isnan(numbers.values) & ~numbers.unreadable & ~excused
    if column.name == "loss":
        empty &= ~answered
    if empty.all():
        hint = "Name the column that holds it, or drop this one from `columns`."
        yield column.problem("every cell is empty.", hint)
    elif empty.any():
        hint = _blew_up("loss") if column.name == "loss" else "Fill them in, or drop the rows."
        reason = f"no {column.short}"
        yield column.problem(f"{_cells(empty)} empty or NaN.", hint, empty, reason=reason)


def wrong_unit(columns: Mapping[str, Column], excused: np.ndarray) -> Iterator[Problem]:
    """Columns that must be in another unit, judged by their size; units given are believed."""
    N, T, flops = (_usable(columns.get(name), excused) for name in ("N", "T", "flops"))
    small_N = N is not None and np.nanmax(N) < 1000 and not columns["N"].rescaled
    if N is not None and small_N:
        yield _unit_problem(columns["N"], N, "parameters", "models have thousands at least")
    elif N is not None and not columns["N"].rescaled and (N < 1000).any():
        yield columns["N"].problem(
            f"{_cells(N < 1000)} below 1,000 parameters, while others reach "
            f"{np.nanmax(N):.3g}: the units seem to be mixed.",
            "Write every row in parameters, or as text with its suffix: 1.3B, 300M.",
            N < 1000,
            reason="too few parameters to be in parameters",
        )
    trained_a_lot = N is None or small_N or np.nanmax(N) > 1e4
    if T is not None and trained_a_lot and not columns["T"].rescaled and np.nanmax(T) < 1e4:
        yield _unit_problem(columns["T"], T, "tokens", "training takes far more")
    if N is None or T is None or flops is None or columns["flops"].rescaled or small_N:
        return
    with np.errstate(all="ignore"):
        ratio = float(np.nanmedian(flops / (6.0 * N * T)))
    if ratio < 1e-2:
        yield columns["flops"].problem(
            f"the median is {ratio:.1e} of 6·N·T, so it cannot be in FLOP.",
            'Say the unit, for example units={"flops": "PFLOP"} or units={"flops": "PF-days"},\n'
            'or units={"flops": 1} if it is right as it is.',
        )


def unknown_status(column: Column) -> tuple[np.ndarray, list[Problem]]:
    """Our status for every row ("" where the cell is empty), and the words that say nothing."""
    words = [_status_word(cell) for cell in column.cells.tolist()]
    known = {word: status_of(word) if word else "" for word in set(words)}
    bad = np.array([known[word] is None for word in words], dtype=bool)
    status = np.array([known[word] or "" for word in words], dtype="U8")
    if not bad.any():
        return status, []
    hint = (
        f"Expected {', '.join(STATUSES)}; completed, finished, running, crashed, failed, preempted"
        "\nand nan are understood."
    )
    text = f"{_cells(bad)} no status that is known here."
    return status, [column.problem(text, hint, bad, reason="unknown status")]


def _status_word(cell: object) -> str:
    if isinstance(cell, str) and cell.strip().lower() == "nan":
        return "nan"  # as text it is what became of the loss, not a missing cell
    return "" if is_missing(cell) else str(cell)


def empty_labels(column: Column, values: np.ndarray) -> Iterator[Problem]:
    """Rows without a run id or a family where others have one."""
    empty = values == ""
    if empty.any():
        hint = "Fill them in, or leave the column out."
        yield column.problem(f"{_cells(empty)} empty.", hint, empty)


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
        one = again.sum() == 1
        copies = "an exact copy of an earlier one" if one else "exact copies of earlier ones"
        rows = np.flatnonzero(again).tolist()
        yield Problem(
            None,
            f"{_cells(again, 'row')} {copies}, the loss included.",
            "Drop the copies. If they are replicates, give each its own `run` id or `seed`.",
            rows=rows,
            values=[Words(f"a copy of row {twin[first[row]]}") for row in rows],
            reason="exact copy of another row",
        )
    if not has_ids:
        return
    place = ["run", *axes]
    clash = frame[place].duplicated().to_numpy() & ~again & ~excused
    if clash.any():
        where = "`run` and " + listed(axes) if axes else "`run`, and nothing that orders them"
        what = "another reading" if clash.sum() == 1 else "further readings"
        rows = np.flatnonzero(clash).tolist()
        yield Problem(
            None,
            f"{_cells(clash, 'row')} {what} with the same {where}.",
            "Give replicates ids of their own. Where a resumed run wrote the same step twice, keep"
            " one.\nReadings of one run need `T`, `step` or `samples` to tell them apart.",
            rows=rows,
            values=[_place(frame, place, row) for row in rows],
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
        runs = sorted({str(each) for each in run[differs]})
        yield column.problem(
            f"it changes within {'run' if len(runs) == 1 else 'runs'} {listed(runs, shown=3)}.",
            "Rows that share a `run` are checkpoints of one run; "
            "give runs that differ ids of their own.",
            differs,
        )


def _place(frame: pd.DataFrame, names: list[str], row: int) -> Words:
    cells = (frame[name].iloc[row] for name in names)
    shown = (f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells)
    return Words(", ".join(f"{name} {cell}" for name, cell in zip(names, shown, strict=True)))


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


def _unit_problem(column: Column, values: np.ndarray, unit: str, why: str) -> Problem:
    name, low, high = column.name, np.nanmin(values), np.nanmax(values)
    span = f"every value is {low:g}" if low == high else f"values run from {low:g} to {high:g}"
    return column.problem(
        f"{span}; in {unit} that is too little ({why}).",
        f'If they are in billions, write units={{"{name}": "B"}}; in millions, '
        f'units={{"{name}": "M"}}.\nIf they are {unit} indeed, say so: units={{"{name}": 1}}.',
    )


def _cells(mask: np.ndarray, thing: str = "cell") -> str:
    count = int(mask.sum())
    return f"{plural(count, thing)} {'is' if count == 1 else 'are'}"


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
    return "Write numbers, or text such as 1.3B, 300M, 2e10."


def _blew_up(name: str) -> str:
    if name not in FIELDS or FIELDS[name].role != "response":
        return "Correct the cells, or drop the rows."
    return (
        "If these runs blew up or are unfinished, keep them and say so in a column of statuses:\n"
        'columns={..., "status": "your column"} with "diverged" or "censored" in those rows.'
    )


def _why_positive(name: str, *, zero: bool) -> str:
    if name == "loss":
        return (
            "A loss here is a cross-entropy or an error, above zero. A likelihood that can be\n"
            'negative is `nll` or `vlb`: columns={"nll": ...}.'
        )
    if name == "T" and zero:
        return "A reading before training says nothing about a law. Drop it."
    if name in ("N", "T"):
        return "Correct the cells, or drop the rows."
    return "Correct the cells, or leave them empty."
