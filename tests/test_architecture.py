"""The house stands: imports run downward, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bayescale as bs

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bayescale"
COMPILERS = "pymc pytensor jax numpyro nutpie numba torch".split()
HEAVY = [*COMPILERS, *"numpy pandas scipy xarray arviz arviz_stats matplotlib".split()]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"


def _python(code: str, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(cwd), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment
    )


def _loaded_after(code: str, modules: list[str]) -> list[str]:
    done = _python(f"import sys\n{code}\nprint(*[m for m in {modules!r} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_imports_run_downward():
    done = _python(LINT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("laws/loss.py", "from bayescale.models.priors import SIGMA", "Imports run downward"),
        ("predict/points.py", "from bayescale.plan import plan", "Imports run downward"),
        ("runs/layout.py", "from bayescale.laws import get", "Imports run downward"),
        ("schema.py", "from bayescale.runs import as_runs", "Imports run downward"),
        ("predict/points.py", "def late():\n    import jax", "Samplers and compilers"),
        ("runs/units.py", "import torch", "The package knows neither torch"),
        ("plan.py", "import matplotlib", "Only what draws"),
        ("helpers.py", "x = 1", "helpers"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, module, line, contract):
    ignored = shutil.ignore_patterns("tables", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "bayescale", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "bayescale" / module).open("a") as file:
        file.write(f"\n\n{line}\n")
    done = _python(LINT, cwd=tmp_path)
    assert done.returncode == 1
    broken = [line for line in done.stdout.splitlines() if "BROKEN" in line or "helpers" in line]
    assert any(contract in line for line in broken), done.stdout


@pytest.mark.parametrize("name", ["schema.py", "errors.py", "__init__.py", "__main__.py"])
def test_the_ground_floor_and_the_facade_need_the_standard_library_only(name):
    """What runs when they are imported; names under ``TYPE_CHECKING`` are for readers of types."""
    tree = ast.parse((PACKAGE / name).read_text())
    imported = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - {"bayescale"} <= sys.stdlib_module_names
    assert imported != set()


def test_import_bayescale_loads_nothing_heavy():
    assert _loaded_after("import bayescale", HEAVY) == []


def test_looking_for_names_loads_nothing_heavy():
    assert _loaded_after("import bayescale; dir(bayescale)", HEAVY) == []


def test_reading_runs_and_laws_loads_no_compiler():
    code = "import bayescale as bs; bs.datasets.load('gadre_small'); bs.laws.get('additive')"
    loaded = _loaded_after(code, [*COMPILERS, "matplotlib"])
    assert loaded == []


@pytest.fixture(scope="module")
def saved_fit(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "fit.nc"
    runs = bs.datasets.simulate(random_seed=1)
    bs.fit(bs.LossModel(), runs, method="fast", draws=200).to_netcdf(path)
    return path


@pytest.mark.parametrize(
    "question",
    [
        "bs.predict(fit, {'N': [1e9], 'T': [3e10]}).table",
        "bs.plan(fit, budget_flops=1e21).text",
        "bs.frontier(fit).table",
    ],
)
def test_an_answer_from_a_saved_fit_compiles_nothing(saved_fit, question):
    code = f"import bayescale as bs; fit = bs.load_fit({str(saved_fit)!r}); {question}"
    assert _loaded_after(code, [*COMPILERS, "matplotlib", "arviz"]) == []


def test_checking_a_saved_fit_builds_no_model(saved_fit):
    """JAX is not in the list: arviz-base loads it by itself wherever it is installed."""
    code = f"import bayescale as bs; bs.check(bs.load_fit({str(saved_fit)!r})).text"
    assert _loaded_after(code, ["pymc", "pytensor", "nutpie", "matplotlib"]) == []
