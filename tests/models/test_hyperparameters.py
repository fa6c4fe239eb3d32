"""The density of a `HyperparameterModel` by second routes, and what the model makes of a table."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

import bayescale as bs
from bayescale.models import priors as default
from bayescale.models.arrays import arrays
from bayescale.models.hyperparameters import HyperparameterModel
from bayescale.models.misfit import covariance
from bayescale.models.straight import bent
from bayescale.models.surface_density import normal_deviate

NUMPY = arrays("numpy")
CELLS = {"N": np.geomspace(6e7, 1e9, 3)[:, None], "T": np.array([2e9, 2e10])[None, :]}


def sweep(**changes):
    kw = {"multiples": (0.25, 1.0, 4.0), "random_seed": 3, **CELLS, **changes}
    return bs.datasets.simulate_sweep(**kw)


VARIANTS = {
    "plain": ({}, {}),
    "power": ({"rate_form": "power"}, {}),
    "few runs a cell": ({}, {"multiples": (0.4, 2.5)}),
    "no misfit": ({"misfit": "none"}, {}),
    "truncated": ({"truncated_at": 3.2}, {"truncated_at": 3.2}),
    "diverged": ({}, {"cliff": 1.2}),
    "additive": ({"loss_law": "additive"}, {}),
}


def a_case(variant: str):
    options, changes = VARIANTS[variant]
    runs = sweep(**changes)
    model = HyperparameterModel(**options)
    density = model.density(runs)
    u = 0.4 * np.random.default_rng(5).standard_normal((3, density.size))
    return model, runs, density, u


@pytest.mark.parametrize("variant", VARIANTS)
def test_jax_has_the_same_density_and_the_gradient_of_that_density(variant):
    """The gradient must be that of the value: where the mode of a level is held constant under
    differentiation it is not, and NUTS creeps."""
    _, _, density, u = a_case(variant)
    xp = arrays("jax")
    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(lambda x: density.log_density(x, xp)))
        value, gradient = both(u[0])
    assert float(value) == pytest.approx(float(density.log_density(u[:1])[0]), rel=1e-9)
    step = 1e-5 * np.eye(density.size)
    up, down = density.log_density(u[0] + step), density.log_density(u[0] - step)
    difference = (up - down) / 2e-5
    scale = np.abs(difference).max()
    np.testing.assert_allclose(np.asarray(gradient), difference, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize(
    "variant", ["plain", "few runs a cell", "no misfit", "truncated", "diverged"]
)
def test_pymc_given_drawn_levels_has_the_same_density(variant):
    """PyMC samples the levels; given them, prior and likelihood are ours, run by run."""
    import pytensor
    from pytensor.compile.mode import Mode

    model, runs, density, u = a_case(variant)
    plain = Mode(linker="py", optimizer=None)  # no compiler; terms are added up below
    with pytensor.config.change_flags(mode=plain, cxx=""):
        with model.to_pymc(runs) as pymc_model:
            log_p = pymc_model.compile_logp(sum=False)
            names = {v.name for v in pymc_model.value_vars}
        gaps = []
        for x in u:
            point, prior = pymc_point(density, x, names - {"level_offset"})
            values = density.values(x[None], NUMPY)
            if density.cells is not None:
                offset = np.random.default_rng(0).standard_normal(len(density.cells))
                point["level_offset"] = offset
                root = np.linalg.cholesky(covariance(density.cells, values, NUMPY)[0])
                values["misfit_at"] = (root @ offset)[None]
                prior += stats.norm.logpdf(offset).sum()
            ours = prior + float(density.pointwise(values).sum())
            if density.tried is not None:
                named = density.parameters(values, NUMPY)
                ours += float(density.log_ends(values, named, NUMPY).sum())
            gaps.append(sum(float(np.sum(x)) for x in log_p(point)) - ours)
    jacobian = -sum(np.log(v.prior.sd) for v in density.variables)
    np.testing.assert_allclose(gaps, jacobian, atol=1e-6)


def pymc_point(density, u, names):
    """Coordinates of the PyMC model, and our log prior of them."""
    inside = density.of_priors(u[None], NUMPY)[0]
    block = density.split(inside)
    point = {f"{name}_coordinate": block[name] for name in density.of_places}
    assert set(point) <= names
    for v in density.variables:
        stems = [n for n in names if n in (v.name, f"{v.name}_log__")]
        stems += [n for n in names if n.startswith((f"{v.name}_at_pivot", f"{v.name}_above"))]
        assert stems, (v.name, names)
        point[stems[0]] = float((v.prior.loc + v.prior.sd * block[v.name])[0])
    return point, float(stats.norm.logpdf(inside).sum())


def test_straight_coordinates_have_determinant_one_and_lose_nothing():
    """The map moves volume nowhere, so the density carries over without a Jacobian."""
    _, _, density, u = a_case("additive")
    assert density.straight == ("E", "A", "B", "alpha", "beta")
    names = [name for name, length in density.blocks for _ in range(length)]
    xp = arrays("jax")
    with jax.enable_x64(True):
        jacobian = jax.jacobian(lambda x: bent(x, density.straight, names, density.variables, xp))
        for x in u:
            sd = {v.name: v.prior.sd for v in density.variables}
            whole = np.asarray(jacobian(x))
            sign, log_det = np.linalg.slogdet(whole)
            # in units of the priors' scales on both sides: TOTAL .. RATIO in, sd of priors out
            scale = np.log([0.3, 1.0, 1.0, 1.2, 0.5]).sum()
            scale -= np.log([sd[n] for n in density.straight]).sum()
            assert abs(sign) == 1 and log_det == pytest.approx(scale, abs=1e-9)


@pytest.mark.parametrize("nu", [2.0, 4.0, 30.0])
def test_truncation_is_that_of_students_distribution_to_wallaces_error(nu):
    """Wallace 1959: probabilities right to 0.005 for nu of 2 and more; exact in the limit."""
    z = np.linspace(-6.0, 6.0, 241)
    found = stats.norm.cdf(normal_deviate(z, nu, NUMPY))
    off = np.abs(found - stats.t.cdf(z, nu)).max()
    assert off < (0.005 if nu == 2 else 0.0015)
    assert np.all(np.diff(normal_deviate(z, nu, NUMPY)) > 0)


def test_a_truncated_table_scores_each_run_given_that_it_was_seen():
    _, _, density, u = a_case("truncated")
    values = density.values(u[:1], NUMPY)
    values["misfit_at"] = np.zeros((1, len(density.cells)))
    log_law, price = density.parts(values, NUMPY)
    noise = density.noise(price, values, NUMPY)
    scale, nu = noise.scale[0], float(values["nu"][0, 0])
    plain = stats.t.logpdf((density.table.response - log_law[0]) / scale, nu) - np.log(scale)
    seen = stats.t.cdf((np.log(3.2) - log_law[0]) / scale, nu)
    expected = plain - np.log(seen)
    close = seen > 0.2  # beyond, Wallace's error is a share of a small number
    assert close.sum() > 20
    np.testing.assert_allclose(density.pointwise(values)[0, close], expected[close], atol=0.03)


def test_noise_grows_with_the_price():
    _, _, density, u = a_case("plain")
    values = density.values(u[:1], NUMPY)
    noise = density.noise(np.array([0.0, 0.1]), values, NUMPY)
    sigma, share = (float(values[k][0, 0]) for k in ("sigma", "price_noise"))
    np.testing.assert_allclose(noise.scale[0], [sigma, np.hypot(sigma, 0.1 * share)])


def test_cells_have_optima_of_their_own_where_they_have_the_runs_and_the_company():
    """Scatter from four cells on, of sizes where several cells share one, offsets from six runs."""
    cases = {
        "two sizes": (
            dict(N=[[1e8], [1e9]], T=[1e9, 3e9, 1e10]), {"batch_scatter"}, {"cell": 6},
        ),
        "few cells": (dict(N=[1e8, 3e8, 1e9], T=[1e9, 3e9, 1e10]), set(), {}),
        "no two of a size": (
            dict(N=np.geomspace(1e8, 1e9, 5), T=np.geomspace(1e9, 2e10, 5)),
            {"batch_scatter"}, {"cell": 5},
        ),
        "sizes": (CELLS, {"batch_scatter", "batch_scatter_N"}, {"cell": 6, "size": 3}),
        "four runs": (
            CELLS | {"multiples": (0.4, 2.5)}, {"batch_scatter", "batch_scatter_N"}, {},
        ),
    }  # fmt: skip
    for case, (changes, scatters, places) in cases.items():
        density = HyperparameterModel().density(sweep(**changes))
        named = {v.name for v in density.variables if v.name.startswith("batch_scatter")}
        assert named == scatters, case
        expected = {
            f"{short}_offset{'_N' if place == 'size' else ''}": (place, n)
            for short in ("batch", "rate")
            for place, n in places.items()
        }
        assert density.of_places == expected, case


def test_offsets_are_scatter_times_coordinates_and_move_the_optimum_of_their_cell_alone():
    _, _, density, u = a_case("plain")
    values, unit = density.values(u, NUMPY), density.split(u)
    for short in ("batch", "rate"):
        of_size = values[f"{short}_scatter_N"] * unit[f"{short}_offset_N"]
        own = values[f"{short}_scatter"] * unit[f"{short}_offset"]
        np.testing.assert_allclose(values[f"{short}_offset_N"], of_size, rtol=1e-12)
        # three sizes of two lengths each
        np.testing.assert_allclose(
            values[f"{short}_offset"], own + np.repeat(of_size, 2, axis=1), rtol=1e-12
        )
    moved = values["batch_offset"].copy()
    moved[:, 2] += 0.5
    before, after = (density.parts(v, NUMPY)[1] for v in (values, values | {"batch_offset": moved}))
    changed = np.unique(density.cells.of_reading[(before != after).any(axis=0)])
    np.testing.assert_array_equal(changed, [2])
    in_batches = {k: v.copy() for k, v in density.table.inputs.items()}
    here = density.cells.of_reading == 2
    in_batches["batch_size"][here] *= np.exp(-0.5)  # as if smaller ones had been tried
    shifted = replace(density, table=replace(density.table, inputs=in_batches))
    np.testing.assert_allclose(after, shifted.parts(values, NUMPY)[1], rtol=1e-9, atol=1e-15)


def noiseless(**changes):
    """Batches tried so finely that each cell's best can be read off; sizes by lengths."""
    runs = bs.datasets.simulate_sweep(
        hyperparameters=("batch_size",), multiples=np.geomspace(0.1, 10.0, 461), guess=0.0,
        noise=0.0, price_noise=0.0, cell_noise=0.0, random_seed=2,
        N=np.geomspace(1e7, 1e10, 12)[:, None], T=np.geomspace(1e9, 1e12, 10), **changes,
    )  # fmt: skip
    batch, loss = (runs[k].values.reshape(12, 10, 461) for k in ("batch_size", "loss"))
    best = np.take_along_axis(batch, loss.argmin(axis=-1)[..., None], axis=-1)[..., 0]
    length = runs["T"].values.reshape(12, 10, 461)[..., 0]
    return batch, np.log(best / (0.58 * length**0.571))


