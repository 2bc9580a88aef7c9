r"""Flows between two sets of points: which point goes where (couplings), the loss, and how straight the paths are.

A path of this package, x_t = alpha x0 + sigma x1, joins any two points; x1 need not be noise, nor independent of x0.
With a velocity field in place of noise and score the samplers stay the same: an ODE is all that is left. What is lost
when x1 is not independent standard normal noise: `score` and the SDE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffedu.core.denoiser import Denoiser
from diffedu.core.loss import TimeSampler, uniform_t
from diffedu.core.path import GaussianPath
from diffedu.core.prediction import VELOCITY
from diffedu.sampling import Euler, Solver, sample


def _check_pair(x0: Tensor, x1: Tensor) -> None:
    if x0.shape != x1.shape or x0.ndim < 2 or len(x0) == 0:
        raise ValueError(
            f"x0 and x1 must have one shape (B, *) with B at least 1, got {tuple(x0.shape)} and {tuple(x1.shape)}"
        )


@dataclass(frozen=True)
class FlowMatchingLoss:
    r"""Squared error of the velocity along given pairs, a mean over the data's axes, one value an example.

        x_t = alpha x0 + sigma x1,     target = alpha_dot x0 + sigma_dot x1;     on `RectifiedFlow`: x1 - x0.

    The best answer is the mean of the targets of all pairs that pass x_t at time t. Its flow carries the law of x1 to
    the law of x0, whatever the pairs. With x1 = noise drawn afresh it is `DenoisingLoss(path, VELOCITY)`.

    Args:
        path: how a pair is joined.
        times: draws t.

    Reference: Lipman et al. 2023, eq. 9 and theorem 2; Liu et al. 2023, eq. 1; Tong et al. 2024 for pairs of any law.
    Their time runs the other way. Taught in: chapter 13.

    Example:
        >>> from diffedu import *
        >>> x0, x1 = torch.zeros(4, 2), torch.ones(4, 2)
        >>> right = lambda x_t, t: torch.ones_like(x_t)
        >>> FlowMatchingLoss(RectifiedFlow())(right, x0, x1, seeded(0))
        tensor([0., 0., 0., 0.])
    """

    path: GaussianPath
    times: TimeSampler = uniform_t

    def __call__(
        self, net: Callable[[Tensor, Tensor], Tensor], x0: Tensor, x1: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Losses of one batch of pairs.

        Args:
            net: called as net(x_t, t); returns the velocity.
            x0: data, shape (B, *).
            x1: where the flow starts, shape (B, *), row by row the partner of x0.
            generator: source of t.

        Returns:
            Shape (B,).

        Raises:
            ValueError: the shapes of x0, x1 and the network's output are not one.
        """
        _check_pair(x0, x1)
        t = self.times(self.path, len(x0), generator).to(x0.dtype)
        c = self.path(t).expand(x0)
        value = net(c.alpha * x0 + c.sigma * x1, t)
        if value.shape != x0.shape:
            raise ValueError(
                f"the network returned shape {tuple(value.shape)} for data of shape {tuple(x0.shape)}; must be equal"
            )
        return (value - VELOCITY.target(x0, x1, c)).square().flatten(1).mean(1)


def transport_cost(x0: Tensor, x1: Tensor) -> Tensor:
    """Mean squared length of the way from each x1 to its x0: E |x1 - x0|^2, shape ().

    Example:
        >>> transport_cost(torch.zeros(3, 2), torch.ones(3, 2))
        tensor(2.)
    """
    _check_pair(x0, x1)
    return (x1 - x0).square().flatten(1).sum(1).mean()


def optimal_pairs(x0: Tensor, x1: Tensor) -> Tensor:
    """Which x1 goes to which x0 so that the transport cost is least: the optimal assignment of two equal-sized sets.

    With equal weights and counts, optimal transport *is* an assignment. scipy solves it exactly, on the CPU, in about
    n^3 operations.

    Args:
        x0: shape (B, *).
        x1: shape (B, *).

    Returns:
        Indices, shape (B,): x1[indices] is the partner of x0, row by row.

    Reference: Tong et al. 2024 and Pooladian et al. 2023 (minibatch optimal transport). Taught in: chapter 13.

    Example:
        >>> optimal_pairs(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.1], [0.1]]))
        tensor([1, 0])
    """
    from scipy.optimize import linear_sum_assignment

    _check_pair(x0, x1)
    a, b = (x.detach().flatten(1).double().cpu() for x in (x0, x1))
    _, columns = linear_sum_assignment(torch.cdist(a, b).square().numpy())
    return torch.as_tensor(columns, device=x0.device)


def reflow_pairs(denoiser: Denoiser, x1: Tensor, times: Tensor, solver: Solver[tuple[()]] | None = None) -> Tensor:
    """The partners that a flow itself gives: x0 where the ODE that starts at x1 arrives, shape (B, *).

    Training on (x0, x1) is one reflow. Trajectories of an ODE cannot cross, so these pairs can be joined with fewer
    crossings than independent ones.

    Args:
        denoiser: of the flow so far.
        x1: starting points at times[0], shape (B, *).
        times: a falling grid.
        solver: deterministic; Euler by default.

    Reference: Liu et al. 2023 (rectified flow), algorithm 1. Taught in: chapter 13.

    Example:
        >>> from diffedu import *
        >>> exact = GaussianMixture.single(torch.zeros(2), torch.eye(2)).denoiser(RectifiedFlow())
        >>> x1 = torch.ones(1, 2)
        >>> x0 = reflow_pairs(exact, x1, uniform_times(RectifiedFlow(), 200, end=0))
        >>> print(f"{(x0 - x1).abs().max():.2f}")  # from N(0, I) to N(0, I): along curves, back to the start
        0.01
    """
    return sample(denoiser, Euler() if solver is None else solver, x1, times)


def straightness(states: Tensor, times: Tensor) -> Tensor:
    r"""How far trajectories are from straight lines run at constant speed: 0 for perfect ones.

        S = mean over time of E |u - dx/dt|^2 / E |u|^2,     u = (x(t_0) - x(t_n)) / (t_0 - t_n),

    with dx/dt taken between neighbouring states.

    Args:
        states: shape (steps + 1, B, *), from `trajectory`.
        times: shape (steps + 1,), all different.

    Returns:
        Shape ().

    Reference: Liu et al. 2023, section 2.2, S(Z), here divided by the squared speed, so that units drop out.
    Taught in: chapter 13.

    Example:
        >>> straightness(torch.tensor([[[0.0]], [[1.0]], [[2.0]]]), torch.tensor([1.0, 0.5, 0.0]))
        tensor(0.)
    """
    if states.shape[0] != len(times) or len(times) < 2:
        raise ValueError(
            f"states must have shape (steps + 1, B, *), each with a time; got {tuple(states.shape)}, {len(times)} times"
        )
    dt = times.diff()
    mean = (states[-1] - states[0]) / dt.sum()
    slopes = states.diff(dim=0) / dt.reshape(-1, *(1,) * (states.ndim - 1))
    apart = (slopes - mean).square().flatten(2).sum(2).mean(1)  # (steps,)
    return (apart * dt / dt.sum()).sum() / mean.square().flatten(1).sum(1).mean()
