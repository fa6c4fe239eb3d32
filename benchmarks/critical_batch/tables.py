"""Least need and critical batch size of whole tables, beside least squares and print."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.critical_batch.by_hand import least_squares, quantiles
from benchmarks.processes import clock
from benchmarks.record import progress


def mlperf(draws: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All benchmarks in one fit with partial pooling, least squares beside it."""
    import bayescale as bs
    from bayescale.inference import opened

    progress("mlperf_rcp, 12 benchmarks")
    runs = bs.datasets.load("mlperf_rcp")
    started = clock()
    model = bs.CriticalBatchModel(batch="batch_samples", answer="to_converge", family="partial")
    fitted = opened(bs.fit(model, runs, draws=draws, tune=draws, progressbar=False))
    spent = clock() - started
    rows = [_row(fitted, name) for name in fitted.families]
    progress("mlperf_stable_diffusion, 309 submitted runs")
    curves = bs.datasets.load("mlperf_stable_diffusion")
    results = bs.time_to_target(
        curves, below={"fid": 90}, above={"clip_score": 0.15}, clock="samples"
    )
    model = bs.CriticalBatchModel(batch="batch_samples", answer="samples")
    alone = opened(bs.fit(model, results, method="fast", progressbar=False))
    rows.append(_row(alone, "all") | {"benchmark": "stable_diffusion v5.0"})
    figures = {k: fitted.spec.get(k) for k in ("status", "r_hat")} | {"cpu_s": spent}
    return rows, figures


def _row(fitted: Any, name: str) -> dict[str, Any]:
    found, family = fitted.density.intervals, None if name == "all" else name
    values = fitted.parameters(family)
    mine = np.ones(len(found.value), bool)
    if family:
        mine = found.flat["family"].values.astype(str) == name
    batch = found.flat["batch_samples"].values[mine]
    T_min, B_crit = least_squares(batch, found.value[mine])
    return {
        "benchmark": name.split("/")[-1], "runs": int(mine.sum()),
        "batch sizes": len(np.unique(batch)),
        "rounding": float(np.median(found.step[mine]) / np.median(found.value[mine])),
        **quantiles("T_min", values["T_min"]), "T_min, least squares": T_min,
        **quantiles("B_crit", values["B_crit"]), "B_crit, least squares": B_crit,
        "sigma": float(np.median(fitted.draws("sigma", family))),
        "cell_sigma": float(np.median(fitted.draws("cell_sigma", family))),
    }  # fmt: skip


def four_sizes() -> list[dict[str, Any]]:
    """Critical batch sizes of four model sizes beside the published constants, and their law."""
    import bayescale as bs
    from bayescale.inference import opened

    progress("critical_batch, four sizes")
    runs = bs.datasets.load("critical_batch")
    told = bs.datasets.published("critical_batch")["ln S = ln(a + b/B)"]
    told = {name: constants for name, constants in told.items() if name != "source"}
    rows = []
    for shaped in (False, True):
        model = bs.CriticalBatchModel(family="partial", along="N", shaped=shaped)
        fitted = opened(bs.fit(model, runs, method="fast", progressbar=False))
        for name in sorted(fitted.families, key=lambda n: int(n[:-1])):
            at, values = float(name[:-1]) * 1e6, fitted.parameters(name)
            a, b = told[name]["a"], told[name]["b"]
            B_crit = model.critical_batch(values, at) / 512
            rows.append(
                {"law": "shaped" if shaped else "hyperbola", "quantity": f"B_crit {name}, seqs",
                 **quantiles("posterior", B_crit), "published": b / a}
            )  # fmt: skip
        power = fitted.draws("B_crit_exponent", name)
        rows.append(
            {"law": rows[-1]["law"], "quantity": "power of N in B_crit",
             **quantiles("posterior", power), "published": _power_of_published(told)}
        )  # fmt: skip
        within = twenty_percent(model, fitted, 512.0)
        rows.append(
            {"law": rows[-1]["law"], "quantity": "the same, by 20 % over scaling from 256",
             **quantiles("posterior", within), "published": 0.468}
        )  # fmt: skip
        if shaped:
            shape = np.mean([fitted.draws("shape", n) for n in fitted.families], axis=0)
            rows.append({"law": "shaped", "quantity": "shape", **quantiles("posterior", shape),
                         "published": 1.0})  # fmt: skip
    return rows


def _power_of_published(told: Any) -> float:
    N = np.log([float(name[:-1]) for name in told])
    return float(np.polyfit(N, np.log([each["b"] / each["a"] for each in told.values()]), 1)[0])


def twenty_percent(model: Any, fitted: Any, sequence: float) -> np.ndarray:
    """Power of N in the batch that needs 20 % more steps than linear scaling from B = 256."""
    logs = []
    for name in fitted.families:
        at, values = float(name[:-1]) * 1e6, fitted.parameters(name)
        B_crit = model.critical_batch(values, at)
        shape = values.get("shape", np.ones_like(B_crit))
        start = 1 + (256 * sequence / B_crit) ** shape  # tokens are steps times batch
        logs.append(np.log(B_crit) + np.log(1.2**shape * start - 1) / shape)
    N = np.log([float(name[:-1]) for name in fitted.families])
    N = N - N.mean()
    return N @ np.array(logs) / (N @ N)
