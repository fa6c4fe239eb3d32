"""netCDF files, as written by `write_runs` or by anybody else."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from bayescale.errors import DataError
from bayescale.importers.source import Source
from bayescale.runs.frames import as_table


def read_netcdf(path: Path) -> Source:
    """Columns of a netCDF file, classic or version 4; attributes of runs come along."""
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic.startswith((b"CDF", b"\x89HDF")):
        raise DataError(f"`{path.name}` is no netCDF file: it starts with {magic!r}.")
    classic = magic.startswith(b"CDF")
    try:
        with xr.open_dataset(path, engine="scipy" if classic else "h5netcdf") as dataset:
            if "bayescale" in dataset.attrs:
                raise DataError(
                    f"`{path.name}` is a saved fit, not a table of runs: open it with load_fit."
                )
            return Source(path.name, as_table(dataset.load()))
    except ImportError as error:
        raise DataError(f"`{path.name}` is netCDF 4; reading it needs h5py.") from error
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"`{path.name}` is no netCDF file that can be read: {error}.") from error
