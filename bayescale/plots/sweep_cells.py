"""The cells of a sweep, for its pictures: their runs, the surface there, and their own optima.

A *cell* is one (N, T), under one setting of each switch, with runs at several batch sizes and
learning rates. What a picture shows of the data beside the law is what each cell says by itself:
its runs, and where its own bottom lies given how steep the fitted bowls are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayescale.answers import si
from bayescale.errors import SpecError
from bayescale.inference.curve import misfit, scales, surface_values
from bayescale.inference.tree import Fitted
from bayescale.laws.surface import SHORT, Surface
from bayescale.models.misfit import cells_of
from bayescale.plots.bands import thinned

REACH = 2.0  # e-folds beyond what a cell tried, as far as its own optimum is looked for; chosen
GRID = 33  # values of each hyperparameter there, and once more between those that count
ROUNDS = 4  # of reweighting a cell's level
SAME = 0.1  # e-folds within which a place that is asked for is a cell


@dataclass(frozen=True)
class Sweep:
    """The fitted runs of one family, cell by cell.

    Attributes
    ----------
    fitted : Fitted
        Thinned: enough draws for a picture.
    family : str or None
    runs : DataFrame
        One row a run: ``cell``, inputs of the surface, the response.
    cells : DataFrame
        One row a cell: its place (``N``, ``T``, those that the loss law has), ``runs``, and
        the value of each switch.
    """

    fitted: Fitted
    family: str | None
    runs: pd.DataFrame
    cells: pd.DataFrame

    @property
    def surface(self) -> Surface:
        """The surface that was fitted."""
        assert self.fitted.surface is not None
        return self.fitted.surface

    def place(self, cell: int) -> dict[str, float]:
        """Inputs of the loss law and switches at a cell."""
        row = self.cells.loc[cell]
        return {k: float(row[k]) for k in (*self._base, *self.surface.switches)}

    def name(self, cell: int) -> str:
        """A cell as a title: ``N = 215 M, T = 20.0 B``."""
        row: Any = self.cells.loc[cell]
        told = [f"{k} = {si(row[k])}" for k in self.surface.scales]
        told += [f"{k} {row[k]:.0f}" for k in self.surface.switches]
        return ", ".join(told) or "all runs"

    @property
    def setting(self) -> dict[str, float]:
        """The value of each switch that most runs have."""
        return {k: float(np.mean(self.runs[k]) >= 0.5) for k in self.surface.switches}

    def of(self, cell: int) -> pd.DataFrame:
        """The runs of a cell."""
        mine: Any = self.runs[self.runs["cell"] == cell]
        return mine

    @property
    def _base(self) -> tuple[str, ...]:
        law = self.surface.loss_law
        return law.inputs if law is not None else ()

    def values(self) -> dict[str, np.ndarray]:
        """Draws of the surface's parameters and its reference scales, ``(sample, 1)``."""
        named = self.fitted.parameters(self.family)
        return {k: v[:, None] for k, v in named.items()} | scales(self.fitted)  # type: ignore[operator]

    def middle(self) -> dict[str, Any]:
        """Medians of the parameters, and the reference scales."""
        named = self.fitted.parameters(self.family)
        return {k: float(np.median(v)) for k, v in named.items()} | scales(self.fitted)

    def log_tuned(self, cell: int) -> np.ndarray:
        """Log loss at a cell under its best hyperparameters, level of the cell included.

        ``(sample, 1)``.
        """
        place = self.place(cell)
        found = self.surface.log_tuned({**place, **self.values()}, np)
        return found + misfit(self.fitted, place, self.family)

    def price(self, cell: int, at: Mapping[str, Any]) -> np.ndarray:
        """What hyperparameters cost at a cell, in log loss, ``(sample, point)``.

        Those that ``at`` lacks are at their best.
        """
        place = self.place(cell)
        prices = self.surface.prices({**surface_values(self.fitted, place, self.family), **at}, np)
        return np.asarray(sum(prices.values(), np.zeros(1)))


