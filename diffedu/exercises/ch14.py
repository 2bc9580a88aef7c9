"""Checks of chapter 14: image DDPM."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffedu._tensor import expand, seeded
from diffedu.core.denoiser import eps_hat
from diffedu.core.path import DiscreteDDPM, linear_betas
from diffedu.data.digits import digits
from diffedu.exercises import (
    NotAttempted,
    Wrong,
    exercise,
    expect_choice,
    expect_close,
    expect_number,
    expect_parts,
)
from diffedu.exercises._inputs import cloud, ring
from diffedu.exercises._targets import target_curves, target_images, target_points
from diffedu.nn import ResBlock


@exercise(
    "14.1",
    title="back to the picture",
    stars=1,
    hints=[
        "Solve x_t = alpha x0 + sigma eps for x0; alpha is the square root of alpha_bar.",
        "alpha_bar has shape (B,): give it three more axes before it meets a picture.",
        "((x_t - (1 - alpha_bar).sqrt() * eps_guess) / alpha_bar.sqrt()).clamp(-1, 1), with "
        "alpha_bar[:, None, None, None].",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch in (5, 4):  # 4 equals the width: there a broadcast along the wrong axis hides
        x_t, eps = torch.randn(2, batch, 1, 4, 4, generator=rng)
        alpha_bar = 0.05 + 0.9 * torch.rand(batch, generator=rng)
        bar = expand(alpha_bar, x_t)
        alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
        plain = (x_t - sigma * eps) / alpha
        mistakes = [
            (plain, "nothing is cut: values outside [-1, 1] are no pixels."),
            (plain.clamp(0, 1), "you cut to [0, 1]; here paper is -1 and ink is 1."),
            (torch.tanh(plain), "tanh squeezes every value; only those outside [-1, 1] should change."),
            (
                ((x_t - sigma * eps).clamp(-1, 1) / alpha),
                "you cut before dividing by alpha; the result may still leave [-1, 1].",
            ),
            (
                ((x_t + sigma * eps) / alpha).clamp(-1, 1),
                "the noise was added on the way; take it off (a sign).",
            ),
            (
                ((x_t - (1 - bar) * eps) / alpha).clamp(-1, 1),
                "the noise is scaled by its standard deviation, not its variance.",
            ),
            (((x_t - sigma * eps) / bar).clamp(-1, 1), "you divide by alpha_bar; alpha is its square root."),
            ((x_t - sigma * eps).clamp(-1, 1), "the picture was shrunk by alpha: undo it."),
        ]
        expect_close(answer(x_t, eps, alpha_bar), plain.clamp(-1, 1), what="x0_hat", mistakes=mistakes)
    return "A posterior mean of pixels lies in their range, so the cut can only bring a guess nearer to the truth."


@exercise(
    "14.2",
    title="how far does it see?",
    stars=1,
    kind="numeric",
    hints=[
        "A fold is a filter of size 2 with stride 2.",
        "Before the first convolutions the stride is 2, before the last 4.",
        "1 + 1 + 3 * 2 * 2 + ...",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    mistakes = [
        (
            1 + 3 * 2 + 2 * 4,
            "you left out the folds: after them, each step to a neighbour is 2 or 4 input pixels.",
        ),
        (1 + 3 * 2 * 2 + 2 * 4 * 4, "the folds themselves see 2 x 2 positions: they widen the view, too."),
        (1 + 1 + 3 * 2 * 2 + 1 + 2 * 4 * 4, "the second fold joins positions that lie 2 input pixels apart."),
        (
            1 + 1 + 3 * 2 * 2 + 2 + 16,
            "a factor 2 is missing at the end: the filters are 5 x 5, and after two folds the stride "
            "is the product, 4.",
        ),
        (1 + 2 + 3 * 3 * 2 + 2 * 2 + 2 * 5 * 4, "a filter of size k widens the view by k - 1."),
        (24, "that is half the width."),
    ]
    expect_number(answer, 1 + 1 + 3 * 2 * 2 + 2 + 2 * 4 * 4, what="the width", rtol=1e-6, mistakes=mistakes)
    return (
        "Five layers already see more than a whole digit: folding does it. But what they see far "
        "away, they see coarsely."
    )


@exercise(
    "14.3",
    title="counting",
    stars=1,
    kind="numeric",
    hints=[
        "A 3 x 3 convolution from a to b channels has 9 a b weights and b biases; a norm has 2 a; "
        "a linear layer a b + b.",
        "modulate goes from 192 to 2 * 48. skip is the identity and has none.",
        "Heun evaluates twice a step, but not in the step that lands on t = 0.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    parameters, evaluations = expect_parts(answer, 2)
    conv, norm, modulate = 9 * 48 * 48 + 48, 2 * 48, 192 * 96 + 96
    expect_number(
        parameters,
        2 * conv + 2 * norm + modulate,
        what="the number of parameters",
        rtol=1e-9,
        mistakes=[
            (
                2 * conv + modulate,
                "192 are missing: all biases, or the norms (each has a scale and a shift for every channel).",
            ),
            (2 * conv + 2 * norm + 192 * 48 + 48, "modulate returns a scale *and* a shift: 96 values."),
            (2 * conv + 2 * norm, "modulate is missing: the condition comes in through it."),
            (2 * conv + 2 * norm + modulate + 48 * 48 + 48, "skip is the identity here, since c_in = c_out."),
            (conv + norm + modulate, "there are two convolutions and two norms."),
        ],
    )
    expect_number(
        evaluations,
        4000 * 49,
        what="the number of image evaluations",
        rtol=1e-9,
        mistakes=[
            (4000 * 50, "the step that lands on t = 0 has one evaluation: there is no slope at sigma = 0."),
            (4000 * 25, "Heun asks twice a step."),
            (4000 * 48, "the last step still asks once."),
            (49, "that is for one image."),
        ],
    )
    return (
        "Cost is counted in evaluations, not in steps: 49 evaluations of Heun are fairly compared "
        "with 49 steps of DDIM."
    )


@exercise(
    "14.4",
    title="hidden labels",
    stars=1,
    hints=["torch.where(condition, a, b) makes a new tensor.", "torch.where(u < p, classes, labels)"],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    classes = int(torch.randint(5, 12, (), generator=rng))
    labels, u = torch.randint(0, classes, (400,), generator=rng), torch.rand(400, generator=rng)
    p = int(torch.randint(2, 7, (), generator=rng)) / 16  # without rounding, so that a tie is one
    u[:3] = p
    hidden = u < p
    if hasattr(answer, "in_place"):
        before = labels.clone()
        result = answer.in_place(labels, u, p, classes)
        if not torch.equal(labels, before):
            raise Wrong(
                "the labels that came in have changed: the caller still needs them. torch.where makes a new tensor."
            )
        if isinstance(result, Tensor) and result.shape == labels.shape and (result == classes).all():
            raise Wrong("all labels are hidden: the decision is to be made for each by itself.")
    mistakes = [
        (torch.where(~hidden, classes, labels), "you hide the share 1 - p: below p, not above."),
        (
            torch.where(hidden, 0, labels),
            "hidden labels became 0, which is a class of its own: the zeros of the data would be "
            "mixed with everything.",
        ),
        (
            torch.where(hidden, classes - 1, labels),
            "hidden labels became the last class; `classes` itself is the number that no class has.",
        ),
        (torch.where(hidden, -1, labels), '-1 is no row of an embedding; the label for "any" is `classes`.'),
        (labels[~hidden], "you drop the examples; only their labels are to be hidden."),
        (labels, "no label is hidden."),
        (
            torch.where(u <= p, classes, labels),
            "a u that equals p is hidden too. u can be exactly 0, and p = 0 must hide nothing: below p, so <.",
        ),
    ]
    value = answer(labels, u, p, classes)
    if isinstance(value, Tensor) and value.shape != labels.shape and value.shape == labels[~hidden].shape:
        raise Wrong(mistakes[4][1])
    expect_close(value, torch.where(hidden, classes, labels), what="the labels", mistakes=mistakes)
    return "One network now holds two models, with the class and without; guidance will need their difference."


@exercise(
    "14.5",
    title="the running average",
    stars=2,
    hints=[
        "Loop over zip(averaged, current); a method whose name ends in _ changes a tensor in place.",
        "average.mul_(decay).add_((1 - decay) * new), under torch.no_grad().",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    decay = 0.5 + 0.45 * float(torch.rand((), generator=rng))
    old = [torch.randn(3, 2, generator=rng), torch.randn(4, generator=rng)]
    new = [torch.randn(3, 2, generator=rng), torch.randn(4, generator=rng)]
    averaged = [nn.Parameter(tensor.clone(), requires_grad=False) for tensor in old]
    current = [nn.Parameter(tensor.clone()) for tensor in new]
    objects = list(averaged)
    answer.in_place(averaged, current, decay)
    if any(not torch.equal(now, before) for now, before in zip(current, new)):
        raise Wrong("the current weights have changed: training would go on from the average.")
    if len(averaged) != len(objects) or any(now is not before for now, before in zip(averaged, objects)):
        raise Wrong(
            "the list holds new tensors now, but the network still holds the old ones: change the tensors themselves."
        )
    if all(torch.equal(now, before) for now, before in zip(averaged, old)):
        raise Wrong("the averaged tensors have not changed: `average = ...` in a loop only rebinds a name.")
    if any(now.requires_grad for now in averaged):
        raise Wrong(
            "the average now belongs to the graph of gradients: work under torch.no_grad(), or on detached tensors."
        )
    for now, before, value in zip(averaged, old, new):
        mistakes = [
            (
                (1 - decay) * before + decay * value,
                "decay and 1 - decay are swapped: the average would follow every step, and average nothing.",
            ),
            (value, "that copies the weights; nothing is averaged."),
            (
                decay * before + value,
                "the new weights come in with the factor 1 - decay, or the average grows without bound.",
            ),
            ((before + value) / 2, "that is the plain mean of the two, whatever decay is."),
            (decay * value, "the old average is overwritten before it is used."),
        ]
        expect_close(now.detach(), decay * before + (1 - decay) * value, what="the average", mistakes=mistakes)
    return "Its memory is about 1 / (1 - decay) steps, at no cost in gradients."


def _block(rng: torch.Generator, channels: int) -> ResBlock:
    block = ResBlock(channels, channels, 6)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=rng))
    return block


@exercise(
    "14.6",
    title="a block",
    stars=2,
    hints=[
        "The block adds what its last layer returns. Which layer is that? It has a weight and a bias.",
        "The order is norm1, act, conv1, norm2, scale and shift, act, conv2; then add h.",
        "scale, shift = block.modulate(condition)[:, :, None, None].chunk(2, dim=1); y = (1 + "
        "scale) * block.norm2(y) + shift",
    ],
)
@torch.no_grad()
def _(answer: Any, rng: torch.Generator) -> str:
    start, forward = expect_parts(answer, 2)
    channels = 8 * int(torch.randint(1, 3, (), generator=rng))
    block, h, c = (
        _block(rng, channels),
        torch.randn(3, channels, 5, 5, generator=rng),
        torch.randn(3, 6, generator=rng),
    )
    original = copy.deepcopy(block)
    start.in_place(block)
    if torch.equal(block(h, c), original(h, c)):
        raise Wrong("(a) the block has not changed: fill its own tensors with zeros, as nn.init.zeros_ does.")
    if not torch.equal(block(h, c), h):
        if block.conv2.weight.abs().sum() == 0:
            raise Wrong("(a) the weight of conv2 is zero, but its bias is not, and is added everywhere.")
        if block.conv1.weight.abs().sum() == 0:
            raise Wrong("(a) conv1 is zero, but the shift of the condition and the biases still pass through conv2.")
        raise Wrong("(a) the block still does not return its input: the last layer before the addition is conv2.")
    if any(
        not torch.equal(p, q)
        for (name, p), q in zip(block.named_parameters(), original.parameters())
        if not name.startswith("conv2")
    ):
        raise Wrong(
            "(a) more than the last layer is zero: with two zero layers in a row neither has a gradient, for ever."
        )

    block = original
    scale, shift = block.modulate(c)[:, :, None, None].chunk(2, dim=1)
    inner = block.conv1(F.silu(block.norm1(h)))

    def end(y: Tensor) -> Tensor:
        return h + block.conv2(F.silu(y))

    mistakes = [
        (
            end(scale * block.norm2(inner) + shift),
            "(b) the scale lacks its 1 +: a condition of zeros would silence the block.",
        ),
        (
            end((1 + shift) * block.norm2(inner) + scale),
            "(b) scale and shift are swapped: the first half is the scale.",
        ),
        (
            end(block.norm2((1 + scale) * inner + shift)),
            "(b) you scale before the norm, which takes most of it away again.",
        ),
        (
            block.conv2(F.silu((1 + scale) * block.norm2(inner) + shift)),
            "(b) the input is not added: that is no residual block.",
        ),
        (end(block.norm2(inner)), "(b) the condition is not used."),
        (end((1 + scale) * block.norm2(inner)), "(b) the shift is missing."),
        (
            h + block.conv2((1 + scale) * block.norm2(inner) + shift),
            "(b) the second nonlinearity is missing.",
        ),
        (
            end((1 + scale) * block.norm2(block.conv1(block.norm1(h))) + shift),
            "(b) the first nonlinearity is missing.",
        ),
        (
            end((1 + scale) * block.norm2(block.conv1(block.norm1(F.silu(h)))) + shift),
            "(b) norm first, then the nonlinearity.",
        ),
        (end((1 + scale) * inner + shift), "(b) norm2 is missing."),
    ]
    expect_close(forward(block, h, c), block(h, c), what="(b) the block's output", rtol=1e-3, mistakes=mistakes)
    return "Each block starts as nothing at all, and the condition turns its channels up and down."


@exercise(
    "14.7",
    title="the forgotten ramp",
    stars=2,
    kind="prediction",
    hints=[
        "How much of the average is still the random start after 300 steps?",
        "0.9995 ** 300 = 0.86. And what does an untrained network return, whose last layer is zero? "
        "Put v = 0 into (14.11).",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "noise",
        {
            "good digits": "a slow average pays after thousands of steps; compute d^300 and see whose weights "
            "these mainly are.",
            "blurred digits": "averaging weights does not blur pictures; compute d^300 and see whose weights "
            "these mainly are.",
        },
    )
    return (
        "86 % of it is the untrained network, which answers v = 0 to everything: hardly anything is removed, "
        "and noise is what comes out."
    )


def _sample(
    net: Any,
    x: Tensor,
    betas: Tensor,
    noise: Tensor,
    *,
    label: int = 0,
    factor: str = "sigma",
    last: bool = False,
) -> Tensor:
    bars = torch.cumprod(1 - betas, dim=0)
    for t in range(len(betas), 0, -1):
        beta, bar = betas[t - 1], bars[t - 1]
        x = (x - beta / (1 - bar).sqrt() * net(x, t + label)) / (1 - beta).sqrt()
        if t > 1 or last:
            x = x + (beta.sqrt() if factor == "sigma" else beta) * noise[t]
    return x


@exercise(
    "14.8",
    title="from the errata museum: a sampler",
    stars=3,
    kind="find-and-fix",
    hints=[
        "Three lines are wrong. Compare each symbol with the text above, starting at the loop.",
        "Which values does t take in this loop, and for which of them is `t > 0` false?",
        "A normal variable of variance beta is sqrt(beta) z. And alpha_bar[t - 1] is the alpha_bar of time t.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    T = int(torch.randint(6, 12, (), generator=rng))
    betas = 0.02 + 0.3 * torch.rand(T, generator=rng)
    x, noise = torch.randn(4, 3, generator=rng), torch.randn(T + 1, 4, 3, generator=rng)
    asked: list[float] = []

    def net(x: Tensor, t: Any) -> Tensor:
        asked.append(float(torch.as_tensor(t).flatten()[0]))
        return torch.tanh(x + 0.3 * float(torch.as_tensor(t).flatten()[0]))

    value = answer(net, x, betas, noise)
    was_asked = asked.copy()
    planted = _sample(net, x, betas, noise, label=-1, factor="beta", last=True)
    if (
        isinstance(value, Tensor)
        and value.shape == planted.shape
        and torch.allclose(value, planted, rtol=1e-5, atol=1e-6)
    ):
        raise NotAttempted
    if was_asked and was_asked != list(range(T, 0, -1)):
        if was_asked == list(range(T - 1, -1, -1)):
            raise Wrong(
                "the network is asked at t = T - 1, ..., 0, but was trained at 1, ..., T, where t belongs "
                "to alpha_bar_t."
            )
        raise Wrong("the network should be asked once a step, at t = T, T - 1, ..., 1.")
    mistakes = [
        (
            lambda: _sample(net, x, betas, noise, last=True),
            "the last step still adds noise: in this loop `t > 0` is always true.",
        ),
        (
            lambda: _sample(net, x, betas, noise, factor="beta"),
            "the noise still has its variance in front; a standard deviation belongs there.",
        ),
        (
            lambda: _sample(net, x, betas, noise, factor="beta", last=True),
            "the times are right now; noise is still wrong in two ways, in the last step and in its size.",
        ),
        (
            lambda: _sample(net, x, betas, torch.zeros_like(noise)),
            "no noise is added at all: that is another sampler.",
        ),
    ]
    expect_close(value, _sample(net, x, betas, noise), what="x_0", rtol=1e-3, mistakes=mistakes)
    return "Each slip was survivable, so each was printed. Exact tests find them; pictures don't."


class _Small(nn.Module):
    """A classifier with a batch norm, and room for its running statistics to be changed."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.norm, self.out, self.drop = nn.BatchNorm1d(5), nn.Linear(5, 3), nn.Dropout(0.5)
        with torch.no_grad():
            self.norm.running_mean.copy_(torch.randn(5, generator=rng))  # type: ignore[union-attr]
            self.out.weight.copy_(torch.randn(3, 5, generator=rng))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(self.norm(x.flatten(1))))


