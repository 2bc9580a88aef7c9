# %% [markdown]
"""
# 15. Fast sampling and guidance on digits

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/15_fast_sampling.ipynb)

*One trained network, five samplers, a handful of evaluations: what is paid, what is bought, and what was
trained*

A network was trained in chapter 14, for half an hour, to take noise off digits. Nothing will be trained in
this chapter. Below, the *same* network starts from the *same* noise, and is read by four samplers. From left
to right they may ask it more and more often.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %% tags=["setup"]
import math
from itertools import pairwise

import torch

from diffedu import (
    DDIM,
    DEIS,
    EDM,
    EPS,
    X0,
    Ancestral,
    Cosine,
    DPMSolverPP2M,
    GaussianGuess,
    GaussianMixture,
    Heun,
    MinSNR,
    NeighbourGuess,
    NetworkDenoiser,
    V,
    edm_prediction,
    edm_scalings,
    eps_hat,
    karras_times,
    leading_times,
    sample,
    scaled_linear_betas,
    seeded,
    start_noise,
    time_at_half_log_snr,
    trailing_times,
    uniform_times,
    velocity,
    weight_between,
    with_zero,
)
from diffedu.data import digits
from diffedu.evaluate import accuracy, frechet_distance
from diffedu.guidance import scale_from_weight
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.nn import UNetConfig
from diffedu.recipes import digits_classifier, digits_ddpm, digits_minutes, digits_objectives, shipped_log
from diffedu.recipes.digits_objectives import DATA_STD, OBJECTIVES
from diffedu.recipes.digits_report import features
from diffedu.sampling.ancestral import beta_tilde_variance, step_variance
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, image_rows, panels
from diffedu.show import SCORE as ORANGE, VELOCITY as GREEN
from diffedu.show.widgets import DigitSampler
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
double = torch.float64
path = digits_ddpm.PATH  # DiscreteDDPM, cosine betas, T = 1000
real, held_out = digits("train", device=device), digits("test", device=device)
encode, decode = digits_ddpm.encode, digits_ddpm.decode  # chapter 14: a margin for the paper


def equal_in_t(steps):
    """Equal steps of time from noise level sigma / alpha = 40 down to 0."""
    start = time_at_half_log_snr(path, torch.tensor(-math.log(40.0))).item()
    return uniform_times(path, steps, start=start, end=0)


# %%
net = digits_ddpm.load(device=device)
solvers = {"DDIM": DDIM(), "ancestral": Ancestral(), "Heun": Heun(), "DPM-Solver++(2M)": DPMSolverPP2M()}
asked = [3, 5, 9, 25]  # evaluations of the network


def steps_for(name, evaluations):
    return (evaluations + 1) // 2 if name == "Heun" else evaluations  # Heun asks twice: section 15.3


pair = torch.tensor([5, 4], device=device)
pair_noise = start_noise(path, (10, 1, 28, 28), seeded(2, device))[7:10:2]
rows = {}
for name, solver in solvers.items():
    made = [
        decode(
            sample(
                digits_ddpm.denoiser(net, pair),
                solver,
                pair_noise,
                equal_in_t(steps_for(name, count)),
                generator=seeded(5, device),
            )
        )
        for count in asked
    ]
    rows[name] = torch.cat([torch.stack([two[k] for two in made]) for k in range(2)])
image_rows(rows, titles=[str(count) for count in asked] * 2, scale=0.62)

# %% [markdown]
r"""
*Above the columns: how often the network was asked. Three rows move towards the same picture as they may ask
more often; the second row does not.*

**Before you read on.** (1) Three different recipes end at the same picture. Is that a coincidence? Why does
the second row not join them? (2) At 3 evaluations the two *higher-order* methods, Heun and DPM-Solver++,
are no better than plain DDIM; section 15.3 will even find one of them much worse. How can a better method
be worse? (3) If you had to sell one of these columns, which would you choose, and how would you prove that
it is good enough?

**You will be able to**
- read one checkpoint by DDPM, DDIM, Heun, DPM-Solver++ and DEIS, at times it was never trained at;
- count evaluations honestly, and put every sample metric beside what perfect samples score;
- choose where a grid begins, and say what breaks with "leading" grids and with cut schedules;
- put noise into a second-order sampler without breaking it;
- measure what guidance buys and what it costs;
- compare training objectives ($\varepsilon$, $x_0$, $v$, EDM, min-SNR, logit-normal) in one currency, and
  read a study of six of them without being fooled;
- write down the best linear guess of a digit, and say under which noise a trained network does no better;
- let the training set itself guess, without its telling the answer.

**You need** chapters 8, 9, 11 and 14; their results are restated here. **Time**: 70 minutes to read, about a
minute and a half to run.

## 15.1 One checkpoint, five readers

The network knows nothing of samplers. It answers one question: *this is a noisy digit, and this is how noisy
it is; what is the mean of the clean digits that could be behind it?* The noisy digit is

$$x_t = \alpha\,x_0 + \sigma\,\varepsilon, \qquad \varepsilon\sim\mathcal N(0, I), \tag{15.1}$$
<!-- definition 15.1: the forward process of chapter 14; alpha and sigma belong to t -->

the answer is $\hat x_0$, and $\hat\varepsilon = (x_t - \alpha\hat x_0)/\sigma$ is the same answer told as
noise. A sampler turns answers into a walk. The oldest two are one family (chapter 8): take the noise away,
put part of it back, and replace the rest by fresh noise,

$$x_s = \alpha_s\,\hat x_0 + \sqrt{\sigma_s^2 - \eta^2\tilde\beta}\;\hat\varepsilon
+ \eta\,\sqrt{\tilde\beta}\;z,
\qquad \tilde\beta = \frac{\sigma_s^2}{\sigma_t^2}\Big(\sigma_t^2
- \frac{\alpha_t^2}{\alpha_s^2}\sigma_s^2\Big). \tag{15.2}$$
<!-- code 15.2: diffedu.sampling.ancestral.DDIM -->

Mind the square: $\eta$ scales the *standard deviation* $\sqrt{\tilde\beta}$, so the variance gets $\eta^2$.
At $\eta = 0$ it is DDIM; at $\eta = 1$ it is DDPM's ancestral sampler, which chapter 14 wrote as the mean
of a posterior. For $\eta = 0$ the walk is smooth, and in the limit of small steps it follows an ODE.
Measure the point as $y = x/\alpha$ and the noise as $\rho = \sigma/\alpha$. Then (chapter 11)

$$\frac{dy}{d\rho} = \hat\varepsilon, \qquad\text{so}\qquad
y_s = y_t + \int_{\rho_t}^{\rho_s}\hat\varepsilon\;d\rho . \tag{15.3}$$

That answers the first half of question (1): DDIM, Heun, DPM-Solver++(2M) and DEIS are **four ways to
compute one integral**. Its value is a property of the network and of the start noise alone. The ancestral
sampler draws fresh noise, and has no such limit: it has a limit *law*.

| | assumes over a step | asks the network |
|---|---|---|
| DDIM | $\hat\varepsilon$ is constant in $\rho$ | once |
| Heun | the velocity is a line in $t$ | twice (once in the step to $t = 0$) |
| DEIS(2), DEIS(3) | $\hat\varepsilon$ is a line, a parabola in $\rho$ through old values | once |
| DPM-Solver++(2M) | $\hat x_0$ is a line in $\lambda = \log(\alpha/\sigma)$ through an old value | once |

Both equations are now checked *on the network*. For (15.2), the ancestral mean is made from
$q(x_s\mid x_t, x_0)$ with $\hat x_0$ in it. For (15.3), the left side comes from the velocity
$\dot\alpha\hat x_0 + \dot\sigma\hat\varepsilon$ and the quotient rule, with $d\rho/dt$ by automatic
differentiation.
"""

# %%
labels10 = torch.arange(10, device=device)
belief = digits_ddpm.denoiser(net, labels10)
t, s = torch.tensor(600.5, device=device), torch.tensor(410.25, device=device)  # not whole numbers
noise = torch.randn(10, 1, 28, 28, generator=seeded(6, device), device=device)
x_t = path.add_noise(encode(held_out.images[:10]), noise, t)
with torch.no_grad():
    x0_hat = belief(x_t, t)
c, d = path(t), path(s)

# q(x_s | x_t, x0): the precision of the prior N(alpha_s x0, sigma_s^2), plus that of x_t as a measurement
z = torch.randn(x_t.shape, generator=seeded(7, device), device=device)
between, shrink = step_variance(c, d), c.alpha / d.alpha
precision = 1 / d.sigma**2 + shrink**2 / between
bayes = (d.alpha * x0_hat / d.sigma**2 + shrink * x_t / between) / precision + z / precision.sqrt()
with torch.no_grad():
    ours, _ = DDIM(eta=1.0).step(belief, x_t, t, s, (), z)
verify("15.2", ours, bayes, rtol=1e-4, over="pixels")

# (15.3) in float64, with the network's answer held as it is
now = t.double().cpu().requires_grad_()
at = path(now)
(rho_dot,) = torch.autograd.grad(at.sigma / at.alpha, now)
alpha, sigma, alpha_dot, sigma_dot = (value.detach() for value in path(now))
x, guess = x_t.double().cpu(), x0_hat.double().cpu()
noise_hat = (x - alpha * guess) / sigma
y_dot = (alpha_dot * guess + sigma_dot * noise_hat) / alpha - x * alpha_dot / alpha**2
verify("15.3", y_dot / rho_dot, noise_hat, over="pixels")
assert torch.allclose(
    velocity(belief, x_t, t), (alpha_dot * guess + sigma_dot * noise_hat).float().to(device), atol=1e-4
)

# %% [markdown]
r"""
## 15.2 Where a sampler may begin

### Between the whole numbers
The checkpoint is a *chain*: it was trained at $t = 1, 2, \dots, 1000$ and nowhere else. Heun and grids in
$\log(\alpha/\sigma)$ want it at $t = 600.5$. Two things are needed. The *path* must say what $\alpha$ and
$\sigma$ are there; `DiscreteDDPM` lets $\log\bar\alpha$ run linearly between neighbours. And the *network*
must have a sensible opinion. It has never been asked, but it sees $t$ through smooth waves, and between two
of its exam questions there is not much room for nonsense. We measure instead of hoping: how far is its
answer at $t + \tfrac12$ from the mean of its answers at $t$ and $t + 1$, compared with how far those two
are apart?
"""

# %%
moments = torch.tensor([20.0, 100, 300, 500, 700, 900, 970, 990], device=device)
ratios = []
with torch.no_grad():
    for moment in moments:
        x_half = path.add_noise(encode(held_out.images[:10]), noise, moment + 0.5)
        low, half, high = (belief(x_half, moment + shift) for shift in (0.0, 0.5, 1.0))
        ratios.append(((half - (low + high) / 2).norm() / (high - low).norm()).item())
assert max(ratios) < 0.35
print("answer at t + 1/2, off the mean of its neighbours, in units of their difference:")
print("  below a third at every t tried:", max(ratios) < 1 / 3)

# %% [markdown]
r"""
So a chain may be read at any time, and also on any other path: $\hat x_0$ depends on $x_t/\alpha$ and
$\sigma/\alpha$ only (`OnPath`, chapter 9). "This is a DDPM checkpoint, that sampler is for EDM" is no
obstacle.

### The first step
Every sampler starts from $\mathcal N(0, I)$. What did the network see in training at the time at which it is
asked first? By (15.1), over all digits, the mean of a pixel and its mean square were

$$\mathbb E[x_t] = \alpha\,\mathbb E[x_0], \qquad \mathbb E[x_t^2] = \alpha^2\,\mathbb E[x_0^2] + \sigma^2 ,
\tag{15.4}$$

and pure noise has 0 and 1. The two agree where $\alpha \approx 0$. Two customs break this.

- **Leading grids** count up from 1 in strides: with 5 steps of 1000, the times are 801, 601, 401, 201, 1.
  The first is 801, not 1000. There the network expects a mean of $\alpha\,\mathbb E[x_0]$, and white paper
  is $-1$: it expects a clearly negative mean, and finds 0.
- **Schedules that don't reach noise.** Stable Diffusion's ends at $\alpha_T = 0.068$: every picture the
  network saw in training still showed its mean brightness, even at $T$.

