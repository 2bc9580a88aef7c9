# %% [markdown]
"""
# 9. Tweedie: scores and noise prediction are one

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/09_tweedie.ipynb)

*One formula turns score, noise and clean point into each other, and two rival models turn out to be one*

In 2019 and 2020 two models appeared that seemed to share little. One learns the slope of a log-density and
climbs it with a kick of noise at each step (NCSN, chapter 4). The other learns to guess noise and walks a
Markov chain backwards (DDPM, chapter 7). They noise the data differently, train on different targets and
sample by different rules.

So let us do something rude. Train one network by each recipe. Then take the network out of each model, put
it into the *other* model's sampler, and press the button. Nothing is trained again.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math

import torch
from torch import nn

from diffedu import EPS, PREDICTIONS, SCORE, VE, VP, X0, V
from diffedu import Ancestral, Cosine, DDIM, DenoisingLoss, DiscreteDDPM, GaussianMixture, Langevin
from diffedu import NetworkDenoiser, OnPath, RectifiedFlow, convert, eps_hat, least_loss, linear_betas
from diffedu import posterior_covariance, sample, score, seeded, time_at_half_log_snr, trailing_times
from diffedu import velocity, weight_between
from diffedu.evaluate import energy_distance, floor, sliced_wasserstein2
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.nn import MLP
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, panels, square
from diffedu.show import SCORE as ORANGE, VELOCITY as GREEN
from diffedu.show.widgets import ParameterisationDial
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
double = torch.float64

# The data of this chapter: a pinwheel, five blades of different weight.
angle = 2 * math.pi * torch.arange(5) / 5 + 0.3
outwards = torch.stack([angle.cos(), angle.sin()], dim=1)
blade = torch.stack([(angle + 0.93).cos(), (angle + 0.93).sin()], dim=1)
frame = torch.stack([blade, torch.stack([-blade[:, 1], blade[:, 0]], dim=1)], dim=2)
shape = frame @ torch.diag(torch.tensor([0.40, 0.07]) ** 2) @ frame.mT
wheel = GaussianMixture(torch.tensor([0.30, 0.10, 0.25, 0.15, 0.20]), 1.2 * outwards, shape)
there = wheel.to(device)  # the same, where the networks live
points = there.sample(20_000, seeded(1, device))

# %%
ve = VE()  # NCSN's path: x_t = x0 + sigma eps
T = 100
vp = DiscreteDDPM(linear_betas(T, 1e-3, 0.14))  # DDPM's path: x_t = sqrt(alpha_bar) x0 + ...


class ScoreNet(nn.Module):
    """Chapter 4's network: a score, with its input and its output brought to one size."""

    def __init__(self):
        super().__init__()
        self.inside = MLP(2, t_max=ve.t_max, width=64)

    def forward(self, x_t, t):
        sigma = ve(t).sigma[:, None]
        return self.inside(x_t / (1 + sigma**2).sqrt(), t) / sigma


def trained(net, loss, steps, batch=512):
    """The running average of the weights after training."""
    state = TrainState(net.to(device), TrainConfig(steps=steps, batch=batch, lr=4e-3, ema=0.995))
    for _ in train(state, lambda net, batch, rng: loss(net, *batch, rng), (points,)):
        pass
    return state.ema.net.eval()


def sigma_squared(c):
    return c.sigma**2


torch.manual_seed(0)
ncsn_net = trained(ScoreNet(), DenoisingLoss(ve, SCORE, weight=sigma_squared), steps=1200)
ddpm_net = trained(MLP(2, t_max=float(T), width=64), DenoisingLoss(vp, EPS), steps=1200)
ncsn, ddpm = NetworkDenoiser(ncsn_net, ve, SCORE), NetworkDenoiser(ddpm_net, vp, EPS)


class Transplanted:
    """A denoiser in another body: made for its own path, asked on this one."""

    def __init__(self, donor, path):
        self.donor, self.path = donor, path

    def __call__(self, x, t):
        c = self.path(t)
        u = time_at_half_log_snr(self.donor.path, c.half_log_snr)
        return self.donor(self.donor.path(u).alpha / c.alpha * x, u)


# %%
ladder = time_at_half_log_snr(ve, -torch.linspace(math.log(20), math.log(0.04), 14)).to(device)


def langevin_sampler(denoiser, n, seed):
    """NCSN's: down a ladder of noise levels, thirty Langevin steps on each rung, one last denoising."""
    x = ve(ladder[0]).sigma * torch.randn(n, 2, generator=seeded(seed, device), device=device)
    rng = seeded(seed + 1, device)
    for t in ladder:
        x = sample(denoiser, Langevin(0.1), x, t.expand(31), generator=rng)
    with torch.no_grad():
        return denoiser(x, ladder[-1])


def ancestral_sampler(denoiser, n, seed):
    """DDPM's: a hundred steps back along the chain."""
    start = torch.randn(n, 2, generator=seeded(seed, device), device=device)
    return sample(denoiser, Ancestral(), start, trailing_times(vp, T), generator=seeded(seed + 1, device))


n = 2000
drawn = {
    "NCSN net,\nits own sampler": langevin_sampler(ncsn, n, 10),
    "NCSN net,\nDDPM's sampler": ancestral_sampler(Transplanted(ncsn, vp), n, 20),
    "DDPM net,\nits own sampler": ancestral_sampler(ddpm, n, 30),
    "DDPM net,\nNCSN's sampler": langevin_sampler(Transplanted(ddpm, ve), n, 40),
}
real = wheel.sample(n, seeded(2))
figure, axes = panels(1, 5, width=13, height=3.3)
for ax, (name, cloud) in zip(axes, {"data": real, **drawn}.items(), strict=True):
    color = NOISE if name == "data" else DATA if "own" in name else ORANGE
    ax.scatter(*cloud.cpu().T, s=2.5, color=color, alpha=0.5, linewidths=0)
    square(ax, 2.4, ylabel="$x_2$" if name == "data" else "")
    ax.set_title(name, fontsize=11)
figure

# %% [markdown]
r"""
*Grey: the data. Blue: each network at home. Orange: each in the other's body. All five blades are there in
their proportions. The DDPM network, trained for seconds only, blurs them a little, and takes its blur along:
what you see is the network's character, not the sampler's. Section 9.6 measures what the eye cannot.*

The operation is the class `Transplanted` above, three lines of arithmetic. You cannot read them yet.

**Before you read on.** At its noisiest, the NCSN network was trained on points 50 units and more from the
origin. The DDPM network has never seen a point much further out than 4. What would you do to a point
before showing it to the other network? And which "time" would you tell it? Write down two guesses.

**You will be able to**
- prove Tweedie's formula for *any* data, and say exactly why the gradient may enter the integral;
- read from a denoiser's Jacobian how unsure its guess is, and catch a network that claims the impossible;
- turn any of five predictions into any other by one 2 × 2 system, and their losses by one weight;
- say at which noise levels each prediction is stable, from a single angle;
- move a trained network to another path and another sampler, and test that you did it right.

**You need** the forward process (5.10), and a look at chapters 4 and 7; their results are restated here.
Gradients, Bayes' rule, 2 × 2 determinants. **Time**: 60 minutes to read, under a minute to run, two to
three hours with the exercises.

## 9.1 The formula, and the step that books skip

A clean point is shrunk, and noise is added:

$$x_t = \alpha\, x_0 + \sigma\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I),\qquad \sigma > 0.
\tag{9.1}$$
<!-- definition 9.1: the forward process; alpha and sigma belong to the time t -->

We see $x_t$ and want $x_0$. It cannot be had: many clean points may be behind one noisy point. What can be
had is their average, $\hat x_0(x) = \mathbb E[x_0 \mid x_t = x]$, and it is the guess with the least squared
error (7.14). How does it hang together with the density of the noisy points? That density is an average over
all clean ones,

$$p_t(x) = \mathbb E_{x_0}\big[q(x \mid x_0)\big], \qquad
q(x \mid x_0) = \mathcal N(x;\ \alpha x_0,\ \sigma^2 I), \tag{9.2}$$
<!-- definition 9.2: the density of noisy points; the expectation is over the data, which needs no density -->

and we want its score, $\nabla\log p_t = \nabla p_t / p_t$. The gradient of the inner part is short, since a
Gaussian is the exponential of a square. Mind the minus: the density falls as $x$ leaves $\alpha x_0$.

$$\nabla_{\!x}\, q(x \mid x_0) = -\,\frac{x - \alpha x_0}{\sigma^2}\; q(x \mid x_0). \tag{9.3}$$

Now one would like to write $\nabla\,\mathbb E[q] = \mathbb E[\nabla q]$ and go on. Nearly every text
does. But a gradient is a limit, an expectation is an integral, and the two may not always be exchanged.

**Before you read on.** The data might be hideous: points, fractals, tails so heavy that $x_0$ has no mean.
What do we have to assume of it?

**Nothing.** Here is why. Let $r = \lVert x - \alpha x_0\rVert / \sigma$. By (9.3) the length of the gradient
is $(2\pi\sigma^2)^{-D/2}\, \frac1\sigma\, r\, e^{-r^2/2}$, and the function $r\,e^{-r^2/2}$ is largest at
$r = 1$ (its derivative is $(1 - r^2)\,e^{-r^2/2}$). So

$$\lVert \nabla_{\!x}\, q(x \mid x_0) \rVert \;\le\; M = \frac{e^{-1/2}}{(2\pi)^{D/2}\,\sigma^{D+1}}
\qquad\text{for all } x \text{ and all } x_0. \tag{9.4}$$

One number bounds all slopes. Take a unit vector $e$ and a small $h$. By the mean value theorem the difference
quotient $\big(q(x + h e \mid x_0) - q(x \mid x_0)\big)/h$ is a slope somewhere between, so it lies between
$-M$ and $M$, whatever $x_0$ and $h$. A constant has a finite expectation under *every* distribution of $x_0$.
That is the hypothesis of the theorem of dominated convergence: the limit $h \to 0$ may be taken inside.

$$\nabla p_t(x) = \mathbb E_{x_0}\big[\nabla_{\!x}\, q(x \mid x_0)\big]. \tag{9.5}$$

The assumption that did the work is $\sigma > 0$: for $\sigma \to 0$ the bound goes to infinity, and
indeed data on a curve has no score. (The same argument, with the next derivative, gives second
derivatives; we shall need them in section 9.2. A little noise makes *anything* infinitely smooth.)

Put (9.3) into (9.5) and divide by $p_t(x)$. In front of the line stands $q(x \mid x_0) / p_t(x)$, the factor
by which Bayes' rule turns the distribution of $x_0$ into that of $x_0$ given $x$. So what we have is a mean
under the posterior:

$$\nabla\log p_t(x) = \mathbb E\Big[-\frac{x_t - \alpha x_0}{\sigma^2}\,\Big|\, x_t = x\Big]
= -\,\frac{x - \alpha\,\hat x_0(x)}{\sigma^2}
= -\,\frac{\hat\varepsilon(x)}{\sigma}, \tag{9.6}$$
<!-- code 9.6: diffedu.core.denoiser.score -->

with $\hat\varepsilon(x) = \mathbb E[\varepsilon \mid x_t = x]$; the last step is (9.1), solved for
$\varepsilon$ and averaged. Solved for the guess, it is **Tweedie's formula**:

$$\boxed{\ \hat x_0(x) = \mathbb E[x_0 \mid x_t = x] = \frac{x + \sigma^2\, \nabla\log p_t(x)}{\alpha}\ }
\tag{9.7}$$

In words: *to guess the clean point, climb the log-density of the noisy points by a step of exactly
$\sigma^2$, then undo the shrinking.* Left of the equality sign stands Bayes; right of it nobody asks what the
data looked like before.

"No assumption" is a large claim, so we test it where it should hurt. On a line: a coin ($x_0 = \pm1$, no
density at all), a box (a density with jumps), and Cauchy's distribution, whose tails are so heavy that
$x_0$ has no mean. Yet $\mathbb E[x_0 \mid x_t]$ exists, because the Gaussian factor tames the tails. For the
coin the sum has two terms, and both sides can be written down:

$$\hat x_0(x) = \frac{e^{\alpha x/\sigma^2} - e^{-\alpha x/\sigma^2}}{e^{\alpha x/\sigma^2} +
e^{-\alpha x/\sigma^2}} = \tanh\frac{\alpha x}{\sigma^2}. \tag{9.8}$$
"""

