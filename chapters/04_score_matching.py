# %% [markdown]
"""
# 4. Score matching and NCSN

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/04_score_matching.ipynb)

*How the slope of a log-density is learned from samples alone, and why that takes noise of many sizes*

Chapter 2 walked: along the gradient of the log-density, with a kick of noise at each step. Its walkers end
up distributed as the data, and all they ask for is an arrow at each point. So here is a plan for a
generative model. Learn the arrows from examples, then walk. This chapter carries out the plan. It works at
the second try.

**You will be able to**
- say what a score knows about a density, and what it cannot see;
- derive three losses that learn a score without ever knowing the density (implicit, sliced, denoising), and
  compute the constants by which they differ;
- explain, with numbers, why a score is learned badly where data are rare, and what noise does about it;
- train a noise-conditional score network, judge it against the exact score, and sample from it by annealed
  Langevin dynamics.

**You need** gradients and integration by parts, the Gaussian density, Langevin dynamics (chapter 2), a
little PyTorch. The networks are small and are trained before your eyes.

**Time**: 60 minutes to read, under a minute to run, two to three hours with all exercises.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from itertools import product

import torch
from matplotlib.axes import Axes
from torch import nn

from diffedu import EPS, SCORE, VE, DenoisingLoss, GaussianMixture, Langevin, NetworkDenoiser
from diffedu import fisher_divergence, implicit_score_matching, sample, seeded, sliced_score_matching
from diffedu.core.score_matching import divergence
from diffedu.evaluate import energy_distance, floor
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.nn import MLP
from diffedu.show import DATA, GUIDED, INK, NOISE, SCORE as RED, VELOCITY
from diffedu.show import curve_panel, panels, square
from diffedu.show.widgets import ScoreField
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"  # where the networks live

# %%
# The data of this chapter: three long islands, far apart, with shares of 60, 30 and 10 per cent.
angle = torch.tensor([0.5, 2.3, -0.9])
axis = torch.stack([angle.cos(), angle.sin()], dim=1)
spread = 0.15**2 * torch.eye(2) + (0.45**2 - 0.15**2) * axis[:, :, None] * axis[:, None, :]
middles = torch.tensor([[2.0, 1.2], [-1.8, 1.6], [-0.6, -2.0]])
data = GaussianMixture(torch.tensor([0.6, 0.3, 0.1]), middles, spread)
path = VE(sigma_min=0.05, sigma_max=5.0)  # how noise will be added: x_t = x0 + sigma eps
ladder = torch.linspace(1, 0, 12)  # twelve times; sigma falls from 5 to 0.05 by a constant factor


def shares(x):
    """Which part of the points (N, 2) lies nearest to each island, shape (3,)."""
    return torch.nn.functional.one_hot(torch.cdist(x, middles.to(x)).argmin(1), 3).float().mean(0)


def show_islands(ax: Axes, x, title, color=RED):
    x = x.cpu()
    ax.scatter(*x[:1000].T, s=3, color=color, alpha=0.5, linewidths=0)
    square(ax, 4.2, ylabel="")
    ax.set_title(title)
    places = [(2.6, 2.6), (-2.2, 3.2), (1.2, -2.4)]
    for share, place in zip(shares(x), places, strict=True):
        ax.text(*place, f"{100 * share:.0f} %", ha="center", va="center", color=INK)


start = path(1.0).sigma * torch.randn(2000, 2, generator=seeded(1))
stay = torch.zeros(601)  # 600 steps at the smallest noise
descend = torch.cat([ladder.repeat_interleave(50), torch.zeros(1)])  # 50 steps at each of the twelve levels
exact = data.denoiser(path)
plain_walk = sample(exact, Langevin(1.0), start, stay, generator=seeded(2))
annealed_walk = sample(exact, Langevin(0.1), start, descend, generator=seeded(2))

figure, axes = panels(1, 3, width=10.5, height=3.5)
show_islands(axes[0], data.sample(20_000, seeded(3)), "the data", DATA)
show_islands(axes[1], plain_walk, "600 steps, data's arrows")
show_islands(axes[2], annealed_walk, "600 steps, noise falling")
axes[0].set_ylabel("$x_2$")
found = {"data": data.weights, "data's arrows": shares(plain_walk), "noise falling": shares(annealed_walk)}
for name, values in found.items():
    print(f"{name:14s}", *[f"{v:.1f}" for v in values])
assert found["data's arrows"][2] > 3 * data.weights[2]
assert (found["noise falling"] - data.weights).abs().max() < 0.03
figure

# %% [markdown]
r"""
*Two thousand walkers start from a wide cloud and take 600 Langevin steps. All arrows are exact; nothing has
been learned. In the middle the walkers follow the arrows of the data themselves (up to noise of size 0.05,
too small to see here): they find the islands, and get the proportions badly wrong. On the right they follow
the arrows of the data plus noise, and the noise shrinks on the way.*

**Before you read on.** The arrows in the middle panel are exact, so what is missing? Write down a guess.
Section 4.6 has half of the answer, section 4.7 the other half.

## 4.1 An arrow instead of a height

The **score** of a density $p$ is the gradient of its logarithm with respect to the *point*:

$$s(x) = \nabla \log p(x) = \frac{\nabla p(x)}{p(x)}. \tag{4.1}$$

<!-- definition 4.1: names the score -->
<!-- code 4.1: diffedu.core.oracle.GaussianMixture.score -->

It points to where points are denser, and its length says by which fraction the density grows per unit of
length. (Statisticians use the word for the gradient by a *parameter*. Here no parameter occurs.)

Why an arrow, if we could learn the height $p(x)$? Because heights have to add up to one. A network that
puts out any number $U(x)$ gives a density only after a division,

$$p(x) = \frac{e^{-U(x)}}{Z}, \quad Z = \int e^{-U(x)}\,dx \qquad\Longrightarrow\qquad
\nabla\log p(x) = -\nabla U(x), \tag{4.2}$$

and $Z$ is an integral over all of space, out of reach in a thousand dimensions. The logarithm turns the
division into a subtraction, and the gradient removes it: $\nabla \log Z = 0$. Two scores to know by heart.
A Gaussian pulls to its middle like a spring,

$$\nabla\log \mathcal N(x;\ m, \Sigma) = -\Sigma^{-1}(x - m), \tag{4.3}$$

and a mixture $\sum_k w_k\, p_k$ pulls as its components do, each with the probability that it is
responsible for the point:

$$\nabla \log \sum_k w_k\,p_k(x) = \sum_k r_k(x)\,\nabla\log p_k(x), \qquad
r_k(x) = \frac{w_k\,p_k(x)}{\sum_j w_j\,p_j(x)}. \tag{4.4}$$

(Differentiate the sum by (4.1), and write $\nabla p_k = p_k\,\nabla\log p_k$.)

Has the height been lost? Only its scale. Walk along a straight line from $a$ to $b$ and add up the slope:

$$\log p(b) - \log p(a) = \int_0^1 s\big(a + u\,(b-a)\big)\cdot(b-a)\;du. \tag{4.5}$$

So the score at *all* points fixes $\log p$ up to a constant, and $\int p = 1$ fixes the constant. Keep the
word "all" in mind.
"""

# %%
double = torch.float64
exact_data = data.to(dtype=double)  # checks are made in double precision


def plane(limit=6.0, n=201):
    """Points of a square grid (n * n, 2), and the area of a cell: a sum over them stands for an integral."""
    line = torch.linspace(-limit, limit, n, dtype=double)
    return torch.cartesian_prod(line, line), (line[1] - line[0]) ** 2


def gradient(function, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


line = torch.linspace(-4, 4, 4001, dtype=double)
energy = 0.25 * line**4 - line**2
log_density = -energy - torch.log(torch.trapezoid(torch.exp(-energy), line))  # Z is computed, and drops out
slope = (log_density[2:] - log_density[:-2]) / (line[2:] - line[:-2])
verify("4.2", slope, -(line**3 - 2 * line)[1:-1], rtol=1e-4)

x = exact_data.sample(300, seeded(4)) + torch.randn(300, 2, generator=seeded(5), dtype=double)
middle, covariance = exact_data.means[0], exact_data.covariances[0]
normal = torch.distributions.MultivariateNormal(middle, covariance)
verify("4.3", gradient(normal.log_prob, x), -(x - middle) @ torch.linalg.inv(covariance), over="points")

parts = [
    torch.distributions.MultivariateNormal(m, c)
    for m, c in zip(exact_data.means, exact_data.covariances, strict=True)
]
pulls = torch.stack(
    [-(x - m) @ torch.linalg.inv(c) for m, c in zip(exact_data.means, exact_data.covariances, strict=True)]
)
responsible = torch.softmax(
    torch.stack([w.log() + p.log_prob(x) for w, p in zip(exact_data.weights, parts, strict=True)]), dim=0
)
verify("4.4", gradient(exact_data.log_prob, x), (responsible[..., None] * pulls).sum(0), over="points")

a, b = exact_data.means[2], exact_data.means[0] + 0.3
u = torch.linspace(0, 1, 20_001, dtype=double)[:, None]
climb = torch.trapezoid(exact_data.score(a + u * (b - a)) @ (b - a), u[:, 0])
verify("4.5", climb, (exact_data.log_prob(b[None]) - exact_data.log_prob(a[None]))[0], rtol=1e-4)

# %% [markdown]
r"""
## 4.2 How wrong is an arrow?

