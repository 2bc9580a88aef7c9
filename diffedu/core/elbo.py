r"""The variational bound: how many nats a chain of Gaussian steps needs to describe a data point.

    -log p(x0)  <=  L  =  L_T + L_{T-1} + ... + L_1 + L_0          (L is minus the ELBO)

    L_T      KL( q(x_T | x0)  ||  N(0, I) )
    L_{t-1}  E KL( q(x_{t-1} | x_t, x0)  ||  p(x_{t-1} | x_t) ),   t = 2 ... T
    L_0      E [ -log p(x0 | x_1) ]

A model of the chain is a `ReverseStep`: it gives the mean and the variance of p(x_{t-1} | x_t). All terms are in nats,
summed over the axes of the data and never averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from diffedu._tensor import as_time, expand, randn, randn_like, same_shape
from diffedu.core.denoiser import Denoiser
from diffedu.core.loss import uniform_t
from diffedu.core.oracle import GaussianMixture
from diffedu.core.path import EDM, DiscreteDDPM
from diffedu.core.prediction import EPS, Prediction

LogLikelihood = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Called with x, mean and variance, all of x's shape (B, *) or broadcasting against it; returns nats, shape (B,)."""

_LOG_2PI = math.log(2 * math.pi)


# --- Gaussians ------------------------------------------------------------------------------------------------------


def _sum(x: Tensor) -> Tensor:
    """A sum over all axes but the first."""
    return x.flatten(1).sum(1)


def gaussian_kl(mean_q: Tensor, variance_q: Tensor, mean_p: Tensor, variance_p: Tensor) -> Tensor:
    r"""KL( N(mean_q, variance_q) || N(mean_p, variance_p) ) of independent coordinates, summed over them.

        1/2 sum_i [ log(v_p / v_q) + v_q / v_p + (m_q - m_p)^2 / v_p - 1 ]

    The expectation is over q, the first pair. The constants vanish only where the two variances are equal.

    Args:
        mean_q: shape (B, *).
        variance_q: positive, broadcasts against mean_q: shape (), (B, 1, ..., 1) or (B, *).
        mean_p: shape (B, *).
        variance_p: positive, as variance_q.

    Returns:
        Shape (B,), in nats.

    Raises:
        ValueError: the means differ in shape.

    Taught in: chapter 6.

    Example:
        >>> one = torch.ones(1, 1)
        >>> print(f"{gaussian_kl(0 * one, one, 0 * one, 4 * one).item():.4f}")  # log 2 + 1/8 - 1/2
        0.3181
    """
    same_shape(mean_q=mean_q, mean_p=mean_p)
    ratio = variance_q / variance_p
    return 0.5 * _sum(ratio - 1 - torch.log(ratio) + (mean_q - mean_p) ** 2 / variance_p)


