"""A large sweep sampled in two parts: the bowls of its cells, then the law through their bottoms.

`bayescale.models.levels` says why this is the same posterior. The bowls are nearly normal once what
each cell has of its own is integrated out and the laws of their optima are taken given the rest:
adaptive importance sampling from Laplace's approximation draws them (26 coordinates; 300 simulated
sweeps of 432 runs: median k-hat 0.36 to 0.41, three above 0.7; 2,702 runs: 0.5). Their k-hat
is the test of this part; where it fails the whole density is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayescale.inference.following import with_following_laws
from bayescale.inference.importance import K_HAT_LIMIT, Weighted, importance_draws
from bayescale.inference.scoring import find_bowls, spreads
from bayescale.models.arrays import arrays
from bayescale.models.bowls import Bowls
from bayescale.models.density import AbstractDensity
from bayescale.models.levels import (
    Bottoms,
    LawOfLevels,
    bottoms_of,
    joined,
    law_of_levels,
    parts_of,
)
from bayescale.models.surface_density import SurfaceDensity

__all__ = ["FirstPart", "first_part", "join", "second_part", "serves", "spreads"]

FEWEST_READINGS = 48
# Effective draws asked for where an evaluation is cheap, times readings, and the most of them. Five
# sweeps of 432 runs against 6,000 to 20,000: the narrowest of 26 90 % intervals is 0.84 to 0.92 as
# wide as there with 2,000 (4 to 6 CPU s), 0.75 to 0.88 with 700 (2 to 3).
CHEAP, MOST = 900_000, 2000
FEWEST_EFFECTIVE = 250.0  # or a tenth of the draws where that is less


@dataclass(frozen=True)
class FirstPart:
    """Draws of the bowls and what they say about the levels.

    Attributes
    ----------
    bowls : Bowls
    weighted : Weighted
    bottoms : Bottoms
    """

    bowls: Bowls
    weighted: Weighted
    bottoms: Bottoms

    @property
    def usable(self) -> bool:
        """Whether the weights are those of a proposal that covers its target."""
        enough = min(FEWEST_EFFECTIVE, 0.1 * len(self.weighted.u))
        return self.weighted.k_hat <= K_HAT_LIMIT and self.weighted.ess >= enough


def serves(density: AbstractDensity) -> bool:
    """Whether a density has the two parts, and enough runs for what cells own to be normal.

    Where cells scatter they have runs enough, and with fewer the heavy tail of the noise would make
    a level anything but normal.
    """
    if not isinstance(density, SurfaceDensity) or not density.scattered:
        return False
    return len(density.table.response) >= FEWEST_READINGS


def first_part(
    density: SurfaceDensity, n: int, random_seed: int, *, enough: int = 1000
) -> FirstPart:
    """``n`` draws of the bowls from all runs, of which ``enough`` are to be effective."""
    variables, _ = parts_of(density)
    bowls = Bowls(density.law, density.table, variables, density)
    bowls, mode = find_bowls(bowls, random_seed=random_seed)
    straight, mode = with_following_laws(bowls, mode)
    enough = max(enough, min(MOST, CHEAP // len(density.table.response)))
    weighted = importance_draws(straight, mode, n, random_seed=random_seed, enough=enough)
    rng = np.random.default_rng([random_seed, 3])
    points, index = np.unique(weighted.u, axis=0, return_inverse=True)  # many come several times
    (shapes, cells), index = straight.with_cells(points, rng), index.reshape(-1)
    weighted, cells = replace(weighted, u=shapes[index]), cells[index]
    return FirstPart(bowls, weighted, bottoms_of(weighted.u, cells, rng))


def second_part(density: SurfaceDensity, first: FirstPart) -> LawOfLevels:
    """The density of the law through the levels."""
    return law_of_levels(density, first.bottoms)


def join(
    density: SurfaceDensity,
    first: FirstPart,
    law: LawOfLevels,
    u_law: np.ndarray,
    random_seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the whole ``(chain, draw, coordinate)`` and its misfit ``(chain, draw, cell)``.

    From draws of the law, ``(chain, draw, coordinate)``, as many as the first part has.
    """
    flat = u_law.reshape(-1, u_law.shape[-1])
    rng = np.random.default_rng([random_seed, 2])
    xp = arrays("numpy")
    rest, misfit = joined(law, first.bottoms, law.values(flat, xp), rng)
    shape, offsets = rest[:, : first.bowls.size], rest[:, first.bowls.size :]
    found = {**first.bowls.split(shape), **law.split(flat)}
    assert law.straight == density.straight  # both have the law in the same coordinates
    found |= _units(density, first.bowls.values(shape, xp), offsets)
    u = np.concatenate([found[name] for name, _ in density.blocks], axis=-1)
    return u.reshape(*u_law.shape[:2], -1), misfit.reshape(*u_law.shape[:2], -1)


def _units(density: SurfaceDensity, values: dict, offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Standard normal coordinates of offsets of sizes, then of cells, from e-folds."""
    assert density.cells is not None
    shared = density.cells.n_sizes if density.sized else 0
    lengths = [n for n in (shared, len(density.cells)) for _ in density.scattered if n]
    parts = iter(np.split(offsets, np.cumsum(lengths)[:-1], axis=1))
    of_size = {short: next(parts) for short in density.scattered if shared}
    out = {}
    for short in density.scattered:
        own = next(parts)
        if shared:
            own = own - of_size[short][:, density.cells.size_of]
            out[f"{short}_offset_N"] = of_size[short] / values[f"{short}_scatter_N"]
        out[f"{short}_offset"] = own / values[f"{short}_scatter"]
    return out
