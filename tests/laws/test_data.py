import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescale.laws import get
from bayescale.laws.compute import additive_optimum
from bayescale.laws.data import log_discounted, matched_size
from bayescale.laws.published import published

P = {"E": 1.8, "A": 500.0, "B": 1500.0, "alpha": 0.35, "beta": 0.33, "R_N": 5.3, "R_D": 15.4}
ADDITIVE = {k: v for k, v in P.items() if not k.startswith("R")}
sizes, tokens, factors = st.floats(1e6, 1e12), st.floats(1e7, 1e14), st.floats(1.01, 100.0)


def discounted(amount, unique, worth):
    return np.exp(log_discounted(np.log(amount), np.log(unique), worth, np))


def loss(**changes):
    return get("repeated")(**{"N": 1e9, "T": 1e10, "U": 1e9, **P, **changes})


def test_repeated_by_hand():
    # terms are 1000/N_eff and 1000/T_eff, N_opt(U) = U = 100
    p = {"E": 1.0, "A": 1000.0, "B": 1000.0, "alpha": 1.0, "beta": 1.0, "R_N": 2.0, "R_D": 3.0}
    T_eff = 100 * (1 + 3 * (1 - np.exp(-2)))  # seven epochs: six repeats, over R_D
    N_eff = 100 * (1 + 2 * (1 - np.exp(-1)))  # three times the best size: two too many, over R_N
    out = get("repeated")(N=300.0, T=700.0, U=100.0, **p)
    assert out == pytest.approx(1 + 1000 / N_eff + 1000 / T_eff, rel=1e-13)


@given(N=sizes, U=tokens, share=st.floats(0.01, 1.0))
def test_data_that_do_not_repeat_are_worth_themselves(N, U, share):
    T = share * U
    N = min(N, matched_size(T, P["A"], P["B"], P["alpha"], P["beta"]))
    expected = get("additive")(N=N, T=T, **ADDITIVE)
    assert loss(N=N, T=T, U=U) == pytest.approx(expected, rel=1e-12)


@given(N=sizes, T=tokens, U=tokens)
def test_repeats_that_lose_nothing_give_the_additive_law(N, T, U):
    expected = get("additive")(N=N, T=T, **ADDITIVE)
    assert loss(N=N, T=T, U=U, R_N=1e14, R_D=1e14) == pytest.approx(expected, rel=1e-6)


@given(N=sizes, T=tokens, U=tokens, factor=factors)
def test_more_tokens_unique_tokens_and_size_never_hurt(N, T, U, factor):
    here = loss(N=N, T=T, U=U) * (1 + 1e-12)
    assert loss(N=N, T=T * factor, U=U) <= here
    assert loss(N=N, T=T, U=U * factor) <= here
    assert loss(N=N * factor, T=T, U=U) <= here


@given(N=sizes, T=tokens, U=tokens)
def test_repeated_tokens_are_never_worth_more_than_fresh_ones(N, T, U):
    assert loss(N=N, T=T, U=U) >= get("additive")(N=N, T=T, **ADDITIVE) * (1 - 1e-12)


def test_endless_epochs_are_worth_a_bounded_amount():
    worth = discounted(1e30, 1e9, 15.4)
    assert worth == pytest.approx(1e9 * 16.4)
    assert discounted(1e9, 1e9, 15.4) == pytest.approx(1e9, rel=1e-13)


def test_first_repeats_are_nearly_fresh():
    # one second epoch of R_D = 15.4 keeps (1 - e^(-1/15.4)) 15.4 = 0.968 of its worth
    assert discounted(2e9, 1e9, 15.4) / 1e9 - 1 == pytest.approx(0.96822, abs=1e-5)


@given(U=tokens)
def test_matched_size_is_the_best_size_for_its_tokens(U):
    N = matched_size(U, P["A"], P["B"], P["alpha"], P["beta"])
    best = additive_optimum(6 * N * U, P["A"], P["B"], P["alpha"], P["beta"])
    assert (best.N, best.T) == pytest.approx((N, U), rel=1e-9)


def test_matched_size_is_the_published_one():
    p = published("muennighoff").parameters
    G_squared = matched_size(1.0, p["A"], p["B"], p["alpha"], p["beta"])
    assert np.sqrt(G_squared) == pytest.approx(0.2257, abs=1.5e-4)  # of rounded constants
