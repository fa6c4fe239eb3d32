"""From learning curves to answers: when did each run first meet a target?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.errors import DataError, SpecError
from bayescale.runs import as_runs, readings


def time_to_target(
    runs: xr.Dataset,
    *,
    below: Mapping[str, float] | None = None,
    above: Mapping[str, float] | None = None,
    clock: str = "T",
) -> xr.Dataset:
    """Runs with one answer each: the first reading at which every target was met.

    The truth lies between that reading and the one before, so the distance between the two comes
    along as ``interval``. Runs that never met the targets are kept as ``censored`` at their last
    reading: they say that it takes longer.

    Parameters
    ----------
    runs : xarray.Dataset
        From `as_runs`, with several readings a run.
    below, above : mapping of str to float
        Metrics and what they must come down to (``{"fid": 90}``) or reach (``{"clip_score":
        0.15}``); all of them at one reading.
    clock : str, default "T"
        The column that counts: ``"T"``, ``"samples"`` or ``"step"``.

    Returns
    -------
    xarray.Dataset
        One row a run: ``clock`` at the target, ``interval`` in its unit, all columns that do not
        change within runs.

    Examples
    --------
    >>> curves = {
    ...     "run": ["a"] * 3, "batch_size": [1024] * 3, "T": [1e6, 2e6, 3e6], "N": [1e6] * 3,
    ...     "loss": [3.0, 2.4, 2.1],
    ... }
    >>> reached = time_to_target(as_runs(curves), below={"loss": 2.5})
    >>> float(reached["T"][0]), float(reached["interval"][0])
    (2000000.0, 1000000.0)
    """
    wanted = [(k, float(v), -1.0) for k, v in (below or {}).items()]
    wanted += [(k, float(v), 1.0) for k, v in (above or {}).items()]
    if not wanted:
        raise SpecError("Name a target: below={'loss': 3.0}, or above={'clip_score': 0.15}.")
    flat = readings(runs, all=True)
    for name in (clock, *(name for name, *_ in wanted)):
        if name not in flat:
            have = ", ".join(str(k) for k in flat.data_vars if flat[k].dtype.kind == "f")
            raise DataError(f"These runs have no `{name}`; they have {have}.")
    frame: Any = flat.to_dataframe().reset_index(drop=True)
    frame = frame[frame[clock] > 0].sort_values(["run", clock], kind="stable")
    met = np.ones(len(frame), bool)
    for name, level, sign in wanted:
        met &= (sign * (frame[name].to_numpy(float) - level)) >= 0  # missing: not met
    rows = [
        _answer(each, met[frame["run"].to_numpy() == run], clock)
        for run, each in frame.groupby("run", sort=False)
    ]
    varying = [name for name, *_ in wanted]
    table = pd.DataFrame(rows).drop(columns=["fitted", "reason", *varying], errors="ignore")
    attrs = {k: runs.attrs[k] for k in ("dataset", "licence", "citation") if k in runs.attrs}
    own = {name: name for name in table if name in runs.data_vars and name != "family"}
    family = "family" if "family" in table else None
    return as_runs(table, {clock: clock, **own}, family=family).assign_attrs(attrs)


def _answer(each: Any, met: np.ndarray, clock: str) -> dict[str, Any]:
    """The row at which a run met the targets, or its last one."""
    if not met.any():
        return {**each.iloc[-1].to_dict(), "interval": 0.0, "status": "censored"}
    at = int(np.argmax(met))
    time = each[clock].to_numpy(float)
    before = time[at - 1] if at else 0.0
    return {**each.iloc[at].to_dict(), "interval": time[at] - before, "status": "done"}
