"""`CriticalBatchModel`: tokens to a target against batch size, from rounded answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.errors import SpecError
from bayescale.laws import Law
from bayescale.laws.batch import batch_law, power_or_constant
from bayescale.models import batch_table
from bayescale.models import priors as default
from bayescale.models.batch_density import BatchDensity
from bayescale.models.batch_table import Intervals, cells_of, check_one_unit, intervals_of
from bayescale.models.density import Variable
from bayescale.models.distributions import Prior
from bayescale.models.loss import Sharing
from bayescale.models.noise import FAR, Groups
from bayescale.models.rounded import Answers, answers_of
from bayescale.models.table import Table
from bayescale.schema import FIELDS

if TYPE_CHECKING:
    import pymc as pm

NOISE = ("sigma", "cell_sigma", "straggler_share", "straggler_scale")


@dataclass(frozen=True)
class CriticalBatchModel:
    """Tokens (samples, epochs, steps) that a target takes, against batch size.

    Each run says how much it needed to reach one fixed quality; `time_to_target` makes such a
    table of learning curves. Answers are intervals, since runs are evaluated every so often, and
    runs that never reached the target count as "more than this".

    Parameters
    ----------
    batch : str, default "batch_size"
        Column with the batch size.
    answer : str, default "T"
        Column with what it took: ``"T"`` (tokens), ``"samples"``, ``"step"`` or your own.
    interval : float, str or None, default None
        Distance between evaluations in the unit of the answer: a number (0 where answers are
        exact), a column, or None: the column ``interval``, else the step that the answers betray.
    family : {None, "partial", "separate"}, default None
        ``None`` fits one curve to all rows. ``"partial"`` gives each family (benchmark, model
        size) a ``T_min`` of its own and draws ``ln B_crit`` (against the family's middle batch
        size), shape and noise from a population. ``"separate"`` shares nothing.
    along : str, optional
        A column (``"N"``, ``"target_loss"``) with which the critical batch size moves as a power,
        ``B_crit = B_crit_coefficient * along^B_crit_exponent``; families then scatter about it.
    T_min_along : bool, default False
        Let ``T_min`` be a power of that column as well, in place of one value a family.
    shaped : bool, default False
        Learn how sharply the curve turns (`bayescale.laws.batch.tokens_on_hyperbola`) in place of
        the plain hyperbola. Needs batches on both sides of the critical one.
    priors : mapping of str to Prior, optional
        Replaces defaults by parameter name.

    Examples
    --------
    >>> print(CriticalBatchModel(family="partial").fitted_law.formula)
    T = T_min (1 + batch_size/B_crit)
    """

    batch: str = "batch_size"
    answer: str = "T"
    interval: float | str | None = None
    family: Sharing | None = None
    along: str | None = None
    T_min_along: bool = False
    shaped: bool = False
    priors: Mapping[str, Prior] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.family not in (None, "partial", "separate"):
            raise SpecError(f"`family` is None, 'partial' or 'separate'; got {self.family!r}.")
        if self.T_min_along and not self.along:
            raise SpecError("T_min_along=True needs the column: along='N'.")
        if self.along and self.family == "separate":
            raise SpecError(
                f"along={self.along!r} ties families to one law; use it with family=None or "
                "'partial', or leave it out for family='separate'."
            )
        for name, prior in self.priors.items():
            if not isinstance(prior, Prior):
                raise SpecError(
                    f"The prior of `{name}` must be bs.Normal, bs.LogNormal or bs.LogitNormal; got "
                    f"{prior!r}."
                )

    @cached_property
    def fitted_law(self) -> Law:
        """The law as an object."""
        return batch_law(
            batch=self.batch, answer=self.answer, along=self.along, shaped=self.shaped,
            T_min_along=self.T_min_along, unit=unit_of(self.batch), answer_unit=self.answer_unit,
        )  # fmt: skip

    @property
    def named_law(self) -> None:
        """No law of the user's own: a saved fit builds its law from the options."""
        return None

    @property
    def answer_unit(self) -> str:
        """Unit of the answer; steps need a ``T_min`` in the unit of the batch."""
        return unit_of(self.answer)

    def readings(self, runs: xr.Dataset) -> xr.Dataset:
        """The runs that say something, those that never reached the target among them."""
        return batch_table.answered(runs, batch=self.batch, answer=self.answer, along=self.along)

    def density(
        self, runs: xr.Dataset, *, reference: Mapping[str, Any] | None = None
    ) -> BatchDensity:
        """The log density of this model on a table."""
        found = intervals_of(
            runs, batch=self.batch, answer=self.answer, along=self.along, interval=self.interval
        )
        if self.family is None:
            check_one_unit(found.flat, self.answer)
        cell = cells_of(found.flat, self.batch, self.along)
        table = self._table(found, cell, reference or {})
        order = table.rows
        config = table.groups.config
        first = np.searchsorted(config, np.arange(table.groups.n_configs))
        inputs = {k: v[first] for k, v in table.inputs.items()}
        answers = answers_of(
            found.lower[order], found.upper[order], config, table.groups.family, inputs
        )
        law = self.fitted_law
        return BatchDensity(law, table, self._variables(law, table, answers), answers, found)

    def to_pymc(self, runs: xr.Dataset) -> pm.Model:
        """The same model as a `pymc.Model`."""
        from bayescale.models.pymc import to_pymc

        return to_pymc(self.density(runs))

    def spec(self) -> dict[str, Any]:
        """What a saved fit needs to rebuild the model: a plain dictionary."""
        law = self.fitted_law
        return {
            "kind": "critical_batch", "law": law.name, "formula": law.formula,
            "inputs": list(law.inputs), "batch": self.batch, "answer": self.answer,
            "interval": self.interval, "family": self.family, "along": self.along,
            "T_min_along": self.T_min_along, "shaped": self.shaped,
            "priors": {name: prior.to_dict() for name, prior in self.priors.items()},
        }  # fmt: skip

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> CriticalBatchModel:
        """The model that `spec` described."""
        names = ("batch", "answer", "interval", "family", "along", "T_min_along", "shaped")
        priors = {k: Prior.from_dict(v) for k, v in spec["priors"].items()}
        return cls(**{name: spec[name] for name in names}, priors=priors)

    def __str__(self) -> str:
        law = self.fitted_law
        lines = [
            f"CriticalBatchModel: {law.formula}",
            "  answers: intervals (answer - interval, answer]; runs that never reached the target "
            "lie above",
            f"  noise {self.noise_text}",
            "  priors (T_min in multiples of the typical answer, B_crit of the middle batch size):",
        ]
        names = [*law.parameters, *NOISE]
        lines += [f"    {name:<18} ~ {self._prior(name)}" for name in names]
        return "\n".join(lines)

    def critical_batch(self, values: Mapping[str, Any], at: float | None = None) -> Any:
        """``B_crit`` from draws of the law's parameters, at ``along = at``."""
        return power_or_constant("B_crit", {**values, str(self.along): at}, self.along)

    def smallest_need(self, values: Mapping[str, Any], at: float | None = None) -> Any:
        """``T_min`` from draws of the law's parameters, at ``along = at``."""
        return power_or_constant("T_min", {**values, str(self.along): at}, self.along)

    @property
    def noise_text(self) -> str:
        """The noise as a phrase."""
        return (
            "of ln answer: Normal(0, sigma) between seeds with a share of stragglers, "
            "Normal(0, cell_sigma) between batch sizes"
        )

    @property
    def answer_text(self) -> str:
        """What a prediction is of, as a phrase."""
        return f"{_WORDS.get(self.answer, self.answer)} to the target"

    def follows(self, points: Mapping[str, Any], draws: np.ndarray) -> dict[str, np.ndarray]:
        """Steps from tokens or samples, tokens or samples from steps, ``(sample, point)``."""
        batch = np.asarray(points[self.batch], float)
        if self.answer == "step":
            return {"T" if self.batch == "batch_size" else "samples": draws * batch}
        same_unit = (self.answer, self.batch) in batch_table.SAME_UNIT
        return {"steps": draws / batch} if same_unit else {}

    def noise_of_runs(
        self, fitted: Any, family: str, rng: np.random.Generator, *, batches: bool = True
    ) -> np.ndarray:
        """Noise of a new run at a new batch size, in log answer, ``(sample,)``.

        With ``batches=False`` only that between seeds: for a batch size that was tuned already.
        """
        sigma = fitted.draws("sigma", family)
        out = sigma * rng.standard_normal(sigma.shape)
        straggles = rng.random(sigma.shape) < fitted.draws("straggler_share", family)
        out = np.where(straggles, out * fitted.draws("straggler_scale", family), out)
        if batches and "cell_sigma" in fitted.tree["posterior"]:
            out = out + fitted.draws("cell_sigma", family) * rng.standard_normal(sigma.shape)
        return out

    def _table(self, found: Intervals, cell: np.ndarray, reference: Mapping[str, Any]) -> Table:
        """The runs sorted by cell, with pivots; of the unreached, how far they came."""
        names = found.flat["family"].values.astype(str)
        families = ("all",) if self.family is None else tuple(sorted(set(names)))
        family = np.zeros(len(names), int)
        if self.family is not None:
            family = np.searchsorted(families, names)
        order = np.argsort(cell, kind="stable")
        family, config, n = family[order], cell[order], len(order)
        response = np.log(found.value)[order]
        inputs = {k: np.asarray(found.flat[k].values, float)[order] for k in self.fitted_law.inputs}
        one_law = self.along is not None  # then all families are judged at one place
        pivot = reference.get("pivot") or {
            k: _middle(np.log(x), family, len(families), together=one_law)
            for k, x in inputs.items()
        }
        typical = reference.get("typical")
        if typical is None:
            typical = _middle(response, family, len(families), together=self.T_min_along)
        of_config = family[np.searchsorted(config, np.arange(config[-1] + 1))]
        groups = Groups(
            np.arange(n), config, of_config, np.full(n, FAR), has_trajectories=False,
            has_replicates=bool(len(of_config) < n),
        )  # fmt: skip
        pivot = {k: np.asarray(v, float) for k, v in pivot.items()}
        return Table(
            response, inputs, family, families, groups, pivot, np.asarray(typical), None, order
        )

    def _variables(self, law: Law, table: Table, answers: Answers) -> tuple[Variable, ...]:
        noise = [n for n in NOISE if n != "cell_sigma" or answers.replicated]
        unknown = set(self.priors) - set(law.parameters) - set(noise)
        if unknown:
            raise SpecError(
                f"Priors for {', '.join(f'`{n}`' for n in sorted(unknown))}, which this model does "
                f"not have. It has: {', '.join((*law.parameters, *noise))}."
            )
        several = len(table.families) > 1
        out = []
        for name in (*law.parameters, *noise):
            prior = self._prior(name)
            spread = _SPREAD.get(name)
            shared = name.startswith("straggler") and self.family == "partial"  # too few to tell
            if not several or shared or name.endswith("_exponent"):
                out.append(Variable(name, prior))
            elif self.family == "separate" or spread is None:
                out.append(Variable(name, prior, "free"))
            else:
                out.append(Variable(name, prior, "pooled", spread))
        return tuple(out)

    def _prior(self, name: str) -> Prior:
        return self.priors.get(name) or _PRIORS[name]


