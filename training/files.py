"""Files that are there whole or not at all, and one clear error when the disk says no."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training.errors import RecordError


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a whole JSON file, or leave the old one: never half of it."""
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file beside its place, hand it to the disk, move it in."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with said(path.parent):
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file that holds one object."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RecordError(f"`{path}` is missing.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"`{path}` is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise RecordError(f"`{path}` holds {type(content).__name__}; an object was expected.")
    return content


def checksum(line: str) -> str:
    """Eight hex digits that a torn line will not have."""
    return f"{zlib.crc32(line.encode()):08x}"


def digest(content: Mapping[str, Any]) -> str:
    """Checksum of a record, whatever the order of its fields."""
    return checksum(json.dumps(content, sort_keys=True))


@contextlib.contextmanager
def said(folder: Path) -> Iterator[None]:
    """Turn what the disk says into one clear error."""
    try:
        yield
    except FileNotFoundError as error:
        raise RecordError(
            f"The folder `{folder}` vanished while the run was written to it. Nothing more can be "
            "recorded; start the command again to make the run anew."
        ) from error
    except OSError as error:
        raise RecordError(f"Cannot write to `{folder}`: {error.strerror or error}.") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
