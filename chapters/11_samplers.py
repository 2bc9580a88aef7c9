# %% [markdown]
"""
# 11. Samplers: few steps, small errors

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/11_samplers.ipynb)

*Ten ways to follow one flow: where their errors come from, what a call to the network buys, and which bugs
hide*

Suppose the network were perfect. Suppose also that nothing is random: the flow of chapter 10 takes each noisy
point to one clean point, and we know which. Then there is nothing left to learn and nothing left to guess.
Eight calls to the denoiser are allowed. Here is what four well-known samplers make of them.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from itertools import pairwise

import torch

from diffedu import DDIM, DEIS, EDM, EPS, VP, AdamsBashforth, Ancestral, Churn, CorrectedDEIS, DenoisingLoss
from diffedu import (
    X0,
    DiscreteDDPM,
    DPMSolverPP2M,
    Euler,
    GaussianMixture,
    Heun,
    LogNormalSigma,
    NetworkDenoiser,
)
from diffedu import Preconditioned, V, edm_prediction, edm_scalings, eps_hat, leading_times
from diffedu import optimised_times, power_times, quadratic_times, sample, scaled_linear_betas, seeded
from diffedu import (
    time_at_half_log_snr,
    trailing_times,
    trajectory,
    uniform_half_log_snr_times,
    uniform_times,
    velocity,
    weight_between,
    with_zero,
)
from diffedu.evaluate import energy_distance, floor
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.nn import MLP
from diffedu.sampling.multistep import lagrange_integrals
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, SCORE, VELOCITY, panels, square
from diffedu.show.widgets import SamplerRace
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = (
    "cuda" if torch.cuda.is_available() else "cpu"
)  # for training; the flows below are followed on the CPU
double = torch.float64


def number(value):
    return torch.tensor(value, dtype=double)


# The data of this chapter: six thin leaves of different weight, and their exact denoiser on the VP path.
angle, radius = number([0.4, 1.5, 2.5, 3.6, 4.5, 5.7]), number([1.3, 0.5, 1.6, 0.9, 1.5, 1.1])
along = torch.stack([angle.cos(), angle.sin()], dim=1)
frame = torch.stack([along, torch.stack([-along[:, 1], along[:, 0]], dim=1)], dim=2)
thin = frame @ torch.diag(number([0.05, 0.25]) ** 2) @ frame.mT
leaves = GaussianMixture(number([0.20, 0.10, 0.20, 0.15, 0.20, 0.15]), radius[:, None] * along, thin)
path = VP()
exact = leaves.denoiser(path)


# %%
def true_end(mixture, x, t, s=0.0, steps=300):
    """Where the flow of a mixture takes x, from time t to s: Runge and Kutta's method, in y of (11.9)."""
    a, b = path(number(t)), path(number(s))
    last = b.sigma / b.alpha if s > 0 else number(1e-4)
    levels = torch.linspace(math.log(a.sigma / a.alpha), math.log(last), steps + 1, dtype=double)
    at_level = mixture.denoiser(EDM(t_max=1e4))
    slope = lambda y, u: y - at_level(y, u.exp())  # noqa: E731
    y = x / a.alpha
    for u, w in pairwise(levels):
        h = w - u
        k1 = slope(y, u)
        k2 = slope(y + h / 2 * k1, u + h / 2)
        k3 = slope(y + h / 2 * k2, u + h / 2)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y + h * k3, w))
    return b.alpha * y if s > 0 else at_level(y, last)


B = 512
start = path(number(1.0)).sigma * torch.randn(B, 2, generator=seeded(0), dtype=double)
truth = true_end(leaves, start, 1.0)
doubt = (truth - true_end(leaves, start, 1.0, steps=150)).norm(dim=1)
print(f"the reference is settled to {1e-3:g} for every start, to {1e-6:g} for half: ", end="")
print(bool(doubt.max() < 1e-3 and doubt.median() < 1e-6))


def standard(steps):
    """This chapter's grid unless it says otherwise: equal steps in sqrt(t), the last lands on data."""
    return quadratic_times(path, steps, end=0, dtype=double)


def rms(x):
    return x.square().sum(1).mean().sqrt().item()


four = {
    "Euler": (Euler(), 8),
    "DDIM": (DDIM(), 8),
    "Heun": (Heun(), 4),
    "DPM-Solver++(2M)": (DPMSolverPP2M(), 8),
}
figure, axes = panels(1, 4, width=13.2, height=3.7)
for ax, (name, (solver, steps)) in zip(axes, four.items(), strict=True):
    end = sample(exact, solver, start, standard(steps))
    ax.plot(*torch.stack([truth, end], dim=1).permute(2, 1, 0), color=SCORE, linewidth=0.7, alpha=0.7)
    ax.scatter(*truth.T, s=5, color=NOISE, linewidths=0, zorder=2)
    ax.scatter(*end.T, s=5, color=DATA, linewidths=0, zorder=3)
    square(ax, 2.5, ylabel="$x_2$" if name == "Euler" else "")
    off = (end - truth).norm(dim=1)
    ax.set_title(f"{name}\nrms error {rms(end - truth):.2f}, median {off.median():.3f}", fontsize=11)
    print(f"{name:17s} {steps} steps: rms error {rms(end - truth):.2f}, median {off.median():.3f}")
figure

# %% [markdown]
r"""
*Grey: where the flow ends. Blue: where the sampler ends, from the same start. Orange: the error, start by
start. Most starts end almost right; a few end on another leaf. The four differ in nothing but arithmetic.*

**Before you read on.** Three of the four take eight steps, Heun takes four, and all pay for the same eight
calls. Two of them, Euler and DDIM, freeze something for the length of a step; the other two remember or look
ahead. Guess: with *twice* the calls, by which factor does each error shrink? And with one call only,
which of the four would you take? (Section 11.7 answers.)

**You will be able to**
- split the error of any sampler into local errors, and read its order from a plot;
- derive Heun, Adams–Bashforth, DDIM, DEIS, DPM-Solver++(2M) and a corrector, on grids of unequal steps;
- say what an exponential integrator solves exactly, and when that helps;
- choose a grid, and compute a better one;
- say when fresh noise ("churn") repairs and when it harms;
- scale a network's inputs and outputs by EDM's rule, on any path;
- find the bugs that samplers really have. Most are in the grid.

**You need** chapter 10 (the probability-flow equation), sections 8.3 and 8.7 (DDIM), chapter 9
(predictions); Taylor series. **Time**: 70 minutes to read, under a minute to run, three hours with the
exercises.

## 11.1 What one step gets wrong

The flow of chapter 10 moves a point with the velocity that the denoiser implies:

$$\frac{dx}{dt} = u(x, t), \qquad
u = \dot\alpha\,\hat x_0(x,t) + \dot\sigma\,\hat\varepsilon(x,t) = f x - \tfrac12 g^2\,\nabla\log p_t(x).
\tag{11.1}$$

Times run from $t$ down to $s < t$, and $h = s - t$ is **negative**. Euler's method takes the velocity at the
beginning for that of the whole step:

$$x_s = x_t + h\,u(x_t, t). \tag{11.2}$$
<!-- definition 11.2: Euler's step -->
<!-- code 11.2: diffedu.sampling.ode.Euler -->

What does it miss? Follow the true path $x(\cdot)$ through $x_t$, and expand it:
$x(s) = x_t + h\,\dot x + \tfrac12 h^2\,\ddot x + \dots$ The first two terms are Euler's. So the error of one
step that starts *on* the path, the **local error**, is

$$\ell = x_{\text{Euler}} - x(s) = -\tfrac12 h^2\,\ddot x(t) + O(h^3). \tag{11.3}$$

Not the size of the velocity matters, but how fast it changes along the path. A straight path at constant
speed costs nothing, in one step.

To check such statements we want a path that is known. For data $\mathcal N(0, v)$ the marginal at $t$ is
Gaussian with variance $S^2 = \alpha^2 v + \sigma^2$, the equation (11.1) is linear in $x$, and its solution
keeps a point at the same number of standard deviations:

$$x(s) = \frac{S_s}{S_t}\; x(t), \qquad S_t^2 = \alpha_t^2\,v + \sigma_t^2. \tag{11.4}$$
"""

# %%
v = 0.3
line = GaussianMixture.single(torch.zeros(1, dtype=double), v * torch.eye(1, dtype=double))
on_line = line.denoiser(path)


def spread(t):
    c = path(t)
    return (c.alpha**2 * v + c.sigma**2).sqrt()


x = torch.randn(40, 1, generator=seeded(1), dtype=double)
verify("11.4", true_end(line, x, 0.9, 0.2), spread(number(0.2)) / spread(number(0.9)) * x, rtol=1e-7)

t = number(0.5)
x = start[:100].clone().requires_grad_()
(slope,) = torch.autograd.grad(leaves.noised(path, t).log_prob(x).sum(), x)
c = path(t)
verify(
    "11.1",
    velocity(exact, x.detach(), t),
    c.drift * x.detach() - c.diffusion_squared / 2 * slope,
    over="coordinates",
)

time = t.clone().requires_grad_()
(first,) = torch.autograd.grad(spread(time), time, create_graph=True)
(second,) = torch.autograd.grad(first, time)
one = torch.ones(1, 1, dtype=double)


def local_error(solver, h, t):
    """Error of one step of size h that starts on the path through 1, at time t."""
    s = t + h
    x_s, _ = solver.step(on_line, one, t, s, solver.init(one), one)
    return (x_s - spread(s) / spread(t)).item()


# Divided by h^2 the local error tends to a limit; two values and a straight line through them reach it.
ratio = [local_error(Euler(), h, t) / h**2 for h in (-1e-3, -2e-3)]
verify("11.3", 2 * ratio[0] - ratio[1], -0.5 * second.item() / spread(t).item(), rtol=1e-4)

# %% [markdown]
r"""
### From local to global
A run of $N$ steps makes $N$ local errors, and each is carried to the end by the flow. Let $\Phi_{k\to N}$
be the true flow from time $t_k$ to the last, $x_k$ the computed points. Then

$$x_N - \Phi_{0\to N}(x_0) = \sum_{k=1}^{N} \Big[\Phi_{k\to N}(x_k) - \Phi_{k-1\to N}(x_{k-1})\Big]
\;\overset{\text{linear flow}}{=}\; \sum_{k=1}^{N} \frac{S_{t_N}}{S_{t_k}}\;\ell_k . \tag{11.5}$$

The sum telescopes: everything cancels but the two ends. Each bracket is *one* local error
$\ell_k = x_k - \Phi_{k-1\to k}(x_{k-1})$, seen from the end of the flow. Picture it: from every computed
point a true path fans out, and the ends of neighbouring paths are one local error apart.
"""

# %%
times = uniform_times(path, 12, start=0.9, end=0.1, dtype=double)
states = [x for _, x in trajectory(on_line, Euler(), one, times)]
carried = 0.0
for k in range(1, len(times)):
    h = times[k] - times[k - 1]
    carried += spread(times[-1]) / spread(times[k]) * local_error(Euler(), h, times[k - 1]) * states[k - 1]
verify("11.5", states[-1] - spread(times[-1]) / spread(times[0]) * one, carried)