def gaussian_log_prob(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x; mean, variance) of independent coordinates, summed over them: shape (B,), in nats.

    Example:
        >>> print(f"{gaussian_log_prob(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(())).item():.4f}")  # -log(2 pi)
        -1.8379
    """
    return -0.5 * _sum((x - mean) ** 2 / variance + torch.log(variance) + _LOG_2PI)


def discretised_gaussian_log_prob(x: Tensor, mean: Tensor, variance: Tensor, *, width: float = 2 / 255) -> Tensor:
    r"""log-probability of a grey level: the Gaussian's mass on the level's bin, summed over the pixels.

        P(x) = Phi((x + width/2 - mean) / std) - Phi((x - width/2 - mean) / std);

    the bins of the darkest level (x = -1) and of the lightest (x = 1) reach to infinity, so that the probabilities of
    all levels sum to 1.

    Args:
        x: levels in [-1, 1], a multiple of `width` apart, shape (B, *).
        mean: shape (B, *).
        variance: broadcasts against x.
        width: distance of neighbouring levels; 2/255 for bytes.

    Returns:
        Shape (B,), in nats; at most 0.

    Reference: Ho et al. 2020, eq. 13. Taught in: chapter 6.

    Example:
        >>> levels = torch.linspace(-1, 1, 256).reshape(256, 1)
        >>> log_p = discretised_gaussian_log_prob(levels, torch.full_like(levels, 0.3), torch.tensor(0.01))
        >>> print(f"{log_p.exp().sum():.4f}")
        1.0000
    """
    std = torch.sqrt(variance)
    # A tail beyond both edges is a difference of two numbers near 1. Mirrored, the two are small and exact.
    side = torch.where(x > mean, -1.0, 1.0)
    near, far = side * (x - mean) / std, 0.5 * width / std
    upper, lower = torch.special.log_ndtr(near + far), torch.special.log_ndtr(near - far)
    inside = upper + torch.log(-torch.expm1((lower - upper).clamp(max=-1e-12)))
    darkest = torch.special.log_ndtr((x + 0.5 * width - mean) / std)
    lightest = torch.special.log_ndtr(-(x - 0.5 * width - mean) / std)
    edge = 1 - 0.5 * width
    return _sum(torch.where(x < -edge, darkest, torch.where(x > edge, lightest, inside)))


def bits_per_dimension(nats: Tensor, dimensions: int, *, levels_per_unit: float = 127.5) -> Tensor:
    r"""Bits per pixel and channel from nats per picture: (nats / dimensions + log(levels_per_unit)) / log 2.

    A density of data in [-1, 1] becomes a density per grey level when it is divided by 127.5 in each dimension. Where
    `nats` come from probabilities of grey levels (`discretised_gaussian_log_prob`), there is nothing to divide:
    levels_per_unit is 1.

    Args:
        nats: any shape.
        dimensions: pixels times channels.
        levels_per_unit: grey levels in one data unit; 127.5 for bytes scaled to [-1, 1], 255 for [0, 1].

    Reference: Theis et al. 2016, section 3.1. Taught in: chapter 6.

    Example:
        >>> bits_per_dimension(torch.tensor(0.0), 10, levels_per_unit=256.0)  # uniform on [0, 1]: eight bits a pixel
        tensor(8.)
    """
    return (nats / dimensions + math.log(levels_per_unit)) / math.log(2)


# --- one step back --------------------------------------------------------------------------------------------------


class Posterior(NamedTuple):
    r"""q(x_{t-1} | x_t, x0) = N(to_x0 x0 + to_x_t x_t, variance I); each a tensor of the shape of t.

        to_x0    = sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t)
        to_x_t   = sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)        alpha_t = 1 - beta_t, without a bar
        variance = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t               beta tilde; 0 at t = 1

    Reference: Ho et al. 2020, eq. 6 and 7. Taught in: chapters 5 and 6.
    """

    to_x0: Tensor
    to_x_t: Tensor
    variance: Tensor

    def mean(self, x0: Tensor, x_t: Tensor) -> Tensor:
        """The mean for given x0, or, with a guess of x0 put in, the mean of a model's step; shape (B, *)."""
        return expand(self.to_x0, x_t) * x0 + expand(self.to_x_t, x_t) * x_t


def posterior(path: DiscreteDDPM, t: Tensor | float) -> Posterior:
    """Coefficients of q(x_{t-1} | x_t, x0) at whole-number times.

    They are computed in float64 from the path's tables: 1 - alpha_bar_t / alpha_bar_{t-1} in float32 would leave three
    digits of a beta of 1e-4.

    Args:
        path: with its betas.
        t: whole numbers from 1 to T, floating, shape () or (B,).

    Raises:
        ValueError: a time that is not a whole number from 1 to T.

    Example:
        >>> from diffedu.core.path import linear_betas
        >>> posterior(DiscreteDDPM(linear_betas(1000)), 1.0).variance  # if the start is known, no doubt is left
        tensor(0.)
    """
    t = as_time(t)
    if t.device.type != "meta" and not bool(((t >= 1) & (t <= path.T) & (t == t.round())).all()):
        raise ValueError(f"t must hold whole numbers from 1 to T = {path.T}, got {t.flatten()[:5].tolist()}")
    alpha_bar, betas = path.alpha_bar.to(t.device), path.betas.to(t.device)
    k = t.long()
    before, now, beta = alpha_bar.take(k - 1), alpha_bar.take(k), betas.take(k - 1)
    to_x0 = before.sqrt() * beta / (1 - now)
    to_x_t = (1 - beta).sqrt() * (1 - before) / (1 - now)
    return Posterior(*(c.to(t.dtype) for c in (to_x0, to_x_t, (1 - before) / (1 - now) * beta)))


def _whole_times(path: DiscreteDDPM) -> Tensor:
    return torch.arange(1, path.T + 1, dtype=torch.float64, device="cpu")


