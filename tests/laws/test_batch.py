import jax
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytensor.compile.mode import Mode

from bayescale.laws import get
from bayescale.laws.batch import (
    batch_at_overhead,
    batch_law,
    iso_loss_optimum,
    iso_loss_steps,
    steps_to_target,
    tokens_on_hyperbola,
    tokens_to_target,
)

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


shapes = st.floats(0.3, 6.0)


def test_shaped_tokens_by_hand():
    # (1 + (3/4)^2)^(1/2) = 5/4
    assert tokens_on_hyperbola(3e5, 1e9, 4e5, 2.0, xp=np) == pytest.approx(1.25e9, rel=1e-14)


@given(B=positive, B_crit=positive, a=shapes)
def test_shaped_tokens_and_steps_lie_on_the_shaped_hyperbola(B, B_crit, a):
    T = tokens_on_hyperbola(B, 1e9, B_crit, a, xp=np)
    tokens, steps = T / 1e9, (T / B) / (1e9 / B_crit)
    product = np.expm1(a * np.log(tokens)) * np.expm1(a * np.log(steps))
    small = min(B / B_crit, B_crit / B) ** a  # what is lost in a difference of nearly equal numbers
    assert product == pytest.approx(1.0, rel=1e-9 + 1e-14 * max(a, 1) / small)


@given(B=positive, B_crit=positive)
def test_shape_one_is_the_plain_hyperbola(B, B_crit):
    T = tokens_on_hyperbola(B, 1e9, B_crit, 1.0, xp=np)
    assert T == pytest.approx(tokens_to_target(B, 1e9, B_crit), rel=1e-12)


def test_a_sharp_shape_is_two_straight_lines():
    B = np.array([1e3, 3e5, 3e6])
    T = tokens_on_hyperbola(B, 1e9, 1e6, 200.0, xp=np)
    np.testing.assert_allclose(T, 1e9 * np.maximum(1.0, B / 1e6), rtol=1e-10)


@given(extra=st.floats(0.01, 10.0), a=shapes)
def test_batch_at_an_overhead_follows_the_shape(extra, a):
    B = batch_at_overhead(extra, 1e5, shape=a)
    T = tokens_on_hyperbola(B, 1e9, 1e5, a, xp=np)
    assert T == pytest.approx((1 + extra) * 1e9, rel=1e-9)


def test_iso_loss_steps_by_hand():
    # B = 2 B_min at shape 1: (S/S_min - 1)(2 - 1) = 1
    assert iso_loss_steps(128.0, 1000.0, 64.0, 1.0, xp=np) == pytest.approx(2000.0, rel=1e-14)


@given(over=st.floats(1.001, 30.0), a=shapes)
def test_iso_loss_steps_lie_on_their_hyperbola(over, a):
    S = iso_loss_steps(64.0 * over, 1000.0, 64.0, a, xp=np) / 1000.0
    product = np.expm1(a * np.log(S)) * np.expm1(a * np.log(over))
    near = np.expm1(a * np.log(S))  # S/S_min - 1 loses digits where the batch is large
    assert product == pytest.approx(1.0, rel=1e-9 + 1e-13 * max(a, 1) / near)


@pytest.mark.parametrize("a", [0.5, 1.0, 1.7, 4.0])
def test_iso_loss_optimum_has_the_fewest_tokens(a):
    B_best, S_best = iso_loss_optimum(1000.0, 64.0, a)
    B = 64.0 * np.exp(np.geomspace(1e-3, 8.0, 200_001))
    tokens = B * iso_loss_steps(B, 1000.0, 64.0, a, xp=np)
    assert B[tokens.argmin()] == pytest.approx(B_best, rel=2e-3)
    assert tokens.min() == pytest.approx(B_best * S_best, rel=1e-6)


def test_iso_loss_limits_are_the_fewest_steps_and_no_answer():
    assert iso_loss_steps(1e15, 1000.0, 64.0, 1.0, xp=np) == pytest.approx(1000.0)
    assert iso_loss_steps(64.0001, 1000.0, 64.0, 1.0, xp=np) > 1e8


PLAIN = Mode(linker="py", optimizer="fast_compile")


@pytest.mark.parametrize("answer", ["T", "step"])
@pytest.mark.parametrize("shaped", [False, True])
@pytest.mark.parametrize("along", [None, "N"])
def test_every_batch_law_is_the_same_on_three_libraries_and_by_hand(answer, shaped, along):
    law = batch_law(answer=answer, along=along, T_min_along=along is not None, shaped=shaped)
    at = {"batch_size": 5e5} | ({"N": 3e8} if along else {})
    constants = {"T_min": 2e9, "B_crit": 8e5, "T_min_coefficient": 20.0, "T_min_exponent": 0.95,
                 "B_crit_coefficient": 9.0, "B_crit_exponent": 0.6, "shape": 1.4}  # fmt: skip
    values = {name: constants[name] for name in law.parameters}
    T_min, B_crit = (20 * 3e8**0.95, 9 * 3e8**0.6) if along else (2e9, 8e5)
    a = 1.4 if shaped else 1.0
    expected = T_min * (1 + (5e5 / B_crit) ** a) ** (1 / a) / (5e5 if answer == "step" else 1.0)
    assert float(law(**at, **values)) == pytest.approx(expected, rel=1e-12)
    with jax.enable_x64(True):
        by_jax = jax.jit(lambda p: law(**at, **p))(values)
        assert float(by_jax) == pytest.approx(expected, rel=1e-12)
    symbols = {name: pt.dscalar(name) for name in values}
    by_pytensor = pytensor.function(list(symbols.values()), law(**at, **symbols), mode=PLAIN)
    assert float(by_pytensor(*values.values())) == pytest.approx(expected, rel=1e-12)


def test_the_default_batch_law_is_the_registered_one():
    law, known = batch_law(), get("critical_batch")
    assert (law.name, law.inputs, list(law.parameters), law.formula) == (
        known.name, known.inputs, list(known.parameters), known.formula,
    )  # fmt: skip
    assert law(batch_size=1.0, T_min=2.0, B_crit=4.0) == known(
        batch_size=1.0, T_min=2.0, B_crit=4.0
    )
