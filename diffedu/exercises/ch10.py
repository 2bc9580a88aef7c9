"""Checks of chapter 10: stochastic and ordinary differential equations, their films, and likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import expand, seeded
from diffedu.core.path import VP
from diffedu.exercises import NotAttempted, Wrong, exercise, expect_close, expect_number, expect_parts
from diffedu.exercises._inputs import cloud, line, normal, ring, same, uniform
from diffedu.exercises._targets import target_curves, target_points

DOUBLE = torch.float64


@exercise(
    "10.1",
    title="sub-VP from its clock",
    stars=1,
    hints=[
        "alpha is that of VP, exp(-B / 2). The other two are (10.8) and (10.7).",
        "g is a size: take the root of g squared. sigma is 1 - exp(-B), already a size.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    beta, B = uniform(0.2, 19.0, 6, rng=rng), uniform(0.1, 3.0, 6, rng=rng)
    decay = torch.exp(-B)
    alpha, sigma, g = expect_parts(answer(beta, B), 3)
    expect_close(
        alpha,
        decay.sqrt(),
        what="alpha",
        mistakes=[
            (decay, "alpha is exp(-B / 2): the pull is half of beta."),
            (1 - decay, "alpha is what is left of x0."),
        ],
    )
    expect_close(
        sigma,
        1 - decay,
        what="sigma",
        mistakes=[
            ((1 - decay).sqrt(), "that is the sigma of VP: what is VP's variance is sub-VP's standard deviation."),
            ((1 - decay) ** 2, "that is the variance of sub-VP; sigma is its root, 1 - exp(-B)."),
            (1 - decay.sqrt(), "the exponent is B, not B / 2: compare (10.8)."),
            ((1 - decay**2).sqrt(), "sigma is no root, and its exponent is -B; -2 B belongs to g, in (10.7)."),
            ((beta * (1 - decay**2)).sqrt(), "that is g: the order is alpha, sigma, g."),
        ],
    )
    expect_close(
        g,
        (beta * (1 - decay**2)).sqrt(),
        what="g",
        mistakes=[
            (beta * (1 - decay**2), "that is g squared, a variance per time; g is its root."),
            ((beta * (1 - decay)).sqrt(), "the exponent in (10.7) is -2 B, not -B."),
            (beta.sqrt(), "that is the g of VP; sub-VP has the factor 1 - exp(-2 B) under the root."),
            (beta.sqrt() * (1 - decay**2), "the bracket stands under the root as well."),
            (
                beta.sqrt() * (1 - decay),
                "that is the root of beta times sigma; under (10.7)'s root stands 1 - exp(-2 B).",
            ),
            ((beta * (1 - decay**4)).sqrt(), "the exponent in (10.7) is -2 B: B is the whole integral of beta."),
        ],
    )
    return "Where B is small, g is about sqrt(2 beta B): no noise at first, which is why its sigma starts like t."


@exercise(
    "10.2",
    title="memory at k = 2",
    stars=1,
    kind="numeric",
    hints=["(10.21): a power of the forward film's correlation.", "The exponent is k squared."],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_number(
        answer,
        0.8**4,
        mistakes=[
            (0.8**2, "the exponent in (10.21) is k squared, not k."),
            (0.8, "that is the forward film's, at k = 1."),
            (1.0, "that is the ODE's, at k = 0: position determines position."),
            (0.2, "the correlation is not divided by k squared; k squared is an exponent."),
            (0.8**0.25, "more kicks mean less memory: the exponent is 4, not 1/4."),
            (0.8**0.5, "more kicks mean less memory: the exponent is 4, not 1/2."),
        ],
    )
    return "Four reverse SDEs' worth of forgetting: the variance of the kicks, not their size, sets the exponent."


@exercise(
    "10.3",
    title="one step of any film",
    stars=2,
    hints=[
        "(10.19), with positive dt: minus the drift of the forward film, plus (1 + k^2) / 2 times g^2 times the score.",
        "The kick has the size k g sqrt(dt).",
        "f, g2 and dt have shape (B,); give each a second axis before it meets (B, D).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        x, s, z = normal(3, B, 3, rng=rng)
        f, g2 = -uniform(0.3, 6.0, B, rng=rng), uniform(1.5, 9.0, B, rng=rng)
        dt = uniform(0.01, 0.2, B, rng=rng)
        k = float(uniform(0.4, 0.8, rng=rng)) if B == 5 else float(uniform(1.3, 2.2, rng=rng))
        F, G, H = (expand(c, x) for c in (f, g2, dt))

        def step(drift: Tensor, kick: Tensor, x: Tensor = x, H: Tensor = H, z: Tensor = z) -> Tensor:
            return x + drift * H + kick * z

        share, kick = (1 + k**2) / 2, k * (G * H).sqrt()
        mistakes: list[tuple[Any, str]] = [
            (step(-F * x + G * s, kick), "the score has the factor g^2 whatever k is; it should be (1 + k^2) / 2 g^2."),
            (step(-F * x + G / 2 * s, kick), "the kicks are not paid for: half of g^2 is the ODE's share alone."),
            (step(-F * x + (1 + k) / 2 * G * s, kick), "the share of the score is (1 + k^2) / 2; you have k for k^2."),
            (step(-F * x + share * G.sqrt() * s, kick), "the factor of the score is g^2, and you have g."),
            (step(-F * x + share * G * s, k * G * H.sqrt()), "the kick has the size k g sqrt(dt); you have g^2 in it."),
            (step(-F * x + share * G * s, k * G.sqrt() * H), "the kick grows like the root of dt, not like dt."),
            (step(-F * x + share * G * s, k**2 * (G * H).sqrt()), "the kick is k g sqrt(dt): k and not k^2."),
            (step(-F * x + share * G * s, (G * H).sqrt()), "the kick does not know k; its size is k g sqrt(dt)."),
            (step(F * x + share * G * s, kick), "time runs backwards, so the forward drift f x changes its sign."),
            (step(F * x - share * G * s, kick), "that is the bracket of (10.14) with a positive step: it climbs away."),
            (step(-F * x - share * G * s, kick), "the score pulls towards the data: its sign is plus."),
            (step(-F * x + share * G * s, kick * z), "the noise is multiplied by noise."),
            (step(-F * x + 2 * share * G * s, kick), "twice the payment: the share of the score is (1 + k^2) / 2."),
            (step(-F * x + k**2 * G * s, kick), "the score's share is right at k = 1 only: it is (1 + k^2) / 2."),
            (step(-F * x + k**2 / 2 * G * s, kick), "the new kicks are paid for; the ODE's own half is missing."),
            (step(-F * x + G * s, kick / k), "that is the reverse SDE, k = 1; here k is an argument."),
            (step(share * G * s, kick), "the drift f x is missing."),
            (step(-F * x + share * G * s, 0 * kick), "the kick is missing; its size is k g sqrt(dt)."),
            (step(-F * x + share * G * s, -kick), "the kick's sign was fine (though its law does not change)."),
            (step(-F * x + share * G * s, kick) - x, "that is the change of x; return where it ends, x_s."),
            (
                x + (-f[0] * x + share * g2[0] * s) * dt[0] + k * (g2[0] * dt[0]).sqrt() * z,
                "every example gets the coefficients of the first; each has its own time.",
            ),
        ]
        if B == 3:
            slip = x + (-f * x + share * g2 * s) * dt + k * (g2 * dt).sqrt() * z
            mistakes.append((slip, "coefficients of shape (B,) meet the last axis; they belong to the first."))
        expect_close(answer(x, s, z, f, g2, dt, k), step(-F * x + share * G * s, kick), what="x_s", mistakes=mistakes)
    return "With k = 0 this is an Euler step of the ODE, with k = 1 the reverse SDE, and the crowd is always the same."


@exercise(
    "10.4",
    title="errata museum: uphill",
    stars=2,
    kind="find-and-fix",
    hints=[
        "dt is positive here. In which direction does (10.14) run?",
        "And by which power of g is the score multiplied? Compare units: score is 1 / length, g^2 is length^2 / time.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        x, s, z = normal(3, B, 3, rng=rng)
        f, g = -uniform(0.3, 6.0, B, rng=rng), uniform(1.5, 4.0, B, rng=rng)
        dt = uniform(0.01, 0.2, B, rng=rng)
        F, G, H = (expand(c, x) for c in (f, g, dt))
        noise = G * H.sqrt() * z
        got = answer(x, s, z, f, g, dt)
        if same(got, x + (F * x - G * s) * H + noise):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (x + (-F * x + G * s) * H + noise, "one of two: the signs are right now, but the score's factor is g^2."),
            (
                x + (F * x - G**2 * s) * H + noise,
                "one of two: g^2 is right now, but the step still runs away from the data.",
            ),
            (x + (F * x + G**2 * s) * H + noise, "the score pulls the right way; f x must change its sign, too."),
            (x + (-F * x - G**2 * s) * H + noise, "f x is right; the score must be added: it pulls to the data."),
            (
                x + (-F * x + G**2 / 2 * s) * H + noise,
                "half of g^2 belongs to the ODE; with kicks of size g it is g^2.",
            ),
            (x + (-F * x + G**2 * s) * H - noise, "the kick's sign was fine (though its law does not change)."),
            (x + (-F * x + G**2 * s) * H + G**2 * H.sqrt() * z, "the kick had the right size, g sqrt(dt)."),
            (x + (-F * x + G**2 * s) * H, "the kick is gone, and the score's factor is that of the kicked film."),
            (
                x + (-F * x + G**2 / 2 * s) * H,
                "that is a step of the ODE; the reverse SDE keeps its kick and all of g^2.",
            ),
            (x + (-F * x + G**2 * s) * H + G * H * z, "the kick had the right size: it grows like the root of dt."),
            (x + (F * x + G * s) * H + noise, "the score pulls the right way; f x and the power of g are still wrong."),
            (x + (-F * x - G * s) * H + noise, "f x is right; the sign of the score and the power of g are not."),
            (
                x + (-F * x + G / 2 * s) * H + noise,
                "the signs are right; the score's factor is g^2, whole and squared.",
            ),
        ]
        if B == 3:
            slip = x + (-f * x + g**2 * s) * dt + g * dt.sqrt() * z
            mistakes.append((slip, "coefficients of shape (B,) meet the last axis; they belong to the first."))
        expect_close(got, x + (-F * x + G**2 * s) * H + noise, what="x_s", mistakes=mistakes)
    return "Papers let t run down, loops count up: the bracket's sign depends on it, and the kick's does not."


@exercise(
    "10.5",
    title="errata museum: two slips that cancel",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Differentiate sigma(t)^2: that is g^2.",
        "g^2 = 2 sigma^2 ln(sigma_max / sigma_min). The ODE has half of it: which other slip had hidden the first?",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    for B in (5, 3):
        s, t = normal(B, 3, rng=rng), uniform(0.05, 0.95, B, rng=rng)
        low, high = float(uniform(0.01, 0.1, rng=rng)), float(uniform(5.0, 60.0, rng=rng))
        rate = math.log(high / low)
        sigma = low * torch.exp(rate * t)
        flat = (2 * rate) ** 0.5 * sigma
        G2 = expand(flat**2, s)
        ode, sde, g = expect_parts(answer(s, t, low, high), 3)
        planted_g = flat / math.sqrt(2)
        if same(g, planted_g) and same(ode, G2 / 2 * s) and same(sde, G2 / 2 * s):
            raise NotAttempted
        expect_close(
            g,
            flat,
            what="g",
            mistakes=[
                (planted_g, "g is still without its 2: the square of sigma grows at twice the rate of sigma."),
                (flat**2, "that is g squared; g is asked for."),
                (rate * sigma, "that is the derivative of sigma; g^2 is the derivative of sigma squared."),
                (2 * rate * sigma, "the factor 2 ln(sigma_max / sigma_min) stands under the root."),
                (sigma, "that is the noise level; g is the rate at which noise comes in."),
                (math.sqrt(2) * rate * sigma, "the whole of 2 ln r stands under the root."),
            ],
        )
        expect_close(
            ode,
            G2 / 2 * s,
            what="the ODE's drift",
            mistakes=[
                (G2 * s, "g is mended, and so the ODE is broken: its missing 1/2 had hidden the missing 2."),
                (G2 / 4 * s, "the half is there twice: with the right g the ODE has g^2 / 2."),
                (-G2 / 2 * s, "with a positive step towards the data the score is added."),
            ],
        )
        expect_close(
            sde,
            G2 * s,
            what="the SDE's drift",
            mistakes=[
                (G2 / 2 * s, "the SDE has the whole of g^2: its kicks must be paid for."),
                (-G2 * s, "dtau is positive: the SDE's drift has plus g^2 times the score."),
                (2 * G2 * s, "once too often: with the right g the SDE has g^2, without a factor."),
            ],
        )
    return "The ODE sampled well all the time, so nobody looked. A test of g, or one run of the SDE, would have told."


@exercise(
    "10.6",
    title="a trace by probes, and how sure it is",
    stars=2,
    hints=[
        "For each probe: the gradient of (field(x) * probe).sum() by x, times the probe, summed over D.",
        "One forward pass serves all probes: retain_graph=True.",
        "The standard error is the standard deviation over the probes (with S - 1) over the root of S.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    for B in (5, 3):
        S, D = int(torch.randint(6, 12, (), generator=rng)), 3
        matrix, x, probes = normal(D, D, rng=rng), normal(B, D, rng=rng), normal(S, B, D, rng=rng)

        def field(y: Tensor, matrix: Tensor = matrix) -> Tensor:
            return torch.tanh(y @ matrix.T) + y**2

        slope = 1 - torch.tanh(x @ matrix.T) ** 2
        jacobian = slope[:, :, None] * matrix + 2 * torch.diag_embed(x)
        one = torch.einsum("sbi,bij,sbj->sb", probes, jacobian, probes)
        mean, error = expect_parts(answer(field, x, probes), 2)
        bare = torch.einsum("sbi,bij->sbj", probes, jacobian).sum(2)
        mistakes: list[tuple[Any, str]] = [
            (
                bare.mean(0),
                "the gradient is probe^T J; it has to be multiplied by the probe once more before it is summed.",
            ),
            (one.sum(0), "the probes are added up; take their mean."),
            (
                jacobian.diagonal(dim1=1, dim2=2).sum(1),
                "that is the exact trace, at D backward passes; use the probes given.",
            ),
            (one.mean(0) / D, "that is divided by D; the trace is a sum over the dimensions."),
            (one[0], "only the first probe is used."),
            (one.mean().expand(B), "the examples have been averaged; each has a divergence of its own."),
            (torch.einsum("sbi,bi->sb", probes, field(x)).mean(0), "nothing is differentiated: that is probe . field."),
        ]
        expect_close(mean, one.mean(0), what="the mean", mistakes=mistakes)
        expect_close(
            error,
            one.std(0) / S**0.5,
            what="the standard error",
            mistakes=[
                (one.std(0), "that is the spread of one probe; the mean of S of them is surer by the root of S."),
                (one.std(0) / S, "the error falls like the root of S, not like S."),
                (
                    one.std(0, unbiased=False) / S**0.5,
                    "with S - 1 in the variance, please: few probes underestimate it.",
                ),
                (one.var(0) / S, "that is its square, the variance of the mean."),
            ],
        )
    return "Ten probes cost ten backward passes, in 3 dimensions or in 100,000; only the spread grows with D."


@exercise(
    "10.7",
    title="likelihood by Heun's rule",
    stars=3,
    hints=[
        "The point and the integral are one ODE: both get the mean of the slopes at the two ends of a step.",
        "The second divergence is taken at the Euler point x + h v1, at the new time.",
        "At the end: the integral, plus log_prior of where the point has arrived.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        x0 = normal(B, 3, rng=rng)
        times = torch.cat([uniform(0.01, 0.05, 1, rng=rng), 0.05 + uniform(0.05, 0.4, 4, rng=rng).cumsum(0)])
        a = float(uniform(0.3, 0.9, rng=rng))

        def velocity(x: Tensor, t: Tensor, a: float = a) -> Tensor:
            return a * torch.sin(x) * (1 + t)

        def divergence(x: Tensor, t: Tensor, a: float = a) -> Tensor:
            return a * torch.cos(x).sum(1) * (1 + t)

        def log_prior(x: Tensor) -> Tensor:
            return -0.5 * x.square().sum(1) - 1.5 * math.log(2 * math.pi)

        def run(rule: str, x: Tensor = x0, times: Tensor = times) -> tuple[Tensor, Tensor]:
            gained = torch.zeros(len(x), dtype=DOUBLE, device="cpu")
            for t, s in pairwise(times):
                h = s - t
                v1, d1 = velocity(x, t), divergence(x, t)
                y = x + h * v1
                v2, d2 = velocity(y, s), divergence(y, s)
                if rule == "middle":
                    y = x + h / 2 * v1
                    v1, d1 = v2, d2 = velocity(y, t + h / 2), divergence(y, t + h / 2)
                if rule == "still":
                    d2 = divergence(x, s)
                if rule == "old time":
                    v2, d2 = velocity(y, t), divergence(y, t)
                x = y if rule in ("Euler", "half") else x + h * (v1 + v2) / 2
                gained = gained + h * (d1 if rule in ("Euler", "left") else d2 if rule == "right" else (d1 + d2) / 2)
            return gained, x

        gained, end = run("Heun")
        mistakes: list[tuple[Any, str]] = [
            (
                log_prior(end) - gained,
                "the integral has the wrong sign: where volume grows on the way to noise, much noise lands.",
            ),
            (gained + log_prior(x0), "the prior is asked where the point started; it belongs to where it arrives."),
            (log_prior(end), "the integral of the divergence is missing."),
            (gained, "the prior's log-density at the end is missing."),
            (
                run("Euler")[0] + log_prior(run("Euler")[1]),
                "that is Euler's rule, of order 1; take the mean of both ends.",
            ),
            (
                run("left")[0] + log_prior(end),
                "the point follows Heun, but the integral only has the divergence of the step's start.",
            ),
            (run("right")[0] + log_prior(end), "the integral only has the divergence of the step's end."),
            (run("still")[0] + log_prior(end), "the second divergence is taken at the old point; take it at x + h v1."),
            (run("old time")[0] + log_prior(run("old time")[1]), "the second slopes belong to the new time s."),
            (gained / 3 + log_prior(end), "the divergence is a sum over dimensions; do not divide it."),
            (2 * gained + log_prior(end), "the integral is twice too large: take the mean of the two divergences."),
            (
                run("half")[0] + log_prior(run("half")[1]),
                "the divergence follows Heun, but the point only Euler: both walk with the mean.",
            ),
            (
                run("middle")[0] + log_prior(run("middle")[1]),
                "that is the midpoint rule, of order 2 as well; Heun takes the mean of both ends.",
            ),
        ]
        expect_close(
            answer(velocity, divergence, x0, times, log_prior), gained + log_prior(end), what="log p", mistakes=mistakes
        )
    return "Order 2, and one line more than a sampler: this is all that stands between a flow and its likelihood."


@exercise(
    "10.8",
    title="the price of a kick",
    stars=3,
    kind="derivation",
    hints=[
        "For N(0, 1) data on VP the score is -x. Write (10.19)'s Euler-Maruyama step as x <- a x + b z.",
        "a = 1 - k^2 beta dt / 2 and b^2 = k^2 beta dt. A variance that stays the same solves V = a^2 V + b^2.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    k, beta = uniform(0.5, 2.0, 6, rng=rng), uniform(2.0, 20.0, 6, rng=rng)
    dt = uniform(0.1, 0.9, 6, rng=rng) / (k**2 * beta)
    variance = torch.ones_like(k)
    for _ in range(400):  # the rule itself, until nothing changes: what is left shrinks to 0.91 of itself
        variance = (1 - k**2 * beta * dt / 2) ** 2 * variance + k**2 * beta * dt
    u = k**2 * beta * dt
    mistakes: list[tuple[Any, str]] = [
        (1 / (1 - u / 2), "a factor 2: the square of 1 - u/2 is 1 - u + u^2/4, with u = k^2 beta dt."),
        (1 + u / 4, "that is the first order in the step; the exact one is a quotient."),
        (1 - u / 4, "that is the reciprocal: the crowd comes out too wide, not too narrow."),
        (torch.ones_like(u), "with finite steps the variance is not 1: the kick overshoots."),
        (1 / (1 - k * beta * dt / 4), "the kicks enter by their variance: k^2, not k."),
        (1 / (1 - (1 + k**2) / 2 * beta * dt / 4), "part of the drift is the ODE's, which cancels f x: k^2 is left."),
        (1 / (1 - u / 4).sqrt(), "that is the standard deviation; the variance is asked for."),
        (1 / (1 - u**2 / 4), "one u too many: cancel u in u / (u - u^2 / 4) once more."),
        (torch.full_like(u, 2.0), "a variance is multiplied by the square of 1 - u/2, with u = k^2 beta dt."),
        (1 / (1 - u / (4 * k**2)), "that is right at k = 1 only."),
        (1 / k / (1 - u / 4), "the variance of the kick is (k g)^2 dt, with the square of k."),
        (1 / k**2 / (1 - u / 4), "the kick has lost its k: its size is k g sqrt(dt)."),
        (1 / (1 + u / 4), "a sign: 1 - (1 - u/2)^2 is u - u^2/4, with u = k^2 beta dt."),
        (1 + u / 4 + u**2 / 16, "that is the second order in the step; the exact one is a quotient."),
        (
            u / (1 - (1 - (1 + k**2) * beta * dt / 4) ** 2),
            "f x is missing from the drift: it cancels the ODE's part of the score.",
        ),
        (u / (1 - (1 - (1 + k**2) * beta * dt / 2) ** 2), "the drift lacks f x, and the share of the score its half."),
    ]
    got = answer(k, beta, dt)
    if isinstance(got, Tensor) and got.shape == k.shape and bool((got < 0).any()):
        raise Wrong("a variance came out negative; below u = 4 the rule is stable and the variance positive.")
    expect_close(got, variance, what="the variance", rtol=1e-6, mistakes=mistakes)
    return "Too wide by k^2 beta dt / 4, and without bound at k^2 beta dt = 4: there the storm explodes."


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves("10.1", x=line(0, 1), xlabel="$t$", panels=("on the path",), lines=(r"$\alpha$", r"$\sigma$", "$g$"))
def _(answer: Any) -> Any:
    t = line(0, 1)
    return answer(0.1 + 4.9 * t, 0.1 * t + 4.9 * t**2 / 2)


def _film(step: Callable[..., Tensor]) -> Tensor:
    """150 points from noise to the data on VP in 200 steps; `step` gets x_t, score, z, f, g^2 and dt, each (B,)."""
    path, rng, x = VP(), seeded(0, "cpu"), cloud()
    times = torch.linspace(1, 0.002, 201, device="cpu")
    for t, s in pairwise(times):
        c = path(t)
        f, g2, dt = (v.expand(len(x)) for v in (c.drift, c.diffusion_squared, t - s))
        x = step(x, ring().noised(path, t).score(x), torch.randn(x.shape, generator=rng, device="cpu"), f, g2, dt)
    return x


@target_points("10.3", title="200 steps with k = 0.5, to six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    return _film(lambda x, score, z, f, g2, dt: torch.as_tensor(answer(x, score, z, f, g2, dt, 0.5)))


@target_points("10.4", title="200 steps of the reverse SDE, to six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    return _film(lambda x, score, z, f, g2, dt: torch.as_tensor(answer(x, score, z, f, g2.sqrt(), dt)))


@target_curves("10.5", x=line(0, 1), xlabel="$t$", panels=("for a score of -1",), lines=("ODE", "SDE's drift", "$g$"))
def _(answer: Any) -> list[Tensor]:
    ode, drift, g = answer(-torch.ones(81, 1, dtype=torch.float64, device="cpu"), line(0, 1), 0.1, 5.0)
    return [ode[:, 0], drift[:, 0], g]


@target_curves("10.6", x=line(-3, 3), xlabel="$x_1$", panels=("trace", "its standard error"))
def _(answer: Any) -> Any:
    x = torch.stack([line(-3, 3), torch.ones(81, dtype=torch.float64, device="cpu")], dim=1)
    signs = torch.randint(0, 2, (8, 1, 2), generator=seeded(0, "cpu"), device="cpu").double() * 2 - 1
    mix = torch.tensor([[1.0, 0.6], [-0.2, 0.5]], dtype=torch.float64, device="cpu")
    return answer(lambda x: torch.sin(x) @ mix, x, signs.expand(8, 81, 2))


@target_curves("10.7", x=line(-3, 3), xlabel="$x$", panels=(r"$\log p(x)$",))
def _(answer: Any) -> Tensor:
    # N(0, 1/4) at time 0, N(0, 1) at time 1: the variance grows evenly, and the flow stretches
    def rate(t: Tensor | float) -> Any:
        return 0.375 / (0.25 + 0.75 * t)

    def normal_log(x: Tensor) -> Tensor:
        return -0.5 * x[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)

    return torch.as_tensor(
        answer(
            lambda x, t: rate(t) * x, lambda x, t: rate(t) * torch.ones_like(x[:, 0]), line(-3, 3)[:, None],
            line(0, 1, 9), normal_log,
        )
    )  # fmt: skip


@target_curves("10.8", x=line(0, 2), xlabel="$k$", panels=("variance where it settles",))
def _(answer: Any) -> Tensor:
    one = torch.ones(81, dtype=torch.float64, device="cpu")
    return torch.as_tensor(answer(line(0, 2), 5 * one, 0.05 * one))
