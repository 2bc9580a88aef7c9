r"""Solvers of the probability-flow ODE dx/dt = velocity(x, t)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffedu.core.denoiser import Denoiser, velocity


@dataclass(frozen=True)
class Euler:
    """x_s = x_t + (s - t) velocity(x_t, t). Order 1, one evaluation a step.

    Reference: Song et al. 2021 (score SDE), eq. 13. Taught in: chapters 10 and 11.

    Example:
        >>> Euler()
        Euler()
    """

    def init(self, x: Tensor) -> tuple[()]:
        return ()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[()], noise: Tensor
    ) -> tuple[Tensor, tuple[()]]:
        return x_t + (s - t) * velocity(denoiser, x_t, t), ()


@dataclass(frozen=True)
class Heun:
    """An Euler step, then the mean of the slopes at its two ends. Order 2, two evaluations a step.

    Where the step lands on sigma = 0 the slope there is not defined, and the Euler step stands.

    Reference: Karras et al. 2022, algorithm 1 (on `EDM`, dx/dsigma = (x - x0_hat) / sigma). Taught in: chapter 11.

    Example:
        >>> Heun()
        Heun()
    """

    def init(self, x: Tensor) -> tuple[()]:
        return ()

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: tuple[()], noise: Tensor
    ) -> tuple[Tensor, tuple[()]]:
        slope = velocity(denoiser, x_t, t)
        x_s = x_t + (s - t) * slope
        if s.device.type != "meta" and not denoiser.path(s).sigma > 0:
            return x_s, ()
        return x_t + (s - t) * (slope + velocity(denoiser, x_s, s)) / 2, ()
