"""What do small sweeps say of the best batch and rate: an interval, or a bound from one side?

The 36 cells that Yin et al. (2024) print for a 1.07B model at 4B and 10B tokens, and the sweeps of
rate and batch of our own harness, 12 and 9 runs. Their smallest batch is the best one of three of
the four grids, so a point would be an invention there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.record import Aim, Record, arguments, progress, publish

COLUMNS = {
    "run": "run", "N": "n_params", "T": "train_tokens", "loss": "val_loss",
    "batch_size": "batch_tokens_inferred_exact", "learning_rate": "lr_inferred_exact",
}  # fmt: skip
BY_HAND = {4e9: 0.0005, 1e10: 0.0007}  # residual sd of a quadratic in logs, shares of loss
BATCH_10B, RATE_10B = 1.4e5, 2.0e-4
HARNESS = {"harness_leaves": "dead leaves, 6.6k parameters", "harness_video": "sprites, 50k"}


def video_cells() -> pd.DataFrame:
    """The 36 printed cells, batch and rate as the grid's own factors make them."""
    import bayescale as bs

    cells = bs.datasets.paper("videodit_fig4_grid_1p07B")
    return cells.assign(run=[f"cell-{i:02d}" for i in range(len(cells))])


def harness_grid(name: str) -> xr.Dataset:
    """The block of rates and batches of a harness table, fitted."""
    import bayescale as bs

    runs = bs.datasets.load(name)
    grid = runs.isel(run=np.flatnonzero(runs["blocks"].values.astype(str) == "rates"))
    return grid.assign(fitted=np.isfinite(grid["loss"]))


def said(name: str, loss_law: str | None, runs: xr.Dataset, draws: int, T: list[float]) -> Any:
    """Fit one table; a row for each length asked, and what is left of the runs."""
    import bayescale as bs

    progress(name)
    model = bs.HyperparameterModel(loss_law)
    fit = bs.fit(
        model, runs, method="nuts", draws=draws, tune=draws, random_seed=1, progressbar=False
    )
    rows = []
    for length in T:
        at = {"T": length} if loss_law else {}
        tuning = bs.tune(fit, against=(), **at)
        rows.append(_row(name, length, fit, tuning))
    return rows


def _row(name: str, length: float, fit: Any, tuning: Any) -> dict[str, Any]:
    seen = tuning.place.fitted.readings()
    mine = np.isclose(seen["T"], length, rtol=0.02) if "T" in seen else slice(None)
    here = {k: v[mine] for k, v in seen.items() if k != "family"}
    loss, batch, rate = (here[k] for k in ("loss", "batch_size", "learning_rate"))
    best = int(np.argmin(loss))
    row: dict[str, Any] = {"sweep": name, "T": length, "runs": len(loss)}
    for key, values in (("batch_size", batch), ("learning_rate", rate)):
        told = tuning.table.loc[key]
        row[f"best {key}"] = _told(told)
        row[f"grid minimum: {key}"] = float(values[best])
    row["batch below the grid"] = round(tuning.brackets["batch_size"].below, 3)
    row["residual sd"] = round(_residual_sd(fit, here), 6)
    row["near the best run"] = _neighbours(tuning, batch, rate, loss)
    row["status"] = fit.attrs["status"]
    row["batch says"] = tuning.brackets["batch_size"].kind
    row["batch median"] = float(tuning.table["median"]["batch_size"])
    row["rate median"] = float(tuning.table["median"]["learning_rate"])
    row["ends"] = [float(tuning.table[e][h]) for h in ("batch_size", "learning_rate")
                   for e in ("lower", "upper")]  # fmt: skip
    return row


def _told(row: Any) -> str:
    if row["says"] == "at most":
        return f"at most {row['upper']:.3g} (95 %)"
    if row["says"] == "at least":
        return f"at least {row['lower']:.3g} (95 %)"
    if row["says"] == "unknown":
        return "not bounded"
    return f"{row['median']:.3g} ({row['lower']:.3g} to {row['upper']:.3g})"