**Before you read on.** In our digits ink is $+1$ and paper $-1$, and $\mathbb E[x_0]$ is about $-0.8$. The
leading sampler shows the network, at $t = 801$, a state whose mean is 0. What will it conclude about this
digit: much ink or little?
"""

# %%
start_t = leading_times(path, 5, device=device)[0]
c = path(start_t)
clean = encode(real.images)
eps = torch.randn(clean.shape, generator=seeded(8, device), device=device)
x_t = path.add_noise(clean, eps, start_t).flatten(1).double().cpu()
flat = clean.flatten(1).double().cpu()
left = torch.stack([x_t.mean(1), x_t.square().mean(1)], dim=1)
right = torch.stack(
    [c.alpha.cpu() * flat.mean(), c.alpha.cpu() ** 2 * flat.square().mean() + c.sigma.cpu() ** 2]
)
verify_mean("15.4", left, right.double())
print(f"at t = {start_t:.0f}: a pixel's mean in training {right[0]:.2f}, in pure noise 0")
sd = (1 - scaled_linear_betas()).prod().sqrt()
print(f"Stable Diffusion's schedule: alpha_T = {sd:.3f};  ours: {path(torch.tensor(1000.0)).alpha:.5f}")

labels100 = torch.arange(100, device=device) % 10
noise100 = start_noise(path, (100, 1, 28, 28), seeded(9, device))
by_hundred = digits_ddpm.denoiser(net, labels100)
both = {
    "trailing": decode(sample(by_hundred, DDIM(), noise100, trailing_times(path, 5))),
    "leading": decode(sample(by_hundred, DDIM(), noise100, leading_times(path, 5))),
}


def ink(images):
    """The share of ink, between 0 and 1."""
    return ((images + 1) / 2).mean().item()


assert ink(both["leading"]) > 1.3 * ink(real.images)
assert abs(ink(both["trailing"]) / ink(real.images) - 1) < 0.2
print("share of ink:", ", ".join(f"{name} {ink(x):.2f}" for name, x in {"real": real.images, **both}.items()))
image_rows({name: images[:10] for name, images in both.items()}, scale=0.6)

# %% [markdown]
r"""
*Five steps of DDIM from the same noise. Above, the grid begins at t = 1000; below, at t = 801. A wrong
announcement in the first step, and all later steps work on its consequences.*

Too much ink, as the algebra said: the network was told that signal is there, found a state that is not dark
enough for an empty page, and concluded that there must be a lot of writing. In large models the same slip
shows as pictures that are never really dark or bright (Lin et al. 2024). The cure is a grid that begins
where the state *is* noise, and a schedule that reaches it.

### The last beta
Question (2) was about Heun. It steps in $t$, along the velocity, and believes in its slope at the very first
time. Look at our chain near $T = 1000$. The cosine schedule would remove everything in its last step, so
$\beta_{1000}$ is cut to 0.999 (chapter 5). On a path that is interpolated between neighbours, this cut is a
*kink*: the derivative $\dot\alpha$ of the last step is not that of the cosine.
"""

# %%
at_end = path(torch.tensor(1000.0, dtype=double))
steep = (at_end.alpha_dot / (-math.pi / 2000)).abs().item()
assert steep < 0.2

noise20, labels20 = noise100[:20], labels100[:20]
twenty = digits_ddpm.denoiser(net, labels20)


def noise_levels(steps, high=40.0, low=0.02):
    """Karras' levels of sigma / alpha, read as times of our chain; the last step lands on 0."""
    levels = karras_times(EDM(), steps - 1, start=high, end=low)
    return with_zero(time_at_half_log_snr(path, -levels.log()))


flow_end = sample(twenty, DPMSolverPP2M(), noise20, noise_levels(40))
other_end = sample(twenty, DPMSolverPP2M(), noise20, equal_in_t(30))


def off_the_flow(x):
    """(15.5): root mean square over pixels and digits, in pixel units (paper -1, ink 1)."""
    return (x - flow_end).square().mean().sqrt().item()


assert off_the_flow(other_end) < 0.04  # two grids, one end
heun = {
    "from t = 1000": off_the_flow(sample(twenty, Heun(), noise20, trailing_times(path, 5))),
    "from t = 984": off_the_flow(sample(twenty, Heun(), noise20, equal_in_t(5))),
}
assert heun["from t = 1000"] > 2 * heun["from t = 984"]
print(f"slope of alpha at t = 1000: {steep:.2f} of the cosine's")
print("Heun, 5 steps, distance to the flow's end:", ", ".join(f"{k}: {v:.1f}" for k, v in heun.items()))

# %% [markdown]
r"""
The first slope is all but zero, and Heun averages with it: half of its first step is lost. It costs 16
units of time, out of a thousand, to begin below the kink at $\sigma/\alpha = 40$. Forty is "noise enough":
the signal has 2.5 % of the noise's size, and all samplers of the picture above begin there. (DEIS(3) has a
similar problem at $t = 1000$: there $\rho = \sigma/\alpha$ is 20,000, and its first step averages two
slopes over that whole distance.)

The second measurement used here deserves a name. Every deterministic sampler aims at the same end, (15.3),
so we can ask how far it missed, *digit by digit*:

$$\Delta_N = \Big(\tfrac1{784}\,\mathbb E\,\lVert x^{(N)} - x^{(\infty)}\rVert^2\Big)^{1/2}, \tag{15.5}$$
<!-- definition 15.5: the paired error; the expectation is over start noise, shared by both -->

with $x^{(\infty)}$ from the same start noise by very many steps. It needs no real digits, no classifier, and
only a few samples, since the noise is shared. What it does *not* say is whether the network is any good.

## 15.3 The race

### Counting
A step is not a unit of cost; a call of the network is. With $N$ steps,

$$\text{NFE} = g\cdot\begin{cases} N & \text{DDIM, ancestral, DPM-Solver++(2M), DEIS(2)}\\
N + 1 & \text{DEIS(3)}\\ 2N - 1 & \text{Heun, landing on } t = 0\end{cases}
\qquad g = \begin{cases}1 & \text{no guidance}\\ 2 & \text{guidance.}\end{cases} \tag{15.6}$$

Tables in papers differ on whether $g$ is counted. (One may stack the two questions into one batch of twice
the size. That is one call and twice the work.) The formula is checked against a counter *inside the
network*.
"""


# %%
class Meter:
    """Counts every evaluation of a network."""

    def __init__(self, net):
        self.net, self.count = net, 0
        net.register_forward_pre_hook(self.tick)

    def tick(self, module, inputs):
        self.count += 1


metered = digits_ddpm.build(device, config=UNetConfig(width=16, low_width=32, t_max=path.t_max)).eval()
meter = Meter(metered)
counted, formula = [], []
for solver, rule in (
    (DDIM(), lambda n: n),
    (Ancestral(), lambda n: n),
    (DPMSolverPP2M(), lambda n: n),
    (DEIS(2), lambda n: n),
    (DEIS(3), lambda n: n + 1),
    (Heun(), lambda n: 2 * n - 1),
):
    for scale, g in ((1.0, 1), (2.0, 2)):
        for n in (4, 7):
            meter.count = 0
            sample(
                digits_ddpm.denoiser(metered, 3, guidance_scale=scale),
                solver,
                noise20[:1],
                equal_in_t(n),
                generator=seeded(0, device),
            )
            counted.append(meter.count)
            formula.append(g * rule(n))
verify("15.6", torch.tensor(counted), torch.tensor(formula), over="runs")

# %% [markdown]
r"""
### The instruments, and what they can resolve
Two instruments from chapter 14: the **class accuracy**, and the **Fréchet distance** of the classifier's
features to those of 4,500 real digits. In a chapter that runs on two cores we can afford 200 digits for each
point of a curve. Is that enough? Ask the instrument itself: show it *real* digits, 200 at a time.

**Before you read on.** Real digits against real digits: the true distance is 0. What does a Fréchet
distance of 200 of them say, about 0? Does 400 say half as much, the same, or more?
"""

# %%
classifier = digits_classifier.load(device=device)
reference = features(classifier, real.images[:4500])
spare = features(classifier, real.images[4500:])
n = 200
floors = {}
for size in (100, 200, 400, 800):
    parts = [part for part in spare.split(size) if len(part) == size]
    floors[size] = torch.tensor([frechet_distance(part, reference) for part in parts])
    print(
        f"{size:4d} real digits: Fréchet distance {floors[size].mean():.0f}, spread {floors[size].std():.0f}"
    )
floor, spread = floors[n].mean().item(), floors[n].std().item()
read_right = accuracy(classifier, *held_out).value
products = torch.tensor([size * found.mean().item() for size, found in floors.items()])
assert products.min() / products.max() > 0.6  # close to 1 / n
print(f"class accuracy: {read_right:.3f} of real held-out digits")

# %% [markdown]
r"""
The floor falls about like $1/n$: a covariance of 64 features from 200 samples is off, and every error of it
counts as distance. At 200 digits it is near 15, give or take 5. So **nothing below 20 or so is a
difference**, and a sampler that beats another by 3 has proved nothing. (The recipe's report uses 4,000
digits, with a floor of 1.8.) An accuracy from 200 digits has a standard error of about 1.5 points near 95
%.

Now the race. All samplers use the same start noise and the same grid, equal steps of time from
$\sigma/\alpha = 40$, and are charged by evaluations.
"""

# %%
wanted = torch.arange(n, device=device) % 10
start = start_noise(path, (n, 1, 28, 28), seeded(10, device))
of_class = digits_ddpm.denoiser(net, wanted)
racers = {**solvers, "DEIS(2)": DEIS(2)}
budgets = (2, 3, 5, 9)


def judged(images, count=n):
    """Fréchet distance and class accuracy of digits made for the labels `wanted`."""
    return frechet_distance(features(classifier, images), reference), accuracy(
        classifier, images, wanted
    ).value


with torch.no_grad():
    one_call = judged(decode(of_class(start, equal_in_t(2)[0])))  # the mean of a class, for every solver
distances, rights = ({name: {1: one_call[k]} for name in racers} for k in range(2))
for name, solver in racers.items():
    for count in budgets:
        if name == "Heun" and count % 2 == 0:
            continue  # Heun's costs are odd
        made = sample(
            of_class, solver, start, equal_in_t(steps_for(name, count)), generator=seeded(11, device)
        )
        distances[name][count], rights[name][count] = judged(decode(made))

paired = {}
for name, solver in {**racers, "DEIS(3)": DEIS(3)}.items():
    if name == "ancestral":
        continue
    for count in (3, 5, 9, 17):
        steps = count - 1 if name == "DEIS(3)" else steps_for(name, count)
        paired.setdefault(name, []).append(off_the_flow(sample(twenty, solver, noise20, equal_in_t(steps))))

tint = {
    "DDIM": DATA,
    "ancestral": NOISE,
    "Heun": ORANGE,
    "DPM-Solver++(2M)": GREEN,
    "DEIS(2)": GUIDED,
    "DEIS(3)": EXTRA,
}
style = {
    "DDIM": "-o",
    "ancestral": "--s",
    "Heun": "-^",
    "DPM-Solver++(2M)": "-D",
    "DEIS(2)": ":v",
    "DEIS(3)": "-.x",
}
figure, (left, middle, right) = panels(1, 3, width=13.0, height=3.9)
left.axhspan(floor - 2 * spread, floor + 2 * spread, color="#E3E3E3", zorder=0)
left.text(1.05, floor + 0.2 * spread, "200 real digits", color="#555555", va="center")
middle.axhline(read_right, color=NOISE, linewidth=1)
middle.text(1.05, read_right + 0.006, "real digits", color="#555555", va="center")
middle.text(1.02, 0.885, f"at 1: {one_call[1]:.1f}", color=INK)
for name in racers:
    left.plot(
        list(distances[name]), list(distances[name].values()), style[name], color=tint[name], markersize=5
    )
    middle.plot(list(rights[name]), list(rights[name].values()), style[name], color=tint[name], markersize=5)
for name, values in paired.items():
    right.plot([3, 5, 9, 17], values, style[name], color=tint[name], markersize=5, label=name)
right.plot([], [], style["ancestral"], color=NOISE, label="ancestral (no pair)")
left.set(yscale="log", ylabel="Fréchet distance to real digits", title="the law")
middle.set(ylabel="class accuracy", ylim=(0.88, 1.01), title="the classes")
right.set(yscale="log", ylabel="paired error, pixel units", title="distance to the end of the flow")
right.set_yticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
right.legend(frameon=False, fontsize=9, loc="lower left")
for ax, ticks in ((left, [1, 2, 3, 5, 9]), (middle, [1, 2, 3, 5, 9]), (right, [3, 5, 9, 17])):
    ax.set(xscale="log", xlabel="evaluations of the network for a digit")
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
figure

