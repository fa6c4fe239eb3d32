"""What the tables of our own runs must show, whoever fits them."""

import numpy as np
import pytest

import bayescale as bs


@pytest.fixture(scope="module")
def leaves():
    return bs.datasets.load("harness_leaves")


@pytest.fixture(scope="module")
def fit(leaves):
    law = leaves.sel(run=leaves["blocks"].isin(["law", "luck"]))
    return bs.fit(bs.LossModel(), law, method="fast", draws=500)


def frame(runs):
    table = runs.to_dataframe().reset_index()
    return table[np.isfinite(table["loss"])]


def test_the_law_fits_the_first_sweep_to_its_seed_noise(leaves, fit):
    at = frame(leaves.sel(run=leaves["blocks"].isin(["law", "luck"])))
    mean = bs.predict(fit, at={k: at[k].to_numpy() for k in "NT"}, kind="mean").table["median"]
    rms = np.sqrt(np.mean((at["loss"].to_numpy() / mean.to_numpy() - 1) ** 2))
    assert rms <= 0.015


def test_no_larger_size_is_worse_beyond_seed_noise(leaves):
    at = frame(leaves.sel(run=leaves["blocks"].isin(["law", "luck"])))
    cells = at.groupby(["T", "N"])["loss"].mean().unstack()
    rise = (cells.diff(axis=1) / cells).to_numpy()
    seeds = at.groupby(["T", "N"])["loss"].agg(lambda x: x.std() / x.mean()).dropna()
    assert np.nanmax(rise) <= 3 * np.sqrt(2) * np.sqrt(np.mean(seeds**2))


def test_longer_runs_that_were_held_out_lie_where_they_were_foretold(leaves, fit):
    held = frame(leaves.sel(run=leaves["blocks"] == "held-out"))
    assert not held["fitted"].any() and set(held["reason"]) == {"held out"}
    last = held.sort_values("T").groupby("N").tail(1)
    told = bs.predict(fit, at={k: last[k].to_numpy() for k in "NT"}, ci_prob=0.95).table
    loss = last["loss"].to_numpy()
    assert ((told["lower"] <= loss) & (loss <= told["upper"])).all()


def test_conditionings_were_compared_at_equal_compute():
    at = frame(bs.datasets.load("harness_conditionings"))
    last = at.sort_values("T").groupby("run").tail(1)
    flops = np.sort(last["flops"].to_numpy())
    budgets = np.split(flops, np.flatnonzero(np.diff(np.log(flops)) > 0.1) + 1)
    assert [len(each) for each in budgets] == [10, 10, 10, 10]
    assert all(np.ptp(np.log(each)) < 0.01 for each in budgets)
    assert set(at["family"]) == {"in_context", "cross", "adaln_zero", "adaln_single", "mmdit"}


def test_no_reading_lies_below_a_known_floor():
    at = frame(bs.datasets.load("harness_known_floor"))
    assert (at["loss"] > at["oracle_loss"]).all()
    assert set(at["blocks"]) == {"256", "4096"}


def test_losses_say_their_unit(leaves):
    assert leaves["loss"].attrs["units"] == "velocity error per dimension"
