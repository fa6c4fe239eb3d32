"""Which hyperparameters to take: the least expected price, on allowed batches, off the cliff.

The expected price is convex in the logs of batch and rate, being a mean of convex bowls, so golden
section finds its one minimum; and the probability of divergence grows with the rate, so keeping
away from the cliff is a largest rate for each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.errors import SpecError
from bayescale.frontier import golden_section
from bayescale.laws.surface import BATCH, RATE
from bayescale.predict import check_points
from bayescale.tune.place import Place

HALVINGS = 40
CLOSE = 2e-4  # e-folds; the price is flat there, and 1e-8 of loss is lost


@dataclass(frozen=True)
class Limits:
    """What batches may be taken, and how likely a run may be to diverge.

    Attributes
    ----------
    low, high : float
        Tokens.
    only : ndarray or None
        Batches to choose from.
    max_divergence : float
    """

    low: float
    high: float
    only: np.ndarray | None
    max_divergence: float

    @property
    def powers_of_two(self) -> np.ndarray:
        """Powers of two between the limits; empty where both are open or none fits."""
        first, last = np.ceil(np.log2(self.low) - 1e-9), np.floor(np.log2(self.high) + 1e-9)
        return 2.0 ** np.arange(first, last + 1)


OPEN = Limits(1.0, 2.0**62, None, 1.0)


def limits(
    batch_sizes: Sequence[float] | None,
    powers_of_two: bool,
    low: float | None,
    high: float | None,
    max_divergence: float,
) -> Limits:
    """Checked `Limits`; `SpecError` where no batch is left."""
    if not 0 < max_divergence <= 1:
        raise SpecError(f"`max_divergence` is a probability above zero; got {max_divergence!r}.")
    least = 1.0 if low is None else float(check_points("min_batch_size", low)[0])
    most = OPEN.high if high is None else float(check_points("max_batch_size", high)[0])
    out = Limits(least, most, None, max_divergence)
    only = None
    if batch_sizes is not None:
        given = np.unique(check_points("batch_sizes", batch_sizes))
        only = given[(given >= least) & (given <= most)]
        if powers_of_two:
            only = only[np.log2(only) == np.round(np.log2(only))]
    elif powers_of_two:
        only = out.powers_of_two
    if least > most or (only is not None and not len(only)):
        raise SpecError(
            f"No batch size is left between {least:g} and {most:g} tokens"
            + (" among those given" if batch_sizes is not None else "")
            + (" that is a power of two" if powers_of_two else "")
            + ". Widen min_batch_size and max_batch_size (tokens), or give other batch_sizes."
        )  # fmt: skip
    return Limits(least, most, only, max_divergence)


def recommended(place: Place, limits: Limits) -> dict[str, float]:
    """The value of each free hyperparameter with the least expected price."""
    out = {
        name: least(lambda x, name=name: place.expected({name: x}), place.best[name])
        for name in place.free
        if name not in (BATCH, RATE)
    }
    if BATCH not in place.free:
        held = np.array([place.held[BATCH]]) if BATCH in place.held else None
        rate = rates(place, held, limits)
        return out if rate is None else {RATE: float(rate[0]), **out}
    if limits.only is not None:
        batch = limits.only
        cost = expected_at(place, batch, limits)
        at = int(np.argmin(cost))
        chosen = float(batch[at])
    else:
        optima = np.log(np.clip(place.best[BATCH], limits.low, limits.high))
        ends = np.array([optima.min()]), np.array([optima.max()])
        found = golden_section(
            lambda x: expected_at(place, np.exp(x), limits), *ends, tolerance=CLOSE
        )
        chosen = float(np.clip(np.exp(found[0]), limits.low, limits.high))
    rate = rates(place, np.array([chosen]), limits)
    return {BATCH: chosen, **({} if rate is None else {RATE: float(rate[0])}), **out}


def expected_at(place: Place, batch: np.ndarray, limits: Limits) -> np.ndarray:
    """Expected price of batches, each with the rate to take there, ``(batch,)``."""
    rate = rates(place, batch, limits)
    at: dict[str, Any] = {BATCH: batch[None, :]}
    return place.expected(at if rate is None else {**at, RATE: rate[None, :]})


def rates(place: Place, batch: np.ndarray | None, limits: Limits) -> np.ndarray | None:
    """The rate to take at each batch, ``(batch,)``; None where the rate is not sought."""
    if RATE not in place.free:
        return None
    optima = np.log(place.best[RATE][:, None] if batch is None else place.best_rate(batch))
    at: dict[str, Any] = {} if batch is None else {BATCH: batch[None, :]}
    low, high = optima.min(axis=0), optima.max(axis=0)
    if place.has_cliff:
        most = _largest_rate(place, at, low - 12.0, high + 4.0, limits.max_divergence)
        low, high = np.minimum(low, most), np.minimum(high, most)
    found = golden_section(
        lambda x: place.expected({**at, RATE: np.exp(x)[None, :]}), low, high, tolerance=CLOSE
    )
    return np.exp(np.clip(found, low, high))


def least(f: Any, optima: np.ndarray) -> float:
    """Where a convex expected price is least; it lies among the optima of the draws."""
    ends = (np.array([np.log(x)]) for x in (optima.min(), optima.max()))
    return float(np.exp(golden_section(lambda x: f(np.exp(x)), *ends, tolerance=CLOSE)[0]))


def _largest_rate(
    place: Place, at: dict[str, Any], low: np.ndarray, high: np.ndarray, most: float
) -> np.ndarray:
    """Log of the largest rate at which a run diverges with at most that probability."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        safe = place.p_diverge({**at, RATE: np.exp(middle)[None, :]}) <= most
        low, high = np.where(safe, middle, low), np.where(safe, high, middle)
    return low
