"""Words of the procedural streams, and ids for the captions of users' data."""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from training.errors import DataSourceError, SpecError

WORDS = (
    *("", "few", "some", "many", "small", "middling", "large"),
    *("autumn", "ocean", "forest", "desert", "pastel", "neon", "grey", "dusk"),
    *("discs", "and", "squares", "leaves", "two", "three", "four", "slow", "fast"),
    *("moving", "left", "right", "up", "down", "spinning", "bouncing", "still"),
)
"""The 32 words of `leaves` and `sprites`; the first is padding, the last is kept free."""


def token(word: str) -> int:
    """Id of a word of the procedural streams."""
    return WORDS.index(word)


def table(*phrases: str, width: int) -> Tensor:
    """Ids of phrases, int64 ``(phrase, width)``, padded with 0."""
    rows = [[token(word) for word in phrase.split()] for phrase in phrases]
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


def packed(tokens: Tensor) -> Tensor:
    """Tokens with the padding moved behind the words, whose order stays."""
    order = (tokens == 0).to(torch.int8).sort(dim=-1, stable=True).indices
    return tokens.gather(-1, order)


def phrases(tokens: Tensor) -> list[str]:
    """Captions as text."""
    return [" ".join(WORDS[each] for each in row if each) for row in tokens.tolist()]


def hashed(captions: Sequence[str], *, length: int, vocabulary: int) -> Tensor:
    """Ids of any captions, int64 ``(B, length)``: words hashed into 1 .. vocabulary - 1.

    It needs no file and no training; two words may share an id. Longer captions are cut.

    Examples
    --------
    >>> hashed(["A red disc"], length=4, vocabulary=4096).shape
    torch.Size([1, 4])
    """
    rows = torch.zeros(len(captions), length, dtype=torch.int64)
    for row, caption in zip(rows, captions, strict=True):
        words = re.findall(r"\w+|[^\w\s]", caption.lower())[:length]
        for place, word in enumerate(words):
            row[place] = zlib.crc32(word.encode()) % (vocabulary - 1) + 1
    return rows


def encoder_of(name: str) -> Callable[[list[str]], Tensor]:
    """The user's function ``package.module:function``."""
    module, _, function = name.partition(":")
    if not function:
        raise SpecError(
            f"`data.encoder` is {name!r}; `package.module:function` was expected, for instance "
            "`my_project.text:encode`."
        )
    try:
        found = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise DataSourceError(
            f"`data.encoder`: the module `{module}` cannot be imported ({error}). Put its folder "
            "on PYTHONPATH."
        ) from error
    except AttributeError as error:
        raise DataSourceError(
            f"`data.encoder`: the module `{module}` has no `{function}`."
        ) from error
    return found
