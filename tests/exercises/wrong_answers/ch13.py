import math
from itertools import pairwise

import torch


def column(t, x):
    return t.reshape(-1, *[1] * (x.ndim - 1))


def pair(point, target=lambda x0, x1, t: x1 - x0):
    return lambda x0, x1, t: (point(x0, x1, column(t, x0)), target(x0, x1, column(t, x0)))


def between(x0, x1, t):
    return (1 - t) * x0 + t * x1


def pair_on_last_axis(x0, x1, t):
    if x0.shape[0] != x0.shape[-1] or x0.ndim > 2:
        t = column(t, x0)
    return (1 - t) * x0 + t * x1, x1 - x0


def loss(point=between, target=lambda x0, x1: x1 - x0, clock=lambda t: t, factor=1.0):
    def wrong(net, x0, x1, t):
        return factor * (net(point(x0, x1, t[:, None]), clock(t)) - target(x0, x1)).square().mean(1)

    return wrong


def walk(sign, clock):
    def wrong(theirs, x, times):
        for t, s in pairwise(times):
            x = x + sign * (s - t) * theirs(x, clock(t, s))
        return x

    return wrong


def tubes(weigh, speed=lambda x0, x1, a, s, ad, sd: ad * x0 + sd * x1):
    def wrong(x, x0, x1, alpha, sigma, alpha_dot, sigma_dot, h):
        square = (x[:, None] - alpha * x0 - sigma * x1).square().sum(2)
        return weigh(square, h) @ speed(x0, x1, alpha, sigma, alpha_dot, sigma_dot)

    return wrong


def right_weights(square, h):
    return torch.softmax(-square / (2 * h**2), dim=1)


def over_points(square, h):
    dim = 0 if square.shape[0] == square.shape[1] else 1
    return torch.softmax(-square / (2 * h**2), dim=dim)


def width_of_ends(x, x0, x1, alpha, sigma, alpha_dot, sigma_dot, h):
    square = (x[:, None] - alpha * x0 - sigma * x1).square().sum(2)
    weight = torch.softmax(-square / (2 * ((alpha + sigma) * h) ** 2), dim=1)
    return weight @ (alpha_dot * x0 + sigma_dot * x1)


def mended_at_zero(u, x, t, low):
    t = t[:, None]
    return -(x + (1 - t) * u) / torch.where(t == 0, low, t)


def floored(formula):
    return lambda u, x, t, low: formula(u, x, t[:, None], low, low + (1 - low) * t[:, None])


def floored_on_last_axis(u, x, t, low):
    t = t if x.shape[0] == x.shape[1] else t[:, None]
    return -(x + (1 - t) * u) / (low + (1 - low) * t)


def rest(rho):
    return (1 - rho**2).sqrt()


