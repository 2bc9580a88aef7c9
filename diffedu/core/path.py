r"""Gaussian paths: how a clean point turns into noise.

Every model of this book noises data in the same way,

    x_t = alpha(t) x0 + sigma(t) eps,        eps ~ N(0, I),

and differs from the others only in the two functions alpha and sigma. A path returns them with their
derivatives; drift, diffusion, signal-to-noise ratio, every conversion between predictions and every loss
weight follow from these four numbers. Data stands at t = 0, noise at t = t_max.
"""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffedu._tensor import as_time, expand, same_shape


class PathCoefficients(NamedTuple):
    r"""alpha, sigma and their time derivatives at some times; each a tensor of the shape of t.

    The derived quantities are those of the linear SDE dx = f(t) x dt + g(t) dw whose marginals are the path's
    (a case of Song et al. 2021, eq. 5; f and g in these letters: Lu et al. 2022, DPM-Solver, section 2.1).
    Taught in: chapter 5.

    Example:
        >>> c = VP()(torch.tensor(0.5))
        >>> print(f"{c.alpha**2 + c.sigma**2:.4f}")
        1.0000
    """

    alpha: Tensor
    sigma: Tensor
    alpha_dot: Tensor
    sigma_dot: Tensor

    def expand(self, x: Tensor) -> PathCoefficients:
        """The same coefficients, shaped to multiply x of shape (B, *) example by example."""
        return PathCoefficients(*(expand(c, x) for c in self))

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2."""
        return (self.alpha / self.sigma) ** 2

    @property
    def half_log_snr(self) -> Tensor:
        """log(alpha / sigma); plus infinity at clean data, minus infinity at pure noise."""
        return torch.log(self.alpha) - torch.log(self.sigma)

    @property
    def drift(self) -> Tensor:
        """f with dx = f x dt + g dw: f = alpha_dot / alpha, in 1 / time units."""
        return self.alpha_dot / self.alpha

    @property
    def diffusion_squared(self) -> Tensor:
        """g^2 = 2 sigma sigma_dot - 2 f sigma^2, in squared data units per time unit."""
        return 2 * self.sigma * (self.sigma_dot - self.drift * self.sigma)


class GaussianPath(abc.ABC):
    r"""x_t = alpha(t) x0 + sigma(t) eps, from data at t = 0 to noise at t = t_max.

    A path is a function of time. It accepts every t in [0, t_max]. `t_min` is the smallest time at which a
    network is trained or asked; a sampler's last step may still land on t = 0.

    Subclasses give `_coefficients`; callers use `path(t)`, which checks t first.
    Taught in: chapter 5.
    """

    t_min: float
    t_max: float

    @abc.abstractmethod
    def _coefficients(self, t: Tensor) -> PathCoefficients:
        """The four coefficients at times that are already known to lie in [0, t_max]."""

    def __call__(self, t: Tensor | float) -> PathCoefficients:
        """Coefficients at t.

        Args:
            t: shape () or (B,), in [0, t_max].

        Raises:
            ValueError: t has more than one axis, is not floating, is not finite or leaves [0, t_max].
        """
        t = as_time(t)
        if t.ndim > 1:
            raise ValueError(f"t must have shape () or (B,), got {tuple(t.shape)}")
        if t.device.type != "meta" and t.numel():
            # One part in 10^6 of slack: float32 grids may end an ulp outside. The clamp keeps square roots real.
            low, high = t.min().item(), t.max().item()
            slack = 1e-6 * self.t_max
            if not (low >= -slack and high <= self.t_max + slack):
                raise ValueError(
                    f"t must lie in [0, {self.t_max:g}] for {type(self).__name__}, got values from {low:g} to {high:g}"
                )
        return self._coefficients(t.clamp(0.0, self.t_max))

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor | float) -> Tensor:
        r"""A sample of q(x_t | x0) = N(alpha x0, sigma^2 I), made from given noise: alpha x0 + sigma eps.

        Args:
            x0: clean data, shape (B, *).
            eps: standard normal noise, shape (B, *).
            t: shape () or (B,).

        Returns:
            x_t, shape (B, *), data units.

        Raises:
            ValueError: x0 and eps differ in shape, or t is not a valid time for them.

        Reference: Ho et al. 2020 (DDPM), eq. 4, where alpha = sqrt(alpha_bar). Taught in: chapter 5.

        Example:
            >>> x0 = torch.ones(2, 3)
            >>> RectifiedFlow().add_noise(x0, torch.zeros(2, 3), 0.25)[0]
            tensor([0.7500, 0.7500, 0.7500])
        """
        same_shape(x0=x0, eps=eps)
        c = self(as_time(t, x0)).expand(x0)
        return c.alpha * x0 + c.sigma * eps


@dataclass(frozen=True)
class VP(GaussianPath):
    r"""Variance preserving, with a rate beta(t) that grows linearly: alpha^2 + sigma^2 = 1.

        alpha(t) = exp(-B(t) / 2),   B(t) = beta_min t + (beta_max - beta_min) t^2 / 2,   0 <= t <= 1.

    Args:
        beta_min: rate at t = 0, per time unit.
        beta_max: rate at t = 1, per time unit.

    Raises:
        ValueError: unless 0 <= beta_min <= beta_max and beta_max > 0.

    Reference: Song et al. 2021 (score SDE), eq. 11 and appendix C. Taught in: chapters 5 and 10.

    Example:
        >>> print(f"{VP()(torch.tensor(1.0)).alpha:.5f}")
        0.00657
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta_min <= self.beta_max or self.beta_max <= 0:
            raise ValueError(
                f"VP needs 0 <= beta_min <= beta_max and beta_max > 0, got {self.beta_min} and {self.beta_max}"
            )

    def _coefficients(self, t: Tensor) -> PathCoefficients:
        beta = self.beta_min + t * (self.beta_max - self.beta_min)
        integral = self.beta_min * t + 0.5 * t**2 * (self.beta_max - self.beta_min)
        alpha = torch.exp(-0.5 * integral)
        sigma = torch.sqrt(-torch.expm1(-integral))  # expm1: 1 - alpha^2 loses all digits at small t
        return PathCoefficients(alpha, sigma, -0.5 * beta * alpha, 0.5 * beta * alpha**2 / sigma)


