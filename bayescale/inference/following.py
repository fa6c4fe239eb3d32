"""Coordinates of the bowls in which the laws of the optima are standard normal, whatever the rest.

Where the optima lie is known given how steep the bowls are and how far cells scatter, and follows
both: a best batch at the edge of every grid moves with the steepness, along a bent ridge; the power
of N that four sizes know widens with their scatter, a funnel. A Student-t fills neither, and k-hat
does not show the loss of a funnel (the sd of a power came out a fifth too small). But given all
else the laws are nearly normal, a linear mixed model of the cells' optima, so mean and covariance
are known in closed form at every point. Draws are made of the standard normal coordinates that
these leave, and of the rest of the shape.

With the best batch on the edge importance draws failed on a third of simulated sweeps before; now
on 2 of 100, with a median k-hat of 0.36 (`benchmarks.hyperparameters.simulated`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bayescale.inference.mode import Mode
from bayescale.inference.scoring import of_prior
from bayescale.models.bowl_cells import OfCells, Readings
from bayescale.models.bowls import Bowls
from bayescale.models.density import AbstractDensity

STEP = 1e-4  # of central differences


@dataclass(frozen=True)
class Optima:
    """What the readings say about the optima of the cells, a parabola each.

    Attributes
    ----------
    information : ndarray, (sample, cell, offset, offset)
        With the level of the cell eliminated.
    pull : ndarray, (sample, cell, offset)
        Information times the optimum, in e-folds of the law and of the cell's offset together,
        that the readings alone ask for.
    """

    information: np.ndarray
    pull: np.ndarray


@dataclass(frozen=True)
class MixedModel:
    """Optima of the cells about their laws, linear in the laws' coordinates.

    Attributes
    ----------
    moving : ndarray of int, (law,)
        Coordinates of the shape on which the laws of the optima depend.
    slope : ndarray, (cell, offset, law)
        Of the law of each hyperparameter at each cell, e-folds.
    prior, prior_pull : ndarray, (law, law) and (law,)
        Precision of the laws' coordinates, and times their prior mean.
    size_of : ndarray of int, (cell,)
    """

    moving: np.ndarray
    slope: np.ndarray
    prior: np.ndarray
    prior_pull: np.ndarray
    size_of: np.ndarray

    def moments(
        self, optima: Optima, own: np.ndarray, shared: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``(sample, law)`` and root of the covariance of the laws' coordinates.

        From variances of cells ``(sample, offset)`` and of sizes, ``(sample, offset or 0)``.
        """
        eye = np.eye(self.slope.shape[1])
        # with their own offsets integrated out, cells say less: (information^-1 + own)^-1
        away = eye + optima.information * own[:, None, None, :]
        alone = np.linalg.solve(away, optima.information)
        right = np.concatenate(
            [alone @ self.slope, np.linalg.solve(away, optima.pull[..., None])], axis=-1
        )
        if shared.shape[-1]:  # and cells of one size less again
            together = np.add.reduceat(alone, self._starts, axis=1)
            asked = shared[:, None, :, None] * np.add.reduceat(right, self._starts, axis=1)
            common = np.linalg.solve(eye + shared[:, None, :, None] * together, asked)
            right = right - alone @ common[:, self.size_of]
        found = np.einsum("col,scor->slr", self.slope, right)
        precision = found[..., :-1] + self.prior
        precision = 0.5 * (precision + np.swapaxes(precision, -1, -2))
        mean = np.linalg.solve(precision, (found[..., -1] + self.prior_pull)[..., None])[..., 0]
        # the inverse of a lower root, transposed, is a root of the inverse
        return mean, np.swapaxes(np.linalg.inv(np.linalg.cholesky(precision)), -1, -2)

    def offsets(self, at: np.ndarray) -> np.ndarray:
        """E-folds ``(sample, cell, offset)`` by the laws' coordinates, ``(sample, law)``."""
        return np.einsum("col,sl->sco", self.slope, at)

    @property
    def _starts(self) -> np.ndarray:
        return np.flatnonzero(np.r_[True, np.diff(self.size_of) > 0])


