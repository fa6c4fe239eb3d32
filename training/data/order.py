"""Keyed permutations of finite sets, remembered where they are small enough to be written out."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from training import rng

WRITTEN_OUT = 1 << 21  # 16 MiB; larger sets are permuted number by number


def shuffled(seed: int, purpose: str, index: Tensor, size: int) -> Tensor:
    """`rng.permuted`: the same numbers, 100 times sooner for the small batches of training."""
    if size > WRITTEN_OUT:
        return rng.permuted(seed, purpose, index, size)
    return _written(seed, purpose, size, str(index.device))[index]


@lru_cache(maxsize=8)
def _written(seed: int, purpose: str, size: int, device: str) -> Tensor:
    return rng.permuted(seed, purpose, torch.arange(size, device=device), size)
