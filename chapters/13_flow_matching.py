# %% [markdown]
"""
# 13. Flow matching and rectified flow

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/13_flow_matching.ipynb)

*Straight lines between random pairs cross everywhere; their average velocity flows without one crossing*

Take points of noise, and points of data. Join each noise point to a data point drawn at random, by a straight
line. The lines run through each other like the threads of a badly wound ball. Nobody would call that a map
from noise to data: at a crossing, which way do you go?

Now take the *average* of the directions at each place and time, and follow it.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from itertools import pairwise

import torch

from diffedu import VP, Cosine, DDIM, Euler, GaussianMixture, Heun, NetworkDenoiser, RectifiedFlow, VELOCITY
from diffedu import least_loss, sample, seeded, trajectory, uniform_times, velocity
from diffedu.data import moons, rings
from diffedu.evaluate import energy_distance, floor
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.flow import BetweenMixtures, FlowMatchingLoss, PairsDenoiser
from diffedu.flow import optimal_pairs, straightness, transport_cost
from diffedu.nn import MLP
from diffedu.show import DATA, INK, NOISE, panels, square
from diffedu.show import SCORE as ORANGE, VELOCITY as GREEN
from diffedu.show.widgets import ReflowExplorer
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
double = torch.float64
straight = RectifiedFlow()  # x_t = (1 - t) x0 + t x1: data at t = 0, the other end at t = 1


def run(flow, start, steps, solver=Heun()):  # noqa: B008
    """Follow a flow from t = 1 to 0: states (steps + 1, B, D) and their times."""
    times = uniform_times(flow.path, steps, end=0, dtype=start.dtype, device=start.device)
    return torch.stack([x for _, x in trajectory(flow, solver, start, times)]), times


# %%
two = GaussianMixture.isotropic(torch.tensor([[-1.5], [1.2]]), 0.25, torch.tensor([0.35, 0.65]))
x1 = torch.randn(70, 1, generator=seeded(0))
x0 = two.sample(70, seeded(1))
states, times = run(two.denoiser(straight), x1, 100)

figure, axes = panels(1, 3, width=13, height=3.6, share=True)
drawings = {
    "random pairs": (torch.stack([x1, x0]), torch.tensor([1.0, 0.0]), NOISE),
    "the average of their directions": (states, times, GREEN),
    "its ends, joined by lines": (states[[0, -1]], torch.tensor([1.0, 0.0]), ORANGE),
}
for ax, (name, (lines, at, color)) in zip(axes, drawings.items(), strict=True):
    ax.plot(at, lines[..., 0], color=color, linewidth=1, alpha=0.6)
    ax.scatter(torch.ones(70), lines[0], s=9, color=NOISE, zorder=3)
    ax.scatter(torch.zeros(70), lines[-1], s=9, color=DATA, zorder=3)
    ax.set(xlim=(1.04, -0.04), ylim=(-3, 3), xlabel="time t: noise at 1, data at 0", title=name)
axes[0].set_ylabel("position x")
order = [line.flatten().argsort() for line in (x1, states[-1], x0)]
assert torch.equal(order[0], order[1])  # no trajectory overtakes another
assert not torch.equal(order[0], order[2])
figure

# %% [markdown]
r"""
*Left: seventy pairs, drawn at random and joined by lines, which cross everywhere. Middle: the same starts,
following the average direction. No two paths cross, and they still end on the two lumps of data in the right
proportions. Right: start and end of each path of the middle, joined by lines. These do not cross, and a line
is followed in one step.*

From left to middle is **flow matching**. From middle to right is **reflow**. Well-known image generators
of 2024 are trained in the first way, and there is less to it than to anything we did before: no noise
schedule, no Markov chain, no score.

**Before you read on.** Why should the average of directions lead to the data at all? At a crossing half
of the lines go up and half go down; the average goes nowhere, and follows *none* of the lines. Guess: do the
points of the middle picture have the right distribution at half time only, at the end only, at all times, or
not quite at any?

**You will be able to**
- prove that averaged velocities keep all distributions, for any pairs and any interpolant, and check it;
- write the loss in four lines, say what it can never learn, and compute that in closed form;
- turn a flow into a score and back, know the limits at both ends, and when there is no score to be had;
- choose pairs (independent, minibatch optimal transport, reflow), and measure cost, straightness and quality;
- say what reflow guarantees, what it doesn't, and what is lost on curved interpolants;
- carry one data set into another, with no noise anywhere.

**You need** chapter 9 (velocity as a prediction), the continuity equation of chapter 3 (3.14), and from
chapter 10 the probability-flow ODE. **Time**: 75 minutes to read, under a minute to run, three hours with
the exercises.

**Time runs from the data.** In this book data stands at $t = 0$ and a sampler walks from $t = 1$ down to 0.
The two papers of this chapter, Lipman et al. (2023) and Liu et al. (2023), run the other way: noise at 0,
data at 1. Section 13.3 converts, and shows what half a conversion does.

## 13.1 A cloud in a velocity field

A velocity field $u(x, t)$ says how fast, and where to, a particle moves that is at $x$ at time $t$:

$$\frac{dz_t}{dt} = u(z_t, t). \tag{13.1}$$
<!-- definition 13.1: the flow of a velocity field -->

Let the start $z_1$ be random. Then we have a cloud. How does its density change? Ask first for something
easier: how does an average over the cloud change, of some smooth test function $\varphi$ that vanishes far
out? Along each path the chain rule holds, and averages go along:

$$\frac{d}{dt}\,\mathbb E\,\varphi(z_t) = \mathbb E\big[\nabla\varphi(z_t)\cdot u(z_t, t)\big]. \tag{13.2}$$

Write both sides with the density $p_t$ of $z_t$, and integrate by parts on the right (nothing is left at
infinity, because $\varphi$ vanishes there): $\int\varphi\,\partial_t p_t\,dx = \int\nabla\varphi\cdot
u\,p_t\,dx = -\int\varphi\;\nabla\!\cdot(p_t\,u)\,dx$. This holds for *every* $\varphi$, so the factors of
$\varphi$ are equal:

$$\partial_t\, p_t + \nabla\!\cdot(p_t\, u) = 0. \tag{13.3}$$

It is the continuity equation, (3.14) in space: what is lost here has gone next door. Read it the other way
round and it becomes a tool. *Suppose* densities $p_t$ satisfy (13.3) with a field $u$, smooth enough for
(13.1) to have one solution from each start. *Then* a cloud that has density $p_1$ at the start has density
$p_t$ ever after. (A linear transport equation with such a field has one solution.) So we do not
have to follow particles to know where they will be. We have to find a field that fits the densities.

Take our densities: a letter Z made of three Gaussian bars, mixed with noise along $x_t = (1-t)\,x_0 +
t\,\varepsilon$. The density is a mixture at every $t$, and the velocity is chapter 9's, $\mathbb
E[\varepsilon - x_0\mid x_t]$. Does (13.3) hold?
"""


# %%
def letter(turn):
    """Three bars, as in a Z, turned by an angle."""
    angle = torch.tensor([0.0, math.pi / 4, 0.0], dtype=double) + turn
    along = torch.stack([angle.cos(), angle.sin()], dim=1)
    across = torch.stack([-angle.sin(), angle.cos()], dim=1)
    frame = torch.stack([along, across], dim=2)
    size = torch.tensor([[0.70, 0.1], [0.85, 0.1], [0.70, 0.1]], dtype=double) ** 2
    centre = 1.3 * torch.tensor([-math.sin(turn), math.cos(turn)], dtype=double)
    means = torch.stack([centre, 0 * centre, -centre])
    return GaussianMixture(
        torch.tensor([0.3, 0.4, 0.3], dtype=double), means, frame @ torch.diag_embed(size) @ frame.mT
    )


Z64, N64 = letter(0.0), letter(math.pi / 2)  # a Z that lies on its side is an N
Z, N = Z64.to(dtype=torch.float32), N64.to(dtype=torch.float32)


def derivative(function, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def divergence_of(field, x):
    x = x.detach().requires_grad_()
    value = field(x)
    return sum(
        torch.autograd.grad(value[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])
    )


# (13.2), on a cloud of three thousand points in the exact flow
exact64 = Z64.denoiser(straight)
t, h = 0.6, 1e-4
cloud = Z64.noised(straight, t).sample(3000, seeded(2))
bump = lambda x: torch.exp(-(x - 0.3).square().sum(1))  # noqa: E731
ahead, back = (
    Heun().step(exact64, cloud, torch.tensor(t), torch.tensor(t + d, dtype=double), (), cloud)[0]
    for d in (h, -h)
)
verify(
    "13.2",
    (bump(ahead) - bump(back)).mean() / (2 * h),
    (derivative(bump, cloud) * velocity(exact64, cloud, t)).sum(1).mean(),
    rtol=1e-5,
    over="averages",
)  # a difference quotient, so 1e-5

# (13.3), on a lattice of the plane
line = torch.linspace(-2.5, 2.5, 41, dtype=double)
lattice = torch.cartesian_prod(line, line)
rates, outflows = [], []
for t in (0.15, 0.5, 0.9):
    density = lambda x, t=t: Z64.noised(straight, t).log_prob(x).exp()  # noqa: E731
    rate = (density(lattice, t + h) - density(lattice, t - h)) / (2 * h)
    outflow = divergence_of(lambda x, t=t: density(x)[:, None] * velocity(exact64, x, t), lattice)  # noqa: B023
    rates.append(rate)
    outflows.append(outflow)
verify("13.3", torch.cat(rates), -torch.cat(outflows), rtol=1e-5, over="points, at three times")

# %%
figure, axes = panels(1, 4, width=13, height=3.5)
line = torch.linspace(-3, 3, 121, dtype=double)
fine = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
coarse = torch.cartesian_prod(line[6::12], line[6::12])
for ax, t in zip(axes, (0.97, 0.6, 0.3, 0.05), strict=True):
    density = Z64.noised(straight, t).log_prob(fine).exp().reshape(121, 121)
    ax.imshow(density.sqrt(), extent=(-3, 3, -3, 3), origin="lower", cmap="Blues", vmin=0, vmax=0.75)
    arrows = -velocity(exact64, coarse, t)
    seen = Z64.noised(straight, t).log_prob(coarse) > math.log(3e-3)
    ax.quiver(
        *coarse[seen].T, *arrows[seen].T, color=GREEN, angles="xy", scale_units="xy", scale=4.5, width=0.007
    )
    square(ax, 3, ylabel="$x_2$" if t == 0.97 else "")
    ax.grid(visible=False)
    ax.set_title(f"t = {t}")
figure

# %% [markdown]
r"""
*Blue: the density $p_t$, from noise (left) to data (right); its square root is shown, so that the faint
parts can be seen. Green: which way the sampler goes, that is $-u$, where the density is not negligible. At
the noisy end all arrows point to one place, the mean of the data. Near the data they point away from it.
Section 13.4 explains both.*

## 13.2 The theorem of the average

