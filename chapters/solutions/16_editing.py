# %%
import math

import torch

# %% [markdown]
r"""
Exchange the two coordinates in (16.2) and (16.3). In the weights, the factor $1/\sqrt{S_{11}}$ of the
density has to stay: it differs between components. The softmax of logarithms normalises and cannot
underflow.
"""


# %% tags=["solution-16.1"]
def given_the_second(weights, means, covariances, y):
    """Weights, means and variances, each (K,), of the first coordinate, given that the second is y."""
    off, spread = y - means[:, 1], covariances[:, 1, 1]
    log_weights = weights.log() - 0.5 * off**2 / spread - 0.5 * spread.log()
    slope = covariances[:, 0, 1] / spread
    variances = covariances[:, 0, 0] - slope * covariances[:, 0, 1]
    return torch.softmax(log_weights, dim=0), means[:, 0] + slope * off, variances


# %% [markdown]
r"""
Ancestral sampling keeps $\lambda$, by (16.11), the flow $\sqrt\lambda$, by (16.12). $\lambda$ lies between
0 and 1, so its root is larger.
"""

# %% tags=["solution-16.2"]
keeps_more = "DDIM"

# %% [markdown]
r"""
Four stretches of ten steps, each gone down five times. The last stretch ends at 0, from which nobody can
step up: four visits stop one step earlier, the fifth goes all the way. Steps up cost nothing.
"""

# %% tags=["solution-16.3"]
grid_evaluations = 4 * 10 * 5 + 4 * 9 + 10

# %% [markdown]
r"""
At level $t$ the covariance of the parts is $\alpha^2 S_{uk}$ and the variance of the known one $\alpha^2
S_{kk} + \sigma^2$, so visits settle at $\frac{\alpha^2 S_{uk}}{\alpha^2 S_{kk} + \sigma^2}\,\alpha y$. It
should be $\alpha \frac{S_{uk}}{S_{kk}}\, y$. In the ratio $S_{uk}$, $y$ and one $\alpha$ cancel.
"""


# %% tags=["solution-16.4"]
def share_heard(alpha, sigma, variance):
    """RePaint's limit at one level over what it should be, (B,); alpha, sigma (B,), variance a number."""
    return alpha**2 * variance / (alpha**2 * variance + sigma**2)


# %% [markdown]
r"""
Four slips. After the reverse step from $t$ the state stands at $t - 1$, so the known part needs `bars[t -
1]` (with `bars[0] = 1`: at the end it is exactly known). Its noise has the factor $\sqrt{1-\bar\alpha}$.
The step up adds $\sqrt{\beta_t}$ times noise. And it happens between visits only, not after the last one.
"""


# %% tags=["solution-16.5"]
def old_repaint(reverse, x, known, mask, betas, visits, noise):
    """Lugmayr et al. 2022, algorithm 1; noise has shape (2, T + 1, visits, B, D)."""
    bars = torch.cat([betas.new_ones(1), torch.cumprod(1 - betas, dim=0)])
    for t in range(len(betas), 0, -1):
        for u in range(visits):
            bar, beta = bars[t - 1], betas[t - 1]
            x_known = bar.sqrt() * known + (1 - bar).sqrt() * noise[0, t, u]
            x = torch.where(mask, x_known, reverse(x, t))
            if u < visits - 1 and t > 1:
                x = (1 - beta).sqrt() * x + beta.sqrt() * noise[1, t, u]
    return x


# %% [markdown]
r"""
The miss is weighted by the inverse of *its* covariance, carried back to data space by $A^\top$, and sent
through the network by one backward pass, which gives $J^\top$ times it. The vector is held fixed:
differentiating through it as well would add terms that (16.16) does not have.
"""


# %% tags=["solution-16.6"]
def bent_guess(denoise, A, y, x_t, alpha, sigma, noise_std, v):
    """(16.16) with r^2 I in the inverse, shape (B, D), for x_t of this shape, A (K, D), y (K,), numbers."""
    r2 = v * sigma**2 / (v * alpha**2 + sigma**2)
    inside = r2 * A @ A.T + noise_std**2 * torch.eye(len(A), dtype=A.dtype, device=A.device)
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        guess = denoise(x)
        vector = (torch.linalg.solve(inside, (y - guess @ A.T).T).T @ A).detach()
        (through,) = torch.autograd.grad((guess * vector).sum(), x)
    return guess.detach() + sigma**2 / alpha * through


# %% [markdown]
r"""
One answer has twice the least squared error, the mean of four $1 + \frac14$ times. The ratio is $1.6$, in
decibels $10 \log_{10} 1.6 = 2.04$.
"""

# %% tags=["solution-16.7"]
gain_in_decibels = 10 * math.log10(2 / (1 + 1 / 4))
