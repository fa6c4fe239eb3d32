"""Small budgets: which runs of the table somebody would have made with a tenth or a hundredth.

Every choice uses the inputs of the runs and their cost 6 N T, and no loss. The table lacks runs
that diverged, so a choice among its rows is spared some bad ones; that holds for all three alike.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.hyperparameters.steplaw import INPUTS, table


def cheapest(runs: xr.Dataset, budget_flops: float) -> xr.Dataset:
    """The cheapest runs first, those of a cell in the order of the table."""
    frame = table(runs)
    order = np.argsort(frame["flops"].to_numpy(), kind="stable")
    return _taken(runs, order, frame, budget_flops)


def random(runs: xr.Dataset, budget_flops: float, random_seed: int) -> xr.Dataset:
    """Runs in random order, while they fit the budget."""
    order = np.random.default_rng(random_seed).permutation(runs.sizes["run"])
    return _taken(runs, order, table(runs), budget_flops)


def designed(runs: xr.Dataset, budget_flops: float) -> xr.Dataset:
    """Space-filling, by what a run costs: the next run covers the most new volume per FLOP.

    ``d^4 / cost``, with ``d`` the distance to the nearest run taken so far in (ln N, ln T, ln B,
    ln eta), each coordinate scaled to the range of the runs on offer; the fourth power, since there
    are four of them. With equal costs this is the greedy maximin design of Kennard and Stone
    (1969). The first run is the cheapest of those nearest the middle.
    """
    frame = table(runs)
    x = np.log(frame[list(INPUTS)].to_numpy(float))
    x = (x - x.min(axis=0)) / np.ptp(x, axis=0)
    cost = frame["flops"].to_numpy()
    middle = np.linalg.norm(x - 0.5, axis=1)
    nearest = np.argsort(middle, kind="stable")[: max(len(x) // 20, 1)]
    order = [int(nearest[np.argmin(cost[nearest])])]
    distance = np.linalg.norm(x - x[order[0]], axis=1)
    left = budget_flops - cost[order[0]]
    while True:
        worth = np.where((cost <= left) & (distance > 0), distance**4 / cost, -1.0)
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        order.append(best)
        left -= cost[best]
        distance = np.minimum(distance, np.linalg.norm(x - x[best], axis=1))
    return runs.isel(run=np.sort(order))


def _taken(
    runs: xr.Dataset, order: np.ndarray, frame: pd.DataFrame, budget_flops: float
) -> xr.Dataset:
    """Runs in this order until the first one that does not fit."""
    spent = np.cumsum(frame["flops"].to_numpy()[order])
    return runs.isel(run=np.sort(order[spent <= budget_flops]))
