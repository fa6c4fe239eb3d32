"""`fit`: the only door to samplers and fast approximations; returns the DataTree."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import xarray as xr

from bayescale.errors import ConvergenceWarning, SpecError
from bayescale.inference import two_parts
from bayescale.inference.importance import K_HAT_LIMIT, importance_draws
from bayescale.inference.mode import Mode, find_mode
from bayescale.inference.progress import progress_bar
from bayescale.inference.samplers import SAMPLERS, Chains, numpyro_nuts, pymc_chains
from bayescale.inference.tree import Fitted, build_tree, load_fit, opened
from bayescale.laws.law import remember
from bayescale.models.arrays import arrays
from bayescale.models.coordinates import sampled_values
from bayescale.models.density import AbstractDensity
from bayescale.models.surface_density import SurfaceDensity
from bayescale.models.table import fitted_readings
from bayescale.runs import as_runs, runs_hash

__all__ = ["Fitted", "fit", "load_fit", "opened"]

# The gate: what a fit must show before its numbers are used without a word. R-hat and ESS limits
# after Vehtari et al. 2021 (1903.08008).
R_HAT_WARN, R_HAT_FAIL = 1.01, 1.05
ESS_WARN, ESS_FAIL = 400.0, 100.0
DIVERGENCE_FAIL = 0.01

# Importance sampling in many dimensions costs an attempt and fails: k-hat was 1.5 at 8 families
# of 40 runs (54 coordinates) and 8 at 100 families of 50 (606).
FAST_UP_TO = 50

CHEAP_EFFORT = 6  # times the evaluations, for a law through a few dozen levels; seconds in all
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
        Acceptance rate that the step size is tuned to.

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
        chains_out, notes = _in_two_parts(density, settings)
    if chains_out is None:
        chains_out, notes = _as_a_whole(density, settings, notes)
    values = _named(density, chains_out)
    health = _gate(values, chains_out.stats, notes)
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
    latents = chains_out.latents
    if latents is None:
        rng = np.random.default_rng([random_seed, LATENTS])
        latents = density.completed(_as_density_has_them(density, values), rng)
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


@dataclass(frozen=True)
class Settings:
    """What `fit` was asked for."""

    method: str
    draws: int
    tune: int
    chains: int
    random_seed: int
    sampler: str
    target_accept: float
    progressbar: bool


def _as_a_whole(
    density: AbstractDensity, asked: Settings, notes: dict[str, Any]
) -> tuple[Chains, dict[str, Any]]:
    """Draws of all coordinates together, by importance sampling or by NUTS."""
    start = find_mode(
        density, random_seed=asked.random_seed, hold=two_parts.spreads(density)
    )  # the joint mode of a hierarchy is degenerate in its spreads: the sampler finds them
    if asked.method == "fast" and density.size > FAST_UP_TO:
        return _sample(density, start, asked), notes | {
            "method": "nuts", "sampler": asked.sampler,
            "fell_back": f"method='fast' serves up to {FAST_UP_TO} coordinates and this model has "
            f"{density.size}, so it was sampled by NUTS.",
        }  # fmt: skip
    if asked.method == "fast":
        many = asked.draws * asked.chains
        weighted = importance_draws(density, start, many, random_seed=asked.random_seed)
        notes = notes | {"k_hat": weighted.k_hat, "importance_ess": weighted.ess}
        if weighted.k_hat <= K_HAT_LIMIT:
            u = weighted.u.reshape(asked.chains, asked.draws, -1)
            return Chains(u, {}, {}), notes | {"method": "fast"}
        notes["fell_back"] = (
            f"method='fast' gave k-hat {weighted.k_hat:.2f} (limit {K_HAT_LIMIT}): the Laplace "
            "approximation does not describe this posterior, so it was sampled by NUTS."
        )
    return _sample(density, start, asked), notes | {"method": "nuts", "sampler": asked.sampler}


def _in_two_parts(density: SurfaceDensity, asked: Settings) -> tuple[Chains | None, dict[str, Any]]:
    """Draws by `two_parts`; None where its normal first part does not hold, with the reason."""
    bowls, normal, law = two_parts.first_part(density, asked.random_seed)
    start = find_mode(law, random_seed=asked.random_seed, hold=two_parts.spreads(law))
    notes: dict[str, Any] = {"method": asked.method, "parts": "bowls, then the law"}
    stats, u = {}, None
    if asked.method == "fast":
        many = asked.draws * asked.chains
        weighted = importance_draws(
            law, start, many, random_seed=asked.random_seed, effort=CHEAP_EFFORT
        )
        notes |= {"k_hat": weighted.k_hat, "importance_ess": weighted.ess}
        if weighted.k_hat <= K_HAT_LIMIT:
            u = weighted.u.reshape(asked.chains, asked.draws, -1)
        else:
            notes["fell_back"] = (
                f"method='fast' gave k-hat {weighted.k_hat:.2f} (limit {K_HAT_LIMIT}) for the law, "
                "so the law was sampled by NUTS."
            )
            notes["method"] = "nuts"
    if u is None:
        sampled = _sample(law, start, asked)
        assert sampled.u is not None
        u, stats = sampled.u, sampled.stats
        notes["sampler"] = asked.sampler
    joined = two_parts.join(density, bowls, normal, law, u, asked.random_seed)
    notes |= {"k_hat_bowls": joined.k_hat, "ess_bowls": joined.ess}
    if not joined.usable:
        return None, {
            "two_parts_failed": f"k-hat {joined.k_hat:.2f} for the bowls, {joined.ess:.0f} "
            "effective draws"
        }
    latents = {"misfit_at": (("cell",), joined.misfit)}
    return Chains(joined.u, {}, stats, latents), notes


def _sample(density: AbstractDensity, start: Mode, asked: Settings) -> Chains:
    kw: dict[str, Any] = {
        "draws": asked.draws, "tune": asked.tune, "chains": asked.chains,
        "random_seed": asked.random_seed, "target_accept": asked.target_accept,
    }  # fmt: skip
    if asked.sampler != "numpyro":
        return pymc_chains(density, asked.sampler, progressbar=asked.progressbar, **kw)
    total = (asked.draws + asked.tune) * asked.chains
    text = f"sampling {asked.chains} chains"
    with progress_bar(total, text, show=asked.progressbar) as progress:
        return numpyro_nuts(density, start.u, start.cholesky, progress=progress, **kw)


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
        scalar = x.shape[-1] == 1 or (name in shared and not several)
        out[name] = np.ascontiguousarray(x[..., 0] if scalar else x)
    return {name: out[name] for name in _order(density, out)}


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


def _gate(
    values: Mapping[str, np.ndarray], stats: Mapping[str, np.ndarray], notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Convergence figures, a status and a sentence for each reason."""
    out: dict[str, Any] = {"messages": []}
    worst = "ok"

    def judge(bad: bool, poor: bool, sentence: str) -> None:
        nonlocal worst
        if bad or poor:
            out["messages"].append(sentence)
            worst = "failed" if bad or worst == "failed" else "warning"

    if notes["method"] == "fast":
        ess = min(notes["importance_ess"], notes.get("ess_bowls", np.inf))
        judge(
            ess < ESS_FAIL,
            ess < ESS_WARN,
            f"Only {ess:.0f} effective draws; fit with method='nuts'.",
        )
        out |= {"status": worst, "ess_bulk": ess}
        return out
    r_hat, bulk, tail = _convergence(values)
    divergences = int(np.sum(stats["diverging"])) if "diverging" in stats else 0
    total = next(iter(values.values())).shape[0] * next(iter(values.values())).shape[1]
    more = "sample longer (draws=4000, tune=2000)"
    judge(
        not r_hat[1] <= R_HAT_FAIL, not r_hat[1] <= R_HAT_WARN,
        f"Chains disagree: R-hat {r_hat[1]:.3f} for {r_hat[0]} (limit {R_HAT_WARN}); {more}.",
    )  # fmt: skip
    judge(
        not bulk[1] >= ESS_FAIL, not min(bulk[1], tail[1]) >= ESS_WARN,
        f"Few effective draws: bulk {bulk[1]:.0f} for {bulk[0]}, tail {tail[1]:.0f} for {tail[0]} "
        f"(limit {ESS_WARN:.0f}); {more}.",
    )  # fmt: skip
    judge(
        divergences > DIVERGENCE_FAIL * total, divergences > 0,
        f"{divergences} of {total} transitions diverged; raise target_accept to 0.99.",
    )  # fmt: skip
    return out | {
        "status": worst, "r_hat": r_hat[1], "ess_bulk": bulk[1], "ess_tail": tail[1],
        "divergences": divergences,
    }  # fmt: skip


