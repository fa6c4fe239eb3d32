"""The trade of days against GPU-hours: by hand, for every question, and in words."""

import numpy as np
import pytest

import bayescale as bs
from bayescale.errors import DataError, SpecError
from bayescale.inference import opened
from bayescale.plan.batch import _costs
from bayescale.plan.needs import Needs, _first_root, needs_of
from bayescale.plan.trade import BatchTrade

BATCH = np.array([256.0, 512, 1024, 2048, 4096])
ASKED = dict.fromkeys(
    ("deadline_days", "gpus", "price_per_gpu_hour", "price_per_day", "batch_per_gpu"), None
) | {"speed": ""}


def needs(T_min=(1.9e6, 2.0e6, 2.1e6), B_crit=(900.0, 1000.0, 1100.0)):
    T_min, B_crit = np.array(T_min), np.array(B_crit)
    mean = T_min[:, None] * (1 + BATCH / B_crit[:, None])
    return Needs(
        BATCH, mean, mean, T_min, B_crit, "critical batch size", "samples", "to the target", 2048.0
    )


def trade(share=32.0, per_second=20.0, ci_prob=0.9, **asked):
    costs = _costs(
        needs(), share, asked.get("gpus"), np.full(3, 1 / per_second),
        asked.get("price_per_gpu_hour"), asked.get("price_per_day"),
    )  # fmt: skip
    return BatchTrade(costs, needs(), {**ASKED, "batch_per_gpu": share, **asked}, ci_prob)


def test_days_hours_and_steps_by_hand():
    here = trade().draws.sel(batch=1024.0).isel(sample=1)
    tokens = 2.0e6 * (1 + 1.024)
    assert float(here["samples"]) == pytest.approx(tokens)
    assert float(here["steps"]) == pytest.approx(tokens / 1024)
    assert float(here["gpus"]) == 32
    assert float(here["gpu_hours"]) == pytest.approx(tokens / 20 / 3600)
    assert float(here["days"]) == pytest.approx(tokens / 20 / 32 / 86_400)
    assert float(here["extra"]) == pytest.approx(1.024)


def test_a_larger_batch_is_sooner_and_dearer_while_gpus_last():
    table = trade().table
    assert (np.diff(table["days"]) < 0).all() and (np.diff(table["gpu_hours"]) > 0).all()
    table = trade(gpus=16).table
    assert (np.diff(table["days"][1:]) > 0).all()  # beyond 16 x 32 a batch only costs


def test_without_a_question_the_critical_batch_is_where_time_and_cost_balance():
    assert trade().recommended["batch_size"] == 1024.0  # T^2/B is least at B_crit


def test_a_deadline_takes_the_cheapest_batch_that_is_in_time_for_sure():
    days = trade().draws["days"].values
    limit = float(days[:, 2].max()) * 1.001  # met by 1,024 in every draw, by 512 in none
    assert trade(deadline_days=limit).recommended["batch_size"] == 1024.0
    almost = float(np.sort(days[:, 2])[1]) * 1.001  # in two draws of three
    assert trade(deadline_days=almost).recommended["batch_size"] == 2048.0
    assert trade(deadline_days=almost, ci_prob=0.5).recommended["batch_size"] == 1024.0


def test_a_deadline_that_cannot_be_met_is_said_and_nothing_is_recommended():
    late = trade(deadline_days=1e-4)
    assert late.recommended == {}
    assert "no batch size here is. The soonest is 4,096 samples" in late.text


def test_gpus_at_hand_are_filled_and_not_overfilled():
    assert trade(gpus=16).recommended["batch_size"] == 512.0


def test_money_weighs_days_against_hours():
    cheap = trade(price_per_gpu_hour=2.0, price_per_day=1.0)
    dear = trade(price_per_gpu_hour=2.0, price_per_day=1e5)
    assert cheap.recommended["batch_size"] < dear.recommended["batch_size"] == 4096.0
    row = cheap.table.iloc[0]
    assert row["money"] == pytest.approx(2 * row["gpu_hours"] + row["days"])


def test_a_trade_in_words():
    assert trade(deadline_days=0.06, price_per_gpu_hour=3.0).text == GOLDEN


