"""Judgement in one place: every default prior, with a sentence and a source each.

Priors are stated at the *pivot*, the geometric mean of the fitted inputs, and in multiples of the
*typical loss*, the median fitted loss. So they mean the same for a language model at 3 nats and a
diffusion transformer at 0.5, and the prefactor of a power law is judged as what it contributes
where the data are, not at one parameter and one token. `tests/models/test_priors.py` draws from
them (prior predictive check) and holds them against every published constant we know.
"""

from __future__ import annotations

from bayescale.laws import Law, Parameter
from bayescale.models.distributions import LogitNormal, LogNormal, Normal, Prior

FLOOR = LogNormal(
    0.55,
    0.7,
    source="Irreducible loss as a multiple of the typical loss. Published fits put it at 0.6 to "
    "0.95 of the losses seen (Besiroglu 2404.10102: 0.7, video DiT 2411.17470: 0.93); ABRA's two "
    "ladders say 0.39 and none at all, so the lower tail stays open. Chosen width.",
)
CONTRIBUTION = LogNormal(
    0.15,
    1.2,
    source="What one term adds at the pivot, as a multiple of the typical loss: 0.04 for the video "
    "DiT (2411.17470 Table 3), 0.1 to 0.2 for Chinchilla. "
    "Chosen width: a factor 7 either way.",
)
CONTRIBUTION_WITHOUT_FLOOR = LogNormal(
    0.7,
    0.7,
    source="The same in a law that falls to zero: the terms together are the whole loss, so the "
    "larger is near 1 and the other may be less. Chosen width: a factor 3 either way.",
)
EXPONENT = LogNormal(
    0.35,
    0.5,
    source="Exponents of size and data: 0.34 and 0.28 (Hoffmann 2203.15556), 0.35 and 0.37 "
    "(Besiroglu), 0.32 and 0.29 (video DiT), 0.30 and 0.69 (Gemstones 2502.06857), 0.35 "
    "(Muennighoff 2305.16264). Median and spread of these.",
)
EXPONENT_WITHOUT_FLOOR = LogNormal(
    0.08,
    0.7,
    source="Exponents of laws that fall to zero are smaller, since the floor hides in them: 0.076 "
    "and 0.103 (Kaplan 2001.08361), 0.027 and 0.039 against compute (image DiT 2410.08184).",
)
EXPONENT_OF_COMPUTE = LogNormal(
    0.15,
    0.6,
    source="A compute frontier with a floor falls with alpha beta / (alpha + beta), half of the "
    "exponents above: 0.17 for Chinchilla, 0.15 for the video DiT; ABRA 0.04.",
)
OPTIMUM_EXPONENT = LogitNormal(
    0.5,
    0.4,
    source="Exponent of the compute-optimal size: 0.36 to 0.73 over fifteen studies of images, "
    "video and text, with sd 0.05 to 0.08 between studies of one modality.",
)
SCALE_OF_INPUT = LogNormal(
    1.0,
    2.0,
    source="A parameter measured in units of an input (a break, a critical batch size), as a "
    "multiple of the pivot: within a factor 27, since runs are bought where such things are "
    "thought to lie. Chosen.",
)
POSITIVE_SHAPE = LogNormal(
    1.0, 0.7, source="A positive shape parameter, 1 where the simpler law holds. Chosen."
)
REAL_SHAPE = Normal(
    0.0,
    0.2,
    source="A drift that is zero in the simpler law; Farseer (2506.10972) finds drifts of the "
    "data exponent of about 0.1 per e-fold of N or less. Chosen width.",
)
ANY_POSITIVE = LogNormal(
    1.0,
    5.0,
    source="A positive parameter of a law of the user's own, of which nothing is said: 0.0003 to "
    "3,700 and, with a little resistance, anything. State a role or a prior to do better. Chosen.",
)
ANY_REAL = Normal(
    0.0, 10.0, source="A real parameter of which nothing is said: within 20 or so. Chosen."
)
REPEATS = LogNormal(
    8.0,
    1.0,
    source="How many repeats of data or parameters are worth having: R_D 15.4 and R_N 5.3 "
    "(Muennighoff 2305.16264) for text; for diffusion R_D of about 500 was reported (2507.15857). "
    "Chosen width: a factor 5 either way.",
)
CURVATURE = LogNormal(
    0.06,
    0.8,
    source="Curvature of an isoFLOP valley in ln N: alpha beta / 2 where the law is additive, 0.06 "
    "for Chinchilla and 0.047 for the video DiT. Chosen width: a factor 3.7 either way.",
)
SHARE = LogitNormal(0.5, 1.5, source="A share between 0 and 1, nothing assumed. Chosen.")