A model gives arrows $s(x)$; the data have the score $\nabla\log p$. The **Fisher divergence** is half the
mean squared difference, over where the data are:

$$F(p, s) = \mathbb E_{x\sim p}\,\tfrac12\,\big\lVert s(x) - \nabla\log p(x)\big\rVert^2. \tag{4.6}$$

<!-- definition 4.6: names the divergence; the 1/2 is a convention, which some authors leave out -->
<!-- code 4.6: diffedu.core.score_matching.fisher_divergence -->

It is zero only if the arrows agree wherever data can fall. For two Gaussians of equal variance $v$, set
beside the Kullback–Leibler divergence that likelihood training minimises:

$$F = \frac{(m-n)^2}{2\,v^2}, \qquad \mathrm{KL} = \frac{(m-n)^2}{2\,v}. \tag{4.7}$$

(The scores differ by the constant $(m-n)/v$; half of its square is $F$.) $F$ is measured in one over
squared length, KL in nats. For a narrow density $F$ is the stricter of the two. It looks as if it were the
better ruler.

**Before you read on.** Two islands, far apart. The data have 75 % of their points on the left one; a model
has the same islands with 40 % on the left. As the islands move apart, what will KL do, and what will $F$
do?
"""

# %%
line = torch.linspace(-12, 12, 6001, dtype=double)[:, None]
width = line[1] - line[0]


def two_islands(distance, left, std=0.5):
    ends = torch.tensor([[-distance / 2], [distance / 2]], dtype=double)
    return GaussianMixture.isotropic(ends, std, torch.tensor([left, 1 - left], dtype=double))


def both_divergences(p, q, points, cell):
    """F and KL of q from p, as sums over a grid."""
    weight = p.log_prob(points).exp() * cell
    fisher = (weight * fisher_divergence(q.score(points), p.score(points))).sum()
    return fisher, (weight * (p.log_prob(points) - q.log_prob(points))).sum()


v, m, n = 0.7, 0.4, -0.3
p, q = (
    GaussianMixture.single(torch.tensor([k], dtype=double), torch.tensor([[v]], dtype=double)) for k in (m, n)
)
verify(
    "4.7",
    torch.stack(both_divergences(p, q, line, width)),
    [(m - n) ** 2 / (2 * v**2), (m - n) ** 2 / (2 * v)],
)

distances = torch.linspace(0.5, 8, 40)
F, KL = torch.tensor(
    [both_divergences(two_islands(d, 0.75), two_islands(d, 0.40), line, width) for d in distances.tolist()]
).T
never = 0.75 * math.log(0.75 / 0.40) + 0.25 * math.log(0.25 / 0.60)
print(
    f"8 apart: KL = {KL[-1]:.3f}, the KL of the two proportions alone = {never:.3f};",
    "F is below 1e-12:",
    bool(F[-1] < 1e-12),
)

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.5)
for share, color, style, name, place in (
    (0.75, DATA, "-", "data", (-1.7, 0.6)),
    (0.40, RED, "--", "model", (-1.7, 0.52)),
):
    mixture = two_islands(5.0, share)
    left.plot(line, mixture.log_prob(line).exp(), color=color, linestyle=style)
    left.text(*place, f"{name}: {100 * share:.0f} % on the left", color=color)
x = torch.linspace(-4.2, 4.2, 15, dtype=double)[:, None]
for share, y, color in ((0.75, -0.09, DATA), (0.40, -0.2, RED)):
    arrows = 0.07 * two_islands(5.0, share).score(x)
    left.quiver(
        x,
        torch.full_like(x, y),
        arrows,
        torch.zeros_like(x),
        color=color,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.006,
    )
left.set(xlim=(-5.5, 5.5), ylim=(-0.28, 0.68), xlabel="x", ylabel="density; below: arrows")
left.set_title("other heights, same arrows")
curve_panel(
    right,
    distances,
    {"KL": KL, "Fisher": F},
    xlabel="distance of the islands (each 0.5 wide)",
    ylabel="divergence",
    title="data against model",
    colors=(VELOCITY, RED),
    label_curves=False,
)
right.set(yscale="log", ylim=(1e-8, 3))
right.text(5.5, 0.45, "Kullback–Leibler (nats)", color=VELOCITY)
right.text(4.7, 1e-4, "Fisher (1 / squared length)", color=RED)
assert F[-1] < 1e-12 < 0.2 < KL[-1]
figure

# %% [markdown]
r"""
*Left: two densities with different proportions, and their arrows below. You have to look hard to find the
one place where the arrows differ. Right: KL settles at the divergence of the proportions; the Fisher
divergence forgets them faster than exponentially.*

The reason stands in (4.4). Inside an island one responsibility is 1 to many digits, and the weights cancel.
Proportions are written in the arrows of the *valley* between the islands, by where the pull of the one
gives way to the pull of the other. But (4.6) is an average over the data, and no data fall into the
valley. This is a property of the ruler, not of any network. We shall meet it again, and cure it.

## 4.3 Hyvärinen's trick: an arrow nobody shows you

(4.6) cannot be minimised as it stands: it contains $\nabla\log p$, the very thing we want. All we have are
samples. Expand the square:

$$F = \underbrace{\mathbb E_p\,\tfrac12\lVert s\rVert^2}_{\text{a mean over samples}}
\;-\; \underbrace{\mathbb E_p\big[s\cdot\nabla\log p\big]}_{\text{the trouble}}
\;+\; \underbrace{\mathbb E_p\,\tfrac12\lVert\nabla\log p\rVert^2}_{\text{no model in it}}. \tag{4.8}$$

In the middle term, $p\,\nabla\log p = \nabla p$ by (4.1). Written as an integral it invites integration by
parts, one coordinate after the other:

$$\mathbb E_p\big[s\cdot\nabla\log p\big] = \int s\cdot\nabla p\;dx
= \sum_i \Big[\;s_i\,p\;\Big]_{-\infty}^{\infty} - \int p\;\nabla\!\cdot s\;dx
= -\,\mathbb E_p\big[\nabla\!\cdot s\big]. \tag{4.9}$$

The boundary terms (still to be integrated over the other coordinates) vanish if $p\,s$ goes to zero far
out fast enough. This is the one assumption; with hard walls it fails. Mind the minus. The divergence
$\nabla\!\cdot s = \sum_i \partial s_i/\partial x_i$ is the trace of the Jacobian of the *model*, and asks
nothing of the data. So the loss

$$J(s) = \mathbb E_{x\sim p}\Big[\tfrac12\,\lVert s(x)\rVert^2 + \nabla\!\cdot s(x)\Big] \tag{4.10}$$

<!-- definition 4.10: names the implicit loss; that it is a good loss is (4.11) -->
<!-- code 4.10: diffedu.core.score_matching.implicit_score_matching -->

can be estimated from samples, and by (4.8) and (4.9) it is the Fisher divergence up to a constant:

$$F(p, s) = J(s) + C, \qquad C = \tfrac12\,\mathbb E_p\lVert\nabla\log p\rVert^2. \tag{4.11}$$

What does $J$ say? Keep arrows short; and let them *converge* ($\nabla\!\cdot s < 0$) where data are. A sink
at every sample, at the price of the squared length. Put the true score into (4.11), where $F = 0$:

$$J(\nabla\log p) = \mathbb E_p\big[\tfrac12\lVert\nabla\log p\rVert^2 + \Delta\log p\big]
= -\tfrac12\,\mathbb E_p\lVert\nabla\log p\rVert^2 = -C. \tag{4.12}$$

($\Delta = \sum_i \partial^2/\partial x_i^2$ is the Laplacian, the divergence of a gradient. The second step
is (4.9) with $s = \nabla\log p$.) **The loss converges, but not to zero**: the best value is $-C$,
negative, and unknown in practice.
"""


# %%
def implicit_loss(score, x):
    """(4.10) at every point of x (B, D), shape (B,)."""
    x = x.clone().requires_grad_()
    s = score(x)
    total = 0.5 * (s**2).sum(1)
    for i in range(x.shape[1]):  # rows of a batch don't see each other, so their sum has the right gradient
        (row,) = torch.autograd.grad(s[:, i].sum(), x, create_graph=True)
        total = total + row[:, i]
    return total


def wrong_score(x):  # some smooth arrows, which are nobody's gradient
    return torch.stack([-x[:, 0] + x[:, 1].sin(), 0.3 * x[:, 0] * x[:, 1] - x[:, 1]], dim=1)


x, cell = plane()
weight = exact_data.log_prob(x).exp() * cell
true_score = exact_data.score(x)
with torch.no_grad():
    value, div = divergence(wrong_score, x)
    _, curvature = divergence(exact_data.score, x)  # the divergence of the score: the Laplacian of log p
    J = (weight * implicit_score_matching(wrong_score, x)).sum()
C = 0.5 * (weight * true_score.square().sum(1)).sum()
F = (weight * fisher_divergence(value, true_score)).sum()
three_terms = 0.5 * (weight * value.square().sum(1)).sum() - (weight * (value * true_score).sum(1)).sum() + C
verify("4.8", F, three_terms)
verify("4.9", (weight * (value * true_score).sum(1)).sum(), -(weight * div).sum())
verify("4.11", F, J + C)
verify("4.12", 0.5 * (weight * true_score.square().sum(1)).sum() + (weight * curvature).sum(), -C)
print(f"on the grid: F = {F:.2f}, J = {J:.2f}, C = {C:.2f}")

few = exact_data.sample(50, seeded(6))
assert torch.allclose(implicit_loss(wrong_score, few), implicit_score_matching(wrong_score, few))
print("implicit_loss and diffedu's implicit_score_matching agree")

# %% [markdown]
r"""
### A density whose height nobody knows
Take $p(x) \propto e^{-a x^2/2 - b x^4/4}$. Its $Z$ has no elementary form. Its score has:
$s(x) = -a x - b x^3$, with $s'(x) = -a - 3 b x^2$. Then (4.10) is quadratic in $a$ and $b$; with the
moments $m_k = \mathbb E\,x^k$,

