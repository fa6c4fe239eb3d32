"""The cliff: how likely a run is to diverge, as a function of how far its rate lies above the best.

::

    logit P(diverged) = (z - cliff - cliff_N ln(N/N0) - cliff_T ln(T/T0) - cliff_B ln(B/B*)) / width

with ``z = ln(eta / eta*(N, T, B))``. Diverged runs have no loss, and still say where not to go;
runs that came through say it as well. Both enter as Bernoulli observations, jointly with the
losses, since the cliff is measured from the best rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.laws.surface import BATCH, RATE, Surface
from bayescale.models import priors
from bayescale.models.distributions import Prior


@dataclass(frozen=True)
class Tried:
    """Runs whose end is known: inputs of the surface, family, and whether they diverged.

    Attributes
    ----------
    inputs : dict of ndarray, (run,)
    family : ndarray of int, (run,)
    diverged : ndarray of bool, (run,)
    centre : dict of float
        Geometric means of N, T, ..., from which the cliff's drift is counted.
    """

    inputs: dict[str, np.ndarray]
    family: np.ndarray
    diverged: np.ndarray
    centre: dict[str, float]


def variables(surface: Surface) -> dict[str, Prior]:
    """Parameters of the cliff with their priors."""
    out = {"cliff": priors.CLIFF, "cliff_width": priors.CLIFF_WIDTH}
    out |= {f"cliff_{s}": priors.CLIFF_POWER for s in surface.scales if s in ("N", "T")}
    if surface.coupled:
        out["cliff_B"] = priors.CLIFF_POWER
    return out


def log_odds(
    surface: Surface,
    misses: Mapping[str, Any],
    inputs: Mapping[str, Any],
    values: Mapping[str, Any],
    centre: Mapping[str, float],
    xp: Any,
) -> Any:
    """Log odds of divergence of runs; arguments broadcast.

    Parameters
    ----------
    misses : mapping
        ``ln h - ln h*`` from `Surface.misses`.
    values : mapping
        `variables` by name.
    """
    where = misses[RATE] - values["cliff"]
    for s in surface.scales:
        if f"cliff_{s}" in values:
            where = where - values[f"cliff_{s}"] * xp.log(inputs[s] / centre[s])
    if "cliff_B" in values:
        where = where - values["cliff_B"] * misses[BATCH]
    return where / values["cliff_width"]


def log_probability(odds: Any, diverged: np.ndarray, xp: Any) -> Any:
    """Log probability of what happened, ``(..., run)``."""
    sign = np.where(diverged, -1.0, 1.0)
    return -xp.logaddexp(0.0, sign * odds)


def tried_runs(
    runs: xr.Dataset, flat: xr.Dataset, surface: Surface, families: tuple[str, ...], by_family: bool
) -> Tried | None:
    """Every run of the table whose end is known; None where no run diverged.

    A diverged run often has no tokens of its own: it is then taken at the median of the runs of
    its size, where it was meant to end.
    """
    status = runs["status"].values.astype(str) if "status" in runs else np.empty(0, str)
    if RATE not in surface.hyperparameters or not (status == "diverged").any():
        return None
    bad = runs.isel(run=np.flatnonzero(status == "diverged"))
    columns = {}
    needed = [*(surface.loss_law.inputs if surface.loss_law else ()), *surface.ordered]
    for name in (*needed, *surface.switches):
        fitted = np.asarray(flat[name].values, float)
        columns[name] = np.concatenate([fitted, _of_runs(bad, name)])
    if "T" in needed:
        columns["T"] = _meant(columns["T"], columns.get("N"))
    names = np.concatenate([flat["family"].values.astype(str), bad["family"].values.astype(str)])
    family = np.searchsorted(families, names) if by_family else np.zeros(len(names), int)
    diverged = np.r_[np.zeros(flat.sizes["reading"], bool), np.ones(bad.sizes["run"], bool)]
    known = np.all([np.isfinite(x) & ((x > 0) | (k in surface.switches))
                    for k, x in columns.items()], axis=0)  # fmt: skip
    known &= family < len(families)
    centre = {s: float(np.exp(np.log(columns[s][known]).mean())) for s in surface.scales}
    return Tried({k: x[known] for k, x in columns.items()}, family[known], diverged[known], centre)


def _of_runs(bad: xr.Dataset, name: str) -> np.ndarray:
    """One value a run: the last that is known, where there are checkpoints."""
    if name not in bad:
        return np.full(bad.sizes["run"], np.nan)
    values = np.asarray(bad[name].values, float)
    return values if values.ndim == 1 else np.nanmax(values, axis=1)


def _meant(T: np.ndarray, N: np.ndarray | None) -> np.ndarray:
    """Tokens, and where they are missing the median of runs of that size."""
    out = T.copy()
    for i in np.flatnonzero(~(np.isfinite(T) & (T > 0))):
        alike = np.isfinite(T) & (T > 0) & (True if N is None else np.isclose(N, N[i]))
        if alike.any():
            out[i] = np.median(T[alike])
    return out
