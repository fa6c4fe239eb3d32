"""Coordinate check: what training moves does not depend on width under mup, and does under sp."""

import dataclasses
import math

import pytest
import torch
from variants import CONDITIONINGS, disturb, samples

from training.config import Model
from training.models import build
from training.models.mup import attention_scale, kind_of, width_ratio
from training.shapes import SampleShape

SHAPE = SampleShape(channels=2, height=8, width=8, text="tokens", text_length=5, text_size=11)
SMALL, LARGE = 32, 256
STEPS, RATE = 4, 4e-3


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def movements(model):
    """Root mean square change of each block's output and of the prediction after a few steps."""
    transformer = build(model, SHAPE, seeds=(1,))
    x, t, text, drop = samples(SHAPE, batch=8)
    seen = {}

    def watch(name):
        def hook(module, inputs, output):
            seen[name] = (output[0] if isinstance(output, tuple) else output).detach()

        return hook

    for at, block in enumerate(transformer.blocks):
        block.register_forward_hook(watch(f"block {at}"))
    transformer.register_forward_hook(watch("prediction"))
    transformer.blocks[0].register_forward_pre_hook(
        lambda module, inputs: seen.__setitem__("tokens", inputs[0].detach())
    )
    scales = transformer.learning_rate_scales()
    optimiser = torch.optim.Adam(
        [{"params": [p], "lr": RATE * scales[n]} for n, p in transformer.named_parameters()]
    )
    transformer(x, t, text, drop)
    before = dict(seen)
    for _ in range(STEPS):
        optimiser.zero_grad()
        ((transformer(x, t, text, drop) - x) ** 2).mean().backward()
        optimiser.step()
    transformer(x, t, text, drop)
    return {name: (seen[name] - before[name]).square().mean().sqrt().item() for name in seen}


def slopes(parametrisation, conditioning):
    """Power of the width with which each movement grows."""
    moved = []
    for width in (SMALL, LARGE):
        model = Model(
            conditioning=conditioning,
            width=width,
            depth=3,
            heads=2,
            parametrisation=parametrisation,
            base_width=SMALL,
        )
        moved.append(movements(model))
    ratio = math.log(LARGE / SMALL)
    return {name: math.log(moved[1][name] / moved[0][name]) / ratio for name in moved[0]}


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_activations_move_alike_at_every_width_under_mup_and_more_at_large_ones_under_sp(
    conditioning,
):
    mup, sp = slopes("mup", conditioning), slopes("sp", conditioning)
    assert all(abs(slope) < 0.15 for slope in mup.values()), mup
    assert sp["block 2"] > 0.35 and sp["prediction"] > 0.5, sp


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_mup_at_the_base_width_is_sp(conditioning):
    base = Model(conditioning=conditioning, width=64, heads=2, base_width=64)
    sp, mup = (
        build(dataclasses.replace(base, parametrisation=each), SHAPE) for each in ("sp", "mup")
    )
    for (name, weight), other in zip(sp.named_parameters(), mup.parameters(), strict=True):
        assert torch.equal(weight, other), name
    disturb(sp), disturb(mup)
    inputs = samples(SHAPE)
    torch.testing.assert_close(sp(*inputs), mup(*inputs), rtol=1e-5, atol=1e-6)
    assert set(mup.learning_rate_scales().values()) == {1.0}


def test_rules_follow_the_table():
    model = Model(conditioning="cross", width=256, heads=4, depth=1, parametrisation="mup")
    wide, base = build(model, SHAPE), build(dataclasses.replace(model, width=64), SHAPE)
    assert width_ratio(model) == 4.0
    scales = wide.learning_rate_scales()
    for name in ("patch.weight", "time.mlp.first.weight", "head.weight", "text.table"):
        assert scales[name] == 1.0
    assert all(scales[n] == 1.0 for n in scales if n.endswith(("bias", "table", "null")))
    hidden = [name for name in scales if kind_of(name) == "hidden"]
    assert {scales[name] for name in hidden} == {0.25}
    assert "blocks.0.cross.key_value.weight" in hidden and "modulation.weight" in hidden

    def spread(transformer, name):
        return dict(transformer.named_parameters())[name].std().item()

    for name, ratio in (("patch.weight", 1.0), ("blocks.0.attention.qkv.weight", 2.0)):
        assert spread(base, name) / spread(wide, name) == pytest.approx(ratio, rel=0.1)
    assert wide.output_scale == 0.25
    assert attention_scale(dataclasses.replace(model, heads=2)) == 0.5 * attention_scale(model)


def test_standard_parametrisation_scales_nothing():
    scales = build(Model(width=256, heads=4, depth=1), SHAPE).learning_rate_scales()
    assert set(scales.values()) == {1.0}
