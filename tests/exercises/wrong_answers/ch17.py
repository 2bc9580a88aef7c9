"""Plausible wrong answers to the exercises of chapter 17; each must get a message of its own."""

from __future__ import annotations

import math

import torch


def kl(rule):
    return lambda m, lv: rule(m, lv).flatten(1).sum(1)


def price(m, lv):
    return 0.5 * (m**2 + lv.exp() - 1 - lv)


def kept(by_mean, by_draw=None):
    """Functions of variance and tau2 for the directions that are told; the rest is lost whole."""

    def answer(variance, tau2):
        told = variance > tau2
        drawn = torch.full_like(variance, tau2) if by_draw is None else by_draw(variance, tau2)
        return torch.where(told, by_mean(variance, tau2), variance), torch.where(told, drawn, variance)

    return answer


def right_mean(variance, tau2):
    return tau2**2 / variance


def arc(a, b, share, *, together=False, raw=False, divide=True):
    x, y = (a.flatten(1), b.flatten(1)) if not together else (a.reshape(1, -1), b.reshape(1, -1))
    cosine = (x * y).sum(1)
    if not raw:
        cosine = cosine / (x.norm(dim=1) * y.norm(dim=1))
    w = torch.acos(cosine.clamp(-1, 1)).clamp(1e-9).expand(len(a))[:, None, None, None]
    s = share[:, None, None, None]
    return (torch.sin((1 - s) * w) * a + torch.sin(s * w) * b) / (torch.sin(w) if divide else 1)


def straight(a, b, share):
    s = share[:, None, None, None]
    return (1 - s) * a + s * b


def quarter(a, b, share):
    s = share[:, None, None, None] * math.pi / 2
    return torch.cos(s) * a + torch.sin(s) * b


def clock(rule):
    return lambda t, size: 2 / math.pi * torch.atan(rule(torch.tan(math.pi / 2 * t), size))


def two(images, bank, largest=False):
    return torch.cdist(images.flatten(1), bank.flatten(1)).topk(2, largest=largest).values


def counted(rule):
    def answer(images, bank):
        d = two(images, bank)
        return rule(d[:, 0], d[:, 1])

    return answer


def share(flags):
    return flags.float().mean().item()


def pipeline(std=lambda lv: (lv / 2).exp(), out=lambda z, f: z / f, state=False, scale=lambda z, f: z * f):
    def answer(encode, decode, denoise, x, eps_encoder, eps, alpha, sigma, factor):
        mean, log_variance = encode(x)
        z_t = alpha * scale(mean + std(log_variance) * eps_encoder, factor) + sigma * eps
        return decode(out(z_t if state else denoise(z_t), factor))

    return answer


def times(z, f):
    return z * f


