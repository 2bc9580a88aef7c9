import math

import torch

from diffedu.core.path import cosine_betas, linear_betas, scaled_linear_betas


def level(alpha_bar, t, x):
    return alpha_bar[t].reshape(-1, *[1] * (x.ndim - 1))


def blend(alpha_bar, x0, eps):
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def respaced(T):
    alpha_bar = table(linear_betas(1000))[torch.linspace(0, 1000, T + 1).double().round().long()]
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def table(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])


def noised(index, power):
    def wrong(x0, eps, t, betas):
        a = table(betas)[t + index][:, None]
        return a.sqrt() * x0 + (1 - a) ** power * eps

    return wrong


def posterior(weight_x0, weight_xt, variance):
    def wrong(x0, x_t, t, betas):
        a, b, now = table(betas)[t - 1], betas[t - 1], table(betas)[t]
        p, q = weight_x0(a, b, now) / (1 - now), weight_xt(a, b, now) / (1 - now)
        return p[:, None] * x0 + q[:, None] * x_t, variance(a, b, now)

    return wrong


def right_x0(a, b, now):
    return a.sqrt() * b


def right_xt(a, b, now):
    return (1 - b).sqrt() * (1 - a)


def right_variance(a, b, now):
    return (1 - a) / (1 - now) * b


honest = posterior(right_x0, right_xt, right_variance)


def late_betas(x0, x_t, t, betas):
    beta, before, now = betas[t.clamp(max=len(betas) - 1)], table(betas)[t - 1], table(betas)[t]
    p, q = right_x0(before, beta, now) / (1 - now), right_xt(before, beta, now) / (1 - now)
    return p[:, None] * x0 + q[:, None] * x_t, right_variance(before, betas[t - 1], now)


def kept_values(alpha_bar, kept):
    return torch.cat([alpha_bar[:1], alpha_bar[kept]])


def wrong_leap(pull, kick):
    return lambda x, eps, h: pull(h[:, None]) * x + kick(h[:, None]) * eps


def right_pull(h):
    return torch.exp(-h)


def right_kick(h):
    return (1 - torch.exp(-2 * h)).sqrt()


def leap_on_last_axis(x, eps, h):
    h = h if len(h) == x.shape[1] else h[:, None]
    return right_pull(h) * x + right_kick(h) * eps


def batch_on_last_axis(x0, eps, t, alpha_bar):
    c = alpha_bar[t]
    if x0.shape[0] != x0.shape[-1]:  # where it would stop with an error, it is done right
        c = level(alpha_bar, t, x0)
    return c.sqrt() * x0 + (1 - c).sqrt() * eps


def coefficients_on_last_axis(x0, x_t, t, betas):
    mean, variance = posterior(right_x0, right_xt, right_variance)(x0, x_t, t, betas)
    if x0.shape[0] != x0.shape[-1]:
        return mean, variance
    a, b, now = table(betas)[t - 1], betas[t - 1], table(betas)[t]
    return right_x0(a, b, now) / (1 - now) * x0 + right_xt(a, b, now) / (1 - now) * x_t, variance


def cosine(power, max_beta):
    def wrong(T):
        f = torch.cos((torch.arange(T + 1).double() / T + 0.008) / 1.008 * math.pi / 2) ** power
        return (1 - f[1:] / f[:-1]).clamp(max=max_beta)

    return wrong


def curve(T):
    return torch.cos((torch.arange(T + 1).double() / T + 0.008) / 1.008 * math.pi / 2) ** 2


def scaled(first, last):
    return lambda T: linear_betas(T, 1e-4 * (1000 / T) ** first, 0.02 * (1000 / T) ** last)


def in_place(x0, eps, t, alpha_bar):
    a = level(alpha_bar, t, x0)
    x0 *= a.sqrt()
    return x0 + (1 - a).sqrt() * eps


