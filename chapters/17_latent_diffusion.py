# %% [markdown]
"""
# 17. Latent diffusion

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/17_latent_diffusion.ipynb)

*Compress first, diffuse in what is left, decode once: emoji that nobody drew, from 256 numbers each*

Chapter 14 drew grey digits, pixel by pixel. Colour pictures are four times as large at this
small size already, and a photograph is a thousand times larger. Large image generators escape by a trick with
two parts. One network learns to *write a picture in shorthand* and to read the shorthand back. A second one,
the diffusion model, never sees a picture in its life: it learns to write shorthand.

Each row below is what comes out when it is told the words on the left.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %% tags=["setup"]
import math
import os
import time
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from diffedu import DDIM, Cosine, DatasetDenoiser, GaussianMixture, gaussian_kl
from diffedu import sample, scalar_mmse, seeded, start_noise, trajectory, uniform_times, with_zero
from diffedu.data import emoji
from diffedu.evaluate import accuracy, frechet_distance, nearest_neighbours, psnr
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.recipes import emoji_classifier, emoji_latent, emoji_studies, emoji_vae, shipped_log
from diffedu.recipes.digits_scaling import evaluation_flop
from diffedu.recipes.emoji_latent import bag, vocabulary
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, SCORE, VELOCITY, image_rows, panels
from diffedu.show.widgets.latent_walk import LatentWalk, between
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
f64 = torch.float64
path = Cosine()  # chapter 5: alpha = cos(pi t / 2), sigma = sin(pi t / 2)
real, held_out = emoji("train", device=device), emoji("test", device=device)

# %%
vae = emoji_vae.load(device=device)  # shorthand, both ways: sections 17.2 to 17.4
net = emoji_latent.load(device=device)  # writes shorthand: section 17.6
told_as = ["blue heart", "flag", "smiling face", "cat face", "car", "moon"]
labels = torch.stack([bag(words.split()) for words in told_as]).repeat_interleave(8, 0).to(device)
drawn = emoji_latent.draw(net, vae, labels, seed=1)

image_rows({words: drawn[8 * k : 8 * k + 8] for k, words in enumerate(told_as)}, scale=0.7)

# %% [markdown]
r"""
*Flags, cats and cars that nobody drew; the cars show where a small model has its limits. And the hearts?
Section 17.8 asks where they come from.*

**Before you read on.** The shorthand is only 256 numbers for a picture of 3,072. (a) Take *any* 256 numbers
of the right size and read them as shorthand. What do you see? (b) Take the shorthand of two pictures and go
halfway. Write both answers down: section 17.4 returns to them.

**You will be able to**
- say what a picture costs in pixels and in latents, by a formula and as counted;
- derive a VAE as the one-step case of chapter 6, say what its KL weight *is*, and name three ways to get
  its loss wrong;
- predict, for linear networks exactly, what a VAE keeps and what it throws away;
- show that its latents are *not* distributed as its prior says, and that a diffusion model closes most of the
  gap;
- scale latents for a noise schedule, and say exactly what a wrong factor does;
- measure whether a model copies its training pictures, and what helps.

**You need** chapter 6 (the bound), chapter 12 (guidance), chapter 14 (an image model). The network that
writes shorthand is a transformer; chapter 18 takes it apart. Here it is *a network that takes a noisy
latent picture, a time, and a set of labels*. **Time**: 60 minutes to read, a minute or two to run, two to
three hours with the exercises.

## 17.1 Why pixels are dear

A transformer cuts its input into $N$ **tokens** and carries a vector of width $w$ for each. In every one of
its $d$ blocks a token does two things. It works on its own vector, with matrices of $12 w^2$ weights in all
(four of $w \times w$ for the attention, and a small network that widens four times and back, $8 w^2$). And it
looks at all $N$ tokens, once to compare ($N w$ products) and once to fetch ($N w$). Each weight or product
costs two operations, to multiply and to add:

$$\text{FLOP} = \underbrace{d\,N\,(24\,w^2 + 4 N w)}_{\text{blocks}} + \underbrace{4\,N\,p\,w}_{\text{in and
out}} + \underbrace{2\,(6\,d\,w^2 + 3\,w^2 + 128\,w)}_{\text{time and labels}}, \tag{17.1}$$

where $p$ counts the values that a token stands for. The last bracket is paid once a picture, whatever $N$ is
(chapter 18 says what its matrices do). So the cost grows with $N$, and for large $N$ with $N^2$. We compare
the formula with a counter that watches the network run, in three settings: latents ($8 \times 8$ positions
with 4 numbers each), pixels in patches of $4 \times 4$, and pixels in patches of $2 \times 2$.
"""


# %%
def flop(config):
    """(17.1): operations of one evaluation for one picture."""
    w, d, tokens = config.width, config.depth, (config.size // config.patch) ** 2
    p = config.channels * config.patch**2
    blocks = d * tokens * (24 * w**2 + 4 * tokens * w)
    return blocks + 4 * tokens * p * w + 2 * (6 * d * w**2 + 3 * w**2 + 128 * w)


spaces = emoji_studies.SPACES
verify(
    "17.1", [float(flop(c)) for c in spaces.values()], [float(evaluation_flop(c)) for c in spaces.values()]
)
for name, config in spaces.items():
    tokens = (config.size // config.patch) ** 2
    print(f"{name}: {config.channels * config.size**2} numbers, {flop(config) / 1e9:.2f} GFLOP an evaluation")
cost = {name: flop(config) for name, config in spaces.items()}
assert 4.8 < cost["pixels, 256 tokens"] / cost["latents, 64 tokens"] < 5

# %% [markdown]
r"""
Pixels in coarse patches cost as little as latents do. But there a token must answer for 48 numbers instead
of 4, with the same vector. In fine patches (12 numbers a token) an evaluation costs five times as much.
Section 17.7 measures what each buys. At this size of picture the factor is five; a transformer on a
photograph of $512 \times 512$ pixels, in patches of 2, has 65,536 tokens, and $4 N w$ is then nearly all of
the cost, at this width.

### What must not get lost
Can a picture be written with 256 numbers? We measure what is lost by the **peak signal-to-noise ratio**: the
mean squared error beside the square of the full range, from $-1$ to $1$, in decibels.

$$\mathrm{PSNR} = 10 \log_{10} \frac{2^2}{\text{mean squared error}}. \tag{17.2}$$
<!-- code 17.2: diffedu.evaluate.metrics.psnr -->

Three ways to write a picture in few numbers, all judged on pictures that none of them has seen. A thumbnail:
$8 \times 8$ pixels of three colours, 192 numbers. Principal components: the 256 directions in which
training pictures vary most. And the autoencoder of this chapter.
"""

# %%
x = held_out.images.cpu().double()
shifted = x + 0.25 * torch.where(x > 0, -1.0, 1.0)  # every value wrong by an eighth of the range
verify("17.2", psnr(shifted, x), torch.full((200,), 20 * math.log10(8), dtype=f64), over="pictures")

torch.manual_seed(0)
both_ways = torch.cat([real.images, real.images.flip(3)]).flatten(1).cpu()
centre = both_ways.mean(0)
_, spread, directions = torch.pca_lowrank(both_ways, q=300, niter=4)
variances = spread.square() / (len(both_ways) - 1)  # along the principal directions, largest first
basis = directions[:, :256]

with torch.no_grad():
    originals = held_out.images
    flat = originals.flatten(1).cpu() - centre
    thumbnail = F.interpolate(F.avg_pool2d(originals, 4), scale_factor=4, mode="bilinear")
    written = {
        "original": originals,
        "thumbnail": thumbnail,
        "256 principal\ncomponents": (centre + flat @ basis @ basis.T)
        .view(-1, 3, 32, 32)
        .to(device)
        .clamp(-1, 1),
        "autoencoder": vae.decode(vae.encode(originals)[0]).clamp(-1, 1),
    }
quality = {name: psnr(images, originals).mean().item() for name, images in list(written.items())[1:]}
print({name.replace("\n", " "): f"{value:.1f} dB" for name, value in quality.items()})
assert quality["autoencoder"] > quality["256 principal\ncomponents"] + 2 > quality["thumbnail"] + 8

image_rows({name: images[:11] for name, images in written.items()}, scale=0.72)

# %% [markdown]
r"""
*The thumbnail keeps areas and loses every edge. Principal components keep edges and spread dirt on white
paper. The autoencoder keeps both, and smooths what is finer than its positions: the face of the clock, the
windows.*

The autoencoder wins by 2.5 dB over the best *linear* method with as many numbers, an error smaller by a
factor 1.8. Its loss is there for the asking: the decoded picture is all that a diffusion model in its
latents can ever draw. **Whatever the first network loses, the second can't bring back.**

## 17.2 The autoencoder is chapter 6 with one step

In chapter 6 a picture was explained by a chain of hidden variables $x_1, \dots, x_T$. Take a single hidden
variable $z$, with a prior $p(z) = \mathcal N(0, I)$. A **decoder** network says what pictures belong to it,
$p(x \mid z)$. An **encoder** network guesses which $z$ may have led to a picture, $q(z \mid x)$: a Gaussian
whose mean $m$ and variance $s^2$, one of each for every latent number, it computes from $x$. Equation (6.5)
with $z$ in the place of the chain reads

$$-\log p(x) = \underbrace{\mathbb E_{q(z \mid x)}[-\log p(x \mid z)] + \mathrm{KL}\big(q(z \mid x)\,\|\,
p(z)\big)}_{L(x)} - \mathrm{KL}\big(q(z \mid x)\,\|\,p(z \mid x)\big). \tag{17.3}$$

The last term is unknown and not negative, so $L(x) \ge -\log p(x)$: minus the ELBO, as before. One
difference matters. In chapter 6 the encoder was fixed (it added noise, and knew nothing). Here it is
**learned**, together with the decoder. We pay for two things: bad reconstruction, and telling the decoder
more than the prior does.

### The price of telling
Both of its Gaussians are known, so the KL is (6.10) with $m_p = 0$ and $v_p = 1$, summed over the latent
numbers:

$$\mathrm{KL}\big(\mathcal N(m, s^2)\,\|\,\mathcal N(0, I)\big) = \tfrac12 \sum_i \big(m_i^2 + s_i^2 - 1
- \log s_i^2 \big). \tag{17.4}$$
<!-- code 17.4: diffedu.core.elbo.gaussian_kl -->

