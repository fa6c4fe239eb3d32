"""Small models of every kind that can be built, with samples for them."""

import itertools

import torch

from training.config import Model
from training.errors import SpecError
from training.models import check
from training.shapes import SampleShape

CONDITIONINGS = ("in_context", "cross", "adaln_zero", "adaln_single", "mmdit")
WORDS, LENGTH, BATCH = 11, 5, 3


def variants():
    """(name, model, shape) for conditioning x modality x attention, and position or text."""
    for conditioning, frames, attention, position, text, single in itertools.product(
        CONDITIONINGS,
        (1, 4),
        ("full", "factorised"),
        ("sincos", "rope"),
        ("tokens", "embeddings", "none"),
        (0, 1),
    ):
        if position == "rope" and text != "tokens":
            continue  # captions do not care how pixels know their place
        model = Model(
            conditioning=conditioning,
            width=24,
            depth=3,
            heads=2,
            attention=attention,
            position=position,
            qk_norm=position == "rope",
            text_layers=1 if text == "tokens" else 0,
            single_layers=single,
        )
        words = {} if text == "none" else {"text_length": LENGTH, "text_size": WORDS}
        shape = SampleShape(channels=2, frames=frames, height=8, width=6, text=text, **words)
        try:
            check(model, shape)
        except SpecError:
            continue
        layers = f"{single}-single" if single else ""
        name = "-".join(
            filter(None, (conditioning, f"{frames}f", attention, position, text, layers))
        )
        yield name, model, shape


def samples(shape, *, batch=BATCH, members=None, seed=0):
    """x, t, text and drop for a shape, with a leading axis where there are members."""
    generator = torch.Generator().manual_seed(seed)
    lead = (batch,) if members is None else (members, batch)
    x = torch.randn(*lead, *shape.array, generator=generator)
    t = torch.rand(lead, generator=generator)
    text = {
        "tokens": torch.randint(0, WORDS, (*lead, LENGTH), generator=generator),
        "embeddings": torch.randn(*lead, LENGTH, WORDS, generator=generator),
        "none": None,
    }[shape.text]
    drop = torch.zeros(lead, dtype=torch.bool)
    drop[..., 0] = True
    return x, t, text, drop


def disturb(transformer, *, by=0.05):
    """Move all weights away from their start, where gates and head are zero; each by its name."""
    with torch.no_grad():
        for at, parameter in enumerate(transformer.parameters()):
            wave = torch.sin(torch.arange(parameter[..., :].numel()) * 0.7 + at)
            parameter.add_(by * wave.reshape(parameter.shape))
    return transformer
