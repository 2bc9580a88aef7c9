# %% [markdown]
"""
# 6. The ELBO

[Open in Colab](https://colab.research.google.com/github/diffedu/diffedu/blob/main/chapters/06_elbo.ipynb)

*How well a chain of noisy steps explains a data point, in nats, and where every nat of the answer goes*
"""

# %% [markdown]
r"""
A model that draws samples also claims something: that this point is likely and that one is not. The claim
is a number, $p_\theta(x_0)$, and training means making it large for the data. For a chain of steps the
number is hidden behind an integral over all paths that could have led to $x_0$. This chapter replaces the
integral by a bound that can be computed, taken apart and trained. The loss of the next chapter comes out of
its sum.

**You will be able to**
- derive the bound from Jensen's inequality, and say what exactly the gap is;
- turn it into one Kullback–Leibler divergence per step, with the right indices, and compute each in closed
  form, constants included;
- say when the variance of a step should be $\beta_t$, when $\tilde\beta_t$, and how to learn it;
- convert a bound into bits per dimension without losing a constant;
- see that in continuous time the noise schedule drops out, but for its two ends.

**You need** chapter 5: the jump (5.10), one step back (5.22, 5.23), the signal-to-noise ratio (5.11). And
the normal distribution, expectations, logarithms.

**Time**: about 60 minutes to read, under a minute to run, two to three hours with all exercises.
"""

# %%
import importlib.util

if importlib.util.find_spec("diffedu") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/diffedu/diffedu")

# %% tags=["setup"]
import math

import torch

from diffedu import EDM, EPS, VP, X0, Clipped, Cosine, DenoisingLoss, DiscreteDDPM, FixedVariance
from diffedu import GaussianMixture, HybridLoss, LearnedVariance, NetworkDenoiser, RectifiedFlow
from diffedu import beta_tilde, betas_from_alpha_bar, bits_per_dimension, bound_rate, bound_terms
from diffedu import continuous_bound, cosine_betas, discretised_gaussian_log_prob, exact_terms, gaussian_kl
from diffedu import optimal_variances, posterior, prior_kl, scalar_mmse, seeded, time_at_half_log_snr
from diffedu.data import digits
from diffedu.exercises import check, exercises, hint  # noqa: F401  (hint is for you)
from diffedu.nn.mlp import MLP
from diffedu.show import DATA, EXTRA, INK, NOISE, SCORE, VELOCITY, curve_panel, panels
from diffedu.show.widgets.elbo_bars import ElboBars
from diffedu.train import TrainConfig, TrainState, train
from diffedu.verify import verify, verify_mean

f64 = torch.float64


def tensor(*values):
    """Numbers in double precision: this chapter checks constants."""
    return torch.tensor(values, dtype=f64)


def time_of(t, like):
    """The whole number t as a time for data like this."""
    return torch.tensor(float(t), dtype=like.dtype, device=like.device)


# %%
# three clusters on a line, and ten steps of the cosine schedule
data = GaussianMixture(
    tensor(0.5, 0.3, 0.2), tensor(-1.2, 0.3, 1.3)[:, None], tensor(0.04, 0.0225, 0.09).reshape(3, 1, 1)
)
path = DiscreteDDPM(cosine_betas(10))
T, steps = path.T, torch.arange(1, path.T + 1, dtype=f64)
model = FixedVariance(data.denoiser(path), path, path.betas)


def model_chain(model, n, generator):
    """x_T ... x_0 of n runs of the model, shape (T + 1, n, 1): every step draws from its Gaussian."""
    chain = [torch.randn(n, 1, generator=generator, dtype=f64)]
    for t in range(model.path.T, 0, -1):
        mean, variance = model(chain[-1], time_of(t, chain[-1]))
        chain.append(mean + variance.sqrt() * torch.randn(mean.shape, generator=generator, dtype=f64))
    return torch.stack(chain)


def noising_chain(x0, generator):
    """x_0 ... x_T by (5.1), shape (T + 1, n, 1)."""
    chain = [x0]
    for beta in path.betas:
        eps = torch.randn(x0.shape, generator=generator, dtype=f64)
        chain.append((1 - beta).sqrt() * chain[-1] + beta.sqrt() * eps)
    return torch.stack(chain)


star = 1.3  # the point whose probability we ask for
runs = model_chain(model, 20_000, seeded(0)).flip(0)[:, :, 0]  # now index t is time t
landed = (runs[0] - star).abs() < 0.02
outward = noising_chain(torch.full((40, 1), star, dtype=f64), seeded(1))[:, :, 0]
figure, (left, right) = panels(1, 2, width=11, height=3.6, share=True)
left.plot(runs[:, :250], color=NOISE, linewidth=0.5, alpha=0.5)
left.plot(runs[:, landed][:, :40], color=SCORE, linewidth=1.0, alpha=0.7)
left.set(title="the model's paths", xlabel="step t (runs from right to left)", ylabel="$x_t$")
left.set_xlim(0, T)
left.text(3.6, 3.1, "those that end at 1.3", color=SCORE)
right.plot(outward, color=DATA, linewidth=1.0, alpha=0.7)
right.set(title="noise added to the point", xlabel="step t (runs from left to right)", ylim=(-3.9, 3.9))
right.text(3.6, 3.1, "all begin at 1.3", color=DATA)
for ax in (left, right):
    ax.plot([0], [star], "o", color=INK, clip_on=False, zorder=5)
print(f"share of the model's runs that end within 0.02 of {star}: about {landed.double().mean():.2f}")
figure

# %% [markdown]
r"""
*Left: 250 runs of a model that walks noise back to data (grey), and 40 runs that happened to end at the
black point. Right: 40 runs of the noising process from that point. Only one model run in a hundred ends
there, but every noising run begins there, and they look like the orange ones.*

How likely is the black point under the model? Counting runs that hit it is hopeless in high dimension: no
run of an image model will ever produce your photograph. But the right-hand picture *proposes* paths that
end where we want, for free.

**Before you read on.** Suppose the blue paths were distributed exactly as the orange ones. How many blue
paths would you need to compute the probability of the point? (Section 6.2 answers: it is fewer than you
think.)

## 6.1 A likelihood that cannot be computed

The model starts from pure noise and takes $T$ Gaussian steps, $p_\theta(x_{t-1} \mid x_t)$. A whole run has
the density

$$p_\theta(x_{0:T}) = p(x_T)\,\prod_{t=1}^{T} p_\theta(x_{t-1} \mid x_t),
\qquad p(x_T) = \mathcal N(x_T;\ 0, I). \tag{6.1}$$

<!-- definition 6.1: the model is this product; chapter 7 chooses its means -->

Written $x_{0:T}$ for $x_0, x_1, \dots, x_T$. The density of the *end point* is the integral over everything
that may have come before, $p_\theta(x_0) = \int p_\theta(x_{0:T})\, dx_{1:T}$: $T$ integrals, each over all
of space. Multiply and divide by any density of paths that is nowhere 0. We have one that starts at $x_0$,
the noising process $q(x_{1:T} \mid x_0) = \prod_t q(x_t \mid x_{t-1})$ of (5.1), and the integral becomes
an average over its paths:

$$p_\theta(x_0) = \int q(x_{1:T} \mid x_0)\, \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\; dx_{1:T}
= \mathbb E_q[\,w\,], \qquad w = \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}. \tag{6.2}$$

This is exact. $w$ is the **weight** of a noised path: how much more the model believes in it than the
noising process does. On a line there is a second way to $p_\theta(x_0)$, without paths: put the density on
a fine grid and push it through the ten steps.
"""


# %%
def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + torch.log(2 * math.pi * variance))


def minus_log_weight(model, chain):
    """-log w of noised paths, shape (n,), from (6.2) as it stands; chain (T + 1, n, 1), index = time."""
    total = -log_normal(chain[T], tensor(0.0), tensor(1.0))
    for t in range(1, T + 1):
        mean, variance = model(chain[t], time_of(t, chain))
        total -= log_normal(chain[t - 1], mean, variance)  # the model, from t to t - 1
        beta = path.betas[t - 1]
        total += log_normal(chain[t], (1 - beta).sqrt() * chain[t - 1], beta)  # the noising, t - 1 to t
    return total.squeeze(1)


grid = torch.linspace(-6, 6, 1201, dtype=f64)  # its step, 0.01, is small beside every width that occurs
cell = grid[1] - grid[0]


def exact_density(model):
    """p_theta(x0) on the grid: the density of x_T pushed through the steps, one matrix product each."""
    density = log_normal(grid, tensor(0.0), tensor(1.0)).exp()
    for t in range(T, 0, -1):
        mean, variance = model(grid[:, None], time_of(t, grid))
        density = log_normal(grid[:, None], mean.T, variance).exp() @ density * cell
    return density


p_model = exact_density(model)
assert abs(p_model.sum() * cell - 1) < 1e-6
at_star = p_model[int((star + 6) / cell + 0.5)]
weights = torch.exp(
    -minus_log_weight(model, noising_chain(torch.full((20_000, 1), star, dtype=f64), seeded(2)))
)
verify_mean("6.2", weights, at_star)
scatter = weights.std() / weights.mean()
print(f"by the grid, p({star}) = {at_star:.3f}; single weights scatter by {scatter:.1f} times their mean")

# %% [markdown]
r"""
The average of weights is unbiased, but it is no way to work. What we need is $\log p_\theta(x_0)$, and its
gradient, from *few* paths. For a picture $\log w$ is a sum over thousands of coordinates. If each adds a
spread like the one just printed, independently of the rest, the total scatters by tens of nats. The average
of the $w$ is then decided by the luckiest path.

## 6.2 Jensen: a bound from one path

Take the logarithm of each weight *before* averaging. A logarithm bends downwards, so it lies below each of
its tangents. The tangent at a point $c$ has slope $1/c$:

$$\log y \;\le\; \log c + \frac{y - c}{c}, \qquad \text{equal only at } y = c. \tag{6.3}$$

Put $y = w$ and $c = \mathbb E_q[w]$, and average both sides. The last term averages to 0, and what is left
is Jensen's inequality, $\mathbb E_q[\log w] \le \log \mathbb E_q[w] = \log p_\theta(x_0)$. With a minus:

$$-\log p_\theta(x_0) \;\le\; \mathbb E_q[-\log w]
= \mathbb E_q\Big[-\log \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\Big] =: L(x_0). \tag{6.4}$$

<!-- definition 6.4: names L; the inequality is (6.3) averaged, and (6.5) says by how much it holds -->

**Mind the sign.** The *evidence lower bound*, ELBO, is $\mathbb E_q[\log w]$. It lies *below* the
log-likelihood and is maximised. $L$ is *minus* the ELBO. It lies *above* the negative log-likelihood (NLL)
and is minimised. Papers call either of them "the bound" or "the VLB". In this book $L$ is a cost in nats:
small is good, and the truth is at most $L$.

How much is lost? Write the model's joint density the other way round,
$p_\theta(x_{0:T}) = p_\theta(x_0)\, p_\theta(x_{1:T} \mid x_0)$, and put it into (6.4). The first factor
does not depend on the path and leaves the average:

$$L(x_0) = -\log p_\theta(x_0)
+ \mathbb E_q\Big[\log \frac{q(x_{1:T} \mid x_0)}{p_\theta(x_{1:T} \mid x_0)}\Big]
= -\log p_\theta(x_0) + \mathrm{KL}\big(q(x_{1:T} \mid x_0)\,\|\,p_\theta(x_{1:T} \mid x_0)\big). \tag{6.5}$$

The average of a log-ratio, taken over its numerator, is the **Kullback–Leibler divergence**. It is never
negative and 0 only if the two densities are one (put $y = p/q$, $c = 1$ into (6.3) and average over $q$).
So the gap is *how much the blue paths differ from the orange ones* in the picture above. That answers the
question: if they did not differ, every path would have the same weight $w = p_\theta(x_0)$, and one path
would do.

We check (6.5) where everything is Gaussian and so known: data $\mathcal N(0.6, 0.3)$. Its exact denoiser is
a straight line, so the model's $x_0, \dots, x_T$ are jointly Gaussian, and so are they given $x_0$. The
model's steps get half of their usual variance, so that the gap is wide and its two directions differ.
"""

