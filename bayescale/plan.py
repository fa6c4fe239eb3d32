"""Decisions under a budget, with their regret: how large, how long, what loss, what it costs.

The plan is the size with the least *expected* loss over the posterior. Its regret is what it
loses, draw by draw, against the size that would have been best had that draw been the truth; the
near-optimal region is every size that costs less than a stated share of loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.answers import Answer, flops, interval, percent, si
from bayescale.errors import DataError, ExtrapolationWarning, SpecError
from bayescale.frontier import Spending, spending
from bayescale.laws.cost import Cost, accelerator, flops_of_hours, gpu_hours, mfu_draws
from bayescale.predict import FAR_DECADES, check_points, decades_beyond_flops, noise

GPU = "h100"
MFU = (0.30, 0.50)  # 90 % interval where the user says nothing: well-run large jobs reach 38-45 %
SEQUENCE = 2048.0  # tokens of a sample where the runs do not say; an assumption, printed as one
FLAT = 0.002  # the near-optimal region costs less than this share of loss
CURVE = 161  # sizes on the loss curve of a plan


@dataclass(frozen=True, repr=False)
class Plan(Answer):
    """A recommended run, with what is known about it.

    Attributes
    ----------
    draws : xarray.Dataset, (sample,)
        ``N``, ``T``, ``loss`` (best of each draw), ``budget_flops``, and for the recommended run
        ``tokens_planned``, ``loss_planned`` (mean curve), ``loss_run`` (a new run), ``regret``
        (share of loss), ``gpu_hours``, ``samples`` and, with a price, ``money``.
    recommended : dict
        ``N``, ``T``, ``budget_flops``.
    curve : xarray.Dataset, (size,)
        Expected loss and its interval against N on the budget, and expected share lost.
    """

    draws: xr.Dataset
    recommended: dict[str, float]
    curve: xr.Dataset
    asked: dict[str, Any]
    decades_beyond: float
    ci_prob: float
    warning: str = ""
    fitted: Any = None

    @property
    def data(self) -> xr.Dataset:
        """Draws and the loss curve as one Dataset."""
        return xr.merge([self.draws, self.curve])

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a quantity: the plan's value, posterior median, lower, upper, unit, meaning."""
        rows = []
        for name, unit, column, planned, meaning in self._rows():
            x = self.draws[column].values
            low, high = interval(x, self.ci_prob)
            value = float(np.nanmedian(x)) if planned is None else planned
            rows.append(
                (name, value, float(np.nanmedian(x)), float(low), float(high), unit, meaning)
            )
        names = ["quantity", "plan", "median", "lower", "upper", "unit", "meaning"]
        return pd.DataFrame(rows, columns=names).set_index("quantity")

    def _rows(self) -> list[tuple[str, str, str, float | None, str]]:
        r, best = self.recommended, "the best under each posterior draw"
        chosen = self.asked["chosen"]
        hours = f"{self.asked['gpu']} at MFU {_mfu_text(self.asked['mfu'])}"
        rows: list[tuple[str, str, str, float | None, str]] = [
            (
                "N",
                "parameters",
                "N",
                r["N"],
                f"model size; {best}" if chosen else "model size, given",
            ),
            ("T", "tokens", "T", r["T"], "training tokens"),
            ("tokens_per_parameter", "tokens", "tokens_per_parameter", r["T"] / r["N"], "T / N"),
            ("compute", "FLOP", "budget_flops", r["budget_flops"], self.asked["compute_text"]),
            ("gpu_hours", "GPU-hours", "gpu_hours", None, hours),
            ("samples", "samples", "samples", None, self.asked["samples_text"]),
        ]
        if "money" in self.draws:
            rows.append(
                ("money", "currency", "money", None, f"at {self.asked['price']:g} per GPU-hour")
            )
        rows += [
            ("loss", "loss", "loss_planned", None, "mean curve at the plan"),
            ("loss_of_run", "loss", "loss_run", None, "a new run of the plan, with its noise"),
        ]
        if chosen:
            rows.append(("regret", "share of loss", "regret", None, "loss above the best size"))
        return rows

    @cached_property
    def near_optimal(self) -> dict[str, float]:
        """Sizes that cost less than 0.2 % of expected loss: ``low``, ``high``, ``factor``."""
        size, lost = self.curve["size"].values, self.curve["expected_loss_share"].values
        good = size[lost <= FLAT]
        if not self.asked["chosen"] or not len(good):
            return {"low": self.recommended["N"], "high": self.recommended["N"], "factor": 1.0}
        low, high = min(good.min(), self.recommended["N"]), max(good.max(), self.recommended["N"])
        factor = float(np.sqrt(high / low))
        return {"low": float(low), "high": float(high), "factor": factor}

    @property
    def text(self) -> str:
        """The plan in sentences."""
        t, r, p = self.table, self.recommended, percent(self.ci_prob)
        lines = [self.warning] if self.warning else []
        lines.append(self.asked["question"])
        lines.append(
            f"Train {si(r['N'])} parameters on {si(r['T'])} tokens: {r['T'] / r['N']:.3g} tokens "
            f"per parameter{self._range('tokens_per_parameter')}."
        )
        if self.asked["chosen"]:
            lines.append(
                f"The best size is {si(t.lower['N'])} to {si(t.upper['N'])} parameters ({p} "
                f"interval); choosing {si(r['N'])} costs "
                f"{percent(float(np.mean(self.draws['regret'].values)))} of loss on average, "
                "against knowing the best."
            )
        if self.asked["chosen"] and not self.asked["sizes"]:
            n = self.near_optimal
            lines.append(
                f"Any size from {si(n['low'])} to {si(n['high'])}, a factor {n['factor']:.2g} "
                f"either way, costs less than {percent(FLAT)} of expected loss."
            )
        lines.append(
            f"Loss: {t.plan['loss']:.4f}{self._range('loss', brackets=False)}; a single run "
            f"{t.lower['loss_of_run']:.4f} to {t.upper['loss_of_run']:.4f}."
        )
        compute = flops(r["budget_flops"])
        if self._uncertain("compute"):
            compute += f" ({p} interval {flops(t.lower['compute'])} to {flops(t.upper['compute'])})"
        lines.append(
            f"Compute: {compute}, {self.asked['compute_text']}. Training takes "
            f"{si(t.plan['gpu_hours'])} GPU-hours{self._range('gpu_hours')} on "
            f"{t.meaning['gpu_hours']}"
            + (
                f", {si(t.plan['money'])} in money{self._range('money')}"
                if "money" in t.index
                else ""
            )
            + f", and {si(t.plan['samples'])} samples {self.asked['samples_text']}."
        )
        if "probability" in self.asked:
            lines.append(self.asked["probability"])
        far = self.decades_beyond
        lines.append(
            f"This lies {far:.1f} decades of compute beyond the largest run: the intervals hold if "
            "the law does."
            if far > 0.05
            else "This lies inside the compute of the data."
        )
        return "\n".join(lines)

    def _uncertain(self, quantity: str) -> bool:
        """Whether a quantity is uncertain at all."""
        low, high = self.table.lower[quantity], self.table.upper[quantity]
        return bool(np.isfinite(low) and high / low > 1 + 1e-9)

    def _range(self, quantity: str, *, brackets: bool = True) -> str:
        if not self._uncertain(quantity):
            return ""
        low, high = self.table.lower[quantity], self.table.upper[quantity]
        form = si if not quantity.startswith("loss") else "{:.4f}".format
        inside = f"{percent(self.ci_prob)} interval {form(low)} to {form(high)}"
        return f" ({inside})" if brackets else f", {inside}"

    def plot(self, **kwargs: Any) -> Any:
        """Loss against size on the budget, with the near-optimal region."""
        from bayescale import plots

        return plots.plan(self, **kwargs)