pair = GaussianMixture.isotropic(number([[-1.0], [1.2]]), 0.15)
times = uniform_times(path, 6, start=0.6, end=0.02, dtype=double)
walk = torch.stack([x[0, 0] for _, x in trajectory(pair.denoiser(path), Euler(), number([[0.25]]), times)])
figure, (left, right) = panels(1, 2, width=12.5, height=4.0)
for k in range(len(times) - 1):
    fine = torch.linspace(times[k], times[-1], 60, dtype=double)
    curve = torch.stack(
        [x[0, 0] for _, x in trajectory(pair.denoiser(path), Heun(), walk[k].reshape(1, 1), fine)]
    )
    left.plot(fine, curve, color=NOISE if k else INK, linewidth=1.2 if k else 2)
left.plot(times, walk, color=SCORE, marker="o", linewidth=1.4)
left.set(xlim=(0.62, 0), xlabel="time $t$ (the data is on the right)", ylabel="$x$")
left.set_title("each computed point has a true path of its own")
left.text(0.17, 0.25, "Euler, 6 steps", color=SCORE)
left.text(0.262, 0.62, "true path\nof the start", color=INK)
steps = -torch.logspace(-2.7, -0.7, 9, dtype=double)
for name, solver, color, power in (
    ("Euler", Euler(), SCORE, 2),
    ("DDIM", DDIM(), DATA, 2),
    ("Heun", Heun(), VELOCITY, 3),
):
    local = number([abs(local_error(solver, h, number(0.5))) for h in steps])
    right.plot(-steps, local, color=color, marker="o", markersize=4)
    fitted = torch.log(local[1] / local[0]) / torch.log(steps[1] / steps[0])
    print(f"{name:6s} local error grows like h to the power {fitted:.1f}")
    assert abs(fitted - power) < 0.1
    right.text(
        *{"Euler": (0.0021, 1.5e-5), "DDIM": (0.0021, 4.4e-7), "Heun": (0.0042, 1.8e-8)}[name],
        name,
        color=color,
    )
right.set(
    xscale="log", yscale="log", xlabel="size of the step $|h|$", ylabel="local error", xlim=(1.7e-3, 0.25)
)
right.set_title("local error of one step (Gaussian data)")
figure

# %% [markdown]
r"""
*Left: the fan. Orange, Euler's points on a flow with two clusters; from each, a grey true path to the end.
The total error reaches from the end of the black path to the last orange point: the sum of the gaps, each
with its sign. (Here the last step makes up for most of what the others lost.) Right: local errors against the
size of the step. Slopes 2 and 3.*

Now count. If local errors are $O(h^{p+1})$ and there are $N \propto 1/|h|$ of them, then their sum is of
the order $N\,|h|^{p+1} \propto |h|^p$, as long as the flow does not tear paths apart without bound. That
number is the **order**:

$$\text{local error} \sim |h|^{p+1}\quad\Longrightarrow\quad \text{global error} \approx C\,N^{-p} .
\tag{11.6}$$
<!-- definition 11.6: the order p of a method: minus the slope of log(error) over log(N) -->

Order 1: twice the steps, half the error. Order 2: a quarter. That is a promise about large $N$. The
constant $C$ is not promised anything about, and section 11.7 shows that at few calls it decides.

## 11.2 Look ahead, or look back

Euler's slope is that of the beginning. The mean of the slopes at both ends would be better: a trapezoid
instead of a rectangle. The end is not known, but Euler's guess of it will do, since the guess is off by
$O(h^2)$ and its slope is multiplied by another $h$. That is **Heun's** method:

$$\tilde x_s = x_t + h\,u(x_t,t), \qquad x_s = x_t + \tfrac h2\big[u(x_t, t) + u(\tilde x_s, s)\big].
\tag{11.7}$$
<!-- definition 11.7: Heun's step; asserted equal to the package's below -->
<!-- code 11.7: diffedu.sampling.ode.Heun -->

Order 2, at two calls a step. EDM uses it. Where the last step lands on $\sigma = 0$ the velocity is not
defined, and Euler's step stands; a run of $N$ steps then takes $2N - 1$ calls.

The alternative costs nothing: **remember**. At $t$ we know the velocity there, and also the one at the
previous time $r > t$. Draw the line through both and integrate it over the coming step. With $h = s - t$ and
$h_- = t - r$, the line is $u_t + \frac{\tau - t}{h_-}(u_t - u_r)$, and the integral of $\tau - t$ from $t$ to
$s$ is $h^2/2$. So

$$x_s = x_t + w_0\,u_t + w_1\,u_r, \qquad w_0 = h + \frac{h^2}{2h_-}, \qquad w_1 = -\frac{h^2}{2h_-}.
\tag{11.8}$$
<!-- code 11.8: diffedu.sampling.multistep.AdamsBashforth -->

This is **Adams–Bashforth** of order 2. For equal steps the weights are $\tfrac32 h$ and $-\tfrac12 h$; you
find these two numbers in many codes. They are *wrong* on every grid with unequal steps, and nearly all
grids of this field are unequal. With more memory: a parabola, order 3, and so on. The first step has no
past. It is an Euler step, and one single local error of size $h^2$ does not spoil a global error of $h^2$.
"""


# %%
def heun(denoiser, x, times):
    for t, s in pairwise(times):
        u = velocity(denoiser, x, t)
        ahead = x + (s - t) * u
        x = ahead if s == 0 else x + (s - t) / 2 * (u + velocity(denoiser, ahead, s))
    return x


def adams_bashforth(denoiser, x, times):
    before = None
    for t, s in pairwise(times):
        u, h = velocity(denoiser, x, t), s - t
        step = h * u if before is None else h * u + h**2 / (2 * before[1]) * (u - before[0])
        x, before = x + step, (u, h)  # the step is kept, not computed again
    return x


times = standard(9)
assert torch.allclose(heun(exact, start, times), sample(exact, Heun(), start, times), atol=1e-12)
assert torch.allclose(
    adams_bashforth(exact, start, times), sample(exact, AdamsBashforth(2), start, times), atol=1e-12
)
print("both loops equal diffedu's Heun and AdamsBashforth(2), on unequal steps")

t, s, r = number(0.5), number(0.42), number(0.65)
h, before = s - t, t - r
w = lagrange_integrals(torch.stack([t, r]), t, s)  # by a linear system of moments
verify("11.8", w, [(h + h**2 / (2 * before)).item(), (-(h**2) / (2 * before)).item()], over="weights")

# %% [markdown]
r"""
Does the promise hold? All solvers of this chapter on one linear flow (one Gaussian) and on the leaves, from
$t = 0.9$ to $0.1$, in `float64`: the slope of the error over the number of steps, fitted. (Five of the
names are explained in the next two sections.)
"""

# %%
solvers = {
    "Euler": (Euler(), 1),
    "DDIM": (DDIM(), 1),
    "Heun": (Heun(), 2),
    "AB2": (AdamsBashforth(2), 2),
    "DEIS2": (DEIS(2), 2),
    "DPM++2M": (DPMSolverPP2M(), 2),
    "corrected DDIM": (CorrectedDEIS(1), 2),
    "AB3": (AdamsBashforth(3), 3),
    "DEIS3": (DEIS(3), 3),
    "corrected DEIS2": (CorrectedDEIS(2), 3),
}
colors = {
    "Euler": SCORE,
    "DDIM": DATA,
    "Heun": VELOCITY,
    "AB2": EXTRA,
    "DEIS2": "#56B4E9",
    "DPM++2M": GUIDED,
    "corrected DDIM": INK,
    "AB3": "#A36A00",
    "DEIS3": "#004C73",
    "corrected DEIS2": NOISE,
}


def fitted_order(errors, counts):
    """Minus the slope of the least-squares line through log(error) over log(count)."""
    a, b = number(counts).log(), number(errors).log()
    return -(((a - a.mean()) * (b - b.mean())).sum() / (a - a.mean()).square().sum()).item()


oval = GaussianMixture.single(number([0.4, -0.3]), number([[0.6, 0.2], [0.2, 0.3]]))
flows = {"linear (one Gaussian)": oval, "nonlinear (leaves)": leaves}
x = path(number(0.9)).sigma * torch.randn(32, 2, generator=seeded(2), dtype=double)
measured = {}
print("fitted order           linear  nonlinear   design")
for flow, mixture in flows.items():
    goal = true_end(mixture, x, 0.9, 0.1, steps=200)
    for name, (solver, order) in solvers.items():
        counts = (90, 130, 190) if order == 3 else (50, 75, 110)
        errors = []
        for n in counts:
            grid = uniform_times(path, n, start=0.9, end=0.1, dtype=double)
            errors.append((sample(mixture.denoiser(path), solver, x, grid) - goal).norm(dim=1).mean().item())
        measured[flow, name] = counts, errors, fitted_order(errors, counts)
for name, (_, order) in solvers.items():
    found = [measured[flow, name][2] for flow in flows]
    assert all(abs(p - order) < 0.15 for p in found), (name, found)
    print(f"{name:20s} {found[0]:8.1f} {found[1]:9.1f} {order:9d}")
print("all within 0.15 of the design")
euler, ddim = (measured["linear (one Gaussian)", name][1][-1] for name in ("Euler", "DDIM"))
assert 0.25 < euler / ddim < 0.4  # "a third", below

# %%
figure, axes = panels(1, 2, width=12.5, height=4.4, share=True)
for ax, flow in zip(axes, flows, strict=True):
    for name, color in colors.items():
        counts, errors, _ = measured[flow, name]
        ax.plot(counts, errors, color=color, marker="o", markersize=4)
        if flow != "linear (one Gaussian)":
            height = {
                "DDIM": 1.25e-2,
                "Euler": 5.6e-3,
                "DEIS2": 1.4e-3,
                "AB2": 8.4e-4,
                "corrected DDIM": 5e-4,
                "DPM++2M": 3e-4,
                "Heun": 1.6e-4,
                "corrected DEIS2": 3.6e-5,
                "AB3": 2e-5,
                "DEIS3": 1.1e-5,
            }
            ax.text(1.08 * counts[-1], height[name], name, color=color, fontsize=9, va="center")
    ax.set(xscale="log", yscale="log", title=flow, xlabel="number of steps $N$", xlim=(45, 480))
    ax.set_xticks([50, 75, 110, 190], ["50", "75", "110", "190"])
    ax.minorticks_off()
axes[0].set_ylabel("mean error at the end, data units")
figure

