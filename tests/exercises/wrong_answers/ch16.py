"""Plausible wrong answers to the exercises of chapter 16; each must get a message of its own."""

from __future__ import annotations

import math

import torch


def given_second(
    w, m, S, y, *, old=True, norm=True, front=True, at=1, move=1.0, over=1, minus=1.0, rest=lambda v: v, slope=None
):
    off, spread = y - m[:, at], S[:, at, at]
    logs = -0.5 * off**2 / spread - (0.5 * spread.log() if front else 0) + (w.log() if old else 0)
    weights = torch.softmax(logs, 0) if norm else logs.exp()
    means = m[:, 0] + move * S[:, 0, 1] / S[:, over, over] * (y - m[:, 1])
    return weights, means, rest(S[:, 0, 0] - minus * S[:, 0, 1] ** 2 / S[:, 1, 1])


def variant(**changes):
    return lambda w, m, S, y: given_second(w, m, S, y, **changes)


def repaint(root=True, shift=0, up_root=True, always_up=False):
    def run(reverse, x, known, mask, betas, visits, noise):
        bars = torch.cat([betas.new_ones(1), torch.cumprod(1 - betas, 0)])
        for t in range(len(betas), 0, -1):
            for u in range(visits):
                bar = bars[t - 1 + shift]
                spread = (1 - bar).sqrt() if root else 1 - bar
                x = torch.where(mask, bar.sqrt() * known + spread * noise[0, t, u], reverse(x, t))
                if (u < visits - 1 or always_up) and t > 1:
                    beta = betas[t - 1]
                    x = (1 - beta).sqrt() * x + (beta.sqrt() if up_root else beta) * noise[1, t, u]
        return x

    return run


def bent(r2=lambda v, a, s: v * s**2 / (v * a**2 + s**2), gram=True, jacobian=True, sign=1, front=None, noise=2):
    def run(denoise, A, y, x_t, alpha, sigma, std, v):
        one = torch.eye(len(A), dtype=A.dtype)
        inside = r2(v, alpha, sigma) * (A @ A.T if gram else one) + std**noise * one
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            guess = denoise(x)
            back = ((y - guess @ A.T) @ torch.linalg.inv(inside) @ A).detach()
            through = torch.autograd.grad((guess * back).sum(), x)[0] if jacobian else back
        return guess.detach() + sign * (sigma**2 / alpha if front is None else front(alpha, sigma)) * through

    return run


def with_graph(denoise, A, y, x_t, alpha, sigma, std, v):
    x = x_t.detach().requires_grad_()
    return bent()(denoise, A, y, x_t, alpha, sigma, std, v) + 0 * denoise(x)


def share(alpha, sigma, v):
    return alpha**2 * v / (alpha**2 * v + sigma**2)


WRONG = {
    "16.1": [
        ("old weights", lambda w, m, S, y: (w, *given_second(w, m, S, y)[1:])),
        ("no old weights", variant(old=False)),
        ("not normalised", variant(norm=False)),
        ("no factor in front", variant(front=False)),
        ("weights by the first", variant(at=0)),
        ("wrong way", variant(move=-1.0)),
        ("slope over the wrong variance", variant(over=0)),
        ("adds variance", variant(minus=-1.0)),
        ("standard deviations", variant(rest=torch.sqrt)),
        ("hard-coded", lambda w, m, S, y: (torch.tensor([0.5, 0.5]), torch.zeros(2), torch.ones(2))),
    ],
    "16.2": [("ancestral", "ancestral"), ("the same", "the same"), ("all", ["DDIM", "ancestral"]), ("number", 1)],
    "16.3": [
        ("stretches times visits", 250),
        ("with steps up", 266),
        ("all steps", 270),
        ("no visits", 50),
        ("one visit more", 296),
        ("last stretch once", 210),
    ],
    "16.4": [
        ("the chapter's case", lambda alpha, sigma, v: alpha**2 + 0 * sigma),
        ("no variance", lambda alpha, sigma, v: share(alpha, sigma, 1.0)),
        ("one alpha too many", lambda alpha, sigma, v: alpha * share(alpha, sigma, v)),
        ("root", lambda alpha, sigma, v: share(alpha, sigma, v).sqrt()),
        ("not heard", lambda alpha, sigma, v: 1 - share(alpha, sigma, v)),
        ("signal to noise", lambda alpha, sigma, v: alpha**2 * v / sigma**2),
        ("variance squared", lambda alpha, sigma, v: share(alpha, sigma, v**2)),
        ("hard-coded", lambda alpha, sigma, v: torch.full((5,), 0.5, dtype=torch.float64)),
    ],
    "16.5": [
        ("lost root", repaint(root=False)),
        ("level t", repaint(shift=1)),
        ("beta without a root", repaint(up_root=False)),
        ("always up", repaint(always_up=True)),
        ("two left", repaint(root=False, always_up=True)),
        ("three left", repaint(root=False, shift=1, up_root=False)),
        ("hard-coded", lambda reverse, x, known, mask, betas, visits, noise: torch.zeros(3, 5, dtype=x.dtype)),
    ],
    "16.6": [
        ("nothing added", lambda denoise, A, y, x_t, alpha, sigma, std, v: denoise(x_t)),
        ("sign", bent(sign=-1)),
        ("DPS", bent(r2=lambda v, a, s: 0.0)),
        ("no gram", bent(gram=False)),
        ("root of the spread", bent(r2=lambda v, a, s: (v * s**2 / (v * a**2 + s**2)) ** 0.5)),
        ("constant spread", bent(r2=lambda v, a, s: v)),
        ("std for variance", bent(noise=1)),
        ("no Jacobian", bent(jacobian=False)),
        ("score for guess", bent(front=lambda a, s: 1.0)),
        ("no alpha", bent(front=lambda a, s: s**2)),
        ("graph", with_graph),
        (
            "hard-coded",
            lambda denoise, A, y, x_t, alpha, sigma, std, v: torch.zeros(5, 4, dtype=torch.float64),
        ),
    ],
    "16.7": [
        ("divides by four", 10 * math.log10(4)),
        ("three decibels", 10 * math.log10(2)),
        ("ratio", 1.6),
        ("twenty", 20 * math.log10(1.6)),
        ("sign", -10 * math.log10(1.6)),
    ],
}