GOLDEN = """\
The critical batch size is 1,000 samples (90 % interval 910 to 1,090); to the target the most frugal batch takes 2.00 M samples.
For the fewest GPU-hours within 0.06 days (90 % sure), take a batch of 2,048 samples: 64 GPUs, 2.98 k steps (2.94 k to 3.03 k), 6.10 M samples (6.02 M to 6.21 M), 84.7 GPU-hours (83.6 to 86.3), 0.0551 days (0.0544 to 0.0562), 254 in money (251 to 259), 205 % more samples than the most frugal batch (188 % to 225 %).
A batch of 1,024 instead: +33% days, -33.6% GPU-hours.
A batch of 4,096 instead: -16% days, +67.2% GPU-hours."""  # noqa: E501


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(2)
    batch = np.repeat(BATCH, 6)
    samples = 2e6 * (1 + batch / 1000) * np.exp(0.03 * rng.standard_normal(len(batch)))
    runs = bs.as_runs({"batch_samples": batch, "samples": samples})
    model = bs.CriticalBatchModel(batch="batch_samples", answer="samples", interval=0.0)
    return bs.fit(model, runs, method="fast", draws=250, progressbar=False)


def test_a_fit_gives_needs_near_the_truth_and_powers_of_two(fit):
    found = needs_of(opened(fit), None, at={}, family=None, unit_size=None, random_seed=0)
    assert set(np.log2(found.batch) % 1) == {0.0}
    assert found.batch[0] <= 256 and found.batch[-1] >= 4000
    truth = 2e6 * (1 + found.batch / 1000)
    np.testing.assert_allclose(np.median(found.mean, axis=0), truth, rtol=0.12)


def test_memory_says_what_a_gpu_takes(fit):
    by_hand = bs.batch_trade(fit, batch_per_gpu=32, per_gpu_second=20.0)
    by_memory = bs.batch_trade(
        fit, memory_per_batch_unit_gb=2.0, memory_fixed_gb=16.0, gpu="h100", per_gpu_second=20.0
    )
    assert by_memory.asked["batch_per_gpu"] == 32
    np.testing.assert_array_equal(by_memory.table["days"], by_hand.table["days"])


def test_flops_and_utilisation_give_the_same_hours_as_a_measured_speed(fit):
    each = 989e12 * 0.4 / 20.0  # FLOP a sample at 20 samples a second on an H100 at 40 %
    by_flops = bs.batch_trade(fit, batch_per_gpu=32, flops_per_unit=each, gpu="h100", mfu=0.4)
    measured = bs.batch_trade(fit, batch_per_gpu=32, per_gpu_second=20.0)
    np.testing.assert_allclose(by_flops.table["gpu_hours"], measured.table["gpu_hours"])


def test_an_uncertain_speed_widens_the_hours(fit):
    sure, unsure = (bs.batch_trade(fit, per_gpu_second=s).table for s in (20.0, (15.0, 26.7)))
    width = [t["gpu_hours_upper"] / t["gpu_hours_lower"] for t in (sure, unsure)]
    assert (width[1] > 1.2 * width[0]).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deadline_days": 1.0}, r"Days and GPUs need batch_per_gpu="),
        ({"deadline_days": 1.0, "batch_per_gpu": 32}, "Days and money need a speed"),
        ({"batch_per_gpu": 32, "memory_per_batch_unit_gb": 1.0}, "not both"),
        ({"memory_per_batch_unit_gb": 20.0, "memory_fixed_gb": 70.0}, "H100 has 80 GB"),
        ({"price_per_day": 5.0, "batch_per_gpu": 32}, "give both"),
        ({"per_gpu_second": (5.0, 1.0)}, r"per_gpu_second is \(low, high\)"),
        ({"ci_prob": 90}, "`ci_prob` is a probability"),
    ],
)
def test_a_question_that_lacks_something_says_what(fit, options, words):
    with pytest.raises(SpecError, match=words):
        bs.batch_trade(fit, **options)


def test_numbers_that_make_no_sense_are_refused(fit):
    with pytest.raises(DataError, match="`deadline_days` must be positive"):
        bs.batch_trade(fit, batch_per_gpu=32, per_gpu_second=20.0, deadline_days=-1.0)


def test_another_kind_of_fit_is_sent_away(chinchilla_fit):
    with pytest.raises(SpecError, match=r"fit a CriticalBatchModel .* this fit is of kind 'loss'"):
        bs.batch_trade(chinchilla_fit)


