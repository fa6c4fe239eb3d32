"""Models: a law, priors for its parameters, and what separates runs from it.

A model is a frozen dataclass with ``fitted_law``, ``family``, ``density(runs)``,
``readings(runs)``, ``spec()`` and ``from_spec``; everything after it asks for nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from bayescale.errors import SpecError

KINDS = {
    "loss": ("bayescale.models.loss", "LossModel"),
    "hyperparameters": ("bayescale.models.hyperparameters", "HyperparameterModel"),
    "critical_batch": ("bayescale.models.critical_batch", "CriticalBatchModel"),
}
"""Where each kind of model lives, by the ``kind`` of its `spec`."""


def model_from_spec(spec: Mapping[str, Any]) -> Any:
    """The model that a saved fit describes.

    Raises
    ------
    SpecError
        For a kind that this version does not know, or a law that is not registered.
    """
    kind = spec.get("kind", "loss")
    if kind not in KINDS:
        raise SpecError(
            f"This fit holds a model of kind {kind!r}, which this version of bayescale does not "
            f"know; it knows {', '.join(KINDS)}. Upgrade bayescale."
        )
    module, name = KINDS[kind]
    return getattr(importlib.import_module(module), name).from_spec(spec)
