"""The mapping file: which column is what, written down once beside the data.

```toml
family = "arch"

[columns]
N = "model.params"
T = "tokens_seen"
loss = "val/loss"

[units]
T = "B"
```
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bayescale.errors import SpecError
from bayescale.runs.problems import listed, near_misses

_KEYS = ("columns", "family", "units")


@dataclass(frozen=True)
class ColumnMapping:
    """Arguments of `as_runs` that were read from a file."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    family: str | None = None
    units: Mapping[str, str | float] = field(default_factory=dict)


def read_mapping(path: str | Path | None) -> ColumnMapping:
    """The mapping in a TOML or JSON file; an empty one for None.

    ``false`` stands for None in TOML, which has no such value: "this table has no such thing".
    """
    if path is None:
        return ColumnMapping()
    path = Path(path)
    content = _content(path)
    for key in content:
        if key not in _KEYS:
            close = near_misses(key, _KEYS)
            hint = f"; did you mean `{close[0]}`" if close else ""
            raise SpecError(f"`{path.name}` has `{key}`{hint}. It may have {listed(_KEYS)}.")
    for key in ("columns", "units"):
        if not isinstance(content.get(key, {}), Mapping):
            raise SpecError(f"`{path.name}`: `{key}` must be a table of names, like [{key}].")
    columns = {
        ours: None if name is False else name for ours, name in content.get("columns", {}).items()
    }
    return ColumnMapping(columns, content.get("family"), content.get("units", {}))


def _content(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise SpecError(f"There is no mapping file `{path}`.")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise SpecError(f"`{path.name}` is no {kind} that can be read: {error}.") from error
    if not isinstance(content, Mapping):
        raise SpecError(f"`{path.name}` must hold an object with {listed(_KEYS)}.")
    return content
