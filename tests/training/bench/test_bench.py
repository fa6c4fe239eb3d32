import json

import pytest
import torch

from training.bench.throughput import Row, relative
from training.bench.workloads import (
    GATES,
    GPU_SIZES,
    execution_for,
    fitting,
    gpu_tokens,
    modes_for,
    reference,
)
from training.cli import main
from training.config import Model
from training.device import Place
from training.sizes import parameters

CPU = Place(torch.device("cpu"), "float32")
GPU = Place(torch.device("cuda"), "bf16")  # only looked at, nothing runs there


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def row(**changes):
    fields = dict(
        size="1M", mode="graph", members=1, precision="bf16", N=1, N_total=1, width=1, depth=1,
        heads=1, tokens_per_step=1, micro_batch=1, steps=1, seconds=1.0, clock="wall",
        tokens_per_s=1.0, model_flops_per_s=90e12, share_measured=0.1, share_nominal=None,
        max_memory_bytes=None, compile_s=0.0, parity=0.001, tolerance=0.01, gate_tflops=60.0,
        aim_tflops=110.0,
    )  # fmt: skip
    return Row(**{**fields, **changes})


def test_bench_times_a_model_alone_and_in_an_ensemble_and_writes_what_a_dry_run_reads(
    tmp_path, capsys
):
    out = tmp_path / "bench.json"
    words = f"bench --sizes 6.6k --ensemble 2 --seconds 0.2 --device cpu --out {out}".split()
    assert main(words) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split()[:4] == ["size", "mode", "N", "d"]
    assert [line.split()[1] for line in lines[1:]] == ["eager", "ensemble"]
    content = json.loads(out.read_text())
    alone, together = content["rows"][0], content["ensembles"][0]
    assert (alone["members"], together["members"]) == (1, 2)
    assert together["parity"] <= together["tolerance"]
    assert 0 < alone["share_measured"] < 1.2
    assert alone["model_flops_per_s"] == pytest.approx(alone["tokens_per_s"] * 63_643, rel=0.01)
    assert content["peak_measured"] > 0 and content["peak_nominal"] is None

    from training.sweep.cost import throughput_of

    speed = throughput_of("cpu", bench=out)
    assert speed.at(alone["N"]) == pytest.approx(alone["model_flops_per_s"])
    assert "measured" in speed.source
    elsewhere = throughput_of("H200", bench=out)  # a CPU says nothing about a GPU
    assert "assumed" in elsewhere.source and elsewhere.at(1e6) > 1e13


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--modes graph", "records work of a GPU"),
        ("--modes eagr", "eager"),
        ("--sizes 1X", "is no size"),
        ("--ensemble 0", "above 0"),
    ],
)
def test_bad_options_are_told_before_anything_is_timed(words, said, capsys, tmp_path):
    full = ["bench", "--device", "cpu", "--out", str(tmp_path / "b.json"), *words.split()]
    assert main(full) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()


def test_workloads_of_a_gpu_are_those_of_the_design():
    found = [reference(size, GPU) for size in GPU_SIZES]
    shapes = [(each.spec.model.width, each.spec.model.depth) for each in found]
    assert shapes[:1] == [(128, 5)]
    tokens = [each.spec.optimiser.batch_samples * 256 for each in found]
    assert tokens == [16 * 1024, 64 * 1024, 256 * 1024, 512 * 1024]
    assert [each.gate for each in found] == list(GATES.values())
    assert reference("20k", CPU).gate is None


def test_micro_batches_are_halves_of_the_batch_that_should_fit():
    small, large = Model(width=128, depth=5), Model(width=1152, depth=31)
    assert fitting(small, 64, 256) is None
    micro = fitting(large, 2048, 256)
    assert micro is not None and 2048 % micro == 0
    assert 40 * 1152 * 31 * 256 * micro <= 48e9 < 2 * 40 * 1152 * 31 * 256 * micro


def test_batches_grow_with_the_model_by_powers_of_two():
    tokens = [gpu_tokens(n) for n in (10**6, 3 * 10**6, 10**7, 3 * 10**7, 10**8)]
    assert tokens == sorted(tokens)
    assert all(each & (each - 1) == 0 for each in tokens)


def test_modes_that_cannot_pay_are_left_out():
    assert modes_for(parameters("1M"), GPU) == ("eager", "compile", "graph", "ensemble")
    assert modes_for(parameters("100M"), GPU) == ("eager", "compile", "graph")
    assert modes_for(parameters("500M"), GPU) == ("eager", "compile")
    assert modes_for(parameters("500M"), CPU) == ("eager", "ensemble")
    assert execution_for("ensemble", GPU).cuda_graph
    assert execution_for("ensemble", CPU).compile == "off"


def test_a_row_says_how_it_stands_against_the_gate():
    assert row().verdict == "PASS 60"
    assert row(model_flops_per_s=111e12).verdict == "PASS 60, aim 110"
    assert row(model_flops_per_s=59e12).verdict == "below 60"
    assert row(gate_tflops=None, aim_tflops=None).verdict == ""


def test_losses_that_differ_or_are_not_finite_do_not_agree():
    a = torch.tensor([1.0, 2.0])
    assert relative(a, a) == 0.0
    assert relative(torch.tensor([1.0, 2.2]), a) == pytest.approx(0.1)
    assert relative(torch.tensor([1.0, float("nan")]), a) == float("inf")
    assert not row(parity=float("inf")).agrees
    assert not row(parity=0.02).agrees and row(parity=None).agrees


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, of its tracer
def test_compiled_losses_are_the_eager_ones(tmp_path, capsys):
    out = tmp_path / "bench.json"
    words = f"bench --sizes 6.6k --modes compile --seconds 0.2 --device cpu --out {out}".split()
    assert main(words) == 0
    (found,) = json.loads(out.read_text())["rows"]
    assert found["parity"] < 1e-5 and found["compile_s"] > 0.1
