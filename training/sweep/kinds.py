"""Kinds of blocks: what a person wants to learn, turned into settings of single runs.

A kind is a function from the axes of a block to a list of settings. ``grid`` crosses all lists;
the others know which lists belong together and what follows from what:

============ ======================================================================================
``lnt``      one long constant-rate run for each size, read along T: the loss L(N, T)
``hyper``    learning rate x batch at several (size, tokens), for their optimum and its law
``isoflop``  sizes at equal training compute: tokens follow from ``budgets_flops``
``arch``     conditionings at equal compute: tokens follow from the first one named
``seeds``    the same run with other seeds: how much luck there is in a loss
``decay``    runs whose rate decays to zero: anchors for the constant-rate curves
============ ======================================================================================
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from training.errors import SpecError
from training.sweep.amounts import count
from training.sweep.fields import Settings, flat, is_axis, spec_of

Axes = Mapping[str, Sequence[Any]]
Fixed = dict[str, Any]


def grid(fixed: Fixed, axes: Axes, extra: Mapping[str, Any]) -> list[Settings]:
    """Every combination of the axes."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def lnt(fixed: Fixed, axes: Axes, extra: Mapping[str, Any]) -> list[Settings]:
    """Sizes with their tokens side by side (lists of one length), other axes crossed."""
    _need("lnt", fixed, axes, "size", "tokens")
    together = [name for name in ("size", "tokens") if name in axes]
    if len({len(axes[name]) for name in together}) > 1:
        raise SpecError(
            f"`size` lists {len(axes['size'])} values and `tokens` {len(axes['tokens'])}; kind "
            "`lnt` takes them side by side (one number of tokens serves all sizes)."
        )
    side_by_side = _zipped({name: axes[name] for name in together})
    rest = {name: values for name, values in axes.items() if name not in together}
    return _crossed(side_by_side, [{"optimiser.schedule": "constant"}], grid(fixed, rest, extra))


def hyper(fixed: Fixed, axes: Axes, extra: Mapping[str, Any]) -> list[Settings]:
    """Learning rates x batches at each place of ``at = [{size = "5k", tokens = "131k"}, ...]``."""
    if not {"optimiser.learning_rate", "optimiser.batch_samples"} & set(axes):
        raise SpecError("Kind `hyper` wants lists of `learning_rate`, `batch_samples` or both.")
    return _crossed([flat(place) for place in extra.get("at", [{}])], grid(fixed, axes, extra))


def isoflop(fixed: Fixed, axes: Axes, extra: Mapping[str, Any]) -> list[Settings]:
    """Tokens such that each run costs one of ``budgets_flops``, training FLOPs as we count them."""
    _need("isoflop", fixed, axes, "size")
    if "tokens" in fixed or "tokens" in axes:
        raise SpecError("Kind `isoflop` computes `tokens` from `budgets_flops`; leave them out.")
    if not extra.get("budgets_flops"):
        raise SpecError("Kind `isoflop` wants `budgets_flops = [1e13, 3e13]`.")
    found = []
    for budget, settings in itertools.product(extra["budgets_flops"], grid(fixed, axes, extra)):
        found.append({**settings, "tokens": tokens_for({**fixed, **settings}, float(budget))})
    return found


def arch(fixed: Fixed, axes: Axes, extra: Mapping[str, Any]) -> list[Settings]:
    """Conditionings at the compute of the first one named (or of ``reference``)."""
    name = "model.conditioning"
    if name not in axes:
        raise SpecError('Kind `arch` wants `conditioning = ["adaln_single", "cross", ...]`.')
    reference = extra.get("reference", axes[name][0])
    found = []
    for settings in grid(fixed, {k: v for k, v in axes.items() if k != name}, extra):
        at_reference = {**fixed, **settings, name: reference}
        budget = flops_of(at_reference)
        for conditioning in axes[name]:
            here = {**settings, name: conditioning}
            if conditioning != reference:
                here["tokens"] = tokens_for({**fixed, **here}, budget)
            found.append(here)
    return found


