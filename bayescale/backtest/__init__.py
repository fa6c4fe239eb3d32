"""`backtest`: fit below a cut-off, forecast above it, and count how often the intervals held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.backtest.answer import OURS, Backtest
from bayescale.backtest.baselines import BASELINES
from bayescale.backtest.decisions import Reference, decisions_of, decisions_of_baseline, table_of
from bayescale.backtest.folds import Fold, folds
from bayescale.backtest.forecasts import of_baseline, of_fit
from bayescale.errors import SpecError
from bayescale.inference import fit, opened
from bayescale.models.hyperparameters import HyperparameterModel
from bayescale.models.loss import LossModel
from bayescale.models.table import fitted_readings
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
    _check_model(model)
    others = _asked_baselines(model, baselines)
    cuts = folds(model, runs, {"flops": cutoffs_flops, "N": cutoffs_N, "T": cutoffs_T})
    settings |= {"method": method, "random_seed": random_seed, "progressbar": progressbar}
    reference = _reference(model, runs, decide_flops, settings) if decisions else None
    forecasts, decided, fits = [], [], []
    for fold in cuts:
        tree = fit(model, fold.fitted, **settings)
        mine = of_fit(model, fold, tree, probs, random_seed)
        forecasts.append(mine)
        fits.append(_fit_row(fold, tree, len(mine)))
        far = mine["decades_beyond"].to_numpy()
        for name in others:
            theirs = of_baseline(model, fold, name, probs, random_seed)
            forecasts.append(theirs.assign(decades_beyond=far))
        if reference is not None:
            decided += decisions_of(fold, tree, reference)
            for name in others:
                decided += decisions_of_baseline(model, fold, name, reference, random_seed)
    unit = str(runs[model.fitted_law.response].attrs.get("units", ""))
    frame = pd.concat(forecasts, ignore_index=True)
    return Backtest(frame, table_of(decided), pd.DataFrame(fits), probs, unit)


def _check_model(model: Any) -> None:
    if not isinstance(model, LossModel | HyperparameterModel):
        raise SpecError(
            "`backtest` forecasts losses: the model is a LossModel or a HyperparameterModel; got a "
            f"{type(model).__name__}."
        )


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
    """All the data, where there is a size and a length to decide about and nothing else."""
    if decide_flops is not None and not (np.isfinite(decide_flops) and decide_flops > 0):
        raise SpecError(f"`decide_flops` must be positive; got {decide_flops!r}.")
    sought = getattr(model, "hyperparameters", ())
    inputs = set(model.fitted_law.inputs) - set(sought)
    if inputs != {"N", "T"}:
        if decide_flops is None:
            return None
        raise SpecError(
            "`decide_flops` asks for the best size at a budget, and this model's law takes "
            f"{', '.join(sorted(inputs))} and not N and T alone. Leave `decide_flops` out."
        )
    flat = fitted_readings(runs, model.fitted_law)
    most = float((6.0 * flat["N"] * flat["T"]).max())
    return Reference(fit(model, runs, **settings), float(decide_flops or most))


def _fit_row(fold: Fold, tree: Any, held_out: int) -> dict[str, Any]:
    spec = opened(tree).spec
    return {
        "fold": fold.name, "axis": fold.axis, "cutoff": fold.cutoff,
        "fitted": int(spec["readings"]), "forecast": held_out, "status": spec["status"],
        "method": spec.get("method"), "messages": " ".join(spec.get("messages", [])),
    }  # fmt: skip
