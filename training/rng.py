"""Random numbers as a pure function of (seed, purpose, index): Philox 4x32-10 in tensor operations.

Nothing here has a state. The same seed, purpose and index give the same number on every machine, in
every world size, micro-batch or order of drawing, so resuming a run needs no generator state and
two ranks can never draw the same noise by accident. Integers are the same on CPU and GPU; floats
are equal up to the rounding of log and cos.

Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def key_of(seed: int, purpose: str) -> tuple[int, int]:
    """Two 32-bit words that no other (seed, purpose) is likely to share."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Four words of 32 random bits for each counter.

    Parameters
    ----------
    counter : four int64 tensors that broadcast against each other
        Words of the counter, each in [0, 2**32).
    key : (int, int)
        From `key_of`.

    Returns
    -------
    list of four int64 tensors
        Uniform on [0, 2**32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap modulo 2**64, so both 32-bit halves come out right after masking
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (p1 >> 32 & _LOW) ^ c1 ^ k0,
            p1 & _LOW,
            (p0 >> 32 & _LOW) ^ c3 ^ k1,
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


def words(seed: int, purpose: str, index: Tensor, count: int) -> Tensor:
    """Random 32-bit words as int64 of shape ``(*index.shape, count)``.

    Parameters
    ----------
    seed, purpose : int, str
        Which stream of random numbers.
    index : int64 tensor, any shape
        Which draws: the global index of a sample, say.
    count : int
        Words for each index.
    """
    block = torch.arange(-(-count // 4), device=index.device)
    at = index.unsqueeze(-1)
    zero = torch.zeros_like(block)
    four = philox(
        (block + 0 * at, zero + 0 * at, at & _LOW, at >> 32 & _LOW), key_of(seed, purpose)
    )
    return torch.stack(four, dim=-1).flatten(-2)[..., :count]


def uniform(seed: int, purpose: str, index: Tensor, shape: Sequence[int] = ()) -> Tensor:
    """Uniform draws on (0, 1], float32 of shape ``(*index.shape, *shape)``.

    Never 0; rounding makes one draw in 2**24 a 1, which inverse transforms here must bear.
    """
    bits = words(seed, purpose, index, math.prod(shape))
    return ((bits >> 8).float() + 0.5).mul_(2.0**-24).reshape(*index.shape, *shape)


def normal(seed: int, purpose: str, index: Tensor, shape: Sequence[int] = ()) -> Tensor:
    """Standard normal draws (Box-Muller), float32 of shape ``(*index.shape, *shape)``."""
    count = math.prod(shape)
    pairs = uniform(seed, purpose, index, (2 * (-(-count // 2)),))
    radius = torch.sqrt(-2.0 * torch.log(pairs[..., 0::2]))
    angle = 2.0 * math.pi * pairs[..., 1::2]
    both = torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1)
    return both.flatten(-2)[..., :count].reshape(*index.shape, *shape)


def integers(
    seed: int, purpose: str, index: Tensor, high: int, shape: Sequence[int] = ()
) -> Tensor:
    """Integers on [0, high), int64 of shape ``(*index.shape, *shape)``; `high` at most 2**31."""
    bits = words(seed, purpose, index, math.prod(shape)).reshape(*index.shape, *shape)
    return (bits >> 1) * high >> 31


def permuted(seed: int, purpose: str, index: Tensor, size: int) -> Tensor:
    """A keyed permutation of ``0 .. size - 1``, evaluated at `index` without storing it.

    A finite data set is read in this order, another one for every pass (put the pass into
    `purpose`), so that resuming at sample 10**9 costs nothing. A Feistel network over the next even
    number of bits, walked until the value lies inside.
    """
    half = max(1, math.ceil(math.log2(max(size, 2)) / 2))
    mask = (1 << half) - 1

    def once(value: Tensor) -> Tensor:
        left, right = value >> half, value & mask
        for round_ in range(4):
            mixed = words(seed, f"{purpose}/feistel/{round_}", right, 1)[..., 0] & mask
            left, right = right, left ^ mixed
        return left << half | right

    value = once(index)
    outside = value >= size
    while bool(outside.any()):
        value = torch.where(outside, once(value), value)
        outside = value >= size
    return value
