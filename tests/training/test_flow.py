"""The objective: paths, targets, and densities of t."""

import math

import pytest
import torch

from training import flow, rng

torch.set_num_threads(1)

PATHS = sorted(flow.PATHS)
INSIDE = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_runs_from_the_data_to_noise(name):
    path, ends = flow.PATHS[name], torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert path.a(ends).tolist() == pytest.approx([1.0, 0.0], abs=0.007)  # VP ends at a = 0.0066
    assert path.b(ends).tolist() == pytest.approx([0.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("name", PATHS)
def test_the_derivatives_of_a_path_are_those_of_autograd(name):
    path = flow.PATHS[name]
    for value, slope in ((path.a, path.da), (path.b, path.db)):
        t = INSIDE.clone().requires_grad_(True)
        (exact,) = torch.autograd.grad(value(t).sum(), t)
        assert torch.allclose(exact, slope(INSIDE), rtol=1e-10)


@pytest.mark.parametrize("name", ["vp", "cosine"])
def test_variance_is_preserved(name):
    path = flow.PATHS[name]
    assert torch.allclose(path.a(INSIDE) ** 2 + path.b(INSIDE) ** 2, torch.ones_like(INSIDE))


@pytest.mark.parametrize("name", PATHS)
def test_moments_of_noised_samples(name):
    path, n = flow.PATHS[name], 40_000
    x = 0.5 + 2.0 * rng.normal(0, "x", torch.arange(n), (1,)).double()
    e = rng.normal(0, "e", torch.arange(n), (1,)).double()
    for t in (0.1, 0.5, 0.9):
        t_B = torch.full((n,), t, dtype=torch.float64)
        a, b = float(path.a(t_B[0])), float(path.b(t_B[0]))
        x_t = path.mix(x, e, t_B)
        variance = 4 * a * a + b * b
        assert abs(float(x_t.mean()) - 0.5 * a) < 4 * math.sqrt(variance / n)
        assert abs(float(x_t.var()) - variance) < 4 * variance * math.sqrt(2 / n)


def test_rectified_flow_is_a_straight_line():
    x, e, t = torch.randn(3, 2), torch.randn(3, 2), torch.tensor([0.0, 0.3, 1.0])
    path = flow.PATHS["rectified_flow"]
    assert torch.allclose(path.mix(x, e, t), x + t[:, None] * (e - x))
    assert torch.equal(path.velocity(x, e, t), e - x)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", flow.TARGETS)
def test_every_target_stands_for_the_same_velocity(name, target):
    path, t = flow.PATHS[name], INSIDE
    x = rng.normal(0, "x", torch.arange(25), (3, 1, 2, 2)).double()
    e = rng.normal(0, "e", torch.arange(25), (3, 1, 2, 2)).double()
    said = flow.target_of(path, target, x, e, t)
    velocity = flow.velocity_from(path, target, said, path.mix(x, e, t), t)
    assert torch.allclose(velocity, path.velocity(x, e, t), rtol=1e-9)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("target", ["noise", "sample"])
def test_velocity_stays_finite_at_both_ends(name, target):
    path, t = flow.PATHS[name], torch.tensor([0.0, 1.0])
    x, e = torch.ones(2, 1), -torch.ones(2, 1)
    said = flow.target_of(path, target, x, e, t)
    assert bool(torch.isfinite(flow.velocity_from(path, target, said, path.mix(x, e, t), t)).all())


def test_an_ensemble_axis_may_stand_before_the_batch():
    path = flow.PATHS["cosine"]
    x, e = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    t = torch.rand(3, 5)
    together = path.mix(x, e, t)
    assert torch.equal(together[1], path.mix(x[1], e[1], t[1]))
    # one x_t for all members, one prediction each
    said = flow.velocity_from(path, "noise", e, x[0], t[0])
    assert torch.allclose(said[2], flow.velocity_from(path, "noise", e[2], x[0], t[0]))


SAMPLERS = [
    ("uniform", {}),
    ("shifted", {"shift": 3.0}),
    ("logit_normal", {}),
    ("logit_normal", {"mean": -0.5, "scale": 0.8}),
    ("logit_normal", {"mean": 0.3, "shift": 2.0}),
]


@pytest.mark.parametrize(("sampler", "options"), SAMPLERS)
def test_the_density_of_t_integrates_to_one(sampler, options):
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    assert float(flow.density_of_t(t, sampler, **options).mean()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("sampler", "options"), SAMPLERS)
def test_the_density_of_t_is_that_of_its_draws(sampler, options):
    # dt / du of the inverse transform is one over the density
    u = torch.linspace(0.02, 0.98, 49, dtype=torch.float64).requires_grad_(True)
    t = flow.sample_t(u, sampler, **options)
    (slope,) = torch.autograd.grad(t.sum(), u)
    assert torch.allclose(1.0 / slope, flow.density_of_t(t.detach(), sampler, **options), rtol=1e-8)


def test_logit_normal_times_have_a_normal_logit():
    u = rng.uniform(0, "t", torch.arange(50_000))
    z = torch.logit(flow.sample_t(u, "logit_normal", mean=-0.4, scale=1.3).double())
    assert abs(float(z.mean()) + 0.4) < 4 * 1.3 / math.sqrt(50_000)
    assert abs(float(z.std()) - 1.3) < 4 * 1.3 / math.sqrt(2 * 50_000)


def test_a_shift_moves_times_towards_noise():
    u = torch.linspace(0.1, 0.9, 9)
    assert bool((flow.sample_t(u, "shifted", shift=3.0) > u).all())
    assert torch.equal(flow.sample_t(u, "uniform"), u)
