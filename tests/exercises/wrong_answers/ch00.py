import math
from itertools import pairwise

import torch


def angle(t):
    return math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)


def guess(exponent):
    def wrong(x_t, points, alpha, sigma):
        squares = (x_t[:, None] - alpha * points).square().sum(-1)
        return torch.softmax(exponent(squares, sigma), dim=1) @ points

    return wrong


def underflows(x_t, points, alpha, sigma):
    w = torch.exp(-(x_t[:, None] - alpha * points).square().sum(-1) / (2 * sigma**2))
    return w @ points / w.sum(1, keepdim=True)


def forgot_alpha(x_t, points, alpha, sigma):
    return guess(lambda d, s: -d / (2 * s**2))(x_t, points, 1.0, sigma)


def loop(step):
    def run(denoiser, x, times):
        for t, s in pairwise(times):
            x = step(denoiser.path(t), denoiser.path(s), x, denoiser(x, t))
        return x

    return run


WRONG = {
    "0.1": [
        ("swapped", lambda x0, eps, t: angle(t)[1] * x0 + angle(t)[0] * eps),
        ("squared", lambda x0, eps, t: angle(t)[0] ** 2 * x0 + angle(t)[1] ** 2 * eps),
        ("1 - alpha", lambda x0, eps, t: angle(t)[0] * x0 + (1 - angle(t)[0]) * eps),
        ("angle without pi / 2", lambda x0, eps, t: math.cos(t) * x0 + math.sin(t) * eps),
        ("half turn", lambda x0, eps, t: math.cos(math.pi * t) * x0 + math.sin(math.pi * t) * eps),
        ("hard-coded", lambda x0, eps, t: torch.ones(6, 3)),
    ],
    "0.2": [("angle", math.pi / 4), ("size", math.sqrt(0.5)), ("degrees", 45), ("quarter", 0.25)],
    "0.3": [("mode", "at 2"), ("sampled", "nine to one"), ("unweighted", "at 0")],
    "0.4": [
        ("sign", guess(lambda d, s: d / (2 * s**2))),
        ("no factor 2", guess(lambda d, s: -d / s**2)),
        ("sigma not squared", guess(lambda d, s: -d / (2 * s))),
        ("distances", guess(lambda d, s: -d.sqrt() / (2 * s**2))),
        ("no alpha", forgot_alpha),
        ("underflow", underflows),
        ("nearest", lambda x_t, p, a, s: p[(x_t[:, None] - a * p).square().sum(-1).argmin(1)]),
        ("hard-coded", lambda x_t, p, a, s: torch.zeros(5, 2)),
    ],
    "0.5": [
        ("sigma_t", lambda x, g, at, st, as_, ss: as_ * g + st * (x - at * g) / st),
        ("alpha_t", lambda x, g, at, st, as_, ss: at * g + ss * (x - at * g) / st),
        ("no noise", lambda x, g, at, st, as_, ss: g.clone()),
        ("guess not shrunk", lambda x, g, at, st, as_, ss: as_ * g + ss * (x - g) / st),
        ("not divided", lambda x, g, at, st, as_, ss: as_ * g + ss * (x - at * g)),
        ("hard-coded", lambda x, g, at, st, as_, ss: torch.ones(6, 3)),
    ],
    "0.6": [
        ("no noise", loop(lambda t, s, x, g: s.alpha * g)),
        ("alpha of t", loop(lambda t, s, x, g: t.alpha * g + s.sigma * (x - t.alpha * g) / t.sigma)),
        ("alpha of s", loop(lambda t, s, x, g: s.alpha * g + s.sigma * (x - s.alpha * g) / t.sigma)),
        ("one step", lambda denoiser, x, times: denoiser(x, times[0])),
        ("hard-coded", lambda denoiser, x, times: torch.zeros(6, 2)),
    ],
}
