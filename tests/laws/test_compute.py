import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayescale.laws import get
from bayescale.laws.compute import additive_frontier, additive_optimum, isoflop_optimum

BESIROGLU = {"A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659}
exponents = st.floats(0.1, 0.9)
prefactors = st.floats(1.0, 1e4)
budgets = st.floats(1e15, 1e27)


def minimum_by_search(flops, multiplier=6.0, **terms):
    """The size of least loss on a budget, by golden section in ln N: no formula."""
    law = get("additive")

    def loss(x):
        N = np.exp(x)
        return law(N=N, T=flops / (multiplier * N), E=0.0, **terms)

    low, high = np.log(1.0), np.log(flops)
    golden = (5**0.5 - 1) / 2
    while high - low > 1e-9:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return np.exp((low + high) / 2)


def test_compute_by_hand():
    assert get("compute")(flops=1e20, E=1.5, K=300.0, gamma=0.1) == pytest.approx(4.5)
    assert get("compute_no_floor")(flops=1e20, K=300.0, gamma=0.1) == pytest.approx(3.0)


def test_isoflop_by_hand():
    # N* = 0.5 * 1e10, N/N* = e: 1 + 3 * (1 + 0.2)
    N = 0.5e10 * np.e
    out = get("isoflop")(N=N, flops=1e20, E=1.0, K=300.0, gamma=0.1, w=0.2, G=0.5, a=0.5)
    assert out == pytest.approx(4.6)


@given(C=budgets, factor=st.floats(1.01, 1e4))
def test_more_compute_lowers_the_loss_towards_the_floor(C, factor):
    for name, floor in [("compute", 1.5), ("compute_no_floor", 0.0)]:
        law = get(name)
        p = {"K": 300.0, "gamma": 0.1, **({"E": floor} if name == "compute" else {})}
        assert floor < law(flops=C * factor, **p) < law(flops=C, **p)
    assert get("compute")(flops=1e300, E=1.5, K=300.0, gamma=0.1) == pytest.approx(1.5, abs=1e-12)


@given(C=budgets, x=st.floats(0.01, 5))
def test_isoflop_slices_are_symmetric_about_their_minimum(C, x):
    p = {"E": 1.5, "K": 300.0, "gamma": 0.1, "w": 0.06, "G": 0.09, "a": 0.5}
    best = isoflop_optimum(C, p["G"], p["a"])
    at_best, above, below = (
        get("isoflop")(N=best.N * np.exp(s * x), flops=C, **p) for s in (0, 1, -1)
    )
    assert above == pytest.approx(below, rel=1e-9)
    assert at_best < above
    assert at_best == pytest.approx(
        get("compute")(flops=C, E=1.5, K=300.0, gamma=0.1), rel=1e-12
    )  # along its minima it is the law of compute


@given(C=budgets, multiplier=st.floats(2.0, 10.0))
def test_optima_spend_the_whole_budget(C, multiplier):
    for best in (
        isoflop_optimum(C, 0.09, 0.5, multiplier=multiplier),
        additive_optimum(C, **BESIROGLU, multiplier=multiplier),
    ):
        assert multiplier * best.N * best.T == pytest.approx(C, rel=1e-12)


def test_additive_optimum_by_hand():
    # G = (0.5 * 4 / (0.5 * 1))^1 = 4, pairs = 1e6: N = 4 * 1e3
    best = additive_optimum(6e6, A=4.0, B=1.0, alpha=0.5, beta=0.5)
    assert best == pytest.approx((4000.0, 250.0))


@given(C=budgets, A=prefactors, B=prefactors, alpha=exponents, beta=exponents)
def test_additive_optimum_is_where_size_and_data_are_worth_the_same(C, A, B, alpha, beta):
    best = additive_optimum(C, A, B, alpha, beta)
    assert alpha * A * best.N**-alpha == pytest.approx(beta * B * best.T**-beta, rel=1e-9)


@pytest.mark.parametrize("C", [1e18, 1e21, 1e24])
@pytest.mark.parametrize("multiplier", [6.0, 8.0])
def test_additive_optimum_is_the_minimum_found_by_search(C, multiplier):
    found = minimum_by_search(C, multiplier, **BESIROGLU)
    best = additive_optimum(C, **BESIROGLU, multiplier=multiplier)
    # a search on values sees the minimum to the square root of rounding: 1e-8, over curvature
    assert best.N == pytest.approx(found, rel=1e-6)


def test_optimum_takes_draws():
    draws = {k: np.array([x, 1.1 * x]) for k, x in BESIROGLU.items()}
    best = additive_optimum(1e21, **draws)
    assert best.N.shape == (2,)
    alone = additive_optimum(1e21, **{k: x[1] for k, x in draws.items()})
    assert best.N[1] == pytest.approx(alone.N)


@pytest.mark.parametrize("multiplier", [6.0, 8.0])
def test_frontier_constants_give_the_loss_of_optimal_runs(multiplier):
    frontier = additive_frontier(**BESIROGLU, multiplier=multiplier)
    for C in (1e18, 1e22, 1e26):
        best = additive_optimum(C, **BESIROGLU, multiplier=multiplier)
        loss = get("additive")(N=best.N, T=best.T, E=1.8169, **BESIROGLU)
        along = get("compute")(flops=C, E=1.8169, K=frontier.K, gamma=frontier.gamma)
        assert along == pytest.approx(loss, rel=1e-12)
        assert isoflop_optimum(C, frontier.G, frontier.a).N == pytest.approx(best.N, rel=1e-12)


def test_isoflop_is_the_additive_law_to_second_order():
    C, frontier = 1e21, additive_frontier(**BESIROGLU)
    best = additive_optimum(C, **BESIROGLU)

    def gap(x):
        N = best.N * np.exp(x)
        exact = get("additive")(N=N, T=C / (6 * N), E=1.8169, **BESIROGLU)
        return get("isoflop")(N=N, flops=C, E=1.8169, **frontier._asdict()) - exact

    assert abs(gap(0.1)) < 2e-6  # third order: 0.3 * 0.36^3 * 0.1^3 / 6
    assert gap(0.2) / gap(0.1) == pytest.approx(8.0, rel=0.2)  # and so grows with the cube
