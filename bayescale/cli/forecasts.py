"""Verbs that answer from a saved fit: predict, plan, report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bayescale.cli import values
from bayescale.cli.fits import add_ci, add_plot, exit_code, open_fit
from bayescale.cli.output import Output, check_folder, check_picture, records, save_plot
from bayescale.cli.parser import Verb, check_one_of
from bayescale.cli.wording import in_shell_words
from bayescale.errors import DataError, SpecError

# --- predict --------------------------------------------------------------------------------------


def _predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", metavar="FIT", help="from `bayescale fit`")
    parser.add_argument(
        "--at", action="append", type=values.point, metavar="N=...,T=...",
        help="a point: N (parameters), T (tokens), and family=NAME where the fit has families; "
        "hyperparameters left out are at their best; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--at-file", metavar="FILE", help="points, one a row, columns N and T: CSV, JSONL, Parquet"
    )
    parser.add_argument(
        "--kind", choices=("response", "mean"), default="response",
        help="a new run with its noise, or the mean curve (default response)",
    )  # fmt: skip
    parser.add_argument("--family", metavar="NAME", help="one family for all points")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="of the noise (default 0)")
    add_ci(parser, "of the interval")
    add_plot(parser)


def _predict(args: argparse.Namespace, output: Output) -> int:
    check_one_of(args, "at", "at_file")
    check_picture(args.plot)
    from bayescale.inference.tree import opened
    from bayescale.predict import predict

    tree = open_fit(args.fit)
    answer = predict(
        tree,
        _together(args.at) if args.at else _points_of_file(args.at_file),
        kind=args.kind,
        ci_prob=args.ci,
        family=args.family,
        random_seed=args.seed,
    )
    show(answer, args, output, kind=args.kind)
    return exit_code(opened(tree), output)


def _together(points: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Points as columns; all must have the same names."""
    names = list(points[0])
    for point in points:
        if set(point) != set(names):
            raise SpecError(
                f"All points need the same names: the first --at has {', '.join(names)}, another "
                f"has {', '.join(point)}."
            )
    return {name: [point[name] for point in points] for name in names}


def _points_of_file(path: str) -> dict[str, Any]:
    """Columns of a file of points; numbers may be written as on the command line."""
    from bayescale.importers import read_source
    from bayescale.runs.cells import read_numbers

    columns: dict[str, Any] = {}
    for name, cells in read_source(Path(path)).table.columns.items():
        read = read_numbers(cells, count=True)
        if name == "family" or read.unreadable.all():
            columns[name] = cells.astype(str)
            continue
        bad = read.unreadable.nonzero()[0]
        if len(bad):
            raise DataError(
                f"`{Path(path).name}`: {name} = {cells[bad[0]]!r} in row {bad[0]} is no number. "
                "Row 0 is the first line below the header."
            )
        columns[name] = read.values
    return columns


# --- plan -----------------------------------------------------------------------------------------


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", metavar="FIT", help="from `bayescale fit`")
    question = parser.add_argument_group("the question: one of these, or --fix both N and T")
    question.add_argument(
        "--budget-flops", type=values.number, metavar="C", help="compute to spend, FLOP"
    )
    question.add_argument(
        "--budget-gpu-hours", type=values.number, metavar="H", help="GPU-hours to spend"
    )
    question.add_argument(
        "--target-loss", type=values.number, metavar="L", help="loss to reach with least compute"
    )
    limits = parser.add_argument_group("what is given")
    limits.add_argument(
        "--fix", action=values.merged(values.point), metavar="N=...",
        help="parameters, tokens, or another input of the law, held fixed",
    )  # fmt: skip
    limits.add_argument(
        "--sizes", type=values.numbers, metavar="N,N,...", help="sizes to choose from, parameters"
    )
    limits.add_argument(
        "--lifetime-tokens", type=values.number, metavar="T",
        help="tokens to serve later, 2 N FLOP each, paid from the same budget",
    )  # fmt: skip
    limits.add_argument(
        "--gpu", metavar="NAME", help="h100, a100, ...; for GPU-hours (default h100)"
    )
    limits.add_argument(
        "--mfu", type=values.utilisation, metavar="P|P-P",
        help="model FLOP utilisation: 0.4, or a 90 %% range (default 0.3-0.5)",
    )  # fmt: skip
    limits.add_argument(
        "--price", type=values.number, metavar="M", help="of a GPU-hour, in any currency"
    )
    limits.add_argument(
        "--tokens-per-sample", type=values.number, metavar="K",
        help="of an image, clip or sequence (default as in the runs, else 2048)",
    )  # fmt: skip
    limits.add_argument("--family", metavar="NAME", help="where the fit tells families apart")
    answer = parser.add_argument_group("the answer")
    add_ci(answer, "of intervals")
    add_plot(answer)


