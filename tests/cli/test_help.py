"""Help is quick, loads nothing heavy, reads as it did, and its examples are understood."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bayescale.cli import VERBS
from bayescale.cli.parser import QUICK_START, parse

GOLDEN = Path(__file__).parent / "golden"
HEAVY = ("numpy", "xarray", "pandas", "pymc", "jax", "numpyro", "arviz", "torch", "matplotlib")


def test_front_page_reads_as_it_did(say):
    said = say("--help")
    assert (said.code, said.err) == (0, "")
    assert said.out == (GOLDEN / "help.txt").read_text()


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_of_a_verb_reads_as_it_did(say, verb):
    said = say(verb.name, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out == (GOLDEN / f"help-{verb.name}.txt").read_text()
    assert say("help", verb.name) == said


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_help_fits_eighty_columns(path):
    assert max(map(len, path.read_text().splitlines())) <= 80


def test_without_a_verb_the_front_page_goes_to_stderr(say):
    said = say()
    assert (said.code, said.out) == (2, "")
    assert said.err == (GOLDEN / "help.txt").read_text()


def _examples():
    text = "\n".join([QUICK_START, *(verb.example for verb in VERBS)]).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return sorted({line for line in lines if line.startswith("bayescale ")})


@pytest.mark.parametrize("example", _examples())
def test_every_example_is_understood(example):
    words = shlex.split(example)[1:]
    verb, _ = parse(VERBS, words)
    assert verb.name == words[0]


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["plan", "--help"]])
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\nfrom bayescale.cli import main\n"
        f"main({words!r})\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "usage: bayescale" in done.stdout


def test_help_takes_less_than_half_a_second_of_cpu():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "bayescale", "--help"]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 0.5


def test_version_is_that_of_the_package(say):
    import bayescale

    assert say("--version").out == f"bayescale {bayescale.__version__}\n"
