r"""The log-likelihood of a model: follow points along the probability-flow ODE, and count how space stretches."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from diffedu._tensor import randn_like
from diffedu.core.denoiser import Denoiser, velocity
from diffedu.core.path import GaussianPath
from diffedu.core.score_matching import divergence

Field = Callable[[Tensor], Tensor]
Divergence = Callable[[Field, Tensor], tuple[Tensor, Tensor]]


def exact_divergence(field: Field, x: Tensor) -> tuple[Tensor, Tensor]:
    """A vector field and its divergence, sum_i d field_i / d x_i: one backward pass for each dimension.

    Args:
        field: maps shape (B, D) to (B, D), each row by itself.
        x: shape (B, D).

    Returns:
        The field, shape (B, D), and the divergence, shape (B,).

    Taught in: chapter 10.

    Example:
        >>> exact_divergence(lambda x: 3 * x, torch.zeros(2, 5))[1]
        tensor([15., 15.])
    """
    with torch.no_grad():  # chapter 4's divergence then keeps no graph
        return divergence(field, x)


def hutchinson_divergence(probe: Tensor) -> Divergence:
    """The divergence estimated without bias by probe^T J probe: one backward pass, whatever the dimension.

    Args:
        probe: shape (B, *), entries independent, of mean 0 and variance 1 (signs have the least variance). It stays
            the same along the whole run, so that the run is an ODE.

    Reference: Hutchinson 1990; Grathwohl et al. 2019 (FFJORD), section 3.1. Taught in: chapter 10.

    Example:
        >>> signs = torch.tensor([[1.0, -1.0]])
        >>> hutchinson_divergence(signs)(lambda x: 3 * x, torch.zeros(1, 2))[1]
        tensor([6.])
    """

    def estimate(field: Field, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = field(x)
            (product,) = torch.autograd.grad((value * probe).sum(), x)  # probe^T J
        return value.detach(), (product * probe).flatten(1).sum(1)

    return estimate


def signs_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Independent signs, +1 or -1 with equal chance: probes for `hutchinson_divergence`."""
    return torch.where(randn_like(x, generator) > 0, 1.0, -1.0).to(x.dtype)


def log_likelihood(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    divergence: Divergence = exact_divergence,
    prior: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""log p(x) of the flow model, in nats, by the instantaneous change of variables.

        dx/dt = velocity(x, t),    d log p_t(x_t)/dt = -div velocity(x_t, t),
        log p(x) = log prior(x_T) + integral of div velocity from the first time to the last.

    The classical Runge-Kutta method of order 4 follows the point and the integral together.

    Args:
        denoiser: of the model; gradients must flow through it.
        x: shape (B, *), at times[0].
        times: shape (steps + 1,), *increasing*, from a small time (sigma > 0) to t_max. Time grids of this package
            fall: flip them.
        divergence: `exact_divergence` for points in the plane; `hutchinson_divergence(probe)` for more dimensions.
        prior: log-density at the last time, (B, *) to (B,); by default that of the noise from which sampling starts. It
            differs a little from the law of noised data, and the likelihood by as much.

    Returns:
        Shape (B,).

    Raises:
        ValueError: times does not increase.

    Reference: Chen et al. 2018 (neural ODEs), theorem 1; Song et al. 2021, eq. 39. Taught in: chapter 10.

    Example:
        >>> from diffedu import *
        >>> exact = GaussianMixture.single(torch.zeros(2), torch.eye(2)).denoiser(VP())
        >>> times = uniform_times(VP(), 20).flip(0)
        >>> print(f"{log_likelihood(exact, torch.zeros(1, 2), times).item():.3f}")  # -log(2 pi)
        -1.838
    """
    if times.ndim != 1 or len(times) < 2 or (times.device.type != "meta" and not (times.diff() > 0).all()):
        raise ValueError("times must be one-dimensional and increase: a likelihood runs from data to noise")
    times = times.to(device=x.device, dtype=x.dtype)
    gained = torch.zeros(len(x), dtype=x.dtype, device=x.device)

    def slope(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return divergence(lambda y: velocity(denoiser, y, t), x)

    for t, s in pairwise(times):
        h = s - t
        v1, d1 = slope(x, t)
        v2, d2 = slope(x + h / 2 * v1, t + h / 2)
        v3, d3 = slope(x + h / 2 * v2, t + h / 2)
        v4, d4 = slope(x + h * v3, s)
        x = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        gained = gained + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return gained + (noise_log_prob(denoiser.path, x, times[-1]) if prior is None else prior(x))


def noise_log_prob(path: GaussianPath, x: Tensor, t: Tensor) -> Tensor:
    """log N(x; 0, sigma(t)^2 I), shape (B,), in nats."""
    sigma = path(t).sigma
    dim = x[0].numel()
    return -0.5 * (x / sigma).square().flatten(1).sum(1) - dim * (sigma.log() + 0.5 * math.log(2 * math.pi))
