"""`HyperparameterModel`: the loss with its hyperparameters, from every run of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from bayescale.errors import SpecError
from bayescale.laws import Law, get
from bayescale.laws.surface import BATCH, RATE, SHORT, RateForm, Surface
from bayescale.models import divergence
from bayescale.models import priors as default
from bayescale.models.density import Variable
from bayescale.models.distributions import Prior
from bayescale.models.loss import Sharing
from bayescale.models.misfit import Cells, cells_of
from bayescale.models.noise import FAR, Groups, Noise
from bayescale.models.pooling import POOLED_ROLES, pooling_text
from bayescale.models.surface_density import SurfaceDensity
from bayescale.models.sweep_table import check_sweep, last_readings
from bayescale.models.table import Table, check_readings, table_of

if TYPE_CHECKING:
    import pymc as pm

POOLED_POWERS = (
    "batch_power", "rate_power", "optimum_power", "batch_coupling", "noise_scale", "price_power",
    "rise", "fall", "ceiling",
)  # fmt: skip
INDEPENDENT = Noise(shared="none")
FEWEST_CELLS = 4  # with fewer places a smooth misfit is the law's own constants
FEWEST_SIZES = 3  # with fewer, what a size has of its own is the power law
# Runs from which on a cell says where its own bottom lies: with six, cells of one to five are in
# the table too, whose parabolas are not to be trusted (docs/log.md). Chosen.
RUNS_OF_A_BOWL = 8


@dataclass(frozen=True)
class HyperparameterModel:
    """The loss under the best hyperparameters, times the price of missing them.

    Every run takes part, however badly tuned: a run far from the optimum says what the miss costs,
    and so where the optimum is. Nothing is selected and no grid minimum is taken, so an optimum
    beyond the edge of a grid comes out as what it is, one-sided.

    Parameters
    ----------
    loss_law : str, Law or None, default "interacting"
        The loss under the best hyperparameters: a name (`bayescale.laws.names`), a law of your own,
        or None for a single constant, where a table has one size and one length.
    hyperparameters : tuple of str, default ("batch_size", "learning_rate")
        Columns whose optimum is sought; any positive numeric column joins by its name
        (``"weight_decay"``, ``"warmup"``).
    rate_form : {"noise_scale", "power"}, default "noise_scale"
        How the best rate follows the batch: ``eta_max / (1 + B_noise/B)``, or a power of ``B/B*``.
        The first forecasts losses better on every choosing split of `benchmarks.hyperparameters`.
    switches : tuple of str, default ()
        Columns of 0 and 1 that shift the loss, the optima and the best rate's growth with size:
        ``("mup",)`` for muP runs among others, ``("decayed",)`` for a schedule.
    family : {None, "partial", "separate"}, default None
        As in `LossModel`; ``"partial"`` gives powers and shapes a common population and leaves
        floors, coefficients and prices free.
    truncated_at : float or None, default None
        The loss above which the table has no runs (they were dropped as diverged).
    misfit : {"auto", "none"}, default "auto"
        Give each (N, T) cell a level of its own about the law, smooth in ln N and ln T
        (`bayescale.models.misfit`), and best hyperparameters of its own about their laws, where
        the table has enough cells to tell.
    trust_units : bool, default False
        Take batch sizes and rates as they are, however strange.
    priors : mapping of str to Prior, optional
        Replaces defaults by parameter name.

    Examples
    --------
    >>> model = HyperparameterModel("additive")
    >>> model.fitted_law.inputs
    ('N', 'T', 'batch_size', 'learning_rate')
    """

    loss_law: str | Law | None = "interacting"
    hyperparameters: tuple[str, ...] = (BATCH, RATE)
    rate_form: RateForm = "noise_scale"
    switches: tuple[str, ...] = ()
    family: Sharing | None = None
    truncated_at: float | None = None
    misfit: Literal["auto", "none"] = "auto"
    trust_units: bool = False
    priors: Mapping[str, Prior] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.loss_law, str):
            object.__setattr__(self, "loss_law", get(self.loss_law))
        if not (self.loss_law is None or isinstance(self.loss_law, Law)):
            raise SpecError(
                f"`loss_law` is a name, a bayescale.laws.Law or None; got {self.loss_law!r}."
            )
        for name in ("hyperparameters", "switches"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        if self.family not in (None, "partial", "separate"):
            raise SpecError(f"`family` is None, 'partial' or 'separate'; got {self.family!r}.")
        if self.misfit not in ("auto", "none"):
            raise SpecError(f"`misfit` is 'auto' or 'none'; got {self.misfit!r}.")
        if self.truncated_at is not None and not 0 < float(self.truncated_at) < np.inf:
            raise SpecError(f"`truncated_at` is a loss above zero; got {self.truncated_at!r}.")
        for name, prior in self.priors.items():
            if not isinstance(prior, Prior):
                raise SpecError(
                    f"The prior of `{name}` must be bs.Normal, bs.LogNormal or bs.LogitNormal; got "
                    f"{prior!r}."
                )
        self.surface.check()

    @cached_property
    def surface(self) -> Surface:
        """The surface as mathematics."""
        assert self.loss_law is None or isinstance(self.loss_law, Law)
        return Surface(self.loss_law, self.hyperparameters, self.rate_form, self.switches)

    @property
    def fitted_law(self) -> Law:
        """The surface as one law of all its inputs."""
        return self.surface.law

    @property
    def named_law(self) -> Law | None:
        """The law of the loss, which a saved fit finds by its name."""
        return self.surface.loss_law

    @property
    def noise(self) -> Noise:
        """How readings are seen before the price is known: independent, Student-t."""
        return INDEPENDENT

    def readings(self, runs: xr.Dataset) -> xr.Dataset:
        """The last reading of each fitted run: before its end a run's rate has not paid yet."""
        return last_readings(runs, self.fitted_law)

    def density(
        self, runs: xr.Dataset, *, reference: Mapping[str, Any] | None = None
    ) -> SurfaceDensity:
        """The log density of this model on a table."""
        flat = self.readings(runs)
        check_sweep(flat, runs, self.surface, trust_units=self.trust_units)
        law, by_family = self.fitted_law, self.family is not None
        check_readings(flat, law)
        table = table_of(flat, law, by_family=by_family, noise=INDEPENDENT, reference=reference)
        cells = None
        if self.surface.scales:
            order, found = cells_of(table.inputs, self.surface.scales, table.family)
            table = _reordered(table, order)
            if self.misfit == "auto" and len(found) >= FEWEST_CELLS:
                cells = found
        law = law.at_scales(
            **{k: float(np.exp(np.log(table.pivot[k]).mean())) for k in law.scales}
        ) if law.scales else law  # fmt: skip
        surface = self.surface
        tried = divergence.tried_runs(runs, flat, surface, table.families, by_family)
        variables = self._variables(law, table, cells, tried is not None)
        scattered: tuple[str, ...] = ()
        if cells is not None and np.median(np.bincount(cells.of_reading)) >= RUNS_OF_A_BOWL:
            scattered = tuple(SHORT.get(h, h) for h in surface.ordered)
        return SurfaceDensity(
            law, table, variables, surface, cells, tried, self.truncated_at, scattered
        )

    def to_pymc(self, runs: xr.Dataset) -> pm.Model:
        """The same model as a `pymc.Model`, with the levels of the cells sampled."""
        from bayescale.models.pymc import to_pymc

        return to_pymc(self.density(runs))

    def spec(self) -> dict[str, Any]:
        """What a saved fit needs to rebuild the model: a plain dictionary."""
        base = self.named_law
        return {
            "kind": "hyperparameters",
            "law": base.name if base else None,
            "formula": self.fitted_law.formula,
            "inputs": list(self.fitted_law.inputs),
            "hyperparameters": list(self.hyperparameters),
            "rate_form": self.rate_form,
            "switches": list(self.switches),
            "family": self.family,
            "truncated_at": self.truncated_at,
            "misfit": self.misfit,
            "trust_units": self.trust_units,
            "priors": {name: prior.to_dict() for name, prior in self.priors.items()},
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> HyperparameterModel:
        """The model that `spec` described; a loss law of the user's own must be registered."""
        return cls(
            loss_law=spec["law"],
            hyperparameters=tuple(spec["hyperparameters"]),
            rate_form=spec["rate_form"],
            switches=tuple(spec["switches"]),
            family=spec["family"],
            truncated_at=spec["truncated_at"],
            misfit=spec["misfit"],
            trust_units=spec["trust_units"],
            priors={k: Prior.from_dict(v) for k, v in spec["priors"].items()},
        )

    def __str__(self) -> str:
        law = self.fitted_law
        lines = [f"HyperparameterModel: {law.formula}"]
        lines.append("  noise: StudentT(nu, 0, sqrt(sigma^2 + (price_noise price)^2)) on log loss")
        if self.misfit == "auto":
            lines.append("  misfit: a level for each (N, T), smooth in ln N and ln T")
            lines.append("  scatter: the best values of each (N, T) lie about their law")
        if self.truncated_at is not None:
            lines.append(
                f"  truncated: the table has no runs above a loss of {self.truncated_at:g}"
            )
        lines.append(f"  families: {pooling_text(self.family)}")
        lines.append(
            "  priors (terms in multiples of the typical loss, optima in multiples of what"
        )
        lines.append("  was tried, both at the pivot of the data):")
        for name in law.parameters:
            lines.append(
                f"    {name:<16} ~ {self.priors.get(name) or default.default_prior(law, name)}"
            )
        for name, prior in self._noise_priors(True, True, True, "N" in self.surface.scales).items():
            lines.append(f"    {name:<16} ~ {self.priors.get(name) or prior}")
        return "\n".join(lines)

    def _noise_priors(
        self, cells: bool, replicated: bool, cliff: bool, sized: bool
    ) -> dict[str, Prior]:
        out = {"sigma": default.SIGMA, "nu": default.TAIL, "price_noise": default.PRICE_NOISE}
        if cells:
            out |= {"misfit": default.MISFIT, "misfit_length": default.MISFIT_LENGTH}
            if replicated:
                out["cell_sigma"] = default.CELL_SIGMA
            short = [SHORT.get(h, h) for h in self.surface.ordered]
            out |= {f"{name}_scatter": default.OPTIMUM_SCATTER for name in short}
            if sized:
                out |= {f"{name}_scatter_N": default.OPTIMUM_SCATTER_OF_SIZES for name in short}
        if cliff:
            out |= divergence.variables(self.surface)
        return out

    def _variables(
        self, law: Law, table: Table, cells: Cells | None, cliff: bool
    ) -> tuple[Variable, ...]:
        known = cells is not None
        noise = self._noise_priors(known, known and cells.replicated, cliff, _several_a_size(cells))
        unknown = set(self.priors) - set(law.parameters) - set(noise)
        if unknown:
            raise SpecError(
                f"Priors for {', '.join(f'`{n}`' for n in sorted(unknown))}, which this model does "
                f"not have on this table. It has: {', '.join((*law.parameters, *noise))}."
            )
        several = len(table.families) > 1
        out = []
        for name in law.parameters:
            prior = self.priors.get(name) or default.default_prior(law, name)
            if not several or self.family is None:
                out.append(Variable(name, prior))
            elif self.family == "separate" or (spread := _spread(law, name)) is None:
                out.append(Variable(name, prior, "free"))
            else:
                out.append(Variable(name, prior, "pooled", spread))
        for name, prior in noise.items():
            prior = self.priors.get(name) or prior
            if several and self.family is not None and name == "sigma":
                out.append(Variable(name, prior, "pooled", default.SPREAD_OF_SIGMA))
            else:
                out.append(Variable(name, prior))
        return tuple(out)


def _several_a_size(cells: Cells | None) -> bool:
    """Whether what cells of one size share can be told from what each has of its own."""
    if cells is None or "N" not in cells.axes:
        return False
    return FEWEST_SIZES <= cells.n_sizes <= len(cells) / 1.5


def _spread(law: Law, name: str) -> Prior | None:
    """How far families lie apart in a parameter; None where they share nothing."""
    role = law.parameters[name].role
    if role in POOLED_ROLES:
        return default.SPREAD_OF_EXPONENTS
    if role in ("rise", "fall", "noise_scale"):
        return default.SPREAD_OF_EXPONENTS
    if role in POOLED_POWERS or role == "mup_power":
        return default.SPREAD_OF_POWERS
    return None


def _reordered(table: Table, order: np.ndarray) -> Table:
    """The table with its readings in another order; they are independent."""
    family, index = table.family[order], np.arange(len(order))
    return replace(
        table,
        response=table.response[order],
        inputs={k: v[order] for k, v in table.inputs.items()},
        family=family,
        groups=Groups(index, index, family, np.full(len(index), FAR), False, False),
        rows=table.rows[order],
    )
