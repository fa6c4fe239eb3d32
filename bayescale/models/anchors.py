"""The misfit of a law at anchors: a smooth function of the inputs, held by a few dozen values.

What a loss law misses is a Gaussian process over the logarithms of its inputs
(`bayescale.models.misfit`), and it misses what lies above the floor::

    ln L = ln law + (1 - floor / law) f(ln N, ln T, ...)

so a law that is wrong by a tenth of what is still to be gained is wrong by little where little is.
On the tables for choosing it scored a seventh better than a misfit of the whole loss (docs/log.md).

Where every run has a place of its own, as many levels as runs would be sampled, though a smooth
function does not know that many things. So its levels at some of the places, the *anchors*, are the
coordinates, and between them the process says what they imply. With no more places than
`MOST_ANCHORS` every place is an anchor and nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayescale.models.misfit import Cells, cells_of, kernel

MOST_ANCHORS = 32  # chosen: the cost goes with their square
FEWEST_OF_A_FAMILY = 4  # with fewer places a smooth misfit is the law's own constants
MOST_PLACES = 300  # of the readings; nearer ones are one
MOST_IN_ALL = 160  # of all families together
JITTER = 1e-9  # of the variance of a level, so that near anchors leave a factor


@dataclass(frozen=True)
class Anchors:
    """Places of the readings, and which of them are anchors.

    Attributes
    ----------
    places : Cells
        In ascending order; ``of_reading`` is in the order of the table.
    chosen : ndarray of int, (anchor,)
        Indices of places, ascending.
    inputs : dict of ndarray, (place,)
        Inputs of the law.
    """

    places: Cells
    chosen: np.ndarray
    inputs: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def footprint(self) -> int:
        """Numbers in the covariance of places with anchors."""
        return len(self.places) * len(self)

    @cached_property
    def cells(self) -> Cells:
        """The anchors as places of their own."""
        return Cells(
            np.arange(len(self)), self.places.family[self.chosen], self.places.place[self.chosen],
            self.places.axes,
        )  # fmt: skip

    def covariance(self, length: Any, xp: Any) -> Any:
        """Correlation of the levels of the anchors, ``(..., anchor, anchor)``."""
        return self._kernel(self.cells, self.cells, length, xp) + JITTER * np.eye(len(self))

    def across(self, length: Any, xp: Any) -> Any:
        """Correlation of places with anchors, ``(..., place, anchor)``."""
        return self._kernel(self.places, self.cells, length, xp)

    def levels(self, values: Mapping[str, Any], unit: Any, xp: Any) -> Any:
        """Levels ``(..., anchor)`` of ``f`` from standard normal coordinates."""
        root = xp.cholesky(self.covariance(values["misfit_length"], xp))
        return values["misfit"] * (root @ unit[..., None])[..., 0]

    def units(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The coordinates that give the levels ``misfit_at``, NumPy, ``(..., anchor)``."""
        root = np.linalg.cholesky(self.covariance(values["misfit_length"], np))
        return np.linalg.solve(root, (values["misfit_at"] / values["misfit"])[..., None])[..., 0]

    def log_prior(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log density of the levels ``misfit_at``, ``(...)``."""
        square = (values["misfit"] * values["misfit"])[..., None]
        whole = square * self.covariance(values["misfit_length"], xp)
        return xp.normal_log_density(values["misfit_at"], whole)

    def at_places(self, values: Mapping[str, Any], xp: Any) -> Any:
        """``f`` at every place, ``(..., place)``, from the levels ``misfit_at``."""
        length = values["misfit_length"]
        pull = xp.solve(self.covariance(length, xp), values["misfit_at"][..., None])
        return (self.across(length, xp) @ pull)[..., 0]

    def features(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """``f`` at the places per unit of each standard normal coordinate, NumPy.

        Returns
        -------
        ndarray, (..., place, anchor)
        """
        root = np.linalg.cholesky(self.covariance(values["misfit_length"], np))
        across = self.across(values["misfit_length"], np)
        return values["misfit"][..., None] * (across @ np.swapaxes(np.linalg.inv(root), -1, -2))

    @cached_property
    def order(self) -> np.ndarray:
        """Readings in the order of their places."""
        return np.argsort(self.places.of_reading, kind="stable")

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each place begins in that order, (place,)."""
        return np.searchsorted(self.places.of_reading[self.order], np.arange(len(self.places)))

    def _kernel(self, one: Cells, other: Cells, length: Any, xp: Any) -> Any:
        smooth = kernel(one.place, other.place, 1.0 + 0.0 * length, length, xp)
        if one.family.max() == 0:
            return smooth
        return smooth * (one.family[:, None] == other.family[None, :])


def anchors_of(
    inputs: Mapping[str, np.ndarray], axes: tuple[str, ...], family: np.ndarray
) -> Anchors | None:
    """Places and anchors of a table; None where a family has too few places to have a misfit."""
    order, cells = cells_of(inputs, axes, family, MOST_PLACES)
    of_reading = np.empty_like(cells.of_reading)
    of_reading[order] = cells.of_reading
    places = Cells(of_reading, cells.family, cells.place, axes)
    count = np.bincount(places.family)
    if count.min() < FEWEST_OF_A_FAMILY or len(count) * FEWEST_OF_A_FAMILY > MOST_IN_ALL:
        return None
    most = min(MOST_ANCHORS, MOST_IN_ALL // len(count))
    chosen = [
        mine[spread_out(places.place[mine], most)]
        for mine in (np.flatnonzero(places.family == f) for f in range(len(count)))
    ]
    at = {k: x[np.unique(of_reading, return_index=True)[1]] for k, x in inputs.items()}
    at |= {name: np.exp(places.place[:, i]) for i, name in enumerate(axes)}
    return Anchors(places, np.concatenate(chosen), at)


def spread_out(place: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most that many places, each in turn the farthest from those before, ascending.

    From the place nearest the middle. (Gonzalez 1985, Theor. Comput. Sci. 38: 293.)
    """
    if len(place) <= most:
        return np.arange(len(place))
    chosen = [int(((place - place.mean(axis=0)) ** 2).sum(axis=1).argmin())]
    away = np.full(len(place), np.inf)
    while len(chosen) < most:
        away = np.minimum(away, ((place - place[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(away.argmax()))
    return np.sort(chosen)
