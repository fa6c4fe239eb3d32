"""The record of a run that failed for its own reason: it stays in the data, with its reason."""

from __future__ import annotations

import time
from pathlib import Path

from training.config import Spec, to_mapping
from training.errors import RecordError
from training.record.folder import RunFolder
from training.sweep.attempt import Outcome


def write_failed(root: Path, spec: Spec, outcome: Outcome, tries: int) -> bool:
    """Write a ``failed`` record with the tail of the traceback; whether the disk took it."""
    folder = RunFolder.of(root, spec)
    try:
        with folder.claimed() as mine:
            if not mine or (folder.path / "record.json").exists():
                return False
            folder.create(spec)
            folder.append("events", {"event": "failed", "error": outcome.error, "tries": tries})
            folder.write_record(
                {
                    "record_version": 1,
                    "run": spec.run_id,
                    "status": "failed",
                    "reason": outcome.error,
                    "seed": spec.seed,
                    "learning_rate": spec.optimiser.learning_rate,
                    "batch_samples": spec.optimiser.batch_samples,
                    "conditioning": spec.model.conditioning,
                    "readings": [],
                    "diverged": None,
                    "final": {},
                    "traceback": outcome.trace,
                    "tries": tries,
                    "finished": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
                    "spec": to_mapping(spec),
                }
            )
    except RecordError:
        return False  # the disk is full or gone, which was the failure; it was said already
    return True


def forget_failures(root: Path, specs: list[Spec]) -> int:
    """Drop ``failed`` records, so that these runs are tried again; how many there were."""
    failed = [folder for spec in specs if (folder := RunFolder.of(root, spec)).state() == "failed"]
    for folder in failed:
        (folder.path / "record.json").unlink()
    return len(failed)
