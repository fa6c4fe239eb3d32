"""Laws: pure functions of named inputs and parameters, on NumPy, xarray, JAX and PyTensor.

``get("additive")`` gives a law by name, ``names()`` lists them, ``Law(...)`` is one of your own.
Costs (`bayescale.laws.cost`) turn size and tokens into FLOP, GPU-hours and samples;
published constants are in `bayescale.laws.published`.
"""

from __future__ import annotations

from bayescale.laws import loss  # first, so that `names` begins with the usual ones

# isort: split
from bayescale.laws import batch, compute, cost, data, published
from bayescale.laws.law import Law, Parameter, get, names, register

__all__ = [
    "Law",
    "Parameter",
    "batch",
    "compute",
    "cost",
    "data",
    "get",
    "loss",
    "names",
    "published",
    "register",
]
