"""Image and video files to arrays of the wanted size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.config import Data
from training.data.items import missing
from training.errors import DataSourceError, SpecError

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".gif")

FIT: dict[str, Any] = {"fit": "crop", "channels": 3}
"""Options of all that decode pictures: `fit` ``crop`` (shorter side scaled down to the resolution,
the middle cut out), ``stretch``, or ``exact`` (another size is an error); `channels` 3 or 1 (grey).
"""


def check_fit(options: dict[str, Any]) -> None:
    """SpecError for values of `FIT` that do not exist."""
    if options["fit"] not in ("crop", "stretch", "exact"):
        raise SpecError(
            f"`data.options.fit` is {options['fit']!r}; `crop`, `stretch` or `exact` was expected."
        )
    if options["channels"] not in (1, 3):
        raise SpecError(f"`data.options.channels` is {options['channels']}; 1 or 3 was expected.")


def need_pillow(data: Data) -> None:
    """One clear error where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise missing("pillow", "images", data) from error


def need_av(data: Data) -> None:
    """One clear error where PyAV is not installed."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise missing("av", "video", data) from error


def image_of(
    content: Path | bytes | Any, name: str, resolution: int, options: dict[str, Any]
) -> np.ndarray:
    """An image as uint8 ``(C, 1, R, R)``, from a file, its bytes or a Pillow image."""
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(content, bytes):
            content = io.BytesIO(content)
        if isinstance(content, Image.Image):
            fitted = _fitted(content, name, resolution, options)
        else:
            with Image.open(content) as picture:
                fitted = _fitted(picture, name, resolution, options)
        pixels = np.array(fitted, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DataSourceError(f"`{name}` cannot be read as an image: {error}.") from error
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[:, None])


def video_of(
    content: Path | bytes, name: str, wanted: list[int], resolution: int, options: dict[str, Any]
) -> np.ndarray:
    """Frames `wanted` (ascending) of a video as uint8 ``(C, F, R, R)``.

    Decoded from the start, for seeking by time is not exact in every container; a pool makes this
    a cost that is paid once.
    """
    if options.get("backend") == "torchcodec":
        pictures = _by_torchcodec(content, name, wanted)
    else:
        pictures = _by_av(content, name, wanted)
    frames = [image_of(each, name, resolution, options) for each in pictures]
    return np.concatenate(frames, axis=1)


def frames_in(content: Path | bytes, name: str) -> int:
    """Number of frames of a video, counted where the file does not say."""
    with _container(content, name) as container:
        said = container.streams.video[0].frames
        return said or sum(1 for _ in container.decode(video=0))


def _fitted(picture: Any, name: str, resolution: int, options: dict[str, Any]) -> Any:
    from PIL import Image

    width, height = picture.size
    same = width == height == resolution
    if not same and options["fit"] == "exact":
        raise DataSourceError(
            f"`{name}` has {width} x {height} pixels; {resolution} x {resolution} was expected. "
            'Change `data.resolution`, or set `data.options.fit = "crop"`.'
        )
    if min(width, height) < resolution:
        raise DataSourceError(
            f"`{name}` has {width} x {height} pixels, fewer than `data.resolution` = "
            f"{resolution}. Leave it out, or train at a lower resolution."
        )
    if picture.mode in ("P", "PA"):  # a palette is averaged as colours
        picture = picture.convert("RGBA")
    picture = picture.convert("RGB" if options["channels"] == 3 else "L")
    if same:
        return picture
    box = (0, 0, width, height)
    if options["fit"] == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
    return picture.resize((resolution, resolution), Image.Resampling.BOX, box=box)


def _by_av(content: Path | bytes, name: str, wanted: list[int]) -> list[Any]:
    import av.error

    found, places = [], set(wanted)
    try:
        with _container(content, name) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in places:
                    found.append(frame.to_image())
                if number >= wanted[-1]:
                    break
    except av.error.FFmpegError as error:
        raise DataSourceError(f"`{name}` cannot be read as a video: {error}.") from error
    if len(found) < len(wanted):
        raise DataSourceError(
            f"`{name}` has only {len(found)} of the {len(wanted)} frames that are wanted "
            f"(up to number {wanted[-1] + 1})."
        )
    return found


def _by_torchcodec(content: Path | bytes, name: str, wanted: list[int]) -> list[Any]:
    try:
        from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataSourceError(
            '`data.options.backend` is "torchcodec", which is not installed: pip install '
            "torchcodec, or leave the option out to decode with PyAV."
        ) from error
    from PIL import Image

    try:
        decoder = VideoDecoder(str(content) if isinstance(content, Path) else content)
        frames = decoder.get_frames_at(indices=wanted).data
    except (RuntimeError, ValueError, IndexError) as error:
        raise DataSourceError(f"`{name}` cannot be read as a video: {error}.") from error
    return [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]


def _container(content: Path | bytes, name: str) -> Any:
    import av
    import av.error

    file: str | BinaryIO = str(content) if isinstance(content, Path) else io.BytesIO(content)
    try:
        container = av.open(file)
    except (av.error.FFmpegError, OSError) as error:
        raise DataSourceError(f"`{name}` cannot be read as a video: {error}.") from error
    if not container.streams.video:
        container.close()
        raise DataSourceError(f"`{name}` has no video stream.")
    return container
