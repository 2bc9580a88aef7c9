r"""Langevin dynamics on any density whose score is known: the plain walk (ULA), and the walk with a referee (MALA).

The equation is dx = M grad log p dt + sqrt(2 M T) dw, with mobility M and temperature T. It settles at p^(1/T),
normalised, whatever M is. A step of size h moves by h M grad log p and adds noise of variance 2 h M T: twice the
factor of the drift, times the temperature.

`Langevin` in sampling/sde.py is the same step for a `Denoiser` at one noise level, with M = T = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffedu._tensor import randn_like, same_shape


def _check(step_size: float, mobility: float | Tensor) -> None:
    if not step_size > 0:
        raise ValueError(f"step_size must be positive, got {step_size}")
    if isinstance(mobility, Tensor):
        if mobility.device.type == "meta":  # no values to look at
            return
        mobility = mobility.min().item()
    if not mobility > 0:
        raise ValueError(f"mobility must be positive in every coordinate, got {mobility}")


def _drifted(score: Callable[[Tensor], Tensor], x: Tensor, rate: float | Tensor) -> Tensor:
    """x + rate score(x), after a check that the score has the shape of x."""
    slope = score(x)
    same_shape(x=x, score=slope)
    if isinstance(rate, Tensor) and rate.ndim and rate.shape != x.shape[1:]:
        raise ValueError(
            f"mobility must be a number or have the shape of one point, {tuple(x.shape[1:])}, got {tuple(rate.shape)}"
        )
    return x + rate * slope


@dataclass(frozen=True, eq=False)
class ULA:
    r"""The unadjusted Langevin algorithm: an Euler step of the equation, again and again.

        x <- x + h M score(x) + sqrt(2 h M T) z,       z ~ N(0, I).

    It settles near p^(1/T), at a distance that shrinks with h: on N(m, s^2) at variance T s^2 / (1 - h M / (2 s^2)).
    It blows up where h M reaches 2 s^2. With T = 0 it is gradient ascent.

    Args:
        score: grad log p, from (B, *) to (B, *), in 1 / data units.
        step_size: h, positive, in squared data units when M = 1.
        temperature: T, not negative; 1 samples p.
        mobility: M, a positive number, or one for each coordinate (the shape of one point).

    Raises:
        ValueError: an argument outside its range, or a score of another shape than x.

    Reference: Roberts and Tweedie 1996, whose h is our 2h; Song and Ermon 2019, algorithm 1 at one noise level, whose
    alpha is our 2h. Taught in: chapter 2.

    Example:
        >>> from diffedu._tensor import seeded
        >>> normal = ULA(lambda x: -x, step_size=0.1)
        >>> x = normal.sample(torch.full((4000, 1), 5.0), 100, generator=seeded(0))
        >>> print(f"variance {x.var():.1f}")  # 1 / (1 - 0.05), a little too wide
        variance 1.1
    """

    score: Callable[[Tensor], Tensor]
    step_size: float
    temperature: float = 1.0
    mobility: float | Tensor = 1.0

    def __post_init__(self) -> None:
        _check(self.step_size, self.mobility)
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}")

    def step(self, x: Tensor, noise: Tensor) -> Tensor:
        """One step; x and noise of shape (B, *), the noise standard normal."""
        rate = self.step_size * self.mobility
        return _drifted(self.score, x, rate) + (2 * rate * self.temperature) ** 0.5 * noise

    def run(self, x: Tensor, steps: int, *, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """Yield x and the states after 1, 2, ..., `steps` steps. Nothing records gradients."""
        yield x
        for _ in range(steps):
            with torch.no_grad():
                x = self.step(x, randn_like(x, generator))
            yield x

    def sample(self, x: Tensor, steps: int, *, generator: torch.Generator | None = None) -> Tensor:
        """The last state of `run`, shape (B, *)."""
        for x in self.run(x, steps, generator=generator):  # noqa: B007, B020
            pass
        return x


@dataclass(frozen=True, eq=False)
class MALA:
    r"""The Metropolis-adjusted Langevin algorithm: ULA proposes, and a coin that knows p accepts or refuses.

    The proposal x' is ULA's step, with density k(x' | x) = N(x'; x + h M score(x), 2 h M T). It is accepted with
    probability

        min(1, [p(x') / p(x)]^(1/T) k(x | x') / k(x' | x)),

    and otherwise the walker stays, and is counted again. The equilibrium is p^(1/T) exactly, at every step size.
    It needs log p up to a constant, not only its gradient.

    Args:
        log_prob: log p up to a constant, from (B, *) to (B,), in nats.
        score: its gradient, from (B, *) to (B, *).
        step_size: h, positive.
        temperature: T, positive; 1 samples p.
        mobility: M, a positive number, or one for each coordinate (the shape of one point).

    Raises:
        ValueError: an argument outside its range, or a score or log_prob of the wrong shape.

    Reference: Besag 1994, in the discussion of Grenander and Miller; Roberts and Tweedie 1996 (their h is our 2h).
    Taught in: chapter 2.

    Example:
        >>> from diffedu._tensor import seeded
        >>> normal = MALA(lambda x: -x.square().sum(1) / 2, lambda x: -x, step_size=1.0)
        >>> x = normal.sample(torch.full((4000, 1), 5.0), 100, generator=seeded(0))
        >>> print(f"variance {x.var():.1f}")
        variance 1.0
    """

    log_prob: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    step_size: float
    temperature: float = 1.0
    mobility: float | Tensor = 1.0

    def __post_init__(self) -> None:
        _check(self.step_size, self.mobility)
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")

    def log_accept(self, x: Tensor, proposal: Tensor) -> Tensor:
        """Logarithm of the ratio whose minimum with 1 is the acceptance probability, shape (B,).

        Example:
            >>> normal = MALA(lambda x: -x.square().sum(1) / 2, lambda x: -x, step_size=0.5)
            >>> normal.log_accept(torch.tensor([[0.0]]), torch.tensor([[2.0]]))  # outwards: h (x^2 - x'^2) / 4
            tensor([-0.5000])
        """
        rate = self.step_size * self.mobility
        there = (proposal - _drifted(self.score, x, rate)).square() / (4 * rate * self.temperature)
        back = (x - _drifted(self.score, proposal, rate)).square() / (4 * rate * self.temperature)
        before, after = self.log_prob(x), self.log_prob(proposal)
        if before.shape != x.shape[:1]:
            raise ValueError(
                f"log_prob must return one value a point, shape {tuple(x.shape[:1])}, got {tuple(before.shape)}"
            )
        return (after - before) / self.temperature + (there - back).flatten(1).sum(1)

    def step(self, x: Tensor, noise: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """One step; noise (B, *) standard normal, uniform (B,) in [0, 1). Returns the state and who moved, (B,)."""
        proposal = ULA(self.score, self.step_size, self.temperature, self.mobility).step(x, noise)
        # A ratio that is NaN (log p infinite at both ends, say) compares as false, and the walker stays.
        moved = uniform.log() < self.log_accept(x, proposal)
        return torch.where(moved.reshape(-1, *[1] * (x.ndim - 1)), proposal, x), moved

    def run(
        self, x: Tensor, steps: int, *, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, moved), `steps` times: the state after each step, and which walkers accepted it, (B,)."""
        for _ in range(steps):
            with torch.no_grad():
                noise = randn_like(x, generator)
                uniform = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
                x, moved = self.step(x, noise, uniform)
            yield x, moved

    def sample(self, x: Tensor, steps: int, *, generator: torch.Generator | None = None) -> Tensor:
        """The last state of `run`, shape (B, *)."""
        for x, _ in self.run(x, steps, generator=generator):  # noqa: B020, B007
            pass
        return x
