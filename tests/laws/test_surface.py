"""The surface as one law: hand values, invariances, four libraries, switches, what it refuses."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

from bayescale.datasets.simulated_sweep import STEPLAW
from bayescale.errors import SpecError
from bayescale.laws import get
from bayescale.laws.surface import Surface

PLAIN = Mode(linker="py", optimizer="fast_compile")
POWER = {k: v for k, v in STEPLAW.items() if k != "rate_noise_scale"}
NOISE_SCALE = {k: v for k, v in STEPLAW.items() if k != "rate_B"}
FORMS = {"power": POWER, "noise_scale": NOISE_SCALE}
AT = {"N": 3e8, "T": 2e10, "batch_size": 1.1e6, "learning_rate": 6e-4}
EXTRA = {
    "weight_decay_coefficient": 0.1, "weight_decay_N": 0.1, "weight_decay_T": -0.2,
    "weight_decay_price": 0.004, "weight_decay_price_N": 0.0, "weight_decay_price_T": 0.1,
    "weight_decay_rise": 0.9, "weight_decay_fall": 0.3, "weight_decay_ceiling": 0.05,
}  # fmt: skip
SWITCH = {
    "mup_loss": -0.01, "mup_batch": 0.2, "mup_rate": -0.5, "mup_rate_N": 0.6,
    "mup_weight_decay": 0.3,
}  # fmt: skip


def price(z, height, rise, fall, ceiling):
    """What a miss of ``z`` e-folds costs, in plain floats."""
    power = (math.exp(rise * z) - 1) / rise + (math.exp(-fall * z) - 1) / fall
    without_ceiling = height * power / (rise + fall)
    return 1 / (1 / without_ceiling + 1 / ceiling)


def followed(ratio, p):
    """By how much the best rate changes with ``B/B*``."""
    if "rate_B" in p:
        return ratio ** p["rate_B"]
    most = 1 + p["rate_noise_scale"]  # at an infinite batch, in units of the rate at the best one
    return most / (1 + p["rate_noise_scale"] / ratio)


def by_hand(N, T, batch_size, learning_rate, **p):
    """The formula of the docstring, in plain floats, with nothing of the package in it."""
    n, t = N / 1e8, T / 1e10
    tuned = p["E"] + p["A"] * n ** -p["alpha"]
    tuned += p["B"] * n ** -p["kappa"] * t ** -(p["beta"] * n ** p["delta"])
    batch = p["batch_coefficient"] * N ** p["batch_N"] * T ** p["batch_T"]
    rate = p["rate_coefficient"] * N ** p["rate_N"] * T ** p["rate_T"]
    rate *= followed(batch_size / batch, p)
    out = math.log(tuned)
    for x, best, short in ((batch_size, batch, "batch"), (learning_rate, rate, "rate")):
        height = p[f"{short}_price"] * N ** p[f"{short}_price_N"] * T ** p[f"{short}_price_T"]
        shape = (p[f"{short}_{part}"] for part in ("rise", "fall", "ceiling"))
        out += price(math.log(x / best), height, *shape)
    return math.exp(out)


@pytest.mark.parametrize("form", FORMS)
def test_surface_by_hand(form):
    p = FORMS[form] | {"batch_N": 0.1, "batch_price_N": 0.05, "rate_price_T": -0.1}
    law = Surface(get("interacting"), rate_form=form).law
    for moved in (AT, AT | {"batch_size": 9e4, "learning_rate": 5e-3}):
        assert float(law(**moved, **p)) == pytest.approx(by_hand(**moved, **p), rel=1e-12)


def test_the_best_rate_follows_the_noise_scale_unless_a_power_is_asked_for():
    named = set(Surface(get("interacting")).law.parameters)
    assert named == set(NOISE_SCALE)
    assert set(Surface(get("interacting"), rate_form="power").law.parameters) == set(POWER)


def test_a_price_is_its_curvature_near_the_best_and_levels_off_at_its_ceiling():
    surface = Surface(get("interacting"))
    best = published_optimum(AT["N"], AT["T"])
    for name, short in (("batch_size", "batch"), ("learning_rate", "rate")):

        def at(z, name=name):
            moved = {**AT, **best, **NOISE_SCALE, name: best[name] * np.exp(z)}
            return surface.prices(moved, np)[name]

        height, ceiling = NOISE_SCALE[f"{short}_price"], NOISE_SCALE[f"{short}_ceiling"]
        step = 1e-3
        assert (at(step) + at(-step)) / step**2 == pytest.approx(height, rel=1e-3)
        walls = np.linspace(0.0, 60.0, 400)
        for side in (walls, -walls):
            prices = at(side)
            assert (np.diff(prices) >= 0).all() and (prices <= ceiling).all()
            assert prices[-1] > 0.99 * ceiling


def test_a_ceiling_far_away_leaves_the_bowl():
    free = NOISE_SCALE | {"batch_ceiling": 1e9, "rate_ceiling": 1e9}
    surface = Surface(get("interacting"))
    without = surface.prices({**AT, **free}, np)
    with_one = surface.prices({**AT, **NOISE_SCALE}, np)
    for name, short in (("batch_size", "batch"), ("learning_rate", "rate")):
        p = float(without[name])
        halved = surface.prices({**AT, **free, f"{short}_ceiling": p}, np)[name]
        assert float(halved) == pytest.approx(p / 2, rel=1e-6)  # where the bowl meets its ceiling
        assert float(with_one[name]) < p


def test_the_price_is_zero_at_the_optimum_and_the_loss_law_is_left():
    surface = Surface(get("interacting"))
    best = published_optimum(AT["N"], AT["T"])
    loss_law = get("interacting")
    tuned = loss_law(N=AT["N"], T=AT["T"], **{k: STEPLAW[k] for k in loss_law.parameters})
    assert float(surface.law(**(AT | best), **NOISE_SCALE)) == pytest.approx(
        float(tuned), rel=1e-13
    )


def published_optimum(N, T):
    """StepLaw's optima as they print them."""
    return {"batch_size": 0.58 * T**0.571, "learning_rate": 1.79 * N**-0.713 * T**0.307}