def beta_tilde(path: DiscreteDDPM) -> Tensor:
    """The variances of q(x_{t-1} | x_t, x0) for t = 1 ... T, with the 0 at t = 1 replaced by the value at t = 2.

    A model's step needs a positive variance everywhere; for T = 1 the only entry is beta_1.

    Returns:
        Shape (T,), float64.

    Reference: Nichol & Dhariwal 2021, released code. Taught in: chapter 6.
    """
    variances = posterior(path, _whole_times(path)).variance
    return torch.cat([variances[1:2] if path.T > 1 else path.betas[:1], variances[1:]])


def optimal_variances(path: DiscreteDDPM, mean_squared_error: Tensor) -> Tensor:
    r"""The variances that make the bound smallest: beta_tilde_t + to_x0^2 mse_t.

    The larger the doubt about x0, the wider the step. A mse of 0 (data at a single point) gives beta tilde, the mse
    of N(0, I) data gives beta.

    Args:
        path: T steps.
        mean_squared_error: E (x0 - x0_hat)^2 of one coordinate on average, at t = 1 ... T; shape (T,), data units^2.

    Returns:
        Shape (T,), float64.

    Reference: Bao et al. 2022 (Analytic-DPM), theorem 1. Taught in: chapter 6.

    Example:
        >>> from diffedu.core.path import linear_betas
        >>> path = DiscreteDDPM(linear_betas(1000))
        >>> gaussian = 1 - path.alpha_bar[1:]          # Var[x0 | x_t] of N(0, 1)
        >>> torch.allclose(optimal_variances(path, gaussian), path.betas)
        True
    """
    if mean_squared_error.shape != (path.T,):
        raise ValueError(f"mean_squared_error must have shape ({path.T},), got {tuple(mean_squared_error.shape)}")
    step = posterior(path, _whole_times(path))
    return step.variance + step.to_x0**2 * mean_squared_error.to(step.variance)


def interpolated_variance(v: Tensor, path: DiscreteDDPM, t: Tensor) -> Tensor:
    r"""exp(v log beta_t + (1 - v) log beta_tilde_t): v = 0 is the smaller of DDPM's two variances, v = 1 the larger.

    Args:
        v: shape (B, *); not confined to [0, 1].
        path: T steps.
        t: whole numbers from 1 to T, floating, shape () or (B,).

    Returns:
        Shape of v.

    Reference: Nichol & Dhariwal 2021, eq. 15. Taught in: chapter 6.
    """
    k = as_time(t).long() - 1
    low, high = (expand(table.log().to(v).take(k), v) for table in (beta_tilde(path), path.betas))
    return torch.exp(v * high + (1 - v) * low)


# --- models of the chain --------------------------------------------------------------------------------------------


