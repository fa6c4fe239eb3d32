"""From named columns to checked runs: read cells, apply every rule, say what became of each row."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from bayescale.errors import DataError, DataWarning, SpecError
from bayescale.runs.cells import read_numbers
from bayescale.runs.columns import Mapped, checked_columns, map_columns
from bayescale.runs.frames import Table
from bayescale.runs.labels import as_found, as_text, is_empty, numbered
from bayescale.runs.layout import AXES, arrange
from bayescale.runs.problems import Problem, listed, plural, raise_problems
from bayescale.runs.units import factors
from bayescale.runs.validation import (
    Column,
    changes_within_run,
    empty_labels,
    missing,
    out_of_support,
    repeated,
    unknown_status,
    unreadable,
    wrong_unit,
)
from bayescale.schema import FIELDS, SCHEMA_VERSION

OnInvalid = Literal["raise", "set_aside"]

NO_LOSS = "no loss"
FLOPS_FILLED = "given, 6NT where missing"
ROWS_NOTE = "Rows are counted from 0."

_SET_ASIDE = "set aside: "
_RUN_LEVEL_FACTS = ("N", "family", "trajectory")


def build_runs(
    table: Table,
    columns: Mapping[str, str | None] | None,
    *,
    family: str | None,
    units: Mapping[str, str | float] | None,
    on_invalid: OnInvalid,
    where: str,
    rows_note: str = ROWS_NOTE,
    notes: tuple[str, ...] = (),
) -> xr.Dataset:
    """`as_runs` for a table that was read already; importers say `where` it came from."""
    if on_invalid not in ("raise", "set_aside"):
        raise SpecError(f'`on_invalid` is "raise" or "set_aside", not {on_invalid!r}.')
    if not table.rows:
        have = f" (columns {listed(table.columns)})" if table.columns else ""
        raise DataError(f"{where.capitalize()} has no rows{have}; at least one run was expected.")
    before = json.loads(table.attrs.get("columns", "{}"))  # these are Runs already
    own = {name: name for name in before if name in table.columns}
    columns = {**own, **checked_columns(columns)}
    table, empty = _without_empty_columns(table, {*columns.values(), family})
    found = map_columns(table.columns, columns, family, is_runs=bool(before))
    draft = Draft(table, found, factors(units, found))
    problems = [*found.problems, *draft.problems()]
    if any(not problem.reason for problem in problems) or (problems and on_invalid == "raise"):
        spot = f"{where} ({plural(table.rows, 'row')})"
        raise_problems(problems, where=spot, rows_note=rows_note)
    runs = arrange(draft.columns(problems))
    runs.attrs = _attrs(table, found, draft, empty, notes)
    _warn_about_batch_size(runs)
    return runs


class Draft:
    """The columns of one table on their way to Runs."""

    def __init__(self, table: Table, found: Mapped, factors: Mapping[str, float]) -> None:
        self.rows = table.rows
        self.notes: list[str] = []
        self.numbers: dict[str, Column] = {}
        self.texts: dict[str, Column] = {}
        self.kept = {name: as_found(table.columns[theirs]) for name, theirs in found.kept.items()}
        self.flops_source = table.attrs.get("flops_source")
        for name, theirs in found.taken.items():
            column = Column(name, theirs, table.columns[theirs], asked=name in found.asked)
            self._add(column, factors.get(name))
        self.run_ids = self._run_ids(table.attrs)
        self.status, self.status_problems = self._status()
        self.prior = self._prior()

    def _add(self, column: Column, factor: float | None) -> None:
        """Read one column as numbers or as text; scale it."""
        name, cells = column.name, column.cells
        if name in FIELDS and FIELDS[name].kind != "number":
            self.texts[name] = column
            return
        numbers = read_numbers(cells, count=name not in FIELDS or FIELDS[name].count)
        if name not in FIELDS and numbers.unreadable.any() and np.isnan(numbers.values).all():
            self.texts[name] = column  # a further input that is a label
            return
        if numbers.written.any():
            first = int(np.argmax(numbers.written))
            read = f'"{cells[first]}" as {numbers.values[first]:g}'
            self.notes.append(f"`{name}` was text and was read as numbers: {read}.")
        if factor is not None:
            np.multiply(numbers.values, factor, out=numbers.values)
            if factor != 1:
                self.notes.append(f"`{name}` was multiplied by {factor:g}, as asked by `units`.")
        self.numbers[name] = replace(column, numbers=numbers, rescaled=factor is not None)

    def _run_ids(self, attrs: Mapping[str, Any]) -> str:
        if "run" in self.texts:
            return attrs.get("run_ids", "given")
        if "trajectory" in self.texts:
            self.texts["run"] = self.texts.pop("trajectory")
            return "given"
        ids = numbered(self.rows).astype(object)
        self.texts["run"] = Column("run", "run", ids)
        return "numbered"

    def _status(self) -> tuple[np.ndarray, list[Problem]]:
        if "status" not in self.texts:
            return np.full(self.rows, "done"), []
        status, problems = unknown_status(self.texts["status"])
        return np.where(status == "", "done", status), problems

    def _prior(self) -> np.ndarray:
        """Reasons that the table brought along, other than those found again here."""
        reason = np.full(self.rows, "", dtype=object)
        if "reason" in self.texts:
            reason = as_text(self.texts["reason"].cells).astype(object)
            reason[np.isin(reason, ("diverged", "censored", NO_LOSS))] = ""
        if "fitted" in self.texts and "reason" not in self.texts:
            out = np.array([_is_false(cell) for cell in self.texts["fitted"].cells])
            reason[out] = _SET_ASIDE + "not to be fitted, says the table"
        return reason

    def problems(self) -> list[Problem]:
        """All of them."""
        aside = self.prior != ""
        # Unfinished and diverged runs may lack anything but the text rules.
        excused = aside | (self.status != "done")
        answered = self._answered()
        found = without_ids = self._missing_ids()
        for column in self.numbers.values():
            found += unreadable(column)
            if column.name in FIELDS:
                found += out_of_support(column, FIELDS[column.name], excused)
            if column.name in ("N", "T", "loss"):
                found += missing(column, excused, answered)
        found += wrong_unit(self.numbers, excused)
        found += self.status_problems
        if not without_ids:
            found += self._row_problems(aside)
        return found

    def _missing_ids(self) -> list[Problem]:
        found = []
        for name in ("run", "family"):
            if name in self.texts:
                found += empty_labels(self.texts[name], as_text(self.texts[name].cells))
        return found

    def _answered(self) -> np.ndarray:
        """Rows that carry an answer other than the loss."""
        others = [
            np.isfinite(column.values)
            for name, column in self.numbers.items()
            if name != "loss" and (name not in FIELDS or FIELDS[name].role == "response")
        ]
        return np.logical_or.reduce(others) if others else np.zeros(self.rows, dtype=bool)

    def _row_problems(self, aside: np.ndarray) -> list[Problem]:
        values = self._values()
        axes = [name for name in AXES if name in self.numbers]
        found = list(repeated(values, axes, aside, has_ids=self.run_ids == "given"))
        if self.run_ids == "given":
            for name in _RUN_LEVEL_FACTS:
                if name in values:
                    column = self.numbers.get(name) or self.texts[name]
                    found += changes_within_run(column, values[name], values["run"])
        return found

    def _values(self) -> dict[str, np.ndarray]:
        names = [name for name in FIELDS if name in self.texts or name in self.numbers]
        names += [name for name in (*self.numbers, *self.texts) if name not in FIELDS]
        values = {n: self.numbers[n].values if n in self.numbers else as_text(self.texts[n].cells)
                  for n in names if n not in ("status", "fitted", "reason")}  # fmt: skip
        return values | self.kept

    def columns(self, problems: list[Problem]) -> dict[str, np.ndarray]:
        """Final columns, with the reason of every reading that is not fitted."""
        values = self._values()
        values.setdefault("family", np.full(self.rows, "all"))
        values["status"] = self.status
        values |= self._flops(values)
        reason = np.where(
            self.prior != "", self.prior, np.where(self.status == "done", "", self.status)
        )
        reason = reason.astype(object)
        for problem in problems:
            rows = np.asarray(problem.rows)
            reason[rows[reason[rows] == ""]] = _SET_ASIDE + problem.reason
        if "loss" in values:
            reason[(reason == "") & ~np.isfinite(values["loss"])] = NO_LOSS
        values["fitted"] = reason == ""
        values["reason"] = reason.astype(str)
        order = [*(n for n in FIELDS if n in values), *(n for n in values if n not in FIELDS)]
        return {name: values[name] for name in order}

    def _flops(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if "N" not in values or "T" not in values:
            if "flops" in values:
                self.flops_source = "given"
            return {}
        six = 6.0 * values["N"] * values["T"]
        if "flops" not in values or self.flops_source == "6NT":
            self.flops_source = "6NT"
            return {"flops": six}
        lacking = np.isnan(values["flops"]) & np.isfinite(six)
        if lacking.any():
            self.flops_source = FLOPS_FILLED
            self.notes.append(
                f"`flops` is 6·N·T in {plural(int(lacking.sum()), 'reading')} that gave none."
            )
        self.flops_source = self.flops_source or "given"
        return {"flops": np.where(lacking, six, values["flops"])}


def notes_of(runs: xr.Dataset) -> list[str]:
    """Sentences about what was done to the table on its way in."""
    return json.loads(runs.attrs.get("notes", "[]"))


def _is_false(cell: Any) -> bool:
    return str(cell).strip().lower() in ("false", "0", "0.0")


def _without_empty_columns(table: Table, asked: set[str | None]) -> tuple[Table, list[str]]:
    """The table without columns that hold nothing, unless the caller named them."""
    empty = [n for n, cells in table.columns.items() if n not in asked and is_empty(cells)]
    full = {name: cells for name, cells in table.columns.items() if name not in empty}
    return Table(full or table.columns, attrs=table.attrs), empty if full else []


def _attrs(
    table: Table, found: Mapped, draft: Draft, empty: list[str], notes: tuple[str, ...]
) -> dict[str, Any]:
    """Attributes of the dataset; what an earlier conversion noted stays."""
    said = [*json.loads(table.attrs.get("notes", "[]")), *notes, *draft.notes]
    if empty and "notes" not in table.attrs:
        said.append(f"Columns without a single value were left out: {listed(empty)}.")
    attrs = {
        **table.attrs,
        "schema_version": SCHEMA_VERSION,
        "columns": table.attrs.get("columns", json.dumps(found.taken)),
        "notes": json.dumps(list(dict.fromkeys(said)), ensure_ascii=False),
        "run_ids": draft.run_ids,
    }
    return attrs | ({"flops_source": draft.flops_source} if draft.flops_source else {})


def _warn_about_batch_size(runs: xr.Dataset) -> None:
    """A batch of 512 beside 1e11 tokens is 512 sequences: two hundred million steps are no plan."""
    if "batch_size" not in runs or "T" not in runs:
        return
    with np.errstate(all="ignore"):
        steps = (runs["T"] / runs["batch_size"]).where(runs["fitted"]).median().item()
    if steps > 1e7:
        largest = float(runs["batch_size"].max())
        warnings.warn(
            f"`batch_size` is in tokens here, and yours (at most {largest:g}) would mean "
            f"{steps:.1e} optimiser steps in the median run: it looks like sequences. Give the "
            'tokens in a sequence, units={"batch_size": 2048}, or map it to `batch_samples`.',
            DataWarning,
            skip_file_prefixes=(str(Path(__file__).parent),),
        )