$$J = \tfrac12\big(a^2 m_2 + 2 a b\, m_4 + b^2 m_6\big) - a - 3 b\, m_2
\qquad\Longrightarrow\qquad
\begin{pmatrix} m_2 & m_4\\ m_4 & m_6\end{pmatrix}\begin{pmatrix} a\\ b\end{pmatrix}
= \begin{pmatrix} 1\\ 3\, m_2\end{pmatrix}. \tag{4.13}$$

Fitting a density without its normaliser has become two linear equations in the moments of the samples.
"""


# %%
def fit_quartic(m2, m4, m6):
    """a and b by (4.13)."""
    left = torch.stack([torch.stack([m2, m4]), torch.stack([m4, m6])])
    return torch.linalg.solve(left, torch.stack([torch.ones_like(m2), 3 * m2]))


line = torch.linspace(-4, 4, 4001, dtype=double)
density = torch.softmax(-(-2.0 * line**2 / 2 + 1.0 * line**4 / 4), dim=0)  # a = -2, b = 1, on a grid
verify("4.13", fit_quartic(*[(density * line**k).sum() for k in (2, 4, 6)]), [-2.0, 1.0], rtol=1e-7)

drawn = line[torch.multinomial(density, 20_000, replacement=True, generator=seeded(7))]
a, b = fit_quartic(*[(drawn**k).mean() for k in (2, 4, 6)])
print(f"from 20,000 samples: a = {a:.1f}, b = {b:.1f}")

# %% [markdown]
r"""
### Where this breaks: a ridge at every sample
(4.11) holds for the mean over $p$. In training the mean runs over a *finite* sample, and a network with
much freedom can play a trick. Put a narrow Gaussian of width $h$ on every sample. At the samples the
arrows are zero, and in $D$ dimensions they converge with $\nabla\!\cdot s = -D/h^2$:

$$J \approx -\frac{D}{h^2} \;\longrightarrow\; -\infty \qquad (h \to 0). \tag{4.14}$$

The loss rewards memorising without limit. It is also dear: $D$ coordinates need $D$ backward passes,
150,000 of them for a photograph of 224 × 224 pixels in three colours. The next section removes the price,
the one after it both troubles.
"""

# %%
for h in (1e-2, 1e-3):
    ridge = GaussianMixture.isotropic(few, h)
    with torch.no_grad():
        verify("4.14", implicit_score_matching(ridge.score, few).mean() * h**2, -2.0, rtol=2e-2)

# %% [markdown]
r"""
## 4.4 Sliced: one direction instead of all

