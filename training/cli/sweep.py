"""Train the runs of a sweep, as many at once as the machine holds, longest first.

  python -m training sweep first.toml --dry-run
  python -m training sweep first.toml --out runs/first
  python -m training sweep suggested.csv --base first.toml --out runs/first
  python -m training sweep first.toml --executor ray          (after `ray start --head`)
  python -m training sweep first.toml --executor commands     (one shell command a run, for Slurm)

Started again, it skips what has ended and goes on with what was interrupted; two commands may work
on one folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cli.execution import add_execution, execution_of, overrides_of, words_of
from training.cli.text import as_json, table

if TYPE_CHECKING:
    from training.sweep.cost import Cost, Throughput
    from training.sweep.plan import Sweep


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``sweep``."""
    parser.add_argument(
        "file", metavar="FILE", help="a sweep (.toml) or points (.csv .json .jsonl)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of runs (default runs/<name>)")
    parser.add_argument(
        "--set", action="append", metavar="FIELD=VALUE", dest="fields",
        help="a field of every run, above what the file says",
    )  # fmt: skip
    parser.add_argument("--base", metavar="FILE", help="a sweep whose [base] holds for points")
    parser.add_argument("--dry-run", action="store_true", help="only say what it would take")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--price", type=float, metavar="X", help="of a device-hour, any currency")
    parser.add_argument(
        "--bench", metavar="FILE", help="from `bench` (default bench.json if there)"
    )
    parser.add_argument("--peak-flops", type=float, metavar="X", help="of a device not known to us")
    parser.add_argument("--on", metavar="GPU", help="estimate for another device, such as H100")
    group = parser.add_argument_group("who works")
    group.add_argument(
        "--executor", choices=("local", "ray", "commands"), default="local",
        help="processes here, tasks of a Ray cluster, or only print the commands",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=int, metavar="K", help="runs at once (default: one a core)"
    )
    group.add_argument(
        "--pack", type=int, nargs="?", const=8, default=1, metavar="E",
        help="train up to E runs of equal shape as one ensemble (without a number 8)",
    )  # fmt: skip
    group.add_argument("--budget", metavar="TIME", help="begin no run that will not fit: 5m, 2h")
    group.add_argument(
        "--keep-going", action=argparse.BooleanOptionalAction, default=True,
        help="go on with the others when a run fails",
    )  # fmt: skip
    group.add_argument("--retry-failed", action="store_true", help="try failed runs again")
    group.add_argument("--ray-address", metavar="ADDRESS", help="of a cluster (default: find one)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    add_execution(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, check, and train; the exit code."""
    from training.errors import SpecError
    from training.sweep.amounts import seconds
    from training.sweep.plan import read_sweep

    for name in ("workers", "pack"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise SpecError(f"--{name} is {getattr(args, name)}; at least 1 was expected.")
    for option, value in (("--price", args.price), ("--peak-flops", args.peak_flops)):
        if value is not None and not 0 < value < math.inf:
            raise SpecError(f"{option} is {value:g}; a number above 0 was expected.")
    budget = seconds(args.budget, "a time") if args.budget else None
    sweep = read_sweep(args.file, overrides=overrides_of(args.fields), base=args.base)
    for note in sweep.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.executor == "commands":
        return print_commands(sweep, args)
    if args.dry_run:
        return print_costs(
            sweep, args.on or args.device, price=args.price, bench=args.bench,
            peak_flops=args.peak_flops, style=args.format, workers=_workers(args),
            without=modes_missing(args),
        )  # fmt: skip
    return _train(sweep, args, budget)


def _train(sweep: Sweep, args: argparse.Namespace, budget_s: float | None) -> int:
    from training.sweep.board import Board
    from training.sweep.report import afterwards
    from training.sweep.run import Options, run_sweep

    root = Path(args.out or Path("runs") / sweep.name)
    options = Options(
        executor=args.executor,
        workers=args.workers,
        pack=args.pack,
        budget_s=budget_s,
        keep_going=args.keep_going,
        retry_failed=args.retry_failed,
        ray_address=args.ray_address,
    )
    tally = run_sweep(
        sweep,
        root,
        execution=execution_of(args),
        options=options,
        throughput=_throughput(args.device, args.bench, args.peak_flops, modes_missing(args)),
        board=Board(sys.stderr, name=sweep.name, quiet=args.quiet),
    )
    for line in afterwards(sweep, root, tally):
        print(line, file=sys.stderr)
    from training.cli.status import show

    show(root, args.format, only={point.spec.run_id for point in sweep.points})
    return tally.exit_code


def _workers(args: argparse.Namespace) -> int:
    """As many as a local sweep would have; one of a device that is not here."""
    from training.sweep.local import cores, visible_gpus

    if args.workers or args.on or args.peak_flops:
        return args.workers or 1
    return len(visible_gpus() if args.device != "cpu" else ()) or cores()


def print_costs(
    sweep: Sweep,
    device: str,
    *,
    price: float | None = None,
    bench: str | None = None,
    peak_flops: float | None = None,
    style: str = "table",
    workers: int | None = None,
    without: Collection[str] = (),
) -> int:
    """What each run takes, and all of them; nothing is written."""
    from training.sweep.amounts import clock
    from training.sweep.run import costs_of

    throughput = _throughput(device, bench, peak_flops, without)
    costs = costs_of(sweep, throughput, price_per_hour=price)
    if style == "json":
        rows = [
            {"run_id": point.spec.run_id, "label": point.label, "blocks": list(point.blocks),
             **dataclasses.asdict(cost), "money": cost.money}
            for point, cost in zip(sweep.points, costs, strict=True)
        ]  # fmt: skip
        print(as_json(rows))
    else:
        columns = ["run", "N", "T", "B", "lr", "FLOP", "time", *(["money"] if price else [])]
        lines = [
            _line(point.spec.run_id[:8] + " " + point.label, cost, point.spec.optimiser)
            for point, cost in zip(sweep.points, costs, strict=True)
        ]
        print(table([*lines, _total(costs)], columns))
    hours = sum(cost.hours for cost in costs)
    said = f"{len(costs)} run{'s' * (len(costs) != 1)}, {clock(3600 * hours)} of one worker"
    if workers and workers > 1:
        together = max(hours / workers, max(cost.hours for cost in costs))
        said += f", about {clock(3600 * together)} of {workers}"
    print(f"{said}. Speed {throughput.source}. Nothing was written.", file=sys.stderr)
    return 0


def print_commands(sweep: Sweep, args: argparse.Namespace) -> int:
    """One shell command for each run, for job arrays and other schedulers."""
    import json

    from training.config import to_mapping
    from training.sweep import book
    from training.sweep.drive import root_of

    root = root_of(args.out or Path("runs") / sweep.name)
    book.enter(root, sweep)  # labels, tags and what is held out: `collect` looks for them there
    ways = words_of(args)
    for point in sweep.points:
        fields = [
            f"{name}={json.dumps(value)}"
            for name, value in _changed(to_mapping(point.spec)).items()
        ]
        words = [sys.executable, "-m", "training", "run", "--quiet", "--out", str(root), *ways]
        print(shlex.join([*words, *(word for each in fields for word in ("--set", each))]))
    print(
        f"{len(sweep.points)} commands. For Slurm: save them, and let task k of an array run "
        "line k.", file=sys.stderr,
    )  # fmt: skip
    return 0


def _changed(content: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Fields that differ from their defaults, dotted."""
    from training.config import Spec, to_mapping

    plain = _flat(to_mapping(Spec()))
    return {k: v for k, v in _flat(content).items() if v is not None and plain.get(k) != v}


def _flat(content: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def modes_missing(args: argparse.Namespace) -> list[str]:
    """Modes of the bench that runs with these options do not have."""
    unlike = {
        "ensemble": getattr(args, "pack", 1) == 1,
        "graph": not args.cuda_graph,
        "compile": args.compile == "off" or (args.device == "cpu" and args.compile == "auto"),
    }
    return [mode for mode, missing in unlike.items() if missing]


def _throughput(
    device: str, bench: str | None, peak_flops: float | None, without: Collection[str] = ()
) -> Throughput:
    from training.errors import SpecError
    from training.sweep.cost import throughput_of

    if bench is None and peak_flops is None and device in ("auto", "cpu", "cuda"):
        bench = "bench.json"  # of this machine, so it says nothing on another one
    elif bench is not None and not Path(bench).exists():
        raise SpecError(f"`{bench}` does not exist; `python -m training bench` writes one.")
    return throughput_of(
        device, bench=Path(bench) if bench else None, peak_flops=peak_flops, without=without
    )


def _line(label: str, cost: Cost, optimiser: Any) -> dict[str, str]:
    from training.sweep.amounts import clock, short

    return {
        "run": label,
        "N": short(cost.N),
        "T": short(cost.T),
        "B": short(cost.batch_tokens),
        "lr": f"{optimiser.learning_rate:.3g}",
        "FLOP": f"{cost.flops:.2e}",
        "time": clock(3600 * cost.hours),
        "money": "" if cost.money is None else f"{cost.money:.2f}",
    }


def _total(costs: list[Cost]) -> dict[str, str]:
    from training.sweep.amounts import clock, short

    money = [cost.money for cost in costs if cost.money is not None]
    return {
        "run": "total",
        "T": short(sum(cost.T for cost in costs)),
        "FLOP": f"{sum(cost.flops for cost in costs):.2e}",
        "time": clock(3600 * sum(cost.hours for cost in costs)),
        "money": f"{sum(money):.2f}" if money else "",
    }
