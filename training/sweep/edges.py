"""Whether the best value of a grid lies on its edge: then it bounds the optimum, no more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["edge_low", "edge_high", "inside"]

OF_SPEC = {
    "data_captions": ("data", "captions"),
    "data_frames": ("data", "frames"),
    "model_parametrisation": ("model", "parametrisation"),
    "model_attention": ("model", "attention"),
    "model_position": ("model", "position"),
    "model_qk_norm": ("model", "qk_norm"),
    "objective_path": ("objective", "path"),
    "objective_target": ("objective", "target"),
    "objective_t_sampler": ("objective", "t_sampler"),
}
"""Axes of a sweep that a record says only in its spec: column -> where."""

SAME = ("N", "T", "conditioning", "family", "dataset", "resolution", "schedule", *OF_SPEC)
"""What rows of one cell share, as far as they say it."""

AXES = ("learning_rate", "batch_size")


@dataclass(frozen=True)
class Edge:
    """The best value of one axis in one cell of a grid.

    Parameters
    ----------
    cell : mapping
        What its rows share: N, T, and the batch size where the learning rate is looked at.
    axis : {"learning_rate", "batch_size"}
        What was varied.
    best : float
        Value with the least loss.
    side : {"edge_low", "edge_high", "inside"}
        ``edge_low``: the optimum is at or below `best`; ``edge_high``: at or above.
    values : tuple of float
        The grid.
    rows : tuple of int
        Positions of the rows at `best` in the table.
    """

    cell: Mapping[str, Any]
    axis: str
    best: float
    side: Side
    values: tuple[float, ...]
    rows: tuple[int, ...]


def grid_edges(rows: Sequence[Mapping[str, Any]]) -> list[Edge]:
    """Where each optimum lies: of learning rates at each batch, and of batches at their best rate.

    Seeds are averaged. A diverged run counts as infinitely bad: it bounds the grid, so a best value
    below it is not on the edge. Runs that failed or have no loss are left out. A single value makes
    no grid and no edge.

    Parameters
    ----------
    rows : sequence of mapping
        One for each reading, with ``N``, ``T``, ``learning_rate``, ``batch_size``, ``loss`` and
        ``status``; further fields of `SAME` part the cells.
    """
    cells: dict[tuple[Any, ...], dict[float, dict[float, list[int]]]] = {}
    for at, row in enumerate(rows):
        if _value(row) is not None and all(row.get(axis) for axis in AXES):
            cell = cells.setdefault(tuple(row.get(name) for name in SAME), {})
            cell.setdefault(float(row["batch_size"]), {}).setdefault(
                float(row["learning_rate"]), []
            ).append(at)
    found: list[Edge] = []
    for key, batches in cells.items():
        cell = {name: value for name, value in zip(SAME, key, strict=True) if value is not None}
        best_of: dict[float, tuple[float, tuple[int, ...]]] = {}
        for batch, rates in sorted(batches.items()):
            losses = {rate: (_mean(rows, at), tuple(at)) for rate, at in rates.items()}
            best_of[batch] = min(losses.values())
            found += _edge({**cell, "batch_size": batch}, "learning_rate", losses)
        found += _edge(cell, "batch_size", best_of)
    return found


def columns_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `OF_SPEC` of a spec as a mapping."""
    return {
        name: spec[section][field]
        for name, (section, field) in OF_SPEC.items()
        if field in spec.get(section, {})
    }


def marks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each row the edges it is the best of: ``learning_rate:edge_high``, or an empty text."""
    words: list[list[str]] = [[] for _ in rows]
    for edge in grid_edges(rows):
        for at in edge.rows if edge.side != "inside" else ():
            words[at].append(f"{edge.axis}:{edge.side}")
    return [" ".join(each) for each in words]


def _edge(
    cell: Mapping[str, Any], axis: str, losses: Mapping[float, tuple[float, tuple[int, ...]]]
) -> Iterable[Edge]:
    values = tuple(sorted(losses))
    best = min(values, key=lambda value: losses[value][0])
    if len(values) < 2 or not math.isfinite(losses[best][0]):
        return []
    side: Side = "inside"
    if best == values[0]:
        side = "edge_low"
    elif best == values[-1]:
        side = "edge_high"
    return [Edge(cell, axis, best, side, values, losses[best][1])]


def _mean(rows: Sequence[Mapping[str, Any]], at: Sequence[int]) -> float:
    losses = [_value(rows[each]) for each in at]
    return sum(loss for loss in losses if loss is not None) / len(losses)


def _value(row: Mapping[str, Any]) -> float | None:
    """Loss of a row, infinite where it diverged, None where it says nothing."""
    if row.get("status") == "diverged":
        return math.inf
    loss = row.get("loss")
    if row.get("status", "completed") not in ("completed", "done") or loss is None:
        return None
    return float(loss) if math.isfinite(loss) else None