# %%
alpha, sigma = torch.tensor(0.8, dtype=double), torch.tensor(0.6, dtype=double)
grid = torch.linspace(-40, 40, 80_001, dtype=double)
lines = {  # clean values and their probabilities
    "coin": (torch.tensor([-1.0, 1.0], dtype=double), torch.tensor([0.5, 0.5], dtype=double)),
    "box": (grid[grid.abs() <= 1.5], torch.ones(3001, dtype=double) / 3001),
    "Cauchy": (grid, 1 / (1 + grid**2) / (1 / (1 + grid**2)).sum()),
}


def kernel(x, x0):
    return torch.exp(-0.5 * ((x - alpha * x0) / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)


def gradient(function, x):
    """Derivative of each value of function(x), shape (B,), by its own row of x."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


at = torch.linspace(-3, 3, 61, dtype=double)
pair, clean = torch.randn(2, 200, generator=seeded(3), dtype=double)
verify(
    "9.3",
    gradient(lambda x: kernel(x, clean), pair),
    -(pair - alpha * clean) / sigma**2 * kernel(pair, clean),
)

steepest, bounds = [], []
for D in (1, 2, 3):  # |grad q| on a ray from alpha x0; the steepest place lies on it
    bell = torch.distributions.MultivariateNormal(
        torch.zeros(D, dtype=double), sigma**2 * torch.eye(D).double()
    )
    ray = 2 * at[:, None] * torch.ones(D, dtype=double) / (5 * math.sqrt(D))
    steepest.append(gradient(lambda x, q=bell: q.log_prob(x).exp(), ray).norm(dim=1).max())
    bounds.append(math.exp(-0.5) / ((2 * math.pi) ** (D / 2) * sigma ** (D + 1)))
verify("9.4", torch.stack(steepest), torch.stack(bounds), over="steepest slopes")

guesses = {}
for name, (value, probability) in lines.items():
    density = lambda x, v=value, p=probability: kernel(x[:, None], v) @ p  # noqa: E731
    inside = (-(at[:, None] - alpha * value) / sigma**2 * kernel(at[:, None], value)) @ probability
    h = 1e-4
    outside = (density(at + h) - density(at - h)) / (2 * h)  # no derivative has gone inside
    verify("9.5", outside, inside, rtol=1e-6, over=f"points ({name})")
    posterior = kernel(at[:, None], value) * probability
    guesses[name] = (posterior @ value) / posterior.sum(1)  # Bayes
    climbed = (at + sigma**2 * gradient(lambda x: density(x).log(), at)) / alpha  # the slope  # noqa: B023
    verify("9.7", guesses[name], climbed, over=f"points ({name})")
verify(
    "9.8",
    (at + sigma**2 * gradient(lambda x: kernel(x[:, None], lines["coin"][0]).sum(1).log(), at)) / alpha,
    torch.tanh(alpha * at / sigma**2),
    over="points",
)

wheel64 = wheel.to(dtype=double)
x = wheel64.noised(vp, 30.0).sample(1000, seeded(4))
c = vp(torch.tensor(30.0, dtype=double))
slope = gradient(wheel64.noised(vp, 30.0).log_prob, x)
verify("9.6", slope, -(x - c.alpha * wheel64.posterior_mean(x, 30.0, vp)) / c.sigma**2, over="coordinates")
ours = (x + c.sigma**2 * slope) / c.alpha
assert torch.allclose(ours, wheel64.denoiser(vp)(x, 30.0), atol=1e-9)
assert torch.allclose(slope, score(wheel64.denoiser(vp), x, 30.0), atol=1e-9)
print("autograd through log p_t, Bayes over the blades, and diffedu's score agree on the pinwheel")

# %% [markdown]
r"""
### The winner's curse
Tweedie's formula is much older than diffusion models. Robbins reported it in 1956, from a letter; Efron
made it known again in 2011, for a problem that has nothing to do with pictures: selection bias. An example.
Two thousand students have abilities, and an examination measures each with an error. Look at the best
twenty. Their *measured* average exaggerates: among the best are those who are good and those who were
lucky.

**Before you read on.** Correct the scores of these twenty, without knowing how abilities are distributed,
from nothing but the two thousand results. Which function of the results do you need?

The slope of their log-density. It is negative on the right flank, so the correction goes down, by
$\sigma^2$ times the slope. Below, the density comes from a histogram's smooth cousin, a sum of small bells
over the results themselves. No ability is looked at.
"""

# %%
rng = seeded(5)
ability = torch.where(
    torch.rand(2000, generator=rng) < 0.8,
    0.5 * torch.randn(2000, generator=rng),
    2.0 + 0.5 * torch.randn(2000, generator=rng),
).to(double)
result = ability + torch.randn(2000, generator=rng, dtype=double)  # alpha = 1, sigma = 1
bells = lambda x: torch.exp(-0.5 * ((x[:, None] - result) / 0.45) ** 2).mean(1)  # noqa: E731
corrected = result + gradient(lambda x: bells(x).log(), result)  # (9.7)
best = result.argsort()[-20:]
print("the best twenty, on average:")
print(
    f"  measured {result[best].mean():.1f}, corrected {corrected[best].mean():.1f},",
    f"true {ability[best].mean():.1f}",
)
raw, mended = ((v - ability).square().mean() for v in (result, corrected))
print(f"mean squared error of all two thousand: {raw:.2f} as measured, {mended:.2f} corrected")
assert mended < 0.75 * raw

# %%
spot = vp(torch.tensor(22.0))
start = wheel.noised(vp, 22.0).sample(120, seeded(6))
end = spot.alpha * wheel.denoiser(vp)(start, 22.0)
figure, (left, middle, right) = panels(1, 3, width=13, height=3.9)
for guess, color, style in zip(guesses.values(), (DATA, ORANGE, GREEN), ("-", "--", "-."), strict=True):
    left.plot(at, guess, color=color, linestyle=style)
left.plot(at, at / alpha, color=NOISE, linewidth=1, linestyle=":")
left.set(xlabel="noisy value $x$", ylabel=r"best guess $\hat x_0(x)$", xlim=(-3, 3), ylim=(-3, 3))
left.set_title("three kinds of data, one formula")
for x_, y_, name, color in (
    (-2.9, -0.88, "coin", DATA),
    (2.3, 0.72, "box", ORANGE),
    (-1.75, -2.75, "Cauchy", GREEN),
    (1.1, 2.55, r"$x/\alpha$", "#666666"),
):
    left.text(x_, y_, name, color=color)
middle.scatter(result, ability, s=4, color=NOISE, linewidths=0)
middle.scatter(result[best], ability[best], s=16, color=DATA)
ordered = result.argsort()
middle.plot(result[ordered], corrected[ordered], color=ORANGE)
middle.plot([-3.5, 5.5], [-3.5, 5.5], color=INK, linewidth=1, linestyle=":")
middle.text(3.3, 4.2, "taken at\nface value", color=INK, ha="right", va="bottom")
middle.text(0.2, -2.7, "orange: corrected by (9.7)\nblue: the best twenty", color=INK)
middle.set(xlabel="result", ylabel="ability", xlim=(-3.6, 5.6), ylim=(-3.6, 5.6), title="the winner's curse")
right.scatter(*(spot.alpha * real[:900]).T, s=4, color="#C9C9C9", linewidths=0)
move = end - start
right.quiver(*start.T, *move.T, color=ORANGE, angles="xy", scale_units="xy", scale=1, width=0.004)
right.scatter(*start.T, s=5, color=INK, linewidths=0, zorder=3)
square(right, 2.4)
right.set_title(r"steps of $\sigma^2\,\nabla\log p_t$, at $t = 22$")
figure

# %% [markdown]
r"""
*Left: the best guess for the coin saturates at ±1, that for the box bends at its edges, and far out the heavy
tails are believed almost as they are. Middle: the correction curve, found without any ability, runs through
the middle of the cloud. Right: from each noisy point of the pinwheel (black) the step of (9.7); it ends in
$\alpha\hat x_0$, on a blade if the blade is clear, between blades if it is not.*

### Lose the sign
The minus of (9.3) is missing in more than one printed tutorial. With it missing, (9.7) reads
$(x - \sigma^2\nabla\log p_t)/\alpha$: the guess runs *away* from the data. There is a test that needs no
network and no integral. **If all data is one point $m$, every guess must be $m$**, at every $x$ and every
noise level. For that data $p_t$ is a single Gaussian; three candidates take the test.
"""

# %%
m = torch.tensor([0.7, -0.4], dtype=double)
one_point = GaussianMixture.isotropic(m[None], 0.0)
c = VP()(torch.tensor(0.3, dtype=double))
x = c.alpha * m + c.sigma * torch.randn(500, 2, generator=seeded(7), dtype=double)
slope = gradient(one_point.noised(VP(), 0.3).log_prob, x)
for name, guess in {
    "(x + sigma² score) / alpha": (x + c.sigma**2 * slope) / c.alpha,
    "(x - sigma² score) / alpha": (x - c.sigma**2 * slope) / c.alpha,
    "x + sigma² score          ": x + c.sigma**2 * slope,
}.items():
    print(
        f"{name}  root mean square distance from the only data point:",
        f"{(guess - m).square().sum(1).mean().sqrt():.2f}",
    )

# %% [markdown]
r"""
The second is the lost sign, the third the lost $\alpha$ (right for NCSN, where $\alpha = 1$; wrong here).

## 9.2 How sure is the guess?

Between two blades the best guess is a point where no data is. A sampler that goes there at once draws
nonsense; it must know how *unsure* the guess is. For that no second network is needed. The answer stands in
the first one.

Write out the posterior of $x_0$ and sort by what depends on what. The square in $q$ has three parts; the one
with $\lVert x\rVert^2$ does not contain $x_0$ and drops out in the normalisation:

$$p(x_0 \mid x) \;\propto\; p_0(x_0)\; e^{-\alpha^2\lVert x_0\rVert^2/2\sigma^2}\; e^{\,\eta\cdot x_0},
\qquad \eta = \frac{\alpha}{\sigma^2}\, x, \qquad
Z(\eta)
= \mathbb E_{x_0}\big[e^{-\alpha^2\lVert x_0\rVert^2/2\sigma^2}\, e^{\,\eta\cdot x_0}\big]. \tag{9.9}$$

The noisy point enters through $\eta$ alone, and linearly in the exponent: as $x$ moves, the posterior is
*tilted*. (Such a family of distributions is called exponential.) From (9.2), $Z$ is the density of noisy
points without its bell, $\log Z = \log p_t(x) + \lVert x\rVert^2/2\sigma^2 + \text{const}$. And $Z$ generates
moments. One derivative by $\eta$ brings down one $x_0$:

$$\nabla_{\!\eta}\log Z = \frac{\mathbb E_{x_0}[x_0\, e^{\cdots}]}{Z} = \mathbb E[x_0 \mid x] = \hat x_0 .
\tag{9.10}$$

(That is (9.7) once more, by another road.) A second derivative, by the quotient rule:

$$\frac{\partial\, \hat x_{0,i}}{\partial \eta_j}
= \mathbb E[x_{0,i}\,x_{0,j} \mid x] - \hat x_{0,i}\,\hat x_{0,j} = \operatorname{Cov}[x_0 \mid x]_{ij}.
\tag{9.11}$$

*Mean is the first derivative, covariance the second.* Back to $x$: since $\eta = \alpha x/\sigma^2$, a
derivative by $\eta$ is $\sigma^2/\alpha$ times one by $x$. So

$$\boxed{\ \operatorname{Cov}[x_0 \mid x_t = x]
= \frac{\sigma^2}{\alpha}\;\frac{\partial \hat x_0}{\partial x}\ }
\;=\; \frac{\sigma^2}{\alpha^2}\,\Big(I + \sigma^2\,\nabla^2\log p_t(x)\Big). \tag{9.12}$$
<!-- code 9.12: diffedu.core.denoiser.posterior_covariance -->

The second form is (9.7), differentiated. **A guess that follows the input closely is an unsure guess; one
that stands still while the input moves is sure.** Below is the whole algorithm: one backward pass for
each coordinate.
"""


# %%
def covariance(denoiser, x_t, t):
    """(9.12): Cov[x0 | x_t], shape (B, D, D), for x_t (B, D) and a number t."""
    x = x_t.detach().requires_grad_()
    guess = denoiser(x, t)
    rows = [torch.autograd.grad(guess[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
    c = denoiser.path(torch.tensor(t, dtype=x.dtype))
    return c.sigma**2 / c.alpha * torch.stack(rows, dim=1)


def covariance_by_bayes(mixture, x, t, path):
    """Within blades plus between blades, from the posterior mixture; nothing is differentiated."""
    weight, mean, within = mixture.posterior(x, t, path)
    apart = mean - torch.einsum("bk,bki->bi", weight, mean)[:, None]
    return torch.einsum("bk,bkij->bij", weight, within) + torch.einsum(
        "bk,bki,bkj->bij", weight, apart, apart
    )


t = 30.0
c, exact = vp(torch.tensor(t, dtype=double)), wheel64.denoiser(vp)
x = wheel64.noised(vp, t).sample(300, seeded(8))
log_p = wheel64.noised(vp, t).log_prob


def log_Z(eta):
    x = c.sigma**2 / c.alpha * eta
    return log_p(x) + x.square().sum(1) / (2 * c.sigma**2)


by_bayes = covariance_by_bayes(wheel64, x, t, vp)
verify("9.12", covariance(exact, x, t), by_bayes, rtol=1e-8, over="entries")
assert torch.allclose(covariance(exact, x, t), posterior_covariance(exact, x, t))
eta = c.alpha / c.sigma**2 * x
verify("9.10", gradient(log_Z, eta), wheel64.posterior_mean(x, t, vp), rtol=1e-8, over="coordinates")
second = torch.vmap(torch.func.hessian(lambda e: log_Z(e[None])[0]))(eta[:50])
verify("9.11", second, by_bayes[:50], rtol=1e-7, over="entries")
curvature = torch.vmap(torch.func.hessian(lambda x: log_p(x[None])[0]))(x[:50])
verify("9.12", c.sigma**2 / c.alpha**2 * (torch.eye(2) + c.sigma**2 * curvature), by_bayes[:50], rtol=1e-7)

# (9.9): the ratio of posterior densities at two clean points, by tilting and by Bayes' rule with q
weight, mean, within = (part[0] for part in wheel64.posterior(x[:1], t, vp))
a, b = wheel64.sample(2, seeded(9))
posterior = GaussianMixture(weight.clamp(min=1e-300), mean, within)
tilted = lambda p: wheel64.log_prob(p[None]) - c.alpha**2 * p @ p / (2 * c.sigma**2) + eta[0] @ p  # noqa: E731
verify("9.9", tilted(a) - tilted(b), posterior.log_prob(a[None]) - posterior.log_prob(b[None]), rtol=1e-7)

# %%
figure, axes = panels(1, 3, width=13, height=4.1)
circle = torch.stack([torch.linspace(0, 2 * math.pi, 80).cos(), torch.linspace(0, 2 * math.pi, 80).sin()])
origins = {
    8.0: [(1.35, 0.0), (-0.1, 1.15), (0.15, -0.9)],
    22.0: [(1.2, 0.1), (-0.5, 0.45), (0.1, -1.2)],
    45.0: [(0.9, 0.5), (-0.8, -0.3), (0.2, -1.1)],
}
for ax, (t, places) in zip(axes, origins.items(), strict=True):
    a = vp(torch.tensor(t)).alpha
    ax.scatter(*real[:900].T, s=4, color="#C9C9C9", linewidths=0)
    for place, color in zip(places, (DATA, ORANGE, GREEN), strict=True):
        x = a * torch.tensor([place])
        weight, mean, within = (part[0] for part in wheel.posterior(x, t, vp))
        behind = GaussianMixture(weight.clamp(min=1e-30), mean, within).sample(60, seeded(11))
        guess, cov = wheel.denoiser(vp)(x, t)[0], posterior_covariance(wheel.denoiser(vp), x, t)[0]
        ellipse = guess[:, None] + 2 * torch.linalg.cholesky(cov + 1e-7 * torch.eye(2)) @ circle
        ax.scatter(*behind.T, s=5, color=color, linewidths=0, alpha=0.7)
        ax.plot(*ellipse, color=color)
        ax.scatter(*guess, s=30, color=color, marker="D", edgecolors="white", zorder=4)
        ax.scatter(*(x[0] / a), s=26, color=color, marker="x", zorder=4)
    square(ax, 2.4, ylabel="$x_2$" if t == 8 else "")
    ax.set_title(rf"t = {t:.0f}, $\sigma/\alpha$ = {vp(torch.tensor(t)).half_log_snr.neg().exp():.2f}")
figure

# %% [markdown]
r"""
*Three noisy points (crosses, at $x/\alpha$) at three noise levels; what may be behind each (dots, drawn from
the exact posterior), the best guess (diamonds), and the ellipse of two standard deviations from the Jacobian
(lines). The ellipse knows the direction of the doubt, but it is only an ellipse: where the dots sit on two
blades, it covers the gap between them.*

### What no denoiser can be
A covariance is symmetric and has no negative eigenvalue. Through (9.12) this becomes a law for *every*
density of noisy points and for every exact denoiser:

$$\nabla^2\log p_t(x) \;\succeq\; -\frac{1}{\sigma^2}\, I, \qquad
\frac{\partial \hat x_0}{\partial x} \;\text{ symmetric and }\succeq 0. \tag{9.13}$$

No noisy density is curved downwards more sharply than the noise itself; and the denoiser is the gradient
of a convex function, so it never moves against its input. A trained network knows nothing of this law.
Ask it:
"""

# %%
rows = {"exact": wheel.denoiser(vp), "trained": ddpm}
t = 22.0
x = wheel.noised(vp, t).sample(2000, seeded(12))
sharp = torch.vmap(torch.func.hessian(lambda x: one_point.noised(VP(), 0.3).log_prob(x[None])[0]))(
    x[:40].double()
)
bound = -torch.eye(2, dtype=double) / VP()(torch.tensor(0.3, dtype=double)).sigma ** 2
verify("9.13", sharp, bound.expand(40, 2, 2), over="entries")  # one data point: the bound is reached
least_curvature = torch.linalg.eigvalsh(curvature).min()
assert -1 / c.sigma**2 < least_curvature < -0.5 / c.sigma**2  # the pinwheel: close to it, never beyond
found = {}
for name, denoiser in rows.items():
    at_home = x if name == "exact" else x.to(device)
    cov = posterior_covariance(denoiser, at_home, t).cpu()
    twist = (cov - cov.mT).norm(dim=(1, 2)) / cov.norm(dim=(1, 2))
    lowest = torch.linalg.eigvalsh((cov + cov.mT) / 2)[:, 0]
    found[name] = cov
    print(
        f"{name:8s} negative eigenvalue below -0.001: {'none' if (lowest > -1e-3).all() else 'some'}",
        end=", ",
    )
    print(f"median asymmetry {'below 0.0001' if twist.median() < 1e-4 else 'between 0.01 and 0.3'}")
    assert (twist.median() < 1e-4) if name == "exact" else (0.01 < twist.median() < 0.3)
spread = {name: cov.diagonal(dim1=1, dim2=2).sum(1) for name, cov in found.items()}
ratio = (spread["trained"].mean() / spread["exact"].mean()).item()
assert 0.8 < ratio < 1.25
together = torch.corrcoef(torch.stack(list(spread.values())))[0, 1]
assert together > 0.8
print("trained against exact variance: means agree within a quarter, correlation above 0.8")

# %% [markdown]
r"""
The network was never asked for a variance, and it has a good one. Where its matrix is *not* symmetric, it is
nobody's covariance, and the asymmetry measures an error without knowing the truth. It is one of few such
measures.

### The price of not knowing, again
Take the trace of (9.12) and average over $x$. On the left is the mean squared error of the best guess;
times $\alpha^2/D\sigma^2$ it is $\ell^\ast$, the loss to which noise prediction converges (7.16). On the
right $\mathbb E\,\Delta\log p_t = -\,\mathbb E\lVert\nabla\log p_t\rVert^2$ (integrate by parts, as in
chapter 4). So

$$\ell^\ast = \frac{\alpha^2}{D\,\sigma^2}\;\mathbb E\operatorname{tr}\operatorname{Cov}[x_0 \mid x_t]
= 1 - \frac{\sigma^2}{D}\;\mathbb E\,\lVert\nabla\log p_t(x_t)\rVert^2 . \tag{9.14}$$

*What noise prediction can learn, $1 - \ell^\ast$, is the mean squared length of the score, times
$\sigma^2/D$.* Chapter 4's
constant (4.22) and chapter 7's floor (7.16) are the same number.
"""

# %%
t = 22.0
c = vp(torch.tensor(t, dtype=double))
x = wheel64.noised(vp, t).sample(40_000, seeded(13))
learnable = c.sigma**2 / 2 * gradient(wheel64.noised(vp, t).log_prob, x).square().sum(1)
floors = least_loss(wheel64, vp, EPS, torch.full((40_000,), t, dtype=double), seeded(14))
verify_mean("9.14", 1 - learnable - floors, 0.0)

# %% [markdown]
r"""
## 9.3 Five targets, one plane

By (9.1) a noisy point is a sum of two unknowns, $x_0$ and $\varepsilon$. Everything that a network was ever
trained to predict is another sum of the same two,

$$\text{target} = a\,x_0 + b\,\varepsilon . \tag{9.15}$$
<!-- definition 9.15: a prediction is a pair of weights, functions of the path's coefficients -->
<!-- code 9.15: diffedu.core.prediction.Prediction -->

| target | $a$ | $b$ | who |
|---|---|---|---|
| noise $\varepsilon$ | $0$ | $1$ | DDPM |
| clean point $x_0$ | $1$ | $0$ | denoisers, EDM up to scaling |
| $v$ | $-\sigma$ | $\alpha$ | Salimans and Ho |
| (conditional) score | $0$ | $-1/\sigma$ | NCSN |
| velocity | $\dot\alpha$ | $\dot\sigma$ | flow matching: $dx_t/dt$ at fixed $x_0$ and $\varepsilon$ |

So a target is a **vector $(a, b)$ in a plane**, and the noisy point is one too: $(\alpha, \sigma)$. To
know the target *and* $x_t$ is to know two sums of two unknowns, a 2 × 2 system:

$$\begin{pmatrix} \alpha & \sigma \\ a & b \end{pmatrix}
\begin{pmatrix} x_0 \\ \varepsilon \end{pmatrix}
= \begin{pmatrix} x_t \\ \text{target} \end{pmatrix}
\quad\Longrightarrow\quad
x_0 = \frac{b\,x_t - \sigma\,\text{target}}{\mathcal D}, \quad
\varepsilon = \frac{\alpha\,\text{target} - a\,x_t}{\mathcal D}, \quad
\mathcal D = \alpha b - \sigma a . \tag{9.16}$$
<!-- code 9.16: diffedu.core.prediction.convert -->

That is the only conversion formula there is. Twenty ordered pairs of targets, one system. The determinant
$\mathcal D$ is the area of the parallelogram of the two vectors: when the target points along $x_t$, it tells
nothing that $x_t$ does not, and the area is zero.
"""


# %%
def solve(value, x_t, alpha, sigma, a, b):
    """(9.16): x0 and eps from a predicted value, all (B, D); the coefficients are numbers or (B, 1)."""
    area = alpha * b - sigma * a
    return (b * x_t - sigma * value) / area, (alpha * value - a * x_t) / area


x0, eps = torch.randn(2, 40, 3, generator=seeded(15), dtype=double)
for path in (VP(), Cosine(), RectifiedFlow(), ve):
    t = 0.1 + 0.8 * torch.rand(40, generator=seeded(16), dtype=double)  # each example its own time
    c = path(t).expand(x0)
    x_t = path.add_noise(x0, eps, t)
    h = 1e-6
    dx_dt = (path.add_noise(x0, eps, t + h) - path.add_noise(x0, eps, t - h)) / (2 * h)
    by_hand = {
        "eps": eps,
        "x0": x0,
        "v": c.alpha * eps - c.sigma * x0,
        "score": -(x_t - c.alpha * x0) / c.sigma**2,
        "velocity": dx_dt,
    }
    for name, source in PREDICTIONS.items():
        a, b = source.weights(c)
        system = torch.stack([torch.stack([c.alpha, c.sigma], -1), torch.stack([a, b], -1)], -2)[:, 0]
        unknown = torch.linalg.solve(system, torch.stack([x_t, by_hand[name]], dim=1))
        close = {"rtol": 1e-5} if name == "velocity" else {"rtol": 1e-9}
        assert torch.allclose(
            torch.stack(solve(by_hand[name], x_t, c.alpha, c.sigma, a, b), 1), unknown, **close
        )
        for other, goal in PREDICTIONS.items():
            assert torch.allclose(
                convert(by_hand[name], x_t, c, source, goal), by_hand[other], rtol=1e-4, atol=1e-5
            )
verify(
    "9.16",
    torch.stack(solve(by_hand["v"], x_t, c.alpha, c.sigma, -c.sigma, c.alpha)),
    torch.stack([x0, eps]),
    over="numbers",
)
print("25 conversions on 4 paths: each recovers the target's own definition")

# %%
figure, axes = panels(1, 4, width=13, height=3.7)
arrows = {"eps": EXTRA, "x0": DATA, "v": GUIDED, "velocity": GREEN}
offsets = {"eps": (0.06, 0.03), "x0": (-0.12, -0.24), "v": (-0.1, 0.06), "velocity": (-0.28, 0.08)}
for ax, (path, t) in zip(
    axes, ((Cosine(), 0.12), (Cosine(), 0.5), (Cosine(), 0.9), (RectifiedFlow(), 0.8)), strict=True
):
    line = path(torch.linspace(0, path.t_max, 100))
    ax.plot(line.alpha, line.sigma, color=NOISE, linewidth=1)
    c = path(torch.tensor(t))
    ax.fill([0, c.alpha, c.alpha, 0], [0, c.sigma, c.sigma + 1, 1], color=EXTRA, alpha=0.15, linewidth=0)
    ax.annotate("", (c.alpha, c.sigma), (0, 0), arrowprops={"arrowstyle": "->", "color": INK, "lw": 2.6})
    ax.text(c.alpha + 0.04, c.sigma + 0.05, "$x_t$", color=INK)
    for name, color in arrows.items():
        a, b = (float(w) for w in PREDICTIONS[name].weights(c))
        scale = 1 / (0.5 * math.pi) if name == "velocity" and isinstance(path, Cosine) else 1
        if name == "velocity" and isinstance(path, Cosine):
            continue  # there it is v, times pi / 2
        ax.annotate(
            "", (scale * a, scale * b), (0, 0), arrowprops={"arrowstyle": "->", "color": color, "lw": 2.2}
        )
        label = {"eps": r"$\varepsilon$", "x0": "$x_0$", "v": "$v$", "velocity": "velocity"}[name]
        ax.text(scale * a + offsets[name][0], scale * b + offsets[name][1], label, color=color)
    ax.set(xlim=(-1.35, 1.35), ylim=(-0.35, 2.1), aspect="equal", xlabel="share of $x_0$")
    ax.set_title(f"{type(path).__name__}, t = {t:g}")
axes[0].set_ylabel(r"share of $\varepsilon$")
figure

# %% [markdown]
r"""
*The plane of coefficients. Black: the noisy point, which travels along the grey path from data (right) to
noise (top). Coloured: the targets. The score has the direction of $-\varepsilon$; on the cosine path the
velocity is $v$ times $\pi/2$. Shaded: the area $\mathcal D$ for $\varepsilon$: wide when there is little
noise, gone when $x_t$ points straight up. $v$ stays at a right angle to $x_t$; the velocity is the path's
tangent.*

### From targets to best guesses
A network never sees $x_0$ or $\varepsilon$; trained by squared error it ends at the *mean* of its target
given $x_t$. Means are linear, so (9.15) and (9.16) hold for means, with hats on. One best guess
determines all the others. Two of them are worth writing out. Put (9.6) and (9.7) into the row of the
velocity, and collect $x$ and the score:

$$\hat u(x) = \dot\alpha\,\hat x_0 + \dot\sigma\,\hat\varepsilon
= \frac{\dot\alpha}{\alpha}\, x - \sigma\Big(\dot\sigma - \frac{\dot\alpha}{\alpha}\,\sigma\Big)
\nabla\log p_t(x)
= f\,x - \tfrac12\, g^2\,\nabla\log p_t(x), \tag{9.17}$$
<!-- code 9.17: diffedu.core.denoiser.velocity -->

with $f$ and $g^2$ from (5.33). Half of $g^2$, not all of it: chapter 10 takes it up from the other side. And
the row of $v$, on any path with $\alpha^2 + \sigma^2 = 1$:

$$\hat v(x) = -\,\frac{\sigma}{\alpha}\,\big(x + \nabla\log p_t(x)\big). \tag{9.18}$$

$x + \nabla\log p_t$ is the score *relative to a standard normal*, whose own score is $-x$: $v$ measures
how far the noisy data is from being noise. (At pure noise the bracket vanishes as fast as $\alpha$ does,
and $\hat v$ becomes minus the mean of the data.)
"""

# %%
for path in (VP(), Cosine(), RectifiedFlow()):
    t = torch.tensor(0.4, dtype=double)
    c, x = path(t), wheel64.noised(path, 0.4).sample(500, seeded(17))
    slope = gradient(wheel64.noised(path, 0.4).log_prob, x)
    verify(
        "9.17",
        velocity(wheel64.denoiser(path), x, t),
        c.drift * x - 0.5 * c.diffusion_squared * slope,
        over="coordinates",
    )
    if not isinstance(path, RectifiedFlow):
        guess = V.from_x0(wheel64.posterior_mean(x, t, path), x, c)
        verify("9.18", guess, -c.sigma / c.alpha * (x + slope), over="coordinates")

# %% [markdown]
r"""
## 9.4 One loss, five weights

If a network of one kind can be read as one of any other, does it matter which it is trained on?

**Before you read on.** Two networks without limits of capacity, trained for ever, one on $\varepsilon$,
one on $x_0$. Do they end as the same denoiser?

Yes: each ends at its own best guess, at every $x_t$ and $t$ apart, and the best guesses imply each other.
With limits they differ, and the first difference is bookkeeping. Let a guess be wrong by $\delta x_0$. It
implies a noise, $(x_t - \alpha\hat x_0)/\sigma$, that is wrong by $-\frac\alpha\sigma\,\delta x_0$. So a
target is wrong by

$$\delta\,\text{target} = \Big(a - \frac{\alpha}{\sigma}\, b\Big)\,\delta x_0
= -\frac{\mathcal D}{\sigma}\;\delta x_0,
\qquad\text{hence}\qquad
\lVert\delta\,\text{goal}\rVert^2 = \Big(\frac{\mathcal D_\text{goal}}{\mathcal D_\text{source}}\Big)^2\,
\lVert\delta\,\text{source}\rVert^2 . \tag{9.19}$$
<!-- code 9.19: diffedu.core.loss.weight_between -->

**To choose a target is to choose a weight over noise levels.** Measured in errors of $x_0$, the plain
loss on $\varepsilon$ has the weight $\mathrm{SNR} = \alpha^2/\sigma^2$, and that on the score
$\mathrm{SNR}/\sigma^2$. That on $v$ has $(\alpha^2+\sigma^2)^2/\sigma^2$, which is $1 + \mathrm{SNR}$ on a
path that preserves variance. (This is why NCSN multiplies its loss by $\sigma^2$, and why nobody
should multiply a loss on $\varepsilon$ by it: exercise 4.6.)
"""

# %%
path = Cosine()
x_t, guess, other = torch.randn(3, 60, 2, generator=seeded(18), dtype=double)
t = torch.linspace(0.05, 0.95, 60, dtype=double)
c = path(t).expand(x_t)
errors = {
    name: (
        p.target(guess, (x_t - c.alpha * guess) / c.sigma, c)
        - p.target(other, (x_t - c.alpha * other) / c.sigma, c)
    )
    .square()
    .sum(1)
    for name, p in PREDICTIONS.items()
}
weights = torch.stack(
    [
        weight_between(p, q)(path(t)) * errors[p.name]
        for p in PREDICTIONS.values()
        for q in PREDICTIONS.values()
    ]
)
verify(
    "9.19",
    weights,
    torch.stack([errors[q.name] for _ in PREDICTIONS for q in PREDICTIONS.values()]),
    over="errors",
)
print("weight on an error of x0 at half-log-SNR   -2      0      2")
for name, p in PREDICTIONS.items():
    u = time_at_half_log_snr(path, torch.tensor([-2.0, 0.0, 2.0], dtype=double))
    print(f"  plain loss on {name:20s}", *(f"{w:8.3f}" for w in weight_between(X0, p)(path(u)).tolist()))

# %% [markdown]
r"""
A factor of three thousand lies between $\varepsilon$'s weights at the two ends, and none between those of
$x_0$.

## 9.5 Which target is stable where

The second difference is no bookkeeping. A network is wrong by, say, one per cent of its target's size.
The sampler turns the prediction into $\hat x_0$ and $\hat\varepsilon$. How much of the error arrives
there? By (9.16), $\sigma/|\mathcal D|$ and $\alpha/|\mathcal D|$ times the error of the target. Measure
that error in the target's own size, the length $\sqrt{a^2 + b^2}$ of its vector (for data of variance 1).
An area is the product of two sides and the sine of the angle $\theta$ between them,
$|\mathcal D| = \sqrt{\alpha^2+\sigma^2}\, \sqrt{a^2+b^2}\,\sin\theta$, and the target's size cancels:

$$A_{x_0} = \frac{\sigma\,\sqrt{a^2+b^2}}{|\mathcal D|}
= \frac{\sigma}{\sqrt{\alpha^2+\sigma^2}}\,\frac{1}{\sin\theta},
\qquad
A_{\varepsilon} = \frac{\alpha\,\sqrt{a^2+b^2}}{|\mathcal D|} =
\frac{\alpha}{\sqrt{\alpha^2+\sigma^2}}\,\frac{1}{\sin\theta}.
\tag{9.20}$$

**Stability is an angle**: that between the target and $x_t$ in the picture above. On a path that preserves
variance:

| target | $\sin\theta$ | error of $\hat x_0$ | error of $\hat\varepsilon$ | bad at |
|---|---|---|---|---|
| $\varepsilon$, score | $\alpha$ | $\sigma/\alpha$ | $1$ | pure noise |
| $x_0$ | $\sigma$ | $1$ | $\alpha/\sigma$ | clean data |
| $v$ | $1$ | $\sigma$ | $\alpha$ | nowhere |

The reason is plain. A network that guesses noise at the noisy end has an easy time: the noise is what it
sees. It can be nearly perfect there and know nothing of the data, which is in the last digits.

To *measure* this we need an error whose size we know. Rounding will do. Take the exact prediction, round
it to `bfloat16` (8 binary digits, the format in which large networks run), and convert. Then look how wrong
$\hat x_0$ and $\hat\varepsilon$ have become, in units of the rounding error over the target's size.
"""

# %%
path = Cosine()
lam = torch.linspace(6, -6, 49, dtype=double)
times = time_at_half_log_snr(path, lam)
measured = {name: [] for name in PREDICTIONS}
predicted = {name: [] for name in PREDICTIONS}
for t in times:
    c = path(t)
    x0 = wheel64.sample(4000, seeded(19))
    x_t = path.add_noise(x0, torch.randn(x0.shape, generator=seeded(20), dtype=double), t)
    right = wheel64.posterior_mean(x_t, t, path)
    for name, p in PREDICTIONS.items():
        value = p.from_x0(right, x_t, c)
        rounded = value.bfloat16().double()
        a, b = p.weights(c)
        size = torch.hypot(a, b)  # of the target
        relative = (rounded - value).square().mean().sqrt() / size
        hit = [
            (p.to_x0(rounded, x_t, c) - right),
            (p.to_eps(rounded, x_t, c) - (x_t - c.alpha * right) / c.sigma),
        ]
        measured[name].append([h.square().mean().sqrt() / relative for h in hit])
        predicted[name].append(
            [c.sigma * size / p.determinant(c).abs(), c.alpha * size / p.determinant(c).abs()]
        )
measured, predicted = ({k: torch.tensor(v) for k, v in d.items()} for d in (measured, predicted))
verify(
    "9.20",
    torch.stack([*measured.values()]),
    torch.stack([*predicted.values()]),
    rtol=1e-6,
    over="amplifications",
)
vector = lambda p, c: torch.stack([torch.as_tensor(w).expand_as(c.alpha) for w in p.weights(c)])  # noqa: E731
for p in PREDICTIONS.values():  # the angle, by its own definition
    c = path(times)
    target, noisy = vector(p, c), torch.stack([c.alpha, c.sigma])
    cosine = torch.nn.functional.cosine_similarity(target, noisy, dim=0)
    area = c.sigma * target.norm(dim=0) / p.determinant(c).abs()
    verify("9.20", area, c.sigma / noisy.norm(dim=0) / (1 - cosine**2).sqrt(), rtol=1e-5)

# %% [markdown]
r"""
Rounding is a tame error. Here is a real one: three small networks, equal but for their target, trained on the
cosine path for six hundred steps each, with the plain loss on their own target.

**Before you look:** the $\varepsilon$-network at $\lambda = -4$, where the noise is 55 times the data. Is
its guess of the *noise* better or worse than that of the $v$-network? And its guess of the clean point?
"""

# %%
rivals = {}
for target in (EPS, X0, V):
    torch.manual_seed(1)
    net = trained(MLP(2, t_max=1.0, width=64), DenoisingLoss(path, target), steps=600, batch=256)
    rivals[target.name] = NetworkDenoiser(net, path, target)
lam_net = torch.linspace(3.5, -5, 35)
wrong = {name: [] for name in rivals}
for t in time_at_half_log_snr(path, lam_net).to(device):
    c, rng = path(t), seeded(21, device)
    x0 = there.sample(3000, rng)
    x_t = path.add_noise(x0, torch.randn(x0.shape, generator=rng, device=device), t)
    for name, denoiser in rivals.items():
        with torch.no_grad():
            off = (denoiser(x_t, t) - there.posterior_mean(x_t, t, path)).square().mean().sqrt()
        wrong[name].append([off, off * c.alpha / c.sigma])
wrong = {name: torch.tensor(value) for name, value in wrong.items()}
noisy, quiet = int((lam_net + 4).abs().argmin()), int((lam_net - 3).abs().argmin())
assert wrong["eps"][noisy, 0] > 3 * wrong["v"][noisy, 0]
assert wrong["x0"][quiet, 1] > 1.5 * wrong["v"][quiet, 1]
assert wrong["v"].max() < 1
assert 2 * wrong["v"][noisy, 1] < wrong["eps"][noisy, 1] < 0.1
assert wrong["eps"][noisy, 0] > 1
print("at lambda = -4, error of eps: all below 0.1, and the v-network's less than half of the eps-network's")
print("                error of x0:  the eps-network's is more than 3 times the v-network's")
print("at lambda = +3, error of eps: the x0-network's is more than 1.5 times the v-network's")

figure, axes = panels(2, 2, width=12, height=6.6)
inks = {"eps": EXTRA, "x0": DATA, "v": GUIDED}
styles = {"eps": "-", "x0": "--", "v": "-."}
for column, what in enumerate((r"error of $\hat x_0$", r"error of $\hat\varepsilon$")):
    for name, color in inks.items():
        axes[column].plot(lam, measured[name][:, column], color=color, linestyle=styles[name])
        axes[2 + column].plot(lam_net, wrong[name][:, column], color=color, linestyle=styles[name])
    for ax in (axes[column], axes[2 + column]):
        ax.set(yscale="log", xlim=(6, -6))
    axes[column].set(title=what + ", by rounding", ylim=(1e-3, 1e3))
    axes[2 + column].set(
        title=what + ", trained networks",
        ylim=(3e-3, 3),
        xlabel=r"half-log-SNR $\lambda$ (noise grows to the right)",
    )
axes[0].set_ylabel("per unit of relative error")
axes[2].set_ylabel("root mean square")
for ax, places in (
    (axes[0], {"eps": (-1.3, 60), "x0": (4.2, 1.6), "v": (-2.4, 0.35)}),
    (axes[1], {"eps": (-2.6, 1.7), "x0": (3.4, 60), "v": (3.2, 0.35)}),
):
    for name, (at_, height) in places.items():
        ax.text(
            at_,
            height,
            {"eps": r"from $\varepsilon$", "x0": "from $x_0$", "v": "from $v$"}[name],
            color=inks[name],
        )
for ax, places in (
    (axes[2], {"eps": (-2.2, 0.8), "x0": (3.4, 0.12), "v": (4.3, 0.016)}),
    (axes[3], {"eps": (-2.6, 0.055), "x0": (2.5, 1.7), "v": (-2.5, 0.012)}),
):
    for name, (at_, height) in places.items():
        ax.text(
            at_,
            height,
            {"eps": r"from $\varepsilon$", "x0": "from $x_0$", "v": "from $v$"}[name],
            color=inks[name],
        )
figure

# %% [markdown]
r"""
*Above: a known error (rounding), as it arrives in $\hat x_0$ (left) and in $\hat\varepsilon$ (right).
Below: the distance of three trained networks from the exact guesses. The $\varepsilon$-curves of the left
panels climb without end to the noisy side, the $x_0$-curves of the right panels to the clean side; $v$
stays near the better of the two.*

So the $\varepsilon$-network guesses the noise well at $\lambda = -4$, to a few hundredths, and yet worse
than the $v$-network does; and its clean point is off by more than the size of the data. At that end a
guess of the noise has to be right to $\alpha/\sigma \approx 0.02$ before it says anything at all.

Does a sampler suffer? It multiplies $\hat x_0$ by the $\alpha$ of the next time; with many small steps
that is small as well, and much is forgiven. With few large steps it is not. Same exact denoiser, same
start, ten deterministic steps (`DDIM`, chapter 8) from the cosine path's last time, where
$\alpha = 0.00016$; only the format of the prediction differs.
"""


# %%
class Rounded:
    """An exact denoiser whose answer passes through one target in bfloat16."""

    def __init__(self, target):
        self.target, self.path, self.exact = target, path, wheel.denoiser(path)

    def __call__(self, x_t, t):
        c = self.path(t).expand(x_t)
        value = self.target.from_x0(self.exact(x_t, t), x_t, c)
        return self.target.to_x0(value.bfloat16().float(), x_t, c)


few = torch.linspace(path.t_max, 0, 11)
noise = torch.randn(2000, 2, generator=seeded(22))
print(f"at the start alpha = {path(few[0]).alpha:.5f}")
without = sample(wheel.denoiser(path), DDIM(), noise, few)
for target in (EPS, X0, V):
    apart = (sample(Rounded(target), DDIM(), noise, few) - without).square().sum(1).mean().sqrt().item()
    print(
        f"prediction of {target.name:3s} in bfloat16: samples move by",
        "more than 0.5" if apart > 0.5 else "less than 0.05",
    )
    assert (apart > 0.5) if target is EPS else (apart < 0.05)

# %% [markdown]
r"""
### At the very ends, look at the limits
Formulas of conversion are often tested at $t = \tfrac12$, where everything is 1/2 and most mistakes are
invisible. Take rectified flow, $\alpha = 1 - t$, $\sigma = t$, velocity $u = \varepsilon - x_0$. Solve
(9.16), then (9.6):

$$\hat x_0 = x - t\,\hat u, \qquad \hat\varepsilon = x + (1-t)\,\hat u, \qquad
\nabla\log p_t(x) = -\,\frac{x + (1-t)\,\hat u(x)}{t}. \tag{9.21}$$

Now the limits. At $t = 1$ the noisy point is pure noise: the score must be $-x$, and it is, whatever
$\hat u$ says. (A network's errors of $u$ do no harm there; those of a score would go into
$\hat u = -(t\,s+x)/(1-t)$ divided by zero.) At $t \to 0$ the numerator must vanish: the score is a
quotient of two small numbers. And $\hat u = (x - \hat x_0)/t$ is one itself. The rounding of $x$, one
part in $10^7$ in `float32`, is divided by $t$ *twice*.

$$\hat u(x) \to x - \mathbb E[x_0] \quad (t \to 1), \qquad\qquad
\hat u(x) \to -x \quad (t \to 0,\ p_0(x) > 0). \tag{9.22}$$

A slip that the middle cannot show: $-(x + t\,\hat u)/t$, with $t$ for $1-t$, as it arises when two texts are
mixed whose times run opposite ways.
"""

# %%
flow = RectifiedFlow()
x = wheel64.noised(flow, 0.3).sample(500, seeded(33))
u = velocity(wheel64.denoiser(flow), x, 0.3)
verify("9.21", -(x + 0.7 * u) / 0.3, gradient(wheel64.noised(flow, 0.3).log_prob, x), over="coordinates")
print("error of the score from the velocity, relative:   right formula    t for 1 - t")
for t in (0.01, 0.5, 0.99):
    x = wheel64.noised(flow, t).sample(500, seeded(23))
    truth = gradient(wheel64.noised(flow, t).log_prob, x)
    u = velocity(wheel64.denoiser(flow), x, t)
    found = [(s - truth).norm() / truth.norm() for s in (-(x + (1 - t) * u) / t, -(x + t * u) / t)]
    right, slip = (f"{e:.1f}" if e > 1e-6 else "0" for e in found)
    print(f"  t = {t:4g} {right:>48s} {slip:>14s}")

broad = GaussianMixture.single(torch.tensor([0.5, -1.0], dtype=double), torch.eye(2, dtype=double))
x = torch.randn(200, 2, generator=seeded(24), dtype=double)
near_noise, near_data = (velocity(broad.denoiser(flow), x, t) for t in (1 - 1e-7, 1e-7))
verify(
    "9.22",
    torch.stack([near_noise, near_data]),
    torch.stack([x - broad.mean, -x]),
    rtol=1e-5,
    over="coordinates",
)

x = wheel64.noised(flow, 1e-4).sample(2000, seeded(25))
truth = gradient(wheel64.noised(flow, 1e-4).log_prob, x)
single = wheel.denoiser(flow)
coarse = -(x.float() + (1 - 1e-4) * velocity(single, x.float(), 1e-4)) / 1e-4
lost = ((coarse - truth).norm() / truth.norm()).item()
kept = ((wheel.noised(flow, 1e-4).score(x.float()) - truth).norm() / truth.norm()).item()
assert lost > 0.1
assert kept < 1e-4
print("float32 at t = 0.0001: the score by way of the velocity is off by more than a tenth;")
print("                       computed from the mixture, by less than one part in ten thousand")

# %% [markdown]
r"""
No added constant mends this. Dividing by $\alpha + 10^{-8}$ replaces infinity by a wrong number and hides
the place where the formula ends. The book's way is an interval: a path states `t_min` and `t_max`, and
nobody asks outside.

**And when you judge, judge at the right level.** A score read off a network at time $t$ estimates
$\nabla\log p_t$, the score of the *noised* data. Published evaluations have compared it with the score of the
clean density (chapter 4 measured the damage). With Tweedie the rule is easy to keep: compare $\hat x_0$ with
the posterior mean, which has its $t$ in its name. Exercise 9.7 is the slip.

### The dial
Left the plane: turn $x_t$ with the slider. Middle the best guess of one target, as a field over the noisy
points. Right, for all five, the amplifications (9.20). **Bets first:** on rectified flow, at which $t$ is the
velocity at a right angle to $x_t$? And which of the five fields looks the same at the noisy end for *every*
data set?
"""

# %%
ParameterisationDial(wheel)

# %%
t = torch.tensor(0.35)
path = Cosine()
c, every = path(t), torch.linspace(-2.2, 2.2, 13)
lattice = torch.cartesian_prod(every, every)
haze = wheel.noised(path, 0.35).sample(700, seeded(26))
guess = wheel.denoiser(path)(lattice, t)
figure, axes = panels(1, 5, width=13.5, height=3.3)
for ax, (name, p), color in zip(axes, PREDICTIONS.items(), (EXTRA, DATA, GUIDED, ORANGE, GREEN), strict=True):
    field = p.from_x0(guess, lattice, c)
    typical = field.norm(dim=1).quantile(0.9)
    ax.scatter(*haze.T, s=3, color="#C9C9C9", linewidths=0)
    ax.quiver(
        *lattice.T,
        *(0.5 * field / typical).T,
        color=color,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.008,
    )
    square(ax, 2.5, ylabel="$x_2$" if name == "eps" else "")
    ax.set_title(
        {
            "eps": r"$\hat\varepsilon$",
            "x0": r"$\hat x_0$",
            "v": r"$\hat v$",
            "score": "score",
            "velocity": "velocity",
        }[name]
        + f", longest {typical:.1f}"
    )
figure

# %% [markdown]
r"""
*For readers without a kernel: the five best guesses on the cosine path at $t = 0.35$, each scaled to its own
length. One denoiser, five faces: $\hat\varepsilon$ and the score are opposite, $\hat v$ and the velocity here
are parallel, $\hat x_0$ points from the origin to the guess.*

On the bets: $t = \tfrac12$, where $(-1, 1)$ meets $(\tfrac12, \tfrac12)$; and $\hat\varepsilon$. At pure
noise it is $x$ itself, and so says nothing of the data.

## 9.6 The operation

Now read the three lines of `Transplanted`. Take a point of one path and divide by $\alpha$:

$$\frac{x_t}{\alpha} = x_0 + \frac{\sigma}{\alpha}\,\varepsilon = x_0 + e^{-\lambda}\,\varepsilon,
\qquad \lambda = \log\frac{\alpha}{\sigma}. \tag{9.23}$$

On the right only $\lambda$ is left of the path. So if another path has the *same* $\lambda$ at its time $t'$,
then $x' = \frac{\alpha'}{\alpha}\,x$ is a point of that path, made from the same $x_0$ and the same noise. To
know $x$ and to know $x'$ is to know the same. Therefore

