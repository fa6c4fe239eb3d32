"""Coordinates in which a posterior of a law with a floor and two terms is nearly straight.

Runs measure the loss at the pivot and its two slopes far better than floor, terms and exponents
apart, so in ``(ln E, ln A, ln B, ln alpha, ln beta)`` the posterior is a thin curved sheet. In ::

    t = ln(E + A + B)    ln(alpha A / L)    ln(beta B / L)    logit(E / L)    ln(alpha / beta)

(``L = E + A + B`` at the pivot) what is well measured is a coordinate of its own. The map between
the two has determinant one, so the density carries over as it is. Measured on 41 cells: trees of 17
steps instead of 52, and three times the effective draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescale.laws import Law
from bayescale.models.density import Variable

ROLES = ("floor", "size_term", "data_term")
# centre and spread of each coordinate, so that standard normal starts are sensible; the density
# does not depend on them
TOTAL, SLOPE, FLOOR, RATIO = (0.0, 0.3), (-3.0, 1.0), (0.3, 1.2), (0.0, 0.5)


def straight_names(law: Law, variables: tuple[Variable, ...]) -> tuple[str, ...] | None:
    """Floor, size term, data term and their exponents, where a law has just these; else None."""
    by_role = {role: [n for n, p in law.parameters.items() if p.role == role] for role in ROLES}
    exponents = [n for n, p in law.parameters.items() if p.role == "exponent"]
    if any(len(found) != 1 for found in by_role.values()) or len(exponents) != 2:
        return None
    names = (*(by_role[role][0] for role in ROLES), *exponents)
    used = {v.name: v for v in variables}
    plain = all(used[n].sharing == "one" and used[n].prior.scale == "log"
                and used[n].prior.low == 0 for n in names)  # fmt: skip
    return names if plain else None


def bent(
    v: Any, names: tuple[str, ...], blocks: list[str], variables: tuple[Variable, ...], xp: Any
) -> Any:
    """Coordinates of the priors from straight ones, ``(..., coordinate)`` both.

    Parameters
    ----------
    names : tuple of str
        From `straight_names`.
    blocks : list of str
        Name of every coordinate of ``v``.
    """
    prior = {x.name: x.prior for x in variables}
    floor, size, data, alpha, beta = (v[..., blocks.index(n)] for n in names)
    total = TOTAL[0] + TOTAL[1] * floor
    slope_n, slope_t = SLOPE[0] + SLOPE[1] * size, SLOPE[0] + SLOPE[1] * data
    share, ratio = FLOOR[0] + FLOOR[1] * alpha, RATIO[0] + RATIO[1] * beta
    log_floor, log_rest = -xp.logaddexp(0.0, -share), -xp.logaddexp(0.0, share)
    log_alpha = xp.logaddexp(slope_n, ratio + slope_t) - log_rest
    log_beta = log_alpha - ratio
    logs = (
        log_floor + total, slope_n - log_alpha + total, slope_t - log_beta + total, log_alpha,
        log_beta,
    )  # fmt: skip
    moved = {n: (x - prior[n].loc) / prior[n].sd for n, x in zip(names, logs, strict=True)}
    columns = [moved.get(n, v[..., i]) for i, n in enumerate(blocks)]
    return (xp if hasattr(xp, "stack") else np).stack(columns, axis=-1)
