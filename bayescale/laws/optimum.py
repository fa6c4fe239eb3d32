"""Where the best hyperparameters lie, and what it costs to miss them.

The optimum moves with size and data as a power law, ``h* = K N^p T^q``. The price of a miss is a
smooth bowl in its logarithm, zero at the optimum, in units of log loss. Two power laws meet there:
too small a step leaves training unfinished, which costs a power of ``1/eta``; too large a one adds
noise and in the end instability, a power of ``eta`` that grows faster. Their sum has one minimum
and is steeper on one side of it; `bowl` is that sum, shifted and scaled.
"""

from __future__ import annotations

from typing import Any

FARTHEST = 6.0
"""Beyond ``e^6`` times its curvature the price goes on in a straight line, so that a sampler that
tries an absurd optimum meets a large number and not an infinite one."""


def log_optimum(log_coefficient: Any, powers: Any) -> Any:
    """Log of ``h* = K N^p T^q ...`` from ``ln K`` and pairs ``(exponent, ln input)``.

    References
    ----------
    Yin et al. 2024 (arXiv:2411.17470), tables 1 and 2; Li et al. 2025 (arXiv:2503.04715).

    Examples
    --------
    >>> import math
    >>> round(math.exp(log_optimum(math.log(2.0), [(0.5, math.log(16.0))])), 9)
    8.0
    """
    out = log_coefficient
    for exponent, log_input in powers:
        out = out + exponent * log_input
    return out


def rate_by_power(log_batch_miss: Any, exponent: Any) -> Any:
    """Change of ``ln eta*`` at a batch that is not the best one: ``exponent ln(B/B*)``.

    ``exponent = 1`` is the linear scaling rule, 0.5 the square-root rule; 0.34 was reported for
    discrete diffusion (arXiv:2512.10858).
    """
    return exponent * log_batch_miss


def rate_by_noise_scale(log_batch_miss: Any, noise_scale: Any, *, xp: Any) -> Any:
    """Change of ``ln eta*`` at another batch where gradient noise decides.

    ::

        eta*(B) = eta_max / (1 + B_noise/B)        noise_scale = B_noise / B*

    so that ``eta*(B) / eta*(B*) = (1 + noise_scale) / (1 + noise_scale B*/B)``: linear in small
    batches, constant in large ones.

    References
    ----------
    The step that lowers a quadratic loss most under gradient noise: McCandlish et al. 2018
    (arXiv:1812.06162), and the argument of arXiv:2411.17470.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(np.exp(rate_by_noise_scale(np.log(2.0), 1.0, xp=np))), 6)  # 2 / (1 + 1/2)
    1.333333
    """
    return xp.log1p(noise_scale) - xp.log1p(noise_scale * xp.exp(-log_batch_miss))


def slope_by_noise_scale(log_batch_miss: Any, noise_scale: Any, *, xp: Any) -> Any:
    """Derivative of `rate_by_noise_scale` in ``ln(B/B*)``: one in small batches, zero in large."""
    share = noise_scale * xp.exp(-log_batch_miss)
    return share / (1.0 + share)


def bowl(z: Any, rise: Any, fall: Any, *, xp: Any) -> Any:
    """The price of a miss of ``z`` e-folds, in units of its curvature at the optimum.

    ::

        bowl(z) = [ (e^(rise z) - 1) / rise + (e^(-fall z) - 1) / fall ] / (rise + fall)

    Zero with zero slope at ``z = 0``, second derivative one there; steeper above the optimum where
    ``rise > fall``. Small exponents give a parabola, ``fall -> 0`` a straight line far below the
    optimum (the LINEX loss of Varian).

    Parameters
    ----------
    z : array_like
        ``ln(h / h*)``.
    rise, fall : array_like
        Positive exponents of the price far above and far below the optimum.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(bowl(0.1, rise=1e-3, fall=1e-3, xp=np)), 6)
    0.005
    >>> bool(bowl(1.0, rise=1.0, fall=0.3, xp=np) > bowl(-1.0, rise=1.0, fall=0.3, xp=np))
    True
    """
    return bowl_and_slopes(z, rise, fall, xp=xp)[0]


def bowl_and_slopes(z: Any, rise: Any, fall: Any, *, xp: Any) -> tuple[Any, Any, Any]:
    """`bowl` and its first two derivatives in ``z``, which share their exponentials.

    The second is that of the exponentials, also beyond `FARTHEST`.
    """
    above, steeper = _growth(rise * z, xp)
    below, flatter = _growth(-fall * z, xp)
    total = rise + fall
    second = (rise * steeper + fall * flatter) / total
    return (above / rise + below / fall) / total, (steeper - flatter) / total, second


def _growth(x: Any, xp: Any) -> tuple[Any, Any]:
    """``e^x - 1``, continued along its tangent from `FARTHEST` on, and its derivative."""
    power = xp.exp(xp.minimum(x, FARTHEST))  # one exponential: its rounding is far below any price
    return power - 1.0 + power * xp.maximum(x - FARTHEST, 0.0), power
