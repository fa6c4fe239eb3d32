"""The three array libraries a density is written for: NumPy, JAX and PyTensor.

A law needs only ``exp`` and friends (`bayescale.laws.namespaces`). A likelihood also needs the
log-gamma function, the log of the normal distribution function and sums over groups of readings;
this module adds those, so that the density is one body of code in all three.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np


class _NumPy:
    """NumPy and SciPy; arrays may carry leading axes (draws), groups run along the last."""

    def __init__(self) -> None:
        import scipy.special

        self.gammaln = scipy.special.gammaln
        self.log_ndtr = scipy.special.log_ndtr

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def take(x: Any, index: np.ndarray) -> Any:
        return np.asarray(x)[..., index]

    @staticmethod
    def shift(x: Any) -> Any:
        return np.concatenate([x[..., :1], x[..., :-1]], axis=-1)

    @staticmethod
    def group_sum(x: Any, group: np.ndarray, n_groups: int) -> Any:
        starts = np.searchsorted(group, np.arange(n_groups))  # groups are sorted and none is empty
        return np.add.reduceat(x, starts, axis=-1)


class _Jax:
    """JAX; one draw at a time, batched by ``jax.vmap``."""

    def __init__(self) -> None:
        import jax
        import jax.numpy as jnp
        import jax.scipy.special

        self._jax, self._jnp = jax, jnp
        self.gammaln = jax.scipy.special.gammaln
        self.log_ndtr = jax.scipy.special.log_ndtr

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jnp, name)

    @staticmethod
    def take(x: Any, index: np.ndarray) -> Any:
        return x[index]

    def shift(self, x: Any) -> Any:
        return self._jnp.concatenate([x[:1], x[:-1]])

    def group_sum(self, x: Any, group: np.ndarray, n_groups: int) -> Any:
        return self._jax.ops.segment_sum(x, group, n_groups, indices_are_sorted=True)


class _PyTensor:
    """PyTensor, for the PyMC model."""

    def __init__(self) -> None:
        import pytensor.tensor as pt
        from pymc.distributions.dist_math import normal_lcdf

        self._pt = pt
        self.gammaln = pt.gammaln
        self.log_ndtr = lambda x: normal_lcdf(0.0, 1.0, x)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pt, name)

    @staticmethod
    def take(x: Any, index: np.ndarray) -> Any:
        return x[index]

    def shift(self, x: Any) -> Any:
        return self._pt.concatenate([x[:1], x[:-1]])

    def group_sum(self, x: Any, group: np.ndarray, n_groups: int) -> Any:
        return self._pt.zeros(n_groups)[group].inc(x)


@cache
def arrays(library: str) -> Any:
    """The namespace of ``"numpy"``, ``"jax"`` or ``"pytensor"``."""
    return {"numpy": _NumPy, "jax": _Jax, "pytensor": _PyTensor}[library]()
