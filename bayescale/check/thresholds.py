"""Where a check turns from PASS to WARNING to FAIL, each number with its reason.

FAIL says: do not use the numbers without a change. WARNING says: know this before you use them.
"""

from __future__ import annotations

from bayescale.inference.importance import K_HAT_LIMIT
from bayescale.predict import FAR_DECADES

# Trends of standardised residuals. Replicated tables give the p-value; about a dozen statistics
# are looked at, so 0.005 each keeps the chance of a false alarm near 5 % a check.
P_VALUE = 0.005
# A trend must also matter. Amplitude 0.2: 4 % of the noise variance is no noise. 0.5: a quarter
# of it, and a forecast inherits that trend as a bias that its interval does not hold.
TREND_WARN, TREND_FAIL = 0.2, 0.5
# The largest runs stand nearest to the forecast: half a noise sd of offset is worth knowing, more
# than one sd says that the law has left the data where it matters.
END_WARN, END_FAIL = 0.5, 1.0
END_SHARE, END_LEAST = 0.1, 3  # the largest tenth of the readings by scale, three at least; chosen

# Coverage of leave-one-out intervals: 5 points off is what a reader would call another interval,
# 15 points off (75 % where 90 % is said) makes the stated probability untrue.
COVERAGE_WARN, COVERAGE_FAIL = 0.05, 0.15

# PSIS-LOO: above 0.7 the posterior without the run is not reached by reweighting (Vehtari et al.
# 2024, 1507.02646). A shift by one posterior sd: that run says as much as the interval's width.
K_HAT = K_HAT_LIMIT
SHIFT_WARN = 1.0

# A run that keeps a quarter of its weight is in practice ignored. With the tails usual here (nu
# of 2 to 4) about 4 % of good runs fall below it, so 10 % is more than accident.
LITTLE_WEIGHT = 0.25
IGNORED_SHARE_WARN = 0.10

# Posterior sd over prior sd, on the prior's scale. 0.8: the data removed a third of the prior
# variance at most, so the interval is mostly judgement. A mean 2.5 prior sd away happens to one
# prior in eighty if the prior is right.
PRIOR_RATIO_WARN = 0.8
PRIOR_DISTANCE_WARN = 2.5
# Correlation of floor and exponent beyond which neither can be read alone: 95 % of the variance
# of one is explained by the other.
TRADE_OFF_WARN = 0.975

# A power law with a floor has three numbers on each axis: two sizes cannot show a bend. Fewer
# than five budgets leave no budget to judge the forecast on (McCandlish and Kaplan used seven).
SIZES_FAIL, BUDGETS_WARN = 3, 5
# Over half a decade a term with exponent 0.35 falls by a third and looks straight, so floor and
# exponent trade freely; published studies span 1.5 to 3 decades.
RANGE_WARN = 0.5
# Tokens per parameter within a factor 3: size and data rise together, and what one explains the
# other can explain as well.
RATIO_SPREAD_WARN = 3.0
SAME_SIZE, SAME_BUDGET = 0.02, 0.10  # relative differences that are one size, one budget; chosen

# Design effect of a bowl's form: intervals are wider by its root. Simulated sweeps have 1.0 to 1.1.
DISPERSION_WARN = 2.0

# Rows set aside: above a fifth, who decides what is kept decides the law.
SET_ASIDE_WARN = 0.2

# Extrapolation: as far again as the data reach, or `FAR_DECADES`, whichever comes first. Beyond
# twice that no published law has been held against runs.
FAR = FAR_DECADES
REACH_WARN = 1.0  # in ranges of the data
HOPELESS = 2 * FAR_DECADES

# Work: enough draws for p-values of 0.005 and for Pareto tails; fewer on large tables.
DRAWS_MOST, DRAWS_LEAST, CELLS = 1000, 200, 4e6