@dataclass(frozen=True)
class SubVP(GaussianPath):
    r"""The drift of `VP` with less noise: alpha = exp(-B(t)/2), sigma = 1 - alpha^2, B(t) as there.

    Its variance never exceeds that of `VP`: (1 - alpha^2)^2 <= 1 - alpha^2. Near the data sigma grows like t, not like
    its root. g^2 = beta (1 - alpha^4).

    Reference: Song et al. 2021, section 3.4 and appendix B. Taught in: chapter 10.

    Example:
        >>> print(f"{SubVP()(torch.tensor(0.1)).sigma:.3f} {VP()(torch.tensor(0.1)).sigma:.3f}")
        0.104 0.322
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        VP(self.beta_min, self.beta_max)  # the same conditions, and the same sentence

    def _coefficients(self, t: Tensor) -> PathCoefficients:
        beta = self.beta_min + t * (self.beta_max - self.beta_min)
        integral = self.beta_min * t + 0.5 * t**2 * (self.beta_max - self.beta_min)
        alpha = torch.exp(-0.5 * integral)
        return PathCoefficients(alpha, -torch.expm1(-integral), -0.5 * beta * alpha, beta * alpha**2)


@dataclass(frozen=True)
class VE(GaussianPath):
    r"""Variance exploding, geometric: alpha = 1, sigma(t) = sigma_min (sigma_max / sigma_min)^t, 0 <= t <= 1.

    The smallest noise level is sigma_min, not zero: at t = 0 the data still carries noise of that size. End a
    run with one call of the denoiser to remove it.

    Reference: Song et al. 2021, eq. 9 and appendix C; g = sigma sqrt(2 log(sigma_max / sigma_min)).
    Taught in: chapters 4 and 10.

    Example:
        >>> print(f"{VE()(torch.tensor(1.0)).sigma:.1f}")
        50.0
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 0.0
    t_max: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"VE needs 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")

    def _coefficients(self, t: Tensor) -> PathCoefficients:
        rate = math.log(self.sigma_max / self.sigma_min)
        sigma = self.sigma_min * torch.exp(rate * t)
        return PathCoefficients(torch.ones_like(t), sigma, torch.zeros_like(t), rate * sigma)


