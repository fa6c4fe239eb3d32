"""From arrays, times and captions to tokens.

Legend: x_BCFHW samples, x_BND patches, t_B times, y_BMD text tokens (M words); a leading E may
stand before B everywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.blocks import PlainBlock
from training.models.layers import Linear, Mlp, vectors
from training.models.positions import sincos, waves

# Sine and cosine features of t. DiT takes 256; 64 resolve t to 1e-3 as well and keep the embedding
# of a model of 10k parameters smaller than its blocks (chosen).
TIME_FEATURES = 64


def patches(x_BCFHW: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """Each patch as one row, (..., B, n, C pf ph pw); patches in the order (t, h, w)."""
    *lead, C, F_, H, W = x_BCFHW.shape
    f, h, w = patch
    x = x_BCFHW.reshape(-1, C, F_ // f, f, H // h, h, W // w, w)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(*lead, -1, C * f * h * w)


def unpatched(
    x_BND: Tensor, array: tuple[int, int, int, int], patch: tuple[int, int, int]
) -> Tensor:
    """The inverse of `patches`, (..., B, C, F, H, W)."""
    lead = x_BND.shape[:-2]
    C, F_, H, W = array
    f, h, w = patch
    x = x_BND.reshape(-1, F_ // f, H // h, W // w, C, f, h, w)
    return x.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(*lead, C, F_, H, W)


class Time(nn.Module):
    """The vector of a time: waves of 1000 t, then two layers (DiT)."""

    def __init__(self, width: int, members: int | None) -> None:
        super().__init__()
        self.features = TIME_FEATURES
        self.mlp = Mlp(self.features, width, width, members, silu=True)

    def forward(self, t_B: Tensor) -> Tensor:
        """(..., B) to (..., B, width)."""
        return self.mlp(waves(1000.0 * t_B, self.features))


class Text(nn.Module):
    """Captions as tokens of the model's width, and one vector for a whole caption.

    Ids go through a table, fixed positions and `layers` plain blocks trained along. Embeddings of a
    frozen encoder, which know their order, are projected. Hidden captions become one learned vector
    at every place. Padding (id 0, or an embedding of zeros) is a word like others for attention, so
    that kernels need no mask, and is left out of the vector of the whole.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        members: int | None,
        *,
        kind: str,
        length: int,
        size: int,
        layers: int = 0,
        pool: bool = False,
        qk_norm: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.length, self.size = length, size
        self.null = vectors(1, width, members)
        self.table = vectors(size, width, members) if kind == "tokens" else None
        self.projection = Linear(size, width, members) if kind == "embeddings" else None
        self.blocks = nn.ModuleList(
            PlainBlock(width, heads, hidden, members, qk_norm=qk_norm, scale=scale)
            for _ in range(layers)
        )
        self.pooled = Mlp(width, width, width, members, silu=True) if pool else None
        self.positions: Tensor
        self.register_buffer("positions", sincos((1, 1, length), width), persistent=False)

    def forward(
        self, text: Tensor | None, drop_B: Tensor | None, lead: torch.Size
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (..., B, M, width) and the vector (..., B, width) where one is asked for."""
        text, drop = self._filled(text, drop_B, lead)
        if self.table is not None:
            words = text > 0
            y_BMD = self._looked_up(text) + self.positions
        else:
            assert self.projection is not None
            words = (text != 0).any(-1)
            y_BMD = self.projection(text)
        for block in self.blocks:
            y_BMD = block(y_BMD)
        null = self.null if self.null.ndim == 2 else self.null.unsqueeze(1)
        y_BMD = torch.where(drop[..., None, None], null.to(y_BMD.dtype), y_BMD)
        if self.pooled is None:
            return y_BMD, None
        # every place of a hidden caption, or its length would show in the rounding
        all_places = drop.unsqueeze(-1) | ~words.any(-1, keepdim=True)
        share = (words | all_places).to(y_BMD.dtype).unsqueeze(-1)
        return y_BMD, self.pooled((share * y_BMD).sum(-2) / share.sum(-2))

    def _looked_up(self, text: Tensor) -> Tensor:
        assert self.table is not None
        if self.table.ndim == 2:
            return F.embedding(text, self.table)
        members, size = self.table.shape[:2]
        first = size * torch.arange(members, device=text.device).reshape(-1, 1, 1)
        return F.embedding(text + first, self.table.flatten(0, 1))

    def _filled(
        self, text: Tensor | None, drop_B: Tensor | None, lead: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """Text and dropout for every member; no text means that every caption is hidden."""
        tail = (self.length,) if self.table is not None else (self.length, self.size)
        device = self.null.device
        if text is None:
            kind = torch.int64 if self.table is not None else torch.float32
            text = torch.zeros(*lead, *tail, dtype=kind, device=device)
            drop_B = torch.ones(lead, dtype=torch.bool, device=device)
        if drop_B is None:
            drop_B = torch.zeros(lead, dtype=torch.bool, device=device)
        return text.expand(*lead, *tail), drop_B.expand(lead)
