import math

import torch


def column(s):
    return s[:, None, None, None]


def combined(c, u, s):
    return u + column(s) * (c - u)


def on_last_axis(c, u, s):
    s = s if c.shape[0] == c.shape[-1] else column(s)
    return (u + s * (c - u)).clamp(-1.1, 1)


def within(trace, mean=lambda parts: torch.stack(parts).mean(), finish=torch.sqrt):
    return lambda values, labels: finish(mean([trace(values[labels == y]) for y in labels.unique()]))


def unbiased(own):
    return own.var(dim=0).sum()


def biased(own):
    return own.var(dim=0, correction=0).sum()


def by_size(values, labels):
    return torch.sqrt(sum(len(o) * unbiased(o) for o in (values[labels == y] for y in labels.unique())) / len(labels))


def mean_distance(own):
    return torch.cdist(own, own).sum() / (len(own) * (len(own) - 1))


def searched(goal, table):
    k = (torch.searchsorted(table, goal, right=True) - 1).clamp(0, len(table) - 2)
    return k + (goal - table[k]) / (table[k + 1] - table[k])


def right_times(alpha_bar, levels):
    return searched(torch.log1p(levels**2), -alpha_bar.log())


def price(mean=-1, factor=lambda lam: (1 + torch.exp(-lam)) ** 2, constant=True):
    def wrong(lam, m, tau):
        bell = torch.exp(-0.5 * ((lam - mean * m) / tau) ** 2)
        return bell / (math.sqrt(2 * math.pi) * tau if constant else 1) * factor(lam)

    return wrong


def weighted(weight, reduce=lambda square: square.mean(1)):
    def wrong(guess, v, alpha, sigma, gamma):
        snr = alpha**2 / sigma**2
        return weight(snr, gamma) * reduce((guess - v).square())

    return wrong


def guided(label=None, swap=False, rule=lambda c, u, s: u + s * (c - u)):
    def wrong(net, x, t, labels, scale, null):
        none = torch.full_like(labels, null if label is None else label)
        both = net(torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, none]))
        c, u = both.chunk(2)
        return rule(u, c, scale) if swap else rule(c, u, scale)

    return wrong


def paper(c, u, s):
    return u + (1 + s) * (c - u)


