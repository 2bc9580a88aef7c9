# %% [markdown]
"""
# 2. Langevin dynamics

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/02_langevin.ipynb)

*How a score becomes samples, what a finite step and a finite time do to them, and why noise beats heat*

Climb the log-density and shake while you climb. That is the oldest recipe for turning a score into samples.
It is also the engine inside many samplers of this book. It works, in the limit of small steps and long
times. Nobody has small steps and long times. So this chapter asks what you get instead, and how you would
notice.

**You will be able to**
- write down the dynamics for any temperature and any mobility, and prove where they settle;
- implement it in one line, translate between the conventions of the literature, and tell from a step what
  temperature it really samples at;
- say how wrong a finite step is, in closed form, and remove the error with a coin (MALA);
- explain why every sample can look perfect while the proportions are wrong, and why that is neither the
  step's fault nor curable by patience;
- anneal, and say why adding noise keeps the proportions that heating destroys.

**You need** chapter 1 (Brownian motion, the Ornstein–Uhlenbeck process, Boltzmann's law), gradients,
integration by parts, Bayes' rule.

**Time**: about 75 minutes to read, half a minute to run, two hours with all exercises.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from itertools import pairwise

import numpy as np
import torch

from diffedu import EDM, MALA, ULA, GaussianMixture, Langevin, sample, seeded
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, SCORE, VELOCITY
from diffedu.show import panels, square
from diffedu.verify import verify, verify_mean

# Small clouds and long walks: a GPU would mostly wait, and float64 keeps every printed digit in its place.
torch.set_default_dtype(torch.float64)

# %%
shares_true, widths = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.35, 0.6, 0.35])
three = GaussianMixture(
    shares_true,
    torch.tensor([[-2.0, -1.0], [2.0, -1.0], [0.0, 2.2]]),
    widths[:, None, None] ** 2 * torch.eye(2),
)


def shares(x):
    """Which part of the points (N, 2) is nearest to each of the three modes."""
    return torch.nn.functional.one_hot(torch.cdist(x, three.means).argmin(1), 3).double().mean(0)


def show_clouds(clouds):
    """Clouds side by side, each with its shares."""
    figure, axes = panels(1, len(clouds), width=3.0 * len(clouds), height=3.2)
    for k, (ax, (title, x)) in enumerate(zip(axes, clouds.items(), strict=True)):
        ax.scatter(*x[:1000].T, s=3, color=DATA if k == 0 else SCORE, alpha=0.5, linewidths=0)
        square(ax, 4.3, ylabel="$x_2$" if k == 0 else "")
        ax.set_title(title)
        for share, (u, v), below in zip(shares(x), three.means.tolist(), (True, True, False), strict=True):
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
            ax.text(
                u, v - 2.3 if below else v + 1.4, f"{100 * share:.0f} %", ha="center", color=INK, bbox=box
            )
    return figure


start = 8 * torch.rand(2000, 2, generator=seeded(0)) - 4  # spread evenly over the picture
runs = {
    "exact samples": three.sample(2000, seeded(1)),
    "A: h = 0.0003": ULA(three.score, 0.0003).sample(start, 400, generator=seeded(2)),
    "B: h = 0.02": ULA(three.score, 0.02).sample(start, 400, generator=seeded(2)),
    "C: h = 0.15": ULA(three.score, 0.15).sample(start, 400, generator=seeded(2)),
}
show_clouds(runs)

# %%
assert (shares(runs["exact samples"]) - shares_true).abs().max() < 0.04
assert shares(runs["B: h = 0.02"])[0] < 0.35
assert shares(runs["C: h = 0.15"])[1] > 0.8

# %% [markdown]
r"""
*The same algorithm three times, 400 steps each, from points spread evenly over the picture. Only the step
size $h$ differs. Left the truth: 60, 30 and 10 %.*

**Before you read on.** You may ask for one more thing: ten times as many steps, or a smaller step, or a
different start. Which would you ask for to mend A? And B? And C? Write three answers. (Sections 2.4, 2.7 and
2.8 return to them. One of the three is mended by none of the offers, unless you know the truth beforehand.)

## 2.1 One equation, three letters

Chapter 1 let a particle slide down a potential $U$ while the molecules around it kicked:

$$dx = -M\,\nabla U(x)\,dt + \sqrt{2 M\, kT}\;dW. \tag{2.1}$$

<!-- definition 2.1: chapter 1's overdamped motion; M says how readily the particle yields to a force -->

The **mobility** $M$ is velocity per force (chapter 1's $\mu$; a capital, since it will become a list of
numbers). It stands in the drift *and* in the noise, because both come from the same collisions. The
**temperature** stands in the noise alone. *Overdamped* means that inertia is forgotten: the particle moves
when pushed, and stops when the push stops. Chapter 1 also told where it settles: at Boltzmann's law
$q \propto e^{-U/kT}$.

We come from the other end. We have a density $p$ and want samples. So we choose the potential that has $p$
for its Boltzmann law, $U = -\log p$, whose force is the **score** $s = \nabla \log p$. Energies are now pure
numbers, and so is $kT$; we write $T$ for it:

$$dx = M\, s(x)\,dt + \sqrt{2 M T}\;dW, \qquad s = \nabla\log p. \tag{2.2}$$

<!-- definition 2.2: (2.1) with U = -log p, kT = T -->

Boltzmann's law then reads

$$p_T(x) = \frac{p(x)^{1/T}}{Z_T}, \qquad Z_T = \int p(x)^{1/T}\,dx. \tag{2.3}$$

At $T = 1$ it is $p$ itself. A constant factor before $p$ changes nothing: the score does not see it, and
$Z_T$ takes it away.

Chapter 1 found the law by counting walkers at a border. Here is a second proof, whose three lines the rest of
the chapter will use again. Instead of the density we follow averages. Take any smooth function $\varphi$ that
vanishes far out, and one short step $x' = x + M s\,dt + \sqrt{2MT\,dt}\;z$ with $z \sim \mathcal N(0, 1)$
(one coordinate first). Taylor's formula, sorted by size:

