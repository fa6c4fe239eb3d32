"""Bowls of a large sweep: the shape that all cells share, whatever each cell has of its own.

Given the shape (how steep, how the optimum moves, how noisy) the cells are independent, and each
has few numbers of its own: the log loss at its bottom and how far its best hyperparameters lie off
their law. A cell has dozens of runs, so these are nearly normal: Fisher scoring finds their mode
and precision under the heavy-tailed noise, and Laplace's formula integrates them out. What is left
is a density of the shape alone, a few dozen coordinates that are nearly normal too. Cells of one
size (one architecture) share a part of their offset, which is integrated out with them.

The loss law plays no part here: it speaks about the bottoms only (`bayescale.models.levels`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bayescale.models.arrays import arrays
from bayescale.models.bowl_runs import Places, Runs, State, places_of
from bayescale.models.bowl_sizes import Sizes
from bayescale.models.density import AbstractDensity
from bayescale.models.surface_density import SurfaceDensity

WIDE = 0.5  # prior sd of a level about the best run of its cell, log loss: says nothing
ROUNDS, ROUNDS_NEAR, ROUNDS_FAR = (
    7,
    1,
    4,
)  # of scoring from the best run of each cell, and from the mode
UNSURE = 0.5  # of log density of one cell: beyond, more rounds; a parabola is not trusted with it
MOST_RATIO = 0.7  # log of seen over expected curvature along one axis; chosen
FARTHEST_STEP = 0.3  # e-folds of one step of an offset
IN_CACHE = 30_000  # readings x draws at once


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
class Bowls(AbstractDensity):
    """Log density of the shape; NumPy only, in batches.

    Attributes
    ----------
    whole : SurfaceDensity
    near : Near or None
        Where scoring begins; None for the best run of each cell.
    dispersion : float
        How many readings say as much as one would if all erred on their own.
    """

    whole: SurfaceDensity
    near: Near | None = None
    dispersion: float = 1.0

    numpy_only: ClassVar[bool] = True

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        assert self.whole.cells is not None
        return len(self.whole.cells)

    def log_density(self, u: Any, xp: Any | None = None) -> Any:
        """Log prior of the shape plus log likelihood of every run, ``(...)``."""
        flat = np.atleast_2d(u)
        out = np.empty(len(flat))
        for part in self._pieces(len(flat)):
            total, _, short = self._scored(flat[part])
            if self.near is not None and (lost := short > UNSURE).any():
                total[lost] = self._scored(flat[part][lost], rounds=ROUNDS_FAR)[0]
            out[part] = self.log_prior(flat[part], np) + total
        return out if np.ndim(u) == 2 else out[0]

    def of_cells(self, u: np.ndarray, rng: np.random.Generator | None = None) -> OfCells:
        """What each cell has of its own, given draws of the shape, ``(sample, coordinate)``.

        What sizes share is drawn, or without ``rng`` at its mode.
        """
        parts = [self._scored(u[p], rng)[1] for p in self._pieces(len(u))]
        return OfCells(
            np.concatenate([p.mean for p in parts]),
            np.concatenate([p.covariance for p in parts]),
            np.concatenate([p.of_sizes for p in parts]),
        )

    def runs(self, u: np.ndarray) -> Runs:
        """The runs under draws of the shape, ``(sample, coordinate)``."""
        return Runs(self.whole, self._places, self.values(u, arrays("numpy")))

    def terms(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log likelihood of every run given the shape and what cells own, ``(sample, term)``.

        Readings first, then the ends of the runs where some diverged; ``x`` is
        ``(sample, cell, own)``.
        """
        runs = self.runs(u)
        ends = runs.ends()
        found = runs.log_likelihood(runs.at(x))
        return found if ends is None else np.concatenate([found, ends], axis=-1)

    def slopes(self, u: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope of the log likelihood in what cells own, and Fisher's information.

        ``(sample, cell, own)`` and ``(sample, cell, own, own)``, where cells own ``x``.
        """
        found = []
        for part in self._pieces(len(u)):
            runs = self.runs(u[part])
            found.append(runs.slopes(runs.at(x[part])))
        slope, information = (np.concatenate(y) / self.dispersion for y in zip(*found, strict=True))
        return slope, information

    def precisions(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prior precisions: of what cells own ``(..., own)``, and of what sizes share.

        A wide level about the best run, offsets about those of the size, and these about zero.
        """
        values, whole = self.values(u, arrays("numpy")), self.whole
        shape = (*np.shape(u)[:-1], 0)
        own = [values[f"{short}_scatter"] for short in whole.scattered]
        spread = np.concatenate([np.full((*shape[:-1], 1), WIDE), *own], axis=-1)
        shared = [values[f"{short}_scatter_N"] for short in whole.scattered if whole.sized]
        return 1.0 / np.square(spread), 1.0 / np.square(
            np.concatenate([np.zeros(shape), *shared], -1)
        )

    def _pieces(self, n: int) -> Iterator[slice]:
        step = max(1, IN_CACHE // len(self.table.response))
        return (slice(i, i + step) for i in range(0, n, step))

    def _scored(
        self, u: np.ndarray, rng: np.random.Generator | None = None, rounds: int = ROUNDS_NEAR
    ) -> tuple[np.ndarray, OfCells, np.ndarray]:
        """Log likelihood with the cells' own numbers integrated out ``(sample,)``, and these.

        The last is how much of it is the parabola's, where scoring stopped short, at most a cell.
        """
        runs = self.runs(u)
        own, shared = (p[:, None, :] for p in self.precisions(u))
        sizes = Sizes(self.size_of, own[..., 1:], shared)
        if self.near is None:
            rounds, x = ROUNDS, np.broadcast_to(self.start, (len(u), *self.start.shape)).copy()
        else:
            x = self.near(u)
        for _ in range(rounds):
            step = self._step(runs, own, sizes, x).cells
            step[..., 1:] = np.clip(step[..., 1:], -FARTHEST_STEP, FARTHEST_STEP)
            x = x + step
        last = self._step(runs, own, sizes, x)
        out = runs.by_cell(runs.log_likelihood(last.now)) / self.dispersion
        out = out + 0.5 * (np.log(own) - own * last.away * last.away).sum(axis=-1)
        # scoring stops a little short of the mode; the rest of the way is a parabola's
        short = 0.5 * (last.slope * last.cells).sum(axis=-1)
        out = out + np.minimum(short, UNSURE)
        seen = runs.curvature_seen(last.now) / self.dispersion + own[..., None] * np.eye(
            own.shape[-1]
        )
        det = np.linalg.slogdet(last.precision)[1] + _log_ratio(seen, last.precision)
        total = (out - 0.5 * det).sum(axis=-1)
        total = total + sizes.height(last.common, last.sizes, last.curvature, last.away[..., 1:])
        if (ends := runs.ends()) is not None:
            total = total + ends.sum(axis=-1)
        x, common = sizes.drawn(
            x + last.cells, last.common + last.sizes, last.curvature, last.precision, rng
        )
        own_of = OfCells(x, np.linalg.inv(last.precision), common)
        return total, own_of, short.max(axis=-1)

    def _step(self, runs: Runs, own: np.ndarray, sizes: Sizes, x: np.ndarray) -> _Step:
        """One step of scoring from where cells own ``x``, sizes at their best given that."""
        common = sizes.given(x[..., 1:])
        now = runs.at(x)
        slope, information = (y / self.dispersion for y in runs.slopes(now))
        precision = information + own[..., None] * np.eye(own.shape[-1])
        away = x - self.start
        away[..., 1:] -= sizes.at_cells(common)
        slope = slope - own * away
        cells, move, curvature = sizes.step(precision, slope, away[..., 1:], common)
        return _Step(now, common, precision, slope, away, cells, move, curvature)

    @property
    def size_of(self) -> np.ndarray:
        """Index of the size of each cell, ``(cell,)``."""
        assert self.whole.cells is not None
        return self.whole.cells.size_of

    @cached_property
    def start(self) -> np.ndarray:
        """Log loss of the best run of each cell and no offset, ``(cell, own)``."""
        assert self.whole.cells is not None
        starts = np.searchsorted(self.whole.cells.of_reading, np.arange(self.n_cells))
        out = np.zeros((self.n_cells, 1 + len(self.whole.scattered)))
        out[:, 0] = np.minimum.reduceat(self.table.response, starts)
        return out

    @cached_property
    def _places(self) -> Places:
        return places_of(self.whole)


@dataclass(frozen=True)
class _Step:
    """A step of scoring and what it was made from."""

    now: State
    common: np.ndarray  # offsets of sizes, (sample, size, offset)
    precision: np.ndarray  # of cells, expected, (sample, cell, own, own)
    slope: np.ndarray  # of cells, prior included, (sample, cell, own)
    away: np.ndarray  # of cells from their prior's centre, (sample, cell, own)
    cells: np.ndarray  # the step of cells, (sample, cell, own)
    sizes: np.ndarray  # and of sizes, (sample, size, offset)
    curvature: np.ndarray  # of sizes with their cells eliminated, (sample, size, offset, offset)


def _log_ratio(seen: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Log of the ratio of two determinants ``(...)``, axis by axis within `MOST_RATIO`.

    Beyond it the density about the mode is no parabola, and a curvature near zero would make a
    peak of the formula that the density does not have.
    """
    root = np.linalg.cholesky(expected)
    half = np.linalg.solve(root, seen)
    axes = np.linalg.eigvalsh(np.linalg.solve(root, np.swapaxes(half, -1, -2)))
    log_axes = np.log(np.maximum(axes, 1e-3))
    return (MOST_RATIO * np.tanh(log_axes / MOST_RATIO)).sum(axis=-1)
