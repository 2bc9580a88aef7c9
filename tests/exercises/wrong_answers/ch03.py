import math

import torch

from diffedu.evaluate import FokkerPlanck, Grid


def moments(mean_of, variance_of):
    def wrong(mean, variance, t, k, c, D):
        decay = torch.exp(-k * t)
        return mean_of(mean, decay, c), variance_of(variance, decay, D / k)

    return wrong


def right_mean(mean, decay, c):
    return c + decay * (mean - c)


def right_variance(variance, decay, rest):
    return rest + decay**2 * (variance - rest)


def bernoulli(w):
    near = w.abs() < 1e-8
    safe = torch.where(near, torch.ones_like(w), w)
    return torch.where(near, 1 - w / 2, safe / torch.expm1(safe))


def rates(scale=lambda h, mobility, kT: mobility * kT / h**2, step=lambda U, kT: U.diff() / kT, b=bernoulli, sign=1):
    def wrong(U, h, mobility, kT):
        w = sign * step(U, kT)
        return scale(h, mobility, kT) * b(w), scale(h, mobility, kT) * b(-w)

    return wrong


def d(u, h):
    return torch.gradient(u, spacing=h)[0]


def drift_in(p, f, h):
    return -d(f * p, h)


def drift_out(p, f, h):
    return -f * d(p, h)


_, RATE, QUICK = (
    float(rate)
    for rate in FokkerPlanck.from_potential(lambda x: 6 * (x**2 - 1) ** 2, Grid(-2.5, 2.5, 1200)).relaxation_rates(3)
)
KRAMERS = 2 * 6 * math.sqrt(32) / (2 * math.pi) * math.exp(-6)