$$\varphi(x') = \varphi(x) + \varphi'(x)\big(M s\,dt + \sqrt{2MT\,dt}\;z\big)
{} + \tfrac12 \varphi''(x)\; 2MT\,dt\; z^2 + \dots$$

The second-order term must stay: the noise is of size $\sqrt{dt}$, so its square is of size $dt$, as large as
the drift. Average over $z$. The term with a single $z$ vanishes, $\mathbb E z^2 = 1$, and what is left out
is smaller than $dt$. In several coordinates the second derivatives add up to the Laplacian $\Delta$:

$$\frac{d}{dt}\,\mathbb E\,\varphi(x_t)
= \mathbb E\big[\,M\, s\cdot\nabla\varphi + M T\,\Delta\varphi\,\big](x_t). \tag{2.4}$$

Let the points be distributed as $p_T$. Does any average change? Integrate the second term by parts once. No
boundary term appears, since $\varphi$ vanishes far out. And since $\log p_T = \tfrac1T\log p - \log Z_T$,

$$T\,\nabla p_T = T\,p_T\,\nabla\log p_T = p_T\, s,
\qquad\text{so}\qquad
\int p_T\,\big(s\cdot\nabla\varphi + T\,\Delta\varphi\big)\,dx
= \int \big(p_T\, s - T\,\nabla p_T\big)\cdot\nabla\varphi\,dx = 0. \tag{2.5}$$

No average of anything changes, so the distribution does not. $M$ was a common factor and fell out. $\square$

What has been proved is that $p_T$, once reached, stays. That every start *reaches* it, and how fast, is
chapter 3. (It may be slower than you have patience for, as section 2.7 shows.)
"""

# %%
wells = GaussianMixture.isotropic(torch.tensor([[-1.0], [1.0]]), 0.6, torch.tensor([0.3, 0.7]))
line = torch.linspace(-14, 14, 5601)  # a sum over it stands for an integral
cell = line[1] - line[0]


def log_p(x):
    return wells.log_prob(x.reshape(-1, 1)).reshape(x.shape)


def s(x):
    return wells.score(x.reshape(-1, 1)).reshape(x.shape)


def tempered(T):
    """p_T of (2.3) on the line."""
    weight = torch.exp(log_p(line) / T)
    return weight / (weight.sum() * cell)


def derivatives(f, x, order):
    """f, f', f'', ... up to the given order, by automatic differentiation."""
    x = x.clone().requires_grad_()
    found = [f(x)]
    for _ in range(order):
        found.append(torch.autograd.grad(found[-1].sum(), x, create_graph=True)[0])
    return [value.detach() for value in found]


def bump(x):  # a test function: smooth, and zero far out
    return torch.sin(2 * x) * torch.exp(-(x**2) / 8)


nodes, node_weights = (torch.tensor(a) for a in np.polynomial.hermite_e.hermegauss(60))
node_weights = (
    node_weights / node_weights.sum()
)  # averages over z ~ N(0, 1), nearly exact for smooth functions


def after_a_step(x, h, M=1.0, T=1.0):
    """E phi(x') over the noise of one step of size h from each of x."""
    moved = (x + h * M * s(x))[:, None] + math.sqrt(2 * h * M * T) * nodes
    return bump(moved) @ node_weights


x = torch.linspace(-2.5, 2.5, 50)
_, slope, bend = derivatives(bump, x, 2)
h, M, T = 1e-4, 0.7, 1.8
rate = 2 * (after_a_step(x, h / 2, M, T) - bump(x)) / (h / 2) - (after_a_step(x, h, M, T) - bump(x)) / h
verify("2.4", rate, M * s(x) * slope + M * T * bend, rtol=1e-5, over="starting points")

_, slope, bend = derivatives(bump, line, 2)
left = [(tempered(T) * s(line) * slope).sum() * cell for T in (0.3, 1.0, 4.0)]
right = [-(tempered(T) * T * bend).sum() * cell for T in (0.3, 1.0, 4.0)]
verify("2.5", torch.stack(left), torch.stack(right), over="temperatures")

# %% [markdown]
r"""
(The `rate` line takes the slope at two small $h$ and extrapolates to $h = 0$. The two sides of (2.5) are its
two terms, one with a minus.)

### What temperature does
"""

# %%
walkers = wells.sample(8000, seeded(3))
at_T = {  # MALA is section 2.6: think of it as (2.2), walked without an error
    T: MALA(wells.log_prob, wells.score, 0.15, T).sample(walkers, 300, generator=seeded(4))[:, 0]
    for T in (0.3, 1.0, 4.0)
}
verify_mean("2.3", torch.cos(at_T[4.0]), (tempered(4.0) * torch.cos(line)).sum() * cell)
verify_mean("2.3", (at_T[0.3] > 0).double(), tempered(0.3)[line > 0].sum() * cell)

figure, axes = panels(1, 3, width=11, height=3.0)
for ax, (T, x), word in zip(axes, at_T.items(), ("cold", "as given", "hot"), strict=True):
    density, edges = torch.histogram(x, bins=60, range=(-6.0, 6.0), density=True)
    ax.stairs(density, edges, fill=True, color=SCORE, alpha=0.45)
    ax.plot(line, tempered(T), color=INK, linewidth=1.5)
    ax.plot(line, tempered(1.0), color=DATA, linewidth=1.0, linestyle="--")
    ax.set(xlim=(-6, 6), xlabel="x", title=f"T = {T:g}: {word}", ylim=(0, 1.3))
    right_share = (x > 0).double().mean()
    ax.text(0.97, 0.9, f"right of 0: {100 * right_share:.0f} %", transform=ax.transAxes, ha="right")
axes[0].set_ylabel("density")
figure

# %% [markdown]
r"""
*Walkers (orange) at three temperatures, with $p^{1/T}$ (black) and $p$ (dashed). Cold walkers crowd around
the higher mode, and the part right of 0 grows. Hot ones hardly notice the modes.*

Two limits are worth keeping. At $T \to 0$ only the drift is left, the gradient ascent of chapter 1, and the
mass ends at maxima. At $T \to \infty$ only the noise is left, and the density is forgotten. One temperature
in between has $p$ for its equilibrium, and it is exactly 1. A factor of 2 in the noise is therefore not a
detail. It is another distribution.

## 2.2 Mobility is a clock

$M$ fell out of (2.5), so it does not decide *where* the walk ends. Does it decide anything? Put
$\tau = M t$ into (2.2). The drift $M s\,dt$ becomes $s\,d\tau$. The noise has variance $2MT\,dt = 2T\,d\tau$.
No $M$ is left: doubling it is playing the same film at double speed.

For Gaussian data $p = \mathcal N(0, s_0^2)$ the score is $-x/s_0^2$, and (2.2) is the Ornstein–Uhlenbeck
process of chapter 1 with rate $M/s_0^2$. From there, or from (2.4): with $\varphi = x^2$ (it grows far out,
but a Gaussian's tails are thinner) it gives
$\frac{d}{dt}\mathbb E x^2 = -\frac{2M}{s_0^2}\mathbb E x^2 + 2MT$, and with $\varphi = x$ that
$(\mathbb E x)^2$ decays at the rate $2M/s_0^2$, too. Subtract, and solve for the difference:

$$\operatorname{Var} x_t
= T s_0^2 + \big(\operatorname{Var} x_0 - T s_0^2\big)\, e^{-2Mt/s_0^2}. \tag{2.6}$$

Temperature is in the end value, mobility in the exponent. Each has its own place.
"""

# %%
s0, T = 0.8, 1.5
normal = GaussianMixture.single(torch.zeros(1), torch.tensor([[s0**2]]))
dt = 0.002
seen = {}
for M in (0.5, 1.0, 2.0):
    walk = ULA(normal.score, dt, temperature=T, mobility=M)
    seen[M] = torch.stack(
        [x[:, 0] for x in walk.run(2 * torch.ones(5000, 1), 500, generator=seeded(int(10 * M)))]
    )
# the walkers start at 2, all of them: no variance at first
verify_mean(
    "2.6",
    torch.stack([(seen[M][500] - seen[M][500].mean()) ** 2 for M in seen], dim=1),
    [T * s0**2 * (1 - math.exp(-2 * M * 1.0 / s0**2)) for M in seen],
)


def uneven_mobility(x):
    """M(x): walkers on the right are four times as quick as those on the left."""
    return 0.4 + 1.2 * torch.sigmoid(4 * x)


def mobility_slope(x):
    m = torch.sigmoid(4 * x)
    return 1.2 * 4 * m * (1 - m)


paths = {}
for name, extra in (("without the extra drift", 0.0), ("with it", 1.0)):
    x = wells.sample(8000, seeded(6))[:, 0]
    generator = seeded(7)
    for _ in range(2000):
        m = uneven_mobility(x)
        drift = m * s(x) + extra * mobility_slope(x)
        x = x + 0.006 * drift + torch.sqrt(2 * 0.006 * m) * torch.randn(x.shape, generator=generator)
    paths[name] = x
quick_side = (tempered(1.0)[line > 0]).sum() * cell
weight = tempered(1.0) / uneven_mobility(line)
wrong_side = weight[line > 0].sum() / weight.sum()

figure, (left, right) = panels(1, 2, width=10.5, height=3.3)
clock = torch.arange(501) * dt
for (M, x), color, style in zip(seen.items(), (DATA, SCORE, VELOCITY), ("-", "--", "-."), strict=True):
    left.plot(clock, x.var(dim=1), color=color, linestyle=style)
    left.text(
        1.02, x[-1].var() + {0.5: 0.0, 1.0: -0.04, 2.0: 0.04}[M], f"M = {M:g}", color=color, va="center"
    )
    k = torch.arange(0, 501, 50)
    left.plot(
        clock[k], T * s0**2 * (1 - torch.exp(-2 * M * clock[k] / s0**2)), "o", color=color, markersize=4
    )
left.axhline(T * s0**2, color=INK, linewidth=0.8)
left.text(0.02, T * s0**2 + 0.02, r"$T s_0^2$", color=INK)
left.set(xlabel="time t", ylabel="variance", title="three mobilities, one end", xlim=(0, 1.18), ylim=(0, 1.1))
for (name, x), color, place in zip(paths.items(), (SCORE, VELOCITY), (0.9, 0.81), strict=True):
    density, edges = torch.histogram(x, bins=50, range=(-3.0, 3.0), density=True)
    right.stairs(density, edges, color=color, linewidth=2)
    right.text(0.02, place, name, color=color, transform=right.transAxes)
right.plot(line, tempered(1.0), color=INK, linewidth=1.2)
right.plot(line, weight / (weight.sum() * cell), color=INK, linewidth=1.2, linestyle=":")
right.text(0.02, 0.72, "solid: p, dotted: p/M", color=INK, transform=right.transAxes)
right.set(xlim=(-3, 3), xlabel="x", ylabel="density", title="M depends on x", ylim=(0, 0.72))
figure

# %% [markdown]
r"""
*Left: variances from 5,000 walkers (lines) and by (2.6) (dots). Mobility sets the pace, temperature the
level. Right: walkers that are quicker on the right-hand side. Without a correction they are not distributed
as $p$: they are missing where they are quick.*

### When the mobility depends on the place
The right-hand picture is a trap that catches people who tune steps by what they see at $x$: a larger step
where the score is small, a step divided by the norm of the gradient, Adam's running averages. All of these
make $M$ depend on where the walker is (or has been), and then $M$ no longer falls out. Go through (2.5)
once more. In $\int p_T\, M T\,\varphi''$ the integration by parts now meets $M$ as well:

$$\int p_T\, M T\,\varphi''\,dx = -\int T\,(p_T M)'\,\varphi'\,dx
= -\int p_T\,\big(M s + T M'\big)\,\varphi'\,dx .$$

For the balance the drift has to be what stands in the bracket:

$$dx = \big[M(x)\,s(x) + T\,M'(x)\big]\,dt + \sqrt{2M(x)\,T}\;dW. \tag{2.7}$$

(Exercise 2.9 asks for several dimensions.) If the term is left out, an equilibrium $q$ has to satisfy
$T (qM)' = (qM)\,s$ by the same integration. Equation (2.5) knows who satisfies that: $p_T$. But it stands
here for $qM$ instead of $q$, so

$$q(x) \propto \frac{p(x)^{1/T}}{M(x)}. \tag{2.8}$$

Walkers are rare where they are quick. A mobility that is constant is harmless, and so is one constant for
each coordinate: (2.5) then holds coordinate by coordinate. This is what the rest of the chapter uses.
"""

# %%
verify_mean("2.7", (paths["with it"] > 0).double(), quick_side)
verify_mean("2.8", (paths["without the extra drift"] > 0).double(), wrong_side)
print(f"right of 0: {quick_side:.2f} by p, {wrong_side:.2f} by p/M")

# %% [markdown]
r"""
## 2.3 One line of code

A computer takes steps. Freeze the score for a time $\Delta t$, let the noise gather its variance
$2MT\,\Delta t$, and write $h$ for $\Delta t$:

$$x_{k+1} = x_k + h M\, s(x_k) + \sqrt{2 h M T}\; z_k, \qquad z_k \sim \mathcal N(0, I). \tag{2.9}$$

<!-- code 2.9: diffedu.sampling.langevin.ULA.step -->

This is Euler and Maruyama's rule for (2.2). Samplers call it the **unadjusted Langevin algorithm**, ULA.
The step and the mobility occur only as the product $hM$: in code, mobility *is* a step size. (With one $M$
for each coordinate it is a step size for each coordinate, a preconditioner.) Written out:
"""


# %%
def walk(score, x, h, steps, generator, T=1.0):
    """(2.9) with M = 1."""
    for _ in range(steps):
        z = torch.randn(x.shape, generator=generator)
        x = x + h * score(x) + math.sqrt(2 * h * T) * z
    return x


first = torch.zeros(200, 2)
ours = walk(three.score, first, 0.02, 50, seeded(8), T=1.3)
verify("2.9", ours, ULA(three.score, 0.02, temperature=1.3).sample(first, 50, generator=seeded(8)))

# %% [markdown]
r"""
From here on we use `ULA`. The book has the step a second time, as the solver `Langevin`. That one takes a
*denoiser* rather than a score and walks on noisy data at a noise level $\sigma$, with a step counted in
units of $\sigma^2$. Section 2.8 needs it. It is the same line:
"""

# %%
level = torch.tensor(0.5)
noisy = three.noised(EDM(), level)  # what the data looks like under noise of size 0.5
by_solver = sample(three.denoiser(EDM()), Langevin(0.1), first, level.expand(51), generator=seeded(8))
by_ula = ULA(noisy.score, 0.1 * level.item() ** 2).sample(first, 50, generator=seeded(8))
assert torch.allclose(by_solver, by_ula, atol=1e-9)
print("Langevin(r) at noise level sigma is ULA with h = r sigma^2 on the noisy density")

# %% [markdown]
r"""
### The factor of two
Published versions of (2.9) look different.

| text | drift | noise | in our $h$ |
|---|---|---|---|
| this book; Dalalyan 2017; Song et al. 2021 (corrector) | $h\, s$ | $\sqrt{2h}\; z$ | $h$ |
| Roberts & Tweedie 1996 | $\tfrac{h}{2}\, s$ | $\sqrt{h}\; z$ | half of theirs |
| Welling & Teh 2011 (SGLD) | $\tfrac{\epsilon}{2}\, s$ | $\sqrt{\epsilon}\; z$ | $\epsilon/2$ |
| Song & Ermon 2019 (NCSN) | $\tfrac{\alpha}{2}\, s$ | $\sqrt{\alpha}\; z$ | $\alpha/2$ |

All of them are right. The disaster is to take the drift from one row and the noise from another. To read the
temperature off a step $x + c\,s(x) + b\,z$, compare with (2.9): $c = hM$ and $b^2 = 2hMT$, so

$$T = \frac{b^2}{2c}. \tag{2.10}$$

**Before you read on.** Somebody writes `x + eps * score + sqrt(eps) * z`. Two modes of equal width have
shares 80 % and 20 %. Which shares will this sampler converge to, given all the time in the world?
"""

# %%
eps = 0.01
generator = seeded(9)
x = torch.zeros(20_000, 1)
for _ in range(600):
    x = x + eps * normal.score(x) + math.sqrt(eps) * torch.randn(x.shape, generator=generator)
c, b = eps, math.sqrt(eps)
verify_mean("2.10", x[:, 0] ** 2, b**2 / (2 * c) * s0**2)
print(f"variance wanted {s0**2:.2f}, found {x.var():.2f}: half, so T = 1/2 and the density is p squared")
print(f"shares 0.8 and 0.2 become {0.8**2 / (0.8**2 + 0.2**2):.2f} and {0.2**2 / (0.8**2 + 0.2**2):.2f}")

# %% [markdown]
r"""
$T = \tfrac12$, so the sampler sees $p^2$. The rare mode nearly disappears, and each mode is too narrow by
$\sqrt 2$. The samples look sharper than they should, and in an image model that can pass for quality.
Nothing crashes.

## 2.4 What a finite step costs

For Gaussian data nothing needs to be guessed. With $p = \mathcal N(0, s_0^2)$ and $M = 1$, (2.9) reads
$x' = (1 - a)\,x + \sqrt{2hT}\,z$ with $a = h/s_0^2$: the step in units of the data's variance. Variances of
independent terms add:

$$\operatorname{Var} x' = (1-a)^2\,\operatorname{Var} x + 2hT, \qquad a = \frac{h}{s_0^2}. \tag{2.11}$$

In equilibrium both variances are one $v_h$. Solve $v_h\,\big(1 - (1-a)^2\big) = 2hT$. The bracket is
$a(2 - a)$ and $2h = 2 a s_0^2$:

$$v_h = \frac{T s_0^2}{1 - \tfrac{a}{2}} = \frac{T s_0^2}{1 - h/(2 s_0^2)}. \tag{2.12}$$

Read it slowly. The result is too **wide**, always. (Too *hot*, one could say: at first order the temperature
is wrong by the factor $1 + a/2$.) The error is proportional to the step. At $a = 1$ the variance is twice
the right one, at $a = 2$ it is infinite: the drift throws each walker to the mirror image of its place,
as far from the centre as before, and the noise only adds.

In several dimensions, turn the axes along those of the covariance. The noise looks the same from everywhere,
so (2.11) and (2.12) hold on each axis, with its own $s_0$. The mean goes its own way on each axis, too:

$$\mathbb E\,x_k - m = \Big(1 - \frac{hM}{s_0^2}\Big)^{k}\,\big(\mathbb E\,x_0 - m\big). \tag{2.13}$$

Here is the dilemma of all such methods. Stability wants $h < 2\,s_{\min}^2$, by the *narrowest* axis.
Forgetting the start takes some $s_{\max}^2/h$ steps, by the *widest*. So at least about
$\tfrac12\, s_{\max}^2/s_{\min}^2$ steps are needed, half the **condition number**. A mobility of $s_0^2$ on
each axis makes all axes alike, where one knows them.
"""

# %%
variances = {}
for share_of_s2 in (0.1, 0.5, 1.0, 1.5, 1.8):
    h = share_of_s2 * s0**2
    variances[share_of_s2] = ULA(normal.score, h).sample(torch.zeros(20_000, 1), 100, generator=seeded(10))[
        :, 0
    ]
measured = torch.stack(list(variances.values()), dim=1)
verify_mean("2.12", measured**2, [s0**2 / (1 - a / 2) for a in variances])

before = 3 * torch.rand(100_000, 1, generator=seeded(11))  # not Gaussian: (2.11) does not ask for that
before = before - before.mean()
after = ULA(normal.score, 0.3, temperature=1.7).step(before, torch.randn(before.shape, generator=seeded(12)))
verify_mean("2.11", after**2, [(1 - 0.3 / s0**2) ** 2 * before.var().item() + 2 * 0.3 * 1.7])

valley = GaussianMixture.single(torch.tensor([1.0, 2.0]), torch.diag(torch.tensor([1.0, 0.01])))
x = torch.tensor([[5.0, 5.0]])
for _ in range(100):  # no noise: the mean alone
    x = ULA(valley.score, 0.01).step(x, torch.zeros_like(x))
verify("2.13", x[0], [1.0 + 0.99**100 * 4.0, 2.0 + 0.0**100 * 3.0])
print(f"h = s_min^2, condition number 100: 100 steps leave {0.99**100:.2f} of the start on the wide axis")
x = torch.tensor([[5.0, 5.0]])
for _ in range(20):
    x = ULA(valley.score, 0.5, mobility=torch.tensor([1.0, 0.01])).step(x, torch.zeros_like(x))
assert (x - valley.mean).abs().max() < 1e-5
print("with a mobility of s_0^2 on each axis, 20 steps leave less than 0.00001")

narrow, wide = (widths[:2] ** 2).tolist()  # the first picture again
print(f"A: time {400 * 0.0003:.2f} gone; relaxation times s_0^2 = {narrow:.2f} and {wide:.2f}")
print(f"C: a = {0.15 / narrow:.1f} in a narrow mode, so {1 / (1 - 0.15 / narrow / 2):.1f} times the variance")

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.3)
a = torch.linspace(0.01, 1.93, 200)
left.plot(a, 1 / (1 - a / 2), color=INK)
left.plot(list(variances), measured.var(dim=0) / s0**2, "o", color=SCORE, markersize=7)
left.axhline(1, color=DATA, linewidth=1.2)
left.axvline(2, color=NOISE, linestyle=":")
left.text(1.45, 0.1, "wanted", color=DATA)
left.text(1.3, 7.0, "(2.12)", color=INK)
left.text(1.985, 3.0, "explodes", color="#666666", ha="right", va="bottom", rotation=90)
left.set(xlabel="$a = h/s_0^2$", ylabel="variance / $s_0^2$", ylim=(0, 15), xlim=(0, 2.1))
left.set_title("too wide, at every step size")
for x, color in zip(list(variances.values())[::2], (DATA, SCORE, VELOCITY), strict=True):
    density, edges = torch.histogram(x, bins=60, range=(-8.0, 8.0), density=True)
    right.stairs(density, edges, color=color, linewidth=2)
