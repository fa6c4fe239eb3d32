"""Finished runs as one table for bayescale: netCDF, with Parquet beside it.

python -m training collect runs/first --out first.nc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``collect``."""
    parser.add_argument("folder", metavar="DIR", help="the --out of a sweep or of runs")
    parser.add_argument("--out", required=True, metavar="DATA.nc")


def run(args: argparse.Namespace) -> int:
    """Collect, and say where it lies."""
    from training.collect import collect
    from training.errors import SpecError

    root = Path(args.folder).expanduser().resolve()
    if not root.is_dir():
        raise SpecError(f"`{root}` is no folder; give the --out of a sweep.")
    found = collect(root, Path(args.out))
    for problem in found.problems:
        print(f"warning: {problem}", file=sys.stderr)
    states = ", ".join(f"{count} {status}" for status, count in found.statuses.items())
    print(f"{len(found.readings)} readings of runs ({states}): {args.out}", file=sys.stderr)
    return 0
