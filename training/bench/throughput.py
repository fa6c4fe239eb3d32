"""How fast a workload trains: the real step of a run, timed, its losses held against eager ones.

The clock includes data, noise, optimiser, averaged weights and the looks at the loss; read-outs,
checkpoints and compilation are not in it. It counts wall time, but on one thread of a CPU the
seconds of this process, as the peak does: other work on the machine is not ours. FLOPs are those of
the model by formula, summed over the members of an ensemble.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.bench.workloads import Workload, execution_for
from training.device import Place
from training.engine.loop import advance
from training.engine.session import Session
from training.engine.world import World
from training.models.count import predicted_groups
from training.peak import measured_peak, nominal_peak
from training.record.folder import RunFolder

PARITY_STEPS = 20
TOLERANCE = {"float32": 1e-4, "tf32": 1e-3, "bf16": 1e-2}
"""Relative difference of losses that rounding explains after so many steps; chosen."""
_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One size in one mode.

    Parameters
    ----------
    N, N_total : int
        Parameters of the blocks without modulation, and all, of one member.
    tokens_per_step : int
        Of one member.
    tokens_per_s, model_flops_per_s : float
        Summed over members.
    share_measured, share_nominal : float or None
        Of the matmul peak measured here, and of the data sheet.
    compile_s : float
        Before the first step: compilation, recording, first use of libraries.
    parity : float or None
        Largest relative difference of the first losses to those of the eager mode; None in it.
    micro_batch : int
        Samples at a time.
    clock : {"wall", "cpu"}
        What the seconds are.
    """

    size: str
    mode: str
    members: int
    precision: str
    N: int
    N_total: int
    width: int
    depth: int
    heads: int
    tokens_per_step: int
    micro_batch: int
    steps: int
    seconds: float
    clock: str
    tokens_per_s: float
    model_flops_per_s: float
    share_measured: float
    share_nominal: float | None
    max_memory_bytes: int | None
    compile_s: float
    parity: float | None
    tolerance: float
    gate_tflops: float | None
    aim_tflops: float | None

    @property
    def tflops(self) -> float:
        """Model TFLOP/s."""
        return self.model_flops_per_s / 1e12

    @property
    def agrees(self) -> bool:
        """Whether the losses are those of the eager mode."""
        return self.parity is None or self.parity <= self.tolerance

    @property
    def verdict(self) -> str:
        """Against gate and aim, where there are any."""
        if self.gate_tflops is None or self.aim_tflops is None:
            return ""
        if self.tflops < self.gate_tflops:
            return f"below {self.gate_tflops:.0f}"
        return f"PASS {self.gate_tflops:.0f}" + (
            f", aim {self.aim_tflops:.0f}" if self.tflops >= self.aim_tflops else ""
        )


def measure(
    work: Workload,
    mode: str,
    place: Place,
    *,
    seconds: float = 10.0,
    ensemble: int = 8,
    eager: Tensor | None = None,
) -> tuple[Row, Tensor]:
    """Speed of a workload in a mode, and its first losses, ``(step,)``, of the first member.

    Parameters
    ----------
    work : Workload
        From `training.bench.workloads.reference`.
    mode : str
        Of `training.bench.workloads.MODES`.
    place : Place
        Where it runs.
    seconds : float
        To spend on timing, in three rounds of which the fastest counts: another process on the
        machine only ever makes it look slower.
    ensemble : int
        Members, with seeds 0, 1, ..., in the mode of that name.
    eager : Tensor, optional
        First losses in eager mode.
    """
    members = ensemble if mode == "ensemble" else 1
    with _opened(work, mode, place, members) as run:
        losses, step_s = _first_losses(run)
        steps, took = _timed(run, step_s, seconds)
        tokens = run.step_tokens * steps * members
        flops = run.flops.total * work.spec.optimiser.batch_samples * steps * members
        model, groups = work.spec.model, predicted_groups(work.spec.model, run.stream.shape)
        nominal, (gate, aim) = nominal_peak(place), work.gate or (None, None)
        row = Row(
            size=work.size,
            mode=mode,
            members=members,
            precision=place.precision,
            N=groups["core"],
            N_total=groups["total"],
            width=model.width,
            depth=model.depth,
            heads=model.heads,
            tokens_per_step=run.step_tokens,
            micro_batch=run.backward.micro_batch,
            steps=steps,
            seconds=took,
            clock="cpu" if _clock(place) is time.process_time else "wall",
            tokens_per_s=tokens / took,
            model_flops_per_s=flops / took,
            share_measured=flops / took / measured_peak(place),
            share_nominal=flops / took / nominal if nominal else None,
            max_memory_bytes=place.max_memory,
            compile_s=run.clock.spent["compile"],
            parity=None if eager is None else relative(losses, eager),
            tolerance=TOLERANCE[place.precision],
            gate_tflops=gate,
            aim_tflops=aim,
        )
    return row, losses


def relative(losses: Tensor, others: Tensor) -> float:
    """Largest |a - b| / b; infinite where a loss is not finite, which is no agreement."""
    worst = ((losses - others) / others).abs().max().item()
    return worst if math.isfinite(worst) else math.inf


@contextlib.contextmanager
def _opened(work: Workload, mode: str, place: Place, members: int) -> Iterator[Session]:
    """A session in a folder that goes away, ready for its first step."""
    if place.on_gpu:
        torch.cuda.reset_peak_memory_stats(place.device)
    execution = execution_for(mode, place, micro_batch=work.micro_batch)
    specs = [dataclasses.replace(work.spec, seed=seed) for seed in range(members)]
    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        todo = [(spec, RunFolder.of(root, spec)) for spec in specs]
        for spec, folder in todo:
            folder.create(spec)
        run = Session(todo, execution, place, World(), None)
        run.resume()
        run.warm_up()
        yield run
    del run
    gc.collect()
    if place.on_gpu:
        torch.cuda.empty_cache()


def _first_losses(run: Session) -> tuple[Tensor, float]:
    """Losses of the first member, and seconds a step takes, from the later half of them."""
    losses, half, clock = [], PARITY_STEPS // 2, _clock(run.place)
    for step in range(PARITY_STEPS):
        if step == half:
            run.place.wait()
            begun = clock()
        losses.append(advance(run, step, run.rate(step))[0])
    run.place.wait()
    return torch.stack(losses).cpu(), (clock() - begun) / (PARITY_STEPS - half)


def _clock(place: Place) -> Callable[[], float]:
    alone = not place.on_gpu and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def _timed(run: Session, step_s: float, seconds: float) -> tuple[int, float]:
    """Steps and seconds of the fastest round."""
    steps = max(2, round(seconds / _ROUNDS / step_s))
    if steps > run.feed.at_once:  # whole blocks of samples, so that each round draws its share
        steps = -(-steps // run.feed.at_once) * run.feed.at_once
    best, clock = math.inf, _clock(run.place)
    for _ in range(_ROUNDS):
        run.place.wait()
        begun = clock()
        for step in range(run.done, run.done + steps):
            rate = run.rate(step)
            advance(run, step, rate)
            if run.time_to_look:
                run.look(rate)
        run.place.wait()
        best = min(best, clock() - begun)
    return steps, best
