# %% [markdown]
"""
# 10. SDEs and ODEs

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/10_sdes_and_odes.ipynb)

*One crowd, many films: kicked paths, smooth paths, and the exact likelihood that comes with the smooth*

Below are three films of one crowd. Three hundred particles start as noise (left edge of each panel) and end
as data (right edge); sixteen of them are drawn. The data lies on a line, in three heaps, and the grey shade
is the density that the crowd should have at each time. All three films use the same exact score. One of
them is an impostor.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from itertools import pairwise

import torch

from diffedu import VE, VP, Euler, EulerMaruyama, GaussianMixture, Heun, Langevin, PredictorCorrector
from diffedu import SubVP, exact_divergence, hutchinson_divergence, log_likelihood, power_times
from diffedu import repeated, sample, score, seeded, signs_like
from diffedu import start_noise, time_at_half_log_snr, trajectory, velocity, with_zero
from diffedu.evaluate import FokkerPlanck, Grid, energy_distance, floor, mmd2, sliced_wasserstein2
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, panels, square
from diffedu.show import SCORE as ORANGE, VELOCITY as GREEN
from diffedu.show.widgets import StochasticityDial
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
double = torch.float64
vp = VP()  # beta(t) = 0.1 + 19.9 t
heaps = GaussianMixture.isotropic(torch.tensor([[-1.3], [0.2], [1.2]]), 0.12, torch.tensor([0.3, 0.5, 0.2]))


def film(score_share, kick, n=300, steps=300, seed=0):
    """Particles on the line, states (steps + 1, n): dx = [-f x + score_share g^2 score] dtau + kick g dw."""
    exact, rng = heaps.denoiser(vp), seeded(seed)
    x, times = torch.randn(n, 1, generator=rng), torch.linspace(1, 1e-3, steps + 1)
    states = [x]
    for t, s in pairwise(times):
        c, dt = vp(t), t - s
        g2 = c.diffusion_squared
        z = torch.randn(x.shape, generator=rng)
        x = x + (-c.drift * x + score_share * g2 * score(exact, x, t)) * dt + kick * (g2 * dt).sqrt() * z
        states.append(x)
    return times, torch.stack(states)[:, :, 0]


films = {"A": film(1.0, 1.0), "B": film(0.5, 0.0), "C": film(1.0, 0.6)}
height = torch.linspace(-3, 3, 241)
moments = torch.linspace(1, 1e-3, 200)
shade = torch.stack([heaps.noised(vp, t).log_prob(height[:, None]).exp() for t in moments], 1).sqrt().numpy()
figure, axes = panels(1, 3, width=13, height=3.7, share=True)
for ax, (name, (times, states)), color in zip(axes, films.items(), (ORANGE, GREEN, GUIDED), strict=True):
    ax.imshow(shade, extent=(1, 0, -3, 3), origin="lower", aspect="auto", cmap="Greys", vmax=1.6)
    ax.plot(times, states[:, :16], color=color, linewidth=0.7)
    ax.set(title=f"film {name}", xlabel="time t (sampling runs to the right)", xlim=(1, 0), ylim=(-3, 3))
    ax.grid(visible=False)
axes[0].set_ylabel("position x")
figure

# %% [markdown]
r"""
*A and C are kicked at every step, B is not kicked at all. At each time the density of the particles should be
the grey shade behind them.*

**Before you read on.** Which film is the impostor: the rough A, the smooth B, or the rough C? Two of them
have the same crowd at *every* instant, and yet no path of one resembles a path of the other. How can that
be? Write down a guess; section 10.5 counts heads.

Until now this book has sampled with chains: a thousand numbered steps, each with its betas. This chapter lets
the steps shrink to nothing. What remains is one equation for the forward process, one for its reversal, and a
whole family of others with the same crowd. The chains become what they were all along: ways to solve them.

**You will be able to**
- pass from DDPM's and NCSN's chains to their differential equations, constants included;
- derive the reverse-time equation from Fokker–Planck in four lines, and tell what that does *not* prove;
- run it with any amount of noise, from none to a storm, and say what the noise buys and what it costs;
- correct a sampler's crowd without moving its time;
- compute the exact likelihood of a diffusion model, and with random probes where "exact" is too dear.

**You need** the Fokker–Planck equation (3.12), the continuous limit (5.27), Tweedie's formula (9.7).
**Time**: 60 minutes to read, under a minute to run, three hours with the exercises.

## 10.1 Three chains and their limits

A diffusion model's forward process, as a chain, is a rule for one small step: shrink a little, add a little
noise. With ever smaller steps it becomes a **stochastic differential equation**, SDE for short:

$$dx = f(t)\,x\,dt + g(t)\,dw. \tag{10.1}$$
<!-- definition 10.1: f is a rate, g^2 a variance per time, dw independent kicks of variance dt -->

Read it as a recipe for a step $\Delta$: add $f x \Delta$, then add Gaussian noise of variance $g^2\Delta$.
The noise has the size $\sqrt\Delta$, because variances add over steps, not sizes (chapter 1).

A point that starts at $x_0$ has a Gaussian law at every later time. Its mean obeys $\dot m = f m$ and its
variance $\frac{d}{dt}\sigma^2 = 2f\sigma^2 + g^2$ (section 5.8 squared one step to see it). Bring
$2f\sigma^2$ to the left and divide by $\alpha^2$, where $\alpha = \exp\int f$. The left side is now
$\frac{d}{dt}(\sigma^2/\alpha^2)$, for the derivative of $1/\alpha^2$ is $-2f/\alpha^2$. So both can be
integrated:

$$\alpha(t) = \exp\!\int_0^t\! f(u)\,du, \qquad
\sigma^2(t) = \alpha^2(t) \int_0^t \frac{g^2(u)}{\alpha^2(u)}\,du. \tag{10.2}$$

Noise that came in at time $u$ has been shrunk since by $\alpha(t)/\alpha(u)$. That is all (10.2) says. (If
noise is there at the start, its variance, shrunk by $\alpha^2$, is added.) Three choices of $f$ and $g$
have names.

### VP: the limit of DDPM
DDPM's step, with $\beta_k = \beta(t)\,\Delta$ and $\Delta = 1/N$, is

$$x_{k} = \sqrt{1-\beta_k}\;x_{k-1} + \sqrt{\beta_k}\;z. \tag{10.3}$$

Since $\sqrt{1-\beta\Delta} = 1 - \tfrac12\beta\Delta + O(\Delta^2)$, the limit is (5.27), the
**variance-preserving** SDE:

$$dx = -\tfrac12\,\beta(t)\,x\,dt + \sqrt{\beta(t)}\;dw. \tag{10.4}$$

### VE: the limit of NCSN
NCSN (chapter 4) has no chain, only a ladder of noise levels $\sigma_1 < \dots < \sigma_N$ and clean data. But
a chain that has these levels is quickly found. Add to what is there the *missing variance*:

$$x_k = x_{k-1} + \sqrt{\sigma_k^2 - \sigma_{k-1}^2}\;z. \tag{10.5}$$

The variances telescope. Let the ladder become a function $\sigma(t)$. In a time $\Delta$ the missing
variance is $\frac{d\sigma^2}{dt}\Delta$, and so $g^2 = \frac{d}{dt}\sigma^2$: of the *square*, which is
where slips are made. For the customary geometric ladder
$\sigma(t) = \sigma_{\min}\,(\sigma_{\max}/\sigma_{\min})^t$, the square grows at twice the logarithmic rate:

$$dx = \sqrt{\tfrac{d\sigma^2}{dt}}\;dw, \qquad
g(t) = \sigma_{\min}\Big(\frac{\sigma_{\max}}{\sigma_{\min}}\Big)^{t}
\sqrt{2\,\ln\frac{\sigma_{\max}}{\sigma_{\min}}}. \tag{10.6}$$

The **variance-exploding** SDE. One subtlety: at $t = 0$ the noise is $\sigma_{\min}$ and not 0. The chain's
first step jumps there from clean data, and no $g$ can jump. The SDE starts *after* the jump, from data that
already carries noise of size $\sigma_{\min}$.

### sub-VP: same pull, less noise
Song et al. (2021) kept VP's pull and asked for less noise. Write $B(t) = \int_0^t\beta$:

$$dx = -\tfrac12\,\beta(t)\,x\,dt + \sqrt{\beta(t)\,\big(1 - e^{-2B(t)}\big)}\;dw. \tag{10.7}$$

At first the bracket is nearly 0: hardly any noise comes in while the point is near the data. **Before you
read on:** VP has variance $1 - e^{-B}$. What has sub-VP? Put the guess $\sigma^2 = (1 - e^{-B})^2$ into
$\frac{d}{dt}\sigma^2 = -\beta\sigma^2 + g^2$. Left: $2(1-e^{-B})\,\beta e^{-B}$. Right:
$\beta\,[\,1 - e^{-2B} - 1 + 2e^{-B} - e^{-2B}\,] = 2\beta e^{-B}(1 - e^{-B})$. They agree, and at $t=0$ both
sides are 0. So

$$\sigma(t) = 1 - e^{-B(t)}: \tag{10.8}$$
<!-- code 10.8: diffedu.core.path.SubVP -->

what was VP's *variance* is sub-VP's *standard deviation*. Whoever takes the root once more, out of habit, has
VP's noise on sub-VP's SDE.

Does a chain with small steps really arrive there? The next cell runs the variances of three chains (no
sampling: one number is carried along) and compares with the limits.
"""


# %%
def chain(kind, N, end=0.3):
    """(alpha, sigma) at time `end` of a chain with N steps per unit of time: two numbers, carried along."""
    alpha, variance, bar = 1.0, 0.0, 1.0
    for k in range(1, round(N * end) + 1):
        beta = (0.1 + 19.9 * k / N) / N
        if kind == "VE":
            keep, added = 1.0, (0.01 * 5000 ** (k / N)) ** 2 - (0.01 * 5000 ** ((k - 1) / N)) ** 2 * (k > 1)
        else:
            keep, bar = math.sqrt(1 - beta), bar * (1 - beta)
            added = beta if kind == "VP" else beta * (1 - bar**2)  # bar^2 becomes exp(-2B)
        alpha, variance = keep * alpha, keep**2 * variance + added
    return alpha, math.sqrt(variance)


paths = {"VP": vp, "sub-VP": SubVP(), "VE": VE()}
print("relative error of sigma at t = 0.3, with N = 100, 1000, 10000 steps")
for name, path in paths.items():
    c = path(torch.tensor(0.3, dtype=double))
    errors = [abs(chain(name, N)[1] / c.sigma.item() - 1) for N in (100, 1000, 10_000)]
    print(f"  {name:7s}", *("0       " if e < 1e-9 else f"{e:.0e}   " for e in errors))
    if name != "VE":
        assert 8 < errors[1] / errors[2] < 12  # first order: ten times the steps, a tenth of the error
limit_of = {name: [*path(torch.tensor(0.3, dtype=double))[:2]] for name, path in paths.items()}
verify("10.4", chain("VP", 100_000), limit_of["VP"], rtol=1e-4, over="moments, DDPM's chain")
verify("10.5", chain("VE", 100_000), limit_of["VE"], rtol=1e-4, over="moments, NCSN's chain")
verify("10.7", chain("sub-VP", 100_000), limit_of["sub-VP"], rtol=1e-4, over="moments, sub-VP's chain")

rng, x = seeded(1, device), torch.full((20_000,), 2.0, device=device)
for k in range(1, 301):  # DDPM's chain itself, N = 1000, for one point
    beta = (0.1 + 19.9 * k / 1000) / 1000
    x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn(x.shape, generator=rng, device=device)
alpha, sigma = chain("VP", 1000)
verify_mean("10.3", torch.stack([x, (x - 2 * alpha) ** 2], 1), [2 * alpha, sigma**2])

ladder = VE()(torch.linspace(0, 1, 11, dtype=double)).sigma
x, seen = torch.zeros(20_000), []
for missing in torch.cat([ladder[:1] ** 2, ladder.square().diff()]).sqrt():
    x = x + missing * torch.randn(x.shape, generator=seeded(3 + len(seen)))
    seen.append(x**2)
verify_mean("10.5", torch.stack(seen, 1), ladder**2)
t = torch.linspace(0.01, 0.99, 50, dtype=double, requires_grad=True)
(grown,) = torch.autograd.grad(VE()(t).sigma.square().sum(), t)
t = t.detach()
verify("10.6", grown.sqrt(), 0.01 * 5000**t * math.sqrt(2 * math.log(5000)), over="times")

fine = torch.linspace(1e-6, 0.6, 400_001, dtype=double)
beta, B = 0.1 + 19.9 * fine, 0.1 * fine + 19.9 * fine**2 / 2
printed = {  # alpha, and g^2 as (10.4), (10.7) and (10.6) have it
    "VP": (torch.exp(-B / 2), beta),
    "sub-VP": (torch.exp(-B / 2), beta * (1 - torch.exp(-2 * B))),
    "VE": (torch.ones_like(fine), (0.01 * 5000**fine) ** 2 * 2 * math.log(5000)),
}
for name, (shrunk, g2) in printed.items():  # (10.2), by the trapezoidal rule, against the path's sigma
    c = paths[name](fine[[0, -1]])
    came_in = torch.trapezoid(g2 / shrunk**2, fine) + (c.sigma[0] / shrunk[0]) ** 2
    verify("10.2", shrunk[-1] ** 2 * came_in, c.sigma[1] ** 2, rtol=1e-6, atol=0, over=f"variance, {name}")
    if name == "sub-VP":
        verify("10.8", (shrunk[-1] ** 2 * came_in).sqrt(), 1 - torch.exp(-B[-1]), rtol=1e-6, over="sigmas")

# %% [markdown]
r"""
Ten times the steps, a tenth of the error: first order, as for every rule that treats a step's rate as
constant. VE's chain is never wrong, since telescoping needs no small steps.

