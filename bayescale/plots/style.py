"""One look for all plots: canvas, colours that the colour-blind can tell apart, axes with units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescale.answers import si
from bayescale.errors import SpecError
from bayescale.schema import FIELDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (jfly.uni-koeln.de/color), its yellow (too pale on white) given up for a
# brown. Markers differ as well, so that a grey print can be read.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B2A", "#000000",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FAMILIES = len(COLOURS)  # more than these nobody can tell apart
GREY, LIGHT, INK = "#6B6B6B", "#ECEFF3", "#222222"
SMALL = 8.5  # points; readable at 100 dpi

COUNTED = ("N", "T", "U", "unique_tokens", "batch_size", "samples", "step", "experts")
LETTERS = {"N": "model size $N$", "T": "training tokens $T$", "flops": "training compute $C$"}
UNITS = {"N": "parameters", "T": "tokens", "flops": "FLOP", "U": "tokens", "batch_size": "tokens"}


def canvas(
    ax: Axes | Sequence[Axes] | None,
    panels: int = 1,
    *,
    columns: int | None = None,
    size: tuple[float, float] = (5.4, 4.0),
    ratios: Sequence[float] | None = None,
    share: str = "",
) -> tuple[Figure, list[Axes], bool]:
    """A figure and its axes, and whether the figure is ours to put a title and a legend on.

    Parameters
    ----------
    ax : Axes, sequence of Axes or None
        The caller's, one for each panel, or None for a new figure.
    size : (float, float)
        Inches of one panel.
    share : str
        ``"x"``, ``"y"`` or ``"xy"``: axes shared between panels.
    """
    if ax is not None:
        axes = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(axes) != panels:
            raise SpecError(f"This plot has {panels} panel(s); `ax` holds {len(axes)} axes.")
        return axes[0].figure, axes, False
    from matplotlib.figure import Figure

    columns = min(columns or panels, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=100, layout="constrained")
    grid = figure.subplots(
        rows, columns, squeeze=False, sharex="x" in share, sharey="y" in share,
        gridspec_kw={"width_ratios": ratios} if ratios else None,
    )  # fmt: skip
    axes = list(grid.ravel())
    for spare in axes[panels:]:
        spare.set_visible(False)
    return figure, axes[:panels], True


def dress(ax: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Quiet spines and grid, labels and a title set flush left."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(colors=INK, labelsize=SMALL, which="both", width=0.6)
    ax.grid(True, color="#D8DCE1", linewidth=0.5, zorder=0)
    ax.set_axisbelow(True)
    if x:
        ax.set_xlabel(x, fontsize=9.5, color=INK)
    if y:
        ax.set_ylabel(y, fontsize=9.5, color=INK)
    if title:
        ax.set_title(title, fontsize=10, loc="left", color=INK)


def headline(figure: Figure, ours: bool, ax: Axes, text: str, warning: str = "") -> None:
    """The title over all panels; a fit that failed says so in red, here and not in the legend."""
    text = f"{text}\n{short_warning(warning)}" if warning else text
    colour = "#B00020" if warning else INK
    if ours:
        figure.suptitle(text, fontsize=11, x=0.01, ha="left", color=colour)
    else:
        ax.set_title(text, fontsize=10, loc="left", color=colour)


def short_warning(text: str) -> str:
    """The first clause of a warning: what can stand over a plot."""
    head = text.split(";")[0].split(". ")[0]
    return head if len(head) <= 90 else head[:87].rsplit(" ", 1)[0] + " ..."


def legend(figure: Figure, ours: bool, ax: Axes, handles: Sequence[Any]) -> None:
    """The legend under the panels where nothing can be hidden by it, or inside a caller's axes."""
    style: dict[str, Any] = {"fontsize": SMALL, "frameon": False, "handlelength": 1.6}
    if ours:
        columns = fitting_columns([str(h.get_label()) for h in handles], figure.get_figwidth())
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, **style)
    else:
        ax.legend(handles=handles, **style)