SPREAD_OF_EXPONENTS = LogNormal(
    0.12,
    0.7,
    source="Sd of ln(exponent) between families. Between studies the exponent of the optimal size "
    "has sd 0.05 to 0.08, which is 0.14 to 0.23 in ln(alpha) and ln(beta); families of one study "
    "differ less. Log-normal, since a spread of exactly zero is not believed.",
)

SIGMA = LogNormal(
    0.01,
    1.5,
    source="Scale of the noise of log loss: seeds alone 0.0002 to 0.001 (Muennighoff: 0.0004 to "
    "0.0008), a law's own misfit 0.002 to 0.03, untuned runs 0.05. Median and spread of these.",
)
SPREAD_OF_SIGMA = 0.5  # sd of ln(sigma) between families; chosen: a factor 2.3 either way
TAIL = LogNormal(
    4.0,
    1.0,
    low=1.0,
    source="Degrees of freedom of the Student-t noise, above 1: 1.6 on the raw Chinchilla "
    "points, 3 on the cleaned ones; 20 and more is normal noise. Chosen median.",
)
RUN_SHARE = LogitNormal(
    0.45,
    1.5,
    high=0.9,
    source="Share of the noise variance common to all readings of a run. Bounded, with the length "
    "below, so that levels of runs scatter at most about 7 times as much as one run does over half "
    "an e-fold: without that the many small steps along runs outvote their few levels, and the "
    "law is bent until the levels trend with size (docs/log.md). Chosen.",
)
CONFIG_SHARE = LogitNormal(
    0.5,
    1.5,
    source="Share of the noise variance common to runs that differ in seed only: what the law "
    "misses, not luck. Chosen, wide.",
)
CORRELATION_LENGTH = LogitNormal(
    0.5,
    1.0,
    high=5.0,
    source="Serial correlation along a trajectory falls as exp(-|d ln T| / length). Chosen: the "
    "noise forgets itself over a factor 1.1 to 13 in tokens; at most five e-folds, since a longer "
    "memory is the run's own level.",
)
NOISE_SLOPE = Normal(
    0.0,
    0.1,
    source="d ln(sigma) / d ln(scale): noise changes by at most a factor 2 per decade. Chosen.",
)
UNDERTUNED_SHARE = LogitNormal(
    0.05, 1.0, source="Share of runs that were badly tuned. Chosen: 1 to 20 %."
)
UNDERTUNED_SCALE = LogNormal(
    0.05,
    1.0,
    source="How much a badly tuned run loses, in log loss. In Gadre's grid runs of one size span "
    "7 % on average, up to a factor 2, with warm-up and shape.",
)

