"""Users' data as a source: a reader gives single items, this gives it order, captions and a hash.

A finite set is split once and for all: the same items are held out for validation whatever the seed
of the stream, so that no run trains on what another is judged by.
"""

from __future__ import annotations

import abc
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.config import Data
from training.data.captions import hashed
from training.data.options import options_of
from training.data.order import shuffled
from training.data.stream import AbstractSource, Raw
from training.errors import DataSourceError, SpecError
from training.shapes import SampleShape

FINGERPRINTED = 1000  # samples that are hashed

COMMON: dict[str, Any] = {
    "validation": 0.1,  # share of the items that is held out
    "text_length": 16,
    "vocabulary": 4096,
    "text": "captions",  # or "embeddings", where they lie beside the data
}
"""Options of every stream of users' data, with their defaults."""


class AbstractReader(abc.ABC):
    """Items of a finite set by number.

    ``array`` is (channels, frames, height, width) of every item, ``address`` differs whenever the
    items may (names, sizes and times of the files, say).
    """

    array: tuple[int, int, int, int]
    total: int
    address: str
    eight_bit: bool = True
    poolable: bool = True
    x_type: torch.dtype = torch.uint8
    captioned: bool = True
    slow: bool = True  # worth several threads

    @abc.abstractmethod
    def read(self, item: int) -> np.ndarray | Tensor:
        """The array of an item, uint8 or float32."""

    @abc.abstractmethod
    def name(self, item: int) -> str:
        """What a message calls the item."""

    def caption(self, item: int, kind: str) -> str | None:
        """The ``dense`` or ``sparse`` caption of an item, None where there is none."""
        del item, kind
        return None

    def embedding(self, item: int) -> np.ndarray | Tensor | None:
        """The precomputed embedding of the caption, ``(n_text, width)``."""
        del item
        return None


