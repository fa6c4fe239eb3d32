"""Laws against training compute, and the compute-optimal size and length in closed form.

``C`` (the column ``flops``) is training compute in FLOP, ``C = k N T`` with ``k = 6`` unless said
otherwise. ``N*(C)`` and ``T*(C)`` are the size and the number of tokens of least loss at ``C``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bayescale.laws.law import Law, Parameter, register


class Optimum(NamedTuple):
    """The best split of a budget: ``N`` parameters trained on ``T`` tokens."""

    N: Any
    T: Any


class Frontier(NamedTuple):
    """Constants of a compute frontier, in FLOP: ``L* = E + K C^-gamma`` and ``N* = G C^a``.

    ``w`` is the curvature in ``ln N``: near the optimum the excess loss is
    ``K C^-gamma (1 + w ln(N/N*)^2)``. With `E` these are the parameters of the law ``isoflop``.
    """

    K: Any
    gamma: Any
    w: Any
    G: Any
    a: Any


def compute_mean(flops: Any, E: Any, K: Any, gamma: Any) -> Any:
    """A power law in compute with a floor, ``L = E + K C^-gamma``, for compute-optimal runs."""
    return E + K * flops**-gamma


def compute_no_floor_mean(flops: Any, K: Any, gamma: Any) -> Any:
    """A power law in compute that falls to zero, ``L = K C^-gamma``.

    As printed for image diffusion (arXiv:2410.08184: ``2.3943 C^-0.0273``) and for FID. A loss has
    a floor; where this law and ``compute`` agree on the data they part far from them.
    """
    return K * flops**-gamma


def isoflop_mean(
    N: Any, flops: Any, E: Any, K: Any, gamma: Any, w: Any, G: Any, a: Any, *, xp: Any
) -> Any:
    """IsoFLOP parabolas in ``ln N`` whose minimum moves: approach 2 of Hoffmann as one law.

    ::

        L = E + K C^-gamma (1 + w ln(N/N*)^2)      N* = G C^a      T* = C / (6 N*)

    All slices are fitted at once, so one parabola with few points borrows from the others. It is
    an expansion about the optimum: far from it a parabola is too kind. For the additive law
    ``w = alpha beta / 2`` (`additive_frontier`).
    """
    distance = xp.log(N) - xp.log(G) - a * xp.log(flops)
    return E + K * flops**-gamma * (1 + w * distance * distance)


def isoflop_optimum(flops: Any, G: Any, a: Any, *, multiplier: float = 6.0) -> Optimum:
    """Give ``N* = G C^a`` and ``T* = C / (k N*)``.

    Parameters
    ----------
    flops : array_like
        Training compute, FLOP.
    G, a : array_like
        In parameters and FLOP.
    multiplier : float, default 6
        ``k`` of ``C = k N T``.

    Examples
    --------
    >>> best = isoflop_optimum(1.5e21, G=0.0009, a=0.5681)  # image diffusion, 2410.08184
    >>> f"{best.N:.3g}"
    '9.65e+08'
    """
    N = G * flops**a
    return Optimum(N, flops / (multiplier * N))


def additive_optimum(
    flops: Any, A: Any, B: Any, alpha: Any, beta: Any, *, multiplier: float = 6.0
) -> Optimum:
    """Give the size and length of least loss of the additive law at each budget.

    ::

        N* = G (C/k)^a      T* = (C/k)^b / G      G = (alpha A / (beta B))^(1/(alpha + beta))
        a = beta / (alpha + beta)      b = alpha / (alpha + beta)

    Parameters
    ----------
    flops : array_like
        Training compute, FLOP.
    A, B, alpha, beta : array_like
        Parameters of the additive law (the floor does not matter); draws broadcast.
    multiplier : float, default 6
        ``k`` of ``C = k N T``.

    References
    ----------
    Hoffmann et al. 2022 (arXiv:2203.15556), eq. 4.

    Examples
    --------
    >>> best = additive_optimum(6e6, A=1.0, B=1.0, alpha=0.5, beta=0.5)
    >>> round(best.N), round(best.T)
    (1000, 1000)
    """
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    pairs = flops / multiplier
    N = G * pairs ** (beta / (alpha + beta))
    return Optimum(N, pairs / N)


def additive_frontier(
    A: Any, B: Any, alpha: Any, beta: Any, *, multiplier: float = 6.0
) -> Frontier:
    """Give the compute frontier of the additive law as constants in FLOP.

    With them the law ``compute`` gives the loss of compute-optimal runs, exactly, and the law
    ``isoflop`` the loss about the optimum, to second order in ``ln(N/N*)``.
    """
    total = alpha + beta
    G = (alpha * A / (beta * B)) ** (1 / total)
    a, gamma = beta / total, alpha * beta / total
    K = (A * G**-alpha + B * G**beta) * multiplier**gamma
    return Frontier(K=K, gamma=gamma, w=alpha * beta / 2, G=G * multiplier**-a, a=a)


_FLOOR = Parameter("positive", "nats", "irreducible loss", "floor")
_TERM = Parameter(
    "positive", "nats", "loss due to finite compute, at one FLOP", "compute_term",
    {"flops": "gamma"},
)  # fmt: skip
_EXPONENT = Parameter("positive", "", "exponent of compute", "exponent")

compute = register(
    Law(
        name="compute",
        inputs=("flops",),
        parameters={"E": _FLOOR, "K": _TERM, "gamma": _EXPONENT},
        mean=compute_mean,
        formula="L = E + K C^-gamma",
        latex=r"L = E + K C^{-\gamma}",
        reference="Henighan et al. 2020, arXiv:2010.14701",
    )
)

compute_no_floor = register(
    Law(
        name="compute_no_floor",
        inputs=("flops",),
        parameters={"K": _TERM, "gamma": _EXPONENT},
        mean=compute_no_floor_mean,
        formula="L = K C^-gamma",
        latex=r"L = K C^{-\gamma}",
        reference="Liang et al. 2024, arXiv:2410.08184",
    )
)

isoflop = register(
    Law(
        name="isoflop",
        inputs=("N", "flops"),
        parameters={
            "E": _FLOOR,
            "K": _TERM,
            "gamma": _EXPONENT,
            "w": Parameter("positive", "", "curvature of a slice in ln N", "curvature"),
            "G": Parameter(
                "positive",
                "parameters",
                "best size at one FLOP",
                "scale",
                {"flops": "-a"},
                of="N",
            ),
            "a": Parameter("unit", "", "exponent of the best size", "optimum_exponent"),
        },
        mean=isoflop_mean,
        formula="L = E + K C^-gamma (1 + w ln(N/N*)^2), N* = G C^a",
        latex=r"L = E + K C^{-\gamma} \left(1 + w \ln^2 (N/N^*)\right),\ N^* = G C^a",
        reference="Hoffmann et al. 2022, arXiv:2203.15556, approach 2, as one law",
    )
)
