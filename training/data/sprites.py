"""Moving sprites with captions: short videos without end.

Two to four leaves of one palette move over a plain ground, bounce off its edges, spin, and pass in
front of each other. All set out within 30 degrees of one direction; the caption names that
direction, the speed, and whether a square spins or a leaf bounces in the frames that are shown.
Drawn in whole numbers like `training.data.leaves`, hence the same bit for bit everywhere.

Legend: B videos, n sprites, F frames, R pixels along a side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from training import rng
from training.config import Data
from training.data.captions import packed, phrases, table
from training.data.leaves import (
    PALETTES,
    SHAPES,
    SIDE,
    check_resolution,
    colour_of,
    half_side,
    pack,
    pixel_centres,
    procedural_shape,
    radius_of,
    unpack,
)
from training.data.options import options_of
from training.data.stream import AbstractSource, Raw
from training.errors import SpecError
from training.shapes import SampleShape

VERSION = "sprites-2"
MOST = 4
TEXT_LENGTH = 10

COUNTS = ("two", "three", "four")
SPEEDS = ("slow", "fast")
HEADINGS = ("right", "down", "left", "up")
_CLASSES = {"count": 3, "shape": 3, "palette": 8, "speed": 2, "heading": 4, "spinning": 2}

# chosen: sides per frame at least and at most, radii in sides, turn per frame in degrees
_SPEED = ((0.01, 0.02), (0.04, 0.06))
_RADII = (0.12, 0.25)
_TURN = (6.0, 20.0)
_UNIT = 1024  # cosines are whole multiples of 1/1024


class Motion(NamedTuple):
    """Where every sprite is: centres ``(B, n, F)`` in units, cosine and sine of its angle in
    1/1024, and whether it bounced, ``(B, n)``. Radius 0 is none.
    """

    across: Tensor
    down: Tensor
    cosine: Tensor
    sine: Tensor
    radius: Tensor
    square: Tensor
    colour: Tensor
    background: Tensor
    bounced: Tensor


@dataclass(frozen=True)
class Sprites(AbstractSource):
    """The source ``sprites``. Option: `speed` (1.0), a factor on all speeds."""

    data: Data
    purpose: str
    device: torch.device
    speed: float
    shape: SampleShape = field(init=False)
    eight_bit = True

    def __post_init__(self) -> None:
        check_resolution(self.data)
        if not 2 <= self.data.frames <= 256:
            raise SpecError(
                f"`data.frames` is {self.data.frames}; `sprites` are videos of 2 to 256 frames "
                "(8 or 16 are usual)."
            )
        if not 0 <= self.speed <= 4:
            raise SpecError(f"`data.options.speed` is {self.speed}; 0 to 4 was expected.")
        object.__setattr__(self, "shape", procedural_shape(self.data, TEXT_LENGTH))

    @classmethod
    def open(cls, data: Data, purpose: str, device: torch.device) -> Sprites:
        """The source that `data` asks for."""
        return cls(data, purpose, device, **options_of(data, speed=1.0))

    @property
    def address(self) -> str:
        """Version and everything that decides the videos."""
        data = self.data
        return (
            f"{VERSION}/{data.resolution}/{data.frames}/{data.captions}/{data.seed}/"
            f"{self.purpose}/{float(self.speed)!r}"
        )

    def make(self, position: Tensor) -> Raw:
        """Videos uint8 ``(B, 3, F, R, R)`` and captions."""
        position = position.to(self.device)
        pixels = self.data.frames * self.data.resolution**2
        step = max(1, (1 << 17 if self.device.type == "cpu" else 1 << 27) // pixels)
        x = [paint(self.motion(some), self.data.resolution) for some in position.split(step)]
        text = None if self.data.captions == "none" else self.tokens(position)
        return Raw(torch.cat(x), text)

    def attributes(self, position: Tensor) -> dict[str, Tensor]:
        """Class of each video by number, shape, palette, speed, heading, spin and bounce."""
        kinds = self._kinds(position)
        return {**kinds, "bouncing": self.motion(position).bounced.any(1).long()}

    def motion(self, position: Tensor) -> Motion:
        """Every sprite in every frame."""
        kinds, seed = self._kinds(position), self.data.seed
        bits = rng.words(seed, f"data/{self.purpose}/sprites", position, 7 * MOST + 1)
        draw = bits[:, :-1].reshape(-1, MOST, 7).unbind(-1)
        u = [(each >> 8).double().add(0.5).mul(2.0**-24) for each in draw]
        absent = torch.arange(MOST, device=position.device) >= kinds["count"][:, None] + 2
        radius = radius_of(u[0], torch.tensor(_RADII[0], dtype=torch.float64), _RADII[1])
        slow_fast = torch.tensor(_SPEED, device=position.device, dtype=torch.float64)
        low, high = slow_fast[kinds["speed"]].unbind(1)
        pace = SIDE * self.speed * (low[:, None] + u[3] * (high - low)[:, None])
        heading = (kinds["heading"][:, None] * 90.0 + 60.0 * (u[4] - 0.5)) * math.pi / 180.0
        frame = torch.arange(self.data.frames, device=position.device)
        across, hit = _bounce(u[1], (pace * heading.cos()), radius, frame)
        down, hit_too = _bounce(u[2], (pace * heading.sin()), radius, frame)
        spin = (2.0 * u[5] - 1.0).sign() * (_TURN[0] + (_TURN[1] - _TURN[0]) * (2 * u[5] % 1.0))
        turn = 360.0 * u[6][..., None] + (spin * kinds["spinning"][:, None])[..., None] * frame
        tilted = kinds["spinning"][:, None, None] == 1  # what does not spin stands upright
        angle = torch.where(tilted, turn, 0.0) * math.pi / 180.0
        first = draw[6] & 1  # squares among mixed sprites; the first two differ
        mixed = torch.stack((first[:, 0], 1 - first[:, 0], first[:, 2], first[:, 3]), dim=1)
        shape = kinds["shape"][:, None]
        ground = bits[:, -1:]
        apart = 48 + 40 * torch.arange(MOST, device=position.device)  # no two look the same
        hue = (ground & 255) + apart + (draw[5] & 31) & 255
        palette = kinds["palette"][:, None]
        return Motion(
            across=across,
            down=down,
            cosine=(_UNIT * angle.cos()).round(),
            sine=(_UNIT * angle.sin()).round(),
            radius=radius.masked_fill(absent, 0),
            square=torch.where(shape == 2, mixed, shape.expand_as(mixed)).bool(),
            colour=colour_of(palette, hue, 128 + (draw[4] & 127)),
            background=colour_of(palette, ground & 255, ground >> 8 & 63)[:, 0],
            bounced=(hit | hit_too) & ~absent,
        )

    def tokens(self, position: Tensor) -> Tensor:
        """Captions, int64 ``(B, 10)``: everything, or one thing if sparse."""
        kinds = self.attributes(position)
        device = position.device
        if self.data.captions != "sparse":
            parts = [
                table(*COUNTS, width=1).to(device)[kinds["count"]],
                table(*SPEEDS, width=1).to(device)[kinds["speed"]],
                table(*PALETTES, width=1).to(device)[kinds["palette"]],
                table(*SHAPES, width=3).to(device)[kinds["shape"]],
                table(*(f"moving {word}" for word in HEADINGS), width=2).to(device)[
                    kinds["heading"]
                ],
                table("", "spinning", width=1).to(device)[kinds["spinning"]],
                table("", "bouncing", width=1).to(device)[kinds["bouncing"]],
            ]
            return packed(torch.cat(parts, dim=-1))
        told = rng.integers(self.data.seed, f"data/{self.purpose}/sprites/told", position, 5)
        each = [
            table(*names, width=TEXT_LENGTH).to(device)[kinds[name]]
            for name, names in (
                ("count", [f"{word} leaves" for word in COUNTS]),
                ("speed", [f"{word} leaves" for word in SPEEDS]),
                ("palette", [f"{word} leaves" for word in PALETTES]),
                ("shape", SHAPES),
                ("heading", [f"moving {word}" for word in HEADINGS]),
            )
        ]
        chosen = told[:, None, None].expand(-1, 1, TEXT_LENGTH)
        return torch.stack(each, dim=1).gather(1, chosen).squeeze(1)

    def describe(self, position: Tensor) -> list[str]:
        """The caption in words."""
        return phrases(self.tokens(position.to(self.device)))

    def _kinds(self, position: Tensor) -> dict[str, Tensor]:
        purpose = f"data/{self.purpose}/sprites/attributes"
        draws = rng.words(self.data.seed, purpose, position, len(_CLASSES))
        kinds = {name: draws[:, k] % high for k, (name, high) in enumerate(_CLASSES.items())}
        kinds["spinning"] = kinds["spinning"] * (kinds["shape"] != 0)  # a disc shows no spin
        return kinds


def _bounce(u: Tensor, pace: Tensor, radius: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
    """Positions ``(B, n, F)`` along one axis between two walls, and whether a wall was met."""
    span = (SIDE - 2 * radius)[..., None]
    free = (u[..., None] * span + pace[..., None] * frame).round().long()
    folded = free % (2 * span)
    inside = torch.where(folded <= span, folded, 2 * span - folded)
    return inside + radius[..., None], ((free < 0) | (free > span)).any(-1)


def paint(motion: Motion, resolution: int) -> Tensor:
    """Videos uint8 ``(B, 3, F, R, R)``, a pixel in the colour of the first sprite over it."""
    at = pixel_centres(resolution, motion.radius.device)
    half = half_side(motion.radius)
    colours, frames = pack(motion.colour), motion.across.shape[-1]
    ground = pack(motion.background)[:, None, None, None]
    video_BFRR = ground.expand(-1, frames, resolution, resolution)
    for k in reversed(range(motion.radius.shape[1])):
        dx = (at - motion.across[:, k, :, None]).float()[:, :, None, :]
        dy = (at - motion.down[:, k, :, None]).float()[:, :, :, None]
        cosine, sine = (each[:, k, :, None, None].float() for each in (motion.cosine, motion.sine))
        edge = (half[:, k].float() * _UNIT)[:, None, None, None]
        reach = (motion.radius[:, k].float() ** 2)[:, None, None, None]
        along, aside = cosine * dx + sine * dy, cosine * dy - sine * dx  # below 2**23: exact
        in_square = (along.abs() <= edge) & (aside.abs() <= edge)
        in_disc = dx * dx < reach - dy * dy
        covered = torch.where(motion.square[:, k, None, None, None], in_square, in_disc)
        video_BFRR = torch.where(covered, colours[:, k, None, None, None], video_BFRR)
    return unpack(video_BFRR)
