"""netCDF files, as written by `write_runs` or by anybody else."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from ..errors import DataError
from ..frames import as_table
from .source import Source


def read_netcdf(path: Path) -> Source:
    """Columns of a netCDF file, classic or version 4; attributes of runs come along."""
    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"
    try:
        with xr.open_dataset(path, engine="scipy" if classic else "h5netcdf") as dataset:
            return Source(path.name, as_table(dataset.load()))
    except ImportError as error:
        raise DataError(f"`{path.name}` is netCDF 4; reading it needs h5py.") from error
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"`{path.name}` is no netCDF file that can be read: {error}.") from error