OPTIMUM = LogNormal(
    1.0,
    1.2,
    source="Best value of a hyperparameter at the pivot, as a multiple of the geometric mean of "
    "what was tried: within a factor 7 either way, since sweeps are laid around a guess and the "
    "guess may be off the grid. Chosen.",
)
BATCH_POWER = Normal(
    0.4,
    0.35,
    source="Powers of N and T in the best batch size. T: 0.81 (video DiT 2411.17470), 0.57 "
    "(StepLaw 2503.04715), 0.82 (GIDD 2512.10858); N: 0.19 (video DiT), 0 (StepLaw, GIDD), 0.47 "
    "(critical batch of 2410.21676). C^0.33 (DeepSeek 2401.02954) and C^0.41 (Moonlight "
    "2502.16982) lie between. One prior for both, wide enough for all of them.",
)
RATE_POWER = Normal(
    -0.15,
    0.35,
    source="Powers of N and T in the best learning rate. N: -0.71 (StepLaw), -0.16 (video DiT), "
    "-1/3 (Porian 2406.19146); T: +0.31 (StepLaw), -0.05 (video DiT); C^-0.125 (DeepSeek), "
    "C^-0.057 (Moonlight). The sign of T's differs between studies, so it stays open.",
)
OPTIMUM_POWER = Normal(
    0.0,
    0.4,
    source="Powers of N and T in the best value of any other hyperparameter: nothing is known. "
    "Chosen.",
)
BATCH_COUPLING = Normal(
    0.4,
    0.3,
    source="Power of the batch in the best learning rate: 1 under the linear rule, 0.5 under the "
    "square-root rule, 0.34 (GIDD 2512.10858).",
)
NOISE_SCALE = LogNormal(
    1.0,
    1.0,
    source="Gradient noise scale as a multiple of the best batch: of the same order, since the "
    "best batch is where noise and the number of updates balance. Chosen width: a factor 5.",
)
PRICE = LogNormal(
    0.01,
    1.2,
    source="Log loss per squared e-fold of a miss (second derivative): 1e-3 to 2e-2 in the grid of "
    "the video DiT (2411.17470, Fig. 4). Chosen width: a factor 7 either way.",
)
PRICE_POWER = Normal(
    0.0, 0.25, source="Drift of that price with N and T: within 0.4 either way. Chosen."
)
RISE = LogNormal(
    0.8,
    0.7,
    source="Exponent of the price above the optimum: noise of the iterates grows with the rate "
    "itself (1) or its square (2), and instability faster. Chosen width: a factor 3 either way.",
)
FALL = LogNormal(
    0.4,
    0.8,
    source="Exponent of the price below the optimum: too small a rate is too little training, "
    "which costs what the exponent of data says, 0.3 to 0.7. Chosen width: a factor 4 either way.",
)
CEILING = LogNormal(
    0.3,
    1.0,
    source="Most log loss that a miss can cost: a run that learns next to nothing ends tens of "
    "percent above a good one. Chosen width: a factor 5 either way.",
)
SWITCH_LOSS = Normal(
    0.0,
    0.05,
    source="Effect of a 0/1 attribute on log loss: annealing gains 2.45 % (GIDD 2512.10858). "
    "Chosen: 8 % at most.",
)
SWITCH_OPTIMUM = Normal(
    0.0, 1.0, source="Shift of ln(optimum) by a 0/1 attribute: a factor 5 either way. Chosen."
)
SWITCH_POWER = Normal(
    0.0, 0.3, source="Change of the best rate's power of N by a 0/1 attribute. Chosen."
)
MUP_POWER = Normal(
    0.3,
    0.2,
    source="muP is made so that the best rate does not move with width: it takes away what the "
    "standard parametrisation has, -0.16 to -0.71 (see RATE_POWER); 2505.15270 finds one best "
    "base rate from width 144 to 1152.",
)
PRICE_NOISE = LogNormal(
    0.15,
    0.8,
    source="Noise of badly tuned runs as a share of their price: runs far from the optimum are "
    "less repeatable, and the bowl describes them less well. Chosen: 4 to 55 %.",
)
MISFIT = LogNormal(
    0.005,
    1.0,
    source="Sd of what a loss law misses, smoothly in ln N and ln T, as a share of the loss: laws "
    "of real tables miss by 0.1 to 3 % (docs/log.md). Chosen width: a factor 5 either way.",
)
MISFIT_LENGTH = LogNormal(
    3.0,
    0.5,
    source="E-folds of N or T over which that misfit changes: shorter would be noise, longer "
    "would be the law's own constants. Chosen: 1.3 to 7.",
)
MISFIT_ABOVE_FLOOR = LogNormal(
    0.03,
    1.5,
    source="Sd of what a loss law misses as a share of the loss above its floor, learnt across "
    "seven studies of three tables (`benchmarks.forecasts.misfit_prior`): 0.004 to 0.05 in our own "
    "sweeps, 0.14 to 1.0 where small models are read from early on (Porian 2406.19146); median "
    "0.038, sd between studies 1.6.",
)
CELL_SIGMA = LogNormal(
    0.001,
    1.0,
    source="Sd of what all runs of one (N, T) share beyond the smooth misfit: order of data, "
    "shapes, one seed for all. Of the size of seed noise, 0.0002 to 0.005. Chosen.",
)
OPTIMUM_SCATTER = LogNormal(
    0.08,
    0.7,
    source="Sd, in e-folds, of the best batch size or rate of one (N, T) about its power law: 0.08 "
    "and 0.09 beyond their own errors in the smaller half of StepLaw's cells (docs/log.md). "
    "Chosen width: a factor 2 either way.",
)
OPTIMUM_SCATTER_OF_SIZES = LogNormal(
    0.12,
    0.8,
    source="The same, shared by all lengths of one size, which is one architecture: the best rates "
    "of four StepLaw sizes of 2.1e8 to 5.4e8 lie within 0.2 of a power law (docs/log.md). Chosen "
    "width: a factor 2.2 either way.",
)
CLIFF = LogNormal(
    2.0,
    0.6,
    source="E-folds above the best learning rate at which half the runs diverge: rates 4 to 16 "
    "times the best one fail in most sweeps. Chosen.",
)
CLIFF_WIDTH = LogNormal(
    0.3, 0.7, source="E-folds over which divergence goes from rare to common. Chosen."
)
CLIFF_POWER = Normal(0.0, 0.3, source="Drift of the cliff with ln N, ln T and ln(B/B*). Chosen.")

SPREAD_OF_POWERS = LogNormal(
    0.06,
    0.7,
    source="Sd of a power of N or T in an optimum between families of one study; between studies "
    "it is 0.15 to 0.35 (see BATCH_POWER). Chosen.",
)

