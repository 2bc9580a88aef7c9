# %% [markdown]
"""
# 5. The forward process and noise schedules

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/05_forward_process.ipynb)

*How data is turned into noise, in steps or in one jump, how fast, and what happens if it stops short*

A diffusion model is half machine, half demolition plan. The machine is a network, and it takes chapters to
build. The demolition plan is a list of numbers, and it takes a line. Yet the plan decides what the machine
is asked to learn, how many steps it will need, and whether its samples are right at all. This chapter is
about the plan.

**You will be able to**
- derive the jump from clean data to any noise level, and say why a thousand small steps may be skipped;
- compute the posterior of the previous step, with the right square roots;
- read a noise schedule by its signal-to-noise ratio, and choose between linear, scaled-linear, cosine and
  sigmoid;
- see when a schedule ends too early, predict what the samples will then look like, and mend it;
- pass to infinitely small steps, and recognise one process, the Ornstein–Uhlenbeck process, behind all of
  these schedules.

**You need** the normal distribution, means and variances, Bayes' rule, and a little PyTorch. A density's
picture helps; a network does not occur.

**Time**: about 90 minutes to read, 20 seconds to run, two to three hours with all exercises.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
import warnings
from itertools import pairwise

import numpy as np
import torch

from diffedu import VE, VP, Ancestral, Cosine, DiscreteDDPM, GaussianMixture, RectifiedFlow
from diffedu import betas_from_alpha_bar, cosine_betas, linear_betas, scaled_linear_betas, sigmoid_betas
from diffedu import sample, seeded, trailing_times
from diffedu.data import digits, emoji
from diffedu.evaluate.metrics import energy_distance, floor
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.show import CYCLE, DATA, GUIDED, INK, NOISE, SCORE, VELOCITY
from diffedu.show import curve_panel, image_rows, panels, square
from diffedu.verify import verify, verify_mean

# %%
images, labels = digits("test")
path = DiscreteDDPM(linear_betas(1000))
chosen = torch.stack([images[labels == k][0] for k in (2, 5, 8)])
eps = torch.randn(chosen.shape, generator=seeded(0))
stops = [0, 50, 100, 200, 300, 400, 600, 800, 1000]
film = {t: path.add_noise(chosen, eps, float(t)) for t in stops}
image_rows(
    {
        "": torch.cat([film[t][:1] for t in stops]),
        " ": torch.cat([film[t][1:2] for t in stops]),
        "  ": torch.cat([film[t][2:] for t in stops]),
    },
    titles=[f"t = {t}" for t in stops],
    scale=0.85,
)

# %% [markdown]
r"""
*Three digits on their way to noise, by the schedule of the original DDPM paper. From $t = 400$ on the eye
reads nothing: the other 600 steps seem to change noise into noise.*

**Before you read on.** If more than half of the steps show nothing, are they wasted? Write down a yes or a
no, with a reason. Section 5.5 returns to it, and section 5.7 shows what happens to somebody who leaves them
out.

## 5.1 One small step

Take a point $x_{t-1}$, shrink it a little, add a little noise:

$$q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ \sqrt{1-\beta_t}\; x_{t-1},\ \beta_t I\big),
\qquad\text{that is}\qquad x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\;\varepsilon_t. \tag{5.1}$$

Here $\varepsilon_t \sim \mathcal N(0, I)$ is fresh at every step, and $\beta_1, \dots, \beta_T$ are numbers
between 0 and 1 that we choose: the **noise schedule**. $\beta_t$ is a *variance*. The noise is multiplied
by its root. (Many a bug is one forgotten root.)

<!-- definition 5.1: the chain is our choice; the second form is the recipe for a sample -->

The noise we understand. But why shrink the data, and why by this odd factor $\sqrt{1-\beta_t}$?

**Before you read on.** Suppose we did not shrink: $x_t = x_{t-1} + \sqrt{\beta_t}\,\varepsilon_t$. With
DDPM's betas, which grow from 0.0001 to 0.02 over a thousand steps, data of variance 1 ends with which
variance? (A mean beta and a thousand of them: the answer needs no computer.)

The noise is independent of $x_{t-1}$, so variances add, and a factor comes out squared. In every coordinate,

$$\operatorname{Var} x_t = (1-\beta_t)\,\operatorname{Var} x_{t-1} + \beta_t. \tag{5.2}$$

If $\operatorname{Var} x_{t-1} = 1$, then $\operatorname{Var} x_t = 1$. That is the whole secret of the
factor: it is the one that takes away exactly as much variance as the noise brings. And if the variance is
not 1? Subtract 1 on both sides of (5.2): the distance to 1 is multiplied by $1-\beta_t$. After $t$ steps,

$$\operatorname{Var} x_t - 1
= \Big(\prod_{s=1}^{t} (1-\beta_s)\Big)\,\big(\operatorname{Var} x_0 - 1\big). \tag{5.3}$$

Whatever variance the data has, the chain pulls it to 1. A network that reads $x_t$ then sees inputs of one
size at all times.
"""

# %%
generator = seeded(1)
x_before = 6 * torch.rand(200_000, generator=generator) - 3  # flat: variance 3, and not Gaussian at all
beta = 0.1
x_after = math.sqrt(1 - beta) * x_before + math.sqrt(beta) * torch.randn(200_000, generator=generator)
verify_mean("5.2", x_after**2, (1 - beta) * 3 + beta)

betas = linear_betas(1000)
variance = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
history = [variance]
for b in betas:  # (5.2), a thousand times
    history.append((1 - b) * history[-1] + b)
history = torch.stack(history)
shrunk = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
verify("5.3", history - 1, shrunk[:, None] * (variance - 1))
print(f"without the shrinking, variance 1 ends at {1 + betas.sum():.2f}")
print(f"and the book's variance-exploding path at {VE()(torch.tensor(1.0)).sigma ** 2:,.0f}")

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.4)
t_axis = torch.arange(1001)
curve_panel(
    left,
    t_axis,
    {f"from {v:g}": history[:, i] for i, v in enumerate((0, 1, 3))},
    xlabel="step t",
    ylabel="variance",
    title="with the shrinking",
    colors=(NOISE, DATA, VELOCITY),
    label_curves=False,
)
for x, y, name, color in (
    (270, 0.08, "no variance: one point", NOISE),
    (110, 1.04, "data of variance 1", DATA),
    (110, 2.95, "variance 3", VELOCITY),
):
    left.text(x, y, name, color=color, va="bottom")
grown = 1 + torch.cat([betas.new_zeros(1), betas.cumsum(0)])
curve_panel(
    right,
    t_axis,
    {"from 1": grown},
    xlabel="step t",
    ylabel="variance",
    title="without it",
    colors=(SCORE,),
    label_curves=False,
)
left.set_ylim(-0.1, 3.2)
right.set_ylim(0, 12)
figure

# %% [markdown]
r"""
*Left: three starting variances, one destination. Right: without the shrinking the variance grows to 11 (one
plus a thousand betas of 0.01 on average). Mind the two scales.*

Nothing forbids the right-hand picture. Score-based models (chapter 4) leave the data as it is, drown it in
noise (of variance 2,500 in the book's default), and divide by a known number before the network looks. That
is called **variance exploding**; (5.1) is **variance preserving**. Section 5.8 shows that they are one thing
under a change of scale.

## 5.2 Two steps are one: turn your head

To train at step 500, must we simulate 500 steps? For almost any process the answer would be yes. Here it is
no, by a fact about Gaussians that deserves a proof rather than a citation: *a sum of two independent
Gaussians is one Gaussian*.

**Before you read on.** Adding two independent *uniform* numbers does not give a uniform one (think of two
dice). What does the Gaussian have that the die has not?

Take two independent standard normal numbers and draw them as a point $z = (\varepsilon_1, \varepsilon_2)$
of the plane. Take two coefficients $a, b$ with $r = \sqrt{a^2+b^2}$, let $\theta$ be the angle with
$\cos\theta = a/r$, $\sin\theta = b/r$, and rotate:

$$\begin{pmatrix} u \\ v \end{pmatrix}
= \begin{pmatrix} \cos\theta & \sin\theta \\ -\sin\theta & \cos\theta \end{pmatrix}
\begin{pmatrix} \varepsilon_1 \\ \varepsilon_2 \end{pmatrix},
\qquad u = \frac{a\,\varepsilon_1 + b\,\varepsilon_2}{r}. \tag{5.4}$$

<!-- definition 5.4: the rotation whose first coordinate is the wanted sum, divided by r -->

The density of $z$ is a product, and the product of two exponentials has the sum of squares in it:

$$\frac{1}{\sqrt{2\pi}} e^{-\varepsilon_1^2/2} \cdot \frac{1}{\sqrt{2\pi}} e^{-\varepsilon_2^2/2}
= \frac{1}{2\pi}\, e^{-\lVert z \rVert^2/2}
= \frac{1}{\sqrt{2\pi}} e^{-u^2/2} \cdot \frac{1}{\sqrt{2\pi}} e^{-v^2/2}. \tag{5.5}$$

Only the length of $z$ is left. A rotation keeps lengths (the last step), and it keeps areas, so no other
factor appears. So $(u, v)$ has the very density that $(\varepsilon_1, \varepsilon_2)$ had: the cloud looks
the same however you turn your head. Its first coordinate is therefore again a standard normal number, and
solving (5.4) for the sum,

$$a\,\varepsilon_1 + b\,\varepsilon_2
= \sqrt{a^2+b^2}\;\varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1). \tag{5.6}$$

