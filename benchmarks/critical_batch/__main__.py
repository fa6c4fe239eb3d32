"""Critical batch sizes from answers that were rounded up: three tables, held-out batches, truth.

The splits were written down before any score was seen: the largest batch size of every family with
four or more, and the two largest of every family with five or more.
"""

from __future__ import annotations

from typing import Any

from benchmarks.critical_batch.held_out import TABLES, held_out
from benchmarks.critical_batch.simulated import (
    BATCHES,
    CELL_SIGMA,
    CUT_OFF,
    INTERVAL,
    SEEDS,
    SIGMA,
    STRAGGLERS,
    TRUTH,
    simulated,
)
from benchmarks.critical_batch.tables import four_sizes, mlperf
from benchmarks.record import Aim, Record, arguments, publish


def main() -> None:
    """Measure, print, write."""
    options = arguments(__doc__, ("--sets", {"type": int, "default": 100}))
    quick = options.quick
    sets = 3 if quick else options.sets
    zhang = four_sizes()
    held = held_out(("critical_batch",) if quick else tuple(TABLES))
    found, figures = mlperf(100 if quick else 300)
    known = [
        *simulated(sets, cut_off=None, what="rounded up"),
        *simulated(sets, cut_off=CUT_OFF, what=f"rounded up, given up after {CUT_OFF:.3g}"),
    ]
    publish(_record(found, figures, zhang, held, known, sets), quick=quick)


def _record(
    found: list[dict[str, Any]], figures: dict[str, Any], zhang: list[dict[str, Any]],
    held: list[dict[str, Any]], known: list[dict[str, Any]], sets: int,
) -> Record:  # fmt: skip
    return Record(
        "critical_batch",
        "What does a larger batch cost, from runs that were trained to a target and evaluated "
        "every so often?",
        {
            "MLPerf: least need and critical batch size": found,
            "Zhang et al. 2024: four sizes": zhang,
            "Held-out batch sizes": held,
            f"Simulated truth, {sets} data sets a row": known,
        },
        _aims(zhang, held, known),
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


def _aims(
    zhang: list[dict[str, Any]], held: list[dict[str, Any]], known: list[dict[str, Any]]
) -> list[Aim]:
    """What was asked of the piece, and whether it came out."""
    aims = []
    ours = [r for r in known if r["likelihood"] == "intervals"]
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
