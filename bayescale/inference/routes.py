"""How a density is sampled: all coordinates together, or a large sweep in its two parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bayescale.inference import two_parts
from bayescale.inference.importance import K_HAT_LIMIT, Weighted, importance_draws
from bayescale.inference.mode import NUMERICAL_UP_TO, Mode, find_mode
from bayescale.inference.progress import progress_bar
from bayescale.inference.samplers import Chains, numpyro_nuts, pymc_chains
from bayescale.inference.with_misfit import WithMisfit, in_units, with_misfit
from bayescale.models.density import AbstractDensity
from bayescale.models.loss_density import Density
from bayescale.models.surface_density import SurfaceDensity

# Importance sampling in many dimensions costs an attempt and fails: k-hat was 1.5 at 8 families
# of 40 runs (54 coordinates) and 8 at 100 families of 50 (606).
FAST_UP_TO = 50

# On 15 cells, from Laplace's axes: 236 of 4,000 transitions diverged, 175 effective draws; from the
# moments of importance draws and with shorter steps 8 and 590, at the same cost. On 12 cells 123
# diverged at 0.95 (88 effective draws of the misfit), none at 0.99 (688), for a CPU second more.
CAREFUL = 0.99
# One or two panels of 18 runs leave bowls bent: at 0.9 one chain of four stood in a narrow arm for
# 800 of 2,000 transitions (R-hat 1.09, 29 effective draws); at 0.97 none did (1.001 and 3,541).
FEW_CELLS = 0.97
CHEAP_EFFORT = 6  # times the evaluations, for a law through a few dozen levels; a second in all
# Effective draws that a large sweep's bowls, and its law, are given at least; their quantiles then
# wander by 5 % of an sd. With 1,000 the sd of skewed shapes came out a tenth too small, with 2,000
# a twentieth.
ENOUGH_FAST, ENOUGH_NUTS = 700, 2000
ENOUGH_WITH_MISFIT = 1000  # effective draws of a law with its misfit
FEWEST_OF_LAW = 400  # effective draws below which a law through few levels goes on to NUTS


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


def through_misfit(density: Density, asked: Settings) -> tuple[Chains, dict[str, Any]]:
    """Draws of a law with its misfit: importance draws of both, or NUTS that starts from them."""
    found = with_misfit(density, asked.random_seed)
    many, size = asked.draws * asked.chains, found.integrated.size
    weighted: Weighted | None = None
    notes: dict[str, Any] = {}
    if size <= FAST_UP_TO:
        weighted = found.draws(many, asked.random_seed, enough=min(many, ENOUGH_WITH_MISFIT))
    if asked.method == "fast" and weighted is not None:
        notes = {"k_hat": weighted.k_hat, "importance_ess": weighted.ess}
        if weighted.k_hat <= K_HAT_LIMIT:
            u = weighted.u.reshape(asked.chains, asked.draws, -1)
            return Chains(u, {}, {}), notes | {"method": "fast"}
    if asked.method == "fast":
        notes["fell_back"] = _not_described(weighted.k_hat) if weighted else _too_many(size)
    sampled = _sample_levels(found, weighted, asked)
    return sampled, notes | {"method": "nuts", "sampler": asked.sampler}


def as_a_whole(
    density: AbstractDensity, asked: Settings, notes: dict[str, Any]
) -> tuple[Chains, dict[str, Any]]:
    """Draws of all coordinates together, by importance sampling or by NUTS.

    NUTS starts from the moments of importance draws where these are cheap: where the posterior is
    bent, the axes of its mode are not its own (interacting law, 245 runs: 7 effective draws from
    the mode, 705 from moments).
    """
    if isinstance(density, SurfaceDensity) and density.cells is None:
        asked = replace(asked, target_accept=max(asked.target_accept, FEW_CELLS))
    start = find_mode(
        density, random_seed=asked.random_seed, hold=two_parts.spreads(density)
    )  # the joint mode of a hierarchy is degenerate in its spreads: the sampler finds them
    if asked.method == "fast" and density.size > FAST_UP_TO:
        return _sample(density, start, asked), notes | {
            "method": "nuts", "sampler": asked.sampler,
            "fell_back": _too_many(density.size),
        }  # fmt: skip
    cheap = density.size * len(density.table.response) <= NUMERICAL_UP_TO
    if asked.method == "nuts" and not (cheap and density.size <= FAST_UP_TO):
        return _sample(density, start, asked), notes | {"method": "nuts", "sampler": asked.sampler}
    many = asked.draws * asked.chains
    weighted = importance_draws(density, start, many, random_seed=asked.random_seed)
    if asked.method == "fast":
        notes = notes | {"k_hat": weighted.k_hat, "importance_ess": weighted.ess}
        if weighted.k_hat <= K_HAT_LIMIT:
            u = weighted.u.reshape(asked.chains, asked.draws, -1)
            return Chains(u, {}, {}), notes | {"method": "fast"}
        notes["fell_back"] = _not_described(weighted.k_hat)
    sampled = _sample(density, weighted.start(start), asked)
    return sampled, notes | {"method": "nuts", "sampler": asked.sampler}


def in_two_parts(density: SurfaceDensity, asked: Settings) -> tuple[Chains | None, dict[str, Any]]:
    """Draws by `two_parts`; None where its first part does not hold, with the reason."""
    many = asked.draws * asked.chains
    enough = ENOUGH_FAST if asked.method == "fast" else ENOUGH_NUTS
    first = two_parts.first_part(density, many, asked.random_seed, enough=enough)
    bowls = first.weighted
    if not first.usable:
        return None, {
            "two_parts_failed": f"k-hat {bowls.k_hat:.2f} for the bowls, {bowls.ess:.0f} "
            "effective draws"
        }
    law = two_parts.second_part(density, first)
    start = find_mode(law, random_seed=asked.random_seed, hold=two_parts.spreads(law))
    notes: dict[str, Any] = {"method": asked.method, "parts": "bowls, then the law"}
    notes |= {"k_hat_bowls": bowls.k_hat, "ess_bowls": bowls.ess}
    notes |= {"dispersion": first.bowls.dispersion}
    weighted = importance_draws(
        law, start, many, random_seed=asked.random_seed, effort=CHEAP_EFFORT, enough=2 * ENOUGH_FAST
    )
    enough = min(FEWEST_OF_LAW, 0.5 * many)
    if asked.method == "fast" and weighted.k_hat <= K_HAT_LIMIT and weighted.ess >= enough:
        notes |= {"k_hat": weighted.k_hat, "importance_ess": weighted.ess}
        stats, u = {}, weighted.u.reshape(asked.chains, asked.draws, -1)
    else:
        if asked.method == "fast":
            notes["fell_back"] = (
                f"method='fast' gave k-hat {weighted.k_hat:.2f} (limit {K_HAT_LIMIT}) and "
                f"{weighted.ess:.0f} effective draws for the law, so the law was sampled by NUTS."
            )
        sampled = _sample(law, weighted.start(start), _careful(asked))
        assert sampled.u is not None
        stats, u = sampled.stats, sampled.u
        notes |= {"method": "nuts", "sampler": asked.sampler}
    u, misfit = two_parts.join(density, first, law, u, asked.random_seed)
    return Chains(u, {}, stats, {"misfit_at": (("cell",), misfit)}), notes


def _sample_levels(found: WithMisfit, weighted: Weighted | None, asked: Settings) -> Chains:
    """NUTS in the coordinates that suit the levels; the draws in those of the density."""
    density, start = found.start(weighted)
    chains = _sample(density, start, asked)
    return chains if chains.u is None else replace(chains, u=in_units(density, chains.u))


def _too_many(size: int) -> str:
    return (
        f"method='fast' serves up to {FAST_UP_TO} coordinates and this model has {size}, so it was "
        "sampled by NUTS."
    )


def _not_described(k_hat: float) -> str:
    return (
        f"method='fast' gave k-hat {k_hat:.2f} (limit {K_HAT_LIMIT}): the Laplace approximation "
        "does not describe this posterior, so it was sampled by NUTS."
    )


def _careful(asked: Settings) -> Settings:
    """Shorter steps for a law through few levels, which is bent and cheap."""
    return replace(asked, target_accept=max(asked.target_accept, CAREFUL))


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
