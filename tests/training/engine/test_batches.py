"""However a batch is cut, by memory, ranks or packing, the samples and the losses are the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import data
from training.engine import train
from training.engine.feed import Feed
from training.engine.memory import Backward
from training.engine.world import World
from training.errors import SpecError, TrainingError

ROOT = Path(__file__).parents[3]


def losses(record):
    return [each["loss"] for each in record["readings"]]


def test_micro_batches_change_nothing_but_rounding(tmp_path, tiny, here):
    import dataclasses

    whole = train([tiny()], tmp_path / "whole", here)[0]
    cut = train([tiny()], tmp_path / "cut", dataclasses.replace(here, micro_batch=5))[0]
    assert losses(cut) == pytest.approx(losses(whole), rel=1e-4)
    assert cut["cost"]["micro_batch_history"] == [[0, 5]]


def test_running_out_of_memory_halves_the_micro_batch_and_repeats_the_step(
    tmp_path, tiny, here, monkeypatch
):
    whole = train([tiny()], tmp_path / "whole", here)[0]
    accumulate, failed = Backward._accumulate, []

    def short_of_memory(self, step):
        if step >= 20 and self.micro_batch > 4:
            failed.append(self.micro_batch)
            for part in self.feed.parts(step, 2):  # leave partial gradients behind, as it would
                self.model(part.x_t, part.t, part.text, part.drop).sum().backward()
                break
            raise torch.OutOfMemoryError("CUDA out of memory")
        return accumulate(self, step)

    monkeypatch.setattr(Backward, "_accumulate", short_of_memory)
    cut = train([tiny()], tmp_path / "cut", here)[0]
    assert failed == [16, 8]
    assert cut["cost"]["micro_batch_history"] == [[0, 16], [20, 8], [20, 4]]
    assert losses(cut) == pytest.approx(losses(whole), rel=1e-4)


def test_memory_too_small_for_one_sample_is_one_clear_error(tmp_path, tiny, here, monkeypatch):
    def no_memory(self, step):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Backward, "_accumulate", no_memory)
    with pytest.raises(TrainingError, match="one sample at a time"):
        train([tiny()], tmp_path, here)


def test_two_ranks_see_the_samples_and_the_noise_of_one(tiny):
    spec = tiny()
    stream = data.open_stream(spec.data, "train")
    whole = next(Feed([spec], stream, World(), ensemble=False).parts(3, 16))
    parts = [
        next(Feed([spec], stream, World(rank, 2), ensemble=False).parts(3, 16)) for rank in (0, 1)
    ]
    for name in ("x_t", "target", "t", "text", "drop"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name)), name


def test_no_two_samples_of_a_run_share_noise_or_time(tiny):
    spec = tiny()
    feed = Feed([spec], data.open_stream(spec.data, "train"), World(), ensemble=False)
    t = torch.cat([next(feed.parts(step, 16)).t for step in range(200)])
    assert len(t.unique()) > 0.999 * len(t)


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(SpecError, match=r"batch_samples.*15"):
        World(0, 2).share(15)


def test_a_pack_agrees_with_its_members_alone(tmp_path, tiny, here):
    specs = [tiny(learning_rate=rate, seed=seed) for rate, seed in ((4e-3, 0), (8e-3, 1))]
    pack = train(specs, tmp_path / "pack", here)
    for spec, packed in zip(specs, pack, strict=True):
        alone = train([spec], tmp_path / "alone", here)[0]
        assert losses(packed) == pytest.approx(losses(alone), rel=1e-4)
        assert packed["cost"]["pack_size"] == 2 and alone["cost"]["pack_size"] == 1


def test_a_pack_of_unequal_shapes_is_refused_by_the_field_that_differs(tmp_path, tiny, here):
    with pytest.raises(SpecError, match="`model`"):
        train([tiny(), tiny(width=32)], tmp_path, here)


PROGRAM = """
import sys, torch
torch.set_num_threads(1)
from training.config import Execution, Spec, from_mapping
from training.engine import train
import json
spec = from_mapping(Spec, json.loads(sys.argv[1]))
train([spec], sys.argv[2], Execution(device="cpu", log_every=10, parallel=sys.argv[3]))
"""


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_what_one_trains(tmp_path, tiny, here, parallel):
    from training.config import to_mapping
    from training.record.folder import RunFolder

    spec = tiny(ema_widths=[0.05, 0.1])
    one = train([spec], tmp_path / "one", here)[0]
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(tmp_path / "program.py"), json.dumps(to_mapping(spec)), str(tmp_path / "two"),
         parallel],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    two = RunFolder.of(tmp_path / "two", spec).record()
    assert two is not None and two["cost"]["world_size"] == 2
    assert losses(two) == pytest.approx(losses(one), rel=1e-6)
