"""Checks of chapter 13: pairs, their average velocity, clocks, scores, and what a flow cannot learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import expand, seeded
from diffedu.core.denoiser import velocity
from diffedu.core.path import RectifiedFlow
from diffedu.exercises import NotAttempted, exercise, expect_choice, expect_close, expect_parts
from diffedu.exercises._inputs import cloud, line, normal, ring, same
from diffedu.exercises._targets import target_curves, target_points

DOUBLE = torch.float64


def _times(B: int, rng: torch.Generator) -> Tensor:
    """B times away from both ends and from the middle, where t and 1 - t are alike."""
    return 0.08 + 0.34 * torch.rand(B, generator=rng, dtype=DOUBLE)


@exercise(
    "13.1",
    title="what a batch trains on",
    stars=1,
    hints=[
        "x_t lies between x0 (at t = 0) and x1 (at t = 1). The target is its derivative by t.",
        "t has shape (B,): give it as many axes of length 1 as x0 has after the first.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    for shape in ((4, 1, 3, 3), (5, 3), (4, 4)):
        x0, x1 = normal(2, *shape, rng=rng)
        t = _times(shape[0], rng)
        c = expand(t, x0)
        x_t, target = expect_parts(answer(x0, x1, t), 2)
        mistakes: list[tuple[Any, str]] = [
            (c * x0 + (1 - c) * x1, "x_t is x1 at t = 0: that is the papers' clock. Ours has the data at t = 0."),
            (x1, "x_t is x1 at every t. The network has to see the point on the way, not where it starts."),
            (x0, "x_t is x0 at every t. The network has to see the point on the way."),
            (x0 + c * x1, "x0 has to fade as x1 comes: its factor is 1 - t."),
            (x1 - x0, "that is the target; return x_t first, then the target."),
        ]
        if shape == (4, 4):
            mistakes.append(
                ((1 - t) * x0 + t * x1, "t of shape (B,) meets the last axis of x0; it belongs to the first.")
            )
        expect_close(x_t, (1 - c) * x0 + c * x1, what="x_t", mistakes=mistakes)
        expect_close(
            target,
            x1 - x0,
            what="the target",
            mistakes=[
                (x0 - x1, "the target points from x1 to x0. dx_t/dt, with data at t = 0, is x1 - x0."),
                (x1, "the target is x1. Differentiate x_t by t: two terms."),
                ((1 - c) * x0 + c * x1, "the target is x_t itself; it should be the derivative of x_t by t."),
            ],
        )
    return "The target does not contain t: along its own line every pair runs at constant speed."


@exercise(
    "13.2",
    title="errata museum: a beginner's loss",
    stars=1,
    kind="find-and-fix",
    hints=[
        "One variable is computed and never used.",
        "What would the best network answer if it were shown x1 and never x_t? (13.14)",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    def net(x: Tensor, t: Tensor) -> Tensor:
        return torch.sin(2 * x) + t[:, None] * x

    for B in (5, 3):
        x0, x1 = normal(2, B, 3, rng=rng)
        t = _times(B, rng)
        c = t[:, None]
        x_t = (1 - c) * x0 + c * x1

        def loss(x: Tensor, target: Tensor, t: Tensor = t) -> Tensor:
            return (net(x, t) - target).square().mean(1)

        got = answer(net, x0, x1, t)
        if same(got, loss(x1, x1 - x0)):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (loss(x0, x1 - x0), "now the network is shown x0. It knows neither end when it samples: show it x_t."),
            (loss(x_t, x0 - x1), "the input is mended, but the target has been turned: it was right."),
            (loss(c * x0 + (1 - c) * x1, x1 - x0), "x_t was right as it stood: data at t = 0. You turned its clock."),
            (loss(x_t, x1), "the input is mended, but the target is x1 - x0, the velocity, not x1."),
            (loss(x_t, x1 - x0, 1 - t), "the network is told 1 - t. It should be told the time of the point it sees."),
            (3 * loss(x_t, x1 - x0), "the sum over the axes; asked for is their mean."),
        ]
        expect_close(got, loss(x_t, x1 - x0), what="the loss", mistakes=mistakes)
    return "The same loss curve, nearly. Only its lowest level tells: the slip stops at the variance of the data."


@exercise(
    "13.3",
    title="errata museum: a foreign clock",
    stars=2,
    kind="find-and-fix",
    hints=[
        "At our t = 1 there is noise. At which r has the paper noise?",
        "At r = 0 theirs points to the data. Your step s - t is negative: which way does the point go?",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, steps in ((5, 3), (4, 6)):
        x = normal(B, 3, rng=rng)
        A, b = 0.5 * normal(3, 3, rng=rng), normal(3, rng=rng)
        inner = 0.05 + 0.9 * torch.rand(steps - 1, generator=rng, dtype=DOUBLE)
        ends = torch.tensor([0.0, 1.0], dtype=DOUBLE, device="cpu")
        times = torch.cat([ends, inner]).sort(descending=True).values

        def theirs(y: Tensor, r: Tensor, A: Tensor = A, b: Tensor = b) -> Tensor:
            return y @ A + r**2 * b - 0.3 * y * r

        def run(sign: float, clock: Callable[[Tensor, Tensor], Tensor], x: Tensor = x, times: Tensor = times) -> Tensor:
            for t, s in pairwise(times):
                x = x + sign * (s - t) * theirs(x, clock(t, s))
            return x

        got = answer(theirs, x, times)
        if same(got, run(1, lambda t, s: t)):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (
                run(1, lambda t, s: 1 - t),
                "one of two: the clock is right now, but the point still runs away from the data.",
            ),
            (run(-1, lambda t, s: t), "one of two: the sign is right now, but theirs is asked at our time, not at r."),
            (
                run(-1, lambda t, s: 1 - s),
                "sign and clock are right, but Euler asks at the step's beginning: r = 1 - t, not 1 - s.",
            ),
            (run(1, lambda t, s: 1 - s), "the clock is read at the step's end, and the sign is still wrong."),
        ]
        expect_close(got, run(-1, lambda t, s: 1 - t), what="the point", mistakes=mistakes)
    return "u(x, t) = -theirs(x, 1 - t): (13.15). Neither slip raises an error, so test with one known flow."


@exercise(
    "13.4",
    title="the oracle, on any path",
    stars=2,
    hints=[
        "The posterior over pairs is a softmax of -|x - alpha x0_i - sigma x1_i|^2 / (2 h^2).",
        "j does not change with t, so along tube i the velocity is alpha_dot x0_i + sigma_dot x1_i.",
        "lines = alpha * x0 + sigma * x1; torch.cdist(x, lines) ** 2 has shape (B, N); softmax over N.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, N in ((5, 4), (4, 4)):
        x, x0, x1 = normal(B, 2, rng=rng), normal(N, 2, rng=rng), normal(N, 2, rng=rng)
        alpha, sigma, h = (0.4 + 0.4 * torch.rand(3, generator=rng, dtype=DOUBLE)).tolist()
        alpha_dot, sigma_dot = -1.3 + 0.2 * alpha, 0.8 + 0.3 * sigma
        lines, speeds = alpha * x0 + sigma * x1, alpha_dot * x0 + sigma_dot * x1
        square = (x[:, None] - lines).square().sum(2)
        weight = torch.softmax(-square / (2 * h**2), dim=1)
        right = weight @ speeds
        mistakes: list[tuple[Any, str]] = [
            (weight @ (x1 - x0), "that is the velocity on the straight path; here it is alpha_dot x0 + sigma_dot x1."),
            (torch.softmax(-square / h**2, dim=1) @ speeds, "the exponent lacks its 1/2: the variance is h^2."),
            (torch.softmax(-square / (2 * h), dim=1) @ speeds, "the exponent is divided by 2h; by the variance: 2h^2."),
            (torch.softmax(-square.sqrt() / (2 * h**2), dim=1) @ speeds, "the distance has to be squared."),
            (
                torch.softmax(-square / (2 * ((alpha + sigma) * h) ** 2), dim=1) @ speeds,
                "(alpha + sigma) h is the width when both ends are shifted; here x_t itself is shifted, by width h.",
            ),
            (
                torch.softmax(square / (2 * h**2), dim=1) @ speeds,
                "the far tubes weigh most: the exponent needs a minus.",
            ),
            (
                torch.exp(-square / (2 * h**2)) @ speeds,
                "the weights do not add up to 1: divide by their sum (a softmax does).",
            ),
            (speeds.mean(0).expand(B, 2), "all pairs weigh the same, wherever x is."),
            (weight @ lines, "that is the mean position of the lines; asked for is the mean velocity."),
        ]
        if B == N:
            across = torch.softmax(-square / (2 * h**2), dim=0)
            mistakes.append((across @ speeds, "the softmax runs over the points x; it has to run over the pairs."))
        got = answer(x, x0, x1, alpha, sigma, alpha_dot, sigma_dot, h)
        expect_close(got, right, what="the velocity", mistakes=mistakes)
    return "For small h each point follows one pair to its end: the flow of a model that has learnt its pairs by heart."


@exercise(
    "13.5",
    title="errata museum: the last constant",
    stars=2,
    kind="find-and-fix",
    hints=[
        "First the noise: solve x_t and u for eps. Put in x_t and u to check that eps = x_t + (1 - t) u still holds.",
        "The score is -eps / sigma. What is sigma at t = 0?",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        x0, eps = normal(2, B, 3, rng=rng)
        flat = _times(B, rng)
        flat[0] = 0.0
        low = float(0.1 + 0.2 * torch.rand((), generator=rng))
        t = expand(flat, x0)
        sigma = low + (1 - low) * t
        x_t, u = (1 - t) * x0 + sigma * eps, (1 - low) * eps - x0
        got = answer(u, x_t, flat, low)
        if same(got, -(x_t + (1 - t) * u) / t):  # infinite in the first row
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (
                -(x_t + (1 - t) * u) / (t + low),
                "t + sigma_min is right at t = 0 and wrong everywhere else: at t = 1 sigma is 1, not 1 + sigma_min.",
            ),
            (
                -(x_t + (1 - t) * u) / t.clamp(min=low),
                "a clamp makes it finite, and wrong: sigma is sigma_min + (1 - sigma_min) t.",
            ),
            (
                -(x_t + (1 - t) * u) / t.clamp(min=1e-5),
                "a small clamp makes it finite, and thousands of times too large: sigma(0) is sigma_min.",
            ),
            (
                torch.where(t == 0, -(x_t + u) / low, -(x_t + (1 - t) * u) / t),
                "right at t = 0 and nowhere else: sigma is sigma_min + (1 - sigma_min) t at every t.",
            ),
            (-(x_t + (1 - t) * u) / sigma**2, "one sigma too many: the noise is divided by sigma once."),
            (-(x_t + (1 - t) * u), "that is minus the noise; the score is that over sigma."),
            ((x_t + (1 - t) * u) / sigma, "sigma is mended, but the score is minus the noise over sigma."),
            (
                -(x_t + (1 - sigma) * u) / sigma,
                "sigma is right in the denominator, but alpha is 1 - t, not 1 - sigma.",
            ),
        ]
        if B == 3:
            rows = low + (1 - low) * flat
            wrong = -(x_t + (1 - flat) * u) / rows
            mistakes.append((wrong, "t of shape (B,) meets the last axis; it belongs to the first."))
        expect_close(got, -eps / sigma, what="the score", mistakes=mistakes)
    return "At t = 0 the score is that of the data blurred by sigma_min: finite, and the first thing to test."


@exercise(
    "13.6",
    title="three flows on a line",
    stars=1,
    kind="prediction",
    hints=[
        "Can two paths of an ODE on a line change their order?",
        "How many increasing maps carry one distribution without gaps into another? See (13.27).",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "same map",
        {
            "C cheaper": "A is already optimal on a line: an increasing map. There is nothing left to gain.",
            "A cheaper": "B carries the same distribution into the same, and cannot change the order either.",
            "all differ": "each is an increasing map between the same two distributions, and there is only one.",
        },
    )
    return "Quantile to quantile, each time. What differs is the way: only C is straight, so only C needs one step."


@exercise(
    "13.7",
    title="what cannot be learnt",
    stars=3,
    hints=[
        "Var[a | b] = (Var a Var b - Cov^2) / Var b, and the numerator is a determinant.",
        "(x_t, dx_t/dt) is a linear map of (x0, x1) with determinant 1, so the numerator is s^2 r^2 (1 - rho^2).",
        "With q = t / (1 - t) the integral is that of 1 / (s^2 + 2 rho r s q + r^2 q^2) from 0 to infinity: an arctan.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (6, 3):
        s, r = 0.3 + 1.2 * torch.rand(2, B, generator=rng, dtype=DOUBLE)
        rho = 1.6 * torch.rand(B, generator=rng, dtype=DOUBLE) - 0.8
        rest = (1 - rho**2).sqrt()
        # by quadrature, so that the check rests on no formula of its own
        nodes, weights = _legendre(60)
        t = nodes[:, None]
        spread = (1 - t) ** 2 * s**2 + 2 * t * (1 - t) * rho * r * s + t**2 * r**2
        right = (weights[:, None] * (s * r * rest) ** 2 / spread).sum(0)
        arc = torch.arccos(rho)
        mistakes: list[tuple[Any, str]] = [
            (math.pi / 2 * s * r, "that holds for rho = 0 only: dependent pairs leave less to guess."),
            (math.pi / 2 * s * rest, "r does not occur: for rho = 0 exchange the two ends, and V must stay the same."),
            (math.pi / 2 * s * r * rest, "the integral depends on rho as well: an arccos, which is pi / 2 at rho = 0."),
            (s * r * arc, "the factor sqrt(1 - rho^2) is missing: at rho = 1 there is nothing left to guess."),
            (s * r * rest**2 * arc, "one root too many: (1 - rho^2) over sqrt(1 - rho^2) leaves the square root."),
            (
                s * r * rest * torch.arccos(-rho),
                "the sign of rho: pairs that agree (rho near 1) leave nothing, with an arc near 0.",
            ),
            (s * r * rest * torch.arcsin(rho), "pi / 2 - arcsin(rho) is wanted, which is arccos(rho)."),
            (
                (s * r * rest) ** 2 * 4 / (s**2 + r**2 + 2 * rho * r * s),
                "that is the variance at t = 1/2, not the mean.",
            ),
            (2 * s * r * (1 - rho), "that is the whole gain of a reflow, V + S; asked for is V alone."),
        ]
        got = answer(s, r, rho)
        expect_close(got, right, what="V", rtol=1e-6, mistakes=mistakes)
    return (
        "At rho = 1 no line crosses. At rho = -1 all cross in one point at one instant: V is 0 as well, "
        "and the flow is no longer unique there."
    )


def _legendre(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss's quadrature on (0, 1), by the eigenvalues of a Jacobi matrix."""
    k = torch.arange(1, n, dtype=DOUBLE, device="cpu")
    side = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return (values + 1) / 2, vectors[0] ** 2


