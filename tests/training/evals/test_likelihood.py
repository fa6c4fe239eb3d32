"""Likelihood along the probability flow, against densities in closed form."""

import json
import math

import pytest
import torch
from gaussians import Gaussian, Mixture

from training import flow
from training.config import Objective
from training.errors import SpecError, TrainingError
from training.evals import likelihood as module
from training.evals.likelihood import bits_per_dimension, dequantised, likelihood

torch.set_num_threads(1)

LAM = torch.logspace(math.log10(4.0), -2, 8, dtype=torch.float64)
EVERY = [(path, target) for path in sorted(flow.PATHS) for target in flow.TARGETS]


def exact(x, lam=LAM):
    """Mean -log p per dimension of these very samples."""
    square = x.double().flatten(1).square() / lam
    return float(0.5 * (square + torch.log(2 * math.pi * lam)).mean())


@pytest.fixture(scope="module")
def source():
    return Gaussian(LAM)


@pytest.fixture(scope="module")
def x(source):
    return source.batch(torch.arange(64)).x


@pytest.mark.parametrize(("path", "target"), EVERY)
def test_likelihood_of_a_gaussian_is_its_closed_form(source, x, path, target):
    objective = Objective(path=path, target=target)
    found = likelihood(source.predict(target, path), objective, x, seed=0, steps=64)
    assert abs(found.nll - exact(x)) < 2e-3
    assert abs(found.nll - exact(x)) < abs(found.step_error)  # the error bar is an error bar


def test_the_error_falls_by_four_with_half_the_step(source, x):
    errors = [
        abs(likelihood(source.predict(), Objective(), x, seed=0, steps=steps).nll - exact(x))
        for steps in (32, 64, 128)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[2] < 1e-4


def test_the_mean_over_samples_is_the_entropy(source):
    many = source.batch(torch.arange(2048)).x
    found = likelihood(source.predict(), Objective(), many, seed=0, steps=32, chunk=512)
    assert abs(found.nll - source.entropy) < 3 * found.nll_se + abs(found.step_error)
    # the variance of -log p is d / 2, so 1 / (2 d) for the mean over dimensions
    assert found.nll_se == pytest.approx(math.sqrt(1 / 16 / 2048), rel=0.1)


def test_likelihood_of_a_mixture_is_its_closed_form():
    source = Mixture([[1.0, 1.0], [-1.0, 0.5], [0.2, -1.0]], 0.2)
    x = source.batch(torch.arange(256)).x
    found = likelihood(lambda x, t, _: source.velocity(x, t), Objective(), x, seed=0, steps=128)
    assert found.nll == pytest.approx(-float(source.log_p(x).mean()) / 2, abs=1e-3)


class Mixing:
    """A velocity whose Jacobian is full, so that probes have something to be wrong about."""

    matrix = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).double() * 0.3

    def __call__(self, x, t, text=None):
        return torch.tanh(x.flatten(1) @ self.matrix.to(x.dtype)).reshape(x.shape)


def test_many_probes_agree_with_the_exact_trace(x, monkeypatch):
    true = likelihood(Mixing(), Objective(), x, seed=0, steps=8)
    monkeypatch.setattr(module, "EXACT_TRACE", 4)
    found = likelihood(Mixing(), Objective(), x, seed=0, steps=8, probes=64)
    assert true.probes == 0 and true.probe_se == 0.0 and found.probes == 64
    assert abs(found.nll - true.nll) < 3.5 * found.probe_se
    assert 0 < found.probe_se < 0.02


def test_the_probe_error_covers_the_spread_over_seeds(x, monkeypatch):
    monkeypatch.setattr(module, "EXACT_TRACE", 4)
    found = [likelihood(Mixing(), Objective(), x, seed=s, steps=2, probes=4) for s in range(30)]
    spread = float(torch.tensor([each.nll for each in found]).std())
    claimed = sum(each.probe_se for each in found) / 30
    assert spread == pytest.approx(claimed, rel=0.5)  # sd of a sd from 30 draws is 13 %


