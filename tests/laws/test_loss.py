import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescale.laws import get
from bayescale.laws.loss import coupled_prefactors, coupled_scales

from .examples import EXAMPLES, NT

LAWS_OF_BOTH = ["additive", "coupled", "interacting", "skaling", "broken"]
sizes = st.floats(1e6, 1e12)
tokens = st.floats(1e8, 1e14)
factors = st.floats(1.01, 100.0)
exponents = st.floats(0.02, 0.9)
additive_parameters = st.fixed_dictionaries(
    {
        "E": st.floats(0.1, 3.0),
        "A": st.floats(1.0, 1e4),
        "B": st.floats(1.0, 1e4),
        "alpha": exponents,
        "beta": exponents,
    }
)


def at(name, **changes):
    """The law at its example, with changes to inputs or parameters."""
    inputs, parameters = EXAMPLES[name]
    return get(name)(**{**inputs, **parameters, **changes})


def test_additive_by_hand():
    # 1.69 + 1000 / 100 + 100 / 10
    law = get("additive")
    out = law(N=1e4, T=1e2, E=1.69, A=1000.0, B=100.0, alpha=0.5, beta=0.5)
    assert out == pytest.approx(21.69)


def test_coupled_by_hand():
    # N_c/N = 16, alpha/beta = 1/2, T_c/T = 5: (4 + 5)^0.5
    A, B = coupled_prefactors(N_c=1.6e9, T_c=5e9, alpha=0.25, beta=0.5)
    out = get("coupled")(N=1e8, T=1e9, A=A, B=B, alpha=0.25, beta=0.5)
    assert out == pytest.approx(3.0)


def test_coupled_scales_and_prefactors_are_inverse():
    A, B = coupled_prefactors(6.4e13, 1.8e13, 0.076, 0.103)
    assert coupled_scales(A, B, 0.076, 0.103) == pytest.approx((6.4e13, 1.8e13))


def test_skaling_by_hand():
    # terms 3 and 4 at k = 1/2: sqrt(9 + 16)
    out = get("skaling")(N=1e4, T=1e4, E=1.0, A=300.0, B=400.0, alpha=0.5, beta=0.5, k=0.5)
    assert out == pytest.approx(6.0)


def test_interacting_by_hand():
    # n = 100, t = 4: 1 + 10/10 + 8/100 * 4^-(0.05 * 10) = 2 + 0.08 / 2
    law = get("interacting").at_scales(N=1e6, T=1e9)
    out = law(
        N=1e8, T=4e9, E=1.0, A=10.0, B=8.0, alpha=0.5, beta=0.05, kappa=1.0, delta=0.5
    )  # fmt: skip
    assert out == pytest.approx(2.04)


def test_broken_by_hand():
    # at T = T_b the bend is 2^-(s (beta_2 - beta)): 1 + 1 + 10 * 2^-1
    out = get("broken")(
        N=1e4, T=1e4, E=1.0, A=100.0, B=1000.0, alpha=0.5, beta=0.5, beta_2=1.0, T_b=1e4, s=2.0
    )
    assert out == pytest.approx(7.0)


@given(p=additive_parameters, N=sizes, T=tokens)
def test_the_richer_laws_contain_the_additive_one(p, N, T):
    plain = get("additive")(N=N, T=T, **p)
    assert get("skaling")(N=N, T=T, **p, k=1.0) == pytest.approx(plain, rel=1e-11)
    bent = get("broken")(N=N, T=T, **p, beta_2=p["beta"], T_b=1e10, s=0.5)
    assert bent == pytest.approx(plain, rel=1e-11)
    law = get("interacting")
    n, t = law.scales["N"], law.scales["T"]
    there = {**p, "A": p["A"] * n ** -p["alpha"], "B": p["B"] * t ** -p["beta"]}
    assert law(N=N, T=T, **there, kappa=0.0, delta=0.0) == pytest.approx(plain, rel=1e-11)


@given(p=additive_parameters, N=sizes, T=tokens)
def test_coupled_is_skaling_without_floor(p, N, T):
    no_floor = {k: v for k, v in p.items() if k != "E"}
    whole = get("skaling")(N=N, T=T, **p, k=p["beta"])
    assert get("coupled")(N=N, T=T, **no_floor) + p["E"] == pytest.approx(whole, rel=1e-11)


@given(p=additive_parameters, T=tokens)
def test_an_endless_model_leaves_the_data_term(p, T):
    expected = get("data")(T=T, E=p["E"], B=p["B"], beta=p["beta"])
    endless = {"N": 1e300, "T": T}
    steep = {**p, "alpha": max(p["alpha"], 0.3)}
    for name, more in [
        ("additive", {}),
        ("skaling", {"k": 0.5}),
        ("broken", {"beta_2": p["beta"], "T_b": 1e10, "s": 1.0}),
    ]:
        assert get(name)(**endless, **steep, **more) == pytest.approx(expected, rel=1e-9)


