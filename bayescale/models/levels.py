"""A large sweep in two parts: the bowls and levels of its cells, and the law through the levels.

What the runs of a cell say about hyperparameters does not depend on the loss law, given the level
of the cell; and what they say about the law they say through that level. So the posterior of a
large table factors ::

    p(bowls, levels, law | runs)  ~  p(runs | bowls, levels) p(bowls)  x  p(levels | law) p(law)

The first factor has many readings and is nearly normal: `Bowls` is its density, with the levels as
free coordinates. The second has one observation a cell and is bent as all scaling laws are: with
the first taken as normal, `LawOfLevels` is its exact marginal, a Gaussian process over a few dozen
levels, a hundred times cheaper than all runs. `completed_draws` joins them, and says what the
normal approximation of the first factor left out, draw by draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bayescale.models.arrays import arrays
from bayescale.models.density import AbstractDensity, Variable
from bayescale.models.misfit import covariance, student_log_density
from bayescale.models.straight import bent, straight_names
from bayescale.models.surface_density import SurfaceDensity

WIDE = 0.5  # prior sd of a level about the best run of its cell, log loss: says nothing
UNIT = 0.01  # log loss; coordinates of levels in it are of the order of the others
MISFIT = ("misfit", "misfit_length", "cell_sigma")


def parts_of(density: SurfaceDensity) -> tuple[tuple[Variable, ...], tuple[Variable, ...]]:
    """Variables of the bowls, and of the law and its misfit."""
    law = density.surface.loss_law
    of_law = set(law.parameters if law else ()) | set(MISFIT)
    return (
        tuple(v for v in density.variables if v.name not in of_law),
        tuple(v for v in density.variables if v.name in of_law),
    )


@dataclass(frozen=True)
class Bowls(AbstractDensity):
    """Log density of bowls, noise and the levels of the cells; the law plays no part.

    The flat vector has the coordinates of ``variables``, then one a cell: its level in units of
    `UNIT` about its best run.
    """

    whole: SurfaceDensity

    @property
    def blocks(self) -> tuple[tuple[str, int], ...]:
        """Names and lengths of the parts of the flat vector, in order."""
        return (*super().blocks, ("level", self.n_cells))

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        assert self.whole.cells is not None
        return len(self.whole.cells)

    @cached_property
    def base(self) -> np.ndarray:
        """Log loss of the best run of each cell, ``(cell,)``."""
        assert self.whole.cells is not None
        starts = np.searchsorted(self.whole.cells.of_reading, np.arange(self.n_cells))
        return np.minimum.reduceat(self.table.response, starts)

    def levels(self, u: Any) -> Any:
        """Log loss of each cell under its best hyperparameters, ``(..., cell)``."""
        return self.base + UNIT * u[..., -self.n_cells :]

    def log_density(self, u: Any, xp: Any | None = None) -> Any:
        """Log prior of the bowls plus log likelihood of every run given its cell's level."""
        xp = xp or arrays("numpy")
        assert self.whole.cells is not None
        values, level = self.values(u, xp), self.levels(u)
        log_law, noise, ends = self.whole.priced(values, level, xp)
        out = self.log_prior(u, xp) + student_log_density(
            self.table.response - log_law, noise, xp
        ).sum(axis=-1)
        away = u[..., -self.n_cells :] * (UNIT / WIDE)
        return out + ends - 0.5 * (away * away).sum(axis=-1)