### What a slip does here
Four versions of VE's $g$ are in circulation. (Below, $r = \sigma_{\max}/\sigma_{\min}$.) A check that costs
one line: $\sigma_{\min}^2$ plus the integral of $g^2$ must give $\sigma_{\max}^2$.
"""

# %%
t = torch.linspace(0, 1, 100_001, dtype=double)
rung = 0.01 * 5000**t
slips = {
    "sigma sqrt(2 ln r)    (10.6)": rung * math.sqrt(2 * math.log(5000)),
    "sigma sqrt(ln r)      the 2 of the square lost": rung * math.sqrt(math.log(5000)),
    "sigma ln r            d sigma / dt for g": rung * math.log(5000),
    "sigma                 the level for the rate": rung,
}
for name, g in slips.items():
    reached = math.sqrt(0.01**2 + torch.trapezoid(g**2, t))
    print(f"{name:50s} ends at sigma = {reached:6.1f} instead of 50")

# %% [markdown]
r"""
A fifth is subtler. A widely copied tutorial sets $g(t) = \sigma^t$ with $\sigma = 25$. There is nothing wrong
with it, as long as one remembers that $g^2$ is then $\sigma^{2t}$, and the variance its integral,
$(\sigma^{2t} - 1)/(2\ln\sigma)$, and not $\sigma^{2t}$. Here $\sigma$ is no noise level at all. *Whenever you
meet a $g$ or a $\sigma$, ask: size or variance? rate or level?*
"""

# %%
rng = seeded(2)
t = torch.linspace(0, 1, 401)
starts = torch.tensor([-1.3, 0.2, 1.2]).repeat_interleave(4)
figure, axes = panels(1, 3, width=13, height=3.6)
for ax, (name, path) in zip(axes, paths.items(), strict=True):
    c = path(t[:-1].clamp(min=1e-4))
    x, states = starts.clone(), [starts]
    for f, g2 in zip(c.drift, c.diffusion_squared, strict=True):  # (10.1), step by step
        x = x + f * x / 400 + (g2 / 400).sqrt() * torch.randn(x.shape, generator=rng)
        states.append(x)
    ax.plot(t, torch.stack(states), color=NOISE, linewidth=0.7)
    c = path(t.clamp(min=1e-4))
    ax.plot(t, c.sigma, color=DATA)
    ax.plot(t[:-1], c.diffusion_squared.sqrt()[:-1], color=ORANGE, linestyle="--")
    ax.set(xlabel="time t", title=f"{name}")
    if name == "VE":
        ax.set_ylim(-110, 160)
        ax.text(0.79, 85, "$g$", color=ORANGE)
        ax.text(0.84, 32, r"$\sigma$", color=DATA)
    else:
        ax.set_ylim(-3.2, 4.8)
        ax.text(0.50, 3.5, "$g$", color=ORANGE)
        ax.text(0.05, -0.75, r"$\sigma$ (thick)", color=DATA)
axes[0].set_ylabel("position x, in data units")
figure

# %% [markdown]
r"""
*Twelve particles (grey) leave the three heaps. Blue: the noise level $\sigma$. Orange, dashed: the rate $g$,
in data units per root of time. VP and sub-VP differ only at first: sub-VP starts with no noise. VE walks off
and never shrinks; mind its scale.*
"""

# %% [markdown]
r"""
## 10.2 The film, backwards

Turn the film around: $\tau = 1 - t$ runs from noise to data. Which SDE makes the reversed film? A first idea:
turn the sign of the drift and leave the kicks. **Before you read on**, try it on the simplest case, $f = 0$.
The forward film is a drop of ink that spreads. The idea says that its reversal is: the same kicks. But kicked
particles spread. They will not gather in a drop, whichever way the film runs.

Something has to gather them. We find it with the Fokker–Planck equation (3.12), which knows no
particles, only the crowd. For (10.1), with $D = \tfrac12 g^2$ by (3.2), the density of the forward film obeys

$$\partial_t\,p_t = -\nabla\!\cdot\!\big(f\,x\;p_t\big) + \tfrac12\,g^2\,\nabla^2 p_t. \tag{10.9}$$

Call the reversed crowd $q_\tau = p_{1-\tau}$. A derivative by $\tau$ is minus a derivative by $t$, so every
sign turns:

$$\partial_\tau\,q = +\nabla\!\cdot\!\big(f\,x\;q\big) - \tfrac12\,g^2\,\nabla^2 q. \tag{10.10}$$

This is a true equation, but it is not the Fokker–Planck equation of anything: the second term has the wrong
sign. Minus the Laplacian *gathers*, and kicks cannot do that. Drifts can. So let us write gathering
as a drift. The gradient of a density is the density times its score, $\nabla q = q\,\nabla\log q$. Take the
divergence:

$$\nabla^2 q = \nabla\!\cdot\!\big(q\;\nabla\log q\big). \tag{10.11}$$

A Laplacian *is* a transport, with the score as velocity. Now write $-\tfrac12 = -1 + \tfrac12$ in
(10.10), and use (10.11) on the part with $-1$:

$$\partial_\tau\,q
= -\nabla\!\cdot\!\Big(\big[-f\,x + g^2\,\nabla\log q\big]\;q\Big) + \tfrac12\,g^2\,\nabla^2 q.
\tag{10.12}$$

Compare with (10.9), term by term. This *is* a Fokker–Planck equation: of a film with the drift
$-fx + g^2\,\nabla\log q$ and with the forward film's kicks. Since $q_\tau = p_t$,

$$\boxed{\ dx = \big[-f\,x + g^2\,\nabla\log p_t(x)\big]\,d\tau + g\;dw, \qquad t = 1-\tau.\ } \tag{10.13}$$

The **reverse-time SDE**. One whole $g^2$ of score: half of it undoes the spreading which the forward kicks
did, and half pays for the spreading which the new kicks will do. Keep this sentence; it is the whole
chapter.

### The paper's way of writing it
Song et al. (2021, eq. 6), after Anderson (1982), write the same equation in the time $t$, which then runs
*down*:

$$dx = \big[f\,x - g^2\,\nabla\log p_t(x)\big]\,dt + g\;d\bar w, \qquad dt < 0. \tag{10.14}$$
<!-- definition 10.14: (10.13) in the letters of Song et al.; each step of t is negative -->

The signs in the bracket are opposite, and $dt$ is negative: no contradiction. But copy this bracket into a
loop with a *positive* step, and the sampler climbs away from the data. Section 10.3 counts the damage.

