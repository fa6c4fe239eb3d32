"""Workers on many machines, through Ray: each job is a task of a cluster.

Start the cluster with ``ray start --head`` on one machine and ``ray start --address=HEAD:6379`` on
the others, then run the sweep on the first. bayescale must be installed on each, in one version.
Ray from 2.59 on lets in only who has the token of the cluster: ``ray get-auth-token --generate``
makes ``~/.ray/auth_token`` on the first machine, which the others need too. Without a cluster a
small one is started here and ends with the sweep.

A lost worker, machine or connection ends the try as ``died``, and `drive` submits the job again: it
goes on from its checkpoint where the disk is shared, and begins anew where it is not. Ray's own
retries stay off (``max_retries=0``): it repeats a task that ran out of memory without end, and does
not say how often. Where the disk is not shared, the small files of a run folder come back with the
result of its task.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from training.config import Execution, Spec, from_mapping, to_mapping
from training.errors import TrainingError
from training.files import write_bytes
from training.record.folder import RunFolder
from training.sweep.attempt import ENGINE, Outcome, attempt
from training.sweep.jobs import AbstractPool, Event, Job
from training.sweep.local import cores
from training.sweep.reach import known_address, silence_of

SMALL_BYTES = 16 << 20
NEWS_EVERY_S = 1.0
COUNT_EVERY_S = 5.0


class RayPool(AbstractPool):
    """Tasks of a Ray cluster.

    Parameters
    ----------
    root : Path
        Folder of run folders, the same path on all machines.
    execution : Execution
        How runs are executed. A GPU each where the cluster has some, unless ``device`` is ``cpu``;
        ``threads`` cores otherwise.
    workers : int or None
        Jobs at once; None: as many as the cluster holds, also when machines join later.
    address : str or None
        Of the cluster; None: the one that runs here, else a new one on this machine.
    engine : str
        Training function, ``module:name``.
    """

    def __init__(
        self,
        root: Path,
        execution: Execution,
        *,
        workers: int | None = None,
        address: str | None = None,
        engine: str = ENGINE,
    ) -> None:
        self.ray = _imported()
        self.root, self.engine, self.workers = root, engine, workers
        self.execution = dataclasses.replace(execution, threads=execution.threads or 1)
        # Ray prints what its machines say to stdout, which is for data
        (root / "workers").mkdir(parents=True, exist_ok=True)
        self._talk = (root / "workers" / "ray.log").open("a")
        self._aside = redirect_stdout(self._talk)
        self._aside.__enter__()
        self.mine = not self.ray.is_initialized()
        if self.mine:
            try:
                _connect(self.ray, address, workers)
            except TrainingError:
                self._quiet_no_more()
                raise
        self._jobs: dict[Any, Job] = {}
        self._counted_at, self._slots = -1e9, 1
        self._gpus = execution.device != "cpu" and self._total("GPU") >= 1
        self._token = root / f".seen-{uuid.uuid4().hex[:8]}"  # seen by tasks if the disk is shared
        self._token.touch()
        self._relay = self._start_relay()
        each = {"num_gpus": 1} if self._gpus else {"num_cpus": self.execution.threads}
        self._task = self.ray.remote(**each, max_retries=0)(_work)

    @property
    def slots(self) -> int:
        """Jobs at once: as asked for, else what the cluster holds now."""
        if self.workers:
            return self.workers
        if time.monotonic() - self._counted_at > COUNT_EVERY_S:
            self._counted_at = time.monotonic()
            each = 1 if self._gpus else self.execution.threads or 1
            self._slots = max(1, int(self._total("GPU" if self._gpus else "CPU") // each))
        return self._slots

    def submit(self, job: Job) -> None:
        """Hand the job to the cluster, which finds a place for it."""
        content = {
            "id": job.id,
            "root": str(self.root),
            "specs": [to_mapping(spec) for spec in job.specs],
            "execution": to_mapping(self.execution),
            "engine": self.engine,
            "token": str(self._token),
        }
        name = f"training {job.specs[0].run_id}"
        self._jobs[self._task.options(name=name).remote(content, self._relay)] = job

    def poll(self, timeout_s: float) -> list[Event]:
        """News that tasks left with the relay, and tasks that have ended."""
        events = self._news()
        if not self._jobs:
            time.sleep(timeout_s)
            return events
        ready, _ = self.ray.wait(list(self._jobs), num_returns=1, timeout=timeout_s)
        for reference in ready:
            job = self._jobs.pop(reference)
            events.append(Event(job.id, outcome=self._outcome(reference)))
        return events

    def ask_to_stop(self) -> None:
        """Tell the relay, where every task hears it with its next news."""
        with suppress(self.ray.exceptions.RayError):
            self._relay.stop.remote()
        for reference, job in self._jobs.items():
            if job.id not in self._begun:  # it waits for a place, and shall not take one now
                self.ray.cancel(reference, force=False)

    def close(self, *, now: bool = False) -> None:
        """Leave the cluster, or end it if it was ours."""
        for reference in self._jobs if now else ():
            self.ray.cancel(reference, force=True)
        with suppress(OSError):
            self._token.unlink()
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(self._relay)
        if self.mine:
            self.ray.shutdown()
        self._quiet_no_more()

    def _quiet_no_more(self) -> None:
        self._aside.__exit__(None, None, None)
        self._talk.close()

    def _outcome(self, reference: Any) -> Outcome:
        errors = self.ray.exceptions
        try:
            outcome = Outcome(**self.ray.get(reference))
        except errors.TaskCancelledError:
            return Outcome("preempted", error="Cancelled before it began.")
        except errors.RayTaskError as error:  # not the run's fault: `attempt` returns those
            return Outcome("failed", error=str(error.cause or error).strip().splitlines()[-1])
        except errors.RayError as error:
            first = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
            return Outcome("died", error=f"{first} ({type(error).__name__}).")
        if outcome.files:
            keep(self.root, outcome.files)
        return dataclasses.replace(outcome, files=None)

    def _news(self) -> list[Event]:
        try:
            moments = self.ray.get(self._relay.take.remote(), timeout=5)
        except self.ray.exceptions.RayError:
            return []
        self._begun |= set(moments)
        return [Event(job, moment=moment) for job, moment in moments.items() if moment]

    def _total(self, resource: str) -> float:
        return float(self.ray.cluster_resources().get(resource, 0.0))

    def _start_relay(self) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._begun: set[int] = set()
        here = self.ray.get_runtime_context().get_node_id()  # it shall live as long as we do
        return (
            self.ray.remote(num_cpus=0)(_Relay)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True))
            .remote()
        )


class _Relay:
    """An actor that keeps the last news of each job, and whether all are asked to stop."""

    def __init__(self) -> None:
        self.moments: dict[int, Mapping[str, Any]] = {}
        self.asked = False

    def note(self, job: int, moment: Mapping[str, Any]) -> bool:
        """Keep the news; whether the job is asked to stop."""
        self.moments[job] = moment
        return self.asked

    def take(self) -> dict[int, Mapping[str, Any]]:
        """News since the last call."""
        moments, self.moments = self.moments, {}
        return moments

    def stop(self) -> None:
        """Ask all jobs to stop."""
        self.asked = True


def _work(content: Mapping[str, Any], relay: Any) -> dict[str, Any]:
    """The task: train, tell, and bring small files home where the disk is not shared."""
    import ray
    import ray.exceptions

    specs = [from_mapping(Spec, each) for each in content["specs"]]
    last = -1e9

    def asked_to_stop(news: Mapping[str, Any]) -> bool:
        with suppress(ray.exceptions.RayError):  # a lost relay must not end a run
            return ray.get(relay.note.remote(content["id"], news), timeout=10)
        return False

    def tell(moment: Any) -> None:
        nonlocal last
        if time.monotonic() - last > NEWS_EVERY_S:
            last = time.monotonic()
            if asked_to_stop(dataclasses.asdict(moment)):
                os.kill(os.getpid(), signal.SIGTERM)  # the engine listens, and saves

    if asked_to_stop({}):
        return dataclasses.asdict(Outcome("preempted"))
    execution = from_mapping(Execution, content["execution"])
    outcome = attempt(specs, content["root"], execution, tell, content["engine"])
    if not Path(content["token"]).exists():
        outcome = dataclasses.replace(outcome, files=small_files(content["root"], specs))
    return dataclasses.asdict(outcome)


def small_files(root: Path | str, specs: Sequence[Spec]) -> dict[str, bytes]:
    """Content of the run folders by path below `root`, without checkpoints and locks."""
    found = {}
    for spec in specs:
        folder = RunFolder.of(root, spec).path
        for path in sorted(folder.glob("*")) if folder.exists() else ():
            big = path.name.startswith((".", "checkpoint", "lock"))
            if path.is_file() and not big and path.stat().st_size <= SMALL_BYTES:
                found[f"{folder.name}/{path.name}"] = path.read_bytes()
    return found


def keep(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files that came back; the record last, since it means that the run has ended."""
    for name in sorted(files, key=lambda each: each.endswith("/record.json")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, files[name])


def _connect(ray: Any, address: str | None, workers: int | None) -> None:
    """Join the cluster that is known, or start one on this machine."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    known = known_address(address)
    silence = silence_of(known) if known else None
    asked_for = address or os.environ.get("RAY_ADDRESS")
    if silence and asked_for:
        raise TrainingError(
            f"No Ray cluster answers at `{known}` ({silence}). Start one with `ray start --head`, "
            "or leave the address out and one is started here."
        )
    if known is None or silence:
        here = {"address": "local", "include_dashboard": False}
        ray.init(num_cpus=max(workers or 0, cores()), **here, **quiet)
        return
    try:
        ray.init(address=known, **quiet)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        said = str(error).strip().splitlines()[0]  # versions that differ, no token
        raise TrainingError(f"Cannot join the Ray cluster at `{known}`: {said}") from error


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    # what Ray would otherwise warn about; our tasks without a GPU run on the CPU anyway
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError(
            'The Ray executor needs ray: pip install "bayescale[ray]". Without it, `--executor '
            "local` uses this machine."
        ) from error
    return ray
