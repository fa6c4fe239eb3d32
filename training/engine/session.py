"""Everything one run (or pack) needs while it trains, and what is done between steps."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from training import data, models
from training.config import Execution, Spec, to_mapping
from training.device import Place, compiled
from training.engine import checkpoint
from training.engine.clock import Clock
from training.engine.feed import Feed
from training.engine.graph import check_graph, recorded
from training.engine.member import Member, finite
from training.engine.memory import Backward
from training.engine.progress import Listener, Phase, Progress, Reporter
from training.engine.schedule import rate_at, readout_steps, steps_of, tracks_of
from training.engine.sharded import ShardedWeights
from training.engine.signals import Stopper
from training.engine.update import allow_many_shapes
from training.engine.weights import FlatWeights
from training.engine.window import Window
from training.engine.world import World
from training.errors import CheckpointError, SpecError
from training.evals.final import final_measures
from training.evals.validation import Validation
from training.files import write_json
from training.flops import flops_per_sample
from training.peak import measured_peak
from training.record.entry import record_of
from training.record.environment import environment
from training.record.folder import RunFolder
from training.shapes import SampleShape


class Session:
    """A run in this process: streams, model, weights, books, clocks."""

    def __init__(
        self,
        todo: Sequence[tuple[Spec, RunFolder]],
        execution: Execution,
        place: Place,
        world: World,
        listener: Listener | None,
    ) -> None:
        check_graph(execution, place, world.size)
        self.specs, self.folders = [s for s, _ in todo], [f for _, f in todo]
        self.execution, self.place, self.world = execution, place, world
        self.clock = Clock(place, world.size)
        self.runs = [folder.run_id for folder in self.folders]
        self.ensemble = len(todo) > 1
        self.spec = spec = one_shape(self.specs)
        self.reporter = Reporter([folder.path for folder in self.folders], listener)

        # what it trains on, and what it is measured on
        self.stream = self._stream()
        self.validation = Validation.open(spec, self._held_out(), place.device)

        # the model, its weights, the inputs of every step
        with place.device:  # drawn where they are used, which takes minutes on a CPU for 500M
            self.model = models.build(
                spec.model,
                self.stream.shape,
                seeds=[s.seed for s in self.specs],
                ensemble=self.ensemble,
            )
        if compiled(execution, place):
            allow_many_shapes()
            self.model.compile_blocks()
        self.weights = self._weights()
        self.feed = Feed(self.specs, self.stream, world, ensemble=self.ensemble)
        self.backward = Backward(
            self.model, self.feed, place, execution.micro_batch,
            record_for=self.weights if execution.cuda_graph else None,
        )  # fmt: skip

        # how long, and where to look
        self.tokens_per_sample = tokens_of(spec, self.stream.shape)
        self.step_tokens = spec.optimiser.batch_samples * self.tokens_per_sample
        self.steps = steps_of(spec.tokens, spec.optimiser.batch_samples, self.tokens_per_sample)
        self.warmup_steps = min(self.steps, round(spec.optimiser.warmup_tokens / self.step_tokens))
        self.readouts = frozenset(readout_steps(self.steps, self.step_tokens, spec.evaluation))
        self.members = [
            Member(s, f, self.warmup_steps, self.step_tokens, keeps=world.first) for s, f in todo
        ]
        self.window = Window(len(todo), place.device)
        self.flops = flops_per_sample(spec.model, self.stream.shape)
        self.peak = measured_peak(place)
        self.done = self._looked = self._curve_due = 0
        self._saved, self._begun_at = 0.0, 0

    # -- between steps ------------------------------------------------------------------------

    def rate(self, step: int) -> float:
        """Learning rate of a step over its peak."""
        return rate_at(step, self.steps, self.warmup_steps, self.spec.optimiser)

    @property
    def time_to_look(self) -> bool:
        """Whether losses are read off the device now, which makes it wait."""
        return self.done - self._looked >= self.execution.log_every or self.done in self.readouts

    @property
    def all_diverged(self) -> bool:
        """Whether nothing is left to train."""
        return all(member.diverged for member in self.members)

    def look(self, rate: float) -> None:
        """Note losses and norms since the last look; see whether a run has diverged; say so."""
        self.clock.lap("train")
        write = self.done >= self._curve_due or self.done in self.readouts
        if write:  # from a while on, about 60 points for every factor e
            self._curve_due = self.done + max(self.execution.log_every, self.done // 64)
        for member, sums in zip(self.members, self.window.take(self.world), strict=True):
            member.look(sums, step=self.done, rate=rate, wall_s=self.clock.total, write=write)
        self._looked = self.done
        self._say("train")

    def read(self) -> None:
        """Measure every kind of weights on the validation set."""
        with self.clock.booked("eval"):
            found: list[dict[str, Any]] = [{} for _ in self.members]
            for track in tracks_of(self.spec):
                with self.weights.reading(track):
                    measured = self.validation.measure(self.predict)
                for books, each in zip(found, measured, strict=True):
                    books[track] = each.to_dict()
            for member, books in zip(self.members, found, strict=True):
                member.read(self.done, books, last=self.done == self.steps)

    def predict(self, x_t: Tensor, t: Tensor, text: Tensor | None) -> Tensor:
        """What the model says, float32 ``(B, ...)``, or ``(E, B, ...)`` of an ensemble."""
        if self.ensemble:
            members = len(self.specs)
            x_t, t = x_t.expand(members, *x_t.shape), t.expand(members, *t.shape)
        with self.place.autocast():
            return self.model(x_t, t, text).float()

    def asked(self, stopper: Stopper) -> tuple[bool, bool]:
        """Whether to stop, and whether to save, by agreement of all ranks."""
        due = self.clock.now - self._saved > self.execution.checkpoint_every_s
        if self.world.size > 1 and self.done != self._looked:
            return False, False  # ranks agree where they look anyway
        stop, save = self.world.any(stopper.asked is not None, due)
        return stop, save

    # -- state --------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state after the steps done so far."""
        with self.clock.booked("checkpoint"):
            books = {
                "step": self.done,
                "looked": self._looked,
                "curve_due": self._curve_due,
                "clock": self.clock.state(),
                "micro_batch": self.backward.micro_batch,
                "micro_batch_history": self.backward.history,
                "members": [member.state() for member in self.members],
            }
            tensors = {**self.weights.state(), **self.window.state()}
            if self.world.first:
                checkpoint.save(self.folders[0].checkpoint, tensors, books, self.runs)
            self.world.wait()
        self._saved = self.clock.now

    def resume(self) -> None:
        """Go on where an earlier session stopped, or begin."""
        found = checkpoint.load(self.folders[0].checkpoint, self.runs, self.place.device)
        if found:
            tensors, books = found
            try:
                self.weights.load(tensors)
                self.window.load(tensors)
            except (KeyError, RuntimeError) as error:
                raise CheckpointError(
                    f"`{self.folders[0].checkpoint}` holds other tensors than this run keeps: "
                    "it was begun with other sharding. Go on with the same `--parallel` (`fsdp` on "
                    "several processes again), or delete the file to begin anew."
                ) from error
            self.clock.restore(books["clock"])
            self.backward.history = [tuple(each) for each in books["micro_batch_history"]]
            self.backward.go_on_with(books["micro_batch"], books["step"])
            self.done, self._looked = books["step"], books["looked"]
            self._curve_due = books["curve_due"]
            for member, state in zip(self.members, books["members"], strict=True):
                member.restore(state)
        else:
            for member in self.members:
                member.rewind()
        facts = environment(self.execution, self.place, self.world, self.runs)
        for member in self.members if self.world.first else []:
            write_json(member.folder.path / "env.json", facts)
            member.append(
                "events",
                {
                    "event": "started", "step": self.done, "time": time.time(),
                    # env.json tells of the last session only
                    **{name: facts[name] for name in ("device", "device_count", "precision")},
                },
            )  # fmt: skip
        self.clock.lap("prepare")
        self._saved, self._begun_at = self.clock.now, self.done

    def warm_up(self) -> None:
        """Compile, record and find a micro-batch that fits, before the clock of training starts.

        The inputs are those of the next step and no weight changes, so nothing that is measured
        later can tell.
        """
        slow_start = self.place.on_gpu or compiled(self.execution, self.place)
        if not slow_start or self.done >= self.steps:
            return
        self._say("compile", now=True)
        self.backward(self.done, self.weights.clear)
        if isinstance(self.weights, FlatWeights):
            graph = self.execution.cuda_graph
            self.weights.rehearse(
                lambda work: recorded(work, self.place, "update") if graph else work
            )
        self.weights.clear()
        self.clock.lap("compile")

    def finish(self) -> None:
        """Last measures and the final records; the checkpoint is no longer needed."""
        final: list[dict[str, Any]] = [{} for _ in self.members]
        if not self.all_diverged:
            with self.clock.booked("eval"), self.weights.reading(tracks_of(self.spec)[0]):
                for number, member in enumerate(self.members):
                    if not member.diverged:
                        final[number] = final_measures(
                            member.spec, self._one(number), self._held_out(), self.place.device,
                            member.folder.path,
                        )  # fmt: skip
        self.clock.lap("train")
        self.peak = measured_peak(self.place)  # again: at the start the machine may have been busy
        if self.world.first:
            for member, measures in zip(self.members, final, strict=True):
                member.folder.write_record(record_of(self, member, measures))
            self.folders[0].checkpoint.unlink(missing_ok=True)
        self.world.wait()
        self._say("done", now=True)

    # -- parts --------------------------------------------------------------------------------

    def _stream(self) -> Any:
        spec, device = self.spec, str(self.place.device)
        stream = data.open_stream(spec.data, "train", device=device)
        # a GPU draws endless streams faster than it is handed them (estimate; `bench` counts it)
        if self.execution.pool is None or (self.place.on_gpu and stream.size is None):
            return stream
        batch = spec.optimiser.batch_samples
        needed = steps_of(spec.tokens, batch, tokens_of(spec, stream.shape)) * batch
        pool = Path(self.execution.pool)
        return data.open_stream(spec.data, "train", device=device, pool=pool, needed=needed)

    def _held_out(self) -> Any:
        # the seed of the evaluation, so that runs on other streams of the same source are
        # comparable
        seed = self.spec.evaluation.seed
        held_out = dataclasses.replace(self.spec.data, unique_samples=None, seed=seed)
        return data.open_stream(held_out, "validation", device=str(self.place.device))

    def _weights(self) -> Any:
        if self.execution.parallel == "fsdp" and self.world.size > 1:
            if self.ensemble:
                raise SpecError("A pack cannot be sharded: `--parallel fsdp` trains one run.")
            return ShardedWeights(self.model, self.spec, self.place)
        return FlatWeights(
            self.model, self.specs, ensemble=self.ensemble,
            compiled=compiled(self.execution, self.place),
        )  # fmt: skip

    def _one(self, member: int) -> Any:
        """The prediction of a single member."""
        if not self.ensemble:
            return self.predict
        return lambda x_t, t, text: self.predict(x_t, t, text)[member]

    def _say(self, phase: Phase, *, now: bool = False) -> None:
        if not self.world.first:
            return
        steps, seconds = self.done - self._begun_at, self.clock.trained
        speed = steps * self.step_tokens / seconds if steps and seconds else None
        left = (self.steps - self.done) * (self.clock.session_time / steps) if steps else None
        self.reporter.say(
            [
                Progress(
                    run_id=member.folder.run_id,
                    phase=phase,
                    step=self.done,
                    steps=self.steps,
                    tokens=self.done * self.step_tokens,
                    loss=finite(member.train_loss),
                    tokens_per_s=speed,
                    mfu=self.mfu(speed),
                    eta_s=0.0 if phase == "done" else left,
                    message=member.diverged["reason"] if member.diverged else "",
                )
                for member in self.members
            ],
            now=now,
        )

    def mfu(self, tokens_per_s: float | None) -> float | None:
        """Model FLOPs over the measured peak of all devices; of the whole pack."""
        if tokens_per_s is None:
            return None
        rate = tokens_per_s / self.tokens_per_sample * self.flops.total * len(self.specs)
        return rate / (self.peak * self.world.size)


def tokens_of(spec: Spec, shape: SampleShape) -> int:
    """Image or video tokens of a sample."""
    return math.prod(shape.grid(spec.model.patch))


def one_shape(specs: Sequence[Spec]) -> Spec:
    """The first spec, if all are alike in what an ensemble must share.

    Raises
    ------
    SpecError
        Naming the first field that differs.
    """
    first = to_mapping(_without_free(specs[0]))
    for spec in specs[1:]:
        other = to_mapping(_without_free(spec))
        for section, fields in first.items():
            if fields != other[section]:
                raise SpecError(
                    f"Runs of a pack must agree in `{section}`: {fields} and {other[section]} "
                    "differ. Only seed, learning_rate, weight_decay and clip may."
                )
    return specs[0]


def _without_free(spec: Spec) -> Spec:
    same = dataclasses.replace(spec.optimiser, learning_rate=1.0, weight_decay=0.0, clip=1.0)
    return dataclasses.replace(spec, optimiser=same, seed=0)
