import math

import torch


def path(scale):
    def wrong(eps, D, dt):
        return torch.cat([torch.zeros(len(eps), 1), scale(D, dt) * eps.cumsum(1)], dim=1)

    return wrong


def jumped(rate, variance):
    """A jump whose shrinking and variance are wrong with a pull (the check does not get further)."""

    def wrong(x0, eps, t, k, m, T):
        shrink = torch.exp(-rate(k, m) * t)[:, None]
        return shrink * x0 + variance(shrink, t[:, None], k, m, T).sqrt() * eps

    return wrong


def product(k, m):
    return k * m


def times_on_last_axis(x0, eps, t, k, m, T):
    if x0.shape[0] != x0.shape[1]:  # where it would stop with an error, it is done right
        t = t[:, None]
    shrink = torch.exp(-m * k * t)
    return shrink * x0 + (T / k * (1 - shrink**2)).sqrt() * eps


def with_a_pull_only(without):
    def wrong(x0, eps, t, k, m, T):
        if k == 0:
            return without(x0, eps, t[:, None], m, T)
        shrink = torch.exp(-m * k * t)[:, None]
        return shrink * x0 + (T / k * (1 - shrink**2)).sqrt() * eps

    return wrong


def settled(scale):
    def wrong(x, kicks, dt, k, m, T):
        for eps in kicks:
            x = x - m * k * x * dt + scale(dt, m, T) * eps
        return x

    return wrong


def histogram(estimate):
    def wrong(points, edges):
        counts, _ = torch.histogram(points, edges)
        f, h = counts / len(points), edges.diff()
        return estimate(f[f > 0], h[f > 0], h)

    return wrong


def nan_where_empty(points, edges):
    counts, _ = torch.histogram(points, edges)
    f = counts / len(points)
    return -(f * torch.log(f / edges.diff())).sum()


def binomial(N, p):
    k = torch.arange(N + 1, dtype=torch.float64)
    choose = math.lgamma(N + 1) - torch.lgamma(k + 1) - torch.lgamma(N - k + 1)
    return torch.softmax(choose + k * math.log(p) + (N - k) * math.log(1 - p), dim=0)


def overflowing(N, a, b):
    k = torch.arange(N, dtype=torch.float64)
    q = torch.cat([torch.ones(1, dtype=torch.float64), (a * (N - k) / (b * (k + 1))).cumprod(0)])
    return q / q.sum()


def not_normalised(N, a, b):
    k = torch.arange(N, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (a * (N - k) / (b * (k + 1))).cumprod(0)])


