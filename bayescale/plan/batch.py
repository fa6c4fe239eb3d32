"""Batch size as time: how many GPUs can share a run, how soon it ends, and what that costs.

More GPUs need a larger batch, and a larger batch needs more tokens. `batch_trade` puts days against
GPU-hours, with the uncertainty of the fit, and answers the three questions that people have: which
batch meets a deadline at the least cost, which is fastest on the GPUs there are, and which is
cheapest when days cost money too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import SpecError
from bayescale.inference.tree import Fitted, opened
from bayescale.laws.cost import accelerator, mfu_draws
from bayescale.plan.needs import Needs, needs_of
from bayescale.plan.trade import BatchTrade, amount_of
from bayescale.predict import check_points

__all__ = ["BatchTrade", "batch_trade"]

MFU = (0.30, 0.50)  # as in `plan`
SECONDS_A_DAY = 86_400.0


def batch_trade(
    fit: xr.DataTree | Fitted,
    *,
    batch_sizes: Any = None,
    batch_per_gpu: float | None = None,
    memory_per_batch_unit_gb: float | None = None,
    memory_fixed_gb: float = 0.0,
    gpus: float | None = None,
    per_gpu_second: float | tuple[float, float] | None = None,
    flops_per_unit: float | None = None,
    gpu: str = "h100",
    mfu: float | tuple[float, float] = MFU,
    deadline_days: float | None = None,
    price_per_gpu_hour: float | None = None,
    price_per_day: float | None = None,
    at: Mapping[str, float] | None = None,
    unit_size: float | None = None,
    family: str | None = None,
    ci_prob: float = 0.9,
    random_seed: int = 0,
) -> BatchTrade:
    """Steps, tokens, GPU-hours and days to a target for a list of batch sizes, and which to take.

    Parameters
    ----------
    fit : xarray.DataTree
        Of a `CriticalBatchModel`, or of a `HyperparameterModel` with ``batch_size`` in it.
    batch_sizes : array_like, optional
        In the unit of the fit (tokens or samples). Default: powers of two around the data and the
        critical batch size.
    batch_per_gpu : float, optional
        What one GPU takes in a step when it is well used, in the unit of the batch: a batch B can
        be shared by ``B / batch_per_gpu`` GPUs. Without it there are no days.
    memory_per_batch_unit_gb, memory_fixed_gb : float, optional
        Instead: GB of activations a token (sample) takes, and GB that weights and optimiser take
        on each GPU; ``batch_per_gpu`` is then what the memory of ``gpu`` holds.
    gpus : float, optional
        GPUs at hand; more are not used.
    per_gpu_second : float or (low, high), optional
        Measured speed, tokens (samples) a second on one GPU; a pair is a 90 % interval.
    flops_per_unit : float, optional
        Instead: training FLOP a token (6 N) or a sample, with ``gpu`` and ``mfu``. Where runs say
        N and batches are in tokens, 6 N is the default.
    gpu : str, default "h100"
    mfu : float or (low, high), default (0.30, 0.50)
        Model FLOP utilisation; a pair is a 90 % interval.
    deadline_days : float, optional
        Recommend the batch with the fewest GPU-hours that ends in time with probability
        ``ci_prob``.
    price_per_gpu_hour, price_per_day : float, optional
        Adds money; with both, recommend the cheapest.
    at : mapping, optional
        Which run: N (or whatever the critical batch size moves with); for a `HyperparameterModel`
        the planned ``{"N": ..., "T": ...}``.
    unit_size : float, optional
        Units of the batch in one unit of the answer: the samples of an epoch where answers are
        epochs.
    family : str, optional
    ci_prob : float, default 0.9
    random_seed : int, default 0
        For the luck of the run and the speed.

    Returns
    -------
    BatchTrade
        ``.table`` (one row a batch size), ``.recommended``, ``.text``, ``.data``, ``.plot()``.

    Examples
    --------
    >>> trade = bs.batch_trade(  # doctest: +SKIP
    ...     fit, batch_per_gpu=16, per_gpu_second=20.0, deadline_days=2.0
    ... )
    """
    if not 0 < ci_prob < 1:
        raise SpecError(f"`ci_prob` is a probability between 0 and 1; got {ci_prob!r}.")
    fitted = fit if isinstance(fit, Fitted) else opened(fit)
    share = _batch_per_gpu(batch_per_gpu, memory_per_batch_unit_gb, memory_fixed_gb, gpu)
    _check_questions(deadline_days, gpus, price_per_gpu_hour, price_per_day, share)
    sizes = batch_sizes
    if sizes is None and share is not None and gpus is not None:
        sizes = _up_to(gpus * share)
    needs = needs_of(
        fitted, sizes, at=at or {}, family=family, unit_size=unit_size, random_seed=random_seed
    )
    if flops_per_unit is None and per_gpu_second is None:
        flops_per_unit = _six_N(fitted, needs, at or {}, family)
    seconds, speed_text = _seconds_per_unit(
        per_gpu_second, flops_per_unit, gpu, mfu, len(needs.least), random_seed
    )
    if seconds is None and (deadline_days or price_per_day or price_per_gpu_hour):
        raise SpecError(
            "Days and money need a speed: per_gpu_second= (measured), or flops_per_unit= with gpu= "
            "and mfu=."
        )
    draws = _costs(needs, share, gpus, seconds, price_per_gpu_hour, price_per_day)
    asked = {
        "deadline_days": deadline_days, "gpus": gpus, "price_per_gpu_hour": price_per_gpu_hour,
        "price_per_day": price_per_day, "batch_per_gpu": share, "speed": speed_text,
    }  # fmt: skip
    return BatchTrade(draws, needs, asked, ci_prob, fitted.warning, fitted)


def _costs(
    needs: Needs, share: float | None, gpus: float | None, seconds: np.ndarray | None,
    price_per_gpu_hour: float | None, price_per_day: float | None,
) -> xr.Dataset:  # fmt: skip
    """Everything that follows from the needs, dims ``(sample, batch)``."""
    each, both = needs.batch, ("sample", "batch")
    out: dict[str, Any] = {
        amount_of(needs): (both, needs.run),
        "extra": (both, needs.mean / needs.least[:, None] - 1.0),
        "steps": (both, needs.run / each),
    }
    if seconds is not None:
        hours = needs.run * seconds[:, None] / 3600.0
        out["gpu_hours"] = (both, hours)
        if share is not None:
            used = np.maximum(1.0, np.floor(each / share * (1 + 1e-9)))
            used = used if gpus is None else np.minimum(used, gpus)
            out["gpus"] = ("batch", used)
            out["days"] = (both, hours * 3600.0 / used / SECONDS_A_DAY)
        if price_per_gpu_hour is not None:
            money = hours * price_per_gpu_hour
            if price_per_day is not None:
                money = money + out["days"][1] * price_per_day
            out["money"] = (both, money)
    return xr.Dataset(out, {"batch": each})


def _batch_per_gpu(
    given: float | None, each_gb: float | None, fixed_gb: float, gpu: str
) -> float | None:
    if given is not None and each_gb is not None:
        raise SpecError("Say batch_per_gpu= or memory_per_batch_unit_gb=, not both.")
    if given is not None:
        return float(check_points("batch_per_gpu", given)[0])
    if each_gb is None:
        return None
    each = float(check_points("memory_per_batch_unit_gb", each_gb)[0])
    device = accelerator(gpu)
    room = device.memory_gb - fixed_gb
    if room < each:
        raise SpecError(
            f"{device.name} has {device.memory_gb:g} GB: with {fixed_gb:g} GB for weights and "
            f"optimiser, {room:g} GB are left, less than the {each:g} GB of one unit of batch. "
            "Shard the weights, or take a GPU with more memory."
        )
    return float(np.floor(room / each))


def _check_questions(
    deadline: float | None, gpus: float | None, hourly: float | None, daily: float | None,
    share: float | None,
) -> None:  # fmt: skip
    for name, value in (
        ("deadline_days", deadline), ("gpus", gpus), ("price_per_gpu_hour", hourly),
        ("price_per_day", daily),
    ):  # fmt: skip
        if value is not None:
            check_points(name, value)
    if daily is not None and hourly is None:
        raise SpecError("price_per_day= is weighed against price_per_gpu_hour=; give both.")
    if share is None and (deadline or gpus or daily):
        raise SpecError(
            "Days and GPUs need batch_per_gpu= (what one GPU takes in a step when it is well "
            "used), or memory_per_batch_unit_gb=."
        )


def _up_to(most: float) -> np.ndarray:
    """Powers of two up to what all GPUs together take, and that itself."""
    below = 2.0 ** np.arange(np.floor(np.log2(most)) - 9, np.floor(np.log2(most)) + 1)
    return np.unique(np.r_[below[below >= 1], most, 2 * most])


def _seconds_per_unit(
    measured: Any, flops: float | None, gpu: str, mfu: Any, n: int, random_seed: int
) -> tuple[np.ndarray | None, str]:
    """GPU-seconds one token (sample) takes, ``(sample,)``, and how that is known."""
    if measured is not None:
        low, high = np.broadcast_to(np.asarray(measured, float), (2,))
        check_points("per_gpu_second", [low, high])
        if low > high:
            raise SpecError(f"per_gpu_second is (low, high); got {measured!r}.")
        z = np.random.default_rng(random_seed).standard_normal(n)
        sd = np.log(high / low) / (2 * 1.6448536269514722)  # the normal 95 % quantile
        return 1.0 / (np.sqrt(low * high) * np.exp(sd * z)), "as measured"
    if flops is None:
        return None, ""
    each = float(check_points("flops_per_unit", flops)[0])
    device = accelerator(gpu)
    share = mfu_draws(mfu, n, random_seed)
    told = f"{mfu:g}" if isinstance(mfu, int | float) else f"{mfu[0]:g} to {mfu[1]:g}"
    return each / (device.peak_flops * share), f"{device.name} at MFU {told}"


def _six_N(
    fitted: Fitted, needs: Needs, at: Mapping[str, float], family: str | None
) -> float | None:
    """FLOP a token, 6 N, where a token is the unit and N is known."""
    if needs.unit != "tokens":
        return None
    if "N" in at:
        return 6.0 * float(np.asarray(at["N"], float))
    if "N" not in fitted.runs:
        return None
    mine = np.ones(fitted.runs.sizes["run"], bool)
    if fitted.by_family:
        mine = fitted.runs["family"].values.astype(str) == fitted.family(family)
    sizes = np.unique(np.asarray(fitted.runs["N"].values, float)[mine])
    return 6.0 * float(sizes[0]) if len(sizes) == 1 and np.isfinite(sizes[0]) else None
