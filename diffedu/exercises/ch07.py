"""Checks of chapter 7: noise prediction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.denoiser import eps_hat
from diffedu.core.path import DiscreteDDPM, linear_betas
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
from diffedu.exercises._inputs import alpha_bar_of, cloud, irregular_betas, line, ring, same
from diffedu.exercises._targets import target_curves, target_points


@exercise(
    "7.1",
    title="the mean of a step",
    stars=1,
    hints=[
        "Make the table alpha_bar with a leading 1, so that alpha_bar[t] belongs to step t; beta_t is betas[t - 1].",
        "sigma_t is the root of 1 - alpha_bar_t. All coefficients have shape (B,): give them a second axis.",
        "(x_t - beta / sigma * eps_guess) / sqrt(1 - beta).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = 9
    betas = irregular_betas(T, rng)
    for B in (5, 3):  # the second with B = D, where a wrong broadcast runs
        x_t, eps = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        first = 2 if B == 5 else 1  # without t = 1 once: there sigma_{t-1} is 0, and a slip by one is no number
        t = torch.randperm(T + 1 - first, generator=rng)[:B] + first
        t[0], t[1] = T, first
        beta, bar = betas[t - 1][:, None], alpha_bar_of(betas)[t][:, None]
        before = alpha_bar_of(betas)[t - 1][:, None]
        sigma, root = (1 - bar).sqrt(), (1 - beta).sqrt()
        mistakes: list[tuple[Any, str]] = [
            (
                (x_t - sigma * eps) / bar.sqrt(),
                "that is the clean point, all noise removed at once; a step removes beta / sigma of it.",
            ),
            ((x_t - beta / sigma * eps) * root, "undo the shrinking: divide by the root of 1 - beta."),
            (x_t - beta / sigma * eps, "the shrinking of the step is not undone."),
            (x_t / root - beta / sigma * eps, "the root of 1 - beta divides the noise as well as x_t."),
            (
                (x_t - beta / sigma * eps) / bar.sqrt(),
                "one step's shrinking is to be undone, the root of 1 - beta_t, not that of all steps so far.",
            ),
            ((x_t - beta / (1 - bar) * eps) / root, "below beta stands sigma_t, the root of 1 - alpha_bar_t."),
            (
                (x_t - beta.sqrt() * eps) / root,
                "sqrt(beta) is the noise of one step; what is removed is beta / sigma_t.",
            ),
            ((x_t - beta / sigma * eps) / (1 - beta), "divide by the root of 1 - beta, not by 1 - beta."),
            (
                lambda b=before, beta=beta, x=x_t, e=eps, r=root: (x - beta / (1 - b).sqrt() * e) / r,
                "sigma is that of step t - 1: alpha_bar_t includes the factor of beta_t itself.",
            ),
            (
                (x_t - (beta / (1 - bar)).sqrt() * eps) / root,
                "beta itself stands above sigma_t, not its root.",
            ),
            (x_t, "x_t is returned as it is: no noise is taken off."),
            ((x_t + beta / sigma * eps) / root, "the noise was added on the way; take it off."),
        ]
        if B == 3:
            flat = [c[:, 0] for c in (beta, sigma, root)]
            wrong = (x_t - flat[0] / flat[1] * eps) / flat[2]
            mistakes.append((wrong, "coefficients of shape (B,) meet the last axis of x_t; they belong to the first."))
        expect_close(answer(x_t, eps, t, betas), (x_t - beta / sigma * eps) / root, what="mu", mistakes=mistakes)
    return "At t = 1 it is the clean point itself: beta_1 = sigma_1 squared, so all that is left of the noise goes."


@exercise(
    "7.2",
    title="data at one point",
    stars=1,
    kind="prediction",
    hints=["Given x_t, how many clean points could it have come from?", "Look at (7.16): what is Cov[x0 | x_t]?"],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "0",
        {
            "1": "saying 0 costs 1, but the network can do better: it knows x0 and can solve (7.1) for the noise.",
            "in between": "what is left is SNR times the variance of x0 given x_t, and here x0 does not vary at all.",
        },
    )
    return "The noise is (x_t - alpha x0) / sigma with the one known x0. A loss near 0 on real data means memory."


@exercise(
    "7.3",
    title="the least total for Gaussian data",
    stars=1,
    kind="numeric",
    hints=[
        "(7.17) with s = 1: what is the least loss at step t?",
        "It is alpha_bar_t. L_simple is the mean over t = 1 ... 1000.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    bar = alpha_bar_of(linear_betas(1000))[1:]
    expect_number(
        answer,
        bar.mean().item(),
        rtol=0.01,
        mistakes=[
            (bar.sum().item(), "that is the sum over the steps; L_simple is their mean."),
            (
                (1 - bar).mean().item(),
                "that is the mean share of the *noise* in x_t; the data's share is what hides it.",
            ),
            (bar.sqrt().mean().item(), "that is the mean of alpha_t; variances want its square, alpha_bar_t."),
            (
                alpha_bar_of(linear_betas(100))[1:].mean().item(),
                "that is T = 100; the customary schedule has 1000 steps.",
            ),
            (1.0, "1 is the price of always saying 0; the network can read off some of the noise."),
            (0.0, "for data that varies the loss stays above 0."),
            (0.5, "not one half: the linear schedule spends most of its steps where noise dominates."),
        ],
    )
    return "Same data, another schedule, another number (the cosine gives about 0.5): totals compare no models."


@exercise(
    "7.4",
    title="the least loss of a data set",
    stars=2,
    hints=[
        "torch.cdist(x_t, alpha * points).square() is (B, N); a softmax over axis 1 gives the posterior's weights.",
        "Variance: the weighted mean of the squared norms minus the squared norm of the weighted mean.",
        "At last multiply by alpha^2 / sigma^2 and divide by D.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, N, D in ((5, 7, 3), (4, 4, 4)):
        points = torch.randn(N, D, generator=rng, dtype=torch.float64)
        alpha, sigma = 0.5 + 0.3 * torch.rand(2, generator=rng, dtype=torch.float64)
        x_t = torch.randn(B, D, generator=rng, dtype=torch.float64)
        square = (x_t[:, None] - alpha * points).square().sum(2)

        def left(log_weights: Tensor, points: Tensor = points) -> Tensor:
            weights = torch.softmax(log_weights, dim=1)
            centred = points - (weights @ points)[:, None]
            return (weights * centred.square().sum(2)).sum(1)

        variance, snr = left(-square / (2 * sigma**2)), (alpha / sigma) ** 2
        unshrunk = (x_t[:, None] - points).square().sum(2)
        got = answer(x_t, points, alpha.item(), sigma.item())
        expect_shape(got, (B,), what="the least loss", because="one number for each noisy point")
        over_points = torch.softmax(-square / (2 * sigma**2), dim=0)
        expect_close(
            got,
            snr * variance / D,
            what="the least loss",
            mistakes=[
                (snr * variance, "a sum over coordinates; the loss is their mean, so divide by D."),
                (variance / D, "that is what is left of x0. In errors of noise it is SNR times as much."),
                (alpha / sigma * variance / D, "SNR is the square of alpha / sigma."),
                (
                    variance / D / snr,
                    "you divide by SNR. At little noise a small doubt about x0 is a large one about eps.",
                ),
                (snr * left(-square.sqrt() / (2 * sigma**2)) / D, "the exponent holds the *squared* distance."),
                (snr * variance / N, "divide by the number of coordinates, not by the number of points."),
                (
                    snr * (over_points * (points - (over_points @ points)[:, None]).square().sum(2)).sum(1) / D,
                    "the weights add up to 1 over the clean points: the softmax runs along axis 1.",
                ),
                (
                    snr * (torch.softmax(-square / (2 * sigma**2), dim=1) * points.square().sum(1)).sum(1) / D,
                    "that is the mean square; the variance is taken around the mean.",
                ),
                (snr * left(-square / sigma**2) / D, "the exponent has a 2 in its denominator."),
                (snr * left(-square / (2 * sigma)) / D, "the exponent divides by sigma squared."),
                (snr * left(-unshrunk / (2 * sigma**2)) / D, "x_t is compared with shrunken points, alpha x_i."),
                (snr * left(0 * square) / D, "that is the variance of the whole data set, not the one given x_t."),
            ],
        )
    return (
        "For a data set this is the loss of the photocopier of chapter 14: no network can be below it on these points."
    )


@exercise(
    "7.5",
    title="errata museum: the training loss",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Which times does randint(0, T) draw, and which does the sampler ask for?",
        "What does the network see? Compare with `simple_loss`.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    T, B = int(torch.randint(4, 9, (), generator=rng)), 64
    bar = alpha_bar_of(irregular_betas(T, rng))
    x0 = torch.randn(B, 2, generator=rng, dtype=torch.float64)
    seed = int(torch.randint(10_000, (), generator=rng))

    def fresh() -> torch.Generator:
        return torch.Generator(device="cpu").manual_seed(seed)

    def net(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x + 0.1 * t.to(x.dtype)[:, None])

    def reference(
        low: int, high: int, sees_x0: bool, power: float = 0.5, eps_first: bool = False
    ) -> tuple[Tensor, Tensor]:
        g = fresh()
        if eps_first:
            eps = torch.randn(x0.shape, generator=g, dtype=x0.dtype, device="cpu")
        t = torch.randint(low, high, (B,), generator=g)
        if not eps_first:
            eps = torch.randn(x0.shape, generator=g, dtype=x0.dtype, device="cpu")
        x_t = bar[t, None] ** power * x0 + (1 - bar[t, None]) ** power * eps
        return (net(x0 if sees_x0 else x_t, t) - eps).square().mean(1), x_t

    got_loss, got_x = expect_parts(answer(net, x0, bar, fresh()), 2)
    if isinstance(got_loss, Tensor) and got_loss.shape == x0.shape:
        raise Wrong("two things of shape (B, D) or two in the wrong order: losses (B,) come first, then x_t (B, D).")
    if same(got_loss, reference(0, T, True)[0]):
        raise NotAttempted
    want_loss, want_x = reference(1, T + 1, False)
    expect_close(
        got_loss,
        want_loss,
        what="the loss",
        mistakes=[
            (
                reference(1, T + 1, True)[0],
                "one of two: the times are right, but the network still sees the clean data.",
            ),
            (reference(0, T, False)[0], "one of two: the network sees x_t, but t = 0 is drawn and t = T never."),
            (lambda: reference(0, T + 1, False)[0], "t = 0 is still drawn, where there is no noise to be seen."),
            (lambda: reference(1, T, False)[0], "randint leaves its upper end out: t = T is never trained."),
            (lambda: reference(1, T + 1, True)[0].mean() + 0 * want_loss, "one loss for each point is asked for."),
            (2 * want_loss, "each loss is a mean over the coordinates, not a sum."),
            (lambda: reference(1, T + 1, False, power=1.0)[0], "alpha_bar and 1 - alpha_bar were under roots before."),
            (lambda: reference(1, T + 1, False, eps_first=True)[0], "draw the times first, then the noise."),
        ],
    )
    expect_close(got_x, want_x, what="x_t", mistakes=[(x0, "that is the clean data; the picture wants x_t.")])
    return (
        "Fed with x0 the loss stops at 1, and is noticed. The times are the nasty part: the loss hardly changes, "
        "and the first question of the sampler, t = T, was never practised."
    )


def _walk(
    guess: Callable[..., Tensor],
    x: Tensor,
    betas: Tensor,
    sigma2: Tensor,
    noise: Tensor,
    power: float,
    last: bool,
    quiet: int = 1,
) -> Tensor:
    bar = alpha_bar_of(betas)
    for t in range(len(betas), 0, -1):
        x = (x - betas[t - 1] / (1 - bar[t]).sqrt() * guess(x, t)) / (1 - betas[t - 1]).sqrt()
        if t > quiet or last:
            x = x + sigma2[t - 1] ** power * noise[t]
    return x


@exercise(
    "7.6",
    title="errata museum: the sampler",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Which values does t take in this loop? For which of them is `t > 0` false?",
        "A normal variable of variance s^2 is s z.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = int(torch.randint(5, 9, (), generator=rng))
    betas = irregular_betas(T, rng)
    sigma2 = 0.05 + 0.3 * torch.rand(T, generator=rng, dtype=torch.float64)
    x = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    noise = torch.randn(T + 1, 4, 3, generator=rng, dtype=torch.float64)

    def guess(x: Tensor, t: Any) -> Tensor:
        return torch.tanh(x + 0.2 * float(t))

    def short() -> Tensor:
        """The walk from T to 2, with noise on its last step."""
        bar, z = alpha_bar_of(betas), x
        for t in range(T, 1, -1):
            z = (z - betas[t - 1] / (1 - bar[t]).sqrt() * guess(z, t)) / (1 - betas[t - 1]).sqrt()
            z = z + sigma2[t - 1].sqrt() * noise[t]
        return z

    got = answer(guess, x, betas, sigma2, noise)
    if same(got, _walk(guess, x, betas, sigma2, noise, 1.0, True)):
        raise NotAttempted
    expect_close(
        got,
        _walk(guess, x, betas, sigma2, noise, 0.5, False),
        what="x_0",
        mistakes=[
            (
                _walk(guess, x, betas, sigma2, noise, 0.5, True),
                "one of two: the size of the noise is right, but the last step, from t = 1, still adds it.",
            ),
            (
                _walk(guess, x, betas, sigma2, noise, 1.0, False),
                "one of two: the last step is right, but noise of variance sigma2 is its *root* times z.",
            ),
            (_walk(guess, x, betas, sigma2, 0 * noise, 0.5, False), "no noise is left at all: points fall together."),
            (
                _walk(guess, x, betas, sigma2.roll(-1), noise, 0.5, False),
                "sigma2[t - 1] belongs to the step from t; that index was right.",
            ),
            (
                _walk(guess, x, betas, sigma2, noise.roll(1, 0), 0.5, False),
                "noise[t] is the noise for the step from t; that index was right.",
            ),
            (
                _walk(guess, x, betas, sigma2, noise, 0.5, False, quiet=2),
                "the step from t = 2 is not the last: it adds noise.",
            ),
            (_walk(guess, x, betas, betas, noise, 0.5, False), "the variance is given: sigma2, not beta."),
            (short, "the last step is left out altogether; only its noise should be."),
        ],
    )
    return "Section 7.7 measures both: the noise of the last step hardly shows, a variance for its root loses clusters."


@exercise(
    "7.7",
    title="errata museum: noise of a noise",
    stars=2,
    kind="find-and-fix",
    hints=[
        "How many times is something random drawn for one step?",
        "A product of two independent normal numbers is not normal. Measure its fourth moment.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    n, D = 40_000, 2
    variance = 0.3 + float(torch.rand((), generator=rng))
    mean = torch.randn(1, D, generator=rng, dtype=torch.float64).expand(n, D).clone()
    seed = int(torch.randint(10_000, (), generator=rng))

    def drawn(seed: int) -> Tensor:
        got = answer(mean, variance, torch.Generator(device="cpu").manual_seed(seed))
        expect_shape(got, (n, D), what="the draw")
        return torch.as_tensor(got, device="cpu")

    def planted() -> Tensor:
        g = torch.Generator(device="cpu").manual_seed(seed)
        z = [torch.randn(mean.shape, generator=g, dtype=mean.dtype, device="cpu") for _ in range(2)]
        return mean + variance**0.5 * z[0] * z[1]

    got = drawn(seed)
    if same(got, planted()):
        raise NotAttempted
    if got.dtype != mean.dtype:
        raise Wrong(f"the draw has dtype {str(got.dtype).removeprefix('torch.')}, expected that of `mean`, float64.")
    noise = got.double() - mean
    moments = noise.mean(0), noise.square().mean().item() / variance
    fourth = noise.pow(4).mean().item() / max(noise.square().mean().item(), 1e-30) ** 2
    across = float((noise[:, 0] * noise[:, 1]).mean()) / variance
    if moments[1] < 1e-6:
        raise Wrong("there is no noise left.")
    different = len(noise[:, 0].mul(1e9).round().unique())
    if different < 10:
        raise Wrong("all points get the same noise: draw it in the shape of `mean`.")
    if different < 0.99 * n:
        raise Wrong("some points share their noise: draw one for each entry of `mean`.")
    if moments[0].abs().max() > 6 * (max(variance, moments[1] * variance) / n) ** 0.5:
        raise Wrong("the mean of the draws is no longer `mean`.")
    if not same(drawn(seed), got):
        raise Wrong("the same generator gives another draw each time: pass `rng` to every call that draws.")
    if same(drawn(seed + 1), got):
        raise Wrong("another generator gives the same draw: use `rng`, not a seed of your own.")
    if abs(moments[1] - variance) < 0.03 * variance and abs(variance - 1) > 0.05:
        raise Wrong("the variance is now the square of `variance`: multiply by its root.")
    if abs(moments[1] - 1 / variance) < 0.03 / variance and abs(variance - 1) > 0.05:
        raise Wrong("the scale is gone: the noise has variance 1, whatever `variance` says.")
    if abs(moments[1] - 2) < 0.1:
        raise Wrong("two noises are added now: the variance is twice what was asked for.")
    if abs(moments[1] - 1) > 0.06:
        raise Wrong("the variance of the draws is not `variance`.")
    if abs(across) > 0.1:
        raise Wrong("both coordinates get the same noise: draw it in the shape of `mean`.")
    if fourth < 2.5:
        raise Wrong("the variance is right, but the draws are not normal: their tails are too short.")
    if fourth > 3.4:
        raise Wrong("the draws still have heavier tails than a normal variable: one noise is enough.")
    return "Fourth moment 3 instead of 9. Variances could not tell: a test that looks at one number sees one mistake."


@exercise(
    "7.8",
    title="a test that never flickers",
    stars=2,
    hints=[
        "One step is x -> a x + b z with numbers a and b; the variance goes from V to a^2 V + b^2.",
        "a = (1 - beta / (alpha^2 s^2 + sigma^2)) / sqrt(1 - beta): the sigma of (7.19) cancels.",
        "Begin with V = 1 and go from T to 1; at t = 1 leave b out.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = int(torch.randint(5, 12, (), generator=rng))
    betas, s2 = irregular_betas(T, rng), 0.2 + float(torch.rand((), generator=rng))
    Sigma = 0.05 + 0.2 * torch.rand(T, generator=rng, dtype=torch.float64)
    bar = alpha_bar_of(betas)

    def run(
        last: bool = False,
        noise: float = 1.0,
        level: Tensor | None = None,
        start: float = 1.0,
        p: int = 2,
        shift: int = 0,
        upward: bool = False,
    ) -> Tensor:
        level = bar * s2 + 1 - bar if level is None else level
        variance = torch.tensor(start, dtype=torch.float64, device="cpu")
        for t in range(1, T + 1) if upward else range(T, 0, -1):
            factor = (1 - betas[t - 1] / level[t]) / (1 - betas[t - 1]).sqrt()
            variance = factor**p * variance
            if t > 1 or last:
                variance = variance + Sigma[(t - 1 + shift) % T] ** noise
        return variance

    expect_close(
        answer(s2, betas, Sigma),
        run(),
        what="the variance",
        mistakes=[
            (run().sqrt(), "that is the standard deviation."),
            (run(last=True), "the last step, from t = 1, adds no noise."),
            (run(noise=2.0), "the noise adds its variance Sigma_t, not the square of it."),
            (run(noise=0.5), "the noise adds its variance Sigma_t, not a standard deviation."),
            (run(p=1), "a factor comes out of a variance squared."),
            (run(level=bar * s2**2 + 1 - bar), "s2 is a variance already."),
            (
                run(level=bar.sqrt() * s2 + 1 - bar),
                "alpha_t squared is alpha_bar_t; in the denominator stands its square.",
            ),
            (run(shift=1), "Sigma[t - 1] belongs to step t; yours is that of step t + 1."),
            (run(shift=-1), "Sigma[t - 1] belongs to step t; yours is that of step t - 1."),
            (run(upward=True), "the sampler goes from T to 1; the order matters."),
            (run(noise=math.inf), "the noise of the steps is missing: each but the last adds Sigma_t."),
            (run(start=s2), "the sampler starts from N(0, 1), not from the data's variance."),
            (
                lambda: run(level=torch.cat([bar, bar[-1:]])[1:] * s2 + 1 - torch.cat([bar, bar[-1:]])[1:]),
                "alpha_bar is one step late: index t of cumprod belongs to step t + 1.",
            ),
            (torch.tensor(s2, dtype=torch.float64, device="cpu"), "you return what it should be; what is it?"),
        ],
    )
    return (
        "No seed, no tolerance for luck. With Sigma from (7.20) and noise in every step it gives s2, up to what "
        "alpha_bar_T leaves, and each slip of section 7.7 but one moves it."
    )


@exercise(
    "7.9",
    title="the other target",
    stars=3,
    kind="derivation",
    hints=[
        "Subtract (7.1) for the truth and for the guess, at one x_t: 0 = alpha (x0 - x0_hat) + sigma (eps - eps_hat).",
        "So the squared errors differ by alpha^2 / sigma^2; and the colleague's loss has weight 1 on the x0 error.",
        "u = alpha_bar / (1 - alpha_bar), c = 1 / u.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    T = int(torch.randint(6, 12, (), generator=rng))
    betas = irregular_betas(T, rng)
    bar = alpha_bar_of(betas)[1:]
    alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
    x_t, eps, guess = torch.randn(3, T, generator=rng, dtype=torch.float64)
    to_x0 = ((x_t - sigma * eps) / alpha, (x_t - sigma * guess) / alpha)  # measured, no formula for the weight
    u = (eps - guess).square() / (to_x0[0] - to_x0[1]).square()
    got_u, got_c = expect_parts(answer(betas), 2)
    before = alpha_bar_of(betas)[:-1]
    expect_close(
        got_u,
        u,
        what="u",
        mistakes=[
            (1 / u, "u is upside down: at little noise a small error of x0 is a large one of the noise."),
            (u.sqrt(), "errors are squared in the loss, so the weight is the square of alpha / sigma."),
            (u**2, "alpha_bar is a square already: no further one is needed."),
            (before / (1 - before), "alpha_bar of step t includes the factor of beta_t: yours is one step early."),
            ((1 - betas) / betas, "you used one step's shrinking and noise; x_t has had t steps of both."),
            (torch.ones_like(u), "the two errors are not equal: see (7.5)."),
            (bar, "solve 0 = alpha (x0 - x0_hat) + sigma (eps - eps_hat) for the second error: sigma divides."),
            (1 - bar, "solve 0 = alpha (x0 - x0_hat) + sigma (eps - eps_hat) for the second error."),
        ],
    )
    expect_close(
        got_c,
        1 / u,
        what="the colleague's weight",
        mistakes=[
            (u, "in units of x0 the colleague's weight is 1; to have it in units of noise, divide by u."),
            (torch.ones_like(u), "the colleague's weight is 1 on errors of x0, not on errors of noise."),
            (u**-0.5, "the weight belongs to squared errors."),
        ],
    )
    return (
        "At t = T, where 1 / SNR is enormous: L_simple in x0 is ruled by the noisy end, in eps by the other. "
        "v (chapter 9) stands between them."
    )


# --------------------------------------------------------------------------------------- what the solutions draw

_BETAS = linear_betas(60, 0.0017, 0.17)


@target_curves(
    "7.1", x=range(1, 61), xlabel="$t$", panels=("mean of $x_{t-1}$",), lines=("$x_t = 1$", "$x_t = 1$, noise 1")
)
def _(answer: Any) -> list[Tensor]:
    one, t = torch.ones(60, 1, dtype=torch.float64, device="cpu"), torch.arange(1, 61, device="cpu")
    return [answer(one, eps * one, t, _BETAS)[:, 0] for eps in (0, 1)]


@target_curves("7.4", x=line(-3, 3), xlabel="$x_t$", panels=("least loss there",), lines=("little noise", "much"))
def _(answer: Any) -> list[Tensor]:
    points = torch.tensor([[-1.0], [0.0], [1.5]], dtype=torch.float64, device="cpu")
    return [answer(line(-3, 3)[:, None], points, alpha, sigma) for alpha, sigma in ((0.95, 0.3), (0.6, 0.8))]


@target_points("7.6", title="60 steps with the exact guess, to six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    exact = ring().denoiser(DiscreteDDPM(_BETAS))
    noise = torch.randn(61, 150, 2, generator=seeded(0, "cpu"), device="cpu")
    return torch.as_tensor(
        answer(lambda x, t: eps_hat(exact, x, float(t)), cloud(), _BETAS.float(), _BETAS.float(), noise)
    )


@target_curves("7.7", x=line(0, 1, 200), xlabel="share of draws", panels=("draw, in order",))
def _(answer: Any) -> Tensor:
    mean = torch.full((200, 1), 1.0, dtype=torch.float64, device="cpu")
    return answer(mean, 4.0, seeded(0, "cpu"))[:, 0].sort().values


@target_curves("7.8", x=line(0.05, 4), xlabel="variance of the data", panels=("variance of the result",))
def _(answer: Any) -> list[Tensor]:
    return [answer(s2, _BETAS, _BETAS) for s2 in line(0.05, 4).tolist()]


@target_curves("7.9", x=range(1, 61), xlabel="$t$", panels=("weight",), lines=("$u_t$", "$c_t$"), log_y=True)
def _(answer: Any) -> Any:
    return answer(_BETAS)
