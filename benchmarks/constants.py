"""Raw 245 Chinchilla points against the 240 that were cleaned by hand.

The published replication drops the five worst runs before it fits. Robust noise should make that
needless: same exponent, same plan, and constants in agreement with the published ones.
"""

from __future__ import annotations

from typing import Any

from benchmarks.processes import case
from benchmarks.record import Aim, Record, arguments, finished, progress, publish

BUDGET_FLOPS = 5.76e23
# Besiroglu et al. 2024, arXiv:2404.10102, on the 240: value and standard error
PUBLISHED = {
    "E": (1.8169, 0.0257), "A": (482.01, 124.5), "B": (2085.43, 1293.3),
    "alpha": (0.3478, 0.0154), "beta": (0.3659, 0.0206),
}  # fmt: skip
TABLES = {"245": "245, raw", "240": "240, cleaned by hand"}


def posterior(cleaned: bool, method: str, random_seed: int) -> dict[str, Any]:
    """Median and 90 % interval of the constants, and the plan, on one of the two tables."""
    import numpy as np

    import bayescale as bs
    from bayescale.inference import opened

    runs = bs.datasets.load("chinchilla", as_published=cleaned)
    fit = bs.fit(bs.LossModel(), runs, method=method, random_seed=random_seed, progressbar=False)
    fitted = opened(fit)
    draws = fitted.parameters() | {"nu": fitted.draws("nu")}
    draws["a"] = draws["beta"] / (draws["alpha"] + draws["beta"])
    plan = bs.plan(fit, budget_flops=BUDGET_FLOPS)
    draws["tokens per parameter"] = plan.draws["tokens_per_parameter"].values
    draws["N*"] = plan.draws["N"].values
    out = {name: [float(q) for q in np.quantile(x, [0.05, 0.5, 0.95])] for name, x in draws.items()}
    planned = plan.recommended["T"] / plan.recommended["N"]
    health = {k: fitted.spec.get(k) for k in ("status", "ess_bulk", "divergences", "k_hat")}
    return {"quantiles": out, "planned": planned, "mean": _means(draws), **health}


def main() -> None:
    """Measure, print, write."""
    options = arguments(__doc__)
    methods = ["fast"] if options.quick else ["nuts", "fast"]
    found: dict[tuple[str, str], dict] = {}
    for method in methods:
        for label, title in TABLES.items():
            progress(f"{method}, {title}")
            found[method, label] = case(
                posterior, cleaned=label == "240", method=method, random_seed=0
            )
    main_method = methods[0]
    raw, clean = found[main_method, "245"], found[main_method, "240"]
    publish(
        Record(
            "constants",
            "Do five bad runs move the answer? The raw 245 points against the 240 that the "
            f"published replication kept; plan at {BUDGET_FLOPS:g} FLOP.",
            {
                "Constants (median, 90 % interval)": [
                    _row(method, label, found[method, label]) for method, label in found
                ],
                "Against Besiroglu et al. 2024 (who fitted the 240)": _against(raw, clean),
            },
            _aims(raw, clean),
            [
                "a = beta / (alpha + beta), the exponent of the compute-optimal size. Tokens per "
                "parameter: the median over draws; the plan itself, which minimises expected loss, "
                f"says {raw['planned']:.1f} on 245 and {clean['planned']:.1f} on 240.",
                "nu is the estimated tail of the noise: the raw points ask for a heavier one.",
            ],
            peers="constants",
        ),
        quick=options.quick,
    )


def _row(method: str, label: str, found: dict[str, Any]) -> dict[str, Any]:
    if found["failed"]:
        return {"points": TABLES[label], "method": method, "failed": found["failed"]}
    row: dict[str, Any] = {"points": TABLES[label], "method": method}
    for name, digits in {"E": 3, "alpha": 3, "beta": 3, "a": 3, "nu": 2}.items():
        row[name] = _interval(found["quantiles"][name], digits)
    low, middle, high = (q / 1e9 for q in found["quantiles"]["N*"])
    row["N* (B)"] = f"{middle:.1f} [{low:.0f}, {high:.0f}]"
    row["tokens per parameter"] = _interval(found["quantiles"]["tokens per parameter"], 1)
    return row | finished(found, "cpu_s")


def _interval(quantiles: list[float], digits: int) -> str:
    low, middle, high = quantiles
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _against(raw: dict[str, Any], clean: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "constant": name,
            "published": f"{value:g} ± {error:g}",
            "ours, 245": raw["mean"][name],
            "off by (published SE), 245": _off(raw, name),
            "ours, 240": clean["mean"][name],
            "off by (published SE), 240": _off(clean, name),
        }
        for name, (value, error) in PUBLISHED.items()
    ]


def _aims(raw: dict[str, Any], clean: dict[str, Any]) -> list[Aim]:
    shift = raw["quantiles"]["a"][1] - clean["quantiles"]["a"][1]
    ours, theirs = (x["quantiles"]["tokens per parameter"][1] for x in (raw, clean))
    factor = max(ours / theirs, theirs / ours)
    worst = max(("E", "alpha", "beta"), key=lambda name: abs(_off(raw, name)))
    return [
        Aim("a from 245 within 0.01 of a from 240", f"{shift:+.4f}", abs(shift) < 0.01),
        Aim("tokens per parameter within a factor 1.1", f"{factor:.3f}", factor < 1.1),
        Aim(
            "E, alpha, beta from 245 within 2 published standard errors",
            f"worst: {worst}, {_off(raw, worst):+.2f}",
            abs(_off(raw, worst)) < 2,
        ),
    ]


def _off(found: dict[str, Any], name: str) -> float:
    value, error = PUBLISHED[name]
    return (found["mean"][name] - value) / error


def _means(draws: dict[str, Any]) -> dict[str, float]:
    return {name: float(x.mean()) for name, x in draws.items()}


if __name__ == "__main__":
    main()