# %% [markdown]
r"""
*Three families of parallel lines: order 1 above, order 2, and order 3 (steepest). The constants within a
family differ too: on the linear flow Euler's is a third of DDIM's.*

## 11.3 The part that can be solved exactly

Look at (11.1) once more: $dx/dt = f x + \dots$ One piece is linear in $x$, its coefficient is a known
function of time, and it can be large (near the noisy end of VP, $f = -10$). A method that steps through it
pays for it. A method that solves it exactly does not. The trick is two hundred years old, *variation of
constants*: measure $x$ in units of the solution of the linear piece alone. That solution is $\alpha$, since
$f = \dot\alpha/\alpha$. So let $y = x/\alpha$, and let $\rho = \sigma/\alpha$ be the clock. By the quotient
rule, then $\dot x = \dot\alpha\hat x_0 + \dot\sigma\hat\varepsilon$ and $x = \alpha\hat x_0 +
\sigma\hat\varepsilon$,

$$\frac{d}{dt}\frac{x}{\alpha} = \frac{\dot x}{\alpha} - \frac{\dot\alpha\, x}{\alpha^2}
= \Big(\frac{\dot\sigma}{\alpha} - \frac{\dot\alpha\,\sigma}{\alpha^2}\Big)\,\hat\varepsilon
= \dot\rho\,\hat\varepsilon
\qquad\Longrightarrow\qquad \frac{dy}{d\rho} = \hat\varepsilon. \tag{11.9}$$

The $\hat x_0$ have cancelled; no linear term is left, and no trace of the path. (This is (8.17), from
another side. The function `true_end` above solves it, with $\log\rho$ as the clock.) Freeze
$\hat\varepsilon$ for a step:

$$\frac{x_s}{\alpha_s} = \frac{x_t}{\alpha_t} + \int_{\rho_t}^{\rho_s}\hat\varepsilon\,d\rho
\;\approx\; \frac{x_t}{\alpha_t} + (\rho_s - \rho_t)\,\hat\varepsilon(x_t, t). \tag{11.10}$$
<!-- code 11.10: diffedu.sampling.ancestral.DDIM -->

**This is DDIM: an exponential Euler method, order 1.** The name comes from the factor
$\alpha_s/\alpha_t = \exp\int f\,dt$ before $x_t$ once you multiply by $\alpha_s$.

The same game can be played with $\sigma$. Measure $x$ in units of $\sigma$, with the clock
$\lambda = \log(\alpha/\sigma)$; note $d(\alpha/\sigma) = e^{\lambda}\,d\lambda$:

$$\frac{x_s}{\sigma_s} = \frac{x_t}{\sigma_t}
+ \int_{\lambda_t}^{\lambda_s} e^{\lambda}\;\hat x_0\; d\lambda .
\tag{11.11}$$

Now the *clean guess* is what has to be guessed ahead, with a weight that is known and stays inside the
integral. Freeze it, and integrate $e^\lambda$ exactly, with $h = \lambda_s - \lambda_t$, now **positive**,
and $\sigma_s e^{\lambda_s} = \alpha_s$:

$$x_s = \frac{\sigma_s}{\sigma_t}\,x_t + \alpha_s\,\big(1 - e^{-h}\big)\,\hat x_0(x_t, t). \tag{11.12}$$

**Before you read on.** (11.10) freezes the noise, (11.12) the clean point. Which of the two methods is
better?
"""

# %%
t = torch.linspace(0.1, 0.95, 50, dtype=double)
time = t.clone().requires_grad_()
c = path(time)
ratio = spread(time) / c.alpha  # y along the true path through the point S: y = S / alpha
(dy,) = torch.autograd.grad(ratio.sum(), time, retain_graph=True)
(drho,) = torch.autograd.grad((c.sigma / c.alpha).sum(), time)
verify("11.9", dy / drho, eps_hat(on_line, spread(t)[:, None], t)[:, 0], over="times")

t, s = number(0.6), number(0.35)
c, d = path(t), path(s)
gain, guess = eps_hat(exact, start, t), exact(start, t)
verify(
    "11.10",
    DDIM().step(exact, start, t, s, (), start)[0],  # denoise, then noise again
    d.alpha * (start / c.alpha + (d.sigma / d.alpha - c.sigma / c.alpha) * gain),
    over="coordinates",
)
lam = torch.linspace(c.half_log_snr, d.half_log_snr, 2001, dtype=double)
when = time_at_half_log_snr(path, lam)
inside = lam.exp() * on_line(spread(when)[:, None], when)[:, 0]  # along the true path through S
width = (lam[1] - lam[0]) / 3  # Simpson's rule
integral = width * (inside[0] + 4 * inside[1::2].sum() + 2 * inside[2:-1:2].sum() + inside[-1])
verify("11.11", spread(s) / d.sigma - spread(t) / c.sigma, integral, rtol=1e-8)
h = d.half_log_snr - c.half_log_snr
verify(
    "11.12",
    d.sigma / c.sigma * start + d.alpha * (1 - torch.exp(-h)) * guess,
    DDIM().step(exact, start, t, s, (), start)[0],
    over="coordinates",
)

# %% [markdown]
r"""
Neither: **they are the same method**. For one step, with both guesses at $t$, the two formulas agree to
rounding. With $\hat x_0$ and $\hat\varepsilon$ frozen, $x_s = \alpha_s\hat x_0 + \sigma_s\hat\varepsilon$,
which is how chapter 8 found DDIM. The two part ways only when something is extrapolated.

When is freezing exact? When the posterior mean does not change along the path: for data that is one point.
There DDIM arrives in one step, from anywhere. Euler in $t$ does not. That is the case in which "solve the
linear part" pays in full. And in general? What is worth freezing is what changes little. Look at it.
"""

# %%
point = GaussianMixture.isotropic(number([[0.7, -0.4]]), 0.0)
for name, solver in (("DDIM", DDIM()), ("Euler", Euler())):
    found = [rms(sample(point.denoiser(path), solver, start, standard(n)) - point.means) for n in (1, 5, 20)]
    print(f"data in one point, 1, 5, 20 steps: {name:5s} rms error", "  ".join(f"{e:.2f}" for e in found))
assert rms(sample(point.denoiser(path), DDIM(), start, standard(1)) - point.means) < 1e-10

few = start[[3, 8, 13, 20, 31, 44]]
grid = torch.cat([torch.linspace(1, 0.02, 400, dtype=double), torch.logspace(-1.75, -3, 60, dtype=double)])
along_path = torch.stack([x for _, x in trajectory(exact, Heun(), few, grid)])
c = path(grid)
seen = {
    "velocity $u$ over $t$": (grid, [velocity(exact, x, t) for x, t in zip(along_path, grid, strict=True)]),
    r"$\hat\varepsilon$ over $\rho$": (
        c.sigma / c.alpha,
        [eps_hat(exact, x, t) for x, t in zip(along_path, grid, strict=True)],
    ),
    r"$\hat x_0$ over $\lambda$": (
        c.half_log_snr,
        [exact(x, t) for x, t in zip(along_path, grid, strict=True)],
    ),
}
figure, axes = panels(1, 3, width=13, height=3.7)
for ax, (title, (clock, value)), color in zip(axes, seen.items(), (VELOCITY, NOISE, DATA), strict=True):
    ax.plot(clock, torch.stack(value)[:, :, 0], color=color, linewidth=1.3)
    ax.set_title(title)
axes[0].set(xlim=(1, 0), xlabel="time $t$", ylabel="first coordinate, six paths", ylim=(-6, 6))
axes[1].set(xlim=(150, 0), xlabel=r"noise-to-signal ratio $\rho$")
axes[2].set(xlim=(-5.1, 4.5), xlabel=r"half-log-SNR $\lambda$")
figure

# %% [markdown]
r"""
*The same six true paths, in three clocks; data on the right in each. In $\rho$ the noise is flat for most
of the clock, and all that happens is squeezed into the last few percent. In $\lambda$ the clean guess moves
in the middle only: a step from the mean of the data to one leaf.*

No clock is best for every data set. On the linear flow of section 11.2 Euler in $t$ was *nearer* than DDIM,
and on the leaves it is, too (the first figure). "DDIM beats Euler", which one reads often, is seen here for
data in one point only. On EDM's path $\alpha = 1$, $\rho = t$, and the two are the same method. What
carries over is not the ranking but the question: *in which variables is the thing that I freeze nearly
constant?*

## 11.4 DEIS and DPM-Solver++(2M)

Both add memory to section 11.3. **DEIS**, in the form that this book uses, is Adams–Bashforth in the
variables of (11.9). There the slope of $y$ over $\rho$ is $\hat\varepsilon$, so draw a line through the
last two noises and integrate it over the step. With $h = \rho_s - \rho_t$ and $h_- = \rho_t - \rho_r$ the
weights are those of (11.8):

$$\frac{x_s}{\alpha_s} = \frac{x_t}{\alpha_t} + \Big(h + \frac{h^2}{2h_-}\Big)\,\hat\varepsilon_t
- \frac{h^2}{2h_-}\,\hat\varepsilon_r .$$

The first step has no past, and is DDIM's; `DEIS(1)` is DDIM throughout. The whole algorithm:
"""


# %%
def deis(denoiser, x, times):
    before = None
    for t, s in pairwise(times):
        c, d = denoiser.path(t), denoiser.path(s)
        noise, h = eps_hat(denoiser, x, t), d.sigma / d.alpha - c.sigma / c.alpha
        step = h * noise if before is None else h * noise + h**2 / (2 * before[1]) * (noise - before[0])
        x, before = d.alpha * (x / c.alpha + step), (noise, h)
    return x


times = standard(12)
assert torch.allclose(deis(exact, start, times), sample(exact, DEIS(2), start, times), atol=1e-10)
print("the loop equals diffedu's DEIS(2), on unequal steps")

# %% [markdown]
r"""
**DPM-Solver++(2M)** extrapolates the clean guess, linearly in $\lambda$, inside (11.11). Step by step.
Let $r$ be the previous time, $h_- = \lambda_t - \lambda_r$, and draw the line

$$\hat x_0(\lambda) \approx \hat x_0^{(t)} + (\lambda - \lambda_t)\; m, \qquad
m = \frac{\hat x_0^{(t)} - \hat x_0^{(r)}}{h_-}. \tag{11.13}$$
<!-- definition 11.13: the line through two clean guesses, in lambda -->

The constant part gives (11.12). The linear part needs one integral more, by parts:

$$\sigma_s\int_{\lambda_t}^{\lambda_s} e^{\lambda}\,(\lambda - \lambda_t)\,d\lambda
= \sigma_s\big[h\,e^{\lambda_s} - (e^{\lambda_s} - e^{\lambda_t})\big]
= \alpha_s\,\big(h - 1 + e^{-h}\big). \tag{11.14}$$

One could stop here; that is the exponential Adams–Bashforth method, order 2. The published method does one
thing more. Pull the factor $1 - e^{-h}$ of (11.12) out:

$$\frac{h - 1 + e^{-h}}{1 - e^{-h}} = \frac{h}{1 - e^{-h}} - 1
= \frac h2 + \frac{h^2}{12} - \frac{h^4}{720} + \dots \tag{11.15}$$

and keep $h/2$. The dropped term costs $\alpha_s(1-e^{-h})\,\tfrac{h^2}{12}\,m = O(h^3)$ per step: as much
as a second-order method may lose. What remains is DDIM with another clean guess in it:

$$x_s = \frac{\sigma_s}{\sigma_t}\,x_t + \alpha_s\,\big(1 - e^{-h}\big)\Big[\hat x_0^{(t)} +
\frac{h}{2\,h_-}\,\big(\hat x_0^{(t)} - \hat x_0^{(r)}\big)\Big]. \tag{11.16}$$
<!-- code 11.16: diffedu.sampling.multistep.DPMSolverPP2M -->

On the step that lands on $\sigma = 0$, $h$ is infinite and the line worthless; the step is DDIM's. It is the
one place where the formula must be left.
"""