That example had noise at one end, and chapter 9 had handed us its velocity. Let us start again, from any
pairs at all. Let $(x_0, x_1)$ be random, with *any* joint distribution: a **coupling**. $x_0$ is
distributed as the data; $x_1$ as whatever we like to start from; how they hang together is our choice. Join
them by an **interpolant**

$$x_t = \alpha(t)\, x_0 + \sigma(t)\, x_1, \qquad \dot x_t = \dot\alpha(t)\, x_0 + \dot\sigma(t)\, x_1,
\tag{13.4}$$
<!-- definition 13.4: the interpolant and its velocity along one pair; a dot is a derivative by t -->

with $\alpha(0) = \sigma(1) = 1$ and $\alpha(1) = \sigma(0) = 0$. The straight one has $\alpha = 1-t$,
$\sigma = t$, and $\dot x_t = x_1 - x_0$, the same at all times.

Along a pair the velocity is known, but it depends on *which* pair. A particle at $x$ does not know on whose
line it stands. So give it the average over all pairs that pass there:

$$u(x, t) = \mathbb E\big[\dot x_t \,\big|\, x_t = x\big]. \tag{13.5}$$
<!-- definition 13.5: the marginal velocity -->
<!-- code 13.5: diffedu.core.denoiser.velocity -->

**Theorem.** *If $z_1$ is distributed as $x_1$ and follows (13.1) with the field (13.5), then $z_t$ is
distributed as $x_t$, at every $t$. In particular $z_0$ is distributed as the data.*

The proof has three lines. Take a test function, and differentiate its average along the *pairs*:

$$\frac{d}{dt}\,\mathbb E\,\varphi(x_t) = \mathbb E\big[\nabla\varphi(x_t)\cdot\dot x_t\big]
= \mathbb E\Big[\nabla\varphi(x_t)\cdot\mathbb E\big[\dot x_t \mid x_t\big]\Big]
= \mathbb E\big[\nabla\varphi(x_t)\cdot u(x_t, t)\big]. \tag{13.6}$$

The first step is the chain rule, pair by pair. The second is the law of total expectation: average first
over all pairs with the same $x_t$, then over $x_t$. The factor $\nabla\varphi(x_t)$ is fixed in the inner
average, because it depends on $x_t$ alone. That is the whole trick. The third is (13.5).

Compare with (13.2): the law of $x_t$ obeys the same equation as a cloud that flows along $u$. So it
satisfies the continuity equation (13.3), and since that has one solution, the two laws agree:

$$\boxed{\ z_t \;\overset{\text{law}}{=}\; x_t \quad\text{for all } t\ } \tag{13.7}$$

**Look at what was not used.** Not that $x_1$ is Gaussian. Not that $x_0$ and $x_1$ are independent. Not
that the line is straight. The average erases who belongs to whom, and keeps where they all are. (So the
answer to the question above is: at all times. What *is* different is the joint law of two times. Pairs are
re-paired.)

One condition was used: that (13.1) has one solution from each start. For that $u$ must be smooth in $x$. It
is, if one end, *given the other*, is still smeared out by something smooth, as independent noise is. With
noise it fails near $t = 0$ only, when the data has sharp edges; then one stops just before. (Smooth ends
alone are not enough: for $\rho\to-1$ in exercise 13.7 all lines run through one point.)

To check (13.6) we need a $\varphi$ whose average is known. Take a wave, $\varphi(x) = \cos(k\cdot x)$. (It
does not vanish far out; the density does, and that serves as well.) Its average over a Gaussian is
$e^{-k\cdot Ck/2}\cos(k\cdot m)$, which is exact for a mixture.
"""

# %%
wave = torch.tensor([0.9, -0.6], dtype=double)


def wave_average(mixture):
    damping = torch.exp(-0.5 * torch.einsum("i,kij,j->k", wave, mixture.covariances, wave))
    return (mixture.weights * damping * torch.cos(mixture.means @ wave)).sum()


def pairs_at(n, t, seed):
    """n pairs of the Z and noise, where they are at time t, and how fast they move."""
    x0 = Z64.sample(n, seeded(seed))
    x1 = torch.randn(n, 2, generator=seeded(seed + 1), dtype=double)
    return (1 - t) * x0 + t * x1, x1 - x0


t, h = 0.35, 1e-5
rate = (wave_average(Z64.noised(straight, t + h)) - wave_average(Z64.noised(straight, t - h))) / (2 * h)
x_t, x_dot = pairs_at(200_000, t, 10)
slope = -wave * torch.sin(x_t @ wave)[:, None]  # the gradient of the wave
verify_mean("13.6", (slope * x_dot).sum(1), rate)
verify_mean("13.6", (slope * velocity(exact64, x_t, t)).sum(1), rate)

half, end = run(exact64, torch.randn(4000, 2, generator=seeded(12), dtype=double), 60)[0][[30, 60]]
verify_mean("13.7", torch.cos(half @ wave), wave_average(Z64.noised(straight, 0.5)))
verify_mean("13.7", torch.cos(end @ wave), wave_average(Z64))

# %% [markdown]
r"""
### An oracle for any pairs
For pairs $(x_0^i, x_1^i)$, finitely many, the average (13.5) can be computed without any network. Give each
pair a little width first: move both ends by the *same* Gaussian shift $j \sim \mathcal N(0, h^2 I)$. The
lines become tubes, and at $(x, t)$ we have to ask how probable it is to be in tube $i$. By Bayes' rule, on
the straight path,

$$u(x, t) = \sum_i w_i(x, t)\,\big(x_1^i - x_0^i\big), \qquad
w_i \propto \exp\Big(-\frac{\lVert x - (1-t)\,x_0^i - t\,x_1^i\rVert^2}{2h^2}\Big), \quad \sum_i w_i = 1.
\tag{13.8}$$
<!-- code 13.8: diffedu.flow.PairsDenoiser -->

A softmax over lines. The shift has dropped out of $x_1 - x_0$, which is why it is put on both ends. This is
the flow that a perfect network would learn from the jittered pairs (Tong et al., 2024, train on such tubes).
We shall use it as we use the mixture oracle: to see what is true before asking what is learnt. It costs one
softmax over all pairs, so it is no way to draw pictures, but it is exact for two thousand points in the
plane.
"""


# %%
def tube_velocity(x, t, x0, x1, h):
    """(13.8): the mean velocity of jittered pairs, shape (B, D), at x (B, D) and a number t."""
    lines = (1 - t) * x0 + t * x1
    weight = torch.softmax(-(torch.cdist(x, lines) ** 2) / (2 * h**2), dim=1)
    return weight @ (x1 - x0)


a, b = Z64.sample(300, seeded(13)), N64.sample(300, seeded(14))
x = torch.randn(50, 2, generator=seeded(15), dtype=double)
verify(
    "13.8",
    tube_velocity(x, 0.7, a, b, 0.2),
    velocity(PairsDenoiser(a, b, straight, 0.2), x, 0.7),
    over="coordinates",
)

# %%
ends = torch.tensor([[-1.0], [1.0]])
crossing = PairsDenoiser(ends, -ends, straight, 0.22)  # two pairs that exchange their places
start = torch.cat([e + 0.22 * torch.linspace(-1.6, 1.6, 9)[:, None] for e in ends])
states, times = run(crossing, start, 200)
bars = torch.cartesian_prod(torch.linspace(0.02, 0.98, 17), torch.linspace(-1.5, 1.5, 13))
field = velocity(crossing, bars[:, 1:], bars[:, 0])

figure, (left, middle, right) = panels(1, 3, width=13, height=3.6)
for sign, color in ((1, DATA), (-1, ORANGE)):
    for shift in start[:9] + 1:
        left.plot([1, 0], sign * torch.tensor([1.0, -1.0]) + shift, color=color, linewidth=1)
left.set_title("two tubes of pairs")
middle.quiver(
    *bars.T,
    -torch.ones(len(bars)),
    -field[:, 0],
    color=GREEN,
    angles="xy",
    scale_units="xy",
    scale=18,
    width=0.005,
)
middle.set_title("the average velocity")
right.plot(times, states[:, :9, 0], color=ORANGE, linewidth=1)
right.plot(times, states[:, 9:, 0], color=DATA, linewidth=1)
right.set_title("its flow")
for ax in (left, middle, right):
    ax.set(xlim=(1.03, -0.03), ylim=(-1.7, 1.7), xlabel="time t")
left.set_ylabel("position x")
assert torch.equal(states[0].sign(), states[-1].sign())
figure

# %% [markdown]
r"""
*Left: all pairs cross in the middle. Middle: there the upward and the downward half cancel, and the average
velocity is zero. Right: the flow bounces. At each time as many points are at each place as on the left, but
whoever started above has stayed above. The pairs have been exchanged where they met.*

An ODE cannot do otherwise: two paths that met at a point would share their whole future and past. So a flow
**uncrosses** its pairs. Keep this for section 13.6.

## 13.3 Learning it, in four lines

We would like a network $v(x, t)$ close to $u$, that is a small

$$L_{\mathrm{FM}}(v) = \mathbb E\,\lVert v(x_t, t) - u(x_t, t)\rVert^2, \tag{13.9}$$
<!-- definition 13.9: the flow matching loss; t is uniform on (0, 1) -->

but $u$ is an average over all pairs through a point, and nobody can compute it for pictures. What we do
have is one pair at a time. So let us be bold and put the velocity of the *pair* in its place:

$$L_{\mathrm{CFM}}(v) = \mathbb E\,\lVert v(x_t, t) - \dot x_t\rVert^2. \tag{13.10}$$
<!-- definition 13.10: the conditional flow matching loss -->
<!-- code 13.10: diffedu.flow.FlowMatchingLoss -->

**Before you read on.** The target now contradicts itself: at a crossing the network is told "up" and "down"
at the same place. Is the least value of this loss zero? And what will the network say there?

Write $v - \dot x_t = (v - u) + (u - \dot x_t)$ and expand the square. The cross term is $2\,\mathbb E[(v -
u)\cdot(u - \dot x_t)]$. Average over the pairs with the same $(x_t, t)$ first: $v - u$ is fixed, and $u -
\dot x_t$ has the mean zero, by (13.5). So it is gone, and

$$L_{\mathrm{CFM}}(v) = L_{\mathrm{FM}}(v) + \mathcal V, \qquad
\mathcal V = \mathbb E\,\lVert \dot x_t - u(x_t, t)\rVert^2. \tag{13.11}$$

So the least value is not zero but $\mathcal V$, and it is reached by $v = u$: at a crossing the network
says the average. $\mathcal V$ does not contain the network. It is the variance of the velocities that meet
at one place: what *cannot* be learnt, the height at which a perfect training curve stops. Don't read
quality from the height of the curve; read it from the distance to $\mathcal V$. For one Gaussian it has a
closed form. Let $x_0
\sim \mathcal N(m, s^2 I)$ in $D$ dimensions and $x_1$ independent standard noise. Given $x_t$, the variance
of each coordinate of $\dot x_t$ is $s^2/((1-t)^2s^2 + t^2)$ (both ends are Gaussian; exercise 13.7 does
this in general). Then, with $q = t/(1-t)$,

