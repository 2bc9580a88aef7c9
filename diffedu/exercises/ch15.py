"""Checks of chapter 15: fast sampling and guidance on digits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import expand
from diffedu.core.path import cosine_betas
from diffedu.exercises import (
    NotAttempted,
    Wrong,
    exercise,
    expect_choice,
    expect_close,
    expect_number,
    expect_parts,
)
from diffedu.exercises._inputs import alpha_bar_of, line
from diffedu.exercises._targets import target_curves


@exercise(
    "15.1",
    title="the bill",
    stars=1,
    kind="numeric",
    hints=[
        "Count without guidance first, by (15.6).",
        "Heun: 2 * 13 - 1, since the last step lands on t = 0. Guidance asks every question twice.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    heun, steps = expect_parts(answer, 2)
    expect_number(
        heun,
        50,
        what="(a) the number of evaluations",
        rtol=1e-9,
        mistakes=[
            (25, "guidance asks twice: with the label and without."),
            (26, "the step to t = 0 asks once, and guidance doubles the whole."),
            (52, "the step that lands on t = 0 has no second slope: it asks once (twice with guidance)."),
            (13, "that is the number of steps."),
            (51, "the last step asks once, and guidance doubles that, too."),
        ],
    )
    expect_number(
        steps,
        25,
        what="(b) the number of steps",
        rtol=1e-9,
        mistakes=[
            (50, "each step of a guided multistep method costs two evaluations."),
            (13, "that many would cost half of the bill."),
            (26, "27 and 26 steps cost more than the bill."),
        ],
    )
    return "For one bill, a multistep method takes nearly twice as many steps: Heun must earn that by its order."


@exercise(
    "15.2",
    title="guided and cut",
    stars=1,
    hints=[
        "s has shape (B,): give it three more axes before it meets a picture.",
        "Combine first, then cut: (x0_u + s[:, None, None, None] * (x0_c - x0_u)).clamp(-1.1, 1)",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch in (3, 4):  # 4 equals the width: there a broadcast along the wrong axis hides
        x0_c, x0_u = 1.3 * torch.randn(2, batch, 1, 4, 4, generator=rng)
        s = 0.5 + 4 * torch.rand(batch, generator=rng)
        k = expand(s, x0_c)
        plain = x0_u + k * (x0_c - x0_u)
        c, u = x0_c.clamp(-1.1, 1), x0_u.clamp(-1.1, 1)
        mistakes = [
            (plain, "nothing is cut."),
            (plain.clamp(-1, 1), "you cut to [-1, 1]; this network's paper is at -1.1."),
            (u + k * (c - u), "you cut the two guesses and not their combination, which may leave the range again."),
            (
                (u + k * (c - u)).clamp(-1.1, 1),
                "you cut the two guesses before combining them: that changes their difference.",
            ),
            ((x0_c + k * (x0_c - x0_u)).clamp(-1.1, 1), "that is the paper's w: s = 1 must be the conditional guess."),
            ((x0_c + k * (x0_u - x0_c)).clamp(-1.1, 1), "the two guesses have changed places."),
            (
                (x0_u + k * (x0_u - x0_c)).clamp(-1.1, 1),
                "the difference has the wrong sign: it leads away from the class.",
            ),
        ]
        if batch == x0_c.shape[-1]:
            on_columns = (x0_u + s * (x0_c - x0_u)).clamp(-1.1, 1)
            mistakes.append((on_columns, "every column of pixels has its own scale: s met the last axis; reshape it."))
        expect_close(answer(x0_c, x0_u, s), plain.clamp(-1.1, 1), what="the guess", mistakes=mistakes)
    return "The order matters: cut guesses have a smaller difference, so cutting first is a weaker guidance."


@exercise(
    "15.3",
    title="how different are they?",
    stars=2,
    hints=[
        "For each label: all squared distances of its own features, torch.cdist(own, own) ** 2; the diagonal is 0.",
        "Divide their sum by 2 m (m - 1), not by 2 m^2; then average over labels, then take the root.",
        "Or: the trace of the covariance with m - 1 in the denominator.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    counts = [int(torch.randint(2, 6, (), generator=rng)) for _ in range(3)] + [7]
    labels = torch.cat([torch.full((m,), 2 * y) for y, m in enumerate(counts)])
    shuffle = torch.randperm(len(labels), generator=rng)
    labels = labels[shuffle]
    values = (
        torch.randn(len(labels), 5, generator=rng, dtype=torch.float64) * (1 + labels[:, None]) + 3 * labels[:, None]
    )

    def over(mean: Callable[[list[Tensor]], Tensor], trace: Callable[[Tensor], Tensor]) -> Tensor:
        return mean([trace(values[labels == y]) for y in labels.unique()])

    def unbiased(own: Tensor) -> Tensor:
        return own.var(dim=0).sum()

    def biased(own: Tensor) -> Tensor:
        return own.var(dim=0, correction=0).sum()

    def equal(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts).mean()

    square = over(equal, unbiased)
    within = [(values[labels == y], int((labels == y).sum())) for y in labels.unique()]
    by_size = torch.stack([m * unbiased(own) for own, m in within]).sum() / len(labels)
    distances = torch.stack([torch.cdist(own, own).sum() / (m * (m - 1)) for own, m in within]).mean()
    mistakes = [
        (square, "the square root is missing."),
        ((2 * square).sqrt(), "the half is missing: two digits differ by twice the variance."),
        (over(equal, biased).sqrt(), "you divide by m^2 (or m): a digit is no pair with itself."),
        ((2 * over(equal, biased)).sqrt(), "a digit is no pair with itself, and the half is missing."),
        (unbiased(values).sqrt(), "all classes are mixed: then it measures how different the classes are."),
        (biased(values).sqrt(), "all classes are mixed: then it measures how different the classes are."),
        (by_size.sqrt(), "classes are to count equally, not by their sizes."),
        (
            over(lambda parts: torch.stack(parts).sqrt().mean(), unbiased),
            "average the squares first, then take the root.",
        ),
        (over(lambda parts: torch.stack(parts).sum(), unbiased).sqrt(), "average over the classes; you add them."),
        (distances, "that is the mean distance; (15.10) averages squared distances."),
    ]
    value = answer(values, labels)
    got = torch.as_tensor(value, dtype=torch.float64)
    expect_close(got, square.sqrt(), what="the diversity", mistakes=mistakes)
    return "Unbiased in the square, so values at different counts can be compared; a Fréchet distance cannot."


@exercise(
    "15.4",
    title="a chain at any noise level",
    stars=2,
    hints=[
        "sigma^2 = 1 - alpha_bar and alpha^2 = alpha_bar, so alpha_bar = 1 / (1 + level^2).",
        "log(alpha_bar) falls with t: find the whole numbers on both sides (torch.searchsorted wants a rising array: "
        "use -log).",
        "t = k + (goal - a[k]) / (a[k + 1] - a[k]) with a = -log(alpha_bar) and goal = log(1 + level^2).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T, K = int(torch.randint(12, 30, (), generator=rng)), 6
    betas = 0.02 + 0.4 * torch.rand(T, generator=rng, dtype=torch.float64)
    depth = torch.cat([torch.zeros(1, dtype=torch.float64), -torch.log1p(-betas).cumsum(0)])
    alpha_bar = torch.exp(-depth)
    t = (1 + (T - 2) * torch.rand(K, generator=rng, dtype=torch.float64)).sort(descending=True).values
    low = t.long()
    goal = depth[low] + (t - low) * (depth[low + 1] - depth[low])
    levels = torch.expm1(goal).sqrt()

    def found(target: Tensor, table: Tensor) -> Tensor:
        k = (torch.searchsorted(table, target, right=True) - 1).clamp(0, T - 1)
        return k + (target - table[k]) / (table[k + 1] - table[k])

    mistakes = [
        (
            found(1 - torch.exp(-goal), 1 - alpha_bar),
            "you let alpha_bar be linear between whole numbers, not its logarithm.",
        ),
        (
            found(levels, torch.expm1(depth).sqrt()),
            "you let the level be linear between whole numbers; log alpha_bar is.",
        ),
        (
            found(torch.log1p(levels), depth),
            "sigma / alpha is a ratio of standard deviations: alpha_bar = 1 / (1 + level^2).",
        ),
        (low.to(t.dtype), "you cut to whole numbers: the network may be asked between them."),
        (t.round(), "you round to whole numbers: the network may be asked between them."),
        (low + 1.0, "you round up to whole numbers: the network may be asked between them."),
        (t - 1, "off by one: alpha_bar[0] = 1 belongs to t = 0."),
        (t + 1, "off by one: alpha_bar[0] = 1 belongs to t = 0."),
        (T - t, "time runs the other way: 0 is clean."),
    ]
    expect_close(answer(alpha_bar, levels), t, what="the times", rtol=1e-6, mistakes=mistakes)
    return "With this, any sampler of EDM's levels can drive any DDPM checkpoint."


@exercise(
    "15.5",
    title="predict: fewer digits",
    stars=1,
    kind="prediction",
    hints=["The floor times n was nearly constant in section 15.3."],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "ten times as large",
        {
            "the same": "even real digits don't score 0, and their score depends on n: look at the table of floors.",
            "three times as large": "that is the square root of ten, as for an error bar; but a squared distance is "
            "biased by squared errors, which go like 1 / n.",
        },
    )
    return "So a Fréchet distance without its count says nothing, and two at different counts say less."


@exercise(
    "15.6",
    title="the price list of a modern flow",
    stars=2,
    hints=[
        "lambda = log((1 - t) / t) = -u: so its density is a normal one, with mean -m.",
        "The velocity has a = -1, b = 1, so Delta = alpha + sigma = 1, and the factor is 1 / alpha^2.",
        "alpha = 1 - t = 1 / (1 + exp(-lambda)).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    lam = 4 * torch.rand(9, generator=rng, dtype=torch.float64) - 2
    m = 0.3 + float(torch.rand((), generator=rng))
    tau = 0.6 + float(torch.rand((), generator=rng))

    def bell(x: Tensor, mean: float) -> Tensor:
        return torch.exp(-0.5 * ((x - mean) / tau) ** 2) / (math.sqrt(2 * math.pi) * tau)

    factor = (1 + torch.exp(-lam)) ** 2
    right = bell(lam, -m) * factor
    variance = torch.exp(-0.5 * (lam + m) ** 2 / tau) / math.sqrt(2 * math.pi * tau)
    mistakes = [
        (bell(lam, m) * factor, "the mean of lambda is -m: noise is at large t, and lambda falls with t."),
        (bell(lam, -m), "that is the density of lambda; an error of the velocity costs more than one of the noise."),
        (bell(lam, -m) * (1 + torch.exp(-lam)), "the squared error takes the square of 1 / alpha."),
        (bell(lam, -m) / factor, "the factor stands upside down: the velocity's error is the noise's over alpha."),
        (bell(lam, -m) * (1 + torch.exp(lam)) ** 2, "that is 1 / sigma^2; the factor is 1 / alpha^2."),
        (
            bell(lam, -m) * (1 + torch.exp(-2 * lam)),
            "that is v on a path with alpha^2 + sigma^2 = 1; here alpha + sigma = 1.",
        ),
        (variance * factor, "tau is a standard deviation; you use it as a variance."),
        (right * math.sqrt(2 * math.pi) * tau, "the density lacks its constant 1 / (tau sqrt(2 pi))."),
    ]
    expect_close(answer(lam, m, tau), right, what="W", mistakes=mistakes)
    return "m shifts the whole price list along lambda: it plays the part that the shift of a schedule plays elsewhere."


@exercise(
    "15.7",
    title="errata museum: the right weight at the wrong loss",
    stars=2,
    kind="find-and-fix",
    hints=[
        "min-SNR is min(SNR, gamma) in front of the squared error of x0. What is that error in units of v's?",
        "err(x0) = sigma err(v), and sigma^2 = 1 / (SNR + 1).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch in (6, 4):
        guess, v = torch.randn(2, batch, 4, generator=rng, dtype=torch.float64)
        lam = torch.cat(
            [
                0.2 + torch.rand(2, generator=rng, dtype=torch.float64),
                torch.randn(batch - 2, generator=rng, dtype=torch.float64),
            ]
        )
        alpha, sigma = torch.sigmoid(2 * lam).sqrt(), torch.sigmoid(-2 * lam).sqrt()
        gamma = 1.2 + 2 * float(torch.rand((), generator=rng))
        snr, error = (alpha / sigma) ** 2, (guess - v).square().mean(1)
        least = snr.clamp(max=gamma)
        value = answer(guess, v, alpha, sigma, gamma)
        if isinstance(value, Tensor) and value.shape == error.shape and torch.allclose(value, least / snr * error):
            raise NotAttempted
        mistakes = [
            (least * error, "that is the weight in front of the error of x0."),
            (error, "that is plain v."),
            (least / (gamma + 1) * error, "gamma + 1 is a constant: the weight changes with SNR + 1."),
            (
                least * (snr + 1) * error,
                "you multiply by SNR + 1; v's squared error is SNR + 1 times that of x0: divide.",
            ),
            (
                least * (snr + 1) / snr * error,
                "err(v) = err(eps) / alpha: its square is larger, so the weight is smaller.",
            ),
            (
                snr.clamp(min=gamma) / (snr + 1) * error,
                "the larger of the two: then low noise gets more weight, not less.",
            ),
            (snr / (snr + 1) * error, "gamma is not used."),
            (
                least / (snr + 1) * (guess - v).square().sum(1),
                "the weight is right now; but the loss was a mean over the coordinates, and still should be.",
            ),
            ((least / (snr + 1)).sqrt() * error, "the weight stands in front of a *squared* error: no root."),
        ]
        expect_close(value, least / (snr + 1) * error, what="the loss", mistakes=mistakes)
    return "With the weight for eps, the price list at high noise would be that of plain v: min-SNR in name only."


@exercise(
    "15.8",
    title="errata museum: two questions in one call",
    stars=3,
    kind="find-and-fix",
    hints=[
        "Which label stands in the second half of the batch, and which should?",
        "In which order do the two halves come back?",
        "At scale 1 the result must be the noise with the label.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    null, batch = int(torch.randint(5, 9, (), generator=rng)), int(torch.randint(3, 6, (), generator=rng))
    table = torch.randn(null + 1, batch + 1, generator=rng, dtype=torch.float64)

    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return torch.tanh(x + t[:, None]) * table[labels] + t[:, None]

    x = torch.randn(batch, batch + 1, generator=rng, dtype=torch.float64)
    t = torch.rand(batch, generator=rng, dtype=torch.float64)
    labels = torch.randint(1, null, (batch,), generator=rng)
    scale = 1.5 + float(torch.rand((), generator=rng))
    c, u, zero = (net(x, t, k) for k in (labels, torch.full_like(labels, null), torch.zeros_like(labels)))
    value = answer(net, x, t, labels, scale, null)
    original = c + (1 + scale) * (zero - c)
    if isinstance(value, Tensor) and value.shape == original.shape and torch.allclose(value, original):
        raise NotAttempted
    mistakes = [
        (zero + scale * (c - zero), "the label of the second half is still 0, which is a class of its own."),
        (u + (1 + scale) * (c - u), "1 + scale: that is for the paper's w; at this book's scale 1 nothing is added."),
        (c + scale * (u - c), "the halves come back in the order in which they went: with the label first."),
        (zero + (1 + scale) * (c - zero), "the order is right now; the null label and the scale are not."),
        (c + (1 + scale) * (u - c), "the null label is right now; the order of the halves and the scale are not."),
        (c + scale * (zero - c), "the scale is right now; the order of the halves and the null label are not."),
        (c, "that is no guidance: the difference is missing."),
        (u + c * scale, "the difference of the two answers is missing."),
    ]
    expect_close(value, u + scale * (c - u), what="the guided noise", mistakes=mistakes)
    if not torch.allclose(answer(net, x, t, labels, 1.0, null), c):
        raise Wrong("at scale 1 the result is not the noise with the label.")
    return "At scale 1 and at scale 0 guidance has known answers: two tests that catch all three mistakes."


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves(
    "15.2",
    x=line(0, 4),
    xlabel="guidance scale",
    panels=("a guided pixel",),
    lines=("0.6, without: 0.2", "-0.9, without: -0.8"),
)
def _(answer: Any) -> list[Tensor]:
    one = torch.ones(81, 1, 1, 1, dtype=torch.float64, device="cpu")
    return [answer(a * one, b * one, line(0, 4))[:, 0, 0, 0] for a, b in ((0.6, 0.2), (-0.9, -0.8))]


@target_curves("15.4", x=torch.logspace(-1.5, 1.5, 61), xlabel="noise level", panels=("time",), log_x=True)
def _(answer: Any) -> Tensor:
    levels = torch.logspace(-1.5, 1.5, 61, dtype=torch.float64, device="cpu")
    return torch.as_tensor(answer(alpha_bar_of(cosine_betas(100)), levels))


@target_curves("15.6", x=line(-4, 6), xlabel=r"$\lambda$", panels=("price",), lines=("$m = 0$", "$m = 1$"), log_y=True)
def _(answer: Any) -> list[Tensor]:
    return [answer(line(-4, 6), m, 1.0) for m in (0.0, 1.0)]


@target_curves(
    "15.7",
    x=line(-4, 4),
    xlabel=r"$\log(\alpha / \sigma)$",
    panels=("loss of an error of 1",),
    lines=(r"$\gamma = 5$", r"$\gamma = 1$"),
)
def _(answer: Any) -> list[Tensor]:
    one = torch.ones(81, 1, dtype=torch.float64, device="cpu")
    alpha, sigma = torch.sigmoid(2 * line(-4, 4)).sqrt(), torch.sigmoid(-2 * line(-4, 4)).sqrt()
    return [answer(one, 0 * one, alpha, sigma, gamma) for gamma in (5.0, 1.0)]


@target_curves(
    "15.8", x=line(0, 4), xlabel="guidance scale", panels=("guided noise at $x = 1$",), lines=("label 0", "label 1")
)
def _(answer: Any) -> Tensor:
    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return x * torch.tensor([1.0, -0.5, 0.2], dtype=x.dtype, device="cpu")[labels][:, None]

    x = torch.ones(2, 1, dtype=torch.float64, device="cpu")
    t, labels = torch.full((2,), 0.5, dtype=torch.float64, device="cpu"), torch.tensor([0, 1], device="cpu")
    return torch.stack([answer(net, x, t, labels, scale, 2)[:, 0] for scale in line(0, 4).tolist()], dim=1)
