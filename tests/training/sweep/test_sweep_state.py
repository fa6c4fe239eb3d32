"""The book of sweeps, the state of runs, the lines a person sees, and what a run will take."""

import io
import json

import pytest

from training.config import Data, Spec
from training.errors import SpecError
from training.record.folder import RunFolder
from training.sweep import book
from training.sweep.board import Board, run_line
from training.sweep.cost import Throughput, cost_of, interpolated, throughput_of
from training.sweep.jobs import Job
from training.sweep.plan import sweep_of
from training.sweep.state import runs_of

MOMENT = {"phase": "train", "step": 43, "steps": 100, "tokens": 1000, "loss": 0.41234,
          "tokens_per_s": 37_000.0, "mfu": 0.21, "eta_s": 35.0}  # fmt: skip


def test_two_sweeps_share_a_folder_and_a_run_wanted_in_the_fit_is_not_held_out(tmp_path):
    one = sweep_of({"name": "one", "runs": [{"name": "a", "seed": [0, 1], "held_out": True}]})
    two = sweep_of({"name": "two", "runs": [{"name": "b", "seed": 1, "tags": ["late"]}]})
    book.enter(tmp_path, one)
    book.enter(tmp_path, two)
    book.enter(tmp_path, two)
    assert list(book.read_book(tmp_path)) == ["one", "two"]
    known = book.about(tmp_path)
    first, both = (known[point.spec.run_id] for point in one.points)
    assert (first["held_out"], first["sweeps"], first["blocks"]) == (True, ["one"], ["a"])
    assert (both["held_out"], both["sweeps"], both["blocks"]) == (False, ["one", "two"], ["a", "b"])
    assert both["tags"] == ["late"]


def test_every_state_of_a_run_is_seen(tmp_path):
    plan = sweep_of({"name": "s", "runs": [{"seed": [0, 1, 2, 3, 4, 5]}]})
    book.enter(tmp_path, plan)
    folders = [RunFolder.of(tmp_path, point.spec) for point in plan.points]
    for point, folder in list(zip(plan.points, folders, strict=True))[:5]:
        folder.create(point.spec)
        folder.append("events", {"event": "started"})
    (folders[0].path / "progress.json").write_text(json.dumps(MOMENT))
    folders[1].append("evals", {"weights": "ema", "tracks": {"ema": {"loss": 0.25}}})
    folders[1].write_record({"status": "completed", "reason": ""})
    folders[2].write_record({"status": "diverged", "reason": "loss above zero predictor"})
    folders[3].write_record({"status": "failed", "reason": "boom"})
    (folders[4].path / "record.json").write_text("{torn")
    with folders[0].claimed():
        rows = {row["run_id"]: row for row in runs_of(tmp_path)}
    states = [rows[folder.run_id]["state"] for folder in folders]
    assert states == ["running", "completed", "diverged", "failed", "corrupt", "planned"]
    running, done = rows[folders[0].run_id], rows[folders[1].run_id]
    assert (running["share"], running["eta_s"]) == (0.43, 35.0)
    assert (done["share"], done["loss"]) == (1.0, 0.25)
    assert rows[folders[3].run_id]["reason"] == "boom"
    assert next(iter(rows)) == folders[0].run_id, "what runs comes first"


def test_runs_that_belong_to_no_sweep_are_listed_too(tmp_path):
    folder = RunFolder.of(tmp_path, Spec())
    folder.create(Spec())
    (tmp_path / "pool").mkdir()
    assert [row["run_id"] for row in runs_of(tmp_path)] == [folder.run_id]


def test_a_line_says_how_far_how_well_how_fast_and_how_long():
    assert run_line("lnt 20k", MOMENT, width=8) == (
        "lnt 20k  [####......]  43%  loss 0.4123  37k tok/s  MFU 21%  ETA 0:35"
    )
    assert run_line("lnt 20k", None, width=8) == "lnt 20k  starting"
    assert run_line("a", {**MOMENT, "phase": "eval"}, pack=8, width=5).endswith("(eval)")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(out, **more):
    now = [0.0]
    board = Board(out, name="demo", clock=lambda: now[0])
    job = Job(0, (Spec(),), "lnt 20k")
    board.begin(job)
    board.moment(job, MOMENT)
    for now[0] in (3.0, 4.0, 5.0, 14.0):
        board.show(done=1, failed=0, total=3, waiting=1, eta_s=70.0)
    board.say("a line that stays")
    board.close()
    return out.getvalue()


def test_a_terminal_is_redrawn_and_anything_else_gets_plain_lines_every_ten_seconds():
    plain = shown(io.StringIO())
    assert "\x1b" not in plain
    assert plain.count("1/3 done, 1 running, 1 waiting") == 2
    assert "0:14 gone, about 1:10 left" in plain
    drawn = shown(Terminal())
    assert drawn.count("1/3 done") == 4
    assert drawn.count("\r\x1b[2A\x1b[J") == 4, "the moving lines are wiped before each new drawing"
    assert drawn.endswith("a line that stays\n")


def test_costs_follow_from_flops_and_throughput():
    spec = Spec(data=Data(resolution=16), tokens=1_048_576)
    cost = cost_of(spec, Throughput(((1e3, 1e12),), "given"), price_per_hour=3.0)
    assert cost.T == 1_048_576
    assert cost.batch_tokens == 1024
    assert cost.flops == pytest.approx(6 * cost.N * cost.T, rel=0.3)  # attention, head and the rest
    assert cost.hours == pytest.approx((cost.flops + cost.eval_flops) / 1e12 / 3600 + 0.5 / 3600)
    assert cost.money == pytest.approx(3 * cost.hours)


def test_throughput_is_read_from_a_bench_where_there_is_one(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"rows": [{"N": 1e6, "tflops": 2}, {"N": 1e6, "tflops": 3},
                                         {"N": 1e8, "model_flops_per_s": 3e14}]}))  # fmt: skip
    found = throughput_of("cpu", bench=path)
    assert (found.at(1e6), found.at(1e9)) == (3e12, 3e14)
    assert found.source == "measured, `bench.json`"
    assert interpolated(((1.0, 1.0), (100.0, 100.0)), 10.0) == pytest.approx(10.0)


def test_a_device_that_is_not_here_is_estimated_by_its_name():
    assert "H100" in throughput_of("NVIDIA H100 80GB HBM3").source
    assert throughput_of("x", peak_flops=1e15).at(1e9) == pytest.approx(0.34e15)
    with pytest.raises(SpecError, match="give --peak-flops"):
        throughput_of("abacus")


def test_the_speed_of_packs_is_not_promised_to_runs_that_are_not_packed(tmp_path):
    path = tmp_path / "bench.json"
    rows = [{"N": 1e4, "mode": "eager", "model_flops_per_s": 1e9},
            {"N": 1e4, "mode": "ensemble", "model_flops_per_s": 4e9}]  # fmt: skip
    path.write_text(json.dumps(rows))
    assert throughput_of("cpu", bench=path).at(1e4) == 4e9
    assert throughput_of("cpu", bench=path, without=["ensemble"]).at(1e4) == 1e9
