"""Constants printed in papers, as laws that can be evaluated.

``PUBLISHED["besiroglu"](N=7e10, T=1.4e12)`` takes parameters, tokens and FLOP as they are, whatever
units the paper uses. They serve as baselines, as targets of tests and as overlays; none of them is
a prior. Where a source's own numbers do not agree with each other, the note says so. Laws of batch
size and learning rate are in `bayescale.laws.published_hyperparameters`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bayescale.errors import SpecError
from bayescale.laws.law import Law, get
from bayescale.laws.loss import coupled_prefactors
from bayescale.laws.power_law import PowerLaw
from bayescale.laws.published_hyperparameters import HYPERPARAMETER_LAWS


@dataclass(frozen=True)
class Published:
    """A law with printed constants.

    Parameters
    ----------
    law : str
        Name of a registered law.
    parameters : mapping of str to float
        As printed.
    source : str
        Where.
    units : mapping of str to float, default {}
        Unit of an input in the printed form: ``{"N": 1e9}`` for billions.
    errors : mapping of str to float, default {}
        Standard errors, as printed.
    response : str, default "loss"
        What it predicts.
    note : str, default ""
        What one should know before using it.
    """

    law: str
    parameters: Mapping[str, float] = field(hash=False)
    source: str
    units: Mapping[str, float] = field(default_factory=dict, hash=False)
    errors: Mapping[str, float] = field(default_factory=dict, hash=False)
    response: str = "loss"
    note: str = ""

    @property
    def natural(self) -> dict[str, float]:
        """Parameters for inputs as they are: those of `Law.__call__` and of a fit's posterior."""
        law = get(self.law)
        return {name: self._natural(law, name) for name in self.parameters}

    def __call__(self, **inputs: Any) -> Any:
        """Evaluate at inputs as they are (parameters, tokens, FLOP)."""
        return get(self.law)(**inputs, **self.natural)

    def _natural(self, law: Law, name: str) -> float:
        p, value = law.parameters[name], self.parameters[name]
        for of, exponent in p.prefactor.items():
            sign = -1.0 if exponent.startswith("-") else 1.0
            power = sign * self.parameters[exponent.removeprefix("-")]
            value *= self.units.get(of, 1.0) ** power
        return value * self.units.get(p.of, 1.0)


