"""What a setting costs: expected share of loss against the best of each draw, with its interval.

One measure for every setting, so that they can be set side by side: the recommended one, rates and
batches off it by a factor, powers of two, and what published laws advise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from bayescale.answers import interval
from bayescale.errors import SpecError
from bayescale.laws.published_hyperparameters import (
    every_published_hyperparameter,
    published_hyperparameters,
)
from bayescale.laws.surface import BATCH, RATE
from bayescale.tune.choice import Limits, expected_at, rates
from bayescale.tune.place import Place

FACTORS = (2.0, 0.5, 4.0, 0.25)
AROUND = 3  # powers of two listed on either side


def settings(
    place: Place,
    chosen: Mapping[str, float],
    free: Mapping[str, float],
    limits: Limits,
    ci_prob: float,
) -> pd.DataFrame:
    """One row a setting: hyperparameters, ``cost`` with ``lower`` and ``upper``, ``p_diverge``."""
    rows = {"recommended": dict(chosen)}
    if dict(free) != dict(chosen):
        rows["without limits"] = dict(free)
    if BATCH in place.free:
        power = nearest_power(place, limits)
        if power is not None:
            rows["power of two"] = {**chosen, **power}
    for name in place.free:
        if name == BATCH:
            continue
        for factor in FACTORS:
            rows[f"{name} x {factor:g}"] = {**chosen, name: chosen[name] * factor}
    if BATCH in place.free:
        for factor in FACTORS:
            batch = chosen[BATCH] * factor
            rate = rates(place, np.array([batch]), limits)
            own = {} if rate is None else {RATE: float(rate[0])}
            rows[f"batch_size x {factor:g}"] = {**chosen, BATCH: batch, **own}
            if rate is not None:
                rows[f"batch_size x {factor:g}, same rate"] = {**chosen, BATCH: batch}
    return priced(place, rows, ci_prob)


def nearest_power(place: Place, limits: Limits) -> dict[str, float] | None:
    """The power of two with the least expected price, with its rate; None where none fits."""
    centre = np.log2(np.clip(np.median(place.best[BATCH]), limits.low, limits.high))
    powers = limits.powers_of_two
    powers = powers[np.abs(np.log2(powers) - centre) <= 12]
    if not len(powers):
        return None
    batch = powers[[int(np.argmin(expected_at(place, powers, limits)))]]
    rate = rates(place, batch, limits)
    return {BATCH: float(batch[0]), **({} if rate is None else {RATE: float(rate[0])})}


def by_batch(
    place: Place, chosen: Mapping[str, float], limits: Limits, ci_prob: float
) -> pd.DataFrame:
    """One row a batch that may be used, each with the rate to take there; empty without batches."""
    if BATCH not in place.free:
        return pd.DataFrame()
    batch = limits.only
    if batch is None:
        middle = np.round(np.log2(chosen[BATCH]))
        batch = 2.0 ** np.arange(middle - AROUND, middle + AROUND + 1)
        batch = batch[(batch >= limits.low) & (batch <= limits.high)]
    if not len(batch):
        return pd.DataFrame()
    rate = rates(place, batch, limits)
    rows = {}
    for i, b in enumerate(batch):
        own = {} if rate is None else {RATE: float(rate[i])}
        rows[str(i)] = {**chosen, BATCH: float(b), **own}
    return priced(place, rows, ci_prob).reset_index(drop=True)


def studies(
    place: Place,
    chosen: Mapping[str, float],
    known: Mapping[str, float],
    against: Literal["published"] | Sequence[str],
    ci_prob: float,
) -> pd.DataFrame:
    """One row a study: its advice, what following it costs, how it counts and where it stands.

    Where a study advises the batch alone, the rate is the best for that batch; where it advises the
    rate alone, the batch is the recommended one.
    """
    if isinstance(against, str) and against != "published":
        against = (against,)
    if against == "published":
        advice = every_published_hyperparameter(**known)
    else:
        advice = {}
        for name in against:
            study = published_hyperparameters(name)
            if not study.complete:
                raise SpecError(
                    f"{name!r} prints exponents and no coefficient, so it cannot be followed; "
                    f"anchor it at a point you have tuned: "
                    f"laws.published_hyperparameters({name!r}).anchored(...)."
                )
            advice[name] = study(**known)
    rows = {}
    for name, said in advice.items():
        ours = {k: float(v) for k, v in said.items() if k in place.free}
        if not ours:
            continue
        if BATCH in ours and RATE in place.free and RATE not in ours:
            optimum = np.log(place.best_rate(np.array([ours[BATCH]])))
            ours[RATE] = float(np.exp(np.median(optimum)))
        rows[name] = {**chosen, **ours}
    if not rows:
        return pd.DataFrame()
    out = priced(place, rows, ci_prob)
    catalogue = [published_hyperparameters(name) for name in rows]
    return out.assign(
        accounting=[s.accounting for s in catalogue], source=[s.source for s in catalogue]
    )


def priced(place: Place, rows: Mapping[str, Mapping[str, float]], ci_prob: float) -> pd.DataFrame:
    """Settings with what they cost, as a share of loss."""
    at = {name: np.array([[row[name] for row in rows.values()]]) for name in place.free}
    cost = place.price(at)
    low, high = interval(cost, ci_prob)
    columns: dict[str, Any] = {name: at[name][0] for name in place.free}
    columns |= {"cost": cost.mean(axis=0), "lower": low, "upper": high}
    if place.has_cliff:
        columns["p_diverge"] = np.broadcast_to(place.p_diverge(at), (len(rows),))
    return pd.DataFrame(columns, index=pd.Index(rows, name="setting"))
