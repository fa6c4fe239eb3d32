"""Posterior predictions of the loss at given points, and the compute frontier.

Nothing is compiled: the law is broadcast over the posterior draws in NumPy. A prediction is for
the mean curve (``kind="mean"``) or for a new run, with its noise (``kind="response"``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, interval, percent, si
from bayescale.errors import DataError, ExtrapolationWarning
from bayescale.inference.curve import mean_loss, misfit_paths, total_price
from bayescale.inference.tree import Fitted, opened

FAR_DECADES = 3.0  # beyond this a forecast carries a warning; chosen


@dataclass(frozen=True, repr=False)
class Prediction(Answer):
    """Draws of the loss at points, with intervals and the distance from the data.

    Attributes
    ----------
    draws : xarray.DataArray, (sample, point)
        Loss of a new run (``kind="response"``) or of the mean curve.
    curve : xarray.DataArray, (sample, point)
        Loss of the mean curve, whatever ``kind`` is.
    at : dict of ndarray, (point,)
    kind : str
    ci_prob : float
    warning : str
        What the fit's convergence gate has to say; empty for a good fit.
    also : dict of xarray.DataArray, (sample, point)
        What follows from the draws: steps, where they are tokens to a target.
    """

    draws: xr.DataArray
    curve: xr.DataArray
    at: dict[str, np.ndarray]
    decades_beyond: np.ndarray
    kind: str
    ci_prob: float
    warning: str = ""
    fitted: Fitted | None = None
    also: Mapping[str, xr.DataArray] = field(default_factory=dict)

    @property
    def data(self) -> xr.Dataset:
        """Draws and points as one Dataset."""
        points = {k: ("point", v) for k, v in self.at.items()}
        return xr.Dataset({"draws": self.draws, "curve": self.curve, **points, **self.also})

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a point: inputs, mean (of the curve), median, lower, upper, decades_beyond."""
        low, high = interval(self.draws.values, self.ci_prob)
        more = {}
        for name, x in self.also.items():
            ends = interval(x.values, self.ci_prob)
            more |= {name: np.median(x, axis=0), f"{name}_lower": ends[0], f"{name}_upper": ends[1]}
        return pd.DataFrame(
            {
                **self.at,
                "mean": self.curve.values.mean(axis=0),
                "median": np.median(self.draws.values, axis=0),
                "lower": low,
                "upper": high,
                **more,
                "decades_beyond": self.decades_beyond,
            }
        )

    @property
    def text(self) -> str:
        """One sentence a point."""
        what = "a new run" if self.kind == "response" else "the mean curve"
        lines = [self.warning] if self.warning else []
        answer = getattr(self.fitted.model, "answer_text", "loss") if self.fitted else "loss"
        shown = "{:.4f}".format if answer == "loss" else si
        for row in self.table.to_dict("records"):
            where = ", ".join(
                f"{k} = {si(v)}" if isinstance(v, float) else f"{k} = {v}"
                for k, v in row.items()
                if k in self.at
            )
            far = row["decades_beyond"]
            reach = f"; {far:.1f} decades beyond the data" if far > 0.05 else "; inside the data"
            lines.append(
                f"At {where}: {answer} of {what} {shown(row['median'])}, {percent(self.ci_prob)} "
                f"interval {shown(row['lower'])} to {shown(row['upper'])}{reach}."
            )
        return "\n".join(lines)

    def plot(self, **kwargs: Any) -> Any:
        """The forecast with the data, as a matplotlib figure."""
        from bayescale import plots

        if self.fitted is not None and self.fitted.spec["model"]["kind"] == "critical_batch":
            return plots.batch(self.fitted, **kwargs)
        return plots.forecast(self, **kwargs)


