"""Each card, on a fit that should pass it and on a planted fault that should not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import bayescale as bs
from bayescale.check import check
from bayescale.check.data import distinct
from bayescale.check.evidence import Evidence
from bayescale.check.residuals import p_value
from bayescale.errors import DataError
from bayescale.inference.tree import opened
from bayescale.laws import Law

TRUTH = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
GRID = {"N": np.geomspace(2e7, 2e9, 7)[:, None], "T": np.geomspace(5e8, 5e10, 7)[None, :]}
TITLES = [
    "convergence", "rows set aside", "identifiability", "shape of the law", "noise", "calibration",
    "influence", "outliers", "priors", "extrapolation",
]  # fmt: skip


def fast(runs, model=None, **kw):
    return bs.fit(model or bs.LossModel(), runs, method="fast", progressbar=False, **kw)


def table(seed: int = 0, noise: float = 0.004, **inputs) -> pd.DataFrame:
    """Runs of the additive law with normal noise, as a frame to spoil."""
    runs = bs.datasets.simulate(params=TRUTH, noise=noise, random_seed=seed, **(inputs or GRID))
    flat = bs.runs.readings(runs)
    return pd.DataFrame({k: flat[k].values for k in ("run", "N", "T", "loss")})


def card(found, title):
    return next(c for c in found.cards if c.title == title)


@pytest.fixture(scope="module")
def good():
    return fast(bs.as_runs(table()))


@pytest.fixture(scope="module")
def good_check(good):
    return check(good, target={"N": 1e10, "T": 2e11})


def test_a_good_fit_passes_every_card(good_check):
    assert [c.title for c in good_check.cards] == TITLES
    assert good_check.status == "PASS", good_check.text
    assert good_check.exit_code == 0


def test_false_alarms_are_rare():
    """Eight tables of a law that holds: FAIL never, and few warnings on shape or noise."""
    alarms = 0
    for seed in range(1, 9):
        found = check(fast(bs.as_runs(table(seed))))
        assert found.status != "FAIL", found.text
        alarms += sum(
            card(found, t).status != "PASS" for t in ("shape of the law", "noise", "calibration")
        )
    # a dozen statistics at 0.005 each: 6 % a table at most, 0.5 expected; three once in 70
    assert alarms <= 2


def test_the_four_faces(good_check):
    assert list(good_check.table.columns) == ["card", "status", "finding", "action"]
    assert list(good_check.table["card"]) == TITLES
    lines = good_check.text.split("\n")
    assert lines[0] == "PASS: 10 of 10 checks pass"
    assert lines[1].startswith("PASS     convergence: Fast approximation: k-hat ")
    assert good_check.data.sizes["config"] == 49
    assert set(good_check.data["parameter"].values) == {*TRUTH, "sigma", "nu"}
    assert "<table" in good_check._repr_html_()
    figure = good_check.plot()
    assert [ax.get_xlabel() for ax in figure.axes[:2]] == ["N", "T"]
    figure.canvas.draw()


def test_the_same_seed_gives_the_same_check(good, good_check):
    again = check(good, target={"N": 1e10, "T": 2e11})
    assert again.text == good_check.text
    assert again.data.identical(good_check.data)


def with_status(fit, status: str, messages: list[str]):
    fit = fit.copy()
    spec = json.loads(fit.attrs["bayescale"]) | {"status": status, "messages": messages}
    fit.attrs = {**fit.attrs, "bayescale": json.dumps(spec), "status": status}
    return fit


def test_a_failed_fit_fails_and_its_residuals_are_not_judged(good):
    found = check(with_status(good, "failed", ["900 of 4000 transitions diverged."]))
    assert found.exit_code == 1
    assert card(found, "convergence").status == "FAIL"
    assert "transitions diverged" in card(found, "convergence").finding
    assert [c.title for c in found.cards] == [TITLES[0], TITLES[1], TITLES[2], TITLES[-1]]
    with pytest.raises(DataError, match="nothing to draw"):
        found.plot()


@pytest.mark.parametrize(
    ("status", "expected"), [("ok", "PASS"), ("warning", "WARNING"), ("failed", "FAIL")]
)
def test_the_gate_decides_on_convergence(good, status, expected):
    fit = with_status(good, status, [] if status == "ok" else ["Chains disagree."])
    assert card(check(fit), "convergence").status == expected


def test_a_wave_that_the_law_cannot_follow_is_found():
    """Three parameters an axis follow slopes and bends, not a wave of 2 % of the loss."""
    frame = table()
    wave = 0.02 * np.sin(2.0 * np.log(frame["T"] / 5e9))
    found = check(fast(bs.as_runs(frame.assign(loss=frame["loss"] * np.exp(wave)))))
    shape = card(found, "shape of the law")
    assert shape.status == "FAIL"
    assert "ln T" in shape.finding
    assert "ln N" not in shape.finding


def test_an_interaction_is_found():
    frame = table()
    x, y = (np.log(frame[k] / np.exp(np.log(frame[k]).mean())) for k in ("N", "T"))
    found = check(fast(bs.as_runs(frame.assign(loss=frame["loss"] * np.exp(0.006 * x * y)))))
    assert "ln N x ln T" in card(found, "shape of the law").finding


def test_families_that_differ_are_found_and_parted():
    frame = pd.concat([table(1).assign(family="a"), table(2).assign(family="b")])
    frame["run"] = frame["family"] + frame["run"]
    frame["loss"] *= np.where(frame["family"] == "b", 1.03, 1.0)
    runs = bs.as_runs(frame, family="family")
    mixed = card(check(fast(runs)), "shape of the law")
    assert mixed.status == "FAIL"
    assert "Families differ" in mixed.finding
    assert "family='partial'" in mixed.action
    parted = check(fast(runs, bs.LossModel(family="separate")))
    assert card(parted, "shape of the law").status == "PASS"
    assert "alpha[b]" in parted.data["parameter"].values


def test_normal_noise_under_an_accident_is_found():
    frame = table()
    frame.loc[20, "loss"] *= 1.08
    found = check(fast(bs.as_runs(frame), bs.LossModel(noise=bs.Noise("normal"))))
    assert frame.loc[20, "run"] in card(found, "outliers").finding
    assert "student" in card(found, "outliers").action
    assert card(found, "noise").status == "WARNING"


def test_the_tail_takes_an_accidents_weight_away():
    frame = table()
    frame.loc[20, "loss"] *= 1.08
    found = check(fast(bs.as_runs(frame)))
    weight = found.data["weight"].to_series()
    assert weight.idxmin() == frame.loc[20, "run"]
    assert weight.min() < 0.05
    assert np.median(weight) > 0.7


def test_noise_that_shrinks_with_compute_is_found():
    axes = {"N": np.geomspace(2e7, 2e9, 12)[:, None], "T": np.geomspace(5e8, 5e10, 12)[None, :]}
    frame = table(noise=1e-9, **axes)
    log_flops = np.log(frame["N"] * frame["T"])
    sd = 0.01 * np.exp(-0.25 * (log_flops - log_flops.mean()))
    noisy = frame["loss"] * np.exp(sd * np.random.default_rng(0).standard_normal(len(frame)))
    found = card(check(fast(bs.as_runs(frame.assign(loss=noisy)))), "noise")
    assert "The noise shrinks with compute" in found.finding
    assert "scale='flops'" in found.action


def test_runs_that_decide_are_found():
    """Two Chinchilla runs carry the law as soon as the noise has no tail."""
    runs = bs.datasets.load("chinchilla")
    found = check(fast(runs, bs.LossModel(noise=bs.Noise("normal"))))
    influence = card(found, "influence")
    assert influence.status == "WARNING"
    assert "chinchilla-001, chinchilla-000" in influence.finding
    assert found.data["k_hat"].to_series()[["chinchilla-000", "chinchilla-001"]].min() > 0.7
    robust = check(fast(runs))
    assert card(robust, "influence").status == "PASS"


def test_reweighting_tells_what_a_fit_without_the_run_says(good):
    """Two routes: PSIS leave-one-out against fitting again without the run."""
    evidence = Evidence(opened(good), 0)
    _, a = evidence.optimum
    weights, k_hat, _ = evidence.leave_one_out
    frame = table()
    moved = weights @ a[:, 0]
    most = int(np.argmax(np.abs(moved - a.mean())))
    assert k_hat[most] < 0.7
    without = opened(fast(bs.as_runs(frame[frame["run"] != evidence.configs[most]])))
    beta, alpha = without.draws("beta"), without.draws("alpha")
    # the reweighted mean of 1000 draws: a tenth of the posterior sd
    assert moved[most] == pytest.approx(np.mean(beta / (alpha + beta)), abs=0.25 * a.std())


def test_an_interval_that_is_the_prior_is_called_so():
    frame = table(N=np.geomspace(2e8, 4e8, 4)[:, None], T=np.geomspace(5e8, 5e10, 5)[None, :])
    tight = {"E": bs.LogNormal(0.6, 0.01)}
    found = card(check(fast(bs.as_runs(frame), bs.LossModel(priors=tight))), "priors")
    assert found.status == "WARNING"
    assert "E (" in found.finding and "your prior" in found.finding


def test_a_prior_that_the_data_contradict_is_found():
    model = bs.LossModel(priors={"alpha": bs.LogNormal(1.5, 0.2)})
    found = card(check(fast(bs.as_runs(table()), model)), "priors")
    assert "Data and prior disagree on alpha (-" in found.finding


@pytest.mark.parametrize(
    ("design", "status", "sentence"),
    [
        ({"N": [[1e8], [1e9]], "T": np.geomspace(5e8, 5e10, 8)[None]}, "FAIL", "2 distinct sizes"),
        ({"N": np.geomspace(1e8, 1e9, 8), "T": 20 * np.geomspace(1e8, 1e9, 8)}, "WARNING",
         "Tokens per parameter vary by a factor 1.0 only"),
        ({"N": np.geomspace(1e8, 2e8, 4)[:, None], "T": np.geomspace(5e8, 5e10, 5)[None]},
         "WARNING", "N spans 0.30 decades only"),
        ({"N": np.tile(np.geomspace(1e8, 1e9, 6), 2),
          "T": np.r_[1e18 / np.geomspace(1e8, 1e9, 6), 1e19 / np.geomspace(1e8, 1e9, 6)]},
         "WARNING", "2 distinct compute budgets"),
    ],
)  # fmt: skip
def test_designs_that_cannot_answer_are_named(design, status, sentence):
    from bayescale.check.data import identifiability_card

    fit = structure(table(**{k: np.asarray(v) for k, v in design.items()}))
    found = identifiability_card(opened(fit))
    assert found.status == status
    assert sentence in found.finding
    assert found.action


def structure(frame: pd.DataFrame, model=None):
    """A fit whose draws are the prior's: enough for cards that look at the table only."""
    from bayescale.inference.tree import build_tree
    from bayescale.models.arrays import arrays

    model, runs, xp = model or bs.LossModel(), bs.as_runs(frame), arrays("numpy")
    density = model.density(runs)
    u = np.random.default_rng(0).standard_normal((1, 50, density.size))
    values = density.values(u, xp)
    named = {k: v[..., 0] for k, v in (values | density.parameters(values, xp)).items()}
    record = {
        "status": "ok",
        "messages": [],
        "method": "fast",
        "k_hat": 0.1,
        "importance_ess": 50.0,
    }
    return build_tree(density, model, runs, named, {}, record)


