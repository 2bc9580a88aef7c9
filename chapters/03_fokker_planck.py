# %% [markdown]
"""
# 3. The Fokker–Planck equation

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/03_fokker_planck.ipynb)

*The law that the density of a cloud obeys: derived, solved on a grid, and held against the particles*

Chapter 2 moved particles. Each one is pulled downhill and kicked at random, and no two do the same. Yet the
*cloud* is as predictable as a clock: drop it twice, with other kicks, and you cannot tell the two histories
apart. What moves so surely is not a particle but the density of particles. This chapter finds the law that
it obeys, and solves it without a single random number.

**You will be able to**
- derive the Fokker–Planck equation from a stochastic one, and say why each step is allowed;
- read it as bookkeeping: probability is neither made nor lost, it flows;
- build a solver that keeps mass, sign and equilibrium exactly, and push it from order 2 to order 4;
- predict how long a particle stays in its well, and prove that free energy only falls.

**You need** chapters 1 and 2 (Brownian motion, the Ornstein–Uhlenbeck process, Boltzmann's law, Langevin
dynamics), Taylor's formula and integration by parts. A little numpy and PyTorch.

**Time**: about 60 minutes to read, 20 seconds to run, two hours with all exercises.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math

import numpy as np
import scipy.interpolate
import scipy.linalg
import torch

from diffedu import GaussianMixture, seeded
from diffedu.evaluate import FokkerPlanck, Grid, bernoulli, extrapolate, extrapolate_positive, restrict
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, SCORE, VELOCITY, panels, square
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"


# %%
def walk(x, drift, diffusion, dt, steps, generator):
    """Particles of dx = drift dt + sqrt(2 diffusion) dW, moved by so many steps of Euler and Maruyama."""
    for _ in range(steps):
        z = torch.randn(x.shape, generator=generator, device=x.device)
        x = x + drift(x) * dt + math.sqrt(2 * diffusion * dt) * z
    return x


def gauss(x, mean, std):
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def wells(x):
    return 2 * (x**2 - 1) ** 2


def wells_force(x):
    return -8 * x * (x**2 - 1)


# %%
generator = seeded(0, device)
cloud = -1 + 0.15 * torch.randn(30_000, generator=generator, device=device)
grid, times = Grid(-2.4, 2.4, 240), [0.0, 0.1, 0.6, 3.0]
equation = FokkerPlanck.from_potential(wells, grid)
p = grid.average(lambda x: gauss(x, -1, 0.15))
coarse = Grid(-2.4, 2.4, 60)
figure, axes = panels(1, 4, width=11.5, height=3.0, share=True)
for k, (ax, t) in enumerate(zip(axes, times, strict=True)):
    if k > 0:
        gap = t - times[k - 1]
        cloud = walk(cloud, wells_force, 1.0, 0.002, round(gap / 0.002), generator)
        p = equation.evolve(p, gap)
    seen = coarse.histogram(cloud)
    ax.stairs(seen, coarse.edges, fill=True, color="#CFCFCF")
    ax.plot(grid.centers, p, color=DATA)
    ax.plot(grid.centers, wells(grid.centers) / 5, color=NOISE, linestyle=":", linewidth=1.3)
    ax.set(xlabel="position x", title=f"t = {t:g}", ylim=(0, 2.9), xlim=(-2.1, 2.1))
    assert np.abs(seen - restrict(restrict(p))).sum() * coarse.width < 0.05
axes[0].set_ylabel("density")
axes[0].text(-0.7, 2.35, "30,000 particles", color="#6E6E6E")
axes[0].text(-0.7, 2.05, "one equation", color=DATA)
axes[3].text(0, 0.47, "U / 5", color="#6E6E6E", ha="center")
print("area between histogram and curve: less than 0.05 in every panel, of 1 below the curve")
figure

# %% [markdown]
r"""
*Particles in a potential with two wells (dotted), all started in the left one, and the solution of one
deterministic equation. The curve was not fitted to the particles: it has never seen them.*

**Before you read on.** At $t = 0.6$ the left well has long come to rest inside, but hardly anything has
crossed. What sets the time for the crossing? Would doubling the height of the hill double it? (Write down a
guess. Section 3.7 measures it.)

## 3.1 What a small step does to an average

The particle obeys a stochastic differential equation with drift $f$ and noise of strength $D$, the
**diffusion coefficient**:

$$dx = f(x)\,dt + \sqrt{2D}\;dW. \tag{3.1}$$

<!-- definition 3.1: the process that the chapter is about -->

The Langevin equation of chapter 2 is the case $f = -\mu U'$, $D = \mu\,kT$, with mobility $\mu$. Papers on
diffusion models write the noise as $g\,dW$. Then

$$g = \sqrt{2D}, \qquad D = \tfrac12\,g^2. \tag{3.2}$$

<!-- definition 3.2: two names for one strength of noise; the half is the factor most often lost -->

Over a short time $\Delta$ the particle moves from $x$ to $x + \xi$ with

$$\xi = f(x)\,\Delta + \sqrt{2D\Delta}\;z, \qquad z \sim \mathcal N(0, 1). \tag{3.3}$$

<!-- definition 3.3: one step of Euler and Maruyama, chapter 1 -->

(This is exact when $f$ is constant. Otherwise $f$ changes along the way, which alters $\xi$ by terms of
order $\Delta^{3/2}$ with mean of order $\Delta^2$. They vanish below as the other terms of that order do.)

A density is hard to get hold of at a single point. An *average* is easy. So take any smooth function
$\varphi$ that is zero outside some interval, a **test function**, and ask how $\mathbb E\,\varphi(x_t)$
changes. If we know that for every $\varphi$, we know all about the density: choose $\varphi$ as a narrow
bump and you have asked for the density at its place.

Taylor's formula with a remainder, which is allowed because $\varphi$ is smooth:

