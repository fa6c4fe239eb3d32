"""Writes ``fit_format_1.nc``. Run it once per format of saved fits, never to make a test pass."""

from pathlib import Path

import numpy as np

import bayescale as bs


def runs():
    """Twenty-four runs on a grid, with a planted law and fixed noise."""
    size = np.repeat([5e7, 1e8, 3e8, 1e9, 3e9, 1e10], 4)
    tokens = np.tile([2e9, 1e10, 5e10, 2e11], 6)
    wiggle = 0.002 * np.sin(np.arange(24) * 1.7)
    loss = (1.8 + 480 * size**-0.35 + 2000 * tokens**-0.36) * np.exp(wiggle)
    status = ["done"] * 23 + ["diverged"]
    return bs.as_runs({"N": size, "T": tokens, "loss": loss, "status": status})


if __name__ == "__main__":
    fit = bs.fit(bs.LossModel(), runs(), method="fast", draws=250, chains=4, random_seed=7)
    fit.to_netcdf(Path(__file__).parent / f"fit_format_{1}.nc")
    print(bs.predict(fit, at={"N": 1e10, "T": 1e12}).table.to_string())
