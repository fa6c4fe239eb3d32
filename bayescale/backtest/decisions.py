"""Decisions of a fold against those of all the data: the best size, batch and rate, and regret.

Nobody knows the true optimum of a real table. The reference is the same model fitted to every run:
an early interval that excludes what all the data say has broken its promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayescale.answers import interval
from bayescale.backtest.answer import OURS
from bayescale.backtest.baselines import BASELINES, FEWEST
from bayescale.backtest.folds import Fold
from bayescale.backtest.forecasts import families_of, rows_of
from bayescale.frontier import Spending, spending
from bayescale.inference.curve import best_hyperparameters
from bayescale.inference.tree import Fitted, opened

CI_PROB = 0.9


@dataclass(frozen=True)
class Reference:
    """What all the data say, to judge the decisions of folds by.

    Attributes
    ----------
    tree : xarray.DataTree
        The model fitted to every run.
    budget_flops : float
        At which the best size is asked for.
    """

    tree: Any
    budget_flops: float

    @property
    def fitted(self) -> Fitted:
        """The fit, opened."""
        return opened(self.tree)

    @property
    def families(self) -> list[str | None]:
        """Those that the model tells apart."""
        return list(self.fitted.families) if self.fitted.by_family else [None]

    def spending(self, family: str | None) -> Spending:
        """Loss along the budget under all the data."""
        return spending(self.tree, family=family)


def decisions_of(fold: Fold, tree: Any, reference: Reference) -> list[dict[str, Any]]:
    """The best size at the budget, and the best hyperparameters at the largest held-out run."""
    rows = []
    for family in reference.families:
        if family is not None and family not in opened(tree).families:
            continue  # nothing was known about it below the cut
        sizes = spending(tree, family=family).best(np.asarray(reference.budget_flops))[0]
        rows += _size(reference, family, sizes)
        if opened(tree).surface is not None:
            rows += _hyperparameters(reference, tree, _largest(fold, family), family)
    return [{"fold": fold.name, "method": OURS, **row} for row in rows]


def decisions_of_baseline(
    model: Any, fold: Fold, name: str, reference: Reference, seed: int
) -> list[dict[str, Any]]:
    """The best size at the budget, where the baseline has rows enough."""
    rows = []
    for family, mine in rows_of(model, fold).items():
        if len(mine) >= FEWEST:
            rng = np.random.default_rng([seed, len(mine)])
            sizes = BASELINES[name].sizes(mine, reference.budget_flops, rng)
            rows += _size(reference, family, sizes)
    return [{"fold": fold.name, "method": BASELINES[name].name, **row} for row in rows]


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a fold, method and quantity."""
    columns = ["fold", "method", "family", "quantity", "at", "median", "lower", "upper", "all_data",
               "all_data_lower", "all_data_upper", "inside", "log_error", "regret"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _size(reference: Reference, family: str | None, draws: np.ndarray) -> list[dict[str, Any]]:
    """The best size at the budget: a method's draws ``(sample,)`` against all the data.

    ``regret`` is the expected share of loss that the median size loses under all the data.
    """
    if not np.isfinite(draws).mean() > 0.5:
        return []
    whole = reference.spending(family)
    truth, _, least, _ = whole.best(np.asarray(reference.budget_flops))
    chosen = float(np.nanmedian(draws))
    at = whole.loss_on_budget(
        np.full((whole.n_samples, 1), chosen), np.full((1, 1), reference.budget_flops)
    )[:, 0]
    row = _row("N", draws, truth) | {"regret": float(np.mean(at / least - 1.0))}
    return [{"family": family or "", "at": f"C = {reference.budget_flops:.4g}", **row}]


def _hyperparameters(
    reference: Reference, tree: Any, at: dict[str, float], family: str | None
) -> list[dict[str, Any]]:
    """Best batch size, learning rate and others at one place, against all the data."""
    place = {k: np.array([[v]]) for k, v in at.items()}
    mine = best_hyperparameters(opened(tree), place, family)
    theirs = best_hyperparameters(reference.fitted, place, family)
    where = ", ".join(f"{k} = {v:.4g}" for k, v in at.items())
    return [
        {"family": family or "", "at": where, **_row(name, mine[name][:, 0], theirs[name][:, 0])}
        for name in mine
    ]


def _largest(fold: Fold, family: str | None) -> dict[str, float]:
    """Where the held-out run of most compute stands."""
    held = fold.held_out
    if family is not None and family in families_of(held):
        held = held.isel(reading=families_of(held) == family)
    i = int(np.argmax(np.asarray(held["N"].values * held["T"].values, float)))
    return {k: float(held[k].values[i]) for k in ("N", "T")}


def _row(name: str, draws: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    low, high = interval(draws, CI_PROB)
    ends = interval(truth, CI_PROB)
    middle = float(np.median(truth))
    return {
        "quantity": name, "median": float(np.nanmedian(draws)),
        "lower": float(low), "upper": float(high),
        "all_data": middle, "all_data_lower": float(ends[0]), "all_data_upper": float(ends[1]),
        # a point answer has no interval that could hold anything
        "inside": float(low <= middle <= high) if np.nanstd(draws) > 0 else np.nan,
        "log_error": float(np.log(np.nanmedian(draws) / middle)), "regret": np.nan,
    }  # fmt: skip
