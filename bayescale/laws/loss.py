"""Laws of the loss over size and data, L(N, T).

N counts parameters and T training tokens, both as they are (7e10, not 70). Parameters follow the
published conventions, so printed constants go straight in. A law whose standard form needs
reference scales gets them as ``N_0`` and ``T_0``.
"""

from __future__ import annotations

from typing import Any

from bayescale.laws.law import Law, Parameter, register

FLOOR = Parameter(unit="loss", meaning="irreducible loss", role="floor")
ALPHA = Parameter(meaning="exponent of size", role="exponent")
BETA = Parameter(meaning="exponent of data", role="exponent")
SIZE_TERM = Parameter(
    unit="loss", meaning="coefficient of size, at N = 1", role="size_term", prefactor={"N": "alpha"}
)
DATA_TERM = Parameter(
    unit="loss", meaning="coefficient of data, at T = 1", role="data_term", prefactor={"T": "beta"}
)


def additive(N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
    """``L = E + A N^-alpha + B T^-beta``.

    Approach 3 of Hoffmann et al. 2022 (2203.15556). The video paper's law (2411.17470, Table 3)
    is the same with N and T in billions and the numerators outside the powers.
    """
    return E + A * N**-alpha + B * T**-beta


def coupled(xp: Any, N: Any, T: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
    """``L = [(A N^-alpha)^(1/beta) + (B T^-beta)^(1/beta)]^beta``.

    Equation 1.5 of Kaplan et al. 2020 (2001.08361), ``[(N_c/N)^(alpha/beta) + T_c/T]^beta``, with
    ``A = N_c^alpha`` and ``B = T_c^beta``: the loss is ``A N^-alpha`` with endless data and
    ``B T^-beta`` with an endless model, and falls to zero with both.
    """
    log_size = xp.log(A) - alpha * xp.log(N)
    log_data = xp.log(B) - beta * xp.log(T)
    return xp.exp(beta * xp.logaddexp(log_size / beta, log_data / beta))


def interacting(
    xp: Any, N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, kappa: Any,
    delta: Any, N_0: float, T_0: float,
) -> Any:  # fmt: skip
    """``L = E + A n^-alpha + B n^-kappa t^(-beta n^delta)``, with n = N / N_0 and t = T / T_0.

    The prefactor and the exponent of data drift with size. Farseer (2506.10972) has
    ``L = E + A(N) + B(N) T^-beta(N)`` with stretched exponentials; these are their power-law
    case. The additive law is ``kappa = delta = 0``.
    """
    log_n, log_t = xp.log(N / N_0), xp.log(T / T_0)
    return (
        E
        + A * xp.exp(-alpha * log_n)
        + B * xp.exp(-kappa * log_n - beta * xp.exp(delta * log_n) * log_t)
    )


def skaling(
    xp: Any, N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, k: Any
) -> Any:
    """``L = E + [(A N^-alpha)^(1/k) + (B T^-beta)^(1/k)]^k``.

    The family of Videau et al. 2026 (Skaling), ``E + A (N^-a + R T^-b)^k``, written so that the
    limits are ``E + A N^-alpha`` with endless data and ``E + B T^-beta`` with an endless model;
    their a and b are alpha / k and beta / k. The additive law is ``k = 1``.
    """
    log_size = xp.log(A) - alpha * xp.log(N)
    log_data = xp.log(B) - beta * xp.log(T)
    return E + xp.exp(k * xp.logaddexp(log_size / k, log_data / k))


def broken(
    xp: Any, N: Any, T: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, beta_2: Any, T_b: Any,
    s: Any,
) -> Any:  # fmt: skip
    """``L = E + A N^-alpha + B T^-beta [1 + (T / T_b)^(1/s)]^(-s (beta_2 - beta))``.

    A smooth break in data: exponent ``beta`` well below ``T_b`` tokens and ``beta_2`` well above,
    over about ``s`` e-folds (the one-break case of Caballero et al. 2022, 2210.14891).
    """
    log_t = xp.log(T)
    bend = xp.logaddexp(0.0 * log_t, (log_t - xp.log(T_b)) / s)
    return E + A * xp.exp(-alpha * xp.log(N)) + B * xp.exp(
        -beta * log_t - s * (beta_2 - beta) * bend
    )


def size(N: Any, E: Any, A: Any, alpha: Any) -> Any:
    """``L = E + A N^-alpha``: runs that differ in size only."""
    return E + A * N**-alpha


def data(T: Any, E: Any, B: Any, beta: Any) -> Any:
    """``L = E + B T^-beta``: runs that differ in data only."""
    return E + B * T**-beta


_ADDITIVE = {"E": FLOOR, "A": SIZE_TERM, "B": DATA_TERM, "alpha": ALPHA, "beta": BETA}
_AT_SCALE = {
    "A": Parameter(unit="loss", meaning="loss from finite size at N_0", role="size_term"),
    "B": Parameter(unit="loss", meaning="loss from finite data at N_0, T_0", role="data_term"),
}

register(
    Law("additive", ("N", "T"), _ADDITIVE, additive, "L = E + A N^-alpha + B T^-beta",
        reference="Hoffmann et al. 2022, 2203.15556, approach 3")
)  # fmt: skip
register(
    Law("coupled", ("N", "T"),
        {"A": SIZE_TERM, "B": DATA_TERM, "alpha": ALPHA, "beta": BETA},
        coupled, "L = [(A N^-alpha)^(1/beta) + (B T^-beta)^(1/beta)]^beta",
        reference="Kaplan et al. 2020, 2001.08361, equation 1.5, A = N_c^alpha, B = T_c^beta")
)  # fmt: skip
register(
    Law("interacting", ("N", "T"),
        {
            **_ADDITIVE, **_AT_SCALE,
            "kappa": Parameter("real", meaning="drift of the data term with size", role="shape"),
            "delta": Parameter("real", meaning="drift of the data exponent with size", role="shape"),
        },
        interacting,
        "L = E + A (N/N_0)^-alpha + B (N/N_0)^-kappa (T/T_0)^(-beta (N/N_0)^delta)",
        scales={"N": 1e9, "T": 2e10},
        reference="power-law case of Farseer, 2506.10972")
)  # fmt: skip
register(
    Law("skaling", ("N", "T"),
        {**_ADDITIVE, "k": Parameter(meaning="coupling of size and data; 1 adds them", role="shape")},
        skaling, "L = E + [(A N^-alpha)^(1/k) + (B T^-beta)^(1/k)]^k",
        reference="Videau et al. 2026, Skaling")
)  # fmt: skip
register(
    Law("broken", ("N", "T"),
        {
            **_ADDITIVE,
            "beta_2": Parameter(meaning="exponent of data beyond the break", role="exponent"),
            "T_b": Parameter(unit="tokens", meaning="tokens at the break", role="scale", of="T"),
            "s": Parameter(meaning="width of the break, e-folds", role="shape"),
        },
        broken, "L = E + A N^-alpha + B T^-beta [1 + (T / T_b)^(1/s)]^(-s (beta_2 - beta))",
        reference="Caballero et al. 2022, 2210.14891, one break")
)  # fmt: skip
register(
    Law("size", ("N",), {"E": FLOOR, "A": SIZE_TERM, "alpha": ALPHA}, size,
        "L = E + A N^-alpha")
)  # fmt: skip
register(
    Law("data", ("T",), {"E": FLOOR, "B": DATA_TERM, "beta": BETA}, data, "L = E + B T^-beta")
)