def _residual_sd(fit: Any, here: dict[str, np.ndarray]) -> float:
    """Standard deviation of log loss about the fitted curve, of all runs of a panel."""
    import bayescale as bs

    at = {k: v for k, v in here.items() if k != "loss"}
    mean = bs.predict(fit, at=at, kind="mean").draws.values.mean(axis=0)
    return float(np.std(np.log(here["loss"] / mean)))


def _neighbours(tuning: Any, batch: np.ndarray, rate: np.ndarray, loss: np.ndarray) -> str:
    """Of the grid minimum and its neighbours along each axis: how many lie where the fit has them.

    A run counts as agreeing where its loss above the best run is the expected difference of the
    prices, within two sd of the difference of two runs (noise and posterior).
    """
    best, place = int(np.argmin(loss)), tuning.place
    levels = [np.unique(np.round(np.log(x), 4), return_inverse=True)[1] for x in (batch, rate)]
    step = sum(np.abs(x - x[best]) for x in levels)
    near = np.flatnonzero(step == 1)
    at = {"batch_size": batch[None, [best, *near]], "learning_rate": rate[None, [best, *near]]}
    price = place.price(at)
    gap = price[:, 1:] - price[:, :1]
    noise = np.sqrt(2.0) * float(np.median(place.fitted.draws("sigma", place.family)))
    spread = np.sqrt(gap.var(axis=0) + noise**2)
    seen = np.log(loss[near] / loss[best])
    return f"{int((np.abs(seen - gap.mean(axis=0)) < 2 * spread).sum())} of {len(near)} agree"


def aims(rows: list[dict[str, Any]]) -> list[Aim]:
    """What issue 4 asked of the printed cells."""
    by = {(row["sweep"], row["T"]): row for row in rows}
    small, large = by[("4B panel alone", 4e9)], by[("10B panel alone", 1e10)]
    low_b, high_b, low_r, high_r = large["ends"]
    both = by[("both panels", 4e9)]
    return [
        Aim("4B panel alone: a one-sided answer for B*", small["best batch_size"],
            small["batch says"] == "at most"),
        Aim("10B panel alone: an interval around (1.4e5, 2.0e-4)",
            f"{large['best batch_size']}; {large['best learning_rate']}",
            large["batch says"] == "interval"
            and low_b <= BATCH_10B <= high_b and low_r <= RATE_10B <= high_r),
        Aim("both panels: still one-sided at 4B tokens", both["best batch_size"],
            both["batch says"] == "at most"),
        Aim("residual sd as small as a quadratic's: 0.05 % (4B), 0.07 % (10B)",
            f"{small['residual sd']:.3%}, {large['residual sd']:.3%}",
            small["residual sd"] < BY_HAND[4e9] + 5e-5
            and large["residual sd"] < BY_HAND[1e10] + 5e-5),
    ]  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    import bayescale as bs

    options = arguments(__doc__)
    draws = 500 if options.quick else 2000
    cells = video_cells()
    panel = {t: bs.as_runs(cells[cells["train_tokens"] == t], COLUMNS) for t in BY_HAND}
    rows = said("4B panel alone", None, panel[4e9], draws, [4e9])
    rows += said("10B panel alone", None, panel[1e10], draws, [1e10])
    rows += said("both panels", "data", bs.as_runs(cells, COLUMNS), draws, [4e9, 1e10])
    for name, title in HARNESS.items():
        grid = harness_grid(name)
        rows += said(title, None, grid, draws, [float(np.nanmax(grid["T"].values))])
    found = aims(rows)
    hidden = ("ends", "batch says", "batch median", "rate median")
    shown = [{k: v for k, v in row.items() if k not in hidden} for row in rows]
    publish(
        Record(
            "hyperparameters.small",
            (__doc__ or "").split("\n\n")[0],
            {"Best batch (tokens) and rate, with 90 % intervals or bounds": shown},
            found,
            [
                "Every cell is one run without a repeat; losses of the printed cells have four "
                "digits, 0.02 % of loss.",
                "`batch below the grid` is the posterior probability that the best batch lies "
                "below the smallest one tried; above one fourth the answer is a bound.",
                "`near the best run` counts neighbours of the grid minimum whose loss above it is "
                "what the fit expects, within two sd of the difference of two runs.",
            ],
        ),
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
