"""Fixed hyperparameters: what may not change does not; what must agrees with brute force."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import bayescale as bs
from bayescale.errors import SpecError
from bayescale.habit.refit import additive_constants
from tests.known_surface import known_fit
from tests.test_tune import KNOWN, batch_price, rate_price

STILL = KNOWN | {"batch_coefficient": 4e5, "batch_T": 0.0, "rate_coefficient": 1e-3,
                 "rate_N": 0.0, "rate_T": 0.0}  # fmt: skip
LAW = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}
BUDGETS = np.geomspace(1e19, 1e22, 4)


def known(**optimum):
    """A surface over the additive law, every draw the same."""
    truth = STILL | LAW | optimum
    sizes, lengths = np.geomspace(6e7, 1e9, 4)[:, None], np.geomspace(2e9, 5e10, 3)
    runs = bs.datasets.simulate_sweep("additive", truth, N=sizes, T=lengths, rate_form="power")
    return known_fit(bs.HyperparameterModel("additive", rate_form="power"), runs, truth, n=10)


def test_a_habit_that_costs_the_same_everywhere_moves_no_size():
    still = known()
    answer = bs.habit(still, batch_size=8e5, learning_rate=3e-3, budgets_flops=BUDGETS)
    z = np.log(2.0)
    lost = batch_price(z) + rate_price(np.log(3) - 0.5 * z)
    np.testing.assert_allclose(answer.data["size_ratio"], 1.0, rtol=1e-4)
    np.testing.assert_allclose(np.log1p(answer.data["lost"]), lost, rtol=1e-6)
    np.testing.assert_allclose(answer.data["lost_by_size"], 0.0, atol=1e-8)
    e = answer.exponents["median"]
    assert e["tuned"] == pytest.approx(0.28 / 0.62, abs=1e-4)  # beta / (alpha + beta)
    assert e["difference"] == pytest.approx(0.0, abs=1e-4)
    assert e["gap, tuned"] < 1e-3 and e["gap, habit"] < 1e-3
    constants = answer.constants["median"]
    for name in ("E", "A", "B"):  # the whole law is lifted by one factor
        assert constants[f"{name}, habit"] == pytest.approx(LAW[name] * np.exp(lost), rel=1e-3)


def test_the_best_habit_loses_nothing():
    still = known()
    answer = bs.habit(still, batch_size=4e5, learning_rate=1e-3, budgets_flops=BUDGETS)
    assert abs(answer.data["lost"].values).max() < 1e-9


def test_a_moving_optimum_moves_the_size_as_brute_force_says():
    moving = known(rate_N=-0.5, rate_coefficient=1e-3 * 3e8**0.5)
    answer = bs.habit(moving, batch_size=4e5, learning_rate=1e-3, budgets_flops=BUDGETS)
    for k, budget in enumerate(BUDGETS):

        def loss(log_size, budget=budget):
            size = np.exp(log_size)
            tuned = 1.7 + 400 * size**-0.34 + 410 * (budget / 6 / size) ** -0.28
            miss = 0.5 * np.log(size / 3e8)  # a fixed rate, too high for large models
            return tuned * np.exp(rate_price(miss))

        best = minimize_scalar(loss, bounds=(15, 27), method="bounded", options={"xatol": 1e-8})
        np.testing.assert_allclose(answer.data["N_habit"][:, k], np.exp(best.x), rtol=2e-3)
    assert answer.exponents["upper"]["difference"] < -0.01
    assert (answer.data["lost_by_size"].values > -1e-9).all()
    assert "The habit: a batch of 400 k tokens and a learning rate of 0.00100 for every run." in (
        answer.text
    )


def test_without_a_habit_it_is_what_suits_the_middle():
    still = known()
    answer = bs.habit(still, budgets_flops=BUDGETS)
    assert answer.kept["batch_size"] == pytest.approx(4e5, rel=1e-3)
    assert "the best at N = 245 M, T = 10.0 B" in answer.text


def test_additive_constants_are_found_for_every_draw():
    rng = np.random.default_rng(0)
    N, T = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e10, 5), np.geomspace(1e9, 1e12, 5)))
    truth = {
        "E": rng.uniform(1, 2, 40), "A": rng.uniform(100, 600, 40), "B": rng.uniform(100, 900, 40),
        "alpha": rng.uniform(0.25, 0.5, 40), "beta": rng.uniform(0.2, 0.5, 40),
    }  # fmt: skip
    p = {k: v[:, None] for k, v in truth.items()}
    found = additive_constants(N, T, p["E"] + p["A"] * N ** -p["alpha"] + p["B"] * T ** -p["beta"])
    for name, values in truth.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)


def test_a_law_without_hyperparameters_has_no_habits(chinchilla_fit):
    with pytest.raises(SpecError, match="HyperparameterModel"):
        bs.habit(chinchilla_fit, batch_size=1e5)
