"""Words of the command line to values: ``70B``, ``1.4T``, ``N=7e10,T=1.4e12``, ``90%``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any


def number(text: str) -> float:
    """A positive number, with a suffix if one likes.

    Examples
    --------
    >>> number("70B"), number("5.76e23"), number("12,000")
    (70000000000.0, 5.76e+23, 12000.0)
    """
    import numpy as np

    from bayescale.runs.cells import read_numbers

    read = read_numbers(np.array([text], dtype=object), count=True)
    value = float(read.values[0])
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(
            f"`{text}` is not a positive number. Write 7e10, 70B, 1.4T or 12000."
        )
    return value


def numbers(text: str) -> list[float]:
    """Several numbers: ``1e8,3e8`` or ``100M,300M``."""
    return [number(each) for each in text.split(",") if each.strip()]


def probability(text: str) -> float:
    """A probability: ``0.9`` or ``90%``."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"`{text}` is not a probability. Write a number between 0 and 1, such as 0.9, or 90%."
        )
    return value


def utilisation(text: str) -> float | tuple[float, float]:
    """Model FLOP utilisation: ``0.4``, ``40%``, or a range ``0.3-0.5``."""
    low, dash, high = text.partition("-")
    return (probability(low), probability(high)) if dash else probability(text)


def point(text: str) -> dict[str, float | str]:
    """One point: numbers by name, and a family as it stands."""
    return {name: v if name == "family" else number(v) for name, v in pairs(text).items()}


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    found = tuple(each.strip() for each in text.split(","))
    if not all(found) or any("=" in each for each in found):
        raise argparse.ArgumentTypeError(
            f"`{text}` is no list of names. Write them with commas and no spaces, such as "
            "batch_size,learning_rate."
        )
    return found


def columns(text: str) -> dict[str, str | None]:
    """Our name to their column; nothing after the sign says that the table has no such thing."""
    return {ours: theirs or None for ours, theirs in pairs(text, empty=True).items()}


def units(text: str) -> dict[str, str | float]:
    """Our name to a unit in words, or to a number to multiply by."""
    return {name: _number_or_word(unit) for name, unit in pairs(text).items()}


def pairs(text: str, *, empty: bool = False) -> dict[str, str]:
    """``a=b,c=d`` as a dict. Values may hold commas: a new pair starts at ``,name=``.

    Examples
    --------
    >>> pairs("N=12,000,T=1.4T")
    {'N': '12,000', 'T': '1.4T'}
    """
    found: dict[str, str] = {}
    for part in re.split(r",(?=[^,=]+=)", text):
        name, sign, value = (each.strip() for each in part.partition("="))
        if not (sign and name and (value or empty)):
            raise argparse.ArgumentTypeError(
                f"`{part.strip()}` is not NAME=VALUE. Write pairs with commas between them and no "
                "spaces, such as N=7e10,T=1.4e12."
            )
        if name in found:
            raise argparse.ArgumentTypeError(f"`{name}` is there twice: {found[name]} and {value}.")
        found[name] = value
    return found


def merged(kind: Callable[[str], dict[str, Any]]) -> type[argparse.Action]:
    """An action for options that may be repeated; their pairs add up."""

    class Merge(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: Any,
            option_string: str | None = None,
        ) -> None:
            try:
                new = kind(str(values))
            except argparse.ArgumentTypeError as error:
                raise argparse.ArgumentError(self, str(error)) from None
            setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), **new})

    return Merge


def _number_or_word(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
