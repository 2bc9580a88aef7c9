import math

import torch


def table(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])


def coefficients(t, betas):
    """beta_t, alpha_bar_{t-1}, alpha_bar_t, beta tilde and c_t, each (B,)."""
    beta, before, now = betas[t - 1], table(betas)[t - 1], table(betas)[t]
    return beta, before, now, (1 - before) / (1 - now) * beta, before.sqrt() * beta / (1 - now)


def each(m_q, v_q, m_p, v_p):
    return 0.5 * (torch.log(v_p / v_q) + v_q / v_p - 1 + (m_q - m_p) ** 2 / v_p)


def over_examples(m_q, v_q, m_p, v_p):
    both = each(m_q, v_q, m_p, v_p)
    return both.sum(0) if both.shape[0] == both.shape[1] else both.sum(1)


def distance_by(which):
    def wrong(m_q, v_q, m_p, v_p):
        v = v_q if which == "q" else v_p
        return 0.5 * (torch.log(v_p / v_q) + v_q / v_p - 1 + (m_q - m_p) ** 2 / v).sum(1)

    return wrong


def cost(width=None, error=0.5, power=2, by="v", bracket="tilde", early=True, one=1, averaged=False):
    """(6.15) with one of its parts changed; the bracket counts D / 2 times unless another width is given."""

    def wrong(x0, x0_hat, t, betas, v):
        beta, _, now, tilde, c = coefficients(t, betas)
        inner = tilde if bracket == "tilde" else beta
        c = c if early else now.sqrt() * beta / (1 - now)
        below = v if by == "v" else tilde
        price = torch.log(v / inner) + inner / v - one
        squares = (x0 - x0_hat).square()
        times = x0.shape[1] / 2 if width is None else width
        return times * price + error * c**power / below * (squares.mean(1) if averaged else squares.sum(1))

    return wrong


def reversed_kl(x0, x0_hat, t, betas, v):
    _, _, _, tilde, c = coefficients(t, betas)
    error = (x0 - x0_hat).square().sum(1)
    return x0.shape[1] / 2 * (torch.log(tilde / v) + v / tilde - 1) + c**2 / (2 * tilde) * error


def per_coordinate(x0, x0_hat, t, betas, v):
    _, _, _, tilde, c = coefficients(t, betas)
    price = torch.log(v / tilde) + tilde / v - 1
    return 0.5 * (price[:, None] + (c**2 / v)[:, None] * (x0 - x0_hat) ** 2)


def total(order, signs, swap=False):
    """The sum of (6.9), with signs before L_T, the divergences and log p(x0 | x_1)."""

    def wrong(prior, q_steps, p_steps, log_likelihood):
        found = 0
        for q, p in zip(q_steps, p_steps[::order], strict=True):
            found = found + (each(*p, *q) if swap else each(*q, *p)).sum(1)
        return signs[0] * prior + signs[1] * found + signs[2] * log_likelihood

    return wrong


def step(root="alpha", variance="geometric", early=True):
    def wrong(x0_hat, x_t, t, v, betas):
        beta, before, now = (a[:, None] for a in coefficients(t, betas)[:3])
        tilde = (1 - before) / (1 - now) * beta
        roots = {"alpha": 1 - beta, "now": now, "before": before, "no root": (1 - beta) ** 2}
        first = before if early else now
        mean = first.sqrt() * beta / (1 - now) * x0_hat + roots[root].sqrt() * (1 - before) / (1 - now) * x_t
        right = beta**v * tilde ** (1 - v)
        variances = {
            "geometric": right,
            "arithmetic": v * beta + (1 - v) * tilde,
            "turned round": beta ** (1 - v) * tilde**v,
            "logarithm": right.log(),
            "confined": beta ** v.clamp(0, 1) * tilde ** (1 - v.clamp(0, 1)),
            "deviation": right.sqrt(),
        }
        return mean, variances[variance]

    return wrong


def widths(rule):
    def wrong(s2, betas):
        before, now = table(betas)[:-1], table(betas)[1:]
        tilde, c = (1 - before) / (1 - now) * betas, before.sqrt() * betas / (1 - now)
        return rule(tilde, c, s2 / (1 + s2 * now / (1 - now)), s2)

    return wrong


