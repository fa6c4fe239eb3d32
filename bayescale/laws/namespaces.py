"""The array library that a law should use, found from its arguments.

A law is arithmetic (``+ - * / **``) and the functions listed in `FUNCTIONS`, called on a namespace
``xp``. NumPy, JAX and PyTensor are such namespaces as they are; xarray borrows NumPy's functions,
which keep its labels. JAX and PyTensor are imported only where an argument is already theirs, so
nothing is loaded that was not loaded before.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from bayescale.errors import SpecError

FUNCTIONS = (
    "exp", "log", "log1p", "expm1", "sqrt", "where", "logaddexp", "maximum", "minimum", "abs",
)  # fmt: skip
"""What the body of a law may call on ``xp``."""

_LIBRARIES = {"jax": "jax", "jaxlib": "jax", "pytensor": "pytensor", "xarray": "xarray"}


def namespace(*arguments: Any) -> Any:
    """Give the namespace of these arguments: NumPy unless one belongs to another library.

    Parameters
    ----------
    *arguments : array_like
        Numbers and NumPy arrays go with anything. xarray, JAX and PyTensor do not mix.

    Returns
    -------
    module or namespace
        With every name in `FUNCTIONS`.

    Raises
    ------
    SpecError
        If arguments come from two libraries that do not know each other.

    Examples
    --------
    >>> namespace(1.0, np.ones(3)).__name__
    'numpy'
    """
    found = {library: a for a in arguments if (library := library_of(a)) != "numpy"}
    if not found:
        return np
    if len(found) > 1:
        kinds = " and ".join(f"{type(a).__name__} ({name})" for name, a in found.items())
        raise SpecError(
            f"A law was given {kinds} together; they cannot be combined. Convert one side first, "
            "for example to NumPy with `.values` or `np.asarray`."
        )
    return {"jax": _jax, "pytensor": _pytensor, "xarray": _xarray}[next(iter(found))]()


def library_of(argument: Any) -> str:
    """Which library an argument belongs to: numpy, xarray, jax or pytensor.

    Everything that is none of the others (numbers, lists, pandas) counts as NumPy's.
    """
    for cls in type(argument).__mro__:
        library = _LIBRARIES.get(cls.__module__.partition(".")[0])
        if library:
            return library
    return "numpy"


def as_argument(value: Any) -> Any:
    """Give a value as the laws want it: foreign arrays untouched, the rest as float64 arrays.

    Integers would be raised to negative powers, which NumPy refuses; lists do no arithmetic.
    """
    if library_of(value) == "xarray":
        return value.astype(float) if value.dtype.kind in "iub" else value
    return np.asarray(value, float)[()] if library_of(value) == "numpy" else value


def _jax() -> Any:
    import jax.numpy

    return jax.numpy


def _pytensor() -> Any:
    import pytensor.tensor

    return pytensor.tensor


def _xarray() -> Any:
    import xarray as xr

    functions = {name: getattr(np, name) for name in FUNCTIONS}
    return SimpleNamespace(**{**functions, "where": xr.where, "__name__": "xarray"})
