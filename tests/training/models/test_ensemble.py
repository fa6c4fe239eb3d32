"""Members of an ensemble are the single models with their seeds, and know nothing of each other."""

import pytest
import torch
from variants import CONDITIONINGS, disturb, samples, variants

from training.config import Model
from training.errors import SpecError
from training.models import build
from training.shapes import SampleShape

ALL = [pytest.param(model, shape, id=name) for name, model, shape in variants()]
TEXT = SampleShape(channels=2, height=8, width=6, text="tokens", text_length=5, text_size=11)
# products of matrices in another order: a few hundred float32 roundings of numbers near 1
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(("model", "shape"), ALL)
def test_initial_weights_of_a_member_are_those_of_its_seed_bit_for_bit(model, shape):
    members = dict(build(model, shape, seeds=(3, 8), ensemble=True).named_parameters())
    for at, seed in enumerate((3, 8)):
        for name, weight in build(model, shape, seeds=(seed,)).named_parameters():
            assert torch.equal(members[name][at], weight), name


@pytest.mark.parametrize(("model", "shape"), ALL)
def test_an_ensemble_of_one_equals_the_plain_model(model, shape):
    plain, one = build(model, shape), build(model, shape, ensemble=True)
    disturb(plain)
    one.load_state_dict({k: v.unsqueeze(0) for k, v in plain.state_dict().items()})
    x, t, text, drop = samples(shape)
    lead = [None if each is None else each.unsqueeze(0) for each in (x, t, text, drop)]
    out, out_one = plain(x, t, text, drop), one(*lead)
    torch.testing.assert_close(out_one[0], out, **CLOSE)
    out.square().mean().backward()
    out_one.square().mean().backward()
    for (name, p), q in zip(plain.named_parameters(), one.parameters(), strict=True):
        assert (q.grad[0] - p.grad).norm() <= 1e-4 * p.grad.norm() + 1e-7, name


@pytest.mark.parametrize(("model", "shape"), ALL)
def test_members_do_not_interact(model, shape):
    ensemble = disturb(build(model, shape, seeds=(0, 1, 2), ensemble=True))
    inputs = samples(shape, members=3)
    before = ensemble(*inputs)
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter[1] *= 1.5
    after = ensemble(*inputs)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert not torch.equal(before[1], after[1])
    after[0].sum().backward()
    assert all(not parameter.grad[1:].any() for parameter in ensemble.parameters())


def test_a_broken_member_leaves_the_others_whole():
    ensemble = disturb(build(Model(width=24), TEXT, seeds=(0, 1), ensemble=True))
    inputs = samples(TEXT, members=2)
    before = ensemble(*inputs)[0]
    with torch.no_grad():
        ensemble.patch.weight[1] = float("nan")
    after = ensemble(*inputs)
    assert torch.equal(before, after[0])
    assert after[1].isnan().all()


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_samples_without_members_are_seen_by_all(conditioning):
    ensemble = disturb(
        build(Model(conditioning=conditioning, width=24), TEXT, seeds=(0, 1), ensemble=True)
    )
    x, t, text, drop = samples(TEXT)
    every = [each.expand(2, *each.shape) for each in (x, t, text, drop)]
    assert torch.equal(ensemble(x, t, text, drop), ensemble(*every))
    assert torch.equal(ensemble(every[0], t, text), ensemble(every[0], every[1], text))


def test_members_can_be_dropped_by_slicing_their_weights():
    ensemble = disturb(build(Model(width=24), TEXT, seeds=(0, 1, 2), ensemble=True))
    inputs = samples(TEXT, members=3)
    before = ensemble(*inputs)
    for module in ensemble.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(parameter.detach()[[0, 2]]))
    assert ensemble.members == 2
    kept = ensemble(*(each[[0, 2]] for each in inputs))
    torch.testing.assert_close(kept, before[[0, 2]], **CLOSE)


def test_several_seeds_need_an_ensemble():
    with pytest.raises(SpecError, match="ensemble=True"):
        build(Model(), TEXT, seeds=(0, 1))
