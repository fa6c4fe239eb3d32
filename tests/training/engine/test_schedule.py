import dataclasses

import pytest

from training.config import Evaluation, Optimiser, Spec, with_overrides
from training.engine.ema import decay_at, exponent_of
from training.engine.schedule import rate_at, readout_steps, steps_of, tracks_of


def test_readouts_of_different_batches_fall_on_the_same_tokens():
    evaluation = Evaluation(first_tokens=1_000, per_octave=2)
    small = {10 * step for step in readout_steps(800, 10, evaluation)}
    large = {40 * step for step in readout_steps(200, 40, evaluation)}
    assert len(small) == len(large)
    for one, other in zip(sorted(small), sorted(large), strict=True):
        assert abs(one - other) <= 20


def test_the_end_of_a_run_is_always_read_and_no_point_just_before_it():
    steps = readout_steps(101, 10, Evaluation(first_tokens=500, per_octave=1))
    assert steps == (50, 101)


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [("constant", 1.0, 1.0), ("linear", 0.5, 0.01), ("cosine", 0.5, 0.000247), ("wsd", 1.0, 0.05)],
)
def test_schedules_take_their_hand_computed_values(schedule, middle, last):
    optimiser = Optimiser(schedule=schedule, decay_fraction=0.2)
    assert rate_at(50, 100, 0, optimiser) == pytest.approx(middle)
    assert rate_at(99, 100, 0, optimiser) == pytest.approx(last, rel=1e-2)


def test_warm_up_rises_in_a_straight_line_and_never_starts_at_zero():
    rates = [rate_at(step, 100, 4, Optimiser()) for step in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_run_has_at_least_one_step():
    assert steps_of(1, 16, 64) == 1
    assert steps_of(1_024 * 100 + 500, 16, 64) == 100


@pytest.mark.parametrize("width", [0.02, 0.05, 0.10, 0.2])
def test_averages_have_the_relative_width_they_are_named_after(width):
    exponent, steps = exponent_of(width), 4_000
    weight, mean, square = 0.0, 0.0, 0.0
    for step in range(1, steps + 1):  # weights of the recursion, applied to t and t**2
        keep = decay_at(step, exponent)
        weight, mean, square = (
            keep * weight + 1 - keep,
            keep * mean + (1 - keep) * step,
            keep * square + (1 - keep) * step**2,
        )
    assert weight == pytest.approx(1.0)
    assert (square - mean**2) ** 0.5 / steps == pytest.approx(width, rel=2e-3)


def test_a_width_that_no_profile_has_is_refused():
    with pytest.raises(ValueError, match=r"0 to 0\.288"):
        exponent_of(0.5)


def test_averaged_weights_are_fitted_under_a_constant_rate_and_bare_ones_after_a_decay():
    spec = with_overrides(Spec(), {"ema_widths": [0.05, 0.1]})
    assert tracks_of(spec) == ("ema_0.05", "ema_0.1")
    decayed = with_overrides(spec, {"schedule": "linear"})
    assert tracks_of(decayed)[0] == "raw"
    raw = dataclasses.replace(spec, evaluation=dataclasses.replace(spec.evaluation, raw=True))
    assert tracks_of(raw)[-1] == "raw"
