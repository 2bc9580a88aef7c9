# %%
import torch

# %% [markdown]
r"""
$x_t$ is $x_0$ at $t = 0$ and $x_1$ at $t = 1$; its derivative by $t$ is $x_1 - x_0$. `t` gets as many axes
as the data has.
"""


# %% tags=["solution-13.1"]
def training_pair(x0, x1, t):
    """(x_t, target), each (B, *), from x0 and x1 (B, *) and t (B,): data at t = 0."""
    t = t.reshape(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + t * x1, x1 - x0


# %% [markdown]
r"""
`x_t` was computed and not used: the network saw `x1`. Shown only $x_1$, the best it can say is
$x_1 - \mathbb E[x_0]$, and the sampler shrinks the noise around the mean of the data, (13.14).
"""


# %% tags=["solution-13.2"]
def loss_of_pairs(net, x0, x1, t):
    """Shape (B,): the squared error of the velocity, for x0 and x1 (B, D) and t (B,): data at t = 0."""
    x_t = (1 - t[:, None]) * x0 + t[:, None] * x1
    return (net(x_t, t) - (x1 - x0)).square().mean(1)


# %% [markdown]
r"""
By (13.15) our velocity is $u(x, t) = -\,$`theirs`$(x, 1 - t)$: both the clock and the sign. Our step $s -
t$ is negative, and so is the sign, so that the point moves along their arrow.
"""


# %% tags=["solution-13.3"]
def euler_with_theirs(theirs, x, times):
    """Where x (B, D), at times[0], arrives at times[-1]; times (steps + 1,) falls; theirs(x, r) -> (B, D)."""
    for i in range(len(times) - 1):
        t, s = times[i], times[i + 1]
        x = x - (s - t) * theirs(x, 1 - t)
    return x


# %% [markdown]
r"""
Bayes' rule over the tubes: each is a Gaussian of variance $h^2$ around its curve. Within a tube the shift
$j$ stands still, so all its points move with $\dot\alpha x_0^i + \dot\sigma x_1^i$. (In the package both
*ends* are shifted, so the tube's width is $(\alpha+\sigma)\,h$ and breathes with it; on the straight path
the two agree.)
"""


# %% tags=["solution-13.4"]
def pairs_velocity(x, x0, x1, alpha, sigma, alpha_dot, sigma_dot, h):
    """Shape (B, D): E[dx_t/dt | x_t = x] for x (B, D), pairs x0 and x1 (N, D), and five numbers."""
    square = (x[:, None] - alpha * x0 - sigma * x1).square().sum(2)
    weight = torch.softmax(-square / (2 * h**2), dim=1)
    return weight @ (alpha_dot * x0 + sigma_dot * x1)


# %% [markdown]
r"""
$x_t + (1-t)\,u = \sigma_t\varepsilon + (1-t)(1-\sigma_{\min})\,\varepsilon = \varepsilon$, since
$\sigma_{\min} + (1-\sigma_{\min})\,t + (1-t)(1-\sigma_{\min}) = 1$. So the noise is as before, and only the
$\sigma$ below it is another: $\sigma_t$, which is $\sigma_{\min}$ at $t = 0$.
"""


# %% tags=["solution-13.5"]
def score_with_floor(u, x_t, t, sigma_min):
    """grad log p_t(x_t), shape (B, D), from u and x_t (B, D), t (B,) in [0, 1], and a number."""
    t = t[:, None]
    return -(x_t + (1 - t) * u) / (sigma_min + (1 - sigma_min) * t)


# %% [markdown]
r"""
All three are flows on a line, so all are increasing maps of the noise into the data. There is one such map,
(13.27).
"""

# %% tags=["solution-13.6"]
three_flows = "same map"

# %% [markdown]
r"""
For jointly Gaussian numbers $\operatorname{Var}[\dot x\mid x] = (\operatorname{Var}\dot
x\operatorname{Var}x - \operatorname{Cov}^2)/\operatorname{Var}x$. The numerator is the determinant of the
covariance of $(x_t, \dot x_t)$, which is a linear map of $(x_0, x_1)$ with the matrix $\begin{pmatrix}1-t &
t\\ -1 & 1\end{pmatrix}$ of determinant 1; so it is that of $(x_0, x_1)$: $s^2r^2(1-\rho^2)$. With $q =
t/(1-t)$,

$$\mathcal V = s^2r^2(1-\rho^2)\int_0^\infty\frac{dq}{s^2 + 2\rho\,rs\,q + r^2q^2}
= s\,r\,\sqrt{1-\rho^2}\,\Big[\arctan\frac{r q + \rho s}{s\sqrt{1-\rho^2}}\Big]_0^\infty
= s\,r\,\sqrt{1-\rho^2}\;\arccos\rho .$$

The lower end gives $\arctan(\rho/\sqrt{1-\rho^2}) = \arcsin\rho$. For $\rho\to1$ the pairs lie on one
increasing line and do not cross. For $\rho\to-1$ all lines run through one point, at one instant: a set of
times of measure zero, and $\mathcal V\to0$ again. All of the gain is then bending.
"""


# %% tags=["solution-13.7"]
def not_learnable(s, r, rho):
    """V, shape (B,), from s, r and rho, shape (B,)."""
    return s * r * (1 - rho**2).sqrt() * torch.arccos(rho)


# %% [markdown]
r"""
The rank of each `x0` says which of the sorted `x1` it gets. `argsort` of `argsort` is the rank.
"""


# %% tags=["solution-13.8"]
def pairs_on_a_line(x0, x1):
    """Indices, shape (B,), whole numbers, for x0 and x1 of shape (B,)."""
    return x1.argsort()[x0.argsort().argsort()]
