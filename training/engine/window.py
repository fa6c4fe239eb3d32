"""Sums over the steps since the last look, kept on the device: reading a loss would stall it."""

from __future__ import annotations

import torch
from torch import Tensor

from training.engine.world import World

_NAMES = ("loss", "loss2", "norm", "clipped", "zero")


class Window:
    """Loss, gradient norm and clips of each member since the last look."""

    def __init__(self, members: int, device: torch.device) -> None:
        self.sums = torch.zeros(len(_NAMES), members, device=device)
        self.norm_max = torch.zeros(members, device=device)
        self.steps = torch.zeros((), dtype=torch.int64)

    def add(self, loss: Tensor, zero: Tensor, norm: Tensor, clip: Tensor) -> None:
        """One step: mean loss, loss of predicting zero, gradient norm and its bound; each (E,)."""
        self.sums += torch.stack((loss, loss * loss, norm, (norm > clip).float(), zero))
        # NaN must win, and torch.maximum lets it
        self.norm_max = torch.maximum(self.norm_max, norm)
        self.steps += 1

    def take(self, world: World) -> list[dict[str, float]]:
        """Sums of each member, losses averaged over ranks, and begin again."""
        world.mean_(self.sums)
        sums, largest, steps = self.sums.tolist(), self.norm_max.tolist(), int(self.steps)
        self.sums.zero_()
        self.norm_max.zero_()
        self.steps.zero_()
        return [
            {"steps": steps, "norm_max": largest[member]}
            | {name: sums[row][member] for row, name in enumerate(_NAMES)}
            for member in range(len(largest))
        ]

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"sums": self.sums, "norm_max": self.norm_max, "window_steps": self.steps}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.sums.copy_(state["sums"])
        self.norm_max.copy_(state["norm_max"])
        self.steps.copy_(state["window_steps"])
