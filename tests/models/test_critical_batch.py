"""Batch sizes from rounded answers: planted truth, planted faults, bad tables, saved fits."""

import numpy as np
import pytest
from pytensor.compile.mode import Mode

import bayescale as bs
from bayescale.errors import DataError, SpecError
from bayescale.inference import opened
from bayescale.models.batch_table import smallest_step

T_MIN, B_CRIT, SIGMA, CELL_SIGMA, STEP = 1.5e6, 1200.0, 0.08, 0.03, 256_000.0
BATCHES = np.array([128.0, 256, 512, 1024, 2048, 4096])
NAMES = {"batch": "batch_samples", "answer": "samples"}
FAST = {"method": "fast", "draws": 500, "progressbar": False}


def table(seeds=12, random_seed=1, step=STEP, give_up=None, **more):
    rng = np.random.default_rng(random_seed)
    batch = np.repeat(BATCHES, seeds)
    level = np.repeat(rng.normal(0, CELL_SIGMA, len(BATCHES)), seeds)
    need = T_MIN * (1 + batch / B_CRIT) * np.exp(level + SIGMA * rng.standard_normal(len(batch)))
    answer = np.ceil(need / step) * step if step else need
    status = np.full(len(batch), "done", dtype=object)
    if give_up:
        status[answer > give_up] = "censored"
        answer = np.minimum(answer, give_up)
    ids = [f"r{i}" for i in range(len(batch))]
    return {"run": ids, "batch_samples": batch, "samples": answer, "status": status} | more


@pytest.fixture(scope="module")
def fit():
    return bs.fit(bs.CriticalBatchModel(**NAMES), bs.as_runs(table()), **FAST)


def held(fit, name, prob=0.98):
    x = fit["posterior"][name].values.ravel()
    return np.quantile(x, [(1 - prob) / 2, (1 + prob) / 2])


def test_planted_truth_is_found(fit):
    assert fit.attrs["status"] == "ok"
    for name, truth in (("T_min", T_MIN), ("B_crit", B_CRIT), ("sigma", SIGMA)):
        low, high = held(fit, name)
        assert low < truth < high and high / low < 2.5, (name, low, high)


def test_both_methods_agree(fit):
    nuts = bs.fit(
        bs.CriticalBatchModel(**NAMES), bs.as_runs(table()), draws=300, tune=300, chains=2,
        progressbar=False,
    )  # fmt: skip
    for name in ("T_min", "B_crit", "sigma"):
        a, b = (np.log(f["posterior"][name].values.ravel()) for f in (fit, nuts))
        # a few hundred effective draws on either side: means within a fifth of an sd
        assert a.mean() == pytest.approx(b.mean(), abs=0.2 * a.std())
        assert a.std() == pytest.approx(b.std(), rel=0.25)


def test_ignoring_the_rounding_misses_the_truth_by_half_a_step():
    """A planted fault: answers taken as exact lie half a step too high, and say so."""
    runs = bs.as_runs(table())
    exact = bs.fit(bs.CriticalBatchModel(**NAMES, interval=0.0), runs, **FAST)
    right = bs.fit(bs.CriticalBatchModel(**NAMES), runs, **FAST)
    assert held(exact, "T_min")[0] > T_MIN > held(right, "T_min")[0]
    lift = np.median(exact["posterior"]["T_min"]) - np.median(right["posterior"]["T_min"])
    assert lift == pytest.approx(STEP / 2, rel=0.35)


def test_runs_that_never_reached_the_target_are_not_dropped():
    frame = table(give_up=4.1e6)
    runs = bs.as_runs(frame)
    never = int((runs["status"].values == "censored").sum())
    assert never >= 12
    low, high = held(bs.fit(bs.CriticalBatchModel(**NAMES), runs, **FAST), "B_crit")
    assert low < B_CRIT < high
    done = runs.isel(run=np.flatnonzero(runs["status"].values == "done"))
    dropped = bs.fit(bs.CriticalBatchModel(**NAMES), done, **FAST)
    assert np.median(dropped["posterior"]["B_crit"]) > B_CRIT  # survivors make large batches cheap


def test_families_share_what_is_alike_and_the_law_of_size_is_found():
    rng, rows = np.random.default_rng(3), []
    for N in (1e8, 3e8, 1e9, 3e9):
        B_crit = 20.0 * N**0.55
        for B in B_crit * 2.0 ** np.arange(-4, 3):
            T = 25 * N * (1 + B / B_crit) * np.exp(0.03 * rng.standard_normal())
            rows.append({"run": f"{N:g}-{B:g}", "N": N, "batch_size": B, "T": T, "size": f"{N:g}"})
    columns = {"N": "N", "T": "T", "batch_size": "batch_size", "run": "run", "loss": None}
    runs = bs.as_runs(rows, columns, family="size")
    model = bs.CriticalBatchModel(family="partial", along="N", interval=0.0)
    fit = bs.fit(model, runs, **FAST)
    low, high = held(fit, "B_crit_exponent")
    assert low < 0.55 < high and high - low < 0.25
    assert "cell_sigma" not in fit["posterior"]  # one run a batch size: tuning and luck are one
    pred = bs.predict(fit, at={"batch_size": [1e6], "N": [3e9]}, family="3e+09", kind="mean")
    assert pred.draws.values.mean() == pytest.approx(7.5e10 * (1 + 1e6 / (20 * 3e9**0.55)), rel=0.1)


