"""A progress bar on stderr where a person is watching, and nothing otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(total: int, title: str, *, show: bool) -> Iterator[Callable[[int], Any]]:
    """A function to call with the number of steps just done."""
    if not (show and sys.stderr.isatty()):
        yield lambda steps: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit="draw", file=sys.stderr, leave=False) as bar:
        yield lambda steps: bar.update(min(steps, total - bar.n))
