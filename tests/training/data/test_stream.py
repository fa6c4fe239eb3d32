"""What is true of every stream: samples are pure functions of their number."""

import errno
import multiprocessing
from pathlib import Path

import pytest
import torch

from training.config import Data
from training.data import open_stream, order
from training.errors import DataSourceError, SpecError
from training.shapes import Batch

PROCEDURAL = [
    Data("leaves", 16),
    Data("leaves", 24, captions="sparse"),
    Data("leaves", 8, captions="none"),
    Data("sprites", 16, frames=8),
    Data("sprites", 12, frames=3, captions="sparse"),
    Data("zipf_mixture", 8, options={"templates": 64}),
    Data("grf", 16),
    Data("grf", 12, frames=5, options={"channels": 1}),
    Data("digits", 8),
]


@pytest.mark.parametrize("data", PROCEDURAL, ids=lambda data: f"{data.name}-{data.resolution}")
def test_a_sample_is_the_same_in_any_batch_and_order(data):
    stream = open_stream(data, "train")
    whole = stream.batch(torch.arange(37))
    order = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    for part in order.split(5):
        some = stream.batch(part)
        assert torch.equal(some.x, whole.x[part])
        assert whole.text is None or torch.equal(_text(some), whole.text[part])
    again = open_stream(data, "train").batch(torch.arange(37))
    assert torch.equal(again.x, whole.x)


@pytest.mark.parametrize("data", PROCEDURAL, ids=lambda data: f"{data.name}-{data.resolution}")
def test_batches_have_the_shape_that_the_stream_says(data):
    stream = open_stream(data, "train")
    batch = stream.batch(torch.arange(5))
    assert batch.x.shape == (5, *stream.shape.array)
    assert batch.x.dtype == torch.float32
    assert (batch.text is None) == (stream.shape.text == "none")
    if batch.text is not None:
        assert batch.text.shape == (5, stream.shape.text_length)
        assert int(batch.text.max()) < stream.shape.text_size
        assert bool((batch.text > 0).any(1).all())
    assert len(stream.describe(torch.arange(5))) == 5
    if stream.eight_bit:
        assert float(batch.x.abs().max()) <= 1.0


@pytest.mark.parametrize("data", PROCEDURAL, ids=lambda data: f"{data.name}-{data.resolution}")
def test_validation_shares_no_sample_with_training(data):
    train = open_stream(data, "train").batch(torch.arange(512)).x.flatten(1)
    validation = open_stream(data, "validation").batch(torch.arange(512)).x.flatten(1)
    assert not bool((torch.cdist(train, validation) == 0).any())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; run on a machine with one")
@pytest.mark.parametrize("data", PROCEDURAL, ids=lambda data: f"{data.name}-{data.resolution}")
def test_a_gpu_draws_the_same_samples(data, tmp_path):
    here, there = open_stream(data, "train"), open_stream(data, "train", device="cuda")
    index = torch.arange(500)
    one, two = here.batch(index), there.batch(index.cuda())
    assert two.x.device.type == "cuda"
    if here.eight_bit:
        assert torch.equal(one.x, two.x.cpu())
        pooled = open_stream(data, "train", device="cuda", pool=tmp_path, needed=500)
        assert torch.equal(one.x, pooled.batch(index.cuda()).x.cpu())
    else:
        assert torch.allclose(one.x, two.x.cpu(), atol=1e-4)
    assert one.text is None or torch.equal(_text(one), _text(two).cpu())
    assert (here.oracle_velocity is None) == (there.oracle_velocity is None)
    if there.oracle_velocity is not None and there.floor is not None and here.floor is not None:
        assert there.oracle_velocity(two.x, torch.full((500,), 0.5).cuda()).device.type == "cuda"
        assert there.floor()[0] == pytest.approx(here.floor()[0], rel=1e-3)


def test_streams_of_another_seed_differ():
    one = open_stream(Data(seed=0), "train").batch(torch.arange(8)).x
    two = open_stream(Data(seed=1), "train").batch(torch.arange(8)).x
    assert not torch.equal(one, two)
    assert open_stream(Data(seed=0), "train").fingerprint != (
        open_stream(Data(seed=1), "train").fingerprint
    )


