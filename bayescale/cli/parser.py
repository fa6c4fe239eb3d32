"""Words to arguments: help that reads well, and near misses where a word is not known."""

from __future__ import annotations

import argparse
import difflib
import shutil
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from bayescale.cli.output import FORMATS, Output

QUICK_START = """\
From a table to a plan, with public runs:
  bayescale data chinchilla --output runs.csv
  bayescale fit runs.csv -o fit.nc
  bayescale check fit.nc
  bayescale predict fit.nc --at N=70B,T=1.4T
  bayescale plan fit.nc --budget-flops 5.76e23

Your own table: say which column is what.
  bayescale import mine.csv --columns N=params,T=tokens,loss=val_loss -o runs.nc

A sweep over batch size and learning rate (columns of these names):
  bayescale fit sweep.csv --hyperparameters batch_size,learning_rate -o fit.nc
  bayescale tune fit.nc --N 1B --T 100B

N is parameters, T is training tokens, C is compute in FLOP. Numbers may be
written 7e10 or 70B. `bayescale VERB --help` has the options and an example."""

EXIT_CODES = "exit codes: 0 done; 1 the fit failed its checks; 2 wrong request or data"


class Usage(Exception):
    """The words make no sense; the message is ready to be shown."""


@dataclass(frozen=True)
class Verb:
    """One verb.

    Parameters
    ----------
    name, purpose : str
        The word, and one line on what it gives.
    usage : str
        What follows the word.
    example : str
        A command that works, or several lines of them.
    arguments : callable
        Adds its options to a parser.
    run : callable
        Does it, and returns the exit code.
    """

    name: str
    purpose: str
    usage: str
    example: str
    arguments: Callable[[argparse.ArgumentParser], Any]
    run: Callable[[argparse.Namespace, Output], int]


def parse(verbs: Sequence[Verb], words: Sequence[str]) -> tuple[Verb, argparse.Namespace]:
    """The verb and its arguments.

    Raises
    ------
    Usage
        If the words cannot be understood.
    SystemExit
        After ``--help`` or ``--version``.
    """
    by_name = {verb.name: verb for verb in verbs}
    if not words:
        raise Usage(_front_page(verbs))
    word = words[0]
    if word in ("-h", "--help", "help") and len(words) == 1:
        print(_front_page(verbs))
        raise SystemExit(0)
    if word == "help":
        return parse(verbs, [words[1], "--help"])
    if word == "--version":
        from bayescale import __version__

        print(f"bayescale {__version__}")
        raise SystemExit(0)
    if word not in by_name:
        what = "option" if word.startswith("-") else "verb"
        raise Usage(f"error: there is no {what} `{word}`.{_hint(word, by_name)}\n{_list(by_name)}")
    parser = _parser(by_name[word])
    args, rest = parser.parse_known_args(list(words[1:]))
    if rest:
        parser.error(_unknown(rest[0], parser, args))
    return by_name[word], args


def check_one_of(args: argparse.Namespace, *names: str) -> None:
    """Raise unless exactly one of these options was given."""
    options = [f"--{name.replace('_', '-')}" for name in names]
    given = [o for o, n in zip(options, names, strict=True) if getattr(args, n) is not None]
    if len(given) != 1:
        from bayescale.errors import SpecError

        found = f"{' and '.join(given)} were given" if given else "none was given"
        raise SpecError(f"One of {', '.join(options)} is needed; {found}.")


def _front_page(verbs: Sequence[Verb]) -> str:
    wide = max(len(verb.name) for verb in verbs) + 4
    lines = [f"  {verb.name:<{wide}}{verb.purpose}" for verb in verbs]
    return "\n".join(
        [
            "usage: bayescale VERB ... [options]\n",
            "Bayesian scaling laws: from small training runs to a forecast and a plan.\n",
            *lines,
            f"\n{QUICK_START}\n",
            EXIT_CODES,
        ]
    )


def _parser(verb: Verb) -> _Parser:
    example = textwrap.indent(verb.example, "  ")
    many = verb.example.count("bayescale ") > 1
    parser = _Parser(
        prog=f"bayescale {verb.name}",
        usage=f"bayescale {verb.name} {verb.usage} [options]",
        description=verb.purpose,
        epilog=f"example{'s' if many else ''}:\n{example}",
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser._positionals.title = "arguments"
    verb.arguments(parser)
    talk = parser.add_argument_group("always")
    talk.add_argument(
        "--format", choices=FORMATS, default="table", help="of what goes to stdout (default table)"
    )
    talk.add_argument("--quiet", action="store_true", help="no talk on stderr but warnings")
    talk.add_argument("--debug", action="store_true", help="show where an error came from")
    talk.add_argument("-h", "--help", action="help", help="show this and stop")
    return parser


class _Parser(argparse.ArgumentParser):
    """Says what was expected, what was found and what may have been meant."""

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        required = "the following arguments are required: "
        if message.startswith(required):
            message = f"{message.removeprefix(required)} is missing."
        raise Usage(f"error: {message}\nusage: {self.usage}\nSee `{self.prog} --help`.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            extra = getattr(action, "not_a_choice", "")
            raise argparse.ArgumentError(
                action,
                f"`{value}` is not one of {', '.join(choices)}.{_hint(value, choices)}{extra}",
            )


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The same text on every Python, no wider than the terminal or 96 columns."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, 96)
        super().__init__(prog, max_help_position=30, width=width - 1)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar or action.dest)
        takes = "" if action.nargs == 0 else f" {self._takes(action)}"
        return ", ".join(action.option_strings) + takes

    def _takes(self, action: argparse.Action) -> str:
        if action.metavar is None and action.choices:
            return "|".join(map(str, action.choices))
        return str(action.metavar or action.dest.upper())


def _unknown(word: str, parser: _Parser, args: argparse.Namespace) -> str:
    if not word.startswith("-"):
        return (
            f"`{word}` is one word too many; quote names that contain spaces, and write lists with "
            "commas (a,b)."
        )
    options = [option for action in parser._actions for option in action.option_strings]
    name = word.split("=", 1)[0]
    starts = [o for o in options if name.startswith("--") and o.startswith(name)]
    return f"there is no option `{name}`.{_hint(name, options, starts)}"


def _hint(word: Any, known: Collection[str], first: Sequence[str] = ()) -> str:
    close = first or difflib.get_close_matches(str(word), known, n=2)
    return f" Did you mean {' or '.join(f'`{each}`' for each in close)}?" if close else ""


def _list(names: Collection[str]) -> str:
    return f"Verbs: {', '.join(names)}. See `bayescale --help`."