Let $v$ be a random direction with independent entries of mean 0 and variance 1, so that
$\mathbb E\,v_i v_j = \delta_{ij}$. Then for any matrix $A$,
$\mathbb E\,v^\top\! A\,v = \sum_{ij} A_{ij}\,\mathbb E\,v_i v_j = \operatorname{tr} A$. With the Jacobian
of $s$ for $A$ (this is Hutchinson's estimator):

$$\mathbb E_v\big[v\cdot\nabla_{\!x}\,(v\cdot s(x))\big] = \nabla\!\cdot s(x). \tag{4.15}$$

And $v\cdot s$ is a single number: *one* backward pass gives its gradient, in any dimension. **Sliced score
matching** puts this into (4.10):

$$J(s) = \mathbb E_{x\sim p}\,\mathbb E_v\Big[\tfrac12\,\lVert s(x)\rVert^2
+ v\cdot\nabla_{\!x}\,\big(v\cdot s(x)\big)\Big]. \tag{4.16}$$

<!-- code 4.16: diffedu.core.score_matching.sliced_score_matching -->

The price is variance. Entries $\pm1$ are a good choice: they estimate the diagonal of $A$ without any
error.
"""


# %%
def sliced_loss(score, x, v):
    """(4.16) for one direction v (B, D) at every point of x (B, D), shape (B,)."""
    x = x.clone().requires_grad_()
    s = score(x)
    (slope,) = torch.autograd.grad((v * s).sum(), x, create_graph=True)
    return 0.5 * (s**2).sum(1) + (v * slope).sum(1)


signs = [torch.tensor(one, dtype=double).expand_as(few) for one in product((-1.0, 1.0), repeat=2)]
with torch.no_grad():
    estimates = [
        sliced_score_matching(wrong_score, few, v) - 0.5 * wrong_score(few).square().sum(1) for v in signs
    ]
    traces = divergence(wrong_score, few)[1]
verify("4.15", torch.stack(estimates).mean(0), traces, over="points")  # the mean over all four sign vectors

x, generator = exact_data.sample(100_000, seeded(8)), seeded(9)
v = torch.randn(x.shape, generator=generator, dtype=double)
with torch.no_grad():
    verify_mean("4.16", sliced_score_matching(wrong_score, x, v), J)
assert torch.allclose(
    sliced_loss(wrong_score, few, signs[1]), sliced_score_matching(wrong_score, few, signs[1])
)
print("sliced_loss and diffedu's sliced_score_matching agree")

# %% [markdown]
r"""
## 4.5 Denoising: a teacher who knows the answer

Now a third way, which needs no derivative of the network at all. It learns the score of slightly different
data: of data with noise on top. Draw a clean point, add noise of size $\sigma$, and look at the density of
what comes out:

$$x_t = x_0 + \sigma\,\varepsilon, \qquad q(x_t \mid x_0) = \mathcal N(x_t;\ x_0,\ \sigma^2 I), \qquad
p_\sigma(x_t) = \int q(x_t\mid x_0)\;p(x_0)\;dx_0. \tag{4.17}$$

<!-- definition 4.17: how noise is added, and what the density of noisy points is called -->
<!-- code 4.17: diffedu.core.path.VE -->

A noisy point *whose clean point is known* has a score that anybody can write down, by (4.3):

$$\nabla_{\!x_t}\log q(x_t\mid x_0) = -\frac{x_t - x_0}{\sigma^2} = -\frac{\varepsilon}{\sigma}. \tag{4.18}$$

**Mind the sign.** The density falls as $x_t$ leaves $x_0$, so the arrow points *back*. Published tutorials
print it without the minus. (If the data are also shrunk, as in chapter 5, $x_0$ becomes $\alpha x_0$; the
minus stays.)

But the walker meets noisy points whose clean point nobody knows; it needs the score of $p_\sigma$.
Differentiate the integral in (4.17). Only $q$ contains $x_t$, and $\nabla q = q\,\nabla\log q$; then
divide by $p_\sigma(x_t)$:

$$\nabla\log p_\sigma(x_t) = \int \nabla\log q(x_t\mid x_0)\;
\underbrace{\frac{q(x_t\mid x_0)\,p(x_0)}{p_\sigma(x_t)}}_{p(x_0\,\mid\,x_t)\ \text{(Bayes)}}\;dx_0
= \mathbb E\Big[-\frac{x_t - x_0}{\sigma^2}\,\Big|\,x_t\Big]. \tag{4.19}$$

The score of the noisy density is the *average of the known arrows* over all clean points that may be behind
$x_t$. And averages are what squared error finds: of all functions of $x_t$, the conditional mean has the
smallest mean squared distance to its target. So train $s(x_t)$ towards the known arrow. Write the target as
its mean, $\nabla\log p_\sigma$, plus a rest. The rest has mean zero given $x_t$, so the cross term is zero,
and

$$\mathbb E\,\tfrac12\Big\lVert s(x_t) + \frac{\varepsilon}{\sigma}\Big\rVert^2
= F(p_\sigma, s) + C_\sigma. \tag{4.20}$$

The left side is **denoising score matching**: no $\nabla\log p$, no trace, one forward pass. The constant
is the scatter of the targets around their mean. By (4.18) the target is $(x_0 - x_t)/\sigma^2$, and given
$x_t$ only $x_0$ scatters:

$$C_\sigma = \tfrac12\,\mathbb E\Big\lVert \frac{\varepsilon}{\sigma} + \nabla\log p_\sigma(x_t)\Big\rVert^2
= \frac{1}{2\,\sigma^4}\;\mathbb E\,\operatorname{tr}\operatorname{Cov}[x_0\mid x_t]. \tag{4.21}$$

It is what a perfect denoiser must still leave open. There is a second way to it: put $s = 0$ into (4.20).
Then the left side is $D/2\sigma^2$, since $\mathbb E\lVert\varepsilon\rVert^2 = D$, and

$$C_\sigma = \frac{D}{2\,\sigma^2} - \tfrac12\,\mathbb E\lVert\nabla\log p_\sigma(x_t)\rVert^2. \tag{4.22}$$

**Again the loss converges, and not to zero**; but this time to a positive number, which can be computed if
the data are known. It grows like $1/\sigma^2$ as $\sigma \to 0$: with little noise the teacher's arrows are
long and nearly random, and the answer is a small average of large numbers.
"""


# %%
def denoising_loss(score, x0, sigma, generator):
    """The left side of (4.20), one draw of noise for each point of x0 (B, D), shape (B,)."""
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    return 0.5 * (score(x0 + sigma * eps) + eps / sigma).square().sum(1)


sigma = torch.tensor(0.6, dtype=double)
x0, x_t = torch.randn(2, 40, 2, generator=seeded(10), dtype=double)
log_q = lambda x: torch.distributions.Normal(x0, sigma).log_prob(x)  # noqa: E731
verify("4.18", gradient(log_q, x_t), -(x_t - x0) / sigma**2, over="coordinates")

# In one dimension everything is a double sum, over clean points and noisy points.
line = torch.linspace(-7, 7, 1401, dtype=double)
cell_1 = line[1] - line[0]
clean = two_islands(3.0, 0.75)
noisy = GaussianMixture.isotropic(clean.means, math.sqrt(0.5**2 + 0.6**2), clean.weights)
joint = clean.log_prob(line[:, None]).exp()[:, None] * torch.exp(
    torch.distributions.Normal(line[:, None], sigma).log_prob(line[None, :])
)  # rows: x0, columns: x_t
arrow = -(line[None, :] - line[:, None]) / sigma**2
inner = slice(300, 1101)  # x_t from -4 to 4
average = (joint * arrow).sum(0) / joint.sum(0)
verify("4.19", average[inner], gradient(noisy.log_prob, line[:, None])[inner, 0], rtol=1e-7, over="points")

guess = -0.8 * line.sin()
denoising = 0.5 * (joint * (guess[None, :] - arrow) ** 2).sum() * cell_1**2
scatter = 0.5 * (joint * (arrow - average) ** 2).sum() * cell_1**2
of_noisy = noisy.log_prob(line[:, None]).exp() * cell_1
fisher = (of_noisy * fisher_divergence(guess[:, None], noisy.score(line[:, None]))).sum()
verify("4.20", denoising, fisher + scatter, rtol=1e-7)

# In the plane: the constant on a grid by two routes, the loss from samples.
x, cell = plane(9.0, 241)
level = VE(0.6, 5.0)
noised = exact_data.noised(level, 0.0)
weight = noised.log_prob(x).exp() * cell
w, means, covariances = exact_data.posterior(x, 0.0, level)
centred = means - torch.einsum("bk,bki->bi", w, means)[:, None]
trace = (w * (centred.square().sum(2) + covariances.diagonal(dim1=2, dim2=3).sum(2))).sum(1)
by_posterior = (weight * trace).sum() / (2 * sigma**4)
by_score = 2 / (2 * sigma**2) - 0.5 * (weight * noised.score(x).square().sum(1)).sum()
x0 = exact_data.sample(200_000, seeded(11))
verify_mean("4.21", denoising_loss(noised.score, x0, sigma, seeded(12)), by_posterior)
verify("4.22", by_score, by_posterior)
print(f"sigma = 0.6: the perfect score still pays {by_score:.3f}, arrows of zero pay {1 / 0.36:.3f}")

# %% [markdown]
r"""
In the package, denoising is `DenoisingLoss` with the prediction `SCORE`. Its convention is a mean over the
coordinates without the ½, so $D/2$ times it is ours:
"""

# %%
at_zero = lambda path, n, generator: torch.zeros(n, dtype=double)  # noqa: E731
packaged = DenoisingLoss(level, SCORE, at_zero)
for D in (2, 3):  # in the plane alone the factor would be 1, and could not be seen
    few = torch.randn(500, D, generator=seeded(13), dtype=double)
    theirs = D / 2 * packaged(lambda x, t: -x.sin(), few, seeded(14))
    assert torch.allclose(theirs, denoising_loss(lambda x: -x.sin(), few, sigma, seeded(14)))
print("denoising_loss is D/2 times diffedu's DenoisingLoss")

# %%
# A family of models: the data's mixture with the middles moved outwards by a factor.
factors = torch.linspace(0.6, 1.4, 33)
fisher, implicit, sliced, denoising = [], [], [], []
x0 = exact_data.sample(4000, seeded(15))
eps = torch.randn(x0.shape, generator=seeded(16), dtype=double)
signs = torch.randint(0, 2, x0.shape, generator=seeded(17)).double() * 2 - 1
x_t = x0 + sigma * eps
for factor in factors.tolist():
    model = GaussianMixture(exact_data.weights, factor * exact_data.means, noised.covariances).score
    fisher.append((weight * fisher_divergence(model(x), noised.score(x))).sum())
    with torch.no_grad():
        implicit.append(implicit_score_matching(model, x_t).mean())
        sliced.append(sliced_score_matching(model, x_t, signs).mean())
    denoising.append(0.5 * (model(x_t) + eps / sigma).square().sum(1).mean())
implicit, sliced, denoising, fisher = (torch.stack(one) for one in (implicit, sliced, denoising, fisher))
constant = 1 / sigma**2 - by_score  # half the mean square of the score, by (4.22)

figure, (ax,) = panels(1, 1, width=8.5, height=3.8)
ax.plot(factors, denoising, color=DATA)
ax.plot(factors, fisher, color=INK, linestyle="--")
ax.plot(factors, implicit, color=RED)
ax.plot(factors[::2], sliced[::2], "o", color=VELOCITY, markersize=4)
for height, name, color in (
    (by_score, r"its floor, $C_\sigma$", DATA),
    (0.0, "zero", INK),
    (-constant, r"its floor, $-C$ of $p_\sigma$", RED),
):
    ax.axhline(height, color=color, linewidth=0.9, linestyle=":")
    ax.text(0.6, height - 0.06, name, color=color, fontsize=10, va="top")
for curve, name, color in (
    (denoising, "denoising (4.20), samples", DATA),
    (fisher, "Fisher (4.6), exact", INK),
    (implicit, "implicit (4.10), samples;\ndots: sliced (4.16)", RED),
):
    ax.text(1.42, curve[-1], name, color=color, va="center")
ax.set(xlabel="the model's middles, in units of the true ones", ylabel="loss", xlim=(0.58, 1.41))
ax.set(ylim=(-2.6, 2.4), title="one valley at three heights")
best = [factors[one.argmin()].item() for one in (fisher, implicit, sliced, denoising)]
assert max(abs(b - 1) for b in best) < 0.06
print("lowest at a factor of", *[f"{b:.1f}" for b in best])
figure

# %% [markdown]
r"""
*Four losses of the same family of models, all on the noisy data $p_\sigma$ with $\sigma = 0.6$. They differ
by constants only (and by the scatter of 4,000 samples), and have their minimum at the same model. Dotted:
the floor of each.*

Which to use? Denoising is cheap, stable, and has no ridges to climb: at fixed $\sigma > 0$ its targets are
spread by the noise, and fresh noise comes free. What it learns is the score of *noisy* data. In this book
that will be no loss but the point.

## 4.6 Where there are no data

Time for the first try of the plan. A small network (three hidden layers of 64), 20,000 samples of the
islands, the sliced loss of (4.16), no noise. The true score is known, so we can look where the network is
wrong.
"""


# %%
def train_net(net, loss, points, steps, batch, seed=0):
    """A copy of net with trained (averaged) weights. The loop of diffedu.train is chapter 14's subject."""
    state = TrainState(net, TrainConfig(steps=steps, batch=batch, lr=2e-3, ema=0.99, seed=seed))
    for _ in train(state, lambda net, batch, generator: loss(net, *batch, generator), (points,)):
        pass
    return state.ema.net


def sliced(net, x, generator):
    v = torch.randint(0, 2, x.shape, generator=generator, device=x.device).to(x) * 2 - 1
    return sliced_score_matching(net, x, v)


points = data.sample(20_000, seeded(18)).to(device)
torch.manual_seed(0)
layers = [
    nn.Linear(2, 64),
    nn.SiLU(),
    nn.Linear(64, 64),
    nn.SiLU(),
    nn.Linear(64, 64),
    nn.SiLU(),
    nn.Linear(64, 2),
]
clean_net = train_net(nn.Sequential(*layers).to(device), sliced, points, steps=2000, batch=256)

fresh = data.sample(5000, seeded(19)).to(device)
there = data.to(device)
with torch.no_grad():
    F = fisher_divergence(clean_net(fresh), there.score(fresh)).mean()
    J = implicit_score_matching(clean_net, fresh).mean()
print(f"C = {C:.0f}: arrows of zero would have F = {C:.0f}")
print(
    "the network's F is below 1:",
    bool(F < 1),
    "  and J + C agrees with it within 3:",
    bool(abs(J + C - F) < 3),
)

# %%
x, _ = plane(4.2, 141)
x = x.float().to(device)
with torch.no_grad():
    guess, truth = clean_net(x), there.score(x)
log_p = there.log_prob(x)
bands = [(-5, 5), (-10, -5), (-20, -10), (-40, -20), (-80, -40)]
in_band, error = [], []
for low, high in bands:
    chosen = (log_p > low) & (log_p <= high)
    of_points = there.log_prob(points)
    in_band.append(int(((of_points > low) & (of_points <= high)).sum()))
    error.append(((guess - truth)[chosen].square().mean() / truth[chosen].square().mean()).sqrt().item())

figure, (left, right) = panels(1, 2, width=11, height=4.2)
relative = ((guess - truth).norm(dim=1) / truth.norm(dim=1).clamp(min=1.0)).clamp(max=1.0)
picture = left.imshow(
    relative.reshape(141, 141).T.cpu(), extent=(-4.2, 4.2) * 2, origin="lower", cmap="Oranges", vmin=0, vmax=1
)
left.scatter(*points[:1500].T.cpu(), s=2, color=DATA, linewidths=0)
square(left, 4.2)
left.grid(False)
figure.colorbar(picture, ax=left, label="error / length of the true arrow", shrink=0.85)
left.set_title("blue: the data")
places = range(len(bands))
right.bar(places, error, color=RED, width=0.7)
for k, (count, height) in enumerate(zip(in_band, error, strict=True)):
    right.text(k, height + 0.015, f"{count:,}\npoints" if k == 0 else f"{count:,}", ha="center", color=DATA)
right.set_xticks(places, ["above −5", "−10 to −5", "−20 to −10", "−40 to −20", "−80 to −40"], fontsize=9)
right.set(xlabel="log-density at the place", ylabel="relative error of the arrows", ylim=(0, 0.85))
right.set_title("blue: how many training points fell there")
assert error[0] < 0.2 < 0.3 < min(error[2:])
assert in_band[0] > 19_000
assert sum(in_band[2:]) < 10
print("training points where the log-density is below -10:", sum(in_band[2:]), "of 20,000")
print("relative error below 0.2 among the data, above 0.3 where it is below -10")
figure

# %% [markdown]
r"""
*Left: how wrong the learned arrows are. Right: the same by log-density, with the number of training points
in blue. The arrows are good where data are and invented where they are not.*

So two things go wrong with the plan, and they meet in the same place.

1. **The loss is blind where data are rare.** (4.6) weighs an error by $p(x)$. Of 20,000 points, two have
   ever asked what the arrow should be where the log-density is below $-10$. But a walker that starts from a
   wide cloud begins exactly there.
2. **Even exact arrows mix too slowly.** The middle panel of the first figure had no network in it. A walker
   goes to the island into whose catchment it was born. To change islands it would have to cross a valley
   where the density is smaller by many powers of ten (chapter 2). The proportions that come out are
   those of the catchments: the smallest island gets more than three times its share.

## 4.7 Noise of many sizes

Both troubles live in empty space, so fill it. Noise of size $\sigma$ spreads the data: $p_\sigma$ has no
empty valleys if $\sigma$ is as large as the distances between the islands. There arrows are learned well
everywhere, and walkers mix at once. But $p_\sigma$ is not what we want samples of. With small $\sigma$ it
is, and both troubles are back.

The way out is to want both: a *ladder* of noise levels, one network that is told the level, and a walk that
starts at the top and steps down (Song and Ermon 2019). At the top the walkers learn the proportions. As the
noise falls, details appear, and the walkers are already where they belong.

This can be said exactly. Let $\tau = \sigma^2$ and compare data and model while *both* receive more and
more noise. A Gaussian density obeys the heat equation $\partial_\tau p = \tfrac12\Delta p$ (chapter 3),
and so do $p_\sigma$ and $q_\sigma$, which are averages of Gaussians. Differentiate
$\mathrm{KL} = \int p\log(p/q)$ under the integral. With $r = p/q$, and since $\int \partial_\tau p = 0$,

$$\frac{d\,\mathrm{KL}}{d\tau} = \int \tfrac12\,\Delta p\,\log r - \int \tfrac12\,\Delta q\; r
= -\tfrac12\int \nabla p\cdot\nabla\log r + \tfrac12\int\nabla q\cdot\nabla r
= -\tfrac12\int p\,\lVert\nabla\log r\rVert^2 = -F(p_\sigma, \nabla\log q_\sigma). \tag{4.23}$$

(The second step integrates by parts, and the ends vanish as in (4.9). For the third write
$\nabla p = \nabla(r q) = r\nabla q + q\nabla r$ and $\nabla\log r = \nabla r/r$. The terms with
$\nabla q\cdot\nabla r$ cancel, and $q\lVert\nabla r\rVert^2/r = p\,\lVert\nabla\log r\rVert^2$ is left.)
The Fisher divergence is the *speed* at which noise wipes out a difference. At infinite noise nothing is
left of it. Integrate, and change the variable to $\log\sigma$, with $d\tau = 2\sigma^2\,d\log\sigma$:

$$\mathrm{KL}(p\,\Vert\,q) = \int_0^\infty F(p_\sigma, \nabla\log q_\sigma)\;d\sigma^2
= \int_{-\infty}^{\infty} 2\,\sigma^2\,F(p_\sigma, \nabla\log q_\sigma)\;d\log\sigma. \tag{4.24}$$

At any single level the Fisher divergence is half blind. Added up over *all* levels it is the KL divergence,
which sees everything.
"""

# %%
p, q = two_islands(6.0, 0.75), two_islands(6.0, 0.40)


def noisier(mixture, s):
    return GaussianMixture.isotropic(mixture.means, math.sqrt(0.5**2 + s**2), mixture.weights)


def fisher_at(s):
    points = (3 + 9 * math.sqrt(0.5**2 + s**2)) * torch.linspace(-1, 1, 4001, dtype=double)[:, None]
    return both_divergences(noisier(p, s), noisier(q, s), points, points[1] - points[0])


tau, small = 2.0, 1e-3
after, before = (fisher_at(math.sqrt(tau + d))[1] for d in (small, -small))
verify("4.23", (after - before) / (2 * small), -fisher_at(math.sqrt(tau))[0], rtol=1e-5)

log_sigma = torch.linspace(math.log(1e-3), math.log(1e5), 600, dtype=double)
speed = torch.stack([2 * s**2 * fisher_at(s)[0] for s in log_sigma.exp().tolist()])
verify("4.24", torch.trapezoid(speed, log_sigma), fisher_at(0.0)[1], rtol=1e-6)

# %%
# Two mistakes that a model of the islands may make: wrong proportions, or islands that are too wide.
wrong_shares = GaussianMixture(shares(plain_walk).double(), exact_data.means, exact_data.covariances)
too_wide = GaussianMixture(exact_data.weights, exact_data.means, 1.5 * exact_data.covariances)
levels = torch.logspace(-2, 2, 41, dtype=double)
curves = {"wrong proportions": [], "islands too wide": []}
for s in levels.tolist():
    x, cell = plane(5 + 6 * s, 141)
    level = VE(s, 1e3)
    p_noisy = exact_data.noised(level, 0.0)
    for name, model in zip(curves, (wrong_shares, too_wide), strict=True):
        F_level, _ = both_divergences(p_noisy, model.noised(level, 0.0), x, cell)
        curves[name].append((2 * s**2 * F_level).item())
x, cell = plane(6.0, 401)
figure, (ax,) = panels(1, 1, width=8.5, height=3.6)
for (name, curve), model, color, place in zip(
    curves.items(), (wrong_shares, too_wide), (DATA, RED), ((2.6, 0.185), (0.03, 0.04)), strict=True
):
    area = torch.trapezoid(torch.tensor(curve, dtype=double), levels.log())
    KL = both_divergences(exact_data, model, x, cell)[1]
    assert abs(area / KL - 1) < 0.01
    peak = levels[torch.tensor(curve).argmax()]
    print(f"{name}: area {area:.2f} nats, KL {KL:.2f} nats; highest at sigma = {peak:.1f}")
    ax.fill_between(levels, curve, color=color, alpha=0.15)
    ax.plot(levels, curve, color=color, linestyle="-" if color == DATA else "--")
    ax.text(*place, f"{name}:\narea = KL = {KL:.2f} nats", color=color)
ax.set(xscale="log", xlabel=r"noise level $\sigma$ (data units)", ylabel=r"$2\sigma^2 F$ (nats per e-fold)")
ax.set_title("each level sees its own kind of mistake")
figure

# %% [markdown]
r"""
*Two wrong models of the islands, seen through noise. Wrong proportions show at $\sigma \approx 1.6$, where
neighbours begin to merge; a wrong width shows at $\sigma \approx 0.2$. The
area under each curve is its KL divergence (4.24).*

That is the answer to the question of the first picture. At the smallest level, the arrows of the middle
panel know next to nothing about the proportions. That knowledge is in the arrows at noise some thirty times
as large.

### The ladder
The curve is drawn over $\log\sigma$, and each kind of structure takes its share of the axis: so should the
levels. Neighbours differ by a constant factor,

$$\sigma_i = \sigma_{\max}\Big(\frac{\sigma_{\min}}{\sigma_{\max}}\Big)^{\frac{i-1}{L-1}},
\qquad i = 1, \dots, L. \tag{4.25}$$

The largest should exceed the distances in the data, the smallest lie below its finest detail. Ours are
twelve, from 5 down to 0.05, each smaller than the last by a factor of 1.5. As a *path* this is `VE`
("variance exploding"): $\alpha = 1$, and $\sigma(t)$ geometric in $t$.

### One loss for all levels, and its weights
The network $s_\theta(x_t, \sigma)$ is trained with denoising score matching at all levels at once:

$$\mathcal L(\theta) = \frac1L\sum_{i=1}^{L}\lambda(\sigma_i)\;
\mathbb E\,\tfrac12\Big\lVert s_\theta(x_0+\sigma_i\,\varepsilon,\ \sigma_i)
+ \frac{\varepsilon}{\sigma_i}\Big\rVert^2. \tag{4.26}$$

<!-- definition 4.26: the training loss of NCSN; the weights are ours to choose -->
<!-- code 4.26: diffedu.core.loss.DenoisingLoss -->

**Before you read on.** Without weights ($\lambda = 1$), at which level will the network do its best work?
Think of the size of the target.

The target $\varepsilon/\sigma$ has mean square $D/\sigma^2$: from the top of our ladder to the bottom the
terms grow by a factor of $10^4$. An unweighted sum is a sum of its last terms. With $\lambda = \sigma^2$,

$$\sigma^2\,\Big\lVert s_\theta + \frac{\varepsilon}{\sigma}\Big\rVert^2
= \big\lVert \sigma s_\theta + \varepsilon\big\rVert^2 = \lVert\hat\varepsilon_\theta - \varepsilon\rVert^2,
\qquad \hat\varepsilon_\theta = -\sigma\,s_\theta, \tag{4.27}$$

all terms have one size. Song and Ermon chose $\lambda = \sigma^2$ for this reason. (4.24) gives a second:
on a ladder that is even in $\log\sigma$, it is the weight under which the sum over levels approximates the
KL divergence. (A network's fields need not be the scores of one density seen at all levels; then it is a
bound, Song et al. 2021.)

**Mind which form the weight is for.** (4.27) also says: a network that predicts the *noise* and is trained
on $\lVert\hat\varepsilon - \varepsilon\rVert^2$ already has $\lambda = \sigma^2$ built in. Who multiplies
*this* loss by $\sigma^2$ once more, because "the paper has $\lambda = \sigma^2$", trains with
$\lambda = \sigma^4$. It runs, the loss falls, and the fine levels are never learned.
"""

# %%
i = torch.arange(12, dtype=double)
verify("4.25", path(ladder.double()).sigma, 5 * 0.01 ** (i / 11), over="levels", rtol=1e-6)
print(
    "sigma from",
    f"{path(ladder).sigma[0]:g} to {path(ladder).sigma[-1]:g}, each by a factor of {0.01 ** (-1 / 11):.2f}",
)


def on_ladder(path, n, generator):
    """n times, each one of the twelve with equal probability."""
    return ladder.to(generator.device)[
        torch.randint(len(ladder), (n,), generator=generator, device=generator.device)
    ]


def sigma_squared(c):
    return c.sigma**2


arrows = lambda x, t: wrong_score(x)  # noqa: E731
as_noise = lambda x, t: -path(t).sigma[:, None] * wrong_score(x)  # noqa: E731
x0 = data.sample(1000, seeded(20))
score_form = DenoisingLoss(path, SCORE, on_ladder, sigma_squared)(arrows, x0, seeded(21))
noise_form = DenoisingLoss(path, EPS, on_ladder)(as_noise, x0, seeded(21))
verify("4.27", score_form, noise_form, rtol=1e-4, over="points")

# %% [markdown]
r"""
## 4.8 A noise-conditional score network

The network is told the point and the time, which stands for $\sigma$. Two lines help it. Points are divided
by their rough size $\sqrt{1+\sigma^2}$, so that its inputs have one scale. And its output is divided by
$\sigma$: by (4.27), what it has to produce is then $\sigma s = -\hat\varepsilon$, which has one scale as
well. Inside is an `MLP`, three residual layers of 64.
"""


# %%
class ScoreNet(nn.Module):
    """s(x_t, t), shape (B, 2), for x_t (B, 2) and t (B,)."""

    def __init__(self, path, width=64):
        super().__init__()
        self.path, self.mlp = path, MLP(2, t_max=path.t_max, width=width)

    def forward(self, x_t, t):
        sigma = self.path(t).sigma[:, None]
        return self.mlp(x_t / (1 + sigma**2).sqrt(), t) / sigma


def train_scores(weight, steps, batch):
    torch.manual_seed(0)
    loss = DenoisingLoss(path, SCORE, on_ladder, weight)  # (4.26) up to the factor D/2 = 1
    return train_net(ScoreNet(path).to(device), loss, points, steps, batch)


net = train_scores(sigma_squared, steps=2000, batch=512)

# %% [markdown]
r"""
### Judged against the truth
Two questions, for each level. How far is the loss above its floor $\sigma^2 C_\sigma$? And how far are the
arrows from the exact ones of *that* level? By (4.20) these are one question: the excess of the loss is
$\sigma^2 F$.
"""


# %%
def judge(net, n=20_000):
    """By level: the loss, its floor, sigma^2 F, and the relative error of the arrows."""
    rows = []
    for t in ladder.to(device):
        sigma, noised = path(t).sigma, there.noised(path, t)
        x0 = there.sample(n, seeded(22, device))
        eps = torch.randn(x0.shape, generator=seeded(23, device), device=device)
        x_t = x0 + sigma * eps
        with torch.no_grad():
            guess = net(x_t, t.expand(n))
        truth = noised.score(x_t)
        loss = 0.5 * (sigma * guess + eps).square().sum(1)
        floor = 0.5 * (sigma * truth + eps).square().sum(1)
        excess = sigma**2 * fisher_divergence(guess, truth)
        size = 0.5 * (sigma * truth).square().sum(1).mean()
        rows.append([loss.mean(), floor.mean(), excess.mean(), (excess.mean() / size).sqrt()])
    return torch.tensor(rows).T


losses, floors, excess, relative = judge(net)
for t, found in zip(ladder[::3], floors[::3], strict=True):  # the floor once more, without samples
    s = path(t).sigma.item()
    x, cell = plane(5 + 6 * s, 201)
    noised = exact_data.noised(VE(s, 1e3), 0.0)
    mean_square = (noised.log_prob(x).exp() * cell * noised.score(x).square().sum(1)).sum()
    assert abs(found - (1 - 0.5 * s**2 * mean_square)) < 0.02
assert ((losses - floors) - excess).abs().max() < 0.02
assert relative.max() < 0.25
assert relative[:8].max() < 0.12
print("arrows of zero would pay 1 at every level")
print("above the floor by less than 0.01 at every level:", bool(excess.max() < 0.01))
print("relative error of the arrows below 0.12 at the upper eight levels, below 0.25 at all")

# %%
ablation = {
    r"$\lambda = 1$": train_scores(lambda c: torch.ones_like(c.sigma), steps=800, batch=256),
    r"$\lambda = \sigma^2$": train_scores(sigma_squared, steps=800, batch=256),
    r"$\lambda = \sigma^4$": train_scores(lambda c: c.sigma**4, steps=800, batch=256),
}
errors = {name: judge(one, 4000)[3] for name, one in ablation.items()}
flat, right_one, steep = errors.values()
assert flat[0] > 8 * right_one[0]
assert steep[-1] > 3 * right_one[-1]
assert right_one.max() < 0.5

sigmas = path(ladder).sigma
figure, (left, right) = panels(1, 2, width=11.5, height=3.8)
left.plot(sigmas, losses, "o", color=RED, markersize=6)
left.plot(sigmas, floors, color=INK)
left.axhline(1, color=NOISE, linestyle=":")
left.text(0.05, 1.02, "arrows of zero", color=NOISE, va="bottom")
left.text(0.55, 0.5, "dots: the trained network\nline: the floor (exact score)", color=INK)
left.set(
    xscale="log", ylim=(0, 1.15), xlabel=r"noise level $\sigma$", ylabel="denoising loss, times $\\sigma^2$"
)
left.set_title("not to zero, but to the floor")
curve_panel(
    right,
    sigmas.flip(0),
    {name: one.flip(0) for name, one in errors.items()},
    xlabel=r"noise level $\sigma$",
    ylabel="relative error of the arrows",
    title="800 steps each, three weights",
    colors=(NOISE, DATA, GUIDED),
    label_curves=False,
)
right.set(xscale="log", yscale="log")
for name, color, place in zip(
    errors, (NOISE, DATA, GUIDED), ((2.2, 0.82), (0.15, 0.115), (0.08, 1.15)), strict=True
):
    right.text(*place, name, color=color)
figure

# %% [markdown]
r"""
*Left: the loss of the network at each level, and the floor below which no network can go. Right: the error
of the arrows after the same short training with three weights. $\lambda = 1$ neglects the large noise,
$\lambda = \sigma^4$ (the slip) the small noise.*

The floor is worth a second look. At $\sigma = 0.05$ it is near 1: seen from nearby, noise is unpredictable,
and a perfect network does hardly better than one that says nothing. A loss curve says little about quality
unless you know its floor.

### A slip in judging
A learned score at level $\sigma$ estimates $\nabla\log p_\sigma$, not $\nabla\log p$. Published evaluations
have compared it with the score of the *undiffused* density. Let us do that to a network without any error:
"""

# %%
t = torch.tensor(0.6)
noised = data.noised(path, t)
x_t = noised.sample(5000, seeded(24))
perfect = (exact(x_t, t) - x_t) / path(t).sigma ** 2  # by the exact denoiser; (4.30) will say why
against_own = (perfect - noised.score(x_t)).square().mean().sqrt()
against_clean = (perfect - data.score(x_t)).square().mean().sqrt()
size = perfect.square().mean().sqrt()
assert against_own < 1e-3 * size
print(f"sigma = {path(t).sigma:.1f}, error against the score of p_sigma: below 0.001 of an arrow's length")
print(f"against the clean data's: {against_clean / size:.0f} times an arrow's length")

# %% [markdown]
r"""
A perfect answer to one question is a bad answer to another. Always noise the density before you compare.

## 4.9 Annealed Langevin dynamics

Now walk. A Langevin step for $p_\sigma$, at temperature 1 (chapter 2), with a step size $h$ that belongs to
the level:

$$x \leftarrow x + h\, s_\theta(x, \sigma_i) + \sqrt{2h}\;z, \qquad h = c\,\sigma_i^2,
\qquad z \sim \mathcal N(0, I). \tag{4.28}$$

<!-- code 4.28: diffedu.sampling.sde.Langevin -->

**Mind the factors of two.** They come in pairs: $h$ goes with $\sqrt{2h}$. Song and Ermon write
$\tfrac{\alpha}{2}\,s + \sqrt{\alpha}\,z$, which is the same with $\alpha = 2h$. To take the arrow from one
text and the noise from another gives samples of $p^2$ or of $\sqrt p$ (exercise 4.7).

Why $h \propto \sigma^2$? The narrowest thing in $p_\sigma$ has variance $\sigma^2$ or more. On a Gaussian
of variance $v$ the step multiplies $x$ by $1 - h/v$ and adds variance $2h$; the variance that reproduces
itself solves $V = (1-h/v)^2\,V + 2h$:

$$V = \frac{v}{1 - h/2v}. \tag{4.29}$$

The error depends on $h/v$ alone, and $h = c\,\sigma^2 \le c\,v$ keeps it at about 5 per cent or less at
*every* level for $c = 0.1$.
"""


# %%
def annealed_langevin(denoiser, x, ladder, steps, c, generator):
    """steps of (4.28) at each time of the ladder, from its first to its last."""
    for t in ladder:
        sigma = denoiser.path(t).sigma
        h = c * sigma**2
        for _ in range(steps):
            score = (denoiser(x, t) - x) / sigma**2  # (4.30) solved for the score
            z = torch.randn(x.shape, generator=generator, device=x.device)
            x = x + h * score + (2 * h).sqrt() * z
    return x


ours = annealed_langevin(exact, start[:50], ladder, 50, 0.1, seeded(25))
# Every time 50 times; the last one is where the walk ends.
grid = torch.cat([ladder.repeat_interleave(50), ladder[-1:]])
theirs = sample(exact, Langevin(0.1), start[:50], grid, generator=seeded(25))
assert torch.allclose(ours, theirs, atol=1e-3)
print("annealed_langevin and diffedu's Langevin on a staying grid agree")

x_one = sample(exact, Langevin(0.1), start[:50], ladder[:2], generator=seeded(26))
z = torch.randn(50, 2, generator=seeded(26))
alpha = 2 * 0.1 * path(1.0).sigma ** 2  # the form of Song and Ermon
by_theirs = start[:50] + alpha / 2 * data.noised(path, 1.0).score(start[:50]) + alpha.sqrt() * z
verify("4.28", x_one, by_theirs, rtol=1e-4, over="coordinates")

V, v, h = torch.tensor(9.0, dtype=double), 0.7, 0.2
for _ in range(200):
    V = (1 - h / v) ** 2 * V + 2 * h
verify("4.29", V, v / (1 - h / (2 * v)))
print(f"c = 0.1 on the narrowest possible Gaussian: variance too large by {100 * (1 / (1 - 0.05) - 1):.0f} %")

# %% [markdown]
r"""
One last thing. The walk ends at $\sigma_{\min}$, so its points still carry noise of that size. The best
guess of what is under it comes out of (4.19): solve for the mean of $x_0$,

$$\mathbb E[x_0\mid x_t] = x_t + \sigma^2\,\nabla\log p_\sigma(x_t). \tag{4.30}$$

<!-- code 4.30: diffedu.core.denoiser.score -->

One more network call, without noise. This is **Tweedie's formula**, and chapter 9 is about it. It also says
how the package can treat the score network as a `Denoiser`: `NetworkDenoiser` does (4.30), and every solver
of the book can be run with it.
"""

# %%
x_t = exact_data.noised(path, 0.5).sample(200, seeded(27))
s = path(torch.tensor(0.5, dtype=double)).sigma
by_bayes = exact_data.posterior_mean(x_t, 0.5, path)
verify("4.30", by_bayes, x_t + s**2 * gradient(exact_data.noised(path, 0.5).log_prob, x_t), over="points")

learned = NetworkDenoiser(net, path, SCORE)
unnoised = NetworkDenoiser(lambda x, t: clean_net(x), path, SCORE)
runs = {"data": data.sample(2000, seeded(28))}
first = start.to(device)
with torch.no_grad():
    runs["no noise: 600 steps"] = sample(unnoised, Langevin(1.0), first, stay, generator=seeded(29, device))
    film, generator = (
        [first],
        seeded(30, device),
    )  # one generator for the whole walk: every kick is a fresh one
    for t in ladder.to(device):  # fifty steps at one level, a picture, the next level
        film.append(sample(learned, Langevin(0.1), film[-1], t.expand(51), generator=generator))
    runs["NCSN: 12 × 50 steps"] = learned(film[-1], ladder[-1].to(device))
reference = data.sample(2000, seeded(31))
perfect = floor(energy_distance, data.sample, 2000, generator=seeded(32), repeats=3)
assert abs(perfect.mean) + 3 * perfect.standard_deviation < 0.008
for name, x in runs.items():
    distance = energy_distance(x.cpu(), reference).value
    print(
        f"{name:20s} shares",
        *[f"{v:.1f}" for v in shares(x)],
        " energy distance",
        "below 0.008 (the floor)" if distance < 0.008 else f"{distance:.1f}",
    )
assert energy_distance(runs["NCSN: 12 × 50 steps"].cpu(), reference).value < 0.008

# %%
figure, axes = panels(2, 4, width=12, height=6.2)
for ax, k in zip(axes[:4], (0, 4, 6, 8), strict=True):
    ax.scatter(*film[k].cpu().T, s=2, color=NOISE if k == 0 else RED, alpha=0.5, linewidths=0)
    square(ax, 8.0 if k == 0 else 4.2, ylabel="")
    ax.set_title(
        "the start (mind the scale)" if k == 0 else rf"after $\sigma$ = {path(ladder[k - 1]).sigma:.2f}"
    )
show_islands(axes[4], film[12], r"after $\sigma$ = 0.05")
show_islands(axes[5], runs["NCSN: 12 × 50 steps"], "denoised once: NCSN")
show_islands(axes[6], runs["data"], "the data", DATA)
show_islands(axes[7], runs["no noise: 600 steps"], "learned without noise", GUIDED)
axes[0].set_ylabel("$x_2$")
axes[4].set_ylabel("$x_2$")
figure

# %% [markdown]
r"""
*The learned walk, level by level; then its result, the data, and the result of the network of section 4.6,
which was trained on clean data. The noise decides early how many walkers go where, and late how the islands
look.*

The plan works, at the second try. The same number of steps, a network of the same kind, the same data; the
difference is noise in training and in sampling.

## 4.10 Look for yourself

Left the exact field, right the learned one. The arrows are $\sigma s$, the negative of the expected noise,
since $s$ itself would grow a hundredfold along the slider.

**Before you move it**, two bets. First: at the left end the arrows end in three sinks, one in each island.
Raise the noise: at which $\sigma$ is only one sink left? Second: where is the learned field worst when the
noise is small, and does it matter for the walk of section 4.9?
"""

# %%
ScoreField(data, path, lambda x, t: net(x.to(device), t.to(device)).to(x), start=0.55)

# %%
figure, axes = panels(1, 3, width=11.5, height=3.8)
every = torch.linspace(-3.9, 3.9, 15)
tails = torch.cartesian_prod(every, every)
for ax, at in zip(axes, (0.0, 0.55, 0.9), strict=True):
    t = torch.tensor(at)
    sigma, noised = path(t).sigma, data.noised(path, t)
    with torch.no_grad():
        fields = noised.score(tails), net(tails.to(device), t.to(device).expand(len(tails))).cpu()
    for field, color, shift in zip(fields, (DATA, RED), (0.0, 0.06), strict=True):
        arrows = sigma * field
        arrows = arrows / (arrows.norm(dim=1, keepdim=True) / 3).clamp(min=1)
        ax.quiver(
            *(tails + shift).T, *arrows.T, color=color, angles="xy", scale_units="xy", scale=5.8, width=0.006
        )
    ax.scatter(*data.sample(300, seeded(33)).T, s=3, color=INK, alpha=0.5, linewidths=0)
    square(ax, 4.3, ylabel="$x_2$" if at == 0 else "")
    ax.grid(False)
    ax.set_title(rf"$\sigma$ = {sigma:.2f}")
figure

# %% [markdown]
r"""
*For readers without a kernel: $\sigma s$ at three levels, exact (blue) and learned (orange, drawn a little
aside). With little noise the learned arrows are wrong far from the data; with much noise the two fields
agree all over the picture.*

The first bet can be settled by walking uphill without noise. From each middle, go to the mean of the clean
points behind you, again and again (with (4.30): a step of $\sigma^2$ along the score), and count the places
where that ends.
"""

# %%
sinks = {}
for s in (0.5, 1.0, 1.1, 1.2, 1.3, 1.4, 2.0):
    x = exact_data.means
    for _ in range(500):
        x = exact_data.posterior_mean(x, 0.0, VE(s, 1e3))
    sinks[s] = int((torch.cdist(x, x) < 0.1).unique(dim=0).shape[0])
print("sinks by sigma:", sinks)

# %% [markdown]
r"""
Three up to $\sigma = 1.1$, one from 1.4 on: just below the level at which section 4.7 saw the
proportions best. Above it all walkers flow to one place; below it their islands part.

On the second bet: it does not matter. When the noise is small, no walker is far from the data any more; at
each level the network is asked where it was trained. That is what the ladder is for.

## 4.11 Exercises

`check` tells you what is wrong, `hint("4.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Four exercises come from the **errata museum**: slips that stood in published
tutorials, papers or code.
"""

# %%
for one in exercises(4):
    print(one)

# %% [markdown]
r"""
**Exercise 4.1 ★ — errata museum: the arrow.** The score of a noisy point whose clean point is known, for a
path that also shrinks the data, $x_t = \alpha x_0 + \sigma\varepsilon$; each example has its own $\alpha$
and $\sigma$. This function holds *two* mistakes.
"""


# %% tags=["exercise"]
def conditional_score(x_t, x0, alpha, sigma):
    """grad log q(x_t | x0), shape (B, D), from x_t and x0 (B, D), alpha and sigma (B,)."""
    return (x_t - alpha[:, None] * x0) / sigma[:, None]


# %%
check("4.1", conditional_score)

# %% [markdown]
r"""
**Exercise 4.2 ★ — other proportions.** Two islands, ten widths apart. The share of the left one is raised
from 20 % to 80 %. What happens to the arrows at a point in the middle of the left island: do they become
"fourfold", do they stay "the same", or do they "turn round"?
"""

# %% tags=["exercise"]
arrows_inside = ...

# %%
check("4.2", arrows_inside)

# %% [markdown]
r"""
**Exercise 4.3 ★ — to what does the loss converge?** Data $\mathcal N(0, 4 I)$ in three dimensions, noise
$\sigma = 0.5$. What is the smallest value of the denoising loss, the left side of (4.20)? (With its ½,
summed over coordinates.) Compute it; no training needed.
"""

# %% tags=["exercise"]
smallest_loss = ...

# %%
check("4.3", smallest_loss)

# %% [markdown]
r"""
**Exercise 4.4 ★★ — Hyvärinen's loss.** Write (4.10) for any score function that PyTorch can differentiate,
without looking back. It must be possible to train a network through the result.
"""


# %% tags=["exercise"]
def hyvarinen(score, x):
    """1/2 |s|^2 + div s at every point, shape (B,); score maps (B, D) to (B, D), x has shape (B, D)."""
    ...


# %%
check("4.4", hyvarinen)

# %% [markdown]
r"""
**Exercise 4.5 ★★ — along one line.** Sliced score matching as its authors first wrote it: the arrows too
are seen along $v$ only, $\tfrac12(v\cdot s)^2 + v\cdot\nabla(v\cdot s)$. One backward pass, whatever $D$
is. (Its mean over $v$ is the same. Which of the two would you expect to have the smaller variance?)
"""


# %% tags=["exercise"]
def sliced_along(score, x, v):
    """1/2 (v . s)^2 + v . grad (v . s), shape (B,); x and v have shape (B, D)."""
    ...


# %%
check("4.5", sliced_along)

# %% [markdown]
r"""
**Exercise 4.6 ★★ — errata museum: the weight.** A network predicts the noise. Its author read that NCSN
weighs the loss of a *score* with $\lambda(\sigma) = \sigma^2$, and meant to train with that weight, as in
(4.26). Mend the loss (with its ½, summed over coordinates).
"""


# %% tags=["exercise"]
def weighted_loss(eps_hat, eps, sigma):
    """The terms of (4.26) with lambda = sigma^2, shape (B,), from noises (B, D) and sigma (B,)."""
    return sigma**2 * 0.5 * ((eps_hat - eps) ** 2).sum(1)


# %%
check("4.6", weighted_loss)

# %% [markdown]
r"""
**Exercise 4.7 ★★ — errata museum: half a formula.** A Langevin step whose arrow comes from one text and
whose noise comes from another. Keep the meaning of $h$ in the arrow's term, and mend the step so that it
samples $p$. (As it stands, what does it sample from? The solution says.)
"""


# %% tags=["exercise"]
def langevin_step(score, x, h, z):
    """One step of Langevin dynamics for p, temperature 1; score maps (B, D) to (B, D), z is N(0, I)."""
    return x + h * score(x) + h**0.5 * z


# %%
check("4.7", langevin_step)

# %% [markdown]
r"""
**Exercise 4.8 ★★ — errata museum: the wrong examiner.** This function is meant to measure the mean squared
error of a learned score at time $t$, per point and summed over coordinates, without the ½. It would give a
perfect network a bad mark. `mixture` is the clean data's; `mixture.noised(path, t)` may help.
"""


# %% tags=["exercise"]
def score_error(net, mixture, path, t, x0, eps):
    """Mean of |s(x_t, t) - exact|^2, shape (); net maps x_t (B, D) and t (B,) to (B, D), t has shape ()."""
    x_t = path.add_noise(x0, eps, t)
    guess = net(x_t, t.expand(len(x_t)))
    return (guess - mixture.score(x_t)).square().sum(1).mean()


# %%
check("4.8", score_error)

# %% [markdown]
r"""
**Exercise 4.9 ★★ — the staircase.** The grid of times for annealed Langevin on a path: `levels` times,
equally spaced from `t_max` down to `t_min`, each one the *start* of exactly `steps` steps. `sample` takes
one step for each pair of neighbours in the grid, and evaluates the score at the first of the pair.
"""


# %% tags=["exercise"]
def annealed_times(path, levels, steps):
    """Times, shape (levels * steps + 1,), float32, falling from path.t_max to path.t_min."""
    ...


# %%
check("4.9", annealed_times)

# %% [markdown]
r"""
**Exercise 4.10 ★★★ — any exponential family.** Generalise (4.13). Let
$p(x) \propto e^{\theta\cdot\varphi(x)}$ with $K$ features $\varphi_k$. Then
$s = \sum_k \theta_k\nabla\varphi_k$ is linear in $\theta$ and $J$ quadratic. Derive the $\theta$ that
minimises $J$ over a sample, given the features' gradients and Laplacians at its points.
"""


# %% tags=["exercise"]
def fit_exponential_family(gradients, laplacians):
    """theta, shape (K,), from the features' gradients (N, K, D) and Laplacians (N, K) at N samples."""
    ...


# %%
check("4.10", fit_exponential_family)

# %% [markdown]
r"""
## 4.12 What the field does with it, and where this simplification breaks

- **Denoising won.** Implicit and sliced score matching are used where noise may not be added: to fit
  energy-based models, and to estimate scores of distributions that one can only sample from. Generative
  models use denoising; with the noise as target and $\lambda = \sigma^2$ it is the loss of DDPM (chapter
  7).
- **The ladder became a continuum.** Between neighbouring levels of an infinitely fine ladder runs a
  stochastic differential equation, and sampling means to solve it backwards (chapter 10). Then no level
  needs many Langevin steps: they survive as the *corrector* of predictor–corrector samplers. NCSN spent a
  thousand network calls per sample; modern solvers spend ten to fifty (chapter 11).
- **The weight stayed a question.** $\lambda = \sigma^2$ on a geometric ladder is likelihood (4.24); it is
  not what makes the best-looking images. Those put more weight on middle levels (chapters 6 and 15).
- **Choosing the ladder.** Song and Ermon (2020) derive two rules. $\sigma_{\max}$ is like the largest
  distance in the data. And the ratio of neighbours approaches 1 like $1 + \text{const}/\sqrt D$: in $D$
  dimensions noise of size $\sigma$ lies in a thin shell of radius $\sigma\sqrt D$, and neighbouring shells
  must overlap. In two
  dimensions a factor of 1.5 is fine; for images they take hundreds of levels.

Where it breaks. The exact examiner of section 4.8 is a luxury of toy data. A network's arrows need not be a
gradient of anything; nobody enforces it, and in practice it does little harm. Data that lie on a thin
surface have no score at all without noise: the density is infinite on it and zero beside it. For images
this is the normal case, and one more reason why the noise is not a nuisance but the method.

### References
Our $F$ and $J$ carry the factor ½, as Hyvärinen's; our $h$ is half of Song and Ermon's $\alpha$.
- Hyvärinen (2005), *Estimation of non-normalized statistical models by score matching*, section 2: (4.6)
  is his objective, (4.10) with (4.11) his theorem 1.
- Vincent (2011), *A connection between score matching and denoising autoencoders*: (4.20), and the proof in
  its appendix.
- Song, Garg, Shi, Ermon (2019), *Sliced score matching*: (4.16) is the variance-reduced form.
- Lyu (2009), *Interpretation and generalization of score matching*: (4.23), from de Bruijn's identity.
- Song, Ermon (2019), *Generative modeling by estimating gradients of the data distribution*: the two
  troubles of section 4.6 (section 3 there), (4.26), and algorithm 1, which is (4.28).
- Song, Ermon (2020), *Improved techniques for training score-based generative models*: the ladder, the
  network's output divided by $\sigma$, the last denoising step.
- Song, Durkan, Murray, Ermon (2021), *Maximum likelihood training of score-based diffusion models*: which
  weights make (4.26) a likelihood.
- Hutchinson (1990), *A stochastic estimator of the trace of the influence matrix for Laplacian smoothing
  splines*: (4.15) with signs.
"""
