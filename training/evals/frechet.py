"""Frechet distance between two sets of features, in float64, with its bias and its error.

|mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)). From n samples it is too large by about c / n,
so the values of n and of n / 2 samples are extrapolated to 1 / n = 0 (Chong and Forsyth 2020,
arXiv 1911.07023). Sums stream in by groups, and a jackknife over the groups gives the error.

Legend: f_Bk features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.errors import SpecError

GROUPS = 8


@dataclass
class Moments:
    """Count, mean and scatter of features, updated batch by batch (Chan et al. 1983), float64."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    scatter: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))

    @classmethod
    def of(cls, f_Bk: Tensor) -> Moments:
        """Moments of one batch."""
        f_Bk = f_Bk.double()
        mean = f_Bk.mean(0)
        away = f_Bk - mean
        return cls(len(f_Bk), mean, away.T @ away)

    @classmethod
    def together(cls, parts: Iterable[Moments]) -> Moments:
        """Moments of all samples behind `parts`."""
        total = cls()
        for part in parts:
            total = total._plus(part)
        return total

    def add(self, f_Bk: Tensor) -> Moments:
        """These moments with a batch more; the old ones stay as they are."""
        return self._plus(Moments.of(f_Bk))

    def _plus(self, other: Moments) -> Moments:
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        count, step = self.count + other.count, other.mean - self.mean
        between = torch.outer(step, step) * (self.count * other.count / count)
        return Moments(
            count,
            self.mean + step * (other.count / count),
            self.scatter + other.scatter + between,
        )

    @property
    def covariance(self) -> Tensor:
        """Sample covariance, with count - 1 below."""
        return self.scatter / (self.count - 1)


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance and what it hangs on.

    Parameters
    ----------
    value : float
        From all `samples` on either side; too large by about c / n.
    half : float
        Mean of the two values from half the samples.
    extrapolated : float
        2 value - half: what linear in 1 / n leaves at infinity. May fall a little below zero for
        equal sources.
    se : float
        Jackknife standard error of `extrapolated` over groups of samples; true to about 15 % for
        a distance well above zero, twice too large near zero (simulated: see the tests).
    """

    value: float
    half: float
    extrapolated: float
    se: float
    samples: int
    features: str
    features_hash: str
    feature_size: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite becomes None."""
        return {
            name: None if isinstance(each, float) and not math.isfinite(each) else each
            for name, each in vars(self).items()
        }


class Collector:
    """Streams features of one source into equal groups by the index of a sample."""

    def __init__(self, samples: int) -> None:
        if samples < 2 * GROUPS:
            raise SpecError(
                f"`evaluation.frechet_samples` is {samples}; at least {2 * GROUPS} are needed, and "
                "several times the number of features for a value that means something."
            )
        self.samples = samples
        self.groups = [Moments() for _ in range(GROUPS)]
        self.seen = 0

    def add(self, f_Bk: Tensor) -> None:
        """Add the features of the next samples."""
        group = (self.seen + torch.arange(len(f_Bk))) * GROUPS // self.samples
        self.seen += len(f_Bk)
        for each in group.unique().tolist():
            self.groups[each] = self.groups[each].add(f_Bk[(group == each).to(f_Bk.device)])


def compare(
    one: Collector, other: Collector, *, features: str, features_hash: str, feature_size: int
) -> Frechet:
    """The Frechet distance of two collected sources, extrapolated, with its jackknife error."""
    for side in (one, other):
        if side.seen != side.samples:
            raise ValueError(f"{side.seen} of {side.samples} features were collected.")

    def between(groups: list[int]) -> float:
        return distance(
            Moments.together(one.groups[g] for g in groups),
            Moments.together(other.groups[g] for g in groups),
        )

    def extrapolated(groups: list[int]) -> tuple[float, float, float]:
        value = between(groups)
        # every other group, so that both halves meet the whole range of captions
        halves = [groups[0::2], groups[1::2]]
        sizes = [sum(one.groups[g].count for g in half) / one.samples for half in halves]
        half = 0.5 * (between(halves[0]) + between(halves[1]))
        whole = 1.0 / sum(sizes)
        inverse = 0.5 * (1.0 / sizes[0] + 1.0 / sizes[1])
        return value, half, value - (half - value) * whole / (inverse - whole)

    everything = list(range(GROUPS))
    value, half, limit = extrapolated(everything)
    left = [extrapolated([g for g in everything if g != out])[2] for out in everything]
    centre = sum(left) / GROUPS
    se = math.sqrt((GROUPS - 1) / GROUPS * sum((each - centre) ** 2 for each in left))
    return Frechet(value, half, limit, se, one.samples, features, features_hash, feature_size)


def distance(one: Moments, other: Moments) -> float:
    """Frechet distance of two Gaussians with these moments.

    The trace of (S_1 S_2)^(1/2) is the sum of roots of the eigenvalues of the symmetric
    S_1^(1/2) S_2 S_1^(1/2), which also holds where samples are fewer than features.
    """
    first, second = one.covariance, other.covariance
    if not bool(torch.isfinite(first).all() and torch.isfinite(second).all()):
        return math.nan  # samples of a model that diverged
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0.0)
    gap = (one.mean - other.mean).square().sum()
    return float(gap + first.trace() + second.trace() - 2.0 * inner.sqrt().sum())
