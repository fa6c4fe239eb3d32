"""The benchmark on StepLaw's table: data, splits, methods and scores do what they say."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import bayescale as bs
from bayescale.laws.optimum import bowl as package_bowl
from benchmarks.hyperparameters import baselines as methods
from benchmarks.hyperparameters import metrics, steplaw, study, subsets
from benchmarks.hyperparameters.cell_bowl import CellBowl, OwnBowls, bowl, fit_cell
from benchmarks.hyperparameters.methods import AbstractFitted
from benchmarks.hyperparameters.tables import aims, averages, over_seeds

ROOT = Path(__file__).parent.parent
BOTTOM = np.array([np.log(2.2), np.log(4e5), np.log(1.5e-3)])  # l, ln B*, ln eta* of planted cells


def planted_cell(noise: float, seed: int = 0, tilt: float = 0.4, spread: float = 1.0):
    """A cell of 80 runs on a grid around a known bowl, and its bowl."""
    shapes, ceilings = np.log([0.6, 0.9, 1.2, 0.5]), np.log([0.5, 0.3])
    theta = np.array([*BOTTOM, tilt, np.log(0.012), np.log(0.02), *shapes, *ceilings])
    truth = CellBowl("planted", theta, noise, np.tile(BOTTOM, (50, 1)))
    b, e = np.meshgrid(
        BOTTOM[1] + spread * np.linspace(-2.2, 2.4, 10), BOTTOM[2] + np.linspace(-1.4, 1.4, 8)
    )
    b, e = b.ravel(), e.ravel()
    y = theta[0] + truth.price(b, e) + noise * np.random.default_rng(seed).standard_normal(len(b))
    frame = pd.DataFrame({"batch_size": np.exp(b), "learning_rate": np.exp(e), "loss": np.exp(y)})
    return frame.assign(cell="planted", N=2e8, T=1e10, flops=1.2e19), truth


def runs_of(frame: pd.DataFrame):
    return bs.as_runs(frame.drop(columns="flops"), units={"batch_size": 1, "learning_rate": 1})


def planted_surface(log_loss, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Nine cells of 48 runs, with a given law of the log loss in centred logs."""
    rows = []
    for N in (6e7, 2e8, 6e8):
        for T in (2e9, 1e10, 5e10):
            b, e = np.meshgrid(np.geomspace(5e4, 2e6, 8), np.geomspace(3e-4, 6e-3, 6))
            grid = {"batch_size": b.ravel(), "learning_rate": e.ravel()}
            rows.append(pd.DataFrame({"N": N, "T": T, "cell": f"{N:g}_{T:g}", **grid}))
    frame = pd.concat(rows, ignore_index=True)
    x = np.log(frame[["N", "T", "batch_size", "learning_rate"]] / [2e8, 1e10, 3e5, 1e-3])
    y = log_loss(*x.to_numpy().T)
    y = y + noise * np.random.default_rng(seed).standard_normal(len(y))
    return frame.assign(loss=np.exp(y), flops=6 * frame["N"] * frame["T"])


# --- the table and its splits ---------------------------------------------------------------------


def test_the_table_is_whole_and_in_tokens():
    frame = steplaw.table(steplaw.load())
    assert len(frame) == 2702
    assert frame["cell"].nunique() == 41
    assert frame.groupby("cell").size().agg(["min", "max"]).tolist() == [34, 120]
    # whole numbers would overflow: 1.07e9 parameters times 5.7e10 tokens is more than 2^63 / 6
    np.testing.assert_allclose(frame["flops"], 6.0 * frame["N"] * frame["T"], rtol=1e-12)
    assert frame["flops"].max() == pytest.approx(3.6657e20, rel=1e-4)
    assert frame["batch_size"].agg(["min", "max"]).tolist() == [16 * 2048, 2048 * 2048]
    assert frame["loss"].max() < 4  # what diverged is missing
    assert frame["loss"].sum() == pytest.approx(6736.73775668, abs=1e-6)  # of the source file
    assert steplaw.cells(steplaw.load())[-1] == steplaw.LARGEST


