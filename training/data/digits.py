"""Handwritten digits, 1,797 images of 8 x 8 (scikit-learn): a smoke test, and data that repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.config import Data
from training.data.items import AbstractReader, Items, missing, opened
from training.errors import DataSourceError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class DigitReader(AbstractReader):
    """Images with 17 levels of grey, scaled to [-1, 1]. Dense captions name the digit, sparse ones
    say whether it is even or odd.
    """

    images: np.ndarray
    labels: np.ndarray
    array = (1, 1, 8, 8)
    address = "scikit-learn"
    eight_bit = False
    poolable = False
    slow = False
    x_type = torch.float32

    @property
    def total(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Images there are."""
        return len(self.images)

    def read(self, item: int) -> np.ndarray:
        """One image."""
        return (self.images[item] / 8.0 - 1.0).astype(np.float32)[None, None]

    def name(self, item: int) -> str:
        """Its number."""
        return f"digit {item}"

    def caption(self, item: int, kind: str) -> str:
        """The digit, or its parity."""
        label = int(self.labels[item])
        return NAMES[label] if kind == "dense" else ("even", "odd")[label % 2]


@dataclass(frozen=True)
class Digits:
    """The stream ``digits``. Option: `validation`, the share that is held out (0.1)."""

    @staticmethod
    def open(data: Data, purpose: str, device: torch.device) -> Items:
        """The source that `data` asks for."""
        del device
        own = {"text_length": 1, "vocabulary": 256}
        return opened(_digits, data, purpose, **own)


def _digits(data: Data, options: dict[str, Any]) -> DigitReader:
    del options
    if data.resolution != 8 or data.frames != 1:
        raise DataSourceError(
            f"`digits` are images of 8 x 8; `data.resolution` is {data.resolution} and "
            f"`data.frames` {data.frames}. Set them to 8 and 1."
        )
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise missing("scikit-learn", "digits", data) from error
    found: Any = load_digits()
    return DigitReader(found.images, found.target)