$$\hat x_0'(x', t') = \hat x_0(x, t), \qquad \hat\varepsilon\,'(x', t') = \hat\varepsilon(x, t), \qquad
\nabla\log p'_{t'}(x') = \frac{\alpha}{\alpha'}\,\nabla\log p_t(x). \tag{9.24}$$

Guesses of data and of noise pass unchanged; the score is an inverse length, and its unit changes. Both
your guesses from the start are answered: *divide by $\alpha$, multiply by the other's $\alpha'$, and tell
the time at which the noise-to-signal ratio $\sigma/\alpha$ is the same.* Not the time with the same
$t/T$, and not the one with the same $\sigma$. From here on the book calls it `OnPath(denoiser, path)`.
<!-- code 9.24: diffedu.core.denoiser.OnPath -->

NCSN has $\alpha = 1$. So its network in DDPM's sampler is asked about $x/\sqrt{\bar\alpha_t}$ at the
noise level $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$, and the other way round. In fact chapter 4's network
has been doing it all along. Its first line divides its input by $\sqrt{1+\sigma^2}$, "to bring it to one
scale", and its last one divides by $\sigma$. With (9.23),

$$\frac{x_0 + \sigma\varepsilon}{\sqrt{1+\sigma^2}} = \alpha' x_0 + \sigma'\varepsilon, \qquad
\alpha' = \frac{1}{\sqrt{1+\sigma^2}}, \quad \sigma' = \frac{\sigma}{\sqrt{1+\sigma^2}}, \quad
\alpha'^2 + \sigma'^2 = 1. \tag{9.25}$$