def test_what_is_held_back_is_not_there():
    frame = steplaw.table(steplaw.load())
    assert not ((frame["N"] > 1e9) & (frame["T"] > 9e10)).any()


def test_no_release_carries_the_table():
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    assert set(targets["wheel"]["packages"]) == {"bayescale", "training"}
    assert "/benchmarks/data" in targets["sdist"]["exclude"]
    assert not list((ROOT / "bayescale").rglob("*steplaw*"))
    assert "CC-BY-4.0" in (ROOT / "benchmarks/data/LICENCES.md").read_text()


def test_no_cell_that_is_reported_was_seen_by_a_choice():
    looked_at = {cell for each in steplaw.choosing() for cell in steplaw.cells(each.fitted)}
    looked_at |= {cell for each in steplaw.choosing() for cell in each.cells}
    reported = {cell for each in steplaw.reporting() for cell in each.cells}
    assert len(looked_at) == 20
    assert not looked_at & reported


def test_splits_predict_larger_cells_from_smaller_ones():
    every = steplaw.reporting()
    assert len(every) >= 6
    assert [len(each.cells) for each in every] == [21, 17, 14, 11, 8, 4, 2]
    for each in [*every, *steplaw.choosing()]:
        assert float(each.fitted["flops"].max()) < float(each.held_out["flops"].min())
    for each in every:
        assert each.fitted.sizes["run"] + each.held_out.sizes["run"] == 2702
        assert each.cells[-1] == steplaw.LARGEST


def test_runs_near_the_best_are_near_their_own_cells_best():
    frame = pd.DataFrame({"cell": list("aabb"), "loss": [2.0, 2.02, 3.0, 3.2]})
    assert steplaw.near_best(frame, 0.02).tolist() == [True, True, True, False]
    assert steplaw.near_best(frame, 0.0).tolist() == [True, False, True, False]


# --- what a cell says of itself -------------------------------------------------------------------


def test_bowl_is_zero_at_the_bottom_with_unit_curvature():
    h = 1e-4
    for rise, fall in ((0.3, 2.0), (1.2, 0.5)):
        low, middle, high = bowl(np.array([-h, 0.0, h]), rise, fall)
        assert middle == 0
        assert (low + high) / h**2 == pytest.approx(1.0, rel=1e-4)
        assert (high - low) / (2 * h) == pytest.approx(0.0, abs=1e-7)
    assert bowl(np.array([1.0]), 1.2, 0.5) > bowl(np.array([-1.0]), 1.2, 0.5)


def test_bowl_is_that_of_the_package_by_another_route():
    z = np.linspace(-3, 3, 13)
    for rise, fall in ((0.3, 2.0), (1.2, 0.5)):
        there = package_bowl(z, rise, fall, xp=np)
        np.testing.assert_allclose(bowl(z, rise, fall), there, rtol=1e-10, atol=1e-14)


def test_a_cell_gives_back_its_planted_optimum():
    frame, truth = planted_cell(noise=0.001)
    found = fit_cell("planted", frame, resamples=40)
    sd = found.draws.std(axis=0)
    assert np.all(np.abs(found.theta[:3] - BOTTOM) < 4 * sd)
    assert sd[1] < 0.2 and sd[2] < 0.2
    assert found.noise == pytest.approx(0.001, rel=0.5)
    far = found.price(np.array([BOTTOM[1] + 2]), np.array([BOTTOM[2] + 1]))
    assert far == pytest.approx(truth.price(np.array([BOTTOM[1] + 2]), np.array([BOTTOM[2] + 1])),
                                rel=0.1)  # fmt: skip


def test_diverging_runs_do_not_move_the_bottom():
    frame, _ = planted_cell(noise=0.001)
    clean = fit_cell("planted", frame, resamples=0)
    bad = frame.copy()
    bad.loc[bad.index[::16], "loss"] *= 1.3
    spoilt = fit_cell("planted", bad, resamples=0)
    assert np.all(np.abs(spoilt.theta[:3] - clean.theta[:3]) < [0.002, 0.25, 0.25])


