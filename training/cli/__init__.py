"""The command ``python -m training``: one verb for each step from a spec to a table of runs.

Data go to stdout, talk goes to stderr. Exit code 0: done; 1: some run failed; 2: bad input; 75:
asked to stop, the state is saved and the same command goes on. Nothing heavy is imported before a
verb runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from training.errors import SpecError, TrainingError, nearest

VERBS = {
    "run": "train one run: SPEC.toml, or fields by --set",
    "sweep": "train the runs of a sweep file, or of a table of points",
    "status": "which run of a sweep is where",
    "collect": "finished runs as one table for bayescale",
    "bench": "how fast this machine trains",
    "data": "data streams there are, and pictures of what they give",
    "doctor": "whether this machine has what training needs",
}

BAD_INPUT = 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest known word."""

    def error(self, message: str) -> NoReturn:
        if "unrecognized arguments" in message:
            words = [word for word in message.split(": ", 1)[1].split() if word.startswith("-")]
            known = [each for action in self._actions for each in action.option_strings]
            if words:
                message = f"Unknown option `{words[0]}`; {nearest(words[0].split('=')[0], known)}"
        print(f"error: {message}\nSee `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Words after ``python -m training``; those of this process if None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except SystemExit as done:
        return int(done.code or 0)
    except BrokenPipeError:  # `... | head` is no error
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        if "--debug" in words:
            raise
        way_out = (
            ""
            if "pip install" in str(error)
            else "; `python -m training doctor` says what to install"
        )
        print(f"error: {error}{way_out}", file=sys.stderr)
        return BAD_INPUT
    except (TrainingError, OSError) as error:
        if "--debug" in words:
            raise
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT if not type(error).__name__ == "Busy" else 1
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(overview(), file=sys.stdout if words else sys.stderr)
        return 0 if words else BAD_INPUT
    verb, *rest = words
    if verb not in VERBS:
        raise SpecError(f"Unknown verb `{verb}`; {nearest(verb, VERBS)}")
    module = importlib.import_module(f"training.cli.{verb}")
    parser = _Parser(
        prog=f"python -m training {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return module.run(parser.parse_args(rest))


def overview() -> str:
    """What verbs there are."""
    lines = [f"  {verb:<8} {what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            "Train diffusion transformers whose runs are worth fitting.",
            "",
            "usage: python -m training VERB ...      (VERB --help says more)",
            "",
            *lines,
            "",
            "exit code: 0 done, 1 some run failed, 2 bad input, 75 stopped on request",
        ]
    )
