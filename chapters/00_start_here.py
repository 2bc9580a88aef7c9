# %% [markdown]
"""
# 0. Start here

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/00_start_here.ipynb)

*A first diffusion in ten lines, with a denoiser that makes no mistakes; how to read and run this book*

A thousand points lie scattered without any order. Ten lines of code later they stand in eight tidy groups.
Nobody told a single point where to go. Press "run all", and watch.

**You will be able to**
- write a complete diffusion sampler, and say what each of its lines does;
- say what a denoiser is, and what it should answer when there is too much noise to see anything;
- measure how good samples are, and know which number perfect samples would get;
- use the notebooks of this book: run them, move their sliders, try their exercises.

**You need** Python, and to have met a normal distribution. PyTorch is used like NumPy here.

**Time**: 25 minutes to read, ten seconds to run, half an hour for the exercises.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
import os
import platform
from itertools import pairwise

import torch
from IPython.display import Image

from diffedu import DDIM, Cosine, GaussianMixture, sample, seeded, start_noise, uniform_times
from diffedu.evaluate import energy_distance, floor
from diffedu.exercises import check, hint  # noqa: F401  (hint is for you)
from diffedu.show import DATA, NOISE, SCORE, animation, panels, scatter_panels, square
from diffedu.show.widgets import DrawYourOwn
from diffedu.show.widgets.first_diffusion import FirstDiffusion
from diffedu.verify import verify, verify_mean

# %% [markdown]
"""
## 0.1 Ten lines
"""

# %%
data = GaussianMixture.ring(8)  # what we want samples of: eight round groups on a circle
path = Cosine()  # how noise is added to it, as time goes from 0 to 1
denoiser = data.denoiser(path)  # what guesses the clean point behind a noisy one
times = uniform_times(path, 40, end=0)  # 41 times, from noise down to data

x = start_noise(path, (1000, 2), seeded(0))  # a thousand points of pure noise
film = [x]
for t, s in pairwise(times):
    x0_hat = denoiser(x, t)  # guess the clean points
    eps_hat = (x - path(t).alpha * x0_hat) / path(t).sigma  # what is left must be noise
    x = path(s).alpha * x0_hat + path(s).sigma * eps_hat  # put a little less of it back
    film.append(x)

figure, (ax,) = panels(1, 1, width=3.2, height=3.2)
dots = ax.scatter(film[0][:, 0], film[0][:, 1], s=3, color=DATA, linewidths=0)
square(ax, 3.0)


def draw(k):
    dots.set_offsets(film[k].numpy())
    ax.set_title(f"t = {times[k].item():.2f}")


Image(animation(figure, draw, range(0, 41, 2), fps=8))

# %% [markdown]
r"""
*Blue points are the state. Each sees only its own position and the time. Groups form late, and each point
ends in one of them.*

That is a diffusion model. The three lines in the loop are the whole method, and they stay the same when the
points become pictures in chapter 14. What changes is the denoiser. Here it is exact, because we know the
data's distribution. There a network has to learn it from examples.

The rest of this chapter goes through those three lines slowly.

## 0.2 Adding noise

Take a clean point $x_0$. Shrink it by a factor $\alpha$, and add a random vector $\varepsilon$, each
coordinate drawn from a standard normal distribution, multiplied by $\sigma$:

$$x_t = \alpha(t)\, x_0 + \sigma(t)\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I). \tag{0.1}$$
<!-- code 0.1: diffedu.core.path.GaussianPath.add_noise -->

The index $t$ is called time. Data stands at $t = 0$, where $\alpha = 1$ and $\sigma = 0$. Noise stands at
the other end, where $\alpha$ is almost 0. A pair of functions $\alpha, \sigma$ is a **path** from data to
noise. Ours makes a quarter turn:

$$\alpha(t) = \cos\frac{\pi t}{2}, \qquad \sigma(t) = \sin\frac{\pi t}{2}. \tag{0.2}$$
<!-- definition 0.2: the path chosen for this chapter -->
<!-- code 0.2: diffedu.core.path.Cosine -->

