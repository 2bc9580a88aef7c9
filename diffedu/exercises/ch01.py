"""Checks of chapter 1: noise and equilibrium."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.exercises import NotAttempted, Wrong, exercise, expect_choice, expect_close, expect_number
from diffedu.exercises._inputs import line
from diffedu.exercises._targets import target_curves


def _not_finite(values: Any) -> bool:
    """Whether an answer, a tensor or an array or a list of numbers, holds NaN or infinity."""
    if isinstance(values, list | tuple) and any(isinstance(value, Tensor) for value in values):
        return any(_not_finite(value) for value in values)
    return not bool(torch.isfinite(torch.as_tensor(values)).all())


@exercise(
    "1.1",
    title="a Brownian path",
    stars=1,
    hints=[
        "Each kick becomes a step by (1.8). A path is the running sum of its steps.",
        "math.sqrt(2 * D * dt) * eps, then .cumsum(1); at last put a column of zeros in front with torch.cat.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    B, n = 3, int(torch.randint(5, 9, (), generator=rng))
    for D, dt in ((0.3 + torch.rand(1, generator=rng).item(), 0.04), (2.0, 0.3)):
        eps = torch.randn(B, n, generator=rng)
        zero = torch.zeros(B, 1, device="cpu")

        def path(scale: float, eps: Tensor = eps, zero: Tensor = zero) -> Tensor:
            return torch.cat([zero, scale * eps.cumsum(1)], dim=1)

        got = answer(eps, D, dt)
        if isinstance(got, Tensor) and got.shape == eps.shape:
            if bool((got[:, 0] == 0).all()):
                raise Wrong("the last position is missing: n kicks lead through n + 1 positions, the start included.")
            raise Wrong("the start is missing: a path of n steps has n + 1 positions, the first of them 0.")
        mistakes: list[tuple[Any, str]] = [
            (path(2 * D * dt), "a step is scaled by its variance 2 D dt; it needs the square root."),
            (
                path(math.sqrt(2 * D) * dt),
                "the noise is multiplied by dt. Its variance is proportional to dt, so its size to sqrt(dt).",
            ),
            (path(math.sqrt(D * dt)), "the 2 of (1.8) is missing under the root."),
            (path(math.sqrt(2 * dt) * D), "D belongs under the root, too."),
            (path(math.sqrt(2 * D)), "dt is not used: the variance of a step is 2 D dt."),
            (path(math.sqrt(2 * dt)), "D is not used: the variance of a step is 2 D dt."),
            (
                torch.cat([zero, math.sqrt(2 * D * dt) * eps], dim=1),
                "these are the steps. A position is the sum of all steps so far.",
            ),
            (
                torch.cat([zero, math.sqrt(2 * D * dt) * eps.cumsum(0)], dim=1),
                "the sum runs over the walkers; it belongs along axis 1, over time.",
            ),
        ]
        expect_close(got, path(math.sqrt(2 * D * dt)), what="the path", mistakes=mistakes)
    return (
        "With dt in the place of its root, a path cut into finer steps would move less and less: it would stand still."
    )


@exercise(
    "1.2",
    title="ten times as wide",
    stars=1,
    kind="prediction",
    hints=["By (1.9) the width is sqrt(2 D t).", "The width grows like the root of time: ten squared."],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "100 minutes",
        {
            "10 minutes": "that would be motion at a constant speed. Here the width is the root of 2 D t.",
            "1000 minutes": "that is ten to the third. It is the square of the width that is proportional to time.",
        },
        what="the time",
    )
    return (
        "And 1 m, a thousand times as wide, takes a million minutes, two years: diffusion is quick only at small scale."
    )


@exercise(
    "1.3",
    title="errata museum: noise on noise",
    stars=1,
    kind="numeric",
    hints=[
        "The two numbers are independent: the average of a product is the product of the averages.",
        "E (eps eps')^4 = E eps^4 times E eps'^4.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_number(
        answer,
        9.0,
        rtol=0.02,
        what="the fourth moment",
        mistakes=[
            (3.0, "that is the Gaussian's own. The product of two is no Gaussian."),
            (6.0, "you added 3 and 3. The average of a product of independent numbers is a product."),
            (1.0, "that is the second moment, which the test compared: it is 1, and the mistake stays hidden."),
            (105.0, "that is the eighth moment of one number, as if both were the same. They are independent."),
            (81.0, "that is 9 squared. Each of the two numbers brings one factor of 3."),
        ],
    )
    return (
        "Nine instead of three, with the right variance: the product is often tiny and rarely huge. Over many "
        "steps (1.4) heals the shape of the sum; over few it does not. A test of noise looks at the fourth moment."
    )


@exercise(
    "1.4",
    title="the jump, with all its knobs",
    stars=2,
    hints=[
        "Redo (1.14): x is multiplied by 1 - mobility stiffness dt, the noise has variance 2 mobility temperature dt.",
        "shrink = exp(-mobility stiffness t); variance = temperature / stiffness (1 - shrink^2). Check it at large t.",
        "For stiffness = 0 that is 0 / 0. The limit is (1.9), free diffusion: shrink 1, variance 2 mobility kT t.",
        "Times of shape (B,) need a second axis before they meet (B, D): t[:, None].",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for B in (5, 3):  # the second with B = D, where a wrong broadcast runs
        x0, eps = torch.randn(2, B, 3, generator=rng, dtype=torch.float64)
        t = 0.1 + torch.rand(B, generator=rng, dtype=torch.float64)
        k, m, T = (0.5 + torch.rand(3, generator=rng, dtype=torch.float64)).tolist()

        def moved(a: Tensor, variance: Tensor, x0: Tensor = x0, eps: Tensor = eps) -> Tensor:
            return a[:, None] * x0 + variance.sqrt()[:, None] * eps

        a, slow = torch.exp(-m * k * t), torch.exp(-k * t)
        right = moved(a, T / k * (1 - a**2))
        mistakes: list[tuple[Any, str]] = [
            (
                moved(slow, T / k * (1 - slow**2)),
                "the mobility is missing: it says how fast the crowd settles, exp(-mobility stiffness t).",
            ),
            (
                moved(a, m * T / k * (1 - a**2)),
                "your variance ends at mobility kT / stiffness. Where a crowd settles does not depend on mobility.",
            ),
            (moved(a, 1 - a**2), "your variance ends at 1; it has to end at kT / stiffness, (1.21)."),
            (moved(a, T * (1 - a**2)), "your variance ends at kT; a stiffer spring makes it narrower, kT / stiffness."),
            (
                moved(a, (T / k * (1 - a**2)) ** 2),
                "the noise is multiplied by its variance; it needs the root.",
            ),
            (
                moved(a, T / k * (1 - a)),
                "the variance needs the square of the shrinking: 1 - exp(-2 mobility stiffness t).",
            ),
            (
                a[:, None] * x0 + math.sqrt(T / k) * (1 - a)[:, None] * eps,
                "the noise has the factor 1 - shrink. The variance is that of (1.15): take the root of 1 - shrink^2.",
            ),
            (moved(a**2, T / k * (1 - a**2)), "x0 shrinks by exp(-mobility stiffness t); the 2 is the variance's."),
            (moved(a, T * k * (1 - a**2)), "a stiffer spring makes the crowd narrower: kT / stiffness, not times."),
            (
                (1 - m * k * t)[:, None] * x0 + (2 * m * T * t).sqrt()[:, None] * eps,
                "that is one Euler step, good for small t only. The jump is exact, as in (1.16).",
            ),
            (
                moved(a, 2 * m * T * t),
                "that is the noise of free diffusion. The pull also shrinks the kicks of earlier times.",
            ),
        ]
        if B == 3:
            mistakes.append(
                (
                    a * x0 + (T / k * (1 - a**2)).sqrt() * eps,
                    "times of shape (B,) meet the last axis of x0; they belong to the first.",
                )
            )
        expect_close(answer(x0, eps, t, k, m, T), right, what="x_t", mistakes=mistakes)
    free = answer(x0, eps, t, 0.0, m, T)
    if _not_finite(free):
        raise Wrong(
            "right with a pull. For stiffness = 0 the fraction kT / stiffness is infinite: take the limit, which is "
            "free diffusion (1.9)."
        )
    expect_close(
        free,
        x0 + torch.sqrt(2 * m * T * t)[:, None] * eps,
        what="x_t without a pull",
        rtol=1e-5,  # a tiny stiffness in the place of zero is a fair way to the limit
        mistakes=[
            (x0, "right with a pull. Without one you return x0: the noise was lost with the spring."),
            (
                x0 + torch.sqrt(2 * T * t)[:, None] * eps,
                "right with a pull. Without one, mobility is missing in the noise.",
            ),
            (
                x0 + torch.sqrt(m * T * t)[:, None] * eps,
                "right with a pull. Without one, the 2 is missing: free diffusion has the variance 2 mobility kT t.",
            ),
        ],
    )
    return (
        "Large t gives N(0, kT / stiffness) whatever x0 was, small t gives free diffusion: the pull needs time to act."
    )


@exercise(
    "1.5",
    title="errata museum: a factor and a root",
    stars=2,
    kind="find-and-fix",
    hints=[
        "Halve dt and double the number of steps: the spread must not change. How must the noise depend on dt?",
        "Then work out the variance at which V -> (1 - a dt)^2 V + (noise)^2 stands still for small dt.",
        "The noise of (1.17) in one step is sqrt(2 mobility temperature dt).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    n, B = int(torch.randint(4, 8, (), generator=rng)), 5
    x, kicks = torch.randn(B, generator=rng), torch.randn(n, B, generator=rng)
    k, m, T, dt = (0.6 + torch.rand(4, generator=rng)).tolist()
    dt = 0.1 * dt

    def walk(scale: float, pull: float = 1.0) -> Tensor:
        y = x
        for eps in kicks:
            y = y - pull * m * k * y * dt + scale * eps
        return y

    got = answer(x, kicks, dt, k, m, T)
    planted = walk(math.sqrt(m * T) * dt)
    if isinstance(got, Tensor) and got.shape == planted.shape and torch.allclose(got, planted, rtol=1e-4, atol=1e-5):
        raise NotAttempted
    expect_close(
        got,
        walk(math.sqrt(2 * m * T * dt)),
        what="the crowd",
        mistakes=[
            (
                walk(math.sqrt(m * T * dt)),
                "one of two: dt is under the root now, but this crowd settles at half of kT / stiffness.",
            ),
            (
                walk(math.sqrt(2 * m * T) * dt),
                "one of two: the 2 is there, but dt is not under the root; with finer steps the noise vanishes.",
            ),
            (
                walk(2 * math.sqrt(m * T * dt)),
                "the 2 belongs under the root: this crowd settles at twice kT / stiffness.",
            ),
            (walk(2 * m * T * dt), "the noise is multiplied by its variance; it needs the root of all of it."),
            (
                walk(math.sqrt(2 * T * dt)),
                "mobility got lost: noise and pull must share it, or the equilibrium changes.",
            ),
            (walk(math.sqrt(2 * m * dt)), "the temperature got lost: it belongs under the root, too."),
            (
                walk(math.sqrt(m * T * dt), pull=0.5),
                "this crowd settles at the right place, but half as fast as (1.17): leave the pull, mend the noise.",
            ),
        ],
    )
    return (
        "A test that catches both: the variance after many steps must be near kT / stiffness, for two different dt. "
        "One dt alone could be tuned until it fits."
    )


@exercise(
    "1.6",
    title="another pair of factors",
    stars=1,
    kind="numeric",
    hints=[
        "Compare with (1.17): mobility times stiffness is beta / 2, and 2 mobility kT is beta.",
        "Only kT / stiffness matters: (beta / 2) / (beta / 2).",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_number(
        answer,
        1.0,
        what="the variance",
        mistakes=[
            (0.5, "that is beta. A larger beta kicks more and pulls more; where it settles does not depend on it."),
            (2.0, "you forgot the 2 in 2 mobility kT: the noise squared is beta, so mobility kT is beta / 2."),
            (0.25, "that is beta / 2, the rate of the pull; the question is for the variance at the end."),
            (4.0, "that would be kT / stiffness with the pull's factor squared."),
        ],
    )
    return "One for every beta: pull and noise keep their ratio, so beta only sets the clock. That is the VP process."


@exercise(
    "1.7",
    title="Boltzmann on a lattice",
    stars=2,
    hints=[
        "(1.20): exponentials of -U / kT, divided by their sum.",
        "Only differences of energy matter. Subtract the smallest U first, or let torch.softmax do it.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    N = int(torch.randint(6, 10, (), generator=rng))
    U = 2 * torch.rand(N, generator=rng, dtype=torch.float64)
    U = U - U.mean()  # energies of both signs
    for T in (0.4 + torch.rand(1, generator=rng).item(), 3.0):
        raw = torch.exp(-U / T)
        mistakes: list[tuple[Any, str]] = [
            (torch.softmax(U / T, dim=0), "the minus is lost: walkers gather where the energy is high."),
            (torch.softmax(-U, dim=0), "the temperature is not used."),
            (torch.softmax(-U.abs() / T, dim=0), "an energy may be negative; its absolute value is another landscape."),
            (torch.softmax(-U * T, dim=0), "U is multiplied by the temperature: your crowd freezes when it gets hot."),
            (raw, "the shares do not add up to 1: divide by their sum, Z."),
            (
                torch.softmax(-U / (2 * T), dim=0),
                "there is no 2 in Boltzmann's law; that belongs to the Gaussian's square.",
            ),
            (torch.softmax(-(U**2) / (2 * T), dim=0), "U is already the energy; don't square it."),
        ]
        expect_close(answer(U, T), raw / raw.sum(), what="your distribution", mistakes=mistakes)
    cold = answer(U + 5.0, 1e-4)
    if _not_finite(cold):
        raise Wrong(
            "right at moderate temperatures. At kT = 0.0001 the exponentials are all 0, or infinite, and their ratio "
            "is no number: subtract the smallest energy first, or use torch.softmax."
        )
    expect_close(cold, torch.softmax(-U / 1e-4, dim=0), what="your distribution at kT = 0.0001")
    return "In the cold all walkers are at the lowest place: the collapse of section 1.7 is temperature 0."


@exercise(
    "1.8",
    title="a shifted start",
    stars=1,
    kind="prediction",
    hints=[
        "Entropy does not know where a crowd is, only how wide. What does (1.15) say of the variance?",
        "V(0) = 1 is the fixed point: V(t) = 1 at all times.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "stays",
        {
            "rises": "to rise, the Gaussian would have to get wider; by (1.15) a variance of 1 stays 1.",
            "falls": "the free energy falls, by the term m^2 in (1.31). For the entropy look at the variance.",
            "falls, then rises": "that would need a variance that first shrinks; by (1.15) a variance of 1 stays 1.",
        },
        what="the entropy",
    )
    return (
        "All that happens is that the crowd slides home. Its energy falls at constant entropy, so free energy falls: "
        "entropy alone does not say how far a crowd is from equilibrium."
    )


@exercise(
    "1.9",
    title="measure an entropy",
    stars=2,
    hints=[
        "torch.histogram(points, edges) counts; edges.diff() are the widths.",
        "f log f is 0 for an empty bin, but f.log() is not: keep the bins with f > 0 only.",
        "-(f * (f / width).log()).sum() over the bins that are not empty.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    n, K = 400, 9
    for empty in (False, True):
        widths = 0.2 + torch.rand(K, generator=rng, dtype=torch.float64)
        edges = torch.cat([widths.new_zeros(1), widths.cumsum(0)]) - 2.0
        allowed = torch.ones(K, dtype=torch.float64, device="cpu")
        if empty:
            allowed[int(torch.randint(1, K - 1, (), generator=rng))] = 0.0
        bins = torch.cat([allowed.nonzero()[:, 0], torch.multinomial(allowed, n - K, replacement=True, generator=rng)])
        inside = 0.05 + 0.9 * torch.rand(len(bins), generator=rng, dtype=torch.float64)
        points = edges[bins] + inside * widths[bins]
        f = torch.bincount(bins, minlength=K).double() / len(bins)
        full = f > 0

        def estimate(p: Tensor, width: Tensor) -> Tensor:
            return -(p * (p / width).log()).sum()

        h, p = widths[full], f[full]
        right = estimate(p, h)
        got = answer(points, edges)
        if isinstance(got, Tensor) and got.shape == () and torch.isnan(got) and empty:
            raise Wrong("right while no bin is empty. An empty bin gives 0 times log 0, not a number; leave it out.")
        mistakes: list[tuple[Any, str]] = [
            (-right, "the minus in front is lost: entropy is the average of *minus* log p."),
            (estimate(p, torch.ones_like(h)), "the bin widths are missing: f is a share, the density is f / width."),
            (right / math.log(2), "you used the logarithm to base 2, so these are bits; asked for are nats."),
            (
                estimate(p, h.mean().expand_as(h)),
                "you took one width for all bins; these edges are not equally spaced.",
            ),
            (
                estimate(p, h[:1].expand_as(h)),
                "you took the first bin's width for all; these edges are not equally spaced.",
            ),
            (
                -((p / h) * (p / h).log()).sum(),
                "the weight before the logarithm is the share f, not the density: an integral counts a bin's width.",
            ),
            (
                -(p * (p * h).log()).sum(),
                "the share is multiplied by the width; the density is the share divided by it.",
            ),
        ]
        expect_close(got, right, what="the entropy", mistakes=mistakes)
    return (
        "The estimate is a little too large where bins are wide (inside a bin all is flat) and too small where points "
        "are few: each occupied bin costs about 1 / (2 n)."
    )


@exercise(
    "1.10",
    title="two dogs and their fleas",
    stars=3,
    hints=[
        "With k fleas on the second dog, one on the first is called with probability (N - k) / N. So k -> k + 1 has "
        "probability a (N - k) / N. What has k + 1 -> k?",
        "Balance: q(k) a (N - k) = q(k + 1) b (k + 1). That gives q(k + 1) / q(k); start anywhere, normalise.",
        "The ratios are those of a binomial distribution with p = a / (a + b). For large N add their logarithms.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    def binomial(N: int, p: float) -> Tensor:
        k = torch.arange(N + 1, dtype=torch.float64, device="cpu")
        log_choose = math.lgamma(N + 1) - torch.lgamma(k + 1) - torch.lgamma(N - k + 1)
        return torch.softmax(log_choose + k * math.log(p) + (N - k) * math.log1p(-p), dim=0)

    N = int(torch.randint(5, 12, (), generator=rng))
    # neither a = b nor a + b = 1, where wrong answers are right
    a, b = (torch.tensor([0.35, 0.75], device="cpu") + 0.2 * torch.rand(2, generator=rng)).tolist()
    p = a / (a + b)
    k = torch.arange(N + 1, dtype=torch.float64, device="cpu")
    geometric = torch.softmax(k * math.log(a / b), dim=0)
    mistakes: list[tuple[Any, str]] = [
        (binomial(N, 1 - p), "the dogs are swapped: k counts the fleas on the second one, to which they jump with a."),
        (binomial(N, 0.5), "a and b are not used: that is right for a = b only."),
        (geometric, "your ratios are a / b throughout. How many fleas are there that could be called on each dog?"),
        (torch.full_like(k, 1 / (N + 1)), "not all k are equally likely: there are many ways to be half and half."),
        (
            binomial(N, p) * (1 + a / b) ** N,
            "these ratios are right, but probabilities add up to 1: divide by their sum.",
        ),
        (
            binomial(N, a),
            "every flea sits on the second dog with probability a / (a + b); b pulls back.",
        ),
    ]
    expect_close(answer(N, a, b), binomial(N, p), what="your distribution", mistakes=mistakes)
    many = answer(2000, 0.6, 0.3)
    if _not_finite(many):
        raise Wrong(
            "right for few fleas. For N = 2000 your numbers overflow: add logarithms, and normalise by softmax."
        )
    expect_close(many, binomial(2000, 2 / 3), what="your distribution for N = 2000", rtol=1e-6, atol=1e-12)
    return (
        "For a = b it is (1.3), the random walk's binomial, so by (1.6) a Gaussian for many fleas: the dogs are an "
        "Ornstein-Uhlenbeck process made of coins. Entropy grows, though every flea comes back."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves("1.1", x=line(0, 2, 101), xlabel="time", panels=("position",), lines=("",) * 4)
def _(answer: Any) -> Tensor:
    kicks = torch.randn(4, 100, generator=seeded(0, "cpu"), device="cpu")
    return torch.as_tensor(answer(kicks, 0.5, 0.02))


@target_curves("1.4", x=line(0, 4), xlabel="$t$", panels=("$x_t$",), lines=("kick 1", "no kick", "kick -1"))
def _(answer: Any) -> list[Tensor]:
    t = line(0, 4)
    at = torch.full((81, 1), 2.0, dtype=torch.float64, device="cpu")
    return [answer(at, eps * at / 2, t, 1.5, 0.8, 0.5)[:, 0] for eps in (1, 0, -1)]


@target_curves("1.5", x=line(0, 1, 200), xlabel="share of walkers", panels=("position, in order",))
def _(answer: Any) -> Tensor:
    kicks = torch.randn(300, 200, generator=seeded(0, "cpu"), device="cpu")
    return torch.as_tensor(answer(torch.zeros(200, device="cpu"), kicks, 0.02, 2.0, 1.0, 0.5)).sort().values


@target_curves("1.7", x=line(-1.6, 1.6), xlabel="place", panels=("share",), lines=("cold", "warm", "hot"))
def _(answer: Any) -> list[Tensor]:
    U = (line(-1.6, 1.6) ** 2 - 1) ** 2 + 0.15 * line(-1.6, 1.6)
    return [answer(U, temperature) for temperature in (0.1, 0.3, 2.0)]


@target_curves(
    "1.10", x=line(0, 40, 41), xlabel="fleas on the second dog", panels=("share of time",),
    lines=("$a = b$", "$a = 3b$"),
)  # fmt: skip
def _(answer: Any) -> list[Tensor]:
    return [answer(40, 0.3, 0.3), answer(40, 0.3, 0.1)]
