"""Any source with its captions put through a user's frozen text encoder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock

import torch
from torch import Tensor

from training.data.captions import encoder_of
from training.data.stream import AbstractSource, Raw, digest_of
from training.errors import DataSourceError, SpecError
from training.shapes import SampleShape

KEPT = 65_536  # captions whose embeddings stay in memory


@dataclass(frozen=True)
class Encoded(AbstractSource):
    """`source` with embeddings float32 ``(B, n_text, width)`` for captions.

    The encoder is called with the captions it has not seen; what it gave is kept. A pool keeps the
    embeddings on disk, so that it is called once for a sweep.
    """

    source: AbstractSource
    name: str
    encode: Callable[[list[str]], Tensor]
    _kept: OrderedDict[str, Tensor] = field(default_factory=OrderedDict, compare=False, repr=False)
    _lock: Lock = field(default_factory=Lock, compare=False, repr=False)

    @classmethod
    def around(cls, source: AbstractSource, name: str) -> Encoded:
        """The source with the encoder ``module:function`` around it."""
        if source.shape.text == "none":
            raise SpecError(
                f"`data.encoder` is {name!r}, but this stream has no captions: set "
                "`data.captions`, or leave the encoder out."
            )
        return cls(source, name, encoder_of(name))

    @property
    def shape(self) -> SampleShape:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the source, with the embeddings that the encoder gives."""
        length, width = self._probe.shape
        inner = self.source.shape
        return replace(inner, text="embeddings", text_length=length, text_size=width)

    @property
    def size(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the source."""
        return self.source.size

    @property
    def eight_bit(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the source."""
        return self.source.eight_bit

    @property
    def poolable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Always: an encoder is dear."""
        return True

    @property
    def slow(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Always."""
        return True

    @property
    def x_type(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the source."""
        return self.source.x_type

    @property
    def address(self) -> str:
        """That of the source, the encoder's name, and what it makes of one caption."""
        return f"{self.source.address}/{self.name}/{self._signature}"

    def make(self, position: Tensor) -> Raw:
        """Samples with embeddings."""
        captions = self.source.describe(position)
        return Raw(self.source.make(position).x, self._embeddings(captions))

    def describe(self, position: Tensor) -> list[str]:
        """Captions as text."""
        return self.source.describe(position)

    def attributes(self, position: Tensor) -> dict[str, Tensor] | None:
        """Of the source."""
        return self.source.attributes(position)

    def fingerprint(self) -> str:
        """Of the source and of the encoder."""
        return digest_of(f"{self.source.fingerprint()}/{self.name}/{self._signature}")

    @property
    def _signature(self) -> str:
        return digest_of(str(self._probe.double().mul(1e3).round().long().tolist()))

    @property
    def _probe(self) -> Tensor:
        return self._embeddings(["a probe"])[0]

    def _embeddings(self, captions: list[str]) -> Tensor:
        with self._lock:
            unknown = sorted({each for each in captions if each not in self._kept})
            if unknown:
                for caption, each in zip(unknown, self._checked(unknown), strict=True):
                    self._kept[caption] = each
            found = torch.stack([self._kept[each] for each in captions])
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    def _checked(self, captions: list[str]) -> Tensor:
        with torch.no_grad():
            found = torch.as_tensor(self.encode(captions)).detach().float().cpu()
        if found.ndim != 3 or len(found) != len(captions):
            raise DataSourceError(
                f"`{self.name}` gave {tuple(found.shape)} for {len(captions)} captions; "
                f"({len(captions)}, tokens, width) was expected."
            )
        return found
