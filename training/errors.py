"""What can go wrong with a run, each with one clear message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TrainingError(Exception):
    """Base of all errors of the harness that a person can mend."""


class SpecError(TrainingError):
    """A run or a sweep asks for something impossible or unknown."""


class DataSourceError(TrainingError):
    """A data set cannot be read, or is not what it was said to be."""


class CheckpointError(TrainingError):
    """A checkpoint is broken or belongs to another run."""


class RecordError(TrainingError):
    """A record of a run is corrupt, or cannot be written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, or all of them.

    Examples
    --------
    >>> nearest("learning_rte", ["learning_rate", "weight_decay"])
    'did you mean `learning_rate`?'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known are " + ", ".join(f"`{each}`" for each in known) + "."
