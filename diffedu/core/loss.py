r"""The training loss: noise a clean batch, ask the network, compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffedu._tensor import randn_like
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import DiscreteDDPM, GaussianPath, PathCoefficients
from diffedu.core.prediction import Prediction

TimeSampler = Callable[[GaussianPath, int, torch.Generator], Tensor]
Weight = Callable[[PathCoefficients], Tensor]


def uniform_t(path: GaussianPath, n: int, generator: torch.Generator) -> Tensor:
    """n times: uniform on [t_min, t_max], or on the whole numbers 1 ... T for `DiscreteDDPM`.

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.core.path import VP
        >>> uniform_t(VP(), 3, seeded(0)).shape
        torch.Size([3])
    """
    device = generator.device
    if isinstance(path, DiscreteDDPM):
        return torch.randint(1, path.T + 1, (n,), generator=generator, device=device).to(torch.float32)
    u = torch.rand(n, generator=generator, device=device)
    return path.t_min + u * (path.t_max - path.t_min)


@dataclass(frozen=True)
class LogitNormal:
    """Times t_max S(mean + std z): the middle of the path more often than its ends. S is the logistic function.

    Reference: Esser et al. 2024 (Stable Diffusion 3), eq. 19. Taught in: chapter 18.
    """

    mean: float = 0.0
    std: float = 1.0

    def __call__(self, path: GaussianPath, n: int, generator: torch.Generator) -> Tensor:
        z = torch.randn(n, generator=generator, device=generator.device)
        return (path.t_max * torch.sigmoid(self.mean + self.std * z)).clamp(min=path.t_min)


@dataclass(frozen=True)
class LogNormalSigma:
    """Times at which sigma / alpha = exp(mean + std z), cut to the path. On `EDM` these are times themselves.

    Reference: Karras et al. 2022, table 1, "noise distribution". Taught in: chapter 15.
    """

    mean: float = -1.2
    std: float = 1.2

    def __call__(self, path: GaussianPath, n: int, generator: torch.Generator) -> Tensor:
        from diffedu.core.times import time_at_half_log_snr

        z = torch.randn(n, generator=generator, device=generator.device)
        return time_at_half_log_snr(path, -(self.mean + self.std * z)).clamp(min=path.t_min)


def unit_weight(c: PathCoefficients) -> Tensor:
    """1: the plain squared error. With the noise as target this is DDPM's L_simple (Ho et al. 2020, eq. 14)."""
    return torch.ones_like(c.alpha)


@dataclass(frozen=True)
class MinSNR:
    """For a noise target: min(snr, gamma) / snr. Easy low-noise times no longer dominate.

    Reference: Hang et al. 2023, section 3.4. Taught in: chapter 15.
    """

    gamma: float = 5.0

    def __call__(self, c: PathCoefficients) -> Tensor:
        return (self.gamma / c.snr).clamp(max=1.0)


def weight_between(source: Prediction, goal: Prediction) -> Weight:
    r"""The weight that turns a squared error of `source` into the squared error of `goal`, at the same noisy point.

    Both errors are one error of x0 in other units: err(target) = (D / sigma) err(x0), up to sign, with the
    determinant D of the prediction (`Prediction.determinant`). So the weight is (D_goal / D_source)^2.

    Taught in: chapter 9.

    Example:
        >>> from diffedu.core.path import RectifiedFlow
        >>> from diffedu.core.prediction import EPS, X0
        >>> weight_between(EPS, X0)(RectifiedFlow()(torch.tensor(0.5)))  # sigma^2 / alpha^2
        tensor(1.)
    """
    return lambda c: (goal.determinant(c) / source.determinant(c)) ** 2