# %%
on_floor = [name for name in racers if distances[name][5] < floor + 2 * spread]
assert one_call[0] > 10 * (floor + 2 * spread)
assert all(rights[name][9] > 0.91 for name in racers)
assert all(rights[name][2] > 0.96 for name in racers if name != "Heun")
assert paired["Heun"][0] == max(values[0] for name, values in paired.items() if name != "DEIS(3)")
assert paired["Heun"][-1] < paired["DDIM"][-1]
assert paired["DPM-Solver++(2M)"][-1] < paired["DDIM"][-1]
assert set(on_floor) == set(racers)
assert all(distances[name][2] > floor + 2 * spread for name in racers if name != "Heun")
print("Fréchet distance inside the band of real digits: with 5 evaluations all five samplers, with 2 none")

# %% [markdown]
r"""
*Left: Fréchet distance; the grey band is what 200 real digits score. Middle: accuracy. Right: the error of
the integral (15.3) itself, on 20 digits.*

Read the three panels against each other.

- **The law is done after a handful of evaluations**, with every sampler. One evaluation gives the mean of a
  class, which is no digit; with 5 the Fréchet distance is inside the band. More cannot be seen *with this
  instrument*.
- **The integral is not done at all.** On the right, the errors still fall, at 17 evaluations, and the order
  of the curves is what chapter 11 predicts: first order on top, second order falling faster. But a
  *different* digit is not a *worse* digit.
- **Heun is worse while its steps are long**, since it has half as many of them for its money, and overtakes
  later. "Higher order" is a statement about small steps. That is the answer to question (2).
- **Accuracy is highest with two**, when the digits are still blurred, and a little lower with more. Blurred
  digits are typical ones. A difference of two points is within two standard errors, so this is a hint; but
  it is a warning, too, against reading accuracy as quality.
- Why so fast? We asked for a class, digits are simple, and the network is smooth. Photographs take 10 to 50
  evaluations by the same samplers, in the papers below. These numbers do not carry over.

Question (3), then: sell the fifth evaluation, and show the left panel *with its band*. Without the band,
nobody can tell a difference from a lucky draw.

## 15.4 The grid is half of the sampler

So far all grids were equal steps in $t$. Three others, read as times of the chain: equal steps in
$\lambda$; Karras' levels, $\rho^{1/7}$ equally spaced; and trailing from 1000. On 20 digits, by (15.5),
with 9 evaluations:
"""


# %%
def equal_in_lambda(steps, high=40.0, low=0.02):
    """Equal steps in log(alpha / sigma) between two noise levels, then 0."""
    levels = torch.logspace(math.log10(high), math.log10(low), steps)
    return with_zero(time_at_half_log_snr(path, -levels.log()))


grids = {
    "equal in $t$": equal_in_t,
    r"equal in $\lambda$": equal_in_lambda,
    "Karras' levels": noise_levels,
    "trailing, from 1000": lambda steps: trailing_times(path, steps),
}
chosen = {"DDIM": DDIM(), "DPM-Solver++(2M)": DPMSolverPP2M(), "DEIS(2)": DEIS(2), "Heun": Heun()}
table = {
    name: {
        label: off_the_flow(sample(twenty, solver, noise20, grid(steps_for(name, 9))))
        for label, grid in grids.items()
    }
    for name, solver in chosen.items()
}
best = table["DPM-Solver++(2M)"]["Karras' levels"]
assert best < 0.7 * table["DPM-Solver++(2M)"]["equal in $t$"]
assert best < 0.7 * table["DDIM"]["Karras' levels"]
assert table["Heun"]["Karras' levels"] > table["Heun"]["equal in $t$"]

figure, (left, right) = panels(1, 2, width=12.0, height=3.7)
for (label, grid), color, row in zip(
    grids.items(), (DATA, NOISE, GREEN, ORANGE), range(3, -1, -1), strict=True
):
    times = grid(9)[:-1].double()
    c = path(times)
    left.plot(c.half_log_snr, torch.full((9,), float(row)), "o-", color=color, linewidth=1)
    left.text(-10.2, row + 0.22, label, color=color)
    right.plot(range(4), [table[name][label] for name in chosen], "o-", color=color, linewidth=1)
left.set(
    ylim=(-0.5, 3.8),
    yticks=[],
    xlim=(-10.5, 5),
    xlabel=r"$\lambda = \log(\alpha/\sigma)$: noise left, data right",
)
left.set_title("nine times, and then 0")
right.set(yscale="log", xlim=(-0.3, 3.3), ylabel="paired error, pixel units", title="nine evaluations")
right.set_xticks(range(4), list(chosen))
right.set_yticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
right.minorticks_off()
figure

# %% [markdown]
r"""
*Left: where each grid spends its nine times (the colours name the grids). Right: what it earns, for four
samplers.*

For DPM-Solver++ the step from equal times to Karras' levels is worth as much as the step from DDIM to
DPM-Solver++. DDIM hardly cares. Heun is the other way round: its line is a line in $t$, and steps that are
even in $\lambda$ are very uneven in $t$. **A grid suits a solver**, not a network. And the trailing grid
spends its first step on the distance from $\lambda = -10$ to the others' start, where nothing happens but
the kink of section 15.2.

## 15.5 Noise and memory

DDIM has a dial, $\eta$. Can one have it with a second-order sampler? A tempting line of code takes the
deterministic step and adds $\eta\sqrt{\tilde\beta}\,z$.

**Before you read on.** The exact flow carries $p_t$ to $p_s$. What is the variance after it, for data of
variance $v$, if noise is then added on top? What would (15.2) have done?

The flow arrives at $p_s$, and the noise comes *on top*:

$$\operatorname{Var}[x_s] = \underbrace{\alpha_s^2\,v + \sigma_s^2}_{\text{already right}}
+ \eta^2\tilde\beta. \tag{15.7}$$

In (15.2) the noise is *replaced*: the deterministic part aims at the lower level $\kappa = \sqrt{\sigma_s^2
- \eta^2\tilde\beta}$, and fresh noise lifts it to $\sigma_s$. In the variable $\rho$ the lower level is the
place $\kappa/\alpha_s$, and any rule of (15.3) can aim at it:

$$x_s = \alpha_s\Big[\frac{x_t}{\alpha_t} + \int_{\rho_t}^{\kappa/\alpha_s}\hat\varepsilon\,d\rho\Big] +
\eta\sqrt{\tilde\beta}\;z. \tag{15.8}$$

With $\hat\varepsilon$ constant this *is* (15.2). With a line through the last two values, it is a
second-order rule that aims right, and yet there is a second trap: the old value was taken *before* fresh
noise came in. The values no longer lie on one smooth curve, and the line through them extrapolates noise.
We try all three on one dimension of Gaussian data, where the exact denoiser is known and the final spread
should be 0.50.
"""

# %%
number = lambda value: torch.tensor(value, dtype=double)  # noqa: E731
v = 0.25
exact = GaussianMixture.single(number([0.0]), v * torch.eye(1, dtype=double)).denoiser(path)
cloud = torch.randn(50_000, 1, generator=seeded(12), dtype=double)

c, d = path(number(600.0)), path(number(400.0))
size_t, size_s = (a.alpha**2 * v + a.sigma**2 for a in (c, d))
carried = cloud * size_s.sqrt()  # exactly what the flow makes of N(0, size_t), see (11.4)
eta, beta = 1.0, beta_tilde_variance(c, d)
fresh = torch.randn(cloud.shape, generator=seeded(13), dtype=double)
on_top = carried + eta * beta.sqrt() * fresh
verify_mean("15.7", on_top[:, 0].square(), d.alpha**2 * v + d.sigma**2 + eta**2 * beta)

x_t = size_t.sqrt() * cloud[:1000]
kappa = (d.sigma**2 - 0.7**2 * beta).sqrt()
aimed = d.alpha * (x_t / c.alpha + (kappa / d.alpha - c.sigma / c.alpha) * eps_hat(exact, x_t, number(600.0)))
with_dial, _ = DDIM(eta=0.7).step(exact, x_t, number(600.0), number(400.0), (), fresh[:1000])
verify("15.8", aimed + 0.7 * beta.sqrt() * fresh[:1000], with_dial, over="points")


def noisy_run(x, times, eta, generator, *, aim, memory):
    """(15.8) with a constant or a line; or, with aim=False, the noise on top."""
    old = None
    for t, s in pairwise(times):
        c, d = path(t), path(s)
        beta = beta_tilde_variance(c, d)
        level = (d.sigma**2 - eta**2 * beta).clamp(min=0).sqrt() if aim else d.sigma
        here, goal, slope = c.sigma / c.alpha, level / d.alpha, eps_hat(exact, x, t)
        y = x / c.alpha + (goal - here) * slope
        if memory and old is not None and s > 0:
            y = y + (goal - here) ** 2 / 2 * (slope - old[1]) / (here - old[0])
        old = here, slope
        z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = d.alpha * y + eta * beta.sqrt() * z
    return x


variants = {
    "noise on top, second-order step": {"eta": 1.0, "aim": False, "memory": True},
    "aimed lower, second-order step": {"eta": 1.0, "aim": True, "memory": True},
    "aimed lower, constant (DDIM, eta = 1)": {"eta": 1.0, "aim": True, "memory": False},
    "no noise, second-order step (DEIS)": {"eta": 0.0, "aim": True, "memory": True},
}
cloud = (cloud - cloud.mean()) / cloud.std()
orders = {}
for name, options in variants.items():
    few, many = (
        noisy_run(cloud, equal_in_t(k).double(), generator=seeded(14), **options).std() for k in (10, 40)
    )
    orders[name] = math.log((few - 0.5).abs() / (many - 0.5).abs(), 4)
    print(f"{name:38} spread after 10 steps {few:.1f}, after 40 {many:.1f}; order about {orders[name]:.1f}")
assert orders["noise on top, second-order step"] < 0.4
assert abs(orders["aimed lower, second-order step"] - 1) < 0.25
assert orders["no noise, second-order step (DEIS)"] > 1.5

# %% [markdown]
r"""
Noise on top never gets there, with any number of steps. Aimed right, the second-order rule converges, but
as fast as first order does: fresh noise between two values has cost it its order. Heun with churn (chapter
11) escapes by asking twice *inside* a step: first noise, up; then one smooth step down. Our verdict is one
about this rule, and about strong noise. Stochastic multistep samplers exist (SDE-DPM-Solver++; SA-Solver),
and they help in practice, where constants count more than orders. What must not be done is to add DDIM's
$\eta$ to a multistep method and to expect both.

## 15.6 Guidance: what it buys, what it costs

The network was trained with one label in ten hidden (chapter 14), so it holds two denoisers, with and
without the class. Guidance goes along their difference, and beyond (chapter 12). For any scale $s$,

$$\hat x_0 = \hat x_0^{u} + s\,\big(\hat x_0^{c} - \hat x_0^{u}\big)
\quad\Longleftrightarrow\quad
\hat\varepsilon = (1 + w)\,\hat\varepsilon^{c} - w\,\hat\varepsilon^{u}, \qquad s = 1 + w. \tag{15.9}$$
<!-- code 15.9: diffedu.guidance.ClassifierFree -->

**Two meanings of one number.** "Scale 0" is *no guidance* in the paper's $w$ and *no label* in our $s$.
"Scale 1" is a strong $w$ and a neutral $s$. Nothing crashes if they are mixed up, so we look first which
one a library means.

Obedience is measured by class accuracy. What is lost is variety *within* a class, and the Fréchet distance
sees it only mixed up with everything else. So measure it by itself. With features $f_i$ of the $m$ digits
of class $y$,

$$D_y^2 = \frac{1}{m(m-1)}\sum_{i\neq j}\tfrac12\,\lVert f_i - f_j\rVert^2
= \operatorname{tr}\,\widehat{\mathrm{Cov}}_y ,
\qquad \text{diversity} = \Big(\tfrac1{10}\sum_y D_y^2\Big)^{1/2}. \tag{15.10}$$

The pairs are of *different* digits; then the middle is the unbiased estimate of the trace of the
covariance, whatever $m$ is, and values at different counts can be compared. (Expand the square around the
mean: cross terms vanish.) It is quoted beside the diversity of real digits, at as many.
"""


