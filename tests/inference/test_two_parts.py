"""When a sweep is sampled in two parts, and that this gives the posterior of the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bayescale as bs
import bayescale.inference as inference
from bayescale.inference import opened, two_parts
from bayescale.inference.importance import Weighted
from bayescale.inference.mode import find_mode, numerical_derivatives
from bayescale.inference.scoring import find_bowls
from bayescale.models.arrays import arrays
from bayescale.models.bowls import Bowls
from bayescale.models.levels import Bottoms, parts_of

MANY = (0.25, 0.5, 1.0, 2.0, 4.0)


def sweep(multiples=MANY, seed: int = 1, **kw):
    return bs.datasets.simulate_sweep(
        "additive", truth(), N=[[6e7], [2e8], [6e8], [1e9]], T=[3e9, 1e10, 3e10],
        multiples=multiples, random_seed=seed, **kw,
    )  # fmt: skip


def truth():
    return {"E": 1.7, "A": 480.0, "B": 2000.0, "alpha": 0.36, "beta": 0.36}


def test_two_parts_serve_large_sweeps_of_full_cells_only():
    model = bs.HyperparameterModel("additive")
    assert two_parts.serves(model.density(sweep()))
    assert not two_parts.serves(model.density(sweep((0.5, 2.0))))  # 48 runs, four a cell
    plain = bs.HyperparameterModel("additive", misfit="none")
    assert not two_parts.serves(plain.density(sweep()))
    loss = bs.LossModel("additive").density(sweep())
    assert not two_parts.serves(loss)


@pytest.mark.parametrize(
    ("k_hat", "ess", "usable"), [(0.3, 900.0, True), (0.8, 900.0, False), (0.3, 40.0, False)]
)
def test_weights_must_cover_and_leave_enough_draws(k_hat, ess, usable):
    weighted = Weighted(np.zeros((2000, 3)), k_hat, ess)
    nothing = np.zeros((1, 1))
    found = two_parts.FirstPart(None, weighted, Bottoms(nothing, nothing, nothing, nothing))  # type: ignore[arg-type]
    assert found.usable is usable


@pytest.fixture(scope="module")
def density():
    return bs.HyperparameterModel("additive").density(
        sweep(seed=5, scatter=0.08, scatter_of_sizes=0.1)
    )


@pytest.fixture(scope="module")
def found(density):
    first = parts_of(density)[0]
    return find_bowls(Bowls(density.law, density.table, first, density))


def test_the_mode_of_the_bowls_is_one_and_its_covariance_the_inverse_curvature(found):
    bowls, mode = found
    value_and_gradient, hessian = numerical_derivatives(bowls)
    sd = np.sqrt(np.diag(mode.covariance))
    _, gradient = value_and_gradient(mode.u, 1e-4)
    assert 0.5 * gradient @ mode.covariance @ gradient < 0.3  # of log density below the top
    exact = np.sqrt(np.diag(np.linalg.inv(-hessian(mode.u))))
    np.testing.assert_allclose(sd, exact, rtol=0.25)
    np.testing.assert_allclose(mode.cholesky @ mode.cholesky.T, mode.covariance, atol=1e-12)


def test_importance_draws_of_the_bowls_cover(density, found):
    first = two_parts.first_part(density, 2000, 0, enough=500)
    assert first.usable and first.weighted.ess > 300
    z = (first.weighted.u.mean(axis=0) - found[1].u) / np.sqrt(np.diag(found[1].covariance))
    assert np.abs(z).max() < 1.5  # means lie off the mode, by less than the posterior is wide


def test_joined_coordinates_are_those_of_the_whole(density):
    """Offsets and levels of the joined draws leave residuals of the size of the noise."""
    first = two_parts.first_part(density, 400, 0, enough=250)
    law = two_parts.second_part(density, first)
    mode = find_mode(law, hold=two_parts.spreads(law))
    rng = np.random.default_rng(1)
    u_law = mode.u + 0.5 * rng.standard_normal((1, 400, law.size)) @ mode.cholesky.T
    u, misfit = two_parts.join(density, first, law, u_law, 0)
    assert u.shape == (1, 400, density.size) and misfit.shape == (1, 400, len(density.cells))
    xp = arrays("numpy")
    values = density.values(u[0], xp) | {"misfit_at": misfit[0]}
    scatter = values["rate_scatter"]
    own = values["rate_offset"] - values["rate_offset_N"][:, density.cells.size_of]
    assert 0.5 < np.mean(own.std(axis=1) / scatter[:, 0]) < 2.0
    log_law, price = density.parts(values, xp)
    residual = density.table.response - log_law - misfit[0][:, density.cells.of_reading]
    z = residual / density.noise(price, values, xp).scale
    assert 0.8 < np.median(np.abs(z)) / 0.73 < 1.25  # of a Student-t with five degrees


@pytest.mark.slow
def test_two_parts_give_the_posterior_of_the_whole(monkeypatch):
    """300 runs both ways, by NUTS: means and spreads within Monte Carlo error."""
    runs, model = (
        sweep(seed=5, scatter=0.08, scatter_of_sizes=0.1),
        bs.HyperparameterModel("additive"),
    )
    settings = {"draws": 1000, "tune": 700, "progressbar": False}
    parts = bs.fit(model, runs, random_seed=1, **settings)
    assert "two_parts_failed" not in opened(parts).spec and "k_hat_bowls" in opened(parts).spec
    monkeypatch.setattr(inference.two_parts, "serves", lambda density: False)
    whole = bs.fit(model, runs, random_seed=2, **settings)
    assert opened(whole).ok
    from arviz_stats.base.array import array_stats

    at = {"N": [2e8, 1e10], "T": [1e10, 5e11]}
    logs = ["misfit", "batch_fall", "rate_fall", "batch_rise", "rate_scatter", "batch_scatter_N"]
    names = ["E", "alpha", "beta", "batch_T", "batch_N", "rate_N", "rate_T", "rate_noise_scale",
             "rate_rise", "sigma", "price_noise", *logs]  # fmt: skip
    for name in names:
        both = [f["posterior"][name].values for f in (parts, whole)]
        both = [np.log(x) for x in both] if name in logs else both
        sd = both[1].std()
        ess = [array_stats.ess(x, chain_axis=0, draw_axis=1, method="mean") for x in both]
        ess[0] = min(ess[0], opened(parts).spec["ess_bowls"])
        error = sd * np.sqrt(sum(1 / e for e in ess))
        assert abs(both[0].mean() - both[1].mean()) < 4 * error, name
        # a 90 % interval of e independent draws has a width known to 0.9 / sqrt(e); sds of heavy
        # tails, which a funnel has, do not settle
        low, high = np.quantile(both, [0.05, 0.95], axis=(1, 2))
        widths = high - low
        assert widths[0] / widths[1] == pytest.approx(1, abs=4 * error / sd), name
    far = [bs.predict(f, at=at, kind="mean").draws.values for f in (parts, whole)]
    for i in range(2):
        a, b = (np.log(x[:, i]) for x in far)
        assert abs(a.mean() - b.mean()) < 0.25 * b.std()
    planted = json.loads(runs.attrs["truth"])
    drawn = parts["posterior"]["rate_N"].values
    assert abs(drawn.mean() - planted["rate_N"]) < 3.5 * drawn.std()
