# %% [markdown]
"""
# 8. DDIM

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/08_ddim.ipynb)

*One trained network, many samplers: skip steps, drop the fresh noise, and get a code for every point*

Chapter 7 trained a network to guess noise and walked back a chain of steps with it, one network call for
each. A thousand steps are a thousand calls. Below, one small network is trained once. Then it is used in
three ways.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from functools import partial
from itertools import pairwise

import torch

from diffedu import (
    DDIM,
    DEIS,
    EPS,
    VP,
    Ancestral,
    DenoisingLoss,
    DiscreteDDPM,
    GaussianMixture,
    Heun,
    NetworkDenoiser,
    eps_hat,
    leading_times,
    linear_betas,
    power_times,
    quadratic_times,
    sample,
    seeded,
    trailing_times,
    trajectory,
    with_zero,
)
from diffedu.evaluate import energy_distance, floor, mmd2
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.nn import MLP
from diffedu.recipes import digits_ddpm
from diffedu.sampling.ancestral import beta_tilde_variance, beta_variance
from diffedu.show import (
    CYCLE,
    DATA,
    GUIDED,
    INK,
    NOISE,
    SCORE,
    VELOCITY,
    curve_panel,
    image_rows,
    panels,
    path_panel,
    square,
)
from diffedu.show.widgets import DDIMPaths
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
T = 1000
path = DiscreteDDPM(linear_betas(T))  # chapter 5

angle = math.pi / 2 + 2 * math.pi / 3 * torch.arange(3, device=device)
corners = torch.stack([angle.cos(), angle.sin()], dim=1)
centres = (1.35 * corners[:, None] - 0.42 * corners[None]).reshape(9, 2)  # chapter 7's nine clusters
shares = torch.tensor([0.5, 0.3, 0.2], device=device)  # of the three groups
mixture = GaussianMixture.isotropic(centres, 0.08, shares.repeat_interleave(3) / 3)
exact = mixture.denoiser(path)

# %%
data = mixture.sample(20_000, seeded(1, device))
torch.manual_seed(0)  # the network's first weights
net = MLP(2, t_max=float(T), width=64).to(device)
state = TrainState(net, TrainConfig(steps=1500, batch=512, lr=4e-3, ema=0.995))
loss = DenoisingLoss(path, EPS)  # any time from 1 to 1000, the same for all
for _ in train(state, lambda net, batch, rng: loss(net, *batch, rng), (data,)):
    pass
learned = NetworkDenoiser(state.ema.net, path, EPS)

N = 1500
start = torch.randn(N, 2, generator=seeded(2, device), device=device)
real = mixture.sample(N, seeded(4, device))
opening = {
    "data": real,
    "DDPM, 1000 calls": sample(
        learned, Ancestral(), start, trailing_times(path, 1000), generator=seeded(3, device)
    ),
    "DDPM, 20 calls": sample(
        learned, Ancestral(), start, trailing_times(path, 20), generator=seeded(3, device)
    ),
    "DDIM, 20 calls": sample(learned, DDIM(), start, trailing_times(path, 20)),
}
figure, axes = panels(1, 4, width=13, height=3.5)
for ax, (title, cloud) in zip(axes, opening.items(), strict=True):
    ax.scatter(*cloud.cpu().T, s=3, color=NOISE if title == "data" else DATA, alpha=0.5, linewidths=0)
    square(ax, 2.4, ylabel="$x_2$" if title == "data" else "")
    ax.set_title(title)
figure

# %% [markdown]
r"""
*One network, three samplers. With a fiftieth of the calls the two clouds on the right have nearly
everything in its place. They are not yet right: clusters are too narrow, and points are stranded between
them.*

The network was trained for a chain of a thousand small steps. Here it is asked at twenty of them, far
apart, by a sampler that it has never heard of. Nothing was retrained.

**Before you read on.** Why is that allowed? Look at what enters the training loss: a time, a clean point,
one noise. What of the *chain* does the loss see? Write down one sentence. Section 8.1 compares it with the
answer.

**You will be able to**
- derive a whole family of noising processes that share all that training sees, and prove that they do;
- write DDIM's step with the right $\eta$ (it is squared), and say what the usual slips of it cost;
- skip steps correctly, and choose which ones;
- say exactly how much variance a step of each member loses, and why fresh noise is both worse and better;
- use the deterministic member as a code: encode, decode, interpolate, and predict the error of a round
  trip;
- recognise DDIM as the simplest solver of an ordinary differential equation.

**You need** chapter 5 (the jump, and the way back when $x_0$ is known) and section 7.6 (ancestral
sampling). **Time**: about 60 minutes to read, under a minute to run, two hours with the exercises.

## 8.1 What the training loss has seen

As always,

$$x_t = \alpha_t\,x_0 + \sigma_t\,\varepsilon, \qquad \alpha_t = \sqrt{\bar\alpha_t},\quad
\sigma_t = \sqrt{1-\bar\alpha_t},\quad \varepsilon \sim \mathcal N(0, I). \tag{8.1}$$
<!-- definition 8.1: the forward jump of chapter 5, with its names -->

The loss of chapter 7 draws $x_0$, draws $t$, jumps by (8.1), and compares. It needs $x_t$ given $x_0$ at
*one* time. It never looks at two times together. So whatever the network has learned, it has learned about
the **marginals** $q(x_t \mid x_0)$. It would have learned the same from any other process with the same
marginals.

Chapter 5 showed three such processes side by side: the walk, a new jump at each time, and one noise kept
for all times. DDPM walks back the first. Let us find all that can be walked back in this way, and pick.

## 8.2 A family of processes

Take two times $s < t$ (neighbours or not). Suppose $x_0$ is known. We look for a way back from $x_t$ to
$x_s$ that is Gaussian, with a mean that is linear in what is known:

$$q(x_s \mid x_t, x_0) = \mathcal N\big(x_s;\ a\,x_0 + b\,x_t,\ \Sigma\, I\big). \tag{8.2}$$
<!-- definition 8.2: the form of the way back; a, b and Sigma are still free -->

One thing is demanded: if $x_t$ has its marginal, then $x_s$ has its own. Put
$x_t = \alpha_t x_0 + \sigma_t\varepsilon$ into (8.2): $x_s$ is then $(a + b\,\alpha_t)\,x_0$, plus
$b\,\sigma_t\,\varepsilon$, plus fresh noise of variance $\Sigma$. The two noises are independent, so they
merge (chapter 5), and the demand is

$$a + b\,\alpha_t = \alpha_s, \qquad b^2 \sigma_t^2 + \Sigma = \sigma_s^2. \tag{8.3}$$

Two equations, three unknowns. One number stays free, and we choose it to be $\Sigma$, anywhere from 0 to
$\sigma_s^2$. Then $b = \sqrt{\sigma_s^2 - \Sigma}\,/\,\sigma_t$. (The root with the plus: the minus would
turn the noise round at each step. That is allowed, and nobody wants it.) With $a = \alpha_s - b\,\alpha_t$,

$$x_s = \alpha_s\, x_0 + \sqrt{\sigma_s^2 - \Sigma}\;
\underbrace{\frac{x_t - \alpha_t x_0}{\sigma_t}}_{\varepsilon} \;+\; \sqrt{\Sigma}\; z,
\qquad z \sim \mathcal N(0, I). \tag{8.4}$$

Read it aloud. Keep the clean point. *Keep some of the noise that was there; replace the rest by fresh
noise;* see to it that the two variances add up to $\sigma_s^2$. This is the whole idea of DDIM.

**Before you read on.** $\Sigma = 0$ replaces nothing. $\Sigma = \sigma_s^2$ replaces everything. Which of
the three pictures of chapter 5 is which? And where is the walk?

Now chain these steps: draw $x_T$ from its marginal, then $x_{T-1}$ given $x_T$ and $x_0$, and so on down,
with any $\Sigma$ of your liking at each step. Each step hands the right marginal to the next one. By
induction, from $T$ downwards,

