# %%
import math

import torch

# %% [markdown]
r"""
Each kick becomes a step of standard deviation $\sqrt{2D\Delta}$, and a path is the running sum of its
steps. The column of zeros is the start.
"""


# %% tags=["solution-1.1"]
def brownian(eps, D, dt):
    """Positions, shape (B, n + 1), from standard normal kicks (B, n) and two numbers."""
    positions = math.sqrt(2 * D * dt) * eps.cumsum(1)
    return torch.cat([torch.zeros_like(eps[:, :1]), positions], dim=1)


# %% [markdown]
r"""
The width is $\sqrt{2Dt}$, by (1.9). Ten times the width takes a hundred times the time.
"""

# %% tags=["solution-1.2"]
ten_millimetres = "100 minutes"

# %% [markdown]
r"""
$\mathbb E\,(\varepsilon\varepsilon')^4 = \mathbb E\,\varepsilon^4\;\mathbb E\,\varepsilon'^4 = 3 \cdot 3$,
since the two are independent. The variance is $1 \cdot 1$, as it should be, and so the test was content. By
(1.4) the sum of $n$ such kicks has $3 + 6/n$: fifty steps hide the mistake, five do not.
"""

# %% tags=["solution-1.3"]
fourth_moment = 9.0

# %% [markdown]
r"""
As for (1.15), with $\mu\kappa$ for the rate of the pull and $2\mu kT$ for the noise:
$\dot m = -\mu\kappa\,m$ and $\dot V = -2\mu\kappa\,V + 2\mu kT$. So the shrinking is $e^{-\mu\kappa t}$ and
the variance $\frac{kT}{\kappa}(1 - e^{-2\mu\kappa t})$. As $\kappa \to 0$ the bracket is about
$2\mu\kappa t$, and $2\mu kT\,t$ remains. `expm1` keeps the digits of $1 - e^{-y}$ for small $y$.
"""


# %% tags=["solution-1.4"]
def jump(x0, eps, t, stiffness, mobility, temperature):
    """x_t, shape (B, D), from x0 and eps (B, D), times t (B,) and three numbers."""
    t = t[:, None]
    if stiffness == 0:
        return x0 + torch.sqrt(2 * mobility * temperature * t) * eps
    rate = mobility * stiffness
    variance = -temperature / stiffness * torch.expm1(-2 * rate * t)
    return torch.exp(-rate * t) * x0 + variance.sqrt() * eps


# %% [markdown]
r"""
The variance of a kick is $2\mu kT\,\Delta$, so its size is the root of all of that. First mistake: $\Delta$
stood outside the root, so that halving it (and taking twice as many steps) would have halved the variance.
Second: the 2 was missing, so that even with the right root the crowd would have settled at half the
temperature.
"""


# %% tags=["solution-1.5"]
def settle(x, kicks, dt, stiffness, mobility, temperature):
    """Positions (B,) after one step for each row of standard normal kicks (n, B), from x (B,)."""
    for eps in kicks:
        x = x - mobility * stiffness * x * dt + math.sqrt(2 * mobility * temperature * dt) * eps
    return x


# %% [markdown]
r"""
Compare with (1.17): $\mu\kappa = \beta/2$ and $2\mu kT = \beta$. The variance is
$kT/\kappa = (\beta/2)/(\beta/2) = 1$. Or stand still in $\dot V = -\beta V + \beta$.
"""

# %% tags=["solution-1.6"]
settled_variance = 1.0

# %% [markdown]
r"""
The ratio of two shares is $e^{-(U_i - U_j)/kT}$, so a constant may be added to all energies. `softmax`
subtracts the largest exponent, which keeps at least one exponential at 1.
"""


# %% tags=["solution-1.7"]
def boltzmann_shares(U, temperature):
    """Shares, shape (N,), that add up to 1, from energies U (N,) and a temperature kT > 0."""
    return torch.softmax(-U / temperature, dim=0)


# %% [markdown]
r"""
The crowd is Gaussian at all times, with variance $V(t) = 1 + (1 - 1)\,e^{-2t} = 1$. Its entropy is that of
a Gaussian of variance 1, wherever its mean is. The free energy falls, by $\frac{dF}{dt} = -m^2$.
"""

# %% tags=["solution-1.8"]
entropy_will = "stays"

# %% [markdown]
r"""
The share over the width is the density; the share is also the weight with which its logarithm counts. Empty
bins are left out, since $f\log f \to 0$ as $f \to 0$.
"""


# %% tags=["solution-1.9"]
def entropy_of(points, edges):
    """Entropy in nats, shape (), from points (n,) and increasing edges (K + 1,)."""
    counts, _ = torch.histogram(points, edges)
    f = counts / len(points)
    occupied = f > 0
    return -(f[occupied] * torch.log(f[occupied] / edges.diff()[occupied])).sum()


# %% [markdown]
r"""
With $k$ on the second dog, $k \to k+1$ has probability $a\,(N-k)/N$, and $k+1 \to k$ has $b\,(k+1)/N$.
Balance gives $q_{k+1}/q_k = \frac{a}{b}\,\frac{N-k}{k+1}$. The product of the second factors from $0$ to
$k-1$ is $\binom Nk$, so $q_k \propto \binom Nk (a/b)^k$: the binomial distribution with $p = a/(a+b)$.
(Each flea, alone, is on the second dog with that probability, and the fleas know nothing of each other.)
The sum of logarithms cannot overflow.
"""


# %% tags=["solution-1.10"]
def flea_shares(N, a, b):
    """Probabilities, shape (N + 1,), float64, of k = 0 ... N fleas on the second dog; a, b in (0, 1]."""
    k = torch.arange(N, dtype=torch.float64)
    log_ratio = torch.log(a * (N - k)) - torch.log(b * (k + 1))
    return torch.softmax(torch.cat([log_ratio.new_zeros(1), log_ratio.cumsum(0)]), dim=0)
