r"""The solver protocol, and the one loop that runs every sampler of the book."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from diffedu._tensor import randn, randn_like
from diffedu.core.denoiser import Denoiser
from diffedu.core.path import GaussianPath

State = TypeVar("State")


class Solver(Protocol[State]):
    """One step of a sampler, as a pure function: what it remembers is passed in and handed back.

    `init` makes the memory for a run (an empty tuple where nothing is remembered). `step` goes from time t to time s;
    `noise` is standard normal, of the shape of x_t, and ignored by deterministic solvers.
    """

    def init(self, x: Tensor) -> State: ...

    def step(
        self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, state: State, noise: Tensor
    ) -> tuple[Tensor, State]: ...


def start_noise(
    path: GaussianPath, shape: tuple[int, ...], generator: torch.Generator, *, time: float | None = None
) -> Tensor:
    """Where sampling begins: N(0, sigma(time)^2 I), on the generator's device.

    Args:
        path: gives sigma.
        shape: (B, *).
        generator: source of randomness.
        time: t_max by default.

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.core.path import RectifiedFlow
        >>> start_noise(RectifiedFlow(), (2, 3), seeded(0)).shape
        torch.Size([2, 3])
    """
    noise = randn(shape, generator)
    t = torch.tensor(path.t_max if time is None else time, dtype=noise.dtype, device=noise.device)
    return path(t).sigma * noise


def _check_times(path: GaussianPath, times: Tensor) -> None:
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must have shape (steps + 1,) with at least one step, got {tuple(times.shape)}")
    if times.device.type == "meta":
        return
    if not torch.isfinite(times).all() or times.min() < 0 or times.max() > path.t_max * (1 + 1e-6):
        raise ValueError(
            f"times must lie in [0, {path.t_max:g}] for {path!r}, got {times.min().item():g} to {times.max().item():g}"
        )
    clean = (path(times[:-1]).sigma == 0).nonzero()
    if len(clean):
        k = int(clean[0, 0])
        raise ValueError(
            f"only the last time may have sigma = 0, where no noise is left to take away: "
            f"times[{k}] = {times[k].item():g}; the smallest time to start from is t_min = {path.t_min:g}"
        )


def trajectory(
    denoiser: Denoiser,
    solver: Solver[State],
    x_start: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Run a solver over a grid and yield (t, x_t) at every time of it, the first included.

    Fresh noise is drawn for every step, whatever the solver: with equal seeds, two solvers see equal noise.
    Nothing records gradients.

    Args:
        denoiser: what to sample from.
        solver: how to step.
        x_start: state at times[0], shape (B, *); see `start_noise`.
        times: shape (steps + 1,). Decreasing for sampling, increasing for encoding, constant for Langevin steps.
        generator: source of the steps' noise, on the device of x_start.

    Yields:
        Pairs (t, x_t), steps + 1 of them.

    Raises:
        ValueError: times has the wrong shape, leaves the path, or is clean before its end; the generator
            lives elsewhere.

    Taught in: chapters 0 and 7.

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.core import GaussianMixture, RectifiedFlow, uniform_times
        >>> from diffedu.sampling import Euler
        >>> path = RectifiedFlow()
        >>> exact = GaussianMixture.ring(8).denoiser(path)
        >>> start = start_noise(path, (5, 2), seeded(0))
        >>> [f"{t:.2f}" for t, x in trajectory(exact, Euler(), start, uniform_times(path, 4, end=0))]
        ['1.00', '0.75', '0.50', '0.25', '0.00']
    """
    _check_times(denoiser.path, times)
    return _run(denoiser, solver, x_start, times.to(device=x_start.device, dtype=x_start.dtype), generator)


def _run(
    denoiser: Denoiser, solver: Solver[State], x: Tensor, times: Tensor, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    state = solver.init(x)
    yield times[0], x
    for t, s in pairwise(times):
        with torch.no_grad():  # inside the loop: a generator must not leave the caller's mode changed between yields
            x, state = solver.step(denoiser, x, t, s, state, randn_like(x, generator))
        yield s, x


def sample(
    denoiser: Denoiser,
    solver: Solver[State],
    x_start: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The last state of `trajectory`, shape (B, *).

    Example:
        >>> from diffedu._tensor import seeded
        >>> from diffedu.core import GaussianMixture, RectifiedFlow, uniform_times
        >>> from diffedu.sampling import Euler
        >>> path = RectifiedFlow()
        >>> exact = GaussianMixture.single(torch.zeros(2), 0.01 * torch.eye(2)).denoiser(path)
        >>> x = sample(exact, Euler(), start_noise(path, (500, 2), seeded(0)), uniform_times(path, 100, end=0))
        >>> print(f"{x.std():.1f}")
        0.1
    """
    x = x_start
    for _, x in trajectory(denoiser, solver, x_start, times, generator=generator):  # noqa: B007
        pass
    return x