# %%
h = number([0.05, 0.3, 1.0, 2.5])
start_of, end_of = path(number(0.6)), path(number(0.35))
lam = torch.linspace(0, 1, 2001, dtype=double)[:, None] * h  # lambda - lambda_t; take lambda_t = 0
inside = lam.exp() * lam
simpson = h / 2000 / 3 * (inside[0] + 4 * inside[1::2].sum(0) + 2 * inside[2:-1:2].sum(0) + inside[-1])
verify("11.14", torch.exp(-h) * simpson, h - 1 + torch.exp(-h), rtol=1e-8, over="steps")  # alpha_s = 1
small = number([0.02, 0.05, 0.1])
series = small / 2 + small**2 / 12 - small**4 / 720
verify("11.15", (small + torch.expm1(-small)) / -torch.expm1(-small), series, rtol=1e-8, over="steps")


def dpm_solver_pp_2m(denoiser, x, times, published=True):
    before = None
    for t, s in pairwise(times):
        c, d = denoiser.path(t), denoiser.path(s)
        x0_hat, h = denoiser(x, t), d.half_log_snr - c.half_log_snr
        guess = x0_hat
        if before is not None and s > 0:
            share = h / 2 if published else h / -torch.expm1(-h) - 1
            guess = x0_hat + share / before[1] * (x0_hat - before[0])
        x = d.sigma / c.sigma * x + d.alpha * (-torch.expm1(-h)) * guess
        before = x0_hat, h
    return x


times = standard(12)
verify(
    "11.16",
    dpm_solver_pp_2m(exact, start, times),
    sample(exact, DPMSolverPP2M(), start, times),
    over="coordinates",
)
print("steps        published (11.16)   exact integral (11.14):   rms error on the leaves")
for n in (5, 10, 20, 50):
    both = [rms(dpm_solver_pp_2m(exact, start, standard(n), which) - truth) for which in (True, False)]
    print(f"{n:5d} {both[0]:18.3f} {both[1]:18.3f}")

# %% [markdown]
r"""
Here the exact integral is nearer at five to twenty steps, and the published shortcut at fifty. Both are of
order 2, and which constant is smaller depends on data and grid.

## 11.5 Correctors: a second look for nothing

At the end of each step the next step's evaluation is due anyway. At that moment we know the slope at *both*
ends of the step just made, and so can do it again with the trapezoid. In $y$ and $\rho$, from $r$ to $t$:

$$\text{predict: } y_t^{*} = y_r + (\rho_t - \rho_r)\,\hat\varepsilon_r, \qquad
\text{correct: } y_t = y_r
+ \frac{\rho_t - \rho_r}{2}\,\big[\hat\varepsilon_r + \hat\varepsilon(y_t^{*}, t)\big].
\tag{11.17}$$
<!-- definition 11.17: DDIM, corrected; asserted equal to the package's below -->
<!-- code 11.17: diffedu.sampling.multistep.CorrectedDEIS -->

The slope at $t$ was evaluated at the uncorrected point $y_t^*$, and is **not** evaluated again: it serves
the corrector and then the next predictor. One call a step, order 2 instead of 1. The same with the line of
DEIS as predictor and a parabola as corrector: order 3. This is the idea of UniPC; its weights are others.
"""


# %%
def corrected_ddim(denoiser, x, times):
    before = None
    for t, s in pairwise(times):
        c, d = denoiser.path(t), denoiser.path(s)
        rho, rho_s = c.sigma / c.alpha, d.sigma / d.alpha
        noise = eps_hat(denoiser, x, t)  # at the predicted point
        y = x / c.alpha
        if before is not None:
            y_r, rho_r, noise_r = before
            y = y_r + (rho - rho_r) / 2 * (noise_r + noise)  # the last step, again
        before = y, rho, noise
        x = d.alpha * (y + (rho_s - rho) * noise)  # the next one
    return x


verify(
    "11.17",
    corrected_ddim(exact, start, standard(12)),
    sample(exact, CorrectedDEIS(1), start, standard(12)),
    over="coordinates",
)
print("rms error, calls            10       20       50")
for name in ("DDIM", "corrected DDIM", "DEIS2", "corrected DEIS2"):
    row = [rms(sample(exact, solvers[name][0], start, standard(n)) - truth) for n in (10, 20, 50)]
    print(f"{name:22s}" + "".join(f"{e:9.3f}" for e in row))

# %% [markdown]
r"""
The correction pays as soon as the prediction is half-way decent. At five calls it does harm, as the
survey below will show: a slope at a bad point is a bad slope, and nobody asks again.

## 11.6 Most bugs are in the grid

The formulas above are short, and mistakes in them show at once. Sampler bugs on record elsewhere are of
another kind: the formula is right and receives the wrong times. Such code runs, and often draws decent
samples. Six of them, each tried on the leaves (or on one Gaussian, where the answer is known):

1. **The previous step, computed again instead of read.** $h_-$ taken equal to $h$, or recomputed from an
   index. Harmless on equal steps.
2. **A repeated last level.** A grid ends $\dots, \sigma_{\min}, \sigma_{\min}, 0$, since one function
   appended what the next one appended again. The step of length zero costs a call, and divides by zero
   wherever a memory divides by $h_-$.
3. **Index and label disagree.** The network is told the *next* time of the grid: `model[t]` belongs to
   $\bar\alpha_t$.
4. **Starting in the middle.** "Leading" grids of a chain of $T$ begin below $T$, with noise that is pure:
   signal is announced that is not there. "Trailing" ones begin at $T$.
5. **The small chain's $\beta$ for a large step.** When steps are skipped, the variance that a step removes
   is $\beta' = 1 - \bar\alpha_t/\bar\alpha_{\text{prev}}$, and not $\beta_t$ of the thousand.
6. **Noise, noised.** Section 11.9.
"""


# %%
def careless_2m(denoiser, x, times):
    """Bug 1: (11.16) with h in the place of the previous step."""
    before = None
    for t, s in pairwise(times):
        c, d = denoiser.path(t), denoiser.path(s)
        x0_hat, h = denoiser(x, t), d.half_log_snr - c.half_log_snr
        guess = x0_hat if before is None or s == 0 else x0_hat + 0.5 * (x0_hat - before)
        x, before = d.sigma / c.sigma * x + d.alpha * (-torch.expm1(-h)) * guess, x0_hat
    return x


def smooth(n):
    return power_times(path, n, 2.0, start=0.9, end=0.05, dtype=double)


def jagged(n):
    """Long and short steps in turn."""
    grid = smooth(n)
    grid[1:-1:2] += 0.4 * (grid[2::2] - grid[1:-1:2])
    return grid


x = path(number(0.9)).sigma * torch.randn(32, 2, generator=seeded(2), dtype=double)
goal = true_end(leaves, x, 0.9, 0.05, steps=300)
counts = (40, 80, 160)
orders = {}
for name, run in (("read      ", dpm_solver_pp_2m), ("recomputed", careless_2m)):
    for grid in (smooth, jagged):
        errors = [(run(exact, x, grid(n)) - goal).norm(dim=1).mean().item() for n in counts]
        orders[name, grid] = fitted_order(errors, counts)
    print(f"1 previous step {name}: order {orders[name, smooth]:.1f} on a smooth grid,", end=" ")
    print(f"{orders[name, jagged]:.1f} with long and short steps in turn")
assert abs(orders["read      ", jagged] - 2) < 0.15
assert abs(orders["recomputed", jagged] - 1) < 0.25

grid = torch.cat([quadratic_times(path, 9, dtype=double), number([path.t_min, 0.0])])  # the last level, twice
early = torch.cat([grid[:5], grid[4:]])  # a repeated level in the middle
print(
    "2 repeated last level, then zero: finite",
    sample(exact, DPMSolverPP2M(), start, grid).isfinite().all().item(),
)
print(
    "  repeated level in the middle:   finite",
    sample(exact, DPMSolverPP2M(), start, early).isfinite().all().item(),
)
try:
    sample(exact, AdamsBashforth(2), start, grid)
except ValueError as error:
    print("  AdamsBashforth refuses it:", str(error).split(":")[0])


class MislabelledDenoiser:
    """Bug 3: answers for the next time of the grid."""

    def __init__(self, times):
        self.path = path
        self.following = dict(pairwise(times.tolist()))

    def __call__(self, x, t):
        s = max(self.following[t.item()], path.t_min)
        return exact(x, number(s))


for n in (20, 80):
    right, wrong = (
        rms(sample(d, DPMSolverPP2M(), start, standard(n)) - truth)
        for d in (exact, MislabelledDenoiser(standard(n)))
    )
    print(f"3 {n:3d} steps of 2M: rms error {right:.3f}; with the next time as label {wrong:.3f}")

chain = DiscreteDDPM(scaled_linear_betas(1000))
one_d = GaussianMixture.single(number([2.0]), 0.25 * torch.eye(1, dtype=double))
known = one_d.denoiser(chain)


def law(step, grid):
    """Mean and standard deviation after affine steps from N(0, 1): no samples, no error bar."""
    mean, variance = number(0.0), number(1.0)
    x, z = number([[0.0], [1.0], [0.0]]), number([[0.0], [0.0], [1.0]])
    for t, s in pairwise(grid):
        shift, at_one, at_noise = step(x, t, s, z)[:, 0]
        gain, kick = at_one - shift, at_noise - shift
        mean, variance = gain * mean + shift, gain**2 * variance + kick**2
    return mean.item(), variance.sqrt().item()


def ddim_step(x, t, s, z):
    return DDIM().step(known, x, t, s, (), z)[0]


def ancestral_step(x, t, s, z):
    return Ancestral().step(known, x, t, s, (), z)[0]


def small_beta_step(x, t, s, z):
    """Bug 5: DDPM's step with beta_t of the thousand, on a grid that skips."""
    c, d, beta = chain(t), chain(s), chain.betas[int(t) - 1]
    x0_hat = known(x, t)
    mean = d.alpha * beta / c.sigma**2 * x0_hat + (1 - beta).sqrt() * d.sigma**2 / c.sigma**2 * x
    return mean + beta.sqrt() * d.sigma / c.sigma * z


print("  one Gaussian, mean 2.00, standard deviation 0.50; 5 or 20 steps out of a thousand:")
for label, step, grid in (
    ("4 trailing grid, 5  ", ddim_step, trailing_times(chain, 5, dtype=double)),
    ("  leading grid, 5   ", ddim_step, leading_times(chain, 5, dtype=double)),
    ("5 beta' = 1-ratio, 20", ancestral_step, trailing_times(chain, 20, dtype=double)),
    ("  beta of the 1000, 20", small_beta_step, trailing_times(chain, 20, dtype=double)),
):
    print(label, "mean {:.2f}, standard deviation {:.2f}".format(*law(step, grid)))

# %% [markdown]
r"""
Bug 1 costs an order, and nothing else shows it: at ten steps the samples are those of a first-order method,
on every plot of samples "a bit blurred". **Test samplers by their fitted order, on unequal steps.** Bugs 4
and 5 are seen by a law that is known exactly. (Bug 5 ends near zero: the last step gives $\hat x_0$ the
weight $\beta_t/\sigma_t^2$ where 1 is due. Bug 3 fades as the grid becomes finer, which is why long chains
hide it.)

## 11.7 Error for each call, and when order lies

Now the race. The same 512 starts for all, the exact end of each as the reference, and errors against
**NFE**, the number of function evaluations, which is what a user pays for. Since the errors of single
starts differ so much, one average will not do: here are the median and the 95th percentile.
"""


