r"""Time grids fitted to a solver and a denoiser, by measured error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffedu._tensor import seeded
from diffedu.core.denoiser import Denoiser
from diffedu.sampling.solver import Solver, sample


def mean_square_error(x: Tensor, reference: Tensor) -> Tensor:
    """The squared distance of paired points, averaged over the batch; shape ()."""
    return (x - reference).square().flatten(1).sum(1).mean()


def optimised_times(
    denoiser: Denoiser,
    solver: Solver[Any],
    x_start: Tensor,
    reference: Tensor,
    times: Tensor,
    *,
    moves: Sequence[float] = (0.5, 0.25, 0.25, 0.1, 0.1, 0.05),
    error: Callable[[Tensor, Tensor], Tensor] = mean_square_error,
) -> Tensor:
    """Move the inner times of a grid, one after the other, as long as that lowers the error of paired samples.

    Every inner time tries a fraction of the way to either neighbour, for each fraction in `moves`, and stays where the
    end points are nearest to the reference. So the grid keeps its ends and its length and never stops decreasing, and
    on these starts its error never grows. On others it must be measured: give as many starts as you can afford.

    Args:
        denoiser: what will be sampled from.
        solver: how; deterministic. The grid suits this solver.
        x_start: states at times[0], shape (B, *).
        reference: where they should end, shape (B, *): the same flow solved with many steps.
        times: the grid to begin with, shape (steps + 1,), decreasing.
        moves: fractions between 0 and 1, one sweep over the grid for each.
        error: what is minimised, from (x, reference) to a tensor of shape ().

    Returns:
        The improved grid, of the shape, dtype and device of `times`.

    Raises:
        ValueError: times does not decrease, or a fraction lies outside (0, 1).

    Reference: the aim of Sabour et al. 2024 (Align Your Steps), who minimise a bound instead of the measured error.
    Taught in: chapter 11.

    Example:
        >>> from diffedu import *
        >>> exact = GaussianMixture.ring(6).denoiser(EDM())
        >>> start = start_noise(EDM(), (64, 2), seeded(0))
        >>> fine = sample(exact, Heun(), start, with_zero(karras_times(EDM(), 99)))
        >>> grid = with_zero(uniform_times(EDM(), 4))
        >>> better = optimised_times(exact, DDIM(), start, fine, grid)
        >>> ends = [sample(exact, DDIM(), start, times) for times in (grid, better)]
        >>> bool((ends[1] - fine).norm() < 0.5 * (ends[0] - fine).norm())
        True
    """
    if times.device.type != "meta" and not (times.diff() < 0).all():
        raise ValueError(f"times must decrease, got {times.tolist()}")
    if not all(0 < fraction < 1 for fraction in moves):
        raise ValueError(f"every move must lie between 0 and 1, got {tuple(moves)}")

    def measured(grid: Tensor) -> Tensor:
        device = x_start.device
        rng = None if device.type == "meta" else seeded(0, device)  # the same in every run, and not torch's global one
        return error(sample(denoiser, solver, x_start, grid, generator=rng), reference)

    best, least = times.clone(), measured(times)
    for fraction in moves:
        for k in range(1, len(times) - 1):
            for neighbour in (k - 1, k + 1):
                trial = best.clone()
                trial[k] += fraction * (best[neighbour] - best[k])
                found = measured(trial)
                lower = found < least
                best, least = torch.where(lower, trial, best), torch.where(lower, found, least)
    return best
