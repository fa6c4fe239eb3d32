"""Folds keep what is larger out of the fit, and the answer says what came of the forecasts."""

import numpy as np
import pytest
import xarray as xr

import bayescale as bs
from bayescale.backtest import OURS, folds
from bayescale.backtest.forecasts import of_baseline
from bayescale.errors import DataError, SpecError
from bayescale.models.table import fitted_readings
from bayescale.runs import readings
from bayescale.runs.selection import take, values_of

MODEL = bs.LossModel("additive")


@pytest.fixture(scope="module")
def runs():
    return bs.datasets.load("chinchilla")


@pytest.fixture(scope="module")
def test(runs):
    return bs.backtest(MODEL, runs, [1e20, 1e21], baselines=True, decide_flops=5.76e23)


def test_a_fold_has_every_reading_once(runs):
    for axis, cut in (("flops", 1e20), ("N", 1e9), ("T", 1e10)):
        (fold,) = folds(MODEL, runs, {axis: cut})
        below, above = readings(fold.fitted), fold.held_out
        assert float(values_of(fold.fitted, axis).max()) < cut <= float(above[axis].min())
        assert below.sizes["reading"] + above.sizes["reading"] == 245
        assert not set(below["run"].values) & set(above["run"].values)


def test_checkpoints_of_one_run_stand_on_both_sides():
    runs = bs.datasets.load("gemstones")
    (fold,) = folds(MODEL, runs, {"T": 5e10})
    seen = readings(fold.fitted)
    assert seen.sizes["reading"] + fold.held_out.sizes["reading"] == 5049
    assert float(seen["T"].max()) < 5e10 <= float(fold.held_out["T"].min())
    assert set(seen["run"].values) & set(fold.held_out["run"].values)
    assert fold.fitted["fitted"].dims == ("run", "checkpoint")


def test_taking_everything_changes_nothing(runs):
    whole = xr.ones_like(runs["fitted"], dtype=bool)
    xr.testing.assert_identical(take(runs, whole), runs)


def test_cutoffs_are_sorted_and_named(runs):
    found = folds(MODEL, runs, {"flops": [1e21, 1e20], "N": 1e9})
    assert [f.name for f in found] == ["C < 1e20 FLOP", "C < 1e21 FLOP", "N < 1.00 B"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs cut-offs: cutoffs_flops="),
        ({"cutoffs_flops": 1e10}, "leaves 0 of 245 readings to fit"),
        ({"cutoffs_flops": 1e30}, "and 0 to forecast"),
        ({"cutoffs_flops": -1.0}, "must be positive; got -1"),
        ({"cutoffs_flops": 1e20, "baselines": ["hubber"]}, "No baseline 'hubber'. There are: "),
        ({"cutoffs_flops": 1e20, "ci_probs": [90]}, "probabilities between 0 and 1; got [90]"),
        ({"cutoffs_flops": 1e20, "decide_flops": 0.0}, "`decide_flops` must be positive"),
    ],
)
def test_what_cannot_be_asked_is_said_before_any_fit(runs, given, said):
    with pytest.raises((SpecError, DataError)) as error:
        bs.backtest(MODEL, runs, **given)
    assert said in str(error.value)


def test_baselines_do_not_know_hyperparameters(runs):
    with pytest.raises(SpecError, match="Baselines know losses of N and T alone"):
        bs.backtest(bs.HyperparameterModel("additive"), runs, 1e20, baselines=True)


def test_families_without_a_past_are_left_out(runs):
    """A family all of whose runs are large has told the fit nothing."""
    late = (values_of(runs, "flops") >= 1e20) & (np.arange(245) % 2 == 0)
    named = runs.assign(family=("run", np.where(late, "late", "early")))
    (fold,) = folds(bs.LossModel("additive", family="separate"), named, {"flops": 1e20})
    assert set(fold.held_out["family"].values.astype(str)) == {"early"}
    (both,) = folds(MODEL, named, {"flops": 1e20})  # one law for all forecasts both
    assert both.held_out.sizes["reading"] == fold.held_out.sizes["reading"] + int(late.sum())


def test_every_method_forecasts_every_held_out_reading(test, runs):
    (first, second) = folds(MODEL, runs, {"flops": [1e20, 1e21]})
    held = first.held_out.sizes["reading"] + second.held_out.sizes["reading"]
    counted = test.forecasts.groupby("method").size()
    assert (counted == held).all() and len(counted) == 5
    assert test.table["method"][0] == OURS
    assert test.by_fold["forecasts"].sum() + test.by_fold["unanswered"].sum() == 5 * held
    assert test.by_distance["forecasts"].sum() == 4 * held  # parabolas forecast no losses


def test_ours_are_the_numbers_of_predict(test, runs):
    """The same fit by hand, below 1e20, gives the same intervals."""
    (fold,) = folds(MODEL, runs, {"flops": 1e20})
    fit = bs.fit(MODEL, fold.fitted, method="fast", progressbar=False)
    table = bs.predict(fit, fold.points(("N", "T"))).table
    mine = test.forecasts.query("method == @OURS and cutoff == 1e20")
    for ours, theirs in (("lower_90", "lower"), ("upper_90", "upper"), ("median", "median")):
        np.testing.assert_allclose(mine[ours], table[theirs])


