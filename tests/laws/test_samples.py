"""Tokens of a sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescale.errors import SpecError
from bayescale.laws.cost import SampleShape


def test_the_clip_of_the_video_paper_has_1280_tokens():
    """17 frames at 256 px; printed batches of 8.2e4, 1.6e5, 3.3e5 tokens are 64, 128, 256 clips."""
    clip = SampleShape(256, frames=17)
    assert clip.latent_frames == 5
    assert clip.image_tokens == clip.tokens_per_sample == 1280
    printed = ["8.2e+04", "1.6e+05", "3.3e+05"]
    assert [f"{clip.tokens(n):.1e}" for n in (64, 128, 256)] == printed


@pytest.mark.parametrize(
    ("shape", "tokens"),
    [
        (SampleShape(256), 256),
        (SampleShape(512), 1024),
        (SampleShape((256, 512)), 512),
        (SampleShape(256, patch=1, vae_stride=16), 256),
        (SampleShape(32, patch=4, vae_stride=1), 64),
        (SampleShape(256, frames=16, temporal_stride=1), 4096),
        (SampleShape(256, text_tokens=77), 333),
    ],
)
def test_tokens_of_images_and_clips(shape, tokens):
    assert shape.tokens_per_sample == tokens


def test_text_is_counted_apart_from_the_image():
    shape = SampleShape(256, text_tokens=77)
    assert (shape.image_tokens, shape.tokens_per_sample) == (256, 333)
    assert shape.describe() == "256x256 px: 256 visual tokens and 77 of text a sample"
    assert SampleShape((256, 512), frames=17).describe() == (
        "17 frames at 256x512 px: 2560 visual tokens a sample"
    )


@given(
    side=st.integers(1, 64),
    patch=st.integers(1, 4),
    stride=st.integers(1, 16),
    frames=st.integers(0, 20),
    temporal=st.integers(1, 8),
    text=st.integers(0, 512),
)
def test_tokens_agree_with_counting_patches_one_by_one(side, patch, stride, frames, temporal, text):
    px = side * patch * stride
    clip = 1 + frames * temporal
    shape = SampleShape(px, patch, stride, clip, temporal, text)
    latents = len(range(0, px, stride))
    rows = len(range(0, latents, patch))
    moments = len(range(0, clip, temporal))
    assert shape.tokens_per_sample == moments * rows * rows + text


def test_samples_undo_tokens_on_arrays():
    shape = SampleShape(256, text_tokens=77)
    samples = np.array([1.0, 1e6, 1e9])
    np.testing.assert_allclose(shape.samples(shape.tokens(samples)), samples)


def test_misfits_name_the_nearest_that_fit():
    with pytest.raises(SpecError) as raised:
        SampleShape(250, frames=16)
    assert str(raised.value) == (
        "250 px is not a multiple of vae_stride * patch = 16 px; take 240 or 256. "
        "16 frames are not 1 + a multiple of temporal_stride = 4; take 13 or 17."
    )
    with pytest.raises(SpecError, match=r"^8 px is not a multiple .* = 16 px; take 16\.$"):
        SampleShape(8)


def test_every_bad_number_is_named():
    with pytest.raises(SpecError) as raised:
        SampleShape(0, patch=1.5, text_tokens=-1)  # type: ignore[arg-type]
    assert str(raised.value) == (
        "`image_px` must be a whole number above zero; got 0. "
        "`patch` must be a whole number above zero; got 1.5. "
        "`text_tokens` must be a whole number, zero or more; got -1."
    )
    with pytest.raises(SpecError, match="is a side, or height and width"):
        SampleShape((1, 2, 3))  # type: ignore[arg-type]
