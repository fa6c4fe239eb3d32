"""Log densities written a second time, with NumPy, SciPy and dense matrices only.

Nothing here calls the package's arithmetic: laws are spelled out about their pivots, priors are
standard normals of the stated coordinates, and noise is `scipy.stats` with explicit covariances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import integrate, stats

Values = Mapping[str, Any]


def _additive(s: Values, x: Values) -> Any:
    return s["E"] + s["A"] * x["N"] ** -s["alpha"] + s["B"] * x["T"] ** -s["beta"]


def _coupled(s: Values, x: Values) -> Any:
    terms = s["A"] * x["N"] ** -s["alpha"], s["B"] * x["T"] ** -s["beta"]
    return sum(term ** (1 / s["beta"]) for term in terms) ** s["beta"]


def _interacting(s: Values, x: Values) -> Any:
    exponent = s["beta"] * x["N"] ** s["delta"]
    drift = s["B"] * x["N"] ** -s["kappa"]
    return s["E"] + s["A"] * x["N"] ** -s["alpha"] + drift * x["T"] ** -exponent


def _skaling(s: Values, x: Values) -> Any:
    terms = s["A"] * x["N"] ** -s["alpha"], s["B"] * x["T"] ** -s["beta"]
    return s["E"] + sum(term ** (1 / s["k"]) for term in terms) ** s["k"]


def _broken(s: Values, x: Values) -> Any:
    bend = (1 + (x["T"] / s["T_b"]) ** (1 / s["s"])) ** (-s["s"] * (s["beta_2"] - s["beta"]))
    return s["E"] + s["A"] * x["N"] ** -s["alpha"] + s["B"] * x["T"] ** -s["beta"] * bend


def _isoflop(s: Values, x: Values) -> Any:
    off = np.log(x["N"] / (s["G"] * x["flops"] ** s["a"]))
    return s["E"] + s["K"] * x["flops"] ** -s["gamma"] * (1 + s["w"] * off**2)


# with inputs as multiples of their pivots and coefficients in losses, as they are sampled
LAWS: dict[str, Callable[[Values, Values], Any]] = {
    "additive": _additive,
    "coupled": _coupled,
    "interacting": _interacting,
    "skaling": _skaling,
    "broken": _broken,
    "size": lambda s, x: s["E"] + s["A"] * x["N"] ** -s["alpha"],
    "data": lambda s, x: s["E"] + s["B"] * x["T"] ** -s["beta"],
    "critical_batch": lambda s, x: s["T_min"] * (1 + x["batch_size"] / s["B_crit"]),
    "compute": lambda s, x: s["E"] + s["K"] * x["flops"] ** -s["gamma"],
    "compute_no_floor": lambda s, x: s["K"] * x["flops"] ** -s["gamma"],
    "isoflop": _isoflop,
}
LOSSES = ("E", "A", "B", "K", "T_min")  # sampled as multiples of the typical response


def repeated(s: Values, inputs: Values, pivot: Values) -> Any:
    """The law of repeated data in tokens and parameters, since its copies are not scale-free."""
    A, B = (s[k] * pivot[x] ** s[e] for k, x, e in (("A", "N", "alpha"), ("B", "T", "beta")))
    N, T, U = (inputs[name] for name in "NTU")

    def worth(amount: Any, unique: Any, scale: Any) -> Any:
        unique = np.minimum(amount, unique)
        return unique * (1 + scale * (1 - np.exp(-(amount / unique - 1) / scale)))

    # the size that the unique tokens deserve: where both terms gain as much from more compute
    seen = np.minimum(T, U)
    matched = (s["alpha"] * A / (s["beta"] * B) * seen ** s["beta"]) ** (1 / s["alpha"])
    size, data = worth(N, matched, s["R_N"]), worth(T, U, s["R_D"])
    return s["E"] + A * size ** -s["alpha"] + B * data ** -s["beta"]


def log_density(density: Any, u: np.ndarray) -> float:
    """Log prior plus log likelihood of one family's density at one flat vector."""
    table = density.table
    value, total = {}, 0.0
    for v, x in zip(density.variables, u, strict=True):
        total += stats.norm.logpdf(x)
        y = v.prior.loc + v.prior.sd * x
        span = v.prior.high - v.prior.low
        value[v.name] = {
            "real": y,
            "log": v.prior.low + np.exp(y),
            "logit": v.prior.low + span * stats.logistic.cdf(y),
        }[v.prior.scale]
    typical = table.typical[0]
    law = {k: x * typical if k in LOSSES else x for k, x in value.items()}
    pivot = {name: np.exp(np.log(x).mean()) for name, x in table.inputs.items()}
    if density.law.name == "repeated":
        mean = repeated(law, table.inputs, pivot)
    else:
        mean = LAWS[density.law.name](law, {k: x / pivot[k] for k, x in table.inputs.items()})
    return total + log_likelihood(density, table.response - np.log(mean), value)


