"""What a plan says: table, sentences and the region in which any size is as good."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, flops, interval, percent, si
from bayescale.inference.tree import Fitted
from bayescale.tune.answer import Tuning, settings_text
from bayescale.tune.region import SHARES

FLAT = 0.002  # the near-optimal region costs less than this share of loss


@dataclass(frozen=True, repr=False)
class Plan(Answer):
    """A recommended run, with what is known about it.

    Attributes
    ----------
    draws : xarray.Dataset, (sample,)
        ``N``, ``T``, ``loss`` (best of each draw), ``budget_flops``, and for the recommended run
        ``tokens_planned``, ``loss_planned`` (mean curve), ``loss_run`` (a new run), ``regret``
        (share of loss), ``gpu_hours``, ``samples`` and, with a price, ``money``. Of a fit with
        hyperparameters also ``batch_size``, ``learning_rate``, ...: the best of each draw.
    recommended : dict
        ``N``, ``T``, ``budget_flops``, and hyperparameters where the fit has them.
    curve : xarray.Dataset, (size,)
        Expected loss and its interval against N on the budget, and expected share lost.
    tuning : Tuning or None
        What the fit knows of hyperparameters at the planned size and length (`bayescale.tune`).
    """

    draws: xr.Dataset
    recommended: dict[str, float]
    curve: xr.Dataset
    asked: dict[str, Any]
    decades_beyond: float
    ci_prob: float
    warning: str = ""
    fitted: Fitted | None = None
    tuning: Tuning | None = None

    @property
    def data(self) -> xr.Dataset:
        """Draws and the loss curve as one Dataset."""
        return xr.merge([self.draws, self.curve])

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a quantity: the plan's value, posterior median, lower, upper, unit, meaning."""
        rows = []
        for name, unit, column, planned, meaning in self._rows():
            x = self.draws[column].values
            low, high = interval(x, self.ci_prob)
            value = float(np.nanmedian(x)) if planned is None else planned
            rows.append(
                (name, value, float(np.nanmedian(x)), float(low), float(high), unit, meaning)
            )
        names = ["quantity", "plan", "median", "lower", "upper", "unit", "meaning"]
        return pd.DataFrame(rows, columns=names).set_index("quantity")

    def _rows(self) -> list[tuple[str, str, str, float | None, str]]:
        r, best = self.recommended, "the best under each posterior draw"
        chosen = self.asked["chosen"]
        hours = f"{self.asked['gpu']} at MFU {_mfu_text(self.asked['mfu'])}"
        rows: list[tuple[str, str, str, float | None, str]] = [
            (
                "N",
                "parameters",
                "N",
                r["N"],
                f"model size; {best}" if chosen else "model size, given",
            ),
            ("T", "tokens", "T", r["T"], "training tokens"),
            ("tokens_per_parameter", "tokens", "tokens_per_parameter", r["T"] / r["N"], "T / N"),
            *self._hyper_rows(),
            ("compute", "FLOP", "budget_flops", r["budget_flops"], self.asked["compute_text"]),
            ("gpu_hours", "GPU-hours", "gpu_hours", None, hours),
            ("samples", "samples", "samples", None, self.asked["samples_text"]),
        ]
        if "money" in self.draws:
            rows.append(
                ("money", "currency", "money", None, f"at {self.asked['price']:g} per GPU-hour")
            )
        rows += [
            ("loss", "loss", "loss_planned", None, "mean curve at the plan"),
            ("loss_of_run", "loss", "loss_run", None, "a new run of the plan, with its noise"),
        ]
        if chosen:
            rows.append(("regret", "share of loss", "regret", None, "loss above the best size"))
        return rows

    def _hyper_rows(self) -> list[tuple[str, str, str, float | None, str]]:
        if self.tuning is None:
            return []
        units = {"batch_size": "tokens"}
        told = {"interval": "the best under each posterior draw, at its own size"}
        return [
            (name, units.get(name, ""), name, self.recommended[name],
             told.get(b.kind, f"{b.kind}: the data bound it from one side only"))
            for name, b in self.tuning.brackets.items()
        ]  # fmt: skip

    @cached_property
    def near_optimal(self) -> dict[str, float]:
        """Sizes that cost less than 0.2 % of expected loss: ``low``, ``high``, ``factor``."""
        size, lost = self.curve["size"].values, self.curve["expected_loss_share"].values
        good = size[lost <= FLAT]
        if not self.asked["chosen"] or not len(good):
            return {"low": self.recommended["N"], "high": self.recommended["N"], "factor": 1.0}
        low, high = min(good.min(), self.recommended["N"]), max(good.max(), self.recommended["N"])
        factor = float(np.sqrt(high / low))
        return {"low": float(low), "high": float(high), "factor": factor}

    @property
    def text(self) -> str:
        """The plan in sentences."""
        t, r, p = self.table, self.recommended, percent(self.ci_prob)
        lines = [self.warning] if self.warning else []
        lines.append(self.asked["question"])
        lines.append(
            f"Train {si(r['N'])} parameters on {si(r['T'])} tokens: {r['T'] / r['N']:.3g} tokens "
            f"per parameter{self._range('tokens_per_parameter')}."
        )
        if self.asked["chosen"]:
            lines.append(
                f"The best size is {si(t.lower['N'])} to {si(t.upper['N'])} parameters ({p} "
                f"interval); choosing {si(r['N'])} costs "
                f"{percent(float(np.mean(self.draws['regret'].values)))} of loss on average, "
                "against knowing the best."
            )
        if self.asked["chosen"] and not self.asked["sizes"]:
            n = self.near_optimal
            lines.append(
                f"Any size from {si(n['low'])} to {si(n['high'])}, a factor {n['factor']:.2g} "
                f"either way, costs less than {percent(FLAT)} of expected loss."
            )
        lines += self._hyper_text
        lines.append(
            f"Loss: {t.plan['loss']:.4f}{self._range('loss', brackets=False)}; a single run "
            f"{t.lower['loss_of_run']:.4f} to {t.upper['loss_of_run']:.4f}."
        )
        compute = flops(r["budget_flops"])
        if self._uncertain("compute"):
            compute += f" ({p} interval {flops(t.lower['compute'])} to {flops(t.upper['compute'])})"
        lines.append(
            f"Compute: {compute}, {self.asked['compute_text']}. Training takes "
            f"{si(t.plan['gpu_hours'])} GPU-hours{self._range('gpu_hours')} on "
            f"{t.meaning['gpu_hours']}"
            + (
                f", {si(t.plan['money'])} in money{self._range('money')}"
                if "money" in t.index
                else ""
            )
            + f", and {si(t.plan['samples'])} samples {self.asked['samples_text']}."
        )
        if self.asked["odds"]:
            lines.append(self.asked["odds"])
        far = self.decades_beyond
        lines.append(
            f"This lies {far:.1f} decades of compute beyond the largest run: the intervals hold if "
            "the law does."
            if far > 0.05
            else "This lies inside the compute of the data."
        )
        return "\n".join(lines)

    @property
    def _hyper_text(self) -> list[str]:
        """Hyperparameters to train with, how well they are known, and the habit that is kept."""
        habit = self.asked.get("habit", "")
        if self.tuning is None:
            return [habit] if habit else []
        setting = {k: self.recommended[k] for k in self.tuning.recommended}
        return [
            *([habit] if habit else []),
            f"Train it with {settings_text(setting)}.",
            *self.tuning.optima_text,
            self.tuning.region_text(SHARES[0]),
        ]

    def _uncertain(self, quantity: str) -> bool:
        """Whether a quantity is uncertain at all."""
        low, high = self.table.lower[quantity], self.table.upper[quantity]
        return bool(np.isfinite(low) and high / low > 1 + 1e-9)

    def _range(self, quantity: str, *, brackets: bool = True) -> str:
        if not self._uncertain(quantity):
            return ""
        low, high = self.table.lower[quantity], self.table.upper[quantity]
        form = si if not quantity.startswith("loss") else "{:.4f}".format
        inside = f"{percent(self.ci_prob)} interval {form(low)} to {form(high)}"
        return f" ({inside})" if brackets else f", {inside}"

    def plot(self, **kwargs: Any) -> Any:
        """Loss against size on the budget, with the near-optimal region."""
        from bayescale import plots

        return plots.plan(self, **kwargs)


def _mfu_text(mfu: float | tuple[float, float]) -> str:
    return f"{mfu:g}" if isinstance(mfu, (int, float)) else f"{mfu[0]:g} to {mfu[1]:g}"
