"""The best hyperparameters, against surfaces whose optimum is known and against brute force."""

import re

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize

import bayescale as bs
from bayescale.answers import percent
from bayescale.check.data import set_aside_card
from bayescale.check.surface import flat_card
from bayescale.errors import SpecError
from bayescale.habit import thinned
from bayescale.inference import opened
from bayescale.tune.choice import limits
from bayescale.tune.region import SHARES
from tests.known_surface import known_fit

N, T = 1e9, 1e11
KNOWN = {
    "batch_coefficient": 0.5, "batch_N": 0.0, "batch_T": 0.55, "batch_price": 0.01,
    "batch_price_N": 0.0, "batch_price_T": 0.0, "batch_rise": 0.8, "batch_fall": 0.5,
    "batch_ceiling": 0.5,
    "rate_coefficient": 2.0, "rate_N": -0.7, "rate_T": 0.3, "rate_B": 0.5, "rate_price": 0.02,
    "rate_price_N": 0.0, "rate_price_T": 0.0, "rate_rise": 1.0, "rate_fall": 0.4,
    "rate_ceiling": 0.2,
}  # fmt: skip
BATCH = 0.5 * T**0.55
RATE = 2.0 * N**-0.7 * T**0.3


LOSS = {"E": 1.7, "A": 0.55, "B": 0.45, "alpha": 0.34, "beta": 0.36, "kappa": 0.05, "delta": -0.05}
UNSURE = {
    "batch_coefficient": 0.3, "batch_T": 0.01, "batch_N": 0.01, "rate_coefficient": 0.3,
    "rate_N": 0.01, "rate_T": 0.01, "rate_B": 0.1, "batch_price": 0.2, "rate_price": 0.2,
    "batch_rise": 0.3, "rate_rise": 0.2, "rate_fall": 0.3, "rate_ceiling": 0.3, "E": 0.02,
}  # fmt: skip
MODEL = bs.HyperparameterModel(rate_form="power")
PANEL = {"n_params": "N", "train_tokens": "T", "batch_tokens_inferred_exact": "batch_size",
         "lr_inferred_exact": "learning_rate", "val_loss": "loss"}  # fmt: skip


def price(z, height, rise, fall, ceiling):
    """What a miss of ``z`` e-folds costs, in log loss."""
    bowl = ((np.exp(rise * z) - 1) / rise + (np.exp(-fall * z) - 1) / fall) / (rise + fall)
    return height * bowl * ceiling / (height * bowl + ceiling)


def batch_price(z):
    """The price of a batch of the known surface."""
    return price(z, 0.01, 0.8, 0.5, 0.5)


def rate_price(z):
    """The price of a rate of the known surface, ``z`` from the best one for its batch."""
    return price(z, 0.02, 1.0, 0.4, 0.2)


@pytest.fixture(scope="module")
def runs():
    return bs.datasets.simulate_sweep(rate_form="power", random_seed=3)


@pytest.fixture(scope="module")
def known(runs):
    """A surface whose every draw has the same optimum."""
    return known_fit(MODEL, runs, KNOWN | LOSS)


@pytest.fixture(scope="module")
def fit(runs):
    """StepLaw's optimum with a posterior about it."""
    from bayescale.datasets.simulated_sweep import STEPLAW

    return known_fit(MODEL, runs, STEPLAW, spread=UNSURE)


def panel(tokens, **units):
    """A panel of the video paper's grid, 18 cells at one size and length."""
    cells = bs.datasets.paper("videodit_fig4_grid_1p07B").rename(columns=PANEL)
    cells = cells[cells["T"] == tokens][list(PANEL.values())]
    for name, unit in units.items():
        cells[name] = cells[name] / unit
    return bs.as_runs(cells, units=units)


@pytest.fixture(scope="module")
def bracketed():
    """A posterior of the panel whose optimum lies inside the grid."""
    fit = bs.fit(bs.HyperparameterModel(None), panel(1e10), method="fast", progressbar=False)
    return thinned(fit, 400)


def test_a_known_optimum_is_recommended_and_costs_nothing(known):
    tuning = bs.tune(known, N=N, T=T, against=())
    assert tuning.recommended["batch_size"] == pytest.approx(BATCH, rel=1e-3)
    assert tuning.recommended["learning_rate"] == pytest.approx(RATE, rel=1e-3)
    np.testing.assert_allclose(tuning.draws["batch_size"], BATCH, rtol=1e-9)
    np.testing.assert_allclose(tuning.draws["learning_rate"], RATE, rtol=1e-9)
    assert 0 <= tuning.draws["regret"].values.max() < 1e-7


