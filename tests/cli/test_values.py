"""Words of the command line as values, and values as words."""

from __future__ import annotations

import argparse
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescale.cli import values
from bayescale.cli.output import rendered, shown


@pytest.mark.parametrize(
    ("text", "value"),
    [("70B", 7e10), ("1.4T", 1.4e12), ("5.76e23", 5.76e23), ("12,000", 12e3), ("300m", 3e8)],
)
def test_numbers_as_people_write_them(text, value):
    assert values.number(text) == value


@pytest.mark.parametrize("text", ["", "0", "-3", "nan", "inf", "seven", "7 apples"])
def test_what_is_no_positive_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a positive number"):
        values.number(text)


def test_pairs_keep_commas_and_signs_inside_values():
    assert values.pairs("N=12,000,T=1.4T") == {"N": "12,000", "T": "1.4T"}
    assert values.pairs("N=n params,loss=val/loss") == {"N": "n params", "loss": "val/loss"}
    assert values.columns("N=params,T=") == {"N": "params", "T": None}
    assert values.units("T=B,batch_size=2048") == {"T": "B", "batch_size": 2048.0}
    assert values.point("N=7B,family=dit") == {"N": 7e9, "family": "dit"}


def test_utilisation_is_a_number_or_a_range():
    assert values.utilisation("0.4") == values.utilisation("40%") == 0.4
    assert values.utilisation("0.3-0.5") == (0.3, 0.5)


@given(st.floats(1e6, 9.9e14))
def test_what_is_shown_can_be_typed_again(value):
    assert math.isclose(values.number(shown(value)), value, rel_tol=5.1e-3)


@given(st.floats(1e15, 1e30))
def test_large_numbers_too(value):
    assert math.isclose(values.number(shown(value)), value, rel_tol=5.1e-3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.99502, "1.9950"),
        (17.5, "17.500"),
        (410977.8, "410,978"),
        (245, "245"),
        (999.7e9, "1000B"),
        (3e-5, "3e-5"),
        (0.0, "0.0000"),
        (float("nan"), ""),
        (None, ""),
        (True, "yes"),
        ("text", "text"),
    ],
)
def test_numbers_are_shown_short(value, text):
    assert shown(value) == text


def test_a_wide_column_of_text_is_wrapped(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    rows = [{"name": "a", "value": 1.5, "meaning": "a sentence that does not fit at all"}]
    assert rendered(rows) == (
        "name   value  meaning\na     1.5000  a sentence that does not\n              fit at all"
    )


def test_a_table_that_cannot_fit_becomes_blocks(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    assert rendered([{"first": 1.0, "second": 2.0, "third": 3.0}]) == (
        "first   1.0000\nsecond  2.0000\nthird   3.0000"
    )


def test_no_rows():
    assert rendered([]) == "(nothing)"
