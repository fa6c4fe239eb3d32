"""Does training teach? Small runs on data whose best possible loss is known, and on images."""

import pytest

from training.config import Execution, Spec, with_overrides
from training.engine import train

BASE = {
    "batch_samples": 16, "warmup_tokens": 16_384, "tokens": 131_072, "first_tokens": 32_768,
    "per_octave": 1, "low_t_samples": 0, "evaluation.samples": 256, "learning_rate": 1.2e-2,
}  # fmt: skip
SIZES = {
    "small": {"width": 16, "depth": 1, "heads": 1},
    "large": {"width": 32, "depth": 3, "heads": 2},
}
EXECUTION = Execution(device="cpu", threads=1)


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixture")
    data = {"data.name": "zipf_mixture", "captions": "none", "options": {"templates": 64}}
    return {
        name: train([with_overrides(Spec(), {**BASE, **data, **size})], root, EXECUTION)[0]
        for name, size in SIZES.items()
    }


def test_the_excess_over_the_oracle_falls_with_tokens_and_never_below_zero(mixtures):
    for record in mixtures.values():
        excess = [reading["loss"] - reading["oracle_loss"] for reading in record["readings"]]
        assert excess == sorted(excess, reverse=True)
        assert excess[-1] > 0


def test_the_excess_falls_with_size(mixtures):
    small, large = (mixtures[name]["readings"][-1] for name in ("small", "large"))
    assert large["loss"] < 0.95 * small["loss"]
    assert large["oracle_loss"] == small["oracle_loss"]


def test_a_paired_excess_is_known_better_than_the_loss(mixtures):
    main = mixtures["large"]["readings"][-1]["tracks"]["ema_0.1"]
    assert main["excess"] == pytest.approx(main["loss"] - main["oracle_loss"], rel=1e-6)
    assert main["excess_se"] < main["se"]


def test_leaves_are_learnt_to_the_loss_they_were_learnt_to_before(tmp_path):
    specs = [with_overrides(Spec(), {**BASE, **SIZES["large"], "seed": seed}) for seed in (0, 1)]
    losses = [record["readings"][-1]["loss"] for record in train(specs, tmp_path, EXECUTION)]
    # 0.337 and 0.339 when written down; seeds of such short runs scatter by some percent
    assert all(0.30 < loss < 0.38 for loss in losses)
