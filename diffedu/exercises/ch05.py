"""Checks of chapter 5: the forward process and noise schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import expand, seeded
from diffedu.core.path import cosine_betas, linear_betas, scaled_linear_betas
from diffedu.data.digits import digits
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
from diffedu.exercises._inputs import alpha_bar_of, irregular_betas, line, same
from diffedu.exercises._targets import target_curves, target_images


def _whole_times(B: int, T: int, rng: torch.Generator) -> Tensor:
    """B times that differ and hold both ends, 1 and T, in mixed order."""
    inner = torch.randperm(T - 2, generator=rng)[: B - 2] + 2
    times = torch.cat([torch.tensor([1, T], device="cpu"), inner])
    return times[torch.randperm(B, generator=rng)]


@exercise(
    "5.1",
    title="a batch of jumps",
    stars=1,
    hints=[
        "Look up alpha_bar at the times: alpha_bar[t] has shape (B,).",
        "(B,) must become (B, 1, ..., 1) before it meets (B, *): one axis for each axis of x0 after the first.",
        "diffedu._tensor.expand(c, x) does that; or c.reshape(-1, *[1] * (x0.ndim - 1)).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = 12
    alpha_bar = alpha_bar_of(irregular_betas(T, rng)).float()
    # Pictures, points, and as many pictures as columns, where a broadcast along the wrong axis runs.
    for shape in ((5, 1, 4, 4), (5, 3), (4, 1, 4, 4), (4, 4)):
        x0, eps = torch.randn(2, *shape, generator=rng)
        t = _whole_times(shape[0], T, rng)
        a = expand(alpha_bar[t], x0)
        early, late = (expand(alpha_bar[k], x0) for k in (t - 1, (t + 1).clamp(max=T)))
        one_step = expand(alpha_bar[t] / alpha_bar[t - 1], x0)
        mistakes: list[tuple[Any, str]] = [
            (
                a.sqrt() * x0 + (1 - a) * eps,
                "the noise is multiplied by its variance 1 - alpha_bar; it needs the root, its standard deviation.",
            ),
            (a * x0 + (1 - a) * eps, "alpha_bar and 1 - alpha_bar are variances: both need a square root."),
            (a * x0 + (1 - a).sqrt() * eps, "the data is multiplied by alpha_bar; it needs the square root."),
            ((1 - a).sqrt() * x0 + a.sqrt() * eps, "data and noise have each other's coefficients."),
            (
                early.sqrt() * x0 + (1 - early).sqrt() * eps,
                "each picture is one step too clean: alpha_bar[t] belongs to t.",
            ),
            (
                late.sqrt() * x0 + (1 - late).sqrt() * eps,
                "each picture is one step too noisy: the table begins with alpha_bar[0] = 1, so no shift is needed.",
            ),
            (
                a.sqrt() * x0 + (1 - a.sqrt()) * eps,
                "the noise is multiplied by 1 - sqrt(alpha_bar); the root is taken last: sqrt(1 - alpha_bar).",
            ),
            (a.sqrt() * x0 - (1 - a).sqrt() * eps, "the noise is subtracted; (5.10) adds it."),
            (x0 + (1 - a).sqrt() * eps, "the data is not shrunk: it needs the factor sqrt(alpha_bar)."),
            (
                one_step.sqrt() * x0 + (1 - one_step).sqrt() * eps,
                "that is the single step t, as in (5.1); the jump goes all the way from 0 to t.",
            ),
            (
                alpha_bar[t[0]].sqrt() * x0 + (1 - alpha_bar[t[0]]).sqrt() * eps,
                "all examples got the first one's time; each has its own.",
            ),
        ]
        if shape[0] == shape[-1]:
            c = alpha_bar[t]
            wrong = c.sqrt() * x0 + (1 - c).sqrt() * eps
            mistakes.append((wrong, "alpha_bar[t] of shape (B,) meets the last axis of x0; it belongs to the first."))
        expect_close(answer(x0, eps, t, alpha_bar), a.sqrt() * x0 + (1 - a).sqrt() * eps, what="x_t", mistakes=mistakes)
    return (
        "With B equal to the width of the picture the wrong broadcast runs without an error; "
        "yours does not fall for it."
    )


@exercise(
    "5.2",
    title="larger pictures",
    stars=1,
    kind="prediction",
    hints=[
        "What does averaging four nearly equal pixels do to the signal? And to four independent noises?",
        "By (5.6) the mean of four noises of size sigma has size sigma / 2.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "clearer",
        {
            "the same": "the pixels agree, but their noises are independent: the mean of four is smaller.",
            "noisier": "four noises add up to a larger one, but dividing by 4 more than undoes it: (5.6).",
        },
    )
    return (
        "The noise is halved, the signal stays: half-log-SNR rises by log 2. To be as hard as the "
        "small picture, "
        "the large one needs a schedule that is shifted down by log 2 for each doubling of the side."
    )


@exercise(
    "5.3",
    title="half and half",
    stars=1,
    kind="numeric",
    hints=[
        "SNR = 1 where alpha_bar = 1/2.",
        "Make DiscreteDDPM(linear_betas(1000)) and find the first index at which its alpha_bar is below 1/2.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    alpha_bar = alpha_bar_of(linear_betas(1000))
    first = int((alpha_bar < 0.5).nonzero()[0])
    quarter = int((alpha_bar < 0.25).nonzero()[0])
    expect_number(
        answer,
        first,
        rtol=0.0,
        atol=0.0,
        mistakes=[
            (first - 1, "one too early. Was it an index into cumprod, which begins with step 1 at index 0?"),
            (first + 1, "one too late: alpha_bar[t] with alpha_bar[0] = 1 already belongs to step t."),
            (500, "that is half of the steps, not half of the variance."),
            (quarter, "you asked sqrt(alpha_bar) for 1/2; SNR compares variances, so alpha_bar itself."),
            (first / 1000, "that is t / T; asked for is the step t, a whole number."),
            (
                int((alpha_bar_of(scaled_linear_betas(1000)) < 0.5).nonzero()[0]),
                "that is the scaled-linear schedule's; asked for is the linear one's.",
            ),
            (
                int((alpha_bar_of(cosine_betas(1000)) < 0.5).nonzero()[0]),
                "that is the cosine's; asked for is the linear schedule's.",
            ),
        ],
    )
    return "After a quarter of its steps the linear schedule has more noise than signal; the cosine takes half of them."


@exercise(
    "5.4",
    title="errata museum: the forward pass",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Check the variance of the result when x0 and eps both have variance 1: it should be 1 at every t.",
        "And check t = 1 and t = T: which beta's product stands at index t of cumprod? Is there an index T?",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T, B = 10, 4
    betas = irregular_betas(T, rng)
    x0, eps = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
    alpha_bar = alpha_bar_of(betas)
    safe = torch.randperm(T - 1, generator=rng)[:B] + 1  # the planted code has no index T, so T comes second
    a, after = alpha_bar[safe][:, None], alpha_bar[safe + 1][:, None]
    got = answer(x0, eps, safe, betas)
    if same(got, after.sqrt() * x0 + (1 - after) * eps):
        raise NotAttempted
    expect_close(
        got,
        a.sqrt() * x0 + (1 - a).sqrt() * eps,
        what="x_t",
        mistakes=[
            (
                a.sqrt() * x0 + (1 - a) * eps,
                "one of two: the index is right now, but look at the size of the noise.",
            ),
            (
                after.sqrt() * x0 + (1 - after).sqrt() * eps,
                "one of two: the noise has its root now, but index t of cumprod belongs to step t + 1.",
            ),
            (
                a * x0 + (1 - a) * eps,
                "the root before x0 was right; the one before eps was missing.",
            ),
            (
                a * x0 + (1 - a).sqrt() * eps,
                "index and noise are right now, but the root before x0 was there already and is gone.",
            ),
            (
                a.sqrt() * x0 + (1 - a.sqrt()) * eps,
                "the root belongs around 1 - alpha_bar, not around alpha_bar inside it.",
            ),
            (
                lambda: alpha_bar[safe - 1][:, None].sqrt() * x0 + (1 - alpha_bar[safe - 1][:, None]) * eps,
                "the noise still lacks its root, and the index is now one too small.",
            ),
            (
                lambda: (1 - betas[safe - 1][:, None]).sqrt() * x0 + betas[safe - 1][:, None].sqrt() * eps,
                "that is the single step t; x_t holds the noise of all steps up to t, so the product is needed.",
            ),
            (
                lambda: alpha_bar[safe - 1][:, None].sqrt() * x0 + (1 - alpha_bar[safe - 1][:, None]).sqrt() * eps,
                "now the index is one too small: step t includes the factor of beta_t itself.",
            ),
        ],
    )
    t = _whole_times(B, T, rng)
    a = alpha_bar[t][:, None]
    expect_close(answer(x0, eps, t, betas), a.sqrt() * x0 + (1 - a).sqrt() * eps, what="x_t at t = 1 and t = T")
    return (
        "With the shifted index the noisiest state is never trained, and t = T stops with an "
        "index error on the CPU. "
        "A leading 1 in the table (alpha_bar[0] = 1) makes index and step agree for good."
    )


@exercise(
    "5.5",
    title="errata museum: the cosine",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Compare f with (5.17): what is missing?",
        "f(T) = 0: what is the last beta? Use clamp(max=0.999).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = int(torch.randint(20, 200, (), generator=rng))
    right, uncut = cosine_betas(T), cosine_betas(T, max_beta=1.0)
    t = torch.arange(T + 1, dtype=torch.float64, device="cpu")
    plain = torch.cos((t / T + 0.008) / 1.008 * math.pi / 2)
    planted = 1 - plain[1:] / plain[:-1]
    no_offset = cosine_betas(T, s=0.0)
    got = answer(T)
    if same(got, planted):
        raise NotAttempted
    expect_close(
        got,
        right,
        what="the schedule",
        rtol=1e-6,
        mistakes=[
            (uncut, "one of two: the square is there, but the last beta is 1 and erases everything."),
            (
                planted.clamp(max=0.999),
                "one of two: the last beta is cut, but alpha_bar is a cosine and not its square.",
            ),
            (
                no_offset,
                "the offset s = 0.008 was right: it keeps the first steps from being lost in rounding.",
            ),
            ((1 - (plain**4)[1:] / (plain**4)[:-1]).clamp(max=0.999), "that is the fourth power."),
            (
                (1 - (plain**0.5)[1:] / (plain**0.5)[:-1]).clamp(max=0.999),
                "you took the root of the cosine; (5.17) has its square.",
            ),
            (cosine_betas(T, max_beta=0.99), "the last beta is cut, but not to 0.999."),
            (1 - right, "these are the alphas; betas are 1 minus them."),
            ((plain**2)[1:], "that is the curve f itself; the betas are 1 minus the ratio of neighbours, (5.16)."),
            (
                (1 - (plain**2)[1:] / plain[0] ** 2).clamp(max=0.999),
                "each value is divided by f(0); a beta compares neighbours, (5.16).",
            ),
            (
                uncut.clamp(min=0.999),
                "clamp(min=0.999) lifts the small betas; the large one is to be cut, with max.",
            ),
        ],
    )
    return (
        "Without the square, alpha_bar falls too late, and the sum alpha^2 + sigma^2 = cos^2 + "
        "sin^2 that gives the "
        "schedule its constant speed is lost."
    )


@exercise(
    "5.6",
    title="one step back",
    stars=2,
    hints=[
        "Make the table alpha_bar with a leading 1, so that alpha_bar[t] and alpha_bar[t - 1] are "
        "both at hand; beta_t is "
        "betas[t - 1].",
        "All coefficients have shape (B,). For the mean give them a second axis; for the variance don't.",
        "(5.23): before x0 stands sqrt(alpha_bar[t - 1]), before x_t stands sqrt(1 - beta_t).",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    T = 9
    betas = irregular_betas(T, rng)
    alpha_bar = alpha_bar_of(betas)
    for B in (5, 3):  # the second with B = D, where a wrong broadcast runs
        x0, x_t = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        t = _whole_times(B, T, rng)
        beta, before, now = betas[t - 1], alpha_bar[t - 1], alpha_bar[t]
        next_beta = betas[t.clamp(max=T - 1)]
        to_x0, to_xt = before.sqrt() * beta / (1 - now), (1 - beta).sqrt() * (1 - before) / (1 - now)

        def mean(p: Tensor, q: Tensor, x0: Tensor = x0, x_t: Tensor = x_t) -> Tensor:
            return p[:, None] * x0 + q[:, None] * x_t

        got_mean, got_variance = expect_parts(answer(x0, x_t, t, betas), 2)
        mistakes: list[tuple[Any, str]] = [
            (
                mean(to_x0, now.sqrt() * (1 - before) / (1 - now)),
                "the mean has sqrt(alpha_bar_t) before x_t. It came from the one step q(x_t | "
                "x_{t-1}): sqrt(alpha_t), "
                "without the bar.",
            ),
            (
                mean(now.sqrt() * beta / (1 - now), to_xt),
                "before x0 stands sqrt(alpha_bar_{t-1}), one step earlier: it came from q(x_{t-1} | x0).",
            ),
            (mean(to_xt, to_x0), "the coefficients of x0 and x_t are swapped in the mean."),
            (
                mean(before * beta / (1 - now), (1 - beta) * (1 - before) / (1 - now)),
                "the two square roots in the mean are missing.",
            ),
        ]
        mistakes += [
            (
                mean(to_x0, before.sqrt() * (1 - before) / (1 - now)),
                "before x_t stands the root of the one step, sqrt(alpha_t); you have sqrt(alpha_bar_{t-1}) there.",
            ),
            (
                mean(to_x0, (1 - beta) * (1 - before) / (1 - now)),
                "the square root before x_t is missing; the one before x0 is there.",
            ),
            (
                mean(before * beta / (1 - now), to_xt),
                "the square root before x0 is missing; the one before x_t is there.",
            ),
            (
                mean((1 - beta).sqrt() * beta / (1 - now), to_xt),
                "before x0 stands sqrt(alpha_bar_{t-1}), with a bar; you have the one step's root there.",
            ),
            (
                mean(to_x0 * (1 - now), to_xt * (1 - now)),
                "the denominators 1 - alpha_bar_t in the mean are missing.",
            ),
            (
                mean(before.sqrt() * next_beta / (1 - now), (1 - next_beta).sqrt() * (1 - before) / (1 - now)),
                "the betas are one step late: beta_t is betas[t - 1], since the list begins with beta_1.",
            ),
        ]
        if B == 3:
            wrong = to_x0 * x0 + to_xt * x_t
            mistakes.append((wrong, "coefficients of shape (B,) meet the last axis of x0; they belong to the first."))
        expect_close(got_mean, mean(to_x0, to_xt), what="the mean", mistakes=mistakes)
        expect_shape(got_variance, (B,), what="the variance", because="it is one number for each point")
        expect_close(
            got_variance,
            (1 - before) / (1 - now) * beta,
            what="the variance",
            mistakes=[
                (
                    beta,
                    "the variance is beta_t, that of the way out. Knowing x0 makes the way back surer: (5.22).",
                ),
                (
                    ((1 - before) / (1 - now) * beta).sqrt(),
                    "you return a standard deviation; asked for is the variance.",
                ),
                (
                    (1 - now) / (1 - before).clamp(min=1e-300) * beta,
                    "the fraction in the variance is upside down: at t = 1 the variance must be 0.",
                ),
                ((1 - before) * beta, "the variance lacks its denominator 1 - alpha_bar_t."),
                (
                    (1 - now) * beta,
                    "1 - alpha_bar_t belongs below the fraction of (5.22), and 1 - alpha_bar_{t-1} above it.",
                ),
                (1 - before, "that is the variance of q(x_{t-1} | x0): x_t has not been used yet."),
            ],
        )
    return (
        "At t = 1 the mean is x0 and the variance 0: an implementation that divides by 1 - "
        "alpha_bar_{t-1} would fail there."
    )


@exercise(
    "5.7",
    title="fewer steps, same path",
    stars=2,
    hints=[
        "(5.24): each beta needs alpha_bar at the kept time and at the kept time before it.",
        "Before the first kept time comes t = 0, with alpha_bar[0] = 1.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = int(torch.randint(30, 60, (), generator=rng))
    betas = 0.2 * irregular_betas(T, rng)
    alpha_bar = alpha_bar_of(betas)
    K = int(torch.randint(4, 8, (), generator=rng))
    kept = (torch.randperm(T - 5, generator=rng)[:K] + 3).sort().values  # neither 1 nor T is sure to be among them
    values = torch.cat([alpha_bar[:1], alpha_bar[kept]])
    right = 1 - values[1:] / values[:-1]
    got = answer(alpha_bar, kept)
    if isinstance(got, Tensor) and got.shape == (K - 1,):
        raise Wrong("one beta is missing: the first step goes from 0 to kept[0].")
    if isinstance(got, Tensor) and got.shape == (T,):
        raise Wrong("the chain visits the kept times only: it has one beta for each of them.")
    expect_close(
        got,
        right,
        what="the list of betas",
        mistakes=[
            (
                betas[kept - 1],
                "these are the betas of the long chain: each is one step's noise, not that of the whole leap.",
            ),
            (
                1 - alpha_bar[kept] / alpha_bar[kept - 1],
                "alpha_bar_prev is that of the previous *kept* time, not of t - 1.",
            ),
            (1 - alpha_bar[kept], "each is the leap from 0; from the previous kept time is meant."),
            (values[1:] / values[:-1], "these are the alphas of the leaps; betas are 1 minus them."),
            (
                1 - values[:-1] / values[1:],
                "the ratio is upside down: alpha_bar falls, so a beta came out negative.",
            ),
            (
                values[:-1] - values[1:],
                "alpha_bar is a product: neighbours are compared by a ratio, not by a difference.",
            ),
            (
                1 - (values[1:] / values[:-1]).sqrt(),
                "1 minus the factor before x; beta is 1 minus the square of it, and alpha_bar is a square already.",
            ),
            (
                lambda: 1 - alpha_bar[kept - 1] / torch.cat([alpha_bar[:1], alpha_bar[kept - 1][:-1]]),
                "each kept time is read one step early: alpha_bar[k] belongs to time k.",
            ),
            (
                torch.cat([right.new_zeros(1), right[1:]]),
                "the first leap has no noise in it: it starts at 0, where alpha_bar is 1.",
            ),
            (
                1 - alpha_bar[kept] / torch.cat([alpha_bar[1:2], alpha_bar[kept][:-1]]),
                "the first leap starts at 0, with alpha_bar[0] = 1, not at 1.",
            ),
            (
                lambda: torch.cat([betas[: int(kept[0])].sum()[None], betas.cumsum(0)[kept - 1].diff()]),
                "betas of several steps don't just add up: what was added earlier is shrunk by the later steps.",
            ),
        ],
    )
    return (
        "DiscreteDDPM(respaced_betas(...)) is a path like any other: its alpha_bar are the "
        "long chain's at the kept times."
    )


@exercise(
    "5.8",
    title="errata museum: the range that was cut",
    stars=2,
    kind="find-and-fix",
    hints=[
        "log(alpha_bar_T) is about minus the sum of the betas. How does that sum change with T?",
        "Half as many steps need betas twice as large: scale both ends by the same factor.",
        "The factor is 1000 / T.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    customary = linear_betas(1000)
    least = (1 - customary).prod()
    between = [int(torch.randint(low, high, (), generator=rng)) for low, high in ((60, 400), (400, 1000))]
    for T in (1000, 50, *between):
        scale = 1000 / T
        got = answer(T)
        planted = linear_betas(T)
        if T == 1000:
            expect_close(got, customary, what="the schedule at T = 1000", rtol=1e-6)
            continue
        if same(got, planted):
            raise NotAttempted
        if not isinstance(got, Tensor):
            got = torch.as_tensor(got, dtype=torch.float64, device="cpu")
        expect_shape(got, (T,), what="the schedule at another T than 1000", because="one beta for each step")
        if got.dtype != torch.float64:
            raise Wrong(f"the schedule at another T than 1000 has dtype {got.dtype}, expected float64.")
        grows_linearly = bool((got.diff() > 0).all()) and torch.allclose(got.diff(2), got.new_zeros(()), atol=1e-9)
        is_valid = bool(((got > 0) & (got < 1)).all())
        share_left = float((1 - got).prod() / least)
        if grows_linearly and is_valid and 0.1 <= share_left <= 1 + 1e-9:
            continue
        mistakes = [
            (linear_betas(T, 1e-4 * scale, 0.02), "the first beta is scaled, the last is not."),
            (
                linear_betas(T, 1e-4 / scale, 0.02 / scale),
                "the betas became smaller: fewer steps must each do more.",
            ),
            (
                linear_betas(T, 1e-4 * scale**0.5, 0.02 * scale**0.5),
                "scaled by a root: betas are variances already, and variances add up over steps.",
            ),
            (customary[:T], "these are the first steps of the long schedule: it ends even earlier."),
            (customary[-T:], "these are the last steps of the long schedule: their sum is still too small."),
            (
                customary[torch.linspace(0, 999, T, dtype=torch.float64, device="cpu").round().long()],
                "every so-many-th beta of the long schedule is kept as it is; a longer leap needs a larger one.",
            ),
            (
                1 - (1 - planted) ** scale,
                "one leap for many steps: the end is right, but the betas no longer grow linearly.",
            ),
        ]
        for wrong, sentence in mistakes:
            if same(got, wrong):
                raise Wrong(sentence)
        if not is_valid:
            raise Wrong("a beta leaves (0, 1) at another T than 1000: a variance taken from 1 must leave something.")
        if not grows_linearly:
            raise Wrong("at another T than 1000 the betas do not grow in equal steps.")
        if share_left > 1:
            raise Wrong(
                "at another T than 1000 the chain still ends too early: its alpha_bar_T is above the customary."
            )
        raise Wrong(
            "at another T than 1000 alpha_bar_T falls below a tenth of the customary: the steps are too strong."
        )
    return (
        "The plainest answer is beta(t) / T, with one rate beta(t) for all T: the limit of section 5.8. "
        "From T = 20 down its last beta leaves (0, 1)."
    )


@exercise(
    "5.9",
    title="whose noise is it?",
    stars=3,
    kind="derivation",
    hints=[
        "Noise eps_s enters with sqrt(beta_s). Each later step r multiplies all that was there by sqrt(alpha_r).",
        "So w_s = sqrt(beta_s) times the product of sqrt(alpha_r) over r = s + 1 ... T: the step "
        "s itself is not in it.",
        "The product of alpha_r over r > s is alpha_bar_T / alpha_bar_s.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = int(torch.randint(6, 12, (), generator=rng))
    betas = irregular_betas(T, rng)
    alpha_bar = alpha_bar_of(betas)
    x, basis = (
        torch.zeros(T, dtype=torch.float64, device="cpu"),
        torch.eye(T, dtype=torch.float64, device="cpu"),
    )
    for s in range(T):  # run the chain on the coefficients of eps_1 ... eps_T: no formula needed
        x = (1 - betas[s]).sqrt() * x + betas[s].sqrt() * basis[s]
    got = answer(betas)
    if isinstance(got, Tensor) and got.shape == (T + 1,):
        raise Wrong("there is one weight too many: the factor before x0 is not a weight of noise.")
    if isinstance(got, Tensor) and got.shape == (T - 1,):
        raise Wrong("one weight is missing: every step adds noise, the last one too.")
    expect_close(
        got,
        x,
        what="your list of weights",
        mistakes=[
            (betas.sqrt(), "these are the weights on entering; each later step shrinks them."),
            (x**2, "these are the variances w_s^2; asked for are the weights."),
            (
                (betas * alpha_bar[-1] / alpha_bar[:-1]).sqrt(),
                "the noise of step s is not shrunk by step s itself: the product starts at s + 1.",
            ),
            (
                (betas * alpha_bar[1:]).sqrt(),
                "you multiplied the steps up to s; the later ones are those that shrink.",
            ),
            (
                betas.sqrt() * alpha_bar[-1] / alpha_bar[1:],
                "each step multiplies by the square root of alpha_r, not by alpha_r.",
            ),
            (
                (alpha_bar[-1] / alpha_bar[1:]).sqrt(),
                "that is how much of what is there after step s arrives at T; the noise entered with sqrt(beta_s).",
            ),
            (
                betas * (alpha_bar[-1] / alpha_bar[1:]).sqrt(),
                "the noise of step s enters with sqrt(beta_s); beta_s is its variance.",
            ),
            (
                (1 - alpha_bar[1:]).sqrt(),
                "that is all the noise of steps 1 to s merged, seen at step s; wanted is each step's own, seen at T.",
            ),
        ],
    )
    return (
        "The squares add up to 1 - alpha_bar_T, the sum that (5.10) merges. Under the linear "
        "schedule the last hundred or two "
        "steps supply nearly all of the noise in x_1000; that of the first hundred has been "
        "shrunk away like the data."
    )


@exercise(
    "5.10",
    title="one exact leap",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Let x have variance 1. With which variance should it come out, and with which does it?",
        "Which of the two factors belongs to dx = -x dtau + sqrt(2) dw, and which to half of that speed? See (5.31).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):  # the second with B = D, where a wrong broadcast runs
        x, eps = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        h = 0.1 + 2 * torch.rand(B, generator=rng, dtype=torch.float64)
        column, got = h[:, None], answer(x, eps, h)
        keep = torch.exp(-column)
        if same(got, keep * x + (1 - keep).sqrt() * eps):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (
                torch.exp(-column / 2) * x + (1 - keep).sqrt() * eps,
                "the two parts fit together now, but on the other text's clock: (5.30) runs twice as fast.",
            ),
            (
                keep * x + (1 - keep**2) * eps,
                "the exponent is right now, but the noise is multiplied by its variance: the root is gone.",
            ),
            (
                (1 - column) * x + (2 * column).sqrt() * eps,
                "that is one Euler step, right for small h only; the leap is to be exact for every h.",
            ),
            (
                keep * x + (2 * column).sqrt() * eps,
                "the spring also pulls at the noise that came in during the leap: less than 2 h of it is left.",
            ),
            (
                keep * x + (1 - keep) * eps,
                "the variances must add up to 1: exp(-h) enters squared, and the noise by a root.",
            ),
            (
                keep**2 * x + (1 - keep**2).sqrt() * eps,
                "the noise is right now, but the pull was right before: the mean falls by exp(-h).",
            ),
        ]
        if B == 3:
            wrong = torch.exp(-h) * x + (1 - torch.exp(-2 * h)).sqrt() * eps
            mistakes.append((wrong, "h of shape (B,) meets the last axis of x; it belongs to the first."))
        expect_close(got, keep * x + (1 - keep**2).sqrt() * eps, what="x after the leap", mistakes=mistakes)
    return (
        "Two leaps of h / 2 now have the law of one leap of h, however long it is. "
        "A sampler may do the same with the part of its equation that is linear: chapter 11."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


@target_images("5.1", title="one digit at t = 0, 100, 200, 300, 500, 1000 of the linear schedule")
def _(answer: Any) -> Tensor:
    alpha_bar = alpha_bar_of(linear_betas(1000)).float()
    digit = digits("test", device="cpu").images[3:4].expand(6, -1, -1, -1)
    eps = torch.randn(1, 1, 28, 28, generator=seeded(0, "cpu"), device="cpu").expand_as(digit)
    t = torch.tensor([0, 100, 200, 300, 500, 1000], device="cpu")
    return answer(digit, eps, t, alpha_bar).clamp(-1, 1)


@target_curves("5.4", x=range(1, 41), xlabel="$t$", panels=("$x_t$ of one point",), lines=("no noise", "noise 1"))
def _(answer: Any) -> list[Tensor]:
    one, t = torch.ones(40, 1, dtype=torch.float64, device="cpu"), torch.arange(1, 41, device="cpu")
    return [answer(one, eps * one, t, linear_betas(40, 0.0025, 0.25))[:, 0] for eps in (0, 1)]


@target_curves("5.5", x=range(1, 51), xlabel="$t$", panels=(r"$\beta_t$",), log_y=True)
def _(answer: Any) -> Tensor:
    return torch.as_tensor(answer(50))


@target_curves(
    "5.6", x=range(1, 41), xlabel="$t$", panels=("mean of $x_{t-1}$", "variance of $x_{t-1}$"),
    lines=("$x_0 = 1$, $x_t = 0$", "$x_0 = 0$, $x_t = 1$"),
)  # fmt: skip
def _(answer: Any) -> Tensor:
    one, t = torch.ones(40, 1, dtype=torch.float64, device="cpu"), torch.arange(1, 41, device="cpu")
    results = [answer(x0 * one, (1 - x0) * one, t, linear_betas(40, 0.0025, 0.25)) for x0 in (1, 0)]
    return torch.stack([torch.stack([mean[:, 0] for mean, _ in results]), torch.stack([v for _, v in results])])


@target_curves("5.7", x=range(1, 21), xlabel="step of the short chain", panels=(r"its $\beta$",))
def _(answer: Any) -> Tensor:
    kept = torch.arange(50, 1001, 50, device="cpu")
    return torch.as_tensor(answer(alpha_bar_of(linear_betas(1000)), kept))


@target_curves(
    "5.8", x=line(0.1, 1, 10), xlabel="$t / T$", panels=(r"$\bar\alpha_t$",),
    lines=("T = 50", "T = 200", "T = 1000"), log_y=True,
)  # fmt: skip
def _(answer: Any) -> list[Tensor]:
    return [alpha_bar_of(answer(T))[T // 10 :: T // 10] for T in (50, 200, 1000)]


@target_curves("5.9", x=range(1, 1001), xlabel="step $s$", panels=("weight of its noise in $x_T$",))
def _(answer: Any) -> Tensor:
    return torch.as_tensor(answer(linear_betas(1000)))


@target_curves("5.10", x=line(0.02, 3), xlabel="$h$", panels=("$x$ after the leap",), lines=("no noise", "noise 1"))
def _(answer: Any) -> list[Tensor]:
    one = torch.ones(81, 1, dtype=torch.float64, device="cpu")
    return [answer(one, eps * one, line(0.02, 3))[:, 0] for eps in (0, 1)]
