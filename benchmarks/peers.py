"""`simple-scaling-laws` side by side on the same points, where an environment with it is at hand.

It asks for Python and packages of its own, so it is not installed with bayescale. Make an
environment (``pip install simple-scaling-laws==0.2.0``) and name its interpreter with
``--peer-python``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.constants import BUDGET_FLOPS, posterior
from benchmarks.processes import case, cost
from benchmarks.record import Aim, Record, arguments, progress, publish

PEER = """
import json, sys
from importlib.metadata import version
from simple_scaling_laws import cost_model, fit
table, answer, budget = sys.argv[1], sys.argv[2], float(sys.argv[3])
model = fit(table)
target = model.targets[0]
params, intervals = model.params(target), model.conf_int(target, level=0.9)
best = model.optimal_allocation(
    [budget], cost_model("power", k=6.0, a=1.0, b=1.0), quantiles=[0.05, 0.5, 0.95]
)
json.dump({"version": version("simple-scaling-laws"), "params": params,
           "intervals": {k: list(v) for k, v in intervals.items()},
           "best": best.to_dicts()}, open(answer, "w"), default=float)
"""


def write_tables(folder: str) -> dict[str, Any]:
    """The raw and the cleaned points under the peer's column names."""
    import bayescale as bs

    frame = bs.datasets.frame("chinchilla")
    for label, rows in {"245": frame, "240": frame[frame["excluded_by_besiroglu"] == 0]}.items():
        rows.rename(
            columns={
                "run": "training_run_id", "params": "model_size__n_params",
                "tokens": "dataset_size__n_tokens", "loss": "test_loss__cross_entropy",
            }
        )[
            ["training_run_id", "model_size__n_params", "dataset_size__n_tokens",
             "test_loss__cross_entropy"]
        ].to_csv(Path(folder, f"{label}.csv"), index=False)  # fmt: skip
    return {}


def main() -> None:
    """Measure, print, write; or say how to."""
    options = arguments(__doc__, ("--peer-python", {"help": "interpreter that has the peer"}))
    python = options.peer_python
    if (
        not python
        or subprocess.run(
            [python, "-c", "import simple_scaling_laws"], capture_output=True, check=False
        ).returncode
    ):
        print(
            "Skipped: no interpreter with simple-scaling-laws was named. In an environment of its "
            "own, pip install simple-scaling-laws==0.2.0, then --peer-python PATH/bin/python."
        )
        return
    rows, ours, theirs, version = [], {}, {}, ""
    with tempfile.TemporaryDirectory() as folder:
        case(write_tables, folder=folder)
        for label in ("245", "240"):
            progress(f"simple-scaling-laws, {label}")
            answer = Path(folder, f"{label}.json")
            table = str(Path(folder, f"{label}.csv"))
            spent = cost([python, "-c", PEER, table, str(answer), str(BUDGET_FLOPS)])
            if spent["failed"]:
                raise SystemExit(f"the peer failed: {spent['failed']}")
            found = json.loads(answer.read_text())
            version = found["version"]
            theirs[label] = _exponent(found["params"])
            rows.append(_theirs(label, found, spent))
            progress(f"bayescale, {label}")
            mine = case(posterior, cleaned=label == "240", method="nuts", random_seed=0)
            ours[label] = mine["quantiles"]["a"][1]
            rows.append(_ours(label, mine))
    shift = {name: abs(a["245"] - a["240"]) for name, a in {"ours": ours, "theirs": theirs}.items()}
    publish(
        Record(
            "peers",
            f"simple-scaling-laws {version} and bayescale on the same points, one after the other, "
            f"both at their defaults; plan at {BUDGET_FLOPS:g} FLOP.",
            {"Raw and cleaned": rows},
            [
                Aim("five bad runs move our a less than theirs",
                    f"{shift['ours']:.4f} against {shift['theirs']:.4f}",
                    shift["ours"] < shift["theirs"]),
            ],
            ["90 % intervals: bootstrap for the peer, posterior for us. CPU seconds: a fresh "
             "process each, imports included."],
        ),
        quick=options.quick,
    )  # fmt: skip


def _exponent(params: dict[str, float]) -> float:
    return params["beta"] / (params["alpha"] + params["beta"])


def _theirs(label: str, found: dict[str, Any], spent: dict[str, Any]) -> dict[str, Any]:
    p, i = found["params"], found["intervals"]
    best = found["best"][0]
    low, n, high = (best[f"model_size__n_params__{q}"] for q in ("q050", "median", "q950"))
    t = best["dataset_size__n_tokens__median"]
    return {
        "points": label, "tool": "simple-scaling-laws",
        **{k: f"{p[k]:.3f} [{i[k][0]:.3f}, {i[k][1]:.3f}]" for k in ("E", "alpha", "beta")},
        "a": f"{_exponent(p):.3f}",
        "N* (B)": f"{n / 1e9:.0f} [{low / 1e9:.0f}, {high / 1e9:.0f}]",
        "tokens per parameter": f"{t / n:.1f}",
        "CPU s": spent["cpu_s"], "wall s": spent["wall_s"], "peak MiB": spent["peak_mib"],
    }  # fmt: skip


def _ours(label: str, found: dict[str, Any]) -> dict[str, Any]:
    q = found["quantiles"]
    return {
        "points": label, "tool": "bayescale",
        **{k: f"{q[k][1]:.3f} [{q[k][0]:.3f}, {q[k][2]:.3f}]" for k in ("E", "alpha", "beta", "a")},
        "N* (B)": f"{q['N*'][1] / 1e9:.0f} [{q['N*'][0] / 1e9:.0f}, {q['N*'][2] / 1e9:.0f}]",
        "tokens per parameter": "{1:.1f} [{0:.1f}, {2:.1f}]".format(*q["tokens per parameter"]),
        "CPU s": found["cpu_s"], "wall s": found["wall_s"], "peak MiB": found["peak_mib"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
