"""The log density of tokens to a target: a law by family, answers that are intervals, by cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.models import rounded
from bayescale.models.arrays import arrays
from bayescale.models.batch_table import Intervals
from bayescale.models.density import AbstractDensity
from bayescale.models.rounded import Answers


@dataclass(frozen=True)
class BatchDensity(AbstractDensity):
    """Log density of a `CriticalBatchModel` on a table; one term a cell.

    Attributes
    ----------
    answers : Answers
        The rounded answers, by cell.
    intervals : Intervals
        The same by run, as they stand in the runs.
    """

    answers: Answers
    intervals: Intervals

    def log_mean(self, parameters: Mapping[str, Any], xp: Any) -> Any:
        """Log of the law at every cell, ``(..., cell)``."""
        by_cell = dict(parameters)
        if self.n_families > 1:
            by_cell = {k: xp.take(v, self.answers.family) for k, v in parameters.items()}
        return xp.log(self.law(xp=xp, **self.answers.inputs, **by_cell))

    def log_likelihood(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log likelihood of the answers of each cell, its level integrated out, ``(..., cell)``."""
        mean = self.log_mean(self.parameters(values, xp), xp)
        mean = mean * np.ones(len(self.answers))
        return rounded.log_likelihood(self.answers, mean, self.others(values), xp)

    def completed(
        self, values: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """Levels of the cells about the law, in logs: ``cell_level`` (cell)."""
        if not self.answers.replicated:
            return {}
        shape = next(iter(values.values())).shape[:2]
        flat = {k: v.reshape(-1, v.shape[-1]) for k, v in values.items()}
        parts = []
        for i in range(0, shape[0] * shape[1], 500):
            part = {k: v[i : i + 500] for k, v in flat.items()}
            mean = self.log_mean(self.parameters(part, arrays("numpy")), arrays("numpy"))
            parts.append(rounded.posterior_levels(self.answers, mean, self.others(part), rng))
        return {"cell_level": (("cell",), np.concatenate(parts).reshape(*shape, -1))}
