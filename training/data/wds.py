"""WebDataset shards: tar files whose members ``key.jpg``, ``key.txt``, ``key.json`` form a sample.

Read by index rather than as a stream: the headers are scanned once, then every sample is one seek.
A stream cannot be resumed exactly nor counted exactly under shuffling (webdataset #271, #158); an
index can. It also needs no package besides the decoder.
"""

from __future__ import annotations

import glob
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import Data
from training.data.decoding import (
    FIT,
    IMAGES,
    VIDEOS,
    check_fit,
    image_of,
    need_av,
    need_pillow,
    video_of,
)
from training.data.items import AbstractReader, Items, opened, stamp
from training.errors import DataSourceError, SpecError


@dataclass(frozen=True)
class Sample:
    """Where the members of one sample lie: extension to (offset, bytes)."""

    shard: Path
    key: str
    members: Mapping[str, tuple[int, int]]

    def bytes_of(self, extension: str) -> bytes:
        """Content of a member."""
        offset, size = self.members[extension]
        with self.shard.open("rb") as file:
            file.seek(offset)
            return file.read(size)


@dataclass(frozen=True)
class ShardReader(AbstractReader):
    """Samples of tar shards in the order of their names."""

    data: Data
    options: dict[str, Any]
    samples: tuple[Sample, ...]
    address: str

    @property
    def array(self) -> tuple[int, int, int, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(channels, frames, height, width)."""
        side = self.data.resolution
        return (self.options["channels"], self.data.frames, side, side)

    @property
    def total(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Samples there are."""
        return len(self.samples)

    def read(self, item: int) -> np.ndarray:
        """The image or the first frames of the video."""
        sample, side = self.samples[item], self.data.resolution
        endings = IMAGES if self.data.frames == 1 else VIDEOS
        for extension in sorted(sample.members, key=lambda each: each.count(".")):
            if f".{extension.rsplit('.', 1)[-1].lower()}" not in endings:
                continue
            content, name = sample.bytes_of(extension), f"{self.name(item)}.{extension}"
            if self.data.frames == 1:
                return image_of(content, name, side, self.options)
            wanted = [k * self.options["stride"] for k in range(self.data.frames)]
            return video_of(content, name, wanted, side, self.options)
        raise DataSourceError(
            f"`{self.name(item)}` has no {'image' if self.data.frames == 1 else 'video'}; its "
            "members are " + ", ".join(f"`.{each}`" for each in sample.members) + "."
        )

    def name(self, item: int) -> str:
        """Shard and key."""
        return f"{self.samples[item].shard}:{self.samples[item].key}"

    def caption(self, item: int, kind: str) -> str | None:
        """From ``.txt`` (one line dense, a second sparse), or from the field of ``.json``."""
        sample = self.samples[item]
        if "json" in sample.members:
            try:
                content = json.loads(sample.bytes_of("json"))
            except ValueError as error:
                raise DataSourceError(f"`{self.name(item)}.json` is no JSON: {error}.") from error
            found = content.get(self.options["caption" if kind == "dense" else "sparse"])
            if found is not None:
                return str(found)
        if "txt" not in sample.members:
            return None
        lines = sample.bytes_of("txt").decode(errors="replace").splitlines()
        lines = [each.strip() for each in lines if each.strip()]
        place = 0 if kind == "dense" else 1
        return lines[place] if place < len(lines) else None

    def embedding(self, item: int) -> np.ndarray | None:
        """From the ``.npy`` of the sample."""
        import io

        sample = self.samples[item]
        if "npy" not in sample.members:
            return None
        return np.load(io.BytesIO(sample.bytes_of("npy")), allow_pickle=False)


@dataclass(frozen=True)
class Shards:
    """The stream ``wds``. ``data.path``: a folder, a file, or a pattern (``*``, ``{000..099}``).

    Options: those of `COMMON` and `FIT`, `stride` (1), `caption` and `sparse`, the fields of
    ``.json`` (``caption``, ``sparse``).
    """

    @staticmethod
    def open(data: Data, purpose: str, device: torch.device) -> Items:
        """The source that `data` asks for."""
        del device
        own: dict[str, Any] = {**FIT, "stride": 1, "caption": "caption", "sparse": "sparse"}
        return opened(_reader, data, purpose, **own)


def shards_of(data: Data) -> list[Path]:
    """The tar files that ``data.path`` names."""
    if data.path is None:
        raise DataSourceError(f"The stream `{data.name}` needs `data.path`: where its shards lie.")
    path = Path(data.path).expanduser()
    if path.is_dir():
        found = sorted(path.rglob("*.tar"))
    elif path.exists():
        found = [path]
    else:
        found = [Path(each) for part in _expanded(str(path)) for each in sorted(glob.glob(part))]
    if not found:
        raise DataSourceError(
            f"`data.path` is `{data.path}`; no tar file is there (seen from `{Path.cwd()}`)."
        )
    return found


def index_of(shard: Path) -> tuple[Sample, ...]:
    """The samples of a shard, from the headers alone."""
    about = shard.stat()
    return _index_once(shard, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=1 << 16)
def _index_once(shard: Path, size: int, time_ns: int) -> tuple[Sample, ...]:
    del size, time_ns  # a shard that changed is scanned again
    found: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, extension = file.partition(".")
                if member.isfile() and stem and extension:
                    key = f"{folder}/{stem}" if folder else stem
                    found.setdefault(key, {})[extension] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise DataSourceError(
            f"`{shard}` cannot be read as a tar file: {error}. (Compressed shards cannot be read "
            "by index; unpack them with gunzip.)"
        ) from error
    return tuple(Sample(shard, key, members) for key, members in found.items())


def _reader(data: Data, options: dict[str, Any]) -> ShardReader:
    need_pillow(data)
    if data.frames > 1:
        need_av(data)
    check_fit(options)
    if options["stride"] < 1:
        raise SpecError(f"`data.options.stride` is {options['stride']}; at least 1 was expected.")
    shards = shards_of(data)
    samples = tuple(sample for shard in shards for sample in index_of(shard))
    return ShardReader(data, options, samples, f"{stamp(shards)}/{sorted(options.items())}")


def _expanded(pattern: str) -> list[str]:
    """Patterns with ``{000..012}`` written out."""
    span = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if span is None:
        return [pattern]
    low, high = span.groups()
    numbers = range(int(low), int(high) + 1)
    made = [f"{pattern[: span.start()]}{k:0{len(low)}d}{pattern[span.end() :]}" for k in numbers]
    return [each for part in made for each in _expanded(part)]
