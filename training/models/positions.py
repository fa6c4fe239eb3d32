"""Where a token lies: fixed sine-cosine tables and axial rotary embedding, both over (t, h, w).

Both split the available sine-cosine pairs among the axes that are longer than one token, so an
image spends none on time.

Legend: grid (T, H, W) tokens along each axis, n = T H W with w fastest; s size of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SINCOS_BASE = 10_000.0  # Vaswani et al. 2017; DiT
_ROPE_BASE = 100.0  # for axial rotation of short axes: Heo et al. 2024, arXiv 2403.13298


def split_pairs(pairs: int, grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """How many of `pairs` each axis gets: none for an axis of one token, a quarter for time.

    Examples
    --------
    >>> split_pairs(8, (1, 8, 8))
    (0, 4, 4)
    >>> split_pairs(8, (4, 8, 8))
    (2, 3, 3)
    """
    space = [axis for axis in (1, 2) if grid[axis] > 1]
    result = [0, 0, 0]
    if grid[0] > 1:
        result[0] = max(1, pairs // 4) if space else pairs
    left = pairs - result[0]
    for at, axis in enumerate(space or [2] * (left > 0)):
        result[axis] = left // len(space or [2]) + (at < left % len(space or [2]))
    return (result[0], result[1], result[2])


def sincos(grid: tuple[int, int, int], width: int) -> Tensor:
    """Fixed table (n, width), float32; `width` is even."""
    angles = _angles(grid, width // 2, _SINCOS_BASE)
    return torch.cat((angles.sin(), angles.cos()), dim=-1).float()


def rope(grid: tuple[int, int, int], size: int, *, before: int = 0) -> Tensor:
    """Cosines and sines (2, before + n, 1, size / 2) for `rotate`.

    `before` tokens (time, text) stand ahead of the grid and are not turned, as in FLUX, where text
    lies at the origin; the order of words is told to them by their own table.
    """
    angles = _angles(grid, size // 2, _ROPE_BASE)
    angles = torch.cat((angles.new_zeros(before, size // 2), angles))
    return torch.stack((angles.cos(), angles.sin())).float().unsqueeze(2)


def rotate(x_BNHS: Tensor, rope: Tensor) -> Tensor:
    """Turn each pair (first half, second half) of a head by the angle of its token."""
    cos, sin = rope[0], rope[1]
    a, b = x_BNHS.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x_BNHS.dtype)


def waves(value: Tensor, features: int) -> Tensor:
    """[cos, sin] of `value` at `features` / 2 frequencies from 1 down to 1e-4, (..., features)."""
    half = features // 2
    steps = torch.arange(half, dtype=torch.float32, device=value.device)
    frequencies = torch.exp(-math.log(10_000.0) / half * steps)
    angles = value.unsqueeze(-1).float() * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _angles(grid: tuple[int, int, int], pairs: int, base: float) -> Tensor:
    """(n, pairs) in float64: position times frequency, the axes one after another."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    parts = []
    for at, count in zip(axes, split_pairs(pairs, grid), strict=True):
        steps = torch.arange(count, dtype=torch.float64)
        parts.append(at.reshape(-1, 1) * base ** (-steps / max(count, 1)))
    return torch.cat(parts, dim=-1)
