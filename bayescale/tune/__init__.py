"""The best hyperparameters at a size and length, and what it costs to miss them.

The recommendation is the setting with the least *expected* price over the posterior, among the
batches that are allowed and with little risk of divergence. Its regret is what it loses, draw by
draw, against the optimum of that draw. The same measure tells what any other setting costs: a rate
twice as high, a power of two, another study's law.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from bayescale.errors import DataError
from bayescale.inference.tree import opened
from bayescale.laws.surface import BATCH
from bayescale.predict import decades_beyond
from bayescale.tune.answer import Tuning
from bayescale.tune.bracket import brackets
from bayescale.tune.choice import OPEN, limits, recommended
from bayescale.tune.costs import by_batch, settings, studies
from bayescale.tune.place import Place, place_of
from bayescale.tune.region import grid_about, ranges

__all__ = ["Tuning", "tune"]


def tune(
    fit: xr.DataTree,
    N: float | None = None,
    T: float | None = None,
    *,
    batch_sizes: Sequence[float] | None = None,
    powers_of_two: bool = False,
    max_batch_size: float | None = None,
    min_batch_size: float | None = None,
    max_divergence: float = 0.01,
    against: Literal["published"] | Sequence[str] = "published",
    family: str | None = None,
    ci_prob: float = 0.9,
    **inputs: float,
) -> Tuning:
    """The batch size and learning rate to train with, and what other choices cost.

    Parameters
    ----------
    fit : xarray.DataTree
        Of a `bayescale.HyperparameterModel`.
    N, T : float, optional
        Parameters and training tokens, where the loss law has them.
    batch_sizes : sequence of float, optional
        Batches to choose from, tokens. Default: any.
    powers_of_two : bool, default False
        Only batches of a power of two, in tokens.
    max_batch_size, min_batch_size : float, optional
        Tokens: what memory holds, what keeps the accelerators busy.
    max_divergence : float, default 0.01
        Largest probability that the run diverges, where the table has diverged runs.
    against : "published" or sequence of str, default "published"
        Studies to be compared with (`bayescale.laws.published_hyperparameters.STUDIES`);
        "published" is all that N and T suffice for.
    family : str, optional
        Where the fit tells families apart.
    ci_prob : float, default 0.9
    **inputs : float
        Further inputs of the law, switches, and hyperparameters that are given and not sought
        (``batch_size=5e5``: the best rate at that batch; ``width=`` for the muP law).

    Returns
    -------
    Tuning
        ``.draws`` (sample): the optimum of each draw, all hyperparameters jointly, and ``regret``;
        ``.recommended``, ``.table``, ``.costs``, ``.text``, ``.data`` (the grid), ``.plot()``.

    Examples
    --------
    >>> bs.tune(fit, N=1e9, T=1e11, max_batch_size=2**20)  # doctest: +SKIP
    """
    if not 0 < ci_prob < 1:
        raise DataError(f"`ci_prob` is a probability between 0 and 1; got {ci_prob!r}.")
    fitted = opened(fit)
    width = {"width": inputs.pop("width")} if "width" in inputs else {}
    at = {k: v for k, v in (("N", N), ("T", T)) if v is not None}
    place = place_of(fitted, family, {**at, **inputs})
    allowed = limits(batch_sizes, powers_of_two, min_batch_size, max_batch_size, max_divergence)
    return tuning_at(place, allowed, {**at, **width}, against, ci_prob)


def tuning_at(
    place: Place,
    allowed: Any,
    known: Mapping[str, float],
    against: Literal["published"] | Sequence[str],
    ci_prob: float,
) -> Tuning:
    """The answer at one place; ``known`` is what published laws may use."""
    chosen = recommended(place, allowed)
    free = chosen
    restricted = allowed.only is not None or allowed.low > 1 or allowed.high < OPEN.high
    if restricted and BATCH in place.free:
        anywhere = limits(None, False, None, None, allowed.max_divergence)
        free = recommended(place, anywhere)
    regret = np.maximum(place.price(chosen)[:, 0], 0.0)
    columns = {**place.best, "regret": regret}
    beyond = _decades_beyond(place)
    return Tuning(
        draws=xr.Dataset({k: ("sample", np.asarray(v, float)) for k, v in columns.items()}),
        recommended=chosen,
        unrestricted=free,
        costs=settings(place, chosen, free, allowed, ci_prob),
        batches=by_batch(place, chosen, allowed, ci_prob),
        studies=studies(place, chosen, known, against, ci_prob),
        ranges=ranges(place, free, allowed),
        grid=grid_about(place, free, allowed),
        brackets=brackets(place),
        place=place,
        limits=allowed,
        known=dict(known),
        decades_beyond=beyond,
        ci_prob=ci_prob,
        warning=place.fitted.warning,
    )


def _decades_beyond(place: Place) -> float:
    base = place.surface.loss_law
    if base is None:
        return 0.0
    points = {k: np.array([place.inputs[k]]) for k in base.inputs}
    seen = place.fitted.readings(place.family)
    if {"N", "T"} <= set(points):
        families = np.array([place.family or place.fitted.families[0]], dtype=object)
        return float(decades_beyond(place.fitted, points, families)[0])
    far = [float(np.log10(points[k][0] / seen[k].max())) for k in points if k not in ("flops",)]
    return max(0.0, *far) if far else 0.0
