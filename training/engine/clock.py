"""Seconds by purpose: what trains is told apart from what measures, saves, prepares."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from training.device import Place

Purpose = Literal["train", "eval", "checkpoint", "prepare", "compile"]
PURPOSES: tuple[Purpose, ...] = ("train", "eval", "checkpoint", "prepare", "compile")
_BEFORE: tuple[Purpose, ...] = ("prepare", "compile")


@dataclass
class Clock:
    """Wall time of a run, over all its sessions; `device_s`: the same times the devices of each
    session, since a run may go on with more or fewer of them.
    """

    place: Place
    devices: int = 1
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PURPOSES, 0.0))
    device_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PURPOSES, 0.0))
    sessions: int = 1
    _earlier: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PURPOSES, 0.0))
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, purpose: Purpose) -> float:
        """Book the time since the last lap under `purpose`; seconds of the lap."""
        self.place.wait()
        now = time.perf_counter()
        lap, self._since = now - self._since, now
        self.spent[purpose] += lap
        self.device_s[purpose] += lap * self.devices
        return lap

    @contextlib.contextmanager
    def booked(self, purpose: Purpose) -> Iterator[None]:
        """Time inside goes under `purpose`; what came before it is training."""
        self.lap("train")
        yield
        self.lap(purpose)

    @property
    def now(self) -> float:
        """Seconds of a clock that only ever goes forward."""
        return time.perf_counter()

    @property
    def trained(self) -> float:
        """Seconds of training in this session."""
        return self.spent["train"] - self._earlier["train"]

    @property
    def session_time(self) -> float:
        """Seconds of training, read-outs and checkpoints in this session."""
        before = sum(self.spent[each] - self._earlier[each] for each in _BEFORE)
        return self.total - sum(self._earlier.values()) - before

    @property
    def total(self) -> float:
        """Seconds booked so far."""
        return sum(self.spent.values())

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {**self.spent, "sessions": self.sessions, "device_s": dict(self.device_s)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add the time of earlier sessions."""
        self.sessions = int(state["sessions"]) + 1
        for purpose in self.device_s:
            alone = state.get(purpose, 0.0) * self.devices  # what older checkpoints leave to guess
            self.device_s[purpose] += state.get("device_s", {}).get(purpose, alone)
        for purpose in self.spent:
            self._earlier[purpose] = state.get(purpose, 0.0)
            self.spent[purpose] += self._earlier[purpose]