def _plan(args: argparse.Namespace, output: Output) -> int:
    if not {"N", "T"} <= set(args.fix or {}):
        check_one_of(args, "budget_flops", "budget_gpu_hours", "target_loss")
    check_picture(args.plot)
    from bayescale.inference.tree import opened
    from bayescale.plan import plan

    tree = open_fit(args.fit)
    given = {
        "budget_flops": args.budget_flops,
        "budget_gpu_hours": args.budget_gpu_hours,
        "target_loss": args.target_loss,
        "fixed": args.fix,
        "sizes": args.sizes,
        "lifetime_tokens": args.lifetime_tokens,
        "gpu": args.gpu,
        "mfu": args.mfu,
        "price_per_gpu_hour": args.price,
        "tokens_per_sample": args.tokens_per_sample,
    }
    given = {name: value for name, value in given.items() if value is not None}
    answer = plan(tree, family=args.family, ci_prob=args.ci, **given)
    show(
        answer, args, output, columns=("quantity", "plan", "median", "lower", "upper", "unit"),
        recommended=answer.recommended, near_optimal=answer.near_optimal,
        decades_beyond=answer.decades_beyond,
    )  # fmt: skip
    return exit_code(opened(tree), output)


# --- report ---------------------------------------------------------------------------------------


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", metavar="FIT", help="from `bayescale fit`")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="report.html",
        help="one self-contained HTML file (default report.html)",
    )  # fmt: skip
    parser.add_argument("--title", metavar="TEXT", help="default: the law and the data")
    parser.add_argument(
        "--budget-flops", type=values.number, metavar="C", help="add the plan for it, FLOP"
    )
    parser.add_argument(
        "--at", action="append", type=values.point, metavar="N=...,T=...",
        help="add the forecast there (parameters, tokens); may be repeated",
    )  # fmt: skip
    parser.add_argument("--family", metavar="NAME", help="where the fit tells families apart")
    add_ci(parser, "of intervals")


def _report(args: argparse.Namespace, output: Output) -> int:
    check_folder(args.output)
    from bayescale.check import check
    from bayescale.inference.tree import opened
    from bayescale.plan import plan
    from bayescale.predict import predict
    from bayescale.report import report

    tree = open_fit(args.fit)
    given = {"family": args.family, "ci_prob": args.ci}
    report(
        tree,
        args.output,
        plan(tree, budget_flops=args.budget_flops, **given) if args.budget_flops else None,
        check(tree, ci_prob=args.ci),
        predict(tree, _together(args.at), **given) if args.at else None,
        title=args.title,
        ci_prob=args.ci,
    )
    output.show([{"output": args.output}], page=args.output)
    output.say("Wrote it; open it in a browser.")
    return exit_code(opened(tree), output)


def show(answer: Any, args: argparse.Namespace, output: Output, **facts: Any) -> None:
    """Table, text and picture of an answer, as the options of a command want them."""
    rows = [
        {k: in_shell_words(v, output.verb) if isinstance(v, str) else v for k, v in row.items()}
        for row in records(answer.table)
    ]
    text = in_shell_words(answer.text, output.verb)
    output.show(rows, text=text, ci_prob=args.ci, **facts)
    if args.plot:
        save_plot(answer, args.plot, output)


VERBS = (
    Verb(
        "predict",
        "Forecast the loss of runs that have not been made.",
        "FIT --at N=70B,T=1.4T",
        "bayescale predict fit.nc --at N=70B,T=1.4T --at N=7B,T=2T\n"
        "bayescale predict fit.nc --at-file points.csv --format csv",
        _predict_arguments,
        _predict,
    ),
    Verb(
        "plan",
        "Choose size and tokens for a budget, or a budget for a loss.",
        "FIT --budget-flops C",
        "bayescale plan fit.nc --budget-flops 5.76e23\n"
        "bayescale plan fit.nc --budget-gpu-hours 1e6 --gpu h100 --mfu 0.4\n"
        "bayescale plan fit.nc --target-loss 2.0 --lifetime-tokens 2T",
        _plan_arguments,
        _plan,
    ),
    Verb(
        "report",
        "Write everything about a fit into one HTML file.",
        "FIT -o report.html",
        "bayescale report fit.nc --budget-flops 5.76e23 -o report.html",
        _report_arguments,
        _report,
    ),
)