@dataclass(frozen=True)
class EDM(GaussianPath):
    r"""Time is the noise level: alpha = 1, sigma(t) = t, 0 <= t <= 80.

    Reference: Karras et al. 2022 (EDM), eq. 1 with sigma(t) = t and s(t) = 1. Taught in: chapter 11.

    Example:
        >>> EDM()(torch.tensor(3.0)).sigma.item()
        3.0
    """

    t_min: float = 0.002
    t_max: float = 80.0

    def __post_init__(self) -> None:
        if not 0 < self.t_min < self.t_max:
            raise ValueError(f"EDM needs 0 < t_min < t_max, got {self.t_min} and {self.t_max}")

    def _coefficients(self, t: Tensor) -> PathCoefficients:
        one = torch.ones_like(t)
        return PathCoefficients(one, t, torch.zeros_like(t), one)


@dataclass(frozen=True)
class Cosine(GaussianPath):
    r"""A quarter turn from data to noise: alpha = cos(pi t / 2), sigma = sin(pi t / 2), 0 <= t <= 1.

    Reference: Nichol & Dhariwal 2021 (Improved DDPM), eq. 17, in continuous time and without their offset s
    (`cosine_betas` has it); Salimans & Ho 2022, section 2. t_max stops short of 1, where alpha = 0 and a
    prediction of the noise says nothing of the data. Taught in: chapter 5.

    Example:
        >>> c = Cosine()(torch.tensor(0.5))
        >>> print(f"{c.alpha:.4f} {c.sigma:.4f}")
        0.7071 0.7071
    """

    t_min: float = 1e-3
    t_max: float = 0.9999

    def _coefficients(self, t: Tensor) -> PathCoefficients:
        half_pi = math.pi / 2
        alpha, sigma = torch.cos(half_pi * t), torch.sin(half_pi * t)
        return PathCoefficients(alpha, sigma, -half_pi * sigma, half_pi * alpha)


@dataclass(frozen=True)
class RectifiedFlow(GaussianPath):
    r"""A straight line from data to noise: alpha = 1 - t, sigma = t, 0 <= t <= 1.

    Reference: Liu et al. 2023 (rectified flow), eq. 1, and Lipman et al. 2023 (flow matching), eq. 20 to 23 with
    sigma_min = 0; both run from noise at 0 to data at 1, so their t is our 1 - t. Taught in: chapter 13.

    Example:
        >>> RectifiedFlow()(torch.tensor(0.25)).alpha.item()
        0.75
    """

    t_min: float = 1e-3
    t_max: float = 1.0

    def _coefficients(self, t: Tensor) -> PathCoefficients:
        one = torch.ones_like(t)
        return PathCoefficients(1 - t, t, -one, one)


