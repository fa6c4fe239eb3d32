"""Notice divergence; never mend it. A run that diverged is an observation: this rate was too high.

Three rules, each sufficient (judgement; the numbers are chosen): a loss or gradient norm that is
not finite; after warm-up, a smoothed loss above what predicting zero would score; a smoothed loss
above three times its running minimum for 50 steps.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

SMOOTHING_STEPS = 25  # time constant of the smoothed loss
TIMES_MINIMUM, PATIENCE_STEPS = 3.0, 50
ZERO_MARGIN = 1.05  # the loss of a batch scatters; untrained weights predict zero exactly


@dataclass
class Guard:
    """Watches one run. Fed with means over a few steps, since reading a loss stalls a GPU."""

    smoothed: float | None = None
    minimum: float = math.inf
    above_for: int = 0

    def look(
        self, *, step: int, steps: int, loss: float, norm: float, zero: float, warm: bool
    ) -> str | None:
        """Why the run has diverged, or None.

        Parameters
        ----------
        step : int
            Steps done.
        steps : int
            Steps that `loss` and `norm` (the largest) cover.
        loss, norm, zero : float
            Mean training loss, gradient norm before clipping, loss of predicting zero.
        warm : bool
            Whether warm-up is over.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"loss {loss:g} and gradient norm {norm:g} at step {step}: not finite"
        keep = math.exp(-steps / SMOOTHING_STEPS)
        self.smoothed = loss if self.smoothed is None else keep * self.smoothed + (1 - keep) * loss
        self.minimum = min(self.minimum, self.smoothed)
        high = self.smoothed > TIMES_MINIMUM * self.minimum
        self.above_for = self.above_for + steps if high else 0
        if warm and self.smoothed > ZERO_MARGIN * zero:
            return (
                f"smoothed loss {self.smoothed:.4g} above {zero:.4g}, what predicting zero scores"
            )
        if self.above_for >= PATIENCE_STEPS:
            return (
                f"smoothed loss {self.smoothed:.4g} above {TIMES_MINIMUM:g} times its minimum "
                f"{self.minimum:.4g} for {self.above_for} steps"
            )
        return None

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)
