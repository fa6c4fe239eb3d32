"""The verb ``tune``: batch size and learning rate to train with, from a saved fit."""

from __future__ import annotations

import argparse

from bayescale.cli import values
from bayescale.cli.fits import add_ci, add_plot, exit_code, open_fit
from bayescale.cli.forecasts import show
from bayescale.cli.output import Output, check_picture
from bayescale.cli.parser import Verb


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", metavar="FIT", help="from `bayescale fit --hyperparameters ...`")
    where = parser.add_argument_group("the run to be made")
    where.add_argument("--N", type=values.number, metavar="N", help="parameters")
    where.add_argument("--T", type=values.number, metavar="T", help="training tokens")
    where.add_argument(
        "--fix", action=values.merged(values.point), metavar="NAME=...",
        help="what is given: batch_size=524288 for the best rate there, a switch (mup=1)",
    )  # fmt: skip
    where.add_argument("--family", metavar="NAME", help="where the fit tells families apart")
    batch = parser.add_argument_group("batches that may be used")
    batch.add_argument(
        "--batch-sizes", type=values.numbers, metavar="B,B,...", help="these only, tokens"
    )
    batch.add_argument("--powers-of-two", action="store_true", help="powers of two only, in tokens")
    batch.add_argument(
        "--max-batch", type=values.number, metavar="B", help="what memory holds, tokens"
    )
    batch.add_argument(
        "--min-batch", type=values.number, metavar="B", help="what keeps the machines busy, tokens"
    )
    batch.add_argument(
        "--max-divergence", type=values.probability, default=0.01, metavar="P",
        help="largest probability that the run diverges, where some did (default 0.01)",
    )  # fmt: skip
    answer = parser.add_argument_group("the answer")
    answer.add_argument(
        "--against", type=values.names, metavar="STUDY,...",
        help="published laws to compare with, such as steplaw (default all that apply)",
    )  # fmt: skip
    add_ci(answer, "of intervals")
    add_plot(answer)


def _tune(args: argparse.Namespace, output: Output) -> int:
    check_picture(args.plot)
    from bayescale.inference.tree import opened
    from bayescale.tune import tune

    tree = open_fit(args.fit)
    answer = tune(
        tree,
        args.N,
        args.T,
        batch_sizes=args.batch_sizes,
        powers_of_two=args.powers_of_two,
        max_batch_size=args.max_batch,
        min_batch_size=args.min_batch,
        max_divergence=args.max_divergence,
        against=args.against or "published",
        family=args.family,
        ci_prob=args.ci,
        **(args.fix or {}),
    )
    show(
        answer, args, output,
        columns=("hyperparameter", "recommended", "median", "lower", "upper", "says"),
        recommended=answer.recommended, decades_beyond=answer.decades_beyond,
        costs=_rows(answer.costs), studies=_rows(answer.studies),
    )  # fmt: skip
    return exit_code(opened(tree), output)


def _rows(table: object) -> list[dict[str, object]]:
    from bayescale.cli.output import records

    return records(table)


VERBS = (
    Verb(
        "tune",
        "Choose batch size and learning rate, and say what a miss costs.",
        "FIT --N N --T T",
        "bayescale tune fit.nc --N 1B --T 100B\n"
        "bayescale tune fit.nc --N 1B --T 100B --powers-of-two --max-batch 1M\n"
        "bayescale tune fit.nc --N 1B --T 100B --fix batch_size=524288",
        _arguments,
        _tune,
    ),
)
