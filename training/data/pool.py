"""A memory map of the first samples of a stream, made once and read by every run.

Two files of equal rows, ``x`` and ``text``, only ever grow; ``meta.json`` says how many rows are
whole. A writer holds a lock of the kernel, which drops when the writer dies; the next one goes on
behind the last whole row. So two processes make one pool, and a longer run extends what is there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.data.stream import AbstractSource, Raw, digest_of
from training.errors import DataSourceError

ON_DEVICE_BYTES = 4 << 30  # a pool up to this size is kept on the accelerator as a whole


@dataclass(frozen=True)
class Pool:
    """Rows of a pool: `x` and `text` are memory maps, or tensors on an accelerator."""

    x: Any
    text: Any
    count: int
    device: torch.device

    def read(self, position: Tensor) -> Raw:
        """Rows `position`, all below `count`."""
        if isinstance(self.x, Tensor):
            return Raw(self.x[position], None if self.text is None else self.text[position])
        rows = position.cpu().numpy()
        text = None if self.text is None else torch.from_numpy(self.text[rows])
        return Raw(torch.from_numpy(self.x[rows]), text)


def open_pool(
    source: AbstractSource,
    folder: Path,
    needed: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> Pool:
    """The pool of `source` below `folder`, made or extended to `needed` rows where it is shorter.

    Parameters
    ----------
    source : AbstractSource
        Its `address` names the pool.
    folder : Path
        Home of all pools; created.
    needed : int
        Rows that must be there.
    device : torch.device
        An accelerator gets its own copy if that is at most 4 GiB.
    progress : callable, optional
        Told (rows there, rows needed) while the pool is made.
    """
    place = folder / f"{source.address.split('/')[0]}-{digest_of(source.address)}"
    with _said(place):
        place.mkdir(parents=True, exist_ok=True)
        if _count(place) < needed:
            _fill(source, place, needed, progress)
        return _opened(source, place, device)


def _fill(
    source: AbstractSource,
    place: Path,
    needed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits here, then finds all done
        done = _count(place)
        row = _row_bytes(source)
        step = max(1, min(4096, (64 << 20) // sum(row)))
        with _rows(place / "x", done * row[0]) as x, _rows(place / "text", done * row[1]) as text:
            while done < needed:
                end = min(needed, done + step)
                raw = source.make(torch.arange(done, end))
                x.write(raw.x.cpu().contiguous().numpy().tobytes())
                if raw.text is not None:
                    text.write(_kept(raw.text).numpy().tobytes())
                for file in (x, text):
                    file.flush()
                    os.fsync(file.fileno())
                done = end
                _say(place, source, done)
                if progress is not None:
                    progress(done, needed)


def _opened(source: AbstractSource, place: Path, device: torch.device) -> Pool:
    count = _count(place)
    shape = source.shape
    kind = np.uint8 if source.x_type == torch.uint8 else np.float32
    x = np.memmap(place / "x", mode="r", dtype=kind, shape=(count, *shape.array))
    text = None
    if shape.text != "none":
        words = np.int16 if shape.text == "tokens" else np.float32
        columns = (shape.text_length,) if shape.text == "tokens" else text_columns(source)
        text = np.memmap(place / "text", mode="r", dtype=words, shape=(count, *columns))
    if device.type != "cpu" and count * sum(_row_bytes(source)) <= ON_DEVICE_BYTES:
        x = torch.from_numpy(np.array(x)).to(device)
        text = None if text is None else torch.from_numpy(np.array(text)).to(device)
    return Pool(x, text, count, device)


def text_columns(source: AbstractSource) -> tuple[int, int]:
    """Shape of the embeddings of one caption."""
    return (source.shape.text_length, source.shape.text_size)


def _row_bytes(source: AbstractSource) -> tuple[int, int]:
    shape = source.shape
    x = shape.numel * (1 if source.x_type == torch.uint8 else 4)
    text = {"none": 0, "tokens": 2 * shape.text_length}
    return x, text.get(shape.text, 4 * shape.text_length * shape.text_size)


def _kept(text: Tensor) -> Tensor:
    text = text.cpu().contiguous()
    return text.float() if text.is_floating_point() else text.to(torch.int16)


def _count(place: Path) -> int:
    try:
        return int(json.loads((place / "meta.json").read_text())["count"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError) as error:
        raise DataSourceError(
            f"`{place / 'meta.json'}` is damaged. Delete the folder `{place}`; it is made again."
        ) from error


def _say(place: Path, source: AbstractSource, count: int) -> None:
    beside = place / f".meta.{os.getpid()}"
    beside.write_text(json.dumps({"address": source.address, "count": count}) + "\n")
    beside.replace(place / "meta.json")


@contextmanager
def _rows(path: Path, size: int) -> Iterator[Any]:
    """A file open behind its last whole row."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(size)  # half a row of a writer that died
        file.seek(size)
        yield file


@contextmanager
def _said(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataSourceError(
            f"Cannot keep the pool of samples in `{place}`: {error.strerror or error}. Free some "
            "space, give another folder, or run without a pool."
        ) from error
