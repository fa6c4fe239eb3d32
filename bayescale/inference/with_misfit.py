"""Draws of a law with its misfit: levels integrated out, then drawn given the rest.

The law, its noise and the size of its misfit are few coordinates, and importance draws know these
(`bayescale.models.integrated`). Runs off the law are accidents or its misfit, and a table may allow
both readings, so two modes are looked for, one from either side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayescale.inference.importance import K_HAT_LIMIT, Weighted, importance_draws, reweighted
from bayescale.inference.mode import Mode, find_mode, modes_from
from bayescale.inference.two_parts import spreads
from bayescale.models.arrays import arrays
from bayescale.models.integrated import Integrated, Regression
from bayescale.models.loss_density import PER_UNIT, Density
from bayescale.models.straight import StraightDensity

LEVELS = 2  # stream of random numbers
STEP = 1e-3  # of differences of the levels, in sd of the coordinates
INFORMED = 0.3  # variance of the levels given readings, as a share of that without them. Chosen.
FOR_MOMENTS, OF_MOMENTS = 4000, 3.0  # draws behind a start; effective ones that count half of it
EFFORTS, FEWEST_EFFECTIVE = (1, 4), 250.0  # times the evaluations; before more are asked for
# Log weights of what Laplace's integral lacked are held within this of their middle. Most are
# within 0.5; a few estimates of 5, where draws of the levels stay away from their mode, left 1 to
# 50 of 300 to 1,000 effective draws (truncation as in Ionides 2008).
MOST = 1.0
SIDES = (0.0, 2.5)  # prior sd of the misfit's size from which modes are looked for


@dataclass(frozen=True)
class WithMisfit:
    """A density with its levels integrated out, and the modes of that.

    Attributes
    ----------
    integrated : Integrated
    modes : tuple of Mode
        Of law, noise and size of the misfit; the highest first.
    """

    integrated: Integrated
    modes: tuple[Mode, ...]

    @property
    def mode(self) -> Mode:
        """The highest."""
        return self.modes[0]

    def draws(self, n: int, random_seed: int, enough: int | None = None) -> Weighted:
        """Points of the whole density, ``(draw, coordinate)``."""
        for effort in EFFORTS:
            found = importance_draws(
                self.integrated, self.mode, n, random_seed=random_seed, enough=enough,
                others=self.modes[1:], effort=effort,
            )  # fmt: skip
            if found.k_hat <= K_HAT_LIMIT and found.ess >= FEWEST_EFFECTIVE:
                break
        rng = np.random.default_rng([random_seed, LEVELS])
        joint, lacking = self.integrated.with_levels(found.u, rng)
        middle = np.median(lacking)
        return reweighted(found, joint, np.clip(lacking, middle - MOST, middle + MOST), rng)

    @cached_property
    def at_mode(self) -> Regression:
        """The levels at the mode, and a small step along every axis to both sides of it."""
        u, root = self.mode.u, self.mode.cholesky
        points = np.concatenate([u[None], u + STEP * root.T, u - STEP * root.T])
        return self.integrated.regression_at(points)

    @property
    def informed(self) -> bool:
        """Whether readings know the levels better than the misfit's size does."""
        inverse = np.linalg.inv(self.at_mode.root[0])
        return bool((inverse * inverse).sum() < INFORMED * len(inverse))

    def start(self, weighted: Weighted | None = None) -> tuple[Density, Mode]:
        """The density in the coordinates that NUTS goes in, and a start for it.

        From the moments of draws as far as these count, else from the mode, about which levels
        move with the others to first order.
        """
        centre, covariance = self._joint()
        rng = np.random.default_rng(LEVELS)
        drawn = (
            centre
            + rng.standard_normal((FOR_MOMENTS, len(centre))) @ np.linalg.cholesky(covariance).T
        )
        whole, share = self.integrated.whole, 0.0
        if weighted is not None:
            share = weighted.ess / (weighted.ess + OF_MOMENTS * len(centre))
            many = round(share * FOR_MOMENTS)
            drawn[:many] = rng.choice(weighted.u, many)
        if self.informed:
            whole, drawn = in_losses(whole, drawn)
        middle = drawn.mean(axis=0)
        covariance = np.cov(drawn.T) + 1e-9 * np.eye(len(middle))
        return whole, Mode(
            middle, self.mode.log_density, covariance, np.linalg.cholesky(covariance)
        )

    def _joint(self) -> tuple[np.ndarray, np.ndarray]:
        """Mode and covariance of all coordinates."""
        u, root, found = self.mode.u, self.mode.cholesky, self.at_mode
        n = len(u)
        along = (found.mode[1 : n + 1] - found.mode[n + 1 :]).T / (2 * STEP)
        alone = np.linalg.inv(found.root[0])
        covariance = np.block(
            [
                [self.mode.covariance, root @ along.T],
                [along @ root.T, along @ along.T + alone.T @ alone],
            ]
        )
        return np.concatenate([u, found.mode[0]]), covariance


class LawAlone(Density):
    """The law without its misfit, in the coordinates that it has with one."""

    straight = StraightDensity.straight


def in_losses(density: Density, u: np.ndarray) -> tuple[Density, np.ndarray]:
    """The density with log losses at the anchors as coordinates, and the same points in these."""
    assert density.anchors is not None
    xp = arrays("numpy")
    values = density.values(u, xp)
    log_law, share = density.at_places(density.parameters(values, xp), xp)
    chosen = density.anchors.chosen
    losses = log_law[..., chosen] + share[..., chosen] * values["misfit_at"]
    middle = losses.mean(axis=0)
    there = np.concatenate([u[:, : -len(chosen)], (losses - middle) / PER_UNIT], axis=1)
    return replace(density, losses=middle), there


def in_units(density: Density, u: np.ndarray) -> np.ndarray:
    """Points of a density in standard normal coordinates of the levels, from its own."""
    assert density.anchors is not None
    if density.losses is None:
        return u
    units = density.anchors.units(density.values(u, arrays("numpy")))
    return np.concatenate([u[..., : -units.shape[-1]], units], axis=-1)


def with_misfit(density: Density, random_seed: int) -> WithMisfit:
    """The levels integrated out and modes found, from that of the law without a misfit."""
    integrated = Integrated(density.law, density.table, density.variables, density)
    misfit = {"misfit", "misfit_length"}
    known = tuple(v for v in density.variables if v.name not in misfit)
    alone = LawAlone(density.law, density.table, known, density.noise)
    law = alone.split(find_mode(alone, random_seed=random_seed, hold=spreads(alone)).u)
    starts = [
        np.concatenate(
            [law.get(name, np.full(n, side * (name == "misfit"))) for name, n in integrated.blocks]
        )
        for side in SIDES
    ]
    modes = modes_from(integrated, np.array(starts), hold=spreads(integrated))
    return WithMisfit(integrated, tuple(modes))
