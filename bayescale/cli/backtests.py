"""The verb ``backtest``: how well a model would have forecast the larger runs of a table."""

from __future__ import annotations

import argparse

from bayescale.cli import values
from bayescale.cli.fits import add_plot
from bayescale.cli.model import add_model_options, model_of
from bayescale.cli.output import Output, check_picture, records, save_plot
from bayescale.cli.parser import Verb
from bayescale.cli.tables import TABLES, add_table_options, read_table
from bayescale.errors import SpecError

VIEWS = {"method": "table", "fold": "by_fold", "distance": "by_distance", "family": "by_family",
         "decision": "decisions", "forecast": "forecasts"}  # fmt: skip
SHOWN = ("forecasts", "rmse", "bias", "crps")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="RUNS", help=f"from `bayescale import`; or {TABLES}")
    cuts = parser.add_argument_group("cut-offs: fitted below, forecast above; each is a fold")
    for name, what in (("flops", "compute, FLOP"), ("N", "parameters"), ("T", "training tokens")):
        cuts.add_argument(
            f"--cutoffs-{name}", type=values.numbers, metavar="X,X,...", help=f"of {what}"
        )
    add_model_options(parser)
    asked = parser.add_argument_group("the test")
    asked.add_argument(
        "--baselines", type=values.names, metavar="NAME,...",
        help="others to score beside: least_squares, huber, conformal, parabolas, or all",
    )  # fmt: skip
    asked.add_argument(
        "--decide-flops", type=values.number, metavar="C",
        help="budget at which the best size is asked for (default the most that a run had)",
    )  # fmt: skip
    asked.add_argument("--no-decisions", action="store_true", help="losses only: one fit fewer")
    asked.add_argument(
        "--method", choices=("nuts", "fast"), default="fast",
        help="how to fit: sample, or a corrected approximation (default fast)",
    )  # fmt: skip
    asked.add_argument(
        "--seed", type=int, default=0, metavar="K", help="same seed, same numbers (default 0)"
    )
    asked.add_argument(
        "--by", choices=tuple(VIEWS), default="method",
        help="rows of the table: one a method, fold, distance from the data, family, decision or "
        "forecast (default method)",
    )  # fmt: skip
    add_plot(asked)
    add_table_options(parser, family=False)


def _backtest(args: argparse.Namespace, output: Output) -> int:
    check_picture(args.plot)
    if not (args.cutoffs_flops or args.cutoffs_N or args.cutoffs_T):
        raise SpecError(
            "Say where to cut: --cutoffs-flops 1e19,1e20, or --cutoffs-N, --cutoffs-T. What lies "
            "below is fitted, what lies above is forecast."
        )
    model = model_of(args)
    runs = read_table(args)
    from bayescale.backtest import backtest

    names = args.baselines or ()
    output.say(f"Fitting {model.fitted_law.formula} below each cut-off ...")
    test = backtest(
        model, runs, args.cutoffs_flops, cutoffs_N=args.cutoffs_N, cutoffs_T=args.cutoffs_T,
        baselines=True if names == ("all",) else names, decide_flops=args.decide_flops,
        decisions=not args.no_decisions, method=args.method, random_seed=args.seed,
        progressbar=not args.quiet,
    )  # fmt: skip
    rows = records(getattr(test, VIEWS[args.by]))
    if args.format == "table" and args.by not in ("decision", "forecast"):
        rows = [_short(row) for row in rows]
    output.show(rows, text=test.text, ci_probs=list(test.ci_probs), fits=records(test.fits))
    if args.plot:
        save_plot(test, args.plot, output)
    return int("failed" in list(test.fits["status"]))


def _short(row: dict) -> dict:
    """What fits a terminal: the errors, and coverage, width and score of 90 % intervals."""
    first = [k for k in ("decades", "fold", "family", "method") if k in row]
    kept = {k: row[k] for k in (*first, *SHOWN)}
    kept |= {f"held {p} %": row[f"coverage_{p}"] for p in ("50", "90") if f"coverage_{p}" in row}
    return kept | {"width 90 %": row["width_90"], "score 90 %": row["interval_score_90"]}


VERBS = (
    Verb(
        "backtest",
        "Forecast the larger runs of a table from the smaller; score it.",
        "RUNS --cutoffs-flops C,C [--baselines all]",
        "bayescale backtest runs.nc --cutoffs-flops 1e20,1e21 --baselines huber",
        _arguments,
        _backtest,
    ),
)
