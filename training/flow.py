"""The objective: paths from data to noise, what the model predicts, and where t is sampled.

A path is x_t = a(t) x + b(t) eps with t = 0 at the data and t = 1 at the noise. Every function is
pure and takes noise and t as arguments, so the same lines serve training, validation, likelihood
and sampling.

Legend: x_BCFHW samples, e_BCFHW standard normal noise, t_B in (0, 1). A leading ensemble axis may
stand before B everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-5  # t closer than this to an end is moved in: x and eps cannot be told apart there


@dataclass(frozen=True)
class Path:
    """x_t = a(t) x + b(t) eps, with the derivatives of both coefficients."""

    name: str
    a: Callable[[Tensor], Tensor]
    b: Callable[[Tensor], Tensor]
    da: Callable[[Tensor], Tensor]
    db: Callable[[Tensor], Tensor]

    def mix(self, x: Tensor, e: Tensor, t: Tensor) -> Tensor:
        """x_t, the noised sample."""
        t = _spread(t, x)
        return self.a(t) * x + self.b(t) * e

    def velocity(self, x: Tensor, e: Tensor, t: Tensor) -> Tensor:
        """dx_t/dt along the path; eps - x for rectified flow."""
        t = _spread(t, x)
        return self.da(t) * x + self.db(t) * e


# DDPM's linear beta schedule in continuous time (Song et al. 2021, eq. 32 to 33)
_BETA_LOW, _BETA_HIGH = 0.1, 20.0


def _vp_log_a(t: Tensor) -> Tensor:
    return -0.25 * t**2 * (_BETA_HIGH - _BETA_LOW) - 0.5 * t * _BETA_LOW


def _vp_beta(t: Tensor) -> Tensor:
    return _BETA_LOW + t * (_BETA_HIGH - _BETA_LOW)


def _vp_b(t: Tensor) -> Tensor:
    return torch.sqrt(-torch.expm1(2.0 * _vp_log_a(t)))


PATHS: dict[str, Path] = {
    "rectified_flow": Path(
        "rectified_flow",
        a=lambda t: 1.0 - t,
        b=lambda t: t,
        da=lambda t: -torch.ones_like(t),
        db=torch.ones_like,
    ),
    "vp": Path(
        "vp",
        a=lambda t: torch.exp(_vp_log_a(t)),
        b=_vp_b,
        da=lambda t: -0.5 * _vp_beta(t) * torch.exp(_vp_log_a(t)),
        db=lambda t: 0.5 * _vp_beta(t) * torch.exp(2.0 * _vp_log_a(t)) / _vp_b(t),
    ),
    "cosine": Path(
        "cosine",
        a=lambda t: torch.cos(0.5 * math.pi * t),
        b=lambda t: torch.sin(0.5 * math.pi * t),
        da=lambda t: -0.5 * math.pi * torch.sin(0.5 * math.pi * t),
        db=lambda t: 0.5 * math.pi * torch.cos(0.5 * math.pi * t),
    ),
}

TARGETS = ("velocity", "noise", "sample")
T_SAMPLERS = ("logit_normal", "uniform", "shifted")


def target_of(path: Path, target: str, x: Tensor, e: Tensor, t: Tensor) -> Tensor:
    """What the model is asked for: the velocity, the noise or the sample."""
    if target == "velocity":
        return path.velocity(x, e, t)
    return e if target == "noise" else x


def velocity_from(path: Path, target: str, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The velocity that a prediction of any kind stands for.

    From x_t = a x + b eps and v = a' x + b' eps: given eps, x = (x_t - b eps) / a; given x,
    eps = (x_t - a x) / b. The ends, where a division by zero waits, are kept off by 1e-5.
    """
    if target == "velocity":
        return prediction
    t = _spread(t.clamp(_TINY, 1.0 - _TINY), x_t)
    if target == "noise":
        x = (x_t - path.b(t) * prediction) / path.a(t)
        return path.da(t) * x + path.db(t) * prediction
    e = (x_t - path.a(t) * prediction) / path.b(t)
    return path.da(t) * prediction + path.db(t) * e


def sample_t(
    u: Tensor, sampler: str, *, mean: float = 0.0, scale: float = 1.0, shift: float = 1.0
) -> Tensor:
    """Times in (0, 1) from uniform draws `u`, by inverse transform.

    ``logit_normal``: t = sigmoid(mean + scale z) (Esser et al. 2024, eq. 19). ``shifted``: uniform,
    then t -> s t / (1 + (s - 1) t) (same source, eq. 23), towards noise for s > 1; the shift also
    applies on top of the logit-normal.
    """
    t = u
    if sampler == "logit_normal":
        t = torch.sigmoid(mean + scale * torch.special.ndtri(u.double()).to(u.dtype))
    return shift * t / (1.0 + (shift - 1.0) * t)


def density_of_t(
    t: Tensor, sampler: str, *, mean: float = 0.0, scale: float = 1.0, shift: float = 1.0
) -> Tensor:
    """Density of `sample_t` at `t`: with it, a loss per t-bin becomes the training loss."""
    before = t / (shift - (shift - 1.0) * t)
    jacobian = shift / (shift - (shift - 1.0) * t) ** 2
    if sampler != "logit_normal":
        return jacobian
    z = (torch.logit(before) - mean) / scale
    return (
        jacobian * torch.exp(-0.5 * z**2) / (scale * math.sqrt(2 * math.pi) * before * (1 - before))
    )


def _spread(t: Tensor, like: Tensor) -> Tensor:
    """Put axes behind `t` so that it multiplies `like`."""
    return t.reshape(*t.shape, *([1] * (like.ndim - t.ndim)))