def test_a_sweep_can_have_optima_that_scatter_by_cell_and_by_size():
    """The best batch of every cell by search: 12 sizes of 10 lengths, resolved to 0.01."""
    tried, none = noiseless()
    np.testing.assert_allclose(none, 0.0, atol=0.006)
    same, by_cell = noiseless(scatter=0.3)
    np.testing.assert_array_equal(same, tried)  # what is tried does not follow the scatter
    assert by_cell.std() == pytest.approx(0.3, rel=0.2)  # of 120: 6.5 %
    assert by_cell.mean(axis=1).std() < 0.2  # sizes share nothing: 0.3 / sqrt(10)
    _, by_size = noiseless(scatter_of_sizes=0.3)
    np.testing.assert_allclose(by_size, by_size[:, :1] * np.ones(10), atol=0.011)
    assert 0.15 < by_size[:, 0].std() < 0.5  # of 12: 20 %
    _, both = noiseless(scatter=0.3, scatter_of_sizes=0.3)
    np.testing.assert_allclose(both, by_cell + by_size, atol=0.02)
    _, again = noiseless(scatter=0.3)
    np.testing.assert_array_equal(again, by_cell)


def test_the_last_reading_of_each_run_is_fitted():
    runs = sweep()
    flat = {k: runs[k].values for k in ("run", "N", "T", "batch_size", "learning_rate", "loss")}
    twice = {k: np.concatenate([x, x]) for k, x in flat.items()}
    twice["T"] = np.concatenate([flat["T"] / 3, flat["T"]])
    twice["loss"] = np.concatenate([flat["loss"] * 1.2, flat["loss"]])
    both = bs.as_runs(twice, {k: k for k in flat if k != "run"} | {"run": "run"})
    model = HyperparameterModel()
    assert model.readings(both).sizes["reading"] == len(flat["N"])
    np.testing.assert_allclose(
        np.sort(np.exp(model.density(both).table.response)), np.sort(flat["loss"])
    )


