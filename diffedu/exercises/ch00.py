"""Checks of chapter 0: start here."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import Cosine
from diffedu.core.times import uniform_times
from diffedu.exercises import NotAttempted, Wrong, exercise, expect_choice, expect_close, expect_number
from diffedu.exercises._inputs import cloud, line, ring
from diffedu.exercises._targets import target_curves, target_points


@exercise(
    "0.1",
    title="add noise",
    stars=1,
    hints=[
        "Two products and a sum: how much of x0, how much of eps? (0.2) has both factors.",
        "alpha is math.cos(math.pi * t / 2), sigma is math.sin(math.pi * t / 2).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    x0, eps = torch.randn(2, 6, 3, generator=rng)
    for t in (0.1 + 0.3 * torch.rand(2, generator=rng)).tolist():
        alpha, sigma = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
        mistakes: list[tuple[Any, str]] = [
            (sigma * x0 + alpha * eps, "data and noise have each other's factor: at t = 0 this gives noise."),
            (
                alpha**2 * x0 + sigma**2 * eps,
                "you squared cosine and sine. Their squares are variances; here lengths are multiplied.",
            ),
            (alpha * x0 + (1 - alpha) * eps, "the noise is multiplied by 1 - alpha; (0.2) has a sine there."),
            (math.cos(t) * x0 + math.sin(t) * eps, "the angle is t, not pi t / 2: at t = 1 half of the data is left."),
            (
                math.cos(math.pi * t) * x0 + math.sin(math.pi * t) * eps,
                "the angle is pi t, a half turn: at t = 1 this gives the data with its sign changed.",
            ),
        ]
        expect_close(answer(x0, eps, t), alpha * x0 + sigma * eps, what="x_t", mistakes=mistakes)
    return "The squares of the two factors add up to 1 at every t, so variance 1 stays variance 1."


@exercise(
    "0.2",
    title="half and half",
    stars=1,
    kind="numeric",
    hints=["At which angle are cosine and sine equal?", "At 45 degrees, pi / 4; and the angle at time t is pi t / 2."],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_number(
        answer,
        0.5,
        rtol=1e-3,
        what="the time",
        mistakes=[
            (math.pi / 4, "that is the angle, pi / 4. The angle at time t is pi t / 2."),
            (math.sqrt(0.5), "that is the common size of alpha and sigma, not the time when they have it."),
            (45.0, "that is the angle in degrees. The path turns through 90 of them while t goes from 0 to 1."),
            (0.25, "at t = 0.25 the angle is 22.5 degrees: there is still more than twice as much data as noise."),
        ],
    )
    return "Both are then 0.71, not 0.5: the squares add up to 1."


@exercise(
    "0.3",
    title="one step on lopsided data",
    stars=1,
    kind="prediction",
    hints=[
        "What does the best guess know at t close to 1? And what does the single step return?",
        "It returns the guess itself, which is the mean of all data: nine parts of 2 and one part of -2.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "at 1.6",
        {
            "at 2": "the best guess is the mean, not the most frequent value: one tenth of the data pulls it left.",
            "nine to one": "a point would have to know its group; at almost pure noise none does, all get one answer.",
            "at 0": "half way would be the mean if both groups were equally large; they count by their sizes.",
        },
        what="the place",
    )
    return "0.9 times 2 plus 0.1 times -2: the mean of the data, where no data lies. Squared error asks for it."


@exercise(
    "0.4",
    title="the exact denoiser",
    stars=2,
    hints=[
        "All differences at once: x_t[:, None, :] - alpha * points[None, :, :] has shape (B, N, D).",
        "Square, sum over the last axis, divide by -2 sigma^2: shape (B, N). torch.softmax(..., dim=1) makes weights.",
        "weights @ points. softmax subtracts the largest exponent first, so tiny sigma does no harm.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    points = torch.randn(7, 2, generator=rng)
    for alpha, sigma in ((0.8, 0.6), (0.95, 0.31)):
        x_t = alpha * points[torch.randperm(7, generator=rng)[:5]] + sigma * torch.randn(5, 2, generator=rng)
        squares = (x_t[:, None] - alpha * points).square().sum(-1)
        unscaled = (x_t[:, None] - points).square().sum(-1)

        def mean(exponent: Tensor, points: Tensor = points) -> Tensor:
            return torch.softmax(exponent, dim=1) @ points

        mistakes: list[tuple[Any, str]] = [
            (mean(squares / (2 * sigma**2)), "the exponent has lost its minus: far points count most."),
            (mean(-squares / sigma**2), "the exponent lacks its 2: a Gaussian has 2 sigma^2 below the square."),
            (mean(-squares / (2 * sigma)), "the square is divided by 2 sigma; it needs 2 sigma^2."),
            (mean(-squares.sqrt() / (2 * sigma**2)), "you took distances; the Gaussian has their squares."),
            (mean(-unscaled / (2 * sigma**2)), "the points must be shrunk by alpha before they are compared with x_t."),
            (
                alpha * mean(-squares / (2 * sigma**2)),
                "you averaged the shrunken points alpha x_i; the guess is of the clean ones.",
            ),
            (points[squares.argmin(1)], "that is the nearest point. All points count, the nearer the more."),
            (points.mean(0).expand(5, 2), "that is the plain mean: the weights are missing."),
            (
                torch.exp(-squares / (2 * sigma**2)) @ points,
                "the weights do not add up to 1: divide by their sum.",
            ),
        ]
        expect_close(
            answer(x_t, points, alpha, sigma), mean(-squares / (2 * sigma**2)), what="x0_hat", mistakes=mistakes
        )
    x_t = points[:3] + 0.3
    got = answer(x_t, points, 1.0, 0.001)
    if not torch.isfinite(got).all():
        raise Wrong(
            "right for moderate sigma. For sigma = 0.001 every exponential underflows to 0, and 0 / 0 is not a number: "
            "use torch.softmax, which subtracts the largest exponent first."
        )
    nearest = points[(x_t[:, None] - points).square().sum(-1).argmin(1)]
    expect_close(got, nearest, what="x0_hat for sigma = 0.001")
    return "For tiny sigma it returns the nearest point: with little noise there is little to guess."


@exercise(
    "0.5",
    title="one step",
    stars=2,
    hints=[
        "Take the state apart with the coefficients of t, put it together with those of s.",
        "eps_hat = (x_t - alpha_t * x0_hat) / sigma_t, then alpha_s * x0_hat + sigma_s * eps_hat.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    x_t, x0_hat = torch.randn(2, 6, 3, generator=rng)
    t, s = 0.6 + 0.2 * torch.rand(1, generator=rng).item(), 0.2 + 0.2 * torch.rand(1, generator=rng).item()
    a_t, s_t = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
    a_s, s_s = math.cos(math.pi * s / 2), math.sin(math.pi * s / 2)
    eps_hat = (x_t - a_t * x0_hat) / s_t
    mistakes: list[tuple[Any, str]] = [
        (a_s * x0_hat + s_t * eps_hat, "as much noise is put back as there was: sigma_t stands where sigma_s belongs."),
        (a_t * x0_hat + s_s * eps_hat, "the guess is shrunk by alpha_t; at time s it needs alpha_s."),
        (x_t, "that is x_t again: both parts were put back with the coefficients of t."),
        (x0_hat, "that is the guess itself: no noise was put back. Only the last step does that."),
        (
            a_s * x0_hat + s_s * (x_t - x0_hat) / s_t,
            "x0_hat must be shrunk by alpha_t before it is taken out of x_t.",
        ),
        (
            a_s * x0_hat + s_s * (x_t - a_t * x0_hat),
            "the noise was not divided by sigma_t: what is left of x_t is sigma_t eps_hat.",
        ),
        (
            a_s * x0_hat + s_s * (x_t - a_s * x0_hat) / s_s,
            "the state at time t was taken apart with the coefficients of s.",
        ),
    ]
    expect_close(answer(x_t, x0_hat, a_t, s_t, a_s, s_s), a_s * x0_hat + s_s * eps_hat, what="x_s", mistakes=mistakes)
    last = answer(x_t, x0_hat, a_t, s_t, 1.0, 0.0)
    expect_close(last, x0_hat, what="the last step, with alpha_s = 1 and sigma_s = 0,")
    return "It needs sigma_t > 0, but not sigma_s > 0: the last step may land on clean data."


@exercise(
    "0.6",
    title="a fuzzy sampler",
    stars=2,
    kind="find-and-fix",
    hints=[
        "How much noise is left after the last step, where sigma(s) = 0?",
        "Compare the line that makes the new x with (0.8), letter by letter.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    path = Cosine()
    means = torch.tensor([1.0, 0.5]) + torch.randn(5, 2, generator=rng)  # off centre: no answer is right by symmetry
    denoiser = GaussianMixture.isotropic(means, 0.1).denoiser(path)
    start = torch.randn(6, 2, generator=rng)
    times = uniform_times(path, int(torch.randint(6, 11, (), generator=rng)), end=0)

    def reference(which: str) -> Tensor:
        x = start
        for t, s in pairwise(times):
            c_t, c_s = path(t), path(s)
            x0_hat = denoiser(x, t)
            out_of = c_s if which == "parts of s" else c_t
            eps_hat = (x - out_of.alpha * x0_hat) / c_t.sigma
            x = (c_t if which == "alpha of t" else c_s).alpha * x0_hat + (
                c_t if which == "planted" else c_s
            ).sigma * eps_hat
            if which == "no noise":
                x = c_s.alpha * x0_hat
        return x

    got = answer(denoiser, start, times)
    if isinstance(got, Tensor) and got.shape == start.shape and torch.allclose(got, reference("planted"), atol=1e-4):
        raise NotAttempted
    expect_close(
        got,
        reference("right"),
        what="the last state",
        rtol=1e-3,
        atol=1e-3,
        mistakes=[
            (
                reference("no noise"),
                "no noise is put back at all. The state is then cleaner than its time says, and the guesses are wrong.",
            ),
            (
                reference("alpha of t"),
                "the noise is right now, but the guess is shrunk by alpha of t.",
            ),
            (
                reference("parts of s"),
                "the noise is right now, but the state at time t was taken apart with alpha of s.",
            ),
            (denoiser(start, times[0]), "that is a single step: the loop was lost."),
        ],
    )
    return "A test that would have caught it: after a last step with sigma(s) = 0 the state must equal the guess."


# --------------------------------------------------------------------------------------- what the solutions draw

_T = line(0, 1)


@target_curves("0.1", x=_T, xlabel="$t$", panels=("$x_t$ of one point",), lines=("$x_0 = 1$", "$x_0 = 1$, noise 0.5"))
def _(answer: Any) -> list[Tensor]:
    one = torch.ones(1, 1, dtype=torch.float64, device="cpu")
    return [torch.cat([answer(one, eps * one, t) for t in _T.tolist()])[:, 0] for eps in (0, 0.5)]


@target_curves("0.4", x=line(-3, 3), xlabel="$x_t$", panels=("best guess of $x_0$",), lines=("little noise", "much"))
def _(answer: Any) -> list[Tensor]:
    points = torch.tensor([[-1.0], [0.0], [1.5]], dtype=torch.float64, device="cpu")
    return [answer(line(-3, 3)[:, None], points, alpha, sigma)[:, 0] for alpha, sigma in ((0.95, 0.3), (0.6, 0.8))]


@target_points("0.6", title="150 points of noise, run to six clusters", limit=2.2)
def _(answer: Any) -> Tensor:
    path = Cosine()
    return torch.as_tensor(answer(ring().denoiser(path), cloud(), uniform_times(path, 40, end=0.02)))