def test_a_surface_of_steplaws_constants_has_steplaws_optima():
    surface = Surface(get("interacting"))
    for N, T in ((6e7, 1e9), (1e9, 1e11)):
        values = {"N": N, "T": T, **STEPLAW}
        for name, best in published_optimum(N, T).items():
            assert math.exp(surface.log_best(name, values, np)) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_along_the_rate_the_minimum_lies_where_the_coupled_optimum_says(form):
    """A grid search over eta at batches off the best one: another route to eta*(N, T, B)."""
    law = Surface(get("interacting"), rate_form=form).law
    eta = np.geomspace(1e-5, 1e-1, 400_001)
    for factor in (0.2, 1.0, 6.0):
        best = published_optimum(AT["N"], AT["T"])
        at = AT | {"batch_size": best["batch_size"] * factor, "learning_rate": eta}
        found = eta[np.argmin(law(**at, **FORMS[form]))]
        expected = best["learning_rate"] * followed(factor, FORMS[form])
        assert math.log(found / expected) == pytest.approx(0.0, abs=2e-4)


def test_rate_by_noise_scale_at_the_best_batch_is_the_same_surface():
    power, noisy = (Surface(get("interacting"), rate_form=form) for form in FORMS)
    best = published_optimum(AT["N"], AT["T"])
    at = AT | {"batch_size": best["batch_size"]}
    same = float(power.law(**at, **POWER))
    assert float(noisy.law(**at, **NOISE_SCALE)) == pytest.approx(same, rel=1e-13)
    elsewhere = float(power.law(**AT, **POWER))
    assert float(noisy.law(**AT, **NOISE_SCALE)) != pytest.approx(elsewhere, rel=1e-6)


def wide():
    """A surface with a third hyperparameter and a switch, its inputs and parameters."""
    surface = Surface(
        get("interacting"), ("learning_rate", "weight_decay", "batch_size"), switches=("mup",)
    )
    return surface, AT | {"weight_decay": 0.05, "mup": 1.0}, NOISE_SCALE | EXTRA | SWITCH


def test_the_batch_comes_before_the_rate_that_follows_it():
    surface, _, _ = wide()
    assert surface.law.inputs == ("N", "T", "batch_size", "learning_rate", "weight_decay", "mup")


def test_a_further_hyperparameter_adds_its_own_price():
    surface, at, p = wide()
    at |= {"mup": 0.0}
    plain = Surface(get("interacting")).law(**{k: at[k] for k in AT}, **NOISE_SCALE)
    z = math.log(0.05 / (0.1 * AT["N"] ** 0.1 * AT["T"] ** -0.2))
    own = price(z, 0.004 * AT["T"] ** 0.1, rise=0.9, fall=0.3, ceiling=0.05)
    assert math.log(float(surface.law(**at, **p)) / float(plain)) == pytest.approx(own, rel=1e-9)


def test_an_offset_moves_the_best_of_one_place_and_nothing_else():
    surface, at, p = wide()
    scales = {f"{k}0": v for k, v in surface.law.scales.items()}
    on_the_law = {**at, **p, **scales}
    off = on_the_law | {"batch_offset": 0.3, "weight_decay_offset": -0.2}
    moved = {name: surface.log_best(name, off, np) for name in surface.ordered}
    for name, shift in (("batch_size", 0.3), ("learning_rate", 0.0), ("weight_decay", -0.2)):
        assert float(moved[name] - surface.log_best(name, on_the_law, np)) == pytest.approx(shift)
    assert float(surface.log_tuned(off, np)) == float(surface.log_tuned(on_the_law, np))
    # the rate follows the batch from the place's own best batch
    instead = on_the_law | {"batch_size": at["batch_size"] / math.exp(0.3)}
    theirs, ours = (surface.prices(x, np)["learning_rate"] for x in (instead, off))
    assert float(ours) == pytest.approx(float(theirs), rel=1e-12)


