"""The README's own commands and lines, run as they stand."""

import re
import shlex
from pathlib import Path

import pytest

import bayescale as bs
from bayescale.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A folder with the CSV that the README speaks of."""
    frame = bs.datasets.frame("chinchilla")
    frame = frame.rename(columns={"loss": "val_loss"})[["params", "tokens", "val_loss"]]
    frame.to_csv(tmp_path / "sweep.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ten_lines_lead_from_a_csv_to_a_report(sweep):
    code = blocks("python")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    assert (sweep / "plan.png").stat().st_size > 10_000
    assert "<html" in (sweep / "report.html").read_text(encoding="utf-8")[:500].lower()


def test_the_commands_lead_there_too(sweep, capsys):
    commands = [
        line for block in blocks("bash") for line in block.splitlines() if line.startswith("bayes")
    ]
    assert len(commands) >= 4
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        fast = ["--method", "fast"] if words[0] == "fit" else []
        assert main([*words, *fast]) == 0, command
    assert "tokens per parameter" in capsys.readouterr().out.replace("\n", " ")


def test_the_commands_for_batch_and_rate_lead_to_a_setting(tmp_path, monkeypatch, capsys):
    runs = bs.datasets.simulate_sweep(
        "additive", {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.36, "beta": 0.36},
        N=[[6e7], [2e8], [6e8]], T=[3e9, 1e10, 3e10], multiples=(0.25, 0.5, 1.0, 2.0, 4.0),
        random_seed=2,
    )  # fmt: skip
    frame = runs[["N", "T", "loss", "batch_size", "learning_rate"]].to_dataframe()
    frame = frame.rename(columns={"N": "params", "T": "tokens", "loss": "val_loss"})
    frame.to_csv(tmp_path / "sweep.csv", index=False)
    monkeypatch.chdir(tmp_path)
    fit, tune = blocks("sh")[0].splitlines()
    assert main([*shlex.split(fit)[1:], "--method", "fast"]) == 0
    assert main(shlex.split(tune)[1:]) == 0
    said = capsys.readouterr()
    assert "90 %" in said.out + said.err and "batch_size" in said.out
    assert (tmp_path / "valley.png").stat().st_size > 10_000


def test_the_command_for_a_backtest_counts_and_draws(sweep, capsys):
    (command,) = blocks("sh")[1].splitlines()
    assert main(shlex.split(command)[1:]) == 0
    said = capsys.readouterr()
    assert "90 % intervals held" in " ".join(said.err.split())
    assert "Huber, bootstrap" in said.out
    assert (sweep / "backtest.png").stat().st_size > 20_000
