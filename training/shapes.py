"""What one training sample looks like, shared by data, models and the count of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

TextKind = Literal["none", "tokens", "embeddings"]


@dataclass(frozen=True)
class SampleShape:
    """Shape of a sample: an image is a video of one frame, so there is one code path.

    Parameters
    ----------
    channels, frames, height, width : int
        Of the array that the model sees; of the latent, where latents are trained on.
    text : {"none", "tokens", "embeddings"}
        What stands for the caption.
    text_length : int
        Caption length in tokens, padding included.
    text_size : int
        Size of the vocabulary (tokens), or width of an embedding (embeddings).
    """

    channels: int = 3
    frames: int = 1
    height: int = 16
    width: int = 16
    text: TextKind = "none"
    text_length: int = 0
    text_size: int = 0

    @property
    def array(self) -> tuple[int, int, int, int]:
        """(channels, frames, height, width)."""
        return (self.channels, self.frames, self.height, self.width)

    @property
    def numel(self) -> int:
        """Numbers in a sample: the dimension of the density that is modelled."""
        return self.channels * self.frames * self.height * self.width

    def grid(self, patch: tuple[int, int, int]) -> tuple[int, int, int]:
        """Tokens along (time, height, width) for a patch of (frames, pixels, pixels)."""
        return (self.frames // patch[0], self.height // patch[1], self.width // patch[2])


class Batch(NamedTuple):
    """Samples of a stream.

    ``x`` is float32 ``(B, C, F, H, W)``, about in [-1, 1]. ``text`` is int64 ``(B, n_text)`` token
    ids with 0 for padding, or float32 ``(B, n_text, width)`` embeddings, or None.
    """

    x: Tensor
    text: Tensor | None = None