def log_likelihood(density: Any, residual: np.ndarray, value: Values) -> float:
    """Sum over configurations, each with its covariance written out."""
    groups, noise, total = density.table.groups, density.noise, 0.0
    config = groups.config[groups.run]
    log_t = np.log(density.table.inputs.get("T", np.ones(len(residual))))
    sd = np.full(len(residual), value["sigma"])
    if noise.scale:
        sd = sd * np.exp(value["noise_slope"] * density.table.log_scale)
    for c in range(groups.n_configs):
        i = np.flatnonzero(config == c)
        same = groups.run[i][:, None] == groups.run[i][None, :]
        serial, run_share = np.eye(len(i)), 0.0
        if groups.has_trajectories:
            gap = np.abs(log_t[i][:, None] - log_t[i][None, :])
            serial = np.where(same, np.exp(-gap / value["correlation_length"]), 0.0)
            run_share = value["run_share"]
        common = value.get("config_share", 0.0)
        shape = common + (1 - common) * (run_share * same + (1 - run_share) * serial)
        total += _one(residual[i], sd[i], shape, noise, value)
    return total


def _one(r: np.ndarray, sd: np.ndarray, shape: np.ndarray, noise: Any, value: Values) -> float:
    cov = shape * np.outer(sd, sd)
    zero = np.zeros(len(r))
    if noise.tail == "student":
        plain = stats.multivariate_t(zero, cov, df=value["nu"]).logpdf(r)
    else:
        plain = stats.multivariate_normal(zero, cov).logpdf(r)
    if not noise.undertuned:
        return float(plain)
    # a lift common to the configuration, half-normal, integrated numerically; in units of the
    # noise where that drifts
    unit = sd / value["sigma"]
    scale = value["undertuned_scale"]
    inverse = np.linalg.inv(cov)
    precision = unit @ inverse @ unit + scale**-2
    at = (unit @ inverse @ r) / precision  # where the integrand peaks, if that is above zero
    width = precision**-0.5

    def log_f(lift: float) -> float:
        d = r - lift * unit
        return -0.5 * d @ inverse @ d + stats.halfnorm(scale=scale).logpdf(lift)

    peak = max(at, 0.0)
    if at < 0:  # a tail: the integrand falls from zero within about 1 / |slope|
        width = min(width, 1.0 / (abs(at) * precision))
    top = log_f(peak)
    low, high = max(0.0, peak - 12 * width), peak + 40 * width
    area = integrate.quad(
        lambda lift: np.exp(log_f(lift) - top), low, high, points=[peak], limit=400, epsabs=0,
        epsrel=1e-11,
    )[0]  # fmt: skip
    normal = -0.5 * (len(r) * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1])
    lifted = normal + top + np.log(area)
    share = value["undertuned_share"]
    return float(np.logaddexp(np.log1p(-share) + plain, np.log(share) + lifted))
