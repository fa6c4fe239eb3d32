"""Fits: two methods and two samplers agree, truth is recovered, and a bad fit says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import bayescale as bs
from bayescale.errors import ConvergenceWarning, SpecError
from bayescale.inference.gate import gate
from bayescale.inference.importance import importance_draws
from bayescale.inference.mode import Mode
from bayescale.inference.pointwise import log_likelihood, values_of
from bayescale.inference.tree import opened
from bayescale.models.arrays import arrays

TRUTH = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}


def agree(a: xr.DataTree, b: xr.DataTree, names, errors: float = 5.0) -> None:
    """Posterior means of both fits are equal up to Monte Carlo error, and so are their spreads."""
    for name in names:
        x, y = (np.log(opened(f).draws(name)) for f in (a, b))
        sd = max(x.std(), y.std())
        ess = [opened(f).spec["ess_bulk"] for f in (a, b)]
        mcse = sd * np.sqrt(1 / ess[0] + 1 / ess[1])
        assert abs(x.mean() - y.mean()) < errors * mcse, name
        # the standard error of a log sd is about sqrt(1 / (2 ess)); twice that for heavier tails
        limit = errors * 2 * np.sqrt(1 / (2 * ess[0]) + 1 / (2 * ess[1]))
        assert abs(np.log(x.std() / y.std())) < limit, name


@pytest.fixture(scope="module")
def chinchilla_nuts(chinchilla):
    return bs.fit(
        bs.LossModel(), chinchilla, draws=500, tune=500, target_accept=0.8, progressbar=False
    )


def test_fast_and_nuts_agree(chinchilla_fast, chinchilla_nuts):
    assert opened(chinchilla_fast).spec["method"] == "fast"
    names = chinchilla_fast["posterior"].dataset.data_vars
    agree(chinchilla_fast, chinchilla_nuts, [n for n in names if n != "nu"])


@pytest.mark.slow
def test_numpyro_and_pymc_agree(chinchilla, chinchilla_nuts):
    other = bs.fit(
        bs.LossModel(), chinchilla, draws=500, tune=500, chains=2, sampler="pymc", progressbar=False
    )
    agree(chinchilla_nuts, other, TRUTH)


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_truth_is_recovered(seed):
    runs = bs.datasets.simulate(params=TRUTH, noise=0.003, random_seed=seed)
    fitted = opened(bs.fit(bs.LossModel(), runs, method="fast", progressbar=False))
    for name, truth in TRUTH.items():
        x = np.log(fitted.draws(name))
        # five parameters, two seeds: 3.5 sd is passed by chance once in two hundred such tests
        assert abs(np.log(truth) - x.mean()) < 3.5 * x.std(), name
    a = fitted.draws("beta") / (fitted.draws("alpha") + fitted.draws("beta"))
    assert a.std() < 0.05
    assert abs(a.mean() - 0.37 / 0.72) < 3.5 * a.std()


def test_families_are_told_apart():
    two = {"a": TRUTH, "b": TRUTH | {"E": 2.2, "A": 400.0}}
    runs = bs.datasets.simulate(params=two, noise=0.002)
    fit = bs.fit(bs.LossModel(family="separate"), runs, method="fast", progressbar=False)
    floors = {f: opened(fit).draws("E", f) for f in ("a", "b")}
    for f, x in floors.items():
        assert abs(x.mean() - two[f]["E"]) < 3.5 * x.std()
    assert np.mean(floors["b"] > floors["a"]) > 0.99
    with pytest.raises(SpecError, match="name one with family="):
        opened(fit).draws("E")


class Banana:
    """``x ~ N(0, 1)`` and ``y ~ N(bend (x^2 - 1), width)``: mean zero, bent, all moments known."""

    numpy_only, size, footprint, bend, width = True, 2, 2, 1.0, 0.3

    def log_density(self, u):
        off = (u[..., 1] - self.bend * (u[..., 0] ** 2 - 1)) / self.width
        return -0.5 * (u[..., 0] ** 2 + off**2)

    @property
    def mode(self):
        sd = np.array([1.0, self.width])
        return Mode(np.array([0.0, -self.bend]), 0.0, np.diag(sd**2), np.diag(sd))


def test_importance_draws_follow_a_bend():
    """The Laplace approximation at the mode has a third of the sd of ``y``, and no bend."""
    banana = Banana()
    for seed in (0, 1):
        found = importance_draws(banana, banana.mode, 4000, random_seed=seed)
        x, y = found.u.T
        assert found.k_hat < 0.7 and found.ess > 1000
        # errors of 1,000 draws: 0.03 of the sd, and up to 0.1 of the sd of a skew variable
        assert x.mean() == pytest.approx(0.0, abs=0.1)
        assert x.std() == pytest.approx(1.0, rel=0.08)
        assert y.mean() == pytest.approx(0.0, abs=0.15)
        assert y.std() == pytest.approx(np.hypot(2**0.5, 0.3), rel=0.2)
        assert (y - x**2 + 1).std() == pytest.approx(0.3, rel=0.1)


def test_fast_falls_back_to_nuts_where_laplace_does_not_describe_the_posterior():
    """Four families of four runs each: 28 coordinates, bent in all of them."""
    params = {f: TRUTH | {"E": 1.8 + 0.1 * i} for i, f in enumerate("abcd")}
    runs = bs.datasets.simulate(
        N=[1e8, 2e8, 4e8, 8e8], T=[2e9, 4e9, 8e9, 2e10], params=params, noise=0.05
    )
    model = bs.LossModel(family="separate")
    with pytest.warns(ConvergenceWarning):  # few draws, on purpose
        fit = bs.fit(model, runs, method="fast", draws=20, tune=100, chains=2, progressbar=False)
    spec = opened(fit).spec
    assert spec["method"] == "nuts"
    assert spec["k_hat"] > 0.7
    assert f"k-hat {spec['k_hat']:.2f}" in spec["fell_back"]


def test_a_fit_that_did_not_converge_says_so_everywhere(chinchilla):
    with pytest.warns(ConvergenceWarning, match="failed its convergence gate"):
        fit = bs.fit(bs.LossModel(), chinchilla, tune=1, draws=5, chains=2, progressbar=False)
    assert fit.attrs["status"] == "failed"
    assert not opened(fit).ok
    text = bs.predict(fit, at={"N": [1e9], "T": [2e10]}).text
    assert text.startswith("FAILED FIT, do not use: ")


@pytest.mark.parametrize(
    "draws",
    [np.ones((4, 100)), np.full((4, 100), np.nan), np.random.default_rng(0).normal(size=(4, 3)),
     np.random.default_rng(0).normal(size=(4, 100)) * [[1], [1], [1], [0]]],
    ids=["stuck", "not a number", "too few", "one chain stuck"],
)  # fmt: skip
def test_what_cannot_be_diagnosed_has_not_passed(draws):
    assert gate({"E": draws}, {}, {"method": "nuts"})["status"] == "failed"


def test_the_gate_lets_good_chains_pass_and_counts_divergences():
    x = np.random.default_rng(0).normal(size=(4, 1000))
    assert gate({"E": x}, {}, {"method": "nuts"})["status"] == "ok"
    diverging = np.zeros((4, 1000), bool)
    diverging[0, :3] = True
    found = gate({"E": x}, {"diverging": diverging}, {"method": "nuts"})
    assert found["status"] == "warning"
    assert "3 of 4000 transitions diverged" in found["messages"][0]
    diverging[0, :60] = True
    assert gate({"E": x}, {"diverging": diverging}, {"method": "nuts"})["status"] == "failed"


def test_same_seed_same_numbers(chinchilla, chinchilla_fast):
    again = bs.fit(bs.LossModel(), chinchilla, method="fast", progressbar=False)
    xr.testing.assert_identical(again["posterior"].dataset, chinchilla_fast["posterior"].dataset)
    other = bs.fit(bs.LossModel(), chinchilla, method="fast", random_seed=1, progressbar=False)
    assert not np.array_equal(opened(other).draws("E"), opened(chinchilla_fast).draws("E"))


def test_same_seed_same_chains():
    runs = bs.datasets.simulate()
    settings = {"draws": 20, "tune": 30, "chains": 1, "progressbar": False}
    with pytest.warns(ConvergenceWarning):
        one, two = (bs.fit(bs.LossModel(), runs, **settings) for _ in range(2))
    xr.testing.assert_identical(one["posterior"].dataset, two["posterior"].dataset)


def test_a_saved_fit_comes_back_the_same(chinchilla_fast, tmp_path):
    chinchilla_fast.to_netcdf(tmp_path / "fit.nc")
    back = bs.load_fit(tmp_path / "fit.nc")
    for group in ("posterior", "observed_data", "runs"):
        xr.testing.assert_identical(back[group].to_dataset(), chinchilla_fast[group].to_dataset())
    assert back.attrs == chinchilla_fast.attrs
    at = {"N": [7e10], "T": [1.4e12]}
    before, after = (bs.predict(f, at=at) for f in (chinchilla_fast, back))
    np.testing.assert_array_equal(before.draws, after.draws)
    np.testing.assert_array_equal(log_likelihood(back), log_likelihood(chinchilla_fast))


def test_predictions_are_those_of_pymc(chinchilla, chinchilla_fast):
    """Broadcasting the law over draws against `pymc.sample_posterior_predictive`."""
    import pymc as pm

    posterior = chinchilla_fast["posterior"].dataset.isel(chain=slice(0, 1))
    fitted = opened(chinchilla_fast)
    values = {k: v[:1000] for k, v in values_of(fitted).items()}
    model = bs.LossModel().to_pymc(chinchilla)
    free = {rv.name for rv in model.free_RVs}
    named = {}
    for name in free:
        stem = name.removesuffix("_at_pivot").removesuffix("_above_1")
        shift = 1.0 if name.endswith("_above_1") else 0.0
        named[name] = (("chain", "draw"), values[stem][None, :, 0] - shift)
    with model:
        drawn = pm.sample_posterior_predictive(
            xr.DataTree.from_dict({"posterior": xr.Dataset(named, posterior.coords)}),
            random_seed=0, progressbar=False,
        )  # fmt: skip
    theirs = drawn["posterior_predictive"].dataset["log_loss"].values[0]
    table = fitted.density.table
    at = {k: v[:40] for k, v in table.inputs.items()}
    ours = np.log(bs.predict(chinchilla_fast, at=at).draws.values)
    for q in (0.05, 0.5, 0.95):
        a, b = np.quantile(ours, q, axis=0), np.quantile(theirs[:, :40], q, axis=0)
        width = np.quantile(ours, 0.95, axis=0) - np.quantile(ours, 0.05, axis=0)
        # quantiles of 1000 heavy-tailed draws: 5 % to 10 % of the width each
        assert np.abs(a - b).max() < 0.3 * width.mean(), q
        assert abs(np.mean(a - b)) < 0.03 * width.mean(), q


def test_pointwise_log_likelihood_adds_up_to_the_density(chinchilla_fast):
    fitted = opened(chinchilla_fast)
    terms = log_likelihood(chinchilla_fast)
    assert terms.dims == ("chain", "draw", "config")
    values = values_of(fitted)
    direct = fitted.density.log_likelihood(values, arrays("numpy"))
    np.testing.assert_allclose(terms.values.reshape(direct.shape), direct, rtol=1e-12)
    names = {v.name: v.prior for v in fitted.density.variables}
    u = np.column_stack(
        [(names[v.name].coordinate(values[v.name][:, 0], arrays("numpy")) - names[v.name].loc)
         / names[v.name].sd for v in fitted.density.variables]
    )  # fmt: skip
    total = direct.sum(axis=1) + fitted.density.log_prior(u, arrays("numpy"))
    np.testing.assert_allclose(fitted.density.log_density(u), total, rtol=1e-9)


def test_arviz_takes_the_log_likelihood(chinchilla_fast):
    import arviz as az

    tree = chinchilla_fast.copy()
    tree["log_likelihood"] = xr.DataTree(log_likelihood(tree).to_dataset(name="log_loss"))
    loo = az.loo(tree)
    # seven parameters, and the tail lets a few runs count for more
    assert 4 < float(loo.p) < 14


def test_the_record_says_how_the_fit_was_made(chinchilla, chinchilla_fast):
    spec = json.loads(chinchilla_fast.attrs["bayescale"])
    assert spec["runs_hash"] == bs.runs.runs_hash(chinchilla)
    assert spec["random_seed"] == 0
    assert set(spec["priors_used"]) >= {*TRUTH, "sigma", "nu"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"method": "exact"}, "`method` is 'nuts' or 'fast'"), ({"sampler": "stan"}, "numpyro, pymc"),
     ({"draws": 0}, "`draws` is a positive whole number; got 0")],
)  # fmt: skip
def test_wrong_arguments_are_named(chinchilla, wrong, message):
    with pytest.raises(SpecError, match=message):
        bs.fit(bs.LossModel(), chinchilla, **wrong)
