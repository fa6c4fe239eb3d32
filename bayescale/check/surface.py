"""Cards for fits with hyperparameters: is the best inside what was tried, how flat, what cliff?"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from bayescale.answers import percent, si
from bayescale.check import thresholds as limit
from bayescale.check.cards import Card, Finding, card
from bayescale.check.evidence import Evidence
from bayescale.check.posterior import against_prior
from bayescale.check.residuals import noise_card
from bayescale.inference.curve import best_hyperparameters, surface_values
from bayescale.inference.tree import Fitted
from bayescale.laws.surface import RATE
from bayescale.models.arrays import arrays

BEYOND = (
    0.5  # probability that the best lies beyond the grid from which a cell is one-sided; chosen
)
CHEAP, DEAR = 0.001, 0.005  # losses that nobody notices, and that one would pay to avoid; chosen


class SurfaceEvidence(Evidence):
    """`Evidence` given the drawn levels of the cells; the noise widens with the price."""

    @cached_property
    def _expected(self) -> tuple[np.ndarray, Any]:
        """Log loss expected of each run, and its noise, (sample, reading)."""
        density: Any = self.fitted.density
        xp = arrays("numpy")
        log_law, price = density.parts(self.values, xp)
        noise = density.noise(price, self.values, xp)
        if density.cells is not None:
            log_law = log_law + self.values["misfit_at"][:, density.cells.of_reading]
        return log_law, noise

    @cached_property
    def residual(self) -> np.ndarray:
        """Log loss minus what the surface and the level of its cell expect, (sample, reading)."""
        return self.table.response - self._expected[0]

    @cached_property
    def sigma(self) -> np.ndarray:
        """Scale of the noise at each reading, (sample, reading)."""
        return self._expected[1].scale

    @cached_property
    def replicated(self) -> np.ndarray:
        """Residuals of tables drawn from the posterior, truncated where the table is."""
        rng, nu = np.random.default_rng(self.random_seed), self._nu
        p = rng.random(self.residual.shape) * self._seen
        return self.sigma * special.stdtrit(nu, np.clip(p, 1e-12, 1.0 - 1e-12))

    def probability(self, residual: np.ndarray) -> np.ndarray:
        """Probability of a smaller residual at the same reading, (sample, reading)."""
        return special.stdtr(self._nu, residual / self.sigma) / self._seen

    @cached_property
    def weight(self) -> np.ndarray:
        """What the tail of the noise leaves of each run's say, posterior mean, (config,)."""
        z, nu = self.residual / self.sigma, self._nu
        return ((nu + 1.0) / (nu + z * z)).mean(axis=0)[np.argsort(self._config)]

    @cached_property
    def optimum(self) -> tuple[str, np.ndarray] | None:
        """What a run might move: log of a best value at the largest cell, (sample, family)."""
        name = RATE if RATE in self.fitted.surface.hyperparameters else "best"  # type: ignore[union-attr]
        columns = []
        for family in self.fitted.families:
            at = largest_cell(self.fitted, family)
            best = best_hyperparameters(self.fitted, at, family)
            name = name if name in best else next(iter(best))
            columns.append(np.log(best[name][:, 0])[self.index])
        return f"ln of the best {name} at the largest cell", np.stack(columns, axis=1)

    @property
    def _nu(self) -> np.ndarray:
        return self._expected[1].nu * np.ones_like(self.residual)

    @property
    def _config(self) -> np.ndarray:
        return self.table.groups.config[self.table.groups.run]

    @cached_property
    def _seen(self) -> np.ndarray | float:
        """Probability that a run's loss lies below the limit of the table, (sample, reading)."""
        limit_of_table = self.fitted.model.truncated_at
        if limit_of_table is None:
            return 1.0
        z = (np.log(limit_of_table) - self._expected[0]) / self.sigma
        return np.maximum(special.stdtr(self._nu, z), 1e-9)


