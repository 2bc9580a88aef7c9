# %% [markdown]
"""
# 14. Image DDPM

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/14_image_ddpm.ipynb)

*Handwritten digits from noise: a U-Net built from blocks, trained in front of you, sampled, and measured*

Everything so far lived in a plane, and the denoiser could be written down. Here the points are pictures,
and a network learns the denoiser from examples. Below, ten images of pure noise become ten digits that
nobody ever wrote.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %% tags=["setup"]
import os
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from IPython.display import Image
from torch import nn
from tqdm.auto import tqdm

from diffedu import (
    DDIM,
    EPS,
    Ancestral,
    DatasetDenoiser,
    DenoisingLoss,
    DiscreteDDPM,
    V,
    cosine_betas,
    eps_hat,
    sample,
    seeded,
    start_noise,
    trailing_times,
    trajectory,
)
from diffedu.data import digits
from diffedu.evaluate import (
    accuracy,
    frechet_between_gaussians,
    frechet_distance,
    nearest_neighbours,
    quantise,
)
from diffedu.exercises import check
from diffedu.nn import FourierTime, ResBlock, SelfAttention, UNetConfig
from diffedu.recipes import digits_classifier, digits_ddpm, shipped_log
from diffedu.recipes.digits_report import features
from diffedu.show import (
    DATA,
    EXTRA,
    GUIDED,
    INK,
    NOISE,
    SCORE,
    animation,
    curve_panel,
    image_rows,
    montage,
    panels,
)
from diffedu.show.widgets.digit_film import DigitFilm
from diffedu.train import EMA, TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
path = DiscreteDDPM(cosine_betas(1000))  # chapter 5
real, held_out = digits("train", device=device), digits("test", device=device)
encode, decode = digits_ddpm.encode, digits_ddpm.decode  # section 14.4
clean, clean_held_out = encode(real.images), encode(held_out.images)
ten = torch.arange(10, device=device)  # one label of each class

# %%
net = digits_ddpm.load(device=device)  # the end of this chapter, shown first
start = start_noise(path, (10, 1, 28, 28), seeded(7, device))
film = list(trajectory(digits_ddpm.denoiser(net, ten), DDIM(), start, trailing_times(path, 20)))[::4]

figure, (ax,) = panels(1, 1, width=6.4, height=1.0)
sheet = ax.imshow(montage(film[0][1] / 2, columns=10), interpolation="nearest")
ax.set_axis_off()


def show_moment(moment):
    t, x_t = moment
    sheet.set_data(montage(x_t / x_t.abs().amax().clamp(min=1), columns=10))
    ax.set_title(f"t = {t.item():.0f}")


Image(animation(figure, show_moment, film, fps=2))

# %% [markdown]
r"""
**Watch when each digit is decided.** Not at the end: the strokes are laid down while the picture still
looks like noise to you.

By the end of this chapter you will be able to

- derive the loss that trains image models, $L_\text{simple}$, from the bound of chapter 6, say what was
  thrown away on the way, and what it is wise to add;
- build a U-Net from six kinds of blocks, and say what each is for;
- train a diffusion model of real images in a minute, and a good one in half an hour, on two cores;
- sample from it in fifteen lines of your own;
- say *how good* it is, with every number beside what real digits score in the same test, and whether it
  copies.

You need chapter 5 (the forward process) and PyTorch's `nn.Module`. About 60 minutes to read, two minutes to
run.

## 14.1 From the plane to pixels

A digit has $28 \times 28 = 784$ pixels, each between $-1$ (paper) and $1$ (ink). So a picture is a point,
as before, in a space of 784 dimensions. The forward process does not care: it shrinks the point and adds
noise,

$$x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon, \qquad \alpha_t = \sqrt{\bar\alpha_t}, \quad \sigma_t =
\sqrt{1 - \bar\alpha_t},
\qquad \varepsilon \sim \mathcal N(0, I), \quad t = 1, \dots, 1000. \tag{14.1}$$
<!-- definition 14.1: the forward process of chapter 5, with its names -->
<!-- code 14.1: diffedu.core.path.GaussianPath.add_noise -->

We own 9,000 digits to learn from, and keep 1,000 aside that no model may ever see.

**Before you read on.** For a finite set of points, chapter 0 knew the *exact* denoiser: a weighted mean of
the training points. It can be computed for these 9,000 digits in a second. Why would anybody train a
network instead? Decide what this perfect denoiser would draw, then run the cell.
"""

# %%
table = DatasetDenoiser(real.images, path)  # the exact E[x0 | x_t], if only these 9,000 digits existed
drawn = sample(table, DDIM(), start_noise(path, (10, 1, 28, 28), seeded(0, device)), trailing_times(path, 25))
copied_from = nearest_neighbours(drawn, real.images)
assert copied_from.distances.max() < 0.01  # every one of them is a training digit, pixel by pixel

image_rows(
    {
        "drawn with the\nexact denoiser": drawn,
        "nearest digit in\nthe training set": real.images[copied_from.indices[:, 0]],
    }
)

# %% [markdown]
r"""
*The two rows are the same pictures. The exact denoiser of a finite data set is a photocopier.*

So here is the strange situation of this whole field. The perfect answer to the training problem is
worthless. What we want is a denoiser that is *wrong in the right way*: one that cannot store 9,000
pictures, and has to make do with what digits have in common, such as strokes, loops and straight lines.
What it can express, and what it finds easy, is decided by its architecture. That is why an architecture
gets half of this chapter.

First, though: what should it be asked?

## 14.2 What the loss asks for

### The bound, once more
Sampling walks backwards, from $x_t$ to $x_{t-1}$, with Gaussian steps whose mean is learned:

$$p_\theta(x_{t-1} \mid x_t) = \mathcal N\big(x_{t-1};\ \mu_\theta(x_t, t),\ \tilde\beta_t I\big), \qquad
\tilde\beta_t = \beta_t\, \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}. \tag{14.2}$$
<!-- definition 14.2: the model of one backward step -->

Chapter 6 bounded $-\log p_\theta(x_0)$ by a sum of terms, one a step. For $t \ge 2$ each asks that this
step agree with the true backward step of somebody who knows $x_0$. Both are Gaussians with the same
covariance $\tilde\beta_t I$. The divergence between two such Gaussians is the squared distance of their
means, over twice the variance, and nothing else:

$$L_{t-1} = \mathbb E\; \mathrm{KL}\big(q(x_{t-1} \mid x_t, x_0)\,\big\|\,p_\theta(x_{t-1} \mid x_t)\big)
= \mathbb E\; \frac{\|\tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t)\|^2}{2\tilde\beta_t}. \tag{14.3}$$

