"""What the training harness wrote: a folder a run with its ``record.json``, and a book of sweeps.

``record.json`` lists the readings of a run; ``sweep.json`` says which block of which sweep a run
belongs to, and whether it is kept from the fit. Specs and logs beside them are not records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayescale.errors import DataError

HELD_OUT = "held out"


def is_sweep(folder: Path) -> bool:
    """Whether the harness wrote the folder."""
    return any(folder.glob("*/spec.json"))


def records_of(folder: Path) -> list[Path]:
    """Records of the runs that have ended, by run id."""
    return sorted(folder.glob("*/record.json"))


def readings_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One record a reading, where a record lists its readings; else the record as it is."""
    readings = record.get("readings")
    if not isinstance(readings, list) or not all(isinstance(each, Mapping) for each in readings):
        return [record]
    run = _plain(record)
    run.pop("checksum", None)
    return [{**run, **_plain(each)} for each in readings] or [run]


def book_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Run id to what the sweeps say of it: ``blocks``, and a ``reason`` where it is kept from fits.

    A run that one sweep wants in the fit is in the fit.
    """
    path = folder / "sweep.json"
    if not path.is_file():
        return {}
    try:
        sweeps = json.loads(path.read_text(encoding="utf-8"))["sweeps"].values()
        entries = [(run, entry) for sweep in sweeps for run, entry in sweep["runs"].items()]
        found: dict[str, dict[str, Any]] = {}
        for run, entry in entries:
            held = entry["held_out"]
            reason = held if isinstance(held, str) else HELD_OUT if held else ""
            known = found.setdefault(run, {"blocks": [], "reason": reason})
            known["blocks"] += [each for each in entry["blocks"] if each not in known["blocks"]]
            known["reason"] = known["reason"] and reason
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"`{path}` is no book of sweeps that can be read ({type(error).__name__}: {error}). "
            "Collect the runs with `python -m training collect`, or delete it to fit every run."
        ) from error
    return found


def with_book(record: Mapping[str, Any], book: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A reading with what the book says of its run."""
    entry = book.get(str(record.get("run")))
    if entry is None:
        return dict(record)
    said = {**record, "blocks": " ".join(entry["blocks"])}
    if entry["reason"] and said.get("fitted", True):
        said |= {"fitted": False, "reason": entry["reason"]}
    return said


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if not isinstance(value, list | Mapping)}
