"""CPU seconds and memory as tables grow: families, and readings along trajectories.

Every case is a process of its own with a time limit: table, posterior and plan.
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.processes import case, clock
from benchmarks.record import Aim, Record, arguments, progress, publish

PHASES = {
    "_find_start": "mode",
    "_sample": "sampling",
    "importance_draws": "sampling",
    "_gate": "gate",
}
# (families, runs each), (trajectories, checkpoints), (runs, 1): the first and last are promised,
# those between show the growth
FAMILIES = ((8, 40), (25, 50), (50, 50), (100, 50))
TRAJECTORIES = ((50, 200), (150, 200), (500, 200))
RUNS = ((10_000, 1), (30_000, 1), (100_000, 1))
LINEAR = 1.15  # exponent of growth that still counts as close to linear


def one(
    kind: str, sizes: list[int], method: str, draws: int, chains: int, profile: bool = False
) -> dict[str, Any]:
    """Table, posterior and plan of a simulated table; CPU seconds by phase."""
    import cProfile
    import pstats
    import sys

    from benchmarks import simulated

    spent = {"start": clock()}
    import bayescale as bs
    from bayescale import inference

    spent["import"] = clock() - spent.pop("start")
    _time_phases(inference, spent)
    frame = getattr(simulated, kind)(*sizes)
    started = clock()
    runs = bs.as_runs(frame, {name: name for name in frame if name != "family"},
                      family="family" if "family" in frame else None)  # fmt: skip
    spent["runs"] = clock() - started
    model = bs.LossModel(family="partial" if kind == "families" else None)
    watch = cProfile.Profile()
    if profile:
        watch.enable()
    started = clock()
    fit = bs.fit(
        model, runs, method=method, draws=draws, tune=draws, chains=chains, progressbar=False
    )
    spent["rest of fit"] = clock() - started - sum(spent.get(p, 0.0) for p in set(PHASES.values()))
    started = clock()
    plan = bs.plan(fit, budget_flops=1e23, family=_first_family(fit))
    spent["plan"] = clock() - started
    if profile:
        watch.disable()
        pstats.Stats(watch, stream=sys.stderr).sort_stats("cumulative").print_stats(45)
    return _health(fit) | {"phases": spent, "plan_N": plan.recommended["N"]}


def _time_phases(module: Any, spent: dict[str, float]) -> None:
    """Count the CPU seconds of the parts of a fit where they are called."""

    def timed(function: Any, phase: str) -> Any:
        def wrapper(*args: Any, **kw: Any) -> Any:
            started = clock()
            try:
                return function(*args, **kw)
            finally:
                spent[phase] = spent.get(phase, 0.0) + clock() - started

        return wrapper

    for name, phase in PHASES.items():
        if hasattr(module, name):
            setattr(module, name, timed(getattr(module, name), phase))


def _first_family(fit: Any) -> str | None:
    from bayescale.inference import opened

    fitted = opened(fit)
    return fitted.families[0] if fitted.by_family else None


def _health(fit: Any) -> dict[str, Any]:
    from bayescale.inference import opened

    fitted = opened(fit)
    names = ("method", "status", "messages", "r_hat", "ess_bulk", "divergences", "k_hat")
    out = {name: fitted.spec.get(name) for name in names}
    stats = fit["sample_stats"].dataset
    if "n_steps" in stats:
        out["steps_a_draw"] = float(stats["n_steps"].mean())
    table = fitted.density.table
    return out | {"coordinates": fitted.density.size, "used": len(table.response)}


def main() -> None:
    """Measure, print, write."""
    options = arguments(
        __doc__,
        ("--only", {"help": "one case, as families:8x40:nuts; prints, writes nothing"}),
        ("--draws", {"type": int, "default": 1000, "help": "kept draws a chain (as many tuned)"}),
        ("--chains", {"type": int, "default": 4}),
        ("--limit-s", {"type": float, "default": 1800.0, "help": "wall seconds a case may take"}),
        ("--profile", {"action": "store_true", "help": "with --only: where the time goes"}),
    )
    if options.only:
        kind, sizes, method = options.only.split(":")
        sizes = [int(x) for x in sizes.split("x")]
        if options.profile:
            print(one(kind, sizes, method, options.draws, options.chains, profile=True))
        else:
            print(case(one, kind=kind, sizes=sizes, method=method, draws=options.draws,
                       chains=options.chains, limit_s=options.limit_s))  # fmt: skip
        return
    plan = [("families", sizes) for sizes in (FAMILIES[:1] if options.quick else FAMILIES)]
    plan += [("trajectories", sizes) for sizes in ([(10, 50)] if options.quick else TRAJECTORIES)]
    plan += [("runs", sizes) for sizes in ([(1000, 1)] if options.quick else RUNS)]
    draws = 200 if options.quick else options.draws
    rows = []
    for kind, sizes in plan:
        for method in ("fast", "nuts"):
            progress(f"{kind} {sizes[0]} x {sizes[1]}, {method}")
            found = case(
                one, kind=kind, sizes=list(sizes), method=method, draws=draws,
                chains=options.chains, limit_s=options.limit_s,
            )  # fmt: skip
            rows.append(_row(kind, sizes, method, found))
    publish(
        Record(
            "growth",
            "Do time and memory grow in proportion to the readings? Fresh process: import, table, "
            f"posterior ({options.chains} chains of {draws} draws after {draws}; `fast`: as many "
            "draws) and a plan.",
            {
                "Cost": [r["cost"] for r in rows],
                "CPU seconds by phase": [r["phases"] for r in rows],
            },
            _aims(rows),
            [
                "Families: partial pooling, five law parameters and a noise scale each. "
                "Trajectories: 200 checkpoints a run, with a run effect and serial correlation. "
                "Runs: one law, one reading each, so nothing is averaged.",
                "After averaging: neighbouring readings of one trajectory that tell the same are "
                "one to the likelihood (Noise(resolution=...)).",
                "method: what was asked; `ended as` says nuts where `fast` did not trust itself. "
                "The ESS of `fast` is that of its importance weights.",
                "steps: leapfrog steps a draw; each is one gradient over all readings.",
                "Growth: slope of ln(cost) against ln(readings) between the ends of a series, "
                f"after taking off what importing costs; up to {LINEAR} is called close to linear. "
                "A series of families grows in coordinates as well as in readings.",
            ],
        ),
        quick=options.quick,
    )


def _row(kind: str, sizes: tuple[int, int], method: str, found: dict[str, Any]) -> dict[str, Any]:
    what = {"table": f"{sizes[0]} {kind} x {sizes[1]}", "method": method}
    if found["failed"]:
        costs = {n: found[n] for n in ("cpu_s", "wall_s", "peak_mib")}
        line = what | {"readings": math.prod(sizes)} | costs | {"ended as": found["failed"]}
        return {"kind": kind, "cost": line, "phases": what, "found": found}
    line = what | {
        "readings": math.prod(sizes), "after averaging": found["used"],
        "coordinates": found["coordinates"],
        "CPU s": found["cpu_s"], "wall s": found["wall_s"], "peak MiB": found["peak_mib"],
        "ended as": f"{found['method']}, {found['status']}", "min bulk ESS": found["ess_bulk"],
        "divergences": found["divergences"], "R-hat": found["r_hat"], "k-hat": found["k_hat"],
        "steps": found.get("steps_a_draw"),
    }  # fmt: skip
    return {"kind": kind, "cost": line, "phases": what | found["phases"], "found": found}


def _aims(rows: list[dict[str, Any]]) -> list[Aim]:
    aims = []
    for kind in dict.fromkeys(r["kind"] for r in rows):
        for method in ("nuts", "fast"):
            line = [
                r for r in rows
                if r["kind"] == kind and r["cost"]["method"] == method and not r["found"]["failed"]
            ]  # fmt: skip
            wanted = len([r for r in rows if r["kind"] == kind and r["cost"]["method"] == method])
            if wanted < 2:
                continue
            title = f"{kind}, {method}: "
            if len(line) < wanted:
                aims.append(
                    Aim(title + "every size is done in time", f"{len(line)} of {wanted}", False)
                )
            if len(line) < 2:
                continue
            first, last = line[0], line[-1]
            time, memory = _slope(first, last, "CPU s"), _slope(first, last, "peak MiB")
            aims.append(
                Aim(title + "CPU time close to linear", f"exponent {time:.2f}", time <= LINEAR)
            )
            aims.append(
                Aim(title + "memory close to linear", f"exponent {memory:.2f}", memory <= LINEAR)
            )
    return aims


def _slope(first: dict[str, Any], last: dict[str, Any], name: str) -> float:
    base = first["found"]["phases"]["import"] if name == "CPU s" else 0.0
    ratio = (last["cost"][name] - base) / (first["cost"][name] - base)
    return math.log(ratio) / math.log(last["cost"]["readings"] / first["cost"]["readings"])


if __name__ == "__main__":
    main()
