"""`grf` and `zipf_mixture`: the oracle velocity attains the stated E, and densities are right."""

import math

import pytest
import torch

from training.config import Data
from training.data import open_stream
from training.flow import PATHS, density_of_t, sample_t

STREAMS = [
    Data("grf", 8),
    Data("grf", 8, frames=4, options={"exponent": 3.0, "channels": 1}),
    Data("zipf_mixture", 8, options={"templates": 256}),
]
IDS = ["grf", "grf of a video", "mixture"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def measured(data: Data, path_name: str = "rectified_flow", low: float = 0.0):
    """Loss of the oracle over 4,096 samples, stratified t on (low, 1), and its standard error."""
    stream, path, n = open_stream(data, "validation"), PATHS[path_name], 4096
    x = stream.batch(torch.arange(n)).x
    generator = torch.Generator().manual_seed(1)
    e = torch.randn(x.shape, generator=generator)
    t = low + (1 - low) * (torch.arange(n) % 256 + torch.rand(n, generator=generator)) / 256
    oracle = stream.oracle_velocity
    assert oracle is not None
    error = oracle(path.mix(x, e, t), t, path) - path.velocity(x, e, t)
    groups = error.square().flatten(1).mean(1).reshape(16, 256).mean(1)
    return float(groups.mean()), float(groups.std() / 4), t, error.square().flatten(1).mean(1)


@pytest.mark.parametrize("data", STREAMS, ids=IDS)
def test_the_oracle_attains_the_stated_loss(data):
    floor = open_stream(data, "train").floor
    assert floor is not None
    stated, stated_error = floor()
    loss, error, _, _ = measured(data)
    assert error < 0.02 * loss
    assert abs(loss - stated) < 4 * math.hypot(error, stated_error)


@pytest.mark.parametrize("data", STREAMS, ids=IDS)
def test_the_floor_under_the_training_density_is_the_weighted_one(data):
    floor = open_stream(data, "train").floor
    assert floor is not None
    stated, stated_error = floor(lambda t: density_of_t(t, "logit_normal"))
    _, _, t, loss = measured(data)
    groups = (density_of_t(t, "logit_normal") * loss).reshape(16, 256).mean(1)
    error = math.hypot(float(groups.std() / 4), stated_error)
    assert abs(float(groups.mean()) - stated) < 4 * error


@pytest.mark.parametrize("data", STREAMS, ids=IDS)
def test_no_other_velocity_beats_the_oracle(data):
    stream = open_stream(data, "train")
    oracle, path = stream.oracle_velocity, PATHS["cosine"]
    assert oracle is not None
    x = stream.batch(torch.arange(2048)).x
    e = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    t = sample_t(torch.linspace(0.01, 0.99, 2048), "uniform")
    x_t, v = path.mix(x, e, t), path.velocity(x, e, t)
    best = oracle(x_t, t, path)
    for other in (0.97 * best, best + 0.02 * x_t, best - 0.02 * x_t):
        assert float((other - v).square().mean()) > float((best - v).square().mean())


def test_the_known_integral_agrees_with_quadrature():
    floor = open_stream(Data("grf", 8), "train").floor
    assert floor is not None
    assert floor()[0] == pytest.approx(floor(torch.ones_like)[0], rel=1e-6)
    assert floor()[1] == 0.0


def test_the_field_has_the_spectrum_it_says():
    stream = open_stream(Data("grf", 16, options={"exponent": 2.0, "scale": 0.5}), "train")
    x = stream.batch(torch.arange(2000)).x.double()
    power = torch.fft.fftn(x, dim=(-3, -2, -1), norm="ortho").abs().square().mean((0, 1))
    ratio = power / stream.source.variances  # pyright: ignore[reportAttributeAccessIssue]
    assert float((ratio - 1).abs().max()) < 5 * math.sqrt(2 / 6000)
    assert float(x.std()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("frames", [1, 3])
def test_the_likelihood_of_the_field_agrees_with_torch(frames):
    stream = open_stream(Data("grf", 4, frames=frames, options={"channels": 1}), "train")
    size, source = stream.shape.numel, stream.source
    filtered = source._filtered(  # pyright: ignore[reportAttributeAccessIssue]
        torch.eye(size, dtype=torch.float64).reshape(size, *stream.shape.array),
        source.variances,  # pyright: ignore[reportAttributeAccessIssue]
    ).reshape(size, size)
    normal = torch.distributions.MultivariateNormal(torch.zeros(size).double(), filtered)
    x = stream.batch(torch.arange(5)).x
    assert stream.nll is not None
    assert torch.allclose(stream.nll(x), -normal.log_prob(x.double().reshape(5, size)), rtol=1e-6)


def test_the_bound_of_the_field_falls_to_its_likelihood():
    source = open_stream(Data("grf", 8), "train").source
    bounds = [source.expected_vlb(t) for t in (0.1, 0.01, 0.001)]  # pyright: ignore[reportAttributeAccessIssue]
    nll = source.expected_nll()  # pyright: ignore[reportAttributeAccessIssue]
    assert bounds[0] > bounds[1] > bounds[2] > nll
    assert bounds[2] == pytest.approx(nll, abs=0.01)
    x = source.make(torch.arange(3000)).x
    drawn = source.nll(x)  # pyright: ignore[reportAttributeAccessIssue]
    assert abs(float(drawn.mean()) - nll) < 4 * float(drawn.std()) / math.sqrt(3000)


def test_the_bound_is_the_weighting_of_the_curve_that_the_note_says():
    source = open_stream(Data("grf", 8), "train").source
    t_min, d = 0.05, source.shape.numel
    t = torch.linspace(math.log(t_min), 0.0, 20001, dtype=torch.float64).exp()
    curve = (1 - t) / t * source.error_at(t) * d  # pyright: ignore[reportAttributeAccessIssue]
    s = t_min / (1 - t_min)
    rebuilt = 0.5 * d * math.log(2 * math.pi * math.e * s * s)
    whole = float(torch.trapezoid(curve, t)) + rebuilt
    assert whole == pytest.approx(source.expected_vlb(t_min), rel=1e-5)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_likelihood_of_the_mixture_agrees_with_torch():
    stream = open_stream(Data("zipf_mixture", 8, options={"templates": 16}), "train")
    means, d = stream.source.means.double(), stream.shape.numel  # pyright: ignore[reportAttributeAccessIssue]
    weights = 1.0 / torch.arange(1, 17, dtype=torch.float64)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights / weights.sum()),
        torch.distributions.Independent(
            torch.distributions.Normal(means, 0.1 * torch.ones(16, d).double()), 1
        ),
    )
    x = stream.batch(torch.arange(6)).x
    assert stream.nll is not None
    assert torch.allclose(stream.nll(x), -mixture.log_prob(x.double().reshape(6, d)), rtol=1e-6)


