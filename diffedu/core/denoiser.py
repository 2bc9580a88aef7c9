r"""The one interface that samplers, guidance and metrics speak: a denoiser, E[x0 | x_t].

An exact oracle, a trained network and a guided model are all denoisers. Solvers see nothing else: labels, text and
guidance are bound outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from diffedu._tensor import as_time, expand
from diffedu.core.path import GaussianPath, PathCoefficients
from diffedu.core.prediction import SCORE, VELOCITY, Prediction
from diffedu.core.times import time_at_half_log_snr


class Denoiser(Protocol):
    """The posterior mean of the clean point, given a noisy one: E[x0 | x_t].

    `path` says how the noise was added. A call takes x_t of shape (B, *) and t of shape () or (B,), and returns
    shape (B, *) in data units.
    """

    @property
    def path(self) -> GaussianPath: ...

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor: ...


def _coefficients(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> tuple[Tensor, PathCoefficients]:
    time = as_time(t, x_t)
    return time, denoiser.path(time).expand(x_t)


def eps_hat(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> Tensor:
    """The expected noise E[eps | x_t] = (x_t - alpha x0_hat) / sigma; needs sigma > 0. Taught in: chapter 9."""
    t, c = _coefficients(denoiser, x_t, t)
    return (x_t - c.alpha * denoiser(x_t, t)) / c.sigma


def score(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> Tensor:
    r"""The score grad log p_t(x_t) = -(x_t - alpha x0_hat) / sigma^2, by Tweedie's formula.

    Args:
        denoiser: gives x0_hat.
        x_t: shape (B, *).
        t: shape () or (B,), with sigma(t) > 0.

    Returns:
        Shape (B, *), in 1 / data units.

    Reference: Efron 2011, eq. 1.4; Robbins 1956. Taught in: chapter 9.

    Example:
        >>> from diffedu.core.oracle import GaussianMixture
        >>> from diffedu.core.path import EDM
        >>> exact = GaussianMixture.single(torch.zeros(2), torch.eye(2)).denoiser(EDM())
        >>> score(exact, torch.ones(1, 2), 1.0)
        tensor([[-0.5000, -0.5000]])
    """
    t, c = _coefficients(denoiser, x_t, t)
    return SCORE.from_x0(denoiser(x_t, t), x_t, c)


def velocity(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> Tensor:
    """dx/dt of the probability-flow ODE: alpha_dot x0_hat + sigma_dot eps_hat; needs sigma > 0.

    Returns:
        Shape (B, *), in data units per time unit.

    Reference: Song et al. 2021, eq. 13; Lipman et al. 2023, eq. 15. Taught in: chapters 10 and 13.
    """
    t, c = _coefficients(denoiser, x_t, t)
    return VELOCITY.from_x0(denoiser(x_t, t), x_t, c)


def posterior_covariance(denoiser: Denoiser, x_t: Tensor, t: Tensor | float) -> Tensor:
    r"""How unsure the guess is: Cov[x0 | x_t], from the Jacobian of the denoiser (second-order Tweedie).

        Cov[x0 | x_t] = (sigma^2 / alpha) d x0_hat / d x_t = (sigma^2 / alpha^2) (I + sigma^2 d score / d x_t).

    D backward passes, where D is the number of coordinates of one example. Each example's answer may depend on its own
    x_t only (no batch norm). The result of an exact denoiser is symmetric and has no negative eigenvalue; that of a
    network need not, and is returned as it is.

    Args:
        denoiser: gives x0_hat, differentiable in x_t.
        x_t: shape (B, *).
        t: shape () or (B,), with alpha(t) > 0.

    Returns:
        Shape (B, D, D), in squared data units, without a gradient; row i belongs to coordinate i of x0.

    Raises:
        ValueError: alpha is 0 at one of the times: there x_t says nothing of x0, and the formula is 0 / 0.

    Reference: Efron 2011, section 2, where the posterior variance is the second derivative of the same function.
    Taught in: chapter 9.

    Example:
        >>> from diffedu.core.oracle import GaussianMixture
        >>> from diffedu.core.path import EDM
        >>> exact = GaussianMixture.single(torch.zeros(2), torch.diag(torch.tensor([1.0, 4.0]))).denoiser(EDM())
        >>> posterior_covariance(exact, torch.ones(1, 2), 2.0)  # v sigma^2 / (v + sigma^2)
        tensor([[[0.8000, 0.0000],
                 [0.0000, 2.0000]]])
    """
    time = as_time(t, x_t)
    c = denoiser.path(time)
    if x_t.device.type != "meta" and bool((c.alpha == 0).any()):
        raise ValueError(
            f"alpha(t) must be positive: at pure noise the Jacobian is 0 and the covariance that of the data; "
            f"got alpha = 0 at t = {time[c.alpha == 0].flatten()[0].item():g}"
        )
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        x0_hat = denoiser(x, time).flatten(1)
        if x0_hat.requires_grad:
            # The sum over the batch is harmless: each example's answer depends on its own x_t alone.
            rows = [
                torch.autograd.grad(x0_hat[:, i].sum(), x, retain_graph=True, materialize_grads=True)[0]
                for i in range(x0_hat.shape[1])
            ]
        else:  # a denoiser that does not look at x_t
            rows = [torch.zeros_like(x)] * x0_hat.shape[1]
    jacobian = torch.stack([row.detach().flatten(1) for row in rows], dim=1)
    return expand(c.sigma**2 / c.alpha, jacobian) * jacobian


@dataclass(frozen=True)
class NetworkDenoiser:
    """A network as a denoiser: whatever it predicts is converted to x0_hat.

    Args:
        net: called as net(x_t, t) with t of shape (B,), in the path's own time; returns the prediction, shape (B, *).
        path: the path it was trained on.
        prediction: what its output means.

    Taught in: chapters 7 and 9.

    Example:
        >>> from diffedu.core.path import Cosine
        >>> from diffedu.core.prediction import EPS
        >>> silent = NetworkDenoiser(lambda x_t, t: torch.zeros_like(x_t), Cosine(), EPS)
        >>> x = torch.ones(1, 2)
        >>> silent(x, 0.5) * Cosine()(0.5).alpha  # no noise seen: x_t / alpha
        tensor([[1.0000, 1.0000]])
    """

    net: Callable[[Tensor, Tensor], Tensor]
    path: GaussianPath
    prediction: Prediction

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        t = as_time(t, x_t)
        value = self.net(x_t, t.expand(x_t.shape[0]))
        if value.shape != x_t.shape:
            raise ValueError(
                f"the network returned shape {tuple(value.shape)} for x_t of shape {tuple(x_t.shape)}; "
                f"a prediction has the shape of its input"
            )
        return self.prediction.to_x0(value, x_t, self.path(t).expand(x_t))

    def given(self, condition: Any) -> NetworkDenoiser:
        """The same denoiser with the network's condition (a label, a text) bound: see `UNet.given`."""
        given = getattr(self.net, "given", None)
        if given is None:
            raise ValueError(f"{type(self.net).__name__} takes no condition: it has no method `given`")
        return NetworkDenoiser(given(condition), self.path, self.prediction)


