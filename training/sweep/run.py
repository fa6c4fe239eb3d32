"""A sweep from its points to its records: skip what has ended, pack, hand out, tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.config import Execution, Spec
from training.errors import SpecError
from training.record.folder import ENDED, RunFolder
from training.sweep import book
from training.sweep.attempt import ENGINE
from training.sweep.board import Board
from training.sweep.cost import Cost, Throughput, cost_of
from training.sweep.drive import Drive, Tally, root_of
from training.sweep.failed import forget_failures
from training.sweep.jobs import AbstractPool, Job
from training.sweep.pack import packed
from training.sweep.plan import Point, Sweep


@dataclass(frozen=True)
class Options:
    """How a sweep is executed.

    Parameters
    ----------
    executor : {"local", "ray"}
        Processes of this machine, or tasks of a Ray cluster.
    workers : int or None
        Runs at once; None: a worker for each core, or for each GPU.
    pack : int
        Runs of equal shape in one ensemble at most; 1: no packing.
    budget_s : float or None
        Do not begin runs that are not expected to end within it.
    keep_going : bool
        Whether other runs go on when one has failed for good.
    retry_failed : bool
        Try runs again that failed in an earlier sweep.
    ray_address : str or None
        Of a cluster; None: the one that is running, else one started here.
    """

    executor: str = "local"
    workers: int | None = None
    pack: int = 1
    budget_s: float | None = None
    keep_going: bool = True
    retry_failed: bool = False
    ray_address: str | None = None


def run_sweep(
    sweep: Sweep,
    root: Path | str,
    *,
    execution: Execution,
    options: Options,
    throughput: Throughput,
    board: Board,
    engine: str = ENGINE,
) -> Tally:
    """Make the runs of a sweep that have not ended, in `root`; how that went.

    It may be started again at any time, also beside another one: what has ended is skipped, what
    was interrupted goes on, and what another process trains is left to it.
    """
    root = root_of(root)
    specs = [point.spec for point in sweep.points]
    if options.retry_failed:
        forget_failures(root, specs)
    book.enter(root, sweep)
    execution = with_pool(execution, root)
    jobs, ended = jobs_of(sweep.points, root, throughput, pack=options.pack)
    if ended:
        board.say(f"{ended} of {len(specs)} runs have ended already and are skipped.")
    tally = Tally()
    if jobs:
        pool = open_pool(root, execution, options, len(jobs), engine)
        tally = Drive(
            jobs, pool, board, budget_s=options.budget_s, keep_going=options.keep_going
        ).run()
    states = [RunFolder.of(root, spec).state() for spec in specs]
    return dataclasses.replace(
        tally,
        done=sum(state in ("completed", "diverged") for state in states),
        failed=sum(state == "failed" for state in states) or tally.failed,
    )


def jobs_of(
    points: Sequence[Point], root: Path, throughput: Throughput, *, pack: int = 1
) -> tuple[list[Job], int]:
    """Jobs for the runs that have not ended, and how many have.

    Packs are formed from all runs, ended or not, so that an interrupted pack is found again with
    the same members.
    """
    labels = {point.spec.run_id: point.label for point in points}
    costs = {point.spec.run_id: cost_of(point.spec, throughput) for point in points}

    def time_s(spec: Spec) -> float:
        return 3600 * costs[spec.run_id].hours

    jobs: list[Job] = []
    ended = 0
    for group in packed([point.spec for point in points], pack, time_s):
        todo = tuple(spec for spec in group if RunFolder.of(root, spec).state() not in ENDED)
        ended += len(group) - len(todo)
        if todo:
            names = tuple(labels[spec.run_id] for spec in todo)
            jobs.append(Job(len(jobs), todo, names[0], sum(map(time_s, todo)), names))
    return jobs, ended


def open_pool(
    root: Path, execution: Execution, options: Options, jobs: int, engine: str = ENGINE
) -> AbstractPool:
    """The workers that the options name."""
    if options.executor == "ray":
        from training.sweep.cluster import RayPool

        return RayPool(
            root, execution, workers=options.workers, address=options.ray_address, engine=engine
        )
    if options.executor != "local":
        raise SpecError(f"Unknown executor `{options.executor}`; known are `local`, `ray`.")
    from training.sweep.local import LocalPool, cores, visible_gpus

    gpus = () if execution.device == "cpu" else visible_gpus()
    workers = options.workers or len(gpus) or cores()
    if execution.threads is None and not gpus:
        execution = dataclasses.replace(execution, threads=max(1, cores() // workers))
    return LocalPool(root, execution, min(workers, jobs), gpus=gpus, engine=engine)


def with_pool(execution: Execution, root: Path) -> Execution:
    """The execution with a pool of samples below `root`, unless it names one."""
    return dataclasses.replace(execution, pool=execution.pool or str(root / "pool"))


def costs_of(
    sweep: Sweep, throughput: Throughput, *, price_per_hour: float | None = None
) -> list[Cost]:
    """What each run of a sweep will take."""
    return [
        cost_of(point.spec, throughput, price_per_hour=price_per_hour) for point in sweep.points
    ]