# %%
def steps_for(name, nfe):
    """How many steps a solver may take, landing on clean data, with at most this many calls."""
    if name == "Heun":
        return (nfe + 1) // 2
    return nfe - 1 if name in ("AB3", "DEIS3") else nfe  # their first step takes two calls


budget = (3, 5, 7, 10, 20, 40, 80)
race = {
    name: torch.stack(
        [(sample(exact, solver, start, standard(steps_for(name, nfe))) - truth).norm(dim=1) for nfe in budget]
    )
    for name, (solver, _) in solvers.items()
}
shown = ("Euler", "DDIM", "Heun", "AB2", "DPM++2M", "AB3", "corrected DEIS2")
styles = dict(zip(shown, ("-", "-", "-", "--", "-", "--", ":"), strict=True))
figure, axes = panels(1, 2, width=13, height=4.6, share=True)
for ax, (title, pick) in zip(axes, {"median": 0.5, "95th percentile": 0.95}.items(), strict=True):
    for name in shown:
        ax.plot(
            budget,
            race[name].quantile(pick, dim=1),
            color=colors[name],
            linestyle=styles[name],
            marker="o",
            markersize=3.5,
        )
    ax.set(xscale="log", yscale="log", title=title, xlabel="calls to the denoiser (NFE)", xlim=(2.7, 90))
    ax.set_xticks([3, 5, 10, 20, 40, 80], ["3", "5", "10", "20", "40", "80"])
    ax.minorticks_off()
axes[0].set_ylabel("error at the end, data units")
handles = [axes[0].plot([], [], color=colors[n], linestyle=styles[n])[0] for n in shown]
axes[1].legend(handles, shown, frameon=False, fontsize=10, loc="lower left")
figure

# %% [markdown]
r"""
*From the same starts, with the same exact denoiser. Left, the typical start; right, one in twenty is worse
than this. The steep lines of order 3 (AB3 and corrected DEIS2) win on the right-hand side of each panel. On
the left-hand side lines cross, and the ranking by order is turned over.*
"""

# %%
four_names = ("Euler", "DDIM", "Heun", "DPM++2M")
for nfe in (5, 10, 80):
    k = budget.index(nfe)
    ranked = sorted(solvers, key=lambda name: race[name][k].square().mean().item())
    print(
        f"{nfe:2d} calls, by rms error, best first:", ", ".join(f"{n} ({solvers[n][1]})" for n in ranked[:4])
    )
    print(f"   and last: {ranked[-1]} ({solvers[ranked[-1]][1]})")
squares = race["DDIM"][budget.index(20)].square()
lost = squares > 0.3**2
print(
    f"DDIM at 20 calls: {100 * lost.double().mean():.0f} % of the starts are off by more than 0.3;", end=" "
)
print(f"they hold {100 * squares[lost].sum() / squares.sum():.0f} % of the squared error")
for few, twice in ((5, 10), (40, 80)):
    falls = [race[n][budget.index(few)].median() / race[n][budget.index(twice)].median() for n in four_names]
    print(f"from {few:2d} to {twice} calls the median error falls by a factor of:", end=" ")
    print(", ".join(f"{n} {f:.1f}" for n, f in zip(four_names, falls, strict=True)))
single = {n: rms(sample(exact, solvers[n][0], start, standard(1)) - truth) for n in four_names}
print("with one call, rms error:", ", ".join(f"{n} {e:.2f}" for n, e in single.items()))
k5, k80 = budget.index(5), budget.index(80)
assert race["corrected DEIS2"][k5].square().mean() > race["Euler"][k5].square().mean()
assert single["DDIM"] == single["DPM++2M"] > single["Euler"] == single["Heun"]
assert race["corrected DEIS2"][k80].median() < 0.1 * race["Euler"][k80].median()

# %% [markdown]
r"""
(In brackets: the order.) At five calls the corrected method of order 3 is *last*, far behind Euler. A
polynomial through values that lie far apart, drawn beyond its last node, is a bold guess. In the limit the
order decides; at five calls the constants do, and nobody samples in the limit.

The rms error has a story of its own. It is made by few starts, which stand near a ridge between two leaves:
a small error early decides on which side they come down. No order helps such a start before the steps
resolve the ridge. So say which error you report. A sampler that looks bad in rms may be excellent in the
median, and the *distribution* may be good in either case, as a point on the wrong leaf is still a leaf.

Back to the questions of the beginning. Twice the calls halve the error of Euler and DDIM, and divide that
of the others by *up to* four; but from five calls to ten Euler gained more than DPM-Solver++(2M). And with
one call? Then Heun is Euler, and 2M is DDIM, whose single step lands on $\hat x_0$ of pure noise: the mean
of the data, for every start. Euler's single step keeps some of the noise and comes nearer.

## 11.8 Grids

Given the number of steps, where should they be? Three recipes are in use: equal steps in $t$; equal steps
in $\lambda$ (DPM-Solver); and equal steps in a root of the noise level (EDM, with $\kappa = 7$, where they
write $\rho$; our $\rho$ is taken):

$$\rho_i = \Big(\rho_{\max}^{1/\kappa}
+ \tfrac iN\,\big(\rho_{\min}^{1/\kappa} - \rho_{\max}^{1/\kappa}\big)\Big)^{\kappa},
\qquad i = 0, \dots, N. \tag{11.18}$$
<!-- code 11.18: diffedu.core.times.power_times -->

$\kappa = 1$ is uniform in $\rho$; for $\kappa\to\infty$ it becomes uniform in $\lambda$. And the best grid?
Take the fan (11.5). A step of length $h_k$ in *any* clock $\tau$ contributes $C(\tau_k)\,h_k^{p+1}$ to the
final error, where $C$ contains both the local error and what the flow makes of it. Let $n(\tau)$ be the
density of grid points, so $h = 1/n$ and $\int n\,d\tau = N$. The total is

$$E[n] = \sum_k C\,h_k^{p+1} \approx \int C(\tau)\;n(\tau)^{-p}\,d\tau, \qquad \int n\,d\tau = N.
\tag{11.19}$$
<!-- definition 11.19: the error as a functional of the density of grid points, a Riemann sum -->

Minimise with a Lagrange multiplier: $-p\,C\,n^{-p-1}$ must be the same at every $\tau$. ($n^{-p}$ is
convex, so this is the minimum.) Hence

$$n(\tau) \propto C(\tau)^{1/(p+1)}, \qquad
\min E = \frac{1}{N^p}\,\Big(\int C^{1/(p+1)}\,d\tau\Big)^{p+1} . \tag{11.20}$$

Since then $C\,h^{p+1}$ is constant, the rule has a name: **equidistribute the local error**. Where the
contribution is large make the steps small, until all steps are equally guilty.

$C$ can be measured: one step of the method from a true point, then the true flow to the end. Below for DDIM
on half of the starts, with $\tau = \lambda$; the grid goes by (11.20), and the other half of the starts
judges.
"""

# %%
wide = EDM(t_max=1e4)
levels = power_times(wide, 40, 7.0, start=100.0, end=0.02, dtype=double)
steps7 = (levels ** (1 / 7)).diff()
verify("11.18", steps7, (0.02 ** (1 / 7) - 100 ** (1 / 7)) / 40 * torch.ones(40, dtype=double), over="steps")

tau = torch.linspace(0, 1, 200_001, dtype=double)
bump = 1e-3 + torch.exp(-(((tau - 0.6) / 0.1) ** 2))  # some C, order p = 1
mass = torch.cat([number([0.0]), torch.cumulative_trapezoid(bump.sqrt(), tau)])


def placed(mass, where, steps):
    """`steps` + 1 places between which equal shares of a growing mass lie."""
    goal = torch.linspace(0, 1, steps + 1, dtype=double) * mass[-1]
    k = torch.searchsorted(mass, goal[1:-1]).clamp(1, len(mass) - 1)
    part = (goal[1:-1] - mass[k - 1]) / (mass[k] - mass[k - 1])
    between = where[k - 1] + part * (where[k] - where[k - 1])
    return torch.cat([where[:1], between, where[-1:]])


def cost(grid):
    middle = (grid[1:] + grid[:-1]) / 2
    return ((1e-3 + torch.exp(-(((middle - 0.6) / 0.1) ** 2))) * grid.diff() ** 2).sum()


N = 4000
verify("11.20", cost(placed(mass, tau, N)), mass[-1] ** 2 / N, rtol=1e-4)
others = [cost(placed(mass ** (1 + 0.1 * k), tau, N)) for k in (-2, -1, 1, 2)] + [cost(placed(tau, tau, N))]
assert min(others) > 1.001 * mass[-1] ** 2 / N

# %%
half = B // 2
cells = uniform_half_log_snr_times(path, 20, end=2e-3, dtype=double)
lam = path(cells).half_log_snr
true_path = [start[:half]]
for t, s in pairwise(cells.tolist()):
    true_path.append(true_end(leaves, true_path[-1], t, s, steps=12))
harm = []
for k, (t, s) in enumerate(pairwise(cells)):  # one step of DDIM, then the flow to the end
    ends = [DDIM().step(exact, true_path[k], t, s, (), true_path[k])[0], true_path[k + 1]]
    if k + 2 < len(cells):
        ends = [sample(exact, Heun(), x, cells[k + 1 :]) for x in ends]
    harm.append(rms(ends[0] - ends[1]))
harm = number(harm)
C = harm / lam.diff() ** 2  # p = 1
share = torch.cat([number([0.0]), torch.cumsum(C.sqrt() * lam.diff(), 0)])


def equidistributed(steps):
    return with_zero(time_at_half_log_snr(path, placed(share, lam, steps - 1)).clamp(max=1.0))


def by_noise_level(kappa):
    low, high = 0.02, (path(number(1.0)).sigma / path(number(1.0)).alpha).item()

    def grid(steps):
        rho = power_times(wide, steps - 1, kappa, start=high, end=low, dtype=double)
        return with_zero(time_at_half_log_snr(path, -rho.log()).clamp(max=1.0))

    return grid


def fitted(solver, moves=(0.5, 0.25, 0.1)):
    def grid(steps):
        return optimised_times(exact, solver, start[:half:2], truth[:half:2], standard(steps), moves=moves)

    return grid


grids = {
    "uniform in t": lambda n: uniform_times(path, n, end=0, dtype=double),
    "uniform in sqrt(t)": standard,
    "uniform in lambda": lambda n: with_zero(uniform_half_log_snr_times(path, n - 1, end=2e-3, dtype=double)),
    "EDM, kappa = 7": by_noise_level(7.0),
    "equal local errors": equidistributed,
}
chosen = {}
print("rms error on unseen starts, 10 calls     DDIM   DPM++2M")
for name, grid in grids.items():
    chosen[name] = grid(10)
    row = [rms(sample(exact, s, start[half:], grid(10)) - truth[half:]) for s in (DDIM(), DPMSolverPP2M())]
    print(f"{name:36s} {row[0]:8.3f} {row[1]:9.3f}")
