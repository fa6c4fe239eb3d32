"""The PyMC face of a model: the same priors and likelihood, in the words of PyMC.

Priors are PyMC's own distributions, so this is a second route to the log density as well as a
model to open: `tests/models/test_density.py` holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescale.models.arrays import arrays
from bayescale.models.density import AbstractDensity, Variable
from bayescale.models.distributions import Prior
from bayescale.models.loss_density import Density
from bayescale.models.noise import log_likelihood

if TYPE_CHECKING:
    import pymc as pm


def to_pymc(density: AbstractDensity) -> pm.Model:
    """A `pymc.Model` with the law's parameters as deterministics and the data as observed.

    Variables are named as in a fit's posterior; a law parameter that is sampled in other units
    (a coefficient judged at the pivot) has a free variable ``<name>_at_pivot``. Independent
    Student-t or normal noise is an observed variable ``log_loss``, so that
    `pymc.sample_posterior_predictive` works; correlated or one-sided noise is a potential.
    """
    import pymc as pm
    import pytensor.tensor as pt

    xp = arrays("pytensor")
    table = density.table
    coords = {"family": list(table.families), "reading": np.arange(len(table.response))}
    with pm.Model(coords=coords) as model:
        values = {v.name: _variable(v, density) for v in density.variables}
        values = {name: pt.atleast_1d(x) for name, x in values.items()}
        parameters = density.parameters(values, xp)
        for name, x in parameters.items():
            if name not in model.named_vars:
                shared = len(table.families) == 1
                pm.Deterministic(name, x[0] if shared else x, dims=None if shared else "family")
        density.observe_in_pymc(values, parameters, xp)
    return model


def observe(density: Density, log_law: Any, noise: Mapping[str, Any], xp: Any) -> None:
    """The likelihood of a loss model: an observed variable where readings are independent."""
    import pymc as pm
    import pytensor.tensor as pt

    table = density.table
    if not _independent(density):
        residual = table.response - log_law
        terms = log_likelihood(residual, density.noise, table.groups, table.log_scale, noise, xp)
        pm.Potential("log_likelihood", terms.sum())
        return
    sigma = noise["sigma"][table.family]
    if table.log_scale is not None:
        sigma = sigma * pt.exp(noise["noise_slope"][table.family] * table.log_scale)
    about = {"mu": log_law, "sigma": sigma, "observed": table.response, "dims": "reading"}
    if density.noise.tail == "student":
        pm.StudentT("log_loss", nu=noise["nu"][table.family], **about)
    else:
        pm.Normal("log_loss", **about)


def _independent(density: Density) -> bool:
    return density.table.groups.independent and not density.noise.undertuned


def _variable(v: Variable, density: AbstractDensity) -> Any:
    import pymc as pm

    in_other_units = _has_unit(v, density)
    name = f"{v.name}_at_pivot" if in_other_units else v.name
    if v.sharing == "one":
        return _prior(name, v.prior)
    if v.sharing == "free":
        return _prior(name, v.prior, dims="family")
    xp = arrays("pytensor")
    centre = pm.Normal(f"{v.name}_population_coordinate", v.prior.loc, v.prior.sd)
    pm.Deterministic(f"{v.name}_population", v.prior.value(centre, xp))
    if isinstance(v.spread, Prior):
        spread = _prior(f"{v.name}_spread", v.spread)
    else:
        spread = float(v.spread)  # type: ignore[arg-type]
    offset = pm.Normal(f"{v.name}_offset", 0.0, 1.0, dims="family")
    return pm.Deterministic(v.name, v.prior.value(centre + spread * offset, xp), dims="family")


def _has_unit(v: Variable, density: AbstractDensity) -> bool:
    from bayescale.models.coordinates import LOSS_ROLES

    parameter = density.law.parameters.get(v.name)
    return parameter is not None and bool(
        parameter.role in LOSS_ROLES or parameter.of or parameter.prefactor
    )


def _prior(name: str, prior: Prior, dims: str | None = None) -> Any:
    import pymc as pm

    if prior.scale == "real":
        return pm.Normal(name, mu=prior.loc, sigma=prior.sd, dims=dims)  # type: ignore[arg-type]
    if prior.scale == "log":
        if prior.low == 0:
            return pm.LogNormal(name, prior.loc, prior.sd, dims=dims)
        above = pm.LogNormal(f"{name}_above_{prior.low:g}", prior.loc, prior.sd, dims=dims)
        return pm.Deterministic(name, prior.low + above, dims=dims)
    # PyMC leaves a LogitNormal on (0, 1) unless told to sample its log odds
    unit = (prior.low, prior.high) == (0.0, 1.0)
    share: Any = pm.LogitNormal(
        name if unit else f"{name}_unit",
        mu=prior.loc,  # type: ignore[arg-type]
        sigma=prior.sd,
        dims=dims,
        default_transform=pm.distributions.transforms.logodds,
    )
    if unit:
        return share
    return pm.Deterministic(name, share * (prior.high - prior.low) + prior.low, dims=dims)
