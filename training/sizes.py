"""Widths, depths and heads for a wanted number of parameters N: real sizes from 5k to 1B.

N counts the blocks without modulation (``core`` of `training.models.count`), in the conditioning
asked for: a cross-attention block has a third more than a modulated one, a dual-stream block twice
as many.

With ``aspect`` scaling, the ratio width / depth grows slowly along the ladder, from 8 at 7k
parameters over 11 at 550k (the sizes of our prototype: widths 16 to 80 with 2 to 7 layers) to 64 at
1B, straight in log ratio against log N in between (chosen; DiT goes from 32 at S to 41 at XL).
``depth`` keeps the width and adds layers, ``width`` keeps the layers and widens them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterator
from typing import Literal

from training.config import Conditioning, Model
from training.errors import SpecError, nearest
from training.models.count import predicted_groups
from training.shapes import SampleShape

LADDER: dict[str, int] = {
    f"{digits}{letter}": int(digits) * unit
    for letter, unit, steps in (
        ("k", 10**3, "5 10 20 50 150 300 550"),
        ("M", 10**6, "1 2 5 10 20 50 100 200 500"),
        ("B", 10**9, "1"),
    )
    for digits in steps.split()
}

_ASPECT = ((6_600, 8.0), (546_000, 11.4), (1_000_000_000, 64.0))  # (N, width / depth)
_ASPECT_FACTORS = (2.0, 3.0)  # how far from it a shape may be: tried in turn
_TOLERANCE = 0.08
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}

Scaling = Literal["aspect", "depth", "width"]


def sized(
    size: str | int | float,
    *,
    conditioning: Conditioning = "adaln_single",
    scaling: Scaling = "aspect",
    width: int | None = None,
    depth: int | None = None,
    mlp_ratio: float = 4.0,
    single_layers: int = 0,
) -> dict[str, int]:
    """``{"width": ..., "depth": ..., "heads": ...}`` of the model nearest to `size` parameters.

    Parameters
    ----------
    size : str or number
        Of `LADDER` or any other: ``"550k"``, ``"1.5M"``, 1_000_000.
    conditioning : str
        Whose blocks are counted.
    scaling : {"aspect", "depth", "width"}
        What changes from size to size.
    width : int
        For ``depth`` scaling: the width kept; by default that of `training.config.Model`.
    depth : int
        For ``width`` scaling: the number of layers kept; by default that of `Model`.
    mlp_ratio, single_layers
        As in `training.config.Model`.

    Returns
    -------
    dict
        Fields for `training.config.Model`. Widths are multiples of 64 from 1M and of 128 from 100M,
        which fill tensor cores, and of 8 below (of 2 below 8k); finer only where nothing else comes
        near. Heads have 64 numbers from width 128, 128 from 1536.

    Raises
    ------
    SpecError
        When no shape lies within 8 % of `size`.

    Examples
    --------
    >>> sized("1M")
    {'width': 128, 'depth': 5, 'heads': 2}
    >>> sized("550k")
    {'width': 80, 'depth': 7, 'heads': 2}
    """
    target = parameters(size)
    if scaling not in ("aspect", "depth", "width"):
        raise SpecError(f"Unknown scaling `{scaling}`; known are `aspect`, `depth`, `width`.")
    if (width and scaling != "depth") or (depth and scaling != "width"):
        raise SpecError(
            f"Scaling along `{scaling}` with width {width} and depth {depth}: `width` is what "
            f"`depth` scaling keeps, `depth` what `width` scaling keeps."
        )
    model = Model(conditioning=conditioning, mlp_ratio=mlp_ratio, single_layers=single_layers)
    kept_width = (width or model.width) if scaling == "depth" else None
    kept_depth = (depth or model.depth) if scaling == "width" else None
    shapes: list[tuple[int, int, int]] = []
    for factor, step in itertools.product(_ASPECT_FACTORS, _steps(target)):
        widths = [kept_width] if kept_width else range(step, _widest(target) + step, step)
        shapes = [
            (core_parameters(model, w, d), w, d)
            for w in widths
            for d in _depths(model, w, kept_depth, target)
        ]
        near = [each for each in shapes if _near(each, target, scaling, factor)]
        if near:
            best = min(near, key=lambda each: _cost(each, target, scaling))
            return {"width": best[1], "depth": best[2], "heads": heads_of(best[1])}
    closest = min(shapes, key=lambda each: abs(math.log(each[0] / target)))
    raise SpecError(
        f"No `{conditioning}` model scaled along `{scaling}` has {target:,} parameters within "
        f"{_TOLERANCE:.0%}; the closest has {closest[0]:,} (width {closest[1]}, depth "
        f"{closest[2]})."
    )


def parameters(size: str | int | float) -> int:
    """A size in figures: ``"1.5M"`` is 1_500_000."""
    if isinstance(size, str):
        match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kmb]?)\s*", size.lower())
        if match is None:
            raise SpecError(f"`{size}` is no size; {nearest(size, LADDER)}")
        size = float(match[1]) * _UNITS[match[2]]
    if size < 1000:
        raise SpecError(f"A size of {size:g} parameters; at least 1000 were expected, like `5k`.")
    return round(size)


@functools.cache
def core_parameters(model: Model, width: int, depth: int) -> int:
    """N of a shape: `model` supplies the conditioning, and captions do not matter to it."""
    shape = SampleShape(text="tokens", text_length=1, text_size=1)
    sized_ = dataclasses.replace(
        model,
        width=width,
        depth=depth,
        heads=1,
        single_layers=min(model.single_layers, depth),
    )
    return predicted_groups(sized_, shape)["core"]


def heads_of(width: int) -> int:
    """Heads for a width: of 128 numbers from 1536, of 64 from 128, smaller below.

    Examples
    --------
    >>> [width // heads_of(width) for width in (14, 16, 24, 32, 48, 64, 80, 128, 320, 1152, 1792)]
    [14, 8, 8, 16, 16, 32, 40, 64, 64, 64, 128]
    """
    wanted = next(size for at, size in _HEAD_SIZES if width >= at)
    step = 8 if width % 8 == 0 else 2
    divisors = [size for size in range(8, width + 1, step) if width % size == 0] or [width]
    return width // min(divisors, key=lambda size: abs(math.log(size / wanted)))


_HEAD_SIZES = ((1536, 128), (128, 64), (64, 32), (32, 16), (0, 8))


def aspect(target: float) -> float:
    """The wanted width / depth at `target` parameters."""
    (n0, a0), (n1, a1) = _ASPECT[:2] if target < _ASPECT[1][0] else _ASPECT[1:]
    share = math.log(target / n0) / math.log(n1 / n0)
    return a0 * (a1 / a0) ** share


def _near(shape: tuple[int, int, int], target: int, scaling: Scaling, factor: float) -> bool:
    """Close enough in N, and with ``aspect`` within a factor of the wanted ratio."""
    count, width, depth = shape
    if abs(count / target - 1.0) > _TOLERANCE:
        return False
    return scaling != "aspect" or abs(math.log(width / depth / aspect(target))) < math.log(factor)


def _steps(target: int) -> list[int]:
    """Grids of widths to try, the best one for the hardware first."""
    first = next(step for at, step in _GRIDS if target >= at)
    return [step for _, step in _GRIDS if step <= first]


_GRIDS = ((10**8, 128), (10**6, 64), (10**6, 32), (10**5, 16), (8000, 8), (0, 2))


def _widest(target: int) -> int:
    """Twice the width of a single layer of 12 d^2 parameters is more than any shape needs."""
    return max(128, math.isqrt(target // 6))


def _depths(model: Model, width: int, depth: int | None, target: int) -> Iterator[int]:
    """The given depth, or the two that lie around the target."""
    if depth is not None:
        yield depth
        return
    one, two = core_parameters(model, width, 8), core_parameters(model, width, 9)
    around = 8 + (target - one) / (two - one)  # parameters are linear in depth
    yield from {max(1, math.floor(around)), max(1, math.ceil(around))}


def _cost(shape: tuple[int, int, int], target: int, scaling: Scaling) -> float:
    """Distance in log N, and with ``aspect`` in log ratio too: a factor 1.2 is like 5 % of N."""
    count, width, depth = shape
    distance = abs(math.log(count / target))
    if scaling != "aspect":
        return distance
    return distance + 0.3 * abs(math.log(width / depth / aspect(target)))
