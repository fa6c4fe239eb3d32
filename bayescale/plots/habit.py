"""What a habit does: best sizes tuned and under it, and the loss that it gives away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from bayescale.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescale.habit import Habit

NAMES = {"N_tuned": "tuned", "N_habit": "under the habit"}
LOST = {"lost": "by the habit", "lost_by_size": "by its size alone, tuned after all"}


def habit_numbers(answer: Habit) -> pd.DataFrame:
    """One row a budget and line: ``panel`` (size, lost), ``line``, ``median, lower, upper``.

    Losses are in percent.
    """
    rows = []
    for panel, names, unit in (("size", NAMES, 1.0), ("lost", LOST, 100.0)):
        for name, line in names.items():
            part = answer.table[["budget_flops", name, f"{name}_lower", f"{name}_upper"]]
            part = part.set_axis(["budget_flops", "median", "lower", "upper"], axis=1)
            part[["median", "lower", "upper"]] *= unit
            rows.append(part.assign(panel=panel, line=line))
    return pd.concat(rows, ignore_index=True)


def habit(answer: Habit, *, ax: Any = None) -> Figure:
    """Best size against compute with and without tuning, and the loss given away, with bands.

    Parameters
    ----------
    answer : Habit
        From `bayescale.habit`.
    ax : sequence of Axes, optional
        Two.

    Returns
    -------
    matplotlib.figure.Figure
    """
    numbers = habit_numbers(answer)
    figure, axes, ours = style.canvas(ax, 2, size=(4.4, 4.2))
    labels = {"size": f"best {style.axis_label('N')}", "lost": "loss given away (%)"}
    handles = []
    for axis, (panel, label) in zip(axes, labels.items(), strict=True):
        style.dress(axis, x=style.axis_label("flops"), y=label)
        part: Any = numbers[numbers["panel"] == panel]
        for i, line in enumerate(dict.fromkeys(part["line"])):
            rows = part[part["line"] == line]
            colour = style.COLOURS[i + (2 if panel == "lost" else 0)]
            x = rows["budget_flops"]
            axis.fill_between(
                x, rows["lower"], rows["upper"], color=colour, alpha=0.22, linewidth=0
            )
            axis.plot(x, rows["median"], color=colour, linewidth=1.7)
            handles.append(style.line_handle(colour, line, linewidth=1.7))
        style.log_axis(axis, "x", "flops")
        if panel == "size":
            style.log_axis(axis, "y", "N")
        else:
            axis.set_ylim(0, None)
    handles.append(style.band_handle(style.GREY, answer.ci_prob))
    title = "Best size with fixed hyperparameters and with tuned ones"
    style.headline(figure, ours, axes[0], title, answer.warning)
    style.legend(figure, ours, axes[0], handles)
    return figure