def test_probes_are_exact_where_dimensions_do_not_mix(source, x, monkeypatch):
    monkeypatch.setattr(module, "EXACT_TRACE", 4)
    found = likelihood(source.predict(), Objective(), x, seed=0, steps=128, probes=2)
    assert found.nll == pytest.approx(exact(x), abs=2e-4)
    assert found.probe_se == pytest.approx(0.0, abs=1e-7)


def test_chunks_change_nothing(x, monkeypatch):
    monkeypatch.setattr(module, "EXACT_TRACE", 4)
    one = likelihood(Mixing(), Objective(), x, seed=3, steps=4, probes=3)
    other = likelihood(Mixing(), Objective(), x, seed=3, steps=4, probes=3, chunk=7)
    assert one.nll == pytest.approx(other.nll, rel=1e-6)
    assert one.probe_se == pytest.approx(other.probe_se, rel=1e-4)


def test_one_probe_has_no_error_bar(x, monkeypatch):
    monkeypatch.setattr(module, "EXACT_TRACE", 4)
    found = likelihood(Mixing(), Objective(), x, seed=0, steps=2, probes=1)
    assert math.isnan(found.probe_se)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["probe_se"] is None


def test_captions_condition_the_density(x):
    def predict(x, t, text):
        return x * text.reshape(-1, 1, 1, 1, 1)

    # dx/dt = c x has divergence c in each dimension and scales x by e^c
    text = torch.full((64,), 0.5)
    found = likelihood(predict, Objective(), x, text, seed=0, steps=64)
    square = (x.double().square() * math.e).mean()
    assert found.nll == pytest.approx(
        float(0.5 * square + 0.5 * math.log(2 * math.pi) - 0.5), abs=1e-3
    )


def test_bits_count_one_step_of_the_eight_bit_scale():
    # a uniform density on [-1, 1] knows nothing: 8 bits, up to the 256 steps on 255 / 127.5
    assert bits_per_dimension(math.log(2.0), eight_bit=True) == pytest.approx(1 + math.log2(127.5))
    assert 1 + math.log2(127.5) == pytest.approx(8.0, abs=0.006)


def test_bits_are_refused_for_data_that_are_not_eight_bit(source, x):
    with pytest.raises(SpecError, match="not 8-bit"):
        bits_per_dimension(1.0, eight_bit=False)
    with pytest.raises(SpecError, match="steps beside the values"):
        likelihood(source.predict(), Objective(), x, seed=0, steps=2, eight_bit=True)
    assert likelihood(source.predict(), Objective(), x, seed=0, steps=2).bits is None


def test_dequantised_samples_stay_within_half_a_step():
    x = torch.randint(0, 256, (50, 1, 1, 4, 4)).float() / 127.5 - 1
    noisy = dequantised(x, seed=0)
    away = (noisy - x) * 127.5
    assert float(away.abs().max()) <= 0.5 + 1e-4
    assert float(away.var()) == pytest.approx(1 / 12, rel=0.15)
    assert torch.equal(noisy, dequantised(x, seed=0))


def test_bits_of_eight_bit_data_follow_from_nats(source):
    x = torch.randint(0, 256, (16, 1, 1, 1, 8)).float() / 127.5 - 1
    found = likelihood(source.predict(), Objective(), x, seed=0, steps=8, eight_bit=True)
    assert found.bits == pytest.approx(found.nll / math.log(2) + math.log2(127.5))


def test_a_model_without_gradients_is_refused(source, x):
    @torch.no_grad()
    def predict(x, t, text):
        return source.velocity(x, t)

    with pytest.raises(TrainingError, match="without gradients"):
        likelihood(predict, Objective(), x, seed=0, steps=2)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_odd_numbers_of_steps_are_refused(source, x, steps):
    with pytest.raises(SpecError, match="even number"):
        likelihood(source.predict(), Objective(), x, seed=0, steps=steps)