@dataclass(frozen=True)
class Items(AbstractSource):
    """The source that reads items through a reader; options are those of `COMMON`."""

    reader: AbstractReader
    data: Data
    purpose: str
    options: dict[str, Any]
    shape: SampleShape = field(init=False)
    size: int = field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        share, total = self.options["validation"], self.reader.total
        if not 0 < share < 1:
            raise SpecError(
                f"`data.options.validation` is {share}; a share between 0 and 1 was expected."
            )
        if total < 2:
            raise DataSourceError(
                f"`{self.data.path}` has {total} sample; at least 2 are needed, one of them for "
                "validation."
            )
        held = min(total - 1, max(1, round(share * total)))
        object.__setattr__(self, "size", held if self.purpose == "validation" else total - held)
        object.__setattr__(self, "shape", self._shape())

    @property
    def eight_bit(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the reader says."""
        return self.reader.eight_bit

    @property
    def poolable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the reader says."""
        return self.reader.poolable

    @property
    def slow(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the reader says."""
        return self.reader.slow

    @property
    def x_type(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the reader says."""
        return self.reader.x_type

    @property
    def address(self) -> str:
        """What the reader says, the split and the captions."""
        options = "/".join(str(self.options[name]) for name in COMMON)
        return (
            f"{self.data.name}-1/{self.reader.address}/{self.shape.array}/{self.data.captions}/"
            f"{self.purpose}/{options}"
        )

    def item(self, position: Tensor) -> list[int]:
        """Numbers of the items: validation has the first ones of a fixed shuffle."""
        total = self.reader.total
        offset = 0 if self.purpose == "validation" else total - self.size
        return shuffled(0, "data/split", position.cpu() + offset, total).tolist()

    def make(self, position: Tensor) -> Raw:
        """The items at `position`, on the CPU."""
        items = self.item(position)
        return Raw(torch.stack(self._each(self._array, items)), self._text(items))

    def describe(self, position: Tensor) -> list[str]:
        """The captions, or the names where there are none."""
        items = self.item(position)
        if self.data.captions == "none" or not self.reader.captioned:
            return [self.reader.name(item) for item in items]
        return [self._caption(item) for item in items]

    def fingerprint(self) -> str:
        """Hash of the number of items and of the content of the first thousand."""
        return self._content

    @cached_property
    def _content(self) -> str:
        digest = hashlib.sha256(f"{self.reader.total}/{self.purpose}".encode())
        first = range(min(FINGERPRINTED, self.reader.total))
        for start in range(0, len(first), 64):
            items = list(first[start : start + 64])
            for array in self._each(self._array, items):
                digest.update(array.numpy().tobytes())
            text = self._text(items)
            digest.update(b"" if text is None else text.numpy().tobytes())
        return digest.hexdigest()[:16]

    def _shape(self) -> SampleShape:
        channels, frames, height, width = self.reader.array
        kind, columns = "none", (0, 0)
        if self.data.captions != "none" and self.options["text"] == "embeddings":
            kind, columns = "embeddings", tuple(self._embedding(0).shape)
        elif self.data.captions != "none":
            if not 2 <= self.options["vocabulary"] <= 1 << 15:  # a pool keeps int16
                raise SpecError(
                    f"`data.options.vocabulary` is {self.options['vocabulary']}; 2 to 32768 was "
                    "expected."
                )
            self._caption(0)  # at the door: are there captions at all?
            kind, columns = "tokens", (self.options["text_length"], self.options["vocabulary"])
        return SampleShape(channels, frames, height, width, kind, columns[0], columns[1])  # pyright: ignore[reportArgumentType]

    def _array(self, item: int) -> Tensor:
        array = self.reader.read(item)
        array = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        if tuple(array.shape) != self.reader.array:
            raise DataSourceError(
                f"`{self.reader.name(item)}` is {tuple(array.shape)}; {self.reader.array} "
                "(channels, frames, height, width) was expected, as the others are."
            )
        return array

    def _text(self, items: Sequence[int]) -> Tensor | None:
        if self.shape.text == "none":
            return None
        if self.shape.text == "embeddings":
            return torch.stack(self._each(self._embedding, items))
        return hashed(
            self._each(self._caption, items),
            length=self.options["text_length"],
            vocabulary=self.options["vocabulary"],
        )

    def _caption(self, item: int) -> str:
        caption = self.reader.caption(item, self.data.captions)
        if caption is None:
            raise DataSourceError(
                f"`{self.reader.name(item)}` has no {self.data.captions} caption. Give it one, or "
                'set `data.captions = "none"`.'
            )
        return caption

    def _embedding(self, item: int) -> Tensor:
        found = self.reader.embedding(item)
        if found is None:
            raise DataSourceError(
                f"`{self.reader.name(item)}` has no embedding of its caption beside it. Make one, "
                'or leave out `data.options.text = "embeddings"`.'
            )
        found = torch.as_tensor(np.array(found) if isinstance(found, np.ndarray) else found)
        if found.ndim != 2:
            raise DataSourceError(
                f"The embedding of `{self.reader.name(item)}` is {tuple(found.shape)}; (tokens, "
                "width) was expected."
            )
        return found.float()

    def _each(self, function: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
        if self._threads is None or len(items) < 2:
            return [function(item) for item in items]
        return list(self._threads.map(function, items))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor | None:
        count = min(8, os.cpu_count() or 1) if self.reader.slow else 1
        return ThreadPoolExecutor(count) if count > 1 else None


def opened(
    make: Callable[[Data, dict[str, Any]], AbstractReader],
    data: Data,
    purpose: str,
    **defaults: Any,
) -> Items:
    """The source of a reader, with `COMMON` and the reader's own options."""
    options = options_of(data, **{**COMMON, **defaults})
    if options["text"] not in ("captions", "embeddings"):
        raise SpecError(
            f"`data.options.text` is {options['text']!r}; `captions` or `embeddings` was expected."
        )
    return Items(make(data, options), data, purpose, options)


def folder_of(data: Data) -> Path:
    """`data.path`, which must exist."""
    if data.path is None:
        raise DataSourceError(
            f"The stream `{data.name}` needs `data.path`, the place where the data lie."
        )
    path = Path(data.path).expanduser()
    if not path.exists():
        raise DataSourceError(
            f"`data.path` is `{data.path}`, which does not exist (seen from `{Path.cwd()}`)."
        )
    return path


def stamp(paths: Iterable[Path]) -> str:
    """Sixteen hex digits that change when a file is added, removed, renamed, resized or touched."""
    digest = hashlib.sha256()
    for path in paths:
        about = path.stat()
        digest.update(f"{path}/{about.st_size}/{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def missing(package: str, extra: str, data: Data) -> DataSourceError:
    """The error for a package that is not installed."""
    return DataSourceError(
        f"The stream `{data.name}` needs `{package}`, which is not installed: "
        f'pip install "bayescale[{extra}]".'
    )
