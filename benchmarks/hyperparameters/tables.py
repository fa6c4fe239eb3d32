"""From scores to the tables, aims and notes of the record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from benchmarks.record import Aim

OURS = "bayescale"
CEILING = "(each cell's own bowl)"
LOSSES = (
    "R2 largest", "R2 largest, level free", "R2 cells, median", "R2 cells, worst", "R2 pooled",
    "coverage", "coverage near", "interval score %", "CRPS %", "CRPS near %",
)  # fmt: skip
REGRETS = (
    "run over best run %", "run over best run, worst %", "run over bowl %",
    "run over bowl, worst %", "bowl at advice %", "bowl at advice, worst %",
)  # fmt: skip
OPTIMA = (
    "error ln B*", "raw ln B*", "both ln B*", "error ln eta*", "raw ln eta*", "both ln eta*",
)  # fmt: skip
WORST = ("R2 largest", "R2 largest, level free", "R2 cells, worst", "R2 pooled")
HIGH_R2, LOW_REGRET, COVERAGE = 0.9, 0.1, (0.85, 0.95)
Found = dict[str, list[dict[str, Any]]]
Rows = list[dict[str, Any]]


def tables(found: Found, bowls: Rows, laws: Rows) -> dict[str, Rows]:
    """Every table of the record, by title."""
    out: dict[str, Rows] = {}
    for kind, title in (
        ("choosing", "Choosing splits"), ("reporting", "Splits by compute"),
        ("budget", "Small budgets, scored on the four largest cells"),
    ):  # fmt: skip
        splits = found.get(kind, [])
        if not splits:
            continue
        rows = [row for each in splits for row in each["rows"]]
        if kind == "budget":
            rows = over_seeds(rows)
        else:
            out[f"{title}: average over splits"] = averages(rows)
        out[f"{title}: what is fitted and what is predicted"] = [_size(each) for each in splits]
        out[f"{title}: losses"] = [
            _only(row, LOSSES) for row in rows if row.get("R2 pooled") is not None
        ]
        out[f"{title}: regret"] = [_only(row, REGRETS) for row in rows]
        out[f"{title}: ln B* and ln eta*"] = [_only(row, OPTIMA) for row in rows]
        if fits := [each["fit"] for each in splits if "fit" in each]:
            out[f"{title}: our fits"] = fits
        if kind != "budget":
            out[f"{title}: R2 of every held-out cell"] = _every_cell(splits)
    out["Following printed laws in the 21 cells above 2.2e19 FLOP"] = [
        {name: row[name] for name in ("method", *REGRETS, "error ln B*", "error ln eta*", "source")}
        for row in laws
    ]
    out["What each cell says of itself (robust bowl, bootstrap)"] = bowls
    return {title: rows for title, rows in out.items() if rows}


def aims(found: Found) -> list[Aim]:
    """The aims of the hyperparameter laws, on reporting splits only."""
    rows = [row for each in found["reporting"] for row in each["rows"] if row["method"] == OURS]
    own = [row for each in found["reporting"] for row in each["rows"] if row["method"] == CEILING]
    failed = [row["split"] for row in rows if "failed" in row]
    if failed:
        return [Aim("every split is fitted", f"failed: {', '.join(failed)}", False)]
    out = [_at_least("R2 largest", rows, own)]
    for kind in ("run over best run %", "run over bowl %", "bowl at advice %"):
        out.append(_at_most(kind, rows, own))
    for name, what in (
        ("coverage", "losses of all held-out runs"),
        ("coverage near", "losses within 2 % of their cell's best"),
        ("raw ln B*", "ln B*, the cell's own taken as exact"),
        ("both ln B*", "ln B*, the cell's own error counted"),
        ("raw ln eta*", "ln eta*, the cell's own taken as exact"),
        ("both ln eta*", "ln eta*, the cell's own error counted"),
    ):
        values = [row[name] for row in rows]
        mean = fmean(values)
        out.append(
            Aim(f"90 % intervals cover 85 to 95 %: {what}",
                f"{mean:.0%} on average over splits ({min(values):.0%} to {max(values):.0%})",
                COVERAGE[0] <= mean <= COVERAGE[1])
        )  # fmt: skip
    return out


def _at_least(name: str, rows: Rows, own: Rows) -> Aim:
    values = [row[name] for row in rows]
    good = sum(value >= HIGH_R2 for value in values)
    measured = (
        f"{good} of {len(rows)} splits; worst {min(values):.3f}; "
        f"the cell's own bowl {own[-1][name]:.3f}"
    )
    return Aim(f"R2 >= {HIGH_R2} on the largest held-out cell, every split", measured,
               good == len(rows))  # fmt: skip


def _at_most(name: str, rows: Rows, own: Rows) -> Aim:
    values = [row[name] for row in rows]
    good = sum(value <= LOW_REGRET for value in values)
    measured = (
        f"{good} of {len(rows)} splits; {min(values):.3f} to {max(values):.3f} %; who knows each "
        f"cell's own optimum: {fmean(row[name] for row in own):.3f} %"
    )
    return Aim(f"regret <= {LOW_REGRET} % on average over cells, every split: {name.rstrip(' %')}",
               measured, good == len(rows))  # fmt: skip


def averages(rows: Iterable[dict[str, Any]]) -> Rows:
    """Mean over splits of every figure, one row a method; and the worst of the largest cell."""
    return [
        {"method": method, "R2 largest, worst split": _least(each, "R2 largest")} | _mean(each)
        for method, each in _grouped(rows, "method").items()
    ]


def over_seeds(rows: Iterable[dict[str, Any]]) -> Rows:
    """Random subsets of one size as one row: means over their seeds, and the worst seed's R2."""
    out = []
    for row in rows:
        split = row["split"]
        name = split.rsplit(" ", 1)[0] if "random" in split else split
        out.append(row | {"split": name})
    return [
        {"split": split, "method": method} | _mean(each)
        | ({"R2 largest, worst seed": _least(each, "R2 largest")} if "random" in split else {})
        | ({"failed": each[0]["failed"]} if "failed" in each[0] else {})
        for split, group in _grouped(out, "split").items()
        for method, each in _grouped(group, "method").items()
    ]  # fmt: skip


