"""Validation loss on fixed samples, fixed noise and stratified t, kept per bin of t.

Everything is drawn once, as a pure function of (evaluation seed, index): two models, two world
sizes and two machines are measured on the same (x, eps, t), which makes differences between runs
about ten times less noisy than fresh draws. Loss, training loss and the variational bound are three
weightings of the one curve that is stored.

Legend: x_BCFHW clean samples, xt_BCFHW noised, v_BCFHW their velocity, y_EB error of each sample.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training import flow, rng
from training.config import Objective, Spec
from training.errors import SpecError
from training.evals import vlb

Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x_t, t, text) to what the model is trained to say: (B, ...), or (E, B, ...) for an ensemble."""

UNIFORM_BINS, LOW_BINS = 32, 16
LOW_T = 0.1
SCHEME = 1
"""Raised when the fixed draws change, so that numbers of two schemes are never mixed."""

_CHUNK = 256  # samples at a time, fewer where they are large
_CHUNK_NUMBERS = 2**22
_DEVICE_BYTES = 2**31  # a larger validation set stays in main memory and is moved by chunks


@dataclass(frozen=True)
class Measured:
    """What the fixed validation set says about one model.

    Parameters
    ----------
    loss, se : float
        Velocity error per dimension under uniform t, and its standard error. The error is that of
        the finite set; the difference of two models on the same set is known much better.
    loss_by_t, se_by_t, count_by_t : tuples of 48
        The same in each bin of t (`bin_edges`): 32 uniform bins, then 16 log-spaced ones below 0.1.
        NaN where a bin is empty (or has one sample, for the error).
    loss_train_density, loss_train_density_se : float
        Under the density of t that the model is trained with.
    vlb, vlb_se : float or None
        Variational bound on -log p(x), nats per dimension; None without samples at low t.
    oracle_loss, excess, excess_se : float or None
        Loss of the exact velocity on the same (x, eps, t), the difference to it, and its paired
        standard error, where the stream knows that velocity.
    """

    loss: float
    se: float
    loss_by_t: tuple[float, ...]
    se_by_t: tuple[float, ...]
    count_by_t: tuple[int, ...]
    loss_train_density: float
    loss_train_density_se: float
    vlb: float | None = None
    vlb_se: float | None = None
    oracle_loss: float | None = None
    excess: float | None = None
    excess_se: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and floats for JSON; what is not finite becomes None."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Measured:
        """The inverse of `to_dict`; names of other versions are left out."""
        known: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            value = content.get(field.name)
            if isinstance(value, list):
                value = tuple(math.nan if each is None else each for each in value)
            elif value is None and "None" not in str(field.type):
                value = math.nan
            known[field.name] = value
        return cls(**known)


