"""FLOPs and parameters by formula against torch's counter and the built module."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from variants import BATCH, samples, variants

from training.config import Model
from training.flops import (
    flops_6n_core,
    flops_6n_total,
    flops_per_sample,
    hardware_flops,
    macs_forward,
)
from training.models import build
from training.models.count import parameter_groups, predicted_groups
from training.shapes import SampleShape

ALL = [pytest.param(model, shape, id=name) for name, model, shape in variants()]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("model", "shape"), ALL)
def test_formula_agrees_with_the_counter(model, shape):
    transformer = build(model, shape)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = transformer(*samples(shape))
        forward = counter.get_total_flops() / BATCH
        out.sum().backward()
    both = counter.get_total_flops() / BATCH
    assert flops_per_sample(model, shape).total == pytest.approx(both, rel=0.005)
    assert flops_per_sample(model, shape, forward_only=True).total == pytest.approx(
        forward, rel=0.005
    )


@pytest.mark.parametrize(("model", "shape"), ALL)
def test_predicted_parameters_are_those_of_the_module(model, shape):
    for ensemble in (False, True):
        transformer = build(model, shape, seeds=(0,), ensemble=ensemble)
        assert parameter_groups(transformer) == predicted_groups(model, shape)


def test_a_member_of_an_ensemble_counts_once():
    shape = SampleShape()
    transformer = build(Model(), shape, seeds=(0, 1, 2), ensemble=True)
    assert parameter_groups(transformer) == predicted_groups(Model(), shape)


def test_dit_xl_2_costs_118_6_giga_multiply_adds():
    """DiT-XL/2 on 32 x 32 x 4 latents, one word of 1001 as class and hidden class.

    DiT's paper prints 118.6 "Gflops", which are multiply-adds. We have a layer more on the class
    and do not predict variances, thousandths of a per cent.
    """
    model = Model(conditioning="adaln_zero", width=1152, depth=28, heads=16)
    shape = SampleShape(
        channels=4, height=32, width=32, text="tokens", text_length=1, text_size=1001
    )
    assert macs_forward(model, shape) / 1e9 == pytest.approx(118.6, abs=0.05)
    groups = predicted_groups(model, shape)
    assert groups["total"] == pytest.approx(675e6, rel=0.005)  # 675M in the paper
    share = groups["modulation"] / (groups["modulation"] + groups["core"])
    assert share == pytest.approx(1 / 3, abs=0.01)


def test_conventions_stand_beside_the_formula():
    """72 d^2 L + 12 n d L for the blocks, of which 6 N misses the latter."""
    model, shape = Model(width=64, depth=6, heads=2), SampleShape()
    flops = flops_per_sample(model, shape)
    n, d, layers = 64, 64, 6
    assert flops.linear / n == 72 * d**2 * layers
    assert flops.attention / n == 12 * n * d * layers
    assert flops_6n_core(model, shape) == pytest.approx(flops.linear / n, rel=0.02)  # biases
    assert flops_6n_total(model, shape) > flops_6n_core(model, shape)
    assert hardware_flops(flops) == flops.total + flops.attention / 6


def test_conditioning_that_acts_once_does_not_grow_with_tokens():
    model = Model(conditioning="adaln_zero", width=32)
    small, large = (flops_per_sample(model, SampleShape(height=n, width=n)) for n in (8, 32))
    assert small.per_sample == large.per_sample
    assert large.linear == 16 * small.linear
    assert large.attention == 256 * small.attention
