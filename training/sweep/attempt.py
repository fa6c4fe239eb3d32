"""One try at a job in this process, and what became of it: never an exception."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.config import Execution, Spec
from training.errors import CheckpointError, DataSourceError, RecordError, SpecError
from training.record.folder import RunFolder

ENGINE = "training.engine:train"
"""Where the training function lives; tests put another one in its place."""

TAIL_LINES = 30


@dataclass(frozen=True)
class Outcome:
    """How a try ended.

    Parameters
    ----------
    kind : str
        ``done``: all runs have records. ``failed``: the run raised. ``died``: its process was lost.
        ``preempted``: it was asked to stop and can go on. ``busy``: another process has the run.
    error : str
        One sentence for a person.
    trace : str
        Tail of the traceback.
    hopeless : bool
        Whether another try would end in the same way.
    files : mapping of str to bytes
        Small files of the run folders, where they were written on a disk the driver does not see.
    """

    kind: Literal["done", "failed", "died", "preempted", "busy"]
    error: str = ""
    trace: str = ""
    hopeless: bool = False
    files: dict[str, bytes] | None = None


def attempt(
    specs: Sequence[Spec],
    root: Path | str,
    execution: Execution,
    progress: Callable[[Any], None],
    engine: str = ENGINE,
) -> Outcome:
    """Train the specs, and say how it went."""
    try:
        module, name = engine.split(":")
        train = getattr(importlib.import_module(module), name)
        train(specs, Path(root), execution, progress=progress)
    except Exception as error:
        kind = {"Preempted": "preempted", "Busy": "busy"}.get(type(error).__name__, "failed")
        tail = "".join(traceback.format_exception(error)).splitlines()[-TAIL_LINES:]
        if isinstance(error, CheckpointError):
            set_aside(specs, root)
        return Outcome(
            kind=kind,  # type: ignore[arg-type]
            error=sentence(error),
            trace="\n".join(tail) if kind == "failed" else "",
            hopeless=isinstance(error, SpecError | DataSourceError | RecordError),
        )
    return Outcome("done")


def set_aside(specs: Sequence[Spec], root: Path | str) -> None:
    """Move checkpoints that cannot be read out of the way, so that the next try begins anew."""
    for spec in specs:
        path = RunFolder.of(root, spec).checkpoint
        if path.exists():
            path.replace(path.with_suffix(".unreadable"))


def sentence(error: BaseException) -> str:
    """The first line of an error, with its type where that says more than the text."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    ours = type(error).__module__.startswith("training")
    return text if ours else f"{type(error).__name__}: {text}"
