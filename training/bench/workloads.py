"""The workloads that speed is quoted at: a model of a size, its batch, and what it should reach.

Gates and aims come from the roofline of a block in our design (a fused bf16 block moves about 180 d
bytes per token and does 72 d^2 FLOPs): they are derived targets for an H200, summed over the models
that share it, not measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.config import Data, Evaluation, Execution, Model, Optimiser, Spec
from training.device import Place
from training.sizes import parameters, sized

GPU_SIZES = ("1M", "10M", "100M", "500M")
CPU_SIZES = ("6.6k", "20k", "50k", "150k", "550k")

GATES = {1_000_000: (60.0, 110.0), 10_000_000: (140.0, 200.0),
         100_000_000: (280.0, 340.0), 500_000_000: (340.0, 400.0)}  # fmt: skip
"""N -> (gate, aim) in model TFLOP/s of one GPU."""

_ENDLESS = 1 << 50  # tokens: a bench stops by the clock
_BYTES = 40.0  # of activations per token, layer and number of width; estimate
_ROOM = 48e9  # bytes of activations that a micro-batch may take; chosen, for cards of 80 GB


@dataclass(frozen=True)
class Workload:
    """What is timed. `micro_batch`: samples at a time, None: all; `gate`: (gate, aim), TFLOP/s."""

    size: str
    spec: Spec
    micro_batch: int | None = None
    gate: tuple[float, float] | None = None


def reference(size: str, place: Place, *, batch_tokens: int | None = None) -> Workload:
    """The workload of a size on the device.

    On a GPU: 32 x 32 leaves in 256 tokens, 16k tokens a step at 1M, 64k at 10M, 256k at 100M, 512k
    at 500M, in between by the power of two nearest to 16k (N / 1M)^0.6. On a CPU: 16 x 16 leaves
    in 64 tokens, 1,024 tokens a step, as the sweeps of small models have them.

    Examples
    --------
    >>> import torch
    >>> reference("20k", Place(torch.device("cpu"), "float32")).spec.optimiser.batch_samples
    16
    """
    count = parameters(size)
    model = Model(**sized(size))  # pyright: ignore
    resolution, per_sample = (32, 256) if place.on_gpu else (16, 64)
    tokens = batch_tokens or (gpu_tokens(count) if place.on_gpu else 1024)
    batch = max(1, tokens // per_sample)
    spec = Spec(
        model=model,
        data=Data(resolution=resolution),
        # on a GPU a rate that all sizes bear: comparing losses is for calm ones
        optimiser=Optimiser(batch_samples=batch, learning_rate=3e-4 if place.on_gpu else 8e-3),
        evaluation=Evaluation(samples=64, low_t_samples=0),
        tokens=_ENDLESS,
    )
    gate = next((g for n, g in GATES.items() if abs(count / n - 1) < 0.08), None)
    return Workload(
        size=size,
        spec=spec,
        micro_batch=fitting(model, batch, per_sample) if place.on_gpu else None,
        gate=gate if place.on_gpu else None,
    )


def gpu_tokens(count: int) -> int:
    """Tokens a step for a model of `count` parameters.

    Examples
    --------
    >>> [gpu_tokens(n) // 1024 for n in (1_000_000, 10_000_000, 100_000_000, 500_000_000)]
    [16, 64, 256, 512]
    """
    return 2 ** round(math.log2(16_384 * (count / 1e6) ** 0.6))


def fitting(model: Model, batch: int, per_sample: int) -> int | None:
    """Samples at a time whose activations should fit: the batch in halves; None for all of it."""
    each = _BYTES * model.width * model.depth * per_sample
    halves = math.ceil(math.log2(max(1.0, batch * each / _ROOM)))
    return -(-batch // 2**halves) if halves else None


MODES = ("eager", "compile", "graph", "ensemble")


def execution_for(
    mode: str, place: Place, *, micro_batch: int | None = None, threads: int | None = None
) -> Execution:
    """How a mode is executed. On a GPU an ensemble is compiled and recorded as well."""
    quick = mode == "compile" or (place.on_gpu and mode in ("graph", "ensemble"))
    return Execution(
        device=str(place.device),
        precision=place.precision,  # type: ignore[arg-type]
        compile="on" if quick else "off",
        cuda_graph=mode == "graph" or (place.on_gpu and mode == "ensemble"),
        micro_batch=micro_batch,
        threads=threads,
    )


def modes_for(count: int, place: Place) -> tuple[str, ...]:
    """Modes that can pay for a model of `count` parameters.

    A large model fills a GPU alone, and its launches are nothing against its work. On a CPU
    compilation takes a minute a size; ask for it by name.
    """
    if not place.on_gpu:
        return ("eager", "ensemble")
    return tuple(
        mode
        for mode in MODES
        if not (mode == "ensemble" and count > 2e7) and not (mode == "graph" and count > 2e8)
    )
