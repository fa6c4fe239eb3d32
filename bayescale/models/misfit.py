"""What a loss law misses, shared by all runs of a cell: a smooth function of ln N and ln T.

A sweep of sixty rates and batches at one (N, T), a *cell*, does not know sixty things about the
loss law: whatever the law misses there, all sixty miss. So each cell has a level of its own, drawn
from a Gaussian process over (ln N, ln T) with a Matern-3/2 kernel, plus a small independent part.
Near the data the process says what the law gets wrong; away from them it widens the forecast by as
much as the law was seen to be wrong before.

The levels are integrated out. Given everything else the likelihood of a cell's level is nearly
normal, since a cell has many runs and its noise is symmetric: `sites` finds its mode and width
under the heavy-tailed noise, and the Gaussian process over the cells then takes one Cholesky
factor. A second route samples the levels (`HyperparameterModel.to_pymc`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

MOST_CELLS = 150  # a Cholesky factor of more would cost more than the residuals
FINEST = 0.02  # e-folds; cells closer than this are one
SAME_PLACE = 1e-6  # e-folds within which a point is a cell and has what its runs gave it
ROUNDS = 6  # of reweighting
# Newton steps after it: each is the best of three, whose curvature is at least these shares of that
# of reweighting. The first never leads downhill and creeps where the curvature is small; the others
# arrive there, and alone they cycled: jumps of 30 in the log density of five runs, at which a chain
# of NUTS stood still. On 12,000 cells of one to seven heavy-tailed runs no log density is left more
# than 4e-4 from its mode; ten steps of 0.5 and four of 0.1 left up to 300, in one cell of 300.
STEPS, SHARES = 8, (1.0, 0.2, 0.02)
SQRT3 = math.sqrt(3.0)


@dataclass(frozen=True)
class Cells:
    """Groups of readings at one place of (ln N, ln T), in one family.

    Attributes
    ----------
    of_reading : ndarray of int, (reading,)
        Ascending.
    family : ndarray of int, (cell,)
    place : ndarray, (cell, axis)
        Mean log of the inputs with which the misfit moves.
    axes : tuple of str
        Names of these inputs.
    """

    of_reading: np.ndarray
    family: np.ndarray
    place: np.ndarray
    axes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.family)

    def at(self, place: np.ndarray, family: int) -> tuple[np.ndarray, np.ndarray]:
        """Which places ``(point, axis)`` are cells of a family, and the nearest cell of each."""
        mine = np.flatnonzero(self.family == family)
        away = np.abs(place[:, None, :] - self.place[mine]).max(axis=-1)
        return away.min(axis=1) < SAME_PLACE, mine[away.argmin(axis=1)]

    @cached_property
    def size_of(self) -> np.ndarray:
        """Index of the size (one N of one family) of each cell, ``(cell,)`` ascending."""
        if "N" not in self.axes:
            return np.zeros(len(self), int)
        log_n = self.place[:, self.axes.index("N")]
        new = (np.abs(np.diff(log_n)) > FINEST / 2) | (np.diff(self.family) != 0)
        return np.r_[0, np.cumsum(new)]

    @property
    def n_sizes(self) -> int:
        """Number of sizes."""
        return int(self.size_of[-1]) + 1

    def sizes_at(self, place: np.ndarray, family: int) -> tuple[np.ndarray, np.ndarray]:
        """Which places ``(..., axis)`` have a size that was run, and the nearest size of each."""
        mine = np.flatnonzero(self.family == family)
        axis = self.axes.index("N")
        away = np.abs(place[..., None, axis] - self.place[mine, axis])
        return away.min(axis=-1) < SAME_PLACE, self.size_of[mine[away.argmin(axis=-1)]]

    @property
    def replicated(self) -> bool:
        """Whether some cell has several readings, so that its level can be told from noise."""
        return len(self.of_reading) > 1.5 * len(self)


@dataclass(frozen=True)
class Student:
    """Student-t noise of every reading.

    Attributes
    ----------
    scale : array, (..., reading)
    nu, constant : array, (..., reading) or (..., 1)
        Degrees of freedom, and the part of the log density that depends on them alone.
    """

    scale: Any
    nu: Any
    constant: Any


def student_constant(nu: Any, xp: Any) -> Any:
    """Log density of a standard Student-t at zero; log-gamma is slow, so once a family."""
    return xp.gammaln((nu + 1.0) / 2) - xp.gammaln(nu / 2) - 0.5 * xp.log(nu * math.pi)


def cells_of(
    inputs: Mapping[str, np.ndarray],
    axes: tuple[str, ...],
    family: np.ndarray,
    most: int = MOST_CELLS,
) -> tuple[np.ndarray, Cells]:
    """An order of the readings in which cells are contiguous, and the cells in that order.

    With more than ``most`` places the nearest are taken together.
    """
    log_inputs = np.stack([np.log(inputs[a]) for a in axes], axis=1)
    width = FINEST
    while True:
        keys = np.column_stack([family, np.round(log_inputs / width)])
        _, index = np.unique(keys, axis=0, return_inverse=True)
        index = index.reshape(-1)
        if index.max() < most:
            break
        width *= 1.5
    order = np.argsort(index, kind="stable")
    index = index[order]
    first = np.r_[True, index[1:] != index[:-1]]
    count = np.bincount(index)
    place = np.stack([np.bincount(index, column[order]) / count for column in log_inputs.T], axis=1)
    return order, Cells(index, family[order][first], place, axes)


def kernel(one: np.ndarray, other: np.ndarray, sd: Any, length: Any, xp: Any) -> Any:
    """Matern-3/2 covariance of places, ``(..., one, other)``; ``sd`` and ``length`` (..., 1)."""
    away = np.sqrt(((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=-1))
    r = SQRT3 * away / length[..., None]
    return (sd * sd)[..., None] * (1.0 + r) * xp.exp(-r)


def covariance(cells: Cells, values: Mapping[str, Any], xp: Any) -> Any:
    """Covariance of the levels of the cells, ``(..., cell, cell)``."""
    alike = cells.family[:, None] == cells.family[None, :]
    smooth = kernel(cells.place, cells.place, values["misfit"], values["misfit_length"], xp)
    out = smooth * alike + 1e-10 * np.eye(len(cells))
    if "cell_sigma" in values:
        own = values["cell_sigma"]
        out = out + (own * own)[..., None] * np.eye(len(cells))
    return out


def sites(
    residual: Any, noise: Student, spread: Any, cells: Cells, xp: Any
) -> tuple[Any, Any, Any]:
    """Centre, precision and height of each cell's likelihood as a function of its level.

    ``log p(runs of a cell | level) = height - precision (level - centre)^2 / 2`` about the mode
    that it has under independent levels of sd ``spread``.

    Parameters
    ----------
    residual : array, (..., reading)
        Log loss minus log law.
    noise : Student
    spread : array, (..., 1)

    Returns
    -------
    centre, precision, height : array, (..., cell)
    """
    n = len(cells)
    per_cell = lambda x: xp.group_sum(x, cells.of_reading, n)  # noqa: E731
    nu, variance, prior = noise.nu, noise.scale * noise.scale, 1.0 / (spread * spread)
    r, v, t = (xp.stop_gradient(x) for x in (residual, variance, nu))
    level = _start(r, v, cells, xp)
    for _ in range(ROUNDS):
        z = r - xp.take(level, cells.of_reading)
        weight = (t + 1.0) / (t * v + z * z)
        total = per_cell(weight)
        level = per_cell(weight * r) / (total + xp.stop_gradient(prior))
    held = xp.stop_gradient(prior)
    for _ in range(STEPS):
        level = _uphill(level, r, t, v, held, cells, xp)
    level = xp.stop_gradient(level)
    slope, curvature, most = _slope(level, residual, nu, variance, prior, cells, xp)
    level = level + slope / xp.maximum(curvature, SHARES[-1] * most)
    z = residual - xp.take(level, cells.of_reading)
    weight = (nu + 1.0) / (nu * variance + z * z)
    slope = per_cell(weight * z)
    # The curvature seen at the mode, held above half of what is expected of such noise: an outlier
    # bends the other way. The expected one alone erred by 0.05 in the log density of a cell of
    # twenty runs (rms over 75 cells, nu = 4), the seen one by 0.01.
    square, flat = z * z, nu * variance
    seen = per_cell(weight * (flat - square) / (flat + square))
    precision = xp.maximum(seen, 0.5 * per_cell(weight * (nu + 1.0) / (nu + 3.0)))
    height = per_cell(student_log_density(z, noise, xp))
    # No parabola stands higher than all readings at the middle of their noise: far out in its tails
    # the slope would promise more (1e5 of log density on 142 runs, where NUTS began and failed).
    most = per_cell(student_log_density(0.0 * z, noise, xp)) - height
    rise = xp.minimum(slope * slope / (2.0 * precision), most)
    return level + slope / precision, precision, height + rise


def _uphill(
    level: Any, residual: Any, nu: Any, variance: Any, prior: Any, cells: Cells, xp: Any
) -> Any:
    """The best of three Newton steps of each level."""
    slope, curvature, most = _slope(level, residual, nu, variance, prior, cells, xp)
    tried = [level + slope / xp.maximum(curvature, share * most) for share in SHARES]
    heights = [_height(x, residual, nu, variance, prior, cells, xp) for x in tried]
    best, highest = tried[0], heights[0]
    for other, height in zip(tried[1:], heights[1:], strict=True):
        best = xp.where(height > highest, other, best)
        highest = xp.maximum(highest, height)
    return best


def _slope(
    level: Any, residual: Any, nu: Any, variance: Any, prior: Any, cells: Cells, xp: Any
) -> tuple[Any, Any, Any]:
    """Slope and curvature of the log density of each level, and the curvature of reweighting.

    The rounds before the last step run on constants; the derivatives of one Newton step from the
    mode are those of the mode itself. Without the dependence of the mode on the parameters the
    gradient belongs to another function than the value, and a sampler creeps (measured: steps a
    thousand times too small).
    """
    per_cell = lambda x: xp.group_sum(x, cells.of_reading, len(cells))  # noqa: E731
    z = residual - xp.take(level, cells.of_reading)
    square, flat = z * z, nu * variance
    weight = (nu + 1.0) / (flat + square)
    slope = per_cell(weight * z) - level * prior
    # one lone outlier makes the density concave upward
    curvature = per_cell(weight * (flat - square) / (flat + square)) + prior
    return slope, curvature, per_cell(weight) + prior


def _height(
    level: Any, residual: Any, nu: Any, variance: Any, prior: Any, cells: Cells, xp: Any
) -> Any:
    """Log density of each level, up to what does not depend on it."""
    z = residual - xp.take(level, cells.of_reading)
    each = (nu + 1.0) * xp.log1p(z * z / (nu * variance))
    return -0.5 * (xp.group_sum(each, cells.of_reading, len(cells)) + prior * level * level)


def log_marginal(
    residual: Any, noise: Student, values: Mapping[str, Any], cells: Cells, xp: Any
) -> Any:
    """Log density of all residuals with the levels integrated out, ``(...)``."""
    spread = _total_spread(values, xp)
    centre, precision, height = sites(residual, noise, spread, cells, xp)
    whole = covariance(cells, values, xp) + (1.0 / precision)[..., None] * np.eye(len(cells))
    constant = 0.5 * (math.log(2 * math.pi) - xp.log(precision))
    return (height + constant).sum(axis=-1) + xp.normal_log_density(centre, whole)


def draw_levels(
    residual: np.ndarray,
    noise: Student,
    values: Mapping[str, np.ndarray],
    cells: Cells,
    xp: Any,
    rng: np.random.Generator,
) -> np.ndarray:
    """Levels of the cells given each draw of everything else, ``(sample, cell)``."""
    spread = _total_spread(values, xp)
    centre, precision, _ = sites(residual, noise, spread, cells, xp)
    prior = covariance(cells, values, xp)
    eye = np.eye(len(cells))
    gain = np.linalg.solve(prior + (1.0 / precision)[..., None] * eye, prior)
    mean = (np.swapaxes(gain, -1, -2) @ centre[..., None])[..., 0]
    left = prior - prior @ gain
    root = np.linalg.cholesky((left + np.swapaxes(left, -1, -2)) / 2 + 1e-12 * eye)
    return mean + (root @ rng.standard_normal(centre.shape)[..., None])[..., 0]


def student_log_density(z: Any, noise: Student, xp: Any) -> Any:
    """Log density of the noise at ``z``, ``(..., reading)``."""
    standard = z / noise.scale
    tail = (noise.nu + 1.0) / 2 * xp.log1p(standard * standard / noise.nu)
    return noise.constant - xp.log(noise.scale) - tail


def _total_spread(values: Mapping[str, Any], xp: Any) -> Any:
    square = values["misfit"] ** 2
    if "cell_sigma" in values:
        square = square + values["cell_sigma"] ** 2
    return xp.sqrt(square)


def _start(r: Any, v: Any, cells: Cells, xp: Any) -> Any:
    """Weighted mean of a cell's residuals: where the reweighting begins."""
    n = len(cells)
    weight = 1.0 / v
    return xp.group_sum(r * weight, cells.of_reading, n) / xp.group_sum(weight, cells.of_reading, n)
