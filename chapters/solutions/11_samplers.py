# %%
from itertools import pairwise

import torch

# %% [markdown]
r"""
Root, equal steps, power, then a zero. `torch.linspace` of `steps + 1` values makes `steps` steps.
"""


# %% tags=["solution-11.1"]
def edm_grid(high, low, steps, kappa):
    """Noise levels, shape (steps + 2,), float64: high, ..., low, 0."""
    roots = torch.linspace(high ** (1 / kappa), low ** (1 / kappa), steps + 1, dtype=torch.float64)
    return torch.cat([roots**kappa, torch.zeros(1, dtype=torch.float64)])


# %% [markdown]
r"""
0.016 / 0.001 = 16, and Heun has order 2: $N$ must grow by $\sqrt{16} = 4$, to 80 steps of two calls.
"""

# %% tags=["solution-11.2"]
calls_needed = 160

# %% [markdown]
r"""
The network errs where the churn works: each step goes back a little and makes the error of that stretch
again (right panel of the figure). What is forgotten of the errors at higher noise (middle panel) does not
make up for it.
"""

# %% tags=["solution-11.3"]
with_churn = "farther"

# %% [markdown]
r"""
$\alpha_s(1 - e^{-h}) = \alpha_s - \alpha_s\,\frac{\alpha_t\sigma_s}{\sigma_t\alpha_s} = \alpha_s -
\alpha_t\sigma_s/\sigma_t$: no exponential is needed, and with $\sigma_s = 0$ the step gives $\hat x_0$ for
$\alpha_s = 1$.
"""


# %% tags=["solution-11.4"]
def step_2m(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s, before):
    """x_s, shape (B, D); x_t and x0_hat (B, D), four tensors of shape (), before: (x0_hat, lambda)."""
    guess = x0_hat
    if before is not None and sigma_s > 0:
        lam_t, lam_s = torch.log(alpha_t / sigma_t), torch.log(alpha_s / sigma_s)
        guess = x0_hat + (lam_s - lam_t) / (2 * (lam_t - before[1])) * (x0_hat - before[0])
    ratio = sigma_s / sigma_t
    return ratio * x_t + (alpha_s - alpha_t * ratio) * guess


# %% [markdown]
r"""
$\tfrac32$ and $-\tfrac12$ are (11.8) for $h = h_-$. In general the half is $h/2h_-$, and the step before
has to be kept.
"""


# %% tags=["solution-11.5"]
def two_step(u, x, times):
    """The end of the run, shape (B, D); u(x, t) -> (B, D), x (B, D), times (steps + 1,)."""
    before = None
    for t, s in pairwise(times):
        now, h = u(x, t), s - t
        x = x + h * (now if before is None else now + h / (2 * before[1]) * (now - before[0]))
        before = now, h
    return x


# %% [markdown]
r"""
`eps` is noise already; `z.flip(0)` noised it again (other rows of the same $z$, so independent). The
product has variance 1 and fourth moment 9.
"""


# %% tags=["solution-11.6"]
def churned(x, sigma, gamma, s_noise, z):
    """x at the noise level (1 + gamma) sigma; x and z, standard normal, (B, D); three numbers."""
    eps = s_noise * z
    up = (1 + gamma) * sigma
    return x + (up**2 - sigma**2) ** 0.5 * eps


# %% [markdown]
r"""
Multiply $x_t = \alpha x_0 + \sigma\varepsilon$ by $b$, $F = a x_0 + b\varepsilon$ by $\sigma$, and
subtract: $b\,x_t - \sigma F = (\alpha b - \sigma a)\,x_0$. With EDM's weights $a = \sigma/(sS)$, $b =
-\alpha s/S$ the determinant is $-S/s$, hence $c_{\text{skip}} = \alpha s^2/S^2$ and $c_{\text{out}} =
\sigma s/S$.
"""


# %% tags=["solution-11.7"]
def coat_of(a, b, alpha, sigma, s):
    """(c_skip, c_out, variance of the target), each (B,); a, b, alpha, sigma (B,), s a number."""
    area = alpha * b - sigma * a
    return b / area, -sigma / area, a**2 * s**2 + b**2


# %% [markdown]
r"""
The integral of the density $C^{1/(p+1)}$ is a growing, piecewise linear function of $\tau$. Equal parts of
it are steps of equal guilt.
"""


# %% tags=["solution-11.8"]
def guilt_grid(tau, C, p, steps):
    """Places, shape (steps + 1,), tau[0] to tau[-1]; tau (K + 1,) increasing, C (K,) positive, float64."""
    mass = torch.cat([tau.new_zeros(1), (C ** (1 / (p + 1)) * tau.diff()).cumsum(0)])
    goal = torch.linspace(0, 1, steps + 1, dtype=tau.dtype) * mass[-1]
    k = torch.searchsorted(mass, goal).clamp(1, len(tau) - 1)
    part = (goal - mass[k - 1]) / (mass[k] - mass[k - 1])
    return tau[k - 1] + part * (tau[k] - tau[k - 1])