fits = {"DDIM": fitted(DDIM())(10), "DPM++2M": fitted(DPMSolverPP2M())(10)}
row = [rms(sample(exact, solvers[n][0], start[half:], fits[n]) - truth[half:]) for n in fits]
print(f"{'fitted to each (optimised_times)':36s} {row[0]:8.3f} {row[1]:9.3f}")
chosen["fitted to DDIM"], chosen["fitted to DPM++2M"] = fits.values()

# %%
figure, (left, right) = panels(1, 2, width=13, height=4.2)
for row, (name, grid) in enumerate(chosen.items()):
    color = {"equal local errors": SCORE, "fitted to DDIM": DATA, "fitted to DPM++2M": GUIDED}.get(
        name, NOISE
    )
    where = path(grid[:-1]).half_log_snr
    left.plot(where, torch.full_like(where, -row), color=color, marker="|", markersize=11, linewidth=0.8)
    left.text(-5.4, -row + 0.3, name, color=INK, fontsize=9)
left.set(yticks=[], xlim=(-5.5, 5.2), ylim=(-6.6, 0.8), xlabel=r"half-log-SNR $\lambda$ (data on the right)")
left.set_title("ten steps, seven grids (the last step lands on data)")
right.stairs(C, lam, color=SCORE, linewidth=1.5)
right.set(
    xlabel=r"half-log-SNR $\lambda$",
    ylabel="$C(\\lambda)$, data units",
    title="harm of a DDIM step, for each unit of $h^2$",
    xlim=(-5.5, 5.2),
)
figure

# %% [markdown]
r"""
*Right: where a first-order step does harm on this data, measured. Nearly all of it lies where the leaves
separate. Left: what follows for the grid. The orange grid by (11.20) and the blue one, found by trial, both
crowd their steps there.*

`optimised_times` of the package does the plainest thing: move each inner time a little towards one
neighbour or the other; keep what lowers the measured error; repeat. It knows no theory, suits any solver,
and its result must be judged on starts that it has not seen, as above. ("Align Your Steps" minimises a
bound of the error instead, for networks of full size.) Two warnings. A grid fitted to one solver need not
suit another. And the gain is one constant: no grid changes the order.

## 11.9 Churn: when to add noise again

Chapter 10 had a family of processes with the same marginals, from none to much fresh noise. EDM makes a
sampler of it that keeps a good solver: before each step go *back* a little, to a noisier time $u > t$, by
adding fresh noise; then take one deterministic step from $u$ to $s$. ($u$ is a time in this section, not the
velocity.)

$$x_u = \frac{\alpha_u}{\alpha_t}\,x_t
+ \sqrt{\sigma_u^2 - \Big(\frac{\alpha_u}{\alpha_t}\Big)^2\sigma_t^2}\;\,z, \qquad
\frac{\sigma_u}{\alpha_u} = (1 + \gamma)\,\frac{\sigma_t}{\alpha_t}. \tag{11.21}$$
<!-- code 11.21: diffedu.sampling.sde.Churn -->

The law stays right: if $x_t$ has the variance $\alpha_t^2 v + \sigma_t^2$ then $x_u$ has $\alpha_u^2 v +
\sigma_u^2$. The root is the noise that the forward process adds between two times, (8.15) on any path.

EDM shares a budget $S_{churn}$ among the $N$ steps, $\gamma = \min(S_{churn}/N,\ \sqrt2 - 1)$, and
multiplies $z$ by a factor $S_{noise}$ a little above 1; here that is 1.

**Before you read on.** With an exact denoiser: does churn help, harm, or do nothing? And with one that errs
at high noise only? At low noise only?

Take one Gaussian on a line, standard deviation 0.2. A step is affine there, so the law of the result is
exact, without a sample. Three denoisers: the exact one, and two that exaggerate their guess by 30 % in a
band of noise levels $\rho$.
"""

# %%
unit = GaussianMixture.single(torch.zeros(1, dtype=double), 0.04 * torch.eye(1, dtype=double)).denoiser(path)


class Exaggerates:
    """Right but for a band of noise levels, where the guess is 1.3 times too large."""

    def __init__(self, low, high):
        self.path, self.low, self.high = path, low, high

    def __call__(self, x, t):
        rho = torch.exp(-path(t).half_log_snr)
        return unit(x, t) * (1 + 0.3 * ((rho > self.low) & (rho < self.high)))


c, gamma, v0 = path(number(0.3)), 0.4, 0.7
u = time_at_half_log_snr(path, c.half_log_snr - math.log1p(gamma))
d = path(u)
back, nothing = Churn(Euler(), gamma), torch.zeros(1, 1, dtype=double)


def from_t_to_u(x, z):
    """Churn alone: the solver's own step, from u to u, has no length."""
    return back.step(unit, x, number(0.3), u, (), z)[0]


gain, kick = from_t_to_u(one, nothing), from_t_to_u(nothing, one)
after = gain**2 * (c.alpha**2 * v0 + c.sigma**2) + kick**2
verify("11.21", after.reshape(()), d.alpha**2 * v0 + d.sigma**2)


def churned_heun(denoiser, x, times, gamma, rng):
    for t, s in pairwise(times):
        c = denoiser.path(t)
        u = time_at_half_log_snr(denoiser.path, c.half_log_snr - math.log1p(gamma)).clamp(max=path.t_max)
        d = denoiser.path(u)
        shrunk = d.alpha / c.alpha
        fresh = torch.randn(x.shape, generator=rng, dtype=x.dtype)
        x = shrunk * x + (d.sigma**2 - (shrunk * c.sigma) ** 2).clamp(min=0).sqrt() * fresh  # back, to u
        x = heun(denoiser, x, (u, s))  # forward, from u to s
    return x


mine = churned_heun(exact, start, standard(6), 0.2, seeded(3))
theirs = sample(exact, Churn(Heun(), 0.2), start, standard(6), generator=seeded(3))
assert torch.allclose(mine, theirs, atol=1e-9)
print("the loop equals diffedu's Churn(Heun(), 0.2), with equal noise")


def relative_spread(solver, denoiser, n):
    def step(x, t, s, z):
        return solver.step(denoiser, x, t, s, solver.init(x), z)[0]

    return law(step, standard(n))[1] / 0.2


amounts, counts = (0, 40), (8, 12, 20, 40, 80)
models = {
    "exact": unit,
    "wrong for ρ in 0.3 … 2": Exaggerates(0.3, 2.0),
    "wrong for ρ in 0.1 … 0.3": Exaggerates(0.1, 0.3),
}
spreads = {
    kind: {
        S: [relative_spread(Churn(Heun(), min(S / n, 0.41)) if S else Heun(), model, n) for n in counts]
        for S in amounts
    }
    for kind, model in models.items()
}
print("standard deviation over the true one         12 steps  40 steps   80 steps")
for kind, curves in spreads.items():
    for S in (0, 40):
        picked = [curves[S][counts.index(n)] for n in (12, 40, 80)]
        print(f"{kind:26s} S_churn = {S:2d}    " + "".join(f"{value:10.3f}" for value in picked))
off = {kind: {S: abs(curves[S][-1] - 1) for S in amounts} for kind, curves in spreads.items()}
high, low = list(models)[1:]
assert abs(spreads["exact"][40][1] - 1) > 5 * abs(spreads["exact"][0][1] - 1)  # harm at 12 steps
assert off[high][40] < 0.3 * off[high][0]
assert off[low][40] > 1.3 * off[low][0]

figure, axes = panels(1, 3, width=13, height=3.9)
for ax, (kind, curves) in zip(axes, spreads.items(), strict=True):
    for S, color in zip(amounts, (INK, SCORE), strict=True):
        ax.plot(
            counts,
            curves[S],
            color=color,
            marker="o",
            markersize=3.5,
            label=f"$S_{{churn}}$ = {S}" if S else "no churn",
        )
    ax.axhline(1, color=NOISE, linewidth=1.5, linestyle=":")
    ax.set(xscale="log", title=kind, xlabel="steps (two calls each)", xlim=(7, 95), ylim=(0.95, 1.45))
    ax.set_xticks([10, 20, 40, 80], ["10", "20", "40", "80"])
    ax.minorticks_off()
axes[0].set_ylabel("spread of the result, 1 is right")
axes[0].legend(frameon=False, fontsize=10)
figure

# %% [markdown]
r"""
*Left: with an exact denoiser churn only costs; each step has become longer. Middle: an error made at higher
noise stays in the result for ever without churn (black), and is forgotten with it, if there are enough
steps. Right: an error made where the churn works is made again and again; churn adds to it.*

So the answer is: **fresh noise forgets errors of the past and repeats those of the present.** That is why
EDM restricts churn to a band of noise levels and tunes it for each network. With 8 or 12 steps it helps in
none of the three panels.

### Bug 6: noise, noised
From a published sampler, in substance: `eps = torch.randn_like(x) * s_noise`, and a few lines on `x = x +
root * eps * torch.randn_like(x)`. A term that is already noise is multiplied by noise. The variance is
right, so every test of variances passes. But a product of two independent normal numbers has

$$\mathbb E\big[(z z')^2\big] = 1, \qquad \mathbb E\big[(z z')^4\big] = \big(\mathbb E\,z^4\big)^2 = 9,
\tag{11.22}$$

where a normal number has 1 and 3: a kurtosis of 9, a spike with heavy tails. Never noise a term that is
already noise; and test a *fourth* moment.
"""

# %%
nodes = torch.linspace(-12, 12, 601, dtype=double)
bell = torch.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi) * (nodes[1] - nodes[0])
product = (nodes[:, None] * nodes[None]).reshape(-1)
weight = (bell[:, None] * bell[None]).reshape(-1)
verify(
    "11.22",
    [(weight * product**2).sum().item(), (weight * product**4).sum().item()],
    [1.0, 9.0],
    over="moments",
)

