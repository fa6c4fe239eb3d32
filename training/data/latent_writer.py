"""Write latents of a VAE as the stream ``latents`` reads them: shards of numbers and a manifest.

Examples
--------
::

    batches = (Latents(vae.encode(images), captions) for images, captions in loader)
    write_latents("latents", batches, vae_name="my-vae", vae_sha256=digest, scale=0.18215)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.errors import DataSourceError

FORMAT = "bayescale-latents-1"
_WORDS = {"float16": "F16", "float32": "F32", "bfloat16": "BF16"}


class Latents(NamedTuple):
    """A batch for `write_latents`: ``x`` (B, C, H, W) or (B, C, F, H, W), and perhaps captions
    (text, or pairs of a dense and a sparse one) or embeddings ``text`` (B, n_text, width).
    """

    x: Tensor
    captions: Sequence[str | tuple[str, str]] | None = None
    text: Tensor | None = None


def write_latents(
    folder: Path | str,
    batches: Iterable[Latents],
    *,
    vae_name: str,
    vae_sha256: str,
    scale: float = 1.0,
    shift: float = 0.0,
    dtype: Literal["float16", "float32", "bfloat16"] = "float16",
    file_format: Literal["safetensors", "npy"] = "safetensors",
) -> Path:
    """Write a folder of latents, one shard a batch, and give back the path of its manifest.

    Parameters
    ----------
    folder : path
        Made; must not hold a manifest yet.
    batches : iterable of Latents
        As they come from the encoder; each becomes a shard, so some thousand samples are sensible.
    vae_name, vae_sha256 : str
        Which encoder, and the hash of its weights: latents of two encoders must not be mixed up.
    scale, shift : float
        The model sees ``(x - shift) * scale``, which should have a standard deviation near 1.
    dtype : str
        How numbers are kept. ``bfloat16`` only in safetensors.
    file_format : {"safetensors", "npy"}
        Of the shards.
    """
    folder = Path(folder)
    if (folder / "manifest.json").exists():
        raise DataSourceError(f"`{folder}` has a manifest already. Choose another folder.")
    if dtype == "bfloat16" and file_format == "npy":
        raise DataSourceError("`.npy` knows no bfloat16: write safetensors, or float16.")
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    shapes = set()
    for number, batch in enumerate(batches):
        x = batch.x if batch.x.ndim == 5 else batch.x.unsqueeze(2)
        tensors = {"x": _raw(x, dtype)}
        if batch.text is not None:
            tensors["text"] = _raw(batch.text, dtype)
        files = _write_shard(folder, f"{number:05d}", tensors, dtype, file_format)
        if batch.captions is not None:
            path = folder / f"{number:05d}.captions.jsonl"
            path.write_text("".join(json.dumps(each) + "\n" for each in batch.captions))
            files.append(path.name)
        shapes.add(
            (tuple(x.shape[1:]), None if batch.text is None else tuple(batch.text.shape[1:]))
        )
        shards.append(
            {"count": len(x), "sha256": {name: sha256_of(folder / name) for name in files}}
        )
    if len(shapes) != 1:
        raise DataSourceError(
            f"Batches have {len(shapes)} shapes (array, text): {sorted(map(str, shapes))}; one was "
            "expected."
        )
    ((array, text),) = shapes
    manifest = {
        "format": FORMAT,
        "shape": array,
        "text_shape": text,
        "dtype": dtype,
        "scale": scale,
        "shift": shift,
        "vae": {"name": vae_name, "sha256": vae_sha256},
        "shards": shards,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return folder / "manifest.json"


def sha256_of(path: Path) -> str:
    """Hex digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _raw(tensor: Tensor, dtype: str) -> np.ndarray:
    tensor = tensor.detach().cpu().to(getattr(torch, dtype)).contiguous()
    return (tensor.view(torch.uint16) if dtype == "bfloat16" else tensor).numpy()


def _write_shard(
    folder: Path, name: str, tensors: Mapping[str, np.ndarray], dtype: str, file_format: str
) -> list[str]:
    if file_format == "npy":
        for kind, array in tensors.items():
            np.save(folder / (f"{name}.npy" if kind == "x" else f"{name}.{kind}.npy"), array)
        return [f"{name}.npy" if kind == "x" else f"{name}.{kind}.npy" for kind in tensors]
    header, at = {}, 0
    for kind, array in tensors.items():
        header[kind] = {
            "dtype": _WORDS[dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)  # tensors begin at a multiple of 8 bytes
    with (folder / f"{name}.safetensors").open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for array in tensors.values():
            file.write(array.tobytes())
    return [f"{name}.safetensors"]