for (place, height), name, color in zip(
    ((-7.6, 0.48), (-7.6, 0.42), (-7.6, 0.36)),
    ("a = 0.1", "a = 1", "a = 1.8"),
    (DATA, SCORE, VELOCITY),
    strict=True,
):
    right.text(place, height, name, color=color)
right.plot(
    line, torch.exp(-(line**2) / (2 * s0**2)) / math.sqrt(2 * math.pi * s0**2), color=INK, linewidth=1.2
)
right.text(1.0, 0.46, "black: the truth", color=INK)
right.set(xlim=(-8, 8), xlabel="x", ylabel="density", title="where the walkers are")
figure

# %% [markdown]
r"""
*Left: variance of 20,000 walkers (dots) on the curve (2.12). Right: three of these clouds. They are Gaussian,
centred and smooth; only the width is off. Nothing in a picture of samples says so.*

That is case C of the first picture. For its narrow modes $h = 0.15$ is $a = 1.2$, and (2.12) gives 2.6
times the right variance. A **smaller step** is the right request for C. (That its shares are
wrong too, and in another way than those of B, is the subject of exercise 2.2.) And case A? Its walkers have
gone a time of $400 \cdot 0.0003 = 0.12$, about one relaxation time $s_0^2$ of a narrow mode and a third of
that of the wide one. It needs more *time*: more steps, or larger ones. Both requests mend the *shapes*.
What they lead to is B, where every mode looks right and the shares do not.

## 2.5 ★ The bias of any density

(The derivation may be skipped. Section 2.7 needs only the matrix at its end.)

For Gaussian data the error is "too wide". What is it for another density? Follow averages again, one order
further. Put $\delta = h s + \sqrt{2h}\,z$ into Taylor's formula up to $\delta^4$, average over $z$ with
$\mathbb E z^2 = 1$, $\mathbb E z^4 = 3$ and odd moments 0, and collect $h^2$ (one coordinate, $M = T = 1$):

- $\tfrac12\varphi''\,\mathbb E\delta^2 = \tfrac12\varphi''\,(2h + h^2 s^2)$ gives
  $\tfrac12 s^2\varphi''$;
- $\tfrac16\varphi'''\,\mathbb E\delta^3 = \tfrac16\varphi'''\,(3\cdot hs\cdot 2h + \dots)$ gives
  $s\,\varphi'''$;
- $\tfrac1{24}\varphi''''\,\mathbb E\delta^4 = \tfrac1{24}\varphi''''\,(3\cdot 4h^2 + \dots)$ gives
  $\tfrac12\varphi''''$.

$$\mathbb E\,\varphi(x') = \varphi + h\,\big(s\varphi' + \varphi''\big)
{} + h^2\,\big(\tfrac12 s^2\varphi'' + s\,\varphi''' + \tfrac12\varphi''''\big) + O(h^3). \tag{2.14}$$

Let $q_h$ be the equilibrium of ULA and write $q_h = p\,(1 + h f + \dots)$ with an unknown $f$. In equilibrium
the average of the right-hand side over $q_h$ is that of $\varphi$. At order $h$ this is (2.5). At order
$h^2$:

$$\int p f\,\big(s\varphi' + \varphi''\big)\,dx
{} + \int p\,\big(\tfrac12 s^2\varphi'' + s\varphi''' + \tfrac12\varphi''''\big)\,dx = 0 .$$

Move all derivatives off $\varphi$. In the first integral, once:
$\int pf\varphi'' = -\int (pf)'\varphi' = -\int (p s f + p f')\varphi'$, so the terms with $s$ cancel and
$-\int p f'\varphi' = \int (pf')'\varphi$ is left. In the second use $p s = p'$ wherever it occurs; then
$p s^2 = p' s = (p s)' \!-\! p s' = p'' - p s'$. Per integration the sign changes:

$$\tfrac12(p s^2)'' - (p s)''' + \tfrac12 p'''' = \tfrac12 p'''' - \tfrac12(p s')'' - p'''' + \tfrac12 p''''
= -\tfrac12\,(p s')'' .$$

$\varphi$ was arbitrary, so the functions before it must cancel:

$$\big(p f'\big)' = \tfrac12\,\big(p\, s'\big)''. \tag{2.15}$$

Integrate once (both sides vanish far out): $p f' = \tfrac12 (p s')' = \tfrac12 p\,(s'' + s s')$. Divide by
$p$ and integrate again: $f = \tfrac12 s' + \tfrac14 s^2 + \text{const}$. The constant makes $\int p f = 0$;
by (2.5) with $\varphi' = s$ one has $\mathbb E\,s' = -\mathbb E\,s^2$ (here it is $p\,s$ that vanishes far
out, which is enough), so

$$q_h = p\,\big(1 + h f + O(h^2)\big), \qquad
f = \tfrac12\,s' + \tfrac14\,s^2 + \tfrac14\,\mathbb E_p[s^2]. \tag{2.16}$$

In words: mass is taken from the peaks (where $s' < 0$ and $s = 0$) and put on the slopes (where $s^2$ is
large). For a Gaussian it is (2.12) to first order. In several dimensions the same steps lead to
$\nabla\!\cdot s$ in place of $s'$ and $\lVert s\rVert^2$ in place of $s^2$. Keep the expression
$\nabla\!\cdot s + \tfrac12\lVert s \rVert^2$ in mind. It is twice our $f$ but for the constant, and chapter
4 will meet it as the loss by which scores are learned.

To measure it no walkers are needed. On a fine grid one step of ULA is a matrix of transition probabilities.
Its equilibrium is the row vector that it leaves alone.
"""