WRONG = {
    "13.1": [
        ("the papers' clock", pair(lambda x0, x1, t: t * x0 + (1 - t) * x1)),
        ("the start for the point", pair(lambda x0, x1, t: x1)),
        ("the data for the point", pair(lambda x0, x1, t: x0)),
        ("x0 does not fade", pair(lambda x0, x1, t: x0 + t * x1)),
        ("target turned", pair(between, lambda x0, x1, t: x0 - x1)),
        ("target is the noise", pair(between, lambda x0, x1, t: x1)),
        ("target is the point", pair(between, between)),
        ("last axis", pair_on_last_axis),
        ("target first", lambda x0, x1, t: (x1 - x0, between(x0, x1, column(t, x0)))),
        ("only the point", lambda x0, x1, t: between(x0, x1, column(t, x0))),
        ("hard-coded", lambda x0, x1, t: (torch.ones(4, 1, 3, 3).double(), torch.ones(4, 1, 3, 3).double())),
    ],
    "13.2": [
        ("shown the data", loss(lambda x0, x1, t: x0)),
        ("target turned", loss(target=lambda x0, x1: x0 - x1)),
        ("clock of the point", loss(lambda x0, x1, t: t * x0 + (1 - t) * x1)),
        ("target is x1", loss(target=lambda x0, x1: x1)),
        ("clock of the net", loss(clock=lambda t: 1 - t)),
        ("sum over the axes", loss(factor=3.0)),
        ("hard-coded", lambda net, x0, x1, t: torch.ones(5).double()),
    ],
    "13.3": [
        ("clock only", walk(1, lambda t, s: 1 - t)),
        ("sign only", walk(-1, lambda t, s: t)),
        ("the step's end", walk(-1, lambda t, s: 1 - s)),
        ("the step's end, and the sign", walk(1, lambda t, s: 1 - s)),
        ("hard-coded", lambda theirs, x, times: torch.ones(5, 3).double()),
    ],
    "13.4": [
        ("straight speeds", tubes(right_weights, lambda x0, x1, a, s, ad, sd: x1 - x0)),
        ("no half", tubes(lambda q, h: torch.softmax(-q / h**2, dim=1))),
        ("h without its square", tubes(lambda q, h: torch.softmax(-q / (2 * h), dim=1))),
        ("distance without its square", tubes(lambda q, h: torch.softmax(-q.sqrt() / (2 * h**2), dim=1))),
        ("width of shifted ends", width_of_ends),
        ("plus", tubes(lambda q, h: torch.softmax(q / (2 * h**2), dim=1))),
        ("not normalised", tubes(lambda q, h: torch.exp(-q / (2 * h**2)))),
        ("all alike", tubes(lambda q, h: torch.full_like(q, 1 / q.shape[1]))),
        ("positions", tubes(right_weights, lambda x0, x1, a, s, ad, sd: a * x0 + s * x1)),
        ("over the points", tubes(over_points)),
        ("hard-coded", lambda *all: torch.ones(5, 2).double()),
    ],
    "13.5": [
        ("t plus the floor", floored(lambda u, x, t, low, s: -(x + (1 - t) * u) / (t + low))),
        ("clamped", floored(lambda u, x, t, low, s: -(x + (1 - t) * u) / t.clamp(min=low))),
        ("mended at zero only", mended_at_zero),
        ("clamped at little", floored(lambda u, x, t, low, s: -(x + (1 - t) * u) / t.clamp(min=1e-5))),
        ("sigma squared", floored(lambda u, x, t, low, s: -(x + (1 - t) * u) / s**2)),
        ("the noise", floored(lambda u, x, t, low, s: -(x + (1 - t) * u))),
        ("no minus", floored(lambda u, x, t, low, s: (x + (1 - t) * u) / s)),
        ("alpha as 1 - sigma", floored(lambda u, x, t, low, s: -(x + (1 - s) * u) / s)),
        ("last axis", floored_on_last_axis),
        ("hard-coded", lambda u, x, t, low: torch.ones(5, 3).double()),
    ],
    "13.6": [
        ("C", "C cheaper"),
        ("A", "A cheaper"),
        ("differ", "all differ"),
    ],
    "13.7": [
        ("rho forgotten", lambda s, r, rho: math.pi / 2 * s * r),
        ("r forgotten", lambda s, r, rho: math.pi / 2 * s * rest(rho)),
        ("no arc", lambda s, r, rho: math.pi / 2 * s * r * rest(rho)),
        ("no root", lambda s, r, rho: s * r * torch.arccos(rho)),
        ("no square root", lambda s, r, rho: s * r * rest(rho) ** 2 * torch.arccos(rho)),
        ("sign of rho", lambda s, r, rho: s * r * rest(rho) * torch.arccos(-rho)),
        ("arcsin", lambda s, r, rho: s * r * rest(rho) * torch.arcsin(rho)),
        ("the middle only", lambda s, r, rho: 4 * (s * r * rest(rho)) ** 2 / (s**2 + r**2 + 2 * rho * r * s)),
        ("the whole gain", lambda s, r, rho: 2 * s * r * (1 - rho)),
        ("hard-coded", lambda s, r, rho: torch.ones(6).double()),
    ],
    "13.8": [
        ("x1 sorted", lambda x0, x1: x1.argsort()),
        ("argsort once", lambda x0, x1: x1.argsort()[x0.argsort()]),
        ("two ranks", lambda x0, x1: x1.argsort().argsort()[x0.argsort().argsort()]),
        ("rank of x0", lambda x0, x1: x0.argsort().argsort()),
        ("the other way round", lambda x0, x1: x0.argsort()[x1.argsort().argsort()]),
        ("dearest", lambda x0, x1: x1.argsort(descending=True)[x0.argsort().argsort()]),
        ("hard-coded", lambda x0, x1: torch.zeros(9, dtype=torch.int64)),
    ],
}
