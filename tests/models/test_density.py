"""The log density against a plain implementation with dense matrices, and its three faces."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import bayescale as bs
from bayescale.models.arrays import arrays
from bayescale.models.replicate import replicate_noise

TRUTH = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}


def frame(kind: str) -> pd.DataFrame:
    """A small table in two families; losses are random, since only the density is asked for."""
    seeds = (0, 1) if "replicates" in kind else (0,)
    steps = (1.0, 1.7, 4.0) if "trajectories" in kind else (4.0,)
    rows = []
    for family, N, seed in product(("cat", "dog"), (2e7, 1e8, 7e8), seeds):
        rows += [
            {"run": f"{family}-{N:g}-{seed}", "family": family, "N": N, "seed": seed, "T": 5e9 * s}
            for s in steps
        ]
    # one run of its own beside the regular design
    rows.append({"run": "lone", "family": "dog", "N": 3e8, "seed": 0, "T": 3e9})
    out = pd.DataFrame(rows)
    if "replicates" not in kind:
        out = out.drop(columns="seed")
    law = TRUTH["E"] + TRUTH["A"] * out["N"] ** -0.35 + TRUTH["B"] * out["T"] ** -0.37
    return out.assign(loss=law * np.exp(0.03 * np.random.default_rng(3).standard_normal(len(out))))


def log_density_by_hand(model: bs.LossModel, table: pd.DataFrame, density, u: np.ndarray) -> float:
    """Log prior and log likelihood without a line of the package's arithmetic."""
    families = sorted(set(table["family"])) if model.family else ["all"]
    total, start, value = 0.0, 0, {}

    def block(length):
        nonlocal start
        start += length
        return u[start - length : start]

    def natural(prior, x):  # x: on the prior's scale
        if prior.scale == "real":
            return x
        if prior.scale == "log":
            return prior.low + np.exp(x)
        return prior.low + (prior.high - prior.low) * stats.logistic.cdf(x)

    for v in density.variables:
        if v.sharing == "pooled":
            centre, spread = block(1), v.spread
            total += stats.norm.logpdf(centre).sum()
            centre = v.prior.loc + v.prior.sd * centre
            if not isinstance(v.spread, float):
                w = block(1)
                total += stats.norm.logpdf(w).sum()
                spread = natural(v.spread, v.spread.loc + v.spread.sd * w)
            x = block(len(families))
            total += stats.norm.logpdf(x, centre, spread).sum()
            value[v.name] = natural(v.prior, x)
        else:
            x = block(1 if v.sharing == "one" else len(families))
            total += stats.norm.logpdf(x).sum()
            value[v.name] = natural(v.prior, v.prior.loc + v.prior.sd * x) * np.ones(len(families))
    assert start == len(u)

    for f, family in enumerate(families):
        here = table if family == "all" else table[table["family"] == family]
        p = {name: x[f] for name, x in value.items()}
        N0, T0 = stats.gmean(here["N"]), stats.gmean(here["T"])
        typical = np.exp(np.median(np.log(here["loss"])))
        law = typical * (
            p["E"]
            + p["A"] * (here["N"] / N0) ** -p["alpha"]
            + p["B"] * (here["T"] / T0) ** -p["beta"]
        )
        here = here.assign(residual=np.log(here["loss"] / law), drift=1.0)
        if model.noise.scale:
            C0 = stats.gmean(6 * here["N"] * here["T"])
            here["drift"] = (6 * here["N"] * here["T"] / C0) ** p["noise_slope"]
        key = ["family", "N"] if model.noise.shared == "auto" else ["family", "N", "run", "T"]
        if "seed" not in table and model.noise.shared == "auto":
            several = here.groupby("run")["run"].transform("size") > 1
            here = here.assign(own=here["run"].where(several, ""))
            key.append("own")
        for _, config in here.groupby(key):
            total += log_likelihood_by_hand(model, config, p)
    return float(total)


