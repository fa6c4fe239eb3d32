"""A large sweep in two parts: the bowls and levels of its cells, and the law through the levels.

What the runs of a cell say about hyperparameters does not depend on the loss law, given the level
of the cell; and what they say about the law they say through that level. So the posterior of a
large table factors ::

    p(bowls, levels, law | runs)  ~  p(runs | bowls, levels) p(bowls)  x  p(levels | law) p(law)

The first factor has many readings and `bayescale.models.bowls` takes it apart further. The second
has one observation a cell and is bent as all scaling laws are: with the levels taken as normal,
`LawOfLevels` is its exact marginal, a Gaussian process over a few dozen levels, a hundred times
cheaper than all runs. `joined` puts the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescale.laws import Law
from bayescale.models.arrays import arrays
from bayescale.models.bowls import OfCells
from bayescale.models.density import Variable
from bayescale.models.misfit import covariance
from bayescale.models.straight import StraightDensity
from bayescale.models.surface_density import SurfaceDensity

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
class LawOfLevels(StraightDensity):
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

    @property
    def footprint(self) -> int:
        """A covariance of all cells."""
        return len(self.level) ** 2

    @property
    def loss_law(self) -> Law | None:
        """The law of the levels."""
        return self.whole.surface.loss_law

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
class Bottoms:
    """Levels of the cells and the rest of the bowls, as draws and as their covariances.

    Attributes
    ----------
    level : ndarray, (sample, cell)
    rest : ndarray, (sample, coordinate)
        Shape, then offsets hyperparameter by hyperparameter: of sizes, and of cells.
    error : ndarray, (cell, cell)
        Covariance of the levels.
    cross : ndarray, (coordinate, cell)
        Covariance of the rest with the levels.
    """

    level: np.ndarray
    rest: np.ndarray
    error: np.ndarray
    cross: np.ndarray


def bottoms_of(u: np.ndarray, cells: OfCells, rng: np.random.Generator) -> Bottoms:
    """Levels and the rest from draws of the shape, ``(sample, coordinate)``, and of the cells.

    Covariances add what cells have given the shape, averaged, to that of their means.
    """
    drawn, n = cells.draw(rng), len(u)
    inner = cells.covariance.mean(axis=0)
    level = cells.mean[..., 0]
    shared = np.concatenate([u, *np.moveaxis(cells.of_sizes, -1, 0)], axis=-1)
    middle = np.concatenate([shared, *np.moveaxis(cells.mean[..., 1:], -1, 0)], axis=-1)
    away = level - level.mean(axis=0)
    error = away.T @ away / n + np.diag(inner[:, 0, 0])
    cross = (middle - middle.mean(axis=0)).T @ away / n
    own = [np.diag(inner[:, 0, i]) for i in range(1, inner.shape[-1])]
    cross[shared.shape[1] :] += np.concatenate(own)
    rest = np.concatenate([shared, *np.moveaxis(drawn[..., 1:], -1, 0)], axis=-1)
    return Bottoms(drawn[..., 0], rest, error, cross)


def law_of_levels(whole: SurfaceDensity, bottoms: Bottoms) -> LawOfLevels:
    """The second part, given the levels as normal."""
    _, variables = parts_of(whole)
    assert whole.cells is not None
    level = bottoms.level.mean(axis=0)
    table = replace(whole.table, response=level, family=whole.cells.family)
    return LawOfLevels(whole.law, table, variables, whole, level, bottoms.error)


def joined(
    law: LawOfLevels,
    bottoms: Bottoms,
    values: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The rest of the bowls and the misfit of the cells, for draws of the law.

    A draw of the levels from their runs and one from the law are weighed by their covariances
    (Matheron's rule), which gives a draw from the product of both; the rest moves with the levels
    as its covariance with them says.

    Parameters
    ----------
    values : mapping
        Draws of the law and its misfit, as many as ``bottoms`` has.

    Returns
    -------
    rest : ndarray, (sample, coordinate)
    misfit : ndarray, (sample, cell)
        Levels minus the law.
    """
    xp = arrays("numpy")
    assert law.whole.cells is not None
    expected = law.expected(values, xp)
    prior = covariance(law.whole.cells, values, xp)
    own = np.linalg.cholesky(prior) @ rng.standard_normal(expected.shape)[..., None]
    gap = expected + own[..., 0] - bottoms.level
    pulled = np.linalg.solve(prior + bottoms.error, gap[..., None])[..., 0]
    level = bottoms.level + pulled @ bottoms.error
    rest = bottoms.rest + pulled @ bottoms.cross.T
    return rest, level - expected
