"""Bayesian scaling laws: from a table of training runs to a forecast, a plan and the next run."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module that holds it; loaded on first use, so that `import bayescale` costs nothing
_HOMES = {
    "as_runs": "runs", "append": "runs", "summarise": "runs", "write_runs": "runs",
    "read_runs": "importers",
    "LossModel": "models.loss", "Noise": "models.noise",
    "HyperparameterModel": "models.hyperparameters",
    "CriticalBatchModel": "models.critical_batch", "batch_trade": "plan.batch",
    "time_to_target": "runs.target",
    "Normal": "models.distributions", "LogNormal": "models.distributions",
    "LogitNormal": "models.distributions",
    "fit": "inference", "load_fit": "inference",
    "backtest": "backtest", "check": "check", "predict": "predict", "frontier": "frontier",
    "plan": "plan", "tune": "tune", "habit": "habit",
    "report": "report",
}  # fmt: skip
_MODULES = ("laws", "datasets", "plots", "errors", "schema")

__all__ = [
    "CriticalBatchModel",
    "HyperparameterModel",
    "LogNormal",
    "LogitNormal",
    "LossModel",
    "Noise",
    "Normal",
    "__version__",
    "append",
    "as_runs",
    "backtest",
    "batch_trade",
    "check",
    "datasets",
    "errors",
    "fit",
    "frontier",
    "habit",
    "laws",
    "load_fit",
    "plan",
    "plots",
    "predict",
    "read_runs",
    "report",
    "schema",
    "summarise",
    "time_to_target",
    "tune",
    "write_runs",
]  # fmt: skip

if TYPE_CHECKING:
    from bayescale import datasets, errors, laws, plots, schema
    from bayescale.backtest import backtest
    from bayescale.check import check
    from bayescale.frontier import frontier
    from bayescale.habit import habit
    from bayescale.importers import read_runs
    from bayescale.inference import fit, load_fit
    from bayescale.models.critical_batch import CriticalBatchModel
    from bayescale.models.distributions import LogitNormal, LogNormal, Normal
    from bayescale.models.hyperparameters import HyperparameterModel
    from bayescale.models.loss import LossModel
    from bayescale.models.noise import Noise
    from bayescale.plan import plan
    from bayescale.plan.batch import batch_trade
    from bayescale.predict import predict
    from bayescale.report import report
    from bayescale.runs import append, as_runs, summarise, write_runs
    from bayescale.runs.target import time_to_target
    from bayescale.tune import tune


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"bayescale.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"bayescale.{name}")
    else:
        raise AttributeError(
            f"bayescale has no `{name}`; its names are {', '.join(sorted(__all__))}."
        )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Facade(types.ModuleType):
    """Keeps `bayescale.predict` the function once the module of the same name is imported.

    The import system binds a submodule as an attribute of its package; for verbs that share their
    module's name the function wins. ``from bayescale.predict import ...`` works as ever.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and isinstance(value, types.ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Facade
