"""What separates a run from its law: heavy tails, shared errors, undertuned runs.

Log loss scatters about the log of the law. Readings that belong together (checkpoints of one run,
runs that differ in seed only) are not independent, so the unit of the likelihood is the
*configuration*: all readings of all runs with the same inputs. Its residuals, in units of
``sigma * scale``, have the correlation ::

    config_share                                  between runs of one configuration
    + run_share * (1 - config_share)              between readings of one run
    + rest * exp(-|ln T_i - ln T_j| / length)     along one trajectory

and are jointly Student-t with ``nu`` degrees of freedom, estimated from the data, so a bad run is
bad as a whole and loses its weight as a whole. No random effect is sampled: both shares are
integrated out in closed form (Sherman-Morrison, twice), in time linear in the readings.

With ``undertuned=True`` a share of the configurations is lifted by a half-normal amount: runs with
poor hyperparameters lie above the law and never below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from bayescale.errors import SpecError
from bayescale.models import priors
from bayescale.models.distributions import Prior

FAR = 1e4  # gap of a first reading: its correlation with "the one before" is zero, gradients too


@dataclass(frozen=True)
class Noise:
    """The noise of a loss model.

    Parameters
    ----------
    tail : {"student", "normal"}, default "student"
        Student-t with estimated degrees of freedom, or normal. The default needs no hand-picked
        outliers and costs little.
    undertuned : bool, default False
        Add a one-sided component for runs that were badly tuned. Where ``scale`` is set, the
        lift drifts with the noise.
    scale : str or None, default None
        An input (``"flops"``, ``"N"``, ``"T"``) along whose logarithm ``ln sigma`` may drift.
    shared : {"auto", "none"}, default "auto"
        Use the correlation of checkpoints and replicates where the table has them. ``"none"``
        treats every reading as independent; intervals are then too narrow on trajectories.
    resolution : float, default 0.5
        Readings of one trajectory that lie within this many e-folds of tokens are averaged into
        one (`bayescale.models.averaging` says why); 0 keeps them all.
    """

    tail: Literal["student", "normal"] = "student"
    undertuned: bool = False
    scale: str | None = None
    shared: Literal["auto", "none"] = "auto"
    resolution: float = 0.5

    def __post_init__(self) -> None:
        if self.tail not in ("student", "normal"):
            raise SpecError(f"Noise tail is `student` or `normal`; got {self.tail!r}.")
        if self.shared not in ("auto", "none"):
            raise SpecError(f"Noise shared is `auto` or `none`; got {self.shared!r}.")

        if not 0 <= self.resolution < 100:
            raise SpecError(
                f"Noise resolution is in e-folds of tokens, from 0; got {self.resolution!r}."
            )

    def variables(self, groups: Groups) -> dict[str, Prior]:
        """The noise parameters that this table can speak about, with their priors."""
        out = {"sigma": priors.SIGMA}
        if self.tail == "student":
            out["nu"] = priors.TAIL
        if groups.has_replicates:
            out["config_share"] = priors.CONFIG_SHARE
        if groups.has_trajectories:
            out["run_share"] = priors.RUN_SHARE
            out["correlation_length"] = priors.CORRELATION_LENGTH
        if self.scale:
            out["noise_slope"] = priors.NOISE_SLOPE
        if self.undertuned:
            out["undertuned_share"] = priors.UNDERTUNED_SHARE
            out["undertuned_scale"] = priors.UNDERTUNED_SCALE
        return out

    def describe(self) -> str:
        """The noise as a phrase."""
        tail = "StudentT(nu, 0, sigma)" if self.tail == "student" else "Normal(0, sigma)"
        out = f"ln loss = ln law + {tail}"
        if self.scale:
            out += f", sigma drifting with ln {self.scale}"
        if self.undertuned:
            out += ", plus a half-normal lift for a share of undertuned runs"
        return out

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary for the record of a fit."""
        return asdict(self)


@dataclass(frozen=True)
class Groups:
    """Which readings share their errors; readings are sorted by configuration, run and tokens.

    Attributes
    ----------
    run, config : ndarray of int, (reading,) and (run,)
        Index of the run of a reading, of the configuration of a run.
    family : ndarray of int, (config,)
    gap : ndarray, (reading,)
        ``ln T - ln T_previous``; very large (`FAR`) for the first reading of a run.
    """

    run: np.ndarray
    config: np.ndarray
    family: np.ndarray
    gap: np.ndarray
    has_trajectories: bool
    has_replicates: bool

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.config)

    @property
    def n_configs(self) -> int:
        """Number of configurations, the terms of the log-likelihood."""
        return len(self.family)

    @property
    def independent(self) -> bool:
        """Whether every reading stands alone."""
        return not (self.has_trajectories or self.has_replicates)

    @property
    def size(self) -> np.ndarray:
        """Readings per configuration, (config,)."""
        return np.bincount(self.config[self.run], minlength=self.n_configs)