# %%
fine = torch.linspace(-4.5, 4.5, 301)


def step_matrix(density, h, T=1.0):
    """Row i: the odds of where a walker at fine[i] is after one step of ULA."""
    drifted = fine + h * density.score(fine[:, None])[:, 0]
    return torch.softmax(-((fine - drifted[:, None]) ** 2) / (4 * h * T), dim=1)


def equilibrium(matrix):
    """By squaring: the matrix of 2^24 steps has equal rows."""
    for _ in range(24):
        matrix = matrix @ matrix
        matrix = matrix / matrix.sum(1, keepdim=True)
    return matrix[0]


x = torch.linspace(-2.5, 2.5, 50)
_, d1, d2, d3, d4 = derivatives(bump, x, 4)


def second_order(h):
    return (after_a_step(x, h) - bump(x) - h * (s(x) * d1 + d2)) / h**2


extrapolated = 2 * second_order(5e-4) - second_order(1e-3)
verify("2.14", extrapolated, 0.5 * s(x) ** 2 * d2 + s(x) * d3 + 0.5 * d4, rtol=1e-3, over="starting points")


def p(x):
    return torch.exp(log_p(x))


def first_order(x):
    """f of (2.16), up to its constant."""
    y, slope = derivatives(s, x, 1)
    return 0.5 * slope + 0.25 * y**2


x = torch.linspace(-2.5, 2.5, 51)
p0, p1, p2 = derivatives(p, x, 2)
_, s1, s2, s3 = derivatives(s, x, 3)
gap = 1e-3  # the left side by differences of f, the right by the product rule
f_slope = [(first_order(x + d + gap) - first_order(x + d - gap)) / (2 * gap) for d in (-gap, gap)]
left = (p(x + gap) * f_slope[1] - p(x - gap) * f_slope[0]) / (2 * gap)
verify("2.15", left, 0.5 * (p2 * s1 + 2 * p1 * s2 + p0 * s3), rtol=1e-4, over="points")

truth = torch.softmax(log_p(fine), dim=0)
bias = {h: (equilibrium(step_matrix(wells, h)) / truth - 1) / h for h in (0.08, 0.04, 0.02)}
predicted = first_order(fine) + 0.25 * (truth * s(fine) ** 2).sum()
inner = fine.abs() < 2.2
verify("2.16", (2 * bias[0.02] - bias[0.04])[inner], predicted[inner], rtol=0.06, over="points")
errors = [(h * truth * b).abs().sum().item() / 2 for h, b in bias.items()]
orders = [math.log2(a / b) for a, b in pairwise(errors)]
print("total variation from p at h = 0.08, 0.04, 0.02:", *[f"{e:.3f}" for e in errors])
assert all(abs(order - 1) < 0.15 for order in orders)
print("halving the step halves the error (order 1 within 0.15)")

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.3)
left.plot(fine, truth / (fine[1] - fine[0]), color=DATA)
left.plot(fine, equilibrium(step_matrix(wells, 0.3)) / (fine[1] - fine[0]), color=SCORE, linestyle="--")
left.text(-2.9, 0.42, "p", color=DATA)
left.text(-2.9, 0.36, "ULA, h = 0.3", color=SCORE)
left.set(xlim=(-3, 3), ylim=(0, 0.5), xlabel="x", ylabel="density", title="what a large step does")
for (h, b), color, style in zip(bias.items(), (SCORE, EXTRA, VELOCITY), ("--", "-.", ":"), strict=True):
    right.plot(fine, truth / (fine[1] - fine[0]) * b, color=color, linestyle=style, label=f"h = {h}")