# %%
y = torch.logspace(-3, 3, 60_001, dtype=f64)
for c in (0.2, 1.0, 5.0):  # the tangent minus the curve: smallest value 0, taken at y = c
    distance_ = math.log(c) + (y - c) / c - torch.log(y)
    assert abs(y[distance_.argmin()] / c - 1) < 1e-3
    verify("6.3", distance_.min(), 0.0, atol=1e-6)

gauss = GaussianMixture.single(tensor(0.6), tensor(0.3)[None])
linear_model = FixedVariance(gauss.denoiser(path), path, path.betas / 2)
unit = torch.eye(T + 1, dtype=f64)
rows, centre = [unit[T]], [tensor(0.0)[0]]  # x_T = z_T; every x_t is linear in z_0 ... z_T
for t in range(T, 0, -1):
    (at_0, at_1), variance = linear_model(tensor(0.0, 1.0)[:, None], time_of(t, grid))
    slope = (at_1 - at_0).squeeze()
    rows.insert(0, slope * rows[0] + variance.sqrt() * unit[t - 1])
    centre.insert(0, at_0.squeeze() + slope * centre[0])
rows, centre = torch.stack(rows), torch.stack(centre)
joint = rows @ rows.T  # covariance of the model's x_0 ... x_T

point = tensor(1.4)[0]
pull = joint[1:, 0] / joint[0, 0]  # condition on x_0 = 1.4
p_given = torch.distributions.MultivariateNormal(
    centre[1:] + pull * (point - centre[0]), joint[1:, 1:] - pull[:, None] * joint[:1, 1:]
)
alpha, sigma = path.alpha_bar[1:].sqrt(), (1 - path.alpha_bar[1:]).sqrt()
earlier = torch.minimum(torch.arange(T)[:, None], torch.arange(T)[None, :])
later = torch.maximum(torch.arange(T)[:, None], torch.arange(T)[None, :])
q_given = torch.distributions.MultivariateNormal(
    alpha * point, alpha[later] / alpha[earlier] * sigma[earlier] ** 2
)
gap = torch.distributions.kl_divergence(q_given, p_given)
nll = -log_normal(point, centre[0], joint[0, 0])
paths = noising_chain(point.expand(20_000, 1), seeded(3))
verify_mean("6.5", minus_log_weight(linear_model, paths) - nll, gap)
wrong_way = torch.distributions.kl_divergence(p_given, q_given)
print(f"-log p = {nll:.2f}, gap {gap:.2f}, so L = {nll + gap:.2f} nats; KL(p || q) would be {wrong_way:.2f}")

# %% [markdown]
r"""
## 6.3 The sum is rearranged

Take the logarithm of the product in (6.1) and of the noising process:

$$-\log w = -\log p(x_T) - \sum_{t=1}^{T} \log \frac{p_\theta(x_{t-1} \mid x_t)}{q(x_t \mid x_{t-1})}.$$

This could be trained as it stands. But each fraction compares densities of *different things*: above, of
$x_{t-1}$; below, of $x_t$. They run in opposite directions. Their ratio depends strongly on the luck of the
path, and no closed form is in sight.

**Before you read on.** The noising step could be turned round by Bayes' rule, but $q(x_{t-1} \mid x_t)$
needs the density of the data. What could one condition on, in addition, so that everything is known?

On $x_0$. The chain forgets: given $x_{t-1}$, the next state does not depend on $x_0$, so
$q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0)$. Now Bayes' rule (it is (5.20), solved for the other
factor), for $t = 2, \dots, T$:

$$q(x_t \mid x_{t-1}) = q(x_{t-1} \mid x_t, x_0)\; \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)}. \tag{6.6}$$

For $t = 1$ it would be empty: $q(x_0 \mid x_1, x_0)$ has no width. That step keeps its old form. Multiply
(6.6) over $t = 2, \dots, T$. Each numerator cancels the next denominator, and only the ends survive:

$$\prod_{t=2}^{T} \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)}
= \frac{q(x_2 \mid x_0)}{q(x_1 \mid x_0)}\cdot\frac{q(x_3 \mid x_0)}{q(x_2 \mid x_0)}\cdots
\frac{q(x_T \mid x_0)}{q(x_{T-1} \mid x_0)}
= \frac{q(x_T \mid x_0)}{q(x_1 \mid x_0)}. \tag{6.7}$$

The denominator $q(x_1 \mid x_0)$ cancels the noising step at $t = 1$, which is $q(x_1 \mid x_0)$ itself.
Three kinds of terms are left:

$$-\log w = \log\frac{q(x_T \mid x_0)}{p(x_T)}
+ \sum_{t=2}^{T} \log\frac{q(x_{t-1} \mid x_t, x_0)}{p_\theta(x_{t-1} \mid x_t)}
- \log p_\theta(x_0 \mid x_1). \tag{6.8}$$

No average has been taken yet: (6.8) holds for every single path. Now average over $q(x_{1:T} \mid x_0)$.
The first fraction involves $x_T$ only. In the $t$-th, first hold $x_t$ fixed and average over $x_{t-1}$;
given $x_t$ (and $x_0$) it is distributed as $q(x_{t-1} \mid x_t, x_0)$, which is the numerator. So each
average is a KL divergence:

$$L(x_0) = \underbrace{\mathrm{KL}\big(q(x_T \mid x_0)\,\|\,p(x_T)\big)}_{L_T}
+ \sum_{t=2}^{T} \underbrace{\mathbb E_{q(x_t \mid x_0)}\,
\mathrm{KL}\big(q(x_{t-1} \mid x_t, x_0)\,\|\,p_\theta(x_{t-1} \mid x_t)\big)}_{L_{t-1}}
+ \underbrace{\mathbb E_{q(x_1 \mid x_0)}\big[-\log p_\theta(x_0 \mid x_1)\big]}_{L_0}. \tag{6.9}$$

<!-- code 6.9: diffedu.core.elbo.bound_terms -->

**Mind the indices.** $L_{t-1}$ compares two densities of $x_{t-1}$, both given $x_t$. The sum begins at
$t = 2$, so its terms are $L_1, \dots, L_{T-1}$. A sampler produces its steps in the order $T, \dots, 1$; a
list of posteriors is usually written $2, \dots, T$. Zip the two without turning one round, and the code
runs and returns a number (exercise 6.5).

**Mind the order.** $q$ stands first: the average is over the noising process, from which we can draw.
"""


# %%
def minus_log_weight_rearranged(model, chain):
    """-log w by (6.8), shape (n,)."""
    x0 = chain[0]
    end = path(time_of(T, chain))
    total = log_normal(chain[T], end.alpha * x0, end.sigma**2)
    total -= log_normal(chain[T], tensor(0.0), tensor(1.0))
    for t in range(1, T + 1):
        mean, variance = model(chain[t], time_of(t, chain))
        total -= log_normal(chain[t - 1], mean, variance)
        if t >= 2:
            q = posterior(path, time_of(t, chain))  # (5.22) and (5.23)
            total += log_normal(chain[t - 1], q.mean(x0, chain[t]), q.variance)
    return total.squeeze(1)


x0 = data.sample(20_000, seeded(4))
chain = noising_chain(x0, seeded(5))
log_jump = [
    log_normal(chain[t], path.alpha_bar[t].sqrt() * x0, 1 - path.alpha_bar[t]) for t in range(1, T + 1)
]
t = 6
q = posterior(path, time_of(t, grid))
backward = log_normal(chain[t - 1], q.mean(x0, chain[t]), q.variance)
beta = path.betas[t - 1]
one_step = log_normal(chain[t], (1 - beta).sqrt() * chain[t - 1], beta)
verify("6.6", one_step, backward + log_jump[t - 1] - log_jump[t - 2], over="points")

one_steps = sum(
    log_normal(chain[t], (1 - path.betas[t - 1]).sqrt() * chain[t - 1], path.betas[t - 1])
    for t in range(2, T + 1)
)
backwards = 0
for t in range(2, T + 1):
    q = posterior(path, time_of(t, grid))
    backwards = backwards + log_normal(chain[t - 1], q.mean(x0, chain[t]), q.variance)
verify("6.7", one_steps - backwards, log_jump[-1] - log_jump[0], over="paths")
verify("6.8", minus_log_weight(model, chain), minus_log_weight_rearranged(model, chain), over="paths")

# %% [markdown]
r"""
The rearranged sum costs the same on every path. Its worth is that each *term* of (6.9) can now be averaged
over $x_{t-1}$ *by formula*, before any path is drawn. For that we need one integral.

## 6.4 The divergence of two Gaussians

Let $q = \mathcal N(m_q, v_q)$ and $p = \mathcal N(m_p, v_p)$ on a line. Write down the log-ratio and
average over $q$:

$$\log\frac{q(x)}{p(x)} = \frac12\log\frac{v_p}{v_q} - \frac{(x - m_q)^2}{2 v_q}
+ \frac{(x - m_p)^2}{2 v_p}.$$

Under $q$ the first square averages to $v_q$, so its term is $-\tfrac12$. In the second square insert $m_q$:
$x - m_p = (x - m_q) + (m_q - m_p)$. The cross term averages to 0, and $v_q + (m_q - m_p)^2$ is left:

$$\mathrm{KL}(q \,\|\, p) = \frac12\Big[\log\frac{v_p}{v_q} + \frac{v_q}{v_p} - 1
+ \frac{(m_q - m_p)^2}{v_p}\Big]. \tag{6.10}$$

<!-- code 6.10: diffedu.core.elbo.gaussian_kl -->

The first three terms are the price of a wrong width, the last that of a wrong place. In $D$ dimensions with
covariance matrices the same two steps give a trace and determinants (average $z^\top A z$ over
$z \sim \mathcal N(0, S)$: it is $\operatorname{tr}(A S)$):

$$\mathrm{KL}(q \,\|\, p) = \frac12\Big[\log\frac{\det S_p}{\det S_q}
+ \operatorname{tr}\big(S_p^{-1} S_q\big) - D
+ (m_q - m_p)^\top S_p^{-1} (m_q - m_p)\Big]. \tag{6.11}$$

For independent coordinates it is a sum of (6.10) over them. If the two variances are *equal* and fixed, the
constants cancel and only the distance of the means is left, $|m_q - m_p|^2 / 2v$. Many a tutorial derives
just that case, then changes a variance, and keeps the formula. What has been lost is, with the ratio
$r = v_q / v_p$,

$$\mathrm{KL}\big(\mathcal N(m, v_q)\,\|\,\mathcal N(m, v_p)\big)
= \tfrac12\,\big(r - 1 - \log r\big) \;\ge\; 0. \tag{6.12}$$

**Before you read on.** The model's step can be four times too wide in variance ($r = \tfrac14$), or four
times too narrow ($r = 4$). Which costs more?
"""

