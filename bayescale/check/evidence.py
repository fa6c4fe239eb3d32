"""What the cards about a posterior look at, computed once: residuals, replicates, leave-one-out.

Plain NumPy over some of the draws. Nothing is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from scipy import special

from bayescale.check import thresholds as limit
from bayescale.inference.pointwise import config_names, pointwise, values_of
from bayescale.inference.tree import Fitted
from bayescale.models.arrays import arrays
from bayescale.models.noise import weights
from bayescale.models.replicate import replicate_noise
from bayescale.models.table import Table

EDGE = 1e-12  # scores are held inside seven standard deviations


@dataclass(frozen=True)
class Evidence:
    """A fit with what is asked of it, over `index` of its draws.

    Dims below: sample (of `index`), reading (in the order of ``fitted.density.table``), config.
    """

    fitted: Fitted
    random_seed: int

    @cached_property
    def index(self) -> np.ndarray:
        """Which draws are used, evenly spaced, (sample,)."""
        posterior = self.fitted.tree["posterior"].dataset
        total = posterior.sizes["chain"] * posterior.sizes["draw"]
        many = int(limit.CELLS / len(self.table.response))
        n = min(total, limit.DRAWS_MOST, max(limit.DRAWS_LEAST, many))
        return np.linspace(0, total - 1, n).round().astype(int)

    @property
    def table(self) -> Table:
        """The fitted readings as the density sees them."""
        return self.fitted.density.table

    @cached_property
    def columns(self) -> xr.Dataset:
        """The fitted readings with all their columns, in the order of `table`."""
        flat = self.fitted.model.readings(self.fitted.runs)
        return flat.isel(reading=self.table.rows)

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Draws as the density names them, (sample, family or 1) each."""
        return values_of(self.fitted, self.index)

    @cached_property
    def noise(self) -> dict[str, np.ndarray]:
        """Noise parameters, (sample, family) each."""
        ones = np.ones(len(self.table.families))
        names = [v.name for v in self.fitted.density.variables]
        return {k: self.values[k] * ones for k in names if k not in self.fitted.law.parameters}

    @cached_property
    def residual(self) -> np.ndarray:
        """Log of the response minus log of the mean curve, (sample, reading)."""
        xp, density = arrays("numpy"), self.fitted.density
        parameters = density.parameters(self.values, xp)
        return self.table.response - density.log_mean(self.values, parameters, xp)

    @cached_property
    def replicated(self) -> np.ndarray:
        """The same for tables drawn from the posterior, (sample, reading)."""
        noise, table = self.fitted.model.noise, self.table
        return replicate_noise(noise, table.groups, table.log_scale, self.noise, self.random_seed)

    @cached_property
    def sigma(self) -> np.ndarray:
        """Scale of the noise at each reading, (sample, reading)."""
        sigma = self.noise["sigma"][:, self.table.family]
        if self.table.log_scale is None:
            return sigma
        slope = self.noise["noise_slope"][:, self.table.family]
        return sigma * np.exp(slope * self.table.log_scale)

    def probability(self, residual: np.ndarray) -> np.ndarray:
        """Probability of a smaller residual at the same reading, (sample, reading)."""
        model, family = self.fitted.model.noise, self.table.family
        z = residual / self.sigma
        if model.tail == "student":
            p = special.stdtr(self.noise["nu"][:, family], z)
        else:
            p = special.ndtr(z)
        if not model.undertuned:
            return p
        share = self.noise["undertuned_share"][:, family]
        lift = (self.noise["undertuned_scale"] / self.noise["sigma"])[:, family]
        # normal plus half-normal is skew-normal, whose distribution function is Owen's
        x = z / np.sqrt(1.0 + lift**2)
        lifted = special.ndtr(x) - 2.0 * special.owens_t(x, lift)
        return (1.0 - share) * p + share * lifted

    @cached_property
    def scores(self) -> np.ndarray:
        """Residuals as standard normal scores under each draw, (sample, reading)."""
        return normal_score(self.probability(self.residual))

    @cached_property
    def replicated_scores(self) -> np.ndarray:
        """The same for the replicates, (sample, reading)."""
        return normal_score(self.probability(self.replicated))

    @cached_property
    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights of the draws without each configuration, their k-hat, and its elpd.

        Returns
        -------
        weights : ndarray, (config, sample)
        k_hat, elpd : ndarray, (config,)
        """
        from arviz_stats.base.array import array_stats

        terms = np.ascontiguousarray(pointwise(self.fitted, self.index).T)
        log_weight, k_hat = array_stats.psislw(terms)
        log_weight = np.asarray(log_weight) - np.asarray(log_weight).max(axis=1, keepdims=True)
        weight = np.exp(log_weight) / np.exp(log_weight).sum(axis=1, keepdims=True)
        most = terms.max(axis=1, keepdims=True)
        elpd = np.log(np.sum(weight * np.exp(terms - most), axis=1)) + most[:, 0]
        return weight, np.asarray(k_hat), elpd

    @cached_property
    def out_of_sample(self) -> np.ndarray:
        """Probability of a smaller reading, foretold without its configuration, (reading,)."""
        w, _, _ = self.leave_one_out
        config = self.table.groups.config[self.table.groups.run]
        return np.einsum("rs,sr->r", w[config], self.probability(self.residual))

    @cached_property
    def weight(self) -> np.ndarray:
        """What the noise leaves of each configuration's say, posterior mean, (config,)."""
        model, table = self.fitted.model.noise, self.table
        args = (model, table.groups, table.log_scale, self.noise, arrays("numpy"))
        return weights(self.residual, *args).mean(axis=0)

    @cached_property
    def configs(self) -> np.ndarray:
        """Names of the configurations, (config,)."""
        return config_names(self.fitted)

    @cached_property
    def scale(self) -> tuple[str, np.ndarray]:
        """What "larger" means for this law, and its value at each reading.

        Compute as 6NT or as given; the product of the inputs where the law has no compute.
        """
        inputs = self.table.inputs
        if "flops" in inputs:
            return "compute", inputs["flops"]
        if {"N", "T"} <= set(inputs):
            return "compute", 6.0 * inputs["N"] * inputs["T"]
        names = [k for k in inputs if k in ("N", "T")] or list(inputs)
        return " x ".join(names), np.prod([inputs[k] for k in names], axis=0)

    @cached_property
    def optimum(self) -> tuple[str, np.ndarray] | None:
        """The exponent of the best size against compute where the law has one, (sample, family).

        ``N* ~ C^a`` with ``a = beta / (alpha + beta)`` where one term falls with N alone and the
        other with T alone, under ``C ~ N T``.
        """
        law = self.fitted.law
        roles = {p.role: name for name, p in law.parameters.items()}
        ones = np.ones(len(self.table.families))
        if "optimum_exponent" in roles:
            return "the exponent of the best size", self.values[roles["optimum_exponent"]] * ones
        powers = [p.prefactor for p in law.parameters.values() if p.prefactor]
        of = {next(iter(p)): next(iter(p.values())) for p in powers if len(p) == 1}
        if set(of) == {"N", "T"} and len(powers) == 2 and "scale" not in roles:
            alpha, beta = self.values[of["N"]] * ones, self.values[of["T"]] * ones
            return "the exponent of the best size", beta / (alpha + beta)
        return None


def normal_score(p: np.ndarray) -> np.ndarray:
    """The standard normal quantile of a probability, kept finite."""
    return special.ndtri(np.clip(p, EDGE, 1.0 - EDGE))
