"""A card: one question put to a fit, its status, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "WARNING", "FAIL"]
ORDER: tuple[Status, ...] = ("PASS", "WARNING", "FAIL")


@dataclass(frozen=True)
class Card:
    """One check.

    Attributes
    ----------
    title : str
    status : {"PASS", "WARNING", "FAIL"}
    finding : str
        One sentence with the numbers behind the status.
    action : str
        What to do next; empty where nothing is needed.
    """

    title: str
    status: Status
    finding: str
    action: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "finding", self.finding[:1].upper() + self.finding[1:])

    def __str__(self) -> str:
        action = f" -> {self.action}" if self.action else ""
        return f"{self.status:<7}  {self.title}: {self.finding}{action}"


def worst(statuses: Sequence[Status]) -> Status:
    """The worst of some statuses; PASS of none."""
    return ORDER[max((ORDER.index(s) for s in statuses), default=0)]


@dataclass(frozen=True)
class Finding:
    """A sentence with its status and remedy; several of them make a card."""

    status: Status
    sentence: str
    action: str = ""


def card(title: str, findings: Sequence[Finding], *, otherwise: str) -> Card:
    """A card of the worst status among its findings; ``otherwise`` speaks where all is well.

    Else only what is wrong is told, the worst first; remedies are told once each.
    """
    told = sorted(findings, key=lambda f: -ORDER.index(f.status))
    status = worst([f.status for f in told])
    sentences = [f.sentence for f in told]
    actions = dict.fromkeys(f.action for f in told if f.action)
    if status == "PASS":
        sentences = [otherwise, *sentences]
    return Card(title, status, " ".join(sentences), " ".join(actions))


def some(names: Sequence[str], shown: int = 3) -> str:
    """A few names of many: ``a, b, c and 4 more``."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
