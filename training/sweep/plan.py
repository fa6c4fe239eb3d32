"""A sweep file as a list of runs: `read_sweep` gives specs with the blocks and tags they came from.

The file (TOML)::

    name = "first"                     # default: name of the file

    [base]                             # fields of every run, by short or dotted name
    data.name = "leaves"
    batch_samples = 16

    [sizes."1M"]                       # what a single size wants otherwise
    learning_rate = 4e-3

    [[runs]]                           # a block; lists are axes, and axes are crossed
    name = "grid"
    size = ["5k", "20k"]
    learning_rate = [4e-3, 8e-3]
    tokens = "500k"
    tags = ["pilot"]

    [[runs]]                           # a kind knows which lists belong together
    name = "long"
    kind = "lnt"
    size = ["5k", "20k"]
    tokens = ["4M", "2M"]
    held_out = true                    # kept from the fit, to test the forecast; or a reason

    [[runs]]
    zip = {size = ["5k", "20k"], seed = [1, 2]}     # lists walked together

Names of blocks, tags and ``held_out`` are not part of a run: they stay outside its id.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import Model, Spec
from training.errors import SpecError, nearest
from training.sweep import kinds
from training.sweep.fields import Settings, flat, spec_of

RESERVED = ("name", "kind", "tags", "held_out", "zip", "sizes")
TOP = ("name", "tags", "base", "sizes", "runs")


@dataclass(frozen=True)
class Point:
    """One run of a sweep, and what it is there for.

    Parameters
    ----------
    spec : Spec
        What is run.
    blocks : tuple of str
        Blocks of the file that ask for it; the grids it belongs to.
    tags : tuple of str
        Words to find it by.
    held_out : bool or str
        Kept from the fit of L(N, T); a text says why (default: to test the forecast).
    size : str
        As it was asked for; empty where width and depth were given.
    """

    spec: Spec
    blocks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    held_out: bool | str = False
    size: str = ""

    @property
    def label(self) -> str:
        """The few words a person knows the run by."""
        from training.sweep.amounts import short

        optimiser = self.spec.optimiser
        size = self.size or f"{self.spec.model.width}x{self.spec.model.depth}"
        default, conditioning = Model.conditioning, self.spec.model.conditioning
        words = [
            *self.blocks[:1], *([conditioning] if conditioning != default else []), size,
            f"T{short(self.spec.tokens)}", f"B{optimiser.batch_samples}",
            f"lr{optimiser.learning_rate:.3g}",
        ]  # fmt: skip
        if self.spec.seed:
            words.append(f"s{self.spec.seed}")
        return " ".join(words)


@dataclass(frozen=True)
class Sweep:
    """Runs that belong together. `notes`: what was decided while reading, for a person to see."""

    name: str
    source: str
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


class SweepErrors(SpecError):
    """Everything that is wrong with a sweep, in one message; `problems` has them singly."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        lines = "\n".join(f"  {each}" for each in self.problems)
        many = f"{len(self.problems)} problems; nothing was started." if lines else ""
        super().__init__(self.problems[0] if len(self.problems) == 1 else f"{many}\n{lines}")


def read_sweep(
    path: Path | str,
    *,
    overrides: Mapping[str, Any] | None = None,
    base: Path | str | None = None,
    checked: bool = True,
) -> Sweep:
    """The runs that a file asks for: a sweep (TOML), or a table of points (CSV, JSON, JSONL).

    Parameters
    ----------
    path : path
        The file.
    overrides : mapping, optional
        Fields for every run, above what the file says.
    base : path, optional
        A sweep file whose ``[base]`` and ``[sizes]`` hold for a table of points, which has none.
    checked : bool
        Also see whether each run is possible: its model, its data.

    Raises
    ------
    SweepErrors
        All problems together, each with file and block.
    """
    path = Path(path)
    if path.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl", ".ndjson"):
        from training.sweep.points import read_points

        content, notes = read_points(path)
        if base is not None:
            content = {**content, **{k: v for k, v in toml(Path(base)).items() if k in TOP[2:4]}}
    else:
        content, notes = toml(path), []
    return sweep_of(content, source=path.name, overrides=overrides, notes=notes, checked=checked)


def sweep_of(
    content: Mapping[str, Any],
    *,
    source: str = "sweep.toml",
    overrides: Mapping[str, Any] | None = None,
    notes: Iterable[str] = (),
    checked: bool = False,
) -> Sweep:
    """The runs of a sweep given as the nested mapping that its file would hold."""
    found = _Problems(source)
    for name in content:
        if name not in TOP:
            found.add("", f"unknown section `{name}`; {nearest(name, TOP)}")
    blocks = content.get("runs", [])
    if not isinstance(blocks, list) or not blocks:
        found.add("", "no `[[runs]]` block, so there is nothing to run.")
        blocks = []
    common = found.flat("[base]", content.get("base", {}))
    above = found.flat("--set", overrides or {})
    sizes = {
        str(size): found.flat(f"[sizes.{size}]", fields)
        for size, fields in found.table("sizes", content.get("sizes", {})).items()
    }
    points: list[Point] = []
    for index, block in enumerate(blocks):
        if wrong := _misshapen(block):
            found.add(f"runs{index + 1}", wrong)
            continue
        name = str(block.get("name") or block.get("kind") or f"runs{index + 1}")
        tags = (*_words(content.get("tags", [])), *_words(block.get("tags", [])))
        for settings in _expand(block, common, sizes, above, lambda say, n=name: found.add(n, say)):
            try:
                spec = spec_of(settings)
                impossible = _impossible(spec) if checked else []
            except SpecError as error:
                impossible = [str(error)]
            for problem in impossible:
                found.add(name, problem)
            if not impossible:
                held_out = block.get("held_out", False)
                size = str(settings.get("size", ""))
                points.append(Point(spec, (name,), tags, held_out, size))
    found.raise_any()
    name = str(content.get("name") or Path(source).stem)
    kept = tuple(merged(points))
    doubts = [said for point in kept for said in _doubts(point.spec)] if checked else []
    return Sweep(name, source, kept, tuple(dict.fromkeys([*notes, *doubts])))