def test_a_shape_is_found():
    rng, B = np.random.default_rng(5), np.geomspace(20.0, 80_000.0, 24)
    T = 1e7 * (1 + (B / 1200.0) ** 2) ** 0.5 * np.exp(0.02 * rng.standard_normal(24))
    runs = bs.as_runs({"batch_samples": B, "samples": T})
    fit = bs.fit(bs.CriticalBatchModel(**NAMES, shaped=True, interval=0.0), runs, **FAST)
    low, high = held(fit, "shape")
    assert 1.2 < low < 2.0 < high


def test_steps_say_the_same_as_tokens():
    frame = table(step=0)
    frame["step"] = frame["samples"] / frame["batch_samples"]
    runs = bs.as_runs(frame)
    tokens = bs.CriticalBatchModel(**NAMES, interval=0.0)
    steps = bs.CriticalBatchModel(batch="batch_samples", answer="step", interval=0.0)
    by_tokens, by_steps = bs.fit(tokens, runs, **FAST), bs.fit(steps, runs, **FAST)
    for name in ("T_min", "B_crit"):
        a, b = (np.log(f["posterior"][name].values.ravel()) for f in (by_tokens, by_steps))
        assert a.mean() == pytest.approx(b.mean(), abs=0.3 * a.std())
    at = {"batch_samples": [512.0]}
    a, b = bs.predict(by_tokens, at=at, kind="mean"), bs.predict(by_steps, at=at, kind="mean")
    assert b.table["median"][0] == pytest.approx(a.table["steps"][0], rel=0.02)
    assert b.table["samples"][0] == pytest.approx(a.table["median"][0], rel=0.02)


def test_a_saved_fit_predicts_and_checks_the_same(fit, tmp_path):
    fit.to_netcdf(tmp_path / "fit.nc")
    back = bs.load_fit(tmp_path / "fit.nc")
    at = {"batch_samples": [256.0, 8192.0]}
    assert bs.predict(back, at=at).draws.equals(bs.predict(fit, at=at).draws)
    assert bs.check(back).text == bs.check(fit).text
    model = opened(back).model
    assert model == bs.CriticalBatchModel(**NAMES) and model.spec() == opened(fit).model.spec()


def test_prediction_gives_samples_and_steps_in_words(fit):
    pred = bs.predict(fit, at={"batch_samples": [1024.0]})
    row = pred.table.iloc[0]
    assert row["steps"] == pytest.approx(row["median"] / 1024)
    assert pred.text.startswith("At batch_samples = 1.02 k: samples to the target of a new run ")
    truth = T_MIN * (1 + 1024 / B_CRIT)
    assert row.lower < truth < row.upper and row.upper / row.lower < 2


def test_a_report_shows_the_curve_and_other_verbs_say_why_not(fit, tmp_path):
    page = bs.report(fit, tmp_path / "fit.html", check=bs.check(fit)).read_text(encoding="utf-8")
    assert "What the target takes against batch size" in page and "stragglers" in page
    with pytest.raises(SpecError, match="Answers of this fit are intervals"):
        bs.plots.residuals(fit)
    with pytest.raises(SpecError, match="A plan chooses N and T"):
        bs.plan(fit, budget_flops=1e20)


def test_check_passes_a_good_fit_and_names_a_batch_size_that_was_tuned_badly(fit):
    check = bs.check(fit)
    assert check.status == "PASS", check.text
    assert check.plot() is not None
    frame = table()
    bad = frame["batch_samples"] == 256
    frame["samples"] = np.where(bad, frame["samples"] + 4 * STEP, frame["samples"])
    worse = bs.check(bs.fit(bs.CriticalBatchModel(**NAMES), bs.as_runs(frame), **FAST))
    level = next(c for c in worse.cards if c.title == "tuning")
    assert "256" in level.finding


def test_check_warns_where_all_batches_are_small():
    frame = table()
    small = frame["batch_samples"] <= 256
    runs = bs.as_runs({k: np.asarray(v)[small] for k, v in frame.items()})
    check = bs.check(bs.fit(bs.CriticalBatchModel(**NAMES), runs, **FAST))
    reach = next(c for c in check.cards if c.title == "reach")
    assert reach.status == "WARNING" and "2 batch size(s)" in reach.finding


def test_the_smallest_step_is_found_on_a_lattice_and_nowhere_else():
    assert smallest_step([35, 36, 38, 40]) == 1.0
    assert smallest_step([1.75, 1.8, 1.9]) == pytest.approx(0.05)
    assert smallest_step([1.0, 2.0]) == 0.0  # two answers show no lattice
    assert smallest_step(np.random.default_rng(0).lognormal(size=30)) == 0.0


