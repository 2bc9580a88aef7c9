# %%
import math

import torch

# %% [markdown]
r"""
Mobility and temperature both multiply the *variance* of the noise, so both stand under the root. The
mobilities have shape `(D,)` and meet the last axis by themselves.
"""


# %% tags=["solution-2.1"]
def langevin_step(x, score, h, temperature, mobility, noise):
    """x after one step; x, score (values at x) and noise (B, D), mobility (D,); h, temperature numbers."""
    rate = h * mobility
    return x + rate * score + (2 * rate * temperature) ** 0.5 * noise


# %% [markdown]
r"""
Two questions decide. Is $p$ the run's own equilibrium? And if not, do walkers change sides at all? B is
slightly off, but hardly anybody crosses a saddle in 400 steps, so it keeps the shares it was given, right
or wrong. MALA has the equilibrium $p$ at every step size, and it starts there. C has another equilibrium.
In its narrow modes $a = 1.2$, in the wide one $a = 0.15/0.36 \approx 0.4$. Its steps throw walkers out of
the narrow modes and hardly ever out of the wide one, which fills. To see it, start the three runs at
`three.sample(2000, seeded(1))`, and print `shares`.
"""

# %% tags=["solution-2.2"]
who_keeps_the_shares = "B and MALA"

# %% [markdown]
r"""
From (2.12), $1/(1 - a/2) = 1.05$, so $a = 2\,(1 - 1/1.05)$, and $h = a s_0^2$ with $s_0^2 = 0.16$.
"""

# %% tags=["solution-2.3"]
largest_step = 2 * (1 - 1 / 1.05) * 0.4**2

# %% [markdown]
r"""
The drift is $c = \alpha/2$, so by (2.10) the noise has variance $b^2 = 2cT = \alpha T$. The 2 came from the
convention with drift $h$, and the temperature stood outside the root. As it was, $b^2/(2c) = 2T^2$.
"""


# %% tags=["solution-2.4"]
def half_alpha_step(x, score, alpha, temperature, noise):
    """One step with drift alpha / 2 times the score; x, score and noise (B, D), the others numbers."""
    return x + alpha / 2 * score + math.sqrt(alpha * temperature) * noise


# %% [markdown]
r"""
With the precision $P = \Sigma^{-1}$ the step is $x' - m = (I - hP)(x - m) + \sqrt{2hT}\,z$, so the
covariance $C$ solves $C = (I - hP)\,C\,(I - hP) + 2hT I$. Everything commutes with $P$, so
$C\,(2hP - h^2P^2) = 2hT I$ and $C = T\,(P - \tfrac h2 P^2)^{-1}$: equation (2.12) on each axis.
"""


# %% tags=["solution-2.5"]
def settled_covariance(covariance, h, temperature):
    """Covariance (D, D) of the equilibrium of ULA with step h for Gaussian data of covariance (D, D)."""
    precision = torch.linalg.inv(covariance)
    return temperature * torch.linalg.inv(precision - h / 2 * precision @ precision)


# %% [markdown]
r"""
$\log r = \tfrac1T(\log p(y) - \log p(x)) + \log k(x|y) - \log k(y|x)$. Each $k$ is a Gaussian of variance
$2hT$, so its exponent is a square over $4hT$; the factors before the exponentials are equal and cancel.
"""


# %% tags=["solution-2.6"]
def log_ratio(x, y, log_p_x, log_p_y, score_x, score_y, h, temperature):
    """log r (B,) for moves from x to y (B, D), with log p (B,) and scores (B, D) at both ends."""
    there = -((y - x - h * score_x) ** 2).sum(1) / (4 * h * temperature)
    back = -((x - y - h * score_y) ** 2).sum(1) / (4 * h * temperature)
    return (log_p_y - log_p_x) / temperature + back - there


# %% [markdown]
r"""
The noise has variance $2h$, so the exponents are squares over $4h$: a factor of two once more. And `there`
and `back` hold *minus* the log-densities, so the way back, which stands on top of the ratio, enters with a
minus. A test that finds both: compute $\log p(x) + \log k(y|x) + \log A(y|x)$ for random pairs, with
`torch.distributions` for $k$, and swap the points.
"""


# %% tags=["solution-2.7"]
def mala_step(log_prob, score, x, h, noise, uniform):
    """The new points (B, D), from x and noise (B, D), uniform (B,); log_prob and score are functions."""
    y = x + h * score(x) + math.sqrt(2 * h) * noise
    there = ((y - x - h * score(x)) ** 2).sum(1) / (4 * h)
    back = ((x - y - h * score(y)) ** 2).sum(1) / (4 * h)
    log_r = log_prob(y) - log_prob(x) + there - back
    return torch.where((torch.log(uniform) < log_r)[:, None], y, x)


# %% [markdown]
r"""
The logarithm of (2.24), and a softmax, which subtracts the largest logarithm before it exponentiates.
"""


# %% tags=["solution-2.8"]
def heated_shares(weights, stds, dimension, temperature):
    """Shares (K,) of p^(1/T), from the weights and standard deviations (K,) of modes in D dimensions."""
    logs = torch.log(weights) / temperature + dimension * (1 - 1 / temperature) * torch.log(stds)
    return torch.softmax(logs, dim=0)


# %% [markdown]
r"""
$\int p_T\,T\sum_i M_i\,\partial_i^2\varphi = -\int \sum_i T\,\partial_i(p_T M_i)\,\partial_i\varphi
= -\int p_T \sum_i \big(M_i s_i + T\,\partial_i M_i\big)\,\partial_i\varphi$. So coordinate $i$ gets
$T\,\partial_i M_i$: the derivative of its own mobility by its own coordinate. For a full matrix $M$ it would
be the divergence $T\sum_j\partial_j M_{ij}$.
"""


# %% tags=["solution-2.9"]
def corrected_drift(x, score, mobility, temperature):
    """Drift (B, D) at points x with scores (B, D); mobility maps points (B, D) to mobilities (B, D)."""
    x = x.detach().clone().requires_grad_()
    m = mobility(x)
    own = [torch.autograd.grad(m[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return (m * score + temperature * torch.stack(own, dim=1)).detach()
