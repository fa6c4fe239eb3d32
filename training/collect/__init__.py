"""All finished runs of a folder as one table: netCDF and Parquet, checked on the way.

``data.nc`` has dims ``run`` and ``checkpoint`` and names of `bayescale.schema`, so
``bayescale.read_runs("data.nc")`` needs no mapping. Its group ``loss_by_t`` holds the loss in each
bin of t, from which any weighting of t can be made later. ``data.parquet`` holds the same readings,
a row each, and ``data.curves.parquet`` the training curves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.collect import doubts
from training.collect.files import write
from training.errors import RecordError, TrainingError
from training.record.folder import RunFolder
from training.record.rows import flat_readings
from training.sweep.book import about
from training.sweep.edges import SAME, columns_of, marks

HELD_OUT = "held out"
_OF_RUN = ("parameters", "tokens_per_sample", "flops_per_sample", "data", "cost", "final")


@dataclass(frozen=True)
class Collected:
    """What was found.

    Parameters
    ----------
    readings : list of dict
        One row a reading; a run without one (it diverged or failed at once) gives one row.
    curves : list of dict
        One row a point of a training curve.
    by_t : list of (loss_by_t, se_by_t) or None
        Beside each reading.
    statuses : dict of str to int
        How many runs ended how, those that have not ended included.
    problems : list of str
        Runs that were left out, and why; what does not fit together.
    """

    readings: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    by_t: list[tuple[list[float], list[float]] | None]
    statuses: dict[str, int]
    problems: list[str]


def collect(root: Path | str, out: Path | str | None = None) -> Collected:
    """Read every run below `root`; write ``out``, and Parquet beside it, if `out` is given.

    A corrupt record is named in ``problems`` and left out; the others are collected.

    Raises
    ------
    RecordError
        If there is no finished run, or the table cannot be written.
    """
    found = gather(Path(root))
    if not found.readings:
        raise RecordError(
            f"`{root}` holds no finished run"
            + (f" ({'; '.join(found.problems)})." if found.problems else ".")
        )
    if out is not None:
        write(found, Path(out))
    return found


def gather(root: Path) -> Collected:
    """Readings and curves of the finished runs below `root`."""
    book, statuses, problems = about(root), {}, []
    readings: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    by_t: list[tuple[list[float], list[float]] | None] = []
    ends: list[float] = []
    for path in sorted(each.parent for each in root.glob("*/spec.json")):
        folder = RunFolder(path)
        try:
            record = folder.record()
            state = str(record["status"]) if record else folder.state()
            rows = _rows(record, book.get(folder.run_id, {})) if record else []
            problems += [
                f"Run {folder.run_id}: {each}" for each in doubts.of_run(record or {}, rows)
            ]
        except (TrainingError, KeyError, TypeError) as error:
            state, record, rows = "corrupt", None, []
            problems.append(f"Run {folder.run_id} was left out: {error}")
        statuses[state] = statuses.get(state, 0) + 1
        readings += rows
        by_t += [_by_t(each) for each in record["readings"] or [{}]] if record else []
        ends += [_end(record) if record else 0.0] * len(rows)
        curves += (
            [{"run": folder.run_id, **line} for line in folder.lines("curve")] if record else []
        )
    problems += doubts.of_table(readings)
    _mark_edges(readings, ends)
    return Collected(readings, curves, by_t, statuses, problems)


def _end(record: Mapping[str, Any]) -> float:
    """Tokens that the run was meant to see, in whole batches."""
    tokens, batch = record["spec"]["tokens"], record.get("batch_size")
    return max(1, round(tokens / batch)) * batch if batch else tokens


def _rows(record: Mapping[str, Any], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Readings of a record with the facts of its run, by flat names."""
    rows = flat_readings(dict(record))
    more: dict[str, Any] = {"family": record.get("conditioning", "")}
    more |= columns_of(record.get("spec", {}))
    for section in _OF_RUN:
        for name, value in (record.get(section) or {}).items():
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                more[f"{section}_{name}"] = value
    groups = record.get("parameters") or {}
    more |= {f"N_{name}": count for name, count in groups.items()}
    for name in groups:
        more.pop(f"parameters_{name}")
    if record.get("cost", {}).get("gpu_hours"):
        more["gpu_hours_run"] = record["cost"]["gpu_hours"]
    more |= {name: " ".join(entry.get(name, ())) for name in ("tags", "blocks")}
    more |= {"label": entry.get("label", ""), "held_out": bool(entry.get("held_out", False))}
    for row in rows:
        row.pop("record_version", None)
        row.update(more)
        row.setdefault("fitted", record["status"] == "completed")
        if more["held_out"] and row["fitted"]:
            why = entry["held_out"]
            row |= {"fitted": False, "reason": why if isinstance(why, str) else HELD_OUT}
        if record.get("diverged"):
            row["diverged_tokens"] = record["diverged"]["tokens"]
        for track, measured in (_tracks(record, row) or {}).items():
            row[f"loss_{track}"] = measured["loss"]
    return rows


def _tracks(record: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((r["tracks"] for r in record["readings"] if r["T"] == row.get("T")), None)


def _by_t(reading: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    if not reading:
        return None
    main = reading["tracks"][reading["weights"]]
    number = lambda values: [np.nan if v is None else v for v in values]  # noqa: E731
    return number(main["loss_by_t"]), number(main["se_by_t"])


def _mark_edges(readings: list[dict[str, Any]], ends: list[float]) -> None:
    """Say which runs are best at the edge of their grid: a bound on the optimum, no estimate."""
    whole = [row for row in readings if row["status"] != "diverged"]
    # a run that broke is infinitely bad at every T where others like it were read later on
    at = {_grid(row): set[float]() for row in readings}
    for row in whole:
        at[_grid(row)].add(row.get("T") or 0.0)
    broken = {
        (row["run"], T): {**row, "T": T}
        for row, end in zip(readings, ends, strict=True)
        if row["status"] == "diverged"
        for T in {end, *at[_grid(row)]}
        if T >= row["diverged_tokens"]
    }
    for row in readings:
        row["grid_edge"] = ""
    for row, mark in zip(whole, marks([*whole, *broken.values()]), strict=False):
        row["grid_edge"] = mark


def _grid(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What runs share that differ in rate, batch and length."""
    return tuple(row.get(name) for name in SAME if name != "T")
