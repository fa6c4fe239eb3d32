"""Fits of a law with its misfit: both methods agree, and what they say is used downstream."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayescale as bs
from bayescale.inference.pointwise import log_likelihood
from bayescale.inference.tree import opened
from bayescale.inference.with_misfit import with_misfit
from bayescale.models.arrays import arrays
from bayescale.plots.scatter import residuals_numbers


def bent_sweep(n: int = 30, bend: float = 0.02) -> pd.DataFrame:
    """Runs whose losses leave the additive law by a smooth wave of ln N."""
    rng = np.random.default_rng(4)
    N, T = np.exp(rng.uniform(17, 22, n)), np.exp(rng.uniform(22, 25, n))
    law = 1.8 + 480.0 * N**-0.35 + 2000.0 * T**-0.37
    wave = bend * np.sin(np.log(N) * 1.3)
    return pd.DataFrame({"N": N, "T": T, "loss": law * np.exp(wave + 0.002 * rng.normal(size=n))})


@pytest.fixture(scope="module")
def runs():
    return bs.as_runs(bent_sweep())


@pytest.fixture(scope="module")
def fast(runs):
    return bs.fit(bs.LossModel(misfit="auto"), runs, method="fast", draws=500, progressbar=False)


def test_a_wave_is_taken_for_misfit_and_not_for_noise(fast):
    """The wave has an sd of 0.014, the noise of 0.002."""
    assert fast["posterior"]["sigma"].median() < 0.006
    assert fast["posterior"]["misfit"].median() > 0.015
    assert fast.attrs["status"] != "failed"


def test_forecasts_at_the_runs_follow_the_wave(fast):
    frame = bent_sweep()
    at = {"N": frame["N"].to_numpy(), "T": frame["T"].to_numpy()}
    mean = bs.predict(fast, at=at, kind="mean").draws.median("sample").values
    assert np.std(np.log(mean / frame["loss"])) < 0.004


def test_an_interval_widens_beyond_the_data(fast):
    at = {"N": [1e8, 5e9, 5e10], "T": [1e10, 1e11, 1e12]}
    draws = np.log(bs.predict(fast, at=at, kind="mean").draws)
    assert (np.diff(draws.std("sample").values) > 0).all()


def test_a_difference_of_neighbours_is_sharper_than_either(fast):
    near = {"N": [2e10, 2.2e10], "T": [5e11, 5e11]}
    draws = np.log(bs.predict(fast, at=near, kind="mean").draws.values)
    assert np.std(draws[:, 0] - draws[:, 1]) < 0.3 * np.std(draws, axis=0).min()


def test_four_runs_fall_back_on_the_prior_and_are_wide():
    frame = bent_sweep(40).iloc[:5]
    fit = bs.fit(
        bs.LossModel(misfit="auto"), bs.as_runs(frame), method="fast", draws=500, progressbar=False
    )
    prior = bs.LossModel(misfit="auto").density(bs.as_runs(frame)).variables
    assert "misfit" in {v.name for v in prior}
    misfit = np.log(fit["posterior"]["misfit"].values)
    assert misfit.std() > 1.0  # the prior has 1.5


def test_a_saved_fit_forecasts_the_same(fast, tmp_path):
    fast.to_netcdf(tmp_path / "fit.nc")
    again = bs.load_fit(tmp_path / "fit.nc")
    at = {"N": [1e9, 1e11], "T": [1e11, 1e12]}
    assert np.array_equal(bs.predict(fast, at=at).draws, bs.predict(again, at=at).draws)
    assert opened(again).model.misfit == "auto"


def test_check_plan_report_and_leave_one_out_read_it(fast, tmp_path):
    assert bs.check(fast).text
    plan = bs.plan(fast, budget_flops=1e22)
    assert (plan.draws["N"] > 0).all()
    assert np.isfinite(log_likelihood(fast)).all()
    assert np.abs(residuals_numbers(fast)["residual"]).max() < 0.02  # of the curve with its misfit
    bs.report(fast, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_families_that_share_nothing_share_the_size_of_their_misfits():
    frame = bent_sweep(24).assign(fam=["a", "b"] * 12)
    model = bs.LossModel(family="separate", misfit="auto")
    density = model.density(bs.as_runs(frame, family="fam"))
    values = density.values(np.zeros((2, density.size)), arrays("numpy"))
    assert values["misfit"].shape == (2, 1)
    assert np.isfinite(density.log_density(np.zeros((2, density.size)))).all()


def test_two_readings_of_off_runs_are_two_modes():
    """Runs off the law are accidents or misfit; with few of them a table allows both."""
    frame = bent_sweep(20, bend=0.004)
    density = bs.LossModel(misfit="auto").density(bs.as_runs(frame))
    found = with_misfit(density, 0)
    assert 1 <= len(found.modes) <= 2
    masses = [m.log_mass for m in found.modes]
    assert masses == sorted(masses, reverse=True)


@pytest.mark.slow
def test_nuts_and_fast_agree(runs, fast):
    nuts = bs.fit(bs.LossModel(misfit="auto"), runs, draws=500, tune=500, progressbar=False)
    assert nuts.attrs["status"] != "failed"
    for name in ("alpha", "beta", "sigma", "misfit"):
        a, b = (np.log(f["posterior"][name].values.reshape(-1)) for f in (fast, nuts))
        assert abs(a.mean() - b.mean()) < 0.3 * b.std(), name
        assert abs(np.log(a.std() / b.std())) < 0.3, name