def test_wrong_settings_cost_their_bowls(known):
    costs = bs.tune(known, N=N, T=T, against=()).costs["cost"]
    for factor in (2.0, 0.5, 4.0, 0.25):
        off = np.log(factor)
        rate, batch = rate_price(off), batch_price(off)
        follows = rate_price(-0.5 * off)  # the rate kept, the batch moved
        assert costs[f"learning_rate x {factor:g}"] == pytest.approx(rate, rel=2e-3)
        assert costs[f"batch_size x {factor:g}"] == pytest.approx(batch, rel=2e-3)
        assert costs[f"batch_size x {factor:g}, same rate"] == pytest.approx(
            batch + follows, rel=2e-3
        )


def test_ends_of_the_flat_region_cost_what_they_say(known):
    ranges = bs.tune(known, N=N, T=T, against=()).ranges
    prices = {"batch_size": (batch_price, BATCH), "learning_rate": (rate_price, RATE)}
    for name, (own, best) in prices.items():
        for share in SHARES:
            for end in ranges.loc[(name, share)]:
                assert own(np.log(end / best)) == pytest.approx(share, rel=0.02)


def test_powers_of_two_and_memory_are_kept(known):
    wanted = 2.0 ** np.round(np.log2(BATCH))
    power = bs.tune(known, N=N, T=T, powers_of_two=True, against=())
    assert power.recommended["batch_size"] == wanted
    assert power.recommended["learning_rate"] == pytest.approx(
        RATE * (wanted / BATCH) ** 0.5, rel=1e-3
    )
    small = bs.tune(known, N=N, T=T, max_batch_size=BATCH / 3, against=())
    assert small.recommended["batch_size"] == pytest.approx(BATCH / 3, rel=1e-3)
    assert small.unrestricted["batch_size"] == pytest.approx(BATCH, rel=1e-3)
    extra = batch_price(np.log(1 / 3))
    assert small.draws["regret"].values.mean() == pytest.approx(extra, rel=5e-3)
    assert (small.batches["batch_size"] <= BATCH / 3).all()
    assert "The limits on the batch cost" in small.text
    listed = bs.tune(known, N=N, T=T, batch_sizes=[1e5, 3e6], min_batch_size=2e5, against=())
    assert listed.recommended["batch_size"] == 3e6
    with pytest.raises(SpecError, match="No batch size is left between 5 and 7 tokens"):
        limits(None, True, 5, 7, 0.01)


def test_a_batch_or_a_rate_that_is_given_is_kept(known):
    rate = bs.tune(known, N=N, T=T, batch_size=4 * BATCH, against=())
    assert set(rate.recommended) == {"learning_rate"}
    assert rate.recommended["learning_rate"] == pytest.approx(2 * RATE, rel=1e-3)
    batch = bs.tune(known, N=N, T=T, learning_rate=3 * RATE, against=())

    def lost(log_batch):
        return batch_price(log_batch) + rate_price(np.log(3) - 0.5 * log_batch)

    best = minimize(lambda x: lost(x[0]), [0.0]).x[0]
    assert batch.recommended["batch_size"] == pytest.approx(BATCH * np.exp(best), rel=2e-3)
    assert abs(batch.draws["regret"].values).max() < 1e-6
    with pytest.raises(SpecError, match="Nothing is left to tune"):
        bs.tune(known, N=N, T=T, batch_size=1e5, learning_rate=1e-3)


def test_recommendation_has_the_least_expected_price(fit):
    tuning = bs.tune(fit, N=3e9, T=3e11, against=())
    p = {k: v.values.reshape(-1) for k, v in fit["posterior"].dataset.items() if v.ndim == 2}
    x, y = np.log(3e9), np.log(3e11)

    def cost(axis, z):
        power = p[f"{axis}_price_N"] * x + p[f"{axis}_price_T"] * y
        height = p[f"{axis}_price"] * np.exp(power)
        return price(z, height, *(p[f"{axis}_{part}"] for part in ("rise", "fall", "ceiling")))

    def best(axis):
        return np.log(p[f"{axis}_coefficient"]) + p[f"{axis}_N"] * x + p[f"{axis}_T"] * y

    def expected(at):
        miss = at[0] - best("batch")
        return np.mean(
            cost("batch", miss) + cost("rate", at[1] - best("rate") - p["rate_B"] * miss)
        )

    ours = np.log([tuning.recommended["batch_size"], tuning.recommended["learning_rate"]])
    found = minimize(expected, ours, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-12})
    assert expected(ours) - found.fun < 1e-7
    assert tuning.draws["regret"].values.mean() == pytest.approx(expected(ours), rel=1e-6)
    assert tuning.draws["regret"].values.min() >= 0


