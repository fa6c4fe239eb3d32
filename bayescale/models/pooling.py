"""What families share: exponents through a population, coefficients not at all."""

from __future__ import annotations

import numpy as np

POOLED_ROLES = ("exponent", "optimum_exponent", "shape")


def pooling_text(family: str | None) -> str:
    """How families are treated, as a phrase."""
    if family is None:
        return "one law for all rows"
    if family == "separate":
        return "a law for each family, nothing shared"
    return (
        "floor and coefficients free in each family; exponents from a common population whose "
        "spread is learnt; noise scale partly pooled"
    )


def centring_weights(
    sd_of_data: np.ndarray, spread: float, *, floor: float = 0.0, ceiling: float = 1.0
) -> np.ndarray:
    """How far each family's coordinate is centred, ``(family,)``, between 0 and 1.

    ``1 - pooling factor``: near 1 where the family's own data know the value better than the
    population does, near 0 where they do not. Centred coordinates sample well in the first case,
    non-centred ones in the second (Papaspiliopoulos, Roberts and Skold 2007).

    Parameters
    ----------
    sd_of_data : ndarray, (family,)
        Standard deviation of the coordinate given the family's data alone.
    spread : float
        Standard deviation of the population.
    """
    weight = spread**2 / (spread**2 + np.asarray(sd_of_data) ** 2)
    return np.clip(weight, floor, ceiling)
