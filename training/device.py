"""Where a run computes, and in which numbers."""

from __future__ import annotations

import contextlib
import gc
import os
from dataclasses import dataclass

import torch

from training.config import Execution
from training.errors import SpecError


@dataclass(frozen=True)
class Place:
    """A device with the numbers used on it."""

    device: torch.device
    precision: str

    @property
    def on_gpu(self) -> bool:
        """Whether kernels run asynchronously on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def max_memory(self) -> int | None:
        """Most bytes of the device in use so far; unknown on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.on_gpu else None

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """bf16 matrix products over float32 weights where that was asked for."""
        if self.precision != "bf16":
            return contextlib.nullcontext()
        # the cache of cast weights may not outlive a captured graph
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def wait(self) -> None:
        """Let the device finish, so that a clock means something."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)


def place_of(execution: Execution, *, local_rank: int = 0) -> Place:
    """The device a run is meant for, with precision and determinism set.

    Raises
    ------
    SpecError
        If the device is not there or cannot compute as asked.
    """
    name = execution.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SpecError(
            f"`device` is {name!r}, but torch sees no CUDA device; use `auto` or `cpu`."
        )
    try:
        device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
    except RuntimeError:
        raise SpecError(
            f"`device` is {name!r}; `auto`, `cpu`, `cuda` or `cuda:1` was expected."
        ) from None
    precision = execution.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" else "float32"
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise SpecError(f"{torch.cuda.get_device_name(device)} has no bf16; use precision `tf32`.")
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    if execution.threads:
        torch.set_num_threads(execution.threads)
    if execution.exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        gc.collect()  # a worker lives through many runs: the last one's memory is not this one's
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return Place(device, precision)


def compiled(execution: Execution, place: Place) -> bool:
    """Whether blocks are compiled: by default on a GPU, where it pays."""
    return execution.compile == "on" or (execution.compile == "auto" and place.on_gpu)
