"""What others advise for batch size and learning rate, on one footing.

``published_hyperparameters("deepseek")(N=7e9, T=2e12)`` gives both in tokens and as a peak rate,
whatever the study takes as inputs: where it takes compute, 6 N T stands in unless ``flops`` is
given. They serve as overlays and as advice whose regret can be measured; none of them is a prior.

Studies do not count alike (embeddings, attention, text tokens), do not tune alike, and disagree
about the sign of the exponent of T in the rate. Each says what it counts.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bayescale.errors import SpecError
from bayescale.laws.namespaces import as_argument
from bayescale.laws.power_law import PowerLaw

__all__ = [
    "HYPERPARAMETER_LAWS",
    "STUDIES",
    "Study",
    "every_published_hyperparameter",
    "published_hyperparameters",
]

RESPONSES = ("batch_size", "learning_rate")


@dataclass(frozen=True)
class Study:
    """One study's advice for batch size and learning rate.

    Parameters
    ----------
    name, title : str
        By which it is called, and what it is.
    laws : mapping of str to PowerLaw
        ``batch_size`` (tokens), ``learning_rate`` (peak), or one of them.
    accounting : str
        How it counts parameters, tokens and compute.
    note : str, default ""
        What one should know before following it.
    """

    name: str
    title: str
    laws: Mapping[str, PowerLaw] = field(hash=False)
    accounting: str
    note: str = ""

    @property
    def source(self) -> str:
        """Where its laws are printed."""
        return next(iter(self.laws.values())).source

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs of its laws; ``flops`` may be left out, and an advised batch is handed on."""
        own = [name for law in self.laws.values() for name in law.exponents]
        return tuple(dict.fromkeys(name for name in own if name not in self.laws))

    @property
    def complete(self) -> bool:
        """Whether it can be followed as printed, without an anchor."""
        return all(law.coefficient is not None for law in self.laws.values())

    def anchored(self, **at: float) -> Study:
        """The study's exponents through a point of yours, as where it prints no coefficient.

        Parameters
        ----------
        **at : float
            Tuned values at one size and length: ``batch_size`` (tokens), ``learning_rate``, and
            the inputs (``N``, ``T``, ...). A law whose response is not given stays as it is.

        Examples
        --------
        >>> gidd = published_hyperparameters("gidd").anchored(
        ...     T=1e10, batch_size=2.6e5, learning_rate=1e-3
        ... )
        >>> print(f"{gidd(T=1e11)['batch_size']:.3g}")  # ten times the tokens
        1.73e+06
        """
        known = _with_flops(at)
        laws = dict(self.laws)
        for name, law in self.laws.items():
            if name in at:
                _needs(self.name, law, known)
                laws[name] = law.anchored(**{k: known[k] for k in (name, *law.exponents)})
        return Study(self.name, self.title, laws, self.accounting, self.note)

    def __call__(self, *, N: Any = None, T: Any = None, **inputs: Any) -> dict[str, Any]:
        """Advice at given sizes and lengths.

        Parameters
        ----------
        N, T : array_like, optional
            Parameters and training tokens; they broadcast.
        **inputs : array_like
            Further inputs: ``flops`` where the study takes compute and 6 N T will not do,
            ``width`` for muP, ``batch_size`` (tokens) to ask for the rate at a batch of yours.

        Returns
        -------
        dict
            ``batch_size`` in tokens and ``learning_rate`` (peak), those of them that it advises.
        """
        given = {"N": N, "T": T, **inputs}
        known = _with_flops({k: as_argument(v) for k, v in given.items() if v is not None})
        out: dict[str, Any] = {}
        for name, law in self.laws.items():
            if name in known:
                continue  # a batch of the user's own; the rate answers to it
            _needs(self.name, law, known | out)
            out[name] = law(**{k: (known | out)[k] for k in law.exponents})
        return out


