# %% [markdown]
"""
# 12. Guidance

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/12_guidance.ipynb)

*How a label steers a sampler, what "more guidance" really samples, and what it costs*

A model of all pictures is a fine thing, but one wants *a cat*. The trick that made text-to-picture models
usable is one line long: ask the model twice, with the wish and without, and go further in the direction in
which the two answers differ. It is called guidance, and its strength is a number that every user turns up.

What does that line do? It is *said* to sample the data, reweighted towards points that fit the wish. Let us
look, in a plane where nothing is hidden. The data has three classes of three clumps each, all Gaussian, and
every denoiser of this first picture is exact. No network, no training error.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %%
import math

import torch
import torch.nn.functional as F

from diffedu import EDM, EPS, MALA, ULA, VP, EulerMaruyama, GaussianMixture, GridDenoiser, Heun
from diffedu import NetworkDenoiser, eps_hat, karras_times, sample, score, seeded, start_noise
from diffedu import uniform_half_log_snr_times, uniform_t, velocity
from diffedu.evaluate import energy_distance
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.guidance import Between, ClassifierFree, ClassifierGuided, MixtureClassifier, Sharpened
from diffedu.guidance import drop_labels, scale_from_weight
from diffedu.nn import MLP
from diffedu.show import DATA, EXTRA, GUIDED, INK, NOISE, VELOCITY, panels, square
from diffedu.show import SCORE as ORANGE
from diffedu.show.widgets import GuidanceField
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

device = "cuda" if torch.cuda.is_available() else "cpu"
double = torch.float64


def three_classes():
    """Three classes of three clumps: one near the centre (weight 0.4), two further out (0.3 each)."""
    weights, means, covariances = [], [], []
    for k in range(3):
        angle = torch.tensor(math.pi / 2 + 2 * math.pi * k / 3, dtype=double)
        out = torch.stack([angle.cos(), angle.sin()])
        aside = torch.stack([-out[1], out[0]])
        axes = torch.stack([out, aside], dim=1)
        for radius, offset, sizes, weight in (
            (0.75, 0.0, (0.34, 0.30), 0.4),
            (1.75, -0.75, (0.26, 0.16), 0.3),
            (1.75, 0.75, (0.26, 0.16), 0.3),
        ):
            weights.append(weight / 3)
            means.append(radius * out + offset * aside)
            covariances.append(axes @ torch.diag(torch.tensor(sizes, dtype=double) ** 2) @ axes.T)
    return GaussianMixture(torch.tensor(weights, dtype=double), torch.stack(means), torch.stack(covariances))


exact64, path = three_classes(), VP()
classes = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
mine = classes[0]  # the class that we want: the upper one
wanted64 = exact64.only(mine)
everything, wanted = exact64.to(dtype=torch.float32), wanted64.to(dtype=torch.float32)  # float64: for checks
unconditional, conditional = everything.denoiser(path), wanted.denoiser(path)
at_zero = torch.tensor(0.0)

# %%
n = 2000
times = uniform_half_log_snr_times(path, 24, end=1e-3)
start = start_noise(path, (n, 2), seeded(1))
line = torch.linspace(-5, 5, 251, dtype=double)
lattice = torch.cartesian_prod(line, line)
log_all, log_wanted = exact64.log_prob(lattice), wanted64.log_prob(lattice)


def tilted(s):
    """The law that guidance is said to sample, on a grid: p(x) p(y | x)^s, normalised."""
    return GridDenoiser(line, (s * log_wanted + (1 - s) * log_all).reshape(251, 251), path)


def guided(s):
    return ClassifierFree(conditional, unconditional, guidance_scale=s)


def show_clouds(named, limit=3.0):
    """Titles to (points, colour), side by side; all data in grey behind them."""
    figure, axes = panels(1, len(named), width=13, height=3.6)
    for i, (ax, (name, (cloud, color))) in enumerate(zip(axes, named.items(), strict=True)):
        ax.scatter(*background.T, s=2.5, color="#D5D5D5", linewidths=0)
        ax.scatter(*cloud.T, s=2.5, color=color, alpha=0.5, linewidths=0)
        square(ax, limit, ylabel="" if i else "$x_2$")
        ax.set_title(name)
    return figure


background = everything.sample(800, seeded(2))
target = tilted(4.0)
strong = sample(guided(4.0), Heun(), start, times)
figure = show_clouds(
    {
        "all data": (everything.sample(n, seeded(3)), NOISE),
        "the wanted class, $s = 1$": (sample(guided(1.0), Heun(), start, times), DATA),
        "guided, $s = 4$": (strong, GUIDED),
        "what $s = 4$ is said to give": (target.sample(n, seeded(4)), DATA),
    }
)
figure

# %% [markdown]
r"""
*Grey: all data. Third panel: guidance at strength 4 has emptied the middle clump, which holds 40 % of the
class. Fourth panel: the law that "strength 4" is said to sample. It keeps that clump.*

**Before you read on.** Third and fourth panel should be equal. Who took the middle clump away: the network
(there is none), the sampler's finite steps, or the formula itself? Write your bet down. Section 12.5 settles
it: a whole clump was lost *for what it looked like while it was noisy*.

**You will be able to**
- derive classifier guidance from Bayes' rule, with the gradient, and train a classifier that deserves it;
- train one network for both answers by dropping labels, and translate between the conventions for the scale;
- say which law guidance samples, in closed form for Gaussians, and why it is not the reweighted data;
- tell guidance from temperature, and both from the noise of minibatches;
- measure what a strong scale costs in variety and overshoot, and win most of it back with an interval.

**You need** scores and Tweedie (9.7), the reverse SDE and its ODE (chapters 8 and 10), Langevin (chapter 2).
**Time**: 60 minutes to read, under a minute to run, two to three hours with the exercises.

## 12.1 The noisy channel

Long before diffusion models, people who built speech recognisers wrote down a *noisy channel*. Someone means
a sentence $x$; what arrives is a sound $y$. One wants $p(x \mid y)$. Bayes' rule splits the work:

$$p(x \mid y) = \frac{p(x)\; p(y \mid x)}{p(y)}. \tag{12.1}$$

$p(x)$ is a model of sentences that has never heard a sound; $p(y\mid x)$ is a model of the channel that need
not know grammar. Each can be trained by itself, and the first serves every channel. For us $x$ is a point
(a picture) and $y$ a label (a caption). The score is the natural place for (12.1): in
$\nabla_{\!x} \log p(x\mid y)$ the awkward $p(y)$ is gone, since it does not depend on $x$.

But a sampler asks for scores of *noisy* points. So the rule must be used there, with a second channel behind
the first: $y$ belongs to $x_0$, and $x_t$ is $x_0$ with noise. What is the probability of $y$, if all we see
is $x_t$? Given $x_0$, the noise knows nothing of $y$. Averaging over the clean points that may be behind it,

$$p_t(y \mid x_t) = \mathbb E\big[\,p(y \mid x_0)\;\big|\;x_t\,\big]. \tag{12.2}$$
<!-- code 12.2: diffedu.guidance.MixtureClassifier -->

Now Bayes' rule at time $t$, logarithm, gradient:

$$\nabla\log p_t(x \mid y) = \nabla\log p_t(x) + \nabla \log p_t(y \mid x). \tag{12.3}$$

Three words carry all the weight. **Noisy**: the classifier in (12.3) is that of (12.2), at the same $t$ as
the score. **Gradient**: what is added is a direction, not a number. **Plus**: one walks to where $y$ is more
probable. By Tweedie's formula (9.7) a change of the score by $\delta$ changes the guess of the clean point
by $\sigma^2\delta/\alpha$, so

$$\hat x_0(x\mid y) = \hat x_0(x) + \frac{\sigma^2}{\alpha}\,\nabla\log p_t(y \mid x). \tag{12.4}$$
<!-- code 12.4: diffedu.guidance.ClassifierGuided -->

For a mixture whose components carry labels all of this can be had exactly: $p_t(y\mid x)$ is the sum of the
responsibilities of the components that carry $y$ (`MixtureClassifier`).
"""

# %%
classifier64 = MixtureClassifier(exact64, path, mine)
clean = torch.tensor(0.0, dtype=double)
x = exact64.sample(500, seeded(5))
verify(
    "12.1",
    wanted64.log_prob(x),
    exact64.log_prob(x) + classifier64(x, clean) - exact64.weights[mine].sum().log(),
    over="points",
)

t = torch.tensor(0.3, dtype=double)
c = path(t)
x = exact64.noised(path, t).sample(40, seeded(6))
bells = -0.5 * ((x[:, None] - c.alpha * lattice) / c.sigma).square().sum(2)  # log q(x_t | x0) + constant
posterior = torch.softmax(bells + log_all, dim=1)  # over the clean points of the lattice
labels_of_clean = classifier64(lattice, clean).exp()
verify("12.2", classifier64(x, t).exp(), posterior @ labels_of_clean, rtol=1e-6, over="points")


def gradient(function, x):
    """Derivative of each value of function(x), shape (B,), by its own row of x."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


uncond64, cond64 = exact64.denoiser(path), wanted64.denoiser(path)
push = gradient(lambda x: classifier64(x, t), x)
verify("12.3", score(cond64, x, t), score(uncond64, x, t) + push, rtol=1e-7, over="coordinates")
verify("12.4", cond64(x, t), uncond64(x, t) + c.sigma**2 / c.alpha * push, rtol=1e-7, over="coordinates")

# %% [markdown]
r"""
(In (12.2) the right side is a sum over the 63 001 clean points of a lattice; hence the tolerance $10^{-6}$.)

How does the classifier look as noise grows? **Before you read on:** at $t = 1$ nothing is left of the data.
What does $p_t(y\mid x)$ say there, and how long is its gradient?
"""

# %%
is_mine = MixtureClassifier(everything, path, mine)
pixels = torch.cartesian_prod(*[torch.linspace(-3, 3, 121)] * 2)
arrows = torch.cartesian_prod(*[torch.linspace(-2.6, 2.6, 12)] * 2)
figure, axes = panels(1, 4, width=13.4, height=3.7)
for ax, now in zip(axes, (0.02, 0.2, 0.4, 0.7), strict=True):
    now = torch.tensor(now)
    share = is_mine(pixels, now).exp().reshape(121, 121).T
    shown = ax.imshow(
        share.numpy(), extent=(-3, 3, -3, 3), origin="lower", cmap="Blues", vmin=0, vmax=1, alpha=0.8
    )
    pushes = gradient(lambda x: is_mine(x, now), arrows)  # noqa: B023
    length = pushes.norm(dim=1)
    moves = pushes / length[:, None] * (0.4 * (length / 2).clamp(max=1))[:, None]
    ax.quiver(*arrows.T, *moves.T, color=ORANGE, angles="xy", scale_units="xy", scale=1, width=0.007)
    cloud = everything.noised(path, now).sample(250, seeded(7))
    ax.scatter(*cloud.T, s=3, color=INK, alpha=0.5, linewidths=0)
    square(ax, 3.0, ylabel="$x_2$" if now < 0.1 else "")
    ax.grid(False)
    ax.set_title(f"$t = {now:.2g}$, longest push {length.max():.1f}")
    if now > 0.6:
        figure.colorbar(shown, ax=ax, label="$p_t(y \\mid x)$", shrink=0.85)
