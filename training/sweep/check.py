"""What is wrong with the runs of a sweep, found before any of them starts."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from training.config import Data, Spec, canonical
from training.errors import TrainingError, nearest

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
             if not value > 0]  # fmt: skip
    wrong += [*_optimiser(spec), *_objective(spec), *_evaluation(spec)]
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


def doubts_of(spec: Spec) -> list[str]:
    """What a run may ask for but will hardly want."""
    model, shape = spec.model, shape_of(spec.data)
    numbers = math.prod(model.patch) * shape.channels
    if model.width < numbers:
        return [
            f"Width {model.width} is less than the {numbers} numbers of a patch: noise has full "
            "rank and will not pass, so the loss has a floor of its own. Take a smaller patch."
        ]
    return []


def _optimiser(spec: Spec) -> Iterator[str]:
    asked = spec.optimiser
    yield from _outside(
        ("optimiser.beta1", asked.beta1, 0 <= asked.beta1 < 1, "0 to below 1"),
        ("optimiser.beta2", asked.beta2, 0 <= asked.beta2 < 1, "0 to below 1"),
        ("optimiser.eps", asked.eps, asked.eps > 0, "a number above 0"),
        ("optimiser.weight_decay", asked.weight_decay, asked.weight_decay >= 0, "0 or more"),
        ("optimiser.clip", asked.clip, asked.clip > 0, "a bound above 0 (1e9 clips nothing)"),
        ("optimiser.warmup_tokens", asked.warmup_tokens, asked.warmup_tokens >= 0, "0 or more"),
        ("optimiser.decay_fraction", asked.decay_fraction, 0 < asked.decay_fraction <= 1,
         "a share above 0, at most 1"),
    )  # fmt: skip
    for width in asked.ema_widths:
        good = 0 < width < math.sqrt(1 / 12)
        yield from _outside(("optimiser.ema_widths", width, good, "above 0, below 0.288"))


def _objective(spec: Spec) -> Iterator[str]:
    asked = spec.objective
    yield from _outside(
        ("objective.t_scale", asked.t_scale, asked.t_scale > 0, "a number above 0"),
        ("objective.t_shift", asked.t_shift, asked.t_shift > 0, "a number above 0"),
        ("objective.text_dropout", asked.text_dropout, 0 <= asked.text_dropout <= 1, "0 to 1"),
    )


def _evaluation(spec: Spec) -> Iterator[str]:
    """What would otherwise come up only when the run has been trained to its end."""
    asked = spec.evaluation
    steps, drawn = asked.likelihood_steps, asked.frechet_samples or asked.pictures
    yield from _outside(
        ("evaluation.first_tokens", asked.first_tokens, asked.first_tokens > 0, "1 or more"),
        ("evaluation.per_octave", asked.per_octave, asked.per_octave > 0, "1 or more"),
        ("evaluation.samples", asked.samples, asked.samples > 1, "2 or more"),
        ("evaluation.low_t_samples", asked.low_t_samples,
         asked.low_t_samples == 0 or asked.low_t_samples > 1, "0 (no bound), or 2 or more"),
        ("evaluation.likelihood_steps", steps,
         not asked.likelihood_samples or (steps > 0 and steps % 2 == 0), "an even number"),
        ("evaluation.likelihood_probes", asked.likelihood_probes,
         not asked.likelihood_samples or asked.likelihood_probes > 0, "1 or more, better 4"),
        ("evaluation.frechet_samples", asked.frechet_samples,
         asked.frechet_samples == 0 or asked.frechet_samples >= 16, "0 (none), or 16 or more"),
        ("evaluation.sampler_steps", asked.sampler_steps,
         not drawn or asked.sampler_steps > 0, "1 or more"),
        ("evaluation.likelihood_samples", asked.likelihood_samples,
         asked.likelihood_samples >= 0, "0 (none) or more"),
        ("evaluation.pictures", asked.pictures, asked.pictures >= 0, "0 (none) or more"),
    )  # fmt: skip
    if asked.frechet_samples:
        from training.evals.features import NAMES

        kind, _, path = asked.features.partition(":")
        if kind not in NAMES:
            yield f"`evaluation.features` is {kind!r}; {nearest(kind, NAMES)}"
        elif (
            kind in ("inception", "dinov2", "clip") and not Path(path or "?").expanduser().exists()
        ):
            yield (
                f"`evaluation.features` is {asked.features!r}; `{kind}:PATH` with a file that is "
                "there was expected. Nothing is downloaded."
            )


def _outside(*fields: tuple[str, object, bool, str]) -> Iterator[str]:
    for name, value, good, wanted in fields:
        if not good:
            yield f"`{name}` is {value}; {wanted} was expected."


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
