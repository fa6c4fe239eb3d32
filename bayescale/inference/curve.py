"""The mean loss of a fit at any inputs, draw by draw, whatever kind of model it is.

A law is broadcast over its draws. A surface takes the hyperparameters that are given and the best
of each draw for the others, and adds what the law was seen to miss (`bayescale.models.misfit`); its
optima are a place's own, off their law by an offset that was fitted or, at a new place, drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescale.inference.tree import Fitted
from bayescale.models.loss_density import share_above_floor
from bayescale.models.misfit_paths import Paths

OFFSETS = 9  # stream of random numbers for the offsets of places without runs


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
    given = {k: np.asarray(v, float) for k, v in inputs.items()}
    if fitted.surface is None:
        draws = {k: v[:, None] for k, v in fitted.parameters(family).items()}
        law = _by_draw(fitted, fitted.law(xp=np, **given, **draws))
        share = share_above_floor(fitted.law, law, draws)
        return law * np.exp(share * misfit(fitted, given, family))
    log_tuned, prices = fitted.surface.parts(surface_values(fitted, given, family), np)
    out = _by_draw(fitted, sum(prices.values(), log_tuned))
    return np.exp(out + misfit(fitted, given, family))


def surface_values(
    fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None
) -> dict[str, Any]:
    """All that a surface needs at given inputs: parameters of every draw, scales and offsets.

    Inputs come first: one that is also a parameter's name cannot be.
    """
    given = {k: np.asarray(v, float) for k, v in inputs.items()}
    draws = {k: v[:, None] for k, v in fitted.parameters(family).items()}
    return {**given, **draws, **scales(fitted), **offsets(fitted, given, family)}


def offsets(
    fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None
) -> dict[str, np.ndarray]:
    """How far the best hyperparameters of a place lie off their laws, ``(sample, point)`` each.

    A cell that was run has the offsets that its runs gave it, a new length of a size that was run
    what its size has. What was never seen is drawn from its scatter, the same at all new places of
    one posterior draw, so that a plan compares sizes and not luck.
    """
    posterior = fitted.tree["posterior"].dataset
    names = [str(n) for n in posterior.data_vars if str(n).endswith("_scatter")]
    if fitted.surface is None or not names:
        return {}
    cells: Any = getattr(fitted.density, "cells")  # noqa: B009
    axes = [np.log(np.atleast_2d(np.asarray(inputs[a], float))) for a in cells.axes]
    place = np.stack(np.broadcast_arrays(*axes), axis=-1)
    mine = fitted.families.index(fitted.family(family))
    drawn = lambda name, index: posterior[name].values.reshape(  # noqa: E731
        -1, posterior[name].shape[-1]
    )[np.arange(posterior.sizes["chain"] * posterior.sizes["draw"])[:, None], index]
    out = {}
    for i, name in enumerate(names):
        short = name.removesuffix("_scatter")
        new = _deviate(fitted, name, family, i)
        if f"{short}_scatter_N" in posterior:
            of_size = _deviate(fitted, f"{short}_scatter_N", family, len(names) + i)
            if f"{short}_offset_N" in posterior:
                known, index = cells.sizes_at(place, mine)
                of_size = np.where(known, drawn(f"{short}_offset_N", index), of_size)
            new = new + of_size
        own = f"{short}_offset"
        if place.shape[0] == 1 and own in posterior:
            known, index = cells.at(place[0], mine)
            new = np.where(known, drawn(own, index[None]), new)
        out[own] = new
    return out


def _deviate(fitted: Fitted, name: str, family: str | None, stream: int) -> np.ndarray:
    """A draw from a scatter for every posterior draw, ``(sample, 1)``."""
    scatter = fitted.draws(name, family)[:, None]
    rng = np.random.default_rng([int(fitted.spec["random_seed"]), OFFSETS, stream])
    return scatter * rng.standard_normal(scatter.shape)


def _by_draw(fitted: Fitted, x: Any) -> np.ndarray:
    """An array that has its sample dimension even where no draw differs."""
    n = fitted.tree["posterior"].sizes["chain"] * fitted.tree["posterior"].sizes["draw"]
    return np.broadcast_to(x, np.broadcast_shapes(np.shape(x), (n, 1)))


def misfit(fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None) -> Any:
    """What the law misses there, ``(sample, point)``; 0 where it is not modelled.

    In log loss, of a law without hyperparameters per share of the loss above its floor.

    At a place where runs were made it is the level those runs have; elsewhere the smooth part.
    """
    paths = misfit_paths(fitted, family)
    if paths is None:
        return 0.0
    axes = [np.log(np.atleast_2d(np.asarray(inputs[a], float))) for a in paths.cells.axes]
    place = np.stack(np.broadcast_arrays(*axes), axis=-1)
    out = paths(place)
    if place.shape[0] == 1:
        known, index = paths.cells.at(place[0], paths.family)
        out = np.where(known, paths.levels[:, index], out)
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
    if cells is None:
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
    return sum(fitted.surface.prices(surface_values(fitted, inputs, family), np).values(), 0.0)


def best_hyperparameters(
    fitted: Fitted, inputs: Mapping[str, Any], family: str | None = None
) -> dict[str, np.ndarray]:
    """The best value of every hyperparameter at given inputs, ``(sample, point)`` each.

    Where ``inputs`` has the batch size, the best rate is that for this batch.
    """
    surface = fitted.surface
    assert surface is not None
    at = surface_values(fitted, inputs, family)
    misses = surface.misses(at, np)
    return {
        name: _by_draw(
            fitted,
            np.exp(surface.log_best(name, at, np, batch_miss=misses.get("batch_size"))),
        )
        for name in surface.ordered
    }


def scales(fitted: Fitted) -> dict[str, float]:
    """Reference scales of the fitted law, by the names that its body has for them."""
    return {f"{name}0": scale for name, scale in fitted.law.scales.items()}
