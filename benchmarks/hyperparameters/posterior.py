"""Our model as one of the methods: `bs.HyperparameterModel`, with its defaults."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import bayescale as bs
from bayescale.inference import opened
from benchmarks.hyperparameters.methods import AbstractFitted, AbstractMethod
from benchmarks.processes import clock

ADVICE = ("batch_size", "learning_rate")


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
    """A fit, asked through the public verbs only."""

    tree: xr.DataTree
    health: dict[str, Any]
    _tuned: dict[tuple[float, float], Any] = field(default_factory=dict)

    def predict(self, points: pd.DataFrame) -> np.ndarray:
        """`bs.predict` of new runs at their own batch sizes and rates."""
        columns = ("N", "T", "batch_size", "learning_rate")
        at = {name: points[name].to_numpy(float) for name in columns}
        return bs.predict(self.tree, at=at, kind="response").draws.values

    def recommend(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        """The optimum of each draw, by `bs.tune`."""
        found = [self._tune(*key).draws for key in zip(N, T, strict=True)]
        return np.stack([np.log([each[k].values for k in ADVICE]).T for each in found], axis=1)

    def choose(self, N: np.ndarray, T: np.ndarray) -> np.ndarray:
        """The one setting that `bs.tune` recommends: the least expected cost."""
        found = [self._tune(*key).recommended for key in zip(N, T, strict=True)]
        return np.log([[each[k] for k in ADVICE] for each in found])

    def _tune(self, N: float, T: float) -> Any:
        if (N, T) not in self._tuned:
            self._tuned[N, T] = bs.tune(self.tree, N=float(N), T=float(T), against=())
        return self._tuned[N, T]
