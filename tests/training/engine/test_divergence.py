"""A run that diverges is an observation: it stops, keeps what it knew, and is read as censored."""

import math

import pytest

import bayescale as bs
from training.collect import collect
from training.engine import train
from training.engine.guard import Guard
from training.record.folder import RunFolder


def test_a_rate_of_ten_becomes_a_censored_row(tmp_path, tiny, here):
    record = train([tiny(learning_rate=10.0)], tmp_path, here)[0]
    assert record["status"] == "diverged"
    assert "predicting zero" in record["reason"] or "not finite" in record["reason"]
    assert 0 < record["diverged"]["tokens"] <= 65_536
    assert all(math.isfinite(each["loss"]) for each in record["readings"])
    runs = bs.read_runs(tmp_path)
    assert set(runs["status"].values.tolist()) == {"diverged"}
    assert not runs["fitted"].any()


def test_a_sweep_keeps_the_diverged_beside_the_good(tmp_path, tiny, here):
    train([tiny()], tmp_path, here)
    train([tiny(learning_rate=10.0)], tmp_path, here)
    found = collect(tmp_path, tmp_path / "data.nc")
    assert found.statuses == {"completed": 1, "diverged": 1} and not found.problems
    runs = bs.read_runs(tmp_path / "data.nc")
    assert sorted(runs["status"].values.tolist()) == ["diverged", "done"]
    assert not runs["fitted"].sel(run=runs["status"].values == "diverged").any()


def test_one_member_of_a_pack_diverges_and_the_others_do_not_notice(tmp_path, tiny, here):
    rates = (4e-3, 10.0, 8e-3)
    good = train([tiny(learning_rate=rate) for rate in rates[::2]], tmp_path / "without", here)
    mixed = train([tiny(learning_rate=rate) for rate in rates], tmp_path / "with", here)
    assert [each["status"] for each in mixed] == ["completed", "diverged", "completed"]
    for one, other in zip(good, mixed[::2], strict=True):
        assert one["readings"][-1]["loss"] == pytest.approx(other["readings"][-1]["loss"], rel=1e-4)


def test_a_run_that_diverged_is_not_trained_again(tmp_path, tiny, here):
    spec = tiny(learning_rate=10.0)
    first = train([spec], tmp_path, here)
    assert RunFolder.of(tmp_path, spec).state() == "diverged"
    assert train([spec], tmp_path, here) == first


def looks(guard, losses, *, zero=1.0, warm=True):
    for number, loss in enumerate(losses):
        said = guard.look(step=10 * number, steps=10, loss=loss, norm=1.0, zero=zero, warm=warm)
        if said:
            return said
    return None


def test_the_guard_leaves_a_falling_and_a_noisy_loss_alone():
    assert looks(Guard(), [1.0 / (1 + k) + 0.05 * (-1) ** k for k in range(100)]) is None


def test_the_guard_waits_for_the_end_of_warm_up():
    assert looks(Guard(), [1.3] * 20, warm=False) is None
    assert "predicting zero" in looks(Guard(), [1.3] * 20)


def test_the_guard_sees_a_loss_that_climbs_and_stays():
    assert "times its minimum" in looks(Guard(), [0.1] * 20 + [0.8] * 30)
    assert looks(Guard(), [0.1] * 20 + [0.8] + [0.1] * 30) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_guard_stops_at_once_at_a_loss_that_is_no_number(bad):
    assert "not finite" in looks(Guard(), [0.5, bad])


def test_a_diverged_member_of_a_pack_has_seen_the_tokens_up_to_its_end_and_no_more(
    tmp_path, tiny, here
):
    rates = (4e-3, 10.0)
    alone = train([tiny(learning_rate=rates[1])], tmp_path / "alone", here)[0]
    _, packed = train([tiny(learning_rate=rate) for rate in rates], tmp_path / "packed", here)
    for record in (alone, packed):
        assert record["T"] == record["diverged"]["tokens"] < 65_536
