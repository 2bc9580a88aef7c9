"""Checks of chapter 12: two conventions, the gradient, noisy classifiers, intervals, the tilted law, temperature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu.exercises import NotAttempted, Wrong, exercise, expect_choice, expect_close, expect_number, expect_parts
from diffedu.exercises._inputs import line, normal, number, same
from diffedu.exercises._targets import target_curves

DOUBLE = torch.float64


@exercise(
    "12.1",
    title="four settings, one number",
    stars=1,
    kind="numeric",
    hints=[
        "Which value of each knob gives the class as it is? Ours is 1 there.",
        "(d) the conditional score is the unconditional one plus one classifier gradient; you add 1.5 more.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    given = expect_parts(answer, 4)
    names = ("(a), Ho and Salimans' w", "(b), Imagen's w", "(c), on the unconditional model", "(d), on the conditional")
    slips = (
        [
            (1.5, "(a): their w = 0 is the conditional model, so w = 1.5 is not our 1.5."),
            (0.5, "(a): add 1, not less."),
        ],
        [(2.5, "(b): Imagen writes w eps_c + (1 - w) eps_u: its w = 1 is the conditional model already.")],
        [(2.5, "(c): here the classifier alone brings the label in; once its gradient is Bayes' rule, scale 1.")],
        [(1.5, "(d): the model knows the label already; the classifier's gradient comes on top of one.")],
    )
    for value, right, what, mistakes in zip(given, (2.5, 1.5, 1.5, 2.5), names, slips, strict=True):
        expect_number(value, right, what=what, rtol=1e-6, mistakes=mistakes)
    return (
        "Two of the four have their zero at no guidance, two at no label. A paper's number needs its formula beside it."
    )


@exercise(
    "12.2",
    title="errata museum: too much of a good thing",
    stars=1,
    kind="find-and-fix",
    hints=["Put guidance_scale = 1 into it. What comes out?", "It holds Ho and Salimans' formula, whose w is s - 1."],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, least, most in ((5, 1.5, 6.0), (3, 0.15, 0.4)):
        c, u = normal(2, B, 3, rng=rng)
        s = number(least, most, rng)
        got = answer(c, u, s)
        if same(got, (1 + s) * c - s * u):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (c + (1 - s) * (c - u), "w is s - 1; you have used 1 - s, which pushes towards the unconditional answer."),
            (s * c - s * u, "the two weights must add up to 1; yours add up to 0, and the common part is lost."),
            (s * c + u, "the weight of the unconditional answer is missing: 1 - s."),
            (u + s * (u - c), "the difference runs from the unconditional answer to the conditional one, not back."),
            (
                s * u + (1 - s) * c,
                "the two answers have each other's weights: a scale of 1 gives the unconditional one.",
            ),
            (c + s * (c - u), "started from the conditional answer, the step is s - 1: at s = 1 there is none."),
            (s * c - (1 - s) * u, "a sign: the unconditional answer has the weight 1 - s, which is added."),
            (
                c if s < 1 else u,
                "below 1 the answer lies between the two: a scale of 0 ignores the label.",
            ),
        ]
        expect_close(got, s * c + (1 - s) * u, what="the guided noise", mistakes=mistakes)
    return (
        "With the slip, every user got one unit of guidance more than asked for, and 0 did not mean what was promised."
    )


@exercise(
    "12.3",
    title="errata museum: it runs",
    stars=2,
    kind="find-and-fix",
    hints=[
        "log_prob(x)[:, None] is one number a point, added to both coordinates. What does (12.6) add?",
        "torch.autograd.grad(log_prob(x).sum(), x) with x = x.detach().requires_grad_().",
        "(12.6) holds for dt < 0. With a positive dt towards the data, x loses its drift times dt.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 2):
        D = 2
        x, slope = normal(2, B, D, rng=rng)
        centre = normal(D, rng=rng)
        scale, f = number(1.5, 4.0, rng), -number(0.5, 2.0, rng)
        g, dt = number(1.2, 2.0, rng), number(0.05, 0.2, rng)

        def log_prob(x: Tensor, centre: Tensor = centre) -> Tensor:
            return -0.25 * (x - centre).square().sum(1) ** 2 - 0.3

        difference = x - centre
        push = -difference.square().sum(1)[:, None] * difference
        bare = log_prob(x)[:, None]

        def moved(push: Tensor, sign: float, x: Tensor = x, slope: Tensor = slope) -> Tensor:
            return x + sign * dt * (f * x - g**2 * (slope + scale * push))  # noqa: B023

        got = answer(x, slope, log_prob, scale, f, g, dt)
        if same(got, moved(bare, 1)):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (moved(push, 1), "one of two: the gradient is there now, but the step still runs towards the noise."),
            (
                moved(bare, -1),
                "one of two: the step runs towards the data now, but a number is added to every coordinate.",
            ),
            (moved(-push, -1), "the push points away from the class: log p(y|x) is climbed, so its gradient is added."),
            (moved(push * bare.exp(), -1), "that is the gradient of p(y|x), not of its logarithm."),
            (moved(push / B, -1), "a mean over the batch divides each push by B: differentiate the sum."),
            (moved(push / scale, -1), "the scale is not used: that is Bayes' rule, s = 1."),
            (
                moved(push - slope, -1),
                "log_prob is the classifier's, so its gradient is added to the whole score: 1 - s belongs to (12.8).",
            ),
            (
                x - dt * (f * x - g**2 * slope - scale * push),
                "the push has lost its g^2: it is part of the score, and shares the score's weight.",
            ),
            (
                x - dt * (f * x - g * (slope + scale * push)),
                "the weight is g squared; you have g.",
            ),
            (
                x - dt * (f * x - 0.5 * g**2 * (slope + scale * push)),
                "half of g^2 belongs to the ODE; this is the SDE.",
            ),
            (
                x - dt * (f * x - g**2 * scale * (slope + push)),
                "the scale belongs to the push alone; times the score it is a temperature.",
            ),
        ]
        expect_close(got, moved(push, -1), what="the new x", rtol=1e-6, mistakes=mistakes)
    return "A check of shapes passes with the number as well as with the gradient: broadcasting forgives everything."


@exercise(
    "12.4",
    title="the classifier of noisy points",
    stars=2,
    hints=[
        "Noised, class k is N(alpha m_k, (alpha s_k)^2 + sigma^2): that is Bayes' rule at time t.",
        "The normalising factor of the bell depends on k and on D: -D/2 log variance.",
        "torch.log_softmax over the classes never forms a density that could underflow.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, K, D in ((6, 3, 3), (4, 4, 2)):
        means = 2 * normal(K, D, rng=rng)
        weights = torch.softmax(normal(K, rng=rng), 0)
        stds = 0.3 + torch.rand(K, generator=rng, dtype=DOUBLE)
        alpha, sigma = number(0.4, 0.8, rng), number(0.4, 0.9, rng)
        x = 1.5 * normal(B, D, rng=rng)

        def logs(a: float, variance: Tensor, shares: Tensor, power: float = 0.5 * D, x: Tensor = x) -> Tensor:
            square = (x[:, None] - a * means).square().sum(2)  # noqa: B023
            return torch.log_softmax(shares.log() - square / (2 * variance) - power * variance.log(), dim=1)

        variance, even = (alpha * stds) ** 2 + sigma**2, torch.ones_like(weights)
        right = logs(alpha, variance, weights)
        square = (x[:, None] - alpha * means).square().sum(2)
        bare = weights.log() - square / (2 * variance) - 0.5 * D * variance.log()
        mistakes: list[tuple[Any, str]] = [
            (
                logs(1.0, stds**2, weights),
                "that is the classifier of clean points, asked about a noisy one: no alpha and no sigma in it.",
            ),
            (logs(1.0, stds**2 + sigma**2, weights), "the noise is in, but the data was shrunk by alpha as well."),
            (
                logs(alpha, stds**2 + sigma**2, weights),
                "the means are shrunk now, the spreads must be, too: (alpha s)^2.",
            ),
            (logs(alpha, (alpha * stds) ** 2, weights), "the noise widens each class: add sigma^2 to its variance."),
            (
                logs(alpha, (alpha * stds + sigma) ** 2, weights),
                "independent parts add their variances, not their standard deviations.",
            ),
            (logs(alpha, variance, even), "the shares of the classes are missing: Bayes' rule has a prior."),
            (
                logs(alpha, variance, weights, 0.0),
                "the bells lack their normalising factors, which differ from class to class.",
            ),
            (
                logs(alpha, variance, weights, 0.5),
                "the normalising factor is that of one dimension; in D it is -D/2 log variance.",
            ),
            (
                logs(alpha, variance, weights, 1.0),
                "the normalising factor is that of the plane; in D dimensions it is -D/2 log variance.",
            ),
            (
                logs(alpha, variance, weights, float(D)),
                "the normalising factor takes the standard deviation to the power D: -D/2 log variance.",
            ),
            (right.exp(), "these are the probabilities; asked for are their logarithms."),
            (
                torch.log_softmax(bare, dim=0),
                "the probabilities add up to 1 over the points; they must over the classes, the last axis.",
            ),
            (bare, "that is log of share times bell, not yet divided by the sum over the classes."),
        ]
        got = answer(x, alpha, sigma, weights, means, stds)
        expect_close(got, right, what="log p_t(k | x_t)", rtol=1e-6, mistakes=mistakes)
        far = torch.full((1, D), 300.0, dtype=DOUBLE, device="cpu")
        there = answer(far, alpha, sigma, weights, means, stds)
        if not bool(torch.isfinite(there).all()):
            raise Wrong("right near the data, but infinite or NaN 300 units off: stay in logarithms (log_softmax).")
        expect_close(there, logs(alpha, variance, weights, x=far), what="log p_t(k | x_t) far off", rtol=1e-6)
    return "Its gradient by x_t is the push of classifier guidance; at alpha = 0 it is the prior, and pushes nowhere."


@exercise(
    "12.5",
    title="pay only when it counts",
    stars=2,
    hints=[
        "An `if` on the number t, before the second network is asked.",
        "Inside: u + guidance_scale (c - u). Outside: c. Both bounds belong to the inside.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    x = normal(4, 3, rng=rng)
    A, C = normal(2, 3, 3, rng=rng)
    s, low, high = number(2.0, 5.0, rng), number(0.25, 0.35, rng), number(0.5, 0.55, rng)
    calls = {"conditional": 0, "unconditional": 0}

    def conditional(x_t: Tensor, t: float) -> Tensor:
        calls["conditional"] += 1
        return torch.tanh(x_t @ A) + float(t)

    def unconditional(x_t: Tensor, t: float) -> Tensor:
        calls["unconditional"] += 1
        return torch.tanh(x_t @ C) - float(t)

    for t in (0.4, 0.1, 0.8, low - 0.003, high + 0.003, low, high):
        c, u = torch.tanh(x @ A) + t, torch.tanh(x @ C) - t
        inside = low <= t <= high
        calls.update(conditional=0, unconditional=0)
        guided = u + s * (c - u)
        got = answer(conditional, unconditional, x, t, s, low, high)
        edge = t in (low, high)
        mistakes: list[tuple[Any, str]] = [
            (c + s * (c - u), "that is (1 + w) c - w u with w = s: guidance_scale = 1 must be the conditional model."),
            (s * c - s * u, "the weights s and 1 - s add up to 1; yours to 0."),
            (
                c if inside else guided,
                "the bounds themselves belong to the interval."
                if edge
                else "between low and high the answer is guided; yours is the conditional one there."
                if inside
                else f"outside the interval the answer is the conditional one; yours is guided at t = {t:.2f}.",
            ),
            (
                u,
                "outside the interval the label is still wanted: return the conditional answer, not the other one.",
            ),
        ]
        expect_close(got, guided if inside else c, what=f"x0_hat at t = {t:.2f}", mistakes=mistakes)
        if calls["unconditional"] and not inside:
            raise Wrong(
                "the values are right, but outside the interval the unconditional network is asked for nothing."
            )
        if calls["conditional"] > 1 or calls["unconditional"] > 1:
            raise Wrong("the values are right, but a network is asked twice at the same point: keep its answer.")
    return "Steps outside the interval cost half, and the saved evaluations buy more steps."


@exercise(
    "12.6",
    title="which remedy?",
    stars=1,
    kind="prediction",
    hints=["Section 12.5 tried one of them first.", "Where is the guided score the score of the tilted law?"],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "langevin",
        {
            "more steps": "four times as many steps led to the same distance: the ODE is solved, but it is another's.",
            "a better network": "there was no network: the denoisers are exact.",
            "another path": "with y = x_t / alpha and tau = sigma / alpha every path has the same ODE, (12.15).",
        },
    )
    return "At t = 0 mean and power may be exchanged: there the guided score is that of the tilted law, at no noisy t."


@exercise(
    "12.7",
    title="the right denoiser, of a table",
    stars=2,
    hints=[
        "Tilted, the i-th point has the weight likelihood_i^s in place of 1.",
        "E[x0 | x_t] = sum_i r_i x_i with r the softmax of s log likelihood_i - |x_t - alpha x_i|^2 / 2 sigma^2.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, N in ((4, 7), (5, 5)):
        table, x = normal(N, 2, rng=rng), normal(B, 2, rng=rng)
        likelihood = 0.05 + 0.9 * torch.rand(N, generator=rng, dtype=DOUBLE)
        s, alpha, sigma = number(2.0, 4.0, rng), number(0.4, 0.8, rng), number(0.5, 0.9, rng)

        def guess(power: float, a: float = alpha, width: float = 2 * sigma**2, times: float = 1.0) -> Tensor:
            bells = -(x[:, None] - a * table).square().sum(2) / width  # noqa: B023
            return torch.softmax(times * bells + power * likelihood.log(), dim=1) @ table  # noqa: B023

        guided = guess(0) + s * (guess(1) - guess(0))
        bells = torch.exp(-(x[:, None] - alpha * table).square().sum(2) / (2 * sigma**2))
        mistakes: list[tuple[Any, str]] = [
            (guided, "that is the guided denoiser: the power of the mean. Asked for is the mean of the power."),
            (guess(1), "the power is missing: that is the class as it is, s = 1."),
            (guess(0), "the likelihood is not used: that is the denoiser of all data."),
            (guess(s, times=s), "only the likelihood is raised to the power s, not the bell of the noise as well."),
            (guess(s - 1), "the power is s, and not s - 1: the first factor of the tilted law is p, not p(x|y)."),
            (guess(s, a=1.0), "the noisy point lies around alpha x_i: the table must be shrunk in the bell."),
            (guess(s, width=sigma**2), "the bell's exponent has 2 sigma^2 below it."),
            (guess(s, width=2 * sigma), "the bell's exponent has the variance below it: sigma squared."),
            (guess(-s), "the sign of the power: points with a large likelihood must weigh more."),
            (
                torch.softmax(bells.log() + s * likelihood, dim=1) @ table,
                "the weight of a point is likelihood^s; its logarithm is s log likelihood.",
            ),
            (
                torch.softmax(bells.log() + s * likelihood.log(), dim=0) @ table,
                "the weights must add up to 1 over the table, not over the noisy points.",
            ),
            (alpha * guess(s), "the mean of the clean points is asked for; alpha belongs into the bell alone."),
            (
                (bells * likelihood**s) @ table / bells.sum(1, keepdim=True),
                "the weights must add up to 1: divide by the sum of the tilted ones.",
            ),
        ]
        got = answer(x, table, likelihood, s, alpha, sigma)
        expect_close(got, guess(s), what="the guess", rtol=1e-6, mistakes=mistakes)
    return "Nothing in it is hard but the sum over all data, which is what a network cannot do after its training."


@exercise(
    "12.8",
    title="cooling by the SDE",
    stars=3,
    kind="derivation",
    hints=[
        "In y: drift twice that of the ODE, so the homogeneous solution is (v + tau^2)^gamma.",
        "Noise of variance 2 tau d tau that enters at tau arrives multiplied by [v / (v + tau^2)]^(2 gamma).",
        "With u = tau^2 it is v^(2 gamma) times the integral of (v + u)^(-2 gamma) from 0 to infinity.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    v = 0.3 + 2 * torch.rand(6, generator=rng, dtype=DOUBLE)
    gamma = 1.2 + 2 * torch.rand(6, generator=rng, dtype=DOUBLE)
    gamma[0] = 0.7
    mistakes: list[tuple[Any, str]] = [
        (v / gamma, "that is p^gamma, at which the SDE does not arrive: derive it from the noise that comes in."),
        (v**gamma, "that resembles the geometric mean of guidance; here there is no second Gaussian that cancels T."),
        ((v / (2 * gamma - 1)).sqrt(), "that is the standard deviation."),
        (v / (2 * gamma + 1), "the integral of (v + u)^(-2 gamma) has 2 gamma - 1 below it."),
        (v / (2 * gamma), "the integral of (v + u)^(-2 gamma) has 2 gamma - 1 below it, not 2 gamma."),
        (
            v / (gamma - 1),
            "the variance is multiplied by the square of the homogeneous solution: 2 gamma in the exponent.",
        ),
        (
            v ** (1 - 2 * gamma) / (2 * gamma - 1),
            "the factor v^(2 gamma) from the end of the homogeneous solution is missing.",
        ),
        (v / (2 * (2 * gamma - 1)), "half of it: with u = tau^2, 2 tau d tau is du."),
    ]
    expect_close(answer(v, gamma), v / (2 * gamma - 1), what="the variance", rtol=1e-6, mistakes=mistakes)
    return (
        "The start no longer matters, for the noise that comes in replaces it. But it is p^(2 gamma - 1), not p^gamma."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves(
    "12.2",
    x=line(0, 5),
    xlabel="guidance scale",
    panels=("guided noise",),
    lines=("of 1, without: 0.5", "of -1, without: 0"),
)
def _(answer: Any) -> Tensor:
    given, without = (torch.tensor([v], dtype=DOUBLE, device="cpu") for v in ([1.0, -1.0], [0.5, 0.0]))
    return torch.cat([answer(given, without, scale) for scale in line(0, 5).tolist()]).T


@target_curves("12.3", x=line(-3, 3), xlabel="$x$", panels=("move of a step",), lines=("scale 0", "scale 3"))
def _(answer: Any) -> list[Tensor]:
    x = line(-3, 3)[:, None]
    return [
        (answer(x, -x, lambda x: torch.nn.functional.logsigmoid(3 * x[:, 0]), scale, -0.5, 1.0, 0.1) - x)[:, 0]
        for scale in (0.0, 3.0)
    ]


@target_curves(
    "12.4",
    x=line(-4, 4),
    xlabel="$x_t$",
    panels=("probability, little noise", "much noise"),
    lines=("class 0", "1", "2"),
)
def _(answer: Any) -> list[Tensor]:
    weights, stds = (torch.tensor(v, dtype=DOUBLE, device="cpu") for v in ([0.5, 0.2, 0.3], [0.5, 0.3, 0.8]))
    means = torch.tensor([[-1.5], [0.5], [2.0]], dtype=DOUBLE, device="cpu")
    return [
        answer(line(-4, 4)[:, None], alpha, sigma, weights, means, stds).exp().T
        for alpha, sigma in ((0.98, 0.2), (0.6, 0.8))
    ]


@target_curves("12.5", x=line(0, 1), xlabel="$t$", panels=("guided guess",))
def _(answer: Any) -> Tensor:
    x = torch.ones(1, 1, dtype=DOUBLE, device="cpu")
    times = line(0, 1).tolist()
    return torch.cat([answer(lambda x, t: x, lambda x, t: x * (1 - t), x, t, 3.0, 0.25, 0.75)[0] for t in times])


@target_curves("12.7", x=line(-3, 3), xlabel="$x_t$", panels=("guess",), lines=("$s = 0$", "$s = 1$", "$s = 4$"))
def _(answer: Any) -> list[Tensor]:
    table, likelihood = (torch.tensor(v, dtype=DOUBLE, device="cpu") for v in ([[-1.0], [0.0], [1.5]], [0.2, 0.9, 0.5]))
    return [answer(line(-3, 3)[:, None], table, likelihood, s, 0.7, 0.7)[:, 0] for s in (0.0, 1.0, 4.0)]


@target_curves(
    "12.8", x=line(1, 4), xlabel=r"$\gamma$", panels=("variance at the end",), lines=("$v = 1$", "$v = 0.5$")
)
def _(answer: Any) -> list[Tensor]:
    return [answer(torch.full_like(line(1, 4), v), line(1, 4)) for v in (1.0, 0.5)]