def merged(points: Iterable[Point]) -> list[Point]:
    """Points with equal specs as one that carries all their blocks and tags.

    A run that any block wants in the fit is not held out.
    """
    found: dict[str, Point] = {}
    for point in points:
        known = found.get(point.spec.run_id)
        found[point.spec.run_id] = point if known is None else dataclasses.replace(
            known,
            blocks=tuple(dict.fromkeys((*known.blocks, *point.blocks))),
            tags=tuple(dict.fromkeys((*known.tags, *point.tags))),
            held_out=known.held_out and point.held_out,
        )  # fmt: skip
    return list(found.values())


def toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file, or one clear error."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise SpecError(f"`{path}` does not exist.") from None
    except OSError as error:
        raise SpecError(f"Cannot read `{path}`: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"`{path}` is no TOML: {error}.") from error


def _expand(
    block: Mapping[str, Any],
    common: Settings,
    sizes: Mapping[str, Settings],
    above: Settings,
    say: Callable[[str], None],
) -> list[Settings]:
    """Settings of the runs of a block: base < sizes < block < its sizes < axes < ``--set``."""
    kind = str(block.get("kind", "grid"))
    if kind not in kinds.KINDS:
        say(f"Unknown kind `{kind}`; {nearest(kind, kinds.KINDS)}")
        return []
    words = kinds.WORDS.get(kind, ())
    extra = {name: block[name] for name in words if name in block}
    own = {k: v for k, v in block.items() if k not in RESERVED and k not in words}
    problems: list[str] = []
    flattened = flat(own, also=(*RESERVED, *words), problems=problems)
    own_sizes = {str(k): flat(v, problems=problems) for k, v in block.get("sizes", {}).items()}
    for problem in problems:
        say(problem)
    found = []
    try:
        fixed, axes = kinds.axes_of(flattened)
        axes = {name: values for name, values in axes.items() if name not in above}
        pairs = kinds.zipped(block.get("zip", {}))
    except SpecError as error:
        say(str(error))
        return []
    for pair in pairs:
        one_size = {**common, **fixed, **pair, **above}.get("size")
        for size in dict.fromkeys(map(str, [*axes.get("size", [one_size]), *_places(extra)])):
            here = {**common, **sizes.get(size, {}), **fixed, **own_sizes.get(size, {}), **pair}
            if size in map(str, axes.get("size", [])):
                here["size"] = size
            try:
                expanded = kinds.KINDS[kind]({**here, **above}, axes, extra)
            except SpecError as error:
                say(str(error))
                continue
            whole = [{**here, **settings, **above} for settings in expanded]
            found += [settings for settings in whole if str(settings.get("size")) == size]
    return found


class _Problems:
    """What is wrong, with the blocks it is wrong in."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.where: dict[str, list[str]] = {}

    def add(self, block: str, problem: str) -> None:
        places = self.where.setdefault(problem, [])
        if block not in places:
            places.append(block)

    def flat(self, section: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        problems: list[str] = []
        found = flat(self.table(section, fields), problems=problems)
        for problem in problems:
            self.add(section, problem)
        return found

    def table(self, section: str, fields: Any) -> Mapping[str, Any]:
        if isinstance(fields, Mapping):
            return fields
        self.add("", f"`{section.strip('[]')}` is {fields!r}; a section with fields was expected.")
        return {}

    def raise_any(self) -> None:
        if self.where:
            raise SweepErrors(
                f"{self._place(places)}: {problem}" for problem, places in self.where.items()
            )

    def _place(self, places: list[str]) -> str:
        named = [each for each in places if each]
        if not named:
            return self.source
        if named[0] == self.source or named == ["run"]:  # `run` has neither sections nor blocks
            return self.source
        if named[0].startswith("-"):
            return named[0]
        if named[0].startswith("["):
            return f"{self.source}, {named[0]}"
        blocks = ", ".join(f"`{each}`" for each in named)
        return f"{self.source}, block{'s' if len(named) > 1 else ''} {blocks}"


def _impossible(spec: Spec) -> list[str]:
    from training.sweep.check import problems_of

    return problems_of(spec)


def _doubts(spec: Spec) -> list[str]:
    from training.sweep.check import doubts_of

    return doubts_of(spec)


def _places(extra: Mapping[str, Any]) -> list[Any]:
    return [place["size"] for place in extra.get("at", []) if "size" in place]


def _words(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]


def _misshapen(block: Any) -> str:
    """What is wrong with the tables within a block; empty where nothing is."""
    if not isinstance(block, Mapping):
        return f"{block!r} is no block; write `[[runs]]` with fields below it."
    sizes, at, zips = block.get("sizes", {}), block.get("at", []), block.get("zip", {})
    if not isinstance(sizes, Mapping) or not all(isinstance(v, Mapping) for v in sizes.values()):
        return f"`sizes` is {sizes!r}; a section for each size was expected."
    if not isinstance(at, list) or not all(isinstance(place, Mapping) for place in at):
        return f'`at` is {at!r}; a list was expected, as in `[{{size = "5k", tokens = "1M"}}]`.'
    tables = zips if isinstance(zips, list) else [zips]
    if not all(isinstance(table, Mapping) for table in tables):
        return f'`zip` is {zips!r}; lists were expected, as in `{{size = ["5k"], seed = [1]}}`.'
    return ""
