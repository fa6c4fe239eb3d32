"""The whole story on two CPU cores: train a sweep, fit its law, test the forecast, plan.

Run it with ``make demo``. Runs go to ``demo/runs`` (started again, finished runs are skipped),
answers to ``demo/``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SWEEP = Path(__file__).with_name("first_sweep.toml")
STARTED = time.time()


def say(text: str) -> None:
    """A step of the story, with the time it starts."""
    print(f"\n[{time.time() - STARTED:4.0f} s] {text}", flush=True)


def main() -> None:
    """Sweep, collect, fit, check, forecast, plan, draw, report."""
    parser = argparse.ArgumentParser(description="From nothing to a sweep, a law and a plan.")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    say("The sweep: six sizes of a diffusion transformer on dead leaves, two longer runs held out")
    training("sweep", SWEEP, "--out", out / "runs", "--pack", "--threads", 1,
             "--workers", os.cpu_count() or 2)  # fmt: skip

    say("The table: one row a reading, checked on the way")
    training("collect", out / "runs", "--out", out / "sweep.nc")
    fit_and_plan(out)


def fit_and_plan(out: Path) -> None:
    """From the table on: what `bayescale` makes of it."""
    import bayescale as bs

    runs = bs.read_runs(out / "sweep.nc")
    law = runs.sel(run=runs["blocks"].isin(["law", "luck"]))
    held_out = runs.sel(run=runs["blocks"] == "held-out")
    print(bs.summarise(law))

    say("The law: loss of any size after any number of tokens, with what is assumed")
    model = bs.LossModel("additive")
    print(model)
    fit = bs.fit(model, law, random_seed=1)
    fit.to_netcdf(out / "fit.nc")
    check = bs.check(fit)
    print(check.text)
    print(residuals(fit, law))

    say("The forecast for runs two to four times as long as any of their size in the fit")
    forecast, told = against(fit, held_out, beyond=law)
    print(told)

    budget = 100 * float(np.nanmax(law["flops"]))
    say(f"The plan for a hundred times the largest run: {budget:.2g} FLOP")
    plan = bs.plan(fit, budget_flops=budget)
    print(plan.text)

    say("Figures and the report")
    figures = {
        "law": bs.plots.law(fit), "residuals": bs.plots.residuals(fit),
        "frontier": bs.plots.frontier(fit), "forecast": forecast.plot(), "plan": plan.plot(),
    }  # fmt: skip
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=150)
    bs.report(fit, out / "report.html", plan=plan, check=check, prediction=forecast)
    print("\n".join(f"  {path}" for path in sorted(out.iterdir())))

    say("What to type next")
    print(
        f"  python -m training status {out}/runs\n"
        f"  python -m training sweep YOUR.toml --dry-run      (start from {SWEEP.name})\n"
        f"  bayescale predict {out}/fit.nc --at N=5M,T=100M\n"
        f"  bayescale plan {out}/fit.nc --budget-flops 1e15"
    )


def residuals(fit: Any, runs: Any) -> str:
    """How far the readings lie from the law's posterior median."""
    import bayescale as bs

    fitted = runs["fitted"].values
    where = {name: column(runs, name)[fitted] for name in ("N", "T", "loss")}
    median = bs.predict(fit, at={n: where[n] for n in "NT"}, kind="mean").table["median"]
    relative = where["loss"] / np.asarray(median) - 1
    rms, worst = np.sqrt(np.mean(relative**2)), np.abs(relative).max()
    return f"{fitted.sum()} readings lie {rms:.2%} (rms) from the law; the worst {worst:.1%}."


def against(fit: Any, held_out: Any, *, beyond: Any) -> tuple[Any, str]:
    """The forecast beside what was found, at T longer than any of that size in `beyond`."""
    import bayescale as bs

    size, tokens, loss = (column(held_out, name) for name in ("N", "T", "loss"))
    longest = {n: np.nanmax(column(beyond, "T")[column(beyond, "N") == n]) for n in np.unique(size)}
    new = np.isfinite(loss) & (tokens > 1.05 * np.vectorize(longest.get)(size))
    forecast = bs.predict(fit, at={"N": size[new], "T": tokens[new]})
    lines = [f"{'N':>8} {'T':>8} {'found':>8}   forecast (90 % interval)"]
    inside = []
    for row, found in zip(forecast.table.itertuples(), loss[new], strict=True):
        inside.append(row.lower <= found <= row.upper)
        lines.append(
            f"{row.N:8.3g} {row.T:8.3g} {found:8.4f}   {row.median:.4f} ({row.lower:.4f} to "
            f"{row.upper:.4f}){'' if inside[-1] else '   outside'}"
        )
    lines.append(f"{sum(inside)} of {len(inside)} inside.")
    return forecast, "\n".join(lines)


def column(runs: Any, name: str) -> np.ndarray:
    """A variable for every reading, ``(run, checkpoint)``."""
    return runs[name].broadcast_like(runs["T"]).transpose(*runs["T"].dims).values


def training(*arguments: object) -> None:
    """Run a command of the harness; stop where it fails."""
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    print("$ python " + " ".join(command[1:]), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