$$q(x_t \mid x_0) = \mathcal N\big(x_t;\ \alpha_t\, x_0,\ \sigma_t^2 I\big) \qquad
\text{for every } t \text{ and every choice of the } \Sigma\text{'s}. \tag{8.5}$$

Training cannot tell these processes apart. Neither can a network. That is the answer to the question at the
beginning: of the chain, the loss sees nothing.

Checks. (8.3) by an integral over all $x_t$, done as a sum; (8.4) by drawing; (8.5) exactly: with $x_0$
known a step of the package's `DDIM` is an affine map, so mean and covariance can be carried through any
number of steps without a random number.
"""

# %%
t, s = 600, 420
c_t, c_s = (path(torch.tensor(float(k), dtype=torch.float64)) for k in (t, s))
x0_, Sigma = 1.5, 0.3 * c_s.sigma**2
b = (c_s.sigma**2 - Sigma).sqrt() / c_t.sigma
a = c_s.alpha - b * c_t.alpha
normal = torch.distributions.Normal
grid = torch.linspace(-7, 9, 4001, dtype=torch.float64)  # x_t, to be summed over
seen = torch.linspace(-2, 3, 41, dtype=torch.float64)  # x_s
back = normal(a * x0_ + b * grid, Sigma.sqrt()).log_prob(seen[:, None]).exp()
forward = normal(c_t.alpha * x0_, c_t.sigma).log_prob(grid).exp()
there = normal(c_s.alpha * x0_, c_s.sigma).log_prob(seen).exp()
verify("8.3", (back * forward).sum(1) * (grid[1] - grid[0]), there, over="points")

rng = seeded(5)
e, z = torch.randn(2, 200_000, generator=rng, dtype=torch.float64)
x_t = c_t.alpha * x0_ + c_t.sigma * e
x_s = c_s.alpha * x0_ + (c_s.sigma**2 - Sigma).sqrt() * (x_t - c_t.alpha * x0_) / c_t.sigma + Sigma.sqrt() * z
verify_mean("8.4", torch.stack([x_s, x_s**2], 1), [c_s.alpha * x0_, (c_s.alpha * x0_) ** 2 + c_s.sigma**2])


class Known:
    """A denoiser that knows the clean point."""

    def __init__(self, x0):
        self.path, self.x0 = path, x0

    def __call__(self, x_t, t):
        return self.x0.expand_as(x_t)


def affine(denoiser, solver, t, s, dim):
    """A, b, C of x_s = A x_t + b + C z: ask at zero, at unit points and at unit noises."""
    zero, unit = torch.zeros(1, dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
    none = torch.zeros_like(unit)
    out = solver.step(denoiser, torch.cat([zero, unit, none]), t, s, (), torch.cat([zero, none, unit]))[0]
    return (out[1 : dim + 1] - out[0]).T, out[0], (out[dim + 1 :] - out[0]).T


clean = torch.tensor([1.5, -0.5], dtype=torch.float64)
times = torch.tensor([1000.0, 700, 620, 300, 299, 40, 1], dtype=torch.float64)
found, wanted = [], []
for eta in (0.0, 0.4, 1.0):
    c = path(times[0])
    mean, covariance = c.alpha * clean, c.sigma**2 * torch.eye(2, dtype=torch.float64)
    for t, s in pairwise(times):
        A, shift, C = affine(Known(clean), DDIM(eta), t, s, 2)
        mean, covariance = A @ mean + shift, A @ covariance @ A.T + C @ C.T
        c = path(s)
        found.append(torch.cat([mean, covariance.flatten()]))
        wanted.append(torch.cat([c.alpha * clean, c.sigma**2 * torch.eye(2).double().flatten()]))
verify("8.5", torch.stack(found), torch.stack(wanted), over="means and covariances")

# %% [markdown]
r"""
### Where DDPM stands in the family
Divide (8.1) by $\alpha_t$: the noisy point is $x_0$ plus noise of size

$$\rho_t = \frac{\sigma_t}{\alpha_t}, \qquad \kappa = \frac{\rho_s}{\rho_t} \;\in\; [0, 1]
\quad (s < t). \tag{8.6}$$
<!-- definition 8.6: names the noise in units of the signal, and its ratio between two times -->

$\rho$ is the reciprocal root of the SNR. $\kappa$ says by which factor the noise (in units of the signal)
is lowered by the step: near 1 for a small step, 0 for the last one, which lands on clean data. Through
$\kappa$ alone the two times will decide which share of the noise is fresh. First, DDPM's variance, for
neighbours or any other $s < t$: chapter 5 found $\tilde\beta = \beta_{t\mid s}\,\sigma_s^2/\sigma_t^2$ with
$\beta_{t\mid s} = 1 - \alpha_t^2/\alpha_s^2$. Since $\sigma_t^2 = \alpha_t^2 \rho_t^2$ and
$1 = \alpha^2 + \sigma^2$ at both times,
$\beta_{t \mid s} = \sigma_t^2 - \alpha_t^2\sigma_s^2/\alpha_s^2 = \sigma_t^2\,(1-\kappa^2)$, and so

$$\tilde\beta_{s \mid t} = \sigma_s^2\,\big(1 - \kappa^2\big). \tag{8.7}$$

We measure the freedom against it: $\Sigma = \eta^2\,\tilde\beta_{s\mid t}$, with $\eta$ from 0 to 1. Then
the noise that is kept in (8.4) has size $\sigma_s\sqrt{1-\eta^2(1-\kappa^2)}$, and the noises
$\varepsilon_t = (x_t - \alpha_t x_0)/\sigma_t$ at the two times are correlated by just this share:

$$\mathbb E\,[\varepsilon_s\,\varepsilon_t] = \sqrt{1 - \eta^2\,(1-\kappa^2)}
\qquad (1 \text{ for } \eta = 0,\ \ \kappa \text{ for } \eta = 1). \tag{8.8}$$

In each coordinate, that is. So $\Sigma = 0$ is chapter 5's one noise kept for all times. $\Sigma =
\sigma_s^2$ has correlation 0 and is its new jump at each time. The walk lies between them, at $\eta = 1$.

What does the *forward* process look like that we have built backwards? Given $x_0$, the pair $(x_s, x_t)$
is Gaussian, so the mean of $x_t$ given the other two is a regression line. Its slope is the covariance of
the pair over the variance of $x_s$, $\sqrt{1-\eta^2(1-\kappa^2)}\;\sigma_s\sigma_t/\sigma_s^2$, and

$$\mathbb E[x_t \mid x_s, x_0] = \alpha_t x_0 + \sqrt{1-\eta^2(1-\kappa^2)}\;\frac{\sigma_t}{\sigma_s}\,
\big(x_s - \alpha_s x_0\big). \tag{8.9}$$

Collect the terms with $x_0$: $\alpha_t - \sqrt{1-\eta^2(1-\kappa^2)}\,\alpha_s \sigma_t/\sigma_s$. It
vanishes if the root is $\kappa$, that is for $\eta = 1$, and for no other $\eta$. Only then can the next
state be drawn from the present one alone. **DDPM's chain is the one member of the family that is Markov.**
In all the others the noising "knows where it came from". That sounds unnatural, and it does no harm, since
nobody has to run it: training jumps, and sampling goes the other way.
"""

# %%
beta_t_s = 1 - path.alpha_bar[600] / path.alpha_bar[420]
precision = (1 - beta_t_s) / beta_t_s + 1 / c_s.sigma**2  # (5.21): what x_t says, and what x_0 says, of x_s
kappa = (c_s.sigma / c_s.alpha) / (c_t.sigma / c_t.alpha)
verify("8.7", 1 / precision, c_s.sigma**2 * (1 - kappa**2))
assert torch.isclose(beta_tilde_variance(c_t, c_s), 1 / precision)


def walk_back(x0, eta, times, rng):
    """x at all the times, given x0: (8.4) from the first time down."""
    c = path(times[0])
    states = [c.alpha * x0 + c.sigma * torch.randn(x0.shape, generator=rng, dtype=x0.dtype)]
    for t, s in pairwise(times):
        z = torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
        states.append(DDIM(eta).step(Known(x0), states[-1], t, s, (), z)[0])
    return torch.stack(states)


pair_of_times = torch.tensor([600.0, 420.0], dtype=torch.float64)
x0s = torch.full((200_000,), 1.5, dtype=torch.float64)
for eta in (0.5, 1.0):
    x_t, x_s = walk_back(x0s, eta, pair_of_times, seeded(6))
    product = (x_t - c_t.alpha * 1.5) / c_t.sigma * (x_s - c_s.alpha * 1.5) / c_s.sigma
    verify_mean("8.8", product, (1 - eta**2 * (1 - kappa**2)).sqrt())

for eta in (0.0, 0.5, 1.0):  # covariance of (x_0, eps_s, eps_t) -> regression of x_t on (x_s, x_0)
    share = (1 - eta**2 * (1 - kappa**2)).sqrt()
    base = torch.eye(3, dtype=torch.float64)
    base[1, 2] = base[2, 1] = share
    rows = torch.tensor(
        [[c_s.alpha, c_s.sigma, 0], [1, 0, 0], [c_t.alpha, 0, c_t.sigma]], dtype=torch.float64
    )
    joint = rows @ base @ rows.T  # of x_s, x_0, x_t
    slope = torch.linalg.lstsq(joint[:2, :2], joint[:2, 2:]).solution[:, 0]
    on_x0 = c_t.alpha - share * c_t.sigma / c_s.sigma * c_s.alpha
    verify("8.9", slope, torch.stack([share * c_t.sigma / c_s.sigma, on_x0]), rtol=1e-7)
    print(f"   eta = {eta:g}: the next state depends on x_0 with the factor {abs(slope[1].item()):.3f}")

# %%
figure, axes = panels(1, 3, width=11.5, height=3.3, share=True)
fine_times = torch.arange(1000, 0, -2, dtype=torch.float64)
band = path(fine_times)
four = torch.full((4,), 1.5, dtype=torch.float64)
roughness = []
for ax, eta in zip(axes, (0.0, 0.3, 1.0), strict=True):
    film = walk_back(four, eta, fine_times, seeded(7))
    roughness.append((film.diff(dim=0)).square().mean().item())
    low, high = (band.alpha * 1.5 + k * band.sigma for k in (-2, 2))
    ax.fill_between(fine_times, low, high, color="#E3EEF6")
    for k in range(4):
        ax.plot(fine_times, film[:, k], color=CYCLE[k], linewidth=1.1)
    ax.set(xlabel="step t", ylim=(-3.5, 3.6), title=rf"$\eta$ = {eta:g}")
axes[0].set_ylabel("$x_t$")
assert roughness[0] < roughness[1] < roughness[2]
figure

# %% [markdown]
r"""
*Four runs each of three members of the family, all from $x_0 = 1.5$. The band (mean ± 2 standard
deviations) is the same: no single time tells them apart. Left: one noise for life. Right: DDPM's walk.
Between: weaker kicks, and a memory that fades more slowly.*

## 8.3 The sampler, and what it loses

A sampler does not know $x_0$. It has a guess, $\hat x_0$, and the noise that goes with it,
$\hat\varepsilon = (x_t - \alpha_t \hat x_0)/\sigma_t$. Put both into (8.4):

$$\boxed{\ x_s = \alpha_s\,\hat x_0 + \sqrt{\sigma_s^2 - \eta^2\,\tilde\beta_{s\mid t}}\;\;\hat\varepsilon
\;+\; \eta\,\sqrt{\tilde\beta_{s\mid t}}\;\; z\ } \tag{8.10}$$
<!-- code 8.10: diffedu.sampling.ancestral.DDIM -->

The case $\eta = 0$ is called **DDIM** in the narrow sense (denoising diffusion *implicit* model: the sample
is an implicit function of the first noise, and nothing is drawn after it). In code:
"""


# %%
def ddim(guess, x, times, eta, rng):
    """x at the end of the grid, from noise at its beginning; guess(x_t, t) is a guess of the noise."""
    for t, s in pairwise(times):
        c_t, c_s = path(t), path(s)
        eps = guess(x, t)
        x0_hat = (x - c_t.sigma * eps) / c_t.alpha
        kappa = (c_s.sigma / c_s.alpha) / (c_t.sigma / c_t.alpha)
        variance = eta**2 * c_s.sigma**2 * (1 - kappa**2)  # eta SQUARED; 0 where sigma_s = 0
        z = torch.randn(x.shape, generator=rng, dtype=x.dtype, device=x.device)
        x = c_s.alpha * x0_hat + (c_s.sigma**2 - variance).sqrt() * eps + variance.sqrt() * z
    return x


double = mixture.to("cpu", torch.float64)
sharp = double.denoiser(path)
x_start = torch.randn(500, 2, generator=seeded(8), dtype=torch.float64)
twenty = trailing_times(path, 20, dtype=torch.float64)
for eta in (0.0, 0.5, 1.0):
    ours = ddim(lambda x, t: eps_hat(sharp, x, t), x_start, twenty, eta, seeded(9))
    book = sample(sharp, DDIM(eta), x_start, twenty, generator=seeded(9))
    verify("8.10", ours, book, rtol=1e-7, over="coordinates")

# %% [markdown]
r"""
No special case for the last step is needed: it lands on $\sigma_s = 0$, so that $\tilde\beta = 0$ and all
noise terms vanish.

For $\eta = 1$ the kept noise is $\sigma_s\,\kappa$, and (8.10) should be the ancestral step of chapter 7.
There the factor before $x_t$ was $(\alpha_t/\alpha_s)\,\sigma_s^2/\sigma_t^2$. Here $x_t$ stands in
$\hat\varepsilon$, over $\sigma_t$:

$$\frac{\sigma_s\,\kappa}{\sigma_t}
= \frac{\sigma_s}{\sigma_t}\cdot\frac{\sigma_s\,\alpha_t}{\alpha_s\,\sigma_t}
= \frac{\alpha_t}{\alpha_s}\,\frac{\sigma_s^2}{\sigma_t^2}. \tag{8.11}$$

The factors before $\hat x_0$ then agree as well, since both steps obey the first half of (8.3).

**Is the network's training the right one for this member?** Chapter 6's bound has a term for each step but
the last, the divergence between (8.2) and the same with $\hat x_0$. The two have one variance $\Sigma$, so
only the means count. In the mean, $x_0$ stands with the factor $a = \alpha_s -
\alpha_t\sqrt{\sigma_s^2-\Sigma}/\sigma_t$, and $x_0 - \hat x_0 = -(\sigma_t/\alpha_t)(\varepsilon -
\hat\varepsilon)$:

$$\mathrm{KL} = \frac{a^2\,\|x_0 - \hat x_0\|^2}{2\,\Sigma}
= \underbrace{\frac{a^2\,\sigma_t^2}{2\,\Sigma\,\alpha_t^2}}_{w}\;
\|\varepsilon - \hat\varepsilon\|^2. \tag{8.12}$$

The error of the noise again, with another weight. And weights at different times do not change the *best*
network, only what a limited one cares for (chapter 7). So $L_\text{simple}$ trains the whole family at
once. (For $\eta \to 0$ the weight grows without bound, and the bound with it: a deterministic step has no
density to be compared. The sampler does not mind.)
"""

# %%
for t, s in ((600.0, 599.0), (600.0, 420.0), (30.0, 10.0)):
    u, v = (path(torch.tensor(k, dtype=torch.float64)) for k in (t, s))
    k = (v.sigma / v.alpha) / (u.sigma / u.alpha)
    kept = (v.sigma**2 - beta_tilde_variance(u, v)).sqrt()
    assert torch.isclose(kept, v.sigma * k)
same = sample(sharp, Ancestral(), x_start, twenty, generator=seeded(9))
verify(
    "8.11",
    sample(sharp, DDIM(1.0), x_start, twenty, generator=seeded(9)),
    same,
    rtol=1e-7,
    over="coordinates",
)

rng = seeded(10)
x0, noise, guess = torch.randn(3, 1000, generator=rng, dtype=torch.float64)
x_t = c_t.alpha * x0 + c_t.sigma * noise
x0_hat = (x_t - c_t.sigma * guess) / c_t.alpha
for eta in (0.2, 1.0):
    Sigma = eta**2 * beta_tilde_variance(c_t, c_s)
    kept = (c_s.sigma**2 - Sigma).sqrt()
    q = normal(c_s.alpha * x0 + kept * noise, Sigma.sqrt())
    p = normal(c_s.alpha * x0_hat + kept * guess, Sigma.sqrt())
    weight = (c_s.alpha - c_t.alpha * kept / c_t.sigma) ** 2 * c_t.sigma**2 / (2 * Sigma * c_t.alpha**2)
    verify("8.12", torch.distributions.kl_divergence(q, p), weight * (noise - guess) ** 2, over="points")

# %% [markdown]
r"""
### What a step loses
(8.5) was exact since $x_0$ was known. With a guess it is not, not even with the best one,
$\hat x_0 = \mathbb E[x_0 \mid x_t]$. To be exact one would have to *draw* $x_0$ from its posterior given
$x_t$ and put the draw into (8.4). The sampler puts in the mean of all draws, and so misses their spread.
What multiplies it? The factor $a$ of above,
$\alpha_s - \alpha_t\,\sigma_s\sqrt{1-\eta^2(1-\kappa^2)}\,/\sigma_t$; take out $\alpha_s$ and a $\kappa$
appears. If $x_t$ has its right marginal, then by the law of total variance $x_s$ is short of, in the mean
over coordinates,

$$\text{lost}_\eta = \alpha_s^2\,\Big(1 - \kappa\sqrt{1-\eta^2(1-\kappa^2)}\Big)^2\;
\mathbb E\,\tfrac1D \operatorname{tr}\operatorname{Cov}[x_0 \mid x_t]. \tag{8.13}$$

**Before you read on.** $1 - \kappa$ is small for a small step. Which member of the family loses least? By
what factor does DDPM lose more?

For $\eta = 0$ the bracket is $1-\kappa$; for $\eta = 1$ it is $1-\kappa^2 = (1-\kappa)(1+\kappa)$. So

$$\frac{\text{lost}_1}{\text{lost}_0} = (1+\kappa)^2 \;\longrightarrow\; 4
\quad\text{for small steps.} \tag{8.14}$$

**A step of DDPM loses up to four times the variance that a step of DDIM loses.** With an exact guess, this
is why DDIM gets along with fewer. Each loss is of second order in the size of the step, and the number of
steps is one over the size, so the sum is of first order: halve the steps, double the loss. There is a
counterweight. Fresh noise also *forgets*: what an early step did wrong is washed out by later noise, while
the deterministic path carries it to the end. Hence less than the factor 4 is left in the result. And
nothing is lost at any $\eta$ if $\operatorname{Cov}[x_0 \mid x_t] = 0$: for data at a single point every
member is exact, on any grid.

All of this can be seen without a random number. For Gaussian data the best guess is linear, the step
affine.
"""

# %%
slanted = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
gauss = GaussianMixture.single(torch.tensor([0.4, -0.2], dtype=torch.float64), slanted)
u, v = (torch.tensor(k, dtype=torch.float64) for k in (600.0, 420.0))
before, after = gauss.noised(path, u).covariance, gauss.noised(path, v).covariance
spread = gauss.posterior(torch.zeros(1, 2, dtype=torch.float64), u, path)[2][0, 0]  # Cov[x0 | x_t]
lost = {}
for eta in (0.0, 0.5, 1.0):
    A, _, C = affine(gauss.denoiser(path), DDIM(eta), u, v, 2)
    lost[eta] = after - (A @ before @ A.T + C @ C.T)  # a matrix here; (8.13) is a share of its trace
    factor = c_s.alpha**2 * (1 - kappa * (1 - eta**2 * (1 - kappa**2)).sqrt()) ** 2
    verify("8.13", lost[eta], factor * spread, over="entries")
    # with x_0 DRAWN from the posterior instead of guessed, nothing is lost: the marginal is exact
    b = (c_s.sigma**2 * (1 - eta**2 * (1 - kappa**2))).sqrt() / c_t.sigma
    drawn = (c_s.alpha - b * c_t.alpha) ** 2 * spread
    verify("8.5", A @ before @ A.T + C @ C.T + drawn, after, over="entries")
verify("8.14", lost[1.0] / lost[0.0], (1 + kappa).pow(2).expand(2, 2), rtol=1e-7, over="entries")


def law(solver, times, s2=0.25, stop=None):
    """Variance of the result over that of the truth, for data N(0, s2), carried through all steps exactly."""
    denoiser = GaussianMixture.single(torch.zeros(1).double(), torch.full((1, 1), s2).double()).denoiser(path)
    variance = path(times[0]).alpha ** 2 * s2 + path(times[0]).sigma ** 2
    for t, s in pairwise(times):
        A, _, C = affine(denoiser, solver, t, s, 1)
        variance = A.squeeze() ** 2 * variance + C.squeeze() ** 2
        if stop is not None and s <= stop:
            break
    c = path(s)
    return (variance / (c.alpha**2 * s2 + c.sigma**2)).item()


counts = [5, 10, 20, 50, 100, 200, 500]
short = {
    eta: [1 - law(DDIM(eta), trailing_times(path, n, dtype=torch.float64)) for n in counts]
    for eta in (0.0, 0.5, 1.0)
}
print("variance that is missing in the result, data N(0, 1/4), exact guess")
print("steps        " + "".join(f"{n:>7d}" for n in counts))
for eta, values in short.items():
    print(f"eta = {eta:<7g}" + "".join(f"{100 * m:6.1f}%" for m in values))
print(f"DDPM over DDIM at 500 steps: {short[1.0][-1] / short[0.0][-1]:.1f}; a single small step has 4")
order = math.log(short[0.0][-2] / short[0.0][-1]) / math.log(500 / 200)
assert abs(order - 1) < 0.05
print(f"fitted order of the loss in the size of the step, eta = 0: {order:.1f}")
assert all(x < y < z for x, y, z in zip(short[0.0], short[0.5], short[1.0], strict=True))

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.7)
k = torch.linspace(0, 1, 201)
brackets = {
    rf"$\eta$ = {eta:g}": ((1 - k * (1 - eta**2 * (1 - k**2)).sqrt()) / (1 - k).clamp(min=1e-6)) ** 2
    for eta in (0.0, 0.5, 1.0)
}
colors = (DATA, VELOCITY, SCORE)
left.set_ylim(0, 4.2)
curve_panel(
    left,
    k[:-1],
    {name: y[:-1] for name, y in brackets.items()},
    xlabel=r"$\kappa$ (right: small steps)",
    ylabel="lost, in units of DDIM's",
    title="in one step",
    colors=colors,
)
for values, color, style in zip(short.values(), colors, ("-", "--", "-."), strict=True):
    right.plot(counts, values, color=color, linestyle=style, marker="o", markersize=4)
right.set(
    xscale="log", yscale="log", xlabel="steps", ylabel="share of variance missing", title="in the result"
)
right.text(12, 0.12, r"DDIM, $\eta$ = 0", color=DATA, fontsize=10, ha="right")
right.text(40, 0.30, r"DDPM, $\eta$ = 1", color=SCORE, fontsize=10)
figure

# %% [markdown]
r"""
*Left: (8.13) by the size of the step, for one and the same uncertainty of the guess. Right: what is missing
at the end, exact; for many steps the lines have slope −1. The fresh noise of DDPM wins back part of its
factor 4, not all of it.*

## 8.4 Why $\eta$ is squared

$\eta$ multiplies the *standard deviation* of the fresh noise, so the variance goes with $\eta^2$. Software
and blog posts have it in several other ways. They agree at $\eta = 0$ and (some) at $\eta = 1$, where
people test.

**Before you run it,** sort four slips. Which of them change the law of $x_s$, and which only change what
"$\eta = 0.5$" means?
- **A**: variance $\eta\,\tilde\beta$, used in both places.
- **B**: fresh noise of variance $\eta^2\tilde\beta$, but nothing is taken off the old noise (the root is
  just $\sigma_s$).
- **C**: the noise is multiplied by the variance, $\eta^2\tilde\beta\; z$.
- **D**: the root has $\eta\tilde\beta$, the noise has $\eta\sqrt{\tilde\beta}$.

Half of the family is in the middle of the run, so we look there: twenty steps from noise down to $t = 100$,
for data at a single point (where every member is exact) and for data $\mathcal N(0, 1/4)$.
"""


# %%
class Slipped:
    """DDIM with its two variances given: that which is taken off the old noise, and that which is added."""

    def __init__(self, taken, added):
        self.taken, self.added = taken, added

    def init(self, x):
        return ()

    def step(self, denoiser, x_t, t, s, state, z):
        c_t, c_s = path(t), path(s)
        x0_hat, bt = denoiser(x_t, t), beta_tilde_variance(c_t, c_s)
        eps = (x_t - c_t.alpha * x0_hat) / c_t.sigma
        kept = (c_s.sigma**2 - self.taken(bt)).sqrt()
        return c_s.alpha * x0_hat + kept * eps + self.added(bt).sqrt() * z, ()


eta = 0.5
versions = {
    "right": Slipped(lambda bt: eta**2 * bt, lambda bt: eta**2 * bt),
    "A: eta in both places": Slipped(lambda bt: eta * bt, lambda bt: eta * bt),
    "B: nothing taken off": Slipped(lambda bt: 0 * bt, lambda bt: eta**2 * bt),
    "C: variance times z": Slipped(lambda bt: eta**2 * bt, lambda bt: (eta**2 * bt) ** 2),
    "D: eta, and eta squared": Slipped(lambda bt: eta * bt, lambda bt: eta**2 * bt),
    "DDPM's beta at eta = 1": Ancestral(beta_variance),
}
laws = {
    name: [law(solver, trailing_times(path, 20, dtype=torch.float64), s2, stop=100) for s2 in (0.0, 0.25)]
    for name, solver in versions.items()
}
print(f"{'variance at t = 100 over the true one':40s} a point   N(0, 1/4)")
for name, (point, spread_out) in laws.items():
    print(f"{name:40s} {point:.2f}      {spread_out:.2f}")
assert abs(laws["right"][0] - 1) < 1e-9
assert abs(laws["A: eta in both places"][0] - 1) < 1e-9
equal = Slipped(lambda bt: 0.5 * bt, lambda bt: 0.5 * bt)
assert math.isclose(law(equal, twenty, stop=100), law(DDIM(math.sqrt(0.5)), twenty, stop=100), rel_tol=1e-9)

# %% [markdown]
r"""
**A** keeps the balance of (8.3), so it *is* a member of the family: the one with $\eta = \sqrt{0.5} =
0.71$. Nothing is wrong but its name, and with the name every comparison with a paper. Samples hardly show
it (look at its two numbers); a test of one step's noise does. **B**, **C** and **D** upset the balance: too
much noise, or too little, at all steps, for a network that was trained on exactly $\sigma_s$.

The last row is no slip but a published choice. Ho et al.'s larger variance, $\beta_{t\mid s}$ instead of
$\tilde\beta_{s \mid t}$, adds more than was taken off; (8.3) fails, and it lies outside the family. For
small steps the two are nearly the same. For large ones the state has too much noise where the data is finer
than the noise (the column "a point"). Where it is not (the other column), the excess makes up for what
(8.13) loses, here and a little more. Pictures are of the first kind: in the DDIM paper this variance, there
called $\hat\sigma$, gives by far the worst pictures at ten and twenty steps. Our clusters are of the
second, as section 8.6 will show.

## 8.5 Skipped steps

Nothing in (8.4) asks $s$ and $t$ to be neighbours. A grid of any times $\tau_0 > \tau_1 > \dots > 0$ among
those that were trained will do. Two things go wrong in practice.

**The variance of the leap.** Chapter 7's sampler is written with $\beta_t$. On a grid with gaps, $\beta$
must be that of the whole leap,

$$\beta_{t\mid s} = 1 - \frac{\bar\alpha_t}{\bar\alpha_s}, \tag{8.15}$$
<!-- code 8.15: diffedu.sampling.ancestral.step_variance -->

and not the table's $\beta_t$. In (8.10) there is no $\beta$, which is half of DDIM's safety. Who takes
ancestral code with `betas[t]` and merely shortens the loop removes at each visit the noise of one step,
where twenty are due.

**Before you run it:** a thousand betas, every twentieth visited, each with its own $\beta_t$. Data
$\mathcal N(0, 1/4)$. Will the result have too little variance, or too much? About what variance would you
expect?
"""


# %%
class TableBeta:
    """The ancestral step with the long chain's beta_t (or, mended, with the leap's)."""

    def __init__(self, mended):
        self.mended = mended

    def step(self, denoiser, x_t, t, s, state, z):
        c_t, c_s = path(t), path(s)
        beta = 1 - path.alpha_bar[int(t)] / path.alpha_bar[int(s)] if self.mended else path.betas[int(t) - 1]
        eps = (x_t - c_t.alpha * denoiser(x_t, t)) / c_t.sigma
        variance = beta * (c_s.sigma / c_t.sigma) ** 2
        return (x_t - beta / c_t.sigma * eps) / (1 - beta).sqrt() + variance.sqrt() * z, ()


fifty = trailing_times(path, 50, dtype=torch.float64)
added = torch.zeros((), dtype=torch.float64)  # variance that twenty small steps add to a known state
for small in path.betas[400:420]:
    added = (1 - small) * added + small
verify("8.15", added, 1 - path.alpha_bar[420] / path.alpha_bar[400])
print(
    f"variance of the result over the data's, N(0, 1/4), 50 steps of 1000: {law(TableBeta(True), fifty):.2f}"
)
print(f"with the table's beta_t in each leap: {law(TableBeta(False), fifty):.2f}")
assert math.isclose(law(TableBeta(True), fifty), law(DDIM(1.0), fifty), rel_tol=1e-9)

# %% [markdown]
r"""
The mended one agrees with DDIM at $\eta = 1$, as it must. The other returns mostly noise, of nearly the
variance 1 that it began with: its fifty steps together took away the noise of about fifty of the thousand.

