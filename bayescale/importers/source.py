"""What every reader hands back: columns, and what there is to say about where they came from."""

from __future__ import annotations

from dataclasses import dataclass

from bayescale.runs.frames import Table


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Parameters
    ----------
    name : str
        File name, for messages.
    table : Table
        Its columns.
    notes : tuple of str, default ()
        Sentences about what was left out or assumed; they stay with the runs.
    rows_note : str, default ""
        How to find a row in the file by its number.
    """

    name: str
    table: Table
    notes: tuple[str, ...] = ()
    rows_note: str = ""
