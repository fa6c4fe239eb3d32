"""A run that was interrupted is the run that was not."""

import dataclasses
import multiprocessing
import os
import random
import signal
import time

import pytest
import torch

from tests.training.engine.conftest import curve, science
from training.config import Execution
from training.engine import Busy, Preempted, train
from training.engine.session import Session
from training.errors import CheckpointError
from training.record.folder import RunFolder


def stop_at(monkeypatch, steps):
    monkeypatch.setattr(
        Session,
        "asked",
        lambda self, stopper: (self.done in steps and self.done > self._begun_at,) * 2,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "wsd", "ema_widths": [0.05, 0.1]},
        {"data__name": "digits", "data__resolution": 8, "unique_samples": 37, "tokens": 16_384},
    ],
)
def test_a_run_in_four_sessions_equals_one_session_bit_for_bit(
    tmp_path, tiny, here, monkeypatch, changes
):
    spec = tiny(**changes)
    whole = train([spec], tmp_path / "whole", here)[0]
    stop_at(monkeypatch, (7, 31, 50))
    for _ in range(3):
        with pytest.raises(Preempted):
            train([spec], tmp_path / "parts", here)
    parts = train([spec], tmp_path / "parts", here)[0]
    assert science(parts) == science(whole)
    assert curve(RunFolder.of(tmp_path / "parts", spec)) == curve(
        RunFolder.of(tmp_path / "whole", spec)
    )
    assert parts["cost"]["sessions"] == 4
    assert not RunFolder.of(tmp_path / "parts", spec).checkpoint.exists()


def test_a_pack_resumes_bit_for_bit(tmp_path, tiny, here, monkeypatch):
    specs = [tiny(seed=seed) for seed in range(3)]
    whole = train(specs, tmp_path / "whole", here)
    stop_at(monkeypatch, (13,))
    with pytest.raises(Preempted):
        train(specs, tmp_path / "parts", here)
    parts = train(specs, tmp_path / "parts", here)
    assert [science(each) for each in parts] == [science(each) for each in whole]


def test_a_pack_resumes_after_one_member_has_diverged(tmp_path, tiny, here, monkeypatch):
    specs = [tiny(learning_rate=rate) for rate in (4e-3, 10.0)]
    whole = train(specs, tmp_path / "whole", here)
    assert [each["status"] for each in whole] == ["completed", "diverged"]
    stop_at(monkeypatch, (45,))
    with pytest.raises(Preempted):
        train(specs, tmp_path / "parts", here)
    parts = train(specs, tmp_path / "parts", here)
    assert [science(each) for each in parts] == [science(each) for each in whole]


def test_a_run_goes_on_in_smaller_pieces_where_they_are_asked_for(
    tmp_path, tiny, here, monkeypatch
):
    spec = tiny(tokens=16_384)
    stop_at(monkeypatch, (5,))
    with pytest.raises(Preempted):
        train([spec], tmp_path, here)
    record = train([spec], tmp_path, dataclasses.replace(here, micro_batch=4))[0]
    assert record["cost"]["micro_batch_history"] == [[0, 16], [5, 4]]


def test_a_checkpoint_of_other_tensors_gets_one_clear_error(tmp_path, tiny, here, monkeypatch):
    spec = tiny(tokens=16_384)
    stop_at(monkeypatch, (5,))
    with pytest.raises(Preempted):
        train([spec], tmp_path, here)
    path = RunFolder.of(tmp_path, spec).checkpoint
    content = torch.load(path, weights_only=True)
    tensors = content["tensors"]
    tensors["values/head.weight"] = tensors.pop("values")  # as sharded weights are kept
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="--parallel"):
        train([spec], tmp_path, here)


def test_a_run_that_ended_while_it_was_claimed_is_not_made_again(tmp_path, tiny, here, monkeypatch):
    spec = tiny(tokens=16_384)
    (record,) = train([spec], tmp_path, here)
    found = iter([None])  # the first look was a moment too early
    monkeypatch.setattr(RunFolder, "record", lambda self: next(found, record))
    with pytest.raises(Busy):
        train([spec], tmp_path, here)


def test_a_signal_saves_the_state_and_says_so(tmp_path, tiny, here):
    spec = tiny(tokens=10_000_000)
    seen = []

    def listen(moment):
        seen.append(moment)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(Preempted, match="SIGUSR1"):
        train([spec], tmp_path, here, progress=listen)
    folder = RunFolder.of(tmp_path, spec)
    assert folder.checkpoint.exists() and folder.state() == "interrupted"
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_finished_run_is_handed_back_untouched(tmp_path, tiny, here):
    first = train([tiny()], tmp_path, here)
    assert train([tiny()], tmp_path, here) == first


def test_a_run_held_by_another_process_is_refused(tmp_path, tiny, here):
    with RunFolder.of(tmp_path, tiny()).claimed() as mine:
        assert mine
        with pytest.raises(Busy, match="another process"):
            train([tiny()], tmp_path, here)


def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path, tiny, here, monkeypatch):
    stop_at(monkeypatch, (7,))
    with pytest.raises(Preempted):
        train([tiny()], tmp_path, here)
    checkpoint = RunFolder.of(tmp_path, tiny()).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt.*damaged.*Delete it"):
        train([tiny()], tmp_path, here)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, tiny, here, monkeypatch):
    stop_at(monkeypatch, (7,))
    for seed in (0, 1):
        with pytest.raises(Preempted):
            train([tiny(seed=seed)], tmp_path, here)
    ours, theirs = (RunFolder.of(tmp_path, tiny(seed=seed)).checkpoint for seed in (0, 1))
    theirs.replace(ours)
    with pytest.raises(CheckpointError, match="belongs to"):
        train([tiny()], tmp_path, here)


def test_a_checkpoint_holds_nothing_that_runs_code(tmp_path, tiny, here, monkeypatch):
    stop_at(monkeypatch, (7,))
    with pytest.raises(Preempted):
        train([tiny()], tmp_path, here)
    content = torch.load(RunFolder.of(tmp_path, tiny()).checkpoint, weights_only=True)
    assert set(content) == {"meta", "tensors"} and isinstance(content["meta"], str)


def _child(spec, root):
    torch.set_num_threads(1)
    train([spec], root, Execution(device="cpu", log_every=10, checkpoint_every_s=0.0))


def test_twenty_kills_at_random_moments_change_no_number(tmp_path, tiny, here):
    spec = tiny(tokens=262_144)
    whole = train([spec], tmp_path / "whole", here)[0]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.engine", "tests.training.engine.test_resume"])
    moments, kills = random.Random(5), 0
    folder = RunFolder.of(tmp_path / "killed", spec)
    while kills < 20 and not (folder.path / "record.json").exists():
        child = context.Process(target=_child, args=(spec, tmp_path / "killed"))
        child.start()
        _until_training(folder, child)
        time.sleep(moments.uniform(0.0, 0.15))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
    assert kills >= 10
    killed = train([spec], tmp_path / "killed", here)[0]
    assert science(killed) == science(whole)
    assert killed["cost"]["sessions"] > 5
    steps = [line["step"] for line in folder.lines("curve")]
    assert steps == sorted(set(steps))


def _until_training(folder, child):
    """The moments that matter come after set-up: wait for the first sign of life."""
    sessions = len(folder.lines("events"))
    while child.is_alive() and len(folder.lines("events")) == sessions:
        time.sleep(0.005)
