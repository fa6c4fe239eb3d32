"""Workers on this machine: one process for each core, or for each GPU."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import training
from training.config import Execution, to_mapping
from training.sweep.attempt import ENGINE, Outcome
from training.sweep.jobs import AbstractPool, Event, Job

ASK_EVERY_S = 3.0
LEAVE_S = 10.0


@dataclass
class _Process:
    number: int
    popen: subprocess.Popen[bytes]
    job: Job | None = None
    rest: bytes = b""
    lines: list[bytes] = field(default_factory=list)


class LocalPool(AbstractPool):
    """Processes that are started when first needed and live through many jobs.

    Parameters
    ----------
    root : Path
        Folder of run folders; what workers print goes to ``workers/<k>.log`` below it.
    execution : Execution
        How runs are executed.
    workers : int
        Processes at most.
    gpus : sequence of str
        Devices to deal out by ``CUDA_VISIBLE_DEVICES``; empty: leave it as it is.
    engine : str
        Training function, ``module:name``.
    """

    def __init__(
        self,
        root: Path,
        execution: Execution,
        workers: int,
        *,
        gpus: tuple[str, ...] = (),
        engine: str = ENGINE,
    ) -> None:
        self.root, self.execution, self.engine, self.gpus = root, execution, engine, gpus
        self._processes: dict[int, _Process] = {}
        self._selector = selectors.DefaultSelector()
        self._workers = workers
        self._asked_at = -1e9

    @property
    def slots(self) -> int:
        """Processes at most."""
        return self._workers

    def submit(self, job: Job) -> None:
        """Hand the job to an idle process, or to a new one."""
        idle = [each for each in self._processes.values() if each.job is None]
        process = idle[0] if idle else self._start()
        process.job = job
        content = {
            "id": job.id,
            "root": str(self.root),
            "specs": [to_mapping(spec) for spec in job.specs],
            "execution": to_mapping(self.execution),
        }
        assert process.popen.stdin is not None
        with suppress(BrokenPipeError):  # its death is seen by `poll`
            process.popen.stdin.write(json.dumps(content).encode() + b"\n")
            process.popen.stdin.flush()

    def poll(self, timeout_s: float) -> list[Event]:
        """What the processes have written, and which of them have died."""
        if not self._processes:
            time.sleep(timeout_s)
            return []
        events: list[Event] = []
        for key, _ in self._selector.select(timeout_s):
            process: _Process = key.data
            chunk = os.read(key.fd, 1 << 16)
            if chunk:
                *lines, process.rest = (process.rest + chunk).split(b"\n")
                events += [self._event(process, json.loads(line)) for line in lines]
            else:
                events += self._ended(process)
        return events

    def ask_to_stop(self) -> None:
        """SIGTERM to every process; again after a while, for one that did not listen yet."""
        if time.monotonic() - self._asked_at < ASK_EVERY_S:
            return
        self._asked_at = time.monotonic()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.popen.send_signal(signal.SIGTERM)

    def close(self, *, now: bool = False) -> None:
        """Close their input, which ends them, and wait; those that do not go are killed."""
        for process in self._processes.values():
            assert process.popen.stdin is not None
            with suppress(OSError):
                process.popen.stdin.close()
            if now:
                process.popen.kill()
        for process in self._processes.values():
            try:
                process.popen.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
            assert process.popen.stdout is not None
            process.popen.stdout.close()
        self._processes.clear()
        self._selector.close()

    def _start(self) -> _Process:
        number = next(k for k in range(self._workers) if k not in self._processes)
        (self.root / "workers").mkdir(parents=True, exist_ok=True)
        with (self.root / "workers" / f"{number}.log").open("ab") as log:
            popen = subprocess.Popen(
                [sys.executable, "-m", "training.sweep.worker", self.engine],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment(number),
                start_new_session=True,  # Ctrl-C reaches the driver alone, which passes it on
            )
        process = _Process(number, popen)
        assert popen.stdout is not None
        self._selector.register(popen.stdout, selectors.EVENT_READ, process)
        self._processes[number] = process
        return process

    def _environment(self, number: int) -> dict[str, str]:
        threads = str(self.execution.threads or 1)
        here = str(Path(training.__file__).resolve().parent.parent)
        known = os.environ.get("PYTHONPATH")
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join([here, known] if known else [here]),
        }
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[number % len(self.gpus)]
        return environment

    def _event(self, process: _Process, content: dict[str, Any]) -> Event:
        if "moment" in content:
            return Event(content["id"], moment=content["moment"])
        process.job = None
        return Event(content["id"], outcome=Outcome(**content["outcome"]))

    def _ended(self, process: _Process) -> list[Event]:
        code = process.popen.wait()
        assert process.popen.stdout is not None
        self._selector.unregister(process.popen.stdout)
        process.popen.stdout.close()
        assert process.popen.stdin is not None
        with suppress(OSError):
            process.popen.stdin.close()
        del self._processes[process.number]
        if process.job is None:
            return []
        log = self.root / "workers" / f"{process.number}.log"
        return [Event(process.job.id, outcome=Outcome("died", error=_died(code, log)))]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """Devices as ``CUDA_VISIBLE_DEVICES`` would name them; none without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return tuple(each.strip() for each in named.split(","))
    return tuple(str(k) for k in range(torch.cuda.device_count()))


def _died(code: int, log: Path) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        more = ", which the kernel sends when memory runs out" if name == "SIGKILL" else ""
        return f"The worker was killed by {name}{more}; see `{log}`."
    return f"The worker ended with code {code}; see `{log}`."
