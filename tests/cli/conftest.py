"""One small table and one fit of it for all tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bayescale.cli import main
from bayescale.laws import get

TRUTH = {"E": 1.8, "A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}


@dataclass(frozen=True)
class Said:
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def say(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Run a command in an empty folder: ``say("fit", table, "-o", "fit.nc")``."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        found = capsys.readouterr()
        return Said(code, found.out, found.err)

    return run


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small table as people keep it: sizes as text, names of their own."""
    rng = np.random.default_rng(0)
    lines = ["params,tokens_b,val_loss,arch"]
    sizes = {"30M": 3e7, "70M": 7e7, "160M": 1.6e8, "410M": 4.1e8, "1B": 1e9, "2B": 2e9}
    for name, size in sizes.items():
        for tokens in (0.7, 1.5, 4.0, 11.0, 30.0, 60.0):
            mean = float(get("additive")(N=size, T=tokens * 1e9, **TRUTH))
            arch = "dit" if len(lines) % 2 else "mmdit"
            lines.append(
                f"{name},{tokens},{mean * np.exp(0.003 * rng.standard_normal()):.4f},{arch}"
            )
    path = tmp_path_factory.mktemp("table") / "mine.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


COLUMNS = ("--columns", "N=params,T=tokens_b,loss=val_loss", "--units", "T=B")


@pytest.fixture(scope="session")
def fit(table: Path) -> Path:
    """A fast fit of the table."""
    path = table.parent / "fit.nc"
    words = ["fit", str(table), *COLUMNS, "--method", "fast", "--draws", "200", "-o", str(path)]
    assert main([*words, "--quiet"]) == 0
    return path


@pytest.fixture(scope="session")
def failed_fit(table: Path) -> Path:
    """A fit with too few draws to be used."""
    path = table.parent / "failed.nc"
    few = ["--method", "fast", "--draws", "40", "--chains", "1"]
    assert main(["fit", str(table), *COLUMNS, *few, "-o", str(path), "--quiet"]) == 1
    return path