# %%
line = torch.linspace(-40, 40, 400_001, dtype=f64)


def kl_on_a_grid(m_q, v_q, m_p, v_p):
    log_q, log_p = log_normal(line, m_q, v_q), log_normal(line, m_p, v_p)
    return (log_q.exp() * (log_q - log_p)).sum() * (line[1] - line[0])


cases = torch.tensor([[0.3, 0.7, -0.5, 1.9], [0.0, 2.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]], dtype=f64)
formula = torch.stack(
    [0.5 * (torch.log(v_p / v_q) + v_q / v_p - 1 + (m_q - m_p) ** 2 / v_p) for m_q, v_q, m_p, v_p in cases]
)
verify("6.10", formula, torch.stack([kl_on_a_grid(*case) for case in cases]), rtol=1e-8)
m_q, v_q, m_p, v_p = cases.T
assert torch.allclose(gaussian_kl(m_q[:, None], v_q[:, None], m_p[:, None], v_p[:, None]), formula)

factors = torch.randn(2, 3, 3, generator=seeded(6), dtype=f64)
S_q, S_p = factors @ factors.mT + 0.5 * torch.eye(3, dtype=f64)
d = torch.randn(3, generator=seeded(7), dtype=f64)
matrix_formula = 0.5 * (
    S_p.logdet() - S_q.logdet() + torch.trace(S_p.inverse() @ S_q) - 3 + d @ S_p.inverse() @ d
)
# a linear map changes no divergence; one that makes S_p the unit and S_q diagonal leaves a sum of (6.10)
to_unit = torch.linalg.inv(torch.linalg.cholesky(S_p))
widths_q, turn = torch.linalg.eigh(to_unit @ S_q @ to_unit.T)
shift = turn.T @ to_unit @ d
verify(
    "6.11", matrix_formula, sum(0.5 * (v - 1 - v.log() + m**2) for v, m in zip(widths_q, shift, strict=True))
)

ratios = tensor(0.25, 4.0)
price = torch.stack([kl_on_a_grid(tensor(0.0), r, tensor(0.0), tensor(1.0)) for r in ratios])
verify("6.12", 0.5 * (ratios - 1 - ratios.log()), price, rtol=1e-8)
print(f"nats per coordinate and step: four times too wide {price[0]:.2f}, too narrow {price[1]:.2f}")

# %%
figure, (left, right) = panels(1, 2, width=10.5, height=3.3)
x = torch.linspace(-4, 4, 400, dtype=f64)
for v, color, style, name, place in (
    (1.0, DATA, "-", "q: variance 1", (0.85, 0.35)),
    (4.0, SCORE, "--", "p: variance 4", (2.2, 0.15)),
    (0.25, VELOCITY, "-.", "p: variance 1/4", (0.5, 0.72)),
):
    left.plot(x, log_normal(x, tensor(0.0), tensor(v)).exp(), color=color, linestyle=style)
    left.text(*place, name, color=color)
left.set(xlabel="x", ylabel="density", title="too wide and too narrow")
r = torch.logspace(-1.3, 1.3, 200, dtype=f64)
right.plot(r, 0.5 * (r - 1 - r.log()), color=INK)
right.plot([0.25], price[:1], "o", color=SCORE)
right.plot([4.0], price[1:], "s", color=VELOCITY)
right.text(0.25, 0.75, "too wide", color=SCORE, ha="center")
right.text(3.6, 1.35, "too narrow", color=VELOCITY, ha="right")
right.set(
    xscale="log",
    xlabel="r = variance of q / variance of p",
    ylabel="nats",
    title="what it costs",
    ylim=(0, 4),
)
figure

# %% [markdown]
r"""
*Right: the price (6.12) of a wrong variance when the mean is right. Too narrow (right branch) is punished
without mercy, since q's draws fall where p is nearly 0. Too wide grows only like a logarithm.*

## 6.5 Every term in closed form

**The end, $L_T$.** $q(x_T \mid x_0) = \mathcal N(\sqrt{\bar\alpha_T}\,x_0, (1-\bar\alpha_T) I)$ against
$\mathcal N(0, I)$. By (6.10), summed over $D$ coordinates:

$$L_T = \tfrac12\Big[D\,\big(-\log(1-\bar\alpha_T) - \bar\alpha_T\big)
+ \bar\alpha_T\,\lVert x_0\rVert^2\Big]. \tag{6.13}$$

<!-- code 6.13: diffedu.core.elbo.prior_kl -->

No parameter is in it. It is the price, in nats, of starting the sampler at $\mathcal N(0, I)$ when the
noising ends elsewhere (section 5.7). For a schedule that reaches noise it is next to nothing.

**The middle, $L_{t-1}$.** The posterior (5.23) has mean $\tilde\mu_t(x_t, x_0)$ and variance
$\tilde\beta_t$. The model does not know $x_0$. Let it put its guess $\hat x_0 = \hat x_0(x_t, t)$ into the
same formula, and take some variance $v_t$:
$p_\theta(x_{t-1} \mid x_t) = \mathcal N(\tilde\mu_t(x_t, \hat x_0),\ v_t I)$. (Chapter 7 writes the same
mean with a guess of the noise.) In the difference of the two means the $x_t$ part drops out:

$$\tilde\mu_t(x_t, x_0) - \tilde\mu_t(x_t, \hat x_0) = c_t\,(x_0 - \hat x_0),
\qquad c_t = \frac{\sqrt{\bar\alpha_{t-1}}\;\beta_t}{1-\bar\alpha_t}. \tag{6.14}$$

So (6.10), summed over the coordinates, reads

$$L_{t-1} = \frac D2\Big[\log\frac{v_t}{\tilde\beta_t} + \frac{\tilde\beta_t}{v_t} - 1\Big]
+ \frac{c_t^2}{2 v_t}\;\mathbb E\,\lVert x_0 - \hat x_0\rVert^2, \qquad t = 2, \dots, T. \tag{6.15}$$

The first part is known before training. The second is a weighted **denoising error**: this is where the
regression losses of this field come from. With $v_t = \tilde\beta_t$ the bracket vanishes and the weight
has a meaning. Insert $\tilde\beta_t$ from (5.22); one $\beta_t$ cancels:

$$\frac{c_t^2}{\tilde\beta_t} = \frac{\bar\alpha_{t-1}\,\beta_t}{(1-\bar\alpha_{t-1})(1-\bar\alpha_t)}
= \frac{\bar\alpha_{t-1} - \bar\alpha_t}{(1-\bar\alpha_{t-1})(1-\bar\alpha_t)}
= \mathrm{SNR}(t-1) - \mathrm{SNR}(t). \tag{6.16}$$

(In the middle $\bar\alpha_{t-1}\beta_t = \bar\alpha_{t-1} - \bar\alpha_t$, since
$\bar\alpha_t = \bar\alpha_{t-1}(1-\beta_t)$. For the last step add and subtract
$\bar\alpha_{t-1}\bar\alpha_t$ in the numerator.) A step is charged half of the squared error, times the
signal-to-noise it gains. Keep this in mind for section 6.10.

**The start, $L_0$.** The last step, from $x_1$ to $x_0$, is scored by its log-density. At $t = 1$,
$\tilde\mu_1(x_1, \hat x_0) = \hat x_0$, so

$$L_0 = \frac D2\log(2\pi v_1) + \frac{1}{2 v_1}\,
\mathbb E\,\lVert x_0 - \hat x_0(x_1, 1)\rVert^2. \tag{6.17}$$

Here $v_1 = \tilde\beta_1 = 0$ would cost infinitely much. Use $\tilde\beta_2$ in its place, as the released
code of Improved DDPM does, or $\beta_1$. For densities $L_0$ may well be negative: a density can be larger
than 1. All in all:
"""


# %%
def bound(denoiser, x0, variances, generator):
    """L_0 ... L_T of (6.13), (6.15) and (6.17), shape (n, T + 1), with one draw of x_t for each t."""
    D, terms = x0.shape[1], []
    for t in range(1, T + 1):
        beta, before, now = path.betas[t - 1], path.alpha_bar[t - 1], path.alpha_bar[t]
        x_t = now.sqrt() * x0 + (1 - now).sqrt() * torch.randn(x0.shape, generator=generator, dtype=f64)
        error, v = (x0 - denoiser(x_t, time_of(t, x0))).square().sum(1), variances[t - 1]
        if t == 1:
            terms.append(D / 2 * torch.log(2 * math.pi * v) + error / (2 * v))
        else:
            c, tilde = before.sqrt() * beta / (1 - now), (1 - before) / (1 - now) * beta
            terms.append(D / 2 * (torch.log(v / tilde) + tilde / v - 1) + c**2 / (2 * v) * error)
    terms.append(0.5 * (D * (-torch.log1p(-now) - now) + now * x0.square().sum(1)))
    return torch.stack(terms, dim=1)


mine = bound(data.denoiser(path), x0, path.betas, seeded(9))
book = bound_terms(model, x0, generator=seeded(9))  # subtracts the two means; knows none of the shortcuts
verify("6.13", mine[:, T], book[:, T], over="points")
verify("6.15", mine[:, 1:T], book[:, 1:T], over="terms", rtol=1e-8)
verify("6.17", mine[:, 0], book[:, 0], over="points")

x_t, guess = torch.randn(2, 50, 1, generator=seeded(10), dtype=f64)
q = posterior(path, time_of(6, grid))
now, before = path.alpha_bar[6], path.alpha_bar[5]
c_6 = before.sqrt() * path.betas[5] / (1 - now)
verify("6.14", q.mean(x0[:50], x_t) - q.mean(guess, x_t), c_6 * (x0[:50] - guess))
ratio = posterior(path, steps).to_x0[1:] ** 2 / posterior(path, steps).variance[1:]
verify("6.16", ratio, -path(steps).snr.diff())

# %% [markdown]
r"""
The fifteen lines are the whole bound, and `bound_terms` of the package returns the same numbers with the
same noise. It goes the long way round, through two means and (6.10), and so checks the algebra of (6.14) to
(6.17). Column $k$ of the result is $L_k$.

Now the two ways of averaging. The raw weight (6.4) and the sum of divergences (6.9) have the same mean:
"""

# %%
# E |x0 - x0_hat|^2 of the exact denoiser, by a sum over a grid
mmse = scalar_mmse(data, path(steps).half_log_snr)
expected = exact_terms(data, path, path.betas, mmse)  # so each E[L_k] is known without drawing anything
raw = minus_log_weight(model, chain)
verify_mean("6.9", raw, expected.sum())
beta, t = path.betas[4], 5  # one summand of the raw sum, and its counterpart after the rearrangement
mean, variance = model(chain[t], time_of(t, chain))
summand = log_normal(chain[t], (1 - beta).sqrt() * chain[t - 1], beta)
summand -= log_normal(chain[t - 1], mean, variance)
print(f"E[L] = {expected.sum():.3f} nats")
print(f"one summand (t = 5) scatters by {summand.std():.1f} nats before, {book[:, 4].std():.1f} after")