Why both a shrinking and an adding? So that the size of things does not change. If a coordinate of $x_0$ has
variance $v$, then $\alpha x_0$ has variance $\alpha^2 v$. The noise is independent of $x_0$, so its variance
adds:

$$\operatorname{Var} x_t = \alpha^2 v + \sigma^2. \tag{0.3}$$

With $v$ near 1, and $\cos^2 + \sin^2 = 1$, the sum stays near 1 at every time. Here is the check. Points are
drawn, noised by (0.1), and their squares averaged. The right side is computed from (0.3).
"""

# %%
x0 = data.sample(20_000, seeded(1))
eps = torch.randn(x0.shape, generator=seeded(2))
t = torch.tensor(0.3)
alpha, sigma = math.cos(math.pi * 0.3 / 2), math.sin(math.pi * 0.3 / 2)
x_t = alpha * x0 + sigma * eps
verify("0.1", path.add_noise(x0, eps, t), x_t, over="coordinates")

v = data.covariance[0, 0].item()  # the mean of the data is 0
verify_mean("0.3", x_t[:, 0] ** 2, alpha**2 * v + sigma**2)

# %% [markdown]
r"""
Lines like these stand below many formulas of this book. `verify` computes both sides of a numbered equation
by *different routes* and stops the notebook if they differ. `verify_mean` does the same for an average over
random samples, which is only known up to its standard error. You need not believe a formula here. You can
change a sign in it, run the cell again, and see it refused.
"""

# %%
clouds = {f"t = {t}": data.noised(path, t).sample(1000, seeded(3)) for t in (0.0, 0.2, 0.4, 0.7, 1.0 - 1e-4)}
scatter_panels({title.replace("0.9999", "1.0"): cloud for title, cloud in clouds.items()}, size=3)

# %% [markdown]
r"""
*The groups swell, merge, and are gone. Somewhere between $t = 0.2$ and $t = 0.4$ a point stops knowing
where it came from.*

## 0.3 The best guess

Now the other direction. We see $x_t$ and want to say what $x_0$ was. Many clean points could have led here,
so no answer is always right. Let us ask for the answer with the smallest squared error on average.

**Before you read on.** Suppose $t$ is almost 1, and $x_t$ is practically pure noise. Which single point
should you answer, for every $x_t$, to lose least? Write it down.

Call an answer $g(x_t)$, and call $m(x_t) = \mathbb E[x_0 \mid x_t]$ the average of all clean points that
could be behind $x_t$, each counted by its probability. Write $x_0 - g = (x_0 - m) + (m - g)$ and square. The
mixed term vanishes on average: for a fixed $x_t$, the second bracket is fixed, and the first has mean zero,
because $m$ *is* the mean of $x_0$. So

$$\mathbb E\,|x_0 - g|^2 = \mathbb E\,|x_0 - m|^2 + \mathbb E\,|m - g|^2. \tag{0.4}$$

No answer can change the first term. The second is never negative, and is zero only for $g = m$. **The best
guess is the average.** A *denoiser* is a function that returns it, or tries to:

$$\hat x_0(x_t, t) = \mathbb E[x_0 \mid x_t]. \tag{0.5}$$
<!-- definition 0.5: names the denoiser -->
<!-- code 0.5: diffedu.core.denoiser.Denoiser -->

For $t$ near 1 the noisy point tells nothing, so every clean point stays as likely as before, and the average
is the mean of all data. That was the answer to the question: **the mean of the data**, here the origin,
although no data lies there.
"""

# %%
m = denoiser(x_t, t)
g = 0.8 * x_t  # some other answer
verify_mean("0.4", (x0 - g).square().sum(1) - (x0 - m).square().sum(1) - (m - g).square().sum(1), 0.0)
assert denoiser(torch.randn(100, 2, generator=seeded(4)), 0.9999).abs().max() < 0.01  # near the origin

# %% [markdown]
r"""
Where does the average come from? Let the data be just $N$ points $x_1, \dots, x_N$, equally likely. The
point $x_i$ leads to $x_t$ if the noise happened to be $\varepsilon = (x_t - \alpha x_i) / \sigma$. A normal
distribution gives such a noise a probability density proportional to $\exp(-|\varepsilon|^2 / 2)$. By Bayes'
rule the probability that $x_i$ was the one is in proportion to that:

