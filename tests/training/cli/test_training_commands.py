"""The commands as a person types them, with the real engine and runs of a second."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.cli import VERBS, main

ROOT = Path(__file__).parents[3]

SWEEP = """
name = "tiny"
[base]
data.resolution = 8
evaluation = {samples = 64, low_t_samples = 0, first_tokens = 4096}
warmup_tokens = 1024
tokens = "8k"
[[runs]]
name = "grid"
size = "5k"
learning_rate = [4e-3, 8e-3]
[[runs]]
kind = "seeds"
size = "5k"
learning_rate = 4e-3
count = 2
held_out = true
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(SWEEP)
    return str(path)


@pytest.fixture
def command():
    """Starts a command in a process of its own, which does not outlive the test."""
    started = []

    def start(*words):
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "training", *words], env=env, text=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def folders(root):
    return sorted(path.parent.name for path in Path(root).glob("*/record.json"))


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from training.cli import main; main([*sys.argv[1:], '--help']); "
        "heavy = {'torch', 'numpy', 'ray', 'xarray'} & set(sys.modules); sys.exit(len(heavy))"
    )
    for verb in ([], ["run"], ["sweep"], ["status"], ["collect"], ["data"], ["doctor"]):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *verb], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, verb
        assert time.perf_counter() - start < 1.0, verb  # 0.1 s on an idle machine
        assert b"usage: python -m training" in done.stdout


def test_every_verb_is_told_of(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)
    assert main([]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["swep"], "Unknown verb `swep`; did you mean `sweep`?"),
        (["sweep", "none.toml"], "`none.toml` does not exist."),
        (["sweep", "tiny.toml", "--dri-run"], "did you mean `--dry-run`?"),
        (["sweep", "tiny.toml", "--set", "lerning_rate=1"], "did you mean `learning_rate`?"),
        (["sweep", "tiny.toml", "--workers", "0"], "--workers is 0; at least 1"),
        (["sweep", "tiny.toml", "--budget", "soon"], "write `90s`, `5m`"),
        (["sweep", "tiny.toml", "--dry-run", "--on", "abacus"], "give --peak-flops"),
        (["sweep", "tiny.toml", "--dry-run", "--price", "nan"], "--price is nan; a number above 0"),
        (["sweep", "tiny.toml", "--dry-run", "--peak-flops", "-1"], "--peak-flops is -1; a number"),
        (["sweep", "."], "Cannot read `.`: Is a directory."),
        (["run"], "Say what to train"),
        (["run", "--set", "width=30", "--set", "heads=4"], "error: --set: `model.width` 30 is not"),
        (["run", "--set", "clip=inf"], "error: --set: `optimiser.clip` is inf; a finite number"),
        (["run", "--set", "seed=0", "--micro-batch", "0"], "--micro-batch is 0; at least 1"),
        (["run", "--set", "seed=0", "--threads", "-1"], "--threads is -1; at least 1"),
        (["run", "tiny.toml"], "is a sweep; start it with"),
        (["run", "--set", "size"], "write `--set field=value`"),
        (["status", "nowhere"], "is no folder"),
        (["collect", "nowhere", "--out", "x.nc"], "is no folder"),
        (["data", "leavs"], "did you mean `leaves`?"),
    ],
)
def test_bad_input_gets_one_clear_error_and_code_2(plan, capsys, words, said):
    assert main(words) == 2
    streams = capsys.readouterr()
    assert said in streams.err
    assert streams.err.startswith("error: ")
    assert streams.out == ""
    assert list(Path().iterdir()) == [Path("tiny.toml")], "nothing is written"


