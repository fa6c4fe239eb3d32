"""The laws of the optimum and the price of a miss: limits, shapes, hand values, other routes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import sympy
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pytensor.compile.mode import Mode

from bayescale.laws.optimum import (
    FARTHEST,
    bowl,
    log_optimum,
    rate_by_noise_scale,
    rate_by_power,
)
from bayescale.laws.published_hyperparameters import published_hyperparameters

PLAIN = Mode(linker="py", optimizer="fast_compile")
exponents = st.floats(0.05, 5.0)
misses = st.floats(-4.0, 4.0)


def price(z, rise, fall):
    return float(bowl(np.float64(z), rise, fall, xp=np))


def test_bowl_by_hand():
    # rise 1, fall 1: (e^z + e^-z - 2) / 2 = cosh z - 1
    assert price(1.5, 1.0, 1.0) == pytest.approx(math.cosh(1.5) - 1.0, rel=1e-14)
    # rise 2, fall 1 at ln 2: [(4 - 1)/2 + (1/2 - 1)/1] / 3 = 1/3
    assert price(math.log(2.0), 2.0, 1.0) == pytest.approx(1.0 / 3.0, rel=1e-14)


def test_bowl_against_a_symbolic_integral_of_its_second_derivative():
    """Zero, flat, of curvature one at the best: three facts fix what the two powers sum to."""
    z, r, f = sympy.symbols("z r f", positive=True)
    second = (r * sympy.exp(r * z) + f * sympy.exp(-f * z)) / (r + f)
    slope = sympy.integrate(second, (z, 0, z))
    value = sympy.integrate(sympy.expand(slope), (z, 0, z))
    for at in (0.3, 1.1, 2.0):
        for rise, fall in ((1.3, 0.4), (0.2, 2.0)):
            expected = float(value.subs({z: at, r: rise, f: fall}))
            assert price(at, rise, fall) == pytest.approx(expected, rel=1e-12)
            # below the best: the mirror image with the exponents exchanged
            assert price(-at, fall, rise) == pytest.approx(expected, rel=1e-12)


@given(exponents, exponents)
def test_bowl_is_zero_and_flat_with_curvature_one_at_the_best(rise, fall):
    assert price(0.0, rise, fall) == 0.0
    step = 1e-3
    up, down = price(step, rise, fall), price(-step, rise, fall)
    assert (up - down) / (2 * step) == pytest.approx(0.0, abs=1e-4)  # third derivative: step^2/6
    assert (up + down) / step**2 == pytest.approx(1.0, abs=1e-4)


@given(misses, st.floats(1e-3, 2.0), exponents, exponents)
def test_price_is_positive_and_grows_with_the_miss(z, more, rise, fall):
    here, further = price(z, rise, fall), price(z + math.copysign(more, z), rise, fall)
    assert further > here >= -1e-15


@given(st.floats(0.1, 4.0), exponents, exponents)
def test_price_is_steeper_on_the_side_of_the_larger_exponent(z, rise, fall):
    if abs(rise - fall) < 1e-3:
        return
    assert (price(z, rise, fall) > price(-z, rise, fall)) == (rise > fall)


def test_small_exponents_give_a_parabola_and_a_vanishing_fall_the_linex_loss():
    assert price(1.7, 1e-4, 1e-4) == pytest.approx(1.7**2 / 2, rel=1e-4)
    a = 0.8  # Varian's loss: (e^{a z} - a z - 1) / a^2
    for z in (-3.0, 2.0):
        assert price(z, a, 1e-6) == pytest.approx((math.exp(a * z) - a * z - 1) / a**2, rel=1e-5)


def test_beyond_the_farthest_the_price_goes_on_straight_and_stays_a_number():
    rise, fall = 2.0, 0.5
    edge = FARTHEST / rise
    slope = (price(edge + 1e-4, rise, fall) - price(edge - 1e-4, rise, fall)) / 2e-4
    above = [price(edge + d, rise, fall) for d in (1.0, 2.0, 3.0)]
    assert np.diff(above, 2) == pytest.approx(0.0, abs=1e-2 * slope)  # what is left is the fall's
    assert np.diff(above)[0] == pytest.approx(slope, rel=1e-3)
    for z in (-1e6, 1e6):
        assert math.isfinite(price(z, 5.0, 5.0))


@pytest.mark.parametrize("z", [-900.0, -3.0, 0.0, 1e-9, 3.0, 900.0])
def test_gradients_of_the_bowl_are_numbers_and_agree_with_differences(z):
    with jax.enable_x64(True):
        slopes = jax.grad(lambda p: bowl(p[0], p[1], p[2], xp=jnp))(jnp.array([z, 1.2, 0.4]))
    assert np.isfinite(slopes).all()
    if abs(z) > 10:
        return
    for i, name in enumerate(("z", "rise", "fall")):
        at = np.array([z, 1.2, 0.4])
        step = 1e-5 * np.eye(3)[i]
        difference = (price(*(at + step)) - price(*(at - step))) / 2e-5
        assert float(slopes[i]) == pytest.approx(difference, rel=1e-6, abs=1e-9), name


def test_four_libraries_give_the_same():
    z, rise, fall, noise = np.array([-2.0, 0.3, 8.0]), 1.1, 0.45, 0.7
    expected = np.stack([bowl(z, rise, fall, xp=np), rate_by_noise_scale(z, noise, xp=np)])
    labelled = xr.DataArray(z, dims="run", coords={"run": list("abc")})
    by_xarray = [bowl(labelled, rise, fall, xp=np), rate_by_noise_scale(labelled, noise, xp=np)]
    assert all(x.dims == ("run",) for x in by_xarray)
    np.testing.assert_allclose(np.stack([x.values for x in by_xarray]), expected, rtol=1e-14)
    with jax.enable_x64(True):
        both = [bowl(jnp.array(z), rise, fall, xp=jnp), rate_by_noise_scale(z, noise, xp=jnp)]
    np.testing.assert_allclose(np.stack(both), expected, rtol=1e-13)
    s = pt.dvector("z")
    graph = [bowl(s, rise, fall, xp=pt), rate_by_noise_scale(s, noise, xp=pt)]
    np.testing.assert_allclose(pytensor.function([s], graph, mode=PLAIN)(z), expected, rtol=1e-13)


@given(st.floats(0.01, 100.0), st.floats(1.01, 50.0), st.floats(0.05, 20.0))
def test_rate_of_the_noise_scale_rises_with_the_batch_and_saturates(b, factor, noise):
    at = lambda x: float(rate_by_noise_scale(np.log(x), noise, xp=np))  # noqa: E731
    assert 0 < at(b * factor) - at(b) <= math.log(factor) + 1e-12  # never faster than linear
    assert at(1.0) == 0.0
    assert at(1e12) == pytest.approx(math.log1p(noise), rel=1e-9)  # eta_max over eta at B*
    assert at(1e-9 * factor) - at(1e-9) == pytest.approx(math.log(factor), abs=1e-6 / noise)


def test_rate_of_the_noise_scale_is_the_best_step_on_a_noisy_quadratic():
    """eta maximising  eta g - eta^2 (h + s/B) / 2  is  g / (h + s/B): papers.md 1.2, by search."""
    gradient, curvature, scatter, best_batch = 3.0, 2.0, 500.0, 100.0
    eta = np.geomspace(1e-3, 10.0, 200_001)

    def best(batch):
        return eta[np.argmax(eta * gradient - eta**2 * (curvature + scatter / batch) / 2)]

    noise = scatter / curvature / best_batch
    for batch in (20.0, 400.0):
        expected = math.log(best(batch) / best(best_batch))
        found = rate_by_noise_scale(np.log(batch / best_batch), noise, xp=np)
        assert float(found) == pytest.approx(expected, abs=1.1 * math.log(eta[1] / eta[0]))


def test_linear_and_square_root_rules():
    assert rate_by_power(math.log(4.0), 1.0) == pytest.approx(math.log(4.0))
    assert math.exp(rate_by_power(math.log(4.0), 0.5)) == pytest.approx(2.0)


def test_the_video_papers_optima_come_out_as_printed():
    """B = 6.77e4 and 1.42e5, eta = 1.86e-4 and 1.78e-4 at 1.07B and 4B, 10B tokens."""
    for T, batch, rate in ((4.0, 6.77e4, 1.86e-4), (10.0, 1.42e5, 1.78e-4)):
        at = {"N": math.log(1.07), "T": math.log(T)}  # in 1e9
        found = log_optimum(math.log(2.1797e4), [(0.1906, at["N"]), (0.8080, at["T"])])
        assert math.exp(found) == pytest.approx(batch, rel=4e-3)
        found = log_optimum(math.log(2e-4), [(-0.1619, at["N"]), (-0.0453, at["T"])])
        assert math.exp(found) == pytest.approx(rate, rel=4e-3)
        advice = published_hyperparameters("video_dit")(N=1.07e9, T=T * 1e9)
        assert float(advice["learning_rate"]) == pytest.approx(math.exp(found), rel=1e-3)