LEAST_NEED = LogNormal(
    0.6,
    0.6,
    source="What the smallest batch needs to reach a target, as a multiple of the middle answer: "
    "1 where all batches are small, 0.5 where the middle one is critical; least squares on twelve "
    "MLPerf benchmarks give 0.50 to 0.92. Chosen width: a factor 2.7 either way.",
)
LEAST_NEED_POWER = Normal(
    1.0,
    0.5,
    source="Power of size in the tokens that a target set at 20 tokens a parameter takes: about 1 "
    "by construction (0.98 in 2410.21676). Chosen width: targets are set in other ways too.",
)
CRITICAL_BATCH_POWER = Normal(
    0.4,
    0.4,
    source="Power of size or length in the critical batch size: 0.47 of N at 20 tokens a parameter "
    "(2410.21676, 20 % overhead over B = 256; 0.66 by its own four hyperbolas); best batch sizes "
    "move with T^0.57 to T^0.82 (StepLaw, GIDD). Chosen width.",
)
TURN = LogNormal(
    1.0,
    0.4,
    source="How sharply steps against samples turn: 1 for the hyperbola of 1812.06162. Chosen: a "
    "factor 2 either way.",
)
SEED_SIGMA = LogNormal(
    0.05,
    1.0,
    source="Sd between seeds of ln(samples to a target): 0.013 (resnet) to 0.23 (unet3d) in "
    "MLPerf's reference convergence points.",
)
BATCH_SIGMA = LogNormal(
    0.03,
    0.8,
    source="Sd about the curve of what all runs of one batch size share: each was tuned on its "
    "own, well or less well. Chosen: 1 to 11 %.",
)
STRAGGLER_SHARE = LogitNormal(
    0.03, 1.0, source="Share of runs that are much later or earlier than their like. Chosen."
)
STRAGGLER_SCALE = LogNormal(
    5.0,
    0.4,
    low=1.0,
    source="Spread of stragglers as a multiple of the seeds': one in ten needed 20 epochs where "
    "nine needed 14 (MLPerf maskrcnn). Chosen: 3 to 9.",
)
SPREAD_OF_CRITICAL_BATCH = LogNormal(
    0.8,
    0.5,
    source="Sd between families of ln(B_crit over the middle batch size tried). Batches are tried "
    "where they are thought worth it: least squares on twelve MLPerf benchmarks give 1.5 to 10, "
    "sd 0.6. Rounded up.",
)
SPREAD_ABOUT_BATCH_LAW = LogNormal(
    0.12,
    0.7,
    source="Sd of ln(B_crit) or ln(T_min) of single families about their law of size: the four "
    "published hyperbolas lie within 5 % (B_crit) and 8 % (T_min) of theirs (2410.21676). Chosen.",
)
SPREAD_OF_SEED_SIGMA = LogNormal(
    0.6,
    0.4,
    source="Sd of ln(sigma) between benchmarks: the seed noise of twelve MLPerf benchmarks spans a "
    "factor 18. Chosen.",
)


def default_prior(law: Law, name: str) -> Prior:
    """The default prior of one parameter of a law, in the coordinates that `coordinates` states.

    Looked up by what the parameter is (its ``role``) and, where the role says nothing, by its
    support alone.
    """
    parameter = law.parameters[name]
    has_floor = any(p.role == "floor" for p in law.parameters.values())
    if parameter.role == "floor":
        return FLOOR
    if parameter.role in ("size_term", "data_term", "compute_term"):
        return CONTRIBUTION if has_floor else CONTRIBUTION_WITHOUT_FLOOR
    if parameter.role in _BY_ROLE:
        return _BY_ROLE[parameter.role]
    if parameter.role == "exponent":
        if not has_floor:
            return EXPONENT_WITHOUT_FLOOR
        on_compute = law.inputs == ("flops",) or "flops" in law.inputs
        return EXPONENT_OF_COMPUTE if on_compute else EXPONENT
    return _by_support(parameter)


_BY_ROLE = {
    "optimum_exponent": OPTIMUM_EXPONENT,
    "repeats": REPEATS,
    "curvature": CURVATURE,
    "scale": SCALE_OF_INPUT,
    "optimum": OPTIMUM,
    "optimum_power": OPTIMUM_POWER,
    "batch_power": BATCH_POWER,
    "rate_power": RATE_POWER,
    "batch_coupling": BATCH_COUPLING,
    "noise_scale": NOISE_SCALE,
    "price": PRICE,
    "price_power": PRICE_POWER,
    "rise": RISE,
    "fall": FALL,
    "ceiling": CEILING,
    "switch_loss": SWITCH_LOSS,
    "switch_optimum": SWITCH_OPTIMUM,
    "switch_power": SWITCH_POWER,
    "mup_power": MUP_POWER,
}


def _by_support(parameter: Parameter) -> Prior:
    support = parameter.support
    if support == "positive":
        return POSITIVE_SHAPE if parameter.role == "shape" else ANY_POSITIVE
    if support == "unit":
        return SHARE
    if support == "real":
        return REAL_SHAPE if parameter.role == "shape" else ANY_REAL
    low, high = support
    return LogitNormal(
        (low + high) / 2, 1.5, low=low, high=high, source="Between its bounds, nothing assumed."
    )