It is zero for $m = 0$, $s = 1$: nothing told. And it grows as $s \to 0$, like $\log(1/s)$: each halving of
the error bar costs $\log 2$, one bit.

We check (17.3) where everything is known: one number $x$, a decoder that multiplies $z$ by 2 and adds noise
of variance 0.3, and an encoder that is deliberately not the right one. Left side: the density of a
Gaussian, $\mathcal N(x; 0, 2^2 + 0.3)$. Right side: integrals over a grid.
"""

# %%
grid = torch.linspace(-12, 12, 40001, dtype=f64)
x, q = torch.tensor(1.7, dtype=f64), Normal(torch.tensor(0.6, dtype=f64), torch.tensor(0.5, dtype=f64))
prior, decoded = Normal(0 * x, 1 + 0 * x), Normal(2 * grid, math.sqrt(0.3))
right_answer = Normal(2 * x / (4 + 0.3), math.sqrt(0.3 / (4 + 0.3)))  # p(z | x), by Bayes' rule


def average(values):
    """Over q(z | x), by quadrature."""
    return torch.trapezoid(values * q.log_prob(grid).exp(), grid)


told_by_q = average(q.log_prob(grid) - prior.log_prob(grid))
gap = average(q.log_prob(grid) - right_answer.log_prob(grid))
verify("17.3", average(-decoded.log_prob(x)) + told_by_q - gap, -Normal(0 * x, math.sqrt(4.3)).log_prob(x))
verify("17.4", 0.5 * (0.6**2 + 0.5**2 - 1 - 2 * math.log(0.5)), told_by_q.item())

# %% [markdown]
r"""
### A random number with a gradient
$L(x)$ holds an average over $q(z \mid x)$, and $q$ depends on the encoder's weights. How does one
differentiate an average by the law over which it is taken? Draw $z$ in a way that leaves the dice outside:

$$z = m + s\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, I), \qquad \nabla_{m, s}\, \mathbb E[f(z)] =
\mathbb E[\nabla_{m, s}\, f(m + s\,\varepsilon)]. \tag{17.5}$$

Now the law of $\varepsilon$ depends on nothing, the derivative may go inside, and it runs through $f$ (the
decoder) as through any layer. Networks return $\log s^2$, which may be any real number, so
$s = \exp(\tfrac12 \log s^2)$. Remember the half.

For $f = \sin$ the average is known, $\mathbb E[\sin(m + s \varepsilon)] = e^{-s^2/2} \sin m$, and so are its
derivatives. (There is another way, which needs no derivative of $f$: average $f(z)\, \nabla \log q(z)$. It
is unbiased as well. We print how much more it fluctuates.)
"""

# %%
m, s = torch.tensor(0.8, dtype=f64), torch.tensor(0.4, dtype=f64)
eps = torch.randn(40_000, generator=seeded(0), dtype=f64)
through = torch.stack([torch.cos(m + s * eps), eps * torch.cos(m + s * eps)], dim=1)
shrink = math.exp(-(0.4**2) / 2)
verify_mean("17.5", through, [shrink * math.cos(0.8), -0.4 * shrink * math.sin(0.8)])
without = torch.sin(m + s * eps) * eps / s  # f times the derivative of log q by m
ratio = (without.var() / through[:, 0].var()).item()
print(f"variance of the derivative by m: {ratio:.0f} times as large without (17.5)")
assert ratio > 20

# %% [markdown]
r"""
### What the KL weight is
The recipe that trained our autoencoder (`diffedu.recipes.emoji_vae`) minimises

$$\text{loss} = \tfrac1D \big\|x - \hat x(z)\big\|^2 + \tfrac{\lambda}{D}\, \mathrm{KL}\big(q(z \mid x)\,\|\,
p(z)\big), \qquad D = 3072,\quad \lambda = 0.01. \tag{17.6}$$
<!-- code 17.6: diffedu.recipes.emoji_vae.loss -->

The weight $\lambda$ looks like a knob somebody turned until it worked. It is not: it is a statement about
the decoder. Let $p(x \mid z)$ be Gaussian around the decoded picture, with one variance $\tau^2$ for all
values. Then, for a drawn $z$,

$$L(x) = \frac{\|x - \hat x(z)\|^2}{2 \tau^2} + \frac D2 \log 2\pi\tau^2 + \mathrm{KL} = \frac{D}{2\tau^2}\;
\text{loss} + \frac D2 \log 2 \pi \tau^2, \qquad \text{if}\quad \lambda = 2 \tau^2. \tag{17.7}$$

Multiply the loss by $D / \lambda$ to see it. So $\lambda = 0.01$ says: *decoded values are off by about*
$\tau = \sqrt{0.005} = 0.07$, some nine grey levels of 255. Details below this size are, to this model,
noise. We check (17.7) with the recipe's own loss on one side, and PyTorch's distributions on the other.
"""

# %%
generator = seeded(5, device)
with torch.no_grad():
    loss = emoji_vae.loss(vae, (real.images[:16],), generator)
    generator = seeded(5, device)  # the same mirror images, the same noise
    x = emoji_vae.varied(real.images[:16], generator)
    mean, log_variance = vae.encode(x)
    noise = torch.randn(mean.shape, generator=generator, device=device)
    z = mean + (log_variance / 2).exp() * noise
    written_out = (vae.decode(z) - x).square().flatten(1).sum(1) / 3072
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)
    verify("17.6", written_out + 0.01 / 3072 * kl, loss, over="pictures")

    tau = math.sqrt(0.01 / 2)
    told_q = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros_like(mean), 1.0))
    bound = told_q.flatten(1).sum(1) - Normal(vae.decode(z), tau).log_prob(x).flatten(1).sum(1)
    constant = 3072 / 2 * math.log(2 * math.pi * tau**2)
    verify("17.7", 3072 / 0.01 * loss + constant, bound, rtol=1e-4, over="pictures")
print(f"tau = {tau:.3f}, that is {127.5 * tau:.0f} of 255 grey levels")

# %% [markdown]
r"""
**Three slips, and what they break.** All three have been printed, and all three train without a complaint.

1. **Means and sums mixed.** Squared error as a *mean* over 3,072 values, KL as a *mean* over 256 latents,
   "both are means": the KL then weighs $3072/256 = 12$ times what it seems. Squared error summed and KL
   summed, without a factor: that is $\lambda = 1$, a decoder that claims to be off by $\tau = 0.71$, a
   third of the whole range.
2. **The variance used as a standard deviation**: $z = m + e^{\log s^2} \varepsilon$ trains well too, since
   the network learns to return something else. But precision now costs half its price in (17.4), and the
   "bound" may fall below $-\log p(x)$, which no bound does. We show it in a moment.
3. **A sign**: with $+\log s^2$ in (17.4) precision is paid for instead of charged, and $s$ runs to zero.
   The "KL" falls below zero on the way, which a divergence never does.

## 17.3 What a VAE keeps

**Before you read on.** Data that vary with variance $\lambda_1 = 4$ in one direction and $\lambda_2 = 0.05$
in another; a decoder with $\tau^2 = 0.1$. Two latents are at hand. How many will the best VAE use?

Networks with hidden layers don't answer such questions. Linear ones do. Let decoder and encoder be matrices
and the data Gaussian, and look along one direction, in which data have variance $\lambda$. (The letter is
customary for both: in this section $\lambda$ is a variance, and the KL weight appears as $2\tau^2$. In the
best linear VAE the directions separate: they are principal components. We check that below, where we optimise
all of it.) The decoder is $\hat x = w z$, the encoder $q(z \mid x) = \mathcal N(a x, s^2)$. Put both into
$L$ and average over the data:

$$\mathbb E\, L = \frac{(1 - w a)^2 \lambda + w^2 s^2}{2\tau^2} + \tfrac12 \log 2\pi\tau^2 + \tfrac12 \big(a^2
\lambda + s^2 - 1 - \log s^2\big). \tag{17.8}$$

For a given decoder the best encoder is exact, by (17.3): the posterior of a Gaussian, $a = w / (w^2 +
\tau^2)$ and $s^2 = \tau^2 / (w^2 + \tau^2)$. The bound is then tight, and $L$ is the code length of a
Gaussian of variance $w^2 + \tau^2$ on data of variance $\lambda$. That is least when the variances agree.
Since $w^2$ cannot be negative, they can agree only where $\lambda > \tau^2$:

$$w^2 = \max(\lambda - \tau^2,\, 0), \qquad s^2 = \min(\tau^2 / \lambda,\, 1), \qquad \mathrm{KL} = \tfrac12
\log \frac{\lambda}{\tau^2}\ \text{ nats, or } 0. \tag{17.9}$$

Read it as a shopping list.
- **A direction that varies less than $\tau^2$ is not told at all**: $w = 0$, $s = 1$, a latent switched
  off. This is called *posterior collapse*; here it is no accident, but the best thing to do.
- A direction that varies more is told to an error of $\tau^2$, for $\tfrac12 \log(\lambda/\tau^2)$ nats.
  Halve $\tau$, and every active latent costs $\log 2$ more.
- For Gaussian data the latents that come out have variance $a^2 \lambda + s^2 = 1$: exactly what the prior
  says. Keep that in mind for section 17.4.