The coefficients add like the sides of a right angle: not $a + b$ but the hypotenuse. A vector of noise
obeys (5.6) in each entry. The equality is one of *distributions*, and it needs independence:
$\varepsilon + \varepsilon = 2\varepsilon$, and not $\sqrt2\,\varepsilon$.
"""

# %%
generator = seeded(2)
normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
z = torch.randn(2, 1000, generator=generator, dtype=torch.float64)
a, b = 0.6, 1.7
r = math.hypot(a, b)
u, v = (a * z[0] + b * z[1]) / r, (-b * z[0] + a * z[1]) / r
verify(
    "5.5",
    normal.log_prob(z[0]) + normal.log_prob(z[1]),
    normal.log_prob(u) + normal.log_prob(v),
    over="points",
)

e1, e2 = torch.randn(2, 400_000, generator=generator)
total = (a * e1 + b * e2) / r
verify_mean("5.6", torch.stack([total**2, total**4], dim=1), [1.0, 3.0])  # 3: the fourth moment of a Gaussian

# %%
clouds = {
    "two Gaussian numbers": torch.randn(60_000, 2, generator=generator),
    "two uniform numbers": math.sqrt(12) * (torch.rand(60_000, 2, generator=generator) - 0.5),
}
angles = {"0°": 0.0, "20°": math.radians(20), "45°": math.radians(45)}
figure, axes = panels(1, 4, width=11.5, height=3.1)
for k, (title, cloud) in enumerate(clouds.items()):
    plane, shadows = axes[2 * k], axes[2 * k + 1]
    plane.scatter(*cloud[:700].T, s=4, color=NOISE, alpha=0.5, linewidths=0)
    square(plane, 3.2, xlabel=r"$\varepsilon_1$", ylabel=r"$\varepsilon_2$")
    plane.set_title(title)
    for (name, angle), color, style in zip(
        angles.items(), (DATA, SCORE, VELOCITY), ("-", "--", ":"), strict=True
    ):
        direction = torch.tensor([math.cos(angle), math.sin(angle)])
        plane.annotate(
            "", 2.8 * direction.numpy(), (0, 0), arrowprops={"arrowstyle": "->", "color": color, "lw": 2.2}
        )
        density, edges = torch.histogram(cloud @ direction, bins=40, range=(-3.2, 3.2), density=True)
        shadows.plot((edges[1:] + edges[:-1]) / 2, density, color=color, linestyle=style, label=name)
    shadows.set(ylim=(0, 0.5), xlabel="along the arrow", ylabel="density", title="their shadows")
    shadows.legend(frameon=False, loc="upper right", handlelength=1.6, fontsize=10)
figure

# %% [markdown]
r"""
*Two unit-variance clouds and their shadows in three directions. The Gaussian cloud is round, so its shadow
is the same from everywhere. The square has corners: its shadows run from a box to a triangle.*

So that is what the die lacks. The Gaussian is the only density that is both a product of independent
coordinates and round (Maxwell found it for the velocities of gas molecules, from just these two demands).

## 5.3 The jump

Write $\alpha_t = 1 - \beta_t$, here and in section 5.6. (Elsewhere in the book, and in all code, $\alpha$
means the factor before $x_0$. The DDPM paper's letters are too well known to change here.) Two steps of
(5.1):

$$x_2 = \sqrt{\alpha_2}\,\big(\sqrt{\alpha_1}\, x_0 + \sqrt{1-\alpha_1}\,\varepsilon_1\big)
+ \sqrt{1-\alpha_2}\,\varepsilon_2
= \sqrt{\alpha_1\alpha_2}\; x_0 + \underbrace{\sqrt{\alpha_2(1-\alpha_1)}}_{a}\,\varepsilon_1
+ \underbrace{\sqrt{1-\alpha_2}}_{b}\,\varepsilon_2. \tag{5.7}$$

Now (5.6) merges the two noises, with

$$a^2 + b^2 = \alpha_2 - \alpha_1\alpha_2 + 1 - \alpha_2 = 1 - \alpha_1\alpha_2. \tag{5.8}$$

So two steps have the form of one step, with $\alpha_1\alpha_2$ in the place of $\alpha$. Give the product a
name,

$$\bar\alpha_t = \prod_{s=1}^{t} \alpha_s = \prod_{s \le t} (1-\beta_s), \qquad \bar\alpha_0 = 1, \tag{5.9}$$

<!-- definition 5.9: names the product; it includes the factor of step t itself -->

and claim for every $t$:

$$q(x_t \mid x_0) = \mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\, x_0,\ (1-\bar\alpha_t) I\big),
\qquad\text{that is}\qquad
x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\varepsilon. \tag{5.10}$$

<!-- code 5.10: diffedu.core.path.GaussianPath.add_noise -->
<!-- code 5.9: diffedu.core.path.DiscreteDDPM -->

*Induction.* For $t = 1$ it is (5.1). If it holds for $t-1$, its $\varepsilon$ is made of
$\varepsilon_1 \dots \varepsilon_{t-1}$ and so is independent of $\varepsilon_t$; put it into (5.1) and read
(5.7) and (5.8) with $\bar\alpha_{t-1}$ for $\alpha_1$ and $\alpha_t$ for $\alpha_2$. The product becomes
$\bar\alpha_t$. $\square$

A thousand steps have become one line. This is what makes training cheap: pick any $t$, jump, and look.
"""


# %%
def jump(x0, eps, alpha_bar):
    """(5.10): from clean data to the noise level of alpha_bar, in one line."""
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


alpha_1, alpha_2 = torch.rand(2, 50, generator=seeded(3), dtype=torch.float64)
merged = torch.hypot((alpha_2 * (1 - alpha_1)).sqrt(), (1 - alpha_2).sqrt())  # sqrt(a^2 + b^2)
verify("5.8", merged**2, 1 - alpha_1 * alpha_2)

generator = seeded(4)
start = torch.tensor([1.5, -0.5])
e1, e2 = torch.randn(2, 100_000, 2, generator=generator)
two_steps = math.sqrt(0.7) * (math.sqrt(0.8) * start + math.sqrt(0.2) * e1) + math.sqrt(0.3) * e2
moments = torch.cat([two_steps, (two_steps - math.sqrt(0.56) * start) ** 2], dim=1)
verify_mean("5.7", moments, [*(math.sqrt(0.56) * start).tolist(), 0.44, 0.44])

x = start.expand(20_000, 2)
for b in betas[:400]:  # the walk: 400 steps of (5.1), each with fresh noise
    x = math.sqrt(1 - b) * x + math.sqrt(b) * torch.randn(x.shape, generator=generator)
alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
mean = alpha_bar[400].sqrt().float() * start
verify_mean(
    "5.10", torch.cat([x, (x - mean) ** 2], dim=1), [*mean.tolist(), *[1 - alpha_bar[400].item()] * 2]
)

x0, eps = torch.randn(2, 5, 1, 28, 28, generator=generator, dtype=torch.float64)
for t in (1, 2, 400, 1000):
    assert torch.allclose(jump(x0, eps, alpha_bar[t]), path.add_noise(x0, eps, float(t)), atol=1e-12)
print("jump and DiscreteDDPM.add_noise agree at t = 1, 2, 400 and 1000")

# %% [markdown]
r"""
From here on the chapter uses `DiscreteDDPM`, which keeps the table `alpha_bar` with $\bar\alpha_0 = 1$ in
front, so that `alpha_bar[t]` belongs to step $t$ and no index is ever off by one.

### What the jump does not give
**Before you read on.** Jump to $t = 500$, and, with new noise, to $t = 501$. Are the two points neighbours?

Equation (5.10) gives the distribution of $x_t$ at *one* time. It says nothing of how $x_t$ hangs together
with $x_{t+1}$. Here are three processes. At every single time, all three have exactly the same
distribution.
"""

# %%
generator = seeded(5)
scalar = 1.5
walk = [torch.full((4,), scalar)]
for b in betas:
    walk.append(math.sqrt(1 - b) * walk[-1] + math.sqrt(b) * torch.randn(4, generator=generator))
level = alpha_bar.float()[:, None]
eps_each, eps_once = torch.randn(1001, 4, generator=generator), torch.randn(1, 4, generator=generator)
three = {
    "the walk (5.1)": torch.stack(walk),
    "a new jump at each t": level.sqrt() * scalar + (1 - level).sqrt() * eps_each,
    "one noise, kept for all t": level.sqrt() * scalar + (1 - level).sqrt() * eps_once,
}
figure, axes = panels(1, 3, width=10.5, height=3.1, share=True)
for ax, (title, lines) in zip(axes, three.items(), strict=True):
    spread = (1 - alpha_bar).sqrt()
    ax.fill_between(
        t_axis,
        alpha_bar.sqrt() * scalar - 2 * spread,
        alpha_bar.sqrt() * scalar + 2 * spread,
        color="#E3EEF6",
    )
    for k in range(4):
        if title.startswith("a new"):
            ax.plot(t_axis[::4], lines[::4, k], ".", markersize=2, color=CYCLE[k])
        else:
            ax.plot(t_axis, lines[:, k], color=CYCLE[k], linewidth=1.0)
    ax.set(xlabel="step t", title=title, ylim=(-3.5, 3.5))
axes[0].set_ylabel("$x_t$")
jumps = {name: (lines[501] - lines[500]).abs().max().item() for name, lines in three.items()}
assert jumps["one noise, kept for all t"] < jumps["the walk (5.1)"] < jumps["a new jump at each t"]
figure

# %% [markdown]
r"""
*Four paths each from $x_0 = 1.5$, the band is mean ± 2 standard deviations and is the same in all panels.
Left: neighbours in time are neighbours in space, and the path is rough. Middle: no continuity at all.
Right: smooth curves, each with a single random number in it.*

