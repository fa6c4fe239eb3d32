"""Critical batch sizes from answers that were rounded up: three tables, held-out batches, truth.

The splits were written down before any score was seen: the largest batch size of every family with
four or more, and the two largest of every family with five or more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.processes import clock
from benchmarks.record import Aim, Record, arguments, progress, publish

TRUTH = {"T_min": 1.5e6, "B_crit": 1200.0}
BATCHES = (256.0, 384.0, 512.0, 1024.0, 2048.0)  # and 20 seeds each: as MLPerf's stable_diffusion
SEEDS, SIGMA, CELL_SIGMA, STRAGGLERS, INTERVAL = 20, 0.10, 0.05, 0.03, 512_000.0
CUT_OFF = 3.584e6  # samples after which a run is given up, in the second simulation
TABLES = {"critical_batch": ("batch_size", "T"), "mlperf_rcp": ("batch_samples", "to_converge")}


def main() -> None:
    """Measure, print, write."""
    options = arguments(__doc__, ("--sets", {"type": int, "default": 100}))
    quick = options.quick
    sets = 3 if quick else options.sets
    zhang = _zhang()
    held = _held_out(("critical_batch",) if quick else tuple(TABLES))
    mlperf, figures = _mlperf(100 if quick else 300)
    simulated = [
        *_simulated(sets, cut_off=None, what="rounded up"),
        *_simulated(sets, cut_off=CUT_OFF, what=f"rounded up, given up after {CUT_OFF:.3g}"),
    ]
    publish(_record(mlperf, figures, zhang, held, simulated, sets), quick=quick)


def _record(
    mlperf: list[dict[str, Any]], figures: dict[str, Any], zhang: list[dict[str, Any]],
    held: list[dict[str, Any]], simulated: list[dict[str, Any]], sets: int,
) -> Record:  # fmt: skip
    return Record(
        "critical_batch",
        "What does a larger batch cost, from runs that were trained to a target and evaluated "
        "every so often?",
        {
            "MLPerf: least need and critical batch size": mlperf,
            "Zhang et al. 2024: four sizes": zhang,
            "Held-out batch sizes": held,
            f"Simulated truth, {sets} data sets a row": simulated,
        },
        _aims(zhang, held, simulated),
        [
            "Intervals are 90 %. Least squares: T = T_min (1 + B/B_crit) through the means of "
            "the rounded answers, as one does it by hand.",
            "`rounding`: distance between evaluations over the middle answer.",
            f"MLPerf was fitted with family='partial' by NUTS in {figures['cpu_s']:.0f} CPU "
            f"seconds ({figures['status']}; R-hat {figures['r_hat']:.3f}). Stable Diffusion "
            "v5.0 are submitted results, made of FID and CLIP curves by time_to_target.",
            "Held-out: every family fitted alone by method='fast'. Answers of single runs, "
            "foretold with noise and rounded up as they were; runs of one cell share a batch "
            "size, so the number of cells is what counts. Error: of the median forecast against "
            "the median answer of the cell, median over cells.",
            f"Simulated: T_min {TRUTH['T_min']:.3g}, B_crit {TRUTH['B_crit']:.0f}, "
            f"{len(BATCHES)} batch sizes, {SEEDS} seeds, sigma {SIGMA}, cell_sigma "
            f"{CELL_SIGMA}, {STRAGGLERS:.0%} stragglers, answers rounded up to {INTERVAL:,.0f}."
            " `exact`: the same model told that answers are exact (interval=0). Bias: median "
            "over data sets of the posterior median over the truth, less one.",
        ],
    )


def _mlperf(draws: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
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
        **_quantiles("T_min", values["T_min"]), "T_min, least squares": T_min,
        **_quantiles("B_crit", values["B_crit"]), "B_crit, least squares": B_crit,
        "sigma": float(np.median(fitted.draws("sigma", family))),
        "cell_sigma": float(np.median(fitted.draws("cell_sigma", family))),
    }  # fmt: skip


def least_squares(batch: np.ndarray, answer: np.ndarray) -> tuple[float, float]:
    """``T_min`` and ``B_crit`` of a straight line through the means; what one does by hand."""
    sizes = np.unique(batch)
    means = np.array([answer[batch == b].mean() for b in sizes])
    slope, level = np.polyfit(sizes, means, 1)
    return float(level), float(level / slope) if slope > 0 else np.inf


def _quantiles(name: str, x: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(x, [0.05, 0.5, 0.95])
    return {name: float(middle), f"{name} 5 %": float(low), f"{name} 95 %": float(high)}


def _zhang() -> list[dict[str, Any]]:
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
                 **_quantiles("posterior", B_crit), "published": b / a}
            )  # fmt: skip
        power = fitted.draws("B_crit_exponent", name)
        rows.append(
            {"law": rows[-1]["law"], "quantity": "power of N in B_crit",
             **_quantiles("posterior", power), "published": _power_of_published(told)}
        )  # fmt: skip
        within = twenty_percent(model, fitted, 512.0)
        rows.append(
            {"law": rows[-1]["law"], "quantity": "the same, by 20 % over scaling from 256",
             **_quantiles("posterior", within), "published": 0.468}
        )  # fmt: skip
        if shaped:
            shape = np.mean([fitted.draws("shape", n) for n in fitted.families], axis=0)
            rows.append({"law": "shaped", "quantity": "shape", **_quantiles("posterior", shape),
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


def _held_out(tables: tuple[str, ...]) -> list[dict[str, Any]]:
    """Fit below, predict the largest batch sizes of every family, each family alone."""
    import bayescale as bs

    rows = []
    for table in tables:
        batch, answer = TABLES[table]
        names: dict[str, Any] = {"batch": batch, "answer": answer}
        # how far evaluations lie apart is a fact of the table, not to be guessed from half of it
        runs = _with_interval(
            bs.datasets.load(table), bs.CriticalBatchModel(**names, family="separate")
        )
        family = runs["family"].values.astype(str)
        for out, fewest in ((1, 4), (2, 5)):
            beyond = _largest(runs, batch, out, fewest)
            for shaped in (False, True):
                progress(f"{table}, {out} held out, {'shaped' if shaped else 'hyperbola'}")
                model = bs.CriticalBatchModel(**names, shaped=shaped)
                cells = []
                for name in np.unique(family[beyond]):
                    rest = runs.isel(run=np.flatnonzero((family == name) & ~beyond))
                    fit = bs.fit(model, rest, method="fast", progressbar=False)
                    held = runs.isel(run=np.flatnonzero((family == name) & beyond))
                    cells += _scores(fit, held, batch, answer)
                rows.append(
                    {"table": table, "held out": "largest" if out == 1 else "two largest",
                     "law": "shaped" if shaped else "hyperbola", **_summary(cells)}
                )  # fmt: skip
    return rows


def _with_interval(runs: Any, model: Any) -> Any:
    if "interval" in runs:
        return runs
    found = model.density(runs).intervals
    step = dict(zip(found.flat["run"].values.astype(str), found.step, strict=True))
    return runs.assign(interval=("run", [step[r] for r in runs["run"].values.astype(str)]))


def _largest(runs: Any, batch: str, out: int, fewest: int) -> np.ndarray:
    """Runs of the ``out`` largest batch sizes of every family with ``fewest`` or more."""
    family, size = runs["family"].values.astype(str), runs[batch].values
    beyond = np.zeros(len(size), bool)
    for name in np.unique(family):
        sizes = np.unique(size[family == name])
        if len(sizes) >= fewest:
            beyond |= (family == name) & (size >= sizes[-out])
    return beyond


def _scores(fit: Any, held: Any, batch: str, answer: str) -> list[dict[str, Any]]:
    """One row a held-out batch size: coverage, error, width."""
    import bayescale as bs
    from bayescale.inference import opened

    seen, rows = opened(fit).density.intervals, []
    T_min, B_crit = least_squares(seen.flat[batch].values, seen.value)
    for b in np.unique(held[batch].values):
        cell = held.isel(run=np.flatnonzero(held[batch].values == b))
        value, d = cell[answer].values, float(np.median(cell["interval"].values))
        draws = bs.predict(fit, at={batch: [b]}).draws.values[:, 0]
        draws = np.ceil(draws / d * (1 - 1e-9)) * d
        low, high = np.quantile(draws, [0.05, 0.95])
        low, high, middle = low - 1e-6 * d, high + 1e-6 * d, float(np.median(value))
        rows.append(
            {"runs": len(value), "covered": float(((value >= low) & (value <= high)).mean()),
             "median covered": low <= middle <= high,
             "error": abs(float(np.median(draws)) / middle - 1),
             "by hand": abs(T_min * (1 + b / B_crit) / middle - 1),
             "width": float(np.log(high / low)), "ok": fit.attrs["status"] == "ok"}
        )  # fmt: skip
    return rows


def _summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "cells": len(cells), "runs": sum(c["runs"] for c in cells),
        "covered, runs": float(np.mean([c["covered"] for c in cells])),
        "covered, cell medians": float(np.mean([c["median covered"] for c in cells])),
        "error": float(np.median([c["error"] for c in cells])),
        "error, least squares": float(np.median([c["by hand"] for c in cells])),
        "width (ln)": float(np.median([c["width"] for c in cells])),
        "fits that passed": float(np.mean([c["ok"] for c in cells])),
    }  # fmt: skip


def simulate(seed: int, cut_off: float | None) -> Any:
    """One table as MLPerf's stable_diffusion, with a known truth."""
    import bayescale as bs

    rng = np.random.default_rng(seed)
    batch = np.repeat(BATCHES, SEEDS)
    level = np.repeat(rng.normal(0, CELL_SIGMA, len(BATCHES)), SEEDS)
    wide = np.where(rng.random(len(batch)) < STRAGGLERS, 5.0, 1.0)
    need = TRUTH["T_min"] * (1 + batch / TRUTH["B_crit"])
    need = need * np.exp(level + SIGMA * wide * rng.standard_normal(len(batch)))
    answer, status = np.ceil(need / INTERVAL) * INTERVAL, np.full(len(batch), "done", dtype=object)
    if cut_off is not None:
        status[answer > cut_off] = "censored"
        answer = np.minimum(answer, cut_off)
    table = {
        "run": [f"r{i}" for i in range(len(batch))], "batch_samples": batch, "samples": answer,
        "status": status, "seed": np.arange(len(batch)),
    }  # fmt: skip
    return bs.as_runs(table)


