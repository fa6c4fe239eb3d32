"""Self-attention over a sequence, over space or over time, and cross-attention to text.

Legend: x_BND tokens; q_BNHS queries (n tokens, h heads of size s); a leading E may stand before B
and is folded into it for the fused kernels, which take four axes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.layers import Linear
from training.models.positions import rotate

Axis = Literal["all", "space", "time"]
_EPS = 1e-6


class HeadNorm(nn.Module):
    """RMS norm of queries and keys over each head, each with a learned scale (QK-norm)."""

    def __init__(self, size: int, members: int | None) -> None:
        super().__init__()
        lead = () if members is None else (members,)
        self.query_scale = nn.Parameter(torch.empty(*lead, size))
        self.key_scale = nn.Parameter(torch.empty(*lead, size))

    def forward(self, q_BNHS: Tensor, k_BNHS: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, normalised."""
        return rms_normed(q_BNHS, self.query_scale), rms_normed(k_BNHS, self.key_scale)


class KeyNorm(nn.Module):
    """`HeadNorm` for keys alone."""

    def __init__(self, size: int, members: int | None) -> None:
        super().__init__()
        lead = () if members is None else (members,)
        self.key_scale = nn.Parameter(torch.empty(*lead, size))

    def forward(self, k_BNHS: Tensor) -> Tensor:
        """Keys, normalised."""
        return rms_normed(k_BNHS, self.key_scale)


class Attention(nn.Module):
    """Self-attention with its projections.

    Parameters
    ----------
    scale : float or None
        Of the logits; None: 1 / sqrt(size of a head).
    axis : {"all", "space", "time"}
        Which tokens see each other: all, those of one frame, or those of one place.
    frames : int
        Tokens along time, for the last two.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        members: int | None,
        *,
        qk_norm: bool = False,
        scale: float | None = None,
        axis: Axis = "all",
        frames: int = 1,
    ) -> None:
        super().__init__()
        self.heads, self.scale, self.axis, self.frames = heads, scale, axis, frames
        self.qkv = Linear(width, 3 * width, members)
        self.norms = HeadNorm(width // heads, members) if qk_norm else None
        self.proj = Linear(width, width, members)

    def forward(self, x_BND: Tensor, rope: Tensor | None) -> Tensor:
        """What each token takes from the others, (..., B, n, width)."""
        q, k, v = self.qkv(x_BND).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        if self.norms is not None:
            q, k = self.norms(q, k)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        if self.axis == "all":
            return self.proj(attend(q, k, v, self.scale))
        q, k, v = (self._apart(each) for each in (q, k, v))
        return self.proj(self._together(attend(q, k, v, self.scale)))

    def _apart(self, q_BNHS: Tensor) -> Tensor:
        """(..., B, frames, places, h, s), or with places before frames."""
        q = q_BNHS.unflatten(-3, (self.frames, -1))
        return q if self.axis == "space" else q.transpose(-4, -3)

    def _together(self, out: Tensor) -> Tensor:
        return (out if self.axis == "space" else out.transpose(-3, -2)).flatten(-3, -2)


class CrossAttention(nn.Module):
    """Image tokens look at text tokens. The output projection starts at zero, as in PixArt."""

    def __init__(
        self,
        width: int,
        heads: int,
        members: int | None,
        *,
        qk_norm: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.query = Linear(width, width, members)
        self.key_value = Linear(width, 2 * width, members)
        self.norms = HeadNorm(width // heads, members) if qk_norm else None
        self.proj = Linear(width, width, members)

    def forward(self, x_BND: Tensor, y_BMD: Tensor) -> Tensor:
        """What each image token takes from the text, (..., B, n, width)."""
        q = self.query(x_BND).unflatten(-1, (self.heads, -1))
        k, v = self.key_value(y_BMD).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        if self.norms is not None:
            q, k = self.norms(q, k)
        return self.proj(attend(q, k, v, self.scale))


def rms_normed(x_BNHS: Tensor, scale: Tensor) -> Tensor:
    """Each head over its root mean square, in float32, times a learned scale (s,) or (E, s)."""
    if scale.ndim == 2:
        scale = scale[:, None, None, None, :]
    return (F.rms_norm(x_BNHS.float(), x_BNHS.shape[-1:], eps=_EPS) * scale).to(x_BNHS.dtype)


def attend(q_BNHS: Tensor, k_BMHS: Tensor, v_BMHS: Tensor, scale: float | None) -> Tensor:
    """softmax(scale q k^T) v with the heads side by side, (..., n, h s)."""
    lead = q_BNHS.shape[:-3]
    q, k, v = (each.flatten(0, -4).transpose(1, 2) for each in (q_BNHS, k_BMHS, v_BMHS))
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return out.transpose(1, 2).reshape(*lead, q_BNHS.shape[-3], -1)