$$w_i(x_t) = \frac{\exp\big(-|x_t - \alpha x_i|^2 / 2\sigma^2\big)}{\sum_j \exp\big(-|x_t - \alpha x_j|^2 /
2\sigma^2\big)}, \qquad \hat x_0 = \sum_i w_i\, x_i. \tag{0.6}$$
<!-- code 0.6: diffedu.core.oracle.DatasetDenoiser -->

Near points count more, and $\sigma$ says what "near" means. We compute (0.6) as it stands, and compare with
`GaussianMixture`, which goes another way: it treats the points as Gaussians of width 0, and combines means
and covariances.
"""

# %%
centres = data.means  # eight points
here = torch.tensor([[1.1, 0.35]])


def weights(x_t, t):
    a, s = path(t).alpha, path(t).sigma
    return torch.softmax(-(x_t - a * centres).square().sum(1) / (2 * s**2), dim=0)


points_only = GaussianMixture.isotropic(centres, std=0.0)
moments = (0.05, 0.3, 0.8)
by_hand = torch.stack([weights(here, torch.tensor(t)) @ centres for t in moments])
by_mixture = torch.cat([points_only.posterior_mean(here, t, path) for t in moments])
verify("0.6", by_hand, by_mixture, over="coordinates")

figure, axes = panels(1, 3, height=3.4, share=True)
for ax, t, guess in zip(axes, moments, by_hand):
    w = weights(here, torch.tensor(t))
    ax.scatter(centres[:, 0], centres[:, 1], s=12, color="#BBBBBB")
    ax.scatter(centres[:, 0], centres[:, 1], s=600 * w, color=DATA, alpha=0.7, linewidths=0)
    ax.scatter(here[:, 0], here[:, 1], s=60, color=NOISE, marker="x", linewidths=2.5)
    ax.annotate(
        "", guess.tolist(), here[0].tolist(), arrowprops={"arrowstyle": "->", "color": SCORE, "lw": 2}
    )
    square(ax, 2.2, ylabel="$x_2$" if t == moments[0] else "")
    ax.set_title(f"t = {t}, σ = {path(torch.tensor(t)).sigma:.2f}")
figure

# %% [markdown]
r"""
*The cross is the noisy point, the same in each panel. Blue discs show the weights of the eight centres. The
arrow ends at the best guess. With little noise one centre takes all. With much noise all count, and the guess
moves towards the middle.*

## 0.4 One step towards the data

If $\hat x_0$ were the clean point, then by (0.1) the noise in $x_t$ would be

$$\hat\varepsilon = \frac{x_t - \alpha(t)\, \hat x_0}{\sigma(t)}. \tag{0.7}$$
<!-- code 0.7: diffedu.core.denoiser.eps_hat -->

The guess is blurred, so we do not jump to it. We keep both parts, the guessed point and the guessed noise,
and mix them again as they would be mixed a little earlier, at a time $s < t$:

$$x_s = \alpha(s)\, \hat x_0 + \sigma(s)\, \hat\varepsilon. \tag{0.8}$$
<!-- code 0.8: diffedu.sampling.ancestral.DDIM -->

There is slightly less noise in $x_s$, so the next guess is slightly sharper. And so on. At the last step
$\sigma(s) = 0$, no noise is put back, and $x_0 = \hat x_0$. These are the three lines of the loop in 0.1.
The rule (0.8) is called **DDIM**, and chapter 8 derives it.

