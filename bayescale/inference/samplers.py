"""Markov chains: NumPyro on the whitened density by default, PyMC and nutpie on the PyMC model.

`benchmarks/samplers.py` measures them side by side. On 245 runs the geometry decides more than the
engine: after rotation and scaling by the Laplace covariance the posterior is nearly a unit normal,
a tree of seven leapfrog steps crosses it, and the compiled chain costs less than its compilation.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.errors import SpecError
from bayescale.models.arrays import arrays
from bayescale.models.density import AbstractDensity

CHUNK = 50  # transitions between two looks at the progress bar
# A dense metric straightens what the rotation left bent: twice the effective draws on laws that are
# weakly identified (interacting, broken); with many families it costs more than it gives.
DENSE_UP_TO = 30
SAMPLERS = ("numpyro", "pymc", "nutpie")


@dataclass(frozen=True)
class Chains:
    """Draws in the coordinates of the density, or already as named values.

    Attributes
    ----------
    u : ndarray or None, (chain, draw, coordinate)
    named : dict of ndarray, (chain, draw, ...)
        From samplers that work on the PyMC model.
    stats : dict of ndarray, (chain, draw)
    latents : dict or None
        What the likelihood integrates out, where it has been drawn already: name to dims after
        chain and draw, and draws.
    """

    u: np.ndarray | None
    named: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    latents: dict[str, tuple[tuple[str, ...], np.ndarray]] | None = None


def numpyro_nuts(
    density: AbstractDensity,
    centre: np.ndarray,
    cholesky: np.ndarray,
    *,
    draws: int,
    tune: int,
    chains: int,
    random_seed: int,
    target_accept: float,
    progress: Callable[[int], Any],
    together: bool | None = None,
) -> Chains:
    """NUTS on ``u = centre + cholesky z``.

    ``together`` advances all chains in one vectorised program, which pays on a GPU and there is
    the default; on a CPU every chain would wait for the longest tree of the four.
    """
    import jax
    import jax.numpy as jnp
    from numpyro.infer import NUTS

    xp = arrays("jax")
    with jax.enable_x64(True):
        shift, turn = jnp.asarray(centre), jnp.asarray(cholesky)
        kernel = NUTS(
            potential_fn=lambda z: -density.log_density(shift + turn @ z, xp),
            target_accept_prob=target_accept,
            dense_mass=len(centre) <= DENSE_UP_TO,
        )
        starts = np.random.default_rng(random_seed).standard_normal((chains, len(centre))) * 0.5
        keys = jax.random.split(jax.random.PRNGKey(random_seed), chains)

        def step(state: Any, _: None) -> tuple[Any, tuple]:
            state = kernel.sample(state, (), {})
            return state, (
                state.z,
                state.diverging,
                state.num_steps,
                state.accept_prob,
                state.potential_energy,
                state.energy,
                state.adapt_state.step_size,
            )

        def init(key: Any, z: Any) -> Any:
            return kernel.init(key, tune, z, (), {})

        def advance(state: Any) -> tuple[Any, tuple]:
            return jax.lax.scan(step, state, None, length=CHUNK)

        together = jax.default_backend() != "cpu" if together is None else together
        if together:
            states = [jax.vmap(init)(keys, jnp.asarray(starts))]
            advance = jax.vmap(advance)
        else:
            states = [init(k, jnp.asarray(z)) for k, z in zip(keys, starts, strict=True)]
        advance = jax.jit(advance)
        columns: list[list[tuple]] = []
        for state in states:
            pieces = []
            for _ in range(-(-(tune + draws) // CHUNK)):
                state, piece = advance(state)
                pieces.append(jax.tree.map(np.asarray, piece))
                progress(CHUNK * (chains if together else 1))
            columns.append(pieces)
    axis = 1 if together else 0
    joined = [
        np.concatenate(
            [np.concatenate([p[i] for p in pieces], axis=axis)[None] for pieces in columns]
        )
        for i in range(7)
    ]
    if together:
        joined = [x[0] for x in joined]
    z, diverging, n_steps, accept, potential, energy, size = (
        x[:, tune : tune + draws] for x in joined
    )
    return Chains(
        centre + z @ cholesky.T,
        {},
        {
            "diverging": diverging.astype(bool),
            "n_steps": n_steps.astype(int),
            "acceptance_rate": accept,
            "lp": -potential,
            "energy": energy,
            "step_size": size,
        },
    )


def pymc_chains(
    density: AbstractDensity,
    sampler: str,
    *,
    draws: int,
    tune: int,
    chains: int,
    random_seed: int,
    target_accept: float,
    progressbar: bool,
) -> Chains:
    """The PyMC model, sampled by PyMC's NUTS or by nutpie."""
    import pymc as pm

    from bayescale.models.pymc import to_pymc

    if sampler == "nutpie":
        _need_nutpie()
    with to_pymc(density):
        tree = pm.sample(
            draws=draws,
            tune=tune,
            chains=chains,
            # forking a process that has JAX in it can hang; nutpie's chains are threads
            cores=1 if sampler == "pymc" else min(chains, os.cpu_count() or 1),
            random_seed=random_seed,
            target_accept=target_accept,
            progressbar=progressbar,
            nuts_sampler=sampler,  # type: ignore[arg-type]
            compute_convergence_checks=False,
        )
    posterior = tree["posterior"].dataset
    named = {str(name): posterior[name].values for name in posterior.data_vars}
    stats = tree["sample_stats"].dataset
    kept = {n: stats[n].values for n in ("diverging", "lp", "energy", "n_steps") if n in stats}
    return Chains(None, named, kept)


def _need_nutpie() -> None:
    try:
        import nutpie  # noqa: F401
    except ImportError as error:
        raise SpecError(
            "sampler='nutpie' needs the package nutpie: pip install 'bayescale[nutpie]'. The "
            "default, sampler='numpyro', needs nothing more."
        ) from error
