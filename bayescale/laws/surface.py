"""A loss law with hyperparameters: the loss under the best ones, times the price of missing them.

::

    ln L(N, T, h) = ln L*(N, T) + sum over hyperparameters of price_h
    price_h       = p / (1 + p / ceiling_h),    p = curvature_h(N, T) bowl(ln h - ln h*)

A price is a bowl near the optimum and levels off at its ceiling: a run cannot learn less than
nothing, and far up the walls of real sweeps the loss grows ever more slowly. ``L*`` is any law of
the loss. Each optimum ``h* = K N^p T^q`` and each curvature is a power law of the inputs of ``L*``;
the best learning rate also depends on the batch that is really used. A switch is a run attribute of
0 or 1 (muP, a decayed schedule) that shifts the loss, the optima and the growth of the best rate
with size.

A `Surface` puts these together as one `Law`, whose inputs are those of ``L*``, the hyperparameters
and the switches. Parameters are named by hyperparameter: ``batch_...`` for ``batch_size``,
``rate_...`` for ``learning_rate``, and any other by its own name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from bayescale.errors import SpecError
from bayescale.laws.law import Law, Parameter
from bayescale.laws.optimum import (
    bowl,
    log_optimum,
    rate_by_noise_scale,
    rate_by_power,
    slope_by_noise_scale,
)

RateForm = Literal["power", "noise_scale"]
BATCH, RATE = "batch_size", "learning_rate"
SHORT = {BATCH: "batch", RATE: "rate"}
SCALES = ("N", "T", "flops")
"""Inputs of a loss law with which optima and prices may move."""
UNITS = {BATCH: "tokens"}
REFERENCE = "after Yin et al. 2024, arXiv:2411.17470, and Li et al. 2025, arXiv:2503.04715"


@dataclass(frozen=True)
class Surface:
    """``L(N, T, B, eta, ...)`` as mathematics; `law` has it as one law.

    Parameters
    ----------
    loss_law : Law or None
        The loss under the best hyperparameters; None for one constant ``E`` (a single cell).
    hyperparameters : tuple of str
        Columns whose optimum is sought.
    rate_form : {"noise_scale", "power"}, default "noise_scale"
        How the best learning rate follows the batch (`bayescale.laws.optimum`).
    switches : tuple of str, default ()
        Columns of 0 and 1.
    """

    loss_law: Law | None
    hyperparameters: tuple[str, ...] = (BATCH, RATE)
    rate_form: RateForm = "noise_scale"
    switches: tuple[str, ...] = ()

    @property
    def scales(self) -> tuple[str, ...]:
        """Inputs of the loss law with which optima and prices move."""
        return tuple(s for s in SCALES if self.loss_law is not None and s in self.loss_law.inputs)

    @property
    def coupled(self) -> bool:
        """Whether the best rate follows the batch."""
        return BATCH in self.hyperparameters and RATE in self.hyperparameters

    @property
    def ordered(self) -> tuple[str, ...]:
        """Hyperparameters with the batch before the rate that follows it."""
        return tuple(sorted(self.hyperparameters, key=lambda h: h != BATCH))

    @cached_property
    def law(self) -> Law:
        """The surface as a law of all its inputs."""
        base = self.loss_law
        parameters: dict[str, Any] = (
            dict(base.parameters) if base else {"E": Parameter("positive", "nats", "loss", "floor")}
        )
        for name in self.ordered:
            parameters |= self._axis_parameters(name)
        for switch in self.switches:
            parameters |= self._switch_parameters(switch)
        scales = dict(base.scales) if base else {}
        if self.switches:
            scales |= {s: scales.get(s, 1.0) for s in self.scales}
        priced = ", ".join(SHORT.get(h, h) for h in self.ordered)
        formula = base.formula.split("=", 1)[-1].strip() if base else "E"
        return Law(
            name=f"{base.name if base else 'constant'}_with_hyperparameters",
            inputs=(*(base.inputs if base else ()), *self.ordered, *self.switches),
            parameters=parameters,
            mean=self._mean,
            formula=f"ln L = ln[{formula}] + price of missing the best {priced}",
            latex=rf"\ln L = \ln L^\star + \mathrm{{price}}(\mathrm{{{priced}}})",
            scales=scales,
            zero_one=self.switches,
            reference=REFERENCE,
        )

    def parts(self, values: Mapping[str, Any], xp: Any) -> tuple[Any, dict[str, Any]]:
        """Log of the loss under the best hyperparameters, and the price of each, in log loss.

        Parameters
        ----------
        values : mapping
            Inputs, parameters and reference scales (``N0``, ...) by name. Hyperparameters that are
            missing are at their best.
        """
        return self.log_tuned(values, xp), self.prices(values, xp)

    def prices(self, values: Mapping[str, Any], xp: Any) -> dict[str, Any]:
        """The price of each hyperparameter that ``values`` has, in log loss."""
        misses = self.misses(values, xp)
        return {name: self._price(name, z, values, xp) for name, z in misses.items()}

    def log_tuned(self, values: Mapping[str, Any], xp: Any) -> Any:
        """Log of the loss under the best hyperparameters."""
        if self.loss_law is None:
            out = xp.log(values["E"])
        else:
            base = self.loss_law
            needed = {k: values[k] for k in (*base.inputs, *base.parameters)}
            out = xp.log(_evaluated(base, needed, values, xp))
        return out + self.log_switched(values)

    def log_switched(self, values: Mapping[str, Any]) -> Any:
        """What the switches add to log loss."""
        return sum((values[f"{s}_loss"] * values[s] for s in self.switches), 0.0)

    def misses(self, values: Mapping[str, Any], xp: Any) -> dict[str, Any]:
        """``ln h - ln h*`` of every hyperparameter that ``values`` has; the rate's at its batch."""
        out: dict[str, Any] = {}
        for name in self.ordered:
            if name in values:
                best = self.log_best(name, values, xp, batch_miss=out.get(BATCH))
                out[name] = xp.log(values[name]) - best
        return out

    def log_best(
        self, name: str, values: Mapping[str, Any], xp: Any, *, batch_miss: Any = None
    ) -> Any:
        """Log of the best value of a hyperparameter.

        ``batch_miss`` is ``ln(B/B*)`` where the batch is not the best; the best rate follows it.
        ``<name>_offset`` among the values says how far the best of one place lies off the law.
        """
        short = SHORT.get(name, name)
        powers = [(values[f"{short}_{s}"], xp.log(values[s])) for s in self.scales]
        out = log_optimum(xp.log(values[f"{short}_coefficient"]), powers)
        out = out + values.get(f"{short}_offset", 0.0)
        for switch in self.switches:
            out = out + values[f"{switch}_{short}"] * values[switch]
            if name == RATE and "N" in self.scales:
                size = xp.log(values["N"] / values["N0"])
                out = out + values[f"{switch}_rate_N"] * values[switch] * size
        if name == RATE and self.coupled and batch_miss is not None:
            return out + self.followed(batch_miss, values, xp)[0]
        return out

    def followed(self, batch_miss: Any, values: Mapping[str, Any], xp: Any) -> tuple[Any, Any]:
        """Change of ``ln eta*`` with ``ln(B/B*)``, and its derivative."""
        if self.rate_form == "power":
            return rate_by_power(batch_miss, values["rate_B"]), values["rate_B"]
        scale = values["rate_noise_scale"]
        slope = slope_by_noise_scale(batch_miss, scale, xp=xp)
        return rate_by_noise_scale(batch_miss, scale, xp=xp), slope

    def curvature(self, name: str, values: Mapping[str, Any], xp: Any) -> Any:
        """Log loss per squared e-fold of a small miss: the second derivative of the price."""
        short = SHORT.get(name, name)
        powers = [(values[f"{short}_price_{s}"], xp.log(values[s])) for s in self.scales]
        return xp.exp(log_optimum(xp.log(values[f"{short}_price"]), powers))

    def _price(self, name: str, z: Any, values: Mapping[str, Any], xp: Any) -> Any:
        short = SHORT.get(name, name)
        height = self.curvature(name, values, xp)
        price = height * bowl(z, values[f"{short}_rise"], values[f"{short}_fall"], xp=xp)
        return price / (1.0 + price / values[f"{short}_ceiling"])

    def _mean(self, *, xp: Any, **values: Any) -> Any:
        log_tuned, prices = self.parts(values, xp)
        return xp.exp(sum(prices.values(), log_tuned))

    def _axis_parameters(self, name: str) -> dict[str, Parameter]:
        short, scales = SHORT.get(name, name), self.scales
        moves = {s: f"-{short}_{s}" for s in scales}
        drifts = {s: f"-{short}_price_{s}" for s in scales}
        what = name.replace("_", " ")
        out = {
            f"{short}_coefficient": Parameter(
                "positive", UNITS.get(name, ""), f"best {what} before its powers", "optimum",
                moves, of=name,
            ),
            **{
                f"{short}_{s}": Parameter("real", "", f"power of {s} in the best {what}", role)
                for s in scales
                for role in [f"{short}_power" if name in SHORT else "optimum_power"]
            },
        }  # fmt: skip
        if name == RATE and self.coupled:
            if self.rate_form == "power":
                out["rate_B"] = Parameter(
                    "real", "", "power of B/B* in the best learning rate", "batch_coupling"
                )
            else:
                out["rate_noise_scale"] = Parameter(
                    "positive", "", "gradient noise scale B_noise over B*", "noise_scale"
                )
        out[f"{short}_price"] = Parameter(
            "positive", "ln loss per squared e-fold", f"curvature of the price of {what}",
            "price", drifts,
        )  # fmt: skip
        for s in scales:
            out[f"{short}_price_{s}"] = Parameter(
                "real", "", f"power of {s} in that price", "price_power"
            )
        out[f"{short}_rise"] = Parameter("positive", "", f"exponent, {what} too high", "rise")
        out[f"{short}_fall"] = Parameter("positive", "", f"exponent, {what} too low", "fall")
        out[f"{short}_ceiling"] = Parameter(
            "positive", "ln loss", f"most that a miss of {what} can cost", "ceiling"
        )
        return out

    def _switch_parameters(self, switch: str) -> dict[str, Parameter]:
        out = {f"{switch}_loss": Parameter("real", "ln loss", f"effect of {switch}", "switch_loss")}
        for name in self.ordered:
            short = SHORT.get(name, name)
            out[f"{switch}_{short}"] = Parameter(
                "real", "", f"shift of the log of the best {name} by {switch}", "switch_optimum"
            )
        if RATE in self.hyperparameters and "N" in self.scales:
            role = "mup_power" if switch == "mup" else "switch_power"
            meaning = f"change of the power of N in the best rate by {switch}"
            out[f"{switch}_rate_N"] = Parameter("real", "", meaning, role)
        return out

    def check(self) -> None:
        """`SpecError` where hyperparameters, switches and the law's inputs collide."""
        every = (*self.hyperparameters, *self.switches)
        twice = sorted({name for name in every if every.count(name) > 1})
        taken = sorted(set(every) & set(self.loss_law.inputs if self.loss_law else ()))
        if not self.hyperparameters or twice or taken:
            found = (
                "none is named" if not self.hyperparameters
                else f"`{(twice or taken)[0]}` is named twice"
            )  # fmt: skip
            raise SpecError(
                f"A surface needs hyperparameters that the loss law does not have; {found}. For "
                "example hyperparameters=('batch_size', 'learning_rate')."
            )
        if self.rate_form not in ("power", "noise_scale"):
            raise SpecError(f"`rate_form` is 'power' or 'noise_scale'; got {self.rate_form!r}.")


def _evaluated(law: Law, needed: dict[str, Any], values: Mapping[str, Any], xp: Any) -> Any:
    """A law at the reference scales that the whole surface has."""
    at = {f"{s}0": values.get(f"{s}0", scale) for s, scale in law.scales.items()}
    return law.body(xp, **needed, **at)
