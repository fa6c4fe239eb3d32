"""The main job on real data: 245 Chinchilla runs, none dropped, to a forecast, a plan and a report.

Run it with ``make demo-table``. Everything it writes goes to ``demo-table/``.
"""

from __future__ import annotations

import time
from pathlib import Path

import bayescale as bs

OUT = Path("demo-table")
BUDGET = 5.76e23  # FLOP; what Chinchilla and Gopher were trained with
STARTED = time.time()


def say(text: str) -> None:
    """A step of the demo, with the time it starts."""
    print(f"\n[{time.time() - STARTED:4.0f} s] {text}", flush=True)


def main() -> None:
    """Fit, check, forecast, plan, draw, report."""
    OUT.mkdir(exist_ok=True)

    say("The table: runs of Hoffmann et al. 2022, read off their figure (Besiroglu et al. 2024)")
    runs = bs.datasets.load("chinchilla")
    print(bs.summarise(runs))

    say("The model: a law, priors, heavy-tailed noise, so that no point is dropped by hand")
    model = bs.LossModel("additive")
    print(model)

    say("The posterior, by NUTS (4 chains of 1,000 draws after 1,000 of warm-up)")
    fit = bs.fit(model, runs, random_seed=1)
    fit.to_netcdf(OUT / "fit.nc")
    print(constants(fit))

    say("The checks")
    check = bs.check(fit)
    print(check.text)

    say(f"The plan for {BUDGET:g} FLOP")
    plan = bs.plan(fit, budget_flops=BUDGET)
    print(plan.text)
    print(units(plan))

    say("The forecast for that run, and for Chinchilla as it was trained (70 B on 1.4 T tokens)")
    forecast = bs.predict(
        fit, at={"N": [plan.recommended["N"], 7e10], "T": [plan.recommended["T"], 1.4e12]}
    )
    print(forecast.text)

    say("Figures and the report")
    for name, figure in {
        "law": bs.plots.law(fit), "isoflop": bs.plots.isoflop(fit),
        "frontier": bs.plots.frontier(fit), "residuals": bs.plots.residuals(fit),
        "exponents": bs.plots.exponents(fit), "forecast": forecast.plot(), "plan": plan.plot(),
    }.items():  # fmt: skip
        figure.savefig(OUT / f"{name}.png", dpi=150)
    bs.report(fit, OUT / "report.html", plan=plan, check=check, prediction=forecast)
    print("\n".join(f"  {path}" for path in sorted(OUT.iterdir())))

    say("What to type next")
    print(
        "  .venv/bin/bayescale predict demo-table/fit.nc --at N=7e9,T=1e12\n"
        "  .venv/bin/bayescale plan demo-table/fit.nc --budget-gpu-hours 100k --gpu h100\n"
        "  .venv/bin/bayescale fit YOUR.csv --columns N=params,T=tokens,loss=loss -o fit.nc"
    )


def constants(fit: object) -> str:
    """The posterior beside the constants in print."""
    import numpy as np

    published = {
        "E": ("1.817 ± 0.026", "1.693"), "A": ("482 ± 125", "406"), "B": ("2085 ± 1293", "411"),
        "alpha": ("0.348 ± 0.015", "0.339"), "beta": ("0.366 ± 0.021", "0.285"),
    }  # fmt: skip
    posterior = fit["posterior"].dataset  # type: ignore[index]
    lines = [f"{'':7}{'posterior (90 % interval)':32}{'Besiroglu, 240 points':24}Hoffmann"]
    for name, (besiroglu, hoffmann) in published.items():
        low, middle, high = np.quantile(posterior[name].values, [0.05, 0.5, 0.95])
        ours = f"{middle:.4g} ({low:.4g} to {high:.4g})"
        lines.append(f"{name:7}{ours:32}{besiroglu:24}{hoffmann}")
    return "\n".join(lines)


def units(plan: object) -> str:
    """The plan in four units."""
    table = plan.table  # type: ignore[attr-defined]
    wanted = {"compute": "FLOP", "gpu_hours": "GPU-hours", "T": "tokens", "samples": "samples"}
    lines = ["In four units:"]
    for name, unit in wanted.items():
        lines.append(f"  {table.plan[name]:>12.3g} {unit:10} {table.meaning[name]}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