@dataclass(frozen=True)
class LawOfLevels(AbstractDensity):
    """Log density of the law and its misfit, given levels with a normal error.

    Attributes
    ----------
    level : ndarray, (cell,)
        Log loss.
    error : ndarray, (cell, cell)
        Covariance of the levels given the runs.
    """

    whole: SurfaceDensity
    level: np.ndarray
    error: np.ndarray

    @cached_property
    def straight(self) -> tuple[str, ...] | None:
        """Parameters that are sampled in straight coordinates (`bayescale.models.straight`)."""
        base = self.whole.surface.loss_law
        assert base is not None
        return straight_names(base, self.variables)

    def of_priors(self, v: Any, xp: Any) -> Any:
        """The coordinates of the priors from those that are sampled, ``(..., coordinate)``."""
        if self.straight is None:
            return v
        names = [name for name, length in self.blocks for _ in range(length)]
        return bent(v, self.straight, names, self.variables, xp)

    def values(self, u: Any, xp: Any) -> dict[str, Any]:
        """Every named quantity on its natural scale, from sampled coordinates."""
        return super().values(self.of_priors(u, xp), xp)

    def log_prior(self, u: Any, xp: Any) -> Any:
        """Log density of the prior at sampled coordinates; the map's determinant is one."""
        return super().log_prior(self.of_priors(u, xp), xp)

    def expected(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log of the law at the cells, ``(..., cell)``."""
        assert self.whole.cells is not None and self.whole.surface.loss_law is not None
        cells, base = self.whole.cells, self.whole.surface.loss_law
        table = self.whole.table
        starts = np.searchsorted(cells.of_reading, np.arange(len(cells)))
        inputs = {k: table.inputs[k][starts] for k in base.inputs}
        inputs |= {a: np.exp(cells.place[:, i]) for i, a in enumerate(cells.axes)}
        named = self._law_parameters(values, xp)
        if self.n_families > 1:
            named = {k: xp.take(v, cells.family) for k, v in named.items()}
        scales = {f"{s}0": self.law.scales.get(s, x) for s, x in base.scales.items()}
        return xp.log(base.body(xp, **inputs, **named, **scales))

    def log_likelihood(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log density of the levels under the law and its misfit, ``(..., 1)``."""
        assert self.whole.cells is not None
        spread = covariance(self.whole.cells, values, xp) + self.error
        gap = self.level - self.expected(values, xp)
        return xp.normal_log_density(gap, spread)[..., None]

    def _law_parameters(self, values: Mapping[str, Any], xp: Any) -> dict[str, Any]:
        from bayescale.models.coordinates import natural_parameters

        base = self.whole.surface.loss_law
        assert base is not None
        return natural_parameters(base, values, self.table.pivot, self.table.typical, xp)


@dataclass(frozen=True)
class Normal:
    """A normal approximation of `Bowls`: its mode and covariance, bowls first, then levels."""

    mean: np.ndarray
    covariance: np.ndarray


def law_of_levels(bowls: Bowls, normal: Normal) -> LawOfLevels:
    """The second part, given the first as normal."""
    n, whole = bowls.n_cells, bowls.whole
    _, variables = parts_of(whole)
    assert whole.cells is not None
    table = replace(whole.table, response=bowls.levels(normal.mean), family=whole.cells.family)
    error = normal.covariance[-n:, -n:] * UNIT**2
    return LawOfLevels(whole.law, table, variables, whole, table.response, error)


def completed_draws(
    law: LawOfLevels,
    bowls: Bowls,
    normal: Normal,
    values: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bowls and levels for draws of the law, ``(sample, ...)``, with the log weight of each.

    Returns
    -------
    u : ndarray, (sample, coordinate)
        Coordinates of `Bowls`, levels included.
    misfit : ndarray, (sample, cell)
        Levels minus the law.
    log_weight : ndarray, (sample,)
        Log density of `Bowls` minus that of its normal approximation.
    """
    xp, n = arrays("numpy"), bowls.n_cells
    assert bowls.whole.cells is not None
    expected = law.expected(values, xp)
    prior = covariance(bowls.whole.cells, values, xp)
    gain = np.linalg.solve(prior + law.error, np.broadcast_to(law.error, prior.shape))
    mean = law.level + (np.swapaxes(gain, -1, -2) @ (expected - law.level)[..., None])[..., 0]
    left = law.error - law.error @ gain
    root = np.linalg.cholesky((left + np.swapaxes(left, -1, -2)) / 2 + 1e-14 * np.eye(n))
    level = mean + (root @ rng.standard_normal(mean.shape)[..., None])[..., 0]

    c = (level - bowls.levels(normal.mean)) / UNIT
    all_c, cross = normal.covariance[-n:, -n:], normal.covariance[:-n, -n:]
    slope = np.linalg.solve(all_c, cross.T)
    rest = normal.covariance[:-n, :-n] - cross @ slope
    bowl = normal.mean[:-n] + c @ slope
    bowl = bowl + rng.standard_normal(bowl.shape) @ np.linalg.cholesky(rest).T
    u = np.concatenate([bowl, normal.mean[-n:] + c], axis=-1)
    return u, level - expected, log_density_ratio(bowls, normal, u)


def log_density_ratio(bowls: Bowls, normal: Normal, u: np.ndarray) -> np.ndarray:
    """Log density of `Bowls` minus that of its normal approximation, up to a constant."""
    step = max(1, int(2e6 / len(bowls.table.response)))
    exact = np.concatenate([bowls.log_density(u[i : i + step]) for i in range(0, len(u), step)])
    away = np.linalg.solve(np.linalg.cholesky(normal.covariance), (u - normal.mean).T)
    return exact + 0.5 * (away * away).sum(axis=0)
