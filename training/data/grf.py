"""Gaussian random fields with power spectrum k^-a: data where every number is known in closed form.

x is a real field on a torus; its orthonormal Fourier coefficients are independent with variance
lambda_k proportional to max(|k|, 1)^-a, scaled so that a pixel has standard deviation `scale`.
Channels are independent. The best velocity is a linear filter, and for rectified flow
int_0^1 lambda / ((1 - t)² lambda + t²) dt = (pi / 2) sqrt(lambda).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from training import rng
from training.config import Data
from training.data.options import options_of
from training.data.stream import AbstractKnown, Density, Raw
from training.errors import SpecError
from training.flow import PATHS, Path
from training.shapes import SampleShape

VERSION = "grf-1"
_FLOW = PATHS["rectified_flow"]
_AXES = (-3, -2, -1)


@dataclass(frozen=True)
class GaussianField(AbstractKnown):
    """The source ``grf``; it has no captions.

    Options: `exponent` (a, 2.0), `scale` (standard deviation of a pixel, 0.5), `channels` (3).
    """

    data: Data
    purpose: str
    device: torch.device
    exponent: float
    scale: float
    channels: int
    shape: SampleShape = field(init=False)
    poolable = False
    x_type = torch.float32

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.channels < 1:
            raise SpecError(
                f"`data.options`: `scale` is {self.scale} and `channels` {self.channels}; both "
                "must be positive."
            )
        side = self.data.resolution
        object.__setattr__(self, "shape", SampleShape(self.channels, self.data.frames, side, side))

    @classmethod
    def open(cls, data: Data, purpose: str, device: torch.device) -> GaussianField:
        """The source that `data` asks for."""
        options = options_of(data, exponent=2.0, scale=0.5, channels=3)
        return cls(data, purpose, device, **options)

    @property
    def address(self) -> str:
        """Version and everything that decides the samples."""
        return (
            f"{VERSION}/{self.shape.array}/{self.data.seed}/{self.purpose}/"
            f"{float(self.exponent)!r}/{float(self.scale)!r}"
        )

    @cached_property
    def variances(self) -> Tensor:
        """Lambda of every frequency, float64 ``(F, H, W)``: the same for each channel."""
        sides = [
            torch.fft.fftfreq(side, 1.0 / side, dtype=torch.float64, device=self.device)
            for side in self.shape.array[1:]
        ]
        k = torch.stack(torch.meshgrid(*sides, indexing="ij")).square().sum(0).sqrt()
        power = k.clamp(min=1.0) ** -self.exponent
        return power * (self.scale**2 / power.mean())

    def make(self, position: Tensor) -> Raw:
        """Samples float32 ``(B, C, F, H, W)``: white noise, filtered in float64."""
        position = position.to(self.device)
        purpose = f"data/{self.purpose}/grf"
        white = rng.normal(self.data.seed, purpose, position, self.shape.array)
        return Raw(self._filtered(white.double(), self.variances.sqrt()).float())

    def describe(self, position: Tensor) -> list[str]:
        """The spectrum: there is nothing else to tell."""
        return [f"Gaussian field, spectrum k^-{self.exponent:g}"] * len(position)

    def oracle_velocity(self, x_t: Tensor, t: Tensor, path: Path = _FLOW) -> Tensor:
        """E[v | x_t] = F^-1 (a a' lambda + b b') / (a² lambda + b²) F x_t, computed in float64."""
        t = t.to(self.device).double().reshape(-1, 1, 1, 1, 1)
        a, b, power = path.a(t), path.b(t), self.variances
        gain = (a * path.da(t) * power + b * path.db(t)) / (a**2 * power + b**2)
        return self._filtered(x_t.to(self.device).double(), gain).to(x_t)

    def floor(self, density: Density | None = None, path: Path = _FLOW) -> tuple[float, float]:
        """E and the error 0.0; in closed form for uniform t, else by 512-point quadrature."""
        if density is None and path.name == "rectified_flow":
            return float(self.variances.sqrt().mean()) * math.pi / 2, 0.0
        nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(512))
        t, weights = (0.5 * (nodes + 1.0)).to(self.device), (0.5 * weights).to(self.device)
        if density is not None:
            weights = weights * density(t)
        return float((weights * self.error_at(t, path)).sum()), 0.0

    def error_at(self, t: Tensor, path: Path = _FLOW) -> Tensor:
        """Irreducible loss at each t: mean of (a b' - a' b)² lambda / (a² lambda + b²)."""
        t, power = t.to(self.device).double()[:, None], self.variances.flatten()
        a, b = path.a(t), path.b(t)
        turn = (a * path.db(t) - path.da(t) * b) ** 2
        return (turn * power / (a**2 * power + b**2)).mean(1)

    def nll(self, x: Tensor) -> Tensor:
        """Exact negative log density of each sample, nats, float64 ``(B,)``."""
        f = torch.fft.fftn(x.to(self.device).double(), dim=_AXES, norm="ortho")
        terms = f.abs().square() / self.variances + torch.log(2.0 * math.pi * self.variances)
        return 0.5 * terms.flatten(1).sum(1)

    def expected_nll(self) -> float:
        """Mean of `nll` over the data, nats per sample."""
        return self.expected_vlb(0.0)

    def expected_vlb(self, t_min: float) -> float:
        """Variational bound of the oracle, nats per sample: sum 1/2 log(2 pi e (lambda + s²)).

        s = t_min / (1 - t_min). The diffusion part, int (1 - t) / t D(t) dt from `t_min`, is
        sum 1/2 log(1 + lambda / s²); reconstruction with the decoder N(x_t / (1 - t), s²) adds
        sum 1/2 log(2 pi e s²).
        """
        s = t_min / (1.0 - t_min)
        each = torch.log(2.0 * math.pi * math.e * (self.variances + s**2))
        return 0.5 * self.channels * float(each.sum())

    def _filtered(self, x: Tensor, gain: Tensor) -> Tensor:
        half = gain[..., : x.shape[-1] // 2 + 1]
        f = torch.fft.rfftn(x, dim=_AXES)
        return torch.fft.irfftn(f * half, s=x.shape[-3:], dim=_AXES)
