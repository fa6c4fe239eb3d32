"""Where and with what a run was made: enough to explain a difference, names of nobody."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.config import Execution, to_mapping

if TYPE_CHECKING:
    from training.device import Place
    from training.engine.world import World

_PACKAGES = ("bayescale", "torch", "numpy", "triton", "ray", "diffusers", "torchmetrics")


def environment(
    execution: Execution, place: Place, world: World, runs: Sequence[str]
) -> dict[str, Any]:
    """Versions, device, flags, code, and how the run was packed; for ``env.json``."""
    gpu = torch.cuda.get_device_properties(place.device) if place.on_gpu else None
    return {
        "execution": to_mapping(execution),
        "device": device_name(place),
        "device_count": world.size,
        "device_memory_bytes": gpu.total_memory if gpu else None,
        "precision": place.precision,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "pack": list(runs) if len(runs) > 1 else None,
        "cuda": torch.version.cuda if place.on_gpu else None,
        "cudnn": torch.backends.cudnn.version() if place.on_gpu else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "code": _code(),
        "host": hashlib.sha256(platform.node().encode()).hexdigest()[:12],
        "arguments": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def device_name(place: Place) -> str:
    """Name of the accelerator, or ``cpu``."""
    return torch.cuda.get_device_name(place.device) if place.on_gpu else "cpu"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _code() -> dict[str, str | bool | None]:
    """Commit that the code came from, and whether it was changed since."""
    here = Path(__file__).parent
    try:
        git = ["git", "-C", str(here)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", str(here)], capture_output=True, text=True
        )
    except OSError:
        return {"commit": None, "changed": None}
    if commit.returncode:
        return {"commit": None, "changed": None}
    return {"commit": commit.stdout.strip(), "changed": bool(changed.stdout.strip())}
