# %% [markdown]
"""
# 1. Noise and equilibrium

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/01_noise_and_equilibrium.ipynb)

*Why random walks spread, and how noise and a pull together settle at a distribution of our choice*

Noise destroys. A drop of ink in a glass of water is pale after a minute and gone after an hour. That noise
could ever *make* something sounds wrong. Yet all of this book rests on one observation: noise with a little
help does not end in nothing. It ends at a distribution, and we may choose which.

**You will be able to**
- say how far a random walk gets, and why its sums forget everything about a single step but its variance;
- simulate Brownian motion with the right power of the time step;
- derive where noise and a pull settle, by counting the walkers that cross a border;
- say what climbing alone does, what noise alone does, and why a model needs both;
- measure entropy, and know when it grows, when it falls, and what falls always.

**You need** averages and variances, the normal (Gaussian) distribution, derivatives and integrals. PyTorch
is used like NumPy.

**Time**: about 60 minutes to read, 20 seconds to run, two hours with all exercises.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from itertools import pairwise

import torch

from diffedu import DDIM, VP, GaussianMixture, sample, seeded, start_noise, uniform_times
from diffedu.data.toy2d import spiral
from diffedu.evaluate import energy_distance, floor
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.show import CYCLE, DATA, INK, NOISE, SCORE, VELOCITY, panels, square
from diffedu.show.widgets import NoiseAndPull
from diffedu.show.widgets.equilibrium import STARTS, at_time, moment
from diffedu.verify import verify, verify_mean

# %%
start = 1.6 * spiral(1500, generator=seeded(0))
stops = [0.0, 0.05, 0.2, 0.8, 3.0]
dt = 0.01


def film(pull, noise):
    """Points at the stops. The whole chapter is about the one line in this loop."""
    generator, x, frames = seeded(1), start, [start]
    for k in range(1, round(stops[-1] / dt) + 1):
        x = x - pull * x * dt + noise * math.sqrt(2 * dt) * torch.randn(x.shape, generator=generator)
        if any(abs(k * dt - stop) < dt / 2 for stop in stops):
            frames.append(x)
    return frames


rows = {
    "noise, no pull": (film(0, 1), NOISE),
    "a pull, no noise": (film(1, 0), SCORE),
    "both": (film(1, 1), DATA),
}
figure, axes = panels(3, 5, width=10, height=6.4)
for i, (name, (frames, color)) in enumerate(rows.items()):
    for j, (cloud, stop) in enumerate(zip(frames, stops, strict=True)):
        ax = axes[5 * i + j]
        ax.scatter(*cloud.T, s=2, color=color, linewidths=0)
        square(ax, 4.5, xlabel="", ylabel=name if j == 0 else "")
        ax.set(xticks=[], yticks=[])
        if i == 0:
            ax.set_title(f"time {stop:g}")
figure

# %% [markdown]
r"""
*One drawing, three rules (axes from −4.5 to 4.5 throughout). Noise alone spreads it ever further. A pull to
the middle alone squeezes it into a point. Both together come to rest in a round cloud, and stay there.*

**Before you read on.** In the bottom row no point ever stands still: at time 3, and at time 300, each one
is kicked and pulled as at the beginning. What is it, then, that has come to rest? Write it down. Section
1.5 returns to it.

## 1.1 A random walk

A walker tosses a coin. Heads: one step of length $h$ to the right. Tails: one to the left. Write
$\xi_k = \pm 1$ for the $k$-th toss. After $n$ tosses the walker stands at

$$x_n = h\,\xi_1 + h\,\xi_2 + \dots + h\,\xi_n = h \sum_{k=1}^n \xi_k. \tag{1.1}$$
<!-- definition 1.1: the walk -->

**Before you read on.** After 100 steps of one metre: how far from the start is a typical walker? 100
metres, 50, 10, or 1?

The average of a toss is zero, so the average place is zero: the walker has no preferred side. For the
distance, square. A sum squared has $n$ squares and many mixed terms:

$$\Big(\sum_k \xi_k\Big)^2 = \sum_k \xi_k^2 + \sum_{j \ne k} \xi_j\,\xi_k .$$

Each $\xi_k^2$ is 1. And a mixed term $\xi_j \xi_k$ is $+1$ as often as $-1$, because the two coins know
nothing of each other: its average is zero. So the averages of position and of its square are

$$\mathbb E\,x_n = 0, \qquad \operatorname{Var} x_n = \mathbb E\,x_n^2 = n\,h^2. \tag{1.2}$$

The *square* of the distance grows like the number of steps. The distance itself grows like its root. A
hundred steps of a metre: about $\sqrt{100} = 10$ metres (the root of the mean square). Ten thousand
steps: a hundred metres. To get ten times as far, a walker needs a hundred times as long. Remember this
root. It sits in front of every noise term of this book, and it is often forgotten.

We can also say exactly how likely each place is. To stand at $x_n = (2k - n)\,h$ the walker needs $k$ heads
and $n-k$ tails. There are $\binom nk$ orders of these, each of probability $2^{-n}$:

$$P\big(x_n = (2k-n)\,h\big) = \binom nk\, 2^{-n}. \tag{1.3}$$

In code a walk is a running sum. The check of (1.3) goes another way: it lets probability itself walk, half
of it to the left and half to the right at each toss.
"""

# %%
n, h = 100, 1.0
tosses = 2.0 * torch.randint(0, 2, (20_000, n), generator=seeded(2)) - 1  # 20,000 walkers
walks = h * tosses.cumsum(1)
verify_mean("1.2", torch.stack([walks[:, -1], walks[:, -1] ** 2], dim=1), [0.0, n * h**2])

places = torch.arange(-n, n + 1)
chance = (places == 0).double()  # at first everybody stands at 0
for _ in range(n):
    chance = 0.5 * chance.roll(1) + 0.5 * chance.roll(-1)
binomial = torch.tensor([math.comb(n, k) / 2**n for k in range(n + 1)], dtype=torch.float64)
verify("1.3", chance[::2], binomial, over="places")
share = (walks[:, -1].abs() <= 20).double().mean()
print(
    f"within 10 m: {(walks[:, -1].abs() <= 10).double().mean():.2f} of the walkers, within 20 m: {share:.2f}"
)

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.5)
steps = torch.arange(n + 1)
paths = torch.cat([torch.zeros(60, 1), walks[:60]], dim=1)
left.plot(steps, paths.T, color=NOISE, linewidth=0.6, alpha=0.6)
left.plot(steps, paths[:3].T, color=DATA, linewidth=1.4)
for sign in (-1, 1):
    left.plot(steps, sign * steps.sqrt(), color=INK, linestyle="--")
left.text(40, 25.5, r"dashed: $\pm h\sqrt{n}$", color=INK)
left.set(xlabel="number of steps n", ylabel="position (metres)", ylim=(-31, 31), title="sixty walkers")
for m, color in ((4, SCORE), (25, VELOCITY), (100, DATA)):
    places = 2 * torch.arange(m + 1) - m
    chances = [math.comb(m, k) / 2**m for k in range(m + 1)]
    right.plot(places, chances, "o-", color=color, linewidth=0.8, markersize=4)
for x, y, name, color in (
    (1.5, 0.33, "4 steps", SCORE),
    (5, 0.13, "25 steps", VELOCITY),
    (13, 0.04, "100 steps", DATA),
):
    right.text(x, y, name, color=color)
right.set(xlim=(-31, 31), xlabel="position (metres)", ylabel="probability", title="where they are, by (1.3)")
figure

# %% [markdown]
r"""
*Left: the cloud of walkers widens like the root of the number of steps. Right: after 100 steps most of the
probability lies within two times ten metres. The dots have come to lie on a bell, and no coin has that
shape.*

## 1.2 Why the bell?

A coin knows two values. Where does the smooth bell come from? And would a die have led to another one?

Let the steps be any independent random numbers with average 0 and variance 1: coins, dice, what you like.
By the argument of (1.2) their sum has variance $n$, so we divide by $\sqrt n$ and look at

$$S_n = \frac{\xi_1 + \dots + \xi_n}{\sqrt n}, \qquad \mathbb E\,S_n = 0,
\qquad \operatorname{Var} S_n = 1 .$$

Mean and variance no longer change. Does anything about the shape? Take the next simplest number, the
average of the fourth power. Multiply out $(\xi_1 + \dots + \xi_n)^4$. Each term is a product of four
factors. If some $\xi_k$ stands in it alone, the average is zero, as with the mixed terms above. Two kinds
survive. There are $n$ terms $\xi_k^4$, whose average we call $m_4$. And there are terms $\xi_j^2\,\xi_k^2$
with average $1 \cdot 1$: choose the pair in $n(n-1)/2$ ways, and place two $j$'s on four seats in 6 ways,
$3n(n-1)$ in all. Divide by $(\sqrt n)^4 = n^2$:

$$\mathbb E\,S_n^4 = \frac{n\,m_4 + 3n(n-1)}{n^2} = 3 + \frac{m_4 - 3}{n}. \tag{1.4}$$

The step's own shape, $m_4$, occurs only in the term that dies like $1/n$. What is left is the number 3, for
coins, dice and everything else. One can go on with the sixth power, the eighth: whatever is special about
the step dies, and the same numbers remain. They belong to one distribution.

### Which one? Ask for waves
To find it, measure a distribution with waves. For a random number $\xi$ that is as likely to be $a$ as
$-a$, for every $a$, let

$$c_\xi(\omega) = \mathbb E \cos(\omega\,\xi).$$

At $\omega = 0$ it is 1. It falls once the wave is short enough to tell the possible values of $\xi$ apart.
If you know $c_\xi$ for *all* $\omega$, you know the distribution of $\xi$ (it is its Fourier
transform). And waves have a lovely property. Take two independent numbers:

$$\mathbb E\cos\big(\omega(\xi + \eta)\big)
= \mathbb E\big[\cos\omega\xi\,\cos\omega\eta - \sin\omega\xi\,\sin\omega\eta\big]
= c_\xi(\omega)\; c_\eta(\omega). \tag{1.5}$$

The first step is the addition theorem of the cosine. The second: averages of independent things multiply,
and the average of a sine is zero for a number that is as likely $a$ as $-a$. **Adding random numbers
multiplies their wave averages.** So for $n$ equal steps, each divided by $\sqrt n$,