right.plot(fine, truth / (fine[1] - fine[0]) * predicted, color=INK, label="(2.16)", linewidth=1.2)
right.legend(frameon=False, loc="upper left", fontsize=10)
right.set(xlim=(-3, 3), xlabel="x", ylabel="$(q_h - p)/h$", title="the bias per unit of step")
figure

# %% [markdown]
r"""
*Left: the equilibrium of ULA at a large step, by the matrix. Right: the difference to $p$, divided by $h$,
closes in on $p f$ as the step shrinks. Peaks lose, flanks gain, and the saddle between the modes gains as
well.*

## 2.6 A referee: MALA

A small step has a small bias but needs many steps. There is another way: let ULA only *propose*, and let a
coin decide whether the walker goes. Which coin?

Call $K(x' \mid x)$ the density of going from $x$ to $x'$. The distribution $q$ is in equilibrium if for
each pair of places as many walkers go one way as the other, a condition called **detailed balance**:

$$q(x)\,K(x' \mid x) = q(x')\,K(x \mid x'). \tag{2.17}$$

(Integrate over $x$: what arrives at $x'$ is $q(x')$.) ULA's own proposal,
$k(x' \mid x) = \mathcal N\big(x';\ x + h s(x),\ 2h\big)$ at $M = T = 1$, does not satisfy it for $p$. So we
refuse some of the moves on the busier way. Let $r$ be the ratio of the two flows, and accept with
probability

$$A(x' \mid x) = \min(1, r), \qquad
r = \frac{p(x')\,k(x \mid x')}{p(x)\,k(x' \mid x)}. \tag{2.18}$$

<!-- code 2.18: diffedu.sampling.langevin.MALA.log_accept -->

Then $p(x)\,k(x'|x)\min(1, r) = \min\big(p(x)k(x'|x),\ p(x')k(x|x')\big)$, which is symmetric in $x$ and
$x'$: (2.17) holds for $q = p$, with any $h$. That is Metropolis' trick; with Langevin's proposal it is the
**Metropolis-adjusted Langevin algorithm**, MALA. Two details go wrong in practice. The ratio needs the way
*back*, so the score at the proposal. And a walker that is refused stays where it is *and is counted again*.
"""


# %%
def referee(log_prob, score, x, h, z, u):
    """One step of MALA, (2.18) at M = T = 1, for points (N, D), noise z (N, D) and uniform numbers u (N,)."""
    there = x + h * score(x)  # where the proposal's Gaussian is centred
    proposal = there + math.sqrt(2 * h) * z
    back = proposal + h * score(proposal)
    log_k_there = -((proposal - there) ** 2).sum(1) / (4 * h)
    log_k_back = -((x - back) ** 2).sum(1) / (4 * h)
    log_r = log_prob(proposal) - log_prob(x) + log_k_back - log_k_there
    moved = torch.log(u) < log_r  # a number below 1 is always below r >= 1
    return torch.where(moved[:, None], proposal, x), moved


z, u = torch.randn(500, 2, generator=seeded(13)), torch.rand(500, generator=seeded(14))
x = three.sample(500, seeded(15))
for ours, theirs in zip(
    referee(three.log_prob, three.score, x, 0.1, z, u),
    MALA(three.log_prob, three.score, 0.1).step(x, z, u),
    strict=True,
):
    assert torch.equal(ours, theirs)
print("referee and MALA.step agree")

mala = MALA(wells.log_prob, wells.score, 0.5)
a, b = 1.5 * torch.randn(2, 300, 1, generator=seeded(16))


def flow(x, y):
    """log of p(x) k(y|x) A(y|x), the density k from torch's own normal distribution."""
    k = torch.distributions.Normal(x + 0.5 * wells.score(x), 1.0).log_prob(y)[:, 0]
    return wells.log_prob(x) + k + mala.log_accept(x, y).clamp(max=0)


verify("2.17", flow(a, b), flow(b, a), over="pairs")

one = torch.tensor([[0.4]])
moved = mala.step(
    one.expand(50_000, 1),
    torch.randn(50_000, 1, generator=seeded(17)),
    torch.rand(50_000, generator=seeded(18)),
)[1]
to = torch.linspace(-9, 9, 20_001)[:, None]  # all places to go, for the integral of k(x'|x) min(1, r)
log_there = torch.distributions.Normal(one + 0.5 * wells.score(one), 1.0).log_prob(to)[:, 0]
log_back = torch.distributions.Normal(to + 0.5 * wells.score(to), 1.0).log_prob(one)[:, 0]
r = torch.exp(wells.log_prob(to) + log_back - wells.log_prob(one) - log_there)
chance = (torch.exp(log_there) * r.clamp(max=1)).sum() * (to[1, 0] - to[0, 0])
verify_mean("2.18", moved.double(), chance)

# %% [markdown]
r"""
For Gaussian data the ratio can be worked out. With $d = x' - x$ the two proposal terms are

$$\frac{\big(d + hx/s_0^2\big)^2 - \big(d - hx'/s_0^2\big)^2}{4h}
= \frac{d\,(x + x')}{2 s_0^2} + \frac{h\,(x^2 - x'^2)}{4 s_0^4},$$

and $d\,(x + x') = x'^2 - x^2$ cancels the ratio of densities exactly:

$$\log r = \frac{h}{4\,s_0^4}\,\big(\lVert x\rVert^2 - \lVert x'\rVert^2\big). \tag{2.19}$$

The referee refuses moves *outwards*, the more the larger the step: it takes away just the excess width of
(2.12). It also shows the price. In $D$ dimensions $\lVert x\rVert^2$ is a sum of $D$ terms and fluctuates
more, so the step has to shrink as $D$ grows (like $D^{-1/3}$, it turns out: by half from 10 to 100). What is
a good step? Not the one with the most acceptances, which is a tiny one. What counts is how far a walker
gets, refusals included:

$$J(h) = \mathbb E\,\lVert x_{k+1} - x_k\rVert^2 . \tag{2.20}$$

<!-- definition 2.20: the expected squared jump, a name for a measure of progress per step -->
"""

# %%
unit = GaussianMixture.single(torch.zeros(1), torch.eye(1))
x, y = torch.randn(2, 400, 1, generator=seeded(19))
log_r = MALA(unit.log_prob, unit.score, 0.7).log_accept(x, y)
verify("2.19", log_r, 0.7 / 4 * (x**2 - y**2)[:, 0], over="pairs")


def normal_log_prob(x):
    return -(x**2).sum(1) / 2


accepted, jump, scaled = {}, {}, {}
for D, tries in ((1, 8000), (10, 4000), (100, 2000)):
    hs = torch.logspace(-1.2, 0.75, 27) * {1: 2.0, 10: 0.9, 100: 0.4}[D]
    x = torch.randn(tries, D, generator=seeded(20))
    acc, jmp = [], []
    for h in hs.tolist():
        z, u = torch.randn(x.shape, generator=seeded(21)), torch.rand(tries, generator=seeded(22))
        y, moved = MALA(normal_log_prob, torch.neg, h).step(x, z, u)
        acc.append(moved.double().mean())
        jmp.append(((y - x) ** 2).sum(1).mean() / D)
    accepted[D], jump[D], scaled[D] = torch.stack(acc), torch.stack(jmp), hs
best = {D: int(j.argmax()) for D, j in jump.items()}
print("best step:", *[f"D = {D}: {scaled[D][k]:.1f}" for D, k in best.items()])
near = accepted[100][jump[100] > 0.97 * jump[100].max()]
assert near.min() < 0.574 < near.max()
print(f"D = 100: within 3 % of the best progress between {near.min():.1f} and {near.max():.1f} accepted")

kept = {}
for share_of_s2 in variances:
    h = share_of_s2 * s0**2
    x = normal.sample(20_000, seeded(23))
    kept[share_of_s2] = (
        MALA(normal.log_prob, normal.score, h).sample(x, 30, generator=seeded(24)).var() / s0**2
    )
assert all(abs(v - 1) < 0.05 for v in kept.values())

figure, (left, right) = panels(1, 2, width=10.5, height=3.3)
a = torch.linspace(0.01, 1.85, 200)
left.plot(a, 1 / (1 - a / 2), color=SCORE)
left.plot(list(kept), list(kept.values()), "s", color=VELOCITY, markersize=7)
left.text(1.05, 5.3, "ULA (2.12)", color=SCORE)
left.text(0.62, 0.25, "MALA, measured", color=VELOCITY)
left.set(xlabel="$a = h/s_0^2$", ylabel="variance / $s_0^2$", ylim=(0, 8), title="the bias is gone")
for (D, j), color, style in zip(jump.items(), (DATA, SCORE, GUIDED), ("-", "--", "-."), strict=True):
    right.plot(accepted[D], j / j.max(), color=color, linestyle=style, label=f"D = {D}")
right.axvline(0.574, color=INK, linewidth=0.8, linestyle=":")
right.text(0.585, 0.45, "0.574", color=INK)
right.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.6, 0.02), fontsize=10)
right.set(xlabel="accepted part", ylabel="progress $J$ / best", title="how much to accept", ylim=(0, 1.05))
figure