def predict(
    fit: xr.DataTree,
    at: Mapping[str, Any] | pd.DataFrame,
    *,
    kind: Literal["response", "mean"] = "response",
    ci_prob: float = 0.9,
    family: str | None = None,
    random_seed: int = 0,
) -> Prediction:
    """The loss at new points, as posterior draws.

    Parameters
    ----------
    fit : xarray.DataTree
        From `bayescale.fit`.
    at : mapping of array_like, (point,)
        The law's inputs by name (``N`` parameters, ``T`` tokens, ...), and ``family`` where the
        fit tells families apart. Scalars are broadcast. Hyperparameters may be left out: they are
        then at their best, which each draw knows for itself.
    kind : {"response", "mean"}, default "response"
        A new run with its noise, or the mean curve. Compare runs with the first: the second is
        narrower and is not a forecast of a run.
    ci_prob : float, default 0.9
        Probability of the equal-tailed interval in ``.table``.
    family : str, optional
        One family for all points, instead of ``at["family"]``.
    random_seed : int, default 0
        For the noise of new runs.

    Returns
    -------
    Prediction
        ``.draws`` (sample, point), ``.table``, ``.text``, ``.data``, ``.plot()``.

    Examples
    --------
    >>> pred = bs.predict(fit, at={"N": [7e10], "T": [1.4e12]})  # doctest: +SKIP
    """
    if kind not in ("response", "mean"):
        raise DataError(f"`kind` is 'response' or 'mean'; got {kind!r}.")
    if not 0 < ci_prob < 1:
        raise DataError(f"`ci_prob` is a probability between 0 and 1; got {ci_prob!r}.")
    fitted = opened(fit)
    points, families = points_of(fitted, at, family)
    mean = curve(fitted, points, families)
    draws = mean if kind == "mean" else mean * np.exp(noise(fitted, points, families, random_seed))
    beyond = decades_beyond(fitted, points, families)
    if beyond.max(initial=0) > FAR_DECADES:
        warnings.warn(
            f"A point lies {beyond.max():.1f} decades of compute beyond the data; the interval "
            "holds if the law does. See decades_beyond in the table.",
            ExtrapolationWarning,
            stacklevel=2,
        )
    shown = dict(points)
    if fitted.by_family:
        shown = {"family": families, **shown}
    as_array = lambda x: xr.DataArray(x, dims=("sample", "point"))  # noqa: E731
    return Prediction(
        as_array(draws), as_array(mean), shown, beyond, kind, ci_prob, fitted.warning, fitted,
        {k: as_array(v) for k, v in fitted.model.follows(points, draws).items()}
        if hasattr(fitted.model, "follows") else {},
    )  # fmt: skip


