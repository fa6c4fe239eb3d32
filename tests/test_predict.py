"""Predictions: the law broadcast over the posterior, with noise and distance from the data."""

import numpy as np
import pytest
from scipy.stats import t as student_t

import bayescale as bs
from bayescale.errors import DataError, ExtrapolationWarning, SpecError


def test_mean_curve_is_the_law_at_each_draw(chinchilla_fit):
    pred = bs.predict(chinchilla_fit, at={"N": [1e9, 7e9], "T": [2e10, 1e11]}, kind="mean")
    p = chinchilla_fit["posterior"].dataset
    by_hand = p["E"] + p["A"] / 7e9 ** p["alpha"] + p["B"] / 1e11 ** p["beta"]
    np.testing.assert_allclose(pred.draws.values[:, 1], by_hand.values.reshape(-1), rtol=1e-12)
    assert pred.draws.dims == ("sample", "point")


def test_new_run_has_the_spread_of_curve_and_noise(chinchilla_fit):
    at = {"N": [1e9], "T": [2e10]}
    mean = bs.predict(chinchilla_fit, at=at, kind="mean").table.iloc[0]
    run = bs.predict(chinchilla_fit, at=at).table.iloc[0]
    sigma, nu = (float(chinchilla_fit["posterior"][k].mean()) for k in ("sigma", "nu"))
    half = student_t(nu).ppf(0.95) * sigma * mean["mean"]  # the curve adds next to nothing here
    expected = np.hypot((mean.upper - mean.lower) / 2, half)
    assert (run.upper - run.lower) / 2 == pytest.approx(expected, rel=0.15)
    assert run["mean"] == mean["mean"]  # of the curve in both, since Student-t has wild means


def test_table_says_how_far_beyond_the_data(chinchilla_fit):
    table = bs.predict(chinchilla_fit, at={"N": [1e9, 1e12], "T": [2e10, 1e11]}).table
    most = 1.30e22  # the largest of the 245 runs, FLOP
    assert table.decades_beyond[0] == 0
    assert table.decades_beyond[1] == pytest.approx(np.log10(6e23 / most), abs=0.01)


def test_far_forecasts_warn(chinchilla_fit):
    with pytest.warns(ExtrapolationWarning, match="decades of compute beyond the data"):
        bs.predict(chinchilla_fit, at={"N": 1e13, "T": 1e15})


def test_same_seed_same_numbers(chinchilla_fit):
    at = {"N": 1e9, "T": 2e10}
    one, two = (bs.predict(chinchilla_fit, at=at, random_seed=3).draws for _ in range(2))
    other = bs.predict(chinchilla_fit, at=at, random_seed=4).draws
    assert one.identical(two) and not np.allclose(one, other)


def test_points_take_frames_and_scalars(chinchilla_fit):
    import pandas as pd

    frame = pd.DataFrame({"N": [1e9, 2e9], "T": 2e10})
    by_frame = bs.predict(chinchilla_fit, at=frame, kind="mean").draws
    by_dict = bs.predict(chinchilla_fit, at={"N": [1e9, 2e9], "T": 2e10}, kind="mean").draws
    assert by_frame.identical(by_dict)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({"N": 1e9}, "`at` lacks `T`; the law `additive` takes N, T. Got: N."),
        ({"N": [1e9, 2e9], "T": [1e9, 2e9, 3e9]}, "differ in length"),
        ({"N": -1.0, "T": 1e9}, "`at` has N = -1 at point 0; it must be positive"),
    ],
)
def test_bad_points_are_named(chinchilla_fit, at, message):
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        bs.predict(chinchilla_fit, at=at)


def test_families_are_asked_for_and_differ(two_families):
    fit = bs.fit(bs.LossModel(family="separate"), two_families, method="fast", draws=250)
    at = {"N": [1e9, 1e9], "T": [2e10, 2e10], "family": ["a", "b"]}
    table = bs.predict(fit, at=at).table
    middle = table["median"]
    assert list(table.family) == ["a", "b"] and middle[1] - middle[0] > 0.2
    with pytest.raises(SpecError, match="tells families apart; name one with family="):
        bs.predict(fit, at={"N": 1e9, "T": 2e10})
    with pytest.raises(SpecError, match=r"No family `c` in this fit. It has: a, b"):
        bs.predict(fit, at={"N": 1e9, "T": 2e10, "family": "c"})


def test_a_family_asked_of_one_law_for_all_is_refused(two_families):
    fit = bs.fit(bs.LossModel(), two_families, method="fast", draws=250)
    for ask in (
        lambda: bs.predict(fit, at={"N": 1e9, "T": 2e10}, family="a"),
        lambda: bs.plan(fit, budget_flops=1e21, family="a"),
    ):
        with pytest.raises(SpecError, match="family='a' was asked for, and this fit has one law"):
            ask()


def test_text_says_interval_and_distance(chinchilla_fit):
    text = bs.predict(chinchilla_fit, at={"N": [1e9], "T": [2e10]}).text
    assert "90 % interval" in text and "inside the data" in text and "a new run" in text
