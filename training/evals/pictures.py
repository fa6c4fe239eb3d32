"""A PNG of samples: tiles for images, rows of frames for videos, captions below.

Pillow draws, and is loaded here only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.errors import SpecError

_GAP = 6
_LINE = 12
_LETTER = 6  # width of a letter of Pillow's built-in font, pixels
_LEAST_TILE = 96
_MOST_FRAMES = 16


def picture(
    x_BCFHW: Tensor,
    path: Path | str,
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
) -> Path:
    """Write samples to `path` and give it back.

    Parameters
    ----------
    x_BCFHW : Tensor, (B, C, F, H, W)
        About in [-1, 1]. Three channels are colours, one is grey; of latents the first three are
        shown, each stretched over its own range (said in the picture).
    captions : sequence of str or None
        Below the tiles; long ones are broken into lines.
    columns : int or None
        Tiles in a row; None: a square of images, or one video with its frames in each row.
    """
    image_module, draw_module, font_module = _pillow()
    tiles, note = _tiles(x_BCFHW)
    count, frames = tiles.shape[:2]
    tile_h, tile_w = tiles.shape[2:4]
    wide = frames * tile_w + (frames - 1) * (_GAP // 3)
    columns = columns or (1 if frames > 1 else math.ceil(math.sqrt(count)))
    texts = [_broken(each, wide) for each in (captions or [""] * count)]
    lines = max((len(each) for each in texts), default=0)
    step_h, step_w = tile_h + lines * _LINE + _GAP, wide + _GAP
    rows = math.ceil(count / columns)
    top = _GAP + (_LINE if note else 0)
    page = image_module.new("RGB", (columns * step_w + _GAP, rows * step_h + top), "white")
    pen, font = draw_module.Draw(page), font_module.load_default_imagefont()
    if note:
        pen.text((_GAP, 2), note, fill=(110, 110, 110), font=font)
    for k in range(count):
        left, up = _GAP + (k % columns) * step_w, top + (k // columns) * step_h
        for frame in range(frames):
            at = left + frame * (tile_w + _GAP // 3)
            page.paste(image_module.fromarray(tiles[k, frame]), (at, up))
        for number, line in enumerate(texts[k]):
            pen.text((left, up + tile_h + 1 + number * _LINE), line, fill=(40, 40, 40), font=font)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, format="PNG", optimize=True)
    return path


def _tiles(x_BCFHW: Tensor) -> tuple[np.ndarray, str]:
    """Samples as uint8 (B, F, h, w, 3), enlarged by whole pixels, and what a reader should know."""
    x = x_BCFHW.detach().float().cpu()
    note = []
    channels, frames = x.shape[1:3]
    if frames > _MOST_FRAMES:
        kept = torch.linspace(0, frames - 1, _MOST_FRAMES).round().long()
        note.append(f"{_MOST_FRAMES} of {frames} frames")
        x = x[:, :, kept]
    bad = ~torch.isfinite(x).flatten(1).all(1)
    if bool(bad.any()):
        note.append(f"{int(bad.sum())} samples are not finite")
        x = torch.nan_to_num(x, nan=-1.0, posinf=1.0, neginf=-1.0)
    if channels not in (1, 3):
        x = x[:, : min(3, channels)]
        low, high = x.amin((0, 2, 3, 4), keepdim=True), x.amax((0, 2, 3, 4), keepdim=True)
        x = 2.0 * (x - low) / (high - low).clamp(min=1e-6) - 1.0
        note.append(f"channels 1 to {x.shape[1]} of {channels}, stretched")
    if x.shape[1] == 2:
        x = torch.cat((x, x[:, :1]), 1)
    x = x.expand(-1, 3, -1, -1, -1)
    times = max(1, -(-_LEAST_TILE // x.shape[-1]) if frames == 1 else -(-64 // x.shape[-1]))
    x = x.repeat_interleave(times, -1).repeat_interleave(times, -2)
    pixels = ((x + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).contiguous().numpy(), "; ".join(note)


def _broken(caption: str, wide: int) -> list[str]:
    """The caption in lines that fit; plain letters, since the built-in font has no others."""
    room = max(6, wide // _LETTER)
    lines, line = [], ""
    for word in caption.encode("latin-1", "replace").decode("latin-1").split():
        longer = f"{line} {word}".strip()
        if len(longer) > room and line:
            lines.append(line)
            longer = word
        line = longer[:room]
    return [*lines, line][:6] if caption else []


def _pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise SpecError(
            'Pictures need Pillow: pip install "bayescale[images]", or set '
            "`evaluation.pictures` to 0."
        ) from error
    return Image, ImageDraw, ImageFont