def test_nothing_above_the_cut_reaches_the_fit(runs):
    """Other losses above the cut leave every forecast as it was."""
    spoilt = runs.assign(loss=runs["loss"].where(runs["flops"] < 1e20, runs["loss"] * 3))
    one, other = (
        bs.backtest(MODEL, r, 1e20, baselines=["huber", "conformal"], decisions=False)
        for r in (runs, spoilt)
    )
    for column in ("median", "lower_90", "upper_90"):
        np.testing.assert_array_equal(one.forecasts[column], other.forecasts[column])
    assert one.table["coverage_90"][0] > other.table["coverage_90"][0]


def test_an_early_interval_of_the_best_size_is_judged_by_all_the_data(test):
    """The known failure (docs/log.md): C < 1e20 says a size that C > 1e21 rules out."""
    mine = test.decisions.query("method == @OURS and quantity == 'N'").set_index("fold")
    early = mine.loc["C < 1e20 FLOP"]
    assert early["all_data"] == pytest.approx(7.4e10, rel=0.1)
    assert early["inside"] == float(early["lower"] <= early["all_data"] <= early["upper"])
    assert 0 < early["regret"] < 0.02
    point = test.decisions.query("method == 'split conformal'")
    assert point["inside"].isna().all()  # a point has no interval


def test_the_answer_reads_like_one(test):
    text = test.text
    assert text.startswith("127 readings forecast from 2 cut-offs: 50 % intervals held ")
    assert "Against Huber, bootstrap: CRPS " in text
    assert "Best N at C = 5.76e+23" in text
    assert "share the error of their law" in text
    assert test.data.sizes["forecast"] == len(test.forecasts)


def test_hyperparameters_are_decided_too():
    law = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
    runs = bs.datasets.simulate_sweep(
        "additive", law, random_seed=1,
        N=np.geomspace(6e7, 1e9, 4)[:, None], T=np.geomspace(2e9, 5e10, 3),
    )  # fmt: skip
    found = bs.backtest(bs.HyperparameterModel("additive"), runs, 1e20)
    quantities = found.decisions.set_index("quantity")
    assert set(quantities.index) == {"N", "batch_size", "learning_rate"}
    assert (quantities["log_error"].abs() < 1.0).all()
    assert found.table["coverage_90"][0] > 0.6
    fewest = fitted_readings(runs, bs.HyperparameterModel("additive").fitted_law)
    assert found.fits["fitted"][0] + found.fits["forecast"][0] == fewest.sizes["reading"]


def test_the_picture_shows_what_the_table_says(test):
    from bayescale.plots.backtest import backtest_numbers

    calibration, distance, misses = backtest_numbers(test)
    mine = calibration[calibration["method"] == OURS].set_index("nominal")["covered"]
    assert mine[0.9] == pytest.approx(test.table["coverage_90"][0], abs=0.01)
    assert distance.query("method == @OURS")["forecasts"].sum() == len(misses) == 127
    assert misses["inside"].mean() == pytest.approx(test.table["coverage_90"][0])
    figure = test.plot()
    assert len(figure.axes) == 3
    assert "90 % intervals held 74 % of 127 forecasts" in figure.get_suptitle()
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert names[:4] == [OURS, "least squares", "Huber, bootstrap", "split conformal"]


def test_a_family_too_small_for_a_baseline_leaves_the_others_theirs(runs):
    """Four rows of the first family by name: it gets no forecast, the second all of its own."""
    few = np.zeros(245, bool)
    few[np.flatnonzero(runs["flops"].values < 1e20)[:4]] = True
    few[np.flatnonzero(runs["flops"].values > 1e21)[:3]] = True
    named = runs.assign(family=("run", np.where(few, "a few", "many")))
    model = bs.LossModel("additive", family="separate")
    (fold,) = folds(model, named, {"flops": 1e21})
    found = of_baseline(model, fold, "least_squares", (0.9,), 0).set_index("family")
    assert found.loc["a few", "median"].isna().all()
    assert found.loc["many", "median"].notna().all()


def test_laws_of_other_inputs_are_backtested_without_a_best_size():
    runs = bs.datasets.load("datablations")
    runs = runs.isel(run=np.flatnonzero(runs["epochs"].values <= 4))
    found = bs.backtest(bs.LossModel("size"), runs, 1e20)
    assert found.decisions.empty and found.table["forecasts"][0] > 10
    with pytest.raises(SpecError, match="this model's law takes N and not N and T alone"):
        bs.backtest(bs.LossModel("size"), runs, 1e20, decide_flops=1e21)


def test_other_models_are_told(runs):
    with pytest.raises(SpecError, match="the model is a LossModel or a HyperparameterModel; got"):
        bs.backtest(bs.CriticalBatchModel(), runs, 1e20)
