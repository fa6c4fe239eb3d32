"""What a batch trade says: a row a batch size, which one to take and why, in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, interval, percent, si
from bayescale.inference.tree import Fitted
from bayescale.plan.needs import Needs

COLUMNS = ("extra", "steps", "tokens", "samples", "amount", "gpu_hours", "days", "money")


@dataclass(frozen=True, repr=False)
class BatchTrade(Answer):
    """Batch sizes side by side.

    Attributes
    ----------
    draws : xarray.Dataset, (sample, batch)
        ``tokens`` (or ``samples``, or ``amount``: the unit of the batch), ``steps``, ``gpu_hours``,
        ``days`` and ``money`` of one run with its luck, the same luck at every batch size;
        ``extra``, the share of tokens beyond the most frugal batch, of the mean curve; ``gpus``
        (batch).
    needs : Needs
    asked : dict
        The questions and limits of the call.
    """

    draws: xr.Dataset
    needs: Needs
    asked: dict[str, Any]
    ci_prob: float
    warning: str = ""
    fitted: Fitted | None = None

    @property
    def data(self) -> xr.Dataset:
        """The draws."""
        return self.draws

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a batch size: medians with ``_lower`` and ``_upper``, and ``in_time``."""
        out: dict[str, Any] = {"batch_size": self.needs.batch}
        if "gpus" in self.draws:
            out["gpus"] = self.draws["gpus"].values
        for name in self._columns:
            x = self.draws[name].values
            low, high = _interval(x, self.ci_prob)
            out |= {name: np.median(x, axis=0), f"{name}_lower": low, f"{name}_upper": high}
        if self.asked["deadline_days"] is not None:
            out["in_time"] = self._in_time
        out["beyond_data"] = self.needs.batch > self.needs.largest * (1 + 1e-9)
        return pd.DataFrame(out)

    @cached_property
    def recommended(self) -> dict[str, Any]:
        """The row to take, by name, or an empty dict where no batch size answers the question."""
        at = self._choice
        return {} if at is None else {str(k): v for k, v in self.table.iloc[at].items()}

    @property
    def question(self) -> str:
        """What was asked, as a clause."""
        asked = self.asked
        if asked["deadline_days"] is not None:
            return (
                f"For the fewest GPU-hours within {asked['deadline_days']:g} days "
                f"({percent(self.ci_prob)} sure)"
            )
        if asked["price_per_day"] is not None:
            return (
                f"At {asked['price_per_gpu_hour']:g} a GPU-hour and {si(asked['price_per_day'])} "
                "a day, for the least money"
            )
        if asked["gpus"] is not None:
            return f"To end soonest on {asked['gpus']:g} GPUs"
        return "Where one percent of time is worth one percent of cost"

    @property
    def text(self) -> str:
        """The trade in sentences: the critical batch, what to take, and what others would cost."""
        n, p = self.needs, percent(self.ci_prob)
        unit = n.unit or "units"
        b = batch_text
        low, high = interval(n.critical, self.ci_prob)
        lines = [self.warning] if self.warning else []
        lines.append(
            f"The {n.critical_name} is {b(np.median(n.critical))} {unit} ({p} interval "
            f"{b(low)} to {b(high)}); {n.question} the most frugal batch takes "
            f"{si(float(np.median(n.least)))} {unit}."
        )
        row = self.recommended
        if not row:
            days = np.median(self.draws["days"].values, axis=0)
            at = int(np.argmin(days))
            lines.append(
                f"{self.question}: no batch size here is. The soonest is {b(n.batch[at])} {unit}, "
                f"{si(float(days[at]))} days, in time with {percent(float(self._in_time[at]))} "
                "probability. Use more GPUs or larger batches, or a later deadline."
            )
        else:
            lines.append(f"{self.question}, take a batch of {b(row['batch_size'])} {unit}: ")
            lines[-1] += self._told(row) + "."
            if row["beyond_data"]:
                lines.append(
                    f"That is beyond the largest batch of the data, {b(n.largest)} {unit}; it "
                    "holds if the curve does."
                )
        lines += self._beside(row)
        if self.asked["speed"]:
            lines.append(f"Speed: {self.asked['speed']}.")
        return "\n".join(lines)

    def plot(self, **kwargs: Any) -> Any:
        """Days against GPU-hours (or steps against tokens), one point a batch size."""
        from bayescale import plots

        return plots.batch_trade(self, **kwargs)

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(name for name in COLUMNS if name in self.draws)

    @cached_property
    def _in_time(self) -> np.ndarray:
        """Probability of each batch size to end before the deadline, ``(batch,)``."""
        limit = self.asked["deadline_days"]
        if limit is None:
            return np.ones(len(self.needs.batch))
        return (self.draws["days"].values <= limit).mean(axis=0)

    @cached_property
    def _choice(self) -> int | None:
        mean = {k: _mean(self.draws[k].values) for k in self._columns}
        cost = mean.get("gpu_hours", mean[amount_of(self.needs)])
        if self.asked["deadline_days"] is not None:
            good = self._in_time >= self.ci_prob
            return int(np.argmin(np.where(good, cost, np.inf))) if good.any() else None
        if self.asked["price_per_day"] is not None:
            return int(np.argmin(mean["money"]))
        if self.asked["gpus"] is not None:
            return int(np.argmin(mean["days"]))
        return int(np.argmin(cost * mean.get("days", mean["steps"])))

    def _told(self, row: dict[str, Any]) -> str:
        n, told = self.needs, []
        if "gpus" in row:
            told.append(f"{row['gpus']:,.0f} GPUs")
        words = {"steps": "steps", amount_of(n): n.unit or "units", "gpu_hours": "GPU-hours",
                 "days": "days", "money": "in money"}  # fmt: skip
        for name, word in words.items():
            if name in self._columns:
                told.append(
                    f"{si(row[name])} {word} ({si(row[f'{name}_lower'])} to "
                    f"{si(row[f'{name}_upper'])})"
                )
        told.append(
            f"{percent(row['extra'])} more {n.unit or 'units'} than the most frugal batch "
            f"({percent(row['extra_lower'])} to {percent(row['extra_upper'])})"
        )
        return ", ".join(told)

    def _beside(self, row: dict[str, Any]) -> list[str]:
        """Half and twice the recommended batch, in shares of cost and time."""
        if not row:
            return []
        at = self._choice
        assert at is not None
        time = "days" if "days" in self.draws else "steps"
        cost = "gpu_hours" if "gpu_hours" in self.draws else amount_of(self.needs)
        out = []
        for i in (at - 1, at + 1):
            if not 0 <= i < len(self.needs.batch):
                continue
            here, there = self.draws.isel(batch=at), self.draws.isel(batch=i)
            t, c = (float(np.median(there[k] / here[k])) - 1.0 for k in (time, cost))
            out.append(
                f"A batch of {batch_text(self.needs.batch[i])} instead: {t:+.0%} {time}, {c:+.1%} "
                f"{'GPU-hours' if cost == 'gpu_hours' else self.needs.unit or 'units'}."
            )
        return out


def amount_of(needs: Needs) -> str:
    """Name of the column with tokens or samples: the unit of the batch."""
    return needs.unit or "amount"


def batch_text(value: Any) -> str:
    """A batch size in full where it is short enough: ``1,024``, ``2.10 M``."""
    return f"{float(value):,.0f}" if float(value) < 1e5 else si(float(value))


def _mean(x: np.ndarray) -> np.ndarray:
    """Mean over draws; infinite where a draw never gets there."""
    return np.where(np.isfinite(x).all(axis=0), x.mean(axis=0), np.inf)


def _interval(x: np.ndarray, ci_prob: float) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed interval where draws may be infinite: by order, not by interpolation."""
    tail = (1.0 - ci_prob) / 2
    if np.isfinite(x).all():
        return interval(x, ci_prob)
    low, high = np.quantile(x, [tail, 1.0 - tail], axis=0, method="nearest")
    return low, high
