"""The sections of a report, each from the fit and the answers to one piece of HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from bayescale.answers import interval
from bayescale.errors import SpecError
from bayescale.inference.tree import Fitted
from bayescale.models.distributions import Prior
from bayescale.models.pooling import pooling_text
from bayescale.report import words as say
from bayescale.report.page import Section, escape, paragraphs, table

if TYPE_CHECKING:
    from bayescale.check import Check
    from bayescale.plan import Plan
    from bayescale.predict import Prediction

_POINTS_TOLD = 3
"""Points of a forecast that are told in words; a table has them all."""


def warning(fitted: Fitted) -> Section | None:
    """What the convergence gate says of a fit that did not pass; red where it failed."""
    if not fitted.warning:
        return None
    return Section("", paragraphs(fitted.warning), "warned" if fitted.ok else "failed")


def answer(fitted: Fitted, plan: Plan | None, prediction: Prediction | None) -> Section:
    """The plan, the first points of the forecast, or what the law says; a paragraph a sentence."""
    texts = [] if plan is None else _lines(plan.text, fitted)
    if prediction is not None:
        points = _lines(prediction.text, fitted)
        texts += points[:_POINTS_TOLD]
        if len(points) > _POINTS_TOLD:
            texts.append(f"{len(points) - _POINTS_TOLD} more points stand in the table below.")
    body = "".join(f"<p>{escape(t)}</p>" for t in texts or [_summary(fitted)])
    return Section("Answer", body, "answer")


def beyond(fitted: Fitted, plan: Plan | None, prediction: Prediction | None) -> Section:
    """How far the data reach, and how far the answers go past them."""
    seen = fitted.readings()
    if {"N", "T"} <= set(seen):
        seen = {**seen, "flops": say.compute(fitted)}
    inputs = [k for k in ("N", "T", "flops") if k in seen] or list(fitted.law.inputs)
    reach = [f"{say.axis(k)} to {say.amount(k, seen[k].max())}" for k in inputs]
    lines = [f"The data reach {', '.join(reach)}. Whatever lies past that rests on the law alone."]
    if plan is not None:
        lines.append(f"The plan lies {_far(plan.decades_beyond)}.")
    if prediction is not None:
        far = float(np.max(prediction.decades_beyond, initial=0.0))
        lines.append(f"The farthest point of the forecast lies {_far(far)}.")
    lines.append(
        "Intervals hold the uncertainty of the parameters, and the noise where a new run is meant. "
        "They do not hold the chance that the law itself bends where no run has been."
    )
    return Section("Beyond the data", "".join(f"<p>{escape(x)}</p>" for x in lines))


def checks(check: Check | None) -> Section | None:
    """The cards of `bayescale.check`, the worst first."""
    if check is None:
        return None
    order = {"FAIL": 0, "WARNING": 1, "PASS": 2}
    rows = sorted(check.table.to_dict("records"), key=lambda r: order.get(r["status"], 3))
    cards = "".join(
        f'<div class="card {escape(r["status"])}"><h3>{escape(r["card"])}'
        f'<span class="tag">{escape(r["status"])}</span></h3><div>{escape(r["finding"])}</div>'
        + (f'<p class="action">{escape(r["action"])}</p>' if r["action"] else "")
        + "</div>"
        for r in rows
    )
    verdict = escape(check.text.splitlines()[0])
    return Section("Checks", f'<p>{verdict}.</p><div class="cards">{cards}</div>')


def tables(plan: Plan | None, prediction: Prediction | None) -> Section | None:
    """The tables of the plan and of the forecast."""
    if plan is None and prediction is None:
        return None
    body = ""
    if plan is not None:
        rows = [
            (
                name.replace("_", " "),
                *(say.cell(name, r[k], r["unit"]) for k in ("plan", "lower", "upper")),
                r["unit"],
                r["meaning"],
            )
            for name, r in zip(plan.table.index, plan.table.to_dict("records"), strict=True)
        ]  # fmt: skip
        head = ("quantity", "plan", *say.ends(plan.ci_prob), "unit", "meaning")
        body += "<h3>Plan</h3>" + table(head, rows, words=(0, 4, 5))
    if prediction is not None:
        columns = [str(c) for c in prediction.table.columns]
        low, high = say.ends(prediction.ci_prob)
        head = [{"lower": low, "upper": high}.get(c, c.replace("_", " ")) for c in columns]
        rows = [
            [say.cell(k, v) if isinstance(v, (int, float)) else v for k, v in record.items()]
            for record in prediction.table.to_dict("records")
        ]
        what = "a new run, with its noise" if prediction.kind == "response" else "the mean curve"
        words = (0,) if columns[0] == "family" else ()
        body += f"<h3>Forecast of {what}</h3>" + table(head, rows, words=words)
    return Section("Numbers", body)


def model(fitted: Fitted) -> Section:
    """The model in words, and every prior with its reason."""
    law = fitted.law
    body = [f'<span class="formula">{escape(law.formula)}</span>']
    if law.reference:
        body.append(f'<p class="quiet">{escape(law.reference)}</p>')
    scales = ", ".join(f"{k}0 = {say.amount(k, v)}" for k, v in law.scales.items())
    noise = getattr(fitted.model, "noise_text", None) or fitted.model.noise.describe()
    body.append(f"<p>Noise: {escape(noise)}.</p>")
    body.append(f"<p>Families: {escape(pooling_text(fitted.model.family))}.</p>")
    if scales:
        body.append(f"<p>Reference scales: {escape(scales)}.</p>")
    body.append(
        "<p>Priors of loss terms are for what a term adds at the pivot, the geometric mean of the "
        "inputs, in multiples of the typical loss "
        f"({escape(say.pivot_text(fitted))}). Those of exponents are for the exponents "
        "themselves.</p>"
    )
    rows = []
    for v in fitted.density.variables:
        p = law.parameters.get(v.name)
        meaning = p.meaning if p else say.MEANINGS.get(v.name, "")
        shared = {"one": "", "free": "; each family its own", "pooled": "; pooled"}[v.sharing]
        if isinstance(v.spread, Prior):
            shared += f", spread between families {v.spread}"
        rows.append((v.name, meaning, f"{v.prior}{shared}", v.prior.source))
    body.append(table(("parameter", "meaning", "prior", "why"), rows, words=(0, 1, 2, 3)))
    return Section("Model", "".join(body))


def parameters(fitted: Fitted, ci_prob: float) -> Section:
    """Posterior of every parameter: mean, median and interval, to the digits that it deserves."""
    posterior = fitted.tree["posterior"].dataset
    rows = []
    for name, x in posterior.data_vars.items():
        if set(x.dims) - {"chain", "draw", "family"}:
            continue  # levels of cells: their place is in the figures
        families = [str(f) for f in x["family"].values] if "family" in x.dims else [""]
        for f in families:
            draws = (x.sel(family=f) if f else x).values.reshape(-1)
            low, high = interval(draws, ci_prob)
            show = say.digits(float(low), float(high))
            unit = str(x.attrs.get("units", ""))
            rows.append((name, *([f] if fitted.by_family else []), show(draws.mean()),
                         show(np.median(draws)), show(low), show(high), unit))  # fmt: skip
    family = ("family",) if fitted.by_family else ()
    head = ("parameter", *family, "mean", "median", *say.ends(ci_prob), "unit")
    last = len(head) - 1
    note = (
        "<p class='quiet'>In the units in which such laws are printed: a prefactor is the term at "
        "one parameter or one token, and moves with its exponent.</p>"
    )
    words = (0, *((1,) if family else ()), last)
    return Section("Parameters", table(head, rows, words=words) + note)


def data(fitted: Fitted) -> Section:
    """What was fitted, the range of it, and the rows set aside with their reasons."""
    runs = fitted.runs
    reason = runs["reason"].values.astype(str).ravel()
    fit_flags = runs["fitted"].values.astype(bool).ravel()
    names, counts = np.unique(reason[(~fit_flags) & (reason != "")], return_counts=True)
    n_fitted = len(next(iter(fitted.readings().values())))
    lines = [f"{runs.sizes['run']:,} runs; {n_fitted:,} readings fitted."]
    if fitted.by_family:
        lines.append(f"{len(fitted.families)} families: {', '.join(fitted.families)}.")
    for key, text in (("dataset", "Data set"), ("citation", "Source"), ("licence", "Licence")):
        if runs.attrs.get(key):
            lines.append(f"{text}: {runs.attrs[key]}.")
    lines += [f"Note: {note}" for note in json.loads(runs.attrs.get("notes", "[]"))]
    aside = [(n, f"{c:,}") for n, c in zip(names, counts, strict=True) if not say.padding(n)]
    body = "".join(f"<p>{escape(x)}</p>" for x in lines)
    body += "<h3>Range of the fitted readings</h3>" + table(
        ("quantity", "smallest", "median", "largest", "unit"), say.ranges(fitted), words=(0, 4)
    )
    body += "<h3>Rows set aside</h3>" + (
        table(("reason", "readings"), aside, words=(0,)) if aside else "<p>None.</p>"
    )
    return Section("Data", body)


def making(fitted: Fitted) -> Section:
    """Sampler, seed, convergence and versions: enough to make the fit again."""
    s = fitted.spec
    rows = [
        ("method", s["method"] + (f" ({s['sampler']})" if "sampler" in s else "")),
        ("draws", f"{s['chains']} chains of {s['draws']:,}, after {s['tune']:,} of warm-up"
         if s["method"] == "nuts" else f"{s['chains'] * s['draws']:,}, resampled by importance"),
        ("random seed", s["random_seed"]),
        ("status", s["status"]),
    ]  # fmt: skip
    known = {
        "fell_back": "fell back",
        "r_hat": "worst R-hat",
        "ess_bulk": "least bulk ESS",
        "ess_tail": "least tail ESS",
        "divergences": "divergent transitions",
        "k_hat": "Pareto k-hat",
    }
    for key, text in known.items():
        if s.get(key) is not None:
            value = s[key]
            rows.append((text, f"{value:.4g}" if isinstance(value, float) else value))
    rows.append(("hash of the runs", s["runs_hash"][:16]))
    rows.append(("versions", ", ".join(f"{k} {v}" for k, v in s["versions"].items())))
    return Section("How this was made", table(("", ""), rows, words=(0, 1)))


def _noise(fitted: Fitted) -> str:
    if fitted.surface is None:
        return fitted.model.noise.describe()
    return (
        "Student-t on log loss, of a scale that grows with what a run lost to its "
        "hyperparameters; what the loss law misses at a size and length is shared by all runs there"
    )


def _summary(fitted: Fitted) -> str:
    from bayescale.frontier import frontier

    n = len(next(iter(fitted.readings().values())))
    text = f"The law {fitted.law.formula} was fitted to {n:,} readings."
    if fitted.by_family:
        return f"{text} It has {len(fitted.families)} families."
    sigma = 100 * np.quantile(fitted.draws("sigma"), [0.05, 0.5, 0.95])
    text += (
        f" Readings scatter about it by {sigma[1]:.2g} % (90 % interval {sigma[0]:.2g} to "
        f"{sigma[2]:.2g} %)."
    )
    try:
        growth = " ".join(_lines(frontier(fitted.tree).text, fitted))
    except SpecError:  # a law without a size or without data has no frontier
        return text
    return f"{text} {growth}"


def _lines(text: str, fitted: Fitted) -> list[str]:
    """The lines of an answer; the warning stands above it already."""
    return [x for x in text.splitlines() if x.strip() and x != fitted.warning]


def _far(decades: float) -> str:
    return (
        f"{decades:.1f} decades of compute beyond the largest run" if decades > 0.05
        else "inside the range of the data"
    )  # fmt: skip
