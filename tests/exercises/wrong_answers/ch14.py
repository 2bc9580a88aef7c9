"""Plausible wrong answers to the exercises of chapter 14; each must get a message of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def guess(x_t, eps, bar):
    bar = bar[:, None, None, None]
    return (x_t - (1 - bar).sqrt() * eps) / bar.sqrt()


def hide_in_place(labels, u, p, classes):
    labels[u < p] = classes
    return labels


def rebind(averaged, current, decay):
    for average, new in zip(averaged, current):
        average = decay * average + (1 - decay) * new


def replace(averaged, current, decay):
    for i, new in enumerate(current):
        averaged[i] = decay * averaged[i] + (1 - decay) * new


def average(rule):
    def update(averaged, current, decay):
        with torch.no_grad():
            for old, new in zip(averaged, current):
                old.copy_(rule(old, new, decay))

    return update


def change_current(averaged, current, decay):
    with torch.no_grad():
        for old, new in zip(averaged, current):
            new.copy_(decay * old + (1 - decay) * new)
            old.copy_(new)


def with_graph(averaged, current, decay):
    for old, new in zip(averaged, current):
        old.mul_(decay).add_((1 - decay) * new)


def zero(*names):
    def start(block):
        for name in names:
            layer, _, part = name.partition(".")
            for which in [part] if part else ["weight", "bias"]:
                nn.init.zeros_(getattr(getattr(block, layer), which))

    return start


identity = zero("conv2")


def forward(block, h, condition, *, film=lambda y, a, b: (1 + a) * y + b, first=F.silu, second=F.silu, add=True):
    scale, shift = block.modulate(condition)[:, :, None, None].chunk(2, dim=1)
    y = film(block.norm2(block.conv1(first(block.norm1(h)))), scale, shift)
    return (h if add else 0) + block.conv2(second(y))


def variant(**changes):
    return identity, lambda block, h, condition: forward(block, h, condition, **changes)


def scale_before_norm(block, h, condition):
    scale, shift = block.modulate(condition)[:, :, None, None].chunk(2, dim=1)
    y = block.norm2((1 + scale) * block.conv1(F.silu(block.norm1(h))) + shift)
    return h + block.conv2(F.silu(y))


def sampler(*, label=0, root=True, last=1, scale=1.0):
    def run(net, x, betas, noise):
        bars = torch.cumprod(1 - betas, dim=0)
        for t in range(len(betas), 0, -1):
            beta, bar = betas[t - 1], bars[t - 1]
            x = (x - beta / (1 - bar).sqrt() * net(x, t + label)) / (1 - beta).sqrt()
            if t > last:
                x = x + scale * (beta.sqrt() if root else beta) * noise[t]
        return x

    return run


@torch.no_grad()
def stays_in_eval(net, images, labels):
    return (net.eval()(images).argmax(1) == labels).float().mean().item()


@torch.no_grad()
def always_back_to_train(net, images, labels):
    right = (net.eval()(images).argmax(1) == labels).float().mean().item()
    net.train()
    return right


@torch.no_grad()
def eval_too_late(net, images, labels):
    net(images[:16])
    return (net.eval()(images).argmax(1) == labels).float().mean().item()


def measured(value):
    @torch.no_grad()
    def measure(net, images, labels):
        was = net.training
        share = (net.eval()(images).argmax(1) == labels).float().mean().item()
        net.train(was)
        return value(share, len(images))

    return measure


WRONG = {
    "14.1": [
        ("not cut", guess),
        ("cut to [0, 1]", lambda x, e, a: guess(x, e, a).clamp(0, 1)),
        ("tanh", lambda x, e, a: guess(x, e, a).tanh()),
        (
            "cut before dividing",
            lambda x, e, a: (
                (guess(x, e, a) * a[:, None, None, None].sqrt()).clamp(-1, 1) / a[:, None, None, None].sqrt()
            ),
        ),
        ("sign", lambda x, e, a: guess(x, -e, a).clamp(-1, 1)),
        ("variance", lambda x, e, a: guess(x, (1 - a[:, None, None, None]).sqrt() * e, a).clamp(-1, 1)),
        ("hard-coded", lambda x, e, a: torch.zeros(5, 1, 4, 4)),
    ],
    "14.2": [
        ("no folds", 15),
        ("folds see nothing", 45),
        ("second fold by 1", 47),
        ("3 x 3 at the end", 32),
        ("half", 24),
    ],
    "14.3": [
        ("no biases", (2 * 9 * 48 * 48 + 192 + 192 * 96, 196_000)),
        ("scale only", (2 * (9 * 48 * 48 + 48) + 192 + 192 * 48 + 48, 196_000)),
        ("with a skip", (2 * (9 * 48 * 48 + 48) + 192 + 192 * 96 + 96 + 48 * 48 + 48, 196_000)),
        ("two evaluations in the last step", (2 * (9 * 48 * 48 + 48) + 192 + 192 * 96 + 96, 200_000)),
        ("one evaluation a step", (2 * (9 * 48 * 48 + 48) + 192 + 192 * 96 + 96, 100_000)),
        ("one image", (2 * (9 * 48 * 48 + 48) + 192 + 192 * 96 + 96, 49)),
    ],
    "14.4": [
        ("the other share", lambda labels, u, p, classes: torch.where(u >= p, classes, labels)),
        ("class 0", lambda labels, u, p, classes: torch.where(u < p, 0, labels)),
        ("last class", lambda labels, u, p, classes: torch.where(u < p, classes - 1, labels)),
        ("minus one", lambda labels, u, p, classes: torch.where(u < p, -1, labels)),
        ("dropped", lambda labels, u, p, classes: labels[u >= p]),
        ("in place", hide_in_place),
        ("p belongs to the hidden", lambda labels, u, p, classes: torch.where(u <= p, classes, labels)),
        ("all or none", lambda labels, u, p, classes: torch.full_like(labels, classes)),
        ("hard-coded", lambda labels, u, p, classes: torch.zeros(400, dtype=torch.int64)),
    ],
    "14.5": [
        ("rebinding", rebind),
        ("new tensors in the list", replace),
        ("swapped", average(lambda old, new, d: (1 - d) * old + d * new)),
        ("copy", average(lambda old, new, d: new)),
        ("no 1 - d", average(lambda old, new, d: d * old + new)),
        ("plain mean", average(lambda old, new, d: (old + new) / 2)),
        ("current changed", change_current),
        ("with the graph", with_graph),
        ("hard-coded", average(lambda old, new, d: torch.zeros_like(old))),
    ],
    "14.6": [
        ("weight only", (zero("conv2.weight"), forward)),
        ("conv1", (zero("conv1"), forward)),
        ("both", (zero("conv1", "conv2"), forward)),
        ("nothing", (lambda block: [p * 0 for p in block.parameters()], forward)),
        ("no 1 +", variant(film=lambda y, a, b: a * y + b)),
        ("swapped", variant(film=lambda y, a, b: (1 + b) * y + a)),
        ("no shift", variant(film=lambda y, a, b: (1 + a) * y)),
        ("no condition", variant(film=lambda y, a, b: y)),
        ("not residual", variant(add=False)),
        ("one nonlinearity", variant(second=lambda y: y)),
        ("before the norm", (identity, scale_before_norm)),
        ("hard-coded", (identity, lambda block, h, condition: torch.zeros(3, 8, 5, 5))),
    ],
    "14.7": [
        ("good", "good digits"),
        ("blurred", "blurred digits"),
        ("several", ["noise", "blurred digits"]),
        ("number", 0.86),
    ],
    "14.8": [
        ("times still wrong", sampler(label=-1)),
        ("last step still noisy", sampler(last=0)),
        ("variance", sampler(root=False)),
        ("only the times mended", sampler(last=0, root=False)),
        ("no noise", sampler(scale=0.0)),
        ("hard-coded", lambda net, x, betas, noise: torch.zeros(4, 3)),
    ],
    "14.9": [
        ("stays in evaluation mode", stays_in_eval),
        ("always back to training mode", always_back_to_train),
        ("evaluation mode too late", eval_too_late),
        ("wrong share", measured(lambda share, n: 1 - share)),
        ("count", measured(lambda share, n: share * n)),
        ("per cent", measured(lambda share, n: 100 * share)),
        ("hard-coded", measured(lambda share, n: 0.5)),
    ],
}
