"""Plausible wrong answers to the exercises of chapter 2: each must get its own message."""

import math

import torch

A, STD = 2 * (1 - 1 / 1.05), 0.4


def step(x, s, c, b, z):
    return x + c * s + b * z


def on_the_wrong_axis(x, s, h, T, M, z):
    if len(x) != len(M):  # where it would stop with an error, it is done right
        return step(x, s, h * M, (2 * h * M * T) ** 0.5, z)
    c = M[:, None]
    return step(x, s, h * c, (2 * h * c * T) ** 0.5, z)


def on_axes(function):
    """A covariance from a formula for one axis."""

    def answer(covariance, h, T):
        values, axes = torch.linalg.eigh(covariance)
        return axes @ torch.diag(function(values, h, T)) @ axes.T

    return answer


def squares(x, y, sx, sy, h, v):
    return ((y - x - h * sx) ** 2).sum(1) / (2 * v), ((x - y - h * sy) ** 2).sum(1) / (2 * v)


def ratio(function):
    """log r from the climb and minus the log-densities there and back."""

    def answer(x, y, px, py, sx, sy, h, T):
        return function((py - px) / T, *squares(x, y, sx, sy, h, 2 * h * T), T)

    return answer


def back_with_the_old_score(x, y, px, py, sx, sy, h, T):
    there, back = squares(x, y, sx, sx, h, 2 * h * T)
    return (py - px) / T + there - back


def referee(function):
    def answer(log_prob, score, x, h, z, u):
        y = x + h * score(x) + math.sqrt(2 * h) * z
        log_r = function(log_prob(y) - log_prob(x), *squares(x, y, score(x), score(y), h, 2 * h))
        return torch.where((u.log() < log_r)[:, None], y, x)

    return answer


def referee_with_the_old_score(log_prob, score, x, h, z, u):
    y = x + h * score(x) + math.sqrt(2 * h) * z
    there, back = squares(x, y, score(x), score(x), h, 2 * h)
    return torch.where((u.log() < log_prob(y) - log_prob(x) + there - back)[:, None], y, x)


def others_move(log_prob, score, x, h, z, u):
    y = x + h * score(x) + math.sqrt(2 * h) * z
    there, back = squares(x, y, score(x), score(y), h, 2 * h)
    return torch.where((u.log() > log_prob(y) - log_prob(x) + there - back)[:, None], y, x)


def heated(function):
    return lambda w, s, D, T: torch.softmax(function(w.log(), s.log(), D, T), dim=0)


def powers(w, s, D, T):
    mass = w ** (1 / T) * s ** (D * (1 - 1 / T))
    return mass / mass.sum()


