"""The price of a large batch: tokens and steps to a target against batch size.

``batch_size`` and ``B_crit`` share one unit (tokens, or samples throughout), and so do ``T`` and
``T_min``. Three curves, from the simplest to the one with an optimum inside:

- the hyperbola ``(S/S_min - 1)(T/T_min - 1) = 1``: `tokens_to_target`, `steps_to_target`;
- the same with a shape, ``([S/S_min]^a - 1)([T/T_min]^a - 1) = 1``: `tokens_on_hyperbola`;
- ``([S/S_min]^a - 1)([B/B_min]^a - 1) = 1``: `iso_loss_steps`, where batches below ``B_min`` never
  reach the target and tokens are least at a batch between.
"""

from __future__ import annotations

from typing import Any

from bayescale.laws.law import Law, Parameter, register

MCCANDLISH = "McCandlish et al. 2018, arXiv:1812.06162"


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


def batch_at_overhead(extra: Any, B_crit: Any, shape: Any = 1.0) -> Any:
    """Give the batch size that costs a given share of extra tokens: ``B = extra * B_crit``.

    Parameters
    ----------
    extra : array_like
        0.2 for 20 % more tokens than the smallest batch would need.
    B_crit : array_like
    shape : array_like, default 1
        Of the curve: ``B = B_crit ((1 + extra)^a - 1)^(1/a)``.
    """
    if isinstance(shape, float) and shape == 1.0:
        return extra * B_crit
    return B_crit * ((1 + extra) ** shape - 1) ** (1 / shape)


def tokens_on_hyperbola(batch_size: Any, T_min: Any, B_crit: Any, shape: Any, *, xp: Any) -> Any:
    """Tokens to the target with a sharper or softer turn: ``T = T_min (1 + (B/B_crit)^a)^(1/a)``.

    Shape 1 is `tokens_to_target`; a larger one keeps perfect scaling longer and turns sharply, and
    in the limit tokens are ``T_min max(1, B/B_crit)``. Far from ``B_crit`` on either side the shape
    does not matter: small batches need ``T_min`` tokens, large ones ``T_min/B_crit`` steps.
    """
    log_tokens = xp.logaddexp(0.0, shape * xp.log(batch_size / B_crit)) / shape
    return T_min * xp.exp(log_tokens)


def iso_loss_steps(batch_size: Any, S_min: Any, B_min: Any, shape: Any, *, xp: Any) -> Any:
    """Steps to the target where small batches fail: ``([S/S_min]^a - 1)([B/B_min]^a - 1) = 1``.

    At and below ``B_min`` no number of steps suffices, and the answer is not a number or infinite.
    ``batch_size`` times this is the number of tokens, which has its minimum at `iso_loss_optimum`.

    References
    ----------
    von Rutte et al. 2025 (arXiv:2512.10858), discrete diffusion language models.
    """
    return S_min * (-xp.expm1(-shape * xp.log(batch_size / B_min))) ** (-1 / shape)


def iso_loss_optimum(S_min: Any, B_min: Any, shape: Any) -> tuple[Any, Any]:
    """Batch size and steps with the fewest tokens: ``2^(1/a) B_min`` and ``2^(1/a) S_min``.

    Examples
    --------
    >>> [float(x) for x in iso_loss_optimum(S_min=1000.0, B_min=64.0, shape=1.0)]
    [128.0, 2000.0]
    """
    return 2 ** (1 / shape) * B_min, 2 ** (1 / shape) * S_min


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
        reference=MCCANDLISH,
    )
)