**The grid.** Which times? Three habits: *trailing* counts back from $T$ in equal strides; *leading* counts
up from 1 in equal strides; *quadratic* makes equal steps in $\sqrt t$, so that more of them lie at small
noise. The book's functions put the last landing, $t = 0$, at the end of each.

**Before you look:** a leading grid of ten visits never sees $t = 1000$; it starts at $t = 901$. It is
started with pure noise all the same. Does it matter here?
"""

# %%
grids = {
    "trailing": lambda n: trailing_times(path, n),
    "leading": lambda n: leading_times(path, n),
    "quadratic": lambda n: with_zero(quadratic_times(path, n - 1).round()),
}
fine = partial(mmd2, bandwidth=0.1)  # an eye for the size of a cluster; the energy distance sees the large
perfect = {
    m: floor(m, mixture.sample, N, generator=seeded(11, device), repeats=5) for m in (energy_distance, fine)
}
limit = {m: f.mean + 4 * f.standard_deviation for m, f in perfect.items()}


def beside_floor(x, metric):
    """A distance to exact samples, or "floor" where perfect samples do no better."""
    value = metric(x, real).value
    return f"{value:.3f}" if value > limit[metric] else "floor"


print("exact guess, DDIM: distance to exact samples (energy, MMD² of bandwidth 0.1)")
print(f"{'grid':12s}{'first times':24s}{'5 steps':18s}{'10 steps':18s}20 steps")
by_grid = {}
for name, make in grids.items():
    row = []
    for n in (5, 10, 20):
        x = sample(exact, DDIM(), start, make(n))
        by_grid[name, n] = fine(x, real).value
        row.append(f"{beside_floor(x, energy_distance)}  {beside_floor(x, fine)}")
    first = ", ".join(f"{t:.0f}" for t in make(10)[:3].tolist())
    print(f"{name:12s}{first:24s}" + "".join(f"{cell:18s}" for cell in row).rstrip())
assert by_grid["quadratic", 10] < by_grid["trailing", 10]

figure, (ax,) = panels(1, 1, width=9, height=2.3)
for k, (name, make) in enumerate(grids.items()):
    times = make(10)
    ax.plot(times, torch.full((len(times),), float(-k)), "o", color=CYCLE[k], markersize=7)
    ax.text(1040, -k, name, color=CYCLE[k], va="center")
ax.set(xlim=(-20, 1190), ylim=(-2.6, 0.6), yticks=[], xlabel="step t (data on the left)")
ax.set_title("ten steps on three grids")
figure

# %% [markdown]
r"""
*Eleven times of each grid. Trailing starts where the noise is; leading does not; quadratic spends its steps
near the data.*

