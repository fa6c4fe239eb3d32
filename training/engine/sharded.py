"""Weights spread over the ranks (FSDP2), for models that one device cannot hold.

The same duties as `FlatWeights`, on PyTorch's sharded tensors and its AdamW. A checkpoint holds
whole tensors, so it does not matter how many ranks go on from it, from two on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.config import Spec
from training.device import Place
from training.engine.ema import decay_at, exponent_of
from training.engine.world import World


class ShardedWeights:
    """Weights, moments and averages of one model, each rank holding its part."""

    def __init__(self, model: Any, spec: Spec, place: Place) -> None:
        scales, decayed = model.learning_rate_scales(), model.decayed()
        half = torch.bfloat16 if place.precision == "bf16" else None
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
        for block in model.blocks:
            fully_shard(block, mp_policy=policy)
        fully_shard(model, mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32))
        self.model = model
        named = dict(model.named_parameters())
        optimiser = spec.optimiser
        self.names, self.parameters = list(named), list(named.values())
        self.clip = torch.tensor([[optimiser.clip]], device=place.device)
        self.peak = optimiser.learning_rate
        groups = [
            {
                "params": [named[name]],
                "scale": scales[name],
                "weight_decay": optimiser.weight_decay if name in decayed else 0.0,
            }
            for name in named
        ]
        self.adam = torch.optim.AdamW(
            groups,
            lr=optimiser.learning_rate,
            betas=(optimiser.beta1, optimiser.beta2),
            eps=optimiser.eps,
            foreach=False,
        )
        self.tracks = {
            f"ema_{width:g}": (exponent_of(width), [p.detach().clone() for p in self.parameters])
            for width in optimiser.ema_widths
        }

    def clear(self) -> None:
        """Drop gradients."""
        self.adam.zero_grad()

    @torch.no_grad()
    def step(self, done: int, factor: float, world: World) -> Tensor:
        """One AdamW step; the gradient norm, ``(1,)``. FSDP has averaged the gradients already."""
        norm = _whole(
            nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        )
        nn.utils.clip_grads_with_norm_(self.parameters, float(self.clip), norm)
        for group in self.adam.param_groups:
            group["lr"] = self.peak * factor * group["scale"]
        self.adam.step()
        self.clear()
        for exponent, average in self.tracks.values():
            for old, new in zip(average, self.parameters, strict=True):
                old.lerp_(new.detach(), 1.0 - decay_at(done, exponent))
        return norm.reshape(1)

    @contextlib.contextmanager
    def reading(self, track: str) -> Iterator[None]:
        """The model with averaged weights for the time of a read-out; ``raw``: as it is."""
        if track == "raw":
            yield
            return
        kept = [p.detach().clone() for p in self.parameters]
        self._become(self.tracks[track][1])
        try:
            yield
        finally:
            self._become(kept)

    @torch.no_grad()
    def _become(self, values: list[Tensor]) -> None:
        self.model.reshard()  # the root keeps its gathered weights after a forward pass; drop them
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """Whole tensors of everything the next step depends on; every rank must ask."""
        found = {}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            found[f"values/{name}"] = parameter.detach()
            for moment, tensor in self.adam.state.get(parameter, {}).items():
                found[f"{moment}/{name}"] = tensor
        for track, (_, average) in self.tracks.items():
            found |= {f"{track}/{n}": t for n, t in zip(self.names, average, strict=True)}
        return {name: _whole(tensor) for name, tensor in found.items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        for name, parameter in zip(self.names, self.parameters, strict=True):
            parameter.copy_(_like(state[f"values/{name}"], parameter))
            for moment in ("exp_avg", "exp_avg_sq"):
                self.adam.state[parameter][moment] = _like(state[f"{moment}/{name}"], parameter)
            self.adam.state[parameter]["step"] = state[f"step/{name}"].cpu()
        for track, (_, average) in self.tracks.items():
            for name, tensor in zip(self.names, average, strict=True):
                tensor.copy_(_like(state[f"{track}/{name}"], tensor))


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(tensor: Tensor, other: Tensor) -> Tensor:
    if not isinstance(other, DTensor):
        return tensor.clone()
    return distribute_tensor(tensor, other.device_mesh, other.placements)