def published(name: str) -> Published | PowerLaw:
    """Give a printed law by name; `PUBLISHED` has them all.

    Examples
    --------
    >>> f"{published('video_dit')(N=1.07e9, T=1e10):.4f}"
    '0.5127'
    >>> f"{published('image_dit_size')(flops=6e18):.2g}"
    '4.2e+07'
    """
    if name not in PUBLISHED:
        close = difflib.get_close_matches(str(name), PUBLISHED, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(f"No published law {name!r}.{hint} There are: {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]


_VIDEO = "Yin et al. 2024, arXiv:2411.17470"
_IMAGE = "Liang et al. 2024, arXiv:2410.08184"
_HUNYUAN = "HunyuanVideo, Kong et al. 2024, arXiv:2412.03603"
_HUNYUAN_UNITS = {"flops": 1e15, "N": 1e9, "T": 1e9}
_GEMSTONES = "McLeish et al. 2025, arXiv:2502.06857"
_BILLIONS = {"N": 1e9, "T": 1e9}
_KAPLAN = {"alpha": 0.076, "beta": 0.103}


def _in_logs(alpha: float, beta: float, a: float, b: float, e: float, note: str = "") -> Published:
    """``exp(a) N^-alpha + exp(b) T^-beta + exp(e)``, the way Gemstones prints it."""
    constants = {"E": math.exp(e), "A": math.exp(a), "B": math.exp(b)}
    return Published(
        "additive", {**constants, "alpha": alpha, "beta": beta}, source=_GEMSTONES, note=note
    )


PUBLISHED: dict[str, Published | PowerLaw] = {
    # losses of language models
    "besiroglu": Published(
        "additive",
        {"E": 1.8169, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659},
        errors={"E": 0.0257, "A": 124.5, "B": 1293.3, "alpha": 0.0154, "beta": 0.0206},
        source="Besiroglu et al. 2024, arXiv:2404.10102",
        note="Refit of the Chinchilla points; Huber loss on log loss.",
    ),
    "hoffmann": Published(
        "additive",
        {
            "E": math.exp(0.5267228),
            "A": math.exp(6.0073404),
            "B": math.exp(6.0179186),
            "alpha": 0.33917,
            "beta": 0.28491,
        },
        source="Hoffmann et al. 2022, arXiv:2203.15556, approach 3",
        note="Does not fit its own data (arXiv:2404.10102).",
    ),
    "kaplan": Published(
        "coupled",
        {**dict(zip("AB", coupled_prefactors(6.4e13, 1.8e13, **_KAPLAN), strict=True)), **_KAPLAN},
        source="Kaplan et al. 2020, arXiv:2001.08361, table 2 (N_c = 6.4e13, D_c = 1.8e13)",
        note="N without embeddings. Constants recalled, not copied: check before quoting them.",
    ),
    "muennighoff": Published(
        "repeated",
        {
            "E": math.exp(0.6254804),
            "A": math.exp(6.255414),
            "B": math.exp(7.3049974),
            "alpha": 0.3526596,
            "beta": 0.3526596,
            "R_N": 5.309743,
            "R_D": 15.387756,
        },
        source="Muennighoff et al. 2023, arXiv:2305.16264",
        note="Its authors warn that absolute values are of no use: on runs of one epoch it is low "
        "by 0.5. Ratios between epochs are what it is for.",
    ),
    "gemstones_hot": _in_logs(0.2989, 0.6928, 5.4575, 14.972, 0.7663, "Constant rate."),
    "gemstones_cool_end": _in_logs(0.2970, 0.6904, 5.3628, 14.9718, 0.7459, "Cooled down."),
    "gemstones_lr_half_hot": _in_logs(0.3278, 0.6777, 5.8753, 14.9094, 0.7967, "Half the rate."),
    "gemstones_hot_100b": _in_logs(
        0.2576, 0.5909, 4.8762, 12.698, 0.6655, "Constant rate, from 100B tokens."
    ),
    # losses of diffusion transformers
    "video_dit": Published(
        "additive",
        {"E": 0.4856, "A": 0.0082, "B": 0.0373, "alpha": 0.3188, "beta": 0.2917},
        units=_BILLIONS,
        source=f"{_VIDEO}, eq. 15 and table 3",
        note="Numerators stand outside the powers. Minimising it does not give the printed "
        "exponent of the best size.",
    ),
    "image_dit": Published(
        "compute_no_floor",
        {"K": 2.3943, "gamma": 0.0273},
        source=_IMAGE,
        note="In-context conditioning; falls to zero.",
    ),
    # optimal size and length
    "video_dit_size": PowerLaw(
        "N", 1.5787, {"flops": 0.4146}, source=f"{_VIDEO}, eq. 14", note="From isoFLOP slices."
    ),
    "video_dit_size_from_loss": PowerLaw(
        "N", 0.8705, {"flops": 0.4294}, source=f"{_VIDEO}, eq. 18", note="From the loss surface."
    ),
    "image_dit_size": PowerLaw("N", 0.0009, {"flops": 0.5681}, source=f"{_IMAGE}, eq. 5"),
    "image_dit_tokens": PowerLaw(
        "T", 186.8535, {"flops": 0.4319}, source=f"{_IMAGE}, eq. 6", note="Text tokens counted."
    ),
    "hunyuan_image_size": PowerLaw(
        "N", 5.48e-4, {"flops": 0.5634}, units=_HUNYUAN_UNITS, source=_HUNYUAN
    ),
    "hunyuan_image_tokens": PowerLaw(
        "T", 0.324, {"flops": 0.4325}, units=_HUNYUAN_UNITS, source=_HUNYUAN
    ),
    "hunyuan_video_size": PowerLaw(
        "N", 0.0189, {"flops": 0.3618}, units=_HUNYUAN_UNITS, source=_HUNYUAN,
        note="Each size starts from its image model.",
    ),
    "hunyuan_video_tokens": PowerLaw(
        "T", 0.0108, {"flops": 0.6289}, units=_HUNYUAN_UNITS, source=_HUNYUAN,
        note="Each size starts from its image model.",
    ),
    "abra_size": PowerLaw("N", 0.0301, {"flops": 0.4951}, source="ABRA, Luma AI 2026"),
    "abra_tokens": PowerLaw(
        "T", 3.776, {"flops": 0.5049}, source="ABRA, Luma AI 2026", note="Image tokens only."
    ),
    # metrics
    "image_dit_fid": PowerLaw(
        "fid", 2.2566e6, {"flops": -0.234}, source=_IMAGE,
        note="CLIP ViT-L/14 features; dense captions.",
    ),
    "image_dit_fid_sparse_captions": PowerLaw(
        "fid", 1.059e6, {"flops": -0.216}, source=f"{_IMAGE}, supplement G.6",
        note="CLIP ViT-L/14 features; better than dense captions below 1.8e18 FLOP.",
    ),
    **HYPERPARAMETER_LAWS,
}  # fmt: skip
"""Every published law by name: losses, then sizes and lengths, metrics, hyperparameters."""
