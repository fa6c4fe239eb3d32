"""What a run tells while it trains."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Phase = Literal["data", "compile", "train", "eval", "done"]


@dataclass(frozen=True)
class Progress:
    """A moment of a run. `eta_s` counts read-outs too; `mfu` is against the measured peak."""

    run_id: str
    phase: Phase
    step: int
    steps: int
    tokens: int
    loss: float | None = None
    tokens_per_s: float | None = None
    mfu: float | None = None
    eta_s: float | None = None
    message: str = ""


Listener = Callable[[Progress], None]


@dataclass
class Reporter:
    """Hands progress to a listener and leaves the last one in the folder, every two seconds."""

    paths: list[Path]
    listener: Listener | None
    every_s: float = 2.0
    _last: float = field(default=-1e9)

    def say(self, moments: list[Progress], *, now: bool = False) -> None:
        """One moment for each run of a pack, if it is time or `now`."""
        if not now and time.monotonic() - self._last < self.every_s:
            return
        self._last = time.monotonic()
        for path, moment in zip(self.paths, moments, strict=True):
            if self.listener is not None:
                self.listener(moment)
            leave(path / "progress.json", moment)


def leave(path: Path, moment: Progress) -> None:
    """Write a moment for `status`. A view only: a disk that is full must not end the run here."""
    beside = path.with_name(f".progress.{os.getpid()}")
    try:
        beside.write_text(json.dumps({**asdict(moment), "written": time.time()}))
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