figure

# %% [markdown]
r"""
*Shade: probability of the upper class, given the noisy point; dots: noisy data. Orange: the gradient of its
logarithm (arrows from length 2 on are drawn alike). With little noise it is a wall between classes; with
much it fades, and is nearly the same push everywhere.*

At $t = 1$ every answer is the share of the class, $\tfrac13$, whatever $x$; its gradient is 0. Guidance says
nothing at the noisy end, a little and to all alike soon after, and shouts, beyond the walls, at the end.

## 12.2 A classifier that has seen noise

The exact classifier is a luxury. A trained one is an ordinary classifier that gets $(x_t, t)$ as its input
and the label of $x_0$ as its target. Why does it approach (12.2)? Let it say $f(y \mid x_t)$. In the expected
loss take, at each $x_t$, the average over the labels, and add and subtract $\log p_t(y\mid x_t)$:

$$\mathbb E\big[-\log f(y \mid x_t)\big] = \mathbb E\big[-\log p_t(y\mid x_t)\big]
+ \mathbb E_{x_t}\Big[\mathrm{KL}\big(p_t(\cdot\mid x_t)\,\big\|\,f(\cdot\mid x_t)\big)\Big]. \tag{12.5}$$

The first term does not depend on $f$, and the divergence is never negative, and 0 only if $f = p_t$. So the
least loss is not zero: it is the doubt that noise leaves, and here we can compute it.

We train two, alike in everything but one thing. The first sees points at all noise levels. The second sees
**clean points only**, as any classifier from a shelf would have, and is asked about noisy ones later.
"""

# %%
field = torch.cartesian_prod(*[torch.linspace(-5, 5, 201, dtype=double)] * 2)
cell = (10 / 200) ** 2
joint = torch.stack(  # density of class and noisy point, from each class's own noised mixture
    [exact64.weights[k].sum() * exact64.only(k).noised(path, t).log_prob(field).exp() for k in classes], dim=1
)
f = torch.softmax(torch.stack([field[:, 0], field[:, 1] ** 2, field.sum(1).sin()], dim=1), dim=1)  # any
post = torch.stack([MixtureClassifier(exact64, path, k)(field, t) for k in classes], dim=1)
density = exact64.noised(path, t).log_prob(field).exp()
doubt = -(density * (post.exp() * post).sum(1)).sum() * cell
divergence = (density * (post.exp() * (post - f.log())).sum(1)).sum() * cell
verify("12.5", -(joint * f.log()).sum() * cell, doubt + divergence, rtol=1e-6)

there = everything.to(device)
points, component = there.sample_with_labels(20_000, seeded(8, device))
labels = component // 3


def trained(net, loss, steps, batch=256):
    """The running average of the weights after training."""
    config = TrainConfig(steps=steps, batch=batch, lr=4e-3, ema=0.99, warmup=50)
    state = TrainState(net.to(device), config)
    for _ in train(state, lambda net, batch, rng: loss(net, *batch, rng), (points, labels)):
        pass
    return state.ema.net.eval()


def noisy_loss(net, x0, y, rng):
    t = uniform_t(path, len(x0), rng)
    eps = torch.randn(x0.shape, generator=rng, device=device)
    return F.cross_entropy(net(path.add_noise(x0, eps, t), t), y)


def clean_loss(net, x0, y, rng):
    return F.cross_entropy(net(x0, torch.zeros(len(x0), device=device)), y)


torch.manual_seed(0)
noisy_net = trained(MLP(2, t_max=1.0, width=64, depth=2, out=3), noisy_loss, steps=350)
torch.manual_seed(0)
clean_net = trained(MLP(2, t_max=1.0, width=64, depth=2, out=3), clean_loss, steps=350)


def noisy_logs(x, t):
    return F.log_softmax(noisy_net(x, t.expand(len(x))), dim=1)


def clean_logs(x, t):  # it has no idea of t
    return F.log_softmax(clean_net(x, torch.zeros(len(x), device=x.device)), dim=1)


def exact_logs(x, t):
    return torch.stack([MixtureClassifier(there, path, k)(x, t) for k in classes], dim=1)


