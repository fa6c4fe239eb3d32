"""Where words go: data to stdout as table, JSON or CSV; talk to stderr."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bayescale.errors import SpecError

FORMATS = ("table", "json", "csv")
PICTURES = (".png", ".pdf", ".svg", ".webp", ".jpg")

Row = Mapping[str, Any]


class Output:
    """What one command says. ``format`` is that of the data, ``quiet`` silences the talk."""

    def __init__(self, verb: str, format: str, quiet: bool) -> None:
        self.verb = verb
        self.format = format
        self.quiet = quiet
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """Talk, for a person."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """A warning; shown even when quiet, and part of the JSON."""
        if text not in self.warnings:
            self.warnings.append(text)
            print(wrapped(f"warning: {text}"), file=sys.stderr, flush=True)

    def show(
        self,
        table: Sequence[Row],
        *,
        text: str = "",
        page: str = "",
        columns: Sequence[str] = (),
        **facts: Any,
    ) -> None:
        """The answer.

        Parameters
        ----------
        table : sequence of mapping
            The rows. All of the CSV; the key ``table`` of the JSON.
        text : str
            The same in sentences: talk, and the key ``text`` of the JSON.
        page : str
            What to print instead of the rows where the format is ``table``.
        columns : sequence of str, default ()
            Which columns to print there; all of them by default.
        **facts
            Further keys of the JSON.
        """
        plain_rows = [{name: _plain(value) for name, value in row.items()} for row in table]
        if self.format == "json":
            answer = {"verb": self.verb, **_plain(facts), "table": plain_rows}
            answer |= {"text": text or page, "warnings": self.warnings}
            print(json.dumps(answer, indent=2, allow_nan=False, ensure_ascii=False))
        elif self.format == "csv":
            names = list(dict.fromkeys(name for row in plain_rows for name in row))
            writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(plain_rows)
        else:
            few = [{name: row[name] for name in columns or row} for row in table]
            print(page or rendered(few))
        if text:
            self.say(("\n" if self.format == "table" else "") + wrapped(text))


def records(table: Any) -> list[dict[str, Any]]:
    """Rows of a DataFrame; an index with a name becomes a column."""
    frame = table.reset_index() if table.index.name is not None else table
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def save_plot(answer: Any, path: str, output: Output) -> None:
    """Write the plot of an answer to a file."""
    answer.plot().savefig(path, dpi=150)
    output.say(f"Drew {path}.")


def check_picture(path: str | None) -> None:
    """Raise early if a plot could not be written to `path`."""
    if path is None:
        return
    if Path(path).suffix.lower() not in PICTURES:
        known = ", ".join(PICTURES)
        raise SpecError(f"`--plot {path}` says no format; the name must end in one of {known}.")
    check_folder(path)


def check_folder(path: str) -> None:
    """Raise early if there is no folder for a file that is to be written."""
    if Path(path).is_dir():
        raise SpecError(f"`{path}` is a folder; a file name was expected.")
    if not Path(path).parent.is_dir():
        raise SpecError(f"`{path}` cannot be written: there is no folder `{Path(path).parent}`.")


def rendered(rows: Sequence[Row]) -> str:
    """Rows as text that fits the terminal.

    A table that is too wide has its widest column of text wrapped; if that is not enough, each row
    becomes a block of lines.
    """
    if not rows:
        return "(nothing)"
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[shown(row.get(name), name) for name in names] for row in rows]
    right = [_all_numbers([row.get(name) for row in rows]) for name in names]
    widths = [max(map(len, [name, *column])) for name, column in _columns(names, cells)]
    room = shutil.get_terminal_size().columns - 2 * (len(names) - 1)
    if sum(widths) > room:
        texts = [i for i in range(len(names)) if not right[i]]
        widest = max(texts, key=lambda i: widths[i], default=None)
        left = room - sum(widths) + widths[widest] if widest is not None else 0
        if widest is None or left < 24:  # chosen: narrower columns of text are hard to read
            return "\n\n".join(_block(names, row) for row in cells)
        widths[widest] = left
    lines = [_line(names, widths, right)]
    lines += [_line(row, widths, right) for row in cells]
    return "\n".join(lines)


def shown(value: Any, name: str = "") -> str:
    """A value as a person writes it; counts as the command line takes them.

    ``name`` is that of its column, in case the digits depend on it.

    Examples
    --------
    >>> shown(7e10), shown(5.76e23), shown(1.93718), shown(float("nan"))
    ('70B', '5.76e23', '1.9372', '')
    """
    value = _plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, int | float):
        return str(value)
    size = abs(value)
    if name == "decades_beyond":
        return f"{value:.1f}"
    for letter, unit in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if unit <= size < 1e15:
            digits = ".3g" if size < 999.5 * unit else ".0f"
            return f"{value / unit:{digits}}{letter}"
    if size >= 1e15 or 0 < size < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    if isinstance(value, int) or size >= 1e4:
        return f"{value:,.0f}"
    return f"{value:#.5g}".rstrip(".")


def wrapped(text: str, *, hanging: int = 2) -> str:
    """Text wrapped to the terminal, line by line, margins kept.

    ``hanging`` is how much deeper the rest of an indented line goes.
    """
    width = min(shutil.get_terminal_size().columns, 100)
    lines = []
    for line in text.splitlines():
        found = re.match(r" *(?:\d+\. )?", line)
        margin = len(found[0]) if found else 0
        deeper = hanging if line.startswith(" ") else 0
        lines += textwrap.wrap(
            line, width, subsequent_indent=" " * (margin + deeper),
            break_long_words=False, break_on_hyphens=False,
        ) or [""]  # fmt: skip
    return "\n".join(lines)


def reflowed(text: str) -> str:
    """A message that was wrapped by hand, wrapped to the terminal instead.

    A long line that ends inside a sentence goes on in the next one.
    """
    lines: list[str] = []
    for line in text.splitlines():
        goes_on = lines and len(lines[-1]) > 60 and lines[-1][-1] not in ".:;?!"
        if goes_on and line.strip() and not re.match(r" *\d+\. ", line):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return wrapped("\n".join(lines), hanging=0)


def _columns(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[tuple[str, list[str]]]:
    return [(name, [row[i] for row in cells]) for i, name in enumerate(names)]


def _all_numbers(values: Sequence[Any]) -> bool:
    plain = [_plain(v) for v in values]
    return all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in plain)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    """One row, over several lines where a cell is wrapped."""
    parts = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
        for cell, width in zip(cells, widths, strict=True)
    ]
    lines = []
    for k in range(max(map(len, parts))):
        row = [part[k] if k < len(part) else "" for part in parts]
        padded = [
            cell.rjust(width) if r else cell.ljust(width)
            for cell, width, r in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _block(names: Sequence[str], cells: Sequence[str]) -> str:
    wide = max(map(len, names)) + 2
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(
            f"{name:<{wide}}{cell}", width, subsequent_indent=" " * wide, break_on_hyphens=False
        )
        for name, cell in zip(names, cells, strict=True)
        if cell
    )


def _plain(value: Any) -> Any:
    """A value that JSON can hold: Python numbers, and None where there is none."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