SCATTER = {
    "batch_scatter": 0.05,
    "batch_scatter_N": 0.3,
    "rate_scatter": 0.1,
    "rate_scatter_N": 0.2,
}
OFF_CELLS = {"batch_offset": np.linspace(-0.6, 0.5, 12), "rate_offset": np.linspace(0.4, -0.7, 12)}
OFF_SIZES = {"batch_offset_N": [0.3, -0.2, 0.0, 0.1], "rate_offset_N": [-0.4, 0.1, 0.3, -0.1]}
NEW_LENGTH, NEW_SIZE = 3e11, 7e9


def scattered_fit(runs, spread=None, **kwargs):
    """A surface whose cells and sizes have known optima of their own, off the known laws."""
    truth = KNOWN | LOSS | SCATTER
    off = OFF_CELLS | OFF_SIZES
    return known_fit(MODEL, runs, truth, spread=spread, offsets=off, **kwargs)


@pytest.fixture(scope="module")
def scattered(runs):
    return scattered_fit(runs)


def off_the_law(fit, size, tokens):
    """How far the best values of a place lie off the known laws, e-folds, draw by draw."""
    best = bs.tune(fit, N=size, T=tokens, against=()).draws
    law = {
        "batch_size": 0.5 * tokens**0.55,
        "learning_rate": 2.0 * size**-0.7 * tokens**0.3,
    }
    return {name: np.log(best[name].values / x) for name, x in law.items()}


def places(runs):
    """The twelve cells of the sweep, lengths within sizes."""
    return [(n, t) for n in np.unique(runs["N"]) for t in np.unique(runs["T"])]


def test_a_cell_that_was_run_keeps_the_optimum_that_its_runs_gave_it(scattered, runs):
    for index in (0, 4, 11):
        found = off_the_law(scattered, *places(runs)[index])
        np.testing.assert_allclose(found["batch_size"], OFF_CELLS["batch_offset"][index], atol=1e-9)
        np.testing.assert_allclose(
            found["learning_rate"], OFF_CELLS["rate_offset"][index], atol=1e-9
        )


def test_a_new_length_of_a_known_size_has_what_the_size_has_and_a_deviate_of_its_own(
    scattered, runs
):
    sizes = np.unique(runs["N"])
    found = [off_the_law(scattered, size, NEW_LENGTH) for size in sizes]
    for name, short in (("batch_size", "batch"), ("learning_rate", "rate")):
        sd = SCATTER[f"{short}_scatter"]
        of_size = OFF_SIZES[f"{short}_offset_N"]
        assert found[0][name].std() == pytest.approx(sd, rel=0.15)  # of 400 draws: 3.5 %
        for own, x in zip(of_size, found, strict=True):
            assert x[name].mean() == pytest.approx(own, abs=4 * sd / 20)
            # one posterior draw has one deviate, so that sizes are compared and not luck
            np.testing.assert_allclose(x[name] - own, found[0][name] - of_size[0], atol=1e-9)


def test_a_new_size_draws_what_sizes_and_what_cells_have(scattered, runs):
    found = off_the_law(scattered, NEW_SIZE, NEW_LENGTH)
    for name, short in (("batch_size", "batch"), ("learning_rate", "rate")):
        sd = np.hypot(SCATTER[f"{short}_scatter"], SCATTER[f"{short}_scatter_N"])
        assert found[name].std() == pytest.approx(sd, rel=0.15)
        assert found[name].mean() == pytest.approx(0.0, abs=4 * sd / 20)
    together = np.corrcoef(found["batch_size"], found["learning_rate"])[0, 1]
    assert abs(together) < 0.2
    known_length = off_the_law(scattered, 2 * NEW_SIZE, np.unique(runs["T"])[0])
    for name, x in known_length.items():  # the same draw of luck at every new size
        np.testing.assert_allclose(x, found[name], atol=1e-9)


