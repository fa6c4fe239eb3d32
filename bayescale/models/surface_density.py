"""The log density of a loss surface with hyperparameters: robust, priced, with levels of cells.

Residuals of log loss are Student-t about the surface with scale ::

    sd^2 = sigma^2 + (price_noise * price)^2

so badly tuned runs, which repeat less well and which the bowl describes less well, say less about
the law. The levels of the cells (`bayescale.models.misfit`) and, where runs diverged, the cliff
(`bayescale.models.divergence`) are part of it. Where a table lacks the runs above some loss, each
run counts given that it lies below: the truncation it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.laws import Law
from bayescale.laws.surface import Surface
from bayescale.models.arrays import arrays
from bayescale.models.density import standard_normal
from bayescale.models.divergence import Tried, log_odds, log_probability
from bayescale.models.misfit import (
    Cells,
    Student,
    covariance,
    draw_levels,
    log_marginal,
    student_constant,
    student_log_density,
)  # fmt: skip
from bayescale.models.straight import StraightDensity


@dataclass(frozen=True)
class SurfaceDensity(StraightDensity):
    """Log density of a `HyperparameterModel` on a table.

    Attributes
    ----------
    surface : Surface
        Its `law` at the pivots is ``law``.
    cells : Cells or None
        None where cells have no level of their own.
    tried : Tried or None
        Runs that did and did not diverge.
    truncated_at : float or None
        The loss above which the table has no runs.
    scattered : tuple of str
        Hyperparameters whose best value in each cell has an offset of its own, as they are named
        in parameters (``"batch"``, ``"rate"``).
    """

    surface: Surface
    cells: Cells | None
    tried: Tried | None
    truncated_at: float | None
    scattered: tuple[str, ...] = ()

    @property
    def sized(self) -> bool:
        """Whether cells of one size share a part of their offset: one size is one architecture."""
        return any(v.name.endswith("_scatter_N") for v in self.variables)

    @property
    def of_places(self) -> dict[str, tuple[str, int]]:
        """How far the best of each cell, and of each size, lies off its law: their dimension."""
        if self.cells is None:
            return {}
        out = {f"{short}_offset": ("cell", len(self.cells)) for short in self.scattered}
        if self.sized:
            n = self.cells.n_sizes
            out |= {f"{short}_offset_N": ("size", n) for short in self.scattered}
        return out

    @property
    def blocks(self) -> tuple[tuple[str, int], ...]:
        """Names and lengths of the parts of the flat vector, offsets last."""
        return (*super().blocks, *((name, n) for name, (_, n) in self.of_places.items()))

    @property
    def loss_law(self) -> Law | None:
        """The law of the loss under the best hyperparameters."""
        return self.surface.loss_law

    def values(self, u: Any, xp: Any) -> dict[str, Any]:
        """Every named quantity on its natural scale, offsets of places included."""
        out = super().values(u, xp)
        return out | self.offsets(out, self.split(u), xp)

    def offsets(self, values: Mapping[str, Any], unit: Mapping[str, Any], xp: Any) -> dict:
        """Offsets of cells and sizes, in e-folds, from standard normal coordinates by name."""
        out = {}
        for short in self.scattered:
            offset = values[f"{short}_scatter"] * unit[f"{short}_offset"]
            if self.sized:
                assert self.cells is not None
                of_size = values[f"{short}_scatter_N"] * unit[f"{short}_offset_N"]
                out[f"{short}_offset_N"] = of_size
                offset = offset + xp.take(of_size, self.cells.size_of)
            out[f"{short}_offset"] = offset
        return out

    def log_prior(self, u: Any, xp: Any) -> Any:
        """Log density of the prior at sampled coordinates, offsets of places included."""
        block = self.split(u)
        offsets = sum((standard_normal(block[name]) for name in self.of_places), 0.0)
        return super().log_prior(u, xp) + offsets

    def parts(self, values: Mapping[str, Any], xp: Any) -> tuple[Any, Any]:
        """Log of the surface and its price at every reading, ``(..., reading)`` each."""
        named = self._by_reading(self.parameters(values, xp), self.table.family, xp)
        at: dict[str, Any] = {**self.table.inputs, **named, **self._scales}
        if self.cells is not None:
            offsets = {f"{short}_offset" for short in self.scattered}
            at |= {name: xp.take(values[name], self.cells.of_reading) for name in offsets}
        log_tuned, prices = self.surface.parts(at, xp)
        price = sum(prices.values())
        return log_tuned + price, price

    def noise(self, price: Any, values: Mapping[str, Any], xp: Any) -> Student:
        """The noise of runs that pay a price, ``(..., reading)``."""
        own = {k: values[k] * np.ones(self.n_families) for k in ("sigma", "price_noise", "nu")}
        own["constant"] = student_constant(own["nu"], xp)
        own = self._by_reading(own, self.table.family, xp)
        sigma, extra = own["sigma"], own["price_noise"] * price
        return Student(xp.sqrt(sigma * sigma + extra * extra), own["nu"], own["constant"])

    def log_likelihood(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log likelihood in one term, ``(..., 1)``; levels are integrated out."""
        log_law, price = self.parts(values, xp)
        residual = self.table.response - log_law
        noise = self.noise(price, values, xp)
        if self.cells is None:
            total = student_log_density(residual, noise, xp).sum(axis=-1)
        else:
            total = log_marginal(residual, noise, values, self.cells, xp)
        if self.truncated_at is not None:
            total = total - self.log_seen(log_law, noise, xp).sum(axis=-1)
        if self.tried is not None:
            total = total + self.log_ends(values, self.parameters(values, xp), xp).sum(axis=-1)
        return total[..., None]

    def pointwise(self, values: Mapping[str, Any]) -> np.ndarray:
        """Log likelihood of each run given the drawn levels, ``(sample, run)``."""
        xp = arrays("numpy")
        log_law, price = self.parts(values, xp)
        noise = self.noise(price, values, xp)
        if self.cells is not None:
            log_law = log_law + values["misfit_at"][..., self.cells.of_reading]
        out = student_log_density(self.table.response - log_law, noise, xp)
        if self.truncated_at is not None:
            out = out - self.log_seen(log_law, noise, xp)
        return out

    def completed(
        self, values: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Levels of the cells, one set a draw: ``misfit_at`` (cell)."""
        if self.cells is None:
            return {}
        shape = next(iter(values.values())).shape[:2]
        flat = {k: v.reshape(-1, v.shape[-1]) for k, v in values.items()}
        xp, n = arrays("numpy"), shape[0] * shape[1]
        step = max(1, int(2e6 / len(self.table.response)))
        drawn = []
        for i in range(0, n, step):
            part = {k: v[i : i + step] for k, v in flat.items()}
            log_law, price = self.parts(part, xp)
            noise = self.noise(price, part, xp)
            residual = self.table.response - log_law
            drawn.append(draw_levels(residual, noise, part, self.cells, xp, rng))
        return {"misfit_at": (("cell",), np.concatenate(drawn).reshape(*shape, len(self.cells)))}

    def observe_in_pymc(
        self, values: Mapping[str, Any], parameters: Mapping[str, Any], xp: Any
    ) -> None:
        """The same likelihood with the levels of the cells sampled: a second route."""
        import pymc as pm
        import pytensor.tensor as pt
        from pytensor.tensor.linalg import cholesky

        unit = {
            name: pm.Normal(f"{name}_coordinate", 0.0, 1.0, shape=n)
            for name, (_, n) in self.of_places.items()
        }
        offsets = self.offsets(values, unit, xp)
        values = {**values, **{n: pm.Deterministic(n, x) for n, x in offsets.items()}}
        log_law, price = self.parts(values, xp)
        noise = self.noise(price, values, xp)
        if self.cells is not None:
            whitened = pm.Normal("level_offset", 0.0, 1.0, shape=len(self.cells))
            root = cholesky(covariance(self.cells, values, xp))
            misfit: Any = pm.Deterministic("misfit_at", pt.dot(root, whitened))
            log_law = log_law + misfit[self.cells.of_reading]
        pm.StudentT(
            "log_loss", nu=noise.nu, mu=log_law, sigma=noise.scale,
            observed=self.table.response, dims="reading",
        )  # fmt: skip
        if self.truncated_at is not None:
            pm.Potential("truncation", -self.log_seen(log_law, noise, xp).sum())
        if self.tried is not None:
            pm.Potential("ends", self.log_ends(values, parameters, xp).sum())

    @property
    def _scales(self) -> dict[str, float]:
        return {f"{name}0": scale for name, scale in self.law.scales.items()}

    def _by_reading(self, values: Mapping[str, Any], family: np.ndarray, xp: Any) -> dict[str, Any]:
        if self.n_families == 1:
            return dict(values)
        return {k: xp.take(v, family) for k, v in values.items()}

    def log_ends(self, values: Mapping[str, Any], parameters: Mapping[str, Any], xp: Any) -> Any:
        """Log probability that each run diverged or came through, ``(..., run)``.

        From the law's best rate: a cliff is wider than cells' own optima scatter.
        """
        assert self.tried is not None
        tried = self.tried
        named = self._by_reading(parameters, tried.family, xp)
        cliff = {k: v * np.ones(self.n_families) for k, v in values.items() if "cliff" in k}
        own = self._by_reading(cliff, tried.family, xp)
        at = {**tried.inputs, **named, **self._scales}
        misses = self.surface.misses(at, xp)
        odds = log_odds(self.surface, misses, tried.inputs, own, tried.centre, xp)
        return log_probability(odds, tried.diverged, xp)

    def log_seen(self, log_law: Any, noise: Student, xp: Any) -> Any:
        """Log probability that a run lies below the limit of the table, ``(..., reading)``."""
        assert self.truncated_at is not None
        z = (math.log(self.truncated_at) - log_law) / noise.scale
        return xp.log_ndtr(normal_deviate(z, noise.nu, xp))


def normal_deviate(z: Any, nu: Any, xp: Any) -> Any:
    """The normal deviate with nearly the same tail probability as a Student-t deviate ``z``.

    Wallace's approximation, smooth at zero; its probabilities are right to 0.005 for ``nu >= 2``.

    References
    ----------
    Wallace 1959, Ann. Math. Stat. 30: 1124.
    """
    square = z * z / nu
    safe = xp.where(square > 1e-8, square, 1.0)  # no gradient passes through 0/0
    ratio = xp.where(square > 1e-8, xp.log1p(safe) / safe, 1.0 - square / 2)
    return (8.0 * nu + 1.0) / (8.0 * nu + 3.0) * z * xp.sqrt(ratio)
