"""Streams of training samples, procedural ones and users' own.

``open_stream(data, "train")`` gives a `Stream`; its i-th sample is the same in every run, batch,
rank and after every resume.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from training.config import Data
from training.data.encoded import Encoded
from training.data.pool import open_pool
from training.data.stream import AbstractSource, Stream
from training.errors import SpecError, nearest

STREAMS: dict[str, str] = {
    "leaves": "training.data.leaves:Leaves",
    "sprites": "training.data.sprites:Sprites",
    "zipf_mixture": "training.data.mixture:ZipfMixture",
    "grf": "training.data.grf:GaussianField",
    "digits": "training.data.digits:Digits",
    "folder": "training.data.folder:ImageFolder",
    "video": "training.data.video:VideoFolder",
    "wds": "training.data.wds:Shards",
    "hf": "training.data.hf:Hub",
    "latents": "training.data.latents:LatentFolder",
}
"""Where each source is defined; imported when it is opened, for some need packages of their own."""

POOL_BYTES = 16 << 30  # a finite source is pooled as a whole, and only up to this size

__all__ = ["STREAMS", "Stream", "open_stream"]


def open_stream(
    data: Data,
    purpose: Literal["train", "validation"],
    *,
    device: str | torch.device = "cpu",
    pool: Path | str | None = None,
    needed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Stream:
    """The stream that `data` describes; the two purposes never share a sample.

    Parameters
    ----------
    data : Data
        Which stream.
    purpose : {"train", "validation"}
        Validation samples of an endless source are drawn with another key; of a finite one they are
        set apart, the same ones for every ``data.seed``.
    device : str or torch.device
        Where batches are wanted; procedural samples are also drawn there.
    pool : path, optional
        Folder of pools: a memory map of the first `needed` samples, made once and read by every
        run.
    needed : int
        Samples the run will draw.
    progress : callable, optional
        Told (samples there, samples needed) while a pool is made.

    Examples
    --------
    >>> import torch
    >>> stream = open_stream(Data(name="leaves", resolution=16), "train")
    >>> stream.batch(torch.arange(4)).x.shape
    torch.Size([4, 3, 1, 16, 16])
    """
    if data.name not in STREAMS:
        raise SpecError(f"Unknown stream `{data.name}`; {nearest(data.name, STREAMS)}")
    module, _, name = STREAMS[data.name].partition(":")
    device = torch.device(device)
    drawn_on = torch.device("cpu") if device.type == "mps" else device  # mps lacks float64
    source: AbstractSource = getattr(importlib.import_module(module), name).open(
        data, purpose, drawn_on
    )
    if data.encoder is not None:
        source = Encoded.around(source, data.encoder)
    stream = Stream(source, data, purpose, device)
    rows = _rows(stream, needed)
    if pool is None or rows == 0 or not source.poolable:
        return stream
    return stream.with_pool(open_pool(source, Path(pool).resolve(), rows, device, progress))


def _rows(stream: Stream, needed: int) -> int:
    """Rows a pool must have: what the run draws, or all of a finite source."""
    size = stream.source.size
    if size is None:
        return min(needed, stream.unique or needed)
    each = stream.shape.numel * (1 if stream.source.x_type == torch.uint8 else 4)
    return size if needed and size * each <= POOL_BYTES else 0
