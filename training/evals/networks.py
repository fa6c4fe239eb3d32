"""Feature networks from a file of the user: Inception, DINOv2, CLIP. Nothing is ever downloaded.

A file is a TorchScript program (``.pt``, ``.pth``, ``.ts``, ``.torchscript``) or one saved by
`torch.export` (``.pt2``): it holds the network and its weights. A folder in the layout of Hugging
Face (``config.json`` beside ``model.safetensors``) is read by `transformers`, where installed.

Legend: x_NCHW frames in [-1, 1].
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.errors import SpecError
from training.shapes import SampleShape

SIDES = {"inception": 299, "dinov2": 224, "clip": 224}
"""Height and width the frames are resized to."""

_MEANS = {
    "dinov2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
_SCRIPTS = (".pt", ".pth", ".ts", ".torchscript")


def open_network(
    kind: str, path: str, shape: SampleShape, device: torch.device | str
) -> tuple[Callable[[Tensor], Tensor], str]:
    """Features of frames by the network in `path`, and the hash of its file.

    ``inception`` gets values 0 to 255, ``dinov2`` and ``clip`` colours normalised as they were
    trained with. Tokens (N, n, k) give the first one, the class token; of several outputs a pooled
    one is taken where it is named, else the first.
    """
    if shape.channels not in (1, 3):
        raise SpecError(
            f"`{kind}` features look at colours, but these samples have {shape.channels} channels "
            "(latents?). Use `randconv` or `statistics`, which take any number."
        )
    if not path:
        raise SpecError(
            f"`evaluation.features` is `{kind}` without a file; write `{kind}:PATH`. Nothing is "
            "downloaded: see `training.evals.networks` for what the file may be."
        )
    place = Path(path).expanduser()
    if not place.exists():
        raise SpecError(
            f"`{kind}:{path}`: there is no such file or folder. Nothing is downloaded; put a "
            "TorchScript or `torch.export` program there, or a folder of `transformers`."
        )
    network, digest = _load(kind, place, device)

    @torch.no_grad()
    def frames(x_NCHW: Tensor) -> Tensor:
        return _pooled(network(_prepared(kind, x_NCHW)), kind)

    try:
        frames(torch.zeros(2, shape.channels, shape.height, shape.width, device=device))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        side = SIDES[kind]
        raise SpecError(
            f"`{kind}:{path}` does not take float frames (N, 3, {side}, {side}): "
            f"{str(error).strip().splitlines()[-1]}"
        ) from error
    return frames, digest


def _prepared(kind: str, x_NCHW: Tensor) -> Tensor:
    side = SIDES[kind]
    x = x_NCHW.float().clamp(-1.0, 1.0).expand(-1, 3, -1, -1)
    # antialias only matters when shrinking, where its lack is the known flaw of many FIDs
    # (Parmar et al. 2022, arXiv 2104.11222)
    x = F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
    if kind == "inception":
        return (x + 1.0) * 127.5
    mean, spread = (torch.tensor(each, device=x.device).view(3, 1, 1) for each in _MEANS[kind])
    return ((x + 1.0) / 2.0 - mean) / spread


def _pooled(out: Any, kind: str) -> Tensor:
    for name in ("image_embeds", "pooler_output", "x_norm_clstoken", "last_hidden_state"):
        if isinstance(out, dict) and name in out:
            out = out[name]
        elif not isinstance(out, Tensor) and getattr(out, name, None) is not None:
            out = getattr(out, name)
    if isinstance(out, dict):
        out = next(iter(out.values()))
    while isinstance(out, tuple | list):
        out = out[0]
    if not isinstance(out, Tensor) or out.ndim < 2:
        raise SpecError(f"`{kind}` gave back {type(out).__name__}; features (N, k) were expected.")
    if out.ndim == 3:
        out = out[:, 0]
    return out.flatten(1) if out.shape[2:].numel() == 1 else out.mean(tuple(range(2, out.ndim)))


def _load(kind: str, place: Path, device: torch.device | str) -> tuple[Any, str]:
    if place.is_dir():
        return _from_folder(kind, place, device)
    digest = _hash(place)
    try:
        if place.suffix == ".pt2":
            return torch.export.load(str(place)).module().to(device), digest
        if place.suffix in _SCRIPTS:
            with warnings.catch_warnings():
                # TorchScript is on its way out of torch, but is what published Inceptions come as
                warnings.simplefilter("ignore")
                network = torch.jit.load(str(place), map_location=device).eval()
            return _features_of(network), digest
    except Exception as error:  # any error here says one thing: this file is no such program
        raise SpecError(
            f"`{kind}:{place}` cannot be read as a program of torch: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
            ". A file of weights alone does not say what network they belong to."
        ) from error
    raise SpecError(
        f"`{kind}:{place}` ends in `{place.suffix}`; programs end in .pt2 (`torch.export`) or in "
        f"{', '.join(_SCRIPTS)} (TorchScript). A `.safetensors` file holds weights alone: give the "
        "folder with its `config.json`, which `transformers` can read."
    )


def _features_of(network: Any) -> Callable[[Tensor], Any]:
    """A TorchScript network, asked for features where its forward offers that."""
    names = [each.name for each in network.forward.schema.arguments]
    if "return_features" in names:  # the Inception that StyleGAN's authors publish
        return lambda x: network(x, return_features=True)
    return network


def _from_folder(kind: str, place: Path, device: torch.device | str) -> tuple[Any, str]:
    weights = sorted(place.glob("*.safetensors"))
    if not weights or not (place / "config.json").exists():
        raise SpecError(
            f"`{kind}:{place}` is a folder without `config.json` and `*.safetensors`, the layout "
            "of Hugging Face. Give such a folder, or the file of a program."
        )
    try:
        from transformers import AutoModel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SpecError(
            f"`{kind}:{place}` is a folder of Hugging Face: pip install transformers."
        ) from error
    network = AutoModel.from_pretrained(str(place), local_files_only=True).to(device).eval()
    digest = _hash(place / "config.json", *weights)
    if kind == "clip":
        return (lambda x: network.get_image_features(pixel_values=x)), digest
    return (lambda x: network(pixel_values=x)), digest


def _hash(*files: Path) -> str:
    found = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()[:16]