# %% [markdown]
r"""
## 6.6 The bound, the model and the truth

On a line all three quantities can be computed: the true $-\log p(x)$ of the data, the model's own
$-\log p_\theta(x)$ (on the grid), and the bound $L(x)$. The denoiser is exact, so nothing here is the error
of a network.

**Before you look.** $L(x)$ lies above $-\log p_\theta(x)$ everywhere: that is (6.5). Does it also lie above
the true $-\log p(x)$ everywhere?
"""

# %%
z = torch.linspace(-6, 6, 301, dtype=f64)
share = torch.softmax(-(z**2) / 2, dim=0)  # weights of a sum over the noise: no Monte Carlo


def bound_at(points, variances):
    """L(x) of each point, shape (n,): (6.15) with its expectation as a sum over a grid of noises."""
    total = prior_kl(path, points[:, None], path.t_max)
    for t in range(1, T + 1):
        x = points.repeat_interleave(len(z))[:, None]
        x_t = path.add_noise(x, z.repeat(len(points))[:, None], time_of(t, z))
        error = ((x - data.denoiser(path)(x_t, time_of(t, z))) ** 2).reshape(len(points), len(z)) @ share
        v, q = variances[t - 1], posterior(path, time_of(t, grid))
        if t == 1:
            total += 0.5 * (torch.log(2 * math.pi * v) + error / v)
        else:
            total += 0.5 * (torch.log(v / q.variance) + q.variance / v - 1 + q.to_x0**2 * error / v)
    return total


inside = grid[(grid > -2.3) & (grid < 2.6)][::2]
bound_curve = bound_at(inside, path.betas)
places = tensor(-2.1, -1.7, -1.2, -0.7, -0.2, 0.3, 0.75, 1.3, 1.9, 2.4)
draws = bound_terms(model, places.repeat(400)[:, None], generator=seeded(11)).sum(1).reshape(400, len(places))
bars = 3 * draws.std(0) / 20  # three standard errors
where = torch.searchsorted(grid, inside - 1e-9)
assert ((draws.mean(0) - bound_at(places, path.betas)).abs() < 5 / 3 * bars).all()
assert (bound_curve > -p_model[where].log()).all()
truth = -data.log_prob(inside[:, None])
below = (bound_curve < truth).double()
assert below.any()  # below the truth in places, and nowhere below the model's own value: asserted above
print(f"the bound lies below the truth at {below.mean():.1f} of the points shown")

figure, (ax,) = panels(1, 1, width=9, height=4)
ax.plot(inside, truth, color=DATA)
ax.plot(inside, -p_model[where].log(), color=VELOCITY, linestyle="--")
ax.plot(inside, bound_curve, color=SCORE)
ax.errorbar(places, draws.mean(0), bars, color=SCORE, fmt="o", markersize=4, capsize=3, linewidth=1.5)
ax.set(
    xlabel="x", ylabel="nats", title="the price of a point, in ten steps", ylim=(-0.2, 5.2), xlim=(-2.4, 2.7)
)
ax.text(0.85, 3.1, r"$-\log p(x)$, the data", color=DATA)
ax.text(-0.38, 1.3, "$-\\log p_\\theta(x)$,\nthe model", color=VELOCITY, ha="center")
ax.text(0.95, 4.3, r"$L(x)$, the bound; dots: Monte Carlo, ± 3 errors", color=SCORE, ha="center")
figure

# %% [markdown]
r"""
*Blue: what the data's own density charges for a point. Green, dashed: what the ten-step model charges,
computed exactly. Orange: the bound, by quadrature (line) and by 400 draws a point (dots, with bars of three
standard errors). Orange is above green everywhere; where the model puts too much, green and even orange dip
below blue.*

So the answer is no. $L$ bounds the *model's* cost, and the model may favour a point more than the data
does. On average it cannot. Averages over the data have an order:

$$\underbrace{\mathbb E[-\log p(x_0)]}_{\text{entropy } H}
\;\le\; \mathbb E[-\log p_\theta(x_0)] \;\le\; \mathbb E[L(x_0)]. \tag{6.18}$$

The first difference is $\mathrm{KL}(p\,\|\,p_\theta)$, the error of the model as a density. The second is
the average of (6.5), the error of Jensen. Together they have a form that is worth knowing. Average (6.4)
over the data and subtract $H$: under the average, $\log p(x_0)$ and $\log q(x_{1:T} \mid x_0)$ add up to
$\log q(x_{0:T})$, the density of whole noised paths. So the total gap is the divergence of two *path*
distributions. Taken backwards from $x_T$, $q$ is a Markov chain too, and (6.1) splits the gap into steps:

$$\mathbb E[L] - H = \mathrm{KL}\big(q(x_{0:T})\,\|\,p_\theta(x_{0:T})\big)
= \mathrm{KL}\big(q(x_T)\,\|\,p(x_T)\big)
+ \sum_{t=1}^{T} \mathbb E_{q(x_t)}\,\mathrm{KL}\big(q(x_{t-1} \mid x_t)\,\|\,
p_\theta(x_{t-1} \mid x_t)\big). \tag{6.19}$$

Note what stands in it: $q(x_{t-1} \mid x_t)$ *without* $x_0$, the true way back, which is not a Gaussian.
The gap of a perfect denoiser is the price of replacing the true way back by a Gaussian.
"""

# %%
log_p = data.log_prob(grid[:, None])
entropy = -(log_p.exp() * log_p).sum() * cell
cross = -(log_p.exp() * p_model.log()).sum() * cell
log_end = data.noised(path, float(T)).log_prob(grid[:, None])
# by (6.19) on the grid: nothing of (6.9) is in it
chain_gap = (log_end.exp() * (log_end - log_normal(grid, tensor(0.0), tensor(1.0)))).sum() * cell
way_back = {}
for t in range(1, T + 1):
    log_before = log_p if t == 1 else data.noised(path, float(t - 1)).log_prob(grid[:, None])
    log_now = data.noised(path, float(t)).log_prob(grid[:, None])
    beta = path.betas[t - 1]
    joint_log = log_before[:, None] + log_normal(grid[None, :], (1 - beta).sqrt() * grid[:, None], beta)
    mean, variance = model(grid[:, None], time_of(t, grid))
    model_log = log_normal(grid[:, None], mean.T, variance)
    way_back[t] = (joint_log - log_now[None, :], model_log)  # log q(x_{t-1} | x_t) and log p(x_{t-1} | x_t)
    chain_gap += (joint_log.exp() * (joint_log - log_now[None, :] - model_log)).sum() * cell**2
verify("6.19", expected.sum() - entropy, chain_gap, rtol=1e-7)
average = (log_p.exp() * bound_at(grid, path.betas)).sum() * cell
verify("6.18", average, expected.sum(), rtol=1e-6)  # the pointwise bound, averaged over the data
print(f"entropy {entropy:.3f}  <=  model {cross:.3f}  <=  bound {average:.3f} nats")
assert entropy < cross < average

# %%
figure, axes = panels(1, 3, width=11.5, height=3.1)
for ax, (t, at) in zip(axes, ((2, 0.62), (5, -0.2), (8, 0.4)), strict=True):
    k = int((at + 6) / cell + 0.5)
    q_back, p_back = way_back[t]
    ax.plot(grid, q_back[:, k].exp(), color=DATA)
    ax.plot(grid, p_back[:, k].exp(), color=SCORE, linestyle="--")
    for start in (-1.2, 0.3, 1.3):
        step = posterior(path, time_of(t, grid))
        centre_ = step.mean(tensor(start)[None], tensor(at)[None])
        height = 0.16 * q_back[:, k].exp().max()
        ax.plot(
            grid,
            height * torch.exp(-((grid - centre_) ** 2) / (2 * step.variance)).squeeze(),
            color=NOISE,
            linewidth=1,
        )
    ax.set(title=f"t = {t}, from $x_t$ = {at}", xlabel=f"$x_{{{t - 1}}}$", xlim=(-2.6, 2.6))
axes[0].set_ylabel("density")
words = (("true way back", DATA), ("model's step", SCORE), ("given $x_0$", NOISE))
for line_number, (text, color) in enumerate(words):
    axes[0].text(0.03, 0.93 - 0.1 * line_number, text, color=color, transform=axes[0].transAxes)
figure

# %% [markdown]
r"""
*Blue: the true $q(x_{t-1} \mid x_t)$. Orange, dashed: the model's Gaussian, with the exact mean. Grey, not
to scale: $q(x_{t-1} \mid x_t, x_0)$ for $x_0$ in the middle of each cluster, narrow and Gaussian. The blue
curve is the average over all starts, weighted by how likely each is. Near the data (left) it has a shoulder
that no Gaussian has; in the noise (right) the two agree. That is the whole gap.*
"""

# %% [markdown]
r"""
### Where the nats go
The sum, term by term, as Monte Carlo with error bars and exactly:
"""

# %%
terms = bound_terms(model, data.sample(2000, seeded(12)), generator=seeded(13))
bars = 3 * terms.std(0) / math.sqrt(2000)
assert ((terms.mean(0) - expected).abs() <= 5 / 3 * bars + 1e-4).all()
figure, (ax,) = panels(1, 1, width=9, height=3.6)
ax.bar(range(T + 1), expected, color=[EXTRA, *[DATA] * (T - 1), NOISE], width=0.75)
ax.errorbar(range(T + 1), terms.mean(0), bars, fmt="o", color=INK, markersize=3, capsize=3, linewidth=1.2)
ax.axhline(0, color=INK, linewidth=0.8)
ax.set(xlabel="k", ylabel="E[$L_k$] in nats", xticks=range(T + 1), title="one bill for one step")
ax.text(0.45, -0.4, "$L_0$: the last step, a density\n(may be negative)", color=EXTRA, va="top")
ax.text(5, 0.3, "$L_1$ … $L_9$: one divergence a step", color=DATA)
ax.text(T, 0.06, "$L_{10}$: the end\n(nearly 0)", color=NOISE, ha="center")
ax.set_xlim(-0.6, T + 1)
figure

# %% [markdown]
r"""
*Bars: exact. Dots: 2,000 data points, one noise for each step, three standard errors. The steps next to the
data cost most.*

Do more steps cost more, since there are more terms? Each step becomes shorter, and the true way back over a
short step *is* nearly Gaussian. So by (6.19) the gap should close.

**Before you look.** If $v_t$ is chosen as $\beta_t$, or as $\tilde\beta_t$, will the gap close in both
cases? The two variances become equal for most steps when $T$ grows.
"""

# %%
lengths = [10, 20, 50, 100, 200, 500]
gaps = {"beta": [], "beta tilde": [], "the best": []}
for n in lengths:
    p = DiscreteDDPM(cosine_betas(n))
    m = scalar_mmse(data, p(torch.arange(1, n + 1, dtype=f64)).half_log_snr)
    for name, v in zip(gaps, (p.betas, beta_tilde(p), optimal_variances(p, m)), strict=True):
        gaps[name].append(float(exact_terms(data, p, v, m).sum() - entropy))
for name, values in gaps.items():
    print(f"{name:12s}", *[f"T = {n}: {g:.3f}  " for n, g in zip(lengths, values, strict=True)])