# %%
def diversity(values, labels):
    """(15.10): spread of features within classes, from pairs of different digits."""
    values, total = values.double(), 0.0
    for label in labels.unique():
        own = values[labels == label]
        pairs = torch.cdist(own, own).square()
        total += 0.5 * pairs.sum() / (len(own) * (len(own) - 1))
    return (total / len(labels.unique())).sqrt().item()


few, of_few = spare[:n], real.labels[4500 : 4500 + n]
by_trace = [few[of_few == y].double().T.cov().trace() for y in range(10)]
verify(
    "15.10",
    torch.tensor(diversity(few, of_few), dtype=double),
    torch.stack(by_trace).mean().sqrt().cpu(),
    over="values",
)

# (15.9), on the bare network, before anything is cut
bare = NetworkDenoiser(net, path, V)
x_t, at = (
    path.add_noise(encode(held_out.images[:10]), noise, torch.tensor(500.0)),
    torch.tensor(500.0, device=device),
)
with torch.no_grad():
    eps_c, eps_u = (eps_hat(bare.given(label), x_t, at) for label in (labels10, None))
    c = path(at)
    by_paper = (x_t - c.sigma * ((1 + 2.0) * eps_c - 2.0 * eps_u)) / c.alpha
    x0_c, x0_u = (bare.given(label)(x_t, at) for label in (labels10, None))
verify("15.9", x0_u + scale_from_weight(2.0) * (x0_c - x0_u), by_paper, rtol=1e-4, over="pixels")

scales = (0.0, 1.0, 1.5, 2.5, 6.0)
levels = noise_levels(6)
swept, kept = {}, {}
for scale in scales:
    believes = digits_ddpm.denoiser(net, wanted, guidance_scale=scale) if scale else digits_ddpm.denoiser(net)
    made = decode(sample(believes, DPMSolverPP2M(), start, levels))
    swept[scale] = (*judged(made), diversity(features(classifier, made), wanted), ink(made))
    kept[scale] = made
parts = zip(spare.split(n), real.labels[4500:].split(n), strict=True)
real_spread = torch.tensor([diversity(*part) for part in parts if len(part[0]) == n])
guided = [scale for scale in scales if scale >= 1]
image_rows({f"s = {scale:g}": kept[scale][:10] for scale in scales}, scale=0.58)

# %% [markdown]
r"""
*Six steps of DPM-Solver++(2M) on Karras' levels; a column has one label and one start noise. At s = 0 the
label is not heard. Downwards the digits become more regular, and their strokes thicker.*

**Before you read on.** Sketch three curves over $s$: accuracy, diversity, Fréchet distance. Which of them can
tell you that $s$ is too large, and which can't?
"""

# %%
figure, axes = panels(1, 4, width=13.0, height=3.3)
titles = ("Fréchet distance", "class accuracy", "diversity in a class", "share of ink")
goals = (floor, read_right, real_spread.mean().item(), ink(real.images))
for k, (ax, title, goal) in enumerate(zip(axes, titles, goals, strict=True)):
    values = [swept[scale][k] for scale in guided]
    ax.plot(guided, values, "o-", color=GUIDED)
    ax.axhline(goal, color=NOISE, linestyle="--")
    ax.set(title=title, xscale="log", xlabel="guidance scale $s$")
    ax.set_xticks(guided, [f"{scale:g}" for scale in guided])
    ax.minorticks_off()
axes[0].axhspan(floor - 2 * spread, floor + 2 * spread, color="#E3E3E3", zorder=0)
axes[2].axhspan(
    (real_spread.mean() - 2 * real_spread.std()).item(),
    (real_spread.mean() + 2 * real_spread.std()).item(),
    color="#E3E3E3",
    zorder=0,
)
axes[1].set(ylim=(0.9, 1.01))
plain, mild, strong = (swept[scale] for scale in (1.0, 1.5, 6.0))
assert swept[0.0][1] < 0.25  # the label is not heard
assert mild[1] > plain[1]
assert strong[1] > 0.99
assert mild[0] < floor + 2 * spread < strong[0]
assert mild[2] < plain[2]
assert strong[2] < 0.8 * real_spread.mean() < 0.8 * plain[2]
assert swept[2.5][0] > floor + 2 * spread > plain[0]
assert strong[3] > 1.15 * plain[3]
assert 0.92 < plain[1] < 0.98 < mild[1]
print(f"from s = 1 to 1.5: accuracy from below 0.98 to above it, diversity times {mild[2] / plain[2]:.1f}")
figure

# %% [markdown]
r"""
*Dashed: real digits; grey bands: two spreads of 200 of them. Each point is 200 digits.*

- **Accuracy is bought at once.** Half a unit of guidance mends nearly all digits that were not what was
  asked for. It then stays at the top, whatever happens to the digits: it *can't* tell you to stop. It even
  exceeds that of real digits, for people do write sevens that look like ones.
- **Diversity is what pays**, from the first step on. At $s = 1$ it is even above that of real digits,
  presumably since digits that are not quite what was asked for are very diverse. From 2.5 on, a class is a
  handful of typical digits.
- **The Fréchet distance adds both.** With 200 digits it can't decide between 1 and 1.5, and it refuses 2.5.
  With the 4,000 digits of chapter 14's report it can: at 1.1 it had already risen from below its floor to
  just above.
- **Ink.** The difference of the two guesses is "what is typical for this class", mostly strokes, and
  multiplying it makes strokes thicker. So one can *see* strong guidance, and a mean over pixels is enough
  to measure it.

And it doubles the bill, (15.6). What would a real image model do? The same, with $s$ between 2 and 10,
since there the network is further from exact and labels are sentences; Ho and Salimans' curves have these
shapes.

### What the cut hides
`denoiser` cuts every guess to the range of pixels. How much is there to cut?
"""

# %%
moments = (984.0, 900.0, 700.0, 500.0, 300.0)
cut = {scale: [] for scale in guided}
with torch.no_grad():
    for moment in moments:
        at = torch.tensor(moment, device=device)
        x_t = path.add_noise(encode(held_out.images[:50]), noise100[:50], at)
        own = held_out.labels[:50]
        x0_c, x0_u = bare.given(own)(x_t, at), bare.given(None)(x_t, at)
        for scale in guided:
            guess = x0_u + scale * (x0_c - x0_u)
            cut[scale].append((guess - guess.clamp(digits_ddpm.PAPER, 1)).square().mean().sqrt().item())
assert all(cut[6.0][k] > 3 * cut[1.0][k] for k in range(3))

figure, (ax,) = panels(1, 1, width=7.5, height=3.1)
for scale, color, line in zip(guided, (NOISE, DATA, GUIDED, ORANGE), ("-", "--", "-.", ":"), strict=True):
    ax.plot(moments, cut[scale], line, color=color, marker="o", markersize=4)
    ax.text(
        992,
        cut[scale][0] + {1.5: 0.025, 1.0: -0.03}.get(scale, 0),
        f" s = {scale:g}",
        color=color,
        va="center",
    )
ax.set(xlim=(280, 1060), xlabel="time t", ylabel="cut away, rms per pixel")
figure

# %% [markdown]
r"""
*What leaves the range of pixels before the cut. At $s = 6$ it is as large as the picture itself where noise
is strong.*

At scale 1 there is next to nothing to cut. At strong scales the cut does a good part of the work: the
difference of the guesses is largest at high noise, and times six it throws pixels far out of range. Without
the cut the walk would leave everything the network was trained on. In latent space (chapter 17) there is no
range to cut to, and the strong colours of over-guided pictures are the result.

## 15.7 What to predict

Now to the other half of a fast sampler: what the network was trained for. Its answer is linear in $x_0$ and
$\varepsilon$, as $a\,x_0 + b\,\varepsilon$ (chapter 9). An error $e$ of the answer becomes an error of the
guess,

$$\hat x_0 - x_0 = -\frac{\sigma}{\Delta}\;e, \qquad \Delta = \alpha b - \sigma a, \tag{15.11}$$

and so a network that is off by 5 % of its (unit-size) answer has a guess that is off by 5 % times

$$\Big|\frac\sigma\Delta\Big| = \begin{cases}\sigma/\alpha & \varepsilon\\ 1 & x_0\\
\sigma & v \quad(\alpha^2+\sigma^2=1)\\
c_{\text{out}} = \sigma q/\sqrt{\alpha^2q^2 + \sigma^2} & \text{EDM, data of size } q .\end{cases}
\tag{15.12}$$

**Before you read on.** The sampler of section 15.3 begins at $\sigma/\alpha = 40$. Which of the four would
you not like to have trained?

EDM's answer comes with its coat (chapter 11): input $c_{\text{in}}x_t$, guess $c_{\text{skip}}x_t +
c_{\text{out}}F$. It was derived for data of mean 0. **Our pixels have a mean of about $-0.8$.** What is
"the size $q$ of the data" then, the standard deviation or the root mean square? Input and target are to be
of size 1. The condition is about sizes, so with mean or not, what enters is $q^2 = \mathbb E[x_0^2]$:

$$\mathbb E\big[(c_{\text{in}}x_t)^2\big] = 1, \qquad
\mathbb E\Big[\Big(\frac{x_0 - c_{\text{skip}}x_t}{c_{\text{out}}}\Big)^2\Big] = 1
\qquad\text{for } q^2 = \mathbb E[x_0^2]. \tag{15.13}$$
<!-- code 15.13: diffedu.core.preconditioning.edm_scalings -->

(Put (15.1) in: the cross terms vanish since $\varepsilon$ has mean 0 and is independent, whatever the mean
of $x_0$.) We check it on 3,000 digits at four noise levels, and look at what the standard deviation
would have given.
"""

# %%
clean = encode(real.images).flatten(1).double().cpu()
rms, deviation = clean.square().mean().sqrt().item(), clean.std().item()
assert abs(rms - DATA_STD) < 0.01
print(f"encoded digits: root mean square {rms:.2f}, standard deviation {deviation:.2f}")
edm, some = EDM(), clean[::3]
sizes = {}
for level in (0.1, 1.0, 5.0, 40.0):
    c = edm(torch.tensor(level, dtype=double))
    eps = torch.randn(some.shape, generator=seeded(15), dtype=double)
    x_t = some + level * eps
    for q in (rms, deviation):
        scale = edm_scalings(c, q)
        inputs, targets = scale.c_in * x_t, (some - scale.c_skip * x_t) / scale.c_out
        pairs = torch.stack([inputs.square().mean(1), targets.square().mean(1)], dim=1)
        if q == rms:
            verify_mean("15.13", pairs, torch.ones(2, dtype=double))
        sizes[q, level] = pairs.mean(0).tolist()
for q, name in ((rms, "root mean square"), (deviation, "standard deviation")):
    line = ", ".join(
        f"{sizes[q, level][0]:.1f} / {sizes[q, level][1]:.1f}" for level in (0.1, 1.0, 5.0, 40.0)
    )
    print(f"mean square of input / target with the {name:18}: {line}")
assert abs(sizes[deviation, 0.1][0] - 2.5) < 0.1
assert abs(sizes[deviation, 40.0][1] - 2.6) < 0.1

x0 = clean[:50]
error = 0.05 * torch.randn(x0.shape, generator=seeded(16), dtype=double)
predictions = {"eps": EPS, "x0": X0, "v": V, "EDM": edm_prediction(rms)}
curve_t = torch.linspace(100, 984, 60, dtype=double)
grown = {name: [] for name in predictions}
for moment in curve_t:
    c = path(moment)
    x_t = c.alpha * x0 + c.sigma * eps[:50]
    for name, prediction in predictions.items():
        answer = prediction.target(x0, eps[:50], c) + error
        grown[name].append((prediction.to_x0(answer, x_t, c) - x0).square().mean().sqrt())
factor = {
    "eps": lambda c: c.sigma / c.alpha,
    "x0": lambda c: torch.ones_like(c.alpha),
    "v": lambda c: c.sigma,
    "EDM": lambda c: c.sigma * rms / ((c.alpha * rms) ** 2 + c.sigma**2).sqrt(),
}
c = path(curve_t)
for name in predictions:
    verify(
        "15.12",
        torch.stack(grown[name]) / error.square().mean().sqrt(),
        factor[name](c),
        rtol=1e-8,
        over="times",
    )
one = path(number(700.0))
x_t = one.alpha * x0 + one.sigma * eps[:50]
for prediction in predictions.values():
    answer = prediction.target(x0, eps[:50], one) + error
    verify(
        "15.11",
        prediction.to_x0(answer, x_t, one) - x0,
        -one.sigma / prediction.determinant(one) * error,
        rtol=1e-8,
        over="pixels",
    )

