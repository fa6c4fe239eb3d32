"""All finished runs of a folder as one table: netCDF and Parquet, checked on the way.

``data.nc`` has dims ``run`` and ``checkpoint`` and names of `bayescale.schema`, so
``bayescale.read_runs("data.nc")`` needs no mapping. Its group ``loss_by_t`` holds the loss in each
bin of t, from which any weighting of t can be made later. ``data.parquet`` holds the same readings,
a row each, and ``data.curves.parquet`` the training curves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bayescale.schema import FIELDS, check_record
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
            problems += [f"Run {folder.run_id}: {each}" for each in _wrong(record or {}, rows)]
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
    problems += [*_mixed(readings), *_paths(readings), *_schedules(readings)]
    _mark_edges(readings, ends)
    return Collected(readings, curves, by_t, statuses, problems)


def write(found: Collected, out: Path) -> None:
    """Write netCDF at `out` and Parquet beside it, each whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out.parent.mkdir(parents=True, exist_ok=True)
    notes = {
        "source": "bayescale training harness",
        "N": "parameters of the blocks, without modulation",
    }
    stem = out.with_suffix("")
    tables = {stem.with_suffix(".parquet"): _columns(found.readings)}
    if found.curves:
        tables[stem.with_suffix(".curves.parquet")] = _columns(found.curves)
    try:
        for path, columns in tables.items():
            beside = path.with_name(f".{path.name}")
            table = pa.table({n: pa.array(_nullable(v)) for n, v in columns.items()})
            pq.write_table(table.replace_schema_metadata(notes), beside, compression="zstd")
            beside.replace(path)
        _write_netcdf(found, out, notes)
    except OSError as error:
        raise RecordError(f"Cannot write `{out}`: {error.strerror or error}.") from error


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


def _wrong(record: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What does not fit together in a record."""
    if record.get("status") not in ("completed", "diverged"):
        return []
    found = [problem for row in rows for problem in check_record(row)]
    per_sample = record["flops_per_sample"]["total"]
    tokens = 0
    for reading in record["readings"]:
        if reading["T"] != reading["step"] * record["batch_size"]:
            found.append(f"T is {reading['T']}, which is not step times batch size.")
        if abs(reading["flops"] / (per_sample * reading["samples"]) - 1) > 0.01:
            found.append(f"flops is {reading['flops']:g}, over 1 % off the formula.")
        if reading["T"] <= tokens:
            found.append("T does not rise from reading to reading.")
        tokens = reading["T"]
    mfu = record["cost"]["mfu_measured"]
    if mfu is not None and not 0 < mfu < 1:
        found.append(f"MFU is {mfu:.3g}; between 0 and 1 is possible.")
    return found


def _mixed(readings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Losses over different validation sets cannot be compared."""
    sets: dict[str, set[str]] = {}
    for row in readings:
        if "data_validation_digest" in row:
            key = f"`{row.get('dataset')}` ({row.get('data_fingerprint')})"
            sets.setdefault(key, set()).add(row["data_validation_digest"])
    return [
        f"Runs on {key} were measured on {len(digests)} validation sets, so their losses cannot be "
        "compared: give them one `evaluation` section."
        for key, digests in sets.items()
        if len(digests) > 1
    ]


def _paths(readings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The velocity of another path is another quantity."""
    paths = sorted({str(row["objective_path"]) for row in readings if row.get("objective_path")})
    if len(paths) < 2:
        return []
    return [
        f"Runs follow {len(paths)} paths ({', '.join(paths)}), whose velocities are other "
        "quantities, so their losses cannot be compared: fit them apart, by the column "
        "`objective_path`, or compare `vlb`."
    ]


def _schedules(readings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Averaged weights at a constant rate and bare ones after a decay differ by an offset."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in readings:
        if row.get("fitted") and row.get("schedule"):
            place = (str(row.get("family")), str(row.get("dataset")))
            found.setdefault(place, set()).add(str(row["schedule"]))
    return [
        f"Readings of {family} on {dataset} that would be fitted together come from "
        f"{len(schedules)} schedules ({', '.join(sorted(schedules))}), whose losses differ by an "
        "offset: fit them apart, by the column `schedule`."
        for (family, dataset), schedules in found.items()
        if len(schedules) > 1
    ]


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


def _write_netcdf(found: Collected, out: Path, notes: Mapping[str, str]) -> None:
    import xarray as xr

    columns = _columns(found.readings)
    runs = list(dict.fromkeys(columns["run"]))
    at = {run: number for number, run in enumerate(runs)}
    slot: list[tuple[int, int]] = []
    count = [0] * len(runs)
    for run in columns["run"]:
        slot.append((at[run], count[at[run]]))
        count[at[run]] += 1
    shape = (len(runs), max(count))
    where = tuple(np.array(slot).T)
    data = {}
    for name, values in columns.items():
        if name == "run":
            continue
        kind = np.asarray(values).dtype.kind
        fill: Any = "no reading" if name == "reason" else {"U": "", "b": False}.get(kind, np.nan)
        grid = np.full(shape, fill, dtype=object if kind == "U" else bool if kind == "b" else float)
        grid[where] = values
        grid = grid.astype(str) if kind == "U" else grid
        field = FIELDS.get(name)
        attrs = {"units": field.unit, "long_name": field.meaning} if field else {}
        of_run = field.level == "run" if field else _constant(grid, count)
        data[name] = ("run", grid[:, 0], attrs) if of_run else (("run", "checkpoint"), grid, attrs)
    dataset = xr.Dataset(data, coords={"run": runs}, attrs=dict(notes))
    beside = out.with_name(f".{out.name}")
    dataset.to_netcdf(beside, engine="h5netcdf")
    bins = max((len(each[0]) for each in found.by_t if each), default=0)
    loss, se = (np.full((*shape, bins), np.nan) for _ in range(2))
    for place, each in zip(slot, found.by_t, strict=True):
        if each:
            loss[place], se[place] = each
    dims = ("run", "checkpoint", "tbin")
    by_t = xr.Dataset({"loss": (dims, loss), "loss_se": (dims, se)}, coords={"run": runs})
    by_t.to_netcdf(beside, engine="h5netcdf", mode="a", group="loss_by_t")
    beside.replace(out)


def _constant(grid: np.ndarray, count: list[int]) -> bool:
    return all(
        len(set(row[:n].tolist())) == 1 or all(v != v for v in row[:n].tolist())
        for row, n in zip(grid, count, strict=True)
    )


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of rows that need not have the same fields; schema names first."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    order = [*(n for n in FIELDS if n in names), *(n for n in names if n not in FIELDS)]
    columns = {}
    for name in order:
        values = [row.get(name) for row in rows]
        some = next((value for value in values if value is not None), None)
        if isinstance(some, bool):
            columns[name] = np.array([bool(value) for value in values])
        elif isinstance(some, str):
            columns[name] = np.array(["" if value is None else str(value) for value in values])
        elif isinstance(some, (int, float)):
            numbers = [np.nan if value is None else float(value) for value in values]
            columns[name] = np.array(numbers)
        elif some is not None:
            columns[name] = np.array([json.dumps(value) for value in values])
    return columns


def _nullable(values: np.ndarray) -> Any:
    return values.astype(object) if values.dtype.kind == "U" else values