@dataclass(frozen=True)
class Validation:
    """The fixed validation set, noised once; `measure` only runs the model."""

    objective: Objective
    xt_BCFHW: Tensor
    v_BCFHW: Tensor
    t_B: Tensor
    text: Tensor | None
    bin_B: Tensor
    uniform: int
    mean_square: float
    oracle_B: Tensor | None
    device: torch.device
    digest: str
    content: str

    @classmethod
    def open(cls, spec: Spec, stream: Any, device: torch.device | str) -> Validation:
        """Draw the set that `spec.evaluation` asks for from a stream opened for ``validation``.

        Samples 0 .. n - 1 carry the uniform t, those behind them the low t. `digest` names the set
        by what defines it and is the same on every device; `content` is the hash of its bytes here.
        """
        asked = spec.evaluation
        if asked.samples < 2 or asked.low_t_samples < 0 or asked.low_t_samples == 1:
            raise SpecError(
                f"`evaluation.samples` is {asked.samples} and `low_t_samples` "
                f"{asked.low_t_samples}; at least 2 are needed (512 and 128 are the defaults; "
                "0 low ones for no bound)."
            )
        device, path = torch.device(device), flow.PATHS[spec.objective.path]
        total = asked.samples + asked.low_t_samples
        keep = torch.device("cpu") if 8 * total * stream.shape.numel > _DEVICE_BYTES else device
        t_B = fixed_times(asked.seed, asked.samples, asked.low_t_samples)
        parts: list[tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = []
        square, content = 0.0, [hashlib.sha256() for _ in range(3)]
        for first, last in _pieces(total, stream.shape.numel):
            index_B = torch.arange(first, last)
            batch = stream.batch(index_B.to(getattr(stream, "device", "cpu")))
            x, t = batch.x.to(device), t_B[first:last].to(device)
            e = rng.normal(asked.seed, "validation/noise", index_B.to(device), stream.shape.array)
            xt, v = path.mix(x, e, t), path.velocity(x, e, t)
            oracle = _oracle_error(stream, path, xt, v, t)
            square += float(x.double().square().mean()) * (last - first) / total
            for hashed, each in zip(content, (x, e, t), strict=True):
                hashed.update(each.cpu().contiguous().numpy().tobytes())
            parts.append(
                (
                    xt.to(keep),
                    v.to(keep),
                    None if batch.text is None else batch.text.to(keep),
                    oracle,
                )
            )
        named = [SCHEME, stream.fingerprint, asked.seed, asked.samples, asked.low_t_samples]
        return cls(
            objective=spec.objective,
            xt_BCFHW=torch.cat([part[0] for part in parts]),
            v_BCFHW=torch.cat([part[1] for part in parts]),
            t_B=t_B.to(device),
            text=_cat([part[2] for part in parts]),
            bin_B=bin_of(t_B, asked.samples),
            uniform=asked.samples,
            mean_square=square,
            oracle_B=_cat([part[3] for part in parts]),
            device=device,
            digest=_joined(map(str, named)),
            content=_joined(each.hexdigest() for each in content),
        )

    def measure(self, predict: Predict) -> list[Measured]:
        """Run the model over the set: one `Measured`, or one for each member of an ensemble."""
        y_EB = self.errors(predict)
        return [self._summary(y_B) for y_B in y_EB]

    @torch.no_grad()
    def errors(self, predict: Predict) -> Tensor:
        """Mean squared velocity error of each sample, float64 (E, B) on the CPU."""
        path, done = flow.PATHS[self.objective.path], []
        total = len(self.t_B)
        size = _pieces(total, self.xt_BCFHW[0].numel())[0][1]
        for first in range(0, total, size):
            # the last piece is filled up, so that a compiled model sees one shape only
            at = torch.arange(first, first + size) % total
            kept = at.to(self.xt_BCFHW.device)
            xt, v = self.xt_BCFHW[kept].to(self.device), self.v_BCFHW[kept].to(self.device)
            t = self.t_B[at.to(self.device)]
            text = None if self.text is None else self.text[kept].to(self.device)
            said = predict(xt, t, text).float()
            velocity = flow.velocity_from(path, self.objective.target, said, xt, t)
            error = (velocity - v).square().flatten(velocity.ndim - v.ndim + 1).mean(-1)
            done.append(error.reshape(-1, size)[:, : total - first])
        return torch.cat(done, dim=-1).double().cpu()

    def _summary(self, y_B: Tensor) -> Measured:
        n = self.uniform
        uniform_B = torch.full((n,), 1.0 / n, dtype=torch.float64)
        oracle = {}
        if self.oracle_B is not None:
            excess = y_B[:n] - self.oracle_B[:n]
            oracle = {
                "oracle_loss": float(self.oracle_B[:n].mean()),
                "excess": float(excess.mean()),
                "excess_se": stratified_se(excess, uniform_B),
            }
        mean, se, count = _by_bin(y_B, self.bin_B)
        train_B = self._train_weights(count)
        bound, bound_se = self._vlb(y_B)
        return Measured(
            loss=float(y_B[:n].mean()),
            se=stratified_se(y_B[:n], uniform_B),
            loss_by_t=tuple(mean.tolist()),
            se_by_t=tuple(se.tolist()),
            count_by_t=tuple(int(each) for each in count),
            loss_train_density=float(train_B @ y_B[:n]),
            loss_train_density_se=stratified_se(y_B[:n], train_B),
            vlb=bound,
            vlb_se=bound_se,
            **oracle,
        )

    def _train_weights(self, count: Tensor) -> Tensor:
        """Weight of each uniform sample under the training density: the mass of its bin, shared."""
        mass = train_mass(self.objective)
        share = torch.where(count[:UNIFORM_BINS] > 0, mass / count[:UNIFORM_BINS].clamp(min=1), 0.0)
        weights = share[self.bin_B[: self.uniform]]
        return weights / weights.sum()

    def _vlb(self, y_B: Tensor) -> tuple[float | None, float | None]:
        """The bound: low samples for t below 0.1, uniform ones above, weighted sample by sample."""
        n = self.uniform
        if len(y_B) == n:
            return None, None
        path, t = flow.PATHS[self.objective.path], self.t_B.double().cpu()
        high = vlb.weight(path, t[:n]) * (t[:n] > LOW_T) / n
        low = vlb.weight(path, t[n:]) * t[n:] * math.log(LOW_T / vlb.T_MIN) / (len(y_B) - n)
        ends = vlb.reconstruction(path) + vlb.prior(path, self.mean_square)
        bound = ends + float(high @ y_B[:n] + low @ y_B[n:])
        return bound, math.hypot(stratified_se(y_B[:n], high), stratified_se(y_B[n:], low))


def fixed_times(seed: int, uniform: int, low: int) -> Tensor:
    """Times of the validation set, ascending in both parts: one draw in each of equal strata.

    Strata are equal in t for the first part, and equal in log t from `vlb.T_MIN` to 0.1 for the
    second. Float32, as the model sees them.
    """
    u = rng.uniform(seed, "validation/t", torch.arange(uniform + low)).double()
    even = (torch.arange(uniform) + u[:uniform]) / uniform
    step = (torch.arange(low) + u[uniform:]) / max(low, 1)
    logs = math.log(vlb.T_MIN) + step * math.log(LOW_T / vlb.T_MIN)
    return torch.cat((even, torch.exp(logs))).float()


def bin_edges() -> tuple[Tensor, Tensor]:
    """Lower and upper t of the 48 bins, float64."""
    even = torch.linspace(0.0, 1.0, UNIFORM_BINS + 1, dtype=torch.float64)
    logs = torch.logspace(
        math.log10(vlb.T_MIN), math.log10(LOW_T), LOW_BINS + 1, dtype=torch.float64
    )
    return torch.cat((even[:-1], logs[:-1])), torch.cat((even[1:], logs[1:]))


def bin_of(t_B: Tensor, uniform: int) -> Tensor:
    """Bin of each time: the first `uniform` fall into bins 0 .. 31, the others into 32 .. 47."""
    even = (t_B[:uniform].double() * UNIFORM_BINS).long().clamp(0, UNIFORM_BINS - 1)
    depth = (t_B[uniform:].double() / vlb.T_MIN).log() / math.log(LOW_T / vlb.T_MIN)
    low = (depth * LOW_BINS).long().clamp(0, LOW_BINS - 1) + UNIFORM_BINS
    return torch.cat((even, low))


def train_mass(objective: Objective) -> Tensor:
    """Probability of the 32 uniform bins under the training density of t (midpoint rule)."""
    points = 256
    t = (torch.arange(UNIFORM_BINS * points, dtype=torch.float64) + 0.5) / (UNIFORM_BINS * points)
    density = flow.density_of_t(
        t,
        objective.t_sampler,
        mean=objective.t_mean,
        scale=objective.t_scale,
        shift=objective.t_shift,
    )
    mass = density.reshape(UNIFORM_BINS, points).mean(1)
    return mass / mass.sum()


def stratified_se(y_B: Tensor, weight_B: Tensor) -> float:
    """Standard error of ``weight @ y`` with one draw per stratum, from neighbouring differences.

    A stratum with one draw shows no variance of its own; half the squared difference to the next
    stratum does, plus what the curve changes between them, so the error is a little conservative.
    """
    if len(y_B) < 2:
        return math.nan
    half = 0.5 * (y_B[1:] - y_B[:-1]).square()
    variance = torch.cat((half[:1], 0.5 * (half[1:] + half[:-1]), half[-1:]))
    return math.sqrt(float((weight_B.square() * variance).sum()))


def _by_bin(y_B: Tensor, bin_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard error and count in each of the 48 bins; NaN where there is none."""
    bins = UNIFORM_BINS + LOW_BINS
    count = torch.bincount(bin_B, minlength=bins).double()
    mean = torch.zeros(bins, dtype=torch.float64).index_add(0, bin_B, y_B) / count
    square = (y_B - mean[bin_B]).square()
    total = torch.zeros(bins, dtype=torch.float64).index_add(0, bin_B, square)
    return mean, (total / (count - 1).clamp(min=0) / count).sqrt(), count


def _oracle_error(stream: Any, path: flow.Path, xt: Tensor, v: Tensor, t: Tensor) -> Tensor | None:
    """Error of the exact velocity of each sample, where the stream knows it."""
    if stream.oracle_velocity is None:
        return None
    exact = stream.oracle_velocity(xt, t, path)
    return (exact - v).double().square().flatten(1).mean(1).cpu()


def _pieces(total: int, numbers: int) -> list[tuple[int, int]]:
    """Bounds of pieces of nearly equal length that fit into memory."""
    most = max(1, min(_CHUNK, _CHUNK_NUMBERS // numbers))
    size = -(-total // -(-total // most))
    return [(first, min(first + size, total)) for first in range(0, total, size)]


def _joined(parts: Iterable[str]) -> str:
    """Sixteen hex digits for a list of texts."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]


def _cat(parts: list[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
