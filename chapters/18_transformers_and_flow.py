# %% [markdown]
"""
# 18. Diffusion transformers and rectified flow

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/18_transformers_and_flow.ipynb)

*A picture becomes a sentence of patches, a network starts as nothing, and twenty steps become one*

Two inventions stand behind the large image generators of 2024. One replaces the U-Net of chapter 14 by a
transformer, the machine that reads text: it knows nothing of pictures, and does not mind being made larger.
The other replaces the noise schedule by a straight line (chapter 13), and then bends the *flow* until it is
straight as well. Below, the second one at work on ten digits.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %% tags=["setup"]
import math
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffedu import EPS, VELOCITY, DatasetDenoiser, Euler, LogitNormal, RectifiedFlow, convert
from diffedu import seeded, trajectory, uniform_times, velocity, weight_between
from diffedu.data import digits
from diffedu.evaluate import accuracy, frechet_distance
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.flow import FlowMatchingLoss, straightness
from diffedu.nn import DiT, DiTBlock, DiTConfig, patchify, positions, unpatchify
from diffedu.recipes import digits_classifier, digits_ddpm, digits_dit, digits_flow
from diffedu.recipes import digits_reflow, digits_scaling, shipped_log
from diffedu.recipes.digits_report import features
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, image_rows, montage, panels
from diffedu.show import SCORE as ORANGE, VELOCITY as GREEN
from diffedu.show.widgets.few_steps import FewSteps
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
double = torch.float64
straight = RectifiedFlow()  # x_t = (1 - t) x0 + t eps: data at t = 0, noise at t = 1
real, held_out = digits("train", device=device), digits("test", device=device)
encode = digits_ddpm.encode  # chapter 14: pixels in [-1, 1] to what the networks see
ten = torch.arange(10, device=device)  # one label of each class

# %%
folder, models = None, (digits_flow, digits_dit, digits_reflow)  # no folder: the weights that ship
if os.environ.get("DIFFEDU_FULL"):  # hours; goes on where it stopped
    folder = Path("chapter-18")
    for recipe in models:
        recipe.run(folder, device=device)
flow_net, dit_net, reflow_net = (recipe.load(folder, device) for recipe in models)

rows = {
    "flow,\n1 evaluation": digits_reflow.draw(flow_net, ten, seed=3, steps=1),
    "flow,\n10 evaluations": digits_reflow.draw(flow_net, ten, seed=3, steps=10),
    "reflowed,\n1 evaluation": digits_reflow.draw(reflow_net, ten, seed=3, steps=1),
}
image_rows(rows, scale=0.72)

# %% [markdown]
r"""
*The same ten pictures of noise in each row, and the network is asked once or ten times. The flow needs its
steps: at the first it shows ten grey ghosts. The network in the last row has the same architecture and as
many weights, and needs one.*

**Before you read on.** The ghosts of the first row are not bad luck. They are exactly what a *perfect* flow
would draw in one step. Which picture is a ghost? (Chapter 13 holds the answer, at its (13.20). Section 18.6
comes back to it.)

**You will be able to**
- cut a picture into tokens and put it back, and say what a patch size costs, in operations that you count;
- write attention in four lines, say why it divides by $\sqrt d$, and why it needs to be told where things
  stand;
- write a DiT block with its zero gates, say in which order its parts wake up, and catch the initialisation
  that puts them to sleep for good or never lets them sleep;
- derive where in time a rectified flow is trained, as a density, as a weight and as a law of the noise
  level, and move it from one resolution to another;
- compare a U-Net and a transformer at equal minutes, with floors;
- reflow an image model, say what it gains and what it loses, and why one round goes so far;
- fit a scaling law with an honest error, and say what it does not tell.

**You need** chapter 13 (flows, the loss, reflow) and chapter 14 (the digits, their Fréchet distance, what a
floor is). Attention is explained from the start. **Time**: 70 minutes to read, two minutes to run, three
hours with the exercises.

## 18.1 A picture as a sentence

A transformer reads a list of vectors, called *tokens*. For text these stand for pieces of words. What are the
words of a picture? The answer is nearly insulting: cut it into squares (Dosovitskiy et al., 2021, for
recognition; Peebles and Xie, 2023, for diffusion). A square of side $p$, in a picture with $C$ channels, is a
list of $C p^2$ numbers. That is a token. A picture with $H$ rows and columns has $N = (H/p)^2$ of them.

We must say in which order, since a list has one. The squares are numbered row by row. Inside a square, the
channel counts first, then the row, then the column. Let $n = (H/p)\,r + s$ number the square in row $r$ and
column $s$, all counted from zero. Then

$$\mathrm{token}_n\big[(c\,p + a)\,p + b\big] = x\big[c,\ r p + a,\ s p + b\big],\qquad
0\le a, b< p. \tag{18.1}$$
<!-- code 18.1: diffedu.nn.dit.patchify -->

Each pixel appears once. So cutting is a *permutation* of the numbers of the picture, and more is true
than that it can be undone. A permutation matrix $P$ is orthogonal:

$$P^\top P = I, \qquad \lVert P x\rVert = \lVert x\rVert, \qquad
P(\alpha x_0 + \sigma\varepsilon) = \alpha\,P x_0 + \sigma\,P\varepsilon,\quad
P\varepsilon\sim\mathcal N(0, I). \tag{18.2}$$

Standard normal noise stays standard normal noise, squared errors stay what they were, and noising commutes
with cutting. **The diffusion never notices that its pictures are sentences.** Only the network does.
"""


# %%
def cut(images, p):
    """(18.1), one token after the other: (B, C, H, H) to (B, N, C p^2)."""
    B, _, H, _ = images.shape
    tokens = []
    for r in range(H // p):
        for s in range(H // p):
            square = images[:, :, r * p : (r + 1) * p, s * p : (s + 1) * p]  # channel, row, column
            tokens.append(square.reshape(B, -1))
    return torch.stack(tokens, dim=1)


colour = torch.randn(5, 3, 12, 12, generator=seeded(0), dtype=double)
verify("18.1", patchify(colour, 4), cut(colour, 4), over="numbers")
assert torch.equal(unpatchify(patchify(colour, 4), 4, 12), colour)  # and back, to the bit

unit = torch.eye(2 * 6 * 6, dtype=double).reshape(-1, 2, 6, 6)  # one picture for each pixel
P = cut(unit, 3).flatten(1).T  # its columns: where each pixel goes
verify("18.2", P.T @ P, torch.eye(72, dtype=double), over="entries")
assert ((P == 0) | (P == 1)).all()

# %% [markdown]
r"""
### The order that everybody gets wrong once
An array can be cut with one `reshape`. That it runs is no proof. Below, what arrives if one cuts by
(18.1) and puts together by another rule: rows and columns of squares exchanged; rows and columns exchanged
*inside* each square; and the plain `reshape`, which takes runs of $p^2$ neighbours in memory for squares.
"""

# %%
eight = real.images[(real.labels == 8).nonzero()[2]].cpu()  # (1, 1, 28, 28)
tokens = patchify(eight, 4)
as_square = tokens.unflatten(2, (4, 4))
wrong = {
    "squares: row\nand column": tokens.unflatten(1, (7, 7)).transpose(1, 2).flatten(1, 2),
    "pixels: row\nand column": as_square.transpose(2, 3).flatten(2),
}
back = {name: unpatchify(mixed, 4, 28) for name, mixed in wrong.items()}
back["plain\nreshape"] = tokens.reshape(1, 1, 28, 28)
assert all(not torch.equal(picture, eight) for picture in back.values())

figure, axes = panels(1, 5, width=12.5, height=3.0)
axes[0].imshow(montage(eight, columns=1, gap=0), interpolation="nearest")
for edge in range(0, 29, 4):
    axes[0].axhline(edge - 0.5, color=GREEN, linewidth=1)
    axes[0].axvline(edge - 0.5, color=GREEN, linewidth=1)
for n in range(0, 49, 8):
    axes[0].text(4 * (n % 7) + 1.5, 4 * (n // 7) + 1.6, str(n), color=ORANGE, ha="center", va="center")
axes[0].set_title("49 squares")
axes[1].imshow(montage(patchify(eight, 4).reshape(49, 1, 4, 4), columns=7, gap=1), interpolation="nearest")
axes[1].set_title("49 tokens of 16 numbers")
for ax, (name, picture) in zip(axes[2:], back.items(), strict=True):
    ax.imshow(montage(picture, columns=1, gap=0), interpolation="nearest")
    ax.set_title(name, fontsize=11)
for ax in axes:
    ax.set_axis_off()
figure

# %% [markdown]
r"""
*The digit, its tokens, and three wrong ways back. The second leaves the digit in its place, torn at the
seams: in blurred samples it would pass for poor training. On noise none of the three would be visible.*

If cutting and putting together are wrong in the *same* way, the network sees another permutation, and
trains. For the first two that costs nothing. For the plain `reshape` a token holds a run along a row, and
its pixels have less to do with each other. How much less? Measure the share of the pixels' variance that
the means of their tokens explain.
"""


# %%
def own_mean(tokens):
    """The share of the variance of pixels that the mean of their token explains."""
    return (tokens.mean(2).var() / tokens.var()).item()


some = encode(real.images[:500])
shares = {"squares": own_mean(patchify(some, 4)), "plain reshape": own_mean(some.reshape(500, 49, 16))}
for name, share in shares.items():
    print(f"{name:14} {share:.2f}")
print(f"{'unrelated':14} {1 / 16:.2f}   (16 independent pixels)")
assert shares["squares"] > shares["plain reshape"] + 0.1

# %% [markdown]
r"""
### What a token costs
Each token is multiplied by one matrix to get the network's working width $d$, and then passes through $L$
blocks. The next section builds a block; its cost needs only the shapes of its matrices. Count a
multiplication and an addition as two operations, so a matrix product $(m\times k)(k\times n)$ costs $2mkn$.

- Four $d\times d$ matrices for attention (queries, keys, values, output), for each token: $8Nd^2$.
- A small network $d\to4d\to d$ for each token: $16Nd^2$.
- Attention itself, every token with every other, twice (the weights, then the weighted mean): $4N^2d$.
- The condition, once a picture, $d\to6d$: $12d^2$.

$$F_\text{block} = \underbrace{24\,N d^2}_{\text{each token by itself}}\;+\;\underbrace{4\,N^2 d}_{\text{each
with each}}\;+\;12\,d^2. \tag{18.3}$$

The part that is quadratic in $N$ is famous. **Before you read on.** At which $N$ does it overtake the
linear part? Is that many tokens, or few?

Set $4N^2d = 24Nd^2$:

$$N = 6\,d. \tag{18.4}$$

For our width of 128 that is 768 tokens; we have 49. The largest model of Peebles and Xie, DiT-XL/2, has $d
= 1152$ and 256 tokens, so its attention is a small part of it. Formulas of this kind are worth a test:
PyTorch can count the operations of a real forward pass.
"""


# %%
def block_cost(N, d):
    return 24 * N * d**2 + 4 * N**2 * d + 12 * d**2


def network_cost(config):
    """Operations of one picture: blocks, entrance and exit, the last modulation, and the net for the time."""
    N, d, values = (config.size // config.patch) ** 2, config.width, config.channels * config.patch**2
    return config.depth * block_cost(N, d) + 4 * N * values * d + 4 * d**2 + 2 * 128 * d + 2 * d**2


def counted(net, batch=2):
    """Operations a picture, as PyTorch counts them; MATH: an attention that its counter can see into."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        net(
            torch.zeros(batch, 1, 28, 28, device=device),
            torch.ones(batch, device=device),
            torch.zeros(batch, dtype=torch.long, device=device),
        )
    return counter.get_total_flops() / batch


tried = [DiTConfig(patch=p, width=64, depth=2, t_max=1.0) for p in (2, 4, 7, 14)]
verify(
    "18.3",
    [float(network_cost(c)) for c in (*tried, digits_dit.NET)],
    [counted(DiT(c).to(device)) for c in (*tried, digits_dit.NET)],
    over="networks",
)
N_equal = torch.tensor([6.0 * 128, 6.0 * 1152], dtype=double)
d_equal = torch.tensor([128.0, 1152.0], dtype=double)
by_search = [  # the first N at which the pairs cost as much as the tokens
    next(float(N) for N in range(1, 10_000) if 4 * N**2 * d >= 24 * N * d**2) for d in (128, 1152)
]
verify("18.4", N_equal, by_search, over="widths")
xl = 28 * block_cost(256, 1152)
print(
    f"DiT-XL/2: {xl / 2e9:.1f} thousand million multiply-adds,",
    f"{28 * 4 * 256**2 * 1152 / xl:.1%} of it for pairs",
)
assert round(xl / 2e9, 1) == 118.6

