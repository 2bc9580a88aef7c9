# %% [markdown]
"""
# 16. Editing: inpainting and inverse problems

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/16_editing.ipynb)

*A model of whole pictures fills holes, follows sketches and sharpens blurs, and we measure where it cheats*

Nobody trained the network of chapter 14 to repair anything. It knows how to make digits out of noise, and
that is all. Below, the lower half of three digits was erased. The network saw what is left, four times each,
and completed it. Nothing was trained again.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %% tags=["setup"]
import math
from itertools import pairwise

import torch
import torch.nn.functional as F

from diffedu import VP, Ancestral, Clipped, GaussianMixture, Heun, NetworkDenoiser, V, posterior_covariance
from diffedu import (
    sample,
    score,
    seeded,
    start_noise,
    trailing_times,
    uniform_half_log_snr_times,
    uniform_times,
)
from diffedu.data import digits
from diffedu.editing import DPS, PosteriorGuided, Renoised, Replacement, conditioned, edited, resampled
from diffedu.evaluate import energy_distance, floor, psnr
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.recipes import digits_classifier, digits_ddpm
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, VELOCITY, image_rows, montage, panels, square
from diffedu.show import SCORE as ORANGE
from diffedu.show.widgets import MaskDrawing
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
double = torch.float64

# %%
net, ddpm_path = digits_ddpm.load(device=device), digits_ddpm.PATH  # chapter 14; nothing in it changes
digit_model = digits_ddpm.denoiser(net)  # of digits of any class
encode, decode = digits_ddpm.encode, digits_ddpm.decode
held_out = digits("test", device=device)


def fill_in(images, mask, *, steps=25, visits=3, seed=0):
    """Complete images where mask is False; sections 16.3 and 16.4 explain each name."""
    times = resampled(trailing_times(ddpm_path, steps), 1, visits)
    solver = Replacement(Renoised(Ancestral()), encode(images), mask)
    start = start_noise(ddpm_path, tuple(images.shape), seeded(seed, device))
    return decode(sample(digit_model, solver, start, times, generator=seeded(seed + 1, device)))


upper = (torch.arange(28, device=device) < 14)[:, None].expand(1, 1, 28, 28)  # True: known
asked = held_out.images[[0, 3, 5]]
four = fill_in(asked.repeat_interleave(4, dim=0), upper, seed=3).reshape(3, 4, 1, 28, 28)


def shown_as_asked(images, mask):
    """What is unknown is drawn in grey."""
    return torch.where(mask, images, torch.full_like(images, -0.3))


columns = {"original": asked, "what is left": shown_as_asked(asked, upper)}
columns |= {f"answer {k + 1}": four[:, k] for k in range(4)}
image_rows(
    {f"question {q + 1}": torch.stack([images[q] for images in columns.values()]) for q in range(3)},
    titles=list(columns),
    scale=0.95,
)

# %% [markdown]
r"""
*Each row is one question. Grey is unknown. The four answers agree where they must (above the cut), continue
its strokes, and differ below it.*

**Before you read on.** Two of the four answers may be different *digits*. Is that an error? What would a
right set of answers look like, and how could one ever test it, if all we have is one original?

There is a simple way to make such pictures, and it is wrong. Not by a bug: it samples another law than the
one that was asked for, and the pictures don't tell. So, as in chapter 12, we first go to a plane in which
the right answer is known exactly, and only then come back to digits.

**You will be able to**
- write down the exact law of what is missing, given what is known, for a mixture of Gaussians;
- fill holes by replacement, say why that is biased, measure the bias, and buy some of it back with RePaint;
- place SDEdit's one knob between faithful and realistic, from a formula;
- derive what Bayes' rule wants for blur and low resolution, and say what DPS and pseudoinverse guidance put
  in its place;
- read a PSNR without being fooled by it.

**You need** the exact denoisers of chapter 9, Bayes' rule for scores (12.3), and the network of chapter 14.
**Time**: 60 minutes to read, two minutes to run, two to three hours with the exercises.

## 16.1 What is asked

Split a point into what is *known* and what is *unknown*, $x_0 = (k, u)$. For a digit, $k$ holds the pixels
that were kept and $u$ those that were erased. We are shown $k = y$. What is asked is not *the* missing half.
It cannot be had. What is asked is a draw from