The inner network of NCSN sees *variance-preserving* points and returns $-\hat\varepsilon$. **It is a DDPM
network in a coat.**
"""

# %%
t = torch.tensor([20.0, 50.0, 80.0], dtype=double).repeat_interleave(200)
u = time_at_half_log_snr(ve, vp(t).half_log_snr)
x0, eps = torch.randn(2, 600, 2, generator=seeded(27), dtype=double)
c, d = vp(t).expand(x0), ve(u).expand(x0)
x, moved = vp.add_noise(x0, eps, t), ve.add_noise(x0, eps, u)
verify("9.23", x / c.alpha, moved / d.alpha, rtol=1e-7, over="coordinates")
at_home, abroad = wheel64.denoiser(vp), wheel64.denoiser(ve)
verify("9.24", at_home(x, t), abroad(moved, u), rtol=1e-7, over="coordinates")
verify("9.24", eps_hat(at_home, x, t), eps_hat(abroad, moved, u), rtol=1e-7, over="coordinates")
verify(
    "9.24", score(abroad, moved, u), c.alpha / d.alpha * score(at_home, x, t), rtol=1e-6, over="coordinates"
)
with torch.no_grad():
    assert torch.equal(
        Transplanted(ddpm, ve)(moved[:9].float(), 1.0), OnPath(ddpm, ve)(moved[:9].float(), 1.0)
    )
coat = time_at_half_log_snr(Cosine(), ve(u).half_log_snr)
squeezed = moved / (1 + d.sigma**2).sqrt()
verify("9.25", squeezed, Cosine().add_noise(x0, eps, coat), rtol=1e-6, over="coordinates")

# %% [markdown]
r"""
### Not alike: the same
Equal denoisers are one half. The other: are the *samplers* different? Take DDPM's backward step on any path
(its mean is (5.23), with the guess for $x_0$) and divide by $\alpha_s$. With $y = x/\alpha$ and
$\rho = e^{2(\lambda_t - \lambda_s)}$, the ratio of the SNRs,

