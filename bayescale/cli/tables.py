"""Verbs about tables and laws: import, data, laws. And how every verb reads a table of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescale.cli import values
from bayescale.cli.output import Output, check_folder, wrapped
from bayescale.cli.parser import Verb
from bayescale.errors import BayescaleError, DataError, SpecError

if TYPE_CHECKING:
    import xarray as xr

TABLES = "CSV, TSV, JSONL, Parquet, netCDF, or a folder of JSON records"


def add_table_options(parser: argparse.ArgumentParser, *, family: bool = True) -> None:
    """Options that say what the columns of a table mean."""
    group = parser.add_argument_group("what the columns mean")
    group.add_argument(
        "--columns", action=values.merged(values.columns), metavar="OURS=THEIRS,...",
        help="N (parameters), T (training tokens), loss (nats), and if there: run, seed, status, "
        "flops (FLOP), batch_size (tokens), family, ...; `T=` says that there is none",
    )  # fmt: skip
    if family:
        group.add_argument("--family", metavar="COLUMN", help="their column with a run's group")
    group.add_argument(
        "--units", action=values.merged(values.units), metavar="NAME=UNIT,...",
        help="K, M, B, T, bits, PFLOP, or a number to multiply by: T=B for billions of tokens",
    )  # fmt: skip
    group.add_argument(
        "--mapping", metavar="FILE", help="TOML or JSON with columns, family and units"
    )
    group.add_argument(
        "--on-invalid", choices=("raise", "set_aside"), default="raise",
        help="stop at bad rows, or keep them unfitted with a reason (default raise)",
    )  # fmt: skip


def read_table(args: argparse.Namespace, *, family: str | None = None) -> xr.Dataset:
    """Runs from the table and the options of a command."""
    from bayescale.importers import read_runs

    try:
        return read_runs(
            args.table,
            args.columns,
            family=family,
            units=args.units,
            mapping=args.mapping,
            on_invalid=args.on_invalid,
        )
    except DataError as error:
        raise _with_hint(error, args.table) from error


def _with_hint(error: DataError, table: str) -> DataError:
    """The error, with advice where the file is a fit, or has the name of a bundled table."""
    from bayescale import datasets

    name = Path(table).name.split(".")[0]
    if Path(table).is_file():
        return DataError(f"`{table}` is a fit, no table of runs.") if _is_fit(table) else error
    if Path(table).exists() or name not in datasets.names():
        return error
    return DataError(
        f"{error}\n`{name}` is a bundled table: write it with "
        f"`bayescale data {name} --output {name}.csv`.",
        evidence=error.evidence,
    )


def _is_fit(path: str) -> bool:
    from bayescale.inference.tree import load_fit

    try:
        load_fit(path)
    except BayescaleError:
        return False
    return True


def summary(runs: xr.Dataset) -> dict[str, Any]:
    """What `summarise` says, as plain data."""
    import json

    import numpy as np

    from bayescale.runs import readings

    every = readings(runs, all=True)
    reasons, counts = np.unique(every["reason"].values, return_counts=True)
    families, sizes = np.unique(every["family"].values, return_counts=True)
    return {
        "runs": runs.sizes["run"],
        "readings": every.sizes["reading"],
        "fitted": int(every["fitted"].values.sum()),
        "set_aside": {r: int(c) for r, c in zip(reasons, counts, strict=True) if r},
        "families": dict(zip(families, sizes, strict=True)),
        "notes": json.loads(runs.attrs.get("notes", "[]")),
    }


def ranges(runs: xr.Dataset) -> list[dict[str, Any]]:
    """Range of each column of numbers over the fitted readings, one row a column."""
    import numpy as np

    from bayescale.runs import readings
    from bayescale.schema import FIELDS

    fitted = readings(runs)
    rows = []
    for name, field in FIELDS.items():
        if not field.role or name not in fitted:
            continue
        x = fitted[name].values[np.isfinite(fitted[name].values)]
        if len(x):
            rows.append(
                {
                    "column": name,
                    "unit": field.unit,
                    "low": x.min(),
                    "high": x.max(),
                    "readings": len(x),
                }
            )
    return rows


# --- import ---------------------------------------------------------------------------------------


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help=TABLES)
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="where to write the runs: .nc keeps everything; .parquet, .csv, .jsonl",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="only say what is in the table")
    add_table_options(parser)


def _import(args: argparse.Namespace, output: Output) -> int:
    if args.output is not None:
        check_folder(args.output)
    elif not args.dry_run:
        raise SpecError("Say where to write the runs, -o runs.nc; or only look: --dry-run.")
    from bayescale.runs import summarise, write_runs

    runs = read_table(args, family=args.family)
    written = None if args.dry_run else str(write_runs(runs, str(args.output)))
    page = summarise(runs)
    output.show(ranges(runs), page=wrapped(page), **summary(runs), output=written)
    output.say(f"Wrote {written}." if written else "Nothing was written.")
    return 0


# --- data -----------------------------------------------------------------------------------------


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one of them; without it, the list")
    parser.add_argument(
        "-o", "--output", metavar="FILE",
        help="write its runs, ready to fit: .csv, .nc, .parquet, .jsonl",
    )  # fmt: skip


def _data(args: argparse.Namespace, output: Output) -> int:
    if args.name is None and args.output is not None:
        raise SpecError("Say which table to write: `bayescale data chinchilla --output runs.csv`.")
    if args.output is not None:
        check_folder(args.output)
    from dataclasses import asdict

    from bayescale import datasets

    if args.name is None:
        every = [datasets.info(name) for name in datasets.names()]
        output.show([{"name": each.name, "rows": each.rows, "title": each.title} for each in every])
        output.say("\n`bayescale data NAME` has licence, citation and known issues.")
        return 0
    about = datasets.info(args.name)
    if args.output is None:
        facts = asdict(about)
        row = {k: facts.pop(k) for k in ("name", "title", "rows", "licence", "citation", "url")}
        more = {k: facts[k] for k in ("repository", "notes", "known_issues", "published")}
        output.show([row], page=wrapped(str(about)), **more)
        output.say(f"\nIts runs as a file: bayescale data {about.name} --output {about.name}.csv")
        return 0
    from bayescale.runs import summarise, write_runs

    runs = datasets.load(args.name)
    written = str(write_runs(runs, args.output))
    output.show(ranges(runs), page=wrapped(summarise(runs)), **summary(runs), output=written)
    output.say(f"Wrote {written}. Licence: {about.licence}. Cite: {about.citation}.")
    return 0


# --- laws -----------------------------------------------------------------------------------------


def _laws_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one of them; without it, the list")


def _laws(args: argparse.Namespace, output: Output) -> int:
    from bayescale import laws

    if args.name is None:
        every = [laws.get(name) for name in laws.names()]
        output.show(
            [{"law": x.name, "inputs": ", ".join(x.inputs), "formula": x.formula} for x in every]
        )
        output.say("\n`bayescale laws NAME` has parameters, units and the source.")
        return 0
    law = laws.get(args.name)
    rows = [
        {
            "parameter": name,
            "support": p.support if isinstance(p.support, str) else list(p.support),
            "unit": p.unit,
            "meaning": p.meaning,
        }
        for name, p in law.parameters.items()
    ]
    output.show(
        rows,
        page=wrapped(law.describe()),
        law=law.name,
        formula=law.formula,
        inputs=list(law.inputs),
        response=law.response,
        reference=law.reference,
    )
    return 0


READING = (
    Verb(
        "import",
        "Check a table of runs and save it, with names and units settled.",
        "TABLE --columns N=params,... -o runs.nc",
        "bayescale import mine.csv --columns N=params,T=tokens,loss=val_loss \\\n"
        "    --units T=B --family arch -o runs.nc",
        _import_arguments,
        _import,
    ),
)
LOOKING_UP = (
    Verb(
        "data",
        "List the bundled public tables, describe one, or write it.",
        "[NAME]",
        "bayescale data chinchilla --output runs.csv",
        _data_arguments,
        _data,
    ),
    Verb(
        "laws",
        "List the laws that can be fitted, or describe one.",
        "[NAME]",
        "bayescale laws additive",
        _laws_arguments,
        _laws,
    ),
)
