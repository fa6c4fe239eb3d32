"""One place of a fitted surface, its size and length given: what each draw holds best there.

Prices are in log loss, so that 0.001 is 0.1 % of loss. What is expected over the posterior is the
mean of the price, which adds up over hyperparameters and which one absurd draw cannot dominate, as
it could the mean of its exponential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bayescale.errors import SpecError
from bayescale.frontier import golden_section
from bayescale.inference.curve import best_hyperparameters, offsets, scales
from bayescale.inference.tree import Fitted
from bayescale.laws.surface import BATCH, RATE, Surface
from bayescale.models.divergence import log_odds, variables
from bayescale.predict import check_points


@dataclass(frozen=True)
class Place:
    """Prices and optima of every draw of a fit at one (N, T).

    Attributes
    ----------
    inputs : dict of float
        Inputs of the loss law, and switches; of arrays ``(sample, 1)`` where draws differ.
    held : dict of float
        Hyperparameters that are given and not sought.
    """

    fitted: Fitted
    family: str | None
    inputs: Mapping[str, Any]
    held: Mapping[str, float] = field(default_factory=dict)

    @property
    def surface(self) -> Surface:
        """The surface of the fit."""
        assert self.fitted.surface is not None
        return self.fitted.surface

    @property
    def free(self) -> tuple[str, ...]:
        """Hyperparameters that are sought, the batch before the rate."""
        return tuple(h for h in self.surface.ordered if h not in self.held)

    @cached_property
    def best(self) -> dict[str, np.ndarray]:
        """The best value of each free hyperparameter, ``(sample,)``, given those that are held."""
        found = best_hyperparameters(self.fitted, {**self.inputs, **self.held}, self.family)
        out = {name: found[name][:, 0] for name in self.free}
        if BATCH in self.free and RATE in self.held:
            out[BATCH] = self._batch_of_rate(out[BATCH])
        return out

    def best_rate(self, batch: np.ndarray) -> np.ndarray:
        """The best rate of each draw at given batches, ``(sample, point)``."""
        at = {**self._inputs, **self.held, BATCH: np.asarray(batch, float)}
        return best_hyperparameters(self.fitted, at, self.family)[RATE]

    def price(self, at: Mapping[str, Any]) -> np.ndarray:
        """Log loss lost at hyperparameters against the best of each draw, ``(sample, point)``.

        Those not given are at their best; a batch alone leaves the rate at the best for this batch.
        Where some are held, the best is the best with those.
        """
        return self._price(at) - self._least

    @cached_property
    def price_of_held(self) -> np.ndarray:
        """Log loss lost to the hyperparameters that are held, ``(sample,)``."""
        return self._least[:, 0]

    @cached_property
    def _least(self) -> np.ndarray:
        n = len(next(iter(self.fitted.parameters(self.family).values())))
        if not self.held:
            return np.zeros((n, 1))
        return self._price({name: x[:, None] for name, x in self.best.items()})

    def _price(self, at: Mapping[str, Any]) -> np.ndarray:
        given = {k: np.atleast_1d(np.asarray(v, float)) for k, v in {**self.held, **at}.items()}
        prices = self.surface.prices({**self._draws, **self._inputs, **given}, np)
        n = len(next(iter(self._draws.values())))
        shape = np.broadcast_shapes((n, 1), *(p.shape for p in prices.values()))
        return np.broadcast_to(sum(prices.values(), np.zeros(1)), shape)

    def expected(self, at: Mapping[str, Any]) -> np.ndarray:
        """Mean of the price over the draws, ``(point,)``."""
        return self.price(at).mean(axis=0)

    @cached_property
    def has_cliff(self) -> bool:
        """Whether runs of this table diverged, so that the fit knows how likely others are to."""
        return "cliff" in self.fitted.tree["posterior"].dataset

    def p_diverge(self, at: Mapping[str, Any]) -> np.ndarray:
        """Probability that a run diverges, over draws and runs, ``(point,)``; 0 without a cliff."""
        given = {k: np.atleast_1d(np.asarray(v, float)) for k, v in {**self.held, **at}.items()}
        if not self.has_cliff:
            return np.zeros(np.broadcast_shapes(*(v.shape for v in given.values())))
        # a cliff is measured from the law's best rate, not from a cell's own
        law = {k: v for k, v in self._draws.items() if not k.endswith("_offset")}
        misses = self.surface.misses({**law, **self._inputs, **given}, np)
        misses.setdefault(BATCH, np.zeros((1, 1)))  # a batch that is not given is the best one
        own = {k: self.fitted.draws(k, self.family)[:, None] for k in variables(self.surface)}
        tried = getattr(self.fitted.density, "tried", None)
        assert tried is not None  # a posterior with a cliff comes from a table with diverged runs
        odds = log_odds(self.surface, misses, self._inputs, own, tried.centre, np)
        return (1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500)))).mean(axis=0)

    def elsewhere(self, inputs: Mapping[str, Any]) -> Place:
        """The same fit at another place, which may differ between draws, ``(sample, 1)``."""
        return Place(self.fitted, self.family, {**self.inputs, **inputs}, self.held)

    @cached_property
    def _draws(self) -> dict[str, Any]:
        own = {k: v[:, None] for k, v in self.fitted.parameters(self.family).items()}
        return {**own, **scales(self.fitted), **offsets(self.fitted, self.inputs, self.family)}

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        return {k: np.asarray(v, float) for k, v in self.inputs.items()}

    def _batch_of_rate(self, start: np.ndarray) -> np.ndarray:
        """The best batch of each draw at the rate that is held, ``(sample,)``."""
        middle = np.log(start)[:, None]
        return np.exp(
            golden_section(lambda x: self._price({BATCH: np.exp(x)}), middle - 8, middle + 8)
        )[:, 0]


def place_of(
    fitted: Fitted,
    family: str | None,
    inputs: Mapping[str, float],
    what: str = "bs.tune",
) -> Place:
    """A checked `Place` from inputs and held hyperparameters by name."""
    surface = fitted.surface
    if surface is None:
        raise SpecError(
            f"{what} needs a fit that knows hyperparameters; this one is of the law "
            f"`{fitted.law.name}` of {', '.join(fitted.law.inputs)}. Fit "
            "bs.HyperparameterModel(...) to runs with batch_size and learning_rate."
        )
    family = fitted.asked_family(family)
    base = surface.loss_law.inputs if surface.loss_law is not None else ()
    given = dict(inputs)
    if "flops" in base and "flops" not in given and {"N", "T"} <= set(given):
        given["flops"] = 6.0 * given["N"] * given["T"]
    needed = (*base, *surface.switches)
    missing = [name for name in needed if name not in given]
    if missing:
        raise SpecError(
            f"The best hyperparameters of this fit depend on {', '.join(needed)}; say where: "
            f"{', '.join(f'{m}=...' for m in missing)}."
        )
    unknown = sorted(set(given) - set(needed) - set(surface.hyperparameters) - {"N", "T", "flops"})
    if unknown:
        raise SpecError(
            f"This fit has no input `{unknown[0]}`; it has "
            f"{', '.join((*needed, *surface.hyperparameters))}."
        )
    for name, value in given.items():
        if name not in surface.switches:
            check_points(name, value)
        elif value not in (0, 1):
            raise SpecError(f"The switch `{name}` is 0 or 1; got {value!r}.")
    held = {k: float(given[k]) for k in surface.hyperparameters if k in given}
    place = Place(fitted, family, {k: float(given[k]) for k in needed}, held)
    if not place.free:
        raise SpecError(
            f"Nothing is left to tune: {', '.join(held)} are all given. Leave out what is sought; "
            "bs.predict says the loss at given hyperparameters."
        )
    return place
