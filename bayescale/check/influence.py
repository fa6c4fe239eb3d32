"""Which runs carry the fit, and which it ignores."""

from __future__ import annotations

import numpy as np

from bayescale.check import thresholds as limit
from bayescale.check.cards import Card, Finding, card, some
from bayescale.check.evidence import Evidence
from bayescale.check.residuals import largest_readings


def shifts(evidence: Evidence) -> dict[str, np.ndarray]:
    """How far each quantity moves without each configuration, in posterior sd, ``(config,)``.

    The exponent of the best size where the law has one, else each exponent; of the family that
    moves most.
    """
    weights, _, _ = evidence.leave_one_out
    out = {}
    for name, draws in quantities(evidence).items():
        moved = weights @ draws - draws.mean(axis=0)  # (config, family)
        sd = draws.std(axis=0)
        moved = moved / np.where(sd > 0, sd, 1.0)
        out[name] = np.take_along_axis(moved, np.abs(moved).argmax(1)[:, None], 1)[:, 0]
    return out


def quantities(evidence: Evidence) -> dict[str, np.ndarray]:
    """What runs are asked to move, ``(sample, family)`` each."""
    if evidence.optimum is not None:
        name, draws = evidence.optimum
        return {name: draws}
    law = evidence.fitted.law
    names = [n for n, p in law.parameters.items() if "exponent" in p.role] or list(law.parameters)
    ones = np.ones(len(evidence.table.families))
    return {name: evidence.values[name] * ones for name in names}


def influence_card(evidence: Evidence) -> Card:
    """Does a single run decide the answer?"""
    weights, k_hat, _ = evidence.leave_one_out
    if len(k_hat) < 2:
        return Card("influence", "WARNING", "there is one configuration only.", "Add runs.")
    moved, findings = shifts(evidence), []
    name = max(moved, key=lambda n: np.abs(moved[n]).max())
    most = int(np.abs(moved[name]).argmax())
    draws = quantities(evidence)[name]
    family = int(np.abs(weights[most] @ draws - draws.mean(axis=0)).argmax())
    x = draws[:, family]
    told = (
        f"without {evidence.configs[most]} {name} would move from {x.mean():.3f} to "
        f"{weights[most] @ x:.3f} ({abs(moved[name][most]):.1f} posterior sd)"
    )
    far = np.abs(moved[name][most]) > limit.SHIFT_WARN
    if far:
        findings.append(Finding("WARNING", told[0].upper() + told[1:] + ".",
                                "Repeat that run, or fit without it and compare."))  # fmt: skip
    high = np.flatnonzero(k_hat > limit.K_HAT)
    if len(high):
        names = evidence.configs[high[np.argsort(-k_hat[high])]].tolist()
        findings.append(
            Finding(
                "WARNING",
                f"{len(high)} of {len(k_hat)} configurations have a leave-one-out k-hat above "
                f"{limit.K_HAT} ({some(names)}): the fit leans on them"
                + ("." if far else f"; {told}, as far as reweighting can tell."),
                "Fit without them (runs.drop_sel) and compare the forecasts.",
            )
        )
    return card(
        "influence", findings,
        otherwise=f"no single run decides: at most, {told}; largest k-hat {k_hat.max():.2f}.",
    )  # fmt: skip


def outliers_card(evidence: Evidence) -> Card:
    """Which runs lose their say to the tail of the noise?"""
    noise, table = evidence.fitted.model.noise, evidence.table
    if noise.tail == "normal":
        z = np.abs(evidence.scores.mean(axis=0))
        far = np.flatnonzero(z > 3.5)
        names = evidence.columns["run"].values.astype(str)[far[np.argsort(-z[far])]].tolist()
        findings = [
            Finding("WARNING", f"{len(far)} of {len(z)} readings lie beyond 3.5 sd of normal noise "
                    f"({some(names)}) and pull the law.", "Use Noise(tail='student').")
        ] if len(far) else []  # fmt: skip
        return card("outliers", findings, otherwise=f"all {len(z)} readings lie within 3.5 sd.")
    weight = evidence.weight
    little = np.flatnonzero(weight < limit.LITTLE_WEIGHT)
    names = evidence.configs[little[np.argsort(weight[little])]].tolist()
    findings = []
    if len(little) > limit.IGNORED_SHARE_WARN * len(weight):
        findings.append(
            Finding(
                "WARNING",
                f"{len(little)} of {len(weight)} configurations keep less than a quarter of their "
                f"weight ({some(names)}): that many accidents are a second regime.",
                "Look at what they share; if poor tuning, use Noise(undertuned=True).",
            )
        )
    end = np.unique(table.groups.config[table.groups.run[largest_readings(evidence)]])
    lost = np.intersect1d(end, little)
    if len(lost) and len(lost) >= max(2, len(end) / 3):
        findings.append(
            Finding(
                "WARNING",
                f"{len(lost)} of the {len(end)} largest are among the runs that are treated as "
                f"accidents ({some(evidence.configs[lost].tolist())}).",
                "Repeat one of them: if it comes out the same, the law is wrong there.",
            )
        )
    told = f" ({some(names)})" if names else ""
    return card(
        "outliers", findings,
        otherwise=f"{len(little)} of {len(weight)} configurations keep less than a quarter of "
        f"their weight{told}; nu {np.median(evidence.noise['nu']):.1f}.",
    )  # fmt: skip
