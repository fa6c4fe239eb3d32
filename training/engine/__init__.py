"""The training loop: specs in, records out."""

from training.engine.loop import Busy, train
from training.engine.progress import Progress
from training.engine.signals import EXIT_CODE, Preempted

__all__ = ["EXIT_CODE", "Busy", "Preempted", "Progress", "train"]
