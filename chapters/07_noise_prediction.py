# %% [markdown]
"""
# 7. Noise prediction

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/07_noise_prediction.ipynb)

*A network learns to sample by guessing noise: why, to what its loss converges, and how to break the sampler*

Below, a small network learns for a few seconds to guess the noise in noisy points. Then its guesses are
turned into samples. Look at both pictures before you read on: they seem to contradict each other.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math
from functools import partial

import torch

from diffedu import (
    EPS,
    VP,
    Ancestral,
    DenoisingLoss,
    DiscreteDDPM,
    GaussianMixture,
    NetworkDenoiser,
    cosine_betas,
    eps_hat,
    least_loss,
    linear_betas,
    sample,
    seeded,
    time_at_half_log_snr,
    trailing_times,
    trajectory,
)
from diffedu.evaluate import energy_distance, floor, mmd2
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.nn import MLP
from diffedu.sampling.ancestral import beta_tilde_variance, beta_variance
from diffedu.show import (
    DATA,
    GUIDED,
    INK,
    NOISE,
    SCORE,
    VELOCITY,
    curve_panel,
    panels,
    square,
)
from diffedu.show.widgets.noise_prediction import NoisePrediction
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
T = 100
# chapter 5's linear schedule with ten times fewer steps, and so ten times larger betas
path = DiscreteDDPM(linear_betas(T, 1e-3, 0.2))

angle = math.pi / 2 + 2 * math.pi / 3 * torch.arange(3, device=device)
corners = torch.stack([angle.cos(), angle.sin()], dim=1)
centres = (1.35 * corners[:, None] - 0.42 * corners[None]).reshape(9, 2)  # three groups of three clusters
shares = torch.tensor([0.5, 0.3, 0.2], device=device)  # of the groups
width = 0.08  # standard deviation of a cluster
mixture = GaussianMixture.isotropic(centres, width, shares.repeat_interleave(3) / 3)

# %%
data = mixture.sample(20_000, seeded(1, device))
torch.manual_seed(0)  # the network's first weights
net = MLP(2, t_max=float(T), width=64).to(device)
state = TrainState(net, TrainConfig(steps=2000, batch=512, lr=4e-3, ema=0.995))
loss = DenoisingLoss(path, EPS)
curve = [p.loss for p in train(state, lambda net, batch, rng: loss(net, *batch, rng), (data,))]
learned = state.ema.net

start = torch.randn(3000, 2, generator=seeded(2, device), device=device)
steps_back = trailing_times(path, T)
drawn = sample(
    NetworkDenoiser(learned, path, EPS), Ancestral(), start, steps_back, generator=seeded(3, device)
)
real = mixture.sample(3000, seeded(4, device))

figure, (left, middle, right) = panels(1, 3, width=11.5, height=3.5)
smooth = torch.tensor(curve).unfold(0, 50, 1).mean(1)
left.plot(torch.arange(len(smooth)) + 50, smooth, color=DATA)
left.set(xlabel="training step", ylabel="loss, mean of 50 steps", ylim=(0, 1.05), title="not to zero")
left.text(1000, 0.93, "1: knows nothing", color=INK, ha="center", fontsize=10)
left.axhline(1, color=INK, linewidth=0.8)
for ax, cloud, color, title in (
    (middle, drawn, DATA, "drawn by the network"),
    (right, real, NOISE, "data"),
):
    ax.scatter(*cloud[:1500].cpu().T, s=3, color=color, alpha=0.5, linewidths=0)
    square(ax, 2.4)
    ax.set_title(title)
distance = energy_distance(drawn[:2000], real[:2000])
perfect = floor(energy_distance, mixture.sample, 2000, generator=seeded(30, device), repeats=5)
assert distance.value < perfect.mean + 4 * perfect.standard_deviation
print(f"loss over the last 500 steps: {sum(curve[-500:]) / 500:.2f}")
print("energy distance of 2000 drawn points to data: within the floor of perfect samples")
figure

# %% [markdown]
r"""
*Left: the loss falls for a second or two and then stays where it is. Middle and right: what the network
draws is nearly the data, nine clusters with their shares, and a few strays between them.*

A student who always answers "0" would be at loss 1. Ours ends at 0.18, so its guesses are off by about
$\sqrt{0.18} \approx 0.4$ of the noise. It all but stopped improving long before the end. And its samples
are fine.

**Before you read on.** Why doesn't the loss go to zero? Is the network too small, was the training too
short, or is it something else? Write down one of the three. Section 7.4 settles it.

**You will be able to**
- derive the training loss of DDPM from the bound of chapter 6, step by step, and say which weights are
  dropped and what the weights meant;
- compute to what the loss converges, at every step and in total, and tell from it how good a network is;
- train a model and sample from it, with both algorithms written out in a dozen lines;
- choose the variance of the backward step by a number that training gives for free;
- recognise eight ways of breaking all this, most of which no picture shows.

**You need** chapter 5 (the forward process and its way back), and from chapter 6 only the result, which is
repeated. **Time**: about 60 minutes to read, half a minute to run, two hours with the exercises.

## 7.1 What the bound asks for

Letters, once. A clean point is shrunk and noise is added,

$$x_t = \alpha_t\, x_0 + \sigma_t\, \varepsilon, \qquad \alpha_t = \sqrt{\bar\alpha_t}, \quad
\sigma_t = \sqrt{1 - \bar\alpha_t}, \quad \varepsilon \sim \mathcal N(0, I), \quad t = 1, \dots, T,
\tag{7.1}$$
<!-- definition 7.1: the forward process of chapter 5, with its names -->
<!-- code 7.1: diffedu.core.path.GaussianPath.add_noise -->

where $\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$. (Papers write $\alpha_t$ for $1 - \beta_t$; here
$\alpha_t$ is the factor before the data.) The model walks back from $x_T$ to $x_0$ in Gaussian steps. Their
mean is learned, their variance $\Sigma_t$ is a number that we choose:

$$p_\theta(x_{t-1} \mid x_t) = \mathcal N\big(x_{t-1};\ \mu_\theta(x_t, t),\ \Sigma_t I\big). \tag{7.2}$$
<!-- definition 7.2: the model of one backward step -->

Chapter 6 bounded $-\log p_\theta(x_0)$ by a sum with one term for each step. The term of step $t \ge 2$
compares the model's step with that of somebody who knows $x_0$, which is a Gaussian with mean $\tilde\mu_t$
and variance $\tilde\beta_t = \beta_t\, \sigma_{t-1}^2 / \sigma_t^2$. The divergence between two Gaussians of
fixed variances depends on the model through the distance of the means only:

$$L_{t-1} = \mathbb E\, \mathrm{KL}\big(q(x_{t-1} \mid x_t, x_0)\,\big\|\,p_\theta(x_{t-1} \mid x_t)\big)
= \mathbb E\, \frac{\|\tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t)\|^2}{2\,\Sigma_t} + C_t, \tag{7.3}$$

with $C_t$ a constant, which is 0 if $\Sigma_t = \tilde\beta_t$. And $\tilde\mu_t$ is known from chapter 5:

$$\tilde\mu_t(x_t, x_0) = \frac{\alpha_{t-1}\,\beta_t}{\sigma_t^2}\; x_0
+ \frac{\sqrt{1-\beta_t}\;\sigma_{t-1}^2}{\sigma_t^2}\; x_t. \tag{7.4}$$

So the network should return the mean $\mu_\theta$, a point close to $x_t$, and it is marked by squared
distance. That would work. But look at what it would have to do.

**Before you read on.** A step takes away little noise. Of the number that the network must return, about
how many per cent is already in its input?

## 7.2 From the mean to the noise

The network sees $x_t$. So of the two things in (7.4) it lacks only $x_0$; and by (7.1), not to know $x_0$
is the same as not to know $\varepsilon$:

$$x_0 = \frac{x_t - \sigma_t\, \varepsilon}{\alpha_t}. \tag{7.5}$$

Put (7.5) into (7.4) and collect. First the coefficient of $\varepsilon$, using
$\alpha_t = \sqrt{1-\beta_t}\;\alpha_{t-1}$:

$$-\,\frac{\alpha_{t-1}\,\beta_t}{\sigma_t^2} \cdot \frac{\sigma_t}{\alpha_t}
= -\,\frac{1}{\sqrt{1-\beta_t}} \cdot \frac{\beta_t}{\sigma_t}. \tag{7.6}$$

Then the coefficient of $x_t$. It has two parts, one from each term of (7.4). Bring them to the common
denominator $\sqrt{1-\beta_t}\;\sigma_t^2$, and write $\sigma_{t-1}^2 = 1 - \bar\alpha_{t-1}$:

$$\frac{\alpha_{t-1}\,\beta_t}{\sigma_t^2\,\alpha_t} + \frac{\sqrt{1-\beta_t}\;\sigma_{t-1}^2}{\sigma_t^2}
= \frac{\beta_t + (1-\beta_t)(1-\bar\alpha_{t-1})}{\sqrt{1-\beta_t}\;\sigma_t^2}
= \frac{1 - \bar\alpha_t}{\sqrt{1-\beta_t}\;\sigma_t^2} = \frac{1}{\sqrt{1-\beta_t}}. \tag{7.7}$$

(The numerator: $\beta_t + 1 - \beta_t - (1-\beta_t)\,\bar\alpha_{t-1}$, and the last product is
$\bar\alpha_t$.) All of $\bar\alpha$ has cancelled before $x_t$:

$$\boxed{\ \tilde\mu_t = \frac{1}{\sqrt{1-\beta_t}}\Big(x_t - \frac{\beta_t}{\sigma_t}\;\varepsilon\Big)\ }
\tag{7.8}$$

In words: *take away a little of the noise, then undo the shrinking of one step.* That suggests the form of
the model's mean. Let a network $\varepsilon_\theta(x_t, t)$ guess the noise, and build

$$\mu_\theta(x_t, t) = \frac{1}{\sqrt{1-\beta_t}}
\Big(x_t - \frac{\beta_t}{\sigma_t}\;\varepsilon_\theta(x_t, t)\Big). \tag{7.9}$$
<!-- definition 7.9: how the model's mean is built from a guess of the noise -->

In the difference $\tilde\mu_t - \mu_\theta$ the $x_t$ cancel, and (7.3) becomes a weighted error of noise:

$$L_{t-1} - C_t = \mathbb E\; w_t\, \|\varepsilon - \varepsilon_\theta(x_t, t)\|^2, \qquad
w_t = \frac{1}{2\,\Sigma_t} \cdot \frac{\beta_t^2}{(1-\beta_t)\,\sigma_t^2}. \tag{7.10}$$

Each link is now tested against something that does not use it. (7.4) meets the regression of one Gaussian
variable on another, the divergences meet PyTorch's, and the two cancellations the numbers of a real schedule.
"""

# %%
zero = torch.zeros(1, dtype=torch.float64)
beta = torch.cat([zero, path.betas])  # a leading entry: beta[t] belongs to step t
alpha, sigma = path.alpha_bar.sqrt(), (1 - path.alpha_bar).sqrt()  # alpha[t], sigma[t], t = 0 ... T
beta_tilde = torch.cat([zero, path.betas * (sigma[:-1] / sigma[1:]) ** 2])

t = 30
rng = seeded(5)
x0, eps, guess = torch.randn(3, 1000, 2, generator=rng, dtype=torch.float64)
x_t = alpha[t] * x0 + sigma[t] * eps
mean = (
    alpha[t - 1] * beta[t] / sigma[t] ** 2 * x0
    + (1 - beta[t]).sqrt() * sigma[t - 1] ** 2 / sigma[t] ** 2 * x_t
)

# Given x0, both x_{t-1} and x_t are Gaussian: the mean of one given the other is a regression line. Walk the
# chain: x_{t-1} has the noise sigma_{t-1} z, and x_t has a share of that and sqrt(beta_t) z' of its own.
of_z = torch.zeros(2, 2, dtype=torch.float64)
of_z[0, 0] = sigma[t - 1]
of_z[1, 0], of_z[1, 1] = (1 - beta[t]).sqrt() * sigma[t - 1], beta[t].sqrt()
joint = of_z @ of_z.T
slope = joint[0, 1] / joint[1, 1]  # covariance over variance
verify("7.4", mean, alpha[t - 1] * x0 + slope * (x_t - alpha[t] * x0), over="coordinates")
verify("7.5", path.add_noise(torch.zeros_like(x0), -eps, float(t)) + x_t, alpha[t] * x0, over="coordinates")
steps = torch.arange(1, T + 1)
b, a, s, a_before, s_before = beta[1:], alpha[1:], sigma[1:], alpha[:-1], sigma[:-1]
verify("7.6", -a_before * b / s**2 * s / a, -b / s / (1 - b).sqrt(), over="steps")
verify("7.7", a_before * b / (s**2 * a) + (1 - b).sqrt() * s_before**2 / s**2, (1 - b) ** -0.5, over="steps")
verify("7.8", (x_t - beta[t] / sigma[t] * eps) / (1 - beta[t]).sqrt(), mean, over="coordinates")

Normal, kl = torch.distributions.Normal, torch.distributions.kl_divergence
guessed_mean = (x_t - beta[t] / sigma[t] * guess) / (1 - beta[t]).sqrt()
for Sigma in (beta[t], beta_tilde[t]):  # the constant: what is left when the means agree
    truth = Normal(mean, beta_tilde[t].sqrt())
    divergence = kl(truth, Normal(guessed_mean, Sigma.sqrt())) - kl(truth, Normal(mean, Sigma.sqrt()))
    verify("7.3", (mean - guessed_mean).square() / (2 * Sigma), divergence, over="coordinates")
    weight = beta[t] ** 2 / (2 * Sigma * (1 - beta[t]) * sigma[t] ** 2)
    verify("7.10", weight * (eps - guess).square(), divergence, over="coordinates")

left_out = (mean - x_t / (1 - beta[t]).sqrt()).square().mean() / mean.square().mean()
print(f"of the mean square of the wanted mean, {100 * (1 - left_out):.0f} % is there by repeating the input")

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.9)
step_beta, a_t, s_t = 0.4, 0.6, 0.8  # a giant step, so that it can be seen
x0_, eps_, wrong = torch.tensor([[1.6, 0.5], [0.6, 1.5], [1.45, 0.8]])
xt_ = a_t * x0_ + s_t * eps_
for e, color, style, ends in (
    (eps_, NOISE, "-", ((r"$\alpha_t x_0$", (1.02, 0.22)), (r"$\tilde\mu_t$", (1.52, 1.0)))),
    (wrong, DATA, "--", (("its guess", (0.02, 0.74)), (r"$\mu_\theta$", (1.08, 1.47)))),
):
    clean, lessened = xt_ - s_t * e, xt_ - step_beta / s_t * e
    mean_ = lessened / math.sqrt(1 - step_beta)
    left.plot(*torch.stack([xt_, clean]).T, color=color, linestyle=style, linewidth=1.2)
    left.plot(*torch.stack([xt_, lessened]).T, color=color, linewidth=3.5)
    left.annotate(
        "", mean_.tolist(), lessened.tolist(), arrowprops={"arrowstyle": "->", "color": color, "lw": 2.2}
    )
    left.scatter(*clean, s=26, color=color, zorder=3)
    for text, place in ends:
        left.text(*place, text, color="#666666" if color == NOISE else color, fontsize=12)
left.scatter(*xt_, s=40, color=INK, zorder=5)
left.text(1.5, 1.53, "$x_t$", color=INK, fontsize=12)
left.set(xlim=(-0.1, 1.9), ylim=(0, 1.8), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
left.set_title(r"one step back (large: $\beta_t = 0.4$)")
reach = b / (s * (1 - b).sqrt())
curve_panel(
    right,
    steps,
    {"of the guess's\nerror": reach, "noise added\nby the step": b.sqrt()},
    xlabel="step t",
    ylabel="data units",
    title="what reaches $x_{t-1}$",
    colors=(DATA, NOISE),
    label_curves=False,
)
right.set_ylim(0, 0.5)
right.text(38, 0.33, "noise added by the step", color=NOISE, ha="right")
right.text(52, 0.075, "of the guess's error", color=DATA)
assert (reach < b.sqrt() * 1.04).all()
assert reach[9:].max() < 0.24
print(f"an error of 1 in the noise moves the mean by at most {reach.max():.2f}")
figure

# %% [markdown]
r"""
*Left: true noise (grey) and a poor guess (blue), both taken off the same $x_t$. The thin lines end in the
clean points they imply, far apart. The step goes a part of the way (thick), then undoes the shrinking
(arrow), and its two ends are closer. Right: an error of 1 in the guess, as it arrives in the mean, beside
the noise that the step adds anyway.*

Most of $\mu$ is a copy of the input, known in advance; guessing $\varepsilon$ leaves the network only the
part that is news. The right-hand panel answers half of our riddle. A guess that is off by 0.4 displaces one
step by less than half of the noise that the step adds on purpose. Whether a *hundred* such errors add up is
another matter: it depends on whether they have a direction. Section 7.4 will show that the best guess's
errors have none.

## 7.3 $L_\text{simple}$, and the weights that it drops

Ho, Jain and Abbeel left the weights out and averaged over all steps:

$$L_\text{simple} = \frac1T \sum_{t=1}^{T}\ \mathbb E_{x_0,\, \varepsilon}\;
\tfrac1D\,\big\|\varepsilon - \varepsilon_\theta(\alpha_t x_0 + \sigma_t \varepsilon,\ t)\big\|^2.
\tag{7.11}$$
<!-- code 7.11: diffedu.core.loss.DenoisingLoss -->

