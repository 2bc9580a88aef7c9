from itertools import pairwise

import torch

D = torch.float64


def powers(finish, steps_more=0):
    def wrong(high, low, steps, kappa):
        unit = torch.linspace(0, 1, steps + 1 + steps_more, dtype=D)
        return finish(high, low, kappa, unit)

    return wrong


def karras(high, low, kappa, unit):
    a, b = high ** (1 / kappa), low ** (1 / kappa)
    return (a + unit * (b - a)) ** kappa


def zero(grid):
    return torch.cat([grid, torch.zeros(1, dtype=D)])


def two_m(share, factor=lambda at, st, as_, ss: ss / st):
    def wrong(x_t, x0, at, st, as_, ss, before):
        guess = x0
        if before is not None and ss > 0:
            lam_t, lam_s = (at / st).log(), (as_ / ss).log()
            guess = x0 + share(lam_s - lam_t, lam_t - before[1]) * (x0 - before[0])
        ratio = ss / st
        return factor(at, st, as_, ss) * x_t + (as_ - at * ratio) * guess

    return wrong


def no_last_step(x_t, x0, at, st, as_, ss, before):
    guess = x0
    if before is not None:
        lam_t, lam_s = (at / st).log(), (as_ / ss).log()
        guess = x0 + (lam_s - lam_t) / (2 * (lam_t - before[1])) * (x0 - before[0])
    return ss / st * x_t + (as_ - at * ss / st) * guess


def steps_with(rule):
    def wrong(u, x, times):
        before, h_before = None, None
        for t, s in pairwise(times):
            now, h = u(x, t), s - t
            x = x + h * (now if before is None else now + rule(h, h_before) * (now - before))
            before, h_before = now, h
        return x

    return wrong


def churn(term):
    def wrong(x, sigma, gamma, s_noise, z):
        root = sigma * ((1 + gamma) ** 2 - 1) ** 0.5
        return x + term(root, s_noise, z, sigma, gamma)

    return wrong


def coat(skip=None, out=None, variance=None):
    def wrong(a, b, alpha, sigma, s):
        area = alpha * b - sigma * a
        right = [b / area, -sigma / area, a**2 * s**2 + b**2]
        for k, other in enumerate((skip, out, variance)):
            if other is not None:
                right[k] = other(a, b, alpha, sigma, s)
        return tuple(right)

    return wrong


def placed(density):
    def wrong(tau, C, p, steps):
        mass = torch.cat([tau.new_zeros(1), (density(C, p, tau) * tau.diff()).cumsum(0)])
        goal = torch.linspace(0, 1, steps + 1, dtype=D) * mass[-1]
        k = torch.searchsorted(mass, goal).clamp(1, len(tau) - 1)
        part = (goal - mass[k - 1]) / (mass[k] - mass[k - 1])
        return tau[k - 1] + part * (tau[k] - tau[k - 1])

    return wrong


WRONG = {
    "11.1": [
        ("upwards", powers(lambda h, low, k, u: zero(karras(h, low, k, u).flip(0)))),
        ("no zero", powers(karras)),
        ("one step too few", lambda h, low, n, k: zero(karras(h, low, k, torch.linspace(0, 1, n, dtype=D)))),
        (
            "last level twice",
            lambda h, low, n, k: zero(
                torch.cat([karras(h, low, k, torch.linspace(0, 1, n + 1, dtype=D)), torch.tensor([low], dtype=D)])
            ),
        ),
        ("logarithm", powers(lambda h, low, k, u: zero(h * (low / h) ** u))),
        ("uniform", powers(lambda h, low, k, u: zero(h + u * (low - h)))),
        ("power for root", powers(lambda h, low, k, u: zero((h**k + u * (low**k - h**k)) ** (1 / k)))),
        ("hard-coded", lambda h, low, n, k: torch.tensor([80.0, 10.0, 1.0, 0.0], dtype=D)),
    ],
    "11.2": [("no more than before", 40), ("steps", 80), ("first order", 640), ("twice", 320)],
    "11.3": [("helps", "nearer"), ("nothing", "the same"), ("all", ["nearer", "farther"]), ("a number", 3)],
    "11.4": [
        ("no memory", two_m(lambda h, b: 0 * h)),
        ("equal steps", two_m(lambda h, b: 0.5)),
        ("no half", two_m(lambda h, b: h / b)),
        ("exact integral", two_m(lambda h, b: (h / -torch.expm1(-h) - 1) / b)),
        ("upside down", two_m(lambda h, b: b / (2 * h))),
        ("alpha for sigma", two_m(lambda h, b: h / (2 * b), lambda at, st, as_, ss: as_ / at)),
        ("infinite at the end", no_last_step),
        ("hard-coded", lambda x, *rest: torch.ones(5, 3, dtype=D)),
    ],
    "11.5": [
        ("upside down", steps_with(lambda h, b: b / (2 * h))),
        ("no half", steps_with(lambda h, b: h / b)),
        ("Euler", steps_with(lambda h, b: 0.0)),
        ("sign", steps_with(lambda h, b: -h / (2 * b))),
        ("hard-coded", lambda u, x, times: torch.ones(4, 3, dtype=D)),
    ],
    "11.6": [
        ("s_noise lost", churn(lambda r, s, z, *_: r * z)),
        ("other rows", churn(lambda r, s, z, *_: r * s * z.flip(0))),
        ("absolute", churn(lambda r, s, z, *_: r * s * z.abs())),
        ("squared scale", churn(lambda r, s, z, *_: r * s**2 * z)),
        ("standard deviations", churn(lambda r, s, z, sigma, gamma: gamma * sigma * s * z)),
        ("variance", churn(lambda r, s, z, *_: r**2 * s * z)),
        ("hard-coded", lambda x, *rest: torch.ones(6, 3, dtype=D)),
    ],
    "11.7": [
        ("EDM's skip", coat(skip=lambda a, b, al, si, s: al * s**2 / (al**2 * s**2 + si**2))),
        ("plus", coat(skip=lambda a, b, al, si, s: b / (al * b + si * a))),
        ("sign of out", coat(out=lambda a, b, al, si, s: si / (al * b - si * a))),
        ("alpha", coat(out=lambda a, b, al, si, s: al / (al * b - si * a))),
        ("standard deviation", coat(variance=lambda a, b, al, si, s: (a**2 * s**2 + b**2).sqrt())),
        ("unit data", coat(variance=lambda a, b, al, si, s: a**2 + b**2)),
        ("s not squared", coat(variance=lambda a, b, al, si, s: a**2 * s + b**2)),
        ("hard-coded", lambda a, b, al, si, s: (torch.ones(4, dtype=D),) * 3),
    ],
    "11.8": [
        ("C itself", placed(lambda C, p, tau: C)),
        ("upside down", placed(lambda C, p, tau: C ** (-1 / (p + 1)))),
        ("no widths", placed(lambda C, p, tau: C ** (1 / (p + 1)) / tau.diff())),
        ("uniform", lambda tau, C, p, n: torch.linspace(tau[0].item(), tau[-1].item(), n + 1, dtype=D)),
        ("hard-coded", lambda tau, C, p, n: torch.tensor([-1.3, 0.0, 1.0, 2.0], dtype=D)),
    ],
}
