"""Do forecasts of larger runs keep their promise? Every public table that has scale.

Runs below a cut-off of compute are fitted, those above are forecast, at several cut-offs a table;
beside ours what everybody writes by hand. One half of the tables is for choosing.
"""

from __future__ import annotations

import json
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.forecasts.studies import STUDIES, Study
from benchmarks.record import Aim, Record, arguments, markdown, progress, publish

OURS = "bayescale"
BASELINES = ("least_squares", "huber", "conformal", "parabolas")
REPORTED = {"law": "additive", "misfit": "auto"}
TARGET_FLOPS = 5.76e23  # of Chinchilla's plan
NAMES = {"forecasts": "forecasts", "rmse": "RMSE", "bias": "bias", "crps": "CRPS",
         "log_score": "log score", "coverage_50": "50 % held", "coverage_80": "80 % held",
         "coverage_90": "90 % held", "coverage_95": "95 % held", "width_95": "width 95 %",
         "interval_score_90": "score 90 %", "interval_score_95": "score 95 %"}  # fmt: skip


def measured(study: Study, settings: dict[str, Any]) -> Any:
    """The backtest of one study."""
    import bayescale as bs

    runs = study.runs()
    chinchilla = study.table == "chinchilla"
    return bs.backtest(
        bs.LossModel(**settings), runs, study.cutoffs(runs), baselines=BASELINES,
        decisions=chinchilla, decide_flops=TARGET_FLOPS if chinchilla else None,
    )  # fmt: skip


def rows_of(study: Study, test: Any) -> list[dict[str, Any]]:
    """One row a method: scores over the folds of a study, and of ours how the fits went."""
    rows = []
    for row in test.table.to_dict("records"):
        if row["forecasts"] == 0:
            continue
        told = {"study": study.name, "method": row["method"]}
        told |= {name: row[key] for key, name in NAMES.items()}
        if row["method"] == OURS:
            told["cut-offs"] = len(test.fits)
            told["fits that failed"] = int((test.fits["status"] == "failed").sum())
        rows.append(told)
    return rows


def pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each study counts once: mean coverage, and scores as ratios to ours (geometric means)."""
    frame = pd.DataFrame(rows)
    mine = frame[frame["method"] == OURS].set_index("study")
    out = []
    for method, theirs in frame.groupby("method", sort=False):
        theirs = theirs.set_index("study")
        held = {k: theirs[k].mean() for k in theirs if str(k).endswith("held")}
        ratio = {
            f"{k}, ours over theirs": float(np.exp(np.log(mine[k] / theirs[k]).mean()))
            for k in ("CRPS", "score 90 %", "RMSE")
        }
        out.append({"method": method, "studies": len(theirs), **held,
                    "worst 90 % held": theirs["90 % held"].min(), **ratio})  # fmt: skip
    return out


def aims(rows: list[dict[str, Any]], decisions: pd.DataFrame) -> list[Aim]:
    """What issue 5 asked for."""
    mine = {r["study"]: r for r in rows if r["method"] == OURS}
    total = {r["method"]: r for r in pooled(rows)}
    held = total[OURS]
    best = max((r["score 90 %, ours over theirs"], m) for m, r in total.items() if m != OURS)
    worst = min(mine.values(), key=lambda r: r["90 % held"])
    out = [
        Aim("90 % intervals hold 87 to 93 %, mean of the studies", f"{held['90 % held']:.0%}",
            bool(0.87 <= held["90 % held"] <= 0.93)),
        Aim("50 % intervals hold 45 to 55 %, mean of the studies", f"{held['50 % held']:.0%}",
            bool(0.45 <= held["50 % held"] <= 0.55)),
        Aim("no study under 80 % at 90 %", f"{worst['90 % held']:.0%} ({worst['study']})",
            bool(worst["90 % held"] >= 0.8)),
        Aim("interval score at least 25 % below the best baseline",
            f"{1 - best[0]:.0%} below {best[1]}", bool(best[0] <= 0.75)),
    ]  # fmt: skip
    for name in ("Chinchilla, 245", "Chinchilla, 240"):
        row = mine[name]
        out += [
            Aim(f"{name}: RMSE at most 0.028", f"{row['RMSE']:.4f}", bool(row["RMSE"] <= 0.028)),
            Aim(f"{name}: 95 % intervals hold 90 to 98 %", f"{row['95 % held']:.0%}",
                bool(0.9 <= row["95 % held"] <= 0.98)),
            Aim(f"{name}: interval score at 95 % at most 0.13", f"{row['score 95 %']:.3f}",
                bool(row["score 95 %"] <= 0.13)),
        ]  # fmt: skip
    early: Any = decisions[(decisions["method"] == OURS) & decisions["fold"].str.contains("1e20")]
    out.append(
        Aim("below 1e20 FLOP the interval of N* at 5.76e23 holds what all the data say",
            f"{int(early['inside'].sum())} of {len(early)}", bool(early["inside"].all()))
    )  # fmt: skip
    return out


def main() -> None:
    """Measure, print, write."""
    options = arguments(
        __doc__,
        ("--choosing", {"action": "store_true", "help": "the tables for choices about a model; "
                        "prints, writes nothing"}),
        ("--model", {"default": "{}", "help": "arguments of LossModel as JSON in place of those "
                     "that are reported; writes nothing"}),
        ("--study", {"default": "", "help": "only studies whose name has this; writes nothing"}),
    )  # fmt: skip
    warnings.simplefilter("ignore")
    use = "choosing" if options.choosing else "reporting"
    others = json.loads(options.model)
    asked = [s for s in STUDIES if s.use == use and options.study.lower() in s.name.lower()]
    rows, decisions, fits, started = [], [], [], time.process_time()
    for study in asked[:2] if options.quick else asked:
        progress(study.name)
        test = measured(study, REPORTED | others)
        rows += rows_of(study, test)
        decisions.append(test.decisions.assign(study=study.name))
        fits += [{"study": study.name, **r} for r in test.fits.to_dict("records")]
    seconds = time.process_time() - started
    decided = pd.concat(decisions, ignore_index=True)
    if options.choosing or options.quick or options.study or others:
        print(markdown(rows), "\n")
        print(markdown(pooled(rows)), f"\n{seconds:.0f} CPU s")
        return
    sizes = decided[["study", "fold", "method", "median", "lower", "upper", "all_data", "inside",
                     "regret"]].to_dict("records")  # fmt: skip
    publish(
        Record(
            "forecasts",
            (__doc__ or "").split("\n\n")[0],
            {
                "All studies: each counts once": pooled(rows),
                "Each study, over its cut-offs": rows,
                "Best size at 5.76e23 FLOP": sizes,
                "Our fits": fits,
            },
            aims(rows, decided),
            [
                "Tables for choosing (`--choosing`): "
                + ", ".join(sorted({s.table for s in STUDIES if s.use == "choosing"}))
                + "; for reporting: "
                + ", ".join(sorted({s.table for s in STUDIES if s.use == "reporting"})) + ".",
                "Cut-offs: where 50, 70 and 85 % of a study's readings lie below; Chinchilla's are "
                "1e20 and 1e21 FLOP. RMSE, CRPS, widths and interval scores are in the unit of "
                "the loss.",
                f"All fits and baselines together took {seconds:.0f} CPU seconds.",
            ],
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
