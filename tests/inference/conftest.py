"""Fits that several tests look at, made once."""

from __future__ import annotations

import pytest

import bayescale as bs


@pytest.fixture(scope="session")
def chinchilla():
    return bs.datasets.load("chinchilla")


@pytest.fixture(scope="session")
def chinchilla_fast(chinchilla):
    return bs.fit(bs.LossModel(), chinchilla, method="fast", progressbar=False)
