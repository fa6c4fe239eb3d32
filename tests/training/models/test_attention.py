"""Who sees whom, and where a token believes to be."""

import pytest
import torch
from variants import CONDITIONINGS, disturb, samples

from training.config import Model
from training.models import build
from training.models.attention import Attention
from training.models.positions import rope, rotate, sincos, split_pairs, waves
from training.shapes import SampleShape

VIDEO = SampleShape(
    channels=2, frames=4, height=8, width=6, text="tokens", text_length=5, text_size=11
)
FRAMES, PLACES, WIDTH = 4, 12, 16


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def attention(axis):
    torch.manual_seed(0)
    layer = Attention(WIDTH, 2, None, axis=axis, frames=FRAMES)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def influence(layer, at):
    """Which tokens change when token `at` does, (frames, places)."""
    x = torch.randn(1, FRAMES * PLACES, WIDTH, generator=torch.Generator().manual_seed(1))
    moved = x.clone()
    moved[0, at] += 1.0
    change = (layer(moved, None) - layer(x, None))[0].abs().amax(-1)
    return change.reshape(FRAMES, PLACES) > 0


def test_a_spatial_layer_does_not_mix_frames():
    seen = influence(attention("space"), at=PLACES + 5)  # frame 1, place 5
    assert seen[1].all()
    assert not seen[[0, 2, 3]].any()


def test_a_temporal_layer_does_not_mix_places():
    seen = influence(attention("time"), at=PLACES + 5)
    assert seen[:, 5].all()
    assert seen.sum() == FRAMES


def test_full_attention_mixes_everything():
    assert influence(attention("all"), at=PLACES + 5).all()


def test_folded_attention_is_full_attention_of_each_frame():
    layer = attention("space")
    x = torch.randn(3, FRAMES * PLACES, WIDTH)
    alone = attention("all")
    frames = [alone(each, None) for each in x.split(PLACES, dim=1)]
    torch.testing.assert_close(layer(x, None), torch.cat(frames, dim=1), rtol=1e-5, atol=1e-6)


def test_factorised_models_alternate_over_space_and_time():
    model = Model(conditioning="adaln_zero", width=24, depth=4, attention="factorised")
    axes = [block.attention.axis for block in build(model, VIDEO).blocks]
    assert axes == ["space", "time", "space", "time"]


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_without_positions_patches_and_frames_can_be_permuted(conditioning):
    transformer = disturb(build(Model(conditioning=conditioning, width=24), VIDEO))
    transformer.positions.zero_()
    x, t, text, drop = samples(VIDEO)
    out = transformer(x, t, text, drop)
    for swap in (lambda a: a.flip(2), lambda a: a.roll(2, dims=-1)):  # by whole frames, patches
        torch.testing.assert_close(
            transformer(swap(x), t, text, drop), swap(out), rtol=1e-4, atol=2e-5
        )


@pytest.mark.parametrize("position", ["sincos", "rope"])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_positions_tell_patches_and_frames_apart(conditioning, position):
    model = Model(conditioning=conditioning, width=32, heads=2, position=position)
    transformer = disturb(build(model, VIDEO))
    x, t, text, drop = samples(VIDEO)
    out = transformer(x, t, text, drop)
    for axis in (2, 3, 4):
        moved = transformer(x.roll(2, dims=axis), t, text, drop).roll(-2, dims=axis)
        assert (moved - out).abs().max() > 1e-4, axis


def test_rotary_products_depend_on_distance_alone():
    grid = (3, 4, 5)
    table = rope(grid, 16)
    q, k = torch.randn(1, 1, 2, 16), torch.randn(1, 1, 2, 16)
    everywhere = (1, 60, 2, 16)
    products = torch.einsum(
        "bnhs,bmhs->bhnm", rotate(q.expand(everywhere), table), rotate(k.expand(everywhere), table)
    ).reshape(1, 2, *grid, *grid)
    first = products[:, :, 0, 0, 0, 1, 2, 3]
    torch.testing.assert_close(products[:, :, 1, 1, 1, 2, 3, 4], first, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(products[:, :, 0, 0, 0, 2, 2, 3], first, atol=1e-3)


def test_tokens_ahead_of_the_grid_are_not_turned():
    table = rope((1, 2, 2), 8, before=3)
    x = torch.randn(1, 7, 1, 8)
    turned = rotate(x, table)
    assert torch.equal(turned[:, :4], x[:, :4])  # and the corner of the grid is the origin
    assert not torch.allclose(turned[:, 4:], x[:, 4:])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_every_place_has_its_own_row():
    rows = sincos((3, 4, 5), 24)
    distance = torch.cdist(rows, rows) + 10 * torch.eye(60)
    assert rows.shape == (60, 24) and distance.min() > 0.1


@pytest.mark.parametrize("grid", [(1, 1, 1), (1, 8, 8), (4, 8, 8), (4, 1, 1), (1, 1, 5), (4, 1, 8)])
@pytest.mark.parametrize("pairs", [3, 4, 7, 12])
def test_pairs_go_to_long_axes_and_none_is_lost(grid, pairs):
    shares = split_pairs(pairs, grid)
    assert sum(shares) == pairs
    if max(grid) > 1:
        assert all((share > 0) == (n > 1) for share, n in zip(shares, grid, strict=True))


def test_waves_tell_neighbouring_times_apart():
    t = torch.linspace(0, 1, 1001)
    features = waves(1000 * t, 64)
    assert features.shape == (1001, 64)
    assert (features[1:] - features[:-1]).norm(dim=-1).min() > 0.1
