"""How far a new run falls from the mean curve: noise of a law, and of a surface with its price."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bayescale.inference.curve import misfit_paths, total_price
from bayescale.inference.tree import Fitted
from bayescale.predict.points import scale_input


def noise(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray, random_seed: int
) -> np.ndarray:
    """Noise of a new run, in log loss, ``(sample, point)``; independent between points."""
    rng = np.random.default_rng(random_seed)
    if fitted.surface is not None:
        return _noise_of_surface(fitted, points, families, rng)
    if hasattr(fitted.model, "noise_of_runs"):
        return np.stack([fitted.model.noise_of_runs(fitted, f, rng) for f in families], axis=1)
    return _noise_of_law(fitted, points, families, rng)


def _noise_of_surface(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Student-t that widens with the price, and what all runs of a new cell share."""
    out = np.empty((len(fitted.draws("sigma", families[0])), len(families)))
    for name in dict.fromkeys(families):
        index = np.flatnonzero(families == name)
        here = {k: v[index][None, :] for k, v in points.items()}
        price = total_price(fitted, here, name)
        sigma, nu = fitted.draws("sigma", name)[:, None], fitted.draws("nu", name)[:, None]
        scale = np.sqrt(sigma**2 + (fitted.draws("price_noise", name)[:, None] * price) ** 2)
        z = rng.standard_normal((len(out), len(index)))
        out[:, index] = scale * z / np.sqrt(rng.chisquare(nu, z.shape) / nu)
        paths = misfit_paths(fitted, name)
        if paths is not None and paths.cell_sigma is not None:
            place = np.stack([np.log(here[a][0]) for a in paths.cells.axes], axis=-1)
            _, cell = np.unique(place, axis=0, return_inverse=True)
            cell = cell.reshape(-1)
            own = paths.cell_sigma * rng.standard_normal((len(out), cell.max() + 1))
            known, _ = paths.cells.at(place, paths.family)  # a cell with runs has its level already
            out[:, index] += np.where(known, 0.0, own[:, cell])
    return out


def _noise_of_law(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    model = fitted.model.noise
    out = []
    for k, name in enumerate(families):
        sigma, widening = fitted.draws("sigma", name), 1.0
        if model.scale:
            pivot = _pivot(fitted, model.scale, name)
            at = scale_input(points, model.scale)[k]
            widening = np.exp(fitted.draws("noise_slope", name) * np.log(at / pivot))
            sigma = sigma * widening
        z = rng.standard_normal(len(sigma))
        if model.tail == "student":
            nu = fitted.draws("nu", name)
            z = z / np.sqrt(rng.chisquare(nu) / nu)
        e = sigma * z
        if model.undertuned:
            lifted = rng.random(len(sigma)) < fitted.draws("undertuned_share", name)
            lift = np.abs(rng.standard_normal(len(sigma))) * widening
            lift = lift * fitted.draws("undertuned_scale", name)
            normal = sigma * rng.standard_normal(len(sigma))
            e = np.where(lifted, normal + lift, e)
        out.append(e)
    return np.stack(out, axis=1)


def _pivot(fitted: Fitted, name: str, family: str) -> float:
    return float(np.asarray(fitted.spec["pivot"][name])[fitted.families.index(family)])
