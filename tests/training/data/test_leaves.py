"""Dead leaves and sprites: their statistics, and that captions are true."""

import hashlib
import math

import pytest
import torch

from training.config import Data
from training.data import open_stream
from training.data.captions import WORDS, packed
from training.data.leaves import (
    ANCHORS,
    LAWS,
    PALETTES,
    SIDE,
    SMALLEST,
    Leaves,
    Scene,
    half_side,
    paint,
    pixel_centres,
    scene_of,
)
from training.data.sprites import Sprites
from training.errors import SpecError

CPU = torch.device("cpu")


def leaves(**fields) -> Leaves:
    return Leaves.open(Data(**fields), "train", CPU)


def sprites(**fields) -> Sprites:
    return Sprites.open(Data("sprites", **{"frames": 12, **fields}), "train", CPU)


def scene(source: Leaves, count: int) -> tuple[Scene, dict[str, torch.Tensor]]:
    position = torch.arange(count)
    kinds = source.attributes(position)
    return scene_of(0, "data/train/leaves", position, kinds, source.leaves), kinds


def test_radii_follow_the_power_law():
    drawn, kinds = scene(leaves(), 4000)
    for law, smallest in enumerate(SMALLEST):
        shown = drawn.radius[kinds["law"] == law]
        r = shown[shown > 0].double() / SIDE
        assert smallest - 1e-3 < float(r.min()) and float(r.max()) <= 0.5
        # density r^-3 between a and b: P(r > s) = (s^-2 - b^-2) / (a^-2 - b^-2)
        for s in (1.2 * smallest, 1.5 * smallest, 2.0 * smallest):
            p = (s**-2 - 4.0) / (smallest**-2 - 4.0)
            error = math.sqrt(p * (1 - p) / len(r))
            assert abs(float((r > s).double().mean()) - p) < 4 * error + 2e-3


def test_painting_agrees_with_the_definition_pixel_by_pixel():
    drawn, _ = scene(leaves(), 20)
    for resolution in (8, 24, 32):
        at = pixel_centres(resolution, CPU).tolist()
        image = paint(drawn, resolution)
        half = half_side(drawn.radius)
        for b in range(0, 20, 3):
            for i, j in ((0, 0), (3, 5), (resolution - 1, 2), (6, 7)):
                wanted = drawn.background[b]
                for k in range(24):
                    dx, dy = at[j] - int(drawn.across[b, k]), at[i] - int(drawn.down[b, k])
                    inside = (
                        max(abs(dx), abs(dy)) <= int(half[b, k])
                        if drawn.square[b, k]
                        else dx * dx + dy * dy < int(drawn.radius[b, k]) ** 2
                    )
                    if inside:
                        wanted = drawn.colour[b, k]
                        break
                assert image[b, :, i, j].tolist() == wanted.tolist()


def test_a_finer_picture_shows_the_same_scene():
    small = leaves(resolution=32).make(torch.arange(64)).x.float().mean(dim=(2, 3, 4))
    large = leaves(resolution=128).make(torch.arange(64)).x.float().mean(dim=(2, 3, 4))
    assert float((small - large).abs().max()) < 6.0


def test_dense_captions_are_true():
    source = leaves()
    drawn, _ = scene(source, 400)
    counts = {"few": 6, "some": 12, "many": 24}
    for b, caption in enumerate(source.describe(torch.arange(400))):
        density, law, palette, *shape = caption.split()
        shown = drawn.radius[b] > 0
        assert int(shown.sum()) == counts[density]
        assert float(drawn.radius[b][shown].min()) >= SIDE * SMALLEST[LAWS.index(law)] - 1
        squares = drawn.square[b][shown]
        assert bool(squares.any()) == ("squares" in shape)
        assert bool((~squares).any()) == ("discs" in shape)
        # every colour is a dimmed mix of two neighbouring anchors of the palette
        anchors = torch.tensor(ANCHORS[PALETTES.index(palette)])
        assert bool((drawn.colour[b] <= anchors.max(0).values).all())


def test_sparse_captions_tell_one_attribute_of_the_dense_one():
    dense = leaves().describe(torch.arange(300))
    sparse = leaves(captions="sparse").describe(torch.arange(300))
    told = set()
    for whole, part in zip(dense, sparse, strict=True):
        words = part.removesuffix(" leaves")
        assert words in whole
        if "leaves" not in part:
            assert whole.endswith(f" {words}") and len(whole.split()) == 3 + len(words.split())
        told.add(part)
    assert len(told) == 3 + 3 + 8 + 3