@pytest.mark.statistical
def test_bootstrap_error_of_an_optimum_is_its_scatter():
    """Over 40 tables of one truth: the bootstrap sd is within a factor 1.6 of the real one."""
    found = [fit_cell("p", planted_cell(0.0015, seed)[0], 40, seed) for seed in range(40)]
    real = np.std([each.theta[:3] for each in found], axis=0)
    claimed = np.median([each.draws.std(axis=0) for each in found], axis=0)
    assert np.all((claimed / real > 1 / 1.6) & (claimed / real < 1.6)), claimed / real


# --- methods --------------------------------------------------------------------------------------


def quadratic_truth(n, t, b, e):
    zb, ze = b - 0.6 * t - 0.1 * n, e + 0.4 * n - 0.3 * t
    return 0.8 - 0.06 * n - 0.05 * t + 0.004 * n * t + 0.01 * zb**2 + 0.02 * ze**2 - 0.01 * zb * ze


def test_quadratic_finds_a_planted_quadratic_and_its_bottom():
    runs = runs_of(planted_surface(quadratic_truth, noise=1e-6))
    fitted = methods.Quadratic().fit(runs)
    at = pd.DataFrame({"N": [1.5e9], "T": [2e11], "batch_size": [2e6], "learning_rate": [8e-4]})
    x = np.log(at.iloc[0] / [2e8, 1e10, 3e5, 1e-3]).to_numpy()
    assert np.log(np.median(fitted.predict(at))) == pytest.approx(quadratic_truth(*x), abs=1e-4)
    n, t = np.log(1e9 / 2e8), np.log(3e10 / 1e10)
    by_search = minimize(lambda z: quadratic_truth(n, t, *z), [0.0, 0.0], tol=1e-12).x
    chosen = fitted.choose(np.array([1e9]), np.array([3e10]))[0] - np.log([3e5, 1e-3])
    np.testing.assert_allclose(chosen, by_search, atol=1e-3)


def test_quadratic_without_a_minimum_takes_a_corner_of_what_was_seen():
    saddle = runs_of(planted_surface(lambda n, t, b, e: 0.8 - 0.05 * n - 0.01 * b**2 + 0.1 * e))
    chosen = np.exp(methods.Quadratic().fit(saddle).choose(np.array([1e9]), np.array([1e10])))[0]
    assert chosen[1] == pytest.approx(3e-4 / np.e, rel=1e-6)
    assert chosen[0] == pytest.approx(5e4 / np.e, rel=1e-6) or chosen[0] == pytest.approx(
        2e6 * np.e, rel=1e-6
    )


def test_quadratics_intervals_cover_when_it_is_right():
    runs = runs_of(planted_surface(quadratic_truth, noise=0.003))
    new = planted_surface(quadratic_truth, noise=0.003, seed=1)
    draws = methods.Quadratic().fit(runs).predict(new)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    inside = np.mean((low <= new["loss"]) & (new["loss"] <= high))
    assert 0.86 < inside < 0.94  # 432 runs: sd 0.014


def test_window_draws_a_line_through_the_best_runs():
    """With a fine optimum on the grid in every cell, the line is the planted one."""
    frame = planted_surface(quadratic_truth)
    best = frame.loc[frame.groupby("cell")["loss"].idxmin()]
    X = np.column_stack([np.ones(9), np.log(best["N"]), np.log(best["T"])])
    by_hand = np.linalg.lstsq(X, np.log(best["batch_size"]), rcond=None)[0]
    fitted = methods.Window(share=0.0).fit(runs_of(frame))
    at = np.array([1.0, np.log(1e9), np.log(3e10)])
    chosen = fitted.choose(np.array([1e9]), np.array([3e10]))[0, 0]
    assert chosen == pytest.approx(at @ by_hand, abs=1e-6)
    assert fitted.predict(frame) is None
    assert fitted.recommend(np.array([1e9]), np.array([3e10])).shape == (methods.DRAWS, 1, 2)


