"""Which run of a sweep is where: planned, running, interrupted, completed, diverged or failed.

python -m training status runs/first --watch
python -m training status runs/first --format json
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from training.cli.text import as_json, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``status``."""
    parser.add_argument("folder", metavar="DIR", help="the --out of a sweep or of runs")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--watch", action="store_true", help="draw again every 2 s until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    """Print the table; 0, or 1 where some run failed."""
    from training.errors import SpecError

    root = Path(args.folder).expanduser().resolve()
    if not root.is_dir():
        raise SpecError(f"`{root}` is no folder; give the --out of a sweep.")
    while args.watch:
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[J")
        try:
            show(root, args.format)
            time.sleep(2.0)
        except KeyboardInterrupt:
            return 0
    rows = show(root, args.format)
    return 1 if any(row["state"] in ("failed", "corrupt") for row in rows) else 0


def show(root: Path, style: str, *, only: set[str] | None = None) -> list[dict[str, Any]]:
    """Print the runs of a folder, and give them back."""
    from training.sweep.state import runs_of

    rows = [row for row in runs_of(root) if only is None or row["run_id"] in only]
    if style == "json":
        print(as_json(rows), flush=True)
        return rows
    if not rows:
        print(f"No runs in `{root}` yet.", file=sys.stderr)
        return rows
    columns = ["run", "label", "state", "done", "loss", "tok/s", "MFU", "ETA"]
    print(table([_line(row) for row in rows], columns, left=3))
    print(counts(rows), file=sys.stderr, flush=True)
    for row in rows:
        if row["reason"]:
            print(f"  {row['run_id'][:8]} {row['label']}: {row['reason']}", file=sys.stderr)
    return rows


def counts(rows: list[dict[str, Any]]) -> str:
    """``31 runs: 12 completed, 2 running, 17 planned``."""
    states: dict[str, int] = {}
    for row in rows:
        states[row["state"]] = states.get(row["state"], 0) + 1
    found = ", ".join(f"{count} {state}" for state, count in states.items())
    return f"{len(rows)} run{'s' * (len(rows) != 1)}: {found}"


def _line(row: dict[str, Any]) -> dict[str, str]:
    from training.sweep.amounts import clock, short

    loss, speed, mfu = row["loss"], row["tokens_per_s"], row["mfu"]
    return {
        "run": row["run_id"][:8],
        "label": row["label"],
        "state": row["state"] + (" (held out)" if row["held_out"] is True else ""),
        "done": f"{row['share']:.0%}",
        "loss": f"{loss:.4f}" if loss is not None else "-",
        "tok/s": short(speed) if speed else "-",
        "MFU": f"{mfu:.0%}" if mfu else "-",
        "ETA": clock(row["eta_s"]),
    }
