"""Diffusion transformers for images and videos; `build` makes one, or an ensemble of one shape.

Examples
--------
>>> import torch
>>> from training.config import Model
>>> from training.shapes import SampleShape
>>> model = build(Model(), SampleShape(), seeds=(0,))
>>> model(torch.randn(2, 3, 1, 16, 16), torch.rand(2)).shape
torch.Size([2, 3, 1, 16, 16])
"""

from __future__ import annotations

from collections.abc import Sequence

from training.config import Model
from training.errors import SpecError
from training.models.check import check
from training.models.transformer import Transformer
from training.shapes import SampleShape

__all__ = ["Transformer", "build", "check"]


def build(
    model: Model, shape: SampleShape, *, seeds: Sequence[int] = (0,), ensemble: bool = False
) -> Transformer:
    """A freshly initialised transformer for samples of `shape`.

    It is made on torch's default device: ``with torch.device("cuda"): build(...)`` draws the
    weights there.

    Parameters
    ----------
    model : Model
        What to build.
    shape : SampleShape
        Of the samples, captions included.
    seeds : sequence of int
        Of the initial weights: one for a plain model, one for each member of an ensemble.
    ensemble : bool
        Give all tensors a leading axis of members, also for one seed.

    Raises
    ------
    SpecError
        When the model does not fit the shape.
    """
    check(model, shape)
    if not seeds or (len(seeds) != 1 and not ensemble):
        raise SpecError(f"{len(seeds)} seeds for one model; one was expected, or `ensemble=True`.")
    transformer = Transformer(model, shape, len(seeds) if ensemble else None)
    transformer.initialise(seeds)
    return transformer