def sweep(fitted: Fitted, family: str | None = None, *, what: str = "This picture") -> Sweep:
    """The cells of a fit with hyperparameters, or one sentence that it has none.

    ``what`` begins that sentence.
    """
    surface = fitted.surface
    if surface is None:
        raise SpecError(
            f"{what} is of batch size and learning rate, and this fit has no hyperparameters: it "
            f"is a {type(fitted.model).__name__}. Fit bs.HyperparameterModel(...) to runs that "
            "differ in them."
        )
    if fitted.by_family and family is None:
        family = _most_read(fitted)
    family = fitted.asked_family(family)
    data = fitted.readings(family)
    inputs = (*fitted.law.inputs, fitted.law.response)
    runs: Any = pd.DataFrame({k: np.asarray(data[k], float) for k in inputs})
    on = runs[list(surface.switches)].to_numpy(int)
    setting = on @ (1 << np.arange(on.shape[1], dtype=int))
    if surface.scales:
        order, found = cells_of({k: runs[k].to_numpy() for k in inputs}, surface.scales, setting)
        runs = runs.iloc[order].reset_index(drop=True).assign(cell=found.of_reading)
    else:
        runs = runs.assign(cell=np.unique(setting, return_inverse=True)[1])
    base = surface.loss_law.inputs if surface.loss_law is not None else ()
    groups = runs.groupby("cell")
    cells = pd.DataFrame({"runs": groups.size()})
    for name in base:
        cells[name] = np.exp(np.log(runs[name]).groupby(runs["cell"]).mean())
        # one value exactly where all runs have it, so that the cell is recognised as itself
        cells[name] = np.where(groups[name].nunique() == 1, groups[name].first(), cells[name])
    for name in surface.switches:
        cells[name] = groups[name].first()
    return Sweep(thinned(fitted), family, runs, cells)


def chosen(found: Sweep, cells: Sequence[Any] | None, against: str, most: int = 9) -> list[int]:
    """Cells to draw, in order of their places: those asked for, or ``most`` that lie far apart.

    Parameters
    ----------
    cells : sequence, optional
        Places: ``(N, T)``, or a mapping ``{"N": ..., "T": ...}``.
    against : str
        Hyperparameter of which a cell must have three values at least, to be chosen.
    """
    axes = list(found.surface.scales)
    if cells is not None:
        return [_nearest(found, place, axes) for place in cells]
    every = list(found.cells.index)
    able = [c for c in every if len(np.unique(found.of(c)[against])) >= 3] or every
    if len(able) <= most or not axes:
        return able[:most]
    at = np.column_stack([
        np.log(found.cells.loc[able, axes].to_numpy(float)),
        found.cells.loc[able, list(found.surface.switches)].to_numpy(float),
    ])  # fmt: skip
    at = (at - at.mean(axis=0)) / np.maximum(at.std(axis=0), 1e-9)
    taken = [int(at.sum(axis=1).argmax())]  # the largest first: what a forecast starts from
    while len(taken) < most:
        apart = np.sqrt(((at[:, None] - at[taken]) ** 2).sum(axis=-1)).min(axis=1)
        taken.append(int(apart.argmax()))
    return sorted(able[i] for i in taken)


def own_optima(found: Sweep, ci_prob: float = 0.9) -> pd.DataFrame:
    """Where each cell's own runs put its best batch size and rate, the bowls' shape being known.

    The steepness of the bowls and the noise are the fit's medians; where the bottom lies, and how
    deep it is, the cell alone decides. Nothing is assumed of the bottom within e^2 of what the
    cell tried. An interval that runs past the values tried is one-sided.

    Returns
    -------
    DataFrame
        One row a cell and hyperparameter: ``cell``, its place, ``runs``, ``hyperparameter``,
        ``median``, ``lower``, ``upper``, and ``side``: ``both``, ``below`` (at most ``upper``),
        ``above`` (at least ``lower``) or ``none``.
    """
    at = found.middle()
    noise = {
        k: float(np.median(found.fitted.draws(k, found.family)))
        for k in ("sigma", "nu", "price_noise")
    }
    sought = [h for h in found.surface.ordered if h in SHORT]
    rows = []
    for cell in found.cells.index:
        runs: Any = found.of(cell)
        axes = {h: _candidates(runs[h]) for h in sought if runs[h].nunique() > 1}
        if not axes:
            continue
        weight = _weights(found, cell, runs, axes, at, noise)
        axes = {name: _closer(w, axes[name]) for name, w in _each(weight, axes).items()}
        weight = _weights(found, cell, runs, axes, at, noise)
        for name, one in _each(weight, axes).items():
            rows.append(
                {"cell": cell, **found.place(cell), "runs": len(runs), "hyperparameter": name}
                | _summary(one, axes[name], runs[name], ci_prob)
            )
    return pd.DataFrame(rows)