def test_rows_set_aside_are_counted_with_their_reasons():
    frame = table().assign(status="done")
    frame.loc[:3, "status"] = "diverged"
    found = card(check(structure(frame)), "rows set aside")
    assert found.finding == "4 of 49 readings are not fitted (4: diverged)."
    assert found.status == "PASS"
    frame.loc[:19, "status"] = "diverged"
    assert card(check(structure(frame)), "rows set aside").status == "WARNING"


@pytest.mark.parametrize(
    ("target", "status", "sentence"),
    [
        (None, "PASS", "no target given"),
        ({"N": 1e9, "T": 1e10}, "PASS", "inside the data"),
        ({"flops": 6e21}, "PASS", "1.0 decades beyond the largest run"),
        ({"flops": 6e24}, "WARNING", "4.0 decades beyond"),
        ({"flops": 6e27}, "FAIL", "7.0 decades beyond"),
        ({"N": 1e6, "T": 1e10}, "WARNING", "10.0 k tokens per parameter"),
    ],
)
def test_the_distance_of_the_target_is_judged(good, target, status, sentence):
    found = card(check(good, target=target), "extrapolation")
    assert found.status == status, found
    assert sentence.lower() in found.finding.lower()


def test_checkpoints_taken_for_independent_are_refused():
    rows = []
    rng = np.random.default_rng(0)
    for i, N in enumerate(np.geomspace(2e7, 2e9, 8)):
        T = np.geomspace(5e8, 5e10, 8)
        loss = TRUTH["E"] + TRUTH["A"] * N**-0.35 + TRUTH["B"] * T**-0.37
        shared = 0.004 * rng.standard_normal() + 0.001 * rng.standard_normal(8)
        rows.append(pd.DataFrame({"run": f"r{i}", "N": N, "T": T, "loss": loss * np.exp(shared)}))
    runs = bs.as_runs(pd.concat(rows))
    blind = card(check(fast(runs, bs.LossModel(noise=bs.Noise(shared="none")))), "noise")
    assert blind.status == "FAIL"
    assert "56 checkpoints follow another of their run" in blind.finding
    seeing = check(fast(runs))
    assert card(seeing, "noise").status == "PASS"
    assert seeing.data.sizes["config"] == 8


