"""The table of StepLaw's dense runs, its cells, and the splits by compute.

The cuts below were written down before any method had been scored, and are not to be moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr

import bayescale as bs
from benchmarks.record import HERE

FILE = HERE / "data" / "steplaw_dense.parquet"
INPUTS = ("N", "T", "batch_size", "learning_rate")
LARGEST = "1074M_56.9B"

# Cells are ordered by 6 N T. Choices about models are made on three low cuts, scored no further
# than the first reporting cut, so no cell that reporting scores has been looked at by a choice.
CHOOSING_FLOPS = (4e18, 7e18, 1.1e19)  # 7, 12 and 15 cells fitted
HORIZON_FLOPS = 2.2e19  # 20 cells lie below
# Seven cuts that leave 21, 17, 14, 11, 8, 4 and 2 of the 41 cells to predict.
REPORTING_FLOPS = (2.2e19, 3e19, 4.5e19, 6e19, 1.1e20, 1.4e20, 2e20)
BUDGET_CUT_FLOPS = 1.4e20  # small budgets are spent below, and scored on the four cells above
BUDGETS = (0.1, 0.01)  # of the compute of the whole table


@dataclass(frozen=True)
class Split:
    """Runs to fit and runs to predict.

    Attributes
    ----------
    name : str
        As it stands in the tables.
    fitted, held_out : xarray.Dataset
        Dim ``(run,)``; from `bs.as_runs`.
    """

    name: str
    fitted: xr.Dataset
    held_out: xr.Dataset

    @property
    def cells(self) -> list[str]:
        """Held-out cells, the cheapest first."""
        return cells(self.held_out)


@cache
def load() -> xr.Dataset:
    """All runs, batch size in tokens, loss in nats per token; dim ``(run,)``, and ``cell``."""
    frame = pd.read_parquet(FILE)
    # whole numbers of tokens and of parameters overflow 64 bits once they are multiplied
    frame = frame.astype({"params": float, "tokens": float, "batch_tokens": float})
    frame = frame.drop(columns=["batch_size", "lr_grid", "step"])
    columns = {"N": "params", "T": "tokens", "batch_size": "batch_tokens"}
    return bs.as_runs(frame, columns, family="family")


def table(runs: xr.Dataset) -> pd.DataFrame:
    """Runs as a frame: N, T, batch_size (tokens), learning_rate, loss, flops, cell."""
    return pd.DataFrame({name: runs[name].values for name in (*INPUTS, "loss", "flops", "cell")})


def near_best(frame: pd.DataFrame, share: float) -> np.ndarray:
    """Which rows lie within a share of the smallest loss of their cell, ``(row,)``."""
    loss = frame["loss"].to_numpy(float)
    _, cell = np.unique(frame["cell"].to_numpy(str), return_inverse=True)
    best = np.full(cell.max() + 1, np.inf)
    np.minimum.at(best, cell, loss)
    return loss <= best[cell] * (1 + share)


def cells(runs: xr.Dataset) -> list[str]:
    """Names of the cells, ordered by 6 N T, then by name."""
    first = table(runs).drop_duplicates("cell")
    return list(first.sort_values(["flops", "cell"], kind="stable")["cell"])


def by_compute(
    cut_flops: float, *, horizon_flops: float = np.inf, runs: xr.Dataset | None = None
) -> Split:
    """Fit the cells below a cut, predict the cells above it, up to a horizon."""
    runs = load() if runs is None else runs
    flops = runs["flops"].values
    return Split(
        f"below {cut_flops:.2g}",
        runs.isel(run=np.flatnonzero(flops < cut_flops)),
        runs.isel(run=np.flatnonzero((flops >= cut_flops) & (flops < horizon_flops))),
    )


def choosing() -> list[Split]:
    """Splits on which choices about a model may be made."""
    return [by_compute(cut, horizon_flops=HORIZON_FLOPS) for cut in CHOOSING_FLOPS]


def reporting() -> list[Split]:
    """Splits that are scored once, when the choices are made."""
    return [by_compute(cut) for cut in REPORTING_FLOPS]
