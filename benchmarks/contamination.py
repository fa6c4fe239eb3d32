"""Planted bad runs: how far they move the exponent of the compute-optimal size.

On the 240 cleaned Chinchilla points a share of the runs is made bad: its loss is multiplied by
``exp(size)``, with the size between 0.05 and 0.5 (uniform in its log; chosen: from a mistuned run
to one that nearly failed).
"""

from __future__ import annotations

from typing import Any

from benchmarks.processes import case
from benchmarks.record import Aim, Record, arguments, progress, publish

SHARES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.10)
SEEDS = 10
KINDS = {
    "above": "above the law, anywhere",
    "both": "above or below, anywhere",
    "clustered": "above, all among the fifth with the fewest tokens",
}
ESTIMATORS = ("default", "undertuned", "least squares", "Huber 1e-3", "default, bad runs removed")


def sweep(kind: str, shares: list[float], seeds: int, method: str) -> dict[str, Any]:
    """The exponent by estimator, for every share and seed: lists of dict."""
    import numpy as np

    import bayescale as bs

    table = bs.datasets.frame("chinchilla")
    table = table[table["excluded_by_besiroglu"] == 0]
    N, T, loss = (table[name].to_numpy(float) for name in ("params", "tokens", "loss"))
    rows = []
    for share in shares:
        for seed in range(seeds if share else 1):
            bad, changed = _planted(np, T, loss, kind, share, seed)
            found = _estimates(N, T, changed, bad, method)
            rows.append({"share": share, "seed": seed, "bad": int(bad.sum()), **found})
    return {"rows": rows}


def _planted(np: Any, T: Any, loss: Any, kind: str, share: float, seed: int) -> tuple[Any, Any]:
    """Which runs are bad, and the losses with them."""
    rng = np.random.default_rng([seed, round(1000 * share)])
    count = round(share * len(loss))
    pool = np.argsort(T)[: len(T) // 5] if kind == "clustered" else np.arange(len(T))
    bad = np.zeros(len(loss), bool)
    bad[rng.choice(pool, count, replace=False)] = True
    size = np.exp(rng.uniform(np.log(0.05), np.log(0.5), len(loss)))
    sign = rng.choice([-1.0, 1.0], len(loss)) if kind == "both" else 1.0
    return bad, np.where(bad, loss * np.exp(sign * size), loss)


def _estimates(N: Any, T: Any, loss: Any, bad: Any, method: str) -> dict[str, Any]:
    import bayescale as bs
    from benchmarks.baselines import HUBER, exponent

    def posterior(model: Any, keep: Any = slice(None)) -> tuple[float, float, str]:
        import numpy as np

        from bayescale.inference import opened

        runs = bs.as_runs({"N": N[keep], "T": T[keep], "loss": loss[keep]})
        fit = bs.fit(model, runs, method=method, progressbar=False)
        fitted = opened(fit)
        p = fitted.parameters()
        low, a, high = np.quantile(p["beta"] / (p["alpha"] + p["beta"]), [0.05, 0.5, 0.95])
        return float(a), float(high - low) / 2, fitted.spec["method"]

    a, half, used = posterior(bs.LossModel())
    a_lifted, _, used_lifted = posterior(bs.LossModel(noise=bs.Noise(undertuned=True)))
    a_removed, _, _ = posterior(bs.LossModel(), ~bad)
    return {
        "default": a, "undertuned": a_lifted, "half_width": half,
        "default, bad runs removed": a_removed,
        "least squares": exponent(N, T, loss, None), "Huber 1e-3": exponent(N, T, loss, HUBER),
        "fell_back": (used != method) + (used_lifted != method),
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    options = arguments(__doc__)
    shares = [0.0, 0.05] if options.quick else list(SHARES)
    seeds = 2 if options.quick else SEEDS
    tables, summaries, fell_back = {}, {}, 0
    for kind, meaning in KINDS.items():
        progress(f"bad runs {meaning}")
        found = case(sweep, kind=kind, shares=shares, seeds=seeds, method="fast", limit_s=1800)
        if found["failed"]:
            raise SystemExit(f"contamination, {kind}: {found['failed']}")
        fell_back += sum(row["fell_back"] for row in found["rows"])
        summaries[kind] = _summary(found["rows"])
        tables[f"Bad runs {meaning}: shift of a, mean (largest)"] = summaries[kind]["rows"]
    publish(
        Record(
            "contamination",
            "How far do planted bad runs move a = beta / (alpha + beta)? The cleaned 240 points, a "
            f"share of them made 5 to 50 % worse (or better), {seeds} draws of which.",
            tables,
            _aims(summaries),
            [
                "Each estimator against itself without bad runs; mean of the signed shifts over "
                "the draws, in brackets the largest in size.",
                "`bad runs removed` is the default model told which runs are bad: what merely "
                "losing them costs; `beyond that` is the default's distance from it.",
                "`90 % half-width` is that of the default posterior. `undertuned` is "
                "Noise(undertuned=True). Posteriors by method='fast'"
                + (f", which fell back to NUTS {fell_back} times." if fell_back else "."),
                "Clustered bad runs are beyond what was promised: at 10 % they are half of the "
                "runs that inform the data term where it is largest, and no likelihood can know "
                "which half to believe.",
            ],
            peers="contamination",
        ),
        quick=options.quick,
    )


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and worst shift per share and estimator."""
    clean = rows[0]
    lines, worst = [], {}
    for share in sorted({row["share"] for row in rows} - {0.0}):
        here = [row for row in rows if row["share"] == share]
        line: dict[str, Any] = {"bad runs": f"{share:.1%} ({here[0]['bad']})"}
        for name in ESTIMATORS:
            shifts = [row[name] - clean[name] for row in here]
            largest = max(shifts, key=abs)
            line[name] = f"{sum(shifts) / len(shifts):+.4f} ({largest:+.4f})"
            worst[name, share] = (abs(sum(shifts) / len(shifts)), abs(largest))
        beyond = [row["default"] - row["default, bad runs removed"] for row in here]
        largest = max(beyond, key=abs)
        line["default beyond that"] = f"{sum(beyond) / len(beyond):+.4f} ({largest:+.4f})"
        worst["beyond", share] = (abs(sum(beyond) / len(beyond)), abs(largest))
        line["90 % half-width"] = sum(row["half_width"] for row in here) / len(here)
        lines.append(line)
    return {"rows": lines, "worst": worst}


def _aims(summaries: dict[str, Any]) -> list[Aim]:
    """Means over draws and, stricter, the worst single draw, for every share up to 5 %."""
    out = []
    for kind in ("above", "both"):
        for name, what in {
            "default": "", "beyond": ", beyond what losing those runs costs",
            "undertuned": ", undertuned noise",
        }.items():  # fmt: skip
            upto = [v for (n, s), v in summaries[kind]["worst"].items() if n == name and s <= 0.05]
            mean, largest = max(m for m, _ in upto), max(w for _, w in upto)
            title = f"up to 5 % bad runs ({KINDS[kind]}) move a by less than 0.01{what}"
            out.append(Aim(f"{title}: on average", f"{mean:.4f}", mean < 0.01))
            out.append(Aim(f"{title}: in every draw", f"worst {largest:.4f}", largest < 0.01))
    return out


if __name__ == "__main__":
    main()
