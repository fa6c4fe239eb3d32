import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
import xarray as xr

from bayescale.errors import SpecError
from bayescale.laws.namespaces import FUNCTIONS, as_argument, library_of, namespace

ONE = {
    "numpy": np.ones(2),
    "xarray": xr.DataArray([1.0, 1.0], dims="run"),
    "jax": jnp.ones(2),
    "pytensor": pt.dvector("x"),
}


@pytest.mark.parametrize("library", ONE)
def test_every_library_has_every_function(library):
    xp = namespace(1.0, np.ones(2), ONE[library])
    for name in FUNCTIONS:
        assert callable(getattr(xp, name)), name


@pytest.mark.parametrize(("library", "x"), ONE.items())
def test_library_is_told_from_the_type(library, x):
    assert library_of(x) == library


@pytest.mark.parametrize("x", [1, 1.5, [1, 2], np.float64(1), pd.Series([1.0]), None])
def test_everything_else_is_numpys(x):
    assert library_of(x) == "numpy"


def test_a_traced_value_is_recognised():
    seen = []
    jax.jit(lambda x: seen.append(library_of(x)) or x)(1.0)
    assert seen == ["jax"]


def test_where_keeps_the_labels_of_xarray():
    x = xr.DataArray([1.0, -1.0], dims="run", coords={"run": ["a", "b"]})
    out = namespace(x).where(x > 0, x, 0.0)
    assert isinstance(out, xr.DataArray)
    assert out.sel(run="b") == 0.0


def test_libraries_that_do_not_know_each_other_are_refused_by_name():
    with pytest.raises(SpecError, match=r"DataArray \(xarray\)") as error:
        namespace(ONE["jax"], ONE["xarray"])
    assert "(jax)" in str(error.value)


def test_integers_become_floats_and_foreign_arrays_stay():
    assert as_argument(2).dtype == float
    assert as_argument([1, 2]).dtype == float
    assert as_argument(xr.DataArray([1, 2])).dtype == float
    assert as_argument(ONE["jax"]) is ONE["jax"]
    assert as_argument(ONE["pytensor"]) is ONE["pytensor"]


def test_evaluating_a_law_loads_no_heavy_library():
    code = (
        "import sys, numpy as np; from bayescale.laws import get; "
        "get('size')(N=np.ones(3), E=1.0, A=1.0, alpha=1.0); "
        "print([m for m in ('jax', 'pytensor', 'pymc', 'arviz', 'xarray', 'pandas') "
        "if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"
