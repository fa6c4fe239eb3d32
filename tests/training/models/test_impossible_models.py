"""Impossible shapes get one clear error, before anything is built."""

import pytest

from training.config import Model
from training.errors import SpecError
from training.models import build, check
from training.shapes import SampleShape

IMAGE = SampleShape()
TEXT = SampleShape(text="tokens", text_length=4, text_size=32)
EMBEDDED = SampleShape(text="embeddings", text_length=4, text_size=32)
VIDEO = SampleShape(frames=8)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (Model(width=64, heads=5), IMAGE, "`model.width` 64 is not divisible .* try 4 heads"),
        (Model(width=0), IMAGE, "`model.width` is 0; at least 1"),
        (Model(depth=0), IMAGE, "`model.depth` is 0"),
        (Model(text_layers=-1), TEXT, "`model.text_layers` is -1"),
        (Model(mlp_ratio=0.0), IMAGE, "`model.mlp_ratio` is 0"),
        (Model(patch=(1, 3, 3)), IMAGE, r"`model.patch` \[1, 3, 3\] does not divide .* 16 over 3"),
        (Model(patch=(2, 2, 2)), IMAGE, "frames 1 over 2"),
        (Model(patch=(1, 0, 2)), IMAGE, "height 16 over 0"),
        (Model(width=15, heads=1), IMAGE, "need an even width"),
        (Model(width=10, heads=2, position="rope"), IMAGE, "is 5. Take fewer heads, or `sincos`"),
        (Model(width=8, heads=4, position="rope"), IMAGE, "at least 4; width 8 over 4 heads is 2"),
        (Model(width=16, heads=4, position="rope"), VIDEO, "over 3 axes"),
        (Model(attention="factorised"), IMAGE, "at least 2 tokens along time"),
        (Model(attention="factorised", depth=1), VIDEO, "and 2 layers"),
        (Model(attention="factorised", conditioning="in_context"), VIDEO, "belong to no frame"),
        (Model(attention="factorised", conditioning="mmdit"), VIDEO, "belong to no frame"),
        (Model(conditioning="cross"), IMAGE, "the data have none"),
        (Model(conditioning="mmdit"), IMAGE, "the data have none"),
        (Model(text_layers=2), EMBEDDED, "reads token ids only. Set it to 0"),
        (Model(text_layers=2), IMAGE, "`model.text_layers` is 2, and the data give `none`"),
        (Model(single_layers=1), TEXT, "which only `mmdit` has"),
        (Model(conditioning="mmdit", single_layers=5), TEXT, "more than `model.depth` 4"),
        (Model(), SampleShape(text="tokens"), "Captions of 0 tokens of size 0"),
    ],
)
def test_impossible_model_is_refused(model, shape, message):
    with pytest.raises(SpecError, match=message):
        check(model, shape)
    with pytest.raises(SpecError):
        build(model, shape)


def test_possible_models_pass():
    check(Model(), IMAGE)
    check(Model(conditioning="mmdit", single_layers=4), TEXT)
    check(Model(attention="factorised", patch=(2, 2, 2)), VIDEO)
