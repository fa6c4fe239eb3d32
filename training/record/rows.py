"""A record as rows: one for each reading, with the facts of its run, by bayescale's names."""

from __future__ import annotations

from typing import Any


def flat_readings(record: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a reading, with the run's own facts: what bayescale's schema checks.

    A run without any reading, one that diverged at once, gives one row without a loss.
    """
    run = {name: value for name, value in record.items() if _plain(value)}
    if not record["readings"]:
        return [run]
    return [
        run
        | {name: value for name, value in reading.items() if value is not None and _plain(value)}
        for reading in record["readings"]
    ]


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))
