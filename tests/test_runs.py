"""Any table in, one labelled dataset out."""

import json
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from bayescale.datasets import frame as public_frame
from bayescale.errors import DataError, DataWarning, SpecError
from bayescale.runs import append, as_runs, readings, runs_hash, summarise
from bayescale.runs.cells import read_numbers
from bayescale.runs.units import multiplier

COLUMNS = {"N": "params", "T": "tokens", "loss": "loss"}


def table(**columns):
    base = {
        "params": [7e7, 1e8, 3e8, 1e9],
        "tokens": [2e9, 3e9, 6e9, 2e10],
        "loss": [3.4, 3.2, 2.9, 2.6],
    }
    kept = {name: cells for name, cells in {**base, **columns}.items() if cells is not None}
    return pd.DataFrame(kept)


def checkpoints():
    """Two runs of three and one readings, out of order."""
    return pd.DataFrame(
        {
            "run": ["b", "a", "b", "b"],
            "N": [2e8, 1e8, 2e8, 2e8],
            "T": [3e9, 5e9, 1e9, 2e9],
            "loss": [2.8, 3.0, 3.3, 3.0],
            "note": ["end", "only", "start", "middle"],
            "width": [512, 256, 512, 512],
        }
    )


# --- what goes in -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        pl.from_pandas,
        lambda frame: pl.from_pandas(frame).lazy(),
        pa.Table.from_pandas,
        lambda frame: {name: frame[name].to_numpy() for name in frame},
        lambda frame: {name: frame[name].tolist() for name in frame},
        lambda frame: dict(frame.items()),
        lambda frame: frame.to_dict("records"),
        lambda frame: frame.convert_dtypes(),
        lambda frame: frame.to_records(index=False),
        lambda frame: xr.Dataset.from_dataframe(frame),
    ],
    ids="polars lazy arrow arrays lists series records nullable structured dataset".split(),
)
def test_every_kind_of_table_gives_the_same_runs(convert):
    frame = table(family=["a", "a", "b", "b"], seed=[1, 2, 1, 2])
    expected = as_runs(frame, COLUMNS)
    xr.testing.assert_identical(as_runs(convert(frame), COLUMNS), expected)


def test_the_public_chinchilla_table_loads_as_the_contract_says():
    runs = as_runs(public_frame("chinchilla"), columns=COLUMNS, family="family")
    assert runs.sizes == {"run": 245}
    assert runs["fitted"].all()
    assert runs["loss"].dims == runs["T"].dims == ("run",)
    assert runs["N"].attrs == {"units": "parameters", "long_name": "model size"}
    assert runs.attrs["flops_source"] == "given"
    assert np.unique(runs["family"]).tolist() == ["chinchilla/massivetext"]
    assert "excluded_by_besiroglu" in runs  # nothing is lost


def test_a_hundred_thousand_readings_convert_in_two_seconds():
    rng = np.random.default_rng(0)
    size = 100_000
    frame = pd.DataFrame(
        {
            "run": np.repeat([f"r{i}" for i in range(1000)], 100),
            "N": np.repeat(rng.uniform(1e7, 1e9, 1000), 100),
            "T": np.tile(np.geomspace(1e8, 1e11, 100), 1000),
            "loss": rng.uniform(2, 4, size),
            "family": np.repeat(rng.choice(["a", "b"], 1000), 100),
        }
    )
    start = time.perf_counter()
    runs = as_runs(frame)
    flat = readings(runs)
    assert time.perf_counter() - start < 2.0
    assert flat.sizes == {"reading": size}


def test_the_frame_is_not_changed():
    frame = table(tokens=[2, 3, 6, 20])
    before = frame.copy()
    as_runs(frame, COLUMNS, units={"T": "B"})
    pd.testing.assert_frame_equal(frame, before)
    arrays = {name: frame[name].to_numpy(copy=True) for name in frame}
    as_runs(arrays, COLUMNS, units={"T": "B"})
    assert arrays["tokens"].tolist() == [2, 3, 6, 20]