def test_additive_law_with_a_bowl_gives_back_its_own_surface():
    def truth(n, t, b, e):
        zb = b - 0.1 - 0.6 * t
        ze = e - 0.2 + 0.4 * n - 0.3 * t - 0.3 * zb
        level = np.log(1.7 + 0.35 * np.exp(-0.3 * n) + 0.25 * np.exp(-0.35 * t))
        return level + 0.5 * (0.01 * zb**2 + 0.02 * ze**2)

    fitted = methods.AdditiveBowl(refits=12).fit(runs_of(planted_surface(truth, noise=0.001)))
    n, t = np.log(1e9 / 2e8), np.log(1e11 / 1e10)
    best = np.array([0.1 + 0.6 * t, 0.2 - 0.4 * n + 0.3 * t]) + np.log([3e5, 1e-3])
    chosen = fitted.choose(np.array([1e9]), np.array([1e11]))[0]
    sd = fitted.recommend(np.array([1e9]), np.array([1e11]))[:, 0].std(axis=0)
    assert np.all(np.abs(chosen - best) < 4 * sd)
    at = pd.DataFrame({"N": [1e9], "T": [1e11], "batch_size": np.exp(best[:1]),
                       "learning_rate": np.exp(best[1:])})  # fmt: skip
    expected = np.log(1.7 + 0.35 * np.exp(-0.3 * n) + 0.25 * np.exp(-0.35 * t))
    assert np.log(np.median(fitted.predict(at))) == pytest.approx(expected, abs=0.01)


def test_published_law_is_the_printed_one():
    fitted = methods.PublishedLaw().fit(steplaw.load())
    chosen = np.exp(fitted.choose(np.array([1e9]), np.array([1e11])))[0]
    np.testing.assert_allclose(chosen, [0.58 * 1e11**0.571, 1.79 * 1e9**-0.713 * 1e11**0.307])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayescale.errors.ConvergenceWarning")
def test_our_model_answers_as_a_method():
    """Nine small cells of a planted surface: losses within the noise, the optimum where it is."""
    from benchmarks.hyperparameters.posterior import Posterior

    def truth(n, t, b, e):
        zb = b - 0.1 - 0.6 * t
        ze = e - 0.2 + 0.4 * n - 0.3 * t - 0.3 * zb
        level = np.log(1.7 + 0.35 * np.exp(-0.3 * n) + 0.25 * np.exp(-0.35 * t))
        return level + 0.012 * np.expm1(0.7 * zb) - 0.0084 * zb + 0.02 * np.cosh(ze) - 0.02

    frame = planted_surface(truth, noise=0.002)
    form = (("loss_law", "additive"), ("rate_form", "power"))  # as the rate follows the batch here
    fitted = Posterior(options=form).fit(runs_of(frame))
    error = np.log(np.median(fitted.predict(frame), axis=0) / frame["loss"].to_numpy())
    assert np.sqrt(np.mean(error**2)) < 0.004
    N, T = np.array([2e8, 6e8]), np.array([1e10, 5e10])
    n, t = np.log(N / 2e8), np.log(T / 1e10)
    best = np.column_stack([0.1 + 0.6 * t, 0.2 - 0.4 * n + 0.3 * t]) + np.log([3e5, 1e-3])
    draws = fitted.recommend(N, T)
    assert draws.shape[1:] == (2, 2)
    np.testing.assert_allclose(fitted.choose(N, T), best, atol=0.15)
    assert fitted.health["fit CPU s"] > 0


# --- scores ---------------------------------------------------------------------------------------


def test_r2_pays_for_a_wrong_level_unless_forgiven():
    loss = np.array([2.0, 2.1, 2.2])
    frame = pd.DataFrame({"loss": loss, "predicted": loss + 0.1})
    assert metrics.r2(frame) == pytest.approx(1 - 0.03 / 0.02)
    assert metrics.r2(frame, level_free=True) == pytest.approx(1.0)