def test_a_cell_that_was_run_is_known_better_than_a_new_place_beside_it(runs):
    fit = scattered_fit(runs, spread={k: v / 10 for k, v in UNSURE.items()})
    size, tokens = places(runs)[4]
    here, longer, beside = (
        bs.tune(fit, N=n, T=t, against=()).table
        for n, t in ((size, tokens), (size, 1.1 * tokens), (1.1 * size, tokens))
    )
    width = [np.log(table["upper"] / table["lower"]) for table in (here, longer, beside)]
    assert (width[0] < 0.8 * width[1]).all()
    assert (width[1] < 0.8 * width[2]).all()


def test_offsets_of_new_places_are_the_same_for_the_same_seed_only(scattered, runs):
    first, again = (off_the_law(f, NEW_SIZE, NEW_LENGTH) for f in (scattered, scattered_fit(runs)))
    other = off_the_law(scattered_fit(runs, random_seed=1), NEW_SIZE, NEW_LENGTH)
    for name, x in first.items():
        np.testing.assert_array_equal(x, again[name])
        assert not np.allclose(x, other[name])


def test_without_offsets_of_places_every_place_draws_what_sizes_and_cells_have():
    """Cells of four runs do not say where their bottom lies; their scatter is there."""
    few = bs.datasets.simulate_sweep(rate_form="power", multiples=(0.4, 2.5), random_seed=3)
    fit = known_fit(MODEL, few, KNOWN | LOSS | SCATTER)
    assert {"rate_scatter", "rate_scatter_N"} <= set(fit["posterior"].dataset)
    assert "rate_offset" not in fit["posterior"].dataset
    for place in (places(few)[4], (NEW_SIZE, NEW_LENGTH)):
        assert off_the_law(fit, *place)["learning_rate"].std() == pytest.approx(
            np.hypot(0.1, 0.2), rel=0.15
        )


def test_plans_and_forecasts_of_a_cell_that_was_run_know_its_optimum(scattered, runs):
    size, tokens = places(runs)[4]
    tuned = bs.tune(scattered, N=size, T=tokens, against=()).recommended
    plan = bs.plan(scattered, fixed={"N": size, "T": tokens})
    assert plan.recommended["batch_size"] == pytest.approx(tuned["batch_size"], rel=1e-3)
    assert plan.recommended["learning_rate"] == pytest.approx(tuned["learning_rate"], rel=1e-3)
    best = bs.predict(scattered, {"N": size, "T": tokens}, kind="mean").draws.values
    at = {"N": size, "T": tokens, "batch_size": 0.5 * tokens**0.55, "learning_rate": 1e-3}
    lost = np.log(bs.predict(scattered, at, kind="mean").draws.values / best)
    miss = -OFF_CELLS["batch_offset"][4]
    rate = 2.0 * size**-0.7 * tokens**0.3 * np.exp(OFF_CELLS["rate_offset"][4] + 0.5 * miss)
    expected = batch_price(miss) + rate_price(np.log(1e-3 / rate))
    np.testing.assert_allclose(lost, expected, rtol=1e-6)


def test_a_grid_that_brackets_the_optimum_gives_an_interval(bracketed):
    table = bs.tune(bracketed, against=()).table
    assert list(table["says"]) == ["interval", "interval"]
    for name, by_hand in (("batch_size", 1.37e5), ("learning_rate", 2.0e-4)):
        assert table["lower"][name] < by_hand < table["upper"][name]
        assert table["upper"][name] / table["lower"][name] < 3


def test_batches_above_the_best_give_a_bound_and_no_interval(bracketed):
    shift = bracketed["posterior"].dataset["batch_coefficient"] / 4  # all tried lie above the best
    beside = bracketed.copy()
    beside["posterior"] = xr.DataTree(
        bracketed["posterior"].dataset.assign(batch_coefficient=shift)
    )
    tuning = bs.tune(beside, against=())
    row = tuning.table.loc["batch_size"]
    assert row["says"] == "at most" and row["lower"] == 0
    assert row["upper"] == pytest.approx(np.quantile(shift, 0.95))
    assert tuning.brackets["batch_size"].below == pytest.approx(float((shift < 81920).mean()))
    said = next(line for line in tuning.text.split("\n") if "at most" in line)
    assert said == (
        f"The best batch is at most {row['upper'] / 1e3:.1f} k tokens (95 %): in this sweep it "
        "lies below the smallest tried, 81.9 k tokens, with 100 % probability, so the data bound "
        "it from above only, and what is recommended beyond rests on priors."
    )