By $t = 901$ this schedule has hardly any signal left, so starting there with pure noise costs little;
leading even comes out a little ahead. Where the schedule stops short of pure noise, or with data of large
variance, it costs proportions or brightness (chapter 5, section 5.7). What does matter for our narrow
clusters is the end: a quadratic grid has its steps where the clusters become sharp. Chapter 11 chooses
grids by a rule instead of by habit.

## 8.6 Train once, two samplers

Now the network. Same weights throughout; only the sampler and the number of calls change. Beside it the
exact guess: what the sampler alone does wrong.
"""

# %%
samplers = {
    "DDIM": DDIM(),
    "DDPM, beta tilde": Ancestral(beta_tilde_variance),
    "DDPM, beta": Ancestral(beta_variance),
}
calls = [5, 10, 20, 50, 100]
errors = {}
for who, denoiser in (("network", learned), ("exact guess", exact)):
    for name, solver in samplers.items():
        for n in calls:
            x = sample(denoiser, solver, start, trailing_times(path, n), generator=seeded(12, device))
            errors[who, name, n] = (energy_distance(x, real).value, fine(x, real).value)
for k, metric, label in ((0, energy_distance, "energy distance"), (1, fine, "MMD², bandwidth 0.1")):
    print(f"{label}, exact guess (floor: perfect samples do no better)")
    for name in samplers:
        cells = [errors["exact guess", name, n][k] for n in calls]
        print(
            f"  {name:18s}"
            + "".join(
                f"{n:>5d}: " + (f"{v:.3f}" if v > limit[metric] else "floor") for n, v in zip(calls, cells)
            )
        )
excess = [
    errors["network", name, n][k] / errors["exact guess", name, n][k]
    for name in ("DDIM", "DDPM, beta tilde")
    for n in (5, 10)
    for k in (0, 1)
]
assert max(excess) < 1.3
assert min(excess) > 0.8
print("at 5 and 10 calls the network's error is within 30 % of the exact guess's, DDIM and beta tilde")
assert all(errors["network", "DDIM", n][0] < errors["network", "DDPM, beta tilde", n][0] for n in (5, 10))

figure, axes = panels(1, 2, width=11.5, height=3.9)
for k, (ax, metric, label) in enumerate(
    zip(axes, (energy_distance, fine), ("energy distance", "MMD², bandwidth 0.1"), strict=True)
):
    for (name, _), color, mark in zip(samplers.items(), (DATA, SCORE, VELOCITY), "os^", strict=True):
        values = [max(errors["network", name, n][k], 1e-5) for n in calls]
        theirs = [max(errors["exact guess", name, n][k], 1e-5) for n in calls]
        ax.plot(calls, values, color=color, marker=mark, markersize=5, label=name)
        ax.plot(calls, theirs, color=color, linestyle=":", linewidth=1.3)
    ax.axhspan(1e-5, limit[metric], color="#EEEEEE")
    ax.text(5.3, limit[metric] * 0.62, "floor: perfect\nsamples lie here", color=INK, fontsize=9, va="top")
    ax.set(xscale="log", yscale="log", xlabel="network calls", ylabel=label, ylim=(limit[metric] / 6, 0.15))
    ax.set_xticks(calls, [str(n) for n in calls])
    ax.minorticks_off()
axes[1].legend(frameon=False, fontsize=10)
figure

# %% [markdown]
r"""
*Error by number of calls for the one network (solid) and for the exact guess (dotted), in two measures. In
the grey band a sampler can't be told from perfect samples. The estimates have no bias, so down there some
are zero or less, and their lines leave the picture.*