def _grouped(rows: Iterable[dict[str, Any]], name: str) -> dict[str, Rows]:
    out: dict[str, Rows] = {}
    for row in rows:
        out.setdefault(row[name], []).append(row)
    return out


def _mean(rows: Rows) -> dict[str, float | None]:
    """Means by name; None where a method has no such figure, so that columns keep their order."""
    values = {n: [row[n] for row in rows if n in row] for n in (*LOSSES, *REGRETS, *OPTIMA)}
    return {n: fmean(each) if each else None for n, each in values.items()}


def _least(rows: Rows, name: str) -> float | None:
    return min((row[name] for row in rows if row.get(name) is not None), default=None)


def _only(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    keep = ("split", "method", *names, "R2 largest, worst seed", "failed")
    return {name: row[name] for name in keep if row.get(name) is not None}


def _size(each: dict[str, Any]) -> dict[str, Any]:
    kept = ("cells fitted", "runs", "of the compute", "cells to predict", "to predict")
    return {"split": each["name"]} | {name: each[name] for name in kept}


def _every_cell(splits: Rows) -> Rows:
    """One row a split and cell, one column a method that predicts losses."""
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for each in splits:
        for scored in each["cells"]:
            for cell, row in scored["cells"].items():
                line = out.setdefault(
                    (scored["split"], cell), {"split": scored["split"], "cell": cell}
                )
                if "R2" in row:
                    line[scored["method"]] = row["R2"]
    return list(out.values())


def notes(sampler: str) -> list[str]:
    """How to read the tables."""
    fitted = f" Our fits here: `method={sampler!r}`." if sampler else ""
    return [
        "The cuts of compute were committed before any method was scored. Choices about a model "
        "are made with `--choosing`: three low cuts, scored no further than the first reporting "
        f"cut, so that no cell scored here took part in a choice.{fitted}",
        "R2: share of the variance of a cell's losses that the median forecast explains. A level "
        "that is off by a constant is paid for in full; `level free` forgives it.",
        "`(each cell's own bowl)` has seen the answer: no method can be expected to beat it. It is "
        "a smooth asymmetric bowl fitted robustly to the cell alone.",
        "Regret in percent of the loss, average over held-out cells. `run over best run`: the run "
        "nearest to the advice against the best run of the cell, which is the luckiest of some "
        "sixty, so even the cell's own optimum shows a regret. `run over bowl`: that run against "
        "the bottom of the cell's bowl. `bowl at advice`: the bowl itself at the advice, without "
        "luck and without rounding to the grid.",
        "Intervals are 90 %. ln B* and ln eta* are scored against the bottom of each cell's own "
        "bowl: `raw` takes it as exact, `both` counts its bootstrap error as well. `error` is the "
        "root mean square. `near`: runs within 2 % of their cell's best.",
        "StepLaw's published law was fitted by its authors to these very runs, held-out ones "
        "included. The window method and the published law predict no losses.",
        "Interval score and CRPS are of log loss, in percent; smaller is better.",
        "Budgets: shares of the compute of the whole table (6 N T summed), spent below 1.4e20 "
        "FLOP: cheapest first, random (five seeds, averaged), or designed from inputs alone "
        "(most new volume per FLOP in ln N, ln T, ln B, ln eta).",
        "Runs that diverged are missing from the table (181 of 1,911 where it can be checked).",
    ]  # fmt: skip
