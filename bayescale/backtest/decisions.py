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


def size_decision(
    reference: Reference, family: str | None, draws: np.ndarray
) -> dict[str, Any] | None:
    """The best size at the budget: a method's draws ``(sample,)`` against all the data.

    ``regret`` is the expected share of loss that the median size loses under all the data.
    """
    if not np.isfinite(draws).mean() > 0.5:
        return None
    whole = reference.spending(family)
    truth, _, least, _ = whole.best(np.asarray(reference.budget_flops))
    chosen = float(np.nanmedian(draws))
    at = whole.loss_on_budget(
        np.full((whole.n_samples, 1), chosen), np.full((1, 1), reference.budget_flops)
    )[:, 0]
    row = _row("N", draws, truth) | {"regret": float(np.mean(at / least - 1.0))}
    return {"family": family or "", "at": f"C = {reference.budget_flops:.4g}", **row}


def hyperparameter_decisions(
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


def best_sizes(tree: Any, budget_flops: float, family: str | None) -> np.ndarray:
    """Draws of the compute-optimal size of a fit, ``(sample,)``."""
    return spending(tree, family=family).best(np.asarray(budget_flops))[0]


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


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a fold, method and quantity."""
    columns = ["fold", "method", "family", "quantity", "at", "median", "lower", "upper", "all_data",
               "all_data_lower", "all_data_upper", "inside", "log_error", "regret"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