We let an optimiser find the best linear VAE of six-dimensional data with five latents. It knows nothing of
(17.9).
"""

# %%
lam, tau2 = torch.tensor([4.0, 1.5, 0.8, 0.3, 0.05, 0.02], dtype=f64), 0.1
turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=seeded(0), dtype=f64))
covariance = turn @ torch.diag(lam) @ turn.T  # the directions are hidden from the optimiser
W = (0.3 * torch.randn(6, 5, generator=seeded(1), dtype=f64)).requires_grad_()
A = (0.3 * torch.randn(5, 6, generator=seeded(2), dtype=f64)).requires_grad_()
log_s2 = torch.zeros(5, dtype=f64, requires_grad=True)


def linear_bound():
    """(17.8) for matrices: the expectation over data and noise, in closed form."""
    rest = torch.eye(6, dtype=f64) - W @ A
    error = torch.trace(rest @ covariance @ rest.T) + (W.square().sum(0) * log_s2.exp()).sum()
    told = 0.5 * (torch.trace(A @ covariance @ A.T) + (log_s2.exp() - 1 - log_s2).sum())
    return error / (2 * tau2) + 6 / 2 * math.log(2 * math.pi * tau2) + told


optimiser = torch.optim.LBFGS(
    [W, A, log_s2], max_iter=1000, tolerance_grad=1e-10, tolerance_change=1e-15, line_search_fn="strong_wolfe"
)


def closure():
    optimiser.zero_grad()
    value = linear_bound()
    value.backward()
    return value


z = torch.randn(300_000, 6, generator=seeded(3), dtype=f64) @ torch.diag(lam.sqrt()) @ turn.T  # data
drawn_z = z @ A.detach().T + torch.randn(300_000, 5, generator=seeded(4), dtype=f64)  # with s = 1
terms = (z - drawn_z @ W.detach().T).square().sum(1) / (2 * tau2) + 3 * math.log(2 * math.pi * tau2)
verify_mean(
    "17.8", terms + 0.5 * (z @ A.detach().T).square().sum(1), linear_bound().item()
)  # before training

optimiser.step(closure)
optimum = torch.cat([(lam - tau2).clamp(min=0)[:5], (tau2 / lam).clamp(max=1)[:5]])
found = torch.cat([torch.linalg.svdvals(W.detach()) ** 2, log_s2.detach().exp().sort().values])
verify("17.9", found, optimum, rtol=1e-5)
kept = 0.5 * torch.log(lam / tau2).clamp(min=0)
told = 0.5 * (torch.diag(A @ covariance @ A.T) + log_s2.exp() - 1 - log_s2)
verify("17.9", told.detach().sort(descending=True).values, kept[:5], rtol=1e-5, over="latents")

likelihood = 0.5 * (torch.log(2 * math.pi * (lam.clamp(min=tau2))) + lam / lam.clamp(min=tau2)).sum()
assert abs(linear_bound().item() - likelihood.item()) < 1e-9  # the bound is tight
w2, s2 = torch.linspace(0, 8, 1601, dtype=f64)[:, None], torch.linspace(-8, 0, 1601, dtype=f64).exp()
best_a = lam[0] / (2 * (w2 + tau2)) + 0.5 * math.log(2 * math.pi * tau2)  # (17.8) at its best a, but for s
charge = 0.5 * (s2 - 1 - s2.log())
honest, cheat = ((best_a + w2 * noise / (2 * tau2) + charge).min() for noise in (s2, s2**2))  # slip 2: s^4
truth = 0.5 * (torch.log(2 * math.pi * lam[0]) + 1)  # the mean of -log p(x) along the first direction
assert 0 <= honest - truth < 1e-4
print(f"slip 2, first direction: the 'bound' falls {(truth - cheat).item():.1f} nats below -log p(x)")

# %% [markdown]
r"""
Four directions are told, the fifth latent is switched off, and the matrices' singular values are those of
(17.9): the best linear VAE finds principal components. The last line is slip 2: with the variance in the
place of the standard deviation the optimum lies a full nat below the true $-\log p(x)$, for one direction
alone. A "bound" that undercuts the entropy of the data has a bug.

Emoji aren't Gaussian and our network isn't linear. But does (17.9) tell us anything about it? We have the
variances of emoji along their principal directions. The shipped table `emoji-studies.json` has autoencoders
trained, for 1,500 steps each, with five KL weights.
"""

# %%
studies = emoji_studies.load()
rows = studies["KL weight"]
weights = torch.tensor([row["KL weight"] for row in rows])
nats = torch.tensor([row["KL, nats"] for row in rows])
levels = torch.logspace(-4.3, 0.3, 47)
ladder = torch.stack([0.5 * torch.log(variances[:256] / (w / 2)).clamp(min=0).sum() for w in levels])
at_weights = torch.stack([0.5 * torch.log(variances[:256] / (w / 2)).clamp(min=0).sum() for w in weights])
steps_up = (nats[2:4] - nats[3:5]) / 256  # from 0.1 to 0.01, and from 1 to 0.1
beside_linear = nats / at_weights
assert 0.7 < beside_linear.min() < beside_linear.max() < 1.3
assert 0.8 < steps_up.min() < steps_up.max() < 1.5
used = (variances[:256] > 0.5).sum().item()
print(f"nats a latent for a tenfold weight, from 1 down: {[f'{v:.1f}' for v in steps_up.flip(0).tolist()]}")
print(f"(17.9) says {0.5 * math.log(10):.1f} for latents in use; at weight 1 it uses {used / 256:.0%} of 256")
print(f"the autoencoder uses {1 - rows[-1]['unused latents']:.0%} of them at weight 1, all at the others")

figure, (ax, beside, last) = panels(1, 3, width=12.6, height=3.5)
ax.loglog(range(1, 257), variances[:256], color=DATA)
for row in rows[2:]:
    ax.axhline(row["KL weight"] / 2, color=SCORE, linewidth=1, linestyle="--")
    ax.text(1.2, row["KL weight"] / 2 * 1.25, f"weight {row['KL weight']:g}", color=SCORE, fontsize=10)
ax.set(xlabel="principal direction", ylabel="variance", title="what there is to tell", ylim=(2e-3, 400))
beside.semilogx(levels, ladder, color=DATA)
beside.semilogx(weights, nats, "o", color=SCORE)
beside.text(2.5e-3, 1060, "linear, by (17.9)", color=DATA)
beside.text(6e-4, 330, "networks,\ntrained", color=SCORE)
beside.set(xlabel="KL weight", ylabel="nats a picture", title="what is told", ylim=(0, 1500))
last.semilogx(weights, [row["PSNR, dB"] for row in rows], "o-", color=SCORE)
last.set(xlabel="KL weight", ylabel="PSNR of held-out pictures, dB", title="what is kept")
figure

# %% [markdown]
r"""
*Left: how much emoji vary in each principal direction; what lies below a dashed line, a linear decoder with
this weight does not tell. Middle: the line is (17.9) for 256 latents, computed from the left panel; the
dots are trained networks. Right: smaller weights stop paying.*

Nobody fitted the line to the dots. Over three powers of ten the networks tell about as many nats as linear
ones would: half a logarithm for each latent in use. They spend them better (section 17.1), but the price
list is the same. The right panel decodes means; a drawn latent adds its noise (exercise 17.3). Below a weight
of 0.01 hardly anything is gained: it is no longer the price that decides, but what 256 numbers and this
network can express after 1,500 steps (the shipped one had 4,000). And at a weight of 1, slip 1's, four
decibels are gone.

## 17.4 What the latents look like

Our autoencoder makes $8 \times 8$ positions with 4 numbers each. Here they are, each channel as a picture of
its own.
"""

# %%
with torch.no_grad():
    means, log_variances = vae.encode(real.images)
standard = (means - vae.shift) / vae.scale  # section 17.5 says why
shown = [
    real.captions.index(name) for name in ("blue heart", "sweat smile", "full moon", "car", "clock4", "horse")
]
strip = {"picture": real.images[shown]}
strip |= {f"channel {k + 1}": (standard[shown, k : k + 1] / 3).clamp(-1, 1) for k in range(4)}
strip["decoded"] = vae.decode(means[shown]).detach().clamp(-1, 1)
image_rows(strip, scale=0.78)

# %% [markdown]
r"""
*Small pictures, not codes. A heart is heart-shaped in every channel; the channels share out brightness and
colours.*

That is no surprise: encoder and decoder are convolutions, and convolutions keep places. It is also what
makes latents good food for a diffusion model. Neighbouring positions have to do with each other, as pixels
have.

### Is the prior true?
The KL term pulled each $q(z \mid x)$ towards $\mathcal N(0, I)$. So is the *mixture* of all of them,
$q(z) = \frac1N \sum_i q(z \mid x_i)$, the **aggregated posterior**, about $\mathcal N(0, I)$? If so, sampling
would be done: draw from the prior, decode. Split the KL by writing $q(z)$ between its two ends:

$$\frac1N \sum_i \mathrm{KL}\big(q(z \mid x_i)\,\|\,p(z)\big) = \underbrace{\frac1N \sum_i
\mathrm{KL}\big(q(z \mid x_i)\,\|\,q(z)\big)}_{I(x;\, z)} + \mathrm{KL}\big(q(z)\,\|\,p(z)\big).
\tag{17.10}$$

($\log \frac{q(z \mid x)}{p(z)}$ is $\log \frac{q(z \mid x)}{q(z)} + \log \frac{q(z)}{p(z)}$, and the second
part does not depend on which $x$ the $z$ came from.) The first term is what $z$ says about *which* picture
it was. Of $N$ pictures there is only so much to say: whatever remains in doubt is subtracted from knowing
it for sure,

$$I(x; z) = \log N - \mathbb E_{q(z)}\big[\text{entropy of } q(x_i \mid z)\big] \;\le\; \log N. \tag{17.11}$$