def test_repeated_samples_begin_as_the_endless_stream_and_come_back_in_another_order():
    endless = open_stream(Data(), "train").batch(torch.arange(20)).x
    repeated = open_stream(Data(unique_samples=20), "train")
    first, second = (
        repeated.batch(torch.arange(start, start + 20)).x.flatten(1) for start in (0, 20)
    )
    assert torch.equal(first, endless.flatten(1))
    assert not torch.equal(first, second)
    assert torch.equal((torch.cdist(second, first) == 0).sum(0), torch.ones(20))
    assert repeated.epochs(50) == 2.5
    assert repeated.unique == 20


def test_written_out_permutations_are_the_keyed_ones(monkeypatch):
    index = torch.tensor([5, 0, 96, 5])
    short = order.shuffled(3, "a pass", index, 97)
    monkeypatch.setattr(order, "WRITTEN_OUT", 10)
    assert torch.equal(short, order.shuffled(3, "a pass", index, 97))


def test_a_pool_gives_the_same_bits_as_drawing(tmp_path):
    data = Data(captions="dense")
    drawn = open_stream(data, "train")
    pooled = open_stream(data, "train", pool=tmp_path, needed=100)
    for index in (torch.arange(100), torch.tensor([99, 3, 3]), torch.arange(95, 105)):
        assert torch.equal(pooled.batch(index).x, drawn.batch(index).x)
        assert torch.equal(_text(pooled.batch(index)), _text(drawn.batch(index)))


def test_a_pool_is_made_once_and_extended_for_a_longer_run(tmp_path):
    said = []
    note = lambda done, needed: said.append((done, needed))  # noqa: E731
    for needed in (50, 50, 30, 80):
        open_stream(Data(), "train", pool=tmp_path, needed=needed, progress=note)
    assert said == [(50, 50), (80, 80)]
    assert len(list(tmp_path.iterdir())) == 1
    pooled = open_stream(Data(), "train", pool=tmp_path, needed=80)
    assert torch.equal(
        pooled.batch(torch.arange(80)).x, open_stream(Data(), "train").batch(torch.arange(80)).x
    )


def test_a_pool_goes_on_behind_the_last_whole_row_after_a_crash(tmp_path):
    open_stream(Data(), "train", pool=tmp_path, needed=10)
    (folder,) = tmp_path.iterdir()
    with (folder / "x").open("ab") as file:
        file.write(b"half a row")
    pooled = open_stream(Data(), "train", pool=tmp_path, needed=20)
    assert torch.equal(
        pooled.batch(torch.arange(20)).x, open_stream(Data(), "train").batch(torch.arange(20)).x
    )


def test_two_processes_make_one_pool(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_make_pool, args=(tmp_path, k)) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    made = sum(int(path.read_text()) for path in tmp_path.glob("made-*"))
    assert made == 3000  # rows drawn by both together
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert (folder / "x").stat().st_size == 3000 * 3 * 64


def _make_pool(folder: Path, number: int) -> None:
    torch.set_num_threads(1)
    made = [0]
    open_stream(
        Data(resolution=8),
        "train",
        pool=folder,
        needed=3000,
        progress=lambda done, needed: made.append(done),
    )
    (folder / f"made-{number}").write_text(str(made[-1]))


def test_a_pool_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataSourceError, match="Cannot keep the pool"):
        open_stream(Data(), "train", pool=tmp_path / "file", needed=10)


def test_a_full_disk_is_said_and_leaves_the_pool_whole(tmp_path, monkeypatch):
    open_stream(Data(), "train", pool=tmp_path, needed=10)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DataSourceError, match="No space left"):
            open_stream(Data(), "train", pool=tmp_path, needed=20)
    pooled = open_stream(Data(), "train", pool=tmp_path, needed=10)
    index = torch.arange(10)
    assert torch.equal(pooled.batch(index).x, open_stream(Data(), "train").batch(index).x)


def test_unknown_streams_and_options_get_the_nearest_name():
    with pytest.raises(SpecError, match="did you mean `leaves`"):
        open_stream(Data("leave"), "train")
    with pytest.raises(SpecError, match="did you mean `leaves`"):
        open_stream(Data(options={"leavs": 3}), "train")
    with pytest.raises(SpecError, match="int was expected"):
        open_stream(Data(options={"leaves": "many"}), "train")


def _text(batch: Batch) -> torch.Tensor:
    assert batch.text is not None
    return batch.text
