"""Tables as MLPerf's stable_diffusion with a known truth: is it recovered, and covered?"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.critical_batch.by_hand import least_squares
from benchmarks.record import progress

TRUTH = {"T_min": 1.5e6, "B_crit": 1200.0}
BATCHES = (256.0, 384.0, 512.0, 1024.0, 2048.0)  # and 20 seeds each: as MLPerf's stable_diffusion
SEEDS, SIGMA, CELL_SIGMA, STRAGGLERS, INTERVAL = 20, 0.10, 0.05, 0.03, 512_000.0
CUT_OFF = 3.584e6  # samples after which a run is given up, in the second simulation


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


def simulated(sets: int, *, cut_off: float | None, what: str) -> list[dict[str, Any]]:
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