@dataclass(frozen=True)
class Clipped:
    """A denoiser whose answers are cut to the range of the data.

    Pixels lie in [-1, 1], so a posterior mean outside it is a network's error. Near pure noise that error is
    divided by a tiny alpha, and the cut is what keeps it from growing.

    Reference: Ho et al. 2020, released code ("clip_denoised"). Taught in: chapter 14.
    """

    denoiser: Denoiser
    low: float = -1.0
    high: float = 1.0

    @property
    def path(self) -> GaussianPath:
        return self.denoiser.path

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return torch.clamp(self.denoiser(x_t, t), self.low, self.high)


@dataclass(frozen=True)
class OnPath:
    r"""A denoiser made for one path, asked on another. Nothing is trained again.

        x_t / alpha = x0 + (sigma / alpha) eps, so x0_hat depends on x_t / alpha and on alpha / sigma alone:

        x0_hat'(x, t) = x0_hat(x alpha(u) / alpha'(t), u),     with log(alpha / sigma)(u) = log(alpha' / sigma')(t).

    Exact where the noise-to-signal ratio sigma' / alpha' at t is one that the first path reaches; else the nearest
    time is taken. Each call searches for u.

    Args:
        denoiser: on its own path.
        path: where it is to be asked; alpha must be positive at the times asked for.

    Reference: Karras et al. 2022, appendix C.1 (scaling and reparametrised time). Taught in: chapter 9.

    Example:
        >>> from diffedu import *
        >>> mixture, x = GaussianMixture.ring(8), torch.ones(1, 2)
        >>> moved, made_there = OnPath(mixture.denoiser(VP()), EDM()), mixture.denoiser(EDM())
        >>> bool(torch.allclose(moved(x, 0.7), made_there(x, 0.7), atol=1e-5))
        True
    """

    denoiser: Denoiser
    path: GaussianPath

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        time = as_time(t, x_t)
        here = self.path(time)
        u = time_at_half_log_snr(self.denoiser.path, here.half_log_snr)
        return self.denoiser(expand(self.denoiser.path(u).alpha / here.alpha, x_t) * x_t, u)
