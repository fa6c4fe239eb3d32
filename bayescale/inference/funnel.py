"""Coordinates of the bowls in which the laws of the optima are as wide for any scatter about them.

How well sweeps of four sizes know the power of N of the best batch depends on how far sizes scatter
about that power: a funnel, which a Student-t does not fill and whose loss k-hat does not show (the
sd of the power came out a fifth too small). Given the scatter the law is nearly normal, a linear
mixed model of the cells' optima, so its mean and covariance are known in closed form. Draws are
made in coordinates that stand for the law at one reference scatter, moved and widened from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bayescale.inference.mode import Mode
from bayescale.inference.scoring import of_prior
from bayescale.models.bowls import Bowls
from bayescale.models.density import AbstractDensity

STEP = 1e-4  # of central differences


@dataclass(frozen=True)
class MixedModel:
    """Optima of the cells about their laws: what readings say, linear in the laws' coordinates.

    Attributes
    ----------
    moving : ndarray of int, (law,)
        Coordinates of the shape on which optima depend.
    slope : ndarray, (optimum, law)
        Of each cell's optimum, one hyperparameter after the other, e-folds.
    information : ndarray, (optimum, optimum)
        Of the readings about the optima.
    pull : ndarray, (optimum,)
        Information times the optima that the readings alone ask for.
    prior, prior_pull : ndarray, (law, law) and (law,)
    size_of : ndarray of int, (cell,)
    """

    moving: np.ndarray
    slope: np.ndarray
    information: np.ndarray
    pull: np.ndarray
    prior: np.ndarray
    prior_pull: np.ndarray
    size_of: np.ndarray

    def moments(self, own: np.ndarray, shared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``(sample, law)`` and root of the covariance of the laws' coordinates.

        From variances of cells ``(sample, offset)`` and of sizes, ``(sample, offset or 0)``.
        """
        cells, offsets = len(self.size_of), own.shape[-1]
        same = (self.size_of[:, None] == self.size_of).astype(float)
        spread = np.zeros((len(own), cells * offsets, cells * offsets))
        for i in range(offsets):
            part = slice(i * cells, (i + 1) * cells)
            spread[:, part, part] = own[:, i, None, None] * np.eye(cells)
            if shared.shape[-1]:
                spread[:, part, part] += shared[:, i, None, None] * same
        away = np.eye(len(self.information)) + spread @ self.information
        right = np.concatenate([self.slope.T @ self.information, self.pull[None]]).T
        weighed = np.linalg.solve(
            np.swapaxes(away, -1, -2), np.broadcast_to(right, (len(own), *right.shape))
        )
        found = self.slope.T @ weighed
        precision = found[..., :-1] + self.prior
        precision = 0.5 * (precision + np.swapaxes(precision, -1, -2))
        mean = np.linalg.solve(precision, (found[..., -1] + self.prior_pull)[..., None])[..., 0]
        # the inverse of a lower root, transposed, is a root of the inverse
        return mean, np.swapaxes(np.linalg.inv(np.linalg.cholesky(precision)), -1, -2)


@dataclass(frozen=True)
class WithoutFunnel(AbstractDensity):
    """Log density of the bowls in coordinates without the funnel.

    Attributes
    ----------
    bowls : Bowls
    optima : MixedModel
    reference : tuple of ndarray
        Moments of the laws where the coordinates are those of the bowls.
    """

    bowls: Bowls
    optima: MixedModel
    reference: tuple[np.ndarray, np.ndarray]

    numpy_only: ClassVar[bool] = True

    def log_density(self, u: Any, xp: Any | None = None) -> Any:
        """``(...)``."""
        shape, widening = self._mapped(np.atleast_2d(u))
        out = self.bowls.log_density(shape) + widening
        return out if np.ndim(u) == 2 else out[0]

    def of_bowls(self, u: np.ndarray) -> np.ndarray:
        """The same points in the coordinates of the bowls, ``(sample, coordinate)``."""
        return self._mapped(u)[0]

    def mode(self, found: Mode) -> Mode:
        """A mode of the bowls with its covariance in these coordinates, to first order."""
        steps = STEP * np.eye(len(found.u))
        ends = self.of_bowls(np.concatenate([found.u + steps, found.u - steps]))
        jacobian = (ends[: len(steps)] - ends[len(steps) :]).T / (2 * STEP)
        root = np.linalg.solve(jacobian, found.cholesky)
        covariance = root @ root.T
        return Mode(found.u, found.log_density, covariance, np.linalg.cholesky(covariance))

    def _mapped(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the bowls, and the log volume they take up."""
        mean, root = self.optima.moments(*_variances(self.bowls, u))
        mean0, root0 = self.reference
        moving = self.optima.moving
        plain = np.linalg.solve(root0, (u[:, moving] - mean0).T).T
        shape = u.copy()
        shape[:, moving] = mean + (root @ plain[..., None])[..., 0]
        return shape, np.linalg.slogdet(root)[1] - np.linalg.slogdet(root0)[1]


def without_funnel(bowls: Bowls, mode: Mode) -> tuple[WithoutFunnel, Mode]:
    """The bowls in coordinates that agree with theirs at the scatter of the mode."""
    optima = _mixed_model(bowls, mode.u)
    mean, root = optima.moments(*_variances(bowls, mode.u[None]))
    out = WithoutFunnel(bowls.law, bowls.table, bowls.variables, bowls, optima, (mean[0], root[0]))
    return out, out.mode(mode)


def _variances(bowls: Bowls, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    own, shared = bowls.precisions(u)
    return 1.0 / own[:, 1:], 1.0 / shared


def _mixed_model(bowls: Bowls, u: np.ndarray) -> MixedModel:
    """What the readings say about the optima, at their best numbers under one shape."""
    x = bowls.of_cells(u[None]).mean
    runs = bowls.runs(u[None])
    gradient, information = (y[0] / bowls.dispersion for y in runs.slopes(runs.at(x)))
    across = information[:, 1:, 0] / information[:, 0, :1]  # the level follows the optimum
    gradient = gradient[:, 1:] - across * gradient[:, :1]
    information = information[:, 1:, 1:] - across[..., None] * information[:, None, 0, 1:]

    steps = STEP * np.eye(len(u))
    beside = bowls.runs(np.concatenate([u + steps, u - steps]))
    names = bowls.whole.surface.ordered[: gradient.shape[1]]
    ends = np.stack([beside.best[name][:, beside.starts] for name in names], axis=-1)
    slope = (ends[: len(u)] - ends[len(u) :]) / (2 * STEP)  # (coordinate, cell, offset)
    moving = np.flatnonzero(np.abs(slope).max(axis=(1, 2)) > 0)
    cells, offsets = gradient.shape
    flat = np.moveaxis(slope[moving], -1, 1).reshape(len(moving), -1).T
    full = np.zeros((offsets, cells, offsets, cells))
    full[:, np.arange(cells), :, np.arange(cells)] = information
    full = full.reshape(offsets * cells, -1)
    prior_gradient, prior = of_prior(bowls, u)
    prior = prior[np.ix_(moving, moving)]
    at = flat @ u[moving] + x[0, :, 1:].T.reshape(-1)
    return MixedModel(
        moving, flat, full, full @ at + gradient.T.reshape(-1),
        prior, prior_gradient[moving] + prior @ u[moving], bowls.size_of,
    )  # fmt: skip
