"""The command ``bayescale``: one verb for each step from a table of runs to a decision.

Data go to stdout, talk goes to stderr. Exit code 0 is an answer, 1 an answer from a fit that
failed, 2 a request or a table that cannot be used. Nothing heavy is imported before a verb runs.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from bayescale.cli import backtests, fits, forecasts, tables, tuning
from bayescale.cli.output import Output, reflowed, wrapped
from bayescale.cli.parser import Usage, parse
from bayescale.cli.wording import in_shell_words
from bayescale.errors import (
    BayescaleError,
    ConvergenceError,
    ConvergenceWarning,
    DataWarning,
    ExtrapolationWarning,
)

_TO_A_PLAN = (*forecasts.VERBS[:2], *tuning.VERBS, *forecasts.VERBS[2:])
VERBS = (*tables.READING, *fits.VERBS, *backtests.VERBS, *_TO_A_PLAN, *tables.LOOKING_UP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (failed fit) or 2 (usage, data).

    Parameters
    ----------
    argv : sequence of str, optional
        Words after ``bayescale``; those of this process if None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        verb, args = parse(VERBS, words)
    except Usage as error:
        print(wrapped(str(error)) if words else error, file=sys.stderr)
        return 2
    except SystemExit as done:  # --help and --version have been printed
        return int(done.code or 0)
    output = Output(verb.name, getattr(args, "format", "table"), args.quiet)
    try:
        with warnings.catch_warnings():
            _show_warnings(output)
            code = verb.run(args, output)
            sys.stdout.flush()
            return code
    except (BayescaleError, OSError, ImportError) as error:
        if isinstance(error, BrokenPipeError):
            return _reader_left()
        if args.debug:
            raise
        print(reflowed(f"error: {_message(error, verb.name)}"), file=sys.stderr)
        return 1 if isinstance(error, ConvergenceError) else 2
    except KeyboardInterrupt:
        print("stopped; nothing was saved.", file=sys.stderr)
        return 130


def _message(error: Exception, verb: str) -> str:
    if isinstance(error, BayescaleError):
        return in_shell_words(str(error), verb)
    if isinstance(error, ImportError):
        return f"{error}. This verb needs a package that is not installed."
    assert isinstance(error, OSError)
    about = f"`{error.filename}`: " if error.filename else ""
    return f"{about}{error.strerror or error}."


def _show_warnings(output: Output) -> None:
    """Our warnings become one line on stderr; those of other packages stay as they are."""
    ours = (ConvergenceWarning, DataWarning, ExtrapolationWarning)
    for category in ours:
        warnings.simplefilter("always", category)
    as_before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> Any:
        if issubclass(category, ours):
            output.warn(in_shell_words(str(message), output.verb))
        else:
            as_before(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def _reader_left() -> int:
    """``bayescale ... | head`` is no error; stdout is pointed away so that exit stays silent."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
