"""Options about how runs are executed, shared by ``run`` and ``sweep``."""

from __future__ import annotations

import argparse
from typing import Any

from training.config import Execution
from training.errors import SpecError


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Options that change no run's id."""
    group = parser.add_argument_group("execution (changes no run's id)")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default auto)")
    group.add_argument(
        "--precision", choices=("auto", "float32", "tf32", "bf16"), default="auto",
        help="auto: bf16 products on a GPU, float32 on a CPU",
    )  # fmt: skip
    group.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    group.add_argument(
        "--cuda-graph", action="store_true",
        help="record a step once and replay it: what small models on a GPU want",
    )  # fmt: skip
    group.add_argument("--micro-batch", type=int, metavar="B", help="samples at a time")
    group.add_argument(
        "--parallel", choices=("ddp", "fsdp"), default="ddp",
        help="under torchrun: every device holds the weights, or a shard of them",
    )  # fmt: skip
    group.add_argument("--exact", action="store_true", help="deterministic kernels")
    group.add_argument("--threads", type=int, help="of the CPU for each run")
    group.add_argument("--pool", metavar="DIR", help="where generated samples are kept")


def execution_of(args: argparse.Namespace) -> Execution:
    """The options as the engine wants them."""
    for name in ("micro_batch", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise SpecError(f"--{name.replace('_', '-')} is {value}; at least 1 was expected.")
    return Execution(
        device=args.device,
        precision=args.precision,
        compile=args.compile,
        cuda_graph=args.cuda_graph,
        micro_batch=args.micro_batch,
        parallel=args.parallel,
        exact=args.exact,
        threads=args.threads,
        pool=args.pool,
    )


def words_of(args: argparse.Namespace) -> list[str]:
    """The options again, as words of a command line; those at their default are left out."""
    parser = argparse.ArgumentParser()
    add_execution(parser)
    words: list[str] = []
    for name, default in vars(parser.parse_args([])).items():
        value, option = getattr(args, name), f"--{name.replace('_', '-')}"
        if value != default:
            words += [option] if value is True else [option, str(value)]
    return words


def overrides_of(pairs: list[str] | None) -> dict[str, Any]:
    """``["learning_rate=1e-3"]`` as fields; values are read as TOML, else as text."""
    found: dict[str, Any] = {}
    for pair in pairs or []:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise SpecError(f"`--set {pair}`: write `--set field=value`.")
        found[name.strip()] = value_of(value.strip())
    return found


def value_of(text: str) -> Any:
    """A number, flag or list where `text` is one in TOML; text otherwise."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
