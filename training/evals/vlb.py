"""The variational bound as a weighting of one curve, the velocity error over t.

With D(t) = E|v^ - v|^2 / d, the mean squared velocity error per dimension, -log p(x) is at most

    reconstruction(t_min)  +  integral from t_min to 1 of weight(t) D(t) dt  +  prior,

in nats per dimension. The middle term is the usual 1/2 (-SNR'(t)) |x^ - x|^2 of Kingma et al. 2021
(arXiv 2107.00630, eq. 16) with SNR = a^2 / b^2, written for the velocity: at fixed x_t,
v^ - v = (a' - a b' / b) (x^ - x). No factor one half is left: rectified flow has (1 - t) / t.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.flow import Path

T_MIN = 1e-3
"""Where the bound hands over to the Gaussian decoder (chosen): noise far below the finest scale of
our own sources. Data that are really discrete (pixels of 8 bits) have no density, and their bound
falls without end as this goes to zero; at a fixed value it compares models."""


def weight(path: Path, t: Tensor) -> Tensor:
    """What D(t) counts in the bound: a / (b (a b' - a' b))."""
    a, b = path.a(t), path.b(t)
    return a / (b * (a * path.db(t) - path.da(t) * b))


def reconstruction(path: Path, t_min: float = T_MIN) -> float:
    """-log p(x | x_t) per dimension at `t_min`, with the decoder N(x_t / a, (b / a)^2).

    Exact, since (x - x_t / a) / (b / a) is standard normal: 1/2 log(2 pi e (b / a)^2).
    """
    t = torch.tensor(t_min, dtype=torch.float64)
    return 0.5 * math.log(2.0 * math.pi * math.e) + math.log(float(path.b(t) / path.a(t)))


def prior(path: Path, square: float) -> float:
    """KL of q(x_1 | x) from N(0, 1) per dimension, for data of mean square `square`."""
    one = torch.tensor(1.0, dtype=torch.float64)
    a, b = float(path.a(one)), float(path.b(one))
    return 0.5 * (a * a * square + b * b - 1.0) - math.log(b)
