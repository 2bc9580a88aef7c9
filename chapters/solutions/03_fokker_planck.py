# %%
import math

import torch

from diffedu.evaluate import FokkerPlanck, Grid, extrapolate

# %% [markdown]
r"""
$y = x - c$ obeys $dy = -k\,y\,dt + \sqrt{2D}\,dW$, the spring of (3.8), and has the same variance as $x$.
"""


# %% tags=["solution-3.1"]
def spring_moments(mean, variance, t, k, c, D):
    """Mean and variance at times t, both of t's shape (T,), from those at time 0 and the numbers k, c, D."""
    decay = torch.exp(-k * t)
    return c + decay * (mean - c), D / k + decay**2 * (variance - D / k)


# %% [markdown]
r"""
Boltzmann's law at half the temperature is narrower, so the cloud contracts and its entropy falls. In a
spring it falls by $\tfrac12\log 2$, since the variance is proportional to $kT$. The second law is safe: the
heat that the cloud gives to the bath, divided by the bath's temperature, is more than that. This is what
the falling free energy says.
"""

# %% tags=["solution-3.2"]
entropy_after_cooling = "falls"

# %% [markdown]
r"""
`expm1` keeps the small $w$ exact, and the limit $1 - w/2$ takes over where even $w/w$ would fail. For
$w = 1000$ the exponential is infinite and the rate 0, as it should be; for $w = -1000$ it is 0 and the rate
$-w$.
"""


# %% tags=["solution-3.3"]
def hop_rates(U, h, mobility, kT):
    """Rates (right, left) over the inner faces, each (n - 1,), from U at the middles, shape (n,), float64."""

    def bernoulli(w):
        near = w.abs() < 1e-8
        safe = torch.where(near, torch.ones_like(w), w)
        return torch.where(near, 1 - w / 2, safe / torch.expm1(safe))

    w = U.diff() / kT
    scale = mobility * kT / h**2
    return scale * bernoulli(w), scale * bernoulli(-w)


# %% [markdown]
r"""
In $\int f\varphi'p$ the function $f$ travels with $p$, and in $\int \tfrac12 g^2\varphi''p$ so does $g^2$:
the derivatives land on the products. The half is that of Taylor's formula. A test that finds all three: the
integral of the result over the line must be zero (the first slip), and the variance of free diffusion must
grow by $g^2$ per unit of time (the second); for the third take $f = 0$, $\varphi = x$: the mean must not
move.
"""


# %% tags=["solution-3.4"]
def rate_of_change(p, f, g, h):
    """dp/dt, shape (n,), from the density p, drift f and noise g at n points of spacing h."""

    def d(u):
        return torch.gradient(u, spacing=h)[0]

    return -d(f * p) + 0.5 * d(d(g**2 * p))


# %% [markdown]
r"""
$v = J/p = f - D\,\partial_x\log p$ with $D = \tfrac12 g^2$. The minus: the noise drives particles from
where many are to where few are, against the score.
"""


# %% tags=["solution-3.5"]
def twin_velocity(drift, g, score):
    """v, shape (B, D), from the drift and the score (B, D) and the noise g (B,) of each point's time."""
    return drift - 0.5 * g[:, None] ** 2 * score


# %% [markdown]
r"""
The imbalance decays like $e^{-\lambda_1 t}$, so $t = \log(100)/\lambda_1$. Kramers' law gives a time that
is some percent too short.
"""

# %% tags=["solution-3.6"]
two_rates = [
    FokkerPlanck.from_potential(lambda x: 6 * (x**2 - 1) ** 2, Grid(-2.5, 2.5, n)).relaxation_rates(2)[1]
    for n in (200, 400)
]
waiting_time = math.log(100) / float(extrapolate(two_rates[0], two_rates[1]))

# %% [markdown]
r"""
Cells are averages, so two fine ones make a coarse one by their mean. Taking every second fine *cell* would
compare different places.
"""


# %% tags=["solution-3.7"]
def fourth_order(coarse, fine):
    """The extrapolated averages, shape (n,), from coarse (n,) and fine (2n,)."""
    return (4 * fine.reshape(-1, 2).mean(dim=1) - coarse) / 3


# %% [markdown]
r"""
Where the noise depends on the place, the second term of (3.7) is $\mathbb E[D(x)\varphi'']$, and (3.9)
moves both derivatives onto the product: $J = f p - \partial_x(D p)$. Zero current for $q = D p$ means
$q' = (f/D)\,q = -\tfrac{x}{1+x^2}\,q$, so $q \propto (1+x^2)^{-1/2}$ and $p = q/D \propto (1+x^2)^{-3/2}$.
Its antiderivative is $x/\sqrt{1+x^2}$, which runs from $-1$ to $1$: the integral is 2. The tails are those
of a power law (Student's $t$ with two degrees of freedom, but for the scale). In Stratonovich's convention
the answer would be $(1+x^2)^{-1}/\pi$, Cauchy's law. So two people who write the same SDE and mean
different conventions get different densities. With noise that depends on time alone, as in this book, there
is no difference.
"""


# %% tags=["solution-3.8"]
def stationary_density(x):
    """p(x), shape (N,), with integral 1 over the line, for points x (N,)."""
    return 0.5 * (1 + x**2) ** -1.5
