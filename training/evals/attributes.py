"""Features that know what a stream says of its samples: a small classifier, trained once.

It learns the attributes of the samples (shape, palette, law of radii, motion), or which words stand
in the caption; its last hidden layer is the feature. Training is a pure function of the stream, on
the CPU with one thread, and is kept in a file named by what defines it.

Legend: x_NCHW frames, y_NK classes (one column for each attribute) or words (0 or 1).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import rng
from training.errors import CheckpointError, SpecError
from training.files import write_bytes

FIRST = 1 << 30
"""Samples from here on are learned from: no run evaluates so far along a stream."""

STEPS, BATCH, RATE, WIDTH = 400, 64, 3e-3, 64
_VERSION = 1


def open_attributes(
    stream: Any, cache: Path | None, device: torch.device | str = "cpu"
) -> tuple[Callable[[Tensor], Tensor], str]:
    """Features of frames by the classifier of `stream`, and the hash of its weights."""
    asked, kind, outputs = _task(stream)
    network = _Network(stream.shape.channels, outputs)
    named = f"{_VERSION}/{stream.fingerprint}/{stream.shape.array}/{kind}/{outputs}/{STEPS}"
    name = hashlib.sha256(named.encode()).hexdigest()[:16]
    file = None if cache is None else cache / f"attributes-{name}.pt"
    if file is not None and file.exists():
        _read(network, file)
    else:
        with _one_thread():
            _learn(network, stream, asked, kind)
        if file is not None:
            kept = io.BytesIO()
            torch.save(network.state_dict(), kept)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, kept.getvalue())
    content = hashlib.sha256()
    for value in network.state_dict().values():
        content.update(value.numpy().tobytes())
    return network.to(device).eval().features, content.hexdigest()[:16]


def _task(stream: Any) -> tuple[Callable[[Tensor], Tensor], str, list[int]]:
    """What is asked of samples by index, of which kind, and how many outputs each question has."""
    if stream is None:
        raise SpecError("`attributes` features are learned from a stream; none was given.")
    some = torch.arange(FIRST, FIRST + 512)
    known = getattr(stream, "attributes", lambda index: None)(some)
    if known:
        names = sorted(known)
        counts = [int(known[name].max()) + 1 for name in names]

        def classes(index: Tensor) -> Tensor:
            found = stream.attributes(index)
            # a class that was not among the first samples is counted with the last
            return torch.stack(
                [found[n].cpu().clamp(max=c - 1) for n, c in zip(names, counts, strict=True)], 1
            )

        return classes, "classes", counts
    if stream.shape.text != "tokens":
        raise SpecError(
            "`attributes` features need attributes or captions of token ids, and this stream has "
            f"text `{stream.shape.text}`. Use `randconv` or `statistics`, which need none."
        )

    def words(index: Tensor) -> Tensor:
        text = stream.batch(index).text.cpu()
        there = torch.zeros(len(text), stream.shape.text_size)
        return there.scatter_(1, text, 1.0)[:, 1:]

    return words, "words", [stream.shape.text_size - 1]


def _learn(network: _Network, stream: Any, asked: Any, kind: str) -> None:
    """Adam with a linear decay; every batch is keyed by its step."""
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    frames = stream.shape.frames
    for step in range(STEPS):
        index_B = FIRST + 512 + torch.arange(step * BATCH, (step + 1) * BATCH)
        x = stream.batch(index_B).x.cpu()
        pick = rng.integers(0, "attributes/frame", index_B, frames)
        x_NCHW = x[torch.arange(BATCH), :, pick]
        optimiser.param_groups[0]["lr"] = RATE * (1.0 - step / STEPS)
        out, y_NK = network(x_NCHW), asked(index_B)
        if kind == "words":
            loss = F.binary_cross_entropy_with_logits(out, y_NK)
        else:
            parts = out.split(network.outputs, dim=1)
            losses = [F.cross_entropy(part, y_NK[:, k]) for k, part in enumerate(parts)]
            loss = torch.stack(losses).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


class _Network(nn.Module):
    """Three convolutions, means and maxima of the maps, one hidden layer."""

    def __init__(self, channels: int, outputs: list[int]) -> None:
        super().__init__()
        self.outputs = outputs
        widths = (channels, 32, 48, 64)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.hidden = nn.Linear(128, WIDTH)
        self.head = nn.Linear(WIDTH, sum(outputs))
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim < 2:
                    parameter.zero_()
                    continue
                inputs = parameter[0].numel()
                z = rng.normal(0, f"attributes/{name}", torch.arange(len(parameter)), (inputs,))
                parameter.copy_((z * (2.0 / inputs) ** 0.5).reshape(parameter.shape))

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The hidden layer, (N, 64)."""
        for convolution in self.convolutions:
            x_NCHW = F.relu(convolution(x_NCHW))
            if min(x_NCHW.shape[2:]) >= 4:
                x_NCHW = F.max_pool2d(x_NCHW, 2)
        pooled = torch.cat((x_NCHW.mean((2, 3)), x_NCHW.amax((2, 3))), 1)
        return F.silu(self.hidden(pooled))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits of all questions, one after the other."""
        return self.head(self.features(x_NCHW))


def _read(network: _Network, file: Path) -> None:
    try:
        network.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    except Exception as error:  # whatever a damaged file raises, the way out is the same
        raise CheckpointError(
            f"`{file}` cannot be read as a classifier of attributes; delete it to have it made "
            "again."
        ) from error


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
