# %%
import math

import torch

# %% [markdown]
r"""
The encoder returns $\log s^2$; so $s^2$ is its exponential, and the last term of (17.4) is what it
returned. Nats are *summed* over channels and positions. What is left is one number a picture.
"""


# %% tags=["solution-17.1"]
def kl_to_standard(mean, log_variance):
    """KL of N(mean, exp(log_variance)) to N(0, I): shape (B,), for both of shape (B, C, H, W)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


# %% [markdown]
r"""
The mean over latents is $\mathrm{KL}/16$, so the loss is the squared error's mean plus $0.001\,
\mathrm{KL}/16$. Set it equal to $\lambda\, \mathrm{KL}/784$: $\lambda = 0.001 \cdot 784/16 = 0.049$. By
(17.7), $\tau = \sqrt{\lambda/2} = 0.157$, twenty grey levels.
"""

# %% tags=["solution-17.2"]
kl_weight = 0.001 * 784 / 16
decoder_std = math.sqrt(kl_weight / 2)

# %% [markdown]
r"""
For $\lambda > \tau^2$: $w^2 = \lambda - \tau^2$ and $w^2 + \tau^2 = \lambda$, so $a = w/\lambda$ and $1 -
wa = \tau^2/\lambda$. The mean's error is $(\tau^2/\lambda)^2 \lambda = \tau^4/\lambda$. A drawn latent adds
$w^2 s^2 = (\lambda - \tau^2)\, \tau^2/\lambda = \tau^2 - \tau^4/\lambda$; the sum is $\tau^2$. For
$\lambda \le \tau^2$: $w = 0$, and all is lost.
"""


# %% tags=["solution-17.3"]
def linear_errors(variance, tau2):
    """Errors with the mean and with a drawn latent, each of shape (D,), for variances of shape (D,)."""
    with_mean = torch.where(variance > tau2, tau2**2 / variance, variance)
    return with_mean, variance.clamp(max=tau2)


# %% [markdown]
r"""
Inner products and lengths are taken for each pair: `flatten(1)` keeps the batch apart. Shares and angles,
of shape `(B,)`, get three axes before they meet pictures.
"""


# %% tags=["solution-17.4"]
def spherical(first, second, share):
    """Points on the arcs, shape (B, C, H, W), for ends of that shape and shares of shape (B,)."""
    x, y = first.flatten(1), second.flatten(1)
    angle = torch.acos((x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1)))[:, None, None, None]
    share = share[:, None, None, None]
    return (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * second) / torch.sin(angle)


# %% [markdown]
r"""
At $t = 0.5$ both see the same $\sigma$, but his signal is five times as large: 25 times the SNR, by
(17.14). His network solves easy problems, and the hard ones, where pictures are decided, are crowded into
the last of the path.
"""

# %% tags=["solution-17.5"]
undivided_latents_are = "easier to make out"

# %% [markdown]
r"""
On the cosine path $\mathrm{SNR}(t) = \cot^2(\pi t/2)$. By (17.14) we look for $\cot^2(\pi t'/2) =
\varsigma^2 \cot^2(\pi t/2)$. Both angles lie in the first quarter, so the roots are positive: $\tan(\pi
t'/2) = \tan(\pi t/2)/\varsigma$.
"""


# %% tags=["solution-17.6"]
def equal_noise_time(t, size):
    """t' of the same shape as t, in (0, 1), for a standard deviation `size` > 0."""
    return 2 / math.pi * torch.atan(torch.tan(math.pi / 2 * t) / size)


# %% [markdown]
r"""
`topk(2, largest=False)` gives the two smallest distances of each row, the smallest first. The comparison
gives flags; their mean is the share.
"""


# %% tags=["solution-17.7"]
def share_of_copies(images, bank):
    """A float, for images of shape (Q, C, H, W) and a bank of shape (N, C, H, W), N >= 2."""
    near = torch.cdist(images.flatten(1), bank.flatten(1)).topk(2, largest=False).values
    return (near[:, 0] < 0.5 * near[:, 1]).float().mean().item()


# %% [markdown]
r"""
The standard deviation is $\exp(\tfrac12 \log s^2)$. The factor that is multiplied on the way in is divided
on the way out. And what is decoded is the belief, which is clean, not the noisy latent.
"""


# %% tags=["solution-17.8"]
def pipeline(encode, decode, denoise, x, eps_encoder, eps, alpha, sigma, factor):
    """The believed picture, for noise of the latents' shape and numbers alpha, sigma, factor."""
    mean, log_variance = encode(x)
    z = mean + torch.exp(log_variance / 2) * eps_encoder
    z = z * factor
    z_t = alpha * z + sigma * eps
    z0_hat = denoise(z_t)
    return decode(z0_hat / factor)