$$\mathcal V = D\int_0^1\frac{s^2\,dt}{(1-t)^2 s^2 + t^2} = D\, s^2\int_0^\infty\frac{dq}{s^2 + q^2}
= \frac{\pi}{2}\, s\, D. \tag{13.12}$$

Since the two losses differ by a constant, they have the same gradient:

$$\nabla_{\!\theta}\, L_{\mathrm{CFM}} = \nabla_{\!\theta}\, L_{\mathrm{FM}}. \tag{13.13}$$

Training on contradictions is training on the truth. It only takes longer: each gradient is noisier.
"""

# %%
s, n = 0.5, 200_000
blob = GaussianMixture.single(torch.tensor([1.0, -0.5], dtype=double), s**2 * torch.eye(2, dtype=double))
rng = seeded(16)
t = torch.rand(n, generator=rng, dtype=double)
x0, x1 = blob.sample(n, rng), torch.randn(n, 2, generator=rng, dtype=double)
x_t, x_dot = (1 - t)[:, None] * x0 + t[:, None] * x1, x1 - x0
u = velocity(blob.denoiser(straight), x_t, t)
v = torch.tanh(x_t) * t[:, None]  # any network will do: here a bad one
verify_mean("13.11", (v - x_dot).square().sum(1) - (v - u).square().sum(1), math.pi / 2 * s * 2)

nodes = (torch.arange(20_000, dtype=double) + 0.5) / 20_000
left = least_loss(blob, straight, VELOCITY, nodes, seeded(17)).mean() * 2  # from the posterior's covariance
verify("13.12", left, math.pi / 2 * s * 2, rtol=1e-7)

features = torch.cat([x_t, t[:, None] * x_t, torch.sin(x_t)], dim=1)  # a network linear in its weights
theta = torch.linspace(-1, 1, 12, dtype=double).reshape(2, 6)
both = [2 * (features @ theta.T - y)[:, :, None] * features[:, None, :] for y in (x_dot, u)]
few = slice(0, 20_000)
verify_mean("13.13", both[0][few], both[1][20_000:].mean(0))
noisier = (both[0].var(0) / both[1].var(0)).mean().sqrt()
print(f"one gradient of the pairs is {noisier:.1f} times as noisy as one of the average velocity")


# %% [markdown]
r"""
The whole algorithm, and that it is the one of the package:
"""


# %%
def flow_matching(net, x0, x1, rng):
    """(13.10) on the straight interpolant: one value an example, a mean over the axes."""
    t = straight.t_min + (1 - straight.t_min) * torch.rand(len(x0), generator=rng, device=x0.device)
    x_t = (1 - t[:, None]) * x0 + t[:, None] * x1
    return (net(x_t, t) - (x1 - x0)).square().mean(1)


probe = lambda x, t: torch.sin(3 * x) + t[:, None]  # noqa: E731
a, b = torch.randn(2, 64, 2, generator=seeded(18))
assert torch.equal(
    flow_matching(probe, a, b, seeded(19)), FlowMatchingLoss(straight)(probe, a, b, seeded(19))
)
print("flow_matching is diffedu.flow.FlowMatchingLoss on the straight path")

# %% [markdown]
r"""
### A real reader's bug
Someone asked for help with this code: it trains, the loss goes down, and all samples are one blob. In the
line of the network stood `net(x1, t)`: the starting point was fed in, instead of $x_t$.

**Before you read on.** What does the network learn? And so where does every sample land?

It sees $x_1$ and must guess $x_1 - x_0$. With independent pairs $x_1$ says nothing of $x_0$, so the best
guess is $x_1 - \bar x_0$, with $\bar x_0$ the mean of the data. Then the sampler asks it at $z_t$, and gets
$u = z_t - \bar x_0$. That is a linear ODE. From $t = 1$ down to 0,

$$z_0 = \bar x_0 + e^{-1}\,(z_1 - \bar x_0): \tag{13.14}$$

the noise, shrunk by $e$, around the mean. The loss does fall: from $\mathbb E\lVert x_1 - x_0\rVert^2$ to
the variance of the data, where it stays. Two numbers show it. The variance of the data is a mean over the
data set. $\mathcal V$ is known for toy data such as ours, where every loss should first be tried.
"""

# %%
centre = Z64.mean


class ShownTheStart:
    """The best answer of a network that is trained on x1 in place of x_t."""

    def __init__(self):
        self.path = straight

    def __call__(self, x, t):
        return x - t * (x - centre)  # x0_hat = x_t - t u


start = torch.randn(500, 2, generator=seeded(20), dtype=double)
verify(
    "13.14",
    run(ShownTheStart(), start, 300)[0][-1],
    centre + (start - centre) / math.e,
    rtol=1e-4,
    over="coordinates",
)

points = Z.sample(8000, seeded(21)).to(device)


def learn(loss, data, steps, width=64, seed=0):
    """The running average of the weights, and the loss of each step."""
    torch.manual_seed(seed)
    net = MLP(2, t_max=1.0, width=width, depth=2).to(device)
    state = TrainState(net, TrainConfig(steps=steps, batch=256, lr=4e-3, ema=0.98, warmup=50, seed=seed))
    curve = [done.loss for done in train(state, loss, data)]
    return state.ema.net.eval(), curve


def with_noise(loss):
    def fresh(net, batch, rng):
        return loss(net, batch[0], torch.randn(batch[0].shape, generator=rng, device=device), rng)

    return fresh


def slipped(net, x0, x1, rng):
    t = torch.rand(len(x0), generator=rng, device=device)
    return (net(x1, t) - (x1 - x0)).square().mean(1)


nets = {
    "right": learn(with_noise(flow_matching), (points,), 300),
    "slipped": learn(with_noise(slipped), (points,), 300),
}
start = torch.randn(1500, 2, generator=seeded(22)).to(device)
clouds = {
    name: run(NetworkDenoiser(net, straight, VELOCITY), start, 30)[0][-1].cpu()
    for name, (net, _) in nets.items()
}
variance = Z64.covariance.trace().item() / 2  # per axis, as in the loss
lowest = least_loss(Z64, straight, VELOCITY, nodes, seeded(23)).mean().item()
spread = clouds["slipped"].std(0).mean().item()
print(f"slipped: the samples' standard deviation is {spread:.1f}; noise shrunk by e has {1 / math.e:.1f}")
assert abs(spread - 1 / math.e) < 0.1
late = {name: sum(curve[-100:]) / 100 for name, (_, curve) in nets.items()}
assert abs(late["slipped"] - variance) < 0.1
assert abs(late["right"] - lowest) < 0.15
assert late["slipped"] < late["right"]
print("the slipped network has the lower loss of the two")

# %%
figure, (left, middle, right) = panels(1, 3, width=13, height=3.8)
for ax, name, color in ((left, "right", GREEN), (middle, "slipped", ORANGE)):
    ax.scatter(*points[:1500].cpu().T, s=3, color="#C9C9C9", linewidths=0)
    ax.scatter(*clouds[name].T, s=4, color=color, linewidths=0)
    square(ax, 2.8)
    ax.set_title({"right": "net(x_t, t)", "slipped": "net(x1, t)"}[name], family="monospace")
    smooth = torch.tensor(nets[name][1]).unfold(0, 20, 1).mean(1)
    right.plot(torch.arange(len(smooth)) + 10, smooth, color=color)
right.axhline(variance, color=ORANGE, linestyle="--", linewidth=1)
right.text(295, variance + 0.04, "variance of the data", color=ORANGE, ha="right")
right.axhline(lowest, color=GREEN, linestyle="--", linewidth=1)
right.text(295, lowest - 0.13, r"$\mathcal{V}$: no network gets lower", color=GREEN, ha="right")
right.set(xlabel="training step", ylabel="loss, per axis", ylim=(0, 2.2), title="both curves look healthy")
figure

# %% [markdown]
r"""
*Grey: the data. Left: the right loss, after 300 steps. Middle: the same network and steps, but shown $x_1$:
noise shrunk by $e$, around the mean. Right: both losses fall and level off, and the wrong one is even
lower. It stops at the variance of the data, the right one at $\mathcal V$ (dashed): only who knows the
level can tell.*

### Their clock and ours
Lipman et al. and Liu et al. have noise at $r = 0$ and data at $r = 1$. With $r = 1 - t$ the same motion has

$$v_{\text{theirs}}(x, r) = -\,u(x, 1 - r): \tag{13.15}$$

the clock is turned round, *and* the sign changes, because their velocity points to the data and ours away
from it (ours is $dx/dt$, and our $t$ grows towards the noise). Our sampler walks to smaller $t$, so its
$dt$ is negative, and in the end the point goes the same way. Half a conversion is a common slip. What does
it cost?
"""

# %%
r = 0.7
theirs = GaussianMixture(
    Z64.weights, r * Z64.means, r**2 * Z64.covariances + (1 - r) ** 2 * torch.eye(2, dtype=double)
)  # the law of r data + (1 - r) noise
x = theirs.sample(500, seeded(24))
their_velocity = (x + (1 - r) * derivative(theirs.log_prob, x)) / r  # E[data - noise | x], by Tweedie
verify("13.15", their_velocity, -velocity(exact64, x, 1 - r), over="coordinates")

start = torch.randn(1000, 2, generator=seeded(25), dtype=double)
upper = lambda x: x[x[:, 1] > 0.7, 1].mean()  # noqa: E731  (where the upper bar lies)
for name, clock, sign in (("clock and sign", True, -1), ("clock only", True, 1), ("sign only", False, -1)):
    x = start.clone()
    for step in range(100):  # in their time: from r = 0 to r = 1
        r = step / 100
        x = x + 0.01 * sign * velocity(exact64, x, 1 - r if clock else max(r, 1e-3))
    apart = energy_distance(x, Z64.sample(1000, seeded(26))).value
    print(f"{name:15s} energy distance to the letter: {apart:.2f}")
    assert (apart < 0.02) == (name == "clock and sign")
at = upper(Z64.sample(9000, seeded(33)))
print(f"upper bar of the last one at {upper(x):.1f}, of the letter at {at:.1f}")

# %% [markdown]
r"""
Only the first arrives. No error is raised by the others. With the clock turned alone, the points run
outwards. With the sign turned alone they end at a letter, sharp but squeezed: its bars are too close
together. Its distance is far above what perfect samples score, and yet a glance at the picture may pass it.

## 13.4 Other interpolants, and the score

Nothing in the theorem wants a straight line. Put any $\alpha$ and $\sigma$ into (13.4). With the variance
preserving path of chapter 5, and $x_1 = \varepsilon$ independent noise, the field (13.5) is
$\dot\alpha\,\hat x_0 + \dot\sigma\,\hat\varepsilon$, and the flow is an old friend. Chapter 10 found the
**probability-flow ODE** by taking the noise out of a stochastic equation with drift $f\,x$ and diffusion
$g$:

$$u(x, t) = f(t)\,x - \tfrac12\,g(t)^2\,\nabla\log p_t(x), \qquad f = \frac{\dot\alpha}{\alpha}, \quad
g^2 = 2\sigma(\dot\sigma - f\sigma). \tag{13.16}$$

