"""The runs of a sweep under draws of the shape: log likelihood, slopes and curvatures.

Everything that Fisher scoring of what cells own (`bayescale.models.bowls`) asks of the data, in
NumPy and for many draws at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.laws.optimum import bowl_and_slopes
from bayescale.laws.surface import BATCH, RATE, SHORT
from bayescale.models.arrays import arrays
from bayescale.models.coordinates import natural_parameters
from bayescale.models.misfit import Student, student_constant, student_log_density
from bayescale.models.surface_density import SurfaceDensity


@dataclass(frozen=True)
class Places:
    """Distinct inputs other than hyperparameters: optima and prices are laws of these.

    Attributes
    ----------
    inputs : dict of ndarray, (place,)
    family : ndarray of int, (place,)
    of_run : ndarray of int, (run,)
    """

    inputs: dict[str, np.ndarray]
    family: np.ndarray
    of_run: np.ndarray


def places_of(density: SurfaceDensity) -> Places:
    """The places of a table, so that laws are worked out once each and not once a run."""
    table = density.table
    keys = [k for k in table.inputs if k not in density.surface.hyperparameters]
    columns = np.column_stack([table.family, *(table.inputs[k] for k in keys)])
    _, first, index = np.unique(columns, axis=0, return_index=True, return_inverse=True)
    at = {k: table.inputs[k][first] for k in keys}
    return Places(at, table.family[first], index.reshape(-1))


@dataclass(frozen=True)
class State:
    """The runs at given numbers of their cells.

    Attributes
    ----------
    residual, price : ndarray, (sample, run)
    misses : list of ndarray, (sample, run)
        E-folds off the best of each hyperparameter.
    noise : Student
    tilt : list of ndarray, (sample, run)
        How the price moves with each offset.
    bend : dict of ndarray, (sample, run)
        Second derivatives of the price in pairs of offsets; pairs that are not there are zero.
    """

    residual: np.ndarray
    price: np.ndarray
    misses: list[np.ndarray]
    noise: Student
    tilt: list[np.ndarray]
    bend: dict[tuple[int, int], np.ndarray]


class Runs:
    """The runs under draws of the shape: log likelihood and its slopes in what cells own."""

    def __init__(self, whole: SurfaceDensity, places: Places, values: Mapping[str, Any]) -> None:
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
        at, family, place = places.inputs, places.family, places.of_run
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

    def slopes(self, now: State) -> tuple[np.ndarray, np.ndarray]:
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

    def curvature_seen(self, now: State) -> np.ndarray:
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
        now: State,
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

    def log_likelihood(self, now: State) -> np.ndarray:
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

    def at(self, x: np.ndarray) -> State:
        """The runs where cells own ``x``."""
        surface, scattered = self.whole.surface, self.whole.scattered
        offset = {short: x[..., self.cell, i] for i, short in enumerate(scattered, 1)}
        price: Any = 0.0
        tilt: dict[str, Any] = {}
        bend: dict[tuple[int, int], Any] = {}
        batch_miss, misses = None, []
        for i, name in enumerate(surface.ordered):
            short = SHORT.get(name, name)
            miss = self.log_tried[name] - self.best[name] - offset.get(short, 0.0)
            along: Any = 0.0
            if name == RATE and batch_miss is not None:
                change, along = surface.followed(batch_miss, self.of_run, self.xp)
                miss = miss - change
            misses.append(miss)
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
        return State(residual, price, misses, noise, [tilt[h] for h in moving], bend)

    def by_cell(self, values: np.ndarray) -> np.ndarray:
        """Sums over the runs of each cell, ``(sample, cell)``."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def _of(self, values: Mapping[str, Any], family: np.ndarray) -> dict[str, Any]:
        if self.whole.n_families == 1:
            return dict(values)
        return {k: v[..., family] for k, v in values.items()}
