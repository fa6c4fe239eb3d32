"""Answers that were rounded up: the log likelihood of intervals, with many seeds at one batch size.

A run is evaluated every so often, so "reached the target after 1.5M samples" says that the truth
lies above the evaluation before and at most there. In logs each answer is ``(lower, upper]``; a run
that never got there is ``(lower, infinity)``. About the log mean of its cell (one batch size, tuned
on its own) a run scatters by ::

    (1 - straggler_share) Normal(0, sigma)  +  straggler_share Normal(0, straggler_scale sigma)

and the level of a cell scatters about the law by ``Normal(0, cell_sigma)``. The level is integrated
out, cell by cell, on nodes laid where the answers of the cell and the law agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.models.arrays import arrays

NEVER = 30.0  # e-folds that stand for infinity: far enough, and its gradients are numbers
NODES = np.linspace(-4.0, 4.0, 17)  # in units of the width given to a level; trapezoid rule
GENEROUS = 1.25  # that width is widened, since too narrow a net loses more than too wide a one
SIGMAS = np.geomspace(1e-3, 1.0, 13)  # noise at which the levels of cells are tabulated
TYPICAL_SHARE, TYPICAL_SCALE = 0.03, 5.0  # of stragglers, for laying nodes only


@dataclass(frozen=True)
class Answers:
    """Answers grouped into bins: runs of one cell with the same interval are one bin.

    Attributes
    ----------
    lower, upper : ndarray, (bin,)
        Logs of the ends of the intervals; an end at infinity is put `NEVER` e-folds away.
    never : ndarray of bool, (bin,)
        Bins of runs that did not reach the target: open above.
    count : ndarray, (bin,)
        Runs in each bin.
    cell : ndarray of int, (bin,)
        Sorted.
    family : ndarray of int, (cell,)
    inputs : dict of ndarray, (cell,)
        Inputs of the law.
    replicated : bool
        Whether some cell has several runs, so that its level and the noise of runs can be told
        apart.
    centre, width : ndarray, (cell, sigma)
        Where the answers put the level of a cell, for noise of `SIGMAS`.
    """

    lower: np.ndarray
    upper: np.ndarray
    never: np.ndarray
    count: np.ndarray
    cell: np.ndarray
    family: np.ndarray
    inputs: dict[str, np.ndarray]
    replicated: bool
    centre: np.ndarray
    width: np.ndarray

    def __len__(self) -> int:
        return len(self.family)


def answers_of(
    lower: np.ndarray,
    upper: np.ndarray,
    cell: np.ndarray,
    family: np.ndarray,
    inputs: Mapping[str, np.ndarray],
) -> Answers:
    """Answers of runs as bins; ``lower, upper, cell`` are ``(run,)``, the rest ``(cell,)``.

    Ends may be infinite, not both.
    """
    order = np.lexsort((upper, lower, cell))
    rows = np.column_stack([cell, lower, upper])[order]
    new = np.r_[True, (rows[1:] != rows[:-1]).any(axis=1)]
    bins = rows[new]
    count = np.diff(np.r_[np.flatnonzero(new), len(rows)]).astype(float)
    of = bins[:, 0].astype(int)
    replicated = bool(np.bincount(cell).max() > 1)
    low, high = bins[:, 1], bins[:, 2]
    at_once, never = np.isneginf(low), np.isposinf(high)
    low, high = np.where(at_once, high - NEVER, low), np.where(never, low + NEVER, high)
    seen = np.where(at_once, high, low), np.where(never, low, high)  # the ends that are there
    centre, width = _levels(low, high, seen, count, of, len(family))
    return Answers(low, high, never, count, of, family, dict(inputs), replicated, centre, width)


def log_interval(lower: Any, upper: Any, xp: Any) -> Any:
    """Log of ``Phi(upper) - Phi(lower)``, exact in both tails and for narrow intervals.

    An interval above zero is mirrored to below it, where the smaller probability is the accurate
    one; then ``log Phi(b) + log(1 - exp(log Phi(a) - log Phi(b)))``.
    """
    mirrored = lower + upper > 0
    a, b = xp.where(mirrored, -upper, lower), xp.where(mirrored, -lower, upper)
    whole = xp.log_ndtr(b)
    return whole + xp.log(-xp.expm1(xp.log_ndtr(a) - whole))


def log_run(lower: Any, upper: Any, sigma: Any, share: Any, scale: Any, xp: Any) -> Any:
    """Log probability that a run lies between two logs, counted from the level of its cell."""
    usual = log_interval(lower / sigma, upper / sigma, xp)
    wide = sigma * scale
    straggler = log_interval(lower / wide, upper / wide, xp)
    return xp.logaddexp(xp.log1p(-share) + usual, xp.log(share) + straggler)


def log_likelihood(answers: Answers, mean: Any, noise: Mapping[str, Any], xp: Any) -> Any:
    """Log likelihood of each cell, its level integrated out, ``(..., cell)``.

    Parameters
    ----------
    mean : array, (..., cell)
        Log of the law.
    noise : mapping
        ``sigma``, ``straggler_share``, ``straggler_scale`` and, where cells are replicated,
        ``cell_sigma``; ``(..., family)`` each.
    """
    at_cell = {k: xp.take(v, answers.family) for k, v in noise.items()}
    if "cell_sigma" not in noise:
        return _at_level(answers, mean, 1, at_cell, xp)
    centre, width = _tabulated(answers, at_cell["sigma"], xp)
    spread = at_cell["cell_sigma"]
    precision = 1.0 / (spread * spread) + 1.0 / (width * width)
    middle = (mean / (spread * spread) + centre / (width * width)) / precision
    step = GENEROUS / xp.sqrt(precision)
    n = len(NODES)
    spread_out = np.repeat(np.arange(len(answers)), n)  # (cell, node) in one axis
    offset = np.tile(NODES, len(answers))
    level = xp.take(middle, spread_out) + offset * xp.take(step, spread_out)
    away = (level - xp.take(mean, spread_out)) / xp.take(spread, spread_out)
    seen = _at_level(answers, level, n, at_cell, xp)
    log_f = seen - 0.5 * away * away - xp.log(xp.take(spread, spread_out)) - _HALF_LOG_2PI
    log_f = log_f + np.tile(np.log(_trapezoid(NODES)), len(answers))
    total = _log_sum(log_f, n, len(answers), xp)
    return total + xp.log(step)


def posterior_levels(
    answers: Answers, mean: np.ndarray, noise: Mapping[str, np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Levels of the cells about the law, one draw each given their answers, ``(sample, cell)``."""
    xp = arrays("numpy")
    at_cell = {k: v[:, answers.family] for k, v in noise.items()}
    centre, width = _tabulated(answers, at_cell["sigma"], xp)
    spread = at_cell["cell_sigma"]
    precision = 1.0 / spread**2 + 1.0 / width**2
    middle = (mean / spread**2 + centre / width**2) / precision
    step = GENEROUS / np.sqrt(precision)
    level = middle[..., None] + step[..., None] * NODES
    flat = level.reshape(len(level), -1)
    seen = _at_level(answers, flat, len(NODES), at_cell, xp).reshape(level.shape)
    log_f = seen - 0.5 * ((level - mean[..., None]) / spread[..., None]) ** 2
    gumbel = rng.gumbel(size=log_f.shape)
    pick = np.argmax(log_f + gumbel, axis=-1)[..., None]
    jitter = (rng.random(pick.shape) - 0.5) * (NODES[1] - NODES[0]) * step[..., None]
    return (np.take_along_axis(level, pick, axis=-1) + jitter)[..., 0] - mean


