"""Do the data bracket the optimum, or do they bound it from one side only?

A grid whose smallest batch is its best says that the optimum is no larger; how much smaller it may
be comes from the prior. The rule: at the cell nearest to the question in (ln N, ln T) where two or
more values of a hyperparameter were tried, the share of the posterior of its optimum that lies
below the smallest and above the largest of them. More than `SHARE` on one side, and the answer is a
bound with 95 % probability (for 90 % intervals) instead of an interval; on both sides, there is
none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayescale.tune.place import Place

SHARE = 0.25  # chosen: below it most of the interval lies where runs were made
SAME = 0.02  # e-folds within which two values, or two places, are one

Kind = Literal["interval", "at most", "at least", "unknown"]


@dataclass(frozen=True)
class Bracket:
    """How the tried values of a hyperparameter lie about its optimum, at the nearest cell.

    Attributes
    ----------
    tried : tuple of float
        Smallest and largest value there.
    below, above : float
        Posterior probability that the optimum of that cell is smaller, larger.
    cell : dict of float
        Where it is: ``N``, ``T``, ...; empty where the model has one cell.
    """

    name: str
    tried: tuple[float, float]
    below: float
    above: float
    cell: dict[str, float]

    @property
    def kind(self) -> Kind:
        """What can be said of the optimum."""
        low, high = self.below > SHARE, self.above > SHARE
        if low and high:
            return "unknown"
        return "at most" if low else "at least" if high else "interval"


def brackets(place: Place) -> dict[str, Bracket]:
    """A `Bracket` of every free hyperparameter."""
    return {name: _bracket(place, name) for name in place.free}


def _bracket(place: Place, name: str) -> Bracket:
    seen = place.fitted.readings(place.family)
    axes = place.surface.scales
    values = np.log(np.asarray(seen[name], float))
    where = (
        np.stack([np.log(seen[a]) for a in axes], axis=1) if axes else np.zeros((len(values), 1))
    )
    _, cell = np.unique(np.round(where / SAME), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    asked = np.log([place.inputs[a] for a in axes]) if axes else np.zeros(1)
    nearest, least = None, np.inf
    for c in range(cell.max() + 1):
        mine = cell == c
        if len(np.unique(np.round(values[mine] / SAME))) < 2:
            continue
        away = float(np.sqrt(((where[mine].mean(axis=0) - asked) ** 2).sum()))
        if away < least:
            nearest, least = c, away
    mine = cell == nearest if nearest is not None else np.ones(len(cell), bool)
    middle = {a: float(np.exp(where[mine, i].mean())) for i, a in enumerate(axes)}
    optimum = np.log(place.elsewhere(middle).best[name])
    low, high = values[mine].min(), values[mine].max()
    return Bracket(
        name, (float(np.exp(low)), float(np.exp(high))),
        float(np.mean(optimum < low)), float(np.mean(optimum > high)), middle,
    )  # fmt: skip


def said(draws: np.ndarray, kind: Kind, ci_prob: float) -> tuple[float, float]:
    """The ends that the data give: an interval, or one end with 0 or infinity for the other."""
    tail = (1.0 - ci_prob) / 2
    low, high = (float(x) for x in np.quantile(draws, [tail, 1.0 - tail]))
    low = 0.0 if kind in ("at most", "unknown") else low
    high = float("inf") if kind in ("at least", "unknown") else high
    return low, high
