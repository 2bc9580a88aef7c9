# %%
import torch

# %% [markdown]
r"""
(9.7), with the coefficients given as many axes as the data has. $\sigma^2$ is the size of the step, and
$\alpha$ comes last: both $x_t$ and the step live in the shrunken picture.
"""


# %% tags=["solution-9.1"]
def tweedie(x_t, score, alpha, sigma):
    """E[x0 | x_t], shape (B, *), from x_t and score (B, *); alpha and sigma (B,)."""
    axes = (-1, *[1] * (x_t.ndim - 1))
    return (x_t + sigma.reshape(axes) ** 2 * score) / alpha.reshape(axes)


# %% [markdown]
r"""
Put a prediction of 0 into (9.16). As $\varepsilon$: $\hat x_0 = x_t/\alpha$. As $v$, with $a = -\sigma$,
$b = \alpha$ and $\mathcal D = 1$: $\hat x_0 = \alpha\,x_t$. Both are nearly $x_t$ when
$\alpha \approx 1$. As $x_0$: $\hat x_0 = 0$. Near the data, predictions of $\varepsilon$ and $v$ contain
a copy of the input that costs the network nothing.
"""

# %% tags=["solution-9.2"]
useless_reading = "x0"

# %% [markdown]
r"""
With $J = \partial\hat x_0/\partial x$, (9.12) gives
$w^\top\operatorname{Cov}\,w = \frac{\sigma^2}{\alpha}\,w^\top J w$. The gradient of the *number*
$w\cdot\hat x_0(x)$ is $J^\top w$, one backward pass. Sum over the batch before differentiating: examples
do not see each other, so each keeps its own gradient.
"""


# %% tags=["solution-9.3"]
def variance_along(denoise, x_t, w, alpha, sigma):
    """Shape (B,): variance of w . x0 given x_t; x_t and w (B, D); denoise(x) -> (B, D); two numbers."""
    x = x_t.detach().requires_grad_()
    (gradient,) = torch.autograd.grad((denoise(x) * w).sum(), x)
    return sigma**2 / alpha * (gradient * w).sum(1)


# %% [markdown]
r"""
Solve (9.16), then put $x_0$ and $\varepsilon$ into (9.15) with the goal's weights. No target is special.
"""


# %% tags=["solution-9.4"]
def translate(value, x_t, alpha, sigma, source, goal):
    """The goal's prediction (B, D); value, x_t (B, D); the rest (B,): source = (a, b), goal = (a', b')."""
    alpha, sigma, a, b, c, d = (w[:, None] for w in (alpha, sigma, *source, *goal))
    area = alpha * b - sigma * a
    x0 = (b * x_t - sigma * value) / area
    eps = (alpha * value - a * x_t) / area
    return c * x0 + d * eps


# %% [markdown]
r"""
The density is highest at $\alpha x_0$ and falls away from it, so the arrow points back, to $\alpha x_0$.
The test with one data point (section 9.1) catches both mistakes: the guess of (9.7) must be that point.
"""


# %% tags=["solution-9.5"]
def conditional_score(x_t, x0, alpha, sigma):
    """grad log q(x_t | x0) by x_t, shape (B, D), for x_t and x0 (B, D); alpha and sigma (B,)."""
    return -(x_t - alpha[:, None] * x0) / sigma[:, None] ** 2


# %% [markdown]
r"""
$x_t + (1-t)\,u = (1-t)\,x_0 + t\,\varepsilon + (1-t)\,\varepsilon - (1-t)\,x_0 = \varepsilon$, and the
score is $-\varepsilon/t$. The planted formula has $t$ for $1-t$; at $t = \tfrac12$ they are equal. At
$t = 1$ it gives $-(x_t + u)$, where the score of pure noise is $-x_t$.
"""


# %% tags=["solution-9.6"]
def score_of_flow(u, x_t, t):
    """grad log p_t(x_t), shape (B, D), from the velocity u and x_t (B, D), t (B,) in (0, 1]."""
    t = t[:, None]
    return -(x_t + (1 - t) * u) / t


# %% [markdown]
r"""
At a noise level the network estimates the score of the *noised* data, here of
$\mathcal N(\alpha m,\ (\alpha^2 s^2 + \sigma^2)\,I)$. The planted code asked for the clean one's.
"""


# %% tags=["solution-9.7"]
def relative_error(learned, x_t, m, s, alpha, sigma):
    """A tensor of shape (): |learned - true| / |true|; learned and x_t (B, D), m (D,), three numbers."""
    true = -(x_t - alpha * m) / (alpha**2 * s**2 + sigma**2)
    return (learned - true).square().mean().sqrt() / true.square().mean().sqrt()


# %% [markdown]
r"""
Divide by $\alpha = \sqrt{\bar\alpha}$: the point becomes $x_0 + s\,\varepsilon$ with
$s = \sqrt{(1-\bar\alpha)/\bar\alpha}$. The guess of the noise is the same on both paths, so it may be
taken there.
"""


# %% tags=["solution-9.8"]
def noise_from_old_school(denoise, x_t, alpha_bar):
    """E[eps | x_t], shape (B, D), for x_t (B, D) and alpha_bar (B,)."""
    y = x_t / alpha_bar.sqrt()[:, None]
    s = ((1 - alpha_bar) / alpha_bar).sqrt()
    return (y - denoise(y, s)) / s[:, None]


# %% [markdown]
r"""
Determinants $\mathcal D = \alpha b - \sigma a$: of $\varepsilon$ it is $\alpha$, of $x_0$ $-\sigma$, of
$v$ $\alpha^2+\sigma^2$, of the score $-\alpha/\sigma$. By (9.19) the weights are $(\alpha/\mathcal D)^2$:
the SNR, $\alpha^2/(\alpha^2+\sigma^2)^2$, and $\sigma^2$, which is NCSN's choice of $\lambda$.
"""


# %% tags=["solution-9.9"]
def weights_to_noise(alpha, sigma):
    """(w_x0, w_v, w_score), each (B,), for alpha and sigma (B,)."""
    return (alpha / sigma) ** 2, (alpha / (alpha**2 + sigma**2)) ** 2, sigma**2