def points_of(
    fitted: Fitted, at: Mapping[str, Any] | pd.DataFrame, family: str | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Checked inputs, ``(point,)`` each, and the family of each point."""
    given = {str(k): np.atleast_1d(np.asarray(at[k])) for k in at}
    if "flops" in fitted.law.inputs and "flops" not in given and {"N", "T"} <= set(given):
        given["flops"] = 6.0 * given["N"].astype(float) * given["T"].astype(float)
    free = fitted.surface.hyperparameters if fitted.surface is not None else ()
    missing = [name for name in fitted.law.inputs if name not in given and name not in free]
    if missing:
        raise DataError(
            f"`at` lacks {', '.join(f'`{m}`' for m in missing)}; the law `{fitted.law.name}` takes "
            f"{', '.join(fitted.law.inputs)}. Got: {', '.join(given) or 'nothing'}."
        )
    try:
        size = np.broadcast_shapes(*(x.shape for x in given.values()))
    except ValueError:
        lengths = ", ".join(f"{k}: {len(v)}" for k, v in given.items())
        raise DataError(f"The columns of `at` differ in length ({lengths}).") from None
    points, zero_one = {}, fitted.law.zero_one
    for name in (n for n in fitted.law.inputs if n in given):
        x = np.broadcast_to(given[name].astype(float), size)
        allowed = (x == 0) | (x == 1) if name in zero_one else x > 0
        bad = np.flatnonzero(~(np.isfinite(x) & allowed))
        if len(bad):
            wanted = "0 or 1" if name in zero_one else "positive"
            raise DataError(
                f"`at` has {name} = {x[bad[0]]:g} at point {bad[0]}; it must be {wanted}."
            )
        points[name] = x.copy()
    names = given.get("family", np.array([family]) if family else None)
    if not fitted.by_family:
        return points, np.full(size, fitted.families[0], dtype=object)
    names = np.broadcast_to(names, size) if names is not None else np.full(size, None)
    return points, np.array([fitted.family(f) for f in names], dtype=object)


def curve(fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray) -> np.ndarray:
    """The mean loss at each point for each draw, ``(sample, point)``."""
    columns: list[np.ndarray | None] = [None] * len(families)
    for name in dict.fromkeys(families):
        index = np.flatnonzero(families == name)
        loss = mean_loss(fitted, {k: v[index][None, :] for k, v in points.items()}, name)
        for i, k in enumerate(index):
            columns[k] = loss[:, i]
    return np.stack(columns, axis=1)  # type: ignore[arg-type]


def noise(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray, random_seed: int
) -> np.ndarray:
    """Noise of a new run, in log loss, ``(sample, point)``; independent between points."""
    rng = np.random.default_rng(random_seed)
    if fitted.surface is not None:
        return _noise_of_surface(fitted, points, families, rng)
    if hasattr(fitted.model, "noise_of_runs"):
        return np.stack([fitted.model.noise_of_runs(fitted, f, rng) for f in families], axis=1)
    return _noise_of_law(fitted, points, families, rng)


def _noise_of_surface(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Student-t that widens with the price, and what all runs of a new cell share."""
    out = np.empty((len(fitted.draws("sigma", families[0])), len(families)))
    for name in dict.fromkeys(families):
        index = np.flatnonzero(families == name)
        here = {k: v[index][None, :] for k, v in points.items()}
        price = total_price(fitted, here, name)
        sigma, nu = fitted.draws("sigma", name)[:, None], fitted.draws("nu", name)[:, None]
        scale = np.sqrt(sigma**2 + (fitted.draws("price_noise", name)[:, None] * price) ** 2)
        z = rng.standard_normal((len(out), len(index)))
        out[:, index] = scale * z / np.sqrt(rng.chisquare(nu, z.shape) / nu)
        paths = misfit_paths(fitted, name)
        if paths is not None and paths.cell_sigma is not None:
            place = np.stack([np.log(here[a][0]) for a in paths.cells.axes], axis=-1)
            _, cell = np.unique(place, axis=0, return_inverse=True)
            cell = cell.reshape(-1)
            own = paths.cell_sigma * rng.standard_normal((len(out), cell.max() + 1))
            known, _ = paths.cells.at(place, paths.family)  # a cell with runs has its level already
            out[:, index] += np.where(known, 0.0, own[:, cell])
    return out


def _noise_of_law(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    model = fitted.model.noise
    out = []
    for k, name in enumerate(families):
        sigma, widening = fitted.draws("sigma", name), 1.0
        if model.scale:
            pivot = _pivot(fitted, model.scale, name)
            at = scale_input(points, model.scale)[k]
            widening = np.exp(fitted.draws("noise_slope", name) * np.log(at / pivot))
            sigma = sigma * widening
        z = rng.standard_normal(len(sigma))
        if model.tail == "student":
            nu = fitted.draws("nu", name)
            z = z / np.sqrt(rng.chisquare(nu) / nu)
        e = sigma * z
        if model.undertuned:
            lifted = rng.random(len(sigma)) < fitted.draws("undertuned_share", name)
            lift = np.abs(rng.standard_normal(len(sigma))) * widening
            lift = lift * fitted.draws("undertuned_scale", name)
            normal = sigma * rng.standard_normal(len(sigma))
            e = np.where(lifted, normal + lift, e)
        out.append(e)
    return np.stack(out, axis=1)


def scale_input(points: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A column of the points; compute is 6NT where it is not an input of the law."""
    if name in points:
        return points[name]
    if name == "flops" and {"N", "T"} <= set(points):
        return 6.0 * points["N"] * points["T"]
    raise DataError(f"The noise depends on `{name}`, which `at` lacks; have {', '.join(points)}.")


def check_points(name: str, values: Any) -> np.ndarray:
    """Positive finite numbers as an array, or one clear error."""
    x = np.atleast_1d(np.asarray(values, float))
    bad = np.flatnonzero(~(np.isfinite(x) & (x > 0)))
    if len(bad):
        raise DataError(f"`{name}` must be positive; got {x[bad[0]]:g} at position {bad[0]}.")
    return x


def decades_beyond_flops(fitted: Fitted, flops: float, family: str | None) -> float:
    """Decades of compute from the largest fitted run to a budget; 0 inside."""
    seen = fitted.readings(family if fitted.by_family else None)
    most = seen["flops"] if "flops" in seen else 6.0 * seen["N"] * seen["T"]
    return float(max(0.0, np.log10(flops / most.max())))


def _pivot(fitted: Fitted, name: str, family: str) -> float:
    return float(np.asarray(fitted.spec["pivot"][name])[fitted.families.index(family)])


def decades_beyond(
    fitted: Fitted, points: Mapping[str, np.ndarray], families: np.ndarray
) -> np.ndarray:
    """Decades of compute from the largest fitted run to each point; 0 inside, ``(point,)``.

    Where the law's inputs do not give compute, decades beyond the largest value of any input.
    """
    out = np.zeros(len(families))
    law = fitted.law if fitted.surface is None else fitted.surface.loss_law
    if law is None:  # one cell: hyperparameters are no distance in compute
        return out
    for name in dict.fromkeys(families):
        index = np.flatnonzero(families == name)
        seen = fitted.readings(name if fitted.by_family else None)
        here = {k: v[index] for k, v in points.items()}
        out[index] = _distance(seen, here, law.inputs)
    return out


def _distance(
    seen: Mapping[str, np.ndarray], here: Mapping[str, np.ndarray], inputs: tuple[str, ...]
) -> np.ndarray:
    if {"N", "T"} <= set(inputs):
        far = np.log10(here["N"] * here["T"]) - np.log10(seen["N"] * seen["T"]).max()
        return np.maximum(far, 0.0)
    far = [np.log10(here[k]) - np.log10(seen[k]).max() for k in inputs]
    return np.maximum(np.max(far, axis=0), 0.0)
