"""Linear layer, norm and MLP with an optional leading ensemble axis.

An ensemble is E models of equal shape in one set of tensors: weights are (E, out, in), activations
(E, B, n, width). Everything else in `training.models` is written over trailing axes, so that the
only places that know of E are the ones here and the look-up of words.

Legend: x_BND tokens (B samples, n tokens, width); a leading E may stand before B everywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6


class Linear(nn.Module):
    """x W^T + b, each member with its own W and b."""

    def __init__(self, inputs: int, outputs: int, members: int | None) -> None:
        super().__init__()
        lead = () if members is None else (members,)
        self.ensemble = members is not None
        self.weight = nn.Parameter(torch.empty(*lead, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(*lead, outputs))

    def forward(self, x_BND: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if not self.ensemble:
            return F.linear(x_BND, self.weight, self.bias)
        y_EMD = torch.baddbmm(
            self.bias.unsqueeze(1), x_BND.flatten(1, -2), self.weight.transpose(1, 2)
        )
        return y_EMD.reshape(*x_BND.shape[:-1], -1)


class Mlp(nn.Module):
    """Two layers; tanh-approximated GELU between them as in DiT, PixArt and SD3, or SiLU."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        members: int | None,
        *,
        silu: bool = False,
    ) -> None:
        super().__init__()
        self.silu = silu
        self.first = Linear(inputs, hidden, members)
        self.second = Linear(hidden, outputs, members)

    def forward(self, x_BND: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        hidden = self.first(x_BND)
        hidden = F.silu(hidden) if self.silu else F.gelu(hidden, approximate="tanh")
        return self.second(hidden)


def norm(x_BND: Tensor) -> Tensor:
    """LayerNorm without scale and shift: what follows it is a modulation, or a linear layer."""
    return F.layer_norm(x_BND, x_BND.shape[-1:], eps=_EPS)


def modulated(x_BND: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """norm(x) (1 + scale) + shift, with shift and scale of shape (..., B, 1, width)."""
    return torch.addcmul(shift, norm(x_BND), 1.0 + scale)


def vectors(count: int, width: int, members: int | None) -> nn.Parameter:
    """A learned (count, width) table, or (E, count, width)."""
    lead = () if members is None else (members,)
    return nn.Parameter(torch.empty(*lead, count, width))


def chunks(m: Tensor, count: int) -> tuple[Tensor, ...]:
    """(..., B, count * width) as `count` tensors (..., B, 1, width) that broadcast over tokens."""
    return m.unsqueeze(-2).chunk(count, dim=-1)