def surface_cards(evidence: SurfaceEvidence) -> list[Card]:
    """Cards that only a fit with hyperparameters has, and its card about the noise."""
    fitted = evidence.fitted
    noise = noise_card(evidence)
    if noise.status != "PASS":
        action = "Look at those runs one by one; a column that parts them can be a switch."
        noise = replace(noise, action=action)
    cards = [noise, edge_card(fitted), flat_card(fitted), divergence_card(evidence)]
    return [*cards, form_card(fitted)] if "dispersion" in fitted.spec else cards


def edge_card(fitted: Fitted) -> Card:
    """Do the values tried in each cell bracket the best one? Where not, the answer is a bound."""
    assert fitted.surface is not None
    findings, told = [], []
    for name in fitted.surface.ordered:
        below, above, cells = _one_sided(fitted, name)
        for count, side, far in ((below, "below", "smaller"), (above, "above", "larger")):
            if not count:
                continue
            sentence = (
                f"In {count} of {cells} cells the best `{name}` lies {side} all that was tried "
                f"there with {percent(BEYOND)} probability or more: a bound, no value."
            )
            told.append(sentence)
            if count > cells / 2:
                add = f"Add runs at {far} values of `{name}`, at the largest cell first."
                findings.append(Finding("WARNING", sentence, add))
    return card(
        "optimum on the edge", findings,
        otherwise=" ".join(told) or "in every cell runs lie on both sides of the best values.",
    )  # fmt: skip


def flat_card(fitted: Fitted) -> Card:
    """How much off may one be, and what may the recommended values cost at the largest cell?"""
    assert fitted.surface is not None
    findings, told = [], []
    for family in fitted.families:
        at = largest_cell(fitted, family)
        best = best_hyperparameters(fitted, at, family)
        chosen = {k: np.exp(np.median(np.log(x)))[None, None] for k, x in best.items()}
        values = surface_values(fitted, at, family)
        prices = fitted.surface.prices({**values, **chosen}, np)
        where = f" ({family})" if fitted.by_family else ""
        for name in best:
            free = _free_factor(fitted, name, values)
            told.append(f"`{name}` may be off by a factor {free:.2f} for {CHEAP:.1%}{where}")
        cost = np.asarray(sum(prices.values(), 0.0))
        high = float(np.quantile(cost, 0.95))
        told.append(f"the recommended values cost {high:.2%} at most with 95 % probability{where}")
        if high > DEAR:
            findings.append(
                Finding("WARNING", f"At the largest cell the recommended values may cost "
                        f"{high:.2%} of the loss (95 % bound){where}.",
                        "Add runs around the recommended values there.")
            )  # fmt: skip
    return card("how flat", findings, otherwise="; ".join(told) + ".")


def divergence_card(evidence: SurfaceEvidence) -> Card:
    """What is known about the rates at which runs diverge."""
    fitted: Any = evidence.fitted
    tried = fitted.density.tried
    if tried is None:
        return Card(
            "divergence", "PASS", "no run of the table diverged, so nothing is said about a cliff; "
            "advice beyond the largest rates tried rests on the bowl alone.",
        )  # fmt: skip
    xp, density = arrays("numpy"), fitted.density
    ends = density.log_ends(evidence.values, density.parameters(evidence.values, xp), xp)
    p = np.where(tried.diverged, np.exp(ends), -np.expm1(ends))  # of divergence, (sample, run)
    count = int(tried.diverged.sum())
    drawn = np.random.default_rng(evidence.random_seed).random(p.shape) < p
    low, high = np.quantile(drawn.sum(axis=1), [limit.P_VALUE / 2, 1 - limit.P_VALUE / 2])
    cliff = np.exp(evidence.values["cliff"])
    told = (
        f"{count} of {len(tried.diverged)} runs diverged (the cliff gives {low:.0f} to "
        f"{high:.0f}); half of them do at {si(float(np.quantile(cliff, 0.05)))} to "
        f"{si(float(np.quantile(cliff, 0.95)))} times the best rate"
    )
    findings = []
    if not low <= count <= high:
        findings.append(
            Finding("WARNING", f"{count} runs diverged where the fitted cliff gives {low:.0f} to "
                    f"{high:.0f}.", "Look for what else they share: warm-up, depth, data.")
        )  # fmt: skip
    ratio = against_prior(evidence)["cliff"][0]
    if ratio > limit.PRIOR_RATIO_WARN:
        findings.append(
            Finding("WARNING", f"Where the cliff is rests on the prior ({percent(ratio)} of its "
                    "sd).", "Add a few short runs at high rates before you rely on it.")
        )  # fmt: skip
    return card("divergence", findings, otherwise=told + ".")