# %% [markdown]
r"""
## 11.10 EDM's preconditioning

The denoiser has been exact so far. A network must be *trained* to be one, and samplers of few steps ask it
at noise levels that differ by factors of ten thousand. On EDM's path its raw input has a standard deviation
of 0.9 at one end and 80 at the other. EDM's answer is to put the network in a coat that adapts both its
input and its output:

$$\hat x_0(x_t, t) = c_{\text{skip}}\,x_t + c_{\text{out}}\,F\big(c_{\text{in}}\,x_t,\ c_{\text{noise}}\big).
\tag{11.23}$$
<!-- definition 11.23: the coat; F is the network, the four c's are functions of t alone -->

The c's are not chosen but **derived**, from three wishes. We do it on any path; EDM has $\alpha = 1$. Let
the data's coordinates have mean 0 and standard deviation $s$, and $S^2 = \alpha^2 s^2 + \sigma^2$, the
variance of $x_t$.

*Wish 1: the input has variance 1.* Hence $c_{\text{in}} = 1/S$.

*Wish 2: the target has variance 1.* When $\hat x_0$ is to be $x_0$, then $F$ is to be $(x_0 -
c_{\text{skip}}\,x_t)/c_{\text{out}}$. Put $x_t = \alpha x_0 + \sigma\varepsilon$ in; the two are
independent:

$$c_{\text{out}}^2 = \operatorname{Var}\big[x_0 - c_{\text{skip}}\,x_t\big]
= (1 - \alpha\,c_{\text{skip}})^2\,s^2 + c_{\text{skip}}^2\,\sigma^2. \tag{11.24}$$

*Wish 3: errors of the network are amplified as little as possible.* An error of $F$ enters $\hat x_0$ times
$c_{\text{out}}$, so make it small by the last free number. The derivative of (11.24) by $c_{\text{skip}}$
is $-2\alpha(1-\alpha c_{\text{skip}})s^2 + 2c_{\text{skip}}\sigma^2$, and it vanishes at

$$c_{\text{skip}} = \frac{\alpha\,s^2}{S^2}, \qquad c_{\text{out}} = \frac{\sigma\,s}{S},
\qquad c_{\text{in}} = \frac1S, \qquad
c_{\text{noise}} = \tfrac14\log\frac\sigma\alpha . \tag{11.25}$$
<!-- code 11.25: diffedu.core.preconditioning.edm_scalings -->

($c_{\text{noise}}$ is a label; any slowly varying function of the noise level would do, and the quarter of
a logarithm was found by trial.) $c_{\text{skip}}\,x_t$ is the best guess of $x_0$ among the multiples of
$x_t$. The network has to learn only the rest: for Gaussian data with covariance $s^2 I$ the best $F$ is 0.
And the target is an old acquaintance. Divide out:

$$F^{*} = \frac{x_0 - c_{\text{skip}}\,x_t}{c_{\text{out}}}
= \frac{1}{S}\Big(\frac{\sigma}{s}\,x_0 - \alpha s\,\varepsilon\Big)
\;\overset{s = 1,\ \alpha^2 + \sigma^2 = 1}{=}\; -v . \tag{11.26}$$
<!-- code 11.26: diffedu.core.preconditioning.edm_prediction -->

**EDM's target is $v$-prediction with its sign turned**, for data of any size and on any path: measure $x_0$
in units of $s$ and $x_t$ in units of $S$; then $\alpha s/S$ and $\sigma/S$ lie on the unit circle. In the
language of chapter 9 it is one more pair of weights $(a, b)$, and so `DenoisingLoss`, `NetworkDenoiser` and
all samplers take it as it is. The loss: EDM weights the squared error of $\hat x_0$ by

$$\frac{1}{c_{\text{out}}^2} = \frac{\sigma^2 + \alpha^2 s^2}{(\sigma\,s)^2}, \tag{11.27}$$

which is the plain squared error of $F$. A network that begins with $F = 0$ begins with loss 1 at every noise
level.
"""

# %%
s = 0.9
for any_path in (EDM(), path):
    t = any_path.t_max * torch.linspace(0.02, 0.98, 40, dtype=double)
    c = any_path(t)
    ours = edm_scalings(c, s)
    draw = torch.randn(2, 20_000, 1, generator=seeded(4), dtype=double)
    x0, eps = s * draw[0], draw[1]
    skip = ours.c_skip.clone().requires_grad_()
    size = ((1 - c.alpha * skip) * s) ** 2 + (skip * c.sigma) ** 2
    (slope,) = torch.autograd.grad(size.sum(), skip)
    assert slope.abs().max() < 1e-9 * c.sigma.max() ** 2  # wish 3, by automatic differentiation
    verify("11.25", ours.c_out, size.detach().sqrt(), over="times")
    x_t = c.alpha * x0[:40, 0] + c.sigma * eps[:40, 0]
    verify(
        "11.26",
        (x0[:40, 0] - ours.c_skip * x_t) / ours.c_out,
        edm_prediction(s).target(x0[:40, 0], eps[:40, 0], c),
        over="times",
    )
    at = any_path(0.4 * any_path.t_max * number(1.0))
    k = number([-0.5, 0.1, 0.6, 1.2])  # any c_skip, not only the best
    left_over = (x0 - k * (at.alpha * x0 + at.sigma * eps)).square()
    verify_mean("11.24", left_over, ((1 - at.alpha * k) * s) ** 2 + (k * at.sigma) ** 2)
    verify(
        "11.27",
        weight_between(X0, edm_prediction(s))(c),
        (c.sigma**2 + (c.alpha * s) ** 2) / (c.sigma * s) ** 2,
        over="times",
    )
c = path(torch.linspace(0.02, 0.98, 40, dtype=double))
assert all(torch.allclose(-a, b) for a, b in zip(edm_prediction(1.0).weights(c), V.weights(c), strict=True))
print("unit data on VP: EDM's target is -v")

# %% [markdown]
"""
Does the coat matter? Three networks of the same size, trained for the same number of steps on the leaves
along EDM's path: the full coat; the coat with raw input ($c_{\text{in}} = 1$); and the scaled input with
$\varepsilon$ as target, as DDPM would have it.
"""

# %%
edm = EDM()
leaves32 = leaves.to(device, torch.float32)
points = leaves32.sample(20_000, seeded(5, device))


class RawInput(Preconditioned):
    """The coat without c_in."""

    def forward(self, x_t, t):
        return self.net(x_t, edm_scalings(self.path(t), self.data_std).c_noise)


def trained(net, prediction, steps=250):
    torch.manual_seed(0)
    loss = DenoisingLoss(edm, prediction, times=LogNormalSigma(-0.5, 1.7))
    state = TrainState(net.to(device), TrainConfig(steps=steps, batch=256, lr=4e-3, ema=0.99))
    for _ in train(state, lambda net, batch, rng: loss(net, *batch, rng), (points,)):
        pass
    return NetworkDenoiser(state.ema.net.eval(), edm, prediction)


def inside():
    torch.manual_seed(1)
    return MLP(2, t_max=1.0, width=64)


networks = {
    "EDM's coat": trained(Preconditioned(inside(), edm, s), edm_prediction(s)),
    "raw input": trained(RawInput(inside(), edm, s), edm_prediction(s)),
    r"$\varepsilon$ as target": trained(Preconditioned(inside(), edm, s), EPS),
}
exact_edm = leaves32.denoiser(edm)
sigmas = torch.logspace(-1.7, 1.75, 16, device=device)
astray = {name: [] for name in networks}
for sigma in sigmas:
    rng = seeded(6, device)
    x0 = leaves32.sample(2000, rng)
    x_t = edm.add_noise(x0, torch.randn(x0.shape, generator=rng, device=device), sigma)
    for name, network in networks.items():
        with torch.no_grad():
            astray[name].append(
                (network(x_t, sigma) - exact_edm(x_t, sigma)).square().sum(1).mean().sqrt().item()
            )
best, raw, from_eps = (number(values) for values in astray.values())
assert from_eps[-1] > 10 * best[-1]
assert (raw / best).mean() > 1.05
assert 0.6 < (from_eps / best)[:5].mean() < 1.15
print("error of the guess, compared with that of EDM's coat:")
print("  eps as target: more than ten times at the largest noise level; about the same at the five smallest")
print("  raw input: larger on average, by less than a factor of two:", bool((raw / best).mean() < 2))

levels = edm(torch.logspace(-2.5, 1.9, 200, dtype=double))
coat = edm_scalings(levels, 0.9)
figure, (left, right) = panels(1, 2, width=12.5, height=4.0)
for name, value, color, (x, y) in (
    (r"$c_{\rm skip}$", coat.c_skip, NOISE, (0.02, 2.2)),
    (r"$c_{\rm out}$", coat.c_out, SCORE, (0.005, 0.03)),
    (r"$c_{\rm in}$", coat.c_in, DATA, (5.0, 0.5)),
    (r"$1/c_{\rm out}^2$, weight", 1 / coat.c_out**2, GUIDED, (0.07, 700)),
):
    left.plot(levels.sigma, value, color=color)
    left.text(x, y, name, color=color, fontsize=11)
left.set(
    xscale="log",
    yscale="log",
    ylim=(1e-3, 1e4),
    xlabel=r"noise level $\sigma$",
    title="the coat, for data of size 0.9",
)
for (name, values), color, style in zip(astray.items(), (DATA, SCORE, INK), ("-", "--", ":"), strict=True):
    right.plot(sigmas.cpu(), values, color=color, linestyle=style, label=name)
right.set(
    xscale="log", yscale="log", xlabel=r"noise level $\sigma$", ylabel="distance to the exact guess, rms"
)
right.set_title("three networks after the same training")
right.legend(frameon=False, fontsize=10, loc="upper left")
figure

# %% [markdown]
r"""
*Left: where there is little noise the guess is the input ($c_{skip} \to 1$, $c_{out} \to \sigma$) and the
network adds a detail; where there is much, the guess is the network's ($c_{out} \to s$). Right: with
$\varepsilon$ as target the error of the guess grows without bound, since $\hat x_0 = x_t -
\sigma\hat\varepsilon$ multiplies the network's error by $\sigma$. Where there is little noise it is as good
as the coat.*

Raw input costs less here than one might fear, presumably because this small network normalises behind its
first layer (LayerNorm).

## 11.11 The survey

The table that papers on samplers print, on data where the truth is known: nine samplers, four
budgets. Two numbers each. *Path error*: rms distance to the true end of the same start (it has no meaning
for the two that draw fresh noise). *Sample error*: energy distance of 700 results to as many data points,
in thousandths. Beside it its **floor**, what perfect samples score: zero on average, with the standard
deviation printed.
"""

# %%
M = 700
many = path(number(1.0)).sigma * torch.randn(M, 2, generator=seeded(10), dtype=double)
data = leaves.sample(M, seeded(11))


def energy(x, y):
    return energy_distance(x, y).value


ground = floor(energy, leaves.sample, M, generator=seeded(12), repeats=12)
rows = {
    "Euler": Euler(),
    "Heun": Heun(),
    "AB2": AdamsBashforth(2),
    "DDIM": DDIM(),
    "DEIS2": DEIS(2),
    "DPM++2M": DPMSolverPP2M(),
    "corrected DEIS2": CorrectedDEIS(2),
    "ancestral": Ancestral(),
    "Heun with churn": None,
}
calls = (5, 10, 20, 50)
survey, far = {}, {}
print("                        path error (rms)               sample error (thousandths)")
print("calls              5      10      20      50         5     10     20     50")
for name, solver in rows.items():
    walk, drawn = [], []
    for nfe in calls:
        steps = (nfe + 1) // 2 if "Heun" in name else nfe
        chosen_solver = solver or Churn(Heun(), min(5 / steps, 0.41))
        if solver is None or name == "ancestral":
            walk.append("   none ")
        else:
            if nfe in budget:  # the race of section 11.7 has run it
                off = race[name][budget.index(nfe)].square().mean().sqrt().item()
            else:
                off = rms(sample(exact, chosen_solver, start, standard(steps)) - truth)
            far[name, nfe] = off
            walk.append(f"{off:8.3f}")
        result = sample(exact, chosen_solver, many, standard(steps), generator=seeded(13))
        survey[name, nfe] = 1000 * energy(result, data)
        drawn.append(f"{round(survey[name, nfe]):7d}")
    print(f"{name:15s}" + "".join(walk) + "    " + "".join(drawn))