def test_an_index_with_a_name_becomes_a_column():
    frame = table().set_index(pd.Index(["w", "x", "y", "z"], name="run"))
    assert as_runs(frame, COLUMNS)["run"].values.tolist() == ["w", "x", "y", "z"]


def test_a_single_record_is_a_table_of_one_run():
    assert as_runs({"N": 1e8, "T": 2e9, "loss": 3.0}).sizes == {"run": 1}


# --- columns ------------------------------------------------------------------------------------


def test_our_own_names_need_no_mention_and_other_columns_are_kept():
    runs = as_runs(table(learning_rate=[1e-3] * 4, colour=list("rgby")), COLUMNS)
    assert runs["learning_rate"].attrs["long_name"] == "peak learning rate"
    assert runs["colour"].values.tolist() == list("rgby")
    assert json.loads(runs.attrs["columns"]) == {**COLUMNS, "learning_rate": "learning_rate"}


def test_a_column_that_is_mapped_elsewhere_is_not_taken_by_its_name():
    runs = as_runs(table(batch_size=[8] * 4), {**COLUMNS, "batch_samples": "batch_size"})
    assert "batch_size" not in runs and runs["batch_samples"].values.tolist() == [8] * 4


def test_a_column_whose_name_is_already_taken_is_kept_beside_it():
    frame = table(batch_size=[8] * 4, batch_tokens=[2**14] * 4)
    runs = as_runs(frame, {**COLUMNS, "batch_size": "batch_tokens"})
    assert runs["batch_size"].values.tolist() == [2**14] * 4
    assert runs["batch_size_unmapped"].values.tolist() == [8] * 4


def test_further_inputs_of_a_law_come_by_their_own_name():
    runs = as_runs(table(experts=[1, 2, 4, 8]), {**COLUMNS, "E": "experts"})
    assert runs["E"].dtype == float and "experts" not in runs


def test_tables_without_parameters_or_loss_are_fine_when_something_else_stands_in():
    compute = as_runs({"c": [1e18, 1e19], "loss": [3, 2.5]}, {"flops": "c"})
    assert compute.attrs["flops_source"] == "given" and "N" not in compute
    metric = as_runs({"flops": [1e18, 1e19], "fid": [30.0, 20.0]})
    assert metric["fitted"].all() and "loss" not in metric
    batch = as_runs({"T": [1e9, 2e9], "batch_size": [1e5, 1e6]})
    assert batch["fitted"].all()
    data_only = as_runs(table(), {"N": None, "T": "tokens", "loss": "loss"})
    assert "N" not in data_only and "params" in data_only


def test_columns_without_a_value_are_left_out_with_a_note():
    runs = as_runs(table(seed=[np.nan] * 4, comment=[None] * 4), COLUMNS)
    assert "seed" not in runs and "comment" not in runs
    assert "Columns without a single value were left out: `seed`, `comment`." in runs.attrs["notes"]


# --- cells and units ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.3B", 1.3e9), ("300M", 3e8), ("1e9", 1e9), ("2.5e20", 2.5e20), ("12,000", 12000),
        ("1_000_000", 1e6), (" 7 b ", 7e9), ("1.5T tokens", 1.5e12), ("64k", 64000), (".5M", 5e5),
        ("1.2x10^9", 1.2e9), ("3 EFLOP", 3e18), ("125M params", 1.25e8), ("1 234 567", 1234567),
    ],
)  # fmt: skip
def test_counts_written_as_text_are_read(text, number):
    read = read_numbers(np.array([text], dtype=object), count=True)
    assert read.values[0] == pytest.approx(number, rel=1e-15)
    assert read.written[0] and not read.unreadable[0]


@pytest.mark.parametrize(
    "text", ["big", "1.3X", "1,30", "12,0000", "1-2", "1e", "B", "~7B", "1.2.3"]
)
def test_other_text_is_no_number(text):
    assert read_numbers(np.array([text], dtype=object), count=True).unreadable[0]


def test_a_loss_must_be_a_plain_number_since_a_comma_could_be_either():
    read = read_numbers(np.array(["2,345", "2.345", "1k"], dtype=object), count=False)
    assert read.unreadable.tolist() == [True, False, True]


