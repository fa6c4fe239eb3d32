"""The processes that share one run under ``torchrun``; without it, one process alone.

Every rank holds the same weights and takes its slice of every batch. What a sample and its noise
are hangs on the sample's global index, so another number of ranks sees the same samples.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from training.errors import SpecError


@dataclass
class World:
    """Rank and size of the group that trains one run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    _joined: bool = False

    @classmethod
    def from_environment(cls) -> World:
        """What ``torchrun`` set, or one process."""
        return cls(
            rank=int(os.environ.get("RANK", 0)),
            size=int(os.environ.get("WORLD_SIZE", 1)),
            local_rank=int(os.environ.get("LOCAL_RANK", 0)),
        )

    def join(self, device: torch.device) -> World:
        """Meet the other ranks."""
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            self._joined = True
        return self

    def __enter__(self) -> World:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._joined:
            dist.destroy_process_group()
            self._joined = False

    @property
    def first(self) -> bool:
        """Whether this rank keeps the records."""
        return self.rank == 0

    def share(self, batch_samples: int) -> slice:
        """Which part of a batch is for this rank."""
        if batch_samples % self.size:
            raise SpecError(
                f"`optimiser.batch_samples` is {batch_samples}, which {self.size} processes cannot "
                "share evenly; start fewer, or change the batch."
            )
        each = batch_samples // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean_(self, tensor: Tensor) -> Tensor:
        """Mean over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor.div_(self.size)
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether some rank raised it; all ranks get the same answer."""
        if self.size == 1:
            return flags
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        raised = torch.tensor([float(flag) for flag in flags], device=device)
        dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return tuple(bool(each) for each in raised.tolist())

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            dist.barrier()
