"""The diffusion transformer: one class for every conditioning, images and videos, one model or E.

Legend: x_BCFHW noised samples, t_B times, x_BND image tokens, y_BMD text tokens; a leading ensemble
axis E may stand before B everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import Model
from training.models.blocks import DualBlock, ModulatedBlock, PlainBlock, SingleBlock
from training.models.check import POOLED
from training.models.embed import Text, Time, patches, unpatched
from training.models.initial import fill
from training.models.layers import Linear, chunks, modulated, norm, vectors
from training.models.mup import attention_scale, learning_rate_scale, width_ratio
from training.models.positions import rope, sincos
from training.shapes import SampleShape


class Transformer(nn.Module):
    """Predicts an array of the shape of its input; see `training.models.build`.

    Attributes
    ----------
    blocks : ModuleList
        The layers, which FSDP and `compile_blocks` wrap one by one.
    members : int or None
        E of an ensemble, None for a plain model.
    """

    def __init__(self, model: Model, shape: SampleShape, members: int | None) -> None:
        super().__init__()
        self.model, self.shape, self.ensemble = model, shape, members is not None
        width, size = model.width, model.patch[0] * model.patch[1] * model.patch[2] * shape.channels
        self.patch = Linear(size, width, members)
        self.time = Time(width, members)
        self.text = _text(model, shape, members)
        self.modulation = (
            Linear(width, 6 * width, members)
            if model.conditioning in ("adaln_single", "cross")
            else None
        )
        self.blocks = nn.ModuleList(_blocks(model, shape, members))
        self.final = _Final(model, members)
        self.head = Linear(width, size, members)
        self.positions: Tensor | None
        self.rope: Tensor | None
        _register_positions(self, model, shape)
        self.output_scale = 1.0 / width_ratio(model)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        text: Tensor | None = None,
        drop: Tensor | None = None,
    ) -> Tensor:
        """The prediction, of the shape of `x`.

        Parameters
        ----------
        x : (B, C, F, H, W) or (E, B, C, F, H, W)
            Noised samples. Without E an ensemble sees the same ones in every member.
        t : (B,) or (E, B)
            Times in (0, 1).
        text : int64 (B, n_text) or float (B, n_text, size), with or without E, or None
            Token ids (0 is padding) or embeddings; None hides every caption.
        drop : bool (B,) or (E, B), or None
            Captions to hide behind the learned null; None hides none.
        """
        if self.ensemble and x.ndim == 5:
            x = x.expand(self.head.weight.shape[0], *x.shape)
        lead = x.shape[:-4]
        x_BND = self.patch(patches(x, self.model.patch))
        if self.positions is not None:
            x_BND = x_BND + self.positions
        c_BD = self.time(t.expand(lead))
        y_BMD = None
        if self.text is not None:
            y_BMD, whole_BD = self.text(text, drop, lead)
            if whole_BD is not None:
                c_BD = c_BD + whole_BD
        x_BND = self._through_blocks(x_BND, y_BMD, c_BD)
        out = self.head(self.final(x_BND, c_BD))
        if self.output_scale != 1.0:
            out = out * self.output_scale
        return unpatched(out, self.shape.array, self.model.patch)

    def _through_blocks(self, x_BND: Tensor, y_BMD: Tensor | None, c_BD: Tensor) -> Tensor:
        if self.model.conditioning == "in_context":
            before = [c_BD.unsqueeze(-2)] + ([] if y_BMD is None else [y_BMD])
            n = x_BND.shape[-2]
            x_BND = torch.cat([*before, x_BND], dim=-2)
            for block in self.blocks:
                x_BND = block(x_BND, self.rope)
            return x_BND[..., -n:, :]
        c_BD = F.silu(c_BD)
        if self.model.conditioning == "mmdit":
            return self._through_streams(x_BND, y_BMD, c_BD)
        if self.modulation is not None:
            c_BD = self.modulation(c_BD)
        y_BMD = y_BMD if self.model.conditioning == "cross" else None
        for block in self.blocks:
            x_BND = block(x_BND, y_BMD, c_BD, self.rope)
        return x_BND

    def _through_streams(self, x_BND: Tensor, y_BMD: Tensor | None, c_BD: Tensor) -> Tensor:
        n, dual = x_BND.shape[-2], self.model.depth - self.model.single_layers
        assert y_BMD is not None
        for block in self.blocks[:dual]:
            x_BND, y_BMD = block(x_BND, y_BMD, c_BD, self.rope)
        if not self.model.single_layers:
            return x_BND
        assert y_BMD is not None
        both = torch.cat((y_BMD, x_BND), dim=-2)
        for block in self.blocks[dual:]:
            both = block(both, c_BD, self.rope)
        return both[..., -n:, :]

    @property
    def members(self) -> int | None:
        """E, or None for a plain model."""
        return self.head.weight.shape[0] if self.ensemble else None

    def learning_rate_scales(self) -> dict[str, float]:
        """Factor of the learning rate by parameter name: all 1 under ``sp``."""
        return {name: learning_rate_scale(name, self.model) for name, _ in self.named_parameters()}

    def decayed(self) -> set[str]:
        """Names of parameters with weight decay: matrices; no biases, scales, tables or words."""
        return {name for name, _ in self.named_parameters() if name.endswith(".weight")}

    def compile_blocks(self, **options: Any) -> None:
        """Compile each block in place; blocks of one kind share one compiled program, so a deeper
        model of the same width costs no more compilation.
        """
        for block in self.blocks:
            block.compile(**{"fullgraph": True, "dynamic": False, **options})

    @torch.no_grad()
    def initialise(self, seeds: Sequence[int]) -> None:
        """Fresh weights, one seed for each member."""
        for name, parameter in self.named_parameters():
            fill(name, parameter, self.model, seeds, ensemble=self.ensemble)


class _Final(nn.Module):
    """The norm before the head: modulated as the blocks are, or plain."""

    def __init__(self, model: Model, members: int | None) -> None:
        super().__init__()
        own = model.conditioning in ("adaln_zero", "mmdit")
        table = model.conditioning in ("adaln_single", "cross")
        self.modulation = Linear(model.width, 2 * model.width, members) if own else None
        self.table = vectors(2, model.width, members) if table else None

    def forward(self, x_BND: Tensor, c_BD: Tensor) -> Tensor:
        if self.modulation is not None:
            shift, scale = chunks(self.modulation(F.silu(c_BD)), 2)
        elif self.table is not None:  # PixArt adds the vector of the time to both
            shift, scale = (self.table.unsqueeze(-3) + c_BD.unsqueeze(-2)).unsqueeze(-2).unbind(-3)
        else:
            return norm(x_BND)
        return modulated(x_BND, shift, scale)


def hidden_width(model: Model) -> int:
    """Units of the MLP."""
    return round(model.mlp_ratio * model.width)


def _text(model: Model, shape: SampleShape, members: int | None) -> Text | None:
    if shape.text == "none":
        return None
    return Text(
        model.width,
        model.heads,
        hidden_width(model),
        members,
        kind=shape.text,
        length=shape.text_length,
        size=shape.text_size,
        layers=model.text_layers,
        pool=model.conditioning in POOLED,
        qk_norm=model.qk_norm,
        scale=attention_scale(model),
    )


def _blocks(model: Model, shape: SampleShape, members: int | None) -> Sequence[nn.Module]:
    sizes = (model.width, model.heads, hidden_width(model), members)
    common: dict[str, Any] = {"qk_norm": model.qk_norm, "scale": attention_scale(model)}
    if model.conditioning == "in_context":
        return [PlainBlock(*sizes, **common) for _ in range(model.depth)]
    if model.conditioning == "mmdit":
        dual = model.depth - model.single_layers
        ends = model.single_layers == 0
        return [DualBlock(*sizes, **common, last=ends and i == dual - 1) for i in range(dual)] + [
            SingleBlock(*sizes, **common) for _ in range(model.single_layers)
        ]
    axes = ("space", "time") if model.attention == "factorised" else ("all", "all")
    return [
        ModulatedBlock(
            *sizes,
            **common,
            shared=model.conditioning != "adaln_zero",
            cross=model.conditioning == "cross",
            axis=axes[i % 2],
            frames=shape.grid(model.patch)[0],
        )
        for i in range(model.depth)
    ]


def _register_positions(module: Transformer, model: Model, shape: SampleShape) -> None:
    """Fixed tables of this grid; not part of the state, since the shape gives them."""
    grid = shape.grid(model.patch)
    if model.position == "sincos":
        module.register_buffer("positions", sincos(grid, model.width), persistent=False)
        module.rope = None
        return
    module.positions = None
    before = 0 if shape.text == "none" else shape.text_length
    before = {"in_context": 1 + before, "mmdit": before}.get(model.conditioning, 0)
    table = rope(grid, model.width // model.heads, before=before)
    module.register_buffer("rope", table, persistent=False)
