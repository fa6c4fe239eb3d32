"""A machine that is about to be taken away says so; the run stops at the next step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

ASKS_TO_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
EXIT_CODE = 75  # EX_TEMPFAIL: try again later


class Preempted(Exception):
    """The run was asked to stop, saved its state, and can go on from there."""


class Stopper:
    """A flag that signals set, read once a step; earlier handlers come back afterwards."""

    def __init__(self) -> None:
        self.asked: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stopper:
        if threading.current_thread() is threading.main_thread():
            for number in ASKS_TO_STOP:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = signal.Signals(number).name
