"""How many tokens an image, a clip or a text is: what turns tokens into samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bayescale.errors import SpecError


@dataclass(frozen=True)
class SampleShape:
    """One training sample of a visual model, and its tokens.

    An image count is not a token count: it depends on resolution, the strides of the autoencoder,
    the patch, the length of the clip and of the caption. ::

        tokens_per_sample = latent_frames * (height / stride) * (width / stride) + text_tokens
        stride = vae_stride * patch
        latent_frames = 1 + (frames - 1) / temporal_stride

    Parameters
    ----------
    image_px : int or (int, int)
        Side, or height and width, pixels.
    patch : int, default 2
        Side of a patch in latent pixels; 2 as in DiT and most that followed.
    vae_stride : int, default 8
        Pixels per latent pixel; 1 for a model on pixels.
    frames : int, default 1
        Frames of a clip; 1 is an image.
    temporal_stride : int, default 4
        Frames per latent frame after the first, which has one of its own (a causal video
        autoencoder). Without effect on images.
    text_tokens : int, default 0
        Text tokens in the sequence, where the study counts them (2410.08184 does, ABRA does not).

    Examples
    --------
    >>> SampleShape(256, frames=17).tokens_per_sample
    1280
    >>> SampleShape(256, text_tokens=77).samples(1e9)
    3003003.003003003
    """

    image_px: int | tuple[int, int]
    patch: int = 2
    vae_stride: int = 8
    frames: int = 1
    temporal_stride: int = 4
    text_tokens: int = 0

    def __post_init__(self) -> None:
        counts = {
            "image_px": min(self.height_width),
            "patch": self.patch,
            "vae_stride": self.vae_stride,
            "frames": self.frames,
            "temporal_stride": self.temporal_stride,
        }
        problems = [
            f"`{name}` must be a whole number above zero; got {value!r}."
            for name, value in counts.items()
            if not (_whole(value) and value >= 1)
        ]
        if not (_whole(self.text_tokens) and self.text_tokens >= 0):
            problems.append(
                f"`text_tokens` must be a whole number, zero or more; got {self.text_tokens!r}."
            )
        problems = problems or self._misfits()
        if problems:
            raise SpecError(" ".join(problems))

    def _misfits(self) -> list[str]:
        stride, found = self.vae_stride * self.patch, []
        for px in dict.fromkeys(self.height_width):
            if px % stride:
                low = px // stride * stride
                near = f"{low} or {low + stride}" if low else f"{stride}"
                found.append(
                    f"{px} px is not a multiple of vae_stride * patch = {stride} px; take {near}."
                )
        over = (self.frames - 1) % self.temporal_stride
        if over:
            found.append(
                f"{self.frames} frames are not 1 + a multiple of temporal_stride = "
                f"{self.temporal_stride}; take {self.frames - over} or "
                f"{self.frames - over + self.temporal_stride}."
            )
        return found

    @property
    def height_width(self) -> tuple[int, int]:
        """Height and width, pixels."""
        px = self.image_px
        if not isinstance(px, tuple | list):
            return px, px
        if len(px) != 2:
            raise SpecError(f"`image_px` is a side, or height and width; got {px!r}.")
        return px[0], px[1]

    @property
    def latent_frames(self) -> int:
        """Frames after the autoencoder."""
        return 1 + (self.frames - 1) // self.temporal_stride

    @property
    def image_tokens(self) -> int:
        """Visual tokens of one sample."""
        stride = self.vae_stride * self.patch
        height, width = self.height_width
        return self.latent_frames * (height // stride) * (width // stride)

    @property
    def tokens_per_sample(self) -> int:
        """Visual and text tokens of one sample."""
        return self.image_tokens + self.text_tokens

    def samples(self, tokens: Any) -> Any:
        """How many samples that many tokens are, without rounding; any array."""
        return tokens / self.tokens_per_sample

    def tokens(self, samples: Any) -> Any:
        """How many tokens that many samples are; any array."""
        return samples * self.tokens_per_sample

    def describe(self) -> str:
        """Say it in words."""
        height, width = self.height_width
        clip = f"{self.frames} frames at " if self.frames > 1 else ""
        text = f" and {self.text_tokens} of text" if self.text_tokens else ""
        return f"{clip}{height}x{width} px: {self.image_tokens} visual tokens{text} a sample"


def _whole(value: Any) -> bool:
    return not isinstance(value, bool) and math.isfinite(value) and value == int(value)
