"""Points that are asked about: checked, and how far they lie beyond the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayescale.errors import DataError
from bayescale.inference.tree import Fitted


def points_of(
    fitted: Fitted, at: Mapping[str, Any] | pd.DataFrame, family: str | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Checked inputs, ``(point,)`` each, and the family of each point."""
    given = {str(k): np.atleast_1d(np.asarray(at[k])) for k in at}
    if "flops" in fitted.law.inputs and "flops" not in given and {"N", "T"} <= set(given):
        given["flops"] = 6.0 * given["N"].astype(float) * given["T"].astype(float)
    free = fitted.surface.hyperparameters if fitted.surface is not None else ()
    missing = [name for name in fitted.law.inputs if name not in given and name not in free]
    if missing:
        raise DataError(
            f"`at` lacks {', '.join(f'`{m}`' for m in missing)}; the law `{fitted.law.name}` takes "
            f"{', '.join(fitted.law.inputs)}. Got: {', '.join(given) or 'nothing'}."
        )
    try:
        size = np.broadcast_shapes(*(x.shape for x in given.values()))
    except ValueError:
        lengths = ", ".join(f"{k}: {len(v)}" for k, v in given.items())
        raise DataError(f"The columns of `at` differ in length ({lengths}).") from None
    points, zero_one = {}, fitted.law.zero_one
    for name in (n for n in fitted.law.inputs if n in given):
        x = np.broadcast_to(given[name].astype(float), size)
        allowed = (x == 0) | (x == 1) if name in zero_one else x > 0
        bad = np.flatnonzero(~(np.isfinite(x) & allowed))
        if len(bad):
            wanted = "0 or 1" if name in zero_one else "positive"
            raise DataError(
                f"`at` has {name} = {x[bad[0]]:g} at point {bad[0]}; it must be {wanted}."
            )
        points[name] = x.copy()
    names = given.get("family", np.array([family]) if family else None)
    if not fitted.by_family:
        fitted.asked_family(family)
        return points, np.full(size, fitted.families[0], dtype=object)
    names = np.broadcast_to(names, size) if names is not None else np.full(size, None)
    return points, np.array([fitted.family(f) for f in names], dtype=object)


def scale_input(points: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A column of the points; compute is 6NT where it is not an input of the law."""
    if name in points:
        return points[name]
    if name == "flops" and {"N", "T"} <= set(points):
        return 6.0 * points["N"] * points["T"]
    raise DataError(f"The noise depends on `{name}`, which `at` lacks; have {', '.join(points)}.")


def check_points(name: str, values: Any) -> np.ndarray:
    """Positive finite numbers as an array, or one clear error."""
    x = np.atleast_1d(np.asarray(values, float))
    bad = np.flatnonzero(~(np.isfinite(x) & (x > 0)))
    if len(bad):
        raise DataError(f"`{name}` must be positive; got {x[bad[0]]:g} at position {bad[0]}.")
    return x


def decades_beyond_flops(fitted: Fitted, flops: float, family: str | None) -> float:
    """Decades of compute from the largest fitted run to a budget; 0 inside."""
    seen = fitted.readings(family if fitted.by_family else None)
    most = seen["flops"] if "flops" in seen else 6.0 * seen["N"] * seen["T"]
    return float(max(0.0, np.log10(flops / most.max())))


def decades_beyond(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray
) -> np.ndarray:
    """Decades of compute from the largest fitted run to each point; 0 inside, ``(point,)``.

    Where the law's inputs do not give compute, decades beyond the largest value of any input.
    """
    out = np.zeros(len(families))
    law = fitted.law if fitted.surface is None else fitted.surface.loss_law
    if law is None:  # one cell: hyperparameters are no distance in compute
        return out
    for name in dict.fromkeys(families):
        index = np.flatnonzero(families == name)
        seen = fitted.readings(name if fitted.by_family else None)
        here = {k: v[index] for k, v in points.items()}
        out[index] = _distance(seen, here, law.inputs)
    return out


def _distance(
    seen: Mapping[str, np.ndarray], here: Mapping[str, np.ndarray], inputs: tuple[str, ...]
) -> np.ndarray:
    if {"N", "T"} <= set(inputs):
        far = np.log10(here["N"] * here["T"]) - np.log10(seen["N"] * seen["T"]).max()
        return np.maximum(far, 0.0)
    far = [np.log10(here[k]) - np.log10(seen[k]).max() for k in inputs]
    return np.maximum(np.max(far, axis=0), 0.0)
