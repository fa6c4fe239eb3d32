"""A sweep under way: hand out jobs, longest first, until all have ended or it is asked to stop."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from training.errors import TrainingError
from training.record.folder import ENDED, RunFolder
from training.sweep.attempt import Outcome
from training.sweep.board import Board
from training.sweep.failed import write_failed
from training.sweep.jobs import AbstractPool, Job

RETRIES = 2
DEATHS = 5
"""A worker may be lost for no fault of the run (a machine taken away), so more are borne."""
APART_AFTER = 2
"""Deaths of a pack that may be bad luck; a pack that dies again may be too large for the memory."""
LOOK_AGAIN_S = 2.0
GRACE_S = 300.0


@dataclass
class Tally:
    """How a sweep command ended; counts of jobs are in runs."""

    done: int = 0
    failed: int = 0
    left: int = 0
    preempted: bool = False

    @property
    def exit_code(self) -> int:
        """0: all done, or left for want of time; 1: some run failed; 75: asked to stop."""
        return 75 if self.preempted else 1 if self.failed else 0


@dataclass
class Drive:
    """Jobs on their way through a pool.

    Parameters
    ----------
    jobs : sequence of Job
        In any order.
    pool : AbstractPool
        Who trains them.
    board : Board
        Who tells a person.
    budget_s : float or None
        Jobs that are not expected to end within it are not begun.
    keep_going : bool
        Whether a run that has failed for good leaves the others alone.
    """

    jobs: Sequence[Job]
    pool: AbstractPool
    board: Board
    budget_s: float | None = None
    keep_going: bool = True
    clock: Callable[[], float] = time.monotonic
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.waiting = sorted(self.jobs, key=lambda job: -job.expected_s)
        self.running: dict[int, tuple[Job, float]] = {}
        self.elsewhere: list[tuple[Job, float]] = []
        self.asked, self._asked_by = 0, ""
        self.stop_reason = ""
        self._began = self.clock()
        self._finished: list[tuple[float, float]] = []

    def run(self) -> Tally:
        """Until nothing is left to do."""
        with _Signals(self._signal):
            try:
                while self._more():
                    self._hand_out()
                    for event in self.pool.poll(0.2):
                        job = self.running.get(event.job, (None, 0.0))[0]
                        if job is not None and event.moment is not None:
                            self.board.moment(job, event.moment)
                        elif job is not None and event.outcome is not None:
                            self._ended(job, event.outcome)
                    self._look_elsewhere()
                    self._show()
            finally:
                self.pool.close(now=bool(self.running))
        if self.asked >= 3 and self.running:
            self.board.say("Asked three times: the workers were killed.")
        self.tally.left = sum(len(job.specs) for job in self._left())
        self.board.close()
        return self.tally

    def scale(self) -> float:
        """Real over expected seconds, from jobs that have ended and from those under way."""
        pairs = list(self._finished)
        for job, since in self.running.values():
            eta = self.board.eta_of(job)
            if eta is not None:
                pairs.append((job.expected_s, self.clock() - since + eta))
        expected = sum(each for each, _ in pairs)
        return sum(each for _, each in pairs) / expected if expected > 0 else 1.0

    def eta_s(self) -> float:
        """Seconds until all jobs have ended, by the present scale."""
        scale, left = self.scale(), 0.0
        for job, since in self.running.values():
            eta = self.board.eta_of(job)
            left += (
                max(0.0, job.expected_s * scale - (self.clock() - since)) if eta is None else eta
            )
        left += sum(job.expected_s for job in self.waiting if self._fits(job, scale)) * scale
        return left / max(1, min(self.pool.slots, len(self.running) + len(self.waiting)))

    # -- steps --------------------------------------------------------------------------------

    def _more(self) -> bool:
        if self.asked and not self.stop_reason:
            self._stop(self._asked_by)
        if self.stop_reason:
            self.pool.ask_to_stop()
            return bool(self.running) and self.asked < 3 and self.clock() < self._until
        scale = self.scale()
        fitting = any(self._fits(job, scale) for job in self.waiting)
        return bool(self.running or self.elsewhere or fitting)

    def _hand_out(self) -> None:
        if self.asked or self.stop_reason:
            return
        scale = self.scale()
        for job in list(self.waiting):
            if len(self.running) >= self.pool.slots:
                return
            if self._fits(job, scale):
                self.waiting.remove(job)
                self.running[job.id] = (job, self.clock())
                self.board.begin(job)
                self.pool.submit(job)

    def _fits(self, job: Job, scale: float) -> bool:
        if self.budget_s is None:
            return True
        return self.clock() - self._began + job.expected_s * scale <= self.budget_s

    def _ended(self, job: Job, outcome: Outcome) -> None:
        _, since = self.running.pop(job.id)
        self.board.end(job)
        stopping = bool(self.asked or self.stop_reason)
        if outcome.kind == "done":
            self._finished.append((job.expected_s, self.clock() - since))
            self._count(job)
        elif outcome.kind == "busy":
            self.elsewhere.append((job, self.clock()))
        elif stopping and outcome.kind in ("preempted", "died"):
            self.waiting.append(job)
        else:  # a worker that alone was asked to stop is as good as lost
            self._again(job, outcome)

    def _again(self, job: Job, outcome: Outcome) -> None:
        died = outcome.kind in ("died", "preempted")
        job = dataclasses.replace(job, failures=job.failures + (not died), deaths=job.deaths + died)
        if job.failures <= RETRIES and job.deaths <= DEATHS and not outcome.hopeless:
            # a pack whose worker was lost goes on from its checkpoint, in one piece
            whole = died and job.deaths <= APART_AFTER
            for each in [job] if whole else self._split(job):
                self.board.say(f"{each.label}: {outcome.error} Trying again.")
                self.waiting.insert(0, each)
            return
        for each in self._split(job):
            self.board.say(f"{each.label}: failed. {outcome.error}")
            write_failed(self.pool.root, each.specs[0], outcome, job.failures + job.deaths)
            self.tally.failed += 1
        if not self.keep_going:
            self._stop("a run failed")

    def _split(self, job: Job) -> list[Job]:
        """A pack that failed is taken apart, so that its healthy members do not fail with it."""
        if len(job.specs) == 1:
            return [job]
        for spec in job.specs:
            RunFolder.of(self.pool.root, spec).checkpoint.unlink(missing_ok=True)
        first = max((each.id for each in [*self.jobs, *self.waiting]), default=0) + 1000
        each_s = job.expected_s / len(job.specs)
        return [
            dataclasses.replace(
                job, id=first * (job.id + 1) + number, specs=(spec,), expected_s=each_s,
                label=job.names[number] if job.names else f"{job.label} [{number}]", names=(),
            )
            for number, spec in enumerate(job.specs)
        ]  # fmt: skip

    def _count(self, job: Job) -> None:
        for number, spec in enumerate(job.specs):
            state = RunFolder.of(self.pool.root, spec).state()
            self.tally.failed += state == "failed"
            self.tally.done += state in ENDED and state != "failed"
            if state == "diverged":
                name = job.names[number] if job.names else job.label
                self.board.say(f"{name}: diverged, kept as a bound.")

    def _look_elsewhere(self) -> None:
        """Runs that another process had: done by now, or dropped, or still at it."""
        for job, since in list(self.elsewhere):
            if self.clock() - since < LOOK_AGAIN_S:
                continue
            self.elsewhere.remove((job, since))
            folders = [RunFolder.of(self.pool.root, spec) for spec in job.specs]
            if all(folder.state() in ENDED for folder in folders):
                self._count(job)
            elif any(folder.held() for folder in folders):
                self.elsewhere.append((job, self.clock()))
            else:
                self.waiting.append(job)

    def _show(self) -> None:
        total = sum(len(job.specs) for job in self.jobs)
        waiting = sum(len(job.specs) for job in self.waiting)
        elsewhere = sum(len(job.specs) for job, _ in self.elsewhere)
        self.board.show(
            done=self.tally.done, failed=self.tally.failed, total=total, waiting=waiting,
            elsewhere=elsewhere, eta_s=self.eta_s(),
        )  # fmt: skip

    def _left(self) -> list[Job]:
        under_way = [job for job, _ in self.running.values()]
        return [*self.waiting, *under_way, *(job for job, _ in self.elsewhere)]

    def _stop(self, why: str) -> None:
        self.stop_reason = self.stop_reason or why
        self._until = self.clock() + GRACE_S
        self.tally.preempted = self.tally.preempted or why != "a run failed"
        self.board.say(f"Stopping: {why}. Running runs save their state.")

    def _signal(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1  # nothing more here: a handler that prints may cut into another print
        self._asked_by = signal.Signals(number).name


class _Signals:
    """Handlers for as long as the sweep runs; nothing outside the main thread."""

    def __init__(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self.handler = handler
        self.before: dict[int, object] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            self.before[number] = signal.signal(number, self.handler)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def root_of(path: Path | str) -> Path:
    """The folder of a sweep, made if need be; one clear error where it cannot be."""
    root = Path(path).expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"Cannot make the folder `{root}`: {error.strerror}.") from error
    return root
