"""Precomputed VAE latents: memory-mapped shards and a manifest. The way to train on anything real.

A folder holds ``manifest.json`` and shards of up to some thousand samples, each either one
``.safetensors`` file (tensor ``x``, perhaps ``text``) or ``.npy`` files (``name.npy``, perhaps
``name.text.npy``), perhaps with ``name.captions.jsonl``, one JSON string or pair (dense, sparse) a
line. The model sees ``(x - shift) * scale``. `training.data.latent_writer` makes such a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.config import Data
from training.data.items import AbstractReader, Items, folder_of, opened
from training.data.latent_writer import FORMAT, sha256_of
from training.errors import DataSourceError

_NAMES = {"F16": np.float16, "F32": np.float32, "U8": np.uint8, "BF16": np.uint16}


@dataclass(frozen=True)
class LatentReader(AbstractReader):
    """Samples of memory-mapped shards, in the order of the manifest."""

    folder: Path
    manifest: Mapping[str, Any]
    shards: tuple[Mapping[str, np.ndarray], ...]
    captions: tuple[Sequence[Any] | None, ...]
    ends: tuple[int, ...]
    address: str
    eight_bit = False
    poolable = False  # it is a memory map
    slow = False
    x_type = torch.float32

    @property
    def array(self) -> tuple[int, int, int, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(channels, frames, height, width) of the latent."""
        channels, frames, height, width = self.manifest["shape"]
        return (channels, frames, height, width)

    @property
    def total(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Samples of all shards."""
        return self.ends[-1]

    def read(self, item: int) -> Tensor:
        """One latent, shifted and scaled."""
        shard, row = self._place(item)
        x = self._tensor(self.shards[shard]["x"][row])
        return (x - self.manifest["shift"]) * self.manifest["scale"]

    def name(self, item: int) -> str:
        """Folder, shard and row."""
        shard, row = self._place(item)
        return f"{self.folder}, shard {shard}, row {row}"

    def caption(self, item: int, kind: str) -> str | None:
        """The caption of a sample."""
        shard, row = self._place(item)
        captions = self.captions[shard]
        if captions is None:
            return None
        found = captions[row]
        if isinstance(found, str):
            return found if kind == "dense" else None
        return found[0 if kind == "dense" else 1]

    def embedding(self, item: int) -> Tensor | None:
        """The embedding of its caption."""
        shard, row = self._place(item)
        text = self.shards[shard].get("text")
        return None if text is None else self._tensor(text[row])

    def _place(self, item: int) -> tuple[int, int]:
        shard = bisect_right(self.ends, item)
        return shard, item - (self.ends[shard - 1] if shard else 0)

    def _tensor(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(array))
        return (tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor).float()


@dataclass(frozen=True)
class LatentFolder:
    """The stream ``latents``. ``data.resolution`` and ``data.frames`` count cells of the latent.

    Options: those of `COMMON`. Each shard is hashed when it is opened for the first time; that it
    was found good is kept in ``.verified.json`` beside it, where the folder can be written.
    """

    @staticmethod
    def open(data: Data, purpose: str, device: torch.device) -> Items:
        """The source that `data` asks for."""
        del device
        return opened(_reader, data, purpose)


def _reader(data: Data, options: dict[str, Any]) -> LatentReader:
    del options
    folder = folder_of(data)
    manifest = _manifest(folder)
    shape = tuple(manifest["shape"])
    if shape[1:] != (data.frames, data.resolution, data.resolution):
        raise DataSourceError(
            f"Latents in `{folder}` are {shape} (channels, frames, height, width); `data.frames` = "
            f"{data.frames} and `data.resolution` = {data.resolution} ask for {shape[:1]} + "
            f"{(data.frames, data.resolution, data.resolution)}. Set them to what is there: they "
            "count cells of the latent, not pixels."
        )
    _verify(folder, manifest["shards"])
    shards, captions = [], []
    for number, shard in enumerate(manifest["shards"]):
        shards.append(_mapped(folder, number, shard, manifest))
        captions.append(_captions(folder, number, shard))
    hashes = json.dumps([each["sha256"] for each in manifest["shards"]], sort_keys=True)
    address = hashlib.sha256(hashes.encode()).hexdigest()[:16]
    ends = tuple(accumulate(shard["count"] for shard in manifest["shards"]))
    return LatentReader(folder, manifest, tuple(shards), tuple(captions), ends, address)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise DataSourceError(
            f"`{folder}` has no `manifest.json`. `write_latents` in `training.data.latent_writer` "
            "makes one."
        )
    try:
        manifest = json.loads(path.read_text())
        wanted = {"format", "shape", "dtype", "scale", "shift", "vae", "shards"}
        lacking = sorted(wanted - set(manifest))
    except (ValueError, TypeError) as error:
        raise DataSourceError(f"`{path}` is no JSON object: {error}.") from error
    if lacking:
        raise DataSourceError(f"`{path}` lacks " + ", ".join(f"`{each}`" for each in lacking) + ".")
    if manifest["format"] != FORMAT:
        raise DataSourceError(f"`{path}` is of format `{manifest['format']}`, not `{FORMAT}`.")
    if len(manifest["shape"]) != 4 or not manifest["shards"]:
        raise DataSourceError(
            f"`{path}`: `shape` is {manifest['shape']} and there are {len(manifest['shards'])} "
            "shards; (channels, frames, height, width) and at least one shard were expected."
        )
    return manifest


def _verify(folder: Path, shards: Sequence[Mapping[str, Any]]) -> None:
    """Hash what was not found good before; a file that was touched since counts as new."""
    said = {name: sha for shard in shards for name, sha in shard["sha256"].items()}
    good = _found_good(folder)
    for name, sha in said.items():
        path = folder / name
        if not path.exists():
            raise DataSourceError(f"`{path}` is missing; the manifest lists it.")
        mark = f"{path.stat().st_size}/{path.stat().st_mtime_ns}/{sha}"
        if good.get(name) == mark:
            continue
        if (found := sha256_of(path)) != sha:
            raise DataSourceError(
                f"`{path}` has the SHA-256 {found[:16]}...; the manifest says {sha[:16]}... The "
                "shard was changed or damaged: copy or encode it again."
            )
        good[name] = mark
    with contextlib.suppress(OSError):  # a folder that cannot be written is hashed every time
        beside = folder / f".verified.{os.getpid()}"
        beside.write_text(json.dumps(good))
        beside.replace(folder / ".verified.json")


def _found_good(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / ".verified.json").read_text()))
    except (OSError, ValueError):
        return {}


def _mapped(
    folder: Path, number: int, shard: Mapping[str, Any], manifest: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    name = f"{number:05d}"
    if f"{name}.safetensors" in shard["sha256"]:
        tensors = _map_safetensors(folder / f"{name}.safetensors")
    else:
        tensors = {
            kind: np.load(folder / file, mmap_mode="r", allow_pickle=False)
            for kind, file in (("x", f"{name}.npy"), ("text", f"{name}.text.npy"))
            if file in shard["sha256"]
        }
    wanted = {"x": manifest["shape"], "text": manifest.get("text_shape")}
    for kind, columns in wanted.items():
        if columns is None:
            continue
        found = tuple(tensors[kind].shape) if kind in tensors else None
        if found != (shard["count"], *columns):
            raise DataSourceError(
                f"Shard {name} of `{folder}` has `{kind}` of shape {found}; the manifest says "
                f"{(shard['count'], *columns)}. Write the folder again."
            )
    return tensors


def _captions(folder: Path, number: int, shard: Mapping[str, Any]) -> list[Any] | None:
    name = f"{number:05d}.captions.jsonl"
    if name not in shard["sha256"]:
        return None
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    if len(lines) != shard["count"]:
        raise DataSourceError(
            f"`{folder / name}` has {len(lines)} captions; the manifest says {shard['count']}."
        )
    return lines


def _map_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a file as memory maps. The format is a length, a JSON header, and raw numbers."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {
            kind: np.memmap(
                path,
                mode="r",
                dtype=_NAMES[about["dtype"]],
                offset=8 + length + about["data_offsets"][0],
                shape=tuple(about["shape"]),
            )
            for kind, about in header.items()
            if math.prod(about["shape"])
        }
    except (ValueError, KeyError, OverflowError) as error:
        raise DataSourceError(
            f"`{path}` cannot be read as safetensors of float16, float32 or bfloat16: {error}."
        ) from error
