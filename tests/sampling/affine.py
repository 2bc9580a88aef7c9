"""With a Gaussian oracle a solver step is affine in the state and in the noise. Here that map is read off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from diffedu.core import GaussianMixture, GaussianPath
from diffedu.sampling import Ancestral


class Affine(NamedTuple):
    """x_s = A x_t + b + C z."""

    A: Tensor
    b: Tensor
    C: Tensor

    def moments(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        return self.A @ mean + self.b, self.A @ covariance @ self.A.T + self.C @ self.C.T


def read_off(step: Callable[[Tensor, Tensor], Tensor], dim: int) -> Affine:
    """Ask the step at zero, at unit states and at unit noises; then check that it really is affine."""
    zero, unit = torch.zeros(1, dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
    none = torch.zeros_like(unit)
    out = step(torch.cat([zero, unit, none]), torch.cat([zero, none, unit]))
    found = Affine((out[1 : dim + 1] - out[0]).T, out[0], (out[dim + 1 :] - out[0]).T)
    x, z = torch.randn(2, 3, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(step(x, z), x @ found.A.T + found.b + z @ found.C.T, rtol=1e-9, atol=1e-9)
    return found


def one_step(solver, mixture: GaussianMixture, path: GaussianPath, t: Tensor, s: Tensor) -> Affine:
    """The affine map of one solver step from t to s."""
    exact = mixture.denoiser(path)
    return read_off(lambda x, z: solver.step(exact, x, t, s, solver.init(x), z)[0], mixture.D)


def run(solver, mixture: GaussianMixture, path: GaussianPath, times: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance at the grid's end, exactly, for a start with the true marginal at its beginning."""
    start = mixture.noised(path, times[0])
    mean, covariance = start.mean, start.covariance
    for t, s in pairwise(times):
        mean, covariance = one_step(solver, mixture, path, t, s).moments(mean, covariance)
    return mean, covariance


def label(value) -> str:
    """A test id without the memory address that the repr of a function carries: workers must agree on ids."""
    if isinstance(value, Ancestral):
        return f"Ancestral({value.variance.__name__})"
    return repr(value)
