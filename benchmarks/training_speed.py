"""How fast the harness trains on a CPU: one thread, alone and eight models at once.

On a GPU ask ``python -m training bench``, which has gates.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.record import Aim, Record, arguments, progress, publish

SIZES = "6.6k,20k,50k,150k,550k"
BATCHES = (256, 1024)  # tokens a step; the sweeps of the demo have 1,024


def measured(batch_tokens: int, sizes: str, seconds: float) -> dict[str, Any]:
    """What ``python -m training bench`` writes for one batch."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bench.json"
        command = [
            sys.executable, "-m", "training", "bench", "--device", "cpu", "--sizes", sizes,
            "--modes", "eager,ensemble", "--batch-tokens", str(batch_tokens),
            "--seconds", str(seconds), "--out", str(out),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(out.read_text())


def table(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a size: alone, and with the ensemble axis."""
    together = {row["size"]: row for row in found["ensembles"]}
    rows = []
    for alone in found["rows"]:
        eight = together[alone["size"]]
        rows.append(
            {
                "N": alone["N"],
                "width x depth": f"{alone['width']} x {alone['depth']}",
                "tokens a step": alone["tokens_per_step"],
                "alone, tokens/s": round(alone["tokens_per_s"], -2),
                "of a matrix product": f"{alone['share_measured']:.1%}",
                "8 at once, tokens/s": round(eight["tokens_per_s"], -2),
                "of it": f"{eight['share_measured']:.1%}",
                "gain": round(eight["tokens_per_s"] / alone["tokens_per_s"], 2),
                "losses differ by": eight["parity"],
            }
        )
    return rows


def main() -> None:
    """Measure every size at both batches."""
    options = arguments(__doc__)
    sizes, seconds = ("6.6k", 0.5) if options.quick else (SIZES, 8.0)
    rows: list[dict[str, Any]] = []
    peaks = []
    for batch in BATCHES:
        progress(f"{batch} tokens a step")
        found = measured(batch, sizes, seconds)
        rows += table(found)
        peaks.append(found["peak_measured"])
    apart = max(row["losses differ by"] for row in rows)
    same = Aim("losses of a pack are those of single runs, to 1e-4", f"{apart:.0e}", apart <= 1e-4)
    publish(
        Record(
            "training_speed",
            "How fast does the harness train on a CPU, and does the ensemble axis pay?",
            {"One thread, float32, seconds of the process": rows},
            [same],
            [
                f"A matrix product of 1024 cubed reached {max(peaks) / 1e9:.0f} GFLOP/s.",
                "FLOPs are the model's, by formula; a step includes data, AdamW and looks.",
            ],
        ),
        quick=options.quick,
    )


if __name__ == "__main__":
    main()