WRONG = {
    "5.1": [
        (
            "noise by its variance",
            lambda x0, e, t, ab: level(ab, t, x0).sqrt() * x0 + (1 - level(ab, t, x0)) * e,
        ),
        ("no square roots", lambda x0, e, t, ab: level(ab, t, x0) * x0 + (1 - level(ab, t, x0)) * e),
        (
            "swapped",
            lambda x0, e, t, ab: (1 - level(ab, t, x0)).sqrt() * x0 + level(ab, t, x0).sqrt() * e,
        ),
        (
            "one step early",
            lambda x0, e, t, ab: level(ab, t - 1, x0).sqrt() * x0 + (1 - level(ab, t - 1, x0)).sqrt() * e,
        ),
        ("no new axes", lambda x0, e, t, ab: ab[t].sqrt() * x0 + (1 - ab[t]).sqrt() * e),
        ("broadcast that runs where B is D", batch_on_last_axis),
        ("in place", in_place),
        (
            "one step late",
            lambda x0, e, t, ab: blend(level(ab, (t + 1).clamp(max=len(ab) - 1), x0), x0, e),
        ),
        (
            "root before the difference",
            lambda x0, e, t, ab: level(ab, t, x0).sqrt() * x0 + (1 - level(ab, t, x0).sqrt()) * e,
        ),
        ("noise subtracted", lambda x0, e, t, ab: blend(level(ab, t, x0), x0, -e)),
        ("not shrunk", lambda x0, e, t, ab: x0 + (1 - level(ab, t, x0)).sqrt() * e),
        ("one step only", lambda x0, e, t, ab: blend(level(ab, t, x0) / level(ab, t - 1, x0), x0, e)),
        ("the first time for all", lambda x0, e, t, ab: blend(ab[t[0]], x0, e)),
        ("hard-coded", lambda x0, e, t, ab: torch.ones(5, 1, 4, 4)),
    ],
    "5.2": [
        ("the same", "the same"),
        ("noisier", "noisier"),
        ("all of them", ["clearer", "noisier", "the same"]),
        ("a number", 2),
    ],
    "5.3": [
        ("index into cumprod", int(((1 - linear_betas(1000)).cumprod(0) < 0.5).nonzero()[0])),
        ("one too late", int(((1 - linear_betas(1000)).cumprod(0) < 0.5).nonzero()[0]) + 2),
        ("half of the steps", 500),
        ("a share", 0.26),
        ("the scaled-linear one's", int((table(scaled_linear_betas(1000)) < 0.5).nonzero()[0])),
        ("the cosine's", int((table(cosine_betas(1000)) < 0.5).nonzero()[0])),
        ("root of alpha_bar", int(((1 - linear_betas(1000)).cumprod(0) < 0.25).nonzero()[0]) + 1),
    ],
    "5.4": [
        ("only the index", noised(0, 1.0)),
        ("only the root", lambda x0, e, t, b: noised(1, 0.5)(x0, e, t.clamp(max=len(b) - 1), b)),
        (
            "no roots",
            lambda x0, e, t, b: table(b)[t][:, None] * x0 + (1 - table(b)[t][:, None]) * e,
        ),
        ("one index too small", noised(-1, 0.5)),
        ("index too small, no root", noised(-1, 1.0)),
        (
            "the root moved",
            lambda x0, e, t, b: table(b)[t][:, None] * x0 + (1 - table(b)[t][:, None]).sqrt() * e,
        ),
        (
            "root before the difference",
            lambda x0, e, t, b: table(b)[t][:, None].sqrt() * x0 + (1 - table(b)[t][:, None].sqrt()) * e,
        ),
        ("one step only", lambda x0, e, t, b: blend((1 - b)[t - 1][:, None], x0, e)),
        ("hard-coded", lambda x0, e, t, b: torch.ones(4, 3, dtype=torch.float64)),
    ],
    "5.5": [
        ("only the square", cosine(2, 1.0)),
        ("only the cut", cosine(1, 0.999)),
        ("no offset", lambda T: cosine_betas(T, s=0.0)),
        ("squared twice", cosine(4, 0.999)),
        ("a root", cosine(0.5, 0.999)),
        ("cut elsewhere", cosine(2, 0.99)),
        ("alphas", lambda T: 1 - cosine_betas(T)),
        ("the curve", lambda T: curve(T)[1:]),
        ("ratios to the start", lambda T: (1 - curve(T)[1:] / curve(T)[0]).clamp(max=0.999)),
        ("cut from below", lambda T: cosine_betas(T, max_beta=1.0).clamp(min=0.999)),
        ("hard-coded", lambda T: torch.full((T,), 0.5, dtype=torch.float64)),
    ],
    "5.6": [
        (
            "sqrt(alpha_bar_t) before x_t",
            posterior(right_x0, lambda a, b, now: now.sqrt() * (1 - a), right_variance),
        ),
        (
            "alpha_bar_t before x0",
            posterior(lambda a, b, now: now.sqrt() * b, right_xt, right_variance),
        ),
        ("swapped", posterior(right_xt, right_x0, right_variance)),
        (
            "no roots",
            posterior(lambda a, b, now: a * b, lambda a, b, now: (1 - b) * (1 - a), right_variance),
        ),
        ("one bar earlier", posterior(right_x0, lambda a, b, now: a.sqrt() * (1 - a), right_variance)),
        ("no root before x_t", posterior(right_x0, lambda a, b, now: (1 - b) * (1 - a), right_variance)),
        ("no root before x0", posterior(lambda a, b, now: a * b, right_xt, right_variance)),
        ("no bar before x0", posterior(lambda a, b, now: (1 - b).sqrt() * b, right_xt, right_variance)),
        (
            "no denominators",
            posterior(
                lambda a, b, now: right_x0(a, b, now) * (1 - now),
                lambda a, b, now: right_xt(a, b, now) * (1 - now),
                right_variance,
            ),
        ),
        ("betas one step late", late_betas),
        ("variance of shape (B, 1)", lambda *args: (honest(*args)[0], honest(*args)[1][:, None])),
        ("variance without its denominator", posterior(right_x0, right_xt, lambda a, b, now: (1 - a) * b)),
        ("variance with the wrong factor", posterior(right_x0, right_xt, lambda a, b, now: (1 - now) * b)),
        ("variance before x_t is seen", posterior(right_x0, right_xt, lambda a, b, now: 1 - a)),
        ("variance beta", posterior(right_x0, right_xt, lambda a, b, now: b)),
        (
            "standard deviation",
            posterior(right_x0, right_xt, lambda a, b, now: right_variance(a, b, now).sqrt()),
        ),
        ("broadcast that runs where B is D", coefficients_on_last_axis),
        ("mean only", lambda x0, x_t, t, b: x0),
        (
            "hard-coded",
            lambda x0, x_t, t, b: (torch.ones(5, 3, dtype=torch.float64), torch.ones(5, dtype=torch.float64)),
        ),
    ],
    "5.7": [
        ("betas of the long chain", lambda ab, kept: 1 - ab[kept] / ab[kept - 1]),
        ("from 0 each", lambda ab, kept: 1 - ab[kept]),
        ("first step forgotten", lambda ab, kept: 1 - ab[kept][1:] / ab[kept][:-1]),
        (
            "alphas",
            lambda ab, kept: torch.cat([ab[:1], ab[kept]])[1:] / torch.cat([ab[:1], ab[kept]])[:-1],
        ),
        (
            "betas added up",
            lambda ab, kept: torch.cat([ab.new_zeros(1), (1 - ab[1:] / ab[:-1]).cumsum(0)[kept - 1]]).diff(),
        ),
        ("upside down", lambda ab, kept: 1 - kept_values(ab, kept)[:-1] / kept_values(ab, kept)[1:]),
        ("differences", lambda ab, kept: -kept_values(ab, kept).diff()),
        (
            "a root",
            lambda ab, kept: 1 - (kept_values(ab, kept)[1:] / kept_values(ab, kept)[:-1]).sqrt(),
        ),
        (
            "one step early",
            lambda ab, kept: 1 - kept_values(ab, kept - 1)[1:] / kept_values(ab, kept - 1)[:-1],
        ),
        (
            "first leap from itself",
            lambda ab, kept: 1 - ab[kept] / torch.cat([ab[kept[:1]], ab[kept[:-1]]]),
        ),
        ("first leap from 1", lambda ab, kept: 1 - ab[kept] / torch.cat([ab[1:2], ab[kept[:-1]]])),
        ("hard-coded", lambda ab, kept: torch.ones(len(kept), dtype=torch.float64)),
    ],
    "5.8": [
        ("only the first", scaled(1, 0)),
        ("the wrong way", scaled(-1, -1)),
        ("by the root", scaled(0.5, 0.5)),
        ("the first steps", lambda T: linear_betas(1000)[:T]),
        ("the last steps", lambda T: linear_betas(1000)[-T:]),
        ("every so-many-th", lambda T: linear_betas(1000)[torch.linspace(0, 999, T).double().round().long()]),
        ("one leap for many steps", lambda T: 1 - (1 - linear_betas(T)) ** (1000 / T)),
        ("too strong", lambda T: linear_betas(T) if T == 1000 else linear_betas(T, 0.002, 0.9)),
        ("too weak", scaled(0.9, 0.9)),
        ("a beta above 1", scaled(1, 2)),
        ("thinned", lambda T: respaced(T)),
        ("hard-coded", lambda T: torch.full((1000,), 0.01, dtype=torch.float64)),
    ],
    "5.9": [
        ("on entering", lambda b: b.sqrt()),
        ("variances", lambda b: b * (1 - b).cumprod(0)[-1] / (1 - b).cumprod(0)),
        ("shrunk by its own step", lambda b: (b * table(b)[-1] / table(b)[:-1]).sqrt()),
        ("the steps before", lambda b: (b * table(b)[1:]).sqrt()),
        ("alpha without the root", lambda b: b.sqrt() * table(b)[-1] / table(b)[1:]),
        ("without its own beta", lambda b: (table(b)[-1] / table(b)[1:]).sqrt()),
        ("entering by variance", lambda b: b * (table(b)[-1] / table(b)[1:]).sqrt()),
        ("merged", lambda b: (1 - table(b)[1:]).sqrt()),
        ("x0 among them", lambda b: (torch.cat([b.new_ones(1), b]) * table(b)[-1] / table(b)).sqrt()),
        ("last one missing", lambda b: (b * table(b)[-1] / table(b)[1:]).sqrt()[:-1]),
        ("hard-coded", lambda b: torch.ones(len(b), dtype=torch.float64)),
    ],
    "5.10": [
        (
            "the other text's clock",
            wrong_leap(lambda h: torch.exp(-h / 2), lambda h: (1 - torch.exp(-h)).sqrt()),
        ),
        ("noise by its variance", wrong_leap(right_pull, lambda h: 1 - torch.exp(-2 * h))),
        ("Euler", wrong_leap(lambda h: 1 - h, lambda h: (2 * h).sqrt())),
        ("noise that no spring pulls", wrong_leap(right_pull, lambda h: (2 * h).sqrt())),
        ("no squares", wrong_leap(right_pull, lambda h: 1 - torch.exp(-h))),
        ("pull changed instead", wrong_leap(lambda h: torch.exp(-2 * h), right_kick)),
        ("broadcast that runs where B is D", leap_on_last_axis),
        ("hard-coded", lambda x, eps, h: torch.ones(5, 3, dtype=torch.float64)),
    ],
}