$$y_s = (1-\rho)\,\hat x_0 + \rho\, y_t + \sqrt{1-\rho}\;\, e^{-\lambda_s}\, z. \tag{9.26}$$

Again only $\lambda$ is left. So the ancestral sampler on DDPM's path and the ancestral sampler on NCSN's
path are one algorithm in two units: with the same noise they do not merely give the same distribution,
they draw the **same points**.
"""

# %%
grid_vp = torch.arange(float(T), 0, -1, dtype=double)
grid_ve = time_at_half_log_snr(ve, vp(grid_vp).half_log_snr)
start = torch.randn(500, 2, generator=seeded(28), dtype=double)
on_vp = sample(at_home, Ancestral(), start, grid_vp, generator=seeded(29))
on_ve = sample(abroad, Ancestral(), start / vp(grid_vp[0]).alpha, grid_ve, generator=seeded(29))
y, lam_grid, rng = start / vp(grid_vp[0]).alpha, vp(grid_vp).half_log_snr, seeded(29)
for k in range(T - 1):  # (9.26), no path in sight but for the denoiser's
    rho = torch.exp(2 * (lam_grid[k] - lam_grid[k + 1]))
    z = torch.randn(y.shape, generator=rng, dtype=double)
    guess = abroad(y, grid_ve[k])
    y = (1 - rho) * guess + rho * y + (1 - rho).sqrt() * torch.exp(-lam_grid[k + 1]) * z
verify("9.26", on_vp / vp(grid_vp[-1]).alpha, y, rtol=1e-6, over="coordinates")
verify("9.26", on_ve, y, rtol=1e-6, over="coordinates")

# %% [markdown]
r"""
What NCSN really used, annealed Langevin dynamics, *is* another algorithm: it stays on each noise level
for a while. But it asks nothing but the score, so any denoiser will do. That is the last panel of the
first picture.