figure, (left, right) = panels(1, 2, width=12.0, height=3.7)
look = {"eps": (EXTRA, "-"), "x0": (DATA, "--"), "v": (GUIDED, "-."), "EDM": (GREEN, ":")}
for name, (color, line) in look.items():
    into_x0 = factor[name](c)
    left.plot(c.half_log_snr, into_x0, line, color=color)
    right.plot(c.half_log_snr, into_x0 * c.alpha / c.sigma, line, color=color, label=name)
for ax, title in ((left, r"into the guess $\hat x_0$"), (right, r"into the noise $\hat\varepsilon$")):
    ax.set(
        yscale="log",
        ylim=(0.02, 60),
        xlabel=r"$\lambda = \log(\alpha/\sigma)$: noise left, data right",
        title=title,
    )
left.set_ylabel("amplification of an error")
right.legend(frameon=False)
figure

# %% [markdown]
r"""
*How an error of the answer grows on its way into the guess (left) and into the noise (right). Where a curve
is above 1 the conversion amplifies.*

$\varepsilon$ is amplified forty times where sampling begins, just where all else depends on it; $x_0$ is
amplified at the other end, in the noise that the last steps use. $v$ and EDM are never above 1 on the left,
and never far above on the right: they change over from "guess the picture" to "guess the noise" where the
signal meets the noise. With the standard deviation in the place of the root mean square, the coat's input
is 2.5 times too large in mean square where there is little noise, and its target 2.6 times where there is
much: a slip of one word.

## 15.8 Which errors are paid for

There is more than the target: the density of times, and a weight. The recipes of the papers look
incomparable: "uniform $t$, loss on $v$", "$\min(\mathrm{SNR}, 5)$", "logit-normal $t$", "log-normal
$\sigma$". Bring them to **one currency**: the squared error of the noise,
$\mathbb E\lVert\hat\varepsilon - \varepsilon\rVert^2$, and one axis, $\lambda = \log(\alpha/\sigma)$, which
does not depend on the clock of a path. By (15.11) an error of the answer is $\Delta/\alpha$ times that of the
noise, up to sign, and a density of times becomes one of $\lambda$:

$$L = \mathbb E_t\, w\,\mathbb E\lVert F - \text{target}\rVert^2
= \int W(\lambda)\;\mathbb E\lVert\hat\varepsilon - \varepsilon\rVert^2\,d\lambda, \qquad
W = \frac{p(t)}{|d\lambda/dt|}\;w\;\Big(\frac{\Delta}{\alpha}\Big)^2. \tag{15.14}$$

For every positive $W$ the best network is the same. What $W$ decides is where a finite network spends its
strength. (What it does *not* show is (15.12): how the network's errors are amplified afterwards.) For the
cosine path, $\alpha = \cos\frac{\pi t}2$ and $\sigma = \sin\frac{\pi t}2$, with uniform $t$:
$\lambda = -\log\tan\frac{\pi t}2$, hence $t = \frac2\pi\arctan e^{-\lambda}$ and

$$p(\lambda) = \Big|\frac{dt}{d\lambda}\Big| = \frac2\pi\,\frac{e^{-\lambda}}{1 + e^{-2\lambda}}
= \frac{1}{\pi\cosh\lambda}. \tag{15.15}$$

The rest is one factor each. $\mathrm{SNR} = e^{2\lambda}$, and on this path $1/\alpha^2 = 1 + e^{-2\lambda}$:

$$\begin{aligned}
\varepsilon &: \frac{1}{\pi\cosh\lambda}, &
x_0 &: \frac{e^{-2\lambda}}{\pi\cosh\lambda}, &
v &: \frac{1 + e^{-2\lambda}}{\pi\cosh\lambda} = \frac2\pi\,e^{-\lambda},\\
\text{min-SNR} &: \frac{\min(1, \gamma e^{-2\lambda})}{\pi\cosh\lambda}, &
\text{EDM} &: \mathcal N(\lambda;\ -\mu, \tau^2)\,\Big(1 + \frac{e^{-2\lambda}}{q^2}\Big), &
\end{aligned} \tag{15.16}$$

where EDM draws $\log\sigma \sim \mathcal N(\mu, \tau^2)$. The price of $v$ is a pure exponential. And the
min-SNR row does not say which target the network has, because **min-SNR is defined by its $W$**. Its weight
*in front of a squared error* depends on the target, and here is the trap:

$$w = \begin{cases}\min(\mathrm{SNR}, \gamma) & \text{loss on } x_0\\
\min(\mathrm{SNR}, \gamma)/\mathrm{SNR} & \text{loss on } \varepsilon\\
\min(\mathrm{SNR}, \gamma)/(\mathrm{SNR} + 1) & \text{loss on } v .\end{cases} \tag{15.17}$$
<!-- code 15.17: diffedu.recipes.digits_objectives.min_snr_for_v -->

Below, each $W$ of the study's six objectives is made from the code that trains them (its weight, its
determinant, its density of times by automatic differentiation) and compared with (15.16). Then the claim
(15.14) itself: the loss of `DenoisingLoss`, by Monte Carlo, for Gaussian data whose best network is known,
against the integral over $\lambda$.
"""

# %%
cosine = Cosine()
lam = torch.linspace(-4.3, 4, 167, dtype=double)  # EDM's path ends at sigma = 80


def density_of_lambda(on_path, density_of_time):
    """p(t) / |d lambda / dt| at the places lam, and the coefficients there."""
    t = time_at_half_log_snr(on_path, lam).requires_grad_()
    (rate,) = torch.autograd.grad(on_path(t).half_log_snr.sum(), t)
    return (density_of_time(t) / rate.abs()).detach(), on_path(t.detach())


def uniform_density(t):
    return torch.full_like(t, 1 / (cosine.t_max - cosine.t_min))


def logit_normal_density(t):
    u = t / cosine.t_max
    return torch.exp(-0.5 * torch.logit(u) ** 2) / (math.sqrt(2 * math.pi) * u * (1 - u) * cosine.t_max)


edm_times = OBJECTIVES["edm"].loss.times


def log_normal_density(t):
    return torch.exp(-0.5 * ((t.log() - edm_times.mean) / edm_times.std) ** 2) / (
        math.sqrt(2 * math.pi) * edm_times.std * t
    )


densities = {"edm": log_normal_density, "v, logit-normal": logit_normal_density}
currency = {}
for name, objective in OBJECTIVES.items():
    loss = objective.loss
    p, c = density_of_lambda(loss.path, densities.get(name, uniform_density))
    currency[name] = p * loss.weight(c) * (loss.prediction.determinant(c) / c.alpha) ** 2

share = 1 / (cosine.t_max - cosine.t_min)  # the path stops a thousandth before its ends
sech = share / (math.pi * torch.cosh(lam))
verify("15.15", density_of_lambda(cosine, uniform_density)[0], sech, rtol=1e-8, over="places")
bell = torch.exp(-0.5 * ((lam + edm_times.mean) / edm_times.std) ** 2) / (
    math.sqrt(2 * math.pi) * edm_times.std
)
written = {
    "eps": sech,
    "x0": sech * torch.exp(-2 * lam),
    "v": share * 2 / math.pi * torch.exp(-lam),
    "v, min-SNR 5": sech * (5 * torch.exp(-2 * lam)).clamp(max=1),
    "edm": bell * (1 + torch.exp(-2 * lam) / DATA_STD**2),
}
for name, formula in written.items():
    verify("15.16", currency[name], formula, rtol=1e-7, over=f"places ({name})")

c = cosine(torch.linspace(0.02, 0.98, 50, dtype=double))
for target, weight in (
    (X0, c.snr.clamp(max=5)),
    (EPS, c.snr.clamp(max=5) / c.snr),
    (V, c.snr.clamp(max=5) / (c.snr + 1)),
):
    verify("15.17", weight, MinSNR(5.0)(c) * weight_between(target, EPS)(c), over="times")

# (15.14): data N(0, q^2 I); the best guess is alpha q^2 x_t / (alpha^2 q^2 + sigma^2)
q = 0.8
for name, objective in OBJECTIVES.items():
    loss = objective.loss

    def best_network(x_t, t, loss=loss):
        c = loss.path(t).expand(x_t)
        return loss.prediction.from_x0(c.alpha * q**2 / ((c.alpha * q) ** 2 + c.sigma**2) * x_t, x_t, c)

    losses = loss(best_network, q * torch.randn(40_000, 4, generator=seeded(17), dtype=double), seeded(18))
    ends = torch.tensor([loss.path.t_max, loss.path.t_min], dtype=double)
    low, high = (loss.path(ends).half_log_snr[k].clamp(-14, 14).item() for k in range(2))
    lam = torch.linspace(low + 1e-6, high - 1e-6, 4_001, dtype=double)
    p, c = density_of_lambda(loss.path, densities.get(name, uniform_density))
    price = p * loss.weight(c) * (loss.prediction.determinant(c) / c.alpha) ** 2
    mmse = (c.alpha * q) ** 2 / ((c.alpha * q) ** 2 + c.sigma**2)  # of the noise
    verify_mean("15.14", losses, torch.trapezoid(price * mmse, lam))
lam = torch.linspace(-4.3, 4, 167, dtype=double)

# %% [markdown]
r"""
**Before you look.** Which two of the six will be nearly the same curve?
"""

# %%
tints = {"eps": EXTRA, "x0": DATA, "v": GUIDED, "v, min-SNR 5": ORANGE, "v, logit-normal": INK, "edm": GREEN}
lines = {"eps": "-", "x0": "--", "v": "-.", "v, min-SNR 5": ":", "v, logit-normal": "-", "edm": "--"}
spots = torch.linspace(-4, 3.5, 12, device=device)
found = []
with torch.no_grad():
    for spot in spots:
        at = time_at_half_log_snr(path, spot)
        x_t = path.add_noise(encode(held_out.images[:100]), noise100, at)
        own = digits_ddpm.denoiser(net, held_out.labels[:100])
        found.append((eps_hat(own, x_t, at) - noise100).square().mean().item())
found = torch.tensor(found, dtype=double)

figure, (left, right) = panels(1, 2, width=12.5, height=4.0)
effort = {}
for name, price in currency.items():
    left.plot(lam, price / torch.trapezoid(price, lam), lines[name], color=tints[name], label=name)
    at_spots = torch.stack([price[(lam - spot).abs().argmin()] for spot in spots.cpu()])
    paid = at_spots * found
    effort[name] = paid / torch.trapezoid(paid, spots.double().cpu())
    right.plot(spots.cpu(), effort[name], lines[name], color=tints[name])
left.set(
    ylim=(0, 1.0),
    ylabel="$W$, scaled",
    title="price of an error of the noise, area 1",
    xlabel=r"$\lambda$: noise left, data right",
)
right.set(
    ylabel=r"share per unit of $\lambda$",
    title="share of the loss of a trained network",
    xlabel=r"$\lambda$: noise left, data right",
    ylim=(0, None),
)
left.legend(frameon=False, fontsize=10, loc="upper right")
at_left = {name: (price / torch.trapezoid(price, lam))[0].item() for name, price in currency.items()}
assert 0.9 < at_left["x0"] / at_left["v"] < 1.1
assert (currency["eps"] / currency["v, min-SNR 5"])[lam < 0.8].sub(1).abs().max() < 1e-6
noisy_half = spots.cpu() < -1
earned = {
    name: torch.trapezoid(values * noisy_half, spots.double().cpu()).item() for name, values in effort.items()
}
assert earned["x0"] > earned["v"] > earned["eps"]
print(
    "share of the loss paid at lambda < -1:",
    ", ".join(f"{name} {value:.1f}" for name, value in earned.items()),
)
figure

# %% [markdown]
r"""
*Left: the price list $W$, scaled to area 1 on the axis shown. Right: price times what the trained network
of chapter 14 still gets wrong, on held-out digits: this is where each objective would make it work next.*

The two alike are $x_0$ and $v$: by (15.16) their ratio is $1 + e^{2\lambda}$, which is 1 where noise is
strong. And $\varepsilon$ and min-SNR are the same list wherever the signal is below $\mathrm{SNR} = 5$.
Keep that in mind for the study.

Note how the right panel differs from the left. At strong noise a network's error *of the noise* is tiny,
since the noisy picture is nearly the noise; a high price there buys the large decisions, which digit and
which slant. Uniform times and a plain loss on $\varepsilon$ spend almost nothing on them.
"""