$$p(u \mid k = y) = \frac{p(y,\, u)}{\int p(y,\, u')\, du'}. \tag{16.1}$$

Read it as a cut: lay the line $k = y$ through the density, look at the profile along it, and scale it to
area 1. In the plane we can do that. Our data are three strokes.
"""


# %%
def three_strokes():
    """Three long Gaussians, one above the other: weight, and the two ends of each stroke."""
    weights, means, covariances = [], [], []
    for weight, a, b in (
        (0.45, (-1.5, 1.2), (0.3, 1.8)),
        (0.25, (-1.0, -0.4), (1.0, 0.4)),
        (0.30, (-0.3, -1.8), (1.5, -1.2)),
    ):
        a, b = torch.tensor(a, dtype=double), torch.tensor(b, dtype=double)
        along = (b - a) / (b - a).norm()
        axes = torch.stack([along, torch.stack([-along[1], along[0]])], dim=1)
        sizes = torch.stack([(b - a).norm() / 3.5, torch.tensor(0.1, dtype=double)])
        weights.append(weight)
        means.append((a + b) / 2)
        covariances.append(axes @ torch.diag(sizes**2) @ axes.T)
    return GaussianMixture(torch.tensor(weights, dtype=double), torch.stack(means), torch.stack(covariances))


data, path = three_strokes(), VP()
exact = data.denoiser(path)
y = torch.tensor([-0.8], dtype=double)  # the known first coordinate

# %% [markdown]
r"""
For one Gaussian the profile along a vertical line is a Gaussian again. You may know its mean and variance
from regression. A point that is $y - m_k$ off in the first coordinate is expected to be off by a slope times
that in the second, and knowing the first takes variance away. (We write $m_k, m_u$ for the parts of the mean,
$S_{kk}, S_{ku}, S_{uu}$ for those of the covariance.)

$$u \mid y \;\sim\; \mathcal N\Big(m_u + \frac{S_{uk}}{S_{kk}}\,(y - m_k),\;\; S_{uu} -
\frac{S_{uk}^2}{S_{kk}}\Big). \tag{16.2}$$

For a mixture each stroke gives such a piece. How much does each piece count? **Before you read on:** say it
before the formula does. Is it $w_i$, the stroke's share of the data?

No: a stroke that hardly ever reaches the line $k = y$ can hardly be where the point comes from. By Bayes'
rule for the label of the stroke, each counts by how well it foretold $y$:

$$w_i' \;\propto\; w_i\;\, \mathcal N\big(y;\ m_{i,k},\ S_{i,kk}\big). \tag{16.3}$$

So **the weights change, too**. Keep this in mind: it is where methods go wrong first.
"""


# %%
def given_first(mixture, y):
    """Weights, means and variances of the second coordinate, each (K,), given the first: (16.2), (16.3)."""
    m, S = mixture.means, mixture.covariances
    off, spread = y - m[:, 0], S[:, 0, 0]
    log_weights = mixture.weights.log() - 0.5 * off**2 / spread - 0.5 * spread.log()
    means = m[:, 1] + S[:, 1, 0] / spread * off
    variances = S[:, 1, 1] - S[:, 1, 0] ** 2 / spread
    return torch.softmax(log_weights, dim=0), means, variances


first = torch.tensor([[1.0, 0.0]], dtype=double)  # the measurement, as a matrix: y = first @ x0
truth = conditioned(data, first, y)  # the package's, for any measurement
w, m, v = given_first(data, y)
torch.testing.assert_close(
    torch.stack([w, m, v]), torch.stack([truth.weights, truth.means[:, 1], truth.covariances[:, 1, 1]])
)

# (16.1) on the line, by quadrature of the joint density, against the pieces
line = torch.linspace(-4, 4, 4001, dtype=double)
on_line = torch.stack([y.expand_as(line), line], dim=1)
profile = data.log_prob(on_line).exp()
profile = profile / torch.trapezoid(profile, line)
pieces = GaussianMixture(w, m[:, None], v[:, None, None])
verify("16.1", pieces.log_prob(line[:, None]).exp(), profile, over="points")

# (16.2) and (16.3), stroke by stroke: moments and mass of each along the line
one_by_one = torch.stack([data.weights[i] * data.only([i]).log_prob(on_line).exp() for i in range(3)])
mass = torch.trapezoid(one_by_one, line)
centre = torch.trapezoid(one_by_one * line, line) / mass
square_off = torch.trapezoid(one_by_one * (line - centre[:, None]) ** 2, line) / mass
verify("16.2", torch.stack([m, v]), torch.stack([centre, square_off]), over="moments")
verify("16.3", w, mass / mass.sum(), over="weights")
print("shares of the strokes, top to bottom:", [f"{s:.2f}" for s in data.weights.tolist()])
print("given a first coordinate of -0.8:    ", [f"{s:.2f}" for s in w.tolist()])

# %%
cloud = data.sample(1500, seeded(0))
figure, (plane, *profiles) = panels(1, 4, width=12.8, height=3.6)
plane.scatter(*cloud.T, s=3, color="#BBBBBB", linewidths=0)
square(plane, 2.6)
plane.set(xlabel="known", ylabel="unknown")
for ax, value, color in zip(profiles, (-0.8, 0.1, 1.1), (DATA, VELOCITY, ORANGE), strict=True):
    plane.axvline(value, color=color, linewidth=2)
    a, b, c = given_first(data, value)
    density = GaussianMixture(a, b[:, None], c[:, None, None]).log_prob(line[:, None]).exp()
    ax.fill_betweenx(line, 0, density, color=color, alpha=0.3, linewidth=0)
    ax.plot(density, line, color=color)
    for share, height in zip(a, b, strict=True):
        if share > 0.02:
            ax.text(4.1, height, f"{share:.2f}", ha="right", va="center", color=INK)
    ax.set(ylim=(-2.6, 2.6), xlim=(0, 4.2), xlabel="density", title=f"known = {value}")
figure

# %% [markdown]
r"""
*Left: the data, and three lines. Right: the profile along each line, scaled to area 1, with the share of each
stroke. All three strokes exist on every line; which of them counts depends on where the line is.*

We take the blue line from here on. The truth is: stroke one, four times in five; stroke two, nearly once in
five; stroke three, hardly ever.

## 16.2 How to measure a bias

A method gives us a cloud of completions. We compare it with as many draws from the truth, by two numbers.
The **energy distance** of chapter 5 sees every difference between two laws; ours has no bias, so perfect
samples score 0 up to its error. The **wrong share** says how much of the cloud sits on the wrong stroke: half
the sum of $|\text{share} - w_i'|$. It is readable, but perfect samples score above 0. And one more yardstick:
the truth noised along the path is a mixture, too, so it has an exact denoiser. The same solver with *that*
denoiser shows what the solver's finite steps cost.
"""

# %%
n = 2000
times = uniform_half_log_snr_times(path, 40, end=1e-3).double()
start = start_noise(path, (n, 2), seeded(1)).double()
reference = truth.sample(n, seeded(2))
known, mask = torch.tensor([-0.8, 0.0], dtype=double), torch.tensor([True, False])


def shares(x):
    """Which stroke each completion sits on: the nearest in the unknown coordinate."""
    nearest = (x[:, 1:] - truth.means[:, 1]).abs().argmin(dim=1)
    return torch.bincount(nearest, minlength=3) / len(x)


def wrong_share(x):
    return 0.5 * (shares(x) - truth.weights).abs().sum().item()


def bias(x):
    """Energy distance of the unknown coordinate to the truth."""
    return energy_distance(x[:, 1:], reference[:, 1:]).value


floor_energy = floor(
    energy_distance, lambda n, generator: truth.sample(n, generator)[:, 1:], n, generator=seeded(3), repeats=5
)
floor_share = sum(wrong_share(truth.sample(n, seeded(10 + k))) for k in range(10)) / 10
ideal = sample(truth.denoiser(path), Ancestral(), start, times, generator=seeded(4))
print(f"perfect samples: energy distance {abs(floor_energy.mean):.2f}, wrong share {floor_share:.2f}")
print(f"exact denoiser of the truth, 40 steps: {bias(ideal):.2f}, {wrong_share(ideal):.2f}")
assert bias(ideal) < 0.01

# %% [markdown]
r"""
## 16.3 Replacement

The idea is so natural that it was found several times. Sample as always, from noise down. But we *know* what
part of the state should look like: the known pixels, at the noise of the present time. So after each step,
write it in:

$$x_s^k \leftarrow \alpha_s\, y + \sigma_s\, z, \qquad z \sim \mathcal N(0, I), \qquad x_s^u \leftarrow
\text{what the solver made}. \tag{16.4}$$
<!-- code 16.4: diffedu.editing.Replacement -->

Mind $\sigma_s$: a standard deviation, $\sqrt{1-\bar\alpha_s}$ in the letters of DDPM. Section 16.4 looks at
what happens if the root gets lost.
"""


# %%
def replaced(denoiser, solver, x, times, known, mask, generator):
    """Sample with the known part written in after each step: (16.4)."""
    state = solver.init(x)
    for t, s in pairwise(times):
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x, state = solver.step(denoiser, x, t, s, state, z)
        c = denoiser.path(s)
        x = torch.where(mask, c.alpha * known + c.sigma * z, x)
    return x


mine = replaced(exact, Ancestral(), start, times, known, mask, seeded(5))
plain = sample(exact, Replacement(Ancestral(), known, mask), start, times, generator=seeded(5))
assert torch.equal(mine, plain)

t = times[20]
upto = sample(exact, Replacement(Ancestral(), known, mask), start, times[:21], generator=seeded(5))
verify_mean("16.4", (upto[:, 0] - path(t).alpha * y) ** 2, path(t).sigma ** 2)
print(f"replacement: energy distance {bias(plain):.2f}, wrong share {wrong_share(plain):.2f}")
print("shares:", [f"{s:.2f}" for s in shares(plain).tolist()], "truth:", [f"{s:.2f}" for s in w.tolist()])
assert bias(plain) > 20 * abs(bias(ideal))

# %% [markdown]
r"""
A quarter of the answers sit on the wrong stroke, and the denoiser was *exact*. **Before you read on:** where
does the error come in? Candidates: the noise $z$ is drawn afresh at each step, so the known part jitters; the
known part has the wrong law; 40 steps are too few; or something else.

### Not the noise
Let us see what law the noisy states *should* have. If $k = y$ for certain, then $x_t^k$ is $\alpha y$ plus
noise, and this noise has nothing to do with the rest of the picture. So the two parts are independent,

$$p_t(x^k, x^u \mid y) = \mathcal N\big(x^k;\ \alpha y,\ \sigma^2\big)\;\, p_t(x^u \mid y). \tag{16.5}$$

The first factor is just what (16.4) writes in. Fresh noise is right, its law is right, its independence is
right. The error must be in the second factor: in how the *unknown* part is moved.

### The listening
To move $x^u$ the solver needs a guess of $u$. The right guess would be $\mathbb E[u \mid x_t^u,\, k=y]$: told
$y$ itself. The model is told $x_t^k$ instead: $y$ through a noisy channel. What does it make of it? It
considers all values that $k$ might have, and averages the right guesses over them:

$$\mathbb E[u \mid x_t] = \int \mathbb E[u \mid x_t^u,\ k]\;\, p(k \mid x_t)\, dk. \tag{16.6}$$

(This is the tower property of expectations: given $k$, the noisy $x^k_t$ says nothing more.) Were $p(k\mid
x_t)$ a spike at $y$, all would be well. At small noise it is. At large noise it is about as wide as the
data, and **the model does not hear what is known.** Check the identity; then see when it matters.
"""

# %%
x = data.noised(path, 0.3).sample(6, seeded(6))
now = torch.tensor(0.3, dtype=double)
wide = torch.tensor([[0.5, 1.0, 2.0]], dtype=double).T
verify(
    "16.5",
    truth.noised(path, now).log_prob(x),
    torch.distributions.Normal(path(now).alpha * y, path(now).sigma).log_prob(x[:, 0])
    + pieces.noised(path, now).log_prob(x[:, 1:]),
    over="points",
)

values = torch.linspace(-4, 4, 1601, dtype=double)  # of k
weights_x, means_x, covariances_x = data.posterior(x, now, path)
density_of_k = (
    weights_x[..., None]
    * torch.distributions.Normal(means_x[..., :1], covariances_x[..., 0, 0, None].sqrt())
    .log_prob(values)
    .exp()
).sum(1)  # p(k | x_t)
right_guess = torch.stack([conditioned(data, first, k[None]).denoiser(path)(x, now)[:, 1] for k in values], 1)
verify("16.6", exact(x, now)[:, 1], torch.trapezoid(right_guess * density_of_k, values), over="points")

# %%
marginal_k = GaussianMixture(data.weights, data.means[:, :1], data.covariances[:, :1, :1])
marginal_u = GaussianMixture(data.weights, data.means[:, 1:], data.covariances[:, 1:, 1:])
moments = torch.linspace(0.01, 0.99, 50, dtype=double)
heard, decided = [], []
for now in moments:
    c = path(now)
    z = torch.randn(4000, 1, generator=seeded(7), dtype=double)
    heard.append(marginal_k.responsibilities(c.alpha * y + c.sigma * z, now, path)[:, 0].mean().item())
    u = marginal_u.noised(path, now).sample(4000, seeded(8))
    decided.append(marginal_u.responsibilities(u, now, path).amax(dim=1).mean().item())
figure, (ax,) = panels(1, 1, width=8.6, height=3.4)
ax.axhline(w[0].item(), color=NOISE, linewidth=1, linestyle=":")
ax.text(0.79, w[0].item() + 0.015, "the truth for the top stroke, 0.82", ha="right", color="#666666")
ax.axhline(0.45, color=NOISE, linewidth=1, linestyle=":")
ax.text(0.01, 0.462, "its share of the data, 0.45", color="#666666")
ax.plot(moments, decided, color=INK, linestyle="--")
ax.plot(moments, heard, color=DATA)
ax.text(0.16, 0.94, "how settled the stroke is,\nby the unknown part alone", color=INK)
ax.text(0.02, 0.55, "probability of the\ntop stroke, by what\nis heard of $y$", color=DATA)
ax.set(xlabel="time t (noise to the right)", ylabel="probability", ylim=(0.4, 1.04), xlim=(0, 0.8))
print(f"at t = {moments[10]:.1f}: likeliest stroke {decided[10]:.1f}, top stroke by y {heard[10]:.1f}")
assert all(settled > known_of_y for settled, known_of_y in zip(decided, heard) if settled > 0.5)
assert decided[10] > 0.75 > 0.65 > heard[10]
figure

# %% [markdown]
r"""
*From right to left, as sampling goes. The unknown part settles the choice of a stroke (dashed) sooner than
what is heard of $y$ (blue) could tell it. At $t = 0.2$ the likeliest stroke already stands at 0.8 on average,
while $y$ has lifted the top stroke from 0.45 to no more than 0.6. When $y$ is heard in full, the answer has
been given.*

That is the whole story of the bias. What is decided early is coarse, and hears little; what hears more is
late, and can only adjust details. In a picture the coarse thing is *which object* it is.

**Would more steps help?** Look at the curves: there is no step size in them. So no. Let us check that, too.

## 16.4 Going back: RePaint

If the decision came too early, take it back. Lugmayr and others go down a step, up again by adding noise,
and down again, several times at each level, so that known and unknown get more than one chance to agree.
The step up, from $s$ to a noisier $t$, is the forward process from $s$ to $t$: shrink, and add the noise
that is missing,

$$x_t = \frac{\alpha_t}{\alpha_s}\, x_s + \Big(\sigma_t^2 - \frac{\alpha_t^2}{\alpha_s^2}\,
\sigma_s^2\Big)^{1/2} z. \tag{16.7}$$
<!-- code 16.7: diffedu.editing.Renoised -->

(In DDPM with neighbouring times this is $\sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\; z$.) A step up costs
no evaluation of the network; each step down costs one. The order of the times is a list, built once:
`resampled(times, jump, visits)` goes down each stretch of `jump` steps `visits` times.
"""


# %%
def repaint(denoiser, x, times, visits, known, mask, generator):
    """RePaint with jumps of one step (Lugmayr et al. 2022, algorithm 1), on any path."""

    def fresh():
        return torch.randn(x.shape, generator=generator, dtype=x.dtype)

    for t, s in pairwise(times):
        a, b = denoiser.path(t), denoiser.path(s)
        for visit in range(visits):
            z = fresh()
            down, _ = Ancestral().step(denoiser, x, t, s, (), z)
            x = torch.where(mask, b.alpha * known + b.sigma * z, down)  # (16.4)
            if visit < visits - 1:  # (16.7), but not after the last visit
                kept, z = a.alpha / b.alpha, fresh()
                x = kept * x + (a.sigma**2 - kept**2 * b.sigma**2).sqrt() * z
                x = torch.where(mask, a.alpha * known + a.sigma * z, x)
    return x


few, solver = start[:50], Replacement(Renoised(Ancestral()), known, mask)
mine = repaint(exact, few, times, 3, known, mask, seeded(9))
torch.testing.assert_close(mine, sample(exact, solver, few, resampled(times, 1, 3), generator=seeded(9)))

# (16.7): the variance that Renoised adds, against what the forward SDE collects on the way (chapter 10)
t, s = torch.tensor([0.6, 0.35], dtype=double)
one = torch.ones(1, 2, dtype=double)
added, _ = Renoised(Ancestral()).step(exact, 0 * one, s, t, (), one)
way = torch.linspace(0.35, 0.6, 2001, dtype=double)
along = path(way)
collected = torch.trapezoid(along.diffusion_squared * (path(t).alpha / along.alpha) ** 2, way)
verify("16.7", added[0, 0] ** 2, collected, rtol=1e-6)

# %% [markdown]
r"""
(The last line of the loop is our habit: after a step up the known part is written in again. It had the
right law already; only its noise is new.)

Now the measurement. On the horizontal axis is what it costs: evaluations of the denoiser. The fair rival is
replacement with as many *steps*. **Bets first**: which falls, and does it reach the floor?
"""


# %%
def by_replacement(grid, seed=11):
    return sample(exact, solver, start, grid, generator=seeded(seed))


def evaluations(grid):
    return int((grid.diff() < 0).sum())


settings = {"visits": [1, 2, 4, 8, 16], "jump 10": [2, 4, 8, 16], "more steps": [1, 4, 16]}
found = {}
for name, visits in settings.items():
    found[name] = []
    for count in visits:
        if name == "more steps":
            grid = uniform_half_log_snr_times(path, 40 * count, end=1e-3).double()
        else:
            grid = resampled(times, 10 if name == "jump 10" else 1, count)
        x = by_replacement(grid)
        found[name].append((evaluations(grid), bias(x), wrong_share(x)))
        if name == "visits" and count == 16:
            repainted = x
for name, rows in found.items():
    print(f"{name:11s}", ", ".join(f"{share:.2f} ({cost} evaluations)" for cost, _, share in rows))
assert found["visits"][-1][1] < 0.2 * found["visits"][0][1]
assert found["more steps"][-1][1] > 0.6 * found["visits"][0][1]
assert found["visits"][-1][2] > 2 * floor_share  # better, and still not right
assert found["jump 10"][-1][2] > 1.5 * found["visits"][-1][2]

# %%
figure, (ax, *clouds) = panels(1, 4, width=13, height=3.7)
for (name, rows), color, at in zip(found.items(), (DATA, VELOCITY, ORANGE), (0.05, 0.23, 0.30), strict=True):
    cost, _, share = zip(*rows, strict=True)
    ax.plot(cost, share, color=color, marker="o", markersize=4)
    ax.text(700, at, name, color=color, ha="right")
ax.axhline(floor_share, color=NOISE, linewidth=1.5)
ax.text(40, floor_share + 0.005, "floor", color="#666666")
ax.set(xscale="log", xlabel="evaluations", ylabel="wrong share", ylim=(0, 0.34))
ax.set_xticks([40, 160, 640], labels=["40", "160", "640"])
ax.set_xticks([], minor=True)
edges = torch.linspace(-2.5, 2.5, 101).tolist()
panels_shown = {"exact denoiser of the truth": ideal, "replacement": plain, "RePaint, 16 visits": repainted}
for hist, (name, x), color in zip(clouds, panels_shown.items(), (NOISE, ORANGE, DATA), strict=True):
    hist.hist(x[:, 1].numpy(), edges, density=True, color=color, alpha=0.55)
    hist.plot(line, profile, color=INK, linewidth=1)
    for share, height in zip(shares(x), truth.means[:, 1], strict=True):
        beside = height - 0.25 if height > 1 else height  # the highest peak leaves no room above
        hist.text(beside, 1.35, f"{share:.2f}", ha="right" if height > 1 else "center", color=INK)
    hist.set(xlim=(-2.5, 2.5), ylim=(0, 4.3), xlabel="unknown coordinate")
    hist.set_title(name, fontsize=11)
clouds[0].set_ylabel("density")
figure

# %% [markdown]
r"""
*Left: the wrong share against cost. Visits bring it down, steps do not. Right: the completions, the true
profile as a line, and the share on each stroke. Even with an exact denoiser and many hundred evaluations,
RePaint is not at the floor.*

Jumps of ten steps, which Lugmayr and others advise for pictures, soon stop helping here, while visits of one
step at equal cost go on to bring the wrong share down. (Pictures may differ; our strokes cannot show that.)

### What infinitely many visits would do
Can it ever be right? Take the smallest case: one Gaussian, both variances 1, correlation $\rho$, a path
with $\alpha^2 + \sigma^2 = 1$. Stay at one level $t$ and go down and up for ever. The known part is written
in afresh each time, with mean $\alpha y$. The unknown part settles where a visit does not move its mean. At
level $t$ the covariance of the two parts is $\alpha^2\rho$ (noise adds nothing to it), the variance of the
known one is 1. So if the unknown part stands at the regression of $x^u_t$ on $x^k_t$, then the step down
moves it to the regression of $x_s^u$ on $x_t^k$, and the step up, a scaling and independent noise, exactly
back:

$$\overline{x}^{\,u}_t = \underbrace{\alpha^2 \rho}_{\text{slope}}\; \underbrace{\alpha\, y}_{\text{mean of }
x_t^k} = \alpha^3 \rho\, y, \qquad\text{but it should be}\qquad \mathbb E[x^u_t \mid y] = \alpha\, \rho\,
y. \tag{16.8}$$

**At each level RePaint converges to a wrong law**, its mean too small by the factor $\alpha^2$, however often
it visits. The model still hears $y$ through the noise. Only as $\alpha \to 1$ does the error go. So the
visits that count are those low down, as long as things still *move* there. One Gaussian moves at every level,
and RePaint is right in the end. Three separate strokes do not: below the level at which the strokes part,
nobody changes sides any more.
"""

# %%
rho, told = 0.8, torch.tensor(1.3, dtype=double)
pair = GaussianMixture.single(
    torch.zeros(2, dtype=double), torch.tensor([[1.0, rho], [rho, 1.0]], dtype=double)
)
stays = Replacement(Renoised(Ancestral()), torch.stack([told, 0 * told]), mask)
settled, right = [], []


def visit(u, t, s):  # down to s, up again, with all noise at its mean, 0: then means are what comes out
    x = torch.stack([path(t).alpha * told, u])[None]
    down, _ = stays.step(pair.denoiser(path), x, t, s, (), 0 * x)
    return stays.step(pair.denoiser(path), down, s, t, (), 0 * x)[0][0, 1]


for t in torch.tensor([0.1, 0.3, 0.5], dtype=double):
    s = t - 0.05
    zero, slope = visit(0 * told, t, s), visit(0 * told + 1, t, s) - visit(0 * told, t, s)
    settled.append(zero / (1 - slope))  # a visit is an affine map of u, and this its fixed point
    right.append(conditioned(pair, first, told[None]).noised(path, t).mean[1])
alpha = path(torch.tensor([0.1, 0.3, 0.5], dtype=double)).alpha
verify(
    "16.8",
    torch.stack([torch.stack(settled), torch.stack(right)]),
    torch.stack([alpha**3 * rho * told, alpha * rho * told]),
    over="means",
)

# %% [markdown]
r"""
### From the errata museum: the lost root
Line 5 of RePaint's printed algorithm multiplies the known part's noise by $(1-\bar\alpha_{t})$, a variance,
where a standard deviation must stand. (Its equation 8a has it as the *variance* of a Gaussian, where a
variance belongs. Its index is another matter: exercise 16.5.) What does the slip break? **Bet:** much, or
little?
"""


# %%
def lost_root(denoiser, x, times, known, mask, generator):
    for t, s in pairwise(times):
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        down, _ = Ancestral().step(denoiser, x, t, s, (), z)
        c = denoiser.path(s)
        x = torch.where(mask, c.alpha * known + c.sigma**2 * z, down)  # sigma squared
    return x


slipped = lost_root(exact, start, times, known, mask, seeded(5))
middle = int((path(times).sigma - 0.3).abs().argmin())
halfway = lost_root(exact, start, times[: middle + 1], known, mask, seeded(5))[:, 0]
c = path(times[middle])
excess = ((halfway - c.alpha * y) / c.sigma).std().item()
print(f"energy distance to the truth: right {bias(plain):.1f}, with the slip {bias(slipped):.1f}")
print(f"noise of the known part where sigma is {c.sigma:.1f}: {excess:.1f} of what it should be")
assert abs(bias(slipped) - bias(plain)) < 0.05
assert abs(excess - c.sigma.item()) < 0.05

# %% [markdown]
r"""
It breaks *nothing that this measurement could see*. The known part is too clean by the factor $\sigma$ on
the way, three times where $\sigma$ is 0.3, and yet the answers are as biased as before and no worse. **That
is how such a slip survives in print**: the method is approximate anyway. The library diffusers had the root.
In 2024 a reader found that its code and the printed algorithm differ, the *code* was corrected, and a month
later another reader saw that its pictures had become worse and put the root back. What finds the slip without
any picture is a check of the law itself, (16.4), which it fails at once. We write $\sigma$ because then
(16.5) holds, and because the denoiser was only ever trained on states of that law.

## 16.5 SDEdit: start in the middle

Now the reader has a *sketch* $x^\ast$: all of a picture, but not a picture of the right kind. Meng and others
noise it to a level $t_0$ of one's choice, and let the model walk down from there:

$$x_{t_0} = \alpha\, x^\ast + \sigma\, z, \qquad\text{then sample from } t_0 \text{ to } 0. \tag{16.9}$$
<!-- code 16.9: diffedu.editing.edited -->

There is one knob. At $t_0 = 0$ the sketch comes back; at $t_0 = t_\text{max}$ it is forgotten. What happens
in between? A stochastic sampler that makes no error draws from $p(x_0 \mid x_{t_0})$: *the posterior of a
noisy observation of the sketch*. Everything follows from that.

**What is real stays real.** If $x^\ast$ is itself a draw from the data, then $x_{t_0}$ is a draw from
$p_{t_0}$, and a posterior draw gives the data's law again, whatever $t_0$ is:

$$\int\!\!\int p(x_0 \mid x_t)\; q(x_t \mid x^\ast)\; p_0(x^\ast)\; dx^\ast\, dx_t = p_0(x_0). \tag{16.10}$$

**What is kept of the sketch.** For Gaussian data of variance $v$ around 0, the posterior mean is a multiple
of $x_t$ (chapter 9), and $x_t$ has mean $\alpha x^\ast$. A draw keeps on average

$$\mathbb E[x_0 \mid x^\ast] = \lambda\, x^\ast, \qquad \lambda = \frac{\alpha^2 v}{\alpha^2 v + \sigma^2}.
\tag{16.11}$$

$\lambda$ falls from 1 to 0 as $t_0$ grows. It is large for directions in which the data varies much, small
for those in which it varies little: **what the data does not do is corrected first.** This is why SDEdit
works: off the strokes there is no variance, along them there is.

**The deterministic sampler remembers more.** The ODE scales each Gaussian coordinate so that its standard
deviation goes from $\sqrt{\alpha^2 v + \sigma^2}$ to $\sqrt v$. So it keeps

$$\mathbb E[x_0 \mid x^\ast] = \frac{\sqrt v}{\sqrt{\alpha^2 v + \sigma^2}}\; \alpha\, x^\ast =
\sqrt\lambda\; x^\ast. \tag{16.12}$$
"""

# %%
t = torch.tensor(0.35, dtype=double)
c = path(t)


def posterior_draw(x_t, t, rng):
    """An exact draw from p(x0 | x_t) of the three strokes: a stroke by its weight, then a point of it."""
    chance, means, covariances = data.posterior(x_t, t, path)
    k = torch.multinomial(chance, 1, generator=rng)[:, 0]
    rows = torch.arange(len(x_t))
    roots = torch.linalg.cholesky(covariances[rows, k])
    z = torch.randn(x_t.shape, generator=rng, dtype=double)
    return means[rows, k] + (roots @ z[..., None])[..., 0]


def perfect_edit(x, t, seed):
    """Noise to t, then an exact draw from the posterior."""
    c, rng = path(t), seeded(seed)
    return posterior_draw(c.alpha * x + c.sigma * torch.randn(x.shape, generator=rng, dtype=double), t, rng)


again = perfect_edit(data.sample(20_000, seeded(12)), t, 13)
moments_again = torch.stack(
    [again[:, 1], again[:, 0] ** 2, again[:, 1] ** 2, again[:, 0] * again[:, 1]], dim=1
)
second = data.covariance + torch.outer(data.mean, data.mean)
verify_mean("16.10", moments_again, torch.stack([data.mean[1], second[0, 0], second[1, 1], second[0, 1]]))

variance = 0.6
bell = GaussianMixture.single(torch.zeros(1, dtype=double), torch.tensor([[variance]], dtype=double))
sketch = torch.tensor([[2.0]], dtype=double)
keeps = c.alpha**2 * variance / (c.alpha**2 * variance + c.sigma**2)
z = torch.randn(20_000, 1, generator=seeded(14), dtype=double)
verify_mean("16.11", bell.posterior_mean(c.alpha * sketch + c.sigma * z, t, path)[:, 0], 2 * keeps)
grid = uniform_times(path, 60, start=0.35, end=0.0).double()
low, high = (
    edited(bell.denoiser(path), Heun(), sign * sketch, grid, generator=seeded(15)) for sign in (-1, 1)
)
verify("16.12", (high - low)[0, 0] / 2, keeps.sqrt() * 2, rtol=2e-4, over="values")

# (16.9): the ODE stretches by sqrt(lambda) / alpha; undo that, and what it began from must spread by sigma
many = edited(bell.denoiser(path), Heun(), sketch.expand(20_000, 1), grid, generator=seeded(15))
began = many[:, 0] * c.alpha / keeps.sqrt()
verify_mean(
    "16.9", torch.stack([began, (began - c.alpha * 2) ** 2], 1), torch.stack([c.alpha * 2, c.sigma**2])
)

# %% [markdown]
r"""
((16.12) was checked with 60 steps of Heun, hence its tolerance.) Now the two things that one wants,
measured on the strokes. Our sketch is drawn with a ruler: points on three straight bars, not where the data
is. **Faithful** is the distance that the points have moved; **realistic** is the energy distance of the
result to the data, in the plane, and its floor is 0.
"""

# %%
rng = seeded(16)
u = torch.rand(1500, generator=rng, dtype=double)
height = torch.tensor([1.0, 0.0, -1.0], dtype=double)[
    torch.multinomial(data.weights, 1500, True, generator=rng)
]
sketches = torch.stack([2.4 * u - 1.2, height], dim=1)
levels = torch.tensor([0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0], dtype=double)
real = data.sample(1500, seeded(17))
tiny = torch.tensor(1e-3, dtype=double)


def stroke_of(x):
    return data.responsibilities(x, tiny, path).argmax(dim=1)


own_stroke = data.responsibilities(sketches, levels[0], path).argmax(dim=1)  # the nearest, for each point
moved, unreal, stayed, results = [], [], [], {}
for level in levels:
    x = perfect_edit(sketches, level, 18)
    moved.append((x - sketches).norm(dim=1).mean().item())
    unreal.append(energy_distance(x, real).value)
    stayed.append((stroke_of(x) == own_stroke).double().mean().item())
    results[level.item()] = x
grid = uniform_half_log_snr_times(path, 60, start=0.3, end=1e-3).double()
by_steps = edited(exact, Ancestral(), sketches, grid, generator=seeded(18))  # as one would do it
assert abs(energy_distance(by_steps, results[0.3]).value) < 0.005
fresh = data.sample(1500, seeded(19))
anyone = (fresh - sketches).norm(dim=1).mean().item()
by_chance = (stroke_of(fresh) == own_stroke).double().mean().item()
assert moved == sorted(moved)
assert unreal[0] > 0.05 > 0.01 > unreal[4]
assert abs(moved[-1] / anyone - 1) < 0.1
print("distance moved: ", ", ".join(f"{a:.1f}" for a in moved), f"(a fresh draw: {anyone:.1f})")
perfect = floor(energy_distance, data.sample, 1500, generator=seeded(26), repeats=5)
print("energy distance:", ", ".join(f"{abs(a):.2f}" for a in unreal), f"(floor: {abs(perfect.mean):.2f})")
print("on own stroke:  ", ", ".join(f"{a:.1f}" for a in stayed), f"(a fresh draw: {by_chance:.1f})")
assert stayed[0] > 0.9 > 0.7 > stayed[2] > 1.5 * by_chance > stayed[3] > by_chance

figure, (*shown, ax) = panels(1, 4, width=13, height=3.6)
for plot, level in zip(shown, (0.1, 0.3, 0.7), strict=True):
    x = results[level]
    plot.scatter(*sketches[:300].T, s=4, color=EXTRA, linewidths=0)
    for a, b in zip(sketches[:60], x[:60], strict=True):
        plot.plot(*torch.stack([a, b]).T, color="#CCCCCC", linewidth=0.7, zorder=0)
    plot.scatter(*x[:700].T, s=3, color=DATA, linewidths=0, alpha=0.6)
    square(plot, 2.6, ylabel="$x_2$" if level == 0.1 else "")
    plot.set_title(f"$t_0 = {level}$")
ax.plot(levels, moved, color=DATA)
ax.axhline(anyone, color=NOISE, linewidth=1, linestyle=":")
ax.text(0.98, anyone + 0.05, "a fresh draw", color="#666666", ha="right")
ax.text(0.98, 1.4, "distance moved", color=DATA, ha="right")
other = ax.twinx()
other.plot(levels, unreal, color=ORANGE, linestyle="--")
other.text(0.25, 0.03, "energy distance", color=ORANGE)
other.set(ylim=(0, 0.24), ylabel="energy distance to the data")
other.grid(False)
ax.set(xlabel="$t_0$", ylabel="mean distance moved", ylim=(0, 2.4), xlim=(0, 1))
figure

# %% [markdown]
r"""
*Yellow: the sketch; blue: the result; grey lines join some of them. Right: both measures against the knob.
A little noise moves most points to the nearest stroke; much noise sends them anywhere.*

There is no setting at which both are had. At $t_0 = 0.02$ nine points in ten land on the stroke nearest to
them, and the result is still a sketch. By $t_0 = 0.3$ nearly all that can be gained in realism is gained,
and the choice of stroke is little better than chance: 0.4 against 0.3. Beyond that one only loses.

Is a result *guaranteed* to become real? In this sense: noise both the sketches and the data to $t_0$. A
perfect walk down, the same for both, turns the one into the results and the other into the data, and it
can't make two laws easier to tell apart (the data-processing inequality). So the result diverges from the
data by at most as much as the noised sketches from the noised data, and this bound shrinks as $t_0$ grows,
by the same inequality. It is the *bound* that falls for certain. Whether the result itself improves at each
step up is something to measure, as we did.

## 16.6 Inverse problems

A camera blurs, or has few pixels. We measure

$$y = A\, x_0 + n, \qquad n \sim \mathcal N(0, \varsigma^2 I), \tag{16.13}$$
<!-- definition 16.13: the measurement; A maps D numbers to K, usually fewer; its noise is varsigma -->

with a known matrix $A$, and want draws from $p(x_0 \mid y)$. Inpainting is the case in which $A$ picks
coordinates and $\varsigma = 0$. For a mixture the answer is known again. Each component is conditioned as
in regression, with matrices where (16.2) had numbers. With $C_i = A S_i A^\top + \varsigma^2 I$, the
covariance of $y$ if the component were true,

$$x_0 \mid y \sim \sum_i w_i'\, \mathcal N\big(m_i + S_i A^\top C_i^{-1} (y - A m_i),\;\; S_i - S_i A^\top
C_i^{-1} A S_i\big), \qquad w_i' \propto w_i\, \mathcal N(y; A m_i, C_i). \tag{16.14}$$
<!-- code 16.14: diffedu.editing.conditioned -->

