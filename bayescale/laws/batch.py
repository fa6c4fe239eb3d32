"""The price of a large batch: tokens and steps to a target against batch size.

``batch_size`` and ``B_crit`` share one unit (tokens, or samples throughout), and so do ``T`` and
``T_min``.
"""

from __future__ import annotations

from typing import Any

from bayescale.laws.law import Law, Parameter, register


def tokens_to_target(batch_size: Any, T_min: Any, B_crit: Any) -> Any:
    """Tokens needed to reach a fixed loss, ``T = T_min (1 + B/B_crit)``.

    At the critical batch size a run needs twice the tokens of a small batch and twice the steps of
    a large one.

    References
    ----------
    McCandlish et al. 2018 (arXiv:1812.06162): ``(S/S_min - 1)(T/T_min - 1) = 1``.
    """
    return T_min * (1 + batch_size / B_crit)


def steps_to_target(batch_size: Any, S_min: Any, B_crit: Any) -> Any:
    """Steps needed to reach the same loss, ``S = S_min (1 + B_crit/B)``.

    The same statement as `tokens_to_target`: ``T = S B`` and ``T_min = S_min B_crit``.

    Examples
    --------
    >>> float(steps_to_target(512, S_min=1000.0, B_crit=512))
    2000.0
    """
    return S_min * (1 + B_crit / batch_size)


def batch_at_overhead(extra: Any, B_crit: Any) -> Any:
    """Give the batch size that costs a given share of extra tokens: ``B = extra * B_crit``.

    Parameters
    ----------
    extra : array_like
        0.2 for 20 % more tokens than the smallest batch would need.
    """
    return extra * B_crit


critical_batch = register(
    Law(
        name="critical_batch",
        inputs=("batch_size",),
        parameters={
            "T_min": Parameter("positive", "tokens", "tokens needed by a small batch", "floor"),
            "B_crit": Parameter(
                "positive", "tokens", "critical batch size", "scale", of="batch_size"
            ),
        },
        mean=tokens_to_target,
        formula="T = T_min (1 + batch_size/B_crit)",
        latex=r"T = T_{\min} (1 + B/B_{\mathrm{crit}})",
        response="T",
        reference="McCandlish et al. 2018, arXiv:1812.06162",
    )
)