Each line of the derivation, executed. The density and its score are those of a mixture in the plane, a spiral
of nine pieces, the data of this chapter; derivatives by $t$ are differences of densities, derivatives by $x$
come from autograd.
"""

# %%
along = torch.linspace(0, 1, 9, dtype=double)
angle, radius = 0.4 + 4.9 * along, 0.55 + 1.35 * along
centre = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
ahead = torch.stack([1.35 * angle.cos() - 4.9 * centre[:, 1], 1.35 * angle.sin() + 4.9 * centre[:, 0]], 1)
ahead = ahead / ahead.norm(dim=1, keepdim=True)
frame = torch.stack([ahead, torch.stack([-ahead[:, 1], ahead[:, 0]], 1)], 2)
size = torch.stack([0.16 + 0.30 * along, torch.full((9,), 0.09, dtype=double)], 1)
spiral64 = GaussianMixture(0.6 + along, centre, frame @ torch.diag_embed(size**2) @ frame.mT)
spiral = spiral64.to(device, torch.float32)

t = torch.tensor(0.25, dtype=double)
c = vp(t)
law = spiral64.noised(vp, t)
x = law.sample(400, seeded(4))
f, g2 = c.drift, c.diffusion_squared
p = law.log_prob(x).exp()


def div(field, x):
    return exact_divergence(field, x)[1]


def density(y):
    return law.log_prob(y).exp()[:, None]


def gradient(y):
    with torch.enable_grad():
        y = y if y.requires_grad else y.detach().requires_grad_()
        return torch.autograd.grad(density(y).sum(), y, create_graph=True)[0]


h = 1e-5
by_time = (spiral64.noised(vp, t + h).log_prob(x).exp() - spiral64.noised(vp, t - h).log_prob(x).exp()) / (
    2 * h
)
laplacian = div(gradient, x)
transport = div(lambda y: f * y * density(y), x)
loose = {"rtol": 1e-6, "atol": 1e-7}  # differences in time
verify("10.9", by_time, -transport + g2 / 2 * laplacian, **loose, over="points")
verify("10.10", -by_time, transport - g2 / 2 * laplacian, **loose, over="points")
verify("10.11", laplacian, div(lambda y: density(y) * law.score(y), x), over="points")
drifted = div(lambda y: (-f * y + g2 * law.score(y)) * density(y), x)
verify("10.12", -by_time, -drifted + g2 / 2 * laplacian, **loose, over="points")

# %% [markdown]
r"""
Now the crowd itself, without a single particle. Chapter 3's solver moves a density on a grid of cells. It
gets the density of the three heaps at $t = 0.6$, nearly one hump, and (10.13) in 200 slices of time, in
each of which the drift stands still. Will the heaps come back? Beside it, the slips of section 10.3.
"""

# %%
heaps64 = heaps.to(dtype=double)
grid = Grid(-4.5, 4.5, 300)


def reversed_crowd(drift, start=0.6, end=0.05, slices=200):
    """The density at `end`, from the exact one at `start`, by Fokker-Planck; drift(f, g2, x, score)."""
    p = grid.average(lambda x: density_of_heaps(x, start))
    times = torch.linspace(start**0.5, end**0.5, slices + 1, dtype=double).square()
    for t, s in pairwise(times):
        middle = (t + s) / 2
        c, law = vp(middle), heaps64.noised(vp, middle)

        def moving(x, c=c, law=law):
            at = torch.from_numpy(x)
            return drift(c.drift, c.diffusion_squared, at, law.score(at[:, None])[:, 0]).numpy()

        cells = FokkerPlanck.from_drift(moving, grid, diffusion=(c.diffusion_squared / 2).item())
        p = cells.evolve(p, (t - s).item())
    return p


def density_of_heaps(x, t):
    return heaps64.noised(vp, t).log_prob(torch.from_numpy(x)[:, None]).exp().numpy()


crowds = {
    "(10.13)": reversed_crowd(lambda f, g2, x, s: -f * x + g2 * s),
    "½ g² for g²": reversed_crowd(lambda f, g2, x, s: -f * x + g2 / 2 * s),
    "g for g²": reversed_crowd(lambda f, g2, x, s: -f * x + g2.sqrt() * s),
    "+ f x": reversed_crowd(lambda f, g2, x, s: f * x + g2 * s),
}
exact_end = grid.average(lambda x: density_of_heaps(x, 0.05))
verify("10.13", crowds["(10.13)"], exact_end, rtol=0, atol=0.01, over="cells")
for name, found in crowds.items():
    gap = 0.5 * abs(found - exact_end).sum() * grid.width
    print(f"{name:14s} probability in the wrong place: {'below 1 %' if gap < 0.01 else f'{gap:.0%}'}")

figure, (left, right) = panels(1, 2, width=12, height=3.6, share=True)
left.plot(grid.centers, density_of_heaps(grid.centers, 0.6), color=NOISE)
left.plot(grid.centers, exact_end, color=DATA, linewidth=5, alpha=0.35)
left.plot(grid.centers, crowds["(10.13)"], color=ORANGE)
left.text(-3.5, 0.22, "the start, t = 0.6", color="#666666")
left.text(0.55, 1.05, "(10.13), at t = 0.05", color=ORANGE)
left.text(0.55, 0.90, "exact, at t = 0.05", color=DATA)
left.set(xlim=(-3.6, 3.6), ylim=(0, 1.3), xlabel="position x", ylabel="density", title="the reversal")
for (name, found), color, style in zip(
    list(crowds.items())[1:], (GUIDED, EXTRA, INK), ("-", "--", "-."), strict=True
):
    right.plot(grid.centers, found, color=color, linestyle=style, label=name)
right.plot(grid.centers, exact_end, color=DATA, linewidth=5, alpha=0.25)
right.legend(frameon=False, loc="upper left")
right.set(xlabel="position x", title="one slip each")
figure

# %% [markdown]
r"""
*Left: a density moved on 300 cells by (10.13), from the grey hump back to three heaps; on the exact one
within 1 % (the tolerance of the check is what cells of that size and frozen drifts allow). Right: the same
with one slip each; the pale blue is where they should be.*

### What was proved, and what not
The derivation compared crowds. It shows that (10.13) has the right density at *every single* time. It doesn't
show that the film, seen as a film, is the forward one played backwards: where a particle that was *here* at
$t = 0.8$ will be at $t = 0.3$. For (10.13) that is true as well, and it is Anderson's theorem. But nothing
above could tell, and section 10.5 will use this very gap: other films, with the same crowd, that are not
the reversal of anything. There we also measure it.

## 10.3 Euler and Maruyama

The plainest way to run an SDE is the recipe below (10.1): hold everything still for a step. From $t$ down to
$s$, with $\Delta = t - s > 0$ and fresh $z \sim \mathcal N(0, I)$,

$$x_s = x_t + \big[-f\,x_t + g^2\,\nabla\log p_t(x_t)\big]\,\Delta + g\,\sqrt{\Delta}\;z. \tag{10.15}$$
<!-- code 10.15: diffedu.sampling.sde.EulerMaruyama -->

The score comes from a denoiser, by Tweedie (9.7). The step that lands on clean data, $\sigma = 0$, gets no
kick: nobody would take it away again.
"""


# %%
def reverse_sde(denoiser, x, times, generator):
    """(10.15) along a falling grid of times."""
    for t, s in pairwise(times):
        c, dt = denoiser.path(t), t - s
        f, g2 = c.drift, c.diffusion_squared
        guess = denoiser(x, t)
        slope = -(x - c.alpha * guess) / c.sigma**2  # Tweedie
        z = torch.randn(x.shape, generator=generator, device=x.device)
        x = x + (-f * x + g2 * slope) * dt + (g2 * dt).sqrt() * z * (denoiser.path(s).sigma > 0)
    return x


exact = spiral.denoiser(vp)
n = 1000


def fine_times(steps, end=1e-3):
    """Finer towards the data, and one step more to land on it."""
    return with_zero(power_times(vp, steps, 2.0, end=end, device=device))


start = start_noise(vp, (n, 2), seeded(5, device))
mine = reverse_sde(exact, start, fine_times(300), seeded(6, device))
theirs = sample(exact, EulerMaruyama(), start, fine_times(300), generator=seeded(6, device))
assert torch.allclose(mine, theirs, atol=1e-3)
print("the loop above and diffedu's EulerMaruyama draw the same points")

t, s = torch.tensor([0.7, 0.69], dtype=double)
x, z = torch.randn(2, 300, 2, generator=seeded(7), dtype=double)
beta = 0.1 + 19.9 * 0.7
by_hand = x + (0.5 * beta * x + beta * spiral64.noised(vp, 0.7).score(x)) * 0.01 + math.sqrt(beta * 0.01) * z
verify("10.15", EulerMaruyama().step(spiral64.denoiser(vp), x, t, s, (), z)[0], by_hand, over="coordinates")

# %% [markdown]
r"""
### A museum of reverse SDEs
Each of these stood in print or in a repository. All run without complaint, and some give pictures. **Bets
first:** which of them gives samples that are no worse than the right one, by the eye of a hasty reader?

- *positive step in (10.14)*: the paper's bracket, $f x - g^2 s$, with $\Delta > 0$;
- *½ of $g^2$*: the ODE's drift (next section) with the SDE's kicks;
- *$g$ for $g^2$*: in the score's factor;
- *noise on noise*: the kick is multiplied by a second normal number, as when a helper that already returns
  noise is "noised" by its caller;
- *kick in the last step*: $t = 0$ reached with noise, from one step of 0.02.
"""


# %%
def slip_film(drift, kick, times, seed=8):
    rng, x = seeded(seed, device), start
    for t, s in pairwise(times):
        c, dt = vp(t), t - s
        z, again = torch.randn(2, *x.shape, generator=rng, device=device)
        move = drift(c.drift * x, c.diffusion_squared, score(exact, x, t)) * dt
        x = x + move + (c.diffusion_squared * dt).sqrt() * kick(z, again, s > 0)
        x = x.clamp(-1e6, 1e6)
    return x.cpu()


def right(fx, g2, s):
    return -fx + g2 * s


def once(z, again, noisy):
    return z * noisy


museum = {
    "right": slip_film(right, once, fine_times(150)),
    "positive step in (10.14)": slip_film(lambda fx, g2, s: fx - g2 * s, once, fine_times(150)),
    "½ of g²": slip_film(lambda fx, g2, s: -fx + g2 / 2 * s, once, fine_times(150)),
    "g for g²": slip_film(lambda fx, g2, s: -fx + g2.sqrt() * s, once, fine_times(150)),
    "noise on noise": slip_film(right, lambda z, again, noisy: z * again * noisy, fine_times(150)),
    "kick in the last step": slip_film(right, lambda z, again, noisy: z, fine_times(150, end=0.02)),
}
cpu_spiral = spiral64.to(dtype=torch.float32)
fresh = cpu_spiral.sample(n, seeded(9))


def energy(x, y):
    return energy_distance(x, y).value


def sliced(x, y):
    return sliced_wasserstein2(x, y, generator=seeded(10))


def surprise(x, y):
    """Mean of -log p under the exact law, minus that of the fresh sample."""
    return (cpu_spiral.log_prob(y).mean() - cpu_spiral.log_prob(x).mean()).item()


judges = {"energy distance": energy, "surprise": surprise}
bottom = {
    k: floor(judge, cpu_spiral.sample, n, generator=seeded(11), repeats=5) for k, judge in judges.items()
}
limit = {k: abs(b.mean) + 5 * b.standard_deviation for k, b in bottom.items()}
print(
    "perfect samples score 0, give or take:",
    *(f"{b.standard_deviation:.3f} ({k})" for k, b in bottom.items()),
)
verdicts = {}
for name, x in museum.items():
    verdicts[name] = [judge(x, fresh) < limit[k] for k, judge in judges.items()]
    print(f"  {name:26s}", *(f"{'passes' if v else 'fails':8s}" for v in verdicts[name]))
assert verdicts["right"] == [True, True]
assert [name for name, v in verdicts.items() if v[0]] == ["right", "noise on noise", "kick in the last step"]

assert verdicts["noise on noise"] == [True, True]
assert verdicts["kick in the last step"] == [True, False]

# %%
figure, axes = panels(1, 5, width=13.5, height=3.1)
shown = ["right", "½ of g²", "g for g²", "noise on noise", "kick in the last step"]
for ax, name in zip(axes, shown, strict=True):
    ax.scatter(*fresh[:1000].T, s=2, color="#CFCFCF", linewidths=0)
    ax.scatter(*museum[name][:1000].T, s=2, color=DATA if name == "right" else GUIDED, linewidths=0)
    square(ax, 2.5, ylabel="$x_2$" if name == "right" else "")
    ax.set_title(name, fontsize=11)
figure

# %% [markdown]
r"""
*Grey: data. Blue: the right equation. Purple: one slip each. ("Positive step" is out of sight.) The two on
the right lie on the spiral; look how thick the line of the last one is.*

The bets: two slips pass the energy distance. **The kick in the last step** is found by a second judge of
another kind, the mean log-density, which punishes points beside a thin line. **Noise on noise passes
both.** The product of two normal numbers has the right variance, and a sum of 150 kicks forgets everything
but the variance: the central limit theorem hides the bug. So don't judge the film. *Judge one step*: from a
fixed point its kicks must be Gaussian, with a fourth moment of 3 in units of the squared variance (the
kurtosis).
"""

# %%
z, again = torch.randn(2, 200_000, generator=seeded(12))
for name, kick in {"z": z, "z times another z": z * again}.items():
    variance, kurtosis = kick.square().mean(), (kick**4).mean() / kick.square().mean() ** 2
    print(f"one step's kick, {name:18s} variance {variance:.1f}, kurtosis {kurtosis:.0f}")

# %% [markdown]
r"""
## 10.4 No kicks at all

"Half of $g^2$ undoes the spreading which the forward kicks did." So take that half and leave out the new
kicks. By the identity (10.11) the forward equation (10.9) can be written without a Laplacian:

$$\partial_t\,p_t = -\nabla\!\cdot\!\big(v\,p_t\big), \qquad
v(x, t) = f\,x - \tfrac12\,g^2\,\nabla\log p_t(x). \tag{10.16}$$

That is the continuity equation of a fluid with velocity $v$: chapter 3's deterministic twin, (3.33).
Particles that follow

$$\boxed{\ \frac{dx}{dt} = f\,x - \tfrac12\,g^2\,\nabla\log p_t(x)\ } \;=\; \dot\alpha\,\hat x_0(x) +
\dot\sigma\,\hat\varepsilon(x) \tag{10.17}$$
<!-- code 10.17: diffedu.core.denoiser.velocity -->