WRONG = {
    "17.1": [
        ("mean", lambda m, lv: price(m, lv).flatten(1).mean(1)),
        ("no half", kl(lambda m, lv: 2 * price(m, lv))),
        ("no -1", kl(lambda m, lv: price(m, lv) + 0.5)),
        ("sign", kl(lambda m, lv: -price(m, lv))),
        ("log of the standard deviation", kl(lambda m, lv: price(m, 2 * lv))),
        ("standard deviation", kl(lambda m, lv: price(m, lv / 2))),
        ("sign of the logarithm", kl(lambda m, lv: price(m, lv) + lv)),
        ("mean not squared", kl(lambda m, lv: price(m, lv) + 0.5 * (m - m**2))),
        ("backwards", kl(lambda m, lv: 0.5 * ((1 + m**2) / lv.exp() - 1 + lv))),
        ("over the batch", lambda m, lv: price(m, lv).sum()),
        ("hard-coded", lambda m, lv: torch.zeros(5)),
    ],
    "17.2": [
        ("as written", (0.001, math.sqrt(0.0005))),
        ("KL a sum", (0.784, 0.626)),
        ("upside down", (0.001 * 16 / 784, 0.003)),
        ("no D", (0.001 / 16, 0.0056)),
        ("variance", (0.049, 0.0245)),
        ("root of lambda", (0.049, 0.2214)),
        ("root of 2 lambda", (0.049, math.sqrt(0.098))),
    ],
    "17.3": [
        ("noise counted", kept(lambda v, t: torch.full_like(v, t))),
        ("nothing switched off", lambda v, t: (t**2 / v, torch.full_like(v, t))),
        ("not squared", kept(lambda v, t: t / v)),
        ("noise's part", kept(lambda v, t: t - t**2 / v)),
        ("exact", kept(lambda v, t: 0 * v)),
        ("nothing lost", lambda v, t: (torch.where(v > t, t**2 / v, 0 * v), v.clamp(max=t))),
        ("drawn as the mean", kept(right_mean, right_mean)),
        ("drawn: all tau2", lambda v, t: (torch.where(v > t, t**2 / v, v), torch.full_like(v, t))),
        ("drawn: noise alone", kept(right_mean, lambda v, t: t - t**2 / v)),
        ("drawn: w^2 = lambda", kept(right_mean, lambda v, t: t + t**2 / v)),
        ("drawn: factor 2", kept(right_mean, lambda v, t: 2 * t + 0 * v)),
        ("hard-coded", lambda v, t: (torch.zeros(7).double(), torch.zeros(7).double())),
    ],
    "17.4": [
        ("straight", straight),
        ("exchanged", lambda a, b, s: arc(b, a, s)),
        ("one angle", lambda a, b, s: arc(a, b, s, together=True)),
        ("no lengths", lambda a, b, s: arc(a, b, s, raw=True)),
        ("no division", lambda a, b, s: arc(a, b, s, divide=False)),
        ("right angles", quarter),
        ("roots", lambda a, b, s: (1 - s[:, None, None, None]).sqrt() * a + s[:, None, None, None].sqrt() * b),
        ("hard-coded", lambda a, b, s: torch.zeros(5, 2, 3, 4, dtype=torch.float64)),
    ],
    "17.5": [
        ("harder", "harder to make out"),
        ("same", "the same"),
        ("several", ["easier to make out", "the same"]),
        ("number", 25.0),
    ],
    "17.6": [
        ("upside down", clock(lambda tan, s: s * tan)),
        ("squared", clock(lambda tan, s: tan / s**2)),
        ("root", clock(lambda tan, s: tan / math.sqrt(s))),
        ("angle", lambda t, s: torch.atan(torch.tan(math.pi / 2 * t) / s)),
        ("scaled", lambda t, s: t / s),
        ("no shift", lambda t, s: 1.0 * t),
        ("hard-coded", lambda t, s: torch.full((6,), 0.5, dtype=torch.float64)),
    ],
    "17.7": [
        ("nearer than the second", counted(lambda a, b: share(a < b))),
        ("squares", counted(lambda a, b: share(a**2 < 0.5 * b**2))),
        ("no copies", counted(lambda a, b: share(a >= 0.5 * b))),
        ("count", counted(lambda a, b: (a < 0.5 * b).sum().item())),
        ("per cent", counted(lambda a, b: 100 * share(a < 0.5 * b))),
        ("flags", counted(lambda a, b: a < 0.5 * b)),
        ("exchanged", lambda images, bank: counted(lambda a, b: share(a < 0.5 * b))(bank, images)),
        ("hard-coded", lambda images, bank: 0.25),
    ],
    "17.8": [
        ("standard deviation mended", pipeline(out=times, state=True)),
        ("factor mended", pipeline(std=torch.exp, state=True)),
        ("belief mended", pipeline(std=torch.exp, out=times)),
        ("only the standard deviation left", pipeline(std=torch.exp)),
        ("only the factor left", pipeline(out=times)),
        ("only the belief left", pipeline(state=True)),
        ("factor not undone", pipeline(out=lambda z, f: z)),
        ("both inverted", pipeline(out=times, scale=lambda z, f: z / f)),
        ("log", pipeline(std=lambda lv: lv)),
        ("hard-coded", lambda *arguments: torch.zeros(5, 6)),
    ],
}
