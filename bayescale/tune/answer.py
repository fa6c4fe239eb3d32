"""What tuning says: a row a hyperparameter, costs of other settings, and sentences to act on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, percent, si
from bayescale.laws.surface import BATCH, RATE, UNITS
from bayescale.tune.bracket import Bracket, said
from bayescale.tune.choice import Limits
from bayescale.tune.place import Place
from bayescale.tune.region import SHARES

WORDS = {BATCH: "batch", RATE: "learning rate"}


@dataclass(frozen=True, repr=False)
class Tuning(Answer):
    """Hyperparameters to train with at one size and length, and what is known about them.

    Attributes
    ----------
    draws : xarray.Dataset, (sample,)
        The optimum of each draw, all hyperparameters jointly, and ``regret``: the share of loss
        that the recommended setting loses against it.
    recommended : dict
        Least expected cost within the limits of the call. ``unrestricted``: without them.
    costs : DataFrame
        One row a setting: ``cost`` expected, ``lower``, ``upper`` (shares of loss), ``p_diverge``.
    batches : DataFrame
        Powers of two about the recommended batch, or the batches given, with the same columns.
    studies : DataFrame
        What following a published law instead would cost.
    ranges : DataFrame
        Ends of the region that costs less than 0.1 % and 0.5 % more than the best.
    grid : xarray.Dataset
        Expected cost over batch and rate; ``.data`` joins it with the draws.
    brackets : dict of Bracket
        Whether the data bracket each optimum or bound it from one side.
    """

    draws: xr.Dataset
    recommended: dict[str, float]
    unrestricted: dict[str, float]
    costs: pd.DataFrame
    batches: pd.DataFrame
    studies: pd.DataFrame
    ranges: pd.DataFrame
    grid: xr.Dataset
    brackets: dict[str, Bracket]
    place: Place
    limits: Limits
    known: dict[str, float]
    decades_beyond: float
    ci_prob: float
    warning: str = ""

    @property
    def data(self) -> xr.Dataset:
        """The grid, with the draws under their names and ``_draws`` (one name, two dimensions)."""
        return self.grid.assign({f"{k}_draws": v for k, v in self.draws.items()})

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a hyperparameter: recommended, median, ends, what they are, and the flat region.

        ``lower`` is 0 and ``upper`` infinite where the data bound the optimum from one side only
        (``says``: "at most", "at least").
        """
        rows = {}
        for name in self.place.free:
            x, bracket = self.draws[name].values, self.brackets[name]
            low, high = said(x, bracket.kind, self.ci_prob)
            row: dict[str, Any] = {
                "recommended": self.recommended[name], "median": float(np.median(x)),
                "lower": low, "upper": high, "says": bracket.kind,
                "tried_from": bracket.tried[0], "tried_to": bracket.tried[1],
            }  # fmt: skip
            for share in SHARES:
                ends = self.ranges.loc[(name, share)]
                label = percent(share)
                row |= {f"from ({label})": ends["low"], f"to ({label})": ends["high"]}
            rows[name] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("hyperparameter")

    @property
    def text(self) -> str:
        """The answer in sentences."""
        lines = [self.warning] if self.warning else []
        lines.append(self._where)
        lines.append(f"Train with {settings_text(self.recommended)}.")
        lines += [*self.optima_text, self._regret]
        lines += [self.region_text(share) for share in SHARES]
        lines += [s for s in (self._wrong_rates, self._wrong_batches, self._power, self._limited,
                              self._risk, self._published) if s]  # fmt: skip
        far = self.decades_beyond
        if far > 0.05:
            lines.append(
                f"This lies {far:.1f} decades of compute beyond the data: it holds if the powers "
                "of N and T do."
            )
        return "\n".join(lines)

    def plot(self, **kwargs: Any) -> Any:
        """The flat valley in (log rate, log batch), with the recommended setting."""
        from bayescale import plots

        return plots.valley(self, **kwargs)

    def optimum_text(self, name: str) -> str:
        """Where the best value of a hyperparameter lies, as far as the data say."""
        bracket, x = self.brackets[name], self.draws[name].values
        word, p = _word(name), percent(self.ci_prob)
        low, high = said(x, bracket.kind, self.ci_prob)
        one = percent(1.0 - (1.0 - self.ci_prob) / 2)
        tried, cell = [value_text(name, v) for v in bracket.tried], _cell_text(bracket)
        beyond = ", and what is recommended beyond rests on priors"
        if bracket.kind == "interval":
            return (
                f"The best {word} is {value_text(name, low, unit=False)} to "
                f"{value_text(name, high)} ({p} interval)."
            )
        if bracket.kind == "at most":
            return (
                f"The best {word} is at most {value_text(name, high)} ({one}): {cell} it lies "
                f"below the smallest tried, {tried[0]}, with {percent(bracket.below)} probability, "
                f"so the data bound it from above only{beyond}."
            )
        if bracket.kind == "at least":
            return (
                f"The best {word} is at least {value_text(name, low)} ({one}): {cell} it lies "
                f"above the largest tried, {tried[1]}, with {percent(bracket.above)} probability, "
                f"so the data bound it from below only{beyond}."
            )
        return (
            f"The data do not say where the best {word} is: {cell} it may lie on either side "
            f"of what was tried, {tried[0]} to {tried[1]}."
        )

    def region_text(self, share: float) -> str:
        """The region that costs less than a share of loss more than the best, in a sentence."""
        parts = []
        for name in self.place.free:
            ends = self.ranges.loc[(name, share)]
            some = f"any {_word(name)} {_span(name, ends['low'], ends['high'])}"
            if name == BATCH and RATE in self.place.free:
                some += " with the rate that it wants"
            elif name == RATE and BATCH in self.place.free:
                some += f" at a batch of {value_text(BATCH, self.unrestricted[BATCH])}"
            parts.append(some)
        return f"Less than {percent(share)} of loss is lost by {', or by '.join(parts)}."

    @property
    def _where(self) -> str:
        place = {k: v for k, v in {**self.known, **self.place.inputs}.items() if k != "flops"}
        held = {k: v for k, v in self.place.held.items()}
        units = {"N": " parameters", "T": " tokens"}
        told = [f"{k} = {si(v)}{units.get(k, '')}" for k, v in place.items()]
        told += [f"{_word(k)} {value_text(k, v)}" for k, v in held.items()]
        return f"At {', '.join(told)}:" if told else "At the size and length of the data:"

    @property
    def optima_text(self) -> list[str]:
        """A sentence for each optimum; one for all where each has an interval."""
        free = self.place.free
        if len(free) == 1 or any(self.brackets[name].kind != "interval" for name in free):
            return [self.optimum_text(name) for name in free]
        told = []
        for name in free:
            low, high = said(self.draws[name].values, "interval", self.ci_prob)
            ends = f"{value_text(name, low, unit=False)} to {value_text(name, high)}"
            told.append(f"the best {_word(name)} is {ends}")
        joined = ", ".join(told[:-1]) + " and " + told[-1]
        return [f"{joined[0].upper()}{joined[1:]} ({percent(self.ci_prob)} intervals)."]

    @property
    def _regret(self) -> str:
        regret, p = self.draws["regret"].values, percent(self.ci_prob)
        mean, high = float(regret.mean()), float(np.quantile(regret, self.ci_prob))
        if "without limits" in self.costs.index:
            first = f"This setting loses {percent(mean)} of loss on average against the best one"
        else:
            first = f"Not knowing the optimum better costs {percent(mean)} of loss on average"
        return f"{first}, and less than {percent(high)} with {p} probability."

    def _told(self, setting: str) -> str:
        return _cost_text(self.costs, setting)

    @property
    def _wrong_rates(self) -> str:
        if RATE not in self.place.free:
            return ""
        return (
            f"A learning rate twice as high costs {self._told('learning_rate x 2')} of loss, "
            f"half of it {self._told('learning_rate x 0.5')}, four times "
            f"{self._told('learning_rate x 4')}."
        )

    @property
    def _wrong_batches(self) -> str:
        if BATCH not in self.place.free:
            return ""
        own = ", each with its own rate" if RATE in self.place.free else ""
        return (
            f"A batch twice as large costs {self._told('batch_size x 2')}, half as large "
            f"{self._told('batch_size x 0.5')}, four times {self._told('batch_size x 4')}{own}."
        )

    @property
    def _power(self) -> str:
        if "power of two" not in self.costs.index or self._is_power:
            return ""
        row = row_of(self.costs, "power of two")
        rate = f" and a rate of {value_text(RATE, row[RATE])}" if RATE in self.place.free else ""
        extra = max(0.0, row["cost"] - row_of(self.costs, "recommended")["cost"])
        return (
            f"Of powers of two take {row[BATCH]:,.0f} tokens{rate}: {percent(extra)} more loss "
            "than the recommended setting."
        )

    @property
    def _is_power(self) -> bool:
        batch = np.log2(self.recommended[BATCH])
        return bool(abs(batch - round(batch)) < 1e-9)

    @property
    def _limited(self) -> str:
        if "without limits" not in self.costs.index:
            return ""
        ours, free = (row_of(self.costs, name) for name in ("recommended", "without limits"))
        extra = ours["cost"] - free["cost"]
        return (
            f"The limits on the batch cost {percent(max(0.0, extra))} of loss: without them it "
            f"would be {settings_text(self.unrestricted)}."
        )

    @property
    def _risk(self) -> str:
        if "p_diverge" not in self.costs:
            return ""
        risk = {k: row_of(self.costs, str(k))["p_diverge"] for k in self.costs.index}
        out = f"Such a run diverges with {percent(risk['recommended'])} probability"
        if RATE in self.place.free:
            out += (
                f"; at twice the rate with {percent(risk['learning_rate x 2'])}, at four "
                f"times with {percent(risk['learning_rate x 4'])}"
            )
        return out + "."

    @property
    def _published(self) -> str:
        if not len(self.studies):
            return ""
        order = self.studies.sort_values("cost").index
        told = [f"{name} {_cost_text(self.studies, str(name))}" for name in order]
        return (
            f"Following a published law instead costs, of loss: {', '.join(told)}; they count N, T "
            "and compute each in its way (see `studies`)."
        )