def widths_at_1(tilde, c, e, s2):
    """beta_t from the rest: the error at s2 = 1 is 1 / (1 + SNR), and 1 / e = 1 / s2 + SNR."""
    return tilde + c**2 / (1 + 1 / e - 1 / s2)


def mixed(simple=1.0, scale=None, attached=False, drop="", variance="geometric", by_c=True):
    """L_hybrid with its two parts weighed otherwise, or attached otherwise."""

    def wrong(x0, x0_hat, v, t, betas, weight):
        beta, before, now = (a[:, None] for a in coefficients(t, betas)[:3])
        tilde, c = (1 - before) / (1 - now) * beta, before.sqrt() * beta / (1 - now)
        v_used = v.detach() if drop == "v" else v
        guess = x0_hat if attached else x0_hat.detach()
        v_used = {"turned": 1 - v_used, "confined": v_used.clamp(0, 1)}.get(variance, v_used)
        width = beta**v_used * tilde ** (1 - v_used)
        if variance == "straight":
            width = (v_used * beta + (1 - v_used) * tilde).clamp(min=1e-9)
        c = c if by_c else 1.0
        term = each(c * x0, tilde, c * guess, width).sum(1)
        outer = x0_hat.detach() if drop == "mean" else x0_hat
        T, D = len(betas), x0.shape[1]
        factor = weight * T / D if scale is None else scale(weight, T, D)
        loss = (D if simple == "sum" else simple) * (x0 - outer).square().mean(1) + factor * term
        return {"all": loss.detach(), "none": loss}.get(drop, loss)

    return wrong


NATS, D = -7000.0, 3072

