r"""Solvers of stochastic equations: the reverse-time SDE, and Langevin dynamics at a fixed noise level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffedu.core.denoiser import Denoiser, score
from diffedu.core.times import time_at_half_log_snr
from diffedu.sampling.ancestral import step_variance
from diffedu.sampling.solver import Solver


@dataclass(frozen=True)
class EulerMaruyama:
    r"""The reverse-time SDE, one Gaussian step at a time. With Delta = t - s > 0 and k the stochasticity:

        x_s = x_t - [f x_t - (1 + k^2)/2 g^2 score(x_t, t)] Delta + k g sqrt(Delta) z.

    k = 1 is the reverse-time SDE, k = 0 an Euler step of the probability-flow ODE. Every k >= 0 has the same marginals,
    as the steps become small. The step that lands on sigma = 0 adds no noise: it would only be left in the result.

    Args:
        stochasticity: k, at least 0.

    Raises:
        ValueError: time does not decrease, or alpha = 0 at t (`RectifiedFlow` at t = 1), where f and g are infinite.

    Reference: Anderson 1982; Song et al. 2021, eq. 6 (their dt is negative); the family: Karras et al. 2022, eq. 6.
    Taught in: chapter 10.

    Example:
        >>> EulerMaruyama()
        EulerMaruyama(stochasticity=1.0)
    """

    stochasticity: float = 1.0

    def __post_init__(self) -> None:
        if not self.stochasticity >= 0:
            raise ValueError(f"stochasticity must be at least 0, got {self.stochasticity}")

    def init(self, x: Tensor) -> tuple[()]:
        return ()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[()], noise: Tensor
    ) -> tuple[Tensor, tuple[()]]:
        if s.device.type != "meta" and s > t:
            raise ValueError(
                f"the reverse SDE runs towards the data: need s <= t, got t = {t.item():g}, s = {s.item():g}"
            )
        c, dt, k = denoiser.path(t), t - s, self.stochasticity
        if s.device.type != "meta" and not c.alpha > 0:
            raise ValueError(
                f"the reverse SDE is singular where alpha = 0, here at t = {t.item():g}; "
                "start the grid a little below it"
            )
        g2 = c.diffusion_squared
        x_s = x_t - (c.drift * x_t - (1 + k**2) / 2 * g2 * score(denoiser, x_t, t)) * dt
        lands_on_noise = denoiser.path(s).sigma > 0
        return x_s + torch.where(lands_on_noise, k * (g2 * dt).sqrt(), torch.zeros_like(dt)) * noise, ()


@dataclass(frozen=True)
class Langevin:
    r"""Unadjusted Langevin steps for the density p_t at the level t of the grid; s is not used.

        x <- x + h score(x, t) + sqrt(2 h) z,       h = step_size sigma(t)^2.

    A constant grid walks at one noise level; a grid that stays a while at each of many falling levels is annealed
    Langevin dynamics.

    Args:
        step_size: h in units of sigma^2, positive.

    Reference: Song & Ermon 2019, algorithm 1, whose alpha is our 2h. Taught in: chapters 2 and 4.

    Example:
        >>> Langevin(0.1)
        Langevin(step_size=0.1)
    """

    step_size: float

    def __post_init__(self) -> None:
        if not self.step_size > 0:
            raise ValueError(f"step_size must be positive, got {self.step_size}")

    def init(self, x: Tensor) -> tuple[()]:
        return ()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[()], noise: Tensor
    ) -> tuple[Tensor, tuple[()]]:
        h = self.step_size * denoiser.path(t).sigma ** 2
        return x_t + h * score(denoiser, x_t, t) + (2 * h).sqrt() * noise, ()


@dataclass(frozen=True)
class PredictorCorrector:
    """Steps where the grid falls, and corrections where it stays: a time that is repeated n times gets n - 1 of them.

    The corrector (Langevin steps) pulls the points back towards the law of their time; it does not move the time.
    Each visit costs one evaluation and one draw of noise, as any step does. See `repeated`.

    Args:
        predictor: any solver.
        corrector: a solver that stays at t, such as `Langevin`.

    Reference: Song et al. 2021, algorithm 1 and appendix G. Taught in: chapter 10.

    Example:
        >>> PredictorCorrector(EulerMaruyama(), Langevin(0.1))
        PredictorCorrector(predictor=EulerMaruyama(stochasticity=1.0), corrector=Langevin(step_size=0.1))
    """

    predictor: Solver[Any]
    corrector: Solver[Any]

    def init(self, x: Tensor) -> tuple[Any, Any]:
        return self.predictor.init(x), self.corrector.init(x)

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[Any, Any], noise: Tensor
    ) -> tuple[Tensor, tuple[Any, Any]]:
        predictor, corrector = state
        if s == t:
            x_s, corrector = self.corrector.step(denoiser, x_t, t, s, corrector, noise)
        else:
            x_s, predictor = self.predictor.step(denoiser, x_t, t, s, predictor, noise)
        return x_s, (predictor, corrector)


def repeated(times: Tensor, visits: int) -> Tensor:
    """A grid that visits every time after the first `visits` times; a last time of 0, where no noise is left, once.

    Raises:
        ValueError: visits is below 1.

    Example:
        >>> repeated(torch.tensor([1.0, 0.5, 0.0]), 2)
        tensor([1.0000, 0.5000, 0.5000, 0.0000])
    """
    if visits < 1:
        raise ValueError(f"visits must be at least 1, got {visits}")
    last = times[-1:] if times[-1] == 0 else times[-1:].repeat(visits)
    return torch.cat([times[:1], times[1:-1].repeat_interleave(visits), last])


@dataclass(frozen=True)
class Churn:
    r"""Before each step of `solver`, go a little back towards noise: sigma / alpha grows by the factor 1 + gamma.

        x <- (alpha_u / alpha_t) x_t + sqrt(sigma_u^2 - (alpha_u / alpha_t)^2 sigma_t^2) noise_scale z,    from u to s.

    Fresh noise drowns old errors, at the price of larger steps. Where the path ends, u stays at t_max.

    Args:
        solver: deterministic, such as `Heun`; the noise of the step is used up here.
        gamma: at least 0; Karras et al. write S_churn / steps, at most sqrt(2) - 1.
        noise_scale: their S_noise; 1 keeps the law exact.
        low, high: applied where t lies between them, in the path's time.

    Reference: Karras et al. 2022, algorithm 2 (on `EDM`, where u = (1 + gamma) t). Taught in: chapter 11.

    Example:
        >>> Churn(EulerMaruyama(0.0), gamma=0.2).gamma
        0.2
    """

    solver: Solver[Any]
    gamma: float
    noise_scale: float = 1.0
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.gamma >= 0 or not self.noise_scale >= 0:
            raise ValueError(f"gamma and noise_scale must be at least 0, got {self.gamma} and {self.noise_scale}")

    def init(self, x: Tensor) -> Any:
        return self.solver.init(x)

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: Any, noise: Tensor
    ) -> tuple[Tensor, Any]:
        path = denoiser.path
        if not self.low <= t <= self.high:
            return self.solver.step(denoiser, x_t, t, s, state, torch.zeros_like(noise))
        c_t = path(t)
        u = torch.maximum(t, time_at_half_log_snr(path, c_t.half_log_snr - math.log1p(self.gamma)))
        c_u = path(u)
        added = step_variance(c_u, c_t).sqrt() * self.noise_scale
        x_u = c_u.alpha / c_t.alpha * x_t + added * noise
        return self.solver.step(denoiser, x_u, u, s, state, torch.zeros_like(noise))
