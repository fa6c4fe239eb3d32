"""The bound as a weighting of the velocity error, against the closed form of a Gaussian."""

import math

import pytest
import torch
from gaussians import Gaussian

from training import flow
from training.config import Evaluation, Objective, Spec
from training.evals import vlb
from training.evals.validation import Validation

torch.set_num_threads(1)

LAM = torch.logspace(math.log10(4.0), -2, 8, dtype=torch.float64)
PATHS = sorted(flow.PATHS)


def curve(path, t, lam=LAM):
    """Least mean squared velocity error at t, by the posterior variance of x given x_t."""
    a, b, da, db = (f(t[:, None]) for f in (path.a, path.b, path.da, path.db))
    variance = lam * b**2 / (a**2 * lam + b**2)
    return ((da - a * db / b) ** 2 * variance).mean(1)


def bound(path, t_min, lam=LAM, points=200_000):
    """Bound of a perfect model by quadrature in log t."""
    depth = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    t = t_min * (1.0 / t_min) ** depth
    middle = (vlb.weight(path, t) * curve(path, t, lam) * t).mean() * math.log(1.0 / t_min)
    ends = vlb.reconstruction(path, t_min) + vlb.prior(path, float(lam.mean()))
    return float(middle) + ends


def closed(path, t_min, lam=LAM):
    """NLL plus what the decoder loses against the true posterior: 1/2 log(1 + b^2 / (a^2 lam))."""
    t = torch.tensor(t_min, dtype=torch.float64)
    lost = torch.log1p((path.b(t) / path.a(t)) ** 2 / lam).mean() / 2
    # a(1) > 0 leaves a little of the sample at the noisy end: KL(q(x_1) | N(0, 1)) of the marginal
    one = torch.tensor(1.0, dtype=torch.float64)
    v = path.a(one) ** 2 * lam + path.b(one) ** 2
    marginal = 0.5 * (v - 1.0 - torch.log(v)).mean()
    return Gaussian(lam).entropy + float(lost + marginal)


def test_rectified_flow_has_the_weight_of_the_note():
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    assert torch.allclose(vlb.weight(flow.PATHS["rectified_flow"], t), (1 - t) / t)


@pytest.mark.parametrize("name", PATHS)
def test_the_weight_is_half_the_slope_of_the_signal_to_noise_ratio(name):
    path = flow.PATHS[name]
    t = torch.linspace(0.02, 0.98, 40, dtype=torch.float64).requires_grad_(True)
    (slope,) = torch.autograd.grad(((path.a(t) / path.b(t)) ** 2).sum(), t)
    t = t.detach()
    a, b, da, db = path.a(t), path.b(t), path.da(t), path.db(t)
    assert torch.allclose(vlb.weight(path, t), -0.5 * slope / (da - a * db / b) ** 2, rtol=1e-9)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("t_min", [0.1, 0.01, 0.001])
def test_the_bound_of_a_gaussian_is_its_closed_form(name, t_min):
    path = flow.PATHS[name]
    assert bound(path, t_min) == pytest.approx(closed(path, t_min), abs=2e-5)


def test_the_bound_falls_to_the_likelihood_from_above():
    path = flow.PATHS["rectified_flow"]
    gaps = [bound(path, t_min) - Gaussian(LAM).entropy for t_min in (0.1, 0.01, 0.001)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    # the gap closes as t_min^2 / (2 lam)
    assert gaps[1] / gaps[2] == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize("name", PATHS)
def test_validation_estimates_the_bound(name):
    source = Gaussian(LAM.repeat(8))
    asked = Evaluation(samples=2048, low_t_samples=2048)
    spec = Spec(objective=Objective(path=name), evaluation=asked)
    measured = Validation.open(spec, source, "cpu").measure(source.predict(path=name))[0]
    assert abs(measured.vlb - closed(flow.PATHS[name], vlb.T_MIN)) < 3 * measured.vlb_se
    assert measured.vlb_se < 0.03


def test_the_stored_curve_gives_the_bound_by_a_dot_product():
    from training.evals.validation import bin_edges

    source, path = Gaussian(LAM.repeat(8)), flow.PATHS["rectified_flow"]
    spec = Spec(evaluation=Evaluation(samples=2048, low_t_samples=2048))
    measured = Validation.open(spec, source, "cpu").measure(source.predict())[0]
    low, high = bin_edges()
    total = vlb.reconstruction(path) + vlb.prior(path, 1.0)
    for k, error in enumerate(measured.loss_by_t):
        left = max(float(low[k]), 0.1) if k < 32 else float(low[k])
        if left < high[k]:  # integral of (1 - t) / t over the bin
            total += error * (math.log(high[k] / left) - (float(high[k]) - left))
    assert total == pytest.approx(measured.vlb, abs=0.02)


def test_a_worse_model_has_a_worse_bound():
    source = Gaussian(LAM)
    fixed = Validation.open(Spec(), source, "cpu")
    good = fixed.measure(source.predict())[0]
    bad = fixed.measure(lambda x, t, text: 1.1 * source.velocity(x, t))[0]
    assert bad.vlb > good.vlb
