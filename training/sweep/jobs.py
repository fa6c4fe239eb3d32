"""What workers are given, and what a pool of them can do."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import Execution, Spec
from training.sweep.attempt import Outcome


@dataclass(frozen=True)
class Job:
    """One run, or a pack of equal shape.

    Parameters
    ----------
    id : int
        Number in this sweep command.
    specs : tuple of Spec
        What to train, as one ensemble if several.
    label : str
        For a person.
    names : tuple of str
        Labels of the single runs of a pack.
    expected_s : float
        Estimate of its time on one worker.
    failures, deaths : int
        Tries that ended by an error of the run, or by the loss of the worker.
    """

    id: int
    specs: tuple[Spec, ...]
    label: str = ""
    expected_s: float = 0.0
    names: tuple[str, ...] = ()
    failures: int = 0
    deaths: int = 0


@dataclass(frozen=True)
class Event:
    """News of a job: a moment of it (fields of `training.engine.progress.Progress`), or its end."""

    job: int
    moment: Mapping[str, Any] | None = None
    outcome: Outcome | None = None


class AbstractPool(abc.ABC):
    """Workers, wherever they are. One job at a time each."""

    root: Path
    execution: Execution

    @property
    @abc.abstractmethod
    def slots(self) -> int:
        """How many jobs can run at once."""

    @abc.abstractmethod
    def submit(self, job: Job) -> None:
        """Start a job; only called while fewer than `slots` run."""

    @abc.abstractmethod
    def poll(self, timeout_s: float) -> list[Event]:
        """News since the last call, waiting at most so long for some."""

    @abc.abstractmethod
    def ask_to_stop(self) -> None:
        """Have all running jobs checkpoint and end; may be called again and again."""

    @abc.abstractmethod
    def close(self, *, now: bool = False) -> None:
        """Let the workers go; `now`: kill what still runs."""