levels = torch.tensor([0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
marks = {"exact": [], "noisy": [], "clean": []}
for now in levels.to(device):
    x, k = there.noised(path, now).sample_with_labels(4000, seeded(9, device))
    for name, logs in zip(marks, (exact_logs, noisy_logs, clean_logs), strict=True):
        with torch.no_grad():
            said = logs(x, now)
        pushes = gradient(lambda x: logs(x, now)[:, 0], x)  # noqa: B023
        right = (said.argmax(1) == k // 3).float().mean()
        marks[name].append([F.nll_loss(said, k // 3).item(), right.item(), pushes.norm(dim=1).mean().item()])
marks = {name: torch.tensor(rows) for name, rows in marks.items()}  # cross-entropy, accuracy, gradient
worst = max((marks["exact"][:, 1] - marks[name][:, 1]).max().item() for name in ("noisy", "clean"))
at = 7  # t = 0.7
exact_row, noisy_row, clean_row = (marks[name][at] for name in marks)
print(f"accuracy of both within 0.03 of the exact classifier's, at every level: {worst < 0.03}")
print(f"cross-entropy at t = 0.7: exact {exact_row[0]:.1f}, trained on noisy points {noisy_row[0]:.1f};")
print(f"  trained on clean points: more than three times as much: {bool(clean_row[0] > 3 * exact_row[0])}")
print(f"  and its gradient is more than 20 times too long: {bool(clean_row[2] > 20 * exact_row[2])}")
assert worst < 0.03
assert (marks["noisy"][:, 0] - marks["exact"][:, 0]).max() < 0.05
assert clean_row[0] > 3 * exact_row[0]
assert clean_row[2] > 20 * exact_row[2]
assert 0.5 < noisy_row[2] / exact_row[2] < 2

# %% [markdown]
r"""
Read that twice. Measured by **accuracy**, the clean classifier is as good as the exact one at every noise
level. (Noise blurs our three classes without moving the borders, so its choice of the *likeliest* class
stays right.) But guidance never asks for the likeliest class. It asks for the gradient of a
*log-probability*, and there the clean classifier is wildly overconfident: it takes a point of pure noise
for a clean one, is sure of its class, and pushes with full force where the truth hardly pushes at all.
**Test a classifier for guidance by its cross-entropy and its gradient at each $t$, never by its accuracy.**
The general rule is that of chapter 4: whatever is learned for time $t$ is compared with the truth *at time
$t$*, not with the clean one.

### Into the sampler
With a scale $s$ (for now $s = 1$), the reverse SDE of the class is the one of the data, with (12.3) in it:

$$dx = \Big[\,f x - g^2\,\big(\nabla\log p_t(x) + s\,\nabla\log p_t(y\mid x)\big)\Big]\,dt
+ g\, d\bar w, \qquad dt < 0. \tag{12.6}$$

The push is weighted by $g^2$ like the score, and there is a $\nabla$ before the logarithm. In print that
$\nabla$ gets lost now and then. The code then runs, too: a log-probability of shape `(B, 1)` broadcasts over
the coordinates without a word. **Before you read on:** which way does every point drift then? (A
log-probability is negative.)

The whole of classifier guidance, in the form that any sampler takes, is (12.4):
"""


# %%
class Guided:
    """(12.4) with a scale: a denoiser made of a denoiser and a classifier of noisy points."""

    def __init__(self, denoiser, log_prob, s):
        self.denoiser, self.path, self.log_prob, self.s = denoiser, denoiser.path, log_prob, s

    def __call__(self, x_t, t):
        c = self.path(t).expand(x_t)
        push = gradient(lambda x: self.log_prob(x, t), x_t)
        return self.denoiser(x_t, t) + self.s * c.sigma**2 / c.alpha * push


class LostGradient(Guided):
    """The same with the gradient lost."""

    def __call__(self, x_t, t):
        c = self.path(t).expand(x_t)
        return self.denoiser(x_t, t) + self.s * c.sigma**2 / c.alpha * self.log_prob(x_t, t)[:, None]


s_next = torch.tensor(0.29, dtype=double)
x, z = torch.randn(2, 50, 2, generator=seeded(10), dtype=double)
ours, theirs = Guided(uncond64, classifier64, 3.0), ClassifierGuided(uncond64, classifier64, 3.0)
assert torch.equal(ours(x, t), theirs(x, t))

dt = s_next - t
guided_score = score(uncond64, x, t) + 3 * gradient(lambda x: classifier64(x, t), x)
drift = c.drift * x - c.diffusion_squared * guided_score
by_hand = x + drift * dt + (c.diffusion_squared * -dt).sqrt() * z
stepped, _ = EulerMaruyama().step(theirs, x, t, s_next, (), z)
verify("12.6", stepped, by_hand, over="coordinates")

base, first, grid = there.denoiser(path), start.to(device), times.to(device)
exact_there = MixtureClassifier(there, path, mine)


def judged_by(denoiser):
    return sample(denoiser, Heun(), first, grid).detach().cpu()


judged = {
    "noisy classifier, $s = 1$": judged_by(ClassifierGuided(base, lambda x, t: noisy_logs(x, t)[:, 0])),
    "clean classifier, $s = 1$": judged_by(ClassifierGuided(base, lambda x, t: clean_logs(x, t)[:, 0])),
    "gradient lost, $s = 0.1$": judged_by(LostGradient(base, exact_there, 0.1)),
}
runaway = judged_by(LostGradient(base, exact_there, 1.0))
gone = 1 - (runaway.abs().amax(1) < 10).float().mean().item()  # NaN counts as gone
fresh, bar = wanted.sample(n, seeded(11)), 0.01
by_chance = abs(energy_distance(wanted.sample(n, seeded(12)), fresh).value)
apart = [energy_distance(cloud, fresh).value for cloud in judged.values()]
print(f"energy distance to the class; its floor, two samples of it, is below {bar}: {by_chance < bar}")
print(f"  classifier trained on noisy points, s = 1: below {bar}: {apart[0] < bar}")
print(f"  classifier trained on clean points, s = 1: above {10 * bar:.1f}: {apart[1] > 10 * bar}")
print(f"  gradient lost, s only 0.1:                 above {50 * bar:.1f}: {apart[2] > 50 * bar}")
print(f"  gradient lost, s = 1: nine of ten points end beyond 10, or as NaN: {gone > 0.9}")
assert by_chance < bar
assert apart[0] < bar
assert apart[1] > 10 * bar
assert apart[2] > 50 * bar
assert gone > 0.9

# %%
figure, axes = panels(1, 4, width=13.4, height=3.6)
for name, color, style in (("exact", INK, "-"), ("noisy", DATA, "--"), ("clean", ORANGE, "-.")):
    axes[0].plot(levels, marks[name][:, 0], color=color, linestyle=style)
axes[0].text(0.42, 3.4, "trained on\nclean points", color=ORANGE, ha="right")
axes[0].text(0.97, 1.3, "trained on noisy points\n(blue); exact (black)", color=DATA, ha="right")
axes[0].set(xlabel="time $t$", ylabel="cross-entropy, nats", title="the classifiers", xlim=(0, 1))
axes[0].set_ylim(0, None)
for ax, (name, cloud), color in zip(axes[1:], judged.items(), (DATA, ORANGE, ORANGE), strict=True):
    ax.scatter(*background.T, s=2.5, color="#D5D5D5", linewidths=0)
    ax.scatter(*cloud.T, s=2.5, color=color, alpha=0.5, linewidths=0)
    square(ax, 3.0, ylabel="$x_2$" if "noisy" in name else "")
    ax.set_title(name)
figure

# %% [markdown]
r"""
*Left: the loss of the classifier that has seen noise lies on the least possible one; that of the one from
the shelf does not. Right: samples that should be the upper class. Only the first are. The shelf classifier
pushes too early and starves the middle clump. Without the gradient all points drift to the lower left, even
at $s = 0.1$; at $s = 1$ they leave for good.*

## 12.3 Louder than Bayes

At $s = 1$ the samples are the class, with its ambiguous members. For pictures that was not good enough.
Dhariwal and Nichol (2021, section 4.3) report that with $s = 1$ their classifier gave the wanted class
about 50 %, but to the eye the samples did not match it. Turning the push up mended this. What is
(12.6) with $s > 1$ after? At a fixed $t$, the bracket is the gradient of $\log\,[\,p_t(x)\,p_t(y\mid
x)^s\,]$. So, at $t = 0$, one points at the **tilted law**

$$\pi_s(x) = \frac{p(x)\,p(y\mid x)^s}{Z_s} \;\propto\; p(x\mid y)^{s}\; p(x)^{1-s}, \tag{12.7}$$

where the second form is (12.1), solved for $p(y\mid x)$. It rewards points whose class is beyond doubt. That
is panel four of the first picture. Keep the words "at a fixed $t$" in mind.

### Without a classifier
Solve (12.3) for the classifier's gradient: it is the *difference of two scores*. Ho and Salimans (2022) saw
that no classifier is needed, if one has the score with the label and the score without:

$$\nabla\log p_t(x) + s\,\nabla\log p_t(y\mid x)
= s\,\nabla\log p_t(x\mid y) + (1-s)\,\nabla\log p_t(x). \tag{12.8}$$

At fixed $x_t$ the noise is a fixed multiple of the score, and the guess of $x_0$ a multiple plus a constant.
The weights $s$ and $1-s$ add up to 1, so constants pass through, and one rule serves all three:

$$\varepsilon = s\,\varepsilon_c + (1-s)\,\varepsilon_u = (1+w)\,\varepsilon_c - w\,\varepsilon_u,
\qquad s = 1+w. \tag{12.9}$$
<!-- code 12.9: diffedu.guidance.ClassifierFree -->

### One letter, two meanings
(12.9) holds the most frequent slip of this subject. Both $s$ and $w$ are in use, often under one name.

| source | formula | the class as it is | our scale |
|---|---|---|---|
| this book, diffusers, GLIDE | $\varepsilon_u + s\,(\varepsilon_c - \varepsilon_u)$ | 1 | $s$ |
| Imagen (there called $w$) | $w\,\varepsilon_c + (1-w)\,\varepsilon_u$ | 1 | $w$ |
| Ho & Salimans 2022 | $(1+w)\,\varepsilon_c - w\,\varepsilon_u$ | **0** | $1 + w$ |
| classifier, unlabelled model | $\nabla\log p_t + s\,\nabla\log p_t(y\mid x)$ | 1 | $s$ |
| classifier, *labelled* model | $\nabla\log p_t(\cdot\mid y) + s\,\nabla\log p_t(y\mid x)$ | **0** | $1+s$ |

"0" means opposite things: here the label is ignored altogether, there it is taken at its word. A paper's
$w = 3$, typed into a `guidance_scale`, is weaker than what the paper did, and nothing crashes.
"""

# %%
x = exact64.noised(path, t).sample(300, seeded(13))
s = 3.0
one = s * wanted64.log_prob(x) + (1 - s) * exact64.log_prob(x)
two = exact64.log_prob(x) + s * classifier64(x, clean)
verify("12.7", one - one[0], two - two[0], over="points")  # proportional: equal up to one constant
left = score(uncond64, x, t) + s * gradient(lambda x: classifier64(x, t), x)
right = s * score(cond64, x, t) + (1 - s) * score(uncond64, x, t)
verify("12.8", left, right, rtol=1e-7, over="coordinates")


def classifier_free(eps_c, eps_u, s):
    """(12.9), all of it."""
    return eps_u + s * (eps_c - eps_u)


eps_c, eps_u, w = eps_hat(cond64, x, t), eps_hat(uncond64, x, t), s - 1
package = eps_hat(ClassifierFree(cond64, uncond64, s), x, t)
assert torch.allclose(classifier_free(eps_c, eps_u, s), package)
verify("12.9", -c.sigma * left, (1 + w) * eps_c - w * eps_u, rtol=1e-7, over="coordinates")
assert scale_from_weight(w) == s

middle_share = []
for name, scale in (("w = 3, so s = 4", scale_from_weight(3.0)), ("3 typed in as s", 3.0)):
    cloud = sample(guided(scale), Heun(), start, times)
    middle_share.append(wanted.responsibilities(cloud, at_zero, path)[:, 0].mean().item())
    print(f"{name:15s}: share of the middle clump {middle_share[-1]:.2f} (in the class: 0.40)")
assert middle_share[0] < 0.5 * middle_share[1]

# %% [markdown]
r"""
## 12.4 One network, dropped labels

(12.8) wants two denoisers. One network gives both: it takes the label as an input, and has one label more
than there are classes, meaning "no label". In training, each label is replaced by it with probability
$p_\text{drop}$. The loss remains that of chapter 7.

What does the network learn under "no label"? The answer of least squared error is the mean of $\varepsilon$
given $x_t$ alone (7.14); by the tower rule this is the mean of the labelled answers, weighted with the
exact classifier:

$$\varepsilon_u(x_t) = \sum_y p_t(y \mid x_t)\; \varepsilon_c(x_t, y). \tag{12.10}$$

(The label is hidden at random, without looking at $x_t$ or $y$, so what is seen under "no label" is the law
of all data. This is what would break if, say, only difficult labels were missing.)

**Before you read on.** What do you get with $p_\text{drop} = 0$? The row of the embedding for "no label"
exists, and holds random numbers.
"""

# %%
by_class = torch.stack([eps_hat(exact64.only(k).denoiser(path), x, t) for k in classes], dim=1)
shares = torch.stack([MixtureClassifier(exact64, path, k)(x, t).exp() for k in classes], dim=1)
verify("12.10", eps_u, torch.einsum("by,byd->bd", shares, by_class), over="coordinates")


def labelled_network(p_drop, steps):
    """One network for both answers, trained with labels that are dropped with probability p_drop."""

    def loss(net, x0, y, rng):
        seen = drop_labels(y, null=3, probability=p_drop, generator=rng)
        t = uniform_t(path, len(x0), rng)
        eps = torch.randn(x0.shape, generator=rng, device=device)
        return (net(path.add_noise(x0, eps, t), t, seen) - eps).square().mean()

    torch.manual_seed(0)
    net = trained(MLP(2, t_max=1.0, width=64, classes=3), loss, steps, batch=512)
    return NetworkDenoiser(net, path, EPS)


def miss(denoiser, exact, now):
    """Root mean square error of the predicted noise at a time, on noisy points of all data."""
    x = there.noised(path, now).sample(4000, seeded(14, device))
    with torch.no_grad():
        return (eps_hat(denoiser, x, now) - eps_hat(exact, x, now)).square().mean().sqrt().item()


def from_network(net, s):
    both = ClassifierFree(net.given(0), net.given(None), guidance_scale=s)
    with torch.no_grad():
        return sample(both, Heun(), first, grid).cpu()


nets = {0.0: labelled_network(0.0, steps=400), 0.15: labelled_network(0.15, steps=1000)}
for p, net in nets.items():
    gap = miss(net.given(None), base, 0.3)
    print(f"p_drop = {p:4.2f}: the answer without a label errs by less than 0.1 at t = 0.3: {gap < 0.1}")
    assert (gap < 0.1) == (p > 0)
learned = {
    "$p_{drop} = 0.15$, $s = 1$": (from_network(nets[0.15], 1.0), DATA),
    "$p_{drop} = 0.15$, $s = 4$": (from_network(nets[0.15], 4.0), GUIDED),
    "exact, $s = 4$": (strong, GUIDED),
    "$p_{drop} = 0$, $s = 4$": (from_network(nets[0.0], 4.0), ORANGE),
}
far = wanted.log_prob(wanted.sample(50_000, seeded(15))).quantile(0.01)  # 1 % of the class lies lower
wrecked = (wanted.log_prob(learned["$p_{drop} = 0$, $s = 4$"][0]) < far).float().mean().item()
middle = wanted.responsibilities(learned["$p_{drop} = 0.15$, $s = 4$"][0], at_zero, path)[:, 0].mean()
print(f"p_drop = 0.15, s = 4: less than a tenth of the samples in the middle clump: {bool(middle < 0.1)}")
assert middle < 0.1
print(f"p_drop = 0, s = 4: more than half of the samples lie where the class is not: {wrecked > 0.5}")
assert wrecked > 0.5

# %%
figure = show_clouds(learned)
figure

# %% [markdown]
r"""
*First two panels: one network, trained with dropped labels for seconds. At $s = 1$ it draws the class; at
$s = 4$ it empties the middle clump as the exact pair does (third panel), and its own errors, which (12.9)
amplifies, squeeze the rest to slivers. Last: labels were never dropped, the "unconditional" answer is noise.*

How large should $p_\text{drop}$ be? Ho and Salimans tried 0.1, 0.2 and 0.5, and the two small ones did
equally well and better than the third: a small part of the network's effort is enough for the answer
without a label. Look also at what $s$ does to errors: with $s = 4$ the network's error with the label
enters four times, the other three times with the opposite sign. Where both make the *same* error, one part
of it is left. That is one reason to use one network for both.

## 12.5 What guidance really samples

Back to the first picture. Bets on the table: steps or formula? Four times as many steps, first.
"""

# %%
reference = target.sample(n, seeded(16)).float()
patient = sample(guided(4.0), Heun(), start, uniform_half_log_snr_times(path, 96, end=1e-3))
by_chance = abs(energy_distance(target.sample(n, seeded(17)).float(), reference).value)
gaps = [energy_distance(cloud, reference).value for cloud in (strong, patient)]
for steps, gap in zip((24, 96), gaps, strict=True):
    print(f"{steps} steps: energy distance to the tilted law above 0.4: {gap > 0.4}")
print(f"the floor, two samples of the tilted law: below 0.01: {by_chance < 0.01}")
assert by_chance < 0.01
assert min(gaps) > 0.4
assert abs(gaps[0] - gaps[1]) < 0.03

# %% [markdown]
r"""
It is the formula. A sampler ends in $\pi_s$ if the field that it follows is at each $t$ the score of
$\pi_s$ **with noise added** (chapter 10). Compute that score. The density of the noisy points of $\pi_s$ is
$\int q(x \mid x_0)\,p(x_0)\,p(y\mid x_0)^s\,dx_0 / Z_s$. The factor $q\,p$ is $p_t(x)$ times the posterior
of $x_0$, so the integral is $p_t(x)\;\mathbb E[\,p(y\mid x_0)^s \mid x_t = x\,]$, and

$$\nabla\log \pi_{s,t}(x) = \nabla\log p_t(x)
+ \nabla\log \mathbb E\big[\,p(y\mid x_0)^s\,\big|\,x_t = x\big]. \tag{12.11}$$
<!-- code 12.11: diffedu.core.oracle.GridDenoiser -->

The guided score (12.8) has in the same place, by (12.2), $s\,\nabla\log p_t(y\mid x) = \nabla\log\,
\mathbb E[\,p(y\mid x_0) \mid x_t = x\,]^s$. **The power of the mean, where the mean of the power belongs.**
The difference of the two fields is

$$\nabla\log\pi_{s,t} - \big(s\,\nabla\log p_t(\cdot\mid y) + (1-s)\,\nabla\log p_t\big)
= \nabla\log\frac{\mathbb E[\,p(y\mid x_0)^s \mid x_t\,]}{\mathbb E[\,p(y\mid x_0)\mid x_t\,]^{\,s}}.
\tag{12.12}$$

Where does it vanish? For $s = 0$ and $s = 1$, since the fraction is 1. For $t = 0$, since the posterior is
a point, and mean and power may be exchanged. At the noisy end it fades, since neither mean depends on $x_t$
any more. In between it does not vanish in general: this is why "at a fixed $t$" had to be kept in mind. At
each $t$ the guided field is the score of *some* density, $\propto p_t(x)\,p_t(y\mid x)^s$. But these
densities are not noised versions of each other.

The case that makes it plain: **classes that do not overlap.** Then $p(y\mid x_0)$ is 0 or 1, each is its
own $s$-th power, and $\pi_s = p(\cdot\mid y)$ for *every* $s > 0$. Turning up $s$ should change nothing at
all. But *noisy* points of different classes overlap, $p_t(y\mid x_t)$ lies between 0 and 1, and for $s > 1$
its $s$-th power is smaller. Guidance punishes a point for what it looked like while it was noisy. Our
middle clump is nearly such a case: clean, it is hardly ambiguous; half-way up the noise it stands among the
other classes.
"""

# %%
x = exact64.noised(path, t).sample(40, seeded(18))
s, log_label = 4.0, classifier64(lattice, clean)


def log_mean_of_powers(x, s):
    """log E[p(y | x0)^s | x_t = x], over the clean points of the lattice."""
    bells = -0.5 * ((x[:, None] - c.alpha * lattice) / c.sigma).square().sum(2)
    return torch.logsumexp(bells + log_all + s * log_label, 1) - torch.logsumexp(bells + log_all, 1)


noised_tilt = score(target, x, t)
other_route = score(uncond64, x, t) + gradient(lambda x: log_mean_of_powers(x, s), x)
verify("12.11", noised_tilt, other_route, rtol=1e-6, over="coordinates")
ratio = gradient(lambda x: log_mean_of_powers(x, s) - s * log_mean_of_powers(x, 1.0), x)
difference = noised_tilt - score(ClassifierFree(cond64, uncond64, s), x, t)
verify("12.12", difference, ratio, rtol=1e-6, over="coordinates")
for where, now in {"clean": 0.0, "at t = 0.3": 0.3}.items():
    middle = exact64.only([0]).noised(path, now).sample(4000, seeded(19))
    sure = classifier64(middle, torch.tensor(now, dtype=double)).exp().mean()
    print(f"middle clump, {where:10s}: probability of its own class, on average {sure:.2f}")

# %% [markdown]
r"""
### In one dimension, in closed form
A difference of fields is one thing, a difference of laws another: errors might cancel along the way. So take
a case in which everything can be solved. On a line,

$$p(x) = \mathcal N(0,\,V), \qquad p(x\mid y) = \mathcal N(m,\,c), \qquad 0 < c < V, \qquad \rho = c/V.
\tag{12.13}$$
<!-- definition 12.13: the Gaussian pair; V, c are variances, rho their ratio -->

(For instance, $x$ is measured with noise, the label is the reading, and $m$, $c$ are mean and variance of
what one then knows.) The tilted law is $\propto$ the product of the Gaussians to the powers $s$ and $1-s$.
In the exponent precisions (one over variance) add with these weights, and so do precisions times means.
Hence $1/\text{var} = s/c + (1-s)/V$, and

$$\pi_s:\qquad \text{var} = \frac{c}{s + (1-s)\rho}, \qquad \text{mean} = \frac{s\,m}{s + (1-s)\rho}.
\tag{12.14}$$

Now the ODE of the sampler. From here to the end of section 12.6 let $y = x_t/\alpha$, as in chapter 11 (the
label is a $y$ only behind a bar). With $\tau = \sigma/\alpha$ all paths have the same ODE
(section 9.6: only $\tau$ matters), $dy/d\tau = (y - \hat x_0)/\tau = -\tau\cdot$score, the score being
that of $y$. The noisy laws are Gaussians with variances $V + \tau^2$ and $c + \tau^2$, so with (12.8)

$$\frac{dy}{d\tau} = \tau\left[\,\frac{s\,(y - m)}{c + \tau^2} + \frac{(1-s)\,y}{V + \tau^2}\,\right].
\tag{12.15}$$

It is linear in $y$: two solutions differ by a multiple of a solution $\Phi$ with $m = 0$, whose logarithm
has the derivative $s\tau/(c+\tau^2) + (1-s)\tau/(V+\tau^2)$. Integrate: $\Phi(\tau) =
(c+\tau^2)^{s/2}\,(V+\tau^2)^{(1-s)/2}$. Sampling starts at $\tau = T$ with variance $T^2$ and ends at 0, so
the variance is multiplied by $\Phi(0)^2/\Phi(T)^2$:

$$\text{var} = c^{\,s}\,V^{1-s}\;\frac{T^2}{(c+T^2)^s\,(V+T^2)^{1-s}}
\;\xrightarrow[\;T\to\infty\;]{}\; c^{\,s}\,V^{1-s} = V\rho^{\,s}. \tag{12.16}$$

**The tilted law has the weighted harmonic mean of the variances, guidance has the weighted geometric
mean.** Equal at $s=0$ and $s=1$, and nowhere else: as functions of $s$, the logarithm of (12.16) is a
straight line, and $-\log\,(s/c + (1-s)/V)$, that of (12.14), is strictly convex and meets it in these two
points. So for $0<s<1$ guidance is too wide, and for $s > 1$ too narrow, and exponentially so: $\rho^s$
against roughly $1/s$.

For the mean, vary the constant: $\text{mean} = \Phi(0)\int_0^\infty
\frac{s\,m\,\tau}{c+\tau^2}\,\frac{d\tau}{\Phi(\tau)}$ for $T\to\infty$. Substitute $u^2 = (V-c)/(V+\tau^2)$,
which runs from $u_0 = \sqrt{1-\rho}$ (at $\tau=0$) down to 0; then $c + \tau^2 = (1-u^2)(V+\tau^2)$, the
powers of $V + \tau^2$ cancel against those in $d\tau$, and

$$\text{mean} = m\;\frac{s\,\rho^{s/2}}{u_0}\int_0^{u_0} (1-u^2)^{-1-s/2}\,du. \tag{12.17}$$

(At $s = 1$ the integral is $u_0/\sqrt{1-u_0^2} = u_0/\sqrt\rho$, and the mean is $m$, as it must be. For a
finite $T$ the integral starts at $\sqrt{(V-c)/(V+T^2)}$ in place of 0.)
"""

# %%
V, m, v_c = 1.0, 1.0, 0.25
rho, u0 = v_c / V, math.sqrt(1 - v_c / V)
edm = EDM()  # x_t = x0 + t eps: here t is tau


def number(value):
    return torch.tensor(value, dtype=double)


everyone = GaussianMixture.single(number([0.0]), number([[V]])).denoiser(edm)
chosen = GaussianMixture.single(number([m]), number([[v_c]])).denoiser(edm)
scales = number([0.0, 0.5, 1.0, 2.0, 4.0, 7.0])


def tilted_law(s):
    """Mean and variance, (12.14)."""
    return s * m / (s + (1 - s) * rho), v_c / (s + (1 - s) * rho)


def ode_law(s, u_start=0.0):
    """Mean and variance of the guided ODE's end, (12.17) and (12.16)."""
    u = torch.linspace(u_start, u0, 4001, dtype=double)
    integral = torch.trapezoid((1 - u**2) ** (-1 - s / 2), u).item()
    return m * s * rho ** (s / 2) / u0 * integral, V * rho**s


axis = torch.linspace(-12, 12, 24_001, dtype=double)
by_sums = []
for s in scales:
    weight = torch.softmax(-s * (axis - m) ** 2 / (2 * v_c) - (1 - s) * axis**2 / (2 * V), dim=0)
    mean = (weight * axis).sum()
    by_sums.append([mean, (weight * (axis - mean) ** 2).sum()])
verify("12.14", by_sums, [tilted_law(s) for s in scales.tolist()], over="moments")

y, tau, s = torch.randn(50, 1, generator=seeded(20), dtype=double), number(0.7), 3.0
slope = tau * (s * (y - m) / (v_c + tau**2) + (1 - s) * y / (V + tau**2))
verify("12.15", velocity(ClassifierFree(chosen, everyone, s), y, tau), slope, over="points")

T = edm.t_max
dense = karras_times(edm, 700, end=0.0, dtype=double)
column = scales.repeat(2)[:, None]  # one scale for each row of the batch
two_points = number([0.0, T]).repeat_interleave(len(scales))[:, None]  # two points fix an affine map
ends = sample(ClassifierFree(chosen, everyone, column), Heun(), two_points, dense)
low, high = ends.reshape(2, -1)
finite = v_c**scales * V ** (1 - scales) * T**2 / ((v_c + T**2) ** scales * (V + T**2) ** (1 - scales))
verify("12.16", (high - low) ** 2, finite, rtol=1e-4, over="variances")
assert torch.allclose(finite, V * rho**scales, rtol=2e-3)  # T = 80 is nearly infinite
u_T = math.sqrt((V - v_c) / (V + T**2))
verify("12.17", low, number([ode_law(s, u_T)[0] for s in scales.tolist()]), rtol=1e-4, over="means")

# %% [markdown]
r"""
(The left sides of (12.16) and (12.17) are the book's sampler, run from two points at
$T = 80$. The tolerance $10^{-4}$ is Heun's error with 700 steps.)

### The SDE has yet another law
For an honest family of scores, ODE and SDE end in the same law (chapter 10). The proof needs that the field
at $t$ is the score of the law *at* $t$. The guided field is not, so there is no reason for them to agree.
In $y$ the SDE has twice the ODE's drift and noise of variance $2\tau\,d\tau$, so the homogeneous solution is
$\Phi^2$. Noise that enters at $\tau$ arrives multiplied by $\Phi(0)^2/\Phi(\tau)^2$, and the variance is
$\int_0^\infty 2\tau\,\Phi(0)^4/\Phi(\tau)^4\,d\tau$. With the substitution $r = (c+\tau^2)/(V+\tau^2)$,
where $2\tau\,d\tau/(V+\tau^2)^2 = dr/(V-c)$, the integrals are of powers of $r$, from $\rho$ to 1:

$$\text{SDE:}\qquad \text{var} = \frac{c\,(1-\rho^{\,2s-1})}{(2s-1)(1-\rho)}, \qquad
\text{mean} = m\,\frac{1-\rho^{\,s}}{1-\rho}. \tag{12.18}$$

At $s=1$ the three laws agree, $m$ and $c$. For large $s$ all three means tend to $m/(1-\rho)$: beyond the
class mean $m$, an **overshoot** that belongs to the tilt itself. (It is the reading itself: what it alone
would suggest, with the prior taken out.) The ODE gets there from the far side: it overshoots even that point,
and comes back slowly. The variances go three ways: about $c/(s(1-\rho))$, half of it, and $V\rho^s$.
"""


# %%
def sde_law(s):
    """Mean and variance of the guided SDE's end, (12.18); s = 1/2 is a limit."""
    q = 2 * s - 1
    spread = -math.log(rho) if abs(q) < 1e-9 else (1 - rho**q) / q
    return m * (1 - rho**s) / (1 - rho), v_c * spread / (1 - rho)


log_tau = torch.linspace(-12, 12, 40_001, dtype=double)
tau = log_tau.exp()
by_quadrature = []
for s in (0.0, 1.0, 2.0, 4.0):
    shrunk = (v_c / (v_c + tau**2)) ** s * (V / (V + tau**2)) ** (1 - s)  # Phi(0)^2 / Phi(tau)^2
    mean = torch.trapezoid(2 * tau * shrunk * s * m / (v_c + tau**2) * tau, log_tau)
    by_quadrature.append([mean, torch.trapezoid(2 * tau * shrunk**2 * tau, log_tau)])
verify("12.18", by_quadrature, [sde_law(s) for s in (0.0, 1.0, 2.0, 4.0)], rtol=1e-6, over="moments")

marks_s = number([0.5, 1.0, 2.0, 4.0, 6.0])
coarse = karras_times(edm, 200, end=0.0, dtype=double)
start_1d = T * torch.randn(4000, 1, generator=seeded(21), dtype=double).repeat(5, 1)
both = ClassifierFree(chosen, everyone, marks_s.repeat_interleave(4000)[:, None])
seen_ode = sample(both, Heun(), start_1d, coarse[::2]).reshape(5, 4000)
seen_sde = sample(both, EulerMaruyama(), start_1d, coarse, generator=seeded(22)).reshape(5, 4000)
for law, seen in ((ode_law, seen_ode), (sde_law, seen_sde)):
    for s, x in zip(marks_s.tolist(), seen, strict=True):
        assert abs(x.mean() - law(s)[0]) < 0.05
        assert abs(x.std() / math.sqrt(law(s)[1]) - 1) < 0.07
assert ode_law(4.0)[0] > 1.1 * m / (1 - rho)  # beyond the limit, and for very large s back to it:
assert all(abs(law(100.0)[0] * (1 - rho) / m - 1) < 0.02 for law in (tilted_law, sde_law, ode_law))
print("s = 4         standard deviation    mean")
for name, law in {"tilted law": tilted_law, "guided SDE": sde_law, "guided ODE": ode_law}.items():
    print(f"  {name}         {math.sqrt(law(4.0)[1]):.2f}        {law(4.0)[0]:.2f}")

# %%
many = [k / 20 for k in range(141)]
laws = {"tilted": (tilted_law, DATA, "-"), "SDE": (sde_law, VELOCITY, "--"), "ODE": (ode_law, GUIDED, "-.")}
figure, (left, middle, right) = panels(1, 3, width=13, height=3.9)
x = torch.linspace(-0.5, 2.6, 600)


def bell(mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


for law, color, style in laws.values():
    left.plot(many, [math.sqrt(law(s)[1]) for s in many], color=color, linestyle=style)
    middle.plot(many, [law(s)[0] for s in many], color=color, linestyle=style)
    right.plot(x, bell(*law(4.0)), color=color, linestyle=style)
for seen, color in ((seen_ode, GUIDED), (seen_sde, VELOCITY)):
    left.plot(marks_s, seen.std(1), "o", color=color, markersize=5)
    middle.plot(marks_s, seen.mean(1), "o", color=color, markersize=5)
left.set(yscale="log", xlabel="guidance scale $s$", ylabel="standard deviation", title="width of the law")
left.text(5.6, 0.28, "tilted", color=DATA)
left.text(5.9, 0.115, "SDE", color=VELOCITY)
left.text(3.7, 0.018, "ODE", color=GUIDED)
middle.axhline(m / (1 - rho), color=NOISE, linewidth=1)
middle.text(0.05, m / (1 - rho) + 0.03, "$m/(1-\\rho)$", color=INK)
middle.axhline(m, color=NOISE, linewidth=1)
middle.text(4.6, m - 0.09, "class mean $m$", color=INK)
middle.set(xlabel="guidance scale $s$", ylabel="mean", title="place of the law", ylim=(0, 1.65))
right.fill_between(x, 0, bell(m, v_c), color="#D9D9D9", linewidth=0)
right.text(0.0, 0.95, "the class", color="#666666")
right.text(1.6, 5.6, "ODE", color=GUIDED)
right.text(0.9, 1.45, "tilted", color=DATA, ha="right")
right.text(1.1, 1.95, "SDE", color=VELOCITY, ha="right")
right.set(xlabel="$x$", ylabel="density", title="at $s = 4$")
right.set_ylim(0, None)
figure

# %% [markdown]
r"""
*Lines: (12.14) and (12.16) to (12.18). Dots: the book's samplers with the exact denoisers. The three laws
meet at $s = 1$ and part. At $s = 4$ the ODE has about a quarter of the tilted law's width.*

### How wrong is the field, and when?
Measure (12.12) in units of noise: the mean square of $\varepsilon_\text{guided} - \varepsilon_{\pi}$ over the
noised tilted law,

$$D_s(t) = \mathbb E_{x\sim\pi_{s,t}}\,\big\lVert
\sigma\,(\nabla\log\pi_{s,t}(x) - \text{guided score}(x))\big\rVert^2. \tag{12.19}$$

For the pair both scores are lines, so their difference is a line $a x + b$, and the mean of its square is
$(a\mu + b)^2 + a^2\,\text{var}$, with mean $\mu$ and variance of the noised tilted law. In the plane it is
an average over samples. Both below.
"""


# %%
def discrepancy_1d(s, tau):
    """D_s at noise level tau of the Gaussian pair, closed form."""
    mean, variance = tilted_law(s)
    wide = variance + tau**2
    a = -1 / wide + s / (v_c + tau**2) + (1 - s) / (V + tau**2)
    b = mean / wide - s * m / (v_c + tau**2)
    return tau**2 * ((a * mean + b) ** 2 + a**2 * wide)


def discrepancy_2d(s, t):
    law = tilted(s)
    x0 = law.sample(1000, seeded(23))
    x = path.add_noise(x0, torch.randn(x0.shape, generator=seeded(24), dtype=double), t)
    off = eps_hat(law, x, t) - eps_hat(ClassifierFree(cond64, uncond64, s), x, t)
    return off.square().sum(1).mean().item()


mean, variance = tilted_law(3.0)
tau = number(0.6)
z = mean + math.sqrt(variance + 0.36) * torch.randn(20_000, 1, generator=seeded(25), dtype=double)
off = tau * (z - mean) / (variance + tau**2) - eps_hat(ClassifierFree(chosen, everyone, 3.0), z, tau)
verify_mean("12.19", off[:, 0] ** 2, discrepancy_1d(3.0, tau))

ts = number([0.012, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0])
in_plane = {s: torch.tensor([discrepancy_2d(s, t) for t in ts]) for s in (0.0, 0.5, 1.0, 2.0, 4.0)}
assert in_plane[0.0].max() < 1e-9
assert in_plane[1.0].max() < 1e-9
assert all(in_plane[s][[0, -1]].max() < 0.1 * in_plane[s].max() for s in (0.5, 2.0, 4.0))
peak = path(ts[in_plane[4.0].argmax()])
print("s = 0 and s = 1: below 1e-9 at every t")
print(f"s = 4: largest where the noise is {peak.sigma / peak.alpha:.1f} times as large as the signal's scale")

# %%
figure, (left, right) = panels(1, 2, width=12, height=3.8)
taus = torch.logspace(-2, 1.6, 120, dtype=double)
in_plane_at = path(ts).sigma / path(ts).alpha
for s, color, style in ((0.5, "#666666", ":"), (2.0, EXTRA, "--"), (4.0, GUIDED, "-")):
    for ax, at_, curve, mark in (
        (left, taus, discrepancy_1d(s, taus), ""),
        (right, in_plane_at, in_plane[s], "o"),
    ):
        ax.plot(at_, curve, color=color, linestyle=style, marker=mark, markersize=4)
        k = curve.argmax()
        ax.text(at_[k], curve[k] * (0.3 if s < 1 else 1.4), f"$s = {s:g}$", color=color, ha="center")
for ax, title in ((left, "the Gaussian pair, closed form"), (right, "three classes in the plane")):
    ax.set(xscale="log", yscale="log", xlabel=r"noise level $\sigma/\alpha$", ylabel="$D_s$", title=title)
    ax.set_xlim(1e-2, 60)
left.set_ylim(1e-7, 20)
right.set_ylim(1e-6, 60)
figure

# %% [markdown]
r"""
*The guided field against the score of the noised tilted law. At both ends of time it is right; in the
middle, where noisy classes overlap, it is wrong, the more so the further $s$ is from 0 and 1. ($s = 0$ and
$s = 1$ are exactly right and lie below the picture.)*

### What would be right
Three ways lead to $\pi_s$. All cost more than guidance.

*The exact tilted denoiser.* In the plane it can be had by quadrature (`GridDenoiser`), and the unchanged
sampler then ends in $\pi_s$. For pictures $\mathbb E[p(y\mid x_0)^s\mid x_t]$ is out of reach.

*Langevin at the end.* At $t = 0$ the guided score *is* the score of $\pi_s$. So start with guided samples
and walk there, with ULA or MALA of chapter 2. In the plane this is quick; in a million dimensions walkers
do not cross between clumps.

*Particles with weights.* Run many, and reweight on the way (sequential Monte Carlo). The mini-project.

In between lies a reading of what the SDE does. Split its drift in $y$, twice the score times $\tau$, into
the part of the *conditional* ODE and the rest, which is Langevin's:

$$2\,G_s = \nabla\log p_t(\cdot\mid y) + G_{2s-1},
\qquad G_s = s\,\nabla\log p_t(\cdot\mid y) + (1-s)\,\nabla\log p_t. \tag{12.20}$$

(Count: $2s = 1 + (2s-1)$, and $2(1-s) = 1 - (2s-1)$.) So the guided SDE is a *predictor* that follows the
plain conditional ODE, and a *corrector* that makes a Langevin step towards
$p_t(x)\,p_t(y\mid x)^{2s-1}$ at each level (Bradley and Nakkiran 2024). It never stays long enough to get
there; but it does correct, and here it ends nearer to $\pi_s$ than the ODE does.
"""

# %%
x = exact64.noised(path, t).sample(100, seeded(26))
twice = 2 * score(ClassifierFree(cond64, uncond64, 4.0), x, t)
split = score(cond64, x, t) + score(ClassifierGuided(uncond64, classifier64, 7.0), x, t)
verify("12.20", twice, split, rtol=1e-7, over="coordinates")

s = 4.0
walk = MALA(
    lambda x: s * wanted.log_prob(x) + (1 - s) * everything.log_prob(x),
    lambda x: s * wanted.score(x) + (1 - s) * everything.score(x),
    step_size=0.08,
)
many_steps = uniform_half_log_snr_times(path, 80, end=1e-3)
few_steps = uniform_half_log_snr_times(path, 14, end=0.004, dtype=double)
ways = {
    "guided ODE": (strong, GUIDED),
    "guided SDE": (sample(guided(s), EulerMaruyama(), start, many_steps, generator=seeded(27)), VELOCITY),
    "exact tilted denoiser": (sample(target, Heun(), start.double(), few_steps).float(), DATA),
    "guided ODE, then MALA": (walk.sample(strong, 150, generator=seeded(28)), DATA),
}
apart = {name: energy_distance(cloud, reference).value for name, (cloud, _) in ways.items()}
for name, gap in apart.items():
    shown = "below 0.01, as the floor" if gap < 0.01 else f"{gap:.1f}"
    print(f"{name:23s} energy distance to the tilted law, s = 4: {shown}")
assert apart["guided ODE"] > 0.4
assert 0.06 < apart["guided SDE"] < 0.14
assert max(apart["exact tilted denoiser"], apart["guided ODE, then MALA"]) < 0.01

# %%
figure = show_clouds(ways)
figure

# %% [markdown]
r"""
*Strength 4, four ways. The guided ODE lost the middle clump; the SDE kept some of it; the exact tilted
denoiser and a walk at $t = 0$ (150 steps of MALA) give the tilted law, by the numbers above to the floor.*

So the bet is settled. **Guidance is not approximate sampling of $p(x)\,p(y\mid x)^s$. It is exact sampling
of something else,** and people like that something: it is clean, typical and certain. One should only not
attach to $s$ a meaning it does not have.

## 12.6 Temperature is another knob

Physicists sharpen a law by its temperature: $p^\gamma$, with $\gamma$ one over the temperature. On a fixed
density this is done by Langevin (chapter 2): its score is $\gamma\nabla\log p$. The obvious transfer
multiplies the *noisy* score by $\gamma$ at all $t$ (`Sharpened`). **Before you read on:** by the lesson of
the last section, is $\gamma\nabla\log p_t$ the score of the noised $p^\gamma$? For $p = \mathcal N(0, v)$,
what should the variance be, and what will it be?

It should be $v/\gamma$, since precisions are multiplied. The ODE is (12.15) with one term, and $\Phi =
(v+\tau^2)^{\gamma/2}$:

$$\text{var} = \frac{\Phi(0)^2}{\Phi(T)^2}\,T^2 = \frac{v^{\gamma}\,T^2}{(v+T^2)^{\gamma}}
\;\approx\; v^\gamma\, T^{\,2-2\gamma}. \tag{12.21}$$

That is worse than wrong: for $\gamma \ne 1$ it depends on **where sampling starts**, a number without
meaning for the data, and goes to 0 or to infinity with it. At the noisy end the scaled score keeps pulling.
What guidance does right is that its weights $s$ and $1-s$ add up to 1, so that far out its pull is the
usual one, and the powers of $T$ in (12.16) cancel.
"""

# %%
v, gamma = 0.5, 2.0
round_data = GaussianMixture.single(number([0.0]), number([[v]])).denoiser(edm)
ends = []
for T_start in (5.0, 20.0, 80.0):
    grid = karras_times(edm, 500, start=T_start, end=0.0, dtype=double)
    a, b = sample(Sharpened(round_data, gamma), Heun(), number([[0.0], [T_start]]), grid)[:, 0]
    ends.append((b - a) ** 2)
starts = number([5.0, 20.0, 80.0])
verify(
    "12.21",
    torch.stack(ends),
    v**gamma * starts**2 / (v + starts**2) ** gamma,
    rtol=1e-3,
    over="variances (Heun)",
)
print(f"p^2 has the variance {v / gamma}; the scaled score ends, from T = 5, 20 and 80, at", end=" ")
print(", ".join(f"{end:.1g}" for end in ends))

# %% [markdown]
r"""
### Temperature by accident
There is a place where temperature enters uninvited. Langevin needs $\nabla\log p$. In Bayesian learning $p$
is a posterior over parameters $\theta$ given $N$ data points, and its gradient is a sum over all of them.
Welling and Teh (2011) took a *minibatch* of $n$, scaled by $N/n$, and added the Langevin noise as before:
stochastic gradient Langevin dynamics. For the mean $\theta$ of points $x_i$ with unit noise (and a flat
prior), with $h$ our step (their $\epsilon$ is our $2h$),

$$\theta \leftarrow \theta + h\,\frac Nn\sum_{i\in\text{batch}} (x_i - \theta) + \sqrt{2h}\;z. \tag{12.22}$$
<!-- definition 12.22: stochastic gradient Langevin dynamics, for a Gaussian mean -->

The right answer is $\mathcal N(\bar x, 1/N)$. What comes out? A batch drawn with replacement estimates the
gradient $N(\bar x-\theta)$ without bias and with variance $N^2S^2/n$, where $S^2$ is the variance of the
data. Demand that the variance of $\theta$ reproduces itself: $\text{var} = (1-hN)^2\,\text{var} +
h^2N^2S^2/n + 2h$. Solve:

$$\text{var} = \frac1N\cdot\frac{\Theta}{1 - hN/2}, \qquad
\Theta = 1 + \frac{h\,N^2 S^2}{2n}. \tag{12.23}$$

The denominator is the usual error of finite steps (chapter 2). The numerator $\Theta$ is a **temperature**:
minibatch noise heats. It grows with the step size and falls with the batch, and vanishes only as $h\to 0$,
which is why Welling and Teh let $h$ decay.
"""

# %%
N, batch, chains = 100, 10, 4000
data_1d = torch.randn(N, generator=seeded(28), dtype=double)
S2 = data_1d.var(correction=0).item()


def sgld(h, steps, rng):
    """Independent chains of (12.22) after some steps."""
    theta = data_1d.mean() + torch.zeros(chains, dtype=double)
    for _ in range(steps):
        picked = data_1d[torch.randint(N, (chains, batch), generator=rng)]
        slope = N / batch * (picked - theta[:, None]).sum(1)
        theta = theta + h * slope + math.sqrt(2 * h) * torch.randn(chains, generator=rng, dtype=double)
    return theta


def stationary(h):
    return (1 + h * N**2 * S2 / (2 * batch)) / (1 - h * N / 2) / N


h = 0.002
verify_mean("12.23", (sgld(h, 60, seeded(29)) - data_1d.mean()) ** 2, stationary(h))
all_data = ULA(lambda x: N * (data_1d.mean() - x), step_size=h)
plain = all_data.sample(data_1d.mean() + torch.zeros(chains, 1, dtype=double), 60, generator=seeded(30))
print(f"h = {h}: temperature with batches of {batch}: {1 + h * N**2 * S2 / (2 * batch):.1f}")
ratio = (sgld(h, 60, seeded(31)).var() / plain.var()).item()
print(f"variance with minibatches over variance with the full gradient: {ratio:.1f}")
assert abs(ratio / (1 + h * N**2 * S2 / (2 * batch)) - 1) < 0.12

# %%
figure, (left, right_) = panels(1, 2, width=12, height=3.7)
gammas = torch.linspace(0.6, 3, 100, dtype=double)
left.plot(gammas, v / gammas, color=DATA)
for T_start, style in ((5.0, "--"), (80.0, "-.")):
    left.plot(gammas, v**gammas * T_start**2 / (v + T_start**2) ** gammas, color=GUIDED, linestyle=style)
left.text(2.1, 0.34, "$p^\\gamma$: $v/\\gamma$", color=DATA)
left.text(2.3, 1.3e-2, "ODE from $T = 5$", color=GUIDED)
left.text(1.1, 2e-5, "ODE from $T = 80$", color=GUIDED)
left.plot([2.0, 2.0], [ends[0], ends[2]], "o", color=GUIDED, markersize=6)
left.set(
    yscale="log", xlabel=r"$\gamma$, one over temperature", ylabel="variance", title="score times $\\gamma$"
)
steps_h = [2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3]
measured = [sgld(h, max(40, int(0.4 / h / 10)), seeded(32)).var().item() * N for h in steps_h]
assert abs(measured[-1] / (N * stationary(steps_h[-1])) - 1) < 0.1  # without 1 - h N / 2: 0.25
hs = torch.logspace(-4, -2.2, 60, dtype=double)
right_.plot(hs, N * stationary(hs), color=ORANGE)
right_.plot(hs, 1 / (1 - hs * N / 2), color=NOISE, linestyle="--")
right_.plot(steps_h, measured, "o", color=ORANGE)
right_.axhline(1, color=INK, linewidth=1)
right_.text(1.1e-3, 2.6, "minibatches of 10", color=ORANGE, ha="right")
right_.text(5e-3, 1.75, "all data", color="#666666", ha="right")
right_.set(
    xscale="log",
    xlabel="step size $h$",
    ylabel="variance, in units of $1/N$",
    title="noise of minibatches heats",
)
figure

# %% [markdown]
r"""
*Left: a scaled score follows no $p^\gamma$; its variance depends on the start $T$ (dots: the sampler).
Right: SGLD's variance, (12.23) and measured (dots); the full gradient (dashed) has the error of finite
steps alone.*

## 12.7 Where it hurts, and what helps

Why then do people turn $s$ up? Because a network's conditional answer is not exact: it is too wide, it
leaks mass between modes, and guidance squeezes that leak shut. The price can be read off from three
measures: *accuracy*, the share of samples whose class is (by the exact classifier) the wanted one;
*variety*, the effective number of clumps, from the shares $r_j$ of the samples in each,

$$\text{clumps} = \exp\Big(-\sum_j r_j \log r_j\Big); \tag{12.24}$$

and *overshoot*, the share of samples where the class is not: at a density of the class below which only 1 %
of it lies.

**Interval guidance** (Kynkäänniemi et al. 2024) guides only for $t$ between two bounds. We know enough to
guess the bounds. Near $t=0$ the push does little (the class is decided), so it can be saved. Where the
noise is as large as the signal, (12.19) is largest, and the push empties the clump; what it does there, and
above, has to be given up. What is left is a band at rather low noise. Outside it the conditional denoiser
works alone, one evaluation instead of two, so for the same number of evaluations there are more steps.
"""


# %%
def effective_number(share):
    """(12.24), for shares that add up to 1."""
    share = share.clamp(min=1e-12)  # 0 log 0 = 0
    return (-(share * share.log()).sum()).exp()


def measures(x):
    """Accuracy, effective number of clumps, share outside."""
    likely = is_mine(x, at_zero).exp() > 0.5
    clumps = effective_number(wanted.responsibilities(x, at_zero, path).mean(0))
    outside = wanted.log_prob(x) < far
    return likely.float().mean().item(), clumps.item(), outside.float().mean().item()


halves = number([0.5, 0.5, 0.0])  # two equal shares, one empty clump
uneven = number([0.9, 0.07, 0.03])
by_torch = torch.distributions.Categorical(uneven).entropy().exp()
verify("12.24", [effective_number(halves), effective_number(uneven)], [2.0, by_torch])


class Counted:
    """A denoiser that counts how often it is asked."""

    def __init__(self, denoiser):
        self.denoiser, self.path, self.calls = denoiser, denoiser.path, 0

    def __call__(self, x_t, t):
        self.calls += 1
        return self.denoiser(x_t, t)


def in_interval(s, low, high, steps):
    """Samples guided for low <= t <= high, and the number of network evaluations."""
    a, b = Counted(conditional), Counted(unconditional)
    switched = Between(ClassifierFree(a, b, s), a, low=low, high=high)
    x = sample(switched, Heun(), start, uniform_half_log_snr_times(path, steps, end=1e-3))
    return x, a.calls + b.calls


exact_measures = measures(wanted.sample(n, seeded(33)))
print("                             evaluations  accuracy  clumps  outside")
accuracy, clumps, outside = exact_measures
print(f"exact samples of the class (floor)          {accuracy:5.2f}    {clumps:.1f}     {outside:.1f}")
bands = {"always": (0.0, 1.0, 24), "0 < t < 0.2": (0.0, 0.2, 32), "0.05 < t < 0.2": (0.05, 0.2, 36)}
interval = {}
for s in (4.0, 8.0):
    for name, (low, high, steps) in bands.items():
        x, calls = in_interval(s, low, high, steps)
        interval[s, name] = x, calls, measures(x)
        accuracy, clumps, outside = interval[s, name][2]
        print(
            f"s = {s:g}, guided {name:15s}      {calls:4d}     {accuracy:5.2f}",
            f"   {clumps:.1f}     {outside:.1f}",
        )
        assert calls <= 96
assert interval[8.0, "always"][2][1] < 2.05
assert interval[8.0, "always"][2][2] > 0.25
for name in ("0 < t < 0.2", "0.05 < t < 0.2"):
    accuracy, clumps, outside = interval[8.0, name][2]
    assert accuracy > 0.99
    assert clumps > 2.8
    assert outside < 0.02

sweep = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
always = torch.tensor([measures(in_interval(s, 0.0, 1.0, 24)[0]) for s in sweep])
banded = torch.tensor([measures(in_interval(s, 0.0, 0.2, 32)[0]) for s in sweep if s >= 1])
by_tilt = torch.tensor([measures(tilted(s).sample(n, seeded(34)).float()) for s in sweep])
assert always[0, 0] < 0.15  # s = -1 avoids the class
assert always[sweep.index(2.0), 0] > 0.99
assert by_tilt[3:, 1].min() > 2.9  # at s >= 1 the tilted law keeps the clumps,
assert by_tilt[3:, 2].max() < 0.03  # and does not leave the class

# %%
figure, axes = panels(1, 3, width=13, height=3.8)
for k, (ax, title) in enumerate(
    zip(axes, ("accuracy: in the class", "variety: effective clumps", "overshoot: outside"), strict=True)
):
    ax.plot(sweep, by_tilt[:, k], color=DATA, linestyle="--", marker="s", markersize=4)
    ax.plot(sweep, always[:, k], color=GUIDED, marker="o", markersize=4)
    ax.plot(
        [s for s in sweep if s >= 1], banded[:, k], color=VELOCITY, linestyle="-.", marker="^", markersize=5
    )
    ax.axhline(exact_measures[k], color=NOISE, linewidth=1)
    ax.set(xlabel="guidance scale $s$", title=title, xlim=(-1.3, 8.3))
axes[0].text(
    2.0,
    0.55,
    "exact class: thin line\nguided always: pink\nguided for $t < 0.2$: green\ntilted law: blue",
    color=INK,
)
axes[0].set(ylabel="share of samples", ylim=(0, 1.05))
axes[1].set(ylabel="clumps (12.24)", ylim=(0.9, 3.15))
axes[2].set(ylabel="share of samples", ylim=(-0.02, 1.02))
figure

# %%
zoo = {
    "exact samples of the class": (wanted.sample(n, seeded(33)), DATA),
    "$s = 8$, guided always": (interval[8.0, "always"][0], GUIDED),
    "$s = 8$, for $0 < t < 0.2$": (interval[8.0, "0 < t < 0.2"][0], VELOCITY),
    "$s = -1$: anything else": (sample(guided(-1.0), Heun(), start, times), EXTRA),
}
figure = show_clouds(zoo, limit=3.6)
figure

# %% [markdown]
r"""
*Curves: accuracy is won early, by $s \approx 2$; from there on a larger $s$ only takes variety and adds
overshoot. The tilted law (blue) pays neither price for $s \ge 1$. Guided in a band of low noise, at no more
evaluations, the class keeps its clumps. Clouds: always guided at $s = 8$, two clumps are left, pushed
outwards and squeezed; in the band all three stay. Look at the green edge, though: a late push also cuts the
class along the walls.*

**Scales below 1.** Between 0 and 1 guidance mixes the class with everything, wider than the tilted law.
Below 0 it runs *away* from the class (last panel, the left end of the curves), and its samples lie where no
data was. For the Gaussian pair a tilted law exists only for $s > -\rho/(1-\rho)$, as (12.14) wants a
positive variance; the ODE (12.16) goes on without a warning. "Negative prompts" in picture programs are
milder: they put a second *label* in the place of the unconditional answer, $\hat x_0^{\text{neg}} +
s\,(\hat x_0^{\text{pos}} - \hat x_0^{\text{neg}})$, with $s > 1$.

### The field and its samples
Left the three fields at one time, right what the sampler makes of them, with the three measures and their
values for exact samples. **Bets first.** From which $s$ on is the middle clump gone? With $s = 8$, how far
up may the interval reach before it goes? And at which time do grey and blue arrows differ most?
"""

# %%
GuidanceField(everything, classes)

# %%
labels_differ = []  # root mean square of eps_c - eps_u, on noisy points of all data and of the class
for now in (on_a_grid := torch.arange(0.05, 0.85, 0.05)):
    pair = [law.noised(path, now).sample(4000, seeded(36)) for law in (everything, wanted)]
    apart = [eps_hat(conditional, x, now) - eps_hat(unconditional, x, now) for x in pair]
    labels_differ.append([d.square().sum(1).mean().sqrt().item() for d in apart])
widest = on_a_grid[torch.tensor(labels_differ).argmax(0)]
print(f"grey and blue differ most at t = {widest[0]:.2f}; on the class's own noisy points at {widest[1]:.2f}")
for high in (0.2, 0.3, 0.4):
    x, _ = in_interval(8.0, 0.0, high, 32)
    kept = wanted.responsibilities(x, at_zero, path)[:, 0].mean()
    print(f"s = 8, guided for t < {high}: share of the middle clump {kept:.2f} (in the class: 0.40)")

figure, axes = panels(1, 3, width=13, height=4.9)
nodes = torch.cartesian_prod(*[torch.linspace(-2.6, 2.6, 8)] * 2)
for ax, now in zip(axes, (0.15, 0.35, 0.6), strict=True):
    now = torch.tensor(now)
    ax.scatter(*everything.noised(path, now).sample(500, seeded(35)).T, s=4, color="#D0D0D0", linewidths=0)
    pulls = [-eps_hat(d, nodes, now) for d in (unconditional, conditional, guided(4.0))]
    longest = pulls[2].norm(dim=1).quantile(0.95)
    styles = zip(pulls, (NOISE, DATA, GUIDED), (0.004, 0.007, 0.01), (4, 3, 2), strict=True)
    for pull, color, width, above in styles:
        ax.quiver(
            *nodes.T,
            *(0.8 * pull / longest).T,
            color=color,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=width,
            zorder=above,
        )
    square(ax, 3.0, ylabel="$x_2$" if now < 0.2 else "")
    ax.set_title(f"$t = {now:.2g}$")
figure

# %% [markdown]
r"""
*Without label (grey), with label (blue), guided at $s = 4$ (pink). The pink arrow continues the way from
grey to blue, three steps beyond. At low noise the three agree on the class's own ground; half-way up, the
guided arrows leave the middle clump for the outer ones.*

On the bets: already at $s = 3$ nearly nothing is left of the middle clump (section 12.3). What the interval
leaves of it, and where the label says most, is printed above. Most of what it says concerns points of *other*
classes; the class's own points hear it at about the level where (12.19) is largest.

## 12.8 Exercises

`check` tells you what is wrong, `hint("12.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Those from the **errata museum** are modelled on mistakes that stood in print.
"""

# %%
for exercise in exercises(12):
    print(exercise)

# %% [markdown]
r"""
**Exercise 12.1 ★ — four settings, one number.** Translate into this book's `guidance_scale`: (a) Ho and
Salimans, $w = 1.5$; (b) Imagen, $w = 1.5$; (c) a classifier's gradient times 1.5, added to the score of a
model *without* labels; (d) the same, added to the score of a model *with* the label. Give the four numbers
in this order. (The fourth: as a scale for the pair of the conditional and the unconditional model.)
"""

# %% tags=["exercise"]
scales_of_four = ...  # (a, b, c, d)

# %%
check("12.1", scales_of_four)

# %% [markdown]
r"""
**Exercise 12.2 ★ — errata museum: too much of a good thing.** A library documents `guidance_scale = 1` as
"the conditional model". Its users complain that everything looks overcooked.
"""


# %% tags=["exercise"]
def guided_noise(eps_c, eps_u, guidance_scale):
    """Guided noise (B, D), from the noise with and without label (B, D) and a number."""
    return (1 + guidance_scale) * eps_c - guidance_scale * eps_u


# %%
check("12.2", guided_noise)

# %% [markdown]
r"""
**Exercise 12.3 ★★ — errata museum: it runs.** One step of the reverse SDE with classifier guidance, from a
tutorial, without its noise. `log_prob(x)` gives $\log p_t(y\mid x)$, shape $(B,)$. There are *two*
mistakes; one of them is not about signs.
"""


# %% tags=["exercise"]
def guided_step(x, score, log_prob, scale, f, g, dt):
    """x after a step of length dt > 0 towards the data; x, score (B, D); scale, f, g, dt numbers."""
    push = log_prob(x)[:, None]
    drift = f * x - g**2 * (score + scale * push)
    return x + drift * dt


# %%
check("12.3", guided_step)

# %% [markdown]
r"""
**Exercise 12.4 ★★ — the classifier of noisy points.** Class $k$ has the share `weights[k]` and is $\mathcal
N(m_k, s_k^2 I)$. Return $\log p_t(k\mid x_t)$ for all classes. It must be finite far from the data.
"""


# %% tags=["exercise"]
def log_classes(x_t, alpha, sigma, weights, means, stds):
    """Shape (B, K), for x_t (B, D), two numbers, weights (K,), means (K, D), stds (K,)."""
    ...


# %%
check("12.4", log_classes)

# %% [markdown]
r"""
**Exercise 12.5 ★★ — pay only when it counts.** Guidance in an interval, for a batch at one time. Outside
$[\text{low}, \text{high}]$ the conditional answer is returned, and the unconditional network must **not**
be asked. (The check counts.)
"""


# %% tags=["exercise"]
def interval_guidance(conditional, unconditional, x_t, t, guidance_scale, low, high):
    """x0_hat, shape (B, D); conditional(x_t, t) -> (B, D), and so is unconditional; t, low, high numbers."""
    ...


# %%
check("12.5", interval_guidance)

# %% [markdown]
r"""
**Exercise 12.6 ★ — predict.** Guided by the ODE at $s = 4$ with exact denoisers, the samples of this
chapter miss the tilted law $\pi_4$. What would bring them there? `"more steps"` of the same sampler, `"a
better network"`, `"another path"` (VE in place of VP), or `"langevin"` steps with the guided score at the
end, where $t \approx 0$?
"""

# %% tags=["exercise"]
remedy = ...

# %%
check("12.6", remedy)

# %% [markdown]
r"""
**Exercise 12.7 ★★ — the right denoiser, of a table.** Let the data be $N$ equally likely points, and let
`likelihood` hold $p(y\mid x_i)$. Return the denoiser $\mathbb E[x_0\mid x_t]$ of the **tilted** law
$\propto p\,p(y\mid\cdot)^s$. Point by point, no guided score.
"""


# %% tags=["exercise"]
def tilted_guess(x_t, table, likelihood, s, alpha, sigma):
    """Shape (B, D), for x_t (B, D), table (N, D), likelihood (N,), three numbers."""
    ...


# %%
check("12.7", tilted_guess)

# %% [markdown]
r"""
**Exercise 12.8 ★★★ — cooling by the SDE.** The data is $\mathcal N(0, v)$. Multiply the score by $\gamma >
\tfrac12$ at all noise levels, and run the reverse **SDE** from a very large $T$. Derive the variance of its
end, as (12.18) was derived, and give it as a function. Compare with $p^\gamma$, and with (12.21): which of
the two illnesses of the ODE is cured?
"""


# %% tags=["exercise"]
def cooled_variance(v, gamma):
    """The variance at the end, for tensors v and gamma of one shape."""
    ...


# %%
check("12.8", cooled_variance)

# %% [markdown]
r"""
**Mini-project — particles that weigh themselves (open, not graded).** Sample $\pi_s$ for our three classes
*without* the grid: run the guided SDE with many particles, give each a weight that corrects for (12.12) on
the way, and resample when few weights dominate. Rubric: the weights' formula is derived (2); the energy
distance to `tilted(s)` falls with the number of particles, shown with its floor (2); the effective sample
size is plotted against $t$ and explained by (12.19) (2); one paragraph on why this fails, or not, in a
thousand dimensions (1). Start from Skreta et al. (2025) or from scratch.

## 12.9 What the field does with it, and where this breaks

- **Every text-to-picture model is guided.** Typical scales lie between 2 and 10. Strong scales throw pixels
  out of range; Imagen cut them back at each step ("dynamic thresholding"). That is the overshoot of section
  12.7.
- **Two evaluations a step** double the cost; distillation (chapter 17) builds $s$ into one network.
- **A bad version of itself.** Karras et al. (2024) put a *smaller, less trained* model of the same class in
  the place of the unconditional one. Then the difference points from worse to better, and not away from
  other classes: variety survives.
- **Classifiers are back** wherever the condition comes later than the training: a measurement, a mask, a
  reward. Then $\log p(y\mid \hat x_0)$ often stands in for (12.2): mean inside in place of outside, the
  slip of this chapter as an approximation (chapter 16).
- **Corrections.** Du et al. (2023) run Langevin or MALA at each level towards composed densities; newer
  work carries weights along.

Where our picture breaks: *Exact denoisers.* Here guidance could only do harm to the law; with a network
that leaks between modes it also mends, and the best $s$ for pictures is above 1 for that reason. Chapter 15
measures it on digits. *The plane.* In high dimension noisy classes overlap less at the same $\sigma$; the
band of harmful noise lies higher. *Gaussian pair.* Its scores are lines; clumps that die (figure 1) have no
counterpart there.

### What to remember
- Classifier of *noisy* points, *gradient* of its logarithm, times $\sigma^2/\alpha$ on the guess, $g^2$ in
  the drift.
- $s = 1 + w$: say which one you mean; "0" is either "no label" or "no guidance".
- Guided score: the power of the mean. Score of the noised tilted law: the mean of the power. Equal for $s =
  0$, $s = 1$, or $t = 0$.
- Gaussian: geometric against harmonic mean of the variances; ODE and SDE differ.
- Scaling a score is not temperature; minibatch noise is.
- Look at accuracy *and* variety *and* overshoot; guide in a band.

### References
- Dhariwal, Nichol (2021), *Diffusion models beat GANs on image synthesis*: classifier guidance, section 4,
  algorithms 1 and 2; the need for $s>1$, section 4.3.
- Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole (2021), *Score-based generative modeling through SDEs*:
  (12.6) with $s=1$, eq. 14.
- Ho, Salimans (2022), *Classifier-free diffusion guidance*: eq. 6 is (12.9) with $w$; dropped labels,
  algorithm 1.
- Nichol et al. (2022), *GLIDE*, and Saharia et al. (2022), *Imagen*: the other convention; dynamic
  thresholding.
- Du, Durkan, Strudel, Tenenbaum, Dieleman, Fergus, Sohl-Dickstein, Doucet, Grathwohl (2023), *Reduce,
  reuse, recycle*: sums of noisy scores are not scores of noised products; MCMC at each level.
- Bradley, Nakkiran (2024), *Classifier-free guidance is a predictor-corrector*: (12.20); ODE and SDE
  differ, with a Gaussian example.
- Chidambaram, Gatmiry, Chen, Lee, Lu (2024), *What does guidance do? A fine-grained analysis in a simple
  setting*: guidance is not sampling of the tilted law.
- Kynkäänniemi, Aittala, Karras, Laine, Aila, Lehtinen (2024), *Applying guidance in a limited interval
  improves sample and distribution quality in diffusion models*.
- Karras, Aittala, Kynkäänniemi, Lehtinen, Aila, Laine (2024), *Guiding a diffusion model with a bad version
  of itself*.
- Welling, Teh (2011), *Bayesian learning via stochastic gradient Langevin dynamics*: (12.22), with
  $\epsilon = 2h$.
- Skreta et al. (2025), *Feynman-Kac correctors in diffusion: annealing, guidance, and product of experts*.
"""
