"""Laws of the loss against size and data, ``L(N, T)``.

``N`` is the number of parameters, ``T`` the training tokens, ``L`` the loss in nats (or in the unit
of whatever is modelled). Natural parameters follow the published convention: prefactors are what a
term would be at one parameter or one token, so that printed constants go straight in. `interacting`
alone is written about reference scales ``N0`` and ``T0``, since its exponents depend on size.

Powers are taken in logs where their base or exponent can leave the range of floating point.
"""

from __future__ import annotations

from typing import Any

from bayescale.laws.law import Law, Parameter, register

FARTHEST = 300.0
"""Log of the largest drift or term: beyond it values are held, so that gradients stay numbers."""


def additive_mean(N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, *, xp: Any) -> Any:
    """Two power laws and a floor: ``L = E + A N^-alpha + B T^-beta``.

    References
    ----------
    Hoffmann et al. 2022 (arXiv:2203.15556), approach 3. The video diffusion law of
    arXiv:2411.17470 is the same with N and T in units of 1e9.
    """
    # exp(-alpha log N), not N**-alpha: the logarithm of data is constant to a compiler, and the
    # power is not; the gradient costs a third
    return E + A * xp.exp(-alpha * xp.log(N)) + B * xp.exp(-beta * xp.log(T))


def size_mean(N: Any, E: Any, A: Any, alpha: Any, *, xp: Any) -> Any:
    """A power law in size with a floor, ``L = E + A N^-alpha``: enough data, or one amount."""
    return E + A * xp.exp(-alpha * xp.log(N))


def data_mean(T: Any, E: Any, B: Any, beta: Any, *, xp: Any) -> Any:
    """A power law in data with a floor, ``L = E + B T^-beta``: one model size."""
    return E + B * xp.exp(-beta * xp.log(T))


def coupled_mean(N: Any, T: Any, A: Any, B: Any, alpha: Any, beta: Any, *, xp: Any) -> Any:
    """Size and data that limit each other, no floor: ``L = [(N_c/N)^(alpha/beta) + T_c/T]^beta``.

    Written with ``A = N_c^alpha`` and ``B = T_c^beta`` as ::

        L = [(A N^-alpha)^(1/beta) + (B T^-beta)^(1/beta)]^beta

    so that ``L -> A N^-alpha`` with much data and ``B T^-beta`` with a large model. The printed
    scales ``N_c`` and ``T_c`` lie many decades beyond any run and change with the exponents; `A`
    and `B` are judged where the data are, as in the other laws. `coupled_scales` and
    `coupled_prefactors` convert.

    References
    ----------
    Kaplan et al. 2020 (arXiv:2001.08361), eq. 1.5; their ``alpha_N``, ``alpha_D``, ``D_c`` are our
    ``alpha``, ``beta``, ``T_c``.
    """
    size = xp.log(A) - alpha * xp.log(N)
    data = xp.log(B) - beta * xp.log(T)
    return xp.exp(beta * _log_sum(size / beta, data / beta, xp))


def skaling_mean(
    N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, k: Any, *, xp: Any
) -> Any:
    """A floor, and a size and a data term that combine like a norm.

    ::

        L = E + [(A N^-alpha)^(1/k) + (B T^-beta)^(1/k)]^k

    ``k = 1`` is the additive law; ``k -> 0`` lets the larger term alone decide; for ``k > 1`` a
    shortage of both costs more than the sum. The limits of much data and of a large model are
    ``E + A N^-alpha`` and ``E + B T^-beta`` for every ``k``.

    References
    ----------
    Videau, Youbi-Idrissi, Lopez-Paz and Ahuja 2026, *Skaling*. Theirs is
    ``E + A' (N^-a + R T^-b)^k``, the same family: ``a = alpha/k``, ``b = beta/k``,
    ``A' = A``, ``R = (B/A)^(1/k)``.
    """
    size = xp.log(A) - alpha * xp.log(N)
    data = xp.log(B) - beta * xp.log(T)
    return E + xp.exp(k * _log_sum(size / k, data / k, xp))