Two checks. First, (0.7) by another route: chapter 9 will show that $-\hat\varepsilon / \sigma$ points
uphill on the log-density of noisy points, so it can be found by differentiating that density. Second, many
small steps (0.8) from noise to data for one Gaussian with standard deviation $\tfrac12$. There the answer
is known in closed form: every point is scaled by the ratio of the two standard deviations, which (0.3)
gives. Finally, the loop is what the package calls `sample(..., DDIM(), ...)`.
"""

# %%
t = torch.tensor(0.3)
few = x_t[:500].clone().requires_grad_()
(uphill,) = torch.autograd.grad(data.noised(path, t).log_prob(few).sum(), few)
few_hat = (few - path(t).alpha * denoiser(few, t)) / path(t).sigma
verify("0.7", few_hat, -path(t).sigma * uphill, rtol=1e-4, over="coordinates")

one = GaussianMixture.single(torch.zeros(2), 0.25 * torch.eye(2)).to(dtype=torch.float64)
begin = torch.randn(100, 2, generator=seeded(5), dtype=torch.float64)
grid = uniform_times(path, 2000, start=0.9, end=0.1, dtype=torch.float64)
arrived = sample(one.denoiser(path), DDIM(), begin, grid)


def spread(t):
    return math.sqrt(math.cos(math.pi * t / 2) ** 2 / 4 + math.sin(math.pi * t / 2) ** 2)


verify("0.8", arrived, begin * spread(0.1) / spread(0.9), rtol=1e-3, over="coordinates")

assert torch.allclose(x, sample(denoiser, DDIM(), start_noise(path, (1000, 2), seeded(0)), times), atol=1e-5)

# %% [markdown]
r"""
## 0.5 How good, and how many steps?

Forty steps gave tidy groups. Would ten do? Would one? **Guess first:** where do all points land if you take a
single step from pure noise to $t = 0$?

To answer with a number we need a distance between two clouds of points. The *energy distance* compares mean
distances between the clouds with those inside them. It is zero for equal distributions, and chapter 5 uses
it again. But even two perfect samples of 2,000 points differ by chance. So every score in this book stands
beside its **floor**: what perfect samples would score with as many points.
"""

# %%
n = 2000
exact = data.sample(n, seeded(6))
perfect = floor(energy_distance, data.sample, n, generator=seeded(7))  # ten pairs of exact samples
runs, distances = {}, {}
for steps in (1, 3, 10, 40):
    start = start_noise(path, (n, 2), seeded(8))
    arrived = sample(denoiser, DDIM(), start, uniform_times(path, steps, end=0))
    runs[f"{steps} step{'s' * (steps > 1)}"] = arrived
    distances[steps] = distance = energy_distance(arrived, exact)
    print(f"{steps:3d} steps: energy distance {distance.value:.3f} ± {distance.standard_error:.3f}")
print(f"    floor:                 {perfect.mean:.3f} ± {perfect.standard_deviation:.3f}")

assert distances[1].value > 10 * distances[3].value > 10 * distances[10].value
assert all(abs(distances[k].value) < 3 * distances[k].standard_error for k in (10, 40))  # as the floor
scatter_panels(runs, reference=exact, size=6)

# %% [markdown]
r"""
*Grey: exact samples. Blue: ours. One step gives the mean of the data to everybody. Three steps give a ring
without groups. Ten are nearly right: the number hardly tells them from perfect ones, though the eye sees
stray points.*

**How to read such numbers.** After ± stands how far the number would scatter if everything were drawn anew.
For equal distributions this estimate scatters around zero, so it may come out negative. One step and three
steps stand far above the floor. For ten and forty the gap to the floor is no larger than the scatter: with
2,000 points we cannot tell these samples from perfect ones. That is not the same as knowing that they are.

One step is exactly the answer of section 0.3 for enormous noise. The sampler is not wrong in any formula. It
only trusts each blurred guess for too long. Chapter 11 is about getting more out of fewer steps.

