"""What to say after a sweep: what is left, what failed, and which optimum lies on an edge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.config import to_mapping
from training.errors import RecordError
from training.record.folder import RunFolder
from training.sweep.amounts import short
from training.sweep.drive import Tally
from training.sweep.edges import Edge, columns_of, grid_edges
from training.sweep.plan import Point, Sweep

OTHERS = {"learning_rate": "rates", "batch_size": "batches"}


def afterwards(sweep: Sweep, root: Path, tally: Tally) -> list[str]:
    """Sentences for a person."""
    lines = []
    if tally.preempted:
        lines.append(f"Stopped with {tally.left} runs to go. The same command goes on from there.")
    elif tally.left:
        lines.append(
            f"{tally.left} runs did not fit into the time and were not begun. The same command "
            "makes them."
        )
    damaged = sum(RunFolder.of(root, point.spec).state() == "corrupt" for point in sweep.points)
    if failed := tally.failed - damaged:
        lines.append(
            f"{failed} run{'s' * (failed > 1)} failed; the reasons stand in `record.json`. "
            "--retry-failed tries again."
        )
    return lines + [sentence(edge) for edge in edges_of(sweep.points, root)]


def edges_of(points: Iterable[Point], root: Path) -> list[Edge]:
    """Optima on the edge of their grid, among the last readings of the sweep's runs."""
    rows = [row for point in points if (row := last_reading(point, root)) is not None]
    return [edge for edge in grid_edges(rows) if edge.side != "inside"]


def last_reading(point: Point, root: Path) -> dict[str, Any] | None:
    """The end of a run as `grid_edges` wants it; None where there is no record."""
    try:
        record = RunFolder.of(root, point.spec).record()
    except RecordError:
        return None
    if record is None:
        return None
    readings = record.get("readings") or [{}]
    names = ("N", "learning_rate", "batch_size", "status", "conditioning", "dataset", "schedule")
    # a run cut short by divergence belongs to the T that was asked for
    whole = record["status"] == "completed"
    return {
        **{name: record.get(name) for name in names},
        **columns_of(to_mapping(point.spec)),
        "resolution": point.spec.data.resolution,
        "T": readings[-1].get("T") if whole else _asked_for(point, record),
        "loss": readings[-1].get("loss") if whole else None,
    }


def sentence(edge: Edge) -> str:
    """An edge in words."""
    low = edge.side == "edge_low"
    where = f"N = {short(edge.cell.get('N') or 0)}, T = {short(edge.cell.get('T') or 0)}"
    if edge.axis == "learning_rate":
        where += f", B = {short(edge.cell['batch_size'])}"
    what = edge.axis.replace("_", " ")
    return (
        f"At {where} the best {what} {short(edge.best)} is the {'lowest' if low else 'highest'} of "
        f"{len(edge.values)}: the optimum may lie {'below' if low else 'above'}; widen the grid."
    )


def _asked_for(point: Point, record: Mapping[str, Any]) -> int | None:
    from training.sweep.check import shape_of
    from training.sweep.cost import samples_of, tokens_per_sample

    del record
    return samples_of(point.spec) * tokens_per_sample(point.spec, shape_of(point.spec.data))
