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
