"""`LossModel`: a law of the loss, priors for its parameters, noise, and how families share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from bayescale.errors import SpecError
from bayescale.laws import Law, get
from bayescale.models import priors as default
from bayescale.models.anchors import Anchors, anchors_of
from bayescale.models.density import Variable
from bayescale.models.distributions import Prior
from bayescale.models.loss_density import Density
from bayescale.models.noise import Noise
from bayescale.models.pooling import POOLED_ROLES, pooling_text
from bayescale.models.table import Table, fitted_readings, tabulate

if TYPE_CHECKING:
    import pymc as pm

Sharing = Literal["partial", "separate"]
MISFIT = {"misfit": default.MISFIT_ABOVE_FLOOR, "misfit_length": default.MISFIT_LENGTH}


@dataclass(frozen=True)
class LossModel:
    """A law of the loss, what it misses, robust noise and a choice of pooling.

    Parameters
    ----------
    law : str or Law, default "additive"
        A name (`bayescale.laws.names`) or a law of your own.
    family : {None, "partial", "separate"}, default None
        ``None`` fits one law to all rows. ``"partial"`` gives each family its own floor and
        coefficients, and exponents drawn from a common population. ``"separate"`` shares nothing.
    priors : mapping of str to Prior, optional
        Replaces defaults by parameter name (law parameters and noise parameters). Law parameters
        are judged at the pivot: see `bayescale.models.priors`.
    noise : Noise, default ``Noise()``
        Student-t on log loss with an estimated tail.
    misfit : {"auto", "none"}, default "none"
        ``"auto"`` adds what the law does not say, as a smooth function of its inputs whose size is
        learnt (`bayescale.models.anchors`), where every family has at least four places to tell it
        from the law's constants: forecasts beyond the data are then held far more often
        (`benchmarks.forecasts`), at several times the cost. ``"none"`` believes the law to the last
        digit.

    Examples
    --------
    >>> print(LossModel("additive", family="partial").law.formula)
    L = E + A N^-alpha + B T^-beta
    """

    law: str | Law = "additive"
    family: Sharing | None = None
    priors: Mapping[str, Prior] = field(default_factory=dict)
    noise: Noise = field(default_factory=Noise)
    misfit: Literal["auto", "none"] = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "law", get(self.law) if isinstance(self.law, str) else self.law)
        if not isinstance(self.law, Law):
            raise SpecError(
                f"`law` is a name or a bayescale.laws.Law; got {type(self.law).__name__}."
            )
        if self.family not in (None, "partial", "separate"):
            raise SpecError(
                f"`family` is None, 'partial' or 'separate'; got {self.family!r}. The column that "
                "holds the family is named in as_runs(frame, family='column')."
            )
        if self.misfit not in ("auto", "none"):
            raise SpecError(f"`misfit` is 'auto' or 'none'; got {self.misfit!r}.")
        if isinstance(self.noise, str):
            object.__setattr__(self, "noise", Noise(tail=self.noise))  # type: ignore[arg-type]
        if self.misfit == "auto" and self.noise.undertuned:
            raise SpecError(
                "misfit='auto' and Noise(undertuned=True) both explain runs off the law, and a "
                "table does not tell them apart; leave one of the two out."
            )
        for name, prior in self.priors.items():
            if not isinstance(prior, Prior):
                raise SpecError(
                    f"The prior of `{name}` must be bs.Normal, bs.LogNormal or bs.LogitNormal; got "
                    f"{prior!r}."
                )

    def density(self, runs: xr.Dataset, *, reference: Mapping[str, Any] | None = None) -> Density:
        """The log density of this model on a table (`bayescale.models.density.Density`)."""
        law = self.fitted_law
        table = tabulate(
            runs,
            law,
            by_family=self.family is not None,
            noise=self.noise,
            reference=reference,
        )
        if law.scales:
            law = law.at_scales(
                **{
                    k: float(np.exp(np.log(table.pivot[k]).mean()))
                    for k in law.scales
                    if k in table.pivot
                }
            )
        anchors = self._anchors(law, table)
        return Density(law, table, self._variables(law, table, anchors), self.noise, anchors)

    def _anchors(self, law: Law, table: Table) -> Anchors | None:
        if self.misfit == "none":
            return None
        axes = tuple(name for name in law.inputs if name not in law.zero_one)
        return anchors_of(table.inputs, axes, table.family)

    @property
    def fitted_law(self) -> Law:
        """The law as an object."""
        assert isinstance(self.law, Law)
        return self.law

    @property
    def named_law(self) -> Law:
        """The law that a saved fit finds by its name."""
        return self.fitted_law

    def readings(self, runs: xr.Dataset) -> xr.Dataset:
        """The readings that are fitted, as the model sees them, ``(reading,)``."""
        return fitted_readings(runs, self.fitted_law, self.noise)

    def to_pymc(self, runs: xr.Dataset) -> pm.Model:
        """The same model as a `pymc.Model`, to open, change or sample by other means."""
        from bayescale.models.pymc import to_pymc

        return to_pymc(self.density(runs))

    def spec(self) -> dict[str, Any]:
        """What a saved fit needs to rebuild the model: a plain dictionary."""
        law = self.fitted_law
        return {
            "kind": "loss",
            "law": law.name,
            "formula": law.formula,
            "inputs": list(law.inputs),
            "family": self.family,
            "priors": {name: prior.to_dict() for name, prior in self.priors.items()},
            "noise": self.noise.to_dict(),
            "misfit": self.misfit,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> LossModel:
        """The model that `spec` described; a law of the user's own must be registered."""
        return cls(
            law=spec["law"],
            family=spec["family"],
            priors={k: Prior.from_dict(v) for k, v in spec["priors"].items()},
            noise=Noise(**spec["noise"]),
            misfit=spec.get("misfit", "none"),  # older fits do not say
        )

    def __str__(self) -> str:
        law = self.fitted_law
        lines = [f"LossModel: {law.name}", f"  {law.formula}", f"  noise: {self.noise.describe()}"]
        if self.misfit == "auto":
            lines.append("  misfit: a smooth function of the inputs' logarithms, where data allow")
        lines.append(f"  families: {pooling_text(self.family)}")
        lines.append("  priors (terms as multiples of the typical loss, at the pivot of the data):")
        names = [*law.parameters, "sigma", *(["nu"] if self.noise.tail == "student" else [])]
        if self.misfit == "auto":
            names += MISFIT
        width = max(9, *(len(name) for name in names))
        for name in names:
            prior = self._prior(law, name)
            pooled = name in law.parameters and self._pooled(law, name)
            spread = f"; between families sd of ln {default.SPREAD_OF_EXPONENTS}" if pooled else ""
            lines.append(f"    {name:<{width}} ~ {prior}{spread}")
        return "\n".join(lines)

    def _variables(self, law: Law, table: Table, anchors: Anchors | None) -> tuple[Variable, ...]:
        noise = self.noise.variables(table.groups)
        if anchors is not None:
            noise |= MISFIT
        unknown = set(self.priors) - set(law.parameters) - set(noise) - set(MISFIT)
        if unknown:
            raise SpecError(
                f"Priors for {', '.join(f'`{n}`' for n in sorted(unknown))}, which this model does "
                f"not have. It has: {', '.join((*law.parameters, *noise))}."
            )
        several = len(table.families) > 1
        out = []
        for name in (*law.parameters, *noise):
            prior = self.priors.get(name) or noise.get(name) or default.default_prior(law, name)
            if not several or self.family is None or name in MISFIT:
                out.append(Variable(name, prior))  # families miss alike, each in its own way
            elif self.family == "separate":
                out.append(Variable(name, prior, "free"))
            elif name == "sigma":
                out.append(Variable(name, prior, "pooled", default.SPREAD_OF_SIGMA))
            elif name in noise:
                out.append(Variable(name, prior))
            elif self._pooled(law, name):
                out.append(Variable(name, prior, "pooled", default.SPREAD_OF_EXPONENTS))
            else:
                out.append(Variable(name, prior, "free"))
        return tuple(out)

    def _pooled(self, law: Law, name: str) -> bool:
        return self.family == "partial" and law.parameters[name].role in POOLED_ROLES

    def _prior(self, law: Law, name: str) -> Prior:
        noise = {"sigma": default.SIGMA, "nu": default.TAIL, **MISFIT}
        return self.priors.get(name) or noise.get(name) or default.default_prior(law, name)
