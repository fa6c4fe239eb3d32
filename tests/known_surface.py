"""Fits of hyperparameter surfaces whose posterior is known: draws about given constants.

What is built on a posterior (advice, plans, habits) is arithmetic on its draws, and is tested on
draws that a test can state; whether a sampler finds the right ones is tested elsewhere.
"""

import numpy as np

from bayescale.inference.tree import build_tree

NOISE = {
    "sigma": 0.002, "nu": 5.0, "price_noise": 0.1, "misfit": 1e-9, "cell_sigma": 1e-9,
    "misfit_length": 2.0, "cliff": 1.0, "cliff_width": 0.2, "cliff_N": 0.0, "cliff_T": 0.0,
    "cliff_B": 0.0,
}  # fmt: skip
NO_SCATTER = 1e-14


def known_fit(model, runs, truth, *, spread=None, offsets=None, n=200, random_seed=0):
    """A fit of ``n`` draws in each of two chains, log-normal or normal about ``truth``.

    ``spread`` is the sd of each parameter by name (of the log, where it must be positive); none is
    given for constants. Misfits are zero unless spread says otherwise. Optima of places lie on
    their laws: ``offsets`` has those that do not, ``{"rate_offset": (cell,)}``, and
    ``truth`` their scatter.
    """
    density, spread = model.density(runs), spread or {}
    rng = np.random.default_rng(random_seed)
    scatter = {v.name: NO_SCATTER for v in density.variables if "_scatter" in v.name}
    values = {}
    for variable in density.variables:
        name = variable.name
        middle, sd = {**NOISE, **scatter, **truth}[name], spread.get(name, 0.0)
        z = sd * rng.standard_normal((2, n))
        known = density.law.parameters.get(name)
        positive = known.support == "positive" if known else middle > 0
        values[name] = middle * np.exp(z) if positive else middle + z
    cells = density.cells
    latents = {}
    if cells is not None:
        latents = {"misfit_at": (("cell",), np.zeros((2, n, len(cells))))}
    for name, (place, length) in density.of_places.items():
        given = np.asarray((offsets or {}).get(name, 0.0))
        latents[name] = ((place,), np.zeros((2, n, length)) + given)
    record = {"status": "ok", "messages": [], "random_seed": random_seed, "method": "known"}
    return build_tree(density, model, runs, values, {}, record, latents)