### Measured
Three questions to the networks. Does each, in the other's body, sample as well as at home? As well as the
exact denoiser? And would we have noticed an operation gone wrong? The scores are the energy distance and
the sliced Wasserstein distance to fresh data, and beside them the floor: what perfect samples score at
this size.
"""

# %%
reference = wheel.sample(n, seeded(77))


def energy(x, y):
    return energy_distance(x, y).value


def sliced(x, y):
    return sliced_wasserstein2(x, y, generator=seeded(9))


there_vp, there_ve = there.denoiser(vp), there.denoiser(ve)
clouds = {
    "exact, ancestral": ancestral_sampler(there_vp, n, 50),
    "exact, Langevin": langevin_sampler(there_ve, n, 60),
    **{name.replace(",\n", ", "): cloud for name, cloud in drawn.items()},
}
scores = {name: (energy(x.cpu(), reference), sliced(x.cpu(), reference)) for name, x in clouds.items()}
floors = [floor(f, wheel.sample, n, generator=seeded(30), repeats=5) for f in (energy, sliced)]
limits = [f.mean + 5 * f.standard_deviation for f in floors]
for k, what in enumerate(("energy distance", "sliced Wasserstein-2")):
    largest = max(s[k] for s in scores.values())
    assert largest < limits[k]
    print(f"{what:21s} all six below floor + 5 standard deviations: {largest < limits[k]}")
foreign = wheel.only([0, 1, 2, 3]).sample(n, seeded(31))
print(f"for scale, a pinwheel without its fifth blade: energy distance {energy(foreign, reference):.2f}")

# %% [markdown]
r"""
The botched operations, now, with DDPM's network in NCSN's sampler. *No rescaling*: the right noise level,
but the point as it stands. *The same $\sigma$*: as if $\sigma$ meant the same in both bodies. *The same
share of time*: $t/T$ for $t'$. The first column is what most people look at, the samples. The second is
the distance of the guess from the exact posterior mean, averaged over all levels, compared with that of
the right operation.
"""


# %%
class Botched(Transplanted):
    """The operation with one line changed."""

    def __init__(self, donor, path, slip):
        super().__init__(donor, path)
        self.slip = slip

    def __call__(self, x, t):
        c, its = self.path(t), self.donor.path
        u = time_at_half_log_snr(its, c.half_log_snr)
        if self.slip == "no rescaling":
            return self.donor(x, u)
        if self.slip == "the same sigma":
            sigma = c.sigma.clamp(max=0.9997)  # the largest that DDPM has
            u = time_at_half_log_snr(its, torch.log((1 - sigma**2).sqrt() / sigma))
        else:
            u = (t / self.path.t_max * its.t_max).clamp(min=its.t_min)
        return self.donor(its(u).alpha / c.alpha * x, u)


def distance_to_exact(denoiser):
    """Root mean square distance of the guess to E[x0 | x_t], on each rung of the ladder."""
    found = []
    for t in ladder:
        rng = seeded(32, device)
        x0 = there.sample(1500, rng)
        x_t = ve.add_noise(x0, torch.randn(x0.shape, generator=rng, device=device), t)
        with torch.no_grad():
            found.append((denoiser(x_t, t) - there.posterior_mean(x_t, t, ve)).square().mean().sqrt())
    return torch.stack(found).cpu()


done_right = distance_to_exact(Transplanted(ddpm, ve))
gaps = {"NCSN's network at home": distance_to_exact(ncsn), "DDPM's, transplanted": done_right}
print("DDPM's network in NCSN's sampler    samples    guess more than three times as far")
for slip in ("no rescaling", "the same sigma", "the same share of time"):
    bad = Botched(ddpm, ve, slip)
    gaps[slip] = distance_to_exact(bad)
    apart = energy(langevin_sampler(bad, n, 20).cpu(), reference)
    verdict = "bad" if apart > 20 * limits[0] else "pass" if apart < limits[0] else "doubtful"
    print(f"  {slip:30s} {verdict:>10s}    {bool(gaps[slip].mean() > 3 * done_right.mean())}")
assert 0.3 < gaps["the same sigma"].max() < 1
for name, path in (("DDPM", vp), ("NCSN", ve)):
    ends = path(torch.tensor([path.t_min, path.t_max])).half_log_snr.neg().exp()
    print(f"sigma / alpha of {name}: from {ends[0]:.2f} to {ends[1]:.0f}")

# %%
figure, (left, right) = panels(1, 2, width=12.5, height=4.0)
for row, (name, (e, _)) in enumerate(scores.items()):
    color = INK if "exact" in name else DATA if "own" in name else ORANGE
    bar = energy_distance(clouds[name].cpu(), reference).standard_error
    left.errorbar(1000 * e, -row, xerr=1000 * bar, fmt="o", color=color, capsize=3)
    left.text(-9.6, -row, name, color=color, va="center", fontsize=10)
f = floors[0]
left.axvspan(*(1000 * (f.mean + k * f.standard_deviation) for k in (-2, 2)), color="#E3EEF6")
left.text(1000 * f.mean, 0.62, "floor ± 2 sd", color=INK, ha="center", fontsize=10)
left.set(yticks=[], xlim=(-9.8, 6), ylim=(-5.6, 1.2), xlabel="energy distance to data, thousandths of a unit")
left.set_title("the operation, by its samples")
levels = ve(ladder).sigma.cpu()
for (name, gap), color, style in zip(
    gaps.items(), (DATA, ORANGE, NOISE, INK, GUIDED), ("-", "-", "--", ":", "-."), strict=True
):
    right.plot(levels, gap, color=color, linestyle=style, label=name)
right.set(
    xscale="log", yscale="log", xlabel=r"noise level $\sigma/\alpha$", ylabel="distance to the exact guess"
)
right.legend(frameon=False, fontsize=10, loc="upper left", handlelength=2.6)
right.set(ylim=(2e-3, 200), title="and by its guesses")
figure

# %% [markdown]
r"""
*Left: both networks in both samplers, and the exact denoiser, beside what perfect samples score (shaded).
A foreign body makes no difference that this distance can show with 2000 samples (nor does it see the blur
of the first picture, which is finer than its floor). Right: the distance of the guess from the exact one,
by noise level. The transplanted network (orange) keeps near the native one (blue). The botched ones
don't, but at low noise only one of them shows it.*

