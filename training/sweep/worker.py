"""A worker process: reads jobs as JSON lines, trains them, answers in JSON lines.

Started by `local`; not meant for people. It lives through many jobs, so that torch is loaded once.
When its parent goes away, or asks with SIGTERM, the run under way is checkpointed and the worker
ends with code 75.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
from types import FrameType
from typing import IO, Any

from training.config import Execution, Spec, from_mapping
from training.sweep.attempt import Outcome, attempt

EXIT_PREEMPTED = 75


class Worker:
    """Jobs from `commands`, answers to `answers`, both streams of JSON lines."""

    def __init__(self, commands: IO[str], answers: IO[str], engine: str) -> None:
        self.commands, self.answers, self.engine = commands, answers, engine
        self.stopping = False
        self.jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def run(self) -> int:
        """Work until there is nothing more to come; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._asked)
        threading.Thread(target=self._listen, daemon=True).start()
        while not self.stopping:
            try:
                job = self.jobs.get(timeout=0.2)
            except queue.Empty:
                continue
            if job is None:
                return 0
            self._one(job)
        return EXIT_PREEMPTED

    def _one(self, job: dict[str, Any]) -> None:
        specs = [from_mapping(Spec, each) for each in job["specs"]]
        execution = from_mapping(Execution, job["execution"])
        outcome = attempt(
            specs, job["root"], execution, lambda moment: self._moment(job["id"], moment),
            self.engine,
        )  # fmt: skip
        if outcome.trace:
            print(outcome.trace, file=sys.stderr, flush=True)
        self._answer({"id": job["id"], "outcome": _plain(outcome)})

    def _moment(self, job: int, moment: Any) -> None:
        self._answer({"id": job, "moment": dataclasses.asdict(moment)})
        if self.stopping:  # asked before the engine listened
            os.kill(os.getpid(), signal.SIGTERM)

    def _answer(self, content: dict[str, Any]) -> None:
        try:
            self.answers.write(json.dumps(content) + "\n")
            self.answers.flush()
        except OSError:
            self.stopping = True  # nobody listens any more

    def _listen(self) -> None:
        for line in self.commands:
            self.jobs.put(json.loads(line))
        self.jobs.put(None)
        os.kill(os.getpid(), signal.SIGTERM)  # a run under way is saved; an idle worker just ends

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True


def _plain(outcome: Outcome) -> dict[str, Any]:
    content = dataclasses.asdict(outcome)
    content.pop("files")
    return content


def main() -> int:
    """Keep the real stdout for answers; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine = sys.argv[1] if len(sys.argv) > 1 else ""
    return Worker(sys.stdin, answers, engine or "training.engine:train").run()


if __name__ == "__main__":
    sys.exit(main())
