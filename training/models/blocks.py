"""The blocks: plain (in-context), modulated (adaLN, PixArt), dual and single stream (SD3, FLUX).

All are pre-norm. Gates, or where there are none the projections back into the stream, start at
zero, so a fresh model of any kind is the identity on its tokens.

Legend: x_BND image tokens (or the one sequence), y_BMD text tokens, c_BD condition after its SiLU,
or the shared modulation (..., B, 6 width); a leading E may stand before B everywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.attention import Attention, Axis, CrossAttention, HeadNorm, KeyNorm, attend
from training.models.layers import Linear, Mlp, chunks, modulated, norm, vectors
from training.models.positions import rotate


class PlainBlock(nn.Module):
    """x + attention(norm x), then x + mlp(norm x): what a block is without conditioning."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        members: int | None,
        *,
        qk_norm: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, members, qk_norm=qk_norm, scale=scale)
        self.mlp = Mlp(width, hidden, width, members)

    def forward(self, x_BND: Tensor, rope: Tensor | None = None) -> Tensor:
        """The tokens after the block."""
        x_BND = x_BND + self.attention(norm(x_BND), rope)
        return x_BND + self.mlp(norm(x_BND))


class ModulatedBlock(nn.Module):
    """DiT's block (Peebles & Xie 2022) and PixArt's (Chen et al. 2023).

    With ``shared`` the modulation of all blocks comes from outside and a table of this block is
    added to it (adaLN-single); otherwise this block has a layer of its own (adaLN-zero). With
    ``cross``, attention to the text stands between attention and MLP, on the stream itself and
    without a gate.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        members: int | None,
        *,
        shared: bool,
        cross: bool = False,
        qk_norm: bool = False,
        scale: float | None = None,
        axis: Axis = "all",
        frames: int = 1,
    ) -> None:
        super().__init__()
        self.attention = Attention(
            width, heads, members, qk_norm=qk_norm, scale=scale, axis=axis, frames=frames
        )
        self.mlp = Mlp(width, hidden, width, members)
        self.cross = (
            CrossAttention(width, heads, members, qk_norm=qk_norm, scale=scale) if cross else None
        )
        self.modulation = None if shared else Linear(width, 6 * width, members)
        self.table = vectors(6, width, members) if shared else None

    def forward(
        self, x_BND: Tensor, y_BMD: Tensor | None, c_BD: Tensor, rope: Tensor | None
    ) -> Tensor:
        """The tokens after the block."""
        if self.modulation is not None:
            m = self.modulation(c_BD)
        else:
            assert self.table is not None
            m = c_BD + self.table.flatten(-2).unsqueeze(-2)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = chunks(m, 6)
        out = self.attention(modulated(x_BND, shift, scale), rope)
        x_BND = torch.addcmul(x_BND, gate, out)
        if self.cross is not None:
            assert y_BMD is not None
            x_BND = x_BND + self.cross(x_BND, y_BMD)
        out = self.mlp(modulated(x_BND, shift_mlp, scale_mlp))
        return torch.addcmul(x_BND, gate_mlp, out)


class Stream(nn.Module):
    """One side of a dual block. ``read_only``: it gives keys and values and is not continued."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        members: int | None,
        *,
        qk_norm: bool,
        read_only: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.read_only = heads, read_only
        self.modulation = Linear(width, (2 if read_only else 6) * width, members)
        if read_only:
            self.key_value = Linear(width, 2 * width, members)
            self.key_norm = KeyNorm(width // heads, members) if qk_norm else None
        else:
            self.qkv = Linear(width, 3 * width, members)
            self.norms = HeadNorm(width // heads, members) if qk_norm else None
            self.proj = Linear(width, width, members)
            self.mlp = Mlp(width, hidden, width, members)

    def project(self, x_BND: Tensor, m: tuple[Tensor, ...]) -> tuple[Tensor | None, Tensor, Tensor]:
        """Queries (None if read only), keys and values, each (..., B, n, h, s)."""
        x_BND = modulated(x_BND, m[0], m[1])
        if self.read_only:
            k, v = self.key_value(x_BND).unflatten(-1, (2, self.heads, -1)).unbind(-3)
            return None, (k if self.key_norm is None else self.key_norm(k)), v
        q, k, v = self.qkv(x_BND).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        if self.norms is not None:
            q, k = self.norms(q, k)
        return q, k, v

    def finish(self, x_BND: Tensor, out_BND: Tensor, m: tuple[Tensor, ...]) -> Tensor:
        """The stream after what attention brought, and its MLP."""
        x_BND = torch.addcmul(x_BND, m[2], self.proj(out_BND))
        return torch.addcmul(x_BND, m[5], self.mlp(modulated(x_BND, m[3], m[4])))


class DualBlock(nn.Module):
    """SD3's block (Esser et al. 2024): two streams with their own weights, joined in attention.

    In the ``last`` one nothing reads the text afterwards, so its side ends with keys and values.
    (SD3 also computes its queries there and throws the result away; we do not.)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        members: int | None,
        *,
        qk_norm: bool = False,
        scale: float | None = None,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.image = Stream(width, heads, hidden, members, qk_norm=qk_norm)
        self.text = Stream(width, heads, hidden, members, qk_norm=qk_norm, read_only=last)

    def forward(
        self, x_BND: Tensor, y_BMD: Tensor, c_BD: Tensor, rope: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Image and text tokens after the block."""
        text, image = self.text, self.image
        m_image = chunks(image.modulation(c_BD), 6)
        m_text = chunks(text.modulation(c_BD), 2 if text.read_only else 6)
        q, k, v = image.project(x_BND, m_image)
        q_text, k_text, v_text = text.project(y_BMD, m_text)
        assert q is not None
        k, v = torch.cat((k_text, k), dim=-3), torch.cat((v_text, v), dim=-3)
        before = y_BMD.shape[-2]
        if q_text is not None:
            q = torch.cat((q_text, q), dim=-3)
        if rope is not None:
            q, k = rotate(q, rope[:, -q.shape[-3] :]), rotate(k, rope)
        out = attend(q, k, v, self.scale)
        if q_text is None:
            return image.finish(x_BND, out, m_image), y_BMD
        out_text, out = out[..., :before, :], out[..., before:, :]
        return image.finish(x_BND, out, m_image), text.finish(y_BMD, out_text, m_text)


class SingleBlock(nn.Module):
    """FLUX's single-stream block: text and image in one sequence, attention beside the MLP."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        members: int | None,
        *,
        qk_norm: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.width, self.heads, self.scale = width, heads, scale
        self.modulation = Linear(width, 3 * width, members)
        self.first = Linear(width, 3 * width + hidden, members)
        self.norms = HeadNorm(width // heads, members) if qk_norm else None
        self.second = Linear(width + hidden, width, members)

    def forward(self, x_BND: Tensor, c_BD: Tensor, rope: Tensor | None) -> Tensor:
        """The sequence after the block."""
        shift, scale, gate = chunks(self.modulation(c_BD), 3)
        both = self.first(modulated(x_BND, shift, scale))
        qkv, hidden = both.split((3 * self.width, both.shape[-1] - 3 * self.width), dim=-1)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).unbind(-3)
        if self.norms is not None:
            q, k = self.norms(q, k)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        out = attend(q, k, v, self.scale)
        out = torch.cat((out, F.gelu(hidden, approximate="tanh")), dim=-1)
        return torch.addcmul(x_BND, gate, self.second(out))