$D$ is the number of coordinates, 2 here. (The $1/D$ is ours. It makes 1 the price of always saying zero,
and changes nothing but the learning rate.)

What was dropped? With the two variances of chapter 6, (7.10) says

$$w_t = \frac{\beta_t}{2\,(1-\beta_t)\,\sigma_t^2} \quad (\Sigma_t = \beta_t), \qquad\qquad
w_t = \frac{\beta_t}{2\,(1-\beta_t)\,\sigma_{t-1}^2} \quad (\Sigma_t = \tilde\beta_t,\ t \ge 2). \tag{7.12}$$

They differ in one index. At $t = 1$ the second would be infinite, since $\tilde\beta_1 = 0$: the last step
is not a divergence of two Gaussians and has its own term in the bound, $L_0$.

These fractions say little. But take chapter 5's half-log-SNR, $\lambda_t = \log(\alpha_t/\sigma_t)$. Write
out the ratio of two neighbouring SNRs,
$e^{2(\lambda_{t-1} - \lambda_t)} = \bar\alpha_{t-1}\,\sigma_t^2 / (\bar\alpha_t\,\sigma_{t-1}^2)
= \sigma_t^2 / \big((1-\beta_t)\,\sigma_{t-1}^2\big)$, subtract 1, and use
$\sigma_t^2 - (1-\beta_t)\,\sigma_{t-1}^2 = \beta_t$ (the variance that the step adds). For
$\Sigma_t = \tilde\beta_t$:

$$w_t = \tfrac12\big(e^{2(\lambda_{t-1} - \lambda_t)} - 1\big) \;\approx\; \lambda_{t-1} - \lambda_t.
\tag{7.13}$$

**The bound weighs a step by how far it moves in half-log-SNR.** So the weights are no wisdom about which
noise levels matter. They only make the sum over steps into an integral over $\lambda$, in which all noise
levels count alike, whatever the schedule. (Section 6.10: of the schedule only its two ends are left.) To drop
them is to let the *schedule* choose: a stretch of $\lambda$ counts by the number of steps that are spent on
it.
"""

# %%
thousand = DiscreteDDPM(linear_betas(1000))
B, bar = thousand.betas, thousand.alpha_bar
lam = 0.5 * torch.log(bar[1:] / (1 - bar[1:]))  # lambda_1 ... lambda_T
w_beta = B / (2 * (1 - B) * (1 - bar[1:]))
w_tilde = B[1:] / (2 * (1 - B[1:]) * (1 - bar[1:-1]))  # t = 2 ... T
tilde = B[1:] * (1 - bar[1:-1]) / (1 - bar[2:])
for Sigma, w in ((B[1:], w_beta[1:]), (tilde, w_tilde)):  # (7.10) with each of the two variances
    verify("7.12", B[1:] ** 2 / (2 * Sigma * (1 - B[1:]) * (1 - bar[2:])), w, over="steps")
lambdas = thousand(torch.arange(1.0, 1001, dtype=torch.float64)).half_log_snr
verify("7.13", torch.expm1(-2 * lambdas.diff()) / 2, w_tilde, over="steps")

close = (w_tilde / -lambdas.diff() - 1).abs()
first = int((close > 0.05).nonzero().max()) + 3
half = int((w_tilde.cumsum(0) < w_tilde.sum() / 2).sum()) + 2
print(f"from step {first} of 1000 on, w_t and the difference of lambdas agree to 5 %")
print(f"half of the bound's total weight lies on the first {half} of 1000 steps")
print(f"weights from step 100 on: largest over smallest {w_tilde[98:].max() / w_tilde[98:].min():.1f}")

figure, (left, right) = panels(1, 2, width=11, height=3.5)
x = torch.arange(1, 1001)
left.plot(x, w_beta, color=VELOCITY)
left.plot(x[1:], w_tilde, color=SCORE, linestyle="--")
left.axhline(w_tilde.median(), color=DATA, linestyle=":")
left.set(
    xscale="log", yscale="log", xlabel="step t (of 1000)", ylabel="weight $w_t$", title="linear schedule"
)
left.text(1.1, 0.13, r"$\Sigma = \beta$", color=VELOCITY)
left.text(3.2, 0.55, r"$\Sigma = \tilde\beta$", color=SCORE)
left.text(1.1, 0.0085, "$L_{simple}$: all alike", color=DATA)
left.set_ylim(4e-3, 2)
for name, betas_, color, style, place in (
    ("linear", linear_betas(1000), DATA, ":", (-2.0, 0.18)),
    ("cosine", cosine_betas(1000), GUIDED, "-", (3.2, 0.26)),
):
    half_log = DiscreteDDPM(betas_)(torch.arange(1.0, 1000, dtype=torch.float64)).half_log_snr
    right.plot(half_log[1:], 1 / (-half_log.diff() * 1000), color=color, linestyle=style)
    right.text(*place, f"$L_{{simple}}$, {name}", color=color)
right.axhline(1 / (lam[0] - lam[-1]), color=SCORE, linestyle="--")
right.text(4.4, 0.112, "the bound", color=SCORE)
right.set(xlim=(4.6, -5), ylim=(0, 0.4), xlabel=r"half-log-SNR $\lambda$ (noise grows to the right)")
right.set(ylabel=r"weight of a unit of $\lambda$", title=r"the same, over $\lambda$")
figure

# %% [markdown]
r"""
*Left: the dropped weights. Beyond the first hundred of a thousand steps they vary little; before, they rise
steeply. Right: over $\lambda$ the bound is flat (all curves have area 1; that of the bound lies between the
ends of the linear schedule). $L_\text{simple}$ takes weight from the low noise levels, on the left, and gives
it to those where the schedule lingers.*

So what $L_\text{simple}$ drops is an insistence on *tiny* noise. That noise matters for likelihood, where
the last decimals of a pixel count like anything else. For how samples look it hardly does. (Chapter 14
meets the same weights with the cosine schedule, chapter 15 a zoo of alternatives.)

The weights are gone, but not the answer. For each $t$ the network is asked the same question whatever
positive number stands in front of its marks. What is the best answer?

## 7.4 To what does the loss converge?

**Before you read on.** At which noise level is the noise hardest to guess: when there is very little of it
($t = 1$), in the middle, or when there is almost nothing else ($t = T$)?

Fix $t$ and look at one noisy point $x_t$. Many clean points may have led here, each with another noise. All
that can be known of the noise is its distribution given $x_t$, and the one number (vector) that is best in
squared error is its mean, $\varepsilon^\ast(x_t) = \mathbb E[\varepsilon \mid x_t]$. To see it, insert
$\varepsilon^\ast$ and multiply out. The cross term is
$2\,\mathbb E\big[(\varepsilon - \varepsilon^\ast) \cdot (\varepsilon^\ast - \varepsilon_\theta)\big]$. Given
$x_t$ the second factor is fixed and the first has mean zero, by the definition of $\varepsilon^\ast$. So
the cross term vanishes, and