def _weights(
    found: Sweep, cell: int, runs: Any, axes: dict[str, np.ndarray], at: dict, noise: dict
) -> np.ndarray:
    """Posterior weight of each candidate optimum of one cell, one axis a hyperparameter."""
    place = found.place(cell)
    shape = tuple(len(v) for v in axes.values())
    mesh = np.meshgrid(*(np.log(v) for v in axes.values()), indexing="ij")
    best = {h: found.surface.log_best(h, {**place, **at}, np) for h in axes}
    moved = dict(at)
    for name, log_value in zip(axes, mesh, strict=True):
        key = f"{SHORT[name]}_coefficient"
        moved[key] = at[key] * np.exp(log_value.reshape(-1, 1) - best[name])
    inputs = {h: runs[h].to_numpy() for h in found.surface.hyperparameters}
    switches = {s: runs[s].to_numpy() for s in found.surface.switches}
    price = sum(found.surface.prices({**place, **moved, **inputs, **switches}, np).values())
    square = noise["sigma"] ** 2 + (noise["price_noise"] * price) ** 2
    nu, left = noise["nu"], np.log(runs[found.fitted.law.response].to_numpy()) - price
    weight = 1.0 / square
    for _ in range(ROUNDS):
        level = (weight * left).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
        weight = (nu + 1.0) / (nu * square + (left - level) ** 2)
    z = (left - level) ** 2 / square
    log_density = (-(nu + 1.0) / 2 * np.log1p(z / nu) - 0.5 * np.log(square)).sum(axis=1)
    out = np.exp(log_density - log_density.max()).reshape(shape)
    return out / out.sum()


def _candidates(values: Any) -> np.ndarray:
    return np.geomspace(values.min() * np.exp(-REACH), values.max() * np.exp(REACH), GRID)


def _each(weight: np.ndarray, axes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of one hyperparameter, summed over the other."""
    every = range(len(axes))
    return {name: weight.sum(axis=tuple(k for k in every if k != i)) for i, name in enumerate(axes)}


def _closer(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Candidates again, between those that hold all but a thousandth of the weight."""
    held = np.cumsum(weight)
    first, last = np.searchsorted(held, [5e-4, 1.0 - 5e-4])
    first, last = max(int(first) - 1, 0), min(int(last) + 1, len(values) - 1)
    return np.geomspace(values[first], values[last], GRID)


def _summary(weight: np.ndarray, values: np.ndarray, tried: Any, ci_prob: float) -> dict[str, Any]:
    """Median, interval, and on which side it is open."""
    steps = np.r_[0.0, np.cumsum((weight[1:] + weight[:-1]) / 2)]
    steps /= steps[-1]
    tail = (1.0 - ci_prob) / 2
    low, middle, high = np.exp(np.interp([tail, 0.5, 1.0 - tail], steps, np.log(values)))
    below, above = low < tried.min() * 0.999, high > tried.max() * 1.001
    side = {(False, False): "both", (True, False): "below", (False, True): "above"}
    return {"median": middle, "lower": low, "upper": high,
            "side": side.get((below, above), "none")}  # fmt: skip


def _nearest(found: Sweep, place: Any, axes: list[str]) -> int:
    wanted = dict(place) if isinstance(place, Mapping) else dict(
        zip(axes, np.atleast_1d(np.asarray(place, float)), strict=False)
    )  # fmt: skip
    every = ", ".join(
        "(" + ", ".join(f"{v:.4g}" for v in row) + ")"
        for row in found.cells[axes].drop_duplicates().to_numpy(float)[:12]
    )
    more = f" and {len(found.cells) - 12} more" if len(found.cells) > 12 else ""
    if set(wanted) != set(axes):
        raise SpecError(
            f"A cell is a place ({', '.join(axes)}); got {place!r}. There are: {every}{more}."
        )
    away = np.abs(
        np.log(found.cells[axes].to_numpy(float)) - np.log([float(wanted[a]) for a in axes])
    ).max(axis=1)
    if away.min() > SAME:
        raise SpecError(
            f"No runs at {', '.join(f'{k} = {v:.4g}' for k, v in wanted.items())}. The cells "
            f"({', '.join(axes)}) are: {every}{more}."
        )
    return int(found.cells.index[away.argmin()])


def _most_read(fitted: Fitted) -> str:
    names, counts = np.unique(fitted.readings()["family"].astype(str), return_counts=True)
    return str(names[counts.argmax()])
