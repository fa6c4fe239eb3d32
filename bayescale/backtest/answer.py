"""The answer of `backtest`: every forecast with what came of it, summed up by method and fold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, percent
from bayescale.backtest.scores import summary

OURS = "bayescale"
BEYOND = (0.0, 0.25, 0.5, 1.0, 2.0, np.inf)  # decades of compute beyond the fitted runs


@dataclass(frozen=True, repr=False)
class Backtest(Answer):
    """Forecasts of held-out runs by a model and by baselines, scored.

    Attributes
    ----------
    forecasts : DataFrame
        One row a fold, method and held-out reading: ``fold``, ``method``, ``run``, ``family``, the
        law's inputs, ``decades_beyond``, ``observed``, ``median``, ``lower_90``, ``upper_90``,
        ``inside_90``, ... for each nominal probability, ``pit``, ``crps``, ``log_score``.
    decisions : DataFrame
        One row a fold, method and quantity: the best size at ``decide_flops``, the best
        hyperparameters at the largest held-out run, against the same model fitted to all runs.
    fits : DataFrame
        One row a fold: readings fitted and forecast, and how the fit went.
    ci_probs : tuple of float
    unit : str
        Of the loss.
    """

    forecasts: pd.DataFrame
    decisions: pd.DataFrame
    fits: pd.DataFrame
    ci_probs: tuple[float, ...]
    unit: str = ""

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a method, over all folds: RMSE, bias, CRPS, coverage, width, interval score."""
        return self._summed(["method"])

    @cached_property
    def by_fold(self) -> pd.DataFrame:
        """One row a fold and method."""
        return self._summed(["fold", "method"])

    @cached_property
    def by_family(self) -> pd.DataFrame:
        """One row a family and method."""
        return self._summed(["family", "method"])

    @cached_property
    def by_distance(self) -> pd.DataFrame:
        """One row a method and range of decades of compute beyond the fitted runs."""
        far = self.forecasts["decades_beyond"].to_numpy(float)
        names = [f"{a:g} to {b:g}" if np.isfinite(b) else f"over {a:g}"
                 for a, b in pairwise(BEYOND)]  # fmt: skip
        place = np.clip(np.searchsorted(BEYOND, far, side="right") - 1, 0, len(names) - 1)
        frame = self.forecasts.assign(decades=pd.Categorical.from_codes(place, names, ordered=True))
        return self._summed(["decades", "method"], frame.sort_values("decades", kind="stable"))

    @property
    def data(self) -> xr.Dataset:
        """The forecasts as a Dataset, ``(forecast,)``."""
        frame = self.forecasts.reset_index(drop=True).rename_axis("forecast")
        return xr.Dataset.from_dataframe(frame).assign_attrs(unit=self.unit)

    @cached_property
    def text(self) -> str:
        """What held and what did not, in sentences."""
        mine: Any = self.table.set_index("method").loc[OURS]
        n, cuts = int(mine["forecasts"]), len(self.fits)
        held = self._held(mine)
        lines = [
            f"{n:,} readings forecast from {cuts} cut-off{'s' * (cuts > 1)}: {held}.",
            f"Forecasts missed by {mine['rmse']:.4f} (root mean square) and by {mine['bias']:+.4f} "
            f"on average; the median {self._widest} interval is {mine[f'width_{self._w}']:.4f} "
            "wide.",
        ]
        lines += [*self._failures(), *self._by_distance_text(), *self._against(mine)]
        lines += self._decision_text()
        lines.append(
            "Ranges of coverage take forecasts as independent; those of one cut-off share the "
            "error of their law, so the truth is less certain."
        )
        return "\n".join(lines)

    def plot(self, **kwargs: Any) -> Any:
        """Calibration, coverage by distance, and the fan of forecasts with what was seen."""
        from bayescale import plots

        return plots.backtest(self, **kwargs)

    @property
    def _w(self) -> str:
        """The nominal probability that widths are told at: 90 % where it is there."""
        p = 0.9 if 0.9 in self.ci_probs else max(self.ci_probs)
        return f"{100 * p:g}"

    @property
    def _widest(self) -> str:
        return f"{self._w} %"

    def _summed(self, keys: list[str], frame: pd.DataFrame | None = None) -> pd.DataFrame:
        frame = self.forecasts if frame is None else frame
        groups = frame.groupby(keys, sort=False, observed=True)
        rows = []
        for key, points in groups:
            named = dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True))
            rows.append(named | summary(points, self.ci_probs))
        return pd.DataFrame(rows)

    def _held(self, row: Any) -> str:
        told = []
        for p in self.ci_probs:
            k = f"{100 * p:g}"
            share, low, high = (row[f"coverage_{k}{e}"] for e in ("", "_low", "_high"))
            told.append(
                f"{k} % intervals held {percent(share)} ({100 * low:.0f} to {100 * high:.0f})"
            )
        return ", ".join(told)

    def _failures(self) -> list[str]:
        bad = self.fits[self.fits["status"] == "failed"]
        if bad.empty:
            return []
        return [f"The fit failed its convergence gate at {', '.join(bad['fold'])}: its numbers "
                "mean nothing."]  # fmt: skip

    def _by_distance_text(self) -> list[str]:
        mine: Any = self.by_distance[self.by_distance["method"] == OURS]
        if len(mine) < 2:
            return []
        told = [
            f"{percent(row[f'coverage_{self._w}'])} of {row['forecasts']:,.0f} at {row['decades']}"
            for row in mine.to_dict("records")
        ]
        return [f"{self._widest} intervals by decades beyond the data held {', '.join(told)}."]

    def _against(self, mine: Any) -> list[str]:
        others: Any = self.table[(self.table["method"] != OURS) & self.table["crps"].notna()]
        lines = []
        for row in others.to_dict("records"):
            score = f"interval_score_{self._w}"
            lines.append(
                f"Against {row['method']}: CRPS {mine['crps']:.4f} to {row['crps']:.4f}, interval "
                f"score {mine[score]:.3f} to {row[score]:.3f}, {self._widest} intervals held "
                f"{percent(row[f'coverage_{self._w}'])} there."
            )
        return lines

    def _decision_text(self) -> list[str]:
        lines = []
        for name, rows in self.decisions.groupby("quantity", sort=False):
            mine: Any = rows[rows["method"] == OURS]
            if mine.empty:
                continue
            within = int(mine["inside"].sum())
            regret = mine["regret"].max()
            lost = f"; its size loses at most {percent(regret)} of loss" if regret == regret else ""
            places = list(dict.fromkeys(mine["at"]))
            where = places[0] if len(places) == 1 else "the largest run held out"
            lines.append(
                f"Best {str(name).replace('_', ' ')} at {where}: the 90 % interval "
                f"holds what all the data say in {within} of {len(mine)}{lost}."
            )
        return lines