The two agree, term by term: put $\hat\varepsilon = -\sigma\nabla\log p_t$ and $\hat x_0 = (x -
\sigma\hat\varepsilon)/\alpha$ into $\dot\alpha\,\hat x_0 + \dot\sigma\,\hat\varepsilon$. So every diffusion
model is a flow model with a curved interpolant and the independent coupling. The converse holds, too: on
the straight path Euler's step and the DDIM step of chapter 8 are one,

$$x_t + (s - t)\,u(x_t, t) = (1 - s)\,\hat x_0 + s\,\hat\varepsilon, \tag{13.17}$$

because $\hat x_0 = x_t - t\,u$ and $\hat\varepsilon = x_t + (1-t)\,u$: go along the tangent, all the way to
both ends.

### The score from the flow, and back
"How do I get the score from a flow?" is among the questions asked most. On the way stands
$\hat\varepsilon$. Two equations, $x = \alpha\hat x_0 + \sigma\hat\varepsilon$ and $u = \dot\alpha\hat x_0 +
\dot\sigma\hat\varepsilon$, are solved for it, and then $\nabla\log p_t = -\hat\varepsilon/\sigma$ (9.6):

$$\nabla\log p_t(x) = -\frac{\alpha\, u - \dot\alpha\, x}{\sigma\,(\alpha\dot\sigma - \sigma\dot\alpha)}
\quad\overset{\text{straight}}{=}\quad -\frac{x + (1-t)\,u}{t}. \tag{13.18}$$

And back, solved for $u$:

$$u(x, t) = \frac{\dot\alpha}{\alpha}\, x -
\frac{\sigma(\alpha\dot\sigma - \sigma\dot\alpha)}{\alpha}\,\nabla\log p_t(x)
\quad\overset{\text{straight}}{=}\quad -\frac{x + t\,\nabla\log p_t(x)}{1-t}. \tag{13.19}$$

In the middle both are harmless. A test at $t = \tfrac12$ cannot even tell $t$ from $1-t$. **Look at the
ends.** At $t = 1$, (13.19) has $x + \nabla\log p_1 = x - x = 0$ over 0. What is the velocity there? From
(13.5), with $x_1 = x$ known and $x_0$ independent of it; and in the same way at $t = 0$, where $x_0 = x$ is
known:

$$u(x, 1) = x - \mathbb E[x_0], \qquad u(x, 0) = \mathbb E[x_1] - x = -x. \tag{13.20}$$

Both limits exist, and they are almost trivial. A sampler goes along $-u$. At the noisy end its arrows all
point to the *mean* of the data. (So one single Euler step from $t = 1$ lands every point on the mean. A
flow trained on independent pairs has no one-step samples to give.) At the clean end they point away from
the mean of the noise, *whatever the data*, if it has a density. This is what the pictures of the Z showed.
And it tells what a conversion must do: from score to velocity, cancel two nearly equal numbers near $t =
1$; from velocity to score, do so near $t = 0$. The error grows like $1/(1-t)$, and like $1/t$. Store what
you need there: the velocity itself is bounded at both ends.
"""

# %%
x = Z64.noised(VP(), 0.3).sample(400, seeded(27))
log_p = Z64.noised(VP(), 0.3).log_prob
c = VP()(torch.tensor(0.3, dtype=double))
old_friend = c.drift * x - 0.5 * c.diffusion_squared * derivative(log_p, x)
verify("13.16", velocity(Z64.denoiser(VP()), x, 0.3), old_friend, over="coordinates")

t, later = torch.tensor([0.7, 0.45], dtype=double)
x = Z64.noised(straight, t).sample(400, seeded(28))
tangent = x + (later - t) * velocity(exact64, x, t)
verify("13.17", tangent, DDIM().step(exact64, x, t, later, (), x)[0], over="coordinates")

found = {"13.18": ([], []), "13.19": ([], [])}
for path in (straight, VP(), Cosine()):
    for t in (0.05, 0.5, 0.93):
        c = path(torch.tensor(t, dtype=double))
        area = c.alpha * c.sigma_dot - c.sigma * c.alpha_dot
        x = Z64.noised(path, t).sample(200, seeded(29))
        slope, u = derivative(Z64.noised(path, t).log_prob, x), velocity(Z64.denoiser(path), x, t)
        found["13.18"][0].append(-(c.alpha * u - c.alpha_dot * x) / (c.sigma * area))
        found["13.18"][1].append(slope)
        found["13.19"][0].append((c.alpha_dot * x - c.sigma * area * slope) / c.alpha)
        found["13.19"][1].append(u)
to_score, to_velocity = ([torch.cat(side) for side in found[tag]] for tag in ("13.18", "13.19"))
verify("13.18", *to_score, rtol=1e-8, over="coordinates, on three paths at three times")
verify("13.19", *to_velocity, rtol=1e-8, over="coordinates, on three paths at three times")

x = torch.randn(200, 2, generator=seeded(30), dtype=double)
verify("13.20", velocity(exact64, x, 1.0), x - centre, over="coordinates")
near = 0.4 * x[:, :1] * torch.tensor([1.0, 1.0], dtype=double)  # along the middle bar of the Z
verify("13.20", velocity(exact64, near, 1e-7), -near, rtol=1e-4, over="coordinates")  # first order in t
converted = -(x + 1.0 * Z64.noised(straight, 1.0).score(x)) / (1 - 1.0)
print("(13.19) at t = 1:", "0/0" if not converted.isfinite().any() else "finite")

# %%
gaps = torch.logspace(-5, -0.31, 40, dtype=double)
lost = {"score": [], "velocity": []}
for gap in gaps.tolist():
    x = Z64.noised(straight, gap).sample(300, seeded(31))
    truth = derivative(Z64.noised(straight, gap).log_prob, x)
    u = velocity(exact64, x, gap).float()  # a perfect velocity, kept in float32
    got = -(x.float() + (1 - gap) * u) / gap
    lost["score"].append(((got - truth).norm() / truth.norm()).item())
    x = Z64.noised(straight, 1 - gap).sample(300, seeded(32))
    truth = velocity(exact64, x, 1 - gap)
    slope = derivative(Z64.noised(straight, 1 - gap).log_prob, x).float()  # a perfect score, kept in float32
    got = -(x.float() + (1 - gap) * slope) / gap
    lost["velocity"].append(((got - truth).norm() / truth.norm()).item())
figure, (left, right) = panels(1, 2, width=12, height=3.6, share=True)
left.plot(gaps, lost["score"], color=ORANGE)
right.plot(gaps, lost["velocity"], color=GREEN)
left.set(xlabel="$t$", ylabel="relative error", title="velocity to score, near the data")
right.set(xlabel="$1 - t$", title="score to velocity, near the noise")
for ax in (left, right):
    ax.set(xscale="log", yscale="log")
    ax.axhline(6e-8, color=INK, linewidth=1, linestyle=":")
    ax.text(1e-5, 7e-8, "float32's rounding", color=INK)
assert lost["score"][0] > 300 * lost["score"][-1]
assert lost["velocity"][0] > 1000 * lost["velocity"][-1]
figure

# %% [markdown]
r"""
*The input of each conversion is exact up to float32's rounding. Left: near the data a velocity makes a bad
score. Right: near the noise a score makes a bad velocity. Both lose a digit each time the distance to the
end is divided by ten. A network's error, far larger than rounding, is amplified in the same way.*

### When there is no score to be had
(13.18) rests on $\nabla\log p_t = -\mathbb E[x_1\mid x_t]/\sigma$, and that is Tweedie's formula: it needs
$x_1$ to be Gaussian *and independent of* $x_0$. A flow does not need this, so it is forgotten. Here is the
smallest counterexample. On a line let $x_1\sim\mathcal N(0,1)$, and $x_0 = s\,x_1$: one coupling of
$\mathcal N(0, s^2)$ with noise. Then $x_t = ((1-t)s + t)\,x_1$, so $x_t$ tells $x_1$ exactly, and

$$-\frac{x + (1-t)\,u}{t} = -\frac{x_1}{t} \qquad\text{but}\qquad
\nabla\log p_t(x) = -\frac{x_1}{(1-t)\,s + t}. \tag{13.21}$$