def interacting_mean(
    N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, kappa: Any, delta: Any,
    N0: Any, T0: Any, *, xp: Any,
) -> Any:  # fmt: skip
    """A data term whose height and exponent drift with size.

    ::

        L = E + A (N/N0)^-alpha + B (N/N0)^-kappa (T/T0)^-b(N)      b(N) = beta (N/N0)^delta

    ``A`` and ``B`` are losses at the reference point ``(N0, T0)``. ``kappa = delta = 0`` is the
    additive law. A fit puts ``N0`` and ``T0`` at the geometric means of its data
    (`Law.at_scales`), so that ``kappa`` and ``delta`` do not trade against ``B``.

    References
    ----------
    The idea that ``B`` and ``beta`` depend on size is Farseer's (arXiv:2506.10972), whose ``A(N)``,
    ``B(N)`` and ``beta(N)`` are stretched exponentials; these are the power-law case.
    """
    size = xp.log(N / N0)
    exponent = beta * xp.exp(xp.minimum(delta * size, FARTHEST))
    data = -kappa * size - exponent * xp.log(T / T0)
    return E + A * xp.exp(-alpha * size) + B * xp.exp(xp.minimum(data, FARTHEST))


def broken_mean(
    N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, beta_2: Any, T_b: Any, s: Any,
    *, xp: Any,
) -> Any:  # fmt: skip
    """A data term whose exponent changes smoothly from ``beta`` to ``beta_2`` around ``T_b``.

    ::

        L = E + A N^-alpha + B T^-beta [1 + (T/T_b)^(1/s)]^(-s (beta_2 - beta))

    ``s`` is the width of the bend in e-folds of ``T``: ``s -> 0`` is a kink.

    References
    ----------
    Caballero et al. 2022 (arXiv:2210.14891), a smoothly broken power law with one break.
    """
    bend = _log_sum(0.0, xp.log(T / T_b) / s, xp)
    data = xp.log(B) - beta * xp.log(T) - s * (beta_2 - beta) * bend
    return E + A * N**-alpha + xp.exp(data)


