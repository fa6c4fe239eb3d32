"""Fits of `HyperparameterModel` to tables of known truth: recovery, reload, check, variants."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bayescale as bs
from bayescale.datasets.simulated_sweep import STEPLAW
from bayescale.inference import opened

FAST = {"method": "fast", "draws": 500, "progressbar": False}
NOISE_SCALE = {k: v for k, v in STEPLAW.items() if k != "rate_B"}
CELL = {k: v for k, v in NOISE_SCALE.items() if not k.endswith(("_N", "_T"))}
ONE_CELL = {k: v for k, v in CELL.items() if k.startswith(("batch", "rate"))} | {
    "E": 2.6, "batch_coefficient": 4e5, "rate_coefficient": 1.2e-3,
}  # fmt: skip


def z_scores(fit, truth, names) -> dict[str, float]:
    """Distance of the posterior mean from the truth in posterior sd."""
    drawn = {name: opened(fit).draws(name) for name in names}
    return {name: float((x.mean() - truth[name]) / x.std()) for name, x in drawn.items()}


def close(fit, runs, names, limit: float = 3.5) -> None:
    truth = json.loads(runs.attrs["truth"])
    found = z_scores(fit, truth, names)
    assert all(abs(z) < limit for z in found.values()), found


@pytest.fixture(scope="module")
def one_cell():
    """One size and one length: 64 runs on a grid of batches and rates, some diverged."""
    return bs.datasets.simulate_sweep(
        None, ONE_CELL, multiples=np.geomspace(0.12, 8.0, 8), cliff=1.6, random_seed=4
    )


@pytest.fixture(scope="module")
def one_fit(one_cell):
    return bs.fit(bs.HyperparameterModel(None), one_cell, **FAST)


def test_one_cell_needs_no_law(one_cell, one_fit):
    assert opened(one_fit).ok
    close(one_fit, one_cell, ("E", "rate_noise_scale", "batch_coefficient", "rate_coefficient"))
    assert abs(opened(one_fit).draws("cliff").mean() - 1.6) < 0.5


def test_a_reloaded_fit_predicts_and_judges_the_same(one_fit, tmp_path):
    one_fit.to_netcdf(tmp_path / "fit.nc")
    back = bs.load_fit(tmp_path / "fit.nc")
    assert back.attrs["bayescale"] == one_fit.attrs["bayescale"]
    for at in ({"batch_size": [2e5, 1e6], "learning_rate": 1e-3}, {"learning_rate": 2e-3}):
        for kind in ("mean", "response"):
            a, b = (bs.predict(f, at=at, kind=kind).draws for f in (one_fit, back))
            assert a.equals(b)
    assert bs.check(one_fit).text == bs.check(back).text


def test_the_loss_is_lowest_where_hyperparameters_are_left_out(one_fit):
    best = bs.predict(one_fit, at={"batch_size": [4e5]}, kind="mean").draws.values
    for rate in (3e-4, 1.2e-3, 4e-3):
        at = {"batch_size": [4e5], "learning_rate": [rate]}
        assert np.all(bs.predict(one_fit, at=at, kind="mean").draws.values >= best - 1e-12)


def test_check_has_cards_of_its_own(one_fit):
    found = bs.check(one_fit)
    cards = {c.title: c for c in found.cards}
    assert found.status != "FAIL", found.text
    assert cards["optimum on the edge"].status == "PASS"
    assert "may be off by a factor" in cards["how flat"].finding
    assert "runs diverged (the cliff gives" in cards["divergence"].finding
    assert cards["calibration"].status == "PASS", found.text
    assert set(found.data["parameter"].values) >= {"rate_noise_scale", "price_noise", "cliff"}
    assert found.plot() is not None


def test_a_grid_that_misses_the_best_batch_gives_a_bound():
    runs = bs.datasets.simulate_sweep(
        None, ONE_CELL, guess=0.0, random_seed=5,
        multiples={"batch_size": (3, 5, 8, 12, 20, 32), "learning_rate": np.geomspace(0.2, 5, 8)},
    )  # fmt: skip
    fit = bs.fit(bs.HyperparameterModel(None), runs, **FAST)
    smallest = float(runs["batch_size"].min())
    best = opened(fit).draws("batch_coefficient")
    assert np.mean(best < smallest) > 0.9  # one-sided: below the grid
    low, high = np.log(np.quantile(best, [0.05, 0.95]))
    assert low < np.log(4e5) < high and high - low > 0.4  # and not known well
    card = next(c for c in bs.check(fit).cards if c.title == "optimum on the edge")
    assert card.status == "WARNING"
    assert "In 1 of 1 cells the best `batch_size` lies below all that was tried" in card.finding


def test_bad_noise_is_seen_by_the_check(one_cell):
    """A planted fault: rates of 600-token batches on, and a bend that no bowl has."""
    bent = one_cell.copy(deep=True)
    x = np.log(bent["batch_size"].values)
    wave = 0.03 * np.sin(3.0 * x)
    bent["loss"] = bent["loss"] * np.exp(wave)
    fit = bs.fit(bs.HyperparameterModel(None), bent, **FAST)
    cards = {c.title: c for c in bs.check(fit).cards}
    assert cards["shape of the law"].status != "PASS" or cards["outliers"].status != "PASS"


@pytest.mark.statistical
def test_truncated_tables_are_not_taken_for_good_ones():
    """A quarter of the runs dropped above a loss: the bowl of the rest, given that, is right."""
    kw = {"multiples": np.geomspace(0.1, 10.0, 9), "random_seed": 6}
    whole = bs.datasets.simulate_sweep(None, ONE_CELL, **kw)
    limit = float(np.quantile(whole["loss"].values, 0.75))
    runs = bs.datasets.simulate_sweep(None, ONE_CELL, truncated_at=limit, **kw)
    assert runs.attrs["left_out"] >= 15
    fit = bs.fit(bs.HyperparameterModel(None, truncated_at=limit), runs, **FAST)
    close(fit, runs, ("E", "rate_noise_scale", "rate_price", "batch_price", "rate_coefficient"))


SIZES = {"N": [[1e8], [3e8], [1e9]], "T": [4e9, 3e10]}
STEPS = (0.3, 0.8, 1.6, 4.0)


@pytest.mark.statistical
def test_noise_scale_is_recovered():
    truth = {k: v for k, v in STEPLAW.items() if k != "rate_B"}
    truth |= {"rate_noise_scale": 2.0, "A": 0.4}
    runs = bs.datasets.simulate_sweep(
        "interacting", truth, rate_form="noise_scale", multiples=np.geomspace(0.1, 8, 6),
        random_seed=7, **SIZES,
    )  # fmt: skip
    fit = bs.fit(bs.HyperparameterModel(rate_form="noise_scale"), runs, **FAST)
    close(fit, runs, ("rate_noise_scale", "batch_T", "rate_N", "rate_T"))


@pytest.mark.statistical
def test_a_switch_finds_the_planted_shift():
    planted = {"mup_loss": -0.01, "mup_batch": 0.3, "mup_rate": 0.8, "mup_rate_N": 0.6}
    runs = bs.datasets.simulate_sweep(
        "interacting", NOISE_SCALE | planted, switches=("mup",), multiples=STEPS, random_seed=8,
        N=np.array([1e8, 3e8, 1e9])[:, None, None], T=np.array([4e9, 3e10])[None, :, None],
        mup=np.array([0.0, 1.0]),
    )  # fmt: skip
    fit = bs.fit(bs.HyperparameterModel(switches=("mup",)), runs, **FAST)
    close(fit, runs, ("mup_loss", "mup_batch", "rate_N", "rate_T"))
    # shifts are about the pivot of the fit, planted ones about the law's N0
    pivot = opened(fit).law.scales["N"]
    shift = 0.8 + 0.6 * np.log(pivot / 1e8)
    drawn = opened(fit).draws("mup_rate")
    assert abs(drawn.mean() - shift) < 3.5 * drawn.std()


@pytest.mark.statistical
def test_weight_decay_joins_by_its_name():
    own = {
        "weight_decay_coefficient": 0.1, "weight_decay_price": 0.006,
        "weight_decay_rise": 0.8, "weight_decay_fall": 0.4, "weight_decay_ceiling": 0.4,
    }  # fmt: skip
    names = ("batch_size", "learning_rate", "weight_decay")
    runs = bs.datasets.simulate_sweep(
        None, ONE_CELL | own, hyperparameters=names, multiples=STEPS, random_seed=9
    )
    fit = bs.fit(bs.HyperparameterModel(None, names), runs, **FAST)
    close(fit, runs, ("weight_decay_coefficient", "weight_decay_price", "rate_noise_scale"))


@pytest.mark.statistical
@pytest.mark.parametrize("family", ["partial", "separate"])
def test_families_are_fitted_and_predicted(family):
    frames = []
    for seed, (name, rate) in enumerate((("cat", 8e-4), ("dog", 3e-3))):
        runs = bs.datasets.simulate_sweep(
            None, ONE_CELL | {"rate_coefficient": rate}, multiples=np.geomspace(0.2, 5.0, 6),
            random_seed=10 + seed,
        )  # fmt: skip
        columns = ("batch_size", "learning_rate", "loss")
        frames.append({k: runs[k].values for k in columns} | {"kind": np.full(36, name)})
    table = {k: np.concatenate([f[k] for f in frames]) for k in frames[0]}
    named = {k: k for k in ("batch_size", "learning_rate", "loss")}
    runs = bs.as_runs(table, named | {"N": None, "T": None}, family="kind")
    fit = bs.fit(bs.HyperparameterModel(None, family=family), runs, **FAST)
    for name, rate in (("cat", 8e-4), ("dog", 3e-3)):
        drawn = np.log(opened(fit).draws("rate_coefficient", name))
        assert abs(drawn.mean() - np.log(rate)) < 3.5 * drawn.std()
    at = {"batch_size": 4e5, "family": ["cat", "dog"]}
    assert bs.predict(fit, at=at, kind="mean").draws.shape[1] == 2
    assert bs.check(fit).status != "FAIL"
