"""Keyed random numbers: known answers, moments, and independence of how they are drawn."""

import math

import pytest
import torch

from training import rng

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("word", "key", "answer"),
    [
        (0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (0xFFFFFFFF, 0xFFFFFFFF, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ],
)
def test_philox_gives_the_known_answers_of_random123(word, key, answer):
    counter = tuple(torch.tensor(word) for _ in range(4))
    assert tuple(int(each) for each in rng.philox(counter, (key, key))) == answer


def test_philox_gives_the_known_answer_for_digits_of_pi():
    counter = tuple(torch.tensor(w) for w in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344))
    words = rng.philox(counter, (0xA4093822, 0x299F31D0))
    answer = (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)
    assert tuple(int(each) for each in words) == answer


def test_draws_do_not_depend_on_order_or_batching():
    index = torch.arange(1000)
    together = rng.normal(3, "noise", index, (5,))
    backwards = rng.normal(3, "noise", index.flip(0), (5,)).flip(0)
    one = torch.cat([rng.normal(3, "noise", index[i : i + 1], (5,)) for i in range(0, 1000, 97)])
    assert torch.equal(together, backwards)
    assert torch.equal(together[::97], one)


def test_a_longer_draw_begins_with_the_shorter_one():
    index = torch.arange(4)
    assert torch.equal(rng.uniform(0, "a", index, (6,)), rng.uniform(0, "a", index, (11,))[:, :6])


@pytest.mark.parametrize("other", [(1, "noise"), (0, "t"), (0, "noise/")])
def test_another_seed_or_purpose_gives_unrelated_numbers(other):
    index = torch.arange(20_000)
    one, two = rng.normal(0, "noise", index), rng.normal(*other, index)
    # correlation of independent draws has standard deviation 1 / sqrt(n)
    assert abs(float((one * two).mean())) < 4 / math.sqrt(20_000)


def test_indices_beyond_32_bits_give_numbers_of_their_own():
    far = torch.tensor([5, 5 + 2**32, 5 + 2**33])
    assert len(set(rng.words(0, "x", far, 1)[:, 0].tolist())) == 3


def test_uniform_draws_are_uniform_and_never_touch_the_ends():
    u = rng.uniform(0, "u", torch.arange(200_000)).double()
    assert 0.0 < float(u.min()) and float(u.max()) < 1.0
    assert abs(float(u.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / 200_000)
    counts = torch.bincount((u * 20).long(), minlength=20).double()
    chi_square = float(((counts - 10_000) ** 2 / 10_000).sum())
    assert chi_square < 43.8  # 99.9 % of chi-square with 19 degrees of freedom


def test_normal_draws_have_the_moments_of_a_normal():
    z = rng.normal(0, "z", torch.arange(100_000), (3,)).double().flatten()
    n = len(z)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((z**power).mean()) - moment) < 4 * math.sqrt(variance / n)


def test_the_two_halves_of_a_box_muller_pair_are_uncorrelated():
    z = rng.normal(0, "z", torch.arange(100_000), (2,)).double()
    assert abs(float((z[:, 0] * z[:, 1]).mean())) < 4 / math.sqrt(100_000)
    assert abs(float((z[:, 0] ** 2 * z[:, 1] ** 2).mean()) - 1) < 4 * math.sqrt(8 / 100_000)


@pytest.mark.parametrize("high", [1, 2, 7, 1000])
def test_integers_cover_their_range_evenly(high):
    k = rng.integers(0, "k", torch.arange(50_000), high)
    assert int(k.min()) == 0 and int(k.max()) == high - 1
    counts = torch.bincount(k, minlength=high).double()
    expected = 50_000 / high
    assert float(((counts - expected) ** 2 / expected).sum()) < high + 5 * math.sqrt(2 * high)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 1797, 4096, 5000])
def test_a_permutation_holds_every_value_once(size):
    order = rng.permuted(7, "pass/0", torch.arange(size), size)
    assert torch.equal(order.sort().values, torch.arange(size))


def test_passes_are_read_in_different_orders():
    index = torch.arange(1000)
    one, two = rng.permuted(0, "pass/0", index, 1000), rng.permuted(0, "pass/1", index, 1000)
    assert int((one == two).sum()) < 10  # one in a thousand is expected to stay


def test_a_permutation_leaves_no_trend():
    order = rng.permuted(0, "pass/0", torch.arange(5000), 5000).double()
    index = torch.arange(5000).double()
    both = torch.stack((order, index))
    assert abs(float(torch.corrcoef(both)[0, 1])) < 4 / math.sqrt(5000)
