"""What a law is: a pure function of named inputs and parameters, and what is known about each.

A law states facts: symbols, supports, units, which parameter multiplies which power of which input.
Judgement (priors, noise, pooling) is the business of `bayescale.models`.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bayescale.errors import SpecError
from bayescale.laws.namespaces import as_argument, namespace

Support = Literal["positive", "real", "unit"] | tuple[float, float]

ROLES: dict[str, str] = {
    "": "nothing is known beyond the support",
    "floor": "what remains of the response in the limit; in its unit, positive",
    "size_term": "prefactor of what finite size adds to the response",
    "data_term": "prefactor of what finite data add to the response",
    "compute_term": "prefactor of what finite compute adds to the response",
    "exponent": "of a power of size, data or compute",
    "optimum_exponent": "of the best size against compute; between 0 and 1",
    "scale": "a place on the axis of an input, in its unit (see `Parameter.of`)",
    "shape": "without dimension; 1 (positive) or 0 (real) where the simpler law holds",
    "curvature": "second derivative of the log excess loss in log size, halved",
    "repeats": "how many repetitions are worth something",
    "optimum": "best value of a hyperparameter, before the powers it moves with",
    "optimum_power": "power of an input in the best value of a hyperparameter",
    "batch_power": "the same for the best batch size",
    "rate_power": "the same for the best learning rate",
    "batch_coupling": "power of B/B* in the best learning rate",
    "noise_scale": "batch at which gradient noise matters, as a multiple of the best batch",
    "price": "curvature of the price of missing an optimum, log loss per squared e-fold",
    "price_power": "power of an input in such a price",
    "rise": "exponent of that price far above the optimum",
    "fall": "exponent of that price far below the optimum",
    "ceiling": "most that a miss can cost, log loss",
    "switch_loss": "effect of a 0/1 attribute on log loss",
    "switch_optimum": "shift of the log of an optimum by a 0/1 attribute",
    "switch_power": "change of the best rate's power of N by a 0/1 attribute",
    "mup_power": "the same by muP, which is made to cancel that power",
}
"""What a parameter can be. Default priors are looked up by role."""

RESERVED = frozenset(
    "xp chain draw sample family reading point config run sigma nu config_share run_share "
    "correlation_length noise_slope undertuned_share undertuned_scale price_noise misfit "
    "misfit_length misfit_at cell_sigma cell cliff cliff_width cliff_N cliff_T cliff_B "
    "batch_scatter rate_scatter batch_offset rate_offset size "
    "batch_scatter_N rate_scatter_N batch_offset_N rate_offset_N".split()
)
"""Names that a fit uses for itself; no input or parameter may carry them."""


@dataclass(frozen=True)
class Parameter:
    """What is known about one parameter of a law.

    Parameters
    ----------
    support : {"positive", "real", "unit"} or (low, high), default "positive"
        The values it can take; ``"unit"`` is between 0 and 1.
    unit : str, default ""
        Unit of the natural value, in words.
    meaning : str, default ""
        Half a sentence.
    role : str, default ""
        One of `ROLES`. Decides the default prior and whether families share it.
    prefactor : mapping of str to str, default {}
        ``{"N": "alpha"}``: the parameter stands before ``N**-alpha``. Its natural value is then
        what the term would be at one parameter, ten decades away from any data; a sampler uses
        the term at a pivot ``N0`` instead, ``A = a * N0**alpha``. ``{"flops": "-a"}`` says that it
        stands before ``flops**a``.
    of : str, default ""
        ``"N"``: measured in units of that input, so a sampler uses its ratio to the pivot.
    """

    support: Support = "positive"
    unit: str = ""
    meaning: str = ""
    role: str = ""
    prefactor: Mapping[str, str] = field(default_factory=dict, hash=False)
    of: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.support, str):
            if self.support not in ("positive", "real", "unit"):
                raise SpecError(
                    f"The support of a parameter is 'positive', 'real', 'unit' or (low, high); got "
                    f"{self.support!r}.{_near(self.support, ('positive', 'real', 'unit'))}"
                )
        else:
            object.__setattr__(self, "support", _interval(self.support))
        if self.role not in ROLES:
            raise SpecError(
                f"Unknown role {self.role!r}.{_near(self.role, ROLES)} Roles: "
                f"{', '.join(repr(r) for r in ROLES if r)}, or '' for none."
            )
        object.__setattr__(self, "prefactor", dict(self.prefactor))

    def contains(self, value: float) -> bool:
        """Whether a value lies strictly inside the support."""
        low, high = self.bounds
        return low < value < high

    @property
    def bounds(self) -> tuple[float, float]:
        """Open bounds of the support."""
        if isinstance(self.support, tuple):
            return self.support
        return {"positive": (0.0, math.inf), "real": (-math.inf, math.inf), "unit": (0.0, 1.0)}[
            self.support
        ]


@dataclass(frozen=True, repr=False)
class Law:
    """A law: ``response = mean(inputs, parameters)``.

    Parameters
    ----------
    name : str
        How it is asked for.
    inputs : tuple of str
        Columns of the runs it needs: ``N``, ``T``, ``flops``, or any name of yours.
    parameters : mapping of str to Parameter, str or (low, high)
        ``"positive"`` and ``(0, 2)`` are short for ``Parameter("positive")``,
        ``Parameter((0, 2))``.
    mean : callable
        Called by keyword with inputs, parameters and scales by name, and with ``xp`` if it has an
        argument of that name. Only arithmetic and functions of ``xp`` (see
        `bayescale.laws.namespaces.FUNCTIONS`), so that the body runs on NumPy, xarray, JAX and
        PyTensor alike.
    formula : str, default ""
        One line of plain text with the letters of the parameters; made up from the names if empty.
    latex : str, default ""
        The same in LaTeX.
    response : str, default "loss"
        The column it predicts; positive.
    scales : mapping of str to float, default {}
        Reference values inside the law, by input: with ``{"N": 1e8}`` the body has an argument
        ``N0``. A fit sets them to the pivots of its data (`at_scales`).
    reference : str, default ""
        Citation.
    zero_one : tuple of str, default ()
        Inputs that are 0 or 1; all others are positive.

    Raises
    ------
    SpecError
        If the function's arguments do not match inputs, parameters and scales, if a name is used
        twice or reserved, or if a parameter refers to an input that does not exist.

    Examples
    --------
    >>> moe = Law(
    ...     name="moe",
    ...     inputs=("N", "experts"),
    ...     parameters={"L0": "positive", "a": "positive", "b": (0, 2)},
    ...     mean=lambda N, experts, L0, a, b: L0 + (N * experts**b) ** -a,
    ... )
    >>> float(moe(N=1e6, experts=4, L0=1.0, a=0.5, b=1.0))
    1.0005
    """

    name: str
    inputs: tuple[str, ...]
    parameters: Mapping[str, Any] = field(hash=False)
    mean: Callable[..., Any]
    formula: str = ""
    latex: str = ""
    response: str = "loss"
    scales: Mapping[str, float] = field(default_factory=dict, hash=False)
    reference: str = ""
    zero_one: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        inputs = (self.inputs,) if isinstance(self.inputs, str) else tuple(self.inputs)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "parameters", _normalised(self.name, self.parameters))
        object.__setattr__(self, "scales", {k: float(v) for k, v in self.scales.items()})
        _check_names(self)
        object.__setattr__(self, "_takes_xp", _check_arguments(self))
        if not self.formula:
            arguments = ", ".join((*self.inputs, *self.parameters))
            object.__setattr__(self, "formula", f"{self.response} = {self.name}({arguments})")

    def __call__(self, xp: Any = None, **values: Any) -> Any:
        """Evaluate the law; arguments broadcast.

        Parameters
        ----------
        xp : namespace, optional
            Found from the arguments if None. Given, arguments are used as they are.
        **values
            Every input and every parameter, by name: numbers, lists, or arrays of NumPy, xarray,
            JAX or PyTensor.

        Returns
        -------
        array
            The response, of the library of the arguments.

        Examples
        --------
        >>> from bayescale.laws import get
        >>> float(get("size")(N=1e4, E=1.0, A=100.0, alpha=0.5))
        2.0
        """
        wanted = (*self.inputs, *self.parameters)
        if len(values) != len(wanted) or any(name not in values for name in wanted):
            raise SpecError(_wrong_values(self, values))
        if xp is None:
            xp = namespace(*values.values())
            values = {name: as_argument(value) for name, value in values.items()}
        return self.body(xp, **values, **{f"{name}0": scale for name, scale in self.scales.items()})

    def body(self, xp: Any, **values: Any) -> Any:
        """The law's function at inputs, parameters and reference scales (``N0``) as they are."""
        if self._takes_xp:  # type: ignore[attr-defined]
            values["xp"] = xp
        return self.mean(**values)

    def at_scales(self, **scales: float) -> Law:
        """Give the same law with other reference scales, by input: ``law.at_scales(N=1e8)``."""
        unknown = [name for name in scales if name not in self.scales]
        if unknown:
            have = ", ".join(f"`{name}`" for name in self.scales) or "none"
            raise SpecError(
                f"The law `{self.name}` has no reference scale `{unknown[0]}`; it has: {have}."
            )
        bad = {k: v for k, v in scales.items() if not (math.isfinite(v) and v > 0)}
        if bad:
            name, value = next(iter(bad.items()))
            raise SpecError(f"The reference scale of `{name}` must be above zero; got {value!r}.")
        return replace(self, scales={**self.scales, **scales})

    def describe(self) -> str:
        """Give formula, inputs and parameters in a few lines of text."""
        lines = [f"{self.name}: {self.formula}", f"  inputs: {', '.join(self.inputs)}"]
        for name, value in self.scales.items():
            lines.append(f"  reference scale {name}0 = {value:g}")
        for name, p in self.parameters.items():
            unit = f", {p.unit}" if p.unit else ""
            support = p.support if isinstance(p.support, str) else f"in {p.support}"
            lines.append(f"  {name:<8} {support}{unit}{': ' + p.meaning if p.meaning else ''}")
        if self.reference:
            lines.append(f"  source: {self.reference}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Law({self.name!r}: {self.formula})"


_REGISTRY: dict[str, Law] = {}
_REMEMBERED: set[str] = set()


def register(law: Law, *, overwrite: bool = False) -> Law:
    """Make a law available by name, and give it back.

    Parameters
    ----------
    law : Law
    overwrite : bool, default False
        Replace another law of that name. Without it a taken name is an error, since a saved fit
        finds its law by name.
    """
    if not isinstance(law, Law):
        raise SpecError(f"A Law was expected; got {type(law).__name__}.")
    known = _REGISTRY.get(law.name)
    if known is not None and not overwrite and not _same(known, law):
        raise SpecError(
            f"There is a law `{law.name}` already ({known.formula}). Choose another name, or say "
            "register(law, overwrite=True)."
        )
    _REGISTRY[law.name] = law
    return law


def remember(law: Law) -> None:
    """Make a law of the user's own known for this session, as `fit` does.

    It may replace an earlier law of the user's (a notebook cell run again), never a registered one.
    """
    known = _REGISTRY.get(law.name)
    if known is not None and _same(known, replace(law, scales=known.scales)):
        return
    register(law, overwrite=law.name in _REMEMBERED)
    _REMEMBERED.add(law.name)


def get(name: str) -> Law:
    """Give a registered law by name.

    Raises
    ------
    SpecError
        For an unknown name; lists what exists and the nearest.

    Examples
    --------
    >>> from bayescale.laws import get
    >>> get("additive").inputs
    ('N', 'T')
    """
    if name not in _REGISTRY:
        raise SpecError(
            f"Unknown law {name!r}.{_near(name, _REGISTRY)} Laws: {', '.join(names())}. A law of "
            "your own is a bayescale.laws.Law and can be given instead of a name."
        )
    return _REGISTRY[name]


def names() -> list[str]:
    """List the registered laws."""
    return list(_REGISTRY)


def _same(one: Law, other: Law) -> bool:
    """Whether two laws are the same up to a function that was defined twice (a notebook cell)."""
    codes = [getattr(law.mean, "__code__", law.mean) for law in (one, other)]
    return codes[0] == codes[1] and replace(one, mean=other.mean) == other


def _near(name: Any, known: Any) -> str:
    close = difflib.get_close_matches(str(name), [k for k in known if k], n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def _interval(support: Any) -> tuple[float, float]:
    try:
        low, high = (float(edge) for edge in support)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SpecError(
            "The support of a parameter is 'positive', 'real', 'unit' or two finite numbers "
            f"(low, high) in this order; got {support!r}."
        )
    return low, high


def _normalised(law: str, parameters: Mapping[str, Any]) -> dict[str, Parameter]:
    if not isinstance(parameters, Mapping) or not parameters:
        raise SpecError(
            f"The parameters of the law `{law}` are a mapping of name to support, for example "
            f"{{'E': 'positive', 'alpha': (0, 2)}}; got {parameters!r}."
        )
    out = {}
    for name, given in parameters.items():
        try:
            out[name] = given if isinstance(given, Parameter) else Parameter(given)
        except SpecError as error:
            raise SpecError(f"Parameter `{name}` of the law `{law}`: {error}") from None
    return out


def _check_names(law: Law) -> None:
    every = (*law.inputs, *law.parameters, *(f"{name}0" for name in law.scales))
    for name in (*every, law.response):
        if not (isinstance(name, str) and name.isidentifier()):
            raise SpecError(f"`{name}` in the law `{law.name}` must be a name like N or lr_max.")
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise SpecError(
            f"`{twice[0]}` is named twice in the law `{law.name}` (inputs: "
            f"{', '.join(law.inputs)}; parameters: {', '.join(law.parameters)}). Rename one; the "
            "column can keep its name through as_runs(columns=...)."
        )
    taken = sorted(RESERVED & set(every))
    if taken:
        raise SpecError(
            f"`{taken[0]}` in the law `{law.name}` is a name that a fit uses for itself. Rename it."
        )
    if not law.inputs:
        raise SpecError(f"The law `{law.name}` has no inputs.")
    for name, p in law.parameters.items():
        exponents = {e.removeprefix("-") for e in p.prefactor.values()}
        for what, unknown in (
            ("input", sorted(({*p.prefactor} | ({p.of} if p.of else set())) - {*law.inputs})),
            ("parameter", sorted(exponents - {*law.parameters})),
        ):
            if unknown:
                raise SpecError(
                    f"Parameter `{name}` of the law `{law.name}` refers to the {what} "
                    f"`{unknown[0]}`, which the law does not have."
                )


def _check_arguments(law: Law) -> bool:
    """Hold the function's arguments against the names; whether it takes ``xp``."""
    try:
        arguments = inspect.signature(law.mean).parameters.values()
    except (TypeError, ValueError):
        raise SpecError(
            f"`mean` of the law `{law.name}` must be a function written in Python, called with "
            f"inputs and parameters by name; got {law.mean!r}."
        ) from None
    wanted = [*law.inputs, *law.parameters, *(f"{name}0" for name in law.scales)]
    named = {a.name: a for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)}
    takes_any = any(a.kind is a.VAR_KEYWORD for a in arguments)
    missing = [] if takes_any else [name for name in wanted if name not in named]
    extra = [
        a.name
        for a in arguments
        if (a.kind is a.POSITIONAL_ONLY)
        or (a.name in named and a.name not in (*wanted, "xp") and a.default is a.empty)
    ]
    if missing or extra:
        found = []
        if missing:
            found.append(f"it lacks {', '.join(f'`{n}`' for n in missing)}")
        if extra:
            found.append(f"it has {', '.join(f'`{n}`' for n in extra)} besides")
        raise SpecError(
            f"The function of the law `{law.name}` must take its inputs, parameters and scales by "
            f"name ({', '.join(wanted)}; and xp if it wants it); {' and '.join(found)}."
            + (_near(extra[0], missing) if extra and missing else "")
        )
    return takes_any or "xp" in named


def _wrong_values(law: Law, values: Mapping[str, Any]) -> str:
    wanted = (*law.inputs, *law.parameters)
    missing = [name for name in wanted if name not in values]
    extra = [name for name in values if name not in wanted]
    found = []
    if missing:
        found.append(f"missing: {', '.join(f'`{n}`' for n in missing)}")
    if extra:
        found.append(f"not known to it: {', '.join(f'`{n}`' for n in extra)}")
    return (
        f"The law `{law.name}` takes the inputs {', '.join(law.inputs)} and the parameters "
        f"{', '.join(law.parameters)}; {'; '.join(found)}."
    )
