"""Train: one run, or a pack of runs of equal shape, from specs to records."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from training.config import Execution, Spec
from training.device import Place, place_of
from training.engine.progress import Listener
from training.engine.session import Session
from training.engine.signals import Preempted, Stopper
from training.engine.world import World
from training.errors import TrainingError
from training.record.folder import RunFolder


class Busy(TrainingError):
    """Another process trains this run now."""


def train(
    specs: Sequence[Spec],
    root: Path | str,
    execution: Execution | None = None,
    *,
    progress: Listener | None = None,
) -> list[dict[str, Any]]:
    """Final records of the runs, trained where they had not ended yet.

    A run that was interrupted goes on from its checkpoint, bit for bit as if nothing had happened;
    a run that has ended is handed back as it is, so asking twice is always safe.

    Parameters
    ----------
    specs : sequence of Spec
        One run, or several that differ only in seed, learning rate, weight decay or clip: those are
        trained as one model with an ensemble axis.
    root : path
        Folder of run folders.
    execution : Execution, optional
        How and where; changes no run's id.
    progress : callable, optional
        Told how each run goes, every two seconds.

    Raises
    ------
    SpecError, DataSourceError
        Before anything is trained, if the specs ask for something impossible.
    Busy
        If another process trains one of these runs now.
    Preempted
        If the process was asked to stop; the state is saved.
    """
    execution = execution or Execution()
    every = [(spec, RunFolder.of(root, spec)) for spec in specs]
    todo = [(spec, folder) for spec, folder in every if folder.record() is None]
    if todo:
        world = World.from_environment()
        with contextlib.ExitStack() as held, Stopper() as stopper:
            for spec, folder in todo if world.first else []:
                # the record is looked for again: its writer may have let go a moment ago
                if not held.enter_context(folder.claimed()) or folder.record() is not None:
                    raise Busy(f"Run {folder.run_id} is being trained by another process.")
                folder.create(spec)
            place = place_of(execution, local_rank=world.local_rank)
            with world.join(place.device):
                _train(todo, execution, place, world, stopper, progress)
    return [folder.record() or {} for _, folder in every]


def _train(
    todo: list[tuple[Spec, RunFolder]],
    execution: Execution,
    place: Place,
    world: World,
    stopper: Stopper,
    listener: Listener | None,
) -> None:
    run = Session(todo, execution, place, world, listener)
    run.resume()
    run.warm_up()
    for step in range(run.done, run.steps):
        rate = run.rate(step)
        advance(run, step, rate)

        if run.time_to_look:
            run.look(rate)
        if run.done in run.readouts:
            run.read()
        if run.all_diverged:
            break
        stop, save = run.asked(stopper)
        if stop or save:
            run.save()
        if stop:
            raise Preempted(f"{stopper.asked or 'another rank'} at step {run.done} of {run.steps}")
    run.finish()


def advance(run: Session, step: int, rate: float) -> Tensor:
    """One step of training; the loss before it, ``(E,)``. Nothing in it waits for the device."""
    loss_E, zero_E = run.backward(step, run.weights.clear)
    norm_E = run.weights.step(step + 1, rate, run.world)
    run.window.add(loss_E, zero_E, norm_E, run.weights.clip[:, 0])
    run.done = step + 1
    return loss_E
