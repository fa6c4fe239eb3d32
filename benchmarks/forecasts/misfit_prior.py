"""How much laws of the loss miss, learnt across studies: the prior of the misfit's size and length.

Each study of the tables for choosing is fitted under priors that say next to nothing; what each
says about its own misfit is then a likelihood of the population that they come from (its median and
spread), a table counting once however many studies it has. No table for reporting takes part.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.forecasts.studies import STUDIES, Study
from benchmarks.record import Record, arguments, progress, publish

WIDE = {"misfit": (0.02, 2.0), "misfit_length": (3.0, 1.0)}  # median and sd of the logarithm
DRAWS = 4000
SPREADS = np.linspace(0.1, 2.5, 49)  # of the population, sd of logarithms


def draws_of(study: Study) -> dict[str, np.ndarray]:
    """What one study says about its misfit, ``(draw,)`` each."""
    import bayescale as bs

    priors = {name: bs.LogNormal(*stated) for name, stated in WIDE.items()}
    fit = bs.fit(
        bs.LossModel(misfit="auto", priors=priors), study.runs(), method="fast",
        draws=DRAWS // 4, progressbar=False,
    )  # fmt: skip
    posterior = fit["posterior"].dataset
    return {name: posterior[name].values.reshape(-1) for name in WIDE}


def population(of_tables: dict[str, list[np.ndarray]], name: str) -> dict[str, float]:
    """Median and spread of a quantity between studies: means over their joint posterior.

    Flat in the median's logarithm, half-normal of one in the spread: three tables do not rule out
    any. Draws are weighed from the wide prior to each population; a table of several studies counts
    as one by powers of its likelihood.
    """
    middle, width = np.log(WIDE[name][0]), WIDE[name][1]
    medians = np.linspace(middle - 2.5, middle + 2.5, 101)
    m, s = np.meshgrid(medians, SPREADS, indexing="ij")
    total = -0.5 * s * s
    for studies in of_tables.values():
        for x in studies:
            z = np.log(x)[:, None, None]
            log_ratio = -0.5 * ((z - m) / s) ** 2 - np.log(s) + 0.5 * ((z - middle) / width) ** 2
            most = log_ratio.max(axis=0)
            total += (most + np.log(np.exp(log_ratio - most).mean(axis=0))) / len(studies)
    weight = np.exp(total - total.max())
    weight /= weight.sum()
    log_median = float((weight * m).sum())
    uncertain = float(np.sqrt((weight * (m - log_median) ** 2).sum()))
    spread = float((weight * s).sum())
    return {"median": float(np.exp(log_median)), "between studies": spread,
            "error of the median": uncertain,
            "of a new study": float(np.hypot(spread, uncertain))}  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    arguments(__doc__)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    found: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in WIDE}
    started = time.process_time()
    for study in (s for s in STUDIES if s.use == "choosing"):
        progress(study.name)
        drawn = draws_of(study)
        row: dict[str, Any] = {"study": study.name, "table": study.table}
        for name, x in drawn.items():
            found[name].setdefault(study.table, []).append(x)
            row |= {f"{name}, 5 %": np.quantile(x, 0.05), name: np.median(x),
                    f"{name}, 95 %": np.quantile(x, 0.95)}  # fmt: skip
        rows.append(row)
    learnt = [{"quantity": name, **population(found[name], name)} for name in WIDE]
    seconds = time.process_time() - started
    publish(
        Record(
            "misfit_prior",
            (__doc__ or "").split("\n\n")[0],
            {"Each study": rows, "Between studies (sd of logarithms)": learnt},
            [],
            [
                "Size as a share of the loss above its floor, length in e-folds of N and T.",
                "Wide priors: "
                + ", ".join(f"{k} log-normal about {m:g}, sd {s:g}" for k, (m, s) in WIDE.items()),
                f"{seconds:.0f} CPU seconds.",
            ],
        )
    )


if __name__ == "__main__":
    main()