halved = [gaps[name][4] / gaps[name][3] for name in ("beta", "the best")]
assert all(0.45 < h < 0.55 for h in halved)
r = torch.cat([tensor(2.0), 1 + 1 / torch.arange(1, 100_000, dtype=f64)])  # beta / beta tilde, equal betas
narrow = (0.5 * (r - 1 - r.log())).sum()
print(f"by (6.12), first steps with beta tilde that should have beta cost {narrow:.2f} nats")
figure, (ax,) = panels(1, 1, width=8, height=3.5)
ax.set(xscale="log", yscale="log")
curve_panel(
    ax,
    lengths,
    {
        r"$v_t = \tilde\beta_t$": gaps["beta tilde"],
        r"$v_t = \beta_t$": gaps["beta"],
        "the best $v_t$": gaps["the best"],
    },
    xlabel="number of steps T",
    ylabel="E[L] − H in nats",
    title="the gap of a perfect denoiser",
    colors=(SCORE, DATA, VELOCITY),
)
figure

# %% [markdown]
r"""
*Both axes are logarithmic. With $\beta_t$, or the best variance, each doubling of $T$ halves the gap. With
$\tilde\beta_t$ it falls a little, and not to 0.*

The two variances do become equal for *most* steps. Not for the first few, however small the betas are: the
second step doubles the noise that the first has brought, whatever $T$ is. With equal betas
$\tilde\beta_t / \beta_t = (1-\bar\alpha_{t-1})/(1-\bar\alpha_t)$ is about a half at $t = 2$ and two thirds
at $t = 3$; if they grow it is less. (At $t = 1$ stands $\tilde\beta_2$, again a half.) A handful of steps
that are too narrow by a fixed ratio cost a fixed number of nats, by (6.12): with equal betas the number
printed last. Which variance is right, then?

## 6.7 Which variance?

Look at (6.15) as a function of $v_t$ alone. With $e_t = \mathbb E\lVert x_0 - \hat x_0\rVert^2 / D$, the
mean squared error of a coordinate, it is $\tfrac D2[\log v_t + (\tilde\beta_t + c_t^2 e_t)/v_t] + \dots$
The derivative vanishes where

$$v_t^* = \tilde\beta_t + c_t^2\, e_t, \qquad\text{and there}\qquad
L_{t-1} = \frac D2 \log\frac{v_t^*}{\tilde\beta_t}. \tag{6.20}$$

<!-- code 6.20: diffedu.core.elbo.optimal_variances -->

It has a plain meaning. The way back is uncertain for two reasons: given $x_0$ there is $\tilde\beta_t$, and
$x_0$ itself is uncertain, which moves the mean by $c_t$ per unit. Variances of the two add (the law of
total variance). So $v_t^*$ of a perfect denoiser is the width of the true way back, on average: a blue
curve of the picture, not a grey one.

Now bound $e_t$. It is at least 0: somebody who knows $x_0$. It is at most what one gets from a denoiser
that knows nothing of the data, $\hat x_0 = x_t/\sqrt{\bar\alpha_t}$, whose error is pure noise of variance
$1/\mathrm{SNR}(t)$. And if the coordinates of the data have variance $s^2$, the best *linear* denoiser makes
the error of (5.13), whether the data is Gaussian or not. The best of all is no worse:

$$0 \;\le\; e_t \;\le\; \frac{s^2}{1 + s^2\,\mathrm{SNR}(t)} \;\le\; \frac{1}{\mathrm{SNR}(t)}. \tag{6.21}$$

Put the three into (6.20). Zero gives $\tilde\beta_t$. For $s^2 = 1$ the middle is $1 - \bar\alpha_t$, and

$$\tilde\beta_t + c_t^2\,(1-\bar\alpha_t)
= \beta_t\,\frac{(1-\bar\alpha_{t-1}) + \bar\alpha_{t-1}\beta_t}{1-\bar\alpha_t} = \beta_t,
\qquad
\tilde\beta_t + \frac{c_t^2}{\mathrm{SNR}(t)}
= \beta_t\,\frac{\alpha_t(1-\bar\alpha_{t-1}) + \beta_t}{\alpha_t(1-\bar\alpha_t)}
= \frac{\beta_t}{\alpha_t}. \tag{6.22}$$

(Both numerators are $1-\bar\alpha_t$ in disguise: use $\bar\alpha_{t-1}(1-\beta_t) = \bar\alpha_t$;
$\alpha_t = 1-\beta_t$ as in chapter 5.) So, for a perfect denoiser:

- $\tilde\beta_t$ is the **lower bound**, right for data at a **single point** (nothing to doubt);
- $\beta_t$ is the **upper bound for data of variance at most 1** in each coordinate, right for
  $\mathcal N(0, I)$;
- $\beta_t/\alpha_t$ is the upper bound **for any data**. For data of variance above 1 the right value may lie
  between the last two (for $\mathcal N(0, s^2 I)$ it does): "upper bound $\beta_t$" speaks of *scaled* data.

Between the bounds it is the *scale* that decides. While the noise is smaller than the finest structure of
the data, the data looks flat around $x_t$, knowing nothing of it costs nothing, and
$v_t^* \approx \beta_t$. Where the noise is much wider than the data, the data looks like a point. (In a
chain whose noise stops at variance 1, data of variance 1 never does.)
"""

# %%
widths = []
for t in range(1, T + 1):  # the average variance of the true way back, by sums over the grid: no (6.20) in it
    weight = way_back[t][0].exp() * cell  # column: x_t, row: x_{t-1}
    mean = (weight * grid[:, None]).sum(0)
    variance = (weight * (grid[:, None] - mean) ** 2).sum(0)
    widths.append((data.noised(path, float(t)).log_prob(grid[:, None]).exp() * variance).sum() * cell)
verify("6.20", optimal_variances(path, mmse), torch.stack(widths), rtol=1e-6)

p20 = DiscreteDDPM(cosine_betas(20))
times = torch.arange(1, 21, dtype=f64)
snr = p20(times).snr


def on_a_line(mean, variance):
    return GaussianMixture.single(tensor(mean), tensor(variance)[None])


errors = {  # by quadrature over x_t
    "three clusters": scalar_mmse(data, p20(times).half_log_snr),
    "N(0, 1)": scalar_mmse(on_a_line(0.0, 1.0), p20(times).half_log_snr),
    "N(0, 9)": scalar_mmse(on_a_line(0.0, 9.0), p20(times).half_log_snr),
    "nearly a point": scalar_mmse(on_a_line(0.4, 1e-4), p20(times).half_log_snr),
}
s2 = data.covariance.squeeze()
print(f"the clusters have variance {s2:.2f}")
assert (errors["three clusters"] <= s2 / (1 + s2 * snr)).all()
verify("6.21", errors["N(0, 9)"], 9 / (1 + 9 * snr), rtol=1e-6)  # Gaussian data: the middle bound is attained
verify("6.22", optimal_variances(p20, errors["N(0, 1)"]), p20.betas, rtol=1e-6)
t = 10  # the last bound needs no knowledge of the data: the error of x_t / alpha, on the clusters
now = p20(time_of(t, grid))
some, z_ = data.sample(20_000, seeded(24)), torch.randn(20_000, 1, generator=seeded(25), dtype=f64)
ignorant = (some - (now.alpha * some + now.sigma * z_) / now.alpha).square().squeeze(1)
q = posterior(p20, time_of(t, grid))
verify_mean("6.22", q.variance + q.to_x0**2 * ignorant, p20.betas[t - 1] / (1 - p20.betas[t - 1]))

# %%
figure, (ax,) = panels(1, 1, width=9, height=3.9)
best = {name: optimal_variances(p20, e) / p20.betas for name, e in errors.items()}
lower = posterior(p20, times).variance / p20.betas
ax.fill_between(times, lower, torch.ones(20), color="#EEF3F7")
ax.plot(times, 1 / (1 - p20.betas), color=INK, linestyle=":", linewidth=1.5)
marks = {
    "three clusters": (DATA, "o", "-"),
    "N(0, 1)": (VELOCITY, "s", "--"),
    "N(0, 9)": (SCORE, "^", "-."),
    "nearly a point": (NOISE, "v", ":"),
}
for name, (color, mark, style) in marks.items():
    ax.plot(times, best[name], color=color, marker=mark, linestyle=style, markersize=4)
ax.text(8.4, 1.36, r"any data: at most $\beta_t/\alpha_t$", color=INK, ha="right")
ax.text(16.1, 1.27, "N(0, 9)", color=SCORE, ha="center")
ax.text(12.5, 1.04, r"N(0, 1): exactly $\beta_t$", color=VELOCITY)
ax.text(3.3, 0.735, "three clusters", color=DATA)
ax.text(3.1, 0.3, r"nearly a point: $\tilde\beta_t$", color=NOISE)
ax.set(
    xlabel="step t of 20",
    ylabel=r"$v_t^*\,/\,\beta_t$",
    ylim=(0, 1.5),
    xlim=(0.5, 20),
    xticks=range(2, 21, 2),
)
ax.set_title("the variance that a step should have")
figure

# %% [markdown]
r"""
*The best variance in units of $\beta_t$ (20 steps, cosine); the shaded band runs from $\tilde\beta_t$ to
$\beta_t$. Read the clusters from right to left. In strong noise only their overall variance counts, which
is nearly 1: $\beta_t$. Then the noise is wider than a cluster but not than their distances, and each
cluster looks like a point: the curve bends down. At the last step the noise becomes finer than a cluster,
and the curve turns up again. $\mathcal N(0, 9)$ lies above the "upper bound" throughout.*

This also explains the previous figure. With many steps the first ones are finer than any structure of the
clusters. There $\beta_t$ is right and $\tilde\beta_t$ is wrong by a fixed ratio.

### The bill, with knobs
Below, the blue part of a bar is $\tfrac12\log(v_t^*/\tilde\beta_t)$, which no choice of $v_t$ avoids; the
orange part is what a wrong $v_t$ adds. The first knob runs from $\tilde\beta_t$ (0) to $\beta_t$ (1) and
beyond, along (6.23) below; the third multiplies the data.

**Before you move anything**, two bets. First: with the clusters as they are, which end of the first knob is
better, and is anything in between better still? Second: shrink the data to a tenth. Which end wins now? And
blown up to three times its size?
"""

# %%
bars = ElboBars(data)
bars

# %%
for scale in (0.1, 1.0, 3.0):
    costs = {v: bars.numbers(T=10, schedule="cosine", v=v, scale=scale).excess for v in (0.0, 0.75, 1.0)}
    words = [f"{cost[1:].sum():.2f} (v = {v})  " for v, cost in costs.items()]
    print(f"data × {scale}: in L_1 to L_9 a wrong variance costs", *words)

# %% [markdown]
r"""
As they are, the clusters want something between the bounds, near $\beta_t$. Shrunk to a tenth, they are a
point to most of the noise: $\tilde\beta_t$. Blown up, they want $\beta_t$, and no point of the knob serves
all steps well: one $v$ for all of them is too little freedom.
"""

