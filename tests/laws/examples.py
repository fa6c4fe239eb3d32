"""One plausible setting of every registered law, and the same laws written again for checking."""

from decimal import Decimal, localcontext

NT = {"N": 1.3e9, "T": 2.6e10}
ADDITIVE = {"E": 1.8169, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659}

EXAMPLES: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "additive": (NT, ADDITIVE),
    "coupled": (NT, {"A": 11.2, "B": 23.1, "alpha": 0.076, "beta": 0.103}),
    "interacting": (
        NT,
        {"E": 1.8, "A": 0.7, "B": 0.4, "alpha": 0.34, "beta": 0.36, "kappa": 0.05, "delta": -0.08},
    ),
    "skaling": (NT, {**ADDITIVE, "k": 0.6}),
    "broken": (NT, {**ADDITIVE, "beta_2": 0.2, "T_b": 4e10, "s": 0.5}),
    "size": ({"N": 1.3e9}, {"E": 1.8, "A": 482.0, "alpha": 0.35}),
    "data": ({"T": 2.6e10}, {"E": 1.8, "B": 2085.0, "beta": 0.37}),
    "critical_batch": ({"batch_size": 5e5}, {"T_min": 1.4e9, "B_crit": 1.1e6}),
    "compute": ({"flops": 1e20}, {"E": 1.7, "K": 900.0, "gamma": 0.155}),
    "compute_no_floor": ({"flops": 1e20}, {"K": 2.3943, "gamma": 0.0273}),
    "isoflop": (
        {"N": 1.3e9, "flops": 1e20},
        {"E": 1.7, "K": 900.0, "gamma": 0.155, "w": 0.06, "G": 0.09, "a": 0.5},
    ),
    "repeated": (
        {"N": 1.3e9, "T": 2.6e10, "U": 4e9},
        {
            "E": 1.87, "A": 520.8, "B": 1488.0, "alpha": 0.353, "beta": 0.33,
            "R_N": 5.31, "R_D": 15.39,
        },
    ),
}  # fmt: skip


def D(x) -> Decimal:
    return Decimal(repr(x)) if isinstance(x, float) else Decimal(x)


def power(x: Decimal, y: Decimal) -> Decimal:
    return (y * x.ln()).exp()


def additive(N, T, E, A, B, alpha, beta):
    return E + A / power(N, alpha) + B / power(T, beta)


def coupled(N, T, A, B, alpha, beta):
    N_c, T_c = power(A, 1 / alpha), power(B, 1 / beta)  # as Kaplan writes it
    return power(power(N_c / N, alpha / beta) + T_c / T, beta)


def interacting(N, T, E, A, B, alpha, beta, kappa, delta, N0, T0):
    n, t = N / N0, T / T0
    return E + A / power(n, alpha) + B / power(n, kappa) / power(t, beta * power(n, delta))


def skaling(N, T, E, A, B, alpha, beta, k):
    R = power(B / A, 1 / k)  # as Videau et al. write it
    return E + A * power(power(N, -alpha / k) + R * power(T, -beta / k), k)


def broken(N, T, E, A, B, alpha, beta, beta_2, T_b, s):
    bend = power(1 + power(T / T_b, 1 / s), s * (beta - beta_2))
    return E + A / power(N, alpha) + B / power(T, beta) * bend


def size(N, E, A, alpha):
    return E + A / power(N, alpha)


def data(T, E, B, beta):
    return E + B / power(T, beta)


def critical_batch(batch_size, T_min, B_crit):
    S_min = T_min / B_crit
    steps = S_min * (1 + B_crit / batch_size)  # tokens are steps times batch
    return steps * batch_size


def compute(flops, E, K, gamma):
    return E + K / power(flops, gamma)


def compute_no_floor(flops, K, gamma):
    return K / power(flops, gamma)


def isoflop(N, flops, E, K, gamma, w, G, a):
    best = G * power(flops, a)
    return E + K / power(flops, gamma) * (1 + w * (N / best).ln() ** 2)


def repeated(N, T, U, E, A, B, alpha, beta, R_N, R_D):
    seen = min(T, U)
    # the compute-optimal pair (G c^a, c^b / G) whose second member is the unique data
    total = alpha + beta
    G, a, b = power(alpha * A / (beta * B), 1 / total), beta / total, alpha / total
    best = G * power(power(seen * G, 1 / b), a)
    fresh = min(N, best)
    T_eff = seen + seen * R_D * (1 - (-(T / seen - 1) / R_D).exp())
    N_eff = fresh + fresh * R_N * (1 - (-(N / fresh - 1) / R_N).exp())
    return E + A / power(N_eff, alpha) + B / power(T_eff, beta)


def oracle(name: str, **values: float) -> float:
    """The law in 40 digits, written in another way."""
    with localcontext() as context:
        context.prec = 40
        return float(globals()[name](**{key: D(float(x)) for key, x in values.items()}))
