"""Runs that were trained to a target, as rounded answers: which rows, which intervals, which cells.

A row is one run: its batch size and the tokens (samples, epochs, steps) at which it first met the
target. It may have been looked at only every so often, so an answer stands for the interval
``(answer - step, answer]``; a run that stopped, diverged or was cut off before the target stands
for ``(answer, infinity)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import DataError
from bayescale.runs import readings
from bayescale.runs.conversion import NO_LOSS

NEVER_REACHED = ("diverged", "censored")
EXACT = 1e-3  # an answer is never taken as more exact than this share of itself; chosen
LATTICE = 0.02  # differences are multiples of a step if they are so within this share of it; chosen
FEWEST_STEPS, MOST_STEPS = 1.0, 1e7  # of a training run; outside, units are mixed
SAME_UNIT = (("T", "batch_size"), ("samples", "batch_samples"))


@dataclass(frozen=True)
class Intervals:
    """The rows of a table that say something, ``(run,)`` each, as they stand in ``flat``.

    Attributes
    ----------
    flat : xarray.Dataset, (reading,)
    value : ndarray
        The answer, or how far a run came that never reached the target.
    lower, upper : ndarray
        Logs of the ends of the interval; infinite where a run met the target at its first
        evaluation, or never.
    step : ndarray
        Distance between evaluations that was used, in the unit of the answer.
    reached : ndarray of bool
    how : str
        Where the steps come from, as a clause.
    """

    flat: xr.Dataset
    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    step: np.ndarray
    reached: np.ndarray
    how: str


def intervals_of(
    runs: xr.Dataset, *, batch: str, answer: str, along: str | None, interval: Any
) -> Intervals:
    """The answers of a table; `DataError` where it cannot be read as such."""
    flat = answered(runs, batch=batch, answer=answer, along=along)
    value = np.asarray(flat[answer].values, float)
    reached = ~np.isin(flat["reason"].values.astype(str), NEVER_REACHED)
    step, how = _steps(flat, value, reached, interval, batch, answer)
    return _as_intervals(flat, value, step, reached, how)


def answered(runs: xr.Dataset, *, batch: str, answer: str, along: str | None) -> xr.Dataset:
    """The rows with an answer, or with how far they came, one a run, ``(reading,)``."""
    every = readings(runs, all=True)
    have = [str(name) for name in every.data_vars if every[name].dtype.kind == "f"]
    for name in (batch, answer, *([along] if along else [])):
        if name not in every:
            raise DataError(_lacking(name, batch, answer, have))
    value = np.asarray(every[answer].values, float)
    known = np.isin(every["reason"].values.astype(str), ("", NO_LOSS, *NEVER_REACHED))
    keep = known & np.isfinite(value) & (value > 0)
    flat = every.isel(reading=np.flatnonzero(keep))
    _check_rows(flat, batch, answer, along)
    return flat


def smallest_step(answers: Any) -> float:
    """The distance between evaluations that answers betray, or 0 where they betray none.

    The smallest difference between distinct answers, if all their differences are multiples of it
    to within 2 %; three distinct answers at least.

    Examples
    --------
    >>> smallest_step([1536000, 2048000, 2048000, 3072000])
    512000.0
    >>> smallest_step([1.0, 1.31, 1.77, 2.9])
    0.0
    """
    distinct = np.unique(np.asarray(answers, float))
    if len(distinct) < 3:
        return 0.0
    away = np.diff(distinct)
    multiple = away / away.min()
    on_lattice = np.abs(multiple - np.round(multiple)) <= LATTICE * np.maximum(multiple, 1.0)
    return float(away.min()) if on_lattice.all() and away.min() > EXACT * distinct[0] else 0.0


def cells_of(flat: xr.Dataset, batch: str, along: str | None) -> np.ndarray:
    """Index of the cell of each run: one family, batch size and tuned learning rate."""
    _, family = np.unique(flat["family"].values.astype(str), return_inverse=True)
    columns = [family.astype(float)]
    for name in (batch, "learning_rate", *([along] if along else [])):
        if name in flat:
            columns.append(np.nan_to_num(np.asarray(flat[name].values, float), nan=-1.0))
    _, cell = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    return cell.reshape(-1)


def _as_intervals(
    flat: xr.Dataset, value: np.ndarray, step: np.ndarray, reached: np.ndarray, how: str
) -> Intervals:
    before = value - np.maximum(step, EXACT * value)
    at_once = before < 1e-9 * value  # met at the first look: it may have been met at once
    lower = np.where(at_once, -np.inf, np.log(np.where(at_once, 1.0, before)))
    lower = np.where(reached, lower, np.log(value))
    upper = np.where(reached, np.log(value), np.inf)
    return Intervals(flat, value, lower, upper, np.where(reached, step, 0.0), reached, how)


def _steps(
    flat: xr.Dataset, value: np.ndarray, reached: np.ndarray, interval: Any, batch: str, answer: str
) -> tuple[np.ndarray, str]:
    """Distance between evaluations of each run, and where it comes from."""
    if isinstance(interval, str):
        if interval not in flat:
            raise DataError(
                f"interval={interval!r} names no column of these runs; give the distance between "
                f"evaluations in the unit of `{answer}` as a number, or name its column."
            )
        step = np.asarray(flat[interval].values, float)
        bad = np.flatnonzero(reached & ~(np.isfinite(step) & (step >= 0)))
        if len(bad):
            raise DataError(
                f"`{interval}` is missing or negative in {len(bad)} runs (first: "
                f"{flat['run'].values[bad[0]]}, {step[bad[0]]:g}); it is the distance between "
                f"evaluations in the unit of `{answer}`, 0 where answers are exact."
            )
        return np.where(reached, step, 0.0), f"column `{interval}`"
    if interval is not None:
        step = float(interval)
        if not (np.isfinite(step) and step >= 0):
            raise DataError(f"`interval` is zero or more, in the unit of `{answer}`; got {step!r}.")
        return np.full(len(value), step), f"given, {step:g}"
    if "interval" in flat:
        return _steps(flat, value, reached, "interval", batch, answer)
    return _found_steps(flat, value, reached, batch)


def _found_steps(
    flat: xr.Dataset, value: np.ndarray, reached: np.ndarray, batch: str
) -> tuple[np.ndarray, str]:
    """Steps that the answers betray, cell by cell, else those of the family."""
    family, cell = flat["family"].values.astype(str), cells_of(flat, batch, None)
    step = np.zeros(len(value))
    for name in np.unique(family):
        mine = (family == name) & reached
        found = {c: smallest_step(value[mine & (cell == c)]) for c in np.unique(cell[mine])}
        some = [s for s in found.values() if s > 0]
        for c, s in found.items():
            step[mine & (cell == c)] = s or min(some, default=0.0)
    if not step.any():
        return step, "none seen: answers are taken as exact"
    return step, "the smallest step between answers at one batch size"


def _check_rows(flat: xr.Dataset, batch: str, answer: str, along: str | None) -> None:
    n = flat.sizes["reading"]
    if n < 3:
        raise DataError(
            f"{n} run(s) with a `{answer}` above zero; 3 at least are needed. See summarise(runs)."
        )
    names, many = np.unique(flat["run"].values.astype(str), return_counts=True)
    if many.max() > 1:
        raise DataError(
            f"Run `{names[many.argmax()]}` has {many.max()} readings; here a run has one answer, "
            f"the `{answer}` at which it met the target. Make answers of learning curves first: "
            "bayescale.time_to_target(runs, below={'loss': 3.0})."
        )
    for name in (batch, *([along] if along else [])):
        x = np.asarray(flat[name].values, float)
        bad = np.flatnonzero(~(np.isfinite(x) & (x > 0)))
        if len(bad):
            raise DataError(
                f"`{name}` is missing or not positive in {len(bad)} of {n} runs (first: "
                f"{flat['run'].values[bad[0]]}, {x[bad[0]]:g}). Fill the column or drop them."
            )
    sizes = np.unique(np.asarray(flat[batch].values, float))
    if len(sizes) < 2:
        raise DataError(
            f"One `{batch}` only ({sizes[0]:g}, in all {n} runs): how tokens grow with the batch "
            "cannot be seen. Add runs at a larger batch size, four times or more."
        )
    if (answer, batch) in SAME_UNIT:
        _check_units(flat, batch, answer)


def _check_units(flat: xr.Dataset, batch: str, answer: str) -> None:
    """`DataError` where batch and answer cannot be in one unit."""
    steps = np.asarray(flat[answer].values, float) / np.asarray(flat[batch].values, float)
    middle = float(np.median(steps))
    if FEWEST_STEPS <= middle <= MOST_STEPS:
        return
    few = middle < FEWEST_STEPS
    guess = (
        f"`{batch}` is in tokens and `{answer}` in samples" if few
        else f"`{batch}` is in sequences and `{answer}` in tokens"
    )  # fmt: skip
    raise DataError(
        f"`{answer}` over `{batch}` is {middle:.3g} steps in the middle of these runs, where "
        f"training takes {FEWEST_STEPS:g} to {MOST_STEPS:g}: probably {guess}. Bring both to one "
        f"unit, for example as_runs(..., units={{'{batch}': 2048}}) for sequences of 2,048 tokens."
    )


def check_one_unit(flat: xr.Dataset, answer: str) -> None:
    """`DataError` where answers of one family are in two units."""
    for name in ("unit", f"{answer}_unit"):
        if name in flat:
            units = sorted(set(flat[name].values.astype(str)) - {""})
            if len(units) > 1:
                raise DataError(
                    f"`{answer}` is in several units (`{name}`: {', '.join(units)}) and one curve "
                    "is fitted to all of it. Fit family='partial' or 'separate' with one unit in "
                    "each family, or convert the column."
                )


def _lacking(name: str, batch: str, answer: str, have: list[str]) -> str:
    what = {
        batch: "the batch size; say which column holds it, as_runs(frame, columns={'batch_size': "
        "'their name'}), or CriticalBatchModel(batch='your_column')",
        answer: "what a run needed to reach the target; name it, CriticalBatchModel(answer='T', "
        "'samples', 'step' or your column)",
    }.get(name, "which the critical batch size is to move with")
    return f"These runs have no `{name}`: {what}. They have {', '.join(have)}."
