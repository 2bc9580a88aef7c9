# %%
import math
from itertools import pairwise

import torch

# %% [markdown]
r"""
(10.7) and (10.8). The pull is VP's, so $\alpha$ is, too. What is VP's variance, $1 - e^{-B}$, is here the
standard deviation, and no root is taken of it; of $g^2$ it is.
"""


# %% tags=["solution-10.1"]
def sub_vp(beta, B):
    """(alpha, sigma, g), each of the shape of beta (rate) and B (its integral so far)."""
    return torch.exp(-B / 2), 1 - torch.exp(-B), (beta * (1 - torch.exp(-2 * B))).sqrt()


# %% [markdown]
r"""
(10.21) with $k^2 = 4$: $0.8^4 = 0.41$. The *variance* of the kicks is four times that of the reverse SDE,
and so is the rate of forgetting.
"""

# %% tags=["solution-10.2"]
memory = 0.8**4

# %% [markdown]
r"""
(10.19), held still for a step. Three coefficients of shape $(B,)$ get a second axis. Nothing depends on $k$
but the share of the score and the size of the kick.
"""


# %% tags=["solution-10.3"]
def film_step(x_t, score, z, f, g2, dt, k):
    """x_s, shape (B, D), from x_t, score, z (B, D); f, g2 and dt > 0 (B,); k a number."""
    f, g2, dt = f[:, None], g2[:, None], dt[:, None]
    return x_t + (-f * x_t + (1 + k**2) / 2 * g2 * score) * dt + k * (g2 * dt).sqrt() * z


# %% [markdown]
r"""
Two mistakes. The bracket of (10.14) belongs to a negative $dt$; the step here is positive, so both signs
turn. And the score is multiplied by $g^2$: a score is one over a length, $g^2$ a squared length over time,
so $g^2\,\nabla\log p\;\Delta$ is a length. With $g$ the units don't fit, which is a check that costs
nothing.
"""


# %% tags=["solution-10.4"]
def reverse_step(x_t, score, z, f, g, dt):
    """One step of the reverse SDE towards the data: x_t, score, z (B, D); f, g and dt > 0 (B,)."""
    f, g, dt = f[:, None], g[:, None], dt[:, None]
    return x_t + (-f * x_t + g**2 * score) * dt + g * dt.sqrt() * z


# %% [markdown]
r"""
$\sigma^2$ grows at twice the logarithmic rate of $\sigma$, so $g^2 = 2\sigma^2\ln r$. The code had lost
this 2, and it had lost the ½ of the ODE: $g^2$ instead of $\tfrac12g^2$ is the same number. Both have to be
mended, and the SDE, which had no second slip to save it, is mended by $g$ alone.
"""


# %% tags=["solution-10.5"]
def exploding(score, t, sigma_min, sigma_max):
    """(dx/dtau of the ODE, drift of the reverse SDE, g) on VE; score (B, D), t (B,), tau = 1 - t."""
    rate = math.log(sigma_max / sigma_min)
    g = sigma_min * (sigma_max / sigma_min) ** t * math.sqrt(2 * rate)
    g2 = g[:, None] ** 2
    return g2 / 2 * score, g2 * score, g


# %% [markdown]
r"""
One forward pass, one backward pass a probe. The sum over the batch before differentiating is harmless:
examples do not see each other. The standard deviation over probes, by the root of their number, is the
standard error of their mean.
"""


# %% tags=["solution-10.6"]
def trace_by_probes(field, x, probes):
    """(mean, standard error), each (B,): the trace of d field / d x for x (B, D), by probes (S, B, D)."""
    x = x.detach().requires_grad_()
    value = field(x)
    found = []
    for probe in probes:
        (row,) = torch.autograd.grad((value * probe).sum(), x, retain_graph=True)
        found.append((row * probe).sum(1))
    found = torch.stack(found)
    return found.mean(0), found.std(0) / len(probes) ** 0.5


# %% [markdown]
r"""
The state is the pair (point, integral), and Heun's rule is applied to both: slopes at the start, an Euler
step, slopes where it lands and *when* it lands, the mean. At the end (10.26).
"""


# %% tags=["solution-10.7"]
def heun_log_density(velocity, divergence, x, times, log_prior):
    """log p(x), shape (B,): velocity(x, t) (B, D), divergence(x, t) (B,), rising times, log_prior(x) (B,)."""
    gained = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for t, s in pairwise(times):
        h = s - t
        v1, d1 = velocity(x, t), divergence(x, t)
        y = x + h * v1
        v2, d2 = velocity(y, s), divergence(y, s)
        x = x + h * (v1 + v2) / 2
        gained = gained + h * (d1 + d2) / 2
    return gained + log_prior(x)


# %% [markdown]
r"""
With $f = -\tfrac12\beta$, $g^2 = \beta$ and the score $-x$ the drift of (10.19) is
$\tfrac12\beta x - \tfrac{1+k^2}{2}\beta x = -\tfrac{k^2}{2}\beta x$. So a step is
$x \leftarrow (1 - \tfrac u2)\,x + \sqrt u\,z$ with $u = k^2\beta\Delta$, and a variance that stays solves
$V = (1 - u + \tfrac{u^2}{4})\,V + u$. Hence $V\,(u - \tfrac{u^2}{4}) = u$, and $V = 1/(1 - \tfrac u4)$.
"""


# %% tags=["solution-10.8"]
def stationary_variance(k, beta, dt):
    """The variance at which Euler-Maruyama settles, for N(0, 1) data on VP; all of shape (B,)."""
    return 1 / (1 - k**2 * beta * dt / 4)
