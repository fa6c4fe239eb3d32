"""A case of a benchmark in a process of its own: CPU seconds, wall seconds, peak memory.

CPU seconds come from the kernel's account of the process and of all it started (``wait4``), so
imports and compilation count. The measuring process stays small on purpose: Linux hands the peak
memory of a parent down to its child, so nothing heavy may be imported at the top of a benchmark.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 600.0
CACHE_SWITCHES = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def case(
    function: Callable[..., Mapping[str, Any]],
    *,
    limit_s: float = LIMIT_S,
    environment: Mapping[str, str] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """What ``function(**arguments)`` returns in a fresh process, with what it cost.

    Adds ``cpu_s``, ``wall_s``, ``peak_mib``, and ``failed``: a reason where there is no result
    (the time limit, or the last line of its error), else an empty text.
    """
    module = function.__module__
    if module == "__main__":
        spec = sys.modules["__main__"].__spec__  # of `python -m benchmarks.NAME`
        assert spec is not None
        module = spec.name
    call = json.dumps([module, function.__name__, arguments])
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        command = [sys.executable, "-m", "benchmarks.processes", call, str(answer)]
        spent = cost(command, limit_s=limit_s, environment=environment)
        spent |= json.loads(answer.read_text()) if answer.exists() else {}
    return spent


def cost(
    command: Sequence[str],
    *,
    limit_s: float = LIMIT_S,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """CPU seconds, wall seconds and peak memory of a command; it is ended at the time limit."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        stopped = False
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - started > limit_s and not stopped:
                stopped = True
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(0.02)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        last = (said.read().decode(errors="replace").strip().splitlines() or [""])[-1]
    failed = f"not done in {limit_s:.0f} s" if stopped else ""
    if child.returncode and not stopped:
        failed = last or f"exit code {child.returncode}"
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.monotonic() - started,
        "peak_mib": usage.ru_maxrss / 1024,
        "failed": failed,
    }


def repeated(times: int, one: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """A measurement made several times: min, median and max of what it cost, the last result."""
    from statistics import median

    every = [one() for _ in range(times)]
    out = dict(every[-1])
    for name in ("cpu_s", "wall_s", "peak_mib"):
        values = [each[name] for each in every]
        out |= {f"{name}_min": min(values), name: median(values), f"{name}_max": max(values)}
    out["times"] = times
    out["failed"] = "; ".join(sorted({each["failed"] for each in every} - {""}))
    return out


def clock() -> float:
    """CPU seconds of this process and of those it has waited for."""
    from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

    both = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _answer(call: str, path: str) -> None:
    module, function, arguments = json.loads(call)
    result = getattr(importlib.import_module(module), function)(**arguments)
    Path(path).write_text(json.dumps(result, default=float))


if __name__ == "__main__":
    _answer(*sys.argv[1:])
