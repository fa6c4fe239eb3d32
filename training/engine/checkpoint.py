"""The state to resume from: tensors and plain values, written whole or not at all."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.errors import CheckpointError
from training.files import write_bytes

CHECKPOINT_VERSION = 1


def save(
    path: Path, tensors: Mapping[str, Tensor], books: Mapping[str, Any], runs: Sequence[str]
) -> None:
    """Write a checkpoint of the runs in `runs` (one, or a pack) to `path`."""
    meta = {"version": CHECKPOINT_VERSION, "runs": list(runs), "books": books}
    buffer = io.BytesIO()
    torch.save({"meta": json.dumps(meta), "tensors": dict(tensors)}, buffer)
    write_bytes(path, buffer.getvalue())


def load(
    path: Path, runs: Sequence[str], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and books of the checkpoint at `path`, or None where there is none.

    Raises
    ------
    CheckpointError
        If it cannot be read, or belongs to other runs.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        meta = json.loads(content["meta"])
        tensors = content["tensors"]
    except (
        RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError,
        pickle.UnpicklingError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"`{path}` cannot be read ({type(error).__name__}): the checkpoint is damaged. Delete "
            "it to begin this run anew."
        ) from error
    if meta["version"] != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"`{path}` has version {meta['version']}; this harness reads {CHECKPOINT_VERSION}. "
            "Delete it to begin this run anew."
        )
    if meta["runs"] != list(runs):
        raise CheckpointError(
            f"`{path}` belongs to {', '.join(meta['runs'])}, not to {', '.join(runs)}: it was made "
            "with other packing. Go on with that one, or delete the file to begin anew."
        )
    return tensors, meta["books"]
