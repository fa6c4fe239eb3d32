"""What people read when their table is wrong, as text: every problem, rows, values, a way out."""

from textwrap import dedent

import numpy as np
import pandas as pd
import pytest

from bayescale.errors import DataError, SpecError
from bayescale.runs import as_runs

COLUMNS = {"N": "params", "T": "tokens", "loss": "loss"}


def table(**columns):
    base = {
        "params": [7e7, 1e8, 3e8, 1e9],
        "tokens": [2e9, 3e9, 6e9, 2e10],
        "loss": [3.4, 3.2, 2.9, 2.6],
    }
    kept = {name: cells for name, cells in {**base, **columns}.items() if cells is not None}
    return pd.DataFrame(kept)


def message(frame, columns=COLUMNS, **arguments):
    with pytest.raises(DataError) as caught:
        as_runs(frame, columns, **arguments)
    return str(caught.value)


def text(lines):
    return dedent(lines).strip()


def test_columns_that_were_not_named_are_not_guessed_but_typed_out():
    assert message(table(), None) == text("""
        1 problem in this table (4 rows).

          No column was named for `N` (model size), `T` (training tokens seen).
          The columns are `params`, `tokens`, `loss`.
          `params` looks like N; `tokens` looks like T, but columns are not guessed.
          Write columns={"N": "params", "T": "tokens", "loss": "loss"}.
    """)


def test_a_forgotten_column_can_be_named_or_declared_absent():
    assert message(table(), {"N": "params"}) == text("""
        1 problem in this table (4 rows).

          No column was named for `T` (training tokens seen).
          The columns are `params`, `tokens`, `loss`.
          `tokens` looks like T, but columns are not guessed.
          Write columns={"N": "params", "T": "tokens", "loss": "loss"}.
          If these runs have none, say so: columns={"N": "params", "T": None, "loss": "loss"}.
    """)
    assert "T" not in as_runs(table(), {"N": "params", "T": None})


def test_misspelt_columns_are_corrected_together():
    assert message(table(), {"N": "param", "T": "tokns", "loss": "Loss"}) == text("""
        3 problems in this table (4 rows).

          1. `N` (model size): there is no column `param`.
             Did you mean `params`? The columns are `params`, `tokens`, `loss`.
          2. `T` (training tokens seen): there is no column `tokns`.
             Did you mean `tokens`? The columns are `params`, `tokens`, `loss`.
          3. `loss` (loss on the evaluation set): there is no column `Loss`.
             Did you mean `loss`? The columns are `params`, `tokens`, `loss`.
             Write columns={"N": "params", "T": "tokens", "loss": "loss"}.
    """)


def test_a_mapping_the_wrong_way_round_is_turned():
    shown = message(table(), {"params": "N", "tokens": "T", "loss": "loss"})
    assert "seems to be the other way round" in shown
    assert 'Write columns={"N": "params", "T": "tokens", "loss": "loss"}.' in shown


@pytest.mark.parametrize(
    ("name", "right"), [("lr", "learning_rate"), ("compute", "flops"), ("run_id", "run")]
)
def test_other_names_for_our_fields_hear_ours(name, right):
    frame = table(x=[1e17, 2e17, 3e18, 4e19])
    shown = message(frame, {**COLUMNS, name: "x"})
    assert f"`{name}`: this is called `{right}` here" in shown
    assert f'"loss": "loss", "{right}": "x"}}.' in shown


def test_d_is_called_t_unless_the_law_is_ones_own():
    columns = {"N": "params", "D": "tokens", "loss": "loss"}
    assert message(table(), columns) == text("""
        1 problem in this table (4 rows).

          `D`: this is called `T` here (training tokens seen).
          Write columns={"N": "params", "T": "tokens", "loss": "loss"}.
          If `D` is an input of your own law, say so: columns={"D": "tokens", "T": None, ...}.
    """)
    runs = as_runs(table(), {**columns, "T": None})
    assert "D" in runs and "D" in as_runs(runs)


def test_a_family_that_is_no_column_says_how_to_make_one():
    shown = message(table(), family="dit")
    assert "`family` (group for pooling: architecture, data set, schedule): there is no" in shown
    assert 'For a single group, add a column that holds "dit" in every row.' in shown