def test_following_published_laws_never_gains(fit):
    studies = bs.tune(fit, N=3e8, T=1e10).studies
    assert {"steplaw", "deepseek", "moonlight", "video_dit"} <= set(studies.index)
    assert (studies["lower"] >= 0).all() and (studies["cost"] > 0).all()
    assert (studies["lower"] <= studies["upper"]).all()
    assert studies["cost"]["steplaw"] < studies["cost"]["moonlight"]  # the truth is StepLaw's
    named = bs.tune(fit, N=3e8, T=1e10, against=("steplaw",)).studies
    np.testing.assert_allclose(named["cost"]["steplaw"], studies["cost"]["steplaw"], rtol=0.02)
    with pytest.raises(SpecError, match="anchor it"):
        bs.tune(fit, N=3e8, T=1e10, against=("gidd",))


def test_units_of_the_batch_do_not_matter(bracketed):
    runs = panel(1e10, batch_size=1280)  # in clips
    again = bs.fit(bs.HyperparameterModel(None), runs, method="fast", progressbar=False)
    ours, theirs = (bs.tune(f, against=()).recommended for f in (bracketed, thinned(again, 400)))
    assert theirs == pytest.approx(ours, rel=1e-6)


def test_the_cliff_keeps_the_rate_down():
    runs = bs.datasets.simulate_sweep(rate_form="power", cliff=0.8, random_seed=4)
    assert (runs["status"].values == "diverged").sum() > 10
    near = known_fit(MODEL, runs, KNOWN | LOSS | {"cliff": 0.2, "cliff_width": 0.1})
    rows = set_aside_card(opened(near))  # runs that diverged are data here
    assert rows.status == "PASS" and "runs that diverged are fitted as such" in rows.finding
    free = bs.tune(near, N=N, T=T, max_divergence=1.0, against=())
    kept = bs.tune(near, N=N, T=T, max_divergence=0.01, against=())
    # logit of 1 % is -4.595: the rate may lie at cliff - 4.595 widths from the best of its batch
    at_best = RATE * (kept.recommended["batch_size"] / BATCH) ** 0.5
    assert np.log(kept.recommended["learning_rate"] / at_best) == pytest.approx(
        0.2 + 0.1 * np.log(0.01 / 0.99), abs=2e-3
    )
    assert free.recommended["learning_rate"] == pytest.approx(RATE, rel=1e-3)
    assert kept.costs["p_diverge"]["recommended"] <= 0.0101
    assert kept.costs["p_diverge"]["learning_rate x 2"] > 0.5
    risk = percent(kept.costs["p_diverge"]["recommended"])  # 1 %, or just below
    assert f"Such a run diverges with {risk} probability" in kept.text


def test_a_rate_alone_can_be_tuned():
    truth = {k: v for k, v in KNOWN.items() if k.startswith("rate_") and k != "rate_B"}
    names = ("learning_rate",)
    runs = bs.datasets.simulate_sweep(params=truth, hyperparameters=names)
    tuning = bs.tune(
        known_fit(bs.HyperparameterModel(hyperparameters=names), runs, truth | LOSS), N=N, T=T
    )
    assert tuning.recommended == {"learning_rate": pytest.approx(RATE, rel=1e-3)}
    assert set(tuning.data["cost"].dims) == {"learning_rate"}
    assert "batch" not in tuning.text
    assert (tuning.studies["cost"] >= 0).all()


