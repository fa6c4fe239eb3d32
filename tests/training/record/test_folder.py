import errno
import json
import os
import subprocess
import sys

import pytest

from training.config import Spec
from training.errors import RecordError
from training.files import write_json
from training.record.folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.of(tmp_path, Spec())
    made.create(Spec())
    return made


def test_a_spec_comes_back_as_it_was_written(folder):
    assert folder.spec() == Spec() and folder.run_id == Spec().run_id


def test_lines_survive_a_torn_write_and_go_on_after_it(folder):
    for step in range(3):
        folder.append("curve", {"step": step})
    path = folder.path / "curve.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert [line["step"] for line in folder.lines("curve")] == [0, 1]
    folder.append("curve", {"step": 3})
    assert [line["step"] for line in folder.lines("curve")] == [0, 1, 3]


def test_a_line_changed_by_hand_is_left_out(folder):
    folder.append("evals", {"loss": 0.5})
    path = folder.path / "evals.jsonl"
    path.write_text(path.read_text().replace("0.5", "0.4"))
    assert folder.lines("evals") == []


def test_rewinding_keeps_the_first_lines_and_drops_torn_ones(folder):
    for step in range(5):
        folder.append("curve", {"step": step})
    with (folder.path / "curve.jsonl").open("a") as file:
        file.write("12345678 {half")
    folder.rewind("curve", 2)
    assert [line["step"] for line in folder.lines("curve")] == [0, 1]
    assert (folder.path / "curve.jsonl").read_bytes().count(b"\n") == 2


def test_a_record_with_a_changed_digit_is_refused(folder):
    folder.write_record({"status": "completed", "loss": 0.25})
    assert folder.record() == {"status": "completed", "loss": 0.25}
    path = folder.path / "record.json"
    path.write_text(path.read_text().replace("0.25", "0.26"))
    with pytest.raises(RecordError, match="does not match its checksum"):
        folder.record()
    assert folder.state() == "corrupt"
    path.write_text("{torn")
    with pytest.raises(RecordError, match=r"no JSON: .* Delete it to have the run made again"):
        folder.record()
    assert folder.state() == "corrupt"


def test_half_a_record_is_named(folder):
    (folder.path / "record.json").write_text('{"status": "comp')
    with pytest.raises(RecordError, match=r"record\.json` is no JSON"):
        folder.record()


def test_a_number_that_json_does_not_know_is_never_written(folder):
    with pytest.raises(ValueError, match="JSON"):
        folder.append("evals", {"loss": float("nan")})
    assert folder.lines("evals") == []


def test_a_full_disk_is_one_clear_error_and_leaves_the_old_file(folder, monkeypatch):
    path = folder.path / "env.json"
    write_json(path, {"a": 1})

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match=r"Cannot write .*No space left"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [each.name for each in folder.path.iterdir() if each.name.startswith(".")] == []


def test_a_folder_that_vanished_is_said_so(folder):
    for each in folder.path.iterdir():
        each.unlink()
    folder.path.rmdir()
    with pytest.raises(RecordError, match="vanished"):
        folder.append("events", {"event": "started"})


def test_a_run_is_held_by_one_process_and_free_when_that_dies(folder):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from training.record.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).claimed() as mine:\n"
        "    print(mine, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder.path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == "True"
        assert folder.held()
        with folder.claimed() as mine:
            assert not mine
        other.kill()
        other.wait()
    assert not folder.held()


def test_states_follow_the_files(folder):
    assert folder.state() == "planned"
    folder.append("events", {"event": "started"})
    assert folder.state() == "interrupted"
    with folder.claimed():
        assert folder.state() == "running"
    folder.write_record({"status": "diverged"})
    assert folder.state() == "diverged"


def test_what_a_killed_process_left_half_written_is_dropped_when_the_run_is_taken_up(tmp_path):
    folder = RunFolder.of(tmp_path, Spec())
    folder.create(Spec())
    torn = folder.path / ".checkpoint.pt.12345"
    torn.write_bytes(b"half")
    folder.checkpoint.write_bytes(b"whole")
    folder.create(Spec())
    assert not torn.exists() and folder.checkpoint.exists()
