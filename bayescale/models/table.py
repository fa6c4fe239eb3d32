"""The fitted readings of a table as plain arrays, checked for what a law needs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import DataError
from bayescale.laws import Law
from bayescale.models.averaging import average_neighbours
from bayescale.models.noise import FAR, Groups, Noise
from bayescale.runs import readings

# what makes two runs different configurations, where the table has it
IDENTITY = (
    "N", "T", "flops", "unique_tokens", "batch_size", "learning_rate", "weight_decay", "warmup",
    "width", "depth", "heads", "resolution",
)  # fmt: skip
CLOCKS = ("T", "step", "samples", "flops")
SMALLEST_GAP = 1e-3  # in ln T; two readings of one run at the same T carry one reading's news


@dataclass(frozen=True)
class Table:
    """Readings sorted by configuration, run and tokens.

    Attributes
    ----------
    response : ndarray, (reading,)
        Log of the modelled column.
    inputs : dict of ndarray, (reading,)
    family : ndarray of int, (reading,)
    families : tuple of str
    pivot : dict of ndarray, (family,)
        Geometric mean of each input.
    typical : ndarray, (family,)
        Median of the modelled column.
    rows : ndarray of int, (reading,)
        Where each reading stands in `fitted_readings` with the model's noise.
    """

    response: np.ndarray
    inputs: dict[str, np.ndarray]
    family: np.ndarray
    families: tuple[str, ...]
    groups: Groups
    pivot: dict[str, np.ndarray]
    typical: np.ndarray
    log_scale: np.ndarray | None
    rows: np.ndarray


def tabulate(
    runs: xr.Dataset,
    law: Law,
    *,
    by_family: bool,
    noise: Noise | None = None,
    reference: Mapping[str, Any] | None = None,
) -> Table:
    """The table that a model of ``law`` is fitted to; raises `DataError` where it cannot be.

    ``reference`` takes pivots and the typical loss from an earlier fit instead of from this table.
    """
    noise = noise or Noise()
    check_readings(fitted_readings(runs, law), law, noise.scale)
    flat = fitted_readings(runs, law, noise)
    return table_of(flat, law, by_family=by_family, noise=noise, reference=reference)


def table_of(
    flat: xr.Dataset,
    law: Law,
    *,
    by_family: bool,
    noise: Noise,
    reference: Mapping[str, Any] | None = None,
) -> Table:
    """The same from readings that have been picked and checked, ``(reading,)``."""
    scale, shared = noise.scale, noise.shared == "auto"
    family_names = np.asarray(flat["family"].values).astype(str)
    families = tuple(sorted(set(family_names))) if by_family else ("all",)
    family = (
        np.searchsorted(families, family_names) if by_family else np.zeros(len(flat.reading), int)
    )

    order, groups = _group(flat, law, family, shared)
    family = family[order]
    inputs = {name: np.asarray(flat[name].values, float)[order] for name in law.inputs}
    response = np.log(np.asarray(flat[law.response].values, float)[order])
    reference = dict(reference or {})
    log_scale = None
    wanted = dict(inputs)
    if scale:
        wanted[scale] = np.asarray(flat[scale].values, float)[order]
    pivot = reference.get("pivot") or {
        name: np.array([np.exp(np.log(x[family == f]).mean()) for f in range(len(families))])
        for name, x in wanted.items()
        if name not in law.zero_one
    }
    typical = reference.get("typical")
    if typical is None:
        typical = np.array([np.exp(np.median(response[family == f])) for f in range(len(families))])
    if scale:
        log_scale = np.log(wanted[scale] / np.asarray(pivot[scale])[family])
    return Table(
        response, inputs, family, families, groups,
        {k: np.asarray(v, float) for k, v in pivot.items()}, np.asarray(typical, float),
        log_scale, order,
    )  # fmt: skip


def fitted_readings(runs: xr.Dataset, law: Law, noise: Noise | None = None) -> xr.Dataset:
    """The readings with a loss, or with the law's other response, ``(reading,)``.

    With the ``noise`` of a model, as that model sees them: neighbours on a trajectory averaged.
    """
    flat = readings(runs, response=None if law.response == "loss" else law.response)
    if noise is None or noise.shared == "none":
        return flat
    return average_neighbours(flat, noise.resolution)


def check_readings(flat: xr.Dataset, law: Law, scale: str | None = None) -> None:
    """`DataError` unless every column that a law needs is there, positive and varied."""
    have = [str(name) for name in flat.data_vars]
    for name in (*law.inputs, law.response, *([scale] if scale else [])):
        if name not in have:
            raise DataError(
                f"The law `{law.name}` needs the column `{name}`, which these runs lack. They "
                f"have: {', '.join(have)}. Map it with "
                f"as_runs(frame, columns={{'{name}': 'their name'}}), or choose a law without it."
            )
        values = np.asarray(flat[name].values, float)
        allowed = (values == 0) | (values == 1) if name in law.zero_one else values > 0
        bad = np.flatnonzero(~(np.isfinite(values) & allowed))
        if len(bad):
            ids = [str(r) for r in flat["run"].values[bad[:5]]]
            raise DataError(
                f"`{name}` is missing or not positive in {len(bad)} of {len(values)} fitted "
                f"readings (runs {', '.join(ids)}{', ...' if len(bad) > 5 else ''}; first value "
                f"{values[bad[0]]:g}). Fill the column, or set those rows aside with "
                "as_runs(..., on_invalid='set_aside')."
            )
    n = flat.sizes["reading"]
    free = len(law.parameters)
    if n < 3:
        raise DataError(
            f"{n} fitted reading(s): a law with {free} parameters cannot be fitted to fewer than "
            "3. See summarise(runs) for the rows that were set aside and why."
        )
    for name in law.inputs:
        values = np.unique(np.asarray(flat[name].values, float))
        if len(values) == 1:
            raise DataError(
                f"One value of `{name}` only ({values[0]:.4g}, in all {n} readings): its exponent "
                f"in the law `{law.name}` cannot be learnt from them. Add runs at other values of "
                f"`{name}`, or fit a law without it"
                + (" (law='data')." if name == "N" else " (law='size')." if name == "T" else ".")
            )


def _group(
    flat: xr.Dataset, law: Law, family: np.ndarray, shared: bool
) -> tuple[np.ndarray, Groups]:
    """Sort readings into configurations and runs."""
    n = flat.sizes["reading"]
    if not shared:
        index = np.arange(n)
        return index, Groups(index, index, family, np.full(n, FAR), False, False)
    run = np.asarray(flat["trajectory"].values).astype(str)
    run_ids, run = np.unique(run, return_inverse=True)
    counts = np.bincount(run)
    config_of_run = _configurations(flat, law, run, counts)
    log_t = _log_time(flat)
    order = np.lexsort((log_t, run, config_of_run[run]))
    # runs renumbered in the order in which they now stand
    run = run[order]
    first = np.r_[True, run[1:] != run[:-1]]
    config = config_of_run[run[first]]
    config_first = np.r_[True, config[1:] != config[:-1]]
    config = np.cumsum(config_first) - 1
    run = np.cumsum(first) - 1
    step = np.diff(log_t[order], prepend=0.0)
    gap = np.where(first, FAR, np.maximum(step, SMALLEST_GAP))
    family_of_config = family[order][first][config_first]
    return order, Groups(
        run, config, family_of_config, gap,
        has_trajectories=bool(len(run_ids) < n), has_replicates=bool(config[-1] + 1 < len(config)),
    )  # fmt: skip


def _log_time(flat: xr.Dataset) -> np.ndarray:
    """Log of what orders the readings of one run: tokens, else steps or samples or compute."""
    for name in CLOCKS:
        if name in flat:
            time = np.asarray(flat[name].values, float)
            if (time > 0).all():
                return np.log(time)
    return np.zeros(flat.sizes["reading"])


def _configurations(flat: xr.Dataset, law: Law, run: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Index of the configuration of each run: runs alike in all but seed share one.

    Runs of two families are never alike, also where the model does not tell families apart.

    Only runs of one reading are looked at, unless seeds are recorded: two trajectories that happen
    to meet at one T are not replicates, two seeds of one configuration are.
    """
    _, family = np.unique(np.asarray(flat["family"].values).astype(str), return_inverse=True)
    columns = [family.astype(float)]
    for name in dict.fromkeys((*law.inputs, *IDENTITY)):
        if name in flat and np.issubdtype(flat[name].dtype, np.number):
            columns.append(np.nan_to_num(np.asarray(flat[name].values, float), nan=-1.0))
    first = np.zeros(len(counts), int)
    first[run[::-1]] = np.arange(len(run))[::-1]
    keys = np.stack(columns, axis=1)[first]
    seeds = "seed" in flat and bool(np.isfinite(np.asarray(flat["seed"].values, float)).any())
    if (counts > 1).any() and not seeds:
        keys = np.column_stack([keys, np.where(counts > 1, np.arange(len(counts)), -1)])
    _, config = np.unique(keys, axis=0, return_inverse=True)
    return config.reshape(-1)