def row_of(costs: pd.DataFrame, setting: str) -> dict[str, Any]:
    """One row of ``costs`` or ``studies`` by column."""
    return {str(k): v for k, v in costs.to_dict("index")[setting].items()}


def settings_text(setting: dict[str, float]) -> str:
    """A setting in words: ``a batch of 524 k tokens and a learning rate of 0.00113``."""
    told = [
        f"{'an' if _word(k)[0] in 'aeiou' else 'a'} {_word(k)} of {value_text(k, v)}"
        for k, v in setting.items()
    ]
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def value_text(name: str, value: float, *, unit: bool = True) -> str:
    """A hyperparameter with three digits, and its unit."""
    shown = si(value) if name == BATCH or value >= 1e-3 else f"{value:.2e}".replace("e-0", "e-")
    tail = UNITS.get(name, "")
    return f"{shown} {tail}" if unit and tail else shown


def _cost_text(costs: pd.DataFrame, setting: str) -> str:
    row = row_of(costs, setting)
    return f"{percent(row['cost'])} ({percent(row['lower'])} to {percent(row['upper'])})"


def _cell_text(bracket: Bracket) -> str:
    where = ", ".join(f"{k} = {si(v)}" for k, v in bracket.cell.items())
    return f"at the nearest cell that tried several ({where})" if where else "in this sweep"


def _span(name: str, low: float, high: float) -> str:
    if low <= 0 and not np.isfinite(high):
        return "at all within a factor of a thousand"
    if low <= 0:
        return f"up to {value_text(name, high)}"
    if not np.isfinite(high):
        return f"from {value_text(name, low)} on"
    return f"from {value_text(name, low, unit=False)} to {value_text(name, high)}"


def _word(name: str) -> str:
    """What a hyperparameter is called in a sentence."""
    return WORDS.get(name) or name.replace("_", " ")
