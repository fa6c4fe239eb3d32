"""Peaks that a share of can be quoted against: what the data sheet says, what a product reaches."""

from __future__ import annotations

import time

import torch

from training.device import Place

NOMINAL_TFLOPS = {
    # dense bf16 matrix products, from the makers' data sheets; the first name that fits is taken
    "GB300": 2500.0, "GB200": 2500.0, "B300": 2250.0, "B200": 2250.0,
    "H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "GH200": 989.0, "H800": 989.0,
    "A100": 312.0, "A800": 312.0, "L40S": 362.0, "L40": 181.0, "L4": 121.0,
    "A10G": 70.0, "A10": 125.0,
    "RTX 5090": 209.5, "RTX 4090": 165.2, "RTX 3090": 71.0, "MI325X": 1307.4, "MI300X": 1307.4,
}  # fmt: skip


def nominal_peak(place: Place) -> float | None:
    """Dense bf16 FLOP/s of the device by its data sheet; None for a CPU or an unknown card."""
    if not place.on_gpu:
        return None
    name = torch.cuda.get_device_name(place.device)
    return next((1e12 * peak for card, peak in NOMINAL_TFLOPS.items() if card in name), None)


_best: dict[tuple[str, str, int], float] = {}


def measured_peak(place: Place) -> float:
    """FLOP/s of a large matrix product here, in the precision of the run: the best seen so far.

    8192 cubed on a GPU, 1024 cubed on a CPU, random numbers (zeros read 13 % high on an H200).
    Other work on the machine only ever makes it look slower, so the best of all probes of this
    process counts, and a CPU is timed by its own seconds.
    """
    key = (str(place.device), place.precision, torch.get_num_threads())
    _best[key] = max(_best.get(key, 0.0), _probe(place))
    return _best[key]


def _probe(place: Place) -> float:
    size, repeats = (8192, 20) if place.on_gpu else (1024, 2)
    dtype = torch.bfloat16 if place.precision == "bf16" else torch.float32
    generator = torch.Generator(place.device).manual_seed(0)
    left, right = (
        torch.randn(size, size, device=place.device, generator=generator).to(dtype)
        for _ in range(2)
    )
    clock = time.perf_counter if place.on_gpu else _thread_seconds
    rounds = []
    for _ in range(4):  # the first one warms up
        place.wait()
        start = clock()
        for _ in range(repeats):
            torch.mm(left, right)
        place.wait()
        rounds.append((clock() - start) / repeats)
    return 2.0 * size**3 / min(rounds[1:])


def _thread_seconds() -> float:
    """CPU seconds over the threads that worked."""
    return time.process_time() / torch.get_num_threads()
