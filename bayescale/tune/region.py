"""The flat valley: which settings cost less than 0.1 % and 0.5 % of loss more than the best one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.laws.surface import BATCH, RATE
from bayescale.tune.choice import Limits, expected_at, rates
from bayescale.tune.place import Place

SHARES = (0.001, 0.005)
LINE = np.linspace(-7.0, 7.0, 71)  # e-folds either side along one axis
CELLS = 61  # of the grid, along each axis
SHOWN = 0.02  # the grid reaches at least to this share of loss


def ranges(place: Place, best: Mapping[str, float], limits: Limits) -> pd.DataFrame:
    """Ends of the region along each axis: rows (hyperparameter, share), columns low and high.

    ``batch_size`` moves with the rate that each batch wants; ``batch_size, same rate`` alone; the
    rate at the best batch. An end that was not met within seven e-folds is 0 or infinite.
    """
    rows = []
    for name, line in _lines(place, best, limits).items():
        axis = name.split(",")[0]
        extra = line(best[axis] * np.exp(LINE))
        for share in SHARES:
            low, high = _ends(extra, share)
            rows.append((name, share, best[axis] * low, best[axis] * high))
    frame = pd.DataFrame(rows, columns=["hyperparameter", "share", "low", "high"])
    return frame.set_index(["hyperparameter", "share"])


def grid_about(place: Place, best: Mapping[str, float], limits: Limits) -> xr.Dataset:
    """Expected cost over batch and rate, and along every further hyperparameter.

    ``cost`` is the expected share of loss lost against the best of each draw, ``extra`` what it is
    above that of the best setting, ``p_diverge`` the risk where the fit has a cliff.
    """
    lines = _lines(place, best, limits)
    values = {}
    for name in place.free:
        rough = LINE[2::3]  # the middle one is zero
        low, high = _ends(lines[name](best[name] * np.exp(rough)), SHOWN, rough)
        low, high = max(low, np.exp(LINE[0])), min(high, np.exp(LINE[-1]))
        values[name] = best[name] * np.geomspace(min(low, 0.25), max(high, 4.0), CELLS)
    if BATCH in values and RATE in values:  # the valley is oblique: the rate of the outer batches
        ends = rates(place, values[BATCH][[0, -1]], limits)
        assert ends is not None
        low, high = min(values[RATE][0], *ends), max(values[RATE][-1], *ends)
        values[RATE] = np.geomspace(low, high, CELLS)
    axes = [name for name in (BATCH, RATE) if name in values]
    others = {k: v for k, v in best.items() if k not in axes}
    least = float(place.expected(best)[0])
    out = xr.Dataset(coords={name: values[name] for name in place.free})
    if axes == [BATCH, RATE]:
        one_row = [{BATCH: np.array([[b]]), RATE: values[RATE][None, :]} for b in values[BATCH]]
        cost = np.stack([place.expected({**others, **at}) for at in one_row])
        risk = [place.p_diverge(at) for at in one_row] if place.has_cliff else []
    elif axes:
        at = {axes[0]: values[axes[0]][None, :]}
        cost = place.expected({**others, **at})
        risk = place.p_diverge(at) if place.has_cliff and axes == [RATE] else []
    if axes:
        out["cost"] = (axes, cost)
        out["extra"] = (axes, cost - least)
        if len(risk):
            out["p_diverge"] = (axes, np.asarray(risk))
    for name in others:
        out[f"{name}_extra"] = (name, lines[name](values[name]))
    return out


def _lines(
    place: Place, best: Mapping[str, float], limits: Limits
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Expected cost above the best along each axis, as functions of its values."""
    least = float(place.expected(best)[0])
    out: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name in place.free:
        key = name
        if name == BATCH and RATE in place.free:
            others = float(place.expected({BATCH: best[BATCH], RATE: best[RATE]})[0])
            out[BATCH] = lambda x, base=others: expected_at(place, x, limits) - base
            key = f"{BATCH}, same rate"
        out[key] = lambda x, name=name: place.expected({**best, name: x[None, :]}) - least
    return out


def _ends(extra: np.ndarray, share: float, line: np.ndarray = LINE) -> tuple[float, float]:
    """Factors below and above one at which ``extra`` first exceeds a share; 0 or inf if never."""
    middle = len(line) // 2
    sides = (slice(middle, None, -1), slice(middle, None))
    low, high = (_crossing(line[side], extra[side], share) for side in sides)
    return float(np.exp(low)), float(np.exp(high))


def _crossing(x: np.ndarray, extra: np.ndarray, share: float) -> float:
    """Where ``extra`` passes a share, between values where its root is nearly straight."""
    over = np.flatnonzero(extra > share)
    if not len(over):
        return float(np.sign(x[-1]) * np.inf)
    i = int(over[0])
    if i == 0:
        return float(x[0])
    y, aim = np.sqrt(np.maximum(extra[i - 1 : i + 1], 0.0)), np.sqrt(share)
    return float(x[i - 1] + (aim - y[0]) / (y[1] - y[0]) * (x[i] - x[i - 1]))