Training needs only single times, so the middle is good enough, and cheap. Sampling has to walk back *some*
process with these single-time distributions, and there is a choice: chapters 6 and 7 walk back the left
one; chapter 8 (DDIM) discovers the right one.

## 5.4 The signal-to-noise ratio

In (5.10) the data is multiplied by $\sqrt{\bar\alpha_t}$ and the noise by $\sqrt{1-\bar\alpha_t}$. The
ratio of their squares is the **signal-to-noise ratio**, and half of its logarithm is so useful that it gets
a name of its own:

$$\mathrm{SNR}(t) = \frac{\bar\alpha_t}{1-\bar\alpha_t}, \qquad
\lambda_t = \tfrac12 \log \mathrm{SNR}(t)
= \log\frac{\sqrt{\bar\alpha_t}}{\sqrt{1-\bar\alpha_t}}. \tag{5.11}$$

<!-- definition 5.11: names the ratio and half its logarithm (half_log_snr in the code) -->
<!-- code 5.11: diffedu.core.path.PathCoefficients.half_log_snr -->

$\lambda = 0$: as much noise as signal. Each unit of $\lambda$ is a factor of $e$ between their sizes.
Nothing is lost: solve (5.11) for $\bar\alpha$ (divide by $1-\bar\alpha$, multiply out) and find the
logistic function, $\mathrm{sigmoid}(y) = 1/(1+e^{-y})$:

$$\bar\alpha_t = \mathrm{sigmoid}(2\lambda_t), \qquad 1-\bar\alpha_t
= \mathrm{sigmoid}(-2\lambda_t). \tag{5.12}$$

What does the ratio *mean*? Let the clean data have variance $s^2$ and be Gaussian. Having seen $x_t$, how
uncertain are we still about $x_0$? Precisions (one over variance) add when independent Gaussian evidence is
joined. The prior brings $1/s^2$. The noisy point, divided by $\sqrt{\bar\alpha_t}$, is $x_0$ plus noise of
variance $1/\mathrm{SNR}$, and brings $\mathrm{SNR}$. So

$$\operatorname{Var}[x_0 \mid x_t] = \frac{1}{1/s^2 + \mathrm{SNR}(t)}
= \frac{s^2}{1 + s^2\,\mathrm{SNR}(t)}. \tag{5.13}$$

The SNR is the precision that a noisy point adds to what was known of the clean one. Its size must be compared
with $1/s^2$: **data of larger variance is easier to see through the same noise.** (Section 5.7 turns on
this.)
"""

# %%
c = path(torch.tensor([1.0, 100.0, 250.0, 600.0, 1000.0], dtype=torch.float64))
verify("5.12", torch.sigmoid(2 * c.half_log_snr), c.alpha**2)

s2, seen = 0.7, torch.tensor(0.4, dtype=torch.float64)
grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)  # a sum over it stands for the integral
left_over = []
for alpha, sigma in zip(c.alpha, c.sigma):
    log_weight = -(grid**2) / (2 * s2) - (seen - alpha * grid) ** 2 / (2 * sigma**2)
    weight = torch.softmax(log_weight, dim=0)
    left_over.append((weight * grid**2).sum() - (weight * grid).sum() ** 2)
verify("5.13", torch.stack(left_over), s2 / (1 + s2 * c.snr), rtol=1e-6)

# %% [markdown]
r"""
## 5.5 Four schedules

There are two ways to make a schedule. One gives the betas and takes the $\bar\alpha$ that come out.

**Linear** (the DDPM paper): the variances grow in equal steps, by default from $\beta_a = 10^{-4}$ to
$\beta_b = 0.02$,

$$\beta_t = \beta_a + \frac{t-1}{T-1}\,(\beta_b - \beta_a). \tag{5.14}$$

**Scaled linear** (latent diffusion, Stable Diffusion): the standard deviations grow in equal steps, from
$\beta_a = 0.00085$ to $\beta_b = 0.012$,

$$\sqrt{\beta_t} = \sqrt{\beta_a} + \frac{t-1}{T-1}\,\big(\sqrt{\beta_b} - \sqrt{\beta_a}\big). \tag{5.15}$$

The other way draws the curve $\bar\alpha$ that one wants, and computes the betas: by (5.9) neighbours
differ by one factor, so

$$\beta_t = 1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}}. \tag{5.16}$$

<!-- code 5.16: diffedu.core.path.betas_from_alpha_bar -->

**Cosine** (Improved DDPM): data gives way to noise along a quarter of a circle,

$$\bar\alpha_t = \frac{f(t)}{f(0)}, \qquad f(t)
= \cos^2\!\Big(\frac{t/T + s}{1 + s}\cdot\frac{\pi}{2}\Big), \qquad s = 0.008. \tag{5.17}$$

*Why squared?* Leave $s$ out. The factor before the data is
$\sqrt{\bar\alpha_t} = \cos(\tfrac{\pi}{2} t/T)$, the one before the noise is
$\sqrt{1-\bar\alpha_t} = \sin(\tfrac{\pi}{2} t/T)$: the pair runs along a quarter of a circle at constant
speed. Forget the square, and $\bar\alpha$ itself is a cosine: another schedule. *Why $s$?* Without it
the first step adds noise of size 0.0016, a fifth of the 0.0078 between two grey levels of a picture: to find
noise so faint is hard to learn, and says little. With it the first step adds 0.0064, a little under one grey
level.

**Sigmoid** (Jabri et al., Chen): a falling logistic curve between $a = -3$ and $b = 3$, stretched to run
from 1 to 0, with a temperature $\tau$; with $S(y) = 1/(1+e^{-y/\tau})$,

$$\bar\alpha_t = \frac{S(b) - S\big(a + (b-a)\, t/T\big)}{S(b) - S(a)}. \tag{5.18}$$

A small $\tau$ makes a sharper fall. Written out, betas and all:
"""


# %%
def schedule(name, T=1000):
    """The variances beta_1 ... beta_T of (5.14) to (5.18)."""
    u = torch.linspace(0, 1, T, dtype=torch.float64)
    if name == "linear":
        return 1e-4 + u * (0.02 - 1e-4)
    if name == "scaled linear":
        return (0.00085**0.5 + u * (0.012**0.5 - 0.00085**0.5)) ** 2
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    if name == "cosine":
        curve = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    if name == "sigmoid":
        value = torch.sigmoid(-3 + 6 * t)
        curve = value[-1] - value
    return (1 - curve[1:] / curve[:-1]).clamp(max=0.999)  # (5.16); the next section is about the 0.999


families = {
    "linear": linear_betas(),
    "scaled linear": scaled_linear_betas(),
    "cosine": cosine_betas(),
    "sigmoid": sigmoid_betas(),
}
verify("5.14", schedule("linear"), families["linear"])
verify(
    "5.15",
    schedule("scaled linear").sqrt().diff(),
    (families["scaled linear"][-1].sqrt() - 0.00085**0.5).expand(999) / 999,
)
for name, betas_ in families.items():
    assert torch.allclose(schedule(name), betas_, rtol=1e-9), name
print("the four schedules agree with diffedu's")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # section 5.7 reads the warning that is silenced here
    paths = {name: DiscreteDDPM(betas_) for name, betas_ in families.items()}

verify("5.16", betas_from_alpha_bar(paths["linear"].alpha_bar), linear_betas(1000))
k = torch.arange(1000, dtype=torch.float64) / 1000  # all but the last step, where the clip acts
quarter = torch.cos((k + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
verify("5.17", paths["cosine"].alpha_bar[:-1], quarter)
falling = (torch.tanh(torch.tensor(1.5).double()) - torch.tanh(1.5 * (2 * k - 1))) / (2 * math.tanh(1.5))
verify("5.18", paths["sigmoid"].alpha_bar[:-1], falling)  # sigmoid(y) = (1 + tanh(y/2)) / 2

# %%
figure, axes = panels(1, 3, width=11.5, height=3.4)
colors = (DATA, SCORE, VELOCITY, GUIDED)
share = torch.arange(1, 1001) / 1000
quantities = {
    r"step variance $\beta_t$": families,
    r"data's share of variance $\bar\alpha_t$": {n: p.alpha_bar[1:] for n, p in paths.items()},
    r"half-log-SNR $\lambda_t$": {n: p(torch.arange(1.0, 1001)).half_log_snr for n, p in paths.items()},
}
for ax, (name, values) in zip(axes, quantities.items(), strict=True):
    curve_panel(ax, share, values, xlabel="t / T", ylabel=name, colors=colors, label_curves=False)
axes[0].set_yscale("log")
for line, name in zip(axes[1].lines, paths, strict=True):
    line.set_label(name)
axes[1].legend(frameon=False, loc="upper right", fontsize=10, handlelength=2.4)
axes[2].axhline(0, color=INK, linewidth=0.8)
axes[2].set_ylim(-6.5, 5.5)
for name, p in paths.items():
    even = int((p.alpha_bar >= 0.5).sum()) / 1000
    print(
        f"{name:14s} signal and noise are equal at about t/T = {even:.1f};",
        f"alpha_bar_T = {p.alpha_bar[-1]:.1e}",
    )
figure

# %% [markdown]
r"""
*The same four schedules in three quantities. The betas (left) tell the eye little. The half-log-SNR (right)
tells nearly everything: where a curve is steep, the schedule hurries; where it is flat, it lingers. Cosine
and sigmoid lie close together: they differ at the ends.*

### Why the cosine's betas are cut at 0.999
The cosine curve ends at $f(T) = 0$ exactly. Near its end a cosine is a straight line, so its square falls
like $j^2$ where $j = T - t$ counts the steps that are left. By (5.16),

