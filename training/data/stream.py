"""A stream of training samples: a source, the order it is read in, and where its samples are kept.

A source makes the sample at a position; a `Stream` says which position the i-th sample of training
has. Both are pure, so the i-th sample is the same in every run, batch, rank and after every resume.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training.config import Data
from training.data.order import shuffled
from training.errors import DataSourceError
from training.flow import PATHS, Path
from training.shapes import Batch, SampleShape

Density = Callable[[Tensor], Tensor]
"""Of t on (0, 1); see `training.flow.density_of_t`."""


class Raw(NamedTuple):
    """Samples as a source makes and a pool keeps them: x as uint8 (0 to 255) or float32, text as
    integers or float32.
    """

    x: Tensor
    text: Tensor | None = None


class AbstractSource(abc.ABC):
    """Samples by position, each a pure function of it.

    `address` names all that decides the samples; `poolable` says whether reading them from a memory
    map is cheaper than making them; `slow` says whether working ahead in a thread pays.
    """

    shape: SampleShape
    size: int | None = None
    eight_bit: bool = False
    poolable: bool = True
    slow: bool = False
    x_type: torch.dtype = torch.uint8

    @property
    @abc.abstractmethod
    def address(self) -> str:
        """Text that differs whenever the samples do."""

    @abc.abstractmethod
    def make(self, position: Tensor) -> Raw:
        """The samples at `position`, int64 ``(B,)``, below `size` where that is known."""

    @abc.abstractmethod
    def describe(self, position: Tensor) -> list[str]:
        """What each sample shows, for a person."""

    def fingerprint(self) -> str:
        """Hash of what the samples are. Users' data hash their content."""
        return digest_of(self.address)

    def attributes(self, position: Tensor) -> dict[str, Tensor] | None:
        """Class of each sample by each attribute, int64 ``(B,)``; None where there are none."""
        del position
        return None


class AbstractKnown(AbstractSource):
    """A source whose density is known, so that a loss can be held against the best there is."""

    @abc.abstractmethod
    def oracle_velocity(
        self, x_t: Tensor, t: Tensor, path: Path = PATHS["rectified_flow"]
    ) -> Tensor:
        """E[v | x_t], the velocity no model can better; `x_t` ``(B, C, F, H, W)``, `t` ``(B,)``."""

    @abc.abstractmethod
    def floor(
        self, density: Density | None = None, path: Path = PATHS["rectified_flow"]
    ) -> tuple[float, float]:
        """Irreducible loss (mean over dimensions) under a density of t, and its standard error."""

    @abc.abstractmethod
    def nll(self, x: Tensor) -> Tensor:
        """Exact negative log density of each sample, nats, float64 ``(B,)``."""


@dataclass(frozen=True)
class Stream:
    """The samples of one purpose in the order of training.

    Parameters
    ----------
    source : AbstractSource
        Makes the samples.
    data : Data
        What was asked for.
    purpose : str
        ``train`` or ``validation``.
    device : torch.device
        Where batches are wanted.
    pool : Pool or None
        Keeps the first samples, so that they are made once for many runs.
    """

    source: AbstractSource
    data: Data
    purpose: str
    device: torch.device
    pool: Any = None

    @property
    def shape(self) -> SampleShape:
        """Shape of a sample and of its caption."""
        return self.source.shape

    @property
    def size(self) -> int | None:
        """Different samples there are; None: no end."""
        return self.unique

    @property
    def eight_bit(self) -> bool:
        """Whether samples are whole numbers 0 to 255, so that bits per dimension make sense."""
        return self.source.eight_bit

    @property
    def slow(self) -> bool:
        """Whether a batch takes so long (files are decoded) that working ahead in a thread pays."""
        return self.source.slow and self.pool is None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the stream gives."""
        return self.source.fingerprint()

    @cached_property
    def unique(self) -> int | None:
        """Samples before the first repetition."""
        wanted = self.data.unique_samples if self.purpose == "train" else None
        if wanted is not None and wanted < 1:
            raise DataSourceError(f"`data.unique_samples` is {wanted}; at least 1 was expected.")
        if wanted is not None and self.source.size is not None and wanted > self.source.size:
            raise DataSourceError(
                f"`data.unique_samples` is {wanted:,}, but `{self.data.name}` has "
                f"{self.source.size:,} samples to train on. Ask for fewer, or leave it out."
            )
        return wanted or self.source.size

    def batch(self, index: Tensor) -> Batch:
        """The samples with these numbers, int64 ``(B,)``, counted from the start of training."""
        raw = self._raw(self.position(index))
        x = raw.x.to(self.device)
        if x.dtype == torch.uint8:
            x = x.to(torch.float32).div_(127.5).sub_(1.0)
        text = None if raw.text is None else raw.text.to(self.device)
        if text is not None and not text.is_floating_point():
            text = text.to(torch.int64)
        return Batch(x, text)

    def describe(self, index: Tensor) -> list[str]:
        """What each sample shows, for a person."""
        return self.source.describe(self.position(index))

    def attributes(self, index: Tensor) -> dict[str, Tensor] | None:
        """Class of each sample by each attribute, int64 ``(B,)``; None where there are none."""
        return self.source.attributes(self.position(index))

    def position(self, index: Tensor) -> Tensor:
        """Where in the source each sample lies.

        A source without end is read straight on; repeated samples and finite sources in another
        order every pass. The first pass over repeated samples of an endless source is straight too,
        so that it is the beginning of the stream that never repeats.
        """
        index = index.to(self.device)
        if self.unique is None:
            return index
        passes, within = index // self.unique, index % self.unique
        position = torch.empty_like(within)
        for number in passes.unique().tolist():
            here = passes == number
            position[here] = self._shuffled(within[here], number)
        size = self.source.size
        if size is not None and self.unique < size:  # nested: fewer are the first of more
            position = shuffled(self.data.seed, "data/subset", position, size)
        return position

    def epochs(self, samples_seen: int) -> float:
        """Passes over the different samples; 0 where samples never repeat."""
        return 0.0 if self.unique is None else samples_seen / self.unique

    @property
    def oracle_velocity(self) -> Callable[..., Tensor] | None:
        """(x_t, t) -> the best velocity, or None where it is not known."""
        return self.source.oracle_velocity if isinstance(self.source, AbstractKnown) else None

    @property
    def floor(self) -> Callable[..., tuple[float, float]] | None:
        """(density of t) -> irreducible loss and its standard error, or None where not known."""
        return self.source.floor if isinstance(self.source, AbstractKnown) else None

    @property
    def nll(self) -> Callable[[Tensor], Tensor] | None:
        """(x) -> exact negative log densities in nats, or None where not known."""
        return self.source.nll if isinstance(self.source, AbstractKnown) else None

    def with_pool(self, pool: Any) -> Stream:
        """The same stream, reading what it can from `pool`."""
        return replace(self, pool=pool)

    def _shuffled(self, within: Tensor, number: int) -> Tensor:
        if number == 0 and self.source.size is None:
            return within
        purpose = f"data/{self.purpose}/pass/{number}"
        return shuffled(self.data.seed, purpose, within, self.unique or 1)

    def _raw(self, position: Tensor) -> Raw:
        if self.pool is None:
            return self.source.make(position)
        if bool((position < self.pool.count).all()):
            return self.pool.read(position)
        return self.source.make(position)  # past the end of the pool: the last block of a run


def digest_of(text: str) -> str:
    """Sixteen hex digits of a SHA-256."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:16]