# %% [markdown]
r"""
Peebles and Xie report 118.6 "Gflops" for DiT-XL/2 (their table of models). Our count agrees to the last
digit, once we notice that they count a multiplication with its addition as *one*. In the literature both
habits occur, often under the same name. Divide by two before you are astonished.

Now the knob. The patch size $p$ changes the number of tokens and nearly nothing else: the parameters are all
in matrices of size $d$.
"""

# %%
sizes = (1, 2, 4, 7, 14)
designs = [DiTConfig(patch=p, t_max=1.0) for p in sizes]
counts = [(28 // p) ** 2 for p in sizes]
pairs_part = [4 * 4 * N**2 * 128 / 1e6 for N in counts]
whole = [network_cost(c) / 1e6 for c in designs]
weights = [sum(w.numel() for w in DiT(c).parameters()) for c in designs]
print(
    f"from patch 14 to 1: {max(weights) / min(weights):.2f} times the weights,",
    f"{whole[0] / whole[-1]:.0f} times the work",
)
assert max(weights) < 1.1 * min(weights)
assert whole[0] > 300 * whole[-1]

figure, (left, right) = panels(1, 2, width=11.5, height=3.5)
left.bar([k - 0.19 for k in range(5)], whole, color=DATA, width=0.36)
left.bar([k + 0.19 for k in range(5)], pairs_part, color=ORANGE, width=0.36)
left.set(yscale="log", ylim=(0.02, 20_000), xticks=range(5), ylabel="million operations a picture")
left.set_xticklabels([f"{p}\n{N} tokens" for p, N in zip(sizes, counts, strict=True)])
left.set_xlabel("side of a patch")
left.text(2.0, 2600, "all operations", color=DATA)
left.text(2.0, 700, "of them, for pairs of tokens", color=ORANGE)
for at, value in enumerate(whole):
    left.text(at - 0.19, 1.25 * value, f"{value:,.0f}", ha="center", color=INK, fontsize=10)
N = torch.logspace(1, 5, 100)
for d, color in ((128, DATA), (1152, GREEN)):
    right.plot(N, 4 * N**2 * d / (24 * N * d**2 + 4 * N**2 * d), color=color)
    right.plot(6 * d, 0.5, "o", color=color)
    right.text(6 * d * 1.25, 0.44, f"$d={d}$", color=color)
for N_here, name in ((49, "digits"), (256, "DiT-XL/2"), (4096, "1024$^2$ pixels,\nSD3")):
    right.axvline(N_here, color=NOISE, linewidth=1, linestyle=":")
    right.text(N_here, 1.02, name, ha="center", va="bottom", color="#666666", fontsize=9.5)
right.set(xscale="log", xlabel="tokens N", ylabel="share of the pairs", ylim=(0, 1))
figure

# %% [markdown]
r"""
*Left: operations by patch size (logarithmic); from 14 to 1 they grow more than three hundredfold, while
the number of weights hardly changes. Right: the share of work that goes into pairs; half at $N = 6d$ (dots).*

So **two networks with nearly the same number of weights can differ three hundredfold in work.** That is why
Peebles and Xie plot quality against operations, and not against parameters: at equal parameters, smaller
patches gave better pictures. (SD3 on the right: a picture of 1024² pixels is compressed to 128² (chapter
17), and cut with $p = 2$.) Our recipe takes $p = 4$.

## 18.2 Every token looks at every other

After the entrance a picture is a matrix $X$ with $N$ rows of width $d$. How shall the rows exchange what they
know? A convolution would mix each with its neighbours. Attention lets each row *decide* from whom to take.

Each token writes three short notes, by three learned matrices: a *query* (what I look for), a *key* (what I
offer to be found by), and a *value* (what I hand out). How well query $i$ fits key $j$ is their inner
product. A softmax over all $j$ turns fits into shares that sum to one, and token $i$ gets the mean of the
values with these shares:

$$A = \mathrm{softmax}\Big(\frac{Q K^\top}{\sqrt d}\Big)\, V, \qquad
Q = X W_Q,\quad K = X W_K,\quad V = X W_V. \tag{18.5}$$
<!-- code 18.5: diffedu.nn.dit.DiTBlock.attention -->

The softmax runs along each *row*: the shares of one query. With several **heads** the width is cut into
slices, each slice does (18.5) by itself with its own width $d$, and the results are put side by side. One
head may look for the other end of a stroke, another one for paper.
"""


# %%
def attention(Q, K, V, heads):
    """(18.5) for Q, K, V of shape (B, N, width)."""
    Q, K, V = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (Q, K, V))  # (B, heads, N, d)
    shares = torch.softmax(Q @ K.mT / Q.shape[-1] ** 0.5, dim=-1)
    return (shares @ V).transpose(1, 2).flatten(2)


torch.manual_seed(0)
block = DiTBlock(32, heads=4).double()
X = torch.randn(3, 49, 32, generator=seeded(1), dtype=double)
Q, K, V = block.qkv(X).chunk(3, dim=2)
split = [x.unflatten(2, (4, 8)).transpose(1, 2) for x in (Q, K, V)]
library = F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
verify("18.5", attention(Q, K, V, heads=4), library, over="numbers")
assert torch.allclose(block.out(attention(Q, K, V, heads=4)), block.attention(X))

# %% [markdown]
r"""
### Why divide by $\sqrt d$?
Let the entries of a query and a key be independent with mean 0 and variance 1. Each product $q_i k_i$ then
has mean 0 and variance 1, and variances of independent terms add:

$$\operatorname{Var}[q\cdot k] = d. \tag{18.6}$$

Without the division, fits would be of size $\sqrt d$. A softmax of such numbers is nearly one for the
largest and nearly zero for all others. That has two costs: each token copies one other instead of taking a
mean, and the gradient of a saturated softmax is nearly zero, so it stays that way. How many tokens does a
token look at? The exponential of the entropy of its shares counts them: $N$ for equal shares, 1 for a
single one.
"""

# %%
widths, looked_at = (4, 16, 64, 256, 1024), {"divided": [], "not divided": []}
for d in widths:
    q, k = torch.randn(2, 1000, 49, d, generator=seeded(2), dtype=torch.float32)
    fits = (q[:, :1] @ k.mT)[:, 0]  # (1000, 49): one query each
    if d == 64:
        verify_mean("18.6", fits[:, 0].double() ** 2, float(d))
    for name, scale in (("divided", d**-0.5), ("not divided", 1.0)):
        share = torch.softmax(scale * fits, dim=1)
        entropy = -(share * share.clamp(min=1e-30).log()).sum(1)
        looked_at[name].append(entropy.exp().mean().item())
print("tokens looked at, of 49:")
for name, values in looked_at.items():
    print(f"  {name:12}", "  ".join(f"d = {d}: {v:.0f}" for d, v in zip(widths, values, strict=True)))
assert min(looked_at["divided"]) > 29
assert max(looked_at["divided"]) < 35
assert looked_at["not divided"][-1] < 2

# %% [markdown]
r"""
### It cannot tell where things stand
Exchange two rows of $X$. Queries, keys and values are exchanged with them; each sum over $j$ has the same
terms in another order; so the result is the old one with the same two rows exchanged. For any permutation
$\Pi$ of the tokens,

$$A(\Pi X) = \Pi\, A(X). \tag{18.7}$$

Everything else in a block treats each token by itself, so the whole network obeys (18.7), too. Such a
network would see a digit as a bag of squares. Show it the digit with its squares shuffled, and it returns
the same answer, shuffled.

The cure is to *tell* each token where it stands, by adding a vector that depends on its place. For a place
$u$ along an axis, take waves of several frequencies, $\pi(u) = (\sin\omega_k u,\ \cos\omega_k u)_k$, and
use half of the width for the row $r$, half for the column $s$. Why waves? Because of one identity, $\sin
a\sin b + \cos a\cos b = \cos(a - b)$. It makes the inner product of two places depend on nothing but how
far apart they are:

$$\big\langle \pi(r, s),\ \pi(r', s')\big\rangle = \sum_k \cos\omega_k(r - r') + \sum_k\cos\omega_k(s - s').
\tag{18.8}$$
<!-- code 18.8: diffedu.nn.dit.positions -->

Inner products are what attention sees. So "two squares to the left" can mean the same in every corner. (The
learned matrices of (18.5) stand between. They can aim: one step to the left turns each pair of waves by a
fixed angle, which is a matrix, the same in every place.)
"""


# %%
def awake(config, seed=0):
    """A DiT with small random numbers where the new one has zeros, in float64."""
    torch.manual_seed(seed)
    net = DiT(config).double()
    for weight in net.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return net.requires_grad_(False)


net = awake(DiTConfig(width=32, depth=2, t_max=1.0))
x, t = encode(real.images[:4]).cpu().double(), torch.full((4,), 0.3, dtype=double)
shuffle = torch.randperm(49, generator=seeded(3))


def shuffled(images):
    return unpatchify(patchify(images, 4)[:, shuffle], 4, 28)


with_places = (net(shuffled(x), t) - shuffled(net(x, t))).abs().max().item()
places = net.positions.clone()
net.positions.zero_()
verify("18.7", net(shuffled(x), t), shuffled(net(x, t)), over="pixels, without positions")
net.positions.copy_(places)
assert with_places > 0.01  # with them, it notices

side, d = 7, 128
table = positions(side, d).double()
row, column = torch.arange(49) // side, torch.arange(49) % side
omega = 10_000 ** -(torch.arange(d // 4, dtype=double) / (d // 4))
apart = [(u[:, None] - u[None, :]).double()[..., None] for u in (row, column)]
by_offset = sum((omega * u).cos().sum(-1) for u in apart)
verify("18.8", table @ table.T, by_offset, rtol=1e-4, over="pairs of places")  # the table was made in float32
slow = (omega * (side - 1) < 0.1).double().mean().item()
print(f"{slow:.0%} of the waves turn by less than 0.1 rad over the whole picture")

figure, (left, middle, right) = panels(1, 3, width=12.0, height=3.5)
left.plot(widths, looked_at["divided"], "o-", color=DATA)
left.plot(widths, looked_at["not divided"], "o-", color=ORANGE)
left.text(60, 35, r"divided by $\sqrt{d}$", color=DATA)
left.text(20, 11, "not divided", color=ORANGE)
left.set(xscale="log", ylim=(0, 50), xlabel="width of a head d", ylabel="tokens looked at, of 49")
for ax, place in ((middle, 24), (right, 8)):
    similar = (table @ table[place]).reshape(7, 7) / (d / 2)
    sheet = ax.imshow(similar, cmap="cividis", vmin=0.7, vmax=1)
    ax.grid(False)
    ax.plot(place % 7, place // 7, "o", color=ORANGE, markersize=8)
    ax.set(xlabel="column", ylabel="row", title=f"places seen from square {place}")
figure.colorbar(sheet, ax=right, label="inner product (1: itself)")
figure

# %% [markdown]
r"""
*Left: with the division, a token looks at about 30 of the 49 whatever the width; without it, soon at one.
Middle and right: the inner product of one place (dot) with all others. It is one pattern, moved: a cross,
since row and column have their own waves.*

Many of the waves are far too slow for a picture of 7 × 7 squares: the list of frequencies was made for
sentences of thousands of words. Waste, but harmless: the fast ones tell the places apart. Newer models
rotate queries and keys instead of adding to tokens ("rotary" positions), which makes (18.8) hold inside the
attention itself.

## 18.3 adaLN-zero: a network that starts as nothing

The network must know the time and the label. Both are made into vectors of width $d$, added, and passed
through a nonlinearity: the condition $c$. Peebles and Xie tried four ways to bring it in (section 3.2), and
one won clearly. It has three ingredients.

**Normalise.** Before each part, every token is brought to mean 0 and variance 1 over its own $d$ entries
(*layer norm*). Then the condition scales and shifts, alike for all tokens. From $c$ a matrix makes $\gamma$
and $\beta$, both of width $d$:

$$m(h) = (1 + \gamma)\odot \frac{h - \bar h}{\sqrt{\operatorname{var} h + 10^{-5}}} + \beta. \tag{18.9}$$

Mind the $1 +$. With $\gamma\odot$ alone, a matrix that starts at zero would erase its input.

**Gate.** The same matrix makes a third vector, $g$, for what the part *writes*. It multiplies the part's
output **before** it is added, not the sum:

$$h' = h + g_1\odot\mathrm{Attention}\big(m_1(h)\big), \qquad
h'' = h' + g_2\odot\mathrm{MLP}\big(m_2(h')\big). \tag{18.10}$$
<!-- code 18.10: diffedu.nn.dit.DiTBlock.forward -->

**Zero.** The matrix that makes $\gamma$, $\beta$ and $g$ starts at zero. So do the matrix at the exit and its
modulation.

**Before you read on.** All gates are zero. What does a new block do to its input? What does a new *network*
return? And if everything is multiplied by zero, how can it ever learn?
"""


# %%
def dit_block(h, condition, layers):
    """(18.9) and (18.10) for tokens (B, N, d) and a condition (B, d)."""
    beta1, gamma1, g1, beta2, gamma2, g2 = layers.modulate(condition)[:, None].chunk(6, dim=2)

    def m(h, gamma, beta):
        centred = h - h.mean(2, keepdim=True)
        return (1 + gamma) * centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt() + beta

    Q, K, V = layers.qkv(m(h, gamma1, beta1)).chunk(3, dim=2)
    h = h + g1 * layers.out(attention(Q, K, V, layers.heads))
    return h + g2 * layers.mlp(m(h, gamma2, beta2))


condition = torch.randn(3, 32, generator=seeded(4), dtype=double)
fresh = DiTBlock(32, heads=4).double()
assert torch.equal(fresh(X, condition), X)  # a new block: the identity, to the bit

nn.init.normal_(block.modulate.weight, std=0.3)
nn.init.normal_(block.modulate.bias, std=0.3)
verify("18.10", dit_block(X, condition, block), block(X, condition), over="numbers")
beta1, gamma1, *_ = block.modulate(condition)[:, None].chunk(6, dim=2)
by_torch = torch.stack(  # (18.9) again: PyTorch's layer norm takes 1 + gamma and beta as its own weights
    [F.layer_norm(X[i], (32,), 1 + gamma1[i, 0], beta1[i, 0]) for i in range(3)]
)
by_hand = (X - X.mean(2, keepdim=True)) / (X.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
verify("18.9", (1 + gamma1) * by_hand + beta1, by_torch, over="numbers")

new = digits_dit.build(device)
with torch.no_grad():
    nothing = new(encode(real.images[:8]), torch.rand(8, generator=seeded(5, device), device=device), ten[:8])
assert not nothing.any()
print(
    f"a new DiT of {sum(p.numel() for p in new.parameters()):,} weights returns", nothing.abs().max().item()
)

# %% [markdown]
r"""
A new block is the identity, a new network the zero function, and its loss is that of saying nothing. Now
the gradient. Take one gated part, $y = h + g\odot a$, where $a$ is what the part writes, and let $\delta =
\partial L/\partial y$ be what comes back from the loss. By the product rule,

$$\frac{\partial L}{\partial g} = \sum_{\text{tokens}} \delta\odot a, \qquad
\frac{\partial L}{\partial a} = g\odot\delta, \qquad
\frac{\partial L}{\partial h} \ni \delta. \tag{18.11}$$

(The sign $\ni$ says "contains": $a$ depends on $h$ as well, and adds its own share. But through the sum
$\delta$ passes undiminished, whatever the depth.) With $g = 0$ the gate has a
gradient, since $a$ is *not* zero: behind the gate stands a part with ordinary random weights. The part has
none. So the gate must open first, and then the part learns. And at the exit, a zero matrix lets no $\delta$
through at all, until it has moved. So the network wakes in stages. Let us watch.
"""

# %%
h_, a_, g_ = (
    torch.randn(shape, generator=seeded(k), dtype=double, requires_grad=True)
    for k, shape in ((6, (2, 5, 8)), (7, (2, 5, 8)), (8, (2, 1, 8)))
)
aim = torch.randn(2, 5, 8, generator=seeded(9), dtype=double)
y = h_ + g_ * a_
grads = torch.autograd.grad((y - aim).square().sum(), (g_, a_, h_))
delta = (2 * (y - aim)).detach()
by_rule = [(delta * a_.detach()).sum(1, keepdim=True), g_.detach() * delta, delta]
verify("18.11", torch.cat([x.flatten() for x in grads]), torch.cat([x.flatten() for x in by_rule]))

torch.manual_seed(0)
net = DiT(DiTConfig(width=64, depth=4, t_max=1.0)).to(device)
optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0)
batch = real.images[:64], real.labels[:64]


def gradient_sizes(net):
    """The norm of the gradient of each kind of weight."""
    rows = [b.modulate.weight.grad.chunk(6) for b in net.blocks]
    inside = [p.grad for b in net.blocks for part in (b.qkv, b.out, b.mlp) for p in part.parameters()]
    groups = {
        "exit": [net.leave.weight.grad],
        "exit's scale, shift": [net.modulate.weight.grad],
        "gates": [chunks[i] for chunks in rows for i in (2, 5)],
        "entrance": [net.enter.weight.grad],
        "scales, shifts": [chunks[i] for chunks in rows for i in (0, 1, 3, 4)],
        "attention, MLP": inside,
        "time, label": [p.grad for part in (net.time, net.label) for p in part.parameters()],
    }
    return {name: math.sqrt(sum(g.square().sum().item() for g in gs)) for name, gs in groups.items()}


sizes_by_step = []
for step in range(4):
    optimiser.zero_grad(set_to_none=False)
    digits_dit.loss(net, batch, seeded(10 + step, device)).mean().backward()
    sizes_by_step.append(gradient_sizes(net))
    optimiser.step()
names = list(sizes_by_step[0])
moving = torch.tensor([[found[name] > 0 for found in sizes_by_step] for name in names])
first = {name: int(moving[i].int().argmax()) for i, name in enumerate(names)}
print("updates before a gradient arrives:", first)
assert [n for n in names if first[n] == 0] == ["exit"]
assert [n for n in names if first[n] == 1] == ["exit's scale, shift", "gates", "entrance"]
assert [n for n in names if first[n] == 2] == ["scales, shifts", "attention, MLP", "time, label"]

# %% [markdown]
r"""
Three stages. First the exit moves. Then $\delta$ comes through, and reaches the gates, the exit's modulation
and, through all the sums, the entrance. Then come all the rest. Nothing is locked.

### Is it worth it?
That is a question for a measurement. We train the same small transformer twice from each of two seeds, on
the same batches: once with its zeros, once with a common recipe for all linear layers (Xavier's) in their
place.
"""


# %%
def generic_init(module):
    """What a helper called `init_weights` does in many code bases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def early_losses(restart, seed, steps=70):
    torch.manual_seed(seed)
    net = DiT(DiTConfig(width=32, depth=4, heads=2, t_max=1.0)).to(device)
    if restart:
        net.apply(generic_init)  # after the zeros were set: the slip
    else:
        keep = [m for m in net.modules() if isinstance(m, nn.Linear) and not m.weight.any()]
        net.apply(generic_init)
        for layer in keep:
            nn.init.zeros_(layer.weight)
    state = TrainState(net, TrainConfig(steps=300, batch=16, lr=3e-3, warmup=10, ema=0.98, seed=seed))
    losses = []
    for progress in train(state, digits_dit.loss, tuple(real), until=steps):
        losses.append(progress.loss)
    return torch.tensor(losses)


curves = {
    name: torch.stack([early_losses(restart, seed) for seed in (0, 1)])
    for name, restart in (("zeros kept", False), ("zeros overwritten", True))
}
smooth = {name: c.unflatten(1, (7, 10)).mean((0, 2)) for name, c in curves.items()}
gap = smooth["zeros overwritten"] - smooth["zeros kept"]
assert (gap > 0).all()
assert gap[0] > 0.5
assert 1.1 * smooth["zeros kept"][-1] < smooth["zeros overwritten"][-1]

figure, (left, right) = panels(1, 2, width=11.5, height=3.4)
left.imshow(moving, cmap="Greys", vmin=0, vmax=2.2, aspect="auto")
for i in range(len(names)):
    for k in range(4):
        value = sizes_by_step[k][names[i]]
        left.text(k, i, "0" if value == 0 else "gradient", ha="center", va="center", color=INK, fontsize=9)
left.grid(False)
left.set(xticks=range(4), yticks=range(len(names)), xlabel="updates made", title="who has a gradient?")
left.set_yticklabels(names)
at = torch.arange(5, 70, 10)
for name, color in (("zeros kept", DATA), ("zeros overwritten", ORANGE)):
    right.plot(at, smooth[name], color=color)
    for one in curves[name]:
        right.plot(range(1, 71), one, color=color, linewidth=0.6, alpha=0.35)
right.axhline(curves["zeros kept"][:, 0].mean(), color=NOISE, linewidth=1, linestyle=":")  # it says 0
right.text(50, 2.2, "saying nothing", color="#666666")
right.text(43, 1.6, "zeros overwritten", color=ORANGE)
right.text(30, 0.75, "zeros kept", color=DATA)
right.set(
    xlabel="step", ylabel="loss of a batch", ylim=(0.3, 4), yscale="log", title="the first seventy steps"
)
right.set(yticks=[0.5, 1, 2, 4], yticklabels=["0.5", "1", "2", "4"])
right.minorticks_off()
figure

# %% [markdown]
r"""
*Left: the network wakes in three stages. Right: losses of the same small transformer on the same batches, two
seeds each (thin) and the mean over ten steps and both (thick).*

With its zeros, the network starts at the loss of saying nothing and learns from there. Without them it
first has to unlearn what its random weights say: at the first step its loss is about the loss of silence
plus the power of what it says. Here the gap is a matter of seventy steps at one small size. It proves
nothing about the end of a long training; that the zeros still win there is a finding of Peebles and Xie,
whose comparison of block designs is larger by many orders of magnitude.

### The slip: zeros that don't stay
Look again at `early_losses`. The bad variant contains one innocent line: `net.apply(generic_init)`. PyTorch
calls it on *every* layer, after the constructor has set its zeros. Nothing fails. The shapes are right, the
network trains. Many code bases have a helper of this kind, and in some it runs after the zeros. The
original code of DiT does it in the right order, first the generic rule, then the zeros. No shape test can
see the difference. One line can:
"""


# %%
def kept_zero(net):
    """Are all gates, all modulations and the exit of a new DiT still exactly zero?"""
    layers = [*(block.modulate for block in net.blocks), net.modulate, net.leave]
    return not any(p.any() for layer in layers for p in layer.parameters())


torch.manual_seed(0)
right_order, wrong_order = (DiT(DiTConfig(width=32, depth=2, t_max=1.0)) for _ in range(2))
wrong_order.apply(generic_init)
print("as built:", kept_zero(right_order), "  after apply(generic_init):", kept_zero(wrong_order))
assert kept_zero(right_order)
assert not kept_zero(wrong_order)

# %% [markdown]
r"""
The book's own tests hold it for every block (`tests/nn/test_dit.py`), and exercise 18.5 makes you mend it.
The opposite slip locks the network for good: if the gate's matrix *and* the last layer of the part are both
zero, then in (18.11) both $a = 0$ and $g = 0$. Neither ever gets a gradient.

## 18.4 The loss, and where in time it is paid

The network returns the velocity. By chapter 13 the loss needs no more than a straight line. Its best answer
does not depend on *which* times one trains at, as long as all of them are trained. So the density of training
times is free. Call it $\pi$:

$$L = \mathbb E_{t\sim\pi}\,\mathbb E_{x_0,\varepsilon}\; \frac{1}{D}\,\big\lVert
v_\theta\big((1-t)\,x_0 + t\,\varepsilon,\ t,\ \text{label}\big) - (\varepsilon - x_0)\big\rVert^2.
\tag{18.12}$$
<!-- code 18.12: diffedu.core.loss.DenoisingLoss -->

**Mind the clocks.** In this book, and in the paper on Stable Diffusion 3 (Esser et al., 2024), data stands
at $t = 0$ and noise at $t = 1$, so the target is *noise minus data*. In Liu et al. (2023) and Lipman et al.
(2023) noise stands at 0, so there it is data minus noise. All say "velocity".

Where should $t$ lie? At $t = 1$ the picture is noise, and the best answer is known: the noise minus the
mean digit. At $t\to0$ the picture is there, and what remains is to guess its faint noise. The interesting
times are in the middle. Esser et al. tried many densities, and kept a bell in the *logit*,
$\operatorname{logit} t = \log\frac{t}{1-t}$:

$$\operatorname{logit} t\sim\mathcal N(m, s^2) \quad\Longleftrightarrow\quad
\pi(t) = \frac{1}{s\sqrt{2\pi}}\;\frac{1}{t\,(1-t)}
\exp\Big(-\frac{(\operatorname{logit} t - m)^2}{2s^2}\Big). \tag{18.13}$$
<!-- code 18.13: diffedu.core.loss.LogitNormal -->

Where does $1/t(1-t)$ come from? Probability is conserved: $\pi(t)\,dt = \phi(z)\,dz$ with $z =
\operatorname{logit} t$, and $dz/dt = 1/t + 1/(1-t) = 1/\big(t(1-t)\big)$.

This density looks made up, until it is read in the right variable. On the straight path $\alpha/\sigma =
(1-t)/t$, so $\log(\alpha/\sigma) = -\operatorname{logit} t$, and (18.13) says

$$\lambda = \log\frac{\alpha}{\sigma}\;\sim\;\mathcal N(-m,\ s^2). \tag{18.14}$$

**The logarithm of the signal-to-noise ratio is drawn from a bell.** Karras et al. (2022) train in the same
way, with $\log\sigma\sim\mathcal N(-1.2, 1.2^2)$ at $\alpha = 1$, which is $\lambda\sim\mathcal N(1.2,
1.2^2)$. Two papers, two notations, one family; theirs leans to lower noise.

Note the sign in (18.14): positive $m$ means *more noise*. A repository that applies the logistic function
and takes the result for $\alpha$ instead of $\sigma$ trains at the other end. With $m = 0$ nobody notices,
since then $t$ and $1 - t$ have the same law.
"""


# %%
def flow_loss(net, x0, labels, generator, m=0.0, s=1.0):
    """(18.12) with times from (18.13): shape (B,)."""
    z = torch.randn(len(x0), generator=generator, device=x0.device)
    t = torch.sigmoid(m + s * z).clamp(min=straight.t_min)
    eps = torch.randn(x0.shape, generator=generator, device=x0.device)
    t_ = t[:, None, None, None]
    answer = net((1 - t_) * x0 + t_ * eps, t, labels)
    return (answer - (eps - x0)).square().flatten(1).mean(1)


x0, labels = encode(real.images[:200]), real.labels[:200]
with torch.no_grad():
    by_hand = flow_loss(dit_net, x0, labels, seeded(11, device))
    rng = seeded(11, device)
    torch.randn(200, generator=rng, device=device)  # past the draws of t, so that eps is the same noise
    eps = torch.randn(x0.shape, generator=rng, device=device)
    by_package = FlowMatchingLoss(straight, LogitNormal())(dit_net.given(labels), x0, eps, seeded(11, device))
verify("18.12", by_hand, by_package, rtol=1e-4, over="digits")

m, s = 0.6, 0.8
times = torch.linspace(0.02, 0.98, 25, dtype=double, requires_grad=True)


def pi(t, m, s):
    """(18.13)."""
    return torch.exp(-((torch.logit(t) - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi) * t * (1 - t))


below = torch.special.ndtr((torch.logit(times) - m) / s)  # the probability that the logit is lower
(slope,) = torch.autograd.grad(below.sum(), times)
verify("18.13", pi(times.detach(), m, s), slope, over="times")
drawn = LogitNormal(m, s)(straight, 20_000, seeded(12)).double()
inside = torch.linspace(0.6, 0.9, 20_001, dtype=double)
verify_mean(
    "18.13", ((drawn > 0.6) & (drawn < 0.9)).double(), torch.trapezoid(pi(inside, m, s), inside).item()
)
half_log_snr = straight(drawn).half_log_snr
verify_mean("18.14", torch.stack([half_log_snr, (half_log_snr + m) ** 2], dim=1), torch.tensor([-m, s**2]))

# %% [markdown]
r"""
### A density is a weight
Training twice as often at some time is, on average, weighing its loss twice: $\mathbb E_{t\sim\pi}f(t) =
\int\pi(t) f(t)\,dt$. To compare with models that predict noise, translate the error. From $x_t = (1-t)\,x_0
+ t\,\varepsilon$ we get $\varepsilon - x_0 = (\varepsilon - x_t)/(1-t)$. A guess of one is a guess of the
other, and the errors obey

$$\lVert\hat v - (\varepsilon - x_0)\rVert^2 = \frac{\lVert\hat\varepsilon - \varepsilon\rVert^2}{(1-t)^2},
\qquad\text{so}\qquad w_\varepsilon(t) = \frac{\pi(t)}{(1-t)^2} \tag{18.15}$$

is the weight that (18.12) puts on the error of the *noise*, at uniform times. Without the bell it is
$1/(1-t)^2$, which explodes at $t\to1$. There the noise is known nearly perfectly, and a tiny error of it is
a large error of the picture. The bell takes the ends back.
"""

# %%
t = torch.linspace(0.03, 0.97, 48, dtype=double)
c = straight(t)
noise, guess = torch.randn(2, 48, 20, generator=seeded(13), dtype=double)
clean = torch.randn(48, 20, generator=seeded(14), dtype=double)
x_t = c.expand(clean).alpha * clean + c.expand(clean).sigma * noise
as_velocity = convert(guess, x_t, c.expand(clean), EPS, VELOCITY)
verify(
    "18.15",
    (as_velocity - (noise - clean)).square().sum(1),
    (guess - noise).square().sum(1) / (1 - t) ** 2,
    over="times",
)
verify("18.15", pi(t, 0, 1) / (1 - t) ** 2, pi(t, 0, 1) * weight_between(EPS, VELOCITY)(c), over="weights")

at = torch.linspace(0.04, 0.96, 10, device=device)
examined = encode(held_out.images[:80]), held_out.labels[:80]
error = {"U-Net": [], "transformer": []}
with torch.no_grad():
    for name, net in (("U-Net", flow_net), ("transformer", dit_net)):
        for moment in at:
            eps = torch.randn(examined[0].shape, generator=seeded(15, device), device=device)
            x_t = (1 - moment) * examined[0] + moment * eps
            answer = net(x_t, moment.expand(80), examined[1])
            error[name].append((answer - (eps - examined[0])).square().mean().item())
class_mean = torch.stack([encode(real.images[real.labels == k]).mean(0) for k in range(10)])
mean_pays = (examined[0] - class_mean[examined[1]]).square().mean().item()  # what the class's mean digit pays

ghost = mean_pays / at[-1].item() ** 2  # the error of the velocity is that of the picture by t^2
assert all(abs(e[-1] / ghost - 1) < 0.05 for e in error.values())
assert min(error["U-Net"]) < 0.6 * mean_pays
assert at[0].item() * math.sqrt(max(e[0] for e in error.values())) < 0.02

figure, (left, middle, right) = panels(1, 3, width=12.5, height=3.4)
grid = torch.linspace(0.002, 0.998, 500, dtype=double)
for (m_, s_), color in {(0, 1): DATA, (1, 1): ORANGE, (0, 0.5): GREEN}.items():
    left.plot(grid, pi(grid, m_, s_), color=color)
for words, color, x_, y_ in (
    ("$m=0,\\ s=1$", DATA, 0.02, 1.75),
    ("$m=1,\\ s=1$", ORANGE, 0.7, 2.6),
    ("$m=0,\\ s=1/2$", GREEN, 0.08, 2.9),
):
    left.text(x_, y_, words, color=color)
left.set(xlabel="time t (noise at 1)", ylabel=r"density $\pi$", ylim=(0, 3.4), title="where one trains")
middle.plot(grid, 1 / (1 - grid) ** 2, color=NOISE)
middle.plot(grid, pi(grid, 0, 1) / (1 - grid) ** 2, color=DATA)
middle.set(yscale="log", ylim=(0.01, 3000), xlabel="time t", ylabel="weight of the noise's error")
middle.set_title("the same, as a weight")
middle.text(0.22, 45, "uniform times", color="#666666")
middle.text(0.3, 0.05, "logit-normal, $m=0,\\ s=1$", color=DATA)
for name, color in (("U-Net", GREEN), ("transformer", DATA)):
    right.plot(at.cpu(), error[name], color=color)
right.plot(1, mean_pays, "D", color=ORANGE)
late = torch.linspace(0.92, 1, 20)
right.plot(late, mean_pays / late**2, ":", color=ORANGE)
right.set(xlabel="time t", ylabel="error of the velocity per number", ylim=(0, None), title="held-out digits")
figure

# %% [markdown]
r"""
*Left: three densities. Middle: what uniform times and the bell mean for a network that predicts noise.
Right: the error of two trained networks (green: the U-Net, blue: the transformer) at each time. Orange: what
the mean digit of the class pays on the same digits, the best that can be had at $t = 1$ (diamond).*

The right panel turns a prejudice around. The error is *smallest* in the middle, and yet the middle is where
training pays. To see why, solve for the picture: $\varepsilon - x_0 = (x_t - x_0)/t$, so the error of the
velocity is that of the picture, divided by $t^2$. Near $t = 1$ both networks pay what the mean digit pays,
and nobody can do better. Near $t = 0$ the curves part again, but their height comes from the division: at
$t = 0.04$ the guessed picture is off by less than 0.02 a pixel, on a scale from about $-1$ to 1. **A large
loss is no sign of much to learn**; chapter 13 called the part that no network can change $\mathcal V$.

### The same noise, on a larger picture
Take a digit of 28 × 28 pixels and enlarge it to 56 × 56 by doubling every pixel. Add noise at $t = 0.55$ to
both. **Before you read on.** Which one is easier to recognise?

The larger one. Its noise has four independent values where the other has one, and an eye averages. Let the
small picture have $n$ pixels and the large one $m$, so $m/n$ pixels of the large one show what one shows in
the small. The mean over such a block keeps the signal, $(1-t)\,x_0$, and divides the noise's standard
deviation by $\sqrt{m/n}$. For equal ratios of signal to *averaged* noise at $t_m$ and $t_n$:

$$\frac{1 - t_m}{t_m}\sqrt{\frac mn} = \frac{1 - t_n}{t_n}
\qquad\Longleftrightarrow\qquad
t_m = \frac{\sqrt{m/n}\;\, t_n}{1 + \big(\sqrt{m/n} - 1\big)\,t_n}. \tag{18.16}$$

This is the **timestep shift** of Stable Diffusion 3. In logits it is what its name says, a shift:

$$\operatorname{logit} t_m = \operatorname{logit} t_n + \tfrac12\log\frac mn. \tag{18.17}$$

So in training it adds $\frac12\log\frac mn$ to the $m$ of (18.13) (the letter has two jobs, here and in the
paper); in sampling it moves the grid towards noise. For pictures of real scenes it is a rule of thumb: they
are not constant over blocks, and Esser et al. chose the factor by asking people (section 5.3). For doubled
pixels it is exact:
"""


# %%
def shifted(t, factor):
    """(18.16), with factor = sqrt(m / n)."""
    return factor * t / (1 + (factor - 1) * t)


small = encode(real.images[:500]).cpu().double()
large = F.interpolate(small, scale_factor=2)  # every pixel doubled: m = 4 n
t_n = torch.tensor(0.55, dtype=double)
t_m = shifted(t_n, 2.0)
noise = torch.randn(large.shape, generator=seeded(16), dtype=double)
pooled = F.avg_pool2d((1 - t_m) * large + t_m * noise, 2)
rest = pooled - (1 - t_m) * small  # averaged noise
ratio = (1 - t_n) / t_n
verify_mean("18.16", (rest / (1 - t_m)).square().flatten(), (1 / ratio**2).item())
verify("18.17", torch.logit(shifted(t, 2.0)), torch.logit(t) + 0.5 * math.log(4), over="times")
as_small = pooled / (1 - t_m) * (1 - t_n)  # the large one, averaged and rescaled: a small one at t_n
direct = (1 - t_n) * small + t_n * torch.randn(small.shape, generator=seeded(17), dtype=double)
assert abs(as_small.std() - direct.std()) < 0.005

shown = 7
figure, axes = panels(1, 4, width=11.5, height=3.2)
pictures = {
    "28 × 28, t = 0.55": direct[shown],
    "56 × 56, t = 0.55": ((1 - t_n) * large + t_n * noise)[shown],
    f"56 × 56, t = {t_m:.2f}": ((1 - t_m) * large + t_m * noise)[shown],
    "the third, averaged 2 × 2": as_small[shown],
}
for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
    ax.imshow(montage(picture[None] / 1.3, columns=1, gap=0), interpolation="nearest")
    ax.set_title(name)
    ax.set_axis_off()
figure

# %% [markdown]
r"""
*The same digit and the same $t$ at two sizes: the larger one (second) can be read. At the shifted time
(third) it is as hard as the first, and its average over blocks (fourth) is a picture of the first kind.*

Libraries call the factor `shift`. Stable Diffusion 3 uses 3 at 1024² pixels. Two slips are common. One
applies the shift twice, in the training density and again in a table that the sampler reads. The other
applies it to the reversed clock: in Liu's time, (18.16) with the *same* factor moves the grid towards the
data.
"""
# %% [markdown]
r"""
## 18.5 A U-Net and a transformer, at equal minutes

Nothing is left but to train. Two networks learn the same flow (18.12) on the same 9,000 digits: the U-Net
of chapter 14 and a DiT of width 128 and depth 4. "Equal" can mean equal weights, equal operations, or equal
time. We take time on two cores, since that is what a reader has to wait. (The shipped weights were trained
on a GPU; their minutes are reckoned from the time of a step on two idle cores.) Ten labels in a hundred
were hidden, as in chapter 14.

**Before you read on.** A convolution knows, before it has seen any data, that neighbours matter and that a
stroke is a stroke wherever it stands. A transformer must learn both. Who is ahead after three minutes?
After thirty?
"""


# %%
def counted_unet(net):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(
            torch.zeros(1, 1, 28, 28, device=device),
            torch.ones(1, device=device),
            torch.zeros(1, dtype=torch.long, device=device),
        )
    return counter.get_total_flops()


logs = {"U-Net": shipped_log("digits-flow"), "transformer": shipped_log("digits-dit")}
work = {"U-Net": counted_unet(flow_net), "transformer": network_cost(dit_net.config)}
minutes = {name: log["rows"][:3] for name, log in logs.items()}  # at 3, 10 and 30 minutes
for name, log in logs.items():
    print(f"{name}: {log['parameters']:,} weights, {work[name] / 1e6:.0f} million operations a picture")
keys = ("Frechet distance", "class accuracy", "two-sample test")
print("\nminutes  network       steps   Fréchet   class accuracy   two-sample test")
for ours in zip(*minutes.values(), strict=True):
    for name, row in zip(minutes, ours, strict=True):
        values = [row[key]["value"] for key in keys]
        print(
            f"{row['minutes']:7.0f}  {name:12} {row['step']:6d}",
            f"{values[0]:9.2f} {values[1]:16.3f} {values[2]:17.3f}",
        )
row = minutes["U-Net"][-1]
floors = [row[key]["floor"] for key in keys]
print(f"{'floor: real digits':27} {floors[0]:9.2f} {floors[1]:16.3f} {floors[2]:17.3f}")
for unet, dit in zip(*minutes.values(), strict=True):
    assert unet["Frechet distance"]["value"] < dit["Frechet distance"]["value"]
    assert unet["class accuracy"]["value"] > dit["class accuracy"]["value"]

# %%
wanted = torch.arange(60, device=device) % 10
drawn = digits_dit.draw(dit_net, wanted, seed=5)

figure, axes = panels(1, 4, width=13.0, height=3.2)
axes[0].imshow(montage(drawn, columns=10), interpolation="nearest")
axes[0].set_axis_off()
axes[0].set_title("the transformer, half an hour")
for ax, key, label in zip(
    axes[1:],
    ("Frechet distance", "class accuracy", "two-sample test"),
    ("Fréchet distance", "class accuracy", "two-sample test"),
    strict=True,
):
    for name, color in (("U-Net", GREEN), ("transformer", DATA)):
        at, values = zip(*[(r["minutes"], r[key]["value"]) for r in minutes[name]], strict=True)
        ax.plot(at, values, "o-", color=color)
        if key == "Frechet distance":
            ax.annotate(name, (at[0], values[0]), xytext=(6, 4), textcoords="offset points", color=color)
    ax.axhline(minutes["U-Net"][-1][key]["floor"], color=NOISE, linestyle="--")
    ax.set(xlabel="minutes on two cores", title=label, xscale="log", xticks=[3, 10, 30])
    ax.set_xticklabels(["3", "10", "30"])
    ax.minorticks_off()
axes[1].set(yscale="log", ylim=(1.2, 200))
figure

# %% [markdown]
r"""
*Left: six digits of each class. Then three measures against training time; dashed: real digits in the same
test.*

On digits, at half an hour on two cores, **the U-Net wins**, by all that it was told beforehand. After three
minutes its Fréchet distance is a sixth of the transformer's, after thirty a third, and it stands
close to the floor. By then the two-sample test hardly tells either network's digits from real ones. And the
gap closes: in the last twenty minutes every measure of the transformer improves faster.

That is the general pattern, and the reason why large models went over. Knowledge that is built in helps
most when data and computation are short. Here both are tiny. With millions of pictures, what the U-Net was
told can be learned, and what remains is which network makes better use of more work. This experiment does
*not* show that; Peebles and Xie do, for networks a hundred times as large.

### How many evaluations?
"""

# %%
classifier = digits_classifier.load(device=device)
reference = features(classifier, real.images[:4000])
count = 200
wanted = torch.arange(count, device=device) % 10
floor_here = float(frechet_distance(features(classifier, real.images[4000 : 4000 + count]), reference))
real_accuracy = accuracy(classifier, *held_out).value
nets = {"U-Net": flow_net, "transformer": dit_net, "reflowed": reflow_net}
asked, few = (1, 2, 4, 8), {}
for name, net in nets.items():
    few[name] = {}
    for steps in asked[:3] if name == "transformer" else asked:
        made = digits_reflow.draw(net, wanted, seed=2, steps=steps)
        distance = float(frechet_distance(features(classifier, made), reference))
        few[name][steps] = distance, accuracy(classifier, made, wanted).value, made
assert few["U-Net"][1][0] > 10 * few["reflowed"][1][0]
assert few["U-Net"][8][0] < 2 * floor_here

figure, (left, right) = panels(1, 2, width=10.5, height=3.3)
for name, color, mark in (("U-Net", GREEN, "o-"), ("transformer", DATA, "s--"), ("reflowed", GUIDED, "o-")):
    left.plot(list(few[name]), [v[0] for v in few[name].values()], mark, color=color)
    right.plot(list(few[name]), [v[1] for v in few[name].values()], mark, color=color)
left.axhline(floor_here, color=NOISE, linestyle="--")
right.axhline(real_accuracy, color=NOISE, linestyle="--")
left.set(xscale="log", yscale="log", ylim=(6, 600), ylabel=f"Fréchet distance, {count} digits")
right.set(xscale="log", ylim=(0.4, 1.02), ylabel="read as what they should be")
left.text(1.3, 200, "U-Net and\ntransformer", color=GREEN, ha="left", va="bottom")
left.text(1.02, 19, "reflowed U-Net", color=GUIDED)
left.text(1.02, 6.8, "real digits", color="#666666")
for ax in (left, right):
    ax.set(xlabel="evaluations (Euler steps)", xticks=asked)
    ax.set_xticklabels([str(k) for k in asked])
    ax.minorticks_off()
figure

# %% [markdown]
r"""
*Euler steps, 200 digits each; dashed grey: real digits. Green: the U-Net; blue, dashed: the transformer;
pink: the U-Net of section 18.6.*

With two hundred digits the floor is coarse (chapter 14), and differences of a few units mean nothing. Three
things are beyond doubt. One evaluation of a flow gives no digits. Two give digits that are read as easily
as real ones and yet lie at three times the floor: too typical, half a ghost still. And **eight Euler steps
already reach the floor of this small test**: the straight interpolant keeps its promise without any reflow.
What is there to gain, then? One step and two.

## 18.6 Reflow on digits

### A ghost explained
Back to the question at the beginning. One Euler step from $t = 1$ to $t = 0$ goes to $x_1 - u(x_1, 1)$. At
$t = 1$ the picture is pure noise. It was joined to its digit by a coin, so it says nothing about the digit.
By (13.20) the exact velocity there is the noise minus the mean digit, and the step ends at

$$x_1 - u(x_1, 1) = x_1 - \big(x_1 - \mathbb E[x_0\mid\text{label}]\big)
= \mathbb E[x_0\mid\text{label}]. \tag{18.18}$$

**The ghost is the mean digit of its class**, the same for every noise. No better network and no longer
training would sharpen it. Below the exact flow of all 925 threes, and then the trained network against the
means.
"""

# %%
three = (real.labels == 3).nonzero()[:, 0]
threes = encode(real.images[three]).double().cpu()
exact = DatasetDenoiser(threes, straight)
x1 = torch.randn(6, 1, 28, 28, generator=seeded(18), dtype=double)
one_step = x1 - velocity(exact, x1, 1.0)
verify("18.18", one_step, threes.mean(0, keepdim=True).expand(6, -1, -1, -1), over="pixels")

ghosts = few["U-Net"][1][2]
mean_digits = torch.stack([digits_ddpm.decode(class_mean[k]) for k in range(10)])
off = (ghosts - mean_digits[wanted]).square().mean().sqrt().item()
apart = (mean_digits[:, None] - mean_digits[None]).square().mean((2, 3, 4)).sqrt()
between = apart[~torch.eye(10, dtype=torch.bool, device=device)].mean().item()
print(f"one step of the flow is off the mean digit of its class by {off:.1f} a pixel;", end=" ")
print(f"two classes' means differ by {between:.1f}")
assert off < 0.5 * between
image_rows({"flow, 1 evaluation": ghosts[:10], "mean training digit": mean_digits}, scale=0.6)

# %% [markdown]
r"""
*Ghosts and means. What the trained network adds to the mean is the grain of an imperfect answer.*

### Let the flow choose the pairs
The coin is to blame. So replace it. Start at noise $x_1$, follow the trained flow, with many small steps,
to where it ends, and call that $x_0$. These are pairs, too, and now $x_0$ is a *function* of $x_1$ (and the
label). Train a new network on their straight lines: that is one **reflow** (chapter 13).

What does the new network learn at $t = 1$? The usual decomposition, for any answer $v$ that sees $x_1$ (and
the label) only:

$$\mathbb E\lVert (x_1 - x_0) - v(x_1)\rVert^2
= \underbrace{\mathbb E\operatorname{Var}[x_0\mid x_1]}_{
\text{coin: all of }\operatorname{Var}[x_0];\ \ \text{flow: }0}
+\;\mathbb E\big\lVert v(x_1) - \big(x_1 - \mathbb E[x_0\mid x_1]\big)\big\rVert^2. \tag{18.19}$$

(The cross term vanishes given $x_1$, as in (14.9).) With the coin the first part is all the variance of
digits, and the best answer gives the mean. With the flow's pairs the first part is zero, $\mathbb E[x_0\mid
x_1]$ is the digit itself, and the best answer goes there in one step. **It is plain regression, from noise
to picture; only the pairs are new.** A purpose like that is called *distillation*, of a teacher into a
student that answers at once.

The recipe `digits_reflow` does this with 36,000 pairs of the U-Net above, each from twenty evaluations.
Half of the training times are $t = 1$, since there the one-step answer is learned; the others keep it a
flow. (Lee et al., 2024, find the same for large models: put the times at the ends.) How much has it
learned? For fresh noise that neither has seen, compare where one step arrives with where the teacher's ODE
ends. The yardstick is the variance within a class: a ghost explains 0 % of it.
"""

# %%
ends, starts, pair_labels = digits_reflow.pairs(
    flow_net, 100, seed=77, chunk=50
)  # fresh noise: the reflowed never saw it
explained = {}
with torch.no_grad():
    for name, net in (("flow", flow_net), ("reflowed", reflow_net)):
        arrives = starts - net(starts, torch.ones(100, device=device), pair_labels)
        own = torch.stack([ends[pair_labels == k].mean(0) for k in range(10)])[pair_labels]
        explained[name] = (1 - (arrives - ends).square().sum() / (own - ends).square().sum()).item()
print("how the teacher's digits of a class differ is explained by one evaluation")
print(f"of the flow: to less than 10 %; of the reflowed: to about {5 * round(20 * explained['reflowed'])} %")
assert explained["flow"] < 0.1
assert 0.75 < explained["reflowed"] < 0.95

pick = torch.randint(len(threes), (4000,), generator=seeded(19))
x0, x1 = threes[pick].flatten(1), torch.randn(4000, 784, generator=seeded(20), dtype=double)
mean = threes.mean(0).flatten()
answer = 0.9 * x1 - 0.7 * mean  # any guess that looks at x1 alone
paid = ((x1 - x0) - answer).square().mean(1)
avoidable = ((x1 - mean) - answer).square().mean(1)
verify_mean("18.19", paid - avoidable, (threes.flatten(1) - mean).square().mean().item())

# %% [markdown]
r"""
### How straight?
Chapter 13 measures it by the mean squared difference between the velocity on the way and the mean velocity
of the whole way, $w = x_1 - x_0$ for a path from $x_1$ at $t = 1$ to its own end $x_0$. A sum of squares
around a mean is the mean of the squares less the square of the mean:

$$S = \frac{\int_0^1\mathbb E\lVert \dot x_t - w\rVert^2\,dt}{\mathbb E\lVert w\rVert^2}
= \frac{\int_0^1\mathbb E\lVert\dot x_t\rVert^2\,dt}{\mathbb E\lVert w\rVert^2} - 1, \qquad
\text{since } \int_0^1 \dot x_t\,dt = w. \tag{18.20}$$
<!-- code 18.20: diffedu.flow.straightness -->
"""

# %%
labels30 = torch.arange(30, device=device) % 10
x1 = torch.randn(30, 1, 28, 28, generator=seeded(21, device), device=device)
grid = uniform_times(straight, 16, end=0.0, device=device)
paths = {}
for name, net in (("flow", flow_net), ("reflowed", reflow_net)):
    believes = digits_flow.denoiser(net, labels30)
    paths[name] = torch.stack([x for _, x in trajectory(believes, Euler(), x1, grid)]).cpu()
S = {}
for name, states in paths.items():
    S[name] = straightness(states.double(), grid.double().cpu())
    speed = (states.double().diff(dim=0) * 16).square().flatten(2).sum(2).mean()
    chord = (states[-1] - states[0]).double().square().flatten(1).sum(1).mean()
    verify("18.20", S[name], speed / chord - 1, over="numbers")
print(f"flow: S = {S['flow']:.2f}; reflowed: less than a tenth of it")
assert S["reflowed"] < 0.1 * S["flow"]


def departure(states):
    """How far from the straight line to its own end each path is, as a share of the way; (steps + 1, B)."""
    line = states[-1] + grid.cpu()[:, None, None, None, None] * (states[0] - states[-1])
    return (states - line).flatten(2).norm(dim=2) / (states[0] - states[-1]).flatten(1).norm(dim=1)


figure, axes = panels(1, 2, width=10.5, height=3.2, share=True)
for ax, (name, states) in zip(axes, paths.items(), strict=True):
    ax.plot(grid.cpu(), departure(states), color=GREEN if name == "flow" else DATA, linewidth=0.8, alpha=0.5)
    ax.set(xlim=(1.02, -0.02), xlabel="time t: noise at 1, digit at 0", title=f"{name}: S = {S[name]:.3f}")
axes[0].set_ylabel("distance from the line,\nshare of the way")
figure

# %% [markdown]
r"""
*Thirty paths each, in sixteen Euler steps: how far each is from the line between its own ends. Those of the
flow stray by several hundredths of the way; after one reflow by one or two.*

Is it astonishing that the flow's paths are so straight *before*? The yardstick is long. Most of the way
from noise to digit is the removal of noise, which all paths share; where the digit is decided, a few
hundredths of that way are the whole difference between one 3 and another.

### Why once is nearly enough
Trajectories of an ODE do not cross, but the *lines* between their ends may, and where they do the new
network must average again. Then a second reflow would be needed, and a third (chapter 13 did four). Lee et
al. (2024, section 3) argue that on pictures one is enough. Their reason can be computed. Suppose a line
from noise $x_1$ to digit $x_0$ meets, at time $t$, a line to another digit $x_0'$. From which noise does
that one come? Set the two points equal and solve:

$$x_1' = x_1 + \frac{1-t}{t}\,(x_0 - x_0'). \tag{18.21}$$

It must be *noise*, a likely draw of $\mathcal N(0, I)$. With $r = \frac{1-t}{t}$, the log of its density,
compared with that of $x_1$, is

$$\log\frac{p(x_1')}{p(x_1)} = -\,r\; x_1\!\cdot(x_0 - x_0')
- \frac{r^2}{2}\,\lVert x_0 - x_0'\rVert^2, \tag{18.22}$$

and for $x_1$ independent of the digits the first term is zero on average. The second falls fast as $t$
leaves 1, the more so the further the digits are apart. What counts as unlikely? The logs of two draws of the
noise differ by about $\sqrt{784} = 28$ by themselves; only what is far beyond that is excluded. Within the
class of threes:
"""

# %%
x0 = threes.flatten(1)  # of one class, since the label is told
other = x0[torch.randperm(len(x0), generator=seeded(22))]
x1 = torch.randn(x0.shape, generator=seeded(23), dtype=double)
t = torch.tensor(0.8, dtype=double)
r = (1 - t) / t
needed = x1 + r * (x0 - other)
verify("18.21", (1 - t) * other + t * needed, (1 - t) * x0 + t * x1, over="pixels")
log_ratio = (x1.square().sum(1) - needed.square().sum(1)) / 2
distance2 = (x0 - other).square().sum(1)
verify_mean("18.22", log_ratio + r**2 / 2 * distance2, 0.0)
two_draws = torch.randn(2, 4000, 784, generator=seeded(24), dtype=double).square().sum(2).diff(dim=0) / 2
assert abs(two_draws.std() - 28) < 1
nearest2 = torch.cdist(x0, x0).fill_diagonal_(math.inf).min(1).values.square().median().item()
typical2 = distance2.median().item()
print("mean of (18.22) in nats:   a typical other 3    the nearest other 3")
for moment in (0.5, 0.7, 0.8, 0.9, 0.95):
    r2 = ((1 - moment) / moment) ** 2
    print(f"    t = {moment:.2f}  {-r2 * typical2 / 2:24.1f} {-r2 * nearest2 / 2:20.1f}")

# %% [markdown]
r"""
At half time another 3 would need noise that is $e^{-196}$ times as probable; even for the *nearest* other 3
of the data it is $e^{-61}$. Lines with likely noise at both starts meet only nearer to $t = 1$, above 0.6
or 0.7. There the pairs themselves help: the flow is continuous, so starts that are close have ends that are
close. **What pictures have and our plane had not is room**: in 784 dimensions, lines miss each other.

### What it gains, and what is lost
The log of the recipe, with 4,000 digits a row, and the teacher's best row beside it. Then pictures: one
noise a column.
"""

# %%
ends_of_log = shipped_log("digits-reflow")["rows"][-6:]
final, wide = ends_of_log[:3], ends_of_log[3:]
assert [row["widened"] for row in ends_of_log] == 3 * [False] + 3 * [True]
teacher = minutes["U-Net"][-1]
print("                  evaluations   Fréchet   class accuracy   two-sample test")
for name, evaluations, row in [("reflowed", r["sampling steps"], r) for r in final] + [
    ("its teacher", 20, teacher)
]:
    values = [row[key]["value"] for key in keys]
    print(f"{name:16} {evaluations:12d} {values[0]:9.2f} {values[1]:16.3f} {values[2]:17.3f}")
print(f"{'floor: real digits':29} {floors[0]:9.2f} {floors[1]:16.3f} {floors[2]:17.3f}")
assert [r["sampling steps"] for r in final] == [1, 2, 4]
fréchet = [r["Frechet distance"]["value"] for r in final]
assert fréchet[0] > fréchet[1] > fréchet[2] > teacher["Frechet distance"]["value"]
assert final[0]["two-sample test"]["value"] > 0.9


def variety(images, labels):
    """The variance of the classifier's features within a class, averaged over classes."""
    f = features(classifier, images)
    return torch.stack([f[labels == k].var(0).sum() for k in range(10)]).mean().item()


real_variety = variety(real.images[4000:4400], real.labels[4000:4400])
shares = [
    variety(few[name][steps][2], wanted) / real_variety
    for name, steps in (("U-Net", 8), ("reflowed", 1), ("reflowed", 4))
]
assert min(shares) > 0.95
assert max(shares) < 1.35
print("\nvariety within a class, as a multiple of that of real digits: from 0.95 to 1.35")

image_rows(
    {
        "teacher, 8": few["U-Net"][8][2][:14],
        "teacher, 2": few["U-Net"][2][2][:14],
        "reflowed, 1": few["reflowed"][1][2][:14],
        "reflowed, 2": few["reflowed"][2][2][:14],
        "reflowed, 4": few["reflowed"][4][2][:14],
    },
    scale=0.56,
)

# %% [markdown]
r"""
*In each column, the same noise. The reflowed digits are the teacher's, and in one step a little ragged.*

- **Gained:** one evaluation in place of twenty, and the digits are as readable as the teacher's. Its own
  one-step row was ghosts.
- **Lost: the fine things.** The two-sample test, at chance for the teacher, is right in nineteen cases of
  twenty at one step, and at four steps still in three of four. The Fréchet distance is more than
  three times the floor at one step, and twice at four.
- **Not lost, as far as this instrument sees: variety.** Within a class the features vary as much as those
  of real digits, or up to a third more. (Badly drawn digits vary, too, so take it for an absence of collapse,
  not for praise.)
- **A ceiling.** More steps do not lead back to the teacher. The student has learned from 36,000 of the
  teacher's digits, with whatever errors these had, and nothing from real ones. A second reflow would learn
  from this student.

InstaFlow (Liu et al., 2024) did this to Stable Diffusion: first reflow, then distillation into one step.
Its authors found that distilling *without* the reflow gives much worse pictures. (18.19) does not explain
that, since a curved flow is a function, too. What differs is how hard the function is to learn: a network
trained on straight lines is already near to its own one-step map.

### Giving the variance back
In the classifier's features the one-step digits vary enough. In pixels they don't: they are pale, too near
to the mean picture of their class. Why? By (18.19) a perfect student would lose nothing. Ours is finite, and
has seen 36,000 pairs. Where it can't resolve which noise makes which stroke, the squared error has it answer
with a mean, and means vary less than what they are means of. Let $x_0$ be the teacher's digit, and suppose
the answer were exactly $\hat x_0 = \mathbb E[x_0\mid\text{what it sees}]$. Then the law of total variance
would say, within a class,

$$\operatorname{Var}[x_0] = \operatorname{Var}[\hat x_0]
+ \mathbb E\operatorname{Var}[x_0\mid\text{what it sees}]. \tag{18.22a}$$

(Var is the variance of a pixel within a class, averaged over pixels and classes.) The last part is missing,
and the teacher's digits, too, may vary less than real ones. Which stroke went where, nobody can say
afterwards. But *how much* is missing, whoever lost it, can be measured. So move every digit away from the
mean picture $m$ of the real digits of its class, by the one factor that brings the variance up to theirs:

$$\hat x_0 \;\leftarrow\; m + k\,(\hat x_0 - m), \qquad
k^2 = \frac{\operatorname{Var}[\text{real digits}]}{\operatorname{Var}[\hat x_0]}. \tag{18.22b}$$
<!-- code 18.22b: diffedu.recipes.digits_reflow.Widening -->

Nothing is trained. A thousand digits are drawn once to measure $k$; after that a digit costs one evaluation,
as before. No metric below was asked for $k$. One thing is lost again: what leaves the range of pixels is cut
off.

**Before you look:** what will it do to the Fréchet distance, to the accuracy of the classes, and to the test
that tells generated digits from real ones?
"""

# %%
# (18.22a): let "what it sees" be which of nine threes a three is nearest to
nearest = torch.cdist(threes.flatten(1), threes[:9].flatten(1)).argmin(1)
seen_means = torch.stack([threes[nearest == k].mean(0) for k in range(9)])[nearest]
missing = sum((nearest == k).double().mean() * threes[nearest == k].var(0, correction=0) for k in range(9))
verify(
    "18.22a", threes.var(0, correction=0), seen_means.var(0, correction=0) + missing, atol=1e-9, over="pixels"
)

within = digits_reflow.variance_within
own_share = within(arrives, pair_labels) / within(ends, pair_labels)
teachers_share = within(ends, pair_labels) / within(encode(real.images), real.labels)
print(f"variance: the student has {own_share:.1f} of its teacher's, ", end="")
print(f"the teacher {teachers_share:.1f} of real digits' (100 digits)")
assert explained["reflowed"] + 0.03 < own_share < 0.96
assert teachers_share < 1

widen = digits_reflow.widening(reflow_net)
thousand = torch.arange(1000, device=device) % 10
narrow = digits_reflow.draw(reflow_net, thousand, seed=5)  # other noise than k was measured with
middle = widen.means[thousand]
stages = narrow, middle + widen.factor * (narrow - middle), widen(narrow, thousand)
shares = [within(images, thousand) / within(*real) for images in stages]
verify("18.22b", shares[1], 1.0, rtol=0.04, over="numbers")
print(f"k = {widen.factor:.2f}; variance as a share of that of real digits:", end=" ")
print("as drawn {:.2f}, stretched {:.1f}, cut to pixels {:.2f}".format(*shares))
assert shares[0] + 0.04 < shares[2] < 0.96

print(f"\n{'':13}evaluations   Fréchet   class accuracy   two-sample test")
for name, part in (("as drawn", final), ("widened", wide)):
    for row in part:
        values = [row[key]["value"] for key in keys]
        print(f"{name:12} {row['sampling steps']:11} {values[0]:9.2f} {values[1]:16.3f} {values[2]:17.3f}")
lowest = [final[0][key]["floor"] for key in keys]
print(f"{'floor: real digits':24} {lowest[0]:9.2f} {lowest[1]:16.3f} {lowest[2]:17.3f}")
fell = [1 - after[keys[0]]["value"] / before[keys[0]]["value"] for before, after in zip(final, wide)]
lead = [
    (after[keys[2]]["value"] - 0.5) / (before[keys[2]]["value"] - 0.5) for before, after in zip(final, wide)
]
assert fell[0] > 1 / 6 > 0.08 > max(fell[1:]) > min(fell[1:]) > 0.04
assert 0.7 < lead[0] < 0.8
assert max(lead[1:]) < 1 / 3
assert abs(final[0][keys[2]]["value"] - 19 / 20) < 0.01
assert abs(wide[0][keys[2]]["value"] - 5 / 6) < 0.01
assert final[0][keys[0]]["value"] > 3 * lowest[0] > wide[0][keys[0]]["value"]
assert all(0 < 4000 * (b[keys[1]]["value"] - a[keys[1]]["value"]) < 20 for b, a in zip(final, wide))

image_rows(
    {
        "reflowed, 1": narrow[:14],
        "widened": widen(narrow, thousand)[:14],
        "real": torch.stack([real.images[real.labels == k][j] for j, k in enumerate(thousand[:14])]),
    },
    scale=0.56,
)

# %% [markdown]
r"""
*In the first two rows, the same noise in each column. Table: 4,000 digits a row, the same noise in both
halves.*

- **The test sees less.** Asked "real or drawn?", it was right in nineteen cases of twenty at one step, and
  now it is in five of six. Above one half, which is guessing, a quarter of its lead is gone; at two and four
  steps more than two thirds. That much was one missing factor, and no stroke.
- **The Fréchet distance falls** by more than a sixth at one step, from more than three times the floor to
  less. At two and four steps it falls by a twentieth or so.
- **The price, if any:** about ten digits more in 4,000 are misread. That is too few to be sure.

One number brings the variance up *in sum*. Which directions lack how much it does not ask, and a stretched
mean is still no sample. Nor is the student's answer exactly a mean. Then it would have as much of its
teacher's variance as it explains, by (18.22a); it has more. The rest is error, and (18.22b) stretches that as
well.

## 18.7 Loss against computation

Why did transformers win where this chapter's lost? One reason: they can be made larger *predictably*. The
recipe `digits_scaling` trains four sizes, each for four lengths, every run complete with its own falling
learning rate, and writes down the loss on 1,000 held-out digits. On the axis stands computation. A backward
pass costs about two forward ones (each matrix product has two gradients, each a product of the same size),
so with batch $B$ and $K$ steps

$$C = 3\; F\; B\; K, \tag{18.23}$$

with $F$ from (18.3). And the law that one hopes for is a straight line in logarithms, down to a floor:

$$L(C) = L_\infty + a\,C^{-b} \qquad\Longleftrightarrow\qquad
\log(L - L_\infty) = \log a - b\log C. \tag{18.24}$$

$L_\infty$ is what no network can avoid, the mean of the variance of $\varepsilon - x_0$ given $x_t$. For
the true law of digits nobody knows it. Two things are certain. It is *below* the held-out loss of every
network. And it is *above*, on average, the loss of the table of chapter 14 that knows all training digits
by heart: a posterior variance is concave in the law of the data (a best guess for a mixture of laws is a
compromise for each), so a random sample of digits has less of it than all digits have.

**Before you read on.** Suppose the points lie on a perfect line in logarithms with $L_\infty = 0$. Would
you dare to extend it by a factor of ten?
"""

# %%
study = digits_scaling.load()


def training_cost(config, steps):
    return 3 * network_cost(config) * study["batch"] * steps / 1e12  # in units of 10^12


tiny = DiT(DiTConfig(width=32, depth=2, t_max=1.0)).to(device)
with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
    tiny(torch.zeros(4, 1, 28, 28, device=device), torch.ones(4, device=device)).sum().backward()
spared = 2 * 49 * 16 * 32 + 2 * 128 * 32  # nobody needs the gradient of x_t and t themselves
verify("18.23", [counter.get_total_flops() / 4 + spared], [3.0 * network_cost(tiny.config)], over="counts")
print(
    f"(the gradient of x_t and t is not needed: {spared / network_cost(tiny.config):.0%} of a forward pass)"
)

C = torch.tensor(
    [training_cost(DiTConfig(width=r["width"], depth=r["depth"]), r["steps"]) for r in study["rows"]],
    dtype=double,
)
logged = torch.tensor([r["TFLOP"] for r in study["rows"]], dtype=double)  # counted by PyTorch, two decimals
verify("18.23", C, logged, rtol=1e-6, atol=0.0051, over="runs of the study")
L = torch.tensor([r["held-out loss"] for r in study["rows"]], dtype=double)
front = [int(i) for i in C.argsort() if L[i] == L[C[i] >= C].min()]  # nobody reaches less with so little
print(
    "the front, width x steps:",
    ", ".join(f"{study['rows'][i]['width']} x {study['rows'][i]['steps']}" for i in front),
)


assert all(study["rows"][i]["steps"] >= 2000 for i in front if study["rows"][i]["width"] > 32)


def fitted(C, L, floor):
    """Level and slope of log(L - floor) over log C, by least squares."""
    x, y = C.log(), (L - floor).log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return y.mean() - slope * x.mean(), slope


def best_floor(C, L):
    """The floor at which the curve misses the losses least, in relative error."""
    tried = torch.linspace(0, 0.99 * L.min().item(), 500, dtype=double)
    lines = [fitted(C, L, floor) for floor in tried]
    miss = [
        ((floor + level.exp() * C**slope) / L).log().square().mean()
        for floor, (level, slope) in zip(tried, lines, strict=True)
    ]
    return tried[torch.stack(miss).argmin()].item()


design = torch.stack([torch.ones(len(front), dtype=double), C[front].log()], dim=1)
by_lstsq = torch.linalg.lstsq(design, L[front].log()[:, None]).solution[:, 0]
verify("18.24", torch.stack(fitted(C[front], L[front], 0.0)), by_lstsq, over="coefficients")

floors_found, slopes = [], []
for k in range(len(front)):  # leave out each point of the front once
    kept = torch.tensor([i for j, i in enumerate(front) if j != k])
    floors_found.append(best_floor(C[kept], L[kept]))
    slopes.append(-fitted(C[kept], L[kept], floors_found[-1])[1].item())
b0, best = -fitted(C[front], L[front], 0.0)[1].item(), best_floor(C[front], L[front])
print(
    f"floor 0: b = {b0:.2f};   best floor {best:.2f}: b = {-fitted(C[front], L[front], best)[1].item():.2f}"
)
print(f"leaving out one point: floor {min(floors_found):.2f} to {max(floors_found):.2f},", end=" ")
print(f"b {min(slopes):.2f} to {max(slopes):.2f}")
assert min(floors_found) < 0.01 and max(floors_found) > 0.05  # noqa: PT018


# %%
@torch.no_grad()
def exam(answer, images, labels):
    """The study's loss for another guesser, at the study's times, on fewer digits."""
    x0, total = encode(images), 0.0
    for k, t in enumerate(digits_scaling.levels(device)):
        eps = torch.randn(x0.shape, generator=seeded(30 + k, device), device=device)
        x_t = (1 - t) * x0 + t * eps
        total += (answer(x_t, t.expand(len(x0)), labels) - (eps - x0)).square().mean().item()
    return total / digits_scaling.LEVELS


tables = [DatasetDenoiser(encode(real.images[real.labels == k]), straight) for k in range(10)]


def by_heart(x_t, t, labels):
    """The exact velocity, if there were only the training digits."""
    u = torch.empty_like(x_t)
    for k, table_of_class in enumerate(tables):
        u[labels == k] = velocity(table_of_class, x_t[labels == k], t[labels == k])
    return u


below = exam(by_heart, real.images[:200], real.labels[:200])
larger = {
    "digits-dit": (training_cost(dit_net.config, logs["transformer"]["steps"]), DATA, dit_net),
    "digits-flow (U-Net)": (3 * work["U-Net"] * 64 * logs["U-Net"]["steps"] / 1e12, GREEN, flow_net),
}
reached = {
    name: exam(net, held_out.images[:120], held_out.labels[:120]) for name, (_, _, net) in larger.items()
}
level, slope = fitted(C[front], L[front], 0.0)
promised = (level + slope * math.log(larger["digits-dit"][0])).exp().item()
print(f"digits-dit: the line promises {promised:.2f}; it reaches {reached['digits-dit']:.2f}")
print(
    f"the floor lies between {below:.2f} (training digits, by heart)",
    f"and {min(reached.values()):.2f} (the best network)",
)
assert reached["digits-dit"] > 1.05 * promised
assert below < 0.25 * min(reached.values())

figure, (left, right) = panels(1, 2, width=11.5, height=3.9)
for width, color in zip((32, 64, 96, 144), (NOISE, EXTRA, ORANGE, INK), strict=True):
    mine = [i for i, r in enumerate(study["rows"]) if r["width"] == width]
    left.plot(C[mine], L[mine], "o-", color=color, linewidth=1.2)
    left.text(
        C[mine[0]] * 1.12, L[mine[0]] * 1.02, f"width {width}", color=color if width > 32 else "#666666"
    )
line = torch.logspace(-0.6, 2.7, 50, dtype=double)
left.plot(line, level.exp() * line**slope, color=DATA, linewidth=1, linestyle="--")
curve = fitted(C[front], L[front], 0.07)
left.plot(line, 0.07 + curve[0].exp() * line ** curve[1], color=GUIDED, linewidth=1, linestyle="--")
for name, (cost, color, _) in larger.items():
    left.plot(cost, reached[name], "D", color=color)
left.text(210, 0.162, "digits-dit", color=DATA, ha="center")
left.text(200, 0.124, "U-Net", color=GREEN, ha="center")
left.text(0.3, 0.152, f"blue: floor 0, $b$ = {b0:.2f}", color=DATA)
left.text(0.3, 0.137, f"pink: floor 0.07, $b$ = {-curve[1].item():.2f}", color=GUIDED)
left.set(xscale="log", yscale="log", xlabel="computation, $10^{12}$ operations", ylabel="held-out loss")
left.set(ylim=(0.115, 0.42), yticks=[0.15, 0.2, 0.3, 0.4], yticklabels=["0.15", "0.2", "0.3", "0.4"])
left.minorticks_off()
tried = torch.linspace(0, 0.14, 60, dtype=double)
right.plot(tried, [-fitted(C[front], L[front], f)[1].item() for f in tried], color=DATA)
right.axvspan(min(floors_found), max(floors_found), color=NOISE, alpha=0.3, linewidth=0)
right.text(0.032, 0.45, "best floors, one\npoint left out", color="#666666", va="top")
right.axvline(below, color=ORANGE, linewidth=1, linestyle=":")
right.axvline(min(reached.values()), color=GREEN, linewidth=1, linestyle=":")
right.text(below + 0.001, 0.12, "by heart", color=ORANGE)
right.text(min(reached.values()) - 0.001, 0.12, "best network", color=GREEN, ha="right")
right.set(xlabel=r"assumed floor $L_\infty$", ylabel="exponent $b$", ylim=(0.1, 0.5), xlim=(0, 0.15))
figure

# %% [markdown]
r"""
*Left: each curve is one size at four lengths of training. The dashed lines are fits of (18.24) to the lower
front, with floor 0 and with a floor of 0.07, the largest that leaving out one point gave. Diamonds: the two
networks of section 18.5, which no fit has seen. Right: the exponent, for every floor that one might
assume.*

- **The points make a line worth drawing.** Over more than two decades the loss of the front falls as a
  small power of computation. Ten times the work buys about a third off the loss.
- **Small and long beats large and short**, here: apart from the smallest size, which has no smaller rival,
  only runs of 2,000 and 4,000 steps reach the front. Every curve is still falling when it ends.
- **The exponent is not known to two digits, nor to one.** With floor 0 it is 0.16. The best floor gives
  0.18, and leaving out a single point moves it from 0.16 to 0.24. With a floor of 0.12, which nothing
  excludes, it would be over 0.35 (right panel), though it would fit worse. One seed each; the leaving-out
  shows sensitivity, and is no confidence interval.
- **And would you have dared?** The recipe `digits-dit` spent twice as much as the last point of the study.
  The line promised 0.13, and it reached 0.15, hardly better than the study's largest network with half the
  work. Its size may be wrong for its length; a floor may be near; 9,000 digits, seen a hundred times each,
  may have run out. The fit can't tell. The U-Net, at about the same cost, is lower still: *a law holds for
  a family, on its data.*
- **What is certain about the floor**: it lies between 0.03, the loss of the table that knows the training
  digits by heart, and 0.14. So nearly all of the loss of a good network may be beyond any network, or only a
  fifth of it. Loss curves do not say how far there is to go.

Large studies differ from ours in scale, number of runs and care. Esser et al. draw such curves for models of
up to 8 thousand million weights, and check them against what people prefer.

## 18.8 Play

One digit in one to eight steps. The upper row is the state, the lower row where the network, asked at this
state, would arrive if it went straight on. Look at the lower row of the flow: how does the ghost become a
digit? Then change to the reflowed model, and look for a guess that differs from its neighbours. Which
digits, and which seeds, does one step spoil?
"""

# %%
FewSteps(
    {
        "flow": lambda label: digits_flow.denoiser(flow_net, label),
        "reflowed": lambda label: digits_flow.denoiser(reflow_net, label),
    },
    device=device,
)

# %% [markdown]
r"""
## 18.9 Exercises

`check` tells you what is wrong, `hint("18.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`.
"""

# %%
for one in exercises(18):
    print(one)

# %% [markdown]
r"""
**Exercise 18.1 ★ — put it together.** The inverse of (18.1), for square pictures with any number of
channels, without a loop over tokens.
"""


# %% tags=["exercise"]
def put_together(tokens, channels, p):
    """Pictures (B, channels, H, H) from tokens (B, N, channels p^2), in the order of (18.1)."""
    ...


# %%
check("18.1", put_together)

# %% [markdown]
r"""
**Exercise 18.2 ★ — what pairs cost.** (a) A DiT of width 384 with $p = 2$ works on squares of $s\times s$
numbers. At which $s$ do the pairs of tokens cost as much as the tokens by themselves? (b) DiT-XL/2 ($d =
1152$) goes from 256 tokens to 1024, for pictures of twice the side. By which factor does the cost of a
block grow?
"""

# %% tags=["exercise"]
side = ...
factor = ...

# %%
check("18.2", (side, factor))

# %% [markdown]
r"""
**Exercise 18.3 ★★ — attention with heads.** Write (18.5), in each of `heads` slices of the width, without
`scaled_dot_product_attention`. The first head has the first entries.
"""


# %% tags=["exercise"]
def attention_with_heads(Q, K, V, heads):
    """(18.5) in each of `heads` slices; Q, K, V and the result have shape (B, N, width)."""
    ...


# %%
check("18.3", attention_with_heads)

# %% [markdown]
r"""
**Exercise 18.4 ★★ — a gated block.** Write (18.10) with (18.9), for any two parts, given as functions from
(B, N, d) to (B, N, d). Mind which axis the modulation belongs to.
"""


# %% tags=["exercise"]
def gated_block(h, attention, mlp, modulation):
    """(18.10): tokens (B, N, d); modulation (B, 6, d) holds beta1, gamma1, g1, beta2, gamma2, g2."""
    ...


# %%
check("18.4", gated_block)

# %% [markdown]
r"""
**Exercise 18.5 ★★ — find and fix: zeros that don't stay.** This function initialises a `DiT`. It was
reviewed, and tested for shapes. Mend it.
"""


# %% tags=["exercise"]
def initialise(net):
    """Xavier's rule for linear layers, zeros where a DiT must start as nothing; changes the net."""
    for layer in (*(block.modulate for block in net.blocks), net.modulate, net.leave):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)

    def xavier(module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    net.apply(xavier)


# %%
check("18.5", initialise)

# %% [markdown]
r"""
**Exercise 18.6 ★★ — shifted times.** Times are drawn from (18.13) and then shifted by (18.16) with a factor
$f$. Derive the density of the shifted times. (It is short, once you see which variable to think in.)
"""


# %% tags=["exercise"]
def shifted_density(t, m, s, factor):
    """The density at t, shape (B,), of shifted(u, factor), where u is logit-normal with m and s."""
    ...


# %%
check("18.6", shifted_density)

# %% [markdown]
r"""
**Exercise 18.7 ★ — predict: shuffled pairs.** Somebody makes pairs with a perfect teacher, noise $x_1$ and
digit $x_0$, and then shuffles the digits within each class, "so that the student does not overfit". The
student is trained to perfection. What does it draw in *one* step? `"the teacher's digit"`, `"the mean
digit"` of the class, `"a random digit"` of the class, or `"noise"`.
"""

# %% tags=["exercise"]
after_the_shuffle = ...

# %%
check("18.7", after_the_shuffle)

# %% [markdown]
r"""
**Exercise 18.8 ★★ — where lines can cross.** From the mean of (18.22): at which $t$ does the noise that
another digit at distance $\lVert x_0 - x_0'\rVert$ would need become less likely by a factor $e^{-k}$?
Derive it in closed form.
"""


# %% tags=["exercise"]
def crossing_time(distance, nats):
    """The time, shape (B,), at which (18.22) is -nats on average; distance and nats have shape (B,)."""
    ...


# %%
check("18.8", crossing_time)

# %% [markdown]
r"""
**Exercise 18.9 ★★ — a power law.** Fit (18.24) for a given floor, by least squares in the logarithms.
"""


# %% tags=["exercise"]
def power_law(C, L, floor):
    """(a, b) of L = floor + a C^(-b), by least squares in the logarithms; C and L have shape (B,)."""
    ...


# %%
check("18.9", power_law)

# %% [markdown]
r"""
**Exercise 18.10 ★★★ — errata museum: a foreign clock.** A loss was taken over from a repository that counts
time from noise to data. For *our* networks it shall be (18.12), with more training near the noise: the
logit of the share of noise is $1 + z$. It runs. It holds three mistakes, and one of them would be invisible
without the 1.
"""


# %% tags=["exercise"]
def foreign_loss(net, x0, eps, z):
    """(18.12), shape (B,), a mean over the axes; 1 + z (B,) is the logit of the share of noise."""
    r = torch.sigmoid(1 + z)
    x_r = r[:, None] * x0 + (1 - r)[:, None] * eps
    return (net(x_r, r) - (x0 - eps)).square().mean(1)


# %%
check("18.10", foreign_loss)

# %% [markdown]
r"""
**Mini-project (open, not graded) — the fairest fight.** In section 18.5 the U-Net won. Change *one* thing
that might turn the result: the patch size (2, with fewer blocks, at equal operations), 36,000 shifted
copies of the digits in place of 9,000, the times' $m$, or a convolution before the tokens are cut. Train
both networks for equal minutes, ten at least, with two seeds each. *Rubric:* the prediction is written
before, with a reason (2); equal minutes, and operations stated (2); two measures with floors, two seeds
shown (3); what the result does not show (3).

## 18.10 What the field does with it, and where this breaks

- **Stable Diffusion 3 in miniature.** You have its path, its loss, its times, its shift, and the ancestor
  of its network. What is missing is text. SD3's network is called MM-DiT ("multimodal"): the words of the
  prompt are tokens, too. Picture and text each have their *own* matrices for queries, keys, values, MLP and
  modulation, and then one common attention over the joined list, so each word looks at each patch and back.
  A summary of the text joins the time in the condition. It works on latents (chapter 17), normalises
  queries and keys (or attention becomes unstable in half precision), and guides (chapter 12).
- **Scaling.** Esser et al. show validation loss falling smoothly with size and training, and human
  preference following it. That is the result that made the field go over. That the law's *shape* holds
  elsewhere does not mean that its numbers do.
- **Few steps.** Reflow is one of several ways. Consistency models, adversarial distillation and mean flows
  learn jumps directly; many of today's fast models combine two of them.
- **Where it breaks.** Patches leave seams when they are large for the data. The table of positions ties a
  network to its size. A student of few steps inherits its teacher, guidance scale included. And a loss of
  one network can't be compared with that of another with different times, as (18.15) says: they are
  different weightings.

### What to remember
- Cutting into patches is a permutation; the diffusion does not notice. Work goes with $24Nd^2 + 4N^2d$, and
  the patch size is the knob.
- Attention is a mean with learned shares; $\sqrt d$ keeps them soft; without positions it sees a bag.
- Zero gates: a new network is the zero function, and wakes in three stages, unless something overwrites its
  zeros.
- Logit-normal times are a bell in $\log(\alpha/\sigma)$. A larger picture shifts it by half the logarithm
  of the pixel ratio.
- One step of a flow is the class mean. One step of a reflowed flow is regression on the teacher's ends.
- An exponent without its floor is half a number.

### References
- Peebles, Xie (2023), *Scalable diffusion models with transformers*: patches, adaLN-zero (section 3.2),
  operations instead of parameters, DiT-XL/2.
- Esser et al. (2024), *Scaling rectified flow transformers for high-resolution image synthesis*: weights
  and densities of times (section 3.1; the logit-normal is eq. 19), MM-DiT (section 4), the shift (18.16)
  (section 5.3). Data at $t = 0$, as here.
- Liu, Gong, Liu (2023), *Flow straight and fast*: reflow (algorithm 1), straightness (section 2.2). Noise
  at 0.
- Liu, Zhang, Ma, Peng, Liu (2024), *InstaFlow*: reflow and distillation of Stable Diffusion.
- Lee, Lin, Fanti (2024), *Improving the training of rectified flows*: why one reflow is nearly enough, and
  times at the ends.
- Vaswani et al. (2017), *Attention is all you need*: (18.5) is eq. 1, positions section 3.5.
- Dosovitskiy et al. (2021), *An image is worth 16x16 words*: patches as tokens.
- Karras et al. (2022), *Elucidating the design space of diffusion-based generative models*: log-normal
  noise levels, table 1.
- Su et al. (2021), *RoFormer*: rotary positions.
- Chapter 13 for the theorem behind (18.12), chapter 14 for the instruments.
"""
