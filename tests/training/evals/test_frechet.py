"""The Frechet distance: closed forms, streaming, bias, error, and agreement with others."""

import json
import math

import numpy as np
import pytest
import scipy.linalg
import torch

from training.errors import SpecError
from training.evals.frechet import Collector, Moments, compare, distance

torch.set_num_threads(1)

NAMED = {"features": "test", "features_hash": "0", "feature_size": 6}


def draws(count, k=6, *, seed=0, shift=0.0, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, k, generator=g, dtype=torch.float64) * scale + shift


def collected(f_Bk, *, pieces=7):
    collector = Collector(len(f_Bk))
    for piece in f_Bk.chunk(pieces):
        collector.add(piece)
    return collector


def test_streaming_sums_give_the_moments_of_all():
    f = draws(1000, shift=1e4)  # a mean far from zero ruins sums of squares that are not centred
    streamed = Moments()
    for piece in f.split(13):
        streamed = streamed.add(piece)
    assert streamed.count == 1000
    assert torch.allclose(streamed.mean, f.mean(0), rtol=1e-14)
    assert torch.allclose(streamed.covariance, torch.cov(f.T), rtol=1e-9, atol=1e-12)


def test_float32_features_are_summed_in_float64():
    f = draws(5000, shift=300.0).float()
    assert torch.allclose(Moments.of(f).covariance, torch.cov(f.double().T), atol=1e-10)


def test_the_distance_of_two_gaussians_with_equal_axes_is_closed():
    one = Moments(
        2, torch.tensor([0.0, 0.0]).double(), torch.diag(torch.tensor([4.0, 1.0]).double())
    )
    other = Moments(
        2, torch.tensor([3.0, 4.0]).double(), torch.diag(torch.tensor([1.0, 9.0]).double())
    )
    # |mu|^2 + sum over axes of (s_1 - s_2)^2 = 25 + 1 + 4; count 2 makes scatter the covariance
    assert distance(one, other) == pytest.approx(30.0, rel=1e-12)


def test_the_distance_agrees_with_a_matrix_square_root():
    mix = draws(6, seed=5)
    a, b = draws(500, seed=1) @ mix, draws(400, seed=2, shift=0.3)
    one, other = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = scipy.linalg.sqrtm(one @ other).real
    gap = ((a.mean(0) - b.mean(0)) ** 2).sum()
    exact = float(gap) + np.trace(one + other - 2 * root)
    assert distance(Moments.of(a), Moments.of(b)) == pytest.approx(exact, rel=1e-9)


def test_the_distance_is_symmetric_and_zero_to_itself():
    a, b = Moments.of(draws(100, seed=1)), Moments.of(draws(100, seed=2, scale=2.0))
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-10)
    assert distance(a, a) == pytest.approx(0.0, abs=1e-10)


def test_fewer_samples_than_features_are_no_trouble():
    a, b = draws(20, 50, seed=1), draws(20, 50, seed=2)
    # roots of eigenvalues that are zero but for 1e-13
    assert distance(Moments.of(a), Moments.of(a)) == pytest.approx(0.0, abs=1e-4)
    assert distance(Moments.of(a), Moments.of(b)) > 1.0


def test_extrapolation_removes_the_bias():
    found = [
        compare(collected(draws(256, seed=s)), collected(draws(256, seed=s + 999)), **NAMED)
        for s in range(40)
    ]
    value = sum(each.value for each in found) / 40
    half = sum(each.half for each in found) / 40
    limit = torch.tensor([each.extrapolated for each in found])
    assert half / value == pytest.approx(2.0, rel=0.1)  # bias is c / n
    assert abs(float(limit.mean())) < 4 * float(limit.std()) / math.sqrt(40) + 0.05 * value


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.8, 3.5), (0.3, 0.7, 1.6)])
def test_the_jackknife_error_is_the_spread_of_repetitions(shift, low, high):
    found = [
        compare(
            collected(draws(256, seed=s)), collected(draws(256, seed=s + 999, shift=shift)), **NAMED
        )
        for s in range(40)
    ]
    spread = float(torch.tensor([each.extrapolated for each in found]).std())
    claimed = sum(each.se for each in found) / 40
    # honest for a distance well above zero, up to a few times too careful at zero
    assert low < claimed / spread < high


def test_pieces_of_any_size_give_the_same():
    a, b = draws(100, seed=1), draws(100, seed=2, scale=1.3)
    one = compare(collected(a), collected(b), **NAMED)
    other = compare(collected(a, pieces=1), collected(b, pieces=100), **NAMED)
    assert one.value == pytest.approx(other.value, rel=1e-12)
    assert one.se == pytest.approx(other.se, rel=1e-8)


def test_samples_that_are_not_finite_give_a_missing_value():
    bad = draws(64, seed=2)
    bad[3] = math.nan
    found = compare(collected(draws(64)), collected(bad), **NAMED)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["value"] is None


def test_too_few_samples_are_refused():
    with pytest.raises(SpecError, match="frechet_samples"):
        Collector(10)


def test_a_half_filled_collector_is_a_mistake():
    short = Collector(64)
    short.add(draws(10))
    with pytest.raises(ValueError, match="10 of 64"):
        compare(short, collected(draws(64)), **NAMED)
