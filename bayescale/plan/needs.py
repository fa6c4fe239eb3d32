"""What a target takes at each batch size, draw by draw, from either kind of model.

A `CriticalBatchModel` says it outright. A `HyperparameterModel` says what a batch off the best one
costs in loss, and the need is the tokens that make up for it: the length at which the loss under
that batch, with the best learning rate for it, is what the planned length reaches under the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bayescale.errors import DataError, SpecError
from bayescale.inference.curve import surface_values
from bayescale.inference.tree import Fitted
from bayescale.models.batch_table import SAME_UNIT
from bayescale.predict import check_points, curve, noise

MOST_EXTRA = np.log(1e3)  # e-folds of further tokens that are looked at; beyond, it is out of reach
SCANNED = 60


@dataclass(frozen=True)
class Needs:
    """What a target takes against batch size.

    Attributes
    ----------
    batch : ndarray, (batch,)
    mean, run : ndarray, (sample, batch)
        In the unit of the batch size: of the mean curve, and of a new run. Infinite where the
        target is out of reach.
    least : ndarray, (sample,)
        With the most frugal batch.
    critical : ndarray, (sample,)
        ``B_crit``, or the best batch size of a `HyperparameterModel`.
    critical_name, unit, question : str
    largest : float
        The largest batch size among the runs.
    """

    batch: np.ndarray
    mean: np.ndarray
    run: np.ndarray
    least: np.ndarray
    critical: np.ndarray
    critical_name: str
    unit: str
    question: str
    largest: float


def needs_of(
    fitted: Fitted,
    batch_sizes: Any,
    *,
    at: Mapping[str, float],
    family: str | None,
    unit_size: float | None,
    random_seed: int,
) -> Needs:
    """The needs of a fit at given batch sizes, or at powers of two around what matters."""
    kind = fitted.spec["model"]["kind"]
    if kind == "critical_batch":
        return _to_a_target(fitted, batch_sizes, at, family, unit_size, random_seed)
    if kind == "hyperparameters":
        return _to_a_loss(fitted, batch_sizes, at, family)
    raise SpecError(
        "A batch trade needs to know what batch size costs: fit a CriticalBatchModel to runs that "
        f"reached one target, or a HyperparameterModel; this fit is of kind {kind!r}."
    )


def powers_of_two(low: float, high: float) -> np.ndarray:
    """Powers of two from the one below ``low`` to the one above ``high``."""
    return 2.0 ** np.arange(np.floor(np.log2(low)), np.ceil(np.log2(high)) + 1)


def _to_a_target(
    fitted: Fitted, batch_sizes: Any, at: Mapping[str, float], family: str | None,
    unit_size: float | None, random_seed: int,
) -> Needs:  # fmt: skip
    model, name = fitted.model, fitted.family(family)
    scale = _unit_size(model, unit_size)
    where = _along(fitted, at, name)
    parameters = fitted.parameters(name)
    least = model.smallest_need(parameters, where)
    critical = model.critical_batch(parameters, where)
    if model.answer == "step":
        scale = 1.0
    seen = fitted.readings(name if fitted.by_family else None)[model.batch]
    batch = _sizes(batch_sizes, seen, critical)
    points = {model.batch: batch} | ({model.along: np.full(len(batch), where)} if where else {})
    families = np.full(len(batch), name, dtype=object)
    mean = curve(fitted, points, families)
    if model.answer == "step":
        mean = mean * batch
    luck = np.exp(noise(fitted, {}, families[:1], random_seed))  # the same at every batch size
    question = "to the target" + (f" of {name}" if fitted.by_family else "")
    return Needs(
        batch, mean * scale, mean * scale * luck, least * scale, critical, "critical batch size",
        _unit(model.batch), question, float(seen.max()),
    )  # fmt: skip


def _unit_size(model: Any, given: float | None) -> float:
    """How many units of the batch size one unit of the answer is."""
    if given is not None:
        return float(check_points("unit_size", given)[0])
    if model.answer == "step" or (model.answer, model.batch) in SAME_UNIT:
        return 1.0
    raise SpecError(
        f"`{model.answer}` and `{model.batch}` may be in different units. Say unit_size=: how many "
        f"units of `{model.batch}` one of `{model.answer}` is, 1 where they are the same, the "
        "samples of an epoch where answers are epochs."
    )


def _along(fitted: Fitted, at: Mapping[str, float], family: str) -> float | None:
    along = fitted.model.along
    if along is None:
        return None
    if along in at:
        return float(check_points(f"at {along}", at[along])[0])
    seen = np.unique(fitted.readings(family if fitted.by_family else None)[along])
    if len(seen) == 1:
        return float(seen[0])
    raise SpecError(f"The critical batch size moves with `{along}`; say at={{'{along}': ...}}.")


def _to_a_loss(
    fitted: Fitted, batch_sizes: Any, at: Mapping[str, float], family: str | None
) -> Needs:
    surface, name = fitted.model.surface, fitted.family(family)
    if "batch_size" not in surface.hyperparameters or "T" not in fitted.law.inputs:
        raise SpecError(
            "A batch trade of a HyperparameterModel needs `batch_size` among its hyperparameters "
            f"and a loss law of T; this one has {', '.join(fitted.law.inputs)}."
        )
    wanted = [*(surface.loss_law.inputs if surface.loss_law else ()), *surface.switches]
    missing = [k for k in wanted if k not in at]
    if missing:
        raise SpecError(
            f"Say which run is planned: at={{{', '.join(f'{k!r}: ...' for k in wanted)}}}; "
            f"{', '.join(f'`{m}`' for m in missing)} is missing."
        )
    here = {k: float(np.asarray(at[k], float)) for k in wanted}
    values = surface_values(fitted, here, name)
    best = np.exp(surface.log_best("batch_size", values, np))[:, 0]
    seen = fitted.readings(name if fitted.by_family else None)["batch_size"]
    batch = _sizes(batch_sizes, seen, best)
    target = surface.log_tuned(values, np)
    excess = lambda more: _loss_at(surface, values, batch, here["T"], more) - target  # noqa: E731
    mean = here["T"] * np.exp(_first_root(excess, (len(best), len(batch))))
    question = "to the loss that " + ", ".join(
        f"{k} = {v:.3g}" for k, v in here.items()
    ) + " reaches with the best batch"  # fmt: skip
    least = np.full(len(best), here["T"])
    return Needs(
        batch, mean, mean, least, best, "best batch size", "tokens", question, float(seen.max())
    )


def _loss_at(surface: Any, values: Any, batch: np.ndarray, T: float, more: np.ndarray) -> Any:
    """Log loss under a batch with the best rate for it, ``more`` e-folds of tokens further on."""
    there = {**values, "T": T * np.exp(more), "batch_size": batch}
    log_tuned, prices = surface.parts(there, np)
    return log_tuned + prices["batch_size"]


def _first_root(excess: Any, shape: tuple[int, int]) -> np.ndarray:
    """E-folds of further tokens after which ``excess`` first comes down to zero; infinite if never.

    The first, since the best batch grows with tokens: far enough on, a small batch is so far off
    that more tokens do not help.
    """
    grid = np.r_[0.0, np.geomspace(1e-4, MOST_EXTRA, SCANNED)]
    left, found = np.zeros(shape), np.zeros(shape, bool)
    right = np.zeros(shape)
    for low, high in pairwise(grid):
        new = ~found & (excess(np.full(shape, high)) <= 0)
        left, right = np.where(new, low, left), np.where(new, high, right)
        found |= new
        if found.all():
            break
    for _ in range(30):
        middle = (left + right) / 2
        enough = excess(middle) <= 0
        left, right = np.where(enough, left, middle), np.where(enough, middle, right)
    return np.where(found, right, np.inf)


def _sizes(given: Any, seen: np.ndarray, critical: np.ndarray) -> np.ndarray:
    """Batch sizes to compare: those given, or powers of two about the data and the critical."""
    if given is not None:
        sizes = np.unique(check_points("batch_sizes", given))
        if not len(sizes):
            raise DataError("`batch_sizes` is empty.")
        return sizes
    middle = float(np.median(critical))
    return powers_of_two(min(seen.min(), middle / 8), max(seen.max(), 4 * middle))


def _unit(column: str) -> str:
    return {"batch_size": "tokens", "batch_samples": "samples"}.get(column, "")