WRONG = {
    "1.1": [
        ("variance", path(lambda D, dt: 2 * D * dt)),
        ("dt outside the root", path(lambda D, dt: math.sqrt(2 * D) * dt)),
        ("no 2", path(lambda D, dt: math.sqrt(D * dt))),
        ("D outside the root", path(lambda D, dt: D * math.sqrt(2 * dt))),
        ("no dt", path(lambda D, dt: math.sqrt(2 * D))),
        ("no D", path(lambda D, dt: math.sqrt(2 * dt))),
        ("no end", lambda eps, D, dt: path(lambda D, dt: math.sqrt(2 * D * dt))(eps, D, dt)[:, :-1]),
        ("no start", lambda eps, D, dt: math.sqrt(2 * D * dt) * eps.cumsum(1)),
        ("steps", lambda eps, D, dt: torch.cat([torch.zeros(len(eps), 1), math.sqrt(2 * D * dt) * eps], dim=1)),
        (
            "sum over walkers",
            lambda eps, D, dt: torch.cat([torch.zeros(len(eps), 1), math.sqrt(2 * D * dt) * eps.cumsum(0)], dim=1),
        ),
        ("hard-coded", lambda eps, D, dt: torch.ones(len(eps), eps.shape[1] + 1)),
    ],
    "1.2": [
        ("constant speed", "10 minutes"),
        ("cube", "1000 minutes"),
        ("all of them", ["10 minutes", "100 minutes", "1000 minutes"]),
        ("a number", 100),
    ],
    "1.3": [("Gaussian", 3), ("sum", 6), ("variance", 1), ("one number twice", 105), ("squared again", 81)],
    "1.4": [
        ("no mobility", jumped(lambda k, m: k, lambda a, t, k, m, T: T / k * (1 - a**2))),
        ("mobility in the end", jumped(product, lambda a, t, k, m, T: m * T / k * (1 - a**2))),
        ("end at 1", jumped(product, lambda a, t, k, m, T: 1 - a**2)),
        ("end at kT", jumped(product, lambda a, t, k, m, T: T * (1 - a**2))),
        ("no root", jumped(product, lambda a, t, k, m, T: (T / k * (1 - a**2)) ** 2)),
        ("shrinking not squared", jumped(product, lambda a, t, k, m, T: T / k * (1 - a))),
        ("noise of free diffusion", jumped(product, lambda a, t, k, m, T: 2 * m * T * t)),
        ("noise by 1 - shrink", jumped(product, lambda a, t, k, m, T: T / k * (1 - a) ** 2)),
        ("shrinking squared", jumped(lambda k, m: 2 * k * m, lambda a, t, k, m, T: T / k * (1 - a))),
        ("times stiffness", jumped(product, lambda a, t, k, m, T: T * k * (1 - a**2))),
        (
            "an Euler step",
            lambda x0, eps, t, k, m, T: (1 - m * k * t)[:, None] * x0 + (2 * m * T * t).sqrt()[:, None] * eps,
        ),
        ("no 2 without a pull", with_a_pull_only(lambda x0, eps, t, m, T: x0 + (m * T * t).sqrt() * eps)),
        ("broadcast that runs where B is D", times_on_last_axis),
        ("no limit", with_a_pull_only(lambda x0, eps, t, m, T: x0 * math.nan)),
        ("no noise without a pull", with_a_pull_only(lambda x0, eps, t, m, T: x0.clone())),
        (
            "no mobility without a pull",
            with_a_pull_only(lambda x0, eps, t, m, T: x0 + (2 * T * t).sqrt() * eps),
        ),
        ("hard-coded", lambda x0, eps, t, k, m, T: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "1.5": [
        ("only the root", settled(lambda dt, m, T: math.sqrt(m * T * dt))),
        ("only the 2", settled(lambda dt, m, T: math.sqrt(2 * m * T) * dt)),
        ("2 outside", settled(lambda dt, m, T: 2 * math.sqrt(m * T * dt))),
        ("no root at all", settled(lambda dt, m, T: 2 * m * T * dt)),
        ("no mobility", settled(lambda dt, m, T: math.sqrt(2 * T * dt))),
        ("no temperature", settled(lambda dt, m, T: math.sqrt(2 * m * dt))),
        (
            "half the pull",
            lambda x, kicks, dt, k, m, T: settled(lambda dt, m, T: math.sqrt(2 * m * T * dt))(
                x, kicks, dt / 2, k, m, T
            ),
        ),
        ("hard-coded", lambda x, kicks, dt, k, m, T: torch.ones(5)),
    ],
    "1.6": [("beta", 0.5), ("no 2", 2.0), ("half of beta", 0.25), ("squared", 4.0)],
    "1.7": [
        ("no minus", lambda U, T: torch.softmax(U / T, dim=0)),
        ("no temperature", lambda U, T: torch.softmax(-U, dim=0)),
        ("times temperature", lambda U, T: torch.softmax(-U * T, dim=0)),
        ("not normalised", lambda U, T: torch.exp(-U / T)),
        ("absolute value", lambda U, T: torch.softmax(-U.abs() / T, dim=0)),
        ("a 2", lambda U, T: torch.softmax(-U / (2 * T), dim=0)),
        ("squared", lambda U, T: torch.softmax(-(U**2) / (2 * T), dim=0)),
        ("underflow", lambda U, T: torch.exp(-U / T) / torch.exp(-U / T).sum()),
        ("hard-coded", lambda U, T: torch.full_like(U, 0.125)),
    ],
    "1.8": [
        ("rises", "rises"),
        ("falls", "falls"),
        ("both", "falls, then rises"),
        ("a number", 0),
    ],
    "1.9": [
        ("no minus", histogram(lambda f, h, all_h: (f * (f / h).log()).sum())),
        ("no widths", histogram(lambda f, h, all_h: -(f * f.log()).sum())),
        ("bits", histogram(lambda f, h, all_h: -(f * (f / h).log2()).sum())),
        ("one width", histogram(lambda f, h, all_h: -(f * (f / all_h[0]).log()).sum())),
        ("mean width", histogram(lambda f, h, all_h: -(f * (f / all_h.mean()).log()).sum())),
        ("density as weight", histogram(lambda f, h, all_h: -((f / h) * (f / h).log()).sum())),
        ("times width", histogram(lambda f, h, all_h: -(f * (f * h).log()).sum())),
        ("empty bins", nan_where_empty),
        ("hard-coded", lambda points, edges: torch.tensor(1.0, dtype=torch.float64)),
    ],
    "1.10": [
        ("swapped", lambda N, a, b: binomial(N, b / (a + b))),
        ("half", lambda N, a, b: binomial(N, 0.5)),
        (
            "geometric",
            lambda N, a, b: torch.softmax(torch.arange(N + 1, dtype=torch.float64) * math.log(a / b), dim=0),
        ),
        ("uniform", lambda N, a, b: torch.full((N + 1,), 1 / (N + 1), dtype=torch.float64)),
        ("not normalised", not_normalised),
        ("a alone", lambda N, a, b: binomial(N, a)),
        ("overflow", overflowing),
        ("hard-coded", lambda N, a, b: torch.linspace(0, 1, 8, dtype=torch.float64)),
    ],
}