def test_regret_three_ways_by_hand():
    frame, truth = planted_cell(noise=0.0)
    here = metrics.regret(BOTTOM[1:], frame, truth)
    assert here["bowl at advice"] == pytest.approx(0.0, abs=1e-9)
    assert 0 <= here["run over best run"] < 0.3  # rounding to the grid
    worst = frame.loc[frame["loss"].idxmax()]
    advice = np.log([worst["batch_size"], worst["learning_rate"]])
    there = metrics.regret(advice, frame, truth)
    price = truth.price(advice[:1], advice[1:])[0]
    assert there["run over bowl"] == pytest.approx(100 * np.expm1(price))
    assert there["bowl at advice"] == pytest.approx(100 * np.expm1(price))
    least = frame["loss"].min()
    assert there["run over best run"] == pytest.approx(100 * (worst["loss"] / least - 1))


class Guess(AbstractFitted):
    """Optima normal about a centre, losses about a truth, each with a stated width."""

    def __init__(self, truth, sd, noise, seed=5):
        self.truth, self.sd, self.noise, self.seed = truth, sd, noise, seed

    def predict(self, points):
        b, e = np.log(points["batch_size"].to_numpy()), np.log(points["learning_rate"].to_numpy())
        rng = np.random.default_rng(self.seed)
        mean = self.truth.theta[0] + self.truth.price(b, e)
        return np.exp(mean + self.noise * rng.standard_normal((800, len(b))))

    def recommend(self, N, T):
        rng = np.random.default_rng(self.seed)
        return self.truth.optimum + self.sd * rng.standard_normal((800, len(N), 2))


def test_coverage_finds_intervals_that_are_too_narrow():
    frame, truth = planted_cell(noise=0.002, seed=3)
    runs = runs_of(frame)
    here = steplaw.Split("planted", runs, runs)
    honest = metrics.score("honest", Guess(truth, 0.1, 0.002), here, {"planted": truth}).row()
    narrow = metrics.score("narrow", Guess(truth, 0.1, 0.001), here, {"planted": truth}).row()
    assert 0.8 < honest["coverage"] <= 1.0
    assert narrow["coverage"] < 0.75
    assert narrow["interval score %"] > honest["interval score %"]
    assert narrow["CRPS %"] > honest["CRPS %"]


def test_error_of_the_truth_is_counted_once():
    """A forecast 3 sd off an exact truth is a miss; if the truth is that uncertain, it is none."""
    frame, truth = planted_cell(noise=0.0)
    off = CellBowl("planted", truth.theta + np.eye(12)[1] * 0.3, 0.0, truth.draws)
    draws = np.random.default_rng(0).normal(0, 0.3, (200, 3)) + truth.theta[:3]
    vague = CellBowl("planted", off.theta, 0.0, draws)
    runs = runs_of(frame)
    here = steplaw.Split("planted", runs, runs)
    exact = metrics.score("g", Guess(truth, 0.1, 0.002), here, {"planted": off}).row()
    loose = metrics.score("g", Guess(truth, 0.1, 0.002), here, {"planted": vague}).row()
    assert (exact["raw ln B*"], exact["both ln B*"]) == (0.0, 0.0)
    assert (loose["raw ln B*"], loose["both ln B*"]) == (0.0, 1.0)
    assert (exact["raw ln eta*"], exact["both ln eta*"]) == (1.0, 1.0)


def test_who_saw_the_answer_has_no_regret():
    frame, truth = planted_cell(noise=0.001)
    runs = runs_of(frame)
    own = OwnBowls({"planted": truth}, {(2e8, 1e10): "planted"})
    row = metrics.score("own", own, steplaw.Split("p", runs, runs), {"planted": truth}).row()
    assert row["bowl at advice %"] == pytest.approx(0.0, abs=1e-9)
    assert row["R2 largest"] > 0.99
    assert "coverage" not in row and "raw ln B*" not in row


# --- small budgets --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool():
    return steplaw.by_compute(steplaw.BUDGET_CUT_FLOPS).fitted


@pytest.mark.parametrize("share", steplaw.BUDGETS)
def test_subsets_spend_the_budget_and_no_more(pool, share):
    budget = share * float(steplaw.load()["flops"].sum())
    for some in (subsets.cheapest(pool, budget), subsets.random(pool, budget, 1),
                 subsets.designed(pool, budget)):  # fmt: skip
        spent = float(some["flops"].sum())
        assert 0.9 * budget < spent <= budget
        assert len(set(some["run"].values)) == some.sizes["run"]


