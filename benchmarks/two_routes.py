"""The same number twice, by routes that share as little as can be.

Predictions by broadcasting the law against PyMC's posterior predictive; log densities against
SciPy; the posterior by NumPyro, PyMC, nutpie and importance sampling.
"""

from __future__ import annotations

from typing import Any

from benchmarks.processes import case
from benchmarks.record import Aim, Record, arguments, progress, publish

DRAWS = 1000
NAMES = ("E", "A", "B", "alpha", "beta", "sigma", "nu")


def predictions(draws: int) -> dict[str, Any]:
    """Curve and new runs at the 245 points: `bs.predict` against the PyMC model, same posterior."""
    import numpy as np
    import pymc as pm
    import xarray as xr
    from scipy import stats

    import bayescale as bs
    from bayescale.inference import opened
    from bayescale.inference.pointwise import values_of

    model = bs.LossModel()
    runs = bs.datasets.load("chinchilla")
    fit = bs.fit(model, runs, method="fast", draws=draws, progressbar=False)
    fitted = opened(fit)
    table = fitted.density.table
    sampled = values_of(fitted)
    in_pymc = {
        **{f"{k}_at_pivot": sampled[k] for k in "EAB"},
        **{k: sampled[k] for k in ("alpha", "beta", "sigma")},
        "nu_above_1": sampled["nu"] - 1.0,
    }
    posterior = xr.Dataset(
        {k: (("chain", "draw"), x.reshape(4, draws)) for k, x in in_pymc.items()},
        {"chain": np.arange(4), "draw": np.arange(draws)},
    )
    with model.to_pymc(runs) as pymc_model:
        noisy = pymc_model["log_loss"]
        pm.Deterministic("curve", noisy.owner.op.dist_params(noisy.owner)[1], dims="reading")
        again = pm.compute_deterministics(
            posterior, var_names=["E", "A", "B", "curve"], progressbar=False
        )
        tree = pm.sample_posterior_predictive(
            posterior, var_names=["log_loss"], random_seed=1, progressbar=False
        )
    theirs = tree["posterior_predictive"].dataset["log_loss"].values.reshape(4 * draws, -1)
    curve = again["curve"].values.reshape(4 * draws, -1)
    pred = bs.predict(fit, at=table.inputs, random_seed=2)
    ours = np.log(pred.draws.values)
    constants = max(
        float(np.max(np.abs(again[k].values.reshape(-1) / fitted.draws(k) - 1))) for k in "EAB"
    )
    p = [stats.ks_2samp(ours[:, i], theirs[:, i]).pvalue for i in range(ours.shape[1])]
    median = np.abs(np.median(ours, axis=0) - np.median(theirs, axis=0))
    return {
        "constants": constants,
        "curve": float(np.max(np.abs(np.log(pred.curve.values) - curve))),
        "median": float(median.max()),
        "ks_adjusted": float(min(p) * len(p)),
        "points": len(p),
    }


def densities(vectors: int) -> dict[str, Any]:
    """Every law, and every kind of noise, at prior draws: ours on NumPy and JAX against SciPy."""
    import jax
    import numpy as np

    import bayescale as bs
    from bayescale.models.arrays import arrays
    from benchmarks import by_hand

    rng = np.random.default_rng(0)
    rows = []

    def compare(what: str, model: Any, runs: Any) -> None:
        density = model.density(runs)
        worst, worst_jax = 0.0, 0.0
        for _ in range(vectors):
            u = 0.7 * rng.standard_normal(density.size)
            hand = by_hand.log_density(density, u)
            scale = max(1.0, abs(hand))
            worst = max(worst, abs(float(density.log_density(u)) - hand) / scale)
            with jax.enable_x64(True):
                in_jax = float(density.log_density(jax.numpy.asarray(u), arrays("jax")))
            worst_jax = max(worst_jax, abs(in_jax - hand) / scale)
        rows.append(
            {
                "model": what,
                "readings": len(density.table.response),
                "NumPy": worst,
                "JAX": worst_jax,
            }
        )

    for law in bs.laws.names():
        compare(f"law {law}", bs.LossModel(law), _table(rng, law))
    noises = {
        "normal": bs.Noise(tail="normal"), "drifting with N": bs.Noise(scale="N"),
        "undertuned": bs.Noise(undertuned=True),
        "normal, undertuned": bs.Noise(tail="normal", undertuned=True),
        "undertuned, drifting": bs.Noise(undertuned=True, scale="T"),
    }  # fmt: skip
    for name, noise in noises.items():
        compare(f"noise {name}", bs.LossModel(noise=noise), _table(rng, "additive"))
    for name, noise in {"Student-t": bs.Noise(), "undertuned": bs.Noise(undertuned=True)}.items():
        for kind in ("trajectories", "replicates", "trajectories and replicates"):
            compare(f"{kind}, {name}", bs.LossModel(noise=noise), _table(rng, "additive", kind))
    return {"rows": rows}


