# %%
import math

import torch

from diffedu import DiscreteDDPM, linear_betas

# %% [markdown]
r"""
The table is indexed by the times, which gives one value for each example. `reshape` adds as many axes of
length 1 as the data has after the first, so that the values multiply whole examples and not columns.
"""


# %% tags=["solution-5.1"]
def add_noise(x0, eps, t, alpha_bar):
    """x_t, shape (B, *), from x0 and eps (B, *), whole-number times t (B,) and alpha_bar (T + 1,)."""
    level = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    return level.sqrt() * x0 + (1 - level).sqrt() * eps


# %% [markdown]
r"""
The four pixels agree, so their mean is the pixel of the small picture. Their noises are independent: the
sum of four has size $\sqrt 4\,\sigma = 2\sigma$ by (5.6), the mean a quarter of it, $\sigma/2$. The large
picture is clearer at the same $t$, and its half-log-SNR, as seen by a small eye, is higher by $\log 2$.
This is why schedules are shifted when the resolution grows.
"""

# %% tags=["solution-5.2"]
shrunk_picture = "clearer"

# %% [markdown]
r"""
SNR falls below 1 where $\bar\alpha_t$ falls below $\tfrac12$. The table of `DiscreteDDPM` begins with
$\bar\alpha_0 = 1$, so its index is the time.
"""

# %% tags=["solution-5.3"]
first_noisy_step = int((DiscreteDDPM(linear_betas(1000)).alpha_bar < 0.5).nonzero()[0])

# %% [markdown]
r"""
First mistake: `cumprod` has no entry for $t = 0$, so index $t$ holds $\bar\alpha_{t+1}$ (and index $T$ does
not exist). Second: the noise was multiplied by its variance. A unit test that would have caught both: for
data of variance 1 the result must have variance 1 at every $t$, and at $t = 1$ it must be one step of
(5.1).
"""


# %% tags=["solution-5.4"]
def noised(x0, eps, t, betas):
    """x_t, shape (B, D), at whole-number times t (B,) from 1 to T, for betas (T,) = beta_1 ... beta_T."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])[t][:, None]
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


# %% [markdown]
r"""
The cosine lacked its square, and the last beta its cut. Dividing by $f(0)$ is not needed here: it cancels
in the ratio of neighbours.
"""


# %% tags=["solution-5.5"]
def betas_of_cosine(T):
    """beta_1 ... beta_T of the cosine schedule, shape (T,), float64, none above 0.999."""
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


# %% [markdown]
r"""
(5.22) and (5.23), with a leading 1 in the table so that $\bar\alpha_{t-1}$ exists at $t = 1$. There the
weight of $x_t$ and the variance are 0 and the weight of $x_0$ is 1, without a special case.
"""


# %% tags=["solution-5.6"]
def posterior_of_previous(x0, x_t, t, betas):
    """Mean (B, D) and variance (B,) of x_{t-1}, from x0 and x_t (B, D), t (B,) from 1 to T, betas (T,)."""
    alpha_bar = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
    beta, before, now = betas[t - 1], alpha_bar[t - 1], alpha_bar[t]
    weight_x0 = before.sqrt() * beta / (1 - now)
    weight_xt = (1 - beta).sqrt() * (1 - before) / (1 - now)
    return weight_x0[:, None] * x0 + weight_xt[:, None] * x_t, (1 - before) / (1 - now) * beta


# %% [markdown]
r"""
Put $\bar\alpha_0 = 1$ in front of the kept values; then (5.24) is one division of neighbours.
"""


# %% tags=["solution-5.7"]
def respaced_betas(alpha_bar, kept):
    """Betas (K,) of the chain 0 -> kept[0] -> ... -> kept[K - 1]; alpha_bar (T + 1,), kept (K,) int64."""
    values = torch.cat([alpha_bar[:1], alpha_bar[kept]])
    return 1 - values[1:] / values[:-1]


# %% [markdown]
r"""
$\log\bar\alpha_T = \sum\log(1-\beta_t) \le -\sum\beta_t$, so what has to stay is the *sum* of the betas.
With $T$ steps instead of 1000 each must be $1000/T$ times larger. Since $\log(1-\beta)$ bends downwards,
fewer and larger steps end even nearer to noise: $8 \cdot 10^{-6}$ at $T = 50$, against $4 \cdot 10^{-5}$.
From $T = 20$ down the last beta would leave $(0, 1)$. (Other straight lines pass as well, such as one that
leaves the tiny first beta alone; this one has the merit of a single rate $\beta(t)$ for all $T$, section
5.8.)
"""


# %% tags=["solution-5.8"]
def linear_schedule(T):
    """Linear betas (T,), float64, for any T from 50 to 1000; the customary 1e-4 ... 0.02 at T = 1000."""
    scale = 1000 / T
    return torch.linspace(1e-4 * scale, 0.02 * scale, T, dtype=torch.float64)


# %% [markdown]
r"""
$\varepsilon_s$ enters with $\sqrt{\beta_s}$, and each of the steps $s+1, \dots, T$ multiplies it by
$\sqrt{\alpha_r}$, so $w_s = \sqrt{\beta_s\,\bar\alpha_T/\bar\alpha_s}$. The squares are a telescoping sum:
with $\beta_s = 1 - \bar\alpha_s/\bar\alpha_{s-1}$,
$w_s^2 = \bar\alpha_T\,(1/\bar\alpha_s - 1/\bar\alpha_{s-1})$, and the sum over $s$ is
$\bar\alpha_T\,(1/\bar\alpha_T - 1) = 1 - \bar\alpha_T$. No rotation was needed for the variance; the
rotation is what makes the *distribution* Gaussian again.
"""


# %% tags=["solution-5.9"]
def noise_weights(betas):
    """w_1 ... w_T, shape (T,): how much of each step's own noise is in x_T."""
    alpha_bar = (1 - betas).cumprod(0)
    return (betas * alpha_bar[-1] / alpha_bar).sqrt()


# %% [markdown]
r"""
The pull $e^{-h}$ is that of (5.30). The noise was that of $dx = -\tfrac12 x\,dt + dw$, whose exact leap has
$e^{-h/2}$ and $1-e^{-h}$: the same process on a clock at half the speed. Both mixtures run, and neither blows
up. What gives the slip away is a conserved quantity: $e^{-2h} + (1 - e^{-2h}) = 1$, while
$e^{-2h} + (1 - e^{-h}) < 1$, so that points of variance 1 lose variance with every leap.
"""


# %% tags=["solution-5.10"]
def leap(x, eps, h):
    """x at clock time tau + h, from x at tau and fresh noise eps, all (B, D); h (B,), each above 0."""
    h = h[:, None]
    return torch.exp(-h) * x + torch.sqrt(1 - torch.exp(-2 * h)) * eps
