"""What the words of a sweep file mean: fields of a spec by short or dotted names, and `size`."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from training.config import Spec, full_name, with_overrides
from training.errors import SpecError, nearest
from training.sweep.amounts import count

Settings = Mapping[str, Any]
"""Dotted field (or ``size``, ``scaling``) -> value of one run."""

PSEUDO = ("size", "scaling", "batch_tokens")
"""Not fields, but resolved into some: a size into ``model.width``, ``model.depth`` and
``model.heads``, a batch in tokens into ``optimiser.batch_samples``.
"""


def flat(
    block: Mapping[str, Any], *, also: tuple[str, ...] = (), problems: list[str] | None = None
) -> dict[str, Any]:
    """Nested tables as dotted names, short names in full; words of `also` stay as they are.

    What is wrong with a name goes into `problems`, so that all of it is found; without that list
    the first one is raised.

    Examples
    --------
    >>> flat({"optimiser": {"clip": 1.0}, "learning_rate": 0.1, "size": "5k"})
    {'optimiser.clip': 1.0, 'optimiser.learning_rate': 0.1, 'size': '5k'}
    """
    found: dict[str, Any] = {}
    for name, value in _leaves(block):
        try:
            known = name if name in also else name_of(name, also=also)
            if known in found:
                raise SpecError(f"`{known}` is given twice; leave one out.")
        except SpecError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        found[known] = value
    return found


def name_of(name: str, *, also: tuple[str, ...] = ()) -> str:
    """The full name of a field, or a SpecError with the nearest one."""
    if name in PSEUDO:
        return name
    try:
        return full_name(Spec, name)
    except SpecError as error:
        if "is one of" in str(error):
            raise
        words = {*hints(), *(each.rsplit(".", 1)[-1] for each in hints()), *PSEUDO, *also}
        raise SpecError(f"Unknown field `{name}`; {nearest(name, words)}") from None


def is_axis(name: str, value: Any) -> bool:
    """Whether `value` lists several values of the field, rather than being one that is a list."""
    if not isinstance(value, list):
        return False
    many = typing.get_origin(hints().get(name)) is tuple
    return not many or (bool(value) and isinstance(value[0], list))


def spec_of(settings: Settings) -> Spec:
    """The spec of one run: counts read, size resolved, the rest left at its default."""
    fields = {name: _read(name, value) for name, value in settings.items() if name not in PSEUDO}
    spec = with_overrides(Spec(), fields)
    if "size" in settings:
        spec = _of_size(spec, fields, settings)
    elif "scaling" in settings:
        raise SpecError("`scaling` says how a `size` is built; give a `size` too.")
    return _of_batch(spec, settings["batch_tokens"]) if "batch_tokens" in settings else spec


def _of_size(spec: Spec, fields: Settings, settings: Settings) -> Spec:
    """The spec with the shape of its size; a scaling keeps the width or the depth that is given."""
    from training.sizes import sized

    scaling = settings.get("scaling", "aspect")
    kept = {"depth": "width", "width": "depth"}.get(scaling)
    clash = [n for n in ("width", "depth") if f"model.{n}" in fields and n != kept]
    if clash:
        raise SpecError(f"`size` sets `model.{clash[0]}`; leave one of the two out.")
    found = sized(
        settings["size"],
        conditioning=spec.model.conditioning,
        scaling=scaling,
        mlp_ratio=spec.model.mlp_ratio,
        single_layers=spec.model.single_layers,
        **{kept: fields[f"model.{kept}"]} if kept and f"model.{kept}" in fields else {},
    )
    shape = {f"model.{name}": value for name, value in found.items()}
    if "model.heads" in fields:
        shape["model.heads"] = fields["model.heads"]
    return with_overrides(spec, shape)


def _of_batch(spec: Spec, batch_tokens: Any) -> Spec:
    from training.sweep.check import shape_of
    from training.sweep.cost import tokens_per_sample

    samples = count(batch_tokens) / tokens_per_sample(spec, shape_of(spec.data))
    return with_overrides(spec, {"optimiser.batch_samples": max(1, round(samples))})


@functools.cache
def hints() -> Mapping[str, Any]:
    """Dotted name of each field -> its type."""
    return dict(_hints(Spec, ""))


def _read(name: str, value: Any) -> Any:
    if isinstance(value, str) and int in (hints().get(name), *typing.get_args(hints().get(name))):
        return count(value, f"a count for `{name}`")
    return value


def _leaves(block: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in block.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _hints(kind: type, before: str) -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from _hints(typing.cast(type, hint), f"{before}{name}.")
        else:
            yield f"{before}{name}", hint
