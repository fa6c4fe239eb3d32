"""What a run is: frozen dataclasses, one per concern, and the id that follows from them.

A `Spec` holds everything that decides which numbers a run produces (its *scientific* fields). How
and where it is executed stands in `Execution` and is not part of the id, so the same run on another
machine is the same run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from training.errors import SpecError, nearest

SPEC_VERSION = 1

Conditioning = Literal["in_context", "cross", "adaln_zero", "adaln_single", "mmdit"]


@dataclass(frozen=True)
class Model:
    """The transformer.

    Parameters
    ----------
    conditioning : str
        How time and text enter: ``in_context`` (image, text and time tokens in one sequence;
        arXiv 2410.08184), ``cross`` (cross-attention to text, shared modulation by time: PixArt;
        arXiv 2411.17470), ``adaln_zero`` (DiT), ``adaln_single`` (PixArt, text pooled),
        ``mmdit`` (two streams joined in attention: SD3; with `single_layers` FLUX).
    width, depth, heads : int
        Model dimension, number of blocks, attention heads.
    mlp_ratio : float
        Hidden width of the MLP over `width`.
    patch : (frames, height, width)
        What one token covers.
    attention : {"full", "factorised"}
        Over all tokens of a video, or alternating over space and time (Latte).
    position : {"sincos", "rope"}
        Fixed sine-cosine table added to the tokens, or axial rotary embedding in attention.
    qk_norm : bool
        RMS-normalise queries and keys per head.
    text_layers : int
        Blocks of our own text encoder, trained along; 0: an embedding table alone. Only for token
        ids.
    single_layers : int
        ``mmdit`` only: how many of the last blocks run both streams through one set of weights.
    parametrisation : {"sp", "mup"}
        Standard, or maximal update with `base_width` as the width whose learning rate is meant.
    """

    conditioning: Conditioning = "adaln_single"
    width: int = 64
    depth: int = 4
    heads: int = 2
    mlp_ratio: float = 4.0
    patch: tuple[int, int, int] = (1, 2, 2)
    attention: Literal["full", "factorised"] = "full"
    position: Literal["sincos", "rope"] = "sincos"
    qk_norm: bool = False
    text_layers: int = 0
    single_layers: int = 0
    parametrisation: Literal["sp", "mup"] = "sp"
    base_width: int = 64


@dataclass(frozen=True)
class Objective:
    """Path, target and density of t; see `training.flow`. `text_dropout`: share of samples whose
    caption is hidden, so that guidance works.
    """

    path: Literal["rectified_flow", "vp", "cosine"] = "rectified_flow"
    target: Literal["velocity", "noise", "sample"] = "velocity"
    t_sampler: Literal["logit_normal", "uniform", "shifted"] = "logit_normal"
    t_mean: float = 0.0
    t_scale: float = 1.0
    t_shift: float = 1.0
    text_dropout: float = 0.1


@dataclass(frozen=True)
class Data:
    """The stream of samples.

    Parameters
    ----------
    name : str
        One of `training.data.STREAMS`: ``leaves``, ``sprites``, ``zipf_mixture``, ``grf``,
        ``digits``, or users' data ``folder``, ``video``, ``wds``, ``hf``, ``latents``.
    resolution, frames : int
        Height and width in pixels, and number of frames.
    captions : {"dense", "sparse", "none"}
        How much of a sample its caption tells.
    seed : int
        Which stream. Runs that share it see the same samples in the same order.
    unique_samples : int or None
        Repeat this many samples (another order each pass); None: never repeat, if the source
        allows.
    path : str or None
        Where users' data lie.
    encoder : str or None
        ``package.module:function``, a user's frozen text encoder: captions (a list of str) to
        embeddings ``(B, n_text, width)``.
    options : mapping of str to str, int, float or bool
        What a single stream needs besides (``templates``, ``sigma``, ``leaves``, ``column`` ...).
    """

    name: str = "leaves"
    resolution: int = 16
    frames: int = 1
    captions: Literal["dense", "sparse", "none"] = "dense"
    seed: int = 0
    unique_samples: int | None = None
    path: str | None = None
    encoder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Optimiser:
    """AdamW and its schedule.

    `batch_samples` is the global batch. `warmup_tokens` and `tokens` (of the `Spec`) count image or
    video tokens. ``constant`` keeps the rate after warm-up; ``linear`` and ``cosine`` decay it to
    zero at the end, ``wsd`` linearly over the last `decay_fraction`. `ema_widths` are the relative
    widths of the averaged weights that are read out; the first one is the reading that is fitted.
    """

    learning_rate: float = 8e-3
    batch_samples: int = 16
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    warmup_tokens: int = 51_200
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "constant"
    decay_fraction: float = 0.2
    ema_widths: tuple[float, ...] = (0.10,)


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and when.

    Parameters
    ----------
    first_tokens, per_octave : int
        Read-outs at tokens ``first_tokens * 2**(k / per_octave)``, and at the end. The grid is
        absolute, so runs of a sweep are read at the same T.
    samples : int
        Fixed validation samples, spread evenly over 32 bins of t.
    low_t_samples : int
        More of them over 16 log-spaced bins below t = 0.1, which the VLB needs; 0: no VLB.
    seed : int
        Of validation samples, noise and t.
    raw : bool
        Read the bare weights besides the averaged ones.
    likelihood_samples, likelihood_steps, likelihood_probes : int
        Exact likelihood at the end of the run, over so many validation samples (0: none).
    frechet_samples : int
        Frechet distance at the end of the run between so many samples and data (0: none).
    features : str
        ``randconv``, ``attributes``, ``statistics``, or ``inception:PATH``, ``dinov2:PATH``,
        ``clip:PATH``.
    sampler_steps : int
        Heun steps of the sampler behind it.
    guidance : float
        Classifier-free guidance of that sampler; 1: none.
    pictures : int
        Samples drawn into ``samples.png`` at the end (0: none).
    """

    first_tokens: int = 65_536
    per_octave: int = 2
    samples: int = 512
    low_t_samples: int = 128
    seed: int = 1_000_003
    raw: bool = False
    likelihood_samples: int = 0
    likelihood_steps: int = 64
    likelihood_probes: int = 4
    frechet_samples: int = 0
    features: str = "randconv"
    sampler_steps: int = 32
    guidance: float = 1.0
    pictures: int = 0


