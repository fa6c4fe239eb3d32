"""Which run of a sweep is where: planned, running, interrupted, or ended and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.config import Spec
from training.errors import RecordError
from training.record.folder import RunFolder
from training.sweep.book import about

ORDER = ("running", "interrupted", "planned", "failed", "corrupt", "diverged", "completed")


def runs_of(root: Path) -> list[dict[str, Any]]:
    """A row for each run of a folder, those under way first.

    Fields: ``run_id``, ``label``, ``state``, ``share`` done, ``step``, ``steps``, ``loss``,
    ``tokens``, ``tokens_per_s``, ``mfu``, ``eta_s``, ``blocks``, ``tags``, ``held_out`` and
    ``reason``.
    """
    known = about(root)
    there = {path.parent.name for path in root.glob("*/spec.json")}
    rows = [_row(root, run_id, known.get(run_id)) for run_id in [*known, *(there - set(known))]]
    return sorted(rows, key=lambda row: ORDER.index(row["state"]) if row["state"] in ORDER else 0)


def _row(root: Path, run_id: str, entry: dict[str, Any] | None) -> dict[str, Any]:
    folder = RunFolder(root / run_id)
    state = folder.state()
    moment = _moment(folder)
    row: dict[str, Any] = {
        "run_id": run_id,
        "label": entry["label"] if entry else _label(folder),
        "state": state,
        "share": moment["step"] / moment["steps"] if moment.get("steps") else 0.0,
        **{name: moment.get(name) for name in ("phase", "step", "steps", "tokens", "loss")},
        **{name: moment.get(name) for name in ("tokens_per_s", "mfu", "eta_s")},
        "blocks": entry["blocks"] if entry else [],
        "tags": entry["tags"] if entry else [],
        "held_out": entry["held_out"] if entry else False,
        "reason": "",
    }
    if state != "running":
        row["eta_s"] = None
    if state in ("completed", "diverged", "failed"):
        row.update(_ended(folder, state))
    elif state == "corrupt":
        row["reason"] = "its record.json is damaged; delete it to train the run again"
    return row


def _ended(folder: RunFolder, state: str) -> dict[str, Any]:
    record = folder.record() or {}
    lines = folder.lines("evals")
    found: dict[str, Any] = {"reason": str(record.get("reason") or "")}
    if lines:
        found["loss"] = loss_of(lines[-1])
    if state == "completed":
        found["share"] = 1.0
    return found


def loss_of(reading: dict[str, Any]) -> float | None:
    """Validation loss of a line of ``evals.jsonl``, of the weights that are fitted."""
    track = reading.get("tracks", {}).get(reading.get("weights"), {})
    return track.get("loss")


def _moment(folder: RunFolder) -> dict[str, Any]:
    """The last progress a run left; a view, so a torn one is none."""
    try:
        return dict(json.loads((folder.path / "progress.json").read_text()))
    except (OSError, ValueError):
        return {}


def _label(folder: RunFolder) -> str:
    from training.sweep.plan import Point

    try:
        spec: Spec = folder.spec()
    except RecordError:
        return "(its spec cannot be read)"
    return Point(spec).label