### Bayes' rule, and who is asked
As in (12.3), the score of the noisy state given $y$ is a sum,

$$\nabla\log p_t(x \mid y) = \nabla\log p_t(x) + \nabla\log p_t(y \mid x), \qquad p_t(y \mid x) =
\mathbb E\big[ \mathcal N(y;\ A x_0,\ \varsigma^2 I)\,\big|\, x_t = x\big]. \tag{16.15}$$

The first term is the model. The second is an **average over all clean points behind $x$**. Nobody can
compute it for pictures. All methods of this section are guesses of it. For the mixture we have it.
"""

# %%
wanted_y, noise_std = torch.tensor([-0.8], dtype=double), 0.2
posterior = conditioned(data, first, wanted_y, noise_std)
lattice = torch.cartesian_prod(*[torch.linspace(-3.5, 3.5, 701, dtype=double)] * 2)
by_bayes = data.log_prob(lattice) - 0.5 * ((lattice[:, 0] - wanted_y) / noise_std) ** 2
cell = 0.01**2
by_bayes = by_bayes - torch.logsumexp(by_bayes, 0) - math.log(cell)
verify("16.14", posterior.log_prob(lattice).exp(), by_bayes.exp(), rtol=1e-6, over="points")

t = torch.tensor(0.3, dtype=double)
x = data.noised(path, t).sample(30, seeded(20)).requires_grad_()
chance, means_x, covariances_x = data.posterior(x, t, path)  # of x0 given x_t: a mixture for each x
foretold = torch.distributions.Normal(means_x[..., 0], (covariances_x[..., 0, 0] + noise_std**2).sqrt())
log_likelihood = torch.logsumexp(chance.log() + foretold.log_prob(wanted_y), dim=1)
(pull,) = torch.autograd.grad(log_likelihood.sum(), x)
x = x.detach()
verify(
    "16.15", score(posterior.denoiser(path), x, t), score(exact, x, t) + pull, rtol=1e-7, over="coordinates"
)

# %% [markdown]
r"""
### A Gaussian guess
Suppose $x_0$ given $x_t$ were Gaussian, with mean $\hat x_0(x)$ and some covariance $\Gamma$. Then $A x_0 +
n$ would be Gaussian with mean $A\hat x_0$ and covariance $A \Gamma A^\top + \varsigma^2 I$. Now recall from
chapter 9 that a denoiser tells its own covariance: $\Gamma = \frac{\sigma^2}{\alpha} J$, with $J$ the
Jacobian of $\hat x_0$ by $x$. Hold the covariance fixed, differentiate $\log\mathcal N$ through $\hat
x_0(x)$ by the chain rule, and use (12.4) to turn a change of the score into a change of the guess:

$$\hat x_0(x \mid y) \approx \hat x_0 + \frac{\sigma^2}{\alpha}\, J^\top A^\top \big(A\,\Gamma A^\top +
\varsigma^2 I \big)^{-1} \big(y - A \hat x_0\big). \tag{16.16}$$

Since $\frac{\sigma^2}{\alpha}J^\top = \Gamma$, this is the Kalman filter's update: the miss $y - A\hat x_0$,
weighted by how unsure the guess is against how unsure the measurement is. For Gaussian data it is exact.

$A\Gamma A^\top$ is too large a matrix for pictures. So something is put in its place:

- **DPS** (Chung and others 2023): $\Gamma = 0$ *in the inverse*: the guess is taken for certain.
- **Pseudoinverse guidance** (Song and others 2023): $\Gamma = r^2 I$, the covariance that $x_0$ given $x_t$
  would have if the data were white Gaussian, of variance $v$,

$$r^2 = \frac{v\, \sigma^2}{v\, \alpha^2 + \sigma^2}. \tag{16.17}$$
<!-- code 16.17: diffedu.editing.PosteriorGuided -->

$J$ itself is kept in both, through one backward pass.

**Before you read on.** With $\varsigma$ small and $\Gamma = 0$, how long is the correction at high noise,
where $\hat x_0$ is off by much? Who will overshoot? And what happens if $v$ is taken too large?
"""


# %%
def bent(denoiser, A, y, noise_std, v, x, t):
    """(16.16) with Gamma = r^2 I in the inverse: pseudoinverse guidance; v = 0: DPS."""
    c = denoiser.path(t)
    r2 = v * c.sigma**2 / (v * c.alpha**2 + c.sigma**2)  # (16.17)
    x = x.detach().requires_grad_()
    guess = denoiser(x, t)
    inverse = torch.linalg.inv(r2 * A @ A.T + noise_std**2 * torch.eye(len(A), dtype=A.dtype))
    weighted = ((y - guess @ A.T) @ inverse @ A).detach()  # A^T (...)^-1 (y - A guess), one row an example
    (through,) = torch.autograd.grad((guess * weighted).sum(), x)  # J^T of it
    return guess.detach() + c.sigma**2 / c.alpha * through


class RightCovariance:
    """(16.16) with the true covariance of x0 given x_t: only for small D."""

    @property
    def path(self):
        return exact.path

    def __call__(self, x, t):
        guess, gamma = exact(x, t), posterior_covariance(exact, x, t)
        inside = first @ gamma @ first.T + noise_std**2 * torch.eye(1, dtype=double)
        gain = gamma @ first.T @ torch.linalg.inv(inside)
        return guess + (gain @ (wanted_y - guess @ first.T)[..., None])[..., 0]


def see(x0):
    return x0 @ first.T


guided = PosteriorGuided(exact, see, wanted_y, noise_std, data_variance=0.5)
torch.testing.assert_close(bent(exact, first, wanted_y, noise_std, 0.5, x, t), guided(x, t))

# (16.16) for one Gaussian, against the exact denoiser of its conditional law; (16.17) against the Jacobian
mixing = torch.tensor([[1.0, 0.7]], dtype=double)
white = GaussianMixture.single(torch.zeros(2, dtype=double), 0.7 * torch.eye(2, dtype=double)).denoiser(path)
gamma = posterior_covariance(pair.denoiser(path), x, t)
gain = (
    gamma @ mixing.T @ torch.linalg.inv(mixing @ gamma @ mixing.T + noise_std**2 * torch.eye(1, dtype=double))
)
guess = pair.denoiser(path)(x, t)
verify(
    "16.16",
    guess + (gain @ (wanted_y - guess @ mixing.T)[..., None])[..., 0],
    conditioned(pair, mixing, wanted_y, noise_std).denoiser(path)(x, t),
    over="coordinates",
)
c = path(t)
spread = 0.7 * c.sigma**2 / (0.7 * c.alpha**2 + c.sigma**2)
verify("16.17", spread * torch.eye(2, dtype=double), posterior_covariance(white, x[:1], t)[0])

# %% [markdown]
r"""
DPS as published is a little different. It does not weigh the miss by Bayes' rule, which would make steps of
any length. After each ordinary step it goes down the *distance* $\lVert y - A\hat x_0\rVert$, by a step
whose length is tuned:

$$x_s \leftarrow x_s - \zeta\; \frac{\nabla_{\!x_t} \lVert y - A \hat x_0(x_t)\rVert^2}{\lVert y - A
\hat x_0(x_t) \rVert}. \tag{16.18}$$
<!-- code 16.18: diffedu.editing.DPS -->

$\varsigma$ does not occur in it. So it cannot know how exactly the measurement should be met, and $\zeta$
must be found by trial: 0.2 will turn out well on the strokes, 3 to 5 on digits.
"""


# %%
def dps_step(denoiser, x, t, s, measure, y, zeta, z):
    """One step of Chung et al. 2023, algorithm 1."""
    x = x.detach().requires_grad_()
    guess = denoiser(x, t)
    distance = (y - measure(guess)).norm(dim=1)
    (down,) = torch.autograd.grad(distance.square().sum(), x, retain_graph=True)
    step, _ = Ancestral().step(denoiser, x.detach(), t, s, (), z)
    return step - zeta * down / distance.detach()[:, None]


z = torch.randn(x.shape, generator=seeded(21), dtype=double)
s = t - 0.05
package_step, _ = DPS(Ancestral(), see, wanted_y, 0.2).step(exact, x, t, s, (), z)
torch.testing.assert_close(dps_step(exact, x, t, s, see, wanted_y, 0.2, z), package_step)

# (16.18) with the derivative by hand: a white Gaussian's guess is slope * x, and the distance |y - slope x_1|
slope = 0.7 * c.alpha / (0.7 * c.alpha**2 + c.sigma**2)
by_hand, _ = Ancestral().step(white, x, t, s, (), z)
by_hand[:, 0] += 0.2 * 2 * slope * (wanted_y - slope * x[:, 0]).sign()
verify("16.18", dps_step(white, x, t, s, see, wanted_y, 0.2, z), by_hand, over="coordinates")

# %%
fine = uniform_half_log_snr_times(path, 60, end=1e-3).double()
answers = posterior.sample(n, seeded(22))


def by(denoiser, solver=None):
    return sample(denoiser, solver or Ancestral(), start, fine, generator=seeded(23))


def off(x):
    return energy_distance(x, answers).value


variances, steps = [0.0, 0.05, 0.2, 0.5, 1.0, 2.0], [0.05, 0.1, 0.2, 0.4]
clouds = {"exact": by(posterior.denoiser(path)), "right covariance": by(RightCovariance())}
pseudo = {v: by(PosteriorGuided(exact, see, wanted_y, noise_std, v)) for v in variances}
tuned = {zeta: by(exact, DPS(Ancestral(), see, wanted_y, zeta)) for zeta in steps}
off_v, off_z = [off(x) for x in pseudo.values()], [off(x) for x in tuned.values()]
off_exact, off_right = off(clouds["exact"]), off(clouds["right covariance"])
inside = data.covariance[0, 0].item()
perfect = floor(
    energy_distance, lambda n, generator: posterior.sample(n, generator), n, generator=seeded(25), repeats=5
)
print(f"perfect samples: {abs(perfect.mean):.2f}; exact denoiser of the posterior: {off_exact:.2f};", end=" ")
print(f"right covariance: {off_right:.2f}")
print(
    "pseudoinverse guidance by v:", ", ".join(f"{v}: {e:.2f}" for v, e in zip(variances, off_v, strict=True))
)
print("DPS by step size:", ", ".join(f"{v}: {e:.2f}" for v, e in zip(steps, off_z, strict=True)))
print(f"variance of the measured coordinate in the data: {inside:.1f}")
assert abs(off_exact) < 0.006
assert abs(perfect.mean) < 0.002
assert off_right < 0.02
assert min(off_v) < 0.01 < 0.05 < off_v[0]
assert min(off_z) < 0.04 < 0.1 < max(off_z)

figure, (*shown, ax) = panels(1, 5, width=14.2, height=3.4)
certain = "$v = 0$ (certain)"
named = {
    "truth": (answers, NOISE),
    certain: (pseudo[0.0], ORANGE),
    "$v = 0.5$": (pseudo[0.5], DATA),
    "$v = 2$": (pseudo[2.0], GUIDED),
}
for plot, (name, (x, color)) in zip(shown, named.items(), strict=True):
    plot.scatter(*cloud[:500].T, s=2, color="#DDDDDD", linewidths=0)
    plot.scatter(*x[:700].T, s=3, color=color, linewidths=0, alpha=0.7)
    square(plot, 2.6, ylabel="$x_2$" if name == "truth" else "")
    plot.set_title(name, fontsize=11)
ax.plot(variances, off_v, color=DATA, marker="o", markersize=4)
ax.axhline(off_right, color=VELOCITY, linewidth=1.5, linestyle="--")
ax.axhline(0, color=NOISE, linewidth=1.5)
ax.text(2.0, off_right + 0.003, "right covariance", color=VELOCITY, ha="right", fontsize=10)
ax.set(xlabel="assumed variance $v$", ylabel="energy distance to the truth", ylim=(-0.005, None))
figure

# %% [markdown]
r"""
*Pale: the data. Dark grey, on the left: what should come out. With the guess taken for certain the
measurement shouts: too much goes to the stroke that meets it best. With too large a $v$ it whispers, and a
stroke that it all but rules out gets too much. In between it is nearly right. Right: the error against $v$.
Perfect samples score 0.*

