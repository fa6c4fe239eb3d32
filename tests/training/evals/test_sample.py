"""Solvers and guidance, on velocities that are known exactly."""

import math

import pytest
import torch
from gaussians import Gaussian, Mixture

from training import flow, rng
from training.config import Objective
from training.evals.sample import draw, guided, integrate, times

torch.set_num_threads(1)

LAM = torch.tensor([4.0, 1.0, 0.25, 0.04], dtype=torch.float64)
EVERY = [(path, target) for path in sorted(flow.PATHS) for target in flow.TARGETS]


def noise(count, d):
    return rng.normal(0, "test", torch.arange(count), (1, 1, 1, d))


@pytest.mark.parametrize(("path", "target"), EVERY)
def test_samples_of_a_gaussian_have_its_covariance(path, target):
    source, n = Gaussian(LAM), 20_000
    objective = Objective(path=path, target=target)
    x = draw(source.predict(target, path), objective, noise(n, 4), steps=48).flatten(1).double()
    root = LAM.sqrt()
    correlation = (x.T @ x) / n / torch.outer(root, root)
    # Monte Carlo error of a variance is sqrt(2 / n); the solver adds less than 1 %
    assert torch.allclose(
        correlation, torch.eye(4, dtype=torch.float64), atol=4 * math.sqrt(2 / n) + 0.01
    )


def test_samples_of_a_mixture_land_on_its_centres_evenly():
    source = Mixture([[1.0, 1.0], [-1.0, 0.5], [0.2, -1.0]], 0.1)
    x = draw(lambda x, t, _: source.velocity(x, t), Objective(), noise(3000, 2), steps=64)
    away = torch.cdist(x.flatten(1).double(), source.centres)
    assert float(away.min(1).values.square().mean()) == pytest.approx(2 * 0.1**2, rel=0.1)
    share = torch.bincount(away.argmin(1)) / 3000
    assert torch.allclose(share, torch.full((3,), 1 / 3), atol=4 * math.sqrt(2 / 9 / 3000))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_order_of_a_solver(solver, order):
    source, start = Gaussian([0.25]), noise(1, 1).double()
    exact = start * 0.5  # the flow of a Gaussian scales each dimension to its deviation

    def error(steps):
        grid = times(Objective(), steps)[::-1]
        found = integrate(lambda x, t: source.velocity(x, t), start, grid, solver)
        return float((found - exact).abs())

    assert math.log2(error(64) / error(128)) == pytest.approx(order, abs=0.2)


def test_there_and_back_again():
    source, start = Gaussian(LAM), noise(10, 4).double()
    grid = times(Objective(), 256)

    def velocity(x, t):
        return source.velocity(x, t)

    data = integrate(velocity, start, grid[::-1])
    assert torch.allclose(integrate(velocity, data, grid), start, atol=2e-3)


def told(x, t, text):
    return x * 0 + (1.0 if text is None else 2.0 + text.reshape(-1, 1))


@pytest.mark.parametrize(("guidance", "value"), [(0.0, 1.0), (1.0, 5.0), (2.0, 9.0), (0.5, 3.0)])
def test_guidance_pushes_away_from_the_hidden_caption(guidance, value):
    x, t, text = torch.zeros(2, 3), torch.ones(2), torch.tensor([3, 3])
    assert torch.equal(guided(told, text, guidance)(x, t), torch.full((2, 3), value))


@pytest.mark.parametrize(("guidance", "calls"), [(0.0, 1), (1.0, 1), (3.0, 2)])
def test_guidance_calls_the_model_no_more_than_it_must(guidance, calls):
    seen = []

    def predict(x, t, text):
        seen.append(text)
        return x

    guided(predict, torch.tensor([1]), guidance)(torch.zeros(1, 1), torch.ones(1))
    assert len(seen) == calls


def test_guidance_without_captions_is_the_model_itself():
    x = torch.zeros(1, 2)
    assert torch.equal(guided(told, None, 4.0)(x, torch.ones(1)), torch.ones(1, 2))


@pytest.mark.parametrize("target", ["velocity", "noise", "sample"])
def test_guiding_a_prediction_is_guiding_its_velocity(target):
    path, x_t, t = flow.PATHS["cosine"], torch.randn(4, 3), torch.full((4,), 0.4)
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    joint = flow.velocity_from(path, target, a + 3.0 * (b - a), x_t, t)
    v_a, v_b = (flow.velocity_from(path, target, each, x_t, t) for each in (a, b))
    assert torch.allclose(joint, v_a + 3.0 * (v_b - v_a), atol=1e-4)
