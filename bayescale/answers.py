"""What every answer has: a table, a text, the data behind them, and a plot."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd


class Answer:
    """Base of every answer: ``.table`` (DataFrame), ``.text``, ``.data`` (xarray), ``.plot()``."""

    @property
    def table(self) -> pd.DataFrame:
        """The answer as a data frame."""
        raise AssertionError("each answer has its table")

    @property
    def text(self) -> str:
        """The answer in sentences to paste."""
        raise AssertionError("each answer has its text")

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        table = self.table.to_html(float_format="{:.5g}".format)
        return f"<p>{html.escape(self.text)}</p>{table}"


def interval(draws: Any, ci_prob: float, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Equal-tailed interval of draws along ``axis``; draws that are NaN count as missing."""
    tail = (1.0 - ci_prob) / 2
    low, high = np.nanquantile(np.asarray(draws), [tail, 1.0 - tail], axis=axis)
    return low, high


def si(value: float, unit: str = "") -> str:
    """A number as people say it: ``si(7.1e10)`` is ``71.0 B``."""
    if value is None or not np.isfinite(value):
        return "none"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        # what rounds up to a thousand of the smaller letter is one of the larger
        if 0.9995 * size <= abs(value) < 9.995e3 * size:
            return f"{_three(value / size)} {letter}{' ' + unit if unit else ''}"
    return f"{_three(value)}{' ' + unit if unit else ''}"


def percent(value: float) -> str:
    """A share in percent with two significant digits: ``0.000123`` is ``0.012 %``."""
    value *= 100.0
    if value == 0 or abs(value) >= 10:
        return f"{value:.0f} %"
    digits = min(6, max(0, 1 - int(np.floor(np.log10(abs(value)) + 1e-12))))
    return f"{value:.{digits}f} %"


def flops(value: float) -> str:
    """FLOP as ``5.76e23 FLOP``."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)} FLOP"


def _three(value: float) -> str:
    """Three significant digits without an exponent between 0.001 and a million."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        digits = max(0, 2 - int(np.floor(np.log10(abs(value)) + 1e-12)))
        return f"{value:,.{digits}f}"
    return f"{value:.3g}"
