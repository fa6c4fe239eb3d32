"""Tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def table(rows: Sequence[Mapping[str, str]], columns: Sequence[str], *, left: int = 1) -> str:
    """Aligned columns of ready-made texts; the first `left` flush left, the others flush right.

    Examples
    --------
    >>> print(table([{"run": "a", "N": "5k"}, {"run": "bc", "N": "20k"}], ["run", "N"]))
    run    N
    a     5k
    bc   20k
    """
    widths = [max(len(each), *(len(row.get(each, "")) for row in rows)) if rows else len(each)
              for each in columns]  # fmt: skip
    lines = [dict(zip(columns, columns, strict=True)), *rows]
    return "\n".join(
        "  ".join(
            f"{line.get(name, ''):<{width}}" if at < left else f"{line.get(name, ''):>{width}}"
            for at, (name, width) in enumerate(zip(columns, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """One object a line, so that it can be read while it grows."""
    return "\n".join(json.dumps(row, allow_nan=False) for row in rows)
