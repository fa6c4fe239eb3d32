"""A fit as an `xarray.DataTree` that describes itself: building, saving, loading, reading.

Groups: ``posterior`` (the law's own names), ``sample_stats``, ``observed_data``, ``runs`` (the
whole table, set-aside rows included). The root attributes hold one JSON text, ``bayescale``, with
everything needed to predict from the file alone: law, priors, pooling, noise, pivots, sampler,
seed, versions, convergence. No pickle; no model is compiled to read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import DataError, SpecError
from bayescale.laws import Law, names
from bayescale.laws.surface import Surface
from bayescale.models import model_from_spec
from bayescale.models.density import AbstractDensity

FORMAT = 1  # raised when a saved fit of an older version would be read wrongly


def build_tree(
    density: AbstractDensity,
    model: Any,
    runs: xr.Dataset,
    values: Mapping[str, np.ndarray],
    stats: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
    latents: Mapping[str, tuple[tuple[str, ...], np.ndarray]] | None = None,
) -> xr.DataTree:
    """The DataTree of a fit from draws of named values, ``(chain, draw[, family])`` each.

    ``latents`` are draws with dimensions of their own: name to (dims after chain and draw, draws).
    """
    table = density.table
    n_chains, n_draws = next(iter(values.values())).shape[:2]
    coords = {"chain": np.arange(n_chains), "draw": np.arange(n_draws)}
    response = density.law.response
    unit = str(runs[response].attrs.get("units", "")) if response in runs else ""
    posterior = {}
    for name, x in values.items():
        dims = ("chain", "draw", "family") if x.ndim == 3 else ("chain", "draw")
        posterior[name] = (dims, x, _attributes(density.law, name, unit))
    for name, (more, x) in (latents or {}).items():
        posterior[name] = (("chain", "draw", *more), x)
    if any("family" in dims for dims, *_ in posterior.values()):
        coords["family"] = np.asarray(table.families)
    spec = {
        "format": FORMAT,
        "model": model.spec(),
        "scales": dict(density.law.scales),
        "families": list(table.families),
        "pivot": {k: v.tolist() for k, v in table.pivot.items()},
        "typical": table.typical.tolist(),
        **record,
    }
    stat_dims = {name: (("chain", "draw"), x) for name, x in stats.items()}
    observed = xr.Dataset(
        {
            density.law.response: ("reading", np.exp(table.response)),
            **{k: ("reading", v) for k, v in table.inputs.items()},
            "family": ("reading", np.asarray(table.families)[table.family]),
        }
    )
    tree = xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs={"bayescale": json.dumps(spec), "status": record["status"]}),
            "posterior": xr.Dataset(posterior, coords),
            "sample_stats": xr.Dataset(
                stat_dims, {"chain": coords["chain"], "draw": coords["draw"]}
            ),
            "observed_data": observed,
            "runs": runs,
        }
    )
    return tree


@dataclass(frozen=True)
class Fitted:
    """A fit opened for use: the law, its parameters as draws, and where the data lie.

    Everything after inference (predict, plan, check, plots) reads a fit through this. ``kept``
    holds what is computed once and asked for many times, such as misfit paths.
    """

    tree: xr.DataTree
    law: Law
    model: Any
    spec: dict[str, Any]
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the families; one name, ``all``, where the model does not tell them apart."""
        return tuple(self.spec["families"])

    @property
    def by_family(self) -> bool:
        """Whether the law's parameters differ between families."""
        return self.model.family is not None and len(self.families) > 1

    @property
    def ok(self) -> bool:
        """Whether the sampler's gate let the fit pass."""
        return self.spec["status"] != "failed"

    @property
    def warning(self) -> str:
        """A sentence to put in front of every text made from a fit that did not pass, or ''."""
        if self.spec["status"] == "ok":
            return ""
        strength = "FAILED FIT, do not use" if not self.ok else "Warning"
        return f"{strength}: " + " ".join(self.spec["messages"])

    @property
    def surface(self) -> Surface | None:
        """The surface of a model with hyperparameters; None for others."""
        return getattr(self.model, "surface", None)

    @cached_property
    def runs(self) -> xr.Dataset:
        """The table of runs."""
        return self.tree["runs"].to_dataset()

    @cached_property
    def density(self) -> AbstractDensity:
        """The log density that was sampled."""
        reference = {
            "pivot": {k: np.asarray(v) for k, v in self.spec["pivot"].items()},
            "typical": np.asarray(self.spec["typical"]),
        }
        return self.model.density(self.runs, reference=reference)

    def draws(self, name: str, family: str | None = None) -> np.ndarray:
        """Draws of one quantity, ``(sample,)``, chains one after the other."""
        x = self.tree["posterior"].dataset[name]
        if "family" in x.dims:
            x = x.sel(family=self.family(family))
        return x.values.reshape(-1)

    def parameters(self, family: str | None = None) -> dict[str, np.ndarray]:
        """The law's parameters, ``(sample,)`` each."""
        return {name: self.draws(name, family) for name in self.law.parameters}

    def family(self, name: str | None) -> str:
        """``name`` checked, or the only family there is."""
        if not self.by_family:
            self.asked_family(name)
            return self.families[0]
        if name is None or name not in self.families:
            raise SpecError(
                ("This fit tells families apart; name one with family=. " if name is None else
                 f"No family `{name}` in this fit. ")
                + f"It has: {', '.join(self.families)}."
            )  # fmt: skip
        return name

    def asked_family(self, name: str | None) -> str | None:
        """``name`` checked; None where the fit does not tell families apart.

        There a name is refused, for the answer would not be that family's own.
        """
        if self.by_family:
            return self.family(name)
        known = {*self.families, *np.unique(self.runs["family"].values.astype(str))}
        if name is not None and (len(known - {"all"}) > 1 or name not in known):
            raise SpecError(
                f"family={name!r} was asked for, and this fit has one law for all its runs. Leave "
                "family= out, or fit a model with family='partial' or 'separate'."
            )
        return None

    def readings(self, family: str | None = None) -> dict[str, np.ndarray]:
        """Fitted readings: inputs of the law and its response, ``(reading,)`` each."""
        data = self.tree["observed_data"].dataset
        keep = slice(None)
        if self.by_family and family is not None:
            keep = np.flatnonzero(data["family"].values == self.family(family))
        return {str(k): data[k].values[keep] for k in data.data_vars}