def test_text_zero_and_nan_are_listed_with_rows_values_and_hints():
    frame = table(params=["70M", "big", 3e8, 1e9], tokens=[0, 3e9, 6e9, 2e10])
    frame["loss"] = [3.4, 3.2, np.nan, "2,6"]
    assert message(frame) == text("""
        4 problems in this table (4 rows).

          1. `N` (column `params`): 1 cell is not a number.
             row 1: 'big'
             Write numbers, or text such as 1.3B, 300M, 2e10.
          2. `T` (column `tokens`): 1 cell is zero; a number above zero was expected.
             row 0: 0
             A reading before training says nothing about a law. Drop it.
          3. `loss`: 1 cell is not a number.
             row 3: '2,6'
             Write a decimal point instead of a comma.
          4. `loss`: 1 cell is empty or NaN.
             row 2: nan
             If these runs blew up or are unfinished, keep them and say so in a column of statuses:
             columns={..., "status": "your column"} with "diverged" or "censored" in those rows.

        Rows are counted from 0.

        on_invalid="set_aside" keeps the 4 bad rows in the data, marked with the reason, and leaves them out of fits.
    """)  # noqa: E501


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"tokens": [2e9, -3e9, 6e9, 2e10]}, "1 cell is negative; a number above zero was"),
        ({"tokens": [2e9, np.inf, 6e9, 2e10]}, "1 cell is infinite."),
        ({"params": [0, 1e8, 3e8, 1e9]}, "1 cell is zero; a number above zero was expected."),
        ({"params": [None, 1e8, 3e8, 1e9]}, "1 cell is empty or NaN."),
        ({"tokens": [True] * 4}, "4 cells are not numbers."),
        ({"loss": [3.4, -1.0, 2.9, 2.6]}, "A likelihood that can be\n  negative is `nll`"),
        ({"loss": [3.4, np.inf, 2.9, 2.6]}, "If these runs blew up"),
        ({"loss": [3.4, "diverged", 2.9, 2.6]}, "If these runs blew up"),
        ({"learning_rate": [1e-3, 0, 1e-3, 1e-3]}, "Correct the cells, or leave them empty."),
        ({"weight_decay": [0.1, -0.1, 0, 0]}, "zero or more was expected"),
        ({"warmup": ["long"] * 4}, 'columns={"warmup": None} leaves it as it is.'),
        ({"status": ["done", "weird", "ok", "ok"]}, "1 cell is no status that is known here."),
        ({"params": [70, 1e8, 3e8, 1e9]}, "while others reach 1e+09: the units seem to be mixed"),
    ],
)
def test_every_kind_of_bad_cell_is_found_and_can_be_set_aside(columns, line):
    assert line in message(table(**columns))
    runs = as_runs(table(**columns), COLUMNS, on_invalid="set_aside")
    bad = ~runs["fitted"].values
    assert bad.any() and all(each.startswith("set aside: ") for each in runs["reason"].values[bad])


def test_one_message_for_a_thousand_bad_rows_stays_short():
    frame = pd.concat([table(loss=["x", "y", "z", "w"])] * 250)
    shown = message(frame)
    assert "`loss`: 1,000 cells are not numbers." in shown
    assert "row 0: 'x', row 1: 'y', row 2: 'z', row 3: 'w' and 996 more" in shown
    assert len(shown) < 1500


def test_exact_copies_name_their_original():
    assert message(pd.concat([table(), table().iloc[[2]]])) == text("""
        1 problem in this table (5 rows).

          1 row is an exact copy of an earlier one, the loss included.
          row 4: a copy of row 2
          Drop the copies. If they are replicates, give each its own `run` id or `seed`.

        Rows are counted from 0.

        on_invalid="set_aside" keeps the 1 bad row in the data, marked with the reason, and leaves it out of fits.
    """)  # noqa: E501


def test_a_step_that_was_written_twice_is_found():
    frame = table(run=list("aaab"), params=[1e8] * 4, tokens=[2e9, 2e9, 3e9, 3e9])
    shown = message(frame)
    assert "1 row is another reading with the same `run` and `T`." in shown
    assert "row 1: run a, T 2e+09" in shown
    runs = as_runs(frame, COLUMNS, on_invalid="set_aside")
    assert runs["reason"].sel(run="a").values[1] == "set aside: second reading at the same place"


def test_a_run_that_changes_its_size_is_two_runs():
    shown = message(table(run=list("aabb")))
    assert "`N` (column `params`): it changes within runs `a`, `b`." in shown
    assert "give runs that differ ids of their own" in shown
    family = message(table(run=list("aabb"), params=[1e8] * 4, family=list("xyxx")))
    assert "`family`: it changes within run `a`." in family


