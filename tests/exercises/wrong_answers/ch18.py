"""Plausible wrong answers to the exercises of chapter 18; each must get a message of its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


def together(order):
    def put(tokens, channels, p):
        B, N, _ = tokens.shape
        side = math.isqrt(N)
        six = tokens.reshape(B, side, side, channels, p, p)
        return six.permute(order).reshape(B, channels, side * p, side * p)

    return put


def channel_last(tokens, channels, p):
    B, N, _ = tokens.shape
    side = math.isqrt(N)
    six = tokens.reshape(B, side, side, p, p, channels)
    return six.permute(0, 5, 1, 3, 2, 4).reshape(B, channels, side * p, side * p)


def plain_reshape(tokens, channels, p):
    B, N, _ = tokens.shape
    side = math.isqrt(N)
    return tokens.reshape(B, channels, side * p, side * p)


def attention(*, scale="head", axis=-1, swap=False, flat=False, values=True, back=True):
    def attend(Q, K, V, heads):
        width = Q.shape[2]
        if not flat:
            Q, K, V = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (Q, K, V))
        d = Q.shape[-1]
        by = {"head": d, "none": 1.0, "d": d**2, "width": width, "tokens": Q.shape[-2], "heads": heads}[scale] ** 0.5
        fits = (K @ Q.mT if swap else Q @ K.mT) / by
        shares = torch.softmax(fits, axis)
        out = shares @ (V if values else torch.ones_like(V))
        if flat:
            return out
        return out.transpose(1, 2).flatten(2) if back else out.reshape(len(Q), -1, width)

    return attend


def interleaved(Q, K, V, heads):
    Q, K, V = (x.unflatten(2, (-1, heads)).permute(0, 3, 1, 2) for x in (Q, K, V))
    return F.scaled_dot_product_attention(Q, K, V).permute(0, 2, 3, 1).flatten(2)


def causal(Q, K, V, heads):
    Q, K, V = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (Q, K, V))
    return F.scaled_dot_product_attention(Q, K, V, is_causal=True).transpose(1, 2).flatten(2)


def layer_norm(x):
    return F.layer_norm(x, x.shape[-1:])


def unbiased(x):
    return (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True)


def block(*, order=(0, 1, 2, 3, 4, 5), one=1, write=lambda h, g, a: h + g * a, old=False, norm=layer_norm, axis=1):
    def run(h, attention, mlp, modulation):
        b1, c1, g1, b2, c2, g2 = (modulation[:, k].unsqueeze(axis) for k in order)

        def read(x, c, b):
            return (one + c) * norm(x) + b

        new = write(h, g1, attention(read(h, c1, b1)))
        return write(new, g2, mlp(read(h if old else new, c2, b2)))

    return run


def xavier(module):
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def start(*, rule=True, gates=True, exits=("modulate", "leave"), more=()):
    def initialise(net):
        if rule:
            net.apply(xavier)
        layers = [getattr(net, name) for name in exits]
        if gates:
            layers += [b.modulate for b in net.blocks]
        layers += [part for b in net.blocks for part in (getattr(b, name) for name in more)]
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    return initialise


def all_zero(net):
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()


def labels_erased(net):
    start()(net)
    nn.init.zeros_(net.label.weight)


def only_gates(net):
    start()(net)
    with torch.no_grad():
        for b in net.blocks:
            for k in (0, 1, 3, 4):
                b.modulate.weight.chunk(6)[k].normal_()


def constant(net):
    start(rule=False)(net)
    with torch.no_grad():
        for b in net.blocks:
            b.qkv.weight.fill_(0.01)


def density(t, z, s, jacobian=True):
    bell = torch.exp(-(z**2) / 2) / (s * math.sqrt(2 * math.pi))
    return bell / (t * (1 - t)) if jacobian else bell


def shift_by(add, *, jacobian=True, stretch=False):
    def answer(t, m, s, f):
        s = s * f if stretch else s
        return density(t, (torch.logit(t) - add(m, f)) / s, s, jacobian)

    return answer


def old_density(t, m, s, f):
    u = t / (f - (f - 1) * t)
    return density(u, (torch.logit(u) - m) / s, s)


def upside_down(t, m, s, f):
    return old_density(t, m, s, f) * (f - (f - 1) * t) ** 2 / f


def spread_not_squared(t, m, s, f):
    z = torch.logit(t) - m - math.log(f)
    return torch.exp(-(z**2) / (2 * s)) / (s * math.sqrt(2 * math.pi) * t * (1 - t))


def two_points(C, L, floor):
    x, y = C.log(), (L - floor).log()
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    return (y[0] - slope * x[0]).exp(), -slope


def through_origin(C, L, floor):
    x, y = C.log(), (L - floor).log()
    return 1.0, -(x * y).sum() / x.square().sum()


def law(*, sign=-1, log_a=False, floor_=True, swap=False, order=False, base=None):
    def answer(C, L, floor):
        x, y = C.log(), (L - floor if floor_ else L).log()
        if base == 10:
            x, y = C.log10(), (L - floor).log10()
        if swap:
            slope = ((x - x.mean()) * (y - y.mean())).sum() / (y - y.mean()).square().sum()
        else:
            slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        right = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        level = y.mean() - right * x.mean()
        pair = (level if log_a else level.exp()), sign * slope
        return pair[::-1] if order else pair

    return answer


def clock(*, share=lambda z: torch.sigmoid(1 + z), told=None, sign=1, total=False):
    def answer(net, x0, eps, z):
        t = share(z)
        x_t = (1 - t)[:, None] * x0 + t[:, None] * eps
        error = (net(x_t, t if told is None else told(z)) - sign * (eps - x0)).square()
        return error.sum(1) if total else error.mean(1)

    return answer


def of_noise(z):
    return torch.sigmoid(1 + z)


def of_data(z):
    return 1 - torch.sigmoid(1 + z)


WRONG = {
    "18.1": [
        ("plain reshape", plain_reshape),
        ("squares exchanged", together((0, 3, 2, 4, 1, 5))),
        ("pixels exchanged", together((0, 3, 1, 5, 2, 4))),
        ("turned over", lambda tokens, c, p: together((0, 3, 1, 4, 2, 5))(tokens, c, p).mT),
        ("order of axes", together((0, 3, 1, 2, 4, 5))),
        ("channel last", channel_last),
        ("hard-coded", lambda tokens, c, p: torch.zeros(3, 2, 12, 12)),
    ],
    "18.2": [
        ("in tokens", (48, 4.42)),
        ("number of tokens", (2304, 4.42)),
        ("N = d", (2 * 384**0.5, 4.42)),
        ("no pairs", (96, 4.0)),
        ("only pairs", (96, 16.0)),
        ("reciprocal", (96, 1 / 4.4226)),
    ],
    "18.3": [
        ("no scale", attention(scale="none")),
        ("by d", attention(scale="d")),
        ("by the width", attention(scale="width")),
        ("by the tokens", attention(scale="tokens")),
        ("by the heads", attention(scale="heads")),
        ("causal", causal),
        ("over queries", attention(axis=-2)),
        ("exchanged", attention(swap=True)),
        ("no heads", attention(flat=True)),
        ("interleaved", interleaved),
        ("no values", attention(values=False)),
        ("identity", lambda Q, K, V, heads: V.clone()),
        ("not transposed back", attention(back=False)),
        ("hard-coded", lambda Q, K, V, heads: torch.zeros(3, 5, 8)),
    ],
    "18.4": [
        ("no 1 +", block(one=0)),
        ("gate of the sum", block(write=lambda h, g, a: g * (h + a))),
        ("not residual", block(write=lambda h, g, a: g * a)),
        ("no gate", block(write=lambda h, g, a: h + a)),
        ("gate with 1 +", block(write=lambda h, g, a: h + (1 + g) * a)),
        ("shift and scale", block(order=(1, 0, 2, 4, 3, 5))),
        ("shift and gate", block(order=(2, 1, 0, 5, 4, 3))),
        ("first three twice", block(order=(0, 1, 2, 0, 1, 2))),
        ("triples exchanged", block(order=(3, 4, 5, 0, 1, 2))),
        ("old h", block(old=True)),
        ("no norm", block(norm=lambda x: x)),
        ("unbiased variance", block(norm=unbiased)),
        ("over all tokens", block(norm=lambda x: F.layer_norm(x, x.shape[1:]))),
        ("no mean", block(norm=lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-5))),
        ("another small number", block(norm=lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-6))),
        ("no small number", block(norm=lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-12))),
        ("hard-coded", lambda h, attention, mlp, modulation: torch.zeros(3, 5, 8)),
    ],
    "18.5": [
        ("all zero", all_zero),
        ("exit forgotten", start(exits=("modulate",))),
        ("exit's modulation forgotten", start(exits=("leave",))),
        ("gates forgotten", start(gates=False)),
        ("output of attention zero, too", start(more=("out",))),
        ("no rule", start(rule=False)),
        ("labels erased", labels_erased),
        ("scales not zero", only_gates),
        ("hard-coded", constant),
    ],
    "18.6": [
        ("not shifted", shift_by(lambda m, f: m)),
        ("sign", shift_by(lambda m, f: m - math.log(f))),
        ("factor added", shift_by(lambda m, f: m + f)),
        ("half", shift_by(lambda m, f: m + math.log(f) / 2)),
        ("mean multiplied", shift_by(lambda m, f: m * f)),
        ("no Jacobian", shift_by(lambda m, f: m + math.log(f), jacobian=False)),
        ("old density at the old time", old_density),
        ("upside down", upside_down),
        ("spread not squared", spread_not_squared),
        ("stretched", shift_by(lambda m, f: m + math.log(f), stretch=True)),
        ("hard-coded", lambda t, m, s, f: torch.ones(8, dtype=torch.float64)),
    ],
    "18.7": [
        ("teacher", "the teacher's digit"),
        ("random", "a random digit"),
        ("noise", "noise"),
        ("several", ["the mean digit", "noise"]),
    ],
    "18.8": [
        ("other end", lambda d, k: (2 * k).sqrt() / (d + (2 * k).sqrt())),
        ("half lost", lambda d, k: d / (d + k.sqrt())),
        ("half wrong", lambda d, k: d / (d + (k / 2).sqrt())),
        ("2 outside", lambda d, k: d / (d + 2 * k.sqrt())),
        ("no root", lambda d, k: d / (d + 2 * k)),
        ("squares", lambda d, k: d**2 / (d**2 + 2 * k)),
        ("t lost", lambda d, k: 1 - (2 * k).sqrt() / d),
        ("odds", lambda d, k: d / (2 * k).sqrt()),
        ("inverse odds", lambda d, k: (2 * k).sqrt() / d),
        ("hard-coded", lambda d, k: torch.full((6,), 0.8, dtype=torch.float64)),
    ],
    "18.9": [
        ("sign", law(sign=1)),
        ("log a", law(log_a=True)),
        ("no floor", law(floor_=False)),
        ("base 10", law(base=10)),
        ("axes exchanged", law(swap=True)),
        ("floor added", lambda C, L, floor: law()(C, L, -floor)),
        ("two points", two_points),
        ("through the origin", through_origin),
        ("numbers exchanged", law(order=True)),
        ("hard-coded", lambda C, L, floor: (2.0, 0.3)),
    ],
    "18.10": [
        ("target not mended", clock(sign=-1)),
        ("time not mended", clock(told=of_data)),
        ("mixture not mended", clock(share=of_data, told=of_noise)),
        ("shift to the data", clock(share=of_data, told=of_data)),
        ("shift and target", clock(share=of_data, told=of_data, sign=-1)),
        ("only the mixture", clock(told=of_data, sign=-1)),
        ("no shift", clock(share=torch.sigmoid, told=torch.sigmoid)),
        ("sign of the shift", clock(share=lambda z: torch.sigmoid(z - 1))),
        ("sum", clock(total=True)),
        ("hard-coded", lambda net, x0, eps, z: torch.zeros(4, dtype=torch.float64)),
    ],
}