def published_hyperparameters(name: str) -> Study:
    """Give a study by name; `STUDIES` has them all.

    Examples
    --------
    >>> advice = published_hyperparameters("video_dit")(N=1.07e9, T=4e9)
    >>> f"{advice['batch_size']:.3g} tokens at {advice['learning_rate']:.3g}"
    '6.77e+04 tokens at 0.000186'
    """
    if name not in STUDIES:
        close = difflib.get_close_matches(str(name), STUDIES, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SpecError(
            f"No published hyperparameters {name!r}.{hint} There are: {', '.join(STUDIES)}."
        )
    return STUDIES[name]


def every_published_hyperparameter(**inputs: Any) -> dict[str, dict[str, Any]]:
    """Advice of every study that these inputs suffice for, by name; for overlays and for regret.

    Parameters
    ----------
    **inputs : array_like
        As for `Study.__call__`: N, T, and width for muP. Studies without coefficients are left
        out, for they need an anchor.

    Examples
    --------
    >>> sorted(every_published_hyperparameter(N=1e9, T=1e11))
    ['deepseek', 'moonlight', 'porian', 'steplaw', 'video_dit', 'zhang_critical']
    """
    known = _with_flops({k: v for k, v in inputs.items() if v is not None})
    return {
        name: study(**inputs)
        for name, study in STUDIES.items()
        if study.complete and set(study.inputs) <= set(known)
    }


def _with_flops(known: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(known)
    if "flops" not in out and {"N", "T"} <= set(out):
        out["flops"] = 6.0 * out["N"] * out["T"]
    return out


def _needs(study: str, law: PowerLaw, known: Mapping[str, Any]) -> None:
    lacking = [name for name in law.exponents if name not in known]
    if lacking:
        also = " (or N and T, for 6 N T)" if "flops" in lacking else ""
        raise SpecError(
            f"The law of `{law.response}` of {study!r} needs {', '.join(lacking)}{also}; got "
            f"{', '.join(k for k in known if k != 'flops') or 'nothing'}."
        )


_VIDEO = "Yin et al. 2024, arXiv:2411.17470"
_STEPLAW = "Li et al. 2025, arXiv:2503.04715"
_DEEPSEEK = "DeepSeek LLM 2024, arXiv:2401.02954"
_MOONLIGHT = "Moonlight 2025, arXiv:2502.16982"
_GIDD = "GIDD scaling 2025, arXiv:2512.10858"
_PORIAN = "Porian et al. 2024, arXiv:2406.19146"
_BILLIONS = {"N": 1e9, "T": 1e9}
_HUNDRED_MILLION = {"N": 108e6, "batch_size": 2048}
_SIX_N_T = "Takes compute C = M T, M the FLOP per token with attention; 6 N T here unless given."
_GIDD_RATE = PowerLaw(
    "learning_rate", None, {"batch_size": 0.34}, source=_GIDD,
    note="Exponent of the batch used; no coefficient is printed.",
)  # fmt: skip


def _gidd_batch(exponent: float, which: str, **errors: float) -> PowerLaw:
    return PowerLaw(
        "batch_size", None, {"T": exponent}, source=_GIDD, errors=errors,
        note=f"{which}; no coefficient is printed, and no effect of model size was found.",
    )  # fmt: skip


HYPERPARAMETER_LAWS: dict[str, PowerLaw] = {
    "video_dit_batch": PowerLaw(
        "batch_size", 2.1797e4, {"T": 0.8080, "N": 0.1906}, units=_BILLIONS,
        source=f"{_VIDEO}, table 1",
    ),
    "video_dit_learning_rate": PowerLaw(
        "learning_rate", 2e-4, {"T": -0.0453, "N": -0.1619}, units=_BILLIONS,
        source=f"{_VIDEO}, table 2",
        note="One digit is printed of the coefficient, so 25 % either way is rounding.",
    ),
    "steplaw_batch": PowerLaw(
        "batch_size", 0.58, {"T": 0.571}, source=_STEPLAW,
        errors={"log_coefficient": 0.437, "T": 0.0187},
        note="Errors: of 1,000 bootstrap fits, which centre on 0.5709.",
    ),
    "steplaw_learning_rate": PowerLaw(
        "learning_rate", 1.79, {"N": -0.713, "T": 0.307}, source=_STEPLAW,
        errors={"log_coefficient": 0.624, "N": 0.0299, "T": 0.0191},
        note="N without embeddings. Errors: of 1,000 bootstrap fits, strongly correlated.",
    ),
    "deepseek_batch": PowerLaw("batch_size", 0.2920, {"flops": 0.3271}, source=_DEEPSEEK),
    "deepseek_learning_rate": PowerLaw(
        "learning_rate", 0.3118, {"flops": -0.1250}, source=_DEEPSEEK
    ),
    "moonlight_batch": PowerLaw(
        "batch_size", 0.0065, {"flops": 0.4138}, source=_MOONLIGHT,
        note="In tokens, to judge by the magnitude.",
    ),
    "moonlight_learning_rate": PowerLaw(
        "learning_rate", 0.0127, {"flops": -0.057}, source=_MOONLIGHT
    ),
    "gidd_batch": _gidd_batch(0.8225, "All noise types", T=0.0104),
    "gidd_batch_uniform": _gidd_batch(0.8787, "Uniform noise"),
    "gidd_batch_masked": _gidd_batch(0.7759, "Masked noise"),
    "gidd_learning_rate": _GIDD_RATE,
    "mup_dit_learning_rate": PowerLaw(
        "learning_rate", 2.0**-10, {"width": -1.0}, units={"width": 288.0},
        source="muP for diffusion transformers 2025, arXiv:2505.15270",
        note="Of hidden weights, whose rate is 2^-10 times base width over width; other weights "
        "keep 2^-10. The base rate was best from width 144 to 1152, batch 256 to 1024.",
    ),
    "porian_batch": PowerLaw(
        "batch_size", 160.0, {"N": 2 / 3}, units=_HUNDRED_MILLION, source=_PORIAN,
        note="A rule of thumb after their sweeps, in sequences of 2,048 tokens.",
    ),
    "porian_learning_rate": PowerLaw(
        "learning_rate", 0.0047, {"N": -1 / 3}, units=_HUNDRED_MILLION, source=_PORIAN,
        note="A rule of thumb after their sweeps.",
    ),
    "zhang_critical_batch": PowerLaw(
        "batch_size", 93.2, {"N": 0.468}, units={"N": 1e6, "batch_size": 512},
        source="Zhang et al. 2024, arXiv:2410.21676",
        note="The critical batch (20 % more steps than linear scaling from 256 sequences), which "
        "is where larger ones stop paying, and not the best batch at given tokens. Sequences of "
        "512 tokens, runs of 20 tokens per parameter.",
    ),
}  # fmt: skip
"""Every printed power law of batch size (tokens) and learning rate (peak), by name."""


def _study(
    name: str, title: str, accounting: str, note: str = "", batch: str = "", rate: str = ""
) -> Study:
    laws = {
        "batch_size": HYPERPARAMETER_LAWS.get(batch or f"{name}_batch"),
        "learning_rate": HYPERPARAMETER_LAWS.get(rate or f"{name}_learning_rate"),
    }
    return Study(name, title, {k: v for k, v in laws.items() if v is not None}, accounting, note)


_GIDD_COUNTS = "N as in their models; T all tokens; CompleteP parametrisation, no annealing."
_NO_COEFFICIENT = "Exponents only: anchor it at a point that you have tuned."

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        _study(
            "video_dit", "Video diffusion transformers, 17M to 260M",
            "N and T as they are; T counts visual tokens (1,280 a clip).", "Constant rate.",
        ),
        _study(
            "steplaw", "Language models, 60M to 1.07B", "N without embeddings.",
            "Cosine to a fixed end rate of 1e-5.",
        ),
        _study(
            "deepseek", "Language models", _SIX_N_T,
            "Smooths over all near-optimal settings (within 0.25 %); functions of compute alone.",
        ),
        _study(
            "moonlight", "Language models", _SIX_N_T,
            "Functions of compute alone.",
        ),
        _study("gidd", "Discrete diffusion language models, 25M to 10B", _GIDD_COUNTS,
               _NO_COEFFICIENT),
        _study("gidd_uniform", "Discrete diffusion, uniform noise", _GIDD_COUNTS, _NO_COEFFICIENT,
               batch="gidd_batch_uniform", rate="gidd_learning_rate"),
        _study("gidd_masked", "Discrete diffusion, masked noise", _GIDD_COUNTS, _NO_COEFFICIENT,
               batch="gidd_batch_masked", rate="gidd_learning_rate"),
        _study(
            "mup_dit", "Diffusion transformers under muP", "Takes the width, not N.",
            "A rate for hidden weights; says nothing of the batch.",
        ),
        _study(
            "porian", "Rule of thumb after Porian et al.", "N without embeddings or with: the rule "
            "does not say. No dependence on T: runs of about 20 tokens per parameter.",
        ),
        _study(
            "zhang_critical", "Critical batch size of language models, 85M to 1.2B",
            "N as in their models; no dependence on T beyond N, since T = 20 N.",
            "The largest batch worth using, not the best one.",
        ),
    )
}  # fmt: skip
"""Every study by name, for `published_hyperparameters`."""
