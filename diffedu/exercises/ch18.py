"""Checks of chapter 18: diffusion transformers and rectified flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffedu._tensor import seeded
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
from diffedu.exercises._inputs import line
from diffedu.exercises._targets import target_curves, target_images
from diffedu.nn import DiT, DiTConfig, patchify


@exercise(
    "18.1",
    title="put it together",
    stars=1,
    hints=[
        "How many squares are there along an edge? The square root of N.",
        "Give the tokens six axes, (B, row of squares, column of squares, channel, row inside, column inside); "
        "then bring them into the order of a picture.",
        "tokens.reshape(B, side, side, channels, p, p).permute(0, 3, 1, 4, 2, 5).reshape(B, channels, side * p, "
        "side * p)",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch, channels, p, side in ((3, 2, 4, 3), (2, 3, 2, 4), (4, 1, 4, 4)):
        size = side * p
        images = torch.randn(batch, channels, size, size, generator=rng)
        tokens = patchify(images, p)
        six = tokens.reshape(batch, side, side, channels, p, p)
        last = tokens.reshape(batch, side, side, p, p, channels)

        def whole(order: tuple[int, ...], x: Tensor = six, shape: torch.Size = images.shape) -> Tensor:
            return x.permute(order).reshape(shape)

        mistakes = [
            (
                tokens.reshape(images.shape),
                "a plain reshape takes runs of numbers for squares: permute the axes first.",
            ),
            (whole((0, 3, 2, 4, 1, 5)), "rows and columns of squares are exchanged: they are numbered row by row."),
            (whole((0, 3, 1, 5, 2, 4)), "rows and columns are exchanged inside each square."),
            (images.mT, "the picture is turned over: rows and columns are exchanged everywhere."),
            (
                whole((0, 3, 1, 2, 4, 5)),
                "the axes are in the wrong order: a row of the picture crosses all its squares.",
            ),
            (
                whole((0, 5, 1, 3, 2, 4), last),
                "inside a token the channel counts first (slowest), then row, then column; you took it for the last.",
            ),
        ]
        expect_close(answer(tokens, channels, p), images, what="the pictures", mistakes=mistakes)
    return "Nothing was computed: the numbers only moved. So noise stays noise, and squared errors stay what they were."


@exercise(
    "18.2",
    title="what pairs cost",
    stars=1,
    kind="numeric",
    hints=[
        "(18.4) gives the number of tokens; the side in tokens is its square root; each token is two numbers wide.",
        "For (b) put N = 256 and N = 1024 into (18.3) and divide; the depth drops out.",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    side, factor = expect_parts(answer, 2)
    expect_number(
        side,
        96.0,
        what="(a) the side",
        rtol=1e-6,
        mistakes=[
            (48.0, "(a) that is the side in tokens; a token covers 2 x 2 numbers."),
            (2304.0, "(a) that is the number of tokens, 6 d."),
            (2.0 * 384**0.5, "(a) at N = d the pairs cost a sixth of the rest; (18.4) has a factor 6."),
            (192.0, "(a) a token covers two numbers along a side, not four."),
        ],
    )

    def cost(N: float, d: float = 1152.0, pairs: float = 4, condition: float = 12) -> float:
        return 24 * N * d**2 + pairs * N**2 * d + condition * d**2

    expect_number(
        factor,
        cost(1024) / cost(256),
        what="(b) the factor",
        rtol=2e-3,
        mistakes=[
            (4.0, "(b) that would be so without pairs: their part grows sixteenfold."),
            (16.0, "(b) only the pairs grow sixteenfold, and they are a small part."),
            (2.0, "(b) twice the side is four times the tokens."),
            (cost(512) / cost(256), "(b) twice the side is four times the tokens, not twice."),
            (cost(256) / cost(1024), "(b) that is the reciprocal: how much less the small picture costs."),
        ],
    )
    return (
        "Four times the pixels for little more than four times the work: at this width, 1,024 tokens are still few. "
        "(Peebles and Xie count 524.6 for the larger picture and 118.6 for the smaller one.)"
    )


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


@exercise(
    "18.3",
    title="attention with heads",
    stars=2,
    hints=[
        "Cut the last axis into (heads, d) and bring the heads in front of the tokens: (B, heads, N, d).",
        "The fits are Q @ K.mT / sqrt(d), with d the width of ONE head; the softmax runs over the keys, the last axis.",
        "Undo the cut: transpose(1, 2).flatten(2).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch, tokens, heads, d in ((3, 5, 2, 4), (2, 4, 4, 3), (1, 6, 1, 6)):
        q, k, v = (1.5 * torch.randn(batch, tokens, heads * d, generator=rng) for _ in range(3))
        Q, K, V = (_heads(x, heads) for x in (q, k, v))

        def mixed(
            scale: float, axis: int = -1, Q: Tensor = Q, K: Tensor = K, V: Tensor = V, turn: bool = False
        ) -> Tensor:
            fits = (K @ Q.mT if turn else Q @ K.mT) * scale
            return (torch.softmax(fits, axis) @ V).transpose(1, 2).flatten(2)

        right = F.scaled_dot_product_attention(Q, K, V).transpose(1, 2).flatten(2)
        interleaved = [x.unflatten(2, (d, heads)).permute(0, 3, 1, 2) for x in (q, k, v)]
        inter = F.scaled_dot_product_attention(*interleaved).permute(0, 2, 3, 1).flatten(2)
        mistakes = [
            (mixed(1.0), "the fits are not divided by sqrt(d)."),
            (mixed(1 / d), "you divide by d; the standard deviation of a fit is its square root."),
            (mixed((heads * d) ** -0.5), "you divide by the root of the whole width; d is the width of one head."),
            (mixed(d**-0.5, axis=-2), "the softmax runs over the queries: the shares of one query must sum to one."),
            (mixed(d**-0.5, turn=True), "queries and keys are exchanged: each token would take what others look for."),
            (F.scaled_dot_product_attention(q, k, v), "the heads are ignored: each slice has shares of its own."),
            (inter, "the slices are interleaved: the first head has the first d entries."),
            (mixed(d**-0.5, V=torch.ones_like(V)), "the values are not used."),
            (v, "no token looks at another: that returns the values."),
            (mixed(tokens**-0.5), "you divide by the root of the number of tokens; d is the width of one head."),
            (mixed(heads**-0.5), "you divide by the root of the number of heads; d is the width of one head."),
            (
                F.scaled_dot_product_attention(Q, K, V, is_causal=True).transpose(1, 2).flatten(2),
                "each token looks only at those before it, as for text; squares look at all squares.",
            ),
            (
                F.scaled_dot_product_attention(Q, K, V).reshape(batch, tokens, -1),
                "the heads stand before the tokens when you flatten: transpose back first.",
            ),
        ]
        if heads == 1:  # several of the mistakes are none here
            mistakes = mistakes[:2]
        expect_close(answer(q, k, v, heads), right, what="the result", rtol=1e-4, mistakes=mistakes)
    return "Four lines. What a large model adds is only how fast they are computed."


@exercise(
    "18.4",
    title="a gated block",
    stars=2,
    hints=[
        "Give each of the six vectors an axis for the tokens: modulation[:, k, None].",
        "F.layer_norm(h, h.shape[-1:]) is the norm; then (1 + gamma) * norm + beta.",
        "h = h + g1 * attention(m(h, gamma1, beta1)); the second part reads the NEW h.",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    for batch, tokens, d in ((3, 5, 8), (4, 4, 4)):
        A, M = torch.randn(2, d, d, generator=rng) / d**0.5
        mix = torch.softmax(torch.randn(tokens, tokens, generator=rng), 1)

        def attention(x: Tensor, mix: Tensor = mix, A: Tensor = A) -> Tensor:
            return mix @ x @ A + 0.5

        def mlp(x: Tensor, M: Tensor = M) -> Tensor:
            return torch.tanh(x @ M) - 0.3

        h = 2 * torch.randn(batch, tokens, d, generator=rng) + 1
        h[0] *= 0.01  # faint tokens: here the 1e-5 of (18.9) counts
        modulation = torch.randn(batch, 6, d, generator=rng)

        def block(
            h: Tensor = h,
            order: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
            one: float = 1.0,
            gate: str = "part",
            norm: str = "before",
            second: str = "new",
            axis: int = 1,
            m: Tensor = modulation,
            f: Callable[[Tensor], Tensor] = attention,
            g: Callable[[Tensor], Tensor] = mlp,
        ) -> Tensor:
            b1, c1, g1, b2, c2, g2 = (m[:, k].unsqueeze(axis) for k in order)

            def read(x: Tensor, c: Tensor, b: Tensor) -> Tensor:
                n = F.layer_norm(x, x.shape[-1:])
                if norm == "none":
                    return (one + c) * x + b
                if norm == "unbiased":
                    return (one + c) * (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True) + b
                if norm == "tokens":
                    return (one + c) * F.layer_norm(x, x.shape[1:]) + b
                if norm == "no mean":
                    return (one + c) * F.rms_norm(x, x.shape[-1:], eps=1e-5) + b
                if norm in ("1e-6", "1e-9"):
                    return (one + c) * F.layer_norm(x, x.shape[-1:], eps=float(norm)) + b
                if norm == "after":
                    return F.layer_norm((one + c) * x + b, x.shape[-1:])
                return (one + c) * n + b

            def write(x: Tensor, part: Tensor, gate_: Tensor) -> Tensor:
                if gate == "sum":
                    return gate_ * (x + part)
                if gate == "none":
                    return x + part
                if gate == "only":
                    return gate_ * part
                return x + (1 + gate_ if gate == "one" else gate_) * part

            new = write(h, f(read(h, c1, b1)), g1)
            return write(new, g(read(h if second == "old" else new, c2, b2)), g2)

        mistakes = [
            (block(one=0.0), "the scale lacks its 1 +: gamma = 0 would erase the input."),
            (block(gate="sum"), "the gate multiplies the sum: with g = 0 the input itself would be lost."),
            (block(gate="only"), "the input is not added: that is no residual block."),
            (block(gate="none"), "the gates are not used."),
            (block(gate="one"), "the gate has no 1 +: with g = 0 nothing is to be written."),
            (block(order=(1, 0, 2, 4, 3, 5)), "shift and scale are exchanged: beta comes first in each triple."),
            (block(order=(2, 1, 0, 5, 4, 3)), "shift and gate are exchanged."),
            (block(order=(0, 1, 2, 0, 1, 2)), "both parts use the first three vectors."),
            (block(order=(3, 4, 5, 0, 1, 2)), "the two triples are exchanged."),
            (block(second="old"), "the second part reads the old h; it must see what the first has written."),
            (block(norm="none"), "the norm is missing."),
            (block(norm="unbiased"), "the variance of the norm divides by d, not by d - 1: (18.9) is F.layer_norm."),
            (block(norm="tokens"), "the norm runs over all tokens at once; each token is normalised by itself."),
            (block(norm="no mean"), "the norm does not subtract the mean of the token's entries."),
            (block(norm="1e-6"), "the norm has 1e-6 where (18.9) has 1e-5."),
            (block(norm="1e-9"), "the norm lacks the 1e-5 of (18.9), or has a much smaller number."),
            (block(norm="after"), "you normalise after scaling and shifting, which takes most of it away again."),
        ]
        if batch == tokens:
            mistakes.append(
                (
                    block(axis=0),
                    "each token gets the modulation of another example: the new axis belongs behind the batch.",
                )
            )
        right = block()
        expect_close(answer(h, attention, mlp, modulation), right, what="the tokens", rtol=1e-4, mistakes=mistakes)
    return "With all six vectors at zero it returns h, whatever the parts are: a network of such blocks starts shallow."


@exercise(
    "18.5",
    title="zeros that don't stay",
    stars=2,
    kind="find-and-fix",
    hints=[
        "What does net.apply(xavier) do to a layer that was set to zero a moment ago?",
        "First the rule for all, then the exceptions.",
    ],
)
@torch.no_grad()
def _(answer: Any, rng: torch.Generator) -> str:
    seed = int(torch.randint(1, 10_000, (), generator=rng))
    torch.manual_seed(seed)
    net = DiT(DiTConfig(size=8, patch=2, width=16, depth=2, heads=2, classes=3))
    draws = seeded(seed)
    for weight in net.parameters():
        weight.copy_(torch.randn(weight.shape, generator=draws))
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    answer.in_place(net)

    def zero(layer: nn.Module) -> bool:
        return not any(p.any() for p in layer.parameters())

    gates: list[Any] = [block.modulate for block in net.blocks]
    exits = [net.modulate, net.leave]
    linear = {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Linear) and all(layer is not other for other in (*gates, *exits))
    }

    def xavier(layer: nn.Linear) -> bool:
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        w = layer.weight
        return (
            bool(w.abs().max() <= bound * 1.0001 and abs(w.std() / (bound / 3**0.5) - 1) < 0.2) and not layer.bias.any()
        )

    everything = all(xavier(layer) for layer in (*linear.values(), *gates, *exits) if isinstance(layer, nn.Linear))
    if everything:
        raise NotAttempted
    if all(zero(layer) for layer in linear.values()):
        raise Wrong(
            "every layer is zero: then in (18.11) a and g are both zero, and no gate ever gets a gradient. Only the "
            "modulations and the exit start at zero."
        )
    asleep = [name for name, layer in linear.items() if zero(layer)]
    if asleep:
        raise Wrong(
            "a layer inside a part is zero as well as its gate: neither would ever get a gradient. Zero the "
            "modulations and the exit, nothing else."
        )
    if all(torch.equal(layer.weight, before[f"{name}.weight"]) for name, layer in linear.items()):
        raise Wrong("the other layers were not initialised at all: Xavier's rule is wanted for them.")
    label = before.get("label.weight")
    if label is not None and net.label is not None and not torch.equal(net.label.weight, label):
        raise Wrong("the table of the labels was changed; it is no linear layer, and keeps its random numbers.")
    gates_shut = all(not p.chunk(6)[k].any() for layer in gates for p in layer.parameters() for k in (2, 5))
    if gates_shut and not all(zero(layer) for layer in gates):
        raise Wrong("the gates are zero, but the scales and shifts beside them are not: the whole modulation is.")
    if not all(zero(layer) for layer in gates):
        raise Wrong("the modulations of the blocks are not zero, so the gates are open.")
    if not zero(net.leave):
        raise Wrong("the gates are zero, but the exit is not: a new network must return exactly zero.")
    if not zero(net.modulate):
        raise Wrong("the modulation of the exit is not zero.")
    if not all(xavier(layer) for layer in linear.values()):
        raise Wrong("the other layers do not follow Xavier's rule (uniform weights, biases zero).")
    return "First the rule, then the exceptions. And a test that looks at values, since shapes can't tell."


@exercise(
    "18.6",
    title="shifted times",
    stars=2,
    hints=[
        "In the logit a shift by a factor f adds log f: (18.17).",
        "So the shifted time is logit-normal again. Which m has it, and which s?",
        "pi(t, m + log f, s), by (18.13).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    n = int(torch.randint(6, 12, (), generator=rng))
    t = 0.05 + 0.9 * torch.rand(n, generator=rng, dtype=torch.float64)
    m, s = float(torch.randn((), generator=rng)), 0.5 + float(torch.rand((), generator=rng))
    f = 1.5 + 2 * float(torch.rand((), generator=rng))

    def density(t: Tensor, m: float, s: float, jacobian: bool = True, square: bool = True) -> Tensor:
        z = (torch.logit(t) - m) / s
        bell = torch.exp(-(z**2 if square else z) / 2) / (s * math.sqrt(2 * math.pi))
        return bell / (t * (1 - t)) if jacobian else bell

    back = t / (f - (f - 1) * t)  # the time before the shift
    mistakes = [
        (density(t, m, s), "that is the density before the shift."),
        (
            density(t, m - math.log(f), s),
            "the shift has the wrong sign: a factor above 1 moves times towards the noise.",
        ),
        (density(t, m + f, s), "the factor itself is added to m; in the logit it is its logarithm that is added."),
        (density(t, m + math.log(f) / 2, s), "half the logarithm belongs to m / n; the factor is already its root."),
        (density(t, m * f, s), "the mean of the logit is multiplied; a factor in t/(1 - t) ADDS its logarithm to it."),
        (density(t, m + math.log(f), s, jacobian=False), "that is the density of the logit: 1/(t (1 - t)) is missing."),
        (density(back, m, s), "the old density at the old time: a density also needs the derivative of old by new."),
        (
            density(f * t / (1 + (f - 1) * t), m, s),
            "you shift the argument forwards; a density asks where t came from.",
        ),
        (
            density(back, m, s) * (f - (f - 1) * t) ** 2 / f,
            "the derivative is upside down: the density needs that of the OLD time by the new.",
        ),
        (
            torch.exp(-((torch.logit(t) - m - math.log(f)) ** 2) / (2 * s))
            / (s * math.sqrt(2 * math.pi) * t * (1 - t)),
            "in the exponent stands 2 s, but the spread belongs squared: 2 s^2.",
        ),
        (density(t, m + math.log(f), s * f), "the spread of the logit does not change: it is moved, not stretched."),
    ]
    expect_close(answer(t, m, s, f), density(t, m + math.log(f), s), what="the density", mistakes=mistakes)
    return "The family is closed under shifts: a larger picture is the same training with another m."


@exercise(
    "18.7",
    title="predict: shuffled pairs",
    stars=1,
    kind="prediction",
    hints=[
        "What does x1 say about x0, once the pairs are shuffled?",
        "Nothing. So the best answer to `where do you come from?` is the same for every x1: (18.19).",
    ],
)
def _(answer: Any, rng: torch.Generator) -> str:
    expect_choice(
        answer,
        "the mean digit",
        {
            "the teacher's digit": "that needs the pairs: which end belongs to which start. They were shuffled.",
            "a random digit": "the answer is a function of x1 that minimises a squared error; a random choice pays the "
            "variance twice.",
            "noise": "the loss asks for x1 - x0, and everybody knows x1: noise is subtracted completely.",
        },
    )
    return "A regression returns conditional means. All that reflow adds is that the condition decides."


@exercise(
    "18.8",
    title="where lines can cross",
    stars=2,
    hints=[
        "Set the mean of (18.22) equal to -nats and solve for (1 - t)/t first.",
        "(1 - t)/t = sqrt(2 nats) / distance.",
        "t = distance / (distance + sqrt(2 nats)).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    n = int(torch.randint(5, 9, (), generator=rng))
    d = 5 + 20 * torch.rand(n, generator=rng, dtype=torch.float64)
    k = 1 + 9 * torch.rand(n, generator=rng, dtype=torch.float64)
    root = (2 * k).sqrt()
    mistakes = [
        (
            root / (d + root),
            "that is 1 - t: data and noise are exchanged. Lines to far digits can meet only at large t.",
        ),
        (d / (d + k.sqrt()), "the half in front of the square is lost: sqrt(2 nats)."),
        (d / (d + (k / 2).sqrt()), "the half has landed on the wrong side: sqrt(2 nats)."),
        (d / (d + 2 * k.sqrt()), "the 2 belongs under the root: sqrt(2 nats)."),
        (d / (d + 2 * k), "the square root is missing: the distance enters squared."),
        (d**2 / (d**2 + 2 * k), "the square root is missing, on both sides."),
        (1 - root / d, "you solved (1 - t) = sqrt(2 nats) / distance and lost the t below."),
        (d / root, "that is t / (1 - t); solve for t."),
        (root / d, "that is (1 - t) / t; solve for t."),
    ]
    expect_close(answer(d, k), d / (d + root), what="the time", mistakes=mistakes)
    return "Neighbours can be confused at smaller t than strangers, and both only towards the noise."


@exercise(
    "18.9",
    title="a power law",
    stars=2,
    hints=[
        "log(L - floor) = log a - b log C is a straight line.",
        "Its slope: covariance of the logarithms over the variance of log C. The exponent is minus the slope.",
        "a = exp(mean of log(L - floor) + b times mean of log C).",
    ],
)
def _(answer: Callable[..., Any], rng: torch.Generator) -> str:
    for n in (7, 5):
        C = 10 ** (2 + 3 * torch.rand(n, generator=rng, dtype=torch.float64))
        b = 0.2 + 0.5 * float(torch.rand((), generator=rng))
        a, floor = 1 + 4 * float(torch.rand((), generator=rng)), 0.1 + 0.1 * float(torch.rand((), generator=rng))
        noise = 1 + 0.05 * torch.randn(n, generator=rng, dtype=torch.float64)
        L = floor + a * C**-b * noise.clamp(0.5, 1.5)

        def fit(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
            return y.mean() - slope * x.mean(), slope

        level, slope = fit(C.log(), (L - floor).log())
        plain = fit(C.log(), L.log())
        ten = fit(C.log10(), (L - floor).log10())
        wrong_way = fit((L - floor).log(), C.log())
        flat = fit(C.log(), L - floor)
        added = fit(C.log(), (L + floor).log())
        ends = fit(C.log()[[0, -1]], (L - floor).log()[[0, -1]])
        through = (C.log() * (L - floor).log()).sum() / C.log().square().sum()
        pair = torch.stack([level.exp(), -slope])
        mistakes = [
            (
                torch.stack([level.exp(), slope]),
                "the exponent has the wrong sign: the law is a C^(-b), with b positive.",
            ),
            (torch.stack([level, -slope]), "the first number is log a; take the exponential."),
            (torch.stack([plain[0].exp(), -plain[1]]), "the floor was not subtracted before taking logarithms."),
            (
                torch.stack([ten[0].exp(), -ten[1]]),
                "logarithms to base 10 were undone with the exponential: a is 10 to the power of the level.",
            ),
            (
                torch.stack([level.exp(), -wrong_way[1]]),
                "that is the slope of log C by log loss: the axes are exchanged.",
            ),
            (torch.stack([added[0].exp(), -added[1]]), "the floor was added, not subtracted."),
            (
                torch.stack([ends[0].exp(), -ends[1]]),
                "a line through two of the points; least squares use all of them.",
            ),
            (
                torch.stack([torch.ones_like(slope), -through]),
                "a line through the origin: the level, log a, has to be fitted as well.",
            ),
            (torch.stack([flat[0], -flat[1]]), "the loss was not put into a logarithm."),
            (torch.stack([-slope, level.exp()]), "the two numbers are exchanged: first a, then b."),
        ]
        value = answer(C, L, floor)
        if isinstance(value, tuple | list):
            parts = expect_parts(value, 2)
            value = torch.stack([torch.as_tensor(part, dtype=torch.float64) for part in parts])
        expect_close(value, pair, what="(a, b)", mistakes=mistakes)
    return "An exponent has an error. Leave out each point once, and you have a first idea of it."


@exercise(
    "18.10",
    title="errata museum: a foreign clock",
    stars=3,
    kind="find-and-fix",
    hints=[
        "Test it with the exact network of a single data point: velocity(x, t) = (x - x0) / t. The loss must be zero.",
        "That settles the target and the time. The third mistake leaves the loss zero: where does 1 + z put the noise?",
        "t = sigmoid(1 + z); x_t = (1 - t) x0 + t eps; net(x_t, t) - (eps - x0).",
    ],
)
def _(answer: Callable[..., Tensor], rng: torch.Generator) -> str:
    batch, d = 4, 3
    x0, eps = torch.randn(2, batch, d, generator=rng, dtype=torch.float64)
    z = torch.randn(batch, generator=rng, dtype=torch.float64)
    W = torch.randn(d, d, generator=rng, dtype=torch.float64)

    def net(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x @ W) + torch.sin(3 * t)[:, None]

    def loss(share: Tensor, told: Tensor, sign: float) -> Tensor:
        """share: of noise."""
        x_t = (1 - share)[:, None] * x0 + share[:, None] * eps
        return (net(x_t, told) - sign * (eps - x0)).square().mean(1)

    t = torch.sigmoid(1 + z)
    value = answer(net, x0, eps, z)
    if isinstance(value, Tensor) and value.shape == (batch,) and torch.allclose(value, loss(1 - t, t, -1.0)):
        raise NotAttempted
    mistakes = [
        (loss(t, t, -1.0), "the target still points from noise to data; our velocity is noise minus data."),
        (loss(t, 1 - t, 1.0), "the network is told 1 - t: the share of data, not of noise."),
        (loss(1 - t, t, 1.0), "the network is told the share of data: at t = 1 it must see noise."),
        (
            loss(1 - t, 1 - t, 1.0),
            "mixture, time and target agree now, but 1 + z shifts towards the DATA: the logit belongs to the noise.",
        ),
        (loss(1 - t, 1 - t, -1.0), "the target still points from noise to data, and 1 + z shifts towards the data."),
        (loss(t, 1 - t, -1.0), "only the mixture is mended: the time and the target still belong to the other clock."),
        (loss(torch.sigmoid(z), torch.sigmoid(z), 1.0), "the shift by 1 is lost: the logit of the noise is 1 + z."),
        (loss(torch.sigmoid(z - 1), torch.sigmoid(z - 1), 1.0), "the shift has the wrong sign."),
        (loss(t, t, 1.0) * d, "a sum over the axes; a mean was asked for."),
    ]
    expect_close(value, loss(t, t, 1.0), what="the loss", mistakes=mistakes)
    return (
        "With a mean of 0 the third mistake would have been invisible. Test conventions where they are not symmetric."
    )


# --------------------------------------------------------------------------------------- what the solutions draw


@target_images("18.1", title="six digits, put together from tokens of 4 x 4 pixels")
def _(answer: Any) -> Tensor:
    return torch.as_tensor(answer(patchify(digits("test", device="cpu").images[:6], 4), 1, 4))


@target_curves("18.6", x=line(0.01, 0.99), xlabel="$t$", panels=("density",), lines=("factor 1", "2", "4"))
def _(answer: Any) -> list[Tensor]:
    return [answer(line(0.01, 0.99), 0.0, 1.0, factor) for factor in (1.0, 2.0, 4.0)]


@target_curves("18.8", x=line(0.1, 30), xlabel="distance", panels=("crossing time",), lines=("1 nat", "10 nats"))
def _(answer: Any) -> list[Tensor]:
    return [answer(line(0.1, 30), torch.full_like(line(0.1, 30), nats)) for nats in (1.0, 10.0)]


@target_curves("18.9", x=torch.logspace(0, 4, 41), xlabel="compute", panels=("fitted loss",), log_x=True)
def _(answer: Any) -> Tensor:
    C = torch.logspace(0, 3, 12, dtype=torch.float64, device="cpu")
    wobble = 1 + 0.02 * torch.sin(5 * torch.arange(12, device="cpu").double())
    a, b = answer(C, 0.3 + 0.9 * C**-0.25 * wobble, 0.3)
    return 0.3 + a * torch.logspace(0, 4, 41, dtype=torch.float64, device="cpu") ** -b
