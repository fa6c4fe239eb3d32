"""A folder of images, with captions beside them.

``cat.png`` may have ``cat.txt`` (first line the dense caption, second line the sparse one), or the
folder a ``captions.jsonl`` with lines like
``{"file": "cat.png", "caption": "a red cat on a mat", "sparse": "a cat"}``; precomputed embeddings
lie in ``cat.npy``, ``(tokens, width)``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import Data
from training.data.decoding import FIT, IMAGES, VIDEOS, check_fit, image_of, need_pillow
from training.data.items import AbstractReader, Items, folder_of, opened, stamp
from training.errors import DataSourceError, SpecError


@dataclass(frozen=True)
class Files(AbstractReader):
    """What image and video folders share: names, captions and embeddings of the files."""

    data: Data
    options: dict[str, Any]
    folder: Path
    paths: tuple[Path, ...]
    captions: Mapping[str, Mapping[str, str]]

    @property
    def array(self) -> tuple[int, int, int, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(channels, frames, height, width)."""
        side = self.data.resolution
        return (self.options["channels"], self.data.frames, side, side)

    @property
    def total(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Files there are."""
        return len(self.paths)

    @property
    def address(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Names, sizes and times of all files, captions included."""
        beside = [path.with_suffix(end) for path in self.paths for end in (".txt", ".npy")]
        beside.append(self.folder / "captions.jsonl")
        files = [*self.paths, *(path for path in beside if path.exists())]
        return f"{stamp(files)}/{sorted(self.options.items())}"

    def read(self, item: int) -> np.ndarray:
        """The image."""
        path = self.paths[item]
        return image_of(path, str(path), self.data.resolution, self.options)

    def name(self, item: int) -> str:
        """Path of the file."""
        return str(self.paths[item])

    def caption(self, item: int, kind: str) -> str | None:
        """From ``captions.jsonl``, or from the text beside the file."""
        path = self.paths[item]
        if self.captions:
            line = self.captions.get(path.relative_to(self.folder).as_posix(), {})
            return line.get("caption" if kind == "dense" else "sparse")
        beside = path.with_suffix(".txt")
        if not beside.exists():
            return None
        lines = [each.strip() for each in beside.read_text(encoding="utf-8").splitlines()]
        lines = [each for each in lines if each]
        place = 0 if kind == "dense" else 1
        return lines[place] if place < len(lines) else None

    def embedding(self, item: int) -> np.ndarray | None:
        """From the ``.npy`` beside the file."""
        beside = self.paths[item].with_suffix(".npy")
        return np.load(beside, allow_pickle=False) if beside.exists() else None


@dataclass(frozen=True)
class ImageFolder:
    """The stream ``folder``. Options: those of `COMMON` and `FIT`."""

    @staticmethod
    def open(data: Data, purpose: str, device: torch.device) -> Items:
        """The source that `data` asks for."""
        del device  # files are decoded on the CPU
        return opened(partial(files_of, Files, IMAGES, "images"), data, purpose, **FIT)


def files_of(
    kind: type[Files], endings: tuple[str, ...], what: str, data: Data, options: dict[str, Any]
) -> Files:
    """The files with one of `endings` below ``data.path``, sorted by name.

    Raises
    ------
    DataSourceError
        If there are none.
    """
    need_pillow(data)
    check_fit(options)
    if what == "images" and data.frames != 1:
        raise SpecError(f"`data.frames` is {data.frames}; `{data.name}` has images (1 frame).")
    folder = folder_of(data)
    paths = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings))
    if not paths:
        raise DataSourceError(
            f"`{folder}` has no {what}: no file ends in " + ", ".join(endings) + "."
        )
    return kind(data, options, folder, paths, captions_of(folder))


def captions_of(folder: Path) -> dict[str, dict[str, str]]:
    """Lines of ``captions.jsonl`` by file; empty where there is none."""
    path = folder / "captions.jsonl"
    found: dict[str, dict[str, str]] = {}
    if not path.exists():
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            found[str(content["file"])] = content
        except (ValueError, KeyError, TypeError) as error:
            raise DataSourceError(
                f"`{path}`, line {number}, is {line[:80]!r}; an object with `file` and `caption` "
                "was expected."
            ) from error
    return found


__all__ = ["VIDEOS", "Files", "ImageFolder", "captions_of", "files_of"]