@exercise(
    "14.9",
    title="find and fix: a moody instrument",
    stars=2,
    kind="find-and-fix",
    hints=[
        "A batch norm in training mode uses the batch's own statistics, and updates its running ones. Dropout drops.",
        "classifier.eval() before, and afterwards back: classifier.train(was_training), with "
        "was_training = classifier.training.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    images, labels = torch.randn(200, 1, 1, 5, generator=rng), torch.randint(0, 3, (200,), generator=rng)
    for training in (True, False):
        net = _Small(rng)
        with torch.no_grad():
            truth = (net.eval()(images).argmax(1) == labels).float().mean().item()
        net.train(training)
        statistics = {k: v.clone() for k, v in net.state_dict().items()}
        value = answer.in_place(net, images, labels)
        changed = any(not torch.equal(v, statistics[k]) for k, v in net.state_dict().items())
        if changed and net.training:
            raise NotAttempted
        if changed:
            raise Wrong(
                "the running statistics of the norms have changed: measure in evaluation mode, from the first image on."
            )
        if value is None:
            raise Wrong("the function returns None: is a `return` missing?")
        expect_number(
            value,
            truth,
            what="the accuracy",
            rtol=1e-6,
            mistakes=[
                (1 - truth, "that is the share of wrong readings."),
                (truth * 200, "that is the number of right readings; divide by the number of images."),
                (100 * truth, "that is in per cent; a share was asked for."),
                (0.5, "the accuracy is the same whatever the images are."),
            ],
        )
        if net.training and not training:
            raise Wrong(
                "the network came in evaluation mode and is now in training mode: put it back to the mode "
                "in which it came."
            )
        if training and not net.training:
            raise Wrong(
                "the network stays in evaluation mode: the caller's training would go on without batch statistics."
            )
    return (
        "An instrument must not depend on what else is measured, nor change by measuring. Recall "
        "it when you average weights: norms have buffers."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


@target_images("14.1", title="one digit, back from six noise levels with nine tenths of the noise known")
def _(answer: Any) -> Tensor:
    alpha_bar = torch.tensor([0.95, 0.8, 0.6, 0.4, 0.2, 0.05], device="cpu")
    digit = digits("test", device="cpu").images[3:4].expand(6, -1, -1, -1)
    eps = torch.randn(6, 1, 28, 28, generator=seeded(0, "cpu"), device="cpu")
    bar = alpha_bar[:, None, None, None]
    return answer(bar.sqrt() * digit + (1 - bar).sqrt() * eps, 0.9 * eps, alpha_bar).clamp(-1.5, 1.5)


@target_curves("14.5", x=range(200), xlabel="step", panels=("the average",), lines=("decay 0.9", "decay 0.99"))
def _(answer: Any) -> list[Tensor]:
    lines = []
    for decay in (0.9, 0.99):
        average, seen = [torch.zeros(1, device="cpu")], []
        for step in range(200):
            answer(average, [torch.tensor([1.0 if step % 100 < 50 else -1.0], device="cpu")], decay)
            seen.append(average[0].clone())
        lines.append(torch.cat(seen))
    return lines


@target_points("14.8", title="60 steps with the exact guess, to six clusters", limit=2.4)
def _(answer: Any) -> Tensor:
    betas = linear_betas(60, 0.0017, 0.17)
    exact = ring().denoiser(DiscreteDDPM(betas))
    noise = torch.randn(61, 150, 2, generator=seeded(0, "cpu"), device="cpu")
    return torch.as_tensor(answer(lambda x, t: eps_hat(exact, x, float(t)), cloud(), betas.float(), noise))
