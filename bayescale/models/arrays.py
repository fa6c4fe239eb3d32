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
        self.cholesky, self.solve = np.linalg.cholesky, np.linalg.solve

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

    @staticmethod
    def stop_gradient(x: Any) -> Any:
        return x

    @staticmethod
    def normal_log_density(x: Any, covariance: Any) -> Any:
        """Log density of zero-mean normals, ``(...)``; NaN where a covariance is not one."""
        try:
            sign, log_det = np.linalg.slogdet(covariance)
            square = (x * np.linalg.solve(covariance, x[..., None])[..., 0]).sum(axis=-1)
        except np.linalg.LinAlgError:
            return np.full(x.shape[:-1], np.nan)
        n = x.shape[-1]
        return np.where(sign > 0, -0.5 * (square + log_det + n * np.log(2 * np.pi)), np.nan)


class _Jax:
    """JAX; one draw at a time, batched by ``jax.vmap``."""

    def __init__(self) -> None:
        import jax
        import jax.numpy as jnp
        import jax.scipy.special

        self._jax, self._jnp = jax, jnp
        self.gammaln = jax.scipy.special.gammaln
        self.log_ndtr = jax.scipy.special.log_ndtr
        self.cholesky, self.solve = jnp.linalg.cholesky, jnp.linalg.solve

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jnp, name)

    @staticmethod
    def take(x: Any, index: np.ndarray) -> Any:
        return x[index]

    def shift(self, x: Any) -> Any:
        return self._jnp.concatenate([x[:1], x[:-1]])

    def group_sum(self, x: Any, group: np.ndarray, n_groups: int) -> Any:
        return self._jax.ops.segment_sum(x, group, n_groups, indices_are_sorted=True)

    def stop_gradient(self, x: Any) -> Any:
        return self._jax.lax.stop_gradient(x)

    def normal_log_density(self, x: Any, covariance: Any) -> Any:
        return _jax_normal_log_density()(x, covariance)


@cache
def _jax_normal_log_density() -> Any:
    """With its derivative written out: one inverse, where tracing a factor takes several."""
    import jax
    import jax.numpy as jnp
    from jax.scipy.linalg import cho_solve

    def solved(x: Any, covariance: Any) -> tuple[Any, Any, Any]:
        root = jnp.linalg.cholesky(covariance)
        inverse = cho_solve((root, True), jnp.eye(len(x)))
        pull = inverse @ x
        log_det = 2.0 * jnp.log(jnp.diagonal(root)).sum()
        return -0.5 * (x @ pull + log_det + len(x) * np.log(2 * np.pi)), pull, inverse

    @jax.custom_jvp
    def log_density(x: Any, covariance: Any) -> Any:
        return solved(x, covariance)[0]

    @log_density.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[Any, Any]:
        value, pull, inverse = solved(*primals)
        dx, dc = tangents
        return value, -(pull @ dx) + 0.5 * (pull @ dc @ pull - (inverse * dc).sum())

    return log_density


class _PyTensor:
    """PyTensor, for the PyMC model."""

    def __init__(self) -> None:
        import pytensor.tensor as pt
        from pymc.distributions.dist_math import normal_lcdf
        from pytensor.tensor.linalg import cholesky, solve

        self._pt = pt
        self.cholesky, self.solve = cholesky, solve
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