# %% [markdown]
r"""
## 6.8 Learn the variance

The best variance depends on the data, on the step and, if we let it, on the point $x_t$ and the coordinate.
So let a network say it. Nichol and Dhariwal let it choose *between the two bounds, on a logarithmic scale*,
with one number $v$ for each coordinate:

$$v_t(x_t) = \exp\!\big(v \log\beta_t + (1-v)\log\tilde\beta_t\big), \qquad v = v_\theta(x_t, t). \tag{6.23}$$

<!-- definition 6.23: the parametrisation is a choice -->
<!-- code 6.23: diffedu.core.elbo.interpolated_variance -->

The logarithm keeps variances positive and treats ratios alike: they range over several powers of ten. $v$
is not confined to $[0, 1]$, and by the last section it should not be.

What trains $v$? The simple squared error does not contain the variance, the bound does. But the bound is a
bad teacher of the *mean*. Its weights differ by orders of magnitude from step to step, and that makes its
gradients noisy; chapter 7 drops the weights. So each part is taught by the loss that suits it:

$$L_{\text{hybrid}} = L_{\text{simple}} + \lambda\, L\big(\text{mean held fixed}\big),
\qquad \lambda = 0.001. \tag{6.24}$$

<!-- definition 6.24: a training objective is a choice; the stop-gradient is tested below -->
<!-- code 6.24: diffedu.core.elbo.HybridLoss -->

"Held fixed" is a **stop-gradient**: the mean enters the bound as a number, and no gradient flows back
through it (`detach` in PyTorch). With $\lambda$ small the bound hardly disturbs what the two parts share
inside a network.

We can see the learned variance hit its target. In (6.15) read at one $x_t$, the expectation is over $x_0$
given $x_t$, so the best variance *at a point* is $\tilde\beta_t + c_t^2\operatorname{Var}[x_0 \mid x_t]$,
which the mixture knows. The mean below is exact; a small network learns $v$ alone.
"""

# %%
device = "cuda" if torch.cuda.is_available() else "cpu"
single = data.to(device=device, dtype=torch.float32)
exact = single.denoiser(path)
torch.manual_seed(0)
v_net = MLP(dim=1, t_max=path.t_max, width=64, depth=2).to(device)


def both(x_t, t):
    """What a network with two halves returns: a prediction of x0, and v."""
    return torch.cat([exact(x_t, t), v_net(x_t, t)], dim=1)


loss = HybridLoss(path, X0, weight=1.0)
examples = single.sample(20_000, seeded(14, device))
state = TrainState(v_net, TrainConfig(steps=1200, batch=512, lr=3e-3, warmup=50))
for _ in train(state, lambda net, batch, generator: loss(both, batch[0], generator), (examples,)):
    pass
v_net.eval()


def best_at(x_t, t):
    """beta_tilde + c^2 Var[x0 | x_t], shape (B, 1): the best variance at a point."""
    weights, means, covariances = data.posterior(x_t, time_of(t, x_t), path)
    mean = (weights[:, :, None] * means).sum(1)
    variance = (weights[:, :, None] * (covariances[..., 0] + (means - mean[:, None]) ** 2)).sum(1)
    q = posterior(path, time_of(t, grid))
    return q.variance + q.to_x0**2 * variance


class BestVariance:
    """The exact mean with the best variance at each point."""

    def __init__(self, path):
        self.path = path

    def __call__(self, x_t, t):
        return posterior(self.path, t).mean(data.denoiser(self.path)(x_t, t), x_t), best_at(x_t, t.item())


def learned(x_t, t):
    with torch.no_grad():
        value = both(x_t.to(device, torch.float32), t.to(device, torch.float32))
    return torch.cat([data.denoiser(path)(x_t, t), value[:, 1:].to(x_t)], dim=1)


fresh = data.sample(20_000, seeded(15))
chains = {
    "beta tilde": FixedVariance(data.denoiser(path), path, beta_tilde(path)),
    "beta": model,
    "best for each t": FixedVariance(data.denoiser(path), path, optimal_variances(path, mmse)),
    "learned at each point": LearnedVariance(learned, path, X0),
    "best at each point": BestVariance(path),
}
# equal noise for all
totals = {name: bound_terms(m, fresh, generator=seeded(16)).sum(1) for name, m in chains.items()}
for name, total in totals.items():
    decimals = 1 if name.startswith("learned") else 2  # training differs a little between processors
    print(f"{name:22s} E[L] = {total.mean():.{decimals}f} nats")
print(f"{'entropy':22s} H    = {entropy:.2f}")
extra = totals["learned at each point"] - totals["best at each point"]
assert extra.mean() < 0.05
assert totals["learned at each point"].mean() < totals["best for each t"].mean()

# %%
figure, axes = panels(1, 3, width=11.5, height=3.3)
for ax, t in zip(axes, (2, 5, 8), strict=True):
    noisy = data.noised(path, float(t))
    reach = 2.2 * float(noisy.covariance.sqrt())
    x = torch.linspace(float(noisy.mean) - reach, float(noisy.mean) + reach, 200, dtype=f64)[:, None]
    high, low = path.betas[t - 1], beta_tilde(path)[t - 1]
    single_value = optimal_variances(path, mmse)[t - 1]
    for height, name, over in (
        (high, r"$\beta_t$", bool(single_value < high)),
        (low, r"$\tilde\beta_t$", False),
    ):
        ax.axhline(height, color=INK, linewidth=1.2, linestyle=":")
        ax.annotate(
            name,
            (x[0], height),
            (0, 3 if over else -3),
            textcoords="offset points",
            va="bottom" if over else "top",
        )
    ax.axhline(single_value, color=NOISE, linewidth=1.5)
    best = best_at(x, t)
    ax.plot(x, best, color=DATA)
    ax.plot(
        x, LearnedVariance(learned, path, X0)(x, time_of(t, x).expand(200))[1], color=SCORE, linestyle="--"
    )
    ax.set(title=f"t = {t}", xlabel=f"$x_{{{t}}}$")
    ax.set_ylim(float(low - 0.25 * (best.max() - low)), float(best.max() + 0.15 * (best.max() - low)))
axes[0].set_ylabel("variance of the step")
words = "blue: the best\norange: learned\ngrey: one for all"
axes[0].text(0.03, 0.97, words, transform=axes[0].transAxes, va="top", fontsize=10)
figure

# %% [markdown]
r"""
*Three of ten steps. Blue: $\tilde\beta_t + c_t^2 \operatorname{Var}[x_0 \mid x_t]$. Orange, dashed: what
the network has learned. Grey: the best single value. Dotted: the two bounds. Between two clusters the way
back is uncertain and the step must be wide, wider than "the upper bound". The bounds of section 6.7 hold on
average over $x_t$, not at each point. (At $t = 8$ the grey line is above $\beta_t$ as well: the variance of
the data is 1.07.)*

The stop-gradient, seen: the bound's part sends nothing to the mean.
"""

# %%
halves = torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]).to(device)
for weight in (0.0, 1.0):
    halves.zero_grad()
    two = lambda x_t, t: torch.cat([halves[0](x_t), halves[1](x_t)], dim=1)  # noqa: E731
    HybridLoss(path, X0, weight)(two, examples[:512], seeded(17, device)).mean().backward()
    moved = [half.weight.grad is not None and bool(half.weight.grad.abs().sum() > 0) for half in halves]
    print(f"weight {weight}: gradient reaches the mean: {moved[0]}, the variance: {moved[1]}")
    if weight == 0.0:
        alone = halves[0].weight.grad.clone()
print("the mean's gradient is the same in both cases:", torch.equal(alone, halves[0].weight.grad))

# %% [markdown]
r"""
## 6.9 Bits per dimension

A bound in nats depends on how many pixels there are and on their units. To compare models one divides by
the number of dimensions, changes to bits, and *fixes the unit to one grey level*.

Pixels are whole numbers $k$ from 0 to 255. A model sees $x = k/127.5 - 1$. Let $y = 127.5\,(x + 1)$ be the
same thing in grey levels. A density is probability per length, and a length of 1 in $x$ is 127.5 in $y$. So
in each dimension $p_y(y) = p_x(x) \cdot dx/dy$, and for $D$ of them

$$\log p_y(y) = \log p_x(x) - D\log 127.5. \tag{6.25}$$

With $L$ for $-\log p_x$, divided by $D$ and by $\log 2$:

$$\text{bits per dimension} = \frac{L/D + \log 127.5}{\log 2},
\qquad \frac{\log 127.5}{\log 2} \approx 6.99. \tag{6.26}$$

<!-- code 6.26: diffedu.core.elbo.bits_per_dimension -->

**The constant is the change of variables.** Forget it, and a good model of pictures seems to need a negative
number of bits. Take 256 for data in $[-1, 1]$, and every number is one bit too large.

May a density be compared with the *probability* of whole numbers, bits on a disk? Only if noise $u$,
uniform on $[0, 1)$, is added to $k$ first (**dequantisation**). The density integrated over a cell is a
probability $P(k) = \int_0^1 p_y(k + u)\,du$, and Jensen once more gives
$-\log P(k) \le \mathbb E_u[-\log p_y(k+u)]$: a bound again. On data that was not dequantised a density can
be made arbitrarily large by spikes on the whole numbers, and the "bits" mean nothing.

The other way is to let the last step return probabilities itself. DDPM gives each level the Gaussian's mass
on its bin, $\Phi(\text{right edge}) - \Phi(\text{left edge})$ with edges $x \pm 1/255$, the outermost bins
reaching to infinity. Then $L_0$ is a true code length, and no constant is added.
"""

# %%
mu, std = 0.2, 0.3
in_levels = torch.distributions.Normal(tensor(127.5 * (mu + 1)), tensor(127.5 * std))
level = torch.arange(256, dtype=f64)
verify(
    "6.25",
    in_levels.log_prob(level),
    log_normal(level / 127.5 - 1, tensor(mu), tensor(std**2)) - math.log(127.5),
)

u = (torch.arange(1000, dtype=f64) + 0.5) / 1000
inside_cell = in_levels.log_prob(150 + u)
assert -inside_cell.exp().mean().log() < -inside_cell.mean()  # Jensen
levels_1 = torch.linspace(-1, 1, 256, dtype=f64)[:, None]
mass = discretised_gaussian_log_prob(levels_1, torch.full_like(levels_1, mu), tensor(std**2)[0])
print(f"the 256 probabilities sum to {mass.exp().sum():.6f}")

# %% [markdown]
r"""
How many bits does a network need for real pixels? We take the book's digits, averaged to 7 × 7 pixels and
rounded to 256 levels again, so that a small network learns them in seconds. Its chain has 50 of the 1,000
cosine steps, crowded towards the data (skipped steps, (5.24)). Such a chain is a model in its own right,
with a bound of its own. The best variance of each step is measured on training digits, by (6.20), and used
on test digits.

**Before you look.** More than half of these pixels are exactly black, nearly a point; the others vary. Upper
bound, lower bound, or neither?
"""


# %%
def seven_by_seven(images):
    """Digits (N, 1, 28, 28) as 49 pixels each, on 256 levels in [-1, 1]: shape (N, 49)."""
    coarse = torch.nn.functional.avg_pool2d(images, 4).flatten(1)
    return ((coarse + 1) * 127.5).round() / 127.5 - 1


training = seven_by_seven(digits("train", device=device).images)
test = seven_by_seven(digits("test", device=device).images)
long = DiscreteDDPM(cosine_betas(1000))
kept = torch.maximum((1000 * torch.linspace(0, 1, 51)[1:] ** 2).round().long(), torch.arange(1, 51))
short = DiscreteDDPM(betas_from_alpha_bar(torch.cat([long.alpha_bar[:1], long.alpha_bar[kept]])))
torch.manual_seed(0)
digit_net = MLP(dim=49, t_max=1000.0, width=128, depth=2).to(device)
own_time = kept.to(device, torch.float32)