class ReverseStep(Protocol):
    """A model of one step back: p(x_{t-1} | x_t) = N(mean, variance), coordinates independent.

    A call takes x_t of shape (B, *) and a whole-number time t of shape () or (B,); it returns the mean, shape (B, *),
    and the variance, which broadcasts against it.
    """

    @property
    def path(self) -> DiscreteDDPM: ...

    def __call__(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class FixedVariance:
    """A denoiser's step: the mean of q(x_{t-1} | x_t, x0_hat), and one variance for each t.

    Args:
        denoiser: gives x0_hat.
        path: the denoiser's path.
        variances: for t = 1 ... T, positive, shape (T,): `path.betas`, `beta_tilde(path)`, `optimal_variances(...)`.

    Raises:
        ValueError: variances has another shape, or a value that is not positive.

    Taught in: chapter 6.
    """

    denoiser: Callable[[Tensor, Tensor], Tensor]
    path: DiscreteDDPM
    variances: Tensor

    def __post_init__(self) -> None:
        if self.variances.shape != (self.path.T,) or not bool((self.variances > 0).all()):
            raise ValueError(
                f"variances must be {self.path.T} positive numbers, for t = 1 ... T; got shape "
                f"{tuple(self.variances.shape)} and smallest value {self.variances.min().item():g}"
            )

    def __call__(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        mean = posterior(self.path, t).mean(self.denoiser(x_t, t), x_t)
        return mean, expand(self.variances.to(x_t).take(t.long() - 1), x_t)


@dataclass(frozen=True)
class LearnedVariance:
    """A network's step: the first half of its output predicts, the second half sets the variance of each coordinate.

    Args:
        net: called as net(x_t, t) with t of shape (B,); returns shape (B, 2 C, *) for x_t of shape (B, C, *).
        path: the path it was trained on.
        prediction: what the first half means.

    Reference: Nichol & Dhariwal 2021, section 3.1. Taught in: chapter 6.
    """

    net: Callable[[Tensor, Tensor], Tensor]
    path: DiscreteDDPM
    prediction: Prediction = EPS

    def outputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction and v, each of x_t's shape."""
        both = self.net(x_t, t.expand(len(x_t)))
        if both.shape != (x_t.shape[0], 2 * x_t.shape[1], *x_t.shape[2:]):
            raise ValueError(
                f"the network returned shape {tuple(both.shape)} for x_t of shape {tuple(x_t.shape)}; "
                "a learned variance doubles axis 1"
            )
        value, v = both.chunk(2, dim=1)
        return value, v

    def step(self, value: Tensor, v: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance that belong to given outputs."""
        x0_hat = self.prediction.to_x0(value, x_t, self.path(t).expand(x_t))
        return posterior(self.path, t).mean(x0_hat, x_t), interpolated_variance(v, self.path, t)

    def __call__(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.step(*self.outputs(x_t, t), x_t, t)


# --- the bound ------------------------------------------------------------------------------------------------------


def bound_terms(
    model: ReverseStep,
    x0: Tensor,
    *,
    generator: torch.Generator,
    log_likelihood: LogLikelihood = gaussian_log_prob,
) -> Tensor:
    r"""The terms L_0 ... L_T of the bound for each data point, with one draw of x_t for every t.

        -log p(x0) <= E[ L_0 + L_1 + ... + L_T ]

    Args:
        model: p(x_{t-1} | x_t) for t = 1 ... T; it is called T times.
        x0: data, shape (B, *).
        generator: source of the noise, on the device of x0.
        log_likelihood: log p(x0 | x_1) from x0, mean and variance; a density unless another is given.

    Returns:
        Shape (B, T + 1), in nats: L_k stands at index k. The sum over axis 1 is an unbiased estimate of the bound.

    Reference: Ho et al. 2020, eq. 5. Taught in: chapter 6.

    Example:
        >>> from diffedu import *
        >>> path = DiscreteDDPM(cosine_betas(50))
        >>> data = GaussianMixture.single(torch.zeros(2), torch.eye(2))     # N(0, I): the bound is tight
        >>> model = FixedVariance(data.denoiser(path), path, path.betas)
        >>> x0 = data.sample(2000, seeded(0))
        >>> gap = bound_terms(model, x0, generator=seeded(1)).sum(1) + data.log_prob(x0)
        >>> print(f"{gap.mean():.1f}")
        0.0
    """
    path = model.path
    terms = x0.new_empty(len(x0), path.T + 1)
    for k in range(1, path.T + 1):
        t = torch.tensor(float(k), dtype=x0.dtype, device=x0.device)
        x_t = path.add_noise(x0, randn_like(x0, generator), t)
        mean, variance = model(x_t, t)
        if k == 1:
            terms[:, 0] = -log_likelihood(x0, mean, variance)
        else:
            q = posterior(path, t)
            terms[:, k - 1] = gaussian_kl(q.mean(x0, x_t), q.variance, mean, variance)
    terms[:, path.T] = prior_kl(path, x0, path.t_max)
    return terms


def prior_kl(path: DiscreteDDPM, x0: Tensor, t: Tensor | float) -> Tensor:
    """L_T: KL( q(x_t | x0) || N(0, I) ), shape (B,), in nats. Taught in: chapter 6."""
    c = path(as_time(t, x0))
    return gaussian_kl(c.alpha * x0, c.sigma**2, torch.zeros_like(x0), torch.ones_like(c.sigma))


@dataclass(frozen=True)
class HybridLoss:
    r"""L_simple for the prediction, plus a little of the bound for the variance; one value an example.

        mean |value - target|^2  +  weight T L_{t-1} / D,

    with the prediction held fixed (stop-gradient) in the second part: the bound trains the variance only. L_{t-1} is in
    nats; D is the number of coordinates; T stands for the sum over t, of which one uniform draw is taken.

    Args:
        path: T steps.
        prediction: what the first half of the network's output means.
        weight: lambda of the paper. The released code counts L in bits: 1 / log 2 times our number of nats.

    Reference: Nichol & Dhariwal 2021, eq. 16. Taught in: chapter 6.

    Example:
        >>> from diffedu import *
        >>> path = DiscreteDDPM(cosine_betas(50))
        >>> silent = lambda x_t, t: torch.zeros(len(x_t), 4)
        >>> HybridLoss(path)(silent, torch.zeros(8, 2), seeded(0)).shape
        torch.Size([8])
    """

    path: DiscreteDDPM
    prediction: Prediction = EPS
    weight: float = 1e-3

    def __call__(self, net: Callable[[Tensor, Tensor], Tensor], x0: Tensor, generator: torch.Generator) -> Tensor:
        """Losses of one batch of clean data (B, *); t and noise come from the generator. Returns shape (B,)."""
        t = uniform_t(self.path, len(x0), generator).to(x0.dtype)
        eps = randn_like(x0, generator)
        c = self.path(t).expand(x0)
        x_t = c.alpha * x0 + c.sigma * eps
        model = LearnedVariance(net, self.path, self.prediction)
        value, v = model.outputs(x_t, t)
        simple = (value - self.prediction.target(x0, eps, c)).square().flatten(1).mean(1)

        mean, variance = model.step(value.detach(), v, x_t, t)  # stop-gradient: the bound does not move the mean
        q = posterior(self.path, t)
        # At t = 1 the posterior has no width. Its KL is not used, but its gradient must stay finite.
        width = beta_tilde(self.path).to(x0).take(t.long() - 1)
        kl = gaussian_kl(q.mean(x0, x_t), expand(width, x0), mean, variance)
        term = torch.where(t == 1, -gaussian_log_prob(x0, mean, variance), kl)
        return simple + self.weight * self.path.T * term / x0[0].numel()


# --- exact values for a mixture on a line -----------------------------------------------------------------------------


def scalar_mmse(mixture: GaussianMixture, half_log_snr: Tensor) -> Tensor:
    r"""E Var[x0 | x_t]: the smallest mean squared error of any denoiser, for a mixture on a line.

    It depends on the path through the signal-to-noise ratio only: x_t / alpha is x0 plus noise of variance 1 / SNR. The
    average over x_t is a sum on a fine grid.

    Args:
        mixture: of dimension 1.
        half_log_snr: log(alpha / sigma), shape (N,), between -12 and 12.

    Returns:
        Shape (N,), data units^2.

    Taught in: chapter 6.

    Example:
        >>> data = GaussianMixture.single(torch.zeros(1).double(), torch.eye(1).double())
        >>> scalar_mmse(data, torch.zeros(1).double())         # 1 / (1 + SNR)
        tensor([0.5000], dtype=torch.float64)
    """
    if mixture.D != 1:
        raise ValueError(f"scalar_mmse needs a mixture on a line, got dimension {mixture.D}")
    path = EDM(t_max=math.exp(12.0))
    low, high = mixture.means.min(), mixture.means.max()
    widest = mixture.covariances.max()
    errors = []
    for noise in torch.exp(-half_log_snr):
        reach = 9 * torch.sqrt(widest + noise**2)
        grid = torch.linspace(0, 1, 2001, dtype=low.dtype, device=low.device) * (high - low + 2 * reach) + low - reach
        density = mixture.noised(path, noise).log_prob(grid[:, None]).exp()
        weights, means, covariances = mixture.posterior(grid[:, None], noise, path)
        means, variances = means[:, :, 0], covariances[:, :, 0, 0]
        average = (weights * means).sum(1, keepdim=True)
        variance = (weights * (variances + (means - average) ** 2)).sum(1)
        errors.append((density * variance).sum() * (grid[1] - grid[0]))
    return torch.stack(errors)


def exact_terms(mixture: GaussianMixture, path: DiscreteDDPM, variances: Tensor, mmse: Tensor) -> Tensor:
    r"""E[L_0] ... E[L_T] of the exact denoiser of a mixture on a line: what `bound_terms` estimates, without noise.

        E L_{t-1} = 1/2 [ log(v_t / beta_tilde_t) + (beta_tilde_t + to_x0^2 mmse_t) / v_t - 1 ]

    Args:
        mixture: of dimension 1.
        path: T steps.
        variances: of the model's steps t = 1 ... T, shape (T,).
        mmse: `scalar_mmse` at t = 1 ... T, shape (T,).

    Returns:
        Shape (T + 1,), in nats: E[L_k] stands at index k.

    Taught in: chapter 6.
    """
    v, least = variances[1:], posterior(path, _whole_times(path)).variance[1:]  # t = 2 ... T
    steps = 0.5 * (torch.log(v / least) + optimal_variances(path, mmse)[1:] / v - 1)
    first = 0.5 * (math.log(2 * math.pi) + torch.log(variances[:1]) + mmse[:1] / variances[:1])
    c = path(torch.tensor([path.t_max], dtype=torch.float64, device="cpu"))
    second_moment = (mixture.covariance + mixture.mean**2).reshape(1).to(c.alpha)
    last = 0.5 * (c.sigma**2 - 1 - torch.log(c.sigma**2) + c.alpha**2 * second_moment)
    return torch.cat([first, steps, last])


# --- continuous time --------------------------------------------------------------------------------------------------


class ContinuousBound(NamedTuple):
    """The bound in continuous time, term by term; each of shape (B,), in nats."""

    prior: Tensor
    """L_T: what is left of the data at t_high."""
    diffusion: Tensor
    """1/2 of the squared error, integrated over the signal-to-noise ratio; an estimate with one t an example."""
    reconstruction: Tensor
    """L_0: -log p(x0 | x_t) at t_low, by the flat-prior decoder N(x0; x_t / alpha, 1 / SNR)."""

    @property
    def total(self) -> Tensor:
        return self.prior + self.diffusion + self.reconstruction


def bound_rate(denoiser: Denoiser, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    r"""Nats per time unit that the bound pays at time t: -1/2 SNR'(t) |x0 - x0_hat|^2.

    With SNR' = -SNR g^2 / sigma^2. The integral over t depends on the path through SNR at its two ends only.

    Args:
        denoiser: any path, discrete or not.
        x0: data, shape (B, *).
        eps: noise, shape (B, *).
        t: shape () or (B,), with sigma(t) > 0.

    Returns:
        Shape (B,).

    Reference: Kingma et al. 2021, sections 5 and 5.1. Taught in: chapter 6.

    Example:
        >>> from diffedu.core.path import VP
        >>> knows = lambda x_t, t: torch.zeros_like(x_t)
        >>> knows.path = VP()
        >>> bound_rate(knows, torch.zeros(3, 2), torch.ones(3, 2), torch.tensor(0.5))
        tensor([0., 0., 0.])
    """
    c = denoiser.path(t)
    error = _sum((x0 - denoiser(denoiser.path.add_noise(x0, eps, t), t)) ** 2)
    return 0.5 * c.snr * c.diffusion_squared / c.sigma**2 * error


def continuous_bound(
    denoiser: Denoiser, x0: Tensor, *, t_low: float, t_high: float, generator: torch.Generator
) -> ContinuousBound:
    r"""An unbiased estimate of the bound in continuous time, between two times, for each data point.

    Example i of the batch gets the time t_low + (t_high - t_low) ((u + i/B) mod 1) with one uniform u for all: each
    time alone is uniform, together they are spread evenly.

    Args:
        denoiser: any path; alpha = 1 paths (VE, EDM) have N(0, I) nowhere, so their prior term is not meant for use.
        x0: data, shape (B, *).
        t_low: where the reconstruction starts; SNR there should be large.
        t_high: where the prior stands; SNR there should be near 0.
        generator: source of times and noise, on the device of x0.

    Reference: Kingma et al. 2021, section 5; times spread over the batch, in its appendix. Taught in: chapter 6.
    """
    n = len(x0)
    u = torch.rand((), generator=generator, device=generator.device, dtype=x0.dtype)
    spread = (u + torch.arange(n, device=x0.device, dtype=x0.dtype) / n) % 1.0
    t = t_low + (t_high - t_low) * spread
    rate = bound_rate(denoiser, x0, randn(x0.shape, generator, dtype=x0.dtype), t)
    first, last = denoiser.path(as_time(t_low, x0)), denoiser.path(as_time(t_high, x0))
    prior = gaussian_kl(last.alpha * x0, last.sigma**2, torch.zeros_like(x0), torch.ones_like(last.sigma))
    half_width = 0.5 * (1 + _LOG_2PI) - first.half_log_snr  # entropy of N(., 1 / SNR), per coordinate
    return ContinuousBound(prior, (t_high - t_low) * rate, half_width.expand(n) * x0[0].numel())