def _simulated(sets: int, *, cut_off: float | None, what: str) -> list[dict[str, Any]]:
    import bayescale as bs

    names: dict[str, Any] = {"batch": "batch_samples", "answer": "samples"}
    fits: dict[str, list] = {"intervals": [], "exact": []}
    by_hand = []
    for seed in range(sets):
        if seed % 20 == 0:
            progress(f"simulated, {what}: {seed} of {sets}")
        runs = simulate(seed, cut_off)
        done = runs.isel(run=np.flatnonzero(runs["status"].values.astype(str) == "done"))
        for name, model, table in (
            ("intervals", bs.CriticalBatchModel(**names, interval=INTERVAL), runs),
            ("exact", bs.CriticalBatchModel(**names, interval=0.0), done),
        ):
            fit = bs.fit(
                model, table, method="fast", draws=500, tune=500, progressbar=False,
                random_seed=seed,
            )  # fmt: skip
            fits[name].append(fit["posterior"].dataset[["T_min", "B_crit", "sigma"]].load())
        by_hand.append(least_squares(done["batch_samples"].values, done["samples"].values))
    rows = []
    words = {"intervals": "intervals", "exact": "exact, unreached dropped" if cut_off else "exact"}
    for name, posteriors in fits.items():
        row: dict[str, Any] = {"answers": what, "likelihood": words[name]}
        for parameter, truth in TRUTH.items():
            x = np.stack([p[parameter].values.ravel() for p in posteriors])
            low, high = np.quantile(x, [0.05, 0.95], axis=1)
            row[f"bias {parameter}"] = float(np.median(np.median(x, axis=1)) / truth - 1)
            row[f"covered {parameter}"] = float(np.mean((low <= truth) & (truth <= high)))
            row[f"width {parameter} (ln)"] = float(np.median(np.log(high / low)))
        row["bias sigma"] = float(
            np.median([np.median(p["sigma"].values) for p in posteriors]) / SIGMA - 1
        )
        rows.append(row)
    medians = np.median(np.array(by_hand), axis=0)
    rows.append(
        {"answers": what, "likelihood": "least squares",
         "bias T_min": float(medians[0] / TRUTH["T_min"] - 1),
         "bias B_crit": float(medians[1] / TRUTH["B_crit"] - 1)}
    )  # fmt: skip
    return rows


