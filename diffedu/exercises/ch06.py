"""Checks of chapter 6: the bound, its terms, its variances and its units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu.core.path import linear_betas
from diffedu.exercises import (
    NotAttempted,
    Wrong,
    exercise,
    expect_choice,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
)
from diffedu.exercises._inputs import alpha_bar_of, irregular_betas, line, normal, same
from diffedu.exercises._targets import target_curves

EACH = "one number for each example, the coordinates summed (axis 1)"


def _later_times(B: int, T: int, rng: torch.Generator) -> Tensor:
    """B different times from 2 to T, both ends among them, in mixed order."""
    inner = torch.randperm(T - 3, generator=rng)[: B - 2] + 3
    times = torch.cat([torch.tensor([2, T], device="cpu"), inner])
    return times[torch.randperm(B, generator=rng)]


def _positive(*shape: int, rng: torch.Generator) -> Tensor:
    return 0.2 + 2 * torch.rand(*shape, generator=rng, dtype=torch.float64)


def _kl(m_q: Tensor, v_q: Tensor, m_p: Tensor, v_p: Tensor) -> Tensor:
    """(6.10) for every coordinate, not summed."""
    return 0.5 * (torch.log(v_p / v_q) + v_q / v_p - 1 + (m_q - m_p) ** 2 / v_p)


@exercise(
    "6.1",
    title="two Gaussians",
    stars=1,
    hints=[
        "(6.10) for each coordinate, then the sum over axis 1.",
        "Check: equal arguments give 0. Without the -1 they would give D/2.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):  # the second with B = D
        (m_q, m_p), (v_q, v_p) = normal(2, B, 3, rng=rng), _positive(2, B, 3, rng=rng)
        each, shift = _kl(m_q, v_q, m_p, v_p), (m_q - m_p) ** 2
        mistakes: list[tuple[Any, str]] = [
            (
                (0.5 * shift / v_p).sum(1),
                "only the distance of the means is there. The variances differ, and that costs, too: (6.12).",
            ),
            ((each + 0.5).sum(1), "the -1 is missing: two equal Gaussians would be D/2 nats apart."),
            (_kl(m_p, v_p, m_q, v_q).sum(1), "that is KL(p || q): the average is to be taken over q."),
            (
                (0.5 * shift / v_q + each - 0.5 * shift / v_p).sum(1),
                "the distance of the means is measured in units of p's variance, not of q's.",
            ),
            (each.mean(1), "coordinates are summed, not averaged: independent coordinates add their nats."),
            ((2 * each).sum(1), "the factor 1/2 is missing."),
            (
                (each - torch.log(v_p / v_q)).sum(1),
                "the logarithm is upside down: log(v_p / v_q), which is positive where p is wider.",
            ),
            (
                (0.5 * (2 * torch.log(v_p / v_q) + (v_q / v_p) ** 2 - 1 + shift / v_p**2)).sum(1),
                "you took the arguments for standard deviations; they are variances.",
            ),
            (_kl(m_q, v_q, m_q, v_p).sum(1), "the distance of the means is missing."),
        ]
        if B == 3:
            mistakes.append((each.sum(0), "you summed over the examples; the sum runs over the coordinates, axis 1."))
        got = answer(m_q, v_q, m_p, v_p)
        expect_shape(got, (B,), what="the divergence", because=EACH)
        expect_close(got, each.sum(1), what="the divergence", mistakes=mistakes)
    return "Three of its four terms vanish where the variances are equal, which is why they get lost in print."


@exercise(
    "6.2",
    title="what is known?",
    stars=1,
    kind="prediction",
    hints=["L = -log p + gap, by (6.5). Training changes both.", "Which of the two sums is a statement about p alone?"],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "at most 2.9",
        {
            "fell": "L fell. It is -log p plus a gap, and the gap alone may have shrunk: (6.5).",
            "rose": "it may have risen (from below), but nothing says that it did.",
            "fell by 0.3": "that would need the gap to stay as it was; training changes the gap as well.",
        },
    )
    return "-log p may even have risen, say from 2.5 to 2.8, while the paths of model and noising came closer together."


@exercise(
    "6.3",
    title="in bits",
    stars=1,
    kind="numeric",
    hints=["D = 32 * 32 * 3.", "(6.26): nats per dimension, plus log 127.5, divided by log 2."],
)
def _(answer: Any, rng: torch.Generator) -> str:
    D, nats = 32 * 32 * 3, -7000.0
    right = (nats / D + math.log(127.5)) / math.log(2)
    expect_number(
        answer,
        right,
        rtol=0.003,
        mistakes=[
            (nats / D / math.log(2), "a pixel for less than no bits? The change of variables is missing: log2(127.5)."),
            (nats / D / math.log(2) + 8, "256 levels over [-1, 1] are 128 (127.5) a unit, not 256: one bit too many."),
            (nats / D + math.log(127.5), "that is nats per dimension: divide by log 2."),
            (nats / D / math.log(2) - math.log2(127.5), "the constant has the wrong sign: a density per grey level is "
             "smaller than one per unit, so it costs more."),
            ((nats / (32 * 32) + math.log(127.5)) / math.log(2), "each of the three channels is a dimension."),
            ((-nats / D + math.log(127.5)) / math.log(2), "L is -7000 nats, minus included: the density is above 1."),
        ],
    )  # fmt: skip
    return "About what good models of small photographs need; stored plainly, a channel takes 8 bits."


@exercise(
    "6.4",
    title="one step's bill",
    stars=2,
    hints=[
        "Make the table alpha_bar with a leading 1; beta_t is betas[t - 1].",
        "All of beta_t, beta tilde, c_t and v_t have shape (B,); the squared error summed over axis 1 has, too.",
        "(6.15): D / 2 * (log(v / tilde) + tilde / v - 1) + c**2 / (2 v) * error, with c of (6.14).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = 9
    betas = irregular_betas(T, rng)
    alpha_bar = alpha_bar_of(betas)
    for B, D in ((5, 4), (3, 3)):
        x0, x0_hat = normal(2, B, D, rng=rng)
        t = _later_times(B, T, rng)
        beta, before, now = betas[t - 1], alpha_bar[t - 1], alpha_bar[t]
        tilde = (1 - before) / (1 - now) * beta
        v = tilde * _positive(B, rng=rng)
        error, c = (x0 - x0_hat).square().sum(1), before.sqrt() * beta / (1 - now)
        width = torch.log(v / tilde) + tilde / v - 1
        right = D / 2 * width + c**2 / (2 * v) * error
        wide = torch.log(v / beta) + beta / v - 1
        mistakes = [
            (
                c**2 / (2 * tilde) * error,
                "(6.16) holds where v_t is beta tilde. Here it is not: the error is divided by v_t, and the bracket of "
                "(6.15) costs, too.",
            ),
            (c**2 / (2 * v) * error, "the bracket of (6.15) is missing: v_t is not beta tilde here."),
            (right + D / 2, "the -1 in the bracket is missing: with the right variance and no error, the bill is 0."),
            (0.5 * width + c**2 / (2 * v) * error, "the bracket counts once for each of the D coordinates."),
            (
                D / 2 * width + c**2 / (2 * v) * error / D,
                "the squared error is summed over the coordinates, not averaged.",
            ),
            (D / 2 * width + c / (2 * v) * error, "c_t is squared: it multiplies the difference of the means."),
            (D / 2 * width + c**2 / (2 * tilde) * error, "the error is divided by the model's variance v_t."),
            (D / 2 * width + c**2 / v * error, "the squared error has lost its 1/2."),
            (D / 2 * wide + c**2 / (2 * v) * error, "in the bracket stands beta tilde, the variance of the posterior."),
            (
                D / 2 * width + (now.sqrt() * beta / (1 - now)) ** 2 / (2 * v) * error,
                "c_t has sqrt(alpha_bar_{t-1}), one step earlier: see (6.14) and (5.23).",
            ),
            (
                D / 2 * (torch.log(tilde / v) + v / tilde - 1) + c**2 / (2 * tilde) * error,
                "that is KL(p || q): model and posterior have changed places.",
            ),
        ]
        got = answer(x0, x0_hat, t, betas, v)
        expect_shape(got, (B,), what="the cost", because=EACH)
        expect_close(got, right, what="the cost", mistakes=mistakes)
    return "No x_t occurs in it: both means hold the same share of x_t, and their difference does not."


@exercise(
    "6.5",
    title="errata museum: the sum",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Which t has the first element of q_steps, and which the first of p_steps?",
        "L is a cost. Does a likely x0 make it larger or smaller?",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    B, D = 4, 3
    T = int(torch.randint(4, 8, (), generator=rng))
    prior, log_likelihood = _positive(B, rng=rng), normal(B, rng=rng)
    q = [(normal(B, D, rng=rng), _positive(B, D, rng=rng)) for _ in range(T - 1)]
    p = [(normal(B, D, rng=rng), _positive(B, D, rng=rng)) for _ in range(T - 1)]  # t = T ... 2

    def total(order: int) -> Tensor:
        found = torch.zeros(B, dtype=torch.float64, device="cpu")
        for (m_q, v_q), (m_p, v_p) in zip(q, p[::order], strict=True):
            found = found + _kl(m_q, v_q, m_p, v_p).sum(1)
        return found

    got = answer(prior, q, p, log_likelihood)
    if same(got, prior + total(1) + log_likelihood):
        raise NotAttempted
    swapped = torch.stack(
        [_kl(m_p, v_p, m_q, v_q).sum(1) for (m_q, v_q), (m_p, v_p) in zip(q, p[::-1], strict=True)]
    ).sum(0)
    expect_close(
        got,
        prior + total(-1) - log_likelihood,
        what="L",
        mistakes=[
            (prior + total(1) - log_likelihood, "one of two: the sign is right now; but which t has each list's first "
             "element?"),
            (prior + total(-1) + log_likelihood, "one of two: the lists agree now; but a likely x0 should make the "
             "cost smaller."),
            (-prior - total(-1) + log_likelihood, "that is the ELBO, a lower bound to be maximised; asked for is L, "
             "the cost."),
            (total(-1) - log_likelihood, "L_T is missing: it was there before."),
            (prior + total(-1), "the log-likelihood is missing: L_0 is minus it."),
            (-prior + total(-1) - log_likelihood, "L_T is a divergence and a cost: it is added."),
            (prior - total(-1) - log_likelihood, "the divergences are costs: they are added."),
            (prior + swapped - log_likelihood, "the order of the lists and the sign are right, but q and p have "
             "changed places in the divergence; it was right before."),
        ],
    )  # fmt: skip
    return "A list that runs the wrong way raises no error: only a comparison with a known value finds it."


@exercise(
    "6.6",
    title="errata museum: the step",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Derive the factor before x_t again: it came out of the ONE step q(x_t | x_{t-1}).",
        "(6.23) interpolates the logarithms of the two variances.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    T = 9
    betas = irregular_betas(T, rng)
    alpha_bar = alpha_bar_of(betas)
    for B in (5, 3):
        x0_hat, x_t = normal(2, B, 3, rng=rng)
        v = 1.6 * torch.rand(B, 3, generator=rng, dtype=torch.float64) - 0.3  # not confined to [0, 1]
        v[0], v[1] = v[0].abs() + 1.1, -v[1].abs() - 0.1
        t = _later_times(B, T, rng)
        beta, before, now = (a[:, None] for a in (betas[t - 1], alpha_bar[t - 1], alpha_bar[t]))
        tilde = (1 - before) / (1 - now) * beta

        to_x0, to_x_t = beta / (1 - now) * x0_hat, (1 - before) / (1 - now) * x_t

        got_mean, got_variance = expect_parts(answer(x0_hat, x_t, t, v, betas), 2)
        planted_mean, planted_variance = before.sqrt() * to_x0 + now.sqrt() * to_x_t, v * beta + (1 - v) * tilde
        right_mean, right_variance = before.sqrt() * to_x0 + (1 - beta).sqrt() * to_x_t, beta**v * tilde ** (1 - v)
        if same(got_mean, planted_mean) and same(got_variance, planted_variance):
            raise NotAttempted
        expect_close(
            got_mean,
            right_mean,
            what="the mean",
            mistakes=[
                (
                    planted_mean,
                    "one of two: the variance is mended; but before x_t stands sqrt(alpha_t), the one step, without "
                    "the bar.",
                ),
                (
                    before.sqrt() * (to_x0 + to_x_t),
                    "sqrt(alpha_bar_{t-1}) stands before x0; before x_t stands one step's root.",
                ),
                (
                    now.sqrt() * to_x0 + (1 - beta).sqrt() * to_x_t,
                    "before x0 stood sqrt(alpha_bar_{t-1}), which was right.",
                ),
                (
                    before.sqrt() * to_x0 + (1 - beta) * to_x_t,
                    "the root before x_t is missing: sqrt(1 - beta_t).",
                ),
            ],
        )
        expect_close(
            got_variance,
            right_variance,
            what="the variance",
            mistakes=[
                (planted_variance, "one of two: the mean is mended; but (6.23) interpolates logarithms."),
                (
                    beta ** v.clamp(0, 1) * tilde ** (1 - v.clamp(0, 1)),
                    "v is not confined to [0, 1]: at a point the best variance may lie outside of the two.",
                ),
                (beta ** (1 - v) * tilde**v, "v = 1 belongs to beta_t and v = 0 to beta tilde."),
                (right_variance.log(), "that is the logarithm of the variance: take the exponential."),
                (right_variance.sqrt(), "that is the standard deviation."),
            ],
        )
    return (
        "If one function makes both means, the wrong root cancels in their difference, and the bound looks healthy. "
        "The samples do not."
    )


@exercise(
    "6.7",
    title="the right width for Gaussian data",
    stars=2,
    hints=[
        "The error of the perfect denoiser is (5.13): s2 / (1 + s2 SNR).",
        "(6.20): beta tilde + c^2 times the error, with c of (6.14); all tables over t = 1 ... T.",
        "With before = alpha_bar[:-1] and now = alpha_bar[1:], SNR is now / (1 - now).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = int(torch.randint(5, 9, (), generator=rng))
    betas = irregular_betas(T, rng)
    alpha_bar = alpha_bar_of(betas)
    before, now = alpha_bar[:-1], alpha_bar[1:]
    tilde, c = (1 - before) / (1 - now) * betas, before.sqrt() * betas / (1 - now)
    for s2 in (0.3, 2.0 + torch.rand((), generator=rng).item()):
        error = s2 / (1 + s2 * now / (1 - now))
        early = s2 / (1 + s2 * before[1:] / (1 - before[1:]))
        expect_close(
            answer(s2, betas),
            tilde + c**2 * error,
            what="the table of variances",
            mistakes=[
                (tilde, "that is the lower bound: right only if the data is a single point."),
                (betas, "that is right for s2 = 1 only."),
                (betas / (1 - betas), "that is the upper bound for any data, reached as s2 grows without end."),
                (torch.lerp(tilde, betas, s2), "between s2 = 0 and 1 the variance is not a straight line in s2."),
                (tilde + c * error, "the mean moves by c per unit of x0, so the variance by c squared."),
                (tilde + c**2 * s2, "the doubt is that *after* seeing x_t, not the variance of the data: (5.13)."),
                (tilde + error, "the error is one of x0; it moves the mean of the step by c_t per unit only: (6.14)."),
                (
                    tilde + c**2 * torch.cat([early.new_zeros(1), early]),
                    "the error is that of x_t, at time t, not at t - 1.",
                ),
                (c**2 * error, "the width that is left when x0 is known, beta tilde, is missing."),
            ],
        )
    return "s2 = 0 gives beta tilde, 1 gives beta, and a million gives nearly beta / (1 - beta): the three rungs."


@exercise(
    "6.8",
    title="stop the gradient",
    stars=3,
    hints=[
        "Exercises 6.4 and 6.6 hold all the parts. The mean enters the bound through x0_hat only.",
        "Use x0_hat.detach() in the bound, and x0_hat itself in the mean squared error.",
        "v has shape (B, D), so each coordinate has its own variance: sum (6.10) over coordinates.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for T, B, D, weight in ((9, 5, 2, 0.02), (6, 3, 3, 0.05)):
        betas = irregular_betas(T, rng)
        x0, guess = normal(2, B, D, rng=rng)
        v = 1.6 * torch.rand(B, D, generator=rng, dtype=torch.float64) - 0.3
        _check_hybrid(answer, x0, guess, v, _later_times(B, T, rng), betas, weight)
    return "The two parts now share a network and no gradient of the mean: L_simple alone decides what is predicted."


def _check_hybrid(
    answer: Callable[..., Tensor], x0: Tensor, guess: Tensor, v: Tensor, t: Tensor, betas: Tensor, weight: float
) -> None:
    """Value and both gradients of (6.24) for one batch."""
    T, D, alpha_bar = len(betas), x0.shape[1], alpha_bar_of(betas)
    beta, before, now = (a[:, None] for a in (betas[t - 1], alpha_bar[t - 1], alpha_bar[t]))
    tilde, c = (1 - before) / (1 - now) * beta, before.sqrt() * beta / (1 - now)

    def parts(x0_hat: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        variance = beta**v * tilde ** (1 - v)
        return (x0 - x0_hat).square().mean(1), _kl(c * x0, tilde, c * x0_hat, variance).sum(1)

    simple, term = parts(guess, v)

    def loss(term: Tensor) -> Tensor:
        return simple + weight * T * term / D

    straight = (v * beta + (1 - v) * tilde).clamp(min=1e-9)
    with torch.enable_grad():
        guess, v = guess.requires_grad_(), v.requires_grad_()
        got = answer(x0, guess, v, t, betas, weight)
    expect_shape(got, (len(x0),), what="the loss", because="one number for each example")
    expect_close(
        got,
        loss(term),
        what="the loss",
        mistakes=[
            (
                simple + weight * term / D,
                "T stands for the sum over t, of which this is one draw: lambda T L_{t-1} / D.",
            ),
            (simple + weight * T * term, "the bound's part is divided by D, as the squared error is a mean."),
            (D * simple + weight * T * term / D, "L_simple is the mean over the coordinates here."),
            (simple, "the bound's part is missing."),
            (weight * T * term / D, "L_simple is missing."),
            (simple + T * term / D, "the weight lambda is missing."),
            (simple - weight * T * term / D, "the bound's part is a cost: it is added."),
            (loss(parts(guess, 1 - v)[1]), "v = 1 belongs to beta_t and v = 0 to beta tilde."),
            (loss(parts(guess, v.clamp(0, 1))[1]), "v is not confined to [0, 1]."),
            (loss(_kl(c * x0, tilde, c * guess, straight).sum(1)), "(6.23) interpolates logarithms."),
            (
                loss(_kl(x0, tilde, guess, beta**v * tilde ** (1 - v)).sum(1)),
                "the bound compares the two means, which differ by c_t (x0 - x0_hat): (6.14).",
            ),
            (
                loss(_kl(c * guess, beta**v * tilde ** (1 - v), c * x0, tilde).sum(1)),
                "that is KL(p || q): model and posterior have changed places.",
            ),
        ],
    )
    if not (isinstance(got, Tensor) and got.requires_grad):
        raise Wrong("the loss has no gradient at all: detach x0_hat in the bound only.")
    to_guess, to_v = torch.autograd.grad(got.sum(), (guess, v), allow_unused=True)
    with torch.enable_grad():
        free = guess.detach().requires_grad_()
        (plain,) = torch.autograd.grad(parts(free, v.detach())[0].sum(), free)
        again, term = parts(free, v.detach())
        (leaked,) = torch.autograd.grad((again + weight * T * term / D).sum(), free)
        loose = v.detach().requires_grad_()
        (wanted,) = torch.autograd.grad(weight * T / D * parts(free.detach(), loose)[1].sum(), loose)
    nothing = torch.zeros_like(plain)
    expect_close(
        nothing if to_guess is None else to_guess,
        plain,
        what="the gradient of x0_hat",
        mistakes=[
            (leaked, "the value is right, but the bound's gradient flows into the mean: detach x0_hat there."),
            (nothing, "x0_hat gets no gradient at all: in the squared error it must stay attached."),
            (
                leaked - plain,
                "the two are the wrong way round: x0_hat stays attached in the squared error and is detached in the "
                "bound.",
            ),
        ],
    )
    expect_close(
        nothing if to_v is None else to_v,
        wanted,
        what="the gradient of v",
        mistakes=[(nothing, "v gets no gradient: the variance is what the bound is to train.")],
    )


@exercise(
    "6.9",
    title="the bill of a Gaussian",
    stars=3,
    kind="derivation",
    hints=[
        "The error of the exact denoiser is s2 / (1 + s2 SNR).",
        "The integral of s2 / (1 + s2 y) over y is log(1 + s2 y).",
        "Don't forget the 1/2 of (6.28).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    s2, low = _positive(2, 6, rng=rng)
    high = low + 5 * _positive(6, rng=rng)
    inside = torch.log1p(s2 * high) - torch.log1p(s2 * low)
    expect_close(
        answer(s2, low, high),
        0.5 * inside,
        what="the bill",
        mistakes=[
            (inside, "the 1/2 of (6.28) is missing."),
            (-0.5 * inside, "the bill is positive: the integral runs from the low ratio to the high one."),
            (
                0.5 * torch.log1p(s2 * (high - low)),
                "the difference of two logarithms is not the logarithm of a difference.",
            ),
            (0.5 * inside / s2, "a factor s2 got lost: the integrand is s2 / (1 + s2 y)."),
            (0.5 * (high / low).log(), "that is the bill for s2 without end (a flat prior); yours is known to s2."),
            (0.5 * s2 * (high - low), "the error is not s2 throughout: it falls as the ratio grows."),
            (
                0.5 * torch.log1p(s2 * high),
                "that is all the information at the high end; some was there at the low end.",
            ),
        ],
    )
    return "It is the difference of two capacities, 1/2 log(1 + s2 SNR): Shannon's formula for a Gaussian channel."


# --------------------------------------------------------------------------------------- what the solutions draw

_BETAS = linear_betas(40, 0.0025, 0.25)


def _steps(first: int) -> tuple[Tensor, Tensor]:
    """A column of ones and the times, one row a step, from `first` to 40."""
    t = torch.arange(first, 41, device="cpu")
    return torch.ones(len(t), 1, dtype=torch.float64, device="cpu"), t


@target_curves(
    "6.1", x=line(0.2, 3), xlabel="variance of $q$", panels=("KL, nats",), lines=("equal means", "apart by 1")
)
def _(answer: Any) -> list[Tensor]:
    v = line(0.2, 3)[:, None]
    one = torch.ones_like(v)
    return [answer(shift * one, v, 0 * one, one) for shift in (0, 1)]


@target_curves(
    "6.4",
    x=range(2, 41),
    xlabel="$t$",
    panels=("cost of the step, nats",),
    lines=("guess off by 0.5", "exact"),
    log_y=True,
)
def _(answer: Any) -> list[Tensor]:
    one, t = _steps(2)
    return [answer(one, (1 - off) * one, t, _BETAS, _BETAS[t - 1]) for off in (0.5, 0)]


@target_curves(
    "6.6", x=range(2, 41), xlabel="$t$", panels=("mean", "variance"), lines=("$v = 0$", "$v = 0.5$", "$v = 1$")
)
def _(answer: Any) -> Tensor:
    one, t = _steps(2)
    results = [answer(one, 0.3 * one, t, v * one, _BETAS) for v in (0, 0.5, 1)]
    return torch.stack([torch.stack([part[:, 0] for part in parts]) for parts in zip(*results, strict=True)])


@target_curves(
    "6.7", x=range(1, 41), xlabel="$t$", panels=("best variance",), lines=("$s^2 = 0.1$", "$s^2 = 4$"), log_y=True
)
def _(answer: Any) -> list[Tensor]:
    return [answer(s2, _BETAS) for s2 in (0.1, 4.0)]


@target_curves(
    "6.8", x=range(2, 41), xlabel="$t$", panels=(r"$L_\mathrm{hybrid}$",), lines=("$v = 0$", "$v = 1$"), log_y=True
)
def _(answer: Any) -> list[Tensor]:
    one, t = _steps(2)
    return [answer(one, 0.5 * one, v * one, t, _BETAS, 0.01) for v in (0, 1)]


@target_curves(
    "6.9",
    x=torch.logspace(-2, 4, 61),
    xlabel="highest SNR",
    panels=("bill, nats",),
    lines=("$s^2 = 1$", "$s^2 = 9$"),
    log_x=True,
)
def _(answer: Any) -> list[Tensor]:
    high = torch.logspace(-2, 4, 61, dtype=torch.float64, device="cpu")
    return [answer(s2 * torch.ones_like(high), 0.01 * torch.ones_like(high), high) for s2 in (1, 9)]