def plan(
    fit: xr.DataTree,
    *,
    budget_flops: float | None = None,
    budget_gpu_hours: float | None = None,
    target_loss: float | None = None,
    fixed: Mapping[str, float] | None = None,
    sizes: Sequence[float] | None = None,
    lifetime_tokens: float = 0.0,
    gpu: str = GPU,
    mfu: float | tuple[float, float] = MFU,
    price_per_gpu_hour: float | None = None,
    tokens_per_sample: float | None = None,
    cost: Cost | None = None,
    family: str | None = None,
    ci_prob: float = 0.9,
    random_seed: int = 0,
) -> Plan:
    """The run to buy, for a budget or for a target, with its uncertainty and regret.

    Say exactly one of ``budget_flops``, ``budget_gpu_hours``, ``target_loss``, or fix both N and T.

    Parameters
    ----------
    fit : xarray.DataTree
    budget_flops : float, optional
        Compute for training, and for serving where ``lifetime_tokens`` is given; FLOP.
    budget_gpu_hours : float, optional
        The same in hours of ``gpu``; the uncertainty of ``mfu`` is carried through.
    target_loss : float, optional
        Loss of the mean curve to reach; the least budget is part of the answer.
    fixed : mapping, optional
        ``{"N": 7e8}``, ``{"T": 1e11}`` or both, and values of further inputs of the law.
    sizes : sequence of float, optional
        Real model sizes to choose from.
    lifetime_tokens : float, default 0
        Tokens that the model will serve, at 2 N FLOP each, paid from the same budget.
    gpu : str, default "h100"
        Accelerator for GPU-hours (`bayescale.laws.cost.ACCELERATORS`).
    mfu : float or (low, high), default (0.30, 0.50)
        Model FLOP utilisation; a pair is a 90 % interval.
    price_per_gpu_hour : float, optional
        Adds money.
    tokens_per_sample : float, optional
        Tokens of an image, clip or sequence. Default: from the runs' own ``samples``, else 2,048.
    cost : Cost, optional
        FLOP of a run; default from the runs' own column, else 6NT.
    family : str, optional
        Where the fit tells families apart.
    ci_prob : float, default 0.9
    random_seed : int, default 0

    Returns
    -------
    Plan
        ``.draws`` (sample): N, T, loss and more; ``.table``; ``.text``; ``.data``; ``.plot()``.

    Raises
    ------
    SpecError, DataError
        Nothing or too much asked, no law of N and T, a target that cannot be reached.
    """
    fixed = {k: float(check_points(f"fixed {k}", v)[0]) for k, v in (fixed or {}).items()}
    size, tokens = fixed.pop("N", None), fixed.pop("T", None)
    _check_question(budget_flops, budget_gpu_hours, target_loss, size, tokens, sizes)
    spend = spending(fit, family=family, cost=cost, lifetime_tokens=lifetime_tokens, others=fixed)
    utilisation = mfu_draws(mfu, spend.n_samples, random_seed)
    asked: dict[str, Any] = {
        "gpu": accelerator(gpu).name, "mfu": mfu, "price": price_per_gpu_hour,
        "chosen": size is None and tokens is None, "sizes": list(sizes or []),
        "family": spend.family,
    }  # fmt: skip

    reached = np.ones(spend.n_samples, bool)
    if target_loss is not None:
        need = spend.budget_for(float(check_points("target_loss", target_loss)[0]), size)
        reached = np.isfinite(need)
        if reached.mean() < 0.5:
            raise DataError(_unreachable(target_loss, spend, reached.mean()))
        planned = float(np.quantile(np.where(reached, need, np.inf), 0.5, method="lower"))
        budget = np.where(reached, need, np.nan)
        asked["question"] = f"Least compute for a loss of {target_loss:g}:"
        asked["probability"] = (
            f"The law reaches {target_loss:g} in {percent(float(reached.mean()))} of the posterior "
            "draws; the median budget reaches it with 50 % probability. For "
            f"{percent(ci_prob)} probability spend "
            f"{_or_more(np.quantile(np.where(reached, need, np.inf), ci_prob, method='lower'))}."
        )
        asked["compute_text"] = "least budget that reaches the target"
    elif budget_flops is not None:
        planned = float(check_points("budget_flops", budget_flops)[0])
        budget = np.full(spend.n_samples, planned)
        asked["question"] = f"For a budget of {flops(planned)}:"
        asked["compute_text"] = "the whole budget"
    elif budget_gpu_hours is not None:
        hours = float(check_points("budget_gpu_hours", budget_gpu_hours)[0])
        budget = flops_of_hours(hours, gpu, utilisation)
        planned = float(np.median(budget))
        asked["question"] = f"For a budget of {si(hours)} GPU-hours ({asked['gpu']}):"
        asked["compute_text"] = "what those hours buy"
    else:
        planned = float(spend.cost.flops(size, tokens) + 2.0 * size * lifetime_tokens)  # type: ignore[operator]
        budget = np.full(spend.n_samples, planned)
        asked["question"] = "For the given size and tokens:"
        asked["compute_text"] = "cost of the given run"
    if lifetime_tokens:
        asked["compute_text"] += f", serving {si(lifetime_tokens)} tokens included"
        asked["question"] = asked["question"][:-1] + f", serving {si(lifetime_tokens)} tokens:"

    usable = np.where(np.isfinite(budget), budget, planned)
    if target_loss is not None:  # the plan spends the median budget, whatever each draw needs
        spent = np.full(spend.n_samples, planned)
    else:
        spent = usable
    if tokens is not None and size is None:
        size = _size_for_tokens(spend, planned, tokens)
    best = _best(spend, usable, size, tokens, asked["sizes"])
    chosen_size = size if size is not None else _least_expected(spend, spent, asked["sizes"])
    at = np.full((spend.n_samples, 1), chosen_size)
    tokens_at = (
        np.full(spend.n_samples, tokens) if tokens is not None and size is not None
        else spend.tokens(at, spent[:, None])[:, 0]
    )  # fmt: skip
    tokens_planned = float(np.nanmedian(tokens_at))
    if not np.isfinite(tokens_planned):
        raise DataError(
            f"Serving {si(lifetime_tokens)} tokens with {si(chosen_size)} parameters alone exceeds "
            f"the budget of {flops(planned)}."
        )
    loss_planned = spend.loss(at, tokens_at[:, None])[:, 0]
    draws = _draws(spend, best, budget, tokens_at, loss_planned, chosen_size, utilisation, reached,
                   gpu, price_per_gpu_hour, tokens_per_sample, random_seed, spent, asked,
                   given_tokens=tokens)  # fmt: skip
    far = decades_beyond_flops(
        spend.fitted, float(spend.cost.flops(chosen_size, tokens_planned)), spend.family
    )
    if far > FAR_DECADES:
        warnings.warn(
            f"The plan lies {far:.1f} decades of compute beyond the data; the intervals hold if "
            "the law does.",
            ExtrapolationWarning,
            stacklevel=2,
        )
    recommended = {"N": float(chosen_size), "T": tokens_planned, "budget_flops": planned}
    return Plan(
        draws, recommended, _curve(spend, spent, chosen_size, ci_prob), asked, far, ci_prob,
        spend.fitted.warning, spend.fitted,
    )  # fmt: skip