def _convergence(values: Mapping[str, np.ndarray]) -> tuple[tuple[str, float], ...]:
    """Worst R-hat, bulk ESS and tail ESS, each with the name of the quantity."""
    from arviz_stats.base.array import array_stats

    r_hat, bulk, tail = ("", -np.inf), ("", np.inf), ("", np.inf)
    for name, x in values.items():
        columns = x.reshape(*x.shape[:2], -1)
        for i in range(columns.shape[2]):
            r, b, t = _diagnostics(columns[..., i], array_stats)
            r_hat = max(r_hat, (name, r), key=lambda p: p[1])
            bulk = min(bulk, (name, b), key=lambda p: p[1])
            tail = min(tail, (name, t), key=lambda p: p[1])
    return r_hat, bulk, tail


def _diagnostics(x: np.ndarray, array_stats: Any) -> tuple[float, float, float]:
    """R-hat, bulk ESS and tail ESS of one quantity, ``(chain, draw)``.

    Chains that did not move, left the numbers, or are too short to tell get the worst values: a
    diagnostic that cannot be computed has not been passed.
    """
    if not np.isfinite(x).all() or np.ptp(x, axis=1).min() == 0:
        return np.inf, 0.0, 0.0
    r = array_stats.rhat(x, chain_axis=0, draw_axis=1) if len(x) > 1 else 1.0
    bulk = array_stats.ess(x, chain_axis=0, draw_axis=1, method="bulk")
    tail = array_stats.ess(x, chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95))
    if not np.isfinite([r, bulk, tail]).all():
        return np.inf, 0.0, 0.0
    return float(r), float(bulk), float(tail)
