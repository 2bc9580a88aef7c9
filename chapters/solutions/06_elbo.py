# %%
import math

import torch

# %% [markdown]
r"""
(6.10) for each coordinate; independent coordinates add their nats. The first three terms are 0 where the
variances agree, the last is the squared distance in units of $p$'s variance.
"""


# %% tags=["solution-6.1"]
def kl(mean_q, variance_q, mean_p, variance_p):
    """KL(q || p), shape (B,), in nats; all arguments have shape (B, D)."""
    ratio = variance_q / variance_p
    return 0.5 * (ratio - 1 - ratio.log() + (mean_q - mean_p) ** 2 / variance_p).sum(1)


# %% [markdown]
r"""
$L = -\log p_\theta + \text{gap}$ with a gap that is not negative. $L \le 2.9$ now, so
$-\log p_\theta \le 2.9$. About the change nothing is known: the gap may have shrunk by 0.3 and the
likelihood stayed, or even fallen.
"""

# %% tags=["solution-6.2"]
what_is_known = "at most 2.9"

# %% [markdown]
r"""
$D = 3072$; per dimension $-2.279$ nats, plus $\log 127.5 = 4.848$, is 2.569 nats, or 3.71 bits.
"""

# %% tags=["solution-6.3"]
bits_of_the_model = (-7000 / (32 * 32 * 3) + math.log(127.5)) / math.log(2)

# %% [markdown]
r"""
The bracket of (6.15) counts once per coordinate, the squared error is a sum over them.
"""


# %% tags=["solution-6.4"]
def step_cost(x0, x0_hat, t, betas, variance):
    """L_{t-1}, shape (B,), from x0, x0_hat (B, D), whole t (B,) from 2 to T, betas (T,), variance (B,)."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta, before, now = betas[t - 1], alpha_bar[t - 1], alpha_bar[t]
    tilde, c = (1 - before) / (1 - now) * beta, before.sqrt() * beta / (1 - now)
    width = torch.log(variance / tilde) + tilde / variance - 1
    return x0.shape[1] / 2 * width + c**2 / (2 * variance) * (x0 - x0_hat).square().sum(1)


# %% [markdown]
r"""
The lists ran in opposite directions, so that each posterior met the model's step of another time. And
the log-likelihood is subtracted: $L_0 = -\log p_\theta(x_0 \mid x_1)$, since $L$ is a cost and minus the
ELBO. A test that catches both: give the model the posteriors themselves; then all divergences are 0 and
$L = L_T + L_0$.
"""


# %% tags=["solution-6.5"]
def negative_elbo(prior_term, q_steps, p_steps, log_likelihood):
    """L, shape (B,), in nats.

    prior_term: L_T, shape (B,). q_steps: (mean, variance) of q(x_{t-1} | x_t, x0) for t = 2, ..., T.
    p_steps: (mean, variance) of p(x_{t-1} | x_t) for t = T, ..., 2. All of shape (B, D).
    log_likelihood: log p(x0 | x_1), shape (B,).
    """
    total = prior_term
    for (mean_q, variance_q), (mean_p, variance_p) in zip(q_steps, reversed(p_steps)):
        ratio = variance_q / variance_p
        total = total + 0.5 * (ratio - 1 - ratio.log() + (mean_q - mean_p) ** 2 / variance_p).sum(1)
    return total - log_likelihood


# %% [markdown]
r"""
Before $x_t$ stands $\sqrt{\alpha_t} = \sqrt{1-\beta_t}$, without a bar; and (6.23) is a geometric mean,
not an arithmetic one. If the same function makes the mean of $q$, both means hold the same wrong share
of $x_t$. It cancels in their difference, so every $L_{t-1}$ stays what it was. A sampler uses the mean
itself.
"""


# %% tags=["solution-6.6"]
def model_step(x0_hat, x_t, t, v, betas):
    """Mean and variance, each (B, D); x0_hat, x_t and v (B, D), whole t (B,) from 2 to T, betas (T,)."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta, before, now = (a[:, None] for a in (betas[t - 1], alpha_bar[t - 1], alpha_bar[t]))
    tilde = (1 - before) / (1 - now) * beta
    mean = before.sqrt() * beta / (1 - now) * x0_hat + (1 - beta).sqrt() * (1 - before) / (1 - now) * x_t
    return mean, torch.exp(v * beta.log() + (1 - v) * tilde.log())


# %% [markdown]
r"""
The error of the perfect denoiser is (5.13), $e_t = s^2/(1 + s^2\,\mathrm{SNR}(t))$; put it into (6.20).
"""


# %% tags=["solution-6.7"]
def best_variances(s2, betas):
    """v*_1 ... v*_T, shape (T,): s2 a number, betas (T,)."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    before, now = alpha_bar[:-1], alpha_bar[1:]
    error = s2 / (1 + s2 * now / (1 - now))
    c = before.sqrt() * betas / (1 - now)
    return (1 - before) / (1 - now) * betas + c**2 * error


# %% [markdown]
r"""
Both means hold the same share of $x_t$, so their difference is $c_t(x_0 - \hat x_0)$ and no $x_t$ is
needed. `detach` makes $\hat x_0$ a number there; in the squared error it stays attached.
"""


# %% tags=["solution-6.8"]
def hybrid(x0, x0_hat, v, t, betas, weight):
    """L_hybrid, shape (B,); x0, x0_hat, v (B, D), whole t (B,) from 2 to T, betas (T,), weight = lambda."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta, before, now = (a[:, None] for a in (betas[t - 1], alpha_bar[t - 1], alpha_bar[t]))
    tilde, c = (1 - before) / (1 - now) * beta, before.sqrt() * beta / (1 - now)
    variance = torch.exp(v * beta.log() + (1 - v) * tilde.log())
    ratio = tilde / variance
    distance = c**2 * (x0 - x0_hat.detach()) ** 2 / variance
    bound = 0.5 * (ratio - 1 - ratio.log() + distance).sum(1)
    return (x0 - x0_hat).square().mean(1) + weight * len(betas) * bound / x0.shape[1]


# %% [markdown]
r"""
$\tfrac12\int s^2/(1 + s^2\varsigma)\,d\varsigma = \tfrac12\log(1 + s^2\varsigma)$ between the limits.
Each of the two values is $I(x_0; x_t)$ at that ratio: $h(x_t)$ is the entropy of variance
$\alpha^2 s^2 + \sigma^2$, and given $x_0$ there is $\sigma^2$ left; half the logarithm of their
quotient.
"""


# %% tags=["solution-6.9"]
def gaussian_bill(s2, snr_low, snr_high):
    """L_infinity in nats; tensors of one shape, element by element."""
    return 0.5 * torch.log((1 + s2 * snr_high) / (1 + s2 * snr_low))
