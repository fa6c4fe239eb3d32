"""The page: sections in order, with a style that reads on screen, in the dark, and on paper."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160  # crisp on a dense screen and on paper; about 100 kB a figure


@dataclass(frozen=True)
class Section:
    """A heading and its HTML; ``kind`` is a class of the style sheet."""

    heading: str
    body: str
    kind: str = ""


def page(title: str, sections: Sequence[Section]) -> str:
    """A whole HTML document with its style inside."""
    style = files("bayescale.report").joinpath("style.css").read_text(encoding="utf-8")
    body = "\n".join(
        f'<section class="{s.kind}">'
        + (f"<h2>{escape(s.heading)}</h2>" if s.heading else "")
        + f"{s.body}</section>"
        for s in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def escape(text: Any) -> str:
    """Text as HTML."""
    return html.escape(str(text))


def paragraphs(text: str) -> str:
    """Each line of a text as a paragraph."""
    return "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, words: Sequence[int] = ()) -> str:
    """An HTML table; columns are numbers, set flush right, unless they are among ``words``."""

    def cells(tag: str, row: Sequence[Any]) -> str:
        return "".join(
            f"<{tag}{' class=words' if i in words else ''}>{escape(x)}</{tag}>"
            for i, x in enumerate(row)
        )  # fmt: skip

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    top = f"<thead><tr>{cells('th', head)}</tr></thead>"
    return f'<div class="wide"><table>{top}<tbody>{body}</tbody></table></div>'


def picture(figure: Figure, caption: str) -> str:
    """A figure as an embedded PNG with its caption, which is also what a screen reader says."""
    buffer = io.BytesIO()
    # without metadata, so that the same fit gives the same file
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = int(figure.get_figwidth() * 100)
    return (
        f'<figure style="max-width:{width}px"><img alt="{escape(caption)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'
    )
