"""Did the sampler do its work, and is the answer the data's or the prior's?"""

from __future__ import annotations

import numpy as np

from bayescale.answers import percent
from bayescale.check import thresholds as limit
from bayescale.check.cards import Card, Finding, Status, card
from bayescale.check.evidence import Evidence
from bayescale.inference.importance import K_HAT_LIMIT
from bayescale.inference.tree import Fitted
from bayescale.models.arrays import arrays

STATUS: dict[str, Status] = {"ok": "PASS", "warning": "WARNING", "failed": "FAIL"}


def convergence_card(fitted: Fitted) -> Card:
    """What the gate in `bayescale.fit` found."""
    spec = fitted.spec
    if spec["method"] == "fast":
        figures = (
            f"fast approximation: k-hat {spec['k_hat']:.2f} (limit {K_HAT_LIMIT}), "
            f"{spec['importance_ess']:,.0f} effective draws."
        )
    else:
        figures = (
            f"{spec['chains']} chains x {spec['draws']} draws: R-hat {spec['r_hat']:.3f}, ESS "
            f"{spec['ess_bulk']:,.0f} bulk and {spec['ess_tail']:,.0f} tail, "
            f"{spec['divergences']} divergences."
        )
        if "k_hat" in spec:
            figures += f" (method='fast' was asked for; its k-hat was {spec['k_hat']:.2f}.)"
    status = STATUS[spec["status"]]
    if status == "PASS" and spec["method"] != "fast" and spec["chains"] < 2:
        alone = f"{figures} One chain cannot be compared with others."
        return Card("convergence", "WARNING", alone, "Sample with chains=4.")
    if status == "PASS":
        return Card("convergence", status, figures)
    action = "Follow the advice above; until then use no number of this fit."
    if status == "WARNING":
        action = "Follow the advice above before printing digits that matter."
    return Card("convergence", status, " ".join(spec["messages"]), action)


def against_prior(evidence: Evidence) -> dict[str, tuple[float, float]]:
    """Posterior sd over prior sd, and distance of the means in prior sd, on the prior's scale.

    By parameter of the law, ``alpha[family]`` where families have their own; pooled ones by
    their population, which is where the prior speaks.
    """
    xp, out = arrays("numpy"), {}
    for v in evidence.fitted.density.variables:
        pooled = v.sharing == "pooled"
        u = v.prior.coordinate(evidence.values[f"{v.name}_population" if pooled else v.name], xp)
        ratio = u.std(axis=0) / v.prior.sd
        away = (u.mean(axis=0) - v.prior.loc) / v.prior.sd
        for i, (r, d) in enumerate(zip(ratio, away, strict=True)):
            label = v.name
            if len(ratio) > 1:
                label = f"{v.name}[{evidence.table.families[i]}]"
            out[label] = (float(r), float(d))
    return out


def priors_card(evidence: Evidence) -> Card:
    """Which intervals are the prior's, and which parameters went where the prior did not expect?

    Noise parameters are left out: few data say much about a tail, and little depends on it.
    """
    law = evidence.fitted.law
    found = {k: v for k, v in against_prior(evidence).items() if k.split("[")[0] in law.parameters}
    findings = []
    dominated = [k for k, (ratio, _) in found.items() if ratio > limit.PRIOR_RATIO_WARN]
    if dominated:
        told = ", ".join(f"{k} ({percent(found[k][0])} of the prior sd)" for k in dominated[:4])
        what = "The interval on" if len(dominated) == 1 else "The intervals on"
        more = f" and {len(dominated) - 4} more" if len(dominated) > 4 else ""
        findings.append(
            Finding("WARNING", f"{what} {told}{more} {_is(dominated)} your prior.",
                    "Do not quote it as a finding; add runs that speak about it, or say why you "
                    "believe the prior.")
        )  # fmt: skip
    far = {k: d for k, (_, d) in found.items() if abs(d) > limit.PRIOR_DISTANCE_WARN}
    if far:
        told = ", ".join(f"{k} ({d:+.1f} prior sd)" for k, d in far.items())
        findings.append(
            Finding("WARNING", f"Data and prior disagree on {told}.",
                    "Check the units of the columns; if they are right, widen that prior.")
        )  # fmt: skip
    most = max(found, key=lambda k: found[k][0])
    return card(
        "priors", findings,
        otherwise=f"the data decide: {most} keeps the most of its prior sd, "
        f"{percent(found[most][0])}.",
    )  # fmt: skip


def trade_offs(evidence: Evidence) -> list[Finding]:
    """Floor and exponents that cannot be told apart."""
    law, ones = evidence.fitted.law, np.ones(len(evidence.table.families))
    floors = [n for n, p in law.parameters.items() if p.role == "floor"]
    exponents = [n for n, p in law.parameters.items() if p.role == "exponent"]
    worst = (0.0, "", "", "")
    for floor in floors:
        for exponent in exponents:
            a, b = evidence.values[floor] * ones, evidence.values[exponent] * ones
            for f, name in enumerate(evidence.table.families):
                if a[:, f].std() > 0 and b[:, f].std() > 0:
                    r = float(np.corrcoef(np.log(a[:, f]), np.log(b[:, f]))[0, 1])
                    worst = max(worst, (abs(r), floor, exponent, name))
    if worst[0] < limit.TRADE_OFF_WARN:
        return []
    r, floor, exponent, name = worst
    where = f" in family {name}" if len(evidence.table.families) > 1 else ""
    return [
        Finding(
            "WARNING",
            f"{floor} and {exponent} trade against each other{where} (correlation {r:.2f}).",
            "Trust forecasts near the data, not these two; a larger or longer run parts them.",
        )
    ]


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