@pytest.mark.parametrize("empty", [None, "", "NaN", "n/a", float("nan"), pd.NA, pd.NaT, " - "])
def test_words_for_nothing_are_missing_not_wrong(empty):
    read = read_numbers(np.array([empty, 1.0], dtype=object), count=True)
    assert np.isnan(read.values[0]) and not read.unreadable[0]


@given(st.floats(1e3, 1e15), st.sampled_from(["", "e3", "k", "M", "B", "T"]))
def test_reading_a_count_is_the_inverse_of_writing_it(number, suffix):
    factor = {"": 1, "e3": 1e3, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[suffix]
    read = read_numbers(np.array([f"{number / factor:.12f}{suffix}"], dtype=object), count=True)
    assert read.values[0] == pytest.approx(number, abs=factor * 1e-12, rel=1e-12)


def test_text_is_noted_with_an_example():
    runs = as_runs(table(params=["70M", "100M", "300M", "1B"]), COLUMNS)
    assert runs["N"].values.tolist() == [7e7, 1e8, 3e8, 1e9]
    assert '`N` was text and was read as numbers: "70M" as 7e+07.' in json.loads(
        runs.attrs["notes"]
    )


def test_units_multiply_a_column_once():
    runs = as_runs(table(tokens=[2, 3, 6, 20]), COLUMNS, units={"T": "B"})
    assert runs["T"].values.tolist() == [2e9, 3e9, 6e9, 2e10]
    again = as_runs(runs)
    assert again["T"].values.tolist() == [2e9, 3e9, 6e9, 2e10]


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("B", 1e9), ("million", 1e6), ("PF-days", 8.64e19), ("EFLOP", 1e18), (2048, 2048.0),
     ("bits", np.log(2)), ("B tokens", 1e9), ("furlong", None), (0, None), (True, None),
     (float("nan"), None)],
)  # fmt: skip
def test_units_have_known_names(unit, factor):
    assert multiplier(unit) == (None if factor is None else pytest.approx(factor))


def test_units_of_one_say_that_odd_magnitudes_are_right():
    frame = table(params=[0.07, 0.1, 0.3, 1], tokens=[2, 3, 6, 20])
    runs = as_runs(frame, COLUMNS, units={"N": 1, "T": 1})
    assert runs["N"].values.tolist() == [0.07, 0.1, 0.3, 1]
    assert runs.attrs["notes"] == "[]"


# --- layout -------------------------------------------------------------------------------------


def test_rows_that_share_a_run_are_its_checkpoints_in_order_of_tokens():
    runs = as_runs(checkpoints())
    assert dict(runs.sizes) == {"run": 2, "checkpoint": 3}
    assert runs["run"].values.tolist() == ["b", "a"]
    assert runs["N"].dims == runs["width"].dims == runs["family"].dims == ("run",)
    assert runs["T"].dims == runs["loss"].dims == runs["note"].dims == ("run", "checkpoint")
    np.testing.assert_array_equal(runs["T"], [[1e9, 2e9, 3e9], [5e9, np.nan, np.nan]])
    assert runs["note"].values.tolist() == [["start", "middle", "end"], ["only", "", ""]]
    assert runs["fitted"].values.tolist() == [[True] * 3, [True, False, False]]
    assert runs["reason"].values.tolist() == [[""] * 3, ["", "no reading", "no reading"]]


def test_runs_without_ids_are_numbered_and_a_trajectory_alone_is_an_id():
    assert as_runs(table(), COLUMNS)["run"].values[0] == "run-0000"
    runs = as_runs(table(trajectory=[1, 1, 2, 2], params=[1e8, 1e8, 2e8, 2e8]), COLUMNS)
    assert runs["run"].values.tolist() == ["1", "2"] and runs["T"].shape == (2, 2)


def test_a_run_and_a_trajectory_may_differ():
    runs = as_runs(table(run=list("abcd"), trajectory=list("xxyy")), COLUMNS)
    assert runs["trajectory"].values.tolist() == list("xxyy")
    assert readings(runs)["trajectory"].values.tolist() == list("xxyy")


