"""Averaged weights whose memory grows with the run: the power-function EMA.

One constant-rate run read out through it gives a whole curve L(T), where decay-to-zero needs a run
for every T. An ordinary EMA forgets over a fixed number of steps; here the width of the average is
a fixed *fraction* of the training time so far, so read-outs at different T are alike.

Reference: Karras et al. 2024 (EDM2, arXiv 2312.02696), section 3.1; equations only, our own code.
"""

from __future__ import annotations

import math


def exponent_of(relative_width: float) -> float:
    """Gamma of the profile t**gamma whose standard deviation is `relative_width` of the time.

    Solves sigma**2 = (gamma + 1) / ((gamma + 2)**2 (gamma + 3)) by bisection; sigma falls in gamma.

    Examples
    --------
    >>> round(exponent_of(0.10), 2)
    6.94
    """
    if not 0.0 < relative_width < math.sqrt(1 / 12):
        raise ValueError(f"a width of {relative_width} was asked for; 0 to 0.288 is possible")
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = 0.5 * (low + high)
        width = math.sqrt((middle + 1) / ((middle + 2) ** 2 * (middle + 3)))
        low, high = (middle, high) if width > relative_width else (low, middle)
    return 0.5 * (low + high)


def decay_at(step: int, exponent: float) -> float:
    """Weight of the old average after `step` steps (from 1): (1 - 1/step)**(exponent + 1)."""
    return (1.0 - 1.0 / step) ** (exponent + 1.0)