@dataclass(frozen=True)
class DenoisingLoss:
    r"""w(t) |net(x_t, t) - target|^2, with t and eps drawn afresh; a mean over the data's axes, one value an example.

        x_t = alpha x0 + sigma eps,     target = a x0 + b eps.

    Args:
        path: how noise is added.
        prediction: what the network is trained to return.
        times: draws t.
        weight: w as a function of the path's coefficients.

    Reference: Ho et al. 2020, algorithm 1 (prediction EPS, unit weight, uniform times). Taught in: chapters 7 and 14.

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.core.path import VP
        >>> from diffedu.core.prediction import EPS
        >>> loss = DenoisingLoss(VP(), EPS)
        >>> zero = lambda x_t, t: torch.zeros_like(x_t)          # a network that sees no noise pays its variance, 1
        >>> print(f"{loss(zero, torch.zeros(20000, 2), seeded(0)).mean():.1f}")
        1.0
    """

    path: GaussianPath
    prediction: Prediction
    times: TimeSampler = uniform_t
    weight: Weight = unit_weight

    def __call__(
        self,
        net: Callable[[Tensor, Tensor], Tensor],
        x0: Tensor,
        generator: torch.Generator,
        expected: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        r"""Losses of one batch.

        Args:
            net: called as net(x_t, t); bind labels before, with `net.given(labels)`.
            x0: clean data, shape (B, *).
            generator: source of t and eps, on the device of x0.
            expected: called as expected(x_t, t); E[x0 | x_t] where it is known, as for a finite training set. Then the
                target is the mean of all targets that x_t could have. The best network that sees x_t alone is the same,
                the noise of the gradient is less (Xu, Tong, Jaakkola 2023, "stable targets"). Sigma must be positive.

        Returns:
            Shape (B,).

        Raises:
            ValueError: the network's output has another shape than x0 (a silent broadcast otherwise).
        """
        t = self.times(self.path, len(x0), generator).to(x0.dtype)
        eps = randn_like(x0, generator)
        c_flat = self.path(t)
        c = c_flat.expand(x0)
        x_t = c.alpha * x0 + c.sigma * eps
        value = net(x_t, t)
        if value.shape != x0.shape:
            raise ValueError(
                f"the network returned shape {tuple(value.shape)} for data of shape {tuple(x0.shape)}; "
                "they must be equal"
            )
        if expected is not None:
            x0 = expected(x_t, t)
            eps = (x_t - c.alpha * x0) / c.sigma
        error = (value - self.prediction.target(x0, eps, c)).square().flatten(1).mean(1)
        return self.weight(c_flat) * error


def least_loss(
    mixture: GaussianMixture, path: GaussianPath, prediction: Prediction, t: Tensor, generator: torch.Generator
) -> Tensor:
    r"""What no network can learn: the variance of the target that is left once x_t is seen.

        E|target - E[target | x_t]|^2 / D = (det / sigma)^2 E[tr Cov[x0 | x_t]] / D,

    where det is the prediction's determinant and D the dimension. For each time one x_t is drawn, and the variance
    given x_t taken in closed form. So the mean of the result is the loss, in the units of `DenoisingLoss` with unit
    weight, of the best possible network, and its spread is the error bar.

    Args:
        mixture: the distribution of clean data.
        path: how noise is added.
        prediction: what the network is trained to return.
        t: shape (B,), with sigma(t) > 0.
        generator: source of the B points, on the device of the mixture.

    Returns:
        Shape (B,), not negative.

    Raises:
        ValueError: t has another shape than (B,), or sigma is 0 at one of the times.

    Reference: Guo, Shamai, Verdu 2005, section II (the mmse of x0, there at unit noise). Taught in: chapter 7.

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.core.path import VP
        >>> from diffedu.core.prediction import EPS
        >>> normal = GaussianMixture.single(torch.zeros(2), torch.eye(2))  # for N(0, I) data: alpha^2
        >>> t = torch.tensor([0.1, 0.5, 0.9])
        >>> least_loss(normal, VP(), EPS, t, seeded(0)).round(decimals=3), (VP()(t).alpha ** 2).round(decimals=3)
        (tensor([0.8960, 0.0790, 0.0000]), tensor([0.8960, 0.0790, 0.0000]))
    """
    if t.ndim != 1:
        raise ValueError(f"t must have shape (B,), one time for each point that is drawn, got {tuple(t.shape)}")
    c = path(t)
    if t.device.type != "meta" and bool((c.sigma == 0).any()):
        raise ValueError(f"sigma(t) must be positive at every t, but it is 0 at t = {t[c.sigma == 0][0].item():g}")
    x0 = mixture.sample(len(t), generator)
    x_t = path.add_noise(x0, randn_like(x0, generator), t.to(x0.dtype))
    weights, means, covariances = mixture.posterior(x_t, t.to(x0.dtype), path)
    within = covariances.diagonal(dim1=-2, dim2=-1).sum(-1)  # (B, K)
    centred = means - torch.einsum("bk,bkd->bd", weights, means)[:, None]
    variance = (weights * (within + centred.square().sum(-1))).sum(1) / mixture.D
    return (prediction.determinant(c) / c.sigma) ** 2 * variance
