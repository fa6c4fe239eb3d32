"""Sweeps over the training function of `fake_engine`, and what became of them."""

import io
import json
from pathlib import Path
from unittest import mock

from training.config import Execution
from training.sweep.board import Board
from training.sweep.cost import Cost, Throughput
from training.sweep.plan import sweep_of
from training.sweep.run import Options, run_sweep

HERE = Path(__file__).parent
ENGINE = "fake_engine:train"
FAST = Throughput(((1.0, 1e15),), "assumed")
COST = Cost(N=5e3, T=4096, batch_tokens=256, flops=1e9, eval_flops=0.0, hours=1e-5)


def wish(**words):
    """Field of a block that tells the fake what to do."""
    return {"data.path": json.dumps(words)}


def sweep(*blocks, **base):
    """A sweep of tiny runs; each block a mapping."""
    base = {"data.name": "leaves", "width": 16, "depth": 2, "tokens": 4096, **base}
    return sweep_of({"name": "test", "base": base, "runs": list(blocks)}, source="test.toml")


def run(plan, root, **options):
    """Run a sweep with the fake; the tally and what was said."""
    talk = io.StringIO()
    engine = options.pop("engine", ENGINE)
    with mock.patch("training.sweep.run.cost_of", lambda *_: COST):  # it would load torch
        tally = run_sweep(
            plan, root, execution=Execution(device="cpu"),
            options=Options(**{"workers": 2, **options}), throughput=FAST,
            board=Board(talk, name="test"), engine=engine,
        )  # fmt: skip
    return tally, talk.getvalue()


def log(root):
    """What the fake did."""
    path = Path(root) / "fake.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def made(root):
    """Ids of the runs that were brought to their end, once for each time."""
    return sorted(run for line in log(root) if line["event"] == "made" for run in line["runs"])