# %% [markdown]
r"""
*Left: variances of 20,000 walkers under MALA: right at every step size, also where ULA is far off. Right:
progress per step against the part that is accepted; the step grows from right to left. In high dimension the
best part is 0.574 (Roberts and Rosenthal), and a wide range around it is nearly as good. A sampler that
accepts 99 % is wasting its time.*

So why is not every sampler of this book a MALA? Because (2.18) needs $p(x')/p(x)$. A score network has the
gradient of $\log p$ and no value. One may integrate the score along a line from $x$ to $x'$, but a network's
vector field need not be a gradient of anything, and small steps make ULA's bias small anyway. Diffusion
samplers live with it: their corrector steps are ULA.

**Before you read on.** The bias is gone. Look at case B in the first picture once more. Will MALA mend it?

## 2.7 Between the modes

In B the step is fine, and inside each mode all is well. But the shares are wrong, and not by chance. Send the
same walkers uphill *without* noise, $T = 0$, and count where they end.
"""

# %%
uphill = ULA(three.score, 0.02, temperature=0.0).sample(start, 400)
for name, x in (
    ("exact samples", runs["exact samples"]),
    ("case B", runs["B: h = 0.02"]),
    ("climbing only", uphill),
):
    print(f"{name:14s} shares", *[f"{v:.2f}" for v in shares(x)])
assert (shares(uphill) - shares(runs["B: h = 0.02"])).abs().max() < 0.04

# %% [markdown]
r"""
The shares of B are the parts of the picture from which one slides into each mode. The noise shook the walkers
inside their modes and moved hardly one to another: they sit where they were *started*.

Why do they not correct it? A walker feels the score where it stands. For a mixture
$p = \sum_k w_k\, p_k$ differentiate the sum and divide by it:

$$s(x) = \sum_k r_k(x)\, s_k(x), \qquad r_k = \frac{w_k\,p_k(x)}{\sum_j w_j\,p_j(x)}. \tag{2.21}$$

The weights $w_k$ occur only inside the responsibilities $r_k$. Deep inside mode 1, $r_1 \approx 1$ whether
$w_1$ is 0.9 or 0.1. **The score in a mode does not know the mode's share.** All knowledge of the shares lies
in the thin region between, where several $r_k$ are comparable, and where hardly a walker ever is.
"""

# %%
far = torch.tensor([[-2.5], [2.5]])
even, uneven = (GaussianMixture.isotropic(far, 0.6, torch.tensor(w)) for w in ([0.5, 0.5], [0.9, 0.1]))
x = torch.linspace(-4, 4, 161)[:, None]
parts = torch.stack([GaussianMixture.isotropic(far[k : k + 1], 0.6).log_prob(x) for k in (0, 1)], dim=1)
r = torch.softmax(parts + torch.tensor([0.9, 0.1]).log(), dim=1)
_, by_autograd = derivatives(uneven.log_prob, x, 1)
verify("2.21", by_autograd, (r * -(x - far[:, 0]) / 0.6**2).sum(1, keepdim=True), over="points")
core = ((x - far[:, 0]).abs() < 1.2).any(dim=1)  # two standard deviations around a mode
difference = (even.score(x) - uneven.score(x)).abs()[:, 0]
print(f"changing 50 : 50 to 90 : 10 changes the score by at most {difference.max():.0f} between the modes")
assert difference[core].max() < 0.02
print("and by less than 0.02 within two standard deviations of either")

# %% [markdown]
r"""
How long would the correction take? A walker must climb over the saddle by luck. With two modes think of two
boxes, with a share $w$ of the walkers in the first. Each box loses walkers to the other at a constant rate:
$\dot w = -k_1 w + k_2 (1 - w)$. The right side is zero at $w_\infty = k_2/(k_1 + k_2)$, and so it is
$-(k_1 + k_2)\,(w - w_\infty)$. The distance from the right share shrinks exponentially, with one time
constant $\tau = 1/(k_1 + k_2)$, the **relaxation time**:

$$w(t) = w_\infty + (w_0 - w_\infty)\,e^{-t/\tau}. \tag{2.22}$$

The matrix of section 2.5 knows $\tau$. Its largest eigenvalue is 1 (the equilibrium). What decays most
slowly belongs to the next one, $\lambda_2$, and loses that factor per step of time $h$, so
$\tau = -h/\log\lambda_2$. A climb by luck has Boltzmann's odds: the chance to stand on the saddle, at height
$\Delta U = \log p(\text{mode}) - \log p(\text{saddle})$ above the mode, is smaller by $e^{-\Delta U/T}$. So

$$\log\tau = \frac{\Delta U}{T} + \text{const}. \tag{2.23}$$

(Arrhenius found it for chemical reactions. Chapter 3 computes the constant, after Kramers.)

**Before you read on.** The temperature stays at 1, and the saddle becomes deeper: from one quarter of the
peak's density to one thousandth. By what factor does the waiting time grow?
"""


# %%
def relaxation_time(density, h=0.01, T=1.0):
    eigenvalues = torch.linalg.eigvals(step_matrix(density, h, T)).real.sort(descending=True).values
    return -h / math.log(eigenvalues[1].item())


def height(density):
    """Delta U of two equal modes with the saddle at 0."""
    log_density = density.log_prob(fine[:, None])
    return (log_density.max() - density.log_prob(torch.zeros(1, 1))[0]).item()


def pair(distance, weights=(0.5, 0.5)):
    return GaussianMixture.isotropic(torch.tensor([[-distance], [distance]]), 0.6, torch.tensor(weights))


steep = pair(1.2)
cold = torch.tensor([0.14, 0.16, 0.19, 0.23])
taus = [relaxation_time(steep, h=0.02, T=T) for T in cold.tolist()]
slope = np.polyfit((1 / cold).numpy(), np.log(taus), 1)[0]
verify("2.23", slope, height(steep), rtol=0.05)

unequal = pair(1.4, (0.25, 0.75))
tau = relaxation_time(unequal)
x0 = GaussianMixture.isotropic(torch.tensor([[-1.4]]), 0.6).sample(4000, seeded(25))
states = list(ULA(unequal.score, 0.01).run(x0, 2400, generator=seeded(26)))
right_share = torch.stack([(x[:, 0] > 0).double().mean() for x in states])
w_end = (equilibrium(step_matrix(unequal, 0.01)) * (fine > 0)).sum()
w_start = (x0 > 0).double().mean()
for k in (600, 1800):
    goal = w_end + (w_start - w_end) * math.exp(-0.01 * k / tau)
    verify_mean("2.22", (states[k][:, 0] > 0).double(), goal)

distances = (0.9, 1.1, 1.3, 1.5, 1.7, 1.9, 2.1, 2.35)
waits = [relaxation_time(pair(d)) for d in distances]
heights = [height(pair(d)) for d in distances]
quarter, thousandth = np.exp(np.interp([math.log(4), math.log(1000)], heights, np.log(waits)))
print(f"saddle at a quarter of the peak: relaxation time {quarter:.0f}")
print(f"saddle at a thousandth of it: relaxation time {round(thousandth, -2):.0f}")
assert 100 < thousandth / quarter < 250

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.3)
clock = 0.01 * torch.arange(2401)
left.plot(clock, right_share, color=SCORE, linewidth=1.2)
left.plot(
    clock, w_end + (w_start - w_end) * torch.exp(-clock / tau), color=INK, linewidth=1.5, linestyle="--"
)
left.axhline(0.75, color=DATA, linewidth=1.2)
left.text(0.3, 0.78, "the true share", color=DATA)
left.text(9.5, 0.42, f"orange: 4,000 walkers\ndashed: (2.22), $\\tau$ = {tau:.0f}", color=INK)
left.set(xlabel="time t", ylabel="share of the right mode", title="all started on the left", ylim=(0, 0.9))
right.semilogy(heights, waits, "o", color=SCORE)
guide = torch.tensor([heights[0], heights[-1]])
right.semilogy(guide, waits[3] * torch.exp(guide - heights[3]), color=INK, linewidth=1, linestyle="--")
right.text(2.6, 4.0, r"dashed: slope of $e^{\Delta U}$", color=INK)
right.set(
    xlabel=r"height of the saddle $\Delta U$", ylabel=r"relaxation time $\tau$", title="the price of a saddle"
)
figure

# %% [markdown]
r"""
*Left: shares of walkers against the two-box law, with $\tau$ from the matrix. Right: relaxation times for
modes at eight distances. The axis of times is logarithmic: each unit of height costs a factor of a
little less than $e$.*

From a quarter to a thousandth is a factor of 250 in the density. The waiting time grows by more than 100 (the
constant in (2.23) hides a factor that changes slowly with the shape of the wells). And these are two modes on
a line. Between two equal round modes at distance $d$ the saddle has the height $d^2/8s_0^2$ (but for
$\log 2$), and $d^2$ adds up over the coordinates. Two pictures differ in hundreds of pixels. For practical
purposes such a walk *never* gets its shares right.

And MALA? It is exact in equilibrium, and just as slow in getting there. Ask it:
"""

# %%
late = ULA(three.score, 0.02).sample(runs["B: h = 0.02"][:1000], 3600, generator=seeded(27))
judged = MALA(three.log_prob, three.score, 0.03).sample(start, 400, generator=seeded(28))
for name, x in (
    ("ULA, 400 steps", runs["B: h = 0.02"]),
    ("ULA, 4000 steps", late),
    ("MALA, 400 steps", judged),
):
    print(f"{name:16s} shares", *[f"{v:.2f}" for v in shares(x)])
    assert (shares(x) - shares_true)[0] < -0.2
print(f"{'the truth':16s} shares", *[f"{v:.2f}" for v in shares_true])

