"""The results of ``results/*.json`` as the tables of ``README.md``, with the peers' beside them."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.record import HERE, RESULTS, Aim, Record, markdown, text

ORDER = (
    "constants", "contamination", "cost", "samplers", "growth", "published", "two_routes", "peers",
    "harness", "training_speed", "hyperparameters", "hyperparameters.simulated",
    "hyperparameters.small", "hyperparameters.cost", "critical_batch", "forecasts",
    "forecasts.cost", "misfit_prior",
)  # fmt: skip
START = "<!-- results: written by python -m benchmarks.tables; do not edit below -->"


def main() -> None:
    """Rewrite everything below the marker."""
    readme = HERE / "README.md"
    above = readme.read_text().split(START)[0]
    found = [
        json.loads(path.read_text())
        for name in ORDER
        if (path := RESULTS / f"{name}.json").exists()
    ]
    parts = ["## Aims", _aims(found)] + [_section(each) for each in found]
    readme.write_text(above + START + "\n\n" + "\n\n".join(parts) + "\n")
    print(f"benchmarks/README.md: {len(found)} of {len(ORDER)} results")


def _aims(found: list[dict[str, Any]]) -> str:
    """Every aim, met or missed, in one table."""
    rows = [
        {"command": each["name"], "aim": aim["aim"], "measured": aim["measured"],
         "": "met" if aim["met"] else "**missed**"}
        for each in found
        for aim in each["aims"]
    ]  # fmt: skip
    missed = sum(1 for row in rows if row[""] != "met")
    return f"{len(rows) - missed} of {len(rows)} met.\n\n{markdown(rows)}"


def _section(found: dict[str, Any]) -> str:
    machine = found["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    where = (
        f"`python -m benchmarks.{found['name']}`, measured {found['measured']} on "
        f"{machine['cores']} cores ({machine['architecture']}, {machine['memory_gib']} GiB, load "
        f"{machine['load_at_the_end']}), Python {machine['python']}; {versions}."
    )
    record = Record(
        found["name"], found["question"], found["tables"],
        [Aim(**aim) for aim in found["aims"]], found["notes"],
    )  # fmt: skip
    parts = [f"## {found['name']}", text(record)]
    if found["peers"]:
        peers = json.loads((HERE / "peers.json").read_text())
        table = peers["tables"][found["peers"]]
        parts.append(f"**Beside it: {table['title']}**\n\n{markdown(table['rows'])}")
        parts += [f"{table['note']} {peers['provenance']}"]
    return "\n\n".join([*parts, f"_{where}_"])


if __name__ == "__main__":
    main()
