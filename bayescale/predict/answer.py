"""The answer of `predict`: draws of the loss at points, their table, words and picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, interval, percent, si
from bayescale.inference.tree import Fitted


@dataclass(frozen=True, repr=False)
class Prediction(Answer):
    """Draws of the loss at points, with intervals and the distance from the data.

    Attributes
    ----------
    draws : xarray.DataArray, (sample, point)
        Loss of a new run (``kind="response"``) or of the mean curve.
    curve : xarray.DataArray, (sample, point)
        Loss of the mean curve, whatever ``kind`` is.
    at : dict of ndarray, (point,)
    kind : str
    ci_prob : float
    warning : str
        What the fit's convergence gate has to say; empty for a good fit.
    also : dict of xarray.DataArray, (sample, point)
        What follows from the draws: steps, where they are tokens to a target.
    """

    draws: xr.DataArray
    curve: xr.DataArray
    at: dict[str, np.ndarray]
    decades_beyond: np.ndarray
    kind: str
    ci_prob: float
    warning: str = ""
    fitted: Fitted | None = None
    also: Mapping[str, xr.DataArray] = field(default_factory=dict)

    @property
    def data(self) -> xr.Dataset:
        """Draws and points as one Dataset."""
        points = {k: ("point", v) for k, v in self.at.items()}
        return xr.Dataset({"draws": self.draws, "curve": self.curve, **points, **self.also})

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a point: inputs, mean (of the curve), median, lower, upper, decades_beyond."""
        low, high = interval(self.draws.values, self.ci_prob)
        more = {}
        for name, x in self.also.items():
            ends = interval(x.values, self.ci_prob)
            more |= {name: np.median(x, axis=0), f"{name}_lower": ends[0], f"{name}_upper": ends[1]}
        return pd.DataFrame(
            {
                **self.at,
                "mean": self.curve.values.mean(axis=0),
                "median": np.median(self.draws.values, axis=0),
                "lower": low,
                "upper": high,
                **more,
                "decades_beyond": self.decades_beyond,
            }
        )

    @property
    def text(self) -> str:
        """One sentence a point."""
        what = "a new run" if self.kind == "response" else "the mean curve"
        lines = [self.warning] if self.warning else []
        answer = getattr(self.fitted.model, "answer_text", "loss") if self.fitted else "loss"
        shown = "{:.4f}".format if answer == "loss" else si
        for row in self.table.to_dict("records"):
            where = ", ".join(
                f"{k} = {si(v)}" if isinstance(v, float) else f"{k} = {v}"
                for k, v in row.items()
                if k in self.at
            )
            far = row["decades_beyond"]
            reach = f"; {far:.1f} decades beyond the data" if far > 0.05 else "; inside the data"
            lines.append(
                f"At {where}: {answer} of {what} {shown(row['median'])}, {percent(self.ci_prob)} "
                f"interval {shown(row['lower'])} to {shown(row['upper'])}{reach}."
            )
        return "\n".join(lines)

    def plot(self, **kwargs: Any) -> Any:
        """The forecast with the data, as a matplotlib figure."""
        from bayescale import plots

        if self.fitted is not None and self.fitted.spec["model"]["kind"] == "critical_batch":
            return plots.batch(self.fitted, **kwargs)
        return plots.forecast(self, **kwargs)
