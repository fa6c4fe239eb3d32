"""From a sweep to batch size and learning rate: rates of a small diffusion transformer.

Twelve bundled runs of one size and length: three batch sizes by four learning rates, the smallest
batch the best. So the answer is an interval for the rate and a bound for the batch.

    python examples/hyperparameters.py
"""

from __future__ import annotations

from pathlib import Path

import bayescale as bs

OUT = Path("demo-hyperparameters")


def main() -> None:
    """Fit the surface, say the optimum, draw it."""
    OUT.mkdir(exist_ok=True)
    frame = bs.datasets.frame("harness_leaves")
    sweep = frame[frame["blocks"] == "rates"]
    columns = ["run", "N", "T", "batch_size", "learning_rate", "loss", "loss_unit"]
    runs = bs.as_runs(sweep[columns])

    # twelve runs leave long tails (a cost that nearly vanishes on one side), so longer chains
    model = bs.HyperparameterModel(loss_law=None)
    fit = bs.fit(model, runs, draws=4000, tune=2000, target_accept=0.98, random_seed=1)
    tuning = bs.tune(fit)
    print(tuning.text)

    for name, figure in {
        "rates": bs.plots.bowls(fit),
        "batches": bs.plots.bowls(fit, against="batch_size"),
        "valley": tuning.plot(),
    }.items():
        figure.savefig(OUT / f"{name}.png", dpi=150)
    print("\n".join(f"  {path}" for path in sorted(OUT.iterdir())))


if __name__ == "__main__":
    main()
