"""What a person sees while runs train: a line for each on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from training.sweep.amounts import clock, short
from training.sweep.jobs import Job

BAR = 10


@dataclass
class Board:
    """Lines on stderr. `every_s`: how often, on a terminal and elsewhere; `quiet`: only trouble.

    Examples
    --------
    On a terminal these lines are redrawn in place::

        demo  12/31 done, 2 running, 17 waiting   0:41 gone, about 2:10 left
        lnt 20k T2.1M B16 lr0.008     [####......]  43%  loss 0.4123  37k tok/s  MFU 21%  ETA 0:35
    """

    out: TextIO
    name: str = ""
    terminal: bool | None = None
    quiet: bool = False
    every_s: tuple[float, float] = (0.5, 10.0)
    clock: Callable[[], float] = time.monotonic
    _drawn: int = 0
    _last: float = -1e9
    _active: dict[int, Job] = field(default_factory=dict)
    _moments: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.terminal is None:
            self.terminal = self.out.isatty()
        self._began = self._last_plain = self.clock()

    def begin(self, job: Job) -> None:
        """A job has been handed to a worker."""
        self._active[job.id] = job

    def moment(self, job: Job, moment: Mapping[str, Any]) -> None:
        """News of a job; of a pack, that of whichever member spoke last."""
        self._moments[job.id] = moment

    def end(self, job: Job) -> None:
        """A job runs no more."""
        self._active.pop(job.id, None)
        self._moments.pop(job.id, None)

    def eta_of(self, job: Job) -> float | None:
        """Seconds that the run itself expects to take, where it has said so."""
        moment = self._moments.get(job.id)
        return moment.get("eta_s") if moment else None

    def say(self, line: str) -> None:
        """A line that stays."""
        self._wipe()
        print(line, file=self.out, flush=True)

    def show(
        self, *, done: int, failed: int, total: int, waiting: int, elsewhere: int = 0,
        eta_s: float | None = None,
    ) -> None:  # fmt: skip
        """Draw again, if it is time."""
        if self.quiet or self.clock() - self._last < self.every_s[0 if self.terminal else 1]:
            return
        if not self.terminal and self._last < 0 and self.clock() - self._began < 2.0:
            return  # wait for the first news rather than print dashes
        self._last = self.clock()
        running = sum(len(job.specs) for job in self._active.values())
        counts = [f"{done}/{total} done", f"{running} running", f"{waiting} waiting"]
        counts += [f"{elsewhere} run by another command"] if elsewhere else []
        counts += [f"{failed} failed"] if failed else []
        gone = f"{clock(self.clock() - self._began)} gone, about {clock(eta_s)} left"
        lines = [f"{self.name}  {', '.join(counts)}   {gone}"]
        for number, job in self._active.items():
            lines.append("  " + run_line(job.label, self._moments.get(number), pack=len(job.specs)))
        self._wipe()
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            height = shutil.get_terminal_size().lines - 1
            lines = [line[:width] for line in lines[:height]]
            self._drawn = len(lines)
        print("\n".join(lines), file=self.out, flush=True)

    def close(self) -> None:
        """Take the moving lines away."""
        self._wipe()

    def _wipe(self) -> None:
        if self._drawn:
            self.out.write(f"\r\x1b[{self._drawn}A\x1b[J")  # \r: Ctrl-C was echoed
            self._drawn = 0


def run_line(
    label: str, moment: Mapping[str, Any] | None, *, pack: int = 1, width: int = 30
) -> str:
    """One run in one line: how far, loss, tokens/s, MFU, ETA."""
    label = f"{label} x{pack}" if pack > 1 else label
    label = label if len(label) <= width else label[: width - 1] + "…"
    if not moment:
        return f"{label:<{width}} starting"
    share = moment["step"] / moment["steps"] if moment.get("steps") else 0.0
    filled = min(BAR, int(share * BAR))
    bar = f"[{'#' * filled}{'.' * (BAR - filled)}] {share:4.0%}"
    loss, speed, mfu = (moment.get(name) for name in ("loss", "tokens_per_s", "mfu"))
    words = [
        f"loss {loss:.4f}" if loss is not None else "loss -",
        f"{short(speed)} tok/s" if speed else "",
        f"MFU {mfu:.0%}" if mfu else "",
        f"ETA {clock(moment.get('eta_s'))}" if moment.get("eta_s") is not None else "",
    ]
    phase = moment.get("phase", "train")
    if phase != "train":
        words.append(f"({moment.get('message') or phase})")
    return f"{label:<{width}} {bar}  {'  '.join(word for word in words if word)}"
