"""Every benchmark, one after the other; then the tables of the README."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.tables import ORDER

OPTIONS = sys.argv[1:]  # --quick, handed on


def main() -> None:
    """Run each command in a process of its own and go on where one fails."""
    failed = []
    for name in ORDER:
        started = time.monotonic()
        print(f"\n## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *OPTIONS]).returncode:
            failed.append(name)
        print(f"({name}: {time.monotonic() - started:.0f} s)", flush=True)
    if "--quick" not in OPTIONS:
        subprocess.run([sys.executable, "-m", "benchmarks.tables"], check=True)
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
