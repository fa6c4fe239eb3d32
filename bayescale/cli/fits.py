"""Verbs about fits: fit, check. And how every verb opens a saved fit."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescale.cli import values
from bayescale.cli.model import BATCH_AND_RATE, add_model_options, model_of
from bayescale.cli.output import (
    Output,
    check_folder,
    check_picture,
    records,
    save_plot,
    wrapped,
)
from bayescale.cli.parser import Verb
from bayescale.cli.tables import TABLES, add_table_options, read_table, summary
from bayescale.cli.wording import in_shell_words
from bayescale.errors import DataError, SpecError

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.inference.tree import Fitted
    from bayescale.models.loss_density import Density

CI = 0.9
TEXTS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".gz")
SAMPLERS = ("numpyro", "pymc", "nutpie")
# For the guess of --dry-run: seconds to compile, then per draw and reading, alone or sharing their
# noise. Measured on two cores, four tables of 240 to 5,049 readings; right within a factor of 4.
COMPILE_S, ALONE_S, SHARING_S = 3.0, 2.2e-6, 4e-6
FAST = 0.3  # of the time of sampling, where importance weights suffice


def open_fit(path: str) -> xr.DataTree:
    """A saved fit; says so if the file holds runs."""
    from bayescale.inference.tree import load_fit

    if Path(path).is_file():
        with open(path, "rb") as file:
            start = file.read(4)
        if start.startswith(b"CDF") or Path(path).suffix in TEXTS:
            raise DataError(
                f"`{path}` holds runs and no fit. Make one with `bayescale fit {path} -o fit.nc`."
            )
    return load_fit(path)


def exit_code(fitted: Fitted, output: Output) -> int:
    """1 for a fit that failed, which is said; else 0."""
    if fitted.ok:
        return 0
    output.warn("The fit failed its convergence gate, so these numbers mean nothing. Exit code 1.")
    return 1


# --- fit ------------------------------------------------------------------------------------------


def _fit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="RUNS", help=f"from `bayescale import`; or {TABLES}")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to save the fit: fit.nc")
    parser.add_argument(
        "--dry-run", action="store_true",
        help="only show model, priors, rows and the time it may take",
    )  # fmt: skip
    add_model_options(parser)
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument(
        "--method", choices=("nuts", "fast"), default="nuts",
        help="sample, or an approximation corrected by weights that samples where it fails "
        "(default nuts)",
    )  # fmt: skip
    for name, default, what in (
        ("draws", 1000, "kept draws of each chain"),
        ("tune", 1000, "warm-up draws of each chain"),
        ("chains", 4, "chains"),
        ("seed", 0, "same seed, same numbers"),
    ):
        sampling.add_argument(
            f"--{name}", type=int, default=default, metavar="K", help=f"{what} (default {default})"
        )
    sampling.add_argument(
        "--sampler",
        choices=SAMPLERS,
        default=SAMPLERS[0],
        help="program to sample with (default numpyro)",
    )
    sampling.add_argument(
        "--target-accept", type=values.probability, default=0.9, metavar="P",
        help="acceptance rate; 0.99 where draws diverge (default 0.9)",
    )  # fmt: skip
    add_table_options(parser, family=False)


def _fit(args: argparse.Namespace, output: Output) -> int:
    if args.output is not None:
        check_folder(args.output)
    elif not args.dry_run:
        raise SpecError("Say where to save the fit, -o fit.nc; or only look: --dry-run.")
    model = model_of(args)
    runs = read_table(args)
    if args.dry_run:
        return _look(args, model, runs, output)
    from bayescale.inference import fit, opened

    how = "NUTS" if args.method == "nuts" else "a corrected approximation"
    output.say(f"Fitting {model.fitted_law.formula} by {how} ...")
    start = time.monotonic()
    tree = fit(
        model, runs, method=args.method, draws=args.draws, tune=args.tune, chains=args.chains,
        random_seed=args.seed, sampler=args.sampler, target_accept=args.target_accept,
        progressbar=not args.quiet,
    )  # fmt: skip
    seconds = time.monotonic() - start
    tree.to_netcdf(args.output)
    fitted = opened(tree)
    spec = fitted.spec
    keys = ("method", "status", "messages", "r_hat", "ess_bulk", "ess_tail", "divergences", "k_hat")
    output.show(
        parameter_rows(fitted),
        text=_verdict(fitted, seconds, str(args.output)),
        **{key: spec[key] for key in keys if key in spec},
        law=fitted.law.name, formula=fitted.law.formula, ci_prob=CI, seconds=round(seconds, 1),
        output=args.output, **summary(fitted.runs),
    )  # fmt: skip
    return exit_code(fitted, output)


def _look(args: argparse.Namespace, model: Any, runs: xr.Dataset, output: Output) -> int:
    """What a fit would do."""
    from bayescale.runs import summarise

    density = model.density(runs)
    seconds = _guess_s(density, args)
    rows = [
        {"parameter": v.name, "prior": str(v.prior), "families": _SHARING[v.sharing]}
        for v in density.variables
    ]
    n = len(density.table.response)
    time_text = f"A fit of {density.size} unknowns to {n:,} readings takes {_about(seconds)}."
    output.show(
        rows,
        page=wrapped(f"{model}\n\n{summarise(runs)}\n\n{time_text}"),
        law=model.fitted_law.name, formula=model.fitted_law.formula, unknowns=density.size,
        guessed_seconds=round(seconds), **summary(runs),
    )  # fmt: skip
    output.say("Nothing was sampled.")
    return 0


_SHARING = {"one": "one value", "free": "a value each", "pooled": "values from a population"}


def _guess_s(density: Density, args: argparse.Namespace) -> float:
    each = ALONE_S if density.table.groups.independent else SHARING_S
    draws = (args.draws + args.tune) * args.chains
    sampling = draws * len(density.table.response) * each
    return COMPILE_S + sampling * (FAST if args.method == "fast" else 1.0)


def _about(seconds: float) -> str:
    if seconds < 20:
        return "some seconds"
    return "about a minute" if seconds < 90 else f"about {seconds / 60:.0f} minutes"


def parameter_rows(fitted: Fitted) -> list[dict[str, Any]]:
    """Median and interval of every parameter of the law and of sigma, one row a family."""
    import numpy as np

    from bayescale.answers import interval

    rows = []
    for name in (*fitted.law.parameters, "sigma"):
        about = fitted.law.parameters.get(name)
        for family in fitted.families:
            x = fitted.draws(name, family)
            low, high = interval(x, CI)
            row = {"parameter": name, "median": float(np.median(x))}
            row |= {"lower": float(low), "upper": float(high)}
            row |= {"meaning": about.meaning if about else "scatter of a run, in log loss"}
            row |= {"unit": str(fitted.tree["posterior"].dataset[name].attrs.get("units", ""))}
            rows.append({"family": family, **row} if fitted.by_family else row)
    return rows


def _verdict(fitted: Fitted, seconds: float, path: str) -> str:
    spec = fitted.spec
    n = len(fitted.readings()[fitted.law.response])
    lines = [f"{fitted.law.formula}, fitted to {n:,} readings in {seconds:.0f} s."]
    lines.append("Lower and upper bound 90 % of the posterior.")
    if "fell_back" in spec:
        lines.append(in_shell_words(spec["fell_back"], "fit"))
    if "r_hat" in spec:
        lines.append(
            f"R-hat at most {spec['r_hat']:.3f}, effective draws at least {spec['ess_bulk']:,.0f}, "
            f"{spec['divergences']} divergences."
        )
    elif "k_hat" in spec:
        lines.append(
            f"The approximation holds: k-hat {spec['k_hat']:.2f}, {spec['ess_bulk']:,.0f} "
            "effective draws."
        )
    if fitted.warning:
        lines.append(in_shell_words(fitted.warning, "fit"))
    lines.append(f"Saved {path}. Next: bayescale check {path}")
    if fitted.surface is not None:
        where = "".join(f" --{s} ..." for s in fitted.surface.scales if s in ("N", "T"))
        lines[-1] += f", then bayescale tune {path}{where}"
    return "\n".join(lines)


# --- check ----------------------------------------------------------------------------------------


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", metavar="FIT", help="from `bayescale fit`")
    parser.add_argument(
        "--target", type=values.point, metavar="N=...,T=...",
        help="where the forecast is wanted (parameters, tokens; or flops=...): judges the distance",
    )  # fmt: skip
    add_ci(parser, "of the intervals whose calibration is judged")
    add_plot(parser)


def _check(args: argparse.Namespace, output: Output) -> int:
    check_picture(args.plot)
    from bayescale.check import check

    answer = check(open_fit(args.fit), ci_prob=args.ci, target=args.target)
    rows = [
        {name: in_shell_words(str(text), "check") for name, text in row.items()}
        for row in records(answer.table)
    ]
    first = in_shell_words(answer.text.splitlines()[0], "check")
    output.show(rows, page="\n".join([first, "", *map(_card, rows)]), status=answer.status)
    if args.plot:
        save_plot(answer, args.plot, output)
    return int(answer.status == "FAIL")


def _card(row: dict[str, str]) -> str:
    """One card as a paragraph: status and title, finding, what to do."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, 100)
    lines = textwrap.wrap(
        f"{row['status']:<8} {row['card']}: {row['finding']}", width, subsequent_indent=" " * 9
    )
    if row["action"]:
        arrow, margin = " " * 9 + "-> ", " " * 12
        lines += textwrap.wrap(
            row["action"], width, initial_indent=arrow, subsequent_indent=margin,
            break_on_hyphens=False, break_long_words=False,
        )  # fmt: skip
    return "\n".join(lines)


def add_ci(parser: argparse._ActionsContainer, what: str) -> None:
    """The option for the probability of intervals."""
    parser.add_argument(
        "--ci", type=values.probability, default=CI, metavar="P",
        help=f"probability {what} (default {CI})",
    )  # fmt: skip


def add_plot(parser: argparse._ActionsContainer) -> None:
    """The option for a picture."""
    parser.add_argument("--plot", metavar="FILE", help="also draw it: .png, .pdf, .svg")


VERBS = (
    Verb(
        "fit",
        "Fit a law to runs, and save the posterior.",
        "RUNS [--law additive] -o fit.nc",
        "bayescale fit runs.nc -o fit.nc\n"
        f"bayescale fit sweep.csv --hyperparameters {BATCH_AND_RATE} -o fit.nc\n"
        "bayescale fit mine.csv --columns N=params,T=tokens,loss=val_loss --dry-run",
        _fit_arguments,
        _fit,
    ),
    Verb(
        "check",
        "Say whether a fit can be trusted, and what to do if not.",
        "FIT [--target N=70B,T=1.4T]",
        "bayescale check fit.nc --target N=70B,T=1.4T",
        _check_arguments,
        _check,
    ),
)
