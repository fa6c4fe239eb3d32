"""What holds for every registered law: the same number on four libraries, safe far from data."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.compile.mode import Mode

from bayescale.laws import get, names

from .examples import EXAMPLES, oracle

PLAIN = Mode(linker="py", optimizer="fast_compile")  # no compiler: seconds would become minutes

FAR = {"N": (1e3, 1e13), "T": (1e5, 1e16), "U": (1e5, 1e16), "flops": (1e12, 1e30)}
FAR["batch_size"] = (1.0, 1e12)


@pytest.fixture(params=names())
def case(request):
    law = get(request.param)
    inputs, parameters = EXAMPLES[law.name]
    return law, inputs, parameters


def scales(law):
    return {f"{name}0": value for name, value in law.scales.items()}


def test_value_agrees_with_forty_digits(case):
    law, inputs, parameters = case
    expected = oracle(law.name, **inputs, **parameters, **scales(law))
    assert float(law(**inputs, **parameters)) == pytest.approx(expected, rel=2e-13)


def test_value_agrees_with_forty_digits_far_away(case):
    law, inputs, parameters = case
    for end in (0, 1):
        there = {name: FAR[name][end] for name in inputs}
        expected = oracle(law.name, **there, **parameters, **scales(law))
        assert float(law(**there, **parameters)) == pytest.approx(expected, rel=1e-12)


def test_xarray_keeps_labels_and_broadcasts_draws_against_points(case):
    law, inputs, parameters = case
    draws = {k: xr.DataArray([x, 1.01 * x], dims="draw") for k, x in parameters.items()}
    points = {
        k: xr.DataArray([x, 2 * x, 3 * x], dims="point", coords={"point": list("abc")})
        for k, x in inputs.items()
    }
    out = law(**points, **draws)
    assert set(out.dims) == {"draw", "point"}
    assert list(out.point.values) == ["a", "b", "c"]
    for i in (0, 1):
        for j, label in enumerate("abc"):
            each = {k: (1 + 0.01 * i) * x for k, x in parameters.items()}
            at = {k: (j + 1) * x for k, x in inputs.items()}
            got = float(out.isel(draw=i).sel(point=label))
            assert got == pytest.approx(float(law(**at, **each)), rel=1e-13)


def test_jax_gives_the_same_under_jit(case):
    law, inputs, parameters = case
    with jax.enable_x64(True):
        out = jax.jit(lambda p: law(**inputs, **p))(parameters)
        assert isinstance(out, jax.Array)
        assert float(out) == pytest.approx(float(law(**inputs, **parameters)), rel=1e-13)


def test_pytensor_gives_the_same(case):
    law, inputs, parameters = case
    symbols = {k: pt.dscalar(k) for k in parameters}
    out = pytensor.function(list(symbols.values()), law(**inputs, **symbols), mode=PLAIN)
    got = float(out(*parameters.values()))
    assert got == pytest.approx(float(law(**inputs, **parameters)), rel=1e-13)


def test_gradients_of_jax_and_pytensor_agree_with_differences(case):
    law, inputs, parameters = case
    with jax.enable_x64(True):
        by_jax = jax.grad(lambda p: law(**inputs, **p))(parameters)
    symbols = {k: pt.dscalar(k) for k in parameters}
    slopes = pytensor.grad(law(**inputs, **symbols), list(symbols.values()))
    by_pytensor = pytensor.function(list(symbols.values()), slopes, mode=PLAIN)
    for (name, x), slope in zip(parameters.items(), by_pytensor(*parameters.values()), strict=True):
        step = 1e-5 * x
        up = oracle(law.name, **inputs, **{**parameters, name: x + step}, **scales(law))
        down = oracle(law.name, **inputs, **{**parameters, name: x - step}, **scales(law))
        difference = (up - down) / (2 * step)
        # central differences: error of order step^2 relative, and rounding of the two values
        rounding = 4e-16 * abs(up) / abs(step)
        assert float(by_jax[name]) == pytest.approx(difference, rel=1e-7, abs=rounding)
        assert float(slope) == pytest.approx(float(by_jax[name]), rel=1e-10, abs=1e-300)


def values_and_pulls(law, at, parameters):
    """Values, and the gradient of each with respect to its own copy of the parameters."""
    n = len(next(iter(at.values())))
    copies = {name: jnp.broadcast_to(jnp.asarray(x, float), n) for name, x in parameters.items()}

    def total(p):
        values = law(**at, **p)
        return values.sum(), values

    slopes, values = jax.jit(jax.grad(total, has_aux=True))(copies)
    return values, slopes


def test_gradients_are_finite_from_the_smallest_to_the_largest_run(case):
    law, inputs, parameters = case
    corners = np.array(np.meshgrid(*[FAR[name] for name in inputs])).reshape(len(inputs), -1)
    with jax.enable_x64(True):
        at = {name: jnp.asarray(corners[i]) for i, name in enumerate(inputs)}
        values, gradient = values_and_pulls(law, at, parameters)
    assert np.isfinite(values).all() and (np.asarray(values) > 0).all()
    for name, slope in gradient.items():
        assert np.isfinite(slope).all(), name


RANGES = {"exponent": (1e-3, 4.0), "shape": (1e-2, 1e2), "floor": (1e-6, 10.0)}


def draw(rng, p, size):
    """Values that a sampler may try on a bad day, several prior widths out."""
    if p.support == "real":
        return rng.uniform(-2, 2, size)
    if p.support == "unit":
        return rng.uniform(0.01, 0.99, size)
    low, high = np.log(RANGES.get(p.role, (1e-3, 1e3)))
    return np.exp(rng.uniform(low, high, size))


def test_values_and_gradients_are_numbers_wherever_a_sampler_may_go(case):
    law, inputs, _ = case
    rng = np.random.default_rng(0)
    pivot = {"N": 1e9, "T": 2e10, "U": 2e9, "flops": 1e20, "batch_size": 5e5}
    sampled = {name: draw(rng, p, 300) for name, p in law.parameters.items()}
    parameters = {}
    for name, p in law.parameters.items():
        unit = pivot[p.of] if p.of else 1.0
        for of, exponent in p.prefactor.items():
            sign = -1 if exponent.startswith("-") else 1
            unit = unit * pivot[of] ** (sign * sampled[exponent.removeprefix("-")])
        parameters[name] = sampled[name] * unit
    at = {name: pivot[name] * 10 ** rng.uniform(-3, 3, 300) for name in inputs}
    with jax.enable_x64(True):
        values, gradient = values_and_pulls(law, at, parameters)
    assert np.isfinite(values).all() and (np.asarray(values) > 0).all()
    for name, slope in gradient.items():
        assert np.isfinite(slope).all(), name


def test_formula_names_every_parameter(case):
    law, _, _ = case
    words = set(re.findall(r"[A-Za-z]+(?:_[A-Za-z0-9]+)?", law.formula))
    assert set(law.parameters) <= words
    assert "\n" not in law.formula


def test_each_parameter_says_what_it_is(case):
    law, _, parameters = case
    for name, p in law.parameters.items():
        assert p.meaning and p.role, name
        assert p.contains(parameters[name]), name


def test_terms_are_declared_so_that_a_sampler_can_centre_them(case):
    """Scaling an input and the declared unit of a parameter leaves the law as it was."""
    law, inputs, parameters = case
    unit = 7.0
    for moved in inputs:
        changed = dict(parameters)
        for name, p in law.parameters.items():
            if moved in p.prefactor:
                exponent = p.prefactor[moved]
                sign = -1 if exponent.startswith("-") else 1
                changed[name] *= unit ** (sign * parameters[exponent.removeprefix("-")])
        for name, p in law.parameters.items():
            if p.of == moved:
                changed[name] *= unit
        there = {**inputs, moved: inputs[moved] * unit}
        if moved == "U":
            continue  # tokens and unique tokens share a unit: they move together
        if "U" in inputs and moved == "T":
            there["U"] = inputs["U"] * unit
        same = law.at_scales(**{moved: law.scales[moved] * unit}) if law.scales else law
        assert float(same(**there, **changed)) == pytest.approx(
            float(law(**inputs, **parameters)), rel=1e-12
        )
