"""What a benchmark leaves behind: a printed table, aims met or missed, a JSON file.

The JSON says on what kind of machine and with which versions it was measured, and nothing about
which machine that was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PACKAGES = (
    "bayescale", "numpy", "scipy", "xarray", "arviz", "jax", "numpyro", "pymc", "pytensor",
    "nutpie", "torch",
)  # fmt: skip
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Aim:
    """Something that was promised, what was measured, and whether that keeps the promise."""

    aim: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Record:
    """Everything that one command found.

    Attributes
    ----------
    name, question : str
        Of the command, and what it answers.
    tables : dict of list of dict
        Title to rows; a row is column to value.
    aims : list of Aim
    notes : list of str
        How to read the tables, and what fell short and why.
    peers : str
        Title of the table in ``peers.json`` that stands beside ours, or nothing.
    """

    name: str
    question: str
    tables: dict[str, list[dict[str, Any]]]
    aims: list[Aim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    peers: str = ""


def arguments(description: str | None, *extra: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """The options of a command: ``--quick`` and its own."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="small settings, to try the command; writes nothing"
    )
    for name, settings in extra:
        parser.add_argument(name, **settings)
    return parser.parse_args()


def publish(record: Record, *, quick: bool = False) -> None:
    """Print a record and write ``results/NAME.json`` (not where the settings were ``quick``)."""
    print(text(record))
    if quick:
        print("\nSmall settings: nothing was written.")
        return
    RESULTS.mkdir(exist_ok=True)
    found = {"measured": date.today().isoformat(), "machine": machine(), **asdict(record)}
    path = RESULTS / f"{record.name}.json"
    path.write_text(json.dumps(_rounded(found), indent=1, ensure_ascii=False) + "\n")
    print(f"\nWritten: benchmarks/results/{path.name}")


def machine() -> dict[str, Any]:
    """Cores, memory, how busy they were, Python and package versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "architecture": platform.machine(),
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: v for name in PACKAGES if (v := _version(name))},
    }


def text(record: Record) -> str:
    """A record as Markdown, without a heading of its own."""
    parts = [record.question]
    parts += [f"**{title}**\n\n{markdown(rows)}" for title, rows in record.tables.items()]
    if record.aims:
        parts.append(
            markdown(
                [
                    {"aim": a.aim, "measured": a.measured, "": "met" if a.met else "MISSED"}
                    for a in record.aims
                ]
            )
        )
    if record.notes:
        parts.append("\n".join(f"- {note}" for note in record.notes))
    return "\n\n".join(parts)


def markdown(rows: Rows) -> str:
    """Rows as a Markdown table; columns in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns] + [[shown(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    right = [all(_is_number(row.get(name)) for row in rows) for name in columns]
    lines = [_line(line, widths, right) for line in cells]
    rules = ["-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[1:]])


def shown(value: Any) -> str:
    """A value as it stands in a table: four digits, nothing for what is missing."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def finished(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The named columns of a measured case, or its cost and why there is no result."""
    kept = {name: row.get(name) for name in names}
    return kept | ({"failed": row["failed"]} if row["failed"] else {})


def progress(sentence: str) -> None:
    """A line on stderr about what is being measured."""
    print(f"  {sentence}", file=sys.stderr, flush=True)


def _line(cells: Iterable[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "| " + " | ".join(padded) + " |"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _rounded(value: Any) -> Any:
    """Numbers to six digits: more would be noise in every difference between two versions."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
