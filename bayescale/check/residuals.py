"""Does the law have the right shape, and the noise the right form? Posterior predictive checks.

Each draw of the posterior gives standardised residuals of the data and of a replicated table, with
the correlation of checkpoints and replicates. A statistic of the one is held against the other.
Such p-values are cautious: a trend that the law could still absorb counts in part only.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from bayescale.answers import percent, si
from bayescale.check import thresholds as limit
from bayescale.check.cards import Card, Finding, card, some
from bayescale.check.evidence import Evidence, normal_score

LARGEST = "largest runs"
GROUPS = 8  # along an input, for shapes that are no slope and no bend; chosen


def p_value(observed: np.ndarray, replicated: np.ndarray) -> float:
    """Two-sided posterior predictive p-value of a statistic, from ``(sample,)`` each."""
    above = float(np.mean(replicated >= observed))
    below = float(np.mean(replicated <= observed))
    return min(1.0, 2.0 * min(above, below))


def law_card(evidence: Evidence) -> Card:
    """Trends of the residuals that the law leaves behind."""
    findings = []
    for name, direction in trends(evidence).items():
        observed, replicated = _along(evidence, direction)
        p, amplitude = p_value(observed, replicated), float(observed.mean())
        if p <= limit.P_VALUE and name == LARGEST:
            findings += _at_the_end(evidence, amplitude, p)
        elif p <= limit.P_VALUE and abs(amplitude) >= limit.TREND_WARN:
            findings.append(_trend(evidence, name, amplitude, p))
    findings += _families(evidence)
    findings += _along_axes(evidence) if not findings else []
    what = some([f"ln {k}" for k in evidence.table.inputs], 6)
    return card(
        "shape of the law", findings,
        otherwise=f"no trend or bend of the residuals along {what}; the largest runs lie where "
        "the law puts them.",
    )  # fmt: skip


def trends(evidence: Evidence) -> dict[str, np.ndarray]:
    """Directions along which residuals should not lean: name to weights, ``(reading,)``.

    A slope and a bend along each input, the product of each pair, and the largest runs. Weights
    are scaled so that their product with white noise of sd one has variance ``1 / reading``; for
    the largest runs, so that it is their mean.
    """
    off = evidence.fitted.law.zero_one
    x = {k: np.log(v) for k, v in evidence.table.inputs.items() if k not in off}
    basis = [np.ones(len(evidence.table.response))]
    out = {}
    wanted = [(f"ln {k}", v) for k, v in x.items()]
    wanted += [(f"a bend in ln {k}", (v - v.mean()) ** 2) for k, v in x.items()]
    pairs = combinations(x, 2)
    wanted += [(f"ln {a} x ln {b}", (x[a] - x[a].mean()) * (x[b] - x[b].mean())) for a, b in pairs]
    for name, v in wanted:
        q = v - np.mean(basis[0] * v)
        for b in basis[1:]:
            q = q - np.mean(b * q) * b
        size = np.sqrt(np.mean(q * q))
        if size > 1e-6 * max(1.0, np.std(v)):  # else it follows from the ones before
            basis.append(q / size)
            out[name] = basis[-1] / len(v)
    largest = largest_readings(evidence)
    if len(largest) < len(basis[0]) / 2:
        out[LARGEST] = np.bincount(largest, minlength=len(basis[0])) / len(largest)
    return out


def largest_readings(evidence: Evidence) -> np.ndarray:
    """Indices of the largest tenth of the readings, three at least."""
    _, scale = evidence.scale
    n = max(limit.END_LEAST, round(limit.END_SHARE * len(scale)))
    return np.sort(np.argsort(-scale, kind="stable")[:n])


def noise_card(evidence: Evidence) -> Card:
    """Is the noise as the model says: symmetric, of one width, tailed as assumed, independent?"""
    noise, findings = evidence.fitted.model.noise, []
    p, (skew, _) = _held(evidence, lambda z: np.mean(z**3, axis=1))
    if p <= limit.P_VALUE and abs(skew) > 0.5:
        side = "above" if skew > 0 else "below"
        remedy = (
            "Try Noise(undertuned=True)."
            if skew > 0 and not noise.undertuned
            else ("Look at those runs one by one.")
        )
        told = (
            f"Runs stray further {side} the law than on the other side "
            f"(skewness {skew:.1f}, p {_p(p)})."
        )
        findings.append(Finding("WARNING", told, remedy))
    p, (largest, usual) = _held(evidence, lambda z: np.abs(z).max(axis=1))
    if p <= limit.P_VALUE and largest > usual:
        remedy = "Use Noise(tail='student')." if noise.tail == "normal" else "Check that run."
        findings.append(Finding("WARNING", f"The furthest run lies {largest:.1f} sd from the law, "
                                f"where {usual:.1f} is usual (p {_p(p)}).", remedy))  # fmt: skip
    findings += _drift(evidence)
    findings += _serial(evidence)
    sigma = float(np.median(evidence.sigma))
    return card(
        "noise", findings,
        otherwise=f"residuals are symmetric and of one width, sigma {sigma:.2%} of the loss"
        + (f", tail nu {np.median(evidence.noise['nu']):.1f}." if "nu" in evidence.noise else "."),
    )  # fmt: skip


def calibration_card(evidence: Evidence, ci_prob: float) -> Card:
    """Do intervals for a run, made without that run, hold it as often as they say?"""
    p = evidence.out_of_sample
    tail = (1.0 - ci_prob) / 2
    n = len(p)
    held = float(np.mean((p > tail) & (p < 1.0 - tail)))
    z = -normal_score(np.array(tail))
    replicated = np.mean(np.abs(evidence.replicated_scores) < z, axis=1)
    low, high = np.quantile(replicated, [limit.P_VALUE / 2, 1 - limit.P_VALUE / 2])
    off = abs(held - ci_prob)
    sentence = (
        f"{percent(held)} of {n} readings lie in the {percent(ci_prob)} interval foretold without "
        f"their run (chance alone gives {percent(low)} to {percent(high)})."
    )
    if low <= held <= high or off < limit.COVERAGE_WARN:
        return Card("calibration", "PASS", sentence)
    status = "FAIL" if off > limit.COVERAGE_FAIL else "WARNING"
    narrow = held < ci_prob
    action = (
        "Intervals are too narrow: look at the shape of the law and the noise first."
        if narrow
        else "Intervals are too wide: give Noise a drift (scale='flops') or part the families."
    )
    return Card("calibration", status, sentence, action)


def _along(evidence: Evidence, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return evidence.scores @ direction, evidence.replicated_scores @ direction


def _held(evidence: Evidence, statistic) -> tuple[float, tuple[float, float]]:
    """p-value of a statistic of scores, and its value in the data and usually."""
    observed, replicated = statistic(evidence.scores), statistic(evidence.replicated_scores)
    return p_value(observed, replicated), (float(observed.mean()), float(np.median(replicated)))


def _trend(evidence: Evidence, name: str, amplitude: float, p: float) -> Finding:
    status = "FAIL" if abs(amplitude) >= limit.TREND_FAIL else "WARNING"
    share = amplitude**2 / max(1.0, float(np.mean(evidence.scores**2)))
    how = ("rise" if amplitude > 0 else "fall") + f" along {name}"
    if name.startswith("a bend"):
        how = ("are high at both ends" if amplitude > 0 else "are low at both ends") + (
            f" of {name.removeprefix('a bend in ')}"
        )
    return Finding(
        status,
        f"Residuals {how}: {percent(share)} of what is called noise (p {_p(p)}).",
        "Fit a law with more freedom there (interacting, skaling, broken), or fewer small runs."
        if evidence.fitted.law.name == "additive"
        else "Fit another law, or leave out the runs at the far end.",
    )


def _at_the_end(evidence: Evidence, mean: float, p: float) -> list[Finding]:
    if abs(mean) < limit.END_WARN:
        return []
    n = len(largest_readings(evidence))
    side = "above" if mean > 0 else "below"
    sigma = float(np.median(evidence.sigma))
    return [
        Finding(
            "FAIL" if abs(mean) >= limit.END_FAIL else "WARNING",
            f"The {n} largest readings lie {abs(mean):.1f} noise sd {side} the law, "
            f"{abs(mean) * sigma:.2%} of the loss (p {_p(p)}); forecasts beyond inherit that.",
            "Compare laws on held-out large runs before using a forecast.",
        )
    ]


def _families(evidence: Evidence) -> list[Finding]:
    """Offsets between families that the model does not tell apart."""
    names, code = np.unique(evidence.columns["family"].values.astype(str), return_inverse=True)
    if evidence.fitted.by_family or len(names) == 1:
        return []
    p, size, mean = _between(evidence, code)
    if p > limit.P_VALUE or size < limit.TREND_WARN:
        return []
    far = int(np.argmax(np.abs(mean)))
    return [
        Finding(
            "FAIL" if size >= limit.TREND_FAIL else "WARNING",
            f"Families differ: `{names[far]}` lies {mean[far]:+.1f} noise sd off the common law "
            f"(p {_p(p)}).",
            f"Fit {type(evidence.fitted.model).__name__}(family='partial').",
        )
    ]


def _along_axes(evidence: Evidence) -> list[Finding]:
    """Any other shape along an input: means of groups of neighbours that differ."""
    out = []
    for name, x in evidence.table.inputs.items():
        levels = np.unique(x)
        groups = min(GROUPS, len(levels))
        if groups < 3:
            continue
        edges = np.quantile(x, np.arange(1, groups) / groups)
        _, code = np.unique(np.searchsorted(edges, x), return_inverse=True)
        p, size, mean = _between(evidence, code)
        if p > limit.P_VALUE or size < limit.TREND_WARN:
            continue
        far = int(np.argmax(np.abs(mean)))
        inside = x[code == far]
        where = f"{si(inside.min())} to {si(inside.max())}"
        out.append(
            Finding(
                "FAIL" if size >= limit.TREND_FAIL else "WARNING",
                f"Residuals wave along ln {name}: those at {name} of {where} lie {mean[far]:+.1f} "
                f"noise sd off (p {_p(p)}).",
                "Look at the plot; fit another law, or leave out the runs at the far end.",
            )
        )
    return out


def _between(evidence: Evidence, code: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Do groups of readings differ? p-value, sd between them beyond chance, and their means.

    In units of the noise; ``code`` numbers the group of each reading.
    """
    count = np.bincount(code)
    pick = np.eye(len(count))[code] / count
    observed, replicated = evidence.scores @ pick, evidence.replicated_scores @ pick
    square = (observed**2 @ count) / count.sum()
    by_chance = (replicated**2 @ count) / count.sum()
    p = float(np.mean(by_chance >= square))
    size = float(np.sqrt(max(0.0, square.mean() - by_chance.mean())))
    return p, size, observed.mean(axis=0)


