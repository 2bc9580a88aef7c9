r"""EDM's preconditioning: a network that sees unit variance, answers with unit variance, and is amplified least.

A point at any noise level is brought to one size before the network sees it, and the network is asked for the one
combination of clean point and noise that has unit variance and enters the guess with the smallest factor:

    x0_hat = c_skip x_t + c_out F(c_in x_t, c_noise).

Its target is one more `Prediction`, a x0 + b eps, so conversions, losses and samplers need nothing new.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffedu._tensor import as_time, expand
from diffedu.core.denoiser import NetworkDenoiser
from diffedu.core.path import GaussianPath, PathCoefficients
from diffedu.core.prediction import Prediction


class Scalings(NamedTuple):
    """c_skip, c_out, c_in and c_noise at some times; each of the shape of t."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def edm_scalings(c: PathCoefficients, data_std: float) -> Scalings:
    r"""The four scalings, for data whose coordinates have mean 0 and standard deviation s = data_std.

    With S^2 = alpha^2 s^2 + sigma^2, the variance of x_t:

        c_in = 1 / S,  c_skip = alpha s^2 / S^2,  c_out = sigma s / S,  c_noise = log(sigma / alpha) / 4.

    c_in and c_out give the network's input and target unit variance; c_skip makes c_out as small as it can be, and
    c_skip x_t is then the best guess among the multiples of x_t.

    Args:
        c: the path's coefficients at times of any shape.
        data_std: s, in data units, positive.

    Raises:
        ValueError: data_std is not positive.

    Reference: Karras et al. 2022, table 1 and appendix B.6, which is alpha = 1. Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import EDM
        >>> print(*(f"{value:.3f}" for value in edm_scalings(EDM()(torch.tensor(0.5)), data_std=0.5)))
        0.500 0.354 1.414 -0.173
    """
    if not data_std > 0:
        raise ValueError(f"data_std must be positive, got {data_std}")
    variance = (c.alpha * data_std) ** 2 + c.sigma**2
    c_in = 1 / variance.sqrt()
    return Scalings(c.alpha * data_std**2 / variance, c.sigma * data_std * c_in, c_in, -c.half_log_snr / 4)


def edm_prediction(data_std: float) -> Prediction:
    r"""What the preconditioned network is trained towards: (x0 - c_skip x_t) / c_out, which is a x0 + b eps with

        a = sigma / (s S),    b = -alpha s / S,    S^2 = alpha^2 s^2 + sigma^2.

    For s = 1 it is -v on every path with alpha^2 + sigma^2 = 1. Its plain squared error is EDM's loss: the squared
    error of x0_hat with the weight 1 / c_out^2 = (sigma^2 + alpha^2 s^2) / (sigma s)^2.

    Raises:
        ValueError: data_std is not positive.

    Reference: Karras et al. 2022, eq. 8 and table 1 ("loss weighting"). Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import Cosine
        >>> from diffedu.core.prediction import V
        >>> c = Cosine()(torch.tensor(0.3))
        >>> [bool(torch.isclose(-ours, theirs)) for ours, theirs in zip(edm_prediction(1.0).weights(c), V.weights(c))]
        [True, True]
    """
    if not data_std > 0:
        raise ValueError(f"data_std must be positive, got {data_std}")

    def weights(c: PathCoefficients) -> tuple[Tensor, Tensor]:
        size = ((c.alpha * data_std) ** 2 + c.sigma**2).sqrt()
        return c.sigma / (data_std * size), -c.alpha * data_std / size

    return Prediction(f"edm (data_std={data_std:g})", weights)


class Preconditioned(nn.Module):
    """A network in EDM's coat: it is shown c_in x_t and c_noise, and returns F.

    Train it as any network, with `DenoisingLoss(path, edm_prediction(data_std))` and unit weight; `denoiser()` is the
    sampler's view of it.

    Args:
        net: called as net(x, c_noise), with x of unit variance and c_noise of shape (B,) in the place of the time.
        path: any path, at times where alpha and sigma are positive.
        data_std: standard deviation of the data's coordinates.

    Raises:
        ValueError: data_std is not positive; on a call, alpha or sigma is 0, where c_noise is infinite.

    Taught in: chapter 11.

    Example:
        >>> from diffedu.core.path import EDM
        >>> silent = Preconditioned(lambda x, c_noise: torch.zeros_like(x), EDM(), data_std=0.5)
        >>> silent.denoiser()(torch.ones(1, 2), 0.5)  # F = 0 leaves the best multiple of x, s^2 / (s^2 + sigma^2) x
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, net: Any, path: GaussianPath, data_std: float) -> None:
        super().__init__()
        edm_prediction(data_std)  # the same condition, and the same sentence
        self.net, self.path, self.data_std = net, path, data_std

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """F, shape (B, *), for x_t (B, *) and t (B,) in the path's own time."""
        t = as_time(t, x_t)
        scale = edm_scalings(self.path(t), self.data_std)
        if t.device.type != "meta" and not torch.isfinite(scale.c_noise).all():
            raise ValueError("c_noise = log(sigma / alpha) / 4 is infinite where alpha or sigma is 0; stay inside")
        return self.net(expand(scale.c_in, x_t) * x_t, scale.c_noise.expand(x_t.shape[0]))

    def given(self, condition: Any) -> Preconditioned:
        """The same with the network's condition bound: see `MLP.given`."""
        return Preconditioned(self.net.given(condition), self.path, self.data_std)

    def denoiser(self) -> NetworkDenoiser:
        """E[x0 | x_t] as this network sees it."""
        return NetworkDenoiser(self, self.path, edm_prediction(self.data_std))
