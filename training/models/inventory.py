"""Every matrix, vector and attention product of a model, from its config alone.

Parameters and FLOPs are both sums over this list, so they cannot disagree about what a model
consists of; that the list is right is tested against the built module (`parameter_groups`) and
against torch's own counter of FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from training.config import Model
from training.models import embed
from training.models.check import POOLED
from training.models.transformer import hidden_width
from training.shapes import SampleShape

Group = Literal["core", "modulation", "embed", "head", "text"]
Part = Literal["linear", "attention", "per_sample", "text", "head"]


@dataclass(frozen=True)
class Matrix:
    """A linear layer with its bias.

    Parameters
    ----------
    uses : mapping of part to float
        How many vectors of one sample it is applied to, by the part of the FLOPs they count in.
    input_gradient : bool
        Whether backward computes the gradient of its input: not where the input is data.
    """

    group: Group
    inputs: int
    outputs: int
    uses: Mapping[Part, int]
    input_gradient: bool = True


@dataclass(frozen=True)
class Vector:
    """Parameters that are added, multiplied or looked up, at no FLOPs that count."""

    group: Group
    size: int


@dataclass(frozen=True)
class Product:
    """softmax(q k^T) v over `queries` times `keys` pairs, all heads together `width` wide."""

    queries: int
    keys: int
    width: int
    part: Part = "attention"


Item = Matrix | Vector | Product


@dataclass(frozen=True)
class _Sizes:
    """The letters of the formulas below."""

    d: int  # width
    h: int  # units of the MLP
    n: int  # image tokens
    m: int  # text tokens
    head: int  # size of a head where queries and keys are normalised, else 0
    grid: tuple[int, int, int] = field(default=(1, 1, 1))


def inventory(model: Model, shape: SampleShape) -> list[Item]:
    """All items of a model, in the order in which a sample meets them."""
    grid = shape.grid(model.patch)
    s = _Sizes(
        d=model.width,
        h=hidden_width(model),
        n=grid[0] * grid[1] * grid[2],
        m=shape.text_length if shape.text != "none" else 0,
        head=model.width // model.heads if model.qk_norm else 0,
        grid=grid,
    )
    size = shape.channels * model.patch[0] * model.patch[1] * model.patch[2]
    return [
        Matrix("embed", size, s.d, {"head": s.n}, input_gradient=False),
        Matrix("embed", embed.TIME_FEATURES, s.d, {"per_sample": 1}, input_gradient=False),
        Matrix("embed", s.d, s.d, {"per_sample": 1}),
        *_text(model, shape, s),
        *_blocks(model, s),
        *_final(model, s),
        Matrix("head", s.d, size, {"head": s.n}),
    ]


def _text(model: Model, shape: SampleShape, s: _Sizes) -> Iterator[Item]:
    if shape.text == "none":
        return
    yield Vector("text", s.d)  # the learned null
    if shape.text == "tokens":
        yield Vector("text", shape.text_size * s.d)
    else:
        yield Matrix("text", shape.text_size, s.d, {"text": s.m}, input_gradient=False)
    for _ in range(model.text_layers):
        yield from _block("text", s, {"text": s.m})
        yield Product(s.m, s.m, s.d, "text")
    if model.conditioning in POOLED:
        yield Matrix("text", s.d, s.d, {"per_sample": 1})
        yield Matrix("text", s.d, s.d, {"per_sample": 1})


def _blocks(model: Model, s: _Sizes) -> Iterator[Item]:
    once: dict[Part, int] = {"per_sample": 1}
    if model.conditioning == "in_context":
        for _ in range(model.depth):
            yield from _block("core", s, {"linear": s.n, "text": s.m, "per_sample": 1})
            yield Product(s.n + s.m + 1, s.n + s.m + 1, s.d)
    elif model.conditioning == "mmdit":
        yield from _streams(model, s)
    else:
        shared = model.conditioning != "adaln_zero"
        if shared:
            yield Matrix("modulation", s.d, 6 * s.d, once)
        for layer in range(model.depth):
            yield from _block("core", s, {"linear": s.n})
            yield _self_attention(model, s, layer)
            if shared:
                yield Vector("modulation", 6 * s.d)
            else:
                yield Matrix("modulation", s.d, 6 * s.d, once)
            if model.conditioning == "cross":
                yield Matrix("core", s.d, s.d, {"linear": s.n})
                yield Matrix("core", s.d, 2 * s.d, {"text": s.m})
                yield Matrix("core", s.d, s.d, {"linear": s.n})
                yield Vector("core", 2 * s.head)
                yield Product(s.n, s.m, s.d)


def _block(group: Group, s: _Sizes, uses: Mapping[Part, int]) -> Iterator[Item]:
    """Attention and MLP of a block, without the product of attention."""
    yield Matrix(group, s.d, 3 * s.d, uses)
    yield Vector(group, 2 * s.head)
    yield Matrix(group, s.d, s.d, uses)
    yield Matrix(group, s.d, s.h, uses)
    yield Matrix(group, s.h, s.d, uses)


def _self_attention(model: Model, s: _Sizes, layer: int) -> Product:
    frames, places = s.grid[0], s.grid[1] * s.grid[2]
    if model.attention == "full":
        return Product(s.n, s.n, s.d)
    return Product(s.n, places if layer % 2 == 0 else frames, s.d)


def _streams(model: Model, s: _Sizes) -> Iterator[Item]:
    dual = model.depth - model.single_layers
    once: dict[Part, int] = {"per_sample": 1}
    for layer in range(dual):
        last = layer == dual - 1 and not model.single_layers
        yield Matrix("modulation", s.d, 6 * s.d, once)
        yield from _block("core", s, {"linear": s.n})
        if last:  # text is only looked at
            yield Matrix("modulation", s.d, 2 * s.d, once)
            yield Matrix("core", s.d, 2 * s.d, {"text": s.m})
            yield Vector("core", s.head)
        else:
            yield Matrix("modulation", s.d, 6 * s.d, once)
            yield from _block("core", s, {"text": s.m})
        yield Product(s.n if last else s.n + s.m, s.n + s.m, s.d)
    for _ in range(model.single_layers):
        uses: dict[Part, int] = {"linear": s.n, "text": s.m}
        yield Matrix("modulation", s.d, 3 * s.d, once)
        yield Matrix("core", s.d, 3 * s.d + s.h, uses)
        yield Vector("core", 2 * s.head)
        yield Matrix("core", s.d + s.h, s.d, uses)
        yield Product(s.n + s.m, s.n + s.m, s.d)


def _final(model: Model, s: _Sizes) -> Iterator[Item]:
    if model.conditioning in ("adaln_zero", "mmdit"):
        yield Matrix("modulation", s.d, 2 * s.d, {"per_sample": 1})
    elif model.conditioning != "in_context":
        yield Vector("modulation", 2 * s.d)
