"""Checks of chapter 8: DDIM's step, its slips, skipped steps, codes and the way between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import expand, seeded
from diffedu.core.denoiser import eps_hat
from diffedu.core.path import DiscreteDDPM, cosine_betas
from diffedu.exercises import NotAttempted, exercise, expect_choice, expect_close, expect_number
from diffedu.exercises._inputs import cloud, line, normal, ring, same, uniform
from diffedu.exercises._targets import target_curves, target_points


def _two_levels(B: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """alpha_bar at t and at s < t, shape (B,): the second is the larger."""
    low, high = torch.rand(2, B, generator=rng, dtype=torch.float64)
    abar_t = 0.05 + 0.5 * low
    return abar_t, abar_t + (0.97 - abar_t) * (0.1 + 0.8 * high)


def _step(x_t: Tensor, eps: Tensor, a_t: Tensor, a_s: Tensor, taken: Tensor, added: Tensor, z: Tensor) -> Tensor:
    """Any step of DDIM's form: `taken` off the old noise's variance, `added` as the factor of z."""
    x0_hat = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
    return a_s.sqrt() * x0_hat + (1 - a_s - taken).sqrt() * eps + added * z


@exercise(
    "8.1",
    title="the step",
    stars=1,
    hints=[
        "First x0_hat = (x_t - sigma_t eps) / alpha_t, with alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar).",
        "beta tilde = (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s).",
        "Give everything of shape (B,) a second axis: abar_t[:, None].",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):  # the second with B = D, where a wrong broadcast runs
        x_t, eps, z = normal(3, B, 3, rng=rng)
        abar_t, abar_s = _two_levels(B, rng)
        eta = 0.2 + 0.6 * float(torch.rand((), generator=rng))
        a_t, a_s = abar_t[:, None], abar_s[:, None]
        leap = 1 - a_t / a_s
        bt = (1 - a_s) / (1 - a_t) * leap
        v = eta**2 * bt
        x0_hat = (x_t - (1 - a_t).sqrt() * eps) / a_t.sqrt()
        mistakes: list[tuple[Any, str]] = [
            (
                _step(x_t, eps, a_t, a_s, eta * bt, (eta * bt).sqrt(), z),
                "the variance has eta in it where eta squared belongs: your eta = 0.5 is the paper's 0.71.",
            ),
            (_step(x_t, eps, a_t, a_s, v, v, z), "the fresh noise is multiplied by its variance; take the root."),
            (
                _step(x_t, eps, a_t, a_s, 0 * v, v.sqrt(), z),
                "fresh noise comes in, but nothing is taken off the old noise: the variances no longer add up to "
                "sigma_s squared.",
            ),
            (
                _step(x_t, eps, a_t, a_s, v, 0 * v, z),
                "noise is taken off, but no fresh noise is put in its place.",
            ),
            (
                _step(x_t, eps, a_t, a_s, eta**2 * leap * (1 - a_s), eta * leap.sqrt(), z),
                "the fresh noise has the variance of the leap; beta tilde is (1 - abar_s) / (1 - abar_t) times that.",
            ),
            (
                a_s * (x_t - (1 - a_t) * eps) / a_t + (1 - a_s - v).sqrt() * eps + v.sqrt() * z,
                "alpha_bar is the square of the factor before x0: take roots.",
            ),
            (
                x0_hat + (1 - a_s - v).sqrt() * eps + v.sqrt() * z,
                "the guessed clean point must be shrunk again, by sqrt(abar_s).",
            ),
            (
                _step(x_t, eps, a_t, a_s, eta * bt, eta * bt.sqrt(), z),
                "what is taken off the old noise has eta unsquared; take off what the fresh noise adds, eta squared.",
            ),
            (
                a_s.sqrt() * (x_t + (1 - a_t).sqrt() * eps) / a_t.sqrt() + (1 - a_s - v).sqrt() * eps + v.sqrt() * z,
                "to guess the clean point, the noise is taken away from x_t, not added.",
            ),
            (
                a_s.sqrt() * x0_hat + (1 - a_s - v).sqrt() * z + v.sqrt() * eps,
                "eps and z have changed places: the root of what is left belongs to the old noise.",
            ),
            (
                a_s.sqrt() * x0_hat + (1 - a_s).sqrt() * z,
                "all the old noise is thrown away; some of it is kept, unless Sigma = sigma_s squared.",
            ),
        ]
        if B == 3:
            c_t, c_s = abar_t, abar_s
            w = eta**2 * (1 - c_s) / (1 - c_t) * (1 - c_t / c_s)
            mistakes.append(
                (
                    _step(x_t, eps, c_t, c_s, w, w.sqrt(), z),
                    "alpha_bar of shape (B,) meets the last axis of x_t; it belongs to the first.",
                )
            )
        right = _step(x_t, eps, a_t, a_s, v, v.sqrt(), z)
        expect_close(answer(x_t, eps, abar_t, abar_s, eta, z), right, what="x_s", mistakes=mistakes)
    return "Old noise and fresh noise together have variance 1 - abar_s at every eta: that is what keeps the marginals."


@exercise(
    "8.2",
    title="predict: who is exact?",
    stars=1,
    kind="prediction",
    hints=[
        "What is the denoiser's guess for such data, and is there anything uncertain about it?",
        "(8.13) has Cov[x0 | x_t] as a factor.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "all",
        {
            "only 0": "fresh noise is no error where as much of the old was taken off: (8.3) holds for each Sigma.",
            "only 1": "that DDPM's chain is the Markov one does not matter for the marginals.",
            "none": "a guess costs variance only where x0 is uncertain, (8.13); here it is known.",
        },
    )
    return "With x0 known, (8.5) is exact on any grid. Every loss of a sampler comes from what the guess does not know."


@exercise(
    "8.3",
    title="errata museum: eta",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Let x_t be alpha_t x0 + sigma_t eps, with eps and z independent. Which variance should x_s have, given x0?",
        "And compare the variance with (8.10) at eta = 0.5.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for eta in (0.5, 0.8):
        x_t, eps, z = normal(3, 4, 3, rng=rng)
        a_t, a_s = (level[0] for level in _two_levels(1, rng))
        bt = (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
        got = answer(x_t, eps, a_t, a_s, eta, z)
        if same(got, _step(x_t, eps, a_t, a_s, eta * bt, eta * bt, z)):
            raise NotAttempted
        v = eta**2 * bt
        mistakes: list[tuple[Any, str]] = [
            (
                _step(x_t, eps, a_t, a_s, eta * bt, (eta * bt).sqrt(), z),
                "one of two: noise is scaled by a standard deviation now, but the variance still has eta, unsquared.",
            ),
            (
                _step(x_t, eps, a_t, a_s, v, v, z),
                "one of two: eta is squared now, but z is still multiplied by a variance.",
            ),
            (
                _step(x_t, eps, a_t, a_s, eta * bt, eta * bt.sqrt(), z),
                "the fresh noise is right, but the root takes off another variance: the two must be the same.",
            ),
            (
                _step(x_t, eps, a_t, a_s, v**2, v, z),
                "you squared what is taken off, to match what is added. They agree now, on the wrong variance.",
            ),
            (
                _step(x_t, eps, a_t, a_s, 0 * v, v.sqrt(), z),
                "the fresh noise is right, but nothing is taken off the old noise any more.",
            ),
            (
                _step(x_t, eps, a_t, a_s, v, eta * v.sqrt(), z),
                "eta is in it once too often: the root of the variance has it already.",
            ),
        ]
        expect_close(got, _step(x_t, eps, a_t, a_s, v, v.sqrt(), z), what="x_s", mistakes=mistakes)
    return (
        "With only the root mended the step would keep all marginals: it would be a right member of the family "
        "under a wrong name, which a test of samples would hardly find."
    )


@exercise(
    "8.4",
    title="errata museum: the skipped steps",
    stars=2,
    kind="find-and-fix",
    hints=[
        "By how much does the variance grow from s to t?",
        "(8.15): beta is that of the whole leap, in all three places.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = 12
    betas = 0.02 + 0.2 * torch.rand(T, generator=rng, dtype=torch.float64)
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    x_t, eps, z = normal(3, 4, 3, rng=rng)

    def ancestral(t: int, s: int, beta: Tensor, in_variance: Tensor) -> Tensor:
        mean = (x_t - beta / (1 - alpha_bar[t]).sqrt() * eps) / (1 - beta).sqrt()
        return mean + ((1 - alpha_bar[s]) / (1 - alpha_bar[t]) * in_variance).sqrt() * z

    first = int(torch.randint(5, 8, (), generator=rng))
    for t, s in ((T, first), (first, 2), (4, 3), (3, 0)):
        leap, single = 1 - alpha_bar[t] / alpha_bar[s], betas[t - 1]
        got = answer(x_t, eps, t, s, betas, z)
        if t - s > 1 and same(got, ancestral(t, s, single, single)):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = []
        if t - s > 1:
            mistakes = [
                (
                    ancestral(t, s, leap, single),
                    "the mean is mended, the variance is not: it still has the beta of a single step.",
                ),
                (
                    ancestral(t, s, single, leap),
                    "the variance is mended, the mean is not: it still takes away the noise of a single step.",
                ),
                (
                    lambda t=t, s=s: ancestral(t, s, betas[s:t].sum(), betas[s:t].sum()),
                    "betas of several steps don't just add up: what came in earlier is shrunk by the later steps.",
                ),
                (
                    lambda t=t, s=s, single=single: ancestral(t, s, (t - s) * single, (t - s) * single),
                    "one step's beta times the number of steps is only about right; betas differ, and noise is shrunk.",
                ),
                (
                    ancestral(t, s, leap, leap * (1 - alpha_bar[t]) / (1 - alpha_bar[s])),
                    "the fresh noise has the variance of the leap; beta tilde is a share of it.",
                ),
                (
                    lambda t=t, s=s: ancestral(t, s, 1 - alpha_bar[t], 1 - alpha_bar[t]),
                    "that is the leap from 0; from s is meant, so divide by alpha_bar at s.",
                ),
            ]
        expect_close(got, ancestral(t, s, leap, leap), what="x_s", mistakes=mistakes)
    return "Written as (8.10) the step has no beta in it, and the slip has no place to be made."


@exercise(
    "8.5",
    title="on the sphere",
    stars=2,
    hints=[
        "Flatten everything after the first axis: z.flatten(1) has shape (B, D).",
        "Dot product and lengths by a sum over axis 1; omega = acos of their ratio, shape (B,).",
        "diffedu._tensor.expand(c, z) gives a factor (B,) the axes that it needs.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for shape in ((5, 3), (4, 1, 3, 3), (3, 3)):
        z0, z1 = normal(2, *shape, rng=rng)
        z1 = 1.3 * z1
        lam = 0.1 + 0.35 * torch.rand(shape[0], generator=rng, dtype=torch.float64)
        f0, f1 = z0.flatten(1), z1.flatten(1)

        def angle(u: Tensor, v: Tensor, axis: int | tuple[int, ...] = 1) -> Tensor:
            dot, square0, square1 = (a.sum(axis) for a in (u * v, u * u, v * v))
            return torch.acos((dot / (square0 * square1).sqrt()).clamp(-1, 1))

        def between(first: Tensor, second: Tensor, z0: Tensor = z0, z1: Tensor = z1) -> Tensor:
            return expand(first, z0) * z0 + expand(second, z1) * z1

        omega = angle(f0, f1)
        w0, w1 = torch.sin((1 - lam) * omega) / torch.sin(omega), torch.sin(lam * omega) / torch.sin(omega)
        quarter = lam * torch.pi / 2
        all_of_them = angle(f0, f1, (0, 1)).expand(shape[0])
        mistakes: list[tuple[Any, str]] = [
            (between(1 - lam, lam), "that is the straight line; half-way its points are too short."),
            (
                between(w0 / f0.norm(dim=1), w1 / f1.norm(dim=1)),
                "the noises have been cut to length 1; lengths are divided out of the cosine only.",
            ),
            (between(w1, w0), "at lam = 0 the result should be z0; yours is z1."),
            (
                between(quarter.cos(), quarter.sin()),
                "that takes every angle for a right one: nearly true for large pictures, not for these.",
            ),
            (
                between(torch.sin((1 - lam) * omega), torch.sin(lam * omega)),
                "the division by sin(omega) is missing: at lam = 0 the result is not z0.",
            ),
            (
                between(
                    torch.sin((1 - lam) * all_of_them) / torch.sin(all_of_them),
                    torch.sin(lam * all_of_them) / torch.sin(all_of_them),
                ),
                "one angle for the whole batch; each pair has its own.",
            ),
        ]
        if len(shape) == 4:
            rows = angle(z0, z1, -1)
            spread = expand(lam, rows)
            mistakes.append(
                (
                    (torch.sin((1 - spread) * rows) / torch.sin(rows))[..., None] * z0
                    + (torch.sin(spread * rows) / torch.sin(rows))[..., None] * z1,
                    "you took an angle for each row of the picture; a picture is one vector, with one angle.",
                )
            )
        if shape == (3, 3):
            mistakes.append((w0 * z0 + w1 * z1, "factors of shape (B,) meet the last axis; they belong to the first."))
        expect_close(answer(z0, z1, lam), between(w0, w1), what="the noise between", mistakes=mistakes)
    return "Of 784 independent coordinates the angle is 90 degrees, give or take two: there cosine and sine would do."


@exercise(
    "8.6",
    title="an exact inverse",
    stars=3,
    hints=[
        "In y and rho: y_t = y_s + (rho_t - rho_s) guess(x_t), and x_t = alpha_t y_t.",
        "So repeat x_t <- alpha_t (x_s / alpha_s + (rho_t - rho_s) guess(x_t)), starting from alpha_t / alpha_s x_s.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    mix = 0.4 * normal(3, 3, rng=rng)

    def guess(x: Tensor) -> Tensor:
        return torch.tanh(x @ mix) + 0.1

    # Not 1/2, where alpha is sigma and each may stand for the other; so near that the rounds converge.
    abar_t, abar_s = uniform(0.38, 0.45, rng=rng), uniform(0.52, 0.58, rng=rng)
    a_t, s_t, a_s, s_s = abar_t.sqrt(), (1 - abar_t).sqrt(), abar_s.sqrt(), (1 - abar_s).sqrt()
    true = normal(5, 3, rng=rng)
    rise = s_t / a_t - s_s / a_s
    x_s = a_s * (true / a_t - rise * guess(true))

    def iterate(
        rounds: int, step: Tensor = rise, back: Tensor = a_t, start: Tensor | None = None, in_y: bool = False
    ) -> Tensor:
        x = a_t / a_s * x_s if start is None else start
        for _ in range(rounds):
            x = back * (x_s / a_s + step * guess(x / a_t if in_y else x))
        return x

    rounds = int(torch.randint(2, 4, (), generator=rng))
    mistakes: list[tuple[Any, str]] = [
        (iterate(rounds - 1), "one round too few."),
        (iterate(60), "that is the limit of many rounds; the argument says how many are to be made."),
        (iterate(rounds, step=s_t - s_s), "the step is in rho = sigma / alpha, not in sigma."),
        (iterate(rounds + 1), "one round too many: the first guess (alpha_t / alpha_s) x_s is no round."),
        (iterate(rounds, step=-rise), "the step has the wrong sign: noise comes back in on the way up."),
        (iterate(rounds, start=x_s), "the start should be (alpha_t / alpha_s) x_s, as if there were no noise."),
        (iterate(rounds, in_y=True), "guess takes the noisy point x_t = alpha_t y_t; you gave it y_t."),
        (
            iterate(rounds, back=torch.ones_like(a_t)),
            "each round ends in y_t = x_t / alpha_t; multiply by alpha_t to have x_t again.",
        ),
        (
            a_t * (x_s / a_s + rise * guess(x_s)),
            "that is plain encoding, with the guess at x_s: no rounds are made.",
        ),
    ]
    got = answer(guess, x_s, a_t, s_t, a_s, s_s, rounds)
    expect_close(got, iterate(rounds), what=f"x_t after {rounds} rounds", mistakes=mistakes)
    expect_close(answer(guess, x_s, a_t, s_t, a_s, s_s, 60), true, what="x_t after 60 rounds", rtol=1e-6)
    return (
        "Each round shrinks the error by alpha_t (rho_t - rho_s) times the slope of the guess in x: small steps "
        "converge in a few rounds, steep guesses may not converge at all."
    )


@exercise(
    "8.7",
    title="how much do four times cost?",
    stars=2,
    kind="numeric",
    hints=[
        "Var[x0 | x_t] = 1 / (1 + SNR) for data N(0, 1), by (5.13); here SNR = 1.",
        "alpha_s^2 = 1 / (1 + rho_s^2), since alpha^2 + sigma^2 = 1. And the true variance of x_s is 1.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    kappa, left = 0.8, 0.5
    alpha_s2 = 1 / (1 + kappa**2)
    bracket = 1 - kappa**2
    expect_number(
        answer,
        alpha_s2 * bracket**2 * left,
        mistakes=[
            (alpha_s2 * (1 - kappa) ** 2 * left, "that is what DDIM's step (eta = 0) loses."),
            (alpha_s2 * bracket**2, "the guess does not miss the whole variance of x0, only what x_t leaves open."),
            (bracket**2 * left, "the factor alpha_s squared is missing."),
            (0.5 * bracket**2 * left, "alpha_s squared stands before it, not alpha_t squared."),
            (alpha_s2 * bracket * left, "the bracket is squared: it multiplies a point, and a variance is asked for."),
            (100 * alpha_s2 * bracket**2 * left, "a share is asked for, not per cent."),
            (
                4 * alpha_s2 * (1 - kappa) ** 2 * left,
                "the factor 4 is for small steps; here it is (1 + kappa) squared.",
            ),
        ],
    )
    return "DDIM's step loses 1.2 per cent at the same place: 3.24 times less, (1 + kappa) squared."


# --------------------------------------------------------------------------------------- what the solutions draw

_PATH = DiscreteDDPM(cosine_betas(1000))
_TIMES = tuple(range(1000, -1, -40))


def _down(step: Callable[[Tensor, Tensor, int, int, Tensor], Tensor]) -> Tensor:
    """150 points of noise in 25 steps to the data; `step` gets x_t, the exact noise, t, s and fresh noise."""
    exact, rng, x = ring().denoiser(_PATH), seeded(0, "cpu"), cloud()
    for t, s in pairwise(_TIMES):
        x = step(x, eps_hat(exact, x, float(t)), t, s, torch.randn(x.shape, generator=rng, device="cpu"))
    return x


@target_points("8.1", title="25 steps with eta = 0.5", limit=2.4)
def _(answer: Any) -> Tensor:
    def step(x: Tensor, eps: Tensor, t: int, s: int, z: Tensor) -> Tensor:
        bars = (_PATH.alpha_bar[k].float().expand(len(x)) for k in (t, s))
        return torch.as_tensor(answer(x, eps, *bars, 0.5, z))

    return _down(step)


@target_curves("8.3", x=line(0, 1), xlabel=r"$\eta$", panels=("$x_s$",), lines=("noise kept", "fresh noise"))
def _(answer: Any) -> Tensor:
    one, low, high = (torch.tensor([[v]], dtype=torch.float64, device="cpu") for v in (1.0, 0.36, 0.64))
    ends = [
        [answer(0.8 * one, eps * one, low[0, 0], high[0, 0], eta, z * one)[0, 0] for eps, z in ((1, 0), (0, 1))]
        for eta in line(0, 1).tolist()
    ]
    return torch.tensor(ends, device="cpu").T


@target_points("8.4", title="25 steps with the variance of the posterior", limit=2.4)
def _(answer: Any) -> Tensor:
    betas = _PATH.betas.float()
    return _down(lambda x, eps, t, s, z: torch.as_tensor(answer(x, eps, t, s, betas, z)))


@target_points("8.5", title="from one point to another in 41 steps", limit=1.6)
def _(answer: Any) -> Tensor:
    start, end = (torch.tensor([v], dtype=torch.float64, device="cpu").expand(41, 2) for v in ([1.2, 0.3], [-0.9, 0.9]))
    return torch.as_tensor(answer(start, end, line(0, 1, 41)))


@target_curves("8.6", x=line(-3, 3), xlabel="$x_s$", panels=("the $x_t$ that leads there",))
def _(answer: Any) -> Tensor:
    return answer(lambda x: torch.sin(2 * x) / 2, line(-3, 3)[:, None], 0.7, math.sqrt(0.51), 0.8, 0.6, 12)[:, 0]
