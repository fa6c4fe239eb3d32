"""The law of repeated data: what the tenth epoch is still worth.

``U`` is the number of unique tokens, ``T`` the tokens trained on, so ``T/U`` the epochs.
"""

from __future__ import annotations

from typing import Any

from bayescale.laws.law import Law, Parameter, register
from bayescale.laws.namespaces import as_argument, namespace


def repeated_mean(
    N: Any, T: Any, U: Any, E: Any, A: Any, B: Any, alpha: Any, beta: Any, R_N: Any, R_D: Any,
    *, xp: Any,
) -> Any:  # fmt: skip
    """The additive law in effective size and effective data.

    ::

        L = E + A N_eff^-alpha + B T_eff^-beta
        T_eff = U_D + U_D R_D (1 - exp(-(T/U_D - 1) / R_D))      U_D = min(T, U)
        N_eff = U_N + U_N R_N (1 - exp(-(N/U_N - 1) / R_N))      U_N = min(N, N_opt(U_D))

    Each repetition is worth less than the one before; after about ``R_D`` of them little is left.
    A model larger than the best one for its unique tokens is discounted in the same way.

    ``N_opt(U)`` is the size for which ``U`` tokens are compute-optimal under the law's own
    constants, ``(alpha A / (beta B))^(1/alpha) U^(beta/alpha)``: where a percent more size and a
    percent more data are worth the same. With ``alpha = beta`` it is the published ``G^2 U``. No
    constant beyond the parameters is needed, and ``C = k N T`` gives the same for any ``k``.

    As ``R_N, R_D -> inf`` it is the additive law. Sizes and amounts are kept in logs, since
    ``N_opt`` overflows where a sampler tries a small ``alpha``.

    References
    ----------
    Muennighoff et al. 2023 (arXiv:2305.16264). Their ``R_D*``, ``R_N*`` are our ``R_D``, ``R_N``.
    """
    unique = xp.minimum(T, U)
    log_size = xp.minimum(xp.log(N), log_matched_size(unique, A, B, alpha, beta, xp))
    log_data_eff = log_discounted(xp.log(T), xp.log(unique), R_D, xp)
    log_size_eff = log_discounted(xp.log(N), log_size, R_N, xp)
    return E + A * xp.exp(-alpha * log_size_eff) + B * xp.exp(-beta * log_data_eff)


def matched_size(U: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
    """Give the size (parameters) for which ``U`` unique tokens are compute-optimal.

    Examples
    --------
    >>> round(float(matched_size(1e9, A=1.0, B=4.0, alpha=0.5, beta=0.5)) / 1e9, 6)
    0.0625
    """
    xp = namespace(U, A, B, alpha, beta)
    U, A, B, alpha, beta = (as_argument(value) for value in (U, A, B, alpha, beta))
    return xp.exp(log_matched_size(U, A, B, alpha, beta, xp))


def log_matched_size(U: Any, A: Any, B: Any, alpha: Any, beta: Any, xp: Any) -> Any:
    """Log of `matched_size`: with small exponents the size itself leaves the floating range."""
    return (xp.log(alpha * A) - xp.log(beta * B) + beta * xp.log(U)) / alpha


def log_discounted(log_amount: Any, log_unique: Any, worth: Any, xp: Any) -> Any:
    """Log of the effective amount when ``unique`` of it is new and the rest repeats.

    ``unique (1 + worth (1 - exp(-(amount/unique - 1)/worth)))``: ``amount`` itself where nothing
    repeats, ``unique (1 + worth)`` at most. All of it is spent long before ``e^500`` repeats, where
    the ratio is held so that its gradient stays a number.
    """
    repeats = xp.expm1(xp.minimum(log_amount - log_unique, 500.0))
    return log_unique + xp.log1p(-worth * xp.expm1(-repeats / worth))


repeated = register(
    Law(
        name="repeated",
        inputs=("N", "T", "U"),
        parameters={
            "E": Parameter("positive", "nats", "irreducible loss", "floor"),
            "A": Parameter(
                "positive",
                "nats",
                "loss due to finite size, at one parameter",
                "size_term",
                {"N": "alpha"},
            ),
            "B": Parameter(
                "positive", "nats", "loss due to finite data, at one token", "data_term",
                {"T": "beta"},
            ),
            "alpha": Parameter("positive", "", "exponent of effective size", "exponent"),
            "beta": Parameter("positive", "", "exponent of effective data", "exponent"),
            "R_N": Parameter("positive", "repeats", "worth of excess size", "repeats"),
            "R_D": Parameter("positive", "epochs", "worth of repeated data", "repeats"),
        },
        mean=repeated_mean,
        formula="L = E + A N_eff^-alpha + B T_eff^-beta, "
        "T_eff = U (1 + R_D (1 - exp(-(T/U - 1)/R_D))), N_eff likewise with R_N",
        latex=r"L = E + A N_{\mathrm{eff}}^{-\alpha} + B T_{\mathrm{eff}}^{-\beta},\ "
        r"T_{\mathrm{eff}} = U \left(1 + R_D (1 - e^{-(T/U - 1)/R_D})\right)",
        reference="Muennighoff et al. 2023, arXiv:2305.16264",
    )
)  # fmt: skip
