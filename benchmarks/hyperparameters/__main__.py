"""Who predicts the losses and the best batch size and learning rate of larger cells?

Cells of StepLaw's table below a cut of compute are fitted, those above are predicted; then small
budgets. Each fit of ours runs in a process of its own.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.hyperparameters.tables import aims, notes, tables
from benchmarks.processes import case
from benchmarks.record import Record, arguments, markdown, progress, publish

LIMIT_S = 1800.0


def main() -> None:
    """Measure, print, write."""
    options = arguments(
        __doc__,
        ("--choosing", {"action": "store_true", "help": "the splits for choices about a model; "
                        "prints, writes nothing"}),
        ("--baselines", {"action": "store_true", "help": "without our model; writes nothing"}),
        ("--model", {"default": "{}", "help": "arguments of HyperparameterModel as JSON, with "
                     "--choosing; the defaults are what is reported"}),
        ("--processes", {"type": int, "default": 1, "help": "at a time"}),
        ("--sampler", {"default": "nuts", "choices": ("nuts", "fast"), "help": "of our fits"}),
    )  # fmt: skip
    from benchmarks.hyperparameters import study
    from benchmarks.hyperparameters.steplaw import cells, load

    settings = json.loads(options.model)
    if settings and not options.choosing:
        raise SystemExit(
            "--model goes with --choosing: reported figures are those of the defaults."
        )
    kinds = ["choosing"] if options.choosing else ["reporting", "budget"]
    sampler = "" if options.baselines else ("fast" if options.quick else options.sampler)
    with tempfile.TemporaryDirectory() as folder:
        bowls = str(Path(folder, "bowls.pickle"))
        progress("the cells' own bowls")
        truth = case(
            study.scratch_bowls, path=bowls, cells=cells(load()),
            resamples=20 if options.quick else study.RESAMPLES, limit_s=LIMIT_S,
        )  # fmt: skip
        _stop_on(truth)
        found: dict[str, list[dict[str, Any]]] = {}
        for kind in kinds:
            chosen = study.names(kind)
            chosen = chosen[-2:] if options.quick else chosen
            with ThreadPoolExecutor(options.processes) as pool:
                found[kind] = list(pool.map(
                    lambda name, kind=kind: one(kind, name, bowls, sampler, settings), chosen
                ))  # fmt: skip
        laws = {} if options.choosing else case(study.published_laws, bowls=bowls)
    made = tables(found, truth["rows"], laws.get("rows", []))
    if options.choosing:
        print("\n\n".join(f"**{title}**\n\n{markdown(rows)}" for title, rows in made.items()))
        return
    publish(
        Record("hyperparameters", (__doc__ or "").split("\n\n")[0], made,
               aims(found) if sampler else [], notes(sampler)),
        quick=options.quick or options.baselines,
    )  # fmt: skip


def one(kind: str, name: str, bowls: str, sampler: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Baselines and our model on one split: rows, cells, and what our fit cost."""
    from benchmarks.hyperparameters import study

    progress(f"{kind}: {name}")
    out = case(study.baselines, kind=kind, name=name, bowls=bowls, limit_s=LIMIT_S)
    _stop_on(out)
    if sampler:
        ours = case(study.ours, kind=kind, name=name, bowls=bowls, sampler=sampler,
                    options=settings, limit_s=LIMIT_S)  # fmt: skip
        if ours["failed"]:  # it stands in the tables as failed, and no aim is met by it
            row = {"split": name, "method": "bayescale", "failed": ours["failed"]}
            ours |= {"rows": [row], "cells": [], "fit": {}}
        out["rows"] = ours["rows"] + out["rows"]
        out["cells"] = ours["cells"] + out["cells"]
        out["fit"] = {"split": name, "runs": out["runs"]} | ours["fit"]
        out["fit"] |= {"process CPU s": ours["cpu_s"], "peak MiB": ours["peak_mib"]}
    return out | {"name": name}


def _stop_on(found: dict[str, Any]) -> None:
    if found["failed"]:
        raise SystemExit(
            f"A baseline failed, so there is nothing to compare with: {found['failed']}"
        )


if __name__ == "__main__":
    main()
