"""`fit`: the only door to samplers and fast approximations; returns the DataTree."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import xarray as xr

from bayescale.errors import ConvergenceWarning, SpecError
from bayescale.inference import two_parts
from bayescale.inference.gate import gate
from bayescale.inference.routes import Settings, as_a_whole, in_two_parts, through_misfit
from bayescale.inference.samplers import SAMPLERS, Chains
from bayescale.inference.tree import Fitted, build_tree, load_fit, opened
from bayescale.laws.law import remember
from bayescale.models.arrays import arrays
from bayescale.models.coordinates import sampled_values
from bayescale.models.density import AbstractDensity
from bayescale.models.loss_density import Density
from bayescale.models.table import fitted_readings
from bayescale.runs import as_runs, runs_hash

__all__ = ["Fitted", "fit", "load_fit", "opened"]

LATENTS = 1  # stream of random numbers for what the likelihood integrates out


def fit(
    model: Any,
    runs: xr.Dataset | Any,
    *,
    method: Literal["nuts", "fast"] = "nuts",
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    random_seed: int = 0,
    progressbar: bool = True,
    sampler: str = "numpyro",
    target_accept: float = 0.9,
) -> xr.DataTree:
    """The posterior of a model given a table of runs.

    Parameters
    ----------
    model : LossModel, HyperparameterModel or CriticalBatchModel
        What to fit; ``print(model)`` shows formula, priors and pooling.
    runs : xarray.Dataset
        From `bayescale.as_runs` or `bayescale.read_runs`.
    method : {"nuts", "fast"}, default "nuts"
        ``"nuts"`` samples; ``"fast"`` corrects a Laplace approximation by importance weights and
        falls back to NUTS by itself where their k-hat exceeds 0.7.
    draws, tune, chains : int, default 1000, 1000, 4
        Kept draws and warm-up draws per chain, and chains.
    random_seed : int, default 0
        Same seed, same numbers.
    progressbar : bool, default True
        Show progress on stderr when that is a terminal.
    sampler : {"numpyro", "pymc", "nutpie"}, default "numpyro"
        The default won on every table measured here (`benchmarks/samplers.py`); it uses a GPU
        where JAX finds one.
    target_accept : float, default 0.9
        Acceptance rate that the step size is tuned to, at least: 0.97 for sweeps of few cells and
        0.99 for a law through few levels, whose posteriors are bent.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` (dims chain, draw, and family where parameters differ between
        families), ``sample_stats``, ``observed_data``, ``runs``. ``fit.attrs["status"]`` is
        ``"ok"``, ``"warning"`` or ``"failed"``; details in `bayescale.check`.

    Raises
    ------
    DataError, SpecError
        Before any long work: a column that the law needs is missing, one size only, and so on.

    Examples
    --------
    >>> import bayescale as bs
    >>> runs = bs.datasets.load("chinchilla")
    >>> posterior = bs.fit(bs.LossModel("additive"), runs, method="fast")
    >>> posterior.attrs["status"]
    'ok'
    """
    _check_arguments(model, method, draws, tune, chains, sampler)
    if not isinstance(runs, xr.Dataset):
        runs = as_runs(runs)
    if model.named_law is not None:
        remember(model.named_law)
    density = model.density(runs)
    settings = Settings(
        method, draws, tune, chains, random_seed, sampler, target_accept, progressbar
    )
    chains_out, notes = None, {}
    if two_parts.serves(density) and sampler == "numpyro":
        chains_out, notes = in_two_parts(density, settings)
    if isinstance(density, Density) and density.anchors is not None:
        chains_out, notes = through_misfit(density, settings)
    if chains_out is None:
        chains_out, notes = as_a_whole(density, settings, notes)
    values = _named(density, chains_out)
    health = gate(values, chains_out.stats, notes)
    if health["status"] == "failed":
        warnings.warn(
            "The fit failed its convergence gate: " + " ".join(health["messages"]),
            ConvergenceWarning,
            stacklevel=2,
        )
    record = {
        **notes,
        **health,
        "draws": draws, "tune": tune, "chains": chains, "random_seed": random_seed,
        "runs_hash": runs_hash(runs),
        "readings": fitted_readings(runs, model.fitted_law).sizes["reading"],
        "readings_after_averaging": len(density.table.response),
        "versions": {p: version(p) for p in ("bayescale", "numpyro", "jax", "pymc", "xarray")},
        "priors_used": {v.name: str(v.prior) for v in density.variables},
    }  # fmt: skip
    own = _of_places(density, chains_out)
    latents = chains_out.latents
    if latents is None:
        rng = np.random.default_rng([random_seed, LATENTS])
        latents = density.completed(_as_density_has_them(density, {**values, **own}), rng)
    latents = {**latents, **{name: ((density.of_places[name][0],), x) for name, x in own.items()}}
    return build_tree(density, model, runs, values, chains_out.stats, record, latents)


def _check_arguments(
    model: Any, method: str, draws: int, tune: int, chains: int, sampler: str
) -> None:
    if not hasattr(model, "density"):
        raise SpecError(
            "The first argument is a model, for example bs.LossModel('additive'); got "
            f"{type(model).__name__}."
        )
    if method not in ("nuts", "fast"):
        raise SpecError(f"`method` is 'nuts' or 'fast'; got {method!r}.")
    if sampler not in SAMPLERS:
        raise SpecError(f"`sampler` is one of {', '.join(SAMPLERS)}; got {sampler!r}.")
    for name, value in (("draws", draws), ("tune", tune), ("chains", chains)):
        if int(value) != value or value < 1:
            raise SpecError(f"`{name}` is a positive whole number; got {value!r}.")


def _named(density: AbstractDensity, chains: Chains) -> dict[str, np.ndarray]:
    """Draws by name: the law's natural parameters, noise, population and spread."""
    several = density.n_families > 1
    if chains.u is None:
        names = {
            n
            for v in density.variables
            for n in (v.name, f"{v.name}_population", f"{v.name}_spread")
        }
        return {k: v for k, v in chains.named.items() if k in names | set(density.law.parameters)}
    xp = arrays("numpy")
    values = density.values(chains.u, xp)
    natural = density.parameters(values, xp)
    shared = {v.name for v in density.variables if v.sharing == "one"}
    out = {}
    for name, x in {**values, **natural}.items():
        if name in density.of_places:
            continue
        scalar = x.shape[-1] == 1 or (name in shared and not several)
        out[name] = np.ascontiguousarray(x[..., 0] if scalar else x)
    return {name: out[name] for name in _order(density, out)}


def _of_places(density: AbstractDensity, chains: Chains) -> dict[str, np.ndarray]:
    """Draws of what belongs to places, ``(chain, draw, place)``."""
    if chains.u is None:
        return {name: chains.named[name] for name in density.of_places}
    values = density.values(chains.u, arrays("numpy")) if density.of_places else {}
    return {name: values[name] for name in density.of_places}


def _as_density_has_them(
    density: AbstractDensity, values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Draws by name as `AbstractDensity.values` gives them, ``(chain, draw, family or 1)``."""
    out = {name: x if x.ndim == 3 else x[..., None] for name, x in values.items()}
    natural = {name: out[name] for name in density.law.parameters}
    return out | sampled_values(density.law, natural, density.table.pivot, density.table.typical)


def _order(density: AbstractDensity, out: Mapping[str, Any]) -> list[str]:
    first = [n for n in density.law.parameters if n in out]
    return first + [n for n in out if n not in first]