def log_likelihood_by_hand(model: bs.LossModel, config: pd.DataFrame, p: dict) -> float:
    same_run = config["run"].to_numpy()[:, None] == config["run"].to_numpy()[None, :]
    gap = np.abs(np.subtract.outer(np.log(config["T"].to_numpy()), np.log(config["T"].to_numpy())))
    c, r = p.get("config_share", 0.0), p.get("run_share", 0.0)
    serial = np.exp(-gap / p["correlation_length"]) if "correlation_length" in p else (gap == 0)
    correlation = c + (1 - c) * same_run * (r + (1 - r) * serial)
    sd = p["sigma"] * config["drift"].to_numpy()
    covariance = correlation * np.outer(sd, sd)
    e = config["residual"].to_numpy()
    if model.noise.tail == "student":
        plain = stats.multivariate_t.logpdf(e, shape=covariance, df=p["nu"])
    else:
        plain = stats.multivariate_normal.logpdf(e, cov=covariance)
    if not model.noise.undertuned:
        return float(plain)
    normal = stats.multivariate_normal(np.zeros(len(e)), covariance)
    tau, drift = p["undertuned_scale"], config["drift"].to_numpy()
    peak = max(normal.logpdf(e - d * drift) for d in np.linspace(0, 10 * tau, 2000))
    lifted, _ = integrate.quad(
        lambda d: np.exp(normal.logpdf(e - d * drift) - peak) * stats.halfnorm.pdf(d, scale=tau),
        0.0, 12 * tau, limit=500, points=np.geomspace(1e-4, 11, 25) * tau,
    )  # fmt: skip
    share = p["undertuned_share"]
    return float(np.logaddexp(np.log1p(-share) + plain, np.log(share * lifted) + peak))


NOISES = {
    "student": bs.Noise(),
    "normal": bs.Noise(tail="normal"),
    "scale": bs.Noise(scale="flops"),
    "undertuned": bs.Noise(undertuned=True),
    "undertuned normal": bs.Noise(tail="normal", undertuned=True, scale="flops"),
    "independent": bs.Noise(shared="none"),
}
TABLES = ("single", "replicates", "trajectories", "trajectories and replicates")
CASES = [(noise, kind, "partial") for noise in NOISES for kind in TABLES] + [
    ("student", kind, family) for kind in TABLES for family in (None, "separate")
]


def a_case(noise: str, kind: str, family):
    table = frame(kind)
    model = bs.LossModel("additive", family=family, noise=NOISES[noise])
    given = bs.as_runs(table, family="family")
    density = model.density(given)
    u = np.random.default_rng(7).standard_normal((3, density.size)) * 0.5
    return model, table, given, density, u


@pytest.mark.parametrize(("noise", "kind", "family"), CASES)
def test_density_is_that_of_dense_matrices(noise, kind, family):
    model, table, _, density, u = a_case(noise, kind, family)
    for point in u[:2]:
        by_hand = log_density_by_hand(model, table, density, point)
        # quadrature of the lift is good to about 1e-7
        assert density.log_density(point) == pytest.approx(by_hand, rel=1e-8, abs=1e-5)


def test_many_draws_at_once_give_what_each_gives_alone():
    for noise, kind, family in CASES:
        _, _, _, density, u = a_case(noise, kind, family)
        alone = [density.log_density(point) for point in u]
        np.testing.assert_allclose(density.log_density(u), alone, rtol=1e-12)


def test_jax_agrees_with_numpy():
    import jax

    with jax.enable_x64(True):
        for case in (("undertuned", TABLES[-1], "partial"), ("scale", "single", "separate")):
            density, u = a_case(*case)[-2:]
            compiled = jax.jit(lambda x, d=density: d.log_density(x, arrays("jax")))
            for point in u:
                expected = float(density.log_density(point))
                assert float(compiled(point)) == pytest.approx(expected, rel=1e-10)


def test_pytensor_agrees_with_numpy():
    import pytensor
    import pytensor.tensor as pt

    for noise, kind, family in CASES[1::5]:
        _, _, _, density, u = a_case(noise, kind, family)
        x = pt.tensor("u", dtype="float64", shape=(density.size,))
        interpreted = pytensor.compile.Mode(linker="py", optimizer=None)
        terms = density.log_likelihood(density.values(x, arrays("pytensor")), arrays("pytensor"))
        compiled = pytensor.function([x], terms, mode=interpreted)
        expected = density.log_likelihood(density.values(u[0], arrays("numpy")), arrays("numpy"))
        np.testing.assert_allclose(compiled(u[0]), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("noise", "kind", "family"),
    [("student", "single", None), ("scale", "single", "partial"),
     ("undertuned", "trajectories and replicates", "partial"),
     ("normal", "trajectories", "separate")],
)  # fmt: skip
def test_pymc_model_has_the_same_density(noise, kind, family):
    model, _, given, density, u = a_case(noise, kind, family)
    # without compiling to C: the graph is evaluated three times only
    import pytensor

    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        with model.to_pymc(given) as pymc_model:
            log_p = pymc_model.compile_logp()
        names = {v.name for v in pymc_model.value_vars}
        differences = [
            float(log_p(pymc_point(density, x, names))) - scale_of_offsets(density, x)
            - float(density.log_density(x))
            for x in u
        ]  # fmt: skip
    # coordinates differ by fixed scales (loc + sd u), so the densities do by a constant
    assert np.ptp(differences) < 1e-6
    jacobian = -sum(
        np.log(v.prior.sd) * (1 if v.sharing in ("one", "pooled") else density.n_families)
        + (np.log(v.spread.sd) if hasattr(v.spread, "sd") else 0.0)
        for v in density.variables
    )
    assert differences[0] == pytest.approx(jacobian, abs=1e-6)


