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

from diffedu._tensor import as_time, batch_of
from diffedu.core.denoiser import Denoiser
from diffedu.core.loss import TimeSampler, uniform_t
from diffedu.core.oracle import GaussianMixture, flat_chunks
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


class PairsDenoiser:
    r"""The exact flow of finitely many pairs, without a network: a `Denoiser` for any coupling of any two data sets.

    One pair is drawn, and both its ends are shifted by the same small Gaussian vector j (so that lines become tubes and
    tubes may overlap):

        x0 = x0_i + j,   x1 = x1_i + j,   j ~ N(0, jitter^2 I),   x_t = alpha x0 + sigma x1.

    The posterior over the pairs is a softmax of -|x_t - alpha x0_i - sigma x1_i|^2 / (2 (alpha + sigma)^2 jitter^2).
    The shift cancels in x1 - x0, so the jittered pairs cost exactly what the pairs cost. `velocity` of this denoiser
    is the velocity that a perfect network would learn from the jittered pairs. `score` is not their score: x1 is
    neither noise nor independent of x0.

    Args:
        x0: where the flow ends, shape (N, *).
        x1: where it starts, shape (N, *), row by row the partner of x0.
        path: how a pair is joined; alpha + sigma must stay positive.
        jitter: standard deviation of the shift, data units, positive. It blurs both data sets.
        chunk: how many queries are compared with the pairs at once; bounds the memory at chunk * N numbers.

    Raises:
        ValueError: x0 and x1 differ in shape, or jitter is not positive.

    Reference: Tong et al. 2024, section 3 (pairs as conditions; a Gaussian of constant width about the line, whose
    velocity is x1 - x0; their time runs the other way). Taught in: chapter 13.

    Example:
        >>> from diffedu import *
        >>> pairs = PairsDenoiser(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [9.0]]), RectifiedFlow(), 0.1)
        >>> velocity(pairs, torch.tensor([[0.5], [7.0]]), 0.5)  # on a line of its own: x1 - x0
        tensor([[1.],
                [4.]])
    """

    def __init__(self, x0: Tensor, x1: Tensor, path: GaussianPath, jitter: float, *, chunk: int = 1024) -> None:
        _check_pair(x0, x1)
        if not jitter > 0:
            raise ValueError(f"jitter must be positive, got {jitter}: the posterior over the pairs divides by it")
        self.x0, self.x1, self.path, self.jitter, self.chunk = x0, x1, path, jitter, chunk
        a, b = x0.flatten(1), x1.flatten(1)
        products = [(p * q).sum(1, keepdim=True) for p, q in ((a, a), (b, b), (a, b))]
        self._ends = torch.cat([a, b], dim=1)
        self._table = torch.cat([a, b, *products], dim=1).T  # one matrix product compares all queries with all pairs

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        batch_of(self.x0.shape[1:], x_t=x_t)
        means = []
        for x, p, q in flat_chunks(x_t, self.path(as_time(t, x_t)), self.chunk):
            # -|x - p x0_i - q x1_i|^2 / 2 without |x|^2, which is the same for every i
            queries = torch.cat([p * x, q * x, -(p**2) / 2, -(q**2) / 2, -p * q], dim=1)
            weights = torch.softmax(queries / ((p + q) * self.jitter) ** 2 @ self._table, dim=1)
            mean0, mean1 = (weights @ self._ends).split(x.shape[1], dim=1)
            means.append(mean0 + (x - p * mean0 - q * mean1) / (p + q))  # the second part is the mean of j
        return torch.cat(means).reshape(x_t.shape)


class BetweenMixtures:
    r"""The exact flow between two Gaussian mixtures, points of one joined with independent points of the other.

    Given the components (i, j), x_t = alpha x0 + sigma x1 is Gaussian with mean alpha m_i + sigma n_j and covariance
    C = alpha^2 S_i + sigma^2 R_j, and E[x0 | x_t, i, j] = m_i + alpha S_i C^-1 (x_t - mean). With N(0, I) as the start
    it is `GaussianMixture.denoiser`. With any other start `score` is not the score.

    Args:
        data: the law of x0, where the flow ends.
        start: the law of x1, where it begins.
        path: how a pair is joined.

    Taught in: chapter 13.

    Example:
        >>> from diffedu import *
        >>> one = lambda mean: GaussianMixture.single(torch.tensor([mean, 0.0]), torch.eye(2))
        >>> flow = BetweenMixtures(one(1.0), one(4.0), RectifiedFlow())
        >>> velocity(flow, torch.tensor([[2.5, 0.0]]), 0.5)
        tensor([[3., 0.]])
    """

    def __init__(self, data: GaussianMixture, start: GaussianMixture, path: GaussianPath) -> None:
        if data.D != start.D:
            raise ValueError(f"both mixtures must live in one space, got {data.D} and {start.D} dimensions")
        self.data, self.start, self.path = data, start, path

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        c = self.path(as_time(t, x_t))
        alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in (c.alpha, c.sigma))
        data, start = self.data, self.start
        apart = x_t[:, None, None] - alpha * data.means[:, None] - sigma * start.means  # (B, K0, K1, D)
        S = data.covariances[:, None]  # (K0, 1, D, D)
        C = alpha[..., None] ** 2 * S + sigma[..., None] ** 2 * start.covariances  # (B or 1, K0, K1, D, D)
        root = torch.linalg.cholesky(C)
        pull = torch.cholesky_solve(apart[..., None], root)[..., 0]
        log_w = data.weights.log()[:, None] + start.weights.log() - (apart * pull).sum(-1) / 2
        log_w = log_w - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        weights = torch.softmax(log_w.flatten(1), dim=1).reshape(log_w.shape)
        means = data.means[:, None] + alpha * (S @ pull[..., None])[..., 0]
        return torch.einsum("bij,bijd->bd", weights, means)


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
