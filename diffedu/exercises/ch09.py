"""Checks of chapter 9: Tweedie's formula, the five predictions, and how a network moves to another path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import expand
from diffedu.exercises import NotAttempted, exercise, expect_choice, expect_close, expect_parts
from diffedu.exercises._inputs import line, normal, same
from diffedu.exercises._targets import target_curves

DOUBLE = torch.float64


def _levels(B: int, rng: torch.Generator, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    """alpha and sigma, each (B,), all different, with alpha^2 + sigma^2 away from 1."""
    alpha = 0.2 + 0.7 * torch.rand(B, generator=rng, dtype=dtype)
    sigma = 0.3 + 1.5 * torch.rand(B, generator=rng, dtype=dtype)
    return alpha, sigma


@exercise(
    "9.1",
    title="Tweedie for a batch",
    stars=1,
    hints=[
        "Climb by sigma squared, then undo the shrinking: (9.7).",
        "alpha and sigma have shape (B,): give them as many axes of length 1 as x_t has after the first.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    # Pictures, points, and as many points as columns, where a broadcast along the wrong axis runs.
    for shape in ((4, 1, 3, 3), (5, 3), (4, 4)):
        x_t, score = normal(2, *shape, rng=rng)
        alpha, sigma = _levels(shape[0], rng)
        a, s = expand(alpha, x_t), expand(sigma, x_t)
        mistakes: list[tuple[Any, str]] = [
            ((x_t - s**2 * score) / a, "the guess runs away from the data: the score is climbed, so add its step."),
            ((x_t + s * score) / a, "the step is sigma; Tweedie's has sigma squared."),
            (x_t + s**2 * score, "the shrinking is not undone: divide by alpha at the end."),
            (x_t / a + s**2 * score, "only x_t is divided by alpha; the step has to be divided, too."),
            (a * (x_t + s**2 * score), "you multiply by alpha: it shrank the data, and dividing undoes that."),
            ((x_t - s * score) / a, "that treats the score as a noise: the noise is -sigma times the score."),
            ((x_t + s**2 * score) / a**2, "that divides by alpha squared, which belongs to the covariance (9.12)."),
        ]
        if len(shape) == 2 and shape[0] == shape[1]:
            wrong = (x_t + sigma**2 * score) / alpha
            mistakes.append((wrong, "coefficients of shape (B,) meet the last axis of x_t; they belong to the first."))
        expect_close(answer(x_t, score, alpha, sigma), (x_t + s**2 * score) / a, what="the guess", mistakes=mistakes)
    return "Each point climbs by its own sigma squared: far where the noise is large, hardly at all where it is small."


@exercise(
    "9.2",
    title="a network that says nothing",
    stars=1,
    kind="prediction",
    hints=[
        "Put 0 into each row of (9.16), with sigma near 0 and alpha near 1.",
        "Read as eps: x_t / alpha. Read as v: alpha x_t (where alpha^2 + sigma^2 = 1). And read as x0?",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "x0",
        {
            "eps": "no noise seen means x0_hat = x_t / alpha, and with little noise that is nearly right.",
            "v": "by (9.16) with v = 0, x0_hat = alpha x_t: near the data alpha is nearly 1.",
        },
    )
    return (
        "Near the data an x0-network must copy its input, and all its errors count; the other two "
        "get the copy for nothing. At the noisy end the roles are exchanged."
    )


@exercise(
    "9.3",
    title="one direction of doubt",
    stars=2,
    hints=[
        "By (9.12) it is sigma^2 / alpha times w . J w, with J the Jacobian of the guess.",
        "The gradient of the number w . x0_hat(x) by x is J^T w; multiply it by w and add up.",
        "x = x_t.detach().requires_grad_(); g, = torch.autograd.grad((denoise(x) * w).sum(), x).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        D = 3
        # Two clusters, at +m and -m, each of variance v: the guess is no line, so the place of the Jacobian counts.
        m, x_t, w = normal(D, rng=rng), normal(B, D, rng=rng), normal(B, D, rng=rng)
        v = float(0.2 + 0.3 * torch.rand((), generator=rng))
        alpha = float(0.3 + 0.5 * torch.rand((), generator=rng))
        sigma = float(0.6 + 0.8 * torch.rand((), generator=rng))
        n = alpha**2 * v + sigma**2

        def lean(x: Tensor, m: Tensor = m, alpha: float = alpha, n: float = n) -> Tensor:
            return torch.tanh(alpha * (x @ m) / n)

        def denoise(
            x: Tensor, m: Tensor = m, v: float = v, alpha: float = alpha, sigma: float = sigma, n: float = n
        ) -> Tensor:
            return alpha * v / n * x + sigma**2 / n * torch.tanh(alpha * (x @ m) / n)[..., None] * m

        def within_and_between(doubt: Tensor, m: Tensor = m, w: Tensor = w, v: float = v, n: float = n) -> Tensor:
            return sigma**2 * v / n * w.square().sum(1) + (sigma**2 / n * (w @ m)) ** 2 * doubt  # noqa: B023

        right = within_and_between(1 - lean(x_t) ** 2)
        slope = (alpha * sigma**2 / n**2) * (1 - lean(x_t) ** 2)
        jacobian = alpha * v / n * torch.eye(D, dtype=DOUBLE, device="cpu") + slope[:, None, None] * torch.outer(m, m)
        gradient = torch.einsum("bi,bij->bj", w, jacobian)
        bare = (gradient * w).sum(1)
        length = w.square().sum(1)
        mistakes: list[tuple[Any, str]] = [
            (bare, "that is w . J w; (9.12) has the factor sigma^2 / alpha before the Jacobian."),
            (sigma**2 * bare, "the factor is sigma^2 / alpha, not sigma^2 alone."),
            (sigma / alpha * bare, "the factor is sigma^2 / alpha; you have sigma without the square."),
            (
                (sigma / alpha) ** 2 * bare,
                "sigma^2 / alpha^2 stands before I + sigma^2 Hessian; before J, alpha is plain.",
            ),
            (
                sigma**2 / alpha * (denoise(w) * w).sum(1),
                "w . x0_hat(w) is w . J w for a guess that is a line; others have to be differentiated, at x_t.",
            ),
            (bare.sqrt() * sigma / alpha**0.5, "that is a standard deviation; asked for is the variance."),
            (sigma**2 / alpha * gradient.sum(1), "the gradient is not multiplied by w before it is added up."),
            (
                sigma**2 / alpha * jacobian.diagonal(dim1=1, dim2=2).sum(1),
                "that is the sum over all coordinates, and not along w.",
            ),
            (
                sigma**2 / alpha * bare / length,
                "you divided by |w|^2. Asked for is the variance of w . x0, for w of any length.",
            ),
            (
                sigma**2 / alpha * bare.sum().expand(B),
                "the examples have been added together; each has a direction and a variance of its own.",
            ),
            (sigma**2 / alpha * gradient.square().sum(1), "that is the squared length of the gradient, not w . J w."),
        ]
        expect_close(answer(denoise, x_t, w, alpha, sigma), right, what="the variance", mistakes=mistakes)
    return "One backward pass, whatever D is. With random directions w of entries ±1 its mean is the trace."


@exercise(
    "9.4",
    title="any target into any other",
    stars=2,
    hints=[
        "First solve (9.16) for x0 and eps, then combine them with the goal's weights.",
        "Six coefficients of shape (B,): make them (B, 1) before they meet (B, D).",
        "area = alpha b - sigma a;  x0 = (b x_t - sigma value) / area;  eps = (alpha value - a x_t) / area.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        x0, eps = normal(2, B, 3, rng=rng)
        alpha, sigma = _levels(B, rng)
        u, v = torch.rand(2, B, generator=rng, dtype=DOUBLE)
        a, b = -sigma * (0.5 + u), 0.3 + v  # of opposite signs: the determinant stays away from 0
        p, q = normal(2, B, rng=rng)
        A, S, a1, b1, p1, q1 = (expand(c, x0) for c in (alpha, sigma, a, b, p, q))
        x_t, value = A * x0 + S * eps, a1 * x0 + b1 * eps
        area = A * b1 - S * a1
        mistakes: list[tuple[Any, str]] = [
            (q1 * x0 + p1 * eps, "the goal's two weights are swapped: a belongs to x0, b to eps."),
            (area * (p1 * x0 + q1 * eps), "the division by the determinant is missing."),
            (
                (p1 * (b1 * x_t - S * value) + q1 * (A * value - a1 * x_t)) / (A * b1 + S * a1),
                "the determinant is alpha b - sigma a, with a minus.",
            ),
            (
                (p1 * (b1 * x_t + S * value) + q1 * (A * value - a1 * x_t)) / area,
                "the sign in x0 is wrong: b x_t minus sigma times the value.",
            ),
            (
                (p1 * (b1 * x_t - S * value) + q1 * (A * value + a1 * x_t)) / area,
                "the sign in eps is wrong: alpha times the value minus a x_t.",
            ),
            (
                lambda S=S, A=A, a1=a1, b1=b1, p1=p1, q1=q1, x_t=x_t, value=value: (
                    (a1 * (q1 * x_t - S * value) + b1 * (A * value - p1 * x_t)) / (A * q1 - S * p1)
                ),
                "source and goal have changed places: the value belongs to the source.",
            ),
            (p1 * x0 - q1 * eps, "the noise has come out with the opposite sign."),
            (
                p1 * (x_t - S * value) / A + q1 * value,
                "you took the value for a noise, whatever it was: the source's weights are not used.",
            ),
        ]
        if B == 3:
            flat = alpha * b - sigma * a
            slip = p * (b * x_t - sigma * value) / flat + q * (alpha * value - a * x_t) / flat
            mistakes.append((slip, "coefficients of shape (B,) meet the last axis; they belong to the first."))
        got = answer(value, x_t, alpha, sigma, (a, b), (p, q))
        expect_close(got, p1 * x0 + q1 * eps, what="the goal's prediction", rtol=1e-6, mistakes=mistakes)
    return "Twenty conversions between five targets, and a sixth target of your own, in one system of two equations."


@exercise(
    "9.5",
    title="errata museum: the target of a score network",
    stars=1,
    kind="find-and-fix",
    hints=[
        "Does the arrow point towards the place where the density is highest, or away from it?",
        "And where is the density q(x_t | x0) highest: at x0, or at its shrunken image?",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        x_t, x0 = normal(2, B, 3, rng=rng)
        alpha, sigma = _levels(B, rng)
        a, s = expand(alpha, x0), expand(sigma, x0)
        got = answer(x_t, x0, alpha, sigma)
        if same(got, (x_t - x0) / s**2):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            (
                -(x_t - x0) / s**2,
                "one of two: the arrow points back now, but to x0; the noisy points stand around alpha x0.",
            ),
            ((x_t - a * x0) / s**2, "one of two: the centre is right now, but the arrow points away from it."),
            (-(x_t - a * x0) / s, "both are mended, but the square of sigma was right and is gone."),
            (
                -(x_t / a - x0) / s**2,
                "x0 is shrunk, so multiply it by alpha; you divided x_t instead, which stretches the noise.",
            ),
            (-(a * x_t - x0) / s**2, "alpha belongs to x0, not to x_t."),
            (
                -(x_t - a * x0) / (2 * s**2),
                "the 2 of the exponent is used up: the derivative of a square brings one down.",
            ),
            ((x_t - a * x0) / s, "that is the noise. The score is minus the noise over sigma."),
        ]
        if B == 3:
            mistakes.append(
                (
                    -(x_t - alpha * x0) / sigma**2,
                    "coefficients of shape (B,) meet the last axis; they belong to the first.",
                )
            )
        expect_close(got, -(x_t - a * x0) / s**2, what="the score", mistakes=mistakes)
    return (
        "With alpha = 1, as in NCSN, the second mistake is invisible. Moved to DDPM's path it pulls to the wrong place."
    )


@exercise(
    "9.6",
    title="errata museum: right in the middle",
    stars=2,
    kind="find-and-fix",
    hints=[
        "At t = 1 the noisy point is pure noise. What is the score of N(0, I), and what does the function return?",
        "eps = x_t + (1 - t) u: check it by putting in x_t and u. Then the score is -eps / sigma.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        x0, eps = normal(2, B, 3, rng=rng)
        flat = torch.rand(B, generator=rng, dtype=DOUBLE) * 0.35 + 0.1
        flat[0], flat[1] = 1.0, 0.8  # the very end, and a place beyond the middle
        t = expand(flat, x0)
        x_t, u = (1 - t) * x0 + t * eps, eps - x0
        got = answer(u, x_t, flat)
        if same(got, -(x_t + t * u) / t):
            raise NotAttempted
        mistakes: list[tuple[Any, str]] = [
            ((x_t + (1 - t) * u) / t, "the noise is right, but the score is minus the noise over t."),
            (-(x_t + (1 - t) * u), "that is minus the noise; the score is that over sigma, which is t."),
            (-(x_t + (1 - t) * u) / t**2, "one t too many: the noise is divided by sigma once."),
            (-(x_t - (1 - t) * u) / t, "the sign of u: eps = x_t + (1 - t) u."),
            (-(x_t - t * u) / t, "x_t - t u is the clean point; the score is minus the noise over t."),
            ((t * u - x_t) / (1 - t + 1e-12), "that is the formula for the other direction of time, noise at t = 0."),
            (-(x_t + u) / t, "the factor 1 - t before u is missing."),
        ]
        if B == 3:
            mistakes.append(
                (-(x_t + (1 - flat) * u) / flat, "t of shape (B,) meets the last axis; it belongs to the first.")
            )
        expect_close(got, -eps / t, what="the score", mistakes=mistakes)
    return "At t = 1 u drops out and the score is -x_t, that of pure noise: the limit is the test which t = 1/2 is not."


@exercise(
    "9.7",
    title="errata museum: the wrong examiner",
    stars=2,
    kind="find-and-fix",
    hints=[
        "The network was trained on noisy points. Whose score does it estimate?",
        "alpha N(m, s^2) + noise of size sigma has mean alpha m. And which variance?",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    x_t, bend, m = normal(40, 3, rng=rng), normal(40, 3, rng=rng), normal(3, rng=rng)
    s = float(0.3 + 0.5 * torch.rand((), generator=rng))
    alpha = float(0.3 + 0.4 * torch.rand((), generator=rng))
    sigma = float(0.5 + 0.6 * torch.rand((), generator=rng))
    variance = alpha**2 * s**2 + sigma**2

    def mark(true: Tensor, learned: Tensor) -> Tensor:
        return (learned - true).square().mean().sqrt() / true.square().mean().sqrt()

    right = -(x_t - alpha * m) / variance
    learned = right + 0.2 * bend
    got = answer(learned, x_t, m, s, alpha, sigma)
    if isinstance(got, Tensor) and same(got, mark(-(x_t - m) / s**2, learned)):
        raise NotAttempted
    mistakes: list[tuple[Any, str]] = [
        (
            mark(-(x_t - m) / variance, learned),
            "the variance is that of the noisy data now, but its mean has shrunk as well.",
        ),
        (
            mark(-(x_t - alpha * m) / s**2, learned),
            "the mean is right now, but the noisy data is wider than the clean.",
        ),
        (
            mark(-(x_t - alpha * m) / (s**2 + sigma**2), learned),
            "the data was shrunk: its variance enters with alpha squared.",
        ),
        (
            mark(-(x_t - alpha * m) / (alpha * s + sigma) ** 2, learned),
            "independent parts add their variances, not their standard deviations.",
        ),
        (
            mark(-(x_t - alpha * m) / (alpha * s**2 + sigma**2), learned),
            "a factor comes out of a variance squared: alpha^2 s^2.",
        ),
        (
            mark(-(x_t - alpha * m) / sigma**2, learned),
            "that is the score of q(x_t | x0) for x0 = m; the data varies by s around it.",
        ),
        (
            mark(-(x_t / alpha - m) / s**2, learned),
            "undoing the shrinking of x_t does not take its noise away: noise the density instead.",
        ),
        (mark(-(x_t - alpha * m) / variance**0.5, learned), "the score divides by the variance, not by its root."),
        (mark(right, learned) ** 2, "the truth is right; the two square roots were right as well, and are gone."),
        (
            (learned - right).square().mean().sqrt() / learned.square().mean().sqrt(),
            "the truth is right; the error is to be divided by the true score's size, not by the learned one's.",
        ),
    ]
    expect_close(got, mark(right, learned), what="the mark", mistakes=mistakes)
    expect_close(
        answer(right, x_t, m, s, alpha, sigma), torch.zeros((), dtype=DOUBLE, device="cpu"), what="a perfect mark"
    )
    return "A perfect network now gets 0. It had answered the right question all along."


@exercise(
    "9.8",
    title="the operation, by yourself",
    stars=2,
    hints=[
        "DDPM's x_t divided by alpha = sqrt(alpha_bar) is y = x0 + s eps. With which s?",
        "s = sigma / alpha = sqrt((1 - alpha_bar) / alpha_bar). Then eps = (y - x0_hat) / s.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):
        v = float(0.3 + torch.rand((), generator=rng))
        m = normal(3, rng=rng)

        def denoise(y: Tensor, s: Tensor, v: float = v, m: Tensor = m) -> Tensor:
            s = s.reshape(-1, 1)
            return m + v / (v + s**2) * (y - m)

        x_t = normal(B, 3, rng=rng)
        bar = 0.1 + 0.8 * torch.rand(B, generator=rng, dtype=DOUBLE)
        a, s = bar.sqrt()[:, None], (1 - bar).sqrt()[:, None]
        ratio = (s / a)[:, 0]
        guess = denoise(x_t / a, ratio)
        mistakes: list[tuple[Any, str]] = [
            (
                (x_t - a * denoise(x_t, ratio)) / s,
                "the point was not rescaled: denoise wants x0 + s eps, so x_t / alpha.",
            ),
            (
                (x_t - a * denoise(x_t / a, s[:, 0])) / s,
                "the noise grows when the point is divided by alpha: its level is then sigma / alpha, not sigma.",
            ),
            (
                (x_t - a * denoise(x_t / a, ratio**2)) / s,
                "s is a standard deviation, so the root of (1 - alpha_bar) / alpha_bar.",
            ),
            (
                (x_t - a * denoise(x_t / a, 1 / ratio)) / s,
                "the level is upside down: noise over signal, sigma / alpha.",
            ),
            (
                (x_t - a * denoise(x_t / a**2, ratio)) / s,
                "divide by alpha, the root of alpha_bar, and not by alpha_bar.",
            ),
            (
                (x_t - guess) / s,
                "the guess is that of x0. In x_t it is shrunk: eps = (x_t - alpha x0_hat) / sigma.",
            ),
            (
                (x_t - a * (a * guess)) / s,
                "x0_hat passes unchanged from one path to the other (9.24); you shrank it twice.",
            ),
            (guess, "that is x0_hat; asked for is the noise."),
            ((x_t - a * guess) / s**2, "that is minus the score; the noise is divided by sigma once."),
            (
                (x_t / a - guess) / s,
                "x_t / alpha holds the noise times sigma / alpha: divide by that.",
            ),
            ((a * guess - x_t) / s, "the noise has the opposite sign: it is what x_t has more than alpha x0_hat."),
        ]
        if B == 3:
            A, S = bar.sqrt(), (1 - bar).sqrt()
            mistakes.append(
                (
                    (x_t - A * denoise(x_t / A, S / A)) / S,
                    "alpha_bar of shape (B,) meets the last axis; it needs a second.",
                )
            )
        expect_close(answer(denoise, x_t, bar), (x_t - a * guess) / s, what="the noise", mistakes=mistakes)
    return "Any denoiser of x0 + s eps, of whatever decade, is now an eps-network for DDPM's sampler."


@exercise(
    "9.9",
    title="three losses made equal",
    stars=3,
    hints=[
        "By (9.19) the weight is the squared ratio of two determinants, the goal's over the source's.",
        "Determinants alpha b - sigma a: of eps it is alpha. Compute those of x0, v and the score.",
        "They are -sigma, alpha^2 + sigma^2 and -alpha / sigma.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    alpha, sigma = _levels(6, rng)
    right = ((alpha / sigma) ** 2, (alpha / (alpha**2 + sigma**2)) ** 2, sigma**2)
    names = ("the weight of x0", "the weight of v", "the weight of the score")
    parts = expect_parts(answer(alpha, sigma), 3)
    one = torch.ones_like(alpha)
    wrong: list[list[tuple[Any, str]]] = [
        [
            (
                1 / right[0],
                "the weight of x0 is upside down: an error of x0 is alpha / sigma times larger as an error of eps.",
            ),
            (alpha / sigma, "the weight of x0 lacks its square: losses are squared errors."),
            (one, "an error of x0 is not an error of eps: (9.1) at fixed x_t ties them by alpha / sigma."),
        ],
        [
            (1 / right[1], "the weight of v is upside down: the goal's determinant stands above."),
            (
                alpha**2,
                "the weight of v holds for alpha^2 + sigma^2 = 1 only; the determinant of v is alpha^2 + sigma^2.",
            ),
            (alpha / (alpha**2 + sigma**2), "the weight of v lacks its square: losses are squared errors."),
            (
                alpha**2 / (alpha**2 + sigma**2),
                "in the weight of v the determinant alpha^2 + sigma^2 is squared, as a whole.",
            ),
            (1 / (1 + (alpha / sigma) ** 2), "that weight turns v into errors of x0, on a path with unit variance."),
        ],
        [
            (
                1 / right[2],
                "the weight of the score is upside down: eps = -sigma score, so its error is sigma times larger.",
            ),
            (sigma, "the weight of the score lacks its square: losses are squared errors."),
            (sigma**4, "that is NCSN's weight once too often, the slip of exercise 4.6."),
            (one, "the score is minus eps over sigma: its error is not that of eps."),
        ],
    ]
    for part, value, name, mistakes in zip(parts, right, names, wrong, strict=True):
        expect_close(part, value, what=name, mistakes=mistakes)
    return (
        "The third is NCSN's sigma^2. The first is the SNR, and truncating it is a well-known trick; "
        "all of these are one function of the noise level in different clothes."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


def _filled(value: float) -> Tensor:
    """81 times the same number."""
    return torch.full((81,), value, dtype=torch.float64, device="cpu")


@target_curves("9.1", x=line(-3, 3), xlabel="$x_t$", panels=(r"$E[x_0 | x_t]$, data at $\pm1$",))
def _(answer: Any) -> Tensor:
    x = line(-3, 3)[:, None]
    score = (0.8 * torch.tanh(0.8 * x / 0.36) - x) / 0.36  # of data at +1 and -1, alpha 0.8, sigma 0.6
    return answer(x, score, _filled(0.8), _filled(0.6))[:, 0]


@target_curves("9.3", x=line(-3, 3), xlabel="$x_t$", panels=(r"variance of $x_0$, data at $\pm1$",))
def _(answer: Any) -> Tensor:
    x = line(-3, 3)[:, None]
    return torch.as_tensor(answer(lambda x: torch.tanh(0.8 * x / 0.36), x, torch.ones_like(x), 0.8, 0.6))


@target_curves(
    "9.4",
    x=line(0.05, 1.5),
    xlabel=r"angle: $\alpha = \cos$, $\sigma = \sin$",
    panels=(r"$x_0$ from $\hat v = 0.3$",),
)
def _(answer: Any) -> Tensor:
    angle = line(0.05, 1.5)
    alpha, sigma, one = angle.cos(), angle.sin(), _filled(1.0)
    return answer(_filled(0.3)[:, None], one[:, None], alpha, sigma, (-sigma, alpha), (one, 0 * one))[:, 0]


@target_curves(
    "9.5", x=line(-3, 3), xlabel="$x_t$", panels=("arrow of the pair",), lines=(r"$\sigma = 1$", r"$\sigma = 0.5$")
)
def _(answer: Any) -> list[Tensor]:
    x = line(-3, 3)[:, None]
    return [answer(x, torch.ones_like(x), _filled(0.8), _filled(sigma))[:, 0] for sigma in (1.0, 0.5)]


@target_curves("9.6", x=line(0.05, 1), xlabel="$t$", panels=("score",), lines=("$u = 1$", "$u = -1$"))
def _(answer: Any) -> list[Tensor]:
    return [answer(_filled(u)[:, None], _filled(0.5)[:, None], line(0.05, 1))[:, 0] for u in (1.0, -1.0)]


@target_curves("9.7", x=line(0, 1), xlabel="size of the slip", panels=("relative error",))
def _(answer: Any) -> list[Tensor]:
    x, m = line(-3, 3)[:, None], torch.zeros(1, dtype=torch.float64, device="cpu")
    right = -x / (0.64 * 0.25 + 0.36)
    return [answer((1 - slip) * right, x, m, 0.5, 0.8, 0.6) for slip in line(0, 1).tolist()]


@target_curves("9.8", x=line(0.02, 0.98), xlabel=r"$\bar\alpha$", panels=("noise in $x_t = 1$, data $N(0, 1)$",))
def _(answer: Any) -> Tensor:
    return answer(lambda y, s: y / (1 + s[:, None] ** 2), _filled(1.0)[:, None], line(0.02, 0.98))[:, 0]


@target_curves(
    "9.9", x=line(0.1, 1.47), xlabel=r"angle: $\alpha = \cos$, $\sigma = \sin$", panels=("weight",),
    lines=("$x_0$", "$v$", "score"), log_y=True,
)  # fmt: skip
def _(answer: Any) -> Any:
    return answer(line(0.1, 1.47).cos(), line(0.1, 1.47).sin())
