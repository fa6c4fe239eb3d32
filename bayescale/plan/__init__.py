"""Decisions under a budget, with their regret: how large, how long, what loss, what it costs.

The plan is the size with the least *expected* loss over the posterior. Its regret is what it
loses, draw by draw, against the size that would have been best had that draw been the truth; the
near-optimal region is every size that costs less than a stated share of loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from bayescale.answers import flops, si
from bayescale.errors import DataError, ExtrapolationWarning
from bayescale.frontier import Spending, spending
from bayescale.laws.cost import Cost, accelerator, gpu_hours, mfu_draws
from bayescale.plan.answer import Plan
from bayescale.plan.choice import best_of_draws, least_expected, loss_curve, size_for_tokens
from bayescale.plan.question import (
    Budget,
    budget_for_target,
    budget_in_flops,
    budget_in_hours,
    check_question,
    cost_of_run,
)
from bayescale.plan.tuned import Hyperparameters, hyperparameters
from bayescale.predict import FAR_DECADES, check_points, decades_beyond_flops, noise

__all__ = ["Plan", "plan"]

GPU = "h100"
MFU = (0.30, 0.50)  # 90 % interval where the user says nothing: well-run large jobs reach 38-45 %
SEQUENCE = 2048.0  # tokens of a sample where the runs do not say; an assumption, printed as one


def plan(
    fit: xr.DataTree,
    *,
    budget_flops: float | None = None,
    budget_gpu_hours: float | None = None,
    target_loss: float | None = None,
    fixed: Mapping[str, float] | None = None,
    sizes: Sequence[float] | None = None,
    lifetime_tokens: float = 0.0,
    gpu: str = GPU,
    mfu: float | tuple[float, float] = MFU,
    price_per_gpu_hour: float | None = None,
    tokens_per_sample: float | None = None,
    cost: Cost | None = None,
    family: str | None = None,
    ci_prob: float = 0.9,
    random_seed: int = 0,
) -> Plan:
    """The run to buy, for a budget or for a target, with its uncertainty and regret.

    Say exactly one of ``budget_flops``, ``budget_gpu_hours``, ``target_loss``, or fix both N and T.

    Parameters
    ----------
    fit : xarray.DataTree
    budget_flops : float, optional
        Compute for training, and for serving where ``lifetime_tokens`` is given; FLOP.
    budget_gpu_hours : float, optional
        The same in hours of ``gpu``; the uncertainty of ``mfu`` is carried through.
    target_loss : float, optional
        Loss of the mean curve to reach; the least budget is part of the answer.
    fixed : mapping, optional
        ``{"N": 7e8}``, ``{"T": 1e11}`` or both, and values of further inputs of the law. Of a fit
        with hyperparameters those fixed here are habits that the plan keeps at every size; the
        others are at their best.
    sizes : sequence of float, optional
        Real model sizes to choose from.
    lifetime_tokens : float, default 0
        Tokens that the model will serve, at 2 N FLOP each, paid from the same budget.
    gpu : str, default "h100"
        Accelerator for GPU-hours (`bayescale.laws.cost.ACCELERATORS`).
    mfu : float or (low, high), default (0.30, 0.50)
        Model FLOP utilisation; a pair is a 90 % interval.
    price_per_gpu_hour : float, optional
        Adds money.
    tokens_per_sample : float, optional
        Tokens of an image, clip or sequence. Default: from the runs' own ``samples``, else 2,048.
    cost : Cost, optional
        FLOP of a run; default from the runs' own column, else 6NT.
    family : str, optional
        Where the fit tells families apart.
    ci_prob : float, default 0.9
    random_seed : int, default 0

    Returns
    -------
    Plan
        ``.draws`` (sample): N, T, loss and more; ``.table``; ``.text``; ``.data``; ``.plot()``.

    Raises
    ------
    SpecError, DataError
        Nothing or too much asked, no law of N and T, a target that cannot be reached.
    """
    fixed = {k: float(check_points(f"fixed {k}", v)[0]) for k, v in (fixed or {}).items()}
    size, tokens = fixed.pop("N", None), fixed.pop("T", None)
    chosen = size is None and tokens is None
    check_question(budget_flops, budget_gpu_hours, target_loss, size, tokens, sizes)
    spend = spending(fit, family=family, cost=cost, lifetime_tokens=lifetime_tokens, others=fixed)
    utilisation = mfu_draws(mfu, spend.n_samples, random_seed)
    if target_loss is not None:
        budget = budget_for_target(spend, target_loss, size, ci_prob)
    elif budget_flops is not None:
        budget = budget_in_flops(spend, budget_flops)
    elif budget_gpu_hours is not None:
        budget = budget_in_hours(spend, budget_gpu_hours, gpu, utilisation)
    else:
        assert size is not None and tokens is not None  # the question was checked
        budget = cost_of_run(spend, size, tokens)

    if tokens is not None and size is None:
        size = size_for_tokens(spend, budget.planned, tokens)
    choices = list(sizes or [])
    planned_size = size if size is not None else least_expected(spend, budget.spent, choices)
    run = _planned_run(spend, budget, planned_size, tokens)
    usable = np.where(budget.reached, budget.draws, budget.planned)
    best = best_of_draws(spend, usable, size, tokens, choices)
    best_spending_the_same = (
        best if target_loss is None else best_of_draws(spend, budget.spent, size, tokens, choices)
    )
    per_sample, samples_text = _tokens_per_sample(spend, tokens_per_sample)
    length = float(np.nanmedian(run["T"]))
    hyper = hyperparameters(spend, best, planned_size, length, ci_prob)
    hours = gpu_hours(spend.cost.flops(planned_size, run["T"]), gpu, utilisation)
    columns = {
        "N": np.where(budget.reached, best[0], np.nan),
        "T": np.where(budget.reached, best[1], np.nan),
        "loss": best[2],
        "tokens_per_parameter": np.where(budget.reached, best[1] / best[0], np.nan),
        "budget_flops": budget.draws,
        "tokens_planned": run["T"],
        "loss_planned": run["loss"] * np.exp(hyper.price),
        "loss_run": run["loss"]
        * np.exp(hyper.price + _noise_of_run(spend, planned_size, length, hyper, random_seed)),
        "regret": np.maximum(run["loss"] / best_spending_the_same[2] - 1.0, 0.0),
        "gpu_hours": hours,
        "samples": run["T"] / per_sample,
        **{k: np.where(budget.reached, v, np.nan) for k, v in hyper.draws.items()},
    }
    if price_per_gpu_hour is not None:
        columns["money"] = hours * float(check_points("price_per_gpu_hour", price_per_gpu_hour)[0])
    recommended = {
        "N": float(planned_size),
        "T": length,
        "budget_flops": budget.planned,
        **hyper.recommended,
    }
    serving = f", serving {si(lifetime_tokens)} tokens" if lifetime_tokens else ""
    asked = {
        "question": budget.question.removesuffix(":") + serving + ":",
        "compute_text": budget.unit + (f"{serving} included" if serving else ""),
        "samples_text": samples_text, "odds": budget.odds, "gpu": accelerator(gpu).name,
        "mfu": mfu, "price": price_per_gpu_hour, "chosen": chosen, "sizes": choices,
        "family": spend.family, "habit": hyper.habit,
    }  # fmt: skip
    return Plan(
        xr.Dataset({k: ("sample", np.asarray(v, float)) for k, v in columns.items()}),
        recommended,
        loss_curve(spend, budget.spent, planned_size, ci_prob),
        asked,
        _distance(spend, recommended),
        ci_prob,
        spend.fitted.warning,
        spend.fitted,
        hyper.tuning,
    )


def _planned_run(
    spend: Spending, budget: Budget, size: float, tokens: float | None
) -> dict[str, np.ndarray]:
    """Tokens and loss (mean curve) of the recommended run under each draw, ``(sample,)``."""
    at = np.full((spend.n_samples, 1), size)
    length = (
        spend.tokens(at, budget.spent[:, None]) if tokens is None else np.full(at.shape, tokens)
    )
    if not np.isfinite(np.nanmedian(np.where(np.isfinite(length), length, -np.inf))):
        raise DataError(
            f"Serving {si(spend.lifetime_tokens)} tokens with {si(size)} parameters alone exceeds "
            f"the budget of {flops(budget.planned)}."
        )
    return {"T": length[:, 0], "loss": spend.loss(at, length)[:, 0]}


def _noise_of_run(
    spend: Spending, size: float, length: float, hyper: Hyperparameters, seed: int
) -> np.ndarray:
    """Noise of one new run in log loss, ``(sample,)``; a run off its best repeats less well."""
    points = {"N": size, "T": length, "flops": float(spend.cost.flops(size, length))}
    points |= {**(spend.others or {}), **hyper.recommended}
    family = np.array([spend.family or spend.fitted.families[0]], dtype=object)
    arrays = {k: np.array([v], float) for k, v in points.items()}
    return noise(spend.fitted, arrays, family, seed)[:, 0]


def _distance(spend: Spending, recommended: dict[str, float]) -> float:
    """Decades of compute beyond the data; a warning where they are many."""
    training = float(spend.cost.flops(recommended["N"], recommended["T"]))
    far = decades_beyond_flops(spend.fitted, training, spend.family)
    if far > FAR_DECADES:
        warnings.warn(
            f"The plan lies {far:.1f} decades of compute beyond the data; the intervals hold if "
            "the law does.",
            ExtrapolationWarning,
            stacklevel=3,
        )
    return far


def _tokens_per_sample(spend: Spending, given: float | None) -> tuple[float, str]:
    if given is not None:
        value = float(check_points("tokens_per_sample", given)[0])
        return value, f"of {value:,.0f} tokens"
    runs = spend.fitted.runs
    if "samples" in runs:
        ratio = np.asarray((runs["T"] / runs["samples"]).values, float)
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        if len(ratio):
            value = float(np.median(ratio))
            return value, f"of {value:,.0f} tokens, as in the runs"
    return SEQUENCE, f"of {SEQUENCE:,.0f} tokens, assumed"
