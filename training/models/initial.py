"""Fresh weights: each parameter a pure function of (seed, name of the parameter).

So member e of an ensemble starts as the single model with that seed, bit for bit, on any device,
and adding a layer does not change the weights of the others.

DiT's initialisation (Peebles & Xie 2022): Xavier-uniform matrices, zero biases, modulation and head
at zero, so that every block is the identity and the output is 0. We differ where DiT's constants
were made for a width near 1000: time and text layers are Xavier too (DiT: normal of std 0.02,
nearly the same at its width, but it would hide t from a model of width 16), and words and their
fixed positions are equally large. Blocks without gates get zero projections into the stream, so
that every conditioning starts alike; PixArt's table, which it draws at random, starts at zero too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training import rng
from training.config import Model
from training.models.mup import kind_of, width_ratio

_WORD_STD = 0.5**0.5  # root mean square of the sine-cosine positions added to words
_AT_ONCE = 1 << 22  # numbers drawn at a time, which bounds the memory of the integers behind them


@torch.no_grad()
def fill(
    name: str, parameter: Tensor, model: Model, seeds: Sequence[int], *, ensemble: bool
) -> None:
    """Write fresh weights into `parameter`, one seed for each member."""
    for member, seed in zip(parameter if ensemble else [parameter], seeds, strict=True):
        _fill(name, member, model, seed)


def _fill(name: str, parameter: Tensor, model: Model, seed: int) -> None:
    if name.endswith(("query_scale", "key_scale")):
        parameter.fill_(1.0)
    elif starts_at_zero(name, model):
        parameter.zero_()
    elif name in ("text.table", "text.null"):
        _draw(parameter, seed, name, lambda *at: _WORD_STD * rng.normal(*at))
    else:
        bound = math.sqrt(3.0) * _xavier_std(name, parameter, model)
        _draw(parameter, seed, name, lambda *at: rng.uniform(*at).mul_(2 * bound).sub_(bound))


def starts_at_zero(name: str, model: Model) -> bool:
    """Whether a parameter is 0 in a fresh model."""
    path = name.split(".")
    if path[-1] in ("bias", "table") and name != "text.table":
        return True
    if path[0] == "head" or "modulation" in path:
        return True
    return path[-2] in ("proj", "second") and _ungated(path, model)


def _ungated(path: list[str], model: Model) -> bool:
    """Whether no gate stands between this projection and the stream."""
    if path[0] == "text":
        return "blocks" in path
    if path[0] != "blocks":
        return False
    return model.conditioning == "in_context" or "cross" in path


def _xavier_std(name: str, weight: Tensor, model: Model) -> float:
    outputs, inputs = weight.shape
    if kind_of(name) == "input":
        outputs = outputs / width_ratio(model)  # at base_width, whatever the width
    return math.sqrt(2.0 / (inputs + outputs))


def _draw(parameter: Tensor, seed: int, name: str, draw) -> None:
    """Fill row by row; a row is an index, so chunks do not change what is drawn."""
    rows, columns = parameter.shape
    step = max(1, _AT_ONCE // columns)
    for start in range(0, rows, step):
        index = torch.arange(start, min(start + step, rows), device=parameter.device)
        parameter[start : start + step].copy_(draw(seed, f"init/{name}", index, (columns,)))
