"""One run's books while it trains: its curve, its read-outs, whether it still goes well."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from training.config import Spec
from training.engine.guard import Guard
from training.engine.schedule import tracks_of
from training.record.folder import RunFolder

SETTLED_AFTER_WARMUPS = 2.5
"""Earlier read-outs bend the law: in a prototype they lay 14 % off at the smallest T."""


@dataclass
class Member:
    """A run of a pack (or the only one), with everything that is written about it."""

    spec: Spec
    folder: RunFolder
    warmup_steps: int
    step_tokens: int
    keeps: bool = True  # one rank writes for all
    guard: Guard = field(default_factory=Guard)
    diverged: dict[str, Any] | None = None
    written: dict[str, int] = field(default_factory=lambda: {"events": 0, "curve": 0, "evals": 0})
    pending: dict[str, float] = field(default_factory=dict)
    last_reading: dict[str, Any] | None = None
    train_loss: float | None = None
    since_reading: tuple[float, float] = (0.0, 0.0)  # steps and summed loss

    def append(self, log: Any, entry: dict[str, Any]) -> None:
        """Write a line, and count it, so that a resumed run knows how many to keep."""
        if self.keeps:
            self.folder.append(log, entry)
        self.written[log] += 1

    def look(
        self, window: dict[str, float], *, step: int, rate: float, wall_s: float, write: bool
    ) -> None:
        """Take note of the last few steps; `write` them as a point of the curve.

        `window` holds ``steps``, ``loss`` and ``loss2`` (sums), ``norm`` (sum), ``norm_max``,
        ``clipped``, ``zero`` (sum).
        """
        if self.diverged:
            return
        steps = int(window["steps"])
        self.train_loss = window["loss"] / steps
        self.since_reading = (
            self.since_reading[0] + window["steps"],
            self.since_reading[1] + window["loss"],
        )
        for name, value in window.items():
            old = self.pending.get(name, 0.0)
            self.pending[name] = max(old, value) if name == "norm_max" else old + value
        if write:
            self._write_curve(step, rate, wall_s)
        reason = self.guard.look(
            step=step,
            steps=steps,
            loss=self.train_loss,
            norm=window["norm_max"],
            zero=window["zero"] / steps,
            warm=step >= self.warmup_steps,
        )
        if reason:
            self.diverged = {"step": step, "tokens": step * self.step_tokens, "reason": reason}
            self.append("events", {"event": "diverged", **self.diverged})

    def _write_curve(self, step: int, rate: float, wall_s: float) -> None:
        sums, self.pending = self.pending, {}
        n = sums["steps"]
        mean = sums["loss"] / n
        self.append(
            "curve",
            {
                "step": step,
                "samples": step * self.spec.optimiser.batch_samples,
                "tokens": step * self.step_tokens,
                "wall_s": round(wall_s, 3),
                "learning_rate": rate * self.spec.optimiser.learning_rate,
                "steps": int(n),
                "train_loss": finite(mean),
                "train_loss_sd": finite(math.sqrt(max(sums["loss2"] / n - mean**2, 0.0)))
                if math.isfinite(sums["loss2"])
                else None,
                "grad_norm": finite(sums["norm"] / n),
                "clip_fraction": finite(sums["clipped"] / n),
            },
        )

    def read(self, step: int, tracks: dict[str, dict[str, Any]], *, last: bool) -> None:
        """Write a read-out of every kind of weights; the main one is what will be fitted."""
        if self.diverged:
            return
        main = tracks_of(self.spec)[0]
        early = step < SETTLED_AFTER_WARMUPS * self.warmup_steps
        decays = self.spec.optimiser.schedule != "constant"
        reason = (
            "read during or shortly after warm-up"
            if early
            else "read before the decay has ended"
            if decays and not last
            else ""
        )
        reading = {
            "step": step,
            "samples": step * self.spec.optimiser.batch_samples,
            "tokens": step * self.step_tokens,
            "weights": main,
            "fitted": not reason,
            "reason": reason,
            "train_loss": finite(self.since_reading[1] / self.since_reading[0]),
            "tracks": tracks,
        }
        self.since_reading = (0.0, 0.0)
        self.append("evals", reading)
        self.last_reading = reading

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "guard": {**self.guard.state(), "minimum": finite(self.guard.minimum)},
            "diverged": self.diverged,
            "written": dict(self.written),
            "pending": dict(self.pending),
            "last_reading": self.last_reading,
            "train_loss": self.train_loss,
            "since_reading": list(self.since_reading),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; lines written after it are dropped and made again."""
        guard = dict(state["guard"])
        guard["minimum"] = math.inf if guard["minimum"] is None else guard["minimum"]
        self.guard = Guard(**guard)
        self.diverged, self.pending = state["diverged"], dict(state["pending"])
        self.last_reading, self.train_loss = state["last_reading"], state["train_loss"]
        self.since_reading = (state["since_reading"][0], state["since_reading"][1])
        self.written = dict(state["written"])
        self.rewind()

    def rewind(self) -> None:
        """Keep the lines of the logs that belong to the present state; events are all kept."""
        if self.keeps:
            self.folder.rewind("curve", self.written["curve"])
            self.folder.rewind("evals", self.written["evals"])


def finite(value: float | None) -> float | None:
    """The number, or None where JSON has no word for it."""
    return value if value is not None and math.isfinite(value) else None
