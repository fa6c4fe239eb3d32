"""Pictures of samples: right colours at the right place, whatever the shape."""

import builtins

import pytest
import torch

from training.errors import SpecError
from training.evals.pictures import picture

torch.set_num_threads(1)
Image = pytest.importorskip("PIL.Image", reason='pip install "bayescale[images]"')


def loaded(path):
    with Image.open(path) as page:
        return page.convert("RGB")


def test_a_tile_shows_the_colours_of_its_sample(tmp_path):
    x = -torch.ones(4, 3, 1, 8, 8)
    x[0, 0] = 1.0  # red
    x[3, 2] = 1.0  # blue
    page = loaded(picture(x, tmp_path / "a.png"))
    assert page.getpixel((50, 50)) == (255, 0, 0)
    assert page.getpixel((50 + 102, 50 + 102)) == (0, 0, 255)
    assert page.getpixel((1, 1)) == (255, 255, 255)


def test_rows_of_a_video_are_its_frames(tmp_path):
    x = torch.linspace(-1, 1, 3).reshape(1, 1, 3, 1, 1).expand(2, 1, 3, 8, 8)
    page = loaded(picture(x, tmp_path / "a.png")).convert("L")
    assert [page.getpixel((30 + 66 * k, 100)) for k in range(3)] == [0, 128, 255]


def test_captions_stand_below_the_tiles_and_long_ones_are_broken(tmp_path):
    x = torch.zeros(2, 3, 1, 16, 16)
    plain = loaded(picture(x, tmp_path / "a.png"))
    told = loaded(
        picture(x, tmp_path / "b.png", captions=["many small red discs on grey", "squares — ü"])
    )
    assert told.size[0] == plain.size[0] and told.size[1] == plain.size[1] + 2 * 12
    below = told.convert("L").crop((6, 6 + 96 + 1, 102, told.size[1]))
    assert (
        min(
            below.getdata()
            if not hasattr(below, "get_flattened_data")
            else below.get_flattened_data()
        )
        < 100
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("frames", [1, 40])
def test_any_number_of_channels_and_frames_is_drawn(channels, frames, tmp_path):
    x = torch.randn(3, channels, frames, 8, 16)
    assert loaded(picture(x, tmp_path / "sub" / "a.png")).size[0] > 96


def test_samples_that_are_not_finite_are_drawn_and_said(tmp_path):
    x = torch.full((1, 3, 1, 8, 8), float("nan"))
    page = loaded(picture(x, tmp_path / "a.png"))
    assert page.getpixel((50, 60)) == (0, 0, 0)


def test_a_large_image_is_not_enlarged(tmp_path):
    page = loaded(picture(torch.zeros(1, 3, 1, 200, 300), tmp_path / "a.png"))
    assert page.size == (312, 212)


def test_without_pillow_there_is_one_clear_error(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SpecError, match=r"bayescale\[images\]"):
        picture(torch.zeros(1, 3, 1, 8, 8), tmp_path / "a.png")
