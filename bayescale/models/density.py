"""The log density of a model on a table, written once for NumPy, JAX and PyTensor.

The sampler sees one flat vector of coordinates. Each block of it is normal a priori (see
`distributions.Prior`); the blocks become named values, the values become the law's natural
parameters (`coordinates`), the parameters become residuals of log loss, the residuals are scored
by the noise model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bayescale.laws import Law
from bayescale.models.arrays import arrays
from bayescale.models.coordinates import natural_parameters
from bayescale.models.distributions import Prior
from bayescale.models.table import Table


@dataclass(frozen=True)
class Variable:
    """One quantity of the model, for all families.

    ``sharing`` says how families relate: ``"one"`` value for all, ``"free"`` values under the same
    prior, or ``"pooled"`` around a population whose centre has ``prior`` and whose spread has
    ``spread`` (a `Prior`, learnt) or is ``spread`` (a number, fixed).
    """

    name: str
    prior: Prior
    sharing: str = "one"
    spread: Prior | float | None = None


@dataclass(frozen=True)
class AbstractDensity:
    """A log prior over a flat vector of coordinates, and a log likelihood that is to be written.

    Pooled variables are sampled centred, ``x ~ N(centre, spread)``. Since the prior keeps the
    spread off zero there is no funnel; measured against non-centred and partly centred coordinates
    on 8 families (40 runs each, and 4 to 20) the centred ones cost a quarter and did not diverge.

    Attributes
    ----------
    law : Law
        What the natural parameters belong to.
    table : Table
        The fitted readings.
    variables : tuple of Variable
    """

    law: Law
    table: Table
    variables: tuple[Variable, ...]

    numpy_only: ClassVar[bool] = False
    """Whether the log density is written for NumPy and for many points at once, and not for JAX."""

    @property
    def n_families(self) -> int:
        """Number of families."""
        return len(self.table.families)

    @property
    def blocks(self) -> tuple[tuple[str, int], ...]:
        """Names and lengths of the parts of the flat vector, in order."""
        out: list[tuple[str, int]] = []
        for v in self.variables:
            if v.sharing == "pooled":
                out.append((f"{v.name}_population", 1))
                if isinstance(v.spread, Prior):
                    out.append((f"{v.name}_spread", 1))
            out.append((v.name, 1 if v.sharing == "one" else self.n_families))
        return tuple(out)

    @property
    def footprint(self) -> int:
        """Numbers that an evaluation at one point holds at a time."""
        return len(self.table.response)

    @property
    def of_places(self) -> dict[str, tuple[str, int]]:
        """Values that belong to no family but to places: name to dimension and its length."""
        return {}

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return sum(length for _, length in self.blocks)

    def split(self, u: Any) -> dict[str, Any]:
        """The blocks of a flat vector, ``(..., size)`` each."""
        out, start = {}, 0
        for name, length in self.blocks:
            out[name] = u[..., start : start + length]
            start += length
        return out

    def values(self, u: Any, xp: Any) -> dict[str, Any]:
        """Every named quantity on its natural scale, ``(..., family)`` or ``(..., 1)``.

        Law parameters are still relative to the pivot; see `parameters`.
        """
        block, out = self.split(u), {}
        for v in self.variables:
            x = block[v.name]
            if v.sharing == "pooled":
                centre = block[f"{v.name}_population"] * v.prior.sd + v.prior.loc
                out[f"{v.name}_population"] = v.prior.value(centre, xp)
                if isinstance(v.spread, Prior):
                    out[f"{v.name}_spread"], _ = self._spread(v, block, xp)
                out[v.name] = v.prior.value(x, xp)
            else:
                out[v.name] = v.prior.value(x * v.prior.sd + v.prior.loc, xp)
        return out

    def log_prior(self, u: Any, xp: Any) -> Any:
        """Log density of the prior at one flat vector, ``(...)``."""
        block = self.split(u)
        total = 0.0
        for v in self.variables:
            x = block[v.name]
            if v.sharing == "pooled":
                base = block[f"{v.name}_population"]
                total = total + standard_normal(base)
                centre = base * v.prior.sd + v.prior.loc
                spread, log_p = self._spread(v, block, xp)
                total = total + log_p + standard_normal((x - centre) / spread)
                total = total - self.n_families * xp.log(spread).sum(axis=-1)
            else:
                total = total + standard_normal(x)
        return total

    def parameters(self, values: Mapping[str, Any], xp: Any) -> dict[str, Any]:
        """The law's natural parameters, ``(..., family)``, from `values`."""
        return natural_parameters(self.law, values, self.table.pivot, self.table.typical, xp)

    def log_law(self, parameters: Mapping[str, Any], xp: Any) -> Any:
        """Log of the law at every reading, ``(..., reading)``."""
        by_reading = dict(parameters)  # of one family: broadcast along the readings
        if self.n_families > 1:
            by_reading = {k: xp.take(v, self.table.family) for k, v in parameters.items()}
        return xp.log(self.law(xp=xp, **self.table.inputs, **by_reading))

    def log_mean(self, values: Mapping[str, Any], parameters: Mapping[str, Any], xp: Any) -> Any:
        """Log of the mean curve at every reading, ``(..., reading)``: of the law alone, here."""
        return self.log_law(parameters, xp)

    def others(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values that are not the law's: noise and the like, ``(..., family)`` each."""
        ones = np.ones(self.n_families)
        return {
            v.name: values[v.name] * ones
            for v in self.variables
            if v.name not in self.law.parameters
        }

    def log_likelihood(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log likelihood in terms whose sum is the whole, ``(..., term)``."""
        raise AssertionError("each density has its likelihood")

    def pointwise(self, values: Mapping[str, Any]) -> np.ndarray:
        """Log likelihood of each configuration given everything drawn, NumPy, ``(..., config)``."""
        return self.log_likelihood(values, arrays("numpy"))

    def completed(
        self, values: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Draws of what the likelihood integrates out: name to (further dims, draws).

        For each draw of ``values``, ``(..., family)``; nothing unless a density says otherwise.
        """
        return {}

    def observe_in_pymc(
        self, values: Mapping[str, Any], parameters: Mapping[str, Any], xp: Any
    ) -> None:
        """Add the likelihood to the open `pymc.Model`; values are PyTensor's, ``(family,)``."""
        import pymc as pm

        pm.Potential("log_likelihood", self.log_likelihood(values, xp).sum())

    def log_density(self, u: Any, xp: Any | None = None) -> Any:
        """Log prior plus log likelihood at one flat vector."""
        xp = xp or arrays("numpy")
        return self.log_prior(u, xp) + self.log_likelihood(self.values(u, xp), xp).sum(axis=-1)

    def _spread(self, v: Variable, block: Mapping[str, Any], xp: Any) -> tuple[Any, Any]:
        """Spread of a pooled variable and the log prior of its coordinate."""
        if isinstance(v.spread, Prior):
            u = block[f"{v.name}_spread"]
            return v.spread.value(u * v.spread.sd + v.spread.loc, xp), standard_normal(u)
        return np.array([float(v.spread)]), 0.0  # type: ignore[arg-type]


def standard_normal(u: Any) -> Any:
    """Log density of independent standard normals, summed over the last axis."""
    return (-0.5 * u * u - 0.5 * math.log(2 * math.pi)).sum(axis=-1)
