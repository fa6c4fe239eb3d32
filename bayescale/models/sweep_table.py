"""A table of a hyperparameter sweep, looked at before anything is fitted to it.

Batch sizes in sequences, rates in units of 1e-4 and sweeps without a sweep all give a fit that
looks healthy and means nothing, so each is one error with the way out.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayescale.errors import DataError
from bayescale.laws import Law
from bayescale.laws.surface import BATCH, RATE, Surface
from bayescale.models.table import fitted_readings
from bayescale.schema import SWEPT

MOST_STEPS = 3e6  # optimiser steps of a run; beyond, the batch is counted in something else
LARGEST_RATE = 0.3  # of adaptive optimisers; chosen, ten times what any table here holds
WORDS = {BATCH: "batch size", RATE: "learning rate"}


def last_readings(runs: xr.Dataset, law: Law) -> xr.Dataset:
    """The last fitted reading of each run, ``(reading,)``; runs of rate sweeps take part."""
    flat = fitted_readings(with_swept(runs), law)
    if "T" not in flat:
        return flat
    _, run = np.unique(np.asarray(flat["trajectory"].values).astype(str), return_inverse=True)
    if len(run) == run.max() + 1:
        return flat
    order = np.lexsort((np.asarray(flat["T"].values, float), run))
    last = order[np.r_[run[order][1:] != run[order][:-1], True]]
    return flat.isel(reading=np.sort(last))


def with_swept(runs: xr.Dataset) -> xr.Dataset:
    """The table with runs that were set aside for their rates and batches taken in again."""
    if "reason" not in runs or "fitted" not in runs:
        return runs
    swept = runs["reason"].values.astype(str) == SWEPT
    if not swept.any():
        return runs
    taken = runs["fitted"].values | (swept & np.isfinite(runs["loss"].values))
    reason = np.where(swept, "", runs["reason"].values.astype(str))
    return runs.assign(fitted=(runs["fitted"].dims, taken), reason=(runs["reason"].dims, reason))


def check_sweep(flat: xr.Dataset, runs: xr.Dataset, surface: Surface, *, trust_units: bool) -> None:
    """One `DataError` that says what is wrong with the hyperparameters of a table, if anything."""
    for name in surface.hyperparameters:
        _check_present(name, flat, surface)
        _check_varied(name, flat, surface)
    for name in surface.switches:
        _check_switch(name, flat)
    if trust_units:
        return
    if RATE in surface.hyperparameters:
        _check_rate_unit(flat)
    if BATCH in surface.hyperparameters:
        _check_batch_unit(flat)


def _check_present(name: str, flat: xr.Dataset, surface: Surface) -> None:
    word = WORDS.get(name, name)
    if name not in flat or not np.isfinite(np.asarray(flat[name].values, float)).any():
        have = ", ".join(str(v) for v in flat.data_vars)
        extra = ""
        if name == BATCH and "batch_samples" in flat:
            extra = (
                " There is `batch_samples`; tokens are what is needed: "
                "columns={'batch_size': 'their column'}, units={'batch_size': tokens per sample}."
            )
        raise DataError(
            f"A hyperparameter model needs the {word} of every run, and these runs have no column "
            f"`{name}`. They have: {have}. Map it with as_runs(frame, columns={{'{name}': 'their "
            f"name'}}), or {_without(name, surface)}.{extra}"
        )
    values = np.asarray(flat[name].values, float)
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        ids = [str(r) for r in flat["run"].values[bad[:5]]]
        raise DataError(
            f"`{name}` is missing or not positive in {len(bad)} of {len(values)} fitted runs "
            f"({', '.join(ids)}{', ...' if len(bad) > 5 else ''}; first value {values[bad[0]]:g}). "
            f"Fill the cells, or drop those rows first: frame.dropna(subset=['{name}'])."
        )


def _check_varied(name: str, flat: xr.Dataset, surface: Surface) -> None:
    values = np.asarray(flat[name].values, float)
    levels = np.unique(np.round(np.log(values), 6))
    word = WORDS.get(name, name)
    if len(levels) == 1:
        raise DataError(
            f"One {word} only ({values[0]:.4g} in all {len(values)} runs): where the best one lies "
            f"cannot be learnt from that. Add runs at other values of `{name}`, or "
            f"{_without(name, surface)}."
        )
    if not surface.scales:
        return
    cells = np.unique(
        np.column_stack(
            [np.log(np.asarray(flat[s].values, float)) for s in surface.scales]
        ).round(6),
        axis=0, return_inverse=True,
    )[1].reshape(-1)  # fmt: skip
    varied = [len(np.unique(np.round(np.log(values[cells == c]), 6))) > 1
              for c in range(cells.max() + 1)]  # fmt: skip
    if not any(varied):
        places = " and ".join(surface.scales)
        several = len(surface.scales) > 1
        place = f"({', '.join(surface.scales)})" if several else places
        raise DataError(
            f"Each {place} has one {word} only, so what a miss costs cannot be told from what "
            f"{places} {'do' if several else 'does'}. Add, at one {place} at least, runs "
            f"at two or three values of `{name}`, or {_without(name, surface)}."
        )


def _without(name: str, surface: Surface) -> str:
    """The way out where nothing can be learnt about a hyperparameter."""
    others = [h for h in surface.hyperparameters if h != name]
    if not others:
        return "fit the loss alone, bs.LossModel(...)"
    rest = f"({', '.join(repr(h) for h in others)}{',' if len(others) == 1 else ''})"
    return f"leave it out, HyperparameterModel(hyperparameters={rest})"


def _check_switch(name: str, flat: xr.Dataset) -> None:
    if name not in flat:
        raise DataError(
            f"The switch `{name}` is not among the columns: "
            f"{', '.join(str(v) for v in flat.data_vars)}."
        )
    found = np.unique(np.asarray(flat[name].values, float))
    if not (len(found) == 2 and set(found) == {0.0, 1.0}):
        shown = ", ".join(f"{v:g}" for v in found[:5])
        raise DataError(
            f"The switch `{name}` must hold both 0 and 1; it holds {shown}. Leave it out where all "
            "runs are alike; a column of words becomes 0/1 columns first."
        )


def _check_rate_unit(flat: xr.Dataset) -> None:
    values = np.asarray(flat[RATE].values, float)
    if np.median(values) <= LARGEST_RATE:
        return
    raise DataError(
        f"`learning_rate` runs from {values.min():g} to {values.max():g}: too large for a rate as "
        "the optimiser takes it, so it may be in units of 1e-4 or 1e-3. Say so: "
        "as_runs(..., units={'learning_rate': 1e-4}). If the rates are right, "
        "HyperparameterModel(..., trust_units=True)."
    )


def _check_batch_unit(flat: xr.Dataset) -> None:
    if "T" not in flat:
        return
    batch, tokens = (np.asarray(flat[k].values, float) for k in (BATCH, "T"))
    steps = tokens / batch
    per_sample = ""
    if "step" in flat:
        counted = np.asarray(flat["step"].values, float)
        with np.errstate(all="ignore"):
            ratio = steps / counted
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        if len(ratio) and np.median(ratio) > 3:
            per_sample = f"{np.median(ratio):.0f}"
    if not per_sample and np.median(steps) <= MOST_STEPS:
        return
    found = (
        f"T / batch_size is {per_sample} times the recorded steps"
        if per_sample
        else f"T / batch_size is {np.median(steps):.3g} steps in the median run"
    )
    raise DataError(
        f"`batch_size` runs from {batch.min():g} to {batch.max():g}, and {found}: it seems to be "
        "in sequences or samples, and tokens are needed. Say how many tokens one has: "
        f"as_runs(..., units={{'batch_size': {per_sample or 'tokens per sequence'}}}). If it is in "
        "tokens indeed, HyperparameterModel(..., trust_units=True)."
    )