def test_a_dry_run_shows_what_each_run_takes_and_writes_nothing(plan, capsys):
    assert main(["sweep", plan, "--dry-run", "--price", "2.5", "--on", "H100"]) == 0
    streams = capsys.readouterr()
    lines = streams.out.splitlines()
    assert lines[0].split() == ["run", "N", "T", "B", "lr", "FLOP", "time", "money"]
    assert len(lines) == 1 + 3 + 1 and lines[-1].startswith("total")
    assert "grid 5k T8k B16 lr0.004" in lines[1]
    assert "3 runs" in streams.err and "Nothing was written." in streams.err
    assert list(Path().iterdir()) == [Path("tiny.toml")]
    assert main(["sweep", plan, "--dry-run", "--format", "json", "--on", "H100"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["T"] for row in rows] == [7936, 7936, 7936]
    assert all(row["flops"] > 1e8 for row in rows)


def test_a_sweep_from_file_to_status(plan, capsys):
    assert main(["sweep", plan, "--out", "runs/tiny", "--workers", "2", "--format", "json"]) == 0
    streams = capsys.readouterr()
    rows = [json.loads(line) for line in streams.out.splitlines()]
    assert [row["state"] for row in rows] == ["completed"] * 3
    assert all(0 < row["loss"] < 2 for row in rows)
    assert sum(row["held_out"] for row in rows) == 1
    before = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/*/record.json")}
    # again: nothing to do
    assert main(["sweep", plan, "--out", "runs/tiny"]) == 0
    streams = capsys.readouterr()
    assert "3 of 3 runs have ended already and are skipped." in streams.err
    assert {p: p.stat().st_mtime_ns for p in Path("runs").glob("*/*/record.json")} == before
    # an optimum at the end of a grid is said
    assert "is the highest of 2" in streams.err or "is the lowest of 2" in streams.err
    assert main(["status", "runs/tiny"]) == 0
    streams = capsys.readouterr()
    assert "completed (held out)" in streams.out
    assert "3 runs: 3 completed" in streams.err


def test_a_packed_sweep_gives_the_same_runs(plan):
    assert main(["sweep", plan, "--out", "packed", "--pack", "--quiet"]) == 0
    records = [json.loads(path.read_text()) for path in Path("packed").glob("*/record.json")]
    assert {record["cost"]["pack_size"] for record in records} == {3}
    assert len(records) == 3


def test_printed_commands_make_the_runs_of_the_sweep(plan, capsys):
    ways = ["--micro-batch", "8", "--exact"]
    assert main(["sweep", plan, "--executor", "commands", "--out", "printed", *ways]) == 0
    streams = capsys.readouterr()
    lines = streams.out.splitlines()
    assert len(lines) == 3
    assert all("--micro-batch 8 --exact" in line for line in lines)
    assert folders("printed") == []
    book = json.loads(Path("printed/sweep.json").read_text())  # what is held out, for `collect`
    assert len(book["sweeps"]["tiny"]["runs"]) == 3
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(lines[0], shell=True, check=True, env=env, capture_output=True)
    from training.sweep.plan import read_sweep

    assert folders("printed") == [read_sweep(plan).points[0].spec.run_id]


def test_run_trains_one_run_and_prints_its_record(plan, capsys):
    words = ["run", "--out", "one", *(
        word for field in ("size=5k", "tokens=8k", "data.resolution=8", "evaluation.samples=64")
        for word in ("--set", field)
    )]  # fmt: skip
    assert main([*words, "--dry-run"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    streams = capsys.readouterr()
    record = json.loads(streams.out)
    assert record["status"] == "completed" and record["T"] == 7936
    assert folders("one") == [record["run"]]
    assert "completed: " in streams.err
    assert main(words) == 0, "asked again, it hands back what is there"
    assert json.loads(capsys.readouterr().out) == record


def test_a_run_that_diverges_is_an_observation_and_gives_its_reason(plan, capsys):
    fields = ("size=5k", "tokens=50k", "data.resolution=8", "learning_rate=1e5", "clip=1e9",
              "warmup_tokens=0", "evaluation.samples=64")  # fmt: skip
    words = ["run", "--out", "one", *(word for field in fields for word in ("--set", field))]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["status"] == "diverged" and record["reason"]


@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_a_command_that_is_asked_to_stop_ends_with_75_and_goes_on_later(plan, command, verb):
    fields = ("tokens=200k", "batch_samples=1", "seed=5", "data.resolution=8", "size=5k")
    words = ["run"] if verb == "run" else ["sweep", plan, "--workers", "1"]
    words += ["--out", "stopped", *(word for field in fields for word in ("--set", field))]
    before = -1
    for number in (signal.SIGTERM, signal.SIGINT):
        process = command(*words)
        wait_for(lambda at=before: step_of("stopped") > at, process)
        process.send_signal(number)
        _, talk = process.communicate(timeout=60)
        assert process.returncode == 75, talk
        assert "goes on from there" in talk
        assert list(Path("stopped").glob("*/checkpoint.pt"))
        assert not folders("stopped")
        before = step_of("stopped")
    (path,) = Path("stopped").glob("*/events.jsonl")
    entries = [json.loads(line.split(" ", 1)[1]) for line in path.read_text().splitlines()]
    starts = [entry["step"] for entry in entries if entry["event"] == "started"]
    assert starts[0] == 0 and starts[1] > 0


def step_of(root):
    """Step of the only run of a folder; -1 before it trains."""
    moments = [json.loads(path.read_text()) for path in Path(root).glob("*/progress.json")]
    return max((m["step"] for m in moments if m["phase"] == "train"), default=-1)


def wait_for(condition, process):
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_doctor_finds_python_torch_and_room(plan, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for subject in ("python", "torch", "device", "bf16", "compile", "disk", "images", "ray"):
        assert subject in out
    assert main(["doctor", "--ray", "127.0.0.1:1", "--format", "json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (cluster,) = [row for row in rows if row["subject"] == "cluster"]
    assert cluster["level"] == "FAIL"
    assert "ray start --head" in cluster["way_out"]


def test_data_lists_streams_and_draws_samples_with_their_captions(plan, capsys):
    pytest.importorskip("PIL", reason='needs pillow: pip install "bayescale[images]"')
    assert main(["data"]) == 0
    assert "leaves" in capsys.readouterr().out
    words = ["data", "leaves", "--count", "3", "--set", "resolution=8", "--pictures", "p.png"]
    assert main(words) == 0
    streams = capsys.readouterr()
    assert [line.split("\t")[0] for line in streams.out.splitlines()] == ["0", "1", "2"]
    assert "8x8x3, without end" in streams.err
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_library_is_named_with_the_way_to_what_else_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "training.sweep.plan", None)
    assert main(["sweep", "tiny.toml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "`python -m training doctor` says what to install" in said
