"""Forward and backward in micro-batches; out of memory means smaller ones, of the same samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.device import Place
from training.engine.feed import Feed, Inputs
from training.engine.graph import RecordedPass
from training.engine.weights import FlatWeights
from training.errors import TrainingError


class Backward:
    """Gradients of one step, however many pieces the device's memory asks for."""

    def __init__(
        self,
        model: nn.Module,
        feed: Feed,
        place: Place,
        micro_batch: int | None,
        *,
        record_for: FlatWeights | None = None,
    ) -> None:
        self.model, self.feed, self.place = model, feed, place
        self.recorded = RecordedPass(self._losses, record_for, place) if record_for else None
        self.micro_batch = min(micro_batch or feed.samples, feed.samples)
        self.history = [(0, self.micro_batch)]

    def __call__(self, step: int, clear: Callable[[], None]) -> tuple[Tensor, Tensor]:
        """Mean loss of each member and that of predicting zero, ``(E,)``; leaves gradients behind.

        After an out-of-memory error the partial gradients are dropped and the *same* step is done
        again in halves.

        Raises
        ------
        TrainingError
            If a single sample does not fit.
        """
        while True:
            try:
                return self._accumulate(step)
            except torch.OutOfMemoryError as error:
                if self.micro_batch == 1:
                    raise TrainingError(
                        f"Out of memory on {self.place.device} with one sample at a time, at step "
                        f"{step}. A smaller model or resolution, `--parallel fsdp` under torchrun, "
                        "or a device with more memory is needed."
                    ) from error
            # outside of `except`: the error holds on to the tensors that are to be freed
            clear()
            self.micro_batch = -(-self.micro_batch // 2)
            self.history.append((step, self.micro_batch))
            if self.recorded:
                self.recorded.forget()
            if self.place.on_gpu:
                torch.cuda.empty_cache()

    def go_on_with(self, micro_batch: int, step: int) -> None:
        """Resume at `step` with the micro-batch found so far, or a smaller one that is asked for.

        A process that was killed for its memory is started again with a smaller one.
        """
        asked = self.micro_batch
        self.micro_batch = min(micro_batch, asked)
        if self.micro_batch < self.history[-1][1]:
            self.history.append((step, self.micro_batch))

    def _accumulate(self, step: int) -> tuple[Tensor, Tensor]:
        if self.recorded:
            self.recorded.begin()
        parts = self.feed.parts(step, self.micro_batch)
        losses, zeros = zip(*map(self.recorded or self._pass, parts), strict=True)
        total = lambda parts: torch.stack(parts).sum(0).reshape(-1)  # noqa: E731
        return total(losses), total(zeros)

    def _pass(self, part: Inputs) -> tuple[Tensor, Tensor]:
        loss, zero = self._losses(part)
        loss.sum().backward()
        return loss.detach(), zero

    def _losses(self, part: Inputs) -> tuple[Tensor, Tensor]:
        """Share of a micro-batch in the mean loss, and in that of predicting zero."""
        with self.place.autocast():
            said = self.model(part.x_t, part.t, part.text, part.drop)
        loss = per_sample(said.float() - part.target).sum(-1) / self.feed.samples
        return loss, per_sample(part.target).sum(-1) / self.feed.samples


def per_sample(error: Tensor) -> Tensor:
    """Mean square over the last four axes, (C, F, H, W): ``(B,)`` or ``(E, B)``."""
    return error.square().mean((-4, -3, -2, -1))
