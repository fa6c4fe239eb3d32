"""When a sweep is sampled in two parts, and that this gives the posterior of the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bayescale as bs
import bayescale.inference as inference
from bayescale.inference import opened, two_parts

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
    found = two_parts.TwoParts(np.zeros((4, 500, 3)), np.zeros((4, 500, 2)), k_hat, ess)
    assert found.usable is usable


def test_resampling_keeps_order_and_gives_each_its_share():
    rng = np.random.default_rng(0)
    weight = np.array([0.0, 1.0, 3.0, 0.0, 4.0])
    count = np.zeros(5)
    for _ in range(2000):
        index = two_parts._in_order(weight, rng)
        assert np.all(np.diff(index) >= 0)
        count += np.bincount(index, minlength=5)
    np.testing.assert_allclose(count / count.sum(), weight / 8, atol=0.005)


@pytest.mark.slow
def test_two_parts_give_the_posterior_of_the_whole(monkeypatch):
    """300 runs both ways, by NUTS: means and spreads within Monte Carlo error."""
    runs, model = sweep(seed=5), bs.HyperparameterModel("additive")
    settings = {"draws": 1000, "tune": 700, "progressbar": False}
    parts = bs.fit(model, runs, random_seed=1, **settings)
    assert "two_parts_failed" not in opened(parts).spec and "k_hat_bowls" in opened(parts).spec
    monkeypatch.setattr(inference.two_parts, "serves", lambda density: False)
    whole = bs.fit(model, runs, random_seed=2, **settings)
    assert opened(whole).ok
    from arviz_stats.base.array import array_stats

    at = {"N": [2e8, 1e10], "T": [1e10, 5e11]}
    names = ["E", "alpha", "beta", "batch_T", "batch_N", "rate_N", "rate_T", "rate_B", "rate_rise",
             "rate_fall", "batch_rise", "batch_fall", "sigma", "price_noise", "misfit"]  # fmt: skip
    for name in names:
        both = [np.log(np.abs(f["posterior"][name].values)) if name in ("misfit", "batch_fall",
                "rate_fall", "batch_rise") else f["posterior"][name].values
                for f in (parts, whole)]  # fmt: skip
        sd = both[1].std()
        ess = [array_stats.ess(x, chain_axis=0, draw_axis=1, method="mean") for x in both]
        ess[0] = min(ess[0], opened(parts).spec["ess_bowls"])
        error = sd * np.sqrt(sum(1 / e for e in ess))
        assert abs(both[0].mean() - both[1].mean()) < 4 * error, name
        # the sd of draws with e effective ones has error sd / sqrt(2 e), more with heavy tails
        assert both[0].std() == pytest.approx(sd, rel=4 * np.sqrt(1 / min(ess))), name
    far = [bs.predict(f, at=at, kind="mean").draws.values for f in (parts, whole)]
    for i in range(2):
        a, b = (np.log(x[:, i]) for x in far)
        assert abs(a.mean() - b.mean()) < 0.25 * b.std()
    planted = json.loads(runs.attrs["truth"])
    drawn = parts["posterior"]["rate_N"].values
    assert abs(drawn.mean() - planted["rate_N"]) < 3.5 * drawn.std()