$$\beta_{T-j} \approx 1 - \Big(\frac{j}{j+1}\Big)^2: \qquad \beta_{T}
= 1,\quad \beta_{T-1} \approx \tfrac34,\quad \beta_{T-2} \approx \tfrac59,\ \dots \tag{5.19}$$

whatever $T$ is. The last beta is 1: that step throws the state away and draws a new one. The way back from
it would have to divide by $\sqrt{\alpha_T} = 0$, and to find $x_0$ from $x_T$ and the noise one divides by
$\sqrt{\bar\alpha_T} = 0$. So the last beta is cut to 0.999. It is the only one that is touched. Note how
rough these last steps are: no amount of steps makes them small. Chapter 11 will choose its time grids by
$\lambda$ for this reason.
"""

# %%
uncut = cosine_betas(1000, max_beta=1.0)
j = torch.arange(4, dtype=torch.float64)
verify("5.19", uncut.flip(0)[:4], 1 - (j / (j + 1)) ** 2, rtol=1e-3)
print(
    "betas above 0.999 before the cut, at T = 10, 100, 1000:",
    *[int((cosine_betas(T, max_beta=1.0) > 0.999).sum()) for T in (10, 100, 1000)],
)
print(
    f"first step's noise: {uncut[0].sqrt():.4f} with s = 0.008,",
    f"{cosine_betas(1000, s=0.0)[0].sqrt():.4f} without;",
    f"one grey level is {2 / 255:.4f}",
)

# %% [markdown]
r"""
### What a digit looks like
**Before you read on.** At $t/T = 0.5$, in which of the four rows will you still read the digit? Use the
right-hand panel above.
"""

# %%
digit = images[labels == 5][0][None]
eps = torch.randn(digit.shape, generator=seeded(6))
fractions = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
image_rows(
    {name: torch.cat([p.add_noise(digit, eps, 1000 * f) for f in fractions]) for name, p in paths.items()},
    titles=[f"{f:.1f}" for f in fractions],
    scale=0.85,
)

# %% [markdown]
r"""
*One digit, one noise, four schedules, at equal $t/T$ (above each column).* To the eye, the linear schedule
has wiped the digit out by half-time. Eyes differ; but "readable" can be measured. Give a noisy test digit
to the best judge that has seen a given 3,000 labelled training digits and no more: it weighs each of them
by how well it explains the noisy one (exactly, by Bayes' rule with (5.10)), and votes.
"""

# %%
table, table_labels = (a[:3000] for a in digits("train"))
table, votes = table.flatten(1), torch.nn.functional.one_hot(table_labels, 10).float()
half_square = table.square().sum(1) / 2


def readable(noisy, alpha, sigma, truth):
    """Share of noisy images (B, 784) whose digit the table's exact posterior finds."""
    logits = (alpha * noisy @ table.T - alpha**2 * half_square) / sigma**2
    return (torch.softmax(logits, dim=1) @ votes).argmax(1).eq(truth).float().mean().item()


test, test_labels = images[:400].flatten(1), labels[:400]
eps = torch.randn(test.shape, generator=seeded(7))
times = torch.tensor([20.0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000])
accuracy, half_log_snr = {}, {}
for name, p in paths.items():
    accuracy[name] = [readable(p.add_noise(test, eps, t), p(t).alpha, p(t).sigma, test_labels) for t in times]
    half_log_snr[name] = p(times).half_log_snr
figure, (left, right) = panels(1, 2, width=10.5, height=3.4)
curve_panel(
    left,
    times / 1000,
    accuracy,
    xlabel="t / T",
    ylabel="digits read",
    title="by time: four curves",
    colors=colors,
)
for name, color, mark in zip(paths, colors, "os^D", strict=True):
    right.plot(half_log_snr[name], accuracy[name], mark, color=color, markersize=5, alpha=0.8)
right.set(xlim=(4, -6), xlabel=r"half-log-SNR $\lambda_t$ (noise grows to the right)", ylabel="digits read")
right.set_title("by signal-to-noise: one curve")
for ax in (left, right):
    ax.set_ylim(0, 1.02)
    ax.axhline(0.1, color=INK, linewidth=0.8)
right.text(3.8, 0.12, "guessing", color=INK, fontsize=10)
half = [accuracy[name][times.tolist().index(500)] for name in ("linear", "cosine")]
print(f"at half-time: linear {half[0]:.1f}, cosine {half[1]:.1f} of the digits are read")
last_fifth = accuracy["linear"][times.tolist().index(800) :]
print("in the linear schedule's last fifth fewer than a fifth are read:", max(last_fifth) < 0.2)
for name in (
    "scaled linear",
    "cosine",
    "sigmoid",
):  # one curve: these lie on the line through the linear's points
    at, read = half_log_snr[name].numpy(), np.array(accuracy[name])
    line = np.interp(at, half_log_snr["linear"].numpy()[::-1], accuracy["linear"][::-1])
    inside = at > half_log_snr["linear"].numpy().min()
    assert np.abs(read - line)[inside].max() < 0.1
figure

# %% [markdown]
r"""
*Left: share of test digits that are read. Right: the same points over $\lambda$. A schedule changes
**when** a noise level is met, never what can be seen at it.*

That answers the question about the wasted steps, partly. For these small pictures, the linear schedule
spends its last fifth where even this judge is close to guessing, and where little can be learned but the
mean. The cosine spends its time in the middle, where digits become digits. For larger pictures the whole
curve on the right moves to the right, since neighbouring pixels repeat each other (exercise 5.2), and other
schedules fit.

But *wasted* is not *useless*: those steps carry the chain from "almost noise" to "noise", and section 5.7
needs just that.

## 5.6 One step back, if one knew the start

A sampler must undo (5.1): given $x_t$, where was $x_{t-1}$? Without more knowledge that depends on the
data. But *if $x_0$ is known as well*, everything is Gaussian. Bayes' rule, with all densities conditional
on $x_0$ (the chain forgets: $x_t$ depends on $x_0$ through $x_{t-1}$ only):

$$q(x_{t-1} \mid x_t, x_0) = \frac{q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)}. \tag{5.20}$$

**Before you read on.** $x_t$ came from $x_{t-1}$ by adding noise of variance $\beta_t$. Will the variance
of the way back be larger than $\beta_t$, equal or smaller?

Write $x$ for $x_{t-1}$ and collect what depends on it. Minus twice the exponent is

$$\frac{(x_t - \sqrt{\alpha_t}\,x)^2}{\beta_t}
+ \frac{(x - \sqrt{\bar\alpha_{t-1}}\,x_0)^2}{1-\bar\alpha_{t-1}}
= \underbrace{\Big(\frac{\alpha_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}\Big)}_{1/\tilde\beta_t} x^2
- 2\,\underbrace{\Big(\frac{\sqrt{\alpha_t}\,x_t}{\beta_t}
+ \frac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}}\Big)}_{\tilde\mu_t/\tilde\beta_t} x
+ \dots \tag{5.21}$$

(For $t \ge 2$. At $t = 1$ the second fraction has a zero below it; the results will hold there as well.) Why
these names? Complete the square: $A x^2 - 2 B x = A (x - B/A)^2 - B^2/A$. So it is a Gaussian of
variance $1/A$ and mean $B/A$. First the variance. Bring $A$ to one denominator and use
$\alpha_t + \beta_t = 1$, $\alpha_t\bar\alpha_{t-1} = \bar\alpha_t$:

$$\frac{1}{\tilde\beta_t} = \frac{\alpha_t(1-\bar\alpha_{t-1}) + \beta_t}{\beta_t\,(1-\bar\alpha_{t-1})}
= \frac{1-\bar\alpha_t}{\beta_t\,(1-\bar\alpha_{t-1})}
\qquad\Longrightarrow\qquad \tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t. \tag{5.22}$$

Then the mean, $\tilde\mu_t = \tilde\beta_t B$; in each term one denominator cancels:

$$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\;\beta_t}{1-\bar\alpha_t}\; x_0
+ \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\; x_t. \tag{5.23}$$

<!-- code 5.22: diffedu.sampling.ancestral.beta_tilde_variance -->
<!-- code 5.23: diffedu.sampling.ancestral.Ancestral -->

**Mind the roots.** Before $x_t$ stands $\sqrt{\alpha_t}$, the *one* step, without a bar: it came out of
$q(x_t \mid x_{t-1})$. Before $x_0$ stands $\sqrt{\bar\alpha_{t-1}}$, with a bar and one step earlier.
Printed with $\sqrt{\bar\alpha_t}$ before $x_t$, as some published tutorials have it, the formula still
runs, and the samples come out wrong.

The way back is *surer* than the way out: $\tilde\beta_t < \beta_t$, since $x_0$ helps. At $t = 1$,
$\bar\alpha_0 = 1$ makes $\tilde\beta_1 = 0$ and $\tilde\mu_1 = x_0$: if the start is known, no doubt is
left.
"""

# %%
t = 200
abar_t, abar_s, beta_t = path.alpha_bar[t], path.alpha_bar[t - 1], path.betas[t - 1]
alpha_t = 1 - beta_t
x0_, xt_ = torch.tensor(0.9).double(), torch.tensor(-0.4).double()
grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)
cell = grid[1] - grid[0]


