"""Log odds of divergence by hand, what enters them, and where a run's tokens come from."""

import numpy as np
import pytest

import bayescale as bs
from bayescale.laws import get
from bayescale.laws.surface import Surface
from bayescale.models.arrays import arrays
from bayescale.models.divergence import log_odds, log_probability, tried_runs, variables

NUMPY = arrays("numpy")
VALUES = {"cliff": 2.0, "cliff_width": 0.5, "cliff_N": 0.1, "cliff_T": -0.2, "cliff_B": 0.3}


def test_log_odds_by_hand():
    # z = 3, N = e N0, T = T0/e, B = e^2 B*: (3 - 2 - 0.1 - 0.2 - 0.6) / 0.5 = 0.2
    surface = Surface(get("additive"))
    misses = {"learning_rate": np.array([3.0]), "batch_size": np.array([2.0])}
    inputs = {"N": np.array([np.e * 1e8]), "T": np.array([1e10 / np.e])}
    odds = log_odds(surface, misses, inputs, VALUES, {"N": 1e8, "T": 1e10}, NUMPY)
    assert odds == pytest.approx([0.2])
    p = np.exp(log_probability(odds, np.array([True]), NUMPY))
    assert p == pytest.approx([1 / (1 + np.exp(-0.2))])
    other = np.exp(log_probability(odds, np.array([False]), NUMPY))
    assert p + other == pytest.approx([1.0])


def test_at_the_cliff_half_the_runs_diverge_and_more_above():
    surface = Surface(get("additive"))
    z = np.array([2.0, 2.5, 0.0])
    at = {"N": np.full(3, 1e8), "T": np.full(3, 1e10)}
    misses = {"learning_rate": z, "batch_size": np.zeros(3)}
    odds = log_odds(surface, misses, at, VALUES, {"N": 1e8, "T": 1e10}, NUMPY)
    p = 1 / (1 + np.exp(-odds))
    assert p[0] == pytest.approx(0.5) and p[1] > 0.7 and p[2] < 0.02


def test_variables_follow_the_inputs_of_the_law():
    assert set(variables(Surface(get("additive")))) == set(VALUES)
    alone = Surface(get("data"), ("learning_rate",))
    assert set(variables(alone)) == {"cliff", "cliff_width", "cliff_T"}


def table():
    return {
        "N": [1e8] * 4 + [1e9] * 2, "T": [2e9, 2e9, 6e9, np.nan, 2e10, 2e10],
        "batch_size": [1e5, 2e5, 1e5, 2e5, 1e5, 2e5],
        "learning_rate": [1e-3, 2e-3, 1e-3, 2e-2, 1e-3, 3e-3],
        "loss": [3.0, 3.1, 2.9, np.nan, 2.5, 2.6],
        "status": ["completed"] * 3 + ["diverged"] + ["completed"] * 2,
    }  # fmt: skip


def test_a_diverged_run_without_tokens_stands_where_runs_of_its_size_end():
    runs = bs.as_runs(table(), {k: k for k in table()})
    surface = Surface(get("additive"))
    flat = bs.HyperparameterModel("additive").readings(runs)
    tried = tried_runs(runs, flat, surface, ("all",), False)
    assert tried is not None and tried.diverged.sum() == 1 and len(tried.diverged) == 6
    at = int(np.flatnonzero(tried.diverged)[0])
    assert tried.inputs["T"][at] == 2e9  # the median of 2e9, 2e9, 6e9
    assert tried.inputs["learning_rate"][at] == 2e-2


def test_without_diverged_runs_there_is_no_cliff():
    kept = {k: [x for i, x in enumerate(v) if i != 3] for k, v in table().items()}
    runs = bs.as_runs(kept, {k: k for k in kept})
    density = bs.HyperparameterModel("additive").density(runs)
    assert density.tried is None
    assert not any("cliff" in v.name for v in density.variables)
    with_one = bs.HyperparameterModel("additive").density(
        bs.as_runs(table(), {k: k for k in table()})
    )
    assert {"cliff", "cliff_width", "cliff_B"} <= {v.name for v in with_one.variables}