Both ends have the right law, noise and data, all is Gaussian, and the formula is wrong by a factor,
which is 1 at $t = 1$ and infinite at $t = 0$. **After minibatch optimal transport, after reflow, between
two data sets: the velocity is fine, the score is gone.** So are the stochastic samplers and the likelihood
weights that need it. (The ODE's own likelihood, by the divergence of $u$, stays.)
"""

# %%
s, t = 0.4, 0.3
x = torch.linspace(-1.2, 1.2, 25, dtype=double)[:, None]
width = (1 - t) * s + t  # x_t is N(0, width^2)
u = (1 - s) * x / width  # x1 - x0, with x1 = x / width
bell = GaussianMixture.single(torch.zeros(1, dtype=double), torch.tensor([[width**2]], dtype=double))
verify("13.21", -(x + (1 - t) * u) / t, width / t * derivative(bell.log_prob, x), over="points")
print(f"at t = {t} the formula's score is {width / t:.2f} times the true one")

# %% [markdown]
r"""
## 13.5 Which pairs?

The theorem leaves the coupling free. Three are in use.

**Independent.** Draw $x_0$, draw $x_1$. Always possible, and all of part II of this book. Its average
squared distance is large: $\mathbb E\lVert x_1 - x_0\rVert^2 = \lVert\bar x_1 - \bar x_0\rVert^2 +
\operatorname{tr}\operatorname{Cov}[x_0] + \operatorname{tr}\operatorname{Cov}[x_1]$.

**Optimal transport.** The coupling with the least $\mathbb E\lVert x_1 - x_0\rVert^2$. For two sets of $n$
points it is an assignment, and `optimal_pairs` finds it exactly, in about $n^3$ operations. Optimal lines
never meet at one time. (Take two optimal pairs, $(x_0, x_1)$ and $(y_0, y_1)$. If exchanging partners is
not cheaper, then, squares multiplied out, $(x_1 - y_1)\cdot(x_0 - y_0)\ge0$. If they met at $t$, then
$(1-t)(x_0 - y_0) = -t\,(x_1 - y_1)$, and the product would be negative.) For a million pictures it is out
of reach.

**Minibatch optimal transport.** Draw $B$ of each, pair *them* optimally, train, draw the next $B$. Costs
next to nothing.

**Before you read on.** Is that allowed? The pairs of a batch depend on each other. Does the flow still go
to the right distribution, or to a biased one?

It is allowed. Take a pair at random from the batch. Its $x_0$ is one of $B$ independent data points, picked
by a rule that looks at the batch only through a random index, so it is distributed as the data; the same
holds for $x_1$. In symbols, for any $\varphi$,

$$\mathbb E\,\frac1B\sum_{i=1}^{B}\varphi\big(x_1^{\pi(i)}\big)
= \mathbb E\,\frac1B\sum_{i=1}^{B}\varphi\big(x_1^{i}\big)
= \mathbb E\,\varphi(x_1), \tag{13.22}$$

since a permutation $\pi$ changes the order of a sum, and not the sum. It is a coupling, and the theorem
takes any. What is biased is the *cost*: for $B = 1$ the pairs are independent, for $B\to\infty$ optimal,
and between them in between. Let us measure, from noise to Z: the cost, and the part $\mathcal V$ of the
loss that cannot be learnt, at $t = \tfrac12$. It is measured by sorting the points $x_t$ into small squares
and taking the variance of $\dot x_t$ within each. For $B = 1$ the exact value is known, which tests the
method. The optimal cost of finitely many points has a floor of its own, since two samples of *one* law are
not equal.
"""

# %%


def in_batches(x0, x1, B):
    """Each B rows of x1 put in the order that suits the same rows of x0 best."""
    blocks = [b[optimal_pairs(a, b)] for a, b in zip(x0.split(B), x1.split(B), strict=True)]
    return torch.cat(blocks)


def unlearnable(x_t, x_dot, cell=0.2):
    """The variance of x_dot among neighbours, summed over the axes: cells of a lattice, each with n - 1."""
    _, home = torch.unique((x_t / cell).floor(), dim=0, return_inverse=True)
    count = torch.zeros(home.max() + 1, dtype=double).index_add(0, home, torch.ones(len(home), dtype=double))
    total = torch.zeros(len(count), 2, dtype=double).index_add(0, home, x_dot)
    rest = (x_dot - (total / count[:, None])[home]).square().sum(1)
    several = count[home] > 1
    return (rest[several] * (count / (count - 1))[home[several]]).mean().item()


n = 8192
x0, x1 = Z64.sample(n, seeded(34)), torch.randn(n, 2, generator=seeded(35), dtype=double)
sizes = (1, 4, 16, 64, 256)
paired = {B: in_batches(x0, x1, B) for B in sizes}
verify(
    "13.22",
    [torch.cos(b @ wave).mean().item() for b in paired.values()],
    [torch.cos(x1 @ wave).mean().item()] * 5,
    over="batch sizes",
)
costs = {B: transport_cost(x0, b).item() for B, b in paired.items()}
spreads = {B: unlearnable((x0 + b) / 2, b - x0) for B, b in paired.items()}
known = (
    2
    * least_loss(Z64, straight, VELOCITY, torch.full((20_000,), 0.5, dtype=double), seeded(36)).mean().item()
)
limit = transport_cost(x0[:1000], x1[:1000][optimal_pairs(x0[:1000], x1[:1000])]).item()
print("batch   cost   not learnable at t = 1/2")
for B in sizes:
    print(f"{B:5d}  {costs[B]:5.2f}   {spreads[B]:5.2f}")
print(f"optimal cost of 1000 points: {limit:.2f}; exact for independent pairs: {known:.1f} not learnable")
same_law = transport_cost(x1[:1000], x1[1000:2000][optimal_pairs(x1[:1000], x1[1000:2000])]).item()
print(f"floor, the optimal cost between two samples of 1000 of the same noise: {same_law:.2f}")
assert abs(spreads[1] - known) < 0.1 * known
assert all(costs[a] > costs[b] and spreads[a] > spreads[b] for a, b in pairwise(sizes))

# %%
figure, axes = panels(1, 4, width=14, height=3.6)
for ax, B in zip(axes, (1, 16, 256), strict=False):
    for a, b in zip(x0[:150], paired[B][:150], strict=True):
        ax.plot(*torch.stack([a, b]).T, color=INK, linewidth=0.6, alpha=0.35)
    ax.scatter(*paired[B][:150].T, s=7, color=NOISE, zorder=3)
    ax.scatter(*x0[:150].T, s=7, color=DATA, zorder=3)
    square(ax, 3, ylabel="$x_2$" if B == 1 else "")
    ax.set_title("independent" if B == 1 else f"batches of {B}")
axes[3].plot(sizes, costs.values(), color=INK, marker="o")
axes[3].plot(sizes, spreads.values(), color=ORANGE, marker="s")
axes[3].axhline(limit, color=INK, linestyle=":", linewidth=1)
axes[3].text(1.0, limit * 0.75, "optimal, 1000 points", color=INK)
axes[3].text(14, 1.3, "transport cost", color=INK)
axes[3].text(1.0, 0.75, "not learnable", color=ORANGE)
axes[3].set(xscale="log", yscale="log", xlabel="batch size B", title="squared units", ylim=(0.02, 6))
figure

# %% [markdown]
r"""
*Lines of 150 pairs. In batches of 16 few of them cross any more; in batches of 256 hardly any. Right: the
cost falls towards that of optimal transport, and the part of the loss that cannot be learnt falls much
faster.*

Small batches already help. In the plane, that is: among $B$ random *pictures* of a thousand coordinates all
distances are alike, and a batch of 256 finds little to choose from. What counts is the intrinsic dimension,
and for large models the gain is modest.

## 13.6 Reflow

A flow uncrosses its pairs. So *take the pairs of the flow*: start at $x_1$, follow the ODE to its end, call
that $z_0$. This gives a new coupling $(z_0, z_1)$ of the same two distributions (13.7). Join *its* pairs by
straight lines, and train again. That is a **reflow** (Liu et al., 2023).

**Before you read on.** The lines of the new pairs may cross again, since the trajectories that made them
were curved. Must the new pairs be closer together than the old ones? Could they be further apart?

They cannot. And more holds than is said of squared distances. Let $c$ be any convex function, say
$\lVert\cdot\rVert$ or $\lVert\cdot\rVert^2$ or $\lVert\cdot\rVert^4$. The new displacement is the integral
of the velocity along the way, and Jensen's inequality (the function of a mean is at most the mean of the
function) is used twice:

$$\mathbb E\,c(z_1 - z_0) = \mathbb E\,c\Big(\int_0^1 u(z_t, t)\,dt\Big)
\le \int_0^1\mathbb E\,c\big(u(z_t, t)\big)\,dt = \int_0^1\mathbb E\,c\big(\mathbb E[\dot x_t\mid x_t]\big)dt
\le \int_0^1\mathbb E\,c(\dot x_t)\,dt = \mathbb E\,c(x_1 - x_0). \tag{13.23}$$

First inequality: a mean over time. Equality: $z_t$ and $x_t$ have the same law (13.7). Second: a mean over
the pairs that meet. Last: on a straight line $\dot x_t = x_1 - x_0$ at all times. *Here, and only here,
straightness of the interpolant is used.* Section 13.7 bends it.

For the square we can say exactly how much is gained. A mean square is the square of the mean plus the
variance. So each of the two inequalities loses a variance, the first one over time, the second one over
pairs:

$$\underbrace{\mathbb E\lVert x_1 - x_0\rVert^2}_{\text{cost before}} -
\underbrace{\mathbb E\lVert z_1 - z_0\rVert^2}_{\text{cost after}}
= \underbrace{\int_0^1\!\mathbb E\lVert\dot x_t - u(x_t,t)\rVert^2 dt}_{\textstyle\mathcal V} +
\underbrace{\int_0^1\!\mathbb E\lVert u(z_t, t) - (z_1 - z_0)\rVert^2 dt}_{\textstyle\mathcal S}.
\tag{13.24}$$

$\mathcal V$ is the loss that cannot be learnt (13.11). $\mathcal S$ is the **straightness** of Liu et al.:
zero if and only if every path is a straight line, run at constant speed. (The function `straightness`
divides it by the cost after, so that units drop out.) The gain is what crossed, plus what bent. If neither,
the coupling is a fixed point: *straight*.

Reflow again and again, with $\mathcal V_k$ and $\mathcal S_k$ in round $k$. The costs telescope, and none
is negative. So the sum over $K$ rounds is at most the first cost, and the least of them at most its $K$-th
part:

$$\min_{k < K}\,(\mathcal V_k + \mathcal S_k)\;\le\;
\frac1K\,\sum_{k<K}(\mathcal V_k + \mathcal S_k)\;\le\;
\frac{1}{K}\;\mathbb E\lVert x_1 - x_0\rVert^2. \tag{13.25}$$

For one Gaussian, $x_0\sim\mathcal N(m, s^2)$ on a line, all is known. The flow is $z_t = (1-t)\,m +
\sqrt{(1-t)^2s^2 + t^2}\;z_1$ (mean and standard deviation must be those of $x_t$). It ends at $z_0 = m +
s\,z_1$. The cost goes from $m^2 + s^2 + 1$ to $m^2 + (1-s)^2$, so the gain is $2s$; and of that

$$\mathcal V = \tfrac{\pi}{2}\,s, \qquad \mathcal S = \big(2 - \tfrac{\pi}{2}\big)\,s. \tag{13.26}$$