def test_the_first_root_is_found_and_no_root_is_infinite():
    level = np.array([[0.5, 2.0, -0.1]])

    def excess(more):  # down to zero at `level`, up again later; the last is there from the start
        return np.where(level < 0, -1.0, (level - more) * (more < 3 * level) + (more >= 3 * level))

    np.testing.assert_allclose(_first_root(excess, (1, 3)), [[0.5, 2.0, 0.0]], atol=1e-3)
    assert np.isinf(_first_root(lambda more: np.ones_like(more), (1, 2))).all()


def surface_fit(draws=40):
    """A `HyperparameterModel` fit whose posterior is replaced by a known truth."""
    rng, rows = np.random.default_rng(0), []
    for N in (1e8, 1e9):
        for T in (2e9, 2e10):
            for B in (3e4, 3e5):
                for rate in (5e-4, 2e-3):
                    loss = 1.8 + 0.35 * (N / 3e8) ** -0.34 + 0.4 * (T / 6e9) ** -0.36
                    loss *= np.exp(0.001 * rng.standard_normal())
                    rows.append({"N": N, "T": T, "batch_size": B, "learning_rate": rate,
                                 "loss": loss})  # fmt: skip
    model = bs.HyperparameterModel("additive", misfit="none")
    fit = bs.fit(model, bs.as_runs(rows, {k: k for k in rows[0]}), draws=draws, tune=50, chains=1,
                 progressbar=False)  # fmt: skip
    truth = {
        "E": 1.8, "A": 0.35 * 3e8**0.34, "B": 0.4 * 6e9**0.36, "alpha": 0.34, "beta": 0.36,
        "batch_coefficient": 1e5 / 6e9**0.5, "batch_N": 0.0, "batch_T": 0.5, "batch_price": 0.01,
        "batch_price_N": 0.0, "batch_price_T": 0.0, "batch_rise": 0.5, "batch_fall": 0.5,
        "batch_ceiling": 1e6,
    }  # fmt: skip
    posterior = fit["posterior"].dataset
    known = {k: posterior[k] * 0 + v for k, v in truth.items()}
    fit["posterior"] = fit["posterior"].assign(known)
    return fit


@pytest.mark.filterwarnings("ignore::bayescale.errors.ConvergenceWarning")
def test_tokens_make_up_for_a_batch_off_the_best_one():
    at = {"N": 1e9, "T": 6e9}
    fitted = opened(surface_fit())
    found = needs_of(fitted, [1e5, 4e5], at=at, family=None, unit_size=None, random_seed=0)
    assert np.median(found.critical) == pytest.approx(1e5, rel=1e-6)
    np.testing.assert_allclose(found.mean[:, 0], 6e9, rtol=1e-3)  # the best batch takes the plan

    def log_loss(T, B):  # by hand, with the price of a bowl of rise and fall 1/2
        z = np.log(B / (1e5 * (T / 6e9) ** 0.5))
        price = 0.01 * (2 * np.exp(z / 2) + 2 * np.exp(-z / 2) - 4)
        return np.log(1.8 + 0.35 * (1e9 / 3e8) ** -0.34 + 0.4 * (T / 6e9) ** -0.36) + price

    T = float(found.mean[0, 1])
    assert T > 6.05e9
    assert log_loss(T, 4e5) == pytest.approx(log_loss(6e9, 1e5), abs=1e-7)


def test_pictures_are_drawn_from_numbers_that_agree_with_the_answer(fit):
    from bayescale.plots.batch import batch_numbers
    from bayescale.plots.trade import batch_trade_numbers

    curve, answers, marks = batch_numbers(fit)
    assert (curve["lower"] <= curve["median"]).all() and (
        curve["run_upper"] >= curve["upper"]
    ).all()
    assert answers["runs"].sum() == 30
    assert marks["critical_lower"] < 1000 < marks["critical_upper"]
    here = bs.batch_trade(fit, batch_per_gpu=32, per_gpu_second=20.0, deadline_days=0.1)
    points, time, cost = batch_trade_numbers(here)
    assert (time, cost) == ("days", "gpu_hours")
    row = points[points["recommended"]].iloc[0]
    assert row["batch_size"] == here.recommended["batch_size"]
    assert row["time"] == here.recommended["days"]
    for figure in (bs.plots.batch(fit), here.plot(), bs.batch_trade(fit).plot()):
        figure.canvas.draw()
        assert len(figure.axes) >= 1