Three readings. At few calls the solid lines follow the dotted ones: it is the *sampler* that errs, not the
network. DDIM needs fewer calls than the member with $\tilde\beta$, as (8.14) said it would. And DDPM's
$\beta$, which is outside the family, does best of all at few calls *on this data*, for the reason given in
section 8.4: its excess noise happens to fill up what (8.13) loses. On a single point, or on pictures, the
same excess stays as grain. A sampler's rank depends on the data.

With more calls the energy distance soon sees no difference to perfect samples. The finer measure still does
at a hundred: clusters a little too narrow, or too wide with $\beta$. There the tables may turn, too: a
network's small errors are carried along by deterministic steps and washed out by noise. Chapter 14 meets
this with pictures.

### Look at it
Four starts, each walked five times, and where three hundred others end. **Before you move anything:** at
$\eta = 0$, how many lines will leave each start? And which knob decides whether points are stranded between
clusters: `eta`, or `steps`?
"""

# %%
DDIMPaths(mixture, path)

# %% [markdown]
r"""
*With $\eta = 0$ the five walks are one smooth line: the start decides everything. With larger $\eta$ they
part, and may end in different clusters. With few steps points are stranded between clusters at any $\eta$.*
"""

# %%
figure, axes = panels(1, 3, width=11.5, height=3.9)
for ax, eta in zip(axes, (0.0, 0.3, 1.0), strict=True):
    begin = torch.randn(3, 2, generator=seeded(20, device), device=device).repeat_interleave(4, 0)
    walk = trajectory(exact, DDIM(eta), begin, trailing_times(path, 25), generator=seeded(21, device))
    states = torch.stack([x for _, x in walk])
    ax.scatter(*real[:500].cpu().T, s=3, color="#C8C8C8", linewidths=0)
    for k, color in enumerate((SCORE, VELOCITY, GUIDED)):
        path_panel(ax, states[:, 4 * k : 4 * k + 4], limit=2.6, color=color)
    apart = states[-1].reshape(3, 4, 2)
    apart = (apart - apart.mean(1, keepdim=True)).square().sum(-1).mean().sqrt()
    ax.set_title(rf"$\eta$ = {eta:g}: copies end {apart:.1f} apart")
    if eta == 0:
        assert apart < 1e-5
figure

# %% [markdown]
r"""
*The widget's left panel at three settings, 25 steps: three starts (hollow), four walks from each in one
colour, ends in blue. Left the four are one line. In the middle they keep some memory of their start; right,
none that the eye can see.*
"""

# %% [markdown]
r"""
## 8.7 Without fresh noise: an ordinary differential equation

