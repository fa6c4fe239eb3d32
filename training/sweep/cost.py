"""What a run will take: FLOPs by formula, hours by throughput, money by price.

Throughput comes from ``bench.json`` where `training bench` has been run on this machine; else from
the peak of the device times an assumed share of it (MFU), which is said. On a CPU the peak is a
one-second matrix product.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.config import Spec
from training.errors import SpecError, nearest
from training.sweep.amounts import short
from training.sweep.check import shape_of

if TYPE_CHECKING:
    from training.shapes import SampleShape

# Assumed share of the peak by core parameters, log-linear between. GPU: gates of the design note
# (60, 140, 280, 340 of 790 TFLOP/s) over the data sheet peak. CPU: measured, two workers of one
# thread on two shared cores with AVX-512, 1,024 tokens a batch; other machines will differ.
MFU_GPU = ((1e6, 0.06), (1e7, 0.14), (1e8, 0.28), (5e8, 0.34))
MFU_CPU = ((5e3, 0.10), (2e4, 0.17), (5e4, 0.24), (1.5e5, 0.38), (2e6, 0.48))
START_S = 0.5
"""Of a run in a worker that is there: model, validation set, records. Chosen."""


@dataclass(frozen=True)
class Cost:
    """Of one run. `flops`: training by formula; `eval_flops`: read-outs and the
    measures at the end; `hours` of one device.
    """

    N: float
    T: int
    batch_tokens: int
    flops: float
    eval_flops: float
    hours: float
    price_per_hour: float | None = None

    @property
    def money(self) -> float | None:
        """What the hours cost, where a price was given."""
        return None if self.price_per_hour is None else self.hours * self.price_per_hour


@dataclass(frozen=True)
class Throughput:
    """Model FLOP/s by size. `points`: (core parameters, FLOP/s); `source`: a sentence on it."""

    points: tuple[tuple[float, float], ...]
    source: str

    def at(self, size: float) -> float:
        """FLOP/s for a model of `size` core parameters, log-linear between points, flat outside."""
        return interpolated(self.points, size)


def cost_of(spec: Spec, throughput: Throughput, *, price_per_hour: float | None = None) -> Cost:
    """FLOPs, hours and money of a run."""
    from training.engine.schedule import tracks_of

    shape = shape_of(spec.data)
    N = core_parameters(spec)
    flops = flops_of_sample(spec) * samples_of(spec)
    measured = spec.evaluation.samples + spec.evaluation.low_t_samples
    # forward only, a third of a training step; once for each kind of weights
    forward = flops_of_sample(spec) / 3
    evaluation = forward * (readouts(spec) * len(tracks_of(spec)) * measured + passes_at_end(spec))
    per_sample = tokens_per_sample(spec, shape)
    return Cost(
        N=N,
        T=samples_of(spec) * per_sample,
        batch_tokens=spec.optimiser.batch_samples * per_sample,
        flops=flops,
        eval_flops=evaluation,
        hours=((flops + evaluation) / throughput.at(N) + START_S) / 3600,
        price_per_hour=price_per_hour,
    )


def flops_of_sample(spec: Spec) -> float:
    """Training FLOPs of one sample."""
    from training.flops import flops_per_sample

    return float(flops_per_sample(spec.model, shape_of(spec.data)).total)


def core_parameters(spec: Spec) -> float:
    """Parameters of the blocks without modulation: the N that is fitted."""
    from training.models.count import predicted_groups

    return float(predicted_groups(spec.model, shape_of(spec.data))["core"])


def tokens_per_sample(spec: Spec, shape: SampleShape) -> int:
    """Image or video tokens in one sample."""
    return max(1, math.prod(shape.grid(spec.model.patch)))


def samples_of(spec: Spec) -> int:
    """Samples the run sees: the whole batches that come nearest to its tokens."""
    return steps_of_spec(spec) * spec.optimiser.batch_samples


def steps_of_spec(spec: Spec) -> int:
    """Optimiser steps of the run."""
    from training.engine.schedule import steps_of

    per_sample = tokens_per_sample(spec, shape_of(spec.data))
    return steps_of(spec.tokens, spec.optimiser.batch_samples, per_sample)


def readouts(spec: Spec) -> int:
    """How many times the run is read out, its end included."""
    from training.engine.schedule import readout_steps

    step_tokens = spec.optimiser.batch_samples * tokens_per_sample(spec, shape_of(spec.data))
    return len(readout_steps(steps_of_spec(spec), step_tokens, spec.evaluation))


def passes_at_end(spec: Spec) -> float:
    """Forward passes of one sample that the measures at the end come to.

    A probe of the likelihood is a backward pass to the input, about as much as a forward one; the
    solver is run with all its steps and with half of them, two calls each.
    """
    from training.evals.likelihood import EXACT_TRACE

    asked, numbers = spec.evaluation, shape_of(spec.data).numel
    probes = numbers if numbers <= EXACT_TRACE else asked.likelihood_probes
    likelihood = asked.likelihood_samples * 3.0 * asked.likelihood_steps * (1 + probes)
    calls = 1 if asked.guidance in (0.0, 1.0) else 2
    drawn = (asked.frechet_samples + asked.pictures) * 2.0 * asked.sampler_steps * calls
    return likelihood + drawn


def throughput_of(
    device: str = "auto",
    *,
    bench: Path | None = None,
    peak_flops: float | None = None,
    without: Collection[str] = (),
) -> Throughput:
    """FLOP/s by size on `device`: ``cpu``, ``cuda``, ``auto``, or a GPU by name (``H200``).

    `without`: modes of the bench that the runs will not have, such as ``ensemble``.
    """
    if bench is not None and bench.exists():
        found = _from_bench(bench, device, without)
        if found is not None:
            return found
    if peak_flops is not None:
        return _assumed(MFU_GPU, peak_flops, f"a peak of {peak_flops:.3g} FLOP/s as given")
    if device in ("auto", "cuda", "cpu") or device.startswith("cuda:"):
        name = None if device == "cpu" else _gpu_name()
        if name is None and device not in ("auto", "cpu"):
            raise SpecError(f"Device `{device}` is not there: torch sees no GPU. Use `cpu`.")
        if name is None:
            peak = one_core_peak()
            return _assumed(MFU_CPU, peak, f"a matrix product at {short(peak)}FLOP/s on one core")
        device = name
    from training.peak import NOMINAL_TFLOPS

    card = next((each for each in NOMINAL_TFLOPS if _plain(each) in _plain(device)), None)
    if card is None:
        raise SpecError(
            f"The peak of `{device}` is not known; give --peak-flops, or "
            f"{nearest(device, NOMINAL_TFLOPS)}"
        )
    peak = 1e12 * NOMINAL_TFLOPS[card]
    return _assumed(MFU_GPU, peak, f"the data sheet peak of {card}, {peak:.3g} FLOP/s")


@functools.cache
def one_core_peak() -> float:
    """FLOP/s of a matrix product on one thread, as workers run."""
    import torch

    from training.device import Place
    from training.peak import measured_peak

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured_peak(Place(torch.device("cpu"), "float32"))
    finally:
        torch.set_num_threads(threads)


def interpolated(points: Sequence[tuple[float, float]], at: float) -> float:
    """Log-linear between points, flat beyond them."""
    points = sorted(points)
    if at <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if at <= x1:
            share = math.log(at / x0) / math.log(x1 / x0)
            return math.exp(math.log(y0) + share * math.log(y1 / y0))
    return points[-1][1]


def _assumed(shares: Sequence[tuple[float, float]], peak: float, source: str) -> Throughput:
    low, high = shares[0][1], shares[-1][1]
    return Throughput(
        tuple((size, share * peak) for size, share in shares),
        f"assumed: {source}, of which {low:.0%} (small) to {high:.0%} (large models) are used",
    )


def _from_bench(path: Path, device: str, without: Collection[str]) -> Throughput | None:
    """Throughput from what `bench` wrote: rows with N and FLOP/s, the fastest mode of each size.

    None where it was measured on something else than the runs are meant for, or in other modes.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise SpecError(f"`{path}` is no JSON: {error}. Run the bench again.") from error
    if isinstance(content, dict) and "device" in content:
        here = device in ("auto", "cuda") or device.startswith("cuda:")
        wanted = (_gpu_name() or "cpu") if here else device
        if _plain(wanted) not in _plain(content["device"]):
            return None
    rows = content.get("rows", content.get("results", [])) if isinstance(content, dict) else content
    best: dict[float, float] = {}
    for row in rows:
        if row.get("mode") in without:
            continue
        size = _first(row, "N", "params_core", "N_core")
        speed = _first(row, "model_flops_per_s", "flops_per_s")
        if speed is None and (tera := _first(row, "model_tflops", "tflops")) is not None:
            speed = tera * 1e12
        if size and speed:
            best[size] = max(speed, best.get(size, 0.0))
    return Throughput(tuple(best.items()), f"measured, `{path.name}`") if best else None


def _first(row: Mapping[str, Any], *names: str) -> float | None:
    return next((float(row[name]) for name in names if row.get(name)), None)


def _plain(name: str) -> str:
    return name.upper().replace(" ", "").replace("-", "")


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
