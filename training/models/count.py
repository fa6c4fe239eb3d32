"""How many parameters a model has, by group: counted in the module, and predicted from its config.

``core`` is what the N of a scaling law means here: the blocks without what modulates them.
adaLN-zero puts a third of a block's parameters into modulation, where they cost almost no FLOPs, so
that N with modulation would give conditioning types different exponents from bookkeeping alone.
"""

from __future__ import annotations

from training.config import Model
from training.models.inventory import Matrix, Vector, inventory
from training.models.transformer import Transformer
from training.shapes import SampleShape

GROUPS = ("core", "modulation", "embed", "head", "text")


def parameter_groups(model: Transformer) -> dict[str, int]:
    """Parameters of one member by group, and their ``total``."""
    groups: dict[str, int] = dict.fromkeys(GROUPS, 0)
    for name, parameter in model.named_parameters():
        groups[group_of(name)] += parameter.numel() // (model.members or 1)
    return {**groups, "total": sum(groups.values())}


def predicted_groups(model: Model, shape: SampleShape) -> dict[str, int]:
    """The same without building the model.

    Examples
    --------
    >>> predicted_groups(Model(width=16, depth=2), SampleShape())["core"]
    6432
    """
    groups: dict[str, int] = dict.fromkeys(GROUPS, 0)
    for item in inventory(model, shape):
        if isinstance(item, Matrix):
            groups[item.group] += (item.inputs + 1) * item.outputs
        elif isinstance(item, Vector):
            groups[item.group] += item.size
    return {**groups, "total": sum(groups.values())}


def group_of(name: str) -> str:
    """Which group a parameter belongs to, from its name.

    Examples
    --------
    >>> group_of("blocks.3.modulation.weight"), group_of("blocks.3.mlp.first.bias")
    ('modulation', 'core')
    """
    path = name.split(".")
    if path[0] == "text":
        return "text"
    if path[0] == "final" or "modulation" in path or path[-1] == "table":
        return "modulation"
    return {"patch": "embed", "time": "embed", "head": "head"}.get(path[0], "core")
