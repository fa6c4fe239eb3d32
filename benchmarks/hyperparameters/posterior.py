"""Our model as one of the methods: `bs.HyperparameterModel`, with its defaults."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayescale as bs
from bayescale.inference import opened
from benchmarks.hyperparameters.methods import AbstractFitted, AbstractMethod
from benchmarks.processes import clock


@dataclass(frozen=True)
class Posterior(AbstractMethod):
    """Posterior of the whole surface; ``options`` go to `bs.HyperparameterModel`."""

    name: str = "bayescale"
    method: str = "fast"
    options: tuple[tuple[str, Any], ...] = ()

    def fit(self, runs: xr.Dataset, *, random_seed: int = 0) -> PosteriorFitted:
        """One call of `bs.fit`."""
        model = bs.HyperparameterModel(**dict(self.options))
        wall, cpu = time.monotonic(), clock()
        fit = bs.fit(model, runs, method=self.method, random_seed=random_seed, progressbar=False)  # type: ignore[arg-type]
        cost = {"fit CPU s": clock() - cpu, "fit wall s": time.monotonic() - wall}
        spec = opened(fit).spec
        health = {k: spec.get(k) for k in ("method", "status", "k_hat", "ess_bulk", "r_hat")}
        return PosteriorFitted(fit, cost | health)


@dataclass(frozen=True)
class PosteriorFitted(AbstractFitted):
    """A fit; the advice is the median of its optima, as for every method with draws."""

    tree: xr.DataTree
    health: dict[str, Any]

    def predict(self, points: pd.DataFrame) -> np.ndarray:
        """`bs.predict` of new runs at their own batch sizes and rates."""
        columns = ("N", "T", "batch_size", "learning_rate")
        at = {name: points[name].to_numpy(float) for name in columns}
        return bs.predict(self.tree, at=at, kind="response").draws.values

    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        """The optimum of each draw: `Surface.log_best` of batch and rate, nothing else missed."""
        fitted = opened(self.tree)
        draws = {name: value[:, None] for name, value in fitted.parameters().items()}
        values = {**draws, "N": N[None, :], "T": T[None, :]}
        surface = fitted.surface
        assert surface is not None  # of a HyperparameterModel
        best = [surface.log_best(name, values, np) for name in ("batch_size", "learning_rate")]
        return np.stack(best, axis=-1)
