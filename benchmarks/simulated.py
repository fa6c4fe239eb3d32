"""Made-up tables of any size: many families, many runs, or long trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np

PIVOT = {"N": 3e8, "T": 1e10}  # where the terms of the planted laws are stated


def families(count: int, runs_each: int, *, random_seed: int = 0) -> dict[str, Any]:
    """Families with floors and coefficients of their own and exponents about a population.

    Spread of the exponents between families 15 %, noise Student-t (4) of 0.4 % of loss.
    """
    rng = np.random.default_rng(random_seed)
    family = np.repeat(np.arange(count), runs_each)
    N = 10 ** rng.uniform(7.5, 9.3, len(family))
    T = N * 10 ** rng.uniform(0.5, 2.2, len(family))
    each = {
        "E": rng.uniform(1.5, 2.2, count),
        "A": rng.lognormal(np.log(0.35), 0.3, count),
        "B": rng.lognormal(np.log(0.40), 0.3, count),
        "alpha": rng.lognormal(np.log(0.34), 0.15, count),
        "beta": rng.lognormal(np.log(0.36), 0.15, count),
    }
    loss = _loss(N, T, **{name: x[family] for name, x in each.items()})
    loss = loss * np.exp(0.004 * rng.standard_t(4, len(family)))
    return {"N": N, "T": T, "loss": loss, "family": [f"family-{i:03d}" for i in family]}


def runs(count: int, readings: int = 1, *, random_seed: int = 0) -> dict[str, Any]:
    """Runs of one law read once each, at their end; noise Student-t (4) of 0.4 % of loss."""
    rng = np.random.default_rng(random_seed)
    N = 10 ** rng.uniform(7.5, 9.5, count * readings)
    T = N * 10 ** rng.uniform(0.5, 2.2, len(N))
    loss = _loss(N, T, E=1.8, A=0.35, B=0.40, alpha=0.34, beta=0.36)
    return {"N": N, "T": T, "loss": loss * np.exp(0.004 * rng.standard_t(4, len(N)))}


def trajectories(count: int, checkpoints: int, *, random_seed: int = 0) -> dict[str, Any]:
    """Runs read at many checkpoints: half of the noise variance is the run's, half serial.

    Noise 0.4 % of loss; the serial part forgets itself over a factor 1.6 in tokens.
    """
    rng = np.random.default_rng(random_seed)
    N = 10 ** rng.uniform(7.5, 9.5, count)
    log_t = np.log(10.0) * np.linspace(9.0, 11.0, checkpoints)
    rho = np.exp(-np.diff(log_t) / 0.5)
    z = rng.standard_normal((count, checkpoints))
    for k, r in enumerate(rho, start=1):
        z[:, k] = r * z[:, k - 1] + np.sqrt(1 - r * r) * z[:, k]
    noise = 0.004 * np.sqrt(0.5) * (rng.standard_normal((count, 1)) + z)
    T = np.broadcast_to(np.exp(log_t), z.shape)
    loss = _loss(N[:, None], T, E=1.8, A=0.35, B=0.40, alpha=0.34, beta=0.36) * np.exp(noise)
    run = np.repeat([f"run-{i:04d}" for i in range(count)], checkpoints)
    return {"run": run, "N": np.repeat(N, checkpoints), "T": T.ravel(), "loss": loss.ravel()}


def _loss(N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
    return E + A * (N / PIVOT["N"]) ** -alpha + B * (T / PIVOT["T"]) ** -beta
