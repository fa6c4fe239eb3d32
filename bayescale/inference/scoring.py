"""The mode of the bowls of a large sweep, and how wide the posterior is there, by scoring.

Shape and what cells own are improved together. Each step needs the slope of every run's log
likelihood in every coordinate, fifty cheap evaluations of the whole table; the sum of their outer
products stands for the curvature (Berndt, Hall, Hall and Hausman 1974), and since cells touch each
other through the shape alone, theirs is eliminated cell by cell. A dozen steps of 20 ms replace a
compiled gradient and Hessian, which took 10 CPU seconds to compile and find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bayescale.inference.dispersion import clusters, design_effect
from bayescale.inference.mode import SMALLEST_PRECISION, Mode, flat_held_covariance
from bayescale.models.bowl_cells import Near
from bayescale.models.bowls import Bowls
from bayescale.models.density import AbstractDensity

STEPS, ENOUGH = 60, 0.01  # at most; expected gain in log density at which scoring ends
SCREENED = 24  # prior draws among which the start is chosen
STEP = 1e-4  # of the central differences, in coordinates that are standard normal a priori
NEWTON_STEPS, SETTLED = 6, 0.1  # at most; expected gain at which they end
ALONG = 0.3  # sd of the differences along the axes of the outer products
SCATTER_SD = 0.4  # of the coordinates that are held, until draws say better


@dataclass(frozen=True)
class _Slopes:
    """Gradients and curvatures about one point: shape, cells' own numbers, and between the two."""

    of_shape: np.ndarray  # (coordinate,)
    of_cells: np.ndarray  # (cell, own)
    shape: np.ndarray  # (coordinate, coordinate)
    cells: np.ndarray  # (cell, own, own)
    between: np.ndarray  # (cell, own, coordinate)

    def reduced(self, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Curvature and gradient of the shape with the cells eliminated, and the cells' slopes."""
        cells = self.cells + damping * np.eye(self.cells.shape[-1]) * self.cells
        slope = np.linalg.solve(cells, self.between)
        shape = self.shape + damping * np.diag(np.diag(self.shape))
        curvature = shape - np.einsum("cok,col->kl", self.between, slope)
        gradient = self.of_shape - np.einsum("cok,co->k", slope, self.of_cells)
        return curvature, gradient, slope


def find_bowls(bowls: Bowls, *, random_seed: int = 0) -> tuple[Bowls, Mode]:
    """The bowls scored from their mode on, and the mode with its Laplace approximation.

    Coordinates of the scatter of optima are held at the prior's median: their joint mode with the
    offsets is degenerate. Newton steps of the density proper, in which what cells own is
    integrated out, then find them and what the outer products missed (a tenth to a half of an sd).
    """
    held = spreads(bowls)
    rng = np.random.default_rng(random_seed)
    points = 0.5 * rng.standard_normal((SCREENED, bowls.size)) * ~held
    points[0] = 0.0
    u = points[np.argmax(bowls.log_density(points))]
    x = bowls.of_cells(u[None]).mean[0]
    u, x = _climbed(bowls, u, x, held)
    bowls = replace(bowls, dispersion=_dispersion(bowls, u, x, held))
    u, x = _climbed(bowls, u, x, held)
    curvature, _, slope = _slopes(bowls, u, x, held).reduced(0.0)
    covariance = np.linalg.inv(curvature)
    covariance[held, held] = SCATTER_SD**2
    near = replace(bowls, near=Near(u, x, -slope))
    return near, _newton(near, u, np.linalg.cholesky(covariance))


def _climbed(
    bowls: Bowls, u: np.ndarray, x: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The joint mode of the shape and of what cells own, by scoring."""
    value, damping = _joint(bowls, u, x), 1e-3
    for _ in range(STEPS):
        found = _slopes(bowls, u, x, held)
        while True:
            curvature, gradient, slope = found.reduced(damping)
            step = np.linalg.solve(curvature, gradient)
            own = np.linalg.solve(found.cells, found.of_cells[..., None])[..., 0] - slope @ step
            new = _joint(bowls, u + step, x + own)
            if new >= value or damping > 1e6:
                break
            damping = max(10 * damping, 1e-2)
        gain = new - value
        if not gain >= 0:
            break
        u, x, value, damping = u + step, x + own, new, damping / 10
        if gain < ENOUGH:
            break
    return u, x


def _dispersion(bowls: Bowls, u: np.ndarray, x: np.ndarray, held: np.ndarray) -> float:
    """How many readings say as much as one that errs on its own, clustered by their misses."""
    assert bowls.whole.cells is not None
    of_runs, mine = _of_runs(bowls, u, x, held)
    _, _, slope = _slopes(bowls, u, x, held).reduced(0.0)
    cell = bowls.whole.cells.of_reading
    # what cells own follows the shape, so that only what it cannot follow counts
    alone = of_runs[:, : len(cell)] - np.einsum("rok,or->kr", slope[cell], mine)
    misses = [z[0] for z in bowls.runs(u[None]).at(x[None]).misses]
    cluster = clusters(misses, bowls.table.family)
    return max(1.0, design_effect(alone, cluster, of_prior(bowls, u)[1]))


def _newton(bowls: Bowls, u: np.ndarray, axes: np.ndarray) -> Mode:
    """Mode and curvature of the density along given axes, ``u + axes z``.

    Steps with the curvature along each axis first, which are cheap; the whole curvature at the end.
    """
    value = float(bowls.log_density(u))
    for _ in range(NEWTON_STEPS):
        _, gradient, along = _along(bowls, u, axes, value)
        move = gradient / np.maximum(along, SMALLEST_PRECISION)
        u, value = _uphill(bowls, u, value, axes @ move)
        if 0.5 * gradient @ move < SETTLED:
            break
    single, gradient, along = _along(bowls, u, axes, value)
    curvature = np.diag(along) + _across(bowls, u, axes, value, single)
    inverse = flat_held_covariance(curvature)
    u, value = _uphill(bowls, u, value, axes @ (inverse @ gradient))
    axes = axes @ np.linalg.cholesky(inverse)
    return Mode(u, value, axes @ axes.T, axes)


def _uphill(
    bowls: Bowls, u: np.ndarray, value: float, step: np.ndarray
) -> tuple[np.ndarray, float]:
    """The point a step away, or half of it, or half of that, where it is higher."""
    for length in (1.0, 0.5, 0.25, 0.1):
        new = float(bowls.log_density(u + length * step))
        if new > value:
            return u + length * step, new
    return u, value


def _along(
    bowls: Bowls, u: np.ndarray, axes: np.ndarray, value: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Second differences, gradient and negative curvature along each axis, ``(axis,)`` each."""
    steps = ALONG * axes.T
    up, down = bowls.log_density(np.concatenate([u + steps, u - steps])).reshape(2, -1)
    single = up + down - 2 * value
    return single, (up - down) / (2 * ALONG), -single / ALONG**2


def _across(
    bowls: Bowls, u: np.ndarray, axes: np.ndarray, value: float, single: np.ndarray
) -> np.ndarray:
    """Negative curvature between axes, ``(axis, axis)``, its diagonal zero."""
    steps = ALONG * axes.T
    i, j = np.triu_indices(len(u), 1)
    both = steps[i] + steps[j]
    pairs = bowls.log_density(np.concatenate([u + both, u - both])).reshape(2, -1).sum(axis=0)
    out = np.zeros((len(u), len(u)))
    out[i, j] = out[j, i] = -(pairs - 2 * value - single[i] - single[j]) / (2 * ALONG**2)
    return out


def spreads(density: AbstractDensity) -> np.ndarray:
    """Coordinates in which a joint mode is degenerate ``(coordinate,)``: spreads of a hierarchy.

    Of families about their population, of optima about their law.
    """
    ends = ("_spread", "_scatter", "_scatter_N")
    return np.concatenate([np.full(n, name.endswith(ends)) for name, n in density.blocks])


def _precision(bowls: Bowls, u: np.ndarray) -> np.ndarray:
    """Prior precision of what cells own as if cells of one size shared nothing, ``(own,)``."""
    own, shared = bowls.precisions(u)
    if shared.size:
        own = np.r_[own[:1], 1.0 / (1.0 / own[1:] + 1.0 / shared)]
    return own


def _joint(bowls: Bowls, u: np.ndarray, x: np.ndarray) -> float:
    """Log density of shape and cells' own numbers together."""
    away = x - bowls.start
    own = -0.5 * (_precision(bowls, u) * away * away).sum()
    readings = len(bowls.table.response)
    with np.errstate(all="ignore"):
        terms = bowls.terms(u[None], x[None])[0]
        likely = terms[:readings].sum() / bowls.dispersion + terms[readings:].sum()
        out = bowls.log_prior(u, np) + own + likely
    return float(out) if np.isfinite(out) else -np.inf


def _slopes(bowls: Bowls, u: np.ndarray, x: np.ndarray, held: np.ndarray) -> _Slopes:
    """Gradients and outer products of every run's slopes."""
    assert bowls.whole.cells is not None
    cell, share = bowls.whole.cells.of_reading, 1.0 / bowls.dispersion
    of_runs, mine = _of_runs(bowls, u, x, held)
    weight = np.where(np.arange(of_runs.shape[1]) < len(cell), share, 1.0)
    starts = np.searchsorted(cell, np.arange(bowls.n_cells))
    prior = _precision(bowls, u)
    outer = share * np.add.reduceat(mine[:, None] * mine[None], starts, axis=-1)
    between = mine[:, None] * of_runs[None, :, : len(cell)]
    between = share * np.add.reduceat(between, starts, axis=-1)
    gradient, curvature = of_prior(bowls, u)
    return _Slopes(
        of_runs @ weight + gradient * ~held,
        share * np.add.reduceat(mine, starts, axis=-1).T - prior * (x - bowls.start),
        (of_runs * weight) @ of_runs.T + curvature,
        np.moveaxis(outer, -1, 0) + prior[:, None] * np.eye(x.shape[-1]),
        np.moveaxis(between, -1, 0),
    )


def _of_runs(
    bowls: Bowls, u: np.ndarray, x: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of every term in the shape, and of every reading in what its cell owns."""
    assert bowls.whole.cells is not None
    size, own = len(u), x.shape[-1]
    cell = bowls.whole.cells.of_reading
    shape = _differences(bowls, u, x, np.flatnonzero(~held))
    of_runs = np.zeros((size, shape.shape[1]))
    of_runs[~held] = shape
    shift = STEP * 0.01 * np.eye(own)[:, None, :]
    more = bowls.terms(np.broadcast_to(u, (2 * own, size)), np.concatenate([x + shift, x - shift]))
    mine = (more[:own] - more[own:])[:, : len(cell)] / (2 * STEP * 0.01)

    return of_runs, mine


def _differences(bowls: Bowls, u: np.ndarray, x: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Slope of every term in every free coordinate of the shape, ``(free, term)``."""
    out = []
    for part in np.array_split(free, max(1, len(free) // 6)):  # few at once stay in the cache
        steps = STEP * np.eye(len(u))[part]
        points = np.concatenate([u + steps, u - steps])
        terms = bowls.terms(points, np.broadcast_to(x, (len(points), *x.shape)))
        out.append((terms[: len(part)] - terms[len(part) :]) / (2 * STEP))
    return np.concatenate(out)


def of_prior(bowls: Bowls, u: np.ndarray, step: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and negative curvature of the prior: standard normals, and families about theirs."""
    eye = step * np.eye(len(u))
    f = lambda points: bowls.log_prior(points, np)  # noqa: E731
    gradient = (f(u + eye) - f(u - eye)) / (2 * step)
    pairs = (eye[:, None] + eye[None]).reshape(-1, len(u))
    apart = (eye[:, None] - eye[None]).reshape(-1, len(u))
    second = f(u + pairs) + f(u - pairs) - f(u + apart) - f(u - apart)
    return gradient, -second.reshape(len(u), len(u)) / (4 * step**2)
