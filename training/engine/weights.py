"""All weights of a model as one flat row per member, with AdamW, clipping and averages on it.

The parameters of the model are views into one tensor ``values (E, P)``, so the optimiser, the clip,
the gradient mean over ranks, the averaged weights and a checkpoint are a handful of operations
however many layers there are. That is what makes small models quick, and what gives every member of
an ensemble its own learning rate, weight decay and clip. E is 1 for a plain run.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from training.config import Spec
from training.engine.ema import decay_at, exponent_of
from training.engine.update import Flat, compiled_update, update
from training.engine.world import World

_ALIGNMENT = 64  # numbers; views then start where vector instructions and tensor cores like it


class FlatWeights:
    """Weights, gradients, moments and averages of a model and its optimiser."""

    def __init__(
        self,
        model: nn.Module,
        specs: Sequence[Spec],
        *,
        ensemble: bool,
        compiled: bool = False,
    ) -> None:
        named = dict(model.named_parameters())
        members = len(specs) if ensemble else 1
        sizes = [each.numel() // members for each in named.values()]
        starts, total = [], 0
        for size in sizes:
            starts.append(total)
            total += -(-size // _ALIGNMENT) * _ALIGNMENT
        some = next(iter(named.values()))
        self.members, self.values = members, torch.zeros(members, total, device=some.device)
        self.grads = torch.zeros_like(self.values)
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.parameters = list(named.values())
        places = list(zip(starts, sizes, strict=True))
        self.grad_views = [
            _view(self.grads, start, size, each, ensemble)
            for (start, size), each in zip(places, self.parameters, strict=True)
        ]
        for (start, size), each in zip(places, self.parameters, strict=True):
            view = _view(self.values, start, size, each, ensemble)
            view.copy_(each.data)
            each.data = view
        self._rules(model, specs, list(named), places)
        self.tracks = {
            f"ema_{width:g}": (exponent_of(width), torch.zeros_like(self.values))
            for width in specs[0].optimiser.ema_widths
        }
        averages = [average for _, average in self.tracks.values()]
        self.knobs = torch.zeros(3 + len(averages), device=some.device)  # see `Flat`
        flat = Flat(self.values, self.grads, self.first, self.second, averages,
                    self.rate, self.decay, self.clip, self.knobs)  # fmt: skip
        way = compiled_update() if compiled else update
        self._update: Callable[[], Tensor] = lambda: way(flat, *self.betas, self.eps)

    def _rules(
        self,
        model: nn.Module,
        specs: Sequence[Spec],
        names: list[str],
        places: list[tuple[int, int]],
    ) -> None:
        optimisers = [spec.optimiser for spec in specs]
        scales, decayed = model.learning_rate_scales(), model.decayed()  # type: ignore[operator]
        scale = torch.zeros(self.values.shape[1])
        decay = torch.zeros(self.values.shape[1])
        for name, (start, size) in zip(names, places, strict=True):
            scale[start : start + size] = scales[name]
            decay[start : start + size] = float(name in decayed)
        device = self.values.device
        column = lambda values: torch.tensor(values, device=device)[:, None]  # noqa: E731
        self.rate = column([each.learning_rate for each in optimisers]) * scale.to(device)
        weight_decay = [each.weight_decay for each in optimisers]
        self.decay = column(weight_decay) * decay.to(device) if any(weight_decay) else None
        self.clip = column([each.clip for each in optimisers])
        self.betas = (optimisers[0].beta1, optimisers[0].beta2)
        self.eps = optimisers[0].eps

    def clear(self) -> None:
        """Drop gradients; the next backward pass hands over fresh ones."""
        for each in self.parameters:
            each.grad = None

    def step(self, done: int, factor: float, world: World) -> Tensor:
        """One AdamW step from the gradients that the parameters hold; gradient norms, ``(E,)``.

        Parameters
        ----------
        done : int
            Steps done after this one, from 1.
        factor : float
            Learning rate over its peak.
        world : World
            Whose mean gradient is used.
        """
        self._turn_knobs(done, factor)
        self._gather()
        world.mean_(self.grads)
        return self._update()

    def _turn_knobs(self, done: int, factor: float) -> None:
        b1, b2 = self.betas
        fresh = [1.0 - decay_at(done, exponent) for exponent, _ in self.tracks.values()]
        values = [factor, 1 / (1 - b1**done), 1 / math.sqrt(1 - b2**done), *fresh]
        for knob, value in zip(self.knobs.unbind(), values, strict=True):
            knob.fill_(value)  # a copy from main memory would wait for the device

    def _gather(self) -> None:
        """Gradients into the flat buffer, where a recorded pass has put them already."""
        if self.parameters[0].grad is not None:
            grads = [each.grad for each in self.parameters]
            torch._foreach_copy_(self.grad_views, grads)  # pyright: ignore
            self.clear()

    def rehearse(self, wrap: Callable[[Callable[[], Tensor]], Callable[[], Tensor]]) -> None:
        """Run the update for its compilation and let `wrap` record it; no weight changes."""
        kept = {name: tensor.clone() for name, tensor in self.state().items()}
        self._update()
        self._update = wrap(self._update)
        self.load(kept)

    @contextlib.contextmanager
    def reading(self, track: str) -> Iterator[None]:
        """The model with averaged weights for the time of a read-out; ``raw``: as it is."""
        if track == "raw":
            yield
            return
        kept = self.values.clone()
        self.values.copy_(self.tracks[track][1])
        try:
            yield
        finally:
            self.values.copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """Everything the next step depends on."""
        moments = {"values": self.values, "first": self.first, "second": self.second}
        return moments | {name: average for name, (_, average) in self.tracks.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def _view(flat: Tensor, start: int, size: int, like: Tensor, ensemble: bool) -> Tensor:
    part = flat[:, start : start + size]
    return part.view(like.shape) if ensemble else part[0].view(like.shape)