have the density $p_t$ at every time. This is the **probability-flow ODE**. The second form follows with
(5.33) and (9.6): put $\nabla\log p_t = -\hat\varepsilon/\sigma$ and
$g^2 = 2\sigma(\dot\sigma - f\sigma)$ in; what remains is
$f\,(x - \sigma\hat\varepsilon) + \dot\sigma\hat\varepsilon$, and $x - \sigma\hat\varepsilon$ is
$\alpha\hat x_0$. It says in words: *each part of the point moves at the rate at which its coefficient
changes*.

Nothing here knows a direction of time. The same equation noises data and makes data; only the sign of the
step differs. That is impossible for (10.13): its drift is *not* minus that of (10.1).

### A way there and back
Solutions of an ODE do not cross (through each point runs one). So the flow gives every data point **one**
point of noise, its latent code, and one can return. For one Gaussian, $x_0 \sim \mathcal N(m, S)$ on a
line, the code is known: the flow keeps the number of standard deviations from the mean. With
$V_t = \alpha^2 S + \sigma^2$,

$$\frac{x_t - \alpha(t)\,m}{\sqrt{V_t}} = \frac{x_0 - m}{\sqrt{S}}. \tag{10.18}$$

(Differentiate: $\dot V/2V$ is $f + g^2/2V$ by $\dot V = 2fV + g^2$, and the score is $-(x-\alpha m)/V$.)
"""

# %%
t = torch.tensor(0.25, dtype=double)
c, law, h = vp(t), spiral64.noised(vp, 0.25), 1e-5
x = law.sample(400, seeded(13))
later, before = (spiral64.noised(vp, t + d).log_prob(x).exp() for d in (h, -h))


def flow(y):
    return c.drift * y - c.diffusion_squared / 2 * law.score(y)


verify("10.16", (later - before) / (2 * h), -div(lambda y: flow(y) * density(y), x), **loose, over="points")
verify("10.17", velocity(spiral64.denoiser(vp), x, t), flow(x), over="coordinates")

bell = GaussianMixture.single(torch.tensor([0.5], dtype=double), torch.tensor([[0.3]], dtype=double))
up = power_times(vp, 800, 2.0, end=1e-3, dtype=double).flip(0)
x = torch.linspace(-2, 3, 21, dtype=double)[:, None]
ends = [(vp(t).alpha * 0.5, vp(t).alpha ** 2 * 0.3 + vp(t).sigma ** 2) for t in (up[0], up[-1])]
code = sample(bell.denoiser(vp), Heun(), x, up)
deviations = [(y - mean) / variance.sqrt() for y, (mean, variance) in zip((x, code), ends, strict=True)]
verify("10.18", deviations[1], deviations[0], rtol=1e-4, over="points")

print("there and back along the ODE: 95 % of the points come back to within")
data = cpu_spiral.sample(300, seeded(14)).double()
for steps in (25, 50, 100):
    up = power_times(vp, steps, 2.0, end=1e-3, dtype=double).flip(0)
    back = sample(spiral64.denoiser(vp), Heun(), sample(spiral64.denoiser(vp), Heun(), data, up), up.flip(0))
    print(f"  {steps:4d} steps  {(back - data).norm(dim=1).quantile(0.95):.0e}")

# %% [markdown]
r"""
The code does not depend on the path either. Take the same data point along VP, sub-VP and VE, each to its
own time of one noise-to-signal ratio. Chapter 9 said that paths are one another in other units; so, after
division by $\sigma$, there is one code.
"""

# %%
levels = torch.linspace(4, -3.5, 201, dtype=double)
codes = {}
for name, path in paths.items():
    times = time_at_half_log_snr(path, levels)
    ends = path(times)
    points = data + math.exp(-4) * torch.randn(data.shape, generator=seeded(15), dtype=double)  # noisy by 2 %
    state = sample(spiral64.denoiser(path), Heun(), ends.alpha[0] * points, times)
    codes[name] = state / ends.sigma[-1]
for name in ("sub-VP", "VE"):
    apart = (codes[name] - codes["VP"]).norm(dim=1)
    print(f"codes by {name:6s} and by VP differ by less than 0.01: {bool(apart.max() < 0.01)}")
    assert apart.max() < 0.01
print(f"standard deviation of a code's coordinates: {codes['VP'].std():.1f}")

# %%
figure, (left, middle, right_) = panels(1, 3, width=13, height=4.1)
many = cpu_spiral.sample(3000, seeded(16))
around = torch.stack([(many[:, None] - spiral64.means.float()).norm(dim=2).argmin(1)], 1)[:, 0]
up = power_times(vp, 100, 2.0, end=1e-3).flip(0)
coded = sample(cpu_spiral.denoiser(vp), Heun(), many, up)
for ax, cloud in ((left, many), (middle, coded)):
    ax.scatter(*cloud.T, c=around, cmap="cividis", s=3, linewidths=0)
left.set_title("data")
middle.set_title("codes: the ODE, up to t = 1")
noised = vp.add_noise(many, torch.randn(many.shape, generator=seeded(17)), vp.t_max)
right_.scatter(*noised.T, c=around, cmap="cividis", s=3, linewidths=0)
right_.set_title("the SDE, up to t = 1")
for ax in (left, middle, right_):
    square(ax, 3.2, ylabel="$x_2$" if ax is left else "")
figure

# %% [markdown]
r"""
*Colour: the piece of the spiral from which the point comes. Middle: the ODE lays the spiral out over the bell
curve and spreads it, and each code has one decoding. Where the two ends of the spiral meet there is a seam:
neighbours in the noise decode to distant places. Right: the SDE arrives at the same bell curve, but the
colours are mixed through. Same crowd, no memory.*

This is what one *edits* with: encode two pictures, walk between their codes, decode. DDIM of chapter 8 with
$\eta = 0$ is one way of running (10.17). And it answers half of the riddle of the first picture: film B was
the ODE, and its paths keep their order on the line, like chapter 3's twins.

## 10.5 Everything in between

If half a $g^2$ of score undoes the old kicks, and another half pays for the new ones, then *any* kicks can
be paid for. Let the new ones have the size $k\,g$ with a number $k \ge 0$, the **stochasticity**. Their
spreading is $\tfrac12 k^2 g^2\,\nabla^2 q$; (10.11) says that a drift $\tfrac12 k^2 g^2\,\nabla\log q$
takes it back. Add both to the ODE; for the crowd nothing has happened:

$$dx = \Big[-f\,x + \frac{1 + k^2}{2}\; g^2\,\nabla\log p_t(x)\Big]\,d\tau + k\,g\;dw. \tag{10.19}$$
<!-- code 10.19: diffedu.sampling.sde.EulerMaruyama -->

At $k = 0$ this is the ODE, at $k = 1$ the reverse-time SDE. The $k$ may change with time, too. It is a whole
family of films with one crowd.

**Before you read on.** All films agree on every histogram, at every time. Name a quantity, computed from the
film, by which you could still read off $k$. Two will do.

### What differs: roughness, and memory
*Roughness.* Add up the squared lengths of all steps. A smooth path of $N$ steps has steps of size $1/N$,
whose squares sum to something of size $1/N$: nothing. Kicks have squares of size $1/N$, whose sum stays. In
$D$ dimensions

$$\sum_{\text{steps}} \lVert \Delta x\rVert^2 \;\longrightarrow\; k^2\, D \int g^2(t)\,dt. \tag{10.20}$$

This is the **quadratic variation**. It is the same for every path, and tells $k$ from a single one.

*Memory.* How much does the position at $t$ say about that at $s < t$? For Gaussian data on a line, of
variance $S$, the score is $-x/V_t$ (mean 0 for brevity) and (10.19) is a linear SDE. The expectation of $x$
given its value at $t$ shrinks or grows by the factor $\exp\int_s^t(-f - \frac{1+k^2}{2}\frac{g^2}{V})$. Use
once more $g^2/V = \dot V/V - 2f$, and everything can be integrated: the factor is
$(\alpha_t/\alpha_s)^{k^2}\,(V_s/V_t)^{(1+k^2)/2}$. To make a correlation of it, multiply by
$\sqrt{V_t/V_s}$:

$$\rho_k(s, t) = \Big(\frac{\alpha_t}{\alpha_s}\sqrt{\frac{V_s}{V_t}}\Big)^{k^2} = \rho_1(s, t)^{\,k^2}.
\tag{10.21}$$

Look at it for a moment. At $k = 0$ it is 1: perfect memory, the code. At $k = 1$ it is the *forward* film's
correlation, $\operatorname{Cov}(x_s, x_t)/\sqrt{V_sV_t}$ with
$\operatorname{Cov}(x_s, x_t) = \frac{\alpha_t}{\alpha_s}V_s$. So the film with $k=1$, and no other, passes
this test of being the forward film played backwards. That was the gap in section 10.2. At $k = 2$ the memory
is the fourth power.
"""

# %%
t = torch.tensor(0.25, dtype=double)
c, law = vp(t), spiral64.noised(vp, 0.25)
x = law.sample(200, seeded(18))
lap, back = div(gradient, x), -div(lambda y: -flow(y) * density(y), x)
for k in (0.5, 1.0, 2.0):
    g2 = c.diffusion_squared

    def drift(y, k=k, g2=g2):
        return -c.drift * y + (1 + k**2) / 2 * g2 * law.score(y)

    crowd = -div(lambda y, drift=drift: drift(y) * density(y), x) + k**2 * g2 / 2 * lap
    verify("10.19", crowd, back, over=f"points, k = {k:g}")

gauss = GaussianMixture.single(torch.zeros(1, dtype=double), torch.tensor([[0.3]], dtype=double))
V = lambda c: c.alpha**2 * 0.3 + c.sigma**2  # noqa: E731
s, t = 0.1, 0.6
cs, ct = (vp(torch.tensor(u, dtype=double)) for u in (s, t))
forward = (ct.alpha / cs.alpha) * V(cs) / (V(cs) * V(ct)).sqrt()
many_steps = torch.linspace(t, s, 200_001, dtype=double)
between = vp((many_steps[1:] + many_steps[:-1]) / 2)
for k in (0.0, 0.5, 1.0, 2.0):  # Euler-Maruyama's factor, step by step; nothing is integrated by hand
    rate = -between.drift - (1 + k**2) / 2 * between.diffusion_squared / V(between)
    factor = (1 + rate * (t - s) / 200_000).log().sum().exp()
    verify(
        "10.21",
        factor * (V(ct) / V(cs)).sqrt(),
        forward ** (k**2),
        rtol=1e-4,
        over=f"correlation, k = {k:g}",
    )

# %% [markdown]
r"""
Now with particles, on the spiral. Four films, 500 particles each, 200 steps. At three times each crowd is
compared with exact samples of its time, by three judges who look at different things; beside them the floor.
"""


# %%
def kernel(x, y):
    return mmd2(x, y, bandwidth=(0.1, 0.4, 1.6)).value


strengths = (0.0, 0.5, 1.0, 2.0)
times = fine_times(200)
marks = [int((times - u).abs().argmin()) for u in (0.3, 0.05)] + [len(times) - 1]
crowd, few = {}, 500
for k in strengths:
    walk = trajectory(exact, EulerMaruyama(k), start[:few], times, generator=seeded(19, device))
    crowd[k] = [x.cpu() for i, (_, x) in enumerate(walk) if i in marks]

jury = {"energy distance": energy, "sliced W2": sliced, "MMD²": kernel}
print(f"the worst of four scores, {few} points each; as good as perfect: below mean + 5 sd of the floor")
for j, i in enumerate(marks):
    t = float(times[i])
    law = cpu_spiral.noised(vp, t) if t > 0 else cpu_spiral
    truth = law.sample(few, seeded(20))
    for name, judge in jury.items():
        low = floor(judge, law.sample, few, generator=seeded(21), repeats=4)
        worst = max(judge(crowd[k][j][:few], truth) for k in strengths)
        passes = worst < abs(low.mean) + 5 * low.standard_deviation
        print(f"  t = {t:4.2f}  {name:16s} {'as good as perfect' if passes else 'worse'}")
        assert passes

long = torch.linspace(1, 0.05, 1001, dtype=double)  # for (10.20): smaller steps, fewer particles
budget = -torch.trapezoid(vp(long).diffusion_squared, long) * 2  # D = 2, and long falls
for k in (1.0, 2.0):
    x = spiral64.noised(vp, 1.0).sample(80, seeded(22))
    squares = torch.zeros(80, dtype=double)
    for _, new in trajectory(spiral64.denoiser(vp), EulerMaruyama(k), x, long, generator=seeded(23)):
        squares += (new - x).square().sum(1)
        x = new
    # 3 % for the squares of the drift, which fall like 1/N; k for k^2 would be off by half
    verify("10.20", squares.mean(), k**2 * budget, rtol=0.03, over=f"sum of squares, k = {k:g}")

# %%
figure, axes = panels(2, 4, width=13, height=6.0)
memory = {}
for column, k in enumerate(strengths):
    clock, states = film((1 + k**2) / 2, k, n=1000, steps=300, seed=24)
    early = int((clock - 0.3).abs().argmin())
    memory[k] = torch.corrcoef(torch.stack([states[early], states[-1]]))[0, 1].item()
    top, low = axes[column], axes[4 + column]
    top.imshow(shade, extent=(1, 0, -3, 3), origin="lower", aspect="auto", cmap="Greys", vmax=1.6)
    top.plot(clock, states[:, :6], color=GREEN if k == 0 else ORANGE, linewidth=0.9)
    top.set(xlim=(1, 0), ylim=(-3, 3), title=f"k = {k:g}", xlabel="time t")
    top.grid(visible=False)
    low.scatter(states[early, :700], states[-1, :700], s=3, color=DATA, linewidths=0)
    low.set(xlim=(-3, 3), ylim=(-2, 2), xlabel="x at t = 0.3")
    low.text(-2.8, 1.6, f"correlation {memory[k]:.1f}", color=INK)
axes[0].set_ylabel("position x")
axes[4].set_ylabel("x at t = 0")
assert memory[0.0] > memory[0.5] > memory[1.0] > memory[2.0]
figure

# %% [markdown]
r"""
*Six particles with the same starts in four films of one crowd, and below, where each of 700 particles is at
the end against where it was at $t = 0.3$. Left: a curve, since position determines position. (Its
correlation is below 1 because the curve is bent; for Gaussian data it is a line.) Right: almost three
horizontal bars: the end says little of where a particle was.*