A sampler that was lucky in the end may have been wrong on the way. Here we can ask at each level for the
exact guess $\mathbb E[x_0 \mid x_t, y]$ and see how far each method's is off, on states as they should be.
"""

# %%
asked_at = torch.linspace(0.03, 0.95, 24, dtype=double)
rivals = {f"$v = {v:g}$": PosteriorGuided(exact, see, wanted_y, noise_std, v) for v in (0.0, 0.5, 2.0)}
rivals["right covariance"] = RightCovariance()
off_guess = {name: [] for name in rivals}
for now in asked_at:
    states = posterior.noised(path, now).sample(1000, seeded(24))
    best = posterior.denoiser(path)(states, now)
    for name, rival in rivals.items():
        off_guess[name].append((rival(states, now) - best).square().sum(1).mean().sqrt().item())
peaks = {name: max(values) for name, values in off_guess.items()}
print(
    "largest error of the guess:", ", ".join(f"{name.strip('$')}: {peak:.2g}" for name, peak in peaks.items())
)
assert peaks["$v = 0$"] > 2 * peaks["right covariance"] > 0.1
best_early = [min(off_guess, key=lambda name: off_guess[name][k]) for k in range(10)]  # up to t = 0.39
assert set(best_early) == {"right covariance"}
assert min(off_guess, key=lambda name: off_guess[name][-1]) == "$v = 0.5$"

figure, (ax,) = panels(1, 1, width=8.2, height=3.3)
for (name, values), color, style in zip(
    off_guess.items(), (ORANGE, DATA, GUIDED, VELOCITY), ("-", "-.", ":", "--"), strict=True
):
    ax.plot(asked_at, values, color=color, linestyle=style, label=name)
ax.legend(frameon=False, loc="lower right")
ax.set(xlabel="time t", ylabel="error of the guess (rms)", yscale="log", ylim=(3e-3, 30), xlim=(0, 1))
figure

# %% [markdown]
r"""
*How far the bent guess is off the exact one. All are right near the data. At middle and high noise, where
the stroke is chosen, each guess of the likelihood is off in its own way. The right covariance is the best of
them up to $t = 0.4$. Beyond, $v = 0.5$ is a little better, by luck. None is right.*

Four lessons.

- Taking the guess for certain is the extreme of a scale. The *Jensen gap*, between the average of
  likelihoods in (16.15) and the likelihood of the average, is largest where the clean point is most in
  doubt: at high noise, where the stroke is chosen. There the weights go wrong, as they did in section 16.3
  for the opposite reason.
- With $v = 0.5$, which happens to be the variance of the measured coordinate in the data, it is nearly
  right. For three strokes nothing guarantees that; for one round Gaussian it would be exact.
- Even the right covariance is not exact, since $x_0$ given $x_t$ is three Gaussians rather than one.
- For DPS, the best step is somewhere between too small, where the measurement is not met, and too large,
  where samples are thrown about. Without a known truth one tunes by eye.

**So which one?** Where exactness counts, none of them alone: see the last section. For pictures, read on.

## 16.7 On digits

Now the network, the pixels, and no truth to compare with but the originals. First: holes. We erase the
lower half of held-out digits, and complete them by replacement, RePaint, and the pseudoinverse method
(where $A$ keeps the upper pixels). One practical point makes or breaks the last: **bend first, then cut to
the range of pixels**. A cut guess has no gradient where it was cut, and a bent one may leave the range.
"""

# %%
count = 64
classifier = digits_classifier.load(device=device)
images, labels = held_out.images[:count], held_out.labels[:count]
clean = encode(images)
raw = NetworkDenoiser(net, ddpm_path, V)  # not cut: the cut comes last
first_noise = start_noise(ddpm_path, (count, 1, 28, 28), seeded(30, device))
short = trailing_times(ddpm_path, 25)


def draw(denoiser, solver, grid=None, noise=None):
    grid, noise = (short if grid is None else grid), (first_noise if noise is None else noise)
    return decode(sample(denoiser, solver, noise, grid, generator=seeded(31, device)))


def bent_digits(measure, y, std, v, gram=None):
    return Clipped(PosteriorGuided(raw, measure, y, std, v, gram=gram), low=digits_ddpm.PAPER)


def keep_upper(x0):
    return x0[..., :14, :].flatten(1)


filled = {
    "paper": torch.where(upper, images, torch.full_like(images, -1.0)),
    "replacement": draw(digit_model, Replacement(Ancestral(), clean, upper)),
    "RePaint,\n3 visits": draw(
        digit_model, Replacement(Renoised(Ancestral()), clean, upper), resampled(short, 1, 3)
    ),
    "pseudoinverse": draw(bent_digits(keep_upper, keep_upper(clean), 0.03, 0.3), Ancestral()),
}
image_rows(
    {"original": images[:12], "question": shown_as_asked(images[:12], upper)}
    | {name: x[:12] for name, x in filled.items() if name != "paper"},
    scale=0.72,
)

# %% [markdown]
r"""
*Three ways to complete, each starting from the same noise. Replacement leaves breaks at the cut; RePaint
joins most of them; the pseudoinverse method joins.*

Did the order matter, bend first and cut then? **Bet**, then look.
"""

# %%
few_clean = clean[:12]


def bent_upper(denoiser):
    return PosteriorGuided(denoiser, keep_upper, keep_upper(few_clean), 0.03, 0.3)


orders = {
    "bent, then cut": filled["pseudoinverse"][:12],
    "cut, then bent": draw(bent_upper(digit_model), Ancestral(), noise=first_noise[:12]),
    "never cut": draw(bent_upper(raw), Ancestral(), noise=first_noise[:12]),
}


def ink_below(x):
    """Mean darkness of the lower half, 0 for white paper."""
    return (x[:, :, 14:].mean().item() + 1) / 2


print(f"ink below the cut: originals {ink_below(images[:12]):.1f};", end=" ")
print("; ".join(f"{name} {ink_below(x):.1f}" for name, x in orders.items()))
assert ink_below(orders["bent, then cut"]) < 1.3 * ink_below(images[:12])
assert min(ink_below(orders["cut, then bent"]), ink_below(orders["never cut"])) > 1.5 * ink_below(images[:12])
image_rows(orders, scale=0.72)

# %% [markdown]
r"""
*The same equation, the same noise. In the wrong order, or without the cut, guesses leave the range that the
network knows, and nothing brings them back.*

How good are the three? There is no truth here, only originals. Two things can be counted. The **jump at the
cut**: the mean change of grey from the last known row to the first unknown one, beside that of real digits.
And **how often the answer is read as the class of the original**, by the classifier of chapter 14.

**Before you look:** what should a *perfect* sampler score in the second count? Not 1! If half of a digit
leaves room for a 4 and a 9, then an honest sampler says "9" as often as 9s are behind such halves. The
original is one draw from $p(c \mid y)$ and the answer, from a method whose shares are $q(c \mid y)$,
another:

$$P(\text{same class}) = \sum_c p(c \mid y)\; q(c \mid y), \qquad\text{for the truth } q = p:\; \sum_c
p(c \mid y)^2. \tag{16.19}$$

It is *largest* for a method that always says the most probable class. So this count rewards the loss of
variety, just as a guided sampler's accuracy did in chapter 12. On the strokes we can compute all of it.
"""

# %%
originals = truth.sample_with_labels(4000, seeded(32))[1]
drawn = truth.sample_with_labels(4000, seeded(33))[1]
verify_mean("16.19", (originals == drawn).double(), truth.weights.square().sum())
for name, q in {
    "the truth": truth.weights,
    "replacement": shares(plain).double(),
    "RePaint, 16 visits": shares(repainted).double(),
    "always the most probable": torch.tensor([1.0, 0, 0], dtype=double),
}.items():
    print(f"{name:26s} agrees with the original's stroke: {(truth.weights * q).sum():.2f}")


# %%
def read_as(x):
    with torch.no_grad():
        return classifier(x).argmax(dim=1)


def right_class(x, truth=None):
    return (read_as(x) == (labels if truth is None else truth)).float().mean().item()


def jump(x):
    """Mean change of the grey value across the cut, in units of the range 2 of pixels."""
    return (x[:, :, 14] - x[:, :, 13]).abs().mean().item() / 2


everything = {"real": images, "nothing but paper": filled["paper"]} | {
    name: x for name, x in filled.items() if name != "paper"
}
reading = {name.replace("\n", " "): (right_class(x), jump(x)) for name, x in everything.items()}
error = 0.5 / math.sqrt(count)
for name, (right_share, gap) in reading.items():
    print(f"{name:20s} read as the original's class: {right_share:.1f}   jump at the cut: {gap:.2f}")
print(f"(standard error of a share: at most {error:.2f})")
assert reading["real"][0] > 0.97
assert reading["replacement"][1] > 1.3 * reading["real"][1]  # a visible seam
assert reading["RePaint, 3 visits"][1] < reading["replacement"][1]
assert abs(reading["pseudoinverse"][1] - reading["real"][1]) < 0.25 * reading["real"][1]
assert reading["pseudoinverse"][0] > reading["nothing but paper"][0] + 2 * error
right = {name: (read_as(filled[name]) == labels).float() for name in ("RePaint,\n3 visits", "pseudoinverse")}
lead = right["pseudoinverse"] - right["RePaint,\n3 visits"]  # digit by digit
assert 1 < math.sqrt(count) * lead.mean() / lead.std() < 3

# %% [markdown]
r"""
The seam tells more than the class, since each digit's seam counts and real digits give its floor:
replacement breaks strokes, three visits mend part of it, the pseudoinverse method leaves no trace. In the
class count the pseudoinverse method is ahead as well, of RePaint by about two standard errors of the
difference: a hint, no proof. By (16.19) you know what it would *not* show anyway: that its shares are right.

