"""What a habit of fixed hyperparameters does to a loss law, and to the size that it recommends.

A sweep in which every run has one batch size and one learning rate shows a loss law too, only
another one: small and large runs lie unequally far from their best settings. The fitted surface
knows both laws, draw by draw, so the question has an answer with intervals: how N*(C) grows under
the habit, how much loss it gives away, and which constants a fit to such a sweep would have found.

Yin et al. (2024, arXiv:2411.17470) asked it first: with fixed hyperparameters the exponent that
their loss law predicts was 30.26 % off the measured one, with tuned ones 3.57 %, and tuning took
39.9 % off the best size at 1e22 FLOP.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import DataError, SpecError
from bayescale.frontier import frontier, spending
from bayescale.habit.answer import Habit
from bayescale.habit.refit import FEWEST_CELLS, additive_constants
from bayescale.inference.curve import mean_loss
from bayescale.inference.tree import Fitted, opened
from bayescale.laws.cost import Cost
from bayescale.predict import check_points
from bayescale.tune.choice import OPEN, recommended
from bayescale.tune.place import Place, place_of

__all__ = ["Habit", "habit"]

BUDGETS = 7


def habit(
    fit: xr.DataTree,
    *,
    batch_size: float | None = None,
    learning_rate: float | None = None,
    budgets_flops: Any = None,
    draws: int = 1000,
    cost: Cost | None = None,
    family: str | None = None,
    ci_prob: float = 0.9,
    **others: float,
) -> Habit:
    """The loss law and the best sizes under fixed hyperparameters, beside those under tuned ones.

    Parameters
    ----------
    fit : xarray.DataTree
        Of a `bayescale.HyperparameterModel` with a law of N and T.
    batch_size : float, optional
        Tokens, the same for every run.
    learning_rate : float, optional
        The same for every run. What is not given is at its best for each run; with neither, the
        habit is what suits the middle of the data, tuned once and kept.
    budgets_flops : array_like, (budget,), optional
        Default: seven from the smallest run to two decades beyond the largest.
    draws : int, default 1000
        Posterior draws at most; the differences are between two laws of one draw, so few suffice.
    cost : Cost, optional
        FLOP of a run; default from the runs, else 6NT.
    family : str, optional
        Where the fit tells families apart.
    ci_prob : float, default 0.9
    **others : float
        Further hyperparameters of the habit, and values of switches and further inputs.

    Returns
    -------
    Habit
        ``.table`` (a row a budget), ``.exponents``, ``.constants``, ``.text``, ``.data``,
        ``.plot()``.

    Examples
    --------
    >>> bs.habit(fit, batch_size=5e5, learning_rate=1e-3)  # doctest: +SKIP
    """
    if not 0 < ci_prob < 1:
        raise DataError(f"`ci_prob` is a probability between 0 and 1; got {ci_prob!r}.")
    thin = thinned(fit, draws)
    fitted = opened(thin)
    if fitted.surface is None or not {"N", "T"} <= set(fitted.surface.scales):
        raise SpecError(
            "A habit is compared along a budget, so the fit must know hyperparameters and a loss "
            "law of N and T: bs.HyperparameterModel('interacting')."
        )
    names = fitted.surface.hyperparameters
    given = {"batch_size": batch_size, "learning_rate": learning_rate, **others}
    given = {k: float(v) for k, v in given.items() if v is not None}
    for name in (n for n in given if n not in fitted.surface.switches):
        check_points(name, given[name])
    kept = {k: v for k, v in given.items() if k in names}
    inputs = {k: v for k, v in given.items() if k not in names}
    seen = fitted.readings(fitted.asked_family(family))
    middle = {k: float(np.exp(np.log(seen[k]).mean())) for k in ("N", "T")}
    place = place_of(fitted, family, {**middle, **inputs}, "bs.habit")
    tuned_once = not kept
    kept = kept or recommended(place, OPEN)
    budgets = budgets_flops if budgets_flops is not None else _budgets(seen)
    along = {"family": family, "cost": cost, "ci_prob": ci_prob}
    tuned = frontier(thin, budgets, fixed=inputs, **along)
    under = frontier(thin, budgets, fixed={**inputs, **kept}, **along)
    spend = spending(thin, family=family, cost=cost, others=inputs)
    N, T = (under.draws[k].values for k in ("N", "T"))
    sized = spend.loss(N, T)  # tuned runs of the sizes that the habit would have chosen
    return Habit(
        kept,
        middle if tuned_once else {},
        tuned,
        under,
        sized,
        _refit(fitted, place, {}),
        _refit(fitted, place, kept),
        ci_prob,
        fitted.warning,
    )


def thinned(fit: xr.DataTree, most: int) -> xr.DataTree:
    """A fit with at most so many posterior draws, evenly taken."""
    opened(fit)
    posterior = fit["posterior"].dataset
    step = -(-posterior.sizes["chain"] * posterior.sizes["draw"] // most)
    if step <= 1:
        return fit
    out = fit.copy()
    out["posterior"] = xr.DataTree(posterior.isel(draw=slice(None, None, step)))
    return out


def _budgets(seen: dict[str, np.ndarray]) -> np.ndarray:
    c = seen["flops"] if "flops" in seen else 6.0 * seen["N"] * seen["T"]
    return np.geomspace(c.min(), 100 * c.max(), BUDGETS)


def _refit(fitted: Fitted, place: Place, kept: dict[str, float]) -> dict[str, np.ndarray]:
    """Additive law of the losses that a sweep at the cells of the data would have shown."""
    seen = fitted.readings(place.family)
    cells = np.unique(np.column_stack([seen["N"], seen["T"]]), axis=0)
    if len(cells) < FEWEST_CELLS or min(len(np.unique(c)) for c in cells.T) < 2:
        return {}
    at = {**place.inputs, "N": cells[:, 0], "T": cells[:, 1], **kept}
    if "flops" in place.inputs:
        at["flops"] = 6.0 * cells[:, 0] * cells[:, 1]
    loss = mean_loss(fitted, {k: np.atleast_2d(v) for k, v in at.items()}, place.family)
    return additive_constants(cells[:, 0], cells[:, 1], np.asarray(loss))