79 % of the gain are crossings, 21 % is bending, whatever $s$.
"""

# %%
s, m = 0.5, 1.3
g = lambda t: ((1 - t) ** 2 * s**2 + t**2).sqrt()  # noqa: E731
speed = derivative(g, nodes)  # dz/dt = -m + speed z1, and z1 - z0 = -m + (1 - s) z1
crossed, bent = (s**2 / g(nodes) ** 2).mean(), ((speed - (1 - s)) ** 2).mean()
verify("13.26", bent, (2 - math.pi / 2) * s, rtol=1e-7)
verify("13.26", crossed, math.pi / 2 * s, rtol=1e-7)
verify("13.24", crossed + bent, (m**2 + s**2 + 1) - (m**2 + (1 - s) ** 2), rtol=1e-7)
print(f"crossings: {crossed / (crossed + bent):.0%} of the gain")

# %% [markdown]
r"""
### From Z to N, four rounds
Between noise and letters one reflow leaves little to do. So let us take two data sets: the start is the Z,
the goal is an N, which is a Z lying on its side. The first round is exact (`BetweenMixtures` has the
average velocity of independent pairs in closed form). Each later round is the exact flow of a thousand
pairs from the round before, by (13.8). Their tubes blur both letters by 0.07 each time, which is why the
*optimal* cost, printed beside, falls a little as well.
"""

# %%


def measured(flow, pairs, z1, rng, jitter=0.0):
    """Paths from z1 and their bending; where pairs pass, the velocity and its squared miss of theirs."""
    states = run(flow, z1, 24)[0]
    bend = ((states[:-1] - states[1:]) * 24 - (z1 - states[-1])).square().sum(2).mean(0)
    t = torch.rand(len(z1), generator=rng)
    shift = jitter * torch.randn(len(z1), 2, generator=rng)
    u = velocity(flow, (1 - t[:, None]) * pairs[0] + t[:, None] * pairs[1] + shift, t)
    return states, bend, u, (pairs[1] - pairs[0] - u).square().sum(1)


n, width, rounds = 1000, 0.07, []
flow, z1 = BetweenMixtures(N, Z, straight), Z.sample(n, seeded(40))
goal = N.sample(n, seeded(41))
pairs = (N.sample(n, seeded(42)), Z.sample(n, seeded(43)))
cost = (Z64.mean - N64.mean).square().sum() + Z64.covariance.trace() + N64.covariance.trace()
for k in range(4):
    states, bend, u, residual = measured(flow, pairs, z1, seeded(44 + k), jitter=width if k else 0.0)
    z0 = states[-1]
    rounds.append(
        {
            "cost": transport_cost(z0, z1).item(),
            "V": residual.mean().item(),
            "S": bend.mean().item(),
            "optimal": transport_cost(z0, z1[optimal_pairs(z0, z1)]).item(),
            "states": states,
            "flow": flow,
            "each": residual + bend,
        }
    )
    if k == 0:
        along = ((states[:-1] - states[1:]) * 24).norm(dim=2).mean()  # c = |.|, over time and paths
        verify_mean("13.23", u.norm(dim=1), along.item())  # over the pairs
        assert (z1 - z0).norm(dim=1).mean() < along < (pairs[1] - pairs[0]).norm(dim=1).mean()
        ends = [law.sample(8000, seeded(i)) for law, i in ((N, 37), (Z, 38), (Z, 39))]
        ways, S, _, V = measured(flow, ends[:2], ends[2], seeded(33))
        verify_mean("13.24", (ways[0] - ways[-1]).square().sum(1) + V + S, cost.item())
        for name, c in {"|d|": lambda d: d.norm(dim=1), "|d|^4": lambda d: d.norm(dim=1) ** 4}.items():
            before, after = c(pairs[1] - pairs[0]).mean(), c(z1 - z0).mean()
            print(f"convex cost {name:5s}  before {before:5.1f}   after {after:4.1f}")
            assert after < 0.7 * before
    pairs = (z0, z1)
    pairs_start = z1
    flow = PairsDenoiser(*pairs, straight, width)
    z1 = z1 + width * torch.randn(n, 2, generator=seeded(50 + k))

print(f"\nindependent pairs: cost {cost:.2f}")
print("flow    cost  = optimal x     crossings V   bending S")
for k, r in enumerate(rounds, 1):
    dearer = r["cost"] / r["optimal"]
    print(f"  {k}     {r['cost']:.2f}     {dearer:.2f}          {r['V']:.2f}         {r['S']:.3f}")
excess = [r["cost"] / r["optimal"] for r in rounds]
assert all(a["cost"] > b["cost"] for a, b in pairwise(rounds))
assert all(a > b for a, b in pairwise(excess))
assert excess[-1] > 1.03
verify_mean("13.25", sum(r["each"] for r in rounds) + (z0 - pairs_start).square().sum(1), cost.item())
total = sum(r["V"] + r["S"] for r in rounds)
assert min(r["V"] + r["S"] for r in rounds) <= total / 4 <= cost / 4

# %%
figure, axes = panels(1, 4, width=14, height=3.6)
shown = slice(0, 130)
for k, ax in enumerate(axes[:3]):
    ways = rounds[k]["states"][:, shown]
    ax.plot(ways[..., 0], ways[..., 1], color=GREEN if k == 0 else ORANGE, linewidth=0.8, alpha=0.6)
    ax.scatter(*ways[0].T, s=8, color=NOISE, zorder=3)
    ax.scatter(*ways[-1].T, s=8, color=DATA, zorder=3)
    square(ax, 2.3, ylabel="$x_2$" if k == 0 else "")
    ax.set_title(["flow of independent pairs", "after one reflow", "after two"][k])
last = axes[3]
last.plot(range(1, 5), [r["cost"] for r in rounds], color=INK, marker="o")
last.plot(range(1, 5), [r["optimal"] for r in rounds], color=NOISE, marker="s", linestyle="--")
last.set(
    xlim=(0.7, 4.4),
    ylim=(0.5, 0.9),
    xticks=range(1, 5),
    xlabel="flow",
    ylabel="squared units",
    title="transport cost",
)
last.text(2.1, 0.765, "of the flow's pairs", color=INK)
last.text(1.0, 0.605, "optimal, same points", color="#666666")
figure

# %% [markdown]
r"""
*From Z (grey) to N (blue). Left: the paths of the first flow bend: all first head for the middle (13.20).
After one reflow they are nearly straight, after two almost perfectly. Right: each reflow brings the cost
down, but it stays above that of the best pairs of the same points.*

The cost falls in every round, as (13.23) promises, and by (13.24) we know why: what still bends or crosses
is taken away. Two observations.

- **Nearly all of it happens in the first round.** Then crossings and bending are a few hundredths of what
  they were, and there is little left to gain. Authors do one reflow, seldom two: each round trains on
  samples of the last network, so its errors are inherited and new ones added.
- **Straight is not optimal.** In the plane there are straight couplings that do not cross and are not
  optimal. Take the quarter turn that carries the Z to the N exactly: along its lines $x_1\mapsto((1-t)R +
  t)\,x_1$ no two points meet, since that matrix is invertible at every $t$. So reflow leaves it alone, and
  yet it costs more than the best pairing. Reflow stops at the first straight coupling. It cannot tell a
  detour from a way.

On a line it can. There a map that uncrosses is *increasing*, and only one increasing map carries one
distribution into another: to each quantile its quantile, with $F_0$ and $F_1$ the distribution functions,

$$z_0 = F_0^{-1}\big(F_1(z_1)\big). \tag{13.27}$$

That is the optimal coupling for every convex cost. So on a line **one flow, from any coupling whose $u$
is smooth, finds optimal transport**; the reflow only straightens the way.
"""

# %%
turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=double)
z_start = Z64.sample(n, seeded(60))
turned = z_start @ turn.T
fixed = PairsDenoiser(turned, z_start, straight, 0.02)
again = run(fixed, z_start, 24)[0][-1]
print(f"cost of the quarter turn: {transport_cost(turned, z_start):.1f},", end=" ")
print(f"after a reflow {transport_cost(again, z_start):.1f},", end=" ")
print(f"optimal {transport_cost(turned, z_start[optimal_pairs(turned, z_start)]):.1f}")
assert transport_cost(again, z_start) > 0.93 * transport_cost(turned, z_start)

two64 = two.to(dtype=double)
starts = torch.linspace(-2, 2, 41, dtype=double)[:, None]
arrived = run(two64.denoiser(straight), starts, 400)[0][-1].flatten()


def distribution_function(x):
    return (two64.weights * torch.special.ndtr((x[:, None] - two64.means.flatten()) / 0.25)).sum(1)


verify(
    "13.27",
    distribution_function(arrived),
    torch.special.ndtr(starts.flatten()),
    rtol=1e-3,
    atol=1e-4,
    over="points",
)

# %% [markdown]
r"""
### How many steps?
A straight path at constant speed is followed without error by one Euler step. That is what reflow is *for*.
Energy distance to fresh letters N, for one, two and four steps, beside the floor: what a thousand perfect
samples score against another thousand.
"""

# %%
base = floor(energy_distance, N.sample, n, generator=seeded(61), repeats=6)
few = {}
starts = Z.sample(n, seeded(62))
print(f"floor, mean + 2 standard deviations: below 0.005: {base.mean + 2 * base.standard_deviation < 0.005}")
print("energy distance   1 step     2 steps     4 steps")
for k, name in enumerate(("first flow", "one reflow", "two reflows")):
    few[name] = [run(rounds[k]["flow"], starts, m, Euler())[0][-1] for m in (1, 2, 4)]
    apart = [1000 * energy_distance(x, goal).value for x in few[name]]
    coarse = [f"{a / 1000:.1f}" if a > 10 else "below 0.01" for a in apart]
    print(f"{name:12s}" + "".join(f"{a:>12s}" for a in coarse))
    few[name].append(apart)
assert few["first flow"][3][0] > 20 * few["one reflow"][3][0]

# %%
figure, axes = panels(1, 5, width=14, height=3.2)
clouds = {
    "first flow, 1 step": (few["first flow"][0], ORANGE),
    "first flow, 4 steps": (few["first flow"][2], ORANGE),
    "one reflow, 1 step": (few["one reflow"][0], GREEN),
    "two reflows, 1 step": (few["two reflows"][0], GREEN),
    "perfect samples": (goal, DATA),
}
for ax, (name, (cloud, color)) in zip(axes, clouds.items(), strict=True):
    ax.scatter(*cloud.T, s=4, color=color, linewidths=0, alpha=0.7)
    square(ax, 2.3, ylabel="$x_2$" if "first flow, 1" in name else "")
    ax.set_title(name, fontsize=11)
figure

# %% [markdown]
r"""
*One step of the first flow lands everything on the mean (13.20); four steps are a caricature. One step
after one reflow draws the letter, with a false bar across its middle and ragged ends; a second reflow
changes little.*

What may now be forgotten: the reflowed flow is no better *in the limit of many steps* than the first. It
samples the same distribution, or one a little worse. It gets there sooner.

Turn the knobs. The widget holds three hundred pairs, and the exact flow (13.8) of each coupling.
"""

# %%
ReflowExplorer(N.sample(300, seeded(63)), Z.sample(300, seeded(64)))

# %% [markdown]
r"""
*Left, thin grey: exact paths; coloured: Euler's, with the chosen number of steps. One step is straight by
force, and only for reflowed pairs does it end in the blue rings, the exact ends. Right: how far Euler's
ends are from the exact ones, for each coupling; the circle is the present choice.*

## 13.7 When the interpolant bends

The proof of (13.23) used that $\dot x_t = x_1 - x_0$. Diffusion paths are curved. What becomes of reflow on
the cosine path, or on VP?

**Before you read on.** Two promises were made: the cost does not rise, and the paths get straight. Which of
them breaks?

First a surprise. Let $\alpha + \sigma$ be positive, and divide by it: with $\tau = \sigma/(\alpha+\sigma)$,
which runs from 0 to 1 as well,

$$x_t = \alpha\,x_0 + \sigma\,x_1 = (\alpha + \sigma)\,\big((1-\tau)\,x_0 + \tau\,x_1\big)
= (\alpha+\sigma)\; y_\tau. \tag{13.28}$$

Every interpolant of the form (13.4) is the straight one, at another time and in another unit of length. To
know $x_t$ is to know $y_\tau$, so averages over the pairs that pass are the same averages; and the flow of
$x$ is the flow of $y$, rescaled: $z_t = (\alpha+\sigma)\,z^{\text{straight}}_\tau$. At both ends the factor
is 1. So **all of them have the same map from start to end**, and the coupling after one reflow does not
depend on $\alpha$ and $\sigma$. It is chapter 9's transplant again, with any pairs. The cost does not rise
on VP either. (Where the path stops short of $\alpha = 0$, as VP does at $\alpha = 0.007$, up to so much.)

