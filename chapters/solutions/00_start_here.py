# %%
import math
from itertools import pairwise

import torch

# %% [markdown]
r"""
`math` serves for one number, `torch.cos` would for many. Both coefficients are numbers, so nothing needs a
new axis.
"""


# %% tags=["solution-0.1"]
def add_noise(x0, eps, t):
    """x_t, shape (B, D), from clean points and noise, both of shape (B, D), and a number t in [0, 1]."""
    return math.cos(math.pi * t / 2) * x0 + math.sin(math.pi * t / 2) * eps


# %% [markdown]
r"""
Cosine and sine are equal at 45 degrees, half of the quarter turn.
"""

# %% tags=["solution-0.2"]
half_time = 0.5

# %% [markdown]
r"""
With almost pure noise the best guess is the mean of the data: $0.9 \cdot 2 + 0.1 \cdot (-2) = 1.6$, where
no data lies.
"""

# %% tags=["solution-0.3"]
landing = "at 1.6"

# %% [markdown]
r"""
For $\sigma = 0.001$ every exponential underflows to 0, and $0 / 0$ is not a number. `softmax` subtracts the
largest exponent first, which changes no ratio. `points` gets an axis for the batch, `x_t` one for the data
points.
"""


# %% tags=["solution-0.4"]
def best_guess(x_t, points, alpha, sigma):
    """x0_hat, shape (B, D), from noisy points (B, D), data points (N, D) and two numbers."""
    squares = (x_t[:, None, :] - alpha * points[None, :, :]).square().sum(-1)
    return torch.softmax(-squares / (2 * sigma**2), dim=1) @ points


# %% [markdown]
r"""
First take the state apart with the coefficients of $t$, then mix the parts with those of $s$.
"""


# %% tags=["solution-0.5"]
def ddim_step(x_t, x0_hat, alpha_t, sigma_t, alpha_s, sigma_s):
    """x_s, shape (B, D), from the state and the guess, both (B, D), and four numbers."""
    eps_hat = (x_t - alpha_t * x0_hat) / sigma_t
    return alpha_s * x0_hat + sigma_s * eps_hat


# %% [markdown]
r"""
The last line put back as much noise as there had been: $\sigma(t)$ where $\sigma(s)$ belongs. The state is
then noisier than its time says, at every step, and the last one leaves noise of size $\sigma(t)$ in the
result.
"""


# %% tags=["solution-0.6"]
def run(denoiser, x, times):
    """The last state, shape (B, D): from x, shape (B, D), along a decreasing grid of times."""
    for t, s in pairwise(times):
        at_t, at_s = denoiser.path(t), denoiser.path(s)
        x0_hat = denoiser(x, t)
        eps_hat = (x - at_t.alpha * x0_hat) / at_t.sigma
        x = at_s.alpha * x0_hat + at_s.sigma * eps_hat
    return x
