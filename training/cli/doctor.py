"""Whether this machine has what training needs; what is missing comes with the way out.

python -m training doctor
python -m training doctor --ray 10.0.0.5:6379 --out runs
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from training.cli.text import as_json

LEAST_DISK_GB = 5.0
EXTRAS = {
    "images": ("PIL",),
    "video": ("av",),
    "shards": ("webdataset",),
    "huggingface": ("datasets",),
    "digits": ("sklearn",),
    "fid": ("torchmetrics",),
    "ray": ("ray",),
}
NEEDED_FOR = {
    "images": "image folders and pictures of samples",
    "video": "video files",
    "shards": "WebDataset shards",
    "huggingface": "Hugging Face datasets",
    "digits": "the `digits` stream",
    "fid": "FID through torchmetrics",
    "ray": "sweeps over many machines",
}


class Finding(NamedTuple):
    """One line of the report: how it stands, about what, what was found, and the way out."""

    level: Literal["OK", "WARNING", "FAIL"]
    subject: str
    found: str
    way_out: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``doctor``."""
    parser.add_argument("--out", default="runs", metavar="DIR", help="where runs are to be written")
    parser.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster that should answer")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(args: argparse.Namespace) -> int:
    """Print all findings; 1 where something failed."""
    findings = []
    for finding in examined(Path(args.out), args.ray):
        findings.append(finding)
        if args.format == "table":
            print(f"{finding.level:<8} {finding.subject:<11} {finding.found}", flush=True)
            if finding.way_out:
                print(f"{'':<20} {finding.way_out}", flush=True)
    if args.format == "json":
        print(as_json([finding._asdict() for finding in findings]))
    bad = sum(finding.level == "FAIL" for finding in findings)
    warned = sum(finding.level == "WARNING" for finding in findings)
    said = "All is well." if not bad + warned else f"{bad} failed, {warned} warnings."
    print(said, file=sys.stderr)
    return 1 if bad else 0


def examined(out: Path, ray_address: str | None = None) -> Iterator[Finding]:
    """Findings as they are made, quick ones first."""
    yield _python()
    torch = _torch()
    yield torch
    if torch.level != "FAIL":
        yield from _device()
        yield _compiler()
    yield _disk(out)
    yield from _extras()
    if importlib.util.find_spec("ray") is not None:
        yield _ray(ray_address)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("OK", "python", version)


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("FAIL", "torch", str(error), 'pip install "bayescale[training]"')
    cuda = torch.version.cuda
    return Finding("OK", "torch", f"{torch.__version__} ({f'CUDA {cuda}' if cuda else 'CPU only'})")


def _device() -> Iterator[Finding]:
    import torch

    from training.sweep.local import cores

    threads = f"{cores()} cores, {torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        driver = shutil.which("nvidia-smi") is not None
        level: Literal["WARNING", "OK"] = "WARNING" if driver else "OK"
        way_out = "A driver is there, but torch cannot use it: install a CUDA build of torch."
        yield Finding(level, "device", f"no GPU; CPU with {threads}", way_out if driver else "")
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(number)
        memory = f"{facts.total_memory / 2**30:.0f} GiB"
        yield Finding("OK", "device", f"cuda:{number} {facts.name}, {memory}; {threads}")
    yield _bf16()


def _bf16() -> Finding:
    import torch

    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Finding("OK", "bf16", "on the GPU")
        way_out = "Runs use it by default there; --precision float32 is likely to be faster."
        return Finding("WARNING", "bf16", "only emulated on this GPU", way_out)
    return Finding("OK", "bf16", "not used: on a CPU runs are float32")


def _compiler() -> Finding:
    import torch

    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    compiler = next((found for name in names if name and (found := shutil.which(name))), None)
    triton = importlib.util.find_spec("triton") is not None
    if torch.cuda.is_available() and not triton:
        return Finding("WARNING", "compile", "no triton", "Runs go uncompiled, at a loss of speed: "
                       "pip install triton")  # fmt: skip
    if torch.cuda.is_available() and compiler is None and shutil.which("gcc") is None:
        way_out = "Triton compiles its launcher with it: install gcc, or --compile off."
        return Finding("WARNING", "compile", "no C compiler", way_out)
    if compiler is None:
        return Finding("OK", "compile", "no C++ compiler, and on a CPU none is needed by default")
    return Finding("OK", "compile", compiler + (", triton" if triton else ""))


def _disk(out: Path) -> Finding:
    place = out.expanduser().resolve()
    there = next(each for each in (place, *place.parents) if each.exists())
    if not os.access(there, os.W_OK):
        return Finding("FAIL", "disk", f"`{there}` cannot be written", "Give another --out.")
    free = shutil.disk_usage(there).free / 1e9
    found = f"{free:,.0f} GB free at `{there}`"
    if free < LEAST_DISK_GB:
        way_out = "Checkpoints and pools of samples need room: free some, or give another --out."
        return Finding("WARNING", "disk", found, way_out)
    return Finding("OK", "disk", found)


def _extras() -> Iterator[Finding]:
    for name, modules in EXTRAS.items():
        missing = [each for each in modules if importlib.util.find_spec(each) is None]
        if missing:
            way_out = f'Only for {NEEDED_FOR[name]}: pip install "bayescale[{name}]"'
            yield Finding("WARNING", name, "not installed", way_out)
        else:
            yield Finding("OK", name, _version(modules[0]))


def _version(module: str) -> str:
    package = {"PIL": "pillow", "sklearn": "scikit-learn"}.get(module, module)
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package


def _ray(address: str | None) -> Finding:
    """Whether a cluster answers; without an address none needs to."""
    from training.sweep.reach import known_address, silence_of

    known = known_address(address)
    if not known:
        return Finding("OK", "cluster", "none runs here; a sweep with --executor ray starts one")
    silence = silence_of(known)
    if silence is None:
        return Finding("OK", "cluster", f"{known} answers")
    way_out = "Start it with `ray start --head`, or check address, port (6379) and firewall."
    return Finding("FAIL", "cluster", f"{known}: {silence}", way_out)
