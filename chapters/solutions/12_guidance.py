# %%
import torch

# %% [markdown]
r"""
Ask each knob where it leaves the class as it is. (a) at $w = 0$, so ours is $1 + w$. (b) at 1. (c) with one
gradient of the classifier (12.3) is Bayes' rule: 1 again. (d) at 0, since the model knows the label: $G_1 +
1.5\,\nabla\log p_t(y\mid x) = G_{2.5}$.
"""

# %% tags=["solution-12.1"]
scales_of_four = (2.5, 1.5, 1.5, 2.5)

# %% [markdown]
r"""
At `guidance_scale = 1` the stub gives $2\varepsilon_c - \varepsilon_u$. It is Ho and Salimans' formula,
with $w$ called `guidance_scale`.
"""


# %% tags=["solution-12.2"]
def guided_noise(eps_c, eps_u, guidance_scale):
    """Guided noise (B, D), from the noise with and without label (B, D) and a number."""
    return eps_u + guidance_scale * (eps_c - eps_u)


# %% [markdown]
r"""
The gradient was lost: a number $\log p(y\mid x)$ stood in the place of a direction. And (12.6) is meant for
$dt < 0$: a step of positive length towards the data *subtracts* the drift.
"""


# %% tags=["solution-12.3"]
def guided_step(x, score, log_prob, scale, f, g, dt):
    """x after a step of length dt > 0 towards the data; x, score (B, D); scale, f, g, dt numbers."""
    here = x.detach().requires_grad_()
    (push,) = torch.autograd.grad(log_prob(here).sum(), here)
    drift = f * x - g**2 * (score + scale * push)
    return x - drift * dt


# %% [markdown]
r"""
Bayes' rule at time $t$: noised, class $k$ is $\mathcal N(\alpha m_k, \alpha^2 s_k^2 + \sigma^2)$.
`log_softmax` subtracts the largest term before it takes an exponential, so nothing underflows.
"""


# %% tags=["solution-12.4"]
def log_classes(x_t, alpha, sigma, weights, means, stds):
    """Shape (B, K), for x_t (B, D), two numbers, weights (K,), means (K, D), stds (K,)."""
    variance = (alpha * stds) ** 2 + sigma**2
    square = (x_t[:, None] - alpha * means).square().sum(2)
    logs = weights.log() - square / (2 * variance) - 0.5 * x_t.shape[1] * variance.log()
    return torch.log_softmax(logs, dim=1)


# %% [markdown]
r"""
The time is one number for the whole batch, so a plain `if` decides before the second network is asked.
"""


# %% tags=["solution-12.5"]
def interval_guidance(conditional, unconditional, x_t, t, guidance_scale, low, high):
    """x0_hat, shape (B, D); conditional(x_t, t) -> (B, D), and so is unconditional; t, low, high numbers."""
    given = conditional(x_t, t)
    if not low <= t <= high:
        return given
    without = unconditional(x_t, t)
    return without + guidance_scale * (given - without)


# %% [markdown]
r"""
More steps solve the same ODE better, and it is another law's ODE. The denoisers are exact. All paths have
the same ODE in $(y, \tau)$. At $t = 0$ the guided score is that of $\pi_s$, and Langevin asks for nothing
else.
"""

# %% tags=["solution-12.6"]
remedy = "langevin"

# %% [markdown]
r"""
The tilted law gives $x_i$ the weight $p(y\mid x_i)^s$; its posterior multiplies this by the bell of the
noise. All in logarithms.
"""


# %% tags=["solution-12.7"]
def tilted_guess(x_t, table, likelihood, s, alpha, sigma):
    """Shape (B, D), for x_t (B, D), table (N, D), likelihood (N,), three numbers."""
    square = (x_t[:, None] - alpha * table).square().sum(2)
    return torch.softmax(s * likelihood.log() - square / (2 * sigma**2), dim=1) @ table


# %% [markdown]
r"""
In $y$ the SDE is $dy = 2\gamma\tau\, y/(v+\tau^2)\,d\tau$ and noise of variance $2\tau\,d\tau$. The
homogeneous solution is $(v+\tau^2)^\gamma$, so the noise that enters at $\tau$ arrives with
$2\tau\,d\tau\,[v/(v+\tau^2)]^{2\gamma}$, and what was there at $T$ is forgotten: for $\gamma > \frac12$ its
share, $T^2\,[v/(v+T^2)]^{2\gamma}$, goes to 0. With $u = \tau^2$ the sum is $v^{2\gamma}\int_0^\infty
(v+u)^{-2\gamma}du = v/(2\gamma-1)$. The dependence on $T$ is cured; the law is still not $p^\gamma$, but
$p^{2\gamma-1}$.
"""


# %% tags=["solution-12.8"]
def cooled_variance(v, gamma):
    """The variance at the end, for tensors v and gamma of one shape."""
    return v / (2 * gamma - 1)
