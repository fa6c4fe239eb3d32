"""From learning curves to answers: the first reading that meets every target."""

import numpy as np
import pytest

import bayescale as bs
from bayescale.errors import DataError, SpecError


def curves(**more):
    table = {
        "run": list("aaabbbc"), "batch_samples": [64] * 3 + [128] * 3 + [256],
        "samples": [1e3, 2e3, 3e3, 1e3, 1.5e3, 4e3, 2e3],
        "fid": [120.0, 80.0, 70.0, 110.0, 100.0, 95.0, 60.0],
        "clip_score": [0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2],
    }  # fmt: skip
    return bs.as_runs(table | more, {"loss": None, "N": None, "T": None} | {k: k for k in table})


def answers(runs):
    names = ("run", "samples", "interval", "status")
    return list(zip(*(runs[n].values.tolist() for n in names), strict=True))


def test_the_first_reading_that_meets_the_target_counts_and_the_one_before_bounds_it():
    found = bs.time_to_target(curves(), below={"fid": 90}, clock="samples")
    assert answers(found) == [
        ("a", 2e3, 1e3, "done"),
        ("b", 4e3, 0.0, "censored"),  # never
        ("c", 2e3, 2e3, "done"),  # at the first look: anything up to there
    ]


def test_every_target_must_be_met_at_one_reading():
    found = bs.time_to_target(
        curves(), below={"fid": 90}, above={"clip_score": 0.15}, clock="samples"
    )
    assert answers(found)[0] == ("a", 3e3, 1e3, "done")


def test_a_reading_without_the_metric_has_not_met_it():
    holes = [np.nan, np.nan, 70.0, 110.0, 100.0, 95.0, 60.0]
    found = bs.time_to_target(curves(fid=holes), below={"fid": 90}, clock="samples")
    assert answers(found)[0] == ("a", 3e3, 1e3, "done")


def test_the_answers_can_be_fitted_with_those_that_never_got_there():
    found = bs.time_to_target(curves(), below={"fid": 90}, clock="samples")
    density = bs.CriticalBatchModel(batch="batch_samples", answer="samples").density(found)
    assert density.answers.never.tolist() == [False, True, False]
    np.testing.assert_allclose(np.exp(density.intervals.lower[:2]), [1e3, 4e3])
    assert np.isinf(density.intervals.lower[2]) and np.isinf(density.intervals.upper[1])


def test_stable_diffusion_reaches_its_target_as_its_submitters_say():
    runs = bs.datasets.load("mlperf_stable_diffusion")
    found = bs.time_to_target(runs, below={"fid": 90}, above={"clip_score": 0.15}, clock="samples")
    assert found.sizes["run"] == 309 and int((found["status"] == "censored").sum()) == 2
    means = found["samples"].groupby(found["batch_samples"]).mean()
    expected = {256: 1.83e6, 512: 2.15e6, 576: 2.27e6, 1024: 2.90e6, 1536: 3.48e6}
    for batch, mean in expected.items():  # as its README has them, over all runs
        assert float(means.sel(batch_samples=batch)) == pytest.approx(mean, rel=0.01)


def test_what_is_missing_is_named():
    with pytest.raises(SpecError, match="Name a target"):
        bs.time_to_target(curves(), clock="samples")
    with pytest.raises(DataError, match=r"no `fids`; they have .*fid"):
        bs.time_to_target(curves(), below={"fids": 90}, clock="samples")
