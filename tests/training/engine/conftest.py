"""Runs so small that a test can train many."""

import pytest
import torch

from training.config import Execution, Spec, with_overrides

TINY = {
    "width": 16,
    "depth": 2,
    "heads": 2,
    "tokens": 65_536,
    "warmup_tokens": 8_192,
    "first_tokens": 16_384,
    "per_octave": 1,
    "evaluation.samples": 64,
    "low_t_samples": 16,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny():
    """Make a spec of 64 steps of 16 images, with changes."""

    def make(**changes):
        named = {name.replace("__", "."): value for name, value in changes.items()}
        return with_overrides(Spec(), {**TINY, **named})

    return make


@pytest.fixture
def here():
    return Execution(device="cpu", log_every=10)


def science(record):
    """A record without what hangs on the machine and the hour."""
    return {name: value for name, value in record.items() if name not in ("cost", "finished")}


def curve(folder):
    return [
        {name: value for name, value in line.items() if name != "wall_s"}
        for line in folder.lines("curve")
    ]
