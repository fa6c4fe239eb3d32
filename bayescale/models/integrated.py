"""A law of the loss with the levels of its misfit integrated out: eight coordinates, not fifty.

Given law and noise the levels ``w`` are a linear regression under heavy-tailed noise. Its mode is
found by reweighting (a Student-t is a normal of uncertain precision), its curvature is what the
readings show there, and the integral over ``w`` is Laplace's::

    ln p(y) = ln p(y | w) + ln p(w) - ln det H / 2 + n ln(2 pi) / 2      (w standard normal)

NumPy only, many points at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bayescale.laws import Law
from bayescale.models.anchors import Anchors
from bayescale.models.arrays import arrays
from bayescale.models.density import standard_normal
from bayescale.models.loss_density import Density
from bayescale.models.noise import Groups, student_constants, whitened
from bayescale.models.straight import StraightDensity

ROUNDS = 8  # of reweighting
# The curvature of a configuration that lies far out points the other way; a share of that of the
# reweighting is left to it. Chosen.
LEAST_CURVATURE = 0.3
SWEEPS = 8  # of Gibbs sampling of the levels, from their mode. Chosen.


@dataclass(frozen=True)
class Regression:
    """Levels given everything else, as a normal at each point.

    Attributes
    ----------
    mode : ndarray, (sample, anchor)
        The last round of reweighting, and a Newton step beyond where that leads uphill.
    root : ndarray, (sample, anchor, anchor)
        Lower factor of the precision that readings show there.
    log_integral : ndarray, (sample,)
    """

    mode: np.ndarray
    root: np.ndarray
    log_integral: np.ndarray


@dataclass(frozen=True)
class Integrated(StraightDensity):
    """Log density of law, noise, and size and length of the misfit.

    Attributes
    ----------
    whole : Density
        With the levels as coordinates.
    """

    whole: Density

    numpy_only: ClassVar[bool] = True

    @property
    def loss_law(self) -> Law:
        """The law itself."""
        return self.law

    @property
    def footprint(self) -> int:
        """Features of the places, or of the readings where these share errors."""
        alone = self.whole.table.groups.independent
        rows = len(self.anchors.places) if alone else len(self.table.response)
        return rows * len(self.anchors)

    @property
    def anchors(self) -> Anchors:
        """Where the levels are."""
        assert self.whole.anchors is not None
        return self.whole.anchors

    def log_likelihood(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log likelihood in one term, ``(..., 1)``."""
        return self.regression(values).log_integral[..., None]

    def regression(self, values: Mapping[str, np.ndarray]) -> Regression:
        """The levels given named values, ``(sample, family or 1)`` each; NaN out of reach.

        Far from any mode arithmetic gives out for one point of many; the others are then done one
        by one.
        """
        try:
            return self._regression(values)
        except np.linalg.LinAlgError:
            n = len(next(iter(values.values())))
            if n == 1:
                levels = len(self.anchors)
                nowhere = np.full((1, levels, levels), np.nan)
                return Regression(nowhere[..., 0], nowhere, np.array([np.nan]))
            each = [self.regression({k: x[i : i + 1] for k, x in values.items()}) for i in range(n)]
            names = ("mode", "root", "log_integral")
            return Regression(*(np.concatenate([getattr(e, name) for e in each]) for name in names))

    def _regression(self, values: Mapping[str, np.ndarray]) -> Regression:
        rows = self._rows(values)
        w = np.zeros((*rows.residual.shape[:-1], len(self.anchors)))
        for _ in range(ROUNDS):
            weight, _ = rows.weights(rows.left(w))
            precision, pull = rows.normal_equations(weight, rows.residual)
            w = np.linalg.solve(precision, pull[..., None])[..., 0]
        left = rows.left(w)
        weight, square = rows.weights(left)
        _, pull = rows.normal_equations(weight, left)
        precision = rows.curvature(weight, square, left)
        step = np.linalg.solve(precision, (pull - w)[..., None])[..., 0]
        height = rows.log_density(square) + standard_normal(w)
        # a Newton step, where it leads uphill: far from a mode the slope promises too much
        _, square = rows.weights(rows.left(w + step))
        beyond = rows.log_density(square) + standard_normal(w + step)
        uphill = beyond > height
        root = np.linalg.cholesky(precision)
        log_det = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)
        out = np.maximum(height, beyond) - log_det + 0.5 * w.shape[-1] * math.log(2 * math.pi)
        return Regression(np.where(uphill[..., None], w + step, w), root, out)

    def regression_at(self, u: np.ndarray) -> Regression:
        """The levels at sampled coordinates, ``(sample, coordinate)``."""
        return self.regression(self.values(u, arrays("numpy")))

    def with_levels(self, u: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Points of the whole density with levels drawn, and what Laplace's integral lacked there.

        A Student-t is a normal of uncertain precision, so given precisions the levels are normal
        and given levels the precisions are gamma: drawn in turn from the mode on, they are those of
        the model and not of Laplace's normal, which knows one mode. These normals also say how
        likely the mode is, and so what the integral is (Chib 1995, J. Am. Stat. Assoc. 90: 1313).
        The first of them starts at the mode and counts too, which holds the estimate where draws do
        not come back.

        Parameters
        ----------
        u : ndarray, (sample, coordinate)

        Returns
        -------
        ndarray, (sample, coordinate of the whole)
        ndarray, (sample,)
            Log of the integral over Laplace's: the weight of each draw.
        """
        step = max(1, int(3e5 / self.footprint))
        parts = [self._drawn(u[i : i + step], rng) for i in range(0, len(u), step)]
        levels, lacking = (np.concatenate(x) for x in zip(*parts, strict=True))
        return np.concatenate([u, levels], axis=-1), lacking

    def _drawn(self, u: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        values = self.values(u, arrays("numpy"))
        rows, found = self._rows(values), self.regression(values)
        mode = w = found.mode
        likely = []
        for _ in range(1 if rows.nu is None else SWEEPS):
            weight = rows.drawn_weights(rows.left(w), rng)
            precision, pull = rows.normal_equations(weight, rows.residual)
            root = np.linalg.cholesky(precision)
            back = np.swapaxes(root, -1, -2)
            z = np.linalg.solve(root, pull[..., None])[..., 0]
            off = (back @ mode[..., None])[..., 0] - z
            log_det = np.log(np.diagonal(root, axis1=-2, axis2=-1)).sum(axis=-1)
            likely.append(standard_normal(off) + log_det)
            w = np.linalg.solve(back, (z + rng.standard_normal(w.shape))[..., None])[..., 0]
        _, square = rows.weights(rows.left(mode))
        at_mode = rows.log_density(square) + standard_normal(mode)
        ordinate = np.logaddexp.reduce(likely) - math.log(len(likely))
        return w, at_mode - ordinate - found.log_integral

    def _rows(self, values: Mapping[str, np.ndarray]) -> _Alone | _Together:
        xp, whole, table = arrays("numpy"), self.whole, self.table
        parameters = whole.parameters(values, xp)
        residual = table.response - whole.log_law(parameters, xp)
        _, share = whole.at_places(parameters, xp)
        features = share[..., None] * self.anchors.features(values)
        noise, groups = whole.others(values), table.groups
        nu = noise["nu"] if whole.noise.tail == "student" else None
        constants = student_constants(nu, groups, xp)
        tail = None if nu is None else xp.take(nu, groups.family)
        if groups.independent:
            log_sd = np.log(xp.take(noise["sigma"], table.family))
            if table.log_scale is not None:
                log_sd = log_sd + xp.take(noise["noise_slope"], table.family) * table.log_scale
            constants = constants - log_sd
            return _Alone(residual, features, tail, constants, np.exp(-2.0 * log_sd), self.anchors)
        of_readings = np.swapaxes(features, -1, -2)[..., self.anchors.places.of_reading]
        residual, log_det = whitened(residual, groups, table.log_scale, noise, xp)
        noise = {k: x[..., None, :] for k, x in noise.items()}
        of_readings, _ = whitened(of_readings, groups, table.log_scale, noise, xp)
        return _Together(residual, of_readings, tail, constants - log_det, groups)


@dataclass(frozen=True)
class _Rows:
    """Readings as rows of a regression, in configurations that have one weight each."""

    residual: np.ndarray
    features: np.ndarray
    nu: np.ndarray | None
    constant: np.ndarray

    @property
    def size(self) -> Any:
        """Readings to a configuration."""
        return 1.0

    def squares(self, left: np.ndarray) -> np.ndarray:
        """Squared residuals of configurations in units of their noise, ``(..., config)``."""
        raise AssertionError("each kind of rows has its squares")

    def weights(self, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the tail leaves of each configuration, and its squared residual."""
        square = self.squares(left)
        if self.nu is None:
            return np.ones_like(square), square
        return (self.nu + self.size) / (self.nu + square), square

    def drawn_weights(self, left: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same as a draw of each precision given the residuals."""
        square = self.squares(left)
        if self.nu is None:
            return np.ones_like(square)
        return (
            2.0 * rng.standard_gamma((self.nu + self.size) / 2 + 0.0 * square) / (self.nu + square)
        )

    def log_density(self, square: np.ndarray) -> np.ndarray:
        """Log density of the residuals, ``(...)``."""
        if self.nu is None:
            return (self.constant - square / 2).sum(axis=-1)
        tail = (self.nu + self.size) / 2 * np.log1p(square / self.nu)
        return (self.constant - tail).sum(axis=-1)


@dataclass(frozen=True)
class _Alone(_Rows):
    """Readings with independent errors: features of places, precisions of readings."""

    precision: np.ndarray
    anchors: Anchors

    def left(self, w: np.ndarray) -> np.ndarray:
        """Residuals of the regression, ``(..., reading)``."""
        misfit = (self.features @ w[..., None])[..., 0]
        return self.residual - misfit[..., self.anchors.places.of_reading]

    def squares(self, left: np.ndarray) -> np.ndarray:
        return left * left * self.precision

    def normal_equations(self, weight: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Precision and right side of the weighted regression of ``y``."""
        each = weight * self.precision
        right = np.swapaxes(self.features, -1, -2) @ self._sums(each * y)[..., None]
        return self._gram(each), right[..., 0]

    def curvature(self, weight: np.ndarray, square: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Precision of the levels seen at the mode."""
        if self.nu is not None:
            bend = 1.0 - 2.0 * square / (self.nu + square)
            weight = weight * np.maximum(bend, LEAST_CURVATURE)
        return self._gram(weight * self.precision)

    def _gram(self, each: np.ndarray) -> np.ndarray:
        weighted = np.swapaxes(self.features, -1, -2) * self._sums(each)[..., None, :]
        return weighted @ self.features + np.eye(len(self.anchors))

    def _sums(self, x: np.ndarray) -> np.ndarray:
        return np.add.reduceat(x[..., self.anchors.order], self.anchors.starts, axis=-1)


@dataclass(frozen=True)
class _Together(_Rows):
    """Readings that share errors, whitened; features of readings, ``(..., anchor, reading)``."""

    groups: Groups

    @property
    def size(self) -> Any:
        return self.groups.size

    def left(self, w: np.ndarray) -> np.ndarray:
        return self.residual - (w[..., None, :] @ self.features)[..., 0, :]

    def squares(self, left: np.ndarray) -> np.ndarray:
        return self._sums(left * left)

    def normal_equations(self, weight: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weighted = self.features * weight[..., None, self._config]
        gram = weighted @ np.swapaxes(self.features, -1, -2) + np.eye(self.features.shape[-2])
        return gram, (weighted @ y[..., None])[..., 0]

    def curvature(self, weight: np.ndarray, square: np.ndarray, left: np.ndarray) -> np.ndarray:
        """Along its residual a configuration bends the other way: a rank-one part is taken off."""
        gram, _ = self.normal_equations(weight, left)
        if self.nu is None:
            return gram
        along = self._sums(self.features * left[..., None, :])  # (..., anchor, config)
        bend = np.minimum(2.0 * square / (self.nu + square), 1.0 - LEAST_CURVATURE)
        off = along * (weight * bend / np.maximum(square, 1e-300))[..., None, :]
        return gram - off @ np.swapaxes(along, -1, -2)

    @property
    def _config(self) -> np.ndarray:
        return self.groups.config[self.groups.run]

    def _sums(self, x: np.ndarray) -> np.ndarray:
        xp = arrays("numpy")
        return xp.group_sum(x, self._config, self.groups.n_configs)
