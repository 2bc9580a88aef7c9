# %%
import torch

# %% [markdown]
r"""
Guess the clean point, shrink it to the level of $s$, put the noise back: most of it the old one, a little
of it fresh. The two parts have variances that add up to $1-\bar\alpha_s$. All coefficients have shape
`(B,)` and get an axis.
"""


# %% tags=["solution-8.1"]
def ddim_step(x_t, eps, abar_t, abar_s, eta, z):
    """x_s (B, D) from x_t, guessed and fresh noise (B, D), alpha_bar at t and s (B,), a number eta."""
    abar_t, abar_s = abar_t[:, None], abar_s[:, None]
    x0_hat = (x_t - (1 - abar_t).sqrt() * eps) / abar_t.sqrt()
    variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
    return abar_s.sqrt() * x0_hat + (1 - abar_s - variance).sqrt() * eps + variance.sqrt() * z


# %% [markdown]
r"""
The denoiser's guess is the point itself, for any $x_t$. So $\hat x_0 = x_0$, and (8.10) is (8.4), for which
(8.5) holds with every $\Sigma$ and on every grid.
"""

# %% tags=["solution-8.2"]
exact_members = "all"

# %% [markdown]
r"""
The variance goes with $\eta^2$, and $z$ is multiplied by a standard deviation. Mend only the root, and the
step is a member of the family that calls itself by a wrong $\eta$.
"""


# %% tags=["solution-8.3"]
def old_ddim_step(x_t, eps, abar_t, abar_s, eta, z):
    """x_s (B, D) from x_t, eps and z (B, D), alpha_bar at t and s (numbers, s < t) and a number eta."""
    x0_hat = (x_t - (1 - abar_t) ** 0.5 * eps) / abar_t**0.5
    variance = eta**2 * (1 - abar_s) / (1 - abar_t) * (1 - abar_t / abar_s)
    return abar_s**0.5 * x0_hat + (1 - abar_s - variance) ** 0.5 * eps + variance**0.5 * z


# %% [markdown]
r"""
One line: the step from $s$ to $t$ has $\beta_{t\mid s} = 1 - \bar\alpha_t/\bar\alpha_s$, which is $\beta_t$
if $s = t-1$. At $s = 0$ the variance vanishes by itself.
"""


# %% tags=["solution-8.4"]
def fast_step(x_t, eps, t, s, betas, z):
    """x_s (B, D) from x_t, eps, z (B, D), whole numbers 0 <= s < t, betas (T,); variance beta tilde."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta = 1 - alpha_bar[t] / alpha_bar[s]
    mean = (x_t - beta / (1 - alpha_bar[t]).sqrt() * eps) / (1 - beta).sqrt()
    variance = (1 - alpha_bar[s]) / (1 - alpha_bar[t]) * beta
    return mean + variance.sqrt() * z


# %% [markdown]
r"""
One vector for each picture, one angle for each pair. The factors have shape `(B,)` and get as many axes as
the noise has.
"""


# %% tags=["solution-8.5"]
def slerp(z0, z1, lam):
    """Noises (B, *) between z0 and z1 (B, *), at lam (B,) in [0, 1]; no pair is parallel."""
    u, v = z0.flatten(1), z1.flatten(1)
    omega = torch.acos((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)))
    first, second = torch.sin((1 - lam) * omega) / torch.sin(omega), torch.sin(lam * omega) / torch.sin(omega)
    axes = (-1,) + (1,) * (z0.ndim - 1)
    return first.reshape(axes) * z0 + second.reshape(axes) * z1


# %% [markdown]
r"""
(8.16) solved for $y_t$ is $y_t = y_s + (\rho_t - \rho_s)\,\hat\varepsilon(\alpha_t y_t)$. A fixed point:
put a value in, get a better one out. The error of a round is that of the round before times
$\alpha_t(\rho_t-\rho_s)$ times the slope of the guess, so it shrinks as long as this product stays below 1.
Plain encoding is the first round with $x_s$ in place of $x_t$ (and the time $s$).
"""


# %% tags=["solution-8.6"]
def invert_step(guess, x_s, alpha_t, sigma_t, alpha_s, sigma_s, rounds):
    """x_t (B, D) such that a step with eta = 0 leads to x_s; guess(x) is the noise guessed at time t."""
    rise = sigma_t / alpha_t - sigma_s / alpha_s
    x_t = alpha_t / alpha_s * x_s
    for _ in range(rounds):
        x_t = alpha_t * (x_s / alpha_s + rise * guess(x_t))
    return x_t


# %% [markdown]
r"""
$\alpha_s^2 = 1/(1+0.64) = 0.610$; $\operatorname{Var}[x_0 \mid x_t] = 1/(1+\mathrm{SNR}) = 1/2$; the
bracket at $\eta = 1$ is $1 - \kappa^2 = 0.36$. Together $0.610 \cdot 0.1296 \cdot 0.5$, out of a true
variance of 1.
"""

# %% tags=["solution-8.7"]
lost_share = (1 - 0.8**2) ** 2 * 0.5 / (1 + 0.8**2)
