"""Which model a command fits: options of the law, the hyperparameters, families and noise."""

from __future__ import annotations

import argparse
from typing import Any

from bayescale.cli import values
from bayescale.errors import SpecError

BATCH_AND_RATE = "batch_size,learning_rate"
ONE_CELL = "none"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what is fitted."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--law", metavar="NAME",
        help="of the loss; see `bayescale laws` (default additive; interacting with "
        "--hyperparameters)",
    )  # fmt: skip
    families = model.add_argument(
        "--family", choices=("partial", "separate"),
        help="a law for each family, exponents pooled or nothing shared (default one law for all)",
    )  # fmt: skip
    families.not_a_choice = (  # type: ignore[attr-defined]
        " The column that holds the family goes into --columns family=COLUMN."
    )
    model.add_argument(
        "--noise", choices=("student", "normal"),
        help="of the log loss; student has heavy tails (default student)",
    )  # fmt: skip
    model.add_argument(
        "--undertuned", action="store_true",
        help="some runs had poor hyperparameters and lie above the law",
    )  # fmt: skip
    model.add_argument(
        "--misfit", action="store_true",
        help="add what the law misses, smooth in the inputs: forecasts that hold more often, at "
        "several times the cost",
    )  # fmt: skip
    sweep = parser.add_argument_group("model of a sweep over hyperparameters")
    sweep.add_argument(
        "--hyperparameters", type=values.names, metavar="NAME,NAME,...",
        help=f"columns whose best values are sought: {BATCH_AND_RATE}, and others by name; then "
        "every run counts, and --law none is for runs of one size and length",
    )  # fmt: skip
    sweep.add_argument(
        "--rate-form", choices=("power", "noise_scale"),
        help="how the best rate follows the batch: a power of it, or 1 / (1 + noise/batch) "
        "(default noise_scale)",
    )  # fmt: skip
    sweep.add_argument(
        "--switches", type=values.names, metavar="NAME,...",
        help="columns of 0 and 1 that shift the loss and the best values, such as mup",
    )  # fmt: skip
    sweep.add_argument(
        "--truncated-at", type=values.number, metavar="L",
        help="the table has no runs above this loss: they were dropped as diverged",
    )  # fmt: skip
    sweep.add_argument(
        "--trust-units", action="store_true", help="take batch sizes and rates as they are"
    )


def model_of(args: argparse.Namespace) -> Any:
    """The model that the options describe."""
    return _sweep_model(args) if args.hyperparameters else _loss_model(args)


def _loss_model(args: argparse.Namespace) -> Any:
    from bayescale.models.loss import LossModel
    from bayescale.models.noise import Noise

    for option, given in (
        ("--rate-form", args.rate_form), ("--switches", args.switches),
        ("--truncated-at", args.truncated_at), ("--trust-units", args.trust_units or None),
    ):  # fmt: skip
        if given is not None:
            raise SpecError(
                f"`{option}` is about a sweep over hyperparameters; say which ones: "
                f"--hyperparameters {BATCH_AND_RATE}."
            )
    noise = Noise(tail=args.noise or "student", undertuned=args.undertuned)
    if args.misfit and args.undertuned:
        raise SpecError(
            "`--misfit` and `--undertuned` both explain runs off the law, and a table does not "
            "tell them apart; leave one of the two out."
        )
    misfit = "auto" if args.misfit else "none"
    return LossModel(args.law or "additive", family=args.family, noise=noise, misfit=misfit)


def _sweep_model(args: argparse.Namespace) -> Any:
    from bayescale.models.hyperparameters import HyperparameterModel

    if args.misfit:
        raise SpecError(
            "`--misfit` is for a law without hyperparameters; a model with --hyperparameters has "
            "it already. Leave it out."
        )
    if args.undertuned:
        raise SpecError(
            "`--undertuned` is for runs whose hyperparameters are not known. With "
            "--hyperparameters what a badly tuned run lost is modelled; leave one of the two out."
        )
    if args.noise == "normal":
        raise SpecError(
            "A model with --hyperparameters has heavy-tailed noise that grows with what a run "
            "lost; `--noise normal` cannot replace it. Leave it out."
        )
    law = args.law or "interacting"
    return HyperparameterModel(
        loss_law=None if law == ONE_CELL else law,
        hyperparameters=args.hyperparameters,
        rate_form=args.rate_form or "noise_scale",
        switches=args.switches or (),
        family=args.family,
        truncated_at=args.truncated_at,
        trust_units=args.trust_units,
    )