$$\varphi(x+\xi) = \varphi + \varphi'\,\xi + \tfrac12\varphi''\,\xi^2 + \tfrac16\varphi'''\,\xi^3 + R,
\qquad |R| \le \tfrac{1}{24}\,\max|\varphi''''|\;\xi^4. \tag{3.4}$$

The maximum exists because $\varphi$ is zero outside an interval. Now average over $z$. Its odd moments
vanish, $\mathbb E z^2 = 1$ and $\mathbb E z^4 = 3$. Expanding the powers of (3.3),

$$\mathbb E\,\xi = f\Delta, \qquad
\mathbb E\,\xi^2 = 2D\Delta + f^2\Delta^2, \qquad
\mathbb E\,\xi^3 = 6fD\Delta^2 + f^3\Delta^3, \qquad
\mathbb E\,\xi^4 = 12D^2\Delta^2 + 12f^2D\Delta^3 + f^4\Delta^4. \tag{3.5}$$

Look at the powers of $\Delta$. A smooth curve would have $\xi^2$ of order $\Delta^2$, and only the first
derivative would matter. Here the noise has size $\sqrt\Delta$, so its square is of order $\Delta$, and
**the second derivative stays.** The third and the fourth are of order $\Delta^2$ and go:

$$\mathbb E\big[\varphi(x+\xi)\big] = \varphi + \Delta\,\mathcal L\varphi + O(\Delta^2),
\qquad \mathcal L\varphi = f\,\varphi' + D\,\varphi''. \tag{3.6}$$

$\mathcal L$ is called the **generator**. The cell checks (3.4) to (3.6) at one point $x$, with averages
over $z$ by Gauss–Hermite quadrature. $\varphi$ is the standard bump, $\exp(1 - 1/(1-y^2))$ for $|y| < 1$ and
zero beyond, with $y = x/2$: one at the middle, zero outside $(-2, 2)$, and smooth everywhere.
"""


# %%
def bump(x):  # y = x / 2: the test function is zero outside (-2, 2)
    inside = x.abs() < 2
    y = torch.where(inside, x / 2, torch.zeros_like(x))
    return torch.where(inside, torch.exp(1 - 1 / (1 - y**2)), torch.zeros_like(x))


def derivatives(function, x, count):
    """function, its first, second, ... derivative at x, by automatic differentiation."""
    x = x.clone().requires_grad_(True)
    values = [function(x)]
    for _ in range(count):
        values.append(torch.autograd.grad(values[-1].sum(), x, create_graph=True)[0])
    return [v.detach() for v in values]


nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(60))
weights = weights / weights.sum()  # averages over z ~ N(0, 1)
f, D, x = -0.8, 0.7, torch.tensor(0.8, dtype=torch.float64)
phi = derivatives(bump, x, 3)
largest = derivatives(bump, torch.linspace(-1.999, 1.999, 4001, dtype=torch.float64), 4)[4].abs().max()

dt = 0.01
xi = f * dt + math.sqrt(2 * D * dt) * nodes
remainder = bump(x + xi) - sum(phi[k] * xi**k / math.factorial(k) for k in range(4))
verify("3.4", torch.relu(remainder.abs() - largest * xi**4 / 24), torch.zeros(60).double(), over="nodes")

moments = torch.stack([(weights * xi**k).sum() for k in (1, 2, 3, 4)])
by_hand = [
    f * dt,
    2 * D * dt + f**2 * dt**2,
    6 * f * D * dt**2 + f**3 * dt**3,
    12 * D**2 * dt**2 + 12 * f**2 * D * dt**3 + f**4 * dt**4,
]
verify("3.5", moments, by_hand, atol=1e-15, over="moments")

quotients = []
for dt in (4e-4, 2e-4, 1e-4):
    xi = f * dt + math.sqrt(2 * D * dt) * nodes
    quotients.append(((weights * bump(x + xi)).sum() - phi[0]) / dt)
slope = (quotients[0] - quotients[1]) / (quotients[1] - quotients[2])
verify("3.6", 2 * quotients[2] - quotients[1], f * phi[1] + D * phi[2], rtol=1e-6)
print(f"halving the step divides the error of the quotient by {slope:.1f}: it is of order Delta")

# %% [markdown]
r"""
Now let the particle start from a random place, distributed as the cloud is at time $t$. Average (3.6) over
it, move $\mathbb E\,\varphi(x_t)$ to the left, divide by $\Delta$ and let $\Delta \to 0$. (What $O(\Delta^2)$
hides is, by (3.4) and (3.5), at most $\Delta^2$ times a power of $f$. We ask that its average be finite.)

$$\frac{d}{dt}\,\mathbb E\,\varphi(x_t) = \mathbb E\big[\,f(x_t)\,\varphi'(x_t) + D\,\varphi''(x_t)\,\big].
\tag{3.7}$$

Nothing but a number changes in time here, at a rate that is another average. The choice $\varphi = x$ gives
the mean, $\varphi = x^2$ the second moment. (These are not zero outside an interval. It is enough that the
density decays faster than they grow.) For the **spring** $f = -kx$:

$$\dot m = -k\,m, \qquad \frac{d}{dt}\mathbb E\,x^2 = -2k\,\mathbb E\,x^2 + 2D
\qquad\Longrightarrow\qquad
m_t = e^{-kt} m_0, \quad s_t^2 = \frac{D}{k} + e^{-2kt}\Big(s_0^2 - \frac{D}{k}\Big). \tag{3.8}$$

(For the variance subtract $\frac{d}{dt}m^2 = -2km^2$.) A sum of a shrunk Gaussian and many small Gaussian
kicks is Gaussian, so for a Gaussian start (3.8) is the whole law of the Ornstein–Uhlenbeck process. It will
be our ruler for the rest of the chapter.
"""


# %%
def spring(t, mean=2.0, std=0.3, k=1.0, D=1.0):
    """(3.8): mean and standard deviation at time t, for torch, numpy or plain numbers."""
    decay = np.exp(-k * t) if not isinstance(t, torch.Tensor) else torch.exp(-k * t)
    return decay * mean, (D / k + decay**2 * (std**2 - D / k)) ** 0.5


generator = seeded(1, device)
x0 = 2 + 0.3 * torch.randn(30_000, generator=generator, device=device)
x = walk(x0, lambda x: -x, 1.0, 0.002, 350, generator)
mean, std = spring(0.7)
verify_mean("3.8", torch.stack([x, (x - mean) ** 2], dim=1), [mean, std**2])

# (3.7) with phi = sin, whose average over a Gaussian is known: sin(m) exp(-s^2 / 2).
t = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
m, s = spring(t)
(left,) = torch.autograd.grad(torch.sin(m) * torch.exp(-(s**2) / 2), t)
at = m.detach() + s.detach() * nodes
verify("3.7", left, (weights * (-at * torch.cos(at) - torch.sin(at))).sum())

# %% [markdown]
r"""
## 3.2 From averages to the density

Write the averages as integrals over the density $p(x, t)$. The left side of (3.7) is
$\int \varphi\,\partial_t p\,dx$. On the right the derivatives sit on $\varphi$, and we want $\varphi$ bare.
Integration by parts moves them over, at the price of a sign each:

$$\int f\varphi'\,p\,dx = -\int \varphi\,\partial_x(f p)\,dx, \qquad
\int D\varphi''\,p\,dx = +\int \varphi\,D\,\partial_x^2 p\,dx. \tag{3.9}$$

No boundary terms: $\varphi$ and its derivatives are zero outside an interval. One move, one minus; two
moves, two minuses, which make a plus. And note what stands behind the derivative: the *product* $fp$,
because it was the product that stood beside $\varphi'$. So

$$\int \varphi\;\Big[\,\partial_t p + \partial_x(f p) - D\,\partial_x^2 p\,\Big]\,dx = 0
\qquad\text{for every test function } \varphi. \tag{3.10}$$

If the bracket were positive somewhere, it would be so (being continuous) in some small interval, and a bump
$\varphi$ inside it would give a positive integral. So the bracket is zero everywhere. (It is continuous
because noise smooths: as soon as $t > 0$ the density has all derivatives that $f$ allows.) This is the
**Fokker–Planck equation**:

$$\partial_t\,p = -\partial_x\big(f\,p\big) + D\,\partial_x^2\,p. \tag{3.11}$$

It is linear and has no randomness left. Drift carries the density along, noise spreads it. In $d$
dimensions each coordinate brings its own terms, since kicks in different directions are independent and
mixed second moments $\mathbb E\,\xi_i\xi_j$ are of order $\Delta^2$:

$$\partial_t\,p = -\nabla\!\cdot\!(f\,p) + D\,\nabla^2 p. \tag{3.12}$$

**Before you run the cell.** It puts a known solution into (3.11). Which two slips does one make most easily
in writing that equation down? (Compare your list with exercise 3.4.)
"""


# %%
def normal_density(x, t):
    m, s = spring(t)
    return torch.exp(-0.5 * ((x - m) / s) ** 2) / (s * math.sqrt(2 * math.pi))


x = torch.linspace(-2, 2, 20_001, dtype=torch.float64)  # the test function is zero beyond
dx = x[1] - x[0]
t = torch.tensor(0.4, dtype=torch.float64)
b0, b1, b2 = derivatives(bump, x[1:-1], 2)
p0, p1, p2 = derivatives(lambda x: normal_density(x, t), x[1:-1], 2)
inside = x[1:-1]
drift_side = torch.stack([(-inside * b1 * p0).sum() * dx, (b2 * p0).sum() * dx])
moved_side = torch.stack([-(b0 * (-p0 - inside * p1)).sum() * dx, (b0 * p2).sum() * dx])
verify("3.9", drift_side, moved_side, over="integrals")

# (3.10): move the points and average the bump, or leave the points and integrate -(f p)' + D p''.
when = t.clone().requires_grad_(True)
m, s = spring(when)
z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
chance = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
(moving,) = torch.autograd.grad((chance * bump(m + s * z)).sum(), when)
verify("3.10", moving, moved_side.sum())

x = torch.linspace(-3, 4, 201, dtype=torch.float64)
_, slope_fp = derivatives(lambda x: -x * normal_density(x, t), x, 1)
_, _, curvature = derivatives(lambda x: normal_density(x, t), x, 2)
_, p_t = derivatives(lambda t: normal_density(x, t), t.expand(201), 1)  # each point with its own t
verify("3.11", p_t, -slope_fp + curvature, over="points")

# (3.12) in the plane: five Gaussians under the spring stay five Gaussians.
ring = GaussianMixture.ring(5, radius=1.5, std=0.35).to(dtype=torch.float64)
points = torch.randn(300, 2, generator=seeded(2), dtype=torch.float64)


def ring_density(points, t):
    decay = torch.exp(-t)  # every mean and covariance moves by (3.8)
    offset = points[:, None] - decay[:, None, None] * ring.means
    variance = (1 + decay**2 * (0.35**2 - 1))[:, None]
    return (torch.exp(-0.5 * (offset**2).sum(-1) / variance) / (2 * math.pi * variance)).mean(dim=1)


when = torch.full((300,), 0.3, dtype=torch.float64)
_, p_t = derivatives(lambda t: ring_density(points, t), when, 1)
y = points.clone().requires_grad_(True)
(grad,) = torch.autograd.grad(ring_density(y, when).sum(), y, create_graph=True)
laplacian = sum(torch.autograd.grad(grad[:, i].sum(), y, retain_graph=True)[0][:, i] for i in range(2))
z = points.clone().requires_grad_(True)
flow = -z * ring_density(z, when)[:, None]
divergence = sum(torch.autograd.grad(flow[:, i].sum(), z, retain_graph=True)[0][:, i] for i in range(2))
verify("3.12", p_t, -divergence + laplacian, over="points")

# %% [markdown]
r"""
## 3.3 Probability flows

Both terms on the right of (3.11) are derivatives. Take the derivative out:

$$\partial_t\,p = -\partial_x J, \qquad J = f\,p - D\,\partial_x p. \tag{3.13}$$

$J$ is the **probability current**: how much probability passes $x$ per unit of time, counted positive to
the right. Drift carries what is there; noise makes a current *down the slope of the density*, not because
anything pushes there, but because more particles stand on one side than on the other, and each is kicked
both ways alike. Integrate over an interval:

$$\frac{d}{dt}\int_a^b p\,dx = J(a) - J(b). \tag{3.14}$$

What is inside changes by what comes in at $a$ minus what goes out at $b$. Nothing is made and nothing is
lost. This is the **continuity equation**, and we shall hold our solver to it exactly, not up to an error.

### No current, no choice
Let the drift come from a potential, $f = -\mu U'$ and $D = \mu\,kT$. Put $p' = p\,(\log p)'$ into (3.13):

$$J = -\mu\,p\;\partial_x\big(U + kT\log p\big). \tag{3.15}$$

Probability runs down the slope of $U + kT\log p$: energy plus the price of being crowded. When can all
currents stop? Where $p > 0$ the bracket must be constant. And $p$ cannot sink to zero at a place where $U$ is
finite, since there the logarithm would break the constant. So, if $Z = \int e^{-U/kT}dx$ is finite,

$$J = 0 \quad\Longleftrightarrow\quad p_{\mathrm{eq}} = \frac{1}{Z}\,e^{-U/kT}. \tag{3.16}$$

**Boltzmann's law** of chapter 1, and only it. The mobility has dropped out: it sets how fast, not where to.
"""

# %%
t = torch.tensor(0.3, dtype=torch.float64)


def below(x, t):  # the share of the cloud to the left of x, by the normal distribution function
    m, s = spring(t)
    return torch.special.ndtr((x - m) / s)


x = torch.linspace(-3, 4, 201, dtype=torch.float64)
p0, p1 = derivatives(lambda x: normal_density(x, t), x, 1)
_, gains = derivatives(lambda t: below(x, t), t.expand(201), 1)
verify("3.13", -x * p0 - p1, -gains, over="points")  # what passes x is what the left side loses

generator = seeded(3, device)
x0 = 2 + 0.3 * torch.randn(300_000, generator=generator, device=device)
before = walk(x0, lambda x: -x, 1.0, 0.01, 25, generator)
after = walk(before, lambda x: -x, 1.0, 0.01, 10, generator)  # from t = 0.25 to 0.35
a, b = 0.2, 1.4
change = ((after > a) & (after < b)).double() - ((before > a) & (before < b)).double()
ends = torch.tensor([[a], [b]], dtype=torch.float64)
around = torch.linspace(0.25, 0.35, 101, dtype=torch.float64)  # J(a) - J(b) over the same time
p0, p1 = derivatives(lambda x: normal_density(x, around), ends.expand(2, 101), 1)
J = -ends * p0 - p1
verify_mean("3.14", change, 0.1 * (J[0] - J[1]).mean().item())

x = torch.linspace(-1.8, 1.8, 181, dtype=torch.float64)
mobility, kT = 0.6, 1.7
U0, U1 = derivatives(wells, x, 1)
p0, p1, p2 = derivatives(lambda x: torch.exp(-(x**4)) + 0.2 * torch.cos(x) + 0.3, x, 2)  # any density
_, tilt = derivatives(
    lambda x: wells(x) + kT * torch.log(torch.exp(-(x**4)) + 0.2 * torch.cos(x) + 0.3), x, 1
)
verify("3.15", -mobility * U1 * p0 - mobility * kT * p1, -mobility * p0 * tilt, over="points")

low_box = Grid(-2.2, 2.2, 110)
long_after = FokkerPlanck.from_potential(wells, low_box, kT=kT).evolve(np.full(110, 1 / 4.4), 30.0)
fine_x = np.linspace(-2.2, 2.2, 100_001)
Z = np.exp(-wells(fine_x) / kT).sum() * (fine_x[1] - fine_x[0])
verify("3.16", long_after, np.exp(-wells(low_box.centers) / kT) / Z, rtol=1e-6, atol=0.0, over="cells")

# %%
x = torch.linspace(-3.2, 3.2, 400, dtype=torch.float64)
figure, (left, right) = panels(1, 2, width=10.5, height=3.6)
for at, color, style in ((0.05, DATA, "-"), (0.4, SCORE, "--"), (3.0, VELOCITY, ":")):
    at = torch.tensor(at, dtype=torch.float64)
    p0, p1 = derivatives(lambda x, at=at: normal_density(x, at), x, 1)
    left.plot(x, p0, color=color, linestyle=style, label=f"t = {at:g}")
    right.plot(x, -x * p0 - p1, color=color, linestyle=style)
    m, s = spring(at)
    assert (-x * p0 - p1).abs().max() < {0.05: 3, 0.4: 1, 3.0: 0.2}[round(at.item(), 2)]
left.set(xlabel="position x", ylabel="density p", title="a cloud on a spring")
left.legend(frameon=False, loc="upper left")
right.set(xlabel="position x", ylabel="probability current J", title="its current at the same times")
right.axhline(0, color=INK, linewidth=0.8)
right.set_ylim(-2.7, 1.0)
right.text(1.05, -1.7, "to the left,\nto the centre", color=INK, fontsize=10, ha="right")
right.text(3.1, 0.5, "the steep right edge\nstill spreads outwards", color=INK, fontsize=10, ha="right")
figure

# %% [markdown]
r"""
*A cloud that starts to the right of a spring's rest position. Early (solid) the current has both signs: the
bulk is pulled to the left, while the right edge, which is steep, leaks to the right against the pull. Late
(dotted) the current is nearly gone, and what remains is Boltzmann's Gaussian.*

## 3.4 A walk on cells

Few drifts have a closed form such as (3.8). For the others we cut space into $n$ cells of width $h$ and
keep for each the *average* $p_i$ of the density in it, so that $h\,p_i$ is the probability of the cell. By
(3.14), without any approximation,

$$\frac{dp_i}{dt} = \frac{J_{i-1/2} - J_{i+1/2}}{h}, \tag{3.17}$$

where $J_{i+1/2}$ passes the face between cell $i$ and cell $i+1$, and no current passes the walls. What
leaves one cell enters the next: mass is kept whatever we take for $J$. All the art is in $J$. It must be
made of $p_i$ and $p_{i+1}$ alone.

The obvious choice is central differences, $f\,(p_i + p_{i+1})/2 - D\,(p_{i+1} - p_i)/h$. It goes wrong
where the drift is strong (the figure below shows how). The good choice solves a tiny problem exactly.
Take the averages for the values at the cells' middles (they differ by order $h^2$). Between two middles let
the current be constant and the potential a straight line, with $u = U/kT$ rising by $w = u_{i+1} - u_i$.
The current (3.13), written with $f = -D u'$, has an integrating factor:

$$J = -D\,e^{-u}\,\partial_x\big(e^{u} p\big). \tag{3.18}$$

(Differentiate the product: $u'p + p'$ is left.) Multiply by $e^u$ and integrate from middle to middle. On
the right stands a difference, on the left $J$ times an integral of an exponential of a straight line, which
is $h\,e^{u_i}(e^w - 1)/w$. Divide:

$$J_{i+1/2} = \frac{D}{h}\,\Big[B(w)\,p_i - B(-w)\,p_{i+1}\Big], \qquad B(w) = \frac{w}{e^w - 1}. \tag{3.19}$$

<!-- code 3.19: diffedu.evaluate.fokker_planck.FokkerPlanck.current -->

This is the flux of **Scharfetter and Gummel** (semiconductors, 1969) and of **Chang and Cooper** (plasmas,
1970). Read it as a recipe for hopping. Probability hops right at the rate $\tfrac{D}{h^2}B(w)$, left at the
rate $\tfrac{D}{h^2}B(-w)$. Without a slope both are $D/h^2$; uphill hops are rarer, downhill ones more
frequent. Three laws follow, on every grid, however coarse:

1. *Positive.* $B > 0$, so no rate is negative, and an empty cell can only gain.
2. *Conserving.* By (3.17).
3. *The right equilibrium.* $B(-w) = e^w B(w)$, so with $p_i \propto e^{-u_i}$ the current through each face
   vanishes:

$$B(w)\,e^{-u_i} = B(-w)\,e^{-u_{i+1}}. \tag{3.20}$$

And the accuracy? For small $w$, $B(w) = 1 - \tfrac w2 + \tfrac{w^2}{12} - \dots$: central differences are
the first two terms. The third is of the order of the error that they make anyway.
"""

# %%
kT, h = 1.3, 0.2
u_left, w = torch.tensor([0.3, -1.0, 2.0, 0.0]), torch.tensor([1.7, -4.0, 0.01, 9.0])
p_left, p_right = torch.tensor([0.4, 0.9, 0.2, 0.5]), torch.tensor([0.7, 0.1, 0.2, 0.3])
u_left, w, p_left, p_right = (a.double() for a in (u_left, w, p_left, p_right))
s = torch.linspace(0, 1, 20_001, dtype=torch.float64)
integrand = torch.exp(u_left[:, None] + w[:, None] * s)
integral = torch.trapezoid(integrand, dx=h / 20_000)  # of e^u between the middles, by brute force
by_integral = kT * (torch.exp(u_left) * p_left - torch.exp(u_left + w) * p_right) / integral
by_rates = kT / h * (bernoulli(w.numpy()) * p_left.numpy() - bernoulli(-w.numpy()) * p_right.numpy())
verify("3.19", by_integral, by_rates, rtol=1e-6, over="faces")

x = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64)
U0, U1 = derivatives(wells, x, 1)
p0, p1 = derivatives(lambda x: torch.exp(torch.sin(2 * x)), x, 1)
_, product = derivatives(lambda x: torch.exp(wells(x) + torch.sin(2 * x)), x, 1)
verify("3.18", -U1 * p0 - p1, -torch.exp(-U0) * product, over="points")

# %% [markdown]
r"""
Equation (3.17) with (3.19) is a system of linear differential equations, $\dot p = Qp$, and $Q$ is the
table of hopping rates: gains beside the diagonal, losses on it, columns that sum to zero. In other words,
*the scheme is itself a random walk*, from cell to cell. This suggests how to step in time without any
error. Let $r$ be the largest rate at which a cell is left. Let a clock tick at random moments, on average
$r$ times per unit of time, and let a particle hop at a tick with probabilities $H = I + Q/r$. All entries
of $H$ are between 0 and 1, its columns sum to 1. In a time $t$ the number of ticks is a Poisson number, so

$$p(t) = e^{Qt}\,p(0) = \sum_{k=0}^{\infty} e^{-rt}\,\frac{(rt)^k}{k!}\;H^k\,p(0). \tag{3.21}$$

<!-- code 3.21: diffedu.evaluate.fokker_planck.FokkerPlanck.evolve -->

(Algebra says the same: $e^{Qt} = e^{-rt}\,e^{rtH}$.) Every $H^k\,p(0)$ is positive and has mass 1, and so has
their average. The sum is cut where the weights fall below rounding. This is called **uniformization**; here
is all of it. (The package also splits a long time into pieces, since $e^{-rt}$ would fall below the smallest
number.)
"""


# %%
def evolve(p, U, h, D, t):
    """The density a time t later on cells of width h, for the potential U (in kT) at their middles."""
    w = np.diff(U)
    right, left = D / h**2 * bernoulli(w), D / h**2 * bernoulli(-w)  # hops i -> i + 1 and i + 1 -> i
    leaving = np.append(right, 0) + np.insert(left, 0, 0)
    r = leaving.max()
    weight = math.exp(-r * t)  # of no tick at all
    total, k = weight * p, 0
    while k < r * t or weight > 1e-20:
        across = (right * p[:-1] - left * p[1:]) / r  # net flow over each face at a tick
        p = p - np.append(across, 0) + np.insert(across, 0, 0)
        k, weight = k + 1, weight * r * t / (k + 1)
        total = total + weight * p
    return total


grid = Grid(-2.0, 2.0, 40)
start = grid.average(lambda x: gauss(x, -1, 0.15))
equation = FokkerPlanck.from_potential(wells, grid, mobility=0.5, kT=0.8)
by_hand = evolve(start, wells(grid.centers) / 0.8, grid.width, 0.4, 0.5)
assert np.allclose(by_hand, equation.evolve(start, 0.5), rtol=1e-10, atol=1e-14)
exponential = scipy.linalg.expm(0.5 * equation.generator.toarray()) @ start
verify("3.21", by_hand, exponential, over="cells")
rates_of_change = np.diff(np.pad(equation.current(start)[0], 1)) / -grid.width  # no current at the walls
verify("3.17", equation.generator @ start, rates_of_change, over="cells", atol=1e-12)
verify("3.20", equation.evolve(equation.equilibrium(), 0.5), equation.equilibrium(), over="cells")
print("evolve, written out, and FokkerPlanck.evolve agree")

# %% [markdown]
r"""
**Before you read on.** A coarse grid in a steep well: 16 cells, and $|w|$ reaches 18. Central differences
let probability hop at the rates $\tfrac{D}{h^2}(1 \mp \tfrac w2)$. What happens to an empty cell when
$|w| > 2$?
"""

# %%
steep = Grid(-2.0, 2.0, 16)
U = 5 * (steep.centers**2 - 1) ** 2
start = steep.average(lambda x: gauss(x, -1.3, 0.15))
w = np.diff(U)


def central_generator(w, h, D=1.0):
    right, left = D / h**2 * (1 - w / 2), D / h**2 * (1 + w / 2)
    leaving = np.append(right, 0) + np.insert(left, 0, 0)
    return np.diag(right, -1) + np.diag(left, 1) - np.diag(leaving)


central = scipy.linalg.expm(0.02 * central_generator(w, steep.width)) @ start
good = FokkerPlanck.from_potential(lambda x: 5 * (x**2 - 1) ** 2, steep).evolve(start, 0.02)
fine = Grid(-2.0, 2.0, 256)
truth = FokkerPlanck.from_potential(lambda x: 5 * (x**2 - 1) ** 2, fine).evolve(
    fine.average(lambda x: gauss(x, -1.3, 0.15)), 0.02
)
figure, (left, right) = panels(1, 2, width=10.5, height=3.4, share=True)
for ax, p, title, color in (
    (left, central, "central differences", GUIDED),
    (right, good, "hopping rates (3.19)", DATA),
):
    ax.plot(fine.centers, truth, color=INK, linewidth=1.2, linestyle="--")
    ax.stairs(p, steep.edges, color=color, linewidth=2.2, baseline=None)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set(xlabel="position x", title=title)
    ax.text(
        0.97,
        0.9,
        f"smallest value: {min(p.min(), 0) + 0.0:.2f}".replace("-", "−"),
        transform=ax.transAxes,
        ha="right",
        color=color,
    )
    ax.text(0.97, 0.8, "dashed: 256 cells", transform=ax.transAxes, ha="right", color=INK)
left.set_ylabel("density at t = 0.02")
print(f"largest step of the potential from cell to cell: {np.abs(w).max():.0f} kT")
print(f"mass: {central.sum() * steep.width:.4f} and {good.sum() * steep.width:.4f}")
in_cells = truth.reshape(16, 16).mean(axis=1)
far = [np.abs(p - in_cells).sum() * steep.width for p in (central, good)]
print(f"L1 distance to the solution on 256 cells: {far[0]:.1f} and {far[1]:.1f}")
assert central.min() < -0.01
assert good.min() >= 0
figure

# %% [markdown]
r"""
*Both schemes keep the mass. Central differences let cells go into debt, below zero, wherever the potential
climbs by more than $2\,kT$ from cell to cell: there one of their rates is negative. The hopping rates are
not accurate on such a grid either, though closer. But what they give is a density.*

## 3.5 Order two, then four

The hopping rates do not know left from right. In formulas: put $-h$ for $h$, and the two neighbours of a cell
change places, with their rates, and the scheme comes back as it was. So its error has even powers of $h$
only. (The same holds for the averages over cells.) Solve twice, on cells of width $h$
and $h/2$, bring the finer solution to the coarser cells by averaging pairs, and combine:

$$p_h = p + C\,h^2 + O(h^4), \quad p_{h/2} = p + \tfrac14 C\,h^2 + O(h^4)
\qquad\Longrightarrow\qquad
\frac{4\,p_{h/2} - p_h}{3} = p + O(h^4). \tag{3.22}$$

<!-- code 3.22: diffedu.evaluate.fokker_planck.extrapolate -->

This is **Richardson's extrapolation**. The weights $\tfrac43$ and $-\tfrac13$ sum to 1, so the mass stays.
But one of them is negative, and with it goes the promise of a positive density. Where a tail is not
resolved, $p_h$ can be more than four times $p_{h/2}$.

There is no free lunch, but there is a choice of dish. *Logarithms* of densities have errors in even powers
as well:

$$\log p = \frac{4\log p_{h/2} - \log p_h}{3} + O(h^4). \tag{3.23}$$

<!-- code 3.23: diffedu.evaluate.fokker_planck.extrapolate_positive -->

This one is positive for ever, but its mass is wrong by $O(h^4)$, and must be put right by a factor. Which
to take depends on what must not break. We check both, against the closed form (3.8) whose cell averages
come from the normal distribution function. The task: $dx = -x\,dt + \sqrt2\,dW$, from
$\mathcal N(2,\,0.3^2)$, up to $t = 0.7$. The goal: 256 cells, and an L1 error of at most
$5\cdot10^{-6}$.
"""


# %%
def spring_cells(grid, t):
    mean, std = spring(t)
    below_edges = torch.special.ndtr(torch.from_numpy((grid.edges - mean) / std)).numpy()
    return np.diff(below_edges) / grid.width


def solve_spring(n, t):
    grid = Grid(-8.0, 8.0, n)
    return FokkerPlanck.from_potential(lambda x: x**2 / 2, grid).evolve(spring_cells(grid, 0.0), t)


def l1(p, q, grid):
    return float(np.abs(p - q).sum() * grid.volume)


sizes = (32, 64, 128, 256, 512)
solved = {n: solve_spring(n, 0.7) for n in (*sizes, 1024)}
errors = {"base": [], "linear": [], "logarithmic": []}
for n in sizes:
    grid = Grid(-8.0, 8.0, n)
    exact, halved = spring_cells(grid, 0.7), restrict(solved[2 * n])
    errors["base"].append(l1(solved[n], exact, grid))
    errors["linear"].append(l1(extrapolate(solved[n], halved), exact, grid))
    errors["logarithmic"].append(l1(extrapolate_positive(solved[n], halved), exact, grid))
orders = {name: math.log2(e[-2] / e[-1]) for name, e in errors.items()}
print("fitted orders:", ", ".join(f"{name} {order:.2f}" for name, order in orders.items()))

grid = Grid(-8.0, 8.0, 256)
exact, halved = spring_cells(grid, 0.7), restrict(solved[512])
print("n = 256 cells, t = 0.7     L1 error    mass defect   least p / largest p")
for name, p in {
    "base": solved[256],
    "linear (3.22)": extrapolate(solved[256], halved),
    "logarithmic (3.23)": extrapolate_positive(solved[256], halved),
}.items():
    defect = abs(p.sum() * grid.width - 1)
    assert defect <= 1e-12
    assert p.min() >= -1e-15 * p.max()
    assert l1(p, exact, grid) <= (1e-3 if name == "base" else 5e-6)
    sign = "positive" if p.min() > 0 else "negative, above -1e-15"
    print(f"{name:24s} {l1(p, exact, grid):10.1e}     below 1e-12  {sign}")

bare = [restrict(solved[2 * n]) * np.cbrt(restrict(solved[2 * n]) / solved[n]) for n in (128, 256)]
excess = [b.sum() * 16 / len(b) - 1 for b in bare]
print(f"mass of (3.23) before the factor: 1 + {excess[1]:.0e}")
print(f"on 128 cells it is {excess[0] / excess[1]:.0f} times as far off")
ratio = [(solved[n] - spring_cells(Grid(-8.0, 8.0, n), 0.7))[n // 2] * n**2 for n in (256, 512)]
verify("3.22", ratio[0], ratio[1], rtol=0.1)  # C h^2 n^2 does not depend on n (near x = 0)

# %%
early = 0.05
unresolved = solve_spring(64, early), restrict(solve_spring(128, early))
linear, logarithmic = extrapolate(*unresolved), extrapolate_positive(*unresolved)
grid = Grid(-8.0, 8.0, 64)
figure, (left, right) = panels(1, 2, width=10.5, height=3.7)
widths = 16 / np.array(sizes)
for (name, e), color, marker in zip(errors.items(), (NOISE, DATA, VELOCITY), "osx", strict=True):
    left.loglog(
        widths, e, color=color, marker=marker, markersize=6, linestyle="-" if name != "logarithmic" else ":"
    )
left.text(0.24, 3e-2, "hopping rates: slope 2", color="#6E6E6E", ha="right")
left.text(0.135, 1.2e-7, "both extrapolations:\nslope 4", color=DATA)
left.axhline(5e-6, color=INK, linewidth=0.8, linestyle="--")
left.text(0.53, 6.5e-6, "the goal at h = 1/16", fontsize=9, ha="right", color=INK)
left.plot([1 / 16], [5e-6], "v", color=INK, markersize=7)
left.set(
    xlabel="cell width h", ylabel="L1 error at t = 0.7", title="error of the cell averages", ylim=(3e-9, 0.3)
)
left.set_xticks(widths, [f"1/{n // 16}" for n in sizes])
left.set_xticks([], minor=True)
for p, color, name in ((linear, DATA, "linear"), (logarithmic, VELOCITY, "logarithmic")):
    shown = np.where(p > 0, p, np.nan)
    right.semilogy(grid.centers, shown, color=color, linestyle="-" if name == "linear" else ":", linewidth=2)
right.semilogy(grid.centers, np.where(linear < 0, -linear, np.nan), "x", color=SCORE, markersize=7)
right.set(
    xlim=(-2.5, 6), ylim=(1e-13, 3), xlabel="position x", ylabel="density at t = 0.05", title="64 cells"
)
closed = spring_cells(grid, early)
right.semilogy(grid.centers, np.where(closed > 0, closed, np.nan), color=INK, linewidth=1.0, linestyle="--")
right.text(-2.3, 3e-4, "crosses: the linear\none is negative,\n|p| drawn", color=SCORE, fontsize=10)
right.text(2.1, 3e-11, "dotted: the\nlogarithmic one", color=VELOCITY, fontsize=10)
right.text(2.1, 2e-12, "dashed: closed form", color=INK, fontsize=10)
assert linear.min() < -1e-8 * linear.max()
assert logarithmic.min() >= 0
print(f"64 cells, t = 0.05: least p / largest p = {linear.min() / linear.max():.0e} (linear)")
early_256 = extrapolate(solve_spring(256, early), restrict(solve_spring(512, early)))
assert early_256.min() >= -1e-15 * early_256.max()
print("256 cells, t = 0.05: nowhere below -1e-15 of the largest")
figure

# %% [markdown]
r"""
*Left: halving the cells divides the error by 4, or by 16 after extrapolation. Right: an early moment on a
grid that is too coarse for it. The linear combination dips below zero in the tail, by parts in ten million
of the peak. The logarithmic one cannot. So far out neither is accurate.*

So the honest statement is in three parts. The scheme itself is positive and conserving on every grid. The
linear extrapolation conserves mass, and is positive (to rounding) where the grid resolves the density,
which we *check* rather than promise: on 256 cells it passes, on 64 at an early time it fails. The
logarithmic one is positive always, of order 4 too, and gets its mass back from a factor.

## 3.6 The residual: is it an error or a bug?

Without a closed form, how would we know? Put the numerical solution into the equation and look at what is
left:

$$r = \partial_t\,p_h + \partial_x\big(f\,p_h - D\,\partial_x p_h\big). \tag{3.24}$$

<!-- definition 3.24: names what is left when a numerical solution is put into the equation -->

The time derivative is $Q p_h$, exactly. For the space derivatives draw a smooth curve (a spline of ninth
degree) through the accumulated mass at the cells' edges; its derivatives there are $p$ and $\partial_x p$,
with an error far below that of $p_h$ itself.

A residual has two causes. An *error* falls when the cells shrink, with the order of the scheme. A *bug*
does not. The cell below also puts the same solution into two wrong equations, those of the most frequent
slips: noise $g^2\,\partial_x^2 p$ for $\tfrac12 g^2\,\partial_x^2 p$, and $f\,\partial_x p$ for
$\partial_x(f p)$.
"""


# %%
def residual(p, dp_dt, grid, noise=1.0, drift_inside=True):
    """(3.24) for the spring, as averages over the cells; the two switches make it wrong on purpose."""
    below_edges = np.concatenate([[0.0], np.cumsum(p) * grid.width])
    curve = scipy.interpolate.make_interp_spline(grid.edges, below_edges, k=9)
    current = -grid.edges * curve(grid.edges, 1) - noise * curve(grid.edges, 2)
    r = dp_dt + np.diff(current) / grid.width
    return r if drift_inside else r + p  # d(fp)/dx - f dp/dx = f' p = -p


def spring_residual(n, t, **wrong):
    """Of the base scheme, and of its extrapolation."""
    found = []
    for cells in (n, 2 * n):
        equation = FokkerPlanck.from_potential(lambda x: x**2 / 2, Grid(-8.0, 8.0, cells))
        p = equation.evolve(spring_cells(equation.grid, 0.0), t)
        found.append((p, equation.generator @ p))
    grid = Grid(-8.0, 8.0, n)
    (p, dp), (fine, d_fine) = found
    better, d_better = extrapolate(p, restrict(fine)), extrapolate(dp, restrict(d_fine))
    return residual(p, dp, grid, **wrong), residual(better, d_better, grid, **wrong)


def size(r, n):
    return np.abs(r).sum() * 16 / n


sizes = (64, 128, 256, 512)
right_equation = np.array([[size(r, n) for r in spring_residual(n, 0.3)] for n in sizes])
wrong_equations = {
    "noise g² for g²/2": [size(spring_residual(n, 0.3, noise=2.0)[0], n) for n in sizes],
    "drift outside": [size(spring_residual(n, 0.3, drift_inside=False)[0], n) for n in sizes],
}
for k, name in enumerate(("base", "extrapolated")):
    fell = np.log2(right_equation[-2, k] / right_equation[-1, k])
    print(f"residual, {name}: falls with order {fell:.1f}")
    assert abs(fell - (2, 4)[k]) < 0.2
for name, values in wrong_equations.items():
    assert values[-1] > 0.9 * values[0] > 0.5
    print(f"residual in a wrong equation ({name}): {values[-1]:.1f} however fine the grid")

# %%
moments = np.linspace(0.02, 1.0, 50)
field = np.stack([spring_residual(128, t)[0] for t in moments])
shown = slice(44, 108)
figure, (left, right) = panels(1, 2, width=10.5, height=3.7)
limit = 0.05
image = left.imshow(
    np.clip(field[:, shown].T, -limit, limit),
    origin="lower",
    aspect="auto",
    cmap="RdBu_r",
    extent=(0.01, 1.01, Grid(-8.0, 8.0, 128).edges[44], Grid(-8.0, 8.0, 128).edges[108]),
    vmin=-limit,
    vmax=limit,
)
bar = figure.colorbar(image, ax=left, ticks=(-limit, 0, limit))
bar.ax.set_yticklabels(["≤ −0.05", "0", "≥ 0.05"])
times = torch.linspace(0.01, 1, 50, dtype=torch.float64)
mean, std = spring(times)
left.plot(times, mean, color=INK, linewidth=1.2)
left.plot(times, mean + 2 * std, color=INK, linewidth=0.8, linestyle="--")
left.plot(times, mean - 2 * std, color=INK, linewidth=0.8, linestyle="--")
left.grid(False)
left.set(xlabel="time t", ylabel="position x", title="residual r, 128 cells, base scheme")
widths = 16 / np.array(sizes)
for values, color, style, name, place in (
    (right_equation[:, 0], NOISE, "-o", "base: slope 2", (0.09, 2e-3)),
    (right_equation[:, 1], DATA, "-s", "extrapolated: slope 4", (0.075, 2e-6)),
    (wrong_equations["noise g² for g²/2"], SCORE, "--", "wrong: g² for g²/2", (0.033, 3.2)),
    (wrong_equations["drift outside"], GUIDED, ":", "wrong: f outside the derivative", (0.033, 0.3)),
):
    right.loglog(widths, values, style, color=color, markersize=5)
    right.text(*place, name, color="#6E6E6E" if color == NOISE else color, fontsize=10)
right.set(
    xlabel="cell width h", ylabel="size of the residual at t = 0.3", title="error or bug?", ylim=(5e-8, 20)
)
right.set_xticks(widths, [f"1/{n // 16}" for n in sizes])
right.set_xticks([], minor=True)
figure

# %% [markdown]
r"""
*Left: where the scheme works hardest: early, when the cloud is narrow, and on its flanks (mean and twice
the standard deviation are drawn). Right: in the true equation the residual vanishes with the grid; in a
wrong one it stays.*

## 3.7 How long in the well?

Back to the two wells, $U = B\,(x^2-1)^2$ with a hill of height $B$, in units where $\mu = kT = D = 1$.

**The spectrum.** $Q$ is not symmetric, but it is nearly so. Divide the density by the root of the
equilibrium, $p = \sqrt{p_{\mathrm{eq}}}\,\psi$, and put it into (3.11). With $u = U/kT$ the first
derivatives cancel, and

$$\partial_t\psi = D\,\psi'' - V\psi, \qquad V = D\,\Big(\tfrac14 u'^2 - \tfrac12 u''\Big). \tag{3.25}$$

The right side is a symmetric operator (a Schrödinger operator, by the way). Where $V$ grows without bound on
both sides, as it does here, such an operator has separate real eigenvalues
$0 = -\lambda_0 > -\lambda_1 > -\lambda_2 \dots$ and orthonormal eigenfunctions $\psi_n$ that make up every
other function. The first, $\psi_0 = \sqrt{p_{\mathrm{eq}}}$, does not decay. Each of the others decays on
its own:

$$p(x, t) = p_{\mathrm{eq}}(x)
+ \sum_{n \ge 1} c_n\,e^{-\lambda_n t}\,\sqrt{p_{\mathrm{eq}}(x)}\;\psi_n(x),
\qquad c_n = \int \frac{p(x, 0)}{\sqrt{p_{\mathrm{eq}}(x)}}\,\psi_n(x)\,dx. \tag{3.26}$$

The smallest, $\lambda_1$, is the **relaxation rate**: it governs the end of every approach to equilibrium.
For the cells the same trick makes $Q$ a symmetric tridiagonal matrix with
$-\sqrt{\text{right}\cdot\text{left}}$ beside the diagonal of $-Q$, and $\lambda_1$ comes from a standard
routine. Its error is of order $h^2$, and Richardson's trick can be played twice. As a witness by another
route we solve (3.25) with sinc functions, whose error falls faster than any power of $h$.
"""


# %%
def double_well(B):
    return lambda x: B * (x**2 - 1) ** 2


def slowest(B, n):
    return FokkerPlanck.from_potential(double_well(B), Grid(-2.5, 2.5, n)).relaxation_rates(2)[1]


def sinc_rates(B, n=241, half=2.8):
    """Eigenvalues of -psi'' + V psi on sinc functions: a full matrix, whose error falls exponentially."""
    h = 2 * half / (n - 1)
    x = h * np.arange(-(n // 2), n // 2 + 1)
    k = np.arange(n)[:, None] - np.arange(n)[None, :]
    minus_second = np.where(k == 0, math.pi**2 / 3, 2 * (-1.0) ** k / np.where(k == 0, 1, k) ** 2) / h**2
    V = (4 * B * x * (x**2 - 1)) ** 2 / 4 - B * (12 * x**2 - 4) / 2
    return scipy.linalg.eigvalsh(minus_second + np.diag(V), subset_by_index=[0, 2])


known = {2: 0.45454660202, 4: 0.11911837324, 8: 4.574951128e-3}
rates = {}
print("relative error of the rate:    n = 200   n = 400   n = 800   200 & 400     all three")
for B, goal in known.items():
    two = np.array([slowest(B, n) for n in (200, 400, 800)])
    four = extrapolate(two[:-1], two[1:])
    (six,) = extrapolate(four[:1], four[1:], order=4)
    rates[B] = six
    off = [f"{value / goal - 1:8.0e}" for value in two]
    bound = 10.0 ** math.ceil(math.log10(abs(four[0] / goal - 1)))
    print(f"B = {B}                       ", "  ".join(off), f"  below {bound:.0e}   below 1e-7")
    assert abs(six / goal - 1) < 1e-7
    assert abs(six - goal) < 1e-6
print("relaxation rates:", ", ".join(f"{rate:.7f} (B = {B})" for B, rate in rates.items()))
verify("3.25", list(rates.values()), [sinc_rates(B)[1] for B in rates], rtol=1e-7, atol=0.0, over="rates")

well = FokkerPlanck.from_potential(double_well(4), Grid(-2.2, 2.2, 220))
up, down = well.rates[0]
decay, psi = scipy.linalg.eigh_tridiagonal(-well.generator.diagonal(), -np.sqrt(up * down))
root, start = np.sqrt(well.equilibrium()), well.grid.average(lambda x: gauss(x, -1, 0.2))
by_modes = root * (psi @ (np.exp(-0.5 * decay) * (psi.T @ (start / root))))
verify("3.26", by_modes, well.evolve(start, 0.5), over="cells")
print(f"twice the height (B = 8 for 4) makes the wait {rates[4] / rates[8]:.0f} times longer")

# %% [markdown]
r"""
Twice the height, 26 times the wait. **Why?** The integrating factor (3.18) tells. When the hill is high,
each well is at rest inside: near the left minimum $a$ the density is $N_L\,e^{-u}/Z_L$ with
$Z_L = \int_{\text{left}} e^{-u}\,dx$, where $N_L$ is the probability of the left well, and only the
crossing is slow. So across the hill the current is nearly the same everywhere, just as between two middles
of cells. Multiply (3.18) by $e^u$ and integrate, now from minimum to minimum:

$$J\int_a^b e^{u}\,dx = D\,\big(e^u p\,|_a - e^u p\,|_b\big)
\quad\Longrightarrow\quad
J = k\,(N_L - N_R), \qquad k = \frac{D}{Z_L\int_a^b e^{u}\,dx} \tag{3.27}$$

for equal wells. One formula, used at two scales: for a cell, and for a mountain. Since $\dot N_L = -J$ and
$\dot N_R = +J$, the difference obeys $\frac{d}{dt}(N_L - N_R) = -2k\,(N_L - N_R)$, and
$\lambda_1 \approx 2k$. (Mind the 2: $k$ is the rate of *leaving* a well, and each leaving changes the
difference by two.)

Both integrals are dominated by one place, $e^{-u}$ by the bottom and $e^u$ by the top. Replace $u$ by its
parabola there. Two Gaussian integrals, $\sqrt{2\pi/u''(a)}$ and $e^{\Delta u}\sqrt{2\pi/|u''(0)|}$, give
**Kramers' law** (1940):

$$k \approx \frac{\mu\,\sqrt{U''(a)\,|U''(0)|}}{2\pi}\;e^{-\Delta U/kT}. \tag{3.28}$$

The height of the hill stands in the exponent. That is why molecules keep their shape, why Langevin sampling
of separated modes takes for ever (chapter 2), and why diffusion models first melt the landscape.
"""


# %%
def kramers(B):  # U'' = 8 B at the bottom, -4 B at the top; mobility and kT are 1
    return math.sqrt(8 * B * 4 * B) / (2 * math.pi) * math.exp(-B)


def by_integrals(B):
    x = np.linspace(0, 1, 20_001)
    top = 2 * np.trapezoid(np.exp(double_well(B)(x)), x)
    bottom = np.trapezoid(np.exp(-double_well(B)(3 * x)), 3 * x)
    return 1 / (bottom * top)


verify("3.27", 2 * by_integrals(8), sinc_rates(8)[1], rtol=2e-3, atol=0.0)
verify("3.28", kramers(60), by_integrals(60), rtol=0.01, atol=0.0)
for B in rates:
    print(f"B = {B}: 2k by Kramers is {2 * kramers(B) / rates[B]:.3f} times the true rate")
print(f"B = 60: {kramers(60) / by_integrals(60):.3f}, against (3.27)")

N, dt, stride = 20_000, 0.002, 200
generator = seeded(4, device)
cloud = -1 + 0.2 * torch.randn(N, generator=generator, device=device)
well = FokkerPlanck.from_potential(double_well(4), Grid(-2.2, 2.2, 220))
p = well.grid.average(lambda x: gauss(x, -1, 0.2))
clock, of_cloud, of_density = [0.0], [], []
for k in range(31):
    of_cloud.append((cloud < 0).float().mean().item() * 2 - 1)
    of_density.append(1 - 2 * p[well.grid.centers > 0].sum() * well.grid.width)
    if k < 30:
        cloud = walk(cloud, lambda x: -16 * x * (x**2 - 1), 1.0, dt, stride, generator)
        p = well.evolve(p, dt * stride)
        clock.append(clock[-1] + dt * stride)
clock, of_cloud, of_density = (np.array(a) for a in (clock, of_cloud, of_density))
bars = 2 * np.sqrt((1 - of_density**2) / N)
assert np.all(np.abs(of_cloud - of_density) < 3 * bars + 0.01)
heights = np.linspace(0.5, 12, 24)
exact = [sinc_rates(B)[1] for B in heights]
for B in (2, 4, 11):
    print(f"one more kT of hill, from B = {B}: {sinc_rates(B)[1] / sinc_rates(B + 1)[1]:.1f} times slower")
figure, (left, right) = panels(1, 2, width=10.5, height=3.6)
left.errorbar(clock[::2], of_cloud[::2], bars[::2], fmt="o", color=NOISE, markersize=4, linewidth=1.2)
left.plot(clock, of_density, color=DATA)
left.plot(
    clock,
    of_density[-1] * np.exp(-rates[4] * (clock - clock[-1])),
    color=SCORE,
    linestyle="--",
    linewidth=1.4,
)
left.set_yscale("log")
left.set(
    xlabel="time t",
    ylabel="left minus right, $N_L - N_R$",
    title="B = 4: the imbalance decays",
    ylim=(0.1, 1.15),
)
left.set_yticks([0.1, 0.2, 0.5, 1], ["0.1", "0.2", "0.5", "1"])
left.set_yticks([], minor=True)
left.text(0.3, 0.19, "grey: 20,000 particles, ± 2 standard errors", color="#6E6E6E", fontsize=10)
left.text(0.3, 0.153, "blue: the equation", color=DATA, fontsize=10)
left.text(0.3, 0.123, r"orange: slope $-\lambda_1$ from the spectrum", color=SCORE, fontsize=10)
right.semilogy(heights, exact, color=DATA)
right.semilogy(heights, [2 * kramers(B) for B in heights], color=VELOCITY, linestyle="--")
right.semilogy(list(rates), list(rates.values()), "o", color=INK, markersize=6)
right.text(6.2, 0.07, r"$\lambda_1$, exact", color=DATA)
right.text(0.6, 5e-3, "Kramers,\n2k of (3.28)\n(dashed)", color=VELOCITY)
right.set(
    xlabel="height B of the hill, in kT",
    ylabel=r"relaxation rate $\lambda_1$",
    title="height goes into the exponent",
)
figure

# %% [markdown]
r"""
*Left: the imbalance decays at the rate that the spectrum predicts, for the particles as for the equation.
Right: from about $4\,kT$ on each further $kT$ of height costs a factor of more than two (it tends to $e$; the
curvatures, which grow with $B$, take a little off). Kramers' law is 7 and 11 % off at 2 and 4 $kT$, and
improves as the hill grows.*

## 3.8 What falls, always

Entropy grows: so chapter 1 found for free diffusion. With a potential this is *false*. Put a wide cloud
into a narrow well: it contracts, and its entropy falls. What can be said instead? Weigh energy against
entropy:

$$F[p] = \int \big(U\,p + kT\,p\log p\big)\,dx. \tag{3.29}$$

<!-- definition 3.29: the free energy, mean energy minus kT times entropy -->

This is the **free energy**. Differentiate in time, with $\frac{d}{dp}(p\log p) = \log p + 1$:

$$\frac{dF}{dt} = \int \big(U + kT\log p + kT\big)\,\partial_t p\,dx
= \int J\;\partial_x\big(U + kT\log p\big)\,dx
= -\frac{1}{\mu}\int \frac{J^2}{p}\,dx \;\le\; 0. \tag{3.30}$$

First step: the lone $kT$ drops out, since mass is constant; $\partial_t p = -\partial_x J$; integrate by
parts (the current vanishes at the ends). Second step: (3.15). So free energy falls as long as anything
flows. It is friction: force times velocity, summed over the cloud. Boltzmann proved a law of this kind for
gases and called it the **H-theorem**. Inserting $U = -kT\log p_{\mathrm{eq}} - kT\log Z$ shows what the
distance to the bottom is:

$$F[p] - F[p_{\mathrm{eq}}] = kT\int p\,\log\frac{p}{p_{\mathrm{eq}}}\,dx
= kT\;\mathrm{KL}\big(p\,\|\,p_{\mathrm{eq}}\big). \tag{3.31}$$

<!-- code 3.31: diffedu.evaluate.fokker_planck.FokkerPlanck.free_energy -->

And the solver? Its free energy $F_h$ is the sum over the cells for the integral in (3.31). With
$\phi = p/p_{\mathrm{eq}}$ on the cells, (3.20) turns the current (3.19) into
$J = \tfrac Dh B(w)\,p_{\mathrm{eq},i}\,(\phi_i - \phi_{i+1})$, and summing by parts,

$$\frac{dF_h}{dt} = -kT\sum_i \tfrac{D}{h}\,B(w)\,p_{\mathrm{eq},i}\;
\big(\phi_i - \phi_{i+1}\big)\big(\log\phi_i - \log\phi_{i+1}\big) \;\le\; 0: \tag{3.32}$$

the logarithm grows, so both brackets have one sign. The H-theorem holds on the coarsest grid.

**Before you run the cell.** A cloud of standard deviation 2 falls into the spring's well, whose equilibrium
has standard deviation 1. Sketch mean energy, entropy and free energy over time.
"""

# %%
t = torch.tensor(0.25, dtype=torch.float64)


def closed_free_energy(t):  # of the Gaussian (3.8) in U = x^2 / 2 with kT = 1
    m, s = spring(t)
    return 0.5 * (m**2 + s**2) - 0.5 * torch.log(2 * math.pi * math.e * s**2)


_, falls = derivatives(closed_free_energy, t, 1)
x = torch.linspace(-7, 9, 8001, dtype=torch.float64)
p0, p1 = derivatives(lambda x: normal_density(x, t), x, 1)
seen = p0 > 1e-200
J = -x * p0 - p1
verify("3.30", falls, -torch.where(seen, J**2 / p0.clamp(min=1e-200), 0 * J).sum() * (x[1] - x[0]))

grid = Grid(-8.0, 8.0, 256)
equation = FokkerPlanck.from_potential(lambda x: x**2 / 2, grid)
p = extrapolate_positive(solved[256], restrict(solved[512]))
at_rest = -0.5 * math.log(2 * math.pi)  # the free energy of the equilibrium, -kT log Z
above = closed_free_energy(torch.tensor(0.7, dtype=torch.float64)) - at_rest
verify("3.31", equation.free_energy(p), above, rtol=1e-3)  # p log p of averages is not the average of p log p

coarse = FokkerPlanck.from_potential(double_well(4), Grid(-2.0, 2.0, 12))
p = coarse.grid.average(lambda x: gauss(x, -1, 0.3))
phi, rest = p / coarse.equilibrium(), coarse.equilibrium()
up = coarse.rates[0][0] * coarse.grid.width
terms = up * rest[:-1] * (phi[:-1] - phi[1:]) * (np.log(phi[:-1]) - np.log(phi[1:]))
small = 1e-6
quotient = (coarse.free_energy(coarse.evolve(p, small)) - coarse.free_energy(p)) / small
verify("3.32", quotient, -terms.sum(), rtol=1e-3)

# %%
clock = np.linspace(0, 2.5, 51)
starts = {"wide: from N(0, 2²)": (0.0, 2.0), "narrow, off centre: from N(2, 0.3²)": (2.0, 0.3)}
figure, axes = panels(1, 2, width=10.5, height=3.5)
for ax, (title, (mean, std)) in zip(axes, starts.items(), strict=True):
    p = grid.average(lambda x, mean=mean, std=std: gauss(x, mean, std))
    energy, entropy, free = [], [], []
    for _ in clock:
        energy.append((p * grid.centers**2 / 2).sum() * grid.width)
        free.append(equation.free_energy(p) + at_rest)
        entropy.append(energy[-1] - free[-1])
        p = equation.evolve(p, clock[1])
    ax.plot(clock, energy, color=EXTRA, linestyle="--")
    ax.plot(clock, entropy, color=DATA, linestyle=":")
    ax.plot(clock, free, color=VELOCITY)
    ax.set(xlabel="time t", title=title, ylim=(-1.2, 2.6))
    assert np.all(np.diff(free) < 0)
    if std > 1:
        assert np.all(np.diff(entropy) < 0)
axes[0].set_ylabel("in units of kT")
axes[0].text(1.5, 1.05, "entropy (dotted)", color=DATA, va="top", ha="center", backgroundcolor="white")
axes[0].text(1.5, 0.18, "mean energy (dashed)", color="#A66F00", ha="center")
axes[0].text(1.5, -0.75, "free energy = energy − entropy", color=VELOCITY, ha="center")
figure

# %% [markdown]
r"""
*Left: the cloud contracts and its entropy falls. Right: it spreads and its entropy grows. The free energy
falls in both, to the same floor.*

## 3.9 Deterministic twins

The current has a velocity: divide it by the density. By (3.13) and (3.2),

$$v(x, t) = \frac{J}{p} = f - D\,\partial_x\log p = f - \tfrac12\,g^2\;\partial_x\log p. \tag{3.33}$$

Then $\partial_t p = -\partial_x(v\,p)$: the continuity equation of a fluid that moves with velocity $v$ and
is *not kicked at all*. So particles that follow $\dot x = v(x, t)$, without noise, have at every time the
same density as the kicked ones. The gradient of $\log p$ in (3.33) is the **score**; chapter 4 learns it
from data, and chapter 10 runs (3.33) backwards to make pictures from noise. Here the solver knows $p$, so
we can watch.
"""

# %%
grid = Grid(-2.3, 2.3, 230)
equation = FokkerPlanck.from_potential(wells, grid)
p = grid.average(lambda x: gauss(x, -1, 0.2))
faces, dt, steps = grid.edges[1:-1], 0.005, 400
levels = np.linspace(0.02, 0.98, 25)


def velocity(x, p):
    """J / p at the faces, in between by a straight line."""
    mean_p = (p[1:] + p[:-1]) / 2
    return np.interp(x, faces, equation.current(p)[0] / np.maximum(mean_p, 1e-300))


def share_below(x, p):
    curve = scipy.interpolate.make_interp_spline(
        grid.edges, np.concatenate([[0.0], np.cumsum(p) * grid.width]), k=3
    )
    return curve(x)


fine_edges = np.interp(levels, np.concatenate([[0.0], np.cumsum(p) * grid.width]), grid.edges)
twins = [fine_edges]
began = share_below(fine_edges, p)
for _ in range(steps):  # Heun's rule: the mean of the velocities before and after
    p_next = equation.evolve(p, dt)
    x = twins[-1]
    first = velocity(x, p)
    second = velocity(x + dt * first, p_next)
    twins.append(x + dt * (first + second) / 2)
    p = p_next
twins = np.array(twins)
verify("3.33", share_below(twins[-1], p), began, rtol=1e-3, over="twins")

generator = seeded(5, device)
x = torch.from_numpy(twins[0]).float().to(device)
kicked = [x.cpu().numpy()]
for _ in range(steps):
    x = walk(x, wells_force, 1.0, dt, 1, generator)
    kicked.append(x.cpu().numpy())
clock = dt * np.arange(steps + 1)
figure, (left, right) = panels(1, 2, width=10.5, height=3.5, share=True)
left.plot(clock, np.array(kicked)[:, ::2], linewidth=0.7, color=NOISE)
right.plot(clock, twins[:, ::2], linewidth=1.4, color=VELOCITY)
left.set(xlabel="time t", ylabel="position x", title="kicked: the SDE", ylim=(-2, 2))
right.set(xlabel="time t", title="not kicked: dx/dt = J / p")
assert np.all(np.diff(twins, axis=1) > 0)
print("at t = 2 every twin has the same share of probability below it as at the start, to 1e-3")
figure

# %% [markdown]
r"""
*Thirteen particles each, from the same places. At every time both families are distributed by the same
density. The twins never cross: on a line, each keeps its rank, and the share of probability below it.*

## 3.10 In the plane

Two dimensions need no new idea: a cell has four neighbours, and (3.19) holds across each face. A drift need
not come from a potential either. Then $w = -f\,h/D$ with the drift at the face. Here is a moat,
$U = 3\,(r^2-1)^2$ around the origin, once still, and once with a wind that blows around it,
$f_{\mathrm{wind}} = \omega\,(-y,\,x)$.

**Before you run the cell.** After a long time, will the density with the wind differ from the one without
it? And the current?
"""


# %%
def moat(x, y):
    return 3 * (x**2 + y**2 - 1) ** 2


def moat_drift(x, y, wind):
    pull = -12 * (x**2 + y**2 - 1)
    return pull * x - wind * y, pull * y + wind * x


def moat_walk(cloud, wind, gap, generator, dt=0.0025):
    def drift(points):
        return torch.stack(moat_drift(points[:, 0], points[:, 1], wind), dim=1)

    return walk(cloud, drift, 1.0, dt, round(gap / dt), generator)


grid = Grid(-1.8, 1.8, 60, dim=2)
times, winds = [0.02, 0.15, 0.5, 5.0], {"no wind": 0.0, "wind": 5.0}
figure, axes = panels(2, 4, width=11.0, height=5.7, share=True)
ends = {}
for row, (name, wind) in enumerate(winds.items()):
    generator = seeded(6, device)
    start = torch.tensor([1.0, 0.0], device=device)
    cloud = start + 0.15 * torch.randn(16_000, 2, generator=generator, device=device)
    p = grid.average(lambda x, y: gauss(x, 1.0, 0.15) * gauss(y, 0.0, 0.15))
    equation = FokkerPlanck.from_drift(lambda x, y, wind=wind: moat_drift(x, y, wind), grid)
    for column, (t, gap) in enumerate(zip(times, np.diff([0.0, *times]), strict=True)):
        cloud, p = moat_walk(cloud, wind, gap, generator), equation.evolve(p, gap)
        ax = axes[4 * row + column]
        ax.scatter(*cloud[:700].cpu().T, s=3, color=NOISE, alpha=0.5, linewidths=0)
        levels = np.array([0.1, 0.35, 0.7]) * p.max()
        ax.contour(grid.centers, grid.centers, p.T, levels=levels, colors=DATA, linewidths=(0.8, 1.3, 1.8))
        square(ax, 1.8, xlabel="x" if row == 1 else "", ylabel="y" if column == 0 else "")
        ax.set_title(f"{name}, t = {t:g}")
        blocks = restrict(restrict(p))
        apart = l1(Grid(-1.8, 1.8, 15, dim=2).histogram(cloud), blocks, Grid(-1.8, 1.8, 15, dim=2))
        assert apart < 0.08
    assert abs(p.sum() * grid.volume - 1) < 1e-6
    ends[name] = (p, equation.current(p))
still, windy = ends["no wind"], ends["wind"]
boltzmann = FokkerPlanck.from_potential(moat, grid).equilibrium()
assert max(l1(still[0], boltzmann, grid), l1(windy[0], boltzmann, grid)) < 0.01
strength = [np.abs(J[0]).max() for J in (still[1], windy[1])]
assert strength[0] < 0.01
print("L1 distance to Boltzmann at t = 5: below 0.01, with and without wind")
print(f"largest current at t = 5: below 0.01 without wind, {strength[1]:.1f} with it")
figure

# %% [markdown]
r"""
*Particles (grey) and lines of equal density (blue) at a tenth, a third and two thirds of the peak. Above,
the cloud creeps around the moat both ways; below, it is blown around. In the end both fill the moat alike.*

The density is the same, the current is not. Boltzmann's law is *an* answer to $\nabla\!\cdot\!J = 0$ with
the wind, too: the wind blows along lines of equal density, so it takes away from each place as much as it
brings. But now $J \ne 0$. A **stationary state** is one in which nothing accumulates. An **equilibrium** is
one in which nothing flows. On a line (with walls) they are the same, in the plane they are not. Some
samplers add such a wind on purpose: it leaves the density right, and a well-chosen one speeds up the
mixing.

## 3.11 Play

Time is live here: drag it. The curve comes from the equation, the bars from the particles, the dashed line
is Boltzmann's law, and on the right runs the clock of the H-theorem. **Before you move anything**, two
bets. Halve the temperature: by which factor does the approach to equilibrium slow down? With unequal wells,
the right one deeper by $1.2\,kT$: which share of the particles will be in it in the end? Then try 50
particles, and see how little of all this they let you guess.
"""

# %%
from diffedu.show.widgets import DensityAndCloud

DensityAndCloud()

# %%
grid = Grid(-2.2, 2.2, 220)
warm, cool = (FokkerPlanck.from_potential(wells, grid, kT=kT).relaxation_rates(2)[1] for kT in (1.0, 0.5))
unequal = FokkerPlanck.from_potential(lambda x: wells(x) - 0.6 * x, grid).equilibrium()
print(f"half the temperature: {warm / cool:.1f} times slower")
print(f"in the deeper well: {unequal[grid.centers > 0].sum() * grid.width:.0%} of the particles")

# %% [markdown]
r"""
**What to take from it.** Inside a well everything is over in a time of order $1/(\mu U'')$; between wells
Kramers' law rules, and temperature stands in its exponent. The curve is what 2,000 particles tend to and 50
hint at.

## 3.12 Exercises

`check` tells you what is wrong, `hint("3.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Two of them come from the **errata museum**: slips that stood in published tutorials.
"""

# %%
for one in exercises(3):
    print(one)

# %% [markdown]
r"""
**Exercise 3.1 ★ — any spring.** From (3.7) with $\varphi = x$ and $x^2$: mean and variance at time $t$ for
$dx = -k\,(x - c)\,dt + \sqrt{2D}\,dW$. The spring's rest position is now $c$.
"""


# %% tags=["exercise"]
def spring_moments(mean, variance, t, k, c, D):
    """Mean and variance at times t, both of t's shape (T,), from those at time 0 and the numbers k, c, D."""
    ...


# %%
check("3.1", spring_moments)

# %% [markdown]
r"""
**Exercise 3.2 ★ — hot into cold.** A cloud is at equilibrium in a well at temperature $kT = 2$. At $t = 0$
the bath is cooled to $kT = 1$; the potential stays. Until the new equilibrium is reached, the entropy
$-\int p\log p\,dx$ of the cloud "grows", "falls" or "stays"?
"""

# %% tags=["exercise"]
entropy_after_cooling = ...

# %%
check("3.2", entropy_after_cooling)

# %% [markdown]
r"""
**Exercise 3.3 ★★ — hopping rates.** The rates of (3.19) for a potential that is given at the middles of $n$
cells. Your function must survive flat and nearly flat places ($w = 0$, $w = 10^{-12}$) and cliffs
($|w| = 1000$).
"""


# %% tags=["exercise"]
def hop_rates(U, h, mobility, kT):
    """Rates (right, left) over the inner faces, each (n - 1,), from U at the middles, shape (n,), float64."""
    ...


# %%
check("3.3", hop_rates)

# %% [markdown]
r"""
**Exercise 3.4 ★★ — errata museum: the right-hand side.** Meant is $\partial_t p$ for
$dx = f(x)\,dt + g(x)\,dW$, where the noise, too, may depend on the position. (In (3.6) the term with
$\varphi''$ then has $\tfrac12 g(x)^2$ in front. Do the integration by parts again.) The code holds *three*
mistakes.
"""


# %% tags=["exercise"]
def rate_of_change(p, f, g, h):
    """dp/dt, shape (n,), from the density p, drift f and noise g at n points of spacing h."""

    def d(u):
        return torch.gradient(u, spacing=h)[0]

    return -f * d(p) + g**2 * d(d(p))


# %%
check("3.4", rate_of_change)

# %% [markdown]
r"""
**Exercise 3.5 ★★ — errata museum: the twin.** The velocity (3.33) of the particles that are not kicked. Two
mistakes.
"""


# %% tags=["exercise"]
def twin_velocity(drift, g, score):
    """v, shape (B, D), from the drift and the score (B, D) and the noise g (B,) of each point's time."""
    return drift + g[:, None] ** 2 * score


# %%
check("3.5", twin_velocity)

# %% [markdown]
r"""
**Exercise 3.6 ★★ — waiting.** Particles start in the left well of $U = 6\,(x^2-1)^2$, with $\mu = kT = 1$.
After what time has the imbalance $N_L - N_R$ fallen to one hundredth? (Use `FokkerPlanck`; the short while
inside the well doesn't count. One percent is close enough, but Kramers' law isn't.)
"""

# %% tags=["exercise"]
waiting_time = ...

# %%
check("3.6", waiting_time)

# %% [markdown]
r"""
**Exercise 3.7 ★★ — order four.** Write (3.22) for cell averages: the coarse solution on $n$ cells, the fine
one on $2n$.
"""


# %% tags=["exercise"]
def fourth_order(coarse, fine):
    """The extrapolated averages, shape (n,), from coarse (n,) and fine (2n,)."""
    ...


# %%
check("3.7", fourth_order)

# %% [markdown]
r"""
**Exercise 3.8 ★★★ — noise that depends on the place.** $dx = -x\,dt + \sqrt{2\,(1 + x^2)}\,dW$ pulls to the
centre, and kicks harder the farther out (each kick is drawn with the strength at the place *before* it,
Itô's convention). Find the density at which the current vanishes, and return it, normalised. How do its
tails compare with a Gaussian's?
"""


# %% tags=["exercise"]
def stationary_density(x):
    """p(x), shape (N,), with integral 1 over the line, for points x (N,)."""
    ...


# %%
check("3.8", stationary_density)

# %% [markdown]
r"""
## 3.13 What the field does with it, and where this breaks

- **As a tool of proof.** The Fokker–Planck equation is how one shows that two processes have the same
  densities: the reverse-time SDE, its deterministic twin and every mixture of them (chapter 10), the
  velocity fields of flow matching (chapter 13). One writes down both equations and compares.
- **As a law that a network should keep.** The score of a true diffusion obeys an equation of its own, the
  gradient of (3.11) divided by $p$; learned scores break it, and FP-Diffusion (Lai et al. 2023) adds the
  residual to the loss.
- **As a descent.** (3.30) says more than that $F$ falls: the equation is the *steepest* descent of $F$ when
  distances between densities are measured by optimal transport (Jordan, Kinderlehrer, Otto 1998).
- **In reaction rates, neurons, markets, plasmas**: wherever the number of variables is small and tails
  matter, grids beat particles. Rare events cost particles $1/\text{probability}$; they cost a grid nothing.

Where it breaks. The number of cells is $n^d$: 256 in one dimension, 65,536 in two, and for the 784 pixels
of a digit there is no grid and never will be. That is why diffusion models use particles, and a network for
the one thing about $p$ that they need, its score. The noise must be Gaussian and independent in time: with
jumps, more derivatives than two survive in (3.6). If $D$ depends on the place, (3.11) has
$\partial_x^2(D p)$, and which convention of the noise is meant changes the answer (exercise 3.8). And
running the equation backwards in time is hopeless: what spreads forward would have to *un*-spread, and
every rounding error grows like $e^{D k^2 t}$ with its wave number $k$. Chapter 10 runs the *particles*
backwards instead, which works because the score carries what the density has forgotten.

### References
Our $D$ is $\tfrac12 g^2$ of the papers on diffusion models; our $\mu\,kT$ is $kT$ over the friction
coefficient in physics texts.
- Risken (1989), *The Fokker–Planck equation*, chapters 4 and 5: derivation, current, spectrum, (3.25).
- Pavliotis (2014), *Stochastic processes and applications*, chapter 4: generator, free energy, spectral
  gap.
- Scharfetter, Gummel (1969), *Large-signal analysis of a silicon Read diode oscillator*; Chang, Cooper
  (1970), *A practical difference scheme for Fokker–Planck equations*: (3.19).
- Jensen (1953), *Markoff chains as an aid in the study of Markoff processes*: (3.21).
- Richardson (1911), *The approximate arithmetical solution by finite differences of physical problems*:
  (3.22).
- Kramers (1940), *Brownian motion in a field of force and the diffusion model of chemical reactions*:
  (3.28); the review of Hänggi, Talkner, Borkovec (1990), *Reaction-rate theory: fifty years after Kramers*.
- Jordan, Kinderlehrer, Otto (1998), *The variational formulation of the Fokker–Planck equation*.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: (3.33) is their eq. 13, where the noise $g$ depends on time alone;
  derived from Fokker–Planck in appendix D.1.
- Lai, Takida, Murata, Uesaka, Mitsufuji, Ermon (2023), *FP-Diffusion: improving score-based diffusion
  models by enforcing the underlying score Fokker–Planck equation*.
"""