# %%
log = digits_objectives.load()
names = list(dict.fromkeys(row["objective"] for row in log["rows"]))
halfway, final = ({row["objective"]: row for row in log["rows"][k::2]} for k in range(2))
measures = ("Frechet distance", "class accuracy", "two-sample test")
print(f"{log['samples']} digits each; half way ({halfway['v']['minutes']:.0f} minutes) and at the end")
print(f"{'':16}" + "".join(f"{name:>20}" for name in measures))
print(f"{'real digits':16}" + "".join(f"{final['v'][name]['floor']:20.2f}" for name in measures))
for name in names:
    cells = [f"{halfway[name][m]['value']:.2f} to {final[name][m]['value']:.2f}" for m in measures]
    print(f"{name:16}" + "".join(f"{cell:>20}" for cell in cells))

figure, axes = panels(1, 3, width=12.5, height=3.4)
order = sorted(names, key=lambda name: final[name]["Frechet distance"]["value"], reverse=True)
for ax, measure in zip(axes, measures, strict=True):
    for row, name in enumerate(order):
        ends = [rows[name][measure]["value"] for rows in (halfway, final)]
        ax.plot(ends, [row, row], color=tints[name], linewidth=2)
        ax.plot(ends[:1], [row], "o", color=tints[name], markerfacecolor="white", markersize=7)
        ax.plot(ends[1:], [row], "o", color=tints[name], markersize=7)
    ax.axvline(final["v"][measure]["floor"], color=NOISE, linestyle="--")
    ax.set(title=measure.replace("Frechet", "Fréchet"), yticks=range(6), yticklabels=[], ylim=(-0.5, 5.5))
axes[0].set(xscale="log", yticklabels=order, xlim=(1.4, 130))
axes[0].set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
axes[0].minorticks_off()
axes[1].set(xlim=(0.45, 1.02))
axes[2].set(xlim=(0.45, 1.0), xlabel="0.5: can't be told from real")
figure

# %%
others = [name for name in names if name != "eps"]
end = {name: final[name]["Frechet distance"]["value"] for name in names}
assert end["eps"] > 4 * max(end[name] for name in others)
assert final["eps"]["class accuracy"]["value"] < 0.75
assert all(final[name]["class accuracy"]["value"] > 0.89 for name in others)
assert all(end[name] < halfway[name]["Frechet distance"]["value"] for name in names)
assert max(end[name] for name in others) < 2 * min(end[name] for name in others)
assert end["v, logit-normal"] < end["x0"] < end["v, min-SNR 5"] < end["v"] < end["edm"]
assert abs(end["v"] - end["v, min-SNR 5"]) < 0.2
told = {name: final[name]["two-sample test"]["value"] for name in others}
assert min(told, key=told.get) == "v"
assert max(told, key=told.get) == "v, min-SNR 5"
c = cosine(torch.tensor(cosine.t_max, dtype=double))
print(f"sampling starts at sigma / alpha = {c.sigma / c.alpha:.0f}, the factor before an error of eps")

# %% [markdown]
r"""
*Open: half of the budget. Full: all of it. Dashed: real digits. The rows are ordered by the final Fréchet
distance.*

What the numbers say, and what they don't.

- **One conclusion is safe: $\varepsilon$ is far behind here.** Its Fréchet distance is several times that
  of any other, and three digits in ten are not what was asked for. Is it the price list? No: min-SNR has
  the *same* one wherever SNR is below 5, and does not fail. What differs is the answer of the network.
  (15.12) says it: this sampler starts where $\sigma/\alpha$ is in the thousands, an error of $\varepsilon$
  is multiplied by that, and only the cut to the range of pixels stops the guess. It is *not* a law about
  noise prediction: DDPM's $\varepsilon$ networks draw well with a thousand noisy steps and far more
  training, and a grid that starts lower would help, too.
- **The other five end within a factor of two**, with accuracies between 0.90 and 0.94. Logit-normal times
  and $x_0$ have the two smallest Fréchet distances, near 5; the rest lie between 7 and 9. With *one* seed
  each, and differences that are smaller than what the second half of the training changed in most of them,
  that order is a hint, not a finding. The two-sample test orders them otherwise: there $v$ is best and
  logit-normal among the last.
- **min-SNR-5 and plain $v$ can't be told apart by the Fréchet distance**; min-SNR is lower in accuracy and
  worse in the two-sample test. It was proposed to speed up the training of large models; here it takes
  weight from strong noise, where plain $v$ puts most.
- **EDM's coat** is no miracle here. Its distribution of noise levels was tuned for photographs; for our
  data we scaled it to their size and tuned nothing. That $x_0$ keeps up is no surprise either: (15.12)
  amplifies it at the data end only, and our metrics hardly see that end.
- **More minutes beat every choice among the five.** Chapter 14's network, $v$ for three times as long,
  scores below its floor in its own report (25 ancestral steps).

If you must choose blindly: $v$, or something like it, is safe from the first step on; $\varepsilon$ at
strong noise is not.

### A first guess in closed form
What does a network learn in its first minutes? Perhaps what needs no network. Take a digit under strong
noise, and suppose you are told that it is a three. Nearly all that can be said is: it stands about where
threes stand, and leans about as threes lean. That is a statement about a mean and a covariance, and both can
be computed from the data.

Suppose the digits of a class were one Gaussian $\mathcal N(m, C)$. Then the posterior mean is a formula
(chapter 9):

$$\hat x_0 = m + \alpha\,C\,\big(\alpha^2 C + \sigma^2 I\big)^{-1}(x_t - \alpha m). \tag{15.18}$$

Digits are not Gaussian. But with *their* mean and covariance as $m$ and $C$, it is still the best guess of
the form "a matrix times $x_t$, plus a constant": the Wiener filter. $C$ has $784^2$ entries, and few of its
directions matter. We keep the first 128 principal axes, the eigenvectors of $C$ with the largest eigenvalues
$\ell_i$, and give all other directions their mean variance $r$. (This is probabilistic principal component
analysis; Tipping, Bishop 1999.) Then (15.18) multiplies the deviation $x_t - \alpha m$
by a number,

$$g(\ell_i) \;\text{along axis } i, \qquad g(r) \;\text{elsewhere}, \qquad
g(\ell) = \frac{\alpha\,\ell}{\alpha^2\ell + \sigma^2}. \tag{15.19}$$
<!-- code 15.19: diffedu.core.gaussian_guess.GaussianGuess -->

Read it as $g = \frac1\alpha\cdot\frac{\alpha^2\ell}{\alpha^2\ell + \sigma^2}$: undo the scaling, then keep
the share of the variance that is signal. Where noise drowns the spread, $\sigma^2 \gg \alpha^2\ell$, the
share is near 0 and the guess stays near the mean. Where the spread stands out it is near 1, and the guess
follows what is seen. Nothing is trained: eleven eigenvalue problems, one for each class and one for all
digits together, take seconds.

**Before you look:** the network of chapter 14 was trained for half an hour. From which noise on is the
formula as good?
"""

# %%
guess = GaussianGuess(path, encode(real.images).to(double), real.labels, classes=10)

# The Gaussian of the threes, as a matrix: twenty held-out threes at three times
axes, rest, m = guess.principal[3], guess.rest[3], guess.mean[3]
eye = torch.eye(784, dtype=double, device=device)
C = axes.T @ (guess.variance[3][:, None] * axes) + rest * (eye - axes.T @ axes)
threes = encode(held_out.images[held_out.labels == 3][:20]).flatten(1).to(double)
solved, exact, along_axes = [], [], []
for t in (200.0, 500.0, 800.0):
    c = path(torch.tensor(t, dtype=double, device=device))
    noise = torch.randn(threes.shape, generator=seeded(30, device), device=device, dtype=double)
    x_t = path.add_noise(threes, noise, t)
    solution = torch.linalg.solve(c.alpha**2 * C + c.sigma**2 * eye, (x_t - c.alpha * m).T).T
    solved.append(m + c.alpha * solution @ C)
    exact.append(GaussianMixture.single(m, C).denoiser(path)(x_t, t))  # chapter 9
    along_axes.append(guess(x_t, t, torch.full((20,), 3, device=device)))
verify("15.18", torch.cat(solved), torch.cat(exact), rtol=1e-6, over="pixels")
verify("15.19", torch.cat(along_axes), torch.cat(solved), rtol=1e-6, over="pixels")
held = guess.variance[3].sum() / (guess.variance[3].sum() + (784 - 128) * rest)
print(f"the 128 axes hold {100 * held:.0f} % of the variance of threes")

# Three guesses, and what each gets wrong on held-out digits
guess = guess.float()
levels = torch.tensor([0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0], device=device)
some, kinds = encode(held_out.images[:300]), held_out.labels[:300]
some_noise = torch.randn(some.shape, generator=seeded(31, device), device=device)
errors = {"mean of its class": [], "Gaussian guess": [], "network": []}
shown = {"noisy": [], **{name: [] for name in errors}}
with torch.no_grad():
    for level in levels:
        t = time_at_half_log_snr(path, -level.log())
        x_t = path.add_noise(some, some_noise, t)
        answers = (
            guess.mean[kinds].reshape(some.shape),
            guess(x_t, t, kinds).clamp(digits_ddpm.PAPER, 1),  # cut as the network's answer is
            digits_ddpm.denoiser(net, kinds)(x_t, t),
        )
        for name, answer in zip(errors, answers, strict=True):
            errors[name].append((answer - some).square().mean().sqrt().item())
            shown[name].append(decode(answer[7]))
        shown["noisy"].append(decode(x_t[7]))
shown = {name: torch.stack(pictures) for name, pictures in shown.items()}
image_rows(shown, titles=[f"{level:g}" for level in levels.tolist()], scale=0.62)

# %%
figure, (ax,) = panels(1, 1, width=6.5, height=3.4)
looks = {"mean of its class": (NOISE, ":"), "Gaussian guess": (ORANGE, "--"), "network": (INK, "-")}
for name, values in errors.items():
    color, line = looks[name]
    ax.plot(levels.cpu(), values, line, color=color, label=name)
ax.set(xscale="log", xlabel=r"noise $\sigma/\alpha$", ylabel="root mean square error", ylim=(0, 0.55))
ax.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
ax.minorticks_off()
ax.legend(frameon=False, loc="lower right")
formula, trained = errors["Gaussian guess"], errors["network"]
print("sigma / alpha    formula   network")
for level, one, other in zip(levels.tolist(), formula, trained, strict=True):
    if round(level, 1) in (0.3, 1.0, 3.0, 5.0, 8.0):
        print(f"{level:13.1f} {one:10.2f} {other:9.2f}")
assert all(one < 1.01 * other for one, other in zip(formula[6:], trained[6:], strict=True))
assert formula[5] < 1.03 * trained[5]
assert 1.3 < formula[2] / trained[2] < 1.5 < 1.6 < formula[0] / trained[0] < 1.8
figure

# %% [markdown]
r"""
*Pictures: a held-out 8 under more and more noise (above the columns: $\sigma/\alpha$), and three guesses at
it. Curves: 300 held-out digits. All three were told the class.*

**From $\sigma/\alpha = 8$ on, the formula is as good as half an hour of training**, and at 5 nearly. What
goes beyond mean and covariance our network could not find there. (Wang and Vastola, 2023: under strong noise
the scores of trained image models are nearly those of a Gaussian.) Below, strokes can be made out, and a
Gaussian knows no strokes. At 1 its error is about 1.4 times the network's, at 0.3 about 1.7 times.

Does it help a network to be shown the guess, rather than having to learn it? The noisy picture and the guess
go in as two channels (`WithGuess`); target, loss and everything else stay as they are. The label is dropped
from both at the same time, so that guidance works as before. The table below will answer. First, another
guess.

### A guess from the neighbours
The Gaussian has forgotten what digits look like. The training set has not. Chapter 14's table,
`DatasetDenoiser`, is the exact posterior mean in a world that holds these 9,000 digits and no others:

$$\hat x_0 = \sum_i w_i\, x_i, \qquad w_i \propto \exp\Big({-\frac{\|x_t - \alpha x_i\|^2}{2\sigma^2}}\Big),
\tag{15.20}$$
<!-- code 15.20: diffedu.core.neighbour_guess.NeighbourGuess -->

the sum over the training digits of the class asked for (without a label, over all 9,000). As a sampler it
only copies (chapter 14). We want it as a *guess*, shown to a network. There is a trap: in training, $x_t$ is
made from some $x_i$, and that $x_i$ stands in the table.

**Before you look:** how good is (15.20) on the digits it holds, and on digits that it doesn't? What would a
network that is shown it in training learn?
"""

