"""What makes the step fit for a GPU, as far as a CPU can tell."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from training import engine
from training.config import Execution, Spec, with_overrides
from training.device import place_of
from training.engine import graph, update
from training.engine.loop import advance
from training.engine.session import Session
from training.engine.world import World
from training.errors import SpecError
from training.record.folder import RunFolder

TINY = {"width": 16, "depth": 2, "heads": 2, "tokens": 65_536, "warmup_tokens": 8_192,
        "evaluation.samples": 64, "low_t_samples": 0}  # fmt: skip
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "lift_fresh", "equal",
         "is_nonzero")  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def session(tmp_path):
    """Open a session of tiny runs."""

    def make(members=1, execution=None, **changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        spec = with_overrides(Spec(), {**TINY, **named})
        specs = [dataclasses.replace(spec, seed=seed) for seed in range(members)]
        todo = [(each, RunFolder.of(tmp_path, each)) for each in specs]
        for each, folder in todo:
            folder.create(each)
        execution = execution or Execution(device="cpu")
        return Session(todo, execution, place_of(execution), World(), None)

    return make


def losses(run, steps=8):
    return torch.stack([advance(run, step, run.rate(step)) for step in range(steps)])


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: reading numbers, shapes that hang on data, and
    constants from main memory."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITS, f"{name} makes the host wait for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "conditioning", ["in_context", "cross", "adaln_zero", "adaln_single", "mmdit"]
)
@pytest.mark.parametrize("members", [1, 2])
def test_nothing_in_a_step_waits_for_the_device(session, conditioning, members):
    run = session(members, conditioning=conditioning, weight_decay=0.1, text_layers=1)
    advance(run, 0, run.rate(0))  # draws a block of inputs and fills caches
    assert run.feed.at_once > 2
    with NoWaiting():
        advance(run, 1, run.rate(1))


def test_the_watch_for_waiting_sees_it():
    with NoWaiting(), pytest.raises(AssertionError, match="wait"):
        torch.ones(()).item()
    with NoWaiting(), pytest.raises(AssertionError, match="wait"):
        torch.tensor([1.0])


class Again:
    """Stands for a recording on a machine without a GPU: runs its work where that would replay."""

    def __init__(self, work, place):
        for _ in range(3):
            work()
        self.work = work

    def __call__(self):
        return self.work()


def of_recorded_steps(run):
    run.backward.recorded = graph.RecordedPass(run.backward._losses, run.weights, run.place)
    run.weights.rehearse(lambda work: graph.recorded(work, run.place, "update"))
    return losses(run)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("micro_batch", [None, 5])
def test_recorded_steps_are_the_plain_ones(session, monkeypatch, members, micro_batch):
    monkeypatch.setattr(graph, "Recorded", Again)
    way = Execution(device="cpu", micro_batch=micro_batch)
    plain, taped = session(members, way), session(members, way)
    expected, found = losses(plain), of_recorded_steps(taped)
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=0)
    torch.testing.assert_close(taped.weights.values, plain.weights.values, rtol=1e-4, atol=2e-6)


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(session, monkeypatch):
    class Refuses:
        def __init__(self, work, place):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graph, "Recorded", Refuses)
    plain, taped = session(), session()
    with pytest.warns(RuntimeWarning, match="not permitted when stream is capturing$") as said:
        found = of_recorded_steps(taped)
    assert len(said) == 2  # the pass and the update, once each
    assert torch.equal(found, losses(plain))


def test_memory_that_runs_out_while_recording_means_smaller_micro_batches(session, monkeypatch):
    class Greedy(Again):
        def __init__(self, work, place):
            if not sizes:
                sizes.append(16)
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().__init__(work, place)

    sizes = []
    monkeypatch.setattr(graph, "Recorded", Greedy)
    plain, taped = session(), session()
    taped.backward.recorded = graph.RecordedPass(taped.backward._losses, taped.weights, taped.place)
    found = losses(taped)
    assert taped.backward.history == [(0, 16), (0, 8)]
    torch.testing.assert_close(found, losses(plain), rtol=2e-6, atol=0)


def test_rehearsing_the_update_changes_nothing(session):
    run = session(2)
    losses(run, 3)
    before = {name: tensor.clone() for name, tensor in run.weights.state().items()}
    run.weights.rehearse(lambda work: work)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.weights.state().items())


def test_graphs_are_refused_on_a_cpu_and_for_sharded_weights(tmp_path):
    spec = with_overrides(Spec(), TINY)
    with pytest.raises(SpecError, match="records work of a GPU"):
        engine.train([spec], tmp_path, Execution(device="cpu", cuda_graph=True))
    gpu = dataclasses.replace(place_of(Execution(device="cpu")), device=torch.device("cuda"))
    with pytest.raises(SpecError, match="parallel = ddp"):
        graph.check_graph(Execution(cuda_graph=True, parallel="fsdp"), gpu, 2)
    graph.check_graph(Execution(cuda_graph=True, parallel="fsdp"), gpu, 1)


def test_the_update_is_adamw_with_clipping_and_averages():
    torch.manual_seed(0)
    start, steps = torch.randn(2, 8), 5
    weights = [start[e].clone().requires_grad_() for e in range(2)]
    rates, decays = (1e-2, 3e-3), (0.1, 0.1)
    adam = [
        torch.optim.AdamW([w], lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=wd)
        for w, lr, wd in zip(weights, rates, decays, strict=True)
    ]
    column = lambda values: torch.tensor(values)[:, None].expand(2, 8).clone()  # noqa: E731
    zeros = lambda: torch.zeros(2, 8)  # noqa: E731
    flat = update.Flat(
        start.clone(), zeros(), zeros(), zeros(), [start.clone()], column(rates), column(decays),
        torch.full((2, 1), 0.5), torch.zeros(4),
    )  # fmt: skip
    average = start.clone()
    for t in range(1, steps + 1):
        grads = torch.randn(2, 8)
        for e in range(2):
            weights[e].grad = grads[e].clone()
            norm = torch.nn.utils.clip_grad_norm_([weights[e]], 0.5)
            adam[e].step()
        flat.grads.copy_(grads)
        flat.knobs.copy_(torch.tensor([1.0, 1 / (1 - 0.9**t), (1 - 0.95**t) ** -0.5, 0.25]))
        found = update.update(flat, 0.9, 0.95, 1e-8)
        assert found[1].item() == pytest.approx(norm.item(), rel=1e-6)
        average = 0.75 * average + 0.25 * flat.values
    for e in range(2):
        torch.testing.assert_close(flat.values[e], weights[e].detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(flat.averages[0], average, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, of its tracer
def test_compiled_blocks_and_update_agree_with_eager_ones_and_one_update_serves_the_run(session):
    run = session(execution=Execution(device="cpu", compile="on"))
    run.resume()
    run.warm_up()
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    found = losses(run, 20)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled
    torch.testing.assert_close(found, losses(session(), 20), rtol=1e-5, atol=0)
    assert run.clock.spent["compile"] > 0
