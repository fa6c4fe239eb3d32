"""Can this table answer the question at all? Cards about the runs, not about the posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescale.answers import si
from bayescale.check import thresholds as limit
from bayescale.check.cards import Card, Finding, card, some
from bayescale.errors import DataError
from bayescale.inference.tree import Fitted
from bayescale.models.table import fitted_readings
from bayescale.predict import decades_beyond, points_of
from bayescale.runs import readings


def set_aside_card(fitted: Fitted) -> Card:
    """How many readings were not fitted, and why."""
    every = readings(fitted.runs, all=True)
    n, total = fitted_readings(fitted.runs, fitted.law).sizes["reading"], every.sizes["reading"]
    reasons, counts = np.unique(every["reason"].values.astype(str), return_counts=True)
    order = np.argsort(-counts)
    merged = ""
    if _n_fitted(fitted) < n:
        merged = f" Neighbours along a run are averaged, {n} into {_n_fitted(fitted)}."
    tried = getattr(fitted.density, "tried", None)
    if tried is not None:  # runs that diverged say where the cliff is
        diverged = int(tried.diverged.sum())
        n += diverged
        merged += f" {diverged} runs that diverged are fitted as such."
        order = [i for i in order if reasons[i] != "diverged"]
    told = "; ".join(f"{counts[i]}: {reasons[i]}" for i in order if reasons[i])
    if n >= total:
        return Card("rows set aside", "PASS", f"all {total} readings are fitted.{merged}")
    sentence = f"{total - n} of {total} readings are not fitted ({told or 'no response'}).{merged}"
    if (total - n) / total <= limit.SET_ASIDE_WARN:
        return Card("rows set aside", "PASS", sentence)
    return Card("rows set aside", "WARNING", sentence,
                "Fit them too and compare: who decides what is kept decides the law.")  # fmt: skip


def identifiability_card(fitted: Fitted, extra: list[Finding] | None = None) -> Card:
    """Sizes, budgets, ranges and ratios of the fitted runs; for each family that stands alone."""
    parts = [None]
    if fitted.by_family and fitted.model.family == "separate":
        parts = list(fitted.families)
    findings = [f for part in parts for f in _design(fitted, part)]
    pooled = fitted.by_family and fitted.model.family == "partial"
    if pooled and len(fitted.families) < 4:
        findings.append(
            Finding("PASS", f"{len(fitted.families)} families say little about the spread between "
                    "families; pooling leans on its prior.")
        )  # fmt: skip
    return card("identifiability", [*findings, *(extra or [])], otherwise=_summary(fitted))


def extrapolation_card(fitted: Fitted, target: Mapping[str, Any] | None) -> Card:
    """How far the question lies from the data."""
    reach, widest = _reach(fitted)
    far = min(limit.FAR, limit.REACH_WARN * reach)
    if target is None:
        return Card(
            "extrapolation", "PASS",
            f"no target given; the data span {reach:.1f} decades of {widest}, so forecasts are "
            f"flagged beyond {far:.1f} decades.",
        )  # fmt: skip
    beyond, findings = _beyond(fitted, target), []
    if beyond > far:
        status = "FAIL" if beyond > limit.HOPELESS else "WARNING"
        findings.append(
            Finding(status, f"The target lies {beyond:.1f} decades beyond the largest run, where "
                    f"the data span {reach:.1f}.",
                    "Buy one run between the data and the target, and backtest over that distance.")
        )  # fmt: skip
    findings += _strange_ratio(fitted, target)
    return card(
        "extrapolation", findings,
        otherwise=f"the target lies {beyond:.1f} decades beyond the largest run; the data span "
        f"{reach:.1f}." if beyond > 0.05 else "the target lies inside the data.",
    )  # fmt: skip


def _n_fitted(fitted: Fitted) -> int:
    return fitted.tree["observed_data"].dataset.sizes["reading"]


def _design(fitted: Fitted, family: str | None) -> list[Finding]:
    data = fitted.readings(family)
    inputs = {k: data[k] for k in fitted.law.inputs if k not in fitted.law.zero_one}
    where = f" in family {family}" if family else ""
    out = []
    n = len(next(iter(inputs.values())))
    shared = fitted.by_family and family is None
    free = len(fitted.law.parameters) + 1
    if n <= free and not shared:
        out.append(
            Finding("WARNING", f"{n} readings{where} for {free} numbers to learn.",
                    "Add runs; the priors fill in what is missing.")
        )  # fmt: skip
    for name, x in inputs.items():
        levels = distinct(x, limit.SAME_SIZE)
        if levels < limit.SIZES_FAIL and name != "flops":
            what = "sizes" if name == "N" else f"values of {name}"
            out.append(
                Finding("FAIL" if name in ("N", "T") else "WARNING",
                        f"{levels} distinct {what}{where}: no curvature along {name} can be seen.",
                        f"Add runs at {limit.SIZES_FAIL} or more values of {name}.")
            )  # fmt: skip
        decades = float(np.ptp(np.log10(x)))
        if (
            levels >= limit.SIZES_FAIL
            and decades < limit.RANGE_WARN
            and name in ("N", "T", "flops")
        ):
            out.append(
                Finding("WARNING", f"{name} spans {decades:.2f} decades only{where}: its exponent "
                        "and the floor cannot be told apart.",
                        f"Add runs at smaller or larger {name}, a decade away.")
            )  # fmt: skip
    flops = _flops(inputs)
    if flops is not None and (budgets := distinct(flops, limit.SAME_BUDGET)) < limit.BUDGETS_WARN:
        out.append(
            Finding("WARNING", f"{budgets} distinct compute budgets{where}: too few to see whether "
                    "the law holds from one to the next.",
                    f"Have {limit.BUDGETS_WARN} budgets or more before you trust a forecast.")
        )  # fmt: skip
    if {"N", "T"} <= set(inputs):
        ratio = inputs["T"] / inputs["N"]
        if (spread := float(ratio.max() / ratio.min())) < limit.RATIO_SPREAD_WARN:
            out.append(
                Finding("WARNING", f"Tokens per parameter vary by a factor {spread:.1f} only"
                        f"{where}: size and data cannot be told apart.",
                        "Train one size shorter and longer, a factor 4 either way.")
            )  # fmt: skip
    return out


def _summary(fitted: Fitted) -> str:
    data = fitted.readings()
    parts = [
        f"{distinct(data[k], limit.SAME_SIZE)} values of {k} over {np.ptp(np.log10(data[k])):.1f} "
        "decades"
        for k in fitted.law.inputs
        if k not in fitted.law.zero_one
    ]
    if {"N", "T"} <= set(fitted.law.inputs):
        ratio = data["T"] / data["N"]
        parts.append(f"tokens per parameter {si(ratio.min())} to {si(ratio.max())}")
    return f"{_n_fitted(fitted)} readings, {', '.join(parts)}."


def distinct(x: np.ndarray, same: float) -> int:
    """How many values there are if neighbours within a relative difference ``same`` are one."""
    gaps = np.diff(np.sort(np.log(x)))
    return 1 + int(np.sum(gaps > np.log1p(same)))


def _flops(inputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    if "flops" in inputs:
        return inputs["flops"]
    return 6.0 * inputs["N"] * inputs["T"] if {"N", "T"} <= set(inputs) else None


def _reach(fitted: Fitted) -> tuple[float, str]:
    """Decades that the data span, of compute or of the input that spans least."""
    inputs = {k: fitted.readings()[k] for k in fitted.law.inputs if k not in fitted.law.zero_one}
    flops = _flops(inputs)
    if flops is not None:
        return float(np.ptp(np.log10(flops))), "compute"
    spans = {k: float(np.ptp(np.log10(x))) for k, x in inputs.items()}
    least = min(spans, key=lambda k: spans[k])
    return spans[least], least


def _beyond(fitted: Fitted, target: Mapping[str, Any]) -> float:
    """Decades from the data to the target: its inputs, or compute alone."""
    if set(target) == {"flops"} and "flops" not in fitted.law.inputs:
        seen = _flops({k: fitted.readings()[k] for k in fitted.law.inputs})
        if seen is None:
            raise DataError(
                f"The law `{fitted.law.name}` says nothing about compute; give the target as "
                f"{', '.join(fitted.law.inputs)}."
            )
        far = np.log10(np.asarray(target["flops"], float) / seen.max())
        return float(np.max(np.maximum(far, 0.0)))
    if fitted.by_family and "family" not in target:
        each = [
            decades_beyond(fitted, *points_of(fitted, target, f)).max() for f in fitted.families
        ]
        return float(max(each))
    return float(decades_beyond(fitted, *points_of(fitted, target)).max())


def _strange_ratio(fitted: Fitted, target: Mapping[str, Any]) -> list[Finding]:
    """Tokens per parameter that no fitted run had, by a factor of three or more; chosen."""
    if not {"N", "T"} <= set(target) or not {"N", "T"} <= set(fitted.law.inputs):
        return []
    ratio = np.asarray(target["T"], float) / np.asarray(target["N"], float)
    data = fitted.readings()
    low, high = (f(data["T"] / data["N"]) for f in (np.min, np.max))
    odd = np.atleast_1d(ratio)[np.atleast_1d((ratio < low / 3) | (ratio > high * 3))]
    if not len(odd):
        return []
    return [
        Finding("WARNING", f"The target has {some([si(r) for r in odd])} tokens per parameter; the "
                f"data have {si(low)} to {si(high)}.",
                "Add a small run at that ratio.")
    ]  # fmt: skip