# %%
pixels = encode(real.images)
neighbours = NeighbourGuess(path, pixels, real.labels, classes=10)

# (15.20) written out for twenty threes: distances, one by one
table = pixels[real.labels == 3].flatten(1).to(double)
t = torch.tensor(600.0, dtype=double, device=device)
c = path(t)
x_t = path.add_noise(threes, noise, t)
weights = torch.softmax(-torch.cdist(x_t, c.alpha * table).square() / (2 * c.sigma**2), dim=1)
in_double = NeighbourGuess(path, pixels.to(double), real.labels, classes=10)
found = in_double(x_t.view(-1, 1, 28, 28), t, torch.full((20,), 3, device=device))
verify("15.20", weights @ table, found.flatten(1), rtol=1e-6, over="pixels")

stored, own, their_kinds = pixels[:300], torch.arange(300, device=device), real.labels[:300]
pictures = []
off = {
    "itself in the table": [],
    "itself left out": [],
    "held-out digits": [],
    "Gaussian, its own digits": [],
}
for level in levels:
    t = time_at_half_log_snr(path, -level.log())
    x_t, new = (path.add_noise(clean, some_noise, t) for clean in (stored, some))
    for name, answer, clean in (
        ("itself in the table", neighbours(x_t, t, their_kinds), stored),
        ("itself left out", neighbours(x_t, t, their_kinds, own), stored),
        ("held-out digits", neighbours(new, t, kinds), some),
        ("Gaussian, its own digits", guess(x_t, t, their_kinds).clamp(digits_ddpm.PAPER, 1), stored),
    ):
        off[name].append((answer - clean).square().mean().sqrt().item())
        if name == "held-out digits":
            pictures.append(decode(answer[7]))
guesses = {
    "noisy": shown["noisy"],
    "Gaussian guess": shown["Gaussian guess"],
    "neighbours": torch.stack(pictures),
}
image_rows(guesses, titles=[f"{level:g}" for level in levels.tolist()], scale=0.62)

# %%
figure, (ax,) = panels(1, 1, width=6.5, height=3.4)
ax.plot(levels.cpu(), off["itself in the table"], color=DATA, label="neighbours, itself among them")
ax.plot(levels.cpu(), off["itself left out"], color=GREEN, label="neighbours, itself left out")
ax.plot(levels.cpu(), off["held-out digits"], "o", color=GREEN, label="neighbours, held-out digits")
ax.plot(levels.cpu(), formula, "--", color=ORANGE, label="Gaussian guess, held-out digits")
ax.set(xscale="log", xlabel=r"noise $\sigma/\alpha$", ylabel="root mean square error", ylim=(-0.02, 0.55))
ax.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
ax.minorticks_off()
ax.legend(frameon=False, loc="upper left", fontsize=9)
at = dict(zip([0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0], zip(*off.values(), formula, strict=True)))
print("sigma / alpha   itself in   left out   held out | Gaussian: its own   held out")
for level in (0.3, 1.0, 3.0, 8.0):
    with_itself, left_out, new_digits, its_own, gaussian = at[level]
    ours = f"{level:13.1f}{with_itself:12.2f}{left_out:11.2f}{new_digits:11.2f}"
    print(f"{ours} | {its_own:17.2f}{gaussian:11.2f}")
assert all(abs(out / new - 1) < 0.03 for _, out, new, _, _ in at.values())
assert at[1.0][0] < 0.03
assert at[1.0][2] > 1.4 * at[1.0][4]
assert at[5.0][2] > at[5.0][4]
assert at[8.0][2] < at[8.0][4]
assert all(own_digits > 0.85 * new for *_, own_digits, new in at.values())
figure

# %% [markdown]
r"""
*Pictures: two guesses at the held-out 8 from before. Curves: 300 training digits with themselves in the table
(blue), the same 300 each left out of its own sum (green line), and 300 held-out digits (dots). The dashed
curve is that of the figure before.*

With itself in the table a digit is found at once: below $\sigma/\alpha = 1$ the guess *is* the answer. A
network would learn to hand it on. When sampling, the answer stands in no table, and what the network would
hand on is a wrong digit. So **leave each digit out of its own guess**. Then it is as good in training as on
noised digits that are new: line and dots agree. (Statisticians say leave-one-out. The Gaussian has the
fault, too, but less of it: at $\sigma/\alpha = 0.3$ its error is 0.12 on its own digits and 0.14 on new
ones.)

Is it a good guess? By this measure it is worse than the Gaussian up to $\sigma/\alpha = 5$, by half at 1, and
from 8 on about as good. But up to about 1 it is a real *digit*, and around 3 a mean of a few: it shows
strokes, where the Gaussian shows a blur.

The same table does a second service. A noisy digit could have been made from several. The loss compares the
network with the one that it was made from, by chance, though the best answer is their weighted mean
(chapter 7). So compare with the mean, $\hat x_0$ of (15.20), this time with nobody left out. For any $f$ that
sees only $x_t$, $t$ and the label,

$$\mathbb E\,\|f(x_t) - x_0\|^2 = \mathbb E\,\|f(x_t) - \hat x_0(x_t)\|^2 + \mathbb E\,\|x_0 - \hat
x_0(x_t)\|^2, \tag{15.21}$$
<!-- code 15.21: diffedu.core.loss.DenoisingLoss -->

and the last term has no $f$ in it: the same best network, the same gradient on average, without the lottery.
(Xu, Tong, Jaakkola 2023, call such targets *stable*.) It matters where several digits explain $x_t$, under
strong noise.

Our network sees more than $x_t$: its guess was made without $x_0$, and what is missing in it betrays a little
of which digit that was. One that knew its training set by heart could read it off, which is of no use on new
digits. With $x_0$ as the target that would pay. With the mean it doesn't: that target depends on $x_t$ alone.
So the two services go together.
"""

# %%
t = time_at_half_log_snr(path, torch.tensor(3.0, device=device).log().neg())
drawn = torch.randint(0, len(table), (2000,), generator=seeded(33, device), device=device)
x0 = table[drawn].float().view(-1, 1, 28, 28)
x_t = path.add_noise(x0, torch.randn(x0.shape, generator=seeded(34, device), device=device), t)
three = torch.full((2000,), 3, device=device)
f, mean = guess(x_t, t, three), neighbours(x_t, t, three)
apart, lottery = ((a - b).square().flatten(1).mean(1) for a, b in ((f, mean), (x0, mean)))
gap = (f - x0).square().flatten(1).mean(1) - lottery
verify_mean("15.21", gap / apart.mean(), 1.0)
share = lottery.mean() / (apart + lottery).mean()
print(f"sigma / alpha = 3, f the Gaussian guess: {100 * share:.0f} % of its loss is the lottery")
assert 0.2 < share < 0.6

# %% [markdown]
r"""
### What three minutes buy, and ten
"Half way" above is not what half of the minutes can buy: the learning rate was still high, and was meant to
be. In a second shipped table each budget has a run of its own, whose learning rate ends at 0, on batches of
32, so that there are more steps. The network predicts $x_0$ on the cosine path. Three minutes were spent
twice, without a guess and with the Gaussian one. Ten were spent twice: with the Gaussian guess; and with the
neighbours as guess and for the targets. In both, the error of $x_0$ was weighted by SNR, held between 1 and
5: as min-SNR has it, but never below 1, so that strong noise keeps a share (Salimans, Ho 2022). Each network
draws in three ways, by at most 20 evaluations a digit: DDIM in 20 steps; ancestral in 20; ancestral in 14,
guided by 1.25 where the class is decided, for $0.4 \le t \le 0.8$ (chapter 12).

**Before you look:** (1) The formula costs seconds. How many minutes is it worth? (2) Section 15.3 compared
samplers on a network that was trained to the end. These are young, and wrong at every step. Which is better
off: the sampler that adds nothing of its own, or the one that adds fresh noise? (3) The neighbours are the
worse guess by the error of pixels. Will the network that sees them draw worse digits?
"""

# %%
budgeted = digits_minutes.load()["rows"]
log_of_ddpm = shipped_log("digits-ddpm")["rows"]
short = {
    "Frechet distance": "Fréchet",
    "class accuracy": "class accuracy",
    "trained on generated": "on generated",
    "two-sample test": "two-sample",
}
print(f"{'':51}NFE" + "".join(f"{name:>15}" for name in short.values()))
print(f"{'real digits':54}" + "".join(f"{budgeted[0][name]['floor']:15.3f}" for name in short))
for row in budgeted:
    what = f"{row['minutes']:4.1f} min, {row['objective']}, {row['sampling']}"
    print(f"{what:51}{row['evaluations']:3}" + "".join(f"{row[name]['value']:15.3f}" for name in short))

bought = {(row["objective"], row["sampling"]): row for row in budgeted}
distance = {key: row["Frechet distance"]["value"] for key, row in bought.items()}
misread = {key: 1 - row["class accuracy"]["value"] for key, row in bought.items()}
plain, informed, longer, near = dict.fromkeys(row["objective"] for row in budgeted)
ways = tuple(digits_minutes.SAMPLINGS)
for way in ways[:2]:
    assert distance[informed, way] < 0.4 * distance[plain, way]
    assert 0.25 < misread[informed, way] / misread[plain, way] < 0.36
ten_before = next(row for row in log_of_ddpm if row["minutes"] == 10)["Frechet distance"]["value"]
assert ten_before < distance[informed, "ancestral"] < ten_before + 2
gain = {
    name: 1 - distance[name, "ancestral"] / distance[name, "DDIM"] for name in (plain, informed, longer, near)
}
assert 0.34 < gain[plain] < 0.4 < gain[longer] < 0.5
assert 0.1 < gain[informed] < 0.2 < 0.3 < gain[near] < 1 / 3
pushed = {name: distance[name, "ancestral, guided"] / distance[name, "ancestral"] for name in gain}
assert pushed[plain] < 0.7
assert all(0.95 < pushed[name] < 1.05 for name in (informed, near))
assert 1.2 < pushed[longer] < 1.3
assert 1 / 9 < misread[plain, "ancestral"] < 1 / 7
for name in (informed, longer, near):
    assert misread[name, "ancestral"] < 1 / 25
    assert 0.6 < misread[name, "ancestral, guided"] / misread[name, "ancestral"] < 0.75
told = {key: row["two-sample test"]["value"] for key, row in bought.items()}
assert min(told[name, way] for name in (plain, informed) for way in ways) > 0.98
assert 0.6 < min(told[longer, way] for way in ways) <= max(told[longer, way] for way in ways) < 0.65
assert all(distance[near, way] < distance[longer, way] for way in ways)
assert distance[near, "DDIM"] < 0.8 * distance[longer, "DDIM"]
assert told[near, "DDIM"] < 0.57
assert abs(told[near, "ancestral"] - told[longer, "ancestral"]) < 0.01
short_of = {
    key: row["trained on generated"]["floor"] - row["trained on generated"]["value"]
    for key, row in bought.items()
}
smallest, *others = sorted(short_of.values())
assert smallest == short_of[near, "DDIM"] < 0.005
assert all(0.012 < gap < 0.046 for gap in others)
copying = {key: row["nearest training digit"] for key, row in bought.items()}
floor = copying[near, "DDIM"]["floor"]
print(f"median distance to the nearest training digit; held-out digits {floor:.1f}")
for name in (longer, near):
    print(f"{name:23}" + ", ".join(f"{way} {copying[name, way]['value']:.1f}" for way in ways))
assert max(copying[near, way]["value"] for way in ways) < floor < copying[longer, ways[2]]["value"]