And the riddle of the beginning? Count heads.
"""

# %%
border = torch.tensor([-0.55, 0.7])
for name, (_, states) in films.items():
    share = torch.bucketize(states[-1], border).bincount(minlength=3) / 300
    print(f"film {name}: {share[0]:.2f} {share[1]:.2f} {share[2]:.2f} of the particles in the three heaps")
    fair = (share - torch.tensor([0.3, 0.5, 0.2])).abs().max() < 0.1
    assert fair == (name != "C")
print("data:   0.30 0.50 0.20; one standard deviation of chance, for 300 particles: up to 0.03")

# %% [markdown]
r"""
C is the impostor: the whole score, but kicks of $0.6\,g$ only. It paid for spreading that never came, and
its crowd is drawn in towards the middle. (People do this on purpose and call it a low temperature. It is
not the law at a lower temperature.)

## 10.6 What kicks are good for

If all films have one crowd, the smooth one is to be preferred: it needs fewer steps, as we shall see. So why
would anyone kick? Because real scores are wrong.

Take the simplest wrong score, so simple that everything can be computed: data $\mathcal N(0, 1)$ on a line,
VP, so that $p_t = \mathcal N(0,1)$ at all times and the score is $-x$. The network says $-x + \delta$,
always a bit too far right. With the clock $d\theta = \tfrac12\beta\,d\tau$, which ends at
$\Theta = \tfrac12 B(1)$, the drift of (10.19) is $x + (1+k^2)(-x+\delta) = -k^2 x + (1+k^2)\,\delta$. So the
mean obeys $m' = -k^2 m + (1 + k^2)\,\delta$, and from $m = 0$ it arrives at

$$m_k = \frac{1+k^2}{k^2}\Big(1 - e^{-k^2\Theta}\Big)\,\delta, \qquad m_0 = \Theta\,\delta. \tag{10.22}$$

The ODE ($k = 0$) *adds up* the error for its whole way: with $\Theta = 5$, five times $\delta$. With kicks
there is a spring, $-k^2m$, that forgets. At $k=1$ the error is $2\delta$, and for large $k$ it tends to
$\delta$, the error of the score itself. Where does the spring come from? Look at (10.19) once more. What
stands there beside the ODE, $\tfrac12k^2g^2\,\nabla\log p\,d\tau + kg\,dw$, is Langevin dynamics (chapter 2)
in the density $p_t$: it pulls every crowd, also a displaced one, to where it should be. *Kicks with their
payment are a constant correction.*

Now the cost. **Before you read on:** in the same model, with an exact score, one step of (10.15)'s kind
multiplies the deviation by $1 - k^2\tfrac{\beta\Delta}{2}$. For which step does it become unstable?
(Exercise 10.8 asks for more.) The next cell runs the means and variances of the linear model through real
steps, without sampling, and shows both sides of the bargain.
"""

# %%
theta = 0.5 * (0.1 + 19.9 / 2)  # half of B(1)
delta = 0.1


def linear_model(k, steps, push=delta):
    """Means and variances, shape of k, of Euler-Maruyama for N(0, 1) data on VP with the score -x + push."""
    grid = torch.linspace(1, 0, steps + 1, dtype=double)
    mean, variance = torch.zeros_like(k), torch.ones_like(k)
    for half in ((0.1 + 19.9 * grid[:-1]) * -grid.diff() / 2).tolist():
        mean = mean + half * (-(k**2) * mean + (1 + k**2) * push)
        variance = (1 - k**2 * half) ** 2 * variance + 2 * k**2 * half
    return mean, variance


k = torch.tensor([0.5, 1.0, 2.0], dtype=double)
closed = (1 + k**2) / k**2 * (1 - torch.exp(-(k**2) * theta)) * delta
verify("10.22", linear_model(k, 4000)[0], closed, rtol=1e-3, over="means, k = 0.5, 1, 2")
verify("10.22", linear_model(0 * k[:1], 4000)[0], [theta * delta], rtol=1e-3, over="mean, k = 0")

strength = torch.linspace(0, 3, 61, dtype=double)
figure, (left, right_) = panels(1, 2, width=12, height=3.7)
for steps, color, style in ((10, GUIDED, ":"), (20, EXTRA, "-."), (50, ORANGE, "--"), (2000, DATA, "-")):
    mean, variance = linear_model(strength, steps)
    w2 = (mean**2 + (variance.sqrt() - 1) ** 2).sqrt() / delta  # between two Gaussians of the line
    excess = linear_model(strength, steps, 0.0)[1].sqrt() - 1
    drawn = int((excess < 1).int().cumprod(0).sum()) + 1  # up to the first k at which the rule has exploded
    left.plot(strength[:drawn], w2[:drawn], color=color, linestyle=style, label=f"{steps} steps")
    right_.plot(strength[:drawn], excess[:drawn], color=color, linestyle=style)
    best = float(strength[w2.argmin()])
    print(f"{steps:5d} steps: best at", f"k = {best:.1f}" if best < 2.9 else "the largest k tried, 3")
left.axhline(1, color=INK, linewidth=1)
left.text(2.95, 0.35, "the score's own error", ha="right", color=INK)
left.set(
    xlabel="stochasticity k",
    ylabel=r"error ($W_2$), in units of $\delta$",
    ylim=(0, 6.5),
    title="wrong score",
)
left.legend(frameon=False, loc="upper center")
right_.set(yscale="log", xlabel="stochasticity k", ylabel="standard deviation, minus 1", ylim=(1e-4, 1))
right_.set_title("exact score")
figure

# %% [markdown]
r"""
*Left: a score that is wrong by $\delta = 0.1$ everywhere. With many steps, kicks win, down to
the error of the score itself. With few steps there is a best $k$ in between. Right: the price, with an exact
score: the crowd comes out too wide, in proportion to the step and more for more kicks, until the rule
becomes unstable.*

A single step is unstable where its factor is below $-1$, that is for $\Delta > 4/(k^2\beta)$. The curves
leave the frame later. Only the first steps, where $\beta$ is large, are unstable, and the later ones forget
some of the damage.

And on the spiral? The same wrong score, $\nabla\log p_t + \delta$ in one fixed direction, all the way.
"""


# %%
class Pushed:
    """A denoiser whose score is off by a vector; by Tweedie its guess is off by sigma^2 / alpha times it."""

    def __init__(self, denoiser, push):
        self.inside, self.push, self.path = denoiser, push, denoiser.path

    def __call__(self, x, t):
        c = self.path(t)
        return self.inside(x, t) + c.sigma**2 / c.alpha * self.push


push = torch.tensor([0.1, 0.1], device=device)
wrong = Pushed(exact, push)
print(f"energy distance to data; below {limit['energy distance']:.2f} it is as good as perfect")
print("                       k =", *(f"{k:6g}" for k in (0, 0.5, 1, 2, 3)))
table = {}
for name, denoiser in (("wrong score", wrong), ("exact score", exact)):
    for steps in (12, 100):
        row = [
            energy(
                sample(
                    denoiser, EulerMaruyama(k), start, fine_times(steps), generator=seeded(25, device)
                ).cpu(),
                fresh,
            )
            for k in (0.0, 0.5, 1.0, 2.0, 3.0)
        ]
        table[name, steps] = row
        print(f"  {name}, {steps:3d} steps      ", *(f"{max(e, 0):6.2f}" if e < 2 else "  bang" for e in row))
assert (
    table["wrong score", 100][0] > 5 * table["wrong score", 100][2] > 5 * table["wrong score", 100][3] - 0.02
)
assert min(table["wrong score", 12]) == table["wrong score", 12][2]
assert max(table["exact score", 100]) < limit["energy distance"]

# %% [markdown]
r"""
*With a wrong score the ODE is far off however fine its steps, $k = 1$ ten times less, $k = 2$ almost at the
floor. With 12 steps $k = 2$ is as bad as the ODE and $k = 3$ explodes (the factor $1 - k^2\beta\Delta/2$ is
below $-1$ at the noisy end), and $k = 1$ is the best of the five. With an exact score nobody needs kicks.*

With fine steps the winner has more noise than "the" reverse SDE: there is nothing sacred about $k = 1$.
What a kick cannot mend is an error made *after* it: errors in the last steps stay, for every $k$. And note
what kind of error was taken here: one that points the same way all the time is the worst for the ODE, which
adds it up. Errors that change their sign along the way cancel by themselves.

## 10.7 Predict, then correct

If the kicks are Langevin dynamics mixed into the ODE, they can be taken out of it and applied by
themselves. First a step of the ODE (or of any other solver), the **predictor**, which moves the time. Then
some steps of Langevin dynamics *at that time*, the **corrector**, which pulls the crowd to $p_s$ and moves
no time:

