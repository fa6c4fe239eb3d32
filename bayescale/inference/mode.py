"""The posterior mode and its curvature: start, scale and rotation for everything that follows.

Small problems are differentiated numerically with batched NumPy calls, which is faster than
importing and compiling JAX (0.05 against 2 CPU seconds on 245 runs); large ones by JAX. Both give
the same mode and the same curvature to about 1e-5 (`tests/inference/test_mode.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bayescale.models.arrays import arrays
from bayescale.models.density import AbstractDensity

NUMERICAL_UP_TO = 20_000  # coordinates x readings
SCREENED = 400  # prior draws among which the starts are chosen
STARTS = 4
IN_CACHE = 3e5  # numbers of one array; 72,000 points of 41 cells: 4 s, and 15 s all together
TOGETHER = 256  # points to one call of a compiled density
# Prior sd beyond which no mode is looked for: with noise and misfit near nothing arithmetic gives
# out, and made a peak of 4e9 in log density at 40 sd (142 runs; NUTS then began there and failed).
FARTHEST = 12.0
NEXT_TO_NOTHING = 8.0  # log mass below the weightiest mode
SAME_MODE = 1.0  # sd within which two ends are one mode
SMALLEST_PRECISION = 0.25  # coordinates are standard normal a priori: data can only add precision


@dataclass(frozen=True)
class Mode:
    """A maximum of the log density and its Laplace approximation.

    Attributes
    ----------
    u : ndarray, (coordinate,)
    log_density : float
    covariance, cholesky : ndarray, (coordinate, coordinate)
    """

    u: np.ndarray
    log_density: float
    covariance: np.ndarray
    cholesky: np.ndarray

    @property
    def log_mass(self) -> float:
        """Log of the integral of its Laplace approximation, up to a constant."""
        return self.log_density + float(np.log(np.diagonal(self.cholesky)).sum())


def find_mode(
    density: AbstractDensity, *, random_seed: int = 0, hold: np.ndarray | None = None
) -> Mode:
    """Maximise the log density from the best of many prior draws, and measure the curvature.

    Parameters
    ----------
    hold : ndarray of bool, (coordinate,), optional
        Coordinates that stay at zero, their prior median; they are left out of the curvature,
        where they keep variance one.
    """
    free = np.ones(density.size, bool) if hold is None else ~hold
    search = _Search(density, free)
    return search.mode(search.ends(_starts(density, free, random_seed))[0])


def modes_from(
    density: AbstractDensity, starts: np.ndarray, *, hold: np.ndarray | None = None
) -> list[Mode]:
    """The maxima that these starts lead to, ``(start, coordinate)``, weightiest first, each once.

    Those that hold next to nothing of the whole are left out.
    """
    free = np.ones(density.size, bool) if hold is None else ~hold
    search = _Search(density, free)
    out: list[Mode] = []
    for end in search.ends([u[free] for u in starts]):
        found = search.mode(end)
        away = [np.linalg.solve(m.cholesky, found.u - m.u) for m in out]
        if not any((z @ z) < SAME_MODE**2 for z in away):
            out.append(found)
    out.sort(key=lambda m: -m.log_mass)
    return [m for m in out if m.log_mass > out[0].log_mass - NEXT_TO_NOTHING]


@dataclass(frozen=True)
class _Search:
    """Maximising a density in its free coordinates."""

    density: AbstractDensity
    free: np.ndarray

    @cached_property
    def _derivatives(self) -> tuple[Callable, Callable]:
        return derivatives(self.density)

    def ends(self, starts: list[np.ndarray]) -> list[Any]:
        """What the minimiser found from each start, best first."""
        value_and_gradient, _ = self._derivatives
        embed, bounded = _embedding(self.free), _standard(self.density)[self.free]

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            if np.abs(x[bounded]).max(initial=0.0) > FARTHEST:
                return 1e300, np.zeros(len(x))
            value, gradient = value_and_gradient(embed(x))
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                return 1e300, np.zeros(len(x))
            return -value, -gradient[self.free]

        found = [_minimise(objective, start) for start in starts]
        best: list[Any] = []  # the first of equals stays first
        for one in found:
            place = sum(other.fun <= one.fun + 1e-6 for other in best)
            best.insert(place, one)
        return best

    def mode(self, found: Any) -> Mode:
        """The mode there, with its curvature."""
        u = _embedding(self.free)(found.x)
        _, hessian = self._derivatives
        covariance = np.eye(self.density.size)
        block = flat_held_covariance(-hessian(u)[np.ix_(self.free, self.free)])
        covariance[np.ix_(self.free, self.free)] = block
        return Mode(u, -float(found.fun), covariance, np.linalg.cholesky(covariance))


def derivatives(
    density: AbstractDensity,
) -> tuple[Callable[[np.ndarray], tuple[float, np.ndarray]], Callable[[np.ndarray], np.ndarray]]:
    """Value-and-gradient and Hessian of the log density, by the cheaper of the two routes."""
    if density.numpy_only or density.size * len(density.table.response) <= NUMERICAL_UP_TO:
        return numerical_derivatives(density)
    return jax_derivatives(density)


def numerical_derivatives(density: AbstractDensity) -> tuple[Callable, Callable]:
    """Central differences, all directions in one batched call."""
    n = density.size
    eye = np.eye(n)

    def value_and_gradient(u: np.ndarray, step: float = 1e-5) -> tuple[float, np.ndarray]:
        points = np.concatenate([u[None], u + step * eye, u - step * eye])
        f = _batched(density, points)
        with np.errstate(invalid="ignore"):  # at the edge of what numbers hold; not a place to be
            return float(f[0]), (f[1 : n + 1] - f[n + 1 :]) / (2 * step)

    def hessian(u: np.ndarray) -> np.ndarray:
        # Stiff directions are a thousand times narrower than loose ones, so one step suits none:
        # a first Hessian with a small step gives axes in which a step of 0.02 sd suits all.
        rough = _second_differences(density, u, 1e-4 * eye) / 1e-8
        axes = np.linalg.cholesky(flat_held_covariance(-rough))
        scaled = _second_differences(density, u, 0.02 * axes.T) / 0.02**2
        back = np.linalg.inv(axes)
        return back.T @ scaled @ back

    return value_and_gradient, hessian


def jax_derivatives(density: AbstractDensity) -> tuple[Callable, Callable]:
    """Automatic differentiation, in double precision."""
    import jax

    xp = arrays("jax")
    with jax.enable_x64(True):
        compiled = jax.jit(jax.value_and_grad(lambda u: density.log_density(u, xp)))
        second = jax.jit(jax.hessian(lambda u: density.log_density(u, xp)))

    def value_and_gradient(u: np.ndarray) -> tuple[float, np.ndarray]:
        with jax.enable_x64(True):
            value, gradient = compiled(u)
        return float(value), np.asarray(gradient)

    def hessian(u: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(second(u))

    return value_and_gradient, hessian


def many_densities(density: AbstractDensity) -> Callable[[np.ndarray], np.ndarray]:
    """A function from many points to their log densities, by the cheaper of the two routes."""
    if density.numpy_only or density.size * len(density.table.response) <= NUMERICAL_UP_TO:
        return lambda points: _batched(density, points)
    import jax

    xp = arrays("jax")
    compiled = jax.jit(
        lambda points: jax.lax.map(lambda u: density.log_density(u, xp), points, batch_size=8)
    )

    def evaluate(points: np.ndarray) -> np.ndarray:
        padded = np.zeros((-(-len(points) // TOGETHER) * TOGETHER, density.size))
        padded[: len(points)] = points
        with jax.enable_x64(True):
            parts = [np.asarray(compiled(p)) for p in padded.reshape(-1, TOGETHER, density.size)]
        out = np.concatenate(parts)[: len(points)]
        return np.where(np.isnan(out), -np.inf, out)

    return evaluate


def _batched(density: AbstractDensity, points: np.ndarray) -> np.ndarray:
    """Log density at many points, in pieces that stay in the cache, ``(point,)``."""
    step = max(1, int(IN_CACHE / max(1, density.footprint)))
    with np.errstate(all="ignore"):  # a far start may overflow; such points score -inf
        parts = [density.log_density(points[i : i + step]) for i in range(0, len(points), step)]
    out = np.concatenate(parts)
    return np.where(np.isnan(out), -np.inf, out)


def _second_differences(density: AbstractDensity, u: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Second differences of the log density along pairs of steps, ``(step, step)``."""
    n = len(steps)
    i, j = np.triu_indices(n)
    both, apart = steps[i] + steps[j], steps[i] - steps[j]
    f = _batched(density, np.concatenate([u + both, u - both, u + apart, u - apart]))
    f = f.reshape(4, -1)
    out = np.zeros((n, n))
    out[i, j] = out[j, i] = (f[0] + f[1] - f[2] - f[3]) / 4
    return out


