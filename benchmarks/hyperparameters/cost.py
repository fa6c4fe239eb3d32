"""What does a posterior of 2,702 runs with their hyperparameters cost?

The whole StepLaw table, 30 parameters and 41 levels of cells, in a fresh process each: imports and
compilation count.
"""

from __future__ import annotations

from typing import Any

from benchmarks.processes import case, repeated
from benchmarks.record import Aim, Record, arguments, progress, publish

LIMITS_CPU_S = {"nuts": 120.0, "fast": 10.0}
SHORT = {"draws": 250, "tune": 250, "chains": 1}  # of PyMC: its default settings take hours here
LIMIT_S = 3000.0


def posterior(method: str) -> dict[str, Any]:
    """The default model and settings (4 x 1,000 draws) on all runs."""
    import bayescale as bs
    from bayescale.inference import opened
    from benchmarks.hyperparameters.steplaw import load

    fit = bs.fit(bs.HyperparameterModel(), load(), method=method, progressbar=False)
    spec = opened(fit).spec
    names = ("status", "method", "ess_bulk", "divergences", "k_hat", "k_hat_bowls")
    return {name: spec.get(name) for name in names} | {"draws": 4000}


def by_pymc() -> dict[str, Any]:
    """The same model as PyMC samples it by default, levels of the cells included, cut short."""
    import numpy as np
    import pymc as pm
    from arviz_stats.base.array import array_stats

    import bayescale as bs
    from benchmarks.hyperparameters.steplaw import load

    with bs.HyperparameterModel().to_pymc(load()):
        tree = pm.sample(**SHORT, cores=1, random_seed=0, progressbar=False,
                         compute_convergence_checks=False)  # fmt: skip
    posterior = tree["posterior"].dataset
    ess = [
        float(array_stats.ess(x, chain_axis=0, draw_axis=1, method="bulk"))
        for name in posterior.data_vars
        for x in np.moveaxis(posterior[name].values.reshape(*posterior[name].shape[:2], -1), -1, 0)
        if np.isfinite(x).all() and np.ptp(x) > 0
    ]
    divergences = int(tree["sample_stats"].dataset["diverging"].values.sum())
    return {
        "status": "cut short", "method": "PyMC's NUTS", "ess_bulk": min(ess),
        "divergences": divergences, "draws": SHORT["draws"] * SHORT["chains"],
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    options = arguments(
        __doc__, ("--times", {"type": int, "default": 3, "help": "how often ours are measured"})
    )
    times = 1 if options.quick else options.times
    rows = {}
    for method in LIMITS_CPU_S:
        progress(method)
        rows[f"method='{method}'"] = repeated(
            times, lambda m=method: case(posterior, method=m, limit_s=LIMIT_S)
        )
    if not options.quick:
        progress("PyMC")
        rows["PyMC on the same model"] = repeated(1, lambda: case(by_pymc, limit_s=LIMIT_S))
    publish(
        Record(
            "hyperparameters.cost",
            (__doc__ or "").split("\n\n")[0],
            {"Cost": [_row(name, found) for name, found in rows.items()]},
            [
                Aim(f"posterior of 2,702 runs, {name} asked: at most {limit:g} CPU s",
                    f"{found['cpu_s']:.0f} (median of {times})", found["cpu_s"] <= limit)
                for (name, found), limit in zip(rows.items(), LIMITS_CPU_S.values(), strict=False)
            ],
            [
                "Defaults: 4 chains of 1,000 draws after 1,000 of warm-up; 'fast': 4,000 draws.",
                f"PyMC: one chain of {SHORT['draws']} draws after {SHORT['tune']} of warm-up; its "
                "default, 4 x (1,000 + 1,000), takes sixteen times as long.",
            ],
        ),
        quick=options.quick,
    )  # fmt: skip


def _row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    ess = found.get("ess_bulk")
    return {
        "what": name, "CPU s, median": found["cpu_s"], "min": found["cpu_s_min"],
        "max": found["cpu_s_max"], "wall s": found["wall_s"], "peak MiB": found["peak_mib"],
        "draws": found.get("draws"), "min ESS": ess,
        "CPU s per effective draw": found["cpu_s"] / ess if ess else None,
        "divergences": found.get("divergences"), "k-hat": found.get("k_hat"),
        "k-hat of the bowls": found.get("k_hat_bowls"), "status": found.get("status"),
        "failed": found.get("failed", ""),
    }  # fmt: skip


if __name__ == "__main__":
    main()
