"""What families share: exponents through a population, coefficients not at all."""

from __future__ import annotations

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
