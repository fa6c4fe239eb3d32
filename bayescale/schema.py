"""The table of run fields: what a run may say about itself, in which unit, what is sensible.

Standard library only: a training harness imports this module and nothing else of the package,
and `check_record` tells it whether a record it is about to write can be read back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 1

Level = Literal["run", "reading"]
Kind = Literal["number", "text", "flag"]
Support = Literal["positive", "nonnegative", "real"]


@dataclass(frozen=True)
class Field:
    """One column of the schema.

    Parameters
    ----------
    name : str
        Our name: a letter for mathematics, words elsewhere.
    unit : str
        Unit of the stored values; empty for text.
    kind : {"number", "text", "flag"}
        Numbers are stored as float64 with NaN for missing, text as str with "" for missing.
    meaning : str
        Half a sentence, used in messages and in ``long_name``.
    level : {"run", "reading"}, default "run"
        Whether a run has one value, or one for each of its readings (checkpoints).
    support : {"positive", "nonnegative", "real"}, default "positive"
        Which numbers make sense.
    count : bool, default False
        A count may be written ``"1.3B"`` or ``"12,000"``; other numbers may not (a loss of
        ``"2,345"`` is ambiguous).
    required : bool, default False
        Whether `check_record` insists on it.
    role : str, default ""
        ``"input"`` or ``"response"`` where a law may use the field as such.
    """

    name: str
    unit: str
    kind: Kind
    meaning: str
    level: Level = "run"
    support: Support = "positive"
    count: bool = False
    required: bool = False
    role: str = ""

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions in a `Runs` dataset whose runs have several readings."""
        return ("run",) if self.level == "run" else ("run", "checkpoint")

    @property
    def dtype(self) -> str:
        """Name of the NumPy type that stores it."""
        return {"number": "float64", "text": "str", "flag": "bool"}[self.kind]


def _text(name: str, meaning: str, **more: Any) -> Field:
    return Field(name, "", "text", meaning, **more)


def _number(name: str, unit: str, meaning: str, **more: Any) -> Field:
    return Field(name, unit, "number", meaning, **more)


def _count(name: str, unit: str, meaning: str, **more: Any) -> Field:
    return Field(name, unit, "number", meaning, count=True, **more)


def _answer(name: str, unit: str, meaning: str, **more: Any) -> Field:
    return Field(name, unit, "number", meaning, "reading", role="response", **more)


_EACH: dict[str, Any] = {"level": "reading"}
_INPUT: dict[str, Any] = {"role": "input"}
_OR_ZERO: dict[str, Any] = {"support": "nonnegative"}
_REAL: dict[str, Any] = {"support": "real"}

_FIELDS = [
    # identity
    _text("run", "id of the run; rows that share it are checkpoints of one run", required=True),
    _text("trajectory", "id of the training trajectory; readings that share it share its noise"),
    _text("family", "group for pooling: architecture, data set, schedule"),
    _text("source", "where the numbers come from"),
    _text("status", "done, diverged or censored"),
    _number("seed", "", "random seed", **_REAL),
    # what laws are made of
    _count("N", "parameters", "model size", required=True, **_INPUT),
    _count("T", "tokens", "training tokens seen", required=True, **_EACH, **_INPUT),
    _count("U", "tokens", "unique training tokens", **_INPUT),
    _answer("loss", "nats", "loss on the evaluation set", required=True),
    _number("loss_se", "nats", "standard error of the loss", **_EACH, **_OR_ZERO),
    _text("loss_unit", "unit of the loss where it is not nats"),
    # optimisation
    _count("batch_size", "tokens", "batch size", **_INPUT),
    _count("batch_samples", "samples", "batch size in sequences or images", **_INPUT),
    _number("learning_rate", "", "peak learning rate", **_INPUT),
    _number("weight_decay", "", "weight decay", **_OR_ZERO),
    _count("warmup", "steps", "warm-up length", **_OR_ZERO),
    # cost
    _count("flops", "FLOP", "training compute", **_EACH, **_INPUT),
    _number("gpu_hours", "GPU-hours", "accelerator time", **_EACH, **_OR_ZERO),
    _text("gpu", "name of the accelerator"),
    _count("samples", "samples", "training samples seen", **_EACH, **_INPUT),
    _count("step", "steps", "optimiser step", **_EACH, **_OR_ZERO, **_INPUT),
    # other answers
    _answer("fid", "", "Frechet inception distance", **_OR_ZERO),
    _answer("vlb", "nats", "variational lower bound", **_REAL),
    _answer("nll", "nats", "negative log-likelihood", **_REAL),
    _answer("clip_score", "", "CLIP score", **_REAL),
    # shape and conditions
    _number("width", "", "model width"),
    _number("depth", "", "number of layers"),
    _number("heads", "", "number of attention heads"),
    _number("resolution", "pixels", "side of the training images"),
    _text("conditioning", "how the condition enters the model"),
    # what became of a reading; written by `as_runs`, respected when read back
    Field("fitted", "", "flag", "whether the reading takes part in a fit", "reading"),
    _text("reason", "why the reading does not take part; empty if it does", **_EACH),
]

FIELDS: dict[str, Field] = {field.name: field for field in _FIELDS}

