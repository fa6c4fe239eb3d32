"""The errors and warnings that bayescale raises, all of them, in one place.

Each error also derives from the built-in one that a caller would expect (`ValueError`,
`RuntimeError`), so code that does not know this package still catches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class BayescaleError(Exception):
    """The parent of every error raised on purpose by this package."""


class DataError(BayescaleError, ValueError):
    """The data cannot be used as they are. The message lists every problem found, with a way out.

    Parameters
    ----------
    message : str
        What was expected, what was found (rows and values), and what to do.
    evidence : iterable of mapping, default ()
        One entry a problem: ``column`` (our name, or None), ``rows`` (their positions, counted
        from 0), ``values`` (what stands there), ``problem`` and ``hint`` (sentences).
    """

    def __init__(self, message: str, *, evidence: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.evidence: list[dict[str, Any]] = [dict(entry) for entry in evidence]


class SpecError(BayescaleError, ValueError):
    """A request makes no sense as written: an unknown name, or arguments that contradict."""


class ConvergenceError(BayescaleError, RuntimeError):
    """A sampler or an optimiser did not reach an answer that may be shown."""


class ExtrapolationWarning(UserWarning):
    """An answer lies far beyond the data that support it."""


class DataWarning(UserWarning):
    """The data can be used, but something in them looks unintended."""


class ConvergenceWarning(UserWarning):
    """An answer can be shown, but its numerical quality is below what we like."""
