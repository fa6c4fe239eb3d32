"""How good a method was on held-out cells: losses, advice, and whether its intervals are honest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayescale.backtest.scores import crps, interval_score
from benchmarks.hyperparameters.cell_bowl import CellBowl
from benchmarks.hyperparameters.methods import AbstractFitted
from benchmarks.hyperparameters.steplaw import Split, near_best, table

CI_PROB = 0.9
NEAR = 0.02  # of a cell's best loss: the runs that matter to a plan
REGRETS = ("run over best run", "run over bowl", "bowl at advice")
OPTIMA = ("ln B*", "ln eta*")
PERCENT = 100.0  # log losses times this are percent of the loss


@dataclass(frozen=True)
class Score:
    """What one method did on one split.

    Attributes
    ----------
    losses : pandas.DataFrame
        One row a held-out run: cell, error (predicted minus observed log loss), inside (the 90 %
        interval), near (within 2 % of the cell's best), interval score and CRPS of log loss, and
        loss and predicted. Empty where a method predicts no losses.
    advice : pandas.DataFrame
        One row a held-out cell: regrets in percent, errors and coverage of ``ln B*``, ``ln eta*``.
    """

    method: str
    split: str
    losses: pd.DataFrame
    advice: pd.DataFrame

    def row(self) -> dict[str, Any]:
        """The summary that stands in a table."""
        return {"split": self.split, "method": self.method} | self._losses() | self._advice()

    def _losses(self) -> dict[str, Any]:
        f = self.losses
        if f.empty:
            return {}
        each = [f.loc[f["cell"] == cell] for cell in self.advice["cell"]]
        explained = [r2(runs) for runs in each]
        out = {
            "R2 largest": explained[-1],
            "R2 largest, level free": r2(each[-1], level_free=True),
            "R2 cells, median": float(np.median(explained)),
            "R2 cells, worst": min(explained),
            "R2 pooled": r2(f),
        }
        if "crps" in f:
            near = f.loc[f["near"].to_numpy(bool)]
            out |= {
                "coverage": _mean(f, "inside"),
                "coverage near": _mean(near, "inside"),
                "interval score %": PERCENT * _mean(f, "interval_score"),
                "CRPS %": PERCENT * _mean(f, "crps"),
                "CRPS near %": PERCENT * _mean(near, "crps"),
            }
        return out

    def _advice(self) -> dict[str, Any]:
        a = self.advice
        out: dict[str, Any] = {}
        for kind in REGRETS:
            values = a[kind].to_numpy(float)
            out |= {f"{kind} %": float(values.mean()), f"{kind}, worst %": float(values.max())}
        for name in OPTIMA:
            errors = a[f"error {name}"].to_numpy(float)
            out[f"error {name}"] = float(np.sqrt(np.mean(errors**2)))
            if np.isfinite(a[f"raw {name}"].to_numpy(float)).all():
                out |= {f"{kind} {name}": _mean(a, f"{kind} {name}") for kind in ("raw", "both")}
        return out


def _mean(frame: pd.DataFrame, name: str) -> float:
    return float(np.mean(frame[name].to_numpy(float)))


def score(name: str, fitted: AbstractFitted, split: Split, bowls: Mapping[str, CellBowl]) -> Score:
    """Score a fitted method on the held-out cells of a split."""
    frame = table(split.held_out)
    return Score(name, split.name, _losses(fitted, frame), _advice(fitted, frame, split, bowls))


def r2(frame: pd.DataFrame, *, level_free: bool = False) -> float:
    """Share of the variance of the losses that the median forecast explains.

    About the mean of these very losses, so a forecast that is off by a constant pays for it in
    full; ``level_free`` forgives the constant and asks for the shape alone.
    """
    loss, error = frame["loss"].to_numpy(), (frame["predicted"] - frame["loss"]).to_numpy()
    if level_free:
        error = error - error.mean()
    return float(1 - np.sum(error**2) / np.sum((loss - loss.mean()) ** 2))


def _losses(fitted: AbstractFitted, frame: pd.DataFrame) -> pd.DataFrame:
    draws = fitted.predict(frame)
    if draws is None:
        return pd.DataFrame()
    log_draws, y = np.log(draws), np.log(frame["loss"].to_numpy())
    middle = np.median(log_draws, axis=0)
    out = {"cell": frame["cell"], "loss": frame["loss"], "predicted": np.exp(middle),
           "error": middle - y, "near": near_best(frame, NEAR)}  # fmt: skip
    if len(draws) > 1:
        lower, upper = np.quantile(log_draws, [(1 - CI_PROB) / 2, (1 + CI_PROB) / 2], axis=0)
        out |= {"inside": (lower <= y) & (y <= upper), "crps": crps(log_draws, y),
                "interval_score": interval_score(lower, upper, y, CI_PROB)}  # fmt: skip
    return pd.DataFrame(out)


def _advice(
    fitted: AbstractFitted, frame: pd.DataFrame, split: Split, bowls: Mapping[str, CellBowl]
) -> pd.DataFrame:
    names = split.cells
    first = frame.drop_duplicates("cell").set_index("cell").loc[names]
    N, T = first["N"].to_numpy(float), first["T"].to_numpy(float)
    chosen, draws = fitted.choose(N, T), fitted.recommend(N, T)
    rows = []
    for i, name in enumerate(names):
        runs = frame.loc[frame["cell"] == name]
        row = {"cell": name} | regret(chosen[i], runs, bowls[name])
        rows.append(row | _coverage(draws[:, i], chosen[i], bowls[name]))
    return pd.DataFrame(rows)


def regret(advice: np.ndarray, runs: pd.DataFrame, bowl: CellBowl) -> dict[str, float]:
    """What following advice ``(ln B, ln eta)`` costs in one cell, percent of the loss, three ways.

    - ``run over best run``: the run nearest in (ln B, ln eta) against the smallest loss of the
      cell. That minimum over some sixty runs is lucky: even the true optimum shows a regret.
    - ``run over bowl``: the same run against the bottom of the cell's own bowl. Unbiased by luck
      of the best, still with the noise of one run (it may be negative) and rounding to the grid.
    - ``bowl at advice``: the cell's own bowl at the advice, above its bottom: no luck, no
      rounding, but it trusts the bowl.
    """
    log_batch, log_rate = (np.log(runs[c].to_numpy()) for c in ("batch_size", "learning_rate"))
    loss = runs["loss"].to_numpy()
    nearest = loss[np.argmin(np.hypot(log_batch - advice[0], log_rate - advice[1]))]
    price = float(bowl.price(advice[:1], advice[1:])[0])
    return {
        "run over best run": PERCENT * float(nearest / loss.min() - 1),
        "run over bowl": PERCENT * float(nearest / bowl.best_loss - 1),
        "bowl at advice": PERCENT * float(np.expm1(min(price, 5.0))),
    }


def _coverage(draws: np.ndarray, chosen: np.ndarray, bowl: CellBowl) -> dict[str, float]:
    """Whether a 90 % interval holds the cell's own optimum: taken as exact, and with its error.

    With its error: whether the interval of (drawn optimum minus a bootstrap of the cell's own)
    holds zero. Raw coverage falls short of 90 % for a perfect method, since the truth is noisy.
    """
    out: dict[str, float] = {}
    tails = [(1 - CI_PROB) / 2, (1 + CI_PROB) / 2]
    rng = np.random.default_rng(0)
    for k, name in enumerate(OPTIMA):
        out[f"error {name}"] = float(chosen[k] - bowl.optimum[k])
        if len(draws) == 1:
            out |= {f"raw {name}": np.nan, f"both {name}": np.nan}
            continue
        lower, upper = np.quantile(draws[:, k], tails)
        out[f"raw {name}"] = float(lower <= bowl.optimum[k] <= upper)
        # errors of the bootstrap, about the estimate, so that its bias does not count twice
        error = bowl.draws[:, 1 + k] - np.median(bowl.draws[:, 1 + k])
        pairs = rng.choice(draws[:, k], 4000) - bowl.optimum[k] + rng.choice(error, 4000)
        lower, upper = np.quantile(pairs, tails)
        out[f"both {name}"] = float(lower <= 0 <= upper)
    return out
