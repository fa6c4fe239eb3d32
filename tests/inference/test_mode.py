"""The mode and its curvature by two routes, and the Laplace approximation where it is exact."""

from __future__ import annotations

import numpy as np
import pytest

import bayescale as bs
from bayescale.inference.mode import find_mode, jax_derivatives, numerical_derivatives
from bayescale.laws import Law, Parameter


def test_numerical_and_jax_derivatives_agree(chinchilla):
    density = bs.LossModel().density(chinchilla)
    numerical, jax_ = numerical_derivatives(density), jax_derivatives(density)
    mode = find_mode(density)
    away = mode.u + 0.5 * mode.cholesky @ np.random.default_rng(0).standard_normal(density.size)
    for u in (mode.u, away):
        (f, g), (f_jax, g_jax) = numerical[0](u), jax_[0](u)
        assert f == pytest.approx(f_jax, rel=1e-10)
        scale = mode.cholesky  # both in units of the posterior, where 1e-4 is nothing
        np.testing.assert_allclose(scale.T @ g, scale.T @ g_jax, atol=1e-4)
        curved, curved_jax = (scale.T @ d[1](u) @ scale for d in (numerical, jax_))
        np.testing.assert_allclose(curved, curved_jax, atol=2e-3)


def test_the_mode_is_a_maximum_and_does_not_depend_on_the_seed(chinchilla):
    density = bs.LossModel().density(chinchilla)
    mode, again = find_mode(density), find_mode(density, random_seed=5)
    np.testing.assert_allclose(mode.u, again.u, atol=2e-3 * np.sqrt(np.diag(mode.covariance)).max())
    steps = np.random.default_rng(1).standard_normal((200, density.size)) @ mode.cholesky.T
    assert (density.log_density(mode.u + 0.3 * steps) < mode.log_density).all()


def test_laplace_is_exact_where_the_posterior_is_normal():
    """ln L = ln K - g ln C is linear: with a fixed noise scale its posterior has a closed form."""
    line = Law(
        "line", ("C",), {"K": Parameter(role="compute_term", prefactor={"C": "g"}), "g": "real"},
        lambda C, K, g: K * C**-g,
    )  # fmt: skip
    C = np.geomspace(1e18, 1e21, 12)
    loss = 90.0 * C**-0.08 * np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
    runs = bs.as_runs({"C": C, "loss": loss}, columns={"C": "C", "loss": "loss"})
    priors = {
        "K": bs.LogNormal(1.0, 1.0), "g": bs.Normal(0.0, 1.0),
        "sigma": bs.LogNormal(0.01, 1e-6),
    }  # fmt: skip
    density = bs.LossModel(line, priors=priors, noise=bs.Noise("normal")).density(runs)
    mode = find_mode(density)
    x = np.column_stack([np.ones(12), -(np.log(C) - np.log(C).mean())])
    precision = x.T @ x / 0.01**2 + np.eye(2)
    y = np.log(loss) - np.median(np.log(loss))
    np.testing.assert_allclose(mode.u[:2], np.linalg.solve(precision, x.T @ y / 0.01**2), atol=1e-6)
    np.testing.assert_allclose(
        mode.covariance[:2, :2], np.linalg.inv(precision), rtol=1e-4, atol=1e-9
    )
