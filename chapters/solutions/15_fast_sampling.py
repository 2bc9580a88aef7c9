# %%
import math

import torch

# %% [markdown]
"""
Without guidance Heun asks twice a step, but only once in the step that lands on $t = 0$: $2\\cdot 13 - 1 =
25$. Guidance doubles: 50. A multistep method asks once a step, twice with guidance: 25 steps.
"""

# %% tags=["solution-15.1"]
heun_evaluations = 2 * (2 * 13 - 1)
multistep_steps = 25

# %% [markdown]
"""
Each picture's scale gets three axes. The combination is cut, not its parts: cutting first would change the
difference that guidance multiplies.
"""


# %% tags=["solution-15.2"]
def guided_guess(x0_c, x0_u, s):
    """The guided x0_hat, (B, C, H, W), from guesses with and without the label and scales s, shape (B,)."""
    s = s[:, None, None, None]
    return (x0_u + s * (x0_c - x0_u)).clamp(-1.1, 1)


# %% [markdown]
"""
`torch.cdist` includes each digit's distance to itself, which is 0 and adds nothing to the sum; but then the
number of pairs is $m(m-1)$.
"""


# %% tags=["solution-15.3"]
def spread_within(values, labels):
    """A number or a tensor of shape (): diversity of features, shape (N, K), with labels, shape (N,)."""
    squares = []
    for label in labels.unique():
        own = values[labels == label]
        m = len(own)
        squares.append(0.5 * torch.cdist(own, own).square().sum() / (m * (m - 1)))
    return torch.stack(squares).mean().sqrt()


# %% [markdown]
"""
$\\rho^2 = (1 - \\bar\\alpha)/\\bar\\alpha$, so $-\\log\\bar\\alpha = \\log(1 + \\rho^2)$. The table of
$-\\log\\bar\\alpha_k$ rises, so the place of a value in it can be searched for; between two neighbours it
is linear in $t$.
"""


# %% tags=["solution-15.4"]
def times_of_levels(alpha_bar, levels):
    """Times, shape (K,), between 0 and T, for levels, shape (K,), and alpha_bar, shape (T + 1,), float64."""
    depth, goal = -alpha_bar.log(), torch.log1p(levels**2)
    k = (torch.searchsorted(depth, goal, right=True) - 1).clamp(0, len(alpha_bar) - 2)
    return k + (goal - depth[k]) / (depth[k + 1] - depth[k])


# %% [markdown]
"""
The floor goes like $1/n$: it is a squared distance of moments, and the moments' errors have variances like
$1/n$. Standard errors go like $1/\\sqrt n$, which would be three.
"""

# %% tags=["solution-15.5"]
with_200_digits = "ten times as large"

# %% [markdown]
"""
$\\lambda = \\log\\frac{1-t}{t} = -u$: the logit of $t$ with its sign turned, hence $\\mathcal N(-m,
\\tau^2)$, with no Jacobian left to compute. For the velocity $a = -1$, $b = 1$, so $\\Delta = \\alpha +
\\sigma = 1$, and the factor is $1/\\alpha^2 = (1 + e^{-\\lambda})^2$.
"""


# %% tags=["solution-15.6"]
def flow_price(lam, m, tau):
    """W at lam = log(alpha / sigma), shape (K,); m and tau are numbers."""
    density = torch.exp(-0.5 * ((lam + m) / tau) ** 2) / (math.sqrt(2 * math.pi) * tau)
    return density * (1 + torch.exp(-lam)) ** 2


# %% [markdown]
"""
min-SNR pays $\\min(\\mathrm{SNR}, \\gamma)$ for the squared error of $x_0$. An error of $v$ is that of
$x_0$ over $\\sigma$, and $1/\\sigma^2 =
\\mathrm{SNR} + 1$; so the weight in front of $v$'s squared error is the $(\\mathrm{SNR} + 1)$-th part.
"""


# %% tags=["solution-15.7"]
def min_snr_v_loss(v_guess, v, alpha, sigma, gamma):
    """Losses, shape (B,), of guesses of v, shape (B, D); alpha and sigma have shape (B,)."""
    snr = alpha**2 / sigma**2
    weight = snr.clamp(max=gamma) / (snr + 1)
    return weight * (v_guess - v).square().mean(1)


# %% [markdown]
"""
The second half gets the label `null`, not class 0; the halves come back as they went; and this book's scale
multiplies the difference as it is, so that scale 1 returns the noise with the label.
"""


# %% tags=["solution-15.8"]
def guided_noise(net, x, t, labels, scale, null):
    """The guided noise, shape (B, D). net(x, t, labels) takes any batch; t and labels have shape (B,)."""
    both = net(torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, torch.full_like(labels, null)]))
    with_label, without = both.chunk(2)
    return without + scale * (with_label - without)
