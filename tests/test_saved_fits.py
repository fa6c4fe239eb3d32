"""Fits on disk: old ones keep loading, round trips keep everything, bad files say what they are."""

from pathlib import Path

import numpy as np
import pytest

import bayescale as bs
from bayescale.errors import DataError, SpecError
from bayescale.laws import Law

GOLDEN = Path(__file__).parent / "golden" / "fit_format_1.nc"
MEDIAN_LOWER_UPPER = [2.0464153, 2.0407110, 2.0517850]
PLANNED_SIZE = 2.49872e10


def test_a_fit_of_format_1_still_predicts_and_plans_the_same():
    fit = bs.load_fit(GOLDEN)
    assert fit.attrs["status"] == "ok"
    row = bs.predict(fit, at={"N": 1e10, "T": 1e12}, kind="mean").table.iloc[0]
    np.testing.assert_allclose([row["median"], row.lower, row.upper], MEDIAN_LOWER_UPPER, atol=1e-6)
    plan = bs.plan(fit, budget_flops=1e23)
    assert plan.recommended["N"] == pytest.approx(PLANNED_SIZE, rel=1e-3)
    runs = fit["runs"].to_dataset()
    assert int(runs["fitted"].sum()) == 23 and "diverged" in runs["reason"].values


def test_a_round_trip_keeps_draws_runs_and_record(chinchilla_fit, tmp_path):
    chinchilla_fit.to_netcdf(tmp_path / "fit.nc")
    back = bs.load_fit(tmp_path / "fit.nc")
    for name, x in chinchilla_fit["posterior"].dataset.items():
        assert np.array_equal(x.values, back["posterior"][name].values)
    assert back.attrs["bayescale"] == chinchilla_fit.attrs["bayescale"]
    at = {"N": 7e10, "T": 1.4e12}
    assert bs.predict(back, at=at).draws.equals(bs.predict(chinchilla_fit, at=at).draws)


def test_bad_files_say_what_they_are(tmp_path, chinchilla):
    with pytest.raises(DataError, match=r"No file `.*fit.nc`. That folder has: other.nc"):
        (tmp_path / "other.nc").write_bytes(b"not netCDF")
        bs.load_fit(tmp_path / "fit.nc")
    with pytest.raises(DataError, match="is not a netCDF file that can be read"):
        bs.load_fit(tmp_path / "other.nc")


def own_law(formula="L = floor + gain (T / 1e10)^-rate"):
    return Law(
        "own_data_law", ("T",), {"floor": "positive", "gain": "positive", "rate": "positive"},
        mean=lambda T, floor, gain, rate: floor + gain * (T / 1e10) ** -rate, formula=formula,
    )  # fmt: skip


def test_a_law_of_ones_own_works_at_once_and_is_registered_to_be_opened_later(
    chinchilla, tmp_path, monkeypatch
):
    fit = bs.fit(bs.LossModel(own_law()), chinchilla, method="fast", draws=250)
    here = bs.predict(fit, at={"T": 1e11}).table["median"][0]
    fit.to_netcdf(tmp_path / "own.nc")
    monkeypatch.setattr("bayescale.laws.law._REGISTRY", {})  # another process
    back = bs.load_fit(tmp_path / "own.nc")
    with pytest.raises(SpecError, match=r"law of your own, `own_data_law`.*register it first"):
        bs.predict(back, at={"T": 1e11})
    bs.laws.register(own_law())
    assert bs.predict(back, at={"T": 1e11}).table["median"][0] == here


@pytest.mark.filterwarnings("ignore::bayescale.errors.ConvergenceWarning")
def test_a_law_of_ones_own_may_be_changed_but_takes_no_name_of_ours(chinchilla):
    for formula in ("first", "second"):
        bs.fit(bs.LossModel(own_law(formula)), chinchilla, method="fast", draws=100)
    assert bs.laws.get("own_data_law").formula == "second"
    imposter = Law("additive", ("T",), {"E": "positive"}, mean=lambda T, E: E + 0 * T)
    with pytest.raises(SpecError, match="There is a law `additive` already"):
        bs.fit(bs.LossModel(imposter), chinchilla)


def test_a_law_in_raw_units_finds_the_constants_without_being_told_their_size(chinchilla):
    raw = Law(
        "raw", ("N", "T"), dict.fromkeys(("L0", "A", "B", "a", "b"), "positive"),
        mean=lambda N, T, L0, A, B, a, b: L0 + A * N**-a + B * T**-b,
    )  # fmt: skip
    own = bs.fit(bs.LossModel(raw), chinchilla, method="fast")["posterior"].dataset
    ours = bs.fit(bs.LossModel("additive"), chinchilla, method="fast")["posterior"].dataset
    for theirs, name in (("L0", "E"), ("A", "A"), ("B", "B"), ("a", "alpha"), ("b", "beta")):
        off = abs(float(own[theirs].mean() - ours[name].mean()))
        assert off < 0.25 * float(ours[name].std())
