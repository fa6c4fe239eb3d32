"""The noise of a table, drawn anew: the same runs, checkpoints and seeds, other accidents.

The likelihood (`bayescale.models.noise`) integrates its shared errors out; here they are drawn.
Used for posterior predictive checks, for simulated tables, and as a second route to the likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayescale.models.noise import FAR, Groups, Noise


def replicate_noise(
    noise: Noise,
    groups: Groups,
    log_scale: np.ndarray | None,
    values: Mapping[str, Any],
    random_seed: int | np.random.Generator,
) -> np.ndarray:
    """Residuals of log loss drawn from the noise model, ``(sample, reading)``.

    Parameters
    ----------
    log_scale : ndarray or None, (reading,)
        ``ln(scale input / pivot)`` where ``noise.scale`` is set.
    values : mapping of ndarray
        Noise parameters, ``(sample, family)`` each.
    random_seed : int or Generator
    """
    rng = np.random.default_rng(random_seed)
    config = groups.config[groups.run]
    family = groups.family[config]
    samples = np.asarray(values["sigma"]).shape[0]
    z = _correlated(groups, values, samples, rng)
    lifted = np.zeros((samples, groups.n_configs), bool)
    lift = np.zeros((samples, groups.n_configs))
    if noise.undertuned:
        lifted = rng.random(lifted.shape) < np.asarray(values["undertuned_share"])[:, groups.family]
        size = np.asarray(values["undertuned_scale"])[:, groups.family]
        lift = lifted * size * np.abs(rng.standard_normal(size.shape))
    if noise.tail == "student":
        nu = np.asarray(values["nu"])[:, groups.family]
        radius = np.sqrt(nu / rng.chisquare(nu))
        z = z * np.where(lifted, 1.0, radius)[:, config]  # a lifted run's own noise is normal
    out = np.asarray(values["sigma"])[:, family] * z + lift[:, config]
    if log_scale is not None:
        out = out * np.exp(np.asarray(values["noise_slope"])[:, family] * log_scale)
    return out


def _correlated(
    groups: Groups, values: Mapping[str, Any], samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Normal noise of unit variance with the shared and serial parts, ``(sample, reading)``."""
    config = groups.config[groups.run]
    family = groups.family[config]
    z = rng.standard_normal((samples, len(groups.run)))
    if groups.has_trajectories:
        length = np.asarray(values["correlation_length"])[:, family]
        rho = np.exp(-groups.gap / length)
        for i in np.flatnonzero(groups.gap < FAR):
            z[:, i] = rho[:, i] * z[:, i - 1] + np.sqrt(1.0 - rho[:, i] ** 2) * z[:, i]
        share = np.asarray(values["run_share"])[:, family]
        common = rng.standard_normal((samples, groups.n_runs))[:, groups.run]
        z = np.sqrt(share) * common + np.sqrt(1.0 - share) * z
    if groups.has_replicates:
        share = np.asarray(values["config_share"])[:, family]
        common = rng.standard_normal((samples, groups.n_configs))[:, config]
        z = np.sqrt(share) * common + np.sqrt(1.0 - share) * z
    return z
