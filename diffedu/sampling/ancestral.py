r"""Stochastic and deterministic samplers that walk the DDPM chain backwards: ancestral sampling and DDIM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffedu.core.denoiser import Denoiser
from diffedu.core.path import PathCoefficients

Variance = Callable[[PathCoefficients, PathCoefficients], Tensor]


def step_variance(c_t: PathCoefficients, c_s: PathCoefficients) -> Tensor:
    r"""Variance that the forward process adds between s < t: sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2.

    For neighbouring steps of `DiscreteDDPM` it is beta_t; for a skipped grid it is the right
    1 - alpha_bar_t / alpha_bar_s. Never negative on a path; rounding is cut at 0.
    Reference: Kingma et al. 2021, appendix A (sigma^2 of t given s). Taught in: chapter 5.
    """
    return (c_t.sigma**2 - (c_t.alpha / c_s.alpha * c_s.sigma) ** 2).clamp(min=0.0)


def beta_variance(c_t: PathCoefficients, c_s: PathCoefficients) -> Tensor:
    """The larger of DDPM's two variances, and 0 on the step that lands on clean data.

    Right for data that is itself N(0, I). Ho et al. 2020, section 3.2. Taught in: chapters 6 and 7.
    """
    return torch.where(c_s.sigma > 0, step_variance(c_t, c_s), torch.zeros_like(c_t.sigma))


def beta_tilde_variance(c_t: PathCoefficients, c_s: PathCoefficients) -> Tensor:
    """The variance of q(x_s | x_t, x0): step_variance sigma_s^2 / sigma_t^2.

    Right for data at a single point. Ho et al. 2020, eq. 7. Taught in: chapters 5 to 7.
    """
    return step_variance(c_t, c_s) * (c_s.sigma / c_t.sigma) ** 2


@dataclass(frozen=True)
class Ancestral:
    r"""DDPM's sampler: the mean of q(x_s | x_t, x0_hat), plus noise.

        x_s = alpha_s (1 - r) x0_hat + (alpha_t / alpha_s) (sigma_s / sigma_t)^2 x_t + sqrt(variance) z,
        r = (alpha_t sigma_s / (alpha_s sigma_t))^2.

    Args:
        variance: `beta_tilde_variance` (default) or `beta_variance`.

    Reference: Ho et al. 2020, eq. 7 and algorithm 2 (with the standard deviation before z, and no noise on the last
    step). Taught in: chapter 7.

    Example:
        >>> from diffedu import *
        >>> path = DiscreteDDPM(linear_betas(1000))
        >>> exact = GaussianMixture.single(torch.zeros(2), 0.25 * torch.eye(2)).denoiser(path)
        >>> start = start_noise(path, (2000, 2), seeded(0))
        >>> x = sample(exact, Ancestral(), start, trailing_times(path, 100), generator=seeded(1))
        >>> print(f"{x.std():.1f}")
        0.5
    """

    variance: Variance = beta_tilde_variance

    def init(self, x: Tensor) -> tuple[()]:
        return ()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[()], noise: Tensor
    ) -> tuple[Tensor, tuple[()]]:
        c_t, c_s = denoiser.path(t), denoiser.path(s)
        x0_hat = denoiser(x_t, t)
        ratio = (c_t.alpha / c_s.alpha) * (c_s.sigma / c_t.sigma) ** 2
        mean = (c_s.alpha - ratio * c_t.alpha) * x0_hat + ratio * x_t
        return mean + self.variance(c_t, c_s).sqrt() * noise, ()


@dataclass(frozen=True)
class DDIM:
    r"""Denoise, then noise again, keeping some of the noise that was there.

        x_s = alpha_s x0_hat + sqrt(sigma_s^2 - eta^2 beta_tilde) eps_hat + eta sqrt(beta_tilde) z.

    Args:
        eta: 0 is deterministic, 1 has the variance of `Ancestral`. The variance grows with eta squared.

    Raises:
        ValueError: eta is outside [0, 1].

    Reference: Song et al. 2021 (DDIM), eq. 12 and 16; their alpha is our alpha squared. Taught in: chapter 8.

    Example:
        >>> DDIM(eta=0.5)
        DDIM(eta=0.5)
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {self.eta}")

    def init(self, x: Tensor) -> tuple[()]:
        return ()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[()], noise: Tensor
    ) -> tuple[Tensor, tuple[()]]:
        c_t, c_s = denoiser.path(t), denoiser.path(s)
        x0_hat = denoiser(x_t, t)
        eps_hat = (x_t - c_t.alpha * x0_hat) / c_t.sigma
        variance = self.eta**2 * beta_tilde_variance(c_t, c_s)
        kept = (c_s.sigma**2 - variance).clamp(min=0.0).sqrt()
        return c_s.alpha * x0_hat + kept * eps_hat + variance.sqrt() * noise, ()