def test_log_density_is_the_same_in_jax_and_in_a_pymc_model(fit):
    import jax

    from bayescale.models.arrays import arrays

    model, runs = bs.CriticalBatchModel(**NAMES), bs.as_runs(table(seeds=3))
    density = model.density(runs)
    u = np.random.default_rng(0).standard_normal((4, density.size)) * 0.3
    ours = density.log_density(u)
    with jax.enable_x64(True):
        by_jax = [float(density.log_density(each, arrays("jax"))) for each in u]
    np.testing.assert_allclose(by_jax, ours, rtol=1e-9)
    pymc = model.to_pymc(runs)
    slow = Mode(linker="py", optimizer="fast_compile")  # compiling would take half a minute
    assert np.isfinite(pymc.compile_logp(mode=slow)(pymc.initial_point()))


BAD = [
    (lambda: bs.as_runs({"samples": [1e6, 2e6, 3e6], "batch_samples": [64, 64, 64]}), NAMES,
     "One `batch_samples` only (64, in all 3 runs)"),
    (lambda: bs.as_runs({"T": [1e9, 2e9, 3e9], "loss": [3.0] * 3, "N": [1e8] * 3}), {},
     "no `batch_size`: the batch size; say which column holds it"),
    (lambda: bs.as_runs({"T": [1e9, 2e9, 3e9], "batch_size": [1e5, 2e5, 4e5]}),
     {"answer": "samples"},
     "no `samples`: what a run needed to reach the target; name it"),
    (lambda: bs.as_runs({"T": [1e10, 2e10, 3e10], "batch_size": [64, 128, 256]},
                        units={"batch_size": 1}), {},
     "probably `batch_size` is in sequences and `T` in tokens"),
    (lambda: bs.as_runs({"samples": [1e3, 1.1e3, 1.2e3], "batch_samples": [4096, 8192, 16384]}),
     NAMES,
     "0.134 steps in the middle of these runs"),
    (lambda: bs.datasets.load("mlperf_rcp"), {"batch": "batch_samples", "answer": "to_converge"},
     "in several units (`unit`: epochs, samples)"),
    (lambda: bs.datasets.load("mlperf_stable_diffusion"), NAMES,
     "here a run has one answer"),
    (lambda: bs.as_runs(table(step=STEP)), {**NAMES, "interval": "evaluated_every"},
     "interval='evaluated_every' names no column"),
    (lambda: bs.as_runs(table(step=STEP)), {**NAMES, "interval": -1.0},
     "`interval` is zero or more"),
    (lambda: bs.as_runs({"samples": [1e6, 2e6], "batch_samples": [64, 128]}), NAMES,
     "2 run(s) with a `samples` above zero"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::bayescale.errors.DataWarning")
@pytest.mark.parametrize(("runs", "options", "words"), BAD, ids=[b[2][:30] for b in BAD])
def test_a_bad_table_gets_one_clear_error(runs, options, words):
    with pytest.raises(DataError) as error:
        bs.CriticalBatchModel(**options).density(runs())
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"family": "some"}, "`family` is None, 'partial' or 'separate'"),
        ({"T_min_along": True}, "needs the column: along='N'"),
        ({"along": "N", "family": "separate"}, "ties families to one law"),
        ({"priors": {"B_crit": 3}}, "The prior of `B_crit` must be"),
    ],
)
def test_a_model_that_makes_no_sense_says_why(options, words):
    with pytest.raises(SpecError, match=words.replace("(", r"\(")):
        bs.CriticalBatchModel(**options)


def test_a_prior_for_nothing_is_refused():
    model = bs.CriticalBatchModel(**NAMES, priors={"B_critical": bs.LogNormal(1.0, 1.0)})
    with pytest.raises(SpecError, match="Priors for `B_critical`, which this model does not have"):
        model.density(bs.as_runs(table()))


def test_a_model_prints_its_law_noise_and_priors():
    assert str(bs.CriticalBatchModel(**NAMES)) == GOLDEN


GOLDEN = """\
CriticalBatchModel: samples = T_min (1 + batch_samples/B_crit)
  answers: intervals (answer - interval, answer]; runs that never reached the target lie above
  noise of ln answer: Normal(0, sigma) between seeds with a share of stragglers, Normal(0, cell_sigma) between batch sizes
  priors (T_min in multiples of the typical answer, B_crit of the middle batch size):
    T_min              ~ LogNormal(median 0.6, 90 % 0.224 to 1.61)
    B_crit             ~ LogNormal(median 1, 90 % 0.0373 to 26.8)
    sigma              ~ LogNormal(median 0.05, 90 % 0.00965 to 0.259)
    cell_sigma         ~ LogNormal(median 0.03, 90 % 0.00805 to 0.112)
    straggler_share    ~ LogitNormal(median 0.03, 90 % 0.00593 to 0.138)
    straggler_scale    ~ LogNormal(median 5, 90 % 3.07 to 8.72, above 1)"""  # noqa: E501
