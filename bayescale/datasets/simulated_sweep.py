"""Hyperparameter sweeps of known truth: L(N, T, B, eta) with all that goes wrong in real ones.

Noise has heavy tails and grows with the price of a miss; the runs of a cell share a level; rates
far above the best diverge; tables lose their worst runs; and grids are laid around a guess, which
may leave the optimum on or beyond their edge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.datasets.simulation import checked_parameters
from bayescale.errors import SpecError
from bayescale.laws import Law, get
from bayescale.laws.surface import BATCH, RATE, SHORT, RateForm, Surface
from bayescale.runs import as_runs
from bayescale.runs.labels import numbered
from bayescale.runs.problems import listed

# Optima of StepLaw (Li et al. 2025, 2503.04715): B* = 0.58 T^0.571, eta* = 1.79 N^-0.713 T^0.307.
# Shapes of the bowls and their heights: chosen, from the middle of the default priors.
STEPLAW: dict[str, float] = {
    "E": 1.7, "A": 0.55, "B": 0.45, "alpha": 0.34, "beta": 0.36, "kappa": 0.05, "delta": -0.05,
    "batch_coefficient": 0.58, "batch_N": 0.0, "batch_T": 0.571,
    "batch_price": 0.008, "batch_price_N": 0.0, "batch_price_T": 0.0,
    "batch_rise": 0.7, "batch_fall": 0.5, "batch_ceiling": 1.0,
    "rate_coefficient": 1.79, "rate_N": -0.713, "rate_T": 0.307, "rate_B": 0.4,
    "rate_noise_scale": 0.7,
    "rate_price": 0.012, "rate_price_N": 0.0, "rate_price_T": 0.0,
    "rate_rise": 1.0, "rate_fall": 0.4, "rate_ceiling": 0.3,
}  # fmt: skip
_SIZES, _LENGTHS = np.geomspace(6e7, 1e9, 4), np.geomspace(2e9, 5e10, 3)
_MULTIPLES = (0.25, 0.6, 1.6, 4.0)  # chosen: the grid brackets the best and does not hit it


def simulate_sweep(
    loss_law: str | Law | None = "interacting",
    params: Mapping[str, float] | None = None,
    *,
    hyperparameters: Sequence[str] = (BATCH, RATE),
    rate_form: RateForm = "noise_scale",
    switches: Sequence[str] = (),
    multiples: ArrayLike | Mapping[str, ArrayLike] = _MULTIPLES,
    guess: float = 0.2,
    noise: float = 0.002,
    tail: float = 5.0,
    price_noise: float = 0.15,
    cell_noise: float = 0.001,
    scatter: float = 0.0,
    scatter_of_sizes: float = 0.0,
    cliff: float | None = None,
    cliff_width: float = 0.3,
    truncated_at: float | None = None,
    random_seed: int | np.random.Generator = 0,
    **inputs: ArrayLike,
) -> xr.Dataset:
    """Draw the runs of a sweep from a surface with planted parameters.

    Parameters
    ----------
    loss_law : str, Law or None, default "interacting"
        The loss under the best hyperparameters, as in `bayescale.HyperparameterModel`.
    params : mapping of str to float, optional
        Parameters that differ from the default truth, which are StepLaw's optima; every parameter
        where the law or the hyperparameters are others.
    hyperparameters, rate_form, switches
        As in `bayescale.HyperparameterModel`.
    multiples : array_like, or mapping of str to array_like, default (0.25, 0.6, 1.6, 4)
        What a cell tries, as multiples of the best values there, all combinations. One-sided
        multiples, ``{"batch_size": (2, 4, 8)}``, leave the optimum outside the grid.
    guess : float, default 0.2
        Sd of the log of how far the middle of each cell's grid is off, e-folds.
    noise, tail : float, default 0.002, 5
        Scale and degrees of freedom of the Student-t noise of log loss.
    price_noise : float, default 0.15
        Noise of a badly tuned run as a share of its price; adds in squares.
    cell_noise : float, default 0.001
        Sd of what all runs of a cell share, log loss.
    scatter, scatter_of_sizes : float, default 0, 0
        Sd of how far the best hyperparameters of each cell, and those of all cells of one N, lie
        off their laws, e-folds.
    cliff, cliff_width : float, optional; default 0.3
        E-folds above the best rate at which half the runs diverge, and the width of the change.
        Diverged runs stay in the table, with that status and no loss.
    truncated_at : float, optional
        Runs with a loss above this are left out of the table.
    random_seed : int or Generator, default 0
    **inputs : array_like
        Cells: inputs of the loss law and switches, which broadcast. With the hyperparameters
        among them each element is a run, and ``multiples`` are not used.

    Returns
    -------
    xarray.Dataset
        As from `as_runs`; attributes ``truth`` (JSON) and ``left_out`` (runs lost to truncation).

    Examples
    --------
    >>> runs = simulate_sweep(N=1e8, T=[2e9, 1e10])
    >>> runs.sizes["run"], sorted(set(runs["status"].values.tolist()))
    (32, ['completed'])
    """
    base = get(loss_law) if isinstance(loss_law, str) else loss_law
    surface = Surface(base, tuple(hyperparameters), rate_form, tuple(switches))
    surface.check()
    truth = _truth(surface, params)
    rng = np.random.default_rng(random_seed)
    scales = {f"{name}0": scale for name, scale in surface.law.scales.items()}
    table, cell = _design(surface, inputs, {**truth, **scales}, multiples, guess, rng)
    at = {**table, **truth, **scales}
    at |= _offsets(surface, table, cell, scatter, scatter_of_sizes, random_seed)
    log_tuned, prices = surface.parts(at, np)
    price = sum(prices.values(), np.zeros(len(cell)))
    scale = np.hypot(noise, price_noise * price)
    error = scale * rng.standard_t(tail, len(cell))
    error = error + cell_noise * rng.standard_normal(cell.max() + 1)[cell]
    loss = np.exp(log_tuned + price + error)
    diverged = np.zeros(len(cell), bool)
    if cliff is not None:
        odds = (surface.misses(at, np)[RATE] - cliff) / cliff_width
        diverged = rng.random(len(cell)) < 1.0 / (1.0 + np.exp(-odds))
    kept = diverged | (loss <= (np.inf if truncated_at is None else truncated_at))
    columns = {
        "run": numbered(len(cell)), **table, "loss": np.where(diverged, np.nan, loss),
        "status": np.where(diverged, "diverged", "completed"),
    }  # fmt: skip
    names = [name for name in columns if name != "run"]
    missing = {name: None for name in ("N", "T") if name not in table}
    runs = as_runs(
        {name: np.asarray(x)[kept] for name, x in columns.items()},
        columns={**{name: name for name in names}, **missing},  # type: ignore[arg-type]
        units=dict.fromkeys(table, 1),
    )
    return runs.assign_attrs(truth=json.dumps(truth), left_out=int((~kept).sum()))


def _offsets(
    surface: Surface,
    table: Mapping[str, np.ndarray],
    cell: np.ndarray,
    scatter: float,
    scatter_of_sizes: float,
    random_seed: int | np.random.Generator,
) -> dict[str, np.ndarray]:
    """Offsets of the best hyperparameters at every run, from random numbers of their own."""
    if not (scatter or scatter_of_sizes):
        return {}
    rng = random_seed if isinstance(random_seed, np.random.Generator) else (
        np.random.default_rng([random_seed, 1])
    )  # fmt: skip
    size = np.zeros(len(cell), int)
    if "N" in table:
        size = np.unique(table["N"], return_inverse=True)[1].reshape(-1)
    out = {}
    for name in surface.ordered:
        own = scatter * rng.standard_normal(cell.max() + 1)
        shared = scatter_of_sizes * rng.standard_normal(size.max() + 1)
        out[f"{SHORT.get(name, name)}_offset"] = own[cell] + shared[size]
    return out


def _truth(surface: Surface, params: Mapping[str, float] | None) -> dict[str, float]:
    """Every parameter of the surface."""
    law = surface.law
    known = {k: v for k, v in STEPLAW.items() if k in law.parameters}
    same_law = surface.loss_law is not None and surface.loss_law.name == "interacting"
    if not same_law and surface.loss_law is not None:  # its constants mean something else there
        known = {k: v for k, v in known.items() if k not in surface.loss_law.parameters}
    return checked_parameters(law, "all", {**known, **(params or {})})


def _design(
    surface: Surface,
    inputs: Mapping[str, ArrayLike],
    truth: Mapping[str, float],
    multiples: Any,
    guess: float,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the runs, and the cell of each."""
    of_cells = [*(surface.loss_law.inputs if surface.loss_law else ()), *surface.switches]
    given = {name: np.asarray(x, float) for name, x in inputs.items()}
    if not given and {"N", "T"} == set(of_cells):
        given = {"N": _SIZES[:, None], "T": _LENGTHS[None, :]}
    tried = [name for name in surface.ordered if name in given]
    wanted = [*of_cells, *(surface.ordered if tried else ())]
    if set(given) != set(wanted):
        raise SpecError(
            f"This sweep needs {listed(of_cells) or 'no inputs'}, and either all of "
            f"{listed(surface.ordered)} or none of them; got {listed(given) or 'nothing'}."
        )
    flat = {}
    if given:
        grid = np.broadcast_arrays(*given.values())
        flat = {k: np.atleast_1d(x).ravel() for k, x in zip(given, grid, strict=True)}
    if tried:
        places = np.column_stack([flat[k] for k in of_cells]) if of_cells else np.zeros((1, 1))
        places = np.broadcast_to(places, (len(flat[tried[0]]), places.shape[1]))
        return flat, np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    each = (
        multiples if isinstance(multiples, Mapping) else dict.fromkeys(surface.ordered, multiples)
    )
    steps = [np.asarray(each.get(name, _MULTIPLES), float) for name in surface.ordered]
    combined = np.stack([x.ravel() for x in np.meshgrid(*steps, indexing="ij")])
    cells = len(next(iter(flat.values()))) if flat else 1
    cell = np.repeat(np.arange(cells), combined.shape[1])
    table = {k: x[cell] for k, x in flat.items()}
    for name, multiple in zip(surface.ordered, combined, strict=True):
        middle = surface.log_best(name, {**flat, **truth}, np) + guess * rng.standard_normal(cells)
        table[name] = np.exp(middle[cell]) * np.tile(multiple, cells)
    return table, cell