def test_the_planted_truth_lies_inside_the_priors_of_its_table():
    """StepLaw's and the video paper's optima, in the coordinates of the priors."""
    from bayescale.models.coordinates import sampled_values

    runs = sweep()
    density = HyperparameterModel().density(runs)
    truth = {k: np.array([v]) for k, v in json.loads(runs.attrs["truth"]).items()}
    table, law = density.table, density.law
    # the loss law's own constants are about N0, T0 of the law and move with the pivot
    own = [n for n in law.parameters if n.startswith(("batch", "rate"))]
    found = sampled_values(law, truth, table.pivot, table.typical)
    for name in own:
        low, high = default.default_prior(law, name).interval(0.99)
        assert low < float(np.ravel(found[name])[0]) < high, name


def test_spec_and_back():
    model = HyperparameterModel(
        "additive", ("batch_size", "learning_rate", "weight_decay"), "noise_scale", ("mup",),
        "partial", 3.5, "none", True, {"rate_N": bs.Normal(-0.3, 0.1)},
    )  # fmt: skip
    assert HyperparameterModel.from_spec(json.loads(json.dumps(model.spec()))) == model


def test_print_of_a_model_as_text():
    lines = str(HyperparameterModel("data", hyperparameters="learning_rate")).splitlines()
    assert lines[0].startswith("HyperparameterModel: ln L = ln[E + B T^-beta")
    assert lines[0].endswith("+ price of missing the best rate")
    assert "  noise: StudentT(nu, 0, sqrt(sigma^2 + (price_noise price)^2)) on log loss" in lines
    shown = [line.split("~")[0].strip() for line in lines if "~" in line]
    assert {"rate_T", "rate_rise", "misfit", "cliff", "price_noise"} <= set(shown)
    assert not any(name.startswith("batch") or name.endswith("_N") for name in shown)
