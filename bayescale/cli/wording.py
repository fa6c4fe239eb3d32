"""Advice of the library in the words of the shell: ``units={"T": "B"}`` becomes ``--units T=B``.

The library's messages tell people which argument to type. Here they type options.
"""

from __future__ import annotations

import re
import shlex

_OPTIONS = {
    "columns": "columns", "units": "units", "on_invalid": "on-invalid", "family": "family",
    "mapping": "mapping", "law": "law", "method": "method", "draws": "draws", "tune": "tune",
    "chains": "chains", "random_seed": "seed", "sampler": "sampler", "noise": "noise",
    "target_accept": "target-accept", "kind": "kind", "ci_prob": "ci", "at": "at",
    "budget_flops": "budget-flops", "budget_gpu_hours": "budget-gpu-hours", "gpu": "gpu",
    "mfu": "mfu", "target_loss": "target-loss", "lifetime_tokens": "lifetime-tokens",
    "fixed": "fix", "sizes": "sizes", "tokens_per_sample": "tokens-per-sample",
    "price_per_gpu_hour": "price", "max_batch_size": "max-batch", "min_batch_size": "min-batch",
    "batch_sizes": "batch-sizes", "max_divergence": "max-divergence", "against": "against",
    "truncated_at": "truncated-at", "rate_form": "rate-form", "baselines": "baselines",
    "cutoffs_flops": "cutoffs-flops", "cutoffs_N": "cutoffs-N", "cutoffs_T": "cutoffs-T",
    "decide_flops": "decide-flops",
}  # fmt: skip
_PLACEHOLDERS = ("...", '"your column"', "'their name'")
_ONLY_IN_PYTHON = (
    " A law of your own is a bayescale.laws.Law and can be given instead of a name.",
    " For another, give bayescale.laws.cost.Accelerator(name, peak_flops, memory_gb, source).",
)
_NAMES = "|".join(sorted(_OPTIONS, key=len, reverse=True))
_WORD = r"""(?:"[^"]*"|'[^']*'|None|[\w.+%-]+)"""
_MAPPING = re.compile(rf"\b({_NAMES})=\{{([^{{}}]*)\}}")
_PAIR = re.compile(rf"(\.\.\.)(?=,|$)|({_WORD})\s*:\s*({_WORD})")
_SINGLE = re.compile(rf"\b({_NAMES})=({_WORD}|)(?<![.])")
_SWEEP = "--hyperparameters batch_size,learning_rate"
_LEFT = re.compile(r"HyperparameterModel\(hyperparameters=\(([^()]*)\)\)")
_MODELS = (
    ("HyperparameterModel(..., trust_units=True)", "--trust-units"),
    ("bs.LossModel(...)", "leave out --hyperparameters"),
    ("(loss_law=None)", "(--law none)"),
    ("bs.tune needs a fit that knows hyperparameters", "tune needs a fit of hyperparameters"),
    ("Fit bs.HyperparameterModel(...) to runs", f"Make one, `bayescale fit {_SWEEP}`, from runs"),
    ("bs.HyperparameterModel(...)", f"`bayescale fit {_SWEEP}`"),
    ("bs.predict says", "`bayescale predict` says"),
    ("(see `studies`)", "(--format json has their words)"),
)
_CALL = re.compile(
    r"\b(?:bayescale\.)?(?:as_runs|read_runs|fit|predict|plan)\((?:\w+|\.\.\.)?,? ?(--[^()]*?)\)"
)
_QUOTED = re.compile(rf"`({_NAMES})`(?= (?:is|are|was|names|maps|lacks|has|takes|must|needs))")


def in_shell_words(message: str, verb: str) -> str:
    """A message with the arguments it names written as options of `verb`.

    Examples
    --------
    >>> in_shell_words('Write columns={"N": "n params", "T": None}.', "import")
    "Write --columns 'N=n params,T='."
    """
    message = _LEFT.sub(lambda found: f"--hyperparameters {_names(found[1])}", message)
    for python, shell in _MODELS:
        message = message.replace(python, shell)
    message = _MAPPING.sub(lambda found: _pairs(found[1], found[2]), message)
    message = _SINGLE.sub(lambda found: _one(found[1], found[2], verb), message)
    message = _CALL.sub(r"\1", message)
    message = _QUOTED.sub(lambda found: f"`--{_OPTIONS[found[1]]}`", message)
    message = message.replace("Noise(undertuned=True)", "`bayescale fit --undertuned`")
    message = re.sub(r"\btarget_accept\b", "--target-accept", message)
    for sentence in _ONLY_IN_PYTHON:
        message = message.replace(sentence, "")
    message = message.replace("summarise(runs)", "`bayescale import TABLE --dry-run`")
    message = message.replace("with as_runs.", "with `bayescale import`.")
    return re.sub(r"(--(?:draws|tune|chains) \d+), (?=--)", r"\1 ", message)


def _names(inside: str) -> str:
    return ",".join(_bare(each.strip()) for each in inside.split(",") if each.strip())


def _pairs(name: str, inside: str) -> str:
    parts = []
    for dots, key, value in _PAIR.findall(inside):
        word = "COLUMN" if value in _PLACEHOLDERS and name == "columns" else _bare(value)
        parts.append(dots or f"{_bare(key)}={'' if value == 'None' else word}")
    return f"--{_OPTIONS[name]} {shlex.quote(','.join(parts))}"


def _one(name: str, value: str, verb: str) -> str:
    if name == "family" and verb == "fit" and _bare(value) not in ("partial", "separate"):
        return f"--columns family={_bare(value)}"  # there, --family is how families are pooled
    return f"--{_OPTIONS[name]} {shlex.quote(_bare(value))}" if value else f"--{_OPTIONS[name]}"


def _bare(word: str) -> str:
    return word.strip("\"'")