STATUSES: tuple[str, ...] = ("done", "diverged", "censored")
"""Every run ends as one of these. Diverged and censored runs are kept, and not fitted."""

SWEPT = "rates and batches of a grid: they have a law of their own"
"""The reason under which a sweep sets runs at other rates and batches aside: a law of size and data
alone must not see them, a model with hyperparameters fits them."""

STATUS_SYNONYMS: dict[str, str] = {
    word: status
    for status, words in {
        "done": "done completed complete finished success succeeded ok imported",
        "diverged": "diverged nan exploded divergence unstable",
        "censored": "censored running preempted crashed failed failure killed aborted planned "
        "pending queued stopped cancelled canceled timeout",
    }.items()
    for word in words.split()
}

_LOOKALIKES = {
    "N": "params n_params num_params nparams param_count parameters n_parameters num_parameters "
    "model_size model_params size n",
    "T": "tokens n_tokens num_tokens train_tokens training_tokens tokens_seen total_tokens "
    "dataset_size data_size d t",
    "U": "unique_tokens n_unique_tokens u",
    "loss": "val_loss validation_loss eval_loss test_loss final_loss train_loss training_loss l "
    "cross_entropy xent val/loss eval/loss train/loss",
    "loss_se": "loss_std_err loss_stderr val_se se loss_err",
    "batch_size": "batch_tokens tokens_per_batch global_batch_size bs batchsize batch",
    "learning_rate": "lr eta peak_lr max_lr lr_peak",
    "weight_decay": "wd",
    "flops": "flop compute training_flops training_flop total_flops train_flops c",
    "gpu_hours": "gpuhours gpu_h accelerator_hours",
    "samples": "samples_seen images images_seen n_samples",
    "step": "steps iteration iterations iter global_step _step",
    "run": "run_id run_name name id experiment",
    "trajectory": "trajectory_id",
    "status": "state",
    "seed": "random_seed rng_seed",
    "fid": "fid_50k fid50k",
    "family": "group architecture arch",
}
# What other people call our fields. Never taken silently: only used to say which was meant.
_OURS = {theirs: ours for ours, many in _LOOKALIKES.items() for theirs in many.split()}
_OURS |= {name.lower(): name for name in FIELDS}


def lookalike_of(name: str) -> str | None:
    """Our name for a column that someone calls `name`, or None where nothing resembles it.

    Examples
    --------
    >>> lookalike_of("n_params"), lookalike_of("Val Loss"), lookalike_of("colour")
    ('N', 'loss', None)
    """
    return _OURS.get(name.strip().lower().replace(" ", "_").replace("-", "_"))


def status_of(word: str) -> str | None:
    """Our status for a word that another tool uses, or None if it is not known.

    Examples
    --------
    >>> status_of("Finished"), status_of("running"), status_of("meh")
    ('done', 'censored', None)
    """
    return STATUS_SYNONYMS.get(word.strip().lower())


def check_record(record: Mapping[str, Any]) -> list[str]:
    """List what is wrong with one record of a run; an empty list means it can be read back.

    For a training harness, which would rather hear it when it writes than weeks later.

    Parameters
    ----------
    record : mapping
        Names of `FIELDS` to plain values. Other names are allowed and kept as they are.

    Returns
    -------
    list of str
        One sentence a problem.

    Examples
    --------
    >>> check_record({"run": "a", "N": 1e6, "T": 2e7, "loss": 3.1, "status": "done"})
    []
    >>> check_record({"run": "a", "N": 1e6, "T": 0, "loss": 3.1})
    ['`T` (training tokens seen, tokens) is 0; a number above zero was expected.']
    """
    status = record.get("status", "done")
    known = status_of(status) if isinstance(status, str) else None
    problems = []
    if known is None:
        problems.append(f"`status` is {status!r}; one of {', '.join(STATUSES)} was expected.")
    for field in FIELDS.values():
        value = record.get(field.name)
        if value is None:
            may_lack_it = field.name in ("loss", "T") and known in ("diverged", "censored")
            if field.required and not may_lack_it:
                problems.append(f"`{field.name}` ({field.meaning}) is missing.")
        elif field.name != "status":
            problems += _value_problems(field, value, finite=known == "done")
    return problems


def _value_problems(field: Field, value: Any, *, finite: bool) -> list[str]:
    what = f"`{field.name}` ({field.meaning}{', ' + field.unit if field.unit else ''})"
    if field.kind == "text":
        good = isinstance(value, str) and (bool(value) or not field.required)
        return [] if good else [f"{what} is {value!r}; text was expected."]
    if field.kind == "flag":
        return (
            [] if isinstance(value, bool) else [f"{what} is {value!r}; true or false was expected."]
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return [f"{what} is {value!r}; a number was expected."]
    if not math.isfinite(value):
        if field.role == "response" and not finite:
            return []  # a diverged run may well report a NaN loss: that is information
        return [f"{what} is {value!r}; a finite number was expected."]
    if field.support == "positive" and value <= 0:
        return [f"{what} is {value!r}; a number above zero was expected."]
    if field.support == "nonnegative" and value < 0:
        return [f"{what} is {value!r}; zero or more was expected."]
    return []
