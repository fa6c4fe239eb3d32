"""What cells own given the shape of the bowls: where scoring begins, what readings say, the result.

A cell owns its level, the log loss at its bottom, and e-folds by which its best hyperparameters lie
off their law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class OfCells:
    """What each cell has of its own given the shape: level first, then offsets; nearly normal.

    Attributes
    ----------
    mean : ndarray, (sample, cell, own)
        Log loss at the bottom, then e-folds of each scattered hyperparameter; given ``of_sizes``.
    covariance : ndarray, (sample, cell, own, own)
    of_sizes : ndarray, (sample, size, own - 1)
        Offsets that cells of one size share.
    """

    mean: np.ndarray
    covariance: np.ndarray
    of_sizes: np.ndarray

    def __getitem__(self, index: np.ndarray) -> OfCells:
        """The same at some of the samples."""
        return OfCells(self.mean[index], self.covariance[index], self.of_sizes[index])

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One draw for each sample, ``(sample, cell, own)``."""
        root = np.linalg.cholesky(self.covariance)
        return self.mean + (root @ rng.standard_normal(self.mean.shape)[..., None])[..., 0]


@dataclass(frozen=True)
class Near:
    """What cells own as a linear function of the shape, about its mode: where scoring begins.

    Attributes
    ----------
    u : ndarray, (coordinate,)
    own : ndarray, (cell, own)
        At ``u``.
    slope : ndarray, (cell, own, coordinate)
    """

    u: np.ndarray
    own: np.ndarray
    slope: np.ndarray

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """``(sample, cell, own)``."""
        flat = self.slope.reshape(-1, len(self.u))
        out = self.own.reshape(-1) + (u - self.u) @ flat.T
        return out.reshape(len(u), *self.own.shape)


@dataclass(frozen=True)
class Readings:
    """What the readings alone say about what cells own, a parabola about ``x``.

    Attributes
    ----------
    x : ndarray, (sample, cell, own)
    slope : ndarray, (sample, cell, own)
        Of the log likelihood.
    information : ndarray, (sample, cell, own, own)
        Fisher's.
    """

    x: np.ndarray
    slope: np.ndarray
    information: np.ndarray

    def __getitem__(self, index: np.ndarray | slice) -> Readings:
        """The same at some of the samples."""
        return Readings(self.x[index], self.slope[index], self.information[index])

    @classmethod
    def joined(cls, parts: Sequence[Readings]) -> Readings:
        """Of all samples, from pieces of them."""
        return cls(*(np.concatenate(x) for x in zip(*map(_arrays, parts), strict=True)))


@dataclass(frozen=True)
class Scored:
    """The cells at their mode, or as near as scoring came to it.

    Attributes
    ----------
    total : ndarray, (sample,)
        Log likelihood with what cells own integrated out.
    mode : ndarray, (sample, cell, own)
    precision : ndarray, (sample, cell, own, own)
    common : ndarray, (sample, size, offset)
        Offsets of sizes.
    curvature : ndarray, (sample, size, offset, offset)
        Of these with their cells eliminated.
    short : ndarray, (sample,)
        How much of the log likelihood of one cell is the parabola's at most, where scoring stopped.
    last : Readings
        Where it stopped.
    """

    total: np.ndarray
    mode: np.ndarray
    precision: np.ndarray
    common: np.ndarray
    curvature: np.ndarray
    short: np.ndarray
    last: Readings

    @classmethod
    def joined(cls, parts: Sequence[Scored]) -> Scored:
        """Of all samples, from pieces of them."""
        arrays = (np.concatenate(x) for x in zip(*map(_arrays, parts), strict=True))
        return cls(*arrays, last=Readings.joined([p.last for p in parts]))

    def put(self, where: np.ndarray, other: Scored) -> None:
        """Take over what was found of some samples, ``where`` ``(sample,)`` of bool."""
        for mine, new in zip(_arrays(self), _arrays(other), strict=True):
            mine[where] = new


def _arrays(of: Readings | Scored) -> list[np.ndarray]:
    values = (getattr(of, field.name) for field in fields(of))
    return [x for x in values if isinstance(x, np.ndarray)]