Set $\eta = 0$ in (8.10), put in $\hat x_0 = (x_t - \sigma_t\hat\varepsilon)/\alpha_t$, and divide by
$\alpha_s$. In the variable $y = x/\alpha$, the noisy point in units of the signal, the step is

$$y_s = y_t + (\rho_s - \rho_t)\;\hat\varepsilon(x_t, t). \tag{8.16}$$
<!-- code 8.16: diffedu.sampling.multistep.DEIS -->

Old value, plus step, times slope: this is **Euler's method**, with $\rho$ as the time and the guessed noise
as the slope. So DDIM in many small steps follows the differential equation

$$\frac{dy}{d\rho} = \hat\varepsilon(\alpha y,\ t(\rho)), \qquad
y = \frac{x}{\alpha},\quad \rho = \frac{\sigma}{\alpha},
\tag{8.17}$$

from $\rho_T$ (large: noise) down to 0 (data). In words: as the noise level falls by $d\rho$, take away
$d\rho$ times the noise that you see. No schedule is left in it. Chapter 10 derives the same equation from
quite another side, as the *probability-flow ODE*, and chapter 11 solves it by better methods than Euler's
(`DEIS` is (8.16) with memory; its order 1 is DDIM).

**Before you read on.** For data $\mathcal N(0, s^2)$, where must a point go that begins one standard
deviation off the centre, at $y_T = \sqrt{s^2 + \rho_T^2}$? (There is one answer that keeps all marginals
right and the order of the points on the line.)

For such data $y_\rho$ has variance $s^2 + \rho^2$ and the guess is
$\hat\varepsilon = \rho\,y/(s^2+\rho^2)$. The equation $dy/y = \rho\,d\rho/(s^2+\rho^2)$ has on its right
the derivative of $\tfrac12\log(s^2+\rho^2)$, so

$$y_\rho = y_{\rho_T}\,\sqrt{\frac{s^2 + \rho^2}{s^2 + \rho_T^2}}. \tag{8.18}$$

Who begins at one standard deviation stays at one standard deviation, all the way. For other data on a line
the shape changes on the way, but something stays. Solutions of an ODE with a smooth slope can't cross, so
points keep their order, and with it the share of points to the left of any one. And in the limit of small
steps no marginal is wrong (chapter 10 proves it). With $F_\rho$ for the exact distribution function of
$y$ at level $\rho$,

$$F_{\rho}(y_\rho) = F_{\rho_T}(y_{\rho_T}) \qquad \text{in one dimension.} \tag{8.19}$$

**On a line, DDIM's code of a data point is its quantile.** In the plane there is no order, and (8.19) has
no such simple form; but there, too, every start has one path and one end.

For the equations to hold at all $\rho$ we need a path that is smooth in time: `VP()`, chapter 5's limit of
infinitely many betas. (8.17) is checked with a solver that knows nothing of $y$ and $\rho$: `Heun` of
chapter 10's equation in $x$ and $t$.
"""

# %%
smooth = VP()
flow = double.denoiser(smooth)
start64 = start[:300].to("cpu", torch.float64)
grid = power_times(smooth, 30, 2.0, end=0.01, dtype=torch.float64)
verify(
    "8.16",
    sample(flow, DEIS(1), start64, grid),
    sample(flow, DDIM(), start64, grid),
    rtol=1e-8,
    over="coordinates",
)
c, x, y = smooth(grid[0]), start64, start64 / smooth(grid[0]).alpha
for t, s in pairwise(grid):  # Euler, written out
    y = y + (smooth(s).sigma / smooth(s).alpha - smooth(t).sigma / smooth(t).alpha) * eps_hat(
        flow, smooth(t).alpha * y, t
    )
verify("8.16", smooth(grid[-1]).alpha * y, sample(flow, DDIM(), start64, grid), rtol=1e-8, over="coordinates")

middle = torch.tensor(0.3, dtype=torch.float64)
c = smooth(middle)
here = double.noised(smooth, middle).sample(300, seeded(13))
around = [middle - 1e-4, middle + 1e-4]
ends = [Heun().step(flow, here, middle, s, (), here)[0] / smooth(s).alpha for s in around]
levels = [smooth(s).sigma / smooth(s).alpha for s in around]
slope = (ends[1] - ends[0]) / (levels[1] - levels[0])
verify("8.17", slope, eps_hat(flow, here, middle), rtol=1e-5, over="coordinates")

dense = power_times(smooth, 400, 2.0, end=0.002, dtype=torch.float64)
on_line = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
s2 = 0.25
single = GaussianMixture.single(torch.zeros(1).double(), torch.full((1, 1), s2).double())
rho_T, rho_0 = (smooth(t).sigma / smooth(t).alpha for t in (dense[0], dense[-1]))
arrived = sample(single.denoiser(smooth), DEIS(3), on_line, dense) / smooth(dense[-1]).alpha
closed = on_line / smooth(dense[0]).alpha * ((s2 + rho_0**2) / (s2 + rho_T**2)).sqrt()
verify("8.18", arrived, closed, rtol=1e-5, over="points")

places = torch.tensor([[-1.2], [0.2], [1.0]], dtype=torch.float64)
widths = torch.tensor([0.3, 0.15, 0.2], dtype=torch.float64)
line = GaussianMixture(
    torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64), places, (widths**2).reshape(3, 1, 1)
)


def below(x, t):
    """The share of points to the left of x at time t: the distribution function, exact."""
    noised = line.noised(smooth, t)
    each = normal(noised.means[:, 0], noised.covariances[:, 0, 0].sqrt()).cdf(x)
    return (each * noised.weights).sum(1)


film = list(trajectory(line.denoiser(smooth), DEIS(3), on_line, dense))
shares_kept = torch.stack([below(x, t) for t, x in (film[200], film[-1])])
verify("8.19", shares_kept, below(on_line, dense[0]).expand(2, 21), rtol=1e-4, over="points")

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.9)
starts = smooth(dense[0]).sigma * normal(0.0, 1.0).icdf(torch.linspace(0.04, 0.96, 24, dtype=torch.float64))
many = torch.stack([x[:, 0] for _, x in trajectory(line.denoiser(smooth), DEIS(3), starts[:, None], dense)])
left.plot(dense, many, color=SCORE, linewidth=1.0, alpha=0.8)
left.scatter(dense[-1].expand(24), many[-1], s=14, color=DATA, zorder=3)
left.scatter(dense[0].expand(24), many[0], s=14, facecolors="white", edgecolors=NOISE, zorder=3)
left.set(xlabel="time t (data on the left)", ylabel="$x_t$", title="paths never cross")
assert (many.diff(dim=1) > 0).all()
codes = torch.linspace(-2.6, 2.6, 400, dtype=torch.float64)[:, None]
fates = sample(line.denoiser(smooth), DEIS(3), codes, dense)
right.plot(codes, fates, color=DATA)
for n, color, style in ((5, GUIDED, "--"), (20, VELOCITY, "-.")):
    coarse = power_times(smooth, n, 2.0, end=0.002, dtype=torch.float64)
    right.plot(codes, sample(line.denoiser(smooth), DDIM(), codes, coarse), color=color, linestyle=style)
right.text(-2.5, 1.15, "DDIM, 5 steps (dashed)", color=GUIDED, fontsize=10)
right.text(-2.5, 0.80, "DDIM, 20 steps", color=VELOCITY, fontsize=10)
right.text(-2.5, 0.45, "the limit", color=DATA, fontsize=10)
right.set(xlabel="code $x_T$", ylabel="data point", title="from code to data")
figure

# %% [markdown]
r"""
*Left: 24 starts with equal shares of probability between them; none overtakes another. Right: the map from
code to data. Three clusters are three gentle stretches, the gaps between them are steep: a small change of
code there changes the cluster. Five steps blunt the map.*

## 8.8 Encoding and decoding

An ODE can be run both ways. Give `trajectory` *increasing* times and the same step (8.10) carries data to
noise: this is **encoding**. Decoding the code should give the point back.

**Before you read on.** Twenty steps up, twenty steps down, on the same grid. Is the point that comes back
*exactly* the one that left? If not: who is to blame, the step up or the step down?

Step down from $t$ to $s$, then up again, by (8.16) both times. Down uses the slope at $(x_t, t)$, up the
slope at the new place, $(x_s, s)$:

$$y_t' - y_t = (\rho_t - \rho_s)\,\big[\hat\varepsilon(x_s, s) - \hat\varepsilon(x_t, t)\big]. \tag{8.20}$$

