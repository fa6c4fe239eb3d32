"""Tables of points to run, such as a suggestion of where the next runs tell most.

Columns by the names of `bayescale.schema`: ``N``, ``T``, ``batch_size`` (tokens) or
``batch_samples``, ``learning_rate``, ``conditioning`` or ``family``, ``seed``; and any field of a
spec by its own name. A model of exactly N parameters seldom exists, so N becomes the nearest size
of the ladder, which is said.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayescale.schema import FIELDS
from training.config import Conditioning
from training.errors import SpecError
from training.sweep.amounts import count, short
from training.sweep.fields import hints, name_of

MEANINGS = {"T": "tokens", "family": "model.conditioning", "conditioning": "model.conditioning"}
_MINE = ("N", "T", "batch_size", "family", "tags", "held_out", "block")
_LISTS = ("points", "suggestions", "candidates", "runs")


def read_points(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Content of a sweep with one block for each row, and notes on what was read how."""
    rows = _rows(path)
    if not rows:
        raise SpecError(f"`{path}` has no rows, so there is nothing to run.")
    notes: list[str] = []
    blocks = []
    for at, row in enumerate(rows):
        where = f"{path.name}, row {at + 1}"
        try:
            blocks.append(_block(row, where, notes))
        except SpecError as error:
            said = str(error)
            raise SpecError(said if said.startswith(where) else f"{where}: {said}") from None
    return {"name": path.stem, "runs": blocks}, list(dict.fromkeys(notes))


def snapped(size: float) -> tuple[str, float]:
    """Name and core parameters of the ladder size nearest to `size` on a log scale."""
    from training.sizes import LADDER

    name = min(LADDER, key=lambda each: abs(math.log(LADDER[each] / size)))
    return name, float(LADDER[name])


def _block(row: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
    block: dict[str, Any] = {"name": str(row.get("block", "points"))}
    resolved = {k: v for k, v in row.items() if v not in ("", None) and v == v}
    for name, value in resolved.items():
        if name == "N":
            block["size"], found = snapped(float(count(value, "a count for `N`")))
            if abs(found / float(count(value)) - 1) > 0.01:
                notes.append(f"N = {short(float(count(value)))} becomes size {block['size']}.")
        elif name == "batch_size":
            block["batch_tokens"] = count(value, "a count for `batch_size`")
        elif name in ("family", "conditioning") and value not in typing.get_args(Conditioning):
            notes.append(f"`{name}` = {value!r} is no conditioning and stays a tag.")
            block.setdefault("tags", []).append(str(value))
        elif name == "tags":
            block["tags"] = value.split() if isinstance(value, str) else list(value)
        elif name == "held_out":
            block["held_out"] = str(value).lower() in ("1", "true", "yes")
        elif name != "block":
            _field(block, name, value, where, notes)
    if "optimiser.batch_samples" in block:
        block.pop("batch_tokens", None)
    return block


def _field(block: dict[str, Any], name: str, value: Any, where: str, notes: list[str]) -> None:
    try:
        full = MEANINGS.get(name) or name_of(name)
    except SpecError as error:
        near = difflib.get_close_matches(name, [*_MINE, *hints(), *_tails()], n=1, cutoff=0.8)
        if near and name not in FIELDS:
            raise SpecError(f"{where}: {error}") from None
        notes.append(f"Column `{name}` is no field of a run and is left aside.")
        return
    block[full] = _plain(value, hints().get(full))


def _tails() -> list[str]:
    return [each.rsplit(".", 1)[-1] for each in hints()]


def _plain(value: Any, hint: Any) -> Any:
    """Text of a CSV as the type of its field."""
    if not isinstance(value, str):
        return value
    if hint is float:
        try:
            return float(value)
        except ValueError:
            return value  # the field says what it wants
    if hint is bool:
        return value.lower() in ("1", "true", "yes")
    if hint is int:
        return count(value)
    try:
        return json.loads(value) if value.startswith("[") else value
    except json.JSONDecodeError:
        return value


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise SpecError(f"`{path}` does not exist.") from None
    except OSError as error:
        raise SpecError(f"Cannot read `{path}`: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"`{path}` is no text in UTF-8: {error}.") from error
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return list(csv.DictReader(text.splitlines(), delimiter="\t" if suffix == ".tsv" else ","))
    try:
        if suffix in (".jsonl", ".ndjson"):
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"`{path}` is no JSON: {error}.") from error
    if isinstance(content, Mapping):
        content = next((content[name] for name in _LISTS if name in content), [content])
    if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content):
        raise SpecError(f"`{path}` should hold a list of objects, one for each run.")
    return [dict(row) for row in content]