def fitting_columns(labels: Sequence[str], width: float) -> int:
    """The most columns of a legend that fit into a width in inches; columns are filled in turn."""
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        lengths = [max(map(len, labels[i : i + rows])) for i in range(0, len(labels), rows)]
        if sum(0.068 * n + 0.5 for n in lengths) < width - 0.2:
            return -(-len(labels) // rows)  # the same rows, evenly filled
    return 1


def formula(law: Any) -> str:
    """The formula of a law as mathematics where matplotlib can set it, else as text."""
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(f"${law.latex}$")
    except ValueError:
        return law.formula
    return f"${law.latex}$" if law.latex else law.formula


def band_handle(colour: Any, prob: float, alpha: float = 0.25, what: str = "") -> Any:
    """Legend entry of a band, with its probability in words."""
    from matplotlib.patches import Patch

    label = f"{percent(prob)} interval{' ' + what if what else ''}"
    return Patch(facecolor=colour, alpha=alpha, label=label)


def line_handle(colour: Any, label: str, **style: Any) -> Any:
    """Legend entry of a line or a marker."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, label=label, **style)


def range_handle() -> Any:
    """Legend entry of the shaded range of the data."""
    from matplotlib.patches import Patch

    return Patch(facecolor=LIGHT, edgecolor="#C5CBD3", label="range of the data")


def shade_data(ax: Axes, low: float, high: float) -> None:
    """Shade the range of the data along x."""
    ax.axvspan(low, high, facecolor=LIGHT, edgecolor="#C5CBD3", linewidth=0.6, zorder=-1)


def percent(prob: float) -> str:
    """A probability as ``90 %``."""
    return f"{100 * prob:.3g} %"


def axis_label(name: str, unit: str = "") -> str:
    """An axis label with its unit."""
    words = LETTERS.get(name, name.replace("_", " "))
    unit = unit or UNITS.get(name) or (FIELDS[name].unit if name in FIELDS else "")
    return f"{words} ({unit})" if unit and unit != words else words


def log_axis(ax: Axes, which: str, name: str) -> None:
    """A log axis whose ticks can be read whatever it spans; set its limits first."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    box = ax.get_position()
    width = ax.get_figure(root=True).get_figwidth()  # type: ignore[union-attr]
    inches = box.width * width if which == "x" else 9.0
    ticks = log_ticks(low, high, most=int(np.clip(inches / 0.7, 3, 7)))
    if name in COUNTED:
        text = {t: counted(t) for t in ticks}
    elif name == "flops":
        text = {t: _power(t) for t in ticks}
    else:
        text = {t: f"{t:.6g}" for t in ticks}
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: text.get(v, f"{v:.4g}")))


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers between two ends of a log axis: decades, 1-2-5, or even steps."""
    from matplotlib.ticker import MaxNLocator

    decades = np.log10(high / low)
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    if decades < 0.75:
        even = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        ticks = [float(t) for t in even if low <= t <= high and t > 0]
        return ticks[:: -(-len(ticks) // most)]
    ticks: list[float] = []
    for subs in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{s}e{k}") for k in range(first, last + 1) for s in subs]
        ticks = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
        if len(ticks) <= most:
            break
    return ticks[:: -(-len(ticks) // most)] if ticks else [low, high]


def counted(value: float) -> str:
    """A tick of parameters or tokens: ``10 B``, ``300 M``."""
    number, _, letter = si(value).partition(" ")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number} {letter}".strip()


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    head = "" if float(mantissa) == 1 else rf"{float(mantissa):g} \times "
    return rf"${head}10^{{{int(exponent)}}}$"


def sequence(values: Any) -> tuple[Any, Any]:
    """A colour map and a log norm for sizes or budgets: viridis without its palest end."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    low, high = float(np.min(values)), float(np.max(values))
    if high <= low * 1.0001:
        low, high = low / 1.5, high * 1.5
    return ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.86, 256))), LogNorm(low, high)


def size_bar(figure: Figure, axes: Sequence[Axes], cmap: Any, norm: Any, name: str) -> None:
    """A colour bar for sizes or budgets, labelled with the unit."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FixedLocator, NullLocator

    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=list(axes), pad=0.015, aspect=30)
    ticks = log_ticks(norm.vmin, norm.vmax)
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    shown = {"flops": _power, "learning_rate": "{:.6g}".format}.get(name, counted)
    bar.ax.set_yticklabels([shown(t) for t in ticks])
    bar.ax.tick_params(labelsize=SMALL, width=0.6)
    bar.outline.set_visible(False)  # type: ignore[union-attr]
    bar.set_label(axis_label(name), fontsize=9, color=INK)


def shorten(names: Sequence[str]) -> list[str]:
    """Names without what they all begin with, up to a slash."""
    parts = [n.split("/") for n in names]
    while len(parts) > 1 and all(len(p) > 1 for p in parts) and len({p[0] for p in parts}) == 1:
        parts = [p[1:] for p in parts]
    return ["/".join(p) for p in parts]
