"""Coordinates of the bowls without the funnel: a change of variables, and a straight one."""

from __future__ import annotations

import numpy as np
import pytest

import bayescale as bs
from bayescale.inference.funnel import without_funnel
from bayescale.inference.scoring import find_bowls, spreads
from bayescale.models.arrays import arrays
from bayescale.models.bowls import Bowls
from bayescale.models.levels import parts_of


@pytest.fixture(scope="module")
def found():
    runs = bs.datasets.simulate_sweep(
        "additive", {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.36, "beta": 0.36},
        N=[[6e7], [2e8], [6e8], [1e9]], T=[3e9, 1e10, 3e10], multiples=(0.25, 0.5, 1.0, 2.0, 4.0),
        scatter=0.08, scatter_of_sizes=0.1, random_seed=5,
    )  # fmt: skip
    density = bs.HyperparameterModel("additive").density(runs)
    bowls = Bowls(density.law, density.table, parts_of(density)[0], density)
    bowls, mode = find_bowls(bowls)
    straight, moved = without_funnel(bowls, mode)
    return bowls, mode, straight, moved


def test_the_density_is_that_of_the_bowls_times_the_jacobian(found):
    bowls, mode, straight, _ = found
    rng = np.random.default_rng(0)
    for _ in range(3):
        z = mode.u + 0.7 * mode.cholesky @ rng.standard_normal(bowls.size)
        steps = 1e-5 * np.eye(bowls.size)
        ends = straight.of_bowls(np.concatenate([z + steps, z - steps]))
        jacobian = (ends[: bowls.size] - ends[bowls.size :]) / 2e-5
        expected = bowls.log_density(straight.of_bowls(z[None]))[0]
        expected += np.linalg.slogdet(jacobian)[1]
        assert straight.log_density(z) == pytest.approx(expected, abs=1e-5)


def test_coordinates_agree_where_the_scatter_is_that_of_the_mode(found):
    bowls, mode, straight, moved = found
    np.testing.assert_allclose(straight.of_bowls(mode.u[None])[0], mode.u, atol=1e-10)
    rng = np.random.default_rng(1)
    z = np.where(spreads(bowls), mode.u, rng.standard_normal((5, bowls.size)))
    np.testing.assert_allclose(straight.of_bowls(z), z, atol=1e-9)
    still = ~spreads(bowls)  # given the scatter both Laplace approximations are one
    precision = [np.linalg.inv(m.covariance)[np.ix_(still, still)] for m in (mode, moved)]
    np.testing.assert_allclose(*precision, rtol=1e-4, atol=1e-4 * np.abs(precision[0]).max())


def test_powers_of_size_widen_with_the_scatter_of_sizes(found):
    """Four sizes: at a large scatter the sd of the power is that of a line through four points."""
    bowls, mode, straight, _ = found
    names = np.repeat([n for n, _ in bowls.blocks], [k for _, k in bowls.blocks])
    at = int(np.flatnonzero(names == "batch_N")[0])
    z = np.tile(mode.u, (2, 1))
    z[:, names == "batch_scatter_N"] = [[-2.0], [2.0]]
    scatter = bowls.values(straight.of_bowls(z), arrays("numpy"))["batch_scatter_N"][:, 0]
    optima = straight.optima
    own, shared = bowls.precisions(z)
    _, root = optima.moments(1.0 / own[:, 1:], 1.0 / shared)
    place = int(np.flatnonzero(optima.moving == at)[0])
    prior = next(v.prior for v in bowls.variables if v.name == "batch_N")
    sd = prior.sd * np.sqrt((root @ np.swapaxes(root, 1, 2))[:, place, place])
    x = np.log(np.unique(bowls.table.inputs["N"]))
    alone = scatter / np.sqrt(np.square(x - x.mean()).sum())
    assert scatter[1] > 4 * scatter[0] and sd[1] > 2 * sd[0]
    prior_too = 1.0 / np.sqrt(1.0 / alone[1] ** 2 + 1.0 / prior.sd**2)
    assert prior_too < sd[1] < 1.3 * alone[1] + sd[0]