Neither is to blame: each is Euler's method, and Euler's method read backwards is not Euler's method. The
bracket is itself of the size of the step, so one return trip errs by the square of it, and $n$ of them by
$1/n$: **order one**. (A step *can* be inverted exactly, by solving for the $x_t$ that it came from:
exercise 8.6.)
"""

# %%
t, s = (torch.tensor(k, dtype=torch.float64) for k in (0.5, 0.4))
there_x = DDIM().step(flow, here, t, s, (), here)[0]
back_x = DDIM().step(flow, there_x, s, t, (), here)[0]
u, v = smooth(t), smooth(s)
jump = (u.sigma / u.alpha - v.sigma / v.alpha) * (eps_hat(flow, there_x, s) - eps_hat(flow, here, t))
verify("8.20", (back_x - here) / u.alpha, jump, rtol=1e-8, over="coordinates")

points = double.noised(smooth, 0.01).sample(400, seeded(14))  # data with a trace of noise, see below


def typical(x):
    """The median distance."""
    return x.norm(dim=1).median().item()


fine_grid = power_times(smooth, 1500, 2.0, end=0.01, dtype=torch.float64)
true_code = sample(flow, DEIS(3), points, fine_grid.flip(0))
counts = [20, 40, 80, 160, 320]
trip, code_error, moved = [], [], []
for n in counts:
    down = power_times(smooth, n, 2.0, end=0.01, dtype=torch.float64)
    code = sample(flow, DDIM(), points, down.flip(0))  # increasing times: encoding
    back_again = sample(flow, DDIM(), code, down)
    trip.append(typical(back_again - points))
    code_error.append(typical(code - true_code))
    nearest = [torch.cdist(x, double.means).argmin(1) for x in (points, back_again)]
    moved.append(int((nearest[0] != nearest[1]).sum()))


def fitted_order(errors, counts):
    n, e = (torch.tensor(v, dtype=torch.float64).log() for v in (counts, errors))
    return (-((n - n.mean()) * (e - e.mean())).sum() / (n - n.mean()).square().sum()).item()


for name, values in (("round trip", trip), ("code", code_error)):
    order = fitted_order(values[2:], counts[2:])
    print(f"median error, {name:10s} at {counts} steps: " + ", ".join(f"{v:.3f}" for v in values))
    print(f"    fitted order from 80 steps on: {order:.1f}")
    assert abs(order - 1) < 0.15

print(f"points of 400 that come back in another cluster: {moved}")
assert moved[-1] <= moved[0]
spread_of_codes = true_code.std(0)
print("standard deviation of the true codes by coordinate:", *[f"{v:.1f}" for v in spread_of_codes])

# %%
figure, (left, middle, right) = panels(1, 3, width=12.5, height=3.7)
group = torch.cdist(points, double.means).argmin(1) // 3
for k, color in enumerate((DATA, SCORE, VELOCITY)):
    left.scatter(*points[group == k].T, s=6, color=color, linewidths=0)
    middle.scatter(*true_code[group == k].T, s=6, color=color, linewidths=0)
square(left, 2.4)
square(middle, 3.6)
left.set_title("data, coloured by group")
middle.set_title("their codes")
for values, color, mark in ((trip, DATA, "o"), (code_error, SCORE, "s")):
    right.plot(counts, values, color=color, marker=mark, markersize=5)
right.plot(counts, [trip[-1] * 0.6 * counts[-1] / n for n in counts], color=INK, linestyle=":", linewidth=1.2)
right.text(370, code_error[-1], "code", color=SCORE, va="center")
right.text(370, trip[-1], "round\ntrip", color=DATA, va="center")
right.text(30, trip[-1] * 0.25 * 320 / 45, "order 1", color=INK, fontsize=10)
right.set(xscale="log", yscale="log", xlabel="steps each way", ylabel="median error", title="there and back")
right.set_xticks(counts, [str(n) for n in counts])
right.minorticks_off()
figure

# %% [markdown]
r"""
*Left and middle: 400 data points, and the noise that each is the image of. Codes of one group stay
together; all codes together look like noise. Right: the median error of encoding, and of encoding and
decoding, by the number of steps; order 1.*

The *median*, for a reason. The code of a point may lie where the map from code to data is steep (the figure
before). There a tiny error of the code brings the point back in another cluster. They become few as steps
become many (the counts stand above), but a root mean square would speak of nothing else.

Why "with a trace of noise"? Encoding can't start at $t = 0$: there $\sigma = 0$, and a guess of the noise
would divide by it. It starts at a small $t$, with a point that should have the noise of that level. People
leave that noise out, and then the network is asked about a point cleaner than any that it saw at that
level. For pictures with large flat areas that can upset the code.

## 8.9 Walking between two codes

Two noises $z_0, z_1$, two data points. What lies between? Blending two *pictures* gives a double exposure.
Blending two *codes* and decoding should give something that is itself data. But blend how? The first idea
is the straight line, $(1-\lambda) z_0 + \lambda z_1$.

**Before you read on.** $z_0$ and $z_1$ are independent, each of variance 1 in each coordinate. What is the
variance halfway? And what does a denoiser think that was trained on variance 1?

Independent variances add, and factors come out squared:

$$\operatorname{Var}\big[(1-\lambda) z_0 + \lambda z_1\big] = (1-\lambda)^2 + \lambda^2, \qquad
\tfrac12 \text{ at } \lambda = \tfrac12. \tag{8.21}$$

In $D$ dimensions the length of a noise is near $\sqrt D$, give or take 0.7 (one over $\sqrt 2$, for any
large $D$). Halfway along the line it is $\sqrt{D/2}$. For 784 pixels that is 19.8 instead of 28: nearly
twelve standard deviations off anything the network has seen. So walk along the *sphere*. With $\Omega$ the
angle between the two,

$$z_\lambda = \frac{\sin\big((1-\lambda)\,\Omega\big)}{\sin\Omega}\;z_0
+ \frac{\sin(\lambda\,\Omega)}{\sin\Omega}\;z_1,
\qquad \cos\Omega = \frac{z_0\cdot z_1}{\|z_0\|\,\|z_1\|}. \tag{8.22}$$

If $\|z_0\| = \|z_1\|$ all points of the way have this length, and the angle to $z_0$ is $\lambda\Omega$.
(For the length, square (8.22) and use $\sin^2 A + \sin^2 B + 2\sin A \sin B\cos\Omega = \sin^2\Omega$ for
$A + B = \Omega$.) In high dimension two noises are nearly at a right angle, and (8.22) is nearly
$\cos(\tfrac\pi2\lambda)\,z_0 + \sin(\tfrac\pi2\lambda)\,z_1$: two factors whose squares add up to 1, as
chapter 5's coefficients do.

A test with teeth: **halfway between two draws there should be a draw.** For many pairs of noises, decode
the midpoints and compare with data.
"""


# %%
def spherical(z0, z1, lam):
    """(8.22) for vectors z0, z1 (B, D) and a number lam."""
    cosine = (z0 * z1).sum(1, keepdim=True) / (z0.norm(dim=1, keepdim=True) * z1.norm(dim=1, keepdim=True))
    omega = torch.acos(cosine.clamp(-1, 1))
    return (torch.sin((1 - lam) * omega) * z0 + torch.sin(lam * omega) * z1) / torch.sin(omega)


rng = seeded(15)
z0, z1 = torch.randn(2, 50_000, 2, generator=rng, dtype=torch.float64)
print(
    f"from 28 to 28 / sqrt(2) are {(28 - 28 / 2**0.5) / 0.5**0.5:.1f} standard deviations of a noise's length"
)
verify_mean("8.21", (0.7 * z0 + 0.3 * z1).square(), [0.7**2 + 0.3**2] * 2)
long0, long1 = (
    z / z.norm(dim=1, keepdim=True) * 28 for z in torch.randn(2, 100, 784, generator=rng).double()
)
whole = torch.acos((long0 * long1).sum(1) / 28**2)
for lam in (0.2, 0.5, 0.9):
    z_lam = spherical(long0, long1, lam)
    verify("8.22", z_lam.norm(dim=1), torch.full_like(whole, 28.0), over="lengths")
    turned = torch.stack([torch.acos((z_lam * end).sum(1) / 28**2) for end in (long0, long1)])
    verify("8.22", turned, torch.stack([lam * whole, (1 - lam) * whole]), over="angles to the ends")

wide = torch.randn(2, 2000, 784, generator=rng)
straight, round_way = 0.5 * (wide[0] + wide[1]), spherical(wide[0], wide[1], 0.5)
for name, z in (("a noise", wide[0]), ("halfway, straight", straight), ("halfway, spherical", round_way)):
    print(f"length in 784 dimensions, {name:20s} {z.norm(dim=1).mean():.1f} ± {z.norm(dim=1).std():.1f}")

ways = {
    "straight": lambda a, b: 0.5 * (a + b),
    # in float64: in the plane float32 may round the cosine of a small angle to 1
    "spherical": lambda a, b: spherical(a.cpu().double(), b.cpu().double(), 0.5).to(a),
    "cos and sin": lambda a, b: math.sqrt(0.5) * (a + b),
}
z0, z1 = torch.randn(2, N, 2, generator=seeded(16, device), device=device)
between = {name: sample(exact, DDIM(), way(z0, z1), trailing_times(path, 100)) for name, way in ways.items()}
ordinary = sample(exact, DDIM(), z0, trailing_times(path, 100))
print("distance of the decoded midpoints to data (energy distance), in the plane")
for name, x in {"one noise": ordinary, **between}.items():
    print(f"  {name:12s} {beside_floor(x, energy_distance)}")
apart = {name: energy_distance(x, real).value for name, x in between.items()}
assert apart["straight"] > 1.5 * apart["spherical"] > 3 * limit[energy_distance]
assert apart["cos and sin"] < limit[energy_distance]

# %% [markdown]
r"""
The straight midpoints fail. So do, by less, those of (8.22) in the *plane*, where its factors depend on the
angle and angles are anything but right. For independent draws the plain cosine and sine are exact in any
dimension, by chapter 5's turn of the head. In 784 dimensions the two ways are one. Now with pictures: the
digit network of chapter 14, two noises, seven points between.
"""

# %%
digit_net = digits_ddpm.load(device=device)
digit_denoiser = digits_ddpm.denoiser(digit_net)
two = torch.randn(4, 1, 28, 28, generator=seeded(5), device="cpu")[2:].to(device)
steps_down = trailing_times(digits_ddpm.PATH, 20)
lambdas = torch.linspace(0, 1, 9).tolist()
flat0, flat1 = two.flatten(1)[:1], two.flatten(1)[1:]
rows = {
    "straight": torch.cat([(1 - lam) * flat0 + lam * flat1 for lam in lambdas]),
    "spherical": torch.cat([spherical(flat0, flat1, lam) for lam in lambdas]),
}
with torch.no_grad():
    codes_down = torch.cat(list(rows.values())).reshape(-1, 1, 28, 28)
    decoded = digits_ddpm.decode(sample(digit_denoiser, DDIM(), codes_down, steps_down))
first, last = decoded[:1], decoded[8:9]
film = {
    "pixels blended": torch.cat([(1 - lam) * first + lam * last for lam in lambdas]),
    "codes, straight": decoded[:9],
    "codes, spherical": decoded[9:],
}
pairs = torch.randn(2, 12, 1, 28, 28, generator=seeded(17), device="cpu").to(device)
midpoints = torch.cat([0.5 * (pairs[0] + pairs[1]), math.sqrt(0.5) * (pairs[0] + pairs[1])])
ink = digits_ddpm.decode(sample(digit_denoiser, DDIM(), midpoints, steps_down)).add(1).mean((1, 2, 3))
assert ink[:12].mean() < ink[12:].mean()
print("twelve pairs: the straight midpoints have less ink than the spherical ones")
image_rows(film, titles=[f"{lam:.2f}" for lam in lambdas], scale=0.85)

# %% [markdown]
r"""
*From one digit to another. Top: blended pictures are double exposures. Below: at each stop the blended
codes decode to one set of strokes. Halfway the straight row grows thin.*

