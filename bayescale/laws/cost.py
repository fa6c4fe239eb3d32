"""What training costs: from size and tokens to FLOP and back, and from FLOP to GPU-hours.

Every cost here is proportional to tokens, ``C = c(N) T`` with ``c`` the FLOP per token, so it can
be turned round for the tokens that a budget buys. Counting matters: with attention or without,
embeddings or without, the exponent of the best size moves by 0.1 (Porian et al., arXiv:2406.19146).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from bayescale.errors import SpecError
from bayescale.laws.accelerators import ACCELERATORS, Accelerator, accelerator
from bayescale.laws.namespaces import as_argument
from bayescale.laws.samples import SampleShape

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "ACCELERATORS",
    "Accelerator",
    "Attention",
    "Cost",
    "CrossAttention",
    "GivenFlops",
    "SampleShape",
    "SixNT",
    "accelerator",
    "cost_from_runs",
    "flops_of_hours",
    "gpu_hours",
    "mfu_draws",
]

ASPECT_RATIO = 64.0  # width / depth; chosen: of the family of 2410.08184, and near common practice
ONE_VALUE = 1e-3  # FLOP / (N T) that vary by less over a table are one number; chosen


@dataclass(frozen=True)
class Cost(ABC):
    """Training FLOP of a model of size N on T tokens.

    A cost of your own needs `flops_per_token` and `describe`.
    """

    @abstractmethod
    def flops_per_token(self, N: Any) -> Any:
        """Training FLOP per token, forward and backward, of models with N parameters."""

    @abstractmethod
    def describe(self) -> str:
        """Say it in one line, as it is printed under answers."""

    def flops(self, N: Any, T: Any) -> Any:
        """Training FLOP of N parameters on T tokens; arguments broadcast."""
        return self.flops_per_token(N) * as_argument(T)

    def tokens(self, N: Any, flops: Any) -> Any:
        """Tokens that a budget buys for N parameters: the inverse of `flops` in T."""
        return as_argument(flops) / self.flops_per_token(N)


@dataclass(frozen=True)
class SixNT(Cost):
    """``C = 6 N T``: two FLOP per parameter forward, four backward; attention scores left out.

    Parameters
    ----------
    multiplier : float, default 6.0
        FLOP per parameter and token; 8 with full activation recomputation.

    References
    ----------
    Kaplan et al. 2020, arXiv:2001.08361, section 2.1.

    Examples
    --------
    >>> float(SixNT().flops(1e9, 2e10))
    1.2e+20
    >>> float(SixNT().tokens(1e9, 1.2e20))
    20000000000.0
    """

    multiplier: float = 6.0

    def __post_init__(self) -> None:
        _positive(multiplier=self.multiplier)

    def flops_per_token(self, N: Any) -> Any:
        """``multiplier * N``."""
        return self.multiplier * as_argument(N)

    def describe(self) -> str:
        """Say it in one line."""
        return f"C = {self.multiplier:.6g} N T"


@dataclass(frozen=True)
class Attention(Cost):
    """Weights and attention scores: ``C / T = 6 N + 12 l d n``.

    With ``l`` layers of width ``d`` and ``block d^2`` weights each, ``N = block l d^2``, this is
    ``6 N (1 + 2 n / (block d))``: what attention adds falls with width.

    Parameters
    ----------
    context : float
        ``n``, tokens that each token attends to: the sequence length, or for a video with space
        attention the tokens of a frame. Causal masks are not discounted.
    aspect_ratio : float, default 64
        Width over depth, ``d / l``. Gives ``d`` for a size N.
    depth : float, optional
        A fixed number of layers instead of a fixed aspect ratio.
    block : float, default 12
        Weights of a layer in units of ``d^2``: 12 for attention and a fourfold MLP, 18 with the
        adaptive normalisation of DiT. Embeddings are left out.

    References
    ----------
    DeepSeek, arXiv:2401.02954, eq. 2: ``M = 72 l d^2 + 12 l d s``, which is this with ``block=12``.
    """

    context: float
    aspect_ratio: float = ASPECT_RATIO
    depth: float | None = None
    block: float = 12.0

    def __post_init__(self) -> None:
        _positive(
            context=self.context,
            aspect_ratio=self.aspect_ratio,
            depth=1.0 if self.depth is None else self.depth,
            block=self.block,
        )

    def width(self, N: Any) -> Any:
        """Width ``d`` of a model with N parameters."""
        return _width(as_argument(N), self.block, self.aspect_ratio, self.depth)

    def flops_per_token(self, N: Any) -> Any:
        """``6 N (1 + 2 n / (block d))``."""
        return 6.0 * as_argument(N) * (1.0 + 2.0 * self.context / (self.block * self.width(N)))

    def describe(self) -> str:
        """Say it in one line."""
        return f"C = (6 N + 12 l d n) T, context n = {self.context:g}, {_shape(self)}"


@dataclass(frozen=True)
class CrossAttention(Cost):
    """A diffusion transformer with cross-attention to text: ``C / T = (3/4) N (7 + n / d)``.

    A layer has ``16 d^2`` weights, ``N = 16 l d^2``. Visual tokens do not pass through the keys
    and values of the cross-attention, so ``14 d^2`` of them are used, 28 l d^2 FLOP forward, and
    scores add ``4 l d n``; three times that with the backward pass. Work on the text is left out.
    ``T`` counts visual tokens.

    Parameters
    ----------
    context : float
        ``n``, visual tokens of a sample (`SampleShape.image_tokens`).
    aspect_ratio : float, default 64
        Width over depth, ``d / l``.
    depth : float, optional
        A fixed number of layers instead.

    References
    ----------
    Yin et al. 2024, arXiv:2411.17470.
    """

    context: float
    aspect_ratio: float = ASPECT_RATIO
    depth: float | None = None

    def __post_init__(self) -> None:
        _positive(
            context=self.context,
            aspect_ratio=self.aspect_ratio,
            depth=1.0 if self.depth is None else self.depth,
        )

    def width(self, N: Any) -> Any:
        """Width ``d`` of a model with N parameters."""
        return _width(as_argument(N), 16.0, self.aspect_ratio, self.depth)

    def flops_per_token(self, N: Any) -> Any:
        """``(3/4) N (7 + n / d)``."""
        return 0.75 * as_argument(N) * (7.0 + self.context / self.width(N))

    def describe(self) -> str:
        """Say it in one line."""
        return f"C = (3/4) N (7 + n/d) T, context n = {self.context:g}, {_shape(self)}"


@dataclass(frozen=True)
class GivenFlops(Cost):
    """FLOP per token as the runs themselves state them.

    ``C / (N T)`` is interpolated between the sizes seen, linearly in logs, and constant beyond
    them: an assumption, and one that underrates attention in smaller models.

    Parameters
    ----------
    sizes : tuple of float
        Sizes N in ascending order, parameters.
    per_parameter : tuple of float
        ``C / (N T)`` at each size, FLOP per parameter and token.
    spread : float, default 0.0
        Largest relative deviation of a run from the value of its size: models of one size may
        have different shapes.
    """

    sizes: tuple[float, ...]
    per_parameter: tuple[float, ...]
    spread: float = 0.0

    def __post_init__(self) -> None:
        sizes, ratios = np.asarray(self.sizes, float), np.asarray(self.per_parameter, float)
        good = (
            sizes.ndim == ratios.ndim == 1
            and len(sizes) == len(ratios) > 0
            and np.isfinite([sizes, ratios]).all()
            and (sizes > 0).all()
            and (ratios > 0).all()
            and (np.diff(sizes) > 0).all()
        )
        if not good:
            raise SpecError(
                "`sizes` must ascend, and `per_parameter` be one FLOP / (N T) above zero for each "
                f"of them; got sizes {self.sizes!r} and per_parameter {self.per_parameter!r}."
            )
        object.__setattr__(self, "sizes", tuple(sizes.tolist()))
        object.__setattr__(self, "per_parameter", tuple(ratios.tolist()))

    def flops_per_token(self, N: Any) -> Any:
        """``N`` times the interpolated FLOP per parameter and token."""
        N = as_argument(N)
        log_ratio = np.interp(np.log(N), np.log(self.sizes), np.log(self.per_parameter))
        return N * np.exp(log_ratio)

    def describe(self) -> str:
        """Say it in one line."""
        low, high = min(self.per_parameter), max(self.per_parameter)
        ratio = f"{low:.3g}" if high / low < 1 + ONE_VALUE else f"{low:.3g} to {high:.3g}"
        spread = (
            f"; runs of one size differ by up to {self.spread:.1%}"
            if self.spread > ONE_VALUE
            else ""
        )
        return (
            f"C = c(N) N T as the runs state it, c = {ratio}, interpolated between N = "
            f"{self.sizes[0]:.3g} and {self.sizes[-1]:.3g}, constant beyond{spread}"
        )


def cost_from_runs(runs: xr.Dataset) -> Cost:
    """Give the cost that a table of runs was counted with.

    Parameters
    ----------
    runs : xarray.Dataset
        From `as_runs`, or its `readings`; ``N``, ``T`` and ``flops`` are read.

    Returns
    -------
    Cost
        `SixNT` where the FLOP were computed from N and T, or where those given are the same
        multiple of N T in all runs; otherwise `GivenFlops`, with the median at each size. FLOP
        that `as_runs` filled in with 6 N T count as given.

    Raises
    ------
    SpecError
        If FLOP are given and N or T are not, so that nothing relates them.

    Examples
    --------
    >>> from bayescale import as_runs
    >>> rows = {"N": [1e8, 1e9], "T": [1e9, 1e9], "loss": [3.0, 2.8]}
    >>> columns = {name: name for name in rows}
    >>> cost_from_runs(as_runs(rows, columns)).describe()
    'C = 6 N T'
    """
    if "flops" not in runs or runs.attrs.get("flops_source") == "6NT":
        return SixNT()
    lacking = [f"`{name}`" for name in ("N", "T") if name not in runs]
    if lacking:
        raise SpecError(
            f"The runs have `flops` and no {' and no '.join(lacking)}, so nothing says what a "
            "token costs. Give the cost, for example cost=bayescale.laws.cost.SixNT()."
        )
    N, ratio = _ratios(runs)
    if len(N) == 0:
        return SixNT()
    if ratio.max() / ratio.min() < 1 + ONE_VALUE:
        return SixNT(multiplier=_rounded(float(np.median(ratio))))
    sizes, place = np.unique(N, return_inverse=True)
    medians = np.array([np.median(ratio[place == i]) for i in range(len(sizes))])
    spread = float(np.abs(ratio / medians[place] - 1).max())
    return GivenFlops(tuple(sizes.tolist()), tuple(medians.tolist()), spread)


def gpu_hours(flops: Any, gpu: str | Accelerator, mfu: ArrayLike) -> Any:
    """Accelerator-hours that a number of FLOP takes: ``C / (peak * mfu * 3600)``.

    Parameters
    ----------
    flops : array_like
        Training FLOP.
    gpu : str or Accelerator
        See `accelerator`.
    mfu : array_like
        Share of the dense BF16 peak that training reaches, between 0 and 1: a number, or draws
        from `mfu_draws`. Broadcasts against ``flops``.

    Examples
    --------
    >>> round(float(gpu_hours(1.5e21, "H100", 0.4)))
    1053
    """
    return as_argument(flops) / (accelerator(gpu).peak_flops * _mfu(mfu) * 3600.0)


def flops_of_hours(hours: Any, gpu: str | Accelerator, mfu: ArrayLike) -> Any:
    """FLOP that accelerator-hours buy: the inverse of `gpu_hours`.

    Examples
    --------
    >>> float(flops_of_hours(1.0, "A100", 0.5))
    5.616e+17
    """
    return as_argument(hours) * (accelerator(gpu).peak_flops * _mfu(mfu) * 3600.0)


def mfu_draws(
    mfu: float | tuple[float, float],
    n: int,
    random_seed: int | np.random.Generator | None = None,
) -> np.ndarray:
    """Draw the share of the peak that training reaches, which nobody knows before training.

    Parameters
    ----------
    mfu : float or (low, high)
        A number is taken as known. A pair is a 90 % interval: a logit-normal with its 5 % and 95 %
        quantiles there, so that draws stay between 0 and 1.
    n : int
        How many.
    random_seed : int or Generator, optional

    Returns
    -------
    ndarray, (n,)

    Examples
    --------
    >>> mfu_draws(0.4, 2)
    array([0.4, 0.4])
    >>> [round(float(q), 2) for q in np.quantile(mfu_draws((0.3, 0.5), 9999, 0), [0.05, 0.95])]
    [0.3, 0.5]
    """
    edges = np.asarray(mfu, float)
    if edges.ndim == 0:
        return np.full(n, float(_mfu(edges)))
    if edges.shape != (2,) or not 0 < edges[0] < edges[1] < 1:
        raise SpecError(
            "`mfu` is a share of the peak between 0 and 1, or a 90 % interval (low, high) of it, "
            f"for example (0.3, 0.45); got {mfu!r}."
        )
    low, high = np.log(edges / (1 - edges))
    sd = (high - low) / (2 * 1.6448536269514722)  # the normal 95 % quantile
    logit = (low + high) / 2 + sd * np.random.default_rng(random_seed).standard_normal(n)
    return 1 / (1 + np.exp(-logit))


def _mfu(mfu: Any) -> Any:
    if isinstance(mfu, tuple):
        raise SpecError(f"{mfu!r} is an interval of MFU; draw from it first with mfu_draws.")
    mfu = as_argument(mfu)
    outside = np.ravel(np.asarray(mfu))
    outside = outside[~((outside > 0) & (outside <= 1))]
    if outside.size:
        raise SpecError(
            f"`mfu` is a share of the peak, above 0 and at most 1; got {outside[0]:g}."
            + (f" {outside[0]:g} % is {outside[0] / 100:g}." if 1 < outside[0] <= 100 else "")
        )
    return mfu


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise SpecError(f"`{name}` of a cost must be above zero; got {value!r}.")


def _width(N: Any, block: float, aspect_ratio: float, depth: float | None) -> Any:
    """Solve ``N = block l d^2`` for ``d``, with ``l`` fixed or ``l = d / aspect_ratio``."""
    if depth is not None:
        return (N / (block * depth)) ** 0.5
    return (N * aspect_ratio / block) ** (1 / 3)


def _shape(cost: Attention | CrossAttention) -> str:
    if cost.depth is not None:
        return f"depth l = {cost.depth:g}"
    return f"width d = {cost.aspect_ratio:g} l"


def _ratios(runs: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Size and ``C / (N T)`` of every reading that has all three."""
    import xarray as xr

    N, T, C = (
        np.ravel(np.asarray(each, float))
        for each in xr.broadcast(runs["N"], runs["T"], runs["flops"])
    )
    have = (N > 0) & (T > 0) & (C > 0)  # false where one is missing
    return N[have], C[have] / (N[have] * T[have])


def _rounded(ratio: float) -> float:
    """The whole number, where the ratio is one but for rounding in the table."""
    return float(round(ratio)) if abs(ratio - round(ratio)) < ONE_VALUE * ratio else ratio