def log_likelihood(
    residual: Any,
    noise: Noise,
    groups: Groups,
    log_scale: np.ndarray | None,
    values: Mapping[str, Any],
    xp: Any,
) -> Any:
    """Log density of the residuals of log loss, one term per configuration, ``(..., config)``.

    Parameters
    ----------
    residual : array, (..., reading)
        Log loss minus log law, sorted as `Groups` says.
    log_scale : ndarray or None, (reading,)
        ``ln(scale input / pivot)`` where ``noise.scale`` is set.
    values : mapping
        Noise parameters, each ``(..., family)``.
    xp : namespace
        From `bayescale.models.arrays.arrays`.
    """

    def at_config(name: str) -> Any:
        return xp.take(values[name], groups.family)

    n = groups.size
    z, log_jacobian = _standardised(residual, groups, log_scale, values, xp)
    square, cross, ones, log_det = _forms(z, groups, values, xp)
    if noise.tail == "student":
        nu = at_config("nu")
        constant = student_constants(values["nu"], groups, xp)
        log_p = constant - (nu + n) / 2 * xp.log1p(square / nu)
    else:
        log_p = student_constants(None, groups, xp) - square / 2
    if noise.undertuned:
        lift = at_config("undertuned_scale") / at_config("sigma")
        share = at_config("undertuned_share")
        lifted = _half_normal_lift(square, cross, ones, n, lift, xp)
        log_p = xp.logaddexp(xp.log1p(-share) + log_p, xp.log(share) + lifted)
    return log_p - log_det / 2 + log_jacobian


def weights(
    residual: Any,
    noise: Noise,
    groups: Groups,
    log_scale: np.ndarray | None,
    values: Mapping[str, Any],
    xp: Any,
) -> Any:
    """What the tail leaves of each configuration's say, ``(..., config)``; arguments as above.

    A Student-t is a normal whose precision is uncertain; this is the mean of that precision given
    the residuals, in units of the prior's: about 1 for a run in the middle, near 0 for one that
    is taken for an accident. Normal noise gives 1 throughout.
    """
    z, _ = _standardised(residual, groups, log_scale, values, xp)
    square, *_ = _forms(z, groups, values, xp)
    if noise.tail == "normal":
        return 1.0 + 0.0 * square
    nu = xp.take(values["nu"], groups.family)
    return (nu + groups.size) / (nu + square)


def _standardised(
    residual: Any,
    groups: Groups,
    log_scale: np.ndarray | None,
    values: Mapping[str, Any],
    xp: Any,
) -> tuple[Any, Any]:
    """Residuals in units of their noise, and the log Jacobian of that per configuration."""
    family_of_reading = groups.family[groups.config[groups.run]]
    if log_scale is None:
        sigma = values["sigma"]
        log_jacobian = -groups.size * xp.log(xp.take(sigma, groups.family))
        return residual / xp.take(sigma, family_of_reading), log_jacobian
    log_sd = xp.log(xp.take(values["sigma"], family_of_reading)) + (
        xp.take(values["noise_slope"], family_of_reading) * log_scale
    )
    return residual * xp.exp(-log_sd), -_over_configs(log_sd, groups, xp)


def _forms(z: Any, groups: Groups, values: Mapping[str, Any], xp: Any) -> tuple:
    """As `_quadratic_form`, without its work where readings are independent."""
    if groups.independent:
        return z * z, z, 1.0, 0.0
    return _quadratic_form(z, groups, values, xp)


def student_constants(nu: Any, groups: Groups, xp: Any) -> Any:
    """The terms of the density that do not depend on the residual, ``(..., config)``.

    Of a Student-t, or of a normal where ``nu`` is None. Log-gamma is slow, and there are few
    distinct (family, size) pairs among many configurations.
    """
    if nu is None:
        return -groups.size / 2 * math.log(2 * math.pi)
    pairs, index = np.unique(np.stack([groups.family, groups.size]), axis=1, return_inverse=True)
    nu, n = xp.take(nu, pairs[0]), pairs[1]
    constant = xp.gammaln((nu + n) / 2) - xp.gammaln(nu / 2) - n / 2 * xp.log(nu * math.pi)
    return xp.take(constant, index.reshape(-1))


