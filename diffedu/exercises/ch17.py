"""Checks of chapter 17: latent diffusion."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import expand
from diffedu.exercises import NotAttempted, Wrong, exercise, expect_choice, expect_close, expect_number, expect_parts
from diffedu.exercises._inputs import line
from diffedu.exercises._targets import target_curves, target_points


@exercise(
    "17.1",
    title="the price",
    stars=1,
    hints=[
        "s^2 = exp(log_variance), and log s^2 is log_variance itself.",
        "Sum over all axes but the first: flatten(1).sum(1).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch in (5, 3):  # 3 equals the channels
        mean = torch.randn(batch, 3, 2, 4, generator=rng)
        log_variance = torch.randn(batch, 3, 2, 4, generator=rng) - 1
        m, lv = mean.double(), log_variance.double()

        def total(values: Tensor) -> Tensor:
            return values.flatten(1).sum(1).float()

        terms = 0.5 * (m**2 + lv.exp() - 1 - lv)
        backwards = 0.5 * ((1 + m**2) / lv.exp() - 1 + lv)
        mistakes = [
            (terms.flatten(1).mean(1).float(), "you average over the latents; nats add up."),
            (total(2 * terms), "the factor 1/2 is missing."),
            (total(terms + 0.5), "the -1 is missing: a latent that tells nothing would cost half a nat."),
            (total(-terms), "the sign is wrong: a divergence is never negative."),
            (
                total(0.5 * (m**2 + lv - 1 - lv.abs().log())),
                "you take log_variance for the variance itself.",
            ),
            (
                total(0.5 * (m**2 + (2 * lv).exp() - 1 - 2 * lv)),
                "you take log_variance for the logarithm of the standard deviation.",
            ),
            (
                total(0.5 * (m**2 + (lv / 2).exp() - 1 - lv / 2)),
                "exp(log_variance / 2) is the standard deviation; (17.4) asks for the variance.",
            ),
            (total(0.5 * (m**2 + lv.exp() - 1 + lv)), "log s^2 has the wrong sign: small error bars are dear."),
            (total(0.5 * (m + lv.exp() - 1 - lv)), "the mean is not squared."),
            (total(backwards), "that is KL(N(0, I) || q), the two exchanged."),
        ]
        expect_close(answer(mean, log_variance), total(terms), what="the KL", mistakes=mistakes)
    return "It costs nothing to say nothing, and log 2 for each halving of an error bar."


@exercise(
    "17.2",
    title="whose decoder?",
    stars=1,
    kind="numeric",
    hints=[
        "In (17.6) the KL is a sum over latents, divided by D, the number of values in a picture.",
        "0.001 KL / 16 = lambda KL / 784. Then tau^2 = lambda / 2.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    weight, std = expect_parts(answer, 2)
    right = 0.001 * 784 / 16
    expect_number(
        weight,
        right,
        what="(a) lambda",
        mistakes=[
            (0.001, "(a) two means over different numbers of entries are no common factor: 784 values, 16 latents."),
            (0.001 * 784, "(a) you forget that the KL is a mean over 16 latents."),
            (0.001 * 16 / 784, "(a) upside down: the mean over few latents makes the KL *heavier*."),
            (0.001 / 16, "(a) you forget that (17.6) divides the KL by D."),
        ],
    )
    expect_number(
        std,
        math.sqrt(right / 2),
        what="(b) tau",
        mistakes=[
            (right / 2, "(b) that is the variance; take the root."),
            (math.sqrt(right), "(b) lambda is twice the variance."),
            (math.sqrt(2 * right), "(b) lambda is twice the variance, not half of it."),
        ],
    )
    return "A weight that reads 0.001 and means 0.049: the number in the code says nothing without its two means."


@exercise(
    "17.3",
    title="what is kept?",
    stars=2,
    hints=[
        "The first term of (17.8), times 2 tau^2, is the error with a drawn latent; without w^2 s^2, with the mean.",
        "With w^2 = lambda - tau^2 and a = w / lambda: 1 - w a = tau^2 / lambda.",
        "A direction that is not told is lost whole: its error is its variance, both times.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    for seed_size in (7, 4):
        tau2 = 0.1 + 0.4 * float(torch.rand((), generator=rng))
        low = tau2 * (0.1 + 0.8 * torch.rand(2, generator=rng, dtype=torch.float64))
        high = tau2 * (1.3 + 8 * torch.rand(seed_size - 2, generator=rng, dtype=torch.float64))
        variance = torch.cat([low, high])[torch.randperm(seed_size, generator=rng)]
        told = variance > tau2
        by_mean = torch.where(told, tau2**2 / variance, variance)
        by_draw = torch.where(told, tau2, variance)
        mean, drawn = expect_parts(answer(variance, tau2), 2)
        expect_close(
            mean,
            by_mean,
            what="the error with the mean",
            mistakes=[
                (by_draw, "with the mean: you count the noise of the latent, w^2 s^2, which the mean has not."),
                (
                    tau2**2 / variance,
                    "with the mean: directions below tau^2 are not told at all; their error is their variance.",
                ),
                (
                    torch.where(told, tau2 / variance, variance),
                    "with the mean: 1 - w a = tau^2 / lambda is to be squared, then times lambda.",
                ),
                (
                    torch.where(told, tau2 - tau2**2 / variance, variance),
                    "with the mean: that is the part that comes from the noise, w^2 s^2.",
                ),
                (
                    torch.where(told, 0 * variance, variance),
                    "with the mean: told directions come back shrunk, not exact.",
                ),
                (
                    torch.where(told, tau2**2 / variance, 0 * variance),
                    "with the mean: what is not told is lost, not exact.",
                ),
            ],
        )
        expect_close(
            drawn,
            by_draw,
            what="the error with a drawn latent",
            mistakes=[
                (by_mean, "drawn: the noise of the latent, w^2 s^2, comes on top."),
                (torch.full_like(variance, tau2), "drawn: directions below tau^2 cost their variance, which is less."),
                (
                    torch.where(told, tau2 - tau2**2 / variance, variance),
                    "drawn: that is the noise's part alone; the shrinking, tau^4 / lambda, comes on top.",
                ),
                (torch.where(told, 2 * tau2, variance), "drawn: a factor 2 too much where something is told."),
                (
                    torch.where(told, tau2 + tau2**2 / variance, variance),
                    "drawn: w^2 is lambda - tau^2, not lambda.",
                ),
            ],
        )
    return (
        "Drawn latents bring each told direction back to tau^2 exactly, as the decoder claims; their means do better."
    )


def _arc(a: Tensor, b: Tensor, share: Tensor, angle: Tensor) -> Tensor:
    s, w = expand(share, a), expand(angle, a)
    return (torch.sin((1 - s) * w) * a + torch.sin(s * w) * b) / torch.sin(w)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    x, y = a.flatten(1), b.flatten(1)
    return torch.acos((x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)))


@exercise(
    "17.4",
    title="the arc",
    stars=2,
    hints=[
        "cos(omega) is the inner product of the two, over the product of their lengths, for each pair by itself.",
        "flatten(1) for inner product and lengths; share and angle need [:, None, None, None].",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch in (5, 4):  # 4 equals the width
        first = torch.randn(batch, 2, 3, 4, generator=rng, dtype=torch.float64)
        second = 1.5 * torch.randn(batch, 2, 3, 4, generator=rng, dtype=torch.float64) + 0.3
        share = 0.1 + 0.3 * torch.rand(batch, generator=rng, dtype=torch.float64)
        angle = _angle(first, second)
        s = expand(share, first)
        one = torch.acos((first * second).sum() / (first.norm() * second.norm())).expand(batch)
        raw = (first * second).flatten(1).sum(1).clamp(-1, 1)
        mistakes = [
            ((1 - s) * first + s * second, "that is the straight way."),
            (_arc(second, first, share, angle), "the ends are exchanged: at share 0 stands the first."),
            (_arc(first, second, share, one), "you use one angle for the whole batch; each pair has its own."),
            (
                _arc(first, second, share, torch.acos(raw).clamp(1e-9)),
                "the inner product must be divided by the two lengths before acos.",
            ),
            (
                _arc(first, second, share, angle) * torch.sin(expand(angle, first)),
                "the division by sin(omega) is missing.",
            ),
            (
                (1 - s).sqrt() * first + s.sqrt() * second,
                "roots of the shares keep the variance of independent points, but that is no arc.",
            ),
            (torch.cos(s * math.pi / 2) * first + torch.sin(s * math.pi / 2) * second, "you assume right angles."),
        ]
        expect_close(
            answer(first, second, share), _arc(first, second, share, angle), what="the point", mistakes=mistakes
        )
    return "In 256 dimensions nearly all pairs are close to a right angle, so the arc is nearly cos and sin."


@exercise(
    "17.5",
    title="predict: undivided",
    stars=1,
    kind="prediction",
    hints=["The noise is the same; what of the signal?", "(17.14) with size 5: log SNR grows by 2 log 5."],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "easier to make out",
        {
            "harder to make out": "the noise has the size it always has, and the signal is five times as large.",
            "the same": "sigma does not know how large the data are; see (17.14).",
        },
    )
    return "25 times the SNR. His network trains on easy problems most of the time, and its loss looks splendid."


@exercise(
    "17.6",
    title="the shifted clock",
    stars=3,
    hints=[
        "SNR(t) = cot^2(pi t / 2); set size^2 cot^2(pi t / 2) = cot^2(pi t' / 2).",
        "tan(pi t' / 2) = tan(pi t / 2) / size.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for size in (0.2 + 0.5 * float(torch.rand((), generator=rng)), 2 + 4 * float(torch.rand((), generator=rng))):
        t = 0.05 + 0.9 * torch.rand(6, generator=rng, dtype=torch.float64)
        tan, back = torch.tan(math.pi / 2 * t), 2 / math.pi
        mistakes = [
            (back * torch.atan(size * tan), "upside down: larger data look like *earlier* times, less noise."),
            (back * torch.atan(tan / size**2), "the SNR is a ratio of squares: size^2 goes with tan^2, size with tan."),
            (back * torch.atan(tan / math.sqrt(size)), "size^2 multiplies the SNR, not size."),
            (torch.atan(tan / size), "the angle is pi t / 2: multiply by 2 / pi to get a time."),
            (t / size, "a size shifts log SNR, which does not scale the time."),
            (t, "that time does not depend on the size."),
        ]
        expect_close(answer(t, size), back * torch.atan(tan / size), what="t'", mistakes=mistakes)
    return "A wrong size is a wrong schedule, and nothing else: the same trick shifts schedules for larger pictures."


@exercise(
    "17.7",
    title="the copy counter",
    stars=2,
    hints=[
        "torch.cdist of the flattened images and bank, shape (Q, N).",
        ".topk(2, largest=False).values holds the two smallest distances of each row, in order.",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    bank = torch.randn(12, 2, 3, 3, generator=rng)
    which = torch.randint(0, 12, (30,), generator=rng)
    strength = torch.cat([torch.full((8,), 0.15), torch.full((12,), 0.62), torch.full((10,), 1.6)])
    images = bank[which] + strength[:, None, None, None] * torch.randn(30, 2, 3, 3, generator=rng)
    d = torch.cdist(images.flatten(1), bank.flatten(1))
    near = d.topk(2, largest=False).values
    far = d.topk(2).values
    near_bank = torch.cdist(bank.flatten(1), images.flatten(1)).topk(2, largest=False).values

    def share(flags: Tensor) -> float:
        return float(flags.float().mean())

    right = share(near[:, 0] < 0.5 * near[:, 1])
    mistakes = [
        (share(near[:, 0] < near[:, 1]), "every nearest is nearer than the second; *half* as far was asked."),
        (share(near[:, 0] ** 2 < 0.5 * near[:, 1] ** 2), "squared distances need the factor 1/4."),
        (share(near[:, 0] >= 0.5 * near[:, 1]), "that is the share of pictures that are no copies."),
        (right * len(images), "that is their number; divide by the number of images."),
        (100 * right, "that is in per cent."),
        (share(near[:, 0] < 0.5), "the distance is compared with the second nearest, not with a half."),
        (share(near[:, 0] < 0.5 * d.mean(1)), "you compare with the mean distance, not with the second nearest."),
        (share(near_bank[:, 0] < 0.5 * near_bank[:, 1]), "bank and images are exchanged."),
        (share(far[:, 1] < 0.5 * far[:, 0]), "topk gives the largest; ask for largest=False."),
        (0.25, "the share is the same whatever the pictures are."),
    ]
    value = answer(images, bank)
    if isinstance(value, Tensor) and value.numel() > 1:
        raise Wrong("one share was asked for; you return one value for each image: take the mean.")
    expect_number(value, right, what="the share", rtol=1e-5, mistakes=mistakes)
    return "It has a floor (twins in the data) and a ceiling (symmetric pictures): say both beside the share."


@exercise(
    "17.8",
    title="a latent pipeline",
    stars=3,
    kind="find-and-fix",
    hints=[
        "z = m + s eps: what is s, in terms of log s^2?",
        "What is multiplied on the way in is divided on the way out.",
        "Which of the two latents at the end is clean?",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    mix = torch.randn(6, 3, generator=rng)
    eps_encoder, eps = torch.randn(2, 5, 3, generator=rng)
    x = torch.randn(5, 6, generator=rng)
    alpha, sigma, factor = 0.8, 0.6, 0.2 + 0.3 * float(torch.rand((), generator=rng))

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ mix, torch.sin(x @ mix) - 1.5

    def decode(z: Tensor) -> Tensor:
        return torch.tanh(0.2 * z @ mix.T)

    def denoise(z: Tensor) -> Tensor:
        return torch.sin(z)

    mean, log_variance = encode(x)
    stds = {"variance": log_variance.exp(), "right": (log_variance / 2).exp(), "log": log_variance}

    def run(std: str = "right", out: str = "divide", what: str = "belief", scaled: str = "times") -> Tensor:
        z = mean + stds[std] * eps_encoder
        z = {"times": z * factor, "over": z / factor, "not": z}[scaled]
        z_t = alpha * z + sigma * eps
        end = denoise(z_t) if what == "belief" else z_t
        return decode({"divide": end / factor, "multiply": end * factor, "nothing": end}[out])

    value = answer(encode, decode, denoise, x, eps_encoder, eps, alpha, sigma, factor)
    if (
        isinstance(value, Tensor)
        and value.shape == x.shape
        and torch.equal(value, run("variance", "multiply", "state"))
    ):
        raise NotAttempted
    said = {
        "variance": "z = mean + s eps needs the standard deviation, exp(log_variance / 2)",
        "multiply": "what was multiplied by the factor must be divided by it before decoding",
        "state": "the noisy latent is decoded instead of the belief",
    }
    mistakes = []
    for std, out, what in product(("right", "variance"), ("divide", "multiply"), ("belief", "state")):
        left = [said[k] for k in (std, out, what) if k in said]
        if left:
            mistakes.append((run(std, out, what), f"still wrong: {'; and '.join(left)}."))
    mistakes += [
        (run(out="nothing"), "the decoder wants latents in their own size: undo the factor."),
        (run(std="log"), "log_variance is neither a variance nor a standard deviation."),
        (
            run(out="multiply", scaled="over"),
            "now both are inverted: the denoiser was trained on latents *times* factor.",
        ),
    ]
    expect_close(value, run(), what="the picture", mistakes=mistakes)
    return "Each of the three gives a picture, none an error message."


# --------------------------------------------------------------------------------------- what the solutions draw


@target_curves(
    "17.1", x=line(-3, 3), xlabel="log variance", panels=("KL of one latent, nats",), lines=("mean 0", "mean 2")
)
def _(answer: Any) -> list[Tensor]:
    v = line(-3, 3)[:, None, None, None]
    return [answer(torch.full_like(v, mean), v) for mean in (0.0, 2.0)]


@target_curves(
    "17.3", x=line(0.02, 3), xlabel="variance of the direction", panels=("error",), lines=("with the mean", "drawn")
)
def _(answer: Any) -> Any:
    return answer(line(0.02, 3), 1.0)


@target_points("17.4", title="from one point to another in 41 steps", limit=1.6)
def _(answer: Any) -> Tensor:
    first, second = (
        torch.tensor(v, dtype=torch.float64, device="cpu").reshape(1, 2, 1, 1).expand(41, 2, 1, 1)
        for v in ([1.2, 0.3], [-0.9, 0.9])
    )
    return answer(first, second, line(0, 1, 41))[:, :, 0, 0]


@target_curves("17.6", x=line(0.01, 0.99), xlabel="$t$", panels=("$t'$",), lines=("size 0.2", "size 1", "size 5"))
def _(answer: Any) -> list[Tensor]:
    return [answer(line(0.01, 0.99), size) for size in (0.2, 1.0, 5.0)]


@target_curves("17.7", x=line(0, 1, 41), xlabel="how far the copies are blended", panels=("share of copies",))
def _(answer: Any) -> list[Tensor]:
    bank = torch.eye(24, dtype=torch.float64, device="cpu")[:, None, None]
    reach = line(0.2, 1, 24)[:, None, None, None]  # some are blended farther than others
    return [
        torch.tensor(answer(bank + s * reach * (bank.roll(1, 0) - bank), bank), device="cpu")
        for s in line(0, 1, 41).tolist()
    ]
