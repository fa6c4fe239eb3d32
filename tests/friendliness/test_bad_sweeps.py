"""What people read when their sweep cannot be fitted: before any long work, with the way out."""

import time

import numpy as np
import pandas as pd
import pytest

import bayescale as bs
from bayescale.errors import DataError, SpecError
from bayescale.runs import readings

NAMES = ("N", "T", "batch_size", "learning_rate", "loss")


@pytest.fixture(scope="module")
def sweep() -> pd.DataFrame:
    """108 runs in twelve cells, rates and batches on a grid in each."""
    flat = readings(bs.datasets.simulate_sweep(multiples=(0.3, 1.0, 3.0), random_seed=1))
    return pd.DataFrame({name: flat[name].values for name in NAMES})


def refused(frame, model=None, **arguments) -> str:
    """The error of `bs.fit`, which must come at the door."""
    columns = {name: name for name in frame.columns}
    runs = bs.as_runs(frame, columns, **arguments)
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        bs.fit(model or bs.HyperparameterModel(), runs, progressbar=False)
    assert time.monotonic() - started < 5.0  # no sampler was started
    return str(caught.value)


def test_a_table_without_rates_can_map_them_or_leave_them_out(sweep):
    said = refused(sweep.drop(columns="learning_rate"))
    assert said.startswith(
        "A hyperparameter model needs the learning rate of every run, and these runs have no "
        "column `learning_rate`. They have: "
    )
    assert said.endswith(
        "Map it with as_runs(frame, columns={'learning_rate': 'their name'}), or leave it out, "
        "HyperparameterModel(hyperparameters=('batch_size',))."
    )


def test_the_frame_path_says_the_same(sweep):
    frame = sweep.drop(columns="learning_rate")
    with pytest.raises(DataError, match="needs the learning rate of every run"):
        bs.fit(bs.HyperparameterModel(), frame)
    with pytest.raises(DataError, match="One batch size only"):
        bs.fit(bs.HyperparameterModel(), sweep.assign(batch_size=2.0**19))


def test_one_rate_only(sweep):
    assert refused(sweep.assign(learning_rate=1e-3)) == (
        "One learning rate only (0.001 in all 108 runs): where the best one lies cannot be learnt "
        "from that. Add runs at other values of `learning_rate`, or leave it out, "
        "HyperparameterModel(hyperparameters=('batch_size',))."
    )
    alone = bs.HyperparameterModel(hyperparameters=("learning_rate",))
    said = refused(sweep.assign(learning_rate=1e-3), alone)
    assert said.endswith("or fit the loss alone, bs.LossModel(...).")


@pytest.mark.parametrize("unit", [1e-4, 1e-3])
def test_rates_in_small_units(sweep, unit):
    said = refused(sweep.assign(learning_rate=sweep["learning_rate"] / unit))
    assert "too large for a rate as the optimiser takes it" in said
    assert "units={'learning_rate': 1e-4}" in said and "trust_units=True" in said


def test_the_unit_that_the_message_names_is_taken(sweep):
    frame = sweep.assign(learning_rate=sweep["learning_rate"] / 1e-4)
    columns = {name: name for name in NAMES}
    runs = bs.as_runs(frame, columns, units={"learning_rate": 1e-4})
    np.testing.assert_allclose(runs["learning_rate"].values, sweep["learning_rate"])
    assert bs.HyperparameterModel().density(runs).size > 20


@pytest.mark.filterwarnings("ignore:`batch_size` is in tokens here")  # said once at the import too
def test_batches_in_sequences(sweep):
    short = sweep.assign(batch_size=sweep["batch_size"] / 2048)
    said = refused(short)
    assert "it seems to be in sequences or samples, and tokens are needed" in said
    assert "units={'batch_size': tokens per sequence}" in said
    steps = short.assign(step=sweep["T"] / sweep["batch_size"])
    assert "units={'batch_size': 2048}" in refused(steps)  # known where steps were recorded
    runs = bs.as_runs(short, {name: name for name in NAMES})
    assert bs.HyperparameterModel(trust_units=True).density(runs).size > 20


def test_one_rate_a_cell(sweep):
    first = sweep.groupby(["N", "T"])["learning_rate"].transform("first")
    assert refused(sweep.assign(learning_rate=first)) == (
        "Each (N, T) has one learning rate only, so what a miss costs cannot be told from what N "
        "and T do. Add, at one (N, T) at least, runs at two or three values of `learning_rate`, or "
        "leave it out, HyperparameterModel(hyperparameters=('batch_size',))."
    )


def test_missing_rates_name_the_runs_and_can_be_dropped(sweep):
    frame = sweep.copy()
    frame.loc[[3, 7], "learning_rate"] = np.nan
    said = refused(frame)
    assert said == (
        "`learning_rate` is missing or not positive in 2 of 108 fitted runs (run-0003, run-0007; "
        "first value nan). Fill the cells, or drop those rows first: "
        "frame.dropna(subset=['learning_rate'])."
    )
    kept = bs.as_runs(frame.dropna(subset=["learning_rate"]), {name: name for name in NAMES})
    assert len(bs.HyperparameterModel().density(kept).table.response) == 106


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0.0), ("learning_rate", -1e-3)])
def test_zero_and_negative_cells_are_found_at_the_import(sweep, name, value):
    frame = sweep.copy()
    frame.loc[3, name] = value
    columns = {column: column for column in NAMES}
    with pytest.raises(DataError, match=f"`{name}`: 1 cell is .*a number above zero was expected"):
        bs.as_runs(frame, columns)
    aside = bs.as_runs(frame, columns, on_invalid="set_aside")
    assert len(bs.HyperparameterModel().density(aside).table.response) == 107


def test_a_switch_must_hold_both_and_numbers(sweep):
    model = bs.HyperparameterModel(switches=("mup",))
    said = refused(sweep, model)
    assert said.startswith("The switch `mup` is not among the columns: ")
    said = refused(sweep.assign(mup=1.0), model)
    assert "must hold both 0 and 1; it holds 1" in said


def test_a_further_hyperparameter_is_asked_for_by_its_name(sweep):
    model = bs.HyperparameterModel(
        hyperparameters=("batch_size", "learning_rate", "weight_decay")
    )  # fmt: skip
    said = refused(sweep, model)
    assert "no column `weight_decay`" in said
    assert said.endswith("HyperparameterModel(hyperparameters=('batch_size', 'learning_rate')).")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"family": "pooled"}, "`family` is None, 'partial' or 'separate'"),
        ({"misfit": "smooth"}, "`misfit` is 'auto' or 'none'"),
        ({"truncated_at": -1.0}, "`truncated_at` is a loss above zero"),
        ({"loss_law": 3}, "`loss_law` is a name, a bayescale.laws.Law or None"),
        ({"priors": {"rate_N": 0.3}}, "The prior of `rate_N` must be bs.Normal"),
        ({"hyperparameters": ()}, "needs hyperparameters"),
    ],
)
def test_arguments_of_the_model_are_checked(arguments, told):
    with pytest.raises(SpecError, match=told):
        bs.HyperparameterModel(**arguments)


def test_a_prior_of_an_unknown_parameter_lists_what_there_is(sweep):
    runs = bs.as_runs(sweep, {name: name for name in NAMES})
    model = bs.HyperparameterModel(priors={"rate_M": bs.Normal(0.0, 1.0)})
    with pytest.raises(SpecError, match=r"Priors for `rate_M`.*It has: E, A, B, .*rate_N"):
        model.density(runs)
