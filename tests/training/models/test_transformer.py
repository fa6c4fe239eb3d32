"""What every model does: shapes, zero at the start, gradients everywhere, captions that count."""

import dataclasses

import pytest
import torch
from variants import CONDITIONINGS, disturb, samples, variants

from training.config import Model
from training.models import build
from training.models.embed import patches, unpatched
from training.shapes import SampleShape

ALL = [pytest.param(model, shape, id=name) for name, model, shape in variants()]
TEXT = SampleShape(channels=2, height=8, width=6, text="tokens", text_length=5, text_size=11)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("model", "shape"), ALL)
def test_output_has_the_shape_of_the_input_and_is_zero_at_the_start(model, shape):
    x, t, text, drop = samples(shape)
    out = build(model, shape)(x, t, text, drop)
    assert out.shape == x.shape
    assert torch.equal(out, torch.zeros_like(x))


@pytest.mark.parametrize(("model", "shape"), ALL)
def test_gradient_reaches_every_parameter(model, shape):
    transformer = build(model, shape)
    x, t, text, drop = samples(shape)
    optimiser = torch.optim.Adam(transformer.parameters(), lr=1e-2)
    for step in range(4):  # the head moves first, then the gates, then what is behind them
        optimiser.zero_grad()
        ((transformer(x, t, text, drop) - x) ** 2).mean().backward()
        if step == 0:  # DDP needs a gradient, zero or not, from the first step
            assert all(each.grad is not None for each in transformer.parameters())
        optimiser.step()
    unmoved = [n for n, p in transformer.named_parameters() if not p.grad.abs().sum() > 0]
    assert unmoved == []


@pytest.mark.parametrize("text", ["tokens", "embeddings"])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_every_parameter_is_in_the_graph_without_dropout_and_without_captions(conditioning, text):
    shape = dataclasses.replace(TEXT, text=text)
    transformer = build(Model(conditioning=conditioning, width=24, depth=2), shape)
    x, t, words, _ = samples(shape)
    for given in (words, None):
        transformer.zero_grad()
        transformer(x, t, given).sum().backward()
        assert all(each.grad is not None for each in transformer.parameters())


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_caption_and_time_change_the_prediction(conditioning):
    transformer = disturb(build(Model(conditioning=conditioning, width=24), TEXT))
    x, t, text, _ = samples(TEXT)
    base = transformer(x, t, text)
    assert (transformer(x, t, text.flip(1).add(1).remainder(11)) - base).abs().max() > 1e-4
    assert (transformer(x, 1 - t, text) - base).abs().max() > 1e-4


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_hidden_captions_do_not_matter_and_no_caption_is_a_hidden_one(conditioning):
    transformer = disturb(build(Model(conditioning=conditioning, width=24), TEXT))
    x, t, text, _ = samples(TEXT)
    hidden = torch.tensor([True, True, True])
    first = transformer(x, t, text, hidden)
    assert torch.equal(first, transformer(x, t, (text + 1) % 11, hidden))
    assert torch.equal(first, transformer(x, t))
    assert (first - transformer(x, t, text)).abs().max() > 1e-4


def test_padding_is_left_out_of_the_vector_of_a_caption():
    transformer = disturb(build(Model(conditioning="adaln_zero", width=24), TEXT))
    x, t, _, _ = samples(TEXT)
    text = torch.tensor([[3, 4, 0, 0, 0]]).expand(3, -1)
    base = transformer(x, t, text)
    with torch.no_grad():
        transformer.text.table[0] += 1.0
    assert torch.equal(base, transformer(x, t, text))
    assert torch.isfinite(transformer(x, t, torch.zeros_like(text))).all()


def test_samples_of_a_batch_do_not_interact():
    for conditioning in CONDITIONINGS:
        transformer = disturb(build(Model(conditioning=conditioning, width=24), TEXT))
        x, t, text, _ = samples(TEXT)
        one = transformer(x[1:2], t[1:2], text[1:2])
        torch.testing.assert_close(transformer(x, t, text)[1:2], one, rtol=1e-5, atol=1e-6)


def test_patches_come_back_as_they_were():
    x = torch.arange(2 * 3 * 4 * 6 * 8).reshape(2, 3, 4, 6, 8)
    rows = patches(x, (2, 3, 2))
    assert rows.shape == (2, 2 * 2 * 4, 3 * 2 * 3 * 2)
    assert torch.equal(rows[0, 1].reshape(3, 2, 3, 2), x[0, :, :2, :3, 2:4])
    assert torch.equal(unpatched(rows, (3, 4, 6, 8), (2, 3, 2)), x)


def test_weights_are_a_function_of_seed_and_name_and_not_of_depth():
    shallow, deep = (build(Model(width=24, depth=n), TEXT, seeds=(7,)) for n in (2, 5))
    weights = dict(deep.named_parameters())
    for name, weight in shallow.named_parameters():
        assert torch.equal(weight, weights[name]), name
    other = dict(build(Model(width=24, depth=2), TEXT, seeds=(8,)).named_parameters())
    name = "blocks.0.attention.qkv.weight"
    assert not torch.equal(weights[name], other[name])


def test_matrices_are_xavier_and_large_ones_are_drawn_alike_in_chunks(monkeypatch):
    from training.models import initial

    model = Model(width=64, depth=1)
    whole = build(model, TEXT).blocks[0].mlp.first.weight.detach()
    assert whole.std().item() == pytest.approx((2 / (64 + 256)) ** 0.5, rel=0.02)
    assert abs(whole.mean().item()) < 4 * whole.std().item() / whole.numel() ** 0.5
    monkeypatch.setattr(initial, "_AT_ONCE", 1000)
    assert torch.equal(whole, build(model, TEXT).blocks[0].mlp.first.weight)


def test_decay_falls_on_matrices_alone():
    decayed = build(Model(width=24, depth=1, conditioning="cross", qk_norm=True), TEXT).decayed()
    assert {"patch.weight", "blocks.0.cross.query.weight", "head.weight"} <= decayed
    assert not any(n.endswith(("bias", "table", "null", "_scale")) for n in decayed)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_autocast_to_bf16_stays_close(conditioning):
    model = Model(conditioning=conditioning, width=32, qk_norm=True, position="rope")
    transformer = disturb(build(model, TEXT), by=0.02)
    x, t, text, _ = samples(TEXT)
    exact = transformer(x, t, text)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = transformer(x, t, text)
    assert (rounded.float() - exact).norm() < 0.03 * exact.norm()
    rounded.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in transformer.parameters())