def test_flops_are_six_n_t_unless_given_and_say_so():
    runs = as_runs(table(), COLUMNS)
    np.testing.assert_allclose(runs["flops"], 6 * runs["N"] * runs["T"])
    assert runs.attrs["flops_source"] == "6NT"
    some = as_runs(table(flops=[1e18, np.nan, np.nan, 2e20]), COLUMNS)
    np.testing.assert_allclose(some["flops"], [1e18, 1.8e18, 1.08e19, 2e20])
    assert some.attrs["flops_source"] == "given, 6NT where missing"


def test_flops_that_were_computed_follow_when_tokens_change():
    runs = as_runs(table(), COLUMNS)
    runs["T"] = runs["T"] * 2
    np.testing.assert_allclose(as_runs(runs)["flops"], 6 * runs["N"] * runs["T"])


def test_diverged_and_unfinished_runs_stay_with_their_reason():
    frame = table(state=["finished", "NaN", "crashed", None], loss=[3.4, np.nan, 2.9, 2.6])
    runs = as_runs(frame, {**COLUMNS, "status": "state"})
    assert runs["status"].values.tolist() == ["done", "diverged", "censored", "done"]
    assert runs["reason"].values.tolist() == ["", "diverged", "censored", ""]
    assert runs["fitted"].values.tolist() == [True, False, False, True]
    assert readings(runs).sizes["reading"] == 2
    assert readings(runs, all=True).sizes["reading"] == 4


def test_a_reading_with_another_metric_may_lack_a_loss():
    runs = as_runs(table(fid=[30, 20, np.nan, 10], loss=[3.4, np.nan, 2.9, 2.6]), COLUMNS)
    assert runs["reason"].values.tolist() == ["", "no loss", "", ""]
    assert readings(runs)["loss"].values.tolist() == [3.4, 2.9, 2.6]
    assert readings(runs, response="fid")["fid"].values.tolist() == [30, 20, 10]


def test_set_aside_keeps_bad_rows_with_a_reason():
    frame = table(tokens=[0, 3e9, -6e9, 2e10], loss=[3.4, "oops", 2.9, 2.6])
    runs = as_runs(frame, COLUMNS, on_invalid="set_aside")
    assert runs["reason"].values.tolist() == [
        "set aside: zero tokens",
        "set aside: loss is not a number",
        "set aside: negative tokens",
        "",
    ]
    xr.testing.assert_identical(as_runs(runs), runs)  # and the reasons survive


def test_replicates_with_seeds_are_not_copies():
    twice = pd.concat([table(seed=[0] * 4), table(seed=[1] * 4)])
    assert as_runs(twice, COLUMNS).sizes["run"] == 8


def test_the_grid_refuses_to_explode():
    rows = 10_000
    ids = ["long"] * rows + [f"r{i}" for i in range(rows)]
    frame = pd.DataFrame({"run": ids, "N": 1e8, "T": np.arange(2 * rows) + 1e9, "loss": 3.0})
    with pytest.raises(DataError, match=r"20,000 readings of 10,001 runs(.|\n)*Thin out"):
        as_runs(frame.assign(loss=np.linspace(3, 2, 2 * rows)), None)


# --- flat view, hash, append, summary -------------------------------------------------------------


def test_readings_are_flat_and_sorted_by_trajectory_then_tokens():
    flat = readings(as_runs(checkpoints()))
    assert set(flat.dims) == {"reading"}
    assert all(variable.dims == ("reading",) for variable in flat.data_vars.values())
    assert flat["trajectory"].values.tolist() == ["a", "b", "b", "b"]
    assert flat["T"].values.tolist() == [5e9, 1e9, 2e9, 3e9]
    assert flat["N"].values.tolist() == [1e8, 2e8, 2e8, 2e8]
    assert flat["T"].attrs["units"] == "tokens"


def test_as_runs_of_runs_changes_nothing():
    for runs in (as_runs(table(), COLUMNS), as_runs(checkpoints())):
        xr.testing.assert_identical(as_runs(runs), runs)