print(
    f"floor of the sample error: {round(1000 * ground.mean)},",
    f"standard deviation {1000 * ground.standard_deviation:.0f}",
)
at_floor = [n for n in rows if abs(survey[n, 50]) < 1000 * (ground.mean + 4 * ground.standard_deviation)]
print(f"within four standard deviations of the floor at 50 calls: {len(at_floor)} of {len(rows)}")
assert survey["ancestral", 5] > 1.3 * survey["DDIM", 5] > 5 * survey["DPM++2M", 5]
assert len(at_floor) == len(rows)
at_50 = [far[name, 50] for name, nfe in far if nfe == 50]
assert 30 < max(at_50) / min(at_50) < 40

# %% [markdown]
r"""
Most of the literature's findings are there. First-order methods need many calls, ancestral sampling most of
all. One step of memory costs nothing: AB2 wins at five calls, DPM-Solver++(2M) at ten. Heun pays double,
and catches up when the calls suffice for ten steps. Correctors win late. And look at the right-hand side:
with 50 calls every row is at the floor, although the path errors still differ by a factor of more than
thirty. **Sample metrics cannot rank solvers once they are at the floor; paired starts can.**

### The race
Choose a grid with the two sliders, the number of calls, and the solvers that run. Left the paths from four
starts, over the true ends (grey rings); right the median error of 150 starts for each number of calls. **Bets
first:** for which $\kappa$ does DDIM do best at twelve calls? Is it the same for DPM-Solver++(2M)? Can you
find a grid on which Euler beats all others?
"""

# %%
SamplerRace(leaves)

# %%
colours = {"Euler": SCORE, "DDIM": DATA, "Heun": VELOCITY, "DPM++2M": GUIDED}
figure, axes = panels(1, 4, width=13.2, height=3.6)
some = start[[3, 8, 13, 20, 31, 44]]
for ax, (name, color) in zip(axes, colours.items(), strict=True):
    ax.scatter(*truth[::2].T, s=3, color="#CFCFCF", linewidths=0)
    grid = standard(steps_for(name, 10))
    walk = torch.stack([x for _, x in trajectory(exact, solvers[name][0], some, grid)])
    reference = torch.stack([x for _, x in trajectory(exact, Heun(), some, standard(200))])
    ax.plot(*reference.permute(2, 0, 1), color=NOISE, linewidth=1)
    ax.plot(*walk.permute(2, 0, 1), color=color, linewidth=1.3, marker="o", markersize=3)
    square(ax, 2.5, ylabel="$x_2$" if name == "Euler" else "")
    ax.set_title(f"{name}, {len(grid) - 1} steps")
figure

# %% [markdown]
r"""
*For readers without a kernel: six starts, ten calls, four solvers (coloured), over the true paths (grey).*

## 11.12 Exercises

`check` tells you what is wrong, `hint("11.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`.
"""

# %%
for one_exercise in exercises(11):
    print(one_exercise)

# %% [markdown]
r"""
**Exercise 11.1 ★ — EDM's grid.** Return the noise levels of (11.18), from `high` to `low` in `steps` steps
of $\sigma^{1/\kappa}$, **followed by a zero**: `steps + 2` values, decreasing, in `float64`.
"""


# %% tags=["exercise"]
def edm_grid(high, low, steps, kappa):
    """Noise levels, shape (steps + 2,), float64: high, ..., low, 0."""
    ...


# %%
check("11.1", edm_grid)

# %% [markdown]
r"""
**Exercise 11.2 ★ — what does accuracy cost?** Heun's method takes 20 steps (40 calls) and leaves an error
of 0.016. You want 0.001. The error follows (11.6). How many *calls* will it take?
"""

# %% tags=["exercise"]
calls_needed = ...

# %%
check("11.2", calls_needed)

# %% [markdown]
r"""
**Exercise 11.3 ★ — predict.** A network's guess is off by 3 %, always to the same side, at *all* noise
levels. You sample with Heun at 40 steps and turn churn on ($S_{churn} = 40$). Will the spread of the results
be nearer to the truth: `"nearer"`, `"the same"` or `"farther"`? Use the figure of section 11.9.
"""

# %% tags=["exercise"]
with_churn = ...

# %%
check("11.3", with_churn)

# %% [markdown]
r"""
**Exercise 11.4 ★★ — a line in $\lambda$.** Write the step (11.16), from $t$ to $s$. `before` is None in the
first step, else the pair of the previous clean guess and the previous $\lambda$. When `sigma_s` is 0, the
step is DDIM's.
"""


# %% tags=["exercise"]
def step_2m(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, before):
    """x_s, shape (B, D); x_t and x0_hat (B, D), four tensors of shape (), before: (x0_hat, lambda)."""
    ...


# %%
check("11.4", step_2m)

# %% [markdown]
r"""
**Exercise 11.5 ★★ — errata museum: three halves and one half.** A sampler with the famous weights
$\tfrac32$ and $-\tfrac12$. Its author has tested it on equal steps, where its order is 2. Mend it for any
grid.
"""


# %% tags=["exercise"]
def two_step(u, x, times):
    """The end of the run, shape (B, D); u(x, t) -> (B, D), x (B, D), times (steps + 1,)."""
    before = None
    for t, s in pairwise(times):
        now = u(x, t)
        x = x + (s - t) * (now if before is None else 1.5 * now - 0.5 * before)
        before = now
    return x


# %%
check("11.5", two_step)

# %% [markdown]
r"""
**Exercise 11.6 ★★ — errata museum: the right variance.** Churn on EDM's path, from $\sigma$ to $\hat\sigma
= (1+\gamma)\,\sigma$. Its tests compare variances, and pass. Find the mistake: it is about more than two
moments.
"""


# %% tags=["exercise"]
def churned(x, sigma, gamma, s_noise, z):
    """x at the noise level (1 + gamma) sigma; x and z, standard normal, (B, D); three numbers."""
    eps = s_noise * z
    up = (1 + gamma) * sigma
    return x + (up**2 - sigma**2) ** 0.5 * eps * z.flip(0)


# %%
check("11.6", churned)

# %% [markdown]
r"""
**Exercise 11.7 ★★ — the coat for any target.** Derive. Someone trains a network $F$ with input $c_{in}x_t$
towards $a\,x_0 + b\,\varepsilon$, on a path with coefficients $\alpha, \sigma$ and data of standard
deviation $s$. Which $c_{\text{skip}}$ and $c_{\text{out}}$ turn $F$ into the clean guess, and what is the
variance of the target? (Check yourself: EDM's $a$ and $b$ must give (11.25) and 1.)
"""


# %% tags=["exercise"]
def coat_of(a, b, alpha, sigma, s):
    """(c_skip, c_out, variance of the target), each (B,); a, b, alpha, sigma (B,), s a number."""
    ...


# %%
check("11.7", coat_of)

# %% [markdown]
r"""
**Exercise 11.8 ★★★ — all steps equally guilty.** Given the places $\tau_0 < \dots < \tau_K$ of a fine grid
and the harm $C_k$ in each of its cells, return the grid of `steps` steps that has the least error (11.19)
for a method of order $p$: by (11.20), with $n$ constant in each cell, and interpolating linearly inside it.
"""


# %% tags=["exercise"]
def guilt_grid(tau, C, p, steps):
    """Places, shape (steps + 1,), tau[0] to tau[-1]; tau (K + 1,) increasing, C (K,) positive, float64."""
    ...


# %%
check("11.8", guilt_grid)

# %% [markdown]
r"""
**Mini-project (open).** Take two samplers of section 11.11 and a data set of your own (`diffedu.data` has
some). Find a grid of *eight* steps for each with `optimised_times`, and write one page: does a grid fitted
on your data help on the leaves, and the other way round? Does the solver that wins with the standard grid
still win with fitted grids? *Rubric:* starts that judge are not those that fit (2 points); the reference is
shown to be converged (1); median *and* a tail are reported (1); the answer states what would change it (1).

## 11.13 What the field does with it, and where this breaks

- **Defaults.** Image models of the Stable Diffusion family are mostly sampled with DPM-Solver++(2M) or
  UniPC in 15 to 30 calls, on EDM's grid or on equal steps in $t$; rectified-flow models with Euler on a
  shifted grid (chapter 18). EDM uses Heun, 18 steps for small images. After AYS, grids for ten steps are
  shipped with libraries.
- **Below five calls** no solver helps: the paths are curved, and a step cannot follow a curve it does not
  see. There the *model* is changed: straighter paths (chapter 13), distillation, consistency models.
- **Guidance makes it harder.** A guided denoiser (chapter 12) changes faster along the path.
  Data-predicting multistep methods were developed for it; the DPM-Solver++ paper shows noise-predicting
  ones of high order failing at a large guidance scale.

Where this chapter simplifies. *Exact denoiser*: with a network, its own error is a floor on the path error,
and below it the order buys nothing. *Six leaves in the plane*: errors here are ruled by a few ridges.
Pictures have very many directions, and their errors may concentrate less. Rankings at a few steps depend on
data and grid (compare DDIM and Euler here), while orders do not. *Churn on one line*: real errors are
neither a factor nor a band. *Smooth flows*: near clean data of lower dimension the velocity has no bound,
the promise (11.6) fails, and the last steps are a matter of grids.

**What to remember**
- Error = sum of local errors, carried to the end. Order $p$: local $p + 1$, global $p$. Test it by a fit,
  on a *jagged* grid.
- Freeze in the right variables: DDIM is exponential Euler, exact for a single point. Memory is free; use
  it.
- At few calls constants decide. Report the median and a tail, from paired starts.
- Equal guilt for all steps makes the best grid. Read the grid, never recompute it.
- Churn forgets the past and repeats the present.
- EDM's coat is $-v$, for data of any size.

### References
- Karras, Aittala, Aila, Laine (2022), *Elucidating the design space of diffusion-based generative models*
  (EDM): Heun, algorithm 1; churn, algorithm 2; grid, eq. 5; preconditioning, eq. 7 and 8, table 1, appendix
  B.6.
- Song, Meng, Ermon (2021), *Denoising diffusion implicit models*: DDIM, eq. 12; the ODE, section 4.3.
- Lu, Zhou, Bao, Chen, Li, Zhu (2022), *DPM-Solver*: variation of constants, section 3; equal steps in
  $\lambda$, section 3.3.
- Lu, Zhou, Bao, Chen, Li, Zhu (2022), *DPM-Solver++*: (11.16), algorithm 2.
- Zhang, Chen (2023), *Fast sampling of diffusion models with exponential integrator* (DEIS): sections 3
  and 4.
- Zhao, Bai, Rao, Zhou, Lu (2023), *UniPC*: correctors, section 3.1.
- Liu, Ren, Lin, Zhao (2022), *Pseudo numerical methods for diffusion models on manifolds* (PNDM): multistep
  noise, on equal steps.
- Sabour, Fidler, Kreis (2024), *Align your steps*: optimised grids.
- Lin, Liu, Li, Yang (2024), *Common diffusion noise schedules and sample steps are flawed*: trailing and
  leading, table 2.
- Hairer, Nørsett, Wanner (1993), *Solving ordinary differential equations I*: the fan, sections
  I.7 and II.3; Adams methods, section III.1, with unequal steps III.5.
"""
