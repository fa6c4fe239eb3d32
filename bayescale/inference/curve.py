"""The mean loss of a fit at any inputs, draw by draw, whatever kind of model it is.

A law is broadcast over its draws. A surface takes the hyperparameters that are given and the best
of each draw for the others, and adds what the law was seen to miss (`bayescale.models.misfit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescale.inference.tree import Fitted
from bayescale.models.misfit_paths import Paths


def mean_loss(fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None) -> np.ndarray:
    """Loss of the mean curve, ``(sample, point)``.

    Parameters
    ----------
    inputs : mapping of array_like
        Inputs of the law, each broadcastable to ``(sample, point)``. Hyperparameters of a surface
        may be missing: they are then at their best, which differs from draw to draw.
    family : str, optional
        Where the fit tells families apart.
    """
    draws = {k: v[:, None] for k, v in fitted.parameters(family).items()}
    given = {k: np.asarray(v, float) for k, v in inputs.items()}
    n = len(next(iter(draws.values())))
    if fitted.surface is None:
        out = fitted.law(xp=np, **given, **draws)
        return np.broadcast_to(out, np.broadcast_shapes(np.shape(out), (n, 1)))
    log_tuned, prices = fitted.surface.parts({**given, **draws, **scales(fitted)}, np)
    out = sum(prices.values(), log_tuned)
    out = np.broadcast_to(out, np.broadcast_shapes(np.shape(out), (n, 1)))
    return np.exp(out + misfit(fitted, given, family))


def misfit(fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None) -> Any:
    """What the law misses there, in log loss, ``(sample, point)``; 0 where it is not modelled.

    At a place where runs were made it is the level those runs have; elsewhere the smooth part.
    """
    paths = misfit_paths(fitted, family)
    if paths is None:
        return 0.0
    axes = [np.log(np.atleast_2d(np.asarray(inputs[a], float))) for a in paths.cells.axes]
    place = np.stack(np.broadcast_arrays(*axes), axis=-1)
    out = paths(place)
    if place.shape[0] == 1:
        known, levels = paths.at_cells(place[0])
        out = np.where(known, levels, out)
    return out


def misfit_paths(fitted: Fitted, family: str | None = None) -> Paths | None:
    """Misfit functions of one family, one a draw; None where the model has none."""
    key = f"misfit paths of {family}"
    if key not in fitted.kept:
        fitted.kept[key] = _misfit_paths(fitted, family)
    return fitted.kept[key]


def _misfit_paths(fitted: Fitted, family: str | None) -> Paths | None:
    density = fitted.density
    cells = getattr(density, "cells", None)
    if fitted.surface is None or cells is None:
        return None
    posterior = fitted.tree["posterior"].dataset
    column = lambda name: posterior[name].values.reshape(-1, 1)  # noqa: E731
    levels = posterior["misfit_at"].values
    return Paths(
        cells,
        fitted.families.index(fitted.family(family)),
        levels.reshape(-1, levels.shape[-1]),
        column("misfit"),
        column("misfit_length"),
        column("cell_sigma") if "cell_sigma" in posterior else None,
        int(fitted.spec["random_seed"]),
    )


def total_price(
    fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None
) -> np.ndarray | float:
    """Log loss lost to hyperparameters that are not the best, ``(sample, point)``."""
    assert fitted.surface is not None
    draws = {k: v[:, None] for k, v in fitted.parameters(family).items()}
    given = {k: np.asarray(v, float) for k, v in inputs.items()}
    return sum(fitted.surface.prices({**given, **draws, **scales(fitted)}, np).values(), 0.0)


def best_hyperparameters(
    fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None
) -> dict[str, np.ndarray]:
    """The best value of every hyperparameter at given inputs, ``(sample, point)`` each.

    Where ``inputs`` has the batch size, the best rate is that for this batch.
    """
    surface = fitted.surface
    assert surface is not None
    draws = {k: v[:, None] for k, v in fitted.parameters(family).items()}
    given = {k: np.asarray(v, float) for k, v in inputs.items()}
    at = {**given, **draws, **scales(fitted)}
    misses = surface.misses(at, np)
    n = len(next(iter(draws.values())))
    out = {}
    for name in surface.ordered:
        best = np.exp(surface.log_best(name, at, np, batch_miss=misses.get("batch_size")))
        out[name] = np.broadcast_to(best, np.broadcast_shapes(np.shape(best), (n, 1)))
    return out


def scales(fitted: Fitted) -> dict[str, float]:
    """Reference scales of the fitted law, by the names that its body has for them."""
    return {f"{name}0": scale for name, scale in fitted.law.scales.items()}
