"""The pictures of a report, each with a caption that says what to look for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayescale.inference.tree import Fitted
from bayescale.report.page import Section, escape, picture

if TYPE_CHECKING:
    from bayescale.plan import Plan
    from bayescale.predict import Prediction
    from bayescale.tune import Tuning

CAPTIONS = {
    "batch": "What the target takes against batch size. A bar is where an answer lies, between two "
    "evaluations; the critical batch size takes twice what the smallest batch does.",
    "plan": "What each size would reach on the budget. Green: sizes that cost less than 0.2 % of "
    "expected loss. The bar is the interval of the best size.",
    "forecast": "The forecast: readings, points with intervals, and a path to them from the middle "
    "of the data.",
    "law": "Readings, and the mean curve with its interval for a few sizes. Readings should lie on "
    "both sides of a curve of their colour.",
    "isoflop": "Slices of equal compute. The best size is the bottom of each curve.",
    "frontier": "Best size, tokens and loss against compute; dashed beyond the data.",
    "residuals": "What the law leaves over, in units of the noise. A trend of the means is misfit; "
    "orange readings count for little.",
    "exponents": "Exponents: prior, posterior, and what others have published for the same law.",
}
SWEEP_CAPTIONS = {
    "plan": "What each size would reach on the budget with its best hyperparameters. Green: sizes "
    "that cost less than 0.2 % of expected loss. The bar is the interval of the best size.",
    "law": "The loss under the best hyperparameters. Points are runs near them, less what "
    "they lost by not being there.",
    "isoflop": "Slices of equal compute under the best hyperparameters; the best size is the "
    "bottom of each curve.",
    "residuals": "What the surface leaves over, in units of the noise that a run so tuned has; a "
    "trend of the means is misfit.",
}
TUNING_CAPTIONS = {
    "valley": "Shades: settings that cost next to nothing, on average over the posterior. Dots: "
    "draws of the optimum. Squares, where there are any: what published laws advise.",
    "optimum": "Best batch size and learning rate, beyond the data as well. A dot is what one "
    "cell's own runs say, given how steep the fitted bowls are; dots that scatter more than the "
    "band say that the optimum is no exact power law.",
    "bowls": "Runs and the fitted surface, a panel a size and length; all panels span the same "
    "ratio of losses. Bands are of the mean curve; runs scatter about it.",
    "powers": "Powers with which the optimum moves: prior, posterior, and what others printed.",
}


def figures(
    fitted: Fitted, plan: Plan | None, prediction: Prediction | None, ci_prob: float
) -> Section:
    """Every plot that this law has, with a caption that says what to look for."""
    from bayescale import plots

    if fitted.spec["model"]["kind"] == "critical_batch":
        drawn = [("batch", plots.batch(fitted, ci_prob=ci_prob))]
        return Section("Figures", "".join(picture(f, CAPTIONS[name]) for name, f in drawn))
    surface = fitted.surface
    inputs = set(fitted.law.inputs) - set(surface.hyperparameters if surface else ())
    sized = {"N", "T"} <= inputs or {"N", "flops"} <= inputs
    free = inputs - {"N", "T", "flops"}
    one_cell = surface is not None and surface.loss_law is None
    drawn = []
    if plan is not None:
        drawn.append(("plan", plots.plan(plan)))
    if prediction is not None and not one_cell:
        drawn.append(("forecast", plots.forecast(prediction)))
    if not one_cell:
        drawn.append(("law", plots.law(fitted, ci_prob=ci_prob)))
    if sized and not free:
        drawn.append(("isoflop", plots.isoflop(fitted, ci_prob=ci_prob)))
        drawn.append(("frontier", plots.frontier(fitted.tree, ci_prob=ci_prob)))
    drawn.append(("residuals", plots.residuals(fitted, ci_prob=ci_prob)))
    if not one_cell:
        drawn.append(("exponents", plots.exponents(fitted, ci_prob=ci_prob)))
    told = CAPTIONS | (SWEEP_CAPTIONS if surface is not None else {})
    return Section("Figures", "".join(picture(figure, told[name]) for name, figure in drawn))


def tuning(fitted: Fitted, plan: Plan | None, ci_prob: float) -> Section | None:
    """The best hyperparameters at the plan, or at the largest run: in words and pictures."""
    if fitted.surface is None:
        return None
    from bayescale import plots

    found = _tuning_at(fitted, plan, ci_prob)
    drawn: list[tuple[str, Any]] = []
    body = ""
    if found is not None:
        text = [x for x in found.text.splitlines() if x != fitted.warning]
        body = "".join(f"<p>{escape(x)}</p>" for x in text)
        drawn.append(("valley", plots.valley(found)))
    if fitted.surface.scales:
        drawn.append(("optimum", plots.optimum(fitted, ci_prob=ci_prob)))
        powers = [n for n, p in fitted.law.parameters.items() if p.role in POWERS]
        drawn.append(("powers", plots.exponents(fitted, powers, ci_prob=ci_prob)))
    for name in fitted.surface.hyperparameters:
        drawn.append(("bowls", plots.bowls(fitted, against=name, ci_prob=ci_prob)))
    body += "".join(picture(figure, TUNING_CAPTIONS[name]) for name, figure in drawn)
    names = " and ".join(name.replace("_", " ") for name in fitted.surface.hyperparameters)
    return Section(names.capitalize(), body)


POWERS = ("batch_power", "rate_power", "optimum_power", "batch_coupling")


def _tuning_at(fitted: Fitted, plan: Plan | None, ci_prob: float) -> Tuning | None:
    """That of the plan, else at the largest run; None for families or where all is fixed."""
    if plan is not None:
        return plan.tuning
    if fitted.by_family:
        return None
    from bayescale.tune import tune

    surface, seen = fitted.surface, fitted.readings()
    assert surface is not None
    base = surface.loss_law.inputs if surface.loss_law is not None else ()
    cost = sum((np.log(seen[k]) for k in base), np.zeros(len(seen[fitted.law.response])))
    last = int(np.argmax(cost))
    where: dict[str, Any] = {k: float(seen[k][last]) for k in (*base, *surface.switches)}
    return tune(fitted.tree, ci_prob=ci_prob, **where)
