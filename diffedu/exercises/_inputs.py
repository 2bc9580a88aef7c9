"""What checks of several chapters draw and compare."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.oracle import GaussianMixture


def normal(*shape: int, rng: torch.Generator) -> Tensor:
    """Standard normal numbers in double precision."""
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def uniform(low: float, high: float, *shape: int, rng: torch.Generator) -> Tensor:
    """Uniform numbers in double precision; shape () unless given."""
    return low + (high - low) * torch.rand(shape, generator=rng, dtype=torch.float64)


def number(low: float, high: float, rng: torch.Generator) -> float:
    """One uniform number."""
    return uniform(low, high, rng=rng).item()


def irregular_betas(T: int, rng: torch.Generator) -> Tensor:
    """T variances in no order: a formula that is right for one schedule only fails on them."""
    return 0.02 + 0.3 * torch.rand(T, generator=rng, dtype=torch.float64)


def alpha_bar_of(betas: Tensor) -> Tensor:
    """The table of alpha_bar, shape (T + 1,), with a leading 1, so that entry t belongs to step t."""
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])


def same(got: Any, want: Tensor) -> bool:
    """Whether an answer is this tensor, within rounding; anything else is just another answer, not an error."""
    return isinstance(got, Tensor) and got.shape == want.shape and torch.allclose(got.double(), want.double())


def line(low: float, high: float, n: int = 81) -> Tensor:
    """Equally spaced numbers in double precision, for the pictures of the solutions."""
    return torch.linspace(low, high, n, dtype=torch.float64, device="cpu")


def cloud(n: int = 150, seed: int = 0) -> Tensor:
    """The same n standard normal points of the plane for everyone, for the pictures of the solutions."""
    return torch.randn(n, 2, generator=seeded(seed, "cpu"), device="cpu")


def ring() -> GaussianMixture:
    """Six clusters, whose pictures show at a glance whether a sampler works."""
    return GaussianMixture.ring(6, radius=1.5, std=0.12)