@dataclass(frozen=True)
class Spec:
    """One run. `tokens`: image or video tokens to train on; `seed`: initial weights, noise, t and
    dropout (the order of the data hangs on ``data.seed``).
    """

    model: Model = field(default_factory=Model)
    objective: Objective = field(default_factory=Objective)
    data: Data = field(default_factory=Data)
    optimiser: Optimiser = field(default_factory=Optimiser)
    evaluation: Evaluation = field(default_factory=Evaluation)
    tokens: int = 1_048_576
    seed: int = 0

    @property
    def run_id(self) -> str:
        """First 16 hex digits of the SHA-256 of all fields as canonical JSON."""
        return hashlib.sha256(canonical(self).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Execution:
    """How a run is executed; none of this changes which run it is.

    `precision` ``auto``: bf16 matrix products on a GPU, float32 on a CPU. `micro_batch`: samples at
    a time on one device (None: the whole share, halved when memory runs out). `exact`:
    deterministic kernels. `parallel`: what ``torchrun`` processes share.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "tf32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    cuda_graph: bool = False
    micro_batch: int | None = None
    exact: bool = False
    threads: int | None = None
    parallel: Literal["ddp", "fsdp"] = "ddp"
    checkpoint_every_s: float = 60.0
    log_every: int = 20
    pool: str | None = None


def canonical(config: Any) -> str:
    """Sorted, compact JSON of a config, with the version of its fields.

    Examples
    --------
    >>> Spec().run_id == from_mapping(Spec, to_mapping(Spec())).run_id
    True
    """
    content = {"spec_version": SPEC_VERSION, **to_mapping(config)}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain nested dictionary of a config, as JSON writes it."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_mapping[Config](
    kind: type[Config], mapping: Mapping[str, Any], *, where: str = ""
) -> Config:
    """A config from nested plain values; what is not named keeps its default.

    Raises
    ------
    SpecError
        For an unknown field (with the nearest name) or a value of the wrong kind.
    """
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for name, value in mapping.items():
        if name == "spec_version":
            if value != SPEC_VERSION:
                raise SpecError(f"`spec_version` is {value}; this harness writes {SPEC_VERSION}.")
            continue
        if name not in hints:
            raise SpecError(f"Unknown field `{where}{name}`; {nearest(name, hints)}")
        given[name] = _value(hints[name], value, f"{where}{name}")
    return kind(**given)


def with_overrides[Config](config: Config, overrides: Mapping[str, Any]) -> Config:
    """The config with dotted fields replaced: ``{"optimiser.learning_rate": 1e-3}``.

    A field that only one section has may be named without it (``learning_rate``).
    """
    content = to_mapping(config)
    for name, value in overrides.items():
        *path, last = full_name(type(config), name).split(".")
        inner = content
        for part in path:
            inner = inner[part]
        inner[last] = value
    return from_mapping(type(config), content)


def full_name(kind: type, name: str) -> str:
    """The dotted name of a field of `kind`: ``learning_rate`` is ``optimiser.learning_rate``."""
    fields = list(_dotted(kind))
    if name in fields or any(name.startswith(f"{known}.") for known in fields):
        return name
    matches = [known for known in fields if known.rsplit(".", 1)[-1] == name]
    if len(matches) == 1 or (matches and "." not in matches[0]):
        return matches[0]
    if matches:
        raise SpecError(
            f"`{name}` is one of " + ", ".join(f"`{each}`" for each in matches) + "; say which."
        )
    raise SpecError(f"Unknown field `{name}`; {nearest(name, [*fields, *_short(fields)])}")


def _short(fields: Sequence[str]) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in fields}


def _dotted(kind: type, before: str = "") -> typing.Iterator[str]:
    for name, hint in sorted(
        typing.get_type_hints(kind).items(), key=lambda item: dataclasses.is_dataclass(item[1])
    ):
        if dataclasses.is_dataclass(hint):
            yield from _dotted(typing.cast(type, hint), f"{before}{name}.")
        else:
            yield f"{before}{name}"


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` wants it, or a SpecError that names both."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise SpecError(f"`{where}` is {value!r}; a section with fields was expected.")
        return from_mapping(typing.cast(type, hint), value, where=f"{where}.")
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in inside:
            raise SpecError(f"`{where}` is {value!r}; {nearest(str(value), map(str, inside))}")
        return value
    if origin is types.UnionType:
        return None if value is None else _value(inside[0], value, where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise SpecError(f"`{where}` is {value!r}; a list was expected.")
        if inside[-1] is not Ellipsis and len(value) != len(inside):
            raise SpecError(f"`{where}` is {list(value)}; {len(inside)} values were expected.")
        return tuple(_value(inside[0], each, where) for each in value)
    if origin is not None:  # a mapping of options
        if not isinstance(value, Mapping):
            raise SpecError(f"`{where}` is {value!r}; a section with fields was expected.")
        return {str(name): _finite(each, f"{where}.{name}") for name, each in value.items()}
    return _plain(hint, value, where)


def _plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 1e6 tokens, as people write them
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise SpecError(f"`{where}` is {value!r}; {words[kind]} was expected.")
    return _finite(value, where)


def _finite(value: Any, where: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"`{where}` is {value}; a finite number was expected.")
    return value