Look again at the table. A botched operation gives samples that **pass**. With "the same $\sigma$" the
guess is wrong by half the size of the data where $\sigma \approx 1$; but for small noise
$\alpha \approx 1$ and the slip fades, and thirty Langevin steps on each of the lower rungs repair
whatever came before. **Test a conversion by its guesses at every level, not by its samples at the end.**

One condition remains: the donor must have been *trained* at the noise levels that it will be
asked for. Ours was: $\sigma/\alpha$ runs from 0.03 to 41 on the DDPM path, and NCSN was trained from 0.01
to 50.

## 9.7 Exercises

`check` tells you what is wrong, `hint("9.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Those from the **errata museum** are modelled on mistakes that stood in print.
"""

# %%
for one in exercises(9):
    print(one)

# %% [markdown]
r"""
**Exercise 9.1 ★ — Tweedie for a batch.** Write (9.7) for noisy points that each have their own noise level.
"""


# %% tags=["exercise"]
def tweedie(x_t, score, alpha, sigma):
    """E[x0 | x_t], shape (B, *), from x_t and score (B, *); alpha and sigma (B,)."""
    ...


# %%
check("9.1", tweedie)

# %% [markdown]
r"""
**Exercise 9.2 ★ — predict.** A broken network ignores its input and always returns 0. It is put into the same
sampler three times: read as a prediction of $\varepsilon$, of $x_0$ and of $v$, on a path with
$\alpha^2+\sigma^2 = 1$. At the last moment before the data, $\sigma$ small, one of the three readings makes
$\hat x_0$ useless and the other two give nearly $x_t$. Which one: `"eps"`, `"x0"` or `"v"`?
"""

# %% tags=["exercise"]
useless_reading = ...

# %%
check("9.2", useless_reading)

# %% [markdown]
r"""
**Exercise 9.3 ★★ — one direction of doubt.** A picture has a million coordinates, and nobody can afford a
million backward passes. But the variance of $x_0$ *along one direction* $w$ takes a single one. Return
$w^\top \operatorname{Cov}[x_0 \mid x_t]\; w$ for each example.
"""


# %% tags=["exercise"]
def variance_along(denoise, x_t, w, alpha, sigma):
    """Shape (B,): variance of w . x0 given x_t; x_t and w (B, D); denoise(x) -> (B, D); two numbers."""
    ...


# %%
check("9.3", variance_along)

# %% [markdown]
r"""
**Exercise 9.4 ★★ — any target into any other.** Given a prediction with weights $(a, b)$, return the
prediction with weights $(a', b')$ that it implies at the same $x_t$. No case distinction, please: one
system serves all.
"""


# %% tags=["exercise"]
def translate(value, x_t, alpha, sigma, source, goal):
    """The goal's prediction (B, D); value, x_t (B, D); the rest (B,): source = (a, b), goal = (a', b')."""
    ...


# %%
check("9.4", translate)

# %% [markdown]
r"""
**Exercise 9.5 ★ — errata museum: the target of a score network.** From a tutorial: the score of
$q(x_t \mid x_0)$, towards which a score network is trained. It holds *two* mistakes.
"""


# %% tags=["exercise"]
def conditional_score(x_t, x0, alpha, sigma):
    """grad log q(x_t | x0) by x_t, shape (B, D), for x_t and x0 (B, D); alpha and sigma (B,)."""
    return (x_t - x0) / sigma[:, None] ** 2


# %%
check("9.5", conditional_score)

# %% [markdown]
r"""
**Exercise 9.6 ★★ — errata museum: right in the middle.** A library turns the velocity of a rectified flow
($x_t = (1-t)\,x_0 + t\,\varepsilon$, $u = \varepsilon - x_0$) into a score. Its test at $t = \tfrac12$
passes. Mend it. It must also be finite and right at $t = 1$.
"""


# %% tags=["exercise"]
def score_of_flow(u, x_t, t):
    """grad log p_t(x_t), shape (B, D), from the velocity u and x_t (B, D), t (B,) in (0, 1]."""
    t = t[:, None]
    return -(x_t + t * u) / t


# %%
check("9.6", score_of_flow)

# %% [markdown]
r"""
**Exercise 9.7 ★★ — errata museum: the wrong examiner.** This function marks a learned score at a noise
level: the relative root mean square error over a batch. The data is $\mathcal N(m, s^2 I)$, so the truth
is known. A perfect network gets a miserable mark. Find the mistake.
"""


# %% tags=["exercise"]
def relative_error(learned, x_t, m, s, alpha, sigma):
    """A tensor of shape (): |learned - true| / |true|; learned and x_t (B, D), m (D,), three numbers."""
    true = -(x_t - m) / s**2
    return (learned - true).square().mean().sqrt() / true.square().mean().sqrt()


# %%
check("9.7", relative_error)

# %% [markdown]
r"""
**Exercise 9.8 ★★ — the operation, by yourself.** A colleague gives you a denoiser of the old school:
`denoise(y, s)` returns $\mathbb E[x_0 \mid y]$ for $y = x_0 + s\,\varepsilon$, with $s$ of shape $(B,)$.
Return the noise that it implies for DDPM's $x_t$ at the level `alpha_bar`.
"""


# %% tags=["exercise"]
def noise_from_old_school(denoise, x_t, alpha_bar):
    """E[eps | x_t], shape (B, D), for x_t (B, D) and alpha_bar (B,)."""
    ...


# %%
check("9.8", noise_from_old_school)

# %% [markdown]
r"""
**Exercise 9.9 ★★★ — three losses made equal.** Three networks predict $x_0$, $v$ and the score. Each has
its own squared error. By which weights must the three errors be multiplied so that each loss equals the
squared error of the *noise* that the network implies? The path is arbitrary: $\alpha^2 + \sigma^2$ need
not be 1.
"""


# %% tags=["exercise"]
def weights_to_noise(alpha, sigma):
    """(w_x0, w_v, w_score), each (B,), for alpha and sigma (B,)."""
    ...


# %%
check("9.9", weights_to_noise)

# %% [markdown]
r"""
## 9.8 What the field does with it, and where this breaks

- **One interface.** Since (9.16) samplers need not know what a network predicts. In this book they speak to a
  `Denoiser`, which returns $\hat x_0$; EDM's reference code does the same. "Score-based" and "denoising
  diffusion" are names of two traditions, not of two models. Song et al. (2021) put both into one differential
  equation, which is chapter 10.
- **$v$ and velocity have won the middle ground.** $v$ was invented for distillation into few steps, where
  the noisy end counts, and it is needed for schedules whose last $\alpha$ is exactly 0 (chapter 5).
  Rectified-flow models predict $\varepsilon - x_0$, whose angle to $x_t$ stays within 45° of a right
  angle. EDM
  mixes targets by noise level so that input and output of the network keep unit variance (chapter 15);
  its target, too, is an $(a, b)$.
- **Second order.** (9.12) serves inverse problems (how much to trust a guess against a measurement), the
  optimal variance of DDPM's step (chapter 7), and higher-order samplers. For pictures one takes a few
  directions, as in exercise 9.3, never the matrix.
- **Weights.** With (9.19) papers that seem to disagree about losses can be put on one axis: a weight as a
  function of $\lambda$.

Where it breaks. *Noise must be Gaussian and known*: for blur, masks or words, (9.3) has another
right-hand side (for Poisson noise Robbins found one; in general there is none). *$\hat x_0$ is a mean,
not a sample*: of a face it is a blurred face, and every method that treats it as a picture errs at high
noise. *The equalities are those of exact guesses.* A network is wrong, and (9.20) says that being wrong
is not the same in all coordinates. And a transplanted network keeps its habits: what it was weighted to
neglect in training, it neglects in the new body.

### References
- Robbins (1956), *An empirical Bayes approach to statistics*: the formula, credited to M. C. K. Tweedie; the
  Poisson case.
- Efron (2011), *Tweedie's formula and selection bias*: (9.7) is eq. 1.4 there, with $\alpha = 1$; the
  winner's curse; mean and variance as derivatives of one function, section 2.
- Miyasawa (1961), *An empirical Bayes estimator of the mean of a normal population*: (9.7) in several
  dimensions.
- Vincent (2011), *A connection between score matching and denoising autoencoders*: (9.6) as a training loss.
- Song, Ermon (2019), *Generative modeling by estimating gradients of the data distribution*: NCSN.
- Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*: DDPM, and the remark that its loss is
  denoising score matching over noise levels, section 3.2.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through
  stochastic differential equations*: both as discretisations of one family; ancestral sampling for NCSN,
  appendix F.
- Salimans, Ho (2022), *Progressive distillation for fast sampling of diffusion models*: $v$, section 4.
- Karras, Aittala, Aila, Laine (2022), *Elucidating the design space of diffusion-based generative
  models*: paths as scalings of one another, section 2 and appendix B.
- Kingma, Gao (2023), *Understanding diffusion objectives as the ELBO with simple data augmentation*:
  losses as weights over $\lambda$.
- Meng, Song, Song, Ermon (2021), *Estimating high order gradients of the data distribution by denoising*:
  (9.12).
- Lipman, Chen, Ben-Hamu, Nickel, Le (2023), *Flow matching for generative modeling*: velocities; their
  time runs from noise to data.
"""