def density(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / torch.sqrt(2 * math.pi * variance)


joint = density(xt_, alpha_t.sqrt() * grid, beta_t) * density(grid, abar_s.sqrt() * x0_, 1 - abar_s)
verify("5.20", joint.sum() * cell, density(xt_, abar_t.sqrt() * x0_, 1 - abar_t), rtol=1e-8)

posterior = joint / joint.sum()
mean = (posterior * grid).sum()
verify("5.22", (posterior * (grid - mean) ** 2).sum(), (1 - abar_s) / (1 - abar_t) * beta_t, rtol=1e-7)
formula = abar_s.sqrt() * beta_t / (1 - abar_t) * x0_ + alpha_t.sqrt() * (1 - abar_s) / (1 - abar_t) * xt_
verify("5.23", mean, formula, rtol=1e-8)
misprint = formula + (abar_t.sqrt() - alpha_t.sqrt()) * (1 - abar_s) / (1 - abar_t) * xt_
print(f"by the sum {mean:.3f}, by (5.23) {formula:.3f}, by the misprint {misprint:.3f}")


def minus_twice_exponent(x):
    return (xt_ - alpha_t.sqrt() * x) ** 2 / beta_t + (x - abar_s.sqrt() * x0_) ** 2 / (1 - abar_s)


point = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
(slope,) = torch.autograd.grad(minus_twice_exponent(point), point, create_graph=True)
(curvature,) = torch.autograd.grad(slope, point)
A = alpha_t / beta_t + 1 / (1 - abar_s)
B = alpha_t.sqrt() * xt_ / beta_t + abar_s.sqrt() * x0_ / (1 - abar_s)
verify("5.21", torch.stack([curvature, slope]), torch.stack([2 * A, -2 * B]))

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.4)
# one large step from alpha_bar = 0.6, so that the three curves can be told apart
big = torch.tensor(0.3).double()
before = torch.tensor(0.6).double()
line = torch.linspace(-2.5, 3, 600, dtype=torch.float64)
prior = density(line, before.sqrt() * 1.6, 1 - before)
evidence = density(torch.tensor(-0.4), (1 - big).sqrt() * line, big)
both = prior * evidence
both = both / (both.sum() * (line[1] - line[0]))
for y, color, style, name, place in (
    (prior, DATA, "--", "$q(x_{t-1} \\mid x_0)$:\nwhat the start says", (1.75, 0.52)),
    (evidence, NOISE, "-.", "$q(x_t \\mid x_{t-1})$:\nwhat the next state says", (-2.45, 0.84)),
    (both, SCORE, "-", "both:\n$q(x_{t-1} \\mid x_t, x_0)$", (0.78, 0.95)),
):
    left.plot(line, y, color=color, linestyle=style)
    left.text(*place, name, color=color, fontsize=10)
left.set(
    xlabel="$x_{t-1}$", ylabel="density", title="evidence from both sides", ylim=(0, 1.25), xlim=(-2.5, 3.4)
)
steps = torch.arange(1, 1001)
for (name, p), color, style in zip(paths.items(), colors, ("-", "--", "-.", ":"), strict=True):
    ratio = (1 - p.alpha_bar[:-1]) / (1 - p.alpha_bar[1:])
    right.plot(steps, ratio, color=color, linestyle=style, label=name)
right.legend(frameon=False, fontsize=10, loc="lower right")
right.set(xscale="log", xlabel="step t", ylabel=r"$\tilde\beta_t\,/\,\beta_t$", ylim=(0, 1.05))
right.set_title("way back against way out")
ratio = (1 - path.alpha_bar[:-1]) / (1 - path.alpha_bar[1:])
first = int((ratio > 0.95).nonzero()[0]) + 1
print(f"linear: the two variances differ by less than 5 % from step {first} on")
figure

# %% [markdown]
r"""
*Left: what is known from the start and what is known from the next state multiply; the result is narrower
than either. (The grey curve is a likelihood, a function of $x_{t-1}$, so the area below it need not be 1.)
Right: the ratio (5.22) starts at 0 and is soon 1, in all four schedules alike: after the first few dozen
steps of a thousand it hardly matters which of the two variances a sampler uses. With 20 steps it does
(chapters 6 and 7).*

### Skipped steps
A schedule of 1000 steps can be walked in 50: visit only every twentieth state. The step from $s$ to $t > s$
has the form (5.1) again, by (5.8), with

$$\beta_{t \mid s} = 1 - \frac{\bar\alpha_t}{\bar\alpha_s}, \tag{5.24}$$

<!-- code 5.24: diffedu.sampling.ancestral.step_variance -->

which is (5.16) with $s$ in the place of $t-1$, and (5.22) and (5.23) hold with $\beta_{t\mid s}$,
$1-\beta_{t\mid s}$ and $\bar\alpha_s$ put in. It is *not* $\beta_t$: twenty steps bring about twenty times
the noise. Using $\beta_t$ on a skipped grid is one of the commonest bugs of home-made samplers.
"""

# %%
s, t = 400, 420
added = torch.zeros((), dtype=torch.float64)  # variance of what twenty steps add to a known x_s, by (5.2)
for b in path.betas[s:t]:
    added = (1 - b) * added + b
verify("5.24", added, 1 - path.alpha_bar[t] / path.alpha_bar[s])
print(f"twenty steps add variance {added:.3f}; beta_420 alone is {path.betas[t - 1]:.4f}")

# %% [markdown]
r"""
## 5.7 When the end is not noise

Sampling starts from $\mathcal N(0, I)$. The chain ends at
$\sqrt{\bar\alpha_T}\,x_0 + \sqrt{1-\bar\alpha_T}\,\varepsilon$. These agree only if $\bar\alpha_T$ is
nearly 0. Here is how people miss it without noticing. A thousand steps are slow, so somebody sets `T = 50`
and leaves the rest of the configuration as it was.
"""


# %%
def make(betas):
    """A path; the warning, if there is one, printed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = DiscreteDDPM(betas)
    print(made)
    for warning in caught:
        print("  warning:", warning.message)
    return made


tuned = make(linear_betas(1000))
cut = make(linear_betas(50))  # the customary ends, over 50 steps
first_50 = make(linear_betas(1000)[:50])  # or the first 50 of the thousand
stronger = make(linear_betas(50, start=1e-4 * 20, end=0.02 * 20))  # twenty times larger betas

# %% [markdown]
r"""
With the customary ends and 50 steps, $\bar\alpha_T = 0.6$: the "noise" at the end is 60 % data, by
variance. What becomes of the samples? One can say it exactly. A perfect sampler that starts at $x_T$
returns a draw from $q(x_0 \mid x_T)$. If it is started at $\mathcal N(0, I)$, whatever the truth is, it
returns draws from

$$p_{\text{gen}}(x_0) = \int \mathcal N(x_T;\ 0, I)\; q(x_0 \mid x_T)\; dx_T. \tag{5.25}$$

Nothing in this is an error of a network. It is the answer to a question that was asked wrongly: the start
says "I am an average point", and the denoiser believes it.

**Before you read on.** Data in three clusters, with shares of 75 %, 20 % and 5 %, the largest one off to
the right. Which cluster will gain, which will lose? And will the clusters themselves be blurred, or crisp?

We sample with the exact denoiser and DDPM's ancestral sampler (chapter 7 is about it; think of (5.22) and
(5.23) with the best guess of $x_0$ put in), and set beside it what (5.25) predicts: draw $x_T$ from
$\mathcal N(0, I)$, and average the exact posterior probabilities of the clusters. No sampler is in that. The
last column is the energy distance between samples and data: 0 for equal distributions, and no smaller than
its *floor*, what two samples of the data show between them by chance.
"""

# %%
shares = torch.tensor([0.75, 0.20, 0.05])
mixture = GaussianMixture.isotropic(torch.tensor([[1.2, 0.5], [-0.9, 1.2], [-0.9, -1.1]]), 0.2, shares)
exact = mixture.sample(2000, seeded(8))
perfect = floor(energy_distance, mixture.sample, 2000, generator=seeded(9), repeats=3)
runs = {  # the path, and how many steps of it are walked
    "1000 steps": (tuned, 1000),
    "1000, walked in 50": (tuned, 50),
    "cut to T = 50": (cut, 50),
    "first 50 of 1000": (first_50, 50),
}
samples, found, predicted = {"data": exact}, {}, {}
z = torch.randn(50_000, 2, generator=seeded(21))
print(f"{'':20s} shares of the clusters   by (5.25)            energy distance")
print(f"{'data':20s} 0.75  0.20  0.05" + " " * 30 + "below 0.005 (the floor)")
assert abs(perfect.mean) + 3 * perfect.standard_deviation < 0.005
for name, (p, steps) in runs.items():
    start = torch.randn(2000, 2, generator=seeded(22))
    x = sample(mixture.denoiser(p), Ancestral(), start, trailing_times(p, steps), generator=seeded(24))
    samples[name] = x
    found[name] = torch.nn.functional.one_hot(torch.cdist(x, mixture.means).argmin(1), 3).float()
    predicted[name] = mixture.responsibilities(z, p.t_max, p).mean(0)
    distance = energy_distance(x, exact).value
    row = ["  ".join(f"{v:.2f}" for v in w) for w in (found[name].mean(0), predicted[name])]
    print(
        f"{name:20s} {row[0]}         {row[1]}     "
        + (f"{distance:.2f}" if distance > 0.01 else "below 0.01")
    )
inside = {name: samples[name][found[name][:, 0] == 1].std(0).mean() for name in runs}
print("spread of the largest cluster (0.20 in the data):", *[f"{v:.2f}" for v in inside.values()])
verify_mean("5.25", found["cut to T = 50"], predicted["cut to T = 50"])

# %%
figure, axes = panels(1, 5, width=13, height=3.1)
for ax, (name, cloud) in zip(axes, samples.items(), strict=True):
    ax.scatter(*cloud[:1000].T, s=3, color=DATA if name == "data" else SCORE, alpha=0.5, linewidths=0)
    square(ax, 2.4, ylabel="$x_2$" if name == "data" else "")
    ax.set_axisbelow(True)
    ax.set_title(name)
    got = shares if name == "data" else found[name].mean(0)
    for share_, (u, v), dy in zip(got, mixture.means.tolist(), (0.85, 0.75, -0.95), strict=True):
        ax.text(
            u,
            v + dy,
            f"{100 * share_:.0f} %",
            ha="center",
            va="center",
            fontsize=11,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
assert found["cut to T = 50"][:, 2].mean() > 3 * shares[2]
figure

# %% [markdown]
r"""
*Samples with the exact denoiser, and the share of each cluster. Walking a good schedule in 50 steps is
harmless (the clusters come out a little too narrow). Cutting the schedule is not: the clusters stay crisp,
but the rare one is nearly four times too common. With the first 50 of 1000 the start is so much noisier
than those 50 small steps can undo that the clusters blur as well.*

