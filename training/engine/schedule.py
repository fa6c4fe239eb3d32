"""The learning rate over a run, and the steps at which the run is read."""

from __future__ import annotations

import math

from training.config import Evaluation, Optimiser, Spec
from training.errors import SpecError


def steps_of(tokens: int, batch_samples: int, tokens_per_sample: int) -> int:
    """Optimiser steps nearest to `tokens`, at least one."""
    return max(1, round(tokens / (batch_samples * tokens_per_sample)))


def rate_at(step: int, steps: int, warmup_steps: int, optimiser: Optimiser) -> float:
    """Learning rate of step `step` (from 0) over the peak rate: linear warm-up, then the schedule.

    ``wsd`` is warm-up, stable, linear decay over the last `decay_fraction` (Hägele et al. 2024,
    arXiv 2405.18392).
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    done = step / steps
    match optimiser.schedule:
        case "linear":
            left = 1.0 - done
        case "cosine":
            left = 0.5 * (1.0 + math.cos(math.pi * done))
        case "wsd":
            left = min(1.0, (1.0 - done) / optimiser.decay_fraction)
        case _:
            left = 1.0
    return warm * left


def readout_steps(steps: int, step_tokens: int, evaluation: Evaluation) -> tuple[int, ...]:
    """Steps after which the run is read: an absolute log-spaced grid of tokens, and the end.

    The grid does not depend on the run, so all runs of a sweep are read at the same T (to within
    half a step). A grid point closer than 2 % to the end gives way to the end.
    """
    if evaluation.first_tokens <= 0 or evaluation.per_octave <= 0:
        raise SpecError("`evaluation.first_tokens` and `per_octave` must be above 0.")
    found = {steps}
    k = 0
    while (tokens := evaluation.first_tokens * 2 ** (k / evaluation.per_octave)) < 0.98 * (
        steps * step_tokens
    ):
        found.add(max(1, round(tokens / step_tokens)))
        k += 1
    return tuple(sorted(found))


def tracks_of(spec: Spec) -> tuple[str, ...]:
    """Which weights are read, the one that is fitted first.

    Averaged weights under a constant rate, bare ones after a decay: a decay averages by itself, and
    averaging decayed weights again would lag behind them.
    """
    averaged = tuple(f"ema_{width:g}" for width in spec.optimiser.ema_widths)
    if spec.optimiser.schedule != "constant" or not averaged:
        return ("raw", *averaged)
    return (*averaged, "raw") if spec.evaluation.raw else averaged
