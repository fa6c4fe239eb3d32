import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescale.laws import get
from bayescale.laws.batch import batch_at_overhead, steps_to_target, tokens_to_target

positive = st.floats(1.0, 1e9)

# arXiv:2410.21676, S = a + b/B at a batch of B sequences, and their critical size: the batch that
# needs 20 % more steps than linear scaling from 256 would
ZHANG = [
    (1293.8, 2834258, 745),
    (1752.4, 5677479, 955),
    (2095.3, 11383270, 1394),
    (2459.9, 19449689, 1889),
]


def test_tokens_by_hand():
    assert get("critical_batch")(batch_size=512.0, T_min=1e9, B_crit=1024.0) == 1.5e9


def test_critical_batch_costs_twice_the_tokens_and_twice_the_steps():
    assert tokens_to_target(512.0, T_min=1e9, B_crit=512.0) == 2e9
    assert steps_to_target(512.0, S_min=1e3, B_crit=512.0) == 2e3


@given(B=positive, B_crit=positive, S_min=positive)
def test_steps_and_tokens_lie_on_the_hyperbola(B, B_crit, S_min):
    T_min = S_min * B_crit
    T, S = tokens_to_target(B, T_min, B_crit), steps_to_target(B, S_min, B_crit)
    assert T == pytest.approx(S * B, rel=1e-12)
    near_one = 1e-12 * max(T / T_min, S / S_min)  # a difference of nearly equal numbers
    assert (S / S_min - 1) * (T / T_min - 1) == pytest.approx(1.0, abs=1e-6 + near_one)


@given(B=positive, factor=st.floats(1.01, 1e3))
def test_larger_batches_need_more_tokens_and_fewer_steps(B, factor):
    assert tokens_to_target(B * factor, 1e9, 1e5) > tokens_to_target(B, 1e9, 1e5)
    assert steps_to_target(B * factor, 1e3, 1e5) < steps_to_target(B, 1e3, 1e5)


def test_limits_are_the_fewest_tokens_and_the_fewest_steps():
    assert tokens_to_target(1e-9, 1e9, 1e5) == pytest.approx(1e9)
    assert steps_to_target(1e18, 1e3, 1e5) == pytest.approx(1e3)


@given(extra=st.floats(0.01, 10.0))
def test_batch_at_an_overhead_costs_that_overhead(extra):
    B = batch_at_overhead(extra, B_crit=1e5)
    assert tokens_to_target(B, 1e9, 1e5) == pytest.approx((1 + extra) * 1e9)


@pytest.mark.parametrize(("a", "b", "printed"), ZHANG)
def test_published_critical_sizes_follow_from_their_constants(a, b, printed):
    B_crit = b / a
    B = np.arange(257, 4000)
    linear = steps_to_target(256, a, B_crit) * 256 / B
    within = B[steps_to_target(B, a, B_crit) <= 1.2 * linear]
    assert within.max() == pytest.approx(printed, abs=2)
