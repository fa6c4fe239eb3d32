"""The log density of a law of the loss: its noise, and what the law misses.

With a misfit the law is not believed to the last digit: a smooth function of the inputs, held by
its levels at a few dozen anchors (`bayescale.models.anchors`), is added to its logarithm. NUTS
samples these levels, in one of two coordinates: standard normal ones, where readings say little
about them, or the logarithms of the loss at the anchors, which many readings know whatever the law
is; `bayescale.models.integrated` integrates them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayescale.laws import Law
from bayescale.models.anchors import Anchors
from bayescale.models.arrays import arrays
from bayescale.models.density import standard_normal
from bayescale.models.misfit import Cells
from bayescale.models.noise import Noise, log_likelihood
from bayescale.models.straight import StraightDensity

PER_UNIT = 0.01  # log loss to a unit of its coordinates


@dataclass(frozen=True)
class Density(StraightDensity):
    """The density of a `bayescale.models.loss.LossModel`: one law, one noise model.

    Attributes
    ----------
    noise : Noise
    anchors : Anchors or None
        None where the law is taken to miss nothing.
    losses : ndarray or None, (anchor,)
        Log loss at the anchors about which it is sampled, in place of standard normal levels.
    """

    noise: Noise
    anchors: Anchors | None = None
    losses: np.ndarray | None = None

    @property
    def loss_law(self) -> Law:
        """The law itself."""
        return self.law

    @cached_property
    def straight(self) -> tuple[str, ...] | None:
        """Parameters in straight coordinates: a law without a misfit has those of its priors."""
        return super().straight if self.anchors is not None else None

    @property
    def cells(self) -> Cells | None:
        """Places where a fit knows levels of the misfit."""
        return self.anchors.cells if self.anchors is not None else None

    @property
    def of_places(self) -> dict[str, tuple[str, int]]:
        """Levels of the misfit at the anchors: their dimension."""
        return {} if self.anchors is None else {"misfit_at": ("cell", len(self.anchors))}

    @property
    def blocks(self) -> tuple[tuple[str, int], ...]:
        """Names and lengths of the parts of the flat vector, levels last."""
        return (*super().blocks, *((name, n) for name, (_, n) in self.of_places.items()))

    def values(self, u: Any, xp: Any) -> dict[str, Any]:
        """Every named quantity on its natural scale, levels of the misfit included."""
        out = super().values(u, xp)
        if self.anchors is not None:
            out["misfit_at"] = self._levels(out, self.split(u)["misfit_at"], xp)
        return out

    def _levels(self, values: Mapping[str, Any], x: Any, xp: Any) -> Any:
        """Levels of the misfit from their coordinates, ``(..., anchor)``."""
        assert self.anchors is not None
        if self.losses is None:
            return self.anchors.levels(values, x, xp)
        log_law, share = self.at_places(self.parameters(values, xp), xp)
        chosen = self.anchors.chosen
        return (self.losses + PER_UNIT * x - log_law[..., chosen]) / share[..., chosen]

    def log_prior(self, u: Any, xp: Any) -> Any:
        """Log density of the prior at sampled coordinates, levels included."""
        out = super().log_prior(u, xp)
        if self.anchors is None:
            return out
        if self.losses is None:
            return out + standard_normal(self.split(u)["misfit_at"])
        values = self.values(u, xp)
        _, share = self.at_places(self.parameters(values, xp), xp)
        stretch = xp.log(share[..., self.anchors.chosen] / PER_UNIT).sum(axis=-1)
        return out + self.anchors.log_prior(values, xp) - stretch

    def at_places(self, parameters: Mapping[str, Any], xp: Any) -> tuple[Any, Any]:
        """Log of the law and the share of it above its floor, ``(..., place)`` each."""
        assert self.anchors is not None
        named = dict(parameters)
        if self.n_families > 1:
            named = {k: xp.take(v, self.anchors.places.family) for k, v in named.items()}
        law = self.law(xp=xp, **self.anchors.inputs, **named)
        return xp.log(law), share_above_floor(self.law, law, named)

    def log_mean(self, values: Mapping[str, Any], parameters: Mapping[str, Any], xp: Any) -> Any:
        """Log of the law and its misfit at every reading, ``(..., reading)``."""
        out = self.log_law(parameters, xp)
        if self.anchors is None:
            return out
        _, share = self.at_places(parameters, xp)
        missed = share * self.anchors.at_places(values, xp)
        return out + xp.take(missed, self.anchors.places.of_reading)

    def log_likelihood(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log likelihood, one term per configuration, ``(..., config)``."""
        residual = self.table.response - self.log_mean(values, self.parameters(values, xp), xp)
        return log_likelihood(
            residual, self.noise, self.table.groups, self.table.log_scale, self.others(values), xp
        )

    def pointwise(self, values: Mapping[str, Any]) -> np.ndarray:
        """Log likelihood of each configuration given everything drawn, ``(sample, config)``."""
        n = len(next(iter(values.values())))
        step = n if self.anchors is None else max(1, int(4e6 / self.anchors.footprint))
        xp = arrays("numpy")
        parts = [
            self.log_likelihood({k: v[i : i + step] for k, v in values.items()}, xp)
            for i in range(0, n, step)
        ]
        return np.concatenate(parts)

    def observe_in_pymc(
        self, values: Mapping[str, Any], parameters: Mapping[str, Any], xp: Any
    ) -> None:
        """Log loss as an observed variable, or a potential where readings share errors."""
        import pymc as pm

        from bayescale.models.pymc import observe

        if self.anchors is not None:
            unit = pm.Normal("misfit_coordinate", 0.0, 1.0, shape=len(self.anchors))
            levels = pm.Deterministic("misfit_at", self.anchors.levels(values, unit, xp))
            values = {**values, "misfit_at": levels}
        observe(self, self.log_mean(values, parameters, xp), self.others(values), xp)


def share_above_floor(law: Law, loss: Any, parameters: Mapping[str, Any]) -> Any:
    """How much of a loss lies above the law's floor; all of it where the law has none."""
    floors = [name for name, p in law.parameters.items() if p.role == "floor"]
    if len(floors) != 1:
        return 1.0 + 0.0 * loss
    return 1.0 - parameters[floors[0]] / loss