class DiscreteDDPM(GaussianPath):
    r"""The path of T noising steps with variances beta_1 ... beta_T.

        alpha_bar_k = (1 - beta_1) (1 - beta_2) ... (1 - beta_k),  alpha = sqrt(alpha_bar), sigma = sqrt(1 - alpha_bar).

    Time is the step number: t = 0 is data, t = k the state after k steps, t = T the last. Training uses
    t = 1 ... T. Between whole numbers log(alpha_bar) is linear in t, that is, each step is spread evenly over its
    unit of time; the derivatives are those of the step that ends at or after t.

    Args:
        betas: any array of T variances, each in (0, 1).

    Attributes:
        betas: shape (T,), float64; betas[k - 1] is beta_k.
        alpha_bar: shape (T + 1,), float64; alpha_bar[k] belongs to t = k, and alpha_bar[0] = 1.

    Raises:
        ValueError: betas is empty, not one-dimensional, or leaves (0, 1).

    Warns:
        UserWarning: alpha_bar_T is above 0.01. Sampling starts from N(0, I), but the last noisy state still holds
            sqrt(alpha_bar_T) of the data: the model is asked about states it never saw.

    Reference: Ho et al. 2020, eq. 2 and 4. Taught in: chapter 5.

    Example:
        >>> path = DiscreteDDPM(linear_betas(1000))
        >>> print(f"{path.alpha_bar[-1]:.1e}")
        4.0e-05
    """

    t_min = 1.0

    def __init__(self, betas: Tensor | Sequence[float]) -> None:
        # A path is small: it is made on the CPU and follows the times it is called with.
        b = torch.as_tensor(betas, dtype=torch.float64, device="cpu").clone()
        if b.ndim != 1 or b.numel() == 0:
            raise ValueError(f"betas must be a non-empty one-dimensional array, got shape {tuple(b.shape)}")
        wrong = ~((b > 0) & (b < 1))  # written so that NaN is wrong, too
        if wrong.any():
            k = int(wrong.nonzero()[0, 0])
            raise ValueError(f"every beta must lie strictly between 0 and 1; beta_{k + 1} is {b[k].item():g}")
        self.betas = b
        self._log_alpha_bar = torch.cat([b.new_zeros(1), torch.log1p(-b).cumsum(0)])
        self.alpha_bar = self._log_alpha_bar.exp()
        self.t_max = float(len(b))
        self._tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
        if self.alpha_bar[-1] > 0.01:
            warnings.warn(
                f"alpha_bar_T = {self.alpha_bar[-1].item():.3g} after T = {len(b)} steps: the last state still holds "
                f"{self.alpha_bar[-1].sqrt().item():.3g} of the data, so it is not the noise that sampling starts from",
                stacklevel=2,
            )

    @property
    def T(self) -> int:
        """Number of noising steps."""
        return len(self.betas)

    def __repr__(self) -> str:
        return f"DiscreteDDPM(T={self.T}, alpha_bar_T={self.alpha_bar[-1].item():.3g})"

    def _coefficients(self, t: Tensor) -> PathCoefficients:
        key = (t.device, t.dtype)
        if key not in self._tables:
            rates = -torch.log1p(-self.betas)
            self._tables[key] = (
                self._log_alpha_bar.to(device=t.device, dtype=t.dtype),
                rates.to(device=t.device, dtype=t.dtype),
            )
        log_alpha_bar, rates = self._tables[key]
        step = torch.ceil(t).clamp(1, self.T).long()  # the step k with k - 1 < t <= k
        rate = rates.take(step - 1)  # not rates[...]: indexing with a single number would wait for the device
        log_ab = log_alpha_bar.take(step - 1) - rate * (t - (step - 1).to(t.dtype))
        alpha, sigma = torch.exp(0.5 * log_ab), torch.sqrt(-torch.expm1(log_ab))
        return PathCoefficients(alpha, sigma, -0.5 * rate * alpha, 0.5 * rate * alpha**2 / sigma)


def _steps(T: int) -> int:
    if T < 1:
        raise ValueError(f"T must be at least 1, got {T}")
    return T


