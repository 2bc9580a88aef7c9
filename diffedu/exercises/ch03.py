"""Checks of chapter 3: the Fokker-Planck equation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu.evaluate.fokker_planck import FokkerPlanck, Grid, extrapolate
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
from diffedu.exercises._inputs import line, number, same
from diffedu.exercises._targets import target_curves


@exercise(
    "3.1",
    title="any spring",
    stars=1,
    hints=[
        "The distance to the rest position, x - c, obeys the equation of the chapter's spring.",
        "The mean of x - c shrinks by exp(-k t). The variance doesn't care about c: use (3.8).",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    mean, variance = number(1, 3, rng), number(0.1, 0.5, rng)
    k, c, D = number(0.5, 3, rng), number(-2, -1, rng), number(0.5, 2, rng)
    T = int(torch.randint(4, 9, (), generator=rng))
    t = 2 * torch.rand(T, generator=rng, dtype=torch.float64)
    decay, rest = torch.exp(-k * t), D / k
    got_mean, got_variance = expect_parts(answer(mean, variance, t, k, c, D), 2)
    expect_close(
        got_mean,
        c + decay * (mean - c),
        what="the mean",
        mistakes=[
            (decay * mean, "the mean tends to 0; it should tend to the rest position c."),
            (c + decay * mean, "at t = 0 the mean is not the given one: shrink the distance to c, not the mean."),
            (c + decay**2 * (mean - c), "the mean decays at the rate k; 2k belongs to the variance."),
            (c + torch.exp(-t) * (mean - c), "the decay of the mean lacks the stiffness k."),
            (c + (mean - c) / decay, "your mean runs away from c: the spring pulls back, so the distance shrinks."),
            (-c + decay * (mean + c), "your mean tends to -c; mind the sign in -k (x - c)."),
            (mean - k * t * (mean - c), "that is one long Euler step; solve the differential equation."),
            (
                rest + decay**2 * (variance - rest),
                "you return the variance where the mean belongs: the order is (mean, variance).",
            ),
        ],
    )
    expect_close(
        got_variance,
        rest + decay**2 * (variance - rest),
        what="the variance",
        mistakes=[
            (rest + decay * (variance - rest), "the variance decays at the rate 2k: a square shrinks twice as fast."),
            (
                2 * rest + decay**2 * (variance - 2 * rest),
                "at rest the variance is D/k: sqrt(2D) dW brings 2D per time, and the spring takes 2k.",
            ),
            (
                rest / 2 + decay**2 * (variance - rest / 2),
                "at rest the variance is D/k; D/(2k) is right for noise sqrt(D) dW.",
            ),
            (
                (rest + decay**2 * (variance - rest)).sqrt(),
                "you return a standard deviation; asked for is the variance.",
            ),
            (
                rest + decay**2 * variance,
                "at t = 0 the variance is not the given one: what decays is its distance to D/k.",
            ),
            (D + decay**2 * (variance - D), "at rest the variance is D/k: a stiffer spring holds the cloud tighter."),
            (
                D * k + decay**2 * (variance - D * k),
                "at rest the variance is D/k, not D k: a stiffer spring holds tighter.",
            ),
            (decay**2 * variance, "the variance shrinks to 0: the noise is lost. It brings 2D per time."),
            (variance + 2 * D * t, "that is free diffusion; the spring takes 2k times the variance per time."),
            (
                rest + torch.exp(-2 * t) * (variance - rest),
                "the decay of the variance lacks the stiffness: the rate is 2k, not 2.",
            ),
            (
                lambda: rest + decay**2 * (variance - rest) + (c + decay * (mean - c)) ** 2,
                "that is the second moment; subtract the mean's square.",
            ),
        ],
    )
    return "The forward process of a diffusion model is this spring with c = 0 and D = k: any data end at variance 1."


@exercise(
    "3.2",
    title="hot into cold",
    stars=1,
    kind="prediction",
    hints=[
        "Is the cold equilibrium narrower or wider than the hot one?",
        "What falls for certain is the free energy. Look at the left panel of section 3.8.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "falls",
        {
            "grows": "the cold equilibrium is narrower, so the cloud contracts. The cloud is not alone: "
            "it gives heat to its bath, whose entropy grows by more.",
            "stays": "the potential stays, but Boltzmann's law at half the temperature is narrower.",
        },
    )
    return (
        "It is free energy that must fall. The bath takes up the energy that the cloud loses, and its entropy "
        "grows by more than the cloud's falls."
    )


@exercise(
    "3.3",
    title="hopping rates",
    stars=2,
    hints=[
        "w = (U[1:] - U[:-1]) / kT, and D = mobility * kT.",
        "Use torch.expm1 for e^w - 1; it is exact for small w. Where |w| is tiny, B(w) is 1 - w/2.",
        "torch.where computes both branches: replace w by 1 where it is tiny before you divide.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    for n, special in ((9, False), (7, True)):
        kT, mobility, h = number(0.5, 2, rng), number(0.3, 0.8, rng), number(0.1, 0.3, rng)
        U = 3 * torch.randn(n, generator=rng, dtype=torch.float64)
        if special:  # flat places and cliffs
            U[2] = U[1]
            U[4] = U[3] + 1000 * kT
            U[6] = U[5] + 1e-12 * kT
        w = (U[1:] - U[:-1]) / kT
        near = w.abs() < 1e-8
        safe = torch.where(near, torch.ones_like(w), w)

        def b(w: Tensor, near: Tensor = near) -> Tensor:
            return torch.where(near, 1 - w / 2, w / torch.expm1(w))

        scale = mobility * kT / h**2
        right, left = scale * b(safe), scale * b(-safe)
        right, left = torch.where(near, scale, right), torch.where(near, scale, left)
        got = expect_parts(answer(U, h, mobility, kT), 2)
        for part, name in zip(got, ("the rate to the right", "the rate to the left"), strict=True):
            expect_shape(part, (n - 1,), what=name, because="one for each inner face")
        if special and not all(bool(torch.isfinite(torch.as_tensor(part)).all()) for part in got):
            raise Wrong("a rate is NaN or infinite: what becomes of w / (e^w - 1) at w = 0, and at |w| = 1000?")
        cold = (U[1:] - U[:-1]).clamp(-500, 500)
        cold = torch.where(cold.abs() < 1e-8, 1e-8, cold)
        central = scale * (1 - w / 2), scale * (1 + w / 2)
        flat = scale * torch.exp(-w / 2), scale * torch.exp(w / 2)
        upwind = scale * (1 + (-w).clamp(min=0)), scale * (1 + w.clamp(min=0))
        metropolis = scale * torch.exp(-w).clamp(max=1), scale * torch.exp(w).clamp(max=1)
        rough = [scale * torch.where(v == 0, torch.ones_like(v), v / (v.exp() - 1)) for v in (w, -w)]
        for k, (part, want, other, name) in enumerate(
            ((got[0], right, left, "the rate to the right"), (got[1], left, right, "the rate to the left"))
        ):
            sign = (1, -1)[k]
            if k == 1 and same(got[0], right) and same(part, right):
                raise Wrong("both directions have one rate; the way back has -w: B(-w), which is e^w B(w).")
            expect_close(
                part,
                want,
                what=name,
                mistakes=[
                    (
                        other,
                        "right and left are swapped: hops uphill, where w > 0 to the right, must be the rarer ones.",
                    ),
                    (want / kT, "D is mobility times kT; your rates lack kT."),
                    (want / mobility, "D is mobility times kT; your rates lack the mobility."),
                    (want / mobility**2, "D is mobility times kT; you divide by the mobility."),
                    (want * h, "a rate is D/h^2 times B: the 1/h of the current, and another for p h in a cell."),
                    (want * h**2, "the rates lack 1/h^2."),
                    (
                        scale * (sign * cold) / torch.expm1(sign * cold),
                        "w is a step of the potential in units of kT.",
                    ),
                    (
                        rough[k],
                        "e^w - 1 loses its digits where w is tiny: e^w is rounded near 1. Use torch.expm1.",
                    ),
                    (
                        upwind[k],
                        "that is the upwind scheme: positive, but of order 1, and its equilibrium is not Boltzmann's.",
                    ),
                    (
                        metropolis[k],
                        "those are Metropolis' rates. They have the right equilibrium too, but they are not (3.19).",
                    ),
                    (central[k], "these are central differences, 1 -+ w/2: where |w| > 2 one of them is negative."),
                    (
                        flat[k],
                        "exp(-+ w/2) has the right equilibrium too, but it is not (3.19): a constant current through a "
                        "straight potential gives w / (e^w - 1).",
                    ),
                ],
            )
    return "right / left = e^(-w) on every face: detailed balance, however coarse the grid."


@exercise(
    "3.4",
    title="errata museum: the right-hand side",
    stars=2,
    kind="find-and-fix",
    hints=[
        "In (3.9) the derivative ends up on the product: first f p, and then g^2 p.",
        "D = g^2 / 2.",
        "-d(f p) + 1/2 d(d(g^2 p)).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    n = int(torch.randint(40, 60, (), generator=rng))
    h = 6.0 / n
    x = torch.linspace(-3, 3, n, dtype=torch.float64, device="cpu")
    a, b = number(0.5, 1.5, rng), number(0.3, 0.8, rng)
    p = torch.exp(-(x**2) / (1 + a))
    f, g = torch.sin(a * x) - x, 1 + b * torch.cos(x)

    def d(u: Tensor) -> Tensor:
        return torch.gradient(u, spacing=h)[0]

    right = -d(f * p) + 0.5 * d(d(g**2 * p))
    got = answer(p, f, g, h)
    if same(got, -f * d(p) + g**2 * d(d(p))):
        raise NotAttempted
    expect_close(
        got,
        right,
        what="dp/dt",
        mistakes=[
            (-d(f * p) + g**2 * d(d(p)), "one of three is right: the drift. D is half of g^2, and belongs inside."),
            (-f * d(p) + 0.5 * g**2 * d(d(p)), "one of three is right: the half. Both f and g^2 belong inside."),
            (
                -f * d(p) + d(d(g**2 * p)),
                "one of three is right: g^2 is inside. The half is missing, and f is outside.",
            ),
            (-d(f * p) + 0.5 * g**2 * d(d(p)), "two of three are right: g^2 depends on x and belongs inside."),
            (-d(f * p) + d(d(g**2 * p)), "two of three are right: the half is missing."),
            (-f * d(p) + 0.5 * d(d(g**2 * p)), "two of three are right: f stands outside of the derivative."),
            (
                -d(f * p) + 0.5 * d(g**2 * d(p)),
                "g^2 stands between the two derivatives. (3.9) moves both of them over to the whole product g^2 p.",
            ),
            (d(f * p) + 0.5 * d(d(g**2 * p)), "the sign of the drift: one integration by parts, one minus."),
            (-d(f * p) + 0.5 * d(d(g * p)), "g is squared: the noise enters by its variance."),
            (
                -d(f * p) + d(g**2 * d(p)),
                "g^2 stands between the two derivatives, and the half is missing. (3.9) moves both over to g^2 p.",
            ),
            (
                -f * d(p) + 0.5 * d(g**2 * d(p)),
                "the half is right. But f stands outside, and g^2 p is one product, behind both derivatives.",
            ),
            (
                -d(f * p) + 0.5 * d(g * d(g * p)),
                "that is Stratonovich's convention, one g between the derivatives; here both act on g^2 p.",
            ),
            (-d(f * p) - 0.5 * d(d(g**2 * p)), "the sign of the noise: two moves, two minuses, which make a plus."),
            (-d(f * p) + 0.5 * d(g**2 * p), "the noise has two derivatives."),
            (-d(f * p) + d(d((0.5 * g) ** 2 * p)), "the half stands in front of g^2; you have squared it too."),
            (-d(f * p), "the noise is lost."),
            (-p * d(f) + 0.5 * d(d(g**2 * p)), "f p is a product: its derivative has two terms."),
            (
                -f * d(p) - p * d(f) + 0.5 * d(d(g**2 * p)),
                "right on paper, but on a grid the product rule has an error. Take the difference of the product f p, "
                "so that what leaves one point enters the next.",
            ),
        ],
    )
    return (
        "With f outside, mass is not conserved; with g^2 outside it is not conserved even without a drift; the lost "
        "half doubles D, and so the temperature. None of the three raises an error."
    )


@exercise(
    "3.5",
    title="errata museum: the twin",
    stars=2,
    kind="find-and-fix",
    hints=[
        "J = f p - D dp/dx; divide by p.",
        "D = g^2 / 2, and the noise spreads particles away from where the density is high.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):  # the second with B = D
        drift, score = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        g = 0.5 + torch.rand(B, generator=rng, dtype=torch.float64)
        g2 = g[:, None] ** 2
        got = answer(drift, g, score)
        if same(got, drift + g2 * score):
            raise NotAttempted
        expect_close(
            got,
            drift - 0.5 * g2 * score,
            what="the velocity",
            mistakes=[
                (
                    drift + 0.5 * g2 * score,
                    "one of two: the half is there. The noise drives *down* the density: mind the sign.",
                ),
                (
                    drift - g2 * score,
                    "one of two: the sign is right, the half is missing. f - g^2 score belongs to the reverse SDE, "
                    "which adds noise.",
                ),
                (drift - 0.5 * g[:, None] * score, "the noise enters by its variance, g^2."),
                (0.5 * g2 * score - drift, "that is -v: the velocity backwards in time."),
                (-0.5 * g2 * score, "the drift is lost."),
                (drift - 2 * g2 * score, "D is half of g^2, not twice."),
                (drift - 0.25 * g2 * score, "D is half of g^2, not the square of g/2."),
                (0.5 * (drift - g2 * score), "only the noise has the half; the drift comes whole."),
                (-drift - 0.5 * g2 * score, "the sign of the drift: v = f - D score."),
                (drift - 0.5 * score, "the strength of the noise, g^2, is lost."),
                (drift, "without the score the cloud would not spread: the noise is lost."),
            ],
        )
    return (
        "The reverse SDE has f - g^2 score and noise, the twin f - g^2 score / 2 and none: chapter 10 finds all that "
        "is between."
    )


@exercise(
    "3.6",
    title="waiting",
    stars=2,
    kind="numeric",
    hints=[
        "The imbalance decays as exp(-lambda_1 t).",
        "FokkerPlanck.from_potential(U, Grid(-2.5, 2.5, 400)).relaxation_rates(2)[1] is lambda_1.",
        "Solve exp(-lambda_1 t) = 1/100.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    rates = [
        FokkerPlanck.from_potential(lambda x: 6 * (x**2 - 1) ** 2, Grid(-2.5, 2.5, n)).relaxation_rates(3)
        for n in (200, 400)
    ]
    _, rate, quick = (float(value) for value in extrapolate(rates[0], rates[1]))
    right = math.log(100) / rate
    kramers = math.log(100) / (2 * 6 * math.sqrt(32) / (2 * math.pi) * math.exp(-6))
    expect_number(
        answer,
        right,
        what="your waiting time",
        mistakes=[
            (2 * right, "you took the rate of leaving, lambda_1 / 2. Each leaving changes the difference by two."),
            (right / 2, "that is half: lambda_1 is already the rate of the difference, 2k."),
            (kramers, "that is Kramers' law; at this height it is too fast by some percent. Take the spectrum."),
            (2 * kramers, "that is Kramers' law with the rate of leaving, k for 2k."),
            (1 / rate, "after that time the imbalance has fallen to 1/e, not to one hundredth."),
            (2 / rate, "log 100 is the natural logarithm here, 4.6."),
            (rate, "that is the rate; asked for is a time."),
            (math.log(100) / quick, "that is the next rate, lambda_2: the short while inside the well."),
            (math.log(100) / 0.11911837, "that is the wait for B = 4; here the height is 6."),
            (100 / rate, "the imbalance falls exponentially: solve exp(-lambda_1 t) = 1/100."),
            (math.log(50) / rate, "the right well has its share then up to 1/100; the imbalance is still 1/50."),
            (math.exp(6), "that is e to the height of the hill; the rest of Kramers' law matters too."),
        ],
    )
    return "A Langevin sampler of this well pays that many time units for each independent answer to 'left or right?'."


@exercise(
    "3.7",
    title="order four",
    stars=2,
    hints=[
        "Bring the fine averages to the coarse cells first: cell i of the coarse grid holds cells 2i and 2i + 1.",
        "(4 fine - coarse) / 3, with fine.reshape(-1, 2).mean(1).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    n = int(torch.randint(5, 12, (), generator=rng))
    coarse = torch.rand(n, generator=rng, dtype=torch.float64)
    fine = torch.rand(2 * n, generator=rng, dtype=torch.float64)
    pairs = fine.reshape(n, 2).mean(dim=1)
    got = answer(coarse, fine)
    if isinstance(got, Tensor) and got.shape == (2 * n,):
        raise Wrong("the result lives on the coarse cells, shape (n,): average pairs of the fine ones.")
    expect_close(
        got,
        (4 * pairs - coarse) / 3,
        what="the extrapolated density",
        mistakes=[
            (
                (4 * fine[::2] - coarse) / 3,
                "you took every second fine cell. A coarse cell holds two of them: take their mean, or mass is lost.",
            ),
            (
                (4 * fine[1::2] - coarse) / 3,
                "you took the second of each pair of fine cells; take the mean of both, or mass is lost.",
            ),
            (
                pairs * (pairs / coarse) ** (1 / 3),
                "that is (3.23), the logarithmic one; asked for is (3.22).",
            ),
            (
                (4 * fine.reshape(2, n).mean(0) - coarse) / 3,
                "you average cells i and n + i; the neighbours are 2i and 2i + 1.",
            ),
            ((4 * fine.reshape(n, 2).sum(1) - coarse) / 3, "averages of pairs, not sums: these are densities."),
            (2 * pairs - coarse, "2 fine - coarse removes an error of order h; here it is of order h^2."),
            ((4 * coarse - pairs) / 3, "coarse and fine are swapped: the finer one has the positive weight."),
            ((pairs + coarse) / 2, "a mean of both keeps most of the error; the weights must cancel it."),
            ((16 * pairs - coarse) / 15, "16 and 15 are for an error of order h^4, the next step of the ladder."),
            (pairs, "that is the fine solution; combine it with the coarse one."),
            ((4 * pairs + coarse) / 5, "the weights are 4/3 and -1/3: only a negative one can cancel the error."),
        ],
    )
    return "The weights sum to 1, so the mass is kept; one is negative, so the sign is not."


@exercise(
    "3.8",
    title="noise that depends on the place",
    stars=3,
    kind="derivation",
    hints=[
        "By (3.9) the current is J = f p - d(D p)/dx, with D(x) = 1 + x^2 inside the derivative.",
        "Set J = 0 and take q = D p: q' = (f / D) q, so q = exp of the integral of -x / (1 + x^2).",
        "q = (1 + x^2)^(-1/2), so p is proportional to (1 + x^2)^(-3/2). Its integral over the line is 2.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    x = 3 * torch.randn(int(torch.randint(20, 40, (), generator=rng)), generator=rng, dtype=torch.float64)
    base = 1 + x**2
    right = 0.5 * base**-1.5
    expect_close(
        answer(x),
        right,
        what="the density",
        mistakes=[
            (base**-1.5, "the shape is right; now its integral must be 1."),
            (
                torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
                "that is Boltzmann's law for constant noise, D = 1. Here D grows with x.",
            ),
            (
                1 / (math.pi * base),
                "that is the answer for Stratonovich's convention, where half of D' is part of the drift.",
            ),
            (
                1 / base,
                "1/D is the answer for Stratonovich's convention (and not normalised): there half of D' is drift.",
            ),
            (
                base**-0.5,
                "(1 + x^2)^(-1/2) has no finite integral: it is q = D p, or p if D stood outside of the derivative.",
            ),
            (
                2 / (math.pi * base**2),
                "did you take D = (1 + x^2)/2? The noise is sqrt(2 D) dW, so D is 1 + x^2 as it stands.",
            ),
        ],
    )
    return (
        "The tails fall like |x|^-3: the variance is infinite, although the pull is that of a spring. The farther "
        "out a particle is, the harder it is kicked."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves("3.1", x=line(0, 4), xlabel="time", panels=("mean", "variance"))
def _(answer: Any) -> Any:
    return answer(-2.0, 0.1, line(0, 4), 1.2, 1.0, 0.8)


@target_curves("3.3", x=line(-1.5, 1.5, 60), xlabel="face", panels=("rate",), lines=("right", "left"))
def _(answer: Any) -> Any:
    U = (line(-1.525, 1.525, 61) ** 2 - 1) ** 2
    return answer(U, 0.05, 1.0, 0.3)


@target_curves("3.4", x=line(-4, 4, 161), xlabel="$x$", panels=(r"$\partial_t p$",))
def _(answer: Any) -> Tensor:
    x = line(-4, 4, 161)
    p = torch.exp(-((x - 1) ** 2)) / math.sqrt(math.pi)
    return torch.as_tensor(answer(p, -x, 1 + 0.3 * torch.sin(x), 0.05))


@target_curves("3.5", x=line(-3, 3), xlabel="$x$", panels=("velocity of the twin",))
def _(answer: Any) -> Tensor:
    x = line(-3, 3)[:, None]
    return answer(-0.5 * x, torch.full((81,), 1.3, dtype=torch.float64, device="cpu"), -(x - 1) / 0.5)[:, 0]


@target_curves("3.7", x=line(0, 2, 20), xlabel="cell", panels=("error of the averages",))
def _(answer: Any) -> Tensor:
    def middle_rule(n: int) -> Tensor:
        return torch.exp(torch.arange(n, device="cpu").double().add(0.5) * 2 / n)  # e^x at the middle of each cell

    edges = line(0, 2, 21)
    exact = (torch.exp(edges[1:]) - torch.exp(edges[:-1])) * 10
    return answer(middle_rule(20), middle_rule(40)) - exact


@target_curves("3.8", x=line(-5, 5), xlabel="$x$", panels=("density at rest",))
def _(answer: Any) -> Tensor:
    return torch.as_tensor(answer(line(-5, 5)))