def test_a_part_of_runs_is_runs():
    runs = as_runs(checkpoints())
    xr.testing.assert_equal(as_runs(runs.isel(run=[1])).squeeze(), runs.isel(run=1, checkpoint=0))


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_the_hash_ignores_the_order_of_rows_and_columns(random):
    frame = checkpoints()
    order, names = list(frame.index), list(frame.columns)
    random.shuffle(order)
    random.shuffle(names)
    assert runs_hash(as_runs(frame.loc[order, names])) == runs_hash(as_runs(frame))


@pytest.mark.parametrize("column", ["T", "loss", "N", "note", "width"])
def test_the_hash_sees_every_value(column):
    frame = checkpoints()
    changed = frame.copy()
    changed[column] = [*changed[column][:3], changed[column][3]]
    assert runs_hash(as_runs(changed)) == runs_hash(as_runs(frame))
    at = frame["run"] == "a"
    changed[column] = changed[column].where(~at, "x" if column == "note" else 1.5e9)
    assert runs_hash(as_runs(changed)) != runs_hash(as_runs(frame))


def test_append_puts_new_runs_after_the_old():
    both = append(as_runs(checkpoints()), {"run": ["c"], "N": [3e8], "T": [1e9], "loss": [3.1]})
    assert both["run"].values.tolist() == ["b", "a", "c"]
    assert both["T"].sel(run="c", checkpoint=0).item() == 1e9
    assert np.isnan(both["width"].sel(run="c"))
    assert both["note"].sel(run="c", checkpoint=0).item() == ""


def test_append_renumbers_runs_that_were_only_numbered():
    runs = append(as_runs(table(), COLUMNS), {"N": 1e8, "T": 9e9, "loss": 3.0})
    assert runs["run"].values[-1] == "run-0004"
    assert append(runs, {"N": 1e8, "T": 8e9, "loss": 3.1})["run"].values[-1] == "run-0005"


def test_append_refuses_ids_that_are_there_already():
    runs = as_runs(checkpoints())
    with pytest.raises(DataError, match="1 run to append is there already: `a`") as caught:
        append(runs, runs.isel(run=[1]))
    assert caught.value.evidence[0]["values"] == ["a"]


def test_append_remembers_what_was_set_aside():
    runs = as_runs(table(tokens=[0, 3e9, 6e9, 2e10]), COLUMNS, on_invalid="set_aside")
    both = append(runs, {"N": 1e8, "T": 9e9, "loss": 3.0})
    assert both["reason"].values.tolist() == ["set aside: zero tokens", "", "", "", ""]


def test_summary_reads_like_this():
    frame = table(status=["done", "diverged", "done", "done"], params=["70M", 1e8, 3e8, 1e9])
    assert summarise(as_runs(frame, COLUMNS)) == (
        "4 runs, 4 readings, 3 fitted\n"
        "  not fitted: 1 (diverged)\n"
        "families: all (4)\n"
        "N: 70M to 1B parameters\n"
        "T: 2B to 20B tokens\n"
        "loss: 2.6 to 3.4 nats\n"
        "flops: 8.4e+17 to 1.2e+20 FLOP (6NT)\n"
        'note: `N` was text and was read as numbers: "70M" as 7e+07.'
    )


def test_a_batch_size_in_sequences_is_warned_about_and_points_at_the_caller():
    frame = table(batch_size=[64] * 4, tokens=[2e10, 3e10, 6e10, 2e11])
    with pytest.warns(
        DataWarning, match=r"looks like sequences.*units=\{\"batch_size\": 2048\}"
    ) as seen:
        as_runs(frame, COLUMNS)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_runs(frame, COLUMNS, units={"batch_size": 2048})


def test_readings_of_something_else_say_what_is_missing():
    with pytest.raises(DataError, match="Convert the table with as_runs"):
        readings(xr.Dataset({"N": ("run", [1.0])}))
    with pytest.raises(DataError, match="have no `fd`"):
        readings(as_runs(table(), COLUMNS), response="fd")


def test_units_of_unknown_columns_are_refused():
    with pytest.raises(SpecError, match=r"`units` names `tokens`.*`N`, `T`, `loss`"):
        as_runs(table(), COLUMNS, units={"tokens": "B"})