def _aims(
    zhang: list[dict[str, Any]], held: list[dict[str, Any]], simulated: list[dict[str, Any]]
) -> list[Aim]:
    """What was asked of the piece, and whether it came out."""
    aims = []
    ours = [r for r in simulated if r["likelihood"] == "intervals"]
    for row in ours:
        for name in TRUTH:
            c, b = row[f"covered {name}"], row[f"bias {name}"]
            aims.append(
                Aim(f"simulated, {row['answers']}: 90 % interval of {name} covers 85 to 95 %",
                    f"{c:.0%}, bias {b:+.1%}", 0.85 <= c <= 0.95)
            )  # fmt: skip
    for row in held:
        c = row["covered, runs"]
        aims.append(
            Aim(f"{row['table']}, {row['held out']} held out, {row['law']}: covers 85 to 95 %",
                f"{c:.0%} of runs in {row['cells']} cells", 0.85 <= c <= 0.95)
        )  # fmt: skip
    inside = [
        r["posterior 5 %"] <= r["published"] <= r["posterior 95 %"]
        for r in zhang
        if r["law"] == "hyperbola" and r["quantity"].startswith("B_crit")
    ]
    aims.append(
        Aim("critical_batch: published B_crit inside the 90 % intervals",
            f"{sum(inside)} of {len(inside)}", all(inside))
    )  # fmt: skip
    return aims


if __name__ == "__main__":
    main()
