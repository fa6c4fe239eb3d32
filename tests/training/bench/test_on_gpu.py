"""What only a GPU can tell: recordings, no waiting, compiled losses, the same end after a stop."""

import dataclasses

import pytest
import torch

from training import engine
from training.config import Execution, Spec, with_overrides
from training.device import place_of
from training.engine.loop import advance
from training.engine.session import Session
from training.engine.world import World
from training.record.folder import RunFolder

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a GPU: pytest tests/training/bench on one"
    ),
    pytest.mark.filterwarnings("default"),  # torch and triton have some of their own
]
SMALL = {"width": 64, "depth": 2, "heads": 1, "tokens": 65_536, "warmup_tokens": 8_192,
         "first_tokens": 16_384, "evaluation.samples": 64, "low_t_samples": 0}  # fmt: skip


@pytest.fixture
def session(tmp_path):
    def make(members=1, **execution):
        spec = with_overrides(Spec(), SMALL)
        specs = [dataclasses.replace(spec, seed=seed) for seed in range(members)]
        todo = [(each, RunFolder.of(tmp_path, each)) for each in specs]
        for each, folder in todo:
            folder.create(each)
        way = Execution(device="cuda", **execution)
        run = Session(todo, way, place_of(way), World(), None)
        run.resume()
        run.warm_up()
        return run

    return make


def losses(run, steps=20):
    return torch.stack([advance(run, step, run.rate(step)) for step in range(steps)]).cpu()


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("micro_batch", [None, 5])
@pytest.mark.parametrize("compile", ["off", "on"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_recorded_losses_are_the_plain_ones(session, members, micro_batch, compile, precision):
    way = {"precision": precision, "compile": compile, "micro_batch": micro_batch}
    recorded = session(members, cuda_graph=True, **way)
    found = losses(recorded)
    assert all(
        type(each[1]).__name__ == "Recorded" for each in recorded.backward.recorded._made.values()
    )
    torch.testing.assert_close(found, losses(session(members, **way)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_compiled_losses_are_the_eager_ones(session, precision):
    found = losses(session(precision=precision, compile="on"))
    expected = losses(session(precision=precision, compile="off"))
    torch.testing.assert_close(found, expected, rtol=1e-2 if precision == "bf16" else 1e-3, atol=0)


@pytest.mark.parametrize("way", [{"compile": "off"}, {"compile": "on", "cuda_graph": True}])
def test_no_step_waits_for_the_device(session, way):
    run = session(**way)
    losses(run, 3)  # draws a block of inputs
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(3, 8):
            advance(run, step, run.rate(step))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("way", [{"compile": "off"}, {"compile": "on", "cuda_graph": True}])
def test_a_stopped_run_ends_as_one_that_went_through(tmp_path, way, monkeypatch):
    spec = with_overrides(Spec(), SMALL)
    execution = Execution(device="cuda", exact=True, **way)
    (whole,) = engine.train([spec], tmp_path / "whole", execution)
    real, steps = engine.loop.advance, []

    def stops(run, step, rate):
        if step == 23:
            run.save()
            raise KeyboardInterrupt
        steps.append(step)
        return real(run, step, rate)

    with monkeypatch.context() as patch:
        patch.setattr(engine.loop, "advance", stops)
        with pytest.raises(KeyboardInterrupt):
            engine.train([spec], tmp_path / "cut", execution)
    (cut,) = engine.train([spec], tmp_path / "cut", execution)
    assert len(steps) == 23
    assert [each["loss"] for each in cut["readings"]] == [
        each["loss"] for each in whole["readings"]
    ]