### Half a sketch
SDEdit needs nothing but a drawing. Ours are made of straight lines; the last two are no digits. ($t_0$ now
counts the 1,000 steps of chapter 14's path.)
"""

# %%
row, column = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")


def drawn_with_a_ruler(*corners, width=1.3):
    """Straight strokes from corner to corner, (row, column) in pixels, as an image (1, 28, 28) in [-1, 1]."""
    ink = torch.zeros(28, 28)
    for (r0, c0), (r1, c1) in pairwise(corners):
        along = ((row - r0) * (r1 - r0) + (column - c0) * (c1 - c0)) / ((r1 - r0) ** 2 + (c1 - c0) ** 2)
        along = along.clamp(0, 1)
        away = ((row - r0 - along * (r1 - r0)) ** 2 + (column - c0 - along * (c1 - c0)) ** 2).sqrt()
        ink = torch.maximum(ink, (width + 0.5 - away).clamp(0, 1))
    return (2 * ink - 1)[None]


drawings = torch.stack(
    [
        drawn_with_a_ruler((5, 8), (15, 7), (15, 20), (5, 19), (23, 18)),
        drawn_with_a_ruler((6, 7), (6, 20), (23, 11)),
        drawn_with_a_ruler((5, 8), (5, 20), (22, 20), (22, 8), (5, 8)),
        drawn_with_a_ruler((5, 18), (5, 8), (13, 8), (13, 19), (22, 19), (22, 8)),
        drawn_with_a_ruler((5, 14), (22, 22), (22, 6), (5, 14)),
        drawn_with_a_ruler((6, 7), (22, 21), (14, 14), (6, 21), (22, 7)),
    ]
).to(device)
edits, far = {"sketch": drawings}, []
for level in (400, 600, 700, 800):
    grid = torch.linspace(level, 0, 26, device=device).round()
    made = decode(edited(digit_model, Ancestral(), encode(drawings), grid, generator=seeded(40, device)))
    edits[f"$t_0 = {level}$"] = made
    far.append((made - drawings).square().mean().sqrt().item())
assert far == sorted(far)
image_rows(edits, scale=0.8)

# %% [markdown]
r"""
*Downwards, more noise. At 400 the ruler's lines have become ink, and little else has changed. Then corners
become round. At the bottom the sketch is one suggestion among others. What was no digit stays itself, or
becomes one, depending on the knob.*

## 16.8 Blur and few pixels

Two measurements of digits, each with noise of standard deviation 0.05: means over blocks of $4 \times 4$
pixels (49 numbers in place of 784), and a Gaussian blur with a standard deviation of 2 pixels. For the
first, $A A^\top = I/16$, a mean of 16 numbers; for the second it is a matrix, computed once. (Beyond the edge
the blur sees 0, a mid-grey: so $A$ stays a matrix, and its pictures get a pale frame.)

Both methods have a number to set. For the pseudoinverse method it is $v$, and it can be read off the data:
the pixels' variance, averaged over pixels, is 0.3. For DPS it is $\zeta$, and we try three values.

What is a fair rival? Interpolation is the naive one. A stronger one is the best *linear* answer: pretend that
digits are one Gaussian, with the mean and the covariance of the training set, and use (16.14). No network.
"""

# %%
std = 0.05
taps = torch.exp(-(torch.arange(-5.0, 6.0, device=device) ** 2) / (2 * 2.0**2))
taps = taps / taps.sum()


def blocks(x0):
    return F.avg_pool2d(x0, 4).flatten(1)


def blur(x0):
    across = F.conv2d(x0, taps.view(1, 1, 1, -1), padding=(0, 5))
    return F.conv2d(across, taps.view(1, 1, -1, 1), padding=(5, 0)).flatten(1)


tasks = {"blocks": blocks, "blur": blur}
some, some_labels = images[:16], labels[:16]
measured, naive, linear, sampled = {}, {}, {}, {}
by_dps = {zeta: {} for zeta in (1, 3, 5)}
pixels = encode(digits("train", device=device).images).flatten(1).double()
average, spread = pixels.mean(dim=0), torch.cov(pixels.T)
assert abs(spread.diagonal().mean() - 0.3) < 0.01
unit_images = torch.eye(784, device=device).reshape(784, 1, 28, 28)
grams = {}
for name, measure in tasks.items():
    A = measure(unit_images).T
    grams[name] = A @ A.T
    exact_y = measure(encode(some))
    seen = exact_y + std * torch.randn(exact_y.shape, generator=seeded(41, device), device=device)
    measured[name] = seen
    side = math.isqrt(seen.shape[1])
    shown_small = seen.reshape(-1, 1, side, side)
    naive[name] = decode(F.interpolate(shown_small, size=28, mode="bicubic") if side < 28 else shown_small)
    wide = A.double()
    inside = wide @ spread @ wide.T + std**2 * torch.eye(len(wide), dtype=double, device=device)
    off_by = (seen.double() - wide @ average).T
    best = average[:, None] + spread @ wide.T @ torch.linalg.solve(inside, off_by)
    linear[name] = decode(best.T.float().reshape(-1, 1, 28, 28))
    noise16 = first_noise[:16]
    sampled[name] = draw(bent_digits(measure, seen, std, 0.3, grams[name]), Ancestral(), noise=noise16)
    for zeta, answer in by_dps.items():
        answer[name] = draw(digit_model, DPS(Ancestral(), measure, seen, zeta), noise=noise16)
torch.testing.assert_close(grams["blocks"], torch.eye(49, device=device) / 16)

rows = {"original": some[:12]}
for name in tasks:
    small = measured[name][:12].reshape(12, 1, math.isqrt(measured[name].shape[1]), -1)
    rows[f"measured: {name}"] = decode(F.interpolate(small, size=28))
    rows |= {f"{name}: linear": linear[name][:12], f"{name}: pseudoinverse": sampled[name][:12]}
    rows[f"{name}: DPS, $\\zeta = 3$"] = by_dps[3][name][:12]
image_rows(rows, scale=0.7)

# %% [markdown]
r"""
*Means over blocks, and a blur. The linear answer is what can be had without a model of digits. Both methods
with the network return strokes of a pen.*

Now the numbers: the peak signal-to-noise ratio against the original, $10 \log_{10}(2^2 / \text{mean squared
error})$ in decibels for pixels from $-1$ to 1 (higher is nearer); the share read as the
original's class, and **consistency**: the root mean square of $y - A x_0$, which should be that of the
measurement's own noise, 0.05. More would mean that the answer does not explain what was seen, less that it
explains the noise, too.
"""


# %%
def judged(x, name):
    miss = (measured[name] - tasks[name](encode(x))).square().mean().sqrt().item()
    return psnr(x, some).mean().item(), right_class(x, some_labels), miss


table = {}
for name in tasks:
    answers_here = {
        "naive": naive,
        "linear": linear,
        "pseudoinverse": sampled,
    }
    answers_here |= {f"DPS, zeta = {zeta}": answer for zeta, answer in by_dps.items()} | {"original": None}
    for method, x in answers_here.items():
        table[name, method] = judged(some if x is None else x[name], name)
        decibels, share, miss = table[name, method]
        nearness = "" if x is None else f"{decibels:.0f} dB, "
        print(f"{name:7s} {method:14s} {nearness}class {share:.1f}, miss {miss:.2f}")
for name in tasks:
    assert table[name, "pseudoinverse"][0] > table[name, "naive"][0] + 1
    assert table[name, "pseudoinverse"][2] < 1.5 * std
    lead = psnr(sampled[name], some) - psnr(linear[name], some)  # digit by digit
    clear = (lead.mean() > 2 * lead.std() / math.sqrt(len(some))).item()
    print(f"{name}: pseudoinverse ahead of linear by more than two standard errors: {clear}")
    assert clear == (name == "blur")
    assert table[name, "DPS, zeta = 1"][0] < table[name, "linear"][0] - 1
assert table["blocks", "DPS, zeta = 5"][0] > table["blocks", "pseudoinverse"][0]
assert table["blur", "DPS, zeta = 5"][0] < table["blur", "pseudoinverse"][0]

# %% [markdown]
r"""
DPS with a good $\zeta$ is level with the pseudoinverse method: a little ahead for the blocks, a little behind
for the blur. With $\zeta = 1$ it does worse than a matrix. We could choose because we had the originals. With
a real measurement you have none, and the miss is the only guide.

**Before you read on.** For the blocks, the linear answer is level by PSNR with the pseudoinverse method's.
Look at the pictures again: which would you rather read?

### A sample is not a mean
PSNR is squared error on a logarithmic scale. The answer with the least squared error is the posterior mean
$\bar x = \mathbb E[x_0 \mid y]$: a blur of all digits that are possible, and not a digit. How much worse is
an honest *draw*? Given $y$, a draw $X$ and the original $x_0$ are two independent draws from one law. Each
is off $\bar x$ by the same variance, and the variances add. For the mean $\bar X_K$ of $K$ draws, only one
of the two shrinks:

$$\mathbb E\lVert \bar X_K - x_0\rVert^2 = \Big(1 + \frac1K\Big)\, \mathbb E\lVert \bar x - x_0\rVert^2.
\tag{16.20}$$

One draw has **twice** the least error: $10\log_{10} 2 = 3.0$ decibels lost, by doing the job perfectly. So
a method that gains PSNR may have stopped sampling. (16.20) is also a test: if averaging gains *more* than
it says, then single answers err in ways that are their own.
"""

# %%
t = torch.tensor(0.35, dtype=double)
x0 = data.sample(20_000, seeded(42))
c = path(t)
noisy = c.alpha * x0 + c.sigma * torch.randn(
    x0.shape, generator=seeded(43), dtype=double
)  # y = alpha x0 + noise

draws = torch.stack([posterior_draw(noisy, t, seeded(44 + k)) for k in range(4)])
least = (exact(noisy, t) - x0).square().sum(1).mean()
errors = torch.stack([(draws[:k].mean(0) - x0).square().sum(1) for k in (1, 2, 4)], dim=1)
verify_mean("16.20", errors, torch.tensor([2.0, 1.5, 1.25], dtype=double) * least)

# %%
repeats = 8
asked_y = measured["blocks"][:8].repeat_interleave(repeats, dim=0)
noise64 = start_noise(ddpm_path, (8 * repeats, 1, 28, 28), seeded(45, device))
many = draw(bent_digits(blocks, asked_y, std, 0.3, grams["blocks"]), Ancestral(), noise=noise64)
many = many.reshape(8, repeats, 1, 28, 28)
mean_of_eight = many.mean(dim=1)


def square_error(x, original):
    return (x - original).square().mean().item()


single = square_error(many, some[:8, None].expand_as(many))
averaged = square_error(mean_of_eight, some[:8])
gain = 10 * math.log10(single / averaged)
per_digit = 10 * torch.log10(
    (many - some[:8, None]).square().flatten(1).mean(1)
    / (mean_of_eight - some[:8]).square().flatten(1).mean(1)
)
gain_error = per_digit.std().item() / math.sqrt(8)
predicted = 10 * math.log10(2 / (1 + 1 / repeats))
share_right = right_class(many.flatten(0, 1), some_labels[:8].repeat_interleave(repeats))
one_db, mean_db = (10 * math.log10(4 / value) for value in (single, averaged))
print(f"one answer {one_db:.0f} dB, the mean of eight {mean_db:.0f} dB")
print(f"gain {gain:.1f} dB, standard error {gain_error:.1f}; (16.20) for perfect draws: {predicted:.1f} dB")
print(f"read as the original's class: one answer {share_right:.1f}")
assert abs(gain - predicted) < 2 * gain_error

small = asked_y[::repeats].reshape(8, 1, 7, 7)
image_rows(
    {
        "original": some[:8],
        "measured": decode(F.interpolate(small, size=28)),
        "answer 1": many[:, 0],
        "answer 2": many[:, 1],
        "answer 3": many[:, 2],
        "mean of 8": mean_of_eight,
        "linear": linear["blocks"][:8],
    },
    scale=0.78,
)

# %% [markdown]
r"""
*Answers differ in what the measurement leaves open. Their mean has the better PSNR, and no pen could have
drawn it.* The gain agrees with (16.20) within two standard errors. So on eight digits this test does not
find the method out; that it cannot be exact we know from the strokes.

## 16.9 Several answers to one question

One completion hides all that we do not know. Many show it. Here is the second question of the first picture
again, answered forty times.
"""

# %%
forty = fill_in(asked[1:2].expand(40, -1, -1, -1), upper, seed=50)
classes = torch.bincount(read_as(forty), minlength=10).cpu()
kinds = int((classes > 0).sum())
print(
    f"read as the original's class, 8: more than a tenth: {bool(classes[8] > 4)}; other classes: {kinds > 1}"
)
assert kinds >= 2

figure, (ax, bars) = panels(1, 2, width=11, height=3.4)
sheet = montage(forty, columns=10)
ax.imshow(sheet, interpolation="nearest")
ax.set_axis_off()
bars.bar(range(10), classes.tolist(), color=DATA)
bars.set(xticks=range(10), xlabel="read as", ylabel="answers of 40")
bars.grid(False, axis="x")
figure

# %% [markdown]
r"""
*Forty answers to one question, and how the classifier reads them.* Is the *mixture* of classes right? After
section 16.3 you know that pictures cannot say. What one can do: show several answers, not one, whenever
somebody is going to believe them. A doctor who sees one sharp picture takes its details for measured.

## 16.10 Play

Draw your own question. Choose a digit and what to erase first; move the brush with its sliders, and press
*erase* or *keep*, or type strokes into the line of text. Then *fill in*, again and again: each press is a
new answer.

**Bets first.** Keep only every second row: how much does it matter? Erase all but a frame: which digits
come? With one visit, where do the breaks show? And what comes if you erase everything?
"""

# %%
MaskDrawing(digit_model, ddpm_path, held_out.images[:10], encode=encode, decode=decode)

# %% [markdown]
r"""
## 16.11 Exercises

`check` tells you what is wrong, `hint("16.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`.

**Exercise 16.1 ★ — given the second.** Write (16.2) and (16.3) for a mixture in the plane whose *second*
coordinate is known to be `y`.
"""


# %% tags=["exercise"]
def given_the_second(weights, means, covariances, y):
    """Weights, means and variances, each (K,), of the first coordinate, given that the second is y."""
    ...


# %%
check("16.1", given_the_second)

# %% [markdown]
r"""
**Exercise 16.2 ★ — predict: what keeps more of the sketch?** The same sketch, the same $t_0$, many fine
steps. Whose results are on average nearer to the sketch for Gaussian data: `"DDIM"`, `"ancestral"`, or
`"the same"`?
"""

# %% tags=["exercise"]
keeps_more = ...

# %%
check("16.2", keeps_more)

# %% [markdown]
r"""
**Exercise 16.3 ★★ — what a grid costs.** `resampled(trailing_times(path, 50), jump=10, visits=5)`: how many
evaluations of the network? Count by hand. The last stretch ends at 0, from where nobody steps up: on all
visits but its last it turns one step earlier.
"""

# %% tags=["exercise"]
grid_evaluations = ...

# %%
check("16.3", grid_evaluations)

# %% [markdown]
r"""
**Exercise 16.4 ★★ — how much is heard.** Derive (16.8) for any path and any Gaussian: the known part has
variance $S_{kk}$ (all means 0). By what factor is the mean that infinitely many visits settle at too small?
"""


# %% tags=["exercise"]
def share_heard(alpha, sigma, variance):
    """RePaint's limit at one level over what it should be, (B,); alpha, sigma (B,), variance a number."""
    ...


# %%
check("16.4", share_heard)

# %% [markdown]
r"""
**Exercise 16.5 ★★★ — from the errata museum: RePaint.** Four slips, each of them survivable. Two stand in
line 5 of the printed algorithm, and both have been in a library that many people use. `reverse(x, t)` is one
backward step, from $t$ to $t - 1$; `betas[0]` is $\beta_1$; `noise[0]` is for the known part, `noise[1]` for
the steps up. Find and mend them.
"""


# %% tags=["exercise"]
def old_repaint(reverse, x, known, mask, betas, visits, noise):
    """Lugmayr et al. 2022, algorithm 1; noise has shape (2, T + 1, visits, B, D)."""
    bars = torch.cat([betas.new_ones(1), torch.cumprod(1 - betas, dim=0)])
    for t in range(len(betas), 0, -1):
        for u in range(visits):
            bar, beta = bars[t], betas[t - 1]
            x_known = bar.sqrt() * known + (1 - bar) * noise[0, t, u]
            x = torch.where(mask, x_known, reverse(x, t))
            if t > 1:
                x = (1 - beta).sqrt() * x + beta * noise[1, t, u]
    return x


# %%
check("16.5", old_repaint)

# %% [markdown]
r"""
**Exercise 16.6 ★★★ — pseudoinverse guidance by hand.** Write (16.16) with $\Gamma = r^2 I$ in the inverse and
(16.17), for any matrix `A` and any differentiable `denoise`, which maps $x_t$ to $\hat x_0$.
"""


# %% tags=["exercise"]
def bent_guess(denoise, A, y, x_t, alpha, sigma, noise_std, v):
    """(16.16) with r^2 I in the inverse, shape (B, D), for x_t of this shape, A (K, D), y (K,), numbers."""
    ...


# %%
check("16.6", bent_guess)

# %% [markdown]
r"""
**Exercise 16.7 ★★ — four answers, one mean.** A perfect sampler of $p(x_0 \mid y)$ gives you four answers.
By how many decibels is their mean better, in expected squared error, than one of them?
"""

# %% tags=["exercise"]
gain_in_decibels = ...

# %%
check("16.7", gain_in_decibels)

# %% [markdown]
r"""
**Mini-project 16.8 ★★★ — where should the visits go?** (16.8) says that high levels hear nothing, and
section 16.3 that low levels no longer move. So spend the visits in between. Build a grid by hand for
`Renoised`, with all visits in a window of levels, and find the window that is best for the three strokes at
320 evaluations. Then move the strokes apart, predict how the window moves, and check.

| | 0 | 1 | 2 |
|---|---|---|---|
| prediction | none | written afterwards | written before, with a reason |
| comparison | other cost | equal cost, one seed | equal cost, three seeds, spread shown |
| measures | pictures | wrong share | wrong share and energy distance, both floors |
| judgement | "better" or "worse" | a difference and its size | what it says about digits, and what not |

## 16.12 What the field does with it, and where this breaks

- **Exact, with particles.** All methods above push single samples by a guess. Carry many samples instead,
  weigh each by how far the guess was off, and resample in proportion: then the answer becomes right as the
  number of particles grows. Trippe and others (2023) do it for replacement, Wu and others (2023) for
  guidance (*twisted* sequential Monte Carlo), both for proteins, where a wrong share is not a matter of
  taste.
- **Better guesses of the covariance.** $\Gamma = \frac{\sigma^2}{\alpha}J$, our green line, is affordable
  with a few backward passes a step (Boys and others 2023).
- **Or train for it.** A network that gets the mask and the known pixels as an input learns $\mathbb E[u
  \mid x_t^u, y]$ itself: no bias, one evaluation a step, and one training for each kind of question. Most
  inpainting in picture programs works so.
- **In a latent space** (chapter 17) pixels have no mask and the decoder is in the way: $A$ becomes
  nonlinear, and a mask drawn on pixels cuts through code cells that hold known and unknown together.
- **The noise of real cameras is not Gaussian**, and $A$ is seldom known. A wrong $A$ gives confident wrong
  answers.
- **Our numbers are those of digits and three strokes.** Which method is ahead depends on the task; that
  replacement is biased, and why, does not.

### What to remember
- Asked for is a *law*, $p(x_0 \mid y)$, whose weights differ from the data's.
- Replacement writes the right noise into the state and is biased all the same: the model hears the known
  part through it. Visits help where evidence is heard *and* things still move.
- SDEdit is a posterior draw from a noised sketch: the knob trades $\lambda$ for realism.
- $\nabla \log p(y\mid x_t)$ averages over the clean points. Taking the guess for certain shouts; too large
  a spread whispers.
- A draw has twice the error of the mean. PSNR and class counts reward those who stop sampling.

### References
- Song et al. 2021, *Score-based generative modeling through SDEs*, appendix I.2: (16.4) for scores.
- Lugmayr et al. 2022, *RePaint*: (16.4) and its other half are eq. 8, the visits algorithm 1, jumps section
  4.2. Their $r$ is our `visits`, their $j$ our `jump`. The slips: issue 17 of andreas128/RePaint; the root in
  diffusers: issue 9900, pull requests 10185 and 10644; the level: issue 1581.
- Meng et al. 2022, *SDEdit*, section 3.
- Chung et al. 2023, *Diffusion posterior sampling for general noisy inverse problems*: (16.18) is algorithm
  1; the Jensen gap is discussed in section 3.
- Song, Vahdat, Mardani, Kautz 2023, *Pseudoinverse-guided diffusion models for inverse problems*, section
  3. Their $r_t^2$ is (16.17) with $\alpha = 1$, $v = 1$.
- Trippe et al. 2023, *Diffusion probabilistic modeling of protein backbones in 3D for the motif-scaffolding
  problem*: the bias of replacement, and particles against it.
- Wu et al. 2023, *Practical and asymptotically exact conditional sampling in diffusion models*.
- Boys et al. 2023, *Tweedie moment projected diffusions for inverse problems*.
- Blau, Michaeli 2018, *The perception-distortion tradeoff*: the factor two of (16.20).
"""