The thinning is what (8.21) predicts: too little noise is read as a picture with too little contrast. It is
not large here. This network cuts its guesses to the range of pixels, and so forgives a good part of a code
that is too short; the law in the plane does not. One row of pictures is weak evidence. Hence the count over
twelve pairs.

## 8.10 Exercises

`check` tells you what is wrong, `hint("8.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Those from the **errata museum** are mistakes that were published.
"""

# %%
for one in exercises(8):
    print(one)

# %% [markdown]
r"""
**Exercise 8.1 ★ — the step.** Write (8.10) for a batch in which each point has its own two times.
"""


# %% tags=["exercise"]
def ddim_step(x_t, eps, abar_t, abar_s, eta, z):
    """x_s (B, D) from x_t, guessed and fresh noise (B, D), alpha_bar at t and s (B,), a number eta."""
    ...


# %%
check("8.1", ddim_step)

# %% [markdown]
r"""
**Exercise 8.2 ★ — predict.** Data: a single point, known to the denoiser. You sample from pure noise in
*three* huge steps and look at the states on the way, after two of them. For which $\eta$ do they have exactly
the right marginal there: `"only 0"`, `"only 1"`, `"all"`, or `"none"`? (Let $\bar\alpha_T = 0$.)
"""

# %% tags=["exercise"]
exact_members = ...

# %%
check("8.2", exact_members)

# %% [markdown]
r"""
**Exercise 8.3 ★★ — errata museum: $\eta$.** A step from a public notebook, with *two* mistakes. At
$\eta = 0$ it is right.
"""


# %% tags=["exercise"]
def old_ddim_step(x_t, eps, abar_t, abar_s, eta, z):
    """x_s (B, D) from x_t, eps and z (B, D), alpha_bar at t and s (numbers, s < t) and a number eta."""
    x0_hat = (x_t - (1 - abar_t) ** 0.5 * eps) / abar_t**0.5
    variance = eta * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
    return abar_s**0.5 * x0_hat + (1 - abar_s - variance) ** 0.5 * eps + variance * z


# %%
check("8.3", old_ddim_step)

# %% [markdown]
r"""
**Exercise 8.4 ★★ — errata museum: the skipped steps.** A DDPM step that somebody made "fast" by calling it
for every twentieth $t$ only, with $s = t - 20$. Mend it. For $s = t - 1$ it must stay what it is.
"""


# %% tags=["exercise"]
def fast_step(x_t, eps, t, s, betas, z):
    """x_s (B, D) from x_t, eps, z (B, D), whole numbers 0 <= s < t, betas (T,); variance beta tilde."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta = betas[t - 1]
    mean = (x_t - beta / (1 - alpha_bar[t]).sqrt() * eps) / (1 - beta).sqrt()
    variance = (1 - alpha_bar[s]) / (1 - alpha_bar[t]) * beta
    return mean + variance.sqrt() * z


# %%
check("8.4", fast_step)

# %% [markdown]
r"""
**Exercise 8.5 ★★ — on the sphere.** Write (8.22) for two batches of noise of any shape `(B, *)`, with one
$\lambda$ for each pair. The angle is one number for each pair, between the *whole* pictures.
"""


# %% tags=["exercise"]
def slerp(z0, z1, lam):
    """Noises (B, *) between z0 and z1 (B, *), at lam (B,) in [0, 1]; no pair is parallel."""
    ...


# %%
check("8.5", slerp)

# %% [markdown]
r"""
**Exercise 8.6 ★★★ — an exact inverse.** A deterministic step went from $x_t$ to $x_s$. You hold $x_s$; find
the $x_t$ that it came from. Solve (8.16) for $y_t$: it stands on both sides, since the slope is taken at
$(x_t, t)$. Start from $x_t = (\alpha_t/\alpha_s)\,x_s$ and put the last value into the right side, `rounds`
times. (How does the error shrink with each round? What decides it?)
"""


# %% tags=["exercise"]
def invert_step(guess, x_s, alpha_t, sigma_t, alpha_s, sigma_s, rounds):
    """x_t (B, D) such that a step with eta = 0 leads to x_s; guess(x) is the noise guessed at time t."""
    ...


# %%
check("8.6", invert_step)

# %% [markdown]
r"""
**Exercise 8.7 ★★ — how much do four times cost?** One step with $\kappa = 0.8$, data $\mathcal N(0, 1)$,
$\alpha_t^2 = 0.5$ (so that $\rho_t = 1$ and $\rho_s = 0.8$). Compute the variance that DDPM's step
($\eta = 1$) loses, as a share of the true variance of $x_s$, from (8.13). One per cent of tolerance.
"""

# %% tags=["exercise"]
lost_share = ...

# %%
check("8.7", lost_share)

# %% [markdown]
r"""
## 8.11 What the field does with it, and where this breaks

- **Deterministic sampling is the default** of most image generators: reproducible from a seed, few calls,
  and comparable between settings (same noise, other guidance). Better solvers of the same equation (8.17)
  have taken DDIM's place (chapter 11); with one step of memory, ten to twenty calls are enough.
- **Editing by inversion.** Encode a picture, change the condition, decode. The round trip's error (8.20) is
  what limits it, and with guidance (chapter 12) it grows. Several exact inverses exist; exercise 8.6 is
  one.
- **Distillation.** A map from code to data can be *learned* as such: student networks take two steps of
  DDIM in one, again and again. Consistency models and rectified flow (chapter 13) go the same way.
- **$\eta > 0$** is used where a network is weak: fresh noise forgets its errors (chapter 14). Chapter 10
  makes the choice continuous and chapter 11 limits it to a range of noise levels ("churn").

Where it breaks: with a perfect guess and many steps the result has the right law for every $\eta$, but only
$\eta = 0$ ties a result to its noise. Codes of one network are not codes of another. (In theory they are,
since the exact map depends on the data alone. It is the networks' errors that part them.) The map can be
very steep between clusters, and there no code is robust. And (8.5) is about $x_t$ given $x_0$. That the
*sampler* keeps the marginals is true only in the limit of small steps.

### References
Their $\alpha_t$ is our $\alpha_t^2 = \bar\alpha_t$; their $\sigma_t$ (of the step) is our
$\sqrt\Sigma = \eta\sqrt{\tilde\beta}$.
- Song, Meng, Ermon (2021), *Denoising diffusion implicit models*: (8.4) is their eq. 7, (8.5) lemma 1,
  (8.12) theorem 1, (8.10) eq. 12, $\eta$ eq. 16, (8.16) and (8.17) eq. 13 and 14; the variance
  $\hat\sigma$, section 5; interpolation, section 5.3 and the appendix; reconstruction, section 5.4;
  "linear" and "quadratic" grids, appendix D.
- Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*: the member $\eta = 1$, section 3.2.
- Nichol, Dhariwal (2021), *Improved denoising diffusion probabilistic models*: skipped steps, section 4.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: the probability-flow ODE, section 4.3.
- Lin, Liu, Li, Yang (2024), *Common diffusion noise schedules and sample steps are flawed*: leading and
  trailing grids, table 2.
- Zhang, Chen (2023), *Fast sampling of diffusion models with exponential integrator*: DDIM as first order,
  section 3.
- Shoemake (1985), *Animating rotation with quaternion curves*: (8.22).
- Salimans, Ho (2022), *Progressive distillation for fast sampling of diffusion models*.
"""