$$\underbrace{\mathbb E\,\tfrac1D\|\varepsilon - \varepsilon_\theta\|^2}_{\text{the loss at } t}
= \underbrace{\mathbb E\,\tfrac1D\|\varepsilon - \varepsilon^\ast\|^2}_{\ell^\ast(t)\text{: no network can
change it}} + \underbrace{\mathbb E\,\tfrac1D\|\varepsilon^\ast - \varepsilon_\theta\|^2}_{\text{the excess:
the network's own error}}. \tag{7.14}$$

Three things follow. The loss converges to $\ell^\ast(t)$, not to zero. Its value alone says little of the
quality of a network; the excess does. And the best guess is

$$\varepsilon^\ast(x_t) = \frac{x_t - \alpha_t\, \mathbb E[x_0 \mid x_t]}{\sigma_t}, \tag{7.15}$$
<!-- code 7.15: diffedu.core.denoiser.eps_hat -->

by taking means in (7.1): the noise that is left if the *best guess* of the clean point is removed. For our
mixture it is known exactly.
"""

# %%
spots = {3: (0.67, -0.29), 22: (0.66, -0.17), 60: (1.3, 0.7)}
figure, axes = panels(1, 3, width=11, height=3.8)
for ax, (t, spot) in zip(axes, spots.items(), strict=True):
    scale_t, noise_t = alpha[t].item(), sigma[t].item()
    at = torch.tensor([spot], device=device)
    weights, means_, covariances = mixture.posterior(at, float(t), path)
    possible = GaussianMixture(weights[0].clamp(min=1e-30), means_[0], covariances[0]).sample(
        40, seeded(6, device)
    )
    cloud = scale_t * real[:700].cpu()
    ax.scatter(*cloud.T, s=3, color="#C9C9C9", linewidths=0)
    ax.plot(
        *torch.stack([at.expand(40, 2), scale_t * possible]).cpu().permute(2, 0, 1),
        color=NOISE,
        linewidth=0.6,
    )
    best = at - noise_t * eps_hat(mixture.denoiser(path), at, float(t))
    ax.plot(*torch.cat([at, best]).cpu().T, color=SCORE, linewidth=3)
    ax.scatter(*at.cpu().T, s=36, color=INK, zorder=4)
    square(ax, 2.2, ylabel="$x_2$" if t == 3 else "")
    if t == 3:  # a closer look
        ax.set(xlim=(spot[0] - 0.4, spot[0] + 0.4), ylim=(spot[1] - 0.4, spot[1] + 0.4))
    left_over = least_loss(
        mixture, path, EPS, torch.full((4000,), float(t), device=device), seeded(7, device)
    )
    ax.set_title(
        f"t = {t}: least loss {left_over.mean():.1f}" if t < 60 else f"t = {t}: least loss below 0.05"
    )
    assert t < 60 or left_over.mean() < 0.05
figure

# %% [markdown]
r"""
*One noisy point (black) at three times, and the data shrunk by $\alpha_t$ (light grey). Grey lines lead to 40
clean points that may have led there; each is $\sigma_t$ times a possible noise. Orange: their mean. Left
(enlarged): with little noise the lines are short, but in units of their own length they differ much. Right:
nearly all of $x_t$ is noise, and all candidates agree on it.*

Hardest is the noise that is *small*: it hides behind the data's own variation. At $t = T$, where $x_t$ is
noise, guessing it is reading it off.

### The least loss, exactly
The true noise and the true clean point are tied by (7.1). Given $x_t$, an error of one is an error of the
other, $\sigma_t(\varepsilon - \varepsilon^\ast) = -\alpha_t (x_0 - \mathbb E[x_0 \mid x_t])$. Square, and
take means:

$$\ell^\ast(t) = \frac{\alpha_t^2}{\sigma_t^2} \cdot \frac1D\;
\mathbb E\, \operatorname{tr} \operatorname{Cov}[x_0 \mid x_t]. \tag{7.16}$$
<!-- code 7.16: diffedu.core.loss.least_loss -->

SNR times what is uncertain about the data. For one Gaussian cluster of variance $s^2$, (5.13) gave that
uncertainty, $s^2\sigma_t^2 / (\alpha_t^2 s^2 + \sigma_t^2)$, and so

$$\ell^\ast(t) = \frac{\alpha_t^2 s^2}{\alpha_t^2 s^2 + \sigma_t^2}: \tag{7.17}$$

the *share of the data* in the variance of $x_t$. It is near 1 while the noise is small beside $s$, and falls
to 0 when it is large. Data with many scales, like ours (0.08 within a cluster, 0.7 between clusters, 2.3
between groups), makes a curve with a fall at each.
"""

# %%
exact = mixture.denoiser(path)
grad_x = mixture.noised(path, 30.0).sample(2000, seeded(8, device)).requires_grad_()
(gradient,) = torch.autograd.grad(mixture.noised(path, 30.0).log_prob(grad_x).sum(), grad_x)
best = eps_hat(exact, grad_x.detach(), 30.0)  # by Bayes' rule over the clusters
verify("7.15", -sigma[30].float() * gradient.cpu(), best.cpu(), rtol=1e-4, over="coordinates")  # by autograd


def noised(t, n=20_000, seed=9):
    """x_t and the noise in it, for n fresh points of the data."""
    rng = seeded(seed, device)
    x0 = mixture.sample(n, rng)
    eps = torch.randn(x0.shape, generator=rng, device=device)
    return path.add_noise(x0, eps, float(t)), eps


x_t, eps = noised(30)
best, other = eps_hat(exact, x_t, 30.0), 0.5 * x_t  # any other guess will do
errors = [(p - q).square().mean(1) for p, q in ((eps, other), (eps, best), (best, other))]
verify_mean("7.14", errors[0] - errors[1] - errors[2], 0.0)
covariance_route = least_loss(
    mixture, path, EPS, torch.full((20_000,), 30.0, device=device), seeded(10, device)
)
verify_mean("7.16", errors[1] - covariance_route, 0.0)

lonely = GaussianMixture.isotropic(torch.zeros(1, 2, dtype=torch.float64), 0.6)
every_t = torch.arange(1.0, T + 1, dtype=torch.float64)
by_hand = 0.36 * alpha[1:] ** 2 / (0.36 * alpha[1:] ** 2 + sigma[1:] ** 2)
verify("7.17", least_loss(lonely, path, EPS, every_t, seeded(11)), by_hand, over="steps")

repeats = 4000
least = torch.stack(
    [
        least_loss(
            mixture, path, EPS, torch.full((repeats,), float(t), device=device), seeded(12, device)
        ).mean()
        for t in steps
    ]
).cpu()
total = least.mean()
last = torch.tensor(curve[-500:]).mean()
assert 0.99 * total < last < 1.04 * total
print(f"the least possible loss, in total: {total:.2f}")
print(f"the trained network's, last 500 steps: {last:.2f}; above the least by less than 4 %")

# %% [markdown]
r"""
There is the answer. The network was not too small, and not trained too briefly. **It has converged, but
for a few per cent, to the best loss that there is.** The 0.18 belongs to the question, not to the network.

### What the number is made of
The total is a mean over steps, and so depends on the schedule. The curve itself does not, if drawn over
$\lambda$; and there its area has a meaning. When $\lambda$ grows (noise recedes), $x_t$ tells more about
$x_0$; their mutual information grows at a rate that was found by Guo, Shamai and Verdú,

$$\frac{d}{d\lambda}\, I(x_0; x_t) = D\,\ell^\ast(\lambda)
\qquad\Longrightarrow\qquad
\int_{\lambda_a}^{\lambda_b} D\, \ell^\ast\, d\lambda = I(x_0; x_{\lambda_b}) - I(x_0; x_{\lambda_a}).
\tag{7.18}$$

(Their theorem has SNR as its variable, $dI/d\,\mathrm{SNR} = \tfrac12 \mathrm{mmse}$; with
$d\,\mathrm{SNR} = 2\,\mathrm{SNR}\, d\lambda$ and (7.16) it reads as above.) **The least loss is the
information per unit of $\lambda$ that appears as the noise recedes.** We check it by drawing $\lambda$ at
random for the left side, and by entropies for the right. Given $x_0$, $x_t$ has the entropy of its noise. So
$I = h(x_t) - h(\sigma\varepsilon)$, and $h(x_t)$ is a sum over a grid.

The picture splits the information. It shows $\ell^\ast$ for the data, for its nine centres alone (clusters
of width zero), and for three points at the centres of the groups.
"""

# %%
smooth_path = VP()  # continuous time: any lambda can be asked for
double = mixture.to(device="cpu", dtype=torch.float64)


def information(lam):
    """I(x0; x_t) in nats at half-log-SNR lam, the entropy of x_t by a sum over a grid."""
    t = time_at_half_log_snr(smooth_path, torch.tensor(lam, dtype=torch.float64))
    axis = torch.linspace(-5, 5, 801, dtype=torch.float64)
    log_p = double.noised(smooth_path, t).log_prob(torch.cartesian_prod(axis, axis))
    h = -(log_p.exp() * log_p).sum() * (axis[1] - axis[0]) ** 2
    return h - 2 * 0.5 * torch.log(2 * math.pi * math.e * smooth_path(t).sigma ** 2)


high, low, n = 3.0, -3.0, 100_000
lam_drawn = low + (high - low) * torch.rand(n, generator=seeded(13), dtype=torch.float64)
drawn_loss = least_loss(double, smooth_path, EPS, time_at_half_log_snr(smooth_path, lam_drawn), seeded(14))
verify_mean("7.18", (high - low) * 2 * drawn_loss, information(high) - information(low))

in_groups = GaussianMixture.isotropic(1.35 * corners.cpu().double(), 0.0, shares.cpu().double())
in_points = GaussianMixture.isotropic(centres.cpu().double(), 0.0, double.weights)
lam_axis = torch.linspace(5, -4, 91, dtype=torch.float64)
times = time_at_half_log_snr(smooth_path, lam_axis)
layers = {
    name: torch.stack(
        [least_loss(m, smooth_path, EPS, t.expand(6000), seeded(15 + k)).mean() for k, t in enumerate(times)]
    )
    for name, m in (("data", double), ("centres", in_points), ("groups", in_groups))
}
nats = {name: 2 * torch.trapezoid(curve_, -lam_axis) for name, curve_ in layers.items()}
entropy = {
    name: -(m.weights * m.weights.log()).sum() for name, m in (("groups", in_groups), ("centres", in_points))
}
for name, exact_entropy in entropy.items():
    assert abs(nats[name] - exact_entropy) < 0.05
    print(f"area of '{name}' and entropy of the choice among them: {exact_entropy:.1f} nats")

figure, (left, right) = panels(1, 2, width=11.5, height=3.6)
for name, color, style in (("data", SCORE, "-"), ("centres", VELOCITY, "--"), ("groups", GUIDED, "-.")):
    left.plot(lam_axis, layers[name], color=color, linestyle=style)
left.set(xlim=(5, -4), ylim=(0, 1.05), xlabel=r"half-log-SNR $\lambda$ (noise grows to the right)")
left.set(ylabel=r"least loss $\ell^\ast$", title="which question is being settled")
left.text(2.75, 0.72, "where in the cluster", color=SCORE)
left.text(3.9, 0.25, "which cluster", color=VELOCITY)
left.text(-0.72, 0.42, "which group", color=GUIDED)
right.plot(steps, least, color=SCORE)
right.fill_between(steps, least, color=SCORE, alpha=0.15)
right.axhline(total, color=SCORE, linewidth=1, linestyle=":")
right.text(99, total + 0.02, f"mean: {total:.2f}", color=SCORE, ha="right")
right.set(xlabel="step t (of 100)", ylabel=r"least loss $\ell^\ast$", ylim=(0, 1.05), xlim=(0, 100))
right.set_title("the same by step: what training converges to")
figure

# %% [markdown]
r"""
*Left, read from right to left as a sampler does: the noise recedes, and one question after the other is
settled, each with its hump: which group, which cluster of it, where inside. Twice the area under a curve is
information in nats: 1.0 for the group (the entropy of shares of 50, 30 and 20 %), 2.1 for group and cluster.
Right: the same curve as a training run sees it.*

This is the inner picture of a diffusion model. It is paid, at each noise level, for the questions that can
be settled there. Where $\ell^\ast$ is high, something is being decided.

## 7.5 Training

Everything so far comes together in five lines (Ho et al., algorithm 1):
"""


# %%
def simple_loss(net, x0, rng):
    """(7.11), one value for each point: any time from 1 to T, fresh noise, one jump, one guess."""
    t = torch.randint(1, T + 1, (len(x0),), generator=rng, device=x0.device)  # 1 ... T: T + 1 is not drawn
    eps = torch.randn(x0.shape, generator=rng, device=x0.device)
    x_t = alpha.to(x0)[t, None] * x0 + sigma.to(x0)[t, None] * eps
    return (eps - net(x_t, t.float())).square().mean(1)


def learn(loss, steps=300, seed=0):
    """A small network, trained for a moment; its losses."""
    torch.manual_seed(seed)
    net = MLP(2, t_max=float(T), width=64).to(device)
    optimiser, rng, losses = torch.optim.Adam(net.parameters(), lr=4e-3), seeded(seed, device), []
    for _ in range(steps):
        batch = data[torch.randint(len(data), (512,), generator=rng, device=device)]
        value = loss(net, batch, rng).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    return net, losses


with torch.no_grad():
    ours, book = (f(learned, data[:512], seeded(16, device)) for f in (simple_loss, loss))
assert torch.allclose(ours, book, rtol=1e-4, atol=1e-6)
print("simple_loss and DenoisingLoss(path, EPS) agree on 512 points")
verify_mean("7.11", simple_loss(lambda x_t, t: 0 * x_t, data, seeded(17, device)), 1.0)

_, short = learn(simple_loss)
assert sum(short[-50:]) / 50 < 0.3
print(f"the plain loop, after 300 steps: below 0.3; the book's trainer after 2000: {last:.2f}")

# %% [markdown]
r"""
Note what is *not* there. No chain is walked: the jump (7.1) goes straight to any step. No two steps are
compared: the network never learns how $x_t$ hangs together with $x_{t-1}$. It is only ever asked, of one
noisy point, which part is noise.

(The book's trainer, `train`, adds what every longer run wants: a learning rate that rises and falls, a cap
on the gradient, and an average of the weights. Chapter 14 takes it apart.)

**Before you look:** at which $t$ is our network furthest from the best guess: at low noise, where the loss
is largest, or at high noise, where it hardly pays anything?
"""

# %%
excess, loss_by_t = [], []
with torch.no_grad():
    for t in steps.tolist():
        x_t, eps = noised(t, 2000, seed=18)
        guess = learned(x_t, torch.full((2000,), float(t), device=device))
        excess.append((guess - eps_hat(exact, x_t, float(t))).square().mean().item())
        loss_by_t.append((guess - eps).square().mean().item())
excess, loss_by_t = torch.tensor(excess), torch.tensor(loss_by_t)
spread = torch.tensor(curve[-500:]).std()
assert excess.mean() < 0.03 * total
assert excess[:20].mean() > 20 * excess[60:].mean()
assert spread > 2 * excess.mean()
assert excess[:30].sum() > 0.8 * excess.sum()
print("excess, mean over t: below 3 % of the least loss, and more than 80 % of it lies at t <= 30")
print("from one batch to the next the loss varies by more than twice the whole excess")

figure, (left, right) = panels(1, 2, width=11, height=3.6)
left.plot(torch.arange(len(smooth)) + 50, smooth, color=DATA)
left.axhline(total, color=SCORE, linestyle="--")
left.set(xlabel="training step", ylabel="loss, mean of 50 steps", ylim=(0.1, 0.5))
left.set_title("the first picture, with the line that it lacked")
left.text(1950, total - 0.03, "least possible loss, from the oracle", color=SCORE, ha="right", fontsize=10)
right.plot(steps, loss_by_t, color=DATA, linewidth=4, alpha=0.35)
right.plot(steps, least, color=SCORE)
right.plot(steps, excess, color=DATA, linestyle=":")
right.set(yscale="log", xlabel="step t", ylabel="loss", ylim=(1e-5, 2), title="by step")
right.text(34, 0.5, "the network's loss", color=DATA)
right.text(2, 0.12, "least", color=SCORE)
right.text(29, 2.2e-3, "excess: distance to\nthe best guess", color=DATA, fontsize=10)
figure

# %% [markdown]
r"""
*Left: the loss runs into its floor. Right: loss, least loss and their difference at each step, logarithmic.
In absolute terms the network is worst at low noise, where the questions are fine ones. (Relative to the
least loss it is worst at the right end, where next to nothing is at stake.)*

Two habits to take along. **Never judge a diffusion model by its training loss**: nearly all of it is
$\ell^\ast$, and the differences between networks are smaller than the chatter from batch to batch. **Compare
two networks on the same points with the same noise**, at each $t$: then $\ell^\ast$ cancels in the
difference. With real data $\ell^\ast$ is unknown (chapter 14 computes it for a finite set of digits), but it
is the same for all networks.

### Look at it
Drag the time. Left the noise that was really added: each line ends in the shrunken clean point. Middle and
right the exact guess and the network's. **A prediction first:** at $t = 60$, where will all the lines in the
middle panel end?
"""

# %%
NoisePrediction(mixture, path, learned)

# %% [markdown]
r"""
*At high noise the exact guess points to the mean of the data: which cluster it was can't be known. While the
noise recedes the lines' ends part, first into groups, then into clusters. The network follows, but for some
points at small $t$ between clusters.*

## 7.6 Sampling

A guess of the noise is a mean of a backward step, by (7.9). Add noise of the step's variance, and repeat:

$$x_{t-1} = \frac{1}{\sqrt{1-\beta_t}}\Big(x_t - \frac{\beta_t}{\sigma_t}\,\varepsilon_\theta(x_t, t)\Big)
+ \sqrt{\Sigma_t}\; z, \qquad z \sim \mathcal N(0, I),\quad z = 0 \text{ at } t = 1. \tag{7.19}$$
<!-- code 7.19: diffedu.sampling.ancestral.Ancestral -->

*Why no noise at the end?* The step from $t = 1$ lands on clean data. Noise that is added there is taken away
by nobody: it stays on the result as a blur, of size $\sqrt{\beta_1}$ at most. (With
$\Sigma_t = \tilde\beta_t$ this takes care of itself, $\tilde\beta_1 = 0$. With $\beta_t$ it must be said.
Section 7.7 looks closer.) Ho et al., algorithm 2:
"""


# %%
def ancestral(guess, x, Sigma, rng, end=1):
    """x_0 from x_T = noise; guess(x_t, t) is a guess of the noise, Sigma[t] the variance of step t."""
    for t in range(T, 0, -1):  # T, ..., 1: the times of training, all of them, and no other
        z = torch.randn(x.shape, generator=rng, dtype=x.dtype, device=x.device)
        x = (x - beta[t] / sigma[t] * guess(x, t)) / (1 - beta[t]).sqrt()
        if t > end:  # t > 1. `t > 0` would always be true here
            x = x + Sigma[t].sqrt() * z  # a standard deviation, not a variance
    return x


x_start = torch.randn(500, 2, generator=seeded(19), dtype=torch.float64)
clean = double.denoiser(path)
for Sigma, variance in ((beta, beta_variance), (beta_tilde, beta_tilde_variance)):
    one = ancestral(lambda x, t: eps_hat(clean, x, float(t)), x_start, Sigma, seeded(20))
    other = sample(
        clean, Ancestral(variance), x_start, trailing_times(path, T).double(), generator=seeded(20)
    )
    verify("7.19", one, other, over="coordinates")

# %%
shown = (100, 40, 25, 15, 10, 5, 0)
run = trajectory(
    NetworkDenoiser(learned, path, EPS), Ancestral(), start[:1500], steps_back, generator=seeded(3, device)
)
film = {int(t): x for t, x in run}
figure, axes = panels(1, len(shown), width=13.5, height=2.35)
for ax, t in zip(axes, shown, strict=True):
    ax.scatter(*film[t].cpu().T, s=2, color=NOISE if t == T else DATA, alpha=0.5, linewidths=0)
    square(ax, 2.8, xlabel="", ylabel="")
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"t = {t}")
figure

# %% [markdown]
r"""
*1,500 points on their way back. Groups part around $t = 20$, clusters around $t = 8$: where the humps of
$\ell^\ast$ are.*

### Which variance?
Chapter 6 had two candidates, $\beta_t$ and $\tilde\beta_t$, each right for one kind of data. With
$\ell^\ast$ in hand we can say which variance is right for *ours*. What is the variance of $x_{t-1}$ given
$x_t$? By the law of total variance it has two parts. If $x_0$ were known, $\tilde\beta_t$ would be left. And
$x_0$ is not known, so the mean (7.8) itself varies with the noise that it may be:

$$\Sigma_t^\ast = \mathbb E\,\tfrac1D \operatorname{tr} \operatorname{Cov}[x_{t-1} \mid x_t]
= \tilde\beta_t + \Big(\frac{\beta_t}{\sqrt{1-\beta_t}\;\sigma_t}\Big)^{\!2}\, \ell^\ast(t). \tag{7.20}$$

The least loss is the dial between the two. If nothing is left to guess, $\ell^\ast = 0$ (data at a single
point), $\Sigma^\ast = \tilde\beta_t$. For data that is itself $\mathcal N(0, I)$, (7.17) gives
$\ell^\ast = \alpha_t^2$, and

$$\tilde\beta_t + \frac{\beta_t^2\, \alpha_t^2}{(1-\beta_t)\,\sigma_t^2}
= \frac{\beta_t}{\sigma_t^2}\big(1 - \bar\alpha_{t-1} + \beta_t\, \bar\alpha_{t-1}\big)
= \frac{\beta_t}{\sigma_t^2}\,\big(1 - \bar\alpha_t\big) = \beta_t. \tag{7.21}$$

So both published choices are this formula with an extreme guess at the data. A trained model can do better
for free: its own loss at step $t$ *is* $\ell^\ast(t)$, nearly.

**Before you look:** clusters of width 0.08, sampled with the exact denoiser in 100 steps. Which variance
makes them too wide, which too narrow?
"""

# %%
t = 10
rng = seeded(21, device)
x0 = mixture.sample(200_000, rng)
z1, z2 = torch.randn(2, 200_000, 2, generator=rng, device=device)
x_before = alpha[t - 1].item() * x0 + sigma[t - 1].item() * z1  # walk the chain: x_{t-1}, then x_t
x_t = math.sqrt(1 - beta[t]) * x_before + math.sqrt(beta[t]) * z2
best_mean = (x_t - (beta[t] / sigma[t]).item() * eps_hat(exact, x_t, float(t))) / math.sqrt(1 - beta[t])
least_10 = least_loss(
    mixture, path, EPS, torch.full((200_000,), float(t), device=device), seeded(22, device)
).mean()
expected = beta_tilde[t] + beta[t] ** 2 / ((1 - beta[t]) * sigma[t] ** 2) * least_10.cpu()
verify_mean("7.20", (x_before - best_mean).square().mean(1), expected)
verify("7.21", beta_tilde[1:] + b**2 * a**2 / ((1 - b) * s**2), path.betas, over="steps")

best_variance = beta_tilde.clone()
best_variance[1:] += b**2 / ((1 - b) * s**2) * least.double()
own_variance = beta_tilde.clone()
own_variance[1:] += b**2 / ((1 - b) * s**2) * loss_by_t.double()  # the trained network's loss, no oracle


def exact_guess(x, t):
    return eps_hat(exact, x, float(t))


def measured_width(x):
    """Spread around the nearest centre, in units of the data's."""
    to_nearest = x - centres[torch.cdist(x, centres).argmin(1)]
    return to_nearest.square().mean().sqrt().item() / width


print("width of the clusters, over that of the data (100 steps, exact guess)")
print(f"{'exact samples':28s} {measured_width(real):.2f}")
print(f"{'variance':28s}       with noise on the last step, too")
for name, Sigma in (
    ("beta", beta),
    ("beta tilde", beta_tilde),
    ("(7.20), from the oracle", best_variance),
    ("(7.20), from a net's loss", own_variance),
):
    plain, noisy = (
        measured_width(ancestral(exact_guess, start, Sigma, seeded(24, device), end=end)) for end in (1, 0)
    )
    print(f"{name:28s} {plain:.2f}  {noisy:.2f}")

figure, (ax,) = panels(1, 1, width=8, height=3.3)
ratios = {"$\\beta$": torch.ones(T), "(7.20)": best_variance[1:] / b, r"$\tilde\beta$": beta_tilde[1:] / b}
curve_panel(
    ax,
    steps,
    ratios,
    xlabel="step t",
    ylabel=r"variance / $\beta_t$",
    colors=(VELOCITY, SCORE, GUIDED),
    label_curves=False,
)
ax.set(xlim=(1, 100), ylim=(0, 1.06), xscale="log")
ax.text(1.06, 0.93, r"$\beta_t$: right for data $\mathcal{N}(0, I)$", color=VELOCITY, va="top")
ax.text(3.6, 0.4, r"$\tilde\beta_t$: right for a single point", color=GUIDED)
ax.text(1.06, 0.6, "(7.20): right for our data", color=SCORE)
figure

# %% [markdown]
r"""
*Of the three variances only one follows the data. At $t = 1$, where the least loss is near 1, (7.20) starts
near $\beta_t$; after that it keeps between the two.*

With $\beta_t$ the clusters come out too wide, with $\tilde\beta_t$ too narrow; (7.20) comes nearest,
whether $\ell^\ast$ is the oracle's or a trained network's loss. It is the best variance that is the same
for all points. Look at the second column before you praise it, though. With noise in *every* step, as
(7.20) wants it, the clusters are about 5 % too wide. A true step is not quite Gaussian, and a hundred steps
are not infinitely many. Leaving out the last noise takes away about as much. Two errors cancel, and the first
column looks better than it deserves. With a thousand steps all of these differ by little; with ten, no
variance repairs what is wrong (chapter 11).

## 7.7 Eight ways to fail

Several of these have been printed. The denoiser is exact here, so whatever goes wrong is the slip's fault and
nobody else's.

**Before you run it,** sort them. Which three will you see at a glance, and which will no picture show? One
makes all points fall into one. Which?
"""


# %%
def one_step(guess, Sigma, x, t, z, *, ask=None, index=None, size=torch.sqrt, last=False, shrunk=True):
    """(7.19), with a place for each slip."""
    ask, index = ask or (lambda t: t), index or (lambda t: t)
    x = x - beta[t] / sigma[index(t)] * guess(x, ask(t))
    if shrunk:
        x = x / (1 - beta[t]).sqrt()
    return x + size(Sigma[t]) * z if t > 1 or last else x


fine = partial(mmd2, bandwidth=0.1)  # an eye for the size of a cluster; the energy distance sees the large
limit = {}  # what perfect samples stay below
for name, metric in (("energy", energy_distance), ("fine", fine)):
    perfect = floor(metric, mixture.sample, 2000, generator=seeded(23, device), repeats=5)
    limit[name] = perfect.mean + 4 * perfect.standard_deviation


def beside_floor(x):
    """Energy distance and MMD² to exact samples, or "floor" where perfect samples do no better."""
    values = {"energy": energy_distance(x[:2000], real[:2000]), "fine": fine(x[:2000], real[:2000])}
    return {k: f"{v.value:.1g}" if v.value > limit[k] else "floor" for k, v in values.items()}


slips = {
    "right": {},
    "noise on the last step": {"last": True},
    "Σ z instead of √Σ z": {"size": lambda variance: variance},
    "no noise at all": {"size": torch.zeros_like},
    "asked at t + 1": {"ask": lambda t: min(t + 1, T)},
    "σ of t + 1": {"index": lambda t: min(t + 1, T)},
    "always asked at T": {"ask": lambda t: T},
    "shrinking not undone": {"shrunk": False},
    "noise times noise": {},  # z z' for z, below
}


def walk(guess, Sigma, x, rng, name):
    for t in range(T, 0, -1):
        z, again = (torch.randn(x.shape, generator=rng, dtype=x.dtype, device=x.device) for _ in range(2))
        x = one_step(guess, Sigma, x, t, z * again if name == "noise times noise" else z, **slips[name])
    return x


def law(name, s2=0.25):
    """Variance of the result over that of the data, for data N(0, s2): exact, nothing is sampled."""
    level = alpha**2 * s2 + sigma**2
    Sigma = beta_tilde.clone()
    Sigma[1:] += b**2 / ((1 - b) * s**2) * alpha[1:] ** 2 * s2 / level[1:]
    variance = torch.tensor(1.0, dtype=torch.float64)
    zero, unit = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for t in range(T, 0, -1):
        factor = one_step(lambda x, t: sigma[t] * x / level[t], Sigma, unit, t, zero, **slips[name])
        noise = one_step(lambda x, t: sigma[t] * x / level[t], Sigma, zero, t, unit, **slips[name])
        variance = factor**2 * variance + noise**2
    return (variance / s2).item()


clouds = {name: walk(exact_guess, best_variance, start, seeded(25, device), name) for name in slips}
nearest = {name: torch.cdist(x, centres).argmin(1) // 3 for name, x in clouds.items()}
print(f"{'':24s} energy    MMD², 0.1   width   largest group   law")
print(f"{'exact samples':24s} floor     floor       {measured_width(real):.2f}    0.50            1.0000")
for name, x in clouds.items():
    found = beside_floor(x)
    print(
        f"{name:24s} {found['energy']:9s} {found['fine']:11s} {measured_width(x):.2f}    "
        f"{(nearest[name] == 0).float().mean():.2f}            {law(name):.4f}"
    )
inner = {
    k: (torch.cdist(clouds[k], centres).argmin(1) % 4 == 0).float().mean() for k in clouds
}  # centres 0, 4, 8
for name in ("right", "shrinking not undone"):
    print(f"share of the points in the inner cluster of each group, {name}: {inner[name]:.2f}")
assert all(
    abs(law(name) / law("right") - 1) > 3e-3 for name in slips if name not in ("right", "noise times noise")
)
assert abs(law("noise on the last step") - 1) < 1e-4

# %%
figure, axes = panels(2, 5, width=13, height=5.4)
for ax, (name, cloud) in zip(axes, {"data": real, **clouds}.items(), strict=True):
    color = NOISE if name == "data" else DATA if name == "right" else SCORE
    ax.scatter(*cloud[:1500].cpu().T, s=2.5, color=color, alpha=0.5, linewidths=0)
    square(ax, 2.4, xlabel="", ylabel="")
    ax.set(xticks=[], yticks=[])
    ax.set_title(name, fontsize=11)
figure

# %% [markdown]
r"""
*The data, the right sampler, and eight slips, all with the exact guess and the same start.*

Read the table column by column.

- **No noise at all**: every point ends in the same place. Each step goes to the *mean* of where it could
  have come from, the mean of means is a point, and it is the noise that keeps the possibilities apart.
  $\Sigma z$ instead of $\sqrt{\Sigma}\, z$ is the same disease, milder: the largest group swallows most of
  the others.
- **Always asked at $T$**: the answer for pure noise, given to all. The time is an input, and it matters.
- **Shrinking not undone**: right places, wrong shares. On its way every point is too near to the middle, and
  far too many settle in the inner cluster of their group (last lines of the table).
- **Asked at $t+1$**: no picture shows it. **$\sigma$ of $t+1$** makes the clusters a third too wide, which
  nobody notices without the data beside it. That is how an index stays off by one in published code.
- The last column catches them. For Gaussian data the best guess is a line, each step is affine, and the
  variance can be carried through all steps exactly, without a single random number. The right sampler must
  give that of the data, but for the noise that the last step leaves out. **A sampler is tested with laws, not
  with pictures.** (Exercise 7.8 is that test.)
- **Noise times noise** passes even that one. It is the slip of writing $dw$ for noise that is scaled
  already, and then multiplying it by `randn` again. A product of two independent normal variables has mean
  0 and variance 1, so all variances are right. Its *fourth* moment is 9 instead of 3.
- **Noise on the last step** is the odd one: its law is 1.0000, better than the right sampler's. That is no
  misprint. By (7.20) the variance of the last step is about $\beta_1\,\ell^\ast(1)$. For data as smooth as a
  Gaussian of width 0.5, $\ell^\ast(1)$ is nearly 1. The noise would be *right* there, and to leave it out
  costs 0.4 %. The rule is made for data that is finer than the last noise level, as pixels and thin
  strokes are. For such data $\ell^\ast(1) = 0$, and every bit of noise is grain.
"""

# %%
bare = GaussianMixture.isotropic(centres, 0.0, mixture.weights).denoiser(
    path
)  # nine points, nothing around them
for name, end in (("right", 1), ("noise on the last step", 0)):
    x = ancestral(lambda x, t: eps_hat(bare, x, float(t)), start, beta, seeded(29, device), end)
    blur = (x - centres[torch.cdist(x, centres).argmin(1)]).square().mean().sqrt().item()
    print(f"nine exact points, {name}: {blur:.2f} off the nearest of them")
print(f"square root of beta_1: {beta[1].sqrt():.2f}")

kappa, variance = (
    0.0,
    1.0,
)  # fourth cumulant (0 for Gaussians) and variance, carried through for data N(0, 1/4)
level = alpha**2 * 0.25 + sigma**2
for t in range(T, 0, -1):
    factor = (1 - beta[t] / level[t]) / (1 - beta[t]).sqrt()
    noise2 = beta_tilde[t] + beta[t] ** 2 / ((1 - beta[t]) * sigma[t] ** 2) * alpha[t] ** 2 * 0.25 / level[t]
    noise2 = noise2 * (t > 1)
    kappa, variance = factor**4 * kappa + noise2**2 * 6, factor**2 * variance + noise2  # 6 = 9 - 3
u, v = torch.randn(2, 400_000, generator=seeded(26))
fourth = ((u * v) ** 4).mean()
assert 8 < fourth < 10
print(f"z z': variance {(u * v).var():.1f}, fourth moment close to 9")
print(f"after all steps, fourth moment over squared variance {3 + kappa / variance**2:.2f}; a Gaussian has 3")

# %% [markdown]
r"""
(The first lines are the last step, the last two the noise times noise.) A hundred steps average that damage
away, since sums of many terms turn Gaussian whatever the terms, and the final samples look right. A test of
*one* step would have told.

### Two ways to fail in training
A beginner feeds the wrong tensor: the clean $x_0$ where $x_t$ belongs. The code runs and the shapes agree.

**Before you run it:** the network then sees perfectly clean points. Does the loss go to 0, to $\ell^\ast$,
to 1, or does it diverge?

The noise is drawn independently of $x_0$. So for any function of $x_0$ whatsoever, the cross term of
$\|\varepsilon - f(x_0)\|^2$ has mean zero:

$$\mathbb E\,\tfrac1D\|\varepsilon - f(x_0)\|^2 = 1 + \mathbb E\,\tfrac1D\|f(x_0)\|^2 \;\ge\; 1. \tag{7.22}$$

The best that can be done is to say 0. The same happens if noise is drawn twice, once for the jump and once
for the target. **A loss that flattens at 1 means that the input does not know of the target.**
"""


# %%
def fed_with_x0(net, x0, rng):
    """The slip: net(x0, t) where net(x_t, t) belongs."""
    t = torch.randint(1, T + 1, (len(x0),), generator=rng, device=x0.device)
    eps = torch.randn(x0.shape, generator=rng, device=x0.device)
    return (eps - net(x0, t.float())).square().mean(1)


rng = seeded(27, device)
some_eps = torch.randn(data.shape, generator=rng, device=device)
f = torch.tanh(data) - 0.3
verify_mean("7.22", (some_eps - f).square().mean(1), 1 + f.square().mean().item())

blind, to_one = learn(fed_with_x0)
flat = sum(to_one[-100:]) / 100
assert 0.97 < flat < 1.06
with torch.no_grad():
    thrown = ancestral(
        lambda x, t: blind(x, torch.full((len(x),), float(t), device=device)),
        start[:500],
        best_variance,
        seeded(28, device),
    )
print(f"fed with x0, the loss flattens at {flat:.1f}")
print(
    f"the sampler then only undoes the shrinking: spread of its samples above 50: {bool(thrown.std() > 50)}"
)

# %% [markdown]
r"""
The other is quieter. Times are drawn from $0, \dots, T-1$, as array indices are. Then $t = 0$ is trained,
where there is no noise to be seen and the least loss is exactly 1 by (7.22). And $t = T$ never is, though it
is the first thing that the sampler asks. The least total rises by $(1 - \ell^\ast(T))/T$, here by 0.01:
nobody who does not know the right number will notice. Exercise 7.5 hides it.

## 7.8 Exercises

`check` tells you what is wrong, `hint("7.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Those from the **errata museum** are mistakes that were printed.
"""

# %%
for one in exercises(7):
    print(one)

# %% [markdown]
r"""
**Exercise 7.1 ★ — the mean of a step.** Write (7.9) for a batch in which each point has its own time.
"""


# %% tags=["exercise"]
def mean_of_step(x_t, eps_guess, t, betas):
    """mu (B, D), from x_t and a guess of the noise (B, D), whole-number t (B,) from 1 to T, betas (T,)."""
    ...


# %%
check("7.1", mean_of_step)

# %% [markdown]
r"""
**Exercise 7.2 ★ — predict.** Somebody's data set is a single point, repeated ten thousand times. A network
with enough capacity is trained on it. To what does its loss at each $t$ converge: `"0"`, `"1"`, or
`"in between"`?
"""

# %% tags=["exercise"]
loss_for_one_point = ...

# %%
check("7.2", loss_for_one_point)

# %% [markdown]
r"""
**Exercise 7.3 ★ — predict, then compute.** Data $\mathcal N(0, I)$ and any schedule with
$\alpha_t^2 + \sigma_t^2 = 1$. What is the least possible $L_\text{simple}$ for the linear schedule with
$T = 1000$ and its customary betas? (Is it more or less than one half? Then compute it to 1 %.)
"""

# %% tags=["exercise"]
least_total = ...

# %%
check("7.3", least_total)

# %% [markdown]
r"""
**Exercise 7.4 ★★ — the least loss of a data set.** The data is a finite list of points, each as likely as
the others. Given a batch of noisy points, return for each what (7.16) says *before* its outer mean: SNR
times the variance of $x_0$ given $x_t$, divided by $D$. (Bayes: the posterior is a softmax of
$-\|x_t - \alpha x_i\|^2 / 2\sigma^2$.)
"""


# %% tags=["exercise"]
def least_loss_of_points(x_t, points, alpha, sigma):
    """Shape (B,), from x_t (B, D), points (N, D) and two numbers."""
    ...


# %%
check("7.4", least_loss_of_points)

# %% [markdown]
r"""
**Exercise 7.5 ★★ — errata museum: the training loss.** It runs, and it holds *two* mistakes. Mend one, and
the loss falls to a plausible value or stays at an implausible one, depending on which. `alpha_bar[t]`
belongs to step $t$, and `alpha_bar[0]` is 1. Draw the times first, then the noise.
"""


# %% tags=["exercise"]
def training_loss(net, x0, alpha_bar, rng):
    """Losses (B,), each a mean over coordinates, and x_t (B, D) for a picture; net(x_t, t), x0 (B, D)."""
    T = len(alpha_bar) - 1
    t = torch.randint(0, T, (len(x0),), generator=rng)
    eps = torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
    x_t = alpha_bar[t, None].sqrt() * x0 + (1 - alpha_bar[t, None]).sqrt() * eps
    return (net(x0, t) - eps).square().mean(1), x_t


# %%
check("7.5", training_loss)

# %% [markdown]
r"""
**Exercise 7.6 ★★ — errata museum: the sampler.** Two mistakes, both found in print. `noise[t]` is the noise
for the step from $t$, and `sigma2[t - 1]` is the variance of that step. (It is $\tilde\beta_t$, except at the
last step: somebody who wanted no zeros set `sigma2[0]` to a small positive number.)
"""


# %% tags=["exercise"]
def old_sampler(guess, x, betas, sigma2, noise):
    """x_0 (B, D) from x_T; guess(x, t) with a number t, betas and sigma2 (T,), noise (T + 1, B, D)."""
    T = len(betas)
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    for t in range(T, 0, -1):
        x = (x - betas[t - 1] / (1 - alpha_bar[t]).sqrt() * guess(x, t)) / (1 - betas[t - 1]).sqrt()
        if t > 0:
            x = x + sigma2[t - 1] * noise[t]
    return x


# %%
check("7.6", old_sampler)

# %% [markdown]
r"""
**Exercise 7.7 ★★ — errata museum: noise of a noise.** One backward step, in the style of a differential
equation. The variances of its results are right. What is not?
"""


# %% tags=["exercise"]
def step_back(mean, variance, rng):
    """A draw from N(mean, variance I), shape (B, D), for mean (B, D) and a number."""
    dw = variance**0.5 * torch.randn(mean.shape, generator=rng, dtype=mean.dtype)
    return mean + dw * torch.randn(mean.shape, generator=rng, dtype=mean.dtype)


# %%
check("7.7", step_back)

# %% [markdown]
r"""
**Exercise 7.8 ★★ — a test that never flickers.** For data $\mathcal N(0, s^2)$ in one dimension, compute
the *exact* variance of what the sampler (7.19) returns, with the exact guess
$\varepsilon^\ast = \sigma_t\, x_t / (\alpha_t^2 s^2 + \sigma_t^2)$. It starts from $\mathcal N(0, 1)$; the
last step adds no noise. Nothing is to be sampled.
"""


# %% tags=["exercise"]
def variance_of_result(s2, betas, Sigma):
    """A tensor of shape (), from the data's variance s2, betas (T,) and Sigma (T,), of steps 1 ... T."""
    ...


# %%
check("7.8", variance_of_result)

# %% [markdown]
r"""
**Exercise 7.9 ★★★ — the other target.** A colleague lets the network guess $x_0$ instead of $\varepsilon$,
with squared error and no weights. (a) Derive the weight $u_t$ for which
$u_t\,\|x_0 - \hat x_0\|^2 = \|\varepsilon - \hat\varepsilon\|^2$ when both guesses imply each other at the
same $x_t$. (b) So, measured in errors of *noise*, which weight does the colleague's loss put on step $t$?
Return both, for all steps. (c) To think about: at which end of the path does the colleague's network work
hardest?
"""


# %% tags=["exercise"]
def weights_of_the_other_target(betas):
    """(u, c), each of shape (T,): eps error = u_t * x0 error, and the colleague's weight on the eps error."""
    ...


# %%
check("7.9", weights_of_the_other_target)

# %% [markdown]
r"""
## 7.9 What the field does with it, and where this breaks

- **This loss is the standard.** From DDPM to large text-to-image models, training is `simple_loss` with
  another network and perhaps another target. Since (7.14) holds for each $t$ apart, weights decide only
  where a network of *limited* capacity spends it. Chapter 15 compares choices of weights and of times.
- **Guessing noise is one choice of several.** (7.5) divides by $\alpha_t$: at the noisy end a small error of
  $\hat\varepsilon$ is an enormous error of $\hat x_0$. With the cosine schedule, whose last $\alpha_t$ is
  nearly 0, the sampler must cut $\hat x_0$ to the range of the data (chapter 14) or guess $v$ (chapter 9).
- **Variances.** (7.20) was found by Bao et al., who call it analytic. Improved DDPM learns the variance,
  for each point apart. With many steps few people bother; with few steps most use samplers without noise
  (chapters 8 and 11).
- **The score is here already**: $-\varepsilon^\ast/\sigma_t$ is $\nabla \log p_t$, which is how we checked
  (7.15). Chapter 9 makes it a theorem, and NCSN (chapter 4) and DDPM one model.

Where it breaks: the exact $\varepsilon^\ast$ was known because the data was a mixture. If the data is a
finite list, the exact guess is known as well, and following it returns the list. A perfect loss on the
training set is a photocopier (chapters 0 and 14). What is wanted there is an excess of the right kind. And a
Gaussian step is right only if the step is small. With ten steps no choice of mean and variance makes (7.2)
true.

### References
Their $\sigma_t^2$ (the variance of the backward step) is our $\Sigma_t$; their $\alpha_t$ is our
$1-\beta_t$; our $\alpha_t$ and $\sigma_t$ are their $\sqrt{\bar\alpha_t}$ and $\sqrt{1-\bar\alpha_t}$.
- Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*: (7.3) is eq. 8, (7.4) eq. 7, (7.9)
  eq. 11, (7.10) eq. 12, (7.11) eq. 14 (there a sum over coordinates); training and sampling, algorithms 1
  and 2; the two variances, section 3.2.
- Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli (2015), *Deep unsupervised learning using nonequilibrium
  thermodynamics*: the backward chain whose mean and variance are learned.
- Guo, Shamai, Verdú (2005), *Mutual information and minimum mean-square error in Gaussian channels*:
  (7.18) is their theorem 1 in other variables (theorem 2 for vectors).
- Kingma, Salimans, Poole, Ho (2021), *Variational diffusion models*: the weight (7.13), section 4.
- Nichol, Dhariwal (2021), *Improved denoising diffusion probabilistic models*: learned variances, section
  3.1.
- Bao, Li, Zhu, Zhang (2022), *Analytic-DPM: an analytic estimate of the optimal reverse variance in
  diffusion probabilistic models*: (7.20), their theorem 1 (there in terms of the score).
- Karras, Aittala, Aila, Laine (2022), *Elucidating the design space of diffusion-based generative models*:
  loss by noise level, section 5.
"""
