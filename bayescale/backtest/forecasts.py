"""Forecasts of held-out readings, scored: by a fit of ours, and by what others would do."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.backtest.answer import OURS
from bayescale.backtest.baselines import BASELINES, DRAWS, FEWEST
from bayescale.backtest.folds import Fold
from bayescale.backtest.point_fit import Rows
from bayescale.backtest.scores import scored
from bayescale.errors import ExtrapolationWarning
from bayescale.inference import opened
from bayescale.models.table import fitted_readings
from bayescale.predict import predict


def of_fit(model: Any, fold: Fold, tree: Any, probs: tuple[float, ...], seed: int) -> pd.DataFrame:
    """Forecasts of a fitted model, one row a held-out reading."""
    at: dict[str, Any] = fold.points(model.fitted_law.inputs)
    if opened(tree).by_family:
        at["family"] = families_of(fold.held_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        answer = predict(tree, at, random_seed=seed)
    points = _scored(model, fold, OURS, answer.draws.values, probs, seed)
    return points.assign(decades_beyond=answer.decades_beyond)


def of_baseline(
    model: Any, fold: Fold, name: str, probs: tuple[float, ...], seed: int
) -> pd.DataFrame:
    """Forecasts of a baseline; NaN where a family has too few rows for it to answer."""
    at, held = fold.points(("N", "T")), families_of(fold.held_out)
    draws = np.full((DRAWS, len(held)), np.nan)
    for family, rows in rows_of(model, fold).items():
        mine = np.ones(len(held), bool) if family is None else held == family
        if len(rows) >= FEWEST and mine.any():
            rng = np.random.default_rng([seed, len(rows)])
            draws[:, mine] = BASELINES[name].forecast(rows, at["N"][mine], at["T"][mine], rng)
    return _scored(model, fold, BASELINES[name].name, draws, probs, seed)


def rows_of(model: Any, fold: Fold) -> dict[str | None, Rows]:
    """What a baseline fits: all rows, or each family's where the model tells them apart."""
    law = model.fitted_law
    seen = fitted_readings(fold.fitted, law)
    rows = Rows(*(np.asarray(seen[k].values, float) for k in ("N", "T", law.response)))
    if model.family is None:
        return {None: rows}
    family = families_of(seen)
    return {name: rows[family == name] for name in np.unique(families_of(fold.held_out))}


def families_of(flat: xr.Dataset) -> np.ndarray:
    """Names, ``(reading,)``."""
    return flat["family"].values.astype(str)


def _scored(
    model: Any, fold: Fold, method: str, draws: np.ndarray, probs: tuple[float, ...], seed: int
) -> pd.DataFrame:
    law = model.fitted_law
    about = {
        "fold": fold.name, "axis": fold.axis, "cutoff": fold.cutoff, "method": method,
        "run": fold.held_out["run"].values.astype(str), "family": families_of(fold.held_out),
        **fold.points(law.inputs),
    }  # fmt: skip
    observed = np.asarray(fold.held_out[law.response].values, float)
    return pd.DataFrame(about).join(scored(draws, observed, probs, seed))
