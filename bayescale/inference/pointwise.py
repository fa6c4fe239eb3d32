"""The log likelihood of each configuration, for leave-one-out and for ArviZ.

It is not stored with a fit: on large tables it would be most of the file, and it follows from the
draws in a moment.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescale.inference.tree import Fitted, opened
from bayescale.models.coordinates import sampled_values

CELLS = 4e6  # draws x readings evaluated at once: 32 MB an array


def log_likelihood(fit: xr.DataTree | Fitted) -> xr.DataArray:
    """Log likelihood of every draw, one term a configuration.

    A configuration (all readings of the runs that differ in seed only; usually one run) is what
    can be left out: checkpoints of one run predict each other.

    Parameters
    ----------
    fit : xarray.DataTree
        From `bayescale.fit`.

    Returns
    -------
    xarray.DataArray, (chain, draw, config)
        In units of log density of log loss; ``config`` carries the id of its first run.

    Examples
    --------
    >>> fit["log_likelihood"] = xr.DataTree(  # doctest: +SKIP
    ...     log_likelihood(fit).to_dataset(name="log_loss")
    ... )
    >>> arviz.loo(fit)  # doctest: +SKIP
    """
    fitted = fit if isinstance(fit, Fitted) else opened(fit)
    posterior = fitted.tree["posterior"].dataset
    dims = ("chain", "draw", "config")
    coords = {dim: posterior[dim].values for dim in dims[:2]} | {"config": config_names(fitted)}
    terms = pointwise(fitted).reshape(*(len(coords[dim]) for dim in dims))
    return xr.DataArray(terms, coords, dims, name="log_likelihood")


def pointwise(fitted: Fitted, index: np.ndarray | None = None) -> np.ndarray:
    """The same as an array, ``(sample, config)``; ``index`` picks samples."""
    values = values_of(fitted, index)
    n = len(next(iter(values.values())))
    step = max(1, int(CELLS / len(fitted.density.table.response)))
    parts = [
        fitted.density.pointwise({k: v[i : i + step] for k, v in values.items()})
        for i in range(0, n, step)
    ]
    return np.concatenate(parts)


def values_of(fitted: Fitted, index: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Draws as the density names them, ``(sample, family)`` or ``(sample, 1)`` each.

    Law parameters are in their sampled units (multiples of the typical loss at the pivot), the
    rest as in the posterior. The inverse of what `fit` does with its draws.
    """
    posterior = fitted.tree["posterior"].dataset
    out = {}
    for name in posterior.data_vars:
        x = posterior[name].values
        x = x.reshape(x.shape[0] * x.shape[1], -1)
        out[str(name)] = x if index is None else x[index]
    law, table = fitted.density.law, fitted.density.table
    natural = {name: out[name] for name in law.parameters}
    return out | sampled_values(law, natural, table.pivot, table.typical)


def config_names(fitted: Fitted) -> np.ndarray:
    """Id of the first run of each configuration, ``(config,)``."""
    table = fitted.density.table
    run = fitted.model.readings(fitted.runs)["run"].values[table.rows].astype(str)
    config = table.groups.config[table.groups.run]
    return run[np.searchsorted(config, np.arange(table.groups.n_configs))]