Why does the rare one gain? After the cut schedule a true $x_T$ still lies near its own cluster, so three in
four lie on the right. A start from $\mathcal N(0, I)$ lies on either side equally often, and the exact
denoiser takes its place for evidence.

This is a nasty failure. Each sample looks perfect. Only counting reveals that the model has the world's
proportions wrong, and (5.25) says that no better network, no more steps and no finer solver can help. The
cure costs nothing: keep the thousand-step $\bar\alpha$ and skip, by (5.24); or choose larger betas when
steps are fewer.

### Stable Diffusion's 0.068
The scaled-linear schedule, at its customary ends, stops at $\sqrt{\bar\alpha_T} = 0.068$. Seven per cent of
the data, against noise of size 1: is that worth a thought? For Gaussian data of mean $m$ and variance
$s^2$, (5.25) can be worked out. By Bayes (precisions, as for (5.13)), the posterior mean is linear in
$x_T$; a start of mean zero gives

$$\mathbb E_{\text{gen}}[x_0] = \frac{m}{1 + s^2\,\mathrm{SNR}(T)}. \tag{5.26}$$

For one pixel with $m = -0.7$, $s = 0.6$ that is a loss of 0.2 %: nothing. But the *brightness* of a picture
is not one pixel. It is a sum over $N$ pixels that say the same thing, while the noise of $N$ pixels
averages out. Divide the sum by $\sqrt N$, so that the noise in it has variance 1 again; then mean and
standard deviation of the signal are $\sqrt N$ times those of the mean pixel.
"""

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    stable = DiscreteDDPM(scaled_linear_betas())
end = stable(torch.tensor(1000.0, dtype=torch.float64))
print(f"sqrt(alpha_bar_T) = {end.alpha:.3f}, SNR(T) = {end.snr:.4f}")

m, s = -0.7, 0.6
single = GaussianMixture.single(*(torch.tensor(v, dtype=torch.float64) for v in ([m], [[s**2]])))
# linear in x_T, so its mean over starts of mean 0 is its value at 0
middle = single.posterior_mean(torch.zeros(1, 1, dtype=torch.float64), 1000.0, stable)
verify("5.26", middle.squeeze(), m / (1 + s**2 * end.snr))
print(f"of one pixel's mean {100 * (1 - middle.item() / m):.1f} % is lost")

for name, pictures in {"digits": digits("train").images, "emoji": emoji().images}.items():
    N = pictures[0].numel()
    brightness = pictures.flatten(1).mean(1) * math.sqrt(N)
    off = abs(end.alpha * brightness.mean()).item()
    kept = 1 / (1 + brightness.var().item() * end.snr.item())
    print(
        f"{name}: the true x_T is {off:.1f} standard deviations of noise off centre in brightness;",
        f"by (5.26), {kept:.2f} of the mean brightness comes out",
    )

clues = readable(
    stable.add_noise(images.flatten(1), torch.randn(1000, 784, generator=seeded(13)), 1000.0),
    end.alpha.float(),
    end.sigma.float(),
    labels,
)
assert clues > 0.1 + 4 * math.sqrt(0.1 * 0.9 / 1000)
print(
    f"and x_T still betrays its digit: a share of {clues:.1f} is read,",
    "more than 4 standard errors above guessing (0.1)",
)

# %% [markdown]
r"""
The seven per cent add up. (The second figure of each line takes brightness for Gaussian; it is not, so it
is a rough one.) In brightness, the $x_T$ that a network was trained on lie one to two standard deviations
off the $\mathcal N(0, 1)$ that sampling starts from. The network has learned to read brightness off $x_T$;
at sampling time it reads "average", always. Lin et al. found that this is why Stable Diffusion could not
draw a very dark or a very bright picture. Their cure: rescale the schedule to $\bar\alpha_T = 0$, predict
$v$ rather than $\varepsilon$ (chapter 9: at $\bar\alpha_T = 0$ a prediction of the noise says nothing of
the data), and start sampling at the true last step.