def _check_question(
    budget_flops: Any, budget_gpu_hours: Any, target_loss: Any, size: Any, tokens: Any, sizes: Any
) -> None:
    given = [
        name
        for name, value in (
            ("budget_flops", budget_flops), ("budget_gpu_hours", budget_gpu_hours),
            ("target_loss", target_loss),
        )
        if value is not None
    ]  # fmt: skip
    both = size is not None and tokens is not None
    if len(given) > 1 or (both and given):
        what = " and ".join(f"`{g}`" for g in given)
        raise SpecError(
            f"One question at a time: got {what}{' with N and T fixed' if both else ''}."
        )
    if not given and not both:
        raise SpecError(
            "A plan needs a budget or a target: budget_flops=, budget_gpu_hours= (with gpu=, "
            "mfu=), target_loss=, or fixed={'N': ..., 'T': ...}."
        )
    if target_loss is not None and tokens is not None:
        raise SpecError("With `target_loss`, fix N or nothing; T follows from the target.")
    if sizes is not None and size is not None:
        raise SpecError("Give `sizes` to choose from, or fixed={'N': ...}, not both.")
    if sizes is not None and not len(sizes):
        raise SpecError("`sizes` is empty; give the model sizes to choose from.")


def _best(
    spend: Spending,
    budget: np.ndarray,
    size: float | None,
    tokens: float | None,
    sizes: list[float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best size, tokens and loss of each draw, ``(sample,)`` each."""
    if size is not None:
        at = np.full((spend.n_samples, 1), size)
        length = spend.tokens(at, budget[:, None]) if tokens is None else np.full(at.shape, tokens)
        return at[:, 0], length[:, 0], spend.loss(at, length)[:, 0]
    if sizes:
        grid = check_points("sizes", sizes)[None, :]
        loss = spend.loss_on_budget(grid, budget[:, None])
        at = np.argmin(loss, axis=1)
        rows = np.arange(len(at))
        best = grid[0, at]
        return best, spend.tokens(best[:, None], budget[:, None])[:, 0], loss[rows, at]
    *found, edge = spend.best(budget)
    if edge > 0.5:
        raise DataError(
            f"The law `{spend.fitted.law.name}` has no best size at this budget within 1e-3 to 1e6 "
            f"tokens per parameter ({percent(edge)} of the draws end at the edge). The data do not "
            "tell size from data: see check(fit); or fix N, fixed={'N': ...}."
        )
    return found[0], found[1], found[2]


def _least_expected(spend: Spending, budget: np.ndarray, sizes: list[float]) -> float:
    """The size with the least expected loss over the posterior."""
    if sizes:
        grid = check_points("sizes", sizes)
        expected = spend.loss_on_budget(grid[None, :], budget[:, None]).mean(axis=0)
        return float(grid[np.argmin(expected)])
    low, high = (np.median(x) for x in spend.size_range(budget))
    log_size = np.linspace(low, high, 4 * CURVE)
    expected = _expected_loss(spend, log_size, budget)
    i = int(np.clip(np.argmin(expected), 1, len(log_size) - 2))
    x, y = log_size[i - 1 : i + 2], expected[i - 1 : i + 2]
    if not np.isfinite(y).all():
        return float(np.exp(x[1]))
    bend = y[0] - 2 * y[1] + y[2]
    return float(np.exp(x[1] + (0.5 * (y[0] - y[2]) / bend * (x[1] - x[0]) if bend > 0 else 0.0)))


def _expected_loss(spend: Spending, log_size: np.ndarray, budget: np.ndarray) -> np.ndarray:
    parts = np.array_split(log_size, max(1, len(log_size) // 40))
    return np.concatenate(
        [spend.loss_on_budget(np.exp(p)[None, :], budget[:, None]).mean(axis=0) for p in parts]
    )


def _size_for_tokens(spend: Spending, budget: float, tokens: float) -> float:
    """The size whose training on ``tokens`` takes the budget."""
    log_size = np.linspace(np.log(1.0), np.log(budget), 4001)
    length = spend.tokens(np.exp(log_size), np.array(budget))
    length = np.where(np.isfinite(length), length, 0.0)
    return float(np.exp(np.interp(-np.log(tokens), -np.log(np.maximum(length, 1e-9)), log_size)))


def _draws(
    spend: Spending, best: tuple, budget: np.ndarray, tokens: np.ndarray, loss: np.ndarray,
    size: float, utilisation: np.ndarray, reached: np.ndarray, gpu: str, price: float | None,
    per_sample: float | None, random_seed: int, spent: np.ndarray, asked: dict[str, Any],
    *, given_tokens: float | None,
) -> xr.Dataset:  # fmt: skip
    """All draws of a plan as one Dataset; draws that cannot reach a target are NaN."""
    per_sample, asked["samples_text"] = _per_sample(spend, per_sample)
    best_at_spent = (
        best[2]
        if np.array_equal(budget, spent)
        else _best(
            spend, spent, size if not asked["chosen"] else None, given_tokens, asked["sizes"]
        )[2]
    )
    training = spend.cost.flops(size, tokens)
    hours = gpu_hours(np.where(reached, training, np.nan), gpu, utilisation)
    points = {"N": np.array([size]), "T": np.array([np.nanmedian(tokens)])}
    points |= {k: np.array([v]) for k, v in (spend.others or {}).items()}
    points["flops"] = np.array([float(np.nanmedian(training))])
    family = np.array([spend.family or spend.fitted.families[0]], dtype=object)
    error = noise(spend.fitted, points, family, random_seed)[:, 0]
    columns = {
        "N": np.where(reached, best[0], np.nan),
        "T": np.where(reached, best[1], np.nan),
        "loss": best[2],
        "tokens_per_parameter": np.where(reached, best[1] / best[0], np.nan),
        "budget_flops": budget,
        "tokens_planned": tokens,
        "loss_planned": loss,
        "loss_run": loss * np.exp(error),
        "regret": np.maximum(loss / best_at_spent - 1.0, 0.0),
        "gpu_hours": hours,
        "samples": tokens / per_sample,
    }
    if price is not None:
        columns["money"] = hours * float(check_points("price_per_gpu_hour", price)[0])
    return xr.Dataset({k: ("sample", np.asarray(v, float)) for k, v in columns.items()})


def _per_sample(spend: Spending, given: float | None) -> tuple[float, str]:
    if given is not None:
        value = float(check_points("tokens_per_sample", given)[0])
        return value, f"of {value:,.0f} tokens"
    runs = spend.fitted.runs
    if "samples" in runs:
        ratio = np.asarray((runs["T"] / runs["samples"]).values, float)
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        if len(ratio):
            value = float(np.median(ratio))
            return value, f"of {value:,.0f} tokens, as in the runs"
    return SEQUENCE, f"of {SEQUENCE:,.0f} tokens, assumed"


def _curve(spend: Spending, budget: np.ndarray, size: float, ci_prob: float) -> xr.Dataset:
    """Loss against size on the budget, three decades around the plan."""
    sizes = np.geomspace(size / 30, size * 30, CURVE)
    loss = np.concatenate(
        [spend.loss_on_budget(p[None, :], budget[:, None]) for p in np.array_split(sizes, 5)],
        axis=1,
    )
    here = spend.loss_on_budget(np.array([[size]]), budget[:, None])
    finite = np.isfinite(loss).all(axis=0)  # beyond, some draw has no tokens left to train on
    loss = np.where(finite, loss, 1.0)
    low, high = (np.where(finite, x, np.nan) for x in interval(loss, ci_prob))
    mean = np.where(finite, loss.mean(axis=0), np.nan)
    share = np.where(finite, (loss / here - 1.0).mean(axis=0), np.nan)
    columns = {"mean": mean, "lower": low, "upper": high, "expected_loss_share": share}
    return xr.Dataset({k: ("size", v) for k, v in columns.items()}, {"size": sizes})


def _unreachable(target: float, spend: Spending, share: float) -> str:
    floor = spend.fitted.draws("E", spend.family) if "E" in spend.fitted.law.parameters else None
    why = (
        f" The floor E is {np.median(floor):.4g} ({np.quantile(floor, 0.05):.4g} to "
        f"{np.quantile(floor, 0.95):.4g})."
        if floor is not None
        else ""
    )
    return f"A loss of {target:g} is reached in only {percent(share)} of the posterior draws.{why}"


def _or_more(value: float) -> str:
    return (
        flops(value) if np.isfinite(value) else "more than can be said: some draws never reach it"
    )


def _mfu_text(mfu: float | tuple[float, float]) -> str:
    return f"{mfu:g}" if isinstance(mfu, (int, float)) else f"{mfu[0]:g} to {mfu[1]:g}"