@pytest.mark.parametrize("law", ["coupled", "interacting", "skaling", "broken", "size", "data"])
def test_every_law_can_be_checked(law):
    law = bs.laws.get(law)
    fit = structure(table(), bs.LossModel(law))
    found = check(fit)
    assert [c.title for c in found.cards] == TITLES
    assert all(np.isfinite(v).all() for v in found.data.values() if v.dtype.kind == "f")


def test_a_law_with_inputs_of_ones_own_can_be_checked(monkeypatch):
    moe = Law(
        "experts", ("N", "experts"), {"E": "positive", "a": (0.0, 2.0), "b": (0.0, 1.0)},
        lambda N, experts, E, a, b: E + (N * experts**b / 1e6) ** -a,
    )  # fmt: skip
    N, k = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 6), [1.0, 4.0, 16.0, 64.0]))
    rng = np.random.default_rng(0)
    loss = moe(N=N, experts=k, E=1.5, a=0.4, b=0.5) * np.exp(0.003 * rng.standard_normal(len(N)))
    columns = {"experts": "experts", "T": None}
    runs = bs.as_runs({"N": N, "experts": k, "loss": loss}, columns=columns)
    monkeypatch.setitem(bs.laws.law._REGISTRY, "experts", moe)
    found = check(fast(runs, bs.LossModel(moe)))
    assert found.status != "FAIL", found.text
    assert found.data.attrs["inputs"] == ["N", "experts"]


def test_undertuned_noise_knows_its_own_distribution():
    """Replicates scored by the model that drew them are uniform, lifted ones included."""
    model = bs.LossModel(noise=bs.Noise(undertuned=True))
    evidence = Evidence(opened(structure(table(), model)), 0)
    p = evidence.probability(evidence.replicated)
    # 50 draws x 49 readings: standard error 0.006 to 0.01
    for q in (0.1, 0.5, 0.9):
        assert np.mean(p < q) == pytest.approx(q, abs=0.03)


def test_sizes_within_two_percent_are_one_size():
    assert distinct(np.array([1e8, 1.01e8, 2e8, 2.1e8]), 0.02) == 3


def test_p_values_are_two_sided_and_never_above_one():
    x = np.linspace(-1, 1, 101)
    assert p_value(np.full(101, 2.0), x) == 0.0
    assert p_value(x, x) == 1.0
    assert p_value(np.full(101, -0.9), x) == pytest.approx(2 * 6 / 101)


def test_a_probability_out_of_range_is_refused(good):
    with pytest.raises(DataError, match="`ci_prob` is a probability"):
        check(good, ci_prob=90)