def test_subsets_are_chosen_without_the_losses(pool):
    budget = 0.01 * float(steplaw.load()["flops"].sum())
    other = pool.assign(loss=pool["loss"][::-1].drop_vars("run"))
    for choose in (subsets.cheapest, subsets.designed, lambda r, b: subsets.random(r, b, 2)):
        assert (choose(pool, budget)["run"].values == choose(other, budget)["run"].values).all()


def test_cheapest_leaves_nothing_cheaper_behind(pool):
    some = subsets.cheapest(pool, 1e21)
    left = pool["flops"].values[~np.isin(pool["run"].values, some["run"].values)]
    assert float(some["flops"].max()) <= left.min()


def test_designed_subset_fills_space_better_than_other_ways_to_spend_the_budget(pool):
    """Mean distance from a run of the pool to the nearest chosen one, in scaled logs of inputs."""
    budget = 0.01 * float(steplaw.load()["flops"].sum())
    x = np.log(steplaw.table(pool)[list(steplaw.INPUTS)].to_numpy())
    x = (x - x.min(axis=0)) / np.ptp(x, axis=0)

    def reach(runs):
        chosen = x[np.isin(pool["run"].values, runs["run"].values)]
        return np.linalg.norm(x[:, None] - chosen[None], axis=2).min(axis=1).mean()

    here = reach(subsets.designed(pool, budget))
    assert here < reach(subsets.cheapest(pool, budget))
    assert here < min(reach(subsets.random(pool, budget, seed)) for seed in range(5))


def test_split_names_lead_to_their_splits():
    assert len(study.names("budget")) == 14
    here = study.split("budget", "1%, random 3")
    assert here.cells == ["268M_100B", "537M_50B", "429M_100B", steplaw.LARGEST]
    assert study.split("reporting", study.names("reporting")[2]).name == "below 4.5e+19"


# --- tables and aims ------------------------------------------------------------------------------


def row(split: str, method: str, **figures: float):
    every = {"R2 largest": 0.95, "run over best run %": 0.05, "run over bowl %": 0.02,
             "bowl at advice %": 0.01, "coverage": 0.9, "coverage near": 0.9, "raw ln B*": 0.9,
             "both ln B*": 0.9, "raw ln eta*": 0.9, "both ln eta*": 0.9}  # fmt: skip
    return {"split": split, "method": method} | every | figures


def test_aims_are_met_and_missed_as_measured():
    own = row("a", "(each cell's own bowl)")
    good = aims({"reporting": [{"rows": [row("a", "bayescale"), own]}]})
    assert all(aim.met for aim in good)
    rows = [row("a", "bayescale", **{"R2 largest": 0.89, "coverage": 0.8}), own]
    missed = [aim.aim for aim in aims({"reporting": [{"rows": rows}]}) if not aim.met]
    assert missed == [
        "R2 >= 0.9 on the largest held-out cell, every split",
        "90 % intervals cover 85 to 95 %: losses of all held-out runs",
    ]
    failed = {"split": "a", "method": "bayescale", "failed": "not done in 5 s"}
    (aim,) = aims({"reporting": [{"rows": [failed, own]}]})
    assert (aim.met, aim.measured) == (False, "failed: a")


def test_averages_keep_the_worst():
    rows = [row("a", "m", **{"R2 largest": 0.8}), row("b", "m", **{"R2 largest": 0.6})]
    (mean,) = averages(rows)
    assert mean["R2 largest"] == pytest.approx(0.7)
    assert mean["R2 largest, worst split"] == 0.6
    seeds = [row(f"1%, random {k}", "m", **{"R2 largest": 0.5 + 0.1 * k}) for k in range(3)]
    (one,) = over_seeds(seeds)
    assert one["split"] == "1%, random"
    assert (one["R2 largest"], one["R2 largest, worst seed"]) == (pytest.approx(0.6), 0.5)
