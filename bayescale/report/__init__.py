"""`report`: everything about a fit on one page that can be sent to somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from bayescale.answers import Answer
from bayescale.errors import DataError
from bayescale.inference.tree import Fitted, opened
from bayescale.report import figures, sections
from bayescale.report.page import page

if TYPE_CHECKING:
    from bayescale.check import Check
    from bayescale.plan import Plan
    from bayescale.predict import Prediction

__all__ = ["report"]


def report(
    fit: xr.DataTree,
    path: str | Path,
    plan: Plan | None = None,
    check: Check | None = None,
    prediction: Prediction | None = None,
    *,
    title: str | None = None,
    ci_prob: float = 0.9,
) -> Path:
    """Write one self-contained HTML file: answer, checks, figures, model, data, how it was made.

    Parameters
    ----------
    fit : xarray.DataTree
        From `bayescale.fit` or `bayescale.load_fit`.
    path : str or Path
        The file; its folder must exist.
    plan : Plan, optional
        From `bayescale.plan`; opens the page.
    check : Check, optional
        From `bayescale.check`; its cards.
    prediction : Prediction, optional
        From `bayescale.predict`; opens the page after the plan.
    title : str, optional
        Default: the law and the data.
    ci_prob : float, default 0.9
        Of the intervals of parameters and of the figures.

    Returns
    -------
    pathlib.Path
        The file. Figures and style are inside it; it loads nothing from anywhere.

    Raises
    ------
    DataError
        The folder does not exist, or something else than an answer was given.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"No folder `{path.parent}` to write `{path.name}` into.")
    for name, answer in (("plan", plan), ("check", check), ("prediction", prediction)):
        if answer is not None and not isinstance(answer, Answer):
            raise DataError(
                f"`{name}` is an answer, from bayescale.{name.replace('prediction', 'predict')}; "
                f"got {type(answer).__name__}."
            )
    fitted = opened(fit)
    parts = [
        sections.warning(fitted),
        sections.answer(fitted, plan, prediction),
        sections.beyond(fitted, plan, prediction),
        sections.checks(check),
        sections.tables(plan, prediction),
        figures.tuning(fitted, plan, ci_prob),
        figures.figures(fitted, plan, prediction, ci_prob),
        sections.model(fitted),
        sections.parameters(fitted, ci_prob),
        sections.data(fitted),
        sections.making(fitted),
    ]
    heading = title or _title(fitted)
    path.write_text(page(heading, [p for p in parts if p]), encoding="utf-8")
    return path


def _title(fitted: Fitted) -> str:
    name = fitted.runs.attrs.get("dataset")
    what = f" of {name}" if name else ""
    several = f", {len(fitted.families)} families" if fitted.by_family else ""
    law = fitted.law.name
    if fitted.surface is not None:
        base = fitted.surface.loss_law
        names = " and ".join(h.replace("_", " ") for h in fitted.surface.hyperparameters)
        law = f"{base.name} with {names}" if base is not None else names
    return f"Scaling law{what}: {law}{several}"