def test_images_do_not_hang_on_the_captions():
    dense, sparse, none = (
        leaves(captions=kind).make(torch.arange(8)).x for kind in ("dense", "sparse", "none")
    )
    assert torch.equal(dense, sparse) and torch.equal(dense, none)


def test_pictures_change_only_with_their_version():
    """Pools and records rely on it: raise ``VERSION`` when a picture or a caption changes."""
    for source, version, digest in (
        (leaves(), "leaves-1", "672a88e80e0eb00e"),
        (sprites(), "sprites-2", "fb8195b2cb0dea6d"),
    ):
        made = source.make(torch.arange(64))
        assert made.text is not None
        content = made.x.numpy().tobytes() + made.text.numpy().tobytes()
        assert source.address.startswith(f"{version}/")
        assert hashlib.sha256(content).hexdigest()[:16] == digest


def test_attributes_are_spread_evenly():
    kinds = leaves().attributes(torch.arange(9000))
    for high, drawn in zip((3, 3, 8, 3), kinds.values(), strict=True):
        counts = torch.bincount(drawn, minlength=high).double()
        assert float(((counts - 9000 / high) ** 2 / (9000 / high)).sum()) < 25.0


def test_the_vocabulary_has_32_words():
    assert len(WORDS) == len(set(WORDS)) == 32
    assert WORDS[0] == ""


def test_packing_moves_padding_behind_words():
    assert packed(torch.tensor([[3, 0, 5, 0, 2]])).tolist() == [[3, 5, 2, 0, 0]]


def test_captions_of_sprites_are_true():
    source = sprites()
    position = torch.arange(400)
    motion = source.motion(position)
    steps = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
    number = {"two": 2, "three": 3, "four": 4}
    for b, caption in enumerate(source.describe(position)):
        words = caption.split()
        shown = motion.radius[b] > 0
        assert int(shown.sum()) == number[words[0]]
        squares = motion.square[b][shown]
        assert bool(squares.any()) == ("squares" in words)
        assert bool((~squares).any()) == ("discs" in words)
        turned = (motion.cosine[b] != motion.cosine[b][:, :1]).any()
        assert bool(turned) == ("spinning" in words)
        x, y = motion.across[b][shown].double(), motion.down[b][shown].double()
        dx, dy = x.diff(dim=1), y.diff(dim=1)
        # a path that never turns back has not bounced (a bounce in the last step may not show)
        back = bool(((dx.sign() * dx.sign()[:, :1] < 0) | (dy.sign() * dy.sign()[:, :1] < 0)).any())
        assert back <= ("bouncing" in words)
        if "bouncing" not in words:
            along, down = steps[words[words.index("moving") + 1]]
            went = along * dx.sum(1) + down * dy.sum(1)
            pace = torch.hypot(dx, dy).mean(1) / SIDE
            assert bool((went > 0.8 * torch.hypot(dx.sum(1), dy.sum(1))).all())
            slow = words[1] == "slow"
            assert bool(((pace < 0.021) if slow else (pace > 0.039)).all())


def test_sprites_stay_between_the_walls():
    motion = sprites(frames=64, options={"speed": 4.0}).motion(torch.arange(64))
    for at in (motion.across, motion.down):
        inside = (at >= motion.radius[..., None]) & (at <= SIDE - motion.radius[..., None])
        assert bool(inside.all())


def test_sprites_occlude_in_painters_order():
    source = sprites(resolution=64, frames=2)
    motion = source.motion(torch.arange(50))
    x = source.make(torch.arange(50)).x
    for b in range(50):  # the centre of the first sprite is never hidden
        i, j = (int(at[b, 0, 1]) * 64 // SIDE for at in (motion.down, motion.across))
        assert x[b, :, 1, i, j].tolist() == motion.colour[b, 0].tolist()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Data(resolution=4), "8 to 256 pixels"),
        (Data(frames=2), "images"),
        (Data(options={"leaves": 1}), "at least 4"),
        (Data("sprites"), "videos of 2 to 256 frames"),
    ],
)
def test_impossible_pictures_are_refused(data, said):
    with pytest.raises(SpecError, match=said):
        open_stream(data, "train")