def _table(rng: Any, law: str, kind: str = "") -> Any:
    """A small table with random losses: only the density is asked for."""
    import numpy as np

    import bayescale as bs

    inputs = bs.laws.get(law).inputs
    n, steps = 24, 4 if "trajectories" in kind else 1
    N = np.repeat(10 ** rng.uniform(7, 9, n), steps)
    T = np.tile(2e9 * 2.0 ** np.arange(steps), n) if steps > 1 else 10 ** rng.uniform(9, 11, n)
    frame: dict[str, Any] = {"N": N, "T": T, "loss": rng.uniform(2, 3, n * steps)}
    frame["run"] = np.repeat([f"r{i:02d}" for i in range(n)], steps)
    if "replicates" in kind:  # pairs that differ in seed only
        pair = np.repeat(np.arange(n) // 2 * 2, steps)
        first = np.searchsorted(np.repeat(np.arange(n), steps), pair)
        frame["N"] = N[first]
        if steps == 1:
            frame["T"] = T[first]
        frame["seed"] = np.repeat(np.arange(n) % 2, steps)
    extra = {"flops": 10 ** rng.uniform(18, 21, n), "U": 10 ** rng.uniform(8.5, 10.5, n),
             "batch_size": 10 ** rng.uniform(5, 7, n)}  # fmt: skip
    frame |= {name: extra[name] for name in inputs if name in extra}
    return bs.as_runs(frame, {name: name for name in frame})


def posterior(how: str, draws: int) -> dict[str, Any]:
    """Mean, sd, 5 % and 95 % points of the constants with their Monte Carlo errors."""
    import numpy as np
    from arviz_stats.base import array_stats

    import bayescale as bs

    method = {"method": "fast"} if how == "fast" else {"sampler": how}
    fit = bs.fit(
        bs.LossModel(), bs.datasets.load("chinchilla"), draws=draws, progressbar=False, **method
    )
    out = {}
    for name in NAMES:
        x = fit["posterior"].dataset[name].values
        ess = float(array_stats.ess(x, chain_axis=0, draw_axis=1, method="bulk"))
        low, high = np.quantile(x, [0.05, 0.95])
        out[name] = {
            "mean": float(x.mean()), "sd": float(x.std()), "low": float(low), "high": float(high),
            "ess": ess,
        }  # fmt: skip
    return {"parameters": out}


def main() -> None:
    """Measure, print, write."""
    options = arguments(__doc__)
    draws = 300 if options.quick else DRAWS
    progress("predictions by two routes")
    two = case(predictions, draws=draws)
    progress("densities by two routes")
    density = case(densities, vectors=2 if options.quick else 10)
    samplers = ("numpyro", "fast") if options.quick else ("numpyro", "pymc", "nutpie", "fast")
    found = {}
    for how in samplers:
        progress(f"posterior by {how}")
        found[how] = case(posterior, how=how, draws=draws)
    broken = {
        k: v["failed"] for k, v in {"predictions": two, "densities": density, **found}.items()
    }
    if any(broken.values()):
        raise SystemExit(f"two_routes: {broken}")
    reference = found["numpyro"]["parameters"]
    rows = [_against(how, name, each["parameters"][name], reference[name])
            for how, each in found.items() for name in NAMES]  # fmt: skip
    worst = max(abs(r["mean off (MC errors)"]) for r in rows)
    off = max(abs(r["mean off (sd)"]) for r in rows)
    gap = max(max(r["NumPy"], r["JAX"]) for r in density["rows"])
    compared = len(rows) - len(NAMES)
    publish(
        Record(
            "two_routes",
            "Do independent routes give the same numbers?",
            {
                f"Predictions at the {two['points']} points, same posterior draws": [
                    {"compared": "constants, relative", "largest": two["constants"]},
                    {"compared": "mean curve, in log loss", "largest": two["curve"]},
                    {"compared": "median of a new run, in log loss", "largest": two["median"]},
                    {"compared": "smallest KS p-value x points", "largest": two["ks_adjusted"]},
                ],
                "Log density against SciPy, largest relative difference": density["rows"],
                "Posterior of the 245 points by sampler, against NumPyro's": rows,
            },
            [
                Aim("mean curve: broadcast law = PyMC's model to 1e-9", f"{two['curve']:.1e}",
                    two["curve"] < 1e-9),
                Aim("new runs: same distribution at every point (adjusted p > 0.01)",
                    f"p = {min(two['ks_adjusted'], 1):.2f}", two["ks_adjusted"] > 0.01),
                Aim("log density of every law and noise = SciPy's to 1e-8",
                    f"{gap:.1e}", gap < 1e-8),
                Aim(f"samplers agree: {compared} means within 4 Monte Carlo errors",
                    f"largest {worst:.1f} ({off:.3f} sd)", worst < 4),
            ],
            [
                "Densities at random vectors; the models under test run on NumPy and on JAX, "
                "the other side is written out in `by_hand.py` with dense matrices and quadrature.",
                "Monte Carlo error: sd x sqrt(1/ESS + 1/ESS). For `fast` the ESS counts the draws "
                "after resampling as independent, which flatters it.",
            ],
        ),
        quick=options.quick,
    )  # fmt: skip


def _against(
    how: str, name: str, x: dict[str, float], reference: dict[str, float]
) -> dict[str, Any]:
    error = (x["sd"] ** 2 / x["ess"] + reference["sd"] ** 2 / reference["ess"]) ** 0.5
    difference = x["mean"] - reference["mean"]
    return {
        "route": how, "parameter": name, "mean": x["mean"], "sd": x["sd"], "5 %": x["low"],
        "95 %": x["high"], "ESS": x["ess"], "mean off (MC errors)": difference / error,
        "mean off (sd)": difference / reference["sd"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