# %% [markdown]
r"""
*Four networks, one seed. Floors in the first row. "On generated": the accuracy on real digits of a
classifier that was trained on generated ones.*

- **The guess is worth minutes, but not ten.** With the same minutes, unguided, less than two fifths of the
  Fréchet distance is left, and about a third of the misread digits. Chapter 14's network, without it, was
  at 2.6 after ten minutes (another target, batches of 64, the learning rate still high, 25 ancestral steps).
- **Fresh noise forgives.** At the same number of evaluations, the ancestral sampler brings the distance
  down by more than a third without a guess, by a seventh with it, and after ten minutes by more than two
  fifths with the Gaussian guess and by nearly a third with the neighbours. A likely reason: DDIM carries an
  early mistake to the end, while fresh noise covers it, and the next steps look again. (Karras et al. 2022,
  sections 4 and 5, find that noise is of less use the better the network. Our four don't show such an order.)
  Other columns say otherwise: with the neighbours, the two-sample test is nearer to chance for DDIM.
- **Guidance helps where classes are unsure.** Ancestral, without a guess, one digit in eight is misread, and
  pushing pays twice: in accuracy and in distance. With a guess, fewer than one in twenty-five are. Guidance
  still mends about a third of those, but the distance no longer falls: it stays as it is, or (ten minutes,
  Gaussian guess) rises by a quarter. (The guided rows have 14 steps, not 20; that may be a part of it.)
- **The Gaussian guess does not deceive the two-sample test.** After three minutes the small classifier tells
  the digits from real ones nearly always; perhaps it is the strokes. After ten, with the weight, it is right
  in little more than three cases of five. (Minutes and weight changed together; the table does not say which
  did it.)
- **A worse guess by pixels need not draw worse digits.** With the neighbours the distance is lower in all
  three ways: clearly for DDIM and with guidance, hardly for plain ancestral steps, where one seed can't
  decide. Guess and targets changed together. There were nearly a third fewer steps in the same time: each
  costs more, and it was another day, on which the machine was slower at any step. (And each evaluation
  searches the table, so that equal NFE is not quite equal cost.)
- **It stays closer to what it was shown.** Its median digit is about half a unit nearer to the training set
  than a held-out digit is, and with the Gaussian guess, after ten minutes, further off. A copy would have a
  distance of 0, and a median can't show a few of those. Watch it when the training set is part of a network.
- **The accuracy on real digits** is read from 1,000 of them, with standard errors of 0.5 to 0.8 points. All
  rows lie below the floor, eleven of them by 1.3 to 4.5 points. The twelfth, DDIM with the neighbours, is 0.3
  below, less than one error; but of twelve such numbers one may come out so by chance.

## 15.10 Play

Three digits of a class, drawn while you turn. Above them, what the network said of the first one, from the
first call to the last. Try: two steps of each sampler. `leading` with 5 steps, then `trailing`. Heun on
`trailing`. DEIS(3) on `trailing`. Guidance 8, and look at the strokes. Then hold everything and change only
the sampler: does the digit stay the same *digit*?
"""

# %%
DigitSampler(
    lambda label, scale: digits_ddpm.denoiser(net, label, guidance_scale=scale),
    path,
    device=device,
)

# %% [markdown]
r"""
## 15.11 Exercises

Each check says what is wrong, as far as it can tell. `hint("15.1")` gives hints one by one.

**Exercise 15.1 ★ — the bill.** (a) You draw one guided digit with Heun in 13 steps, the last of which lands
on $t = 0$. How many evaluations of the network? (b) For the same bill, how many *steps* of guided
DPM-Solver++(2M)?
"""

# %% tags=["exercise"]
heun_evaluations = ...
multistep_steps = ...

# %%
check("15.1", (heun_evaluations, multistep_steps))

# %% [markdown]
r"""
**Exercise 15.2 ★ — guided and cut.** Write the guided guess in this book's scale, for a batch in which
every picture has its own scale, cut to $[-1.1, 1]$.
"""


# %% tags=["exercise"]
def guided_guess(x0_c, x0_u, s):
    """The guided x0_hat, (B, C, H, W), from guesses with and without the label and scales s, shape (B,)."""
    ...


# %%
check("15.2", guided_guess)

# %% [markdown]
r"""
**Exercise 15.3 ★★ — how different are they?** Write (15.10): the diversity of features within classes. All
labels occur at least twice; classes count equally, whatever their sizes.
"""


# %% tags=["exercise"]
def spread_within(values, labels):
    """A number or a tensor of shape (): diversity of features, shape (N, K), with labels, shape (N,)."""
    ...


# %%
check("15.3", spread_within)

# %% [markdown]
r"""
**Exercise 15.4 ★★ — a chain at any noise level.** A sampler wants noise levels $\rho = \sigma/\alpha$ from
a chain that knows only $\bar\alpha_0 = 1, \bar\alpha_1, \dots, \bar\alpha_T$. Return the (fractional)
times, with $\log\bar\alpha$ linear between whole numbers. All levels lie in the chain's range.
"""


# %% tags=["exercise"]
def times_of_levels(alpha_bar, levels):
    """Times, shape (K,), between 0 and T, for levels, shape (K,), and alpha_bar, shape (T + 1,), float64."""
    ...


# %%
check("15.4", times_of_levels)

# %% [markdown]
r"""
**Exercise 15.5 ★ — predict.** A colleague reports the Fréchet distance of a *perfect* sampler, from 2,000
digits. Then she has time for 200 only. Will the number be about `"the same"`, `"three times as large"` or
`"ten times as large"`? Use section 15.3.
"""

# %% tags=["exercise"]
with_200_digits = ...

# %%
check("15.5", with_200_digits)

# %% [markdown]
r"""
**Exercise 15.6 ★★ — the price list of a modern flow.** Derive $W(\lambda)$ of (15.14) for rectified flow,
$\alpha = 1 - t$, $\sigma = t$: the loss is the plain squared error of the velocity $\varepsilon - x_0$, and
$t = 1/(1 + e^{-u})$ with $u \sim \mathcal N(m, \tau^2)$. (First: what is $\lambda$ as a function of $u$?)
"""


# %% tags=["exercise"]
def flow_price(lam, m, tau):
    """W at lam = log(alpha / sigma), shape (K,); m and tau are numbers."""
    ...


# %%
check("15.6", flow_price)

# %% [markdown]
r"""
**Exercise 15.7 ★★ — errata museum: the right weight at the wrong loss.** A training script for $v$ took its
min-SNR weight from a script for $\varepsilon$. It trains; it draws digits; but it no longer is min-SNR.
Mend it.
"""


# %% tags=["exercise"]
def min_snr_v_loss(v_guess, v, alpha, sigma, gamma):
    """Losses, shape (B,), of guesses of v, shape (B, D); alpha and sigma have shape (B,)."""
    snr = alpha**2 / sigma**2
    weight = snr.clamp(max=gamma) / snr
    return weight * (v_guess - v).square().mean(1)


# %%
check("15.7", min_snr_v_loss)

# %% [markdown]
r"""
**Exercise 15.8 ★★★ — errata museum: two questions in one call.** To save calls, both questions of guidance
go to the network as one batch. *Three* mistakes, each of which has been made in public; with all three the
pictures look fine at small scales. `null` is the label that means "no label". `scale` is this book's.
"""


# %% tags=["exercise"]
def guided_noise(net, x, t, labels, scale, null):
    """The guided noise, shape (B, D). net(x, t, labels) takes any batch; t and labels have shape (B,)."""
    both = net(torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, torch.zeros_like(labels)]))
    without, with_label = both.chunk(2)
    return without + (1 + scale) * (with_label - without)


# %%
check("15.8", guided_noise)

# %% [markdown]
r"""
**Mini-project 15.9 ★★★ — a sampler for a budget of six.** You have six evaluations for a digit, guidance
included. Choose solver, grid, where it begins and ends, guidance scale, and where guidance is used
(`Between` from chapter 12 saves calls), and beat DDIM with six equal steps of time. Hand in a page with one
figure.

| | 0 | 1 | 2 |
|---|---|---|---|
| counting | steps | evaluations, guidance forgotten | evaluations, measured by a counter |
| measures | pictures | two measures, one seed | three, beside floors at equal count, spread over seeds |
| search | one try | a sweep, judged on the digits it was tuned on | tuned on some seeds, judged on others |
| judgement | "best" | a difference and its size | beside what can be resolved; what it does *not* show |

## 15.12 What the field does with it, and where this breaks

- **Second-order multistep solvers are the default.** DPM-Solver++(2M) on Karras' levels, 20 to 30
  evaluations with guidance, is what many image programs start with. Below some ten evaluations one trains
  instead: distillation and consistency (chapter 17) turn the integral (15.3) into a network.
- **Trailing grids and zero terminal SNR** came late (Lin et al. 2024), after years of pictures that were
  never dark. With $\alpha_T = 0$ exactly, $\varepsilon$ can't be predicted at all at $T$, by (15.12): the
  remedy includes a change to $v$.
- **Guidance is scheduled.** It is used in a band of noise levels only, or its scale varies with $t$, which
  returns most of the diversity (chapter 12).
- **Weights and times are one thing.** Kingma and Gao (2023) write all objectives as one weighted integral
  over log-SNR, as (15.14); a density of times only changes the variance of the gradient, beyond $W$. Stable
  Diffusion 3 (Esser et al. 2024) trains with logit-normal times, and gained by it in a study much larger
  than ours.

Where this breaks. *Digits are easy*: at 5 evaluations nothing is left to gain, on this instrument. *The
instrument* is a classifier of digits, blind to what its 64 features ignore; it is biased by $n$, and 200
digits resolve little. *One seed, one learning rate*: our study would need several of both to order five
close objectives. *Equal steps are equal minutes* only because the six share one network. *Class labels* are
an easy condition. *The cut to $[-1, 1]$* hides sins that a latent model would show.

### What to remember
- All deterministic samplers compute one integral, $\int\hat\varepsilon\,d\rho$. Errors against its value
  need few samples and no real data.
- Count evaluations: Heun $2N-1$, guidance times two.
- Begin where the state is noise: trailing, not leading; beware of the kink of a cut schedule.
- No metric without its floor *at the same count*. The Fréchet floor goes like $1/n$.
- Solver and grid are chosen together. Noise is put in by aiming lower, and costs a multistep method its
  order.
- Guidance buys accuracy and pays in diversity; accuracy can't tell you to stop. $s = 1 + w$.
- Errors of $\varepsilon$ are multiplied by $\sigma/\alpha$, of $v$ by $\sigma$. The size $q$ of EDM's coat
  is a root mean square.
- An objective is its price list $W(\lambda)$. min-SNR: $\min(\mathrm{SNR},\gamma)$ for $x_0$, over SNR for
  $\varepsilon$, over SNR + 1 for $v$.
- Under strong noise a trained network's guess is nearly the best linear one, which needs no training. Show a
  network what is easily computed.
- A guess from the training set must leave the example itself out. A target from it must not.

### References
- Song, Meng, Ermon (2021), *Denoising diffusion implicit models*: (15.2) is eq. 12 with eq. 16; "linear"
  grids, appendix D.2.
- Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*: ancestral sampling, algorithm 2.
- Karras, Aittala, Aila, Laine (2022), *Elucidating the design space of diffusion-based generative models*:
  Heun, algorithm 1; the levels, eq. 5; the coat, eq. 7 and table 1.
- Lu, Zhou, Bao, Chen, Li, Zhu (2022), *DPM-Solver++*: 2M, algorithm 2. Zhang, Chen (2023), *DEIS*: (15.3)
  and polynomials in $\rho$, section 3.
- Lin, Liu, Li, Yang (2024), *Common diffusion noise schedules and sample steps are flawed*: leading and
  trailing, table 2; terminal SNR, section 3.1.
- Xue et al. (2023), *SA-Solver*: multistep methods for the stochastic equation.
- Ho, Salimans (2022), *Classifier-free diffusion guidance*: (15.9), eq. 6; less variety for more fidelity,
  section 4.
- Salimans, Ho (2022), *Progressive distillation*: $v$, weights of one loss as another's, and SNR weights that
  don't fall below 1, section 4.
- Hang, Gu, Li, Bao, Chen, Hu, Geng, Guo (2023), *Efficient diffusion training via min-SNR weighting
  strategy*: (15.17), section 3.4.
- Kingma, Gao (2023), *Understanding diffusion objectives as the ELBO with simple data augmentation*: one
  weighting over log-SNR; $v$ on the cosine schedule is $e^{-\lambda/2}$ in their $\lambda$, which is twice
  ours.
- Esser et al. (2024), *Scaling rectified flow transformers for high-resolution image synthesis*:
  logit-normal times.
- Xu, Tong, Jaakkola (2023), *Stable target field for reduced variance score estimation in diffusion models*:
  targets that are means over the data. (15.20) with nobody left out is Karras et al. (2022), appendix B.3,
  eq. 57.
- Tipping, Bishop (1999), *Probabilistic principal component analysis*: the covariance behind (15.19), eqs. 7
  and 8. Wang, Vastola (2023), *The hidden linear structure in score-based models and its application*: a
  trained denoiser is nearly linear under strong noise.
- Heusel et al. (2017): Fréchet distance. Chong, Forsyth (2020), *Effectively unbiased FID and Inception
  score*: its bias goes like $1/n$.
"""
