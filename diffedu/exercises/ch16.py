"""Checks of chapter 16: what is missing given what is known, and the three ways to ask a model for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core import Cosine, DiscreteDDPM, GaussianMixture, cosine_betas
from diffedu.exercises import NotAttempted, Wrong, exercise, expect_choice, expect_close, expect_number, expect_parts
from diffedu.exercises._inputs import cloud, line, normal, number, ring, same, uniform
from diffedu.exercises._targets import target_curves, target_points
from diffedu.sampling import Ancestral

DOUBLE = torch.float64


def _mixture(k: int, rng: torch.Generator) -> GaussianMixture:
    roots = 0.6 * normal(k, 2, 2, rng=rng) + 0.4 * torch.eye(2, dtype=DOUBLE, device="cpu")
    weights = uniform(0.2, 1.0, k, rng=rng)
    return GaussianMixture(weights, normal(k, 2, rng=rng), roots @ roots.mT)


@exercise(
    "16.1",
    title="given the second",
    stars=1,
    hints=[
        "It is (16.2) and (16.3) with the two coordinates exchanged.",
        "Slope S[:, 0, 1] / S[:, 1, 1]; the weight is the old one times N(y; m[:, 1], S[:, 1, 1]), then normalised.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    for k in (4, 2):
        mixture, y = _mixture(k, rng), number(-1.5, 1.5, rng)
        w, m, S = mixture.weights, mixture.means, mixture.covariances
        weights, means, variances = expect_parts(answer(w, m, S, y), 3)
        off, spread = y - m[:, 1], S[:, 1, 1]
        log_bell = -0.5 * off**2 / spread

        def normalised(log_weights: Tensor) -> Tensor:
            return torch.softmax(log_weights, dim=0)

        bell = log_bell - 0.5 * spread.log()
        right = normalised(w.log() + bell)
        expect_close(
            weights,
            right,
            what="the weights",
            mistakes=[
                (w, "the weights have not changed; each counts by how well it foretold y (16.3)."),
                (normalised(bell), "the old weights are missing: a component that is rare stays rarer."),
                (w * bell.exp(), "the weights do not add up to 1."),
                (w * bell.exp() / (2 * torch.pi) ** 0.5, "the weights do not add up to 1."),
                (
                    normalised(w.log() + log_bell),
                    "the density lacks its 1 / std in front; it differs between components, so it does not cancel.",
                ),
                (
                    normalised(w.log() - 0.5 * (y - m[:, 0]) ** 2 / S[:, 0, 0] - 0.5 * S[:, 0, 0].log()),
                    "the weights compare y with the first coordinate; the second one is known.",
                ),
                (
                    normalised(w.log() - 0.5 * off**2 / spread**2 - spread.log()),
                    "S[:, 1, 1] is a variance already; do not square it again.",
                ),
            ],
        )
        slope = S[:, 0, 1] / spread
        expect_close(
            means,
            m[:, 0] + slope * off,
            what="the means",
            mistakes=[
                (m[:, 0], "the means are those without y; each is moved by slope times the miss."),
                (m[:, 0] - slope * off, "the means move the wrong way: the miss is y - m."),
                (m[:, 0] + S[:, 0, 1] / S[:, 0, 0] * off, "the slope divides by the variance of the known coordinate."),
                (m[:, 0] + S[:, 0, 1] / spread.sqrt() * off, "the slope divides by a variance, not its root."),
                (
                    m[:, 1] + S[:, 0, 1] / S[:, 0, 0] * (y - m[:, 0]),
                    "that is given the first coordinate; the second one is known.",
                ),
            ],
        )
        rest = S[:, 0, 0] - S[:, 0, 1] ** 2 / spread
        expect_close(
            variances,
            rest,
            what="the variances",
            mistakes=[
                (S[:, 0, 0], "knowing y takes variance away; yours is that without y."),
                (S[:, 0, 0] + S[:, 0, 1] ** 2 / spread, "knowing y takes variance away; yours adds it (a sign)."),
                (rest.sqrt(), "those are standard deviations."),
                (S[:, 0, 0] - slope, "the covariance enters squared: S01 * S01 / S11."),
                (
                    S[:, 1, 1] - S[:, 0, 1] ** 2 / S[:, 0, 0],
                    "that is the variance of the second coordinate given the first.",
                ),
            ],
        )
    return "The variances do not depend on y, the means do linearly, and the weights exponentially: watch the weights."


@exercise(
    "16.2",
    title="what keeps more of the sketch?",
    stars=1,
    kind="prediction",
    hints=["Compare (16.11) with (16.12). Which is larger, lambda or its root, for lambda between 0 and 1?"],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "DDIM",
        {
            "ancestral": "it draws afresh and keeps lambda; the flow keeps the root of lambda, which is larger.",
            "the same": "for one step up they share their start, but the walk down differs: lambda against its root.",
        },
    )
    return (
        "The flow only rescales what the start has kept; the stochastic walk replaces part of it at each step. "
        "For a stronger change at the same level, add noise on the way."
    )


@exercise(
    "16.3",
    title="what a grid costs",
    stars=2,
    kind="numeric",
    hints=[
        "There are four stretches that end above 0, and one that ends at 0.",
        "Steps from time 0 do not exist: all visits but the last stop one step earlier there.",
        "4 * 10 * 5 + 4 * 9 + 10",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_number(
        answer,
        4 * 10 * 5 + 4 * 9 + 10,
        what="the number of evaluations",
        rtol=1e-6,
        mistakes=[
            (
                250,
                "nearly: the stretch that ends at 0 can't be gone all the way down five times, since one can't "
                "come back from 0.",
            ),
            (266, "that counts the steps up, too; they ask no network."),
            (270, "steps up ask no network, and from time 0 there is no way up."),
            (50, "that is the grid without visits."),
            (210, "the last stretch is visited five times, too: four times to the time before 0, then to 0."),
            (246 + 50, "the first visit is one of the five."),
            (5 * 49 + 5, "the last visit goes to 0; only the four before it stop one step earlier."),
        ],
    )
    return (
        "Nearly five times the cost of plain sampling. Is it worth it? Section 16.4 has the wrong share against cost."
    )


@exercise(
    "16.4",
    title="how much is heard",
    stars=2,
    hints=[
        "The slope of x_t^u on x_t^k is cov(x_t^u, x_t^k) / var(x_t^k); noise adds to the variance only.",
        "Slope times alpha y, against alpha S_uk / S_kk y. Divide.",
        "alpha^2 S_kk / (alpha^2 S_kk + sigma^2): in the end only the known part's own signal and noise count.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for size in (5, 3):
        alpha, sigma = uniform(0.2, 1.0, size, rng=rng), uniform(0.2, 1.5, size, rng=rng)
        variance = number(0.3, 2.5, rng)
        share = alpha**2 * variance / (alpha**2 * variance + sigma**2)
        expect_close(
            answer(alpha, sigma, variance),
            share,
            what="the ratio",
            mistakes=[
                (
                    alpha**2,
                    "right where alpha^2 + sigma^2 = 1 and the variance is 1, as in (16.8); in general it "
                    "depends on all three.",
                ),
                (alpha**2 / (alpha**2 + sigma**2), "the known part's variance is missing."),
                (alpha * share, "that is the mean relative to S_uk / S_kk y; what it should be has an alpha, too."),
                (share.sqrt(), "that is the root; the ratio of two means has none."),
                (1 - share, "that is the share that is not heard."),
                (share / alpha, "the mean of x_t^k is alpha y: one alpha is missing."),
                (1 / share, "upside down: divide what RePaint gives by what it should be."),
                (alpha**2 * variance / sigma**2, "that is the signal-to-noise ratio r; the ratio is r / (1 + r)."),
                (
                    alpha**2 * variance**2 / (alpha**2 * variance**2 + sigma**2),
                    "the variance is squared; it was given as a variance.",
                ),
                (alpha**2 * variance / (alpha**2 * variance + sigma), "sigma enters squared: variances add."),
            ],
        )
    return (
        "It is lambda of (16.11): the share of the variance of x_t^k that comes from y. The correlation has dropped "
        "out: strong or weak, it is heard through the same noise."
    )


def _repaint(
    reverse: Callable[[Tensor, int], Tensor],
    x: Tensor,
    known: Tensor,
    mask: Tensor,
    betas: Tensor,
    visits: int,
    noise: Tensor,
    *,
    root: bool = True,
    shift: int = 0,
    up_root: bool = True,
    always_up: bool = False,
) -> Tensor:
    bars = torch.cat([betas.new_ones(1), torch.cumprod(1 - betas, dim=0)])
    for t in range(len(betas), 0, -1):
        for u in range(visits):
            bar = bars[t - 1 + shift]
            spread = (1 - bar).sqrt() if root else 1 - bar
            x = torch.where(mask, bar.sqrt() * known + spread * noise[0, t, u], reverse(x, t))
            if (u < visits - 1 or always_up) and t > 1:
                beta = betas[t - 1]
                x = (1 - beta).sqrt() * x + (beta.sqrt() if up_root else beta) * noise[1, t, u]
    return x


@exercise(
    "16.5",
    title="from the errata museum: RePaint",
    stars=3,
    kind="find-and-fix",
    hints=[
        "Which level does the state have after the reverse step from t? And bars[0]: is it 1, or 1 - beta_1?",
        "Two numbers are variances where a standard deviation belongs.",
        "After the last visit there must be no step up, or the next level starts too noisy.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    T, B, D = 4, 3, 5
    for visits in (3, 2):
        betas = uniform(0.1, 0.5, T, rng=rng)
        x, known, noise = normal(B, D, rng=rng), normal(B, D, rng=rng), normal(2, T + 1, visits, B, D, rng=rng)
        mask = torch.rand(D, generator=rng) < 0.5
        mask[0], mask[1] = True, False
        matrix, levels = 0.5 * normal(D, D, rng=rng), uniform(0.5, 1.0, T + 1, rng=rng)

        def reverse(x: Tensor, t: int, matrix: Tensor = matrix, levels: Tensor = levels) -> Tensor:
            return levels[t] * torch.tanh(x @ matrix)

        def with_slips(
            names: str,
            x: Tensor = x,
            known: Tensor = known,
            mask: Tensor = mask,
            betas: Tensor = betas,
            visits: int = visits,
            noise: Tensor = noise,
            reverse: Callable[[Tensor, int], Tensor] = reverse,
        ) -> Tensor:
            return _repaint(
                reverse,
                x,
                known,
                mask,
                betas,
                visits,
                noise,
                root="r" not in names,
                shift=int("s" in names),
                up_root="u" not in names,
                always_up="a" in names,
            )

        value = answer(reverse, x, known, mask, betas, visits, noise)
        if same(value, with_slips("rsua")):
            raise NotAttempted
        sentence = {
            "r": "the known part's noise has the factor 1 - alpha_bar, a variance; a standard deviation belongs there.",
            "s": "after the reverse step from t the state stands at t - 1; the known part is noised to t.",
            "u": "the step up adds beta * noise; its variance should be beta.",
            "a": "the last visit is followed by a step up, so the next level starts from a state that is too noisy.",
        }
        mistakes: list[tuple[Any, str]] = []
        for left in ("r", "s", "u", "a"):
            mistakes.append((lambda left=left: with_slips(left), f"one slip is left: {sentence[left]}"))
        for left in ("rs", "ru", "ra", "su", "sa", "ua", "rsu", "rsa", "rua", "sua"):
            mistakes.append(
                (lambda left=left: with_slips(left), f"{len(left)} slips are left; one of them: {sentence[left[0]]}")
            )
        expect_close(value, with_slips(""), what="x_0", mistakes=mistakes)
    return "Four slips, and with each the pictures still look like completions. Only laws and equalities find them."


def _bent(
    denoise: Callable[[Tensor], Tensor],
    A: Tensor,
    y: Tensor,
    x_t: Tensor,
    alpha: float,
    sigma: float,
    std: float,
    v: float,
    *,
    r2: float | None = None,
    gram: bool = True,
    jacobian: bool = True,
    sign: float = 1.0,
    factor: float | None = None,
    noise: float | None = None,
) -> Tensor:
    """(16.16), or what one slip makes of it."""
    r2 = v * sigma**2 / (v * alpha**2 + sigma**2) if r2 is None else r2
    one = torch.eye(len(A), dtype=DOUBLE, device="cpu")
    inside = r2 * (A @ A.mT if gram else one) + (std**2 if noise is None else noise) * one
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        guess = denoise(x)
        back = ((y - guess @ A.mT) @ torch.linalg.inv(inside) @ A).detach()
        through = torch.autograd.grad((guess * back).sum(), x)[0] if jacobian else back
    return guess.detach() + sign * (sigma**2 / alpha if factor is None else factor) * through


@exercise(
    "16.6",
    title="pseudoinverse guidance by hand",
    stars=3,
    hints=[
        "Without the network's Jacobian there is no (16.16): x.detach().requires_grad_(), guess = denoise(x).",
        "The vector to be sent back is A^T (r^2 A A^T + noise_std^2 I)^-1 (y - A guess), detached; rows are examples.",
        "g, = torch.autograd.grad((guess * vector.detach()).sum(), x); guess + sigma^2 / alpha * g.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B, D, K in ((5, 4, 2), (3, 3, 3)):
        A, y, x_t = normal(K, D, rng=rng), normal(K, rng=rng), normal(B, D, rng=rng)
        alpha, sigma, std, v = (
            number(0.3, 0.9, rng),
            number(0.5, 1.4, rng),
            number(0.2, 0.7, rng),
            number(0.3, 2, rng),
        )
        m = normal(D, rng=rng)
        n = alpha**2 * 0.4 + sigma**2

        def denoise(x: Tensor, m: Tensor = m, alpha: float = alpha, sigma: float = sigma, n: float = n) -> Tensor:
            return alpha * 0.4 / n * x + sigma**2 / n * torch.tanh(alpha * (x @ m) / n)[..., None] * m

        wanted = partial(_bent, denoise, A, y, x_t, alpha, sigma, std, v)
        r2 = v * sigma**2 / (v * alpha**2 + sigma**2)
        value = answer(denoise, A, y, x_t, alpha, sigma, std, v)
        if isinstance(value, Tensor) and value.requires_grad:
            raise Wrong(
                "the result still belongs to the graph of gradients: a sampler would keep every step; detach it."
            )
        mistakes: list[tuple[Any, str]] = [
            (denoise(x_t), "nothing is added to the guess."),
            (wanted(sign=-1.0), "the guess is pushed away from the measurement (a sign)."),
            (wanted(r2=0.0), "r^2 is missing in the inverse: that is DPS, which takes the guess for certain."),
            (wanted(gram=False), "A A^T is missing behind r^2: A mixes coordinates here."),
            (wanted(r2=r2**0.5), "r^2 is a variance; yours is its root."),
            (wanted(r2=r2**2), "r^2 is squared once more; (16.17) gives r^2 itself."),
            (wanted(noise=std), "the noise enters by its variance, noise_std squared."),
            (wanted(r2=v), "the spread is v at every level; it should be (16.17), which falls with the noise."),
            (wanted(jacobian=False), "the miss is not sent through the network: J^T is missing."),
            (
                wanted(jacobian=False, factor=r2),
                "that puts r^2 for the covariance in front, too; (16.16) keeps the network's own Jacobian there.",
            ),
            (
                wanted(factor=1.0),
                "the gradient changes the score; the guess changes by sigma^2 / alpha times it.",
            ),
            (wanted(factor=sigma**2), "the factor in front is sigma^2 / alpha."),
            (wanted(factor=sigma / alpha), "sigma enters squared in front."),
        ]
        expect_close(value, wanted(), what="the bent guess", mistakes=mistakes)
    return (
        "One backward pass, and a K x K system: for blur it is solved in Fourier space, for averaging it is a number."
    )


@exercise(
    "16.7",
    title="four answers, one mean",
    stars=2,
    kind="numeric",
    hints=[
        "By (16.20) the mean of K answers has the error (1 + 1/K) times the least one.",
        "The ratio of errors is 2 / (1 + 1/4); decibels are 10 log10 of it.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    right = 10 * math.log10(2 / 1.25)
    expect_number(
        answer,
        right,
        what="the gain in decibels",
        rtol=0.02,
        mistakes=[
            (10 * math.log10(4), "averaging cannot divide the whole error by 4: the original's own doubt stays."),
            (10 * math.log10(2), "that is the gain of the mean of infinitely many."),
            (2 / 1.25, "that is the ratio of errors; in decibels it is 10 log10 of it."),
            (20 * math.log10(2 / 1.25), "the ratio is of squared errors already: 10 log10, not 20."),
            (-right, "averaging makes the error smaller, so the PSNR larger."),
            (10 * math.log10(1.25), "that is what is still missing to the posterior mean."),
            (math.log(2 / 1.25), "decibels use the logarithm to base 10, times 10."),
        ],
    )
    return "Two of the three decibels, by blurring four honest answers into one that no pen has ever drawn."


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves(
    "16.1",
    x=line(-2, 2),
    xlabel="what the second coordinate is",
    panels=("weight", "mean", "variance"),
    lines=("part 0", "1"),
)
def _(answer: Any) -> Tensor:
    weights = torch.tensor([0.5, 0.5], dtype=DOUBLE, device="cpu")
    means = torch.tensor([[-1.0, -0.5], [1.0, 0.5]], dtype=DOUBLE, device="cpu")
    C = torch.tensor([[[0.5, 0.3], [0.3, 0.4]], [[0.3, -0.1], [-0.1, 0.6]]], dtype=DOUBLE, device="cpu")
    return torch.stack([torch.stack(list(answer(weights, means, C, y))) for y in line(-2, 2).tolist()], dim=2)


@target_curves(
    "16.4", x=line(0, 1), xlabel="$t$ on the cosine path", panels=("share heard",), lines=("variance 1", "0.1")
)
def _(answer: Any) -> list[Tensor]:
    c = Cosine()(line(0.005, 0.995))
    return [answer(c.alpha, c.sigma, variance) for variance in (1.0, 0.1)]


@target_points("16.5", title="the second coordinate is given: 0.75", limit=2.4)
def _(answer: Any) -> Tensor:
    path, rng = DiscreteDDPM(cosine_betas(40)), seeded(0, "cpu")
    exact, solver = ring().denoiser(path), Ancestral()

    def reverse(x: Tensor, t: int) -> Tensor:
        at, to = (torch.tensor(float(k), device="cpu") for k in (t, t - 1))
        return solver.step(exact, x, at, to, (), torch.randn(x.shape, generator=rng, device="cpu"))[0]

    known = torch.tensor([0.0, 0.75], device="cpu").expand(150, 2)
    mask = torch.tensor([False, True], device="cpu").expand(150, 2)
    noise = torch.randn(2, 41, 3, 150, 2, generator=seeded(1, "cpu"), device="cpu")
    return torch.as_tensor(answer(reverse, cloud(), known, mask, path.betas.float(), 3, noise))


@target_curves("16.6", x=line(-3, 3), xlabel="$x_t$", panels=("bent guess",), lines=("exact $y$", "noisy $y$"))
def _(answer: Any) -> list[Tensor]:
    A, y = torch.ones(1, 1, dtype=DOUBLE, device="cpu"), torch.full((1,), 0.5, dtype=DOUBLE, device="cpu")
    return [
        answer(lambda x: torch.tanh(0.8 * x / 0.36), A, y, line(-3, 3)[:, None], 0.8, 0.6, noise, 1.0)[:, 0]
        for noise in (0.05, 1.0)
    ]
