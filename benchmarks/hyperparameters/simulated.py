"""Are exponents, optima at thirty times the compute and the loss there recovered, and covered?

Sweeps whose truth is known: twelve (N, T) cells of 36 runs. Truths come from published laws of the
optimum and not from the priors of the model. Each set of tables is fitted as it is, with a tenth of
the runs diverged, and with the best batch on the lower edge of every grid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import case, clock
from benchmarks.record import Aim, Record, arguments, progress, publish

CHUNK, LIMIT_S = 5, 3600.0
SIZES, LENGTHS = np.geomspace(6e7, 1e9, 4), np.geomspace(2e9, 5e10, 3)
MORE_COMPUTE = 30.0
AROUND = (0.15, 0.3, 0.6, 1.2, 2.4, 4.8)
ABOVE = (1.0, 1.6, 2.5, 4.0, 6.3, 10.0)
SCENARIOS = {
    "as it is": {"batch_size": AROUND, "learning_rate": AROUND},
    "10 % diverged": {"batch_size": AROUND, "learning_rate": AROUND},
    "best batch on the edge": {"batch_size": ABOVE, "learning_rate": AROUND},
}
# Powers (batch_N, batch_T, rate_N, rate_T); where a study has compute, C = 6 N T; where a rate
# follows the batch, its powers follow too.
STUDIES = {
    "StepLaw 2503.04715": (0.0, 0.571, -0.713, 0.307),
    "video DiT 2411.17470": (0.1906, 0.808, -0.1619, -0.0453),
    "DeepSeek 2401.02954": (0.3271, 0.3271, -0.125, -0.125),
    "Moonlight 2502.16982": (0.4138, 0.4138, -0.057, -0.057),
    "GIDD 2512.10858": (0.0, 0.8225, 0.0, 0.34 * 0.8225),
}
POWERS = ("batch_N", "batch_T", "rate_N", "rate_T", "rate_noise_scale", "alpha", "beta",
          "batch_price_N", "batch_price_T", "rate_price_N", "rate_price_T", "batch_rise",
          "batch_fall", "rate_rise", "rate_fall")  # fmt: skip
# How far optima lie off their laws, e-folds: those of each cell, and those of all cells of a size.
SCATTER = {"scatter": 0.06, "scatter_of_sizes": 0.1}
FAR = ("ln B* at 30 C", "ln eta* at 30 C", "ln loss at 30 C")


def main() -> None:
    """Measure, print, write."""
    options = arguments(
        __doc__,
        ("--tables", {"type": int, "default": 100, "help": "data sets of each kind"}),
        ("--processes", {"type": int, "default": 1, "help": "at a time"}),
        ("--rows", {"help": "a file of measured rows, one a line: read, and continued"}),
    )  # fmt: skip
    count = 2 if options.quick else options.tables
    kept = Path(options.rows) if options.rows else None
    rows = [json.loads(x) for x in kept.read_text().splitlines()] if kept and kept.exists() else []
    done = {(row["scenario"], row["seed"]) for row in rows}
    work = [
        (scenario, seeds)
        for first in range(0, count, CHUNK)
        for scenario in SCENARIOS
        if (seeds := [s for s in range(first, min(first + CHUNK, count))
                      if (scenario, s) not in done])
    ]  # fmt: skip
    with ThreadPoolExecutor(options.processes) as pool:
        for found in pool.map(
            lambda w: case(chunk, scenario=w[0], seeds=w[1], limit_s=LIMIT_S), work
        ):
            if found["failed"]:
                raise SystemExit(found["failed"])
            rows += found["rows"]
            if kept:
                with kept.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found["rows"])
            progress(f"{len(rows)} of {count * len(SCENARIOS)} fits")
    rows = [row for row in rows if row["seed"] < count]
    publish(record(rows), quick=options.quick)


def chunk(scenario: str, seeds: list[int]) -> dict[str, Any]:
    """Rows of some data sets of one kind, one process."""
    return {"rows": [one(scenario, seed) for seed in seeds]}


def truth(rng: np.random.Generator) -> dict[str, float]:
    """Parameters of a surface as studies report them: powers of one of `STUDIES`, jittered.

    The optimum at the middle of the grid is within a factor two of 4e5 tokens and 1e-3; loss laws,
    prices and shapes spread about what StepLaw's table and the video paper's grid show.
    """
    spread = lambda middle, sd: float(middle * np.exp(sd * rng.standard_normal()))  # noqa: E731
    powers = np.array(list(STUDIES.values())[rng.integers(len(STUDIES))])
    batch_N, batch_T, rate_N, rate_T = powers + 0.05 * rng.standard_normal(4)
    price = 0.08 * rng.standard_normal(4)
    N, T = np.exp(np.log(SIZES).mean()), np.exp(np.log(LENGTHS).mean())
    return {
        "E": rng.uniform(1.5, 2.0), "A": spread(0.5, 0.2), "B": spread(0.45, 0.2),
        "alpha": spread(0.34, 0.15), "beta": spread(0.36, 0.15),
        "kappa": 0.1 * rng.standard_normal(), "delta": 0.05 * rng.standard_normal(),
        "batch_coefficient": spread(4e5, 0.35) / (N**batch_N * T**batch_T),
        "batch_N": batch_N, "batch_T": batch_T,
        "rate_coefficient": spread(1e-3, 0.35) / (N**rate_N * T**rate_T),
        "rate_N": rate_N, "rate_T": rate_T, "rate_noise_scale": spread(0.7, 0.4),
        "batch_price": spread(0.008, 0.4) / (N ** price[0] * T ** price[1]),
        "batch_price_N": price[0], "batch_price_T": price[1],
        "rate_price": spread(0.012, 0.4) / (N ** price[2] * T ** price[3]),
        "rate_price_N": price[2], "rate_price_T": price[3],
        "batch_rise": spread(0.7, 0.3), "batch_fall": spread(0.5, 0.3),
        "rate_rise": spread(1.0, 0.3), "rate_fall": spread(0.45, 0.3),
        "batch_ceiling": spread(0.8, 0.4), "rate_ceiling": spread(0.25, 0.4),
    }  # fmt: skip


def table(scenario: str, seed: int) -> tuple[Any, dict[str, float]]:
    """Runs of a data set, and their truth; the truth is the same in every scenario."""
    import bayescale as bs

    planted = truth(np.random.default_rng([seed, 0]))
    kw: dict[str, Any] = {
        "multiples": SCENARIOS[scenario], "N": SIZES[:, None], "T": LENGTHS[None, :],
        **SCATTER,
    }  # fmt: skip
    make = lambda cliff: bs.datasets.simulate_sweep(  # noqa: E731
        "interacting", planted, cliff=cliff, random_seed=np.random.default_rng([seed, 1]), **kw
    )
    if scenario != "10 % diverged":
        return make(None), planted
    return make(_cliff(make(None), planted, 0.10)), planted


def _cliff(runs: Any, planted: Mapping[str, float], share: float, width: float = 0.3) -> float:
    """Where the cliff stands so that this share of the runs is expected to diverge."""
    from scipy.optimize import brentq

    from bayescale.laws import get
    from bayescale.laws.surface import Surface

    names = ("N", "T", "batch_size", "learning_rate")
    z = Surface(get("interacting")).misses({**{k: runs[k].values for k in names}, **planted}, np)
    excess = lambda c: np.mean(1 / (1 + np.exp((c - z["learning_rate"]) / width))) - share  # noqa: E731
    return float(brentq(excess, -5.0, 8.0))


def one(scenario: str, seed: int) -> dict[str, Any]:
    """One data set fitted: truth, posterior mean, sd and rank of the truth by quantity."""
    import warnings

    import bayescale as bs
    from bayescale.inference import opened

    runs, planted = table(scenario, seed)
    started = clock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bs.errors.ConvergenceWarning)
        fit = bs.fit(bs.HyperparameterModel(), runs, method="fast", draws=500, progressbar=False)
    spent, spec = clock() - started, opened(fit).spec
    drawn = {name: opened(fit).draws(name) for name in POWERS}
    true = {name: planted[name] for name in POWERS}
    far, far_true = at_more_compute(fit, planted, np.random.default_rng([seed, 2]))
    true |= far_true
    quantities = {
        name: {"truth": float(true[name]), "mean": float(x.mean()), "sd": float(x.std()),
               "rank": float(np.mean(x < true[name]))}
        for name, x in (drawn | far).items()
    }  # fmt: skip
    status = runs["status"].values.astype(str)
    return {
        "scenario": scenario, "seed": seed, "cpu_s": spent, "quantities": quantities,
        "diverged": float(np.mean(status == "diverged")), "runs": runs.sizes["run"],
        **{k: spec.get(k) for k in ("method", "status", "k_hat", "k_hat_bowls", "importance_ess",
                                    "two_parts_failed", "ess_bowls", "ess_bulk", "r_hat",
                                    "divergences")},
    }  # fmt: skip


def at_more_compute(
    fit: Any, planted: Mapping[str, float], rng: np.random.Generator
) -> tuple[dict, dict]:
    """Draws of the optimum and of the loss under it beyond the largest cell, and the truth.

    The true optimum there is that of a new size: its law's, and an offset as other cells have.
    """
    import bayescale as bs
    from bayescale.inference import opened
    from bayescale.inference.curve import best_hyperparameters
    from bayescale.laws import get
    from bayescale.laws.surface import Surface

    at = {"N": SIZES[-1] * MORE_COMPUTE**0.5, "T": LENGTHS[-1] * MORE_COMPUTE**0.5}
    best = best_hyperparameters(opened(fit), at)
    mean = bs.predict(fit, at=at, kind="mean").draws.values[:, 0]
    surface = Surface(get("interacting"))
    scales = {f"{k}0": v for k, v in surface.law.scales.items()}
    values = {**at, **planted, **scales}
    names = ("batch_size", "learning_rate")
    drawn = [*(np.log(best[k])[:, 0] for k in names), np.log(mean)]
    off = np.hypot(*SCATTER.values()) * rng.standard_normal(len(names))
    true = [*(float(surface.log_best(k, values, np)) + x for k, x in zip(names, off, strict=True)),
            float(surface.log_tuned(values, np))]  # fmt: skip
    return dict(zip(FAR, drawn, strict=True)), dict(zip(FAR, true, strict=True))


def record(rows: list[dict[str, Any]]) -> Record:
    """Tables of recovery and coverage, aims and notes."""
    tables, aims = {}, []
    for scenario in SCENARIOS:
        here = [row for row in rows if row["scenario"] == scenario]
        if not here:
            continue
        title = f"{scenario}: {len(here)} data sets"
        tables[title] = [recovered(name, here) for name in (*FAR, *POWERS)]
        for line in tables[title][: len(FAR)]:
            held, error = line["90 % interval holds truth"], line["binomial se"]
            aims.append(Aim(f"{line['quantity']}, {scenario}: 85 to 95 % (two se allowed)",
                            f"{held:.2f} +- {error:.2f}",
                            bool(0.85 - 2 * error <= held <= 0.95 + 2 * error)))  # fmt: skip
    tables["fits"] = [health(s, [r for r in rows if r["scenario"] == s]) for s in SCENARIOS]
    notes = [
        "Truths: powers of one of five published laws of the optimum (" + ", ".join(STUDIES)
        + ") jittered by 0.05, loss laws about Chinchilla's; no draws from the prior. "
        "They have no smooth misfit; the model allows for one.",
        "bias / sd: mean of (posterior mean - truth) / posterior sd, with its standard error; a "
        "prior that the truths disagree with shows here. 1 se is the spread of that mean.",
        "Noise: Student-t(5) of 0.2 %, 15 % of the price beside it, 0.1 % shared by a cell.",
    ]  # fmt: skip
    question = " ".join((__doc__ or "").split("\n\n")[0].split())
    return Record("hyperparameters.simulated", question, tables, aims, notes)


def recovered(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One quantity over all data sets."""
    found = [row["quantities"][name] for row in rows]
    z = np.array([(q["mean"] - q["truth"]) / q["sd"] for q in found])
    held = np.mean([0.05 < q["rank"] < 0.95 for q in found])
    n = len(found)
    return {
        "quantity": name,
        "rms error": float(np.sqrt(np.mean([(q["mean"] - q["truth"]) ** 2 for q in found]))),
        "posterior sd": float(np.median([q["sd"] for q in found])),
        "bias / sd": float(z.mean()), "1 se": float(z.std() / np.sqrt(n)),
        "90 % interval holds truth": float(held),
        "binomial se": float(np.sqrt(max(held * (1 - held), 0.09 if n < 20 else 0.0) / n)),
    }  # fmt: skip


def health(scenario: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How the fits were made, what they cost, and how many passed the gate."""
    if not rows:
        return {"data": scenario, "fits": 0}
    k_hat = [row["k_hat_bowls"] for row in rows if row["k_hat_bowls"] is not None]
    whole = sum(row["two_parts_failed"] is not None for row in rows)
    return {
        "data": scenario, "fits": len(rows),
        "diverged": float(np.mean([row["diverged"] for row in rows])),
        "CPU s, median": float(np.median([row["cpu_s"] for row in rows])),
        "CPU s, longest": float(np.max([row["cpu_s"] for row in rows])),
        "k-hat of the bowls, median": float(np.median(k_hat)) if k_hat else None,
        "law by NUTS": sum(row["method"] == "nuts" for row in rows) - whole,
        "sampled as a whole": whole,
        "failed the gate": sum(row["status"] == "failed" for row in rows),
    }  # fmt: skip


if __name__ == "__main__":
    main()