def called_at(x_t, t):
    """The network hears the time on the long clock, where neighbouring noise levels are told apart."""
    return digit_net(x_t, own_time[t.long() - 1])


state = TrainState(digit_net, TrainConfig(steps=1500, batch=256, lr=3e-3))
digit_loss = DenoisingLoss(short, EPS)
for _ in train(state, lambda net, batch, generator: digit_loss(called_at, batch[0], generator), (training,)):
    pass
digit_net.eval().requires_grad_(False)
digit_denoiser = Clipped(NetworkDenoiser(called_at, short, EPS))

generator, squares = seeded(18, device), []
for t in range(1, short.T + 1):
    moment, clean = torch.tensor(float(t), device=device), training[:2000]
    eps = torch.randn(clean.shape, generator=generator, device=device)
    squares.append(
        (clean - digit_denoiser(short.add_noise(clean, eps, moment), moment)).square().mean().cpu()
    )
measured = optimal_variances(short, torch.stack(squares).double())

digit_bits = {}
for name, v in (("beta", short.betas), ("beta tilde", beta_tilde(short)), ("measured", measured)):
    chain_model = FixedVariance(digit_denoiser, short, v)
    nats = bound_terms(
        chain_model, test, generator=seeded(19, device), log_likelihood=discretised_gaussian_log_prob
    )
    digit_bits[name] = bits_per_dimension(nats, 49, levels_per_unit=1.0).cpu()
    total = digit_bits[name].sum(1)
    assert total.std() / math.sqrt(len(test)) < 0.05
    low = math.floor(2 * total.mean()) / 2
    print(f"{name:11s} between {low} and {low + 0.5} bits per dimension (standard error below 0.05)")
mean_bits = {name: float(b.sum(1).mean()) for name, b in digit_bits.items()}
assert mean_bits["measured"] < min(mean_bits["beta"], mean_bits["beta tilde"]) - 0.15
levels = ((training + 1) * 127.5).round().long().cpu(), ((test + 1) * 127.5).round().long().cpu()
counts = torch.stack([torch.bincount(levels[0][:, j], minlength=256) for j in range(49)]) + 0.1
code = -(counts / counts.sum(1, keepdim=True)).log2()[torch.arange(49), levels[1]]
print(f"a table of each pixel's frequencies: {code.mean():.1f} bits; stored plainly: 8")
print(f"share of exactly black pixels: {(levels[1] == 0).double().mean():.2f}")

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.4)
share_of = digit_bits["measured"].mean(0)
left.bar(range(short.T), share_of[:-1], color=[EXTRA, *[DATA] * (short.T - 1)], width=0.8)
left.text(1.5, share_of[0] * 0.9, "$L_0$: which grey level", color=EXTRA)
left.text(14, 0.25, "$L_1$ … $L_{49}$: the steps", color=DATA)
left.set(xlabel="k", ylabel="bits per dimension", title="where the bits of a digit go")
after = torch.arange(2, short.T + 1)
tilde_ratio = posterior(short, after.double()).variance / short.betas[1:]
right.fill_between(after, tilde_ratio, torch.ones(short.T - 1), color="#EEF3F7")
right.plot(after, torch.ones(short.T - 1), color=SCORE, linestyle="--")
right.plot(after, tilde_ratio, color=NOISE, linestyle=":")
right.plot(after, measured[1:] / short.betas[1:], color=DATA)
right.set(
    xlabel="step t", ylabel=r"variance / $\beta_t$", title="the best variance for digits", ylim=(0.4, 1.12)
)
right.text(25, 1.03, r"$\beta_t$: right for N(0, I)", color=SCORE)
right.text(17, 0.66, r"$\tilde\beta_t$: right for a point", color=NOISE)
right.text(7, 0.9, "measured", color=DATA)
figure

# %% [markdown]
r"""
*Left: the bits of a test digit, with the measured variances. Right: the best variance, measured, between
the two bounds. (The curves are jagged since the chain keeps whole steps of the long one.)*

Two lessons. First, real data lies between the bounds, and a table of 50 measured numbers saves what a
better network would have to work for. Second, the score is poor: a table that knows nothing but how often
each pixel takes each value does better. Most pixels are exactly black. That costs the table next to nothing,
while a chain of Gaussians pays for closing in on one exact value, step by step, in its first terms. A
likelihood spends its bits on the last grey levels of every pixel; the eye judges shapes,
which are decided at large $k$, where hardly any bits go. That is why DDPM trains a reweighted sum (chapter
7), and why bits per dimension and looks are different goals.

## 6.10 Infinitely many steps: only the ends count

Take $v_t = \tilde\beta_t$ and put (6.16) into (6.15): a step costs
$\tfrac12\,[\mathrm{SNR}(t-1) - \mathrm{SNR}(t)]\; \mathbb E\lVert x_0 - \hat x_0\rVert^2$. Summed over
steps this is a Riemann sum. Let a path run in continuous time between a time $t_0$ next to the data and a
late time $t_1$, and cut the interval ever finer:

$$L_\infty = -\frac12 \int_{t_0}^{t_1} \mathrm{SNR}'(t)\;
\mathbb E\,\lVert x_0 - \hat x_0(x_t, t)\rVert^2\; dt. \tag{6.27}$$

<!-- code 6.27: diffedu.core.elbo.bound_rate -->

(The minus makes it positive: SNR falls.) Now take the signal-to-noise ratio itself as the variable,
$\varsigma = \mathrm{SNR}(t)$, $d\varsigma = \mathrm{SNR}'(t)\,dt$. The error under the integral depends on
$t$ through $\varsigma$ only: a denoiser may first divide $x_t$ by $\alpha$, and
$x_t/\alpha = x_0 + \varepsilon/\sqrt{\varsigma}$ knows nothing of the path. So

$$L_\infty = \frac12 \int_{\mathrm{SNR}(t_1)}^{\mathrm{SNR}(t_0)}
\mathbb E\,\big\lVert x_0 - \hat x_0(x_0 + \varepsilon/\sqrt\varsigma,\ \varsigma)\big\rVert^2\;
d\varsigma. \tag{6.28}$$

**Of the schedule only its two ends are left.** What it does between them does not matter, for any denoiser,
good or bad. (In the paper of Kingma et al. this is the reason to *learn* the schedule for another purpose:
it still decides how noisy the estimate is when $t$ is drawn at random.)

**Before you look.** VP, cosine and rectified flow between the same two signal-to-noise ratios. Draw in your
mind the integrand of (6.27) for each, over $t$. What must be equal, what may differ?
"""

# %%
ends = tensor(3.0, -3.0)  # half-log-SNR at t_0 and t_1
lam = torch.linspace(3, -3, 601, dtype=f64)
sampled, noise = data.sample(300, seeded(20)), torch.randn(300, 1, generator=seeded(21), dtype=f64)
believer = on_a_line(-0.25, 1.0673)  # a wrong model: one Gaussian with the mean and variance of the data
paths = {"VP": VP(), "cosine": Cosine(), "rectified flow": RectifiedFlow()}
rates, areas = {}, {}
for name, p in paths.items():
    t = time_at_half_log_snr(p, lam)
    for who, mixture in (("exact", data), ("wrong", believer)):
        rate = torch.stack([bound_rate(mixture.denoiser(p), sampled, noise, s).mean() for s in t])
        rates[name, who], areas[name, who] = (t, rate), torch.trapezoid(rate, t)
snr = torch.exp(2 * lam).flip(0)
for who, mixture in (("exact", data), ("wrong", believer)):
    denoiser = mixture.denoiser(EDM())  # no path: x0 + eps / sqrt(SNR) as it stands in (6.28)
    error = torch.stack([(sampled - denoiser(sampled + noise * r, r)).square().mean() for r in snr**-0.5])
    area = 0.5 * torch.trapezoid(error, snr)
    verify("6.28", torch.stack([areas[name, who] for name in paths]), area.expand(3), rtol=1e-4, over="paths")
    print(f"{who} denoiser: {areas['VP', who]:.2f} nats on every path (300 points)")


def discrete_sum(n):
    """The sum of (6.15), with (6.16), over n steps of the VP path between the two ends."""
    t = time_at_half_log_snr(VP(), torch.linspace(3, -3, n + 1, dtype=f64))
    fine = DiscreteDDPM(betas_from_alpha_bar(torch.cat([tensor(1.0), VP()(t).alpha ** 2])))
    denoiser, total = data.denoiser(fine), 0.0
    for k in tensor(*range(2, n + 2)):  # step 1 of this chain leads to t_0
        step = posterior(fine, k)
        error = (sampled - denoiser(fine.add_noise(sampled, noise, k), k)).square().mean()
        total = total + 0.5 * step.to_x0**2 / step.variance * error
    return total


coarse, finer = discrete_sum(400), discrete_sum(800)  # the distance to the limit falls as 1/n, so continue it
verify("6.27", 2 * finer - coarse, areas["VP", "exact"], rtol=1e-4)

# %%
figure, (left, right) = panels(1, 2, width=11, height=3.4)
for name, color, style in zip(paths, (DATA, SCORE, VELOCITY), ("-", "--", "-."), strict=True):
    t, rate = rates[name, "exact"]
    left.plot(t, rate, color=color, linestyle=style)
    slope = torch.gradient(lam, spacing=(t,))[0]
    right.plot(lam, -rate / slope, color=color, linestyle=style)
for place, name, color in (
    ((0.6, 0.04), "VP", DATA),
    ((0.8, 0.75), "cosine", SCORE),
    ((0.3, 3.2), "rectified flow", VELOCITY),
):
    left.text(*place, name, color=color, ha="right" if name == "VP" else "left")
left.set(xlabel="time t", ylabel="nats per unit of time", title="three ways to spend")
right.set(
    xlabel=r"half-log-SNR $\lambda$",
    ylabel=r"nats per unit of $\lambda$",
    title="the same bill",
    xlim=(3, -3),
)
left.set_yscale("log")
figure

# %% [markdown]
r"""
*Left: the integrand of (6.27) on three paths between the same two ratios, on a logarithmic axis (the
printed areas are equal, though the eye cannot see it). Right: the same, per unit of $\lambda$: one curve,
three times.*

### The bill is information
What *is* this integral? For the exact denoiser the error is the smallest possible, the **mmse**. By (6.19)
the gap closes as the steps become fine, if the two ends are exact as well: $q(x_{t_1})$ for $p(x_T)$, and
$q(x_0 \mid x_{t_0})$ for the last step. The bound is then $H$. Its first end costs $I(x_0; x_{t_1})$, the
information between $x_0$ and $x_{t_1}$, and its last $H - I(x_0; x_{t_0})$, what is left to be said once
$x_{t_0}$ is known. The steps between pay the rest. With
$I(x_0; x_t) = h(x_t) - \tfrac D2 \log(2\pi e\,\sigma_t^2)$, the entropy of $x_t$ without and with $x_0$,

$$\frac12 \int_{\mathrm{SNR}(t_1)}^{\mathrm{SNR}(t_0)} \mathrm{mmse}(\varsigma)\; d\varsigma
= I(x_0; x_{t_0}) - I(x_0; x_{t_1}). \tag{6.29}$$

The theorem is older than diffusion models (Guo, Shamai and Verdú, 2005). Read: *the bound charges each step
for the information about $x_0$ that denoising reveals in it.*
"""

