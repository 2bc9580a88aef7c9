"""Checks of chapter 2: Langevin dynamics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.exercises import NotAttempted, Wrong, exercise, expect_choice, expect_close, expect_number
from diffedu.exercises._inputs import cloud, line, ring, same
from diffedu.exercises._targets import target_curves, target_points


def _number(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64, device="cpu").item()


def _randn(*shape: int, rng: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64, device="cpu")


def _rand(*shape: int, rng: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=rng, dtype=torch.float64, device="cpu")


@exercise(
    "2.1",
    title="one step",
    stars=1,
    hints=[
        "(2.9): the drift is h times mobility times score. What is the variance of the noise?",
        "The noise is multiplied by sqrt(2 h mobility temperature): mobility and temperature stand under the root.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    h, T = _number(0.05, 0.4, rng), _number(1.5, 3.0, rng)
    for B, D in ((5, 3), (3, 3)):  # the second with B = D, where a wrong broadcast runs
        x, score, noise = _randn(3, B, D, rng=rng)
        M = 0.3 + 2 * _rand(D, rng=rng)
        drift, size = h * M * score, (2 * h * M * T).sqrt()
        mistakes: list[tuple[Any, str]] = [
            (x + drift + (h * M * T).sqrt() * noise, "the noise lacks its 2: with that drift its variance is 2 h M T."),
            (x - drift + size * noise, "the walker goes downhill; the score points up the log-density, so add it."),
            (
                x + h * score + (2 * h * T) ** 0.5 * noise,
                "the mobility is missing; it belongs into the drift and under the root of the noise.",
            ),
            (
                x + drift + (2 * h * T) ** 0.5 * noise,
                "the noise lacks the mobility: then the temperature is another one in each coordinate.",
            ),
            (
                x + drift + M * (2 * h * T) ** 0.5 * noise,
                "the noise is multiplied by the mobility; its variance is, so the mobility goes under the root.",
            ),
            (
                x + drift + T * (2 * h * M).sqrt() * noise,
                "the noise is multiplied by the temperature; its variance is, so the temperature goes under the root.",
            ),
            (x + drift + (2 * h * M).sqrt() * noise, "the noise lacks the temperature."),
            (x + drift + 2 * h * M * T * noise, "the noise is multiplied by its variance; take the root."),
            (
                x + drift + h * (2 * M * T).sqrt() * noise,
                "the step stands outside the root: noise gathers variance in proportion to time, so h is under it.",
            ),
            (
                x + h * score + size * noise,
                "the drift lacks the mobility: then the temperature is another one in each coordinate.",
            ),
            (
                x + drift * T + size * noise,
                "the temperature belongs into the noise alone; with it in the drift as well it falls out.",
            ),
            (
                x + drift / 2 + (h * M * T).sqrt() * noise,
                "a right sampler with half the step: in (2.9) the drift is h times the mobility, without a half.",
            ),
            (
                x + drift + (2 * h * M / T).sqrt() * noise,
                "the temperature divides: hotter must mean more noise.",
            ),
            (
                x + h * M.mean() * score + (2 * h * M.mean() * T).sqrt() * noise,
                "one mobility for all: each coordinate has its own.",
            ),
        ]
        if B == D:
            c = M[:, None]
            mistakes.append(
                (
                    x + h * c * score + (2 * h * c * T).sqrt() * noise,
                    "the mobilities meet the points and not the coordinates: (D,) belongs to the last axis.",
                )
            )
        expect_close(
            answer(x, score, h, T, M, noise), x + drift + size * noise, what="the new point", mistakes=mistakes
        )
    return "With every mobility equal it is a mere step size; with unequal ones it is a preconditioner."


@exercise(
    "2.2",
    title="predict, then run",
    stars=1,
    kind="prediction",
    hints=[
        "Ask two things of each run. Is its own equilibrium right? And if not: can walkers change sides in 400 steps?",
        "In B hardly anybody crosses a saddle, (2.23). MALA's equilibrium is p at every step size, and the walkers "
        "are in it from the start.",
        "In C a = h / s^2 is 1.2 in the narrow modes and about 0.4 in the wide one. From which are walkers thrown out?",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "B and MALA",
        {
            "B": "B keeps them, since hardly anybody changes sides. But MALA has p for its equilibrium at any step.",
            "MALA": "MALA keeps them, since p is its equilibrium. But B too: hardly anybody changes sides.",
            "B and C": "C's walkers do change sides: what is its equilibrium? And what is MALA's?",
            "all": "C's equilibrium is not p, and with such steps walkers do change sides: they go where C sends them.",
        },
    )
    return (
        "B keeps what it was given, MALA what is right. C loses its shares though it starts with the right ones: steps "
        "of a = 1.2 throw walkers out of the narrow modes, and the wide one keeps them. A large step is a wrong law, "
        "not a slow one."
    )


@exercise(
    "2.3",
    title="how small a step?",
    stars=1,
    kind="numeric",
    hints=[
        "(2.12) at T = 1: set v_h / s_0^2 to 1.05.",
        "1 / (1 - a/2) = 1.05 gives a; the step is a times the variance, and the variance is 0.16.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    a, std = 2 * (1 - 1 / 1.05), 0.4
    expect_number(
        answer,
        a * std**2,
        rtol=0.006,
        mistakes=[
            (a, "that is a = h / s_0^2; the step is a times the variance of the data."),
            (a * std, "you multiplied a by the standard deviation; it is counted in variances."),
            (a * std**2 / 2, "twice too small: in (2.12) stands a/2, so the allowed a is twice what it seems."),
            (
                a * std / 2,
                "two slips: in (2.12) stands a/2, so a is twice that; and a is counted in variances.",
            ),
            (
                2 * (1 - 1 / 1.05**2) * std**2,
                "here the standard deviation is 5 % too large; the variance was asked for.",
            ),
            (0.05 * 2 * std**2, "a first-order answer, close but not there: solve (2.12) itself."),
            (2 * (1 / 0.95 - 1) * std**2, "1 - a/2 was set to 1/0.95; ULA is too wide, so 1/(1 - a/2) is 1.05."),
            (0.05 * std**2, "that is 5 % of the variance: what does (2.12) give for this step?"),
            (0.05, "that is the excess itself; solve (2.12) for the step that causes it."),
        ],
    )
    return "A twentieth too wide costs steps: forgetting the start takes about s_0^2 / h = 10 of them per factor of e."


@exercise(
    "2.4",
    title="errata museum: two conventions in one line",
    stars=2,
    kind="find-and-fix",
    hints=[
        "With drift c = alpha/2, (2.10) gives the size of the noise: b^2 = 2 c T.",
        "b^2 = alpha T. Both mistakes are in the factor before the noise.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    alpha, T = _number(0.05, 0.4, rng), _number(1.5, 3.0, rng)
    x, score, noise = _randn(3, 5, 2, rng=rng)
    climbed = x + alpha / 2 * score
    got = answer(x, score, alpha, T, noise)
    if same(got, climbed + T * math.sqrt(2 * alpha) * noise):
        raise NotAttempted
    expect_close(
        got,
        climbed + math.sqrt(alpha * T) * noise,
        what="the new point",
        mistakes=[
            (
                climbed + T * math.sqrt(alpha) * noise,
                "one of two: the 2 is gone, but a temperature multiplies the variance, not the noise.",
            ),
            (
                climbed + math.sqrt(2 * alpha * T) * noise,
                "one of two: the temperature is under the root, but with drift alpha/2 this noise is twice too hot.",
            ),
            (
                x + alpha * score + math.sqrt(2 * alpha * T) * noise,
                "a right sampler with another step: the drift was meant to stay alpha/2.",
            ),
            (
                climbed + math.sqrt(alpha / 2 * T) * noise,
                "now the noise has half of its variance: by (2.10) that is half of the temperature.",
            ),
            (climbed + math.sqrt(alpha) * noise, "right at temperature 1; the temperature has got lost."),
            (
                climbed + math.sqrt(2 * alpha) * noise,
                "one of two, and the temperature has got lost: with drift alpha/2 this is the noise of temperature 2.",
            ),
            (climbed + math.sqrt(alpha / T) * noise, "the temperature divides: hotter must mean more noise."),
            (
                climbed + alpha * math.sqrt(T) * noise,
                "alpha stands outside the root: it is the variance of the noise that is proportional to it.",
            ),
            (climbed + alpha * T * noise, "the noise is multiplied by its variance; take the root."),
            (
                x + alpha / (2 * T) * score + math.sqrt(alpha) * noise,
                "the equilibrium is right, but the drift was meant to stay alpha/2: let the noise do it.",
            ),
        ],
    )
    return (
        "As it stood, it sampled at the temperature 2 T^2: right only for T = 1/2, so a test at T = 1 would catch it."
    )


@exercise(
    "2.5",
    title="the wrong covariance",
    stars=2,
    kind="derivation",
    hints=[
        "On an axis of the covariance with variance s^2, (2.12) gives T s^2 / (1 - h / (2 s^2)).",
        "Write it without axes: T times the inverse of (P - h/2 P P), where P is the inverse of the covariance.",
        "Or with eigenvalues: values, axes = torch.linalg.eigh(covariance).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for D in (2, 3):
        axes = torch.linalg.qr(_randn(D, D, rng=rng)).Q
        values = 0.4 + 1.5 * _rand(D, rng=rng)
        h, T = _number(0.1, 0.5, rng), _number(1.5, 3.0, rng)

        def build(v: Tensor, axes: Tensor = axes) -> Tensor:
            return axes @ torch.diag(v) @ axes.T

        S, P, eye = build(values), build(1 / values), torch.eye(D, dtype=torch.float64, device="cpu")
        A, right, exact = eye - h * P, build(T * values / (1 - h / (2 * values))), T * S
        for _ in range(400):  # the chain itself: no formula needed
            exact = A @ exact @ A.T + 2 * h * T * eye
        if not torch.allclose(right, exact, rtol=1e-6):
            raise RuntimeError("the reference of exercise 2.5 disagrees with the chain")
        expect_close(
            answer(S, h, T),
            right,
            what="the covariance",
            rtol=1e-6,
            mistakes=[
                (T * S, "that is the covariance of p^(1/T): the equilibrium of the equation, not of its steps."),
                (build(values / (1 - h / (2 * values))), "the temperature is missing: it multiplies everything."),
                (build(T * values / (1 - h / values)), "the step enters by half: 1 - h / (2 s^2) on each axis."),
                (build(T * values * (1 - h / (2 * values))), "you made it narrower; ULA is too wide: divide."),
                (build(T * (values + h / 2)), "the first order in h is right; the exact answer is a quotient."),
                (build(T * values / (1 + h / (2 * values))), "you made it narrower; ULA is too wide: the sign."),
                (build(T * values / (1 - h / (4 * values))), "a quarter of the step; (2.12) has half of it."),
                (
                    build(T * values / (1 - h / (2 * T * values))),
                    "the temperature does not enter the relative error: the score, and so a, is that of p.",
                ),
                (A @ S @ A.T + 2 * h * T * eye, "that is the covariance after one step; the settled one is wanted."),
                (build(T * (1 / values - h / (2 * values**2))), "that is a precision matrix, up to T: invert it."),
                (S * T / (1 - h / (2 * S)), "the formula was applied entry by entry; it holds along the axes of S."),
                (
                    S * T / (1 - h * D / (2 * S.trace())),
                    "one factor for all directions: each axis has its own variance.",
                ),
            ],
        )
    return "The narrowest axis suffers most, so ULA makes data rounder than it is."


def _proposal_terms(x: Tensor, y: Tensor, sx: Tensor, sy: Tensor, h: float, T: float) -> tuple[Tensor, Tensor]:
    """-log k(y|x) and -log k(x|y), without the constant that they share."""
    there = (y - x - h * sx).square().sum(1) / (4 * h * T)
    return there, (x - y - h * sy).square().sum(1) / (4 * h * T)


@exercise(
    "2.6",
    title="the referee's ratio",
    stars=2,
    hints=[
        "log r has four terms: two of p^(1/T) and two of the proposal.",
        "The proposal from x is a Gaussian around x + h score_x of variance 2 h T: its log-density is "
        "-|y - x - h score_x|^2 / (4 h T) and a constant that cancels.",
        "log r = (log_p_y - log_p_x) / T + log k(x|y) - log k(y|x).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    h, T = _number(0.1, 0.6, rng), _number(1.5, 3.0, rng)
    for B, D in ((6, 2), (3, 3)):
        x, y, sx, sy = _randn(4, B, D, rng=rng)
        px, py = _randn(2, B, rng=rng)
        there, back = _proposal_terms(x, y, sx, sy, h, T)
        climb = (py - px) / T
        expect_close(
            answer(x, y, px, py, sx, sy, h, T),
            climb + there - back,
            what="log r",
            mistakes=[
                (climb, "the proposal is not symmetric: k(x|y) / k(y|x) is missing."),
                (
                    climb - there + back,
                    "the proposal's two terms have each other's place: in r the way back is on top.",
                ),
                (-climb - there + back, "the whole ratio is upside down."),
                (py - px + there - back, "the target is p^(1/T): divide the difference of log p by the temperature."),
                (
                    climb + 2 * (there - back),
                    "a Gaussian of variance v has exponent d^2 / (2 v); with v = 2 h T that is d^2 / (4 h T).",
                ),
                (
                    climb + T * (there - back),
                    "the proposal's variance is 2 h T: its temperature is missing.",
                ),
                (
                    (climb + there - back).exp(),
                    "that is r; its logarithm was asked for.",
                ),
                (
                    (climb + there - back).clamp(max=0),
                    "that is the logarithm of min(1, r); r itself was asked for.",
                ),
                (-climb + there - back, "the ratio of densities is upside down: the proposal's is on top."),
                (T * (py - px) + there - back, "the target is p^(1/T): divide by the temperature, don't multiply."),
                (py - px + T * (there - back), "right at temperature 1; target and proposal both know T."),
                (
                    climb + (there - back) / T,
                    "the proposal's variance is 2 h T, with one T; yours has two.",
                ),
                (
                    climb + 0.5 * (there - back),
                    "the proposal's terms are half of what they should be: squares summed over the coordinates, over "
                    "4 h T.",
                ),
                (climb - there - back, "both proposal terms have one sign; r is a quotient, so one is subtracted."),
                (
                    climb + there - (x - y + h * sy).square().sum(1) / (4 * h * T),
                    "the way back starts at y and climbs too: its centre is y + h score_y.",
                ),
                (
                    climb
                    + (y - x - h / T * sx).square().sum(1) / (4 * h * T)
                    - (x - y - h / T * sy).square().sum(1) / (4 * h * T),
                    "the proposal's drift is h score: in (2.9) the temperature stands in the noise alone.",
                ),
                (
                    lambda x=x, y=y, sx=sx, h=h, T=T, climb=climb, there=there: (
                        climb + there - (x - y - h * sx).square().sum(1) / (4 * h * T)
                    ),
                    "the way back starts at y, so it uses the score at y.",
                ),
            ],
        )
    return "Constant factors of p cancel, so an unnormalised density will do; a score alone will not."


@exercise(
    "2.7",
    title="errata museum: a referee who favours one side",
    stars=2,
    kind="find-and-fix",
    hints=[
        "There is a test for such code: p(x) k(y|x) A(y|x) must be symmetric in x and y, (2.17).",
        "The noise has variance 2h. What is the exponent of a Gaussian of that variance? And which of the two "
        "densities of the proposal stands on top in (2.18)?",
        "The names hold squares, so minus log-densities: log r contains + there - back.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    B, h = 400, _number(0.5, 0.9, rng)
    slant = 0.3 + _number(0.0, 0.5, rng)

    def log_prob(x: Tensor) -> Tensor:  # not a Gaussian, so that no two mistakes cancel
        return -x.pow(4).sum(1) / 4 + slant * x[:, 0] * x[:, 1]

    def score(x: Tensor) -> Tensor:
        return -x.pow(3) + slant * x.flip(1)

    x, noise = _randn(2, B, 2, rng=rng)
    uniform = _rand(B, rng=rng)
    y = x + h * score(x) + math.sqrt(2 * h) * noise
    there, back = _proposal_terms(x, y, score(x), score(y), h, 1.0)
    climb = log_prob(y) - log_prob(x)

    def moved(log_r: Tensor) -> Tensor:
        return torch.where((uniform.log() < log_r)[:, None], y, x)

    got = answer(log_prob, score, x, h, noise, uniform)
    if same(got, moved(climb + 2 * (back - there))):
        raise NotAttempted
    expect_close(
        got,
        moved(climb + there - back),
        what="the state after the step",
        mistakes=[
            (moved(climb + 2 * (there - back)), "one of two: the sides are right now, but look at the exponents."),
            (moved(climb + back - there), "one of two: the exponents are right now, but the sides are not."),
            (moved(climb), "now the proposal is left out of the ratio; it is not symmetric."),
            (moved(-climb + there - back), "the densities of the target were right as they stood."),
            (moved(-climb + back - there), "now the whole ratio is upside down; only the proposal's sides were."),
            (
                moved(climb + there - (x - y - h * score(x)).square().sum(1) / (4 * h)),
                "the way back starts at y, so it uses the score there: that line was right.",
            ),
            (moved(climb + there), "the way back is missing from the ratio."),
            (
                torch.where((uniform < climb + there - back)[:, None], y, x),
                "log r is compared with a uniform number; compare logarithm with logarithm.",
            ),
            (
                torch.where((uniform.log() < climb + there - back)[:, None], x, y),
                "the walkers that should stay move, and the others stay.",
            ),
            (
                moved(climb + 0.5 * (there - back)),
                "the sides are right, the exponents are not: a Gaussian of variance 2h has the exponent d^2 / (4 h).",
            ),
            (y, "every proposal is accepted: that is ULA."),
        ],
    )
    return "Both mistakes leave a sampler that looks healthy. Detailed balance at random pairs of points finds them."


@exercise(
    "2.8",
    title="shares under heat",
    stars=2,
    hints=[
        "(2.24): log of the share is log(w) / T + D (1 - 1/T) log(s), up to a constant.",
        "torch.softmax takes logarithms and normalises without overflow.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for D in (1, 3, 2000):
        K, T = 4, _number(1.5, 4.0, rng)
        w = _rand(K, rng=rng) + 0.2
        w = w / w.sum()
        spread = 0.5 if D < 10 else 0.002
        s = 0.5 * torch.exp(spread * _randn(K, rng=rng))
        low, power = w.log() / T, D * (1 - 1 / T)
        got = answer(w, s, D, T)
        if D > 10 and isinstance(got, Tensor) and not got.isfinite().all():
            raise Wrong("in 2000 dimensions your shares are not finite: add logarithms, and take the softmax.")
        expect_close(
            got,
            torch.softmax(low + power * s.log(), dim=0),
            what="the list of shares",
            mistakes=[
                (
                    torch.softmax(low, dim=0),
                    "the weights are heated, the widths forgotten: a wide mode loses less height, and gains.",
                ),
                (w, "the weights stay what they are only under noise, (2.25)."),
                (torch.softmax(w.log() + power * s.log(), dim=0), "the weights have the power 1/T as well."),
                (torch.softmax(low - power * s.log(), dim=0), "the wide modes gain; yours lose."),
                (torch.softmax(low + (1 - 1 / T) * s.log(), dim=0), "the dimension is missing in the exponent."),
                (
                    torch.softmax(low + D / T * s.log(), dim=0),
                    "the exponent of s is D (1 - 1/T): a density has s^-D before it, too.",
                ),
                ((low + power * s.log()).exp(), "not normalised: shares add up to 1."),
                (
                    torch.log_softmax(low + power * s.log(), dim=0),
                    "these are logarithms of the shares; the shares were asked for.",
                ),
                (
                    torch.softmax(low + 2 * power * s.log(), dim=0),
                    "the exponent belongs to the standard deviation; you used it on the variance, or twice.",
                ),
                (
                    torch.softmax(low + power / 2 * s.log(), dim=0),
                    "half of the exponent: a Gaussian in D dimensions has a volume of s^D, not s^(D/2).",
                ),
                (
                    torch.softmax(low + D * s.log(), dim=0),
                    "that is the width's gain alone; before the heat each density has s^-D, and so s^(-D/T) heated.",
                ),
                (
                    torch.softmax(low + D * (T - 1) * s.log(), dim=0),
                    "the exponent of s is D (1 - 1/T), not D (T - 1).",
                ),
                (
                    torch.softmax(T * w.log() + power * s.log(), dim=0),
                    "the weights have the power 1/T, not T: heat evens them out.",
                ),
                (
                    torch.softmax(w / T + power * s.log(), dim=0),
                    "the softmax wants the logarithm of the weights, not the weights.",
                ),
            ],
        )
    return "In an image's thousands of dimensions the widest mode takes everything as soon as T is a little above 1."


@exercise(
    "2.9",
    title="a mobility that depends on the place",
    stars=3,
    hints=[
        "Repeat the integration by parts above (2.7) with sum_i M_i T d^2 phi / dx_i^2.",
        "Coordinate i gets T times the derivative of M_i by its own coordinate x_i, and nothing else.",
        "For each i: torch.autograd.grad(M[:, i].sum(), x, create_graph=...)[0][:, i], with x.requires_grad_().",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, D in ((5, 2), (3, 3)):
        mix = 0.7 * _randn(D, D, rng=rng)
        T = _number(1.5, 3.0, rng)

        def mobility(x: Tensor, mix: Tensor = mix) -> Tensor:
            return 1.5 + torch.sin(x @ mix.T)

        x, score = _randn(2, B, D, rng=rng)
        wave = torch.cos(x @ mix.T)
        own = wave * mix.diagonal()
        plain = mobility(x) * score
        expect_close(
            answer(x, score, mobility, T),
            plain + T * own,
            what="the drift",
            mistakes=[
                (plain, "the extra drift is missing: this walk settles where it is slow, (2.8)."),
                (plain + own, "the extra drift lacks the temperature."),
                (plain - T * own, "the extra drift has the wrong sign: it points to where the mobility grows."),
                (
                    plain + T * wave @ mix,
                    "you differentiated the sum of all mobilities; only M_i by its own x_i counts.",
                ),
                (
                    plain + T * own.sum(1, keepdim=True),
                    "every coordinate got the sum over all; coordinate i gets the derivative of M_i alone.",
                ),
                (T * own, "the mobility times the score is missing."),
                (score + T * own, "the score is to be multiplied by the mobility."),
                (
                    plain + T * (wave[:, :, None] * mix).sum(2),
                    "M_i was differentiated by all coordinates and summed; only its own coordinate x_i counts.",
                ),
                (plain + T * own / mobility(x), "you differentiated log M; (2.7) has the derivative of M itself."),
                (T * (plain + own), "the temperature belongs to the extra drift alone, not to the score."),
                (plain / T + own, "the temperature stands before the extra drift; the score is not divided by it."),
                (plain + 2 * T * own, "twice the extra drift: integrate by parts once, from T M phi'', not 2 T M."),
                (plain + 0.5 * T * own, "half of the extra drift: that is Stratonovich's way of reading the noise."),
            ],
        )
    return "If M_i depends on the other coordinates only, no correction is needed: a useful special case."


# --------------------------------------------------------------------------------------- what the solutions draw


def _walk(step: Callable[[Tensor, Tensor], Tensor], *, steps: int, seed: int = 0) -> Tensor:
    """Where 150 points end that start in the middle; `step` gets them and the kicks."""
    rng = seeded(seed, "cpu")
    x = cloud()
    for _ in range(steps):
        x = step(x, torch.randn(x.shape, generator=rng, device="cpu"))
    return x


@target_points("2.1", title="500 steps on six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    score, mobility = ring().score, torch.ones(2, device="cpu")
    return _walk(lambda x, noise: answer(x, score(x), 0.003, 1.0, mobility, noise), steps=500)


@target_points("2.4", title="500 steps on six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    score = ring().score
    return _walk(lambda x, noise: answer(x, score(x), 0.006, 1.0, noise), steps=500)


@target_curves(
    "2.5", x=line(0.02, 0.3), xlabel="step $h$", panels=("variance where it settles",), lines=("wide axis", "narrow")
)
def _(answer: Any) -> Tensor:
    C = torch.tensor([[1.0, 0.0], [0.0, 0.25]], dtype=torch.float64, device="cpu")
    return torch.stack([answer(C, h, 1.0).diagonal() for h in line(0.02, 0.3).tolist()], dim=1)


@target_curves("2.6", x=line(-2, 2), xlabel="where the move goes", panels=(r"$\log r$ of a move from 0.5",))
def _(answer: Any) -> Tensor:
    y = line(-2, 2)[:, None]
    x = torch.full_like(y, 0.5)
    return torch.as_tensor(answer(x, y, -(x**2)[:, 0], -(y**2)[:, 0], -2 * x, -2 * y, 0.4, 1.0))


@target_points("2.7", title="400 steps, wide ones, on six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    mixture, rng = ring(), seeded(1, "cpu")
    return _walk(
        lambda x, noise: answer(
            mixture.log_prob, mixture.score, x, 0.01, noise, torch.rand(len(x), generator=rng, device="cpu")
        ),
        steps=400,
    )


@target_curves("2.8", x=line(0.3, 4), xlabel="temperature", panels=("share",), lines=("sharp mode", "wide mode"))
def _(answer: Any) -> Tensor:
    weights, stds = (torch.tensor(v, dtype=torch.float64, device="cpu") for v in ([0.7, 0.3], [0.3, 0.6]))
    return torch.stack([answer(weights, stds, 2, T) for T in line(0.3, 4).tolist()], dim=1)


@target_curves("2.9", x=line(-2, 2), xlabel="place", panels=("drift",))
def _(answer: Any) -> Tensor:
    x = line(-2, 2)[:, None]
    return answer(x, -x, lambda x: 1 / (1 + x**2), 1.0)[:, 0]