def coupled_prefactors(N_c: Any, T_c: Any, alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Give ``A`` and ``B`` of the coupled law for printed scales ``N_c`` and ``T_c``.

    Examples
    --------
    >>> coupled_prefactors(N_c=1e12, T_c=1e10, alpha=0.25, beta=0.5)
    (1000.0, 100000.0)
    """
    return N_c**alpha, T_c**beta


def coupled_scales(A: Any, B: Any, alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Give ``N_c`` (parameters) and ``T_c`` (tokens) of the coupled law, as Kaplan prints them."""
    return A ** (1 / alpha), B ** (1 / beta)


def _log_sum(a: Any, b: Any, xp: Any) -> Any:
    """``log(exp(a) + exp(b))`` with exact gradients everywhere, equal arguments included."""
    half = xp.abs(a - b) / 2
    return (a + b) / 2 + half + xp.log1p(xp.exp(-2 * half))


FLOOR = Parameter(
    "positive", "nats", "irreducible loss: what neither size nor data can lower", "floor"
)
SIZE_TERM = Parameter(
    "positive", "nats", "loss due to finite size, at one parameter", "size_term", {"N": "alpha"}
)
DATA_TERM = Parameter(
    "positive", "nats", "loss due to finite data, at one token", "data_term", {"T": "beta"}
)
SIZE_EXPONENT = Parameter("positive", "", "exponent of size", "exponent")
DATA_EXPONENT = Parameter("positive", "", "exponent of data", "exponent")

additive = register(
    Law(
        name="additive",
        inputs=("N", "T"),
        parameters={
            "E": FLOOR,
            "A": SIZE_TERM,
            "B": DATA_TERM,
            "alpha": SIZE_EXPONENT,
            "beta": DATA_EXPONENT,
        },
        mean=additive_mean,
        formula="L = E + A N^-alpha + B T^-beta",
        latex=r"L = E + A N^{-\alpha} + B T^{-\beta}",
        reference="Hoffmann et al. 2022, arXiv:2203.15556, approach 3",
    )
)

coupled = register(
    Law(
        name="coupled",
        inputs=("N", "T"),
        parameters={
            "A": Parameter(
                "positive", "nats", "N_c^alpha: loss of one parameter with much data", "size_term",
                {"N": "alpha"},
            ),
            "B": Parameter(
                "positive", "nats", "T_c^beta: loss of a large model at one token", "data_term",
                {"T": "beta"},
            ),
            "alpha": SIZE_EXPONENT,
            "beta": DATA_EXPONENT,
        },
        mean=coupled_mean,
        formula="L = [(A N^-alpha)^(1/beta) + (B T^-beta)^(1/beta)]^beta",
        latex=r"L = \left[(A N^{-\alpha})^{1/\beta} + (B T^{-\beta})^{1/\beta}\right]^{\beta}",
        reference="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5, with A = N_c^alpha, B = T_c^beta",
    )
)  # fmt: skip

interacting = register(
    Law(
        name="interacting",
        inputs=("N", "T"),
        parameters={
            "E": FLOOR,
            "A": Parameter("positive", "nats", "loss due to finite size at N0", "size_term"),
            "B": Parameter("positive", "nats", "loss due to finite data at N0, T0", "data_term"),
            "alpha": SIZE_EXPONENT,
            "beta": Parameter("positive", "", "exponent of data at N0", "exponent"),
            "kappa": Parameter("real", "", "fall of the data term with size", "shape"),
            "delta": Parameter("real", "", "drift of the exponent of data with size", "shape"),
        },
        mean=interacting_mean,
        formula="L = E + A (N/N0)^-alpha + B (N/N0)^-kappa (T/T0)^-(beta (N/N0)^delta)",
        latex=r"L = E + A (N/N_0)^{-\alpha} + B (N/N_0)^{-\kappa}"
        r" (T/T_0)^{-\beta (N/N_0)^{\delta}}",
        scales={"N": 1e8, "T": 1e10},  # arbitrary until a fit sets them
        reference="after Farseer, Li et al. 2025, arXiv:2506.10972 (power-law case)",
    )
)

skaling = register(
    Law(
        name="skaling",
        inputs=("N", "T"),
        parameters={
            **additive.parameters,
            "k": Parameter("positive", "", "coupling of the terms; 1 adds them", "shape"),
        },
        mean=skaling_mean,
        formula="L = E + [(A N^-alpha)^(1/k) + (B T^-beta)^(1/k)]^k",
        latex=r"L = E + \left[(A N^{-\alpha})^{1/k} + (B T^{-\beta})^{1/k}\right]^k",
        reference="Videau, Youbi-Idrissi, Lopez-Paz and Ahuja 2026, Skaling",
    )
)

broken = register(
    Law(
        name="broken",
        inputs=("N", "T"),
        parameters={
            **additive.parameters,
            "beta_2": Parameter("positive", "", "exponent of data far above T_b", "exponent"),
            "T_b": Parameter("positive", "tokens", "where the exponent changes", "scale", of="T"),
            "s": Parameter("positive", "", "width of the bend, e-folds of T", "shape"),
        },
        mean=broken_mean,
        formula="L = E + A N^-alpha + B T^-beta (1 + (T/T_b)^(1/s))^(-s (beta_2 - beta))",
        latex=r"L = E + A N^{-\alpha} + B T^{-\beta}"
        r" \left(1 + (T/T_b)^{1/s}\right)^{-s(\beta_2 - \beta)}",
        reference="after Caballero et al. 2022, arXiv:2210.14891",
    )
)

size = register(
    Law(
        name="size",
        inputs=("N",),
        parameters={"E": FLOOR, "A": SIZE_TERM, "alpha": SIZE_EXPONENT},
        mean=size_mean,
        formula="L = E + A N^-alpha",
        latex=r"L = E + A N^{-\alpha}",
        reference="the one-axis case of the additive law",
    )
)

data = register(
    Law(
        name="data",
        inputs=("T",),
        parameters={"E": FLOOR, "B": DATA_TERM, "beta": DATA_EXPONENT},
        mean=data_mean,
        formula="L = E + B T^-beta",
        latex=r"L = E + B T^{-\beta}",
        reference="the one-axis case of the additive law",
    )
)