def linear_betas(T: int = 1000, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """T variances that grow linearly from start to end.

    The customary ends are tuned for T = 1000. Cut to fewer steps they no longer reach noise.

    Returns:
        Shape (T,), float64.

    Reference: Ho et al. 2020, section 4. Taught in: chapter 5.

    Example:
        >>> linear_betas(3, 0.1, 0.3)
        tensor([0.1000, 0.2000, 0.3000], dtype=torch.float64)
    """
    return torch.linspace(start, end, _steps(T), dtype=torch.float64, device="cpu")


def scaled_linear_betas(T: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """T variances whose square roots grow linearly, as Stable Diffusion uses them.

    Returns:
        Shape (T,), float64. With the default ends sqrt(alpha_bar_T) = 0.068: not quite noise.

    Reference: Rombach et al. 2022, released code; discussed by Lin et al. 2024, section 3.1. Taught in: chapter 5.

    Example:
        >>> print(f"{(1 - scaled_linear_betas()).prod().sqrt():.4f}")
        0.0683
    """
    return torch.linspace(start**0.5, end**0.5, _steps(T), dtype=torch.float64, device="cpu") ** 2


def betas_from_alpha_bar(alpha_bar: Tensor, max_beta: float = 1.0) -> Tensor:
    """The step variances that give a wanted alpha_bar: beta_k = 1 - alpha_bar_k / alpha_bar_{k-1}.

    Args:
        alpha_bar: shape (T + 1,), decreasing, alpha_bar[0] at clean data.
        max_beta: larger values are cut to it.

    Returns:
        Shape (T,), float64.

    Raises:
        ValueError: alpha_bar is not positive and decreasing.

    Example:
        >>> betas_from_alpha_bar(torch.tensor([1.0, 0.5, 0.25]))
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    ab = torch.as_tensor(alpha_bar, dtype=torch.float64, device="cpu")
    if ab.ndim != 1 or len(ab) < 2 or not (ab[:-1] > 0).all() or not (ab[1:] <= ab[:-1]).all():
        raise ValueError("alpha_bar must be a one-dimensional, positive, decreasing array of at least two values")
    return (1 - ab[1:] / ab[:-1]).clamp(max=max_beta)


def cosine_betas(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Tensor:
    r"""Variances whose alpha_bar follows a squared cosine.

        alpha_bar_k = f(k) / f(0),   f(k) = cos^2( (k / T + s) / (1 + s) * pi / 2 ),   beta_k cut at max_beta.

    The cut matters: f(T) = 0, so the last beta would be exactly 1 and the last step would erase everything.

    Returns:
        Shape (T,), float64.

    Reference: Nichol & Dhariwal 2021, eq. 17. Taught in: chapter 5.

    Example:
        >>> print(f"{cosine_betas(1000)[-1]:.3f}")
        0.999
    """
    k = torch.arange(_steps(T) + 1, dtype=torch.float64, device="cpu")
    f = torch.cos((k / T + s) / (1 + s) * math.pi / 2) ** 2
    return betas_from_alpha_bar(f / f[0], max_beta)


def sigmoid_betas(
    T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999
) -> Tensor:
    r"""Variances whose alpha_bar follows a falling sigmoid, rescaled to run from 1 to 0.

        alpha_bar_k = (S(end/tau) - S((start + (end - start) k/T)/tau)) / (S(end/tau) - S(start/tau)),

    with the logistic function S.

    Returns:
        Shape (T,), float64.

    Reference: Jabri et al. 2023, Chen 2023 (On the importance of noise scheduling), section 2.1. Taught in: chapter 5.

    Example:
        >>> print(f"{(1 - sigmoid_betas(1000)[:500]).prod():.3f}")
        0.500
    """
    if not (tau > 0 and end > start):
        raise ValueError(f"sigmoid_betas needs tau > 0 and end > start, got tau = {tau}, start = {start}, end = {end}")
    k = torch.linspace(0, 1, _steps(T) + 1, dtype=torch.float64, device="cpu")
    value = torch.sigmoid((start + (end - start) * k) / tau)
    alpha_bar = (value[-1] - value) / (value[-1] - value[0])
    return betas_from_alpha_bar(alpha_bar, max_beta)
