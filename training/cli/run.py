"""Train one run, and print its final record as a line of JSON.

  python -m training run --set size=20k --set tokens=500k --out runs/first
  python -m training run spec.toml --set seed=1
  torchrun --nproc-per-node 8 -m training run spec.toml      (one run on 8 GPUs)

A spec file names fields as a sweep's [base] does: `learning_rate = 8e-3`, `data.name = "leaves"`.
Started again, it goes on where it stopped; a run that has ended is printed as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from training.cli.execution import add_execution, execution_of, overrides_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``run``."""
    parser.add_argument("spec", nargs="?", metavar="SPEC.toml", help="fields of the run")
    parser.add_argument(
        "--set", action="append", metavar="FIELD=VALUE", dest="fields",
        help="a field by short or dotted name; may be given many times",
    )  # fmt: skip
    parser.add_argument("--out", default="runs", help="folder of run folders (default runs)")
    parser.add_argument("--dry-run", action="store_true", help="only say what it would take")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_execution(parser)


def run(args: argparse.Namespace) -> int:
    """Train; 0 where the run ended (diverged too: an observation), 1 failed, 75 was stopped."""
    from training.errors import SpecError
    from training.sweep.plan import sweep_of, toml

    base = toml(Path(args.spec)) if args.spec else {}
    if not base and not args.fields:
        raise SpecError("Say what to train: a SPEC.toml, or fields by `--set size=20k`.")
    if "runs" in base:
        raise SpecError(f"`{args.spec}` is a sweep; start it with `python -m training sweep`.")
    if set(base) == {"base"}:
        base = base["base"]
    sweep = sweep_of(
        {"name": "run", "base": base, "runs": [{"name": "run"}]},
        source=args.spec or "--set",
        overrides=overrides_of(args.fields),
        checked=True,
    )
    if args.dry_run:
        from training.cli.sweep import modes_missing, print_costs

        return print_costs(sweep, args.device, without=modes_missing(args))
    return _train(sweep.points[0].spec, args)


def _train(spec, args: argparse.Namespace) -> int:  # type: ignore[no-untyped-def]
    import dataclasses
    import json

    from training.engine import EXIT_CODE, Preempted, train
    from training.record.folder import RunFolder
    from training.sweep.board import Board
    from training.sweep.drive import root_of
    from training.sweep.jobs import Job
    from training.sweep.plan import Point
    from training.sweep.run import with_pool

    first = os.environ.get("RANK", "0") == "0"
    execution = execution_of(args)
    root = root_of(args.out)
    board = Board(sys.stderr, name=f"run {spec.run_id}", quiet=args.quiet or not first)
    job = Job(0, (spec,), Point(spec).label)
    board.begin(job)

    def tell(moment) -> None:  # type: ignore[no-untyped-def]
        board.moment(job, dataclasses.asdict(moment))
        board.show(done=0, failed=0, total=1, waiting=0, eta_s=moment.eta_s)

    try:
        (record,) = train([spec], root, with_pool(execution, root), progress=tell)
    except Preempted as asked:
        board.close()
        print(f"stopped: {asked}. The same command goes on from there.", file=sys.stderr)
        return EXIT_CODE
    board.close()
    if first:
        folder = RunFolder.of(root, spec).path
        print(json.dumps(summary_of(record)))
        print(f"{record.get('status')}: {folder}", file=sys.stderr)
    return 0 if record.get("status") in ("completed", "diverged") else 1


def summary_of(record: dict) -> dict:
    """The facts of a record that fit on a line."""
    names = ("run", "status", "reason", "N", "batch_size", "learning_rate", "seed", "conditioning")
    found = {name: record[name] for name in names if record.get(name) not in (None, "")}
    readings = record.get("readings") or []
    if readings:
        names = ("T", "flops", "loss", "loss_se", "vlb")
        found |= {name: readings[-1][name] for name in names if readings[-1].get(name) is not None}
    return found
