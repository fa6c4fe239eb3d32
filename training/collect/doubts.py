"""What does not fit together: within one record, and between runs that would enter one fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bayescale.schema import check_record


def of_table(readings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What makes losses of a table incomparable."""
    return [*mixed_sets(readings), *mixed_paths(readings), *mixed_schedules(readings)]


def of_run(record: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> list[str]:
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


def mixed_sets(readings: Iterable[Mapping[str, Any]]) -> list[str]:
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


def mixed_paths(readings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The velocity of another path is another quantity."""
    paths = sorted({str(row["objective_path"]) for row in readings if row.get("objective_path")})
    if len(paths) < 2:
        return []
    return [
        f"Runs follow {len(paths)} paths ({', '.join(paths)}), whose velocities are other "
        "quantities, so their losses cannot be compared: fit them apart, by the column "
        "`objective_path`, or compare `vlb`."
    ]


def mixed_schedules(readings: Iterable[Mapping[str, Any]]) -> list[str]:
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