def test_a_further_hyperparameter_is_tuned_by_name():
    names = ("batch_size", "learning_rate", "weight_decay")
    decay = {"weight_decay_coefficient": 0.1, "weight_decay_N": 0.0, "weight_decay_T": 0.0,
             "weight_decay_price": 0.004, "weight_decay_price_N": 0.0,
             "weight_decay_price_T": 0.0, "weight_decay_rise": 1.0,
             "weight_decay_fall": 1.0, "weight_decay_ceiling": 0.5}  # fmt: skip
    form = {"hyperparameters": names, "rate_form": "power"}
    runs = bs.datasets.simulate_sweep(params=KNOWN | decay, **form)
    model = bs.HyperparameterModel(**form)
    tuning = bs.tune(known_fit(model, runs, KNOWN | LOSS | decay), N=N, T=T, against=())
    assert tuning.recommended["weight_decay"] == pytest.approx(0.1, rel=1e-3)
    assert tuning.recommended["batch_size"] == pytest.approx(BATCH, rel=1e-3)
    off = price(np.log(2), 0.004, 1.0, 1.0, 0.5)
    assert tuning.costs["cost"]["weight_decay x 2"] == pytest.approx(off, rel=1e-3)
    assert "weight decay" in tuning.text and "weight_decay" in tuning.data.dims


def test_text_of_a_known_surface(known):
    text = bs.tune(known, N=N, T=T, against=()).text
    lines = text.split("\n")
    assert lines[0] == "At N = 1.00 B parameters, T = 100 B tokens:"
    assert lines[1] == "Train with a batch of 561 k tokens and a learning rate of 0.00200."
    assert lines[2] == (
        "The best batch is 561 k to 561 k tokens and the best learning rate is 0.00200 to 0.00200 "
        "(90 % intervals)."
    )
    assert lines[-1].startswith("This lies 0.3 decades of compute beyond the data")


def test_places_and_fits_that_cannot_be_tuned_say_what_is_missing(fit, chinchilla_fit):
    with pytest.raises(SpecError, match=r"say where: N=\.\.\., T=\.\.\."):
        bs.tune(fit)
    with pytest.raises(SpecError, match="no input `warmup`"):
        bs.tune(fit, N=N, T=T, warmup=1.0)
    with pytest.raises(SpecError, match="needs a fit that knows hyperparameters"):
        bs.tune(chinchilla_fit, N=N, T=T)
    with pytest.raises(SpecError, match="max_divergence"):
        bs.tune(fit, N=N, T=T, max_divergence=0.0)


def test_plans_say_what_to_train_with(known):
    plan = bs.plan(known, budget_flops=1e21)
    size, tokens = plan.recommended["N"], plan.recommended["T"]
    assert plan.recommended["batch_size"] == pytest.approx(0.5 * tokens**0.55, rel=1e-3)
    assert plan.recommended["learning_rate"] == pytest.approx(
        2 * size**-0.7 * tokens**0.3, rel=1e-3
    )
    own = plan.draws
    np.testing.assert_allclose(own["batch_size"], 0.5 * own["T"] ** 0.55, rtol=1e-9)
    assert "Train it with a batch of" in plan.text
    assert {"batch_size", "learning_rate"} <= set(plan.table.index)
    given = bs.plan(known, fixed={"N": N, "T": T})
    assert given.recommended["batch_size"] == pytest.approx(BATCH, rel=1e-3)


def test_plans_under_a_habit_say_what_it_loses(known):
    fixed = {"batch_size": 2 * BATCH, "learning_rate": RATE}
    plan = bs.plan(known, fixed={"N": N, "T": T, **fixed})
    lost = batch_price(np.log(2)) + rate_price(-0.5 * np.log(2))
    tuned = bs.plan(known, fixed={"N": N, "T": T})
    ratio = np.log(plan.draws["loss_planned"] / tuned.draws["loss_planned"])
    np.testing.assert_allclose(ratio, lost, rtol=1e-3)
    assert plan.tuning is None and plan.recommended["batch_size"] == 2 * BATCH
    assert f"this loses {100 * lost:.2f} % of loss" in plan.text


def test_the_check_says_how_far_off_a_best_value_may_be(runs):
    """0.1 % of loss is lost where curvature z^2 / 2 is 0.001, whatever batch was recommended."""
    unsure = known_fit(MODEL, runs, KNOWN | LOSS, spread={"batch_coefficient": 0.3})
    told = flat_card(opened(unsure)).finding
    for name, short in (("batch_size", "batch"), ("learning_rate", "rate")):
        # powers of the price are zero in this truth, so it is the same everywhere
        factor = np.exp(np.sqrt(2 * 0.001 / KNOWN[f"{short}_price"]))
        found = re.search(rf"`{name}` may be off by a factor ([0-9.]+) for 0.1%", told)
        assert found, told
        assert float(found[1]) == pytest.approx(factor, abs=0.02)
