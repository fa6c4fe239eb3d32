"""From what the priors speak about to what the literature prints.

A prefactor ``A`` of ``A N^-alpha`` is meaningless on its own: it is the loss of a model with one
parameter. Its value spans ten decades and is tied to ``alpha``. So the sampled coordinate is what
the term adds at the pivot, in multiples of the typical loss, and ``A`` follows from it. Laws state
which of their parameters are such prefactors (`Parameter.prefactor`) and which are measured in
units of an input (`Parameter.of`); nothing here knows a law by name.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from bayescale.laws import Law

LOSS_ROLES = ("floor", "size_term", "data_term", "compute_term")


def natural_parameters(
    law: Law,
    values: Mapping[str, Any],
    pivot: Mapping[str, np.ndarray],
    typical: np.ndarray,
    xp: Any,
    *,
    without: Container[str] = (),
) -> dict[str, Any]:
    """Natural parameters of the law, each ``(..., family)``.

    Parameters
    ----------
    values : mapping
        Sampled values by parameter name, ``(..., family)`` or ``(..., 1)``.
    pivot : mapping of ndarray, (family,)
        Geometric mean of each input.
    typical : ndarray, (family,)
        Median loss.
    without : container of str, default ()
        Parameters that are not asked for and need no value.
    """
    return {
        name: values[name] * np.ones_like(typical)
        if (log_unit := _log_unit(law, name, values, pivot, typical)) is None
        else values[name] * xp.exp(log_unit)
        for name in law.parameters
        if name not in without
    }


def sampled_values(
    law: Law,
    parameters: Mapping[str, Any],
    pivot: Mapping[str, np.ndarray],
    typical: np.ndarray,
) -> dict[str, Any]:
    """The inverse of `natural_parameters`, in NumPy (for starts and for tests)."""
    out = {}
    for name in law.parameters:
        log_unit = _log_unit(law, name, parameters, pivot, typical)
        x = np.asarray(parameters[name], float)
        out[name] = x * np.ones_like(typical) if log_unit is None else x * np.exp(-log_unit)
    return out


def _log_unit(
    law: Law,
    name: str,
    exponents: Mapping[str, Any],
    pivot: Mapping[str, np.ndarray],
    typical: np.ndarray,
) -> Any | None:
    """Log of the unit in which a parameter is sampled; ``None`` where it is one.

    Exponents have no unit, so it does not matter whether they come natural or sampled.
    """
    parameter = law.parameters[name]
    terms: list[Any] = []
    if parameter.role in LOSS_ROLES:
        terms.append(np.log(typical))
    if parameter.of:
        terms.append(np.log(pivot[parameter.of]))
    for of, exponent in parameter.prefactor.items():
        sign = -1.0 if exponent.startswith("-") else 1.0
        terms.append(sign * exponents[exponent.lstrip("-")] * np.log(pivot[of]))
    return sum(terms[1:], terms[0]) if terms else None
