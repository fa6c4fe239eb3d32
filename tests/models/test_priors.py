"""Default priors: published constants do not surprise them, and their losses are sane."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import bayescale as bs
from bayescale.inference.mode import find_mode
from bayescale.models import priors as default
from bayescale.models.arrays import arrays
from bayescale.models.coordinates import natural_parameters, sampled_values
from bayescale.models.noise import Noise

GRID = {"N": np.geomspace(2e7, 1e9, 5)[:, None], "T": np.geomspace(5e8, 2e10, 5)[None, :]}
NUMPY = arrays("numpy")


def exponentials(c):
    return {
        "E": np.exp(c["e"]), "A": np.exp(c["a"]), "B": np.exp(c["b"]),
        "alpha": c["alpha"], "beta": c["beta"],
    }  # fmt: skip


def in_billions(c):
    return {
        "E": c["E"], "A": c["A"] * 1e9 ** c["alpha"], "B": c["B"] * 1e9 ** c["beta"],
        "alpha": c["alpha"], "beta": c["beta"],
    }  # fmt: skip


def published_constants():
    """Dataset whose pivot the constants are judged at, and natural parameters."""
    chinchilla = bs.datasets.published("chinchilla")
    gemstones = bs.datasets.published("gemstones")
    repeated = bs.datasets.published("datablations")["Muennighoff et al. 2023"]
    names = bs.laws.get("additive").parameters
    out = [("chinchilla", {k: c[k] for k in names}) for c in chinchilla.values()]
    out += [("gemstones", exponentials(c)) for c in gemstones.values()]
    logs = {k: repeated[f"ln_{k.upper()}"] for k in "abe"}
    exponents = {k: repeated[k] for k in ("alpha", "beta")}
    out.append(("datablations", exponentials(logs | exponents)))
    out.append(
        ("videodit_grid", in_billions(bs.datasets.published("videodit_grid")["loss surface"]))
    )
    return out


@pytest.mark.parametrize(("dataset", "constants"), published_constants())
def test_published_constants_lie_inside_the_prior(dataset, constants):
    law = bs.laws.get("additive")
    flat = bs.runs.readings(bs.datasets.load(dataset))
    pivot = {k: np.array([stats.gmean(flat[k].values)]) for k in law.inputs}
    typical = np.array([np.median(flat["loss"].values)])
    for name, x in sampled_values(law, constants, pivot, typical).items():
        low, high = default.default_prior(law, name).interval(0.99)
        assert low < float(x[0]) < high, (name, x, low, high)


@pytest.mark.parametrize("name", ["additive", "coupled", "interacting", "skaling", "broken"])
def test_losses_of_the_prior_are_sane(name):
    """Most draws stay within a factor ten of the typical loss, and they fall with size and data."""
    runs = bs.datasets.simulate(noise=0.0)
    density = bs.LossModel(name).density(runs)
    u = np.random.default_rng(0).standard_normal((2000, density.size))
    values = density.values(u, NUMPY)
    log_loss = density.log_law(density.parameters(values, NUMPY), NUMPY)
    assert np.isfinite(log_loss).all()
    relative = log_loss - np.log(density.table.typical)
    assert np.mean(np.abs(relative) < np.log(10)) > 0.95
    assert abs(np.median(relative)) < np.log(2)
    smallest = np.argmin(density.table.inputs["N"] * density.table.inputs["T"])
    largest = np.argmax(density.table.inputs["N"] * density.table.inputs["T"])
    # interacting may rise, where its drift turns the exponent against size; rarely
    assert np.mean(log_loss[:, largest] < log_loss[:, smallest]) > 0.95


@pytest.mark.parametrize("name", [n for n in bs.laws.names() if bs.laws.get(n).response == "loss"])
def test_every_parameter_has_a_prior_inside_its_support(name):
    law = bs.laws.get(name)
    for parameter, known in law.parameters.items():
        prior = default.default_prior(law, parameter)
        low, high = prior.interval(0.999)
        assert known.contains(low) and known.contains(high), parameter
        assert len(prior.source) > 20


def test_every_default_says_where_it_comes_from():
    named = {k: v for k, v in vars(default).items() if isinstance(v, bs.models.distributions.Prior)}
    assert len(named) > 15
    for name, prior in named.items():
        assert prior.source.endswith("."), name


def test_seeds_and_misfits_that_were_measured_lie_inside_the_prior_of_sigma():
    low, high = default.SIGMA.interval(0.99)
    for measured in (0.0004, 0.0008, 0.004, 0.03, 0.05):  # datablations seeds to untuned runs
        assert low < measured < high
    assert default.TAIL.interval(0.9)[0] < 1.6  # raw Chinchilla points
    assert default.TAIL.interval(0.9)[1] > 10  # near normal


def test_natural_and_sampled_parameters_are_inverse():
    rng = np.random.default_rng(0)
    for name in bs.laws.names():
        law = bs.laws.get(name)
        values = {
            k: default.default_prior(law, k).value(
                default.default_prior(law, k).loc + rng.standard_normal((7, 3)), NUMPY
            )
            for k in law.parameters
        }
        pivot = {k: np.array([1e8, 3e9, 2e10]) for k in law.inputs}
        typical = np.array([0.5, 3.0, 2.0])
        natural = natural_parameters(law, values, pivot, typical, NUMPY)
        back = sampled_values(law, natural, pivot, typical)
        for k in law.parameters:
            np.testing.assert_allclose(back[k], values[k], rtol=1e-10)


def test_a_coefficient_at_the_pivot_is_what_its_term_adds_there():
    law = bs.laws.get("additive")
    pivot = {"N": np.array([3e8]), "T": np.array([6e9])}
    values = {"E": 0.5, "A": 0.2, "B": 0.1, "alpha": 0.3, "beta": 0.4}
    as_arrays = {k: np.array([v]) for k, v in values.items()}
    natural = natural_parameters(law, as_arrays, pivot, np.array([3.0]), NUMPY)
    assert float(natural["A"][0]) * 3e8**-0.3 == pytest.approx(0.6)
    assert float(law(N=3e8, T=6e9, **{k: v[0] for k, v in natural.items()})) == pytest.approx(2.4)


@pytest.mark.parametrize(
    "prior",
    [bs.Normal(0.3, 2.0), bs.LogNormal(4.0, 1.0, low=1.0), bs.LogitNormal(0.2, 0.7),
     bs.LogitNormal(0.5, 0.4, low=-1.0, high=3.0)],
)  # fmt: skip
def test_prior_scales_invert_and_intervals_hold_their_probability(prior):
    u = np.random.default_rng(0).normal(prior.loc, prior.sd, 40_000)
    x = prior.value(u, NUMPY)
    np.testing.assert_allclose(prior.coordinate(x, NUMPY), u, atol=1e-8)
    low, high = prior.interval(0.8)
    # standard error sqrt(0.8 0.2 / 40000) = 0.002
    assert np.mean((x > low) & (x < high)) == pytest.approx(0.8, abs=0.01)
    assert np.median(x) == pytest.approx(prior.median, abs=0.05)
    assert bs.models.distributions.Prior.from_dict(prior.to_dict()) == prior


def test_a_prior_of_ones_own_replaces_the_default():
    mine = bs.LogNormal(0.3, 0.01)
    density = bs.LossModel(priors={"alpha": mine}).density(bs.datasets.simulate())
    assert {v.name: v.prior for v in density.variables}["alpha"] == mine
    with pytest.raises(bs.errors.SpecError, match="`gamma`"):
        bs.LossModel(priors={"gamma": mine}).density(bs.datasets.simulate())


def test_noise_has_the_parameters_that_the_table_can_speak_about():
    one = bs.LossModel(noise=Noise(scale="flops")).density(bs.datasets.simulate())
    assert {"sigma", "nu", "noise_slope"} <= {v.name for v in one.variables}
    assert "config_share" not in {v.name for v in one.variables}
    table = {"run": [f"r{i // 2}" for i in range(12)], "N": np.repeat(np.geomspace(1e8, 1e9, 6), 2),
             "T": np.tile([1e9, 2e9], 6), "loss": np.linspace(3, 2.5, 12)}  # fmt: skip
    several = bs.LossModel(noise=Noise("normal")).density(bs.as_runs(table))
    assert {v.name for v in several.variables} == {
        *bs.laws.get("additive").parameters, "sigma", "run_share", "correlation_length"
    }  # fmt: skip


def test_runs_along_trajectories_do_not_bend_the_law():
    """Gemstones from 1e10 tokens: with an unbounded memory the levels of runs trended with size."""
    frame = bs.datasets.frame("gemstones")
    frame = frame[(frame["family"] == "gemstones/hot") & (frame["tokens"] >= 1e10)]
    runs = bs.as_runs(
        frame[["run", "params", "tokens", "loss"]],
        columns={"N": "params", "T": "tokens", "loss": "loss"},
    )
    density = bs.LossModel().density(runs)
    mode = find_mode(density)
    parameters = density.parameters(density.values(mode.u, NUMPY), NUMPY)
    residual = density.table.response - density.log_law(parameters, NUMPY)
    level = np.bincount(density.table.groups.run, residual) / np.bincount(density.table.groups.run)
    size = np.log(density.table.inputs["N"][np.searchsorted(density.table.groups.run, range(22))])
    assert abs(np.polyfit(size, level, 1)[0]) < 0.01  # it was 0.1 with the levels from -27 to 16 %
    assert residual.std() < 0.03
