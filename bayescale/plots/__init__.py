"""Pictures of fits and answers. Each has two halves: numbers to test, and a drawing of them.

Every function gives a `matplotlib.figure.Figure` and shows nothing; no pyplot state is touched.
Pass ``ax=`` (one Axes a panel) to draw into a figure of your own. The numbers halves end in
``_numbers`` and live in the module of the plot.
"""

from __future__ import annotations

from bayescale.plots.backtest import backtest
from bayescale.plots.batch import batch
from bayescale.plots.bowls import bowls
from bayescale.plots.decision import plan
from bayescale.plots.fan import forecast
from bayescale.plots.growth import frontier
from bayescale.plots.habit import habit
from bayescale.plots.optimum import optimum
from bayescale.plots.posterior import exponents
from bayescale.plots.scatter import residuals
from bayescale.plots.slices import isoflop
from bayescale.plots.surface import law
from bayescale.plots.trade import batch_trade
from bayescale.plots.valley import valley

__all__ = [
    "backtest", "batch", "batch_trade", "bowls", "exponents", "forecast", "frontier", "habit",
    "isoflop", "law", "optimum", "plan", "residuals", "valley",
]  # fmt: skip
