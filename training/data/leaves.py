"""Dead leaves with captions: images without end, with the statistics of natural ones.

Discs and squares occlude each other; their radii follow the density r^-3, which makes the image
scale-invariant (Lee, Mumford and Huang 2001). Four attributes of an image (how many leaves, how
large, which colours, which shapes) are its caption.

Everything is drawn in whole numbers, 2,048 units to a side and 256 levels to a colour, which
float32 and int32 hold exactly. So an image is the same bit for bit on a CPU and a GPU, in any
batch, compiled or not, and its 8-bit pool is not an approximation. The picture does not hang on the
resolution: at 32 pixels it is a finer rendering of the same scene.

Legend: B images, n leaves, R pixels along a side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from training import rng
from training.config import Data
from training.data.captions import WORDS, phrases, table
from training.data.options import options_of
from training.data.stream import AbstractSource, Raw
from training.errors import SpecError
from training.shapes import SampleShape

VERSION = "leaves-1"
SIDE = 2048  # squares of distances stay below 2**24, which float32 holds exactly
TEXT_LENGTH = 6

SHAPES = ("discs", "squares", "discs and squares")
PALETTES = WORDS[7:15]
LAWS = ("small", "middling", "large")
SMALLEST = (0.05, 0.10, 0.20)  # least radius of each law, in sides; chosen
LARGEST = 0.5
DENSITIES = ("few", "some", "many")  # a quarter, a half, all of the leaves

# Four anchor colours each, dark to light, chosen by eye; a leaf mixes two neighbours
ANCHORS = (
    ((120, 30, 20), (200, 80, 20), (230, 160, 40), (250, 220, 120)),
    ((10, 30, 80), (20, 90, 150), (60, 170, 190), (200, 235, 230)),
    ((20, 50, 25), (50, 100, 40), (120, 150, 60), (200, 200, 130)),
    ((110, 70, 45), (180, 130, 85), (220, 185, 140), (245, 225, 195)),
    ((250, 190, 200), (200, 200, 250), (190, 240, 210), (255, 245, 200)),
    ((255, 0, 120), (120, 0, 255), (0, 220, 255), (190, 255, 0)),
    ((20, 20, 20), (90, 90, 90), (160, 160, 160), (245, 245, 245)),
    ((30, 15, 60), (90, 30, 110), (190, 70, 110), (250, 150, 100)),
)


class Scene(NamedTuple):
    """Leaves from front to back: centres and radii in units, int64 ``(B, n)``; radius 0 is none."""

    across: Tensor
    down: Tensor
    radius: Tensor
    square: Tensor
    colour: Tensor
    background: Tensor


@dataclass(frozen=True)
class Leaves(AbstractSource):
    """The source ``leaves``. Options: `leaves`, how many an image has at most (24)."""

    data: Data
    purpose: str
    device: torch.device
    leaves: int
    shape: SampleShape = field(init=False)
    eight_bit = True

    def __post_init__(self) -> None:
        check_resolution(self.data)
        if self.data.frames != 1:
            raise SpecError(f"`data.frames` is {self.data.frames}; `leaves` are images (1 frame).")
        if self.leaves < 4:
            raise SpecError(f"`data.options.leaves` is {self.leaves}; at least 4 were expected.")
        object.__setattr__(self, "shape", procedural_shape(self.data, TEXT_LENGTH))

    @classmethod
    def open(cls, data: Data, purpose: str, device: torch.device) -> Leaves:
        """The source that `data` asks for."""
        return cls(data, purpose, device, **options_of(data, leaves=24))

    @property
    def address(self) -> str:
        """Version and everything that decides the images."""
        data = self.data
        return (
            f"{VERSION}/{data.resolution}/{data.captions}/{data.seed}/{self.purpose}/{self.leaves}"
        )

    def make(self, position: Tensor) -> Raw:
        """Images uint8 ``(B, 3, 1, R, R)`` and captions."""
        position = position.to(self.device)
        kinds = self.attributes(position)
        purpose = f"data/{self.purpose}/leaves"
        scene = scene_of(self.data.seed, purpose, position, kinds, self.leaves)
        x_BCHW = paint(scene, self.data.resolution)
        text = None if self.data.captions == "none" else self.tokens(position)
        return Raw(x_BCHW.unsqueeze(2), text)

    def attributes(self, position: Tensor) -> dict[str, Tensor]:
        """Class of each image by density, radius law, palette and shape."""
        purpose = f"data/{self.purpose}/leaves/attributes"
        draws = rng.words(self.data.seed, purpose, position, 4)
        names = {"density": 3, "law": 3, "palette": 8, "shape": 3}
        return {name: draws[:, k] % high for k, (name, high) in enumerate(names.items())}

    def tokens(self, position: Tensor) -> Tensor:
        """Captions, int64 ``(B, 6)``: all four attributes, or one of them if sparse."""
        kinds = self.attributes(position)
        if self.data.captions != "sparse":
            words = [
                table(*names, width=width).to(position.device)[kinds[name]]
                for name, names, width in (
                    ("density", DENSITIES, 1),
                    ("law", LAWS, 1),
                    ("palette", PALETTES, 1),
                    ("shape", SHAPES, 3),
                )
            ]
            return torch.cat(words, dim=-1)
        told = rng.integers(self.data.seed, f"data/{self.purpose}/leaves/told", position, 4)
        each = [
            table(*names, width=TEXT_LENGTH).to(position.device)[kinds[name]]
            for name, names in (
                ("density", [f"{word} leaves" for word in DENSITIES]),
                ("law", [f"{word} leaves" for word in LAWS]),
                ("palette", [f"{word} leaves" for word in PALETTES]),
                ("shape", SHAPES),
            )
        ]
        chosen = told[:, None, None].expand(-1, 1, TEXT_LENGTH)
        return torch.stack(each, dim=1).gather(1, chosen).squeeze(1)

    def describe(self, position: Tensor) -> list[str]:
        """The caption in words."""
        return phrases(self.tokens(position))


def scene_of(
    seed: int, purpose: str, index: Tensor, kinds: dict[str, Tensor], leaves: int
) -> Scene:
    """The leaves of each image, from two words of 32 bits a leaf."""
    bits = rng.words(seed, purpose, index, 2 * leaves + 1)
    place, look, ground = bits[:, :leaves], bits[:, leaves:-1], bits[:, -1:]
    device = index.device
    kind = kinds["shape"][:, None]
    drawn = place >> 30 & 1
    second = torch.where(kind == 2, 1 - drawn[:, :1], kind)  # mixed: the two in front differ,
    square = torch.where(kind == 2, drawn, kind)  # so that the caption is true
    square = torch.cat((square[:, :1], second, square[:, 2:]), dim=1)
    shown = torch.tensor([-(-leaves // 4), -(-leaves // 2), leaves], device=device)
    absent = torch.arange(leaves, device=device) >= shown[kinds["density"], None]
    smallest = torch.tensor(SMALLEST, device=device, dtype=torch.float64)[kinds["law"], None]
    radius = radius_of((look & 0xFFFFFF).double().add(0.5).mul(2.0**-24), smallest)
    return Scene(
        across=place & (SIDE - 1),
        down=place >> 11 & (SIDE - 1),
        radius=radius.masked_fill(absent, 0),
        square=square.bool(),
        colour=colour_of(kinds["palette"][:, None], look >> 24 & 255, place >> 22 & 255),
        background=colour_of(kinds["palette"][:, None], ground & 255, ground >> 8 & 255)[:, 0],
    )


def radius_of(u: Tensor, smallest: Tensor, largest: float = LARGEST) -> Tensor:
    """Radii in units with density r^-3 between two ends, from uniform draws (inverse transform)."""
    low, high = smallest**-2, largest**-2
    return (SIDE * (low - u * (low - high)) ** -0.5).round().long()


def colour_of(palette: Tensor, mix: Tensor, light: Tensor) -> Tensor:
    """Colours 0 .. 255, int64 ``(..., 3)``: between two anchors of a palette, then dimmed."""
    anchors = torch.tensor(ANCHORS, device=mix.device)
    first, weight = 3 * mix >> 8, (3 * mix & 255)[..., None]
    palette = palette.expand_as(mix)
    colour = anchors[palette, first] * (256 - weight) + anchors[palette, first + 1] * weight
    return (colour >> 8) * (160 + 3 * light // 8)[..., None] >> 8


def paint(scene: Scene, resolution: int) -> Tensor:
    """Images uint8 ``(B, 3, R, R)``, each pixel the colour of the first leaf over its centre."""
    whole = [
        paint_some(Scene(*(part[start : start + step] for part in scene)), resolution)
        for step in [chunk_of(resolution, scene.radius.device)]
        for start in range(0, len(scene.radius), step)
    ]
    return whole[0] if len(whole) == 1 else torch.cat(whole)


def paint_some(scene: Scene, resolution: int) -> Tensor:
    """`paint` in one piece.

    A disc covers a pixel where dx² < r² - dy². For a square both sides are replaced by numbers that
    say whether the column and the row lie inside; so both shapes cost one comparison of a row with
    a column. Half the side of a square is r √π / 2: the same area as the disc.
    """
    at = pixel_centres(resolution, scene.radius.device)
    dx = (at - scene.across[..., None]).float()
    dy = (at - scene.down[..., None]).float()
    square = scene.square[..., None]
    r, half = scene.radius[..., None].float(), half_side(scene.radius)[..., None].float()
    far = float(1 << 24)
    across_BnR = torch.where(square, torch.where(dx.abs() <= half, 0.0, far), dx * dx)
    down_BnR = torch.where(square, torch.where(dy.abs() <= half, -1.0, far), dy * dy - r * r)
    packed = pack(scene.colour)
    image_BRR = pack(scene.background)[:, None, None].expand(-1, resolution, resolution)
    for k in reversed(range(scene.radius.shape[1])):  # painter's order: the back first
        covered = across_BnR[:, k, None, :] < -down_BnR[:, k, :, None]
        image_BRR = torch.where(covered, packed[:, k, None, None], image_BRR)
    return unpack(image_BRR)


def half_side(radius: Tensor) -> Tensor:
    """Half the side of the square with the area of a disc; -1, which covers nothing, for none."""
    half = (radius.double() * (math.sqrt(math.pi) / 2)).round().long()
    return torch.where(radius > 0, half, -1)


def pixel_centres(resolution: int, device: torch.device) -> Tensor:
    """Centres of pixels in units, rounded where the resolution does not divide the side."""
    return (2 * torch.arange(resolution, device=device) + 1) * SIDE // (2 * resolution)


def pack(colour: Tensor) -> Tensor:
    """Three levels in one int32, so that a pixel is painted at once."""
    return (colour[..., 0] | colour[..., 1] << 8 | colour[..., 2] << 16).int()


def unpack(image: Tensor) -> Tensor:
    """Levels uint8 ``(B, 3, ...)`` of packed colours ``(B, ...)``."""
    return torch.stack([(image >> shift & 255).to(torch.uint8) for shift in (0, 8, 16)], dim=1)


def chunk_of(resolution: int, device: torch.device) -> int:
    """Images painted at a time: on a CPU as many as the cache holds."""
    pixels = (1 << 16) if device.type == "cpu" else (1 << 26)
    return max(1, pixels // resolution**2)


def procedural_shape(data: Data, text_length: int) -> SampleShape:
    """Shape of the samples of `leaves` and `sprites`."""
    text = data.captions != "none"
    return SampleShape(
        channels=3,
        frames=data.frames,
        height=data.resolution,
        width=data.resolution,
        text="tokens" if text else "none",
        text_length=text_length if text else 0,
        text_size=len(WORDS) if text else 0,
    )


def check_resolution(data: Data) -> None:
    """SpecError unless there are 8 to 256 pixels."""
    if not 8 <= data.resolution <= 256:
        raise SpecError(
            f"`data.resolution` is {data.resolution}; `{data.name}` draws 8 to 256 pixels."
        )
