"""Shapes for named sizes."""

import pytest
from variants import CONDITIONINGS

from training.config import Model
from training.errors import SpecError
from training.models import build
from training.models.count import parameter_groups
from training.shapes import SampleShape
from training.sizes import LADDER, aspect, core_parameters, heads_of, parameters, sized


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("size", LADDER)
def test_every_step_of_the_ladder_is_a_real_size(size, conditioning):
    shape = sized(size, conditioning=conditioning)
    count = core_parameters(Model(conditioning=conditioning), shape["width"], shape["depth"])
    assert count == pytest.approx(LADDER[size], rel=0.08)
    head = shape["width"] // shape["heads"]
    assert shape["width"] % shape["heads"] == 0 and head % 2 == 0 and head >= 8
    if LADDER[size] >= 10**6:
        assert shape["width"] % 32 == 0
    if LADDER[size] >= 5 * 10**6:
        assert shape["width"] % 64 == 0 and head in (64, 128)
        assert 0.5 < shape["width"] / shape["depth"] / aspect(LADDER[size]) < 2


def test_built_models_have_the_size_they_are_called():
    captions = SampleShape(text="tokens", text_length=4, text_size=32)
    for conditioning in CONDITIONINGS:
        model = Model(conditioning=conditioning, **sized("50k", conditioning=conditioning))
        assert parameter_groups(build(model, captions))["core"] == pytest.approx(50_000, rel=0.08)


@pytest.mark.parametrize(
    ("size", "width", "depth"),
    [
        (6_600, 16, 2),
        (21_800, 24, 3),
        (51_000, 32, 4),
        (142_000, 48, 5),
        (301_000, 64, 6),
        (546_000, 80, 7),
    ],
)
def test_sizes_of_the_prototype_are_reached(size, width, depth):
    shape = sized(size)
    assert (shape["width"], shape["depth"]) == (width, depth)


def test_depth_and_width_scale_alone():
    depths = [sized(n, scaling="depth", width=64)["depth"] for n in ("100k", "200k", "400k")]
    assert depths == [2, 4, 8]
    assert {sized(n, scaling="depth")["width"] for n in ("100k", "400k")} == {Model().width}
    widths = [sized(n, scaling="width", depth=4)["width"] for n in ("50k", "200k", "800k")]
    assert widths == [32, 64, 128]
    assert {sized(n, scaling="width")["depth"] for n in ("50k", "800k")} == {Model().depth}


def test_sizes_are_read_as_people_write_them():
    assert parameters("1.5M") == parameters(1.5e6) == parameters("1500k") == 1_500_000
    assert parameters("1b") == 10**9
    assert sized("550k") == sized(550_000)


def test_unknown_sizes_say_what_is_wrong():
    with pytest.raises(SpecError, match=r"`big` is no size"):
        sized("big")
    with pytest.raises(SpecError, match="at least 1000"):
        sized(12)
    with pytest.raises(SpecError, match=r"closest has [0-9,]+ \(width 64, depth 1\)"):
        sized("5k", scaling="depth", width=64)
    with pytest.raises(SpecError, match="`width` is what"):
        sized("1M", width=64)


def test_heads_are_large_for_large_models():
    assert [width // heads_of(width) for width in (8, 16, 96, 128, 1152, 2048)] == [
        8,
        8,
        32,
        64,
        64,
        128,
    ]
