"""What a fit must show before its numbers are used without a word: figures, a status, reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# R-hat and ESS limits after Vehtari et al. 2021 (1903.08008).
R_HAT_WARN, R_HAT_FAIL = 1.01, 1.05
ESS_WARN, ESS_FAIL = 400.0, 100.0
DIVERGENCE_FAIL = 0.01


def gate(
    values: Mapping[str, np.ndarray], stats: Mapping[str, np.ndarray], notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Convergence figures, a status and a sentence for each reason."""
    out: dict[str, Any] = {"messages": []}
    worst = "ok"

    def judge(bad: bool, poor: bool, sentence: str) -> None:
        nonlocal worst
        if bad or poor:
            out["messages"].append(sentence)
            worst = "failed" if bad or worst == "failed" else "warning"

    if notes["method"] == "fast":
        ess = min(notes["importance_ess"], notes.get("ess_bowls", np.inf))
        judge(
            ess < ESS_FAIL,
            ess < ESS_WARN,
            f"Only {ess:.0f} effective draws; fit with method='nuts'.",
        )
        out |= {"status": worst, "ess_bulk": ess}
        return out
    r_hat, bulk, tail = _convergence(values)
    if notes.get("ess_bowls", np.inf) < bulk[1]:  # their draws come in no order that chains show
        bulk = ("the bowls", float(notes["ess_bowls"]))
    divergences = int(np.sum(stats["diverging"])) if "diverging" in stats else 0
    total = next(iter(values.values())).shape[0] * next(iter(values.values())).shape[1]
    more = "sample longer (draws=4000, tune=2000)"
    judge(
        not r_hat[1] <= R_HAT_FAIL, not r_hat[1] <= R_HAT_WARN,
        f"Chains disagree: R-hat {r_hat[1]:.3f} for {r_hat[0]} (limit {R_HAT_WARN}); {more}.",
    )  # fmt: skip
    judge(
        not bulk[1] >= ESS_FAIL, not min(bulk[1], tail[1]) >= ESS_WARN,
        f"Few effective draws: bulk {bulk[1]:.0f} for {bulk[0]}, tail {tail[1]:.0f} for {tail[0]} "
        f"(limit {ESS_WARN:.0f}); {more}.",
    )  # fmt: skip
    judge(
        divergences > DIVERGENCE_FAIL * total, divergences > 0,
        f"{divergences} of {total} transitions diverged; raise target_accept to 0.99.",
    )  # fmt: skip
    return out | {
        "status": worst, "r_hat": r_hat[1], "ess_bulk": bulk[1], "ess_tail": tail[1],
        "divergences": divergences,
    }  # fmt: skip


def _convergence(values: Mapping[str, np.ndarray]) -> tuple[tuple[str, float], ...]:
    """Worst R-hat, bulk ESS and tail ESS, each with the name of the quantity."""
    from arviz_stats.base.array import array_stats

    r_hat, bulk, tail = ("", -np.inf), ("", np.inf), ("", np.inf)
    for name, x in values.items():
        columns = x.reshape(*x.shape[:2], -1)
        for i in range(columns.shape[2]):
            r, b, t = _diagnostics(columns[..., i], array_stats)
            r_hat = max(r_hat, (name, r), key=lambda p: p[1])
            bulk = min(bulk, (name, b), key=lambda p: p[1])
            tail = min(tail, (name, t), key=lambda p: p[1])
    return r_hat, bulk, tail


def _diagnostics(x: np.ndarray, array_stats: Any) -> tuple[float, float, float]:
    """R-hat, bulk ESS and tail ESS of one quantity, ``(chain, draw)``.

    Chains that did not move, left the numbers, or are too short to tell get the worst values: a
    diagnostic that cannot be computed has not been passed.
    """
    if not np.isfinite(x).all() or np.ptp(x, axis=1).min() == 0:
        return np.inf, 0.0, 0.0
    r = array_stats.rhat(x, chain_axis=0, draw_axis=1) if len(x) > 1 else 1.0
    bulk = array_stats.ess(x, chain_axis=0, draw_axis=1, method="bulk")
    tail = array_stats.ess(x, chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95))
    if not np.isfinite([r, bulk, tail]).all():
        return np.inf, 0.0, 0.0
    return float(r), float(bulk), float(tail)