# %% [markdown]
r"""
So for B neither ten times as many steps nor a smaller step nor the referee is of much use. A different start
would be, one with the right shares, but that is the problem itself.

## 2.8 Annealing

The waiting time depends on the saddle. Then let us lower the saddle first, walk while it is low, and raise
it again slowly. A smith does so with steel: heat it, and cool it slowly. There are two ways to flatten a
density.

**By heat.** Walk on $p^{1/T}$ with $T$ falling from some large value to 1. Every saddle is lower by the
factor $T$.

**By noise.** Walk on $p_\sigma$, the distribution of data with Gaussian noise of size $\sigma$ added, with
$\sigma$ falling from some large value to nearly 0. The noise fills the valleys.

**Before you read on.** Both start with one broad hill and end at $p$. Will the shares come out right with
both, or only with one?

The question is what each does to the *shares of the modes* on the way, since at some moment the modes part,
and whatever shares they have then are frozen in. Take well-separated modes, $w_k\,\mathcal N(m_k, s_k^2 I)$
in $D$ dimensions. Under heat, each mode's mass is the integral of its part to the power $1/T$. A Gaussian to
the power $1/T$ is a Gaussian of variance $T s_k^2$, up to a factor:

$$\int \Big(w_k\,(2\pi s_k^2)^{-D/2}\,e^{-\lVert x - m_k\rVert^2/2s_k^2}\Big)^{1/T} dx
= w_k^{1/T}\,(2\pi s_k^2)^{-D/2T}\,(2\pi T s_k^2)^{D/2} .$$

What depends on $k$:

$$w_k(T) \propto w_k^{1/T}\; s_k^{\,D(1 - 1/T)}. \tag{2.24}$$

Heat evens out the weights, and it favours *wide* modes, with the dimension in the exponent. Whenever the
modes part at a temperature above 1, wrong shares are frozen.

Under noise, each point of the data receives its own kick. A point that came from mode $k$ still came from
mode $k$:

$$p_\sigma = \sum_k w_k\;\mathcal N\big(m_k,\ (s_k^2 + \sigma^2) I\big), \qquad w_k(\sigma)
= w_k. \tag{2.25}$$

At every noise level the shares are the right ones. At the moment when the modes part, they part correctly.
**Noise keeps the proportions that heat destroys.** It is the reason why this book is about noise levels and
not about temperatures.
"""

# %%
plain = GaussianMixture(
    torch.tensor([0.7, 0.3]), torch.tensor([[-3.0], [3.0]]), torch.tensor([[[0.04]], [[0.36]]])
)


def heated(T):
    weight = torch.softmax(plain.log_prob(line[:, None]) / T, dim=0)
    return weight / cell


def right_of(density, split=0.0):
    return (density * (line > split)).sum() * cell


def law(T, D):
    """Share of the right mode by (2.24)."""
    left, right = (w ** (1 / T) * s ** (D * (1 - 1 / T)) for w, s in ((0.7, 0.2), (0.3, 0.6)))
    return right / (left + right)


flat = torch.cartesian_prod(*[torch.linspace(-8, 8, 401)] * 2)  # the same modes in the plane
plain_2d = GaussianMixture(
    plain.weights,
    torch.tensor([[-3.0, 0.0], [3.0, 0.0]]),
    torch.tensor([[[0.04]], [[0.36]]]) * torch.eye(2),
)
heats = (1.0, 1.5, 2.0)
by_sums = [right_of(heated(T)) for T in heats]
by_sums += [torch.softmax(plain_2d.log_prob(flat) / T, dim=0)[flat[:, 0] > 0].sum() for T in heats]
verify(
    "2.24",
    torch.stack(by_sums),
    [law(T, D) for D in (1, 2) for T in heats],
    rtol=1e-3,
    over="pairs of temperature and dimension",
)

sigma = 1.3
on_grid = torch.exp(plain.log_prob(line[:, None]))
some = torch.linspace(-6, 6, 40)
spread = torch.exp(-((some[:, None] - line) ** 2) / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2)
closed_form = plain.noised(EDM(), sigma)
verify("2.25", spread @ on_grid * cell, torch.exp(closed_form.log_prob(some[:, None])), over="points")
assert torch.equal(closed_form.weights, plain.weights)

figure, axes = panels(2, 3, width=11, height=4.6)
levels = ((1.0, 0.02), (3.0, 1.0), (10.0, 3.0))
for column, (T, sigma) in enumerate(levels):
    noised = torch.exp(plain.noised(EDM(), sigma).log_prob(line[:, None]))
    for ax, density, color, title in (
        (axes[column], heated(T), EXTRA, f"heat: T = {T:g}"),
        (axes[3 + column], noised, NOISE, rf"noise: $\sigma$ = {sigma:g}"),
    ):
        ax.fill_between(line, density, color=color, alpha=0.6, linewidth=0)
        ax.plot(line, density, color=INK, linewidth=1.0)
        peak = density.max().item()
        ax.set(xlim=(-8, 8), ylim=(0, 1.25 * peak), title=title, yticks=[])
        inside = (line.abs() < 2.5).nonzero()
        valley_at = line[inside[density[inside].argmin()]].item()
        told_apart = color == EXTRA or sigma < 2
        label = f"right: {100 * right_of(density, valley_at):.0f} %" if told_apart else "one hill"
        ax.text(0.97, 0.85, label, ha="right", transform=ax.transAxes)
    axes[3 + column].set_xlabel("x")
for ax in (axes[0], axes[3]):
    ax.set_ylabel("density")
figure

# %% [markdown]
r"""
*Two modes with shares 70 and 30 %, the right one three times as wide; noise and heat grow from left to
right, and each panel is scaled to its own height. Above: heated, the right mode takes over. Walkers that
cool down arrive with its share far too large. Below: noised, the right mode keeps its 30 % as long as there
are two modes to tell apart.*

### The algorithm
Noise levels $\sigma_1 > \sigma_2 > \dots > \sigma_L$, some steps of ULA at each, the end of one level the
start of the next. The step must fit the level: the narrowest direction of $p_\sigma$ has a variance of at
least $\sigma^2$, so by (2.12) a step of

$$h_\sigma = r\,\sigma^2 \tag{2.26}$$

has a relative bias of at most about $r/2$ at every level. This is **annealed Langevin dynamics**. The score
of $p_\sigma$ is exact here; learning it for all $\sigma$ is chapter 4.

<!-- code 2.26: diffedu.sampling.sde.Langevin -->
"""


# %%
def annealed(score_at, x, sigmas, steps, r, generator):
    """Langevin steps of size (2.26) at each of the falling noise levels; score_at(x, sigma)."""
    for sigma in sigmas:
        for _ in range(steps):
            h = r * sigma**2
            x = x + h * score_at(x, sigma) + torch.sqrt(2 * h) * torch.randn(x.shape, generator=generator)
    return x


sigmas = torch.logspace(math.log10(4.0), math.log10(0.03), 40)
noise_start = 4.0 * torch.randn(2000, 2, generator=seeded(29))
exact = three.denoiser(EDM())  # on this path the noise level is the time
times = torch.cat([sigmas.repeat_interleave(10), sigmas[-1:]])
by_noise = sample(exact, Langevin(0.1), noise_start, times, generator=seeded(30))
ours = annealed(
    lambda x, sigma: three.noised(EDM(), sigma).score(x), noise_start, sigmas, 10, 0.1, seeded(30)
)
verify("2.26", ours, by_noise, rtol=1e-6, over="coordinates")


def cooled(x, steps, T_start, h, generator):
    """Langevin steps at temperatures that fall from T_start to 1."""
    for T in torch.logspace(math.log10(T_start), 0.0, steps).tolist():
        x = ULA(three.score, h, temperature=T).step(x, torch.randn(x.shape, generator=generator))
    return x


by_heat = cooled(start, 400, 20.0, 0.02, seeded(31))
ends = {
    "exact samples": runs["exact samples"],
    "plain": runs["B: h = 0.02"],
    "from heat": by_heat,
    "from noise": by_noise,
}
patient = cooled(start, 1600, 20.0, 0.02, seeded(32))
for name, x in (*ends.items(), ("heat, 1600 steps", patient)):
    print(f"{name:16s} shares", *[f"{v:.2f}" for v in shares(x)])
assert (shares(by_noise) - shares_true).abs().max() < 0.05
assert (shares(by_heat) - shares_true).abs().max() > 0.15
assert (shares(patient) - shares_true).abs().max() > 0.15
show_clouds(ends)

# %% [markdown]
r"""
*400 steps each, with exact scores. Plain: the shares of the start. From heat: the wide mode holds half
of the mass, as (2.24) lets one expect. From noise: right, up to the size of the steps.*

Cooling four times as slowly helps heat little: its shares have to be corrected again and again while the
saddle rises, and one day they no longer can. Noise has nothing to correct.

### The playground
All walkers start in the left mode, which should hold the *smallest* share. Mode $k$ of $K$ has a share
proportional to $k$, at $T = 1$.

**Before you move anything**, three bets. With two modes, *separation* 3 and 100 steps: which temperature
between 0.1 and 10 brings the orange bars nearest to the grey ones? Does the referee help with the bars? And
what will you see at $h = 0.6$ without it?
"""

# %%
from diffedu.show.widgets.langevin import LangevinPlayground, play

LangevinPlayground()

