"""Plans against closed forms, brute force and common sense."""

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

import bayescale as bs
from bayescale.errors import DataError, ExtrapolationWarning, SpecError
from bayescale.laws.compute import additive_optimum
from bayescale.laws.cost import CrossAttention

BUDGET = 5.76e23


def constants(fit, i=0):
    p = fit["posterior"].dataset
    return {k: float(p[k].values.reshape(-1)[i]) for k in ("E", "A", "B", "alpha", "beta")}


def test_best_size_of_each_draw_is_the_closed_form(chinchilla_fit):
    plan = bs.plan(chinchilla_fit, budget_flops=BUDGET)
    p = {k: v.values.reshape(-1) for k, v in chinchilla_fit["posterior"].dataset.items()}
    exact = additive_optimum(BUDGET, *(p[k] for k in ("A", "B", "alpha", "beta")))
    np.testing.assert_allclose(plan.draws["N"], exact.N, rtol=2e-4)
    np.testing.assert_allclose(plan.draws["T"], exact.T, rtol=2e-4)
    np.testing.assert_allclose(6 * plan.draws["N"] * plan.draws["T"], BUDGET, rtol=1e-9)


def test_recommended_size_has_the_least_expected_loss(chinchilla_fit):
    plan = bs.plan(chinchilla_fit, budget_flops=BUDGET)
    p = {k: v.values.reshape(-1) for k, v in chinchilla_fit["posterior"].dataset.items()}

    def expected(log_size):
        n = np.exp(log_size)
        return np.mean(p["E"] + p["A"] * n ** -p["alpha"] + p["B"] * (BUDGET / 6 / n) ** -p["beta"])

    best = minimize_scalar(expected, bounds=(np.log(1e9), np.log(1e13)), method="bounded")
    assert np.log(plan.recommended["N"]) == pytest.approx(best.x, abs=0.02)
    assert plan.draws["regret"].values.min() >= 0
    assert 0 < plan.draws["regret"].values.mean() < 0.002


def test_near_optimal_region_costs_what_it_says(chinchilla_fit):
    plan = bs.plan(chinchilla_fit, budget_flops=BUDGET)
    region = plan.near_optimal
    assert region["low"] < plan.recommended["N"] < region["high"]
    for size in (region["low"], region["high"]):
        at = {"N": size, "T": BUDGET / 6 / size}
        here = bs.predict(chinchilla_fit, at=at, kind="mean").draws.values[:, 0]
        lost = np.mean(here / plan.draws["loss_planned"].values - 1)
        assert 0.0015 < lost <= 0.0021


def test_target_loss_needs_the_budget_whose_frontier_reaches_it(chinchilla_fit):
    target = 2.1
    plan = bs.plan(chinchilla_fit, target_loss=target)
    c = constants(chinchilla_fit)

    def gap(log_budget):
        best = additive_optimum(np.exp(log_budget), c["A"], c["B"], c["alpha"], c["beta"])
        loss = c["E"] + c["A"] * best.N ** -c["alpha"] + c["B"] * best.T ** -c["beta"]
        return float(loss) - target

    exact = np.exp(brentq(gap, np.log(1e18), np.log(1e26)))
    assert plan.draws["budget_flops"].values[0] == pytest.approx(exact, rel=1e-3)
    assert np.median(plan.draws["loss_planned"]) == pytest.approx(target, abs=0.003)
    assert "50 % probability" in plan.text


def test_serving_makes_the_best_model_smaller(chinchilla_fit):
    plain = bs.plan(chinchilla_fit, budget_flops=1e22)
    served = bs.plan(chinchilla_fit, budget_flops=1e22, lifetime_tokens=1e12)
    assert served.recommended["N"] < plain.recommended["N"]
    n, t = served.draws["N"].values, served.draws["T"].values
    np.testing.assert_allclose(6 * n * t + 2 * n * 1e12, 1e22, rtol=1e-6)
    c = constants(chinchilla_fit)

    def loss(log_size):
        size = np.exp(log_size)
        tokens = (1e22 - 2 * size * 1e12) / (6 * size)
        return c["E"] + c["A"] * size ** -c["alpha"] + c["B"] * tokens ** -c["beta"]

    best = minimize_scalar(loss, bounds=(np.log(1e8), np.log(4.9e9)), method="bounded")
    assert n[0] == pytest.approx(np.exp(best.x), rel=2e-3)


def test_a_given_size_spends_the_rest_on_tokens(chinchilla_fit):
    plan = bs.plan(chinchilla_fit, budget_flops=1e22, fixed={"N": 7e9})
    assert plan.recommended["T"] == pytest.approx(1e22 / 6 / 7e9)
    assert "best size" not in plan.text.lower()
    back = bs.plan(chinchilla_fit, budget_flops=1e22, fixed={"T": plan.recommended["T"]})
    assert back.recommended["N"] == pytest.approx(7e9, rel=1e-3)


