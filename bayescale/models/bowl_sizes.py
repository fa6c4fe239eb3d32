"""Offsets that cells of one size share: a second floor of scoring, eliminated size by size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """The sizes above their cells.

    Attributes
    ----------
    size_of : ndarray of int, (cell,)
    own : ndarray, (sample, 1, offset)
        Prior precision of a cell's offset about its size's.
    shared : ndarray, (sample, 1, offset) or (sample, 1, 0)
        Prior precision of a size's offset about zero; of none where sizes share nothing.
    """

    size_of: np.ndarray
    own: np.ndarray
    shared: np.ndarray

    @property
    def none(self) -> bool:
        """Whether sizes share nothing."""
        return self.shared.shape[-1] == 0

    def at_cells(self, common: np.ndarray) -> np.ndarray | float:
        """Offsets of sizes at their cells, ``(sample, cell, offset)``."""
        return 0.0 if self.none else common[:, self.size_of]

    def given(self, offset: np.ndarray) -> np.ndarray:
        """Best offsets of sizes, given those of their cells, ``(sample, size, offset)``."""
        if self.none:
            return np.zeros((len(self.own), self.size_of[-1] + 1, 0))
        return self.own * self._sum(offset) / (self.shared + self._count * self.own)

    def step(
        self, precision: np.ndarray, slope: np.ndarray, away: np.ndarray, common: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Newton steps of cells and of sizes together, and the curvature of the sizes alone."""
        if self.none:
            alone = np.linalg.solve(precision, slope[..., None])[..., 0]
            return alone, common, np.zeros((*common.shape, 0))
        both = np.concatenate([slope[..., None], self._pull], axis=-1)
        solved = np.linalg.solve(precision, both)
        alone, moved = solved[..., 0], solved[..., 1:]
        eye = np.eye(self.own.shape[-1])
        curvature = (self.shared + self._count * self.own)[..., None] * eye
        curvature = curvature - self._sum(self.own[..., None] * moved[..., 1:, :])
        gradient = self._sum(self.own * (away + alone[..., 1:])) - self.shared * common
        move = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        return alone + (moved @ move[:, self.size_of][..., None])[..., 0], move, curvature

    def height(
        self, common: np.ndarray, move: np.ndarray, curvature: np.ndarray, away: np.ndarray
    ) -> np.ndarray:
        """What the sizes add to the log likelihood, ``(sample,)``."""
        if self.none:
            return np.zeros(len(common))
        slope = self._sum(self.own * away) - self.shared * common
        out = np.log(self.shared) - self.shared * common * common + slope * move
        return 0.5 * (out.sum(axis=-1) - np.linalg.slogdet(curvature)[1]).sum(axis=-1)

    def drawn(
        self,
        x: np.ndarray,
        common: np.ndarray,
        curvature: np.ndarray,
        precision: np.ndarray,
        rng: np.random.Generator | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cells' means given drawn offsets of sizes, and these; at the mode without ``rng``."""
        if rng is None or self.none:
            return x, common
        root = np.linalg.cholesky(np.linalg.inv(curvature))
        more = (root @ rng.standard_normal(common.shape)[..., None])[..., 0]
        moved = np.linalg.solve(precision, np.broadcast_to(self._pull, (*x.shape, more.shape[-1])))
        return x + (moved @ more[:, self.size_of][..., None])[..., 0], common + more

    @property
    def _pull(self) -> np.ndarray:
        """How an offset of the size pulls on what a cell owns, ``(sample, cell, own, offset)``."""
        n, offsets = len(self.own), self.own.shape[-1]
        out = np.zeros((n, len(self.size_of), 1 + offsets, offsets))
        out[:, :, 1:] = self.own[..., None] * np.eye(offsets)
        return out

    @property
    def _count(self) -> np.ndarray:
        return np.bincount(self.size_of)[:, None]

    def _sum(self, x: np.ndarray) -> np.ndarray:
        """Sums over the cells of each size, ``(sample, size, ...)``."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.size_of) > 0])
        return np.add.reduceat(x, starts, axis=1)
