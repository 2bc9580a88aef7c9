# %%
import torch

from diffedu import linear_betas

# %% [markdown]
r"""
(7.9), with the table $\bar\alpha$ led by a 1 so that index and step agree. The three coefficients have shape
`(B,)` and get a second axis before they meet `(B, D)`.
"""


# %% tags=["solution-7.1"]
def mean_of_step(x_t, eps_guess, t, betas):
    """mu (B, D), from x_t and a guess of the noise (B, D), whole-number t (B,) from 1 to T, betas (T,)."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta, sigma = betas[t - 1][:, None], (1 - alpha_bar[t]).sqrt()[:, None]
    return (x_t - beta / sigma * eps_guess) / (1 - beta).sqrt()


# %% [markdown]
r"""
If all data is one point, $x_0$ is known before $x_t$ is seen: its variance given $x_t$ is 0, and by (7.16)
so is the least loss, at every $t$. The network has only to learn
$\varepsilon = (x_t - \alpha_t x_0)/\sigma_t$ with a constant $x_0$.
"""

# %% tags=["solution-7.2"]
loss_for_one_point = "0"

# %% [markdown]
r"""
(7.17) with $s = 1$ is $\ell^\ast(t) = \alpha_t^2/(\alpha_t^2 + \sigma_t^2) = \bar\alpha_t$. So the least
possible $L_\text{simple}$ is the mean of $\bar\alpha_1, \dots, \bar\alpha_T$. The linear schedule spends
three quarters of its steps below $\bar\alpha = \tfrac12$, so the mean is less than one half.
"""

# %% tags=["solution-7.3"]
least_total = (1 - linear_betas(1000)).cumprod(0).mean().item()

# %% [markdown]
r"""
Bayes' rule with equal priors: weights proportional to $q(x_t \mid x_i)$, so a softmax of
$-\|x_t - \alpha x_i\|^2/2\sigma^2$. The variance under these weights, summed over coordinates, is the trace
of the covariance; SNR and $1/D$ turn it into the loss of (7.16).
"""


# %% tags=["solution-7.4"]
def least_loss_of_points(x_t, points, alpha, sigma):
    """Shape (B,), from x_t (B, D), points (N, D) and two numbers."""
    weights = torch.softmax(-torch.cdist(x_t, alpha * points).square() / (2 * sigma**2), dim=1)
    centred = points - (weights @ points)[:, None]  # (B, N, D)
    variance = (weights * centred.square().sum(2)).sum(1)
    return alpha**2 / sigma**2 * variance / points.shape[1]


# %% [markdown]
r"""
The network was fed with $x_0$, which says nothing of the noise: by (7.22) the loss stops at 1. And
`randint(0, T)` draws $0, \dots, T-1$: at $t = 0$ there is no noise to be seen, and $t = T$, where sampling
begins, was never trained. Training covers $1, \dots, T$, the very times that the sampler visits.
"""


# %% tags=["solution-7.5"]
def training_loss(net, x0, alpha_bar, rng):
    """Losses (B,), each a mean over coordinates, and x_t (B, D) for a picture; net(x_t, t), x0 (B, D)."""
    T = len(alpha_bar) - 1
    t = torch.randint(1, T + 1, (len(x0),), generator=rng)
    eps = torch.randn(x0.shape, generator=rng, dtype=x0.dtype)
    x_t = alpha_bar[t, None].sqrt() * x0 + (1 - alpha_bar[t, None]).sqrt() * eps
    return (net(x_t, t) - eps).square().mean(1), x_t


# %% [markdown]
r"""
`t > 0` is true for every `t` in `range(T, 0, -1)`, so the last step, from $t = 1$, added noise; `t > 1` is
meant. And noise of variance $\Sigma$ is $\sqrt\Sigma\, z$.
"""


# %% tags=["solution-7.6"]
def old_sampler(guess, x, betas, sigma2, noise):
    """x_0 (B, D) from x_T; guess(x, t) with a number t, betas and sigma2 (T,), noise (T + 1, B, D)."""
    T = len(betas)
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    for t in range(T, 0, -1):
        x = (x - betas[t - 1] / (1 - alpha_bar[t]).sqrt() * guess(x, t)) / (1 - betas[t - 1]).sqrt()
        if t > 1:
            x = x + sigma2[t - 1].sqrt() * noise[t]
    return x


# %% [markdown]
r"""
`dw` *is* the noise already, with its scale. Multiplied by another normal variable it keeps mean and variance
($\mathbb E\, z^2 z'^2 = 1$), but its fourth moment is $3 \cdot 3 = 9$ times the squared variance: many
draws near zero, some far out.
"""


# %% tags=["solution-7.7"]
def step_back(mean, variance, rng):
    """A draw from N(mean, variance I), shape (B, D), for mean (B, D) and a number."""
    return mean + variance**0.5 * torch.randn(mean.shape, generator=rng, dtype=mean.dtype)


# %% [markdown]
r"""
With the exact guess the step is $x \mapsto a_t x + \sqrt{\Sigma_t}\, z$,
$a_t = \big(1 - \beta_t/(\alpha_t^2 s^2 + \sigma_t^2)\big)/\sqrt{1-\beta_t}$: the $\sigma_t$ before and inside
the guess cancel. $z$ is independent of $x$, so $V \mapsto a_t^2 V + \Sigma_t$, from $V = 1$, without the last
$\Sigma_1$.
"""


# %% tags=["solution-7.8"]
def variance_of_result(s2, betas, Sigma):
    """A tensor of shape (), from the data's variance s2, betas (T,) and Sigma (T,), of steps 1 ... T."""
    alpha_bar = (1 - betas).cumprod(0)
    level = alpha_bar * s2 + 1 - alpha_bar
    factor = (1 - betas / level) / (1 - betas).sqrt()
    variance = betas.new_ones(())
    for k in range(len(betas) - 1, -1, -1):  # index k belongs to step k + 1
        variance = factor[k] ** 2 * variance + (Sigma[k] if k > 0 else 0.0)
    return variance


# %% [markdown]
r"""
Both the truth and the guesses satisfy (7.1) with the same $x_t$; subtract:
$0 = \alpha_t (x_0 - \hat x_0) + \sigma_t (\varepsilon - \hat\varepsilon)$. So
$\|\varepsilon - \hat\varepsilon\|^2 = (\alpha_t^2/\sigma_t^2)\,\|x_0 - \hat x_0\|^2$ and
$u_t = \mathrm{SNR}(t)$. The colleague puts weight 1 on the error of $x_0$, which is $1/u_t$ on the error of
noise: at $t = T$ it is enormous. There the guess of $x_0$ is hopeless anyway (the mean of the data), so the
colleague's network is paid for what $L_\text{simple}$ hardly looks at, and the other way round.
"""


# %% tags=["solution-7.9"]
def weights_of_the_other_target(betas):
    """(u, c), each of shape (T,): eps error = u_t * x0 error, and the colleague's weight on the eps error."""
    alpha_bar = (1 - betas).cumprod(0)
    snr = alpha_bar / (1 - alpha_bar)
    return snr, 1 / snr