@exercise(
    "13.8",
    title="optimal pairs on a line",
    stars=2,
    hints=[
        "The smallest x0 belongs to the smallest x1, the second to the second, and so on.",
        "argsort of argsort gives each entry its rank.",
        "x1.argsort()[k] is where the (k+1)-th smallest x1 stands; k is to be the rank of x0, row by row.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (9, 12):
        x0, x1 = normal(2, B, rng=rng)
        order0, order1 = x0.argsort(), x1.argsort()
        rank0, rank1 = order0.argsort(), order1.argsort()
        right = order1[rank0]
        mistakes: list[tuple[Any, str]] = [
            (order1, "x1[indices] comes out sorted, but the rows of x0 are not: go to the rank of each x0."),
            (
                order1[order0],
                "argsort of x0 says where the k-th smallest stands; needed is the rank of each: argsort twice.",
            ),
            (rank1[rank0], "the rank of x1 in place of where it stands: argsort of x1 once."),
            (rank0, "that is the rank of x0; x1 has not been looked at."),
            (order0[rank1], "those are the partners in x0 of the rows of x1: the other way round."),
            (order1.flip(0)[rank0], "smallest to largest: that is the dearest way, not the cheapest."),
        ]
        got = answer(x0, x1)
        expect_close(got, right, what="the indices", mistakes=mistakes)
    return "n log n in place of n^3, and the same map that every flow on a line finds (13.27)."


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves("13.1", x=line(0, 1), xlabel="$t$", panels=("$x_t$", "target"), lines=("from 1 to -1", "from 0 to 2"))
def _(answer: Any) -> list[Tensor]:
    one = torch.ones(81, 1, dtype=DOUBLE, device="cpu")
    results = [answer(a * one, b * one, line(0, 1)) for a, b in ((1, -1), (0, 2))]
    return [torch.stack([part[:, 0] for part in parts]) for parts in zip(*results, strict=True)]


@target_curves("13.2", x=line(0, 1), xlabel="$t$", panels=("loss of the pair",), lines=("answer 0", "answer $x_t$"))
def _(answer: Any) -> list[Tensor]:
    one, t = torch.ones(81, 1, dtype=DOUBLE, device="cpu"), line(0, 1)
    return [answer(net, one, -0.5 * one, t) for net in (lambda x, t: 0 * x, lambda x, t: x)]


@target_points("13.3", title="40 steps of a foreign flow, to six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    exact = ring().denoiser(RectifiedFlow())

    def theirs(x: Tensor, r: Tensor) -> Tensor:
        return -velocity(exact, x, 1 - r)

    return torch.as_tensor(answer(theirs, cloud(), torch.linspace(1, 0.01, 41, device="cpu")))


@target_curves("13.4", x=line(-2, 2), xlabel="$x$", panels=("velocity",), lines=("$t = 0.3$", "$t = 0.7$"))
def _(answer: Any) -> list[Tensor]:
    x0, x1 = (torch.tensor(v, dtype=DOUBLE, device="cpu")[:, None] for v in ([-1.0, 1.0, 1.2], [0.5, -0.8, 1.5]))
    return [answer(line(-2, 2)[:, None], x0, x1, 1 - t, t, -1.0, 1.0, 0.3)[:, 0] for t in (0.3, 0.7)]


@target_curves("13.5", x=line(0, 1), xlabel="$t$", panels=("score",), lines=("$u = 1$", "$u = -1$"))
def _(answer: Any) -> list[Tensor]:
    one = torch.ones(81, 1, dtype=DOUBLE, device="cpu")
    return [answer(u * one, 0.5 * one, line(0, 1), 0.1)[:, 0] for u in (1, -1)]


@target_curves("13.7", x=line(-0.999, 0.999), xlabel=r"correlation $\rho$", panels=("not learnable",))
def _(answer: Any) -> Tensor:
    one = torch.ones(81, dtype=DOUBLE, device="cpu")
    return torch.as_tensor(answer(0.6 * one, one, line(-0.999, 0.999)))


@target_points("13.8", title="who goes with whom, 60 points", limit=3.0, labels=("$x_0$", "$x_1$"))
def _(answer: Any) -> Tensor:
    x0, x1 = torch.randn(2, 60, generator=seeded(0, "cpu"), dtype=DOUBLE, device="cpu")
    return torch.stack([x0, x1[answer(x0, x1)]], dim=1)