$$\mathbb E \cos(\omega\,S_n) = \Big[c_\xi\Big(\frac{\omega}{\sqrt n}\Big)\Big]^n
= \Big[1 - \frac{\omega^2}{2n} + O\Big(\frac1{n^2}\Big)\Big]^n
\;\longrightarrow\; e^{-\omega^2/2}. \tag{1.6}$$

In the middle we used $\cos y = 1 - y^2/2 + O(y^4)$, $\mathbb E\,\xi^2 = 1$ and a finite $m_4$; at the end,
$(1 - a/n)^n \to e^{-a}$ (the $O(1/n^2)$ does no harm: $n$ of them are still $O(1/n)$). Only the variance of
the step has survived. (If $m_4$ is infinite, the rest is still smaller than $1/n$ in the limit, which is
enough.)

Which density has $e^{-\omega^2/2}$ as its wave average? Try $\varphi(x) = e^{-x^2/2}/\sqrt{2\pi}$. It obeys
$\varphi' = -x\,\varphi$. Differentiate its wave average by $\omega$, use that, and integrate by parts (the
ends vanish):

$$c'(\omega) = -\int x \sin(\omega x)\,\varphi(x)\,dx = \int \sin(\omega x)\,\varphi'(x)\,dx
= -\omega \int \cos(\omega x)\,\varphi(x)\,dx = -\omega\,c(\omega),$$

and with $c(0) = 1$ the solution is

$$\int \cos(\omega x)\; \frac{e^{-x^2/2}}{\sqrt{2\pi}}\; dx = e^{-\omega^2/2}. \tag{1.7}$$