def pymc_point(density, u, names):
    """The same point in the coordinates of the PyMC model."""
    block, point = density.split(u), {}

    def put(stem, x, shape):
        odds = (f"{stem}_logodds__", f"{stem}_unit_logodds__")
        found = [n for n in names if n in (stem, f"{stem}_log__", *odds)]
        found += [n for n in names if n.startswith(f"{stem}_at_pivot") and not found]
        found += [n for n in names if n.startswith(f"{stem}_above_") and not found]
        assert len(found) == 1, (stem, names)
        point[found[0]] = x if shape else x[0]

    for v in density.variables:
        x = block[v.name]
        if v.sharing == "pooled":
            centre = v.prior.loc + v.prior.sd * block[f"{v.name}_population"]
            put(f"{v.name}_population_coordinate", centre, False)
            spread = v.spread
            if hasattr(spread, "sd"):
                w = v.spread.loc + v.spread.sd * block[f"{v.name}_spread"]
                put(f"{v.name}_spread", w, False)
                spread = np.exp(w)
            point[f"{v.name}_offset"] = (x - centre) / spread
        else:
            put(v.name, v.prior.loc + v.prior.sd * x, v.sharing == "free")
    assert set(point) == names
    return point


def scale_of_offsets(density, u):
    """PyMC samples offsets in units of the spread, we sample the values: log of the Jacobian."""
    block, total = density.split(u), 0.0
    for v in density.variables:
        if v.sharing == "pooled":
            spread = (
                np.log(v.spread)
                if isinstance(v.spread, float)
                else (v.spread.loc + v.spread.sd * block[f"{v.name}_spread"][0])
            )
            total += density.n_families * spread
    return total


def test_replicated_noise_has_the_covariance_of_the_likelihood():
    table = frame("trajectories and replicates")
    model = bs.LossModel(noise=bs.Noise(tail="normal"))
    density = model.density(bs.as_runs(table, family="family"))
    p = {"sigma": 0.5, "run_share": 0.3, "config_share": 0.4, "correlation_length": 0.8}
    values = {k: np.full((40_000, 1), x) for k, x in p.items()}
    e = replicate_noise(model.noise, density.table.groups, None, values, 0)
    found = np.cov(e.T)
    groups = density.table.groups
    log_t = np.log(density.table.inputs["T"])
    run, config = groups.run, groups.config[groups.run]
    rest = 0.7 * np.exp(-np.abs(np.subtract.outer(log_t, log_t)) / 0.8)
    same = run[:, None] == run
    expected = 0.25 * (config[:, None] == config) * (0.4 + 0.6 * same * (0.3 + rest))
    # standard error of a covariance: 0.25 sqrt(2 / 40000) = 0.002; five of them
    np.testing.assert_allclose(found, expected, atol=0.009)


def test_replicated_noise_has_the_distribution_of_the_likelihood():
    """Second route: mean log likelihood of replicates is minus the entropy of a Student-t."""
    model = bs.LossModel(noise=bs.Noise(scale="flops", undertuned=True))
    density = model.density(bs.as_runs(frame("single"), family="family"))
    p = {
        "sigma": 0.02,
        "nu": 5.0,
        "noise_slope": 0.1,
        "undertuned_share": 0.3,
        "undertuned_scale": 0.1,
    }
    values = {k: np.full((20_000, 1), x) for k, x in p.items()}
    table = density.table
    e = replicate_noise(model.noise, table.groups, table.log_scale, values, 1)
    z = e / np.exp(0.1 * table.log_scale)
    rng = np.random.default_rng(5)
    lifted = rng.random(200_000) < 0.3
    own = 0.02 * np.where(lifted, rng.standard_normal(200_000), rng.standard_t(5.0, 200_000))
    expected = own + lifted * 0.1 * np.abs(rng.standard_normal(200_000))
    for q in (0.1, 0.5, 0.9):
        # standard error of the share below a quantile: sqrt(q (1 - q) / 200000) = 0.0011
        assert np.mean(z < np.quantile(expected, q)) == pytest.approx(q, abs=0.005)
