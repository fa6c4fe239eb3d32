"""How a report writes names, numbers, units and ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from bayescale.answers import flops, si
from bayescale.inference.tree import Fitted
from bayescale.schema import FIELDS

COUNTED = ("N", "T", "U", "batch_size", "samples", "step")
MEANINGS = {
    "sigma": "scale of the noise of log loss",
    "nu": "degrees of freedom of the noise; small is heavy-tailed",
    "config_share": "share of the noise variance common to runs that differ in seed only",
    "run_share": "share of the noise variance common to all readings of a run",
    "correlation_length": "length of the serial correlation along a run, in ln T",
    "noise_slope": "growth of ln sigma with the log of its input",
    "undertuned_share": "share of badly tuned runs",
    "undertuned_scale": "what a badly tuned run loses, in log loss",
    "price_noise": "noise that a run has for each unit of what it lost to its hyperparameters",
    "batch_scatter": "how far the best batch of a cell lies off its law, e-folds",
    "batch_scatter_N": "how far that of a size does",
    "rate_scatter": "how far the best learning rate of a cell lies off its law, e-folds",
    "rate_scatter_N": "how far that of a size does",
    "misfit": "size of what the loss law misses from cell to cell, in log loss",
    "misfit_length": "e-folds of N and T over which that changes",
    "cell_sigma": "what a cell has of its own beside that, in log loss",
    "cliff": "e-folds above the best rate at which half of the runs diverge",
    "cliff_width": "e-folds over which the risk of divergence rises",
    "cliff_N": "shift of the cliff with ln N",
    "cliff_T": "shift of the cliff with ln T",
    "cliff_B": "shift of the cliff with the log of batch over best batch",
}


def compute(fitted: Fitted) -> np.ndarray:
    """FLOPs of each reading, ``(reading,)``."""
    from bayescale.plots.bands import readings_of

    return readings_of(fitted)["flops"].to_numpy(float)


def axis(name: str) -> str:
    """What an input is called in a sentence."""
    return {"N": "model sizes", "T": "training tokens", "flops": "compute"}.get(name, name)


def amount(name: str, value: float) -> str:
    """A value of an input, with letters for the large."""
    if name == "flops":
        return flops(value)
    return si(value) if name in COUNTED else f"{value:.4g}"


def cell(name: str, value: Any, unit: str = "") -> str:
    """A number of a table: losses with four decimals, shares as percent, distances with one."""
    if unit == "share of loss":
        return f"{100 * value:.2g} %" if not 0 < value < 1e-5 else "< 0.001 %"
    if name in ("mean", "median", "lower", "upper") or name.startswith("loss"):
        return f"{value:.4f}"
    return f"{value:.1f}" if name == "decades_beyond" else number(value)


def number(value: Any) -> str:
    """A number of a table: letters for the large, four digits for the rest."""
    value = float(value)
    if not np.isfinite(value):
        return "none"
    if abs(value) >= 1e16:
        return flops(value).removesuffix(" FLOP")
    return si(value) if abs(value) >= 1e4 else f"{value:.4g}"


def digits(low: float, high: float) -> Any:
    """A format with two digits of the width of the interval, no more."""
    width = abs(high - low)
    if not np.isfinite(width) or width == 0:
        return lambda x: f"{x:.4g}"
    places = int(1 - np.floor(np.log10(width)))
    if max(abs(low), abs(high)) >= 1e6 or places > 6:
        return lambda x: f"{x:.3g}"
    return lambda x: f"{x:,.{max(places, 0)}f}"


def ends(ci_prob: float) -> tuple[str, str]:
    """Heads of the two ends of an interval."""
    tail = 50 * (1 - ci_prob)
    return f"{tail:.3g} %", f"{100 - tail:.3g} %"


def pivot_text(fitted: Fitted) -> str:
    """Where the priors of a fit are centred."""
    if len(fitted.families) > 1:
        return "each family's own"
    pivots = [
        f"{k} = {amount(k, float(np.asarray(v)[0]))}" for k, v in fitted.spec["pivot"].items()
    ]
    return ", ".join([*pivots, f"typical loss {float(np.asarray(fitted.spec['typical'])[0]):.4g}"])


def ranges(fitted: Fitted) -> list[tuple[str, ...]]:
    """Least, middle and largest value of each column, and its unit."""
    seen = fitted.readings()
    columns = {k: seen[k] for k in (*fitted.law.inputs, fitted.law.response)}
    if {"N", "T"} <= set(columns):
        columns["flops"] = compute(fitted)
    return [
        (k, *(amount(k, float(f(v))).removesuffix(" FLOP") for f in (np.min, np.median, np.max)),
         unit(fitted.runs, k))
        for k, v in columns.items()
    ]  # fmt: skip


def unit(runs: xr.Dataset, name: str) -> str:
    """The unit of a column, or nothing."""
    if name in runs and runs[name].attrs.get("units"):
        return str(runs[name].attrs["units"])
    return FIELDS[name].unit if name in FIELDS else ""


def padding(reason: str) -> bool:
    """Whether a reason only marks a place where a run has no reading."""
    from bayescale.runs.frames import NO_READING

    return reason == NO_READING