**Before you look.** $N$ is 1,711, so $\log N = 7.4$ nats. And the left side of (17.10) was in the middle
panel above.
"""

# %%
at, width = torch.tensor([-2.0, -0.3, 0.4, 1.9], dtype=f64), torch.tensor([0.3, 0.5, 0.2, 0.8], dtype=f64)
q_each = Normal(at[:, None], width[:, None]).log_prob(grid)  # four "pictures", one latent
q_all = torch.logsumexp(q_each, 0) - math.log(4)
p_of_z = Normal(0 * at[0], 1 + 0 * at[0]).log_prob(grid)
information = torch.trapezoid(q_each.exp() * (q_each - q_all), grid).mean()
mismatch = torch.trapezoid(q_all.exp() * (q_all - p_of_z), grid)
closed_form = gaussian_kl(
    at[:, None], width[:, None] ** 2, 0 * at[:, None], torch.ones_like(at[:, None])
).mean()
verify("17.10", closed_form, information + mismatch)
which = torch.softmax(q_each, dim=0)  # q(x_i | z), by Bayes' rule
doubt = -(which * which.clamp(min=1e-300).log()).sum(0)
verify("17.11", information, math.log(4) - torch.trapezoid(q_all.exp() * doubt, grid))

told = gaussian_kl(means, log_variances.exp(), torch.zeros_like(means), torch.ones_like(means)).mean().item()
print(f"told: {told:.0f} nats a picture; at most {math.log(1711):.1f} of them say which picture it is")
assert told - math.log(1711) > 600
with torch.no_grad():
    unseen = vae.encode(held_out.images)[0].flatten(1)
normal = torch.randn(unseen.shape, generator=seeded(6, device), device=device)
widest = [torch.linalg.eigvalsh(torch.cov(x.T).double())[-1].item() for x in (unseen, normal)]
print(f"largest variance in one direction: {widest[0]:.0f} for {len(unseen)} held-out latents,", end=" ")
print(f"{widest[1]:.0f} for as many draws from the prior")
assert widest[0] > 4 * widest[1]

# %% [markdown]
r"""
So some 670 nats, at least, are the second term: the mixture of the training latents is very far from the
prior. Don't read too much into that number. A mixture of 1,711 narrow bumps is far from every smooth law.
Section 17.3's Gaussian data showed it: there the latents of *all* data are $\mathcal N(0, I)$, yet each
picture is told many nats. The last line asks fairly, with pictures that the autoencoder never saw. In one
direction their latents vary several times as much as chance allows. **The prior is not true**, and a trained
VAE promises nothing about decoded draws from it. This was question (a). The answer, beside three better
ones:
"""


# %%
def category_labels(each):
    """Codes of the nine categories with more than five pictures, each as often, and their bags of labels."""
    wanted = [k for k, name in enumerate(real.categories) if name != "Component"]
    codes = torch.tensor(wanted, device=device).repeat(each)
    return codes, codes[:, None].expand(-1, emoji_latent.SLOTS)


codes, bags = category_labels(12)
flat = standard.flatten(1)
root = torch.linalg.cholesky(
    torch.cov(flat.T).double() + 1e-4 * torch.eye(256, dtype=f64, device=device)
).float()
dice = torch.randn(108, 256, generator=seeded(0, device), device=device)
with torch.no_grad():
    attempts = {
        "prior N(0, I)": vae.decode(dice.view(-1, 4, 8, 8)),
        "Gaussian with mean\nand covariance\nof the latents": vae.from_latents(
            (flat.mean(0) + dice @ root.T).view(-1, 4, 8, 8)
        ),
        "diffusion model": emoji_latent.draw(net, vae, bags, seed=2),
        "held-out emoji,\nthere and back": vae.decode(vae.encode(held_out.images[:108])[0]),
    }
    attempts = {name: images.clamp(-1, 1) for name, images in attempts.items()}
    classifier = emoji_classifier.load(device=device)
    seen = classifier.features(real.images)
    judged = {name: float(frechet_distance(classifier.features(x), seen)) for name, x in attempts.items()}
    floor = float(frechet_distance(classifier.features(held_out.images[:108]), seen))
for name, value in judged.items():
    print(f"Frechet distance {value:3.0f}   {name.replace(chr(10), ' ')}")
print(f"Frechet distance {floor:3.0f}   held-out emoji themselves, as many (the floor)")
order = list(judged.values())
assert order[0] > order[1] > 1.5 * order[2] > 1.5 * floor

image_rows({name: images[:9] for name, images in attempts.items()}, scale=0.72)

# %% [markdown]
r"""
*Top: question (a). Second: with the right variances and correlations, blobs of the right colours in the right
places. Third: one of each category. (The training set does not have as many of each; that is a part of the
distance.) Only the model of the whole law knows what an emoji is.*

The VAE's prior has done its work when training ends. What we need from now on is only that the latents are
a law which a diffusion model can learn, with few numbers, of a reasonable size, smooth. **The KL term is
there to keep the latents in order, the diffusion model to know them.** That is why the weight may be small,
and in large systems it is tiny.

### Halfway between two pictures
Question (b). The straight way between two latents is $(1 - a)\, z_1 + a\, z_2$. One thing is wrong with
it at once. For independent $z_1, z_2$ with mean zero the products average out, so

$$\mathbb E\,\|(1 - a)\, z_1 + a\, z_2\|^2 = \big((1 - a)^2 + a^2\big)\; \mathbb E\,\|z\|^2: \tag{17.12}$$

halfway, half of the variance is gone. Almost all of a Gaussian in 256 dimensions lies near a sphere of
radius 16; the straight way leads through its inside, where no data are. The *spherical* way goes along an
arc.
"""

# %%
first, second = torch.randn(2, 4000, 256, generator=seeded(1), dtype=f64)
on_the_way = torch.stack([((1 - a) * first + a * second).square().sum(1) for a in (0.25, 0.5)], dim=1)
verify_mean("17.12", on_the_way, [256 * (0.75**2 + 0.25**2), 256 * 0.5])

i, j = real.captions.index("sweat smile"), real.captions.index("clock4")
shares = torch.linspace(0, 1, 9).tolist()
dice = torch.randn(2, 4, 8, 8, generator=seeded(8, device), device=device)
face = bag(["smiling", "face"]).to(device).expand(9, -1)
times = with_zero(uniform_times(path, 19, end=0.02, device=device))
with torch.no_grad():
    arc = torch.stack([between(*dice, a, "spherical") for a in shares])
    walked = sample(emoji_latent.denoiser(net, face, guidance_scale=2.0), DDIM(), arc, times)
    walk = {
        "pixels": torch.stack([between(real.images[i], real.images[j], a) for a in shares]),
        "latents,\nstraight": vae.from_latents(
            torch.stack([between(standard[i], standard[j], a) for a in shares])
        ),
        "latents,\nspherical": vae.from_latents(
            torch.stack([between(standard[i], standard[j], a, "spherical") for a in shares])
        ),
        'noise of\nthe sampler,\ntold "smiling\nface"': vae.from_latents(walked),
    }
    pairs = torch.randperm(1711, generator=seeded(3))[:200].view(2, 100)
    ends, middle = real.images[pairs], vae.from_latents(standard[pairs].mean(0))
    aside = (middle - ends.mean(0)).square().flatten(1).mean(1).sqrt()
    half_way = (ends[0] - ends[1]).square().flatten(1).mean(1).sqrt() / 2
    share = (aside / half_way).median().item()
print(f"decoded middle, off the cross-fade by {100 * share:.0f} % of the distance to either end")
assert share < 0.5

image_rows(walk, titles=[f"{a:.2f}" for a in shares], scale=0.72)

# %% [markdown]
r"""
*From left to right. Rows 1 to 3: both ends are data. Straight latents look much like a cross-fade;
spherical ones keep contrast. Row 4: the way leads through the noise that the sampler starts from, and each
picture on it is an emoji. (The label does much of that: it makes both ends smiling faces. With a category
alone the way is as smooth, and its pictures are as crude as the others that this model draws so.)*

This is sobering, and worth knowing. The latents of *this kind* of autoencoder, an $8 \times 8$ picture with
a small KL weight, are compressed pixels. Halfway between a face and a clock lies nothing anybody would
draw, since the first stage has no idea what an emoji is, and needn't have. The walk that stays among emoji
goes through the *diffusion model's* noise: there the law is $\mathcal N(0, I)$ by construction, the arc
stays in it, and a deterministic sampler (chapters 8 and 10) carries it over.

## 17.5 The right size

A diffusion model is built for data of variance 1. Its schedule says at which noise levels to spend its
time, and they mean something only relative to the size of the data. So latents get **standardised**:
subtract their mean, divide by their standard deviation. Mind that $z$ is drawn, $z = m + s \varepsilon$.
Its variance has two parts, that of the means and the mean of the variances:

$$\mathrm{Var}[z] = \mathrm{Var}[m] + \mathbb E[s^2], \qquad z \leftarrow
\frac{z - \text{shift}}{\text{scale}}, \quad \text{scale} = \sqrt{\mathrm{Var}[z]}. \tag{17.13}$$
<!-- code 17.13: diffedu.nn.vae.VAE.standardise -->

### What a wrong size does, exactly
Suppose the latents have standard deviation $\varsigma$ (and mean zero), and nobody divides. Then $x_t =
\alpha
\varsigma\, \tilde x_0 + \sigma \varepsilon$ with $\tilde x_0$ of variance 1, and the noise meets a signal
of another strength:

$$\log \mathrm{SNR}_\varsigma(t) = \log \frac{\alpha^2 \varsigma^2}{\sigma^2} = \log \mathrm{SNR}(t) + 2 \log
\varsigma. \tag{17.14}$$

The whole schedule is shifted, by the same amount everywhere. Whether that matters shows in what is left to
guess. For Gaussian data the smallest squared error of any denoiser is known; relative to the data's own
variance,

$$\frac{\mathbb E\,\|x_0 - \hat x_0\|^2}{\mathbb E\,\|x_0\|^2} = \frac{1}{1 + \varsigma^2\,
\mathrm{SNR}(t)}. \tag{17.15}$$

Where it is 0 or 1 nothing is decided: the picture can be read off, or it is gone. **Before you look:** the
first Stable Diffusion's latents have $\varsigma = 5.5$. Where on the path are pictures decided, if nobody
divides?
"""

# %%
pick = torch.randint(0, 1711 * 64, (20_000,), generator=seeded(4)).to(device)
columns = [(x - vae.shift).transpose(1, 3).reshape(-1, 4)[pick] for x in (means, vae.shift + log_variances)]
z = columns[0] + (columns[1] / 2).exp() * torch.randn(20_000, 4, generator=seeded(5, device), device=device)
verify_mean("17.13", z.square(), vae.scale.flatten().square())

moments = torch.linspace(0.01, 0.99, 99, dtype=f64)
sizes = (0.2, 1.0, 5.5)
c = path(moments)
figure, (ax, beside) = panels(1, 2, width=11.5, height=3.4)
for size, color in zip(sizes, (SCORE, DATA, VELOCITY), strict=True):
    data = GaussianMixture.single(torch.zeros(1, dtype=f64), size**2 * torch.eye(1, dtype=f64))
    noisy = data.noised(path, moments[49])
    signal = noisy.covariances.flatten() - c.sigma[49] ** 2  # the variance at t that is not noise
    verify("17.14", (signal / c.sigma[49] ** 2).log(), (c.snr[49:50].log() + 2 * math.log(size)))
    error = 1 / (1 + size**2 * c.snr)
    verify("17.15", scalar_mmse(data, c.half_log_snr[10:90:20]) / size**2, error[10:90:20], rtol=1e-6)
    ax.plot(moments, c.snr.log() + 2 * math.log(size), color=color)
    ax.text(0.3, c.snr.log()[30] + 2 * math.log(size) + 0.7, f"$\\varsigma$ = {size:g}", color=color)
    beside.plot(moments, error, color=color)
    where = moments[(error - 0.5).abs().argmin()].item()
    beside.text(where - 0.02, 0.53, f"{size:g}", color=color, ha="right")
    if size == 5.5:
        late = (moments[error > 0.1].min().item(), where)
ax.set(xlabel="time t", ylabel="log SNR", title="one schedule, three sizes of data")
beside.set(xlabel="time t", ylabel="error left / variance", title="what is still open")
beside.axhspan(0.1, 0.9, color=NOISE, alpha=0.12, linewidth=0)
print(f"size 5.5: nine tenths are known below t = {late[0]:.2f}, half at t = {late[1]:.2f}")
assert late[0] > 0.6
figure

# %% [markdown]
r"""
*Left: a size shifts log SNR. Right: in the shaded band something is still being decided. Data five times
too large are decided in the last third of the path; training and sampling spend two thirds of their times
on the obvious. Data too small look like noise from early on.*