def test_billions_are_recognised_in_both_columns():
    frame = table(params=[0.07, 0.1, 0.3, 1], tokens=[2, 3, 6, 20])
    assert message(frame) == text("""
        2 problems in this table (4 rows).

          1. `N` (column `params`): values run from 0.07 to 1; in parameters that is too little (models have thousands at least).
             If they are in billions, write units={"N": "B"}; in millions, units={"N": "M"}.
             If they are parameters indeed, say so: units={"N": 1}.
          2. `T` (column `tokens`): values run from 2 to 20; in tokens that is too little (training takes far more).
             If they are in billions, write units={"T": "B"}; in millions, units={"T": "M"}.
             If they are tokens indeed, say so: units={"T": 1}.
    """)  # noqa: E501
    with pytest.raises(DataError):
        as_runs(frame, COLUMNS, on_invalid="set_aside")  # no row is at fault
    assert as_runs(frame, COLUMNS, units={"N": "B", "T": "B"})["N"].values[0] == 7e7


def test_flops_far_below_six_n_t_have_another_unit():
    shown = message(table(flops=[1e3, 2e3, 3e3, 4e3]))
    assert "of 6·N·T, so it cannot be in FLOP." in shown
    assert 'units={"flops": "PFLOP"}' in shown


def test_a_unit_that_is_given_twice_is_refused():
    shown = message(table(tokens=["2B", "3B", "6B", "20B"]), units={"T": "B"})
    assert 'Drop "T" from `units`, or the suffixes from the cells.' in shown


def test_empty_tables_and_empty_columns():
    assert message(table().iloc[:0]) == (
        "This table has no rows (columns `params`, `tokens`, `loss`); "
        "at least one run was expected."
    )
    assert message([]) == "This table has no rows; at least one run was expected."
    assert "`T` (column `tokens`): every cell is empty." in message(table(tokens=[np.nan] * 4))
    assert "`run`: 1 cell is empty." in message(table(run=["a", None, "c", "d"]))


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (None, "not `None`"),
        (3, "not `int`"),
        ("runs.csv", "Write read_runs('runs.csv')"),
        ({"N": [1e8, 2e8], "T": [1e9], "loss": [3, 3]}, "they have: `N` 2, `T` 1, `loss` 2."),
        ({"N": np.ones((2, 2)), "T": [1e9]}, "Column `N` has shape (2, 2)"),
        (pd.DataFrame([[1, 2]], columns=["loss", "loss"]), "`loss` occurs more than once"),
    ],
)
def test_what_is_no_table_says_what_a_table_is(frame, line):
    assert line in message(frame)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"columns": ["N", "T"]}, "`columns` maps our names to yours, for example"),
        ({"columns": {"N": [1e8, 2e8]}}, "Put values in the table, and their name here."),
        ({"family": 3}, "`family` is the name of the column with the group, not 3."),
        ({"columns": {"family": "a"}, "family": "b"}, "`family` was given twice"),
        ({"units": {"T": "furlong"}}, "The unit 'furlong' of `T` is not known."),
        ({"units": {"tokens": "B"}}, "It takes our names: `N`, `T`, `loss`."),
        ({"units": "B"}, 'for example units={"T": "B"} for billions'),
        ({"on_invalid": "drop"}, '`on_invalid` is "raise" or "set_aside", not \'drop\'.'),
    ],
)
def test_arguments_that_make_no_sense_say_what_would(arguments, line):
    with pytest.raises(SpecError) as caught:
        as_runs(table(), **{"columns": COLUMNS, **arguments})
    assert line in str(caught.value)


def test_the_evidence_holds_every_row_and_value_not_just_the_first():
    with pytest.raises(DataError) as caught:
        as_runs(table(tokens=[0] * 4, loss=["x", 3.0, 2.9, -1]), COLUMNS)
    by_column = {(each["column"], *each["rows"]): each for each in caught.value.evidence}
    assert set(by_column) == {("T", 0, 1, 2, 3), ("loss", 0), ("loss", 3)}
    assert by_column["T", 0, 1, 2, 3]["values"] == [0.0] * 4
    assert by_column["loss", 0]["values"] == ["x"]
    assert by_column["loss", 3]["problem"].startswith("1 cell is negative")
    assert all(set(each) == {"column", "rows", "values", "problem", "hint"}
               for each in caught.value.evidence)  # fmt: skip
