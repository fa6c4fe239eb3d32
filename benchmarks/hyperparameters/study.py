"""One measurement each, for a process of its own: bowls of the cells, baselines, our model."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from bayescale.laws.published_hyperparameters import STUDIES
from benchmarks.hyperparameters import steplaw, subsets
from benchmarks.hyperparameters.baselines import BASELINES, PublishedLaw
from benchmarks.hyperparameters.cell_bowl import RESAMPLES, CellBowl, OwnBowls, cell_bowls
from benchmarks.hyperparameters.metrics import Score, r2, score
from benchmarks.hyperparameters.steplaw import Split

SEEDS = 5  # of random subsets
LAWS = ("steplaw", "deepseek", "moonlight", "porian")  # of language models, with both constants
DESIGNS = ("cheapest", "random", "designed")


def scratch_bowls(path: str, cells: Sequence[str], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Fit the bowls of cells once; every later process reads them from a scratch file."""
    found = cell_bowls(steplaw.load(), list(cells), resamples=resamples)
    with open(path, "wb") as file:  # made and read within one run of the benchmark
        pickle.dump(found, file)
    return {"rows": [_bowl_row(each) for each in found.values()]}


def names(kind: str) -> list[str]:
    """Names of the splits of a kind: ``choosing``, ``reporting`` or ``budget``."""
    if kind == "budget":
        return [
            f"{share:.0%}, {design}" + (f" {seed}" if design == "random" else "")
            for share in steplaw.BUDGETS
            for design in DESIGNS
            for seed in range(SEEDS if design == "random" else 1)
        ]
    return [each.name for each in (_by_compute(kind))]


def split(kind: str, name: str) -> Split:
    """A split by its name."""
    if kind != "budget":
        return next(each for each in _by_compute(kind) if each.name == name)
    share, design = name.split(", ")
    whole = steplaw.by_compute(steplaw.BUDGET_CUT_FLOPS)
    budget = float(share.rstrip("%")) / 100 * float(steplaw.load()["flops"].sum())
    if design.startswith("random"):
        some = subsets.random(whole.fitted, budget, int(design.split()[1]))
    else:
        some = getattr(subsets, design)(whole.fitted, budget)
    return Split(name, some, whole.held_out)


def baselines(kind: str, name: str, bowls: str) -> dict[str, Any]:
    """Every baseline on one split, and the cells' own bowls as the ceiling."""
    here, truth = split(kind, name), _read(bowls)
    frame = steplaw.table(here.held_out).drop_duplicates("cell")
    at = dict(zip(zip(frame["N"], frame["T"], strict=True), frame["cell"], strict=True))
    scores = [score(m.name, m.fit(here.fitted), here, truth) for m in BASELINES]
    scores.append(score("(each cell's own bowl)", OwnBowls(truth, at), here, truth))
    return {"rows": [each.row() for each in scores], "cells": [_cells(each) for each in scores],
            "runs": here.fitted.sizes["run"], "to predict": here.held_out.sizes["run"],
            "cells fitted": len(steplaw.cells(here.fitted)), "cells to predict": len(here.cells),
            "of the compute": _share(here)}  # fmt: skip


def published_laws(bowls: str) -> dict[str, Any]:
    """Regret of following printed laws in every cell above the lowest reporting cut."""
    here, truth = split("reporting", names("reporting")[0]), _read(bowls)
    every = [PublishedLaw(STUDIES[name].title, name) for name in LAWS]
    scores = [score(m.study, m.fit(here.fitted), here, truth) for m in every]
    return {"rows": [each.row() | {"source": STUDIES[each.method].source} for each in scores]}


def ours(
    kind: str, name: str, bowls: str, sampler: str, options: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Our model on one split: fit, predict, tune, scored as the baselines are."""
    from benchmarks.hyperparameters.posterior import Posterior

    here = split(kind, name)
    method = Posterior(method=sampler, options=tuple((options or {}).items()))
    fitted = method.fit(here.fitted)
    found = score(method.name, fitted, here, _read(bowls))
    return {"rows": [found.row()], "cells": [_cells(found)], "fit": fitted.health}


def _by_compute(kind: str) -> list[Split]:
    return {"choosing": steplaw.choosing, "reporting": steplaw.reporting}[kind]()


def _share(here: Split) -> float:
    return float(here.fitted["flops"].sum() / steplaw.load()["flops"].sum())


def _cells(found: Score) -> dict[str, Any]:
    """R2 and regret of every held-out cell."""
    f = found.losses
    explained = {} if f.empty else {c: r2(f.loc[f["cell"] == c]) for c in found.advice["cell"]}
    advice = found.advice.set_index("cell")
    rows = {
        str(cell): {k: float(v) for k, v in row.items() if np.isfinite(v)}
        | ({"R2": explained[cell]} if explained else {})
        for cell, row in advice.iterrows()
    }
    return {"method": found.method, "split": found.split, "cells": rows}


def _bowl_row(bowl: CellBowl) -> dict[str, Any]:
    sd = bowl.draws.std(axis=0)
    return {
        "cell": bowl.name, "best loss": bowl.best_loss, "sd %": 100 * float(sd[0]),
        "B*, tokens": float(np.exp(bowl.optimum[0])), "sd ln B*": float(sd[1]),
        "eta*": float(np.exp(bowl.optimum[1])), "sd ln eta*": float(sd[2]),
        "noise %": 100 * bowl.noise,
    }  # fmt: skip


def _read(path: str) -> dict[str, CellBowl]:
    with open(path, "rb") as file:
        return pickle.load(file)


__all__ = ["baselines", "names", "ours", "published_laws", "scratch_bowls", "split"]
