"""Fit below, predict the largest batch sizes of every family."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.critical_batch.by_hand import least_squares
from benchmarks.record import progress

TABLES = {"critical_batch": ("batch_size", "T"), "mlperf_rcp": ("batch_samples", "to_converge")}


def held_out(tables: tuple[str, ...]) -> list[dict[str, Any]]:
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
