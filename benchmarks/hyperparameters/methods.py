"""What a method must answer: losses of given runs, and the best batch size and rate of a cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

DRAWS = 500


@dataclass(frozen=True)
class AbstractMethod(ABC):
    """A way to go from runs to predictions; ``name`` stands in the tables."""

    name: str

    @abstractmethod
    def fit(self, runs: xr.Dataset, *, random_seed: int = 0) -> AbstractFitted:
        """Learn from runs, dim ``(run,)``."""


class AbstractFitted(ABC):
    """A method that has seen its runs."""

    def predict(self, points: pd.DataFrame) -> np.ndarray | None:
        """Draws of the loss that a run would show there, noise included, ``(sample, point)``.

        ``points`` has N, T, batch_size (tokens) and learning_rate. None: the method has no losses.
        A single sample: it has no interval.
        """
        return None

    @abstractmethod
    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Draws of ``(ln B*, ln eta*)``, ``(sample, point, 2)``; one sample where no interval."""

    def choose(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        """The one setting that the method would train with, ``(point, 2)``."""
        return np.median(self.recommend(N, T), axis=0)
