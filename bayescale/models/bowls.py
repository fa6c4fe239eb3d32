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
from bayescale.models.bowl_cells import Near, OfCells, Readings, Scored
from bayescale.models.bowl_runs import Places, Runs, State, places_of
from bayescale.models.bowl_sizes import Sizes
from bayescale.models.density import AbstractDensity
from bayescale.models.surface_density import SurfaceDensity

WIDE = 0.5  # prior sd of a level about the best run of its cell, log loss: says nothing
# Of scoring: from the best run of each cell, from the line about the mode, and on from there.
ROUNDS, ROUNDS_NEAR, ROUNDS_FAR = 7, 1, 3
UNSURE = 0.5  # of log density of one cell: beyond, more rounds; a parabola is not trusted with it
MOST_RATIO = 0.7  # log of seen over expected curvature along one axis; chosen
FARTHEST_STEP = 0.3  # e-folds of one step of an offset
IN_CACHE = 30_000  # readings x draws at once


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
        out = self.log_density_from(np.atleast_2d(u))
        return out if np.ndim(u) == 2 else out[0]

    def log_density_from(self, u: np.ndarray, begun: Readings | None = None) -> np.ndarray:
        """The same, ``(sample,)``, scored on from where the readings have been asked already."""
        return self.log_prior(u, np) + self._scored(u, begun).total

    def of_cells(
        self,
        u: np.ndarray,
        rng: np.random.Generator | None = None,
        begun: Readings | None = None,
    ) -> OfCells:
        """What each cell has of its own, given draws of the shape, ``(sample, coordinate)``.

        What sizes share is drawn, or without ``rng`` at its mode.
        """
        found = self._scored(u, begun)
        mean, common = self._sizes(u).drawn(
            found.mode, found.common, found.curvature, found.precision, rng
        )
        return OfCells(mean, np.linalg.inv(found.precision), common)

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

    def readings(self, u: np.ndarray, x: np.ndarray | None = None) -> Readings:
        """What the readings say where cells own ``x``, or where scoring begins."""
        x = self._begin(u) if x is None else x
        parts = []
        for p in self._pieces(len(u)):
            runs = self.runs(u[p])
            parts.append(self._asked(runs, runs.at(x[p]), x[p]))
        return Readings.joined(parts)

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

    def _begin(self, u: np.ndarray) -> np.ndarray:
        if self.near is not None:
            return self.near(u)
        return np.broadcast_to(self.start, (len(u), *self.start.shape)).copy()

    def _asked(self, runs: Runs, now: State, x: np.ndarray) -> Readings:
        slope, information = runs.slopes(now)
        return Readings(x, slope / self.dispersion, information / self.dispersion)

    def _scored(self, u: np.ndarray, begun: Readings | None = None) -> Scored:
        """The cells at their mode; more rounds where the first leave too much to a parabola."""
        found = self._after(u, ROUNDS if self.near is None else ROUNDS_NEAR, begun)
        if self.near is not None and (lost := found.short > UNSURE).any():
            found.put(lost, self._after(u[lost], ROUNDS_FAR, found.last[lost]))
        return found

    def _after(self, u: np.ndarray, rounds: int, begun: Readings | None) -> Scored:
        pieces = self._pieces(len(u))
        return Scored.joined([self._piece(u[p], rounds, begun and begun[p]) for p in pieces])

    def _piece(self, u: np.ndarray, rounds: int, begun: Readings | None) -> Scored:
        """The cells after some rounds of scoring, and a parabola for the rest of the way."""
        runs, sizes = self.runs(u), self._sizes(u)
        own = self.precisions(u)[0][:, None, :]
        x = self._begin(u) if begun is None else begun.x
        for i in range(rounds):
            here = begun if begun is not None and i == 0 else self._asked(runs, runs.at(x), x)
            step = self._step(here, own, sizes).cells
            step[..., 1:] = np.clip(step[..., 1:], -FARTHEST_STEP, FARTHEST_STEP)
            x = x + step
        now = runs.at(x)
        last = self._step(self._asked(runs, now, x), own, sizes)
        out = runs.by_cell(runs.log_likelihood(now)) / self.dispersion
        out = out + 0.5 * (np.log(own) - own * last.away * last.away).sum(axis=-1)
        short = 0.5 * (last.slope * last.cells).sum(axis=-1)
        out = out + np.minimum(short, UNSURE)
        seen = runs.curvature_seen(now) / self.dispersion + own[..., None] * np.eye(own.shape[-1])
        det = np.linalg.slogdet(last.precision)[1] + _log_ratio(seen, last.precision)
        total = (out - 0.5 * det).sum(axis=-1)
        total = total + sizes.height(last.common, last.sizes, last.curvature, last.away[..., 1:])
        if (ends := runs.ends()) is not None:
            total = total + ends.sum(axis=-1)
        return Scored(
            total,
            x + last.cells,
            last.precision,
            last.common + last.sizes,
            last.curvature,
            short.max(axis=-1),
            last.readings,
        )

    def _sizes(self, u: np.ndarray) -> Sizes:
        own, shared = (p[:, None, :] for p in self.precisions(u))
        return Sizes(self.size_of, own[..., 1:], shared)

    def _step(self, here: Readings, own: np.ndarray, sizes: Sizes) -> _Step:
        """One step of scoring, sizes at their best given where the cells are."""
        common = sizes.given(here.x[..., 1:])
        precision = here.information + own[..., None] * np.eye(own.shape[-1])
        away = here.x - self.start
        away[..., 1:] -= sizes.at_cells(common)
        slope = here.slope - own * away
        cells, move, curvature = sizes.step(precision, slope, away[..., 1:], common)
        return _Step(here, common, precision, slope, away, cells, move, curvature)

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

    readings: Readings
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