# %%
lam_fine = torch.linspace(-3, 3, 801, dtype=f64)
error = scalar_mmse(data, lam_fine)
bill = torch.trapezoid(torch.exp(2 * lam_fine) * error, lam_fine)  # d SNR = 2 SNR d lambda


def information(p, t):
    """I(x0; x_t) in nats, from the entropy of x_t on the grid."""
    log_q = data.noised(p, t).log_prob(grid[:, None])
    return -(log_q.exp() * log_q).sum() * cell - 0.5 * torch.log(2 * math.pi * math.e * p(t).sigma ** 2)


t_0, t_1 = time_at_half_log_snr(VP(), ends)
verify("6.29", bill, information(VP(), t_0) - information(VP(), t_1), rtol=1e-6)

for n in (5, 10, 20, 40):  # steps of equal length in lambda between the same ends
    snr = torch.exp(2 * torch.linspace(3, -3, n + 1, dtype=f64))
    upper = 0.5 * ((snr[:-1] - snr[1:]) * scalar_mmse(data, 0.5 * snr[1:].log())).sum()
    print(f"{n:2d} steps: {upper:.2f} nats; the integral: {bill:.2f}")

draws = {
    name: continuous_bound(
        data.denoiser(p), data.sample(20_000, seeded(22)), generator=seeded(23),
        t_low=float(time_at_half_log_snr(p, ends)[0]), t_high=float(time_at_half_log_snr(p, ends)[1]),
    ).diffusion
    for name, p in paths.items()
}  # fmt: skip
scatter = {name: d.std() for name, d in draws.items()}
for d in draws.values():
    assert (d.mean() - bill).abs() < 5 * d.std() / math.sqrt(20_000)
print("one t at random: scatter in nats", {name: round(float(s)) for name, s in scatter.items()})

# %% [markdown]
r"""
Three remarks. *More steps never hurt*: the discrete sum charges each step the error at its noisy end, where
it is largest. So it is an upper sum of the integral, and refining it lowers it. *But the ends must stay.* In
section 6.6 the first step moved towards the data when $T$ grew, and the first steps stayed coarse in
$\lambda$. That is why the gap with $\tilde\beta_t$ did not close there and closes here. *And the schedule is
a choice of variance*: the same integral, estimated with one random $t$ for each example, scatters by the
numbers above.

## 6.11 Exercises

`check` tells you what is wrong, `hint("6.1")` gives a hint at each call, and the solutions stand in
`chapters/solutions/`. Two come from the **errata museum**: mistakes that stood in published tutorials, in
code that runs.
"""

# %%
for one in exercises(6):
    print(one)

# %% [markdown]
r"""
**Exercise 6.1 ★ — two Gaussians.** Write (6.10) for batches: means and variances of shape `(B, D)`,
independent coordinates, one number for each example.
"""


# %% tags=["exercise"]
def kl(mean_q, variance_q, mean_p, variance_p):
    """KL(q || p), shape (B,), in nats; all arguments have shape (B, D)."""
    ...


# %%
check("6.1", kl)

# %% [markdown]
r"""
**Exercise 6.2 ★ — what is known?** A day of training lowers $L(x)$ of a certain picture from 3.2 to 2.9
nats per dimension. What follows for the model's $-\log p_\theta(x)$ of that picture, per dimension: it
"fell", it "rose", it "fell by 0.3", or it is now "at most 2.9"?
"""

# %% tags=["exercise"]
what_is_known = ...

# %%
check("6.2", what_is_known)

# %% [markdown]
r"""
**Exercise 6.3 ★ — in bits.** Pictures of 32 × 32 pixels and three channels, bytes scaled to $[-1, 1]$ by
$x = k/127.5 - 1$ after dequantisation. A model's bound is $L = -7000$ nats a picture, as a density of $x$.
How many bits per dimension is that?
"""

# %% tags=["exercise"]
bits_of_the_model = ...

# %%
check("6.3", bits_of_the_model)

# %% [markdown]
r"""
**Exercise 6.4 ★★ — one step's bill.** Write $L_{t-1}$ of (6.15) for a batch. Each example has its own
$t \ge 2$, and the squared error of its own draw stands in the place of the expectation.
"""


# %% tags=["exercise"]
def step_cost(x0, x0_hat, t, betas, variance):
    """L_{t-1}, shape (B,), from x0, x0_hat (B, D), whole t (B,) from 2 to T, betas (T,), variance (B,)."""
    ...


# %%
check("6.4", step_cost)

# %% [markdown]
r"""
**Exercise 6.5 ★★ — errata museum: the sum.** This function is meant to add up (6.9). Posteriors come in the
order of their $t$, as one writes them; the model's steps in the order in which a sampler makes them. It
holds *two* mistakes. Find and fix both. (Exercise 6.1 or `gaussian_kl` computes the divergences; the
arithmetic of it is right.)
"""


# %% tags=["exercise"]
def negative_elbo(prior_term, q_steps, p_steps, log_likelihood):
    """L, shape (B,), in nats.

    prior_term: L_T, shape (B,). q_steps: (mean, variance) of q(x_{t-1} | x_t, x0) for t = 2, ..., T.
    p_steps: (mean, variance) of p(x_{t-1} | x_t) for t = T, ..., 2. All of shape (B, D).
    log_likelihood: log p(x0 | x_1), shape (B,).
    """
    total = prior_term
    for (mean_q, variance_q), (mean_p, variance_p) in zip(q_steps, p_steps):
        ratio = variance_q / variance_p
        total = total + 0.5 * (ratio - 1 - ratio.log() + (mean_q - mean_p) ** 2 / variance_p).sum(1)
    return total + log_likelihood


# %%
check("6.5", negative_elbo)

# %% [markdown]
r"""
**Exercise 6.6 ★★ — errata museum: the step.** Mean and variance of $p_\theta(x_{t-1} \mid x_t)$ with a
learned $v$: (5.23) with $\hat x_0$ put in, and (6.23). Two mistakes again. (The first of them does *not*
show in the bound, if the same function also serves for $q(x_{t-1} \mid x_t, x_0)$: why? It ruins the
samples.)
"""


# %% tags=["exercise"]
def model_step(x0_hat, x_t, t, v, betas):
    """Mean and variance, each (B, D); x0_hat, x_t and v (B, D), whole t (B,) from 2 to T, betas (T,)."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta, before, now = (a[:, None] for a in (betas[t - 1], alpha_bar[t - 1], alpha_bar[t]))
    tilde = (1 - before) / (1 - now) * beta
    mean = before.sqrt() * beta / (1 - now) * x0_hat + now.sqrt() * (1 - before) / (1 - now) * x_t
    return mean, v * beta + (1 - v) * tilde


# %%
check("6.6", model_step)

# %% [markdown]
r"""
**Exercise 6.7 ★★ — the right width for Gaussian data.** For data $\mathcal N(m, s^2 I)$ and a perfect
denoiser, return the best variance (6.20) of each step. Then try $s^2 = 0$, 1 and a million.
"""


# %% tags=["exercise"]
def best_variances(s2, betas):
    """v*_1 ... v*_T, shape (T,): s2 a number, betas (T,)."""
    ...


# %%
check("6.7", best_variances)

# %% [markdown]
r"""
**Exercise 6.8 ★★★ — stop the gradient.** Write (6.24) for given outputs of a network that predicts $x_0$,
at times $t \ge 2$. $L_{\text{simple}}$ is the mean squared error over the coordinates. The bound's part is
$\lambda\,T\,L_{t-1}/D$, with the mean held fixed and the variance (6.23). Gradients are checked, too.
"""


# %% tags=["exercise"]
def hybrid(x0, x0_hat, v, t, betas, weight):
    """L_hybrid, shape (B,); x0, x0_hat, v (B, D), whole t (B,) from 2 to T, betas (T,), weight = lambda."""
    ...


# %%
check("6.8", hybrid)

# %% [markdown]
r"""
**Exercise 6.9 ★★★ — the bill of a Gaussian.** For data $\mathcal N(m, s^2)$ on a line, do the integral
(6.28) with the exact denoiser, between two signal-to-noise ratios. Compare with (6.29): how much does each
end know?
"""


# %% tags=["exercise"]
def gaussian_bill(s2, snr_low, snr_high):
    """L_infinity in nats; tensors of one shape, element by element."""
    ...


# %%
check("6.9", gaussian_bill)

# %% [markdown]
r"""
## 6.12 What the field does with it, and where this simplification breaks

- **Hardly anyone trains $L$ itself.** DDPM drops the weight in front of the squared error (chapter 7). What
  is left is a *reweighted* bound, with less weight on the steps next to the data, where bits are many and
  little is visible. Kingma and Gao (2023) show that weights which only fall towards the data give an
  average of bounds of *noised* data.
- **Likelihood is trained** where it is the goal: compression, density estimation, text. There (6.27) is
  used as it stands, with learned ends and a learned schedule (Kingma et al. 2021).
- **Learned variances** pay when steps are few: with ten steps the best variance is visibly cheaper than
  $\beta_t$, with 500 hardly (the figure of section 6.6). The variance can also be computed after training,
  from the measured error (6.20): Bao et al. (2022).
- **Steps need not be Gaussian.** The derivation up to (6.9) never used it. Discrete diffusion puts
  categorical steps into the same sum.

Where it breaks: the bound is a bound. Two models may be ranked by $L$ in one way and by $\log p_\theta$ in
the other; the likelihood of chapter 10, by an ODE, is exact (for *its* model). The closed forms need $q$
Gaussian given $x_0$. And the denoiser here was exact. A network's error enters each $L_{t-1}$ with the
weight of (6.15); next to the data that weight is large, and a small error is expensive.

### References
Our $t$, $\beta_t$ and $\bar\alpha_t$ are those of Ho et al.; $L_{t-1}$ too. $L$ is a cost: minus the ELBO.
- Sohl-Dickstein, Weiss, Maheswaranathan, Ganguli (2015), *Deep unsupervised learning using nonequilibrium
  thermodynamics*: the bound for diffusion chains, section 2.
- Ho, Jain, Abbeel (2020), *Denoising diffusion probabilistic models*: (6.4) is their eq. 3, (6.9) eq. 5
  (derived in their appendix A), the posterior eq. 6 and 7; $\beta_t$ and $\tilde\beta_t$ as bounds, section
  3.2; the discretised last step, eq. 13.
- Nichol, Dhariwal (2021), *Improved denoising diffusion probabilistic models*: (6.23) is eq. 15, (6.24) 16.
- Bao, Li, Zhu, Zhang (2022), *Analytic-DPM*: the best variance and its bounds, theorems 1 and 2.
- Kingma, Salimans, Poole, Ho (2021), *Variational diffusion models*: (6.16) in section 4, (6.27) and (6.28)
  in section 5.
- Guo, Shamai, Verdú (2005), *Mutual information and minimum mean-square error in Gaussian channels*:
  (6.29), theorem 1 and its consequences.
- Theis, van den Oord, Bethge (2016), *A note on the evaluation of generative models*: dequantisation, and
  why likelihood and samples may disagree.
- Kingma, Gao (2023), *Understanding diffusion objectives as the ELBO with simple data augmentation*.
"""
