"""`check`: can this fit be trusted, and if not, what to do next?

One card a question: convergence, the table, the shape of the law, the noise, calibration, single
runs, priors, and how far away the target lies. Thresholds with their reasons are in
`bayescale.check.thresholds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer
from bayescale.check.batch import batch_cards, batch_data
from bayescale.check.cards import Card, Status, worst
from bayescale.check.data import extrapolation_card, identifiability_card, set_aside_card
from bayescale.check.evidence import Evidence, normal_score
from bayescale.check.influence import influence_card, outliers_card, shifts
from bayescale.check.posterior import against_prior, convergence_card, priors_card, trade_offs
from bayescale.check.residuals import calibration_card, law_card, noise_card
from bayescale.check.surface import SurfaceEvidence, surface_cards
from bayescale.errors import DataError
from bayescale.inference.tree import opened

__all__ = ["Card", "Check", "check"]


@dataclass(frozen=True, repr=False)
class Check(Answer):
    """Cards about a fit.

    Attributes
    ----------
    cards : tuple of Card
        Title, status, finding, action each.
    data : xarray.Dataset
        What the cards are made of. By ``reading``: ``score`` (leave-one-out standardised
        residual), ``probability``, ``run`` and the inputs. By ``config``: ``k_hat``, ``elpd``
        (leave one out, log density of log loss), ``weight`` (what the noise leaves of its say)
        and ``shift`` (posterior sd that the exponent moves without it). By ``parameter``:
        ``prior_ratio`` and ``prior_distance``. Empty for a fit that failed.
    """

    cards: tuple[Card, ...]
    data: xr.Dataset

    @property
    def status(self) -> Status:
        """The worst status of all cards."""
        return worst([c.status for c in self.cards])

    @property
    def exit_code(self) -> int:
        """1 on FAIL, else 0; for scripts."""
        return int(self.status == "FAIL")

    @property
    def table(self) -> pd.DataFrame:
        """One row a card: card, status, finding, action."""
        rows = [(c.title, c.status, c.finding, c.action) for c in self.cards]
        return pd.DataFrame(rows, columns=["card", "status", "finding", "action"])

    @property
    def text(self) -> str:
        """The verdict, then one line a card."""
        n = sum(c.status == "PASS" for c in self.cards)
        return "\n".join(
            [f"{self.status}: {n} of {len(self.cards)} checks pass", *map(str, self.cards)]
        )

    def plot(self) -> Any:
        """Residuals along each input, their calibration, influence and priors, as a figure."""
        from bayescale.check.drawing import draw

        return draw(self)


def check(
    fit: xr.DataTree,
    *,
    ci_prob: float = 0.9,
    target: Mapping[str, Any] | None = None,
    random_seed: int = 0,
) -> Check:
    """Judge a fit: cards that say PASS, WARNING or FAIL, why, and what to do.

    Parameters
    ----------
    fit : xarray.DataTree
        From `bayescale.fit`.
    ci_prob : float, default 0.9
        Probability of the intervals whose calibration is judged.
    target : mapping, optional
        Where the forecast is wanted: the law's inputs (``{"N": 7e10, "T": 1.4e12}``), or
        ``{"flops": 1e24}``. Judges the distance from the data.
    random_seed : int, default 0
        For the replicated tables.

    Returns
    -------
    Check
        ``.status``, ``.table``, ``.text``, ``.data``, ``.plot()``, ``.exit_code``.

    Notes
    -----
    A fit that failed its convergence gate is judged by its table only: residuals of a wrong
    posterior would mislead.

    Examples
    --------
    >>> print(bs.check(fit, target={"N": 7e10, "T": 1.4e12}))  # doctest: +SKIP
    """
    if not 0 < ci_prob < 1:
        raise DataError(f"`ci_prob` is a probability between 0 and 1; got {ci_prob!r}.")
    fitted = opened(fit)
    cards = [convergence_card(fitted), set_aside_card(fitted)]
    end = extrapolation_card(fitted, target)
    if fitted.spec["model"]["kind"] == "critical_batch":
        more, seen = batch_cards(fitted, ci_prob, random_seed)
        more = [cards[0], *more, *([priors_card(seen)] if seen else []), end]
        return Check(tuple(more), batch_data(seen) if seen else xr.Dataset())
    if not fitted.ok:
        return Check((*cards, identifiability_card(fitted), end), xr.Dataset())
    if fitted.surface is not None:
        evidence = SurfaceEvidence(fitted, random_seed)
        of_noise = surface_cards(evidence)
    else:
        evidence = Evidence(fitted, random_seed)
        of_noise = [noise_card(evidence)]
    cards += [
        identifiability_card(fitted, trade_offs(evidence)),
        law_card(evidence),
        *of_noise,
        calibration_card(evidence, ci_prob),
        influence_card(evidence),
        outliers_card(evidence),
        priors_card(evidence),
        end,
    ]
    return Check(tuple(cards), _data(evidence))


def _data(evidence: Evidence) -> xr.Dataset:
    _, k_hat, elpd = evidence.leave_one_out
    p = evidence.out_of_sample
    moved = shifts(evidence)
    most = np.stack([*moved.values()])
    prior = against_prior(evidence)
    off = evidence.fitted.law.zero_one
    inputs = {k: ("reading", v) for k, v in evidence.table.inputs.items() if k not in off}
    return xr.Dataset(
        {
            **inputs,
            "run": ("reading", evidence.columns["run"].values.astype(str)),
            "probability": ("reading", p),
            "score": ("reading", normal_score(p)),
            "k_hat": ("config", k_hat),
            "elpd": ("config", elpd),
            "weight": ("config", evidence.weight),
            "shift": ("config", most[np.abs(most).argmax(axis=0), np.arange(most.shape[1])]),
            "prior_ratio": ("parameter", [r for r, _ in prior.values()]),
            "prior_distance": ("parameter", [d for _, d in prior.values()]),
        },
        {"config": evidence.configs, "parameter": list(prior)},
        {"inputs": list(inputs)},
    )