$$x \;\leftarrow\; x + h\,\nabla\log p_s(x) + \sqrt{2h}\;z, \qquad h = r\,\sigma(s)^2. \tag{10.23}$$
<!-- code 10.23: diffedu.sampling.sde.Langevin -->

The step is measured in units of $\sigma^2$ (chapter 4): at each noise level the finest detail has the size
$\sigma$. And how much corrector is "the same" as a stochasticity $k$? At one point $x$, add an Euler step
of the ODE to a Langevin step (10.23), and compare with (10.19):

$$h = \tfrac12\,k^2 g^2\,\Delta \qquad\Longrightarrow\qquad
\underbrace{\big(-f x + \tfrac12 g^2 s\big)\Delta}_{\text{predictor}}
+ \underbrace{h\,s + \sqrt{2h}\;z}_{\text{corrector}}
= \big(-f x + \tfrac{1+k^2}{2}g^2 s\big)\Delta + k g\sqrt\Delta\;z, \tag{10.24}$$

with $s$ for the score. The family (10.19) is a predictor–corrector with infinitely fine turns.
"""


# %%
def predictor_corrector(denoiser, x, times, r, generator):
    """An ODE step to each new time, then one Langevin step there (none at t = 0)."""
    for t, s in pairwise(times):
        x = x + (s - t) * velocity(denoiser, x, t)
        torch.randn(x.shape, generator=generator, device=x.device)  # diffedu draws here, too
        if s > 0:
            h = r * denoiser.path(s).sigma ** 2
            z = torch.randn(x.shape, generator=generator, device=x.device)
            x = x + h * score(denoiser, x, s) + (2 * h).sqrt() * z
    return x


solver = PredictorCorrector(Euler(), Langevin(0.2))
mine = predictor_corrector(exact, start, fine_times(20), 0.2, seeded(26, device))
theirs = sample(exact, solver, start, repeated(fine_times(20), 2), generator=seeded(26, device))
assert torch.allclose(mine, theirs, atol=1e-3)
print("the loop above is PredictorCorrector(Euler(), Langevin(0.2)) on a grid that visits each time twice")

t, s, k = torch.tensor(0.5, dtype=double), torch.tensor(0.48, dtype=double), 1.3
x, z = torch.randn(2, 200, 2, generator=seeded(27), dtype=double)
ex = spiral64.denoiser(vp)
r = float(k**2 * vp(t).diffusion_squared * (t - s) / 2 / vp(t).sigma ** 2)
moves = Euler().step(ex, x, t, s, (), z)[0] - x + Langevin(r).step(ex, x, t, t, (), z)[0] - x
verify("10.24", moves, EulerMaruyama(k).step(ex, x, t, s, (), z)[0] - x, over="coordinates")

c, law = vp(t), spiral64.noised(vp, t)
x = law.sample(200_000, seeded(28)) + 0.05 * torch.randn(200_000, 2, generator=seeded(29), dtype=double)
h = 0.3 * c.sigma**2
moved = Langevin(0.3).step(ex, x, t, t, (), torch.randn(x.shape, generator=seeded(30), dtype=double))[0]
verify_mean("10.23", (moved - x - h * law.score(x)).square(), [float(2 * h)] * 2)

# %% [markdown]
r"""
A corrector alone, at work. At $t = 0.05$ stands a crowd in the wrong place: the right one, shifted and
shrunk. Langevin steps of three sizes pull it back. **Before you read on:** what do you expect of a very
large step?
"""

# %%
level = torch.tensor(0.05)
law = cpu_spiral.noised(vp, 0.05)
truth = law.sample(few, seeded(31))
lost = 0.8 * law.sample(few, seeded(32)) + torch.tensor([0.5, 0.0])


def surprise_here(x, y):
    return (law.log_prob(y).mean() - law.log_prob(x).mean()).item()


low = floor(surprise_here, law.sample, few, generator=seeded(33))
sure = abs(low.mean) + 3 * low.standard_deviation
figure, axes = panels(1, 3, width=13, height=3.9)
curve, before, after = axes
counts = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
for r, color, style in ((0.005, EXTRA, ":"), (0.2, ORANGE, "-"), (2.0, GUIDED, "--")):
    walk = trajectory(cpu_spiral.denoiser(vp), Langevin(r), lost, level.expand(257), generator=seeded(34))
    states = {i: x for i, (_, x) in enumerate(walk) if i in counts}
    scores = [surprise_here(x, truth) for x in states.values()]
    curve.plot(
        [c + 1 for c in counts],
        [max(e, 1e-2) for e in scores],
        color=color,
        linestyle=style,
        label=f"r = {r:g}",
    )
    ok = scores[-1] < sure
    print(f"r = {r:5g}: after 256 corrections {'as good as perfect' if ok else 'still above the floor'}")
    assert ok == (r == 0.2)
    if r > 0.1:
        shown = before if r == 2 else after
        shown.scatter(*states[256].T, s=3, color=color, linewidths=0)
        shown.set_title(f"after 256 corrections, r = {r:g}")
curve.axhspan(1e-2, sure, color="#E3EEF6")
curve.text(1.1, 1.2e-2, "floor", color=INK)
curve.set(xscale="log", yscale="log", ylim=(1e-2, 60), xlabel="corrections + 1", ylabel="surprise, nats")
curve.legend(frameon=False, loc="upper right")
for ax in (before, after):
    ax.scatter(*truth.T, s=1.5, color="#BBBBBB", linewidths=0, zorder=0)
    square(ax, 3.0, ylabel="$x_2$" if ax is before else "")
figure

# %% [markdown]
r"""
*Left: the surprise is the mean of $-\log p$, above that of exact samples. Small steps need many turns. Very
large steps arrive soon, but at the wrong place (middle): unadjusted Langevin dynamics has a bias that grows
with its step (chapter 2). Right: a good step. Grey: exact samples.*

Is it worth its price? Song et al. (2021) found, with a trained network, that a predictor with one
correction a step beats the predictor with twice the steps. Equal cost, on the spiral: 24 steps with a
correction each, against 48 steps without.
"""

# %%
contest = {
    "ODE, 48 steps": (Euler(), fine_times(48)),
    "ODE, 24 steps + 24 corrections": (
        PredictorCorrector(Euler(), Langevin(0.4)),
        repeated(fine_times(24), 2),
    ),
    "reverse SDE, 48 steps": (EulerMaruyama(), fine_times(48)),
    "reverse SDE, 24 + 24": (PredictorCorrector(EulerMaruyama(), Langevin(0.4)), repeated(fine_times(24), 2)),
}
print(f"energy distance {'':20s} exact score   wrong score")
for name, (solver, times) in contest.items():
    pair = [
        energy(sample(d, solver, start, times, generator=seeded(35, device)).cpu(), fresh)
        for d in (exact, wrong)
    ]
    table[name] = pair
    verdicts = ["at the floor" if e < limit["energy distance"] else f"{e:.2f}" for e in pair]
    print(f"  {name:34s} {verdicts[0]:13s} {verdicts[1]}")
assert table["ODE, 24 steps + 24 corrections"][1] < table["ODE, 48 steps"][1] / 3
assert table["reverse SDE, 24 + 24"][1] < table["reverse SDE, 48 steps"][1]

# %% [markdown]
r"""
With a wrong score their finding holds here as well, and more so for the ODE, which has no correction of its
own. With an exact score corrections have nothing to correct. The method is a cure; it helps where there is
a disease.

## 10.8 How probable is this picture?

The ODE gives something that no chain could: the *exact* density of the model, at any point. (Chapter 6 had
a bound.)

Follow a particle of the flow $\dot x = v(x, t)$ and watch the log-density of the crowd at its place. It
changes for two reasons, since time goes on and since the place moves:
$\partial_t\log p + v\cdot\nabla\log p$. The continuity equation (10.16) gives the first,
$\partial_t p = -\nabla\!\cdot(v p) = -p\,\nabla\!\cdot v - v\cdot\nabla p$. Divided by $p$, its second part
cancels the motion:

$$\frac{d}{dt}\,\log p_t(x_t) = -\nabla\!\cdot v(x_t, t). \tag{10.25}$$

The **instantaneous change of variables**. Only the divergence is left: the rate at which a little volume
around the particle grows. Where volume grows, density falls, since nobody is created or lost. So walk from
the data to the noise, where the density is known, and add up:

$$\log p_0(x_0) = \log p_T(x_T) + \int_0^T \nabla\!\cdot v(x_t, t)\,dt. \tag{10.26}$$
<!-- code 10.26: diffedu.sampling.likelihood.log_likelihood -->

Mind the sign, with a picture: three little discs of data, of equal area, are carried to the noise. Their
areas are measured there by the surveyor's formula, which knows nothing of divergences.
"""

# %%
up = power_times(vp, 80, 2.0, end=1e-3, dtype=double).flip(0)
ex = spiral64.denoiser(vp)
spots = torch.stack([spiral64.means[7], spiral64.means[1], torch.tensor([0.1, 1.05], dtype=double)])
turn = 2 * math.pi * torch.arange(120, dtype=double) / 120
circle = 1e-3 * torch.stack([turn.cos(), turn.sin()], 1)


def area(polygon):
    x, y = polygon.T
    return 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum()


growth = log_likelihood(ex, spots, up, prior=lambda x: 0 * x[:, 0])  # the integral of the divergence alone
finely = power_times(vp, 400, 2.0, end=1e-3, dtype=double).flip(0)
carried = sample(ex, Heun(), (spots[:, None] + circle).reshape(-1, 2), finely).reshape(3, -1, 2)
surveyed = torch.stack([(area(p) / area(circle)).log() for p in carried])
verify("10.26", surveyed, growth, rtol=1e-3, over="discs")

landed = spiral64.noised(vp, 1.0).log_prob(sample(ex, Heun(), spots, finely))
for name, a, b in zip(("on the arm", "near the end", "beside the arm"), landed, growth, strict=True):
    print(f"{name:15s} log-density {a + b:4.1f} nats: {a:4.1f} where it lands, {b:.1f} for growing")

t, h = torch.tensor(0.2, dtype=double), 1e-5
law, x = spiral64.noised(vp, 0.2), spiral64.noised(vp, 0.2).sample(300, seeded(36))
step = h * velocity(ex, x, t)  # along the flow, both ways
later, before_ = spiral64.noised(vp, t + h).log_prob(x + step), spiral64.noised(vp, t - h).log_prob(x - step)
verify("10.25", (later - before_) / (2 * h), -div(lambda y: velocity(ex, y, t), x), rtol=1e-5, over="points")

figure, (left, right_) = panels(1, 2, width=11, height=4.6)
left.scatter(*many.T, s=2, color="#C9C9C9", linewidths=0)
right_.scatter(*coded.T, s=2, color="#C9C9C9", linewidths=0)
for spot, color, name, place in zip(
    spots,
    (DATA, ORANGE, GREEN),
    ("on the arm", "near the inner end", "beside it"),
    ((-0.5, -2.6), (0.8, 0.53), (0.3, 1.2)),
    strict=True,
):
    disc = spot + 60 * circle
    image = sample(ex, Heun(), disc, up)
    left.fill(*disc.T, color=color)
    right_.fill(*image.T, color=color)
    ratio = area(image) / area(disc)
    left.text(*place, name, color=color)
    right_.text(
        *(image.mean(0) + torch.tensor([0.45, 0.0])), f"area × {float(ratio):.0f}", color=color, va="center"
    )
left.set_title("discs of one area in the data")
right_.set_title("their images in the noise")
for ax in (left, right_):
    square(ax, 3.0, ylabel="$x_2$" if ax is left else "")
figure

# %% [markdown]
r"""
*All discs grow, for the crowd spreads from a narrow arm to a wide bell. (The discs are drawn large enough
to be seen, so their growth is an average.) The one beside the arm grows most. It is improbable all the
same: it lands at the edge of the bell, where hardly any noise is. Both terms of (10.26) count: the
cell printed them.*

