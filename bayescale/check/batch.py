"""Cards for a fit of batch sizes: answers are intervals, and cells were tuned on their own."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from bayescale.answers import percent, si
from bayescale.check import thresholds as limit
from bayescale.check.cards import Card, Finding, card, some
from bayescale.check.evidence import Evidence, normal_score
from bayescale.check.posterior import against_prior
from bayescale.inference.tree import Fitted
from bayescale.models.arrays import arrays
from bayescale.runs import readings

SEEN_SHARE = 0.3  # of B_crit that the largest batch must reach for the bend to be seen; chosen
FAR_LEVEL = 3.0  # cell_sigmas off the curve at which a batch size is named; chosen
COARSE = 1.0  # rounding over seed noise above which the noise is the prior's to a good part; chosen


class BatchEvidence(Evidence):
    """`Evidence` for answers by cell; dims sample, run (in the order of the table), cell."""

    @cached_property
    def noise_at_run(self) -> dict[str, np.ndarray]:
        """Noise of runs, (sample, run) each; no ``cell_sigma`` where cells have one run."""
        return {k: v[:, self.table.family] for k, v in self.noise.items()}

    def distribution(self, away: np.ndarray) -> np.ndarray:
        """Probability that a run lies below ``away`` from the log of the law, (sample, run)."""
        at = self.noise_at_run
        cell = at.get("cell_sigma", np.zeros_like(at["sigma"]))
        usual = special.ndtr(away / np.hypot(at["sigma"], cell))
        wide = special.ndtr(away / np.hypot(at["sigma"] * at["straggler_scale"], cell))
        return (1 - at["straggler_share"]) * usual + at["straggler_share"] * wide

    @cached_property
    def out_of_sample(self) -> np.ndarray:
        """Where each answer lies in its forecast without its cell, at random inside it, (run,).

        A rounded answer is an interval of probabilities; a point in it drawn at random is uniform
        where the model is right.
        """
        density: Any = self.fitted.density
        order = self.table.rows
        config = self.table.groups.config
        xp = arrays("numpy")
        mean = density.log_mean(density.parameters(self.values, xp), xp)
        mean = (mean * np.ones(len(density.answers)))[:, config]
        found, weight = density.intervals, self.leave_one_out[0][config].T
        low = (weight * self.distribution(found.lower[order] - mean)).sum(axis=0)
        high = (weight * self.distribution(found.upper[order] - mean)).sum(axis=0)
        return low + (high - low) * np.random.default_rng(self.random_seed).random(len(low))

    @cached_property
    def replicated_share(self) -> np.ndarray:
        """Probabilities of replicated runs, whose cells share a level, (sample, run)."""
        rng, at = np.random.default_rng(self.random_seed + 1), self.noise_at_run
        shape, config = at["sigma"].shape, self.table.groups.config
        away = at["sigma"] * rng.standard_normal(shape)
        away = np.where(
            rng.random(shape) < at["straggler_share"], away * at["straggler_scale"], away
        )
        if "cell_sigma" in at:
            level = rng.standard_normal((shape[0], self.table.groups.n_configs))[:, config]
            away = away + at["cell_sigma"] * level
        return self.distribution(away)


def batch_cards(
    fitted: Fitted, ci_prob: float, random_seed: int
) -> tuple[list[Card], BatchEvidence | None]:
    """The cards between convergence and extrapolation; the evidence if the fit may be judged."""
    cards = [runs_card(fitted), rounding_card(fitted)]
    if not fitted.ok:
        return cards, None
    evidence = BatchEvidence(fitted, random_seed)
    return [
        *cards, reach_card(fitted), tuning_card(fitted), calibration_card(evidence, ci_prob),
    ], evidence  # fmt: skip


def runs_card(fitted: Fitted) -> Card:
    """How many runs say something, and how many never reached the target."""
    found: Any = fitted.density.intervals  # type: ignore[attr-defined]
    total, used = readings(fitted.runs, all=True).sizes["reading"], len(found.value)
    never = int((~found.reached).sum())
    told = f"{used} of {total} runs, {len(fitted.density.answers)} batch sizes"  # type: ignore[attr-defined]
    told += f"; {never} never reached the target and count as more" if never else ""
    if total - used <= limit.SET_ASIDE_WARN * total:
        return Card("rows", "PASS", told + ".")
    return Card("rows", "WARNING", f"{told}; {total - used} say nothing.",
                "A run that gave up says where: put how far it came into the answer, with status "
                "'censored'.")  # fmt: skip


def rounding_card(fitted: Fitted) -> Card:
    """How coarse the answers are against the noise between seeds."""
    found: Any = fitted.density.intervals  # type: ignore[attr-defined]
    coarse, families = [], fitted.families if fitted.by_family else (None,)
    for name in families:
        mine = found.reached.copy()
        if name is not None:
            mine &= found.flat["family"].values.astype(str) == name
        share = float(np.median(found.step[mine] / found.value[mine])) if mine.any() else 0.0
        sigma = float(np.median(fitted.draws("sigma", name)))
        if share > COARSE * sigma:
            told = f"{percent(share)} of the answer against seeds' {percent(sigma)}"
            coarse.append(f"{name}: {told}" if name else told)
    sentence = f"distance between evaluations: {found.how}"
    if not coarse:
        return Card("rounding", "PASS", sentence + "; finer than the noise between seeds.")
    return Card(
        "rounding", "PASS",
        f"{sentence}; coarser than the noise between seeds ({some(coarse)}), which then rests on "
        "the prior to a good part. The curve does not.",
    )  # fmt: skip


def reach_card(fitted: Fitted) -> Card:
    """Do the batch sizes reach from well below the critical one to near it?"""
    findings, model = [], fitted.model
    for name in fitted.families if fitted.by_family else (None,):
        seen = fitted.readings(name)
        batch, where = seen[model.batch], f" in {name}" if name else ""
        at = float(np.exp(np.log(seen[model.along]).mean())) if model.along else None
        critical = model.critical_batch(fitted.parameters(name), at)
        middle = float(np.median(critical))
        if len(np.unique(batch)) < 3:
            findings.append(
                Finding("WARNING", f"{len(np.unique(batch))} batch size(s){where}: no curve can be "
                        "seen.", "Add runs at a third batch size.")
            )  # fmt: skip
        if np.mean(batch.max() > SEEN_SHARE * critical) < 0.5:
            findings.append(
                Finding("WARNING", f"The largest batch{where}, {si(batch.max())}, is small against "
                        f"the critical one ({si(middle)}), which is an extrapolation.",
                        "Add runs at a larger batch, where tokens double.")
            )  # fmt: skip
        if np.mean(batch.min() > critical) > 0.5:
            findings.append(
                Finding("WARNING", f"The smallest batch{where}, {si(batch.min())}, is above the "
                        f"critical one ({si(middle)}): the least need is an extrapolation.",
                        "Add runs at a smaller batch.")
            )  # fmt: skip
    return card("reach", findings, otherwise="batch sizes lie on both sides of the bend.")


def tuning_card(fitted: Fitted) -> Card:
    """Which batch sizes lie off the curve by more than others do: tuned better, or worse?"""
    posterior = fitted.tree["posterior"].dataset
    if "cell_level" not in posterior:
        return Card(
            "tuning", "PASS", "one run a batch size, so tuning and luck are not told apart."
        )
    density: Any = fitted.density
    answers = density.answers
    level = posterior["cell_level"].values.reshape(-1, len(answers))
    off, findings = [], []
    for c in range(len(answers)):
        family = fitted.families[answers.family[c]] if fitted.by_family else None
        sigma = fitted.draws("cell_sigma", family)
        off.append(float(np.median(level[:, c] / sigma)))
        if abs(off[-1]) > FAR_LEVEL:
            b, middle = answers.inputs[fitted.model.batch][c], float(np.median(level[:, c]))
            where = f" of {family}" if family else ""
            findings.append(
                Finding("WARNING", f"Batch size {si(float(b))}{where} takes {middle:+.0%} against "
                        f"the curve, {abs(off[-1]):.1f} times what is usual.",
                        "Look at its learning rate; or fit shaped=True.")
            )  # fmt: skip
    largest = int(np.argmax(np.abs(off)))
    return card(
        "tuning", findings,
        otherwise=f"no batch size lies far off the curve; the furthest, "
        f"{si(float(answers.inputs[fitted.model.batch][largest]))}, by "
        f"{float(np.median(level[:, largest])):+.0%}.",
    )  # fmt: skip


def calibration_card(evidence: BatchEvidence, ci_prob: float) -> Card:
    """Do intervals for runs at a batch size, made without it, hold them as often as they say?"""
    tail = (1.0 - ci_prob) / 2
    held = [np.mean(np.abs(p - 0.5) < 0.5 - tail, axis=-1)
            for p in (evidence.out_of_sample, evidence.replicated_share)]  # fmt: skip
    low, high = np.quantile(held[1], [limit.P_VALUE / 2, 1 - limit.P_VALUE / 2])
    sentence = (
        f"{percent(float(held[0]))} of {len(evidence.out_of_sample)} runs lie in the "
        f"{percent(ci_prob)} interval foretold without their batch size (chance alone gives "
        f"{percent(float(low))} to {percent(float(high))})."
    )
    off = abs(float(held[0]) - ci_prob)
    if low <= held[0] <= high or off < limit.COVERAGE_WARN:
        return Card("calibration", "PASS", sentence)
    status = "FAIL" if off > limit.COVERAGE_FAIL else "WARNING"
    narrow = held[0] < ci_prob
    action = (
        "Intervals are too narrow: fit shaped=True, and look at the batch sizes off the curve."
        if narrow
        else "Intervals are too wide: fit families apart, family='partial'."
    )
    return Card("calibration", status, sentence, action)


def batch_data(evidence: BatchEvidence) -> xr.Dataset:
    """What the cards are made of, as `bayescale.check.Check.data` has it."""
    weight, k_hat, elpd = evidence.leave_one_out
    p, prior = evidence.out_of_sample, against_prior(evidence)
    inputs = {k: ("reading", v) for k, v in evidence.table.inputs.items()}
    name = next(n for n in evidence.fitted.law.parameters if n.startswith("B_crit"))
    log_B = np.log(evidence.values[name] * np.ones(len(evidence.table.families)))
    log_B = log_B[:, evidence.table.groups.family]
    without = np.einsum("cs,sc->c", weight, log_B)
    return xr.Dataset(
        {
            **inputs,
            "run": ("reading", evidence.columns["run"].values.astype(str)),
            "probability": ("reading", p),
            "score": ("reading", normal_score(p)),
            "k_hat": ("config", k_hat),
            "elpd": ("config", elpd),
            "shift": ("config", (without - log_B.mean(axis=0)) / log_B.std(axis=0)),
            "prior_ratio": ("parameter", [r for r, _ in prior.values()]),
            "prior_distance": ("parameter", [d for _, d in prior.values()]),
        },
        {"config": evidence.configs, "parameter": list(prior)},
        {"inputs": list(inputs), "shift_of": "ln B_crit"},
    )