def drift(function):
    """A drift from the mobility, the score, the own derivatives and the gradient of the sum."""

    def answer(x, score, mobility, T):
        x = x.clone().requires_grad_()
        m = mobility(x)
        grads = [torch.autograd.grad(m[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
        own = torch.stack([g[:, i] for i, g in enumerate(grads)], dim=1)
        return function(m, score, own, sum(grads), T).detach()

    return answer


def by_all_coordinates(x, score, mobility, T):
    x = x.clone().requires_grad_()
    m = mobility(x)
    rows = [torch.autograd.grad(m[:, i].sum(), x, retain_graph=True)[0].sum(1) for i in range(x.shape[1])]
    return (m * score + T * torch.stack(rows, dim=1)).detach()


WRONG = {
    "2.1": [
        ("no 2", lambda x, s, h, T, M, z: step(x, s, h * M, (h * M * T) ** 0.5, z)),
        ("downhill", lambda x, s, h, T, M, z: step(x, s, -h * M, (2 * h * M * T) ** 0.5, z)),
        ("no mobility", lambda x, s, h, T, M, z: step(x, s, h, (2 * h * T) ** 0.5, z)),
        ("mobility in the drift only", lambda x, s, h, T, M, z: step(x, s, h * M, (2 * h * T) ** 0.5, z)),
        ("mobility outside the root", lambda x, s, h, T, M, z: step(x, s, h * M, M * (2 * h * T) ** 0.5, z)),
        ("temperature outside the root", lambda x, s, h, T, M, z: step(x, s, h * M, T * (2 * h * M) ** 0.5, z)),
        ("no temperature", lambda x, s, h, T, M, z: step(x, s, h * M, (2 * h * M) ** 0.5, z)),
        ("no root", lambda x, s, h, T, M, z: step(x, s, h * M, 2 * h * M * T, z)),
        ("step outside the root", lambda x, s, h, T, M, z: step(x, s, h * M, h * (2 * M * T) ** 0.5, z)),
        ("mobility in the noise only", lambda x, s, h, T, M, z: step(x, s, h, (2 * h * M * T) ** 0.5, z)),
        ("temperature in the drift", lambda x, s, h, T, M, z: step(x, s, h * M * T, (2 * h * M * T) ** 0.5, z)),
        ("half the step", lambda x, s, h, T, M, z: step(x, s, h * M / 2, (h * M * T) ** 0.5, z)),
        ("colder when hotter", lambda x, s, h, T, M, z: step(x, s, h * M, (2 * h * M / T) ** 0.5, z)),
        ("the mean mobility", lambda x, s, h, T, M, z: step(x, s, h * M.mean(), (2 * h * M.mean() * T) ** 0.5, z)),
        ("mobility along the batch where B is D", on_the_wrong_axis),
        ("hard-coded", lambda x, s, h, T, M, z: torch.ones(5, 3, dtype=torch.float64)),
    ],
    "2.2": [
        ("B alone", "B"),
        ("MALA alone", "mala"),
        ("by ULA", "B and C"),
        ("all", "all"),
        ("several", ["B", "MALA"]),
    ],
    "2.3": [
        ("a itself", A),
        ("times the deviation", A * STD),
        ("twice too small", A * STD**2 / 2),
        ("both", A * STD / 2),
        ("of the deviation", 2 * (1 - 1 / 1.05**2) * STD**2),
        ("first order", 0.1 * STD**2),
        ("too narrow instead of too wide", 2 * (1 / 0.95 - 1) * STD**2),
        ("5 % of the variance", 0.05 * STD**2),
    ],
    "2.4": [
        ("only the 2", lambda x, s, a, T, z: step(x, s, a / 2, T * math.sqrt(a), z)),
        ("only the root", lambda x, s, a, T, z: step(x, s, a / 2, math.sqrt(2 * a * T), z)),
        ("the other convention", lambda x, s, a, T, z: step(x, s, a, math.sqrt(2 * a * T), z)),
        ("half of the noise", lambda x, s, a, T, z: step(x, s, a / 2, math.sqrt(a / 2 * T), z)),
        ("no temperature", lambda x, s, a, T, z: step(x, s, a / 2, math.sqrt(a), z)),
        ("2 and no temperature", lambda x, s, a, T, z: step(x, s, a / 2, math.sqrt(2 * a), z)),
        ("colder when hotter", lambda x, s, a, T, z: step(x, s, a / 2, math.sqrt(a / T), z)),
        ("alpha outside the root", lambda x, s, a, T, z: step(x, s, a / 2, a * math.sqrt(T), z)),
        ("no root", lambda x, s, a, T, z: step(x, s, a / 2, a * T, z)),
        ("a cooler drift", lambda x, s, a, T, z: step(x, s, a / 2 / T, math.sqrt(a), z)),
        ("hard-coded", lambda x, s, a, T, z: torch.ones(5, 2, dtype=torch.float64)),
    ],
    "2.5": [
        ("no step", lambda S, h, T: T * S),
        ("no temperature", on_axes(lambda v, h, T: v / (1 - h / (2 * v)))),
        ("the whole step", on_axes(lambda v, h, T: T * v / (1 - h / v))),
        ("narrower", on_axes(lambda v, h, T: T * v * (1 - h / (2 * v)))),
        ("a wrong sign", on_axes(lambda v, h, T: T * v / (1 + h / (2 * v)))),
        ("a quarter of the step", on_axes(lambda v, h, T: T * v / (1 - h / (4 * v)))),
        ("hot inside", on_axes(lambda v, h, T: T * v / (1 - h / (2 * T * v)))),
        ("after one step", on_axes(lambda v, h, T: (1 - h / v) ** 2 * v + 2 * h * T)),
        ("not inverted", on_axes(lambda v, h, T: T * (1 / v - h / (2 * v**2)))),
        ("first order", lambda S, h, T: T * (S + h / 2 * torch.eye(len(S), dtype=S.dtype))),
        ("entry by entry", lambda S, h, T: S * T / (1 - h / (2 * S))),
        ("one factor", lambda S, h, T: S * T / (1 - h * len(S) / (2 * S.trace()))),
        ("hard-coded", lambda S, h, T: torch.eye(2, dtype=torch.float64)),
    ],
    "2.6": [
        ("no proposal", ratio(lambda climb, there, back, T: climb)),
        ("sides swapped", ratio(lambda climb, there, back, T: climb - there + back)),
        ("upside down", ratio(lambda climb, there, back, T: -climb - there + back)),
        ("target of temperature 1", ratio(lambda climb, there, back, T: T * climb + there - back)),
        ("half of the variance", ratio(lambda climb, there, back, T: climb + 2 * (there - back))),
        ("proposal of temperature 1", ratio(lambda climb, there, back, T: climb + T * (there - back))),
        ("not a logarithm", ratio(lambda climb, there, back, T: (climb + there - back).exp())),
        ("cut at 1", ratio(lambda climb, there, back, T: (climb + there - back).clamp(max=0))),
        ("target upside down", ratio(lambda climb, there, back, T: -climb + there - back)),
        ("target times T", ratio(lambda climb, there, back, T: T * T * climb + there - back)),
        ("no temperature", ratio(lambda climb, there, back, T: T * (climb + there - back))),
        ("T squared", ratio(lambda climb, there, back, T: climb + (there - back) / T)),
        ("half of the terms", ratio(lambda climb, there, back, T: climb + (there - back) / 2)),
        ("both with a minus", ratio(lambda climb, there, back, T: climb - there - back)),
        (
            "back downhill",
            lambda x, y, px, py, sx, sy, h, T: ratio(lambda c, t, b, T: c + t - b)(x, y, px, py, sx, -sy, h, T),
        ),
        (
            "drift over T",
            lambda x, y, px, py, sx, sy, h, T: ratio(lambda c, t, b, T: c + t - b)(x, y, px, py, sx / T, sy / T, h, T),
        ),
        ("old score on the way back", back_with_the_old_score),
        ("hard-coded", lambda x, y, px, py, sx, sy, h, T: torch.ones(6, dtype=torch.float64)),
    ],
    "2.7": [
        ("only the sides", referee(lambda climb, there, back: climb + 2 * (there - back))),
        ("only the exponents", referee(lambda climb, there, back: climb + back - there)),
        ("no proposal", referee(lambda climb, there, back: climb)),
        ("the target upside down", referee(lambda climb, there, back: -climb + there - back)),
        ("no referee", referee(lambda climb, there, back: climb + math.inf)),
        ("all upside down", referee(lambda climb, there, back: -climb + back - there)),
        ("no way back", referee(lambda climb, there, back: climb + there)),
        ("half of the exponents", referee(lambda climb, there, back: climb + (there - back) / 2)),
        ("old score on the way back", referee_with_the_old_score),
        ("no logarithm of u", lambda lp, s, x, h, z, u: referee(lambda c, t, b: c + t - b)(lp, s, x, h, z, u.exp())),
        ("the others move", others_move),
        ("hard-coded", lambda log_prob, score, x, h, z, u: torch.ones(400, 2, dtype=torch.float64)),
    ],
    "2.8": [
        ("no widths", heated(lambda w, s, D, T: w / T)),
        ("unchanged", lambda w, s, D, T: w.clone()),
        ("weights not heated", heated(lambda w, s, D, T: w + D * (1 - 1 / T) * s)),
        ("wide modes lose", heated(lambda w, s, D, T: w / T - D * (1 - 1 / T) * s)),
        ("no dimension", heated(lambda w, s, D, T: w / T + (1 - 1 / T) * s)),
        ("another exponent", heated(lambda w, s, D, T: w / T + D / T * s)),
        ("not normalised", lambda w, s, D, T: w ** (1 / T) * s ** (D * (1 - 1 / T))),
        ("logarithms", lambda w, s, D, T: torch.log_softmax(w.log() / T + D * (1 - 1 / T) * s.log(), dim=0)),
        ("variances", heated(lambda w, s, D, T: w / T + 2 * D * (1 - 1 / T) * s)),
        ("half of the exponent", heated(lambda w, s, D, T: w / T + D / 2 * (1 - 1 / T) * s)),
        ("volume alone", heated(lambda w, s, D, T: w / T + D * s)),
        ("T - 1", heated(lambda w, s, D, T: w / T + D * (T - 1) * s)),
        ("weights to the power T", heated(lambda w, s, D, T: w * T + D * (1 - 1 / T) * s)),
        ("weights without logarithm", heated(lambda w, s, D, T: w.exp() / T + D * (1 - 1 / T) * s)),
        ("powers overflow", powers),
        ("hard-coded", lambda w, s, D, T: torch.full((4,), 0.25, dtype=torch.float64)),
    ],
    "2.9": [
        ("no correction", drift(lambda m, s, own, total, T: m * s)),
        ("no temperature", drift(lambda m, s, own, total, T: m * s + own)),
        ("wrong sign", drift(lambda m, s, own, total, T: m * s - T * own)),
        ("gradient of the sum", drift(lambda m, s, own, total, T: m * s + T * total)),
        ("divergence for everybody", drift(lambda m, s, own, total, T: m * s + T * own.sum(1, keepdim=True))),
        ("correction only", drift(lambda m, s, own, total, T: T * own)),
        ("score without mobility", drift(lambda m, s, own, total, T: s + T * own)),
        ("half", drift(lambda m, s, own, total, T: m * s + T * own / 2)),
        ("twice", drift(lambda m, s, own, total, T: m * s + T * own * 2)),
        ("of the logarithm", drift(lambda m, s, own, total, T: m * s + T * own / m)),
        ("hot score", drift(lambda m, s, own, total, T: T * (m * s + own))),
        ("cold score", drift(lambda m, s, own, total, T: m * s / T + own)),
        ("by all coordinates", by_all_coordinates),
        ("hard-coded", lambda x, score, mobility, T: torch.ones(5, 2, dtype=torch.float64)),
    ],
}