The algorithm follows the point and its integral together. Both are one ODE, and one may take any solver;
this is the classical Runge–Kutta rule of order 4.
"""


# %%
def log_density(denoiser, x, times, prior):
    """(10.26) for x (B, D), on rising times; prior is the log-density at the last one."""
    gained = torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def slope(x, t):
        return exact_divergence(lambda y: velocity(denoiser, y, t), x)

    for t, s in pairwise(times):
        h = s - t
        v1, d1 = slope(x, t)
        v2, d2 = slope(x + h / 2 * v1, t + h / 2)
        v3, d3 = slope(x + h / 2 * v2, t + h / 2)
        v4, d4 = slope(x + h * v3, s)
        x = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        gained = gained + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return gained + prior(x)


first, last = spiral64.noised(vp, 1e-3), spiral64.noised(vp, 1.0)
x = first.sample(60, seeded(37))
ladder_of_steps = (5, 10, 20, 40, 80)
errors = []
for steps in ladder_of_steps:
    up = power_times(vp, steps, 2.0, end=1e-3, dtype=double).flip(0)
    errors.append((log_likelihood(ex, x, up, prior=last.log_prob) - first.log_prob(x)).abs().max().item())
print("exact prior: steps", ladder_of_steps, "largest error in nats", *(f"{e:.0e}" for e in errors))
plain = (log_likelihood(ex, x, up) - first.log_prob(x)).abs().max().item()
print(f"prior N(0, I): largest error {plain:.2f}; alpha(1) = {float(vp(1.0).alpha):.3f}")
assert torch.allclose(log_density(ex, x, up, last.log_prob), log_likelihood(ex, x, up, prior=last.log_prob))
assert errors[-1] < 1e-3 < plain
verify(
    "10.26",
    log_likelihood(ex, x, up, prior=last.log_prob),
    first.log_prob(x),
    rtol=0,
    atol=1e-3,
    over="points",
)
nats = -first.log_prob(first.sample(4000, seeded(38)))
print(
    f"spiral at t = 0.001: {nats.mean():.1f} nats a point, {nats.mean() / math.log(4):.1f} bits a dimension"
)

side = torch.linspace(-3.4, 3.4, 57, dtype=double)
raster = torch.cartesian_prod(side, side)
rough = power_times(vp, 24, 2.0, end=4e-3, dtype=double).flip(0)
found = log_likelihood(ex, raster, rough, prior=last.log_prob)
mass = found.exp().sum() * (side[1] - side[0]) ** 2
print(f"the density found by the ODE integrates to {mass:.2f}")

# %% [markdown]
r"""
Eighty steps meet a thousandth of a nat by a wide margin. With the prior $\mathcal N(0, I)$ the error stops
falling. It is no error of the solver. The model *starts* from $\mathcal N(0, I)$; the noised data at $t = 1$
still holds the share $\alpha(1)$ of its mean, and their log-densities differ by about as much. Both numbers
are exact, for two models.

**It is the likelihood of the ODE's model.** With an exact score that is the data. With a wrong one the
films part, as section 10.6 showed, and their densities with them. There the ODE's film ends at a mean of
$\Theta\delta$, the SDE's at $2\delta$. (10.26) gives the density of the first, to all digits, and says
nothing of the second.
"""

# %%
standard = GaussianMixture.single(torch.zeros(1, dtype=double), torch.eye(1, dtype=double))
tilted = Pushed(standard.denoiser(vp), torch.tensor([0.1], dtype=double))
x = torch.linspace(-2, 3, 51, dtype=double)[:, None]
up = power_times(vp, 80, 2.0, end=1e-3, dtype=double).flip(0)
theta_left = -(vp(up[-1]).alpha / vp(up[0]).alpha).log()
normal = torch.distributions.Normal(theta_left * 0.1, torch.ones((), dtype=double))
verify(
    "10.26", log_likelihood(tilted, x, up), normal.log_prob(x[:, 0]), rtol=1e-4, over="points, wrong score"
)

# %% [markdown]
r"""
### Many dimensions: a probe
The divergence is the trace of the Jacobian $J = \partial v/\partial x$. Automatic differentiation gives
$\xi^\top J$ for one vector $\xi$ in one backward pass; the trace needs $D$ of them. A picture has
$D = 10^5$. But a *random* $\xi$ with independent entries of mean 0 and variance 1 has
$\mathbb E[\xi_i\xi_j] = 1$ for $i = j$ and 0 otherwise. So

$$\mathbb E\big[\xi^\top J\,\xi\big] = \sum_{ij} J_{ij}\,\mathbb E[\xi_i\xi_j]
= \operatorname{tr} J. \tag{10.27}$$
<!-- code 10.27: diffedu.sampling.likelihood.hutchinson_divergence -->

**Hutchinson's estimator.** Right on average. How unsure? For a symmetric $J$ (the flow's is: a multiple of
$I$ plus a Hessian) the pair $i < j$ contributes $2J_{ij}\xi_i\xi_j$, and different pairs are uncorrelated.
With signs, $\xi_i = \pm1$, the diagonal contributes exactly $J_{ii}$ and no noise. With normal entries,
$\xi_i^2$ has the variance 2 and adds its share:

$$\operatorname{Var}_{\pm1} = 2\sum_{i\ne j} J_{ij}^2, \qquad
\operatorname{Var}_{\mathcal N} = 2\sum_{i\ne j} J_{ij}^2 + 2\sum_i J_{ii}^2. \tag{10.28}$$