# %%
bet_1 = {T: play(2, 3.0, 0.02, T, 100, False) for T in (1.0, 2.0, 10.0)}
gaps = {T: (outcome.found - outcome.wanted).abs()[0].item() for T, outcome in bet_1.items()}
assert gaps[1.0] > 0.3
assert gaps[10.0] < 0.1
refereed = play(2, 3.0, 0.02, 1.0, 100, True)
assert refereed.found[0] - refereed.wanted[0] > 0.3
print("T = 1, left mode: share above 0.3 too large, with and without the referee; at T = 10 below 0.1 off")
wild = play(2, 3.0, 0.6, 1.0, 50, False).points
print(
    "h = 0.6, beyond twice the variance 0.25: still in the picture",
    int((wild.abs() < 5.5).all(1).sum()),
    "of 300",
)

# %% [markdown]
r"""
**What to take from it.** The step size decides whether the *shape* of a mode is right. Time, in units of
$e^{\Delta U/T}$, decides whether the *shares* are. Heat buys time at the price of another target. The
referee mends shapes, never shares.

## 2.9 Exercises

`check` tells you what is wrong, `hint("2.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Two exercises come from the **errata museum**.
"""

# %%
for one in exercises(2):
    print(one)

# %% [markdown]
r"""
**Exercise 2.1 ★ — one step.** Write (2.9) for a batch, with a temperature and one mobility for each
coordinate.
"""


# %% tags=["exercise"]
def langevin_step(x, score, h, temperature, mobility, noise):
    """x after one step; x, score (values at x) and noise (B, D), mobility (D,); h, temperature numbers."""
    ...


# %%
check("2.1", langevin_step)

# %% [markdown]
r"""
**Exercise 2.2 ★ — predict, then run.** This time all 2000 walkers start as exact samples of `three`, with
the right shares. They walk 400 steps: by ULA with $h = 0.02$ (case B), by ULA with $h = 0.15$ (case C), or
by MALA with $h = 0.15$. Which of the three runs end with shares that are right to 5 percentage points?
Answer "B", "MALA", "B and C", "B and MALA" or "all". Answer first, then run the three.
"""

# %% tags=["exercise"]
who_keeps_the_shares = ...

# %%
check("2.2", who_keeps_the_shares)

# %% [markdown]
r"""
**Exercise 2.3 ★ — how small a step?** Data of standard deviation 0.4 on every axis. What is the largest
step $h$ of ULA (with $M = T = 1$) for which the variance of its samples is at most 5 % too large?
"""

# %% tags=["exercise"]
largest_step = ...

# %%
check("2.3", largest_step)

# %% [markdown]
r"""
**Exercise 2.4 ★★ — errata museum: two conventions in one line.** Meant is a step in the convention of Song
and Ermon, with drift $\tfrac{\alpha}{2}s$, at temperature $T$: its equilibrium is $p^{1/T}$. The drift is
right. The noise holds *two* mistakes. (Use (2.10).)
"""


# %% tags=["exercise"]
def half_alpha_step(x, score, alpha, temperature, noise):
    """One step with drift alpha / 2 times the score; x, score and noise (B, D), the others numbers."""
    return x + alpha / 2 * score + temperature * math.sqrt(2 * alpha) * noise


# %%
check("2.4", half_alpha_step)

# %% [markdown]
r"""
**Exercise 2.5 ★★ — the wrong covariance.** Gaussian data with any covariance $\Sigma$, temperature $T$,
$M = 1$. Derive the covariance in which ULA settles, and write it as a function. (The score is
$-\Sigma^{-1}(x - m)$. Turn the axes, or solve the matrix version of (2.11).)
"""


# %% tags=["exercise"]
def settled_covariance(covariance, h, temperature):
    """Covariance (D, D) of the equilibrium of ULA with step h for Gaussian data of covariance (D, D)."""
    ...


# %%
check("2.5", settled_covariance)

# %% [markdown]
r"""
**Exercise 2.6 ★★ — the referee's ratio.** Write $\log r$ of (2.18) for a temperature: the target is
$p^{1/T}$, the proposal ULA's step with $M = 1$ at that temperature. All values are given; nothing has to be
called.
"""


# %% tags=["exercise"]
def log_ratio(x, y, log_p_x, log_p_y, score_x, score_y, h, temperature):
    """log r (B,) for moves from x to y (B, D), with log p (B,) and scores (B, D) at both ends."""
    ...


# %%
check("2.6", log_ratio)

# %% [markdown]
r"""
**Exercise 2.7 ★★ — errata museum: a referee who favours one side.** This is one step of MALA at $M = T = 1$
with *two* mistakes. It runs, it accepts most of the time, and its equilibrium is not $p$. Mend it.
"""


# %% tags=["exercise"]
def mala_step(log_prob, score, x, h, noise, uniform):
    """The new points (B, D), from x and noise (B, D), uniform (B,); log_prob and score are functions."""
    y = x + h * score(x) + math.sqrt(2 * h) * noise
    there = ((y - x - h * score(x)) ** 2).sum(1) / (2 * h)
    back = ((x - y - h * score(y)) ** 2).sum(1) / (2 * h)
    log_r = log_prob(y) - log_prob(x) + back - there
    return torch.where((torch.log(uniform) < log_r)[:, None], y, x)


# %%
check("2.7", mala_step)

# %% [markdown]
r"""
**Exercise 2.8 ★★ — shares under heat.** Write (2.24) for well-separated round modes, normalised. Compute in
logarithms: in a thousand dimensions $s^D$ overflows or vanishes.
"""


# %% tags=["exercise"]
def heated_shares(weights, stds, dimension, temperature):
    """Shares (K,) of p^(1/T), from the weights and standard deviations (K,) of modes in D dimensions."""
    ...


# %%
check("2.8", heated_shares)

# %% [markdown]
r"""
**Exercise 2.9 ★★★ — a mobility that depends on the place.** Every coordinate has its own mobility
$M_i(x)$, which may depend on the whole point. Generalise (2.7) to several dimensions: what drift keeps
$p^{1/T}$? Write it, with automatic differentiation for what you need of $M$.
"""


# %% tags=["exercise"]
def corrected_drift(x, score, mobility, temperature):
    """Drift (B, D) at points x with scores (B, D); mobility maps points (B, D) to mobilities (B, D)."""
    ...


# %%
check("2.9", corrected_drift)

# %% [markdown]
r"""
## 2.10 What the field does with it, and where this breaks

- **Score-based models** began here. Song and Ermon (2019) learned the scores of many noise levels and
  sampled with exactly the loop of section 2.8 (chapter 4).
- **Correctors.** Song et al. (2021) put ULA steps between the steps of another sampler: they pull the
  points towards the right density of the level. They choose the step from the norms of score and noise in
  the batch. That is a step that depends on $x$, the trap of (2.7); with a batch average the harm is small.
- **Low temperature.** Sampling at $T < 1$ makes images cleaner and less diverse. Dividing the scores of all
  noise levels by $T$ does *not* give it: the noised version of $p^{1/T}$ is another density than
  $(p_\sigma)^{1/T}$. Chapter 12 returns to this.
- **Bayesian learning.** Welling and Teh (2011) walk on the posterior of a network's weights with gradients
  of mini-batches (SGLD). The gradient's own noise is then a second source of heat.
- **Molecules** are simulated with inertia, by the *underdamped* Langevin equation, where momentum carries a
  walker over small saddles.
- **Parallel tempering** repairs heat: many temperatures run side by side, and neighbours exchange walkers by
  a referee. Each then keeps its own right shares.

Where it breaks: everything here was computed with an exact score. A learned score is worst where data is
rare, and those are the saddles on which the shares depend by (2.21). With noise levels the walkers pass
there only while the noise makes the region populated. Annealing has its own knobs (levels, steps, $r$), and
(2.26) wastes steps: chapters 8, 10 and 11 follow the falling noise with a differential equation instead, and
need far fewer evaluations than the 400 of this chapter.

### References
Our $h$ is the factor before the score; see the table in section 2.3 for the others.
- Langevin (1908), on the theory of Brownian motion: the equation, with inertia.
- Roberts, Tweedie (1996), *Exponential convergence of Langevin distributions and their discrete
  approximations*: the names ULA and MALA; when they converge and when they do not.
- Besag (1994), in the discussion of Grenander and Miller, *Representations of knowledge in complex systems*:
  (2.18) with Langevin's proposal.
- Metropolis, Rosenbluth, Rosenbluth, Teller, Teller (1953), *Equation of state calculations by fast
  computing machines*, and Hastings (1970): the referee.
- Roberts, Rosenthal (1998), *Optimal scaling of discrete approximations to Langevin diffusions*: 0.574 and
  steps of order $D^{-1/3}$.
- Talay, Tubaro (1990), *Expansion of the global error for numerical schemes solving stochastic differential
  equations*: the method behind (2.14) and (2.15).
- Dalalyan (2017), *Theoretical guarantees for approximate sampling from smooth and log-concave densities*:
  how many steps of ULA suffice where there is one mode.
- Welling, Teh (2011), *Bayesian learning via stochastic gradient Langevin dynamics*.
- Kirkpatrick, Gelatt, Vecchi (1983), *Optimization by simulated annealing*; Swendsen, Wang (1986), *Replica
  Monte Carlo simulation of spin-glasses*: heat, and exchange between temperatures.
- Song, Ermon (2019), *Generative modeling by estimating gradients of the data distribution*: wrong shares,
  section 3.2.2; annealed Langevin dynamics, algorithm 1, where $\alpha = 2h$.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: correctors, section 4.2.
"""