def unit_of(column: str) -> str:
    """Unit of a column where the schema knows it."""
    return FIELDS[column].unit if column in FIELDS else ""


def _middle(log_x: np.ndarray, family: np.ndarray, n: int, *, together: bool) -> np.ndarray:
    """Geometric mean by family, or of all, ``(family,)``."""
    if together:
        return np.full(n, np.exp(log_x.mean()))
    return np.array([np.exp(log_x[family == f].mean()) for f in range(n)])


_WORDS = {"T": "tokens", "step": "steps"}
_PRIORS = {
    "T_min": default.LEAST_NEED,
    "T_min_coefficient": default.LEAST_NEED,
    "T_min_exponent": default.LEAST_NEED_POWER,
    "B_crit": default.SCALE_OF_INPUT,
    "B_crit_coefficient": default.SCALE_OF_INPUT,
    "B_crit_exponent": default.CRITICAL_BATCH_POWER,
    "shape": default.TURN,
    "sigma": default.SEED_SIGMA,
    "cell_sigma": default.BATCH_SIGMA,
    "straggler_share": default.STRAGGLER_SHARE,
    "straggler_scale": default.STRAGGLER_SCALE,
}
_SPREAD = {
    "T_min_coefficient": default.SPREAD_ABOUT_BATCH_LAW,
    "B_crit": default.SPREAD_OF_CRITICAL_BATCH,
    "B_crit_coefficient": default.SPREAD_ABOUT_BATCH_LAW,
    "shape": default.SPREAD_OF_EXPONENTS,
    "sigma": default.SPREAD_OF_SEED_SIGMA,
    "cell_sigma": default.SPREAD_OF_SIGMA,
}
