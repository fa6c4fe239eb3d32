"""``sweep.json``: which runs of a folder belong to which sweep, block and tag.

None of this is part of a run, so it stays outside the run folders and may change without making any
run again.
"""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import Any

from training.files import read_json, write_json
from training.sweep.plan import Sweep

BOOK = "sweep.json"
VERSION = 1


def enter(root: Path, sweep: Sweep) -> None:
    """Write the runs of `sweep` into the book; other sweeps of the folder stay."""
    with (root / ".sweep.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweeps = read_book(root)
        sweeps[sweep.name] = {
            "source": sweep.source,
            "entered": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "notes": list(sweep.notes),
            "runs": {
                point.spec.run_id: {
                    "label": point.label,
                    "blocks": list(point.blocks),
                    "tags": list(point.tags),
                    "held_out": point.held_out,
                    "size": point.size,
                }
                for point in sweep.points
            },
        }
        write_json(root / BOOK, {"version": VERSION, "sweeps": sweeps})


def read_book(root: Path) -> dict[str, Any]:
    """Name of a sweep -> its source and runs; empty where nothing was entered."""
    path = root / BOOK
    return dict(read_json(path)["sweeps"]) if path.exists() else {}


def about(root: Path) -> dict[str, dict[str, Any]]:
    """Run id -> label, blocks, tags, whether held out, and its sweeps, over all sweeps of a folder.

    A run that any sweep wants in the fit is not held out.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, sweep in read_book(root).items():
        for run_id, entry in sweep["runs"].items():
            known = found.setdefault(run_id, {**entry, "blocks": [], "tags": [], "sweeps": []})
            known["held_out"] = known["held_out"] and entry["held_out"]
            known["sweeps"].append(name)
            for words in ("blocks", "tags"):
                known[words] += [each for each in entry[words] if each not in known[words]]
    return found
