"""Neighbouring checkpoints of a run are averaged; everything else is left alone."""

import numpy as np

import bayescale as bs
from bayescale.models.averaging import average_neighbours
from bayescale.runs import readings


def trajectories(n_runs=3, n_checkpoints=100):
    tokens = np.linspace(1e9, 1e11, n_checkpoints)
    size = np.repeat(10.0 ** np.arange(8, 8 + n_runs), n_checkpoints)
    T = np.tile(tokens, n_runs)
    return bs.as_runs(
        {
            "N": size, "T": T, "loss": 1.8 + 400 * size**-0.35 + 2000 * T**-0.36,
            "run": np.repeat([f"r{i}" for i in range(n_runs)], n_checkpoints),
        }
    )  # fmt: skip


def test_averages_lie_on_the_curve_they_average():
    flat = average_neighbours(readings(trajectories()), 0.5)
    per_run = np.ceil(np.log(100) / 0.5)
    assert 3 * (per_run - 1) <= flat.sizes["reading"] <= 3 * (per_run + 1)
    N, T, loss = (flat[k].values for k in ("N", "T", "loss"))
    curve = 1.8 + 400 * N**-0.35 + 2000 * T**-0.36
    assert np.abs(np.log(loss / curve)).max() < 1e-3
    assert set(N) == {1e8, 1e9, 1e10}  # constants keep their last digit


def test_resolution_zero_and_single_readings_are_untouched():
    flat = readings(trajectories())
    assert average_neighbours(flat, 0.0) is flat
    singles = readings(bs.datasets.load("chinchilla"))
    assert average_neighbours(singles, 0.5) is singles


def test_readings_far_apart_stay_apart():
    flat = readings(bs.datasets.load("porian"))
    one = flat.sel(reading=flat["family"] == "porian/rw/tuned/short/const/standard")
    assert average_neighbours(one, 0.5).sizes["reading"] == one.sizes["reading"]  # factor 2 steps


def test_the_model_says_how_many_readings_it_kept():
    import json

    fit = bs.fit(bs.LossModel(), trajectories(4, 60), method="fast", draws=100)
    spec = json.loads(fit.attrs["bayescale"])
    assert spec["readings"] == 240
    assert spec["readings_after_averaging"] == fit["observed_data"].sizes["reading"] < 60
