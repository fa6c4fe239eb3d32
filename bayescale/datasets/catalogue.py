"""What is bundled, and how each raw table becomes runs. The facts are in ``catalogue.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import xarray as xr

from bayescale.errors import SpecError
from bayescale.runs import as_runs
from bayescale.runs.problems import listed, near_misses


@dataclass(frozen=True)
class DatasetInfo:
    """What is known about a bundled table.

    Parameters
    ----------
    name, title : str
        What to ask for, and what it is.
    rows : int
        Rows of the raw table.
    licence, citation, url : str
        Terms of the source, whom to cite, where to read on.
    repository : str
        Where the numbers were copied from, with the commit.
    notes, known_issues : tuple of str
        How to read the columns; what is wrong with them.
    published : mapping
        Constants that the authors report: a name to values, each with its ``source``.
    columns, family, units
        Arguments of `as_runs` that `load` uses.
    file : str
        Name of the file under ``tables/``.
    rename : mapping of str to str
        Columns renamed first, because their name means something else here.
    set_aside : mapping
        Which rows are kept out of fits: ``column``, ``equals``, ``reason``.
    """

    name: str
    title: str
    rows: int
    licence: str
    citation: str
    url: str
    repository: str
    notes: tuple[str, ...]
    known_issues: tuple[str, ...]
    published: Mapping[str, Any]
    columns: Mapping[str, str]
    family: str | None = None
    units: Mapping[str, float] = field(default_factory=dict)
    file: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    set_aside: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.title}", f"  {self.rows:,} rows; licence: {self.licence}"]
        lines += [f"  cite: {self.citation}", f"  {self.url}"]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines + [f"  known issue: {issue}" for issue in self.known_issues])


def names() -> list[str]:
    """Names of the bundled tables of runs.

    Examples
    --------
    >>> "chinchilla" in names()
    True
    """
    return list(_catalogue())


def info(name: str) -> DatasetInfo:
    """Licence, citation, notes, known issues and published constants of a table."""
    if name in _catalogue():
        return _catalogue()[name]
    raise _unknown(name, names(), "data set")


def published(name: str) -> Mapping[str, Any]:
    """Constants that the authors of a table report, each with its source.

    Examples
    --------
    >>> published("chinchilla")["Besiroglu et al. 2024"]["E"]
    1.8169
    """
    return info(name).published


def frame(name: str) -> pd.DataFrame:
    """A bundled table as it stands, for those who want to map its columns themselves."""
    return _read(info(name).file)


def load(name: str, *, as_published: bool = False) -> xr.Dataset:
    """Runs of a bundled table, ready to fit.

    Parameters
    ----------
    name : str
        One of `names`.
    as_published : bool, default False
        Set aside, with the reason, the rows that the authors left out of their own fits. The
        default fits every row: the noise model is there so that none needs dropping by hand.

    Returns
    -------
    xarray.Dataset
        As from `as_runs`, with ``licence`` and ``citation`` among the attributes.
    """
    about = info(name)
    table = frame(name).rename(columns=dict(about.rename))
    table = _PREPARATIONS.get(name, _as_it_is)(table)
    if about.set_aside and as_published:
        out = table[about.set_aside["column"]] == about.set_aside["equals"]
        table["reason"] = out.map({True: about.set_aside["reason"], False: ""})
    runs = as_runs(
        table, about.columns, family=about.family, units=about.units, on_invalid="set_aside"
    )
    return runs.assign_attrs(dataset=name, licence=about.licence, citation=about.citation)


def papers() -> dict[str, str]:
    """Tables of numbers printed in papers: name to one line on each."""
    return tomllib.loads(_folder().joinpath("papers.toml").read_text(encoding="utf-8"))


def paper(name: str) -> pd.DataFrame:
    """One of the `papers`, as a frame."""
    if name not in papers():
        raise _unknown(name, list(papers()), "table of a paper")
    return _read(f"papers/{name}.csv")


@cache
def _catalogue() -> dict[str, DatasetInfo]:
    facts = tomllib.loads(_folder().joinpath("catalogue.toml").read_text(encoding="utf-8"))
    return {name: _info(name, entry) for name, entry in facts.items()}


def _info(name: str, entry: dict[str, Any]) -> DatasetInfo:
    lists = {key: tuple(entry.pop(key)) for key in ("notes", "known_issues")}
    return DatasetInfo(name=name, **lists, **{"file": _file(name), **entry})


def _file(name: str) -> str:
    tables = _folder().joinpath("tables")
    kinds = (".csv", ".csv.gz", ".parquet")
    there = (name + kind for kind in kinds if tables.joinpath(name + kind).is_file())
    return next(there, f"{name}.csv")


def _folder() -> Any:
    return files(__package__ or "bayescale.datasets")


def _read(file: str) -> pd.DataFrame:
    with _folder().joinpath("tables", file).open("rb") as stream:
        if file.endswith(".parquet"):
            return pd.read_parquet(stream)
        return pd.read_csv(stream, compression="gzip" if file.endswith(".gz") else None)


def _unknown(name: str, known: list[str], what: str) -> SpecError:
    close = near_misses(str(name), known)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return SpecError(f"There is no {what} `{name}`.{hint} There are {listed(known, shown=40)}.")


def _as_it_is(table: pd.DataFrame) -> pd.DataFrame:
    return table


def _cooled_ends_are_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Each end of a cool-down branched off on its own, so it shares no noise with the next."""
    own = table["family"] == "gemstones/cool_end"
    ids = table["run"] + "/T" + (table["tokens"] / 1e9).round().astype(int).astype(str) + "B"
    return table.assign(run=table["run"].where(~own, ids))


def _tuned_budgets_are_runs(table: pd.DataFrame) -> pd.DataFrame:
    """With a decay to its own budget each point was trained on its own; else one run is read on."""
    own = table["decay"] == "chinchilla"
    ids = table["run"] + "/C" + table["flops"].map("{:.3g}".format)
    return table.assign(run=table["run"].where(~own, ids))


def _one_family_a_size(table: pd.DataFrame) -> pd.DataFrame:
    """The target loss differs between sizes, and with it the constants of the law.

    Steps were rounded by an evaluation interval that the source does not state; where it gives two
    readings of one run they differ by up to 2 %, which is taken as the interval.
    """
    size = table["run"].str.extract(r"cbs-(\d+M)-", expand=False)
    return table.assign(size=size, interval=0.02 * table["tokens"])


def _samples_where_known(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(samples=table["to_converge"].where(table["unit"] == "samples"))


_PREPARATIONS: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "gemstones": _cooled_ends_are_runs,
    "porian": _tuned_budgets_are_runs,
    "critical_batch": _one_family_a_size,
    "mlperf_rcp": _samples_where_known,
}
