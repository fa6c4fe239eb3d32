"""Samples by integrating the probability flow from noise to data, with guidance.

dx/dt = v(x, t) runs from t = 1 (noise) to t = 0 (data). A velocity is any function of (x, t), so
the same solvers serve a model, a guided model and an exact velocity in a test.

Legend: x_BCFHW samples, t_B times.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from training import flow, rng
from training.config import Objective, Spec
from training.evals.validation import Predict

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x (B, ...), t (B,)) to dx/dt."""

Solver = Literal["euler", "heun"]


def guided(predict: Predict, text: Tensor | None, guidance: float = 1.0) -> Velocity:
    """The prediction given `text`, pushed away from the one with the caption hidden.

    ``null + guidance * (told - null)`` (Ho and Salimans 2022, arXiv 2207.12598); 1 is no guidance
    and costs one call of the model, 0 is unconditional. A hidden caption is asked for as ``None``.
    Noise, sample and velocity are linear in each other, so it does not matter which is guided.
    """
    if text is None or guidance == 1.0:
        return lambda x, t: predict(x, t, text)
    if guidance == 0.0:
        return lambda x, t: predict(x, t, None)

    def pushed(x: Tensor, t: Tensor) -> Tensor:
        null = predict(x, t, None)
        return null + guidance * (predict(x, t, text) - null)

    return pushed


def velocity_of(prediction: Velocity, objective: Objective) -> Velocity:
    """The velocity behind a prediction of any target, in the dtype of x; the model sees float32."""
    path = flow.PATHS[objective.path]

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        said = prediction(x.float(), t.float()).to(x.dtype)
        return flow.velocity_from(path, objective.target, said, x, t.to(x.dtype))

    return velocity


def ends(objective: Objective) -> tuple[float, float]:
    """Least and greatest t between which the velocity of a trained model is well defined.

    0 and 1 for a velocity on the rectified or cosine path. A predicted sample says little about
    the noise near t = 0 (and the VP velocity grows as 1 / sqrt(t) there), a predicted noise little
    about the sample near t = 1: there the error of the model is divided by almost zero.
    """
    low = 1e-3 if objective.target == "sample" or objective.path == "vp" else 0.0
    blind = objective.target == "noise" and objective.path != "vp"
    return low, 0.98 if blind else 1.0


def noisy_scale(objective: Objective) -> float:
    """Standard deviation at the noisy end: 1 for pure noise, else that of data of unit variance."""
    path, at = flow.PATHS[objective.path], torch.tensor(ends(objective)[1], dtype=torch.float64)
    return float(torch.sqrt(path.a(at) ** 2 + path.b(at) ** 2))


def times(objective: Objective, steps: int) -> list[float]:
    """`steps` + 1 ascending times: even in t, on the VP path in sqrt(t), as its b(t) starts."""
    low, high = ends(objective)
    power = 2.0 if objective.path == "vp" else 1.0
    first, last = low ** (1.0 / power), high ** (1.0 / power)
    return [(first + (last - first) * k / steps) ** power for k in range(steps + 1)]


@torch.no_grad()
def integrate(velocity: Velocity, x: Tensor, grid: list[float], solver: Solver = "heun") -> Tensor:
    """Carry x along dx/dt = velocity through the times of `grid`, in either direction.

    Heun is second order at two calls a step (Karras et al. 2022, arXiv 2206.00364, algorithm 1).
    """
    for now, then in itertools.pairwise(grid):
        step = then - now
        slope = velocity(x, _full(x, now))
        ahead = x + step * slope
        if solver == "heun":
            slope = 0.5 * (slope + velocity(ahead, _full(x, then)))
            ahead = x + step * slope
        x = ahead
    return x


def draw(
    predict: Predict,
    objective: Objective,
    noise: Tensor,
    text: Tensor | None = None,
    *,
    steps: int = 32,
    guidance: float = 1.0,
    solver: Solver = "heun",
) -> Tensor:
    """Samples that start from `noise`; below the lower end, x is read off the last velocity."""
    velocity = velocity_of(guided(predict, text, guidance), objective)
    grid = times(objective, steps)[::-1]
    x = integrate(velocity, noise * noisy_scale(objective), grid, solver)
    if grid[-1] > 0.0:
        x = _to_data(velocity, x, grid[-1], flow.PATHS[objective.path])
    return x


def draw_indexed(
    spec: Spec, predict: Predict, index_B: Tensor, array: tuple[int, ...], text: Tensor | None
) -> Tensor:
    """Samples number `index_B` of a run, as `spec.evaluation` wants them drawn; keyed noise."""
    asked = spec.evaluation
    noise = rng.normal(asked.seed, "sample/noise", index_B, array)
    return draw(
        predict, spec.objective, noise, text, steps=asked.sampler_steps, guidance=asked.guidance
    )


def settings(spec: Spec) -> dict[str, Any]:
    """What a sample depends on besides the model, for the record."""
    asked = spec.evaluation
    low, high = ends(spec.objective)
    return {
        "solver": "heun",
        "steps": asked.sampler_steps,
        "guidance": asked.guidance,
        "noise_seed": asked.seed,
        "t_low": low,
        "t_high": high,
    }


@torch.no_grad()
def _to_data(velocity: Velocity, x: Tensor, t: float, path: flow.Path) -> Tensor:
    """The sample that x_t and its velocity stand for: x = (b' x_t - b v) / (a b' - a' b)."""
    at = torch.tensor(t, dtype=x.dtype, device=x.device)
    a, b, da, db = path.a(at), path.b(at), path.da(at), path.db(at)
    return (db * x - b * velocity(x, _full(x, t))) / (a * db - da * b)


def _full(x: Tensor, t: float) -> Tensor:
    return torch.full((x.shape[0],), t, dtype=x.dtype, device=x.device)