### The explorer
All of this in one picture: turn the knobs of a schedule, or draw your own, and see betas, $\bar\alpha$,
SNR, a digit on its way, and points of our three clusters, drawn on the spot with the exact denoiser (and
DDIM, chapter 8's sampler, unless you choose the ancestral one).

**Before you move anything**, two bets. First: the linear schedule, $T = 50$, and *sampling steps* raised
from 5 to 50. Will the samples come nearer to the exact ones? Second: back to $T = 1000$, and only 5
sampling steps. Linear or cosine, which will do better? Then play: no family needs to be the best, so draw
one of your own.
"""

# %%
from diffedu.show.widgets import ScheduleExplorer, explore

ScheduleExplorer(mixture)


# %%
def distance(betas, steps):
    """What the explorer calls "distance to exact"."""
    return explore(betas, mixture=mixture, digit=images[0], steps=steps).distance


bet_1 = [distance(linear_betas(50), steps) for steps in (5, 50)]
bet_2 = [distance(betas_, 5) for betas_ in (linear_betas(1000), cosine_betas(1000))]
assert bet_1[1] > 0.9 * bet_1[0]
assert bet_2[0] > 1.2 * bet_2[1]
print(f"linear, T = 50: {bet_1[0]:.1f} in 5 steps, {bet_1[1]:.1f} in 50")
print(f"T = 1000 in 5 steps: linear {bet_2[0]:.1f}, cosine {bet_2[1]:.1f}")

# %% [markdown]
r"""
**What to take from it.** With an exact denoiser, samples depend on two things: where $\bar\alpha$ *ends*,
and how far apart the steps lie in $\lambda$ *between*. A wrong end puts points into the wrong places, and
more steps do not help: a finer solver only solves the wrong problem better. Steps that are too large leave
points stranded between the clusters, and there a schedule that spends its time where the clusters part (the
cosine) needs fewer of them.

So: were the dull last 600 steps of the first picture wasted? For the look of a single sample, nearly. For
the proportions among samples, they were the price.

## 5.8 Steps that become infinitely small

A thousand steps of one part in a hundred smell of a limit. Spread them over the unit interval: step $k$
happens at time $t = k/T$, each takes $\Delta = 1/T$, and the betas shrink with the step,
$\beta_k = \beta(t)\,\Delta$, for some rate $\beta(t)$. Twice as many steps, each half as strong. Then
$\sqrt{1-\beta\Delta} = 1 - \tfrac12\beta\Delta + O(\Delta^2)$, and (5.1) reads

$$x_{t+\Delta} - x_t \approx -\tfrac12\beta(t)\,x_t\,\Delta + \sqrt{\beta(t)}\,\sqrt{\Delta}\;\varepsilon
\qquad\longrightarrow\qquad dx = -\tfrac12\beta(t)\,x\,dt + \sqrt{\beta(t)}\;dw. \tag{5.27}$$

A spring pulls to the origin, and noise kicks. Each step drops a rest of size $\Delta^2$ and there are
$1/\Delta$ of them, so what is lost in all is of size $\Delta$ and vanishes in the limit (the next cell
measures it). The kick of a step has size $\sqrt\Delta$, not $\Delta$, as it must: *variances* add up over
time, and $1/\Delta$ kicks of variance $\Delta$ make a finite sum. That is what $dw$ stands for: in every
stretch $dt$, fresh Gaussian noise of variance $dt$ (chapter 1).

The product (5.9) becomes an exponential,
$\log\bar\alpha = \sum\log(1-\beta\Delta) \to -\int\beta$, and $\alpha(t)$, the factor before $x_0$, is
its root. The jump (5.10) is then

$$x_t = \alpha(t)\,x_0 + \sigma(t)\,\varepsilon, \qquad \alpha(t)
= \exp\!\Big(-\tfrac12\!\int_0^t\!\beta(s)\,ds\Big), \qquad \sigma^2 = 1 - \alpha^2. \tag{5.28}$$

DDPM's betas, $10^{-4}$ to 0.02 over $T = 1000$, are the rate $\beta(t) = 0.1 + 19.9\,t$: this is `VP()`.
"""


# %%
def discrete(T):  # the product (5.9) for beta_k = beta(k/T) / T
    k = torch.arange(1, T + 1, dtype=torch.float64)
    return (1 - (0.1 + 19.9 * k / T) / T).cumprod(0)


alpha_half = VP()(torch.tensor(0.5, dtype=torch.float64)).alpha
area = 0.5 * (0.1 + 19.9 * 0.25)  # the rate is a straight line: mid-value times length
verify("5.28", discrete(1_000_000)[499_999].sqrt(), math.exp(-0.5 * area), rtol=2e-5)
assert torch.isclose(alpha_half, discrete(1_000_000)[499_999].sqrt(), rtol=2e-5)
errors = [float(discrete(T)[T // 2 - 1].sqrt() / alpha_half - 1) for T in (100, 200, 400, 800)]
print("T = 100, 200, 400, 800: relative error of alpha at half-time", *[f"{e:.3f}" for e in errors])
print("each doubling of T divides it by", *[f"{a / b:.1f}" for a, b in pairwise(errors)])

generator = seeded(14)
T, start = 1000, 2.0
x = torch.full((20_000,), start)
for k in range(300):  # (5.27) by the plainest rule, Euler and Maruyama's, up to t = 0.3
    rate = 0.1 + 19.9 * k / T
    x = x - 0.5 * rate * x / T + math.sqrt(rate / T) * torch.randn(x.shape, generator=generator)
c = VP()(torch.tensor(0.3))
moments = torch.stack([x, (x - c.alpha * start) ** 2], dim=1)
verify_mean("5.27", moments, [c.alpha.item() * start, c.sigma.item() ** 2])

# %% [markdown]
r"""
### One process, many clocks
The rate stands in (5.27) twice: as $\beta$ in the pull, as $\sqrt\beta$ in the kicks. That is just what a
change of the unit of time does, since $dw$ is a root of time. So let a clock run unevenly, fast where the
rate is high:

$$\tau(t) = \tfrac12\int_0^t \beta(s)\,ds = -\log\alpha(t), \qquad
d\tau = \tfrac12\,\beta(t)\,dt. \tag{5.29}$$

In a stretch $dt$ the pull is $-\tfrac12\beta x\,dt = -x\,d\tau$, and the kicks have variance
$\beta\,dt = 2\,d\tau$. Read on this clock, (5.27) is

$$dx = -x\,d\tau + \sqrt2\;dw_\tau, \tag{5.30}$$

where $w_\tau$ is Brownian motion in the time $\tau$. No schedule is left in it. It is the
**Ornstein–Uhlenbeck process** of chapter 1: a spring of strength 1, and noise that holds the variance at 1.
All variance-preserving schedules are this one film, played at different speeds and stopped at different
times.

**Before you read on.** The discrete chain (5.1) led to this process for small betas. Take a large one,
$\beta = 0.9$. How far is that step from the process?

Watch the process for a while $h$ of clock time. (5.30) does not know what time it is, so any moment may serve
as its start, and (5.28) with $\alpha = e^{-h}$ says

$$x_{\tau+h} = e^{-h}\,x_\tau + \sqrt{1-e^{-2h}}\;\varepsilon. \tag{5.31}$$

Now set $e^{-h} = \sqrt{1-\beta}$. Then $1 - e^{-2h} = \beta$, and (5.31) *is* (5.1), letter by letter. No
step is too large, not even $\beta = 0.9$: the chain is the process, looked at now and then, at the clock
times $\tau_k = -\tfrac12\log\bar\alpha_k$. On the way out, small steps were never needed. (They are needed
on the way back: chapter 6.)

The clock also says how long the start is remembered. Take data of mean 0 and variance 1, multiply (5.31) by
$x_\tau$, and average. The fresh noise drops out:

$$\mathbb E\,[\,x_s\,x_t\,] = e^{-(\tau_t - \tau_s)} \qquad (s \le t). \tag{5.32}$$

Memory fades by a factor of $e$ per unit of clock time, whatever the schedule. So a schedule has ended too
early (section 5.7) when its clock has.
"""

# %%
t = torch.linspace(0, 1, 1001, dtype=torch.float64)
time_passed = torch.cumulative_trapezoid(0.1 + 19.9 * t, t) / 2
verify("5.29", time_passed, -VP()(t[1:]).alpha.log())

generator = seeded(15)
x = torch.full((20_000,), start)
for _ in range(500):  # (5.30), Euler and Maruyama again, 500 steps of 0.001
    x = x - 0.001 * x + math.sqrt(2 * 0.001) * torch.randn(x.shape, generator=generator)
c = Cosine()(torch.tensor(2 / math.pi * math.acos(math.exp(-0.5))))  # another schedule's jump at tau = 0.5
moments = torch.stack([x, (x - c.alpha * start) ** 2], dim=1)
verify_mean("5.30", moments, [c.alpha.item() * start, c.sigma.item() ** 2])

large, pieces = torch.tensor([0.02, 0.5, 0.9], dtype=torch.float64), 20_000
h = -0.5 * (1 - large).log() / pieces
factor, added = torch.ones_like(h), torch.zeros_like(h)
for _ in range(pieces):  # (5.30) in tiny pieces: what becomes of the mean, and of the variance
    factor, added = (1 - h) * factor, (1 - h) ** 2 * added + 2 * h
verify("5.31", torch.stack([factor, added]), torch.stack([(1 - large).sqrt(), large]), rtol=1e-4)

x = (
    2.0 * torch.randint(0, 2, (20_000,), generator=generator) - 1
)  # coins: mean 0, variance 1, far from Gaussian
seen = {}
for k, b in enumerate(betas[:500].tolist(), start=1):
    x = math.sqrt(1 - b) * x + math.sqrt(b) * torch.randn(x.shape, generator=generator)
    if k in (200, 250, 500):
        seen[k] = x
clock = -0.5 * path.alpha_bar.log()
products = torch.stack([seen[200] * seen[250], seen[200] * seen[500]], dim=1)
verify_mean("5.32", products, torch.exp(clock[200] - clock[[250, 500]]))

clocks = {name: -0.5 * p.alpha_bar.log() for name, p in {**paths, "linear, T = 50": cut}.items()}
for name, values in clocks.items():
    print(f"{name:14s} stops at tau = {values[-1]:.2f}, with {math.exp(-values[-1]):.2g} of x0 left")
same = int((clocks["cosine"] < clocks["linear"][500]).sum()) / 1000
print(f"the linear clock at t/T = 0.5 shows the same as the cosine's at {same:.1f}")

# %%
figure, (left, middle, right) = panels(1, 3, width=12, height=3.5)
for (name, values), color, style in zip(
    clocks.items(), (*colors, INK), ("-", "--", "-.", ":", "-"), strict=True
):
    left.plot(
        torch.linspace(0, 1, len(values)), values, color=color, linestyle=style, linewidth=2, label=name
    )
left.legend(frameon=False, loc="upper left", fontsize=10, handlelength=2.4)
left.set(xlabel="t / T", ylabel=r"clock $\tau$", title="five clocks", ylim=(0, 5.3))

generator, ticks = seeded(16), clocks["linear"][::4]
states = [torch.full((3,), start)]
for h in ticks.diff().float():  # (5.31): exact steps of one process
    states.append(
        torch.exp(-h) * states[-1] + torch.sqrt(1 - torch.exp(-2 * h)) * torch.randn(3, generator=generator)
    )
states = torch.stack(states)
factor = torch.exp(-ticks)
for ax, name in ((middle, "linear"), (right, "cosine")):
    at = np.interp(ticks, clocks[name], np.linspace(0, 1, 1001))
    spread = 2 * (1 - factor**2).sqrt()
    ax.fill_between(at, factor * start - spread, factor * start + spread, color="#E3EEF6")
    for k in range(3):
        ax.plot(at, states[:, k], color=CYCLE[k], linewidth=1.0)
    ax.plot(at, factor * start, color=INK, linewidth=2.5)
    ax.set(xlabel="t / T", ylim=(-3.4, 3.9), title=f"by the {name} schedule's clock")
middle.set_ylabel("$x_t$")
figure

# %% [markdown]
r"""
*Left: how far each schedule's clock has come; the black one was cut. Middle and right: the very same three
paths of (5.30) from $x_0 = 2$, with their mean (black) and mean ± 2 standard deviations (band), over the time
of two schedules. What the linear one shows by half-time fills four fifths of the cosine's.*

### Any path at all
Nothing binds us to $\alpha^2 + \sigma^2 = 1$. For *any* smooth $\alpha(t), \sigma(t)$ the family
$x_t = \alpha x_0 + \sigma\varepsilon$ is what a linear SDE $dx = f x\,dt + g\,dw$ produces. Its mean obeys
$\dot m = f m$. For its variance, square one step: $(x + f x\,dt + g\,dw)^2$ has the average
$x^2 + 2 f x^2\,dt + g^2\,dt$ up to smaller terms, so $\frac{d}{dt}\sigma^2 = 2 f \sigma^2 + g^2$. Solve for
$f$ and $g$:

$$f = \frac{\dot\alpha}{\alpha}, \qquad g^2 = \frac{d\sigma^2}{dt} - 2 f \sigma^2
= 2\sigma\,\Big(\dot\sigma - \frac{\dot\alpha}{\alpha}\,\sigma\Big). \tag{5.33}$$

<!-- code 5.33: diffedu.core.path.PathCoefficients.diffusion_squared -->

A **path** in this book is just the pair of functions; schedules, SDEs and their clocks are ways of writing
it down. Divide $x_t$ by $\alpha$ and you have $x_0 + (\sigma/\alpha)\,\varepsilon$: every path is the
variance-exploding one in other units, and $\lambda = \log(\alpha/\sigma)$ says where on it you are. It is a
clock that all paths can read.
"""

# %%
t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
tiny = 1e-5
for p in (VP(), VE(), Cosine(), RectifiedFlow()):
    c, before, after = p(t), p(t - tiny), p(t + tiny)
    grown = torch.stack([after.alpha - before.alpha, after.sigma**2 - before.sigma**2]) / (2 * tiny)
    by_sde = torch.stack([c.drift * c.alpha, 2 * c.drift * c.sigma**2 + c.diffusion_squared])
    verify("5.33", by_sde, grown, rtol=1e-6)

# %% [markdown]
r"""
## 5.9 Exercises

`check` tells you what is wrong, `hint("5.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Three of the exercises come from the **errata museum**: mistakes that stood in
published tutorials or libraries. Their code runs. That is the trouble with it.
"""

# %%
for one in exercises(5):
    print(one)

# %% [markdown]
r"""
**Exercise 5.1 ★ — a batch of jumps.** In training every picture of a batch gets its own $t$. Write (5.10)
for data of any shape `(B, *)`, times of shape `(B,)` (whole numbers, type int64) and a table `alpha_bar` of
shape `(T + 1,)` with $\bar\alpha_0 = 1$.
"""


# %% tags=["exercise"]
def add_noise(x0, eps, t, alpha_bar):
    """x_t, shape (B, *), from x0 and eps (B, *), whole-number times t (B,) and alpha_bar (T + 1,)."""
    ...


# %%
check("5.1", add_noise)

# %% [markdown]
r"""
**Exercise 5.2 ★ — larger pictures.** A picture of twice the width and height shows the same scene, so its
pixels come in groups of 2 × 2 that are nearly equal. It gets noise of the same $\sigma$ in each of its
pixels. Now shrink the noisy picture by averaging each 2 × 2 group. Compared with the small picture noised
directly at the same $t$, the result is "clearer", "noisier" or "the same"?
"""

# %% tags=["exercise"]
shrunk_picture = ...

# %%
check("5.2", shrunk_picture)

# %% [markdown]
r"""
**Exercise 5.3 ★ — half and half.** Under the linear schedule with $T = 1000$: what is the *first* whole $t$
at which there is more noise than signal, $\mathrm{SNR}(t) < 1$?
"""

# %% tags=["exercise"]
first_noisy_step = ...

# %%
check("5.3", first_noisy_step)

# %% [markdown]
r"""
**Exercise 5.4 ★★ — errata museum: the forward pass.** This function is meant to noise a batch of points
`(B, D)` at times $t = 1 \dots T$. It holds *two* mistakes. The loss would fall all the same. Find and fix
both.
"""


# %% tags=["exercise"]
def noised(x0, eps, t, betas):
    """x_t, shape (B, D), at whole-number times t (B,) from 1 to T, for betas (T,) = beta_1 ... beta_T."""
    alpha_bar = (1 - betas).cumprod(0)[t][:, None]
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar) * eps


# %%
check("5.4", noised)

# %% [markdown]
r"""
**Exercise 5.5 ★★ — errata museum: the cosine.** Meant are the betas of (5.17), the last one cut. Two
mistakes again; compare with the formula term by term, then ask what the last beta is.
"""


# %% tags=["exercise"]
def betas_of_cosine(T):
    """beta_1 ... beta_T of the cosine schedule, shape (T,), float64, none above 0.999."""
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + 0.008) / 1.008 * math.pi / 2)
    return 1 - f[1:] / f[:-1]


# %%
check("5.5", betas_of_cosine)

# %% [markdown]
r"""
**Exercise 5.6 ★★ — one step back.** Mean and variance of $q(x_{t-1} \mid x_t, x_0)$ for a batch of points,
each at its own time.
"""


# %% tags=["exercise"]
def posterior_of_previous(x0, x_t, t, betas):
    """Mean (B, D) and variance (B,) of x_{t-1}, from x0 and x_t (B, D), t (B,) from 1 to T, betas (T,)."""
    ...


# %%
check("5.6", posterior_of_previous)

# %% [markdown]
r"""
**Exercise 5.7 ★★ — fewer steps, same path.** Given a table `alpha_bar` $(T + 1,)$ and the whole-number
times to be kept, increasing and all above 0, return the betas of the shorter chain that visits 0 and then
exactly those times.
"""


# %% tags=["exercise"]
def respaced_betas(alpha_bar, kept):
    """Betas (K,) of the chain 0 -> kept[0] -> ... -> kept[K - 1]; alpha_bar (T + 1,), kept (K,) int64."""
    ...


# %%
check("5.7", respaced_betas)

# %% [markdown]
r"""
**Exercise 5.8 ★★ — errata museum: the range that was cut.** A library lets its users choose `T` and leaves
the range of betas as it is. Mend it: the betas still grow linearly, `T = 1000` gives the customary ones,
and for any `T` from 50 to 1000 the final $\bar\alpha_T$ is no larger than the customary one, and no smaller
than a tenth of it. (To first order, what has to stay the same when steps are fewer?)
"""


# %% tags=["exercise"]
def linear_schedule(T):
    """Linear betas (T,), float64, for any T from 50 to 1000; the customary 1e-4 ... 0.02 at T = 1000."""
    return torch.linspace(1e-4, 0.02, T, dtype=torch.float64)


# %%
check("5.8", linear_schedule)

# %% [markdown]
r"""
**Exercise 5.9 ★★★ — whose noise is it?** Unroll the chain without merging anything:
$x_T = \sqrt{\bar\alpha_T}\,x_0 + \sum_{s=1}^{T} w_s\,\varepsilon_s$. Derive $w_s$, the weight with which
the noise of step $s$ is still present at the end, and return all of them. Then add up their squares and
look at (5.10). Which step's noise dominates $x_{1000}$ under the linear schedule: an early one, a late one,
or do all contribute alike?
"""


# %% tags=["exercise"]
def noise_weights(betas):
    """w_1 ... w_T, shape (T,): how much of each step's own noise is in x_T."""
    ...


# %%
check("5.9", noise_weights)

# %% [markdown]
r"""
**Exercise 5.10 ★★ — find and fix: one exact leap.** This function should carry points over a stretch $h$ of
clock time, exactly and in one leap, as (5.30) would. It was pieced together from two texts, both of them
right. One writes the process as (5.30), the other as $dx = -\tfrac12 x\,dt + dw$. Mend it for (5.30).
"""


# %% tags=["exercise"]
def leap(x, eps, h):
    """x at clock time tau + h, from x at tau and fresh noise eps, all (B, D); h (B,), each above 0."""
    h = h[:, None]
    return torch.exp(-h) * x + torch.sqrt(1 - torch.exp(-h)) * eps


# %%
check("5.10", leap)

# %% [markdown]
r"""
## 5.10 What the field does with it, and where this simplification breaks

- **Training** never walks the chain. Each step of it draws a picture, a $t$, one $\varepsilon$, jumps by
  (5.10), and asks the network for one of $\varepsilon$, $x_0$ or a mix (chapters 7 and 9).
- **The schedule has been taken apart.** It used to set three things at once: which noise levels are trained
  and how often, how the loss weighs them, and where the sampler stops. Since the paper of Karras et al.
  (2022) these are three choices: a distribution of $\lambda$ in training, a weight, and a time grid for
  sampling (chapter 11). The variational bound in continuous time does not depend on the schedule at all but
  for its ends (Kingma et al. 2021; chapter 6). What the schedule still decides is variance: how noisy the
  training signal is.
- **Resolution shifts schedules.** Larger pictures are trained with more noise: Hoogeboom et al. (2023)
  shift $\lambda$ by the logarithm of the ratio of the sides, Chen (2023) scales the data down, and recent
  flow models shift $t$ by the number of pixels or tokens. All three are exercise 5.2.
- **Zero terminal SNR**, with $v$-prediction, is what Lin et al. propose for pictures of any brightness;
  many models still add a small offset to the noise instead.

Where it breaks: noise here is white, Gaussian and equal in every pixel. It need not be: there are
diffusions with blur, with masks, over words and over graphs, and the jump in one line survives only where
the noises of two steps still merge into one of the same kind. And the exact denoiser of sections 5.5 and
5.7 is a luxury of toy data. A network is wrong in its own ways, and most so where the SNR is extreme.

### References
Our $\beta_t, \bar\alpha_t$ are those of Ho et al.; our $t = 0$ is clean data, as theirs.
- Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli (2015), *Deep unsupervised learning using nonequilibrium
  thermodynamics*: the idea, section 2.
- Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*: (5.1) is their eq. 2, (5.10) eq. 4,
  (5.22) and (5.23) eq. 6 and 7; the linear schedule, section 4.
- Nichol, Dhariwal (2021), *Improved denoising diffusion probabilistic models*: (5.17) and the cut, eq. 17;
  skipped steps (5.24), eq. 19; $\tilde\beta_t/\beta_t$, figure 1.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: (5.27) is eq. 11; (5.28) eq. 29.
- Kingma, Salimans, Poole, Ho (2021), *Variational diffusion models*: SNR, eq. 2; the step from $s$ to $t$,
  appendix A.
- Rombach, Blattmann, Lorenz, Esser, Ommer (2022), *High-resolution image synthesis with latent diffusion
  models*: scaled-linear betas, in the released code.
- Lin, Liu, Li, Yang (2024), *Common diffusion noise schedules and sample steps are flawed*: section 3.
- Jabri, Fleet, Chen (2023), *Scalable adaptive computation for iterative generation*, and Chen (2023), *On
  the importance of noise scheduling for diffusion models*, section 2: (5.18).
- Hoogeboom, Heek, Salimans (2023), *Simple diffusion*, section 3.1: the shift with resolution.
- Karras, Aittala, Aila, Laine (2022), *Elucidating the design space of diffusion-based generative models*:
  (5.33) in other letters, appendix B.
- Lu, Zhou, Bao, Chen, Li, Zhu (2022), *DPM-Solver*: (5.33) in these letters, section 2.1.
- Uhlenbeck, Ornstein (1930), *On the theory of the Brownian motion*: the process (5.30).
"""
