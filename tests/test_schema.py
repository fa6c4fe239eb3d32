"""The table of fields, and what a harness hears about a record it is about to write."""

import ast
import math
import sys
from pathlib import Path

import pytest

import bayescale.errors
import bayescale.schema
from bayescale.errors import (
    BayescaleError,
    ConvergenceError,
    DataError,
    ExtrapolationWarning,
    SpecError,
)
from bayescale.schema import FIELDS, STATUSES, check_record, lookalike_of, status_of

GOOD = {"run": "a", "N": 1e6, "T": 2e7, "loss": 3.1, "status": "done"}


@pytest.mark.parametrize("module", [bayescale.schema, bayescale.errors])
def test_schema_and_errors_import_the_standard_library_only(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= sys.stdlib_module_names


def test_every_number_says_its_unit_or_has_none_and_every_field_its_meaning():
    assert all(field.meaning for field in FIELDS.values())
    assert FIELDS["T"].unit == "tokens" and FIELDS["T"].dims == ("run", "checkpoint")
    assert FIELDS["N"].unit == "parameters" and FIELDS["N"].dims == ("run",)
    assert FIELDS["flops"].unit == "FLOP" and FIELDS["run"].dtype == "str"


def test_every_field_finds_itself_whatever_the_case_of_its_letters():
    assert {lookalike_of(name.upper()) for name in FIELDS} == set(FIELDS)


def test_statuses_of_other_tools_are_understood():
    assert {status_of(status) for status in STATUSES} == set(STATUSES)
    assert status_of(" Finished ") == "done"
    assert status_of("NaN") == "diverged"
    assert status_of("preempted") == "censored"
    assert status_of("fine, I think") is None


def test_a_good_record_has_no_problems():
    assert check_record(GOOD) == []


def test_a_diverged_record_may_have_a_nan_loss_or_none():
    assert check_record({**GOOD, "loss": math.nan, "status": "diverged"}) == []
    assert check_record({"run": "a", "N": 1e6, "status": "diverged"}) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"loss": None}, "`loss` (loss on the evaluation set) is missing."),
        ({"loss": math.nan}, "`loss` (loss on the evaluation set, nats) is nan; a finite number"),
        ({"N": "1e6"}, "`N` (model size, parameters) is '1e6'; a number was expected."),
        ({"N": True}, "`N` (model size, parameters) is True; a number was expected."),
        ({"T": -1}, "`T` (training tokens seen, tokens) is -1; a number above zero was expected."),
        ({"gpu_hours": -1}, "`gpu_hours` (accelerator time, GPU-hours) is -1; zero or more was"),
        (
            {"family": 3},
            "`family` (group for pooling: architecture, data set, schedule) is 3; text",
        ),
        ({"fitted": "yes"}, "`fitted` (whether the reading takes part in a fit) is 'yes'; true or"),
        ({"run": ""}, "`run` (id of the run;"),
        ({"status": "meh"}, "`status` is 'meh'; one of done, diverged, censored was expected."),
    ],
)
def test_a_bad_record_hears_what_is_wrong(change, sentence):
    problems = check_record({**GOOD, **change})
    assert len(problems) == 1
    assert problems[0].startswith(sentence)


def test_problems_of_a_record_are_all_listed():
    assert len(check_record({"loss": 0, "status": "meh"})) == 5  # status, run, N, T, loss


def test_errors_are_caught_by_those_who_know_only_builtins():
    assert issubclass(DataError, BayescaleError) and issubclass(DataError, ValueError)
    assert issubclass(SpecError, ValueError) and issubclass(ConvergenceError, RuntimeError)
    assert issubclass(ExtrapolationWarning, UserWarning)
    error = DataError("text", evidence=[{"column": "T"}])
    assert str(error) == "text" and error.evidence == [{"column": "T"}]
