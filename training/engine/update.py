"""One AdamW step on flat weights, with clipping and averaged weights: arithmetic on a few tensors.

All that changes from step to step comes in as a tensor, `knobs`, so that a compiled or recorded
update serves the whole run: a learning rate that is a Python number would be compiled in, again and
again.

Legend: E members, P numbers in each, padding included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_SHAPES = 512  # compiled variants of one function in a process; chosen, far above any sweep's


class Flat(NamedTuple):
    """What an update reads and writes. `rate` and `decay` are (E, P), `clip` is (E, 1).

    `knobs`: learning rate over its peak, 1 / (1 - b1^t), 1 / sqrt(1 - b2^t), and for each average
    the weight of the new values in it.
    """

    values: Tensor
    grads: Tensor
    first: Tensor
    second: Tensor
    averages: Sequence[Tensor]
    rate: Tensor
    decay: Tensor | None
    clip: Tensor
    knobs: Tensor


@torch.no_grad()
def update(flat: Flat, b1: float, b2: float, eps: float) -> Tensor:
    """Gradient norms before clipping, ``(E,)``; weights, moments and averages move in place."""
    values, grads, first, second, averages, rate, decay, clip, knobs = flat
    norm = torch.linalg.vector_norm(grads, dim=1)
    grads.mul_((clip / (norm[:, None] + 1e-6)).clamp_(max=1.0))
    first.lerp_(grads, 1 - b1)
    second.mul_(b2).addcmul_(grads, grads, value=1 - b2)
    root = second.sqrt().mul_(knobs[2]).add_(eps)
    change = torch.div(first, root, out=root).mul_(knobs[1])
    if decay is not None:
        change.addcmul_(decay, values)  # decoupled: Loshchilov and Hutter 2019
    values.sub_(change.mul_(rate).mul_(knobs[0]))
    for number, average in enumerate(averages):
        average.lerp_(values, knobs[3 + number])
    return norm


def compiled_update() -> Callable[[Flat, float, float, float], Tensor]:
    """`update` as two or three kernels that go over memory once."""
    allow_many_shapes()
    return _compiled()


@functools.cache
def _compiled() -> Callable[[Flat, float, float, float], Tensor]:
    return torch.compile(update, dynamic=False, fullgraph=True)


def allow_many_shapes() -> None:
    """Let one process compile models of many shapes in turn, as a worker of a sweep does.

    Torch counts variants by function, not by model, and gives up after eight.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = _SHAPES
    torch._dynamo.config.accumulated_recompile_limit = 4 * _SHAPES