def seeds(fixed: Fixed, axes: Axes, extra: Mapping[str, Any]) -> list[Settings]:
    """The listed seeds, or ``count`` of them from 0 on."""
    if "seed" in axes:
        return grid(fixed, axes, extra)
    if "count" not in extra:
        raise SpecError("Kind `seeds` wants `seed = [1, 2]` or `count = 3`.")
    return grid(fixed, {**axes, "seed": list(range(int(extra["count"])))}, extra)


def decay(fixed: Fixed, axes: Axes, extra: Mapping[str, Any]) -> list[Settings]:
    """A run for each size and each number of tokens, its rate decaying linearly to zero."""
    _need("decay", fixed, axes, "tokens")
    named = "optimiser.schedule" in {*fixed, *axes}
    return _crossed([{} if named else {"optimiser.schedule": "linear"}], grid(fixed, axes, extra))


KINDS: dict[str, Callable[[Fixed, Axes, Mapping[str, Any]], list[Settings]]] = {
    "grid": grid, "lnt": lnt, "hyper": hyper, "isoflop": isoflop,
    "arch": arch, "seeds": seeds, "decay": decay,
}  # fmt: skip

WORDS = {"hyper": ("at",), "isoflop": ("budgets_flops",), "arch": ("reference",),
         "seeds": ("count",)}  # fmt: skip
"""What a kind wants to know besides fields."""


def flops_of(settings: Settings) -> float:
    """Training FLOPs of the run of these settings."""
    from training.sweep.cost import flops_of_sample, samples_of

    spec = spec_of(settings)
    return flops_of_sample(spec) * samples_of(spec)


def tokens_for(settings: Settings, budget_flops: float) -> int:
    """Tokens, in whole batches, that `budget_flops` pays for."""
    from training.sweep.check import shape_of
    from training.sweep.cost import flops_of_sample, tokens_per_sample

    spec = spec_of({name: value for name, value in settings.items() if name != "tokens"})
    per_step = tokens_per_sample(spec, shape_of(spec.data)) * spec.optimiser.batch_samples
    per_step_flops = flops_of_sample(spec) * spec.optimiser.batch_samples
    steps = round(budget_flops / per_step_flops)
    if steps < 1:
        raise SpecError(
            f"{budget_flops:.3g} FLOP do not pay for one step of size "
            f"`{settings.get('size', spec.model.width)}` ({per_step_flops:.3g} FLOP)."
        )
    return steps * per_step


def axes_of(block: Mapping[str, Any]) -> tuple[Fixed, dict[str, list[Any]]]:
    """Fields of a block with one value, and those with a list of them."""
    axes = {name: value for name, value in block.items() if is_axis(name, value)}
    for name, values in axes.items():
        if not values:
            raise SpecError(f"`{name}` is an empty list; name at least one value.")
    if "tokens" in axes:
        axes["tokens"] = [count(each, "a count for `tokens`") for each in axes["tokens"]]
    return {name: value for name, value in block.items() if name not in axes}, axes


def zipped(tables: Any) -> list[Settings]:
    """Axes that are walked together: ``zip = {size = ["5k", "20k"], tokens = ["2M", "1M"]}``."""
    found: list[Settings] = [{}]
    for table in tables if isinstance(tables, list) else [tables]:
        fixed, axes = axes_of(flat(table))
        if fixed or len({len(values) for values in axes.values()}) > 1:
            lengths = {name: len(axes.get(name, [1])) for name in {**axes, **fixed}}
            raise SpecError(f"`zip` walks lists of equal length together; found {lengths}.")
        found = _crossed(found, _zipped(axes))
    return found


def _zipped(axes: Axes) -> list[Settings]:
    if not axes:
        return [{}]
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def _crossed(*parts: list[Settings]) -> list[Settings]:
    found: list[Settings] = [{}]
    for part in parts:
        found = [{**left, **right} for left in found for right in part]
    return found


def _need(kind: str, fixed: Fixed, axes: Axes, *names: str) -> None:
    for name in names:
        if name not in fixed and name not in axes:
            raise SpecError(f"Kind `{kind}` wants `{name}`.")