def _drift(evidence: Evidence) -> list[Finding]:
    """Noise that widens or narrows with scale although the model says it does not."""
    name, scale = evidence.scale
    x = np.log(scale)
    if evidence.fitted.model.noise.scale or np.std(x) == 0:
        return []
    x = (x - x.mean()) / x.std()
    # log |score| is far from normal but has finite variance, and one outlier does not rule it
    size = lambda z: np.log(np.abs(z) + 0.1) @ x / len(x)  # noqa: E731
    observed, replicated = size(evidence.scores), size(evidence.replicated_scores)
    p, slope = p_value(observed, replicated), float(observed.mean())
    if p > limit.P_VALUE or abs(slope) < limit.TREND_WARN:
        return []
    how = "grows" if slope > 0 else "shrinks"
    return [
        Finding("WARNING", f"The noise {how} with {name} (p {_p(p)}).", "Use Noise(scale='flops').")
    ]


def _serial(evidence: Evidence) -> list[Finding]:
    """Checkpoints of one run that err together although the model says they do not."""
    if evidence.table.groups.has_trajectories:
        return []
    run = evidence.columns["trajectory"].values.astype(str)
    order = np.argsort(run, kind="stable")
    same = run[order][1:] == run[order][:-1]
    if not same.any():
        return []
    first, second = order[:-1][same], order[1:][same]
    together = float(np.mean(evidence.scores[:, first] * evidence.scores[:, second]))
    return [
        Finding(
            "FAIL",
            f"{len(first)} checkpoints follow another of their run and are treated as independent; "
            f"neighbours' residuals correlate at {together:.2f}.",
            "Use Noise(shared='auto'), or keep one reading a run.",
        )
    ]


def _p(p: float) -> str:
    return "< 0.002" if p < 0.002 else f"= {p:.3f}"
