"""The bowls with laws that follow the rest: a change of variables, and a straight one."""

from __future__ import annotations

import numpy as np
import pytest

import bayescale as bs
from bayescale.inference.following import MixedModel, Optima, with_following_laws
from bayescale.inference.importance import importance_draws
from bayescale.inference.scoring import find_bowls
from bayescale.models.arrays import arrays
from bayescale.models.bowls import Bowls
from bayescale.models.levels import parts_of

AROUND = (0.25, 0.5, 1.0, 2.0, 4.0)
ABOVE = (1.0, 1.6, 2.5, 4.0, 6.3)


def bowls_of(**kw):
    runs = bs.datasets.simulate_sweep(
        "additive", {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.36, "beta": 0.36},
        N=[[6e7], [2e8], [6e8], [1e9]], T=[3e9, 1e10, 3e10], **kw,
        scatter=0.08, scatter_of_sizes=0.1, random_seed=5,
    )  # fmt: skip
    density = bs.HyperparameterModel("additive").density(runs)
    bowls = Bowls(density.law, density.table, parts_of(density)[0], density)
    return find_bowls(bowls)


@pytest.fixture(scope="module")
def found():
    bowls, mode = bowls_of(multiples=AROUND)
    return bowls, mode, *with_following_laws(bowls, mode)


def test_the_density_is_that_of_the_bowls_times_the_jacobian(found):
    bowls, _, straight, moved = found
    rng = np.random.default_rng(0)
    for _ in range(3):
        z = moved.u + 0.7 * moved.cholesky @ rng.standard_normal(bowls.size)
        steps = 1e-5 * np.eye(bowls.size)
        ends = straight.of_bowls(np.concatenate([z + steps, z - steps]))
        jacobian = (ends[: bowls.size] - ends[bowls.size :]) / 2e-5
        expected = bowls.log_density(straight.of_bowls(z[None]))[0]
        expected += np.linalg.slogdet(jacobian)[1]
        # one of them scores on from the readings asked for the laws: what scoring leaves differs
        assert straight.log_density(z) == pytest.approx(expected, abs=0.02)


def test_at_the_mode_the_laws_are_standard_normal(found):
    """The closed form agrees with the curvature of the density, which knows nothing of it."""
    _, mode, straight, moved = found
    np.testing.assert_allclose(straight.of_bowls(moved.u[None])[0], mode.u, atol=1e-10)
    laws = straight.laws.moving
    np.testing.assert_allclose(moved.u[laws], 0.0, atol=0.2)
    np.testing.assert_allclose(np.sqrt(np.diag(moved.covariance))[laws], 1.0, rtol=0.1)
    others = np.delete(moved.covariance[laws], laws, axis=1)
    assert np.abs(others).max() < 0.3  # the rest says nothing about them any more


def test_moments_are_those_of_the_whole_mixed_model():
    """Cells and sizes eliminated block by block, against the dense covariance of all optima."""
    rng = np.random.default_rng(3)
    size_of, laws, offsets = np.array([0, 0, 1, 2, 2, 2]), 4, 2
    cells = len(size_of)
    slope = rng.standard_normal((cells, offsets, laws))
    root = rng.standard_normal((1, cells, offsets, offsets))
    information = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(offsets)
    optimum = rng.standard_normal((1, cells, offsets))
    pull = (information @ optimum[..., None])[..., 0]
    own, shared = np.array([[0.3, 0.7]]), np.array([[0.5, 0.2]])
    model = MixedModel(np.arange(laws), slope, np.eye(laws), np.full(laws, 0.1), size_of)
    mean, root_found = model.moments(Optima(information, pull), own, shared)

    whole = np.zeros((cells, offsets, cells, offsets))
    for c in range(cells):
        whole[c, :, c] += np.linalg.inv(information[0, c]) + np.diag(own[0])
        for d in np.flatnonzero(size_of == size_of[c]):
            whole[c, :, d] += np.diag(shared[0])
    weight = np.linalg.inv(whole.reshape(cells * offsets, -1))
    flat = slope.reshape(-1, laws)
    precision = flat.T @ weight @ flat + np.eye(laws)
    expected = np.linalg.solve(precision, flat.T @ weight @ optimum.reshape(-1) + 0.1)
    np.testing.assert_allclose(mean[0], expected, rtol=1e-8)
    np.testing.assert_allclose(root_found[0] @ root_found[0].T, np.linalg.inv(precision), rtol=1e-8)


def test_powers_of_size_widen_with_the_scatter_of_sizes(found):
    """Four sizes: at a large scatter the sd of the power is that of a line through four points."""
    bowls, _, straight, moved = found
    names = np.repeat([n for n, _ in bowls.blocks], [k for _, k in bowls.blocks])
    at = int(np.flatnonzero(names == "batch_N")[0])
    z = np.tile(moved.u, (2, 1))
    z[:, names == "batch_scatter_N"] = [[-2.0], [2.0]]
    scatter = bowls.values(straight.of_bowls(z), arrays("numpy"))["batch_scatter_N"][:, 0]
    _, root = straight.moments(z)
    place = int(np.flatnonzero(straight.laws.moving == at)[0])
    prior = next(v.prior for v in bowls.variables if v.name == "batch_N")
    sd = prior.sd * np.sqrt((root @ np.swapaxes(root, 1, 2))[:, place, place])
    x = np.log(np.unique(bowls.table.inputs["N"]))
    alone = scatter / np.sqrt(np.square(x - x.mean()).sum())
    assert scatter[1] > 4 * scatter[0] and sd[1] > 2 * sd[0]
    prior_too = 1.0 / np.sqrt(1.0 / alone[1] ** 2 + 1.0 / prior.sd**2)
    assert prior_too < sd[1] < 1.3 * alone[1] + sd[0]


def test_a_best_batch_at_the_edge_is_drawn_well():
    """The optimum moves along a bent ridge there, where a Student-t of the bowls is too narrow."""
    bowls, mode = bowls_of(multiples={"batch_size": ABOVE, "learning_rate": AROUND})
    straight, moved = with_following_laws(bowls, mode)
    found = importance_draws(straight, moved, 2000, random_seed=0, enough=700)
    more = importance_draws(straight, moved, 4000, random_seed=1, enough=3000)
    assert found.k_hat < 0.7 and found.ess >= 700
    names = np.repeat([n for n, _ in bowls.blocks], [k for _, k in bowls.blocks])
    laws = np.isin(names, ["batch_coefficient", "batch_N", "batch_T", "rate_coefficient"])
    width = lambda w: np.diff(np.quantile(straight.of_bowls(w.u), [0.05, 0.95], axis=0), axis=0)[0]  # noqa: E731
    np.testing.assert_allclose(width(found)[laws], width(more)[laws], rtol=0.15)