The promise that breaks is the other one. On the cosine path *perfect* pairs, uncrossed for ever, are still
joined by arcs. Reflow uncrosses them and leaves them bent.
"""

# %%
curved = Cosine()
z = torch.randn(300, 2, generator=seeded(65), dtype=double)
states, times = run(BetweenMixtures(N64, Z64, curved), z, 200)
scale, tau = [], []
for t in times[[0, 120, 200]]:  # the start, on the way, the end
    c = curved(t)
    scale.append(c.alpha + c.sigma)
    tau.append((c.sigma / scale[-1]).item())
on_line = [z / scale[0]]
for begin, end in pairwise(tau):
    line = uniform_times(straight, 150, start=begin, end=end, dtype=double)
    on_line.append(sample(BetweenMixtures(N64, Z64, straight), Heun(), on_line[-1], line))
on_arc = torch.cat([states[120] / scale[1], states[200] / scale[2]])
verify("13.28", on_arc, torch.cat(on_line[1:]), rtol=2e-3, over="coordinates, on the way and at the end")

bends = {"straight": [r["S"] / r["cost"] for r in rounds[:3]], "cosine": []}  # the former: section 13.6
flow, z1 = BetweenMixtures(N, Z, curved), Z.sample(n, seeded(40))
for k in range(3):
    states, times = run(flow, z1, 24)
    bends["cosine"].append(straightness(states, times).item())
    one, along_arc = (run(flow, z1, 1, solver)[0][-1] for solver in (Euler(), DDIM()))
    flow = PairsDenoiser(states[-1], z1, curved, width)
    z1 = z1 + width * torch.randn(n, 2, generator=seeded(50 + k))
print("bending S over cost: first flow, one reflow, two")
for name, values in bends.items():
    print(f"  {name:9s}" + "".join(f"{b:7.2f}" for b in values))
failed = energy_distance(one, goal).value
knows = energy_distance(along_arc, goal).value
print(f"cosine path, one step after two reflows: energy distance {failed:.2f} by Euler,", end=" ")
print(f"{'below 0.01' if knows < 0.01 else knows} by DDIM")
assert knows < 0.01
assert failed > 50 * few["two reflows"][3][0] / 1000
assert bends["straight"][2] < 0.02
assert bends["cosine"][2] > 0.3

# %% [markdown]
r"""
The last number is worth a thought. One *DDIM* step does it: it does not follow the tangent, it takes $\hat
x_0$ and $\hat\varepsilon$ and goes along the arc that joins them. What is lost on the cosine path is the
straight line, and with it Euler's one step; a solver that knows the arc loses nothing.

### A bend that depends on the pair
What if the curve is not of the form (13.4)? Let the line be bowed sideways, in proportion to its length,
with $J$ the quarter turn:

$$x_t = (1-t)\,x_0 + t\,x_1 + b\,\sin(\pi t)\; J\,(x_1 - x_0). \tag{13.29}$$
<!-- definition 13.29: bowed lines -->

The theorem of section 13.2 still holds, since it takes any curve. Now the cost may *rise*. For Gaussian
pairs everything is a matrix. With the stacked pair $w = (x_0, x_1)$ of covariance $\Gamma$ and $x_t =
P_t\,w$, the average velocity is the linear regression of $\dot x_t = \dot P_t\,w$ on $x_t$, and the flow
$z_t = M_t\,z_1$ obeys

$$\dot M_t = \dot P_t\,\Gamma P_t^\top\big(P_t\,\Gamma P_t^\top\big)^{-1} M_t, \quad M_1 = I, \qquad
M_0\operatorname{Cov}[x_1]\,M_0^\top = \operatorname{Cov}[x_0]. \tag{13.30}$$

The last says that the marginal at the data end is right, whatever $b$. We start from pairs that are nearly
optimal, and look at the cost after one reflow.
"""

# %%


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.sqrt()) @ vectors.T


def one_reflow(joint, b, steps=400):
    """M_0 of (13.30), by the classical Runge-Kutta method."""
    eye = torch.eye(2, dtype=double)

    def rate(t, M):
        bow, bow_dot = b * math.sin(math.pi * t), b * math.pi * math.cos(math.pi * t)
        P = torch.cat([(1 - t) * eye - bow * turn, t * eye + bow * turn], dim=1)
        P_dot = torch.cat([-eye - bow_dot * turn, eye + bow_dot * turn], dim=1)
        return P_dot @ joint @ P.T @ torch.linalg.inv(P @ joint @ P.T) @ M

    M, h = eye, -1 / steps
    for i in range(steps):
        t = 1 + i * h
        k1 = rate(t, M)
        k2 = rate(t + h / 2, M + h / 2 * k1)
        k3 = rate(t + h / 2, M + h / 2 * k2)
        M = M + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(t + h, M + h * k3))
    return M


A = torch.diag(torch.tensor([1.0, 0.05], dtype=double))  # the start: a lying cigar
angle = math.radians(65)
R = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=double)
B = R @ A @ R.T  # the data: the cigar turned
half = root(A)
best_map = torch.linalg.inv(half) @ root(half @ B @ half) @ torch.linalg.inv(half)  # optimal from A to B
rho = 0.95
cross = rho * best_map @ A
joint = torch.cat([torch.cat([B, cross], dim=1), torch.cat([cross.T, A], dim=1)])
before = (A.trace() + B.trace() - 2 * cross.trace()).item()
least = (A.trace() + B.trace() - 2 * (best_map @ A).trace()).item()
bows = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
after, carried = [], []
for b in bows:
    M = one_reflow(joint, b)
    carried.append(M @ A @ M.T)
    after.append(((torch.eye(2, dtype=double) - M) @ A @ (torch.eye(2, dtype=double) - M).T).trace().item())
verify("13.30", torch.stack(carried), B.expand(len(bows), 2, 2), rtol=1e-6, over="entries")
print(f"cost of the pairs {before:.2f}, of optimal pairs {least:.2f}")
print("cost after one reflow: " + ", ".join(f"{a:.2f} (b = {b:g})" for b, a in zip(bows, after, strict=True)))
assert after[0] < before
assert max(after) > before

# %%
figure, (left, middle, right) = panels(1, 3, width=13, height=3.8)
left.plot(range(3), bends["cosine"], color=ORANGE, marker="s")
left.plot(range(3), bends["straight"], color=GREEN, marker="o")
left.set(xticks=range(3), xlabel="reflows", ylabel="bending over cost", title="straightness", yscale="log")
left.text(1.1, bends["cosine"][1] / 1.9, "cosine path", color=ORANGE)
left.text(1.15, bends["straight"][1] * 1.4, "straight path", color=GREEN)
zz = torch.randn(14, 4, generator=seeded(66), dtype=double) @ root(joint + 1e-9 * torch.eye(4, dtype=double))
for w in zz:
    t = torch.linspace(0, 1, 60, dtype=double)[:, None]
    bowed = (1 - t) * w[:2] + t * w[2:] + 1.25 * torch.sin(math.pi * t) * ((w[2:] - w[:2]) @ turn.T)
    middle.plot(*bowed.T, color=ORANGE, linewidth=1)
middle.scatter(*zz[:, 2:].T, s=14, color=NOISE, zorder=3)
middle.scatter(*zz[:, :2].T, s=14, color=DATA, zorder=3)
square(middle, 2.4)
middle.set_title("bowed lines, $b = 1.25$")
right.plot(bows, after, color=INK, marker="o")
right.axhline(before, color=ORANGE, linestyle="--", linewidth=1)
right.text(0.0, before + 0.004, "before the reflow", color=ORANGE, va="bottom")
right.axhline(least, color=NOISE, linestyle=":", linewidth=1)
right.text(2.0, least - 0.004, "optimal", color="#666666", ha="right", va="top")
right.set(xlabel="bow b", ylabel="cost after one reflow", title="the cost may rise", ylim=(0.87, 1.07))
figure

# %% [markdown]
r"""
*Left: on the straight path bending falls with each reflow; on the cosine path it does not. Middle: pairs
joined by bowed lines. Right: one reflow over bowed lines. With a small bow the cost falls, with a large one
it rises above that of the pairs it began with: the guarantee belongs to straight lines.*

## 13.8 Moons into rings

Now nothing is known in closed form, and a network has to learn. Start: two moons. Goal: three rings. No
noise on either side. Three networks of equal size and training: on independent pairs, on pairs of
minibatches of 256, and on the pairs of the first network's own flow.
"""

# %%
count = 8192
ring, moon = rings(count, generator=seeded(70)), moons(count, generator=seeded(71))
fresh_moon, fresh_ring = moons(1000, generator=seeded(72)), rings(1000, generator=seeded(73))
matching = lambda net, batch, rng: flow_matching(net, *batch, rng)  # noqa: E731


def as_flow(trained):
    return NetworkDenoiser(trained[0], straight, VELOCITY)


steps = 600
couplings = {"independent": (ring, moon), "batches of 256": (ring, in_batches(ring, moon, 256))}
flows = {}
for name in ("independent", "batches of 256", "reflow of the first"):
    if name == "reflow of the first":
        moved = run(flows["independent"], moon.to(device), 16)[0][-1].cpu()
        couplings[name] = (moved, moon)
    data = tuple(side.to(device) for side in couplings[name])
    flows[name] = as_flow(learn(matching, data, steps, width=64, seed=1))

base = floor(energy_distance, rings, 1000, generator=seeded(74), repeats=6)
best = transport_cost(fresh_ring, fresh_moon[optimal_pairs(fresh_ring, fresh_moon)]).item()
report = {}
for name, flow in flows.items():
    paths, times = run(flow, fresh_moon.to(device), 24)
    ends = [run(flow, fresh_moon.to(device), m, Euler())[0][-1].cpu() for m in (1, 2, 4)] + [paths[-1].cpu()]
    report[name] = {
        "energy": [energy_distance(x, fresh_ring).value for x in ends],
        "cost": transport_cost(paths[-1], paths[0]).item(),
        "optimal": transport_cost(paths[-1], paths[0][optimal_pairs(paths[-1], paths[0])]).item(),
        "S": straightness(paths, times).item(),
        "paths": paths.cpu(),
        "one": ends[0],
    }
print(f"independent pairs cost {transport_cost(ring, moon):.1f}, optimal pairs of 1000 points {best:.1f}")
print("flow's pairs: cost at most 1.1 x optimal, bending over cost")
for name, r in report.items():
    bent = "above 1" if r["S"] > 1 else "below 0.05" if r["S"] < 0.05 else "between"
    print(f"  {name:22s} {r['cost'] < 1.1 * r['optimal']!s:5s}  {bent}")
one_step = {name: r["energy"][0] for name, r in report.items()}
assert one_step["independent"] > 5 * one_step["batches of 256"]
assert one_step["independent"] > 5 * one_step["reflow of the first"]
teacher, pupil = report["independent"]["energy"][3], report["reflow of the first"]["energy"]
assert max(pupil) < 3 * teacher
assert min(pupil) > teacher / 3
print("one step, in units of the independent flow's distance to the rings:")
for name in one_step:
    print(f"  {name:22s} {'1' if name == 'independent' else 'below 1/5'}")

# %%
figure, axes = panels(1, 4, width=14, height=3.7)
for ax, name in zip(axes, flows, strict=False):
    ways = report[name]["paths"][:, :220]
    ax.plot(ways[..., 0], ways[..., 1], color=GREEN, linewidth=0.6, alpha=0.6)
    ax.scatter(*ways[0].T, s=5, color=NOISE, zorder=3)
    ax.scatter(*ways[-1].T, s=5, color=DATA, zorder=3)
    square(ax, 2.4, ylabel="$x_2$" if name == "independent" else "")
    ax.set_title(name)
for name, color, mark in zip(flows, (INK, ORANGE, GREEN), "os^", strict=True):
    axes[3].plot(
        range(4), [max(1000 * e, 0.3) for e in report[name]["energy"]], color=color, marker=mark, label=name
    )
axes[3].axhspan(0.3, 1000 * max(base.mean + 2 * base.standard_deviation, 5e-4), color="#E3EEF6")
axes[3].set(
    ylim=(0.3, 9000), yscale="log", xticks=range(4), xticklabels=["1", "2", "4", "24\nHeun"], xlabel="steps"
)
axes[3].set_title("energy distance, thousandths")
axes[3].legend(frameon=False, fontsize=9)
figure

# %% [markdown]
r"""
*From moons (grey) to rings (blue). On independent pairs the paths first go to the middle, and turn there.
On pairs of minibatches, and after a reflow, they are short and nearly straight. Right: distance to the
rings by number of steps; shaded, what perfect samples score. The reflowed network is as far away as its
teacher was, at any number of steps: it inherits the error, and reaches it at once.*

