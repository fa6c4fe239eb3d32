"""Options of a stream, with their defaults."""

from __future__ import annotations

from typing import Any

from training.config import Data
from training.errors import SpecError, nearest


def options_of(data: Data, **defaults: Any) -> dict[str, Any]:
    """``data.options`` over `defaults`; a default also says of which kind the value is.

    Raises
    ------
    SpecError
        For an unknown option (with the nearest name) or a value of another kind.
    """
    for name, value in data.options.items():
        if name not in defaults:
            hint = nearest(name, defaults) if defaults else "it has no options."
            raise SpecError(f"Unknown option `{name}` of the stream `{data.name}`; {hint}")
        kind = type(defaults[name])
        right = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
        if not right or (isinstance(value, bool) and kind is not bool):
            raise SpecError(
                f"`data.options.{name}` is {value!r}; {kind.__name__} was expected, as in "
                f"{defaults[name]!r}."
            )
    return {**defaults, **data.options}