def test_a_switch_shifts_loss_optima_and_the_power_of_size():
    surface, at, p = wide()
    scales = {f"{k}0": v for k, v in surface.law.scales.items()}
    on, off = ({**at, "mup": x, **p, **scales} for x in (1.0, 0.0))
    gap = surface.log_tuned(on, np) - surface.log_tuned(off, np)
    assert float(gap) == pytest.approx(-0.01)
    shift = surface.log_best("batch_size", on, np) - surface.log_best("batch_size", off, np)
    assert float(shift) == pytest.approx(0.2)
    for size in (1e8, 1e10):
        shift = [surface.log_best("learning_rate", {**x, "N": size}, np) for x in (on, off)]
        expected = -0.5 + 0.6 * math.log(size / surface.law.scales["N"])
        assert float(shift[0] - shift[1]) == pytest.approx(expected)


def test_jax_and_pytensor_give_the_same_value_and_the_same_slopes():
    surface, at, p = wide()
    law = surface.law
    expected = float(law(**at, **p))
    with jax.enable_x64(True):
        value, by_jax = jax.jit(jax.value_and_grad(lambda q: law(**at, **q)))(p)
        assert float(value) == pytest.approx(expected, rel=1e-12)
    symbols = {k: pt.dscalar(k) for k in p}
    graph = law(**at, **symbols)
    slopes = pytensor.grad(graph, list(symbols.values()))
    value, *by_pytensor = pytensor.function(list(symbols.values()), [graph, *slopes], mode=PLAIN)(
        *p.values()
    )
    assert float(value) == pytest.approx(expected, rel=1e-12)
    for (name, x), slope in zip(p.items(), by_pytensor, strict=True):
        step = 1e-6 * max(abs(x), 1e-2)
        up, down = (float(law(**at, **{**p, name: x + s})) for s in (step, -step))
        rounding = 1e-15 * expected / step
        difference = (up - down) / (2 * step)
        assert float(by_jax[name]) == pytest.approx(difference, rel=1e-6, abs=10 * rounding), name
        assert float(slope) == pytest.approx(float(by_jax[name]), rel=1e-9, abs=1e-12), name


def test_values_and_gradients_are_numbers_wherever_a_sampler_may_go():
    surface, at, p = wide()
    rng = np.random.default_rng(0)
    for _ in range(60):
        there = {k: v * 10 ** rng.uniform(-4, 4) for k, v in at.items() if k != "mup"}
        odd = {}
        for name, parameter in surface.law.parameters.items():
            positive = parameter.support == "positive"
            moved = p[name] * math.exp(rng.uniform(-3, 3)) if positive else rng.uniform(-0.5, 0.5)
            odd[name] = moved
        with jax.enable_x64(True):
            value, slopes = jax.value_and_grad(
                lambda q, there=there: jnp.log(surface.law(**there, mup=1.0, **q))
            )(odd)
        assert np.isfinite(np.asarray(value))
        assert np.isfinite(np.asarray(list(slopes.values()))).all()


def test_units_of_an_input_move_with_the_declared_prefactors():
    """Counting N and T in other units and moving what stands before them leaves the loss."""
    surface = Surface(get("additive"))
    p = {k: v for k, v in STEPLAW.items() if k in surface.law.parameters}
    p |= {"A": 482.0, "B": 2085.0, "batch_N": 0.2, "rate_price_N": 0.1}
    expected = float(surface.law(**AT, **p))
    for moved in ("N", "T"):
        changed, unit = dict(p), 7.0
        for name, parameter in surface.law.parameters.items():
            if moved in parameter.prefactor:
                power = parameter.prefactor[moved]
                sign = -1 if power.startswith("-") else 1
                changed[name] *= unit ** (sign * p[power.removeprefix("-")])
        found = surface.law(**(AT | {moved: AT[moved] * unit}), **changed)
        assert float(found) == pytest.approx(expected, rel=1e-12), moved


def test_one_constant_stands_in_for_a_law_in_a_single_cell():
    surface = Surface(None)
    assert surface.law.inputs == ("batch_size", "learning_rate")
    p = {k: v for k, v in STEPLAW.items() if k in surface.law.parameters} | {"E": 2.5}
    best = {"batch_size": p["batch_coefficient"], "learning_rate": p["rate_coefficient"]}
    assert float(surface.law(**best, **p)) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"hyperparameters": ()}, "none is named"),
        ({"hyperparameters": ("N",)}, "`N` is named twice"),
        ({"switches": ("learning_rate",)}, "`learning_rate` is named twice"),
        ({"rate_form": "linear"}, "`rate_form` is 'power' or 'noise_scale'"),
    ],
)
def test_collisions_are_refused(arguments, told):
    with pytest.raises(SpecError, match=told):
        Surface(get("additive"), **arguments).check()
