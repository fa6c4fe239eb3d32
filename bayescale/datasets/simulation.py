"""Runs whose truth is known: a law, its parameters, a design and noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.datasets.catalogue import published
from bayescale.errors import SpecError
from bayescale.laws import Law, get
from bayescale.runs import as_runs
from bayescale.runs.labels import numbered
from bayescale.runs.problems import listed, near_misses

# chosen: five sizes and five lengths a decade and a half apart, as a small lab would train them
_DESIGN = {
    "N": np.geomspace(2e7, 1e9, 5)[:, None],
    "T": np.geomspace(5e8, 2e10, 5)[None, :],
}


def simulate(
    law: str | Law = "additive",
    params: Mapping[str, Any] | None = None,
    *,
    noise: float = 0.005,
    random_seed: int | np.random.Generator = 0,
    **inputs: ArrayLike,
) -> xr.Dataset:
    """Draw runs from a law with planted parameters, to see whether a fit finds them again.

    Parameters
    ----------
    law : str or Law, default "additive"
        A registered name, or a law of your own.
    params : mapping of str to float, optional
        Every parameter of the law; or family to such a mapping, for a table with several families
        that share the design. By default, for the additive law, the constants of Besiroglu et al.
    noise : float, default 0.005
        Standard deviation of the log of the response: half a percent, as between seeds.
    random_seed : int or Generator, default 0
        The same seed draws the same runs.
    **inputs : array_like
        Inputs of the law by name. They broadcast: ``N=[[1e8], [1e9]], T=[1e9, 1e10]`` is a grid
        of four runs. By default a grid of five N and five T.

    Returns
    -------
    xarray.Dataset
        As from `as_runs`; the attributes ``truth`` (JSON), ``law`` and ``noise`` say what was
        planted.

    Examples
    --------
    >>> runs = simulate(N=1e8, T=[1e9, 1e10], noise=0.0)
    >>> runs["loss"].values.round(4)
    array([3.6744, 3.0697])
    """
    law = get(law) if isinstance(law, str) else law
    truth = _truth(law, params)
    if not (np.isfinite(noise) and noise >= 0):
        raise SpecError(f"`noise` is a standard deviation of the log: zero or more, not {noise!r}.")
    design = _design(law, inputs)
    rng = np.random.default_rng(random_seed)
    table = {name: np.tile(values, len(truth)) for name, values in design.items()}
    runs_each = len(next(iter(design.values())))
    family = np.repeat(list(truth), runs_each)
    mean = np.concatenate([law(**design, **each) for each in truth.values()])
    response = mean * np.exp(noise * rng.standard_normal(len(mean)))
    runs = as_runs(
        {"run": numbered(len(mean)), **table, law.response: response, "family": family},
        columns={name: name for name in (*design, law.response)},
        units=dict.fromkeys(design, 1),  # a law may well be in billions
    )
    planted = truth if _has_families(params) else next(iter(truth.values()))
    return runs.assign_attrs(law=law.name, truth=json.dumps(planted), noise=float(noise))


def _has_families(params: Mapping[str, Any] | None) -> bool:
    return params is not None and any(isinstance(each, Mapping) for each in params.values())


def _truth(law: Law, params: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """Parameters by family; one family called "all" unless there are several."""
    if params is None:
        if law.name != "additive":
            raise SpecError(
                f"`params` is needed for the law `{law.name}`: {listed(law.parameters)}."
            )
        constants = published("chinchilla")["Besiroglu et al. 2024"]
        params = {name: constants[name] for name in law.parameters}
    families = dict(params) if _has_families(params) else {"all": params}
    return {str(name): checked_parameters(law, name, each) for name, each in families.items()}


def checked_parameters(law: Law, family: str, params: Any) -> dict[str, float]:
    """Every parameter of a law as a number, or one error that names what is missing or unknown."""
    given = set(params) if isinstance(params, Mapping) else set()
    lacking = [name for name in law.parameters if name not in given]
    extra = sorted(given - set(law.parameters))
    if lacking or extra:
        where = "" if family == "all" else f" of family `{family}`"
        close = near_misses(extra[0], law.parameters) if extra else []
        raise SpecError(
            f"`params`{where} must name the parameters of `{law.name}`: {listed(law.parameters)}."
            + (f" Missing: {listed(lacking)}." if lacking else "")
            + (f" Unknown: {listed(extra)}." if extra else "")
            + (f" Did you mean `{close[0]}`?" if close else "")
        )
    return {name: float(params[name]) for name in law.parameters}


def _design(law: Law, inputs: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Inputs of the law as columns of equal length."""
    known = {name: _DESIGN[name] for name in law.inputs if name in _DESIGN and name not in inputs}
    lacking = [name for name in law.inputs if name not in inputs and name not in known]
    extra = [name for name in inputs if name not in law.inputs]
    if lacking or extra:
        raise SpecError(
            f"The law `{law.name}` has the inputs {listed(law.inputs)}."
            + (f" Missing: {listed(lacking)}." if lacking else "")
            + (f" Unknown: {listed(extra)}." if extra else "")
        )
    given = {name: np.asarray(values, dtype=float) for name, values in inputs.items()}
    # A default is used as it stands only if nothing was given; else it would multiply a design.
    if given and known:
        raise SpecError(
            f"Give all inputs of `{law.name}` or none of them; missing: {listed(known)}."
        )
    try:
        grid = np.broadcast_arrays(*{**known, **given}.values())
    except ValueError as error:
        shapes = ", ".join(f"`{name}` {values.shape}" for name, values in given.items())
        raise SpecError(f"The inputs do not broadcast against each other: {shapes}.") from error
    return {
        name: np.atleast_1d(values).ravel()
        for name, values in zip({**known, **given}, grid, strict=True)
    }