def _at_level(answers: Answers, level: Any, nodes: int, at_cell: Mapping[str, Any], xp: Any) -> Any:
    """Log probability of a cell's answers given its level; ``level`` is ``(..., cell * nodes)``."""
    bins, where = _expanded(answers.cell, len(answers), nodes)
    sigma, share, scale = (
        xp.take(at_cell[k], answers.cell[bins])
        for k in ("sigma", "straggler_share", "straggler_scale")
    )
    at = xp.take(level, where)
    log_p = log_run(
        answers.lower[bins] - at, answers.upper[bins] - at, sigma, share, scale, xp
    )  # fmt: skip
    return xp.group_sum(answers.count[bins] * log_p, where, len(answers) * nodes)


def _expanded(cell: np.ndarray, n: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins repeated for every node of their cell, sorted: bin, and index of its (cell, node)."""
    size = np.bincount(cell, minlength=n)
    first = np.r_[0, np.cumsum(size)[:-1]]
    group = np.repeat(np.arange(n * nodes), np.repeat(size, nodes))
    start = np.r_[0, np.cumsum(np.repeat(size, nodes))[:-1]]
    within = np.arange(len(group)) - start[group]
    return first[group // nodes] + within, group


def _tabulated(answers: Answers, sigma: Any, xp: Any) -> tuple[Any, Any]:
    """Centre and width of the levels at any noise, between the tabulated ones, ``(..., cell)``."""
    place = (xp.log(sigma) - np.log(SIGMAS[0])) / np.log(SIGMAS[1] / SIGMAS[0])
    place = xp.minimum(xp.maximum(place, 0.0), len(SIGMAS) - 1.0)
    centre, width = 0.0, 0.0
    for j in range(len(SIGMAS)):
        weight = xp.maximum(0.0, 1.0 - xp.abs(place - j))
        centre = centre + weight * answers.centre[:, j]
        width = width + weight * answers.width[:, j]
    return centre, width


def _levels(
    lower: np.ndarray, upper: np.ndarray, seen: tuple[np.ndarray, np.ndarray], count: np.ndarray,
    cell: np.ndarray, n: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mean and sd of each cell's level given its answers alone, ``(cell, sigma)`` each.

    A cell that is open on one side may lie anywhere there; its level is then looked for within an
    e-fold, and the law decides.
    """
    xp = arrays("numpy")
    centre, width = np.zeros((n, len(SIGMAS))), np.zeros((n, len(SIGMAS)))
    for c in range(n):
        mine = cell == c
        low, high, many = lower[mine][:, None], upper[mine][:, None], count[mine]
        ends = np.concatenate([each[mine] for each in seen])
        away = 0.5 * np.ptp(ends) + (1.0 if (high - low > NEVER - 1.0).all() else 0.0)
        for j, sigma in enumerate(SIGMAS):
            reach = 6.0 * sigma + away
            level = np.linspace(ends.min() - reach, ends.max() + reach, 1001)
            log_p = many @ log_run(
                low - level, high - level, sigma, TYPICAL_SHARE, TYPICAL_SCALE, xp
            )  # fmt: skip
            weight = np.exp(log_p - log_p.max())
            weight /= weight.sum()
            centre[c, j] = weight @ level
            width[c, j] = np.sqrt(weight @ (level - centre[c, j]) ** 2) + 1e-6
    return centre, width


def _log_sum(x: Any, n: int, cells: int, xp: Any) -> Any:
    """Log of the sum of exponentials over nodes, ``(..., cell * node)`` to ``(..., cell)``."""
    x = x.reshape((*tuple(x.shape)[:-1], cells, n))
    most = xp.max(x, axis=-1, keepdims=True)
    return xp.log(xp.exp(x - most).sum(axis=-1)) + most[..., 0]


def _trapezoid(x: np.ndarray) -> np.ndarray:
    weight = np.full(len(x), x[1] - x[0])
    weight[[0, -1]] /= 2
    return weight


_HALF_LOG_2PI = 0.5 * np.log(2.0 * np.pi)
