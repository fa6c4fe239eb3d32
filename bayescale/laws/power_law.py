"""A printed power law of something that is not a loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bayescale.errors import SpecError
from bayescale.laws.namespaces import as_argument


@dataclass(frozen=True)
class PowerLaw:
    """A printed power law of something that is not a loss: ``y = k x1^p1 x2^p2``.

    Optimal sizes, lengths, batch sizes and learning rates come in this form.

    Parameters
    ----------
    response : str
        ``N``, ``T``, ``batch_size``, ``learning_rate`` or ``fid``.
    coefficient : float or None
        ``k``, as printed; None where a source prints exponents only. Then `anchored` gives the law
        through a point that you know.
    exponents : mapping of str to float
        By input.
    source : str
        Where.
    units : mapping of str to float, default {}
        Unit of an input or of the response in the printed form: ``{"flops": 1e15}`` for PFLOP.
    errors : mapping of str to float, default {}
        Standard errors as printed: by input for exponents, ``log_coefficient`` for ``ln k``.
    note : str, default ""
        What one should know before using it.
    """

    response: str
    coefficient: float | None
    exponents: Mapping[str, float] = field(hash=False)
    source: str
    units: Mapping[str, float] = field(default_factory=dict, hash=False)
    errors: Mapping[str, float] = field(default_factory=dict, hash=False)
    note: str = ""

    @property
    def natural(self) -> float:
        """The coefficient for inputs and response as they are."""
        if self.coefficient is None:
            inputs = ", ".join(f"{name}=..." for name in self.exponents)
            raise SpecError(
                f"{self.source} prints exponents of `{self.response}` and no coefficient. Give a "
                f"point that the law should pass through: .anchored({self.response}=..., {inputs})."
            )
        value = self.coefficient * self.units.get(self.response, 1.0)
        for name, power in self.exponents.items():
            value *= self.units.get(name, 1.0) ** -power
        return value

    def __call__(self, **inputs: Any) -> Any:
        """Evaluate at inputs as they are (parameters, tokens, FLOP)."""
        self._takes(inputs)
        return self.natural * self._powers(inputs)

    def anchored(self, **at: float) -> PowerLaw:
        """The law with these exponents through a given point.

        Parameters
        ----------
        **at : float
            The response and every input, as they are: ``batch_size=2.6e5, T=1e10``.

        Examples
        --------
        >>> law = PowerLaw("batch_size", None, {"T": 0.5}, "made up 2024")
        >>> round(law.anchored(batch_size=1e5, T=1e10)(T=4e10))
        200000
        """
        inputs = {name: value for name, value in at.items() if name != self.response}
        if self.response not in at:
            raise SpecError(
                f"An anchor needs `{self.response}` beside {', '.join(self.exponents)}; got "
                f"{', '.join(at) or 'nothing'}."
            )
        self._takes(inputs)
        value = at[self.response]
        wrong = {name: v for name, v in at.items() if not 0 < v < float("inf")}
        if wrong:
            name, v = next(iter(wrong.items()))
            raise SpecError(f"An anchor has positive, finite values; `{name}` is {v!r}.")
        natural = float(value / self._powers(inputs))
        return replace(self, coefficient=natural, units={})

    def _takes(self, inputs: Mapping[str, Any]) -> None:
        if set(inputs) != set(self.exponents):
            raise SpecError(
                f"This law of `{self.response}` takes {', '.join(self.exponents) or 'nothing'}; "
                f"got {', '.join(inputs) or 'nothing'}."
            )

    def _powers(self, inputs: Mapping[str, Any]) -> Any:
        out: Any = 1.0
        for name, power in self.exponents.items():
            out = out * as_argument(inputs[name]) ** power
        return out