Signs are never worse. (They are called Rademacher's.) Draw one probe for each example and *keep it for the
whole run*: then the integrand is a smooth function of time, and the solver keeps its order.
"""

# %%
J = torch.randn(4, 4, generator=seeded(39), dtype=double)
J = J + J.T
all_signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=double)] * 4)  # every probe there is: 16
values = torch.einsum("bi,ij,bj->b", all_signs, J, all_signs)
verify("10.27", values.mean(), J.trace(), over="traces")
off_diagonal = 2 * (J.square().sum() - J.diagonal().square().sum())
verify("10.28", values.var(unbiased=False), off_diagonal, over="variances")
xi = torch.randn(100_000, 4, generator=seeded(40), dtype=double)
values = torch.einsum("bi,ij,bj->b", xi, J, xi)
verify_mean("10.28", (values - J.trace()) ** 2, off_diagonal + 2 * J.diagonal().square().sum())

D, copies = 16, 400
rng = seeded(41)
roots = 0.5 * torch.randn(3, D, D, generator=rng, dtype=double) / math.sqrt(D)
cloud = GaussianMixture(
    torch.ones(3, dtype=double),
    torch.randn(3, D, generator=rng, dtype=double),
    roots @ roots.mT + 0.05 * torch.eye(D, dtype=double),
)
model = cloud.denoiser(vp)
up = power_times(vp, 24, 2.0, end=1e-3, dtype=double).flip(0)
one = cloud.noised(vp, 1e-3).sample(1, seeded(42))
truth = cloud.noised(vp, 1e-3).log_prob(one).item()
by_trace = log_likelihood(model, one, up, prior=cloud.noised(vp, 1.0).log_prob).item()
spread = {}
for name, probe in (
    ("signs", signs_like(one.expand(copies, D), seeded(43))),
    ("normal", torch.randn(copies, D, generator=seeded(44), dtype=double)),
):
    spread[name] = log_likelihood(
        model,
        one.repeat(copies, 1),
        up,
        divergence=hutchinson_divergence(probe),
        prior=cloud.noised(vp, 1.0).log_prob,
    )
    mean, deviation = spread[name].mean().item(), spread[name].std().item()
    print(f"{name:7s} one probe ± {deviation:.1f} nats; mean of {copies} ± {deviation / copies**0.5:.1f}")
    assert abs(mean - truth) < 4 * deviation / copies**0.5
assert abs(by_trace - truth) < 0.01
assert spread["signs"].std() < spread["normal"].std()
print(f"in {D} dimensions the exact trace agrees with the closed form to 0.01 nats")

# %%
figure, (map_, order, probes) = panels(1, 3, width=13, height=4.0)
picture = found.reshape(57, 57).T
shown = map_.imshow(
    picture.numpy(), extent=(-3.4, 3.4, -3.4, 3.4), origin="lower", cmap="cividis", vmin=-8, vmax=1
)
map_.set(title="log-density by the ODE, in nats", xlabel="$x_1$", ylabel="$x_2$")
map_.grid(visible=False)
figure.colorbar(shown, ax=map_, shrink=0.8)
order.plot(ladder_of_steps, errors, color=DATA, marker="o")
guide = [errors[-2] * (40 / steps) ** 4 for steps in (20, 80)]
order.plot((20, 80), guide, color=INK, linestyle=":", linewidth=1.2)
order.text(47, 3e-4, "slope −4", color=INK)
order.axhline(plain, color=GUIDED, linestyle="--")
order.text(5, plain * 0.35, "prior N(0, I) instead", color=GUIDED)
order.axhline(1e-3, color=NOISE, linewidth=1)
order.set(
    xscale="log",
    yscale="log",
    xlabel="Runge–Kutta steps",
    ylabel="largest error, nats",
    title="against the closed form",
)
order.set_xticks(ladder_of_steps, [str(k) for k in ladder_of_steps])
order.minorticks_off()
for (name, values), color, style in zip(spread.items(), (ORANGE, NOISE), ("-", "--"), strict=True):
    probes.hist(
        values,
        bins=torch.linspace(-22, 12, 35),
        histtype="step",
        color=color,
        linestyle=style,
        linewidth=2,
        label=name,
    )
probes.axvline(truth, color=DATA)
probes.set_ylim(0, 62)
probes.text(truth, 60, " exact", color=DATA, va="top")
probes.legend(frameon=False, loc="center right")
probes.set(xlabel="estimate of log p, nats", ylabel="probes", title="one point in 16 dimensions")
figure

# %% [markdown]
r"""
*Left: the spiral's log-density, found by following each pixel to the noise. Middle: from 20 steps on the
error falls with the fourth power of their number; with the prior $\mathcal N(0, I)$ it stops at the dashed
line. Grey: the thousandth of a nat that the check asks for. Right: 400 estimates of one number. Their mean is
right; a single one is off by nats, less so with signs.*

For a data set one probe an example is enough: the mean over thousands of examples averages the probes as
well. For *one* picture it is not.

**Training for likelihood.** How far is a wrong score's film from the data? For the SDE's ($k=1$) there is a
bound: the divergence $\mathrm{KL}(p_0\,\|\,p_{\text{SDE}})$ is at most
$\tfrac12\int g^2\,\mathbb E\lVert\text{score} - \text{network}\rVert^2\,dt$ plus the mismatch of the prior
(Song, Durkan, Murray, Ermon 2021, theorem 1). So the loss that cares for likelihood weights the squared
score error by $g^2$, the **likelihood weighting**; DDPM's unit weight on $\varepsilon$ is $\sigma^2$
instead, and cares for pictures (chapter 7). In the model of section 10.6 both sides are known: the left is
the distance of two bells, $\tfrac12(2\delta)^2 = 2\delta^2$; the right is
$\tfrac12\delta^2\int\beta = \Theta\delta^2 \approx 5\delta^2$. It holds.

### Play
Left the crowd over the exact density of its time, with three tails; right the first coordinate of ten
particles. The distance to exact samples stands below, beside its floor; the dial has 300 particles, too few
to rank small distances. **Bets first:** with five steps, which $k$ is best? At $k = 2$, from how many steps
on does the crowd stop exploding?
"""

# %%
StochasticityDial(cpu_spiral)

# %% [markdown]
r"""
On the bets, with the sampler that the dial uses, 1000 particles, and for five steps a second judge:
"""

# %%
print(
    "energy distance     ", *(f"{f'{steps} steps':>10s}" for steps in (5, 10, 20, 50)), "  surprise, 5 steps"
)
storm, beside = {}, {}
for k in (0.0, 0.5, 1.0, 2.0):
    for steps in (5, 10, 20, 50):
        times = with_zero(power_times(vp, steps - 1, 2.0, end=2e-3, device=device))
        x = sample(exact, EulerMaruyama(k), start, times, generator=seeded(45, device)).cpu()
        storm[k, steps] = energy(x, fresh)
        beside[k, steps] = surprise(x, fresh)
    row = [
        "floor" if e < limit["energy distance"] else "> 1" if e > 1 else f"{e:.2f}"
        for e in (storm[k, steps] for steps in (5, 10, 20, 50))
    ]
    off = f"{beside[k, 5]:.1f}" if beside[k, 5] < 100 else "> 100"
    print(f"  k = {k:<4g}          ", *(f"{entry:>10s}" for entry in row), f"{off:>19s}")
assert storm[0.5, 5] < storm[0.0, 5] < storm[1.0, 5]
assert beside[0.0, 5] < beside[0.5, 5] < beside[1.0, 5]
times = with_zero(power_times(vp, 19, 2.0, end=2e-3, device=device))
factors = [1 - 2 * (0.1 + 19.9 * t) * (t - s) for t, s in pairwise(times.tolist())]
wide = [
    x.std().item()
    for _, x in trajectory(exact, EulerMaruyama(2.0), start, times, generator=seeded(46, device))
]
print("k = 2, 20 steps: the first factors are", *(f"{a:.2f}" for a in factors[:6]))
print(f"the crowd, of width 1 at first, swells to {max(wide):.0f} and ends at the data's {wide[-1]:.0f}")

# %% [markdown]
r"""
With five steps it depends on the judge. By energy distance a little kicking, $k = \tfrac12$, is better than
none. Surprise sees the points beside the arm, and for it the ODE is best. From $k = 1$ on, both judges agree.
At $k = 2$ ten steps are not enough and twenty are. That is odd, for with twenty the first four factors
$1 - k^2\beta\Delta/2$ lie below $-1$. The crowd does swell, more than tenfold; but the later steps, short and
weak, forget it. (Move the last slider and watch.) Don't count on it with a network: it has never seen points
so far out.
"""

# %% [markdown]
r"""
## 10.9 Exercises

`check` tells you what is wrong, `hint("10.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Those from the **errata museum** are modelled on mistakes that stood in print.
"""

# %%
for one in exercises(10):
    print(one)

# %% [markdown]
r"""
**Exercise 10.1 ★ — sub-VP from its clock.** Given the rate $\beta$ at some time and its integral $B$ so
far, return what a program needs to know of sub-VP.
"""


# %% tags=["exercise"]
def sub_vp(beta, B):
    """(alpha, sigma, g), each of the shape of beta (rate) and B (its integral so far)."""
    ...


# %%
check("10.1", sub_vp)

# %% [markdown]
r"""
**Exercise 10.2 ★ — memory, in your head.** Gaussian data on a line. In the forward film, positions at
$t = 0.1$ and $t = 0.3$ have the correlation 0.8. What is it in the film with $k = 2$?
"""

# %% tags=["exercise"]
memory = ...

# %%
check("10.2", memory)

# %% [markdown]
r"""
**Exercise 10.3 ★★ — one step of any film.** (10.19) as one step towards the data. Every example has its own
time, so $f$, $g^2$ and the step have one entry for each.
"""


# %% tags=["exercise"]
def film_step(x_t, score, z, f, g2, dt, k):
    """x_s, shape (B, D), from x_t, score, z (B, D); f, g2 and dt > 0 (B,); k a number."""
    ...


# %%
check("10.3", film_step)

# %% [markdown]
r"""
**Exercise 10.4 ★★ — errata museum: uphill.** A reverse step, copied from (10.14), for a loop that counts
steps up, so `dt` is positive. It holds *two* mistakes.
"""


# %% tags=["exercise"]
def reverse_step(x_t, score, z, f, g, dt):
    """One step of the reverse SDE towards the data: x_t, score, z (B, D); f, g and dt > 0 (B,)."""
    f, g, dt = f[:, None], g[:, None], dt[:, None]
    return x_t + (f * x_t - g * score) * dt + g * dt.sqrt() * z


# %%
check("10.4", reverse_step)

# %% [markdown]
r"""
**Exercise 10.5 ★★ — errata museum: two slips that cancel.** A library for the variance-exploding path, with
$\tau = 1 - t$. Its ODE sampler has been giving good samples for a year. Then somebody ran its SDE. Mend it.
"""


# %% tags=["exercise"]
def exploding(score, t, sigma_min, sigma_max):
    """(dx/dtau of the ODE, drift of the reverse SDE, g) on VE; score (B, D), t (B,), tau = 1 - t."""
    rate = math.log(sigma_max / sigma_min)
    g = sigma_min * (sigma_max / sigma_min) ** t * math.sqrt(rate)
    g2 = g[:, None] ** 2
    return g2 * score, g2 * score, g


# %%
check("10.5", exploding)

# %% [markdown]
r"""
**Exercise 10.6 ★★ — a trace by probes.** Hutchinson's estimate with $S$ probes, and how sure it is: the
standard error of the mean, with $S - 1$ in the variance.
"""


# %% tags=["exercise"]
def trace_by_probes(field, x, probes):
    """(mean, standard error), each (B,): the trace of d field / d x for x (B, D), by probes (S, B, D)."""
    ...


# %%
check("10.6", trace_by_probes)

# %% [markdown]
r"""
**Exercise 10.7 ★★★ — likelihood by Heun's rule.** Heun follows a slope by an Euler step, takes the slope
there, and goes back to walk with the mean of the two. Do it for the point *and* for the integral of
(10.26).
"""


# %% tags=["exercise"]
def heun_log_density(velocity, divergence, x, times, log_prior):
    """log p(x), shape (B,): velocity(x, t) (B, D), divergence(x, t) (B,), rising times, log_prior(x) (B,)."""
    ...


# %%
check("10.7", heun_log_density)

# %% [markdown]
r"""
**Exercise 10.8 ★★★ — the price of a kick.** Data $\mathcal N(0, 1)$ on a line, VP, the exact score $-x$,
and Euler–Maruyama with the stochasticity $k$, a constant rate $\beta$ and steps $\Delta$. The right
variance is 1 at all times. At which variance does the rule settle instead? Derive it; the check compares
with the rule itself.
"""


# %% tags=["exercise"]
def stationary_variance(k, beta, dt):
    """The variance at which Euler-Maruyama settles, for N(0, 1) data on VP; all of shape (B,)."""
    ...


# %%
check("10.8", stationary_variance)

# %% [markdown]
r"""
**Mini-project — when to kick.** Not graded. (10.19) allows a $k$ that depends on time. Take the wrong score
of section 10.6, or one that you train badly on purpose, and 40 evaluations. Where should the kicks be: at
the noisy end, in the middle, near the data? *A good answer* has (1) a hypothesis written down before the
first run, (2) three schedules $k(t)$ with the same $\int k^2g^2\,dt$, compared by two judges beside their
floors, over several seeds, (3) a second wrong score, of another kind, for which your conclusion fails or
survives, (4) one sentence that you would put into a paper's appendix. (Karras et al. 2022 answer it for
pictures: in the middle. Chapter 11.)

## 10.10 What the field does with it, and where this breaks

- **One frame.** Since Song et al. (2021) a model is a score (or a denoiser) and a path; the sampler is
  chosen afterwards. DDPM's ancestral step, DDIM and NCSN's dynamics are ways to run (10.19) with particular
  $k$ and grids.
- **ODE first.** Few steps are worth more than a small correction when the score is good: production
  samplers run the ODE, with better rules than Euler's (chapter 11). Kicks return when quality counts more
  than steps, and in the stochastic sampler of Karras et al., whose "churn" is a predictor–corrector in
  disguise.
- **Codes.** Encoding by the ODE serves editing, interpolation and inversion of real pictures. Distillation
  learns the map from code to picture directly.
- **Likelihood.** Bits per dimension by (10.26), one probe an example, are the standard report. They need
  the data to have a density: pixels are dequantised first (chapter 6 has the conversion), and the number
  belongs to $t_{\min}$, not to 0.
- **Flow matching** starts from (10.17) and never mentions an SDE (chapter 13). With (10.11) it can have one
  all the same.

Where it breaks. *At the ends*: on a path with $\alpha = 0$ at $t_{\max}$ the rates $f$ and $g$ are infinite
there (the velocity is not), and near the data the score of thin data grows like $1/\sigma$. *Euler–Maruyama
is of low order*: it is the definition turned into code, and no more. *Equal crowds need an exact score*;
with a learned one each $k$ is another model, and their likelihoods differ. *A likelihood is no measure of
beauty*: a model can be better in nats and worse to look at, since most nats are spent on invisible detail.

### What to remember
- $dx = f x\,dt + g\,dw$; $g^2 = \frac{d}{dt}\sigma^2 - 2f\sigma^2$: of squares. VP, sub-VP, VE are three
  choices.
- A Laplacian is a transport by the score, $\nabla^2 p = \nabla\!\cdot(p\,\nabla\log p)$. Everything follows
  from it.
- Backwards: $-f x + \frac{1+k^2}{2}\,g^2\,\nabla\log p$, and kicks $k\,g$. Half of $g^2$ for the old kicks,
  $k^2$ halves for the new ones. One crowd for all $k$; roughness $\propto k^2$; memory $\rho^{k^2}$.
- Kicks correct what went wrong before them, and cost small steps.
- $\frac{d}{dt}\log p = -\nabla\!\cdot v$ along the flow; one random probe replaces $D$ passes.
- Test a step's law, not only the film: noise times noise passes every crowd.

### References
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: reverse SDE, eq. 6; VE, VP, eq. 9 and 11; sub-VP, section 3.4;
  predictor–corrector, algorithm 1 and appendix G; probability-flow ODE, eq. 13; likelihood, eq. 39.
- Anderson (1982), *Reverse-time diffusion equation models*: the theorem for whole films.
- Haussmann, Pardoux (1986), *Time reversal of diffusions*: under weak conditions.
- Karras, Aittala, Aila, Laine (2022), *Elucidating the design space of diffusion-based generative models*:
  the family as ODE plus Langevin, eq. 6; churn, algorithm 2.
- Zhang, Chen (2023), *Fast sampling of diffusion models with exponential integrator*: the family with
  another letter for $k$.
- Maoutsa, Reich, Opper (2020), *Interacting particle solutions of Fokker–Planck equations through
  gradient–log–density estimation*: (10.11) as an algorithm.
- Chen, Rubanova, Bettencourt, Duvenaud (2018), *Neural ordinary differential equations*: (10.25), theorem
  1.
- Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud (2019), *FFJORD*: the probe, kept for the whole run,
  section 3.1.
- Hutchinson (1990), *A stochastic estimator of the trace of the influence matrix*: signs have the least
  variance.
- Song, Durkan, Murray, Ermon (2021), *Maximum likelihood training of score-based diffusion models*: the
  bound and the likelihood weighting, theorem 1.
- Kloeden, Platen (1992), *Numerical solution of stochastic differential equations*: Euler–Maruyama and its
  orders.
"""