def test_both_given_says_cost_and_loss(chinchilla_fit):
    plan = bs.plan(chinchilla_fit, fixed={"N": 7e9, "T": 1e11})
    assert plan.recommended == {"N": 7e9, "T": 1e11, "budget_flops": pytest.approx(4.2e21)}
    curve = bs.predict(chinchilla_fit, at={"N": 7e9, "T": 1e11}, kind="mean").draws.values[:, 0]
    np.testing.assert_allclose(plan.draws["loss_planned"], curve)


def test_real_sizes_are_chosen_from(chinchilla_fit):
    plan = bs.plan(chinchilla_fit, budget_flops=1e22, sizes=[1e9, 7e9, 13e9])
    assert plan.recommended["N"] == 7e9
    assert set(np.unique(plan.draws["N"])) <= {1e9, 7e9, 13e9}


def test_hours_carry_the_uncertainty_of_utilisation(chinchilla_fit):
    plan = bs.plan(chinchilla_fit, budget_gpu_hours=1e6, gpu="h100", mfu=(0.35, 0.45))
    low, high = np.quantile(plan.draws["budget_flops"], [0.05, 0.95])
    assert low / (1e6 * 3600 * 989e12) == pytest.approx(0.35, abs=0.005)
    assert high / (1e6 * 3600 * 989e12) == pytest.approx(0.45, abs=0.005)
    np.testing.assert_allclose(plan.draws["gpu_hours"], 1e6, rtol=1e-6)


def test_four_units_and_money(chinchilla_fit):
    plan = bs.plan(
        chinchilla_fit, budget_flops=1e22, mfu=0.4, price_per_gpu_hour=2.0, tokens_per_sample=256
    )
    t = plan.table
    assert t.plan["gpu_hours"] == pytest.approx(7022, rel=0.001)  # printed in the literature
    assert t.plan["money"] == pytest.approx(2 * t.plan["gpu_hours"])
    assert t.plan["samples"] == pytest.approx(t.plan["T"] / 256)
    assert t.plan["compute"] == 1e22


def test_other_costs_move_the_plan(chinchilla_fit):
    plain = bs.plan(chinchilla_fit, budget_flops=1e21)
    other = bs.plan(chinchilla_fit, budget_flops=1e21, cost=CrossAttention(context=1280))
    n, t = other.draws["N"].values, other.draws["T"].values
    np.testing.assert_allclose(CrossAttention(context=1280).flops(n, t), 1e21, rtol=1e-9)
    assert other.recommended["N"] != pytest.approx(plain.recommended["N"], rel=0.01)


def test_isoflop_law_plans_its_own_optimum(chinchilla):
    fit = bs.fit(bs.LossModel("isoflop"), chinchilla, method="fast", draws=250)
    plan = bs.plan(fit, budget_flops=1e22)
    p = fit["posterior"].dataset
    by_law = (p["G"] * 1e22 ** p["a"]).values.reshape(-1)
    np.testing.assert_allclose(plan.draws["N"], by_law, rtol=2e-3)


def test_frontier_slope_is_the_ratio_of_exponents(chinchilla_fit):
    frontier = bs.frontier(chinchilla_fit, [1e20, 1e22, 1e24])
    p = chinchilla_fit["posterior"].dataset
    a = (p["beta"] / (p["alpha"] + p["beta"])).values.reshape(-1)
    np.testing.assert_allclose(frontier.exponents["N"], a, atol=1e-4)
    assert list(frontier.table.decades_beyond > 0) == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, SpecError, "A plan needs a budget or a target"),
        ({"budget_flops": 1e22, "target_loss": 2.0}, SpecError, "One question at a time"),
        ({"budget_flops": -1}, DataError, "`budget_flops` must be positive; got -1"),
        (
            {"target_loss": 1.5},
            DataError,
            r"reached in only 0 % of the posterior draws. The floor E",
        ),
        ({"budget_flops": 1e22, "gpu": "h10"}, SpecError, "h100|H100"),
        ({"budget_flops": 1e22, "sizes": []}, SpecError, "`sizes` is empty"),
        ({"budget_flops": 1e22, "mfu": 40}, SpecError, "40 % is 0.4"),
    ],
)
def test_questions_that_cannot_be_answered_say_why(chinchilla_fit, arguments, error, message):
    with pytest.raises(error, match=message):
        bs.plan(chinchilla_fit, **arguments)


def test_a_law_of_one_axis_cannot_plan(chinchilla):
    fit = bs.fit(bs.LossModel("compute"), chinchilla, method="fast", draws=250)
    with pytest.raises(SpecError, match="A plan chooses N and T, and the law `compute`"):
        bs.plan(fit, budget_flops=1e22)


def test_far_plans_warn(chinchilla_fit):
    with pytest.warns(ExtrapolationWarning):
        bs.plan(chinchilla_fit, budget_flops=1e27)
