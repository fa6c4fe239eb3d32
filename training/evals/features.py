"""What a Frechet distance is taken over: features of images and videos, with a name and a hash.

``randconv`` and ``statistics`` need nothing; ``attributes`` is trained once on what the stream says
of its own samples; ``inception:PATH``, ``dinov2:PATH`` and ``clip:PATH`` are a user's files.
Numbers of two hashes are never compared. Each network sees single frames; a video has their mean
over time, and beside it the mean change from frame to frame, so that motion counts.

Legend: x_BCFHW samples, x_NCHW single frames, f_Bk features.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training import rng
from training.errors import SpecError, nearest
from training.shapes import SampleShape

Frames = Callable[[Tensor], Tensor]
"""Frames (N, C, H, W) in [-1, 1] to features (N, k)."""

NAMES = ("randconv", "attributes", "statistics", "inception", "dinov2", "clip")


@dataclass(frozen=True)
class Features:
    """A feature network of whole samples: ``features(x_BCFHW)`` is (B, size), float32."""

    name: str
    digest: str
    size: int
    frames: Frames
    temporal: bool = False

    @torch.no_grad()
    def __call__(self, x_BCFHW: Tensor) -> Tensor:
        """Features of samples; of their mean over frames and, for videos, of the mean change."""
        batch, channels, frames, height, width = x_BCFHW.shape
        x_NCHW = x_BCFHW.transpose(1, 2).reshape(-1, channels, height, width)
        f_BFk = self.frames(x_NCHW.float()).float().reshape(batch, frames, -1)
        if not self.temporal:
            return f_BFk.mean(1)
        return torch.cat((f_BFk.mean(1), (f_BFk[:, 1:] - f_BFk[:, :-1]).abs().mean(1)), dim=1)


def open_features(
    name: str,
    shape: SampleShape,
    *,
    stream: Any = None,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> Features:
    """The features called `name` for samples of `shape`.

    Parameters
    ----------
    name : str
        One of `NAMES`; those of users' files as ``inception:PATH``.
    stream : Stream, optional
        ``attributes`` learns from it.
    cache : Path, optional
        Folder that keeps what ``attributes`` has learned.
    """
    kind, _, path = name.partition(":")
    if kind not in NAMES:
        raise SpecError(f"Unknown features `{name}`; {nearest(kind, NAMES)}")
    if kind in ("inception", "dinov2", "clip"):
        from training.evals.networks import open_network

        frames, digest = open_network(kind, path, shape, device)
    elif kind == "attributes":
        from training.evals.attributes import open_attributes

        frames, digest = open_attributes(stream, cache, device)
    elif kind == "statistics":
        frames, digest = statistics, digest_of("statistics", 1, shape.array)
    else:
        frames, digest = randconv(shape.channels, device), digest_of("randconv", 1, shape.channels)
    temporal = shape.frames > 1
    with torch.no_grad():
        one = torch.zeros(2, shape.channels, shape.height, shape.width, device=device)
        size = frames(one).shape[1]
    return Features(
        kind,
        digest_of(digest, "temporal") if temporal else digest,
        2 * size if temporal else size,
        frames,
        temporal,
    )


def randconv(channels: int, device: torch.device | str = "cpu", *, seed: int = 0) -> Frames:
    """A fixed random convolutional network: mean and spread of its maps at three scales.

    Random features see colour, edges and texture without having been taught any data, so they
    favour no data set. Weights are keyed, so the network is the same everywhere.
    """
    widths = (channels, 32, 48, 64)
    weights = [
        rng.normal(seed, f"randconv/{i}", torch.arange(b), (a, 3, 3)).to(device)
        * (2 / (9 * a)) ** 0.5
        for i, (a, b) in enumerate(itertools.pairwise(widths))
    ]
    shifts = [
        rng.uniform(seed, f"randconv/shift/{i}", torch.arange(b)).to(device) - 0.5
        for i, b in enumerate(widths[1:])
    ]

    def frames(x_NCHW: Tensor) -> Tensor:
        found = []
        for i, (weight, shift) in enumerate(zip(weights, shifts, strict=True)):
            x_NCHW = F.relu(F.conv2d(x_NCHW, weight, shift, padding=1))
            found += [x_NCHW.mean((2, 3)), x_NCHW.std((2, 3), correction=0)]
            if i + 1 < len(weights) and min(x_NCHW.shape[2:]) >= 2:
                x_NCHW = F.avg_pool2d(x_NCHW, 2)
        return torch.cat(found, dim=1)

    return frames


def statistics(x_NCHW: Tensor) -> Tensor:
    """Moments of colour, log radial power spectrum and kurtosis of gradients of each frame.

    What natural images are told apart by without a network: heavy-tailed gradients and a spectrum
    that falls as a power law (Ruderman 1994; Lee, Mumford and Huang 2001 for dead leaves).
    """
    channels = x_NCHW.flatten(2)
    mean, spread = channels.mean(-1), channels.std(-1, correction=0)
    z = (channels - mean[..., None]) / (spread[..., None] + 1e-3)
    grey = x_NCHW.mean(1)
    found = [mean, spread, z.pow(3).mean(-1), (z[:, :1] * z[:, 1:]).mean(-1)]
    for step in (1, 2):
        for dim in (1, 2):
            if grey.shape[dim] > step:
                g = grey.narrow(dim, step, grey.shape[dim] - step)
                g = (g - grey.narrow(dim, 0, grey.shape[dim] - step)).flatten(1)
                square = g.square().mean(1)
                # log1p: kurtosis runs from 3 to hundreds, and a Gaussian shall describe it
                tail = torch.log1p(g.pow(4).mean(1) / (square.square() + 1e-8))
                found.append(torch.stack((square.sqrt(), tail), 1))
    found.append(_spectrum(grey))
    return torch.cat(found, dim=1)


def _spectrum(grey_NHW: Tensor, rings: int = 8) -> Tensor:
    """Mean log power in rings of equal width, from the first wave to the highest along an axis."""
    height, width = grey_NHW.shape[1:]
    power = torch.fft.rfft2(grey_NHW - grey_NHW.mean((1, 2), keepdim=True)).abs().square()
    down = torch.fft.fftfreq(height, device=grey_NHW.device)[:, None]
    across = torch.fft.rfftfreq(width, device=grey_NHW.device)[None]
    ring = ((down**2 + across**2).sqrt() * 2 * rings).long().clamp(max=rings - 1)
    member = F.one_hot(ring.flatten(), rings).to(power.dtype)
    count = member.sum(0)
    mean = power.flatten(1) @ member / count.clamp(min=1) / (height * width)
    return torch.log(mean + 1e-4)[:, count > 0]


def torchmetrics_frechet(features: Features) -> Any:
    """Torchmetrics' own Frechet distance over these features, for those who log with it.

    Feed it samples (B, C, F, H, W) in [-1, 1] by ``update(x, real=...)``; `compute` agrees with
    `training.evals.frechet.distance`.
    """
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as error:
        raise SpecError('This needs torchmetrics: pip install "bayescale[fid]".') from error
    return FrechetInceptionDistance(feature=_Module(features), normalize=True)


class _Module(torch.nn.Module):
    """Features as a module that says its size, as torchmetrics wants them."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features, self.num_features = features, features.size

    def forward(self, x: Tensor) -> Tensor:
        """Features of samples."""
        return self.features(x)


def digest_of(*parts: Any) -> str:
    """Sixteen hex digits that name features by what defines them."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
