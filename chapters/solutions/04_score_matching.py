# %%
import torch

# %% [markdown]
r"""
The logarithm of $q$ is $-\lVert x_t - \alpha x_0\rVert^2 / 2\sigma^2$ plus a constant. Its gradient has a
minus, and the square stays on $\sigma$. In terms of the noise it is $-\varepsilon/\sigma$. A unit test that
catches both slips: one step of size $\sigma^2$ along the arrow must end exactly at $\alpha x_0$.
"""


# %% tags=["solution-4.1"]
def conditional_score(x_t, x0, alpha, sigma):
    """grad log q(x_t | x0), shape (B, D), from x_t and x0 (B, D), alpha and sigma (B,)."""
    return -(x_t - alpha[:, None] * x0) / sigma[:, None] ** 2


# %% [markdown]
r"""
Inside the left island only its own component counts, so there $p \approx w\,p_1$ and
$\nabla\log p \approx \nabla\log w + \nabla\log p_1 = \nabla\log p_1$. The weight is a constant factor, and
the gradient of a logarithm does not see it. This is why a score that is right on all the data may still
come with the wrong proportions.
"""

# %% tags=["solution-4.2"]
arrows_inside = "the same"

# %% [markdown]
r"""
The noisy data are $\mathcal N(0, (v + \sigma^2) I)$ with $v = 4$. Their score $-x_t/(v+\sigma^2)$ has mean
square $D/(v+\sigma^2)$. By (4.22) the floor is
$\tfrac{D}{2}\big(\tfrac1{\sigma^2} - \tfrac1{v+\sigma^2}\big)
= \tfrac{D}{2\sigma^2}\cdot\tfrac{v}{v+\sigma^2}$: that is $6 \cdot 4/4.25$.
"""

# %% tags=["solution-4.3"]
smallest_loss = 3 / (2 * 0.5**2) * 4 / (4 + 0.5**2)

# %% [markdown]
r"""
One backward pass for each coordinate. The sum over the batch inside `grad` is harmless, since $s_i$ at one
point does not depend on the other points. `create_graph=True` makes the derivative itself differentiable,
as training needs.
"""


# %% tags=["solution-4.4"]
def hyvarinen(score, x):
    """1/2 |s|^2 + div s at every point, shape (B,); score maps (B, D) to (B, D), x has shape (B, D)."""
    x = x.clone().requires_grad_()
    s = score(x)
    loss = 0.5 * (s**2).sum(1)
    for i in range(x.shape[1]):
        loss = loss + torch.autograd.grad(s[:, i].sum(), x, create_graph=True)[0][:, i]
    return loss


# %% [markdown]
r"""
The gradient of $v\cdot s$ by $x$ is $\mathsf J^\top v$; multiplied by $v$ it is $v^\top \mathsf J\, v$. The
form (4.16) knows $\mathbb E_v (v\cdot s)^2 = \lVert s\rVert^2$ and puts it in, which removes one of the two
sources of randomness. That usually lowers the variance (not always: the two may cancel each other).
"""


# %% tags=["solution-4.5"]
def sliced_along(score, x, v):
    """1/2 (v . s)^2 + v . grad (v . s), shape (B,); x and v have shape (B, D)."""
    x = x.clone().requires_grad_()
    along = (v * score(x)).sum(1)
    (slope,) = torch.autograd.grad(along.sum(), x, create_graph=True)
    return 0.5 * along**2 + (v * slope).sum(1)


# %% [markdown]
r"""
With $s = -\hat\varepsilon/\sigma$ and the target $-\varepsilon/\sigma$ the score's squared error is
$\lVert\hat\varepsilon-\varepsilon\rVert^2/\sigma^2$. Times $\lambda = \sigma^2$ nothing of $\sigma$ is
left. In the package: `weight_between(SCORE, EPS)` is $\sigma^2$, and it belongs to the loss of the *score*.
"""


# %% tags=["solution-4.6"]
def weighted_loss(eps_hat, eps, sigma):
    """The terms of (4.26) with lambda = sigma^2, shape (B,), from noises (B, D) and sigma (B,)."""
    return 0.5 * ((eps_hat - eps) ** 2).sum(1)


# %% [markdown]
r"""
Write the planted step with $h = 2k$: it is $x + k\,(2 s) + \sqrt{2k}\,z$, a correct step for the score
$2s$, that is, for the density $p^2$ (rescaled to integrate to one): temperature $\tfrac12$. On a Gaussian
the variance comes out halved. The test that finds it: run the step on $\mathcal N(0, 1)$ with a small $h$
and measure the variance.
"""


# %% tags=["solution-4.7"]
def langevin_step(score, x, h, z):
    """One step of Langevin dynamics for p, temperature 1; score maps (B, D) to (B, D), z is N(0, I)."""
    return x + h * score(x) + (2 * h) ** 0.5 * z


# %% [markdown]
r"""
The points $x_t$ are samples of the noised density, and its score is what the network was trained towards.
The first test of any examiner: give it the exact answer, and expect the mark zero.
"""


# %% tags=["solution-4.8"]
def score_error(net, mixture, path, t, x0, eps):
    """Mean of |s(x_t, t) - exact|^2, shape (); net maps x_t (B, D) and t (B,) to (B, D), t has shape ()."""
    x_t = path.add_noise(x0, eps, t)
    guess = net(x_t, t.expand(len(x_t)))
    return (guess - mixture.noised(path, t).score(x_t)).square().sum(1).mean()


# %% [markdown]
r"""
`levels * steps` steps have as many starts, and one end. The end's time is not used by a Langevin step, but
the grid must have it; the last level is the honest choice, since that is the noise that the result still
carries.
"""


# %% tags=["solution-4.9"]
def annealed_times(path, levels, steps):
    """Times, shape (levels * steps + 1,), float32, falling from path.t_max to path.t_min."""
    each = torch.linspace(path.t_max, path.t_min, levels)
    return torch.cat([each.repeat_interleave(steps), each[-1:]])


# %% [markdown]
r"""
$J(\theta) = \tfrac12\,\theta^\top A\,\theta + b\cdot\theta$ with
$A_{kl} = \overline{\nabla\varphi_k\cdot\nabla\varphi_l}$ and $b_k = \overline{\Delta\varphi_k}$ (bars are
means over the sample). Its gradient $A\theta + b$ vanishes at $\theta = -A^{-1}b$. With
$\varphi = (-x^2/2,\ -x^4/4)$ this is (4.13). For a Gaussian, $\varphi = (x, x^2)$, it gives the sample's
own mean and variance, as maximum likelihood does.
"""


# %% tags=["solution-4.10"]
def fit_exponential_family(gradients, laplacians):
    """theta, shape (K,), from the features' gradients (N, K, D) and Laplacians (N, K) at N samples."""
    A = torch.einsum("nkd,nld->kl", gradients, gradients) / len(gradients)
    return torch.linalg.solve(A, -laplacians.mean(0))
