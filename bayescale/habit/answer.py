"""What a habit costs: sizes, losses and constants beside those of tuned runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, flops, interval, percent, si
from bayescale.frontier import Frontier
from bayescale.laws.compute import additive_optimum
from bayescale.tune.answer import settings_text


@dataclass(frozen=True, repr=False)
class Habit(Answer):
    """Two loss laws of one surface: hyperparameters at their best, and kept fixed.

    Attributes
    ----------
    kept : dict of float
        The hyperparameters of the habit.
    tuned_at : dict of float
        ``N`` and ``T`` where they are the best, if they were not given.
    tuned, under : Frontier
        Best sizes with hyperparameters at their best, and under the habit.
    sized : ndarray, (sample, budget)
        Loss of tuned runs of the size that is best under the habit.
    constants_tuned, constants_under : dict of ndarray, (sample,)
        The additive law that a sweep at the cells of the data would have shown; empty where the
        cells are too few.
    """

    kept: dict[str, float]
    tuned_at: dict[str, float]
    tuned: Frontier
    under: Frontier
    sized: np.ndarray
    constants_tuned: dict[str, np.ndarray]
    constants_under: dict[str, np.ndarray]
    ci_prob: float
    warning: str = ""

    @cached_property
    def data(self) -> xr.Dataset:
        """Draws, (sample, budget): sizes, tokens, losses of both, their ratio, what is lost."""
        out = {f"{k}_tuned": self.tuned.draws[k] for k in ("N", "T", "loss")}
        out |= {f"{k}_habit": self.under.draws[k] for k in ("N", "T", "loss")}
        out["size_ratio"] = out["N_habit"] / out["N_tuned"]
        out["lost"] = out["loss_habit"] / out["loss_tuned"] - 1.0
        out["lost_by_size"] = xr.ones_like(out["lost"]) * self.sized / out["loss_tuned"] - 1.0
        return xr.Dataset(out)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a budget, medians with ``_lower`` and ``_upper``.

        ``lost`` is the share of loss that the habit gives away at its own best size,
        ``lost_by_size`` what its size loses if the run is tuned after all.
        """
        columns: dict[str, Any] = {"budget_flops": self.data["budget"].values}
        for name in ("N_tuned", "N_habit", "size_ratio", "lost", "lost_by_size"):
            columns |= _summary(name, self.data[name].values, self.ci_prob)
        return pd.DataFrame(columns)

    @cached_property
    def exponent_draws(self) -> pd.DataFrame:
        """Exponents of N*(C), one row a draw: of both laws, and of the additive laws refitted."""
        out = {
            "tuned": self.tuned.exponents["N"],
            "habit": self.under.exponents["N"],
        }
        if self.constants_tuned:
            out["tuned_refitted"] = _exponent(self.constants_tuned)
            out["habit_refitted"] = _exponent(self.constants_under)
        return pd.DataFrame(out)

    @cached_property
    def exponents(self) -> pd.DataFrame:
        """Exponents of N*(C) with intervals: of both laws, their difference, and the gaps.

        A gap is how far the exponent that a fitted additive law predicts lies from the one along
        the best sizes themselves, as a share of it.
        """
        x = self.exponent_draws
        rows: dict[str, Any] = {"tuned": x["tuned"], "habit": x["habit"]}
        rows["difference"] = x["habit"] - x["tuned"]
        if self.constants_tuned:
            for name in ("tuned", "habit"):
                rows[f"{name}, additive law refitted"] = x[f"{name}_refitted"]
            for name in ("tuned", "habit"):
                rows[f"gap, {name}"] = (x[f"{name}_refitted"] / x[name] - 1.0).abs()
        return _rows(rows, self.ci_prob)

    @cached_property
    def constants(self) -> pd.DataFrame:
        """Constants of the additive law that a sweep would have shown, tuned or by habit."""
        rows = {}
        for name, values in (("tuned", self.constants_tuned), ("habit", self.constants_under)):
            rows |= {f"{k}, {name}": v for k, v in values.items()}
        return _rows(rows, self.ci_prob) if rows else pd.DataFrame()

    @property
    def text(self) -> str:
        """The answer in sentences."""
        p, e = percent(self.ci_prob), self.exponents.to_dict("index")
        last = self.table.to_dict("records")[-1]
        lines = [self.warning] if self.warning else []
        where = ", ".join(f"{k} = {si(v)}" for k, v in self.tuned_at.items())
        lines.append(
            f"The habit: {settings_text(self.kept)} for every run"
            + (f", the best at {where}." if where else ".")
        )
        lines.append(
            f"Tuned, the best size grows as C^{_told(e, 'tuned')}; under the habit as "
            f"C^{_told(e, 'habit')}. The difference is {_told(e, 'difference')} ({p} intervals)."
        )
        budget = flops(float(last["budget_flops"]))
        lines.append(
            f"At {budget} the habit's best size is {si(float(last['N_habit']))} parameters and the "
            f"tuned one {si(float(last['N_tuned']))}: {_ratio(last, 'size_ratio')} times as large."
        )
        lines.append(
            f"There the habit gives away {_share(last, 'lost')} of loss at its own best size; its "
            f"size alone, tuned after all, {_share(last, 'lost_by_size')}."
        )
        if self.constants_tuned:
            ratio = np.asarray(self.refitted_size(float(last["budget_flops"])))
            low, high = interval(ratio, self.ci_prob)
            lines.append(
                "An additive law fitted to a sweep of such runs predicts an exponent of "
                f"{_told(e, 'habit, additive law refitted')}, a gap of "
                f"{percent(e['gap, habit']['median'])} from the habit's own best sizes; "
                f"fitted to tuned runs {_told(e, 'tuned, additive law refitted')}, a gap of "
                f"{percent(e['gap, tuned']['median'])}. At {budget} the first asks for "
                f"{np.median(ratio):.2f} times the size of the second ({low:.2f} to {high:.2f})."
            )
        return "\n".join(lines)

    def refitted_size(self, budget_flops: float) -> np.ndarray:
        """Best size by the law of a fixed-habit sweep over that by the law of a tuned one.

        ``(sample,)``, at 6NT.
        """
        sizes = [
            additive_optimum(budget_flops, *(c[k] for k in ("A", "B", "alpha", "beta"))).N
            for c in (self.constants_under, self.constants_tuned)
        ]
        return np.asarray(sizes[0] / sizes[1])

    def plot(self, **kwargs: Any) -> Any:
        """Best sizes against compute, tuned and by habit, and the loss that the habit loses."""
        from bayescale import plots

        return plots.habit(self, **kwargs)


def _exponent(constants: dict[str, np.ndarray]) -> np.ndarray:
    return constants["beta"] / (constants["alpha"] + constants["beta"])


def _summary(name: str, x: np.ndarray, ci_prob: float) -> dict[str, np.ndarray]:
    low, high = interval(x, ci_prob)
    return {name: np.median(x, axis=0), f"{name}_lower": low, f"{name}_upper": high}


def _rows(rows: dict[str, Any], ci_prob: float) -> pd.DataFrame:
    out = {}
    for name, x in rows.items():
        low, high = interval(np.asarray(x), ci_prob)
        out[name] = {"median": float(np.median(x)), "lower": float(low), "upper": float(high)}
    return pd.DataFrame.from_dict(out, orient="index")


def _told(rows: Any, name: str) -> str:
    middle, low, high = (rows[name][k] for k in ("median", "lower", "upper"))
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _ratio(row: Any, name: str) -> str:
    return f"{row[name]:.2f} ({row[f'{name}_lower']:.2f} to {row[f'{name}_upper']:.2f})"


def _share(row: Any, name: str) -> str:
    low, high = (percent(float(row[f"{name}_{end}"])) for end in ("lower", "upper"))
    return f"{percent(float(row[name]))} ({low} to {high})"
