"""What an answer costs: from a fresh process to a posterior and a plan on 245 points."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.processes import CACHE_SWITCHES, case, cost, repeated
from benchmarks.record import Aim, Record, arguments, progress, publish

BUDGET_FLOPS = 5.76e23


def posterior_and_plan(method: str) -> dict[str, Any]:
    """The default posterior (4 x 1,000 draws) of the raw 245 points, and a plan."""
    import bayescale as bs
    from bayescale.inference import opened

    runs = bs.datasets.load("chinchilla")
    fit = bs.fit(bs.LossModel(), runs, method=method, progressbar=False)
    plan = bs.plan(fit, budget_flops=BUDGET_FLOPS)
    spec = opened(fit).spec
    out = {name: spec.get(name) for name in ("status", "ess_bulk", "divergences", "k_hat")}
    return out | {"draws": fit["posterior"].dataset["E"].size, "N": plan.recommended["N"]}


def main() -> None:
    """Measure, print, write."""
    options = arguments(
        __doc__, ("--times", {"type": int, "default": 5, "help": "how often each is measured"})
    )
    times = 1 if options.quick else options.times
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": folder, **CACHE_SWITCHES}
        case(posterior_and_plan, method="nuts", environment=cache)  # fills the cache
        jobs: dict[str, Callable[[], dict[str, Any]]] = {
            "posterior and plan": lambda: case(posterior_and_plan, method="nuts"),
            "the same, JAX's compilation cache on disk and warm": lambda: case(
                posterior_and_plan, method="nuts", environment=cache
            ),
            "fast posterior and plan": lambda: case(posterior_and_plan, method="fast"),
            "bayescale --help": lambda: cost([sys.executable, "-m", "bayescale", "--help"]),
            "import bayescale": lambda: cost([sys.executable, "-c", "import bayescale"]),
            "import numpy, pandas, xarray": lambda: cost(
                [sys.executable, "-c", "import numpy, pandas, xarray"]
            ),
        }
        for name, job in jobs.items():
            progress(name)
            rows[name] = repeated(times, job)
    publish(
        Record(
            "cost",
            "What does a posterior cost, with a plan, on 245 points? CPU seconds of a fresh "
            f"process, imports and compilation included; {times} times each.",
            {"Cost": [_row(name, found) for name, found in rows.items()]},
            _aims(rows),
            [
                "Posterior: 4 chains of 1,000 draws after 1,000 of warm-up. Peak memory is of the "
                "largest single process.",
                "The compilation cache is JAX's own (JAX_COMPILATION_CACHE_DIR); bayescale does "
                "not switch it on, since it writes to disk.",
                "The last row is the floor: what the libraries for tables cost to import.",
            ],
            peers="cost",
        ),
        quick=options.quick,
    )


def _row(name: str, found: dict[str, Any]) -> dict[str, Any]:
    fast = found.get("k_hat") is not None  # its ESS is of weights, not of a chain
    return {
        "what": name,
        "CPU s, min": found["cpu_s_min"], "median": found["cpu_s"], "max": found["cpu_s_max"],
        "wall s, median": found["wall_s"], "peak MiB": found["peak_mib"],
        "draws": found.get("draws"), "min bulk ESS": None if fast else found.get("ess_bulk"),
        "divergences": found.get("divergences"), "k-hat": found.get("k_hat"),
        "failed": found["failed"] or None,
    }  # fmt: skip


def _aims(rows: dict[str, dict[str, Any]]) -> list[Aim]:
    nuts, fast = rows["posterior and plan"], rows["fast posterior and plan"]
    help_text = rows["bayescale --help"]
    healthy = (nuts.get("ess_bulk") or 0) >= 1000 and nuts.get("divergences") == 0
    sound = f"min bulk ESS {nuts.get('ess_bulk') or 0:.0f}, {nuts.get('divergences')} divergences"
    return [
        Aim("min bulk ESS >= 1000, no divergences", sound, healthy),
        Aim("posterior and plan in 20 CPU s", f"{nuts['cpu_s']:.1f} s", nuts["cpu_s"] <= 20),
        Aim("and hoped for, in 10 CPU s", f"{nuts['cpu_s']:.1f} s", nuts["cpu_s"] <= 10),
        Aim("fast posterior and plan in 4 CPU s", f"{fast['cpu_s']:.1f} s", fast["cpu_s"] <= 4),
        Aim("bayescale --help in 0.5 s",
            f"{help_text['wall_s']:.2f} s wall, {help_text['cpu_s']:.2f} s CPU",
            help_text["wall_s"] < 0.5 and not help_text["failed"]),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
