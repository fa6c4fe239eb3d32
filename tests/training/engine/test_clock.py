"""Seconds of a run over its sessions and devices."""

import pytest
import torch

from training.device import Place
from training.engine.clock import Clock

HERE = Place(torch.device("cpu"), "float32")


def test_device_time_counts_the_devices_of_each_session():
    first = Clock(HERE, devices=8)
    first.lap("train")
    first.spent["train"], first.device_s["train"] = 100.0, 800.0
    second = Clock(HERE, devices=1)
    second.restore(first.state())
    second.lap("train")
    added = second.spent["train"] - 100.0
    assert second.device_s["train"] == pytest.approx(800.0 + added)
    assert 0 < added < 10 and second.sessions == 2


def test_a_checkpoint_without_device_time_is_taken_as_made_with_as_many_devices():
    clock = Clock(HERE, devices=2)
    clock.restore({"train": 10.0, "eval": 1.0, "sessions": 1})
    assert clock.device_s["train"] == 20.0 and clock.device_s["eval"] == 2.0