## 0.6 Move it yourself

Set **steps** to 3 and drag the time from left to right. Then set it to 40. When do the orange lines begin to
point at different groups?
"""

# %%
FirstDiffusion(data, path)

# %% [markdown]
r"""
**To take with you:** at first all guesses are the same, the middle. The choice of a group happens in a short
span of time, and everything after it only sharpens.

Now your own data. Press in the left panel and paint, or place the yellow cross with its two sliders and press
**add point**. The denoiser is (0.6) with your points: a table, no network. Drag the time to the right end. Is
there a sample that lies on none of your points? Then give each point a **width**.
"""

# %%
DrawYourOwn(path)

# %% [markdown]
r"""
**To take with you:** the best denoiser of finitely many points gives back these points. What a trained
network draws beyond its data, it draws because it is *not* this denoiser.

## 0.7 Exercises

A cell below each question waits for your code. The line `check(...)` says at once whether it is right, and if
not, what is wrong. As long as you have not tried, it gives the first hint, and "run all" passes over it.
`hint("0.1")` gives the next hint each time you call it. There are no marks to lose.

Below some checks stands a picture: what a right answer draws, pale and wide. Once you have one, yours is
drawn with it, thin and dark. Aim at the picture.

**Exercise 0.1 ★ — add noise.** Write (0.1) for the path (0.2) as a function. `t` is one number.
"""


# %% tags=["exercise"]
def add_noise(x0, eps, t):
    """x_t, shape (B, D), from clean points and noise, both of shape (B, D), and a number t in [0, 1]."""
    ...


# %%
check("0.1", add_noise)

# %% [markdown]
r"""
**Exercise 0.2 ★ — half and half.** At which time do $\alpha$ and $\sigma$ of (0.2) have the same size?
"""

# %% tags=["exercise"]
half_time = ...

# %%
check("0.2", half_time)

# %% [markdown]
r"""
**Exercise 0.3 ★ — predict.** The data is now lopsided: nine of ten points lie near $(2, 0)$, one of ten
near $(-2, 0)$. You sample with *one* step from almost pure noise. Where do the points land? Answer `"at 2"`
(all near the larger group), `"nine to one"` (nine of ten at the larger, the rest at the smaller), `"at 0"`
(half way between the groups) or `"at 1.6"` (between, nearer to the larger group).
"""

# %% tags=["exercise"]
landing = ...

# %%
check("0.3", landing)

# %% [markdown]
r"""
**Exercise 0.4 ★★ — the exact denoiser.** Write (0.6) for `N` data points in `D` dimensions and `B` noisy
points at once. Then try it with $\sigma = 0.001$: what do your exponentials do?
"""


# %% tags=["exercise"]
def best_guess(x_t, points, alpha, sigma):
    """x0_hat, shape (B, D), from noisy points (B, D), data points (N, D) and two numbers."""
    ...


# %%
check("0.4", best_guess)

# %% [markdown]
r"""
**Exercise 0.5 ★★ — one step.** Write (0.7) and (0.8) as one function.
"""


# %% tags=["exercise"]
def ddim_step(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s):
    """x_s, shape (B, D), from the state and the guess, both (B, D), and four numbers."""
    ...


# %%
check("0.5", ddim_step)

# %% [markdown]
r"""
**Exercise 0.6 ★★ — find and fix.** This sampler runs, and its pictures look almost right, only too
fuzzy. One symbol is wrong. Find it, and mend it.
"""


# %% tags=["exercise"]
def run(denoiser, x, times):
    """The last state, shape (B, D): from x, shape (B, D), along a decreasing grid of times."""
    for t, s in pairwise(times):
        at_t, at_s = denoiser.path(t), denoiser.path(s)
        x0_hat = denoiser(x, t)
        eps_hat = (x - at_t.alpha * x0_hat) / at_t.sigma
        x = at_s.alpha * x0_hat + at_t.sigma * eps_hat
    return x


# %%
check("0.6", run)

# %% [markdown]
r"""
## 0.8 How this book works

