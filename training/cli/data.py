"""Data streams there are, and pictures of what one gives.

python -m training data
python -m training data leaves --pictures leaves.png --set resolution=32
python -m training data sprites --pictures sprites.png --set resolution=32
"""

from __future__ import annotations

import argparse
import sys

from training.cli.execution import overrides_of
from training.cli.text import table

WHAT = {
    "leaves": "images: coloured discs and squares in layers, with captions; never repeats",
    "sprites": "video: a few such leaves that move and bounce, with captions; never repeats",
    "zipf_mixture": "images around fixed templates; the least loss there can be is known",
    "grf": "Gaussian random fields; loss, bound and likelihood are known in closed form",
    "digits": "1,797 images of handwritten digits of 8x8 pixels, from scikit-learn",
    "folder": "your images in a folder, captions in text files beside them",
    "video": "your video files in a folder",
    "wds": "your WebDataset shards (tar files)",
    "hf": "your Hugging Face dataset on disk",
    "latents": "your own latents of images or videos, precomputed",
}


_UNSAID: dict[str, dict[str, int]] = {
    "sprites": {"data.frames": 8},
    "digits": {"data.resolution": 8, "data.frames": 1},
}
"""What a stream is shown with where nothing else is asked for; `leaves` are the defaults."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``data``."""
    parser.add_argument("name", nargs="?", metavar="STREAM", help="one of them; none: list all")
    parser.add_argument("--pictures", metavar="OUT.png", help="draw samples with their captions")
    parser.add_argument("--count", type=int, default=16, metavar="K", help="samples (default 16)")
    parser.add_argument(
        "--from", type=int, default=0, metavar="I", dest="first", help="number of the first sample"
    )
    parser.add_argument("--purpose", choices=("train", "validation"), default="train")
    parser.add_argument(
        "--set", action="append", metavar="FIELD=VALUE", dest="fields",
        help="a field of the data: resolution, frames, captions, path ...",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """List the streams, or show one."""
    if args.name is None:
        return _list()
    import torch

    from training.data import open_stream
    from training.errors import SpecError
    from training.sweep.fields import flat, spec_of

    if args.count < 1:
        raise SpecError(f"--count is {args.count}; at least 1 was expected.")
    fields = {
        name if name.startswith("data.") else f"data.{name}": value
        for name, value in overrides_of(args.fields).items()
    }
    wanted = {"data.name": args.name, **_UNSAID.get(args.name, {}), **fields}
    data = spec_of(flat(wanted)).data
    stream = open_stream(data, args.purpose)
    count = min(args.count, stream.size or args.count)
    index = torch.arange(args.first, args.first + count)
    captions = stream.describe(index)
    print(_facts(stream), file=sys.stderr)
    for number, caption in zip(index.tolist(), captions, strict=True):
        print(f"{number}\t{caption}")
    if args.pictures:
        from training.evals.pictures import picture

        path = picture(stream.batch(index).x, args.pictures, captions=captions)
        print(f"{count} samples drawn: {path}", file=sys.stderr)
    return 0


def _facts(stream) -> str:  # type: ignore[no-untyped-def]
    shape = stream.shape
    array = f"{shape.frames} frames of " if shape.frames > 1 else ""
    size = "without end" if stream.size is None else f"{stream.size:,} samples"
    text = {
        "none": "no captions",
        "tokens": f"captions of {shape.text_length} tokens out of {shape.text_size} words",
        "embeddings": f"captions of {shape.text_length} embeddings of width {shape.text_size}",
    }[shape.text]
    return f"{array}{shape.height}x{shape.width}x{shape.channels}, {size}, {text}"


def _list() -> int:
    from training.data import STREAMS

    rows = [{"stream": name, "what": WHAT.get(name, "")} for name in STREAMS]
    print(table(rows, ["stream", "what"], left=2))
    return 0