@dataclass(frozen=True)
class FollowingLaws(AbstractDensity):
    """Log density of the bowls with the laws of the optima in standard normal coordinates.

    Attributes
    ----------
    bowls : Bowls
    laws : MixedModel
    centre : ndarray, (coordinate,)
        The mode of the bowls, in their coordinates.
    along : ndarray, (law, other)
        How the laws' coordinates move with the others about it: where readings are asked.
    """

    bowls: Bowls
    laws: MixedModel
    centre: np.ndarray
    along: np.ndarray

    numpy_only: ClassVar[bool] = True

    def log_density(self, u: Any, xp: Any | None = None) -> Any:
        """``(...)``."""
        shape, widening, asked = self._mapped(np.atleast_2d(u))
        out = self.bowls.log_density_from(shape, asked) + widening
        return out if np.ndim(u) == 2 else out[0]

    def of_bowls(self, u: np.ndarray) -> np.ndarray:
        """The same points in the coordinates of the bowls, ``(sample, coordinate)``."""
        return self._mapped(u)[0]

    def with_cells(self, u: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, OfCells]:
        """These, and what each cell has of its own there."""
        shape, _, asked = self._mapped(u)
        return shape, self.bowls.of_cells(shape, rng, asked)

    def mode(self, found: Mode) -> Mode:
        """A mode of the bowls with its covariance in these coordinates, to first order."""
        u, moving = found.u.copy(), self.laws.moving
        mean, root = self.moments(found.u[None])
        u[moving] = np.linalg.solve(root[0], found.u[moving] - mean[0])
        steps = STEP * np.eye(len(u))
        ends = self.of_bowls(np.concatenate([u + steps, u - steps]))
        jacobian = (ends[: len(steps)] - ends[len(steps) :]).T / (2 * STEP)
        back = np.linalg.solve(jacobian, found.cholesky)
        covariance = back @ back.T
        return Mode(u, found.log_density, covariance, np.linalg.cholesky(covariance))

    def moments(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and root of the covariance of the laws' coordinates given the others of ``u``."""
        return self._given(*self._asked(u))

    def _asked(self, u: np.ndarray) -> tuple[np.ndarray, Readings]:
        """Where in the coordinates of the bowls the readings are asked, and what they say."""
        shape, moving = u.copy(), self.laws.moving
        away = np.delete(u - self.centre, moving, axis=1)
        shape[:, moving] = self.centre[moving] + away @ self.along.T
        return shape, self.bowls.readings(shape)

    def _given(self, shape: np.ndarray, asked: Readings) -> tuple[np.ndarray, np.ndarray]:
        own, shared = self.bowls.precisions(shape)
        optima = self._optima(shape[:, self.laws.moving], asked)
        return self.laws.moments(optima, 1.0 / own[:, 1:], 1.0 / shared)

    def _optima(self, at: np.ndarray, asked: Readings) -> Optima:
        """What the readings say about the optima, about the best numbers of the cells."""
        information = asked.information
        across = information[..., 1:, 0] / information[..., 0, :1]  # the level follows
        gradient = asked.slope[..., 1:] - across * asked.slope[..., :1]
        information = information[..., 1:, 1:] - across[..., None] * information[..., None, 0, 1:]
        optimum = self.laws.offsets(at) + asked.x[..., 1:]
        return Optima(information, (information @ optimum[..., None])[..., 0] + gradient)

    def _mapped(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, Readings]:
        """Coordinates of the bowls, the log volume they take up, and the readings about there.

        Readings know where optima lie and not what a law or a cell has of it: where the law moves
        and cells' offsets the other way, they say the same.
        """
        moving = self.laws.moving
        shape, asked = self._asked(u)
        mean, root = self._given(shape, asked)
        at, x = mean + (root @ u[:, moving, None])[..., 0], asked.x.copy()
        x[..., 1:] += self.laws.offsets(shape[:, moving] - at)
        shape[:, moving] = at
        volume = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)
        return shape, volume, replace(asked, x=x)


def with_following_laws(bowls: Bowls, mode: Mode) -> tuple[FollowingLaws, Mode]:
    """The bowls in these coordinates, and their mode."""
    laws = _mixed_model(bowls, mode.u)
    others = np.delete(np.arange(len(mode.u)), laws.moving)
    covariance = mode.covariance[np.ix_(others, others)]
    along = np.linalg.solve(covariance, mode.covariance[np.ix_(others, laws.moving)]).T
    out = FollowingLaws(bowls.law, bowls.table, bowls.variables, bowls, laws, mode.u, along)
    return out, out.mode(mode)


def _mixed_model(bowls: Bowls, u: np.ndarray) -> MixedModel:
    """The laws of the optima at the cells and their prior, linear about one shape."""
    steps = STEP * np.eye(len(u))
    beside = bowls.runs(np.concatenate([u + steps, u - steps]))
    names = bowls.whole.surface.ordered[: len(bowls.whole.scattered)]
    ends = np.stack([beside.best[name][:, beside.starts] for name in names], axis=-1)
    slope = np.moveaxis(ends[: len(u)] - ends[len(u) :], 0, -1) / (2 * STEP)
    moving = np.flatnonzero(np.abs(slope).max(axis=(0, 1)) > 0)
    gradient, prior = of_prior(bowls, u)
    prior = prior[np.ix_(moving, moving)]
    return MixedModel(
        moving, slope[..., moving], prior, gradient[moving] + prior @ u[moving], bowls.size_of
    )