WRONG = {
    "15.1": [
        ("guidance forgotten", (25, 25)),
        ("last step twice", (52, 25)),
        ("both forgotten", (26, 25)),
        ("steps", (13, 25)),
        ("guided steps cost one", (50, 50)),
        ("too many steps", (50, 26)),
    ],
    "15.2": [
        ("not cut", combined),
        ("cut to [-1, 1]", lambda c, u, s: combined(c, u, s).clamp(-1, 1)),
        ("cut before", lambda c, u, s: combined(c.clamp(-1.1, 1), u.clamp(-1.1, 1), s)),
        ("cut before and after", lambda c, u, s: combined(c.clamp(-1.1, 1), u.clamp(-1.1, 1), s).clamp(-1.1, 1)),
        ("w", lambda c, u, s: combined(c, u, 1 + s).clamp(-1.1, 1)),
        ("swapped", lambda c, u, s: combined(u, c, s).clamp(-1.1, 1)),
        ("sign", lambda c, u, s: combined(c, u, -s).clamp(-1.1, 1)),
        ("last axis", on_last_axis),
        ("hard-coded", lambda c, u, s: torch.zeros(3, 1, 4, 4)),
    ],
    "15.3": [
        ("no root", within(unbiased, finish=lambda x: x)),
        ("no half", within(lambda own: 2 * unbiased(own))),
        ("pairs with itself", within(biased)),
        ("pairs with itself, no half", within(lambda own: 2 * biased(own))),
        ("all classes", lambda values, labels: unbiased(values).sqrt()),
        ("by size", by_size),
        ("root first", within(unbiased, mean=lambda parts: torch.stack(parts).sqrt().mean(), finish=lambda x: x)),
        ("sum of classes", within(unbiased, mean=sum)),
        ("mean distance", within(mean_distance, finish=lambda x: x)),
        ("hard-coded", lambda values, labels: torch.tensor(3.0, dtype=torch.float64)),
    ],
    "15.4": [
        (
            "alpha_bar linear",
            lambda alpha_bar, levels: searched(1 - 1 / (1 + levels**2), 1 - alpha_bar),
        ),
        ("level linear", lambda alpha_bar, levels: searched(levels, (1 / alpha_bar - 1).sqrt())),
        ("level not squared", lambda alpha_bar, levels: searched(torch.log1p(levels), -alpha_bar.log())),
        ("cut to whole numbers", lambda alpha_bar, levels: right_times(alpha_bar, levels).floor()),
        ("rounded", lambda alpha_bar, levels: right_times(alpha_bar, levels).round()),
        ("rounded up", lambda alpha_bar, levels: right_times(alpha_bar, levels).ceil()),
        ("off by one", lambda alpha_bar, levels: right_times(alpha_bar, levels) - 1),
        ("reversed time", lambda alpha_bar, levels: len(alpha_bar) - 1 - right_times(alpha_bar, levels)),
        ("hard-coded", lambda alpha_bar, levels: torch.zeros(6, dtype=torch.float64)),
    ],
    "15.5": [
        ("the same", "the same"),
        ("square root", "three times as large"),
        ("both", ["the same", "ten times as large"]),
        ("number", 10),
    ],
    "15.6": [
        ("mean m", price(mean=1)),
        ("density only", price(factor=lambda lam: 1)),
        ("not squared", price(factor=lambda lam: 1 + torch.exp(-lam))),
        ("upside down", price(factor=lambda lam: (1 + torch.exp(-lam)) ** -2)),
        ("sigma", price(factor=lambda lam: (1 + torch.exp(lam)) ** 2)),
        ("v", price(factor=lambda lam: 1 + torch.exp(-2 * lam))),
        ("variance", lambda lam, m, tau: price()(lam, m, tau**0.5)),
        ("no constant", price(constant=False)),
        ("hard-coded", lambda lam, m, tau: torch.ones(9, dtype=torch.float64)),
    ],
    "15.7": [
        ("for x0", weighted(lambda snr, gamma: snr.clamp(max=gamma))),
        ("plain", weighted(lambda snr, gamma: 1.0)),
        ("gamma + 1", weighted(lambda snr, gamma: snr.clamp(max=gamma) / (gamma + 1))),
        ("multiplied", weighted(lambda snr, gamma: snr.clamp(max=gamma) * (snr + 1))),
        ("wrong way", weighted(lambda snr, gamma: snr.clamp(max=gamma) * (snr + 1) / snr)),
        ("the larger", weighted(lambda snr, gamma: snr.clamp(min=gamma) / (snr + 1))),
        ("no gamma", weighted(lambda snr, gamma: snr / (snr + 1))),
        ("sum", weighted(lambda snr, gamma: snr.clamp(max=gamma) / (snr + 1), lambda square: square.sum(1))),
        ("root", weighted(lambda snr, gamma: (snr.clamp(max=gamma) / (snr + 1)).sqrt())),
        ("hard-coded", lambda guess, v, alpha, sigma, gamma: torch.ones(6, dtype=torch.float64)),
    ],
    "15.8": [
        ("null still 0", guided(label=0)),
        ("scale still w", guided(rule=paper)),
        ("order still swapped", guided(swap=True)),
        ("only the order mended", guided(label=0, rule=paper)),
        ("only the null mended", guided(swap=True, rule=paper)),
        ("only the scale mended", guided(label=0, swap=True)),
        ("no guidance", guided(rule=lambda c, u, s: c)),
        ("no difference", guided(rule=lambda c, u, s: u + s * c)),
        ("hard-coded", lambda net, x, t, labels, scale, null: torch.zeros(x.shape, dtype=x.dtype)),
    ],
}
