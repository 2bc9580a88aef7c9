"""Checks of chapter 4: score matching and NCSN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import VE, VP, Cosine, GaussianPath
from diffedu.exercises import (
    NotAttempted,
    Wrong,
    exercise,
    expect_choice,
    expect_close,
    expect_number,
    expect_shape,
)
from diffedu.exercises._inputs import cloud, line, ring, same
from diffedu.exercises._targets import target_curves, target_points


def _field(D: int, rng: torch.Generator) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """A smooth vector field that is no gradient, s_i = sin((A x)_i) + x_i^2 / 2, and its Jacobian (B, D, D)."""
    A = torch.randn(D, D, generator=rng, dtype=torch.float64)

    def field(x: Tensor) -> Tensor:
        return torch.sin(x @ A.T) + 0.5 * x**2

    def jacobian(x: Tensor) -> Tensor:
        return torch.cos(x @ A.T)[:, :, None] * A + torch.diag_embed(x)

    return field, jacobian


def _trained_through(loss: Callable[[Callable[[Tensor], Tensor], Tensor], Any], x: Tensor) -> None:
    """Raise unless the mean of the loss of s = -a x has a gradient with respect to a, the right one."""
    a = torch.tensor(0.7, dtype=torch.float64, device="cpu", requires_grad=True)
    value = loss(lambda y: -a * y, x)
    if not (isinstance(value, Tensor) and value.requires_grad):
        raise Wrong("nothing can be trained through your result: it has no gradient any more. Don't detach it.")
    (slope,) = torch.autograd.grad(value.mean(), a, allow_unused=True)
    wanted = 0.7 * x.square().sum(1).mean() - x.shape[1]
    if slope is None or not torch.allclose(slope, wanted, rtol=1e-6):
        raise Wrong(
            "the values are right, but a parameter of the network gets the wrong gradient: detach nothing, and "
            "torch.autograd.grad(..., create_graph=True) keeps the derivative differentiable."
        )


@exercise(
    "4.1",
    title="errata museum: the arrow",
    stars=1,
    kind="find-and-fix",
    hints=[
        "Which way must the arrow point if x_t lies to the right of alpha x0?",
        "Differentiate -|x_t - alpha x0|^2 / (2 sigma^2).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):  # the second with B = D, where a wrong broadcast runs
        x_t, x0 = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        alpha, sigma = 0.2 + torch.rand(2, B, generator=rng, dtype=torch.float64)
        offset, s = x_t - alpha[:, None] * x0, sigma[:, None]
        got = answer(x_t, x0, alpha, sigma)
        if same(got, offset / s):
            raise NotAttempted
        mistakes = [
            (offset / s**2, "one of two: the square is there, but the arrow points away from alpha x0."),
            (-offset / s, "one of two: the sign is right, but this is minus the noise; divide by sigma once more."),
            (-(x_t - x0) / s**2, "the clean point has been shrunk: x_t scatters about alpha x0, not about x0."),
            (-offset, "the arrow has lost its length: divide by the variance."),
            (
                -(x_t / alpha[:, None] - x0) / s**2,
                "you divided by alpha: that is a score by the unshrunk point. The offset of x_t is x_t - alpha x0.",
            ),
            (-offset / (2 * s**2), "the 2 of the exponent goes when the square is differentiated."),
        ]
        expect_close(got, -offset / s**2, what="the score", mistakes=mistakes)
    return "With the plus, a network trained on it points away from the data, and its loss falls just as nicely."


@exercise(
    "4.2",
    title="other proportions",
    stars=1,
    kind="prediction",
    hints=["Use (4.4): what are the responsibilities there?", "The score is a gradient of a logarithm: log(4 p) = ?"],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "the same",
        {
            "fourfold": "the density is four times as large there, but the gradient of a logarithm drops a factor.",
            "turn round": "each island still pulls to its own middle; the weights decide who pulls, not whereto.",
        },
    )
    return "Ten widths apart the other island's responsibility is below 1e-10 there: the weight cancels in (4.4)."


@exercise(
    "4.3",
    title="to what does the loss converge?",
    stars=1,
    kind="numeric",
    hints=[
        "The best score is the true one of the noisy data, N(0, (4 + sigma^2) I). Use (4.22).",
        "E|x_t / (4 + sigma^2)|^2 = D / (4 + sigma^2).",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    D, v, s2 = 3, 4.0, 0.25
    right = D / (2 * s2) * v / (v + s2)
    expect_number(
        answer,
        right,
        rtol=1e-3,
        mistakes=[
            (0.0, "zero would need the clean point to be known from the noisy one."),
            (D / (2 * s2), "that is what arrows of zero pay; a perfect score pays a little less: (4.22)."),
            (2 * right, "the half is missing."),
            (right / D, "that is one coordinate; the loss adds up all three."),
            (
                D / (2 * (v + s2)),
                "that is half the mean square of the score itself, the term to be subtracted in (4.22).",
            ),
            (D / (2 * s2) * 2 / (2 + s2), "the covariance is 4 I, so the variance is 4 and not 2."),
            (D / (2 * s2) - D / (2 * v), "the score is that of the noisy data, of variance 4 + sigma^2."),
        ],
    )
    return "The score can save only 6 per cent of the loss here: with little noise the targets are nearly all scatter."


@exercise(
    "4.4",
    title="Hyvärinen's loss",
    stars=2,
    hints=[
        "x = x.clone().requires_grad_() first, then s = score(x).",
        "For each coordinate i: torch.autograd.grad(s[:, i].sum(), x, create_graph=True)[0][:, i].",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        field, jacobian = _field(3, rng)
        x = torch.randn(B, 3, generator=rng, dtype=torch.float64)
        s, J = field(x), jacobian(x)
        square, trace = s.square().sum(1), J.diagonal(dim1=1, dim2=2).sum(1)
        got = answer(field, x)
        if isinstance(got, Tensor) and got.ndim == 0:
            raise Wrong("one value for each point is asked for; leave the mean to the caller.")
        expect_shape(got, (B,), what="the loss", because="one value for each point")
        mistakes = [
            (
                0.5 * square - trace,
                "the divergence has the wrong sign: (4.9) gave a minus, (4.8) another.",
            ),
            (square + trace, "the half before the square is missing."),
            (0.5 * square + J.sum((1, 2)), "you added all entries of the Jacobian; the divergence is its diagonal."),
            (0.5 * s.square().mean(1) + trace, "the square is a sum over coordinates, not a mean."),
            (0.5 * square, "the divergence is missing."),
            (trace, "the squared length is missing: without it longer arrows would always be better."),
            (
                0.5 * square + J.diagonal(dim1=1, dim2=2).sum() / B,
                "your divergence is a mean over the batch: each point has its own.",
            ),
            (
                0.5 * square + J.diagonal(dim1=1, dim2=2).sum(),
                "your divergence is a sum over the batch: take coordinate i of the gradient, keep the points apart.",
            ),
        ]
        expect_close(got, 0.5 * square + trace, what="the loss", mistakes=mistakes)
        _trained_through(answer, x)
    return "No density was needed, and none could be: the field that was checked is nobody's gradient."


@exercise(
    "4.5",
    title="along one line",
    stars=2,
    hints=[
        "v . s is one number for each point: (v * s).sum(1).",
        "Its gradient by x: torch.autograd.grad((v * s).sum(), x, create_graph=True).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        field, jacobian = _field(3, rng)
        x, v = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        s, J = field(x), jacobian(x)
        along = (v * s).sum(1)
        bend = torch.einsum("bi,bij,bj->b", v, J, v)
        got = answer(field, x, v)
        if isinstance(got, Tensor) and got.ndim == 0:
            raise Wrong("one value for each point is asked for; leave the mean to the caller.")
        expect_shape(got, (B,), what="the loss", because="one value for each point")
        mistakes = [
            (
                0.5 * s.square().sum(1) + bend,
                "this is (4.16), with the whole |s|^2; here the arrow too is seen along v.",
            ),
            (0.5 * along**2 - bend, "the second term has the wrong sign."),
            (along**2 + bend, "the half before the square is missing."),
            (
                0.5 * along**2 + torch.einsum("bi,bij->b", v, J),
                "the gradient of v . s is summed up; it has to be multiplied by v once more.",
            ),
            (
                0.5 * along**2 + J.diagonal(dim1=1, dim2=2).sum(1),
                "that is the whole trace, at the price of D backward passes; one direction is meant.",
            ),
            (0.5 * along**2, "the second term, which makes the arrows converge, is missing."),
            (0.5 * (along**2 + bend), "the half belongs to the square alone."),
            (0.5 * (v * s).square().sum(1) + bend, "v . s is one number: add up the products first, then square."),
        ]
        expect_close(got, 0.5 * along**2 + bend, what="the loss", mistakes=mistakes)
        _trained_through(lambda score, y: answer(score, y, torch.ones_like(y)) + _cross(score, y), x)
    return (
        "(4.16) usually has the smaller variance: it puts the known mean |s|^2 in the place of the random (v . s)^2, "
        "and the backward pass costs the same."
    )


def _cross(score: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """What (4.16) has and the sliced square along v = (1, ..., 1) lacks; makes the two losses equal for training."""
    s = score(y)
    return 0.5 * s.square().sum(1) - 0.5 * s.sum(1) ** 2


@exercise(
    "4.6",
    title="errata museum: the weight",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Which score belongs to eps_hat? Put it into (4.26).",
        "(4.27): the weight sigma^2 and the two factors 1 / sigma^2 cancel.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        eps_hat, eps = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        sigma = torch.exp(1.5 * torch.randn(B, generator=rng, dtype=torch.float64))
        error = (eps_hat - eps).square().sum(1)
        got = answer(eps_hat, eps, sigma)
        if same(got, sigma**2 * 0.5 * error):
            raise NotAttempted
        expect_shape(got, (B,), what="the loss", because="one value for each example")
        mistakes = [
            (0.5 * error / sigma**2, "that is the unweighted score loss, lambda = 1."),
            (error, "the weight is right; the half is missing."),
            (0.5 * error / 3, "the weight is right, but the loss is a sum over coordinates and not a mean."),
            (0.5 * sigma * error, "half of the superfluous weight is still there: sigma must vanish altogether."),
            (0.5 * sigma**4 * error, "now it is worse: the weight has to go, not to grow."),
            (0.5 * (eps_hat + eps).square().sum(1), "the sign: s = -eps_hat / sigma and the target is -eps / sigma."),
        ]
        expect_close(got, 0.5 * error, what="the loss", mistakes=mistakes)
    return "What stood there was lambda = sigma^4: the finest levels have no say, as in the figure of section 4.8."


@exercise(
    "4.7",
    title="errata museum: half a formula",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Take s = -x / v, a Gaussian of variance v. Which variance reproduces itself, for small h?",
        "(4.28): h goes with sqrt(2 h).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    field, _ = _field(3, rng)
    x, z = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64)
    h = 0.05 + 0.2 * torch.rand((), generator=rng, dtype=torch.float64)
    s = field(x)
    got = answer(field, x, h, z)
    if same(got, x + h * s + h**0.5 * z):
        raise NotAttempted
    mistakes = [
        (
            x + h / 2 * s + h**0.5 * z,
            "this samples p, but with h / 2 in the arrow's term: keep h there, and mend the noise.",
        ),
        (
            x + 2 * h * s + h**0.5 * z,
            "the factor went to the wrong side: now the noise is even smaller beside the arrow.",
        ),
        (x + h * s + 2 * h**0.5 * z, "the noise's *variance* has to be doubled: the factor belongs under the root."),
        (x + h * s + 2 * h * z, "2 h is the variance of the noise; it is multiplied by its root."),
        (x + h * s + h * z, "noise adds up over steps by its variance, so its size is a square root of h."),
        (
            x + h / 2 * s + (2 * h) ** 0.5 * z,
            "the noise has become too strong: with half of h in the arrow's term this samples the root of p.",
        ),
        (
            lambda: x + (2 * h) ** 0.5 * z + h * field(x + (2 * h) ** 0.5 * z),
            "the factors are right, but the arrow belongs to the point before the kick.",
        ),
        (x - h * s + (2 * h) ** 0.5 * z, "the walker has to climb along the arrow, not against it."),
        (x + h * s, "without noise the walker climbs to the nearest top and stays."),
    ]
    expect_close(got, x + h * s + (2 * h) ** 0.5 * z, what="the step", mistakes=mistakes)
    return "As it stood, it sampled p^2 up to a factor: temperature 1/2, half the variance in every island."


@exercise(
    "4.8",
    title="errata museum: the wrong examiner",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Of which density are the points x_t samples?",
        "mixture.noised(path, t) is a GaussianMixture as well; ask it for its score.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    means = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    mixture = GaussianMixture.isotropic(means, 0.3)
    paths: list[GaussianPath] = [VP(), Cosine()]
    for path in paths:
        t = 0.2 + 0.4 * torch.rand((), generator=rng, dtype=torch.float64)
        x0 = mixture.sample(6, rng)
        eps = torch.randn(6, 3, generator=rng, dtype=torch.float64)
        a, b = 0.5 + torch.rand(2, generator=rng, dtype=torch.float64)

        def net(x: Tensor, t: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
            return torch.sin(a * x) - b * t[:, None] * x

        c = path(t)
        x_t = c.alpha * x0 + c.sigma * eps
        guess = torch.sin(a * x_t) - b * t * x_t
        noised = mixture.noised(path, t)
        error = guess - noised.score(x_t)
        got = answer(net, mixture, path, t, x0, eps)
        if same(got, (guess - mixture.score(x_t)).square().sum(1).mean()):
            raise NotAttempted
        expect_shape(got, (), what="the error", because="one number, the mean over all points")
        mistakes: list[tuple[Any, str]] = [
            (error.square().sum(), "that is the sum over the points; asked for is their mean."),
            (
                (guess - mixture.score(x0)).square().sum(1).mean(),
                "the examiner asks about other points, x0; and it is still the clean data's score.",
            ),
            (
                (torch.sin(a * x0) - b * t * x0 - mixture.score(x0)).square().sum(1).mean(),
                "at clean points the network was never trained for this t: noise the density, not the question away.",
            ),
            (
                (guess - noised.score(x0)).square().sum(1).mean(),
                "right density, wrong points: both sides are asked at x_t.",
            ),
            (
                (guess + eps / c.sigma).square().sum(1).mean(),
                "that is the denoising loss: it contains the constant of (4.20), and the exact score is known here.",
            ),
            (error.square().mean(), "that is a mean over coordinates as well; asked for is the sum over them."),
            (0.5 * error.square().sum(1).mean(), "that is the Fisher divergence; here the half is left out."),
            (
                (guess - mixture.noised(VE(), 0.5).score(x_t)).square().sum(1).mean(),
                "the data are noised along another path than the network's.",
            ),
        ]
        expect_close(got, error.square().sum(1).mean(), what="the error", mistakes=mistakes)
    return "The exact score now gets the mark 0 at every t, which is the first test that an examiner has to pass."


@exercise(
    "4.9",
    title="the staircase",
    stars=2,
    hints=[
        "torch.linspace gives the levels, repeat_interleave the stay at each.",
        "levels * steps starts need levels * steps + 1 times: append the last level once more.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for path in (VE(0.05, 5.0), VP(), VP(2.0, 2.0, t_max=3.0)):
        levels, steps = (int(k) for k in torch.randint(3, 8, (2,), generator=rng))
        steps += levels  # never equal
        each = torch.linspace(path.t_max, path.t_min, levels, device="cpu")
        right = torch.cat([each.repeat_interleave(steps), each[-1:]])
        got = answer(path, levels, steps)
        if isinstance(got, Tensor) and got.shape == (levels * steps,):
            raise Wrong(
                "one time is missing: sample takes a step for each *pair* of neighbours, so append the last level."
            )
        if isinstance(got, Tensor) and got.shape == (levels * (steps + 1),):
            raise Wrong("every level has a time too many: only the last one needs its end in the grid.")
        mistakes = [
            (right.flip(0), "the staircase climbs: it has to fall from noise to data."),
            (
                torch.cat([each.repeat(steps), each[-1:]]),
                "repeat goes down the whole ladder again and again; repeat_interleave stays at each level.",
            ),
            (
                torch.linspace(path.t_max, path.t_min, levels * steps + 1, device="cpu"),
                "this grid never stays: each level is there once.",
            ),
            (
                lambda each=each, steps=steps: torch.cat([each[:1], each.repeat_interleave(steps)]),
                "the first level has a step too many and the last one a step too few: append at the end.",
            ),
            (
                lambda path=path, levels=levels, steps=steps: torch.cat(
                    [
                        torch.linspace(1, 0, levels, device="cpu").repeat_interleave(steps),
                        torch.zeros(1, device="cpu"),
                    ]
                ),
                "the ladder runs from 1 to 0; it has to end at the path's own t_min.",
            ),
            (
                lambda path=path, levels=levels, steps=steps: torch.cat(
                    [
                        torch.linspace(1, path.t_min, levels, device="cpu").repeat_interleave(steps),
                        torch.full((1,), path.t_min, device="cpu"),
                    ]
                ),
                "the ladder starts at 1; it has to start at the path's own t_max.",
            ),
        ]
        expect_close(got, right, what="the grid", mistakes=mistakes, atol=1e-6)
    return "With it, sample(denoiser, Langevin(c), ...) is NCSN's sampler; on VP it anneals a DDPM's network."


@exercise(
    "4.10",
    title="any exponential family",
    stars=3,
    kind="derivation",
    hints=[
        "J = mean of 1/2 |sum_k theta_k grad phi_k|^2 + sum_k theta_k lap phi_k.",
        "That is 1/2 theta^T A theta + b . theta with A_kl = mean of grad phi_k . grad phi_l. What is b?",
        "A theta = -b, with b_k the mean of the Laplacian of phi_k.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    N, K, D = 40, 3, 4
    gradients = torch.randn(N, K, D, generator=rng, dtype=torch.float64)
    laplacians = torch.randn(N, K, generator=rng, dtype=torch.float64) - 1
    A = torch.einsum("nkd,nld->kl", gradients, gradients) / N
    b = laplacians.mean(0)
    right = torch.linalg.solve(A, -b)
    got = answer(gradients, laplacians)
    expect_shape(got, (K,), what="theta", because="one number for each feature")
    mistakes: list[tuple[Any, str]] = [
        (-right, "the sign: at the minimum A theta + b = 0."),
        (right / N, "A is a sum over the samples and b a mean; both must be means (or both sums)."),
        (right * N, "b is a sum over the samples and A a mean; both must be means (or both sums)."),
        (right / 2, "the derivative of 1/2 theta^T A theta is A theta, without a 2."),
        (2 * right, "the half of (4.10) belongs to the square: its derivative is A theta."),
        (-A @ b, "A multiplies; it has to be inverted: solve A theta = -b."),
        (
            lambda: torch.linalg.solve(torch.einsum("nkd,nld->kl", gradients, gradients) / (N * D), -b),
            "A has a sum over the D coordinates in it, not a mean.",
        ),
        (
            lambda: torch.linalg.solve(torch.einsum("kd,ld->kl", gradients.mean(0), gradients.mean(0)), -b),
            "A is the mean of the products of gradients, not the product of their means.",
        ),
        (
            -b / A.diagonal(),
            "the features are not independent of each other: A is a matrix, and its other entries count.",
        ),
    ]
    expect_close(got, right, what="theta", rtol=1e-6, mistakes=mistakes)
    # An independent judge: at the minimum of J its derivative vanishes.
    theta = right.clone().requires_grad_()
    J = (0.5 * torch.einsum("k,nkd->nd", theta, gradients).square().sum(1) + laplacians @ theta).mean()
    (slope,) = torch.autograd.grad(J, theta)
    assert slope.abs().max() < 1e-9
    return "For a Gaussian, with features x and x^2, this is its maximum-likelihood fit; for other families it is not."


# --------------------------------------------------------------------------------------- what the solutions draw


def _two_bumps(x: Tensor) -> Tensor:
    """The score of two Gaussian bumps at -1 and 1, each of variance 1/4; x has shape (B, 1)."""
    return (torch.tanh(4 * x) - x) / 0.25


@target_curves(
    "4.1", x=line(-3, 3), xlabel="$x_t$", panels=("arrow of the pair",), lines=(r"$\sigma = 1$", r"$\sigma = 0.5$")
)
def _(answer: Any) -> list[Tensor]:
    x = line(-3, 3)[:, None]
    one = torch.ones_like(x)
    return [answer(x, one, 0.8 * one[:, 0], sigma * one[:, 0])[:, 0] for sigma in (1.0, 0.5)]


@target_curves("4.4", x=line(-2.5, 2.5), xlabel="$x$", panels=("Hyvärinen's loss at $x$",))
def _(answer: Any) -> Tensor:
    return torch.as_tensor(answer(_two_bumps, line(-2.5, 2.5)[:, None]))


@target_curves("4.5", x=line(-2.5, 2.5), xlabel="$x_1$", panels=("loss along one line",))
def _(answer: Any) -> Tensor:
    x = torch.stack([line(-2.5, 2.5), torch.full((81,), 0.5, dtype=torch.float64, device="cpu")], dim=1)
    mix = torch.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=torch.float64, device="cpu")
    v = torch.tensor([0.8, 0.6], dtype=torch.float64, device="cpu").expand_as(x)
    return torch.as_tensor(answer(lambda x: torch.sin(x) @ mix - x, x, v))


@target_points("4.7", title="500 steps on six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    score, rng, x = ring().score, seeded(0, "cpu"), cloud()
    for _ in range(500):
        x = answer(score, x, 0.003, torch.randn(x.shape, generator=rng, device="cpu"))
    return x


@target_curves("4.9", x=range(25), xlabel="step", panels=("$t$",))
def _(answer: Any) -> Tensor:
    return torch.as_tensor(answer(VP(), 6, 4))


@target_curves("4.10", x=line(-3, 3), xlabel="$x$", panels=("fitted score",))
def _(answer: Any) -> Tensor:
    x = torch.linspace(-1.5, 2.5, 200, dtype=torch.float64, device="cpu")  # features x, x^2 and x^4
    one = torch.ones_like(x)
    theta = answer(torch.stack([one, 2 * x, 4 * x**3], 1)[..., None], torch.stack([0 * x, 2 * one, 12 * x**2], 1))
    z = line(-3, 3)
    return theta[0] + 2 * theta[1] * z + 4 * theta[2] * z**3