def opened(fit: xr.DataTree) -> Fitted:
    """A fit as `Fitted`."""
    if not isinstance(fit, xr.DataTree) or "bayescale" not in fit.attrs:
        raise SpecError(
            "Expected a fit, the DataTree that bayescale.fit or bayescale.load_fit returns; got "
            f"{type(fit).__name__}."
        )
    spec = json.loads(fit.attrs["bayescale"])
    try:
        model = model_from_spec(spec["model"])
    except SpecError as error:
        if spec["model"]["law"] in names():
            raise
        raise SpecError(
            f"This fit was made with a law of your own, `{spec['model']['law']}` "
            f"({spec['model']['formula']}). A function cannot be saved with it: "
            "register it first, bayescale.laws.register(law)."
        ) from error
    law = model.fitted_law
    return Fitted(fit, law.at_scales(**spec["scales"]) if spec["scales"] else law, model, spec)


def load_fit(path: str | Path) -> xr.DataTree:
    """A fit saved with ``fit.to_netcdf(path)``, in memory.

    Raises
    ------
    DataError
        No such file, not a netCDF file, or not a fit of bayescale.
    SpecError
        The fit was saved by a newer version.
    """
    path = Path(path)
    if not path.exists():
        near = sorted(p.name for p in path.parent.glob("*.nc")) if path.parent.exists() else []
        raise DataError(
            f"No file `{path}`. "
            + (f"That folder has: {', '.join(near[:8])}." if near else "No .nc file is near it.")
        )
    try:
        with xr.open_datatree(path, engine="h5netcdf") as stored:
            tree = stored.load()
    except (OSError, ValueError) as error:
        raise DataError(f"`{path}` is not a netCDF file that can be read: {error}") from error
    if "bayescale" not in tree.attrs:
        raise DataError(
            f"`{path}` is netCDF but not a saved fit; a fit is saved with fit.to_netcdf(path), "
            "and a table of runs is read with read_runs(path)."
        )
    found = json.loads(tree.attrs["bayescale"])["format"]
    if found > FORMAT:
        raise SpecError(
            f"`{path}` was saved in format {found}; this version of bayescale reads up to "
            f"{FORMAT}. Upgrade bayescale."
        )
    return tree


def _attributes(law: Law, name: str, unit_of_loss: str) -> dict[str, str]:
    parameter = law.parameters.get(name)
    if parameter is None:
        return {}
    unit = unit_of_loss if parameter.unit == "nats" else parameter.unit
    return {"units": unit, "long_name": parameter.meaning}