Whoever needs an image-to-image translation without pairs has it here, and the theorem says that the result
is distributed as it should be. It does not say that *your* zebra becomes the horse you would like: which
moon point goes to which ring point is decided by the coupling, that is by squared distance, and by nothing
that means anything.

**A remark on times.** With independent noise there is little to predict near both ends: by (13.20) the
answer there is $x$ minus a constant, or $-x$. So some train more often in the middle, with $t = 1/(1 +
e^{-\xi})$ and $\xi$ normal (`LogitNormal`; Esser et al., 2024). It changes the weights of the loss, not its
best answer. Chapter 18 uses it.
"""

# %% [markdown]
r"""
## 13.9 Exercises

`check` tells you what is wrong, `hint("13.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Those from the **errata museum** are modelled on mistakes that real people made.
"""

# %%
for one in exercises(13):
    print(one)

# %% [markdown]
r"""
**Exercise 13.1 ★ — what a batch trains on.** Each pair of the batch gets its own time. Return the input of
the network and its target, on the straight interpolant.
"""


# %% tags=["exercise"]
def training_pair(x0, x1, t):
    """(x_t, target), each (B, *), from x0 and x1 (B, *) and t (B,): data at t = 0."""
    ...


# %%
check("13.1", training_pair)

# %% [markdown]
r"""
**Exercise 13.2 ★ — errata museum: a beginner's loss.** It trains, the loss falls, all samples are one blob.
Mend it. (`net` takes points and times of shape `(B,)`; the result is the squared error, a mean over the
axes, one value an example.)
"""


# %% tags=["exercise"]
def loss_of_pairs(net, x0, x1, t):
    """Shape (B,): the squared error of the velocity, for x0 and x1 (B, D) and t (B,): data at t = 0."""
    x_t = (1 - t[:, None]) * x0 + t[:, None] * x1
    assert x_t.shape == x0.shape
    return (net(x1, t) - (x1 - x0)).square().mean(1)


# %%
check("13.2", loss_of_pairs)

# %% [markdown]
r"""
**Exercise 13.3 ★★ — errata museum: a foreign clock.** `theirs(x, r)` is a velocity from a paper: noise at
$r = 0$, data at $r = 1$. This Euler sampler of ours, which walks along falling `times` from 1 to 0, shall
use it. It runs, and draws nonsense. It holds *two* mistakes.
"""


# %% tags=["exercise"]
def euler_with_theirs(theirs, x, times):
    """Where x (B, D), at times[0], arrives at times[-1]; times (steps + 1,) falls; theirs(x, r) -> (B, D)."""
    for i in range(len(times) - 1):
        t, s = times[i], times[i + 1]
        x = x + (s - t) * theirs(x, t)
    return x


# %%
check("13.3", euler_with_theirs)

# %% [markdown]
r"""
**Exercise 13.4 ★★ — the oracle, on any path.** Write (13.8) for $x_t = \alpha x_0 + \sigma x_1$ with pairs
whose *middle* is jittered: $x_t = \alpha x_0^i + \sigma x_1^i + j$, $j\sim\mathcal N(0, h^2 I)$ the same at
all times. What is the average of $\dot x_t$?
"""


# %% tags=["exercise"]
def pairs_velocity(x, x0, x1, alpha, sigma, alpha_dot, sigma_dot, h):
    """Shape (B, D): E[dx_t/dt | x_t = x] for x (B, D), pairs x0 and x1 (N, D), and five numbers."""
    ...


# %%
check("13.4", pairs_velocity)

# %% [markdown]
r"""
**Exercise 13.5 ★★ — errata museum: the last constant.** Lipman et al. keep a little noise on the data. In
our time: $x_t = (1-t)\,x_0 + \sigma_t\,\varepsilon$ with $\sigma_t = \sigma_{\min} + (1-\sigma_{\min})\,t$,
and $u = \mathbb E[(1-\sigma_{\min})\,\varepsilon - x_0\mid x_t]$. A library converts $u$ to the score. Its
tests, with $\sigma_{\min} = 0.001$, pass at every $t$ above 0.1, within a percent. It must be right, and
finite, at $t = 0$.
"""


# %% tags=["exercise"]
def score_with_floor(u, x_t, t, sigma_min):
    """grad log p_t(x_t), shape (B, D), from u and x_t (B, D), t (B,) in [0, 1], and a number."""
    t = t[:, None]
    return -(x_t + (1 - t) * u) / t


# %%
check("13.5", score_with_floor)

# %% [markdown]
r"""
**Exercise 13.6 ★ — predict.** On a *line*, from noise to any data with a density, independent pairs. Flow A
is made with the straight interpolant, flow B with the cosine path, flow C is A after ten reflows. All are
exact and followed exactly. Which statement holds? `"same map"`: all three carry each start to the same end.
`"C cheaper"`: A and B agree, but C has a lower cost. `"A cheaper"`: A and C agree, and B has a higher cost.
`"all differ"`.
"""

# %% tags=["exercise"]
three_flows = ...

# %%
check("13.6", three_flows)

# %% [markdown]
r"""
**Exercise 13.7 ★★★ — what cannot be learnt.** On a line let $(x_0, x_1)$ be jointly Gaussian with standard
deviations $s$ and $r$ and correlation $\rho$, $-1 < \rho < 1$, joined by the straight interpolant. Derive
$\mathcal V = \int_0^1\operatorname{Var}[\dot x_t\mid x_t]\,dt$ in closed form. For $\rho = 0$, $r = 1$ it
must be (13.12). What happens for $\rho\to1$, and for $\rho\to-1$?
"""


# %% tags=["exercise"]
def not_learnable(s, r, rho):
    """V, shape (B,), from s, r and rho, shape (B,)."""
    ...


# %%
check("13.7", not_learnable)

# %% [markdown]
r"""
**Exercise 13.8 ★★ — optimal pairs on a line.** On a line no assignment problem need be solved. Return the
indices that `optimal_pairs` returns, by sorting: `x1[indices]` is the partner of `x0`, row by row. No loop
over pairs.
"""


# %% tags=["exercise"]
def pairs_on_a_line(x0, x1):
    """Indices, shape (B,), whole numbers, for x0 and x1 of shape (B,)."""
    ...


# %%
check("13.8", pairs_on_a_line)

# %% [markdown]
r"""
**Mini-project (open, not graded) — a translator that means something.** Take ten digits in two styles
(chapter 14's digits, and the same ones inverted, or slanted by a shear). Train a flow from one style to the
other on independent pairs, once with and once without the label as a condition, and once with minibatch
pairs within each label. Report: how often is the digit kept (chapter 14's classifier)? What does the cost
say, and does it agree? *Rubric:* floors stand beside every number (2); the three couplings are compared at
equal training and equal steps (3); one-step samples before and after a reflow (2); a failure is shown and
explained by what the coupling does not know (3).

## 13.10 What the field does with it, and where this breaks

- **Flow matching has become the default.** Stable Diffusion 3 trains a transformer on the straight
  interpolant with independent pairs and times from the middle (Esser et al., 2024). On independent Gaussian
  pairs it is a diffusion model with another weight and another schedule, as (13.28) shows; what is new is
  how little there is to tune.
- **Reflow and one-step samplers.** InstaFlow reflowed Stable Diffusion and then distilled it to one step
  (Liu et al., 2024). Today's few-step models more often learn the flow's *map* itself: consistency models,
  mean flows. The straighter the flow, the easier their task.
- **Minibatch pairs** help most where data has few dimensions or an end is not noise: cells in biology,
  molecules (Tong et al., 2024).
- **Stochastic interpolants** add noise in the middle, which vanishes at both ends, and get a score for it
  between any two data sets (Albergo, Boffi and Vanden-Eijnden, 2023). That repairs (13.21).

Where it breaks. *The average must be well behaved*: between point masses $u$ blows up, and (13.1) loses its
uniqueness. *Reflow inherits*: every round trains on the samples of an imperfect network, and what that
network has lost will not return. *Straight is not optimal* (section 13.6), *optimal is not meaningful*
(section 13.8). *The guarantee (13.23) is for the exact flow and the straight line.* And the score, once the
pairs are not independent, is gone (13.21).

### What to remember
- $u(x,t) = \mathbb E[\dot x_t\mid x_t = x]$ keeps all marginals, for any pairs and any curves. The proof is
  the law of total expectation.
- The loss on pairs is the loss on $u$ plus a constant $\mathcal V$, which no network can lower.
- Flows uncross. What is gained is $\mathcal V + \mathcal S$: what crossed plus what bent.
- All $\alpha x_0 + \sigma x_1$ of the same pairs have one map; only the straight one, once uncrossed, is
  followed in one step.
- Turning the clock changes the sign. Look at $t = 0$ and $t = 1$.

### References
- Lipman, Chen, Ben-Hamu, Nickel, Le (2023), *Flow matching for generative modeling*: the marginalisation
  theorem (theorem 1), the loss (theorem 2); their time runs from noise to data.
- Liu, Gong, Liu (2023), *Flow straight and fast: learning to generate and transfer data with rectified
  flow*: reflow (algorithm 1), straightness (section 2.2), convex costs (section 3); the same direction of
  time as Lipman et al.
- Albergo, Vanden-Eijnden (2023), *Building normalizing flows with stochastic interpolants*: general
  interpolants.
- Albergo, Boffi, Vanden-Eijnden (2023), *Stochastic interpolants: a unifying framework for flows and
  diffusions*: scores between any two distributions.
- Tong et al. (2024), *Improving and generalizing flow-based generative models with minibatch optimal
  transport*: pairs as conditions; minibatch pairs.
- Pooladian et al. (2023), *Multisample flow matching: straightening flows with minibatch couplings*:
  (13.22) and its consequences.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: the probability-flow ODE, eq. 13.
- Liu, Zhang, Ma, Peng, Liu (2024), *InstaFlow: one step is enough for high-quality diffusion-based
  text-to-image generation*.
- Esser et al. (2024), *Scaling rectified flow transformers for high-resolution image synthesis*: times from
  the middle, eq. 19.
- Peyré, Cuturi (2019), *Computational optimal transport*: assignment and the line, chapters 2 and 3.
"""
