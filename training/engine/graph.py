"""Work recorded once as a CUDA graph and replayed: one launch where a small model makes hundreds.

Recorded are the forward and backward pass of a micro-batch, and the update of the weights. Data,
noise and the sum over ranks stay outside: random numbers baked into a graph repeat, ours come in as
tensors anyway.

A recording holds on to addresses. So inputs are copied into fixed buffers, gradients are added into
the flat buffer of the weights, and results are copied out before the next replay overwrites them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from training.config import Execution
from training.device import Place
from training.engine.feed import Inputs
from training.engine.weights import FlatWeights
from training.errors import SpecError

_WARM_UPS = 3  # compilation, autotuning and libraries' workspaces are done after these


class Recorded[Result]:
    """A function without arguments, replayed from its recording.

    The function runs a few times first, and again while it is recorded: it must bear that. Warm-up
    and recording share a stream, since libraries keep handles and workspaces for each stream.
    """

    def __init__(self, work: Callable[[], Result], place: Place) -> None:
        stream, before = torch.cuda.Stream(place.device), torch.cuda.current_stream(place.device)
        stream.wait_stream(before)
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                work()
        before.wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # other threads may draw the next samples meanwhile
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            self._result = work()

    def __call__(self) -> Result:
        """What the work gives, in tensors that the next call overwrites."""
        self._graph.replay()
        return self._result


def recorded[Result](
    work: Callable[[], Result], place: Place, what: str
) -> Recorded[Result] | Callable[[], Result]:
    """`work` as a graph; as it is, with a warning, where it cannot be recorded.

    Raises
    ------
    torch.OutOfMemoryError
        As it comes: a smaller micro-batch is the caller's way out.
    """
    try:
        return Recorded(work, place)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"The {what} could not be recorded as a CUDA graph and runs without one, which small "
            f"models feel: {reason}",
            RuntimeWarning,
            stacklevel=2,
        )
        return work


class RecordedPass:
    """Forward and backward pass of micro-batches, with one recording for each size of them.

    Parameters
    ----------
    losses : function of Inputs
        Mean loss and loss of predicting zero, ``(E,)`` or scalars, the first to differentiate.
    weights : FlatWeights
        Whose gradient buffer is added to.
    """

    def __init__(
        self,
        losses: Callable[[Inputs], tuple[Tensor, Tensor]],
        weights: FlatWeights,
        place: Place,
    ) -> None:
        self.losses, self.weights, self.place = losses, weights, place
        self._made: dict[int, tuple[Inputs, Callable[[], tuple[Tensor, Tensor]]]] = {}

    def begin(self) -> None:
        """Forget the gradients of the last step."""
        self.weights.grads.zero_()

    def forget(self) -> None:
        """Give the memory of all recordings back."""
        self._made.clear()

    def __call__(self, part: Inputs) -> tuple[Tensor, Tensor]:
        """Losses of a micro-batch; its gradients are added to the flat buffer."""
        size = part.t.shape[-1]
        if size not in self._made:
            self._made[size] = self._record(part)
        inputs, replay = self._made[size]
        for fixed, fresh in zip(inputs, part, strict=True):
            if fixed is not None and fresh is not None:
                fixed.copy_(fresh)
        loss, zero = replay()
        return loss.clone(), zero.clone()

    def _record(self, part: Inputs) -> tuple[Inputs, Callable[[], tuple[Tensor, Tensor]]]:
        clone = lambda each: None if each is None else each.clone()  # noqa: E731
        inputs = Inputs(*map(clone, part))  # pyright: ignore
        so_far = self.weights.grads.clone()  # of earlier micro-batches; warming up adds to them

        def work() -> tuple[Tensor, Tensor]:
            loss, zero = self.losses(inputs)
            # not backward(): accumulation into .grad runs where the leaves were made
            grads = torch.autograd.grad(loss.sum(), self.weights.parameters)
            torch._foreach_add_(self.weights.grad_views, grads)  # pyright: ignore
            return loss.detach(), zero

        replay = recorded(work, self.place, "forward and backward pass")
        self.weights.grads.copy_(so_far)
        return inputs, replay


def check_graph(execution: Execution, place: Place, ranks: int) -> None:
    """Raise a SpecError where `cuda_graph` cannot be had."""
    if execution.cuda_graph and not place.on_gpu:
        raise SpecError(f"`cuda_graph` records work of a GPU, and the device is `{place.device}`.")
    if execution.cuda_graph and execution.parallel == "fsdp" and ranks > 1:
        raise SpecError("`cuda_graph` goes with `parallel = ddp`; sharded weights move about.")