def form_card(fitted: Fitted) -> Card:
    """Do runs at like distances from their optima err together, as under a wrong form?"""
    dispersion, readings = fitted.spec["dispersion"], len(fitted.density.table.response)
    told = f"design effect {dispersion:.1f}"
    if dispersion < limit.DISPERSION_WARN:
        return Card("form of the bowl", "PASS", f"runs err about the bowl one by one: {told}.")
    return Card(
        "form of the bowl", "WARNING",
        "Runs at like distances from their optima err together: the price of a miss has not quite "
        f"the form of the law, and {readings:,} runs say as much about it as "
        f"{readings / dispersion:,.0f} would ({told}). The intervals contain this; the optimum of "
        "one cell may lie further off.",
        "Judge advice by what it costs (how flat) rather than by the digits of the optimum.",
    )  # fmt: skip


def largest_cell(fitted: Fitted, family: str | None) -> dict[str, np.ndarray]:
    """Inputs of the loss law and switches of the largest run, ``(1, 1)`` each."""
    assert fitted.surface is not None
    seen, law = fitted.readings(family), fitted.surface.loss_law
    names = [*(law.inputs if law else ()), *fitted.surface.switches]
    if not names:
        return {}
    size = sum(np.log(seen[k]) for k in fitted.surface.scales) if fitted.surface.scales else None
    most = int(np.argmax(size)) if size is not None else 0
    return {k: np.array([[seen[k][most]]]) for k in names}


def _one_sided(fitted: Fitted, name: str) -> tuple[int, int, int]:
    """Cells whose best value lies below and above all that was tried there; all cells."""
    assert fitted.surface is not None
    law = fitted.surface.loss_law
    keys = [*(law.inputs if law else ()), *fitted.surface.switches]
    below = above = total = 0
    for family in fitted.families:
        seen = fitted.readings(family)
        n = len(seen[name])
        place = np.column_stack([np.zeros(n), *(seen[k] for k in keys)])
        cells, code = np.unique(place, axis=0, return_inverse=True)
        at = {k: cells[None, :, i + 1] for i, k in enumerate(keys)}
        best = np.broadcast_to(
            np.log(best_hyperparameters(fitted, at, family)[name]),
            (len(fitted.draws("sigma", family)), len(cells)),
        )
        for c in range(len(cells)):
            tried = np.log(seen[name][code.reshape(-1) == c])
            below += bool(np.mean(best[:, c] < tried.min()) >= BEYOND)
            above += bool(np.mean(best[:, c] > tried.max()) >= BEYOND)
        total += len(cells)
    return below, above, total


def _free_factor(fitted: Fitted, name: str, values: dict[str, Any]) -> float:
    """Factor off the best value, either way, that costs `CHEAP`: from the curvature there."""
    assert fitted.surface is not None
    step = 1e-3
    log_best = fitted.surface.log_best(name, values, np)
    moved = {**values, name: np.exp(log_best + step)}
    curvature = 2.0 * np.asarray(fitted.surface.prices(moved, np)[name]) / step**2
    return float(np.exp(np.median(np.sqrt(2.0 * CHEAP / curvature))))
