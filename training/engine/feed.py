"""What a step needs, made from indices: samples, noise, times, hidden captions.

Everything is a pure function of the global index of a sample, so the feed has no state: a resumed
run, another number of ranks or smaller micro-batches see the same samples and the same noise.
Several steps are drawn at once, which spares small models the overhead of drawing.

Legend: E members of an ensemble, K steps in a block, B samples of this rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training import rng
from training.config import Spec
from training.engine.world import World
from training.flow import PATHS, sample_t, target_of

_FLOATS_AT_ONCE = {"cpu": 2**18, "cuda": 2**24}


class Inputs(NamedTuple):
    """A batch as the model and the loss want it; a leading E on all but `text` in an ensemble."""

    x_t: Tensor
    target: Tensor
    t: Tensor
    text: Tensor | None
    drop: Tensor | None


class Feed:
    """Inputs of any step of a run, or of a pack of runs."""

    def __init__(self, specs: Sequence[Spec], stream: Any, world: World, *, ensemble: bool) -> None:
        self.specs, self.stream, self.ensemble = specs, stream, ensemble
        self.batch = specs[0].optimiser.batch_samples
        self.mine = world.share(self.batch)
        floats = self.samples * stream.shape.numel * (len(specs) if ensemble else 1)
        device = torch.empty(0, device=stream.device).device.type
        self.at_once = max(1, min(64, _FLOATS_AT_ONCE[device] // floats))
        self._block: tuple[int, Inputs] | None = None
        # a stream that decodes files works ahead in a thread; the others are quick
        self._ahead = ThreadPoolExecutor(1) if getattr(stream, "slow", False) else None
        self._next: tuple[int, Future[Inputs]] | None = None

    @property
    def samples(self) -> int:
        """Samples of this rank in a step."""
        return self.mine.stop - self.mine.start

    def parts(self, step: int, micro_batch: int) -> Iterator[Inputs]:
        """The step's inputs, `micro_batch` samples at a time."""
        block, within = divmod(step, self.at_once)
        inputs = self._of(block)
        lead = (slice(None),) if self.ensemble else ()
        for start in range(0, self.samples, micro_batch):
            rows = slice(start, start + micro_batch)
            at = (*lead, within, rows)
            yield Inputs(
                x_t=inputs.x_t[at],
                target=inputs.target[at],
                t=inputs.t[at],
                text=None if inputs.text is None else inputs.text[within, rows],
                drop=None if inputs.drop is None else inputs.drop[at],
            )

    def _of(self, block: int) -> Inputs:
        if self._block is None or self._block[0] != block:
            if self._next is not None and self._next[0] == block:
                inputs = self._next[1].result()
            else:
                inputs = self._draw(block)
            self._block = (block, inputs)
            if self._ahead is not None:
                self._next = (block + 1, self._ahead.submit(self._draw, block + 1))
        return self._block[1]

    @torch.no_grad()
    def _draw(self, block: int) -> Inputs:
        stream, shape = self.stream, self.stream.shape
        first, last = block * self.at_once, (block + 1) * self.at_once
        steps = torch.arange(first, last, device=stream.device)
        samples = torch.arange(self.mine.start, self.mine.stop, device=stream.device)
        index = steps[:, None] * self.batch + samples  # (K, B)
        batch = stream.batch(index.flatten())
        x = batch.x.reshape(*index.shape, *shape.array)
        text = (
            None if batch.text is None else batch.text.reshape(*index.shape, *batch.text.shape[1:])
        )
        drawn = [self._noise(spec, index) for spec in self.specs]
        e, t, drop = (
            (torch.stack(each) if self.ensemble else each[0]) for each in zip(*drawn, strict=True)
        )
        objective = self.specs[0].objective
        path = PATHS[objective.path]
        x = x.expand_as(e)
        return Inputs(
            x_t=path.mix(x, e, t),
            target=target_of(path, objective.target, x, e, t),
            t=t,
            text=text,
            drop=drop if text is not None and objective.text_dropout > 0 else None,
        )

    def _noise(self, spec: Spec, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        objective = spec.objective
        e = rng.normal(spec.seed, "noise", index, self.stream.shape.array)
        t = sample_t(
            rng.uniform(spec.seed, "time", index),
            objective.t_sampler,
            mean=objective.t_mean,
            scale=objective.t_scale,
            shift=objective.t_shift,
        )
        drop = rng.uniform(spec.seed, "dropout", index) < objective.text_dropout
        return e, t, drop