**Run it.** Every chapter is a notebook that runs from top to bottom in seconds to two minutes on a laptop
without a GPU. Where a network needs longer, a trained one ships with the book; set the environment variable
`DIFFEDU_FULL=1` before you start to train it yourself. On Colab the first cell installs the package. The
code uses a CUDA device where it finds one and a chapter says so; nothing needs it. What is at hand here:
"""

# %% tags=["nbval-ignore-output"]
version, cores = torch.__version__.split("+")[0], os.cpu_count()
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, and none is needed"
print(f"Python {platform.python_version()}, torch {version}, {cores} processor cores, CUDA device: {gpu}")

# %% [markdown]
r"""
**Read it.** Each section goes from a question to a picture, to a formula, to code. "Before you read on"
means it: a guess written down teaches more than an answer read. Small pieces of code are written out in the
chapter. Once you have seen them, later chapters import the same thing from the package `diffedu`, whose
source is meant to be read, too.

**Trust its numbers.** A number in the text was computed in the notebook that you see. Samples are never
"good": they score so much, beside a floor of so much.

**Names.** One name for one thing, in text and code alike:

| name | what it is | in code |
|---|---|---|
| $x_0$ | clean data, at time $t = 0$ | `x0` |
| $\varepsilon$ | standard normal noise | `eps` |
| $x_t$ | noisy state; larger $t$, more noise | `x_t` |
| $\alpha, \sigma$ | how much data, how much noise | `path(t).alpha`, `path(t).sigma` |
| $\hat x_0$ | best guess of the clean point, $\mathbb E[x_0 \mid x_t]$ | `x0_hat = denoiser(x_t, t)` |
| $t \to s$ | one step of a sampler, towards the data when $s < t$ | `for t, s in pairwise(times)` |

Some papers run time the other way, or write $\alpha$ for our $\alpha^2$. Docstrings say so where they cite
them.

**The map.** Chapters 0, 5 and 14 can be read now; the others are being written.

- **I. From noise to data in the plane**: **0 Start here** · 1 Noise and equilibrium · 2 Langevin dynamics ·
  3 Fokker–Planck · 4 Score matching · **5 The forward process** · 6 The ELBO · 7 Noise prediction · 8 DDIM ·
  9 Tweedie
- **II. Samplers and flows**: 10 SDEs and ODEs · 11 Samplers · 12 Guidance · 13 Flow matching
- **III. Images on a laptop**: **14 Image DDPM** · 15 Fast sampling and guidance · 16 Editing ·
  17 Latent diffusion · 18 Diffusion transformers

## 0.9 What the field does with it, and where this breaks

Large image models run this loop. Their states have hundreds of thousands of coordinates, their denoiser is
a network with billions of weights that also reads a text, and their paths and step rules differ in details
that chapters 5 and 11 compare. What breaks is the word *exact*: for real data nobody has the formula behind
`denoiser`, only examples. If one used (0.6) on the examples, the sampler would return the examples. Why a
trained network does not, and how one checks, is a question of chapter 14.

**References**
- J. Ho, A. Jain, P. Abbeel (2020), *Denoising diffusion probabilistic models*: equation 4 is our (0.1), with
  $\alpha^2$ called $\bar\alpha_t$.
- J. Song, C. Meng, S. Ermon (2021), *Denoising diffusion implicit models*: equation 12 with $\sigma_t = 0$ is
  our (0.8); their $\alpha_t$ is our $\alpha(t)^2$.
- A. Nichol, P. Dhariwal (2021), *Improved denoising diffusion probabilistic models*: equation 17, the
  cosine path (0.2), there with a small offset.
- T. Karras, M. Aittala, T. Aila, S. Laine (2022), *Elucidating the design space of diffusion-based
  generative models*: appendix B.3 has the exact denoiser of a finite data set, our (0.6).
"""
