"""Exact likelihood of samples by the probability-flow ODE, with its numerical and probe errors.

log p(x) = log N(x_1; 0, 1) + integral from 0 to 1 of div v(x_t, t) dt along dx/dt = v from the data
to the noise (Chen et al. 2018, arXiv 1806.07366; Song et al. 2021, arXiv 2011.13456). The
divergence is the exact trace for small samples, else the mean over fixed Rademacher probes
(Hutchinson): a sample keeps its probes for the whole path, or the right-hand side would change
under the solver.

Legend: x_BCFHW samples, r_KBCFHW probes, div_KB divergence by each probe (K = 1: the exact trace).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training import flow, rng
from training.config import Objective
from training.errors import SpecError, TrainingError
from training.evals.sample import Velocity, ends, guided, noisy_scale, times, velocity_of
from training.evals.validation import Predict

EXACT_TRACE = 256
"""Numbers in a sample up to which the trace is exact: one backward pass for each."""


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood in nats per dimension, and how far to trust it.

    Parameters
    ----------
    nll, nll_se : float
        Mean over samples, and its standard error over samples (the probes' noise is part of it).
    probe_se : float
        What of it comes from the probes alone; 0 for the exact trace, NaN for one probe.
    step_error : float
        Difference to the same with half the steps. The solver is of second order, so the error that
        is left is about a third of it.
    bits : float or None
        Bits per dimension of the 8-bit data, an upper bound since the data are dequantised; None
        for data of other kinds.
    samples, steps, probes : int
        `probes` 0 stands for the exact trace.
    """

    nll: float
    nll_se: float
    probe_se: float
    step_error: float
    bits: float | None
    samples: int
    steps: int
    probes: int
    solver: str
    seed: int
    t_low: float
    t_high: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite becomes None."""
        content = dataclasses.asdict(self)
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in content.items()
        }


def likelihood(
    predict: Predict,
    objective: Objective,
    x: Tensor,
    text: Tensor | None = None,
    *,
    seed: int,
    steps: int = 64,
    probes: int = 4,
    eight_bit: bool = False,
    chunk: int = 64,
) -> Likelihood:
    """Negative log-likelihood of `x` given `text` under the model.

    Parameters
    ----------
    predict : callable
        Differentiable in its first argument: a prediction made under ``no_grad`` has no divergence.
    x : Tensor, (B, C, F, H, W)
    seed : int
        Of probes and of the dequantisation, keyed by the place of a sample in `x`.
    steps : int
        Heun steps, even (half of them give the error), two calls of the model each.
    probes : int
        For samples of more than 256 numbers; at least 2, or there is no error bar.
    eight_bit : bool
        `x` holds 8-bit values k / 127.5 - 1. Uniform noise of one such step is added, and bits per
        dimension are given. For other data a density has no bits.
    """
    if steps < 2 or steps % 2:
        raise SpecError(f"`likelihood_steps` is {steps}; an even number from 2 on was expected.")
    exact = x[0].numel() <= EXACT_TRACE
    if not exact and probes < 1:
        raise SpecError(f"`likelihood_probes` is {probes}; at least 1 is needed, better 4.")
    if eight_bit:
        x = dequantised(x, seed)
    fine, coarse = [], []
    for first in range(0, len(x), chunk):
        some = slice(first, first + chunk)
        index_B = torch.arange(first, min(first + chunk, len(x)), device=x.device)
        r_KB = None if exact else _probes(seed, index_B, probes, x.shape[1:])
        velocity = velocity_of(guided(predict, None if text is None else text[some]), objective)
        for found, grid in ((fine, steps), (coarse, steps // 2)):
            found.append(_log_p(velocity, x[some].double(), r_KB, objective, grid).cpu())
    nll_KB = -torch.cat(fine, dim=1) / x[0].numel()
    nll_B = nll_KB.mean(0)
    step_error = float((nll_B + torch.cat(coarse, dim=1).mean(0) / x[0].numel()).mean())
    nll, (low, high) = float(nll_B.mean()), ends(objective)
    return Likelihood(
        nll=nll,
        nll_se=float(nll_B.std() / math.sqrt(len(x))) if len(x) > 1 else math.nan,
        probe_se=0.0 if exact else _probe_se(nll_KB),
        step_error=step_error,
        bits=bits_per_dimension(nll, eight_bit=True) if eight_bit else None,
        samples=len(x),
        steps=steps,
        probes=0 if exact else probes,
        solver="heun",
        seed=seed,
        t_low=low,
        t_high=high,
    )


def bits_per_dimension(nll: float, *, eight_bit: bool) -> float:
    """Bits per dimension of 8-bit data scaled to [-1, 1], from nats per dimension of a density.

    nll / ln 2 + log2(127.5): one step of the 8-bit scale is 1 / 127.5 long.

    Raises
    ------
    SpecError
        For data that never were 8-bit: their density can be made anything by a change of units.
    """
    if not eight_bit:
        raise SpecError(
            "Bits per dimension were asked for data that are not 8-bit. They mean something only "
            "for values k / 127.5 - 1 with uniform dequantisation; quote `nll`, nats per dimension."
        )
    return nll / math.log(2.0) + math.log2(127.5)


def dequantised(x: Tensor, seed: int) -> Tensor:
    """8-bit samples with uniform noise of one step added, float64; others are refused."""
    steps = (x.double() + 1.0) * 127.5
    away = float((steps - steps.round()).abs().max())
    if away > 0.01:
        raise SpecError(
            f"These samples were said to be 8-bit, but lie up to {away:.2f} steps beside the "
            "values k / 127.5 - 1. Bits per dimension would be wrong; `eight_bit` of the stream "
            "must be false."
        )
    index_B = torch.arange(len(x), device=x.device)
    u = rng.uniform(seed, "likelihood/dequantise", index_B, x.shape[1:]).double()
    return (steps.round() + u - 0.5) / 127.5 - 1.0


def _log_p(
    velocity: Velocity, x: Tensor, r_KB: Tensor | None, objective: Objective, steps: int
) -> Tensor:
    """Log p of each sample by each probe, float64 (K, B); Heun for state and divergence alike."""
    grid = times(objective, steps)
    low = grid[0]
    path = flow.PATHS[objective.path]
    if low > 0.0:  # p(x) = a^d p_low(a x), up to the noise of sd b(low) that is left out
        scale = float(path.a(torch.tensor(low, dtype=torch.float64)))
        x = scale * x
    else:
        scale = 1.0
    total = torch.zeros(1, dtype=torch.float64, device=x.device)
    for now, then in itertools.pairwise(grid):
        step = then - now
        slope, div_KB = _with_divergence(velocity, x, now, r_KB)
        slope_then, div_then_KB = _with_divergence(velocity, x + step * slope, then, r_KB)
        x = x + 0.5 * step * (slope + slope_then)
        total = total + 0.5 * step * (div_KB + div_then_KB)
    variance = noisy_scale(objective) ** 2
    numbers = x[0].numel()
    square = x.square().flatten(1).sum(1) / variance
    prior = -0.5 * (square + numbers * math.log(2.0 * math.pi * variance))
    return prior + total + numbers * math.log(scale)


def _with_divergence(
    velocity: Velocity, x: Tensor, t: float, r_KB: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Velocity, and its divergence (K, B) by the probes, or (1, B) by the exact trace."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        v = velocity(x, torch.full((len(x),), t, dtype=x.dtype, device=x.device))
    if not v.requires_grad:
        raise TrainingError(
            "The model was called without gradients, so it shows no divergence. Give `likelihood` "
            "a `predict` that does not run under `torch.no_grad` or `inference_mode`."
        )
    if r_KB is not None:
        found = [
            (torch.autograd.grad(v, x, r, retain_graph=k + 1 < len(r_KB))[0] * r).flatten(1).sum(1)
            for k, r in enumerate(r_KB)
        ]
        return v.detach(), torch.stack(found)
    trace, numbers = torch.zeros(len(x), dtype=x.dtype, device=x.device), x[0].numel()
    one = torch.zeros_like(x)
    for d in range(numbers):
        one.view(len(x), -1)[:, d] = 1.0
        row = torch.autograd.grad(v, x, one, retain_graph=d + 1 < numbers)[0]
        trace += row.flatten(1)[:, d]
        one.view(len(x), -1)[:, d] = 0.0
    return v.detach(), trace[None]


def _probes(seed: int, index_B: Tensor, count: int, shape: torch.Size) -> Tensor:
    """Signs, (K, B, ...), keyed by sample and probe."""
    each = [
        rng.integers(seed, f"likelihood/probe/{k}", index_B, 2, tuple(shape)) for k in range(count)
    ]
    return torch.stack(each).double() * 2.0 - 1.0


def _probe_se(nll_KB: Tensor) -> float:
    """Standard error of the mean that is due to the finite number of probes."""
    probes, samples = nll_KB.shape
    if probes < 2:
        return math.nan
    return math.sqrt(float(nll_KB.var(0).mean()) / probes / samples)
