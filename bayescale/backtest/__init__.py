"""`backtest`: fit below a cut-off, forecast above it, and count how often the intervals held."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.backtest.answer import OURS, Backtest
from bayescale.backtest.baselines import BASELINES, FEWEST, AbstractBaseline
from bayescale.backtest.decisions import (
    Reference,
    best_sizes,
    hyperparameter_decisions,
    size_decision,
    table_of,
)
from bayescale.backtest.folds import Fold, folds
from bayescale.backtest.point_fit import Rows
from bayescale.backtest.scores import scored
from bayescale.errors import ExtrapolationWarning, SpecError
from bayescale.inference import fit, opened
from bayescale.models.table import fitted_readings
from bayescale.predict import predict
from bayescale.runs import as_runs

__all__ = ["BASELINES", "OURS", "Backtest", "Fold", "backtest", "folds"]

CI_PROBS = (0.5, 0.8, 0.9, 0.95)


def backtest(
    model: Any,
    runs: xr.Dataset | Any,
    cutoffs_flops: Any = None,
    *,
    cutoffs_N: Any = None,
    cutoffs_T: Any = None,
    baselines: bool | Sequence[str] = (),
    decide_flops: float | None = None,
    decisions: bool = True,
    ci_probs: Sequence[float] = CI_PROBS,
    method: Literal["nuts", "fast"] = "fast",
    random_seed: int = 0,
    progressbar: bool = False,
    **settings: Any,
) -> Backtest:
    """How well a model would have forecast the larger runs of a table from the smaller ones.

    Parameters
    ----------
    model : LossModel or HyperparameterModel
    runs : xarray.Dataset
        From `bayescale.as_runs` or `bayescale.read_runs`. Of a run with checkpoints the readings
        below the cut-off are fitted and those from it on are forecast.
    cutoffs_flops, cutoffs_N, cutoffs_T : array_like, (cut,), optional
        Compute (FLOP), parameters, training tokens: each is a fold of its own.
    baselines : bool or sequence of str, default ()
        Others to score beside: ``"least_squares"``, ``"huber"`` (Huber loss and a bootstrap),
        ``"conformal"`` (split conformal), ``"parabolas"`` (best sizes of isoFLOP slices); True for
        all. They know the additive law of N and T, fitted to each family alone where the model
        tells families apart.
    decide_flops : float, optional
        Budget at which the compute-optimal size is asked for; default the most that a run had.
    decisions : bool, default True
        Compare best sizes and best hyperparameters with the model fitted to all runs, which costs
        one more fit.
    ci_probs : sequence of float, default (0.5, 0.8, 0.9, 0.95)
        Nominal probabilities of the intervals whose coverage is counted.
    method, random_seed, **settings
        As in `bayescale.fit`.
    progressbar : bool, default False
        Show the progress of each fit.

    Returns
    -------
    Backtest
        ``.table`` (one row a method), ``.by_fold``, ``.by_distance``, ``.by_family``,
        ``.forecasts``, ``.decisions``, ``.text``, ``.plot()``.

    Raises
    ------
    SpecError, DataError
        Before any fit: no cut-offs, a cut-off outside the data, an unknown baseline.

    Examples
    --------
    >>> import bayescale as bs
    >>> runs = bs.datasets.load("chinchilla")
    >>> test = bs.backtest(bs.LossModel("additive"), runs, 1e21, decisions=False)
    >>> test.table["forecasts"].item()
    23
    """
    runs = runs if isinstance(runs, xr.Dataset) else as_runs(runs)
    probs = _checked_probs(ci_probs)
    others = _asked_baselines(model, baselines)
    cuts = folds(model, runs, {"flops": cutoffs_flops, "N": cutoffs_N, "T": cutoffs_T})
    settings |= {"method": method, "random_seed": random_seed, "progressbar": progressbar}
    reference = _reference(model, runs, decide_flops, settings) if decisions else None
    forecasts, decided, fits = [], [], []
    for fold in cuts:
        tree = fit(model, fold.fitted, **settings)
        forecasts.append(_ours(model, fold, tree, probs, random_seed))
        fits.append(_fit_row(fold, tree, len(forecasts[-1])))
        if reference is not None:
            decided += _decide(model, fold, tree, reference)
        for name in others:
            points, rows = _theirs(model, fold, name, probs, reference, random_seed)
            forecasts.append(points.assign(decades_beyond=forecasts[-1]["decades_beyond"].values))
            decided += rows
    unit = str(runs[model.fitted_law.response].attrs.get("units", ""))
    frame = pd.concat(forecasts, ignore_index=True)
    return Backtest(frame, table_of(decided), pd.DataFrame(fits), probs, unit)


def _checked_probs(ci_probs: Sequence[float]) -> tuple[float, ...]:
    probs = tuple(float(p) for p in ci_probs)
    bad = [p for p in probs if not 0 < p < 1]
    if bad or not probs:
        raise SpecError(f"`ci_probs` are probabilities between 0 and 1; got {list(ci_probs)!r}.")
    return tuple(sorted(probs))


def _asked_baselines(model: Any, baselines: bool | Sequence[str]) -> list[str]:
    if isinstance(baselines, bool):
        names = list(BASELINES) if baselines else []
    else:
        names = [baselines] if isinstance(baselines, str) else list(baselines)
    unknown = [n for n in names if n not in BASELINES]
    if unknown:
        raise SpecError(f"No baseline {unknown[0]!r}. There are: {', '.join(BASELINES)}.")
    if names and set(model.fitted_law.inputs) != {"N", "T"}:
        raise SpecError(
            "Baselines know losses of N and T alone, and this model's law takes "
            f"{', '.join(model.fitted_law.inputs)}. Leave `baselines` out."
        )
    return names


def _reference(
    model: Any, runs: xr.Dataset, decide_flops: float | None, settings: dict[str, Any]
) -> Reference | None:
    """All the data, where the law has a size and a length to decide about."""
    law = model.fitted_law if getattr(model, "loss_law", None) is None else model.loss_law
    if not {"N", "T"} <= set(law.inputs):
        return None
    flat = fitted_readings(runs, model.fitted_law)
    most = float((6.0 * flat["N"] * flat["T"]).max())
    if decide_flops is not None and not (np.isfinite(decide_flops) and decide_flops > 0):
        raise SpecError(f"`decide_flops` must be positive; got {decide_flops!r}.")
    return Reference(fit(model, runs, **settings), float(decide_flops or most))


def _ours(model: Any, fold: Fold, tree: Any, probs: tuple[float, ...], seed: int) -> pd.DataFrame:
    law = model.fitted_law
    at: dict[str, Any] = fold.points(law.inputs)
    if opened(tree).by_family:
        at["family"] = fold.held_out["family"].values.astype(str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        answer = predict(tree, at, random_seed=seed)
    points = _points(fold, OURS, law, answer.draws.values, probs, seed)
    return points.assign(decades_beyond=answer.decades_beyond)


def _points(
    fold: Fold, method: str, law: Any, draws: np.ndarray, probs: Iterable[float], seed: int
) -> pd.DataFrame:
    observed = np.asarray(fold.held_out[law.response].values, float)
    about = {
        "fold": fold.name, "axis": fold.axis, "cutoff": fold.cutoff, "method": method,
        "run": fold.held_out["run"].values.astype(str),
        "family": fold.held_out["family"].values.astype(str), **fold.points(law.inputs),
    }  # fmt: skip
    return pd.DataFrame(about).join(scored(draws, observed, tuple(probs), seed))


def _theirs(
    model: Any, fold: Fold, name: str, probs: tuple[float, ...], reference: Reference | None,
    seed: int,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:  # fmt: skip
    """Forecasts of a baseline, family by family where the model tells them apart."""
    baseline, law = BASELINES[name], model.fitted_law
    seen, at = fitted_readings(fold.fitted, law), fold.points(("N", "T"))
    family_of = lambda x: x["family"].values.astype(str)  # noqa: E731
    apart = model.family is not None
    families = np.unique(family_of(fold.held_out)) if apart else [None]
    draws, decided = None, []
    for family in families:
        mine = np.ones(len(at["N"]), bool) if family is None else family_of(fold.held_out) == family
        fitted = seen if family is None else seen.isel(reading=family_of(seen) == family)
        rows = Rows(*(np.asarray(fitted[k].values, float) for k in ("N", "T", law.response)))
        rng = np.random.default_rng([seed, len(rows)])
        found = _losses(baseline, rows, at["N"][mine], at["T"][mine], rng)
        if draws is None:
            draws = np.full((len(found), len(mine)), np.nan)
        draws[:, mine] = found if len(found) == len(draws) else np.nan
        if reference is not None and len(rows) >= FEWEST:
            sizes = baseline.sizes(rows, reference.budget_flops, rng)
            row = size_decision(reference, family, sizes)
            if row is not None:
                decided.append({"fold": fold.name, "method": baseline.name, **row})
    assert draws is not None
    return _points(fold, baseline.name, law, draws, probs, seed), decided


def _losses(
    baseline: AbstractBaseline, rows: Rows, N: np.ndarray, T: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draws of a baseline; NaN where it has too few rows to answer."""
    if len(rows) < FEWEST:
        return np.full((2, len(N)), np.nan)
    return baseline.forecast(rows, N, T, rng)


