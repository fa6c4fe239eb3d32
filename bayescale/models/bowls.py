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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bayescale.laws.optimum import bowl_and_slopes
from bayescale.laws.surface import BATCH, RATE, SHORT
from bayescale.models.arrays import arrays
from bayescale.models.coordinates import natural_parameters
from bayescale.models.density import AbstractDensity
from bayescale.models.misfit import Student, student_constant, student_log_density
from bayescale.models.surface_density import SurfaceDensity

WIDE = 0.5  # prior sd of a level about the best run of its cell, log loss: says nothing
ROUNDS, ROUNDS_NEAR = 7, 1  # of scoring from the best run of each cell, and from the mode
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
    """

    whole: SurfaceDensity
    near: Near | None = None

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
            out[part] = self.log_prior(flat[part], np) + self._scored(flat[part])[0]
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

    def terms(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log likelihood of every run given the shape and what cells own, ``(sample, term)``.

        Readings first, then the ends of the runs where some diverged; ``x`` is
        ``(sample, cell, own)``.
        """
        runs = _Runs(self, self.values(u, arrays("numpy")))
        ends = runs.ends()
        found = runs.log_likelihood(runs.at(x))
        return found if ends is None else np.concatenate([found, ends], axis=-1)

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
        self, u: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, OfCells]:
        """Log likelihood with the cells' own numbers integrated out ``(sample,)``, and these."""
        runs = _Runs(self, self.values(u, arrays("numpy")))
        own, shared = (p[:, None, :] for p in self.precisions(u))
        n_shared = shared.shape[-1]
        sizes = _Sizes(self.size_of, own[..., 1:], shared) if n_shared else None
        eye = np.eye(own.shape[-1])
        if self.near is None:
            rounds, x = ROUNDS, np.broadcast_to(self.start, (len(u), *self.start.shape)).copy()
        else:
            rounds, x = ROUNDS_NEAR, self.near(u)
        common = sizes.given(x[..., 1:]) if sizes else np.zeros((len(u), 1, 0))
        for left in range(rounds, -1, -1):
            now = runs.at(x)
            slope, information = runs.slopes(now)
            precision = information + own[..., None] * eye
            away = x - self.start
            if sizes:
                away[..., 1:] -= common[:, self.size_of]
            slope = slope - own * away
            if sizes:
                step, move, curvature = sizes.step(precision, slope, away[..., 1:], common)
            else:
                step = np.linalg.solve(precision, slope[..., None])[..., 0]
            if left:
                step[..., 1:] = np.clip(step[..., 1:], -FARTHEST_STEP, FARTHEST_STEP)
                x = x + step
                common = sizes.given(x[..., 1:]) if sizes else common
        height = runs.by_cell(runs.log_likelihood(now))
        height = height + 0.5 * (np.log(own) - own * away * away).sum(axis=-1)
        # scoring stops a little short of the mode; the rest of the way is a parabola's
        height = height + 0.5 * (slope * step).sum(axis=-1)
        seen = runs.curvature_seen(now) + own[..., None] * eye
        height = height - 0.5 * (np.linalg.slogdet(precision)[1] + _log_ratio(seen, precision))
        total, ends = height.sum(axis=-1), runs.ends()
        if sizes:
            total = total + sizes.height(common, move, curvature, away[..., 1:])
            x, common = sizes.drawn(x + step, common + move, curvature, precision, rng)
        else:
            x = x + step
        total = total if ends is None else total + ends.sum(axis=-1)
        return total, OfCells(x, np.linalg.inv(precision), common)

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
    def places(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Distinct inputs other than hyperparameters, their families, and the place of each run.

        Optima and prices are laws of these, so they are worked out once a place.
        """
        keys = [k for k in self.table.inputs if k not in self.whole.surface.hyperparameters]
        columns = np.column_stack([self.table.family, *(self.table.inputs[k] for k in keys)])
        _, first, index = np.unique(columns, axis=0, return_index=True, return_inverse=True)
        at = {k: self.table.inputs[k][first] for k in keys}
        return at, self.table.family[first], index.reshape(-1)


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


@dataclass(frozen=True)
class _Sizes:
    """Offsets that cells of one size share: a second floor of scoring, eliminated size by size.

    Attributes
    ----------
    size_of : ndarray of int, (cell,)
    own, shared : ndarray, (sample, 1, offset)
        Prior precision of a cell's offset about its size's, and of a size's about zero.
    """

    size_of: np.ndarray
    own: np.ndarray
    shared: np.ndarray

    def given(self, offset: np.ndarray) -> np.ndarray:
        """Best offsets of sizes, given those of their cells, ``(sample, size, offset)``."""
        return self.own * self._sum(offset) / (self.shared + self._count * self.own)

    def step(
        self, precision: np.ndarray, slope: np.ndarray, away: np.ndarray, common: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Newton steps of cells and of sizes together, and the curvature of the sizes alone."""
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
        if rng is None:
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


@dataclass(frozen=True)
class _State:
    """The runs at given numbers of their cells.

    Attributes
    ----------
    residual, price : ndarray, (sample, run)
    noise : Student
    tilt : list of ndarray, (sample, run)
        How the price moves with each offset.
    bend : dict of ndarray, (sample, run)
        Second derivatives of the price in pairs of offsets; pairs that are not there are zero.
    """

    residual: np.ndarray
    price: np.ndarray
    noise: Student
    tilt: list[np.ndarray]
    bend: dict[tuple[int, int], np.ndarray]


class _Runs:
    """The runs under draws of the shape: log likelihood and its slopes in what cells own."""

    def __init__(self, bowls: Bowls, values: Mapping[str, Any]) -> None:
        whole = bowls.whole
        assert whole.cells is not None
        self.whole, self.values, self.xp = whole, values, arrays("numpy")
        self.cell, self.response = whole.cells.of_reading, whole.table.response
        self.starts = np.searchsorted(self.cell, np.arange(len(whole.cells)))
        base = whole.surface.loss_law
        skip = set(base.parameters) if base else {"E"}
        table = whole.table
        self.named = natural_parameters(
            whole.law, values, table.pivot, table.typical, self.xp, without=skip
        )
        at, family, place = bowls.places
        scales = {f"{name}0": scale for name, scale in whole.law.scales.items()}
        there = {**at, **self._of(self.named, family), **scales}
        surface = whole.surface
        self.best, self.curvature = {}, {}
        for name in surface.ordered:
            self.best[name] = surface.log_best(name, there, self.xp)[..., place]
            self.curvature[name] = surface.curvature(name, there, self.xp)[..., place]
        self.log_tried = {name: np.log(table.inputs[name]) for name in surface.ordered}
        self.switched = np.asarray(surface.log_switched(there))
        if self.switched.ndim:
            self.switched = self.switched[..., place]
        self.of_run = self._of(self.named, table.family)
        noise = {k: values[k] * np.ones(whole.n_families) for k in ("sigma", "price_noise", "nu")}
        noise["constant"] = student_constant(noise["nu"], self.xp)
        self.of_noise = self._of(noise, table.family)

    def slopes(self, now: _State) -> tuple[np.ndarray, np.ndarray]:
        """Slope of the log likelihood and Fisher's information, ``(sample, cell, own[, own])``."""
        residual, noise, price = now.residual, now.noise, now.price
        nu, extra = noise.nu, self.of_noise["price_noise"]
        variance = noise.scale * noise.scale
        weight = (nu + 1.0) / (nu * variance + residual * residual)
        pull = weight * residual
        location = (nu + 1.0) / ((nu + 3.0) * variance)
        # a price widens the noise as well: d variance / d price
        widening = 2.0 * extra * extra * price
        of_price = pull + (pull * residual - 1.0) * widening / (2.0 * variance)
        scale = nu / (2.0 * (nu + 3.0)) * np.square(widening / variance)
        slope = [pull, *(of_price * one for one in now.tilt)]
        both = location + scale
        information = self._matrix(now, location, location, both, {})
        return np.stack([self.by_cell(x) for x in slope], axis=-1), information

    def curvature_seen(self, now: _State) -> np.ndarray:
        """Second derivatives of the log likelihood, sign turned, ``(sample, cell, own, own)``.

        What Laplace's formula asks for at the mode. Over six shapes and six cells of eighteen runs
        the log density erred by up to 0.9 with Fisher's information alone, by 0.4 with these.
        """
        residual, noise, price = now.residual, now.noise, now.price
        nu, extra = noise.nu, self.of_noise["price_noise"]
        variance, square = noise.scale * noise.scale, residual * residual
        whole = nu * variance + square
        weight = (nu + 1.0) / whole
        location = weight * (nu * variance - square) / whole
        between = weight * residual * nu / whole  # of the residual and the variance
        of_variance = (weight * square - 1.0) / (2.0 * variance)
        second = -of_variance / variance - weight * square * nu / (2.0 * variance * whole)
        widening, more = 2.0 * extra * extra * price, 2.0 * extra * extra
        cross = location + between * widening
        both = cross + between * widening - second * widening * widening - of_variance * more
        of_price = weight * residual + of_variance * widening
        bend = {pair: -of_price * x for pair, x in now.bend.items()}
        return self._matrix(now, location, cross, both, bend)

    def _matrix(
        self,
        now: _State,
        location: np.ndarray,
        cross: np.ndarray,
        both: np.ndarray,
        bend: dict[tuple[int, int], np.ndarray],
    ) -> np.ndarray:
        """Level by level, level by offset, offset by offset, summed over the runs of a cell."""
        n = 1 + len(now.tilt)
        out = np.empty((*now.residual.shape[:-1], len(self.starts), n, n))
        out[..., 0, 0] = self.by_cell(location)
        for i, one in enumerate(now.tilt):
            out[..., 0, i + 1] = out[..., i + 1, 0] = self.by_cell(cross * one)
            for j, other in enumerate(now.tilt[: i + 1]):
                runs = both * one * other
                if (j, i) in bend:
                    runs = runs + bend[j, i]
                out[..., i + 1, j + 1] = out[..., j + 1, i + 1] = self.by_cell(runs)
        return out

    def log_likelihood(self, now: _State) -> np.ndarray:
        """Log density of every reading, ``(sample, reading)``, given that it could be seen."""
        out = student_log_density(now.residual, now.noise, self.xp)
        if self.whole.truncated_at is not None:
            out = out - self.whole.log_seen(self.response - now.residual, now.noise, self.xp)
        return out

    def ends(self) -> np.ndarray | None:
        """Log probability of the end of every run, ``(sample, run)``; None where none diverged."""
        if self.whole.tried is None:
            return None
        return self.whole.log_ends(self.values, self.named, self.xp)

    def at(self, x: np.ndarray) -> _State:
        """The runs where cells own ``x``."""
        surface, scattered = self.whole.surface, self.whole.scattered
        offset = {short: x[..., self.cell, i] for i, short in enumerate(scattered, 1)}
        price: Any = 0.0
        tilt: dict[str, Any] = {}
        bend: dict[tuple[int, int], Any] = {}
        batch_miss = None
        for i, name in enumerate(surface.ordered):
            short = SHORT.get(name, name)
            miss = self.log_tried[name] - self.best[name] - offset.get(short, 0.0)
            along: Any = 0.0
            if name == RATE and batch_miss is not None:
                change, along = surface.followed(batch_miss, self.of_run, self.xp)
                miss = miss - change
            shape = (self.of_run[f"{short}_rise"], self.of_run[f"{short}_fall"])
            cost, slope, second = (
                self.curvature[name] * x for x in bowl_and_slopes(miss, *shape, xp=self.xp)
            )
            ceiling = self.of_run[f"{short}_ceiling"]
            bound = 1.0 / (1.0 + cost / ceiling)
            price = price + cost * bound
            tilt[name] = -slope * bound * bound
            bend[i, i] = (second - 2.0 * slope * slope * bound / ceiling) * bound * bound
            if name == RATE and batch_miss is not None:
                # a best batch further up leaves the best rate of this batch further down
                tilt[BATCH] = tilt[BATCH] - along * tilt[RATE]
                bend[0, i] = -along * bend[i, i]
                bend[0, 0] = bend[0, 0] + along * along * bend[i, i]
            if name == BATCH and surface.coupled:
                batch_miss = miss
        extra = self.of_noise["price_noise"] * price
        scale = np.sqrt(self.of_noise["sigma"] ** 2 + extra * extra)
        residual = self.response - x[..., self.cell, 0] - self.switched - price
        noise = Student(scale, self.of_noise["nu"], self.of_noise["constant"])
        moving = surface.ordered[: len(scattered)]
        return _State(residual, price, noise, [tilt[h] for h in moving], bend)

    def by_cell(self, values: np.ndarray) -> np.ndarray:
        """Sums over the runs of each cell, ``(sample, cell)``."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def _of(self, values: Mapping[str, Any], family: np.ndarray) -> dict[str, Any]:
        if self.whole.n_families == 1:
            return dict(values)
        return {k: v[..., family] for k, v in values.items()}
