"""Processes of this machine: nothing is made twice, nothing is lost."""

import os
import signal
import subprocess
import sys
import time

from fake_sweeps import HERE, log, made, run, sweep, wish

from training.record.folder import RunFolder
from training.sweep.state import runs_of


def ids(plan):
    return sorted(point.spec.run_id for point in plan.points)


def test_every_run_is_made_once_and_a_second_sweep_makes_none(tmp_path):
    plan = sweep({"seed": [0, 1, 2, 3]})
    tally, _ = run(plan, tmp_path)
    assert (tally.done, tally.failed, tally.exit_code) == (4, 0, 0)
    assert made(tmp_path) == ids(plan)
    assert len({line["pid"] for line in log(tmp_path)}) <= 2, "workers live through many runs"
    tally, talk = run(plan, tmp_path)
    assert "4 of 4 runs have ended already and are skipped." in talk
    assert made(tmp_path) == ids(plan)


def test_a_worker_killed_in_the_middle_loses_nothing(tmp_path):
    plan = sweep({"seed": [0, 1], **wish(die="once")}, {"seed": [2, 3]})
    tally, talk = run(plan, tmp_path)
    assert tally.done == 4
    assert made(tmp_path) == ids(plan)
    assert "The worker was killed by SIGKILL" in talk
    resumed = [line["done"] for line in log(tmp_path) if line["event"] == "begin"]
    assert sorted(resumed) == [0, 0, 0, 0, 10, 10], "killed runs go on from their checkpoints"


def test_a_run_that_always_fails_gets_a_record_after_two_retries_and_others_go_on(tmp_path):
    plan = sweep({"seed": 0, **wish(fail="always")}, {"seed": [1, 2, 3]})
    tally, _ = run(plan, tmp_path)
    assert (tally.done, tally.failed, tally.exit_code) == (3, 1, 1)
    bad = plan.points[0].spec
    record = RunFolder.of(tmp_path, bad).record()
    assert record["status"] == "failed"
    assert record["reason"] == "RuntimeError: the fake was told to fail"
    assert "fake_engine.py" in record["traceback"]
    assert record["tries"] == 3
    assert sum(bad.run_id in line["runs"] for line in log(tmp_path)) == 3
    # it stays failed until somebody asks again
    assert run(plan, tmp_path)[0].exit_code == 1
    assert sum(bad.run_id in line["runs"] for line in log(tmp_path)) == 3
    run(plan, tmp_path, retry_failed=True)
    assert sum(bad.run_id in line["runs"] for line in log(tmp_path)) == 6


def test_a_run_that_kills_its_worker_every_time_does_not_go_on_for_ever(tmp_path):
    plan = sweep({"seed": 0, **wish(die="always")}, {"seed": [1]})
    tally, _ = run(plan, tmp_path)
    assert (tally.done, tally.failed) == (1, 1)


def test_a_corrupt_record_is_said_once_and_the_others_go_on(tmp_path):
    plan = sweep({"seed": [0, 1, 2]})
    folder = RunFolder.of(tmp_path, plan.points[0].spec)
    folder.create(plan.points[0].spec)
    folder.write_record({"status": "completed"})
    path = folder.path / "record.json"
    path.write_text(path.read_text().replace("completed", "diverged"))
    tally, talk = run(plan, tmp_path)
    assert (tally.done, tally.failed, tally.exit_code) == (2, 1, 1)
    assert talk.count("does not match its checksum") == 1
    assert "Delete it to have the run made again." in talk


def test_a_pack_that_fails_is_taken_apart(tmp_path):
    plan = sweep({"learning_rate": [1e-3, 2e-3, 4e-3], **wish(fail="in a pack")})
    tally, _ = run(plan, tmp_path, pack=8)
    begun = [len(line["runs"]) for line in log(tmp_path) if line["event"] == "begin"]
    assert begun[0] == 3
    assert tally.done == 3
    assert made(tmp_path) == ids(plan)


def test_without_keep_going_the_first_failure_stops_the_rest(tmp_path):
    plan = sweep({"seed": 0, **wish(fail="always", steps=2)},
                 {"seed": [1, 2, 3, 4, 5, 6], **wish(steps=100)})  # fmt: skip
    tally, talk = run(plan, tmp_path, keep_going=False, workers=1)
    assert tally.exit_code == 1
    assert tally.left > 0
    assert "Stopping: a run failed." in talk


def command(root, seeds=(0, 1, 2, 3), steps=60):
    """A sweep in a process of its own, as a person would start it."""
    code = (
        "import fake_sweeps, sys; plan = fake_sweeps.sweep({'seed': "
        f"{list(seeds)}, **fake_sweeps.wish(steps={steps})}}); "
        f"sys.exit(fake_sweeps.run(plan, {str(root)!r})[0].exit_code)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=HERE,
        env={**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[2]}"},
    )  # fmt: skip


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_two_sweeps_side_by_side_make_each_run_once(tmp_path):
    sweeps = [command(tmp_path), command(tmp_path)]
    assert [each.wait(60) for each in sweeps] == [0, 0]
    runs = made(tmp_path)
    assert len(runs) == len(set(runs)) == 4
    assert len({line["pid"] for line in log(tmp_path)}) > 2, "both had a share"


def test_a_sweep_that_is_asked_to_stop_saves_its_runs_and_goes_on_when_started_again(tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = command(tmp_path, steps=150)
        before = len(log(tmp_path))
        wait_for(lambda n=before: len(log(tmp_path)) >= n + 2)
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(30) == 75
    states = [row["state"] for row in runs_of(tmp_path)]
    assert states == ["interrupted", "interrupted", "planned", "planned"]
    assert command(tmp_path, steps=150).wait(60) == 0
    begun = [line["done"] for line in log(tmp_path) if line["event"] == "begin"]
    assert begun[2] > 0 and begun[4] > begun[2], "no step is done twice"
    runs = made(tmp_path)
    assert len(runs) == len(set(runs)) == 4


def test_workers_of_a_sweep_that_was_killed_outright_save_and_end(tmp_path):
    process = command(tmp_path, seeds=(0, 1), steps=1000)
    wait_for(lambda: len(log(tmp_path)) >= 2)
    process.kill()
    process.wait()
    wait_for(lambda: not any(row["state"] == "running" for row in runs_of(tmp_path)))
    assert {row["state"] for row in runs_of(tmp_path)} == {"interrupted"}