def test_templates_are_drawn_with_weights_that_fall_as_one_over_rank():
    stream = open_stream(Data("zipf_mixture", 8, options={"templates": 50}), "train")
    drawn = stream.source.which(torch.arange(20_000))  # pyright: ignore[reportAttributeAccessIssue]
    counts = torch.bincount(drawn, minlength=50).double()
    weights = 1.0 / torch.arange(1, 51, dtype=torch.float64)
    wanted = 20_000 * weights / weights.sum()
    assert float(((counts - wanted) ** 2 / wanted).sum()) < 49 + 5 * math.sqrt(2 * 49)


def test_the_mixture_is_the_same_for_every_seed_of_the_stream():
    one, two = (
        open_stream(Data("zipf_mixture", 8, seed=seed, options={"templates": 64}), "train")
        for seed in (0, 1)
    )
    assert torch.equal(one.source.means, two.source.means)  # pyright: ignore[reportAttributeAccessIssue]
    assert not torch.equal(one.batch(torch.arange(4)).x, two.batch(torch.arange(4)).x)


@pytest.mark.slow
def test_the_full_mixture_has_the_floor_of_the_log():
    """4,096 templates at 16 pixels: E = 0.206 (the prototype's leaves, another drawing, 0.193)."""
    floor = open_stream(Data("zipf_mixture", 16), "train").floor
    assert floor is not None
    value, error = floor()
    assert value == pytest.approx(0.2062, abs=0.002) and error < 0.001
