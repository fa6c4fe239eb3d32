"""How fast this machine trains: tokens and FLOP/s by size and mode, as shares of its peaks.

  python -m training bench
  python -m training bench --sizes 1M,10M,100M,500M --modes eager,compile,graph,ensemble
  python -m training bench --sizes 20k,150k --ensemble 8 --seconds 30

Writes bench.json, which `sweep --dry-run` reads. Modes: eager; compile (per block); graph
(compiled, recorded as a CUDA graph); ensemble (several models of one shape at once). The losses of
every mode are compared with the eager ones. By default the modes that pay for a size are tried.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.cli.text import table

if TYPE_CHECKING:
    from training.bench.throughput import Row
    from training.device import Place

COLUMNS = ["size", "mode", "N", "d x L", "tok/step", "tok/s", "FLOP/s", "matmul", "sheet", "memory",
           "compile", "parity", "gate"]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``bench``."""
    parser.add_argument("--sizes", help="such as 1M,10M (default: a ladder for the device)")
    parser.add_argument("--modes", help="of eager,compile,graph,ensemble (default: by size)")
    parser.add_argument("--ensemble", type=int, default=8, metavar="E", help="members (default 8)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of timing for each size and mode (default 10)"
    )
    parser.add_argument(
        "--batch-tokens", type=int, metavar="T", help="a step of one member (default: by size)"
    )
    parser.add_argument("--out", default="bench.json", metavar="FILE", help="default bench.json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default auto)")
    parser.add_argument(
        "--precision", choices=("auto", "float32", "tf32", "bf16"), default="auto",
        help="auto: bf16 products on a GPU, float32 on a CPU",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=1, help="of the CPU (default 1, as a worker of a sweep has)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 where a mode's losses are not those of eager, or a size did not run."""
    import training.engine  # noqa: F401  (it and the bench import each other; this order works)
    from training.config import Execution
    from training.device import place_of
    from training.peak import measured_peak, nominal_peak

    place = place_of(Execution(device=args.device, precision=args.precision, threads=args.threads))
    plan = _plan(args, place)
    _say(_heading(place, measured_peak(place), nominal_peak(place)))
    rows: list[Row] = []
    failed: list[dict[str, str]] = []
    for size, modes in plan:
        _measure_size(args, place, size, modes, rows, failed)
        peak = measured_peak(place)  # the best seen so far, and the same for all rows
        rows = [
            dataclasses.replace(row, share_measured=row.model_flops_per_s / peak) for row in rows
        ]
        _write(Path(args.out), place, peak, rows, failed)
    print(table([_line(row) for row in rows], COLUMNS, left=2))
    for each in failed:
        _say(f"{each['size']} {each['mode']}: {each['reason']}")
    apart = [f"{row.size} {row.mode}" for row in rows if not row.agrees]
    if apart:
        _say(f"Losses differ from eager ones by more than rounding: {', '.join(apart)}.")
    _say(f"Written to `{args.out}`.")
    return 1 if failed or apart else 0


def _plan(args: argparse.Namespace, place: Place) -> list[tuple[str, tuple[str, ...]]]:
    """Sizes with their modes, all of them checked before anything is timed."""
    from training.bench.workloads import CPU_SIZES, GPU_SIZES, MODES, modes_for, reference
    from training.errors import SpecError, nearest
    from training.sizes import parameters

    if args.ensemble < 1 or args.seconds <= 0:
        raise SpecError(f"--ensemble {args.ensemble}, --seconds {args.seconds}: above 0, please.")
    ladder = ",".join(GPU_SIZES if place.on_gpu else CPU_SIZES)
    sizes = [each.strip() for each in (args.sizes or ladder).split(",") if each.strip()]
    wanted = [each.strip() for each in (args.modes or "").split(",") if each.strip()]
    for mode in wanted:
        if mode not in MODES:
            raise SpecError(f"Unknown mode `{mode}`; {nearest(mode, MODES)}")
        if mode == "graph" and not place.on_gpu:
            raise SpecError("Mode `graph` records work of a GPU; this is a CPU. Leave it out.")
    for size in sizes:
        reference(size, place)
    return [(size, tuple(wanted) or modes_for(parameters(size), place)) for size in sizes]


def _measure_size(
    args: argparse.Namespace,
    place: Place,
    size: str,
    modes: tuple[str, ...],
    rows: list[Row],
    failed: list[dict[str, str]],
) -> None:
    """Add a row for each mode, eager first where it is asked for."""
    import torch

    from training.bench.throughput import measure
    from training.bench.workloads import reference
    from training.errors import TrainingError

    work = reference(size, place, batch_tokens=args.batch_tokens)
    eager = None
    for mode in ["eager", *(mode for mode in modes if mode != "eager")]:
        _say(f"  {size} {mode} ...")
        seconds = args.seconds if mode in modes else 0.1  # only its losses are wanted
        try:
            row, losses = measure(
                work, mode, place, seconds=seconds, ensemble=args.ensemble, eager=eager
            )
        except (TrainingError, torch.OutOfMemoryError) as error:
            failed.append({"size": size, "mode": mode, "reason": str(error).splitlines()[0]})
            continue
        if mode == "eager":
            eager = losses
        if mode in modes:
            rows.append(row)


def _write(
    path: Path,
    place: Place,
    peak: float,
    rows: list[Row],
    failed: list[dict[str, str]],
) -> None:
    """Everything so far. Ensembles stand apart: a run on its own is not as fast as its share."""
    import datetime

    from training.config import Execution
    from training.engine.world import World
    from training.files import write_json
    from training.peak import nominal_peak
    from training.record.environment import device_name, environment

    execution = Execution(device=str(place.device), precision=place.precision)  # type: ignore[arg-type]
    facts = environment(execution, place, World(), [])
    write_json(
        path.expanduser().absolute(),
        {
            "bench_version": 1,
            "device": device_name(place),
            "precision": place.precision,
            "threads": facts["threads"],
            "peak_measured": peak,
            "peak_nominal": nominal_peak(place),
            "rows": [dataclasses.asdict(row) for row in rows if row.members == 1],
            "ensembles": [dataclasses.asdict(row) for row in rows if row.members > 1],
            "failed": failed,
            "environment": facts,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    )


def _heading(place: Place, measured: float, nominal: float | None) -> str:
    import torch

    from training.record.environment import device_name
    from training.sweep.amounts import short

    sheet = "" if nominal is None else f", data sheet {short(nominal)}FLOP/s in dense bf16"
    threads = "" if place.on_gpu else f", {torch.get_num_threads()} thread(s)"
    return (
        f"{device_name(place)}{threads}, {place.precision}, torch {torch.__version__}: a matrix "
        f"product reaches {short(measured)}FLOP/s{sheet}."
    )


def _line(row: Row) -> dict[str, str]:
    from training.sweep.amounts import clock, short

    mode = row.mode if row.members == 1 else f"{row.mode} x{row.members}"
    return {
        "size": row.size,
        "mode": mode,
        "N": short(row.N),
        "d x L": f"{row.width} x {row.depth}",
        "tok/step": short(row.tokens_per_step),
        "tok/s": short(row.tokens_per_s),
        "FLOP/s": short(row.model_flops_per_s),
        "matmul": f"{row.share_measured:.1%}",
        "sheet": "-" if row.share_nominal is None else f"{row.share_nominal:.1%}",
        "memory": "-" if row.max_memory_bytes is None else f"{row.max_memory_bytes / 2**30:.1f}G",
        "compile": clock(row.compile_s) if row.compile_s else "-",
        "parity": _parity(row),
        "gate": row.verdict or "-",
    }


def _parity(row: Row) -> str:
    if row.parity is None:
        return "-"
    sign = "<=" if row.agrees else ">"
    return f"{row.parity:.0e} {sign} {row.tolerance:.0e}"


def _say(words: Any) -> None:
    print(words, file=sys.stderr, flush=True)
