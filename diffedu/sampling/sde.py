r"""Solvers of stochastic equations: the reverse-time SDE, and Langevin dynamics at a fixed noise level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffedu.core.denoiser import Denoiser, score


@dataclass(frozen=True)
class EulerMaruyama:
    r"""The reverse-time SDE, one Gaussian step at a time. With Delta = t - s > 0:

        x_s = x_t - [f x_t - g^2 score(x_t, t)] Delta + g sqrt(Delta) z.

    The step that lands on sigma = 0 adds no noise: it would only be left in the result.

    Raises:
        ValueError: time does not decrease, or alpha = 0 at t (`RectifiedFlow` at t = 1), where f and g are infinite.

    Reference: Anderson 1982; Song et al. 2021, eq. 6 (their dt is negative). Taught in: chapter 10.

    Example:
        >>> EulerMaruyama()
        EulerMaruyama()
    """

    def init(self, x: Tensor) -> tuple[()]:
        return ()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[()], noise: Tensor
    ) -> tuple[Tensor, tuple[()]]:
        if s.device.type != "meta" and s > t:
            raise ValueError(
                f"the reverse SDE runs towards the data: need s <= t, got t = {t.item():g}, s = {s.item():g}"
            )
        c, dt = denoiser.path(t), t - s
        if s.device.type != "meta" and not c.alpha > 0:
            raise ValueError(
                f"the reverse SDE is singular where alpha = 0, here at t = {t.item():g}; "
                "start the grid a little below it"
            )
        g2 = c.diffusion_squared
        x_s = x_t - (c.drift * x_t - g2 * score(denoiser, x_t, t)) * dt
        lands_on_noise = denoiser.path(s).sigma > 0
        return x_s + torch.where(lands_on_noise, (g2 * dt).sqrt(), torch.zeros_like(dt)) * noise, ()


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
