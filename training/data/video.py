"""A folder of video files, with captions beside them as for images.

Each file gives `clips` samples of ``data.frames`` frames, `stride` apart, spread evenly over its
length.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from training.config import Data
from training.data.decoding import FIT, VIDEOS, frames_in, need_av, video_of
from training.data.folder import Files, files_of
from training.data.items import Items, opened
from training.errors import DataSourceError, SpecError


@dataclass(frozen=True)
class Clips(Files):
    """Clips of the files; the number of frames of a file is looked up when it is first read."""

    _lengths: dict[int, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def total(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Clips of all files."""
        return len(self.paths) * self.options["clips"]

    def read(self, item: int) -> np.ndarray:
        """The frames of a clip."""
        file, clip = divmod(item, self.options["clips"])
        start = self._start(file, clip)
        wanted = [start + k * self.options["stride"] for k in range(self.data.frames)]
        path = self.paths[file]
        return video_of(path, str(path), wanted, self.data.resolution, self.options)

    def name(self, item: int) -> str:
        """Path of the file, and which clip of it."""
        file, clip = divmod(item, self.options["clips"])
        return super().name(file) + (f" (clip {clip + 1})" if self.options["clips"] > 1 else "")

    def caption(self, item: int, kind: str) -> str | None:
        """The caption of the file."""
        return super().caption(item // self.options["clips"], kind)

    def embedding(self, item: int) -> np.ndarray | None:
        """The embedding of the file."""
        return super().embedding(item // self.options["clips"])

    def _start(self, file: int, clip: int) -> int:
        clips = self.options["clips"]
        if clips == 1:
            return 0
        if file not in self._lengths:
            self._lengths[file] = frames_in(self.paths[file], str(self.paths[file]))
        spare = self._lengths[file] - (self.data.frames - 1) * self.options["stride"] - 1
        if spare < 0:
            raise DataSourceError(
                f"`{self.paths[file]}` has {self._lengths[file]} frames; {self.data.frames} of "
                f"them, {self.options['stride']} apart, were expected."
            )
        return clip * spare // (clips - 1)


@dataclass(frozen=True)
class VideoFolder:
    """The stream ``video``.

    Options: those of `COMMON` and `FIT`, `stride` (1), `clips` (1), and `backend` (``av``, or
    ``torchcodec`` if that is installed).
    """

    @staticmethod
    def open(data: Data, purpose: str, device: torch.device) -> Items:
        """The source that `data` asks for."""
        del device
        own: dict[str, Any] = {**FIT, "stride": 1, "clips": 1, "backend": "av"}
        return opened(_clips, data, purpose, **own)


def _clips(data: Data, options: dict[str, Any]) -> Files:
    if options["stride"] < 1 or options["clips"] < 1:
        raise SpecError(
            f"`data.options`: `stride` is {options['stride']} and `clips` {options['clips']}; both "
            "must be at least 1."
        )
    if options["backend"] not in ("av", "torchcodec"):
        raise SpecError(
            f"`data.options.backend` is {options['backend']!r}; `av` or `torchcodec` was expected."
        )
    need_av(data)
    return partial(files_of, Clips, VIDEOS, "videos")(data, options)
