"""The misfit of a law as functions of ln N and ln T, one for each posterior draw.

A draw of the levels of the cells says what the law missed where runs were made. Anywhere else the
Gaussian process goes on from there. A plan compares sizes under one draw, so each draw needs one
function and not independent values: a prior path from random Fourier features, moved by the
kernel so that it passes through the drawn levels (Matheron's rule, Wilson et al. 2020, 2002.09309).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayescale.models.misfit import Cells, covariance

FEATURES = 96
SHORT = np.float32  # of the cosines: keeps 1e-7 of log loss at a fourth of the time
IN_CACHE = 2_000  # sample-points at once


@dataclass(frozen=True)
class Paths:
    """Misfit functions, one a draw, in one family.

    Attributes
    ----------
    cells : Cells
    family : int
        Whose cells count.
    levels : ndarray, (sample, cell)
        ``misfit_at`` of a fit: smooth part and each cell's own.
    misfit, length : ndarray, (sample, 1)
    cell_sigma : ndarray or None, (sample, 1)
    random_seed : int
    """

    cells: Cells
    family: int
    levels: np.ndarray
    misfit: np.ndarray
    length: np.ndarray
    cell_sigma: np.ndarray | None
    random_seed: int = 0

    def __call__(self, place: np.ndarray) -> np.ndarray:
        """The smooth misfit in log loss, ``(sample, point)``.

        Parameters
        ----------
        place : ndarray, (sample or 1, point, axis)
            ``ln N``, ``ln T``, in the order of ``cells.axes``.
        """
        n, points = len(self.levels), place.shape[1]
        out = np.empty((n, points))
        step = max(1, IN_CACHE // points)
        for i in range(0, n, step):
            part = slice(i, i + step)
            here = place if len(place) == 1 else place[part]
            out[part] = self._prior_path(here, part, SHORT) + self._moved(here, part)
        return out

    def _moved(self, place: np.ndarray, part: slice) -> np.ndarray:
        """What the drawn levels add to the prior paths, ``(sample, point)``."""
        known = self.cells.place[self._mine]
        away = np.sqrt(3.0 * ((place[:, :, None, :] - known) ** 2).sum(axis=-1))
        r = away / self.length[part, :, None]
        shape = (1.0 + r) * np.exp(-r)  # not in short precision: large pulls of near cells cancel
        return self.misfit[part] ** 2 * (shape @ self._pull[part, :, None])[..., 0]

    @cached_property
    def _mine(self) -> np.ndarray:
        return self.cells.family == self.family

    @cached_property
    def _features(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frequencies per length and phases, shared by the draws, and weights of each draw."""
        rng = np.random.default_rng([self.random_seed, 7])
        axes = self.cells.place.shape[1]
        # the spectrum of a Matern-3/2 kernel is a Student-t with three degrees of freedom
        tail = np.sqrt(3.0 / rng.chisquare(3.0, FEATURES))
        frequency = rng.standard_normal((axes, FEATURES)) * tail
        phase = rng.uniform(0.0, 2 * np.pi, FEATURES)
        return frequency, phase, rng.standard_normal((len(self.levels), FEATURES))

    def _prior_path(
        self, place: np.ndarray, part: slice = slice(None), precision: type = np.float64
    ) -> np.ndarray:
        frequency, phase, weight = self._features
        turned = (place @ frequency).astype(precision)
        angle = turned / self.length[part, :, None].astype(precision) + phase.astype(precision)
        path = (np.cos(angle) @ weight[part].astype(precision)[..., None])[..., 0]
        return self.misfit[part] * np.sqrt(2.0 / FEATURES) * path

    @cached_property
    def _pull(self) -> np.ndarray:
        """``K^-1 (levels - prior path - own part)`` of each draw, ``(sample, cell)``."""
        mine, place = self._mine, self.cells.place[self._mine]
        own = 0.0
        values = {"misfit": self.misfit, "misfit_length": self.length}
        if self.cell_sigma is not None:
            values["cell_sigma"] = self.cell_sigma
            rng = np.random.default_rng([self.random_seed, 8])
            own = self.cell_sigma * rng.standard_normal((len(self.levels), mine.sum()))
        part = Cells(self.cells.of_reading, self.cells.family[mine], place, self.cells.axes)
        whole = covariance(part, values, np)
        gap = self.levels[:, mine] - self._prior_path(place[None]) - own
        return np.linalg.solve(whole, gap[..., None])[..., 0]