The formula knows no wrong answers: at each $t$ the best denoiser exists, and a perfect network sampled in
many steps draws the right law. What is lost is effort. At sampling time, though, the factor must be
*undone*, and there a slip is fatal. Divide where you should multiply, and latents are off by $\varsigma^2$.
Our scales lie near 1, so we show the slip at Stable Diffusion's size as well.
"""

# %%
right = standard[shown]
with torch.no_grad():
    outcomes = {
        "z scale + shift": vae.from_latents(right),
        "z / scale + shift\n(ours)": vae.decode(right / vae.scale + vae.shift),
        "factor forgotten\n(5.5 too small)": vae.from_latents(right / 5.5),
        "factor forgotten\n(5.5 too large)": vae.from_latents(right * 5.5),
        "inverted\n(30 too small)": vae.from_latents(right / 5.5**2),
    }
    outcomes = {name: images.clamp(-1, 1) for name, images in outcomes.items()}
    against = {name: psnr(images, real.images[shown]).mean().item() for name, images in outcomes.items()}
print([f"{value:.0f} dB" for value in against.values()])
print("our scales:", [f"{value:.2f}" for value in vae.scale.flatten().tolist()])
image_rows(outcomes, scale=0.75)

# %% [markdown]
r"""
*Second row: with scales between 0.8 and 1 the slip costs two decibels, and the eye hardly finds it. The
others: too small gives a grey tile, what the decoder makes of each channel's mean; too large a caricature.*

A grey, low-contrast blur, or garish posters: in a latent pipeline look at the factor first. (A test that
finds it at any scale but 1: `from_latents(to_latents(x))` against `decode(encode(x))`.)
"""

# %% [markdown]
r"""
## 17.6 Diffusion in latents

Now nothing is left to invent. The standardised latents are data like any other, and (14.13) is the loss:

$$L = \mathbb E\; \tfrac1{256} \big\|v - v_\theta(\alpha_t z + \sigma_t \varepsilon,\ t,\
\text{labels})\big\|^2, \qquad v = \alpha_t\, \varepsilon - \sigma_t\, z, \tag{17.16}$$
<!-- code 17.16: diffedu.recipes.emoji_latent.loss -->