def whitened(
    x: Any, groups: Groups, log_scale: np.ndarray | None, values: Mapping[str, Any], xp: Any
) -> tuple[Any, Any]:
    """Readings turned so that their errors are independent with variance one, NumPy.

    The squares of a configuration's sum to its quadratic form, so that a regression on rows
    treated alike is one under the correlation of the noise.

    Returns
    -------
    array, (..., reading)
    array, (..., config)
        Half the log determinant of the covariance of each configuration.
    """
    z, log_jacobian = _standardised(x, groups, log_scale, values, xp)
    w, o, log_det = _along_runs(z, groups, values, xp)
    run_share, config_share = _shares(groups, values, xp)
    of_run = lambda v: xp.take(v, groups.run)  # noqa: E731
    config_of_run = xp.take(config_share, groups.config)
    rest = (1.0 - run_share) * (1.0 - config_of_run)
    oo = _over_runs(o * o + 0.0 * w, groups, xp)
    boost = 1.0 + run_share / (1.0 - run_share) * oo
    shrink = 1.0 / np.sqrt(boost)
    along = _over_runs(w * o, groups, xp) / oo
    w = (w - of_run((1.0 - shrink) * along) * o) * of_run(1.0 / np.sqrt(rest))
    o = o * of_run(shrink / np.sqrt(rest))
    count = np.bincount(groups.run, minlength=groups.n_runs)
    log_det = _runs_to_configs(
        log_det + np.log(boost) + count * np.log(rest) + 0.0 * oo, groups, xp
    )
    if groups.has_replicates:
        oo = _over_configs(o * o + 0.0 * w, groups, xp)
        boost = 1.0 + config_share * oo
        along = _over_configs(w * o, groups, xp) / oo
        w = w - xp.take((1.0 - 1.0 / np.sqrt(boost)) * along, groups.config[groups.run]) * o
        log_det = log_det + np.log(boost)
    return w, log_det / 2 - log_jacobian


def _quadratic_form(z: Any, groups: Groups, values: Mapping[str, Any], xp: Any) -> tuple:
    """``z'Rz, 1'Rz, 1'R1, ln det`` per configuration, R the inverse of the correlation matrix.

    Readings are whitened along their trajectory (an autoregression of order one in ln T), then
    the run's and the configuration's shared parts are added by rank-one updates.
    """
    w, o, log_det = _along_runs(z, groups, values, xp)
    run_share, config_share = _shares(groups, values, xp)
    rest = (1.0 - run_share) * (1.0 - xp.take(config_share, groups.config))

    # per run, in units of the serial part's variance; only then is it divided by `rest`
    ww = _over_runs(w * w, groups, xp)
    wo = _over_runs(w * o, groups, xp)
    oo = _over_runs(o * o + 0.0 * w, groups, xp)
    count = np.bincount(groups.run, minlength=groups.n_runs)
    boost = run_share / (1.0 - run_share)
    update = 1.0 + boost * oo
    square = (ww - boost * wo * wo / update) / rest
    cross = wo / update / rest
    ones = oo / update / rest
    log_det = log_det + xp.log(update) + count * xp.log(rest)

    square, cross, ones, log_det = (
        _runs_to_configs(x + 0.0 * ww, groups, xp) for x in (square, cross, ones, log_det)
    )
    update = 1.0 + config_share * ones
    return (
        square - config_share * cross * cross / update,
        cross / update,
        ones / update,
        log_det + xp.log(update),
    )


def _along_runs(z: Any, groups: Groups, values: Mapping[str, Any], xp: Any) -> tuple:
    """Readings and ones without their serial correlation, and its log determinant per run."""
    one = np.ones_like(groups.gap)
    if not groups.has_trajectories:
        return z, one, np.zeros(groups.n_runs)
    length = xp.take(values["correlation_length"], groups.family[groups.config][groups.run])
    rho = xp.exp(-groups.gap / length)
    innovation = 1.0 - rho * rho
    shrink = 1.0 / xp.sqrt(innovation)
    log_det = _over_runs(xp.log(innovation), groups, xp)
    # of a first reading rho is zero
    return (z - rho * xp.shift(z)) * shrink, (one - rho) * shrink, log_det


def _shares(groups: Groups, values: Mapping[str, Any], xp: Any) -> tuple:
    """Shares of the noise common to a run, ``(..., run)``, and to a configuration, per config."""
    run_share, config_share = np.zeros(groups.n_runs), np.zeros(groups.n_configs)
    if groups.has_trajectories:
        run_share = xp.take(values["run_share"], groups.family[groups.config])
    if groups.has_replicates:
        config_share = xp.take(values["config_share"], groups.family)
    return run_share, config_share


def _half_normal_lift(square: Any, cross: Any, ones: Any, n: Any, lift: Any, xp: Any) -> Any:
    """Log density (without the determinant) of normal noise plus a common half-normal lift."""
    variance = 1.0 / (1.0 / (lift * lift) + ones)
    mean = variance * cross
    return (
        -n / 2 * math.log(2 * math.pi)
        - square / 2
        + math.log(2.0)
        + 0.5 * xp.log(variance)
        - xp.log(lift)
        + mean * mean / (2 * variance)
        + xp.log_ndtr(mean / xp.sqrt(variance))
    )


def _over_runs(x: Any, groups: Groups, xp: Any) -> Any:
    return x if groups.n_runs == len(groups.run) else xp.group_sum(x, groups.run, groups.n_runs)


def _runs_to_configs(x: Any, groups: Groups, xp: Any) -> Any:
    if groups.n_configs == groups.n_runs:
        return x
    return xp.group_sum(x, groups.config, groups.n_configs)


def _over_configs(x: Any, groups: Groups, xp: Any) -> Any:
    return _runs_to_configs(_over_runs(x, groups, xp), groups, xp)
