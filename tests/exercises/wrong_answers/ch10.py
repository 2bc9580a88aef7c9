import math
from itertools import pairwise

import torch


def right_sub_vp(beta, B):
    decay = torch.exp(-B)
    return decay.sqrt(), 1 - decay, (beta * (1 - decay**2)).sqrt()


def sub_vp(index, value):
    def wrong(beta, B):
        parts = list(right_sub_vp(beta, B))
        parts[index] = value(beta, B, torch.exp(-B))
        return tuple(parts)

    return wrong


def film(formula):
    return lambda x, s, z, f, g2, dt, k: formula(x, s, z, f[:, None], g2[:, None], dt[:, None], k)


def right_film(x, s, z, f, g2, dt, k):
    return x + (-f * x + (1 + k**2) / 2 * g2 * s) * dt + k * (g2 * dt).sqrt() * z


def film_on_last_axis(x, s, z, f, g2, dt, k):
    return right_film(x, s, z, f, g2, dt, k) if len(x) == 3 else film(right_film)(x, s, z, f, g2, dt, k)


def uphill(formula):
    return lambda x, s, z, f, g, dt: formula(x, s, z, f[:, None], g[:, None], dt[:, None])


def right_step(x, s, z, f, g, dt):
    return x + (-f * x + g**2 * s) * dt + g * dt.sqrt() * z


def step_on_last_axis(x, s, z, f, g, dt):
    return right_step(x, s, z, f, g, dt) if len(x) == 3 else uphill(right_step)(x, s, z, f, g, dt)


def exploding(g, ode, sde):
    """g(sigma, ln r), then ode(g^2, score) and sde(g^2, score), with g^2 the student's own."""

    def wrong(s, t, low, high):
        rate = math.log(high / low)
        mine = g(low * torch.exp(rate * t), rate)
        return ode(mine[:, None] ** 2, s), sde(mine[:, None] ** 2, s), mine

    return wrong


def true_g(sigma, rate):
    return sigma * math.sqrt(2 * rate)


def half(g2, s):
    return g2 / 2 * s


def whole(g2, s):
    return g2 * s


def by_probes(finish):
    def wrong(field, x, probes):
        x = x.detach().requires_grad_()
        value = field(x)
        rows = torch.stack([torch.autograd.grad((value * p).sum(), x, retain_graph=True)[0] for p in probes])
        return finish((rows * probes).sum(2), rows, value.detach(), probes)

    return wrong


def certainty(one):
    return one.std(0) / len(one) ** 0.5


def heun(choose, finish=lambda gained, end, start, prior: gained + prior(end)):
    """choose(x, y, t, s, h, velocity, divergence) gives the next point and the gain of one step."""

    def wrong(velocity, divergence, x, times, log_prior):
        start, gained = x, torch.zeros(len(x), dtype=x.dtype)
        for t, s in pairwise(times):
            h = s - t
            y = x + h * velocity(x, t)
            x, gain = choose(x, y, t, s, h, velocity, divergence)
            gained = gained + gain
        return finish(gained, x, start, log_prior)

    return wrong


def next_point(x, y, t, s, h, v):
    return x + h * (v(x, t) + v(y, s)) / 2


def right_choice(x, y, t, s, h, v, d):
    return next_point(x, y, t, s, h, v), h * (d(x, t) + d(y, s)) / 2


def midpoint(x, y, t, s, h, v, d):
    middle = x + h / 2 * v(x, t)
    return x + h * v(middle, t + h / 2), h * d(middle, t + h / 2)