WRONG = {
    "6.1": [
        ("means only", lambda m_q, v_q, m_p, v_p: (0.5 * (m_q - m_p) ** 2 / v_p).sum(1)),
        ("no -1", lambda *a: (each(*a) + 0.5).sum(1)),
        ("no distance", lambda m_q, v_q, m_p, v_p: each(m_q, v_q, m_q, v_p).sum(1)),
        ("not summed", each),
        ("axis kept", lambda *a: each(*a).sum(1, keepdim=True)),
        ("KL(p || q)", lambda m_q, v_q, m_p, v_p: each(m_p, v_p, m_q, v_q).sum(1)),
        ("distance by q's variance", distance_by("q")),
        ("averaged", lambda *a: each(*a).mean(1)),
        ("no half", lambda *a: 2 * each(*a).sum(1)),
        ("logarithm upside down", lambda *a: (each(*a) - torch.log(a[3] / a[1])).sum(1)),
        (
            "standard deviations",
            lambda m_q, v_q, m_p, v_p: each(m_q, v_q**2, m_p, v_p**2).sum(1),
        ),
        ("sum over examples where B is D", over_examples),
        ("hard-coded", lambda m_q, *a: torch.ones(len(m_q), dtype=torch.float64)),
    ],
    "6.2": [
        ("fell", "fell"),
        ("rose", "rose"),
        ("by as much", "fell by 0.3"),
        ("all", ["fell", "rose", "at most 2.9"]),
    ],
    "6.3": [
        ("no constant", NATS / D / math.log(2)),
        ("eight bits", NATS / D / math.log(2) + 8),
        ("nats", NATS / D + math.log(127.5)),
        ("constant subtracted", NATS / D / math.log(2) - math.log2(127.5)),
        ("channels forgotten", (NATS / 1024 + math.log(127.5)) / math.log(2)),
        ("sign of L", (-NATS / D + math.log(127.5)) / math.log(2)),
    ],
    "6.4": [
        ("no bracket", cost(width=0.0)),
        ("bracket once", cost(width=0.5)),
        ("error averaged", cost(averaged=True)),
        ("no -1", cost(one=0)),
        ("only (6.16)", cost(width=0.0, by="tilde")),
        ("one number a coordinate", per_coordinate),
        ("c not squared", cost(power=1)),
        ("by the posterior's variance", cost(by="tilde")),
        ("no half", cost(error=1.0)),
        ("beta in the bracket", cost(bracket="beta")),
        ("alpha_bar_t in c", cost(early=False)),
        ("KL(p || q)", reversed_kl),
        ("hard-coded", lambda x0, *a: torch.ones(len(x0), dtype=torch.float64)),
    ],
    "6.5": [
        ("only the sign", total(1, (1, 1, -1))),
        ("only the order", total(-1, (1, 1, 1))),
        ("the ELBO", total(-1, (-1, -1, 1))),
        ("prior subtracted", total(-1, (-1, 1, -1))),
        ("prior forgotten", total(-1, (0, 1, -1))),
        ("last step forgotten", total(-1, (1, 1, 0))),
        ("divergences subtracted", total(-1, (1, -1, -1))),
        ("q and p swapped", total(-1, (1, 1, -1), swap=True)),
        ("hard-coded", lambda prior, *a: torch.ones(len(prior), dtype=torch.float64)),
    ],
    "6.6": [
        ("only the root", step(variance="arithmetic")),
        ("only the variance", step(root="now")),
        ("alpha_bar_{t-1} before x_t", step(root="before")),
        ("alpha_bar_t before x0", step(early=False)),
        ("no root", step(root="no root")),
        ("v confined", step(variance="confined")),
        ("v turned round", step(variance="turned round")),
        ("log variance", step(variance="logarithm")),
        ("standard deviation", step(variance="deviation")),
        (
            "hard-coded",
            lambda x0, *a: (torch.ones(len(x0), 3, dtype=torch.float64), torch.ones(len(x0), 3, dtype=torch.float64)),
        ),
    ],
    "6.7": [
        ("the lower bound", widths(lambda tilde, c, e, s2: tilde)),
        ("beta", lambda s2, betas: betas.clone()),
        ("the bound for any data", lambda s2, betas: betas / (1 - betas)),
        ("straight line", widths(lambda tilde, c, e, s2: tilde + s2 * (widths_at_1(tilde, c, e, s2) - tilde))),
        ("c not squared", widths(lambda tilde, c, e, s2: tilde + c * e)),
        ("before seeing x_t", widths(lambda tilde, c, e, s2: tilde + c**2 * s2)),
        ("c forgotten", widths(lambda tilde, c, e, s2: tilde + e)),
        ("no beta tilde", widths(lambda tilde, c, e, s2: c**2 * e)),
        ("hard-coded", lambda s2, betas: torch.ones(len(betas), dtype=torch.float64)),
    ],
    "6.8": [
        ("T forgotten", mixed(scale=lambda w, T, D: w / D)),
        ("D forgotten", mixed(scale=lambda w, T, D: w * T)),
        ("squared error summed", mixed(simple="sum")),
        ("v turned round", mixed(variance="turned")),
        ("v confined", mixed(variance="confined")),
        ("straight line", mixed(variance="straight")),
        ("c forgotten", mixed(by_c=False)),
        ("detached in the wrong part", mixed(attached=True, drop="mean")),
        ("simple only", mixed(scale=lambda w, T, D: 0.0)),
        ("bound only", mixed(simple=0.0)),
        ("no weight", mixed(scale=lambda w, T, D: T / D)),
        ("bound subtracted", mixed(scale=lambda w, T, D: -w * T / D)),
        ("no stop-gradient", mixed(attached=True)),
        ("all stopped", mixed(drop="all")),
        ("mean stopped everywhere", mixed(drop="mean")),
        ("variance stopped", mixed(drop="v")),
        ("hard-coded", lambda x0, *a: torch.ones(len(x0), dtype=torch.float64)),
    ],
    "6.9": [
        ("no half", lambda s2, a, b: torch.log((1 + s2 * b) / (1 + s2 * a))),
        ("limits swapped", lambda s2, a, b: 0.5 * torch.log((1 + s2 * a) / (1 + s2 * b))),
        ("logarithm of the difference", lambda s2, a, b: 0.5 * torch.log1p(s2 * (b - a))),
        ("divided by s2", lambda s2, a, b: 0.5 * torch.log((1 + s2 * b) / (1 + s2 * a)) / s2),
        ("flat prior", lambda s2, a, b: 0.5 * torch.log(b / a)),
        ("constant error", lambda s2, a, b: 0.5 * s2 * (b - a)),
        ("from zero", lambda s2, a, b: 0.5 * torch.log1p(s2 * b)),
        ("hard-coded", lambda s2, a, b: torch.ones(6, dtype=torch.float64)),
    ],
}