The target $\tilde\mu_t$ is the mean of $q(x_{t-1} \mid x_t, x_0)$, derived in chapter 5 (mind which
$\alpha$'s carry a bar):

$$\tilde\mu_t(x_t, x_0) = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\, x_0 +
\frac{\sqrt{1 - \beta_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t. \tag{14.4}$$

### From the mean to the noise
The network sees $x_t$; so of the two things in (14.4) it lacks only $x_0$. By (14.1), not knowing $x_0$ is
the same as not knowing $\varepsilon$:

$$x_0 = \frac{x_t - \sigma_t\, \varepsilon}{\alpha_t}. \tag{14.5}$$

Put this into (14.4). The coefficient of $\varepsilon$ is
$-\sqrt{\bar\alpha_{t-1}}\,\beta_t\,\sigma_t / (\sigma_t^2\,\alpha_t)$; since
$\alpha_t = \sqrt{1 - \beta_t}\,\sqrt{\bar\alpha_{t-1}}$, it is $-\beta_t / (\sqrt{1-\beta_t}\,\sigma_t)$.
The coefficient of $x_t$ is
$\big[\beta_t + (1-\beta_t)(1-\bar\alpha_{t-1})\big] / \big[\sqrt{1-\beta_t}\,(1-\bar\alpha_t)\big]$. Its
numerator multiplies out to $1 - \bar\alpha_t$, so

$$\tilde\mu_t = \frac{1}{\sqrt{1 - \beta_t}} \Big( x_t - \frac{\beta_t}{\sigma_t}\, \varepsilon \Big).
\tag{14.6}$$

Remove a little noise, then undo the shrinking of one step. Let the network guess the noise,
$\varepsilon_\theta(x_t, t)$, and build its mean in just this way. Then the $x_t$ in the two means cancel,
and (14.3) becomes a weighted error of noise:

$$L_{t-1} = \mathbb E\; w_t\, \|\varepsilon - \varepsilon_\theta(x_t, t)\|^2, \qquad
w_t = \frac{\beta_t^2}{2\tilde\beta_t\,(1 - \beta_t)\,\sigma_t^2}. \tag{14.7}$$

We check the chain from (14.3) to (14.7) at one step, each link by another route: the divergence by
PyTorch's own formula for Gaussians, the mean by adding precisions as in Bayes' rule, the last by putting a
wrong guess of the noise through the first two.
"""

# %%
t = 300
beta, bar, bar_before = path.betas[t - 1], path.alpha_bar[t], path.alpha_bar[t - 1]  # betas[0] is beta_1
beta_tilde, sigma = beta * (1 - bar_before) / (1 - bar), (1 - bar).sqrt()
x0 = real.images[:8].double().flatten(1).cpu()
eps, guess = torch.randn(2, 8, 784, generator=seeded(1), dtype=torch.float64)
x_t = bar.sqrt() * x0 + sigma * eps

# Bayes: x_{t-1} has the prior N(sqrt(bar_before) x0, 1 - bar_before); x_t is it, shrunk, plus variance beta.
precision = 1 / (1 - bar_before) + (1 - beta) / beta
bayes_mean = (bar_before.sqrt() * x0 / (1 - bar_before) + (1 - beta).sqrt() * x_t / beta) / precision
mean = bar_before.sqrt() * beta / (1 - bar) * x0 + (1 - beta).sqrt() * (1 - bar_before) / (1 - bar) * x_t
verify("14.4", mean, bayes_mean)
verify("14.5", x0, (x_t - sigma * eps) / bar.sqrt())
verify("14.6", (x_t - beta / sigma * eps) / (1 - beta).sqrt(), bayes_mean)

guessed_mean = (x_t - beta / sigma * guess) / (1 - beta).sqrt()
step = [torch.distributions.Normal(m, beta_tilde.sqrt()) for m in (bayes_mean, guessed_mean)]
divergence = torch.distributions.kl_divergence(*step).sum(1)
verify("14.3", (mean - guessed_mean).square().sum(1) / (2 * beta_tilde), divergence, over="digits")
weight = beta**2 / (2 * beta_tilde * (1 - beta) * sigma**2)
verify("14.7", weight * (eps - guess).square().sum(1), divergence, over="digits")

# %% [markdown]
r"""
### Which weights are dropped
The bound tells us exactly how to weigh the steps. Ho, Jain and Abbeel dropped the weights:

$$L_\text{simple} = \mathbb E_{t,\, x_0,\, \varepsilon}\; \tfrac{1}{784} \big\|\varepsilon -
\varepsilon_\theta(\alpha_t x_0 + \sigma_t \varepsilon,\ t)\big\|^2, \qquad t \text{ uniform on } 1,
\dots, 1000. \tag{14.8}$$
<!-- code 14.8: diffedu.core.loss.DenoisingLoss -->

(The $1/784$ is ours: a mean over pixels is easier to read than a sum. It changes nothing but the learning
rate.) Let us look at what was dropped.
"""

# %%
steps = torch.arange(2, 1001)
# w_t with beta_tilde written out: one beta and one 1 - alpha_bar cancel
weights = path.betas[1:] / (2 * (1 - path.betas[1:]) * (1 - path.alpha_bar[1:-1]))
verify("14.7", weights[t - 2], weight)

figure, (ax,) = panels(1, 1, width=8.0, height=3.2)
ax.set(yscale="log", ylim=(0.3, 300))
shown = {"the bound": weights / weights.median(), "$L_{simple}$": torch.ones(999)}
curve_panel(ax, steps, shown, xlabel="t", ylabel="weight (median 1)")
figure

# %% [markdown]
r"""
*The bound cares most about the first and the very last steps. Beside it, $L_\text{simple}$ moves the effort
to the middle.*

At small $t$ the noise is too faint to see, and what is learned there is the grain of the paper. The bound
measures likelihood in nats, and fine grain holds most of the nats. Eyes don't count nats. (At the right end
$\beta_t$ is cut at 0.999: one step removes everything, and is weighted for it.)

The weights are gone, but not the answer. For every $t$ separately, a flexible enough network gets the same
optimum whatever positive weight stands in front. What is it? Write
$\varepsilon^\ast(x_t) = \mathbb E[\varepsilon \mid x_t]$, add and subtract it inside the square:

$$\mathbb E\|\varepsilon - \varepsilon_\theta\|^2 = \underbrace{\mathbb E\|\varepsilon -
\varepsilon^\ast\|^2}_{\text{no network can change this}} + \mathbb E\|\varepsilon^\ast -
\varepsilon_\theta\|^2. \tag{14.9}$$

The cross term vanishes: given $x_t$, both $\varepsilon_\theta$ and $\varepsilon^\ast$ are fixed, and
$\varepsilon - \varepsilon^\ast$ has mean zero by definition. So the best network returns **the mean of the
noise given the noisy picture**, and its loss is not zero. How far from zero? For a finite data set we can
compute it, and will, in section 14.8.

### Back to the picture
A guess of the noise is a guess of the picture, by (14.5) with $\varepsilon_\theta$ in place of
$\varepsilon$. But look at what happens to its error:

$$\hat x_0 - x_0 = -\frac{\sigma_t}{\alpha_t}\, \big(\varepsilon_\theta(x_t, t) - \varepsilon\big).
\tag{14.10}$$

**Before you read on.** At $t = 1000$ our $\sigma_t / \alpha_t$ is about 20,000. The guess of the noise is
off by one part in twenty, which is a good guess. What does $\hat x_0$ look like? And what is the one thing
you know about $x_0$ that repairs some of it?
"""

# %%
x0 = clean_held_out
noise = torch.randn(x0.shape, generator=seeded(2, device), device=device)
moments = torch.tensor([50.0, 200, 400, 600, 800, 900, 950, 990, 1000])

# (14.9), with the exact denoiser of 1,000 digits, and another guess beside it: half of the noisy picture
at = torch.full((1000,), 850.0, device=device)
x_t = path.add_noise(clean[:1000], noise, at)
exact = eps_hat(DatasetDenoiser(clean[:1000], path), x_t, at)
other = 0.5 * x_t
left = (noise - other).square().flatten(1).mean(1)
right = (noise - exact).square().flatten(1).mean(1) + (exact - other).square().flatten(1).mean(1)
verify_mean("14.9", left - right, 0.0)

# (14.10), with a guess of the noise that is off by 0.05 at every t
few, few_noise = x0[:50], noise[:50]
error = 0.05 * torch.randn(few.shape, generator=seeded(22, device), device=device)
error_raw, error_cut = [], []
for moment in moments.to(device):
    x_t, c = path.add_noise(few, few_noise, moment), path(moment).expand(few)
    x0_hat = EPS.to_x0(few_noise + error, x_t, c)
    if moment == 600:
        verify("14.10", x0_hat - few, -c.sigma / c.alpha * error, rtol=1e-4, over="pixels")
    error_raw.append((x0_hat - few).square().mean().sqrt().item())
    error_cut.append((x0_hat.clamp(few.min(), 1) - few).square().mean().sqrt().item())
assert error_raw[-1] > 500
assert 1 < error_cut[-1] < 2  # no better than black and white at random

figure, (ax,) = panels(1, 1, width=8.0, height=3.2)
ax.set_yscale("log")
curves = {"picture": error_raw, "picture, cut\nto its range": error_cut, "noise": [0.05] * len(moments)}
curve_panel(ax, moments, curves, xlabel="t", ylabel="root mean square error", colors=(SCORE, DATA, NOISE))
figure

# %% [markdown]
r"""
*The noise is guessed equally well at every $t$; the picture is lost on the right. Cut to the range of
pixels, its error stays finite, and the picture is lost all the same.*

Pixels have a range, so a mean of pixels lies in it, too, and the package's `Clipped` cuts $\hat x_0$ to it
before each step. That keeps sampling from being thrown far off. It does not bring back the picture. And it
is at these high noise levels that the first decision falls: which digit will it be? $L_\text{simple}$
hardly asks. At $t = 900$ an error of 0.05 in the noise is one of 0.3 in the picture.

### Ask for both
Think of $x_0$ and $\varepsilon$ as two directions at a right angle, and of $\alpha_t$ and $\sigma_t$ as a
cosine and a sine ($\alpha_t^2 + \sigma_t^2 = 1$). Then $x_t$ is the first direction, turned towards the
second. Turn the second by the same angle, and call it $v$. Turning both back gives what we want, **without
any division**:

$$v = \alpha_t\, \varepsilon - \sigma_t\, x_0, \qquad\qquad x_0 = \alpha_t\, x_t - \sigma_t\, v, \qquad
\varepsilon = \sigma_t\, x_t + \alpha_t\, v. \tag{14.11}$$
<!-- code 14.11: diffedu.core.prediction.V -->

So let the network return $v_\theta(x_t, t)$. It is still a noise predictor for whoever asks it for noise:
put $v_\theta$ for $v$. But its errors are now shared out by a sine and a cosine, $\varepsilon_\theta -
\varepsilon = \alpha_t (v_\theta - v)$ and $\hat x_0 - x_0 = -\sigma_t (v_\theta - v)$, and the squares of a
sine and a cosine add up to one:

$$\|v_\theta - v\|^2 = \|\varepsilon_\theta - \varepsilon\|^2 + \|\hat x_0 - x_0\|^2. \tag{14.12}$$

The first term is what $L_\text{simple}$ is paid for. The second is what it forgets. We train on the sum:

$$L_v = \mathbb E_{t,\, x_0,\, \varepsilon}\; \tfrac{1}{784} \big\|v - v_\theta(\alpha_t x_0 + \sigma_t
\varepsilon,\ t)\big\|^2, \qquad t \text{ uniform on } 1, \dots, 1000. \tag{14.13}$$
<!-- code 14.13: diffedu.core.loss.DenoisingLoss -->

Since $\|\varepsilon_\theta - \varepsilon\|^2 = \alpha_t^2\, \|v_\theta - v\|^2$, this is $L_\text{simple}$
with the weight $1/\alpha_t^2$ before each time: between 1 and 2 in the first half, and large where almost
no picture is left. (It is not the bound's weight, which is large at small $t$, too.) By (14.9) the best
answer stays the same. What changes is where the network spends its effort, and with a million parameters
and half an hour that matters; the mini-project measures how much. (Ho, Jain and Abbeel had many more of
both.) Here are the errors of the network that we will train:
"""

# %%
error_eps, error_x0, error_v = [], [], []
for moment in moments.to(device):
    x_t, c = path.add_noise(few, few_noise, moment), path(moment).expand(few)
    v = c.alpha * few_noise - c.sigma * few
    with torch.no_grad():
        v_guess = net(x_t, moment.expand(50), held_out.labels[:50])
    eps_guess, x0_guess = c.sigma * x_t + c.alpha * v_guess, c.alpha * x_t - c.sigma * v_guess
    if moment == 400:
        both = torch.stack([c.alpha * x_t - c.sigma * v, c.sigma * x_t + c.alpha * v])
        verify("14.11", both, torch.stack([few, few_noise]), over="pixels")
        torch.testing.assert_close(V.to_eps(v_guess, x_t, c), eps_guess)  # the package says so, too
        apart = (eps_guess - few_noise).square().sum() + (x0_guess - few).square().sum()
        verify("14.12", (v_guess - v).square().sum(), apart, rtol=1e-4)
    error_eps.append((eps_guess - few_noise).square().mean().sqrt().item())
    error_x0.append((x0_guess - few).square().mean().sqrt().item())
assert (
    error_x0[-1] < 0.7 * error_cut[-1]
)  # at pure noise it says the mean of all digits of the class, not rubble

figure, (ax,) = panels(1, 1, width=8.0, height=3.2)
curves = {"picture": error_x0, "noise": error_eps}
curve_panel(ax, moments, curves, xlabel="t", ylabel="root mean square error", colors=(DATA, NOISE))
figure

# %% [markdown]
r"""
*A network that returns $v$. From left to right the noise is guessed better and better, and the picture
worse; but it ends at a finite error, that of a blurred mean of its class.*

## 14.3 A U-Net from blocks

We need a function from a noisy picture, a time and a label to a picture. Let us see what it must be able to
do.

### Convolution: denoise by looking around
The simplest denoiser: each pixel becomes a fixed weighted sum of the pixels around it. That is a
convolution with one filter. The best filter for squared error can be computed by least squares, without
training. How large must the neighbourhood be?
"""

# %%
moment = torch.tensor(450.0)
other_noise = torch.randn(150, 1, 28, 28, generator=seeded(3, device), device=device)
noisy = path.add_noise(clean[:150], other_noise, moment)
noisy_held_out = path.add_noise(x0[:150], noise[:150], moment)


def patches(images, k):
    """The k x k neighbourhood of every pixel, and a 1: shape (B * 784, k * k + 1)."""
    columns = F.unfold(images, k, padding=k // 2).transpose(1, 2).reshape(-1, k * k)
    return torch.cat([columns, torch.ones_like(columns[:, :1])], dim=1)


filtered = {"clean": x0[:6], "noisy": noisy_held_out[:6]}
errors = {}
for k in (1, 3, 5, 9):
    rows, goal = patches(noisy, k), clean[:150].reshape(-1, 1)
    best = torch.linalg.solve(rows.T @ rows + 1e-3 * torch.eye(k * k + 1, device=device), rows.T @ goal)
    answer = (patches(noisy_held_out, k) @ best).reshape(150, 1, 28, 28)
    filtered[f"best {k} × {k} filter"] = answer[:6]
    errors[k] = (answer - x0[:150]).square().mean().item()
with torch.no_grad():
    answer = digits_ddpm.denoiser(net)(noisy_held_out, moment)  # no labels: they would help
filtered["this chapter's\nU-Net"] = answer[:6]
errors["U-Net"] = (answer - x0[:150]).square().mean().item()
assert errors[1] > errors[3] > errors[5] > errors[9] > 1.5 * errors["U-Net"]

image_rows(filtered, scale=0.6)

# %% [markdown]
r"""
*A filter blurs noise away, and strokes with it. From 5 × 5 to 9 × 9 little is gained. The network keeps
strokes sharp, and connects them.*

A filter is *local*, *linear* and the *same everywhere*. The last is right for pictures: a stroke is a
stroke wherever it stands, so one filter can learn from every position of every digit. The first two are too
little. Stack filters with a nonlinearity between, and a pixel's answer may depend on a larger surrounding
in a complicated way.

### How far does a pixel see?
Layer $l$ with a filter of size $k_l$, working on a picture that earlier layers have shrunk by the product
of their strides $s_i$, widens the view by $k_l - 1$ of *its* pixels. So one output pixel sees a square of
width

$$r = 1 + \sum_l (k_l - 1) \prod_{i < l} s_i. \tag{14.14}$$

With 3 × 3 filters at full size that is one more pixel to each side a layer: for one corner to see the other
takes 27 layers. The trick of the U-Net is in the product: **shrink the picture first**. Our way to shrink
loses nothing. *Folding* takes each block of 2 × 2 pixels and makes of it one position with four channels
(`pixel_unshuffle`; a filter of size 2 with stride 2 in the formula). We measure the view by
differentiating: which input pixels does the middle output pixel depend on?
"""


# %%
def view(f):
    """How strongly the middle pixel of f's output depends on each pixel of its input, shape (28, 28)."""
    x = torch.randn(1, 1, 28, 28, generator=seeded(4, device), device=device).requires_grad_()
    f(x)[0, 0, 14, 14].backward()
    return x.grad[0, 0].abs()


def stack(c_in, layers):
    """Convolutions 3 x 3 with nonlinearities, from c_in channels back to c_in."""
    widths = [c_in] + [16] * (layers - 1) + [c_in]
    return [m for a, b in pairwise(widths) for m in (nn.Conv2d(a, b, 3, padding=1), nn.SiLU())]


torch.manual_seed(0)
plain = nn.Sequential(*stack(1, 4)).to(device)
folded = nn.Sequential(nn.PixelUnshuffle(2), *stack(4, 4), nn.PixelShuffle(2)).to(device)
twice = nn.Sequential(nn.PixelUnshuffle(4), *stack(16, 2), nn.PixelShuffle(4)).to(device)
views = {
    "4 layers": view(plain),
    "4 layers, folded": view(folded),
    "2 layers, folded twice": view(twice),
    "this chapter's U-Net": view(lambda x: net(x, torch.tensor([300.0], device=device))),
}
widths = [float((seen.sum(0) > 0).sum()) for seen in views.values()]
verify("14.14", widths[:3], [1 + 4 * 2, 1 + 1 + 4 * 2 * 2, 1 + 1 + 2 + 2 * 2 * 4])
assert widths[3] == 28  # all of it

image = real.images[0, 0]
assert torch.equal(F.pixel_shuffle(F.pixel_unshuffle(image[None], 2), 2)[0], image)  # folding loses nothing

figure, axes = panels(1, 4, width=11.0, height=2.9)
for ax, (title, seen) in zip(axes, views.items()):
    strength = (seen / seen.max()).clamp(min=1e-6).log10().cpu()
    picture = ax.imshow(strength, cmap="Blues", vmin=-6, vmax=0)
    ax.set(title=title, xticks=[], yticks=[])
    ax.title.set_fontsize(11)
bar_axis = figure.colorbar(picture, ax=axes, shrink=0.8, ticks=[-6, -3, 0])
bar_axis.ax.set_yticklabels(["none", "0.001", "1"])
figure

# %% [markdown]
r"""
*What the middle pixel listens to, on a logarithmic scale. Folding doubles the reach of the same layers; the
U-Net hears the whole picture.*

Folding is also cheap: a convolution costs (positions × channels in × channels out × 9), so at half the size
the same filters cost a quarter.

### The residual block
Deep stacks train badly, because each layer must pass on all that later layers need. A residual block passes
its input on untouched, and only *adds* something:

$$h \leftarrow h + g\big(h, c\big), \qquad g = \text{conv}_2\big(\text{act}\big((1 + \text{scale}(c))
\odot \text{norm}(\text{conv}_1(\text{act}(\text{norm}(h)))) + \text{shift}(c)\big)\big). \tag{14.15}$$
<!-- code 14.15: diffedu.nn.unet.ResBlock -->

Three decisions stand in it.

- **Normalisation** (`GroupNorm`) gives each group of channels mean 0 and variance 1 for each picture by
  itself. Batch normalisation would use statistics of the batch, which mixes pictures of different noise
  levels, and makes a sample depend on its neighbours.
- **FiLM**: the condition $c$ (time and label, below) acts through a scale and a shift of every channel. The
  same filters are used at every noise level, but $c$ decides how loud each channel speaks. Mind the $1 +$:
  a condition that says nothing leaves everything as it is.
- **Zero-init**: the last convolution starts at zero, so a new block is exactly the identity. A new network
  of any depth is then as simple as one without blocks, and departs from that as far as the data ask.
"""


# %%
class Block(nn.Module):
    def __init__(self, c_in, c_out, c_condition):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.modulate = nn.Linear(c_condition, 2 * c_out)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, h, condition):
        scale, shift = self.modulate(condition)[:, :, None, None].chunk(2, dim=1)
        y = self.conv1(F.silu(self.norm1(h)))
        y = (1 + scale) * self.norm2(y) + shift
        return self.skip(h) + self.conv2(F.silu(y))


h, condition = torch.randn(4, 32, 14, 14, generator=seeded(5)), torch.randn(4, 24, generator=seeded(6))
new = Block(32, 32, 24)
assert torch.equal(new(h, condition), h)  # zero-init: the identity, exactly

theirs = ResBlock(32, 48, 24)
nn.init.normal_(theirs.conv2.weight, std=0.05)  # as if trained: at zero, half of the block would go unseen
mine = Block(32, 48, 24)
mine.load_state_dict(theirs.state_dict())
verify("14.15", mine(h, condition), theirs(h, condition), over="values")

# %% [markdown]
r"""
**Can zero weights learn?** A favourite worry: "everything is zero, so all gradients are zero". Not so. The
gradient of a weight is (what comes in) × (what is asked of its output). What comes into `conv2` is not
zero. But the gradient of all that stands *before* `conv2` has to pass through its zeros: in the first step
only `conv2` moves, in the second everything does. And the price of *not* starting at zero can be seen, too.
"""

# %%
new(h, condition).square().mean().backward()
assert new.conv1.weight.grad.norm() == 0 < new.conv2.weight.grad.norm()  # the first step
torch.optim.SGD(new.parameters(), lr=0.1).step()
new.zero_grad()
new(h, condition).square().mean().backward()
assert new.conv1.weight.grad.norm() > 0  # the second

spread = {"zero-init": [], "PyTorch's init": []}
for name in spread:
    torch.manual_seed(0)
    y = h
    with torch.no_grad():
        for _ in range(60):
            block = Block(32, 32, 24)
            if name != "zero-init":
                block.conv2.reset_parameters()
            y = block(y, condition)
            spread[name].append(((y - h).square().mean() / h.square().mean()).item())
assert max(spread["zero-init"]) == 0
assert spread["PyTorch's init"][-1] > 1

figure, (ax,) = panels(1, 1, width=7.5, height=2.8)
curve_panel(
    ax,
    range(1, 61),
    spread,
    xlabel="blocks, all untrained",
    ylabel="change / signal\n(mean squares)",
    colors=(DATA, SCORE),
)
figure

# %% [markdown]
r"""
*Untrained blocks of the usual kind pile up arbitrary changes; after enough of them what comes out has more
to do with the dice than with the picture.*

### Telling the network the time
The network must know how much noise there is: at $t = 10$ it should touch nothing, at $t = 900$ it should
dream. A single number is a poor input, since a layer can only scale it. So we hand over many functions of
it, waves from slow to fast:

$$e(t) = \big[\sin(\omega_1 u), \dots, \sin(\omega_{64} u),\ \cos(\omega_1 u), \dots, \cos(\omega_{64}
u)\big], \qquad u = t/1000, \quad \omega_i = 2\pi \cdot \tfrac14 \cdot 640^{(i-1)/63}. \tag{14.16}$$
<!-- code 14.16: diffedu.nn.embed.FourierTime -->

Slow waves tell early from late, fast ones tell neighbours apart, as the hour and the second hand of a clock
do.
"""


# %%
class Waves(nn.Module):
    def forward(self, t):
        omega = 2 * torch.pi * 0.25 * 640 ** (torch.arange(64, device=t.device) / 63)
        angle = t[:, None] / 1000 * omega
        return torch.cat([angle.sin(), angle.cos()], dim=1)


moments = torch.arange(0.0, 1001.0)
clock = Waves()(moments)
verify("14.16", clock, FourierTime(128, t_max=1000.0)(moments), rtol=2e-4)

figure, (ax, beside) = panels(1, 2, width=9.0, height=3.0)
ax.imshow(clock[::4, ::4].T, aspect="auto", cmap="RdBu", interpolation="nearest", extent=(0, 1000, 128, 0))
ax.set(xlabel="t", ylabel="entry of e(t)", title="sines above, cosines below (every 4th)")
ax.grid(False)
beside.plot(moments, clock @ clock[500] / 64, color=INK)
beside.set(xlabel="t", ylabel="e(t) · e(500) / 64", title="how alike are e(t) and e(500)?", ylim=(-0.3, 1.1))
figure

# %% [markdown]
r"""
*Left: a column is one time's fingerprint. Right: fingerprints of near times are alike, of far times are
not; so what is learned at one time helps its neighbours.*

### Attention: let far parts talk
After folding twice there are $7 \times 7 = 49$ positions. At this size we can afford to let every position
look at every other and take what it needs: a loop at the top asks what stands below (a 9 or a 3?). Each
position sends out a query $q$, a key $k$ and a value $v$, all linear in its channels; with $d$ channels a
head,

$$y_i = \sum_j a_{ij}\, v_j, \qquad a_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt d)}{\sum_l \exp(q_i \cdot
k_l / \sqrt d)}. \tag{14.17}$$
<!-- code 14.17: diffedu.nn.unet.SelfAttention -->

The root keeps the exponents of order one: a sum of $d$ products of unit variance has variance $d$. The cost
grows with the square of the number of positions: $49^2 = 2{,}401$ pairs here, $784^2 = 614{,}656$ at full
size. That is why attention sits at the bottom of the U.
"""


# %%
class Attention(nn.Module):
    def __init__(self, channels, head_width=32):
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(8, channels), channels // head_width
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def look(self, h):
        """Where each position looks, shape (B, heads, 49, 49), and the values, (B, heads, 49, d)."""
        qkv = self.qkv(self.norm(h)).unflatten(1, (3, self.heads, -1))  # (B, 3, heads, d, 7, 7)
        q, k, v = qkv.flatten(-2).transpose(-1, -2).unbind(1)
        return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1), v

    def forward(self, h):
        a, v = self.look(h)
        return h + self.out((a @ v).transpose(-1, -2).reshape(h.shape))


theirs, mine = SelfAttention(64), Attention(64)
nn.init.normal_(theirs.out.weight, std=0.1)
mine.load_state_dict(theirs.state_dict())
h = torch.randn(3, 64, 7, 7, generator=seeded(8))
verify("14.17", mine(h), theirs(h))

# %% [markdown]
r"""
### All of it
Down, bottom, up; and a **skip connection** that carries the fine picture from the way down to the way up,
past the bottom. Why is it needed? The way down packs $14 \times 14 \times 48$ numbers into
$7 \times 7 \times 128$: a third has to go. Without a bridge every pixel's noise would have to
squeeze through.

The whole network, with the blocks above, in the order in which they are used:
"""


# %%
class SmallUNet(nn.Module):
    def __init__(self, w=48, low=128, c=192):
        super().__init__()
        self.time = nn.Sequential(Waves(), nn.Linear(128, c), nn.SiLU(), nn.Linear(c, c))
        self.label = nn.Embedding(11, c)  # ten classes, and number 10 for "any"
        self.enter = nn.Conv2d(4, w, 3, padding=1)
        self.down_high = nn.ModuleList([Block(w, w, c)])
        self.shrink = nn.Conv2d(4 * w, low, 1)
        self.down_low = nn.ModuleList([Block(low, low, c)])
        self.attention = Attention(low)
        self.up_low = nn.ModuleList([Block(low, low, c)])
        self.grow = nn.Conv2d(low, 4 * w, 1)
        self.up_high = nn.ModuleList([Block(2 * w, w, c), Block(w, w, c)])
        self.norm, self.leave = nn.GroupNorm(8, w), nn.Conv2d(w, 4, 3, padding=1)

    def forward(self, x_t, t, label, bridge=1.0):
        condition = F.silu(self.time(t) + self.label(label))
        h = detail = self.down_high[0](self.enter(F.pixel_unshuffle(x_t, 2)), condition)  # 14 x 14
        h = self.down_low[0](self.shrink(F.pixel_unshuffle(h, 2)), condition)  # 7 x 7
        h = self.up_low[0](self.attention(h), condition)
        h = torch.cat([F.pixel_shuffle(self.grow(h), 2), bridge * detail], dim=1)  # 14 x 14 again
        for block in self.up_high:
            h = block(h, condition)
        return F.pixel_shuffle(self.leave(F.silu(self.norm(h))), 2)  # 28 x 28


ours = SmallUNet().to(device)
ours.load_state_dict(net.state_dict())  # the shipped weights fit, name by name
x_t, at = path.add_noise(x0[:10], noise[:10], torch.tensor(300.0)), torch.full((10,), 300.0, device=device)
with torch.no_grad():
    torch.testing.assert_close(ours(x_t, at, ten), net(x_t, at, ten), rtol=1e-3, atol=1e-3)
print(f"{sum(p.numel() for p in ours.parameters()):,} parameters, and the same output as diffedu.nn.UNet")

# %% [markdown]
r"""
**Break it.** In the trained network we cut the bridge (`bridge=0`), leave all else, and ask for the clean
picture. What will be missing?
"""

# %%
at_150, at_500 = (torch.full((10,), moment, device=device) for moment in (150.0, 500.0))
rows = {}
with torch.no_grad():
    for at in (at_150, at_500):
        x_t, c = path.add_noise(x0[:10], noise[:10], at), path(at).expand(x0[:10])
        rows[f"noisy, t = {at[0]:.0f}"] = x_t
        errors = []
        for name, bridge in (("whole network", 1.0), ("bridge cut", 0.0)):
            guess = ours(x_t, at, held_out.labels[:10], bridge=bridge)
            rows[name + " " * len(rows)] = V.to_x0(guess, x_t, c)
            errors.append((V.to_eps(guess, x_t, c) - noise[:10]).square().mean())
        assert errors[1] > 3 * errors[0]

image_rows({name: images[:6] for name, images in rows.items()}, scale=0.6)

# %% [markdown]
r"""
*What came through the bottom is not enough to tell noise from picture, pixel by pixel.*

To be fair: this network was trained *with* the bridge and relies on it. One trained without would find
another way, and end up with a higher loss; the mini-project at the end measures how much.

Where does the bottom look? Below, a noisy digit, and for three of the 49 positions (crosses) how much
attention they pay to each position, averaged over heads.
"""

# %%
trace = {}
ours.attention.register_forward_pre_hook(lambda module, inputs: trace.update(h=inputs[0]))
x_t = path.add_noise(x0[:1], noise[:1], torch.tensor(300.0))
with torch.no_grad():
    ours(x_t, torch.full((1,), 300.0, device=device), held_out.labels[:1])
    looks = ours.attention.look(trace["h"])[0][0].mean(0).cpu()  # (49, 49)
assert torch.allclose(looks.sum(1), torch.ones(49))

figure, axes = panels(1, 4, width=10.0, height=2.8)
axes[0].imshow(montage(x_t, columns=1, gap=0))
for ax, (i, j) in zip(axes[1:], [(1, 3), (3, 3), (5, 2)]):
    ax.imshow(looks[7 * i + j].reshape(7, 7), cmap="Blues", vmin=0)
    ax.plot(j, i, "x", color=SCORE, markersize=11, markeredgewidth=2.5)
for ax, title in zip(axes, ["noisy digit", "from the top", "from the middle", "from below"]):
    ax.set(title=title, xticks=[], yticks=[])
figure

# %% [markdown]
r"""
## 14.4 Which digit? Labels, sometimes hidden

The label enters where the time does: a learned vector for each class is added to the time's vector. An
eleventh vector stands for "any". In training, one label in ten is replaced by it, at random. So one network
learns two things, digits of a class and digits at large. Sampling with the label uses the first. The
difference of the two is what guidance lives on (chapters 12 and 15).

**A margin for the paper.** One detail concerns the data. Four pixels in five are paper, exactly $-1$. We
show them to the network as $-1.1$ (`encode`), and cut what it draws to $[-1, 1]$ (`decode`). Nothing is
lost by that. What is gained will be seen in section 14.8.

The complete training objective, in the chapter's own words, is then this function. It draws in the same
order as the recipe's, so with the same generator the two must agree.
"""


# %%
def loss(net, batch, generator):
    images, labels = batch
    hidden = torch.rand(len(labels), generator=generator, device=labels.device) < 0.1
    labels = torch.where(hidden, 10, labels)
    t = torch.randint(1, 1001, (len(images),), generator=generator, device=images.device).float()
    eps = torch.randn(images.shape, generator=generator, device=images.device)
    x0 = torch.where(images <= -1, -1.1, images)  # encode: a margin for the paper
    alpha, sigma, *_ = path(t).expand(x0)
    v = alpha * eps - sigma * x0
    return (net(alpha * x0 + sigma * eps, t, labels) - v).square().flatten(1).mean(1)  # (14.13)


batch = (real.images[:64], real.labels[:64])
with torch.no_grad():
    torch.testing.assert_close(
        loss(net, batch, seeded(9, device)), digits_ddpm.loss(net, batch, seeded(9, device))
    )
    fresh = digits_ddpm.build(device)  # zero-init: returns 0, whatever it is shown
    verify_mean("14.8", DenoisingLoss(path, EPS)(fresh, clean[:300], seeded(10, device)), 1.0)
    share = path.alpha_bar[1:].mean()  # of alpha^2, over all times
    start_loss = share + (1 - share) * clean.double().square().mean().cpu()
    start_losses = torch.cat([loss(fresh, batch, seeded(k, device)) for k in range(30)])
    verify_mean("14.13", start_losses, start_loss)

# %% [markdown]
r"""
A fresh network says 0. For a loss of noise it pays the variance of the noise: 1. For the loss of $v$ it
pays $\mathbb E\,[\alpha_t^2 + \sigma_t^2\, x_0^2]$, a number that the data give, here 1.05. That
is the number to beat, and a first test of any training code: **a loss that starts anywhere else betrays a
mistake.**

## 14.5 A running average of the weights

Every step of training follows a random batch at random noise levels, so the weights jitter around where
they are heading. Keep a second copy that follows slowly:

$$\bar\theta \leftarrow d\, \bar\theta + (1 - d)\, \theta. \tag{14.18}$$
<!-- code 14.18: diffedu.train.ema.EMA -->

Unrolled over $n$ steps from $\bar\theta_0 = \theta_0$, it is a weighted mean of all weights so far, the
newest first, with a memory of about $1 / (1 - d)$ steps:

$$\bar\theta_n = d^n\, \theta_0 + (1 - d) \sum_{k=0}^{n-1} d^k\, \theta_{n-k}. \tag{14.19}$$

The first term is a trap: after few steps a slow average still consists mainly of the random start. So the
package lets $d$ grow, $d_n = \min(d, \tfrac{1+n}{10+n})$.
"""

# %%
walk = torch.randn(400, generator=seeded(11), dtype=torch.float64).cumsum(0)  # theta_0 ... theta_399
average = walk[0]
for theta in walk[1:]:
    average = 0.95 * average + (1 - 0.95) * theta
powers = 0.95 ** torch.arange(399, dtype=torch.float64)
verify("14.19", 0.95**399 * walk[0] + 0.05 * (powers * walk[1:].flip(0)).sum(), average)

follower, follows = (
    EMA(nn.Linear(1, 1, bias=False).double(), decay=0.95),
    nn.Linear(1, 1, bias=False).double(),
)
with torch.no_grad():
    expected = follower.net.weight.clone()
    for n, theta in enumerate(walk, 1):
        follows.weight.fill_(theta)
        follower.update(follows)
        d = min(0.95, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * theta
verify("14.18", expected, follower.net.weight)

# %% [markdown]
r"""
## 14.6 Train it, now

Nothing is left but to do it: less than a minute on two cores. To get somewhere in a minute, this network has
fewer channels, sees 32 digits a step, and learns and averages faster; the loss and the data are the same.
Every 100 steps we take the loss on 128 held-out digits with *always the same* times and noises, so that two
values can be compared: for the weights being trained, and for their average. Three times the average draws
ten digits from *always the same* noise.

**Before you run it:** what will be learned first, the shapes of digits or the fact that paper is white?
"""

# %%
config = TrainConfig(steps=1000, batch=32, lr=3e-3, warmup=30, ema=0.99, seed=0)
state = TrainState(digits_ddpm.build(device, config=UNetConfig(width=32, low_width=64)), config)
examiner = held_out.images[:128], held_out.labels[:128]


@torch.no_grad()
def examine(net):
    return loss(net.eval(), examiner, seeded(12, device)).mean().item()


def draw(net, labels):
    start = start_noise(path, (len(labels), 1, 28, 28), seeded(3, device))
    times = trailing_times(path, 25, device=device)
    made = sample(digits_ddpm.denoiser(net, labels), Ancestral(), start, times, generator=seeded(4, device))
    return decode(made)


stages = {"0 steps": draw(state.ema.net, ten)}
losses, exams = [], [(0, examine(state.net), examine(state.ema.net))]
for progress in tqdm(train(state, loss, tuple(real)), total=config.steps):
    losses.append(progress.loss)
    if progress.step % 100 == 0:
        exams.append((progress.step, examine(state.net), examine(state.ema.net)))
    if progress.step in (100, 400, 1000):
        stages[f"{progress.step} steps"] = draw(state.ema.net, ten)
assert exams[0][1] > 0.9
assert exams[-1][2] < 0.14

image_rows(stages, scale=0.55)

# %% [markdown]
r"""
*First the paper turns white, then there are strokes, then some strokes are digits. A minute ago this
network knew nothing.*
"""

# %%
at_step, trained, averaged = (list(column) for column in zip(*exams))
middle = slice(2, 9)  # from step 200 to step 800
assert sum(averaged[middle]) < sum(trained[middle])  # the average is better while the weights still jitter
assert abs(averaged[-1] - trained[-1]) < 0.01  # the learning rate has gone to 0, and with it the jitter

figure, (ax,) = panels(1, 1, width=8.0, height=3.3)
ax.set_yscale("log")
ax.plot(range(1, len(losses) + 1), losses, color="#D0D0D0", linewidth=1)
ax.text(300, 0.2, "grey: loss of each batch", color="#777777")
curve_panel(
    ax,
    at_step,
    {"weights": trained, "their average": averaged},
    xlabel="step",
    ylabel="loss",
    colors=(SCORE, DATA),
)
figure

# %% [markdown]
r"""
*Held-out loss. The average is better while the weights still jitter. As the learning rate falls to zero,
they meet.*

The loss falls from 1 to a quarter in a hundred steps, and then crawls. Most of what you would call quality
happens in the crawl: compare the rows of pictures above with the flat part of this curve. Remember it when
you watch a loss: it is nearly blind to what you want.

## 14.7 The same, longer

The full recipe, 10,500 steps, takes about half an hour on two idle cores, and its four reports some ten
minutes: `python -m diffedu train digits-ddpm`. Its weights ship with the book, in half precision. With
`DIFFEDU_FULL=1` this cell trains them from scratch instead, and goes on where it stopped if you interrupt
it.
"""

# %%
if os.environ.get("DIFFEDU_FULL"):
    log = digits_ddpm.run(Path("digits-ddpm"), device=device)
    net = digits_ddpm.load(Path("digits-ddpm"), device)
else:
    net = digits_ddpm.load(device=device)
    log = shipped_log("digits-ddpm")
assert examine(net) < exams[-1][2]

# %% [markdown]
r"""
### Sampling, written out
Ancestral sampling puts the network's guess $\hat x_0$ where the true $x_0$ stood in (14.4), takes that
mean, and adds noise. We go from $t$ to any earlier $s$, not only to $t - 1$, so $\beta$ becomes the noise
added between the two, $\beta_{t|s} = \sigma_t^2 - (\alpha_t/\alpha_s)^2 \sigma_s^2$:

$$x_s = \frac{\alpha_s\, \beta_{t|s}}{\sigma_t^2}\, \hat x_0 + \frac{\alpha_t\, \sigma_s^2}{\alpha_s\,
\sigma_t^2}\, x_t + \frac{\sigma_s}{\sigma_t} \sqrt{\beta_{t|s}}\; z, \qquad z \sim \mathcal N(0, I).
\tag{14.20}$$
<!-- code 14.20: diffedu.sampling.ancestral.Ancestral -->

Note the standard deviation, not the variance, in front of $z$. And note the last step: it goes to $s = 0$,
where $\sigma_s = 0$. The noise vanishes by itself, no `if` needed. Printed algorithms need one, and often
get it wrong: exercise 14.8 is one of them.
"""


# %%
@torch.no_grad()
def ancestral(denoiser, x, times, generator):
    for t, s in pairwise(times):
        alpha_t, sigma_t, *_ = denoiser.path(t)
        alpha_s, sigma_s, *_ = denoiser.path(s)
        beta = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
        x0_hat = denoiser(x, t)
        mean = alpha_s * beta / sigma_t**2 * x0_hat + alpha_t / alpha_s * (sigma_s / sigma_t) ** 2 * x
        z = torch.randn(x.shape, generator=generator, device=x.device)
        x = mean + sigma_s / sigma_t * beta.sqrt() * z
    return x


times = trailing_times(path, 20, device=device)
start = start_noise(path, (10, 1, 28, 28), seeded(13, device))
of_each_class = digits_ddpm.denoiser(net, ten)
by_hand = ancestral(of_each_class, start, times, seeded(14, device))
by_package = sample(of_each_class, Ancestral(), start, times, generator=seeded(14, device))
verify("14.20", by_hand, by_package, rtol=1e-2, over="pixels")

# %% [markdown]
r"""
A filmstrip: what the state looks like on the way, and what the network believes at that moment.
"""

# %%
grid = trailing_times(path, 25, device=device)
three = torch.tensor([3, 5, 8], device=device)
believes = digits_ddpm.denoiser(net, three)
strip = list(
    trajectory(
        believes,
        Ancestral(),
        start_noise(path, (3, 1, 28, 28), seeded(15, device)),
        grid,
        generator=seeded(16, device),
    )
)
chosen = [0, 5, 8, 10, 13, 17, 21, 24]
rows = {}
for k, digit in enumerate(three.tolist()):
    rows[f"x_t of a {digit}"] = torch.stack(
        [strip[i][1][k] / max(1.0, strip[i][1].abs().max().item() / 2) for i in chosen]
    )
    with torch.no_grad():
        rows[f"its x0_hat{' ' * k}"] = torch.stack([believes(strip[i][1], strip[i][0])[k] for i in chosen])
image_rows(rows, titles=[f"{strip[i][0]:.0f}" for i in chosen], scale=0.56)

# %% [markdown]
r"""
*Time runs from left to right, t above the columns. The guess begins as a grey ghost, the mean of all digits
that are still possible, and becomes one digit as the possibilities fall away.*

Here are digits by class, with the ancestral sampler and with DDIM from the same start noise, 25 steps each.
DDIM (chapter 8) replaces the fresh noise by the noise that it believes is there:

$$x_s = \alpha_s\, \hat x_0 + \sigma_s\, \hat\varepsilon, \qquad \hat\varepsilon = \frac{x_t -
\alpha_t\, \hat x_0}{\sigma_t}. \tag{14.21}$$
<!-- code 14.21: diffedu.sampling.ancestral.DDIM -->
"""

# %%
wanted = torch.arange(200, device=device) % 10
start = start_noise(path, (200, 1, 28, 28), seeded(17, device))
denoiser = digits_ddpm.denoiser(net, wanted)
latent = {
    "DDIM": sample(denoiser, DDIM(), start, grid),
    "ancestral": sample(denoiser, Ancestral(), start, grid, generator=seeded(18, device)),
}

alpha_s, sigma_s, *_ = path(grid[1])
with torch.no_grad():
    one_step, _ = DDIM().step(denoiser, start, grid[0], grid[1], (), start)
    by_hand = alpha_s * denoiser(start, grid[0]) + sigma_s * eps_hat(denoiser, start, grid[0])
verify("14.21", by_hand, one_step, rtol=1e-4, over="pixels")

made = {name: decode(images) for name, images in latent.items()}
by_class = {str(c): torch.cat([images[wanted == c][:5] for images in made.values()]) for c in range(10)}
titles = ["", "", "DDIM", "", "", "", "", "ancestral", "", ""]
image_rows(by_class, titles=titles, scale=0.42)

# %% [markdown]
r"""
*Left half DDIM, right half ancestral, a row for each class.* Is the one better than the other? And are any
of them good? Eyes are kind judges. We need an instrument.

## 14.8 How good? Numbers beside their floors

### The instrument
A small classifier, trained once on the 9,000 real digits, and never changed again:
`diffedu.recipes.digits_classifier`. It does two things.

- **Class accuracy.** We asked for a 7; does the classifier read a 7? Beside it: how often it reads *real*
  held-out digits right. Nothing can be expected to beat that by much, and a model that draws only the most
  boring 7 would. So accuracy measures obedience, not variety.
- **Fréchet distance.** The 64 numbers before the classifier's last layer describe a digit. Over many digits
  they form a cloud; take its mean $\mu$ and covariance $\Sigma$, for real and generated digits. The
  distance between two Gaussians with these moments is

$$\mathrm{FD} = \|\mu_1 - \mu_2\|^2 + \mathrm{tr}\,\Sigma_1 + \mathrm{tr}\,\Sigma_2 -
2\,\mathrm{tr}\big(\Sigma_1^{1/2}\, \Sigma_2\, \Sigma_1^{1/2}\big)^{1/2}. \tag{14.22}$$
<!-- code 14.22: diffedu.evaluate.metrics.frechet_between_gaussians -->

Variety counts here: a model that always draws the same 7 has too small a $\Sigma$. With diagonal
covariances, (14.22) is $\|\mu_1 - \mu_2\|^2$ plus a sum over axes of $(\sqrt{a_i} - \sqrt{b_i})^2$, which
is our check.

A Fréchet distance alone means nothing. It depends on the features and on the number of samples, and is
positive even between two halves of the *same* real data. So it always comes with its **floor**, real
against other real digits at the same count, and with its **ceiling**, noise against real.
"""

# %%
a, b, mu = torch.rand(3, 64, generator=seeded(19), dtype=torch.float64)
diagonal = mu.square().sum() + (a.sqrt() - b.sqrt()).square().sum()
verify("14.22", frechet_between_gaussians(mu, a.diag(), torch.zeros_like(mu), b.diag()), diagonal, rtol=1e-6)

classifier = digits_classifier.load(device=device)
n = len(wanted)
reference = features(classifier, real.images[:4000])
static = torch.rand(n, 1, 28, 28, generator=seeded(20, device), device=device) * 2 - 1
minute = draw(state.ema.net, wanted)
with torch.no_grad():
    minute_ddim = decode(sample(digits_ddpm.denoiser(state.ema.net, wanted), DDIM(), start, grid))
sets = {
    "real": (real.images[4000 : 4000 + n], real.labels[4000 : 4000 + n]),
    "DDIM": (made["DDIM"], wanted),
    "ancestral": (made["ancestral"], wanted),
    "our minute": (minute, wanted),
    "our minute, DDIM": (minute_ddim, wanted),
    "random pixels": (static, wanted),
}
distance = {
    name: frechet_distance(features(classifier, images), reference) for name, (images, _) in sets.items()
}
right = {name: accuracy(classifier, images, labels).value for name, (images, labels) in sets.items()}
right["real"] = accuracy(classifier, *held_out).value  # digits that the classifier has not seen

assert right["real"] >= 0.985  # the instrument works
assert max(distance["DDIM"], distance["real"]) < distance["our minute"] < distance["random pixels"]
assert min(right["DDIM"], right["ancestral"]) > right["our minute"] > right["our minute, DDIM"]

figure, (left, middle) = panels(1, 2, width=11.0, height=3.0)
colors = [NOISE, DATA, DATA, EXTRA, EXTRA, NOISE]
for ax, values, form in ((left, distance, "{:.1f}"), (middle, right, "{:.1%}")):
    names = list(values)[::-1]
    bars = ax.barh(names, [values[name] for name in names], color=colors[::-1])
    ax.set_axisbelow(True)
    ax.bar_label(bars, [" " + form.format(values[name]) for name in names])
left.set(xscale="log", xlim=(0.5, 200_000), xlabel=f"Fréchet distance, {n} digits (log; lower is better)")
middle.set(xlim=(0, 1.2), xlabel="classifier reads the wanted class", yticklabels=[])
figure

# %% [markdown]
r"""
*Grey: floor and ceiling. Blue: the shipped model. Yellow: the model that we trained in a minute.*

Read the left panel from both ends. Against the ceiling, even our minute looks splendid, as would nearly
anything: **a ratio to noise says nothing.** What counts is the distance from the floor. With 200 samples it
is a coarse measure: floor and value both shrink with more, and two bars of nearly equal length can't be told
apart.

Now the question from above, DDIM or ancestral? For the weak network the answer is plain: with the ancestral
sampler it does better. DDIM carries every early error along to the end, since it adds back the very noise
that it believed in. Fresh noise drowns part of an old error, and the network gets another chance. The better
the network, the smaller the difference; with an exact one, and fine steps, there would be none.

The recipe's own report uses 4,000 samples, drawn by ancestral sampling in 25 steps. It was taken during
training, and stands in the log that ships beside the weights. The last column is a foretaste of chapters 12
and 15: *guidance* asks the network twice, with the label and without, and goes a tenth further in the
direction in which the label pulls.
"""

# %%
names = [
    "class accuracy",
    "Frechet distance",
    "trained on generated",
    "two-sample test",
    "nearest training digit",
]
plain = [row for row in log["rows"] if row["guidance_scale"] == 1]
last, guided = plain[-1], log["rows"][-1]
print(f"after {last['step']} steps, from {log['samples']} digits of {log['steps per sample']} steps each:")
print(f"{'':24}{'real digits':>13}{'generated':>12}{'guided':>9}")
for name in names:
    print(f"{name:24}{last[name]['floor']:13.3f}{last[name]['value']:12.3f}{guided[name]['value']:9.3f}")

figure, axes = panels(1, 5, width=12.5, height=2.9)
for ax, name in zip(axes, names):
    values = [row[name]["value"] for row in plain]
    ax.plot([row["minutes"] for row in plain], values, "o-", color=DATA)
    ax.plot(guided["minutes"], guided[name]["value"], "D", color=GUIDED)
    ax.axhline(last[name]["floor"], color=NOISE, linestyle="--")
    ax.set_title(name, fontsize=10.5)
    ax.set_xlabel("minutes of training")
axes[1].set_yscale("log")
figure

# %% [markdown]
r"""
*Blue: the model as it trains. Diamond: the finished one, guided. Dashed: real digits in the same test.*
(Minutes are reckoned for two idle cores, without the time spent on the reports.)

Four things to read off. The Fréchet distance ends *below* its floor. One likely reason: the 4,000 digits it
is measured against are training digits, which the model has seen, and the floor is scored by other ones.
"At the floor" is all it can say. Class accuracy lags behind: some digits are not quite what was asked for.
Guidance mends more than half of that, at a price: the Fréchet distance rises to just above its floor, and
the digits move a little nearer to the training set. And the two-sample test still finds the model out, a
little more often than chance; guidance does not help there. The last three tests, in words:

- **Trained on generated.** A classifier is trained on generated digits only, and read out on real ones.
  Were a class missing or a style absent, it would show here. Floor: the same classifier trained on as many
  real digits.
- **Two-sample test.** A network is trained to tell generated from real digits, both put on the 8-bit grid
  of real pixels first, and scored on fresh ones. 50 % means that it cannot. It is the hardest of the five:
  any systematic trace, however invisible, gives the forger away.
- **Nearest training digit.** The median distance from a digit to the closest training digit. Now *small* is
  suspicious.

### An invisible trace
Here is such a trace, and what section 14.4 did about it. A network is never exact. For most pixels an error
of one grey level in 255 does not matter. But paper is paper: in a scanned digit it is exactly 0, in four
pixels of five. Were it at the edge of what `decode` keeps, then every guess a little above the edge would
come out as grey level 1, 2 or 3. Below are three rows with the contrast turned up, until level 4 of 255
looks like ink: real digits, what the network drew if its paper is taken as it comes (more than three in ten
of its paper pixels would miss 0), and what `decode` makes of it.
"""

# %%
levels = (latent["ancestral"] - digits_ddpm.PAPER) * 127.5  # grey levels above the network's own paper
paper = levels < 0.1 * 127.5 / 2  # nearer to its paper than to the darkest paper that would be seen
soiled = (levels[paper] > 0.5).double().mean()  # would be written as another level, were it not cut
assert soiled > 0.3
without_margin = torch.where(paper, levels, (latent["ancestral"] + 1) * 127.5).clamp(0, 255).round()
with_margin = ((made["ancestral"] + 1) * 127.5).round()
scanned = ((real.images + 1) * 127.5).round()
grey = {
    "real": scanned[:200],
    "no margin": without_margin,
    "with margin": with_margin,
}
share = {name: ((x > 0) & (x < 4)).double().mean().item() for name, x in grey.items()}
assert share["no margin"] > 10 * share["real"]
assert share["no margin"] > 50 * share["with margin"]

image_rows({name: (x[:10] / 4).clamp(0, 1) * 2 - 1 for name, x in grey.items()}, scale=0.6)

# %% [markdown]
r"""
*Contrast turned up until level 4 of 255 looks like ink. Without the margin the paper is soiled. An eye
misses it; a network that is trained to look need not.*

The cure costs one line. It has a general form: **when a test finds your samples out, look for the
difference that a machine would look for.** It is often not the one that you care about.

### Is it copying?
The exact denoiser was a photocopier. Is ours? For each generated digit we find the nearest of the 9,000
training digits; and, because "near" means nothing by itself, we do the same for real digits that were held
out.
"""

# %%
generated = quantise(made["ancestral"])  # as it would be saved: 8 bits
nearest = nearest_neighbours(generated, real.images)
fresh = nearest_neighbours(held_out.images, real.images)
gap, gap_fresh = nearest.distances.median().item(), fresh.distances.median().item()
assert gap > 0.8 * gap_fresh  # not nearer to the training set than new handwriting is

closest = nearest.distances[:, 0].argsort()[:10].tolist()  # the ten most suspicious, and ten as they come
shown = closest + list(range(10))
image_rows(
    {
        "generated": generated[closest],
        "nearest real": real.images[nearest.indices[closest, 0]],
        "generated ": generated[:10],
        "nearest real ": real.images[nearest.indices[:10, 0]],
    },
    titles=[f"{nearest.distances[i, 0]:.1f}" for i in closest],
    scale=0.56,
)

# %% [markdown]
r"""
*Above: the ten that are closest to a training digit, with their distances. Below: ten as they come.* The
closest are mostly ones: there are only so many ways to draw a line. Here is the whole distribution, beside
that of real digits which the model has never seen.
"""

# %%
figure, (ax,) = panels(1, 1, width=8.0, height=2.9)
edges = torch.linspace(0, 18, 37).tolist()
ax.hist(fresh.distances[:, 0].cpu(), edges, density=True, color=NOISE, alpha=0.6)
ax.hist(nearest.distances[:, 0].cpu(), edges, density=True, histtype="step", color=DATA, linewidth=2)
ax.text(0.3, 0.13, "generated", color=DATA)
ax.text(0.3, 0.155, "real, held out", color="#666666")
ax.axvline(0, color=SCORE, linewidth=3)
ax.text(0.3, 0.02, "a photocopier", color=SCORE)
ax.set(xlabel="distance to the nearest training digit", ylabel="density", xlim=(0, 18))
figure

# %% [markdown]
r"""
*A copying model would stand at zero. Ours stands where new handwriting stands.*

This rules out copies of whole pictures. It does not rule out copies of parts, and Euclidean distance is
fooled by a shift of one pixel. For photographs one compares features, not pixels, and looks at the closest
pairs by eye, as above.

### To what does the loss converge?
Not to zero. By (14.9) the error of the noise stops at $\mathbb E\|\varepsilon - \varepsilon^\ast\|^2$ at
each $t$ (and that of $v$ at this over $\alpha_t^2$), and for our 9,000 digits the exact $\varepsilon^\ast$
is at hand: the table of section 14.1. So we know what the best possible error of the noise on training
digits is, at every $t$.

**Before you look:** which is lower at small $t$ on the *training* digits, the network or the table? Which
on *held-out* digits?
"""

# %%
moments = torch.tensor([10.0, 30, 60, 100, 150, 225, 300, 400, 500, 600, 700, 800, 900])
groups = {"training": clean[:128], "held out": x0[:128]}
table = DatasetDenoiser(clean, path)
found = {}
with torch.no_grad():
    for name, images in groups.items():
        eps = torch.randn(images.shape, generator=seeded(21, device), device=device)
        for judge in ("table", "network"):
            values = []
            for moment in moments.to(device):
                x_t = path.add_noise(images, eps, moment)
                guess = eps_hat(table if judge == "table" else digits_ddpm.denoiser(net), x_t, moment)
                values.append((guess - eps).square().mean().item())
            found[f"{judge}, {name}"] = torch.tensor(values)

# On training digits nothing beats the table (1 % for the finite sample); on new ones the network must.
assert (found["network, training"] > 0.99 * found["table, training"]).all()
assert (found["network, held out"] < found["table, held out"])[:9].all()
low = moments <= 100
by_heart, by_network = found["table, training"][low].mean(), found["network, training"][low].mean()
assert by_network > 10 * by_heart  # it does not know them by heart

figure, (ax,) = panels(1, 1, width=8.5, height=3.8)
ax.set_yscale("log")
shown = {name: torch.where(value > 3e-5, value, torch.nan) for name, value in found.items()}
curve_panel(
    ax,
    moments,
    shown,
    xlabel="t",
    ylabel="error of the noise per pixel",
    colors=(SCORE, DATA, SCORE, DATA),
    label_curves=False,
)
for line, (style, width) in zip(ax.lines, [("-", 2), ("-", 2), (":", 3), (":", 3)]):
    line.set(linestyle=style, linewidth=width)
ax.text(120, 15, "table, held-out digits", color=SCORE)
ax.text(60, 0.02, "network, both", color=DATA)
ax.text(
    60,
    1e-4,
    "table, training digits: the best possible\nerror (practically 0 below t = 450)",
    color=SCORE,
)
ax.set(ylim=(3e-5, 200))
figure

# %% [markdown]
r"""
*Solid: training digits; dotted: held-out digits; without labels.* Four lessons in one picture.

- **The loss converges to something, and now you know to what.** On training digits no network can be below
  the solid orange curve; a value below it means an error in the code (a label that leaks the answer, a loss
  averaged twice). At high noise the network all but touches it: there it has learned all there is.
- **At low noise the table's loss is zero**: from a lightly noised training digit it reads off which one it
  was. The network stays far above. That gap is not a failure, it is *why it draws new digits*. A network
  that closes it has memorised.
- **On held-out digits the table fails** by orders of magnitude, since it insists on its 9,000. The network
  does nearly as well on them as on those it was trained on: its two curves can hardly be told apart. What
  it has learned is about digits, not about these digits.
- A single loss value, averaged over all $t$, hides all this.

## 14.9 Play

Pick a class, the number of steps and a seed; then drag the time and watch the state and the network's
belief. Few steps suffice for a digit, if not always for a good one. What breaks first, when you go down to
four steps?
"""

# %%
DigitFilm(lambda label: digits_ddpm.denoiser(net, label), path, device=device)

# %% [markdown]
r"""
## 14.10 Exercises

Each check says what is wrong, as far as it can tell. `from diffedu.exercises import hint; hint("14.1")`
gives hints one by one.

**Exercise 14.1 ★ — back to the picture.** Turn a guess of the noise into a guess of the picture, (14.5),
and cut it to $[-1, 1]$.
"""


# %% tags=["exercise"]
def clean_guess(x_t, eps_guess, alpha_bar):
    """x0_hat in [-1, 1], from x_t and a guess of the noise, shape (B, C, H, W), and alpha_bar, shape (B,)."""
    ...


# %%
check("14.1", clean_guess)

# %% [markdown]
r"""
**Exercise 14.2 ★ — how far does it see?** A network folds its input by 2 (`pixel_unshuffle`), applies three
3 × 3 convolutions, folds by 2 again, and applies two 5 × 5 convolutions. Then it unfolds. How wide is the
square of input pixels that one output pixel depends on? Use (14.14).
"""

# %% tags=["exercise"]
width_of_view = ...

# %%
check("14.2", width_of_view)

# %% [markdown]
r"""
**Exercise 14.3 ★ — counting.** (a) How many parameters has `Block(48, 48, 192)`, norms included? (b) How
many times does a network of this kind see an image (one image, one evaluation) while 4,000 digits are drawn
by the second-order solver of chapter 11, Heun, over 25 steps of which the last lands on $t = 0$?
"""

# %% tags=["exercise"]
parameters = ...
image_evaluations = ...

# %%
check("14.3", (parameters, image_evaluations))

# %% [markdown]
r"""
**Exercise 14.4 ★ — hidden labels.** Hide a share `p` of the labels, independently of each other: where the
uniform number `u` is below `p`, the label becomes `classes`. The labels that come in are needed again
elsewhere.
"""


# %% tags=["exercise"]
def hide_labels(labels, u, p, classes):
    """Labels, shape (B,), int64, with `classes` where u, shape (B,), uniform on [0, 1), is below p."""
    ...


# %%
check("14.4", hide_labels)

# %% [markdown]
r"""
**Exercise 14.5 ★★ — the running average.** Write (14.18) for a network: change the averaged tensors *in
place*, leave the current ones alone. (Rebinding a name changes no tensor.)
"""


# %% tags=["exercise"]
def update_average(averaged, current, decay):
    """Move each tensor of the list `averaged` towards its partner in the list `current`."""
    ...


# %%
check("14.5", update_average)

# %% [markdown]
r"""
**Exercise 14.6 ★★ — a block.** (a) Make a block the identity: set the right layer of `Block` to zero, in
place. (b) Write its forward pass, (14.15), from its layers: `block.norm1`, `block.conv1`, `block.modulate`,
`block.norm2`, `block.conv2`; here the number of channels does not change, and there is no `block.skip`. The
first half of what `modulate` returns is the scale.
"""


# %% tags=["exercise"]
def start_as_identity(block):
    """Change the block's weights so that it returns its input; everything else keeps its random start."""
    ...


def block_forward(block, h, condition):
    """h + g(h, condition), shape (B, C, H, W), for h of that shape and a condition of shape (B, K)."""
    ...


# %%
check("14.6", (start_as_identity, block_forward))

# %% [markdown]
r"""
**Exercise 14.7 ★★ — predict: the forgotten ramp.** Train for 300 steps, but with the plain (14.18),
$d = 0.9995$ from the first step on, no ramp. What does the *averaged* network draw: `"good digits"` (better
than with the ramp), `"blurred digits"` or `"noise"`? Compute with (14.19) before you answer.
"""

# %% tags=["exercise"]
averaged_network_draws = ...

# %%
check("14.7", averaged_network_draws)

# %% [markdown]
r"""
**Exercise 14.8 ★★★ — from the errata museum: a sampler.** Each of the three mistakes below has been
printed, and each lets the sampler produce something that looks like digits. Find and mend them. `net`
returns the noise, as Ho et al.'s does, and its times are this chapter's: `net(x, t)` belongs to
$\bar\alpha_t$, for $t = 1, \dots, T$. `betas[0]` is $\beta_1$. `noise[k]` is the noise for the step from $t
= k$. The variance is $\beta_t$ (Ho et al., section 3.2), and nothing is cut.
"""


# %% tags=["exercise"]
def old_sampler(net, x, betas, noise):
    """Ho et al. 2020, algorithm 2: x_0, shape (B, D), from x_T; noise has shape (T + 1, B, D)."""
    T = len(betas)
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    for t in range(T, 0, -1):
        beta, bar = betas[t - 1], alpha_bar[t - 1]
        eps_guess = net(x, t - 1)
        x = (x - beta / (1 - bar).sqrt() * eps_guess) / (1 - beta).sqrt()
        if t > 0:
            x = x + beta * noise[t]
    return x


# %%
check("14.8", old_sampler)

# %% [markdown]
r"""
**Exercise 14.9 ★★ — find and fix: a moody instrument.** This function measures class accuracy with a
classifier that has batch norms, straight after its training. The result changes with the order of the
images, and *measuring changes the classifier*. Mend it. The caller goes on training afterwards, so leave
the network in the mode in which it came.
"""


# %% tags=["exercise"]
def measured_accuracy(classifier, images, labels):
    """The share of images that the classifier reads right, a float."""
    right = 0
    for part, truth in zip(images.split(16), labels.split(16)):
        right += (classifier(part).argmax(1) == truth).sum().item()
    return right / len(images)


# %%
check("14.9", measured_accuracy)

# %% [markdown]
r"""
**Mini-project 14.10 ★★★ — what is the bridge worth?** Take `SmallUNet`, and one thing out of it: the bridge
(train with `bridge=0`), the attention, FiLM (add the condition to `h` once instead), the folding (same
number of parameters at full size), the zero-init or the ramp; or the second term of (14.12), and train on
$L_\text{simple}$. Train it and the whole network for the same
*time*, at least five minutes each, with three seeds. Hand in a page with one figure.

| | 0 | 1 | 2 |
|---|---|---|---|
| prediction | none | written afterwards | written before, with a reason |
| comparison | different data or time | one seed each | three seeds, spread shown |
| measures | loss only | two measures with floors | loss by $t$; Fréchet and accuracy, floors at equal n |
| judgement | "better" or "worse" | a difference and its size | beside its spread; what it does *not* show |

## 14.11 What the field does with it, and where this breaks

- **The same plan, larger.** Image models up to 2022 are this chapter with more levels, more channels,
  attention at several sizes, and weeks of many GPUs. Later ones exchange the U-Net for a transformer
  (chapter 18), pixels for a compressed code (chapter 17), and labels for text.
- **Predicting noise is one choice of several.** Ho, Jain and Abbeel's network returned noise, was paid by
  $L_\text{simple}$, and drew excellent pictures; so did most models until 2022. At high noise that is badly
  conditioned, as (14.10) shows. Predicting $v$ (chapter 9) or the velocity (chapter 13) is not, and most
  new models do one of these.
- **Each loss is one weighting of several**; it depends on the noise schedule, too, through its uniform
  $t$ (chapter 15).
- **Cutting to $[-1, 1]$ is a property of pixels.** In a latent space there is no such range.
- **Grey digits on black are easy.** Most pixels are constant, all digits are centred. FD values from this
  chapter's classifier can't be compared with published FIDs: other features, other counts.
- **"Not memorised" is a statement about 9,000 digits, a million parameters and half an hour.** Train far
  longer, or on few pictures, and the network's curve sinks to the table's. Large models do reproduce
  pictures that occur often in their training data (Carlini et al. 2023).

### References
- Ho, Jain, Abbeel 2020, *Denoising diffusion probabilistic models*: (14.2) is section 3.2, (14.4) eq. 7,
  (14.3) eq. 8, (14.6) eq. 11 (there for $\mu_\theta$), (14.7) eq. 12, $L_\text{simple}$ eq. 14. Their
  $\sigma_t^2$ is the variance of the backward step, our $\tilde\beta_t$; our $\sigma_t$ is their
  $\sqrt{1 - \bar\alpha_t}$; their sum over pixels is our mean.
- Salimans, Ho 2022, *Progressive distillation for fast sampling of diffusion models*: $v$, and the loss
  (14.13), there as the error of $x_0$ with the weight "SNR + 1", section 4.
- Nichol, Dhariwal 2021, *Improved DDPM*: the cosine schedule, eq. 17.
- Song, Meng, Ermon 2021, *Denoising diffusion implicit models*: (14.21) is eq. 12 with $\sigma = 0$; their
  $\alpha_t$ is our $\bar\alpha_t$.
- Dhariwal, Nichol 2021, *Diffusion models beat GANs*: scale and shift by the condition, section 3.
- Perez et al. 2018, *FiLM*; Ronneberger et al. 2015, *U-Net*; He et al. 2016, *Identity mappings*;
  Vaswani et al. 2017, *Attention is all you need*: (14.17) is eq. 1, (14.16) section 3.5.
- Ho, Salimans 2022, *Classifier-free guidance*: hidden labels, algorithm 1.
- Heusel et al. 2017, *GANs trained by a two time-scale update rule*: Fréchet distance, eq. 6. Lopez-Paz,
  Oquab 2017: the two-sample test.
- Carlini et al. 2023, *Extracting training data from diffusion models*.
"""
