"""Runs of our own harness: does a law fit them, does its forecast hold, is a known floor found?

``python -m benchmarks.harness --train runs`` first trains the sweeps that the bundled tables came
from (an hour on two CPU cores; finished runs are skipped) and writes the tables anew.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.record import HERE, Aim, Record, arguments, progress, publish

ROOT = HERE.parent
TABLES = ROOT / "bayescale" / "datasets" / "tables"
SWEEPS = {
    "harness_leaves": ROOT / "examples" / "first_sweep.toml",
    "harness_known_floor": HERE / "sweeps" / "known_floor.toml",
    "harness_conditionings": HERE / "sweeps" / "conditionings.toml",
    "harness_video": HERE / "sweeps" / "video.toml",
}
LEFT_OUT = ("finished", "label", "cost_sessions", "cost_peak_measured", "data_epochs")


def train(root: Path) -> None:
    """Train every sweep below `root`, and keep its readings as a table."""
    for name, sweep in SWEEPS.items():
        progress(f"training {sweep.name}")
        command = ["sweep", str(sweep), "--out", str(root / name), "--threads", "1"]
        subprocess.run([sys.executable, "-m", "training", *command], check=True)
        keep(name, root)


def keep(name: str, root: Path) -> None:
    """Bundle the readings of a sweep, without what differs from one making to the next."""
    from training.collect import collect

    found = collect(root / name, root / f"{name}.nc")
    if found.problems:
        raise SystemExit("\n".join(found.problems))
    table = pd.read_parquet(root / f"{name}.parquet").drop(columns=list(LEFT_OUT))
    empty = [each for each in table if (table[each] == "").all()]
    table = table.drop(columns=empty)
    table.to_parquet(TABLES / f"{name}.parquet", compression="zstd", index=False)


def law_of_leaves(draws: int) -> tuple[list[dict[str, Any]], list[Aim]]:
    """Fit of the first sweep, crossings, and the forecast of the runs held out."""
    import bayescale as bs

    runs = bs.datasets.load("harness_leaves")
    law = runs.sel(run=runs["blocks"].isin(["law", "luck"]))
    fit = bs.fit(bs.LossModel(), law, draws=draws, tune=draws, random_seed=1, progressbar=False)
    at = _readings(law)
    mean = bs.predict(fit, at={k: at[k].to_numpy() for k in "NT"}, kind="mean").table["median"]
    residual = at["loss"].to_numpy() / mean.to_numpy() - 1
    rms = float(np.sqrt(np.mean(residual**2)))
    cells = at.groupby(["T", "N"])["loss"].mean().unstack()
    ratio = (cells.diff(axis=1) / cells).to_numpy()
    luck = at.groupby(["T", "N"])["loss"].agg(lambda x: x.std() / x.mean()).dropna()
    scatter = float(np.sqrt(np.mean(luck**2)))
    worst = float(np.nanmax(ratio))
    held = _readings(runs.sel(run=runs["blocks"] == "held-out"), fitted=False)
    longest = at.groupby("N")["T"].max()
    held = held[held["T"] > 1.05 * held["N"].map(longest)]
    forecast = bs.predict(fit, at={k: held[k].to_numpy() for k in "NT"}).table
    loss = held["loss"].to_numpy()
    inside = ((forecast["lower"] <= loss) & (loss <= forecast["upper"])).to_numpy()
    rows = [
        {"N": n, "T": t, "found": round(float(y), 4), "median": round(f.median, 4),
         "lower": round(f.lower, 4), "upper": round(f.upper, 4)}
        for n, t, y, f in zip(held["N"], held["T"], loss, forecast.itertuples(), strict=True)
    ]  # fmt: skip
    aims = [
        Aim("rms of L(N, T) over its readings at most 1.5 %",
            f"{rms:.2%} of {len(at)}", rms <= 0.015),
        Aim("no crossing of sizes beyond noise (3 seed sd of a difference)",
            f"larger size higher by at most {max(worst, 0):.2%}; seed sd {scatter:.2%}",
            bool(worst <= 3 * np.sqrt(2) * scatter)),
        Aim("held-out longer runs inside the 90 % intervals",
            f"{inside.sum()} of {len(inside)} readings of 2 runs", bool(inside.all())),
    ]  # fmt: skip
    return rows, aims


def known_floor(draws: int) -> tuple[list[dict[str, Any]], list[Aim]]:
    """What posterior and least squares say of E where it is known."""
    import bayescale as bs

    runs = bs.datasets.load("harness_known_floor")
    rows, aims = [], []
    for block in ("256", "4096"):
        part = runs.sel(run=runs["blocks"] == block)
        truth = float(np.nanmean(part["oracle_loss"].values))
        squares = least_squares_floor(_readings(part))
        for law in ("additive", "interacting", "skaling"):
            progress(f"{block} templates, {law}")
            fit = bs.fit(
                bs.LossModel(law), part, draws=draws, tune=draws, random_seed=1, progressbar=False
            )
            low, middle, high = np.quantile(fit["posterior"].dataset["E"].values, [0.05, 0.5, 0.95])
            covers = bool(low <= truth <= high)
            rows.append(
                {"templates": int(block), "oracle": round(truth, 4), "law": law,
                 "E": round(float(middle), 4), "lower": round(float(low), 4),
                 "upper": round(float(high), 4),
                 "covers": covers, "least squares (additive)": round(squares, 4),
                 "status": fit.attrs["status"]}
            )  # fmt: skip
            if law == "additive":
                said = f"{low:.3f} to {high:.3f}, oracle {truth:.4f}; least squares {squares:.3f}"
                aim = f"90 % interval of E covers the oracle: default model, {block} templates"
                aims.append(Aim(aim, said, covers))
    return rows, aims


def least_squares_floor(at: pd.DataFrame) -> float:
    """E by least squares on log residuals of the additive law."""
    from scipy.optimize import least_squares

    def error(p: np.ndarray) -> np.ndarray:
        E, A, a, B, b = np.exp(p)
        law = E + A * (at["N"] / 1e5) ** -a + B * (at["T"] / 1e6) ** -b
        return np.asarray(np.log(law) - np.log(at["loss"]))

    return float(np.exp(least_squares(error, np.log([0.2, 0.03, 0.5, 0.1, 0.5])).x[0]))


def conditionings() -> list[dict[str, Any]]:
    """Last readings of five conditionings at equal training compute, two seeds each."""
    import bayescale as bs

    at = _readings(bs.datasets.load("harness_conditionings"))
    last = at.sort_values("T").groupby("run").tail(1).copy()
    budgets = np.unique(last["flops"].round(-10))  # whole batches: runs of one budget differ by 1 %
    groups = np.cumsum(np.diff(np.log(budgets), prepend=-np.inf) > 0.1)
    of_group = {group: budgets[groups == group].mean() for group in groups}
    nearest = [int(np.abs(np.log(budgets / each)).argmin()) for each in last["flops"]]
    last["budget"] = [of_group[groups[each]] for each in nearest]
    cells = last.groupby(["family", "budget"])["loss"].agg(["mean", "std"]).reset_index()
    rows = []
    for name, part in cells.groupby("family"):
        row: dict[str, Any] = {"conditioning": name}
        for each in part.itertuples():
            row[f"{each.budget:.2g} FLOP"] = f"{each.mean:.4f} ± {each.std / np.sqrt(2):.4f}"
        rows.append(row)
    return sorted(rows, key=lambda row: str(row[max(k for k in row if k != "conditioning")]))


def video() -> list[dict[str, Any]]:
    """Full against factorised attention on moving sprites, at equal size and tokens."""
    import bayescale as bs

    runs = bs.datasets.load("harness_video")
    parts = []
    for block in ("law", "factorised"):
        at = _readings(runs.sel(run=runs["blocks"] == block))
        parts.append(
            at.sort_values("T").groupby("N").tail(1).set_index("N")[["T", "flops", "loss"]]
        )
    both = parts[0].join(parts[1], suffixes=("", "_factorised"))
    return [
        {"N": int(n), "T": int(row["T"]), "full": round(row["loss"], 4),
         "factorised": round(row["loss_factorised"], 4),
         "FLOP of factorised over full": round(row["flops_factorised"] / row["flops"], 2)}
        for n, row in both.sort_index().iterrows()
    ]  # fmt: skip


def _readings(runs: Any, *, fitted: bool = True) -> pd.DataFrame:
    frame = runs.to_dataframe().reset_index()
    keep = frame["fitted"] if fitted else np.isfinite(frame["loss"])
    return frame[keep]


def main() -> None:
    """Measure on the bundled tables."""
    options = arguments(__doc__, ("--train", {"type": Path, "metavar": "DIR"}))
    if options.train:
        train(options.train.resolve())
    draws = 200 if options.quick else 2000
    forecast, aims = law_of_leaves(draws)
    floors, more = known_floor(draws)
    publish(
        Record(
            "harness",
            "Runs of our own harness: does a law fit them, does a forecast hold, is a floor found?",
            {
                "Held-out longer runs of the first sweep, forecast by the additive law": forecast,
                "Posterior of E where the best possible loss is known": floors,
                "Conditionings at equal training compute: mean of two seeds": conditionings(),
                "Video, full and factorised attention, equal size and tokens, one seed": video(),
            },
            [*aims, *more],
            ["Procedural data: the exponents are no laws of natural images."],
        ),
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