So the bell is the **Gaussian**, and (1.6) is the **central limit theorem**. (One step is borrowed from
the books: if all wave averages converge to those of the Gaussian, so do the probabilities of intervals.
That is Lévy's continuity theorem.) For lopsided steps the sine does not average to zero; with
$e^{i\omega x}$ in the place of the cosine the same lines work, and the result is the same.
"""

# %%
steps_of = {  # values of a step and their probabilities; all have mean 0 and variance 1
    "coin": ([-1.0, 1.0], [0.5, 0.5]),
    "three-sided die": ([-(1.5**0.5), 0.0, 1.5**0.5], [1 / 3, 1 / 3, 1 / 3]),
    "lopsided coin": ([-(3**-0.5), 3**0.5], [0.75, 0.25]),
}


def sum_of(name, n):
    """Values and probabilities of S_n, by adding one step after the other (the values are equally spaced)."""
    values, p = (torch.tensor(v, dtype=torch.float64) for v in steps_of[name])
    total = torch.ones(1, dtype=torch.float64)
    for _ in range(n):
        total = sum(p[k] * torch.nn.functional.pad(total, (k, len(p) - 1 - k)) for k in range(len(p)))
    spacing = values[1] - values[0]
    return (n * values[0] + spacing * torch.arange(len(total))) / math.sqrt(n), total


fourth, formula = [], []
for name, (values, p) in steps_of.items():
    m4 = sum(q * v**4 for v, q in zip(values, p, strict=True))
    for n in (1, 2, 10, 50):
        places, weight = sum_of(name, n)
        fourth.append((weight * places**4).sum().item())
        formula.append(3 + (m4 - 3) / n)
verify("1.4", fourth, formula)

omega = torch.linspace(0, 3, 7, dtype=torch.float64)
places, weight = sum_of("three-sided die", 2)
one = 1 / 3 + 2 / 3 * torch.cos(1.5**0.5 * omega / math.sqrt(2))
verify("1.5", torch.cos(omega[:, None] * places) @ weight, one * one, over="waves")

n = 1_000_000
verify("1.6", torch.cos(omega / math.sqrt(n)) ** n, torch.exp(-(omega**2) / 2), rtol=1e-5, over="waves")
x = torch.linspace(-10, 10, 4001, dtype=torch.float64)  # a sum over a fine grid stands for an integral
phi = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
verify("1.7", torch.cos(omega[:, None] * x) @ phi * (x[1] - x[0]), torch.exp(-(omega**2) / 2), over="waves")

# %%
figure, axes = panels(1, 4, width=12, height=3.1)
bell = torch.linspace(-3.6, 3.6, 200)
for ax, n in zip(axes, (1, 4, 16, 64), strict=True):
    for (name, _), color, mark in zip(steps_of.items(), (DATA, SCORE, VELOCITY), "os^", strict=True):
        places, weight = sum_of(name, n)
        height = weight / (places[1] - places[0])  # probability per length
        ax.plot(places, height, mark, color=color, markersize=4.5, alpha=0.85, label=name)
    ax.plot(bell, torch.exp(-(bell**2) / 2) / math.sqrt(2 * math.pi), color=INK, linewidth=1.2)
    ax.set(xlim=(-3.6, 3.6), ylim=(0, 0.6), xlabel="$S_n$", title=f"n = {n}")
axes[0].set_ylabel("probability per length")
axes[3].text(-3.3, 0.53, "line: the Gaussian", color=INK, fontsize=10)
axes[0].legend(frameon=False, fontsize=9, loc="upper left", handlelength=0.8, handletextpad=0.2)
worst = {
    name: [
        (w / (p[1] - p[0]) - torch.exp(-(p**2) / 2) / math.sqrt(2 * math.pi)).abs().max().item()
        for p, w in (sum_of(name, n) for n in (16, 64, 256))
    ]
    for name in steps_of
}
for name, errors in worst.items():
    print(f"{name:15s} largest distance to the Gaussian at n = 16, 64, 256:", *[f"{e:.4f}" for e in errors])
assert all(a > b for errors in worst.values() for a, b in pairwise(errors))
figure

# %% [markdown]
r"""
*Sums of three kinds of steps (exact probabilities, divided by the spacing of the values). At $n = 64$ one
can no longer tell the coin from the die. The lopsided coin takes longest: four times as many steps halve
its distance, where they quarter that of the other two.*

What it needs: independent steps of one kind, and a finite variance. **Before you read on:** steps with the
density $1/\big(\pi(1+x^2)\big)$ fall between $-1$ and $1$ half of the time, and now and then are enormous;
their variance is infinite. You take the *mean* of a thousand of them. How often does that fall between $-1$
and $1$?

Waves know. Such a step has $c(\omega) = e^{-|\omega|}$ (a classical integral). The mean of $n$ steps has
$\big[e^{-|\omega|/n}\big]^n = e^{-|\omega|}$: the very same. A thousand measurements are worth no more than
one. The answer is: half of the time, as for a single step.
"""

# %%
cauchy = torch.distributions.Cauchy(torch.tensor(0.0, dtype=torch.float64), 1.0)
uniform = torch.rand(4000, 1000, generator=seeded(21), dtype=torch.float64)
means = cauchy.icdf(uniform).mean(1)
print(f"between -1 and 1: {(means.abs() < 1).double().mean():.1f} of the means of a thousand such steps")

# %% [markdown]
r"""
## 1.3 Brownian motion

Let the steps become small and many. There is a step every $\Delta$ seconds. How large must it be, so that
the motion has a limit as $\Delta \to 0$?

In a time $t$ there are $t/\Delta$ steps, so by (1.2) the variance at time $t$ is $h^2\,t/\Delta$. It stays
what it is if $h^2$ shrinks in proportion to $\Delta$. Call the constant $2D$ (the 2 is a custom that pays
off later): $h = \sqrt{2D\Delta}$. And since many steps add up to a Gaussian anyway, we take Gaussian ones
from the start:

$$x_{t+\Delta} = x_t + \sqrt{2D\,\Delta}\;\varepsilon, \qquad
\varepsilon \sim \mathcal N(0, 1) \text{ new in each step}. \tag{1.8}$$
<!-- definition 1.8: our choice of the step; D, in data units squared per time unit, is a name -->

$D$ is the **diffusion coefficient**, in data units squared per unit of time. In short one writes
$dx = \sqrt{2D}\;dW$. Here $dW$ stands for a kick of mean 0 and *variance* $dt$, independent of all other
kicks: $\sqrt{dt}\,\varepsilon$.

Does the result depend on $\Delta$? By (1.7) a Gaussian of standard deviation $a$ has the wave average
$e^{-a^2\omega^2/2}$. By (1.5) the sum of two of them has $e^{-(a^2+b^2)\,\omega^2/2}$, which is again that
of a Gaussian: variances add, and the shape stays. (Chapter 5 shows the same by turning one's head.) So
steps of any sizes, taken together, give

$$x_t = x_0 + \sqrt{2D\,t}\;\varepsilon, \qquad\text{that is}\qquad
x_t \sim \mathcal N(x_0,\ 2D\,t). \tag{1.9}$$

One step of length $t$ does what a million small ones do. That limit is **Brownian motion**. Now look
closely at one path of it.

**Before you read on.** A path runs from time 0 to time 1. You measure its length with steps of
$\Delta = 0.01$: you add up all $|\Delta x|$. Then you measure again with steps of $0.0001$. Is the result
about the same, 10 times as long, or 100 times?

A Gaussian has $\mathbb E\,|\varepsilon| = \sqrt{2/\pi}$. There are $t/\Delta$ steps of size
$\sqrt{2D\Delta}$. So length and sum of *squares* of the steps are, on average,

$$\mathbb E \sum |\Delta x| = \frac t\Delta\,\sqrt{2D\Delta}\,\sqrt{\frac2\pi}
= 2t\,\sqrt{\frac{D}{\pi\,\Delta}},
\qquad \mathbb E \sum (\Delta x)^2 = \frac t\Delta\; 2D\Delta = 2D\,t. \tag{1.10}$$

The length goes to infinity as $\Delta \to 0$: ten times as long in our question. A Brownian path has no
velocity. But the sum of squares does not care how finely one looks, and for small $\Delta$ it hardly varies
from path to path. An ordinary smooth curve is the other way round: finite length, and a sum of squares that
goes to zero. All that is peculiar about calculus with noise comes from this line. Chapter 3 uses it.
"""

# %%
D, t = 0.8, 1.5
generator = seeded(3)
lengths = torch.tensor([0.45, 0.075, 0.3, 0.015, 0.66])  # five steps of different lengths, 1.5 in all
x = torch.full((200_000,), 0.7)
for step in lengths:
    x = x + torch.sqrt(2 * D * step) * torch.randn(x.shape, generator=generator)
verify_mean(
    "1.9", torch.stack([x, (x - 0.7) ** 2, (x - 0.7) ** 4], dim=1), [0.7, 2 * D * t, 3 * (2 * D * t) ** 2]
)

fine = math.sqrt(2 * D * t / 4096) * torch.randn(400, 4096, generator=generator)  # 400 paths, 4096 steps
for steps in (64, 4096):
    dx = fine.reshape(400, steps, -1).sum(2)  # what a coarse look sees: small steps joined to larger ones
    expected = [2 * t * math.sqrt(D * steps / (math.pi * t)), 2 * D * t]
    verify_mean("1.10", torch.stack([dx.abs().sum(1), dx.square().sum(1)], dim=1), expected)
    length, squares = dx.abs().sum(1).mean(), dx.square().sum(1)
    print(f"{steps:4d} steps: length {length:.1f}, sum of squares {squares.mean():.1f} ± {squares.std():.2f}")

# %%
path = torch.cat(
    [torch.zeros(1), math.sqrt(1 / 65_536) * torch.randn(65_536, generator=seeded(25)).cumsum(0)]
)
times = torch.linspace(0, 1, 65_537)
figure, axes = panels(1, 3, width=11.5, height=3.3)
zooms = ((0.0, 1.0), (0.5, 1 / 16), (0.53125, 1 / 256))
for ax, (begin, width), color in zip(axes, zooms, (DATA, SCORE, VELOCITY), strict=True):
    first, last = round(65_536 * begin), round(65_536 * (begin + width))
    shown = path[first : last + 1]
    ax.plot(times[first : last + 1], shown, color=color, linewidth=0.9)
    middle, half = (shown.max() + shown.min()) / 2, 0.9 * math.sqrt(width)
    ax.set(xlim=(begin, begin + width), ylim=(middle - half, middle + half), xlabel="time t")
    ax.set_xticks([begin, begin + width], [f"{begin:.4f}", f"{begin + width:.4f}"])
    assert shown.max() - shown.min() < 2 * half
axes[0].set_ylabel("$x_t$ (data units)")
for ax, title in zip(
    axes, ("the whole path", "1/16 of its time, 1/4 of its height", "another 1/16, another 1/4")
):
    ax.set_title(title)
figure

# %% [markdown]
r"""
*One path, twice enlarged: 16 times in time, and 4 times in height. Each part looks as rough as the whole.
In the mathematics that goes on without end; this path ends with its 65,536 steps, 256 of them on the right.*

## 1.4 Free diffusion flattens everything

Now not one walker but a crowd, with a density $p_0$ at the start. A walker that is at $x$ at time $t$ came
from some $y$, and moved by a Gaussian step of variance $2Dt$. Add up over all $y$:

$$p_t(x) = \int \mathcal N(x;\ y,\ 2D\,t)\; p_0(y)\; dy. \tag{1.11}$$

Each value of $p_t$ is a weighted average of values of $p_0$ from an ever wider neighbourhood. Averages
level: peaks are lowered and valleys filled.

**Before you read on.** $p_0$ has a narrow tooth of width 0.1 and a broad hill of width 1. The tooth is gone
at time $t$. When is the hill gone: at $2t$, $10\,t$ or $100\,t$?

Waves answer at once. The noise $\sqrt{2Dt}\,\varepsilon$ is independent of the start and symmetric, so
(1.5) holds with it (the sine that must vanish is that of the noise):

$$\mathbb E\cos(\omega\,x_t) = e^{-\omega^2 D\,t}\;\mathbb E\cos(\omega\,x_0). \tag{1.12}$$

A ripple of frequency $\omega$ keeps its place and fades at the rate $\omega^2 D$. Fine detail, large
$\omega$, dies first. Ten times finer dies a hundred times sooner: the hill is gone at $100\,t$.

And where does it end? On a line without walls, nowhere. No value of $p_t$ exceeds the peak of the Gaussian
in (1.11), $1/\sqrt{4\pi D t}$, which goes to zero. The crowd gets thinner for ever, and *no* distribution
remains as it is. Between walls it becomes flat. Either way it forgets: what $p_0$ was cannot be seen any
more. **Noise alone forgets everything.**
"""

# %%
skyline = torch.tensor([0, 0, 3, 0, 1, 4, 1, 0, 0, 2, 2, 2, 2, 5, 0, 0], dtype=torch.float64)
skyline = skyline / (skyline.sum() * 0.25)  # sixteen blocks of width 0.25, from -2 to 2
x = torch.linspace(-12, 12, 9601, dtype=torch.float64)  # blocks end at grid points of this
dx = x[1] - x[0]
edges = torch.linspace(-2, 2, 17, dtype=torch.float64)
D, moments = 0.5, (0.001, 0.01, 0.1, 1.0)


def spread_out(x, t):
    """(1.11) for a density of blocks: a block's integral is a difference of two values of the Gaussian's."""
    below = 0.5 * (1 + torch.erf((x[:, None] - edges) / math.sqrt(4 * D * t)))
    return (below[:, :-1] - below[:, 1:]) @ skyline


generator = seeded(4)
block = torch.multinomial(skyline, 100_000, replacement=True, generator=generator)
x0 = edges[block] + 0.25 * torch.rand(100_000, generator=generator)
later = x0 + math.sqrt(2 * D * 0.1) * torch.randn(100_000, generator=generator)
inside = (x > -0.5 - 1e-9) & (x < 0.25 + 1e-9)
expected = torch.trapezoid(spread_out(x[inside], 0.1), x[inside]).item()
verify_mean("1.11", ((later > -0.5) & (later < 0.25)).double(), expected)

omega = torch.tensor([1.0, 4.0, 8.0], dtype=torch.float64)
ends = torch.sin(omega[:, None] * edges) / omega[:, None]
at_first = ends.diff() @ skyline  # E cos(omega x0), integrated block by block
waves = torch.cos(omega[:, None] * x) @ spread_out(x, 0.1) * dx
verify("1.12", waves, torch.exp(-(omega**2) * D * 0.1) * at_first, over="waves")

box = (torch.arange(40) == 0).double()  # forty places between two walls; all begin in the first
for _ in range(10_000):  # half of each place to the left, half to the right; at a wall one stays
    box = 0.5 * torch.cat([box[:1], box[:-1]]) + 0.5 * torch.cat([box[1:], box[-1:]])
print(f"between walls: shares from {box.min():.4f} to {box.max():.4f}; flat would be {1 / 40:.4f}")

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.5)
left.stairs(skyline, edges, color=NOISE, fill=True, alpha=0.35)
line = torch.linspace(-4, 4, 801, dtype=torch.float64)
for t, color, style in zip(moments, (DATA, SCORE, VELOCITY, INK), ("-", "--", "-.", "-"), strict=True):
    left.plot(line, spread_out(line, t), color=color, linestyle=style, label=f"t = {t:g}", linewidth=1.8)
left.legend(frameon=False, fontsize=10, loc="upper left")
left.set(
    xlim=(-4, 4), xlabel="position x (data units)", ylabel="density", title="a skyline (grey) in the noise"
)
omega = torch.linspace(0, 30, 300, dtype=torch.float64)
for t, color, style in zip(moments, (DATA, SCORE, VELOCITY, INK), ("-", "--", "-.", "-"), strict=True):
    right.plot(omega, torch.exp(-(omega**2) * D * t), color=color, linestyle=style)
right.set(xlabel=r"frequency $\omega$ (1 / data units)", ylabel="what is left of a wave")
right.set_title(r"the factor $e^{-\omega^2 D t}$ of (1.12)")
for u, v, t, color in (
    (23, 0.8, 0.001, DATA),
    (10.5, 0.62, 0.01, SCORE),
    (4.6, 0.42, 0.1, VELOCITY),
    (2.3, 0.12, 1, INK),
):
    right.text(u, v, f"t = {t:g}", color=color)
assert spread_out(line, 1.0).max() < 1 / math.sqrt(4 * math.pi * D * 1.0)
figure

# %% [markdown]
r"""
*The corners go first, then the single towers, then the gaps between the quarters. At $t = 1$ a broad hump
is all that remains.*

## 1.5 A pull

Something must hold the crowd together. Tie every walker to the origin with a rubber band: the force is
$-x$. In a thick liquid a body has no momentum worth the name, and its *velocity* is proportional to the
force. In a time $\Delta$ it moves by $-x\,\Delta$, and the noise kicks it:

$$x_{t+\Delta} = x_t - x_t\,\Delta + \sqrt{2\Delta}\;\varepsilon,
\qquad\text{in short}\qquad dx = -x\,dt + \sqrt2\;dW. \tag{1.13}$$
<!-- definition 1.13: the Ornstein-Uhlenbeck process -->

That was the line in the loop on top of the chapter. In the limit of small $\Delta$ it is called the
**Ornstein–Uhlenbeck process**, OU for short.

What happens to the mean $m$ and the variance $V$ of the crowd? In one step $x$ is multiplied by
$1 - \Delta$, and gets independent noise of variance $2\Delta$:

$$m \to (1-\Delta)\,m, \qquad
V \to (1-\Delta)^2\,V + 2\Delta = V + (2 - 2V)\,\Delta + V\,\Delta^2. \tag{1.14}$$

Divide the changes by $\Delta$ and let it go to zero. Then $\dot m = -m$ and $\dot V = 2 - 2V$ (the band
acts on $x$, so twice on $x^2$). The second is $\frac{d}{dt}(V - 1) = -2\,(V-1)$. Both are exponentials:

$$m(t) = e^{-t}\,m(0), \qquad V(t) - 1 = e^{-2t}\,\big(V(0) - 1\big). \tag{1.15}$$

Whatever the crowd was, its mean goes to 0 and its variance to 1. At variance 1 the squeezing by the band
and the spreading by the noise are in balance. And if the crowd started at one point $x_0$? Then $x_t$ is a
sum of Gaussian kicks, each shrunk by the bands of later steps, so it is Gaussian by section 1.3, with
$V(0) = 0$. Thus

$$x_t = e^{-t}\,x_0 + \sqrt{1 - e^{-2t}}\;\varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1). \tag{1.16}$$
<!-- code 1.16: diffedu.core.path.VP -->
<!-- code 1.16: diffedu.show.widgets.equilibrium.shrink_and_variance -->

One jump again instead of many steps, and look at what remains for large $t$: the start $x_0$ has the factor
zero. **Every start ends at $\mathcal N(0, 1)$**, and a crowd that is $\mathcal N(0,1)$ stays so.

That answers the question at the beginning. The walkers never rest. What has come to rest is their
*distribution*: as many walkers enter any small region as leave it. This is an **equilibrium**.

The jump (1.16) is not only physics. It *is* the noising process of diffusion models,
$x_t = \alpha x_0 + \sigma\varepsilon$ of chapter 0, with $\alpha = e^{-t}$. The package calls it `VP`; with
a rate of 2 it is our OU process.
"""


# %%
def ou_jump(x0, eps, t):
    """(1.16): where a walker that started at x0 is after a time t."""
    return math.exp(-t) * x0 + math.sqrt(1 - math.exp(-2 * t)) * eps


generator = seeded(5)
x = 3 * torch.rand(400_000, generator=generator)  # flat between 0 and 3: mean 1.5, variance 0.75
dt = 0.2  # a large step: (1.14) holds for every size
x = x - x * dt + math.sqrt(2 * dt) * torch.randn(x.shape, generator=generator)
expected = [(1 - dt) * 1.5, (1 - dt) ** 2 * 0.75 + 2 * dt]
verify_mean("1.14", torch.stack([x, (x - expected[0]) ** 2], dim=1), expected)

m = V = 2.5
steps, t = 100_000, 0.8
for _ in range(steps):  # (1.14), a hundred thousand times
    m, V = (1 - t / steps) * m, (1 - t / steps) ** 2 * V + 2 * t / steps
verify("1.15", [m, V], [2.5 * math.exp(-t), 1 + 1.5 * math.exp(-2 * t)], rtol=1e-4)

x = torch.full((30_000,), 2.0)
for _ in range(400):  # a walk from one point, in small steps
    x = x - x * 0.001 + math.sqrt(2 * 0.001) * torch.randn(x.shape, generator=generator)
a, s2 = math.exp(-0.4), 1 - math.exp(-0.8)
expected = [a * 2, s2, 3 * s2**2]
verify_mean("1.16", torch.stack([x, (x - a * 2) ** 2, (x - a * 2) ** 4], dim=1), expected)

ou = VP(beta_min=2.0, beta_max=2.0, t_max=3.0)
x0, eps = torch.randn(2, 50, generator=generator, dtype=torch.float64)
for t in (0.01, 0.5, 3.0):
    assert torch.allclose(ou_jump(x0, eps, t), ou.add_noise(x0, eps, torch.tensor(t).double()), atol=1e-12)
print("the jump is what VP(2, 2).add_noise does")

# %% [markdown]
r"""
(In the third check the step is small but not zero, and its mean and variance are off by less than the error
bar. What finite steps do to the place where the crowd settles is chapter 2's first question.)
"""

# %%
figure, (left, middle, right) = panels(1, 3, width=12, height=3.5)
generator, walk = seeded(6), [torch.tensor([3.5] * 4 + [-2.5] * 4)]
steps, dt = 400, 0.01
for _ in range(steps):
    walk.append(walk[-1] * (1 - dt) + math.sqrt(2 * dt) * torch.randn(8, generator=generator))
t = torch.linspace(0, 4, steps + 1)
left.axhspan(-2, 2, color="#EDEDED")
left.plot(t, torch.stack(walk)[:, :4], color=DATA, linewidth=0.9, alpha=0.7)
left.plot(t, torch.stack(walk)[:, 4:], color=SCORE, linewidth=0.9, alpha=0.7)
left.text(0.08, -3.8, "grey: equilibrium, ± 2 standard deviations", color=INK, fontsize=9)
left.set(xlabel="time t", ylabel="$x_t$", title="eight walkers, two starts", ylim=(-4.3, 4.3))
for value, color, style in ((0.0, NOISE, "-"), (1.0, DATA, "--"), (3.0, VELOCITY, "-.")):
    middle.plot(t, 1 + (value - 1) * torch.exp(-2 * t), color=color, linestyle=style)
for x, y, word, color in (
    (0.5, 0.35, "one point", NOISE),
    (2.4, 1.06, "variance 1", DATA),
    (0.45, 2.1, "variance 3", VELOCITY),
):
    middle.text(x, y, word, color=color)
middle.set(xlabel="time t", ylabel="variance of the crowd", title="three starts, one end", ylim=(0, 3.2))
line = torch.linspace(-4.2, 4.2, 400)
for time, color, style in ((0.02, INK, "-"), (0.2, SCORE, "--"), (0.7, VELOCITY, "-."), (3.0, DATA, "-")):
    mean, std = 3.5 * math.exp(-time), math.sqrt(1 - math.exp(-2 * time))
    right.plot(
        line,
        torch.exp(-((line - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi)),
        color=color,
        linestyle=style,
    )
for x, y, time, color in (
    (1.3, 1.75, 0.02, INK),
    (1.2, 0.74, 0.2, SCORE),
    (-0.4, 0.52, 0.7, VELOCITY),
    (-2.6, 0.34, 3, DATA),
):
    right.text(x, y, f"t = {time:g}", color=color, ha="left")
right.set(xlabel="position x", ylabel="density", title="from $x_0 = 3.5$, by (1.16)", xlim=(-4.2, 4.2))
figure

# %% [markdown]
r"""
*Left: walkers from two places soon mix, and none of them rests. Middle: variance is drawn to 1 from both
sides. Right: the bell slides to the middle while it widens.*

## 1.6 The law of the equilibrium

A rubber band is one pull of many. Let the force be $-U'(x)$, downhill in a **potential** $U$. For the band,
$U = x^2/2$. The general law that this book uses has two more knobs:

$$dx = -\mu\,U'(x)\,dt + \sqrt{2\,\mu\,kT}\;dW. \tag{1.17}$$
<!-- definition 1.17: the general law, with mobility and temperature; in the plane U' is the gradient -->

(In the plane $U'$ becomes the gradient $\nabla U$, and each coordinate has its own kicks.) The **mobility**
$\mu$ says how much velocity a unit of force buys (water: large, honey: small). The **temperature** $kT$
says how much energy the kicks carry. Read $kT$ as one letter: it is the temperature in units of energy. So
the diffusion coefficient of section 1.3 is $D = \mu\,kT$. That noise and friction share the factor $\mu$ is
Einstein's relation of 1905: the same collisions that kick a particle also brake it. (1.13) has
$\mu = kT = 1$.

Where does the crowd settle? We have a formula for a band. For any other $U$ let us go back to the coin, and
count.

### Counting walkers at a border
Put the walker on places with distance $h$. With what probabilities $P_+$ and $P_-$ should it step to the
right and to the left, once every $\Delta$? The noise fixes $h^2 = 2\mu kT\,\Delta$ as in (1.8). And the
mean movement must be that of the force: $h\,(P_+ - P_-) = -\mu\,U'\,\Delta$. With $\Delta = h^2/(2\mu kT)$
and $P_+ + P_- = 1$ this gives

$$P_\pm(x) = \frac12\,\Big(1 \mp \frac{h\,U'(x)}{2\,kT}\Big). \tag{1.18}$$

A coin with a bias, downhill ($h$ must be so small that both lie between 0 and 1). The mobility has
dropped out: it is only in $\Delta$, the time between two tosses.

Now imagine a large crowd in equilibrium, with a share $q(x)$ at each place. Look at the border between two
neighbours, $x$ and $x + h$. In each round a share $q(x)\,P_+(x)$ crosses it to the right, and
$q(x+h)\,P_-(x+h)$ to the left. The crowd to the left of the border has no other way in or out, because the
line has an end on its left: a wall, or a slope so high that nobody climbs it. In equilibrium its share does
not change, so the border is in balance:

$$q(x)\,P_+(x) = q(x+h)\,P_-(x+h). \tag{1.19}$$

**Before you read on.** Where the force points left, the coin prefers left. Is the crowd then denser on the
left or on the right of the border? And does (1.19) leave you a choice?

Take logarithms, put (1.18) in, and use $\log(1 + y) = y - y^2/2 + O(y^3)$:

$$\log\frac{q(x+h)}{q(x)} = \log\frac{P_+(x)}{P_-(x+h)}
= \log\Big(1 - \frac{h\,U'(x)}{2kT}\Big) - \log\Big(1 + \frac{h\,U'(x+h)}{2kT}\Big)
\approx -\frac{h}{kT}\;\frac{U'(x) + U'(x+h)}{2}.$$

The last expression is slope times distance, so it is $-\big(U(x+h) - U(x)\big)/kT$. What was left out is of
the order $h^3$ at each border: the two $y^2/2$ differ only by the step from $x$ to $x + h$. There are about
$1/h$ borders on the way between two given points, so all of it together is of the order $h^2$ and vanishes
(the cell below measures that). So $\log q$ falls by as much as $U/kT$ rises, from place to place all along
the line: the crowd is denser on the side to which the force points. And (1.19) left no choice, since it
fixes the ratio of any two neighbours. We have

$$q(x) = \frac1Z\; e^{-U(x)/kT}, \qquad Z = \int e^{-U(x)/kT}\,dx. \tag{1.20}$$

This is **Boltzmann's law**. The sum of all shares is 1, which fixes $Z$. Where energy is high few walkers
are; how few, the temperature decides. Mobility is not in it: it says how *fast* the crowd settles, and not
*where*. In several dimensions one counts along each axis, and the result is the same. Chapter 3 counts out
of equilibrium as well, and gets an equation for the whole density in time, that of Fokker and Planck.

The check solves for equilibrium without the argument above. It writes down all probabilities of all steps
as a matrix and asks, by linear algebra, which shares are unchanged by a round. The landscape has two
valleys.
"""


# %%
def double_well(x):
    return (x**2 - 1) ** 2


def settled_walk(U, temperature, h, end=1.8):
    """Places, and the shares of a biased walk (1.18) that one round leaves unchanged; the ends are walls."""
    x = torch.arange(round(2 * end / h) + 1, dtype=torch.float64) * h - end
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(U(point).sum(), point)
    right = 0.5 * (1 - h * slope / (2 * temperature))
    left = 1 - right
    round_ = torch.diag(right[:-1], 1) + torch.diag(left[1:], -1)  # entry (i, j): from place i to place j
    round_[0, 0], round_[-1, -1] = left[0], right[-1]  # at a wall one stays
    equations = round_.T - torch.eye(len(x), dtype=torch.float64)  # what comes in minus what goes out
    equations[-1] = 1.0  # one of them follows from the others; instead: all shares add up to 1
    goal = torch.zeros(len(x), dtype=torch.float64)
    goal[-1] = 1.0
    return x, torch.linalg.solve(equations, goal), right


temperature = 0.4
x, shares, right = settled_walk(double_well, temperature, 0.02)
verify("1.19", shares[:-1] * right[:-1], shares[1:] * (1 - right[1:]), over="borders")
boltzmann = torch.softmax(-double_well(x) / temperature, dim=0)
verify("1.20", shares / 0.02, boltzmann / 0.02, rtol=3e-3, over="places")

errors = []
for h in (0.04, 0.02, 0.01):
    x, shares, _ = settled_walk(double_well, temperature, h)
    ratio = shares / torch.softmax(-double_well(x) / temperature, dim=0)
    errors.append((ratio - 1)[x.abs() < 1.4].abs().max().item())
print("half the distance between places divides the error by", *[f"{a / b:.1f}" for a, b in pairwise(errors)])

slope, h, mobility = 1.5, 0.1, 3.0
to_the_right = torch.rand(200_000, generator=seeded(7)) < 0.5 * (1 - h * slope / (2 * temperature))
moves = h * (2.0 * to_the_right - 1)
pause = h**2 / (2 * mobility * temperature)  # Delta
verify_mean("1.18", moves, -mobility * slope * pause)

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.6)
line = torch.linspace(-1.8, 1.8, 500, dtype=torch.float64)
left.plot(line, double_well(line), color=INK)
for kT, color in ((0.15, DATA), (0.4, VELOCITY), (1.5, SCORE)):
    left.axhline(kT, color=color, linewidth=1.2, linestyle="--")
    left.text(1.85, kT, f"kT = {kT:g}", color=color, va="center")
    x, shares, _ = settled_walk(double_well, kT, 0.02)
    q = torch.exp(-double_well(line) / kT)
    right.plot(line, q / torch.trapezoid(q, line), color=color)
    right.plot(x[::6], shares[::6] / 0.02, "o", color=color, markersize=3.5)
for x, y, word, color in (
    (-0.78, 1.05, "cold", DATA),
    (-0.62, 0.55, "warm", VELOCITY),
    (-0.1, 0.26, "hot", SCORE),
):
    right.text(x, y, word, color=color)
left.set(
    xlim=(-1.8, 1.8),
    ylim=(0, 2.2),
    xlabel="position x",
    ylabel="energy U(x)",
    title="two valleys, $U = (x^2 - 1)^2$",
)
right.set(xlabel="position x", ylabel="density q(x)", title="dots: the settled walk; lines: (1.20)")
figure

# %% [markdown]
r"""
*Cold: two crowds, and hardly anybody on the pass between them. Hot: the valleys are barely felt.
Boltzmann's formula (lines) passes through the shares that linear algebra finds (dots).*

### The Gaussian
For the band of stiffness $\kappa$, $U = \tfrac12\kappa x^2$, Boltzmann's law is a Gaussian:

$$q(x) \propto e^{-\kappa x^2 / 2kT}, \qquad\text{that is}\qquad
q = \mathcal N\Big(0,\ \frac{kT}{\kappa}\Big),
\qquad \mathbb E\,U = \tfrac12\,kT. \tag{1.21}$$

For $\kappa = kT = 1$ that is the $\mathcal N(0, 1)$ of section 1.5, found there by following mean and
variance, and here by counting at borders. The mean energy is $\tfrac12 kT$ (in each dimension) for every
stiffness: a weak spring is stretched further, to the same energy.

### Reading it backwards
Now the step from physics to models. Boltzmann's law says: give me a landscape, and I tell you the crowd.
Turn it round. *Given a density $q$ that we want samples of, which landscape has it as its crowd?* Solve
(1.20) for $U$: $U = -kT\,\log q$, up to a constant. Put that into (1.17). With $\mu = kT = 1$,

$$dx = \nabla \log q(x)\,dt + \sqrt2\;dW \qquad\text{settles at } q. \tag{1.22}$$

Uphill on $\log q$, plus noise. **Mind the $\sqrt 2$.** It belongs to a pull of exactly
$1 \cdot \nabla\log q$. In other books you will meet $\tfrac12\nabla\log q\,dt + dW$, which is the same
thing at half the speed, and other pairs. What must not change is that noise squared is twice the pull's
factor. Exercises 1.5 and 1.6 are about it.

$\nabla \log q$ is called the **score**, and (1.22) is **Langevin dynamics**. To sample from $q$ it is enough
to know its score, and to wait. Chapter 2 lives off this line, and chapter 4 learns the score from examples.
"""

# %%
stiffness, temperature, mobility = 3.0, 0.6, 2.0
V, dt = 5.0, 1e-5
for _ in range(200_000):  # the variance of (1.17) with a band, step by step, as in (1.14)
    V = (1 - mobility * stiffness * dt) ** 2 * V + 2 * mobility * temperature * dt
x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
q = torch.softmax(-stiffness * x**2 / 2 / temperature, dim=0)  # Boltzmann on a grid
verify("1.21", [V, stiffness * V / 2], [(q * x**2).sum().item(), temperature / 2], rtol=1e-4)

generator = seeded(8)
valleys = GaussianMixture.isotropic(torch.tensor([[-1.0], [1.4]]), 0.6, torch.tensor([0.3, 0.7]))
x, dt = torch.zeros(10_000, 1), 0.01
for _ in range(1200):
    x = x + valleys.score(x) * dt + math.sqrt(2 * dt) * torch.randn(x.shape, generator=generator)
grid = torch.linspace(-5, 5, 2001)
density = valleys.log_prob(grid[:, None]).exp()
left_share = torch.trapezoid(density[grid <= 0], grid[grid <= 0]).item()
verify_mean("1.22", (x[:, 0] <= 0).double(), left_share)

# %% [markdown]
r"""
## 1.7 Two ways to lose everything

(1.22) has two parts. Why not leave one out? If you want good samples, points where $q$ is large: why not
only climb? Here is a density in the plane with three hills, and two thousand walkers that start anywhere in
a square.
"""

# %%
means = torch.tensor([[-0.9, -0.6], [1.0, -0.5], [0.1, 1.0]])
axes_of = torch.tensor(
    [[[0.35, 0.20], [0.20, 0.30]], [[0.15, 0.0], [0.0, 0.40]], [[0.50, -0.1], [-0.1, 0.15]]]
)
target = GaussianMixture(torch.tensor([0.45, 0.25, 0.30]), means, axes_of)
generator = seeded(9)
begin = 5 * torch.rand(2000, 2, generator=generator) - 2.5


def run(climb, noise, dt=0.005, steps=1600):
    """Points after a time of 8 by (1.22), with either part switched on or off."""
    x, generator = begin, seeded(10)
    for _ in range(steps):
        x = (
            x
            + climb * target.score(x) * dt
            + noise * math.sqrt(2 * dt) * torch.randn(x.shape, generator=generator)
        )
    return x


ends = {
    "start": begin,
    "climb, no noise": run(1, 0),
    "noise, no climb": run(0, 1),
    "climb and noise": run(1, 1),
}
exact = target.sample(2000, seeded(11))
perfect = floor(energy_distance, target.sample, 2000, generator=seeded(12), repeats=5)
distances = {name: energy_distance(cloud, exact).value for name, cloud in ends.items()}
for name, value in distances.items():
    print(f"{name:16s} energy distance " + (f"{value:.2f}" if value > 0.01 else "below 0.01"))
print("perfect samples  energy distance below 0.01")
climbed = ends["climb, no noise"]
apart = torch.cdist(climbed, climbed) < 0.02  # who stands where I stand?
places = len(apart.float().argmax(1).unique())  # the first of those who stand where I stand
hills = torch.cdist(climbed, means).argmin(1).bincount() / 2000
print(f"climbing alone: all walkers at {places} places, with shares", *[f"{v:.1f}" for v in hills])
print("the hills of the density, in the same order, have the shares", *[f"{w:.2f}" for w in target.weights])
assert abs(perfect.mean) + 3 * perfect.standard_deviation < 0.01
assert distances["climb and noise"] < 0.01

# %%
figure, axes = panels(1, 4, width=12, height=3.3)
grid = torch.linspace(-3, 3, 121)
plane = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), dim=-1)
height = target.log_prob(plane.reshape(-1, 2)).exp().reshape(121, 121)
for ax, (name, cloud), color in zip(axes, ends.items(), (NOISE, SCORE, NOISE, DATA), strict=True):
    ax.contour(grid, grid, height, levels=6, colors="#BBBBBB", linewidths=0.8)
    dots = 60 if name == "climb, no noise" else 3
    ax.scatter(*cloud.T, s=dots, color=color, linewidths=0, alpha=0.7, zorder=3)
    square(ax, 3.0, ylabel="$x_2$" if name == "start" else "")
    ax.set_title(name)
figure

# %% [markdown]
r"""
*Contours: the density. Climbing alone stacks all walkers on the peaks: two thousand samples, three
different ones, and in shares that depend on where the walkers started. Noise alone carries most of them out
of the picture. Both together settle at the density, with the right shares and the right widths.*

**Climbing alone collapses.** Near a smooth peak every density looks like a Gaussian. For
$q = \mathcal N(0, s^2)$ the climb is $\dot x = -x/s^2$, so all distances shrink by $e^{-t/s^2}$, and the
variance of the crowd goes to zero:

$$V(t) = e^{-2t/s^2}\,V(0). \tag{1.23}$$

All samples become one. One may object that this one is at least the *best* sample. It is not even a typical
one.

**Before you read on.** Draw a point from $\mathcal N(0, I)$ in 784 dimensions (a digit has that many
pixels). Its most likely place is the origin, where the density has its peak. How far from the origin will
it be: nearly 0, about 1, or about 28?

In $d$ dimensions the squared distance is a sum of $d$ independent squares, of mean 1 and (since
$\mathbb E\,\varepsilon^4 = 3$) variance $3 - 1 = 2$ each:

$$\mathbb E\,\lVert x\rVert^2 = d, \qquad \operatorname{Var}\,\lVert x\rVert^2 = 2d. \tag{1.24}$$

So the distance $r$ is about $\sqrt d$, here 28. When $r$ changes by $\delta$, then $r^2$ changes by about
$2r\,\delta$. So $r$ varies by $\sqrt{2d}/2\sqrt d$, about $0.7$ in any high dimension. All samples lie
in a thin shell. Around the peak is nobody: the density is highest there, but there is so little room. The
most probable point and a sample are answers to two different questions.
"""

# %%
s = 0.7
x = torch.tensor([-1.0, 0.4, 2.0], dtype=torch.float64)
begin_variance = x.var()
for _ in range(20_000):
    x = x - x / s**2 * (0.5 / 20_000)  # the climb on N(0, s^2), up to t = 0.5
verify("1.23", x.var(), math.exp(-2 * 0.5 / s**2) * begin_variance, rtol=1e-4)

generator = seeded(13)
radii = {d: torch.randn(20_000, d, generator=generator).norm(dim=1) for d in (1, 2, 10, 100, 784)}
for d in (10, 784):
    squares = radii[d] ** 2
    print(f"d = {d}: distances {radii[d].mean():.1f} ± {radii[d].std():.1f}")
    verify_mean("1.24", torch.stack([squares, (squares - d) ** 2], dim=1), [d, 2 * d])
near = {d: (r < 0.5 * math.sqrt(d)).double().mean().item() for d, r in radii.items()}
print(
    "nearer to the peak than half the typical distance:",
    ", ".join(f"d = {d}: {v:.2f}" for d, v in near.items()),
)

# %%
figure, (ax,) = panels(1, 1, width=8.5, height=3.1)
for r, color, style in zip(radii.values(), CYCLE, ("-", "--", "-.", "-", "-"), strict=False):
    counts, bins = torch.histogram(r, bins=40)
    ax.plot((bins[1:] + bins[:-1]) / 2, counts / (20_000 * (bins[1] - bins[0])), color=color, linestyle=style)
for u, v, d, color in ((0.6, 0.78, 1, CYCLE[0]), (1.1, 0.64, 2, CYCLE[1]), (3.4, 0.58, 10, CYCLE[2])):
    ax.text(u, v, f"d = {d}", color=color)
ax.text(10, 0.63, "d = 100", color=CYCLE[3], ha="center")
ax.text(28, 0.63, "d = 784", color=CYCLE[4], ha="center")
ax.set(xlim=(0, 31), ylim=(0, 0.9), ylabel="density of the distance")
ax.set_xlabel("distance from the peak of the density (standard deviations of a coordinate)")
ax.set_title("where the samples of a Gaussian are")
figure

# %% [markdown]
r"""
*In one dimension samples crowd around the peak. In a hundred, no sample comes near it: they all live in a
shell of radius $\sqrt d$, whose thickness does not grow.*

So a sampler must not look for the most probable point. It must look for a *distribution*, and needs the
kicks to fill it. Climb and noise are no enemies. Each repairs what the other destroys.

## 1.8 Entropy, measured

"Noise makes disorder." Let us put a number on that, and see how far the sentence is true.

The **entropy** of a density is the average of $-\log p$, in *nats*:

$$H(p) = -\int p(x)\,\log p(x)\,dx,
\qquad\text{for a Gaussian of variance } V\text{:}\quad H = \tfrac12\log(2\pi e\,V). \tag{1.25}$$

(For the Gaussian $-\log p = \tfrac12\log(2\pi V) + x^2/2V$, and the average of the last term is
$\tfrac12$.) Think of $e^{H}$ as the *width* of the region over which the walkers are spread. Twice the
width means $\log 2$ more entropy. Two warnings. First, this entropy may be negative: a narrow crowd has
$e^H < 1$. Second, it depends on the units, since metres and centimetres give different widths.
Only differences mean something.

From points it can be measured with a histogram. If a share $f_i$ of them falls into a bin of width $h$, the
density there is about $f_i/h$, and

$$\hat H = -\sum_i f_i\,\log\frac{f_i}{h}. \tag{1.26}$$
<!-- definition 1.26: the histogram estimate of (1.25) -->

### Free diffusion: it grows, always
Why must it grow? To say it exactly we need a measure of how far a density $p$ is from another one, $q$. The
**Kullback–Leibler divergence** is the average of the log-ratio,

$$\mathrm{KL}(p\,\Vert\,q) = \int p(x)\,\log\frac{p(x)}{q(x)}\,dx \;\ge\; 0, \tag{1.27}$$

and zero only if the two are equal. That it cannot be negative follows from $\log y \le y - 1$ (the
logarithm lies below its tangent at 1):

$$-\mathrm{KL}(p\,\Vert\,q) = \int p\,\log\frac qp\,dx \;\le\; \int p\,\Big(\frac qp - 1\Big)\,dx
= 1 - 1 = 0.$$

Suppose somebody tells us the sum $z = \sqrt{2Dt}\,\varepsilon$ of a walker's kicks. Then its density is the
old one, only shifted, $p_0(x - z)$, with the old entropy. Not knowing $z$, we have $p_t$, the average of
all these shifted copies, (1.11). Now

$$H(p_t) = -\int p_t \log p_t = \mathbb E_z\Big[-\int p_0(x - z)\,\log p_t(x)\,dx\Big]
= H(p_0) + \mathbb E_z\Big[\mathrm{KL}\big(p_0(\cdot - z)\,\Vert\,p_t\big)\Big]. \tag{1.28}$$

(The second step writes the first $p_t$ as the average of the copies. The third adds and subtracts
$\log p_0(x - z)$.) The last term is not negative. So **noise that is added never lowers the entropy**,
whatever $p_0$ is.

### With a pull: it may fall
**Before you read on.** The OU process starts from a crowd of standard deviation 3. Its end is
$\mathcal N(0, 1)$. Does its entropy grow?

For Gaussian crowds everything is known. Put the variances (1.9), (1.15) and (1.23), with $s = 1$, into
(1.25) (the figure below takes $D = 1$):

$$H_{\text{noise}} = \tfrac12\log\big[2\pi e\,(V_0 + 2Dt)\big], \quad
H_{\text{OU}} = \tfrac12\log\big[2\pi e\,\big(1 + (V_0 - 1)\,e^{-2t}\big)\big], \quad
H_{\text{climb}} = \tfrac12\log\big[2\pi e\,V_0\big] - t. \tag{1.29}$$

From $V_0 = 9$ the OU process must come down to 1: its entropy **falls**. "Entropy grows" is a law for
things that are left alone. A crowd on rubber bands is not alone: it gives heat to the liquid around it. For
such a system physics knows another number that only goes down. It weighs energy against disorder, the
**free energy**

$$F(p) = \int p\,U\,dx - kT\,H(p) = kT\;\mathrm{KL}(p\,\Vert\,q) - kT\,\log Z,
\qquad q = \tfrac1Z\,e^{-U/kT}. \tag{1.30}$$

The second form follows by putting $U = -kT\log q - kT\log Z$ into the first: the two integrals join to
$kT\int p\,(\log p - \log q)$. And now see what it says. By (1.27) $F$ is smallest for $p = q$. Boltzmann's
law is what one gets by making energy and disorder as good as both can be; the temperature is the rate of
exchange.

That $F$ falls along the way takes two lines for the OU process and Gaussian crowds, $U = x^2/2$,
$kT = 1$. Then $\mathrm{KL} = \tfrac12\,(V + m^2 - 1 - \log V)$, and with $\dot V = 2 - 2V$, $\dot m = -m$,

$$\frac{dF}{dt} = \frac12\Big(\dot V - \frac{\dot V}{V}\Big) + m\,\dot m
= -\frac{(V-1)^2}{V} - m^2 \;\le\; 0. \tag{1.31}$$

It stops falling only at $V = 1$, $m = 0$: at the equilibrium. Chapter 3 proves the same for every start and
every $U$.
"""


# %%
def histogram_entropy(points, bins=100):
    """(1.26): entropy in nats from points, shape (n,)."""
    counts, edges = torch.histogram(points, bins=bins)
    f = counts[counts > 0] / len(points)  # an empty bin adds nothing: f log f goes to 0
    return -(f * torch.log(f / (edges[1] - edges[0]))).sum()


x = torch.linspace(-14, 14, 5601, dtype=torch.float64)
dx = x[1] - x[0]


def integral(values):
    return (values * dx).sum(-1)


def normal(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def entropy(p):
    return integral(-p * torch.log(p.clamp(min=1e-300)))


def kl(p, q):
    return integral(p * torch.log(p.clamp(min=1e-300) / q.clamp(min=1e-300)))


verify("1.25", entropy(normal(x, 0.3, 1.7)), 0.5 * math.log(2 * math.pi * math.e * 1.7))
a, b = normal(x, 0.4, 0.8), normal(x, -0.2, 1.5)
verify("1.27", kl(a, b), 0.5 * (math.log(1.5 / 0.8) + (0.8 + 0.6**2) / 1.5 - 1))

lumps = ((0.4, -1.0, 0.05), (0.6, 1.5, 0.3))  # share, mean, variance
p0 = sum(w * normal(x, m, v) for w, m, v in lumps)
pt = sum(w * normal(x, m, v + 0.5) for w, m, v in lumps)  # after kicks of variance 2 D t = 0.5
z = torch.linspace(-5, 5, 401, dtype=torch.float64)
copies = torch.stack([sum(w * normal(x, m + k, v) for w, m, v in lumps) for k in z])
learned = (normal(z, 0.0, 0.5) * kl(copies, pt)).sum() * (z[1] - z[0])
verify("1.28", entropy(pt), entropy(p0) + learned)

kT, U = 0.7, (x**2 / 4 - 1) ** 2
Z = integral(torch.exp(-U / kT))
F = integral(p0 * U) - kT * entropy(p0)
verify("1.30", F, kT * kl(p0, torch.exp(-U / kT) / Z) - kT * torch.log(Z))

t = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
m, V = 2 * torch.exp(-t), 1 + (0.25 - 1) * torch.exp(-2 * t)
F = (V + m**2) / 2 - 0.5 * torch.log(2 * math.pi * math.e * V)  # energy minus entropy
(slope,) = torch.autograd.grad(F.sum(), t)
verify("1.31", slope, -((V - 1) ** 2) / V - m**2, over="times")

# %%
generator = seeded(14)
moments = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0])
n = 30_000
processes = {  # name: start variance, pull, noise, variance at time t by (1.9), (1.15), (1.23)
    "noise alone": (0.09, 0, 1, lambda t: 0.09 + 2 * t),
    "OU, narrow start": (0.09, 1, 1, lambda t: 1 - 0.91 * torch.exp(-2 * t)),
    "OU, wide start": (9.0, 1, 1, lambda t: 1 + 8 * torch.exp(-2 * t)),
    "climb alone": (9.0, 1, 0, lambda t: 9 * torch.exp(-2 * t)),
}
measured = {}
for name, (V0, pull, noise, _) in processes.items():
    x, now, dt = math.sqrt(V0) * torch.randn(n, generator=generator), 0.0, 0.002
    measured[name] = []
    for stop in moments:
        for _ in range(round((stop.item() - now) / dt)):  # walkers, step by step
            x = x - pull * x * dt + noise * math.sqrt(2 * dt) * torch.randn(n, generator=generator)
        now = stop.item()
        measured[name].append(histogram_entropy(x))
closed = {name: 0.5 * torch.log(2 * math.pi * math.e * V(moments)) for name, (*_, V) in processes.items()}
verify("1.29", torch.tensor(list(measured.values())), torch.stack(list(closed.values())), atol=0.03, rtol=0.0)
for name in processes:
    print(
        f"{name:17s} entropy at the start {measured[name][0]:4.1f}, at t = 3 {measured[name][-1]:4.1f} nats"
    )
print(f"entropy of the equilibrium: {0.5 * math.log(2 * math.pi * math.e):.1f} nats")

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.8)
t = torch.linspace(0, 3, 200)
colors = dict(zip(processes, (NOISE, DATA, VELOCITY, SCORE), strict=True))
for (name, (*_, V)), style in zip(processes.items(), ("-", "-", "--", "-."), strict=True):
    left.plot(t, 0.5 * torch.log(2 * math.pi * math.e * V(t)), color=colors[name], linestyle=style)
    left.plot(moments, measured[name], "o", color=colors[name], markersize=5)
for u, v, name in (
    (1.7, 2.25, "noise alone"),
    (0.55, 0.72, "OU, narrow start"),
    (0.3, 2.36, "OU, wide start"),
    (1.0, 0.3, "climb alone"),
):
    left.text(u, v, name, color=colors[name], va="bottom")
left.set(xlabel="time t", ylabel="entropy (nats)", title="dots: measured; lines: (1.29)", ylim=(-0.8, 2.9))
for (name, (*_, V)), style in zip(processes.items(), ("-", "-", "--", "-."), strict=True):
    v = V(t)
    right.plot(t, 0.5 * (v - 1 - torch.log(v)), color=colors[name], linestyle=style)
for u, v, name in (
    (1.55, 1.0, "noise alone"),
    (1.85, 0.03, "OU, narrow start"),
    (0.5, 1.4, "OU, wide start"),
    (2.3, 0.45, "climb alone"),
):
    right.text(u, v, name, color=colors[name], va="bottom")
right.set(xlabel="time t", ylabel="free energy above its minimum (kT)", ylim=(0, 3.1))
right.set_title("for $U = x^2/2$, $kT = 1$")
for name in ("OU, narrow start", "OU, wide start"):
    v = processes[name][3](t)
    assert (torch.diff(0.5 * (v - 1 - torch.log(v))) <= 1e-6).all()
figure

# %% [markdown]
r"""
*Left: noise alone gains entropy without end, climbing alone loses it without end. The OU process goes to
one value, from below and from above. Right: the free energy of both OU crowds falls to its minimum and
stays. The two incomplete processes pass by and leave again.*

### Turn the knobs
**Before you move anything**, two bets. First: two lumps, pull 1, temperature 1. Will the entropy rise to
its final value, or rise above it and come down? Second: set the pull to 0. What will the dashed line of the
equilibrium do?

Then make the temperature small, and see the crowd condense; and find out what happens to the *time* it
takes when you double pull and temperature together.
"""

# %%
NoiseAndPull()

# %%
clock = (0.0, 0.5, 1.0, 2.0, 4.0)
lumps = [moment(at_time(STARTS["two lumps"], t, stiffness=1.0, temperature=1.0), 1.0, 1.0) for t in clock]
twice = [moment(at_time(STARTS["two lumps"], t / 2, stiffness=2.0, temperature=2.0), 2.0, 2.0) for t in clock]
print("t = 0, 0.5, 1, 2, 4: entropy", *[f"{m.entropy:.2f}" for m in lumps], "nats,")
print("               free energy", *[f"{m.excess:.2f}" for m in lumps], "kT above its minimum")
assert all(abs(a.entropy - b.entropy) < 1e-6 for a, b in zip(lumps, twice, strict=True))

# %% [markdown]
r"""
**What to take from it.** From two lumps the entropy overshoots: noise fills the gap between them before
the pull has brought them in. The free energy does not care; it falls. Without a pull there is no
equilibrium, and no dashed line. Pull and temperature doubled together leave the equilibrium where it is
($kT/\kappa$ is the same) and turn the clock twice as fast: the last line of the cell compares both at
$t$ and $t/2$.

## 1.9 The idea of undoing it

Everything flows to $\mathcal N(0, 1)$, from any start. That is what a modeller dreams of, with the arrow
pointing the wrong way: from $\mathcal N(0, 1)$, which every computer can draw, we want to come back to the
data.

The first thought is to run the film backwards and turn the sign of the pull:
$x \leftarrow x + x\,\Delta + \sqrt{2\Delta}\,\varepsilon$. But the kicks do not turn their sign, they only
spread. By the argument of (1.14), $\dot V = 2V + 2$: starting from $V = 1$ the crowd has $V = 2e^{2t} - 1$,
eight hundred after a time of 3. The single kicks are lost. No walker can find its way home.

But nobody asked for a *single* walker's way. We want the crowd. Ask of a walker at $x_t$: where, on
average, do the walkers that are now here come from? The jump (1.16) says how likely each start $x_0$ is to
lead here, and Bayes' rule turns it round:

$$\hat x_0(x_t, t) = \mathbb E[x_0 \mid x_t]
= \frac{\displaystyle\int x_0\;\mathcal N\big(x_t;\ e^{-t}x_0,\ 1 - e^{-2t}\big)\;p_0(x_0)\,dx_0}
{\displaystyle\int \mathcal N\big(x_t;\ e^{-t}x_0,\ 1 - e^{-2t}\big)\;p_0(x_0)\,dx_0}. \tag{1.32}$$
<!-- code 1.32: diffedu.core.oracle.GaussianMixture.posterior_mean -->

This is chapter 0's **denoiser**: the best guess. It knows two things, the rule of the noise and the data's
distribution $p_0$. And chapter 0's loop has shown how to use it: guess the clean point, take what is left
for noise, put both together again with a little less noise.
"""

# %%
data = GaussianMixture.isotropic(torch.tensor([[-2.0], [1.2]]), 0.2, torch.tensor([0.4, 0.6]))
denoiser = data.denoiser(ou)
grid = torch.linspace(-5, 5, 4001, dtype=torch.float64)  # x0
p0 = data.to(dtype=torch.float64).log_prob(grid[:, None]).exp()
here = torch.tensor([-1.5, 0.0, 0.3, 2.0], dtype=torch.float64)
for t in (0.05, 0.4, 1.5):
    weight = normal(here[:, None], math.exp(-t) * grid, 1 - math.exp(-2 * t)) * p0  # (4, 4001)
    by_bayes = (weight * grid).sum(1) / weight.sum(1)
    by_package = data.to(dtype=torch.float64).denoiser(ou)(here[:, None], t)[:, 0]
    verify("1.32", by_bayes, by_package)

times = uniform_times(ou, 100, end=0)  # from t = 3 down to 0
x = start_noise(ou, (4000, 1), seeded(15))
way_back = [x]
for t, s in pairwise(times):  # chapter 0's three lines
    x0_hat = denoiser(x, t)
    eps_hat = (x - ou(t).alpha * x0_hat) / ou(t).sigma
    x = ou(s).alpha * x0_hat + ou(s).sigma * eps_hat
    way_back.append(x)
assert torch.allclose(x, sample(denoiser, DDIM(), start_noise(ou, (4000, 1), seeded(15)), times), atol=1e-4)

exact = data.sample(2000, seeded(16))
perfect = floor(energy_distance, data.sample, 2000, generator=seeded(17), repeats=5)
noise_distance, back_distance = (energy_distance(cloud[:2000], exact).value for cloud in (way_back[0], x))
print(f"left lump: {(x < -0.4).double().mean():.1f} of the walkers; in the data 0.4")
print(f"energy distance to the data: the noise {noise_distance:.1f}, after the way back below 0.01")
print("perfect samples: below 0.01, too")
print(f"mean of the data {data.mean.item():.2f}")
assert back_distance < 0.01
assert abs(perfect.mean) + 3 * perfect.standard_deviation < 0.01

# %%
generator = seeded(18)
forward = [data.sample(4000, generator)]
for t, s in pairwise(times.flip(0)):
    forward.append(ou_jump(forward[-1], torch.randn(4000, 1, generator=generator), (s - t).item()))
figure, axes = panels(1, 3, width=12, height=3.6)
clock = torch.linspace(0, 3, 101)
level = torch.linspace(-3.4, 3.4, 200)
film = torch.stack(
    [data.noised(ou, max(t.item(), 1e-4)).log_prob(level[:, None]).exp() for t in clock], dim=1
)
for ax, lines, title in (
    (axes[0], forward, "out: noise and a pull"),
    (axes[1], way_back[::-1], "back: the denoiser"),
):
    ax.pcolormesh(clock, level, film.sqrt(), cmap="Greys", vmax=1.6, shading="gouraud", rasterized=True)
    ax.plot(
        clock,
        torch.cat(lines, dim=1)[:14].T,
        color=DATA if ax is axes[0] else SCORE,
        linewidth=0.9,
        alpha=0.8,
    )
    ax.set(xlabel="time t (data at 0)", ylabel="position", ylim=(-3.4, 3.4), title=title)
axes[0].annotate("", (1.9, -3.1), (0.6, -3.1), arrowprops={"arrowstyle": "->", "color": DATA, "lw": 2})
axes[1].annotate("", (0.6, -3.1), (1.9, -3.1), arrowprops={"arrowstyle": "->", "color": SCORE, "lw": 2})
spot = torch.linspace(-3, 3, 300)
for t, color, style in ((0.05, INK, "-"), (0.3, VELOCITY, "--"), (1.0, SCORE, "-."), (3.0, NOISE, "-")):
    axes[2].plot(spot, denoiser(spot[:, None], t)[:, 0], color=color, linestyle=style, label=f"t = {t:g}")
axes[2].legend(frameon=False, fontsize=10, loc="upper left", handlelength=1.8)
axes[2].set(
    xlabel="noisy position $x_t$",
    ylabel=r"best guess $\hat x_0$",
    title="what the denoiser says",
    ylim=(-3, 3),
)
figure

# %% [markdown]
r"""
*Left: out, every path rough. Middle: back, every path smooth; they are different paths, through the same
densities (grey). Right: with little noise the guess is a step from lump to lump. With much noise it is
nearly flat, close to the mean of the data, $-0.08$, for everybody.*

On the way back free energy rises, and entropy ends far below where it began. No law is broken: the denoiser
knows $p_0$, and brings in from outside what the noise has washed away. For real data nobody knows $p_0$,
and the knowledge has to be learned from examples. The rest of the book is about doing that. Chapters 2 and
3 make the dynamics precise, chapter 4 learns scores, and chapter 5 chooses how to add the noise. Chapters 6
to 9 derive the way back from first principles. Chapter 10 says why a smooth path and a rough one can have
the same crowd.
"""

# %%
x, generator = torch.randn(20_000, generator=seeded(19)), seeded(20)
for _ in range(3000):
    x = x + x * 0.001 + math.sqrt(2 * 0.001) * torch.randn(x.shape, generator=generator)
print(f"a pull with its sign turned: variance about {round(x.var().item(), -2):.0f} after a time of 3")

# %% [markdown]
r"""
## 1.10 Exercises

`check` tells you what is wrong, `hint("1.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Two of the exercises come from the **errata museum**: mistakes that stood in
published tutorials or libraries.
"""

# %%
for one in exercises(1):
    print(one)

# %% [markdown]
r"""
**Exercise 1.1 ★ — a Brownian path.** Write (1.8) for `B` walkers and `n` steps at once. All start at 0, and
the start belongs to the path.
"""


# %% tags=["exercise"]
def brownian(eps, D, dt):
    """Positions, shape (B, n + 1), from standard normal kicks (B, n) and two numbers."""
    ...


# %%
check("1.1", brownian)

# %% [markdown]
r"""
**Exercise 1.2 ★ — predict.** A drop of dye in still water is 1 mm wide one minute after it was a tiny
point. When is it 10 mm wide? Answer `"10 minutes"`, `"100 minutes"` or `"1000 minutes"`.
"""

# %% tags=["exercise"]
ten_millimetres = ...

# %%
check("1.2", ten_millimetres)

# %% [markdown]
r"""
**Exercise 1.3 ★ — errata museum: noise on noise.** A published sampler multiplied its noise term, already
$\sigma\varepsilon$, by a second normal number $\varepsilon'$. A test compared the variance of the term with
$\sigma^2$, and passed. Compute the fourth moment of $\varepsilon\varepsilon'$, for two independent standard
normal numbers. (A Gaussian of variance 1 has 3.)
"""

# %% tags=["exercise"]
fourth_moment = ...

# %%
check("1.3", fourth_moment)

# %% [markdown]
r"""
**Exercise 1.4 ★★ — the jump, with all its knobs.** Write the jump of (1.17) for
$U = \tfrac12\kappa\lVert x\rVert^2$, with mobility and temperature, each point with its own time. It must
also work for $\kappa = 0$.
"""


# %% tags=["exercise"]
def jump(x0, eps, t, stiffness, mobility, temperature):
    """x_t, shape (B, D), from x0 and eps (B, D), times t (B,) and three numbers."""
    ...


# %%
check("1.4", jump)

# %% [markdown]
r"""
**Exercise 1.5 ★★ — errata museum: a factor and a root.** This loop is meant to take steps of (1.17) for
$U = \tfrac12\kappa x^2$, so that the crowd settles at $\mathcal N(0, kT/\kappa)$. It holds *two* mistakes.
Find and fix both.
"""


# %% tags=["exercise"]
def settle(x, kicks, dt, stiffness, mobility, temperature):
    """Positions (B,) after one step for each row of standard normal kicks (n, B), from x (B,)."""
    for eps in kicks:
        x = x - mobility * stiffness * x * dt + math.sqrt(mobility * temperature) * dt * eps
    return x


# %%
check("1.5", settle)

# %% [markdown]
r"""
**Exercise 1.6 ★ — another pair of factors.** The paper on score-based models with SDEs writes
$dx = -\tfrac12\beta x\,dt + \sqrt\beta\,dW$. Take $\beta = 0.5$. At which variance does it settle?
"""

# %% tags=["exercise"]
settled_variance = ...

# %%
check("1.6", settled_variance)

# %% [markdown]
r"""
**Exercise 1.7 ★★ — Boltzmann on a lattice.** Given the energies of `N` places, return the shares at
equilibrium. Then try a very low temperature: what do your exponentials do?
"""


# %% tags=["exercise"]
def boltzmann_shares(U, temperature):
    """Shares, shape (N,), that add up to 1, from energies U (N,) and a temperature kT > 0."""
    ...


# %%
check("1.7", boltzmann_shares)

# %% [markdown]
r"""
**Exercise 1.8 ★ — predict.** The OU process (1.13) starts from $\mathcal N(2, 1)$, off the middle but of
the right width. What does its *entropy* do: `"rises"`, `"falls"`, `"stays"`, or `"falls, then rises"`?
"""

# %% tags=["exercise"]
entropy_will = ...

# %%
check("1.8", entropy_will)

# %% [markdown]
r"""
**Exercise 1.9 ★★ — measure an entropy.** Write (1.26) for given bin edges that need not be equally spaced.
All points lie inside, but some bins may be empty.
"""


# %% tags=["exercise"]
def entropy_of(points, edges):
    """Entropy in nats, shape (), from points (n,) and increasing edges (K + 1,)."""
    ...


# %%
check("1.9", entropy_of)

# %% [markdown]
r"""
**Exercise 1.10 ★★★ — two dogs and their fleas.** $N$ fleas live on two dogs. In each round one flea, each
as likely as any other, is called by its number. If it is on the first dog, it jumps to the second with
probability $a$; if it is on the second, to the first with probability $b$; otherwise it stays. Let $k$ be
the number of fleas on the *second* dog. Use the balance (1.19) between $k$ and $k+1$ to find the
probabilities of $k = 0, \dots, N$ at equilibrium. (For $a = b$: where in this chapter have you seen them?
Paul and Tatiana Ehrenfest invented the model, with $a = b = 1$, to explain how entropy can grow although
every single flea may return.)
"""


# %% tags=["exercise"]
def flea_shares(N, a, b):
    """Probabilities, shape (N + 1,), float64, of k = 0 ... N fleas on the second dog; a, b in (0, 1]."""
    ...


# %%
check("1.10", flea_shares)

# %% [markdown]
r"""
## 1.11 What the field does with it, and where this simplification breaks

- **The forward process of nearly every diffusion model is this chapter's.** Variance-preserving models run
  an OU process with a varying clock. Variance-exploding ones run free diffusion, until the data is narrow
  beside the noise (chapters 5 and 10).
- **The end must have forgotten the start.** A model starts its way back from $\mathcal N(0, I)$, so the way
  out has to arrive there. How well it does is set by the factor $e^{-t}$ in (1.16); chapter 5 shows what
  happens when one stops too early.
- **Annealing.** A high temperature crosses passes, a low one sharpens. Starting hot and cooling down is how
  the first score-based models sampled (chapters 2 and 4). Noise levels are temperatures of a kind, but not
  the same: noise *blurs* $q$, temperature *powers* it.
- **Most likely is not typical.** "Guidance" and low temperatures move samples towards peaks. They look
  cleaner and lose variety, for the reason of section 1.7 (chapter 12).

Where it breaks. The central limit needs a finite variance: steps that now and then are enormous may have
none, and section 1.2 shows what comes of it. Some models use heavy-tailed noise on purpose. Real liquids
have inertia; with it the dynamics is called underdamped, and there are diffusion models built on that, too.
And an equilibrium that exists need not be reached in your lifetime: between two deep valleys a crowd takes
a time that grows like $e^{\text{barrier}/kT}$ to find its proportions. That is the trouble of chapter 2,
and chapter 3 computes the time.

### References
- Einstein (1905), *Über die von der molekularkinetischen Theorie der Wärme geforderte Bewegung von in
  ruhenden Flüssigkeiten suspendierten Teilchen*: section 3 has $D = \mu\,kT$, section 4 the diffusion
  equation and the square root (1.9).
- Langevin (1908), *On the theory of Brownian motion* (in French): force, friction and kicks in one equation.
- Uhlenbeck, Ornstein (1930), *On the theory of the Brownian motion*: (1.15) and (1.16), for velocities.
- Ehrenfest, Ehrenfest (1907), *Über zwei bekannte Einwände gegen das Boltzmannsche H-Theorem*: the model
  of exercise 1.10.
- Gardiner (2009), *Stochastic methods*, 4th edition: chapters 3 and 4, for all of it with proofs.
- Cover, Thomas (2006), *Elements of information theory*, 2nd edition: chapter 8, entropy of densities.
- Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli (2015), *Deep unsupervised learning using nonequilibrium
  thermodynamics*: section 2, the idea of learning to reverse a diffusion.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: eq. 11, the OU process with a varying clock.
"""