WRONG = {
    "3.1": [
        ("mean to zero", moments(lambda m, a, c: a * m, right_variance)),
        ("mean not shrunk to c", moments(lambda m, a, c: c + a * m, right_variance)),
        ("mean at 2k", moments(lambda m, a, c: c + a**2 * (m - c), right_variance)),
        ("variance at k", moments(right_mean, lambda v, a, r: r + a * (v - r))),
        ("variance to 2D/k", moments(right_mean, lambda v, a, r: 2 * r + a**2 * (v - 2 * r))),
        ("variance to D/2k", moments(right_mean, lambda v, a, r: r / 2 + a**2 * (v - r / 2))),
        ("standard deviation", moments(right_mean, lambda v, a, r: right_variance(v, a, r).sqrt())),
        ("runs away", moments(lambda m, a, c: c + (m - c) / a, right_variance)),
        ("to minus c", moments(lambda m, a, c: -c + a * (m + c), right_variance)),
        ("one Euler step", lambda m, v, t, k, c, D: (m - k * t * (m - c), right_variance(v, torch.exp(-k * t), D / k))),
        (
            "swapped",
            lambda m, v, t, k, c, D: (D / k + torch.exp(-2 * k * t) * (v - D / k), c + torch.exp(-k * t) * (m - c)),
        ),
        ("no noise", moments(right_mean, lambda v, a, r: a**2 * v)),
        ("rest at D", lambda m, v, t, k, c, D: (c + torch.exp(-k * t) * (m - c), D + torch.exp(-2 * k * t) * (v - D))),
        (
            "rest at D k",
            lambda m, v, t, k, c, D: (c + torch.exp(-k * t) * (m - c), D * k + torch.exp(-2 * k * t) * (v - D * k)),
        ),
        ("free", lambda m, v, t, k, c, D: (c + torch.exp(-k * t) * (m - c), v + 2 * D * t)),
        ("rate 2", lambda m, v, t, k, c, D: (c + torch.exp(-k * t) * (m - c), D / k + torch.exp(-2 * t) * (v - D / k))),
        ("variance not shrunk to D/k", moments(right_mean, lambda v, a, r: r + a**2 * v)),
        ("hard-coded", lambda m, v, t, k, c, D: (torch.ones(5).double(), torch.ones(5).double())),
    ],
    "3.2": [("grows", "grows"), ("stays", "stays"), ("all", ["grows", "falls", "stays"]), ("a number", 0)],
    "3.3": [
        ("swapped", rates(sign=-1)),
        ("no kT in D", rates(lambda h, m, kT: m / h**2)),
        ("no mobility", rates(lambda h, m, kT: kT / h**2)),
        ("1/h", rates(lambda h, m, kT: m * kT / h)),
        ("no h", rates(lambda h, m, kT: m * kT)),
        ("energy without kT", rates(step=lambda U, kT: U.diff())),
        ("central differences", rates(b=lambda w: 1 - w / 2)),
        ("half the step in the exponent", rates(b=lambda w: torch.exp(-w / 2))),
        ("nan where flat", rates(b=lambda w: w / torch.expm1(w))),
        ("one rate for both", lambda U, h, m, kT: (m * kT / h**2 * bernoulli(U.diff() / kT),) * 2),
        ("D is kT over mobility", rates(lambda h, m, kT: kT / m / h**2)),
        ("no expm1", rates(b=lambda w: torch.where(w == 0, torch.ones_like(w), w / (w.exp() - 1)))),
        ("upwind", rates(b=lambda w: 1 + (-w).clamp(min=0))),
        ("Metropolis", rates(b=lambda w: torch.exp(-w).clamp(max=1))),
        ("one per cell", lambda U, h, m, kT: (U, U)),
        ("hard-coded", lambda U, h, m, kT: (torch.ones(8).double(), torch.ones(8).double())),
    ],
    "3.4": [
        ("only the drift", lambda p, f, g, h: drift_in(p, f, h) + g**2 * d(d(p, h), h)),
        ("only the half", lambda p, f, g, h: drift_out(p, f, h) + 0.5 * g**2 * d(d(p, h), h)),
        ("only the noise inside", lambda p, f, g, h: drift_out(p, f, h) + d(d(g**2 * p, h), h)),
        ("noise outside", lambda p, f, g, h: drift_in(p, f, h) + 0.5 * g**2 * d(d(p, h), h)),
        ("no half", lambda p, f, g, h: drift_in(p, f, h) + d(d(g**2 * p, h), h)),
        ("drift outside", lambda p, f, g, h: drift_out(p, f, h) + 0.5 * d(d(g**2 * p, h), h)),
        ("noise between", lambda p, f, g, h: drift_in(p, f, h) + 0.5 * d(g**2 * d(p, h), h)),
        ("sign of the drift", lambda p, f, g, h: -drift_in(p, f, h) + 0.5 * d(d(g**2 * p, h), h)),
        ("noise between, no half", lambda p, f, g, h: drift_in(p, f, h) + d(g**2 * d(p, h), h)),
        ("noise between, drift outside", lambda p, f, g, h: drift_out(p, f, h) + 0.5 * d(g**2 * d(p, h), h)),
        ("Stratonovich", lambda p, f, g, h: drift_in(p, f, h) + 0.5 * d(g * d(g * p, h), h)),
        ("sign of the noise", lambda p, f, g, h: drift_in(p, f, h) - 0.5 * d(d(g**2 * p, h), h)),
        ("one derivative", lambda p, f, g, h: drift_in(p, f, h) + 0.5 * d(g**2 * p, h)),
        ("half squared", lambda p, f, g, h: drift_in(p, f, h) + d(d((0.5 * g) ** 2 * p, h), h)),
        ("no noise", lambda p, f, g, h: drift_in(p, f, h)),
        ("half a product rule", lambda p, f, g, h: -p * d(f, h) + 0.5 * d(d(g**2 * p, h), h)),
        ("product rule", lambda p, f, g, h: drift_out(p, f, h) - p * d(f, h) + 0.5 * d(d(g**2 * p, h), h)),
        ("g not squared", lambda p, f, g, h: drift_in(p, f, h) + 0.5 * d(d(g * p, h), h)),
        ("hard-coded", lambda p, f, g, h: torch.ones(50, dtype=torch.float64)),
    ],
    "3.5": [
        ("only the half", lambda f, g, s: f + 0.5 * g[:, None] ** 2 * s),
        ("only the sign", lambda f, g, s: f - g[:, None] ** 2 * s),
        ("g not squared", lambda f, g, s: f - 0.5 * g[:, None] * s),
        ("backwards", lambda f, g, s: 0.5 * g[:, None] ** 2 * s - f),
        ("no drift", lambda f, g, s: -0.5 * g[:, None] ** 2 * s),
        ("half squared", lambda f, g, s: f - (0.5 * g[:, None]) ** 2 * s),
        ("half of both", lambda f, g, s: 0.5 * (f - g[:, None] ** 2 * s)),
        ("sign of the drift", lambda f, g, s: -f - 0.5 * g[:, None] ** 2 * s),
        ("no g", lambda f, g, s: f - 0.5 * s),
        ("no score", lambda f, g, s: f),
        ("twice", lambda f, g, s: f - 2 * g[:, None] ** 2 * s),
        ("hard-coded", lambda f, g, s: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "3.6": [
        ("rate of leaving", 2 * math.log(100) / RATE),
        ("half", math.log(100) / RATE / 2),
        ("Kramers", math.log(100) / KRAMERS),
        ("Kramers' rate of leaving", 2 * math.log(100) / KRAMERS),
        ("one over the rate", 1 / RATE),
        ("decimal logarithm", 2 / RATE),
        ("the rate", RATE),
        ("lambda_2", math.log(100) / QUICK),
        ("another height", math.log(100) / 0.11911837324),
        ("no exponential", 100 / RATE),
        ("share for imbalance", math.log(50) / RATE),
    ],
    "3.7": [
        ("every second cell", lambda c, f: (4 * f[::2] - c) / 3),
        ("every other cell", lambda c, f: (4 * f[1::2] - c) / 3),
        ("logarithms", lambda c, f: f.reshape(-1, 2).mean(1) * (f.reshape(-1, 2).mean(1) / c) ** (1 / 3)),
        ("wrong pairs", lambda c, f: (4 * f.reshape(2, -1).mean(0) - c) / 3),
        ("sums", lambda c, f: (4 * f.reshape(-1, 2).sum(1) - c) / 3),
        ("order one", lambda c, f: 2 * f.reshape(-1, 2).mean(1) - c),
        ("swapped", lambda c, f: (4 * c - f.reshape(-1, 2).mean(1)) / 3),
        ("mean of both", lambda c, f: (f.reshape(-1, 2).mean(1) + c) / 2),
        ("order four removed", lambda c, f: (16 * f.reshape(-1, 2).mean(1) - c) / 15),
        ("only fine", lambda c, f: f.reshape(-1, 2).mean(1)),
        ("positive weights", lambda c, f: (4 * f.reshape(-1, 2).mean(1) + c) / 5),
        ("on the fine cells", lambda c, f: (4 * f - c.repeat_interleave(2)) / 3),
        ("hard-coded", lambda c, f: torch.ones(6, dtype=torch.float64)),
    ],
    "3.8": [
        ("not normalised", lambda x: (1 + x**2) ** -1.5),
        ("Boltzmann", lambda x: torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)),
        ("Stratonovich", lambda x: 1 / (math.pi * (1 + x**2))),
        ("Stratonovich, not normalised", lambda x: 1 / (1 + x**2)),
        ("D outside", lambda x: (1 + x**2) ** -0.5),
        ("half of D", lambda x: 2 / math.pi * (1 + x**2) ** -2),
        ("hard-coded", lambda x: torch.ones(30, dtype=torch.float64)),
    ],
}
