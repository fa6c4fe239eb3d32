"""The three prior families: a normal on its own scale (real, log or logit).

Every quantity that bayescale samples is normal after a fixed transformation, so a prior is two
numbers on a named scale, the Jacobian never appears, and the sampler's coordinates are the
prior's own. The same object is written out as NumPy, JAX and PyMC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bayescale.errors import SpecError

Scale = Literal["real", "log", "logit"]


@dataclass(frozen=True)
class Prior:
    """A prior for one positive, bounded or real quantity.

    Build it with `Normal`, `LogNormal` or `LogitNormal`; ``source`` says where the numbers come
    from, and is printed with the model.

    Parameters
    ----------
    scale : {"real", "log", "logit"}
        ``u = x``, ``u = log(x - low)`` or ``u = log((x - low) / (high - x))`` is normal.
    loc, sd : float
        Mean and standard deviation of ``u``.
    low, high : float
        Bounds of the support on the natural scale, where the scale has them.
    source : str
        A sentence of judgement: why these numbers.
    """

    scale: Scale
    loc: float
    sd: float
    low: float = 0.0
    high: float = 1.0
    source: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.loc) and math.isfinite(self.sd) and self.sd > 0):
            raise SpecError(
                f"A prior needs a finite centre and a positive spread; got centre {self.loc}, "
                f"spread {self.sd} on the {self.scale} scale."
            )

    def value(self, u: Any, xp: Any) -> Any:
        """The quantity on its natural scale, from the unbounded coordinate ``u``."""
        if self.scale == "real":
            return u
        if self.scale == "log":
            return self.low + xp.exp(u)
        return self.low + (self.high - self.low) / (1.0 + xp.exp(-u))

    def coordinate(self, x: Any, xp: Any) -> Any:
        """The unbounded coordinate ``u`` of a value ``x`` inside the support."""
        if self.scale == "real":
            return x
        if self.scale == "log":
            return xp.log(x - self.low)
        return xp.log((x - self.low) / (self.high - x))

    def interval(self, prob: float = 0.9) -> tuple[float, float]:
        """The equal-tailed prior interval with probability ``prob``, natural scale."""
        from statistics import NormalDist

        half = NormalDist().inv_cdf(0.5 + prob / 2) * self.sd
        return self._point(self.loc - half), self._point(self.loc + half)

    @property
    def median(self) -> float:
        """The prior median on the natural scale."""
        return self._point(self.loc)

    def __str__(self) -> str:
        low, high = self.interval()
        name = {"real": "Normal", "log": "LogNormal", "logit": "LogitNormal"}[self.scale]
        shift = f", above {self.low:g}" if self.scale == "log" and self.low else ""
        return f"{name}(median {self.median:.3g}, 90 % {low:.3g} to {high:.3g}{shift})"

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for the record of a fit."""
        return {
            "scale": self.scale,
            "loc": self.loc,
            "sd": self.sd,
            "low": self.low,
            "high": self.high,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Prior:
        """The prior that `to_dict` wrote."""
        return cls(**record)

    def _point(self, u: float) -> float:
        if self.scale == "real":
            return u
        if self.scale == "log":
            return self.low + math.exp(u)
        return self.low + (self.high - self.low) / (1.0 + math.exp(-u))


def Normal(mean: float, sd: float, *, source: str = "") -> Prior:
    """A normal prior for a real quantity."""
    return Prior("real", mean, sd, source=source)


def LogNormal(median: float, sd: float, *, low: float = 0.0, source: str = "") -> Prior:
    """A log-normal prior: ``log(x - low)`` is normal with the given ``sd``, ``x`` has ``median``.

    ``sd = 0.5`` says "within a factor 2.3 either way, with 90 % probability"; 1.0 a factor 5.
    """
    if not median > low:
        raise SpecError(f"LogNormal needs median > low; got median {median}, low {low}.")
    return Prior("log", math.log(median - low), sd, low=low, source=source)


def LogitNormal(
    median: float, sd: float, *, low: float = 0.0, high: float = 1.0, source: str = ""
) -> Prior:
    """A logit-normal prior for a quantity between ``low`` and ``high``."""
    if not low < median < high:
        raise SpecError(f"LogitNormal needs low < median < high; got {low}, {median}, {high}.")
    return Prior("logit", math.log((median - low) / (high - median)), sd, low, high, source)