with $z = (m + s\,\varepsilon' - \text{shift}) / \text{scale}$ drawn afresh each time it is used: the error
bar of the encoder costs nothing, and blurs the border between training points. The autoencoder is
**frozen**: every picture is encoded once, before training begins.

### Told a category, or words
A label is a whole number with a learned vector, as in chapter 14. Here a picture has *several*: the words
of its name. The network averages their vectors, so "red heart" lies between "red" and "heart", and order
means nothing. One example in ten is told nothing, for guidance; of the others half are told their words, and
half their category. Known are the ten categories and all words that occur in at least three names.
"""

# %%
known = vocabulary()
print(f"{len(known)} labels: {', '.join(known[:3])}, ..., {', '.join(known[92:97])}, ...")
print("red heart:", bag(["red", "heart"]).tolist(), " nothing:", bag([]).tolist())

batch = tuple(
    part[:32] for part in emoji_latent.latents(vae)
)  # means, standard deviations, two kinds of labels
generator = seeded(6, device)
with torch.no_grad():
    theirs = emoji_latent.loss(net, batch, generator)
    generator = seeded(6, device)
    mean, deviation, categories, names = batch
    u = torch.rand(32, 1, generator=generator, device=device)  # which of the three is told
    label = torch.where(u < 0.1, len(known), torch.where(u < 0.55, categories, names))
    z = mean + deviation * torch.randn(mean.shape, generator=generator, device=device)
    t = path.t_min + (path.t_max - path.t_min) * torch.rand(32, generator=generator, device=device)
    eps = torch.randn(z.shape, generator=generator, device=device)
    alpha, sigma = (
        (torch.pi / 2 * t).cos()[:, None, None, None],
        (torch.pi / 2 * t).sin()[:, None, None, None],
    )
    wrong = net(alpha * z + sigma * eps, t, label) - (alpha * eps - sigma * z)
verify("17.16", wrong.square().flatten(1).mean(1), theirs, rtol=1e-4, over="examples")

# %% [markdown]
r"""
Training takes 12,000 steps, half an hour on two idle cores: `python -m diffedu train emoji-latent`. The
weights ship with the book; with `DIFFEDU_FULL=1` the next cell trains them.

### Sampling: decode once
The whole method, with the deterministic steps of chapter 8. Everything inside the loop happens in 256
numbers; the decoder is called after it.
"""

# %%
if os.environ.get("DIFFEDU_FULL"):
    emoji_latent.run(Path("emoji-latent"), device=device)
    net = emoji_latent.load(Path("emoji-latent"), device)
log = shipped_log("emoji-latent")


@torch.no_grad()
def draw_emoji(net, vae, label, z, times, guidance_scale):
    for t, s in pairwise(times):
        (alpha, sigma, *_), (alpha_s, sigma_s, *_) = path(t), path(s)
        answers = []
        for told in (label, torch.full_like(label, len(known))):  # with the words, and with none
            v = net(z, t.expand(len(z)), told)
            answers.append(alpha * z - sigma * v)
        z0_hat = answers[1] + guidance_scale * (answers[0] - answers[1])
        z = alpha_s * z0_hat + sigma_s / sigma * (z - alpha * z0_hat)
    return vae.decode(z * vae.scale + vae.shift)


few = torch.stack([bag(["heart"]), bag(["Flags"])]).to(device)
start = start_noise(path, (2, 4, 8, 8), seeded(3, device))
by_hand = draw_emoji(net, vae, few, start, times, 2.0)
by_package = vae.from_latents(
    sample(emoji_latent.denoiser(net, few, guidance_scale=2.0), DDIM(), start, times)
)
torch.testing.assert_close(by_hand, by_package, rtol=1e-3, atol=2e-3)
evaluations = 2 * (len(times) - 1)
print(f"{evaluations} evaluations of the network, 1 of the decoder")

# %% [markdown]
r"""
**What to decode on the way.** One likes to watch. There are two things that could be decoded at time $t$:
the noisy latent $x_t$, and the belief $\hat x_0$. **Before you look:** which of the two has the decoder
seen in its training?
"""

# %%
two = torch.stack([bag(["blue", "heart"]), bag(["smiling", "face"])]).to(device)
believes = emoji_latent.denoiser(net, two, guidance_scale=2.0)
film = list(trajectory(believes, DDIM(), start_noise(path, (2, 4, 8, 8), seeded(4, device)), times))
chosen = [0, 3, 6, 9, 11, 13, 15, 17, 19]
with torch.no_grad():
    states = torch.stack([film[k][1] for k in chosen], dim=1)
    beliefs = torch.stack([believes(film[k][1], film[k][0]) for k in chosen], dim=1)
    strips = {}
    for k, name in enumerate(("heart", "face")):
        strips[f"{name}: the state\n$x_t$, decoded"] = vae.from_latents(states[k]).clamp(-1, 1)
        middle, last = chosen.index(9), strips[f"{name}: the state\n$x_t$, decoded"][-1:]
        seen_by = [
            vae.from_latents(parts[k, middle : middle + 1]).clamp(-1, 1) for parts in (states, beliefs)
        ]
        early = [psnr(picture, last).item() for picture in seen_by]
        print(f"{name}, halfway, beside the end: state {early[0]:.0f} dB, belief {early[1]:.0f} dB")
        assert early[1] > early[0] + 3
        strips[f"{name}: the belief\n$\\hat x_0$, decoded"] = vae.from_latents(beliefs[k]).clamp(-1, 1)
image_rows(strips, titles=[f"t = {film[k][0].item():.2f}" for k in chosen], scale=0.78)

# %% [markdown]
r"""
*The belief is a clean picture from the first step on: first the mean of what fits the words, at last one
emoji. The state, decoded, starts as confetti and keeps its dirt for most of the way. (A smile was asked
for. A small model doesn't always listen.)*

The decoder was trained on clean latents. Noisy ones lie elsewhere, and the dirt is what the decoder makes
of them; it is no part of what the sampler believes. A subtler point: a belief is a *mean* of latents, and
decoding is not linear. The decoded mean is not the mean picture.

### Turning guidance up
Chapter 12: guidance above 1 exaggerates what the label says. We measure two things, at five pictures a
category: how often a classifier reads the category that was asked for, and how much pictures of one
category differ (the mean distance from their average), beside real emoji.
"""

# %%
codes, bags = category_labels(5)
others = torch.cat([(real.category_codes == k).nonzero()[:5, 0] for k in codes[:9].tolist()])


def variety(images, codes):
    """Mean distance of a picture from the average picture of its category."""
    parts = [images[codes == k] for k in codes.unique()]
    return torch.cat([(part - part.mean(0)).flatten(1).norm(dim=1) for part in parts]).mean().item()


scales, reads, varieties = (1.0, 2.0, 4.0), [], []
for scale in scales:
    images = emoji_latent.draw(net, vae, bags, seed=5, guidance_scale=scale)
    reads.append(accuracy(classifier, images, codes).value)
    varieties.append(variety(images, codes))
floor_read = log["rows"][-1]["category read"]["floor"]
floor_variety = variety(real.images[others], real.category_codes[others])
assert reads[2] > reads[0] + 0.05
assert 0.85 * floor_variety > varieties[0] > 1.05 * max(varieties[1:])

figure, (ax, beside) = panels(1, 2, width=9.5, height=3.1)
ax.plot(scales, reads, "o-", color=GUIDED)
ax.axhline(floor_read, color=NOISE)
ax.text(4, floor_read - 0.02, "held-out emoji", color=NOISE, ha="right", va="top")
ax.set(xlabel="guidance scale", ylabel="category read", ylim=(0.4, 1.03))
beside.plot(scales, varieties, "o-", color=GUIDED)
beside.axhline(floor_variety, color=NOISE)
beside.text(4, floor_variety + 0.3, "real emoji", color=NOISE, ha="right", va="bottom")
beside.set(
    xlabel="guidance scale", ylabel="distance from the category's mean", ylim=(0, 1.25 * floor_variety)
)
figure

# %% [markdown]
r"""
*Guidance makes pictures more typical, and less various; already at scale 1 they vary less than real emoji.
(45 pictures a point: one picture is two in a hundred.)*

Category read *above* the held-out emoji is no feat: it says that the pictures are more typical than real
ones. The log of the recipe, over 900 pictures at scale 2, says 0.85 beside 0.77.

### Words that never met
A name is an average of words. So we can ask for names that no emoji bears:
"""

# %%
assert abs(log["rows"][-1]["category read"]["value"] - 0.854) < 1e-9
never = ["purple moon", "green face", "blue cat face", "red car", "black flag", "yellow book"]
never = [
    words for words in never if not any(set(words.split()) <= set(name.split()) for name in real.captions)
]
asked = torch.stack([bag(words.split()) for words in never]).repeat_interleave(5, 0).to(device)
invented = emoji_latent.draw(net, vae, asked, seed=6, guidance_scale=3.0)
assert len(never) >= 4
image_rows({words: invented[5 * k : 5 * k + 5] for k, words in enumerate(never)}, scale=0.72)

# %% [markdown]
r"""
*Names from words that never met in the training set. Some meet well; elsewhere one word wins.*

An average of word vectors can combine what it knows apart. It can't say which word belongs to which, so no
"red circle in a blue square": for that, large models keep the words as a sequence, and let every position
of the picture look at them (attention again).

## 17.7 What it costs, at equal quality

"Latents are cheaper" means little before one has said cheaper *for what*. The shipped table has one
transformer, equal in width and depth, trained with equal batches in three spaces, and measured after 1,500
and after 6,000 steps: how far 855 drawn pictures are from real ones (Fréchet distance of a classifier's
features; the floor is what other real pictures score, as many).

**Before you look.** With twelve times as many numbers a token, coarse pixels cost the same as latents. Will
they do as well?
"""

# %%
half = torch.randperm(1711, generator=seeded(0)).to(device)
with torch.no_grad():
    back = torch.cat(
        [vae.decode(vae.encode(part)[0]).clamp(-1, 1) for part in real.images[half[:855]].split(95)]
    )
    ceiling = float(
        frechet_distance(classifier.features(back), classifier.features(real.images[half[-855:]]))
    )
    with FlopCounterMode(display=False) as counter:
        vae.decode(torch.zeros(1, 4, 8, 8, device=device))
    decoding = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        vae.encode(torch.zeros(1, 3, 32, 32, device=device))
    encoding = counter.get_total_flops()

table = studies["pixels"]
floor = table[0]["Frechet distance"]["floor"]
print("space                steps   FD   GFLOP a picture   TFLOP of training")
price = {}
for row in table:
    each = 40 * cost[row["space"]] + (decoding if "latents" in row["space"] else 0)  # 20 steps, guided
    training = 3 * cost[row["space"]] * 64 * row["steps"]  # forward and, twice as dear, backward
    price[row["space"], row["steps"]] = row["Frechet distance"]["value"], each / 1e9, training / 1e12
    print(f"{row['space']:19s}  {row['steps']:5d}  {price[row['space'], row['steps']][0]:4.1f}"
          f"  {each / 1e9:15.1f}   {training / 1e12:17.0f}")  # fmt: skip
first_stage = 3 * (encoding + decoding) * 32 * 4000 / 1e12
print(f"the autoencoder: {first_stage:.0f} TFLOP, once")
print(f"real pictures, there and back: FD {ceiling:.1f}; real pictures (the floor): FD {floor:.1f}")

latent, fine = price["latents, 64 tokens", 1500], price["pixels, 256 tokens", 6000]
assert abs(latent[0] - fine[0]) < 0.2  # equal quality
assert price["latents, 64 tokens", 6000][0] < price["pixels, 256 tokens", 6000][0]
assert price["pixels, 256 tokens", 6000][0] < price["pixels, 64 tokens", 6000][0]
ratios = fine[1] / latent[1], fine[2] / latent[2], fine[2] / (latent[2] + first_stage)
print(
    f"at FD 11, fine pixels cost {ratios[0]:.1f} times as much a picture, {ratios[1]:.0f} times in training;"
)
print(f"with the autoencoder's training {ratios[2]:.0f} times")

figure, (ax, beside) = panels(1, 2, width=11.0, height=3.5, share=False)
marks = {"latents, 64 tokens": DATA, "pixels, 64 tokens": SCORE, "pixels, 256 tokens": VELOCITY}
for panel, k in ((ax, 1), (beside, 2)):
    for name, color in marks.items():
        points = [price[name, steps] for steps in (1500, 6000)]
        panel.plot([p[k] for p in points], [p[0] for p in points], "o-", color=color)
        if k == 1:  # beside the middle of a vertical pair
            left = "256" in name
            panel.text(
                points[0][1] + (-0.6 if left else 0.6),
                0.5 * (points[0][0] + points[1][0]),
                name,
                color=color,
                ha="right" if left else "left",
                va="center",
            )
        else:
            low = "latents" in name
            panel.text(points[0][2], points[low][0] + (-0.9 if low else 0.4), name, color=color)
    panel.axhline(ceiling, color=DATA, linewidth=1, linestyle=":")
    panel.axhline(floor, color=NOISE)
    panel.set(ylim=(0, 16), ylabel="Fréchet distance")
ax.text(24, ceiling + 0.3, "autoencoder's own", color=DATA, ha="right", va="bottom")
ax.text(24, floor - 0.3, "real pictures (floor)", color=NOISE, ha="right", va="top")
ax.set(xlabel="GFLOP to draw one picture", xlim=(0, 26))
beside.set(xlabel="TFLOP of training", xscale="log", xlim=(20, 1500))
figure

# %% [markdown]
r"""
*Two dots a curve: after 1,500 and 6,000 steps. Lower is better, left is cheaper. Latents win in both.*

Latents after 1,500 steps and fine pixels after 6,000 are about equally good. At this quality a picture costs
five times as much in pixels, and training twenty times (seven, when the autoencoder is trained for this
purpose alone). Coarse pixels cost what latents cost and are worse after 6,000 steps than latents after 1,500:
**compressing by a trained network beats compressing by cutting into coarse patches.**

Two honest remarks. All models are far from the floor: 1,711 emoji, six thousand steps, a million
parameters, and one seed a row, so that differences of half a unit may be chance. And the dotted line is about
as far as a model could get that draws the encoder's latents perfectly. Had the pixel models trained long
enough to come below it, latents would have lost. Compression pays as long as the second network is the worse
of the two.

Operations are not seconds. Let us also watch the clock, in turns, and take the best of five:
"""

# %%
nets = {name: emoji_latent.build(device, config=config).eval() for name, config in spaces.items()}
best = dict.fromkeys(nets, math.inf)
with torch.no_grad():
    for _ in range(6):
        for name, timed in nets.items():
            size = timed.config
            z = torch.zeros(16, size.channels, size.size, size.size, device=device)
            begin = time.perf_counter()
            timed(z, torch.full((16,), 0.5, device=device)).sum().item()
            best[name] = min(best[name], time.perf_counter() - begin)
for name, seconds in best.items():
    print(f"{name}: {1000 * seconds:.0f} ms for 16 pictures")
if device == "cpu":  # a GPU is not busy with so little
    assert best["pixels, 256 tokens"] > 2 * best["latents, 64 tokens"]

# %% [markdown]
r"""
## 17.8 Does it copy?

1,711 pictures are few. Chapter 14 showed that the exact denoiser of a finite set is a photocopier; in
latents nothing is different. Write it down. Given $x_t$, the $N$ training latents $z_i$ have the posterior
weights

$$w_i(x_t) = \frac{\exp\big(-\|x_t - \alpha z_i\|^2 / 2\sigma^2\big)}{\sum_j \exp\big(-\|x_t - \alpha
z_j\|^2 / 2\sigma^2\big)}, \qquad \hat x_0 = \sum_i w_i\, z_i. \tag{17.17}$$
<!-- code 17.17: diffedu.core.oracle.DatasetDenoiser -->

Let $d_1 < d_2$ be the distances of $x_t / \alpha$ to the nearest two. The sum cancels in their ratio:

$$\log \frac{w_1}{w_2} = \frac{\mathrm{SNR}(t)}{2}\, \big(d_2^2 - d_1^2\big). \tag{17.18}$$

As $t \to 0$ the SNR grows without bound, so all weight goes to the nearest, and $\hat x_0 \to z_1$: **the
minimum of the training loss copies**. (That is exact for the means of the encoder. Latents drawn afresh, as
in (17.16), make a small bump of each point. The minimum then draws a training latent with its error bar,
which the decoder has learned to read as the same picture.) A network draws something new only because it does
*not* reach that minimum. How early on the way is the copy decided? We noise training latents and look at how
much weight the true origin gets.
"""

# %%
bank = standard[half]
lookup = DatasetDenoiser(bank.double(), path)
t = torch.tensor(0.6, dtype=f64, device=device)
c = path(t)
dice = torch.randn(40, 4, 8, 8, generator=seeded(9, device), device=device)
x_t = path.add_noise(bank[:40], dice, 0.6).double()
likelihoods = Normal(c.alpha * bank.double(), c.sigma).log_prob(x_t[:, None]).flatten(2).sum(2)
w = torch.softmax(likelihoods, dim=1)
verify("17.17", torch.einsum("bn,nchw->bchw", w, bank.double()), lookup(x_t, t), over="numbers")
near = torch.cdist((x_t / c.alpha).flatten(1), bank.double().flatten(1)).topk(2, largest=False)
ratio = likelihoods.gather(1, near.indices)
verify(
    "17.18",
    c.snr / 2 * (near.values[:, 1] ** 2 - near.values[:, 0] ** 2),
    ratio[:, 0] - ratio[:, 1],
    over="latents",
)

moments = torch.linspace(0.5, 0.99, 50, device=device)
sure = {}
for count in (100, 400, 1711):
    kept = []
    for t in moments:
        c = path(t)
        x_t = path.add_noise(bank[:40], dice, t).flatten(1)
        logits = (
            c.alpha * x_t @ bank[:count].flatten(1).T
            - c.alpha**2 * bank[:count].flatten(1).square().sum(1) / 2
        ) / c.sigma**2
        kept.append(torch.softmax(logits, dim=1).diagonal().mean().item())
    sure[count] = torch.tensor(kept)
decided = {count: moments[(values > 0.5).nonzero().max()].item() for count, values in sure.items()}
assert 0.78 < decided[1711] < decided[400] < decided[100] < 0.92
print("half sure: between t = 0.8 and t = 0.9, for 1,711 pictures as for 100")

figure, (ax,) = panels(1, 1, width=7.5, height=3.0)
for values, color in zip(sure.values(), (SCORE, EXTRA, DATA), strict=True):
    ax.plot(moments.cpu(), values, color=color)
ax.text(0.92, 0.94, "100 pictures", color=SCORE)
ax.text(0.92, 0.83, "400", color=EXTRA)
ax.text(0.92, 0.72, "1,711", color=DATA)
ax.set(xlabel="time t (noise at the right)", ylabel="weight of the true origin", ylim=(0, 1.05))
figure

# %% [markdown]
r"""
*With few pictures the table knows from very noisy latents which one it started from.*

So a copying model decides almost at once, at noise levels where to the eye nothing is left. More data push
the decision to lower noise, but slowly: 256 numbers tell a lot.

### An instrument for copies
For each drawn picture we take the distances $d_1$ and $d_2$ to the nearest and second nearest training
picture (mirror images count as training pictures). "Near" needs a comparison. One: what held-out emoji
have, there and back through the autoencoder. Two: a **copy** is a picture with $d_1 < \frac12 d_2$, much
nearer to one training picture than to any other. We try the instrument on a sure copier first: the table.
"""

# %%
copied = vae.from_latents(
    sample(DatasetDenoiser(bank, path), DDIM(), start_noise(path, (108, 4, 8, 8), seeded(1, device)), times)
)
judged = {
    "table": copied.clamp(-1, 1),
    "held out": attempts["held-out emoji,\nthere and back"],
    "network": attempts["diffusion model"],
}
both_ways = torch.cat([real.images, real.images.flip(3)])
found = {name: nearest_neighbours(images, both_ways, k=2) for name, images in judged.items()}
shares = {
    name: (f.distances[:, 0] < 0.5 * f.distances[:, 1]).float().mean().item() for name, f in found.items()
}
for name, f in found.items():
    typical = f.distances[:, 0].median()
    print(f"{name:9s} nearest training picture at {typical:2.0f} (median), copies: {shares[name]:.0%}")
assert shares["table"] > 0.5
assert shares["network"] <= shares["held out"] < 0.1

figure, (ax, beside) = panels(1, 2, width=10.5, height=3.8)
for name, color in {"table": SCORE, "held out": NOISE, "network": DATA}.items():
    d = found[name].distances.cpu()
    ax.scatter(d[:, 0], d[:, 1], s=10, color=color, alpha=0.7, linewidths=0)
ax.plot([0, 20], [0, 40], color=INK, linewidth=1)
ax.text(1, 37, "copies: left of the line", color=INK, fontsize=10)
ax.text(6, 30, "table", color=SCORE)
ax.text(24, 18, "network", color=DATA)
ax.text(24, 14, "held out", color="#666666")
ax.set(xlim=(0, 40), ylim=(0, 40), xlabel="$d_1$: nearest training picture", ylabel="$d_2$: second nearest")
memory = studies["memorisation"]
for mirrored, style, symbol in ((False, "-", "o"), (True, "--", "s")):
    for steps, color in ((1500, EXTRA), (6000, SCORE)):
        line = [r for r in memory if r["mirrored"] == mirrored and r["steps"] == steps]
        beside.plot(
            [r["pictures"] for r in line], [r["copies"]["value"] for r in line], symbol + style, color=color
        )
floors = [r for r in memory if r["mirrored"] and r["steps"] == 6000]
beside.plot(
    [r["pictures"] for r in floors], [r["copies"]["floor"] for r in floors], color=NOISE, linewidth=1.5
)
for (mirrored, steps), color in {
    (0, 6000): SCORE,
    (1, 6000): SCORE,
    (0, 1500): EXTRA,
    (1, 1500): EXTRA,
}.items():
    height = next(r["copies"]["value"] for r in memory if r["mirrored"] == mirrored and r["steps"] == steps)
    label = "and mirrored" if mirrored else f"{steps:,} steps"
    beside.text(88, height + 0.01, label, color=color, ha="right", va="center")
beside.text(1711, 0.055, "held out", color="#666666", ha="right")
beside.set(xscale="log", xlabel="training pictures", ylabel="share of copies")
beside.set(xlim=(30, 2200), ylim=(-0.01, 0.6))
beside.set_xticks([100, 400, 1711], ["100", "400", "1,711"])
figure

# %% [markdown]
r"""
*Left: each dot a picture. The table's lie far left: its copies differ from the originals by what the
autoencoder loses. Right: the latent model trained on fewer pictures, from the shipped table; squares and
dashes are trained with mirror images as well.*

An instrument has a floor and a ceiling. It calls some held-out emoji copies, since the set has families of
near twins. And it sees only about six in ten of the table's copies, though every one of them is a copy: an
emoji that is nearly its own mirror image (a clock, a heart), or has a twin, is as near to that, and
escapes. A share of copies means little without these two numbers. Now what helps:
"""

# %%
at = {(r["pictures"], r["mirrored"], r["steps"]): r for r in memory}
share = {key: r["copies"]["value"] for key, r in at.items()}
assert share[100, False, 6000] > 0.5 > 0.1 > share[400, False, 6000] > share[1711, False, 6000] == 0
assert share[100, True, 6000] < 0.65 * share[100, False, 6000]
assert share[100, False, 1500] < 0.4 * share[100, False, 6000]
for pictures in (100, 400, 1711):
    near = at[pictures, False, 6000]["nearest training picture"]
    plain, mirror, early = (
        share[pictures, False, 6000],
        share[pictures, True, 6000],
        share[pictures, False, 1500],
    )
    print(
        f"{pictures:4d} pictures: copies {plain:3.0%}, mirrored {mirror:3.0%}, stopped early {early:3.0%};",
        end=" ",
    )
    print(f"nearest at {near['value']:4.1f} (held out {near['floor']:.1f})")

one_hundred = real.images[half[:100]]
with torch.no_grad():
    rest = (
        (vae.decode(vae.encode(one_hundred)[0]).clamp(-1, 1) - one_hundred)
        .flatten(1)
        .norm(dim=1)
        .median()
        .item()
    )
    perfect = nearest_neighbours(
        vae.decode(vae.encode(one_hundred)[0]).clamp(-1, 1),
        torch.cat([one_hundred, one_hundred.flip(3)]),
        k=2,
    ).distances
    ceiling = (perfect[:, 0] < 0.5 * perfect[:, 1]).float().mean().item()
print(f"a perfect copy, through the autoencoder, is {rest:.0f} away from its original")
print(f"of 100 perfect copies the instrument sees {ceiling:.0%}")
assert 0.5 < ceiling < 0.9
assert at[100, False, 6000]["nearest training picture"]["value"] < 1.4 * rest

# %% [markdown]
r"""
- **Data help most.** The same network, trained equally long: more than half of its pictures are seen to be
  copies of 100, one in thirty of 400, none of 1,711. At 100 pictures its typical drawing is about as near
  to an original as the autoencoder allows, and the share of copies is not far from what perfect copies
  would score.
- **Mirror images help**: at 100 pictures they take away two copies in five. (Doubling the data by mirroring
  is no doubling.)
- **Stopping early helps**, and costs quality: after 1,500 steps a third of the copies. (On all pictures the
  Fréchet distance was 10.8 then, and 8.6 at the end.)
- A network's size, which we did not vary, matters as well, and so does how often a picture occurs in the
  data (Carlini et al. report both).

And the shipped model, told categories: about as far from the training pictures as held-out emoji are (18
beside 20, with another mix of categories), and no copies seen. Some of that distance is plain lack of
quality. "Not nearer than held-out" is a test that rubbish passes, too, so it belongs beside a test of
quality. Here are the six most suspicious of its pictures:
"""

# %%
assert sum(name.startswith("clock") for name in real.captions) == 20
suspicious = found["network"].distances[:, 0].argsort()[:6]
first_copies = found["table"].distances[:, 0].argsort()[:120:20]
image_rows(
    {
        "network": judged["network"][suspicious],
        "nearest": both_ways[found["network"].indices[suspicious, 0]],
        "table": judged["table"][first_copies],
        "nearest ": both_ways[found["table"].indices[first_copies, 0]],
    },
    titles=[f"{found['network'].distances[k, 0]:.0f}" for k in suspicious.tolist()],
    scale=0.75,
)

# %% [markdown]
r"""
*Top: the nearest ones, with their distances $d_1$. Bottom: what copying looks like.*

All six are clocks. Twenty clocks of the training set differ by their hands only, so $d_1$ and $d_2$ are
nearly equal, and the instrument is silent. But the dial has been learned by heart, and only the hands are
new: a copy of a *part*. Look at the closest pairs, always.

### Told a name that one picture bears
**Before you look.** The training set holds one blue heart (and a light blue one). What are the eight of the
opening picture?
"""

# %%
found["told"] = nearest_neighbours(drawn, both_ways, k=2)
d = found["told"].distances.view(len(told_as), 8, 2)
for words, near in zip([w.split() for w in told_as], d, strict=True):
    bearers = sum(set(words) <= set(name.split()) for name in real.captions)
    seen = (near[:, 0] < 0.5 * near[:, 1]).sum().item()
    print(f"{' '.join(words):12s}  in {bearers:3d} names; at {near[:, 0].median():2.0f}, copies seen: {seen}")
typical = d[:, :, 0].median(1).values.tolist()
assert max(typical[0], typical[2]) < 2 * rest < 0.7 * min(typical[1], typical[4])  # heart, smile; flag, car

chosen = torch.arange(0, 48, 8)
image_rows(
    {"drawn": drawn[chosen], "nearest": both_ways[found["told"].indices[chosen, 0]]},
    titles=told_as,
    scale=0.95,
)

# %% [markdown]
r"""
*One drawing for each of the names, and its nearest training picture.*

It is *the* blue heart, at a distance of 8 where a perfect copy has 5; the smile comes close to the one
slightly smiling face. The instrument saw none of it, since both are nearly their own mirror images. So the
sentence "the model does not copy" holds for categories and for words like "flag", which many pictures bear.
**A label that few pictures bear can be a key to those pictures: behind it the training set is small**, and
the right panel above starts at its left end. It need not be one: "car", in six names, is as far off as
"flag". Nor is every small distance a copy: a moon is a plain disc, and plain shapes are near to each other.
Somepalli et al. find the same of large models with captions that occur only once.

## 17.9 Play

Two emoji, and a slider from one to the other. Compare the two pictures in the middle. What do straight and
spherical do to the length of the latents, and to the contrast? Find a pair for which the decoded middle
*looks like* something.
"""

# %%
names = ["sweat smile", "clock4", "blue heart", "full moon", "car", "horse", "popcorn", "balloon", "flag tn"]
LatentWalk(vae, {name: real.images[real.captions.index(name)] for name in names}, device=device)

# %% [markdown]
r"""
## 17.10 Exercises

Each check says what is wrong, as far as it can tell. `hint("17.1")` gives hints one by one.

**Exercise 17.1 ★ — the price.** Write (17.4) for latent pictures: nats of each picture, from what the
encoder returns.
"""


# %% tags=["exercise"]
def kl_to_standard(mean, log_variance):
    """KL of N(mean, exp(log_variance)) to N(0, I): shape (B,), for both of shape (B, C, H, W)."""
    ...


# %%
check("17.1", kl_to_standard)

# %% [markdown]
r"""
**Exercise 17.2 ★ — whose decoder?** A tutorial trains an autoencoder of pictures with 784 values in $[-1,
1]$ to 16 latents, with loss `((x - x_hat)**2).mean() + 0.001 * kl.mean()`, where `kl` has shape (B, 16):
the terms of (17.4) before they are summed. (a) Which $\lambda$ of (17.6) is that? (b) Which standard
deviation $\tau$ of the decoder does it claim?
"""

# %% tags=["exercise"]
kl_weight = ...
decoder_std = ...

# %%
check("17.2", (kl_weight, decoder_std))

# %% [markdown]
r"""
**Exercise 17.3 ★★ — what is kept?** Derive from (17.8) and (17.9) the mean squared error along a direction
of variance $\lambda$ when the best linear VAE decodes (a) the *mean* of its latent, (b) a *drawn* latent.
Mind the directions that are not told.
"""


# %% tags=["exercise"]
def linear_errors(variance, tau2):
    """Errors with the mean and with a drawn latent, each of shape (D,), for variances of shape (D,)."""
    ...


# %%
check("17.3", linear_errors)

# %% [markdown]
r"""
**Exercise 17.4 ★★ — the arc.** Write the spherical way for batches: each pair has an angle of its own. The
lengths may differ; with $\omega$ the angle between the two as vectors, the weights are
$\sin((1-a)\omega)/\sin\omega$ and $\sin(a\omega)/\sin\omega$.
"""


# %% tags=["exercise"]
def spherical(first, second, share):
    """Points on the arcs, shape (B, C, H, W), for ends of that shape and shares of shape (B,)."""
    ...


# %%
check("17.4", spherical)

# %% [markdown]
r"""
**Exercise 17.5 ★ — predict.** Somebody trains on latents of standard deviation 5 and forgets to divide. His
colleague divides. Both look at their noisy training latents at $t = 0.5$. Compared with his colleague's, is
the emoji in his `"easier to make out"`, `"harder to make out"`, or `"the same"`?
"""

# %% tags=["exercise"]
undivided_latents_are = ...

# %%
check("17.5", undivided_latents_are)

# %% [markdown]
r"""
**Exercise 17.6 ★★★ — the shifted clock.** On the cosine path, latents of standard deviation $\varsigma$ at
time $t$ have the same SNR as latents of standard deviation 1 at another time $t'$. Derive $t'(t,
\varsigma)$.
"""


# %% tags=["exercise"]
def equal_noise_time(t, size):
    """t' of the same shape as t, in (0, 1), for a standard deviation `size` > 0."""
    ...


# %%
check("17.6", equal_noise_time)

# %% [markdown]
r"""
**Exercise 17.7 ★★ — the copy counter.** Write section 17.8's instrument: the share of pictures whose
nearest neighbour in the bank is at less than half the distance of the second nearest.
"""


# %% tags=["exercise"]
def share_of_copies(images, bank):
    """A float, for images of shape (Q, C, H, W) and a bank of shape (N, C, H, W), N >= 2."""
    ...


# %%
check("17.7", share_of_copies)

# %% [markdown]
r"""
**Exercise 17.8 ★★★ — from the errata museum: a latent pipeline.** A picture is encoded, noised, denoised
once and decoded. Three mistakes, each of a kind that has been printed: find and mend them. `encode` returns
mean and log-variance; `denoise` maps a noisy latent to the belief $\hat x_0$. It was trained on latents
*multiplied* by `factor` (as Stable Diffusion's are, by 0.18215).
"""


# %% tags=["exercise"]
def pipeline(encode, decode, denoise, x, eps_encoder, eps, alpha, sigma, factor):
    """The believed picture, for noise of the latents' shape and numbers alpha, sigma, factor."""
    mean, log_variance = encode(x)
    z = mean + torch.exp(log_variance) * eps_encoder
    z = z * factor
    z_t = alpha * z + sigma * eps
    noisy_and_clean = [z_t, denoise(z_t)]
    return decode(noisy_and_clean[0] * factor)


# %%
check("17.8", pipeline)

# %% [markdown]
r"""
**Mini-project 17.9 ★★★ — how small may a latent be?** Train autoencoders with 1, 2, 4 and 8 latent channels
(`VAEConfig`), and the latent model of this chapter on each, for equal time. Which number of channels draws
best, and which reconstructs best? Hand in a page with one figure.

| | 0 | 1 | 2 |
|---|---|---|---|
| prediction | none | written afterwards | written before, with a reason |
| comparison | different steps | equal steps, one seed | equal steps, seeds' spread shown |
| measures | one | reconstruction and generation | both with floors, and the ceiling of (17.2) |
| judgement | "better" | size of the difference | which network is the bottleneck, and when that changes |

## 17.11 What the field does with it, and where this breaks

- **The plan scales.** Rombach et al. (2022) put it to work: an autoencoder that shrinks photographs
  eightfold along each edge, and a U-Net with attention to the words, in its latents. Later ones exchange
  the U-Net for a transformer (chapter 18).
- **The first stage is trained for the eye.** Squared error makes decoders blur. Large autoencoders add a
  perceptual loss and an adversarial one, and weigh the KL some $10^{-6}$. Then it is no longer a bound on
  anything, but the price list (17.9) still says what such a weight does to the order in the latents: nearly
  nothing.
- **Instead of a KL term** one may round latents to a learned list of vectors (VQ), or fix their size by a
  norm.
- **Text in small letters, hands, faces far away** die in the first stage, and no prompt brings them back.
- **One factor for all channels** is customary; ours has four and a shift. It is the least interesting line
  of a pipeline and a frequent cause of grey pictures.
- **Our numbers are those of a toy.** 1,711 pictures; a classifier's features in place of Inception's; a
  network that a laptop trains in half an hour. The *directions* (latents cheaper at equal quality, copies
  vanish with data) are what transfers, as far as the literature reports the same.
- **"No copies seen" is a statement about one instrument.** Ours is blind to near-symmetric pictures and to
  copies of parts.

### What to remember
1. A VAE is the bound of chapter 6 with one learned step; its KL weight is twice the decoder's variance.
2. It keeps what varies more than $\tau^2$, at half a logarithm a latent.
3. The law of its latents is not its prior. A diffusion model learns the difference.
4. Divide latents by their standard deviation before, multiply after, decode once, and decode beliefs.
5. The minimum of the loss copies. Data, and stopping early, keep a network from it; a name that few pictures
   bear can lead back to it. Measure it beside a floor and a ceiling, and look.

### References
- Kingma, Welling 2014, *Auto-encoding variational Bayes*: (17.3) is section 2.2, (17.5) section 2.4, (17.4)
  appendix B. Rezende, Mohamed, Wierstra 2014, *Stochastic backpropagation*.
- Rombach, Blattmann, Lorenz, Esser, Ommer 2022, *High-resolution image synthesis with latent diffusion
  models*: the first stage, section 3.1; latent diffusion, section 3.2; the scaling of latents, appendix G.
- Lucas, Tucker, Grosse, Norouzi 2019, *Don't blame the ELBO! A linear VAE perspective on posterior
  collapse*; Tipping, Bishop 1999, *Probabilistic principal component analysis*: (17.9). Cover, Thomas,
  *Elements of information theory*, on parallel Gaussian sources: the same list, there called reverse
  water-filling.
- Hoffman, Johnson 2016, *ELBO surgery*: (17.10).
- Higgins et al. 2017, *beta-VAE*: weights of the KL above 1.
- Karras et al. 2022, *Elucidating the design space*, appendix B.3: (17.17) is its eq. 57.
- Carlini et al. 2023, *Extracting training data from diffusion models*; Somepalli et al. 2023, *Understanding
  and mitigating copying in diffusion models*.
- Pictures: Noto Emoji, Google, Apache License 2.0.
"""
