"""Public tables of real training runs, with licence, citation and known issues; and made-up ones.

``names()`` lists them, ``load("chinchilla")`` gives runs ready to fit, ``frame("chinchilla")`` the
table as it stands, ``info("chinchilla")`` what is known about it. ``papers()`` and ``paper(name)``
give tables of numbers printed in papers. ``simulate()`` draws runs whose truth is known, and
``simulate_sweep()`` those of a hyperparameter sweep.
"""

from __future__ import annotations

from bayescale.datasets.catalogue import (
    DatasetInfo,
    frame,
    info,
    load,
    names,
    paper,
    papers,
    published,
)
from bayescale.datasets.simulated_sweep import simulate_sweep
from bayescale.datasets.simulation import simulate

__all__ = [
    "DatasetInfo",
    "frame",
    "info",
    "load",
    "names",
    "paper",
    "papers",
    "published",
    "simulate",
    "simulate_sweep",
]
