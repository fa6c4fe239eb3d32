"""Which column of theirs is which field of ours, and what to type when that is unclear.

Nothing is guessed: a column is used if it is named in ``columns=``, or bears one of our own names.
Where a guess would be easy, the error prints the argument that says it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bayescale.errors import SpecError
from bayescale.runs.problems import Problem, listed, near_misses
from bayescale.schema import FIELDS, lookalike_of

DIMENSIONS = ("checkpoint", "reading")
ESSENTIAL = ("N", "T", "loss")
_INPUTS = ("N", "T", "flops", "batch_size", "batch_samples", "samples", "step", "learning_rate")


@dataclass
class Mapped:
    """What `map_columns` found.

    Parameters
    ----------
    taken : dict of str to str
        Our name to their column, for every field and every further input.
    kept : dict of str to str
        Name in the result to their column, for columns that nobody asked for.
    problems : list of Problem
        What stands in the way.
    asked : dict of str to str
        The part of `taken` that the caller wrote, for suggestions.
    """

    taken: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)


def map_columns(
    theirs: Collection[str],
    columns: Mapping[str, str | None] | None,
    family: str | None,
    *,
    is_runs: bool = False,
) -> Mapped:
    """Settle which of `theirs` stands for what.

    Parameters
    ----------
    theirs : collection of str
        Column names of the table.
    columns : mapping of str to str, or None
        Our name to their column; None as a value says that the table has no such thing.
    family : str or None
        Their column with the group.
    is_runs : bool, default False
        The table was mapped before, so that its names are ours by design.
    """
    columns = checked_columns(columns)
    if _is_reversed(columns, theirs):
        return Mapped(problems=[_reversed(columns)])
    found = Mapped()
    for ours, name in {**columns, **_family(columns, family)}.items():
        if name is not None:
            _take(found, ours, name, theirs)
    refused = {ours for ours, name in columns.items() if name is None}
    if not is_runs:
        _correct_names(found, refused)
    _take_our_own_names(found, theirs, refused=refused)
    if not is_runs:
        _look_for_essentials(found, columns, theirs)
    _spell_it_out(found, theirs)
    return found


def suggestion(found: Mapped, more: Mapping[str, str | None]) -> str:
    """The ``columns=`` argument to type.

    Examples
    --------
    >>> suggestion(Mapped(asked={"loss": "val"}), {"N": "params"})
    'columns={"N": "params", "loss": "val"}'
    """
    taken = {ours: name for ours, name in found.taken.items() if ours in ESSENTIAL}
    asked = {ours: name for ours, name in found.asked.items() if ours != "family"}
    pairs = {**taken, **asked, **more}
    pairs = {name: pairs[name] for name in sorted(pairs, key=_position)}
    inside = ", ".join(f'"{k}": ' + ("None" if v is None else f'"{v}"') for k, v in pairs.items())
    return f"columns={{{inside}}}"


def _position(name: str) -> int:
    return ESSENTIAL.index(name) if name in ESSENTIAL else len(ESSENTIAL)


def checked_columns(columns: Any) -> dict[str, str | None]:
    """The argument ``columns`` as a dict of names; SpecError if it is anything else."""
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        raise SpecError(
            "`columns` maps our names to yours, for example "
            'columns={"N": "params", "T": "tokens", "loss": "loss"}; '
            f"it is a {type(columns).__name__}: {columns!r:.80}."
        )
    for ours, name in columns.items():
        if not isinstance(ours, str) or not (name is None or isinstance(name, str)):
            raise SpecError(
                "`columns` maps our names to the names of your columns, both text; it has "
                f"{ours!r}: {type(name).__name__}. Put values in the table, and their name here."
            )
    return dict(columns)


def _family(columns: Mapping[str, str | None], family: Any) -> dict[str, str]:
    if family is None:
        return {}
    if not isinstance(family, str):
        raise SpecError(f"`family` is the name of the column with the group, not {family!r:.80}.")
    if columns.get("family", family) != family:
        raise SpecError(
            f'`family` was given twice: family="{family}" and columns={{"family": '
            f'"{columns["family"]}"}}. Keep one.'
        )
    return {"family": family}


def _is_reversed(columns: Mapping[str, str | None], theirs: Collection[str]) -> bool:
    there = [name for name in columns if name in theirs and name not in FIELDS]
    ours = [name for name in columns.values() if name in FIELDS and name not in theirs]
    return len(there) > 0 and len(ours) > 0


def _reversed(columns: Mapping[str, str | None]) -> Problem:
    turned = {name: ours for ours, name in columns.items() if name is not None}
    return Problem(
        None,
        "`columns` maps our names to yours, and this one seems to be the other way round.",
        f"Write {suggestion(Mapped(asked=turned), {})}.",
    )


def _take(found: Mapped, ours: str, name: str, theirs: Collection[str]) -> None:
    if ours in DIMENSIONS or not ours:
        why = "this name is used by the layout."
        found.problems.append(Problem(ours or None, why, "Choose another name."))
    elif name in theirs:
        found.taken[ours] = found.asked[ours] = name
    else:
        close = near_misses(name, theirs)
        found.problems.append(_no_such_column(ours, name, close, theirs))
        found.asked[ours] = close[0] if close else name


def _no_such_column(ours: str, name: str, close: list[str], theirs: Collection[str]) -> Problem:
    hint = f"Did you mean {' or '.join(f'`{each}`' for each in close)}? " if close else ""
    hint += f"The columns are {listed(theirs)}."
    if ours == "family":
        hint += f'\nFor a single group, add a column that holds "{name}" in every row.'
    about = FIELDS[ours].meaning if ours in FIELDS else ""
    return Problem(ours, f"there is no column `{name}`.", hint, about=about)


def _spell_it_out(found: Mapped, theirs: Collection[str]) -> None:
    """Add the whole corrected argument to the last name that was misspelt."""
    misspelt = [
        at
        for at, problem in enumerate(found.problems)
        if problem.problem.startswith("there is no column") and problem.column != "family"
    ]
    if misspelt and all(name in theirs for name in found.asked.values()):
        last = found.problems[misspelt[-1]]
        hint = f"{last.hint}\nWrite {suggestion(found, {})}."
        found.problems[misspelt[-1]] = replace(last, hint=hint)


def _correct_names(found: Mapped, refused: set[str]) -> None:
    """Complain of names that others use for what has another name here.

    A law may have an input of such a name (``D``); then the caller says that the table has no T.
    """
    for ours in list(found.taken):
        right = lookalike_of(ours) if ours not in FIELDS else None
        if right is None or right in found.asked or right in refused:
            continue
        if len(ours) == 1 and right not in ESSENTIAL:
            continue  # single letters are likely to be symbols of a law
        found.asked[right] = found.taken[right] = found.taken.pop(ours)
        del found.asked[ours]
        text = f"this is called `{right}` here ({FIELDS[right].meaning})."
        hint = f"Write {suggestion(found, {})}."
        if len(ours) == 1:
            pairs = f'"{ours}": "{found.taken[right]}", "{right}": None'
            hint += f"\nIf `{ours}` is an input of your own law, say so: columns={{{pairs}, ...}}."
        found.problems.append(Problem(ours, text, hint))


def _take_our_own_names(found: Mapped, theirs: Collection[str], *, refused: set[str]) -> None:
    used = set(found.taken.values())
    for name in theirs:
        if name in used:
            continue
        if name in FIELDS and name not in found.asked and name not in refused:
            found.taken[name] = name
        else:
            clash = name in FIELDS or name in found.taken or name in DIMENSIONS
            found.kept[f"{name}_unmapped" if clash else name] = name


def _look_for_essentials(
    found: Mapped, columns: Mapping[str, str | None], theirs: Collection[str]
) -> None:
    """Complain where a law or its answer lacks a column.

    Not every table has N, T and a loss: laws of compute need FLOP only, and metrics stand in for
    the loss. So one input and one answer are enough, unless just one of N and T was named while
    the other is plainly there.
    """
    named = {*found.taken, *found.asked}
    further = [name for name in found.asked if name not in FIELDS]
    has_answer = any(n in named for n in _responses()) or bool(further)
    needs, batches = {"T", "samples", "step"}, {"batch_size", "batch_samples"}
    has_answer |= bool(needs & named) and bool(batches & named)  # what a target took, by batch
    has_input = any(n in named for n in _INPUTS) or bool(further)
    wanted = {"loss"} if not has_answer else set()
    if not has_input:
        wanted |= {"N", "T"}
    elif "flops" not in named and not further and len(named & {"N", "T"}) == 1:
        wanted |= {"N", "T"} - named
    if not has_input and not has_answer:
        wanted |= {"N", "T", "loss"}
    wanted = {name for name in wanted if name not in named and columns.get(name, "") is not None}
    free = [name for name in theirs if name not in set(found.taken.values())]
    guesses = {ours: _guess(ours, free) for ours in ESSENTIAL if ours in wanted}
    only_guessed = has_input and has_answer
    guesses = {ours: guess for ours, guess in guesses.items() if guess or not only_guessed}
    if guesses:
        found.problems.append(_no_essentials(found, guesses, theirs, optional=only_guessed))


def _responses() -> list[str]:
    return [name for name, each in FIELDS.items() if each.role == "response"]


def _guess(ours: str, free: Collection[str]) -> str | None:
    alike = [name for name in free if lookalike_of(name) == ours]
    longer = [name for name in free if len(name) > 2 and ours.lower() in name.lower().split("_")]
    return next(iter([*alike, *longer]), None)


def _no_essentials(
    found: Mapped, guesses: Mapping[str, str | None], theirs: Collection[str], *, optional: bool
) -> Problem:
    what = ", ".join(f"`{ours}` ({FIELDS[ours].meaning})" for ours in guesses)
    looks = [f"`{guess}` looks like {ours}" for ours, guess in guesses.items() if guess]
    more = {ours: guess or "your column" for ours, guess in guesses.items()}
    lines = [f"The columns are {listed(theirs)}."]
    if looks:
        lines.append(f"{'; '.join(looks)}, but columns are not guessed.")
    lines.append(f"Write {suggestion(found, more)}.")
    if optional:
        none = suggestion(found, dict.fromkeys(guesses))
        lines.append(f"If these runs have none, say so: {none}.")
    return Problem(None, f"No column was named for {what}.", "\n".join(lines))