def batch_law(
    *,
    batch: str = "batch_size",
    answer: str = "T",
    unit: str = "tokens",
    answer_unit: str = "tokens",
    along: str | None = None,
    T_min_along: bool = False,
    shaped: bool = False,
) -> Law:
    """The law of an answer (tokens, samples, epochs or steps to a target) against batch size.

    Parameters
    ----------
    batch : str, default "batch_size"
        Column with the batch size, which is the law's input.
    answer : str, default "T"
        Column that the law predicts. ``"step"`` predicts steps, and ``T_min`` keeps the unit of
        the batch.
    unit, answer_unit : str, default "tokens"
        Of the batch size, and of the answer.
    along : str, optional
        A column (``"N"``, ``"T_planned"``, ``"target_loss"``) with which the critical batch size
        moves: ``B_crit = B_crit_coefficient * along^B_crit_exponent``.
    T_min_along : bool, default False
        Let ``T_min`` move with it as well, as a power law of its own.
    shaped : bool, default False
        `tokens_on_hyperbola` with its shape, in place of `tokens_to_target`.

    Returns
    -------
    Law
        With the parameters ``T_min`` and ``B_crit``, or ``..._coefficient`` and ``..._exponent``
        where they are power laws, and ``shape``.

    Examples
    --------
    >>> batch_law(along="N").formula
    'T = T_min (1 + batch_size/B_crit), B_crit = B_crit_coefficient N^B_crit_exponent'
    """
    steps = answer == "step"
    parameters: dict[str, Parameter] = {}
    parameters |= _constant_or_power(
        "T_min", unit if steps else answer_unit, "need of a small batch", "floor",
        batch if steps else "", along if T_min_along else None,
    )  # fmt: skip
    parameters |= _constant_or_power("B_crit", unit, "critical batch size", "scale", batch, along)
    if shaped:
        parameters["shape"] = Parameter("positive", "", "shape of the turn", "shape")

    def mean(*, xp: Any, **given: Any) -> Any:
        T_min, B_crit = (power_or_constant(name, given, along) for name in ("T_min", "B_crit"))
        tokens = (
            tokens_on_hyperbola(given[batch], T_min, B_crit, given["shape"], xp=xp)
            if shaped
            else tokens_to_target(given[batch], T_min, B_crit)
        )
        return tokens / given[batch] if steps else tokens

    ratio = f"{batch}/B_crit"
    curve = f"(1 + ({ratio})^shape)^(1/shape)" if shaped else f"(1 + {ratio})"
    powers = [
        f", {name} = {name}_coefficient {along}^{name}_exponent"
        for name, moves in (("T_min", T_min_along), ("B_crit", True))
        if along and moves
    ]
    return Law(
        name=_name(batch, answer, along, T_min_along, shaped),
        inputs=(batch, along) if along else (batch,),
        parameters=parameters,
        mean=mean,
        formula=f"{answer} = T_min {curve}" + (f"/{batch}" if steps else "") + "".join(powers),
        response=answer,
        reference=MCCANDLISH,
    )


def power_or_constant(name: str, values: Any, along: str | None) -> Any:
    """``T_min`` or ``B_crit`` from the parameters of a `batch_law`, at ``values[along]``."""
    if along and f"{name}_coefficient" in values:
        return values[f"{name}_coefficient"] * values[along] ** values[f"{name}_exponent"]
    return values[name]


def _constant_or_power(
    name: str, unit: str, meaning: str, role: str, of: str, along: str | None
) -> dict[str, Parameter]:
    if along is None:
        return {name: Parameter("positive", unit, meaning, role, of=of)}
    exponent = f"{name}_exponent"
    powers = {along: f"-{exponent}"}
    return {
        f"{name}_coefficient": Parameter(
            "positive", unit, f"{meaning}, before the power of {along}", role, powers, of=of
        ),
        exponent: Parameter("real", "", f"power of {along}: {meaning}", "shape"),
    }


def _name(batch: str, answer: str, along: str | None, T_min_along: bool, shaped: bool) -> str:
    """``critical_batch`` for the registered law, and something that tells for any other."""
    told = [] if (batch, answer) == ("batch_size", "T") else [f"{answer} of {batch}"]
    told += ["shaped"] if shaped else []
    told += [f"along {along}" + (" with T_min" if T_min_along else "")] if along else []
    return "critical_batch" + (f" ({', '.join(told)})" if told else "")
