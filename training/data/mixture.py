"""A mixture of Gaussians around leaf templates: data whose irreducible loss is known.

x = mu_k + sigma eps, where k = 1 .. K has probability proportional to 1/k. Rare templates take many
samples to learn, so the loss falls as a power of T; and as the density is known, so are the best
velocity, the likelihood and the loss E that no model can go below.

For x_t = a x + b e, given k: x_t ~ N(a mu_k, s²) with s² = a² sigma² + b², hence
E[v | x_t] = a' m + (a a' sigma² + b b') / s² (x_t - a m), with m = sum_k p(k | x_t) mu_k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from training import rng
from training.config import Data
from training.data.leaves import Leaves
from training.data.options import options_of
from training.data.stream import AbstractKnown, Density, Raw
from training.errors import SpecError
from training.flow import PATHS, Path
from training.shapes import SampleShape

VERSION = "zipf_mixture-1"
_FLOW = PATHS["rectified_flow"]


@dataclass(frozen=True)
class ZipfMixture(AbstractKnown):
    """The source ``zipf_mixture``; it has no captions.

    Options: `templates` (4096), `sigma` (0.1), `templates_seed` (0; which templates: the mixture is
    the same for every ``data.seed``).
    """

    data: Data
    purpose: str
    device: torch.device
    templates: int
    sigma: float
    templates_seed: int
    shape: SampleShape = field(init=False)
    poolable = False  # noise of full precision: as quick to draw as to read
    x_type = torch.float32

    def __post_init__(self) -> None:
        if self.templates < 1 or self.sigma <= 0:
            raise SpecError(
                f"`data.options`: `templates` is {self.templates} and `sigma` {self.sigma}; both "
                "must be positive."
            )
        side = self.data.resolution
        object.__setattr__(self, "shape", SampleShape(3, 1, side, side))

    @classmethod
    def open(cls, data: Data, purpose: str, device: torch.device) -> ZipfMixture:
        """The source that `data` asks for."""
        options = options_of(data, templates=4096, sigma=0.1, templates_seed=0)
        return cls(data, purpose, device, **options)

    @property
    def address(self) -> str:
        """Version and everything that decides the samples."""
        return (
            f"{VERSION}/{self.data.resolution}/{self.data.seed}/{self.purpose}/{self.templates}/"
            f"{self.sigma!r}/{self.templates_seed}"
        )

    @cached_property
    def means(self) -> Tensor:
        """Templates, float32 ``(K, d)``: leaves, most frequent first."""
        drawing = Data("leaves", self.data.resolution, captions="none", seed=self.templates_seed)
        source = Leaves.open(drawing, "templates", self.device)
        x = source.make(torch.arange(self.templates, device=self.device)).x
        return (x.float() / 127.5 - 1.0).flatten(1)

    @cached_property
    def log_weights(self) -> Tensor:
        """Logarithms of the probabilities of the templates, float64 ``(K,)``."""
        rank = torch.arange(1, self.templates + 1, device=self.device, dtype=torch.float64)
        return torch.log_softmax(-torch.log(rank), dim=0)

    @cached_property
    def _means(self) -> Tensor:
        return self.means.double()

    @cached_property
    def _edges(self) -> Tensor:
        # whole numbers of 2**-31, so that rounding cannot differ between devices
        return (self.log_weights.exp().cumsum(0) * 2.0**31).round().long().clamp_(max=1 << 31)

    def which(self, position: Tensor) -> Tensor:
        """The template behind each sample, int64 ``(B,)``, counted from 0."""
        draw = rng.words(self.data.seed, f"data/{self.purpose}/mixture/which", position, 1)[:, 0]
        found = torch.searchsorted(self._edges, draw >> 1, right=True)
        return found.clamp_(max=self.templates - 1)

    def make(self, position: Tensor) -> Raw:
        """Samples float32 ``(B, 3, 1, R, R)``."""
        position = position.to(self.device)
        size = (self.shape.numel,)
        e = rng.normal(self.data.seed, f"data/{self.purpose}/mixture/noise", position, size)
        x = self.means[self.which(position)] + self.sigma * e
        return Raw(x.reshape(-1, *self.shape.array))

    def describe(self, position: Tensor) -> list[str]:
        """Rank of the template."""
        return [f"template {k + 1} of {self.templates}" for k in self.which(position).tolist()]

    def oracle_velocity(self, x_t: Tensor, t: Tensor, path: Path = _FLOW) -> Tensor:
        """E[v | x_t], computed in float64."""
        y, t = x_t.to(self.device).double().flatten(1), t.to(self.device).double().unsqueeze(1)
        a, b, da, db = path.a(t), path.b(t), path.da(t), path.db(t)
        var = (a * self.sigma) ** 2 + b**2
        mean = self._posterior(y, a, var).exp() @ self._means
        v = da * mean + (a * da * self.sigma**2 + b * db) / var * (y - a * mean)
        return v.to(x_t).reshape(x_t.shape)

    def nll(self, x: Tensor) -> Tensor:
        """Exact negative log density of each sample, nats, float64 ``(B,)``."""
        y = x.to(self.device).double().flatten(1)
        one, var = torch.ones(len(y), 1, dtype=y.dtype, device=y.device), self.sigma**2
        square = (y**2).sum(1) / var
        constant = self.shape.numel * math.log(2.0 * math.pi * var)
        return 0.5 * (square + constant) - self._joint(y, one, var * one).logsumexp(1)

    def floor(
        self, density: Density | None = None, path: Path = _FLOW, *, samples: int = 8192
    ) -> tuple[float, float]:
        """E by Monte Carlo over stratified t, and its standard error.

        Each of 16 groups spreads its samples evenly over t, so the groups are independent estimates
        and their spread is the error. The squared error is replaced by its expectation given x_t
        and the template, which has the same mean and less noise.
        """
        groups = 16
        index = torch.arange(samples, device=self.device)
        u = rng.uniform(self.templates_seed, "data/mixture/floor/t", index).double()
        per = samples // groups
        t = (index % per + u) / per
        weight = torch.ones_like(t) if density is None else density(t)
        size = (self.shape.numel,)
        loss = torch.empty_like(t)
        for part in index.split(1024):
            draw = rng.words(self.templates_seed, "data/mixture/floor/which", part, 1)[:, 0]
            k = torch.searchsorted(self._edges, draw >> 1, right=True).clamp(max=self.templates - 1)
            e = rng.normal(self.templates_seed, "data/mixture/floor/noise", part, size).double()
            loss[part] = self._error(k, e, t[part, None], path)
        by_group = (weight * loss).reshape(groups, per).mean(1)
        return float(by_group.mean()), float(by_group.std() / groups**0.5)

    def _error(self, k: Tensor, e: Tensor, t: Tensor, path: Path) -> Tensor:
        """Expected squared error of the oracle given x_t and k, mean over dimensions.

        Given both, v is N(its own oracle, c) with c = (a b' - a' b)² sigma² / s²; the oracle that
        does not know k is off by (a' - a (a a' sigma² + b b') / s²) (m - mu_k) besides.
        """
        a, b, da, db = path.a(t), path.b(t), path.da(t), path.db(t)
        var = (a * self.sigma) ** 2 + b**2
        y = a * self._means[k] + var.sqrt() * e
        mean = self._posterior(y, a, var).exp() @ self._means
        within = (a * db - da * b) ** 2 * self.sigma**2 / var
        slope = da - a * (a * da * self.sigma**2 + b * db) / var
        return within[:, 0] + (slope**2)[:, 0] * ((mean - self._means[k]) ** 2).mean(1)

    def _posterior(self, y: Tensor, a: Tensor, var: Tensor) -> Tensor:
        return torch.log_softmax(self._joint(y, a, var), dim=1)

    def _joint(self, y: Tensor, a: Tensor, var: Tensor) -> Tensor:
        """Logits log w_k - (a² |mu_k|² - 2 a y mu_k) / (2 s²), ``(B, K)``, without |y|²."""
        squares = (self._means**2).sum(1)
        return self.log_weights + (a * (y @ self._means.T) - 0.5 * a**2 * squares) / var
