"""Accelerators and their peaks: what turns FLOP into GPU-hours.

Peaks are dense BF16 with FP32 accumulation, per device; vendors like to print twice that, which
holds for matrices that are half zeros. FP8 training counts against the same peak here, so its MFU
can exceed what BF16 reaches.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from bayescale.errors import SpecError


@dataclass(frozen=True)
class Accelerator:
    """A device that trains models.

    Parameters
    ----------
    name : str
        As people call it.
    peak_flops : float
        FLOP/s, dense BF16.
    memory_gb : float
        GB as the data sheet states them.
    source : str
        Where the peak is printed.
    """

    name: str
    peak_flops: float
    memory_gb: float
    source: str

    def __post_init__(self) -> None:
        if not (0 < self.peak_flops < float("inf")):
            raise SpecError(
                f"The peak of `{self.name}` must be FLOP/s above zero, for example 989e12; got "
                f"{self.peak_flops!r}."
            )


_ROWS = (
    ("V100", 125e12, 32, "NVIDIA V100 data sheet; FP16, as it has no BF16"),
    ("A10", 125e12, 24, "NVIDIA A10 data sheet"),
    ("A40", 149.7e12, 48, "NVIDIA A40 data sheet"),
    ("A100", 312e12, 80, "NVIDIA A100 data sheet"),
    ("A800", 312e12, 80, "NVIDIA A800 data sheet; an A100 with slower links"),
    ("L4", 121e12, 24, "NVIDIA L4 data sheet, half of the sparse 242"),
    ("L40S", 362e12, 48, "NVIDIA L40S data sheet"),
    ("H100", 989e12, 80, "NVIDIA H100 data sheet, SXM, half of the sparse 1979"),
    ("H100 PCIe", 756e12, 80, "NVIDIA H100 data sheet, PCIe, half of the sparse 1513"),
    ("H100 NVL", 835e12, 94, "NVIDIA H100 data sheet, NVL, half of the sparse 1671"),
    ("H800", 989e12, 80, "NVIDIA H800 data sheet, SXM; an H100 with slower links"),
    ("H20", 148e12, 96, "NVIDIA H20 data sheet"),
    ("H200", 989e12, 141, "NVIDIA H200 data sheet, half of the sparse 1979"),
    ("GH200", 989e12, 96, "NVIDIA GH200 data sheet, half of the sparse 1979"),
    ("B200", 2250e12, 180, "NVIDIA DGX B200 data sheet, half of the sparse 4500"),
    ("GB200", 2500e12, 186, "NVIDIA GB200 NVL72 data sheet per GPU, half of the sparse 5000"),
    ("RTX 3090", 71e12, 24, "NVIDIA GA102 white paper"),
    ("RTX 4090", 165.2e12, 24, "NVIDIA Ada white paper"),
    ("RTX 5090", 209.5e12, 32, "NVIDIA RTX Blackwell white paper"),
    ("RTX A6000", 154.8e12, 48, "NVIDIA RTX A6000 data sheet, half of the sparse 309.7"),
    ("MI250X", 383e12, 128, "AMD MI250X data sheet; both dies, which appear as two devices"),
    ("MI300X", 1307.4e12, 192, "AMD MI300X data sheet"),
    ("MI325X", 1307.4e12, 256, "AMD MI325X data sheet"),
    ("MI355X", 2516.6e12, 288, "AMD MI355X data sheet"),
    ("TPU v4", 275e12, 32, "Google Cloud TPU documentation, per chip"),
    ("TPU v5e", 197e12, 16, "Google Cloud TPU documentation, per chip"),
    ("TPU v5p", 459e12, 95, "Google Cloud TPU documentation, per chip"),
    ("TPU v6e", 918e12, 32, "Google Cloud TPU documentation, per chip"),
    ("Trainium2", 667e12, 96, "AWS Neuron documentation, per chip"),
)

ACCELERATORS: dict[str, Accelerator] = {row[0].lower(): Accelerator(*row) for row in _ROWS}
"""By lower-case name. For any other device, make an `Accelerator` of your own."""


def accelerator(name: str | Accelerator) -> Accelerator:
    """Give an accelerator by name.

    Spelling is free: ``"h100"``, ``"RTX4090"`` and what a driver reports, such as
    ``"NVIDIA A100-SXM4-80GB"`` or ``"NVIDIA H100 PCIe"``, are all understood; the most specific
    entry wins.

    Parameters
    ----------
    name : str or Accelerator
        An `Accelerator` is given back as it is.

    Raises
    ------
    SpecError
        For an unknown name; lists what exists and the nearest.

    Examples
    --------
    >>> accelerator("NVIDIA H100 80GB HBM3").peak_flops
    989000000000000.0
    """
    if isinstance(name, Accelerator):
        return name
    if isinstance(name, str):
        squashed, words = _squash(name), set(_words(name))
        if found := {_squash(key): key for key in ACCELERATORS}.get(squashed):
            return ACCELERATORS[found]
        inside = [key for key in ACCELERATORS if words >= set(_words(key))]
        if inside:
            return ACCELERATORS[max(inside, key=lambda key: len(_words(key)))]
    near = difflib.get_close_matches(str(name).lower(), ACCELERATORS, n=1, cutoff=0.5)
    raise SpecError(
        f"Unknown accelerator {name!r}."
        + (f" Did you mean {ACCELERATORS[near[0]].name!r}?" if near else "")
        + f" Known: {', '.join(each.name for each in ACCELERATORS.values())}. For another, give "
        "bayescale.laws.cost.Accelerator(name, peak_flops, memory_gb, source)."
    )


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())


def _squash(name: str) -> str:
    return "".join(_words(name))