def _starts(density: AbstractDensity, free: np.ndarray, random_seed: int) -> list[np.ndarray]:
    """The prior median and the likeliest of many prior draws."""
    rng = np.random.default_rng(random_seed)
    points = rng.standard_normal((SCREENED, density.size)) * free
    points[0] = 0.0
    # large tables: screen on fewer draws, since one start is usually enough there
    points = points[: max(8, min(SCREENED, int(4e7 / len(density.table.response) / 10)))]
    order = np.argsort(-_batched(density, points))
    several = density.size * len(density.table.response) <= NUMERICAL_UP_TO
    chosen = [points[0], *points[order[: STARTS - 1]]] if several else [points[order[0]]]
    return [p[free] for p in chosen]


def _standard(density: AbstractDensity) -> np.ndarray:
    """Coordinates that are standard normal a priori, ``(coordinate,)``: all but pooled values."""
    pooled = {v.name for v in density.variables if v.sharing == "pooled"}
    return np.concatenate([np.full(n, name not in pooled) for name, n in density.blocks])


def _minimise(objective: Callable, start: np.ndarray):
    from scipy.optimize import minimize

    method = "BFGS" if len(start) <= 60 else "L-BFGS-B"
    options = {"maxiter": 1000} if method == "BFGS" else {"maxiter": 3000, "maxcor": 30}
    found = minimize(objective, start, jac=True, method=method, options=options)
    # a second pass resets the approximate curvature, which a bad start can spoil
    return minimize(objective, found.x, jac=True, method=method, options=options)


def _embedding(free: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def embed(x: np.ndarray) -> np.ndarray:
        out = np.zeros(len(free))
        out[free] = x
        return out

    return embed


def flat_held_covariance(precision: np.ndarray) -> np.ndarray:
    """Inverse of the curvature, with flat or upward directions held to a finite width."""
    values, vectors = np.linalg.eigh((precision + precision.T) / 2)
    return (vectors / np.maximum(values, SMALLEST_PRECISION)) @ vectors.T