def _decide(model: Any, fold: Fold, tree: Any, reference: Reference) -> list[dict[str, Any]]:
    rows = []
    named = {"fold": fold.name, "method": OURS}
    for family in opened(tree).families if opened(tree).by_family else [None]:
        draws = best_sizes(tree, reference.budget_flops, family)
        row = size_decision(reference, family, draws)
        rows += [named | row] if row is not None else []
        if opened(tree).surface is not None:
            place = _largest(model, fold, family)
            found = hyperparameter_decisions(reference, tree, place, family)
            rows += [named | r for r in found]
    return rows


def _largest(model: Any, fold: Fold, family: str | None) -> dict[str, float]:
    """Where the held-out run of most compute stands."""
    held = fold.held_out
    if family is not None:
        held = held.isel(reading=held["family"].values.astype(str) == family)
    surface = opened_inputs(model)
    i = int(np.argmax(np.asarray(held["N"].values * held["T"].values, float)))
    return {k: float(held[k].values[i]) for k in surface}


def opened_inputs(model: Any) -> tuple[str, ...]:
    """Inputs of a sweep's model that are no hyperparameters."""
    return tuple(k for k in model.fitted_law.inputs if k not in model.hyperparameters)


def _fit_row(fold: Fold, tree: Any, held_out: int) -> dict[str, Any]:
    spec = opened(tree).spec
    return {
        "fold": fold.name, "axis": fold.axis, "cutoff": fold.cutoff,
        "fitted": int(spec["readings"]), "forecast": held_out, "status": spec["status"],
        "method": spec.get("method"), "messages": " ".join(spec.get("messages", [])),
    }  # fmt: skip