@given(p=additive_parameters, N=sizes)
def test_endless_data_leave_the_size_term(p, N):
    steep = {**p, "beta": max(p["beta"], 0.3)}
    expected = get("size")(N=N, E=p["E"], A=p["A"], alpha=p["alpha"])
    for name, more in [("additive", {}), ("skaling", {"k": 0.5})]:
        out = get(name)(N=N, T=1e300, **steep, **more)
        assert out == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", LAWS_OF_BOTH)
@given(N=sizes, T=tokens, factor=factors)
def test_more_data_lower_the_loss(name, N, T, factor):
    assert at(name, N=N, T=T * factor) < at(name, N=N, T=T)


@pytest.mark.parametrize("name", [name for name in LAWS_OF_BOTH if name != "interacting"])
@given(N=sizes, T=tokens, factor=factors)
def test_more_size_lowers_the_loss(name, N, T, factor):
    assert at(name, N=N * factor, T=T) < at(name, N=N, T=T)


@given(N=sizes, T=tokens, factor=factors)
def test_more_size_lowers_the_loss_of_interacting_where_its_drifts_say_so(N, T, factor):
    T = max(T, get("interacting").scales["T"])  # below T0 a falling exponent helps small models
    drifts = {"kappa": 0.05, "delta": 0.02}
    assert at("interacting", N=N * factor, T=T, **drifts) < at("interacting", N=N, T=T, **drifts)


@pytest.mark.parametrize("name", LAWS_OF_BOTH)
@given(N=sizes, T=tokens)
def test_loss_stays_above_its_floor(name, N, T):
    assert at(name, N=N, T=T) > EXAMPLES[name][1].get("E", 0.0)


def test_interacting_data_are_worth_less_to_larger_models_with_negative_delta():
    law, (_, p) = get("interacting"), EXAMPLES["interacting"]
    p = {**p, "kappa": 0.0, "delta": -0.2}
    T0 = law.scales["T"]

    def gain(N):
        return law(N=N, T=T0, **p) - law(N=N, T=10 * T0, **p)

    assert gain(1e10) < gain(1e8) < gain(1e6)


def test_skaling_approaches_the_larger_term_and_stays_finite():
    terms = {"E": 0.0, "A": 300.0, "B": 400.0, "alpha": 0.5, "beta": 0.5}
    assert get("skaling")(N=1e4, T=1e4, **terms, k=1e-4) == pytest.approx(4.0, rel=1e-9)


def test_skaling_with_k_above_one_exceeds_the_sum():
    assert at("skaling", k=1.5) > at("skaling", k=1.0) > at("skaling", k=0.5)


def test_broken_has_two_slopes():
    law, (_, p) = get("broken"), EXAMPLES["broken"]
    p = {**p, "E": 1e-300, "A": 1e-300, "T_b": 1e10}

    def slope(T):
        up, down = (np.log(law(N=1e9, T=T * f, **p)) for f in (1.01, 1 / 1.01))
        return -(up - down) / (2 * np.log(1.01))

    assert slope(1e6) == pytest.approx(p["beta"], abs=1e-6)
    assert slope(1e14) == pytest.approx(p["beta_2"], abs=1e-6)
    assert slope(1e10) == pytest.approx((p["beta"] + p["beta_2"]) / 2, abs=1e-6)


def test_broken_with_a_sharp_bend_is_a_kink():
    sharp = {"s": 1e-3, "T_b": 1e10, "E": 1e-300, "A": 1e-300, "B": 1.0, "beta": 0.4, "beta_2": 0.1}
    assert at("broken", T=1e8, **sharp) == pytest.approx(1e8**-0.4, rel=1e-9)
    assert at("broken", T=1e12, **sharp) == pytest.approx(1e10**-0.4 * 100**-0.1, rel=1e-9)


def test_one_axis_laws_are_the_additive_law_without_the_other_term():
    _, p = EXAMPLES["additive"]
    whole = at("additive")
    one = get("size")(N=NT["N"], E=p["E"], A=p["A"], alpha=p["alpha"])
    other = get("data")(T=NT["T"], E=p["E"], B=p["B"], beta=p["beta"])
    assert one + other - p["E"] == pytest.approx(whole)


def test_gradients_are_exact_where_the_terms_are_equal():
    import jax

    values = {"N": 1e4, "T": 1e4, "E": 0.0, "alpha": 0.5, "beta": 0.5, "k": 0.5}
    with jax.enable_x64(True):
        slopes = jax.grad(lambda AB: get("skaling")(**values, A=AB[0], B=AB[1]))((300.0, 300.0))
    # d/dA of sqrt(A^2 + B^2) / 100 at A = B
    assert [float(s) for s in slopes] == pytest.approx([np.sqrt(0.5) / 100] * 2, rel=1e-12)
