"""Posterior predictions of the loss at given points.

Nothing is compiled: the law is broadcast over the posterior draws in NumPy. A prediction is for
the mean curve (``kind="mean"``) or for a new run, with its noise (``kind="response"``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import DataError, ExtrapolationWarning
from bayescale.inference.curve import mean_loss
from bayescale.inference.tree import Fitted, opened
from bayescale.predict.answer import Prediction
from bayescale.predict.noise import noise
from bayescale.predict.points import (
    check_points,
    decades_beyond,
    decades_beyond_flops,
    points_of,
)

__all__ = [
    "FAR_DECADES", "Prediction", "check_points", "curve", "decades_beyond", "decades_beyond_flops",
    "noise", "points_of", "predict",
]  # fmt: skip

FAR_DECADES = 3.0  # beyond this a forecast carries a warning; chosen


def predict(
    fit: xr.DataTree,
    at: Mapping[str, Any] | pd.DataFrame,
    *,
    kind: Literal["response", "mean"] = "response",
    ci_prob: float = 0.9,
    family: str | None = None,
    random_seed: int = 0,
) -> Prediction:
    """The loss at new points, as posterior draws.

    Parameters
    ----------
    fit : xarray.DataTree
        From `bayescale.fit`.
    at : mapping of array_like, (point,)
        The law's inputs by name (``N`` parameters, ``T`` tokens, ...), and ``family`` where the
        fit tells families apart. Scalars are broadcast. Hyperparameters may be left out: they are
        then at their best, which each draw knows for itself.
    kind : {"response", "mean"}, default "response"
        A new run with its noise, or the mean curve. Compare runs with the first: the second is
        narrower and is not a forecast of a run.
    ci_prob : float, default 0.9
        Probability of the equal-tailed interval in ``.table``.
    family : str, optional
        One family for all points, instead of ``at["family"]``.
    random_seed : int, default 0
        For the noise of new runs.

    Returns
    -------
    Prediction
        ``.draws`` (sample, point), ``.table``, ``.text``, ``.data``, ``.plot()``.

    Examples
    --------
    >>> pred = bs.predict(fit, at={"N": [7e10], "T": [1.4e12]})  # doctest: +SKIP
    """
    if kind not in ("response", "mean"):
        raise DataError(f"`kind` is 'response' or 'mean'; got {kind!r}.")
    if not 0 < ci_prob < 1:
        raise DataError(f"`ci_prob` is a probability between 0 and 1; got {ci_prob!r}.")
    fitted = opened(fit)
    points, families = points_of(fitted, at, family)
    mean = curve(fitted, points, families)
    draws = mean
    if kind == "response":
        with np.errstate(over="ignore"):  # a tail without a mean may draw a run at infinity
            draws = mean * np.exp(noise(fitted, points, families, random_seed))
    beyond = decades_beyond(fitted, points, families)
    if beyond.max(initial=0) > FAR_DECADES:
        warnings.warn(
            f"A point lies {beyond.max():.1f} decades of compute beyond the data; the interval "
            "holds if the law does. See decades_beyond in the table.",
            ExtrapolationWarning,
            stacklevel=2,
        )
    shown = dict(points)
    if fitted.by_family:
        shown = {"family": families, **shown}
    as_array = lambda x: xr.DataArray(x, dims=("sample", "point"))  # noqa: E731
    return Prediction(
        as_array(draws), as_array(mean), shown, beyond, kind, ci_prob, fitted.warning, fitted,
        {k: as_array(v) for k, v in fitted.model.follows(points, draws).items()}
        if hasattr(fitted.model, "follows") else {},
    )  # fmt: skip


def curve(fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray) -> np.ndarray:
    """The mean loss at each point for each draw, ``(sample, point)``."""
    columns: list[np.ndarray | None] = [None] * len(families)
    for name in dict.fromkeys(families):
        index = np.flatnonzero(families == name)
        loss = mean_loss(fitted, {k: v[index][None, :] for k, v in points.items()}, name)
        for i, k in enumerate(index):
            columns[k] = loss[:, i]
    return np.stack(columns, axis=1)  # type: ignore[arg-type]
