"""What is wrong with the runs of a sweep, found before any of them starts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import Data, Spec, canonical
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.shapes import SampleShape


def problems_of(spec: Spec) -> list[str]:
    """Sentences on what makes the run impossible; none where it can start."""
    positive = {
        "tokens": spec.tokens,
        "optimiser.batch_samples": spec.optimiser.batch_samples,
        "optimiser.learning_rate": spec.optimiser.learning_rate,
        "data.resolution": spec.data.resolution,
        "data.frames": spec.data.frames,
        "evaluation.samples": spec.evaluation.samples,
    }
    wrong = [f"`{name}` is {value}; it must be above 0." for name, value in positive.items()
             if value <= 0]  # fmt: skip
    if wrong:
        return wrong
    if spec.data.path is not None and not Path(spec.data.path).exists():
        return [f"`data.path`: `{spec.data.path}` does not exist."]
    try:
        shape = shape_of(spec.data)
        from training.models import check

        check(spec.model, shape)
    except (TrainingError, ImportError) as error:
        return [str(error)]
    from training.sweep.cost import tokens_per_sample

    per_step = tokens_per_sample(spec, shape) * spec.optimiser.batch_samples
    if spec.tokens < per_step:
        return [f"`tokens` is {spec.tokens}, less than one batch of {per_step} tokens."]
    return []


def shape_of(data: Data) -> SampleShape:
    """Shape of a sample of the data; each source is opened once."""
    return _shape(canonical(data), _Held(data))


class _Held:
    """Carries the data past the cache, which goes by their canonical text (options are a dict)."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)


@functools.lru_cache(maxsize=256)
def _shape(key: str, held: _Held) -> SampleShape:
    from training.data import open_stream

    return open_stream(held.data, "train").shape
