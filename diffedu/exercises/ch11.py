"""Checks of chapter 11: grids, orders, multistep methods, churn, and EDM's coat."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffedu.core.path import VP
from diffedu.core.times import uniform_times
from diffedu.exercises import (
    NotAttempted,
    exercise,
    expect_choice,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
)
from diffedu.exercises._inputs import cloud, line, number, ring, same
from diffedu.exercises._targets import target_curves, target_points

DOUBLE = torch.float64


@exercise(
    "11.1",
    title="EDM's grid",
    stars=1,
    hints=[
        "torch.linspace between the roots high^(1/kappa) and low^(1/kappa), then the power kappa.",
        "steps steps are steps + 1 values; the zero makes steps + 2.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for _ in range(2):
        high, low, kappa = number(20, 90, rng), number(0.002, 0.2, rng), number(2.5, 8, rng)
        steps = int(torch.randint(4, 12, (), generator=rng))
        unit = torch.linspace(0, 1, steps + 1, dtype=DOUBLE, device="cpu")
        a, b = high ** (1 / kappa), low ** (1 / kappa)
        inner, zero = (a + unit * (b - a)) ** kappa, unit.new_zeros(1)
        right = torch.cat([inner, zero])
        logs = torch.exp(math.log(high) + unit * math.log(low / high))
        got = answer(high, low, steps, kappa)
        if isinstance(got, Tensor) and got.ndim == 1 and got.shape[0] == steps + 1 and got[-1] == 0:
            expect_shape(
                got,
                (steps + 2,),
                what="the grid",
                because="there are `steps` steps between high and low, then one to 0",
            )
        if isinstance(got, Tensor) and got.ndim == 1 and got.shape[0] == steps + 1:
            expect_shape(got, (steps + 2,), what="the grid", because="the zero at the end is missing")
        if isinstance(got, Tensor) and got.shape == (steps + 3,):
            expect_shape(got, (steps + 2,), what="the grid", because="no level may stand there twice")
        mistakes: list[tuple[Any, str]] = [
            (torch.cat([inner.flip(0), zero]), "the grid runs upwards; sampling begins at the high noise level."),
            (torch.cat([logs, zero]), "these are equal steps in the logarithm, the limit of large kappa."),
            (
                torch.cat([high + unit * (low - high), zero]),
                "these are equal steps in sigma; take them in sigma^(1/kappa).",
            ),
            (
                torch.cat([(high**kappa + unit * (low**kappa - high**kappa)) ** (1 / kappa), zero]),
                "power and root are exchanged: first the root 1/kappa, at the end the power kappa.",
            ),
            (
                torch.linspace(a, 0, steps + 2, dtype=DOUBLE, device="cpu") ** kappa,
                "the roots run to 0 and miss low: the grid goes to low in equal steps, and the zero is one more.",
            ),
        ]
        expect_close(got, right, what="the grid", mistakes=mistakes)
    return "Built once, handed on as one array: no later function appends a zero or a last level again."


@exercise(
    "11.2",
    title="what does accuracy cost?",
    stars=1,
    kind="numeric",
    hints=["Heun has order 2: by which factor must N grow for the error to fall by 16?", "Two calls a step."],
)
def _(answer: Any, rng: torch.Generator) -> str:
    mistakes: list[tuple[float, str]] = [
        (80, "that is the number of steps; each takes two calls."),
        (640, "that is order 1: the error of Heun falls like 1/N^2."),
        (320, "either you forgot the order, or counted the calls twice: 16 = 4 squared."),
        (40, "that is what the error of 0.016 has cost; the smaller error costs more."),
    ]
    expect_number(answer, 160, what="the number of calls", mistakes=mistakes)
    return "Sixteen times nearer for four times the calls. A method of order 1 would take sixteen times as many."


@exercise(
    "11.3",
    title="does churn help?",
    stars=1,
    kind="prediction",
    hints=[
        "An error at all noise levels is made where the churn works, too.",
        "Which panel is that? Compare orange with black at 40 steps.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "farther",
        {
            "nearer": "churn forgets errors made at higher noise; this one is made at every level.",
            "the same": "each step goes back a little first, and makes the error of that stretch once more.",
        },
    )
    return "The error is made again and again. Churn pays with many steps, and below the level of the error."


def _lines_2m(rng: torch.Generator, B: int) -> tuple[Any, ...]:
    x_t, x0, x0_before = torch.randn(3, B, 3, generator=rng, dtype=DOUBLE)
    angles = torch.sort(0.1 + 1.3 * torch.rand(3, generator=rng, dtype=DOUBLE)).values  # of s, t and the time before
    alpha, sigma = angles.cos(), angles.sin()
    lam = (alpha / sigma).log()
    return x_t, x0, x0_before, alpha, sigma, lam


@exercise(
    "11.4",
    title="a line in lambda",
    stars=2,
    hints=[
        "lambda = log(alpha / sigma); h = lambda_s - lambda_t is positive, and so is the step before.",
        "D = x0_hat + h / (2 h_before) (x0_hat - x0_hat_before).",
        "x_s = sigma_s / sigma_t x_t + (alpha_s - alpha_t sigma_s / sigma_t) D: no exponential is needed.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    x_t, x0, x0_before, alpha, sigma, lam = _lines_2m(rng, 5)
    h, h_before = lam[0] - lam[1], lam[1] - lam[2]
    ratio = sigma[0] / sigma[1]

    def step(guess: Tensor) -> Tensor:
        return ratio * x_t + (alpha[0] - alpha[1] * ratio) * guess

    def ahead(share: Tensor | float) -> Tensor:
        return x0 + share * (x0 - x0_before)

    first = answer(x_t, x0, alpha[1], sigma[1], alpha[0], sigma[0], None)
    common: list[tuple[Any, str]] = [
        (
            alpha[0] / alpha[1] * x_t + (alpha[0] - alpha[1] * ratio) * x0,
            "the factor before x_t is sigma_s / sigma_t; alpha_s / alpha_t belongs to the form with the noise.",
        ),
        (
            ratio * x_t + alpha[0] * (1 - torch.exp(h)) * x0,
            "the sign of h: the factor is 1 - exp(-h), with h = lambda_s - lambda_t > 0.",
        ),
    ]
    expect_close(first, step(x0), what="the first step, which is DDIM's,", mistakes=common)
    mistakes: list[tuple[Any, str]] = [
        (step(x0), "the clean guess before is not used."),
        (step(ahead(0.5)), "that is right for equal steps in lambda only: the factor is h / (2 h_before)."),
        (step(ahead(h / h_before)), "the half is missing: the line is *averaged* over the step, not taken at its end."),
        (step(ahead(h_before / (2 * h))), "the ratio of the steps is upside down: h / (2 h_before)."),
        (
            step(ahead((h / -torch.expm1(-h) - 1) / h_before)),
            "that is the exact integral (11.14), also of order 2; (11.16) keeps h / 2 of its series.",
        ),
        (step(ahead(-h / (2 * h_before))), "the line is drawn backwards: mind the sign of one of the two steps."),
    ]
    got = answer(x_t, x0, alpha[1], sigma[1], alpha[0], sigma[0], (x0_before, lam[2]))
    expect_close(got, step(ahead(h / (2 * h_before))), what="x_s", rtol=1e-6, mistakes=mistakes)
    zero, one = torch.zeros((), dtype=DOUBLE, device="cpu"), torch.ones((), dtype=DOUBLE, device="cpu")
    last = answer(x_t, x0, alpha[1], sigma[1], one, zero, (x0_before, lam[2]))
    expect_close(last, x0, what="the step that lands on sigma = 0, where the answer is x0_hat,")
    return "One step of memory, no extra call, order 2: the default sampler of many image models."


@exercise(
    "11.5",
    title="errata museum: three halves and one half",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Draw the line through the two velocities, at *their* times, and integrate it over the coming step.",
        "(11.8): h + h^2 / (2 h_before) and -h^2 / (2 h_before). The step before must be remembered.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    steps = int(torch.randint(4, 8, (), generator=rng))
    times = torch.cat([torch.sort(torch.rand(steps + 1, generator=rng, dtype=DOUBLE), descending=True).values])
    times = times - 0.05 * torch.arange(steps + 1, dtype=DOUBLE, device="cpu")  # no step too short
    gain = torch.randn(3, 3, generator=rng, dtype=DOUBLE) / 2
    x = torch.randn(4, 3, generator=rng, dtype=DOUBLE)

    def u(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x @ gain) + t**2

    def run(rule: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        y, before, h_before = x, None, times.new_ones(())
        for t, s in pairwise(times):
            now, h = u(y, t), s - t
            y = y + h * (now if before is None else now + rule(h, h_before) * (now - before))
            before, h_before = now, h
        return y

    got = answer(u, x, times)
    planted = run(lambda h, b: torch.full_like(h, 0.5))
    if same(got, planted):
        raise NotAttempted
    mistakes: list[tuple[Any, str]] = [
        (run(lambda h, b: b / (2 * h)), "the ratio of the two steps is upside down."),
        (run(lambda h, b: h / b), "the half is gone: the line is averaged over the step."),
        (run(lambda h, b: 0 * h), "that is Euler's method: order 1. Keep the memory and mend its weight."),
        (
            run(lambda h, b: -h / (2 * b)),
            "the sign: on a decreasing grid both steps are negative, and their ratio is positive.",
        ),
        (
            run(lambda h, b: h.abs() / (2 * b)),
            "the sign: on a decreasing grid both steps are negative, and their ratio is positive.",
        ),
    ]
    expect_close(got, run(lambda h, b: h / (2 * b)), what="the end of the run", rtol=1e-7, mistakes=mistakes)
    return "On equal steps h / 2h_before is one half again. Read the step before from the run; never compute it anew."


@exercise(
    "11.6",
    title="errata museum: the right variance",
    stars=2,
    kind="find-and-fix",
    hints=[
        "How many random factors has the added term?",
        "eps is noise already, and z.flip(0) is noise again. Compute a fourth moment.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (6, 3):
        x, z = torch.randn(2, B, 3, generator=rng, dtype=DOUBLE)
        sigma, gamma, s_noise = number(0.2, 3, rng), number(0.1, 0.4, rng), number(1.003, 1.1, rng)
        root = sigma * ((1 + gamma) ** 2 - 1) ** 0.5
        got = answer(x, sigma, gamma, s_noise, z)
        if same(got, x + root * s_noise * z * z.flip(0)):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (x + root * z, "the noise is single now, but s_noise has gone with the other factor."),
            (x + root * s_noise * z.flip(0), "the law is right, the rows are exchanged: keep eps, drop the flipped z."),
            (x + root * s_noise * z.abs(), "this is not symmetric any more: the mean of the noise must be 0."),
            (x + root * s_noise**2 * z, "s_noise comes in squared; it is a scale, not a variance."),
            (x + gamma * sigma * s_noise * z, "variances add, not standard deviations: sqrt(up^2 - sigma^2)."),
            (x + root**2 * s_noise * z, "that is the variance that is added; noise takes its root."),
            ((1 + gamma) * x + 0 * z, "nothing random is left: stretching x does not renew its noise."),
        ]
        expect_close(got, x + root * s_noise * z, what="the churned point", mistakes=mistakes)
    return "Now the fourth moment is three times the squared variance; with the product it was nine."


@exercise(
    "11.7",
    title="the coat for any target",
    stars=2,
    hints=[
        "Solve the two equations x_t = alpha x0 + sigma eps and F = a x0 + b eps for x0.",
        "x0 = (b x_t - sigma F) / D with D = alpha b - sigma a: read off the two factors.",
        "The target's variance: x0 has variance s^2, eps has 1, and they are independent.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    B = int(torch.randint(3, 7, (), generator=rng))
    a, sigma, alpha = 0.2 + torch.rand(3, B, generator=rng, dtype=DOUBLE)
    b = -0.3 - torch.rand(B, generator=rng, dtype=DOUBLE)
    s = number(0.4, 1.8, rng)
    skip, out, variance = expect_parts(answer(a, b, alpha, sigma, s), 3)
    D = alpha * b - sigma * a
    size = alpha**2 * s**2 + sigma**2
    expect_close(
        skip,
        b / D,
        what="c_skip",
        mistakes=[
            (alpha * s**2 / size, "that is EDM's c_skip; here a and b are given, and decide it."),
            (b / (alpha * b + sigma * a), "the determinant is alpha b - sigma a, with a minus."),
            (a / D, "that multiplies x_t by a; solve for x0 by making eps vanish, which takes b."),
        ],
    )
    expect_close(
        out,
        -sigma / D,
        what="c_out",
        mistakes=[
            (sigma / D, "the sign: x0 = (b x_t - sigma F) / D."),
            (alpha / D, "alpha F - a x_t, over D, is the noise; the clean point takes sigma."),
            (sigma * s / size.sqrt(), "that is EDM's c_out; here a and b are given, and decide it."),
        ],
    )
    expect_close(
        variance,
        a**2 * s**2 + b**2,
        what="the variance",
        mistakes=[
            ((a**2 * s**2 + b**2).sqrt(), "that is the standard deviation."),
            (a**2 + b**2, "the data has variance s^2, not 1."),
            (a**2 * s + b**2, "the data's variance is s squared."),
            ((a * s + b) ** 2, "data and noise are independent: their variances add."),
            (out**2, "c_out multiplies the network's answer; asked for is the variance of the target itself."),
        ],
    )
    return "Any (a, b) is a coat. EDM's is the one whose target has variance 1 and whose c_out is smallest."


@exercise(
    "11.8",
    title="all steps equally guilty",
    stars=3,
    hints=[
        "The density n is proportional to C^(1/(p+1)); its integral from the left end is a growing function.",
        "Cut that function into `steps` equal parts, and look up where the cuts lie.",
        "mass = cat([0, cumsum(C^(1/(p+1)) * tau.diff())]); invert it linearly at equal shares of mass[-1].",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for p in (1, 2):
        K, steps = int(torch.randint(6, 14, (), generator=rng)), int(torch.randint(3, 9, (), generator=rng))
        width = 0.1 + torch.rand(K, generator=rng, dtype=DOUBLE)
        tau = torch.cat([width.new_zeros(1), width.cumsum(0)]) - 1.3
        C = torch.exp(2 * torch.randn(K, generator=rng, dtype=DOUBLE))

        def placed(density: Tensor, tau: Tensor = tau, steps: int = steps) -> Tensor:
            mass = torch.cat([tau.new_zeros(1), (density * tau.diff()).cumsum(0)])
            goal = torch.linspace(0, 1, steps + 1, dtype=DOUBLE, device="cpu") * mass[-1]
            k = torch.searchsorted(mass, goal).clamp(1, len(mass) - 1)
            part = (goal - mass[k - 1]) / (mass[k] - mass[k - 1])
            return tau[k - 1] + part * (tau[k] - tau[k - 1])

        right = placed(C ** (1 / (p + 1)))
        mistakes: list[tuple[Any, str]] = [
            (placed(C), "the density is C to the power 1/(p+1); you took C itself."),
            (
                placed(C ** (1 / p)) if p > 1 else placed(C**0.25),
                "the exponent is 1/(p+1): local errors count, not global ones.",
            ),
            (
                placed(C ** (-1 / (p + 1))),
                "upside down: where the harm is large the steps must be small, so points dense.",
            ),
            (
                placed(C ** (1 / (p + 1)) / tau.diff()),
                "the widths of the cells are not used: integrate the density over tau.",
            ),
            (torch.linspace(tau[0].item(), tau[-1].item(), steps + 1, dtype=DOUBLE, device="cpu"), "C is not used."),
            (right.flip(0), "the grid runs from tau[-1] to tau[0]; asked for is from tau[0] upwards."),
        ]
        expect_close(answer(tau, C, p, steps), right, what="the grid", rtol=1e-7, mistakes=mistakes)
    return (
        "Then C h^(p+1) is the same for every step: to move a point would take from one what it gives to its neighbour."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves("11.1", x=range(20), xlabel="stop", panels=("noise level",), lines=(r"$\kappa = 7$", r"$\kappa = 1$"))
def _(answer: Any) -> list[Tensor]:
    return [answer(10.0, 0.01, 18, kappa) for kappa in (7.0, 1.0)]


@target_points("11.4", title="12 steps to six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    path, x, before = VP(), cloud(), None
    exact, times = ring().denoiser(path), uniform_times(path, 12, end=0.002)
    for t, s in pairwise(times):
        c, d = path(t), path(s)
        guess = exact(x, t)
        x = answer(x, guess, c.alpha, c.sigma, d.alpha, d.sigma, before)
        before = guess, torch.log(c.alpha / c.sigma)
    return x


@target_curves(
    "11.5",
    x=[4, 8, 16, 32, 64, 128, 256],
    xlabel="steps, of unequal length",
    panels=("error at the end",),
    log_x=True,
    log_y=True,
)
def _(answer: Any) -> list[Tensor]:
    x = torch.ones(1, 1, dtype=DOUBLE, device="cpu")
    runs = [answer(lambda x, t: -x * (1 + t), x, line(0, 1, n + 1) ** 2) for n in (4, 8, 16, 32, 64, 128, 256)]
    return [(end - math.exp(-1.5)).abs()[0, 0] for end in runs]


@target_curves("11.6", x=line(-2.5, 2.5), xlabel="$z$", panels=("kick",), lines=(r"$\gamma = 0.2$", r"$\gamma = 0.5$"))
def _(answer: Any) -> list[Tensor]:
    z = line(-2.5, 2.5)[:, None]
    return [answer(0 * z, 2.0, gamma, 1.1, z)[:, 0] for gamma in (0.2, 0.5)]


@target_curves(
    "11.7", x=line(-4, 4), xlabel=r"$\log(\alpha / \sigma)$, target $v$, $s = 0.5$", panels=("of the coat",),
    lines=(r"$c_\mathrm{skip}$", r"$c_\mathrm{out}$", "variance"),
)  # fmt: skip
def _(answer: Any) -> Any:
    alpha, sigma = torch.sigmoid(2 * line(-4, 4)).sqrt(), torch.sigmoid(-2 * line(-4, 4)).sqrt()
    return answer(-sigma, alpha, alpha, sigma, 0.5)


@target_curves("11.8", x=range(13), xlabel="stop", panels=("place",), lines=("$p = 1$", "$p = 3$"))
def _(answer: Any) -> list[Tensor]:
    tau = line(0, 1, 41)
    cost = torch.exp(-6 * (tau[1:] + tau[:-1]) / 2)
    return [answer(tau, cost, p, 12) for p in (1, 3)]
