"""The tables that forecasts are tested on, and which of them are for choosing.

A table is for choosing a model or for reporting it, never for both: what is decided on the first
half is measured on the second. Cut-offs follow one rule for all tables (shares of the readings by
compute); only Chinchilla's are those of the literature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

SHARES = (0.5, 0.7, 0.85)  # of the readings below a cut-off
CHINCHILLA = (1e20, 1e21)


@dataclass(frozen=True)
class Study:
    """Runs of one recipe, to be cut.

    Attributes
    ----------
    name, table : str
        The study, and the bundled table it is taken from.
    use : {"choosing", "reporting"}
    pick : callable
        From the table's runs to a mask of them, ``(run,)``.
    cutoffs : tuple of float, optional
        In FLOP; by default where `SHARES` of the readings lie below.
    """

    name: str
    table: str
    use: Literal["choosing", "reporting"]
    pick: Callable[[xr.Dataset], Any] = lambda runs: np.ones(runs.sizes["run"], bool)
    given: tuple[float, ...] = ()

    def runs(self) -> xr.Dataset:
        """Its runs."""
        import bayescale as bs

        runs = bs.datasets.load(self.table)
        return runs.isel(run=np.flatnonzero(np.asarray(self.pick(runs), bool)))

    def cutoffs(self, runs: xr.Dataset) -> list[float]:
        """Compute at which to cut."""
        from bayescale.runs import readings

        if self.given:
            return list(self.given)
        flat = readings(runs)
        flops = np.sort(6.0 * flat["N"].values * flat["T"].values)
        return sorted({float(flops[int(share * len(flops))]) for share in SHARES})


def _family(name: str) -> Callable[[xr.Dataset], Any]:
    return lambda runs: runs["family"].values.astype(str) == name


def _porian(recipe: str) -> Study:
    name = f"porian/rw/{recipe}"
    return Study(f"Porian, {recipe}", "porian", "choosing", _family(name))


def _blocks(*names: str) -> Callable[[xr.Dataset], Any]:
    return lambda runs: np.isin(runs["blocks"].values.astype(str), names)


STUDIES = (
    _porian("base/short/chinchilla/standard"),
    _porian("base/long/kaplan/standard"),
    _porian("tuned/short/const/standard"),
    _porian("base/short/kaplan/standard"),
    Study("dead leaves", "harness_leaves", "choosing", _blocks("law", "luck")),
    Study("conditionings, adaLN-single", "harness_conditionings", "choosing",
          _family("adaln_single")),
    Study("conditionings, MMDiT", "harness_conditionings", "choosing", _family("mmdit")),
    Study("Chinchilla, 245", "chinchilla", "reporting", given=CHINCHILLA),
    Study("Chinchilla, 240", "chinchilla", "reporting",
          lambda runs: runs["excluded_by_besiroglu"].values == 0, CHINCHILLA),
    Study("Gemstones, cooled", "gemstones", "reporting", _family("gemstones/cool_end")),
    Study("Gemstones, hot", "gemstones", "reporting", _family("gemstones/hot")),
    Study("datablations, one epoch", "datablations", "reporting",
          lambda runs: runs["epochs"].values <= 1),
    Study("Gadre, C4", "gadre_small", "reporting", _family("gadre/c4")),
    Study("Gadre, RedPajama", "gadre_small", "reporting", _family("gadre/redpajama")),
    Study("Gadre, RefinedWeb", "gadre_small", "reporting", _family("gadre/refinedweb")),
    Study("known floor", "harness_known_floor", "reporting"),
)  # fmt: skip