WRONG = {
    "10.1": [
        ("alpha without the half", sub_vp(0, lambda b, B, e: e)),
        ("alpha for its complement", sub_vp(0, lambda b, B, e: 1 - e)),
        ("sigma of VP", sub_vp(1, lambda b, B, e: (1 - e).sqrt())),
        ("variance for sigma", sub_vp(1, lambda b, B, e: (1 - e) ** 2)),
        ("sigma with B / 2", sub_vp(1, lambda b, B, e: 1 - e.sqrt())),
        ("g squared", sub_vp(2, lambda b, B, e: b * (1 - e**2))),
        ("g with one B", sub_vp(2, lambda b, B, e: (b * (1 - e)).sqrt())),
        ("g of VP", sub_vp(2, lambda b, B, e: b.sqrt())),
        ("bracket outside", sub_vp(2, lambda b, B, e: b.sqrt() * (1 - e**2))),
        ("sigma with g's exponent", sub_vp(1, lambda b, B, e: (1 - e**2).sqrt())),
        ("g from sigma", sub_vp(2, lambda b, B, e: b.sqrt() * (1 - e))),
        ("g with 4 B", sub_vp(2, lambda b, B, e: (b * (1 - e**4)).sqrt())),
        ("hard-coded", lambda b, B: tuple(torch.full((6,), v, dtype=torch.float64) for v in (0.5, 0.75, 2.0))),
    ],
    "10.2": [
        ("k for k squared", 0.64),
        ("the forward one", 0.8),
        ("the ODE's", 1.0),
        ("divided", 0.2),
        ("root", 0.8**0.25),
        ("half a root", 0.8**0.5),
    ],
    "10.3": [
        ("all of g squared", film(lambda x, s, z, f, g2, dt, k: x + (-f * x + g2 * s) * dt + k * (g2 * dt).sqrt() * z)),
        ("half of it", film(lambda x, s, z, f, g2, dt, k: x + (-f * x + g2 / 2 * s) * dt + k * (g2 * dt).sqrt() * z)),
        (
            "k for k squared",
            film(lambda x, s, z, f, g2, dt, k: x + (-f * x + (1 + k) / 2 * g2 * s) * dt + k * (g2 * dt).sqrt() * z),
        ),
        (
            "g for g squared",
            film(lambda x, s, z, f, g2, dt, k: right_film(x, s, 0 * z, f, g2.sqrt(), dt, k) + k * (g2 * dt).sqrt() * z),
        ),
        (
            "g squared in the kick",
            film(lambda x, s, z, f, g2, dt, k: right_film(x, s, 0 * z, f, g2, dt, k) + k * g2 * dt.sqrt() * z),
        ),
        (
            "kick like dt",
            film(lambda x, s, z, f, g2, dt, k: right_film(x, s, 0 * z, f, g2, dt, k) + k * g2.sqrt() * dt * z),
        ),
        ("k squared in the kick", film(lambda x, s, z, f, g2, dt, k: right_film(x, s, k * z, f, g2, dt, k))),
        ("kick without k", film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z / k, f, g2, dt, k))),
        (
            "forward drift",
            film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z, f, g2, dt, k) + 2 * f * x * dt),
        ),
        (
            "both signs",
            film(lambda x, s, z, f, g2, dt, k: x + (f * x - (1 + k**2) / 2 * g2 * s) * dt + k * (g2 * dt).sqrt() * z),
        ),
        ("score's sign", film(lambda x, s, z, f, g2, dt, k: right_film(x, -s, z, f, g2, dt, k))),
        ("noise on noise", film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z * z, f, g2, dt, k))),
        (
            "twice the share",
            film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z, f, g2, dt, k) + (1 + k**2) / 2 * g2 * s * dt),
        ),
        (
            "only the new kicks' half",
            film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z, f, g2, dt, k) - g2 / 2 * s * dt),
        ),
        ("k = 1", film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z, f, g2, dt, 1))),
        ("no drift", film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z, 0 * f, g2, dt, k))),
        ("no kick", film(lambda x, s, z, f, g2, dt, k: right_film(x, s, 0 * z, f, g2, dt, k))),
        ("only the change", film(lambda x, s, z, f, g2, dt, k: right_film(x, s, z, f, g2, dt, k) - x)),
        ("first coefficients", lambda x, s, z, f, g2, dt, k: right_film(x, s, z, f[0], g2[0], dt[0], k)),
        ("broadcast that runs where B is D", film_on_last_axis),
        ("hard-coded", lambda x, s, z, f, g2, dt, k: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "10.4": [
        ("only the signs", uphill(lambda x, s, z, f, g, dt: x + (-f * x + g * s) * dt + g * dt.sqrt() * z)),
        ("only the square", uphill(lambda x, s, z, f, g, dt: x + (f * x - g**2 * s) * dt + g * dt.sqrt() * z)),
        ("f's sign left", uphill(lambda x, s, z, f, g, dt: x + (f * x + g**2 * s) * dt + g * dt.sqrt() * z)),
        ("score's sign left", uphill(lambda x, s, z, f, g, dt: right_step(x, -s, z, f, g, dt))),
        ("the ODE's half", uphill(lambda x, s, z, f, g, dt: x + (-f * x + g**2 / 2 * s) * dt + g * dt.sqrt() * z)),
        ("kick's sign", uphill(lambda x, s, z, f, g, dt: right_step(x, s, -z, f, g, dt))),
        ("kick's square", uphill(lambda x, s, z, f, g, dt: right_step(x, s, g * z, f, g, dt))),
        ("the ODE", uphill(lambda x, s, z, f, g, dt: x + (-f * x + g**2 / 2 * s) * dt)),
        ("kick like dt", uphill(lambda x, s, z, f, g, dt: right_step(x, s, dt.sqrt() * z, f, g, dt))),
        ("f's sign and g left", uphill(lambda x, s, z, f, g, dt: x + (f * x + g * s) * dt + g * dt.sqrt() * z)),
        ("no kick", uphill(lambda x, s, z, f, g, dt: right_step(x, s, 0 * z, f, g, dt))),
        ("broadcast that runs where B is D", step_on_last_axis),
        ("hard-coded", lambda x, s, z, f, g, dt: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "10.5": [
        ("only the half", exploding(lambda a, r: a * math.sqrt(r), half, whole)),
        ("only g", exploding(true_g, whole, whole)),
        ("g squared", exploding(lambda a, r: 2 * r * a**2, half, whole)),
        ("derivative of sigma", exploding(lambda a, r: r * a, half, whole)),
        ("no root", exploding(lambda a, r: 2 * r * a, half, whole)),
        ("half a root", exploding(lambda a, r: math.sqrt(2) * r * a, half, whole)),
        ("the level", exploding(lambda a, r: a, half, whole)),
        ("a quarter", exploding(true_g, lambda g2, s: g2 / 4 * s, whole)),
        ("ODE's sign", exploding(true_g, lambda g2, s: -g2 / 2 * s, whole)),
        ("SDE not paid", exploding(true_g, half, half)),
        ("SDE's sign", exploding(true_g, half, lambda g2, s: -g2 * s)),
        ("SDE twice", exploding(true_g, half, lambda g2, s: 2 * g2 * s)),
        (
            "hard-coded",
            lambda s, t, low, high: (
                torch.ones(5, 3, dtype=torch.float64),
                torch.ones(5, 3, dtype=torch.float64),
                torch.ones(5, dtype=torch.float64),
            ),
        ),
    ],
    "10.6": [
        ("no second probe", by_probes(lambda one, rows, v, p: (rows.sum(2).mean(0), certainty(one)))),
        ("summed", by_probes(lambda one, rows, v, p: (one.sum(0), certainty(one)))),
        ("divided by D", by_probes(lambda one, rows, v, p: (one.mean(0) / 3, certainty(one)))),
        ("first probe", by_probes(lambda one, rows, v, p: (one[0], certainty(one)))),
        ("batch averaged", by_probes(lambda one, rows, v, p: (one.mean().expand(one.shape[1]), certainty(one)))),
        ("not differentiated", by_probes(lambda one, rows, v, p: ((v * p).sum(2).mean(0), certainty(one)))),
        ("spread of one", by_probes(lambda one, rows, v, p: (one.mean(0), one.std(0)))),
        ("over S", by_probes(lambda one, rows, v, p: (one.mean(0), one.std(0) / len(one)))),
        ("with S", by_probes(lambda one, rows, v, p: (one.mean(0), one.std(0, unbiased=False) / len(one) ** 0.5))),
        ("variance", by_probes(lambda one, rows, v, p: (one.mean(0), one.var(0) / len(one)))),
        ("hard-coded", lambda f, x, p: (torch.ones(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))),
    ],
    "10.7": [
        ("sign", heun(right_choice, lambda gained, end, start, prior: prior(end) - gained)),
        ("prior at the start", heun(right_choice, lambda gained, end, start, prior: prior(start) + gained)),
        ("no integral", heun(right_choice, lambda gained, end, start, prior: prior(end))),
        ("no prior", heun(right_choice, lambda gained, end, start, prior: gained)),
        ("Euler", heun(lambda x, y, t, s, h, v, d: (y, h * d(x, t)))),
        ("left", heun(lambda x, y, t, s, h, v, d: (next_point(x, y, t, s, h, v), h * d(x, t)))),
        ("right", heun(lambda x, y, t, s, h, v, d: (next_point(x, y, t, s, h, v), h * d(y, s)))),
        ("still", heun(lambda x, y, t, s, h, v, d: (next_point(x, y, t, s, h, v), h * (d(x, t) + d(x, s)) / 2))),
        ("old time", heun(lambda x, y, t, s, h, v, d: (next_point(x, y, t, t, h, v), h * (d(x, t) + d(y, t)) / 2))),
        ("twice", heun(right_choice, lambda gained, end, start, prior: 2 * gained + prior(end))),
        ("point by Euler", heun(lambda x, y, t, s, h, v, d: (y, h * (d(x, t) + d(y, s)) / 2))),
        ("midpoint", heun(midpoint)),
        ("over D", heun(right_choice, lambda gained, end, start, prior: gained / 3 + prior(end))),
        ("hard-coded", lambda *args: torch.full((5,), -3.0, dtype=torch.float64)),
    ],
    "10.8": [
        ("factor 2", lambda k, b, dt: 1 / (1 - k**2 * b * dt / 2)),
        ("first order", lambda k, b, dt: 1 + k**2 * b * dt / 4),
        ("reciprocal", lambda k, b, dt: 1 - k**2 * b * dt / 4),
        ("k for k squared", lambda k, b, dt: 1 / (1 - k * b * dt / 4)),
        ("the whole share", lambda k, b, dt: 1 / (1 - (1 + k**2) / 8 * b * dt)),
        ("deviation", lambda k, b, dt: 1 / (1 - k**2 * b * dt / 4).sqrt()),
        ("no square", lambda k, b, dt: k**2 * b * dt / (1 - (1 - k**2 * b * dt / 2))),
        ("right at k = 1", lambda k, b, dt: 1 / (1 - b * dt / 4)),
        ("kick without k", lambda k, b, dt: 1 / k**2 / (1 - k**2 * b * dt / 4)),
        ("sign", lambda k, b, dt: 1 / (1 + k**2 * b * dt / 4)),
        ("second order", lambda k, b, dt: 1 + k**2 * b * dt / 4 + (k**2 * b * dt) ** 2 / 16),
        ("no f x", lambda k, b, dt: k**2 * b * dt / (1 - (1 - (1 + k**2) / 4 * b * dt) ** 2)),
        ("u squared", lambda k, b, dt: 1 / (1 - (k**2 * b * dt) ** 2 / 4)),
        ("hard-coded", lambda k, b, dt: torch.full((6,), 1.2, dtype=torch.float64)),
    ],
}
