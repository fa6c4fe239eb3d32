"""Fits that many tests share, made once per process."""

import numpy as np
import pytest

import bayescale as bs


@pytest.fixture(scope="session")
def chinchilla():
    """The 245 raw runs."""
    return bs.datasets.load("chinchilla")


@pytest.fixture(scope="session")
def chinchilla_fit(chinchilla):
    """A fast posterior of the additive law, 4 x 250 draws."""
    return bs.fit(bs.LossModel(), chinchilla, method="fast", draws=250)


@pytest.fixture(scope="session")
def two_families():
    """Simulated runs of two families that share exponents."""
    rng = np.random.default_rng(5)
    frames = []
    for name, floor in (("a", 1.8), ("b", 2.1)):
        size = 10 ** rng.uniform(7.5, 9.5, 30)
        tokens = 10 ** rng.uniform(18, 21, 30) / (6 * size)
        loss = floor + 0.25 * (size / 3e8) ** -0.34 + 0.25 * (tokens / 1e10) ** -0.36
        loss *= np.exp(0.003 * rng.standard_normal(30))
        frames.append({"N": size, "T": tokens, "loss": loss, "kind": np.full(30, name)})
    table = {k: np.concatenate([f[k] for f in frames]) for k in frames[0]}
    return bs.as_runs(table, family="kind")
